//! Segments against plain testing of every series.

use super::*;
use crate::index::postings::select;
use crate::keys::AgentNo;
use crate::testing::{T0, check_damage, check_golden};
use proptest::prelude::*;
use signalbox_proto::names::Labels;
use signalbox_proto::selector::Selector;

/// Rows in memory.
#[derive(Default)]
struct Map(BTreeMap<Vec<u8>, Vec<u8>>);

impl Rows for Map {
    type Error = FormatError;

    fn damaged(&self, why: FormatError) -> FormatError {
        why
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, FormatError> {
        Ok(self.0.get(key).cloned())
    }

    fn each(&self, prefix: &[u8], visit: VisitRow<'_, FormatError>) -> Result<(), FormatError> {
        let mut rows = self.0.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        rows.try_for_each(|(key, row)| visit(key, row))
    }
}

fn row(labels: Labels, first: i64, last: i64) -> dictionary::Row {
    let (first, last) = (UnixMillis(first), Some(UnixMillis(last)));
    dictionary::Row { owner: Some(AgentNo(1)), first, last, labels }
}

fn series(name: &str, labels: &[(&str, &str)]) -> Labels {
    Labels::series(name, labels).unwrap()
}

fn head(segment: u64, level: u8, n_series: u64) -> Head {
    Head { segment, level, first: UnixMillis(0), last: UnixMillis(1), n_series }
}

#[test]
fn rows_come_back_and_are_written_as_ever() {
    let one = Head { first: UnixMillis(T0), last: UnixMillis(T0 + 5), ..head(7, 2, 1000) };
    let golden = check_golden("segment_head_v1.bin", &one.encode());
    assert_eq!(Head::decode(7, &golden), Ok(one));
    let ids: RoaringBitmap = (3..70_000).step_by(7).collect();
    let golden = check_golden("segment_list_v1.bin", &encode_list(&ids));
    assert_eq!(decode_list(&golden), Ok(ids));
}

#[test]
fn damaged_rows_are_refused() {
    check_damage(&head(1, 0, 9).encode(), |row| Head::decode(1, row));
    check_damage(&encode_list(&RoaringBitmap::from([1, 70_000])), decode_list);
}

#[test]
fn a_segment_reaches_from_its_first_sample_to_its_last() {
    let mut builder = Builder::default();
    builder.add(SeriesId(4), &row(series("a", &[]), 50, 70));
    builder.add(SeriesId(9), &row(series("b", &[("x", "y\0z")]), 60, 90));
    let (head, rows) = builder.build(3, 0).unwrap();
    assert_eq!((head.first, head.last, head.n_series), (UnixMillis(50), UnixMillis(90), 2));
    let check = |from, to| head.overlaps(UnixMillis(from), UnixMillis(to));
    assert_eq!([check(0, 50), check(0, 51), check(90, 99), check(91, 99)], [false, true, true, false]);
    let map = Map(rows.into_iter().collect());
    let mut names = Vec::new();
    Segment { rows: &map, segment: 3 }.each_name(&mut |name| names.push(name.to_owned())).unwrap();
    assert_eq!(names, ["__name__", "x"]);
    assert!(Builder::default().build(1, 0).is_none());
}

#[test]
fn eight_neighbours_of_a_level_become_one_of_the_next() {
    let heads: Vec<_> = (1..=7).map(|n| head(n, 0, 10)).chain([head(9, 1, 10)]).collect();
    assert_eq!(due(&heads), None);
    let heads: Vec<_> = heads.into_iter().chain([head(8, 0, 10), head(10, 0, 10)]).collect();
    let (chosen, level) = due(&heads).unwrap();
    assert_eq!((chosen.iter().map(|head| head.segment).collect::<Vec<_>>(), level), ((1..=8).collect(), 1));
}

#[test]
fn what_would_grow_too_large_stays_as_it_is() {
    let heads: Vec<_> = (1..=20).map(|n| head(n, 3, MERGED_MAX / 4)).collect();
    assert_eq!(due(&heads), None);
    let mut level = 0;
    let mut heads: Vec<_> = (1..=4096).map(|n| head(n, 0, 100)).collect();
    while let Some((chosen, next)) = due(&heads) {
        let n_series: u64 = chosen.iter().map(|head| head.n_series).sum();
        assert!(n_series <= MERGED_MAX);
        heads.retain(|head| !chosen.contains(head));
        heads.push(head(10_000 + heads.len() as u64, next, n_series));
        level = level.max(next);
    }
    assert_eq!((heads.iter().map(|head| head.n_series).sum::<u64>(), level), (409_600, 3));
    assert!(heads.len() <= 16, "{heads:?}");
}

proptest! {
    #[test]
    fn selection_from_merged_segments_equals_testing_every_series(
        sets in proptest::collection::vec(("[ab]", "[xyz]?", "[xyz]?"), 1..20),
        split in 0usize..20,
        matchers in proptest::collection::vec(
            ("(__name__|one|two|absent)", "(=|!=|=~|!~)", "(a|x|y|x.z|.*|.+|x?|)"), 1..4),
    ) {
        let conditions: Vec<_> = matchers.iter().map(|(name, op, value)| format!("{name}{op}{value:?}")).collect();
        let Ok(selector) = Selector::parse(&format!("{{{}}}", conditions.join(","))) else { return Ok(()) };
        let labels = |(name, one, two): &(String, String, String)| series(name, &[("one", one), ("two", two)]);
        let rows: Vec<_> = sets.iter().map(|set| row(labels(set), 1, 2)).collect();
        let mut builders = [Builder::default(), Builder::default()];
        for (n, row) in (0..).zip(&rows) {
            builders[usize::from(n as usize >= split)].add(SeriesId(n), row);
        }
        let parts = (1..).zip(builders).filter_map(|(segment, builder)| builder.build(segment, 0));
        let mut merged = Builder::default();
        for (head, rows) in parts {
            merged.widen(head.first, head.last);
            for (key, row) in rows.iter().skip(1) {
                let (name, value) = key::parse_list(key).unwrap();
                merged.add_list(name, value, decode_list(row).unwrap());
            }
        }
        let (head, all) = merged.build(9, 1).unwrap();
        prop_assert_eq!(head.n_series as usize, rows.len());
        let map = Map(all.into_iter().collect());
        let found = select(&Segment { rows: &map, segment: 9 }, selector.matchers()).unwrap();
        let wanted: RoaringBitmap =
            (0..).zip(&rows).filter(|(_, row)| selector.matches(&row.labels)).map(|(n, _)| n).collect();
        prop_assert_eq!(found, wanted);
    }
}
