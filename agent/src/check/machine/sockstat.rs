//! Sockets in use, by protocol: `/proc/net/sockstat` and `sockstat6`.

use crate::check::columns::{Columns, Fingerprint};
use crate::check::file::KeptFile;
use crate::check::text::{Fields, lines};
use crate::check::{Check, CheckError, Instant, Layout};
use std::path::Path;

/// Watches sockets.
pub(crate) struct Sockstat {
    files: [KeptFile; 2],
    page_bytes: f64,
    columns: Columns,
}

impl Sockstat {
    /// `root` is `/`, or a tree like it.
    pub(crate) fn new(root: &Path) -> Sockstat {
        let file = |name: &str| KeptFile::new(root.join("proc/net").join(name));
        Sockstat {
            files: [file("sockstat"), file("sockstat6")],
            page_bytes: rustix::param::page_size() as f64,
            columns: Columns::default(),
        }
    }
}

impl Check for Sockstat {
    fn name(&self) -> &str {
        "sockstat"
    }

    fn sample(&mut self, at: Instant, values: &mut Vec<f64>) -> Result<(), CheckError> {
        values.clear();
        let mut print = Fingerprint::new();
        let page_bytes = self.page_bytes;
        for file in &mut self.files {
            file.read_if_there(at.mono, |text| {
                visit(text, |protocol, field, n| {
                    print.text(protocol);
                    print.text(field);
                    values.push(n as f64);
                    if field == b"mem" {
                        values.push(n as f64 * page_bytes);
                    }
                });
            })?;
        }
        if !self.columns.fit(print) {
            let names = self.names(at)?;
            self.columns.keep(print, |add| names.iter().for_each(|name| add.add(name, &[])));
        }
        self.columns.finish("/proc/net/sockstat", values)
    }

    fn layout(&self) -> &Layout {
        self.columns.layout()
    }
}

impl Sockstat {
    fn names(&mut self, at: Instant) -> Result<Vec<String>, CheckError> {
        let mut names = Vec::new();
        for file in &mut self.files {
            file.read_if_there(at.mono, |text| {
                visit(text, |protocol, field, _| {
                    let name = format!(
                        "node_sockstat_{}_{}",
                        String::from_utf8_lossy(protocol),
                        String::from_utf8_lossy(field)
                    );
                    let in_bytes = (field == b"mem").then(|| format!("{name}_bytes"));
                    names.push(name);
                    names.extend(in_bytes);
                });
            })?;
        }
        Ok(names)
    }
}

/// `TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 243`: calls `see` for each pair.
fn visit(text: &[u8], mut see: impl FnMut(&[u8], &[u8], u64)) {
    for line in lines(text) {
        let mut fields = Fields::new(line);
        let Some(protocol) = fields.word().and_then(|word| word.strip_suffix(b":")) else { continue };
        while let (Some(field), Some(n)) = (fields.word(), fields.number()) {
            see(protocol, field, n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Tree, at};

    #[test]
    fn pairs_become_series_and_pages_become_bytes_too() {
        let tree = Tree::new(&[
            (
                "proc/net/sockstat",
                "sockets: used 14\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 3\nFRAG: inuse 0 memory 0\nodd\nX: y\n",
            ),
            ("proc/net/sockstat6", "TCP6: inuse 2\n"),
        ]);
        let series = tree.sample(&mut Sockstat::new(tree.root()), at(0)).unwrap();
        assert_eq!(series["node_sockstat_sockets_used"], 14.0);
        assert_eq!(series["node_sockstat_TCP_mem"], 3.0);
        assert_eq!(series["node_sockstat_TCP_mem_bytes"], 3.0 * rustix::param::page_size() as f64);
        assert_eq!(series["node_sockstat_FRAG_memory"], 0.0);
        assert_eq!(series["node_sockstat_TCP6_inuse"], 2.0);
        assert_eq!(series.len(), 10, "{series:?}");
    }

    #[test]
    fn without_networking_there_is_nothing_to_tell() {
        let tree = Tree::new(&[]);
        assert!(tree.sample(&mut Sockstat::new(tree.root()), at(0)).unwrap().is_empty());
    }
}
