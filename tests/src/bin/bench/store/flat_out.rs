//! Parts s1 and s2: loaded flat out, then asked; after s2, killed and started again.

use super::Bench;
use super::common::{Load, dataset};
use super::feed::Loaded;
use super::queries;
use super::server::{Disk, Kind, Server};
use crate::cost::Usage;
use crate::fleet::Pace;
use anyhow::Result;
use signalbox_proto::clock::SystemClock;
use std::path::Path;
use std::time::Duration;

/// What is left in memory is looked at so long after the load.
const REST: Duration = Duration::from_secs(5);

/// How a load is called in the table, and what is wanted of it.
#[derive(Clone)]
struct Wanted {
    title: String,
    ingest: &'static str,
    disk: &'static str,
    memory: &'static str,
}

/// A server before, during and after a load.
struct Course {
    empty: Usage,
    before: Usage,
    loaded: Usage,
    rested: Usage,
    settled: Usage,
    wall_s: f64,
    disk: Disk,
}

impl Bench<'_> {
    /// 100 hosts with all that was recorded, each second: by our own protocol, and by
    /// remote write on all servers.
    pub(super) fn s1(&mut self, kind: Kind) -> Result<()> {
        let recording = self.recording.first(self.recording.series.len())?;
        let data = dataset(recording, 100, 1, self.options.s1_secs);
        let own = Wanted {
            title: format!("S1: 100 hosts x {} series x {} s at 1 s", data.recording.series.len(), data.secs()),
            ingest: "3 x VictoriaMetrics, 9 x Prometheus",
            disk: "0.85 x VictoriaMetrics",
            memory: "at most 1000 B",
        };
        let same = Wanted { title: "S1 by remote write".to_owned(), ingest: "1 x VictoriaMetrics", ..own.clone() };
        let by_remote_write = Load { data, pace: Pace::FlatOut, n_batch: Some(10) };
        if kind != Kind::Signalbox {
            let folder = tempfile::tempdir()?;
            let server = self.ingest(kind, &by_remote_write, &[&own, &same], folder.path())?;
            return self.ask(&server, &by_remote_write, &own);
        }
        let by_agents = Load { n_batch: None, ..by_remote_write.clone() };
        let folder = tempfile::tempdir()?;
        let server = self.ingest(kind, &by_agents, &[&own], folder.path())?;
        self.ask(&server, &by_agents, &own)?;
        let takes_remote_write = server.api()?.is_there("POST", "/api/v1/write")?;
        drop(server);
        if self.generator.is_some() && takes_remote_write {
            let folder = tempfile::tempdir()?;
            self.ingest(kind, &by_remote_write, &[&same], folder.path())?;
        } else {
            println!("    {} is not fed by remote write: no generator, or no such address", kind.name());
        }
        Ok(())
    }

    /// 1000 hosts with the core of it, every 15 s; then a restart.
    pub(super) fn s2(&mut self, kind: Kind) -> Result<()> {
        let data = dataset(self.recording.core(120), 1000, 15, self.options.s2_secs);
        let wanted = Wanted {
            title: format!("S2: 1000 hosts x {} series x {} s at 15 s", data.recording.series.len(), data.secs()),
            ingest: "3 x VictoriaMetrics, 9 x Prometheus",
            disk: "0.73 x VictoriaMetrics",
            memory: "at most 700 B",
        };
        let folder = tempfile::tempdir()?;
        let n_batch = (kind != Kind::Signalbox).then_some(40);
        let load = Load { data, pace: Pace::FlatOut, n_batch };
        let mut server = self.ingest(kind, &load, &[&wanted], folder.path())?;
        self.ask(&server, &load, &wanted)?;
        server.kill_9()?;
        let clock = SystemClock::start();
        server.restart()?;
        let took_s = clock.elapsed().as_secs_f64();
        let cpu_s = server.usage()?.cpu_s;
        self.add(&wanted.title, "restart after kill -9", "s", "under 2 s", (kind, took_s))?;
        self.add(&wanted.title, "restart after kill -9, CPU", "s", "", (kind, cpu_s))
    }

    /// Starts a server, loads it, lets it rest and settle, and counts.
    fn ingest(&mut self, kind: Kind, load: &Load, wanted: &[&Wanted], folder: &Path) -> Result<Server> {
        let server = Server::start(kind, &self.options.programs, folder, &load.data.recording.series)?;
        let empty = server.usage()?;
        let feed = self.feed(&server, load)?;
        let before = server.usage()?;
        let clock = SystemClock::start();
        let load_end = feed.start()?.wait()?.whole()?;
        let (wall_s, loaded) = (clock.elapsed().as_secs_f64(), server.usage()?);
        std::thread::sleep(REST);
        let rested = server.usage()?;
        server.settle()?;
        let (settled, disk) = (server.usage()?, server.disk());
        let course = Course { empty, before, loaded, rested, settled, wall_s, disk };
        let n_found = self.n_found(&server, &load.data)?;
        for wanted in wanted {
            self.add_course(kind, load, wanted, &load_end, &course)?;
            #[allow(clippy::cast_precision_loss)]
            if let Some(n_found) = n_found {
                let missing = load_end.n_acked as f64 - n_found as f64;
                self.add(&wanted.title, "acknowledged and missing", "samples", "0", (kind, missing))?;
            }
        }
        Ok(server)
    }

    #[allow(clippy::cast_precision_loss)]
    fn add_course(
        &mut self,
        kind: Kind,
        load: &Load,
        wanted: &Wanted,
        load_end: &Loaded,
        course: &Course,
    ) -> Result<()> {
        let Course { empty, before, loaded, rested, settled, wall_s, disk } = course;
        let (n, n_series) = (load_end.n_acked as f64, load.data.n_series() as f64);
        let grown = |bytes: u64| bytes.saturating_sub(empty.rss_bytes) as f64 / n_series;
        let written = settled.written_bytes.saturating_sub(before.written_bytes) as f64;
        let figures = [
            ("ingest", n / (loaded.cpu_s - before.cpu_s), "samples/CPU s", ""),
            ("ingest and settling", n / (settled.cpu_s - before.cpu_s), "samples/CPU s", wanted.ingest),
            ("ingest, wall", n / wall_s, "samples/s", ""),
            ("wire", load_end.wire_bytes / n, "B/sample", "at most 1.5 B"),
            ("memory, peak", grown(loaded.peak_bytes), "B/series", ""),
            ("memory, 5 s later", grown(rested.rss_bytes), "B/series", wanted.memory),
            ("disk, all in", disk.all_in as f64 / n, "B/sample", wanted.disk),
            ("disk, log", disk.log as f64 / n, "B/sample", ""),
            ("device writes", written / n, "B/sample", "at most 1.5 B at 1 s"),
        ];
        let mut figures = figures.into_iter();
        figures.try_for_each(|(what, value, unit, goal)| self.add(&wanted.title, what, unit, goal, (kind, value)))
    }

    fn ask(&mut self, server: &Server, load: &Load, wanted: &Wanted) -> Result<()> {
        if !server.api()?.is_there("GET", "/api/v1/query?query=1")? {
            return Ok(());
        }
        let title = format!("Queries on {}", wanted.title);
        for question in queries::all(&load.data) {
            let timing = queries::ask(server, &question)?;
            println!("    {}: {} series, {} values", question.name, timing.n_series, timing.n_values);
            let (p50, p95, p99) = (timing.within(0.50), timing.within(0.95), timing.within(0.99));
            for (figure, value) in [("p50", p50), ("p95", p95), ("p99", p99), ("CPU", timing.cpu_ms)] {
                let what = format!("{}: {figure}", question.name);
                self.add(&title, &what, "ms", question.goal, (server.kind, value))?;
            }
        }
        Ok(())
    }
}
