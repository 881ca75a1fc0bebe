//! What has to go, found off the writer's thread: old chunks first, then the
//! oldest until the rest fits; and [`super::records`].

use super::audit_bound::{self, Trim};
use super::inbox::{Inbox, Message};
use super::records::{self, Records};
use crate::shared::Shared;
use crate::store::{Commit, Family, Store, StoreError};
use signalbox_access::{AccessAct, AuditKey, Caller};
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
    records: Records,
    audit: Option<Trim>,
    n_too_much: usize,
}

/// Plans a sweep over the whole store. Reads every chunk's key, so it is slow.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub(crate) fn sweep(
    store: &dyn Store,
    now: UnixMillis,
    limits: Limits,
    key: &AuditKey,
    audit_lines: u64,
) -> Result<Sweep, StoreError> {
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
    let records = records::find(store, now, now - limits.age)?;
    let audit = audit_bound::find(store, key, audit_lines)?;
    Ok(Sweep { chunks, records, audit, n_too_much: plan.n_too_much })
}

impl Sweep {
    /// True when nothing has to go.
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.records.is_empty() && self.audit.is_none()
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
        self.records.into_commit(commit);
        if let Some(trim) = self.audit {
            trim.into_commit(commit);
        }
    }
}

/// Sweeps on a blocking thread and hands the result to the writer.
pub(crate) async fn run(shared: Arc<Shared>, inbox: Inbox, limits: Limits, audit_lines: u64) {
    loop {
        tokio::time::sleep(SWEEP_EVERY.std()).await;
        let (store, now) = (Arc::clone(shared.store()), shared.now());
        let access = shared.access();
        let swept =
            tokio::task::spawn_blocking(move || sweep(&*store, now, limits, access.audit_key(), audit_lines)).await;
        match swept {
            Ok(Ok(sweep)) if sweep.is_empty() => {}
            Ok(Ok(sweep)) => {
                // On record before it is done.
                let record = sweep.audit.as_ref().map(|trim| AccessAct::Record(trim.record()));
                if let Some(act) = record
                    && inbox.send(Message::Access { caller: Caller::system(), act, reply: None }).await.is_err()
                {
                    return;
                }
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
    use signalbox_tsdb::keys::AgentNo;

    #[test]
    fn chunks_go_once_all_of_them_is_too_old() {
        let store = MemoryStore::default();
        let mut commit = Commit::default();
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
        let sweep = sweep(&store, UnixMillis(130), limits, &AuditKey::default(), 1).unwrap();
        assert_eq!(sweep.chunks, [chunk(29)]);
    }
}
