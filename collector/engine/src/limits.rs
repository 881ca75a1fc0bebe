//! Limits that were met: counted, kept over restarts, shown for a day.
//!
//! The engine does not log. What a limit left out is counted here; each place also
//! says so where people look for what is missing (ledger, timeline, answer).

use serde::{Deserialize, Serialize};
use signalbox_proto::units::{Millis, UnixMillis};

/// A limit that was met is a problem on the board for this long.
const SHOWN_FOR: Millis = Millis::from_mins(24 * 60);

/// One limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LimitMet {
    pub(crate) n: u64,
    pub(crate) last: UnixMillis,
}

impl LimitMet {
    /// Something was left out.
    pub(crate) fn meet(&mut self, at: UnixMillis) {
        self.n = self.n.saturating_add(1);
        self.last = at;
    }
}

/// All limits of the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LimitsMet {
    /// Notices dropped because too many wait.
    pub(crate) outbox: LimitMet,
    /// Lines left out of full timelines.
    pub(crate) timeline: LimitMet,
    /// Ledger lines that are in the store only.
    pub(crate) ledger: LimitMet,
    /// Snoozes refused because too many are in force.
    pub(crate) snoozes: LimitMet,
    /// Results of checks that are not shown.
    pub(crate) results: LimitMet,
    /// Evidence of results that was cut.
    pub(crate) evidence: LimitMet,
}

impl LimitsMet {
    /// Names as metrics have them, with how often each limit was met.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 6] {
        [
            ("outbox", self.outbox.n),
            ("timeline", self.timeline.n),
            ("ledger", self.ledger.n),
            ("snoozes", self.snoozes.n),
            ("results", self.results.n),
            ("evidence", self.evidence.n),
        ]
    }

    /// What people must know of at `now`.
    pub(crate) fn problems(&self, now: UnixMillis) -> impl Iterator<Item = String> {
        let shown = move |(limit, what): (LimitMet, &str)| {
            let recent = limit.n > 0 && now.since(limit.last) <= SHOWN_FOR;
            recent.then(|| format!("{} {what}, lately at {}", limit.n, crate::words::clock_time(limit.last)))
        };
        let told = [
            (self.outbox, "notices were dropped: the outbox was full"),
            (self.timeline, "lines were left out of full timelines"),
            (self.results, "results of checks were left out: too many are bad"),
            (self.snoozes, "snoozes were refused: too many were in force"),
        ];
        told.into_iter().filter_map(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_counted_for_good_and_shown_for_a_day() {
        let mut limits = LimitsMet::default();
        assert_eq!(limits.problems(UnixMillis(0)).count(), 0);
        limits.outbox.meet(UnixMillis(1_000));
        limits.outbox.meet(UnixMillis(2_000));
        let told: Vec<String> = limits.problems(UnixMillis(3_000)).collect();
        assert_eq!(told, ["2 notices were dropped: the outbox was full, lately at 00:00:02 UTC"]);
        assert_eq!(limits.problems(UnixMillis(2_000) + SHOWN_FOR + Millis(1)).count(), 0);
        assert_eq!(limits.counts()[0], ("outbox", 2));
    }
}
