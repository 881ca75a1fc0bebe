//! How many denials are written down: an attacker must not fill the disk, nor hide
//! behind the lines of another.
//!
//! Two leaky buckets, one for all denials and one for each address. What does not fit
//! is counted in the next line.

use crate::limits::{
    DENIAL_ADDRESSES_MAX, DENIAL_EVERY, DENIAL_EVERY_PER_ADDRESS, DENIALS_BURST, DENIALS_BURST_PER_ADDRESS,
};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeMap;

/// Where addresses beyond the limit are counted.
const OTHERS: &str = "";

#[derive(Debug, Clone, Copy, PartialEq)]
struct Bucket {
    /// Filled up to this instant: a denial moves it on by its interval.
    full_until: UnixMillis,
}

impl Bucket {
    fn is_empty(self, at: UnixMillis) -> bool {
        self.full_until <= at
    }

    /// True when one more fits, whole.
    fn fits(self, at: UnixMillis, every: Millis, burst: u32) -> bool {
        (self.full_until.since(at) + every).0 <= every.times(u64::from(burst)).0
    }

    fn add(&mut self, at: UnixMillis, every: Millis) {
        self.full_until = self.full_until.max(at) + every;
    }
}

/// The buckets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Denials {
    all: Bucket,
    by_address: BTreeMap<String, Bucket>,
}

impl Default for Denials {
    fn default() -> Denials {
        Denials { all: Bucket { full_until: UnixMillis::MIN }, by_address: BTreeMap::new() }
    }
}

impl Denials {
    /// True when a denial of this address is to be written down.
    pub(crate) fn admit(&mut self, from: &str, at: UnixMillis) -> bool {
        if !self.by_address.contains_key(from) && self.by_address.len() >= DENIAL_ADDRESSES_MAX {
            self.by_address.retain(|_, bucket| !bucket.is_empty(at));
        }
        let is_full = self.by_address.len() >= DENIAL_ADDRESSES_MAX;
        let from = if is_full && !self.by_address.contains_key(from) { OTHERS } else { from };
        let own = self.by_address.entry(from.to_owned()).or_insert(Bucket { full_until: UnixMillis::MIN });
        let fits = self.all.fits(at, DENIAL_EVERY, DENIALS_BURST)
            && own.fits(at, DENIAL_EVERY_PER_ADDRESS, DENIALS_BURST_PER_ADDRESS);
        if fits {
            self.all.add(at, DENIAL_EVERY);
            own.add(at, DENIAL_EVERY_PER_ADDRESS);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: UnixMillis = UnixMillis(1_700_000_000_000);

    fn admitted(denials: &mut Denials, from: &str, at: UnixMillis, n: u32) -> u32 {
        (0..n).map(|_| u32::from(denials.admit(from, at))).sum()
    }

    #[test]
    fn one_address_is_cut_off_at_its_limit_and_others_are_heard() {
        let mut denials = Denials::default();
        assert_eq!(admitted(&mut denials, "a", AT, 3_000), DENIALS_BURST_PER_ADDRESS);
        assert!(denials.admit("b", AT));
        assert!(!denials.admit("a", AT + Millis(DENIAL_EVERY_PER_ADDRESS.0 - 1)));
        assert!(denials.admit("a", AT + DENIAL_EVERY_PER_ADDRESS));
        assert!(!denials.admit("a", AT + DENIAL_EVERY_PER_ADDRESS));
    }

    #[test]
    fn all_addresses_together_have_a_limit() {
        let mut denials = Denials::default();
        let n: u32 = (0..10).map(|i| admitted(&mut denials, &format!("10.0.0.{i}"), AT, 1_000)).sum();
        assert_eq!(n, DENIALS_BURST);
        assert!(denials.admit("10.0.0.9", AT + DENIAL_EVERY));
    }

    #[test]
    fn addresses_are_forgotten_before_they_are_too_many() {
        let mut denials = Denials::default();
        for i in 0..2 * DENIAL_ADDRESSES_MAX {
            assert!(denials.admit(&i.to_string(), AT + DENIAL_EVERY_PER_ADDRESS.times(i as u64)));
            assert!(denials.by_address.len() <= DENIAL_ADDRESSES_MAX);
        }
    }

    #[test]
    fn addresses_beyond_the_limit_share_one_count() {
        let mut denials = Denials::default();
        for i in 0..2_000 {
            denials.admit(&i.to_string(), AT);
        }
        assert_eq!(denials.by_address.len(), DENIAL_ADDRESSES_MAX + 1);
    }
}
