//! F08, F09: a full disk stops nothing for good and damages nothing.

use crate::common::{Line, PATIENCE, block_on, now, speaker, stored};
use anyhow::{Result, ensure};
use e2e::process::{Agent, Collector, wait_for};
use signalbox_proto::units::Millis;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const STEP: Millis = Millis(100);

/// A small file system of its own; unmounted when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(folder: &Path, mib: u32) -> Result<Option<Tmpfs>> {
        std::fs::create_dir_all(folder)?;
        let size = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Ok(Some(Tmpfs(folder.to_owned())));
        }
        println!("SKIPPED: mounting a tmpfs needs root");
        Ok(None)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn f08_a_full_disk_pauses_ingest_and_space_resumes_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(_disk) = Tmpfs::mount(&folder.path().join("disk"), 256)? else { return Ok(()) };
    let place = folder.path().join("disk");
    let mut collector = Collector::start_with(&place, &[], "min_free: 32MiB")?;
    let start = now();
    block_on(async {
        let mut line = Line::open(&collector.endpoint(), speaker("full", 1, 2, STEP.0)?, start, STEP).await?;
        line.send(5, &[1.0, 2.0]).await?;
        let free_kib = rustix::fs::statvfs(&place).map(|stat| stat.f_bavail * stat.f_bsize / 1024)?;
        let filler = place.join("filler");
        let size = format!("{}K", free_kib - 8 * 1024);
        ensure!(Command::new("fallocate").args(["-l", &size]).arg(&filler).status()?.success(), "filled");
        // Below the floor: nothing is acknowledged, everything else goes on.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let stuck = tokio::time::timeout(Duration::from_secs(3), line.send(1, &[1.0, 2.0])).await;
        ensure!(stuck.is_err() || stuck.is_ok_and(|sent| sent.is_err()), "ingest pauses below the floor");
        ensure!(collector.client().status().is_ok(), "the board is served");
        std::fs::remove_file(&filler)?;
        Ok(())
    })?;
    ensure!(collector.process.is_running(), "it did not die");
    let client = collector.client();
    block_on(async {
        let began = now();
        loop {
            let next = speaker("full", 2, 2, STEP.0)?;
            let opened = Line::open(&collector.endpoint(), next, start + STEP.times(50), STEP).await;
            if let Ok(mut line) = opened
                && tokio::time::timeout(Duration::from_secs(2), line.send(3, &[3.0, 4.0]))
                    .await
                    .is_ok_and(|sent| sent.is_ok())
            {
                break Ok(());
            }
            ensure!(now().since(began) < Millis::from_secs(20), "space does not resume ingest");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })?;
    let points = stored(&client, "full", 0, start, start + STEP.times(100))?;
    ensure!(points.len() >= 8, "{points:?}");
    Ok(())
}

#[test]
fn f09_a_full_spool_drops_the_oldest_and_says_how_much() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // The spool takes at most a tenth of its file system: a hundred KiB here.
    let Some(_disk) = Tmpfs::mount(&folder.path().join("disk"), 1)? else { return Ok(()) };
    let mut collector = Collector::start(&folder.path().join("collector"), &[])?;
    let config = format!("agent_id: small\ncollector: {}\ninterval: 100ms\n", collector.endpoint());
    let mut agent = Agent::start(&folder.path().join("disk"), &config)?;
    let client = collector.client();
    let dropped = |client: &e2e::client::Client| -> Result<u64> {
        let agents: Vec<signalbox_proto::api::Agent> = client.get("/agents")?;
        Ok(agents.iter().map(|agent| agent.n_dropped).sum())
    };
    wait_for("the agent", PATIENCE, || {
        Ok((!client.get::<Vec<signalbox_proto::api::Agent>>("/agents")?.is_empty()).then_some(()))
    })?;
    collector.process.stop(Duration::from_secs(15))?;
    // Each start begins a segment; whole segments are dropped, the oldest first.
    for _ in 0..6 {
        std::thread::sleep(Duration::from_secs(4));
        ensure!(agent.process.is_running(), "a full spool does not stop the agent: {}", agent.process.log_tail());
        agent.process.kill_9()?;
        agent.restart()?;
    }
    collector.restart()?;
    let n = wait_for("the report of what was dropped", PATIENCE, || Ok(Some(dropped(&client)?).filter(|n| *n > 0)))?;
    println!("{n} samples dropped and reported");
    let live = now();
    wait_for("live samples", PATIENCE, || {
        Ok((!client.query("node_load1{host=\"small\"}", live.0, now().0)?.series.is_empty()).then_some(()))
    })
}
