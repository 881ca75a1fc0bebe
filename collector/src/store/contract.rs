//! The contract of [`Store`], run against both implementations.

use super::memory::MemoryStore;
use super::rocks::RocksStore;
use super::*;
use proptest::prelude::*;
use signalbox_proto::units::Bytes;

fn rows(store: &dyn Store, family: Family, from: &[u8], to: &[u8]) -> Vec<KeyValue> {
    let mut rows = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    store.scan(family, from, to, &mut visit).unwrap();
    rows
}

fn check(test: impl Fn(&dyn Store)) {
    test(&MemoryStore::default());
    let dir = tempfile::tempdir().unwrap();
    test(&RocksStore::open(dir.path(), Bytes::from_mib(16)).unwrap());
}

fn pair(key: &[u8], value: &[u8]) -> KeyValue {
    (key.to_vec(), value.to_vec())
}

#[test]
fn rows_come_back_in_key_order_and_only_from_their_family() {
    check(|store| {
        let mut commit = Commit::default();
        for key in [b"b".as_slice(), b"a", b"", b"\xff\xff", b"ab"] {
            commit.put(Family::State, key, key);
            commit.put(Family::History, key, b"other".as_slice());
        }
        store.commit(&commit).unwrap();
        let keys = rows(store, Family::State, b"", b"");
        let wanted: Vec<_> = [b"".as_slice(), b"a", b"ab", b"b", b"\xff\xff"].map(|key| pair(key, key)).into();
        assert_eq!(keys, wanted);
        assert_eq!(rows(store, Family::State, b"a", b"b"), wanted[1..3]);
        assert_eq!(rows(store, Family::State, b"b", b"a"), []);
        assert_eq!(store.get(Family::State, b"ab").unwrap().unwrap(), b"ab");
        assert_eq!(store.get(Family::Chunks, b"ab").unwrap(), None);
        assert_eq!(store.last(Family::State, b"a", b"b").unwrap(), Some(pair(b"ab", b"ab")));
        assert_eq!(store.last(Family::State, b"", b"").unwrap(), Some(pair(b"\xff\xff", b"\xff\xff")));
        assert_eq!(store.last(Family::State, b"c", b"d").unwrap(), None);
    });
}

#[test]
fn changes_of_a_commit_apply_in_order() {
    check(|store| {
        let mut commit = Commit::default();
        for key in 0..10u8 {
            commit.put(Family::Journal, [key], [key]);
        }
        commit.delete_range(Family::Journal, [2], [8]);
        commit.put(Family::Journal, [5], [55]);
        commit.delete(Family::Journal, [9]);
        store.commit(&commit).unwrap();
        let keys: Vec<_> = rows(store, Family::Journal, b"", b"").into_iter().map(|(key, _)| key[0]).collect();
        assert_eq!(keys, [0, 1, 5, 8]);
        assert_eq!(store.get(Family::Journal, &[5]).unwrap(), Some(vec![55]));
    });
}

#[test]
fn a_scan_stops_when_it_is_told() {
    check(|store| {
        let mut commit = Commit::default();
        (0..10u8).for_each(|key| commit.put(Family::Meta, [key], []));
        store.commit(&commit).unwrap();
        let mut seen = 0;
        let mut visit = |_: &[u8], _: &[u8]| {
            seen += 1;
            if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        store.scan(Family::Meta, b"", b"", &mut visit).unwrap();
        assert_eq!(seen, 3);
    });
}

#[test]
fn a_reader_sees_the_rows_of_one_instant() {
    check(|store| {
        let put = |value: u8| {
            let mut commit = Commit::default();
            commit.put(Family::Long, [1], [value]);
            commit.put(Family::Spans, [1], [value]);
            store.commit(&commit).unwrap();
        };
        put(1);
        let mut run = |rows: &dyn Rows| {
            put(2);
            assert_eq!(rows.get(Family::Long, &[1]).unwrap(), Some(vec![1]));
            let mut seen = Vec::new();
            let mut visit = |_: &[u8], value: &[u8]| {
                seen.push(value.to_vec());
                ControlFlow::Continue(())
            };
            rows.scan(Family::Spans, &[], &[], &mut visit).unwrap();
            assert_eq!(seen, [vec![1]]);
        };
        store.read(&mut run).unwrap();
        assert_eq!(store.get(Family::Long, &[1]).unwrap(), Some(vec![2]));
    });
}

#[test]
fn rows_are_there_after_a_reopening() {
    check(|store| {
        let mut commit = Commit::default();
        commit.put(Family::Chunks, b"k".as_slice(), b"v".as_slice());
        store.commit(&commit).unwrap();
        store.reopen().unwrap();
        assert_eq!(store.get(Family::Chunks, b"k").unwrap(), Some(b"v".to_vec()));
    });
}

#[test]
fn a_full_store_keeps_nothing_of_a_commit_until_it_is_reopened() {
    let store = MemoryStore::default();
    let mut commit = Commit::default();
    commit.put(Family::Meta, b"k".as_slice(), b"v".as_slice());
    store.set_full(true);
    assert!(matches!(store.commit(&commit), Err(StoreError::Full { .. })));
    assert!(matches!(store.reopen(), Err(StoreError::Full { .. })));
    store.set_full(false);
    assert!(matches!(store.commit(&commit), Err(StoreError::Full { .. })), "not before it is reopened");
    assert_eq!(store.get(Family::Meta, b"k").unwrap(), None);
    store.reopen().unwrap();
    store.commit(&commit).unwrap();
    assert_eq!(store.get(Family::Meta, b"k").unwrap(), Some(b"v".to_vec()));
}

#[test]
fn the_end_of_a_prefix_is_after_all_its_keys() {
    assert_eq!(after_prefix(b"ab"), b"ac");
    assert_eq!(after_prefix(b"a\xff"), b"b");
    assert_eq!(after_prefix(b"\xff\xff"), b"");
}

fn change() -> impl Strategy<Value = Change> {
    let family = || prop::sample::select(Family::ALL.to_vec());
    let key = || prop::collection::vec(0..4u8, 0..3);
    prop_oneof![
        3 => (family(), key(), key()).prop_map(|(family, key, value)| Change::Put(family, key, value)),
        1 => (family(), key()).prop_map(|(family, key)| Change::Delete(family, key)),
        1 => (family(), key(), key()).prop_map(|(family, a, b)| {
            let (from, to) = if a <= b { (a, b) } else { (b, a) };
            // An empty end would mean the whole family to the twin and nothing to the other.
            if to.is_empty() { Change::Delete(family, from) } else { Change::DeleteRange(family, from, to) }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn both_hold_the_same_after_any_commits(turns in prop::collection::vec(prop::collection::vec(change(), 1..12), 1..8)) {
        let memory = MemoryStore::default();
        let dir = tempfile::tempdir().unwrap();
        let rocks = RocksStore::open(dir.path(), Bytes::from_mib(16)).unwrap();
        for changes in turns {
            let commit = Commit { changes, n_bytes: 0 };
            memory.commit(&commit).unwrap();
            rocks.commit(&commit).unwrap();
        }
        for family in Family::ALL {
            prop_assert_eq!(rows(&memory, family, b"", b""), rows(&rocks, family, b"", b""));
        }
    }
}
