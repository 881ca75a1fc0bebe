//! The same recorded data into Signalbox, VictoriaMetrics and Prometheus, in one run
//! on one machine: what ingest costs, what is kept and where, what a query takes,
//! what `kill -9` loses.
//!
//! One server runs at a time. Each is fed as its users feed it: ours by agents over
//! TLS, with rules on; the peers by remote write. What counts is the ratio of figures
//! of one round: the machine is shared, and tomorrow it is another.
//!
//! ```text
//! part  hosts  series          every  for        how
//! s1    100    all recorded    1 s    settable   flat out, then queries
//! s2    1000   120 core        15 s   settable   flat out, queries, kill -9 and restart
//! live  100    all recorded    1 s    settable   at its own pace; the number is settable too
//! kill  100    all recorded    1 s    seconds    flat out, kill -9, count
//! ```

mod common;
mod feed;
mod figures;
mod flat_out;
mod http;
mod kill;
mod live;
mod queries;
mod server;

use crate::cost::Machine;
use crate::data::{self, Recording};
use crate::report::Report;
use anyhow::{Result, ensure};
use feed::Generator;
use figures::Figures;
use server::{Kind, Programs};
use std::path::PathBuf;
use std::time::Duration;

/// The `job` label of all that is sent; servers have series of their own besides.
pub(crate) const JOB: &str = "node";
/// Others may use this share of the machine before it is said aloud.
const OTHERS_MAX: f64 = 0.15;

/// What is measured, and how long.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Folder with a recording (node_1s.txt.zst).
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    programs: Programs,
    /// Parts to measure, separated by commas.
    #[arg(long, value_delimiter = ',', default_values = ["s1", "s2", "live", "kill"])]
    parts: Vec<Part>,
    /// How often all of it is done; three for the record.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Seconds of data in s1; under 1200 most of ours is still in its log.
    #[arg(long, default_value_t = 1200)]
    s1_secs: u64,
    /// Seconds of data in s2.
    #[arg(long, default_value_t = 3600)]
    s2_secs: u64,
    /// Agents at live pace: with more of them, commits and boards are shared by more.
    #[arg(long, default_value_t = 100)]
    live_agents: u32,
    /// Seconds that live pace is measured.
    #[arg(long, default_value_t = 30)]
    live_secs: u64,
    /// Kills of each server in one round.
    #[arg(long, default_value_t = 1)]
    kills: usize,
    /// Measure ours alone, though the peers are there.
    #[arg(long)]
    alone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    S1,
    S2,
    Live,
    Kill,
}

/// A run of the bench.
struct Bench<'a> {
    options: &'a Options,
    recording: Recording,
    generator: Option<Generator>,
    machine: Machine,
    figures: Figures,
    report: &'a Report,
}

pub(crate) fn run(options: &Options, report: &Report) -> Result<()> {
    let Some(folder) = &options.data else {
        println!("no --data DIR: nothing was measured, the recording is what all servers are fed with");
        return Ok(());
    };
    let recording = data::recorded(folder)?;
    println!("{} series x {} ticks recorded", recording.series.len(), recording.n_ticks());
    let program = options.programs.peerbench.clone();
    let generator = program.map(|program| Generator { program, recording: folder.join(data::RECORDING) });
    let (machine, figures) = (Machine::default(), Figures::default());
    let mut bench = Bench { options, recording, generator, machine, figures, report };
    let mut n_failed = 0;
    let kinds = bench.kinds();
    for round in 0..options.rounds {
        for part in &options.parts {
            for at in 0..kinds.len() {
                // Each comes first as often as the others.
                let kind = kinds[(at + round) % kinds.len()];
                println!("round {} of {}, {part:?}, {}", round + 1, options.rounds, kind.name());
                // What was measured before is worth telling.
                if let Err(error) = bench.part(*part, kind, round) {
                    println!("    FAILED: {error:#}");
                    n_failed += 1;
                }
            }
        }
    }
    bench.figures.print(report)?;
    ensure!(n_failed == 0, "{n_failed} parts failed");
    Ok(())
}

impl Bench<'_> {
    fn part(&mut self, part: Part, kind: Kind, round: usize) -> Result<()> {
        self.warn_if_loud()?;
        match part {
            Part::S1 => self.s1(kind),
            Part::S2 => self.s2(kind),
            Part::Live => self.live(kind),
            Part::Kill => self.kill(kind, round),
        }
    }

    /// The servers that can be measured; what is missing is said aloud.
    fn kinds(&self) -> Vec<Kind> {
        let programs = &self.options.programs;
        let mut kinds = vec![Kind::Signalbox];
        if self.options.alone {
            return kinds;
        }
        for (kind, program) in
            [(Kind::VictoriaMetrics, &programs.victoria_metrics), (Kind::Prometheus, &programs.prometheus)]
        {
            match (program, &self.generator) {
                (Some(_), Some(_)) => kinds.push(kind),
                (None, _) => println!("{} is not there: no ratios to it", kind.name()),
                (_, None) => println!("no --peers DIR with a load generator: no ratios to {}", kind.name()),
            }
        }
        kinds
    }

    /// Looks for a second at what others do with the machine.
    fn warn_if_loud(&mut self) -> Result<()> {
        self.machine.busy()?;
        std::thread::sleep(Duration::from_secs(1));
        let busy = self.machine.busy()?;
        if busy > OTHERS_MAX {
            println!("    warning: {:.0} % of the machine is busy with other things", busy * 100.0);
        }
        Ok(())
    }
}
