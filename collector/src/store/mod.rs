//! The seam to the disk: rows in families, one atomic durable commit a turn.
//!
//! The store knows neither samples nor verdicts: keys, bytes and order. Two
//! implementations keep one contract (`contract`): RocksDB for the
//! collector, an ordered map for tests and simulation.
//!
//! ```text
//! family   key                                   row
//! meta     "turn" | "agent" id | "mark" no epoch  numbers, CBOR
//! series   series id                             tsdb::dictionary
//! journal  agent no, epoch, seq                  tsdb::journal
//! chunks   agent no, max, min, epoch, last seq   tsdb::chunk, as lanes sealed them
//! long     agent no, window, first series        tsdb::chunk, merged
//! minutes  agent no, window, first series        tsdb::rollup, 1 min
//! hours    agent no, window, first series        tsdb::rollup, 1 h
//! spans    tier, key of one of the rows above    tsdb::tier::Span
//! state    table, key                            engine row as it stands
//! history  table, len, key, at                   engine row as it stood from `at` on
//! access   table, key                            identities, rights, end of the audit
//! audit    number                                audit line
//! postings kind, segment | series id             tsdb::segment
//! ```

#[cfg(test)]
mod contract;
pub mod keys;
pub mod memory;
pub mod rocks;
pub mod spans;
pub mod tail;

use signalbox_proto::text::hex;
use signalbox_tsdb::tier::Tier;
use std::ops::ControlFlow;
use thiserror::Error;

/// Where a row lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Turn number, agents, high-water marks.
    Meta,
    /// Series dictionary.
    Series,
    /// Retired series: their rows and posting lists.
    Postings,
    /// Committed batches whose chunk is open.
    Journal,
    /// Sealed chunks.
    Chunks,
    /// Engine rows as they stand.
    State,
    /// Engine rows as they stood.
    History,
    /// Identities and rights as they stand, and where the audit ends.
    Access,
    /// Lines of the audit. Only ever added.
    Audit,
    /// Merged chunks of raw samples.
    Long,
    /// Roll-ups of one minute.
    Minutes,
    /// Roll-ups of one hour.
    Hours,
    /// What is known of each row of samples without reading it.
    Spans,
}

impl Family {
    /// All of them.
    pub const ALL: [Family; 13] = [
        Family::Meta,
        Family::Series,
        Family::Postings,
        Family::Journal,
        Family::Chunks,
        Family::State,
        Family::History,
        Family::Access,
        Family::Audit,
        Family::Long,
        Family::Minutes,
        Family::Hours,
        Family::Spans,
    ];

    /// Where the rows of a tier lie.
    pub fn of(tier: Tier) -> Family {
        match tier {
            Tier::Fresh => Family::Chunks,
            Tier::Long => Family::Long,
            Tier::Minutes => Family::Minutes,
            Tier::Hours => Family::Hours,
        }
    }

    /// Its name on disk: never change one.
    pub fn name(self) -> &'static str {
        match self {
            Family::Meta => "meta",
            Family::Series => "series",
            Family::Journal => "journal",
            Family::Chunks => "chunks",
            Family::State => "state",
            Family::History => "history",
            Family::Access => "access",
            Family::Audit => "audit",
            Family::Postings => "postings",
            Family::Long => "long",
            Family::Minutes => "minutes",
            Family::Hours => "hours",
            Family::Spans => "spans",
        }
    }
}

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// No space is left: nothing of the commit was kept. Reopen, then go on.
    #[error("{what}: no space left on the device")]
    Full {
        /// What was attempted.
        what: &'static str,
    },
    /// Another process holds the data directory.
    #[error("data directory {dir} is in use by another collector")]
    Locked {
        /// Which.
        dir: String,
    },
    /// Anything else: for a commit nobody can know what is on the disk.
    #[error("{what}: {why}")]
    Failed {
        /// What was attempted.
        what: String,
        /// What the system said.
        why: String,
    },
    /// A row that cannot be what this program wrote.
    #[error("row {key} of {family}: {why}")]
    Damaged {
        /// Where.
        family: &'static str,
        /// Its key, hexadecimal.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

impl StoreError {
    /// A row that does not decode.
    pub fn damaged(family: Family, key: &[u8], why: impl ToString) -> StoreError {
        StoreError::Damaged { family: family.name(), key: hex(key), why: why.to_string() }
    }
}

/// One change of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The row is this from now on.
    Put(Family, Vec<u8>, Vec<u8>),
    /// The row is gone.
    Delete(Family, Vec<u8>),
    /// Every row of `[from, to)` is gone.
    DeleteRange(Family, Vec<u8>, Vec<u8>),
}

/// All that one turn changes: kept whole and durably, or not at all. Changes
/// apply in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    changes: Vec<Change>,
    n_bytes: usize,
}

impl Commit {
    /// The row is this from now on.
    pub fn put(&mut self, family: Family, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        let (key, value) = (key.into(), value.into());
        self.n_bytes += key.len() + value.len();
        self.changes.push(Change::Put(family, key, value));
    }

    /// The row is gone.
    pub fn delete(&mut self, family: Family, key: impl Into<Vec<u8>>) {
        self.changes.push(Change::Delete(family, key.into()));
    }

    /// Every row of `[from, to)` is gone.
    pub fn delete_range(&mut self, family: Family, from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) {
        self.changes.push(Change::DeleteRange(family, from.into(), to.into()));
    }

    /// The changes of another one, after its own.
    pub fn append(&mut self, other: Commit) {
        self.n_bytes += other.n_bytes;
        self.changes.extend(other.changes);
    }

    /// The changes in order.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// True when nothing would change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Bytes of keys and values.
    pub fn n_bytes(&self) -> usize {
        self.n_bytes
    }
}

/// Figures for people and metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of all files, or of all rows for the memory twin.
    pub n_bytes: u64,
    /// The same by family.
    pub bytes: [u64; Family::ALL.len()],
    /// Rows by family, in the order of [`Family::ALL`]; estimates on disk.
    pub n_rows: [u64; Family::ALL.len()],
    /// Bytes of memory in use for caches and write buffers.
    pub memory_bytes: u64,
}

/// What a scan calls for each row: (key, value).
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// A row as it came from the store: (key, value).
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// Rows as they stood at one instant.
pub trait Rows {
    /// One row.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// As [`Store::scan`].
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError>;
}

/// Ordered rows in families, changed only by commits.
pub trait Store: Send + Sync {
    /// Calls `run` with the rows as they stand now: commits meanwhile are not seen.
    ///
    /// # Errors
    /// [`StoreError::Full`] while the store is not open.
    fn read(&self, run: &mut dyn FnMut(&dyn Rows)) -> Result<(), StoreError>;

    /// Makes all changes durable, or none.
    ///
    /// # Errors
    /// [`StoreError::Full`]: none was kept, and [`Store::reopen`] must succeed
    /// before the next commit. Any other: unknown, the process must end.
    fn commit(&self, commit: &Commit) -> Result<(), StoreError>;

    /// One row.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits the rows of `[from, to)` in key order (`to` empty: to the end of the
    /// family) as they stood when the scan began, until `visit` breaks.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError>;

    /// The last row of `[from, to)`.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    fn last(&self, family: Family, from: &[u8], to: &[u8]) -> Result<Option<KeyValue>, StoreError>;

    /// Opens anew after a refused commit.
    ///
    /// # Errors
    /// [`StoreError::Full`] while there is still no space.
    fn reopen(&self) -> Result<(), StoreError>;

    /// Figures for people and metrics.
    fn stats(&self) -> Stats;
}

/// Visits the rows of `[from, to)` as [`Store::scan`] does, until one is refused.
///
/// # Errors
/// What `visit` says, or the store.
pub fn each<E: From<StoreError>>(
    store: &dyn Store,
    family: Family,
    (from, to): (&[u8], &[u8]),
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut outcome = Ok(());
    let mut visit = |key: &[u8], value: &[u8]| {
        outcome = visit(key, value);
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    store.scan(family, from, to, &mut visit)?;
    outcome
}

/// Visits all rows whose key begins with `prefix`.
///
/// # Errors
/// As [`each`].
pub fn each_of<E: From<StoreError>>(
    store: &dyn Store,
    family: Family,
    prefix: &[u8],
    visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    each(store, family, (prefix, &after_prefix(prefix)), visit)
}

/// The smallest key that is greater than every key with this prefix; empty (the
/// end of the family) when there is none.
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    end
}
