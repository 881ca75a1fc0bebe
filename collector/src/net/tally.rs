//! How many places each holder has; whoever has none costs no memory.

use std::collections::HashMap;
use std::hash::Hash;

/// Counts by holder.
#[derive(Debug)]
pub(crate) struct Tally<K>(HashMap<K, usize>);

impl<K> Default for Tally<K> {
    fn default() -> Tally<K> {
        Tally(HashMap::new())
    }
}

impl<K: Eq + Hash> Tally<K> {
    /// How many a holder has.
    pub(crate) fn of(&self, holder: &K) -> usize {
        self.0.get(holder).copied().unwrap_or(0)
    }

    /// One more.
    pub(crate) fn take(&mut self, holder: K) {
        *self.0.entry(holder).or_insert(0) += 1;
    }

    /// One less.
    pub(crate) fn give_back(&mut self, holder: &K) {
        if let Some(n) = self.0.get_mut(holder) {
            *n -= 1;
            if *n == 0 {
                self.0.remove(holder);
            }
        }
    }

    /// True when nobody has a place.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
