//! Notices are decided, not fired: every transition that could tell somebody
//! leaves at least one ledger line, sent or not, with the reason.
//!
//! A notice lies in the outbox from the decision until a channel accepts it, or
//! refuses it for good, or a day has passed. Its key stays the same over retries
//! and restarts, so that a receiver can drop a second copy.
//!
//! Notices about one incident to one channel stand in line: only the oldest is
//! tried, so that nobody reads "restored" before "raised". Lines are independent.

use crate::decision::{Notice, Table};
use crate::due::DueKey;
use crate::event::DeliveryOutcome;
use crate::rows;
use crate::state::{Incident, Pending, Place};
use crate::work::Work;
use sha2::{Digest, Sha256};
use signalbox_proto::api::{LedgerLine, Outcome};
use signalbox_proto::status::Level;
use signalbox_proto::text::hex;
use signalbox_proto::units::Millis;

/// The first retry comes after this long; each later one after twice as long …
const RETRY_FIRST: Millis = Millis::from_secs(1);
/// … but never later than this.
const RETRY_MAX: Millis = Millis::from_mins(5);
/// Then a notice is given up.
const RETRY_FOR: Millis = Millis::from_mins(24 * 60);
/// Undelivered notices; more are dropped, with a ledger line each.
const OUTBOX_MAX: usize = 10_000;
/// Ledger lines of one incident in memory; later ones are in the store only.
const LEDGER_IN_MEMORY_MAX: usize = 500;

impl Work<'_> {
    /// A transition that could tell somebody.
    pub(crate) fn tell(&mut self, number: u64, transition: &str) {
        let snooze = self.snooze_over(number);
        let Some(incident) = self.incidents.get_mut(&number) else { return };
        incident.n_transitions += 1;
        if let Some(reason) = snooze {
            // The first bad news, or the end of what somebody was told before.
            let end = is_end(transition);
            let older = incident.untold.take().filter(|older| !end && !is_end(older));
            let worth_telling = !end || !incident.told.is_empty();
            incident.untold = older.or_else(|| worth_telling.then(|| transition.to_owned()));
            return self.ledger_only(number, transition, Outcome::Suppressed, &reason);
        }
        incident.untold = None;
        let incident = incident.clone();
        let channels = self.channels_for(&incident, transition);
        if channels.is_empty() {
            let reason = match transition {
                "restored" => "restored, nobody told: nobody was told that it was bad".to_owned(),
                "closed" => format!("{}, nobody told: nobody knew that it was bad", incident.why),
                _ => "nobody to tell: no route matches".to_owned(),
            };
            return self.ledger_only(number, transition, Outcome::Dropped, &reason);
        }
        for channel in channels {
            self.queue(&incident, transition, &channel);
        }
    }

    /// Channels of all routes that match, each once. The end is told to exactly those
    /// that were told the beginning, whatever the routes say by now.
    fn channels_for(&self, incident: &Incident, transition: &str) -> Vec<String> {
        let view = &incident.view;
        if is_end(transition) {
            return incident.told.iter().cloned().collect();
        }
        let mut channels: Vec<String> = Vec::new();
        for route in &self.rules.set.routes {
            let owned = route.owners.is_empty() || route.owners.contains(&view.owner);
            let layered = route.layers.is_empty() || route.layers.contains(&view.layer);
            if owned && layered && view.level >= route.from.max(Level::Amber) && !channels.contains(&route.channel) {
                channels.push(route.channel.clone());
            }
        }
        channels
    }

    fn queue(&mut self, incident: &Incident, transition: &str, channel: &str) {
        let notice = self.notice(incident, transition, channel);
        let number = incident.view.number;
        if self.outbox.len() >= OUTBOX_MAX {
            self.meta.limits.outbox.meet(self.now);
            let reason = format!("the outbox is full: {OUTBOX_MAX} notices wait");
            return self.ledger(number, transition, Outcome::Dropped, channel, &notice.key, &reason);
        }
        let place = Place { incident: number, channel: channel.to_owned(), nth: incident.n_transitions };
        let older = self.head_of_line(&place).and_then(|pending| {
            let older = &pending.notice;
            (older.key != notice.key).then(|| format!("to {channel}, behind {:?}: it waits", older.transition))
        });
        let reason = older.clone().unwrap_or_else(|| format!("to {channel}"));
        self.ledger(number, transition, Outcome::Queued, channel, &notice.key, &reason);
        self.lines.insert(place, notice.key.clone());
        let pending = Pending { notice: notice.clone(), nth: incident.n_transitions, retry_at: None };
        self.outbox.insert(notice.key.clone(), pending);
        if let Some(incident) = self.incidents.get_mut(&number) {
            // Not when it is accepted: a server may have it though its answer was lost.
            if is_end(transition) {
                incident.told.remove(channel);
            } else {
                incident.told.insert(channel.to_owned());
            }
        }
        if older.is_none() {
            self.notices.push(notice);
        }
    }

    /// The oldest undelivered notice of the line that this place is in.
    fn head_of_line(&self, place: &Place) -> Option<&Pending> {
        let first = Place { nth: 0, ..place.clone() };
        let last = Place { nth: u64::MAX, ..place.clone() };
        let key = self.lines.first_in(first..=last)?;
        self.outbox.get(key)
    }

    fn notice(&self, incident: &Incident, transition: &str, channel: &str) -> Notice {
        let view = &incident.view;
        Notice {
            key: key(view.number, incident.n_transitions, channel),
            channel: channel.to_owned(),
            transition: transition.to_owned(),
            attempt: 1,
            at: self.now,
            incident: view.id.clone(),
            incident_number: view.number,
            level: view.level,
            was: incident.was,
            title: view.title.clone(),
            why: incident.why.clone(),
            rule: view.rule.clone(),
            entity: view.entity.clone(),
            item: view.item.clone(),
            layer: view.layer,
            owner: view.owner.clone(),
            sop: view.sop.clone(),
            value: incident.value,
            labels: incident.labels.clone(),
            first_symptom: view.first_symptom,
            detected: view.detected,
            restored: view.restored,
        }
    }

    /// A notifier tried to deliver.
    pub(crate) fn delivery(&mut self, key: &str, outcome: &DeliveryOutcome) {
        let key = key.to_owned();
        let Some(pending) = self.outbox.get(&key).cloned() else { return };
        let notice = &pending.notice;
        let place = pending.place();
        if self.head_of_line(&place).is_some_and(|head| head.notice.key != key) {
            // Nobody was asked to try it so far.
            return;
        }
        let (number, transition, channel) = (notice.incident_number, notice.transition.clone(), notice.channel.clone());
        let (outcome, reason) = match outcome {
            DeliveryOutcome::Accepted { answer } => (Outcome::Sent, format!("accepted by {channel}: {answer}")),
            DeliveryOutcome::Refused { error } => (Outcome::Dropped, format!("refused by {channel}: {error}")),
            DeliveryOutcome::Failed { error } => {
                let wait = backoff(notice.attempt);
                let retry_at = self.now + wait;
                if retry_at.since(notice.at) < RETRY_FOR {
                    self.outbox.insert(key.clone(), Pending { retry_at: Some(retry_at), ..pending.clone() });
                    self.due.set(DueKey::Notice(key.clone()), Some(retry_at));
                    let reason = format!("attempt {} failed, the next follows in {wait}: {error}", notice.attempt);
                    return self.ledger(number, &transition, Outcome::Retried, &channel, &key, &reason);
                }
                (Outcome::Dropped, format!("given up after {} attempts in {RETRY_FOR}: {error}", notice.attempt))
            }
        };
        self.outbox.remove(&key);
        self.lines.remove(&place);
        self.due.set(DueKey::Notice(key.clone()), None);
        self.ledger(number, &transition, outcome, &channel, &key, &reason);
        if let Some(next) = self.head_of_line(&place) {
            let notice = next.notice.clone();
            self.notices.push(notice);
        }
    }

    /// Time to try a notice again.
    pub(crate) fn notice_due(&mut self, key: &str) {
        let Some(pending) = self.outbox.get_mut(&key.to_owned()) else { return };
        if pending.retry_at.take().is_some() {
            pending.notice.attempt = pending.notice.attempt.saturating_add(1);
            let notice = pending.notice.clone();
            self.notices.push(notice);
        }
    }

    /// A transition for which no notice was made.
    pub(crate) fn ledger_only(&mut self, number: u64, transition: &str, outcome: Outcome, reason: &str) {
        self.ledger(number, transition, outcome, "", "", reason);
    }

    fn ledger(&mut self, number: u64, transition: &str, outcome: Outcome, channel: &str, key: &str, reason: &str) {
        self.meta.ledger += 1;
        let view = self.incidents.get(&number).map(|incident| &incident.view);
        let item = view.map(|view| if view.item.is_empty() { view.entity.clone() } else { view.item.clone() });
        let line = LedgerLine {
            id: self.meta.ledger,
            at: self.now,
            incident: number,
            item: item.unwrap_or_default(),
            transition: transition.to_owned(),
            outcome,
            channel: channel.to_owned(),
            key: key.to_owned(),
            reason: reason.to_owned(),
        };
        self.add_row(Table::Ledger, rows::ledger_key(number, line.id), rows::encode(&line));
        if self.incidents.get(&number).is_some() {
            let mut lines = self.ledgers.get(&number).cloned().unwrap_or_default();
            if lines.len() < LEDGER_IN_MEMORY_MAX {
                lines.push(line);
                self.ledgers.insert(number, lines);
            } else {
                self.meta.limits.ledger.meet(self.now);
            }
        }
    }
}

/// True for what ends an incident for those who were told of it.
pub(crate) fn is_end(transition: &str) -> bool {
    matches!(transition, "restored" | "closed")
}

/// The same for the same transition, over retries and restarts.
fn key(incident: u64, transition: u64, channel: &str) -> String {
    let hash = Sha256::digest(format!("{incident}/{transition}/{channel}").as_bytes());
    hex(&hash[..16])
}

/// 1 s, 2 s, 4 s … 5 min.
fn backoff(attempt: u32) -> Millis {
    let doubled = 1u64.checked_shl(attempt.saturating_sub(1).min(32)).unwrap_or(u64::MAX);
    RETRY_FIRST.times(doubled).min(RETRY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_double_up_to_five_minutes() {
        let waits: Vec<u64> = [1, 2, 3, 9, 10, 11, 4_000_000_000].into_iter().map(|n| backoff(n).0 / 1000).collect();
        assert_eq!(waits, [1, 2, 4, 256, 300, 300, 300]);
    }

    #[test]
    fn keys_differ_by_incident_transition_and_channel_and_stay_the_same() {
        let keys = [key(1, 1, "a"), key(1, 2, "a"), key(2, 1, "a"), key(1, 1, "b")];
        assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        assert_eq!(key(1, 1, "a"), keys[0]);
        assert_eq!(keys[0].len(), 32);
    }
}
