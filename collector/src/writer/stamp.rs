//! Stamps for events: the collector's wall clock, made never to go back.
//!
//! A wall clock that jumps ahead is followed at once. One that was set back is
//! met by walking at half speed, so that no clock of an agent stands still while
//! stamps and wall come together again.

use signalbox_proto::units::{Millis, UnixMillis};

/// A jump of either clock between two turns that means: this process was paused.
/// The loop turns at least once a second.
const PAUSE: Millis = Millis::from_secs(5);

/// Makes stamps.
#[derive(Debug)]
pub(crate) struct Stamper {
    at: UnixMillis,
    mono: Millis,
    /// A millisecond whose half was not walked yet.
    is_half_owed: bool,
}

/// One stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// When, never before the last one.
    pub(crate) at: UnixMillis,
    /// The process stood still since the last one.
    pub(crate) was_paused: bool,
}

impl Stamper {
    pub(crate) fn new(wall: UnixMillis, mono: Millis) -> Stamper {
        Stamper { at: wall, mono, is_half_owed: false }
    }

    pub(crate) fn next(&mut self, wall: UnixMillis, mono: Millis) -> Stamp {
        let passed = Millis(mono.0.saturating_sub(self.mono.0));
        let was_paused = passed > PAUSE || wall.since(self.at) > PAUSE;
        self.mono = mono;
        if wall >= self.at {
            (self.at, self.is_half_owed) = (wall, false);
        } else {
            // Turns of 1 ms would lose every half, and time would stand still.
            let halves = passed.0.saturating_add(u64::from(self.is_half_owed));
            self.at = self.at + Millis(halves / 2);
            self.is_half_owed = halves % 2 == 1;
        }
        Stamp { at: self.at, was_paused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_follow_the_wall_clock_and_never_go_back() {
        let mut stamper = Stamper::new(UnixMillis(10_000), Millis(0));
        let mut next = |wall, mono| {
            let stamp = stamper.next(UnixMillis(wall), Millis(mono));
            (stamp.at.0, stamp.was_paused)
        };
        assert_eq!(next(11_000, 1000), (11_000, false));
        assert_eq!(next(5_000, 2000), (11_500, false), "set back: half speed");
        assert_eq!(next(20_000, 3000), (20_000, true), "set ahead: followed, and told");
        assert_eq!(next(26_000, 9000), (26_000, true), "stopped");
    }

    #[test]
    fn time_goes_on_at_half_speed_in_turns_of_a_millisecond_too() {
        let mut stamper = Stamper::new(UnixMillis(10_000), Millis(0));
        let last = (1..=1000).map(|mono| stamper.next(UnixMillis(5_000), Millis(mono)).at).last();
        assert_eq!(last, Some(UnixMillis(10_500)));
    }
}
