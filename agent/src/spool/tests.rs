//! The spool against damage and against a model.

use super::*;
use proptest::prelude::*;
use std::path::Path;

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const LIMITS: Limits = Limits { max_size: Bytes::from_mib(512), max_age: Millis::from_mins(24 * 60) };

fn open(dir: &Path) -> Spool {
    Spool::open(dir, LIMITS, NOW).unwrap()
}

fn record(seq: u64, key: bool) -> Record {
    let payload = format!("batch {seq} {}", "x".repeat(usize::try_from(seq % 40).unwrap())).into_bytes();
    Record { key, seq, wall: NOW + Millis(seq * 1000), n_samples: 10, payload: payload.into() }
}

/// Pushes `seq` of `epoch` as the agent would.
fn push(spool: &mut Spool, epoch: u64, seq: u64) {
    let now = Millis(seq * 1000);
    let key = spool.wants_key(epoch, now);
    spool.push(epoch, record(seq, key), now);
}

fn read_all(spool: &mut Spool, epoch: u64) -> Vec<Record> {
    let mut cursor = Cursor::at(epoch, 1);
    std::iter::from_fn(|| spool.next(&mut cursor, NOW)).collect()
}

fn seqs(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.seq).collect()
}

fn segment_files(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    paths.sort();
    paths
}

fn filled(dir: &Path, n: u64) {
    let mut spool = open(dir);
    for seq in 1..=n {
        push(&mut spool, 5, seq);
    }
    spool.close();
}

#[test]
fn what_was_pushed_is_read_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 1300);
    let mut spool = open(dir.path());
    let records = read_all(&mut spool, 5);
    assert_eq!(seqs(&records), (1..=1300).collect::<Vec<_>>());
    assert!(records.iter().all(|r| *r == record(r.seq, r.key)));
    assert_eq!(segment_files(dir.path()).len(), 3);
    assert_eq!(spool.n_backlog(), 1300);
    assert_eq!(spool.next_epoch(UnixMillis(0)), 6);
}

#[test]
fn a_resume_starts_at_the_key_batch_of_its_segment() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 1300);
    let spool = open(dir.path());
    assert_eq!(spool.cursor_after(5, 0).next_seq, 1);
    assert_eq!(spool.cursor_after(5, 599).next_seq, 1);
    assert_eq!(spool.cursor_after(5, 600).next_seq, 601);
    assert_eq!(spool.cursor_after(5, 1300).next_seq, 1301);
}

#[test]
fn a_batch_acknowledged_within_a_second_is_never_synced() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    for seq in 1..=100 {
        push(&mut spool, 5, seq);
        spool.acknowledge(5, seq, false);
        spool.sync_if_due(Millis(seq * 1000 + 999));
    }
    assert_eq!(spool.counters().n_syncs, 0);
    push(&mut spool, 5, 101);
    spool.sync_if_due(Millis(101_500));
    assert_eq!(spool.counters().n_syncs, 0);
    spool.sync_if_due(Millis(102_000));
    assert_eq!(spool.counters().n_syncs, 1);
}

#[test]
fn a_full_spool_drops_its_oldest_segments_and_counts_every_sample() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { max_size: Bytes(150_000), ..LIMITS };
    let mut spool = Spool::open(dir.path(), limits, NOW).unwrap();
    for seq in 1..=6000 {
        push(&mut spool, 5, seq);
    }
    let kept = read_all(&mut spool, 5);
    assert!(spool.bytes() <= Bytes(150_000 + SEGMENT_BYTES_MAX));
    assert!(kept.len() < 6000 && kept[0].key);
    assert_eq!(seqs(&kept), (kept[0].seq..=6000).collect::<Vec<_>>());
    assert_eq!(spool.losses().n_samples_total(), (kept[0].seq - 1) * 10);
}

#[test]
fn acknowledged_segments_stay_for_the_replay_window_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    for seq in 1..=700 {
        push(&mut spool, 5, seq);
    }
    spool.acknowledge(5, 700, false);
    spool.trim(NOW + Millis::from_secs(600 + 599));
    assert_eq!(seqs(&read_all(&mut spool, 5)).len(), 700);
    spool.trim(NOW + Millis::from_secs(600 + 601));
    assert_eq!(seqs(&read_all(&mut spool, 5)), (601..=700).collect::<Vec<_>>());
    assert_eq!(spool.losses().n_samples_total(), 0);
}

#[test]
fn data_over_age_goes_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 50);
    let mut spool = Spool::open(dir.path(), LIMITS, NOW + Millis::from_mins(24 * 60 + 2)).unwrap();
    assert_eq!(read_all(&mut spool, 5), []);
    assert_eq!(spool.losses().n_samples_total(), 500);
}

#[test]
fn a_disk_that_takes_nothing_does_not_stop_live_data() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    let mut cursor = Cursor::at(5, 1);
    let mut sent = Vec::new();
    for seq in 1..=30 {
        spool.disk_full = (10..20).contains(&seq);
        push(&mut spool, 5, seq);
        sent.push(spool.next(&mut cursor, NOW).unwrap());
    }
    assert_eq!(seqs(&sent), (1..=30).collect::<Vec<_>>());
    assert!(sent[10..19].iter().all(|record| record.key), "each can be sent alone");
    assert_eq!(seqs(&read_all(&mut spool, 5)), (1..=30).collect::<Vec<_>>());
    assert_eq!(spool.losses().n_samples_total(), 0);
}

#[test]
fn memory_bridges_a_failed_disk_for_a_minute_and_counts_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    spool.disk_full = true;
    for seq in 1..=100 {
        push(&mut spool, 5, seq);
    }
    assert_eq!(seqs(&read_all(&mut spool, 5)), (41..=100).collect::<Vec<_>>());
    assert_eq!(spool.losses().n_samples_total(), 400);
}

#[test]
fn a_lower_resume_point_rewinds() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    for seq in 1..=20 {
        push(&mut spool, 5, seq);
    }
    spool.acknowledge(5, 20, false);
    spool.acknowledge(5, 3, false);
    assert_eq!(spool.n_backlog(), 0);
    spool.acknowledge(5, 3, true);
    assert_eq!(spool.n_backlog(), 17);
}

#[test]
fn damage_in_a_sealed_segment_costs_the_rest_of_that_segment_only() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 1300);
    let files = segment_files(dir.path());
    let mut bytes = std::fs::read(&files[1]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&files[1], bytes).unwrap();
    let mut spool = open(dir.path());
    let kept = seqs(&read_all(&mut spool, 5));
    let n_lost = 1300 - u64::try_from(kept.len()).unwrap();
    assert!(n_lost > 200 && n_lost < 400, "{n_lost}");
    assert_eq!(kept[..600], (1..=600).collect::<Vec<_>>());
    assert_eq!(kept[kept.len() - 100..], (1201..=1300).collect::<Vec<_>>());
    assert_eq!(spool.losses().n_samples_total(), n_lost * 10);
    assert_eq!(spool.counters().n_corrupt, 1);
}

#[test]
fn damage_in_the_first_record_counts_all_that_lay_behind_it() {
    for (what, at) in [("header", 3), ("payload", record::HEADER_BYTES + 2)] {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 20);
        let path = segment_files(dir.path()).pop().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[segment::PREAMBLE_BYTES + at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let mut spool = open(dir.path());
        assert_eq!(read_all(&mut spool, 5).len(), 0);
        // Of a batch whose header is gone nobody knows how many samples it held.
        let n_lost = if what == "header" { 191 } else { 200 };
        assert_eq!(spool.losses().n_samples_total(), n_lost, "{what}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_cut_of_the_last_segment_loses_only_its_tail(cut in any::<prop::sample::Index>(), n in 1u64..20) {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), n);
        let path = segment_files(dir.path()).pop().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let cut = cut.index(bytes.len());
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let mut spool = open(dir.path());
        let kept = read_all(&mut spool, 5);
        prop_assert_eq!(seqs(&kept), (1..=u64::try_from(kept.len()).unwrap()).collect::<Vec<_>>());
        prop_assert!(kept.iter().all(|r| *r == record(r.seq, r.key)));
        prop_assert_eq!(spool.counters().n_corrupt, 0);
        prop_assert!(spool.counters().n_torn <= 1);
    }

    #[test]
    fn any_flipped_bit_never_yields_a_wrong_record(at in any::<prop::sample::Index>(), bit in 0u8..8, n in 1u64..20) {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), n);
        let path = segment_files(dir.path()).pop().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        std::fs::write(&path, &bytes).unwrap();
        let mut spool = open(dir.path());
        let kept = read_all(&mut spool, 5);
        prop_assert_eq!(seqs(&kept), (1..=u64::try_from(kept.len()).unwrap()).collect::<Vec<_>>());
        prop_assert!(kept.iter().all(|r| *r == record(r.seq, r.key)));
        // A flip in the preamble's time stamp is caught by its checksum as well.
        prop_assert!(kept.len() < usize::try_from(n).unwrap());
        prop_assert_eq!(spool.counters().n_corrupt + spool.counters().n_torn, 1);
        push(&mut spool, 6, 1);
        prop_assert_eq!(read_all(&mut spool, 6).len(), 1);
    }
}

#[derive(Debug, Clone)]
enum Action {
    Push(u64),
    Acknowledge(u64),
    Reopen,
    Rotate,
    DiskFull(bool),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (1u64..30).prop_map(Action::Push),
        2 => (0u64..200).prop_map(Action::Acknowledge),
        1 => Just(Action::Reopen),
        1 => Just(Action::Rotate),
        1 => any::<bool>().prop_map(Action::DiskFull),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The model: every sequence pushed, minus those that lived in memory only when
    /// the process ended. Nothing else may be missing, nothing may be wrong.
    #[test]
    fn the_spool_does_what_its_model_does(actions in proptest::collection::vec(action(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = open(dir.path());
        let (mut last, mut acked) = (0u64, 0u64);
        let mut in_file: BTreeSet<u64> = BTreeSet::new();
        let mut in_memory: BTreeSet<u64> = BTreeSet::new();
        for action in actions {
            match action {
                Action::Push(n) => for _ in 0..n {
                    last += 1;
                    push(&mut spool, 5, last);
                    if spool.ring.get(5, last).is_some() { in_memory.insert(last) } else { in_file.insert(last) };
                },
                Action::Acknowledge(seq) => {
                    acked = acked.max(seq.min(last));
                    spool.acknowledge(5, acked, false);
                    in_memory.retain(|&own| own > acked);
                }
                Action::Reopen => {
                    spool.close();
                    spool = open(dir.path());
                    in_memory.clear();
                }
                Action::Rotate => spool.force_key(),
                Action::DiskFull(full) => spool.disk_full = full,
            }
            while in_memory.len() > 60 {
                in_memory.pop_first();
            }
            let found = read_all(&mut spool, 5);
            // The newest record is readable from memory even when it is acknowledged.
            let expected: Vec<u64> = in_file.union(&in_memory).copied().collect();
            let newest = spool.newest.as_ref().map(|(_, record)| record.seq);
            let mut got = seqs(&found);
            if let Some(newest) = newest && !expected.contains(&newest) { got.retain(|&seq| seq != newest); }
            prop_assert_eq!(got, expected);
            prop_assert!(found.iter().all(|r| *r == record(r.seq, r.key)));
            let n_unacked = in_file.union(&in_memory).filter(|&&seq| seq > acked).count() as u64;
            prop_assert_eq!(spool.n_backlog(), n_unacked);
        }
    }
}
