//! `signalbox-agent cost`: what every check costs on this host.

use crate::check::cost::measure;
use crate::config::Config;
use crate::sampler::Slot;
use rustix::time::{ClockId, clock_gettime};
use std::io::{self, Write as _};
use std::time::Duration;

/// Samples a check is measured over.
const ROUNDS: u32 = 50;

/// Prints a table: series, time of a sample in a hot loop, processor time an hour.
pub(crate) fn print(config: &Config, slots: Vec<Slot>) -> io::Result<()> {
    let (mut checks, intervals): (Vec<_>, Vec<_>) = slots.into_iter().map(|slot| (slot.check, slot.interval)).unzip();
    let costs = measure(&mut checks, ROUNDS, processor_time);
    let mut out = io::stdout().lock();
    writeln!(out, "agent {}, {ROUNDS} samples of each check in a loop; at one a second, with cold", config.agent_id)?;
    writeln!(out, "caches, the same costs several times as much\n")?;
    writeln!(out, "{:<24} {:>7} {:>10} {:>12} {:>14}", "check", "series", "interval", "us a sample", "CPU ms an hour")?;
    let (mut n_series, mut ms_per_hour) = (0, 0.0);
    for (cost, interval) in costs.iter().zip(&intervals) {
        let us = cost.per_sample.as_secs_f64() * 1e6;
        #[allow(clippy::cast_precision_loss, reason = "an interval is at most a day of milliseconds")]
        let own = us / 1e3 * (3_600_000.0 / interval.0 as f64);
        writeln!(out, "{:<24} {:>7} {:>10} {us:>12.1} {own:>14.1}", cost.name, cost.n_series, interval.to_string())?;
        if let Some(error) = &cost.error {
            writeln!(out, "    {error}")?;
        }
        n_series += cost.n_series;
        ms_per_hour += own;
    }
    writeln!(out, "{:<24} {n_series:>7} {:>10} {:>12} {ms_per_hour:>14.1}", "all", "", "")
}

/// Processor time of this process.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(secs, u32::try_from(time.tv_nsec).unwrap_or(0))
}
