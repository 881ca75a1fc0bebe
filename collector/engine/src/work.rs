//! One decision in the making: the state with changes laid over it.
//!
//! Events are taken one by one, deadlines that lie before an event first. Nothing
//! remembers where a turn began, so no cut into turns can change a result.

use crate::decision::{Answer, Notice, Row, Table};
use crate::due::{DueKey, DueOverlay};
use crate::event::{Event, SeriesId, Stamped};
use crate::overlay::Overlay;
use crate::rules::Rules;
use crate::state::{Agent, FeedKey, Heard, Incident, Known, Meta, Pending, Place, State, TrackKey, Tracked};
use crate::watermarks::FeedOverlay;
use signalbox_proto::api;
use signalbox_proto::names::AgentId;
use signalbox_proto::units::UnixMillis;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The state as it would be, and what is said on the way.
pub(crate) struct Work<'a> {
    /// The collector's clock: the stamp of the event, or the deadline, at hand.
    pub(crate) now: UnixMillis,
    pub(crate) meta: Meta,
    pub(crate) rules: Arc<Rules>,
    pub(crate) rules_changed: bool,
    pub(crate) agents: Overlay<'a, AgentId, Agent>,
    pub(crate) heard: Overlay<'a, AgentId, Heard>,
    pub(crate) result_times: Overlay<'a, AgentId, BTreeMap<String, UnixMillis>>,
    pub(crate) feeds: FeedOverlay<'a>,
    pub(crate) feed_of: Overlay<'a, SeriesId, FeedKey>,
    pub(crate) series: Overlay<'a, SeriesId, Known>,
    pub(crate) tracks: Overlay<'a, TrackKey, Tracked>,
    pub(crate) incidents: Overlay<'a, u64, Incident>,
    pub(crate) ledgers: Overlay<'a, u64, Vec<api::LedgerLine>>,
    pub(crate) snoozes: Overlay<'a, u64, api::Snooze>,
    pub(crate) outbox: Overlay<'a, String, Pending>,
    pub(crate) lines: Overlay<'a, Place, String>,
    pub(crate) due: DueOverlay<'a>,
    /// Feeds whose rows are worth keeping.
    pub(crate) kept_feeds: BTreeSet<FeedKey>,
    /// Incidents that leave the memory, not the store.
    pub(crate) forgotten: BTreeSet<u64>,
    /// Rows that are only ever added.
    pub(crate) added: Vec<Row>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) answers: Vec<Answer>,
}

impl<'a> Work<'a> {
    /// Begins at the state as adopted.
    pub(crate) fn over(base: &'a State) -> Self {
        Work {
            now: UnixMillis::MIN,
            meta: base.meta.clone(),
            rules: Arc::clone(&base.rules),
            rules_changed: false,
            agents: Overlay::over(&base.agents),
            heard: Overlay::over(&base.heard),
            result_times: Overlay::over(&base.result_times),
            feeds: FeedOverlay::over(&base.feeds),
            feed_of: Overlay::over(&base.feed_of),
            series: Overlay::over(&base.series),
            tracks: Overlay::over(&base.tracks),
            incidents: Overlay::over(&base.incidents),
            ledgers: Overlay::over(&base.ledgers),
            snoozes: Overlay::over(&base.snoozes),
            outbox: Overlay::over(&base.outbox),
            lines: Overlay::over(&base.lines),
            due: DueOverlay::over(&base.due),
            kept_feeds: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            added: Vec::new(),
            notices: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Takes one event, and what was due before it.
    pub(crate) fn step(&mut self, stamped: &Stamped) {
        if matches!(stamped.event, Event::CollectorStarted) {
            // Before any deadline: while nobody listened, no clock may have run out.
            self.now = stamped.at;
            self.collector_started();
        }
        self.run_due(stamped.at);
        self.now = stamped.at;
        self.due.reach(self.now);
        match &stamped.event {
            Event::CollectorStarted | Event::Tick => {}
            Event::IngestPaused { paused } => self.ingest_paused(*paused),
            Event::StreamRefused { agent, why } => self.stream_refused(agent, why),
            Event::Rules(set) => self.take_rules(set),
            Event::AgentConnected(hello) => self.agent_connected(hello),
            Event::AgentHeartbeat { agent, wall, n_backlog } => self.agent_heartbeat(agent, *wall, *n_backlog),
            Event::AgentDisconnected { agent, goodbye } => self.agent_disconnected(agent, goodbye.as_deref()),
            Event::SeriesKnown { agent, series, labels } => self.series_known(agent, *series, labels),
            Event::SeriesForgotten { series } => series.iter().for_each(|id| self.series_forgotten(*id)),
            Event::CheckLayout { agent, check, interval, series } => self.check_layout(agent, check, *interval, series),
            Event::Samples { agent, live, ticks } => self.samples(agent, *live, ticks),
            Event::Result { agent, result } => self.check_result(agent, result),
            Event::Agent { agent, event } => self.agent_event(agent, event),
            Event::Command(command) => self.command(command),
            Event::Delivery { key, outcome } => self.delivery(key, outcome),
        }
    }

    /// Time goes on to `until`, deadline by deadline.
    fn run_due(&mut self, until: UnixMillis) {
        while let Some((at, key)) = self.due.take(until) {
            self.now = self.now.max(at);
            self.due.reach(self.now);
            match key {
                DueKey::Agent(agent) => self.agent_due(&agent),
                DueKey::Feed(feed) => self.feed_due(&feed),
                DueKey::Identity(agent) => self.identity_due(&agent),
                DueKey::Snooze(id) => self.snooze_due(id),
                DueKey::Notice(key) => self.notice_due(&key),
            }
        }
    }

    /// Tracks of a series, by rule id.
    pub(crate) fn track_keys(&self, series: SeriesId) -> Vec<TrackKey> {
        let first = TrackKey { series, rule: "".into() };
        let after = TrackKey { series: SeriesId(series.0.saturating_add(1)), rule: "".into() };
        self.tracks.keys_in(first..after)
    }

    /// Keeps a row that is never changed again.
    pub(crate) fn add_row(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.added.push(Row { table, key, value: Some(value) });
    }
}
