//! The command line: `run`, `join`, `ping`, `check-config`, `cost`, `version`.
//!
//! Exit codes: 0 ok, 1 failure, 64 usage, 78 configuration (as in sysexits.h).

use crate::agent::{Agent, Parts};
use crate::check::own::OwnCounters;
use crate::check::script;
use crate::checks;
use crate::config::{self, Config, DEFAULT_FILE, Endpoint, Overrides};
use crate::cost;
use crate::join::{self, JoinArgs};
use crate::lock;
use crate::log;
use crate::ping::{self, PingArgs};
use crate::run::{self, Source};
use crate::sampler::{Slot, chain};
use crate::spool::Spool;
use crate::transport::GrpcTransport;
use anyhow::Context as _;
use clap::{Parser, Subcommand};
use signalbox_proto::clock::{Clock, SystemClock};
use signalbox_proto::names::AgentId;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

const USAGE: u8 = 64;
const CONFIG: u8 = 78;

/// Watches this host and streams what it sees to a collector.
#[derive(Debug, Parser)]
#[command(name = "signalbox-agent", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch and stream until SIGTERM (the default). SIGHUP reads the configuration again.
    Run(Flags),
    /// Become an agent of a collector elsewhere: get an identity, write the configuration.
    Join(JoinArgs),
    /// Test the way to the collector step by step, and name what is wrong with it.
    Ping(PingArgs),
    /// Say whether a configuration is good: exit 0, or 78 and why.
    CheckConfig {
        /// The file; conf.d/*.yaml beside it belongs to it.
        file: Option<PathBuf>,
    },
    /// Measure what every check costs on this host.
    Cost(Flags),
    /// Run one check script: started by the agent itself, not by people.
    #[command(hide = true)]
    RunScript,
    /// Print the version.
    Version,
}

#[derive(Debug, Default, clap::Args)]
struct Flags {
    /// Configuration file [default: /etc/signalbox/agent.yaml, which may be missing]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Collector, overrules the file: <https://HOST:8441> or unix:/PATH
    #[arg(long, value_name = "URL", value_parser = Endpoint::parse)]
    collector: Option<Endpoint>,
    /// Folder of the spool, overrules the file
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Identity of this agent, overrules the file
    #[arg(long, value_name = "ID", value_parser = AgentId::parse_own)]
    agent_id: Option<AgentId>,
}

impl Flags {
    fn source(self) -> Source {
        let Flags { config, collector, data_dir, agent_id } = self;
        Source { file: config, overrides: Overrides { agent_id, collector, data_dir, joining: false } }
    }
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let usage = error.use_stderr();
            // Nothing can be told when not even this can be written.
            let _ = error.print();
            return if usage { USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    match cli.command.unwrap_or(Command::Run(cli.flags)) {
        Command::Run(flags) => with_config(flags.source(), run_agent),
        Command::Cost(flags) => with_config(flags.source(), |_, config, parts| {
            cost::print(&config, parts.slots)?;
            Ok(())
        }),
        Command::Join(args) => join_and_start(args),
        Command::Ping(args) => {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
            match runtime().map(|runtime| runtime.block_on(ping::run(&args, &clock))) {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::FAILURE,
                Err(error) => failed(&error),
            }
        }
        Command::CheckConfig { file } => check_config(file),
        Command::RunScript => script::run_script(),
        Command::Version => {
            println!("signalbox-agent {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}

fn built(source: &Source, counters: &Arc<OwnCounters>) -> Result<(Config, Vec<Slot>), ExitCode> {
    let loaded = config::load(source.file.as_deref(), &source.overrides);
    let built = loaded.and_then(|config| checks::build(&config, counters).map(|slots| (config, slots)));
    built.map_err(|error| {
        eprintln!("signalbox-agent: {}", chain(&error));
        CONFIG.into()
    })
}

fn with_config(source: Source, act: impl FnOnce(Source, Config, Parts) -> anyhow::Result<()>) -> ExitCode {
    let counters = Arc::new(OwnCounters::default());
    let (config, slots) = match built(&source, &counters) {
        Ok(built) => built,
        Err(code) => return code,
    };
    match act(source, config, Parts { slots, counters }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn check_config(file: Option<PathBuf>) -> ExitCode {
    let shown = file.clone().unwrap_or_else(|| DEFAULT_FILE.into());
    let (config, slots) = match built(&Source { file, overrides: Overrides::default() }, &Arc::default()) {
        Ok(built) => built,
        Err(code) => return code,
    };
    // The agent would run all the same, with a check that cannot tell.
    let bad = config.scripts.iter().filter_map(|spec| script::examine(spec).err().map(|why| (&spec.name, why)));
    let bad: Vec<_> = bad.collect();
    for (name, why) in &bad {
        eprintln!("signalbox-agent: {}: script {name:?} is not run: {why}", shown.display());
    }
    if !bad.is_empty() {
        return CONFIG.into();
    }
    println!("{} is good: agent {}, {} checks", shown.display(), config.agent_id, slots.len());
    ExitCode::SUCCESS
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("signalbox-agent: {error:#}");
    ExitCode::FAILURE
}

fn join_and_start(args: JoinArgs) -> ExitCode {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    match runtime().and_then(|runtime| runtime.block_on(join::run(&args, &clock))) {
        Ok(()) if args.start => with_config(args.source(), run_agent),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// One thread, as all that the agent does.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_io().enable_time().build().context("start the asynchronous runtime")
}

fn run_agent(source: Source, config: Config, parts: Parts) -> anyhow::Result<()> {
    let log = log::init(config.log_level, config.log_format);
    let _data_dir = lock::lock(&config.data_dir)?;
    let clock = Arc::new(SystemClock::start());
    let spool = Spool::open(&config.data_dir.join("spool"), config.spool, clock.wall())?;
    let transport = GrpcTransport::new(&config.data_dir, clock.clone());
    let runtime = runtime()?;
    let mut agent = Agent::new(config, parts, spool, transport, clock);
    runtime.block_on(run::run(&mut agent, &source, &log)).context("wait for the timer and for signals")
}
