//! Deadlines: when time alone may change something.
//!
//! Every key has at most one deadline. A deadline may be early: what it wakes
//! looks again and sets the next one, so that nothing is moved at every sample.

use crate::state::FeedKey;
use signalbox_proto::names::AgentId;
use signalbox_proto::units::UnixMillis;
use std::collections::{BTreeMap, BTreeSet};

/// What a deadline wakes. The order decides between equal deadlines: the agents'
/// verdicts come before those about their items.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DueKey {
    /// An agent's down clock, planned stop or retirement.
    Agent(AgentId),
    /// Silence of a check, end of flapping of its tracks.
    Feed(FeedKey),
    /// Another machine's use of an agent's identity may be over.
    Identity(AgentId),
    /// The end of a snooze.
    Snooze(u64),
    /// The next attempt to deliver a notice.
    Notice(String),
}

/// All deadlines, by key and by time.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Deadlines {
    by_key: BTreeMap<DueKey, UnixMillis>,
    by_time: BTreeSet<(UnixMillis, DueKey)>,
}

impl Deadlines {
    /// The earliest.
    pub(crate) fn first(&self) -> Option<UnixMillis> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Sets or removes one.
    pub(crate) fn set(&mut self, key: DueKey, at: Option<UnixMillis>) {
        let old = match at {
            Some(at) => self.by_key.insert(key.clone(), at),
            None => self.by_key.remove(&key),
        };
        if old == at {
            return;
        }
        if let Some(old) = old {
            self.by_time.remove(&(old, key.clone()));
        }
        if let Some(at) = at {
            self.by_time.insert((at, key));
        }
    }
}

/// Deadlines with the changes of a decision laid over them.
#[derive(Debug)]
pub(crate) struct DueOverlay<'a> {
    base: &'a Deadlines,
    changed: BTreeMap<DueKey, Option<UnixMillis>>,
    own: Deadlines,
    /// The first entry of the base that may still count.
    head: Option<(UnixMillis, DueKey)>,
    now: UnixMillis,
}

impl<'a> DueOverlay<'a> {
    /// Nothing is changed yet.
    pub(crate) fn over(base: &'a Deadlines) -> Self {
        let (changed, own, head) = (BTreeMap::new(), Deadlines::default(), base.by_time.first().cloned());
        DueOverlay { base, changed, own, head, now: UnixMillis::MIN }
    }

    /// Time goes on.
    pub(crate) fn reach(&mut self, now: UnixMillis) {
        self.now = self.now.max(now);
    }

    /// Sets or removes one. What was due before now is due now: else the next turn,
    /// which begins with its earliest deadline, would look back in time.
    pub(crate) fn set(&mut self, key: DueKey, at: Option<UnixMillis>) {
        let at = at.map(|at| at.max(self.now));
        self.own.set(key.clone(), at);
        self.changed.insert(key, at);
        self.skip_changed();
    }

    /// Takes the earliest that is due at `now`.
    pub(crate) fn take(&mut self, now: UnixMillis) -> Option<(UnixMillis, DueKey)> {
        let base = self.head.as_ref();
        let own = self.own.by_time.first();
        let next = match (base, own) {
            (Some(base), Some(own)) => base.min(own),
            (base, own) => base.or(own)?,
        };
        if next.0 > now {
            return None;
        }
        let next = next.clone();
        self.set(next.1.clone(), None);
        Some(next)
    }

    /// What was changed.
    pub(crate) fn into_changes(self) -> BTreeMap<DueKey, Option<UnixMillis>> {
        self.changed
    }

    /// Entries of the base that were changed count no more: they are never met again.
    fn skip_changed(&mut self) {
        let Some(head) = &self.head else { return };
        if self.changed.contains_key(&head.1) {
            let after = (std::ops::Bound::Excluded(head.clone()), std::ops::Bound::Unbounded);
            self.head = self.base.by_time.range(after).find(|(_, key)| !self.changed.contains_key(key)).cloned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snoozes(pairs: &[(u64, i64)]) -> Deadlines {
        let mut all = Deadlines::default();
        for (id, at) in pairs {
            all.set(DueKey::Snooze(*id), Some(UnixMillis(*at)));
        }
        all
    }

    #[test]
    fn deadlines_are_taken_in_order_each_once_and_the_base_stays() {
        let base = snoozes(&[(1, 10), (2, 20), (3, 30)]);
        let mut over = DueOverlay::over(&base);
        over.set(DueKey::Snooze(1), Some(UnixMillis(25)));
        over.set(DueKey::Snooze(4), Some(UnixMillis(5)));
        let mut taken = Vec::new();
        while let Some((at, _)) = over.take(UnixMillis(29)) {
            taken.push(at.0);
        }
        assert_eq!(taken, [5, 20, 25]);
        assert_eq!(base, snoozes(&[(1, 10), (2, 20), (3, 30)]));
        assert_eq!(over.take(UnixMillis(30)), Some((UnixMillis(30), DueKey::Snooze(3))));
        assert_eq!(over.take(UnixMillis::MAX), None);
    }
}
