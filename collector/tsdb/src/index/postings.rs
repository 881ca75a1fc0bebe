//! Which ids have a label: name -> value -> ids, and how conditions combine them.
//!
//! A selection asks a [`Source`], of which there are two: the series in memory, and
//! a segment of retired series on disk. Equality takes one posting list; a pattern
//! is tried once on each distinct value of its label, never on each series.

use roaring::RoaringBitmap;
use signalbox_proto::selector::{Matcher, Test};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where posting lists are read.
pub trait Source {
    /// Why one cannot be read.
    type Error;

    /// Every id.
    ///
    /// # Errors
    /// When it cannot be read.
    fn all(&self) -> Result<RoaringBitmap, Self::Error>;

    /// Ids whose label `name` has this value, which is not empty.
    ///
    /// # Errors
    /// When it cannot be read.
    fn with(&self, name: &str, value: &str) -> Result<RoaringBitmap, Self::Error>;

    /// Visits the values of a label with their ids, in text order. The ids are read
    /// only when they are asked for.
    ///
    /// # Errors
    /// When they cannot be read, or `visit` says so.
    fn each_value(&self, name: &str, visit: Visit<'_, Self::Error>) -> Result<(), Self::Error>;
}

/// What [`Source::each_value`] calls: (value, how to read its ids).
pub type Visit<'a, E> = &'a mut dyn FnMut(&str, &dyn Fn() -> Result<RoaringBitmap, E>) -> Result<(), E>;

/// Ids that satisfy every condition. An absent label has the value "".
///
/// # Errors
/// When a posting list cannot be read.
pub fn select<S: Source>(source: &S, matchers: &[Matcher]) -> Result<RoaringBitmap, S::Error> {
    // Equality first: it is one look-up and narrows most.
    let (equal, rest): (Vec<_>, Vec<_>) = matchers.iter().partition(|matcher| is_equality(matcher));
    let mut found: Option<RoaringBitmap> = None;
    for matcher in equal.into_iter().chain(rest) {
        let matching = matching(source, matcher)?;
        let narrowed = match found {
            Some(found) => found & matching,
            None => matching,
        };
        if narrowed.is_empty() {
            return Ok(narrowed);
        }
        found = Some(narrowed);
    }
    found.map_or_else(|| source.all(), Ok)
}

fn is_equality(matcher: &Matcher) -> bool {
    matches!(&matcher.test, Test::Is(value) if !value.is_empty())
}

fn matching<S: Source>(source: &S, matcher: &Matcher) -> Result<RoaringBitmap, S::Error> {
    let (name, test) = (matcher.label.as_str(), &matcher.test);
    if let (Test::Is(value), true) = (test, is_equality(matcher)) {
        return source.with(name, value);
    }
    // Where "" passes, take away what fails; else gather what passes.
    let absent_passes = test.accepts("");
    let mut ids = if absent_passes { source.all()? } else { RoaringBitmap::new() };
    source.each_value(name, &mut |value, posting| {
        match (test.accepts(value), absent_passes) {
            (true, false) => ids |= posting()?,
            (false, true) => ids -= posting()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(ids)
}

/// Posting lists in memory, names and values in text order.
#[derive(Debug, Default)]
pub(super) struct Postings {
    pub(super) names: BTreeMap<Arc<str>, BTreeMap<Arc<str>, RoaringBitmap>>,
    pub(super) all: RoaringBitmap,
}

impl Postings {
    pub(super) fn insert(&mut self, name: &Arc<str>, value: &Arc<str>, id: u32) {
        let values = self.names.entry(Arc::clone(name)).or_default();
        values.entry(Arc::clone(value)).or_default().insert(id);
    }

    pub(super) fn remove(&mut self, name: &str, value: &str, id: u32) {
        let Some(values) = self.names.get_mut(name) else { return };
        if let Some(posting) = values.get_mut(value) {
            posting.remove(id);
            if posting.is_empty() {
                values.remove(value);
            }
        }
        if values.is_empty() {
            self.names.remove(name);
        }
    }

    /// Memory in use, estimated. A list of few ids takes three small allocations.
    pub(super) fn memory_bytes(&self) -> u64 {
        const LIST: u64 = 24 + 48 + 3 * 16;
        const ENTRY: u64 = 48;
        let lists = self.names.values().flat_map(BTreeMap::values);
        lists.map(|list| list.serialized_size() as u64 + LIST + ENTRY).sum::<u64>() + self.all.serialized_size() as u64
    }
}

impl Source for Postings {
    type Error = std::convert::Infallible;

    fn all(&self) -> Result<RoaringBitmap, Self::Error> {
        Ok(self.all.clone())
    }

    fn with(&self, name: &str, value: &str) -> Result<RoaringBitmap, Self::Error> {
        Ok(self.names.get(name).and_then(|values| values.get(value)).cloned().unwrap_or_default())
    }

    fn each_value(&self, name: &str, visit: Visit<'_, Self::Error>) -> Result<(), Self::Error> {
        for (value, posting) in self.names.get(name).into_iter().flatten() {
            visit(value, &|| Ok(posting.clone()))?;
        }
        Ok(())
    }
}
