//! A collector's writer in miniature: dictionary, agenda, rows, an engine.

use signalbox_engine::decision::{Answer, Notice, Table};
use signalbox_engine::event::{Act, AgentHello, Command, DeliveryOutcome, Event, SampledTick, SeriesId, Stamped};
use signalbox_engine::rule::Ruleset;
use signalbox_engine::{Board, Engine};
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::samples::{AgentEvent, AgentEventKind};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// How a script is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Each event is a turn; a tick at every deadline.
    Single,
    /// All events between two expectations are one turn.
    Batched,
    /// Event by event; values inside their bands are left out.
    Banded,
    /// Event by event; restored from rows at each expectation.
    Restored,
}

const HEARTBEAT: Millis = Millis::from_secs(10);

#[derive(Default)]
struct Host {
    connected: bool,
    speaks: bool,
    next_beat: UnixMillis,
    offset_ms: i64,
}

type Slot = (UnixMillis, AgentId, Arc<str>);
type Check = (Millis, Vec<SeriesId>);

/// The world of one script.
pub(crate) struct World {
    way: Way,
    engine: Engine,
    rules: Arc<Ruleset>,
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    hosts: BTreeMap<AgentId, Host>,
    series: BTreeMap<Labels, (SeriesId, AgentId)>,
    checks: BTreeMap<(AgentId, Arc<str>), Check>,
    agenda: BTreeMap<Slot, Vec<(SeriesId, f64)>>,
    held: Vec<Stamped>,
    pub(crate) now: UnixMillis,
    pub(crate) notices: VecDeque<Notice>,
    pub(crate) told: Vec<Notice>,
    pub(crate) answers: VecDeque<Answer>,
    /// No samples and no words of agents reach the engine.
    ingest_paused: bool,
    /// Channels answer only when the script says so; else they accept at once.
    pub(crate) channels_wait: bool,
}

impl World {
    pub(crate) fn new(way: Way, now: UnixMillis) -> World {
        let mut world = World {
            way,
            engine: Engine::new(),
            rules: Arc::default(),
            rows: BTreeMap::new(),
            hosts: BTreeMap::new(),
            series: BTreeMap::new(),
            checks: BTreeMap::new(),
            agenda: BTreeMap::new(),
            held: Vec::new(),
            now,
            notices: VecDeque::new(),
            told: Vec::new(),
            answers: VecDeque::new(),
            ingest_paused: false,
            channels_wait: false,
        };
        world.happen(Event::CollectorStarted);
        world
    }

    /// Something happens now.
    pub(crate) fn happen(&mut self, event: Event) {
        self.held.push(Stamped { at: self.now, event });
        if self.way != Way::Batched {
            self.settle();
        }
    }

    /// Decides what was held back, as one turn.
    pub(crate) fn settle(&mut self) {
        let events = std::mem::take(&mut self.held);
        let decision = self.engine.decide(&events);
        let again = self.engine.decide(&events);
        assert_eq!(decision.rows(), again.rows(), "deciding twice gives other rows");
        assert_eq!(decision.notices(), again.notices(), "deciding twice gives other notices");
        for row in decision.rows() {
            match row.value {
                Some(value) => self.rows.insert((row.table, row.key), value),
                None => self.rows.remove(&(row.table, row.key)),
            };
        }
        let new = decision.notices().to_vec();
        self.notices.extend(decision.notices().iter().cloned());
        self.told.extend(decision.notices().iter().cloned());
        self.answers.extend(decision.answers().iter().cloned());
        self.engine.adopt(decision);
        if !self.channels_wait {
            let outcome = DeliveryOutcome::Accepted { answer: "200 OK".to_owned() };
            new.iter().for_each(|notice| self.deliver(&notice.key, outcome.clone()));
        }
    }

    /// The collector takes no samples, or takes them again.
    pub(crate) fn ingest_pauses(&mut self, paused: bool) {
        self.ingest_paused = paused;
        self.happen(Event::IngestPaused { paused });
    }

    /// What people see now.
    pub(crate) fn look(&mut self) -> Board {
        self.happen(Event::Tick);
        self.settle();
        let board = self.engine.board(self.now);
        if self.way == Way::Restored {
            let before = comparable(board.clone());
            self.engine = self.restored();
            let speaking = self.hosts.iter().filter(|(_, host)| host.speaks && host.connected);
            for agent in speaking.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
                let wall = self.wall(&agent);
                self.happen(Event::AgentHeartbeat { agent, wall, n_backlog: 0 });
            }
            self.announce();
            self.happen(Event::Tick);
            assert_eq!(comparable(self.engine.board(self.now)), before, "the restored engine shows something else");
        }
        board
    }

    fn restored(&self) -> Engine {
        let rows = self.rows.iter().map(|((table, key), value)| (*table, key.clone(), value.clone()));
        Engine::restore(rows).expect("rows that an engine wrote can be restored")
    }

    /// The collector ends and begins again; all streams are gone.
    pub(crate) fn restart(&mut self) {
        self.settle();
        self.engine = self.restored();
        self.hosts.values_mut().for_each(|host| host.connected = false);
        self.notices.extend(self.engine.pending_notices());
        self.happen(Event::CollectorStarted);
        self.announce();
    }

    /// Rules come into force.
    pub(crate) fn take_rules(&mut self, rules: Ruleset) {
        self.rules = Arc::new(rules);
        self.announce();
    }

    /// The facts that the writer repeats after a change of rules and at start.
    fn announce(&mut self) {
        self.happen(Event::Rules(Arc::clone(&self.rules)));
        self.settle();
        let known: Vec<_> = self.series.iter().map(|(labels, at)| (labels.clone(), at.clone())).collect();
        for (labels, (series, agent)) in known {
            if self.engine.selects(&labels) {
                self.happen(Event::SeriesKnown { agent, series, labels: Arc::new(labels) });
            }
        }
        for key in self.checks.keys().cloned().collect::<Vec<_>>() {
            self.tell_layout(&key);
        }
    }

    fn tell_layout(&mut self, key: &(AgentId, Arc<str>)) {
        let (interval, series) = self.checks[key].clone();
        let watched: BTreeSet<SeriesId> =
            self.series.iter().filter(|(labels, _)| self.engine.selects(labels)).map(|(_, at)| at.0).collect();
        let series = series.into_iter().filter(|id| watched.contains(id)).collect();
        self.happen(Event::CheckLayout { agent: key.0.clone(), check: Arc::clone(&key.1), interval, series });
    }

    fn series_id(&mut self, agent: &AgentId, labels: &Labels, interval: Millis) -> (SeriesId, Arc<str>) {
        self.settle();
        let check: Arc<str> = format!("every-{interval}").into();
        let next = SeriesId(u32::try_from(self.series.len()).unwrap() + 1);
        let known = self.series.contains_key(labels);
        let id = self.series.entry(labels.clone()).or_insert((next, agent.clone())).0;
        if !known && self.engine.selects(labels) {
            self.happen(Event::SeriesKnown { agent: agent.clone(), series: id, labels: Arc::new(labels.clone()) });
        }
        let key = (agent.clone(), Arc::clone(&check));
        let listed = self.checks.entry(key.clone()).or_insert((interval, Vec::new()));
        if !listed.1.contains(&id) {
            listed.1.push(id);
            self.tell_layout(&key);
        }
        (id, check)
    }

    /// Samples to come, from now on.
    pub(crate) fn load(&mut self, agent: &AgentId, labels: &Labels, interval: Millis, values: &[Option<f64>]) {
        let (id, check) = self.series_id(agent, labels, interval);
        for (at, value) in (0u64..).zip(values) {
            if let Some(value) = value {
                let slot = (self.now + interval.times(at), agent.clone(), Arc::clone(&check));
                self.agenda.entry(slot).or_default().push((id, *value));
            }
        }
    }

    /// Samples of an older epoch arrive now.
    pub(crate) fn backfill(
        &mut self,
        agent: &AgentId,
        labels: &Labels,
        interval: Millis,
        from: UnixMillis,
        values: &[Option<f64>],
    ) {
        let (id, check) = self.series_id(agent, labels, interval);
        let ticks = (0u64..).zip(values).filter_map(|(at, value)| {
            let (time, check) = (from + interval.times(at), Arc::clone(&check));
            value.map(|value| SampledTick { check, time, values: vec![(id, value)] })
        });
        self.happen(Event::Samples { agent: agent.clone(), live: false, ticks: ticks.collect() });
    }

    /// A series is not sampled any more, by the agent's word.
    pub(crate) fn gone(&mut self, labels: &Labels) {
        let Some((id, _)) = self.series.get(labels).cloned() else { panic!("{labels} was never loaded") };
        for key in self.checks.keys().cloned().collect::<Vec<_>>() {
            let listed = self.checks.get_mut(&key).unwrap();
            if listed.1.contains(&id) {
                listed.1.retain(|other| *other != id);
                self.tell_layout(&key);
            }
        }
        self.agenda.values_mut().for_each(|values| values.retain(|(other, _)| *other != id));
    }

    /// Time goes on; what is on the agenda happens.
    pub(crate) fn go_to(&mut self, until: UnixMillis) {
        loop {
            let sample = self.agenda.keys().next().map(|slot| slot.0);
            let speaking = self.hosts.values().filter(|host| host.connected && host.speaks);
            let beat = speaking.map(|host| host.next_beat).min();
            let due = if self.way == Way::Batched { None } else { self.engine.next_due() };
            let Some(next) = [sample, beat, due].into_iter().flatten().min().filter(|next| *next <= until) else {
                break;
            };
            self.now = self.now.max(next);
            self.beat();
            if due.is_some_and(|due| due <= next) {
                self.happen(Event::Tick);
            }
            if sample == Some(next) {
                self.send();
            }
        }
        self.now = until;
    }

    fn beat(&mut self) {
        let now = self.now;
        let due = |host: &Host| host.connected && host.speaks && host.next_beat <= now;
        let ids: Vec<AgentId> = self.hosts.iter().filter(|(_, host)| due(host)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.hosts.get_mut(&id).unwrap().next_beat = now + HEARTBEAT;
            let wall = self.wall(&id);
            self.happen(Event::AgentHeartbeat { agent: id, wall, n_backlog: 0 });
        }
    }

    fn send(&mut self) {
        let Some(((_, agent, check), mut values)) = self.agenda.pop_first() else { return };
        let host = self.hosts.entry(agent.clone()).or_default();
        if !host.connected || !host.speaks || self.ingest_paused {
            return;
        }
        if self.way == Way::Banded {
            values.retain(|(id, value)| !self.engine.band(*id).is_quiet(*value));
        } else {
            let engine = &self.engine;
            let watched: BTreeSet<SeriesId> =
                self.series.iter().filter(|(labels, _)| engine.selects(labels)).map(|(_, at)| at.0).collect();
            values.retain(|(id, _)| watched.contains(id));
        }
        let time = self.wall(&agent);
        self.happen(Event::Samples { agent, live: true, ticks: vec![SampledTick { check, time, values }] });
    }

    fn wall(&self, agent: &AgentId) -> UnixMillis {
        self.now.shifted(-self.hosts.get(agent).map_or(0, |host| host.offset_ms))
    }

    pub(crate) fn connect(&mut self, agent: &AgentId, labels: Labels, offset_ms: i64) {
        let host = Host { connected: true, speaks: true, next_beat: self.now + HEARTBEAT, offset_ms };
        self.hosts.insert(agent.clone(), host);
        let hello = AgentHello {
            agent: agent.clone(),
            boot_id: "boot".to_owned(),
            version: "1".to_owned(),
            labels,
            checks: Vec::new(),
            wall: self.wall(agent),
        };
        self.happen(Event::AgentConnected(hello));
    }

    pub(crate) fn disconnect(&mut self, agent: &AgentId, goodbye: Option<String>) {
        self.hosts.entry(agent.clone()).or_default().connected = false;
        self.happen(Event::AgentDisconnected { agent: agent.clone(), goodbye });
    }

    /// Its stream stands, nothing comes through it (or does again).
    pub(crate) fn speaks(&mut self, agent: &AgentId, speaks: bool) {
        let now = self.now;
        let host = self.hosts.entry(agent.clone()).or_default();
        (host.speaks, host.next_beat) = (speaks, now + HEARTBEAT);
    }

    /// Its wall clock jumps; it notices.
    pub(crate) fn step_clock(&mut self, agent: &AgentId, step_ms: i64) {
        self.hosts.entry(agent.clone()).or_default().offset_ms -= step_ms;
        let event = AgentEvent { time: self.wall(agent), kind: AgentEventKind::ClockStepped { step_ms } };
        self.happen(Event::Agent { agent: agent.clone(), event });
    }

    pub(crate) fn command(&mut self, author: &str, act: Act) {
        self.happen(Event::Command(Command { author: author.to_owned(), act }));
        self.settle();
    }

    pub(crate) fn deliver(&mut self, key: &str, outcome: DeliveryOutcome) {
        self.happen(Event::Delivery { key: key.to_owned(), outcome });
        self.settle();
    }
}

/// Last words of agents are kept once a minute only.
fn comparable(mut board: Board) -> Board {
    for agent in &mut board.agents {
        agent.last_heard = UnixMillis(0);
        agent.n_backlog = 0;
    }
    board
}
