//! Real processes on free loopback ports, in folders of their own.

use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::client::Client;
use signalbox_proto::api::{Made, NewJoinToken};

/// How long a start may take on a loaded machine.
const START_MAX: Duration = Duration::from_secs(30);
/// Pause between two looks at something that is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A child that is killed when dropped.
pub struct Process {
    child: Child,
    name: &'static str,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, its output appended to `log`.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Process> {
        let out = File::options().create(true).append(true).open(log).context("open the log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("start {name}: {command:?}"))?;
        Ok(Process { child, name, log: log.to_owned() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// When it cannot be reaped.
    pub fn kill_9(&mut self) -> Result<()> {
        self.child.kill().context("kill -9")?;
        self.child.wait().context("reap")?;
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it ended before.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw).context("pid")?;
        rustix::process::kill_process(pid, signal).with_context(|| format!("signal {}", self.name))
    }

    /// SIGTERM, then waits at most `limit`; gives the exit code.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn stop(&mut self, limit: Duration) -> Result<Option<i32>> {
        self.signal(rustix::process::Signal::TERM)?;
        let mut waited = Duration::ZERO;
        while waited < limit {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(LOOK_EVERY);
            waited += LOOK_EVERY;
        }
        bail!("{} did not stop within {limit:?}; its log:\n{}", self.name, self.log_tail());
    }

    /// True while it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The end of its log, for messages.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
///
/// # Errors
/// When loopback has no free port.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").context("bind a free port")?.local_addr()?.port())
}

/// The built program of this name: `$COLLECTOR_BIN` and kin, or where cargo puts it.
///
/// # Errors
/// When it is not built, with the command that builds it.
pub fn binary(variable: &str, profile: &str, name: &str) -> Result<PathBuf> {
    let path = std::env::var_os(variable).map_or_else(
        || {
            let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("../target"), PathBuf::from);
            target.join(profile).join(name)
        },
        PathBuf::from,
    );
    ensure!(path.exists(), "{} is not built: run tests/run.sh, or cargo build --profile {profile}", path.display());
    Ok(path)
}

/// A collector with a data folder, rules and notify configuration of its own.
pub struct Collector {
    /// The running process.
    pub process: Process,
    /// Where its files live.
    pub folder: PathBuf,
    /// Port of the page and the API.
    pub http: u16,
    /// Port of the agents.
    pub grpc: u16,
    namespace: Option<String>,
}

impl Collector {
    /// Starts one in `folder` with these rules files (name, text), waits until ready.
    ///
    /// # Errors
    /// When it does not become ready; the error holds the end of its log.
    pub fn start(folder: &Path, rules: &[(&str, &str)]) -> Result<Collector> {
        Collector::start_with(folder, rules, "")
    }

    /// As [`Collector::start`], with lines added to its configuration file.
    ///
    /// # Errors
    /// As [`Collector::start`].
    pub fn start_with(folder: &Path, rules: &[(&str, &str)], config: &str) -> Result<Collector> {
        fs::create_dir_all(folder.join("rules"))?;
        for (name, text) in rules {
            fs::write(folder.join("rules").join(name), text)?;
        }
        Collector::start_in(None, "127.0.0.1", folder, config)
    }

    /// Starts one on rules that lie in `folder` already, in a network namespace, with
    /// its agents' door on this address.
    ///
    /// # Errors
    /// As [`Collector::start`].
    pub fn start_in(namespace: Option<&str>, address: &str, folder: &Path, config: &str) -> Result<Collector> {
        let (http, grpc) = (free_port()?, free_port()?);
        let lines = format!(
            "listen_http: 127.0.0.1:{http}\nlisten_grpc: {address}:{grpc}\ndata_dir: {0}/data\nrules_dir: {0}/rules\n{config}\n",
            folder.display()
        );
        fs::write(folder.join("collector.yaml"), lines)?;
        let process = spawn_collector(folder, namespace)?;
        let namespace = namespace.map(str::to_owned);
        let mut collector = Collector { process, folder: folder.to_owned(), http, grpc, namespace };
        collector.wait_ready()?;
        Ok(collector)
    }

    /// Starts it again after its end, on the same folder and ports.
    ///
    /// # Errors
    /// As [`Collector::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.process = spawn_collector(&self.folder, self.namespace.as_deref())?;
        self.wait_ready()
    }

    /// A client of its API.
    pub fn client(&self) -> Client {
        Client::unix(&self.folder.join("data/operator.sock"))
    }

    /// A client of its API over TCP: nobody yet.
    pub fn stranger(&self) -> Client {
        Client::tcp(self.http)
    }

    /// Endpoint for agents of this host.
    pub fn endpoint(&self) -> String {
        format!("unix:{}/data/agent.sock", self.folder.display())
    }

    /// Endpoint for agents with an identity.
    pub fn tls_endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.grpc)
    }

    /// Its certificate authority, PEM.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn ca_pem(&self) -> Result<String> {
        fs::read_to_string(self.folder.join("data/ca/ca.pem")).context("read the collector's CA")
    }

    /// A join token for one agent, as an admin of this host makes it.
    ///
    /// # Errors
    /// When the collector does not make one.
    pub fn join_token(&self, wanted: &NewJoinToken) -> Result<Made> {
        let reply = self.client().post("/join-tokens", wanted)?;
        ensure!(matches!(reply.status, 200 | 201), "make a join token: {} {}", reply.status, reply.body);
        serde_json::from_str(&reply.body).context("a join token")
    }

    fn wait_ready(&mut self) -> Result<()> {
        let client = self.client();
        let mut waited = Duration::ZERO;
        while waited < START_MAX {
            if client.is_ready() {
                return Ok(());
            }
            if !self.process.is_running() {
                bail!("the collector ended at its start; its log:\n{}", self.process.log_tail());
            }
            std::thread::sleep(LOOK_EVERY);
            waited += LOOK_EVERY;
        }
        bail!("the collector is not ready after {START_MAX:?}; its log:\n{}", self.process.log_tail());
    }
}

/// The program, in a network namespace if one is named.
fn program(namespace: Option<&str>, path: &Path) -> Command {
    let Some(namespace) = namespace else { return Command::new(path) };
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(path);
    command
}

fn spawn_collector(folder: &Path, namespace: Option<&str>) -> Result<Process> {
    let mut command = program(namespace, &binary("COLLECTOR_BIN", "release", "signalbox-collector")?);
    command.arg("run").arg("--config").arg(folder.join("collector.yaml"));
    Process::start("collector", &mut command, &folder.join("collector.log"))
}

/// A real agent with a data folder of its own.
pub struct Agent {
    /// The running process.
    pub process: Process,
    /// Where its files live.
    pub folder: PathBuf,
}

impl Agent {
    /// Starts one; `config` is its whole configuration but `data_dir`.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(folder: &Path, config: &str) -> Result<Agent> {
        Agent::start_in(folder, config, &[])
    }

    /// As [`Agent::start`], with these variables in its environment until its end.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn start_in(folder: &Path, config: &str, environment: &[(&str, &Path)]) -> Result<Agent> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("agent.yaml"), format!("data_dir: {}/data\n{config}\n", folder.display()))?;
        Ok(Agent { process: spawn_agent(folder, environment)?, folder: folder.to_owned() })
    }

    /// Joins the collector on this loopback port with a token, and runs: the one
    /// command of a second host.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn join(folder: &Path, agent_id: &str, grpc: u16, token: &str) -> Result<Agent> {
        Agent::join_in(None, folder, agent_id, &format!("127.0.0.1:{grpc}"), token)
    }

    /// As [`Agent::join`], from a network namespace.
    ///
    /// # Errors
    /// As [`Agent::join`].
    pub fn join_in(
        namespace: Option<&str>,
        folder: &Path,
        agent_id: &str,
        address: &str,
        token: &str,
    ) -> Result<Agent> {
        fs::create_dir_all(folder)?;
        let mut command = program(namespace, &binary("AGENT_BIN", "agent", "signalbox-agent")?);
        command.args(["join", address, token, "--agent-id", agent_id, "--start"]);
        command.arg("--config").arg(folder.join("agent.yaml")).arg("--state").arg(folder.join("data"));
        let process = Process::start("agent", &mut command, &folder.join("agent.log"))?;
        Ok(Agent { process, folder: folder.to_owned() })
    }

    /// Starts it again after its end, on the same folder.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.process = spawn_agent(&self.folder, &[])?;
        Ok(())
    }
}

fn spawn_agent(folder: &Path, environment: &[(&str, &Path)]) -> Result<Process> {
    let mut command = Command::new(binary("AGENT_BIN", "agent", "signalbox-agent")?);
    command.arg("run").arg("--config").arg(folder.join("agent.yaml")).envs(environment.iter().copied());
    Process::start("agent", &mut command, &folder.join("agent.log"))
}

/// Looks every 20 ms until `look` gives something, at most `limit`.
///
/// # Errors
/// When the limit passes; the error names `what` and the last fault of `look`.
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let mut waited = Duration::ZERO;
    let mut fault = None;
    while waited < limit {
        match look() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => fault = None,
            Err(error) => fault = Some(error),
        }
        std::thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY;
    }
    match fault {
        Some(error) => Err(error.context(format!("waited {limit:?} for {what}"))),
        None => bail!("waited {limit:?} for {what}"),
    }
}
