//! A law of the outbox, over random channels and crashes: about one incident, one
//! channel is told one thing at a time, in the order in which it happened.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use proptest::prelude::*;
use signalbox_engine::decision::{Notice, Table};
use signalbox_engine::event::{DeliveryOutcome, Event, SampledTick, SeriesId, Stamped};
use signalbox_engine::{Engine, config};
use signalbox_proto::api::Outcome;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const RULES: &str = r#"
channels: [{name: ops}, {name: dba}]
routes: [{channel: ops}, {channel: dba}]
rules:
  - {id: hot, selector: temp, red: ">= 90", raise_for: 0s, clear_for: 0s, flapping: {changes: 100}, owner: ops, sop: look}
"#;
const SERIES: SeriesId = SeriesId(1);

#[derive(Debug, Clone)]
enum Happening {
    Sample(f64),
    /// The channel of this number answers for what it has: accepted, failed, refused.
    Answer(usize, u8),
    Wait(u64),
    Crash,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => prop_oneof![Just(50.0), Just(95.0)].prop_map(Happening::Sample),
        6 => (0..8usize, 0..4u8).prop_map(|(which, how)| Happening::Answer(which, how)),
        2 => prop_oneof![1..3_000u64, 3_000..600_000u64].prop_map(Happening::Wait),
        1 => Just(Happening::Crash),
    ]
}

type Line = (u64, String);

struct World {
    engine: Engine,
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    at: UnixMillis,
    /// What notifiers have, by key.
    tried: BTreeMap<String, Notice>,
    /// What channels heard of, by line, in order; each once.
    heard: BTreeMap<Line, Vec<String>>,
    settled: BTreeSet<String>,
}

impl World {
    fn new() -> World {
        let (rows, tried) = (BTreeMap::new(), BTreeMap::new());
        let at = UnixMillis(1_767_225_600_000);
        let mut world =
            World { engine: Engine::new(), rows, at, tried, heard: BTreeMap::new(), settled: BTreeSet::new() };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let files = BTreeMap::from([("rules.yaml".to_owned(), RULES.to_owned())]);
        let (set, findings) = config::parse(&files);
        let rules = Arc::new(set.unwrap_or_else(|| panic!("{findings:#?}")));
        let agent = AgentId::parse("a").unwrap();
        let labels = Arc::new(Labels::series("temp", &[("host", "a")]).unwrap());
        self.turn(Event::CollectorStarted);
        self.turn(Event::Rules(rules));
        self.turn(Event::SeriesKnown { agent: agent.clone(), series: SERIES, labels });
        let (check, interval) = ("t".into(), Millis::from_secs(1));
        self.turn(Event::CheckLayout { agent, check, interval, series: [SERIES].into() });
    }

    fn turn(&mut self, event: Event) {
        let decision = self.engine.decide(&[Stamped { at: self.at, event }]);
        for row in decision.rows() {
            match row.value {
                Some(value) => self.rows.insert((row.table, row.key), value),
                None => self.rows.remove(&(row.table, row.key)),
            };
        }
        let notices = decision.notices().to_vec();
        self.engine.adopt(decision);
        notices.into_iter().for_each(|notice| self.offer(notice));
    }

    /// A notifier gets a notice: nothing else of its line may be with it.
    fn offer(&mut self, notice: Notice) {
        let line = (notice.incident_number, notice.channel.clone());
        let busy = self.tried.values().find(|other| (other.incident_number, other.channel.clone()) == line);
        assert!(busy.is_none(), "{} is told while {busy:?} is under way", notice.transition);
        assert!(!self.settled.contains(&notice.key), "{notice:?} is told again");
        let heard = self.heard.entry(line).or_default();
        if !heard.contains(&notice.key) {
            heard.push(notice.key.clone());
        }
        assert_eq!(heard.last(), Some(&notice.key), "{} comes behind a newer one", notice.transition);
        self.tried.insert(notice.key.clone(), notice);
    }

    fn answer(&mut self, which: usize, how: u8) {
        let Some(key) = self.tried.keys().nth(which % self.tried.len().max(1)).cloned() else { return };
        self.tried.remove(&key);
        let outcome = match how {
            0 => DeliveryOutcome::Accepted { answer: "ok".to_owned() },
            1 => DeliveryOutcome::Refused { error: "no".to_owned() },
            _ => DeliveryOutcome::Failed { error: "later".to_owned() },
        };
        if how < 2 {
            self.settled.insert(key.clone());
        }
        self.turn(Event::Delivery { key, outcome });
    }

    fn crash(&mut self) {
        let rows = self.rows.iter().map(|((table, key), value)| (*table, key.clone(), value.clone()));
        self.engine = Engine::restore(rows).unwrap();
        let had = std::mem::take(&mut self.tried);
        self.engine.pending_notices().into_iter().for_each(|notice| self.offer(notice));
        assert_eq!(
            self.tried.keys().collect::<Vec<_>>(),
            had.keys().collect::<Vec<_>>(),
            "all that was under way, no more"
        );
        self.begin();
    }

    fn live(&mut self, happening: &Happening) {
        self.at = self.at + Millis(1_000);
        match *happening {
            Happening::Sample(value) => {
                let ticks = vec![SampledTick { check: "t".into(), time: self.at, values: vec![(SERIES, value)] }];
                self.turn(Event::Samples { agent: AgentId::parse("a").unwrap(), live: true, ticks });
            }
            Happening::Answer(which, how) => self.answer(which, how),
            Happening::Wait(ms) => {
                self.at = self.at + Millis(ms);
                self.turn(Event::Tick);
            }
            Happening::Crash => self.crash(),
        }
    }

    /// Every channel accepts what it is told, until nothing is left.
    fn drain(&mut self) {
        for _ in 0..1_000 {
            self.at = self.at + Millis::from_mins(5);
            self.turn(Event::Tick);
            while !self.tried.is_empty() {
                self.answer(0, 0);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_channel_hears_of_an_incident_in_order_whatever_fails(happenings in prop::collection::vec(happening(), 1..80)) {
        let mut world = World::new();
        happenings.iter().for_each(|happening| world.live(happening));
        world.drain();
        prop_assert_eq!(world.engine.pending_notices(), vec![]);
        let mut queued: BTreeMap<Line, Vec<String>> = BTreeMap::new();
        for incident in world.engine.board(world.at).incidents {
            for line in incident.ledger.into_iter().filter(|line| line.outcome == Outcome::Queued) {
                queued.entry((incident.number, line.channel)).or_default().push(line.key);
            }
        }
        prop_assert_eq!(queued, world.heard);
    }
}
