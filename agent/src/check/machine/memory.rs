//! Memory and swap: every line of `/proc/meminfo`, and how much is used.

use crate::check::columns::{Columns, Fingerprint};
use crate::check::file::KeptFile;
use crate::check::text::{Fields, lines, round4};
use crate::check::{Check, CheckError, Instant, Layout};
use std::path::Path;

/// Watches memory.
pub(crate) struct Memory {
    file: KeptFile,
    columns: Columns,
}

impl Memory {
    /// `root` is `/`, or a tree like it.
    pub(crate) fn new(root: &Path) -> Memory {
        Memory { file: KeptFile::new(root.join("proc/meminfo")), columns: Columns::default() }
    }
}

impl Check for Memory {
    fn name(&self) -> &str {
        "memory"
    }

    fn sample(&mut self, _at: Instant, values: &mut Vec<f64>) -> Result<(), CheckError> {
        values.clear();
        let columns = &mut self.columns;
        self.file.read(|text| {
            let mut print = Fingerprint::new();
            let mut usage = Usage::default();
            for line in lines(text).filter_map(line) {
                print.text(line.name);
                values.push(line.value());
                usage.note(&line);
            }
            let ratios = usage.ratios();
            values.extend(ratios.iter().filter_map(|(_, ratio)| *ratio));
            columns.keep(print, |add| {
                lines(text).filter_map(line).for_each(|line| add.add(&line.metric(), &[]));
                ratios.iter().filter(|(_, ratio)| ratio.is_some()).for_each(|(name, _)| add.add(name, &[]));
            });
        })?;
        self.columns.finish("/proc/meminfo", values)
    }

    fn layout(&self) -> &Layout {
        self.columns.layout()
    }
}

/// `Active(anon):  606736 kB`, or a count without unit.
struct Line<'a> {
    name: &'a [u8],
    amount: u64,
    kib: bool,
}

fn line(line: &[u8]) -> Option<Line<'_>> {
    let mut fields = Fields::new(line);
    let name = fields.word()?.strip_suffix(b":")?;
    let amount = fields.number()?;
    let kib = match fields.word() {
        None => false,
        Some(b"kB") => true,
        Some(_) => return None,
    };
    Some(Line { name, amount, kib })
}

impl Line<'_> {
    fn value(&self) -> f64 {
        // What the kernel calls kB has 1,024 bytes.
        if self.kib { self.amount as f64 * 1024.0 } else { self.amount as f64 }
    }

    fn metric(&self) -> String {
        let name = String::from_utf8_lossy(self.name).replace('(', "_").replace(')', "");
        format!("node_memory_{name}{}", if self.kib { "_bytes" } else { "" })
    }
}

#[derive(Default)]
struct Usage {
    total: Option<u64>,
    available: Option<u64>,
    swap_total: Option<u64>,
    swap_free: Option<u64>,
}

impl Usage {
    fn note(&mut self, line: &Line<'_>) {
        match line.name {
            b"MemTotal" => self.total = Some(line.amount),
            b"MemAvailable" => self.available = Some(line.amount),
            b"SwapTotal" => self.swap_total = Some(line.amount),
            b"SwapFree" => self.swap_free = Some(line.amount),
            _ => {}
        }
    }

    /// What cannot be told (kernels before 3.14 have no `MemAvailable`) is none.
    fn ratios(&self) -> [(&'static str, Option<f64>); 2] {
        let memory = self.total.zip(self.available).filter(|(total, _)| *total > 0);
        let swap = self.swap_total.zip(self.swap_free);
        [
            ("signalbox_memory_used_ratio", memory.map(|(total, free)| used(total, free))),
            ("signalbox_swap_used_ratio", swap.map(|(total, free)| used(total, free))),
        ]
    }
}

/// The share of `total` that is not `free`; 0 of nothing.
fn used(total: u64, free: u64) -> f64 {
    if total == 0 { 0.0 } else { round4(total.saturating_sub(free) as f64 / total as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Tree, at};

    const TEXT: &str = "MemTotal:       24683656 kB\nMemFree:        22111996 kB\nMemAvailable:   18512742 kB\n\
        Active(anon):       1560 kB\nSwapTotal:          1000 kB\nSwapFree:            250 kB\n\
        HugePages_Total:       3\nCommitted_AS:     679808 kB\nFutureThing:     12 MB\nodd line without colon\n";

    #[test]
    fn lines_become_bytes_or_counts_as_in_node_exporter() {
        let tree = Tree::new(&[("proc/meminfo", TEXT)]);
        let series = tree.sample(&mut Memory::new(tree.root()), at(0)).unwrap();
        assert_eq!(series["node_memory_MemTotal_bytes"], 24_683_656.0 * 1024.0);
        assert_eq!(series["node_memory_Active_anon_bytes"], 1560.0 * 1024.0);
        assert_eq!(series["node_memory_HugePages_Total"], 3.0);
        assert_eq!(series["signalbox_memory_used_ratio"], 0.25);
        assert_eq!(series["signalbox_swap_used_ratio"], 0.75);
        assert_eq!(series.len(), 10, "units that are not known are left out: {series:?}");
    }

    #[test]
    fn without_swap_none_of_it_is_used() {
        let tree = Tree::new(&[("proc/meminfo", "MemTotal: 5 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n")]);
        let series = tree.sample(&mut Memory::new(tree.root()), at(0)).unwrap();
        assert_eq!(series["signalbox_swap_used_ratio"], 0.0);
        assert!(!series.contains_key("signalbox_memory_used_ratio"), "an old kernel does not tell what is available");
    }

    #[test]
    fn labels_are_made_once() {
        let tree = Tree::new(&[("proc/meminfo", TEXT)]);
        let mut memory = Memory::new(tree.root());
        tree.sample(&mut memory, at(0)).unwrap();
        tree.write("proc/meminfo", &TEXT.replace("1560", "7777"));
        assert_eq!(tree.sample(&mut memory, at(1)).unwrap()["node_memory_Active_anon_bytes"], 7777.0 * 1024.0);
        assert_eq!(memory.layout().generation, 1);
    }
}
