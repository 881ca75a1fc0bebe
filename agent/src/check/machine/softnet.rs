//! The network's work per processor, and the table of tracked connections.

use crate::check::columns::{Columns, Fingerprint};
use crate::check::file::KeptFile;
use crate::check::text::{Fields, hex, lines, number, round4, trim};
use crate::check::{Check, CheckError, Instant, Layout};
use signalbox_proto::units::Millis;
use std::path::Path;

/// The first three columns of `/proc/net/softnet_stat`.
const SOFTNET: [&str; 3] =
    ["node_softnet_processed_total", "node_softnet_dropped_total", "node_softnet_times_squeezed_total"];
/// Column of the processor's number, since Linux 5.10; before, lines are in order.
const CPU_COLUMN: usize = 12;
/// Columns of `/proc/net/stat/nf_conntrack` by their headings.
const CONNTRACK: [(&[u8], &str); 8] = [
    (b"found", "node_nf_conntrack_stat_found"),
    (b"invalid", "node_nf_conntrack_stat_invalid"),
    (b"ignore", "node_nf_conntrack_stat_ignore"),
    (b"insert", "node_nf_conntrack_stat_insert"),
    (b"insert_failed", "node_nf_conntrack_stat_insert_failed"),
    (b"drop", "node_nf_conntrack_stat_drop"),
    (b"early_drop", "node_nf_conntrack_stat_early_drop"),
    (b"search_restart", "node_nf_conntrack_stat_search_restart"),
];
const TABLE: [&str; 3] =
    ["node_nf_conntrack_entries", "node_nf_conntrack_entries_limit", "signalbox_conntrack_used_ratio"];
/// How often the table's limit is read: only people change it.
const LIMIT_EVERY: Millis = Millis::from_secs(30);

/// Watches the network's work.
pub(crate) struct Softnet {
    softnet: KeptFile,
    conntrack: KeptFile,
    entries: KeptFile,
    limit_file: KeptFile,
    limit: Option<u64>,
    limit_read: Option<Millis>,
    cpus: Vec<u64>,
    columns: Columns,
}

impl Softnet {
    /// `root` is `/`, or a tree like it.
    pub(crate) fn new(root: &Path) -> Softnet {
        let file = |path: &str| KeptFile::new(root.join(path));
        Softnet {
            softnet: file("proc/net/softnet_stat"),
            conntrack: file("proc/net/stat/nf_conntrack"),
            entries: file("proc/sys/net/netfilter/nf_conntrack_count"),
            limit_file: file("proc/sys/net/netfilter/nf_conntrack_max"),
            limit: None,
            limit_read: None,
            cpus: Vec::new(),
            columns: Columns::default(),
        }
    }

    fn table(&mut self, now: Millis) -> Result<Option<[f64; 3]>, CheckError> {
        let single = |text: &[u8]| number(trim(text));
        let entries = self.entries.read_if_there(now, single)?.flatten();
        if self.limit_read.is_none_or(|then| now >= then + LIMIT_EVERY) {
            self.limit = self.limit_file.read_if_there(now, single)?.flatten();
            self.limit_read = Some(now);
        }
        Ok(entries.zip(self.limit).map(|(entries, limit)| {
            let used = if limit == 0 { 0.0 } else { round4(entries as f64 / limit as f64) };
            [entries as f64, limit as f64, used]
        }))
    }
}

impl Check for Softnet {
    fn name(&self) -> &str {
        "softnet"
    }

    fn sample(&mut self, at: Instant, values: &mut Vec<f64>) -> Result<(), CheckError> {
        values.clear();
        let cpus = &mut self.cpus;
        cpus.clear();
        self.softnet.read_if_there(at.mono, |text| {
            for (cpu, counts) in lines(text).enumerate().filter_map(|(i, line)| softnet_line(i, line)) {
                cpus.push(cpu);
                values.extend(counts);
            }
        })?;
        let conntrack = self.conntrack.read_if_there(at.mono, conntrack)?.unwrap_or_default();
        values.extend(conntrack.iter().flatten());
        let table = self.table(at.mono)?;
        values.extend(table.iter().flatten());
        let mut print = Fingerprint::new();
        self.cpus.iter().for_each(|cpu| print.number(*cpu));
        conntrack.iter().for_each(|count| print.number(u64::from(count.is_some())));
        print.number(u64::from(table.is_some()));
        let cpus = &self.cpus;
        self.columns.keep(print, |add| {
            cpus.iter().for_each(|cpu| add.add_all(&SOFTNET, &[("cpu", &cpu.to_string())]));
            let shown = CONNTRACK.iter().zip(&conntrack).filter(|(_, count)| count.is_some());
            shown.for_each(|((_, name), _)| add.add(name, &[]));
            if table.is_some() {
                add.add_all(&TABLE, &[]);
            }
        });
        self.columns.finish("/proc/net/softnet_stat", values)
    }

    fn layout(&self) -> &Layout {
        self.columns.layout()
    }
}

fn softnet_line(place: usize, line: &[u8]) -> Option<(u64, [f64; 3])> {
    let mut fields = Fields::new(line);
    let mut next = || fields.word().and_then(hex);
    let counts = [next()? as f64, next()? as f64, next()? as f64];
    fields.skip(CPU_COLUMN - 3);
    Some((fields.word().and_then(hex).unwrap_or(place as u64), counts))
}

/// One heading, then hexadecimal counts, a line for each processor: their sums.
fn conntrack(text: &[u8]) -> [Option<f64>; CONNTRACK.len()] {
    let mut sums = [None; CONNTRACK.len()];
    let mut lines = lines(text);
    let Some(heading) = lines.next() else { return sums };
    for line in lines {
        let (mut names, mut counts) = (Fields::new(heading), Fields::new(line));
        while let (Some(name), Some(count)) = (names.word(), counts.word()) {
            let known = CONNTRACK.iter().zip(&mut sums).find(|((known, _), _)| *known == name);
            if let (Some((_, sum)), Some(count)) = (known, hex(count)) {
                *sum = Some(sum.unwrap_or(0.0) + count as f64);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Tree, at};

    #[test]
    fn processors_are_told_by_their_numbers() {
        let line = |cpu: &str| format!("0000189b 00000001 00000002 0 0 0 0 0 0 0 0 0 {cpu} 0 0\n");
        let tree = Tree::new(&[("proc/net/softnet_stat", &(line("00000000") + &line("0000000b")))]);
        let series = tree.sample(&mut Softnet::new(tree.root()), at(0)).unwrap();
        assert_eq!(series[r#"node_softnet_processed_total{cpu="11"}"#], f64::from(0x189b));
        assert_eq!(series[r#"node_softnet_times_squeezed_total{cpu="0"}"#], 2.0);
        assert_eq!(series.len(), 6);
    }

    #[test]
    fn old_kernels_list_processors_in_order() {
        let line = "00000001 00000000 00000000 0 0 0 0 0 0 0\n";
        let tree = Tree::new(&[("proc/net/softnet_stat", &line.repeat(2))]);
        let series = tree.sample(&mut Softnet::new(tree.root()), at(0)).unwrap();
        assert!(series.contains_key(r#"node_softnet_processed_total{cpu="1"}"#), "{series:?}");
    }

    #[test]
    fn tracked_connections_are_summed_over_processors() {
        let tree = Tree::new(&[
            (
                "proc/net/stat/nf_conntrack",
                "entries  clashres found new invalid ignore\n0000000a 0 00000010 0 1 0\n0000000a 0 00000001 0 1 0\n",
            ),
            ("proc/sys/net/netfilter/nf_conntrack_count", "25\n"),
            ("proc/sys/net/netfilter/nf_conntrack_max", "100\n"),
        ]);
        let series = tree.sample(&mut Softnet::new(tree.root()), at(0)).unwrap();
        assert_eq!(series["node_nf_conntrack_stat_found"], 17.0);
        assert_eq!(series["node_nf_conntrack_stat_invalid"], 2.0);
        assert_eq!(series["signalbox_conntrack_used_ratio"], 0.25);
        assert_eq!(series.len(), 6, "columns that are absent give no series: {series:?}");
    }
}
