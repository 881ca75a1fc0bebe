//! F13: one byte of a stopped program's data folder is another. It starts and says
//! what was lost, or says why it does not start; it never gives a wrong value, and
//! never calls a folder empty that is not.

use crate::common::{Line, PATIENCE, block_on, now, speaker};
use anyhow::{Context, Result, ensure};
use e2e::process::{Agent, Collector, wait_for};
use signalbox_proto::api;
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const STEP: Millis = Millis(100);
const BATCHES: usize = 300;

/// The largest file below `folder` whose name ends so.
fn largest(folder: &Path, ending: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push((fs::metadata(&path)?.len(), path));
            }
        }
    }
    let (_, path) = found.into_iter().max().with_context(|| format!("no {ending} below {}", folder.display()))?;
    Ok(path)
}

fn flip(path: &Path, percent: usize) -> Result<()> {
    let mut bytes = fs::read(path)?;
    let at = bytes.len() * percent / 100;
    *bytes.get_mut(at).context("the file is empty")? ^= 0x10;
    println!("flipped byte {at} of {} ({} bytes)", path.display(), bytes.len());
    fs::write(path, bytes).context("write the damage")
}

/// A collector that was killed with samples of one speaker, and what they are.
fn written(folder: &Path) -> Result<(Collector, UnixMillis, BTreeMap<i64, f64>)> {
    let mut collector = Collector::start(folder, &[])?;
    let (start, mut sent) = (now() - Millis::from_mins(2), BTreeMap::new());
    block_on(async {
        let mut line = Line::open(&collector.endpoint(), speaker("hurt", 1, 1, STEP.0)?, start, STEP).await?;
        for n in 0..BATCHES {
            // A wrong bit would show: no value is like its neighbours.
            let value = f64::from(u32::try_from(n * 7919 % 10_007)?) / 8.0;
            sent.insert(line.at.0, value);
            line.send(1, &[value]).await?;
        }
        Ok(())
    })?;
    collector.process.kill_9()?;
    Ok((collector, start, sent))
}

/// Starts it again: an end with the reason, or right values and every loss told.
fn judge(mut collector: Collector, start: UnixMillis, sent: &BTreeMap<i64, f64>) -> Result<()> {
    if let Err(error) = collector.restart() {
        let said = format!("{error:#}").to_lowercase();
        println!("it does not start: {said}");
        ensure!(said.contains("corrupt") || said.contains("checksum") || said.contains("damage"), "why? {said}");
        return Ok(());
    }
    let client = collector.client();
    let answer = match client.query("e2e_value{host=\"hurt\"}", start.0, now().0) {
        Ok(answer) => answer,
        Err(error) => {
            println!("it refuses to answer: {error:#}");
            ensure!(collector.process.is_running(), "it lives");
            return Ok(());
        }
    };
    let points: Vec<_> = answer.series.into_iter().flat_map(|series| series.points).collect();
    for (at, value) in &points {
        ensure!(sent.get(at).copied() == *value, "{value:?} at {at} was never sent");
    }
    let problems = client.status()?.problems;
    println!("{} of {} samples; problems {problems:?}; warnings {:?}", points.len(), sent.len(), answer.warnings);
    let is_told = !problems.is_empty() || !answer.warnings.is_empty();
    ensure!(points.len() == sent.len() || is_told, "samples are missing and nobody says so");
    Ok(())
}

#[test]
fn f13_a_flipped_byte_in_the_collectors_log_is_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (collector, start, sent) = written(folder.path())?;
    flip(&largest(&folder.path().join("data"), ".log")?, 50)?;
    judge(collector, start, &sent)
}

#[test]
fn f13_a_flipped_byte_in_a_table_of_the_collector_is_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut collector, start, sent) = written(folder.path())?;
    // The start after a kill writes what was in the log into tables.
    collector.restart()?;
    collector.process.stop(Duration::from_secs(15))?;
    flip(&largest(&folder.path().join("data"), ".sst")?, 50)?;
    judge(collector, start, &sent)
}

#[test]
fn f13_a_flipped_byte_in_the_agents_spool_is_counted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut collector = Collector::start(&folder.path().join("collector"), &[])?;
    let config = format!("agent_id: hurt\ncollector: {}\ninterval: 100ms\n", collector.endpoint());
    collector.process.stop(Duration::from_secs(15))?;
    let mut agent = Agent::start(&folder.path().join("agent"), &config)?;
    std::thread::sleep(Duration::from_secs(6));
    agent.process.kill_9()?;
    let spool = folder.path().join("agent/data/spool");
    flip(&largest(&spool, ".seg")?, 75)?;
    agent.restart()?;
    collector.restart()?;
    let client = collector.client();
    let dropped = wait_for("the report of what was lost", PATIENCE, || {
        let agents: Vec<api::Agent> = client.get("/agents")?;
        let own = agents.iter().find(|agent| agent.id.as_str() == "hurt");
        Ok(own.map(|agent| agent.n_dropped).filter(|n| *n > 0))
    })
    .with_context(|| agent.process.log_tail())?;
    println!("{dropped} samples lost and reported");
    ensure!(agent.process.is_running(), "{}", agent.process.log_tail());
    // What lay before the damage is there.
    wait_for("the backlog before the damage", PATIENCE, || {
        let answer = client.query("node_load1{host=\"hurt\"}", (now() - Millis::from_mins(5)).0, now().0)?;
        Ok((answer.series.iter().map(|series| series.points.len()).sum::<usize>() > 20).then_some(()))
    })
}
