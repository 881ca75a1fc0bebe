//! What each check costs: samples in a loop, against a clock that the caller brings.

use super::{Check, Instant};
use signalbox_proto::units::{Millis, UnixMillis};
use std::time::Duration;

/// Cost of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// Name of the check.
    pub name: String,
    /// Series of its last sample.
    pub n_series: usize,
    /// Mean time of one sample.
    pub per_sample: Duration,
    /// Why it could not sample, if it could not.
    pub error: Option<String>,
}

/// Samples every check `n_rounds` times in a row, as if a second apart, after two
/// samples that make the layouts and warm the caches. `clock` tells monotonic time.
///
/// In a loop everything is warm: at one sample a second the same reads cost several
/// times as much, because the caches have gone cold in between.
pub fn measure(checks: &mut [Box<dyn Check>], n_rounds: u32, mut clock: impl FnMut() -> Duration) -> Vec<Cost> {
    checks.iter_mut().map(|check| measure_one(check.as_mut(), n_rounds, &mut clock)).collect()
}

fn measure_one(check: &mut dyn Check, n_rounds: u32, clock: &mut impl FnMut() -> Duration) -> Cost {
    let mut values = Vec::new();
    let mut error = None;
    let mut sample = |round: u32| {
        let mono = Millis::from_secs(u64::from(round) + 1);
        let at = Instant { wall: UnixMillis(0) + mono, mono };
        if let Err(failure) = check.sample(at, &mut values) {
            error = Some(failure.to_string());
        }
    };
    (0..2).for_each(&mut sample);
    let start = clock();
    (2..n_rounds.saturating_add(2)).for_each(&mut sample);
    let per_sample = clock().saturating_sub(start) / n_rounds.max(1);
    Cost { name: check.name().to_owned(), n_series: check.layout().series.len(), per_sample, error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{CheckError, Layout};

    struct Counter(Layout, u32);

    impl Check for Counter {
        fn name(&self) -> &str {
            "counter"
        }
        fn sample(&mut self, _: Instant, _: &mut Vec<f64>) -> Result<(), CheckError> {
            self.1 += 1;
            Ok(())
        }
        fn layout(&self) -> &Layout {
            &self.0
        }
    }

    #[test]
    fn the_mean_is_of_the_rounds_after_the_warm_up() {
        let mut now = Duration::ZERO;
        let clock = || {
            now += Duration::from_millis(50);
            now
        };
        let costs = measure(&mut [Box::new(Counter(Layout::default(), 0))], 10, clock);
        assert_eq!(costs[0].per_sample, Duration::from_millis(5));
        assert_eq!((costs[0].name.as_str(), costs[0].n_series, &costs[0].error), ("counter", 0, &None));
    }
}
