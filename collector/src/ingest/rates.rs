//! How often one address may try to enrol.
//!
//! A bucket of attempts for each address, filled again over a minute. What came to
//! a good end is given back, so that a hundred hosts behind one address may join in
//! one go, and guessing is slow all the same. Pure: time comes as an argument.

use signalbox_proto::units::Millis;
use std::collections::HashMap;

/// Addresses that are counted apart; further ones share one bucket.
const ADDRESSES_MAX: usize = 16_384;
/// Over this a bucket fills.
const MINUTE: Millis = Millis::from_mins(1);

/// Attempts that are left, in thousandths, when it was last looked at.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    thousandths: u64,
    at: Millis,
}

/// All buckets.
#[derive(Debug)]
pub(super) struct Rates {
    per_minute: u32,
    buckets: HashMap<String, Bucket>,
}

impl Rates {
    pub(super) fn new(per_minute: u32) -> Rates {
        Rates { per_minute, buckets: HashMap::new() }
    }

    fn full(&self) -> u64 {
        u64::from(self.per_minute) * 1000
    }

    fn filled(&self, bucket: Bucket, now: Millis) -> u64 {
        let since = now.0.saturating_sub(bucket.at.0);
        let gained = since.saturating_mul(self.full()) / MINUTE.0;
        bucket.thousandths.saturating_add(gained).min(self.full())
    }

    /// Takes one attempt; false when none is left.
    pub(super) fn take(&mut self, address: &str, now: Millis) -> bool {
        let full = self.full();
        if !self.buckets.contains_key(address) && self.buckets.len() >= ADDRESSES_MAX {
            let mut buckets = std::mem::take(&mut self.buckets);
            buckets.retain(|_, bucket| self.filled(*bucket, now) < full);
            self.buckets = buckets;
        }
        // Whoever can call from so many addresses gets the share of one.
        let is_crowded = !self.buckets.contains_key(address) && self.buckets.len() >= ADDRESSES_MAX;
        let address = if is_crowded { "" } else { address };
        let bucket = self.buckets.get(address).copied().unwrap_or(Bucket { thousandths: full, at: now });
        // What is refused leaves the bucket as it is: asking again and again does not
        // keep it from filling.
        let Some(thousandths) = self.filled(bucket, now).checked_sub(1000) else { return false };
        self.buckets.insert(address.to_owned(), Bucket { thousandths, at: now });
        true
    }

    /// The attempt came to a good end: it does not count.
    pub(super) fn give_back(&mut self, address: &str) {
        let full = self.full();
        if let Some(bucket) = self.buckets.get_mut(address) {
            bucket.thousandths = (bucket.thousandths + 1000).min(full);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_attempts_as_are_allowed_and_one_over() {
        let mut rates = Rates::new(10);
        for n in 0..10 {
            assert!(rates.take("192.0.2.1", Millis(n)), "{n}");
        }
        assert!(!rates.take("192.0.2.1", Millis(10)));
        assert!(rates.take("192.0.2.2", Millis(10)), "others are not slowed down");
        assert!(!rates.take("192.0.2.1", Millis(5_000)));
        assert!(rates.take("192.0.2.1", Millis(6_010)), "one comes back every six seconds");
        assert!(!rates.take("192.0.2.1", Millis(6_011)));
    }

    #[test]
    fn what_came_to_a_good_end_does_not_count() {
        let mut rates = Rates::new(2);
        for n in 0..100 {
            assert!(rates.take("a", Millis(n)));
            rates.give_back("a");
        }
        rates.give_back("b");
        assert!(rates.take("a", Millis(100)) && rates.take("a", Millis(100)) && !rates.take("a", Millis(100)));
    }

    #[test]
    fn addresses_without_number_share_one_bucket_and_the_quiet_ones_are_forgotten() {
        let mut rates = Rates::new(2);
        for n in 0..ADDRESSES_MAX {
            assert!(rates.take(&n.to_string(), Millis(0)));
        }
        assert!(rates.take("x", Millis(0)) && rates.take("y", Millis(0)) && !rates.take("z", Millis(0)));
        assert_eq!(rates.buckets.len(), ADDRESSES_MAX + 1);
        assert!(rates.take("z", Millis(60_000)));
        assert!(rates.buckets.len() <= 2);
    }
}
