//! Logins that fail too often have to wait.
//!
//! Counted three ways, so that neither one account nor a list of accounts can be tried
//! at speed, from one place or from many:
//!
//! ```text
//! account from an address     5 at once, then one in 3 min
//! address                    30 at once, then one in 30 s
//! account from anywhere      30 at once, then one in 30 s; not where it once got in from
//! ```
//!
//! The last one slows down and shuts nobody out: whoever logged in from an address
//! since the collector's start is not held up there by what others try elsewhere.
//! An attempt counts when it begins: many at once are no way around. Every table is
//! bounded; what is nearest to being forgotten goes first.

use signalbox_access::rate::{Buckets, Crowd, Rate};
use signalbox_proto::units::Millis;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Of each kind of count, so many are kept.
const ENTRIES_MAX: usize = 10_000;
/// All attempts at an account, and all of an address, may fail this many times as
/// often as those at one account from one address.
const WIDER: u32 = 6;
/// Bytes of an account's name that count.
const NAME_MAX_BYTES: usize = 128;

/// Whose secret is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tried<'a> {
    /// That of a user.
    User(&'a str),
    /// That of a login link, which belongs to nobody until it is right.
    Link,
}

/// Failed logins of the last while.
#[derive(Debug)]
pub(crate) struct Throttle(Mutex<Counts>);

#[derive(Debug)]
struct Counts {
    pairs: Buckets,
    addresses: Buckets,
    accounts: Buckets,
    /// Pairs of account and address that succeeded, and when last, monotonic.
    known: HashMap<String, Millis>,
}

impl Throttle {
    pub(crate) fn new(failures_max: usize, window: Millis) -> Throttle {
        let failures_max = u32::try_from(failures_max).unwrap_or(u32::MAX);
        let counts = |n: u32| Buckets::new(Rate::new(n, window), ENTRIES_MAX, Crowd::Forgets);
        let wider = failures_max.saturating_mul(WIDER);
        Throttle(Mutex::new(Counts {
            pairs: counts(failures_max),
            addresses: counts(wider),
            accounts: counts(wider),
            known: HashMap::new(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an attempt at monotonic `now`; it counts as failed until
    /// [`Throttle::succeeded`].
    ///
    /// # Errors
    /// How long to wait.
    pub(crate) fn begin(&self, tried: Tried<'_>, address: &str, now: Millis) -> Result<(), Millis> {
        let mut counts = self.lock();
        let (pair, account) = (pair_of(tried, address), counts.account_of(tried, address));
        let wait = account.map_or(Millis::ZERO, |account| counts.accounts.wait(account, now));
        let wait = wait.max(counts.pairs.wait(&pair, now)).max(counts.addresses.wait(address, now));
        if wait > Millis::ZERO {
            return Err(wait);
        }
        counts.pairs.add(&pair, now);
        counts.addresses.add(address, now);
        if let Some(account) = account {
            counts.accounts.add(account, now);
        }
        Ok(())
    }

    /// The attempt begun last was no failure.
    pub(crate) fn succeeded(&self, tried: Tried<'_>, address: &str, now: Millis) {
        let mut counts = self.lock();
        let (pair, account) = (pair_of(tried, address), counts.account_of(tried, address));
        counts.pairs.forget(&pair);
        counts.addresses.give_back(address);
        if let Some(account) = account {
            counts.accounts.give_back(account);
        }
        if let Tried::User(_) = tried {
            counts.remember(pair, now);
        }
    }
}

impl Counts {
    /// The account, where its attempts from anywhere are counted.
    fn account_of<'a>(&self, tried: Tried<'a>, address: &str) -> Option<&'a str> {
        let Tried::User(account) = tried else { return None };
        (!self.known.contains_key(&pair_of(tried, address))).then(|| cut(account))
    }

    fn remember(&mut self, pair: String, now: Millis) {
        if self.known.len() >= ENTRIES_MAX && !self.known.contains_key(&pair) {
            let oldest = self.known.iter().min_by_key(|(_, at)| **at).map(|(pair, _)| pair.clone());
            oldest.map(|oldest| self.known.remove(&oldest));
        }
        self.known.insert(pair, now);
    }
}

fn cut(account: &str) -> &str {
    let mut end = account.len().min(NAME_MAX_BYTES);
    while !account.is_char_boundary(end) {
        end -= 1;
    }
    &account[..end]
}

/// No address has a line break.
fn pair_of(tried: Tried<'_>, address: &str) -> String {
    match tried {
        Tried::User(account) => format!("{address}\n{}", cut(account)),
        Tried::Link => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Millis = Millis::from_mins(15);
    const ADA: Tried<'_> = Tried::User("ada");

    fn throttle() -> Throttle {
        Throttle::new(5, WINDOW)
    }

    /// How many of `n` attempts at once are let through.
    fn n_begun(throttle: &Throttle, n: u32, attempt: impl Fn(u32) -> (String, String)) -> usize {
        let begins = |n: &u32| {
            let (account, address) = attempt(*n);
            throttle.begin(Tried::User(&account), &address, Millis(0)).is_ok()
        };
        (0..n).filter(begins).count()
    }

    #[test]
    fn the_sixth_failure_waits_for_a_fifth_of_the_window() {
        let throttle = throttle();
        (0..5).for_each(|_| throttle.begin(ADA, "192.0.2.1", Millis(0)).unwrap());
        let wait = throttle.begin(ADA, "192.0.2.1", Millis::from_secs(10)).unwrap_err();
        assert_eq!(wait, Millis::from_secs(3 * 60 - 10));
        assert_eq!(throttle.begin(ADA, "192.0.2.1", Millis::from_mins(3)), Ok(()));
        assert!(throttle.begin(ADA, "192.0.2.1", Millis::from_mins(3)).is_err(), "one at a time");
    }

    #[test]
    fn other_accounts_and_addresses_are_not_held_up() {
        let throttle = throttle();
        (0..5).for_each(|_| throttle.begin(ADA, "192.0.2.1", Millis(0)).unwrap());
        assert_eq!(throttle.begin(Tried::User("bob"), "192.0.2.1", Millis(0)), Ok(()));
        assert_eq!(throttle.begin(ADA, "192.0.2.2", Millis(0)), Ok(()));
    }

    #[test]
    fn a_list_of_accounts_from_one_address_is_held_up_too() {
        let n = n_begun(&throttle(), 100, |n| (format!("user{n}"), "192.0.2.1".to_owned()));
        assert_eq!(n, 30);
    }

    #[test]
    fn one_account_from_many_addresses_is_slowed_down_and_its_owner_is_not_shut_out() {
        let throttle = throttle();
        throttle.begin(ADA, "198.51.100.7", Millis(0)).unwrap();
        throttle.succeeded(ADA, "198.51.100.7", Millis(0));
        let n = n_begun(&throttle, 500, |n| ("ada".to_owned(), format!("host{n}")));
        assert_eq!(n, 30);
        assert_eq!(throttle.begin(ADA, "elsewhere", Millis(0)), Err(Millis::from_secs(30)), "half a minute at most");
        assert_eq!(throttle.begin(ADA, "198.51.100.7", Millis(0)), Ok(()), "from where she got in before");
        assert_eq!(throttle.begin(Tried::User("bob"), "elsewhere", Millis(0)), Ok(()));
        assert_eq!(throttle.begin(Tried::Link, "elsewhere", Millis(0)), Ok(()), "nor are links held up");
    }

    #[test]
    fn a_success_forgets_the_failures_of_its_account() {
        let throttle = throttle();
        for _ in 0..7 {
            (0..4).for_each(|_| throttle.begin(ADA, "a", Millis(0)).unwrap());
            throttle.succeeded(ADA, "a", Millis(0));
        }
        assert_eq!(throttle.begin(ADA, "a", Millis(0)), Ok(()));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes() {
        let throttle = throttle();
        for n in 0..=ENTRIES_MAX as u64 {
            throttle.succeeded(ADA, &format!("host{n}"), Millis(n));
        }
        let counts = throttle.lock();
        assert_eq!(counts.known.len(), ENTRIES_MAX);
        assert!(counts.account_of(ADA, "host0").is_some() && counts.account_of(ADA, "host10000").is_none());
    }
}
