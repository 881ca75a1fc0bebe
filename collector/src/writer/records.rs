//! Rows of the past that nobody can ask for any more: versions behind the horizon of
//! proofs, incidents that were over long ago with their ledgers, rulesets that no
//! version names.
//!
//! Proofs reach as far back as raw samples do; incidents are the memory of a site and
//! stay longer ([`INCIDENTS_AGE`]), a bounded number of them ([`INCIDENTS_MAX`]). What
//! is open is never touched.

use crate::store::{Commit, Family, Store, StoreError, after_prefix, each_of, keys};
use signalbox_engine::decision::Table;
use signalbox_engine::explain::{META_KEY, rules_version};
use signalbox_engine::{RestoreError, incident_over, ledger_of, ruleset_since};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Incidents are kept this long after they were over: a year, and some weeks to look
/// back on it.
pub(crate) const INCIDENTS_AGE: Millis = Millis::from_mins(400 * 24 * 60);
/// Incidents that are kept, the newest: every start reads them.
const INCIDENTS_MAX: u64 = 100_000;
/// Rows that one sweep deletes at most, of each kind: bounds the commit that holds them.
const DELETED_MAX: usize = 20_000;

/// Rows to delete.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Records {
    versions: Vec<Vec<u8>>,
    incidents: Vec<u64>,
    rulesets: Vec<Vec<u8>>,
}

fn damaged(error: RestoreError) -> StoreError {
    StoreError::Failed { what: "read rows of the past".to_owned(), why: error.to_string() }
}

/// Visits the rows of a table as they stand, keys without the table's byte.
fn each_row(
    store: &dyn Store,
    table: Table,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), RestoreError>,
) -> Result<(), StoreError> {
    let prefix = keys::state(table, &[]);
    each_of(store, Family::State, &prefix, |key, value| visit(&key[prefix.len()..], value).map_err(damaged))
}

/// Finds what has to go. Versions are kept since `oldest`.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub(crate) fn find(store: &dyn Store, now: UnixMillis, oldest: UnixMillis) -> Result<Records, StoreError> {
    Ok(Records {
        versions: old_versions(store, oldest)?,
        incidents: old_incidents(store, now)?,
        rulesets: old_rulesets(store, oldest)?,
    })
}

/// Versions that were replaced before `oldest`: for every row the last one before
/// that instant still answers for it, unless it says that there was no row.
fn old_versions(store: &dyn Store, oldest: UnixMillis) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut old: Vec<Vec<u8>> = Vec::new();
    let mut last: Option<(Vec<u8>, bool)> = None;
    let mut visit = |key: &[u8], value: &[u8]| {
        let Some((row, from)) = keys::parse_history(key) else { return ControlFlow::Continue(()) };
        if let Some((before, is_removal)) = last.take() {
            let same = keys::parse_history(&before).is_some_and(|(other, _)| other == row);
            if is_removal || (same && from <= oldest) {
                old.push(before);
            }
        }
        if from <= oldest {
            last = Some((key.to_vec(), keys::present(value).is_none()));
        }
        if old.len() >= DELETED_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    store.scan(Family::History, &[], &[], &mut visit)?;
    if let Some((key, true)) = last {
        old.push(key);
    }
    Ok(old)
}

fn old_incidents(store: &dyn Store, now: UnixMillis) -> Result<Vec<u64>, StoreError> {
    let (mut over, mut newest) = (Vec::new(), 0);
    each_row(store, Table::Incidents, |key, value| {
        let (number, ended) = incident_over(key, value)?;
        newest = number;
        over.extend(ended.map(|ended| (number, ended)));
        Ok(())
    })?;
    let is_old = |(number, ended): &(u64, UnixMillis)| {
        now.since(*ended) > INCIDENTS_AGE || number.saturating_add(INCIDENTS_MAX) <= newest
    };
    Ok(over.into_iter().filter(is_old).map(|(number, _)| number).take(DELETED_MAX).collect())
}

/// Rulesets that neither the rules in force nor any version of them name.
fn old_rulesets(store: &dyn Store, oldest: UnixMillis) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut old: Vec<Vec<u8>> = Vec::new();
    each_row(store, Table::Rulesets, |key, value| {
        if ruleset_since(key, value)? < oldest {
            old.push(key.to_vec());
        }
        Ok(())
    })?;
    if old.is_empty() {
        return Ok(old);
    }
    let mut named = BTreeSet::new();
    let mut note = |value: &[u8]| -> Result<(), RestoreError> {
        named.extend(rules_version(&[(Table::Meta, META_KEY.to_vec(), value.to_vec())])?.map(String::into_bytes));
        Ok(())
    };
    each_row(store, Table::Meta, |_, value| note(value))?;
    each_of(store, Family::History, &keys::history_of(Table::Meta, META_KEY), |_, version| {
        keys::present(version).map_or(Ok(()), &mut note).map_err(damaged)
    })?;
    old.retain(|version| !named.contains(version));
    old.truncate(DELETED_MAX);
    Ok(old)
}

impl Records {
    /// True when nothing has to go.
    pub(crate) fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.incidents.is_empty() && self.rulesets.is_empty()
    }

    /// The rows out.
    pub(crate) fn into_commit(self, commit: &mut Commit) {
        metrics::counter!("signalbox_incidents_deleted_total").increment(self.incidents.len() as u64);
        for version in self.versions {
            commit.delete(Family::History, version);
        }
        for number in self.incidents {
            let of_incident = ledger_of(number);
            commit.delete(Family::State, keys::state(Table::Incidents, &of_incident));
            let lines = keys::state(Table::Ledger, &of_incident);
            let end = after_prefix(&lines);
            commit.delete_range(Family::State, lines, end);
        }
        for version in self.rulesets {
            commit.delete(Family::State, keys::state(Table::Rulesets, &version));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    fn versions(rows: &[(&[u8], i64, u8)]) -> MemoryStore {
        let (store, mut commit) = (MemoryStore::default(), Commit::default());
        for (row, at, value) in rows {
            commit.put(Family::History, keys::history(Table::Tracks, row, UnixMillis(*at)), [*value]);
        }
        store.commit(&commit).unwrap();
        store
    }

    fn check(rows: &[(&[u8], i64, u8)], wanted: &[(&[u8], i64)]) {
        let found = old_versions(&versions(rows), UnixMillis(30)).unwrap();
        let wanted: Vec<_> =
            wanted.iter().map(|(row, at)| keys::history(Table::Tracks, row, UnixMillis(*at))).collect();
        assert_eq!(found, wanted, "{rows:?}");
    }

    #[test]
    fn the_version_in_force_at_the_horizon_stays() {
        check(&[(b"a", 10, 1), (b"a", 20, 1), (b"a", 30, 1), (b"a", 40, 1)], &[(b"a", 10), (b"a", 20)]);
        check(&[(b"a", 5, 1), (b"b", 7, 1)], &[]);
        check(&[(b"a", 31, 1), (b"a", 32, 1)], &[]);
    }

    #[test]
    fn a_removal_behind_the_horizon_goes_with_the_rest_of_its_row() {
        check(&[(b"a", 10, 1), (b"a", 20, 0)], &[(b"a", 10), (b"a", 20)]);
        check(&[(b"a", 20, 0), (b"b", 7, 1)], &[(b"a", 20)]);
        check(&[(b"a", 20, 0), (b"a", 40, 1)], &[(b"a", 20)]);
        check(&[(b"a", 20, 1), (b"a", 40, 0)], &[]);
    }
}
