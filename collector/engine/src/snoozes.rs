//! Snoozes: somebody said not to be told, about what, until when and why.
//!
//! A snooze changes no level and no history. What it kept quiet and is still bad
//! when it ends is told then; so is the end of what was told before it began.

use crate::due::DueKey;
use crate::notices::is_end;
use crate::state::Incident;
use crate::work::Work;
use signalbox_proto::api::Snooze;
use signalbox_proto::names::{Labels, METRIC_NAME};
use signalbox_proto::selector::Selector;
use signalbox_proto::units::{Millis, UnixMillis};

/// A snooze that is over stays in sight for this long.
const REMEMBERED_FOR: Millis = Millis::from_mins(30 * 24 * 60);

/// What a snooze, or a question, is about.
pub(crate) struct Target<'a> {
    pub(crate) item: &'a str,
    pub(crate) entity: &'a str,
    /// The entity and all that it is rolled up into.
    pub(crate) above: &'a [String],
    pub(crate) labels: Option<&'a Labels>,
}

/// True while a snooze is in force.
pub(crate) fn in_force(snooze: &Snooze, at: UnixMillis) -> bool {
    snooze.ended.is_none() && at < snooze.until
}

/// When a snooze leaves memory and table; its lines of the audit stay.
fn forgotten_at(snooze: &Snooze) -> UnixMillis {
    snooze.ended.unwrap_or(snooze.until) + REMEMBERED_FOR
}

/// True when a scope that is neither item nor entity points at series.
pub(crate) fn is_selector(scope: &str) -> bool {
    scope.contains('{') || !scope.contains('/')
}

/// True when a snooze holds the target: its item, its entity or one above it, or a
/// selector that matches its series; and no other list of items is given.
pub(crate) fn covers(snooze: &Snooze, target: &Target<'_>) -> bool {
    (snooze.only.is_empty() || snooze.only.iter().any(|id| id == target.item)) && points_at(&snooze.scope, target)
}

fn points_at(scope: &str, target: &Target<'_>) -> bool {
    if scope == target.item || scope == target.entity || target.above.iter().any(|id| id == scope) {
        return true;
    }
    let selector = is_selector(scope).then(|| Selector::parse(scope).ok()).flatten();
    selector.zip(target.labels).is_some_and(|(selector, labels)| selector.matches(labels))
}

impl Work<'_> {
    /// Why an incident's notices are kept quiet now, if they are.
    pub(crate) fn snooze_over(&self, number: u64) -> Option<String> {
        let incident = self.incidents.get(&number)?;
        let ids = self.snoozes.keys();
        let live = ids.iter().filter_map(|id| self.snoozes.get(id)).filter(|snooze| in_force(snooze, self.now));
        let live: Vec<&Snooze> = live.collect();
        if live.is_empty() {
            return None;
        }
        let labels = self.series_labels(incident);
        let above = crate::rollup::above(&self.rules, |id| self.agents.get(id), &incident.view.entity);
        let view = &incident.view;
        let target = Target { item: &view.item, entity: &view.entity, above: &above, labels: labels.as_ref() };
        let snooze = live.into_iter().find(|snooze| covers(snooze, &target))?;
        let until = crate::words::clock_time(snooze.until);
        Some(format!("snooze {} by {} until {until}: {}", snooze.id, snooze.author, snooze.reason))
    }

    fn series_labels(&self, incident: &Incident) -> Option<Labels> {
        if incident.view.item.is_empty() {
            return None;
        }
        if let crate::state::Subject::Track(key) = &incident.subject
            && let Some(known) = self.series.get(&key.series)
        {
            return Some((*known.labels).clone());
        }
        Labels::new(incident.labels.iter().filter(|(name, _)| name != METRIC_NAME).cloned()).ok()
    }

    /// A snooze is over: what is still bad is told now. Long after that it is dropped.
    pub(crate) fn snooze_due(&mut self, id: u64) {
        if self.snoozes.get(&id).is_some_and(|snooze| self.now >= forgotten_at(snooze)) {
            self.snoozes.remove(&id);
        }
        self.wake_snooze(id);
        for number in self.incidents.keys() {
            let Some(incident) = self.incidents.get(&number) else { continue };
            let Some(untold) = incident.untold.clone().filter(|untold| incident.is_open() || is_end(untold)) else {
                continue;
            };
            if self.snooze_over(number).is_none() {
                self.tell(number, &untold);
            }
        }
    }

    /// Sets or drops the deadline of a snooze.
    pub(crate) fn wake_snooze(&mut self, id: u64) {
        let due = |snooze: &Snooze| if in_force(snooze, self.now) { snooze.until } else { forgotten_at(snooze) };
        let due = self.snoozes.get(&id).map(due);
        self.due.set(DueKey::Snooze(id), due);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Engine;
    use crate::decision::Table;
    use crate::event::{Act, Command, Event, Stamped};

    #[test]
    fn a_snooze_leaves_memory_and_table_thirty_days_after_its_end() {
        let mut engine = Engine::new();
        let (scope, reason) = ("host/web1".to_owned(), "moving".to_owned());
        let act = Act::Snooze { scope, only: Vec::new(), span: Millis::from_mins(1), reason };
        let command = Event::Command(Command { author: "ann".to_owned(), act });
        let mut turn = |at: UnixMillis, event: Event| {
            let decision = engine.decide(&[Stamped { at, event }]);
            let gone = decision.rows().iter().any(|row| row.table == Table::Snoozes && row.value.is_none());
            engine.adopt(decision);
            (engine.board(at).snoozes.len(), gone)
        };
        let begun = UnixMillis(1_767_225_600_000);
        let forgotten = begun + Millis::from_mins(1) + REMEMBERED_FOR;
        assert_eq!(turn(begun, command), (1, false));
        assert_eq!(turn(forgotten.shifted(-1), Event::Tick), (1, false));
        assert_eq!(turn(forgotten, Event::Tick), (0, true));
    }

    #[test]
    fn a_snooze_bound_to_items_covers_no_other_that_its_selector_matches() {
        let labels = Labels::series("load1", &[("host", "web1")]).unwrap();
        let target = |item: &'static str| Target { item, entity: "host/web1", above: &[], labels: Some(&labels) };
        let of = |only: &[&str]| Snooze {
            id: 1,
            scope: "load1".to_owned(),
            only: only.iter().map(|id| (*id).to_owned()).collect(),
            author: "ann".to_owned(),
            reason: "moving".to_owned(),
            from: UnixMillis(0),
            until: UnixMillis(1),
            ended: None,
        };
        assert!(covers(&of(&[]), &target("a")) && covers(&of(&[]), &target("b")));
        assert!(covers(&of(&["a"]), &target("a")) && !covers(&of(&["a"]), &target("b")));
    }
}
