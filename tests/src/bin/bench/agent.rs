//! What an agent costs a host: streaming, with its spool on, all machine checks at
//! one second.

use crate::cost::Cost;
use crate::report::Report;
use anyhow::{Context, Result, ensure};
use e2e::process::{Agent, Collector, wait_for};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Pages are touched and rings are filled by then.
const WARM_UP: Duration = Duration::from_secs(20);

pub(crate) fn run(secs: u64, peers: Option<&Path>, report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(&folder.path().join("collector"), &[])?;
    let config = format!("agent_id: bench\ncollector: {}\n", collector.endpoint());
    let agent = Agent::start(&folder.path().join("agent"), &config)?;
    let client = collector.client();
    let now = || client.status().map(|status| status.at.0);
    let n_values = wait_for("samples", Duration::from_secs(20), || {
        let at = now()?;
        let series = client.query("{host=\"bench\"}", at - 5_000, at)?.series.len();
        Ok((series > 100).then_some(series))
    })?;
    std::thread::sleep(WARM_UP);
    let work = folder.path().join("peers");
    let peer = peers.map(|peers| start_peers(peers, &work, secs)).transpose()?;
    let before = Cost::of(agent.process.pid())?;
    std::thread::sleep(Duration::from_secs(secs));
    let after = Cost::of(agent.process.pid())?;
    #[allow(clippy::cast_precision_loss)]
    {
        let per_hour = (after.cpu_ns - before.cpu_ns) as f64 / 1e9 * 3600.0 / secs as f64;
        let note = format!("{n_values} values at 1 s, streaming, spool on, {secs} s");
        report.add("agent CPU", per_hour, "CPU s/h", note);
        report.add("agent PSS", after.pss_kib as f64 / 1024.0, "MiB", "smaps_rollup");
        report.add("agent RSS", after.rss_kib as f64 / 1024.0, "MiB", "");
        let switches = (after.switches - before.switches) as f64 / secs as f64;
        report.add("agent context switches", switches, "1/s", "voluntary and forced");
    }
    if let Some(mut peer) = peer {
        ensure!(peer.wait()?.success(), "the peers' script failed; see {}", work.display());
        let lines = std::fs::read_to_string(work.join("agents.jsonl")).context("read the peers' figures")?;
        for line in lines.lines() {
            let figure: serde_json::Value = serde_json::from_str(line)?;
            let label = figure["label"].as_str().unwrap_or("peer").to_owned();
            let number = |key: &str| figure[key].as_f64().unwrap_or(f64::NAN);
            report.add(format!("{label} CPU"), number("cpu_s_per_hour"), "CPU s/h", "same minutes");
            report.add(format!("{label} PSS"), number("pss_kb") / 1024.0, "MiB", "");
            report.add(format!("{label} switches"), number("vol_cs_per_s"), "1/s", "voluntary");
        }
    } else {
        println!("no --peers DIR: measured alone, ratios to peers are not known");
    }
    Ok(())
}

fn start_peers(peers: &Path, work: &Path, secs: u64) -> Result<Child> {
    std::fs::create_dir_all(work)?;
    let script = peers.join("agents/run_agents.sh");
    let mut command = Command::new("bash");
    command.arg(&script).arg("g3").env("WORK", work).env("SECS", secs.to_string());
    command.stdout(Stdio::null()).spawn().with_context(|| format!("run {}", script.display()))
}
