//! What the board says where little or nothing is known.

use signalbox_engine::Engine;
use signalbox_engine::board::Filter;
use signalbox_engine::event::{AgentHello, Event, SampledTick, SeriesId, Stamped};
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::status::Level;
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeMap;
use std::sync::Arc;

const START: UnixMillis = UnixMillis(1_700_000_000_000);

fn started(entities: &str) -> Engine {
    let files = BTreeMap::from([("entities.yaml".to_owned(), entities.to_owned())]);
    let (rules, findings) = signalbox_engine::config::parse(&files);
    let rules = Arc::new(rules.unwrap_or_else(|| panic!("{findings:?}")));
    let mut engine = Engine::restore([]).expect("no rows are no fault");
    let events = [Event::CollectorStarted, Event::Rules(rules)].map(|event| Stamped { at: START, event });
    let decision = engine.decide(&events);
    engine.adopt(decision);
    engine
}

const EMPTY_ENTITY: &str = "entities:\n  - {id: service/shop, owner: shop, depends_on: [host/web1]}\n";

#[test]
fn an_entity_of_which_nothing_was_ever_known_is_grey_since_the_start() {
    let board = started(EMPTY_ENTITY).board(START.shifted(5000));
    let shop = board.entity("service/shop").unwrap();
    assert_eq!((shop.grey, shop.since), (true, START), "{shop:?}");
}

#[test]
fn a_headline_is_grey_where_nothing_is_bad_and_something_unknown() {
    let empty = started("").board(START);
    assert!(empty.status.grey, "an empty board knows nothing");
    let board = started(EMPTY_ENTITY).board(START);
    assert!(board.status.grey && board.status_of(&Filter::default()).grey);
    let part = Filter { owner: Some("nobody".to_owned()), ..Filter::default() };
    assert!(board.status_of(&part).grey, "a part with nothing in it, too");
    assert_eq!(board.status.level, Level::Green, "what older clients read is as it was");
}

fn decide(engine: &mut Engine, at: UnixMillis, event: Event) {
    let decision = engine.decide(&[Stamped { at, event }]);
    engine.adopt(decision);
}

#[test]
fn an_identity_that_two_machines_use_is_one_incident_until_the_second_is_quiet() {
    let mut engine = started(EMPTY_ENTITY);
    let agent = AgentId::parse("web1").unwrap();
    let hello = AgentHello {
        agent: agent.clone(),
        boot_id: "a".to_owned(),
        version: "1".to_owned(),
        labels: Labels::default(),
        checks: Vec::new(),
        wall: START,
    };
    decide(&mut engine, START, Event::AgentConnected(hello));
    let refused = || Event::StreamRefused { agent: agent.clone(), why: "in use by another machine".to_owned() };
    let mut at = START;
    for n in 0..100 {
        at = at.shifted(10_000);
        let n_open = engine.board(at).incidents.len();
        assert_eq!(n_open, usize::from(n > 3), "a host that was reset is refused for 20 s: {n}");
        let beat = Event::AgentHeartbeat { agent: agent.clone(), wall: at, n_backlog: 0 };
        decide(&mut engine, at, beat);
        decide(&mut engine, at, refused());
    }
    let incidents = engine.board(at).incidents;
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    assert_eq!((incidents[0].rule.as_str(), incidents[0].level), ("identity-twice", Level::Red));
    let over = at.shifted(12 * 60_000);
    decide(&mut engine, over, Event::Tick);
    let incidents = engine.board(over).incidents;
    let twice = incidents.iter().find(|incident| incident.rule == "identity-twice").unwrap();
    assert!(twice.restored.is_some(), "{twice:?}");
}

#[test]
fn a_value_and_its_threshold_carry_the_unit_of_the_metric() {
    let rule =
        "rules:\n  - {id: heap, selector: heap_bytes, red: '>= 1610612736', raise_for: 5s, owner: ops, sop: look}\n";
    let mut engine = started(rule);
    let (agent, series) = (AgentId::parse("web1").unwrap(), SeriesId(7));
    let (check, interval) = ("t".into(), Millis::from_secs(1));
    let labels = Arc::new(Labels::series("heap_bytes", &[("host", "web1")]).unwrap());
    decide(&mut engine, START, Event::SeriesKnown { agent: agent.clone(), series, labels });
    decide(&mut engine, START, Event::CheckLayout { agent: agent.clone(), check, interval, series: [series].into() });
    let tick = SampledTick { check: "t".into(), time: START, values: vec![(series, 1536.0)] };
    decide(&mut engine, START, Event::Samples { agent, live: true, ticks: vec![tick] });
    let board = engine.board(START);
    assert!(board.item("host/web1:heap").unwrap().why.starts_with("1.5 KiB; red is >= 1.5 GiB"), "{board:?}");
}
