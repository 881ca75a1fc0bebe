//! Pressure stall information: time that tasks lost waiting for a resource.
//!
//! `some` is the time in which at least one task waited, `full` the time in which
//! all did. A kernel without it (before 4.20, or started with `psi=0`) gives no
//! such series: absence is not calm.

use crate::check::columns::{Columns, Fingerprint};
use crate::check::file::KeptFile;
use crate::check::text::{Fields, lines, number, round4};
use crate::check::{Check, CheckError, Instant, Layout};
use signalbox_proto::units::Millis;
use std::path::Path;

/// One file, and the series that it feeds. At the system's level `full` has no
/// meaning for processors, and interrupts have only `full`.
struct Resource {
    file: &'static str,
    waiting: Option<&'static str>,
    stalled: Option<&'static str>,
    ratio: Option<&'static str>,
}

const RESOURCES: [Resource; 4] = [
    Resource {
        file: "cpu",
        waiting: Some("node_pressure_cpu_waiting_seconds_total"),
        stalled: None,
        ratio: Some("signalbox_pressure_cpu_ratio"),
    },
    Resource {
        file: "io",
        waiting: Some("node_pressure_io_waiting_seconds_total"),
        stalled: Some("node_pressure_io_stalled_seconds_total"),
        ratio: Some("signalbox_pressure_io_ratio"),
    },
    Resource {
        file: "memory",
        waiting: Some("node_pressure_memory_waiting_seconds_total"),
        stalled: Some("node_pressure_memory_stalled_seconds_total"),
        ratio: Some("signalbox_pressure_memory_ratio"),
    },
    Resource { file: "irq", waiting: None, stalled: Some("node_pressure_irq_stalled_seconds_total"), ratio: None },
];

/// Watches pressure.
pub(crate) struct Pressure {
    sources: [Source; RESOURCES.len()],
    columns: Columns,
}

struct Source {
    file: KeptFile,
    before: Option<(Millis, u64)>,
    ratio: Option<f64>,
}

impl Pressure {
    /// `root` is `/`, or a tree like it.
    pub(crate) fn new(root: &Path) -> Pressure {
        let source = |resource: &Resource| Source {
            file: KeptFile::new(root.join("proc/pressure").join(resource.file)),
            before: None,
            ratio: None,
        };
        Pressure { sources: RESOURCES.each_ref().map(source), columns: Columns::default() }
    }
}

impl Check for Pressure {
    fn name(&self) -> &str {
        "pressure"
    }

    fn sample(&mut self, at: Instant, values: &mut Vec<f64>) -> Result<(), CheckError> {
        values.clear();
        let mut shown = [[None; 3]; RESOURCES.len()];
        let mut print = Fingerprint::new();
        for ((resource, source), shown) in RESOURCES.iter().zip(&mut self.sources).zip(&mut shown) {
            let totals = source.file.read_if_there(at.mono, parse)?.unwrap_or_default();
            source.note(totals.some_us, at.mono);
            let value = |total_us: Option<u64>| total_us.map(|us| us as f64 / 1e6);
            let row = [value(totals.some_us), value(totals.full_us), source.ratio];
            let names = [resource.waiting, resource.stalled, resource.ratio];
            for ((name, value), shown) in names.into_iter().zip(row).zip(shown) {
                *shown = name.filter(|_| value.is_some());
                print.number(u64::from(shown.is_some()));
                values.extend(value.filter(|_| shown.is_some()));
            }
        }
        self.columns.keep(print, |add| shown.iter().flatten().flatten().for_each(|name| add.add(name, &[])));
        self.columns.finish("/proc/pressure", values)
    }

    fn layout(&self) -> &Layout {
        self.columns.layout()
    }
}

impl Source {
    fn note(&mut self, some_us: Option<u64>, now: Millis) {
        let Some(us) = some_us else {
            (self.before, self.ratio) = (None, None);
            return;
        };
        match self.before {
            Some((then, before_us)) if now > then => {
                let passed_us = (now.0 - then.0) as f64 * 1000.0;
                self.ratio = Some(round4((us.saturating_sub(before_us) as f64 / passed_us).min(1.0)));
                self.before = Some((now, us));
            }
            Some(_) => {}
            None => self.before = Some((now, us)),
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    some_us: Option<u64>,
    full_us: Option<u64>,
}

/// `some avg10=0.73 avg60=4.08 avg300=11.22 total=88070460`, then `full …`.
fn parse(text: &[u8]) -> Totals {
    let mut totals = Totals::default();
    for line in lines(text) {
        let mut fields = Fields::new(line);
        let kind = fields.word();
        let total = std::iter::from_fn(|| fields.word()).find_map(|word| word.strip_prefix(b"total=")).and_then(number);
        match kind {
            Some(b"some") => totals.some_us = total,
            Some(b"full") => totals.full_us = total,
            _ => {}
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Tree, at};

    fn text(some_us: u64) -> String {
        format!(
            "some avg10=0.73 avg60=4.08 avg300=11.22 total={some_us}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
        )
    }

    #[test]
    fn names_and_units_are_node_exporters_and_shares_follow() {
        let tree = Tree::new(&[
            ("proc/pressure/cpu", &text(1_500_000)),
            ("proc/pressure/memory", &text(0)),
            ("proc/pressure/irq", "full avg10=0.00 avg60=0.00 avg300=0.00 total=2000000\n"),
        ]);
        let mut pressure = Pressure::new(tree.root());
        let first = tree.sample(&mut pressure, at(0)).unwrap();
        assert_eq!(first["node_pressure_cpu_waiting_seconds_total"], 1.5);
        assert_eq!(first["node_pressure_memory_stalled_seconds_total"], 0.000_007);
        assert_eq!(first["node_pressure_irq_stalled_seconds_total"], 2.0);
        assert_eq!(first.len(), 4, "no io file, no io series; shares need two samples: {first:?}");
        tree.write("proc/pressure/cpu", &text(1_750_000));
        let second = tree.sample(&mut pressure, at(1000)).unwrap();
        assert_eq!(second["signalbox_pressure_cpu_ratio"], 0.25);
        assert_eq!(second["signalbox_pressure_memory_ratio"], 0.0);
    }

    #[test]
    fn a_kernel_without_it_gives_no_series_and_no_error() {
        let tree = Tree::new(&[]);
        let mut pressure = Pressure::new(tree.root());
        assert!(tree.sample(&mut pressure, at(0)).unwrap().is_empty());
        assert_eq!(pressure.layout().generation, 1);
    }

    #[test]
    fn lines_and_fields_to_come_are_passed_over() {
        let totals = parse(b"some avg10=0 avg900=0 total=5 peak=3\nmost total=9\nfull avg10=1\n");
        assert_eq!(totals, Totals { some_us: Some(5), full_us: None });
    }
}
