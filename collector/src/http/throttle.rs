//! Logins that fail too often have to wait.
//!
//! Counted by account and address, and by address alone, so that neither one
//! account nor a list of accounts can be tried at speed. An attempt counts when it
//! begins: many at once are no way around. The table is bounded; what is oldest
//! goes first.

use signalbox_proto::units::Millis;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Pairs of account and address that are remembered.
const ENTRIES_MAX: usize = 10_000;
/// An address may fail this many times as often as one account from it.
const ACCOUNTS_PER_ADDRESS: usize = 6;
/// Bytes of an account's name that count.
const NAME_MAX_BYTES: usize = 128;

type Key = (String, String);

/// Failed logins of the last while.
#[derive(Debug)]
pub(crate) struct Throttle {
    failures_max: usize,
    window: Millis,
    /// Instants of attempts that did not succeed, monotonic, oldest first.
    seen: Mutex<HashMap<Key, VecDeque<Millis>>>,
}

impl Throttle {
    pub(crate) fn new(failures_max: usize, window: Millis) -> Throttle {
        Throttle { failures_max: failures_max.max(1), window, seen: Mutex::default() }
    }

    /// Begins an attempt at monotonic `now`; it counts as failed until
    /// [`Throttle::succeeded`].
    ///
    /// # Errors
    /// How long to wait.
    pub(crate) fn begin(&self, account: &str, address: &str, now: Millis) -> Result<(), Millis> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let limits =
            [(own(account, address), self.failures_max), (alone(address), self.failures_max * ACCOUNTS_PER_ADDRESS)];
        for (key, limit) in &limits {
            let Some(times) = seen.get_mut(key) else { continue };
            times.retain(|at| now.0.saturating_sub(at.0) < self.window.0);
            if times.len() >= *limit {
                let oldest = times.front().copied().unwrap_or(now);
                return Err(Millis((oldest.0 + self.window.0).saturating_sub(now.0).max(1)));
            }
        }
        for (key, _) in limits {
            if seen.len() >= ENTRIES_MAX && !seen.contains_key(&key) {
                make_room(&mut seen, self.window, now);
            }
            seen.entry(key).or_default().push_back(now);
        }
        Ok(())
    }

    /// The attempt begun last was no failure.
    pub(crate) fn succeeded(&self, account: &str, address: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.remove(&own(account, address));
        if let Some(times) = seen.get_mut(&alone(address)) {
            times.pop_back();
        }
    }
}

fn own(account: &str, address: &str) -> Key {
    let mut end = account.len().min(NAME_MAX_BYTES);
    while !account.is_char_boundary(end) {
        end -= 1;
    }
    (account[..end].to_owned(), address.to_owned())
}

/// No account has an empty name.
fn alone(address: &str) -> Key {
    (String::new(), address.to_owned())
}

fn make_room(seen: &mut HashMap<Key, VecDeque<Millis>>, window: Millis, now: Millis) {
    seen.retain(|_, times| times.back().is_some_and(|last| now.0.saturating_sub(last.0) < window.0));
    if seen.len() < ENTRIES_MAX {
        return;
    }
    let oldest = seen.iter().min_by_key(|(_, times)| times.back().map_or(0, |last| last.0)).map(|(key, _)| key.clone());
    if let Some(oldest) = oldest {
        seen.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Millis = Millis::from_mins(15);

    fn throttle() -> Throttle {
        Throttle::new(5, WINDOW)
    }

    #[test]
    fn the_sixth_failure_waits_until_the_first_is_forgotten() {
        let throttle = throttle();
        for secs in 0..5 {
            assert_eq!(throttle.begin("ada", "192.0.2.1", Millis::from_secs(secs)), Ok(()));
        }
        let wait = throttle.begin("ada", "192.0.2.1", Millis::from_secs(10)).unwrap_err();
        assert_eq!(wait, Millis::from_secs(15 * 60 - 10));
        assert_eq!(throttle.begin("ada", "192.0.2.1", WINDOW), Ok(()), "the first is forgotten");
        assert!(throttle.begin("ada", "192.0.2.1", WINDOW).is_err(), "the second is not");
    }

    #[test]
    fn other_accounts_and_addresses_are_not_held_up() {
        let throttle = throttle();
        (0..5).for_each(|_| throttle.begin("ada", "192.0.2.1", Millis(0)).unwrap());
        assert_eq!(throttle.begin("bob", "192.0.2.1", Millis(0)), Ok(()));
        assert_eq!(throttle.begin("ada", "192.0.2.2", Millis(0)), Ok(()));
    }

    #[test]
    fn a_list_of_accounts_from_one_address_is_held_up_too() {
        let throttle = throttle();
        let n = (0..100).filter(|n| throttle.begin(&format!("user{n}"), "192.0.2.1", Millis(0)).is_ok()).count();
        assert_eq!(n, 30);
    }

    #[test]
    fn a_success_forgets_the_failures_of_its_account() {
        let throttle = throttle();
        for _ in 0..20 {
            (0..4).for_each(|_| throttle.begin("ada", "a", Millis(0)).unwrap());
            throttle.succeeded("ada", "a");
            // The address's own count falls by the success alone.
            throttle.seen.lock().unwrap().remove(&alone("a"));
        }
        assert_eq!(throttle.begin("ada", "a", Millis(0)), Ok(()));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let throttle = throttle();
        for n in 0..2 * ENTRIES_MAX as u64 {
            throttle.begin("ada", &format!("host{n}"), Millis(n)).unwrap();
            assert!(throttle.seen.lock().unwrap().len() <= ENTRIES_MAX);
            if n > 6000 {
                break;
            }
        }
        let seen = throttle.seen.lock().unwrap();
        assert!(!seen.contains_key(&alone("host0")) && seen.contains_key(&alone("host6000")));
    }
}
