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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{AgentNo, Chunk};

    fn stored(agent: u32, max_time: i64, size: u64) -> Stored {
        let (max_time, min_time) = (UnixMillis(max_time), UnixMillis(max_time - 10));
        Stored { key: Chunk { agent: AgentNo(agent), max_time, min_time, epoch: 1, last_seq: 1 }, size: Bytes(size) }
    }

    fn check(age: u64, size: u64, gone: &[(u32, i64)], reasons: (usize, usize), freed: u64) {
        let chunks = [stored(1, 300, 10), stored(2, 100, 10), stored(1, 200, 10), stored(2, 300, 10)];
        let plan = plan(chunks, UnixMillis(1000), Limits { age: Millis(age), size: Bytes(size) });
        let keys: Vec<_> = plan.delete.iter().map(|key| (key.agent.0, key.max_time.0)).collect();
        assert_eq!(keys, gone);
        assert_eq!((plan.n_too_old, plan.n_too_much), reasons);
        assert_eq!(plan.freed, Bytes(freed));
    }

    #[test]
    fn what_is_young_and_fits_stays() {
        check(900, 40, &[], (0, 0), 0);
    }

    #[test]
    fn what_is_too_old_goes_whether_it_fits_or_not() {
        check(899, 40, &[(2, 100)], (1, 0), 10);
    }

    #[test]
    fn the_oldest_go_over_all_agents_until_the_rest_fits() {
        check(900, 39, &[(2, 100)], (0, 1), 10);
        check(900, 15, &[(2, 100), (1, 200), (1, 300)], (0, 3), 30);
        check(899, 25, &[(2, 100), (1, 200)], (1, 1), 20);
    }

    #[test]
    fn a_limit_of_nothing_keeps_nothing() {
        check(900, 0, &[(2, 100), (1, 200), (1, 300), (2, 300)], (0, 4), 40);
    }
}
