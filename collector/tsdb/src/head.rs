//! The open chunk of one lane (an agent's epoch): payloads as they came.
//!
//! The lane keeps what the agent packed, about 0.8 bytes a sample, not decoded
//! columns; and the state from which the first payload decodes. Every batch is
//! decoded once, in [`Lane::append`], which shows each tick to the caller: that is
//! where the evaluator looks. Queries decode again what they need.
//!
//! ```text
//! base state ── payload ── payload ── … ── payload ── cells (the last values)
//! \_______________ open chunk _______________/
//!        seal(): chunk := all of it; base := cells; Snapshot := base + dictionary
//! ```
//!
//! What it promises: [`Lane::append`] takes a record whole or leaves the lane as it
//! was; a lane made from a snapshot and the records after it equals the lane that
//! was never restarted; sealing changes no later value. A lane that took a record
//! whose commit failed must be dropped and restored from the journal.

mod dictionary;
mod error;
mod scan;
mod view;

pub use dictionary::COLUMNS_PER_LANE_MAX;
pub use error::LaneError;
pub use scan::PAST_MAX_MS;
pub use view::TickView;

use crate::SeriesId;
use crate::chunk::{ChunkBuilder, Facts};
use crate::journal::{Record, Snapshot};
use crate::run::Run;
use dictionary::{Dictionary, Uses};
use signalbox_proto::columns::Decoder;
use signalbox_proto::units::{Bytes, Millis, UnixMillis};
use std::collections::HashMap;

/// Payload that a lane holds at most, bytes; far over what makes it due, so that
/// only a caller that never seals meets it.
pub const LANE_MAX_BYTES: usize = 8 * 1024 * 1024;

/// When an open chunk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealLimits {
    /// Ticks of the busiest shape.
    pub n_ticks: u64,
    /// Bytes of payload.
    pub payload: Bytes,
    /// Age of the oldest payload, by the collector's clock, and span of sample time.
    pub span: Millis,
}

impl Default for SealLimits {
    /// 300 ticks, 1 MiB, 15 min: what is open costs memory, and chunks grow long by
    /// being merged.
    fn default() -> Self {
        SealLimits { n_ticks: 300, payload: Bytes::from_mib(1), span: Millis::from_mins(15) }
    }
}

/// What [`Lane::append`] took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Ticks in the batch.
    pub n_ticks: u64,
    /// Samples of kept series.
    pub n_samples: u64,
    /// Samples of series that the collector refuses: decoded and dropped.
    pub n_refused: u64,
    /// Samples whose time is more than [`PAST_MAX_MS`] before or
    /// [`signalbox_proto::limits::FUTURE_MAX_MS`] after the batch's arrival: passed
    /// over, neither shown nor stored.
    pub n_outside: u64,
}

/// What [`Lane::seal`] gives: the store writes both rows and deletes the journal
/// rows of this lane below `snapshot.seq`, in one commit.
#[derive(Debug, Clone, PartialEq)]
pub struct SealedChunk {
    /// The chunk's bytes; none when all its samples belong to refused series.
    pub chunk: Option<Vec<u8>>,
    /// What is in it.
    pub facts: Facts,
    /// The greatest series id in it.
    pub last: SeriesId,
    /// Its series, each with its oldest and its newest sample.
    pub series: Vec<(SeriesId, UnixMillis, UnixMillis)>,
    /// Samples that another one of the same series and instant replaced.
    pub n_duplicates: u64,
    /// The lane's new beginning; its `seq` is the last batch in the chunk.
    pub snapshot: Snapshot,
}

/// One batch's payload in the open chunk.
#[derive(Debug, Clone, Copy)]
struct Segment {
    received: UnixMillis,
    wall: UnixMillis,
    key: bool,
    /// End of the payload in `payloads`; it begins where the one before ends.
    end: usize,
}

/// The open chunk of one agent's epoch. See the module's documentation.
#[derive(Debug, Clone)]
pub struct Lane {
    epoch: u64,
    seq: u64,
    dictionary: Dictionary,
    uses: Uses,
    /// Last values: where the next delta payload starts.
    cells: Decoder,
    /// `Decoder::save` at the start of the open chunk; empty for all zero.
    base: Vec<u8>,
    payloads: Vec<u8>,
    segments: Vec<Segment>,
    min_time: UnixMillis,
    max_time: UnixMillis,
    n_samples: u64,
    n_ticks_max: u64,
    first_received: Option<UnixMillis>,
}

impl Lane {
    /// The lane of a new epoch.
    pub fn new(epoch: u64) -> Lane {
        Lane {
            epoch,
            seq: 0,
            dictionary: Dictionary::default(),
            uses: Uses::default(),
            cells: Decoder::default(),
            base: Vec::new(),
            payloads: Vec::new(),
            segments: Vec::new(),
            min_time: UnixMillis::MAX,
            max_time: UnixMillis::MIN,
            n_samples: 0,
            n_ticks_max: 0,
            first_received: None,
        }
    }

    /// The lane as it stood after a seal; append the records that follow.
    ///
    /// # Errors
    /// [`LaneError::Snapshot`], [`LaneError::Dictionary`].
    pub fn restore(snapshot: &Snapshot) -> Result<Lane, LaneError> {
        let cells = Decoder::load(&snapshot.state)
            .map_err(|why| LaneError::Snapshot { epoch: snapshot.epoch, why: why.into() })?;
        let mut lane = Lane { seq: snapshot.seq, cells, base: snapshot.state.to_vec(), ..Lane::new(snapshot.epoch) };
        let extended = lane.dictionary.extend(&snapshot.refs, &snapshot.shapes);
        extended.map_err(|why| LaneError::Dictionary { seq: snapshot.seq, why })?;
        Ok(lane)
    }

    /// Takes the next record and shows its ticks, in order, each batch decoded just
    /// this once. After an error the lane is as before; ticks that were shown
    /// before the fault must be forgotten.
    ///
    /// # Errors
    /// [`LaneError`].
    pub fn append(&mut self, record: &Record, mut visit: impl FnMut(&TickView<'_>)) -> Result<Appended, LaneError> {
        self.check(record)?;
        let seq = record.seq;
        let declares = record.key || !record.refs.is_empty() || !record.shapes.is_empty();
        let before = declares.then(|| self.dictionary.clone());
        if record.key {
            self.dictionary.begin_key();
        }
        let extended = self.dictionary.extend(&record.refs, &record.shapes);
        let taken = extended.map_err(|why| LaneError::Dictionary { seq, why }).and_then(|()| {
            if record.key {
                self.uses.begin_key();
            }
            scan::decode_once(record, &mut self.cells, &self.dictionary, &mut self.uses, &mut visit)
        });
        match taken {
            Ok(span) => {
                self.push(record, &span);
                Ok(span.appended)
            }
            Err(why) => {
                if let Some(before) = before {
                    self.dictionary = before;
                }
                self.cells = scan::replay(self);
                Err(why)
            }
        }
    }

    fn check(&self, record: &Record) -> Result<(), LaneError> {
        if record.epoch != self.epoch {
            return Err(LaneError::Epoch { expected: self.epoch, found: record.epoch });
        }
        let next = record.seq.checked_sub(self.seq);
        if !matches!((next, record.key), (Some(1), _) | (Some(2..), true)) {
            return Err(LaneError::Sequence { last: self.seq, found: record.seq });
        }
        if self.payloads.len() + record.columns.len() > LANE_MAX_BYTES {
            return Err(LaneError::Full { held: self.payloads.len() });
        }
        Ok(())
    }

    fn push(&mut self, record: &Record, span: &scan::Span) {
        self.seq = record.seq;
        if self.payloads.capacity() - self.payloads.len() < record.columns.len() {
            // By an eighth and not by doubling: half of a large fleet's memory would be spare room.
            self.payloads.reserve_exact(record.columns.len() + self.payloads.len() / 8);
        }
        self.payloads.extend_from_slice(&record.columns);
        self.segments.push(Segment {
            received: record.received,
            wall: record.wall,
            key: record.key,
            end: self.payloads.len(),
        });
        self.min_time = self.min_time.min(span.min_time);
        self.max_time = self.max_time.max(span.max_time);
        self.n_samples += span.appended.n_samples;
        self.n_ticks_max = self.n_ticks_max.max(span.n_ticks_max);
        self.first_received.get_or_insert(record.received);
    }

    /// Appends the points of `series[i]` in `[from, to)` to `out[i]`, as runs that are
    /// still to be joined. Decodes the open chunk once for all of them.
    ///
    /// # Panics
    /// When the lengths of `series` and `out` differ.
    pub fn scan(&self, series: &[SeriesId], from: UnixMillis, to: UnixMillis, out: &mut [Vec<Run>]) {
        assert_eq!(series.len(), out.len(), "one list for each series");
        if self.n_samples > 0 && self.min_time < to && self.max_time >= from {
            let wanted: HashMap<SeriesId, usize> =
                series.iter().copied().zip(0..).filter(|(id, _)| id.is_kept()).collect();
            scan::runs(self, |id| wanted.get(&id).copied(), (from, to), out);
        }
    }

    /// True when this lane knows the series.
    pub fn has(&self, series: SeriesId) -> bool {
        self.dictionary.has(series)
    }

    /// Kept series that its dictionary names: later batches may use them.
    pub fn series(&self) -> impl Iterator<Item = SeriesId> {
        self.dictionary.kept().map(|(_, id)| id)
    }

    /// The last value of each kept series, in the order of their refs.
    pub fn last_values(&self) -> impl Iterator<Item = (SeriesId, f64)> {
        let values = self.cells.values();
        self.dictionary.kept().map(move |(series_ref, id)| (id, values.get(series_ref)))
    }

    /// True when the open chunk should be sealed now.
    pub fn due(&self, now: UnixMillis, limits: &SealLimits) -> bool {
        let Some(first_received) = self.first_received else { return false };
        self.n_ticks_max >= limits.n_ticks
            || self.payloads.len() as u64 >= limits.payload.0
            || now.since(first_received) >= limits.span
            || self.max_time.since(self.min_time) >= limits.span
            || self.dictionary.is_crowded()
    }

    /// Compresses the open chunk and begins the next one. None when nothing came
    /// since the last seal.
    pub fn seal(&mut self) -> Option<SealedChunk> {
        let sealed = self.sealed()?;
        self.begin_chunk();
        Some(sealed)
    }

    /// What [`Lane::seal`] would give now, with the open chunk left as it is: for a
    /// part that was [`split`](Lane::split) off and that queries still read.
    pub fn sealed(&self) -> Option<SealedChunk> {
        if self.segments.is_empty() {
            return None;
        }
        let (columns, n_duplicates) = scan::columns(self);
        let mut chunk = ChunkBuilder::default();
        columns.iter().for_each(|(id, run)| chunk.push(*id, run));
        let range = |(id, run): &(SeriesId, Run)| {
            let (first, last) = run.ends()?;
            Some((*id, UnixMillis(first), UnixMillis(last)))
        };
        let facts = chunk.facts();
        Some(SealedChunk {
            last: chunk.last().unwrap_or(SeriesId(0)),
            chunk: facts.map(|_| chunk.finish()),
            facts: facts.unwrap_or_default(),
            series: columns.iter().filter_map(range).collect(),
            n_duplicates,
            snapshot: self.snapshot(),
        })
    }

    /// Takes the open chunk out, to be sealed elsewhere while this lane goes on with
    /// the next one. Both decode from here on as if there had been no split; the
    /// part's seal gives the rows that [`Lane::seal`] would have given now. None
    /// when nothing came since the last seal.
    pub fn split(&mut self) -> Option<Lane> {
        if self.segments.is_empty() {
            return None;
        }
        let part = Lane {
            base: std::mem::take(&mut self.base),
            payloads: std::mem::take(&mut self.payloads),
            segments: std::mem::take(&mut self.segments),
            ..self.clone()
        };
        self.begin_chunk();
        Some(part)
    }

    fn begin_chunk(&mut self) {
        self.base.clear();
        self.cells.save(&mut self.base);
        self.dictionary.prune();
        self.uses.begin_chunk();
        self.payloads = Vec::new();
        self.segments = Vec::new();
        (self.min_time, self.max_time) = (UnixMillis::MAX, UnixMillis::MIN);
        (self.n_samples, self.n_ticks_max, self.first_received) = (0, 0, None);
    }

    fn snapshot(&self) -> Snapshot {
        let (refs, shapes) = self.dictionary.entries();
        let mut state = Vec::new();
        self.cells.save(&mut state);
        Snapshot { epoch: self.epoch, seq: self.seq, refs, shapes, state: state.into() }
    }

    fn base_cells(&self) -> Decoder {
        if self.base.is_empty() {
            return Decoder::default();
        }
        Decoder::load(&self.base).expect("written by Decoder::save or checked by restore")
    }
}

/// Facts for self-telemetry and for the writer.
impl Lane {
    /// The agent's epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Last batch taken; 0 for none.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Oldest and newest sample of the open chunk; none when it is empty.
    pub fn time_range(&self) -> Option<(UnixMillis, UnixMillis)> {
        (self.min_time <= self.max_time).then_some((self.min_time, self.max_time))
    }

    /// When the oldest batch of the open chunk arrived; none when it is empty.
    pub fn first_received(&self) -> Option<UnixMillis> {
        self.first_received
    }

    /// Samples of kept series in the open chunk.
    pub fn n_samples(&self) -> u64 {
        self.n_samples
    }

    /// True when nothing came since the last seal.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Payload bytes of the open chunk.
    pub fn payload(&self) -> Bytes {
        Bytes(self.payloads.len() as u64)
    }

    /// Memory in use, estimated.
    pub fn memory(&self) -> Bytes {
        // A cell of the decoder is 24 bytes.
        let cells = self.dictionary.n_refs() * 24;
        let held = self.payloads.capacity() + self.base.capacity() + self.segments.capacity() * size_of::<Segment>();
        Bytes((cells + held + self.dictionary.memory_bytes() + self.uses.memory_bytes()) as u64)
    }
}

#[cfg(test)]
mod tests;
