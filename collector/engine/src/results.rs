//! Checks that speak in states: what is not green is shown with its evidence.
//!
//! They open no incident: only levels of items do. The latest result of each
//! (check, labels) counts, by the time of its agent: a backlog brings old ones late.
//! Those times are not kept over restarts: agents send what is new first.

use crate::work::Work;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::samples::{CheckResult, CheckState};
use signalbox_proto::units::UnixMillis;
use std::collections::BTreeMap;

/// Results of one agent that are shown; more are counted as a limit that was met.
const BAD_RESULTS_MAX: usize = 100;
/// Results of one agent whose times are remembered; beyond that the oldest is forgotten.
const RESULT_TIMES_MAX: usize = 1000;
/// Characters of evidence that are shown; what is longer is cut and counted.
const EVIDENCE_MAX_CHARS: usize = 500;

/// Names a result: `backup`, or `backup{disk="a"}`.
fn key(check: &str, labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    if pairs.is_empty() { check.to_owned() } else { format!("{check}{{{}}}", pairs.join(",")) }
}

/// True when a result's key is one of this check.
pub(crate) fn is_of(key: &str, check: &str) -> bool {
    key.strip_prefix(check).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
}

impl Work<'_> {
    /// A check that speaks in states spoke.
    pub(crate) fn check_result(&mut self, id: &AgentId, result: &CheckResult) {
        self.agent_lives(id);
        let key = key(&result.check, &result.labels);
        if !self.is_latest_result(id, &key, result.time) {
            return;
        }
        let word = match result.state {
            CheckState::Green => None,
            CheckState::Amber => Some("amber"),
            CheckState::Red => Some("red"),
            CheckState::Unknown => Some("unknown"),
        };
        let text = word.map(|word| {
            let evidence: String = result.evidence.chars().take(EVIDENCE_MAX_CHARS).collect();
            if evidence.len() < result.evidence.len() {
                self.meta.limits.evidence.meet(self.now);
                return format!("{word}: {evidence}…");
            }
            format!("{word}: {evidence}")
        });
        let Some(agent) = self.agents.get(id) else { return };
        let fails = agent.failing_checks.contains_key(&result.check);
        let shown = agent.bad_results.get(&key);
        if shown.is_none() && text.is_some() && agent.bad_results.len() >= BAD_RESULTS_MAX {
            self.meta.limits.results.meet(self.now);
            return;
        }
        if !fails && shown == text.as_ref() {
            // As before: the agent's row need not be kept again.
            return;
        }
        let Some(agent) = self.agents.get_mut(id) else { return };
        agent.failing_checks.remove(&result.check);
        match text {
            Some(text) => agent.bad_results.insert(key, text),
            None => agent.bad_results.remove(&key),
        };
    }

    /// Remembers when a result was found, unless a later one is known already.
    fn is_latest_result(&mut self, id: &AgentId, key: &str, time: UnixMillis) -> bool {
        let known = self.result_times.get(id).and_then(|times| times.get(key));
        if known.is_some_and(|known| *known > time) {
            return false;
        }
        if self.result_times.get(id).is_none() {
            self.result_times.insert(id.clone(), BTreeMap::new());
        }
        let Some(times) = self.result_times.get_mut(id) else { return true };
        times.insert(key.to_owned(), time);
        if times.len() > RESULT_TIMES_MAX {
            let oldest = times.iter().min_by_key(|(_, time)| **time).map(|(key, _)| key.clone());
            oldest.map(|key| times.remove(&key));
        }
        true
    }

    /// The clock that results are dated by was stepped.
    pub(crate) fn shift_results(&mut self, id: &AgentId, step_ms: i64) {
        let times = self.result_times.get_mut(id).into_iter().flat_map(BTreeMap::values_mut);
        times.for_each(|time| *time = time.shifted(step_ms));
    }
}

#[cfg(test)]
mod tests {
    use crate::Engine;
    use crate::event::{AgentHello, Event, Stamped};
    use signalbox_proto::names::{AgentId, Labels};
    use signalbox_proto::samples::{AgentEvent, AgentEventKind, CheckInfo, CheckResult, CheckState};
    use signalbox_proto::units::{Millis, UnixMillis};
    use std::collections::BTreeMap;

    fn hello(checks: &[&str]) -> Event {
        let interval = Millis::from_secs(60);
        Event::AgentConnected(AgentHello {
            agent: AgentId::parse("web1").unwrap(),
            boot_id: String::new(),
            version: String::new(),
            labels: Labels::default(),
            checks: checks.iter().map(|name| CheckInfo { name: (*name).to_owned(), interval }).collect(),
            wall: UnixMillis(0),
        })
    }

    fn result(state: CheckState, evidence: &str, labels: &[(&str, &str)]) -> Event {
        let labels = Labels::new(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).unwrap();
        let (check, evidence) = ("backup".to_owned(), evidence.to_owned());
        let result = CheckResult { check, time: UnixMillis(0), state, evidence, labels };
        Event::Result { agent: AgentId::parse("web1").unwrap(), result }
    }

    fn failing(events: Vec<Event>) -> BTreeMap<String, String> {
        let mut engine = Engine::new();
        let at = UnixMillis(0);
        let events: Vec<Stamped> = events.into_iter().map(|event| Stamped { at, event }).collect();
        let decision = engine.decide(&events);
        engine.adopt(decision);
        engine.board(at).agents.remove(0).failing_checks
    }

    #[test]
    fn a_result_that_is_not_green_is_shown_with_its_evidence_until_it_is() {
        let red = || result(CheckState::Red, "no backup since monday", &[("disk", "a")]);
        let unknown = || result(CheckState::Unknown, "timed out", &[]);
        let shown =
            failing(vec![hello(&["backup"]), red(), unknown(), result(CheckState::Green, "", &[("disk", "b")])]);
        let expected = [("backup", "unknown: timed out"), ("backup{disk=\"a\"}", "red: no backup since monday")];
        assert_eq!(shown, expected.map(|(key, text)| (key.to_owned(), text.to_owned())).into());
        let green = |labels| result(CheckState::Green, "", labels);
        let shown = failing(vec![hello(&["backup"]), red(), unknown(), green(&[("disk", "a")]), green(&[])]);
        assert_eq!(shown, BTreeMap::new());
    }

    #[test]
    fn an_older_result_never_replaces_a_newer_one() {
        let at = |time: i64, state, evidence| {
            let Event::Result { agent, mut result } = result(state, evidence, &[]) else { unreachable!() };
            result.time = UnixMillis(time);
            Event::Result { agent, result }
        };
        let old_red = || at(1_000, CheckState::Red, "last week");
        let shown = failing(vec![hello(&["backup"]), at(2_000, CheckState::Green, ""), old_red()]);
        assert_eq!(shown, BTreeMap::new());
        let shown = failing(vec![hello(&["backup"]), at(2_000, CheckState::Amber, "today"), old_red()]);
        assert_eq!(shown["backup"], "amber: today");
        let stepped = Event::Agent {
            agent: AgentId::parse("web1").unwrap(),
            event: AgentEvent { time: UnixMillis(0), kind: AgentEventKind::ClockStepped { step_ms: -5_000 } },
        };
        let shown = failing(vec![hello(&["backup"]), at(2_000, CheckState::Green, ""), stepped, old_red()]);
        assert_eq!(shown["backup"], "red: last week");
    }

    #[test]
    fn results_of_a_check_that_is_not_run_any_more_are_forgotten() {
        let red = result(CheckState::Red, "gone wrong", &[("disk", "a")]);
        assert_eq!(failing(vec![hello(&["backup"]), red, hello(&["back"])]), BTreeMap::new());
    }

    #[test]
    fn evidence_and_number_of_results_are_bounded() {
        let mut events = vec![hello(&["backup"])];
        let long = "ä".repeat(10_000);
        events.extend((0..200).map(|n| result(CheckState::Red, &long, &[("n", &n.to_string())])));
        let shown = failing(events);
        assert_eq!(shown.len(), super::BAD_RESULTS_MAX);
        assert!(
            shown.values().all(|text| text.chars().count() == "red: …".chars().count() + super::EVIDENCE_MAX_CHARS)
        );
    }
}
