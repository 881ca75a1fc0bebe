//! Each kind of damage is found and named, and a sound store has none.

use super::*;
use crate::store::Commit;
use crate::store::memory::MemoryStore;
use signalbox_proto::names::Labels;
use signalbox_tsdb::Point;
use signalbox_tsdb::chunk::ChunkBuilder;
use signalbox_tsdb::keys::AgentNo;
use signalbox_tsdb::run::Run;
use signalbox_tsdb::segment::{self, Builder};

fn row(last: Option<UnixMillis>) -> Vec<u8> {
    let labels = Labels::series("up", &[("host", "web1")]).unwrap();
    dictionary::encode(AgentNo(0), UnixMillis(0), last, &labels)
}

/// Series 4 lives, series 5 is retired; one chunk holds both.
fn sound() -> (Commit, [u8; Chunk::BYTES]) {
    let mut commit = Commit::default();
    commit.put(Family::Series, signalbox_tsdb::keys::series(SeriesId(4)), row(None));
    let points = (0..100).map(|at| Point { time: UnixMillis(at * 1000), value: at as f64 });
    let mut chunk = ChunkBuilder::default();
    let run = Run::of(points, 5).0;
    chunk.push(SeriesId(4), &run);
    chunk.push(SeriesId(5), &run);
    let retired = row(Some(UnixMillis(99_000)));
    let mut segment = Builder::default();
    segment.add(SeriesId(5), &dictionary::decode(&retired).unwrap());
    commit.put(Family::Postings, segment::key::series(SeriesId(5)), retired);
    for (key, row) in segment.build(1, 0).unwrap().1 {
        commit.put(Family::Postings, key, row);
    }
    let row = chunk.finish();
    let (min_time, max_time) = (UnixMillis(0), UnixMillis(99_000));
    let key = Chunk { agent: AgentNo(0), max_time, min_time, epoch: 1, last_seq: 1 }.encode();
    let span = spans::of_chunk(&row).unwrap();
    spans::put(&mut commit, Tier::Fresh, &key, row, &span);
    (commit, key)
}

fn report(spoil: impl FnOnce(&mut Commit, &[u8])) -> Vec<(&'static str, String)> {
    let (mut commit, key) = sound();
    spoil(&mut commit, &key);
    let store = MemoryStore::default();
    store.commit(&commit).unwrap();
    let report = verify(&store, |_, _| {}).unwrap();
    assert_eq!(report.n_faults, report.faults.len() as u64);
    report.faults.into_iter().map(|fault| (fault.family, fault.why)).collect()
}

#[test]
fn a_sound_store_has_no_faults_and_each_damage_is_named() {
    assert_eq!(report(|_, _| {}), []);
    let gone = report(|commit, key| commit.delete(Family::Chunks, key));
    assert_eq!(gone, [("spans", "its row is missing in chunks".to_owned())]);
    let unseen = report(|commit, key| commit.delete(Family::Spans, span_key(Tier::Fresh, key)));
    assert_eq!(unseen, [("chunks", "it has no span: queries do not find it".to_owned())]);
    let nameless = report(|commit, _| commit.delete(Family::Series, signalbox_tsdb::keys::series(SeriesId(4))));
    assert_eq!(nameless, [("chunks", "series 4 is not in the dictionary".to_owned())]);
    let flipped = report(|commit, key| {
        let (whole, _) = sound();
        let row = whole.changes().iter().find_map(|change| match change {
            crate::store::Change::Put(Family::Chunks, _, row) => Some(row.clone()),
            _ => None,
        });
        let mut row = row.unwrap();
        *row.last_mut().unwrap() ^= 1;
        commit.put(Family::Chunks, key, row);
    });
    assert_eq!(flipped, [("chunks", "series 5: chunk column: checksum does not match".to_owned())]);
    let strange = report(|commit, _| commit.put(Family::Audit, b"odd".as_slice(), []));
    assert_eq!(strange, [("audit", "not a key of this family".to_owned())]);
}

#[test]
fn damage_among_retired_series_is_named() {
    let without = |key: Vec<u8>| report(|commit, _| commit.delete(Family::Postings, key));
    let nameless = without(segment::key::series(SeriesId(5)));
    let whys = ["its series 5 has no row", "series 5 is not in the dictionary"].map(str::to_owned);
    assert_eq!(nameless.into_iter().map(|(_, why)| why).collect::<Vec<_>>(), whys);
    let headless = without(segment::key::head(1));
    assert_eq!(headless.len(), 3, "its lists: of all, of the name, of the host");
    assert!(headless.iter().all(|(_, why)| why == "no head names its segment 1"), "{headless:?}");
    let listless = without(segment::key::list(1, "", ""));
    assert_eq!(listless, [("postings", "its list of all series is missing".to_owned())]);
    let twice = report(|commit, _| commit.put(Family::Series, signalbox_tsdb::keys::series(SeriesId(5)), row(None)));
    assert_eq!(twice, [("postings", "series 5 lives, too".to_owned())]);
    let strange = report(|commit, _| commit.put(Family::Postings, b"odd".as_slice(), []));
    assert_eq!(strange, [("postings", "not a key of this family".to_owned())]);
}
