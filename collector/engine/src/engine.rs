//! The engine: holds the adopted state, decides without touching it.

use crate::board::Board;
use crate::decision::{Notice, Row, Table};
use crate::event::{Band, SeriesId, Stamped};
use crate::incidents::RECENT_INCIDENTS_MAX;
use crate::overlay::{Changes, adopt};
use crate::rows::{self, RestoreError};
use crate::rules::Rules;
use crate::state::{Agent, Feed, FeedKey, Heard, Incident, Known, Meta, Pending, Place, State, TrackKey, Tracked};
use crate::watermarks::AgentFeeds;
use crate::work::Work;
use signalbox_proto::api;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::UnixMillis;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Every verdict, as far as it was made durable.
#[derive(Debug, Default, Clone)]
pub struct Engine {
    state: State,
}

/// What a list of events comes to: rows to keep, notices, answers; adopted later.
#[derive(Debug)]
pub struct Decision {
    meta: Option<Meta>,
    rules: Option<Arc<Rules>>,
    agents: Changes<AgentId, Agent>,
    heard: Changes<AgentId, Heard>,
    result_times: Changes<AgentId, BTreeMap<String, UnixMillis>>,
    feeds: Changes<AgentId, AgentFeeds>,
    kept_feeds: BTreeSet<FeedKey>,
    feed_of: Changes<SeriesId, FeedKey>,
    series: Changes<SeriesId, Known>,
    tracks: Changes<TrackKey, Tracked>,
    incidents: Changes<u64, Incident>,
    forgotten: BTreeSet<u64>,
    ledgers: Changes<u64, Vec<api::LedgerLine>>,
    snoozes: Changes<u64, api::Snooze>,
    outbox: Changes<String, Pending>,
    lines: Changes<Place, String>,
    due: BTreeMap<crate::due::DueKey, Option<UnixMillis>>,
    added: Vec<Row>,
    notices: Vec<Notice>,
    answers: Vec<crate::decision::Answer>,
    bands: Vec<(SeriesId, Band)>,
}

impl Engine {
    /// Knows nothing: rules come by [`crate::event::Event::Rules`].
    pub fn new() -> Engine {
        Engine::default()
    }

    /// Goes on where a previous life stopped. Rows may come in any order; the
    /// rules, and the series that they select, come as events afterwards.
    ///
    /// # Errors
    /// [`RestoreError`] names the row that is malformed.
    pub fn restore(rows: impl IntoIterator<Item = (Table, Vec<u8>, Vec<u8>)>) -> Result<Engine, RestoreError> {
        let mut state = State::default();
        let mut lines: Vec<api::LedgerLine> = Vec::new();
        for (table, key, value) in rows {
            restore_row(&mut state, &mut lines, table, &key, &value)?;
        }
        let last = state.meta.incidents;
        state.incidents.retain(|number, incident| incident.is_open() || number + RECENT_INCIDENTS_MAX > last);
        lines.sort_by_key(|line| line.id);
        for line in lines {
            if state.incidents.contains_key(&line.incident) {
                state.ledgers.entry(line.incident).or_default().push(line);
            }
        }
        let mut engine = Engine { state };
        engine.arm_all();
        Ok(engine)
    }

    /// Judges a list of events. The engine stays as it is.
    pub fn decide(&self, events: &[Stamped]) -> Decision {
        let mut work = Work::over(&self.state);
        for event in events {
            work.step(event);
        }
        self.finish(work)
    }

    /// Makes a decision true, once it is durable.
    pub fn adopt(&mut self, decision: Decision) {
        let state = &mut self.state;
        if let Some(meta) = decision.meta {
            state.meta = meta;
        }
        if let Some(rules) = decision.rules {
            state.rules = rules;
        }
        adopt(&mut state.agents, decision.agents);
        adopt(&mut state.heard, decision.heard);
        adopt(&mut state.result_times, decision.result_times);
        adopt(&mut state.feeds, decision.feeds);
        adopt(&mut state.feed_of, decision.feed_of);
        adopt(&mut state.series, decision.series);
        adopt(&mut state.tracks, decision.tracks);
        adopt(&mut state.incidents, decision.incidents);
        adopt(&mut state.ledgers, decision.ledgers);
        adopt(&mut state.snoozes, decision.snoozes);
        adopt(&mut state.outbox, decision.outbox);
        adopt(&mut state.lines, decision.lines);
        for (key, at) in decision.due {
            state.due.set(key, at);
        }
        for number in decision.forgotten {
            state.incidents.remove(&number);
            state.ledgers.remove(&number);
        }
    }

    /// Version of the rules in force; empty before the first.
    pub fn rules_version(&self) -> &str {
        &self.state.meta.rules_version
    }

    /// True when a rule in force judges series of these labels.
    pub fn selects(&self, labels: &Labels) -> bool {
        self.state.rules.selects(labels)
    }

    /// Values of a series for which nothing can change now: what all of its tracks
    /// call quiet. [`Band::ALL`] for a series that nothing watches.
    pub fn band(&self, series: SeriesId) -> Band {
        let known = self.state.series.get(&series);
        known.map_or(Band::ALL, |known| band(&self.state.rules, series, known, |key| self.state.tracks.get(key)))
    }

    /// True when no item of the series is shown: it was never selected, or it is gone
    /// by its agent's word or with its agent. Then it may be forgotten.
    pub fn lets_go(&self, series: SeriesId) -> bool {
        let from = TrackKey { series, rule: Arc::from("") };
        let mut tracks = self.state.tracks.range(from..).take_while(|(key, _)| key.series == series);
        tracks.all(|(_, tracked)| tracked.gone)
    }

    /// True when anything is known of the series.
    pub fn knows(&self, series: SeriesId) -> bool {
        self.state.series.contains_key(&series) || self.state.feed_of.contains_key(&series)
    }

    /// When time alone may next change something, collector's clock.
    pub fn next_due(&self) -> Option<UnixMillis> {
        self.state.due.first()
    }

    /// What people see, as of `at`, the collector's clock.
    pub fn board(&self, at: UnixMillis) -> Board {
        self.board_with(at, &|_| None)
    }

    /// [`Engine::board`] with the latest values of series, which the engine itself does
    /// not hear of while they stay in their quiet band.
    pub fn board_with(&self, at: UnixMillis, latest: &dyn Fn(SeriesId) -> Option<f64>) -> Board {
        crate::board::build(&self.state, at, latest)
    }

    /// Notices that were handed to a notifier in a previous life and that nobody
    /// answered for: to be sent again, under their keys. Those that wait for a
    /// retry, or behind an older one, come by themselves.
    pub fn pending_notices(&self) -> Vec<Notice> {
        let mut line: Option<&Place> = None;
        let mut heads = Vec::new();
        for (place, key) in &self.state.lines {
            if !line.is_some_and(|line| line.is_same_line(place)) {
                heads.extend(self.state.outbox.get(key).filter(|pending| pending.retry_at.is_none()));
            }
            line = Some(place);
        }
        heads.into_iter().map(|pending| pending.notice.clone()).collect()
    }

    /// How often each limit was met, by its name, over restarts too.
    pub fn limits_met(&self) -> [(&'static str, u64); 6] {
        self.state.meta.limits.counts()
    }

    /// The state, for looking at it otherwise.
    pub(crate) fn into_state(self) -> State {
        self.state
    }

    fn finish(&self, work: Work<'_>) -> Decision {
        let rules_changed = work.rules_changed;
        let bands = self.changed_bands(&work);
        Decision {
            meta: (work.meta != self.state.meta).then_some(work.meta),
            rules: rules_changed.then_some(work.rules),
            agents: work.agents.into_changes(),
            heard: work.heard.into_changes(),
            result_times: work.result_times.into_changes(),
            feeds: work.feeds.into_changes(),
            kept_feeds: work.kept_feeds,
            feed_of: work.feed_of.into_changes(),
            series: work.series.into_changes(),
            tracks: work.tracks.into_changes(),
            incidents: work.incidents.into_changes(),
            forgotten: work.forgotten,
            ledgers: work.ledgers.into_changes(),
            snoozes: work.snoozes.into_changes(),
            outbox: work.outbox.into_changes(),
            lines: work.lines.into_changes(),
            due: work.due.into_changes(),
            added: work.added,
            notices: work.notices,
            answers: work.answers,
            bands,
        }
    }

    fn changed_bands(&self, work: &Work<'_>) -> Vec<(SeriesId, Band)> {
        let mut touched: BTreeSet<SeriesId> = work.tracks.changed().map(|key| key.series).collect();
        touched.extend(work.series.changed().copied());
        let after = |series: SeriesId| {
            let known = work.series.get(&series);
            known.map_or(Band::ALL, |known| band(&work.rules, series, known, |key| work.tracks.get(key)))
        };
        let pairs = touched.into_iter().map(|series| (series, after(series)));
        pairs.filter(|(series, after)| self.band(*series) != *after).collect()
    }

    /// Deadlines are not kept: they follow from the rows.
    fn arm_all(&mut self) {
        let mut work = Work::over(&self.state);
        work.arm_restored();
        let decision = self.finish(work);
        self.adopt(decision);
    }
}

/// What all tracks of a series call quiet.
fn band<'t>(rules: &Rules, series: SeriesId, known: &Known, track: impl Fn(&TrackKey) -> Option<&'t Tracked>) -> Band {
    let mut all = Band::ALL;
    for used in known.uses.iter() {
        let key = TrackKey { series, rule: Arc::clone(&used.id) };
        let one = track(&key).map_or(Band::NONE, |tracked| tracked.track.band(rules.judgement(used)));
        all = Band { low: all.low.max(one.low), high: all.high.min(one.high) };
    }
    all
}

fn restore_row(
    state: &mut State,
    lines: &mut Vec<api::LedgerLine>,
    table: Table,
    key: &[u8],
    value: &[u8],
) -> Result<(), RestoreError> {
    match table {
        Table::Meta => state.meta = rows::decode(table, key, value)?,
        Table::Agents => {
            state.agents.insert(rows::parse_agent(key)?, rows::decode(table, key, value)?);
        }
        Table::Tracks => {
            state.tracks.insert(rows::parse_track(key)?, rows::decode(table, key, value)?);
        }
        Table::Incidents => {
            state.incidents.insert(rows::parse_number(table, key)?, rows::decode(table, key, value)?);
        }
        Table::Snoozes => {
            state.snoozes.insert(rows::parse_number(table, key)?, rows::decode(table, key, value)?);
        }
        Table::Outbox => {
            let pending: Pending = rows::decode(table, key, value)?;
            state.lines.insert(pending.place(), pending.notice.key.clone());
            state.outbox.insert(pending.notice.key.clone(), pending);
        }
        Table::Ledger => lines.push(rows::decode(table, key, value)?),
        Table::Feeds => {
            let key = rows::parse_feed(key)?;
            let mut feed: Feed = rows::decode(table, value, value)?;
            feed.saved = feed.last;
            for series in feed.series.iter() {
                state.feed_of.insert(*series, key.clone());
            }
            state.feeds.entry(key.agent).or_default().insert(key.check, feed);
        }
        // History for people: no verdict needs it.
        Table::Rulesets => {}
    }
    Ok(())
}

impl Decision {
    /// What the store must keep, all or nothing.
    pub fn rows(&self) -> Vec<Row> {
        let mut all = self.added.clone();
        if let Some(meta) = &self.meta {
            all.push(rows::row(Table::Meta, rows::META_KEY.to_vec(), Some(meta)));
        }
        for (id, agent) in &self.agents {
            all.push(rows::row(Table::Agents, id.as_str().as_bytes().to_vec(), agent.as_ref()));
        }
        for key in &self.kept_feeds {
            let feed = self.feeds.get(&key.agent).and_then(|feeds| feeds.as_ref()?.get(&key.check));
            all.extend(feed.map(|feed| rows::row(Table::Feeds, rows::feed_key(key), Some(feed))));
        }
        for (key, track) in &self.tracks {
            all.push(rows::row(Table::Tracks, rows::track_key(key), track.as_ref()));
        }
        for (number, incident) in &self.incidents {
            all.push(rows::row(Table::Incidents, rows::number_key(*number), incident.as_ref()));
        }
        for (id, snooze) in &self.snoozes {
            all.push(rows::row(Table::Snoozes, rows::number_key(*id), snooze.as_ref()));
        }
        for (key, pending) in &self.outbox {
            all.push(rows::row(Table::Outbox, key.as_bytes().to_vec(), pending.as_ref()));
        }
        all
    }

    /// What notifiers are to send, after the commit.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// Answers to the commands among the events, in their order.
    pub fn answers(&self) -> &[crate::decision::Answer] {
        &self.answers
    }

    /// Series whose quiet band is another from the adoption on.
    pub fn bands(&self) -> &[(SeriesId, Band)] {
        &self.bands
    }

    /// True when other rules are in force from the adoption on: ask
    /// [`Engine::selects`] again and repeat the series.
    pub fn rules_changed(&self) -> bool {
        self.rules.is_some()
    }

    /// True when there is nothing to keep, to send or to answer. Adopt it all the
    /// same: watermarks move.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.meta.is_none()
            && self.rules.is_none()
            && self.agents.is_empty()
            && self.kept_feeds.is_empty()
            && self.tracks.is_empty()
            && self.incidents.is_empty()
            && self.snoozes.is_empty()
            && self.outbox.is_empty()
            && self.notices.is_empty()
            && self.answers.is_empty()
    }
}
