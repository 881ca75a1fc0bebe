//! Every row of every family read, decoded and compared with what lies beside it.
//!
//! RocksDB checks the checksum of every block that is read; rows of samples have
//! their own, per column. On top of that: keys against content, spans against rows,
//! series ids against the dictionary. A damaged row is named, with what to do; what can
//! still be read behind it is read.

mod retired;

use crate::store::{Family, Store, StoreError, keys, spans};
use roaring::RoaringBitmap;
use serde::Serialize;
use signalbox_access::AuditLine;
use signalbox_proto::text::hex;
use signalbox_proto::units::UnixMillis;
use signalbox_tsdb::chunk::ChunkReader;
use signalbox_tsdb::keys::{Chunk, Journal, Part, parse_series, parse_span, span as span_key};
use signalbox_tsdb::rollup::RollupReader;
use signalbox_tsdb::tier::{Span, Tier};
use signalbox_tsdb::{SeriesId, dictionary, journal};
use std::ops::ControlFlow;

/// Faults that are listed; all are counted.
const FAULTS_LISTED: usize = 1000;
/// Progress is told each time so many rows were read.
const TELL_EVERY: u64 = 100_000;

/// A row that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where.
    pub family: &'static str,
    /// Its key, hexadecimal; empty when rows could not be listed on.
    pub key: String,
    /// What is wrong with it.
    pub why: String,
    /// What to do about it.
    pub advice: &'static str,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Rows read, by family.
    pub rows: Vec<(&'static str, u64)>,
    /// Samples and buckets read.
    pub n_samples: u64,
    /// Faults in all.
    pub n_faults: u64,
    /// The first of them.
    pub faults: Vec<Fault>,
}

impl Report {
    fn note(&mut self, family: Family, key: &[u8], why: String) {
        self.n_faults += 1;
        if self.faults.len() < FAULTS_LISTED {
            self.faults.push(Fault { family: family.name(), key: hex(key), why, advice: advice(family) });
        }
    }
}

fn advice(family: Family) -> &'static str {
    match family {
        Family::Series => "samples of this series cannot be named: restore a backup, or leave it, the others are whole",
        Family::Postings => {
            "retired series that it names are not found: restore a backup, or leave it, the others are whole"
        }
        Family::Journal => "its batch is lost unless the agent still keeps it; the start passes over it",
        Family::Chunks | Family::Long => {
            "queries that meet it fail and say so; restore a backup, or wait for retention"
        }
        Family::Minutes | Family::Hours => {
            "long ranges that meet it fail and say so; it is made anew with the next late sample"
        }
        Family::Spans => "its row is not found by queries; restore a backup",
        Family::Audit => "check with: signalbox audit verify; keep a copy of the data directory first",
        Family::Meta | Family::State | Family::History | Family::Access => {
            "the collector may refuse to start: set the data directory aside and restore a backup"
        }
    }
}

/// Reads everything. `tell` hears of progress: family, rows read of it.
///
/// # Errors
/// [`StoreError`] when the store is not open.
pub fn verify(store: &dyn Store, mut tell: impl FnMut(Family, u64)) -> Result<Report, StoreError> {
    let mut report = Report::default();
    let mut ids = RoaringBitmap::new();
    // Series, living and retired, come early in the order, before the rows that name them.
    for family in Family::ALL {
        let mut n_rows = 0;
        let mut last = Vec::new();
        let mut visit = |key: &[u8], row: &[u8]| {
            n_rows += 1;
            if n_rows % TELL_EVERY == 0 {
                tell(family, n_rows);
            }
            if let Err(why) = check(store, family, key, row, &mut ids, &mut report.n_samples) {
                report.note(family, key, why);
            }
            last = key.to_vec();
            ControlFlow::Continue(())
        };
        let read = store.scan(family, &[], &[], &mut visit);
        tell(family, n_rows);
        if let Err(error) = read {
            report.note(family, &last, format!("rows behind this one cannot be read: {error}"));
        }
        report.rows.push((family.name(), n_rows));
    }
    Ok(report)
}

fn check(
    store: &dyn Store,
    family: Family,
    key: &[u8],
    row: &[u8],
    ids: &mut RoaringBitmap,
    n_samples: &mut u64,
) -> Result<(), String> {
    let not_a_key = || "not a key of this family".to_owned();
    match family {
        Family::Meta => {
            let known = key == keys::TURN || keys::parse_agent(key).is_some() || keys::parse_mark(key).is_some();
            if known { Ok(()) } else { Err(not_a_key()) }
        }
        Family::Series => {
            ids.insert(parse_series(key).ok_or_else(not_a_key)?.0);
            dictionary::decode(row).map(|_| ()).map_err(|why| why.to_string())
        }
        Family::Postings => retired::check(store, key, row, ids),
        Family::Journal => {
            let at = Journal::decode(key).ok_or_else(not_a_key)?;
            let (epoch, seq) = match journal::Row::decode(row).map_err(|why| why.to_string())? {
                journal::Row::Record(record) => (record.epoch, record.seq),
                journal::Row::Snapshot(snapshot) => (snapshot.epoch, snapshot.seq),
            };
            if (epoch, seq) == (at.epoch, at.seq) {
                Ok(())
            } else {
                Err("it lies under another batch's key".to_owned())
            }
        }
        Family::Chunks => {
            let at = Chunk::decode(key).ok_or_else(not_a_key)?;
            let found = check_chunk(row, ids, n_samples)?;
            check_range(&found, at.min_time, at.max_time, true)?;
            check_span(store, Tier::Fresh, key, &found)
        }
        Family::Long => {
            let at = Part::decode(key).ok_or_else(not_a_key)?;
            let found = check_chunk(row, ids, n_samples)?;
            check_range(&found, at.window, at.window.shifted(Tier::Long.window_ms() - 1), false)?;
            check_span(store, Tier::Long, key, &found)
        }
        Family::Minutes => check_rollup(store, (Tier::Minutes, key), row, ids, n_samples),
        Family::Hours => check_rollup(store, (Tier::Hours, key), row, ids, n_samples),
        Family::Spans => check_backward(store, key, row),
        Family::State => key.first().map(|_| ()).ok_or_else(not_a_key),
        Family::History => keys::parse_history(key).map(|_| ()).ok_or_else(not_a_key),
        Family::Access => keys::parse_access(key).map(|_| ()).ok_or_else(not_a_key),
        Family::Audit => {
            let no = keys::parse_audit(key).ok_or_else(not_a_key)?;
            let line = AuditLine::decode(row).ok_or_else(|| "it does not decode".to_owned())?;
            if line.no == no { Ok(()) } else { Err("it lies under another line's number".to_owned()) }
        }
    }
}

fn check_known(id: SeriesId, ids: &RoaringBitmap) -> Result<(), String> {
    if ids.contains(id.0) { Ok(()) } else { Err(format!("series {} is not in the dictionary", id.0)) }
}

/// Every column of a chunk, and what its span must say.
fn check_chunk(row: &[u8], ids: &RoaringBitmap, n_samples: &mut u64) -> Result<Span, String> {
    let mut reader = ChunkReader::open(row).map_err(|why| why.to_string())?;
    let series: Vec<SeriesId> = reader.series().map(|one| one.series).collect();
    for id in series {
        let run = reader.read(id, UnixMillis::MIN, UnixMillis::MAX).map_err(|why| format!("series {}: {why}", id.0))?;
        *n_samples += run.map_or(0, |run| run.len() as u64);
        check_known(id, ids)?;
    }
    spans::of_chunk(row)
}

fn check_range(found: &Span, min: UnixMillis, max: UnixMillis, is_exact: bool) -> Result<(), String> {
    let facts = found.facts;
    let fits = if is_exact {
        (facts.min_time, facts.max_time) == (min, max)
    } else {
        facts.min_time >= min && facts.max_time <= max
    };
    if fits { Ok(()) } else { Err("its samples are not of the times that its key says".to_owned()) }
}

fn check_span(store: &dyn Store, tier: Tier, key: &[u8], found: &Span) -> Result<(), String> {
    let known = store.get(Family::Spans, &span_key(tier, key)).map_err(|why| why.to_string())?;
    let known = known.ok_or_else(|| "it has no span: queries do not find it".to_owned())?;
    let known = Span::decode(&known).map_err(|why| why.to_string())?;
    if known == *found { Ok(()) } else { Err("its span says something else".to_owned()) }
}

fn check_rollup(
    store: &dyn Store,
    (tier, key): (Tier, &[u8]),
    row: &[u8],
    ids: &RoaringBitmap,
    n_samples: &mut u64,
) -> Result<(), String> {
    let part = Part::decode(key).ok_or_else(|| "not a key of this family".to_owned())?;
    let mut reader = RollupReader::open(row).map_err(|why| why.to_string())?;
    if Some(reader.step()) != tier.step_ms() {
        return Err(format!("its buckets are of {} ms", reader.step()));
    }
    let end = part.window.shifted(tier.window_ms());
    let series: Vec<SeriesId> = reader.series().collect();
    let mut n_buckets = 0;
    for id in &series {
        let all =
            reader.read(*id, UnixMillis::MIN, UnixMillis::MAX).map_err(|why| format!("series {}: {why}", id.0))?;
        if all.iter().any(|bucket| bucket.start < part.window || bucket.start >= end) {
            return Err("it has buckets of another window".to_owned());
        }
        n_buckets += all.len() as u64;
        check_known(*id, ids)?;
    }
    *n_samples += n_buckets;
    let known = store.get(Family::Spans, &span_key(tier, key)).map_err(|why| why.to_string())?;
    let known = known.ok_or_else(|| "it has no span: queries do not find it".to_owned())?;
    let known = Span::decode(&known).map_err(|why| why.to_string())?;
    let found = (row.len() as u64, series.len() as u64, n_buckets, series.last().copied());
    if (known.size.0, known.facts.n_series, known.facts.n_samples, Some(known.last)) == found {
        Ok(())
    } else {
        Err("its span says something else".to_owned())
    }
}

/// Each span has its row.
fn check_backward(store: &dyn Store, key: &[u8], row: &[u8]) -> Result<(), String> {
    let Some((tier, own)) = parse_span(key) else {
        let is_due = key.get(1..).and_then(Part::decode).is_some() && row.is_empty();
        return if is_due { Ok(()) } else { Err("not a key of this family".to_owned()) };
    };
    Span::decode(row).map_err(|why| why.to_string())?;
    match store.get(Family::of(tier), own).map_err(|why| why.to_string())? {
        Some(_) => Ok(()),
        None => Err(format!("its row is missing in {}", Family::of(tier).name())),
    }
}

#[cfg(test)]
mod tests;
