//! F40 with a real agent: its wall clock jumps and drifts under libfaketime, its
//! monotonic clock does not.

use crate::common::{PATIENCE, now};
use anyhow::{Context, Result, ensure};
use e2e::client::Client;
use e2e::process::{Agent, Collector, wait_for};
use signalbox_proto::api;
use signalbox_proto::status::Level;
use signalbox_proto::units::{Millis, UnixMillis};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Red as soon as samples of a host are missing or wrong; nothing real makes it so.
const RULES: &str = r#"
rules:
  - id: impossible-load
    selector: node_load1
    red: "> 1000000"
    raise_for: 1s
    clear_for: 1s
    owner: ops
    sop: look
"#;
const INTERVAL: Millis = Millis(500);

/// The library of Debian's package, unpacked by tests/run.sh.
fn libfaketime() -> Option<PathBuf> {
    let path = std::env::var_os("SIGNALBOX_TEST_FAKETIME").map(PathBuf::from).filter(|path| path.exists());
    if path.is_none() {
        println!("SKIPPED: there is no libfaketime (SIGNALBOX_TEST_FAKETIME names its library)");
    }
    path
}

/// Instants of all that is stored of the agent, whatever its clock said.
fn instants(client: &Client) -> Result<Vec<i64>> {
    let hour = Millis::from_mins(60);
    let answer = client.query("node_load1{host=\"skewed\"}", (now() - hour).0, (now() + hour).0)?;
    ensure!(answer.warnings.is_empty(), "{:?}", answer.warnings);
    Ok(answer.series.into_iter().flat_map(|series| series.points).map(|(at, _)| at).collect())
}

fn agent(client: &Client) -> Result<Option<api::Agent>> {
    Ok(client.get::<Vec<api::Agent>>("/agents")?.into_iter().find(|agent| agent.id.as_str() == "skewed"))
}

fn set_clock(file: &Path, how: &str) -> Result<()> {
    // Renamed into place: a reader sees one or the other.
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{how}\n"))?;
    std::fs::rename(&new, file).context("set the clock")
}

#[test]
fn f40_a_real_agent_whose_clock_jumps_and_drifts_is_not_red_and_loses_nothing() -> Result<()> {
    let Some(library) = libfaketime() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(&folder.path().join("collector"), &[("rules.yaml", RULES)])?;
    let clock = folder.path().join("clock");
    set_clock(&clock, "+0s")?;
    let yes = Path::new("1");
    let environment = [
        ("LD_PRELOAD", library.as_path()),
        ("FAKETIME_TIMESTAMP_FILE", &clock),
        ("FAKETIME_NO_CACHE", yes),
        ("FAKETIME_DONT_FAKE_MONOTONIC", yes),
        ("DONT_FAKE_MONOTONIC", yes),
    ];
    let config = format!("agent_id: skewed\ncollector: {}\ninterval: {}ms\n", collector.endpoint(), INTERVAL.0);
    let mut real = Agent::start_in(&folder.path().join("agent"), &config, &environment)?;
    let client = collector.client();
    let begun: UnixMillis = wait_for("samples", PATIENCE, || Ok((instants(&client)?.len() >= 3).then(now)))?;
    let n_begun = instants(&client)?.len();
    for (how, ahead_ms) in [("+300s", 300_000), ("-300s", -300_000), ("+0s", 0)] {
        set_clock(&clock, how)?;
        // Offset: the collector's clock minus the agent's, believed at the second heartbeat.
        wait_for("the offset", PATIENCE, || {
            let offset_ms = agent(&client)?.context("the agent is known")?.clock_offset_ms;
            Ok((offset_ms + ahead_ms).abs().le(&2_000).then_some(()))
        })
        .with_context(|| format!("clock {how}; {}", real.process.log_tail()))?;
    }
    // Four seconds in a hundred, for as long as two heartbeats.
    set_clock(&clock, "+0s x1.04")?;
    std::thread::sleep(Duration::from_secs(20));
    ensure!(real.process.is_running(), "{}", real.process.log_tail());
    let n = instants(&client)?.len() - n_begun;
    let expected = usize::try_from(now().since(begun).0 / INTERVAL.0)?;
    // Each of four jumps moves one look to the next beat of the new clock.
    ensure!(n + 8 >= expected, "{n} samples, {expected} looks");
    let row = agent(&client)?.context("the agent is known")?;
    ensure!(row.n_dropped == 0, "{} samples dropped", row.n_dropped);
    let red: Vec<_> = client.incidents()?.into_iter().filter(|incident| incident.worst == Level::Red).collect();
    ensure!(red.is_empty(), "nothing turned red: {red:?}");
    Ok(())
}
