//! The store's twin in memory: for tests and simulation, which may also tell it
//! to be full.

use super::{Change, Commit, Family, KeyValue, Rows as View, Stats, Store, StoreError, Visit};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

type Place = (Family, Vec<u8>);
type Rows = BTreeMap<Place, Vec<u8>>;

/// Rows in an ordered map.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rows: Rows,
    is_full: bool,
    must_reopen: bool,
    n_commits: u64,
}

impl MemoryStore {
    /// From now on commits are refused as on a full disk, or kept again.
    pub fn set_full(&self, is_full: bool) {
        self.lock().is_full = is_full;
    }

    /// Commits that were kept.
    pub fn n_commits(&self) -> u64 {
        self.lock().n_commits
    }

    /// A copy of all rows: what a disk would hold after a crash now.
    pub fn copy(&self) -> MemoryStore {
        let rows = self.lock().rows.clone();
        MemoryStore { state: Mutex::new(State { rows, ..State::default() }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bounds(family: Family, from: &[u8], to: &[u8]) -> (Bound<Place>, Bound<Place>) {
    let end = if to.is_empty() {
        match Family::ALL.into_iter().find(|other| *other > family) {
            Some(next) => Bound::Excluded((next, Vec::new())),
            None => Bound::Unbounded,
        }
    } else {
        // A range that ends before it begins holds nothing; BTreeMap would panic.
        Bound::Excluded((family, to.max(from).to_vec()))
    };
    (Bound::Included((family, from.to_vec())), end)
}

/// All rows as they stood.
struct Copied(MemoryStore);

impl View for Copied {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(family, key)
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        self.0.scan(family, from, to, visit)
    }
}

impl Store for MemoryStore {
    fn read(&self, run: &mut dyn FnMut(&dyn View)) -> Result<(), StoreError> {
        run(&Copied(self.copy()));
        Ok(())
    }

    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.is_full || state.must_reopen {
            state.must_reopen = true;
            return Err(StoreError::Full { what: "commit a turn" });
        }
        for change in commit.changes() {
            match change {
                Change::Put(family, key, value) => {
                    state.rows.insert((*family, key.clone()), value.clone());
                }
                Change::Delete(family, key) => {
                    state.rows.remove(&(*family, key.clone()));
                }
                Change::DeleteRange(family, from, to) => {
                    let keys: Vec<_> =
                        state.rows.range(bounds(*family, from, to)).map(|(key, _)| key.clone()).collect();
                    for key in keys {
                        state.rows.remove(&key);
                    }
                }
            }
        }
        state.n_commits += 1;
        Ok(())
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.lock().rows.get(&(family, key.to_vec())).cloned())
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        let rows: Vec<KeyValue> = self
            .lock()
            .rows
            .range(bounds(family, from, to))
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        for (key, value) in rows {
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, family: Family, from: &[u8], to: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        let state = self.lock();
        let last = state.rows.range(bounds(family, from, to)).next_back();
        Ok(last.map(|((_, key), value)| (key.clone(), value.clone())))
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.is_full {
            return Err(StoreError::Full { what: "open the store again" });
        }
        state.must_reopen = false;
        Ok(())
    }

    fn stats(&self) -> Stats {
        let state = self.lock();
        let mut stats = Stats::default();
        for ((family, key), value) in &state.rows {
            let n_bytes = (key.len() + value.len()) as u64;
            stats.n_bytes += n_bytes;
            stats.bytes[*family as usize] += n_bytes;
            stats.n_rows[*family as usize] += 1;
        }
        stats
    }
}
