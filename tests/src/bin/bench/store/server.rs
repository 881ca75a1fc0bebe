//! The servers that are held against one another: how each is started, brought to
//! rest, looked at and ended.

use super::http::Api;
use crate::cost::{Usage, folder_bytes};
use crate::ingest::rules_for;
use anyhow::{Context, Result, bail};
use e2e::client::Client;
use e2e::people::api_token;
use e2e::process::{Collector, Process, free_port, wait_for};
use signalbox_proto::names::Labels;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A start may take this long: Prometheus reads its whole log again.
const START_MAX: Duration = Duration::from_secs(180);
/// A server is at rest when it uses less than this in a second.
const REST_CPU_S: f64 = 0.05;
/// And is taken as it is after so many seconds.
const REST_MAX_S: u64 = 120;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Signalbox,
    VictoriaMetrics,
    Prometheus,
}

impl Kind {
    /// For tables and files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Signalbox => "signalbox",
            Kind::VictoriaMetrics => "victoria-metrics",
            Kind::Prometheus => "prometheus",
        }
    }

    fn ready_path(self) -> &'static str {
        match self {
            Kind::VictoriaMetrics => "/health",
            Kind::Signalbox | Kind::Prometheus => "/-/ready",
        }
    }
}

/// Programs of the peers; those that are not given are not measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Programs {
    /// VictoriaMetrics, single node.
    #[arg(long, env = "VICTORIA_METRICS_BIN")]
    pub(crate) victoria_metrics: Option<PathBuf>,
    /// Prometheus.
    #[arg(long, env = "PROMETHEUS_BIN")]
    pub(crate) prometheus: Option<PathBuf>,
    /// The load generator of the peers, which speaks remote write.
    #[arg(long, env = "PEERBENCH_BIN")]
    pub(crate) peerbench: Option<PathBuf>,
}

/// Bytes on disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disk {
    /// Data and index, and for ourselves the log that is left.
    pub(crate) all_in: u64,
    /// What lies in a log, to be compacted later.
    pub(crate) log: u64,
}

/// A server that runs, alone on its folder and its port.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) port: u16,
    folder: PathBuf,
    token: Option<String>,
    program: Program,
}

enum Program {
    Own(Box<Collector>),
    Peer(PathBuf, Process),
}

impl Server {
    /// Starts one on an empty folder; ours with rules on.
    pub(crate) fn start(kind: Kind, programs: &Programs, folder: &Path, series: &[Labels]) -> Result<Server> {
        let program = match kind {
            Kind::Signalbox => return Server::start_own(folder, series),
            Kind::VictoriaMetrics => programs.victoria_metrics.as_ref(),
            Kind::Prometheus => programs.prometheus.as_ref(),
        };
        let program = program.with_context(|| format!("the program of {} is not given", kind.name()))?.clone();
        fs::create_dir_all(folder)?;
        let port = free_port()?;
        let process = spawn(kind, &program, folder, port)?;
        let program = Program::Peer(program, process);
        let mut server = Server { kind, port, folder: folder.to_owned(), token: None, program };
        server.wait_ready()?;
        Ok(server)
    }

    fn start_own(folder: &Path, series: &[Labels]) -> Result<Server> {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rules");
        let mut rules = vec![("bench.yaml".to_owned(), rules_for(series))];
        for entry in fs::read_dir(&shipped).with_context(|| format!("read {}", shipped.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                rules.push((name, fs::read_to_string(&path)?));
            }
        }
        let rules: Vec<(&str, &str)> = rules.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let collector = Collector::start(folder, &rules)?;
        let wanted = serde_json::json!({ "name": "bench", "role": "admin", "ttl": "1d" });
        let token = Some(api_token(&collector, &wanted)?.secret);
        let (port, folder) = (collector.http, folder.to_owned());
        Ok(Server { kind: Kind::Signalbox, port, folder, token, program: Program::Own(Box::new(collector)) })
    }

    /// The collector, if that is what it is.
    pub(crate) fn collector(&self) -> Option<&Collector> {
        match &self.program {
            Program::Own(collector) => Some(collector),
            Program::Peer(..) => None,
        }
    }

    fn process(&mut self) -> &mut Process {
        match &mut self.program {
            Program::Own(collector) => &mut collector.process,
            Program::Peer(_, process) => process,
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        match &self.program {
            Program::Own(collector) => collector.process.pid(),
            Program::Peer(_, process) => process.pid(),
        }
    }

    /// What it has cost so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid())
    }

    /// A connection to its Prometheus API.
    pub(crate) fn api(&self) -> Result<Api> {
        Api::connect(self.port, self.token.as_deref())
    }

    /// The token that it asks for.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// SIGKILL.
    pub(crate) fn kill_9(&mut self) -> Result<()> {
        self.process().kill_9()
    }

    /// Starts it again on its folder, and waits until it is ready.
    pub(crate) fn restart(&mut self) -> Result<()> {
        match &mut self.program {
            Program::Own(collector) => return collector.restart(),
            Program::Peer(program, process) => *process = spawn(self.kind, program, &self.folder, self.port)?,
        }
        self.wait_ready()
    }

    fn wait_ready(&mut self) -> Result<()> {
        let (client, path) = (Client::tcp(self.port), self.kind.ready_path());
        wait_for(self.kind.name(), START_MAX, || {
            if !self.process().is_running() {
                bail!("it ended at its start; its log:\n{}", self.process().log_tail());
            }
            Ok(client.send("GET", path, &[], "").is_ok_and(|reply| reply.status == 200).then_some(()))
        })
    }

    /// Brings what it holds into the form in which it keeps it.
    pub(crate) fn settle(&self) -> Result<()> {
        let mut api = self.api()?;
        match self.kind {
            Kind::Signalbox => self.rest(),
            Kind::VictoriaMetrics => {
                api.send("GET", "/internal/force_flush")?;
                api.send("GET", "/internal/force_merge")?;
                self.rest()
            }
            // Its blocks are made two hours after the samples; a snapshot makes one now.
            Kind::Prometheus => {
                let answer = api.send("POST", "/api/v1/admin/tsdb/snapshot")?;
                anyhow::ensure!(answer.status == 200, "a snapshot: {}", answer.status);
                Ok(())
            }
        }
    }

    /// Waits until it does nothing by itself.
    fn rest(&self) -> Result<()> {
        let mut before = self.usage()?.cpu_s;
        for _ in 0..REST_MAX_S {
            std::thread::sleep(Duration::from_secs(1));
            let now = self.usage()?.cpu_s;
            if now - before < REST_CPU_S {
                return Ok(());
            }
            before = now;
        }
        println!("    {} was not at rest after {REST_MAX_S} s", self.kind.name());
        Ok(())
    }

    /// What it takes on disk, after [`Server::settle`].
    pub(crate) fn disk(&self) -> Disk {
        let folder = |path: &str| folder_bytes(&self.folder.join(path), |_| true);
        match self.kind {
            Kind::Signalbox => {
                let log = folder_bytes(&self.folder.join("data/store"), |name| name.ends_with(".log"));
                Disk { all_in: folder("data"), log }
            }
            Kind::VictoriaMetrics => Disk { all_in: folder("data/data") + folder("data/indexdb"), log: 0 },
            // Without its log, which stands in for what a snapshot has in blocks.
            Kind::Prometheus => {
                Disk { all_in: folder("data/snapshots"), log: folder("data/wal") + folder("data/chunks_head") }
            }
        }
    }
}

fn spawn(kind: Kind, program: &Path, folder: &Path, port: u16) -> Result<Process> {
    let (mut command, data) = (Command::new(program), folder.join("data"));
    if kind == Kind::VictoriaMetrics {
        command.arg(format!("-storageDataPath={}", data.display()));
        command.arg(format!("-httpListenAddr=127.0.0.1:{port}"));
        command.args(["-retentionPeriod=12", "-search.maxUniqueTimeseries=3000000", "-search.latencyOffset=0s"]);
        // It would close the generator's connections after two minutes.
        command.arg("-http.connTimeout=1h");
    } else {
        let config = folder.join("prometheus.yml");
        fs::write(&config, "global:\n  scrape_interval: 15s\n")?;
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", data.display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.args(["--web.enable-remote-write-receiver", "--web.enable-admin-api"]);
        command.args(["--query.max-samples=400000000", "--storage.tsdb.retention.time=365d"]);
    }
    Process::start(kind.name(), &mut command, &folder.join("server.log"))
}
