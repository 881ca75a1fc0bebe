//! A thousand agents that speak the real protocol, as fast as the collector
//! acknowledges.

use crate::cost::{self, Cost};
use crate::data::{self, Dataset, Recording};
use crate::fleet::{Fleet, Pace, Way};
use crate::report::Report;
use anyhow::Result;
use e2e::process::Collector;
use signalbox_proto::clock::{Clock, SystemClock};
use signalbox_proto::names::Labels;
use signalbox_proto::units::Millis;
use std::path::Path;
use std::sync::Arc;

/// Series of each host that a rule watches.
const WATCHED: usize = 20;

/// Processor time of the collector for one run of this load, seconds.
pub(crate) fn cpu_secs(agents: usize, series: usize, ticks: usize, over_tls: bool) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let recording = data::synthetic(series, ticks)?;
    let collector = Collector::start(folder.path(), &[("bench.yaml", &rules_for(&recording.series))])?;
    let way = if over_tls { Way::tls(&collector, agents)? } else { Way::Socket(collector.endpoint()) };
    let (mut fleet, _) = fleet(recording, agents, ticks, way)?;
    let before = Cost::of(collector.process.pid())?;
    fleet.run()?;
    let after = Cost::of(collector.process.pid())?;
    #[allow(clippy::cast_precision_loss)]
    Ok((after.cpu_ns - before.cpu_ns) as f64 / 1e9)
}

/// As fast as they can, the last tick now.
fn fleet(recording: Recording, n_hosts: usize, n_ticks: usize, way: Way) -> Result<(Fleet, Arc<Dataset>)> {
    let start = SystemClock::start().wall().shifted(-i64::try_from(n_ticks)? * 1000);
    let data = Arc::new(Dataset { recording, n_hosts, n_ticks, step: Millis::from_secs(1), start });
    Ok((Fleet::new(Arc::clone(&data), way, Pace::FlatOut, &[])?, data))
}

pub(crate) fn run(agents: usize, series: usize, ticks: usize, data: Option<&Path>, report: &mut Report) -> Result<()> {
    let recording = match data {
        Some(folder) => data::recorded(folder)?.first(series)?,
        None => data::synthetic(series, ticks)?,
    };
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(folder.path(), &[("bench.yaml", &rules_for(&recording.series))])?;
    let (mut fleet, data) = fleet(recording, agents, ticks, Way::Socket(collector.endpoint()))?;
    let empty = Cost::of(collector.process.pid())?;
    let clock = SystemClock::start();
    fleet.run()?;
    let wall = clock.mono();
    let after = Cost::of(collector.process.pid())?;
    #[allow(clippy::cast_precision_loss)]
    {
        let samples = data.n_samples() as f64;
        let cpu_s = (after.cpu_ns - empty.cpu_ns) as f64 / 1e9;
        let note = format!("{agents} agents x {series} series x {ticks} ticks, {}", data.recording.source);
        report.add("ingest", samples / cpu_s, "samples/CPU s", note.clone());
        let wall_note = "every batch acknowledged (synced)";
        report.add("ingest, wall", samples * 1000.0 / wall.0 as f64, "samples/s", wall_note);
        let wire = fleet.said().wire_bytes as f64;
        report.add("wire", wire / samples, "B/sample", "protobuf messages, key batches and dictionaries included");
        let grown = after.rss_kib.saturating_sub(empty.rss_kib) as f64 * 1024.0;
        report.add("memory", grown / data.n_series() as f64, "B/series", "RSS over the empty collector");
        let disk = cost::folder_bytes(&folder.path().join("data"), |_| true) as f64;
        report.add("disk", disk / samples, "B/sample", "whole data folder, WAL and journal included");
    }
    Ok(())
}

/// One rule for each of twenty series of every host: a machine under real rules.
pub(crate) fn rules_for(series: &[Labels]) -> String {
    let mut rules = String::from("rules:\n");
    for (n, labels) in series.iter().step_by((series.len() / WATCHED).max(1)).enumerate() {
        let rule = format!(
            "  - id: watched-{n}\n    selector: {:?}\n    red: '> 1e18'\n    owner: ops\n    sop: none\n",
            labels.to_string()
        );
        rules.push_str(&rule);
    }
    rules
}
