//! Lanes over time: sealed when they are full, forgotten when they are over.

use super::Writer;
use super::agents::MARKS_PER_AGENT_MAX;
use super::intake::Intake;
use super::refusal::PAUSE;
use super::stream::Throttle;
use crate::store::{Family, StoreError, keys};
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_tsdb::keys::{AgentNo, Journal};
use std::sync::Arc;

/// A lane of an old epoch that is quiet for this long is forgotten, its mark is kept.
const LANE_IDLE: Millis = Millis::from_mins(2);

impl Writer {
    pub(super) fn seal_due(&mut self, touched: &[(AgentNo, u64)], at: UnixMillis) {
        for &(no, epoch) in touched {
            self.seal_if_due(no, epoch, at);
        }
    }

    /// Once a second: seals what is due by age, forgets what is over.
    pub fn tidy(&mut self, at: UnixMillis) {
        self.forget_idle_lanes(at);
        let lanes: Vec<_> =
            self.agents.iter().flat_map(|entry| entry.lanes.keys().map(|epoch| (entry.no, *epoch))).collect();
        self.seal_due(&lanes, at);
        self.retire_quiet(at);
    }

    /// # Errors
    /// [`StoreError`] when the thread that seals has died: see [`super::seal`].
    pub(super) fn check_sealer(&self) -> Result<(), StoreError> {
        if !self.sealer.is_gone() {
            return Ok(());
        }
        let why = "its thread panicked; nothing is lost, the next start seals from the journal";
        Err(StoreError::Failed { what: "seal chunks".to_owned(), why: why.to_owned() })
    }

    fn seal_if_due(&mut self, no: AgentNo, epoch: u64, at: UnixMillis) {
        let Some(entry) = self.agents.get_mut(no) else { return };
        let is_live = entry.is_live(epoch);
        let Some(lane) = entry.lanes.get(&epoch) else { return };
        let is_idle = !is_live && at.since(lane.last_received) >= LANE_IDLE;
        let mut state = lane.cell.write();
        let is_due = state.lane.due(at, &self.seal_limits) || (is_idle && !state.lane.is_empty());
        if !is_due || state.sealing.is_some() || !self.sealer.has_room() {
            return;
        }
        if let Some(part) = state.lane.split().map(Arc::new) {
            state.sealing = Some(Arc::clone(&part));
            self.sealer.give(no, part);
        }
    }

    /// The chunks are in the store: readers find them there.
    pub(super) fn release_sealed(&mut self, intake: &Intake) {
        for &(no, epoch) in &intake.sealed {
            if let Some(lane) = self.agents.get_mut(no).and_then(|entry| entry.lanes.get(&epoch)) {
                lane.cell.write().sealing = None;
            }
        }
    }

    /// Old epochs that are sealed and quiet leave memory and journal, and so does the
    /// live one of an agent that is away for long: it begins again with a key batch.
    /// Old marks go.
    fn forget_idle_lanes(&mut self, at: UnixMillis) {
        let out = &mut self.housekeeping;
        for entry in self.agents.iter_mut() {
            let (no, is_away) = (entry.no, entry.standing.is_none());
            if is_away || entry.lanes.len() > 1 {
                let mut lanes = std::mem::take(&mut entry.lanes);
                lanes.retain(|&epoch, lane| {
                    let state = lane.cell.read();
                    let is_live = entry.is_live(epoch);
                    let idle_after = if is_live { self.retirement.after() } else { LANE_IDLE };
                    let is_idle = at.since(lane.last_received) >= idle_after && (is_away || !is_live);
                    let is_kept = !is_idle || !state.lane.is_empty() || state.sealing.is_some();
                    if !is_kept {
                        let end = Journal::first(no, epoch.saturating_add(1)).encode();
                        out.delete_range(Family::Journal, Journal::first(no, epoch).encode(), end);
                        if let Some(lanes) = self.shared.catalogue_mut().lanes.get_mut(&no) {
                            lanes.remove(&epoch);
                        }
                    }
                    is_kept
                });
                entry.lanes = lanes;
            }
            while entry.marks.len() > MARKS_PER_AGENT_MAX {
                let Some((epoch, _)) = entry.marks.pop_first() else { break };
                out.delete(Family::Meta, keys::mark(no, epoch));
            }
        }
    }

    /// Free space fell under its floor, or rose above it: the next turn tells the
    /// engine that silence is nobody's fault.
    pub fn pause_ingest(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// Asks every agent to wait: free space is under the floor.
    pub fn throttle_all(&self, reason: &str) {
        for stream in self.agents.iter().filter_map(|entry| entry.standing.as_ref()).map(|standing| &standing.stream) {
            stream.throttle(Throttle { pause: PAUSE, reason: reason.to_owned() });
        }
    }

    /// Figures that are read, not counted.
    pub fn gauge(&self) {
        let index = self.shared.index();
        metrics::gauge!("signalbox_series").set(index.len() as f64);
        metrics::gauge!("signalbox_index_bytes").set(index.memory().0 as f64);
        metrics::gauge!("signalbox_series_retired")
            .set(index.segments().iter().map(|head| head.n_series).sum::<u64>() as f64);
        metrics::gauge!("signalbox_series_segments").set(index.segments().len() as f64);
        drop(index);
        let stats = self.shared.store().stats();
        metrics::gauge!("signalbox_store_bytes").set(stats.n_bytes as f64);
        metrics::gauge!("signalbox_store_memory_bytes").set(stats.memory_bytes as f64);
        let (mut n_streams, mut lane_bytes, mut open_samples) = (0u32, 0u64, 0u64);
        for entry in self.agents.iter() {
            n_streams += u32::from(entry.standing.is_some());
            for lane in entry.lanes.values() {
                let state = lane.cell.read();
                lane_bytes += state.lane.memory().0;
                open_samples += state.lane.n_samples();
            }
        }
        metrics::gauge!("signalbox_agents").set(self.agents.len() as f64);
        metrics::gauge!("signalbox_streams").set(f64::from(n_streams));
        metrics::gauge!("signalbox_lane_bytes").set(lane_bytes as f64);
        metrics::gauge!("signalbox_open_samples").set(open_samples as f64);
    }
}
