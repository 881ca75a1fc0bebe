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
        Stamper { at: wall, mono }
    }

    pub(crate) fn next(&mut self, wall: UnixMillis, mono: Millis) -> Stamp {
        let passed = Millis(mono.0.saturating_sub(self.mono.0));
        let was_paused = passed > PAUSE || wall.since(self.at) > PAUSE;
        self.mono = mono;
        self.at = if wall >= self.at { wall } else { self.at + Millis(passed.0 / 2) };
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
}
