//! The index against plain testing of every series.

use super::*;
use proptest::prelude::*;

fn series(name: &str, labels: &[(&str, &str)]) -> Labels {
    Labels::series(name, labels).unwrap()
}

#[test]
fn a_label_set_gets_one_id_and_gives_itself_back() {
    let mut index = SeriesIndex::default();
    let (a, b) = (series("up", &[("host", "a")]), series("up", &[("host", "b")]));
    assert_eq!(put(&mut index, &a), Ok((SeriesId(0), true)));
    assert_eq!(put(&mut index, &b), Ok((SeriesId(1), true)));
    assert_eq!(put(&mut index, &a), Ok((SeriesId(0), false)));
    assert_eq!(index.labels(SeriesId(1)), Some(b));
    assert_eq!(index.label(SeriesId(1), "host"), Some("b"));
    assert_eq!(index.labels(SeriesId(2)), None);
    assert_eq!(index.label_names().collect::<Vec<_>>(), ["__name__", "host"]);
    assert_eq!(index.label_values("host").collect::<Vec<_>>(), [("a", 1), ("b", 1)]);
}

#[test]
fn at_the_limit_new_series_are_refused_and_known_ones_go_on() {
    let mut index = SeriesIndex::new(1);
    let (a, b) = (series("a", &[]), series("b", &[]));
    assert!(put(&mut index, &a).is_ok());
    assert_eq!(put(&mut index, &b), Err(IndexError::Full { limit: 1 }));
    assert_eq!(put(&mut index, &a), Ok((SeriesId(0), false)));
    assert_eq!(restore(&mut index, 5, &b), Ok(()), "what is stored stays readable");
}

fn put(index: &mut SeriesIndex, labels: &Labels) -> Result<(SeriesId, bool), IndexError> {
    index.get_or_insert(AgentNo(1), labels, UnixMillis(50))
}

fn restore(index: &mut SeriesIndex, id: u32, labels: &Labels) -> Result<(), IndexError> {
    let row = dictionary::Row { owner: None, first: UnixMillis(50), last: None, labels: labels.clone() };
    index.restore(SeriesId(id), AgentNo(1), &row, UnixMillis(90))
}

#[test]
fn restore_takes_any_order_and_refuses_contradictions() {
    let mut index = SeriesIndex::default();
    let (a, b) = (series("a", &[]), series("b", &[]));
    assert_eq!(restore(&mut index, 4, &a), Ok(()));
    assert_eq!(restore(&mut index, 2, &b), Ok(()));
    assert_eq!(restore(&mut index, 2, &b), Ok(()));
    assert!(matches!(restore(&mut index, 3, &a), Err(IndexError::Conflict { .. })));
    assert!(matches!(restore(&mut index, 4, &series("c", &[])), Err(IndexError::Conflict { .. })));
    assert!(matches!(restore(&mut index, u32::MAX, &series("d", &[])), Err(IndexError::Conflict { .. })));
    assert_eq!(put(&mut index, &series("c", &[])), Ok((SeriesId(5), true)), "holes are not filled");
    index.mark_given(SeriesId(900));
    assert_eq!(put(&mut index, &series("d", &[])), Ok((SeriesId(901), true)), "ids of retired series neither");
    index.mark_given(SeriesId(u32::MAX - 1));
    assert_eq!(put(&mut index, &series("e", &[])), Err(IndexError::IdsUsedUp));
}

#[test]
fn a_series_belongs_to_its_owner_whatever_its_labels_say() {
    let mut index = SeriesIndex::default();
    let a = series("a", &[("host", "x")]);
    assert_eq!(put(&mut index, &a), Ok((SeriesId(0), true)));
    assert_eq!(index.get_or_insert(AgentNo(2), &a, UnixMillis(0)), Ok((SeriesId(1), true)));
    assert_eq!((index.owner(SeriesId(0)), index.owner(SeriesId(1))), (Some(AgentNo(1)), Some(AgentNo(2))));
    assert_eq!((index.n_of(AgentNo(1)), index.n_of(AgentNo(2)), index.n_of(AgentNo(3))), (1, 1, 0));
    assert_eq!(index.select(&Selector::parse("a").unwrap(), 9).1, 2);
}

#[test]
fn what_is_not_heard_of_is_quiet_and_leaves_nothing_behind() {
    let mut index = SeriesIndex::default();
    let (a, b) = (series("a", &[("x", "1")]), series("b", &[("x", "2")]));
    let (id, other) = (put(&mut index, &a).unwrap().0, put(&mut index, &b).unwrap().0);
    index.heard(other, UnixMillis(70));
    assert!(!index.sampled(id, UnixMillis(55), UnixMillis(60)));
    assert_eq!(index.quiet(UnixMillis(61), 9, |_, _| true), [id]);
    assert_eq!(index.quiet(UnixMillis(71), 1, |_, _| true).len(), 1, "a limit cuts");
    assert_eq!(index.quiet(UnixMillis(71), 9, |own, _| own != id), [other], "who may not go stays");
    let row = index.retired_row(id).unwrap();
    assert_eq!((row.owner, row.first, row.last), (Some(AgentNo(1)), UnixMillis(50), Some(UnixMillis(60))));
    index.retire(id);
    assert!(index.quiet(UnixMillis(61), 9, |_, _| true).is_empty(), "it is on its way out");
    assert_eq!(index.labels(id), Some(a.clone()), "readers find it until the commit");
    assert_eq!(put(&mut index, &a), Ok((SeriesId(2), true)), "who speaks again is a new series");
    index.forget(id);
    assert_eq!((index.labels(id), index.len(), index.n_of(AgentNo(1))), (None, 2, 2));
    assert_eq!(index.get(AgentNo(1), &a), Some(SeriesId(2)));
    index.forget(SeriesId(2));
    assert_eq!(index.label_values("x").collect::<Vec<_>>(), [("2", 1)]);
    assert_eq!(index.symbols.len(), 4, "__name__, b, x, 2");
    assert_eq!(index.ids().collect::<Vec<_>>(), [other]);
}

#[test]
fn samples_before_all_that_was_known_ask_for_a_new_row() {
    let mut index = SeriesIndex::default();
    let (id, _) = put(&mut index, &series("a", &[])).unwrap();
    assert!(index.sampled(id, UnixMillis(49), UnixMillis(60)));
    assert!(!index.sampled(id, UnixMillis(49), UnixMillis(60)));
    assert_eq!(index.range(id), Some((UnixMillis(49), UnixMillis(60))));
}

#[test]
fn memory_does_not_grow_with_the_dead() {
    let mut index = SeriesIndex::default();
    let mut memory = Vec::new();
    for round in 0..20 {
        let born: Vec<_> = (0..500)
            .map(|n| put(&mut index, &series("c", &[("container", &format!("{round}-{n}"))])).unwrap().0)
            .collect();
        memory.push(index.memory().0);
        for id in born {
            index.forget(id);
        }
    }
    assert!(memory.iter().max() <= memory.iter().min().map(|least| least + least / 4).as_ref(), "{memory:?}");
    assert!(index.memory().0 < memory[0] / 4, "{}", index.memory());
}

#[test]
fn label_sets_share_their_text_and_sort_as_labels_do() {
    let mut index = SeriesIndex::default();
    let (a, b) = (series("a", &[("x", "1")]), series("a", &[("x", "0")]));
    let (one, other) = (put(&mut index, &a).unwrap().0, put(&mut index, &b).unwrap().0);
    let (one, other) = (index.label_set(one).unwrap(), index.label_set(other).unwrap());
    assert_eq!((&one, &other), (&LabelSet::from(&a), &LabelSet::from(&b)));
    assert_eq!(one.cmp(&other), a.cmp(&b));
    assert!(std::sync::Arc::ptr_eq(one.get("__name__").unwrap(), other.get("__name__").unwrap()));
    assert_eq!(one.get("y"), None);
}

#[test]
fn a_selection_is_cut_at_its_limit_and_says_how_many_there_are() {
    let mut index = SeriesIndex::default();
    for host in ["a", "b", "c"] {
        put(&mut index, &series("up", &[("host", host)])).unwrap();
    }
    let found = index.select(&Selector::parse("up").unwrap(), 2);
    assert_eq!(found, (vec![SeriesId(0), SeriesId(1)], 3));
    assert!(index.memory().0 > 0);
}

proptest! {
    #[test]
    fn selection_by_postings_equals_testing_every_series(
        sets in proptest::collection::vec(("[ab]", "[xyz]?", "[xyz]?"), 1..20),
        matchers in proptest::collection::vec(
            ("(__name__|one|two|absent)", "(=|!=|=~|!~)", "(a|x|y|x.z|.*|.+|x?|)"), 1..4),
    ) {
        let conditions: Vec<_> = matchers.iter().map(|(name, op, value)| format!("{name}{op}{value:?}")).collect();
        let Ok(selector) = Selector::parse(&format!("{{{}}}", conditions.join(","))) else { return Ok(()) };
        let mut index = SeriesIndex::default();
        for (name, one, two) in &sets {
            put(&mut index, &series(name, &[("one", one), ("two", two)])).unwrap();
        }
        let all = index.ids();
        let expected: Vec<_> = all.filter(|&id| selector.matches(&index.labels(id).unwrap())).collect();
        let n = expected.len() as u64;
        prop_assert_eq!(index.select(&selector, usize::MAX), (expected, n));
    }
}
