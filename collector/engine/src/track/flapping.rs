//! Counts changes to and from green over a window, across episodes.

use crate::rule::Judgement;
use serde::{Deserialize, Serialize};
use signalbox_proto::status::Level;
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::VecDeque;

/// Changes of one track in the window, and whether they are too many.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Flapping {
    /// When, and the worse of the two levels; at most as many as make it flap.
    changes: VecDeque<(UnixMillis, Level)>,
    pinned: Option<Level>,
    told: bool,
}

impl Flapping {
    /// The level that is shown instead of the settled one.
    pub(super) fn pinned(&self) -> Option<Level> {
        self.pinned
    }

    /// True once somebody was told.
    pub(super) fn is_told(&self) -> bool {
        self.told
    }

    /// Somebody was told.
    pub(super) fn tell(&mut self) {
        self.told = true;
    }

    /// The settled level moved.
    pub(super) fn changed(&mut self, how: &Judgement, from: Level, to: Level, at: UnixMillis) {
        let crosses = (from == Level::Green) != (to == Level::Green);
        if how.flap_changes == 0 || !crosses {
            return;
        }
        self.changes.push_back((at, from.max(to)));
        let outside = at - how.flap_window;
        while self.changes.front().is_some_and(|&(change, _)| change <= outside)
            || self.changes.len() > how.flap_changes as usize
        {
            self.changes.pop_front();
        }
        if self.pinned.is_some() || self.changes.len() >= how.flap_changes as usize {
            self.pinned = self.changes.iter().map(|&(_, level)| level).chain(self.pinned).max();
        }
    }

    /// Ends flapping when a whole window passed without a change. True when it did.
    pub(super) fn settle(&mut self, how: &Judgement, now: UnixMillis) -> bool {
        let over = self.ends(how.flap_window).is_some_and(|end| now >= end);
        if over {
            *self = Flapping::default();
        }
        over
    }

    /// When flapping ends if nothing changes any more.
    pub(super) fn ends(&self, window: Millis) -> Option<UnixMillis> {
        let last = self.changes.back()?.0;
        self.pinned.map(|_| last + window)
    }

    /// The clock under it stepped.
    pub(super) fn shift(&mut self, by_ms: i64) {
        for (at, _) in &mut self.changes {
            *at = at.shifted(by_ms);
        }
    }
}
