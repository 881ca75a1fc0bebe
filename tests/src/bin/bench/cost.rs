//! What a process costs, read from `/proc` as the kernel accounts it.

use anyhow::{Context, Result};
use std::fs;

/// Totals of a process and its threads since its start.
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

/// Adds up the first number behind every line whose key ends in `key`.
fn sum(text: &str, key: &str) -> u64 {
    let numbers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| word.ends_with(key))?;
        words.next()?.parse::<u64>().ok()
    });
    numbers.sum()
}
