//! From when on samples are kept: too old goes first, then the oldest until the rest
//! fits. Planned over bytes by window, which are few however many rows there are.

use crate::tier::Tier;
use signalbox_proto::units::{Bytes, Millis, UnixMillis};
use std::collections::BTreeMap;

/// How long and how much of a tier is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rows whose newest sample is older than this go.
    pub age: Millis,
    /// Rows together take at most this.
    pub size: Bytes,
}

/// Bytes of rows by the 2 h window of their newest sample.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    by_window: BTreeMap<UnixMillis, u64>,
}

impl Held {
    /// Counts a row.
    pub fn add(&mut self, max_time: UnixMillis, size: Bytes) {
        let held = self.by_window.entry(Tier::Long.window_of(max_time)).or_default();
        *held = held.saturating_add(size.0);
    }

    /// Bytes of all rows.
    pub fn total(&self) -> Bytes {
        Bytes(self.by_window.values().fold(0, |sum, n| u64::saturating_add(sum, *n)))
    }

    /// Rows whose newest sample is before this go.
    pub fn cutoff(&self, now: UnixMillis, limits: Limits) -> Cutoff {
        let by_age = now - limits.age;
        let mut kept = self.total().0;
        let mut by_size = None;
        for (window, n_bytes) in &self.by_window {
            if kept <= limits.size.0 {
                break;
            }
            kept = kept.saturating_sub(*n_bytes);
            by_size = Some(window.shifted(Tier::Long.window_ms()));
        }
        match by_size {
            Some(end) if end > by_age => Cutoff { before: end, is_by_size: true },
            _ => Cutoff { before: by_age, is_by_size: false },
        }
    }
}

/// What [`Held::cutoff`] gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cutoff {
    /// Rows whose newest sample is before this go.
    pub before: UnixMillis,
    /// The size limit deletes samples before their age does.
    pub is_by_size: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tier::HOUR_MS;

    fn check(age: i64, size: u64, expected: (i64, bool)) {
        let mut held = Held::default();
        for (hour, bytes) in [(7, 10), (1, 10), (3, 5), (3, 5), (9, 10)] {
            held.add(UnixMillis(hour * HOUR_MS), Bytes(bytes));
        }
        assert_eq!(held.total(), Bytes(40));
        let limits = Limits { age: Millis((age * HOUR_MS).cast_unsigned()), size: Bytes(size) };
        let cutoff = held.cutoff(UnixMillis(10 * HOUR_MS), limits);
        assert_eq!((cutoff.before.0 / HOUR_MS, cutoff.is_by_size), expected);
    }

    #[test]
    fn what_fits_goes_by_age_alone() {
        check(8, 40, (2, false));
        check(100, 40, (-90, false));
    }

    #[test]
    fn the_oldest_windows_go_until_the_rest_fits() {
        check(100, 39, (2, true));
        check(100, 30, (2, true));
        check(100, 29, (4, true));
        check(100, 0, (10, true));
        check(3, 39, (7, false));
    }
}
