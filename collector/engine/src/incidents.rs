//! Incidents: one per episode, numbered, reopened within half an hour.
//!
//! ```text
//!   level held ──▶ [detected] ──▶ [acknowledged] ──green──▶ [restored] ──label──▶ [closed]
//!                      ▲  level rises ──┘   bad again within 30 min │
//!                      └───────────────────────────────────────────┘
//! ```
//!
//! Instants are event time of what the incident is about: the agent's clock for
//! items, the collector's for agents.

use crate::state::{Incident, Known, Subject, TrackKey, Use};
use crate::track::{Change, ChangeKind};
use crate::words;
use crate::work::Work;
use signalbox_proto::api::{self, IncidentState, TimelineEntry};
use signalbox_proto::status::{Freshness, Layer, Level};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Coming back within this long returns to the same number.
const REOPEN_WITHIN: Millis = Millis::from_mins(30);
/// Incidents that are over and stay in memory; older ones stay in the store.
pub(crate) const RECENT_INCIDENTS_MAX: u64 = 1000;
/// Lines of one timeline; later ones are left out, and the last line says so.
const TIMELINE_MAX: usize = 1000;
/// Who writes the lines that nobody wrote.
pub(crate) const MACHINE: &str = "signalbox";

/// What an incident is opened with.
pub(crate) struct Opening {
    pub(crate) subject: Subject,
    pub(crate) rule: String,
    pub(crate) entity: String,
    pub(crate) item: String,
    pub(crate) layer: Layer,
    pub(crate) owner: String,
    pub(crate) sop: String,
    pub(crate) title: String,
    pub(crate) why: String,
    pub(crate) value: Option<f64>,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) level: Level,
    pub(crate) was: Level,
    pub(crate) first_symptom: UnixMillis,
    pub(crate) at: UnixMillis,
}

impl Work<'_> {
    /// What a track did becomes incidents and notices.
    pub(crate) fn changes(&mut self, key: &TrackKey, known: &Known, used: &Use, changes: Vec<Change>) {
        for change in changes {
            match change.kind {
                ChangeKind::Level { from, to, first_symptom } => {
                    self.level(key, known, used, (from, to), first_symptom, change.at, "");
                }
                ChangeKind::NoData { from, to } => {
                    let symptom = self.tracks.get(key).and_then(|tracked| tracked.track.first_symptom());
                    self.level(key, known, used, (from, to), symptom.unwrap_or(change.at), change.at, "no data: ");
                }
                ChangeKind::FlappingBegan => self.flapping(key, change.at, true),
                ChangeKind::FlappingEnded => self.flapping(key, change.at, false),
                ChangeKind::LateEpisode { first_symptom, raised, worst } => {
                    self.late_episode(key, known, used, first_symptom, raised, worst, change.at);
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one call site each, all facts of one change")]
    fn level(
        &mut self,
        key: &TrackKey,
        known: &Known,
        used: &Use,
        (from, to): (Level, Level),
        first_symptom: UnixMillis,
        at: UnixMillis,
        because: &str,
    ) {
        let rules = Arc::clone(&self.rules);
        let how = rules.judgement(used);
        let (from, to) = (words::shown(how, from), words::shown(how, to));
        let latest = self.tracks.get(key).and_then(|tracked| tracked.incident);
        let latest = latest.and_then(|number| self.incidents.get(&number));
        let Some(tracked) = self.tracks.get(key) else { return };
        let value = tracked.value();
        let why = format!(
            "{because}{}",
            words::why(&tracked.track, how, words::unit_of(&known.labels), Freshness::Fresh, at)
        );
        match latest {
            Some(incident) if incident.is_open() => {
                let number = incident.view.number;
                self.freshen(number, why, value);
                self.move_level(number, from, to, at);
            }
            Some(incident) if to < how.incident_from || same_episode(incident, first_symptom) => {}
            None if to < how.incident_from => {}
            latest => {
                let again = latest.filter(|incident| may_reopen(incident, at)).map(|incident| incident.view.number);
                let mut opening = self.opening(key, known, used, to, why);
                (opening.was, opening.first_symptom, opening.at) = (from, first_symptom, at);
                match again {
                    Some(number) => self.reopen(number, opening),
                    None => {
                        let number = self.open(opening, "raised");
                        if let Some(tracked) = self.tracks.get_mut(key) {
                            tracked.incident = Some(number);
                        }
                    }
                }
            }
        }
    }

    /// The facts about an item that an incident is opened with.
    fn opening(&self, key: &TrackKey, known: &Known, used: &Use, level: Level, why: String) -> Opening {
        let rule = self.rules.rule(used);
        let place =
            crate::entities::place(&self.rules, self.agents.get(&known.agent), &known.agent, &known.labels, rule);
        let labels = words::plain_labels(&known.labels);
        let value = self.tracks.get(key).and_then(|tracked| tracked.value());
        let facts = words::TitleFacts {
            entity: &place.entity,
            labels: &labels,
            level,
            value,
            owner: &place.owner,
            layer: place.layer,
        };
        Opening {
            title: words::title(rule, &facts, &why),
            sop: crate::sop::of_item(rule, &place.entity, &known.labels),
            subject: Subject::Track(key.clone()),
            rule: rule.id.clone(),
            item: words::item_id(&place.entity, rule, &known.labels),
            entity: place.entity,
            layer: place.layer,
            owner: place.owner,
            why,
            value,
            labels: labels.into_iter().collect(),
            level,
            was: Level::Green,
            first_symptom: self.now,
            at: self.now,
        }
    }

    /// Opens an incident and tells people.
    pub(crate) fn open(&mut self, opening: Opening, transition: &str) -> u64 {
        let at = opening.at;
        let number = self.new_incident(opening, false);
        let why = self.incidents.get(&number).map(|incident| incident.why.clone()).unwrap_or_default();
        self.write_line(number, at, "raised", MACHINE, &why);
        self.tell(number, transition);
        number
    }

    fn new_incident(&mut self, opening: Opening, late: bool) -> u64 {
        self.meta.incidents += 1;
        let number = self.meta.incidents;
        let view = api::Incident {
            number,
            id: format!("INC-{number}"),
            level: opening.level,
            worst: opening.level,
            title: opening.title,
            rule: opening.rule,
            entity: opening.entity,
            item: opening.item,
            layer: opening.layer,
            owner: opening.owner,
            sop: opening.sop,
            first_symptom: opening.first_symptom,
            detected: opening.at,
            late,
            ..api::Incident::default()
        };
        let incident = Incident {
            subject: opening.subject,
            view,
            n_transitions: 0,
            untold: None,
            told: BTreeSet::new(),
            was: opening.was,
            why: opening.why,
            value: opening.value,
            labels: opening.labels,
            members: BTreeSet::new(),
        };
        self.incidents.insert(number, incident);
        self.forget(number.saturating_sub(RECENT_INCIDENTS_MAX));
        number
    }

    /// Back to the same number: it came back within half an hour.
    pub(crate) fn reopen(&mut self, number: u64, opening: Opening) {
        let Some(incident) = self.incidents.get_mut(&number) else { return };
        incident.was = opening.was;
        (incident.why, incident.value) = (opening.why.clone(), opening.value);
        let view = &mut incident.view;
        view.state = IncidentState::Detected;
        view.level = opening.level;
        view.worst = view.worst.max(opening.level);
        view.title = opening.title;
        view.restored = None;
        view.n_reopened += 1;
        self.write_line(number, opening.at, "reopened", MACHINE, &opening.why);
        self.tell(number, "reopened");
    }

    fn freshen(&mut self, number: u64, why: String, value: Option<f64>) {
        if let Some(incident) = self.incidents.get_mut(&number) {
            (incident.why, incident.value) = (why, value);
        }
    }

    /// The level of an open incident moved.
    pub(crate) fn move_level(&mut self, number: u64, from: Level, to: Level, at: UnixMillis) {
        if from == to {
            return;
        }
        if to == Level::Green {
            return self.restore(number, at);
        }
        let Some(incident) = self.incidents.get_mut(&number) else { return };
        incident.was = from;
        incident.view.level = to;
        incident.view.worst = incident.view.worst.max(to);
        let (why, rises) = (incident.why.clone(), to > from);
        // Who acknowledged an amber has not said that the red is in hand.
        let ack_ends = rises && incident.view.state == IncidentState::Acknowledged;
        if ack_ends {
            incident.view.state = IncidentState::Detected;
        }
        self.write_line(number, at, "level", MACHINE, &format!("{from} to {to}: {why}"));
        if ack_ends {
            self.write_line(number, at, "level", MACHINE, "the acknowledgement ended: the level rose");
        }
        if rises {
            self.tell(number, "worse");
        } else {
            self.ledger_only(number, "better", api::Outcome::Dropped, "an improvement is told when all is green");
        }
    }

    /// Green again.
    pub(crate) fn restore(&mut self, number: u64, at: UnixMillis) {
        let Some(incident) = self.incidents.get_mut(&number) else { return };
        incident.was = incident.view.level;
        incident.untold = None;
        incident.view.level = Level::Green;
        incident.view.state = IncidentState::Restored;
        incident.view.restored = Some(at);
        let why = incident.why.clone();
        self.write_line(number, at, "restored", MACHINE, &why);
        self.tell(number, "restored");
        self.forget_if_old(number);
    }

    fn flapping(&mut self, key: &TrackKey, at: UnixMillis, begins: bool) {
        let Some(number) = self.tracks.get(key).and_then(|tracked| tracked.incident) else { return };
        if begins {
            self.write_line(number, at, "flapping", MACHINE, "changes too often: pinned at its worst level");
            self.tell(number, "flapping");
        } else {
            self.write_line(number, at, "flapping", MACHINE, "a whole window without a change: not flapping any more");
        }
    }

    /// An episode that was over before anybody could know: written down, nobody woken.
    #[allow(clippy::too_many_arguments, reason = "one call site, all facts of one change")]
    fn late_episode(
        &mut self,
        key: &TrackKey,
        known: &Known,
        used: &Use,
        first_symptom: UnixMillis,
        raised: UnixMillis,
        worst: Level,
        over: UnixMillis,
    ) {
        let rules = Arc::clone(&self.rules);
        let how = rules.judgement(used);
        let worst = words::shown(how, worst);
        if worst < how.incident_from {
            return;
        }
        let why = format!(
            "{worst} from {} to {}, found in back-filled samples",
            words::clock_time(raised),
            words::clock_time(over)
        );
        let mut opening = self.opening(key, known, used, worst, why.clone());
        (opening.first_symptom, opening.at) = (first_symptom, raised);
        let number = self.new_incident(opening, true);
        if let Some(incident) = self.incidents.get_mut(&number) {
            incident.was = worst;
            incident.view.level = Level::Green;
            incident.view.state = IncidentState::Restored;
            incident.view.restored = Some(over);
        }
        self.write_line(number, raised, "raised", MACHINE, &why);
        self.write_line(number, over, "restored", MACHINE, "over before its samples arrived");
        self.ledger_only(number, "raised", api::Outcome::Dropped, "late: it was over before anybody could know");
    }

    /// Closes an open incident whose subject is no more: never as restored.
    pub(crate) fn close_by_itself(&mut self, number: u64, why: &str) {
        let at = self.now;
        let Some(incident) = self.incidents.get_mut(&number).filter(|incident| incident.is_open()) else { return };
        incident.view.state = IncidentState::Closed;
        incident.view.closed = Some(at);
        incident.view.label_reason = why.to_owned();
        self.write_line(number, at, "closed", MACHINE, why);
        self.tell_closed(number, format!("closed: {why}"));
        self.forget_if_old(number);
    }

    /// Who holds it for bad must hear that it is over, though it was not restored.
    pub(crate) fn tell_closed(&mut self, number: u64, why: String) {
        let Some(incident) = self.incidents.get_mut(&number) else { return };
        incident.was = incident.view.level;
        incident.why = why;
        incident.untold = None;
        self.tell(number, "closed");
    }

    /// Adds a line to an incident's story.
    pub(crate) fn write_line(&mut self, number: u64, at: UnixMillis, kind: &str, author: &str, text: &str) {
        let Some(incident) = self.incidents.get_mut(&number) else { return };
        let timeline = &mut incident.view.timeline;
        if timeline.len() >= TIMELINE_MAX {
            self.meta.limits.timeline.meet(self.now);
        }
        let (kind, text) = match timeline.len() {
            n if n > TIMELINE_MAX => return,
            TIMELINE_MAX => ("note", "the timeline is full: later lines are left out"),
            _ => (kind, text),
        };
        timeline.push(TimelineEntry { at, kind: kind.to_owned(), author: author.to_owned(), text: text.to_owned() });
    }

    /// An incident that is over leaves the memory when a thousand newer ones exist.
    fn forget(&mut self, number: u64) {
        let over = self.incidents.get(&number).is_some_and(|incident| !incident.is_open());
        if over {
            self.forgotten.insert(number);
        }
    }

    pub(crate) fn forget_if_old(&mut self, number: u64) {
        if number.saturating_add(RECENT_INCIDENTS_MAX) <= self.meta.incidents {
            self.forget(number);
        }
    }
}

/// Restored a short while ago, and nobody closed it.
pub(crate) fn may_reopen(incident: &Incident, at: UnixMillis) -> bool {
    let recent = incident.view.restored.is_some_and(|restored| at.since(restored) <= REOPEN_WITHIN);
    incident.view.state == IncidentState::Restored && recent && !incident.view.late
}

/// Somebody closed it while it was bad, and it is bad still: one incident an episode.
pub(crate) fn same_episode(incident: &Incident, first_symptom: UnixMillis) -> bool {
    incident.view.state == IncidentState::Closed
        && incident.view.restored.is_none()
        && incident.view.first_symptom == first_symptom
}
