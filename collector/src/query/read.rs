//! What is stored of one agent's series: columns of raw samples, buckets of roll-ups.
//!
//! Lanes are copied under their lock and read without it; then the rows are read as
//! they stood at one instant, so that a merge in between changes nothing.
//!
//! ```text
//! columns: open lanes + fresh chunks + long rows ─▶ one run for each series
//! buckets: hours, where they are built ─▶ minutes ─▶ columns, rolled up on the way
//! ```

use super::{QueryError, Reader};
use crate::store::{Family, Rows, StoreError, after_prefix, spans};
use signalbox_proto::units::UnixMillis;
use signalbox_tsdb::SeriesId;
use signalbox_tsdb::chunk::ChunkReader;
use signalbox_tsdb::keys::{AgentNo, Chunk, Part};
use signalbox_tsdb::rollup::{self, Bucket, RollupReader};
use signalbox_tsdb::run::{Joiner, Run};
use signalbox_tsdb::tier::{HOUR_MS, Tier};
use std::ops::ControlFlow;

/// Half-open.
type Range = (UnixMillis, UnixMillis);

/// Buckets of each asked series, ascending, and what they came from.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Buckets {
    pub(crate) series: Vec<Vec<Bucket>>,
    /// The coarsest roll-ups that took part; none: all of it was computed from samples.
    /// An answer made of them says so.
    pub(crate) tier: Option<Tier>,
}

/// Series that are looked for in a lane before it is copied.
const LOOKED_FOR_MAX: usize = 16;

fn damaged(why: impl ToString) -> QueryError {
    QueryError::Store(format!("read a row of samples: {}", why.to_string()))
}

impl Reader<'_> {
    /// Raw samples of each of the agent's series in `[from, to)`. Series that were
    /// sampled together share their instants.
    ///
    /// # Errors
    /// [`QueryError`].
    pub(crate) fn columns(
        &self,
        agent: AgentNo,
        ids: &[SeriesId],
        (from, to): Range,
        n_read: &mut usize,
    ) -> Result<Vec<Run>, QueryError> {
        self.check_time()?;
        let mut open: Vec<Vec<Run>> = vec![Vec::new(); ids.len()];
        self.scan_lanes(agent, ids, (from, to), &mut open);
        // Merged rows first: of samples that arrived together the later source stands.
        let mut runs: Vec<Vec<Run>> = vec![Vec::new(); ids.len()];
        let mut outcome = Ok(());
        self.shared.store().read(&mut |rows| {
            outcome = self.long_runs(rows, agent, ids, (from, to), &mut runs);
            if outcome.is_ok() {
                outcome = self.fresh_runs(rows, agent, ids, (from, to), &mut runs);
            }
        })?;
        outcome?;
        let mut joiner = Joiner::default();
        let joined = runs.into_iter().zip(open).map(|(mut runs, open)| {
            runs.extend(open);
            joiner.join(runs)
        });
        let joined: Vec<Run> = joined.collect();
        *n_read += joined.iter().map(Run::len).sum::<usize>();
        self.check_samples(*n_read)?;
        Ok(joined)
    }

    fn scan_lanes(&self, agent: AgentNo, ids: &[SeriesId], (from, to): Range, open: &mut [Vec<Run>]) {
        let cells: Vec<_> = {
            let catalogue = self.shared.catalogue();
            catalogue.lanes.get(&agent).into_iter().flat_map(|lanes| lanes.values().cloned()).collect()
        };
        for cell in cells {
            let (sealing, lane) = {
                let state = cell.read();
                let overlaps = state.lane.time_range().is_some_and(|(min, max)| min < to && max >= from);
                // A copy costs more than a look for a few series, of which one lane of many has any.
                let is_wanted = overlaps && (ids.len() > LOOKED_FOR_MAX || ids.iter().any(|id| state.lane.has(*id)));
                (state.sealing.clone(), is_wanted.then(|| state.lane.clone()))
            };
            if let Some(part) = sealing {
                part.scan(ids, from, to, open);
            }
            if let Some(lane) = lane {
                lane.scan(ids, from, to, open);
            }
        }
    }

    fn long_runs(
        &self,
        rows: &dyn Rows,
        agent: AgentNo,
        ids: &[SeriesId],
        (from, to): Range,
        runs: &mut [Vec<Run>],
    ) -> Result<(), QueryError> {
        let mut n_read = 0;
        self.each_part(rows, Tier::Long, agent, ids, (from, to), |row, wanted| {
            let mut chunk = ChunkReader::open(row).map_err(damaged)?;
            for &at in wanted {
                let run = chunk.read(ids[at], from, to).map_err(damaged)?;
                n_read += run.as_ref().map_or(0, Run::len);
                runs[at].extend(run);
            }
            self.check_samples(n_read)
        })
    }

    fn fresh_runs(
        &self,
        rows: &dyn Rows,
        agent: AgentNo,
        ids: &[SeriesId],
        (from, to): Range,
        runs: &mut [Vec<Run>],
    ) -> Result<(), QueryError> {
        let first = Chunk::seek(agent, from).encode();
        let mut keys = Vec::new();
        spans::each(rows, Tier::Fresh, (&first, &after_prefix(&agent.0.to_be_bytes())), |key, span| {
            if Chunk::decode(key).is_some_and(|chunk| chunk.overlaps(from, to)) {
                keys.push((span.facts.arrived, key.to_vec()));
            }
            ControlFlow::Continue(())
        })?;
        keys.sort();
        let mut n_read = 0;
        for (_, key) in keys {
            let Some(row) = rows.get(Family::Chunks, &key)? else { continue };
            let mut chunk = ChunkReader::open(&row).map_err(damaged)?;
            for (id, runs) in ids.iter().zip(&mut *runs) {
                let run = chunk.read(*id, from, to).map_err(damaged)?;
                n_read += run.as_ref().map_or(0, Run::len);
                runs.extend(run);
            }
            self.check_time()?;
            self.check_samples(n_read)?;
        }
        Ok(())
    }

    /// Visits the parts of a tier that may hold any of `ids`, with the places of those
    /// ids. Only these rows are read.
    fn each_part(
        &self,
        rows: &dyn Rows,
        tier: Tier,
        agent: AgentNo,
        ids: &[SeriesId],
        (from, to): Range,
        mut visit: impl FnMut(&[u8], &[usize]) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        if to <= from {
            return Ok(());
        }
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|&at| ids[at]);
        let windows = (tier.window_of(from), tier.window_of(to.shifted(-1)).shifted(1));
        for (part, span) in spans::parts(rows, tier, agent, windows)? {
            let begin = order.partition_point(|&at| ids[at] < part.first);
            let end = order.partition_point(|&at| ids[at] <= span.last).max(begin);
            if begin == end || span.facts.min_time >= to || span.facts.max_time < from {
                continue;
            }
            // Retention may have taken the row since the span was read, not in this view.
            let Some(row) = rows.get(Family::of(tier), &part.encode())? else { continue };
            visit(&row, &order[begin..end])?;
            self.check_time()?;
        }
        Ok(())
    }

    /// Buckets of `step` milliseconds, of a minute or [`HOUR_MS`], that start in
    /// `[from, to)`, both multiples of it. Raw samples serve where they are, unless
    /// `prefers_rollups`; roll-ups serve where samples are gone.
    ///
    /// # Errors
    /// [`QueryError`].
    pub(crate) fn buckets(
        &self,
        agent: AgentNo,
        ids: &[SeriesId],
        (from, to): Range,
        step: i64,
        prefers_rollups: bool,
        n_read: &mut usize,
    ) -> Result<Buckets, QueryError> {
        let mut found: Vec<Vec<Bucket>> = vec![Vec::new(); ids.len()];
        let until = if prefers_rollups { to } else { self.raw_from(agent, to)? };
        // A bucket of which samples hold only the end comes from roll-ups, whole.
        let until = UnixMillis(rollup::start_of(until.0.saturating_add(step - 1), step));
        let open = self.open_from(agent);
        let (mut outcome, mut merged) = (Ok(None), from);
        self.shared.store().read(&mut |rows| {
            outcome = merged_until(rows, agent, open).and_then(|end| {
                merged = end.min(until).clamp(from, to);
                self.rolled(rows, agent, ids, (from, merged), step, &mut found)
            });
        })?;
        let tier = outcome?;
        let samples = self.columns(agent, ids, (merged, to), n_read)?;
        for (buckets, run) in found.iter_mut().zip(&samples) {
            buckets.extend(rollup::roll(run.points(), step));
        }
        *n_read += found.iter().map(Vec::len).sum::<usize>();
        self.check_samples(*n_read)?;
        Ok(Buckets { series: found, tier })
    }

    /// Hours where they are built, else minutes; gives the coarsest that took part.
    fn rolled(
        &self,
        rows: &dyn Rows,
        agent: AgentNo,
        ids: &[SeriesId],
        (from, until): Range,
        step: i64,
        found: &mut [Vec<Bucket>],
    ) -> Result<Option<Tier>, QueryError> {
        let mut coarsest = None;
        let mut at = from;
        // From row to row: years without any would be walked window by window.
        while let Some(next) = next_window(rows, agent, at)? {
            at = at.max(next);
            if at >= until {
                break;
            }
            let window = Tier::Hours.window_of(at);
            let range = (at, window.shifted(Tier::Hours.window_ms()).min(until));
            let is_built = step == HOUR_MS && !spans::is_due(rows, agent, window)?;
            let tiers: &[Tier] = if is_built { &[Tier::Hours, Tier::Minutes] } else { &[Tier::Minutes] };
            for tier in tiers {
                if self.rows_of(rows, (*tier, agent), ids, range, step, found)? {
                    coarsest = coarsest.max(Some(*tier));
                    break;
                }
            }
            at = range.1;
        }
        Ok(coarsest)
    }

    fn open_from(&self, agent: AgentNo) -> UnixMillis {
        let catalogue = self.shared.catalogue();
        let cells = catalogue.lanes.get(&agent).into_iter().flat_map(|lanes| lanes.values());
        let begins = cells.flat_map(|cell| {
            let state = cell.read();
            let begin = |lane: &signalbox_tsdb::head::Lane| lane.time_range().map(|(min, _)| min);
            [begin(&state.lane), state.sealing.as_deref().and_then(begin)]
        });
        begins.flatten().min().unwrap_or(UnixMillis::MAX)
    }

    fn rows_of(
        &self,
        rows: &dyn Rows,
        (tier, agent): (Tier, AgentNo),
        ids: &[SeriesId],
        range: Range,
        step: i64,
        found: &mut [Vec<Bucket>],
    ) -> Result<bool, QueryError> {
        let mut is_any = false;
        let mut fine: Vec<Vec<Bucket>> = vec![Vec::new(); ids.len()];
        self.each_part(rows, tier, agent, ids, range, |row, wanted| {
            let mut rollups = RollupReader::open(row).map_err(damaged)?;
            for &at in wanted {
                fine[at].extend(rollups.read(ids[at], range.0, range.1).map_err(damaged)?);
            }
            is_any = true;
            Ok(())
        })?;
        for (found, fine) in found.iter_mut().zip(fine) {
            found.extend(rollup::coarsen(fine, step));
        }
        Ok(is_any)
    }

    /// The oldest raw sample that is kept; `or` when there is none.
    ///
    /// # Errors
    /// [`QueryError`].
    pub(crate) fn raw_from(&self, agent: AgentNo, or: UnixMillis) -> Result<UnixMillis, QueryError> {
        let open = self.open_from(agent);
        let mut oldest = Ok(open);
        self.shared.store().read(&mut |rows| {
            let long = first_of(rows, Tier::Long, agent);
            oldest = long.and_then(|long| Ok(fresh_from(rows, agent)?.min(long.unwrap_or(open)).min(open)));
        })?;
        let oldest = oldest?;
        Ok(if oldest == UnixMillis::MAX { or } else { oldest })
    }

    /// The oldest minute that is kept; none without any.
    ///
    /// # Errors
    /// [`QueryError`].
    pub(crate) fn minutes_from(&self, agent: AgentNo) -> Result<Option<UnixMillis>, QueryError> {
        let mut first = Ok(None);
        self.shared.store().read(&mut |rows| first = first_of(rows, Tier::Minutes, agent))?;
        Ok(first?)
    }
}

/// The first window from that of `from` on of which there are roll-ups.
fn next_window(rows: &dyn Rows, agent: AgentNo, from: UnixMillis) -> Result<Option<UnixMillis>, StoreError> {
    let mut first: Option<UnixMillis> = None;
    for tier in [Tier::Minutes, Tier::Hours] {
        let begin = Part::seek(agent, tier.window_of(from)).encode();
        spans::each(rows, tier, (&begin, &after_prefix(&agent.0.to_be_bytes())), |key, _| {
            let window = Part::decode(key).map(|part| part.window);
            first = [first, window].into_iter().flatten().min();
            ControlFlow::Break(())
        })?;
    }
    Ok(first)
}

/// Start of what the first row of a tier holds.
fn first_of(rows: &dyn Rows, tier: Tier, agent: AgentNo) -> Result<Option<UnixMillis>, StoreError> {
    let prefix = agent.0.to_be_bytes();
    let mut first = None;
    spans::each(rows, tier, (&prefix, &after_prefix(&prefix)), |_, span| {
        first = Some(span.facts.min_time);
        ControlFlow::Break(())
    })?;
    Ok(first)
}

/// The oldest sample of fresh chunks; the end of time when there is none.
fn fresh_from(rows: &dyn Rows, agent: AgentNo) -> Result<UnixMillis, StoreError> {
    let prefix = agent.0.to_be_bytes();
    let mut oldest = UnixMillis::MAX;
    spans::each(rows, Tier::Fresh, (&prefix, &after_prefix(&prefix)), |_, span| {
        oldest = oldest.min(span.facts.min_time);
        ControlFlow::Continue(())
    })?;
    Ok(oldest)
}

/// Every window before this is merged or has nothing.
fn merged_until(rows: &dyn Rows, agent: AgentNo, open: UnixMillis) -> Result<UnixMillis, QueryError> {
    Ok(Tier::Minutes.window_of(fresh_from(rows, agent)?.min(open)))
}
