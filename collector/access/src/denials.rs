//! How many denials are written down: an attacker must not fill the disk, nor hide
//! behind the lines of another.
//!
//! Two buckets, one for all denials and one for each address. What does not fit is
//! counted in the next line.

use crate::limits::{
    DENIAL_ADDRESSES_MAX, DENIAL_EVERY, DENIAL_EVERY_PER_ADDRESS, DENIALS_BURST, DENIALS_BURST_PER_ADDRESS,
};
use crate::rate::{Bucket, Buckets, Crowd, Rate};
use signalbox_proto::units::{Millis, UnixMillis};

const ALL: Rate = Rate::one_in(DENIAL_EVERY, DENIALS_BURST);
const OF_ONE: Rate = Rate::one_in(DENIAL_EVERY_PER_ADDRESS, DENIALS_BURST_PER_ADDRESS);

/// The buckets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Denials {
    all: Bucket,
    by_address: Buckets,
}

impl Default for Denials {
    fn default() -> Denials {
        let by_address = Buckets::new(OF_ONE, DENIAL_ADDRESSES_MAX, Crowd::Shares);
        Denials { all: Bucket::default(), by_address }
    }
}

impl Denials {
    /// True when a denial of this address is to be written down.
    pub(crate) fn admit(&mut self, from: &str, at: UnixMillis) -> bool {
        let now = Millis(u64::try_from(at.0).unwrap_or(0));
        let fits = self.all.wait(ALL, now) == Millis::ZERO && self.by_address.take(from, now).is_ok();
        if fits {
            self.all.add(ALL, now);
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
}
