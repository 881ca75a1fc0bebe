//! What a process costs, read from `/proc` as the kernel accounts it.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Unit of times in `/proc/PID/stat`, on all architectures that we build for.
const TICKS_PER_S: f64 = 100.0;

/// Totals of a process and its threads since its start, as fine as the scheduler
/// counts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// CPU time of the threads alive now, nanoseconds (scheduler's account).
    pub(crate) cpu_ns: u64,
    /// Voluntary and forced context switches.
    pub(crate) switches: u64,
    /// Proportional set size, KiB.
    pub(crate) pss_kib: u64,
    /// Resident set size, KiB.
    pub(crate) rss_kib: u64,
}

impl Cost {
    /// Reads it now.
    pub(crate) fn of(pid: u32) -> Result<Cost> {
        let mut cost = Cost::default();
        for task in fs::read_dir(format!("/proc/{pid}/task")).context("list threads")?.flatten() {
            let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
            cost.cpu_ns += read("schedstat").split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
            cost.switches += sum(&read("status"), "ctxt_switches:");
        }
        let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("read smaps_rollup")?;
        cost.pss_kib = sum(&memory, "Pss:");
        cost.rss_kib = sum(&memory, "Rss:");
        Ok(cost)
    }
}

/// Totals of a process since its start, threads that ended included: for servers
/// that start and end threads as they go.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    /// CPU time, seconds; the kernel tells hundredths.
    pub(crate) cpu_s: f64,
    /// Resident now, bytes.
    pub(crate) rss_bytes: u64,
    /// Resident at most so far, bytes.
    pub(crate) peak_bytes: u64,
    /// Handed to block devices, bytes.
    pub(crate) written_bytes: u64,
}

impl Usage {
    /// Reads it now.
    pub(crate) fn of(pid: u32) -> Result<Usage> {
        let read =
            |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(|| format!("read {file}"));
        let (stat, status, io) = (read("stat")?, read("status")?, read("io")?);
        // The name before the last parenthesis may hold anything.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok()).map_or(0.0, f64::from);
        Ok(Usage {
            cpu_s: (ticks(11) + ticks(12)) / TICKS_PER_S,
            rss_bytes: sum(&status, "VmRSS:") * 1024,
            peak_bytes: sum(&status, "VmHWM:") * 1024,
            // Both keys end alike, so the first sum holds what was cancelled as well.
            written_bytes: sum(&io, "write_bytes:").saturating_sub(2 * sum(&io, "cancelled_write_bytes:")),
        })
    }
}

/// Share of the machine's processors that was busy since it was last asked.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    busy: u64,
    all: u64,
}

impl Machine {
    /// From 0 to 1; from the machine's start when asked the first time.
    pub(crate) fn busy(&mut self) -> Result<f64> {
        let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
        let line = stat.lines().next().unwrap_or_default();
        let times: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
        let all: u64 = times.iter().sum();
        // The fourth and fifth are idle and waiting for disks.
        let busy = all - times.iter().skip(3).take(2).sum::<u64>();
        let last = std::mem::replace(self, Machine { busy, all });
        #[allow(clippy::cast_precision_loss)]
        Ok((busy - last.busy) as f64 / (all - last.all).max(1) as f64)
    }
}

/// Bytes of a folder's files whose names are counted in.
pub(crate) fn folder_bytes(folder: &Path, is_counted: impl Fn(&str) -> bool + Copy) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => folder_bytes(&entry.path(), is_counted),
            Ok(meta) if entry.file_name().to_str().is_some_and(is_counted) => meta.len(),
            _ => 0,
        })
        .sum()
}

/// Adds up the first number behind every line whose key ends in `key`.
fn sum(text: &str, key: &str) -> u64 {
    let numbers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| word.ends_with(key))?;
        words.next()?.parse::<u64>().ok()
    });
    numbers.sum()
}
