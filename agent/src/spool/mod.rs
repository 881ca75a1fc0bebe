//! The spool: batches on disk until the collector has them durably.
//!
//! ```text
//! push ──> segment file ──> Cursor ──> sender          {epoch}-{first_seq}.seg
//!   └─(disk takes nothing)─> ring ──┘                  marks      acknowledged, a hint
//!                                                      *.corrupt  set aside, at most 8
//! ```
//!
//! It promises: what was pushed is read back bit for bit or its loss is counted;
//! a record is never wrong; `push` never waits for a network; bytes, files, age and
//! memory are bounded. What is still unacknowledged after a second (or 256 KiB) is
//! synced; a batch acknowledged sooner is never synced for its own sake. Syncing is
//! done on the caller's thread: a disk that hangs delays sampling, and the gap is
//! told. Acknowledged segments stay for the replay window, so that a collector
//! which lost its tail can be filled again.

pub(crate) mod loss;
mod marks;
mod open;
mod read;
mod record;
mod ring;
mod segment;
mod trim;

pub(crate) use read::Cursor;
pub(crate) use record::Record;

use loss::Losses;
use marks::Marks;
use ring::Ring;
use segment::{Segment, SegmentId};
use signalbox_proto::units::{Bytes, Millis, UnixMillis};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

/// A segment is full at so many batches: ten minutes at one a second.
pub(crate) const SEGMENT_RECORDS_MAX: u64 = 600;
/// A segment is full at so many bytes.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 1024 * 1024;
/// A segment is closed when it is so old, so that age and replay bounds are fine-grained.
const SEGMENT_AGE_MAX: Millis = Millis::from_mins(10);
/// Unacknowledged records are synced when so old …
const SYNC_AFTER: Millis = Millis(1000);
/// … give or take this, so that the sync shares the wake-up of the next tick.
const SYNC_SLACK: Millis = Millis(150);
/// … or when so many bytes wait.
const SYNC_BYTES: u64 = 256 * 1024;
/// A disk that took nothing is tried again after this.
const RETRY_AFTER: Millis = Millis(5000);

/// Bounds of the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes of all segments.
    pub(crate) max_size: Bytes,
    /// Age of the last batch of a segment.
    pub(crate) max_age: Millis,
}

/// What happened in the spool since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Last records cut short by a crash.
    pub(crate) n_torn: u64,
    /// Segments that were damaged and set aside.
    pub(crate) n_corrupt: u64,
    /// Calls of fdatasync.
    pub(crate) n_syncs: u64,
    /// Writes, syncs and removals that failed.
    pub(crate) n_failures: u64,
}

#[derive(Debug)]
struct Writer {
    id: SegmentId,
    file: File,
    bytes: u64,
    opened: Millis,
    /// The folder knows the file for good.
    named: bool,
}

/// Records written and not known to be on the medium.
#[derive(Debug, Default)]
struct Unsynced {
    records: VecDeque<(u64, Millis)>,
    bytes: u64,
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Spool {
    dir: PathBuf,
    limits: Limits,
    segments: BTreeMap<SegmentId, Segment>,
    writer: Option<Writer>,
    marks: Marks,
    ring: Ring,
    /// The record pushed last: the live lane reads it without touching the disk.
    newest: Option<(u64, Record)>,
    unsynced: Unsynced,
    losses: Losses,
    counters: Counters,
    retry_at: Option<Millis>,
    key_wanted: bool,
    scratch: Vec<u8>,
    #[cfg(test)]
    disk_full: bool,
}

impl Spool {
    /// True when the next batch must be a key batch, because a segment begins.
    pub(crate) fn wants_key(&self, epoch: u64, now: Millis) -> bool {
        let Some(writer) = &self.writer else { return true };
        let full = self.segments.get(&writer.id).is_some_and(|segment| segment.n_records >= SEGMENT_RECORDS_MAX);
        let old = now.0.saturating_sub(writer.opened.0) >= SEGMENT_AGE_MAX.0;
        self.key_wanted || writer.id.0 != epoch || full || writer.bytes >= SEGMENT_BYTES_MAX || old
    }

    /// Lets the next batch begin a segment.
    pub(crate) fn force_key(&mut self) {
        self.key_wanted = true;
    }

    /// Keeps a batch. A key batch begins a segment. When the disk takes nothing,
    /// the batch waits in memory.
    pub(crate) fn push(&mut self, epoch: u64, record: Record, now: Millis) {
        self.newest = Some((epoch, record.clone()));
        self.key_wanted &= !record.key;
        match self.write(epoch, &record, now) {
            Ok(()) => {
                self.unsynced.records.push_back((record.seq, now));
                self.unsynced.bytes += record.payload.len() as u64;
            }
            Err(error) => {
                self.counters.n_failures += 1;
                if self.retry_at.is_none() {
                    tracing::error!(dir = %self.dir.display(), %error, "write to the spool failed; batches wait in memory");
                }
                if self.retry_at.is_none_or(|at| now >= at) {
                    self.retry_at = Some(now + RETRY_AFTER);
                }
                let Spool { ring, marks, losses, .. } = self;
                ring.push(epoch, record, |epoch| marks.of(epoch), losses);
            }
        }
    }

    fn write(&mut self, epoch: u64, record: &Record, now: Millis) -> io::Result<()> {
        if record.key {
            self.seal();
            if self.retry_at.is_some_and(|at| now < at) {
                return Err(io::Error::other("waiting before the disk is tried again"));
            }
            self.writer = Some(self.begin_segment((epoch, record.seq), record.wall, now)?);
        }
        let Some(writer) = &mut self.writer else {
            return Err(io::Error::other("no segment to go on with"));
        };
        self.scratch.clear();
        record::encode(record, &mut self.scratch);
        #[cfg(test)]
        let full = self.disk_full;
        #[cfg(not(test))]
        let full = false;
        let written = if full { Err(io::ErrorKind::StorageFull.into()) } else { writer.file.write_all(&self.scratch) };
        if let Err(error) = written {
            self.abandon_writer();
            return Err(error);
        }
        writer.bytes += self.scratch.len() as u64;
        let (id, bytes) = (writer.id, writer.bytes);
        let segment = self.segments.entry(id).or_insert(Segment {
            id,
            last_seq: record.seq,
            first_wall: record.wall,
            last_wall: record.wall,
            n_records: 0,
            n_samples_last: 0,
            bytes,
        });
        segment.n_samples_last = record.n_samples;
        segment.last_seq = record.seq;
        segment.last_wall = record.wall;
        segment.n_records += 1;
        segment.bytes = bytes;
        if self.retry_at.take().is_some() {
            tracing::info!(dir = %self.dir.display(), "the spool writes again");
        }
        Ok(())
    }

    fn begin_segment(&mut self, id: SegmentId, created: UnixMillis, now: Millis) -> io::Result<Writer> {
        let path = segment::path_of(&self.dir, id);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        let preamble = segment::preamble(id, created);
        if let Err(error) = file.write_all(&preamble) {
            // An empty file would only be found torn at the next start.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        self.trim(created);
        Ok(Writer { id, file, bytes: preamble.len() as u64, opened: now, named: false })
    }

    /// Gives up a segment whose last write failed half way: what was written of
    /// the record is cut off, and the next batch begins a new segment.
    fn abandon_writer(&mut self) {
        self.sync();
        let Some(writer) = self.writer.take() else { return };
        if self.segments.contains_key(&writer.id) {
            if writer.file.set_len(writer.bytes).is_err() {
                self.counters.n_failures += 1;
            }
        } else {
            let _ = std::fs::remove_file(segment::path_of(&self.dir, writer.id));
        }
    }

    /// Closes the segment being written.
    fn seal(&mut self) {
        if !self.unsynced.records.is_empty() {
            self.sync();
        }
        self.writer = None;
    }

    /// Notes how far the collector has this epoch. With `resume`, as the first word
    /// of a stream, the mark may also fall: the collector lost a tail.
    pub(crate) fn acknowledge(&mut self, epoch: u64, seq: u64, resume: bool) {
        if !resume && seq <= self.marks.of(epoch) {
            return;
        }
        self.marks.set(epoch, seq);
        self.ring.acknowledge(epoch, seq);
        if self.writer.as_ref().is_some_and(|writer| writer.id.0 == epoch) {
            while self.unsynced.records.front().is_some_and(|&(own, _)| own <= seq) {
                self.unsynced.records.pop_front();
            }
            if self.unsynced.records.is_empty() {
                self.unsynced.bytes = 0;
            }
        }
    }

    /// When [`Spool::sync_if_due`] should be called next.
    pub(crate) fn sync_due(&self) -> Option<Millis> {
        let &(_, oldest) = self.unsynced.records.front()?;
        Some(if self.unsynced.bytes >= SYNC_BYTES { oldest } else { oldest + SYNC_AFTER })
    }

    /// Syncs what has waited long enough.
    pub(crate) fn sync_if_due(&mut self, now: Millis) {
        if self.sync_due().is_some_and(|due| now + SYNC_SLACK >= due) {
            self.sync();
        }
    }

    /// Syncs what was written, acknowledged or not.
    pub(crate) fn sync(&mut self) {
        self.unsynced = Unsynced::default();
        let Some(writer) = &mut self.writer else { return };
        self.counters.n_syncs += 1;
        let mut synced = writer.file.sync_data();
        if !writer.named {
            writer.named = true;
            synced = synced.and(File::open(&self.dir).and_then(|dir| dir.sync_all()));
        }
        if let Err(error) = synced {
            self.counters.n_failures += 1;
            tracing::error!(dir = %self.dir.display(), %error, "sync of the spool failed");
        }
    }

    /// Syncs and writes the marks: the last call before the process ends.
    pub(crate) fn close(&mut self) {
        if !self.unsynced.records.is_empty() {
            self.sync();
        }
        self.save_marks();
    }

    fn save_marks(&mut self) {
        if let Err(error) = self.marks.save(&self.dir) {
            self.counters.n_failures += 1;
            tracing::warn!(dir = %self.dir.display(), %error, "write of the acknowledgement marks failed");
        }
    }

    /// Epochs that are kept, oldest first.
    pub(crate) fn epochs(&self) -> BTreeSet<u64> {
        self.segments.keys().map(|&(epoch, _)| epoch).chain(self.ring.epochs()).collect()
    }

    /// The number that a new epoch may have: above all known, and at least the
    /// Unix second, so that an emptied folder does not repeat numbers.
    pub(crate) fn next_epoch(&self, now: UnixMillis) -> u64 {
        let newest = self.segments.last_key_value().map(|(&(epoch, _), _)| epoch);
        let newest = newest.max(self.marks.newest_epoch()).max(self.ring.epochs().max());
        u64::try_from(now.0 / 1000).unwrap_or(0).max(newest.map_or(0, |epoch| epoch + 1))
    }

    /// The acknowledged mark of an epoch.
    pub(crate) fn acked(&self, epoch: u64) -> u64 {
        self.marks.of(epoch)
    }

    /// The highest sequence kept of an epoch.
    pub(crate) fn last_seq(&self, epoch: u64) -> Option<u64> {
        let in_files = self.segments.range((epoch, 0)..=(epoch, u64::MAX)).next_back().map(|(_, s)| s.last_seq);
        in_files.max(self.ring.of(epoch).last().map(|record| record.seq))
    }

    /// Batches that are kept and not acknowledged.
    pub(crate) fn n_backlog(&self) -> u64 {
        let in_files: u64 = self.segments.values().map(|segment| self.n_unacked(segment)).sum();
        let in_ring = |epoch: u64| self.ring.of(epoch).filter(|record| record.seq > self.marks.of(epoch)).count();
        let epochs: BTreeSet<u64> = self.ring.epochs().collect();
        in_files + epochs.into_iter().map(|epoch| in_ring(epoch) as u64).sum::<u64>()
    }

    /// Wall clock of the oldest batch of an epoch that is not acknowledged (of a
    /// segment with some acknowledged: an estimate by its pace).
    pub(crate) fn oldest_unacked(&self, epoch: u64) -> Option<UnixMillis> {
        let of_epoch = self.segments.range((epoch, 0)..=(epoch, u64::MAX)).map(|(_, segment)| segment);
        let in_files = of_epoch.filter(|segment| self.n_unacked(segment) > 0).map(|segment| {
            let span = i64::try_from(segment.last_wall.since(segment.first_wall).0).unwrap_or(0);
            let n_acked = segment.n_records - self.n_unacked(segment);
            let share = i64::try_from(n_acked).unwrap_or(0) * span / i64::try_from(segment.n_records).unwrap_or(1);
            segment.first_wall.shifted(share)
        });
        let in_ring = self.ring.of(epoch).find(|record| record.seq > self.marks.of(epoch));
        in_files.chain(in_ring.map(|record| record.wall)).min()
    }

    fn n_unacked(&self, segment: &Segment) -> u64 {
        segment.last_seq.saturating_sub(self.marks.of(segment.id.0)).min(segment.n_records)
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> Bytes {
        Bytes(self.segments.values().map(|segment| segment.bytes).sum())
    }

    /// Losses that were not told yet.
    pub(crate) fn losses(&mut self) -> &mut Losses {
        &mut self.losses
    }

    /// Counts since the process began.
    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Other bounds, from the next trim on.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }
}

#[cfg(test)]
mod tests;
