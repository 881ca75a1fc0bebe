//! Part kill: SIGKILL in the midst of a load. What was acknowledged must be there,
//! and after the agents sent again what they owed, all of it.

use super::Bench;
use super::common::{Load, dataset};
use super::server::{Kind, Server};
use crate::fleet::Pace;
use anyhow::{Result, ensure};
use signalbox_proto::clock::SystemClock;
use std::sync::Arc;
use std::time::Duration;

/// Loaded for so long before the kill; each later kill comes a bit later.
const AFTER: Duration = Duration::from_millis(6000);
const LATER: Duration = Duration::from_millis(1300);
/// More data than any server takes in that time, seconds.
const SECS: u64 = 3600;
/// Ticks that agents send after the restart, besides what they owe.
const TICKS_MORE: usize = 5;

impl Bench<'_> {
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn kill(&mut self, kind: Kind, round: usize) -> Result<()> {
        let title = "kill -9 while loading flat out, 100 hosts";
        for n in 0..self.options.kills {
            let data = dataset(self.recording.first(self.recording.series.len())?, 100, 1, SECS);
            let folder = tempfile::tempdir()?;
            let mut server = Server::start(kind, &self.options.programs, folder.path(), &data.recording.series)?;
            let n_batch = (kind != Kind::Signalbox).then_some(10);
            let load = Load { data: Arc::clone(&data), pace: Pace::FlatOut, n_batch };
            let running = self.feed(&server, &load)?.start()?;
            std::thread::sleep(AFTER + LATER * u32::try_from(round * self.options.kills + n)?);
            server.kill_9()?;
            let loaded = running.wait()?;
            ensure!(loaded.n_acked < data.n_samples() as u64, "the load was over before the kill");
            let clock = SystemClock::start();
            server.restart()?;
            let took_s = clock.elapsed().as_secs_f64();
            self.add(title, "restart", "s", "under 2 s", (kind, took_s))?;
            self.add(title, "restart, CPU", "s", "", (kind, server.usage()?.cpu_s))?;
            self.add(title, "acknowledged", "samples", "", (kind, loaded.n_acked as f64))?;
            if let Some(n_found) = self.n_found(&server, &data)? {
                let missing = loaded.n_acked.saturating_sub(n_found) as f64;
                self.add(title, "acknowledged and missing", "samples", "0", (kind, missing))?;
            }
            let Some(mut fleet) = loaded.fleet else { continue };
            // An agent ends this with an error if the collector has less than it acknowledged.
            fleet.go_on(TICKS_MORE)?;
            self.add(
                title,
                "sent again and more",
                "samples",
                "",
                (kind, (fleet.said().n_acked - loaded.n_acked) as f64),
            )?;
            if let Some(n_found) = self.n_found(&server, &data)? {
                let holes = fleet.said().n_sent as f64 - n_found as f64;
                self.add(title, "missing after sending again", "samples", "0", (kind, holes))?;
            }
        }
        Ok(())
    }
}
