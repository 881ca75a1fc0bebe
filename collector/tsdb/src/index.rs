//! The series index: labels to ids and back, and which ids a selector means.
//!
//! Label names and values are interned; a series is a sorted run of symbol pairs,
//! held once and shared between both directions. For each (name, value) there is
//! a posting list, a roaring bitmap of ids. A selector is answered from posting
//! lists alone: equality takes one, a pattern is tried once on each distinct
//! value of its label, and never on each series.

use crate::SeriesId;
use roaring::RoaringBitmap;
use signalbox_proto::names::Labels;
use signalbox_proto::selector::{Matcher, Selector, Test};
use signalbox_proto::units::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use thiserror::Error;

/// Ids go up to here: bounds what a damaged dictionary can make us reserve.
pub const SERIES_IDS_MAX: u32 = 1 << 26;
/// Series that one store takes unless told otherwise.
pub const SERIES_DEFAULT_MAX: u32 = 2_000_000;

/// Why a series is not in the index.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IndexError {
    /// No room for new series; known ones go on.
    #[error("series index is full: limit of {limit} series")]
    Full {
        /// The limit.
        limit: u32,
    },
    /// An id past [`SERIES_IDS_MAX`].
    #[error("restore series {id}: ids end at {SERIES_IDS_MAX}")]
    IdOutOfRange {
        /// Which.
        id: u32,
    },
    /// Two dictionary rows contradict each other.
    #[error("restore series {id} as {labels}: {why}")]
    Conflict {
        /// Which.
        id: u32,
        /// Its labels.
        labels: String,
        /// How.
        why: &'static str,
    },
}

type Symbol = u32;
type Pairs = Arc<[(Symbol, Symbol)]>;

/// All series of a store. See the module's documentation.
#[derive(Debug)]
pub struct SeriesIndex {
    limit: u32,
    symbols: Symbols,
    series: Vec<Option<Pairs>>,
    ids: HashMap<Pairs, SeriesId>,
    /// name -> value -> ids, names and values in text order for listings.
    postings: BTreeMap<Arc<str>, BTreeMap<Arc<str>, RoaringBitmap>>,
    all: RoaringBitmap,
    label_bytes: u64,
}

#[derive(Debug, Default)]
struct Symbols {
    texts: Vec<Arc<str>>,
    by_text: HashMap<Arc<str>, Symbol>,
}

impl Symbols {
    fn get(&self, text: &str) -> Option<Symbol> {
        self.by_text.get(text).copied()
    }

    fn intern(&mut self, text: &str) -> Symbol {
        if let Some(symbol) = self.get(text) {
            return symbol;
        }
        let symbol = Symbol::try_from(self.texts.len()).expect("texts are fewer than 2^26 series x 64 label parts");
        let text: Arc<str> = Arc::from(text);
        self.texts.push(text.clone());
        self.by_text.insert(text, symbol);
        symbol
    }
}

impl Default for SeriesIndex {
    fn default() -> Self {
        SeriesIndex::new(SERIES_DEFAULT_MAX)
    }
}

impl SeriesIndex {
    /// An empty index that takes at most `limit` series.
    pub fn new(limit: u32) -> SeriesIndex {
        SeriesIndex {
            limit: limit.min(SERIES_IDS_MAX),
            symbols: Symbols::default(),
            series: Vec::new(),
            ids: HashMap::new(),
            postings: BTreeMap::new(),
            all: RoaringBitmap::new(),
            label_bytes: 0,
        }
    }

    /// The id of a label set, and whether it is new: then the caller owes the
    /// store its dictionary row, in the commit that first uses the id.
    ///
    /// # Errors
    /// [`IndexError::Full`] for a new series over the limit.
    pub fn get_or_insert(&mut self, labels: &Labels) -> Result<(SeriesId, bool), IndexError> {
        if let Some(id) = self.get(labels) {
            return Ok((id, false));
        }
        let next = u32::try_from(self.series.len()).unwrap_or(u32::MAX);
        if self.len() >= self.limit as usize || next >= SERIES_IDS_MAX {
            return Err(IndexError::Full { limit: self.limit });
        }
        self.put(SeriesId(next), labels);
        Ok((SeriesId(next), true))
    }

    /// The id of a known label set.
    pub fn get(&self, labels: &Labels) -> Option<SeriesId> {
        let symbol = |(name, value)| Some((self.symbols.get(name)?, self.symbols.get(value)?));
        let pairs: Option<Vec<_>> = labels.iter().map(symbol).collect();
        self.ids.get(pairs?.as_slice()).copied()
    }

    /// Puts back a row of the dictionary, in any order. The limit does not count
    /// here: what is stored stays readable after the limit was lowered.
    ///
    /// # Errors
    /// [`IndexError::IdOutOfRange`], [`IndexError::Conflict`].
    pub fn restore(&mut self, id: SeriesId, labels: &Labels) -> Result<(), IndexError> {
        if id.0 >= SERIES_IDS_MAX {
            return Err(IndexError::IdOutOfRange { id: id.0 });
        }
        let conflict = |why| Err(IndexError::Conflict { id: id.0, labels: labels.to_string(), why });
        match self.get(labels) {
            Some(known) if known == id => return Ok(()),
            Some(_) => return conflict("these labels have another id"),
            None => {}
        }
        if self.series.get(id.0 as usize).is_some_and(Option::is_some) {
            return conflict("the id has other labels");
        }
        self.put(id, labels);
        Ok(())
    }

    fn put(&mut self, id: SeriesId, labels: &Labels) {
        let mut pairs = Vec::with_capacity(labels.len());
        for (name, value) in labels.iter() {
            let pair = (self.symbols.intern(name), self.symbols.intern(value));
            let text = |symbol: Symbol| self.symbols.texts[symbol as usize].clone();
            self.postings.entry(text(pair.0)).or_default().entry(text(pair.1)).or_default().insert(id.0);
            self.label_bytes += (name.len() + value.len()) as u64;
            pairs.push(pair);
        }
        let pairs: Pairs = pairs.into();
        let at = id.0 as usize;
        if at >= self.series.len() {
            self.series.resize(at + 1, None);
        }
        self.series[at] = Some(pairs.clone());
        self.ids.insert(pairs, id);
        self.all.insert(id.0);
    }

    /// Forgets every id from `first` on, as after a commit that was refused: the
    /// ids will be given again.
    pub fn truncate(&mut self, first: SeriesId) {
        for id in (first.0..u32::try_from(self.series.len()).unwrap_or(u32::MAX)).rev() {
            self.remove(SeriesId(id));
        }
        self.series.truncate(first.0 as usize);
    }

    /// Forgets one series whose samples are gone. Its id is not given again.
    pub fn remove(&mut self, id: SeriesId) {
        let Some(pairs) = self.series.get_mut(id.0 as usize).and_then(Option::take) else { return };
        self.ids.remove(&pairs);
        self.all.remove(id.0);
        for &(name, value) in &*pairs {
            let (name, value) = (&self.symbols.texts[name as usize], &self.symbols.texts[value as usize]);
            self.label_bytes -= (name.len() + value.len()) as u64;
            let Some(values) = self.postings.get_mut(name) else { continue };
            if let Some(posting) = values.get_mut(value) {
                posting.remove(id.0);
                if posting.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                let name = name.clone();
                self.postings.remove(&name);
            }
        }
    }

    /// The labels of a series, put together from their interned parts.
    pub fn labels(&self, id: SeriesId) -> Option<Labels> {
        let pairs = self.series.get(id.0 as usize)?.as_ref()?;
        let text = |symbol: Symbol| self.symbols.texts[symbol as usize].to_string();
        let labels = Labels::new(pairs.iter().map(|&(name, value)| (text(name), text(value))));
        Some(labels.expect("only checked labels were interned"))
    }

    /// The value of one label of a series, without building the rest.
    pub fn label(&self, id: SeriesId, name: &str) -> Option<&str> {
        let pairs = self.series.get(id.0 as usize)?.as_ref()?;
        let name = self.symbols.get(name)?;
        let (_, value) = pairs.iter().find(|(own, _)| *own == name)?;
        Some(&self.symbols.texts[*value as usize])
    }

    /// Ids that a selector means, ascending, at most `limit` of them. The second
    /// part tells how many there are in all.
    pub fn select(&self, selector: &Selector, limit: usize) -> (Vec<SeriesId>, u64) {
        let mut found: Option<RoaringBitmap> = None;
        // Equality first: it is one look-up and narrows most.
        let (equal, rest): (Vec<_>, Vec<_>) =
            selector.matchers().iter().partition(|matcher| matches!(matcher.test, Test::Is(_)));
        for matcher in equal.into_iter().chain(rest) {
            let matching = self.matching(matcher);
            found = Some(match found {
                Some(found) => found & matching,
                None => matching,
            });
            if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
                break;
            }
        }
        let found = found.unwrap_or_else(|| self.all.clone());
        (found.iter().take(limit).map(SeriesId).collect(), found.len())
    }

    /// Ids whose label passes; an absent label has the value "".
    fn matching(&self, matcher: &Matcher) -> RoaringBitmap {
        let values = self.postings.get(matcher.label.as_str());
        if let (Test::Is(value), Some(values)) = (&matcher.test, values)
            && !value.is_empty()
        {
            return values.get(value.as_str()).cloned().unwrap_or_default();
        }
        // Where "" passes, take away what fails; else gather what passes.
        let absent_passes = matcher.test.accepts("");
        let mut ids = if absent_passes { self.all.clone() } else { RoaringBitmap::new() };
        for (value, posting) in values.into_iter().flatten() {
            match (matcher.test.accepts(value), absent_passes) {
                (true, false) => ids |= posting,
                (false, true) => ids -= posting,
                _ => {}
            }
        }
        ids
    }

    /// Label names in use, in text order.
    pub fn label_names(&self) -> impl Iterator<Item = &str> {
        self.postings.keys().map(|name| &**name)
    }

    /// Values of a label in use, in text order, with the number of their series.
    pub fn label_values(&self, name: &str) -> impl Iterator<Item = (&str, u64)> {
        let values = self.postings.get(name).into_iter().flatten();
        values.map(|(value, posting)| (&**value, posting.len()))
    }

    /// Every series id, ascending.
    pub fn ids(&self) -> impl Iterator<Item = SeriesId> {
        self.all.iter().map(SeriesId)
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The id that the next new series gets: what [`SeriesIndex::truncate`] takes
    /// to undo what came after.
    pub fn next_id(&self) -> SeriesId {
        SeriesId(u32::try_from(self.series.len()).unwrap_or(u32::MAX))
    }

    /// Memory in use, estimated from counts: allocator overhead is guessed.
    pub fn memory(&self) -> Bytes {
        // Map entry, vector slot and shared allocation of a series; of a symbol.
        const SERIES_BYTES: u64 = 32 + 16 + 32;
        const SYMBOL_BYTES: u64 = 32 + 16 + 32;
        let pairs: u64 = self.series.iter().flatten().map(|pairs| pairs.len() as u64 * 8).sum();
        let texts: u64 = self.symbols.texts.iter().map(|text| text.len() as u64 + SYMBOL_BYTES).sum();
        let postings = self.postings.values().flat_map(BTreeMap::values);
        let postings: u64 = postings.map(|posting| posting.serialized_size() as u64 + 64).sum();
        Bytes(self.len() as u64 * SERIES_BYTES + pairs + texts + postings)
    }

    /// Bytes of all labels as they would be without interning: says what it saves.
    pub fn label_bytes(&self) -> Bytes {
        Bytes(self.label_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn series(name: &str, labels: &[(&str, &str)]) -> Labels {
        Labels::series(name, labels).unwrap()
    }

    #[test]
    fn a_label_set_gets_one_id_and_gives_itself_back() {
        let mut index = SeriesIndex::default();
        let (a, b) = (series("up", &[("host", "a")]), series("up", &[("host", "b")]));
        assert_eq!(index.get_or_insert(&a), Ok((SeriesId(0), true)));
        assert_eq!(index.get_or_insert(&b), Ok((SeriesId(1), true)));
        assert_eq!(index.get_or_insert(&a), Ok((SeriesId(0), false)));
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
        assert!(index.get_or_insert(&a).is_ok());
        assert_eq!(index.get_or_insert(&b), Err(IndexError::Full { limit: 1 }));
        assert_eq!(index.get_or_insert(&a), Ok((SeriesId(0), false)));
        assert_eq!(index.restore(SeriesId(5), &b), Ok(()), "what is stored stays readable");
    }

    #[test]
    fn restore_takes_any_order_and_refuses_contradictions() {
        let mut index = SeriesIndex::default();
        let (a, b) = (series("a", &[]), series("b", &[]));
        assert_eq!(index.restore(SeriesId(4), &a), Ok(()));
        assert_eq!(index.restore(SeriesId(2), &b), Ok(()));
        assert_eq!(index.restore(SeriesId(2), &b), Ok(()));
        assert!(matches!(index.restore(SeriesId(3), &a), Err(IndexError::Conflict { .. })));
        assert!(matches!(index.restore(SeriesId(4), &series("c", &[])), Err(IndexError::Conflict { .. })));
        assert!(matches!(index.restore(SeriesId(SERIES_IDS_MAX), &a), Err(IndexError::IdOutOfRange { .. })));
        assert_eq!(index.get_or_insert(&series("c", &[])), Ok((SeriesId(5), true)), "holes are not filled");
    }

    #[test]
    fn a_refused_commit_is_undone_by_truncation() {
        let mut index = SeriesIndex::default();
        index.get_or_insert(&series("a", &[("x", "1")])).unwrap();
        let first = index.next_id();
        index.get_or_insert(&series("b", &[("y", "1")])).unwrap();
        index.truncate(first);
        assert_eq!(index.len(), 1);
        assert_eq!(index.label_names().collect::<Vec<_>>(), ["__name__", "x"]);
        assert_eq!(index.get_or_insert(&series("b", &[("y", "1")])), Ok((SeriesId(1), true)));
    }

    #[test]
    fn a_removed_series_is_not_found_and_its_id_not_given_again() {
        let mut index = SeriesIndex::default();
        let (id, _) = index.get_or_insert(&series("a", &[("x", "1")])).unwrap();
        index.remove(id);
        assert!(index.is_empty() && index.ids().next().is_none() && index.label_names().next().is_none());
        assert_eq!(index.get_or_insert(&series("a", &[("x", "1")])), Ok((SeriesId(1), true)));
    }

    #[test]
    fn a_selection_is_cut_at_its_limit_and_says_how_many_there_are() {
        let mut index = SeriesIndex::default();
        for host in ["a", "b", "c"] {
            index.get_or_insert(&series("up", &[("host", host)])).unwrap();
        }
        let found = index.select(&Selector::parse("up").unwrap(), 2);
        assert_eq!(found, (vec![SeriesId(0), SeriesId(1)], 3));
        assert!(index.memory().0 > 0 && index.label_bytes().0 == 3 * (8 + 2 + 4 + 1));
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
                index.get_or_insert(&series(name, &[("one", one), ("two", two)])).unwrap();
            }
            let all = (0..index.next_id().0).map(SeriesId);
            let expected: Vec<_> = all.filter(|&id| selector.matches(&index.labels(id).unwrap())).collect();
            let n = expected.len() as u64;
            prop_assert_eq!(index.select(&selector, usize::MAX), (expected, n));
        }
    }
}
