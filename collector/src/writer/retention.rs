//! What has to go, found off the writer's thread: old chunks first, then the
//! oldest until the rest fits; and versions of engine rows that nobody can ask
//! for any more.

use super::inbox::{Inbox, Message};
use crate::shared::Shared;
use crate::store::{Commit, Family, Store, StoreError, keys};
use signalbox_proto::units::{Bytes, Millis, UnixMillis};
use signalbox_tsdb::keys::Chunk;
use signalbox_tsdb::retention::{Limits, Stored, plan};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Between two sweeps.
pub(crate) const SWEEP_EVERY: Millis = Millis::from_mins(10);
/// Rows that one sweep deletes at most: bounds the commit that holds them.
const DELETED_MAX: usize = 20_000;

/// Rows to delete.
#[derive(Debug, Default)]
pub struct Sweep {
    chunks: Vec<Chunk>,
    versions: Vec<Vec<u8>>,
    n_too_much: usize,
}

/// Plans a sweep over the whole store. Reads every chunk's key, so it is slow.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub(crate) fn sweep(store: &dyn Store, now: UnixMillis, limits: Limits) -> Result<Sweep, StoreError> {
    let mut stored = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        if let Some(key) = Chunk::decode(key) {
            stored.push(Stored { key, size: Bytes((Chunk::BYTES + value.len()) as u64) });
        }
        ControlFlow::Continue(())
    };
    store.scan(Family::Chunks, &[], &[], &mut visit)?;
    let plan = plan(stored, now, limits);
    let mut chunks = plan.delete;
    chunks.truncate(DELETED_MAX);
    Ok(Sweep { chunks, versions: old_versions(store, now - limits.age)?, n_too_much: plan.n_too_much })
}

/// Versions that were replaced before `oldest`: for every row the last one before
/// that instant still answers for it.
fn old_versions(store: &dyn Store, oldest: UnixMillis) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut old: Vec<Vec<u8>> = Vec::new();
    let mut last: Option<Vec<u8>> = None;
    let mut visit = |key: &[u8], _: &[u8]| {
        let Some((row, from)) = keys::parse_history(key) else { return ControlFlow::Continue(()) };
        let replaces = last.take_if(|last| keys::parse_history(last).is_some_and(|(before, _)| before == row));
        if from > oldest {
            return ControlFlow::Continue(());
        }
        old.extend(replaces);
        last = Some(key.to_vec());
        if old.len() >= DELETED_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    store.scan(Family::History, &[], &[], &mut visit)?;
    Ok(old)
}

impl Sweep {
    /// True when nothing has to go.
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.versions.is_empty()
    }

    /// The rows out.
    pub(crate) fn into_commit(self, commit: &mut Commit) {
        metrics::counter!("signalbox_chunks_deleted_total").increment(self.chunks.len() as u64);
        if self.n_too_much > 0 {
            tracing::info!(n_chunks = self.n_too_much, "the size limit deletes samples before their age does");
        }
        for chunk in self.chunks {
            commit.delete(Family::Chunks, chunk.encode());
        }
        for version in self.versions {
            commit.delete(Family::History, version);
        }
    }
}

/// Sweeps on a blocking thread and hands the result to the writer.
pub(crate) async fn run(shared: Arc<Shared>, inbox: Inbox, limits: Limits) {
    loop {
        tokio::time::sleep(SWEEP_EVERY.std()).await;
        let (store, now) = (Arc::clone(shared.store()), shared.now());
        let swept = tokio::task::spawn_blocking(move || sweep(&*store, now, limits)).await;
        match swept {
            Ok(Ok(sweep)) if sweep.is_empty() => {}
            Ok(Ok(sweep)) => {
                if inbox.send(Message::Swept(sweep)).await.is_err() {
                    return;
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "retention could not read the store, tries again later"),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;
    use signalbox_engine::decision::Table;
    use signalbox_tsdb::keys::AgentNo;

    #[test]
    fn the_version_in_force_at_the_horizon_stays() {
        let store = MemoryStore::default();
        let mut commit = Commit::default();
        for at in [10, 20, 30, 40] {
            commit.put(Family::History, keys::history(Table::Tracks, b"a", UnixMillis(at)), [1]);
        }
        commit.put(Family::History, keys::history(Table::Tracks, b"b", UnixMillis(5)), [1]);
        let chunk = |max| Chunk {
            agent: AgentNo(1),
            max_time: UnixMillis(max),
            min_time: UnixMillis(0),
            epoch: 1,
            last_seq: 1,
        };
        commit.put(Family::Chunks, chunk(29).encode(), [0; 10]);
        commit.put(Family::Chunks, chunk(30).encode(), [0; 10]);
        store.commit(&commit).unwrap();
        let limits = Limits { age: Millis(100), size: Bytes(u64::MAX) };
        let sweep = sweep(&store, UnixMillis(130), limits).unwrap();
        let wanted: Vec<_> = [10, 20].map(|at| keys::history(Table::Tracks, b"a", UnixMillis(at))).into();
        assert_eq!(sweep.versions, wanted, "30 is in force at 30, 40 is younger, b has no other");
        assert_eq!(sweep.chunks, [chunk(29)]);
    }
}
