//! Open file handles of the whole system.

use crate::check::columns::{Columns, Fingerprint};
use crate::check::file::KeptFile;
use crate::check::text::{Fields, round4, trim};
use crate::check::{Check, CheckError, Instant, Layout};
use std::path::Path;

/// Watches file handles.
pub(crate) struct FileFd {
    file: KeptFile,
    columns: Columns,
}

impl FileFd {
    /// `root` is `/`, or a tree like it.
    pub(crate) fn new(root: &Path) -> FileFd {
        FileFd { file: KeptFile::new(root.join("proc/sys/fs/file-nr")), columns: Columns::default() }
    }
}

impl Check for FileFd {
    fn name(&self) -> &str {
        "filefd"
    }

    fn sample(&mut self, _at: Instant, values: &mut Vec<f64>) -> Result<(), CheckError> {
        values.clear();
        let Some((allocated, maximum)) = self.file.read(parse)? else {
            return Err(self.file.malformed("expected three numbers"));
        };
        let used = if maximum > 0 { allocated as f64 / maximum as f64 } else { 0.0 };
        values.extend([allocated as f64, maximum as f64, round4(used)]);
        self.columns.keep(Fingerprint::new(), |add| {
            add.add_all(&["node_filefd_allocated", "node_filefd_maximum", "signalbox_filefd_used_ratio"], &[]);
        });
        self.columns.finish("/proc/sys/fs/file-nr", values)
    }

    fn layout(&self) -> &Layout {
        self.columns.layout()
    }
}

/// `allocated  free  maximum`; free is always 0 since Linux 2.6.
fn parse(text: &[u8]) -> Option<(u64, u64)> {
    let mut fields = Fields::new(trim(text));
    let allocated = fields.number()?;
    fields.skip(1)?;
    Some((allocated, fields.number()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Tree, at};

    #[test]
    fn allocated_maximum_and_share() {
        let tree = Tree::new(&[("proc/sys/fs/file-nr", "250\t0\t1000\n")]);
        let series = tree.sample(&mut FileFd::new(tree.root()), at(0)).unwrap();
        assert_eq!(series["node_filefd_allocated"], 250.0);
        assert_eq!(series["node_filefd_maximum"], 1000.0);
        assert_eq!(series["signalbox_filefd_used_ratio"], 0.25);
    }

    #[test]
    fn the_largest_maximum_of_present_systems_is_fine_and_garbage_is_an_error() {
        let tree = Tree::new(&[("proc/sys/fs/file-nr", "1376\t0\t9223372036854775807\n")]);
        assert_eq!(tree.sample(&mut FileFd::new(tree.root()), at(0)).unwrap()["signalbox_filefd_used_ratio"], 0.0);
        tree.write("proc/sys/fs/file-nr", "1376 0\n");
        assert!(tree.sample(&mut FileFd::new(tree.root()), at(0)).is_err());
    }
}
