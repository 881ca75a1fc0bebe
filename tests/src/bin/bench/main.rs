//! Measures Signalbox with real processes on loopback: what an agent costs, what
//! ingest costs, how long from a fault to a webhook. One JSON line a figure on
//! `--json FILE`, a table on standard output.

mod agent;
mod alert;
mod cost;
mod data;
mod fleet;
mod ingest;
mod report;
mod store;
mod tls;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Measures Signalbox on this machine, beside its peers where --peers gives their scripts")]
struct Cli {
    /// Append one JSON line a figure here.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// CPU, memory and wake-ups of an agent with all machine checks at 1 s.
    Agent {
        /// Measured for so many seconds, after 20 s of warming up.
        #[arg(long, default_value_t = 120)]
        secs: u64,
        /// Folder of scripts that measure the peers (agents/run_agents.sh).
        #[arg(long)]
        peers: Option<PathBuf>,
    },
    /// Samples per CPU second of the collector, bytes on the wire, memory per series.
    Ingest {
        /// Agents.
        #[arg(long, default_value_t = 1000)]
        agents: usize,
        /// Series of each.
        #[arg(long, default_value_t = 500)]
        series: usize,
        /// Ticks of each.
        #[arg(long, default_value_t = 120)]
        ticks: usize,
        /// Folder with a recording (node_1s.txt.zst); without it the mix is synthetic.
        #[arg(long)]
        data: Option<PathBuf>,
    },
    /// Fault to red and fault to webhook: a polled metric, and a death seen by event.
    Alert {
        /// Faults of each kind.
        #[arg(long, default_value_t = 40)]
        faults: usize,
    },
    /// CPU of agent and collector over TLS beside a Unix socket.
    Tls {
        /// Agents are measured for so many seconds, after 20 s of warming up.
        #[arg(long, default_value_t = 120)]
        secs: u64,
        /// Agents of the load on the collector.
        #[arg(long, default_value_t = 200)]
        agents: usize,
        /// Series of each.
        #[arg(long, default_value_t = 500)]
        series: usize,
        /// Ticks of each.
        #[arg(long, default_value_t = 120)]
        ticks: usize,
    },
    /// Ingest, memory, disk, losses and queries beside VictoriaMetrics and Prometheus.
    Store(store::Options),
    /// A process that holds or frees memory as told on standard input.
    #[command(hide = true)]
    Ballast,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let mut report = report::Report::new(cli.json);
    match cli.what {
        What::Agent { secs, peers } => agent::run(secs, peers.as_deref(), &mut report)?,
        What::Ingest { agents, series, ticks, data } => {
            ingest::run(agents, series, ticks, data.as_deref(), &mut report)?;
        }
        What::Alert { faults } => alert::run(faults, &mut report)?,
        What::Tls { secs, agents, series, ticks } => {
            tls::run(secs, &tls::Load { agents, series, ticks }, &mut report)?;
        }
        What::Store(options) => store::run(&options, &report)?,
        What::Ballast => return alert::ballast(),
    }
    report.print()
}
