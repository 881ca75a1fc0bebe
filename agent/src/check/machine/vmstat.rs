//! Virtual memory counters: paging, reclaim, compaction, out-of-memory kills.
//!
//! node_exporter's default fields, and those that tell why memory is slow:
//! reclaim, refaults, compaction, huge pages, NUMA misses.

use crate::check::columns::{Columns, Fingerprint};
use crate::check::file::KeptFile;
use crate::check::text::{Fields, lines};
use crate::check::{Check, CheckError, Instant, Layout};
use std::path::Path;

/// Watches virtual memory.
pub(crate) struct VmStat {
    file: KeptFile,
    /// For each line of the file: is it told? As found when the layout was made.
    told: Vec<bool>,
    columns: Columns,
}

impl VmStat {
    /// `root` is `/`, or a tree like it.
    pub(crate) fn new(root: &Path) -> VmStat {
        VmStat { file: KeptFile::new(root.join("proc/vmstat")), told: Vec::new(), columns: Columns::default() }
    }
}

impl Check for VmStat {
    fn name(&self) -> &str {
        "vmstat"
    }

    fn sample(&mut self, _at: Instant, values: &mut Vec<f64>) -> Result<(), CheckError> {
        values.clear();
        let (told, columns) = (&mut self.told, &mut self.columns);
        self.file.read(|text| {
            // Which lines are told is found by place, and the names met at these
            // places are checked by the fingerprint.
            if !columns.fit(read(text, told, values)) {
                told.clear();
                told.extend(lines(text).map(|line| field(line).is_some_and(|(name, _)| is_told(name))));
                values.clear();
                let print = read(text, told, values);
                columns.keep(print, |add| {
                    let names = lines(text).zip(told.iter()).filter(|(_, told)| **told);
                    names.filter_map(|(line, _)| field(line)).for_each(|(name, _)| {
                        add.add(&format!("node_vmstat_{}", String::from_utf8_lossy(name)), &[]);
                    });
                });
            }
        })?;
        self.columns.finish("/proc/vmstat", values)
    }

    fn layout(&self) -> &Layout {
        self.columns.layout()
    }
}

fn read(text: &[u8], told: &[bool], values: &mut Vec<f64>) -> Fingerprint {
    let mut print = Fingerprint::new();
    let mut n_lines = 0u64;
    for (i, line) in lines(text).enumerate() {
        n_lines += 1;
        if told.get(i).copied().unwrap_or(false)
            && let Some((name, n)) = field(line)
        {
            print.text(name);
            values.push(n as f64);
        }
    }
    print.number(n_lines);
    print
}

fn field(line: &[u8]) -> Option<(&[u8], u64)> {
    let mut fields = Fields::new(line);
    Some((fields.word()?, fields.number()?))
}

/// node_exporter's `^(oom_kill|pgpg|pswp|pg.*fault).*`, and more.
fn is_told(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 18] = [
        b"oom_kill",
        b"pgpg",
        b"pswp",
        b"allocstall",
        b"pgscan",
        b"pgsteal",
        b"pgmigrate",
        b"pgrotated",
        b"workingset_",
        b"compact_",
        b"thp_fault",
        b"thp_split_page",
        b"numa_",
        b"nr_dirty",
        b"nr_writeback",
        b"drop_",
        b"kswapd_",
        b"slabs_scanned",
    ];
    let fault = name.strip_prefix(b"pg").is_some_and(|rest| rest.windows(5).any(|part| part == b"fault"));
    fault || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Tree, at};

    const TEXT: &str =
        "nr_free_pages 5527999\nnr_dirty 12\npgpgin 1990121\npgfault 27942005\npgmajfault 1551\nfuture\noom_kill 1\n";

    #[test]
    fn the_fields_that_matter_are_told() {
        let tree = Tree::new(&[("proc/vmstat", TEXT)]);
        let mut vmstat = VmStat::new(tree.root());
        let series = tree.sample(&mut vmstat, at(0)).unwrap();
        assert_eq!(series["node_vmstat_pgmajfault"], 1551.0);
        assert_eq!(series["node_vmstat_oom_kill"], 1.0);
        assert_eq!(series.len(), 5, "{series:?}");
        tree.write("proc/vmstat", &TEXT.replace("oom_kill 1", "oom_kill 2"));
        assert_eq!(tree.sample(&mut vmstat, at(1)).unwrap()["node_vmstat_oom_kill"], 2.0);
        assert_eq!(vmstat.layout().generation, 1);
    }

    #[test]
    fn lines_that_move_are_noticed() {
        let tree = Tree::new(&[("proc/vmstat", TEXT)]);
        let mut vmstat = VmStat::new(tree.root());
        tree.sample(&mut vmstat, at(0)).unwrap();
        for text in [format!("nr_new 4\n{TEXT}"), TEXT.replace("pgpgin", "pgpgon"), format!("{TEXT}pswpin 9\n")] {
            tree.write("proc/vmstat", &text);
            let series = tree.sample(&mut vmstat, at(1)).unwrap();
            assert_eq!(series["node_vmstat_pgfault"], 27_942_005.0, "{text}");
            assert_eq!(series.contains_key("node_vmstat_pswpin"), text.contains("pswpin"));
        }
    }

    #[test]
    fn the_filter_keeps_node_exporters_fields() {
        for name in ["oom_kill", "pgpgin", "pswpout", "pgfault", "pgmajfault", "pglazyfault"] {
            assert!(is_told(name.as_bytes()), "{name}");
        }
        for name in ["nr_free_pages", "unevictable_pgs_culled", "pg", "pgalloc_dma"] {
            assert!(!is_told(name.as_bytes()), "{name}");
        }
    }
}
