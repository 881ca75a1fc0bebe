//! The laws of the engine, over random lives of a small fleet.
//!
//! - any cut of an event list into turns gives the same rows, notices and answers;
//! - deciding twice without adopting gives equal decisions;
//! - leaving quiet samples out gives the same incidents, notices and levels;
//! - an engine restored from its rows decides as the one that wrote them.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use proptest::prelude::*;
use signalbox_engine::decision::{Answer, Notice, Table};
use signalbox_engine::event::{Act, AgentHello, Command, DeliveryOutcome, Event, SampledTick, SeriesId, Stamped};
use signalbox_engine::rule::Ruleset;
use signalbox_engine::{Engine, config};
use signalbox_proto::api::IncidentLabel;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeMap;
use std::sync::Arc;

const RULES: &str = r#"
agents: {mass_loss_agents: 3}
channels: [{name: ops}, {name: dba}]
routes: [{channel: ops}, {channel: dba, owners: [dba]}]
entities:
  - {id: application/pay, owner: dba, depends_on: [{any_of: [host/a, host/b]}]}
rules:
  - id: hot
    selector: temp
    amber: ">= 80"
    red: ">= 90"
    clear: {amber: "< 70", red: "< 85"}
    raise_for: {amber: 3s, red: 2s}
    clear_for: 4s
    incident_from: amber
    flapping: {changes: 4, window: 40s}
    owner: ops
    sop: look
  - id: often
    selector: temp
    red: "> 60"
    samples: 2 of 4
    raise_for: 0s
    clear_for: 1s
    on_missing: red
    no_data_for: 20s
    owner: dba
    sop: look
"#;

const AGENTS: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Debug, Clone)]
enum Happening {
    Sample(usize, f64),
    Late(usize, i64, f64),
    Connect(usize, i64),
    Disconnect(usize, bool),
    Beat(usize),
    Command(usize, u64),
    Deliver(bool),
    Wait(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let agent = 0..AGENTS.len();
    let value = prop_oneof![Just(50.0), Just(65.0), Just(75.0), Just(83.0), Just(95.0), Just(f64::NAN), 40.0..100.0];
    prop_oneof![
        12 => (agent.clone(), value.clone()).prop_map(|(agent, value)| Happening::Sample(agent, value)),
        1 => (agent.clone(), 1..60_000i64, value).prop_map(|(agent, ago, value)| Happening::Late(agent, ago, value)),
        1 => (agent.clone(), prop_oneof![Just(0), Just(-40_000i64)]).prop_map(|(agent, off)| Happening::Connect(agent, off)),
        1 => (agent.clone(), any::<bool>()).prop_map(|(agent, planned)| Happening::Disconnect(agent, planned)),
        1 => agent.prop_map(Happening::Beat),
        1 => (0..6usize, 1..5u64).prop_map(|(act, number)| Happening::Command(act, number)),
        1 => any::<bool>().prop_map(Happening::Deliver),
        4 => prop_oneof![1..3_000u64, 3_000..60_000u64].prop_map(Happening::Wait),
    ]
}

fn act(kind: usize, number: u64) -> Act {
    match kind {
        0 => Act::Acknowledge { incident: number, text: String::new() },
        1 => Act::Close { incident: number, label: IncidentLabel::Noisy, text: "why".to_owned() },
        2 => Act::Snooze {
            scope: "host/a".to_owned(),
            only: Vec::new(),
            span: Millis::from_secs(30),
            reason: "why".to_owned(),
        },
        3 => Act::EndSnooze { id: number, reason: String::new() },
        4 => Act::RetireAgent { agent: AgentId::parse("b").unwrap(), reason: String::new() },
        _ => Act::Note { incident: number, text: "a note".to_owned() },
    }
}

fn rules() -> Arc<Ruleset> {
    let files = BTreeMap::from([("rules.yaml".to_owned(), RULES.to_owned())]);
    let (set, findings) = config::parse(&files);
    Arc::new(set.unwrap_or_else(|| panic!("{findings:#?}")))
}

fn series(agent: usize) -> (SeriesId, Arc<Labels>) {
    let labels = Labels::series("temp", &[("host", AGENTS[agent])]).unwrap();
    (SeriesId(u32::try_from(agent).unwrap()), Arc::new(labels))
}

fn facts(at: UnixMillis) -> Vec<Stamped> {
    let stamp = |event| Stamped { at, event };
    let mut events = vec![stamp(Event::Rules(rules()))];
    for (index, name) in AGENTS.iter().enumerate() {
        let (series, labels) = series(index);
        let agent = AgentId::parse(name).unwrap();
        events.push(stamp(Event::SeriesKnown { agent: agent.clone(), series, labels }));
        let (check, interval, series) = ("t".into(), Millis::from_secs(1), [series].into());
        events.push(stamp(Event::CheckLayout { agent, check, interval, series }));
    }
    events
}

/// A life: what happens, each thing at its time.
fn life(happenings: &[Happening]) -> Vec<Stamped> {
    let mut at = UnixMillis(1_767_225_600_000);
    let mut events = vec![Stamped { at, event: Event::CollectorStarted }];
    events.extend(facts(at));
    for happening in happenings {
        at = at + Millis(250);
        let id = |agent: usize| AgentId::parse(AGENTS[agent]).unwrap();
        let tick = |agent: usize, time: UnixMillis, value: f64| {
            vec![SampledTick { check: "t".into(), time, values: vec![(series(agent).0, value)] }]
        };
        let event = match *happening {
            Happening::Sample(agent, value) => {
                Event::Samples { agent: id(agent), live: true, ticks: tick(agent, at, value) }
            }
            Happening::Late(agent, ago, value) => {
                Event::Samples { agent: id(agent), live: false, ticks: tick(agent, at.shifted(-ago), value) }
            }
            Happening::Connect(agent, off) => Event::AgentConnected(AgentHello {
                agent: id(agent),
                boot_id: String::new(),
                version: String::new(),
                labels: Labels::default(),
                checks: Vec::new(),
                wall: at.shifted(off),
            }),
            Happening::Disconnect(agent, planned) => {
                Event::AgentDisconnected { agent: id(agent), goodbye: planned.then(|| "bye".to_owned()) }
            }
            Happening::Beat(agent) => Event::AgentHeartbeat { agent: id(agent), wall: at, n_backlog: 0 },
            Happening::Command(kind, number) => {
                Event::Command(Command { author: "ann".to_owned(), act: act(kind, number) })
            }
            // The key of INC-1's first notice to `ops`, whether it was sent or not.
            Happening::Deliver(accepted) => Event::Delivery {
                key: "5fe0dcbe9c9bb5eabac94fc5c08113de".to_owned(),
                outcome: match accepted {
                    true => DeliveryOutcome::Accepted { answer: "ok".to_owned() },
                    false => DeliveryOutcome::Failed { error: "no".to_owned() },
                },
            },
            Happening::Wait(ms) => {
                at = at + Millis(ms);
                Event::Tick
            }
        };
        events.push(Stamped { at, event });
    }
    events.push(Stamped { at: at + Millis::from_secs(1), event: Event::Tick });
    events
}

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    notices: Vec<Notice>,
    answers: Vec<Answer>,
}

impl Outcome {
    fn turn(&mut self, engine: &mut Engine, events: &[Stamped]) {
        let decision = engine.decide(events);
        let again = engine.decide(events);
        assert_eq!(decision.rows(), again.rows());
        assert_eq!(decision.notices(), again.notices());
        assert_eq!(decision.answers(), again.answers());
        assert_eq!(decision.bands().len(), again.bands().len());
        for row in decision.rows() {
            match row.value {
                Some(value) => self.rows.insert((row.table, row.key), value),
                None => self.rows.remove(&(row.table, row.key)),
            };
        }
        self.notices.extend(decision.notices().iter().cloned());
        self.answers.extend(decision.answers().iter().cloned());
        let before: Vec<_> = decision.bands().to_vec();
        engine.adopt(decision);
        for (series, band) in before {
            assert_eq!(format!("{:?}", engine.band(series)), format!("{band:?}"), "a changed band is told as it is");
        }
    }

    fn stored(&self) -> Engine {
        let rows = self.rows.iter().map(|((table, key), value)| (*table, key.clone(), value.clone()));
        Engine::restore(rows).unwrap()
    }
}

/// What comes of events that are taken in turns of these lengths, again and again.
fn taken(engine: &mut Engine, events: &[Stamped], cuts: &[usize]) -> Outcome {
    let (mut outcome, mut rest) = (Outcome::default(), events);
    for n in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (turn, after) = rest.split_at((*n).min(rest.len()));
        outcome.turn(engine, turn);
        rest = after;
    }
    outcome
}

fn last_stamp(events: &[Stamped]) -> UnixMillis {
    events.last().unwrap().at
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_into_turns_is_invisible(
        happenings in prop::collection::vec(happening(), 1..120),
        cuts in prop::collection::vec(1usize..20, 1..60),
    ) {
        let events = life(&happenings);
        let (mut one, mut other) = (Engine::new(), Engine::new());
        let whole = taken(&mut one, &events, &[events.len()]);
        let cut = taken(&mut other, &events, &cuts);
        prop_assert_eq!(&whole.notices, &cut.notices);
        prop_assert_eq!(&whole.answers, &cut.answers);
        prop_assert_eq!(&whole.rows, &cut.rows);
        let at = last_stamp(&events);
        prop_assert_eq!(format!("{:?}", one.board(at)), format!("{:?}", other.board(at)));
    }

    #[test]
    fn leaving_quiet_samples_out_changes_no_verdict(happenings in prop::collection::vec(happening(), 1..120)) {
        let events = life(&happenings);
        let (mut all, mut few) = (Outcome::default(), Outcome::default());
        let (mut one, mut other) = (Engine::new(), Engine::new());
        for stamped in &events {
            all.turn(&mut one, std::slice::from_ref(stamped));
            let mut thinned = stamped.clone();
            if let Event::Samples { live: true, ticks, .. } = &mut thinned.event {
                for tick in ticks {
                    tick.values.retain(|(series, value)| !other.band(*series).is_quiet(*value));
                }
            }
            few.turn(&mut other, &[thinned]);
        }
        let told = |outcome: &Outcome| {
            let line = |notice: &Notice| format!("{} {} {} {:?} {:?}", notice.at.0, notice.incident, notice.transition, notice.was, notice.level);
            outcome.notices.iter().map(line).collect::<Vec<_>>()
        };
        prop_assert_eq!(told(&all), told(&few));
        let at = last_stamp(&events);
        let levels = |engine: &Engine| {
            let board = engine.board(at);
            let items = board.status.entities.iter().flat_map(|entity| entity.items.clone());
            items.map(|item| (item.id, item.level, item.freshness, item.incident)).collect::<Vec<_>>()
        };
        prop_assert_eq!(levels(&one), levels(&other));
    }

    #[test]
    fn a_restored_engine_decides_as_the_one_that_wrote_the_rows(
        before in prop::collection::vec(happening(), 1..80),
        after in prop::collection::vec(happening(), 1..60),
    ) {
        let happenings: Vec<Happening> = before.iter().chain(&after).cloned().collect();
        let events = life(&happenings);
        // What comes before `before` is the start, the rules and two facts an agent.
        let at = before.len() + 2 + 2 * AGENTS.len();
        let (lived, rest) = events.split_at(at);
        let (mut first, mut engine) = (Outcome::default(), Engine::new());
        first.turn(&mut engine, lived);
        let mut restored = first.stored();
        let now = last_stamp(lived);
        let mut restart = vec![Stamped { at: now, event: Event::CollectorStarted }];
        restart.extend(facts(now));
        let (mut one, mut other) = (Outcome::default(), Outcome::default());
        one.turn(&mut engine, &restart);
        other.turn(&mut restored, &restart);
        prop_assert_eq!(&one.notices, &other.notices);
        one.turn(&mut engine, rest);
        other.turn(&mut restored, rest);
        let told = |outcome: &Outcome| {
            let line = |notice: &Notice| format!("{} {} {} {}", notice.key, notice.incident, notice.transition, notice.attempt);
            outcome.notices.iter().map(line).collect::<Vec<_>>()
        };
        prop_assert_eq!(told(&one), told(&other));
        prop_assert_eq!(&one.answers, &other.answers);
    }
}

/// A cut that once changed when a silence was told.
#[test]
fn a_silence_is_told_at_its_time_however_it_is_cut() {
    use Happening::{Beat, Connect, Disconnect, Late, Sample, Wait};
    let happenings = [
        Sample(0, 50.0),
        Sample(0, 50.0),
        Sample(0, 50.0),
        Sample(0, 50.0),
        Sample(0, 50.0),
        Sample(0, 50.0),
        Sample(0, 50.0),
        Sample(0, 50.0),
        Sample(0, 50.0),
        Wait(74),
        Sample(2, 50.0),
        Sample(3, 83.0),
        Wait(24),
        Sample(0, 83.0),
        Connect(0, 0),
        Wait(28282),
        Sample(3, 95.0),
        Sample(1, 50.0),
        Sample(2, 50.0),
        Wait(49856),
        Sample(0, 60.4081329693831),
        Beat(0),
        Sample(2, 50.0),
        Wait(1658),
        Sample(1, 72.67792460587752),
        Late(2, 54146, 83.0),
        Sample(3, 68.76799557979464),
        Wait(2680),
        Wait(2526),
        Sample(3, f64::NAN),
        Sample(2, f64::NAN),
        Disconnect(0, true),
        Disconnect(3, false),
        Connect(3, -40000),
        Disconnect(1, true),
        Sample(3, 83.0),
        Sample(0, 50.0),
        Sample(0, f64::NAN),
        Late(1, 2228, 80.44231818460587),
        Sample(2, f64::NAN),
        Wait(24312),
        Sample(0, f64::NAN),
        Wait(2128),
        Sample(1, 50.0),
        Sample(1, f64::NAN),
        Sample(2, 89.87647021335592),
        Sample(1, 65.0),
        Sample(2, f64::NAN),
        Sample(1, 65.0),
        Beat(1),
        Sample(1, 65.0),
        Late(3, 4110, 95.0),
    ];
    let cuts = [
        10, 4, 3, 6, 8, 9, 12, 9, 10, 3, 1, 2, 5, 9, 16, 6, 8, 5, 17, 4, 8, 3, 1, 6, 16, 14, 12, 14, 3, 9, 15, 16, 14,
        18, 7, 8, 13, 2, 7, 13, 15, 15, 10, 13, 2, 10, 11, 1, 3, 10, 9, 16, 7, 19, 13, 6,
    ];
    let events = life(&happenings);
    let whole = taken(&mut Engine::new(), &events, &[events.len()]);
    assert_eq!(whole, taken(&mut Engine::new(), &events, &cuts));
}
