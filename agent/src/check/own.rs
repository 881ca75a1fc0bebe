//! The agent about itself: what it uses, what it sent, dropped and could not do.

use super::columns::{Columns, Fingerprint};
use super::file::KeptFile;
use super::text::{Fields, round4};
use super::{Check, CheckError, Instant, Layout};
use rustix::time::{ClockId, clock_gettime};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the parts of the agent count; each adds to its own with relaxed atomics.
#[derive(Debug, Default)]
pub struct OwnCounters {
    /// Samples taken.
    pub samples_total: AtomicU64,
    /// Batches cut.
    pub batches_total: AtomicU64,
    /// Samples that were taken and will never arrive.
    pub dropped_samples_total: AtomicU64,
    /// Bytes in the spool now.
    pub spool_bytes: AtomicU64,
    /// Batches that the collector has not acknowledged now.
    pub backlog_batches: AtomicU64,
    /// Streams opened after the first.
    pub reconnects_total: AtomicU64,
    /// Acknowledgements received.
    pub acks_total: AtomicU64,
    /// Samples that a check could not take.
    pub check_errors_total: AtomicU64,
    /// Ticks that were skipped because the one before took too long.
    pub check_overruns_total: AtomicU64,
}

const NAMES: [&str; 11] = [
    "signalbox_agent_cpu_seconds_total",
    "signalbox_agent_resident_bytes",
    "signalbox_agent_samples_total",
    "signalbox_agent_batches_total",
    "signalbox_agent_dropped_samples_total",
    "signalbox_agent_spool_bytes",
    "signalbox_agent_backlog_batches",
    "signalbox_agent_reconnects_total",
    "signalbox_agent_acks_total",
    "signalbox_agent_check_errors_total",
    "signalbox_agent_check_overruns_total",
];

/// Watches the agent itself.
pub struct Own {
    counters: Arc<OwnCounters>,
    statm: KeptFile,
    page_bytes: f64,
    columns: Columns,
}

impl Own {
    /// Tells `counters` and what the kernel says of this process.
    pub fn new(counters: Arc<OwnCounters>) -> Own {
        Own {
            counters,
            statm: KeptFile::new(Path::new("/proc/self/statm").to_owned()),
            page_bytes: rustix::param::page_size() as f64,
            columns: Columns::default(),
        }
    }
}

impl Check for Own {
    fn name(&self) -> &str {
        "agent"
    }

    fn sample(&mut self, _at: Instant, values: &mut Vec<f64>) -> Result<(), CheckError> {
        values.clear();
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        // Ten-thousandths of a second: finer digits are noise that does not pack.
        values.push(round4(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9));
        let Some(pages) = self.statm.read(resident_pages)? else {
            return Err(self.statm.malformed("expected sizes in pages"));
        };
        values.push(pages as f64 * self.page_bytes);
        let own = &self.counters;
        let counters = [
            &own.samples_total,
            &own.batches_total,
            &own.dropped_samples_total,
            &own.spool_bytes,
            &own.backlog_batches,
            &own.reconnects_total,
            &own.acks_total,
            &own.check_errors_total,
            &own.check_overruns_total,
        ];
        values.extend(counters.map(|counter| counter.load(Ordering::Relaxed) as f64));
        self.columns.keep(Fingerprint::new(), |add| add.add_all(&NAMES, &[]));
        self.columns.finish("/proc/self/statm", values)
    }

    fn layout(&self) -> &Layout {
        self.columns.layout()
    }
}

/// `size resident shared text lib data dirty`, in pages.
fn resident_pages(text: &[u8]) -> Option<u64> {
    let mut fields = Fields::new(text);
    fields.skip(1)?;
    fields.number()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{at, sample};

    #[test]
    fn counters_are_told_under_their_own_names() {
        let counters = Arc::new(OwnCounters::default());
        counters.acks_total.store(7, Ordering::Relaxed);
        counters.spool_bytes.store(4096, Ordering::Relaxed);
        let mut own = Own::new(counters);
        let series = sample(&mut own, at(0)).unwrap();
        assert_eq!(series["signalbox_agent_acks_total"], 7.0);
        assert_eq!(series["signalbox_agent_spool_bytes"], 4096.0);
        assert!(series["signalbox_agent_resident_bytes"] > 0.0);
        assert_eq!(series.len(), NAMES.len());
    }

    #[test]
    fn residence_is_the_second_field() {
        assert_eq!(resident_pages(b"3000 725 600 100 0 400 0\n"), Some(725));
        assert_eq!(resident_pages(b"3000"), None);
    }
}
