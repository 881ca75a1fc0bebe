//! Agents: up, missing, down, unreachable, stopped, never seen, retired.
//!
//! ```text
//!              stream ends / half the silence           down_after / unreachable_after
//!   [up] ───────────────────────────────▶ [missing] ───────────────────────▶ [down] / [unreachable]
//!    ▲ │ goodbye                             │                                   │      one incident
//!    │ └──────────▶ [stopped] ──stopped_max──│──────────▶ [down]                 │
//!    └── hello, heartbeat or batch ──────────┴───────────────────────────────────┘
//!   named in configuration: [never seen]      by command or retire_after: [retired]
//! ```
//!
//! While an agent is missing, its items wait for the verdict; once it is lost they
//! are grey and their clocks stand still. Down clocks run in the collector's time
//! and not before the agents had time to reconnect after the collector's start, nor
//! while it takes no samples.

use crate::due::DueKey;
use crate::event::AgentHello;
use crate::rule::AgentClocks;
use crate::state::{Agent, Heard, Subject};
use crate::work::Work;
use signalbox_proto::limits::HEARTBEAT_MS;
use signalbox_proto::names::AgentId;
use signalbox_proto::samples::{AgentEvent, AgentEventKind};
use signalbox_proto::status::AgentState;
use signalbox_proto::units::{Millis, UnixMillis};

/// Heartbeats come every 10 s; one and a half without a word is a miss.
const MISSED_AFTER: Millis = Millis(HEARTBEAT_MS + HEARTBEAT_MS / 2);
/// Less than this between two estimates of a clock's offset is the network's doing.
const OFFSET_NOISE_MS: u64 = 500;
/// A host named in configuration is missed after this long.
const NEVER_SEEN_AFTER: Millis = Millis::from_mins(5);
/// While the collector takes no samples, clocks that ran out look again after this long.
const LISTEN_AGAIN: Millis = Millis::from_secs(10);
/// An agent's row is kept at least this often while it speaks.
const AGENT_ROW_EVERY: Millis = Millis::from_mins(1);

/// Silence until an agent counts as missing.
fn missed_after(clocks: &AgentClocks) -> Millis {
    MISSED_AFTER.min(clocks.unreachable_after)
}

impl Work<'_> {
    /// Down clocks wait: nobody could be heard for a while.
    pub(crate) fn collector_started(&mut self) {
        self.meta.ingest_paused = false;
        self.begin_grace();
        for id in self.agents.keys() {
            // No stream outlives the collector; one that stood through a pause says so soon.
            let now = self.now;
            let is_up = |agent: &Agent| matches!(agent.state, AgentState::Up | AgentState::Missing);
            if self.agents.get(&id).is_some_and(is_up)
                && let Some(agent) = self.agents.get_mut(&id)
            {
                agent.connected = false;
                agent.state = AgentState::Missing;
                (agent.since, agent.lost_since) = (now, now);
            }
            self.arm_agent(&id);
        }
    }

    /// No samples are taken, or they are again. Deadlines that run out meanwhile look
    /// again after a while, so none need be moved here.
    pub(crate) fn ingest_paused(&mut self, paused: bool) {
        if self.meta.ingest_paused && !paused {
            self.begin_grace();
        }
        self.meta.ingest_paused = paused;
    }

    fn begin_grace(&mut self) {
        self.meta.started_at = self.now;
        self.meta.grace_until = self.now + self.rules.set.agents.start_grace;
    }

    /// Until when silence proves nothing: later than now exactly while that holds.
    pub(crate) fn deaf_until(&self) -> UnixMillis {
        let again = if self.meta.ingest_paused { self.now + LISTEN_AGAIN } else { UnixMillis::MIN };
        self.meta.grace_until.max(again)
    }

    /// A stream stands.
    pub(crate) fn agent_connected(&mut self, hello: &AgentHello) {
        let now = self.now;
        let mut agent = self.agents.get(&hello.agent).cloned().unwrap_or_default();
        agent.connected = true;
        agent.version.clone_from(&hello.version);
        agent.boot_id.clone_from(&hello.boot_id);
        agent.labels.clone_from(&hello.labels);
        agent.checks.clone_from(&hello.checks);
        agent.failing_checks.retain(|check, _| hello.checks.iter().any(|known| known.name == *check));
        agent.bad_results.retain(|key, _| hello.checks.iter().any(|known| crate::results::is_of(key, &known.name)));
        agent.last_heard = now;
        self.agents.insert(hello.agent.clone(), agent);
        self.heard_from(&hello.agent, None);
        self.agent_up(&hello.agent);
        self.set_offset(&hello.agent, now.0.saturating_sub(hello.wall.0));
    }

    /// The stream says that it lives.
    pub(crate) fn agent_heartbeat(&mut self, id: &AgentId, wall: UnixMillis, n_backlog: u64) {
        self.agent_lives(id);
        self.heard_from(id, Some(n_backlog));
        let offset_ms = self.now.0.saturating_sub(wall.0);
        let Some(agent) = self.agents.get(id) else { return };
        if offset_ms.abs_diff(agent.offset_ms) <= OFFSET_NOISE_MS {
            if agent.offset_rumour_ms.is_some() {
                self.rumour(id, None);
            }
            return;
        }
        // A heartbeat may have waited somewhere: a new offset counts when it is seen twice.
        match agent.offset_rumour_ms {
            Some(rumour_ms) if offset_ms.abs_diff(rumour_ms) <= OFFSET_NOISE_MS => self.set_offset(id, offset_ms),
            _ => self.rumour(id, Some(offset_ms)),
        }
    }

    fn rumour(&mut self, id: &AgentId, offset_ms: Option<i64>) {
        if let Some(agent) = self.agents.get_mut(id) {
            agent.offset_rumour_ms = offset_ms;
        }
    }

    fn set_offset(&mut self, id: &AgentId, offset_ms: i64) {
        if let Some(agent) = self.agents.get_mut(id) {
            agent.offset_ms = offset_ms;
            agent.offset_rumour_ms = None;
        }
        self.judge_clock(id, offset_ms);
    }

    /// Anything that an agent sends proves that it lives.
    pub(crate) fn agent_lives(&mut self, id: &AgentId) {
        let agent = self.agents.get(id);
        let known = agent.map(|agent| (agent.state, agent.connected, agent.last_heard));
        self.heard_from(id, None);
        match known {
            Some((AgentState::Up, true, kept)) => {
                if self.now.since(kept) >= AGENT_ROW_EVERY
                    && let Some(agent) = self.agents.get_mut(id)
                {
                    agent.last_heard = self.now;
                }
            }
            _ => {
                let mut agent = self.agents.get(id).cloned().unwrap_or_default();
                agent.connected = true;
                agent.last_heard = self.now;
                self.agents.insert(id.clone(), agent);
                self.agent_up(id);
            }
        }
    }

    fn heard_from(&mut self, id: &AgentId, n_backlog: Option<u64>) {
        let old = self.heard.get(id).copied().unwrap_or_default();
        let n_backlog = n_backlog.unwrap_or(old.n_backlog);
        self.heard.insert(id.clone(), Heard { last: self.now, n_backlog });
    }

    fn last_heard(&self, id: &AgentId) -> UnixMillis {
        let kept = self.agents.get(id).map_or(UnixMillis(0), |agent| agent.last_heard);
        self.heard.get(id).map_or(kept, |heard| heard.last.max(kept))
    }

    /// True while nobody knows whether the agent lives.
    pub(crate) fn misses_heartbeats(&self, id: &AgentId) -> bool {
        let missing = self.agents.get(id).is_some_and(|agent| agent.state == AgentState::Missing);
        missing || self.now >= self.last_heard(id) + MISSED_AFTER
    }

    fn agent_up(&mut self, id: &AgentId) {
        let now = self.now;
        let Some(agent) = self.agents.get_mut(id) else { return };
        let (was, incident) = (agent.state, agent.incident);
        if was != AgentState::Up {
            agent.state = AgentState::Up;
            if was != AgentState::Missing || agent.up_since.0 == 0 {
                agent.up_since = now;
            }
            agent.since = agent.up_since;
            self.arm_feeds_of(id);
            self.agent_returned(id, incident);
        }
        self.arm_agent(id);
    }

    fn agent_missing(&mut self, id: &AgentId) {
        let lost_since = self.last_heard(id);
        let now = self.now;
        let Some(agent) = self.agents.get_mut(id) else { return };
        agent.last_heard = lost_since;
        agent.state = AgentState::Missing;
        agent.since = now;
        agent.lost_since = if agent.connected { lost_since } else { now };
    }

    /// The stream ended; `goodbye` is the reason of a planned stop.
    pub(crate) fn agent_disconnected(&mut self, id: &AgentId, goodbye: Option<&str>) {
        let now = self.now;
        let Some(agent) = self.agents.get_mut(id) else { return };
        agent.connected = false;
        match (agent.state, goodbye) {
            (AgentState::Up | AgentState::Missing, Some(_)) => {
                agent.state = AgentState::Stopped;
                agent.since = now;
                agent.lost_since = now;
            }
            (AgentState::Up | AgentState::Missing, None) => self.agent_missing(id),
            _ => {}
        }
        self.arm_agent(id);
    }

    /// Sets the deadline that follows from an agent's state.
    pub(crate) fn arm_agent(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get(id) else { return };
        let clocks = &self.rules.set.agents;
        let heard = self.last_heard(id);
        let grace = self.deaf_until();
        let retire = clocks.retire_after.map(|span| agent.lost_since + span);
        let due = match agent.state {
            AgentState::Up => Some(heard + missed_after(clocks)),
            AgentState::Missing if agent.connected => Some((heard + clocks.unreachable_after).max(grace)),
            AgentState::Missing => Some((agent.lost_since + clocks.down_after).max(grace)),
            AgentState::Stopped => Some((agent.since + clocks.stopped_max).max(grace)),
            AgentState::NeverSeen if agent.incident.is_none() => Some((agent.since + NEVER_SEEN_AFTER).max(grace)),
            AgentState::Down | AgentState::Unreachable => retire,
            AgentState::NeverSeen | AgentState::Retired => None,
        };
        self.due.set(DueKey::Agent(id.clone()), due);
    }

    /// A clock of an agent may have run out.
    pub(crate) fn agent_due(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get(id).cloned() else { return };
        let clocks = self.rules.set.agents.clone();
        let silent = |span: Millis| self.now >= self.last_heard(id) + span;
        match agent.state {
            AgentState::Up if silent(missed_after(&clocks)) => {
                self.agent_missing(id);
            }
            AgentState::Missing | AgentState::Stopped | AgentState::NeverSeen if self.now < self.deaf_until() => {}
            AgentState::Missing if agent.connected && silent(clocks.unreachable_after) => {
                self.agent_verdict(id, AgentState::Unreachable);
            }
            AgentState::Missing if !agent.connected && self.now >= agent.lost_since + clocks.down_after => {
                self.agent_verdict(id, AgentState::Down);
            }
            AgentState::Stopped if self.now >= agent.since + clocks.stopped_max => {
                self.agent_verdict(id, AgentState::Down);
            }
            AgentState::NeverSeen if self.now >= agent.since + NEVER_SEEN_AFTER => self.agent_lost(id),
            AgentState::Down | AgentState::Unreachable
                if clocks.retire_after.is_some_and(|span| self.now >= agent.lost_since + span) =>
            {
                self.retire_agent(id, "not up for longer than retire_after");
            }
            _ => {}
        }
        self.arm_agent(id);
    }

    fn agent_verdict(&mut self, id: &AgentId, state: AgentState) {
        let now = self.now;
        let Some(agent) = self.agents.get_mut(id) else { return };
        agent.state = state;
        agent.since = now;
        self.agent_lost(id);
    }

    /// Taken away on purpose: hidden, history kept, nothing stays bad.
    pub(crate) fn retire_agent(&mut self, id: &AgentId, why: &str) {
        let now = self.now;
        let Some(agent) = self.agents.get_mut(id) else { return };
        agent.state = AgentState::Retired;
        agent.since = now;
        let own_incidents = [agent.incident, agent.skew, agent.twice];
        self.agent_left(id);
        let own =
            |number: &u64| self.incidents.get(number).is_some_and(|incident| incident.subject != Subject::MassLoss);
        for number in own_incidents.into_iter().flatten().filter(own).collect::<Vec<_>>() {
            self.close_by_itself(number, &format!("host retired: {why}"));
        }
        for key in self.feeds.of(id) {
            let series = self.feeds.get(&key).map(|feed| feed.series.clone()).unwrap_or_default();
            for id in series.iter() {
                self.series_gone(*id, &format!("host retired: {why}"));
            }
            self.due.set(DueKey::Feed(key), None);
        }
        self.arm_agent(id);
    }

    /// Hosts that configuration names are missed when they are never heard of.
    pub(crate) fn expect_agents(&mut self) {
        let rules = self.rules.clone();
        let named = |id: &AgentId| rules.entity(&format!("host/{id}")).is_some();
        for entity in &rules.set.entities {
            let id = entity.id.strip_prefix("host/").and_then(|name| AgentId::parse(name).ok());
            let Some(id) = id.filter(|id| self.agents.get(id).is_none()) else { continue };
            let agent = Agent { since: self.now, lost_since: self.now, ..Agent::default() };
            self.agents.insert(id.clone(), agent);
        }
        for id in self.agents.keys() {
            let Some(agent) = self.agents.get(&id) else { continue };
            if agent.state == AgentState::NeverSeen && !named(&id) {
                if let Some(number) = agent.incident {
                    self.close_by_itself(number, "not named in configuration any more");
                }
                self.agents.remove(&id);
                self.due.set(DueKey::Agent(id), None);
            } else {
                self.arm_agent(&id);
            }
        }
    }

    /// What an agent tells about itself.
    pub(crate) fn agent_event(&mut self, id: &AgentId, event: &AgentEvent) {
        self.agent_lives(id);
        if let AgentEventKind::ClockStepped { step_ms } = event.kind {
            return self.clock_stepped(id, step_ms);
        }
        let Some(agent) = self.agents.get_mut(id) else { return };
        match &event.kind {
            AgentEventKind::Started { version } => agent.version.clone_from(version),
            AgentEventKind::ConfigReloaded { error } => agent.config_error = error.clone().unwrap_or_default(),
            AgentEventKind::SamplesDropped { n_samples, .. } => {
                agent.n_dropped = agent.n_dropped.saturating_add(*n_samples);
            }
            AgentEventKind::CheckFailed { check, error } => {
                agent.failing_checks.insert(check.clone(), error.clone());
            }
            // A gap shows in the samples; steps were handled above.
            AgentEventKind::Gap { .. } | AgentEventKind::ClockStepped { .. } => {}
        }
    }

    /// Everything that still runs in the agent's time moves with its clock.
    fn clock_stepped(&mut self, id: &AgentId, step_ms: i64) {
        for key in self.feeds.of(id) {
            let Some(feed) = self.feeds.get_mut(&key) else { continue };
            if feed.last > UnixMillis::MIN {
                feed.last = feed.last.shifted(step_ms);
                feed.saved = feed.saved.shifted(step_ms);
            }
            let series = feed.series.clone();
            self.kept_feeds.insert(key);
            let tracks: Vec<_> = series.iter().flat_map(|series| self.track_keys(*series)).collect();
            for track in tracks {
                if let Some(tracked) = self.tracks.get_mut(&track) {
                    tracked.track.shift(step_ms);
                }
            }
        }
        self.shift_results(id, step_ms);
        let offset_ms = self.agents.get(id).map_or(0, |agent| agent.offset_ms);
        self.set_offset(id, offset_ms.saturating_sub(step_ms));
    }

    /// A check that failed works again.
    pub(crate) fn check_speaks(&mut self, key: &crate::state::FeedKey) {
        let fails = |agent: &Agent| !agent.failing_checks.is_empty() && agent.failing_checks.contains_key(&*key.check);
        if self.agents.get(&key.agent).is_some_and(fails)
            && let Some(agent) = self.agents.get_mut(&key.agent)
        {
            agent.failing_checks.remove(&*key.check);
        }
    }
}
