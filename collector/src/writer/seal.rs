//! Encoding of full chunks, off the writer's thread.
//!
//! The writer takes the open chunk out of a lane and hands it here; the lane goes
//! on, and readers see both. The encoded rows come back through the inbox and are
//! committed in a later turn. A crash in between loses nothing: the journal still
//! has every batch. Without the thread lanes would grow until agents are refused, so
//! its end is the process's end: the next start seals from the journal.

use super::agents::{Agents, LaneEntry};
use super::inbox::{Inbox, Message};
use super::intake::Intake;
use crate::store::{Family, spans};
use signalbox_proto::units::Bytes;
use signalbox_tsdb::chunk::Facts;
use signalbox_tsdb::head::{Lane, SealedChunk};
use signalbox_tsdb::index::SeriesIndex;
use signalbox_tsdb::keys::{AgentNo, Chunk, Journal};
use signalbox_tsdb::tier::{Span, Tier};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Chunks that may wait to be encoded; the rest stay in their lanes.
const JOBS_MAX: usize = 16;
/// Between two attempts to hand a chunk back to a full inbox.
const RETRY: Duration = Duration::from_millis(10);

/// A chunk to encode.
#[derive(Debug)]
pub(crate) struct Job {
    agent: AgentNo,
    part: Arc<Lane>,
}

/// An encoded chunk, for the writer to commit.
#[derive(Debug)]
pub struct Sealed {
    agent: AgentNo,
    part: Arc<Lane>,
    chunk: Option<SealedChunk>,
}

/// The encoding thread's queue.
#[derive(Debug)]
pub(crate) enum Sealer {
    /// A thread takes jobs; the count says how many wait.
    Thread(SyncSender<Job>, Arc<AtomicUsize>, JoinHandle<()>),
    /// Encoded at once, by the caller: for tests, which have no threads.
    #[cfg(test)]
    Inline(std::collections::VecDeque<Sealed>),
}

fn encode(job: Job) -> Sealed {
    let Job { agent, part } = job;
    let chunk = (*part).clone().seal();
    Sealed { agent, part, chunk }
}

impl Sealer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(inbox: Inbox) -> io::Result<Sealer> {
        let (sender, jobs) = sync_channel::<Job>(JOBS_MAX);
        let waiting = Arc::new(AtomicUsize::new(0));
        let taken = Arc::clone(&waiting);
        let run = move || {
            while let Ok(job) = jobs.recv() {
                taken.fetch_sub(1, Ordering::AcqRel);
                let mut message = Message::Sealed(encode(job));
                while let Err(back) = inbox.try_give(message) {
                    let Some(back) = back else { return };
                    message = *back;
                    std::thread::sleep(RETRY);
                }
            }
        };
        let thread = std::thread::Builder::new().name("sealer".to_owned()).spawn(run)?;
        Ok(Sealer::Thread(sender, waiting, thread))
    }

    /// One whose thread has ended.
    #[cfg(test)]
    pub(crate) fn dead() -> Sealer {
        let thread = std::thread::spawn(|| {});
        while !thread.is_finished() {
            std::thread::yield_now();
        }
        Sealer::Thread(sync_channel(JOBS_MAX).0, Arc::default(), thread)
    }

    /// True when the thread ended, which it does before its writer only by a panic.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Sealer::Thread(_, _, thread) => thread.is_finished(),
            #[cfg(test)]
            Sealer::Inline(_) => false,
        }
    }

    /// True when it can take a job now.
    pub(crate) fn has_room(&self) -> bool {
        match self {
            Sealer::Thread(_, waiting, _) => waiting.load(Ordering::Acquire) < JOBS_MAX,
            #[cfg(test)]
            Sealer::Inline(_) => true,
        }
    }

    /// Takes a job; only after [`Sealer::has_room`]. A job that is lost because the
    /// thread is gone costs nothing: the journal has its batches.
    pub(crate) fn give(&mut self, agent: AgentNo, part: Arc<Lane>) {
        let job = Job { agent, part };
        match self {
            Sealer::Thread(sender, waiting, _) => {
                waiting.fetch_add(1, Ordering::AcqRel);
                if sender.try_send(job).is_err() {
                    tracing::error!("the sealing thread is gone, the collector ends");
                }
            }
            #[cfg(test)]
            Sealer::Inline(done) => done.push_back(encode(job)),
        }
    }

    /// What was encoded at once.
    pub(crate) fn done(&mut self) -> Option<Sealed> {
        match self {
            Sealer::Thread(..) => None,
            #[cfg(test)]
            Sealer::Inline(done) => done.pop_front(),
        }
    }
}

impl Sealed {
    /// Chunk and snapshot in, the records that the chunk holds out.
    pub(crate) fn into_commit(self, agents: &mut Agents, index: &mut SeriesIndex, out: &mut Intake) {
        let (agent, epoch) = (self.agent, self.part.epoch());
        let lane = agents.get_mut(agent).and_then(|entry| entry.lanes.get(&epoch));
        let is_awaited =
            |lane: &&LaneEntry| lane.cell.read().sealing.as_ref().is_some_and(|part| Arc::ptr_eq(part, &self.part));
        // After a refused turn another lane may be in its place, read back from the
        // journal, which has these batches: they will be sealed again.
        if lane.filter(is_awaited).is_none() {
            return;
        }
        out.sealed.push((agent, epoch));
        let Some(sealed) = self.chunk else { return };
        for &(id, first, last) in &sealed.series {
            if index.sampled(id, first, last)
                && let Some(row) = index.row(id)
            {
                out.commit.put(Family::Series, signalbox_tsdb::keys::series(id), row);
            }
        }
        let last_seq = sealed.snapshot.seq;
        if let Some(bytes) = sealed.chunk {
            let Facts { min_time, max_time, n_samples, .. } = sealed.facts;
            metrics::counter!("signalbox_chunks_sealed_total").increment(1);
            metrics::counter!("signalbox_chunk_bytes_total").increment(bytes.len() as u64);
            metrics::counter!("signalbox_chunk_samples_total").increment(n_samples);
            metrics::counter!("signalbox_samples_replaced_total").increment(sealed.n_duplicates);
            let key = Chunk { agent, max_time, min_time, epoch, last_seq }.encode();
            let span = Span { size: Bytes(bytes.len() as u64), last: sealed.last, facts: sealed.facts };
            spans::put(&mut out.commit, Tier::Fresh, &key, bytes, &span);
        }
        let snapshot = Journal { agent, epoch, seq: last_seq }.encode();
        out.commit.delete_range(Family::Journal, Journal::first(agent, epoch).encode(), snapshot);
        out.commit.put(Family::Journal, snapshot, sealed.snapshot.encode());
    }
}
