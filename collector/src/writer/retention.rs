//! What has to go, found off the writer's thread: old samples first, then the
//! oldest until the rest fits, tier by tier; and [`super::records`]. Reads spans,
//! never the rows themselves.

use super::audit_bound::{self, Trim};
use super::inbox::{Inbox, Message};
use super::records::{self, Records};
use crate::shared::Shared;
use crate::store::{Commit, Rows, Store, StoreError, spans};
use signalbox_access::{AccessAct, AuditKey, Caller};
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_tsdb::retention::{Cutoff, Held, Limits};
use signalbox_tsdb::tier::Tier;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Between two sweeps.
pub(crate) const SWEEP_EVERY: Millis = Millis::from_mins(10);
/// Rows that one sweep deletes at most: bounds the commit that holds them.
const DELETED_MAX: usize = 20_000;

/// What is kept of each tier. Fresh and long rows are one: raw samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Raw samples.
    pub raw: Limits,
    /// Roll-ups of one minute.
    pub minutes: Limits,
    /// Roll-ups of one hour.
    pub hours: Limits,
}

impl Retention {
    /// No sample and no roll-up stays longer by its age: a row goes once all of it is
    /// too old, and may be as long as its tier's window.
    pub(crate) fn longest(&self) -> Millis {
        let rows = [(Tier::Long, self.raw), (Tier::Minutes, self.minutes), (Tier::Hours, self.hours)];
        let whole = |(tier, limits): (Tier, Limits)| limits.age.0.saturating_add(tier.window_ms().unsigned_abs());
        Millis(rows.into_iter().map(whole).max().unwrap_or(u64::MAX))
    }
}

/// Rows to delete.
#[derive(Debug, Default)]
pub struct Sweep {
    rows: Vec<(Tier, Vec<u8>)>,
    records: Records,
    audit: Option<Trim>,
    is_by_size: bool,
}

/// Plans a sweep over the whole store.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub(crate) fn sweep(
    store: &dyn Store,
    now: UnixMillis,
    keep: Retention,
    key: &AuditKey,
    audit_lines: u64,
) -> Result<Sweep, StoreError> {
    let mut sweep = Sweep::default();
    let mut outcome = Ok(());
    store.read(&mut |rows| outcome = find(rows, now, keep, &mut sweep))?;
    outcome?;
    sweep.records = records::find(store, now, now - keep.raw.age)?;
    sweep.audit = audit_bound::find(store, key, audit_lines)?;
    Ok(sweep)
}

fn find(rows: &dyn Rows, now: UnixMillis, keep: Retention, sweep: &mut Sweep) -> Result<(), StoreError> {
    let groups: [(&[Tier], Limits); 3] =
        [(&[Tier::Fresh, Tier::Long], keep.raw), (&[Tier::Minutes], keep.minutes), (&[Tier::Hours], keep.hours)];
    for (tiers, limits) in groups {
        let mut held = Held::default();
        for tier in tiers {
            spans::each(rows, *tier, (&[], &[]), |_, span| {
                held.add(span.facts.max_time, span.size);
                ControlFlow::Continue(())
            })?;
            metrics::gauge!("signalbox_tier_bytes", "tier" => tier.name()).set(held.total().0 as f64);
        }
        let Cutoff { before, is_by_size } = held.cutoff(now, limits);
        sweep.is_by_size |= is_by_size;
        for tier in tiers {
            spans::each(rows, *tier, (&[], &[]), |key, span| {
                if span.facts.max_time < before {
                    sweep.rows.push((*tier, key.to_vec()));
                }
                if sweep.rows.len() < DELETED_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
        }
    }
    Ok(())
}

impl Sweep {
    /// True when nothing has to go.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.records.is_empty() && self.audit.is_none()
    }

    /// The rows out.
    pub(crate) fn into_commit(self, commit: &mut Commit) {
        metrics::counter!("signalbox_chunks_deleted_total").increment(self.rows.len() as u64);
        if self.is_by_size {
            tracing::info!("the size limit deletes samples before their age does");
        }
        for (tier, key) in self.rows {
            spans::delete(commit, tier, &key);
        }
        self.records.into_commit(commit);
        if let Some(trim) = self.audit {
            trim.into_commit(commit);
        }
    }
}

/// Sweeps on a blocking thread and hands the result to the writer.
pub(crate) async fn run(shared: Arc<Shared>, inbox: Inbox, keep: Retention, audit_lines: u64) {
    loop {
        tokio::time::sleep(SWEEP_EVERY.std()).await;
        let (store, now) = (Arc::clone(shared.store()), shared.now());
        let access = shared.access();
        let swept =
            tokio::task::spawn_blocking(move || sweep(&*store, now, keep, access.audit_key(), audit_lines)).await;
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
    use signalbox_proto::units::Bytes;
    use signalbox_tsdb::SeriesId;
    use signalbox_tsdb::chunk::Facts;
    use signalbox_tsdb::keys::{AgentNo, Chunk, Part};
    use signalbox_tsdb::tier::Span;

    fn put(commit: &mut Commit, tier: Tier, max_time: i64) {
        let (min_time, max_time) = (UnixMillis(0), UnixMillis(max_time));
        let chunk = Chunk { agent: AgentNo(1), max_time, min_time, epoch: 1, last_seq: 1 }.encode().to_vec();
        let part = Part { agent: AgentNo(1), window: UnixMillis(max_time.0 - 9), first: SeriesId(0) }.encode().to_vec();
        let facts = Facts { min_time, max_time, n_series: 1, n_samples: 1, arrived: max_time };
        let span = Span { size: Bytes(10), last: SeriesId(1), facts };
        let key = if tier == Tier::Fresh { chunk } else { part };
        spans::put(commit, tier, &key, vec![0; 10], &span);
    }

    #[test]
    fn each_tier_goes_by_its_own_age_once_all_of_a_row_is_too_old() {
        let store = MemoryStore::default();
        let mut commit = Commit::default();
        for tier in Tier::ALL {
            for max_time in [29, 30, 60] {
                put(&mut commit, tier, max_time);
            }
        }
        store.commit(&commit).unwrap();
        let keep = |age| Limits { age: Millis(age), size: Bytes(u64::MAX) };
        let keep = Retention { raw: keep(100), minutes: keep(99), hours: keep(1000) };
        let sweep = sweep(&store, UnixMillis(130), keep, &AuditKey::default(), 1).unwrap();
        let tiers: Vec<_> = sweep.rows.iter().map(|(tier, _)| *tier).collect();
        assert_eq!(tiers, [Tier::Fresh, Tier::Long, Tier::Minutes, Tier::Minutes]);
        let mut commit = Commit::default();
        sweep.into_commit(&mut commit);
        store.commit(&commit).unwrap();
        let mut n_spans = 0;
        let mut count = |_: &[u8], _: &[u8]| {
            n_spans += 1;
            ControlFlow::Continue(())
        };
        Store::scan(&store, crate::store::Family::Spans, &[], &[], &mut count).unwrap();
        assert_eq!(n_spans, 8);
    }
}
