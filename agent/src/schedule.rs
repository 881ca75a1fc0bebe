//! When each check looks. Pure: instants come as arguments.
//!
//! Looks are aligned to the wall clock with a phase of the agent's own, so that the
//! checks of one agent share their wake-ups (10 s is a multiple of 1 s, and so are
//! their phases) and a thousand agents do not send in the same millisecond.

use crate::check::Instant;
use signalbox_proto::names::AgentId;
use signalbox_proto::units::Millis;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A pause of more intervals than this is told as a gap.
const GAP_INTERVALS: u64 = 3;

#[derive(Debug)]
struct Entry {
    interval: Millis,
    due: Millis,
}

/// The due times of all checks, by index, on the monotonic clock.
#[derive(Debug)]
pub(crate) struct Schedule {
    phase: u64,
    entries: Vec<Entry>,
    n_missed: u64,
}

impl Schedule {
    /// Everything is due at once, and then aligned.
    pub(crate) fn new(agent: &AgentId, intervals: impl IntoIterator<Item = Millis>, now: Millis) -> Schedule {
        let mut hasher = DefaultHasher::new();
        agent.as_str().hash(&mut hasher);
        let entries = intervals.into_iter().map(|interval| Entry { interval, due: now }).collect();
        Schedule { phase: hasher.finish(), entries, n_missed: 0 }
    }

    /// Other checks: all are due at once.
    pub(crate) fn replace(&mut self, intervals: impl IntoIterator<Item = Millis>, now: Millis) {
        self.entries = intervals.into_iter().map(|interval| Entry { interval, due: now }).collect();
    }

    /// When the next check is due.
    pub(crate) fn next(&self) -> Option<Millis> {
        self.entries.iter().map(|entry| entry.due).min()
    }

    /// Collects what is due and schedules it anew. Gives true when sampling paused
    /// for more than three intervals of a check.
    pub(crate) fn take_due(&mut self, at: Instant, due: &mut Vec<usize>) -> bool {
        let mut paused = false;
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if entry.due > at.mono {
                continue;
            }
            let n_late = (at.mono.0 - entry.due.0) / entry.interval.0;
            self.n_missed += n_late;
            paused |= n_late >= GAP_INTERVALS;
            entry.due = at.mono + until_aligned(self.phase, entry.interval, at);
            due.push(index);
        }
        paused
    }

    /// The wall clock stepped: dues are aligned to the new one.
    pub(crate) fn realign(&mut self, at: Instant) {
        for entry in &mut self.entries {
            entry.due = entry.due.min(at.mono + until_aligned(self.phase, entry.interval, at));
        }
    }

    /// Looks that did not happen since the process began.
    pub(crate) fn n_missed(&self) -> u64 {
        self.n_missed
    }
}

/// Time to the next instant that is the phase modulo the interval, at least half an
/// interval away, so that a timer that fires a little early does not look twice.
fn until_aligned(phase: u64, interval: Millis, at: Instant) -> Millis {
    let span = interval.0.max(1);
    let wall = u64::try_from(at.wall.0.rem_euclid(i64::try_from(span).unwrap_or(i64::MAX))).unwrap_or(0);
    let wait = (phase % span + span - wall) % span;
    Millis(if wait < span / 2 { wait + span } else { wait }.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalbox_proto::units::UnixMillis;

    fn at(ms: u64) -> Instant {
        Instant { wall: UnixMillis(1_700_000_000_123 + i64::try_from(ms).unwrap()), mono: Millis(ms) }
    }

    fn schedule(intervals: &[u64]) -> Schedule {
        Schedule::new(&AgentId::parse("web1").unwrap(), intervals.iter().map(|&ms| Millis(ms)), Millis(0))
    }

    fn take(schedule: &mut Schedule, ms: u64) -> (Vec<usize>, bool) {
        let mut due = Vec::new();
        let paused = schedule.take_due(at(ms), &mut due);
        (due, paused)
    }

    #[test]
    fn checks_of_one_agent_share_their_wake_ups() {
        let mut schedule = schedule(&[1000, 10_000, 1000]);
        assert_eq!(take(&mut schedule, 0), (vec![0, 1, 2], false));
        let mut wakes = Vec::new();
        for _ in 0..40 {
            let ms = schedule.next().unwrap().0;
            wakes.push((ms, take(&mut schedule, ms).0));
        }
        assert!(wakes.windows(2).skip(1).all(|pair| pair[1].0 - pair[0].0 == 1000));
        assert!(wakes.iter().all(|(_, due)| *due == [0, 2] || *due == [0, 1, 2]));
        assert!((3..=4).contains(&wakes.iter().filter(|(_, due)| due.len() == 3).count()));
    }

    #[test]
    fn a_timer_that_fires_late_does_not_shift_the_grid() {
        let mut schedule = schedule(&[1000]);
        take(&mut schedule, 0);
        let first = schedule.next().unwrap().0;
        take(&mut schedule, first + 40);
        let second = schedule.next().unwrap().0;
        take(&mut schedule, second);
        assert_eq!(schedule.next().unwrap().0, second + 1000);
        assert_eq!(schedule.n_missed(), 0);
    }

    #[test]
    fn missed_looks_are_counted_and_a_long_pause_is_a_gap() {
        let mut schedule = schedule(&[1000]);
        take(&mut schedule, 0);
        let due = schedule.next().unwrap().0;
        assert_eq!(take(&mut schedule, due + 2000), (vec![0], false));
        assert_eq!(schedule.n_missed(), 2);
        let due = schedule.next().unwrap().0;
        assert_eq!(take(&mut schedule, due + 60_000), (vec![0], true));
        assert_eq!(schedule.n_missed(), 62);
    }

    #[test]
    fn agents_have_phases_of_their_own() {
        let phase = |id: &str| {
            let mut schedule = Schedule::new(&AgentId::parse(id).unwrap(), [Millis(1000)], Millis(0));
            take(&mut schedule, 0);
            schedule.next().unwrap().0 % 1000
        };
        assert_ne!(phase("web1"), phase("web2"));
    }
}
