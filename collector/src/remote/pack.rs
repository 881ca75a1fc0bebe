//! Requests become batches: refs, shapes and packed columns, as an agent makes them.
//!
//! A source's series are dealt out to *shards* of [`SHARD_REFS`] in the order in which
//! they come first; each shard is a lane of its own, so that chunks stay long and a
//! query decodes one shard and not the whole source. A shard's epoch is the link's
//! base plus its number.
//!
//! Within a shard, samples of one instant are ticks. Requests are cut anywhere, so
//! which series come together differs from one to the next: runs of neighbouring refs
//! are taken apart into blocks of a power of two, each aligned to its size, and each
//! block is a shape. That is at most 2 × [`SHARD_REFS`] shapes a shard, for ever.
//!
//! ```text
//! refs of one instant    3 4 5 6 7 8 9        shapes   [3] [4 5 6 7] [8 9]
//! ```

use super::dictionary::{Dictionary, Place};
use super::wire::{self, Malformed, Part};
use bytes::Bytes;
use signalbox_proto::columns::Encoder;
use signalbox_proto::limits::{FUTURE_MAX_MS, SAMPLES_PER_BATCH_MAX};
use signalbox_proto::names::Labels;
use signalbox_proto::samples::{Batch, SeriesEntry, ShapeEntry};
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_tsdb::head::PAST_MAX_MS;

/// Series of a shard: as many as a host has, so that its chunks are as long as a host's.
pub(super) const SHARD_REFS: u32 = 1024;
/// Shards of one link: a million series. A link that is full begins anew.
pub(super) const SHARDS_MAX: u32 = 1024;
/// A link that is full is not replaced sooner: new series are refused meanwhile.
const RENEW_AFTER: Millis = Millis::from_mins(10);
/// A link that is older begins anew and names its series again: the store must know
/// which of them are still in use, and dead ones must not keep their refs.
const AGE_MAX: Millis = Millis::from_mins(60);
/// The name of the check that samples of a source belong to.
pub(super) const CHECK: &str = "remote-write";

/// What cannot be taken, now or ever.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Samples and histograms.
    pub(crate) n: u64,
    /// Why the first of them was refused.
    pub(crate) why: Option<String>,
}

impl Refused {
    fn note(&mut self, n: u64, why: impl FnOnce() -> String) {
        self.n += n;
        if n > 0 && self.why.is_none() {
            self.why = Some(why());
        }
    }
}

/// A packed request.
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// In order of shards; of one shard in order of sequence.
    pub(super) batches: Vec<Batch>,
    /// Samples in them.
    pub(super) n_samples: u64,
    pub(super) refused: Refused,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    shard: u32,
    series_ref: u32,
    time: i64,
    value: f64,
}

/// One lane of a source.
#[derive(Debug)]
struct Shard {
    epoch: u64,
    seq: u64,
    n_refs: u32,
    encoder: Encoder,
    /// Number of each block's shape, plus 1; 0 for none yet. By [`node`].
    shapes: Vec<u32>,
    n_shapes: u32,
    new_series: Vec<SeriesEntry>,
    new_shapes: Vec<ShapeEntry>,
    /// Samples in the open batch.
    n_open: usize,
}

/// Packs the requests of one link. See the module's documentation.
#[derive(Debug)]
pub(super) struct Packer {
    base: u64,
    opened: UnixMillis,
    interval: Millis,
    dictionary: Dictionary,
    shards: Vec<Shard>,
    samples: Vec<Sample>,
    refs: Vec<u32>,
    values: Vec<f64>,
}

impl Packer {
    /// For a link whose first epoch is `base`, opened now.
    pub(super) fn new(base: u64, interval: Millis, seeds: [u64; 2], opened: UnixMillis) -> Packer {
        Packer {
            base,
            opened,
            interval,
            dictionary: Dictionary::new(seeds),
            shards: Vec::new(),
            samples: Vec::new(),
            refs: Vec::new(),
            values: Vec::new(),
        }
    }

    /// True when a new link must take its place: it is old, there is no room for new
    /// series, or the source says another interval.
    pub(super) fn is_over(&self, interval: Millis, now: UnixMillis) -> bool {
        let is_crowded = self.dictionary.len() >= (SHARD_REFS * SHARDS_MAX) as usize;
        let age = now.since(self.opened);
        self.interval != interval || age >= if is_crowded { RENEW_AFTER } else { AGE_MAX }
    }

    /// Packs one request, unpacked from snappy.
    ///
    /// # Errors
    /// [`Malformed`]: nothing of it is in any batch.
    pub(super) fn pack(&mut self, request: &[u8], now: UnixMillis) -> Result<Packed, Malformed> {
        let mut packed = Packed::default();
        let mut samples = std::mem::take(&mut self.samples);
        samples.clear();
        let read = self.read(request, now, &mut samples, &mut packed.refused);
        if read.is_ok() {
            // Nearly sorted: a request goes from series to series as the one before it.
            samples.sort_by_key(|sample| (sample.shard, sample.time, sample.series_ref));
            self.encode(&samples, now, &mut packed);
        }
        self.samples = samples;
        read.map(|()| packed)
    }

    fn read(
        &mut self,
        request: &[u8],
        now: UnixMillis,
        samples: &mut Vec<Sample>,
        refused: &mut Refused,
    ) -> Result<(), Malformed> {
        let times = now.0 - PAST_MAX_MS..now.0 + FUTURE_MAX_MS;
        wire::each_series(request, |series| {
            let (place, why) = self.place(series.labels)?;
            let (mut n, mut n_outside, mut n_histograms, mut outside) = (0, 0, 0, 0);
            series.each_part(|part| match (part, place) {
                (Part::Sample { time, value }, Place::Kept { shard, series_ref }) if times.contains(&time) => {
                    samples.push(Sample { shard, series_ref, time, value });
                }
                (Part::Sample { time, .. }, Place::Kept { .. }) => (n_outside, outside) = (n_outside + 1, time),
                (Part::Sample { .. }, Place::Refused) => n += 1,
                (Part::Histogram, _) => n_histograms += 1,
                (Part::Exemplar, _) => {}
            })?;
            refused.note(n, || why.unwrap_or_else(|| "labels that were refused before came again".to_owned()));
            refused.note(n_histograms, || "native histograms are not stored; send classic ones".to_owned());
            refused.note(n_outside, || {
                let days = PAST_MAX_MS / 86_400_000;
                format!("time {outside} ms is over {days} days old, or over 10 min ahead of the collector's clock")
            });
            Ok(())
        })
    }

    /// The place of a series, and why it has none when that is new.
    #[inline]
    fn place(&mut self, labels: &[u8]) -> Result<(Place, Option<String>), Malformed> {
        let key = self.dictionary.key(labels);
        if let Some(known) = self.dictionary.get(key) {
            return Ok((known, None));
        }
        let checked = Labels::new(wire::pairs(labels)?).map_err(|why| why.to_string());
        let named = checked.and_then(|labels| match labels.metric() {
            Some(_) => Ok(labels),
            None => Err(format!("series {labels} has no metric name")),
        });
        let (place, why) = match named.and_then(|labels| self.add(labels)) {
            Ok(place) => (place, None),
            Err(why) => (Place::Refused, Some(why)),
        };
        self.dictionary.insert(key, place);
        Ok((place, why))
    }

    fn add(&mut self, labels: Labels) -> Result<Place, String> {
        if self.shards.last().is_none_or(|shard| shard.n_refs >= SHARD_REFS) {
            let shard = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
            if shard >= SHARDS_MAX {
                return Err(format!("over {} series of one source; others go on", SHARD_REFS * SHARDS_MAX));
            }
            self.shards.push(Shard::new(self.base + u64::from(shard)));
        }
        let shard = u32::try_from(self.shards.len() - 1).unwrap_or(u32::MAX);
        let last = self.shards.last_mut().expect("pushed above");
        let series_ref = last.n_refs;
        last.n_refs += 1;
        last.new_series.push(SeriesEntry { series_ref, labels });
        Ok(Place::Kept { shard, series_ref })
    }

    fn encode(&mut self, samples: &[Sample], now: UnixMillis, packed: &mut Packed) {
        for of_shard in samples.chunk_by(|a, b| a.shard == b.shard) {
            let shard = &mut self.shards[of_shard[0].shard as usize];
            shard.begin(now);
            for tick in of_shard.chunk_by(|a, b| a.time == b.time) {
                self.refs.clear();
                self.values.clear();
                for (at, sample) in tick.iter().enumerate() {
                    // Of one instant, the last one written stays.
                    if tick.get(at + 1).is_none_or(|next| next.series_ref != sample.series_ref) {
                        self.refs.push(sample.series_ref);
                        self.values.push(sample.value);
                    }
                }
                if shard.n_open + self.refs.len() > SAMPLES_PER_BATCH_MAX {
                    packed.batches.push(shard.cut(now));
                    shard.begin(now);
                }
                shard.tick(self.interval, UnixMillis(tick[0].time), &self.refs, &self.values);
                packed.n_samples += self.refs.len() as u64;
            }
            packed.batches.push(shard.cut(now));
        }
    }
}

impl Shard {
    fn new(epoch: u64) -> Shard {
        Shard {
            epoch,
            seq: 0,
            n_refs: 0,
            encoder: Encoder::default(),
            shapes: vec![0; 2 * SHARD_REFS as usize],
            n_shapes: 0,
            new_series: Vec::new(),
            new_shapes: Vec::new(),
            n_open: 0,
        }
    }

    fn begin(&mut self, wall: UnixMillis) {
        self.encoder.begin(wall, self.seq == 0);
        self.n_open = 0;
    }

    /// One instant; refs ascend.
    fn tick(&mut self, interval: Millis, time: UnixMillis, refs: &[u32], values: &[f64]) {
        let mut at = 0;
        while at < refs.len() {
            let end = at + block(&refs[at..]);
            let shape = self.shape(interval, refs[at], end - at);
            self.encoder.tick(shape, time, &refs[at..end], &values[at..end]);
            at = end;
        }
        self.n_open += refs.len();
    }

    fn shape(&mut self, interval: Millis, first: u32, n: usize) -> u32 {
        let n = u32::try_from(n).unwrap_or(SHARD_REFS);
        let number = &mut self.shapes[node(first, n)];
        if *number == 0 {
            self.n_shapes += 1;
            *number = self.n_shapes;
            let refs = (first..first + n).collect();
            self.new_shapes.push(ShapeEntry { shape: self.n_shapes - 1, check: CHECK.to_owned(), interval, refs });
        }
        *number - 1
    }

    fn cut(&mut self, wall: UnixMillis) -> Batch {
        self.seq += 1;
        Batch {
            epoch: self.epoch,
            seq: self.seq,
            wall,
            mono: Millis::ZERO,
            key: self.seq == 1,
            series: std::mem::take(&mut self.new_series),
            shapes: std::mem::take(&mut self.new_shapes),
            columns: Bytes::copy_from_slice(self.encoder.payload()),
            results: Vec::new(),
            events: Vec::new(),
        }
    }
}

/// How many refs from the first on are a block: neighbours, a power of two of them,
/// the first a multiple of that.
fn block(refs: &[u32]) -> usize {
    let aligned = refs[0].trailing_zeros().min(SHARD_REFS.trailing_zeros());
    let is_whole = |n: usize| refs.get(n - 1).is_some_and(|last| *last as usize == refs[0] as usize + n - 1);
    (0..=aligned).rev().map(|level| 1 << level).find(|n| is_whole(*n)).unwrap_or(1)
}

/// Blocks as nodes of a tree: 1 is the whole shard, 2 and 3 its halves …
fn node(first: u32, n: u32) -> usize {
    (SHARD_REFS / n + first / n) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_are_taken_apart_into_aligned_blocks() {
        let blocks = |refs: &[u32]| {
            let (mut at, mut found) = (0, Vec::new());
            while at < refs.len() {
                let n = block(&refs[at..]);
                found.push((refs[at], n));
                at += n;
            }
            found
        };
        assert_eq!(blocks(&[3, 4, 5, 6, 7, 8, 9]), [(3, 1), (4, 4), (8, 2)]);
        assert_eq!(blocks(&(0..SHARD_REFS).collect::<Vec<_>>()), [(0, 1024)]);
        assert_eq!(blocks(&[0, 2, 4]), [(0, 1), (2, 1), (4, 1)]);
    }

    #[test]
    fn every_block_is_a_node_of_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        for level in 0..=10 {
            let n = 1 << level;
            assert!((0..SHARD_REFS).step_by(n as usize).all(|first| seen.insert(node(first, n))));
        }
        assert_eq!((seen.first(), seen.last()), (Some(&1), Some(&(2 * SHARD_REFS as usize - 1))));
    }
}
