//! What a quiet fleet costs: decide and adopt of ticks that change nothing, and a
//! board of everything.
//!
//! `cargo run --release -p signalbox-engine --example quiet_cost`

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example that measures")]

use signalbox_engine::event::{AgentHello, Event, SampledTick, SeriesId, Stamped};
use signalbox_engine::{Engine, config};
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const AGENTS: usize = 1000;
const CHECKS: usize = 10;
const SERIES: usize = 2;
/// Seconds of the fleet's life that are measured.
const SECONDS: u32 = 60;
const BOARDS: u32 = 10;
const START: UnixMillis = UnixMillis(1_767_225_600_000);

const RULES: &str = r#"
rules:
  - id: hot
    selector: temp
    amber: ">= 80"
    red: ">= 90"
    owner: ops
    sop: look
"#;

struct Fleet {
    engine: Engine,
    agents: Vec<AgentId>,
    checks: Vec<Arc<str>>,
    now: UnixMillis,
}

impl Fleet {
    fn new() -> Fleet {
        let files = BTreeMap::from([("rules.yaml".to_owned(), RULES.to_owned())]);
        let (rules, findings) = config::parse(&files);
        let rules = rules.unwrap_or_else(|| panic!("{findings:#?}"));
        let agents = (0..AGENTS).map(|n| AgentId::parse(&format!("host-{n:04}.example.org")).unwrap()).collect();
        let checks = (0..CHECKS).map(|n| format!("check-{n}").into()).collect();
        let mut fleet = Fleet { engine: Engine::new(), agents, checks, now: START };
        fleet.turn(vec![Event::CollectorStarted, Event::Rules(Arc::new(rules))]);
        for agent in fleet.agents.clone() {
            fleet.introduce(&agent);
        }
        fleet
    }

    fn introduce(&mut self, agent: &AgentId) {
        let mut events = vec![Event::AgentConnected(AgentHello {
            agent: agent.clone(),
            boot_id: "boot".to_owned(),
            version: "1".to_owned(),
            labels: Labels::default(),
            checks: Vec::new(),
            wall: self.now,
        })];
        let mut ticks = Vec::new();
        let base = self.agents.iter().position(|known| known == agent).unwrap() * CHECKS * SERIES;
        for (n, check) in self.checks.iter().enumerate() {
            let ids: Vec<SeriesId> =
                (0..SERIES).map(|s| SeriesId(u32::try_from(base + n * SERIES + s).unwrap())).collect();
            for (s, series) in ids.iter().enumerate() {
                let pairs = [("host", agent.as_str()), ("check", check), ("sensor", &format!("s{s}"))];
                let labels = Arc::new(Labels::series("temp", &pairs).unwrap());
                events.push(Event::SeriesKnown { agent: agent.clone(), series: *series, labels });
            }
            ticks.push(SampledTick {
                check: Arc::clone(check),
                time: self.now,
                values: ids.iter().map(|id| (*id, 42.0)).collect(),
            });
            let (agent, check, interval) = (agent.clone(), Arc::clone(check), Millis::from_secs(1));
            events.push(Event::CheckLayout { agent, check, interval, series: ids.into() });
        }
        events.push(Event::Samples { agent: agent.clone(), live: true, ticks });
        self.turn(events);
    }

    fn turn(&mut self, events: Vec<Event>) {
        let at = self.now;
        let stamped: Vec<Stamped> = events.into_iter().map(|event| Stamped { at, event }).collect();
        let decision = self.engine.decide(&stamped);
        self.engine.adopt(decision);
    }

    /// One quiet second: every agent sends a batch, `together` batches make a turn.
    fn second(&mut self, together: usize) -> Duration {
        self.now = self.now + Millis::from_secs(1);
        let (at, time) = (self.now, self.now);
        let batch = |agent: &AgentId| {
            let tick = |check: &Arc<str>| SampledTick { check: Arc::clone(check), time, values: Vec::new() };
            let ticks = self.checks.iter().map(tick).collect();
            Stamped { at, event: Event::Samples { agent: agent.clone(), live: true, ticks } }
        };
        let turns: Vec<Vec<Stamped>> =
            self.agents.chunks(together).map(|some| some.iter().map(batch).collect()).collect();
        let began = cpu_time();
        for events in &turns {
            let decision = self.engine.decide(events);
            black_box(decision.rows());
            self.engine.adopt(decision);
        }
        cpu_time().saturating_sub(began)
    }
}

/// What this process has used of the CPU: others may be busy on the same machine.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

fn main() {
    let mut fleet = Fleet::new();
    for together in [1000, 50, 1] {
        let spent: Duration = (0..SECONDS).map(|_| fleet.second(together)).sum();
        let n_ticks = f64::from(SECONDS) * (AGENTS * CHECKS) as f64;
        println!("{together:4} batches a turn: {:.0} ns a tick", spent.as_secs_f64() * 1e9 / n_ticks);
    }
    let began = cpu_time();
    for _ in 0..BOARDS {
        black_box(fleet.engine.board(fleet.now));
    }
    let each = cpu_time().saturating_sub(began) / BOARDS;
    let board = fleet.engine.board(fleet.now);
    let n_items: usize = board.status.entities.iter().map(|entity| entity.items.len()).sum();
    println!("board of {} entities, {n_items} items: {:.1} ms", board.status.entities.len(), each.as_secs_f64() * 1e3);
}
