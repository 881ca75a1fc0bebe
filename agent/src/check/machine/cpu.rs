//! Processors: time by mode, and the counters that `/proc/stat` holds besides.
//!
//! One reading feeds them all. The shares are of the time since the sample before,
//! over all processors; they appear with the second sample. Guest time is part of
//! user time in the kernel's accounting, so it is not added again.

use super::stat::{MODES, Stat, Ticks};
use crate::check::columns::{Adder, Columns};
use crate::check::file::KeptFile;
use crate::check::text::round4;
use crate::check::{Check, CheckError, Instant, Layout};
use std::path::Path;

/// Ticks of the kernel's interface a second: 100 on every architecture that Linux
/// has kept (`USER_HZ`), whatever the kernel's own timer does.
const TICKS_PER_SEC: f64 = 100.0;
/// A counter that falls by more than 3 s was reset (its processor came back); one
/// that falls by less was miscounted by the kernel and stands still instead.
/// Same rule and number as node_exporter's.
const RESET_TICKS: u64 = 300;
const MODE_NAMES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const VECTOR_NAMES: [&str; 10] =
    ["hi", "timer", "net_tx", "net_rx", "block", "block_iopoll", "tasklet", "sched", "hrtimer", "rcu"];
const RATIO_NAMES: [&str; 3] = ["signalbox_cpu_busy_ratio", "signalbox_cpu_iowait_ratio", "signalbox_cpu_steal_ratio"];
const IDLE: usize = 3;
const IOWAIT: usize = 4;
const STEAL: usize = 7;

/// Watches processors.
pub(crate) struct Cpu {
    file: KeptFile,
    stat: Stat,
    /// Highest ticks told so far, in the order of `stat.cpus`.
    told: Vec<Ticks>,
    before: Option<Ticks>,
    ratios: Option<[f64; 3]>,
    columns: Columns,
}

impl Cpu {
    /// `root` is `/`, or a tree like it.
    pub(crate) fn new(root: &Path) -> Cpu {
        Cpu {
            file: KeptFile::new(root.join("proc/stat")),
            stat: Stat::default(),
            told: Vec::new(),
            before: None,
            ratios: None,
            columns: Columns::default(),
        }
    }

    fn lay_out(&mut self) {
        let mut print = self.stat.fingerprint();
        print.number(u64::from(self.ratios.is_some()));
        if !self.columns.fit(print) {
            self.told.clear();
            self.told.resize(self.stat.cpus.len(), [0; MODES]);
        }
        let (stat, with_ratios) = (&self.stat, self.ratios.is_some());
        self.columns.keep(print, |add| {
            stat.cpus.iter().for_each(|(id, _)| add_cpu(add, &id.to_string()));
            stat.counters().iter().filter(|(_, value)| value.is_some()).for_each(|(name, _)| add.add(name, &[]));
            if stat.softirqs.is_some() {
                VECTOR_NAMES.iter().for_each(|vector| add.add("node_softirqs_total", &[("vector", vector)]));
            }
            if with_ratios {
                add.add_all(&RATIO_NAMES, &[]);
            }
        });
    }
}

fn add_cpu(add: &mut Adder<'_>, cpu: &str) {
    for mode in MODE_NAMES {
        add.add("node_cpu_seconds_total", &[("cpu", cpu), ("mode", mode)]);
    }
    for mode in ["user", "nice"] {
        add.add("node_cpu_guest_seconds_total", &[("cpu", cpu), ("mode", mode)]);
    }
}

impl Check for Cpu {
    fn name(&self) -> &str {
        "cpu"
    }

    fn sample(&mut self, _at: Instant, values: &mut Vec<f64>) -> Result<(), CheckError> {
        values.clear();
        let stat = &mut self.stat;
        self.file.read(|text| stat.parse(text))?;
        let Some(total) = self.stat.total else {
            return Err(self.file.malformed("no line that begins with cpu"));
        };
        if let Some(shares) = self.before.and_then(|before| shares(&before, &total)) {
            self.ratios = Some(shares);
        }
        self.before = Some(total);
        self.lay_out();
        for ((_, ticks), told) in self.stat.cpus.iter().zip(&mut self.told) {
            for (told, now) in told.iter_mut().zip(ticks) {
                *told = forward(*told, *now);
                values.push(*told as f64 / TICKS_PER_SEC);
            }
        }
        values.extend(self.stat.counters().iter().filter_map(|(_, value)| value.map(|n| n as f64)));
        values.extend(self.stat.softirqs.iter().flatten().map(|n| *n as f64));
        values.extend(self.ratios.iter().flatten());
        self.columns.finish("/proc/stat", values)
    }

    fn layout(&self) -> &Layout {
        self.columns.layout()
    }
}

/// What to tell when `told` was told and the kernel now says `now`.
fn forward(told: u64, now: u64) -> u64 {
    if now < told && told - now <= RESET_TICKS { told } else { now }
}

/// Busy, waiting for devices, stolen, as shares of the time between two readings;
/// none when no tick has passed.
fn shares(before: &Ticks, now: &Ticks) -> Option<[f64; 3]> {
    let passed = |mode: usize| now[mode].saturating_sub(before[mode]);
    // The first eight modes; guest time lies within user and nice.
    let all: u64 = (0..MODE_NAMES.len()).map(passed).sum();
    if all == 0 {
        return None;
    }
    let share = |ticks: u64| round4(ticks as f64 / all as f64);
    Some([share(all - passed(IDLE) - passed(IOWAIT)), share(passed(IOWAIT)), share(passed(STEAL))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Tree, at};

    const FIRST: &str = "cpu  100 0 50 800 40 0 5 5 0 0\ncpu0 100 0 50 800 40 0 5 5 0 0\nctxt 7\nbtime 1000\n";

    #[test]
    fn series_have_node_exporters_names_and_units() {
        let tree = Tree::new(&[("proc/stat", FIRST)]);
        let mut cpu = Cpu::new(tree.root());
        let series = tree.sample(&mut cpu, at(0)).unwrap();
        assert_eq!(series[r#"node_cpu_seconds_total{cpu="0",mode="idle"}"#], 8.0);
        assert_eq!(series[r#"node_cpu_guest_seconds_total{cpu="0",mode="nice"}"#], 0.0);
        assert_eq!(series["node_boot_time_seconds"], 1000.0);
        assert_eq!(series.len(), 12, "shares need two samples, lines that are absent give no series: {series:?}");
    }

    #[test]
    fn shares_are_of_the_time_since_the_sample_before() {
        let tree = Tree::new(&[("proc/stat", FIRST)]);
        let mut cpu = Cpu::new(tree.root());
        tree.sample(&mut cpu, at(0)).unwrap();
        tree.write(
            "proc/stat",
            "cpu  120 0 60 850 50 0 5 15 20 0\ncpu0 120 0 60 850 50 0 5 15 20 0\nctxt 7\nbtime 1000\n",
        );
        let series = tree.sample(&mut cpu, at(1000)).unwrap();
        assert_eq!(series["signalbox_cpu_busy_ratio"], 0.4);
        assert_eq!(series["signalbox_cpu_iowait_ratio"], 0.1);
        assert_eq!(series["signalbox_cpu_steal_ratio"], 0.1);
        let again = tree.sample(&mut cpu, at(1001)).unwrap();
        assert_eq!(again["signalbox_cpu_busy_ratio"], 0.4, "no tick has passed: the last share stands");
    }

    #[test]
    fn counters_do_not_step_back_unless_they_were_reset() {
        assert_eq!(forward(1000, 1001), 1001);
        assert_eq!(forward(1000, 700), 1000);
        assert_eq!(forward(1000, 699), 699);
    }

    #[test]
    fn a_processor_that_comes_makes_a_new_layout() {
        let tree = Tree::new(&[("proc/stat", FIRST)]);
        let mut cpu = Cpu::new(tree.root());
        tree.sample(&mut cpu, at(0)).unwrap();
        let generation = cpu.layout().generation;
        tree.write("proc/stat", &format!("{FIRST}cpu1 1 0 0 0 0 0 0 0 0 0\n"));
        let series = tree.sample(&mut cpu, at(1000)).unwrap();
        assert_eq!(series[r#"node_cpu_seconds_total{cpu="1",mode="user"}"#], 0.01);
        assert_eq!(cpu.layout().generation, generation + 1);
    }

    #[test]
    fn a_text_without_processors_is_an_error() {
        let tree = Tree::new(&[("proc/stat", "intr 5\n")]);
        let error = tree.sample(&mut Cpu::new(tree.root()), at(0)).unwrap_err();
        assert!(error.to_string().ends_with("proc/stat: no line that begins with cpu"), "{error}");
    }
}
