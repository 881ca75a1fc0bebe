//! `signalbox-collector`: flags in, exit code out.
//!
//! 0: ended well. 1: it failed. 2: stored rows are damaged. 64: wrong flags. 78: wrong
//! configuration.

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use signalbox_collector::config::{Config, Overrides};
use signalbox_collector::storage::{self, backup};
use signalbox_collector::store::Family;
use signalbox_collector::{reload, run};
use signalbox_proto::clock::{Clock, SystemClock};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const DAMAGED: u8 = 2;
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
    /// Copy all that must survive to a new folder, and verify the copy. The collector
    /// must not run.
    Backup {
        /// The folder to make.
        dir: PathBuf,
        #[command(flatten)]
        files: Files,
    },
    /// Put a backup into a data directory that has no store, verified first.
    Restore {
        /// The backup.
        dir: PathBuf,
        #[command(flatten)]
        files: Files,
    },
    /// Print the version.
    Version,
}

#[derive(Debug, Subcommand)]
enum Storage {
    /// Rows, bytes and bytes a sample, by family, tier and agent.
    Stats {
        /// How to print it.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        files: Files,
    },
    /// Read and check every row; 2 when any is damaged.
    Verify {
        /// How to print it.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        files: Files,
    },
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
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
        Command::Storage { command: Storage::Stats { output, files } } => {
            files.read().and_then(|config| stats(&config, output))
        }
        Command::Storage { command: Storage::Verify { output, files } } => {
            files.read().and_then(|config| verify(&config, output))
        }
        Command::Backup { dir, files } => files.read().and_then(|config| {
            let report = backup::backup(&config.data_dir, config.memory, &dir);
            report.map(|report| tell_copied(&dir, &report)).map_err(|error| fail(&error, 1))
        }),
        Command::Restore { dir, files } => files.read().and_then(|config| {
            let report = backup::restore(&dir, &config.data_dir);
            report.map(|report| tell_copied(&config.data_dir, &report)).map_err(|error| fail(&error, 1))
        }),
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

fn stats(config: &Config, output: Output) -> Result<(), ExitCode> {
    let store = storage::open(&config.data_dir).map_err(|error| fail(&error, 1))?;
    let stats = storage::stats::stats(&store).map_err(|error| fail(&error, 1))?;
    match output {
        Output::Table => print!("{}", storage::stats::table(&stats)),
        Output::Json => println!("{}", json(&stats)?),
    }
    Ok(())
}

fn json(value: &impl serde::Serialize) -> Result<String, ExitCode> {
    serde_json::to_string_pretty(value).map_err(|error| fail(&error, 1))
}

fn verify(config: &Config, output: Output) -> Result<(), ExitCode> {
    let store = storage::open(&config.data_dir).map_err(|error| fail(&error, 1))?;
    let tell = |family: Family, n_rows: u64| eprintln!("{:<10}{n_rows} rows", family.name());
    let report = storage::verify::verify(&store, tell).map_err(|error| fail(&error, 1))?;
    if output == Output::Json {
        println!("{}", json(&report)?);
    } else {
        for fault in &report.faults {
            println!("{} {}: {}\n  remedy: {}", fault.family, fault.key, fault.why, fault.advice);
        }
        println!("{} samples read, {} damaged rows", report.n_samples, report.n_faults);
    }
    if report.n_faults == 0 { Ok(()) } else { Err(ExitCode::from(DAMAGED)) }
}

fn tell_copied(dir: &Path, report: &storage::verify::Report) {
    let n_rows: u64 = report.rows.iter().map(|(_, n)| n).sum();
    println!("{}: {n_rows} rows and {} samples, all verified", dir.display(), report.n_samples);
}
