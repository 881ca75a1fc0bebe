//! Series that are quiet for long leave memory.
//!
//! ```text
//! tidy: choose, rows and lists into the next commit ──▶ turn: told to the engine, committed
//!                                                        ──▶ adopted: out of index and sieve
//! ```
//!
//! A series goes when nothing was heard of it for [`QUIET_DEFAULT`] or as the
//! configuration says, no lane can still use it, and the engine shows no item of it:
//! what a rule selects stays until its agent gives it up or is retired. Its dictionary
//! row moves and its segment appears in one commit, so that a crash finds the series
//! in memory's rows or among the retired, never in both or in neither.

use super::Writer;
use super::agents::Agents;
use super::intake::Intake;
use crate::store::{Commit, Family};
use roaring::RoaringBitmap;
use signalbox_engine::engine::Engine;
use signalbox_engine::event::{Event, SeriesId as WatchedId};
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_tsdb::index::SeriesIndex;
use signalbox_tsdb::keys::AgentNo;
use signalbox_tsdb::segment::{self, Builder, Head};
use signalbox_tsdb::{SeriesId, keys};
use std::collections::HashMap;

/// A series is quiet when nothing was heard of it for so long.
pub(crate) const QUIET_DEFAULT: Millis = Millis::from_mins(60);
/// Between two looks for quiet series, when the last one found all there were.
const LOOK_EVERY: Millis = Millis::from_mins(1);
/// Series that leave in one turn at most: bounds its commit, and what it takes of the
/// writer's time.
const RETIRED_MAX: usize = 4096;

/// What is on its way out.
#[derive(Debug)]
pub(super) struct Retirement {
    after: Millis,
    looked_at: UnixMillis,
    leaving: Vec<SeriesId>,
    head: Option<Head>,
}

impl Default for Retirement {
    fn default() -> Self {
        Retirement { after: QUIET_DEFAULT, looked_at: UnixMillis::MIN, leaving: Vec::new(), head: None }
    }
}

impl Retirement {
    /// How long a series must be quiet.
    pub(super) fn after(&self) -> Millis {
        self.after
    }

    /// The turn was refused and everything read back: nobody leaves.
    pub(super) fn undo(&mut self) {
        self.leaving.clear();
        self.head = None;
    }

    /// The engine forgets what it knows of those that leave with this turn.
    pub(super) fn tell(&self, engine: &Engine, at: UnixMillis, out: &mut Intake) {
        let known = self.leaving.iter().map(|id| WatchedId(id.0)).filter(|id| engine.knows(*id));
        let series: std::sync::Arc<[WatchedId]> = known.collect();
        if !series.is_empty() {
            out.event(at, Event::SeriesForgotten { series });
        }
    }
}

impl Writer {
    /// Series are quiet after this; tests and configuration say it.
    pub fn set_quiet_after(&mut self, after: Millis) {
        self.retirement.after = after;
    }

    /// Puts quiet series into the next commit.
    pub(super) fn retire_quiet(&mut self, at: UnixMillis) {
        let due = at.since(self.retirement.looked_at) >= LOOK_EVERY;
        if !due || !self.retirement.leaving.is_empty() || self.is_refused {
            return;
        }
        let horizon = at - self.retirement.after;
        let mut used = InLanes { agents: &self.agents, of: HashMap::new() };
        let mut index = self.shared.index_mut();
        let may_go = |id: SeriesId, owner| self.engine.lets_go(WatchedId(id.0)) && !used.has(owner, id);
        let leaving = index.quiet(horizon, RETIRED_MAX, may_go);
        if leaving.len() < RETIRED_MAX {
            self.retirement.looked_at = at;
        }
        self.retirement.head = move_out(&mut index, &leaving, self.shared.next_segment(), &mut self.housekeeping);
        self.retirement.leaving = leaving;
    }

    /// The turn is durable: whoever left is found on disk.
    pub(super) fn forget_retired(&mut self, intake: &Intake) {
        if self.retirement.leaving.is_empty() && intake.segments.is_empty() {
            return;
        }
        let mut index = self.shared.index_mut();
        for change in &intake.segments {
            index.replace_segments(&change.gone(), change.head());
        }
        index.replace_segments(&[], self.retirement.head.take());
        metrics::counter!("signalbox_series_retired_total").increment(self.retirement.leaving.len() as u64);
        for id in self.retirement.leaving.drain(..) {
            index.forget(id);
            self.sieve.forget(WatchedId(id.0));
        }
    }
}

/// Rows of one segment into the commit; the series are leaving from here on.
fn move_out(index: &mut SeriesIndex, leaving: &[SeriesId], segment: u64, commit: &mut Commit) -> Option<Head> {
    let mut builder = Builder::default();
    for &id in leaving {
        let Some(row) = index.retired_row(id) else { continue };
        let Some(bytes) = row.encode() else { continue };
        builder.add(id, &row);
        commit.put(Family::Postings, segment::key::series(id), bytes);
        commit.delete(Family::Series, keys::series(id));
        index.retire(id);
    }
    let (head, rows) = builder.build(segment, 0)?;
    for (key, row) in rows {
        commit.put(Family::Postings, key, row);
    }
    Some(head)
}

/// Series that open lanes name, looked up once an agent.
struct InLanes<'a> {
    agents: &'a Agents,
    of: HashMap<AgentNo, RoaringBitmap>,
}

impl InLanes<'_> {
    fn has(&mut self, owner: AgentNo, id: SeriesId) -> bool {
        let named = || {
            let mut named = RoaringBitmap::new();
            for lane in self.agents.get(owner).into_iter().flat_map(|entry| entry.lanes.values()) {
                let state = lane.cell.read();
                named.extend(state.lane.series().map(|id| id.0));
                named.extend(state.sealing.iter().flat_map(|part| part.series()).map(|id| id.0));
            }
            named
        };
        self.of.entry(owner).or_insert_with(named).contains(id.0)
    }
}
