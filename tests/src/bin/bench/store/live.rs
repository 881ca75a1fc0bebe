//! Part live: agents at their own pace, one message a second each.

use super::Bench;
use super::common::Load;
use super::server::{Kind, Server};
use crate::data::Dataset;
use crate::fleet::Pace;
use anyhow::Result;
use signalbox_proto::clock::{Clock, SystemClock};
use signalbox_proto::units::Millis;
use std::sync::Arc;
use std::time::Duration;

/// Streams stand and series are known after so long.
const WARM_UP: Duration = Duration::from_secs(5);

impl Bench<'_> {
    /// The peers' generator sends all hosts at the full second; ours does both, and
    /// spread over the second is how agents come.
    pub(super) fn live(&mut self, kind: Kind) -> Result<()> {
        let spread = format!("Live pace, {} agents", self.options.live_agents);
        let together = format!("{spread}, all at the full second");
        if kind == Kind::Signalbox {
            self.at_pace(kind, Pace::Live, &[spread])?;
            return self.at_pace(kind, Pace::LiveTogether, &[together]);
        }
        self.at_pace(kind, Pace::LiveTogether, &[spread, together])
    }

    #[allow(clippy::cast_precision_loss)]
    fn at_pace(&mut self, kind: Kind, pace: Pace, titles: &[String]) -> Result<()> {
        let (secs, n_agents) = (self.options.live_secs, self.options.live_agents);
        let data = Arc::new(Dataset {
            recording: self.recording.first(self.recording.series.len())?,
            n_hosts: usize::try_from(n_agents)?,
            n_ticks: usize::try_from(secs + WARM_UP.as_secs() + 2)?,
            step: Millis::from_secs(1),
            start: SystemClock::start().wall(),
        });
        let folder = tempfile::tempdir()?;
        let server = Server::start(kind, &self.options.programs, folder.path(), &data.recording.series)?;
        let n_batch = (kind != Kind::Signalbox).then_some(1);
        let running = self.feed(&server, &Load { data: Arc::clone(&data), pace, n_batch })?.start()?;
        std::thread::sleep(WARM_UP);
        let (clock, before) = (SystemClock::start(), server.usage()?);
        std::thread::sleep(Duration::from_secs(secs));
        let (took_s, after) = (clock.elapsed().as_secs_f64(), server.usage()?);
        running.wait()?.whole()?;
        let cores = (after.cpu_s - before.cpu_s) / took_s;
        let written = after.written_bytes.saturating_sub(before.written_bytes) as f64 / took_s;
        let figures = [
            ("agents per core", f64::from(n_agents) / cores, "agents", "5000, 8 x VictoriaMetrics"),
            ("CPU", cores * 100.0, "% of a core", ""),
            ("memory, peak", after.peak_bytes as f64 / 1e6, "MB", ""),
            ("device writes", written / data.n_series() as f64, "B/sample", ""),
        ];
        for title in titles {
            for (what, value, unit, goal) in figures {
                self.add(title, what, unit, goal, (kind, value))?;
            }
        }
        Ok(())
    }
}
