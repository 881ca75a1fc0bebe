//! What the board says where little or nothing is known.

use signalbox_engine::Engine;
use signalbox_engine::board::Filter;
use signalbox_engine::decision::Table;
use signalbox_engine::event::{Event, Stamped};
use signalbox_proto::names::AgentId;
use signalbox_proto::status::Level;
use signalbox_proto::units::UnixMillis;
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

#[test]
fn a_refused_stream_is_written_down_and_changes_no_verdict() {
    let mut engine = started(EMPTY_ENTITY);
    let before = engine.board(START);
    let agent = AgentId::parse("web1").unwrap();
    let event = Event::StreamRefused { agent, why: "in use by another machine".to_owned() };
    let decision = engine.decide(&[Stamped { at: START, event }]);
    let tables: Vec<Table> = decision.rows().iter().map(|row| row.table).collect();
    assert_eq!(tables, [Table::Audit, Table::Meta]);
    engine.adopt(decision);
    assert_eq!(engine.board(START), before);
}
