//! The audit's bound: its oldest lines go, and what is left can still be checked.
//!
//! ```text
//! before   line 1 ─▶ … ─▶ line k ─▶ line k+1 ─▶ … ─▶ line n ─▶ head
//! after                base(k, hash, seal) ─▶ line k+1 ─▶ … ─▶ line n ─▶ head
//! ```
//!
//! Lines go only after they were checked: what somebody changed stays, as evidence,
//! and the record grows until a person looks. Base and deletion are one commit.

use crate::access::{base, feed};
use crate::store::{Commit, Family, Store, StoreError, keys};
use signalbox_access::AuditKey;
use signalbox_access::access::BASE_KEY;
use signalbox_access::audit::{Base, Verifier};
use signalbox_access::event::Record;
use signalbox_access::rows::Table;

/// Lines that one sweep checks and deletes at most.
const TRIMMED_MAX: u64 = 20_000;
/// One in so many more goes than must, so that not every sweep has one to delete.
const SLACK: u64 = 100;

/// The oldest lines of the audit, to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trim {
    /// Number of the first line that goes.
    first: u64,
    /// The last one.
    base: Base,
}

/// The lines that are over `max`, if there are any.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub(crate) fn find(store: &dyn Store, key: &AuditKey, max: u64) -> Result<Option<Trim>, StoreError> {
    let last = store.last(Family::Audit, &[], &[])?.and_then(|(row, _)| keys::parse_audit(&row)).unwrap_or(0);
    let base = base(store)?;
    let before = base.map_or(0, |base| base.no);
    let n_kept = last.saturating_sub(before);
    if n_kept <= max {
        return Ok(None);
    }
    let end = before + (n_kept - max + max / SLACK).min(TRIMMED_MAX);
    let checked = match Verifier::after(base.as_ref(), key) {
        Ok(mut verifier) => feed(store, &mut verifier, end)?.map(|()| verifier),
        Err(fault) => Err(fault),
    };
    match checked {
        Ok(verifier) if verifier.last() == end => {
            Ok(Some(Trim { first: before + 1, base: Base::seal(end, verifier.hash(), key) }))
        }
        Ok(verifier) => {
            tracing::error!(
                no = verifier.last() + 1,
                "the audit is over its bound and has a gap: nothing of it is deleted"
            );
            Ok(None)
        }
        Err(fault) => {
            tracing::error!(%fault, "the audit is over its bound and not whole: nothing of it is deleted");
            Ok(None)
        }
    }
}

impl Trim {
    /// What the audit says of it.
    pub(crate) fn record(&self) -> Record {
        let Trim { first, base } = self;
        Record {
            act: "trim audit".to_owned(),
            object: "audit".to_owned(),
            before: format!("lines from {first} on"),
            after: format!("lines from {} on, after hash {}", base.no + 1, base.hash),
            result: "done: the oldest lines are over the limit".to_owned(),
        }
    }

    /// The lines out, the base in.
    pub(crate) fn into_commit(self, commit: &mut Commit) {
        metrics::counter!("signalbox_audit_lines_deleted_total").increment(self.base.no + 1 - self.first);
        commit.put(Family::Access, keys::access(Table::Head, BASE_KEY), self.base.encode());
        commit.delete_range(Family::Audit, keys::audit(0), keys::audit(self.base.no + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::verify;
    use crate::store::memory::MemoryStore;
    use signalbox_access::access::{Access, HEAD_KEY};
    use signalbox_access::{AccessAct, AccessEvent, AuditLine, Caller, FaultKind};
    use signalbox_proto::units::UnixMillis;

    fn key() -> AuditKey {
        AuditKey::new([7; 32])
    }

    /// A record of so many lines on disk.
    fn record_of(n: usize) -> MemoryStore {
        let rows: Vec<(Table, Vec<u8>, Vec<u8>)> = Vec::new();
        let (access, _) = Access::restore(rows, None, key()).unwrap();
        let record = |n| AccessEvent {
            at: UnixMillis(n),
            caller: Caller::system(),
            act: AccessAct::Record(Record { act: format!("act {n}"), ..Record::default() }),
        };
        let events: Vec<AccessEvent> = (0..n as i64).map(record).collect();
        let (store, mut commit) = (MemoryStore::default(), Commit::default());
        super::super::deeds::put(&access.decide(&events), &mut commit);
        store.commit(&commit).unwrap();
        store
    }

    fn trim(store: &MemoryStore, max: u64) -> bool {
        let Some(trim) = find(store, &key(), max).unwrap() else { return false };
        let mut commit = Commit::default();
        trim.into_commit(&mut commit);
        store.commit(&commit).unwrap();
        true
    }

    fn verdict(store: &MemoryStore) -> (u64, Option<(u64, FaultKind)>) {
        let (verifier, fault) = verify(store, &key()).unwrap();
        (verifier.n_lines(), fault.map(|fault| (fault.no, fault.kind)))
    }

    #[test]
    fn at_the_limit_nothing_goes_and_one_over_the_oldest_does() {
        let store = record_of(50);
        assert!(!trim(&store, 50));
        let store = record_of(51);
        assert!(trim(&store, 50));
        assert_eq!(verdict(&store), (50, None), "what is left is whole");
        assert!(!trim(&store, 50));
        assert!(trim(&store, 20) && trim(&store, 10));
        assert_eq!(verdict(&store), (10, None));
        let rows = [(Table::Head, BASE_KEY), (Table::Head, HEAD_KEY)];
        let rows = rows
            .map(|(table, row)| (table, row, store.get(Family::Access, &keys::access(table, row)).unwrap().unwrap()));
        let last = store.last(Family::Audit, &[], &[]).unwrap().unwrap().1;
        let (_, fault) = Access::restore(rows, AuditLine::decode(&last).as_ref(), key()).unwrap();
        assert_eq!(fault, None, "the next start goes on where the record ends");
    }

    #[test]
    fn what_is_done_to_a_trimmed_record_is_found() {
        let done = |change: &dyn Fn(&mut Commit)| {
            let store = record_of(30);
            assert!(trim(&store, 10));
            let mut commit = Commit::default();
            change(&mut commit);
            store.commit(&commit).unwrap();
            verdict(&store).1
        };
        let base = keys::access(Table::Head, BASE_KEY);
        assert_eq!(done(&|commit| commit.delete(Family::Audit, keys::audit(21))), Some((21, FaultKind::Missing)));
        assert_eq!(done(&|commit| commit.delete(Family::Access, base.clone())), Some((1, FaultKind::Missing)));
        assert_eq!(
            done(&|commit| commit.put(Family::Audit, keys::audit(20), [0; 4])),
            Some((21, FaultKind::Reordered)),
            "a line that went is put back"
        );
        let forged = Base::seal(22, signalbox_access::Hash32::default(), &AuditKey::new([8; 32]));
        assert_eq!(
            done(&|commit| commit.put(Family::Access, base.clone(), forged.encode())),
            Some((22, FaultKind::Base)),
            "the beginning cannot be moved without the key"
        );
    }

    #[test]
    fn a_record_that_is_not_whole_keeps_its_evidence() {
        let store = record_of(30);
        let mut commit = Commit::default();
        commit.delete(Family::Audit, keys::audit(5));
        store.commit(&commit).unwrap();
        assert!(!trim(&store, 10));
        assert_eq!(verdict(&store).1, Some((5, FaultKind::Missing)));
    }
}
