//! A table and the changes that a decision would make to it.
//!
//! The base is borrowed and never touched, so a decision can be dropped. What is
//! changed is at once what the store keeps and what the engine adopts.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

/// Changes of a table: a value, or none where the entry is removed.
pub(crate) type Changes<K, V> = BTreeMap<K, Option<V>>;

/// A base table with changes laid over it.
#[derive(Debug)]
pub(crate) struct Overlay<'a, K, V> {
    base: &'a BTreeMap<K, V>,
    changed: Changes<K, V>,
}

impl<'a, K: Ord + Clone, V: Clone> Overlay<'a, K, V> {
    /// Nothing is changed yet.
    pub(crate) fn over(base: &'a BTreeMap<K, V>) -> Self {
        Overlay { base, changed: BTreeMap::new() }
    }

    /// The entry as it would be.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        if self.changed.is_empty() {
            return self.base.get(key);
        }
        match self.changed.get(key) {
            Some(changed) => changed.as_ref(),
            None => self.base.get(key),
        }
    }

    /// The entry to change; copied from the base at first use.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        if !self.changed.contains_key(key) {
            let copy = self.base.get(key)?.clone();
            self.changed.insert(key.clone(), Some(copy));
        }
        self.changed.get_mut(key)?.as_mut()
    }

    /// Adds or replaces an entry.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.changed.insert(key, Some(value));
    }

    /// Removes an entry.
    pub(crate) fn remove(&mut self, key: &K) {
        if self.get(key).is_some() {
            self.changed.insert(key.clone(), None);
        }
    }

    /// Keys in a range, sorted. A copy: what follows usually changes entries.
    pub(crate) fn keys_in(&self, range: impl RangeBounds<K> + Clone) -> Vec<K> {
        let kept = self.base.range(range.clone()).map(|(key, _)| key).filter(|key| !self.changed.contains_key(key));
        let changed = self.changed.range(range).filter(|(_, value)| value.is_some()).map(|(key, _)| key);
        let mut keys: Vec<K> = kept.chain(changed).cloned().collect();
        keys.sort();
        keys
    }

    /// The first entry in a range.
    pub(crate) fn first_in(&self, range: impl RangeBounds<K> + Clone) -> Option<&V> {
        let kept = self.base.range(range.clone()).find(|(key, _)| !self.changed.contains_key(key));
        let changed = self.changed.range(range).find_map(|(key, value)| Some((key, value.as_ref()?)));
        kept.into_iter().chain(changed).min_by_key(|(key, _)| *key).map(|(_, value)| value)
    }

    /// All keys, sorted.
    pub(crate) fn keys(&self) -> Vec<K> {
        self.keys_in(..)
    }

    /// How many entries there would be.
    pub(crate) fn len(&self) -> usize {
        let difference = |(key, value): (&K, &Option<V>)| match (self.base.contains_key(key), value.is_some()) {
            (false, true) => 1isize,
            (true, false) => -1,
            _ => 0,
        };
        let changed: isize = self.changed.iter().map(difference).sum();
        self.base.len().saturating_add_signed(changed)
    }

    /// Keys of what was changed.
    pub(crate) fn changed(&self) -> impl Iterator<Item = &K> {
        self.changed.keys()
    }

    /// What was changed.
    pub(crate) fn into_changes(self) -> Changes<K, V> {
        self.changed
    }
}

/// Makes changes true.
pub(crate) fn adopt<K: Ord, V>(base: &mut BTreeMap<K, V>, changes: Changes<K, V>) {
    for (key, value) in changes {
        match value {
            Some(value) => base.insert(key, value),
            None => base.remove(&key),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_stays_as_it_was_until_changes_are_adopted() {
        let mut base = BTreeMap::from([(1, "a"), (2, "b"), (3, "c")]);
        let before = base.clone();
        let mut over = Overlay::over(&base);
        *over.get_mut(&1).unwrap() = "A";
        over.remove(&2);
        over.remove(&9);
        over.insert(4, "d");
        assert_eq!(over.keys(), [1, 3, 4]);
        assert_eq!(over.len(), 3);
        assert_eq!((over.first_in(2..), over.first_in(..=1), over.first_in(5..)), (Some(&"c"), Some(&"A"), None));
        assert_eq!((over.get(&1), over.get(&2), over.get(&3)), (Some(&"A"), None, Some(&"c")));
        let changes = over.into_changes();
        assert_eq!(base, before);
        adopt(&mut base, changes);
        assert_eq!(base, BTreeMap::from([(1, "A"), (3, "c"), (4, "d")]));
    }
}
