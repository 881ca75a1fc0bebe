//! The memory that bridges a disk which takes nothing.
//!
//! Records wait here, oldest dropped first, and are lost with the process. While
//! the disk fails every batch is a key batch, so that each can be sent alone.

use super::loss::{Losses, Reason};
use super::record::Record;
use std::collections::VecDeque;

/// Records kept at most: a minute at one a second.
const RECORDS_MAX: usize = 60;
/// Bytes of payload kept at most.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Records that are in no file.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    records: VecDeque<(u64, Record)>,
    bytes: usize,
}

impl Ring {
    /// Keeps a record; what has to go for it and is not acknowledged is lost.
    pub(crate) fn push(&mut self, epoch: u64, record: Record, acked: impl Fn(u64) -> u64, losses: &mut Losses) {
        self.bytes += record.payload.len();
        self.records.push_back((epoch, record));
        while self.records.len() > RECORDS_MAX || (self.bytes > BYTES_MAX && self.records.len() > 1) {
            let Some((epoch, record)) = self.pop() else { break };
            if record.seq > acked(epoch) {
                losses.add(Reason::DiskFailed, record.n_samples.into(), record.wall, record.wall);
            }
        }
    }

    /// Forgets what is acknowledged.
    pub(crate) fn acknowledge(&mut self, epoch: u64, seq: u64) {
        self.records.retain(|(own, record)| *own != epoch || record.seq > seq);
        self.bytes = self.records.iter().map(|(_, record)| record.payload.len()).sum();
    }

    /// The record with this sequence.
    pub(crate) fn get(&self, epoch: u64, seq: u64) -> Option<&Record> {
        self.of(epoch).find(|record| record.seq == seq)
    }

    /// Takes the record with this sequence out.
    pub(crate) fn remove(&mut self, epoch: u64, seq: u64) -> Option<Record> {
        let at = self.records.iter().position(|(own, record)| (*own, record.seq) == (epoch, seq))?;
        let (_, record) = self.records.remove(at)?;
        self.bytes -= record.payload.len();
        Some(record)
    }

    /// Records of an epoch, oldest first.
    pub(crate) fn of(&self, epoch: u64) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(move |(own, _)| *own == epoch).map(|(_, record)| record)
    }

    /// Epochs that have records here.
    pub(crate) fn epochs(&self) -> impl Iterator<Item = u64> {
        self.records.iter().map(|(epoch, _)| *epoch)
    }

    fn pop(&mut self) -> Option<(u64, Record)> {
        let (epoch, record) = self.records.pop_front()?;
        self.bytes -= record.payload.len();
        Some((epoch, record))
    }
}
