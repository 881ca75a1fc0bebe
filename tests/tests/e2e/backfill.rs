//! F20, F22 in small: the collector is away, the agent keeps everything, and the
//! board is right at once when it is back.

use crate::common::{PATIENCE, now};
use anyhow::{Context, Result, ensure};
use e2e::process::{Agent, Collector, wait_for};
use std::time::Duration;

/// Long enough that the agent begins a new epoch and sends the old one behind.
const AWAY: Duration = Duration::from_secs(12);

#[test]
fn f22_after_an_outage_live_comes_first_and_the_backlog_fills_the_gap() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut collector = Collector::start(&folder.path().join("collector"), &[])?;
    let config = format!("agent_id: away\ncollector: {}\n", collector.endpoint());
    let _agent = Agent::start(&folder.path().join("agent"), &config)?;
    let client = collector.client();
    let began = now();
    let points = || -> Result<Vec<(i64, Option<f64>)>> {
        let answer = client.query("node_load1{host=\"away\"}", began.0 - 5_000, now().0)?;
        Ok(answer.series.into_iter().next().map(|series| series.points).unwrap_or_default())
    };
    wait_for("first samples", PATIENCE, || Ok((points()?.len() >= 3).then_some(())))?;
    let code = collector.process.stop(Duration::from_secs(15))?;
    ensure!(code == Some(0), "SIGTERM ends the collector with 0, not {code:?}");
    std::thread::sleep(AWAY);
    collector.restart()?;
    let back = now();
    wait_for("a live sample", Duration::from_secs(15), || {
        Ok(points()?.last().filter(|(at, _)| *at >= back.0).map(|_| ()))
    })?;
    let filled = wait_for("the backlog", PATIENCE, || {
        let points = points()?;
        let widest = points.windows(2).map(|pair| pair[1].0 - pair[0].0).max().context("points")?;
        Ok((widest <= 1_500).then_some(points))
    })?;
    ensure!(filled.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, none twice");
    ensure!(client.incidents()?.is_empty(), "an outage of the collector is no incident of the host");
    Ok(())
}
