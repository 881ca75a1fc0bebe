//! Which chunks have to go: too old first, then the oldest until the rest fits.

use crate::keys;
use signalbox_proto::units::{Bytes, Millis, UnixMillis};

/// How long and how much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Chunks whose newest sample is older than this go.
    pub age: Millis,
    /// Chunks together take at most this.
    pub size: Bytes,
}

impl Limits {
    /// Raw samples are kept for 30 days unless told otherwise.
    pub const AGE_DEFAULT: Millis = Millis::from_mins(30 * 24 * 60);
}

/// A stored chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its key, which has its newest sample.
    pub key: keys::Chunk,
    /// Bytes that it takes.
    pub size: Bytes,
}

/// What to delete and why.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Keys to delete, oldest first.
    pub delete: Vec<keys::Chunk>,
    /// How many go for their age.
    pub n_too_old: usize,
    /// How many go because the rest would not fit.
    pub n_too_much: usize,
    /// Bytes that the deletion frees.
    pub freed: Bytes,
}

/// Plans over all chunks of the store. Deterministic: equal ages go by key.
pub fn plan(chunks: impl IntoIterator<Item = Stored>, now: UnixMillis, limits: Limits) -> Plan {
    let mut chunks: Vec<Stored> = chunks.into_iter().collect();
    chunks.sort_by_key(|chunk| (chunk.key.max_time, chunk.key));
    let mut kept = chunks.iter().fold(Bytes(0), |sum, chunk| Bytes(sum.0.saturating_add(chunk.size.0)));
    let oldest = now - limits.age;
    let mut plan = Plan::default();
    for chunk in chunks {
        if chunk.key.max_time < oldest {
            plan.n_too_old += 1;
        } else if kept > limits.size {
            plan.n_too_much += 1;
        } else {
            break;
        }
        kept = Bytes(kept.0.saturating_sub(chunk.size.0));
        plan.freed = Bytes(plan.freed.0.saturating_add(chunk.size.0));
        plan.delete.push(chunk.key);
    }
    plan
}
