//! An explanation is made of the rows of its instant, not of the present.
#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use signalbox_engine::decision::Table;
use signalbox_engine::event::{Act, AgentHello, Command, Event, SampledTick, SeriesId, Stamped};
use signalbox_engine::explain::{Located, item_id, readings};
use signalbox_engine::rule::Ruleset;
use signalbox_engine::{Engine, Facts, config, explain};
use signalbox_proto::api::Explanation;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::status::Level;
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeMap;
use std::sync::Arc;

const RULES: &str = r#"
channels: [{name: ops}]
routes: [{channel: ops}]
rules:
  - id: hot
    selector: temp
    red: ">= 90"
    raise_for: 5s
    owner: ops
    sop: "look into {{ labels.room }} of {{ host }}: {{ labels.rack }}"
    overrides:
      - match: temp{room="oven"}
        red: ">= 200"
"#;

type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

struct Collector {
    engine: Engine,
    rows: Rows,
}

fn at(seconds: i64) -> UnixMillis {
    UnixMillis(1_767_225_600_000 + seconds * 1000)
}

const SERIES: SeriesId = SeriesId(7);

fn labels() -> Arc<Labels> {
    Arc::new(Labels::series("temp", &[("host", "web1"), ("room", "hall")]).unwrap())
}

/// The one series under the one reading of this id.
fn located(id: &str) -> Located {
    let (rules, labels) = (rules(), labels());
    let (agent, rule) = readings(&rules, id).into_iter().next().unwrap();
    assert_eq!(item_id(&agent, rule, &labels), id);
    Located { agent, series: SERIES, labels, rule: rule.id.clone() }
}

fn rules() -> Arc<Ruleset> {
    Arc::new(config::parse(&BTreeMap::from([("rules.yaml".to_owned(), RULES.to_owned())])).0.unwrap())
}

impl Collector {
    fn happen(&mut self, seconds: i64, event: Event) {
        let decision = self.engine.decide(&[Stamped { at: at(seconds), event }]);
        for row in decision.rows() {
            match row.value {
                Some(value) => self.rows.insert((row.table, row.key), value),
                None => self.rows.remove(&(row.table, row.key)),
            };
        }
        self.engine.adopt(decision);
    }

    fn explain(&self, seconds: i64, rows: &Rows, samples: &[(UnixMillis, f64)]) -> Explanation {
        let item = located(r#"host/web1:hot{room="hall"}"#);
        let rows = rows.iter().map(|((table, key), value)| (*table, key.clone(), value.clone())).collect();
        explain(Facts { at: at(seconds), item: &item, ruleset: rules(), rows, samples }).unwrap()
    }
}

fn collector() -> (Collector, AgentId) {
    let mut collector = Collector { engine: Engine::new(), rows: Rows::new() };
    let agent = AgentId::parse("web1").unwrap();
    collector.happen(0, Event::Rules(rules()));
    let hello = AgentHello {
        agent: agent.clone(),
        boot_id: String::new(),
        version: String::new(),
        labels: Labels::default(),
        checks: Vec::new(),
        wall: at(0),
    };
    collector.happen(0, Event::AgentConnected(hello));
    let series = SERIES;
    collector.happen(0, Event::SeriesKnown { agent: agent.clone(), series, labels: labels() });
    let (check, interval) = ("t".into(), Millis::from_secs(1));
    collector.happen(0, Event::CheckLayout { agent: agent.clone(), check, interval, series: [series].into() });
    (collector, agent)
}

#[test]
fn the_past_is_explained_from_the_rows_of_that_time() {
    let (mut collector, agent) = collector();
    let act = Act::Snooze {
        scope: "host/web1".to_owned(),
        only: Vec::new(),
        span: Millis::from_mins(1),
        reason: "a test".to_owned(),
    };
    collector.happen(1, Event::Command(Command { author: "ann".to_owned(), act }));
    let mut samples = Vec::new();
    let mut then = Rows::new();
    for second in 1..20 {
        let value = if second < 5 { 50.0 } else { 95.0 };
        let tick = SampledTick { check: "t".into(), time: at(second), values: vec![(SERIES, value)] };
        collector.happen(second, Event::Samples { agent: agent.clone(), live: true, ticks: vec![tick] });
        samples.push((at(second), value));
        if second == 7 {
            then = collector.rows.clone();
        }
    }
    let past = collector.explain(7, &then, &samples[..7]);
    assert_eq!((past.item.level, past.item.incident), (Level::Green, None));
    assert_eq!(past.clocks, ["towards red since 00:00:05 UTC: held from 00:00:10 UTC"]);
    assert_eq!(past.suppressions.len(), 1);
    assert_eq!(past.item.sop, "look into hall of web1: rack", "a label that is missing is told by its name");
    assert!(past.ledger.is_empty());
    assert_eq!(past.samples.len(), 7);
    let now = collector.explain(19, &collector.rows, &samples);
    assert_eq!((now.item.level, now.item.incident), (Level::Red, Some(1)));
    assert_eq!(now.rule["red"], ">= 90");
    assert_eq!(now.override_by, None);
    assert!(now.ledger[0].reason.contains("by ann"), "{:?}", now.ledger);
    assert!(now.because.iter().any(|line| line == "INC-1 is open for it"), "{:?}", now.because);
}
