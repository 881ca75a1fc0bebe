//! How much is stored of what: from spans and file sizes, without reading samples.

use super::agents;
use crate::store::{Family, Store, StoreError, spans};
use serde::Serialize;
use signalbox_tsdb::keys::AgentNo;
use signalbox_tsdb::tier::Tier;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;

/// Agents that are listed, the largest.
const AGENTS_LISTED: usize = 10;

/// A family's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FamilyStats {
    /// Its name.
    pub family: &'static str,
    /// Rows, estimated.
    pub n_rows: u64,
    /// Bytes of files and write buffers.
    pub n_bytes: u64,
}

/// Rows of a tier, or of an agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Held {
    /// Tier or agent.
    pub name: String,
    /// Rows.
    pub n_rows: u64,
    /// Their bytes.
    pub n_bytes: u64,
    /// Samples, or buckets of roll-ups.
    pub n_samples: u64,
    /// Bytes for each of them.
    pub bytes_per_sample: f64,
    /// Oldest, Unix ms.
    pub oldest: Option<i64>,
    /// Newest, Unix ms.
    pub newest: Option<i64>,
}

/// All figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StorageStats {
    /// Bytes of all files.
    pub n_bytes: u64,
    /// By family.
    pub families: Vec<FamilyStats>,
    /// By tier.
    pub tiers: Vec<Held>,
    /// The agents that take most, raw samples and roll-ups together.
    pub agents: Vec<Held>,
}

impl Held {
    fn add(&mut self, span: &signalbox_tsdb::tier::Span) {
        self.n_rows += 1;
        self.n_bytes += span.size.0;
        self.n_samples += span.facts.n_samples;
        let (min, max) = (span.facts.min_time.0, span.facts.max_time.0);
        self.oldest = Some(self.oldest.map_or(min, |oldest| oldest.min(min)));
        self.newest = Some(self.newest.map_or(max, |newest| newest.max(max)));
    }

    #[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
    fn divided(mut self) -> Held {
        self.bytes_per_sample = if self.n_samples == 0 { 0.0 } else { self.n_bytes as f64 / self.n_samples as f64 };
        self
    }
}

/// Reads the figures of a store.
///
/// # Errors
/// [`StoreError`].
pub fn stats(store: &dyn Store) -> Result<StorageStats, StoreError> {
    let figures = store.stats();
    let names = agents(store)?;
    let mut tiers = Vec::new();
    let mut by_agent: BTreeMap<AgentNo, Held> = BTreeMap::new();
    let mut outcome = Ok(());
    store.read(&mut |rows| {
        for tier in Tier::ALL {
            let mut held = Held { name: tier.name().to_owned(), ..Held::default() };
            let visited = spans::each(rows, tier, (&[], &[]), |key, span| {
                held.add(&span);
                // Every key of a row of samples begins with its agent's number.
                if let Some(no) = key.first_chunk::<4>() {
                    by_agent.entry(AgentNo(u32::from_be_bytes(*no))).or_default().add(&span);
                }
                ControlFlow::Continue(())
            });
            tiers.push(held.divided());
            if outcome.is_ok() {
                outcome = visited;
            }
        }
    })?;
    outcome?;
    let named = |(no, held): (AgentNo, Held)| {
        let name = names.get(&no).cloned().unwrap_or_else(|| format!("agent number {}", no.0));
        Held { name, ..held }.divided()
    };
    let mut agents: Vec<Held> = by_agent.into_iter().map(named).collect();
    agents.sort_by(|a, b| b.n_bytes.cmp(&a.n_bytes).then_with(|| a.name.cmp(&b.name)));
    agents.truncate(AGENTS_LISTED);
    let family = |family: Family| FamilyStats {
        family: family.name(),
        n_rows: figures.n_rows[family as usize],
        n_bytes: figures.bytes[family as usize],
    };
    Ok(StorageStats { n_bytes: figures.n_bytes, families: Family::ALL.map(family).to_vec(), tiers, agents })
}

/// For people.
pub fn table(stats: &StorageStats) -> String {
    let mut text = format!("bytes   {}\n\n{:<10}{:>14}{:>16}\n", stats.n_bytes, "family", "rows (about)", "bytes");
    for one in &stats.families {
        let _ = writeln!(text, "{:<10}{:>14}{:>16}", one.family, one.n_rows, one.n_bytes);
    }
    for (title, list) in [("tier", &stats.tiers), ("agent", &stats.agents)] {
        let _ = writeln!(
            text,
            "\n{title:<24}{:>10}{:>16}{:>16}{:>10}  oldest .. newest",
            "rows", "bytes", "samples", "B/sample"
        );
        for held in list {
            let span = |at: Option<i64>| at.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
            let range = match (span(held.oldest), span(held.newest)) {
                (Some(oldest), Some(newest)) => format!("{oldest:.0} .. {newest:.0}"),
                _ => "-".to_owned(),
            };
            let Held { name, n_rows, n_bytes, n_samples, bytes_per_sample, .. } = held;
            let _ =
                writeln!(text, "{name:<24}{n_rows:>10}{n_bytes:>16}{n_samples:>16}{bytes_per_sample:>10.3}  {range}");
        }
    }
    text
}
