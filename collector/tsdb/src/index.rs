//! The index of the series that live: labels to ids and back, and which ids a
//! selector means.
//!
//! Label names and values are interned, each as long as a series uses it; a series
//! is a sorted run of symbol pairs. For each (name, value) there is a posting list,
//! a roaring bitmap of ids. A selector is answered from posting lists alone, see
//! [`postings`].
//!
//! A series is (owner, labels): the owner is the agent number under which its
//! samples lie, whatever its labels say. Two owners may have the same labels, and a
//! series that speaks again after it was retired gets a new id: who shows series to
//! people merges them by their labels.
//!
//! ```text
//! get_or_insert ──▶ lives ── quiet() ──▶ retire() ──▶ leaving ── forget() ──▶ on disk,
//!                     ▲  its row is of the turn's commit      after the commit  crate::segment
//!                     └── heard(), sampled(): it is not quiet
//! ```

mod labels;
pub mod postings;
mod symbols;
#[cfg(test)]
mod tests;

pub use labels::LabelSet;

use crate::SeriesId;
use crate::dictionary;
use crate::keys::AgentNo;
use crate::segment::Head;
use hashbrown::HashTable;
use postings::Postings;
use roaring::RoaringBitmap;
use signalbox_proto::names::Labels;
use signalbox_proto::selector::{Matcher, Selector};
use signalbox_proto::units::{Bytes, UnixMillis};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use symbols::{Symbol, Symbols};
use thiserror::Error;

/// Series that live in one store at a time, unless told otherwise.
pub const SERIES_DEFAULT_MAX: u32 = 2_000_000;

/// Why a series is not in the index.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IndexError {
    /// No room for new series; known ones go on.
    #[error("series index is full: limit of {limit} live series")]
    Full {
        /// The limit.
        limit: u32,
    },
    /// Every id was given once.
    #[error("series ids are used up: {n} series were taken in the life of this store", n = SeriesId::REFUSED.0)]
    IdsUsedUp,
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

/// One series that lives.
#[derive(Debug)]
struct Entry {
    owner: AgentNo,
    /// No sample is older.
    first: UnixMillis,
    /// No sample in a chunk is newer, and it was last heard of then.
    last: UnixMillis,
    pairs: Box<[(Symbol, Symbol)]>,
}

/// The series that live. See the module's documentation.
#[derive(Debug)]
pub struct SeriesIndex {
    limit: u32,
    next: SeriesId,
    symbols: Symbols,
    series: HashMap<SeriesId, Entry>,
    /// Those that a declaration finds, by owner and labels: all but the leaving.
    by_labels: HashTable<SeriesId>,
    hasher: RandomState,
    n_by_owner: HashMap<AgentNo, u32>,
    postings: Postings,
    leaving: RoaringBitmap,
    /// Here, so that who looks under one lock finds each series once.
    segments: Vec<Head>,
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
            limit,
            next: SeriesId(0),
            symbols: Symbols::default(),
            series: HashMap::new(),
            by_labels: HashTable::new(),
            hasher: RandomState::new(),
            n_by_owner: HashMap::new(),
            postings: Postings::default(),
            leaving: RoaringBitmap::new(),
            segments: Vec::new(),
        }
    }

    /// The id of an owner's series, and whether it is new: then the caller owes the
    /// store its [`row`](SeriesIndex::row), in the commit that first uses the id.
    /// No sample of a new series may be older than `first`.
    ///
    /// # Errors
    /// [`IndexError::Full`] for a new series over the limit, [`IndexError::IdsUsedUp`].
    pub fn get_or_insert(
        &mut self,
        owner: AgentNo,
        labels: &Labels,
        first: UnixMillis,
    ) -> Result<(SeriesId, bool), IndexError> {
        if let Some(id) = self.get(owner, labels) {
            return Ok((id, false));
        }
        if self.len() >= self.limit as usize {
            return Err(IndexError::Full { limit: self.limit });
        }
        let id = self.next;
        if !id.is_kept() {
            return Err(IndexError::IdsUsedUp);
        }
        self.put(id, owner, labels, first, first);
        Ok((id, true))
    }

    /// The id of an owner's series, if it lives.
    pub fn get(&self, owner: AgentNo, labels: &Labels) -> Option<SeriesId> {
        let symbol = |(name, value)| Some((self.symbols.get(name)?, self.symbols.get(value)?));
        let pairs: Vec<_> = labels.iter().map(symbol).collect::<Option<_>>()?;
        self.find(owner, &pairs)
    }

    fn find(&self, owner: AgentNo, pairs: &[(Symbol, Symbol)]) -> Option<SeriesId> {
        let is_it = |id: &SeriesId| {
            let entry = self.series.get(id);
            entry.is_some_and(|entry| entry.owner == owner && *entry.pairs == *pairs)
        };
        self.by_labels.find(self.hasher.hash_one((owner, pairs)), is_it).copied()
    }

    /// Puts back a row of the dictionary, in any order. The limit does not count
    /// here: what is stored stays readable after the limit was lowered. `last` is
    /// when it may have had its last sample.
    ///
    /// # Errors
    /// [`IndexError::Conflict`].
    pub fn restore(
        &mut self,
        id: SeriesId,
        owner: AgentNo,
        row: &dictionary::Row,
        last: UnixMillis,
    ) -> Result<(), IndexError> {
        let labels = &row.labels;
        let conflict = |why| Err(IndexError::Conflict { id: id.0, labels: labels.to_string(), why });
        if !id.is_kept() {
            return conflict("this id is never given");
        }
        match self.get(owner, labels) {
            Some(known) if known == id => return Ok(()),
            Some(_) => return conflict("these labels have another id"),
            None => {}
        }
        if self.series.contains_key(&id) {
            return conflict("the id has other labels");
        }
        self.put(id, owner, labels, row.first, last);
        Ok(())
    }

    fn put(&mut self, id: SeriesId, owner: AgentNo, labels: &Labels, first: UnixMillis, last: UnixMillis) {
        let mut pairs = Vec::with_capacity(labels.len());
        for (name, value) in labels.iter() {
            let pair = (self.symbols.take(name), self.symbols.take(value));
            self.postings.insert(self.symbols.text(pair.0), self.symbols.text(pair.1), id.0);
            pairs.push(pair);
        }
        let pairs = pairs.into_boxed_slice();
        let hash = self.hasher.hash_one((owner, &*pairs));
        self.series.insert(id, Entry { owner, first, last, pairs });
        let (hasher, series) = (&self.hasher, &self.series);
        self.by_labels.insert_unique(hash, id, |id| hash_of(hasher, &series[id]));
        self.postings.all.insert(id.0);
        *self.n_by_owner.entry(owner).or_default() += 1;
        self.mark_given(id);
    }

    /// This id was given, so new series get greater ones.
    pub fn mark_given(&mut self, id: SeriesId) {
        self.next = self.next.max(SeriesId(id.0.saturating_add(1)));
    }

    /// Every id, ascending.
    pub fn ids(&self) -> impl Iterator<Item = SeriesId> {
        self.postings.all.iter().map(SeriesId)
    }

    /// How many series live.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// How many of them are this owner's.
    pub fn n_of(&self, owner: AgentNo) -> usize {
        self.n_by_owner.get(&owner).copied().unwrap_or(0) as usize
    }

    /// Memory in use, estimated.
    pub fn memory(&self) -> Bytes {
        // Eight bytes a pair, and what the allocator adds.
        let pairs: u64 = self.series.values().map(|entry| entry.pairs.len() as u64 * 8 + 16).sum();
        let maps = self.series.capacity() * (size_of::<(SeriesId, Entry)>() + 1)
            + self.by_labels.capacity() * (size_of::<SeriesId>() + 1)
            + self.n_by_owner.capacity() * (size_of::<(AgentNo, u32)>() + 1);
        Bytes(pairs + maps as u64 + self.symbols.memory_bytes() + self.postings.memory_bytes())
    }
}

/// Segments of retired series.
impl SeriesIndex {
    /// What is known of them without reading.
    pub fn segments(&self) -> &[Head] {
        &self.segments
    }

    /// A commit wrote `new` and took the heads of `gone` out.
    pub fn replace_segments(&mut self, gone: &[u64], new: Option<Head>) {
        self.segments.retain(|head| !gone.contains(&head.segment));
        self.segments.extend(new);
    }
}

fn hash_of(hasher: &RandomState, entry: &Entry) -> u64 {
    hasher.hash_one((entry.owner, &*entry.pairs))
}

/// Reading.
impl SeriesIndex {
    /// The labels of a series, put together from their interned parts.
    pub fn labels(&self, id: SeriesId) -> Option<Labels> {
        let labels = Labels::new(self.pairs(id)?.map(|(name, value)| (name.to_string(), value.to_string())));
        Some(labels.expect("only checked labels were interned"))
    }

    /// The labels of a series, shared with the index: one small allocation, no text
    /// is copied.
    pub fn label_set(&self, id: SeriesId) -> Option<LabelSet> {
        Some(LabelSet::of(self.pairs(id)?.map(|(name, value)| (name.clone(), value.clone()))))
    }

    fn pairs(&self, id: SeriesId) -> Option<impl Iterator<Item = (&std::sync::Arc<str>, &std::sync::Arc<str>)>> {
        let entry = self.series.get(&id)?;
        Some(entry.pairs.iter().map(|&(name, value)| (self.symbols.text(name), self.symbols.text(value))))
    }

    /// The value of one label of a series, without building the rest.
    pub fn label(&self, id: SeriesId, name: &str) -> Option<&str> {
        let entry = self.series.get(&id)?;
        let name = self.symbols.get(name)?;
        let (_, value) = entry.pairs.iter().find(|(own, _)| *own == name)?;
        Some(self.symbols.text(*value))
    }

    /// The agent whose lanes and chunks hold the samples of a series.
    pub fn owner(&self, id: SeriesId) -> Option<AgentNo> {
        Some(self.series.get(&id)?.owner)
    }

    /// The dictionary row of a series as it is once it is retired.
    pub fn retired_row(&self, id: SeriesId) -> Option<dictionary::Row> {
        let Entry { owner, first, last, .. } = *self.series.get(&id)?;
        Some(dictionary::Row { owner: Some(owner), first, last: Some(last), labels: self.labels(id)? })
    }

    /// The bytes of its dictionary row while it lives.
    pub fn row(&self, id: SeriesId) -> Option<Vec<u8>> {
        let entry = self.series.get(&id)?;
        Some(dictionary::encode(entry.owner, entry.first, None, &self.labels(id)?))
    }

    /// Ids that a selector means, ascending, at most `limit` of them. The second
    /// part tells how many there are in all.
    pub fn select(&self, selector: &Selector, limit: usize) -> (Vec<SeriesId>, u64) {
        let found = self.matching(selector.matchers());
        (found.iter().take(limit).map(SeriesId).collect(), found.len())
    }

    /// Ids that satisfy every one of these conditions.
    pub fn matching(&self, matchers: &[Matcher]) -> RoaringBitmap {
        let Ok(found) = postings::select(&self.postings, matchers);
        found
    }

    /// Label names in use, in text order.
    pub fn label_names(&self) -> impl Iterator<Item = &str> {
        self.postings.names.keys().map(|name| &**name)
    }

    /// Values of a label in use, in text order, with the number of their series.
    pub fn label_values(&self, name: &str) -> impl Iterator<Item = (&str, u64)> {
        let values = self.postings.names.get(name).into_iter().flatten();
        values.map(|(value, posting)| (&**value, posting.len()))
    }
}

/// Ageing.
impl SeriesIndex {
    /// Somebody declared the series: it is not quiet.
    pub fn heard(&mut self, id: SeriesId, at: UnixMillis) {
        if let Some(entry) = self.series.get_mut(&id) {
            entry.last = entry.last.max(at);
        }
    }

    /// A chunk holds samples of the series from `first` to `last`. True when they
    /// begin before anything that its row allows: the caller owes the store a new one.
    pub fn sampled(&mut self, id: SeriesId, first: UnixMillis, last: UnixMillis) -> bool {
        let Some(entry) = self.series.get_mut(&id) else { return false };
        entry.last = entry.last.max(last);
        let is_earlier = first < entry.first;
        entry.first = entry.first.min(first);
        is_earlier
    }

    /// Series of which nothing was heard since `horizon` and that `may_go` lets go,
    /// ascending, at most `limit` of them.
    pub fn quiet(
        &self,
        horizon: UnixMillis,
        limit: usize,
        mut may_go: impl FnMut(SeriesId, AgentNo) -> bool,
    ) -> Vec<SeriesId> {
        let is_quiet = |id: SeriesId, entry: &Entry| entry.last < horizon && !self.leaving.contains(id.0);
        let quiet = self.series.iter().filter(|(id, entry)| is_quiet(**id, entry) && may_go(**id, entry.owner));
        let mut quiet: Vec<_> = quiet.map(|(id, _)| *id).take(limit).collect();
        quiet.sort_unstable();
        quiet
    }

    /// Oldest and newest instant that samples of a series may have.
    pub fn range(&self, id: SeriesId) -> Option<(UnixMillis, UnixMillis)> {
        let entry = self.series.get(&id)?;
        Some((entry.first, entry.last))
    }

    /// The turn's commit moves this series to disk: from here on a declaration of
    /// its labels makes a new one. Readers find it until it is forgotten.
    pub fn retire(&mut self, id: SeriesId) {
        let Some(entry) = self.series.get(&id) else { return };
        if let Ok(place) = self.by_labels.find_entry(hash_of(&self.hasher, entry), |own| *own == id) {
            place.remove();
        }
        self.leaving.insert(id.0);
    }

    /// The commit is durable: the series leaves memory. Its id is not given again.
    pub fn forget(&mut self, id: SeriesId) {
        self.retire(id);
        self.leaving.remove(id.0);
        let Some(entry) = self.series.remove(&id) else { return };
        self.postings.all.remove(id.0);
        for &(name, value) in &entry.pairs {
            self.postings.remove(self.symbols.text(name), self.symbols.text(value), id.0);
            self.symbols.release(name);
            self.symbols.release(value);
        }
        if let Some(n) = self.n_by_owner.get_mut(&entry.owner) {
            *n -= 1;
            if *n == 0 {
                self.n_by_owner.remove(&entry.owner);
            }
        }
        // Churn must not leave the tables as large as they once were.
        if self.series.len() < self.series.capacity() / 4 {
            self.series.shrink_to(self.series.len() * 2);
            let (hasher, series) = (&self.hasher, &self.series);
            self.by_labels.shrink_to(series.len() * 2, |id| hash_of(hasher, &series[id]));
        }
    }
}
