//! Which series there are: names, values, label sets, and what costs most.
//!
//! All of it is read from the index in memory. What is out of somebody's sight
//! ([`Sees`]) is not there for them, in counts neither. The index is held for one
//! series at a time where each must be looked at, so that the writer never waits
//! for a listing.

use crate::shared::Shared;
use signalbox_proto::names::{Labels, METRIC_NAME};
use signalbox_proto::selector::Selector;
use signalbox_tsdb::SeriesId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Whether series of these labels are in somebody's sight; none: all are.
pub(crate) type Sees = Option<Arc<dyn Fn(&Labels) -> bool + Send + Sync>>;

/// Entries that one listing has at most, whatever was asked for.
pub(crate) const LISTED_MAX: usize = 100_000;

/// What somebody asks about.
pub(crate) struct Wanted {
    /// Series that match one of these; empty: all.
    pub(crate) selectors: Vec<Selector>,
    /// Entries at most.
    pub(crate) limit: usize,
    /// What is in their sight.
    pub(crate) sees: Sees,
}

/// Entries in order, at most as many as were asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listing<T> {
    /// The first of them.
    pub(crate) entries: Vec<T>,
    /// There are more.
    pub(crate) is_cut: bool,
}

impl<T> Listing<T> {
    fn of(mut entries: Vec<T>, limit: usize) -> Listing<T> {
        let is_cut = entries.len() > limit;
        entries.truncate(limit);
        Listing { entries, is_cut }
    }
}

/// What costs most: (text, how many), the greatest first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Cardinality {
    /// Series in sight.
    pub(crate) n_series: u64,
    /// Label pairs in sight.
    pub(crate) n_pairs: u64,
    /// Series by metric.
    pub(crate) by_metric: Vec<(String, u64)>,
    /// Distinct values by label.
    pub(crate) by_label: Vec<(String, u64)>,
    /// Bytes of all values by label, as they would be without interning.
    pub(crate) bytes_by_label: Vec<(String, u64)>,
    /// Series by `label=value`.
    pub(crate) by_pair: Vec<(String, u64)>,
}

/// Ids that are asked about; none: every series that there is, all in sight.
fn ids(shared: &Shared, wanted: &Wanted) -> Option<Vec<SeriesId>> {
    if wanted.selectors.is_empty() && wanted.sees.is_none() {
        return None;
    }
    let mut found: Vec<SeriesId> = if wanted.selectors.is_empty() {
        shared.index().ids().collect()
    } else {
        wanted.selectors.iter().flat_map(|selector| shared.index().select(selector, usize::MAX).0).collect()
    };
    found.sort_unstable();
    found.dedup();
    if let Some(sees) = &wanted.sees {
        found.retain(|id| shared.index().labels(*id).is_some_and(|labels| sees(&labels)));
    }
    Some(found)
}

/// Label names in use, in order.
pub(crate) fn names(shared: &Shared, wanted: &Wanted) -> Listing<String> {
    let names: BTreeSet<String> = match ids(shared, wanted) {
        None => shared.index().label_names().map(str::to_owned).collect(),
        Some(ids) => {
            let mut names = BTreeSet::new();
            for id in ids {
                let Some(labels) = shared.index().labels(id) else { continue };
                let new: Vec<&str> =
                    labels.iter().map(|(name, _)| name).filter(|name| !names.contains(*name)).collect();
                names.extend(new.into_iter().map(str::to_owned));
            }
            names
        }
    };
    Listing::of(names.into_iter().collect(), wanted.limit)
}

/// Values of a label, in order.
pub(crate) fn values(shared: &Shared, name: &str, wanted: &Wanted) -> Listing<String> {
    let values: Vec<String> = match ids(shared, wanted) {
        None => {
            let index = shared.index();
            // One over the limit says that there are more.
            index.label_values(name).take(wanted.limit.saturating_add(1)).map(|(value, _)| value.to_owned()).collect()
        }
        Some(ids) => {
            let mut values = BTreeSet::new();
            for id in ids {
                let index = shared.index();
                let Some(value) = index.label(id, name) else { continue };
                if !values.contains(value) {
                    values.insert(value.to_owned());
                }
            }
            values.into_iter().collect()
        }
    };
    Listing::of(values, wanted.limit)
}

/// Label sets, in the order of the ids.
pub(crate) fn sets(shared: &Shared, wanted: &Wanted) -> Listing<Labels> {
    let ids = ids(shared, wanted).unwrap_or_else(|| shared.index().ids().collect());
    let first = ids.iter().take(wanted.limit.saturating_add(1));
    Listing::of(first.filter_map(|id| shared.index().labels(*id)).collect(), wanted.limit)
}

/// The `limit` greatest of each kind.
pub(crate) fn cardinality(shared: &Shared, limit: usize, sees: Sees) -> Cardinality {
    let wanted = Wanted { selectors: Vec::new(), limit, sees };
    let mut by_pair: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    let n_series = match ids(shared, &wanted) {
        None => {
            let index = shared.index();
            for name in index.label_names() {
                let values = index.label_values(name).map(|(value, n)| (value.to_owned(), n)).collect();
                by_pair.insert(name.to_owned(), values);
            }
            index.len()
        }
        Some(ids) => {
            for id in &ids {
                let Some(labels) = shared.index().labels(*id) else { continue };
                for (name, value) in labels.iter() {
                    *by_pair.entry(name.to_owned()).or_default().entry(value.to_owned()).or_default() += 1;
                }
            }
            ids.len()
        }
    };
    summed_up(n_series as u64, by_pair, limit)
}

fn summed_up(n_series: u64, by_pair: BTreeMap<String, BTreeMap<String, u64>>, limit: usize) -> Cardinality {
    let n_pairs = by_pair.values().map(|values| values.len() as u64).sum();
    let by_metric = by_pair.get(METRIC_NAME).cloned().unwrap_or_default().into_iter().collect();
    let count = |values: &BTreeMap<String, u64>| values.len() as u64;
    let bytes = |values: &BTreeMap<String, u64>| values.iter().map(|(value, n)| value.len() as u64 * n).sum();
    let by_label = by_pair.iter().map(|(name, values)| (name.clone(), count(values))).collect();
    let bytes_by_label = by_pair.iter().map(|(name, values)| (name.clone(), bytes(values))).collect();
    let pairs = by_pair.iter().flat_map(|(name, values)| values.iter().map(move |(value, n)| (name, value, *n)));
    // The greatest are found before any text is made.
    let mut pairs: Vec<(&String, &String, u64)> = pairs.collect();
    pairs.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| (a.0, a.1).cmp(&(b.0, b.1))));
    pairs.truncate(limit);
    Cardinality {
        n_series,
        n_pairs,
        by_metric: greatest(by_metric, limit),
        by_label: greatest(by_label, limit),
        bytes_by_label: greatest(bytes_by_label, limit),
        by_pair: pairs.into_iter().map(|(name, value, n)| (format!("{name}={value}"), n)).collect(),
    }
}

fn greatest(mut counts: Vec<(String, u64)>, limit: usize) -> Vec<(String, u64)> {
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.truncate(limit);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;
    use crate::telemetry::Telemetry;
    use signalbox_proto::clock::ManualClock;
    use signalbox_proto::units::UnixMillis;
    use signalbox_tsdb::keys::AgentNo;

    fn shared() -> Shared {
        let clock = Arc::new(ManualClock::at(UnixMillis(0)));
        let shared = Shared::new(clock, Arc::new(MemoryStore::default()), Telemetry::default());
        for (name, labels) in [
            ("up", [("host", "a"), ("job", "x")]),
            ("up", [("host", "b"), ("job", "x")]),
            ("load", [("host", "a"), ("cpu", "0")]),
        ] {
            let labels = Labels::series(name, &labels).unwrap();
            shared.index_mut().get_or_insert(AgentNo(0), &labels, UnixMillis(0)).unwrap();
        }
        shared
    }

    fn wanted(selectors: &[&str], sees: Sees) -> Wanted {
        let selectors = selectors.iter().map(|text| Selector::parse(text).unwrap()).collect();
        Wanted { selectors, limit: 10, sees }
    }

    fn only_a() -> Sees {
        Some(Arc::new(|labels: &Labels| labels.get("host") == Some("a")))
    }

    #[test]
    fn listings_hold_what_matches_and_is_in_sight() {
        let shared = shared();
        let names = |wanted: &Wanted| names(&shared, wanted).entries.join(" ");
        let hosts = |wanted: &Wanted| values(&shared, "host", wanted).entries.join(" ");
        let n_sets = |wanted: &Wanted| sets(&shared, wanted).entries.len();
        assert_eq!(names(&wanted(&[], None)), "__name__ cpu host job");
        assert_eq!(names(&wanted(&["up"], None)), "__name__ host job");
        assert_eq!(hosts(&wanted(&[], None)), "a b");
        assert_eq!(hosts(&wanted(&["load", "up{host=\"a\"}"], None)), "a", "either of them");
        assert_eq!(hosts(&wanted(&[], only_a())), "a");
        assert_eq!((n_sets(&wanted(&[], None)), n_sets(&wanted(&["up"], only_a()))), (3, 1));
        assert!(values(&shared, "nothing", &wanted(&[], None)).entries.is_empty());
    }

    #[test]
    fn a_listing_over_its_limit_says_so() {
        let shared = shared();
        let at = |limit| Wanted { limit, ..wanted(&[], None) };
        assert_eq!(values(&shared, "host", &at(1)), Listing { entries: vec!["a".to_owned()], is_cut: true });
        assert!(!values(&shared, "host", &at(2)).is_cut);
        assert!(sets(&shared, &at(2)).is_cut && !sets(&shared, &at(3)).is_cut);
        assert!(names(&shared, &at(3)).is_cut && !names(&shared, &at(4)).is_cut);
    }

    #[test]
    fn what_costs_most_comes_first() {
        let shared = shared();
        let pair = |text: &str, n| (text.to_owned(), n);
        let all = cardinality(&shared, 2, None);
        assert_eq!((all.n_series, all.n_pairs), (3, 6));
        assert_eq!(all.by_metric, [pair("up", 2), pair("load", 1)]);
        assert_eq!(all.by_label, [pair("__name__", 2), pair("host", 2)]);
        assert_eq!(all.bytes_by_label[0], pair("__name__", 8));
        assert_eq!(all.by_pair, [pair("__name__=up", 2), pair("host=a", 2)]);
        let part = cardinality(&shared, 9, only_a());
        assert_eq!((part.n_series, part.by_metric), (2, vec![pair("load", 1), pair("up", 1)]));
    }
}
