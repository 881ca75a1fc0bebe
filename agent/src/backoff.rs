//! How long to wait before the collector is dialled again.
//!
//! The bound doubles from 1 s to 10 s and the wait is drawn from the whole span
//! below it ("full jitter", Brooker, *Exponential Backoff and Jitter*, 2015), so
//! that a thousand agents that lost one collector do not come back in step.

use signalbox_proto::units::Millis;

const FIRST: Millis = Millis(1000);
const CAP: Millis = Millis(10_000);

/// Waits between attempts. Deterministic for a seed.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    bound: Millis,
    state: u64,
}

impl Backoff {
    /// Starts at the shortest bound.
    pub(crate) fn seeded(seed: u64) -> Backoff {
        Backoff { bound: FIRST, state: seed }
    }

    /// The next wait.
    pub(crate) fn next(&mut self) -> Millis {
        let wait = Millis(self.draw() % (self.bound.0 + 1));
        self.bound = self.bound.times(2).min(CAP);
        wait
    }

    /// An attempt succeeded: the next wait is short again.
    pub(crate) fn reset(&mut self) {
        self.bound = FIRST;
    }

    /// splitmix64 (Steele, Lea, Flood 2014): enough to spread agents.
    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_below_a_bound_that_doubles_to_ten_seconds() {
        for seed in 0..1000 {
            let mut backoff = Backoff::seeded(seed);
            for bound in [1000, 2000, 4000, 8000, 10_000, 10_000] {
                assert!(backoff.next().0 <= bound);
            }
            backoff.reset();
            assert!(backoff.next().0 <= 1000);
        }
    }

    #[test]
    fn agents_spread_over_the_whole_span() {
        let waits: Vec<u64> = (0..1000).map(|seed| Backoff::seeded(seed).next().0).collect();
        let mean = waits.iter().sum::<u64>() / 1000;
        assert!((450..550).contains(&mean), "{mean}");
    }
}
