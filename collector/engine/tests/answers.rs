//! What an operator is told of an act that does less than it seems to.
#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use signalbox_engine::event::{Act, AgentHello, Command, Event, SampledTick, SeriesId, Stamped};
use signalbox_engine::{Engine, config};
use signalbox_proto::api::{IncidentLabel, Item};
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeMap;
use std::sync::Arc;

const RULES: &str = r#"
rules:
  - {id: hot, selector: temp, red: ">= 90", raise_for: 5s, clear_for: 5s, owner: ops, sop: look}
"#;

const ITEM: &str = r#"host/web1:hot{room="hall"}"#;

struct Collector {
    engine: Engine,
    agent: AgentId,
}

fn at(seconds: i64) -> UnixMillis {
    UnixMillis(1_767_225_600_000 + seconds * 1000)
}

impl Collector {
    fn start() -> Collector {
        let agent = AgentId::parse("web1").unwrap();
        let mut collector = Collector { engine: Engine::new(), agent: agent.clone() };
        let rules = config::parse(&BTreeMap::from([("rules.yaml".to_owned(), RULES.to_owned())])).0.unwrap();
        collector.happen(0, Event::Rules(Arc::new(rules)));
        collector.happen(
            0,
            Event::AgentConnected(AgentHello {
                agent: agent.clone(),
                boot_id: String::new(),
                version: String::new(),
                labels: Labels::default(),
                checks: Vec::new(),
                wall: at(0),
            }),
        );
        let labels = Arc::new(Labels::series("temp", &[("host", "web1"), ("room", "hall")]).unwrap());
        let series = SeriesId(7);
        collector.happen(0, Event::SeriesKnown { agent: agent.clone(), series, labels });
        let (check, interval) = ("t".into(), Millis::from_secs(1));
        collector.happen(0, Event::CheckLayout { agent, check, interval, series: [series].into() });
        collector
    }

    fn happen(&mut self, seconds: i64, event: Event) -> String {
        let decision = self.engine.decide(&[Stamped { at: at(seconds), event }]);
        let answer = decision.answers().first().map(|answer| answer.as_ref().map(|done| done.done.clone()));
        let answer = answer.transpose().unwrap().unwrap_or_default();
        self.engine.adopt(decision);
        answer
    }

    fn sample(&mut self, seconds: i64, value: f64) {
        let tick = SampledTick { check: "t".into(), time: at(seconds), values: vec![(SeriesId(7), value)] };
        let agent = self.agent.clone();
        self.happen(seconds, Event::Samples { agent, live: true, ticks: vec![tick] });
    }

    fn act(&mut self, seconds: i64, act: Act) -> String {
        self.happen(seconds, Event::Command(Command { author: "ann".to_owned(), act }))
    }

    fn snooze(&mut self, scope: &str) -> String {
        let act = Act::Snooze {
            scope: scope.to_owned(),
            only: Vec::new(),
            span: Millis::from_mins(1),
            reason: "why".to_owned(),
        };
        self.act(1, act)
    }

    fn item(&self, seconds: i64) -> Item {
        self.engine.board(at(seconds)).item(ITEM).unwrap().clone()
    }
}

#[test]
fn a_snooze_on_nothing_is_taken_and_says_so() {
    let mut collector = Collector::start();
    for scope in ["host/web1", ITEM, "temp", "{room=\"hall\"}"] {
        let said = collector.snooze(scope);
        assert!(said.ends_with(" for 1m"), "{scope}: {said}");
    }
    for (scope, near) in [
        ("host/wbe1", "did you mean host/web1?"),
        ("web1", "did you mean host/web1?"),
        ("host/web1:hot", ITEM),
        ("host/web1:hto{room=\"hall\"}", ITEM),
        ("temq", "signalbox status --all shows the ids"),
        ("{room=\"cellar\"}", "signalbox status --all shows the ids"),
    ] {
        let said = collector.snooze(scope);
        assert!(said.contains("it matches nothing now") && said.contains(near), "{scope}: {said}");
    }
}

#[test]
fn an_incident_closed_while_red_leaves_its_mark_on_the_item() {
    let mut collector = Collector::start();
    (1..10).for_each(|second| collector.sample(second, 95.0));
    assert_eq!(collector.item(9).incident, Some(1));
    let close = Act::Close { incident: 1, label: IncidentLabel::Noisy, text: "test bench".to_owned() };
    let said = collector.act(10, close);
    let wanted = format!("INC-1 closed as noisy; {ITEM} is red still: nobody has it");
    assert!(said.starts_with(&wanted), "{said}");
    let why = collector.item(10).why;
    assert!(why.ends_with(", INC-1 was closed as noisy by ann"), "{why}");
    (11..20).for_each(|second| collector.sample(second, 50.0));
    let why = collector.item(19).why;
    assert!(!why.contains("INC-1"), "{why}");
    (20..30).for_each(|second| collector.sample(second, 95.0));
    assert_eq!(collector.item(29).incident, Some(2), "after it was green it is news again");
}

#[test]
fn a_level_that_waits_is_not_worded_as_if_green_were_fine() {
    let mut collector = Collector::start();
    collector.sample(1, 50.0);
    collector.sample(2, 95.0);
    let why = collector.item(2).why;
    assert_eq!(why, "95; red is >= 90, green but red since 00:00:02 UTC, raises at 00:00:07 UTC");
    let entity = collector.engine.board(at(2)).entity("host/web1").unwrap().why.clone();
    assert_eq!(entity, "all 1 items are green, but hot is red since 00:00:02 UTC");
}
