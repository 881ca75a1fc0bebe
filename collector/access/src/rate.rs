//! How often something may happen: the one bucket that every limiter here is made of.
//!
//! A bucket takes `burst` at once and empties evenly over a span, so that what is used
//! up comes back one by one. It is one number, the instant at which it will be empty
//! (the generic cell rate algorithm, ITU-T I.371). Pure: time comes as an argument.
//! What is refused leaves a bucket as it is: asking again and again does not keep it
//! full.

use signalbox_proto::units::Millis;
use std::collections::HashMap;

/// So many at once, and as many again over a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    burst: u32,
    span: Millis,
}

impl Rate {
    /// `burst` (at least one) within `span`.
    pub const fn new(burst: u32, span: Millis) -> Rate {
        Rate { burst: if burst == 0 { 1 } else { burst }, span }
    }

    /// `burst` at once, then one in each `every`.
    pub const fn one_in(every: Millis, burst: u32) -> Rate {
        Rate::new(burst, every.times(burst as u64))
    }
}

/// Instants are counted in parts of a millisecond, `burst` of them, so that each event
/// weighs `span` and no rate is too high to be counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    empty_at: u64,
}

impl Bucket {
    fn fill(self, rate: Rate, now: Millis) -> u64 {
        self.empty_at.saturating_sub(now.0.saturating_mul(u64::from(rate.burst)))
    }

    /// How long until one more fits; zero: it does now.
    pub fn wait(self, rate: Rate, now: Millis) -> Millis {
        let burst = u64::from(rate.burst);
        let over = (self.fill(rate, now) + rate.span.0).saturating_sub(rate.span.0.saturating_mul(burst));
        Millis(over.div_ceil(burst))
    }

    /// One more, whether it fits or not.
    pub fn add(&mut self, rate: Rate, now: Millis) {
        let now = now.0.saturating_mul(u64::from(rate.burst));
        self.empty_at = self.empty_at.max(now).saturating_add(rate.span.0);
    }

    /// One of those did not count.
    pub fn give_back(&mut self, rate: Rate) {
        self.empty_at = self.empty_at.saturating_sub(rate.span.0);
    }
}

/// What becomes of a new key when so many buckets are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crowd {
    /// It shares one bucket with all others that found no room: a bound on them all.
    Shares,
    /// The emptiest bucket makes room: strangers without number shut nobody out.
    Forgets,
}

/// A bucket for each key, bounded.
#[derive(Debug, Clone, PartialEq)]
pub struct Buckets {
    rate: Rate,
    max: usize,
    crowd: Crowd,
    buckets: HashMap<String, Bucket>,
}

/// Where keys that found no room are counted.
const OTHERS: &str = "";

impl Buckets {
    /// At most `max` buckets, and one that is shared.
    pub fn new(rate: Rate, max: usize, crowd: Crowd) -> Buckets {
        Buckets { rate, max, crowd, buckets: HashMap::new() }
    }

    /// How long until one more of this key fits; zero: it does now.
    pub fn wait(&self, key: &str, now: Millis) -> Millis {
        self.buckets.get(self.place(key)).map_or(Millis::ZERO, |bucket| bucket.wait(self.rate, now))
    }

    /// One more of this key, whether it fits or not.
    pub fn add(&mut self, key: &str, now: Millis) {
        if !self.has_room(key) {
            let rate = self.rate;
            self.buckets.retain(|_, bucket| bucket.fill(rate, now) > 0);
        }
        if !self.has_room(key) && self.crowd == Crowd::Forgets {
            let emptiest = self.buckets.iter().min_by_key(|(_, bucket)| bucket.empty_at).map(|(key, _)| key.clone());
            emptiest.map(|key| self.buckets.remove(&key));
        }
        let rate = self.rate;
        let place = self.place(key).to_owned();
        self.buckets.entry(place).or_default().add(rate, now);
    }

    /// One more if it fits.
    ///
    /// # Errors
    /// How long to wait.
    pub fn take(&mut self, key: &str, now: Millis) -> Result<(), Millis> {
        match self.wait(key, now) {
            Millis::ZERO => {
                self.add(key, now);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// One of this key did not count.
    pub fn give_back(&mut self, key: &str) {
        let rate = self.rate;
        if let Some(bucket) = self.buckets.get_mut(key) {
            bucket.give_back(rate);
        }
    }

    /// Nothing of this key counts any more.
    pub fn forget(&mut self, key: &str) {
        self.buckets.remove(key);
    }

    fn has_room(&self, key: &str) -> bool {
        self.buckets.contains_key(key) || self.buckets.len() < self.max
    }

    fn place<'k>(&self, key: &'k str) -> &'k str {
        if self.has_room(key) { key } else { OTHERS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEN_A_MINUTE: Rate = Rate::new(10, Millis::from_mins(1));

    fn buckets(max: usize, crowd: Crowd) -> Buckets {
        Buckets::new(Rate::new(2, Millis::from_mins(1)), max, crowd)
    }

    fn take(buckets: &mut Buckets, key: &str, ms: u64) -> bool {
        buckets.take(key, Millis(ms)).is_ok()
    }

    #[test]
    fn as_many_as_are_allowed_and_one_over() {
        let mut rates = Buckets::new(TEN_A_MINUTE, 8, Crowd::Shares);
        assert!((0..10).all(|n| take(&mut rates, "192.0.2.1", n)));
        assert_eq!(rates.take("192.0.2.1", Millis(1_000)), Err(Millis(5_000)));
        assert!(take(&mut rates, "192.0.2.2", 1_000), "others are not slowed down");
        assert!(!take(&mut rates, "192.0.2.1", 5_999));
        assert!(take(&mut rates, "192.0.2.1", 6_000), "one comes back every six seconds");
        assert!(!take(&mut rates, "192.0.2.1", 6_001));
        assert!((0..10).all(|n| take(&mut rates, "192.0.2.1", 66_000 + n)), "and all in a minute");
    }

    #[test]
    fn what_is_given_back_or_forgotten_does_not_count() {
        let mut rates = buckets(8, Crowd::Shares);
        for n in 0..100 {
            assert!(take(&mut rates, "a", n));
            rates.give_back("a");
        }
        rates.give_back("b");
        assert!(take(&mut rates, "a", 100) && take(&mut rates, "a", 100) && !take(&mut rates, "a", 100));
        rates.forget("a");
        assert!(take(&mut rates, "a", 100));
    }

    #[test]
    fn keys_without_number_share_one_bucket_and_the_quiet_ones_are_forgotten() {
        let mut rates = buckets(4, Crowd::Shares);
        assert!((0..4).all(|n| take(&mut rates, &n.to_string(), 0)));
        assert!(take(&mut rates, "x", 0) && take(&mut rates, "y", 0) && !take(&mut rates, "z", 0));
        assert_eq!(rates.buckets.len(), 5);
        assert!(take(&mut rates, "0", 0), "who was known before has a bucket of its own");
        assert!(take(&mut rates, "z", 60_000));
        assert!(rates.buckets.len() <= 2);
    }

    #[test]
    fn or_the_emptiest_bucket_makes_room_for_a_newcomer() {
        let mut rates = buckets(4, Crowd::Forgets);
        for n in 0..1_000_u64 {
            assert!(take(&mut rates, &n.to_string(), n));
            assert!(rates.buckets.len() <= 4);
        }
        assert!(take(&mut rates, "999", 1_000) && !take(&mut rates, "999", 1_000), "the newest are remembered");
    }

    proptest! {
        #[test]
        fn no_span_holds_more_than_twice_the_burst(
            burst in 1_u32..50, steps in proptest::collection::vec(0_u64..5_000, 1..400)
        ) {
            let rate = Rate::new(burst, Millis(10_000));
            let (mut bucket, mut now, mut taken) = (Bucket::default(), 0, Vec::new());
            for step in steps {
                now += step;
                let wait = bucket.wait(rate, Millis(now));
                if wait == Millis::ZERO {
                    bucket.add(rate, Millis(now));
                    taken.push(now);
                } else {
                    prop_assert_eq!(bucket.wait(rate, Millis(now) + wait), Millis::ZERO);
                }
            }
            for &from in &taken {
                let n = taken.iter().filter(|&&at| (from..from + 10_000).contains(&at)).count();
                prop_assert!(n <= 2 * burst as usize, "{} from {}", n, from);
            }
        }
    }
}
