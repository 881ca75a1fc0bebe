//! `signalbox-collector`: flags in, exit code out.
//!
//! 0: ended well. 1: it failed. 64: wrong flags. 78: wrong configuration.

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use signalbox_collector::config::{Config, Overrides};
use signalbox_collector::store::rocks::RocksStore;
use signalbox_collector::store::{Family, Store};
use signalbox_collector::{reload, run};
use signalbox_proto::clock::{Clock, SystemClock};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: u8 = 64;
const CONFIG: u8 = 78;

/// Ingests, stores, judges, shows and tells.
#[derive(Debug, Parser)]
#[command(name = "signalbox-collector", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until SIGTERM; SIGHUP reads rules, channels and certificates again.
    Run(Files),
    /// Check configuration, rules and channels, and say what is wrong with them.
    CheckConfig {
        /// Configuration file; the same as --config.
        #[arg(value_name = "FILE", conflicts_with = "config")]
        file: Option<PathBuf>,
        #[command(flatten)]
        files: Files,
    },
    /// Look into the store of a collector that does not run.
    Storage {
        #[command(subcommand)]
        command: Storage,
    },
    /// Print the version.
    Version,
}

#[derive(Debug, Subcommand)]
enum Storage {
    /// Rows and bytes by family.
    Stats(Files),
}

#[derive(Debug, clap::Args)]
struct Files {
    /// Configuration file.
    #[arg(long, default_value = "/etc/signalbox/collector.yaml", env = "SIGNALBOX_COLLECTOR_CONFIG")]
    config: PathBuf,
    /// Data directory, instead of the file's.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Folder of rules, instead of the file's.
    #[arg(long)]
    rules: Option<PathBuf>,
    /// Address for operators, instead of the file's; in TLS if it is not loopback.
    #[arg(long)]
    http: Option<SocketAddr>,
    /// Address for agents, instead of the file's; always in TLS.
    #[arg(long)]
    grpc: Option<SocketAddr>,
}

impl Files {
    fn read(&self) -> Result<Config, ExitCode> {
        let overrides = Overrides {
            data_dir: self.data_dir.clone(),
            rules_dir: self.rules.clone(),
            listen_http: self.http,
            listen_grpc: self.grpc,
        };
        Config::read(&self.config, &overrides).map_err(|error| fail(&error, CONFIG))
    }
}

fn fail(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("signalbox-collector: {error}");
    ExitCode::from(code)
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            // Standard output may be closed; the code says it all the same.
            let _closed = error.print();
            if error.kind() == ErrorKind::UnknownArgument
                && std::env::args().nth(1).is_some_and(|word| word.starts_with('-'))
            {
                eprintln!("the command comes first; to start it: signalbox-collector run --config FILE");
            }
            return ExitCode::from(code);
        }
    };
    let outcome = match cli.command {
        Command::Run(files) => files.read().and_then(start),
        Command::CheckConfig { file, mut files } => {
            files.config = file.unwrap_or(files.config);
            files.read().and_then(|config| check(&config))
        }
        Command::Storage { command: Storage::Stats(files) } => files.read().and_then(|config| stats(&config)),
        Command::Version => {
            println!("signalbox-collector {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    outcome.err().unwrap_or(ExitCode::SUCCESS)
}

fn start(config: Config) -> Result<(), ExitCode> {
    run::start_log(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("collector").build();
    let runtime = runtime.map_err(|error| fail(&error, 1))?;
    let outcome = runtime.block_on(run::run(config));
    // Tasks that still wait for the network are nobody's loss: what counts is committed.
    runtime.shutdown_background();
    outcome.map_err(|error| fail(&error, if error.is_config() { CONFIG } else { 1 }))
}

fn check(config: &Config) -> Result<(), ExitCode> {
    let now = SystemClock::start().wall();
    config.doors.tls.check(now).map_err(|error| fail(&error, CONFIG))?;
    let (findings, outcome) = match reload::check(config) {
        Ok(checked) => {
            println!("{} rules are good (version {})", checked.rules.rules.len(), checked.rules.version);
            (checked.findings, Ok(()))
        }
        Err(findings) => (findings, Err(ExitCode::from(CONFIG))),
    };
    for finding in config.doors.unknown_accounts().into_iter().chain(findings) {
        let kind = if finding.error { "error" } else { "warning" };
        eprintln!("{}{kind}: {}", finding.place(), finding.message);
        if !finding.remedy.is_empty() {
            eprintln!("  remedy: {}", finding.remedy);
        }
    }
    outcome
}

fn stats(config: &Config) -> Result<(), ExitCode> {
    if !Path::new(&config.data_dir).join("store").is_dir() {
        return Err(fail(&format!("there is no store in {}", config.data_dir.display()), 1));
    }
    let store = RocksStore::open(&config.data_dir, config.memory).map_err(|error| fail(&error, 1))?;
    let stats = store.stats();
    println!("bytes   {}", stats.n_bytes);
    for (family, n_rows) in Family::ALL.into_iter().zip(stats.n_rows) {
        println!("{:<8}{n_rows} rows", family.name());
    }
    Ok(())
}
