//! Load averages, plain and per processor.

use crate::check::columns::{Columns, Fingerprint};
use crate::check::file::KeptFile;
use crate::check::text::{Fields, decimal, number, round4, trim};
use crate::check::{Check, CheckError, Instant, Layout};
use signalbox_proto::units::Millis;
use std::path::Path;

/// How often processors are counted; they seldom come and go.
const COUNT_EVERY: Millis = Millis::from_secs(60);

/// Watches the load.
pub(crate) struct Load {
    file: KeptFile,
    online: KeptFile,
    n_cpus: Option<u32>,
    counted: Option<Millis>,
    columns: Columns,
}

impl Load {
    /// `root` is `/`, or a tree like it.
    pub(crate) fn new(root: &Path) -> Load {
        Load {
            file: KeptFile::new(root.join("proc/loadavg")),
            online: KeptFile::new(root.join("sys/devices/system/cpu/online")),
            n_cpus: None,
            counted: None,
            columns: Columns::default(),
        }
    }

    fn count_cpus(&mut self, now: Millis) -> Result<(), CheckError> {
        if self.counted.is_none_or(|at| now >= at + COUNT_EVERY) {
            self.n_cpus = self.online.read_if_there(now, n_listed)?.flatten();
            self.counted = Some(now);
        }
        Ok(())
    }
}

impl Check for Load {
    fn name(&self) -> &str {
        "load"
    }

    fn sample(&mut self, at: Instant, values: &mut Vec<f64>) -> Result<(), CheckError> {
        values.clear();
        let Some(averages) = self.file.read(parse)? else {
            return Err(self.file.malformed("expected three load averages"));
        };
        self.count_cpus(at.mono)?;
        values.extend(averages);
        values.extend(self.n_cpus.map(|n| round4(averages[0] / f64::from(n))));
        let mut print = Fingerprint::new();
        print.number(values.len() as u64);
        let per_cpu = self.n_cpus.is_some();
        self.columns.keep(print, |add| {
            add.add_all(&["node_load1", "node_load5", "node_load15"], &[]);
            if per_cpu {
                add.add("signalbox_load1_per_cpu", &[]);
            }
        });
        self.columns.finish("/proc/loadavg", values)
    }

    fn layout(&self) -> &Layout {
        self.columns.layout()
    }
}

fn parse(text: &[u8]) -> Option<[f64; 3]> {
    let mut fields = Fields::new(text);
    let mut next = || decimal(fields.word()?);
    Some([next()?, next()?, next()?])
}

/// How many numbers a list such as `0-3,8` names; none when it names none.
fn n_listed(text: &[u8]) -> Option<u32> {
    let mut n = 0u64;
    for range in trim(text).split(|byte| *byte == b',') {
        let mut ends = range.splitn(2, |byte| *byte == b'-').map(number);
        let first = ends.next()??;
        let last = ends.next().unwrap_or(Some(first))?;
        n += last.checked_sub(first)? + 1;
    }
    u32::try_from(n).ok().filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Tree, at};

    #[test]
    fn load_is_also_given_per_processor() {
        let tree =
            Tree::new(&[("proc/loadavg", "2.10 1.05 0.33 4/90 16024\n"), ("sys/devices/system/cpu/online", "0-3,8\n")]);
        let series = tree.sample(&mut Load::new(tree.root()), at(0)).unwrap();
        assert_eq!(series["node_load1"], 2.1);
        assert_eq!(series["node_load15"], 0.33);
        assert_eq!(series["signalbox_load1_per_cpu"], 0.42);
    }

    #[test]
    fn without_a_list_of_processors_there_is_no_share() {
        let tree = Tree::new(&[("proc/loadavg", "2.10 1.05 0.33")]);
        assert_eq!(tree.sample(&mut Load::new(tree.root()), at(0)).unwrap().len(), 3);
    }

    #[test]
    fn lists_of_processors_are_counted() {
        for (list, n) in [("0\n", Some(1)), ("0-127", Some(128)), ("0,2-3,9", Some(4)), ("\n", None), ("3-1", None)] {
            assert_eq!(n_listed(list.as_bytes()), n, "{list:?}");
        }
    }

    #[test]
    fn a_broken_text_is_an_error() {
        for text in ["", "1.0 2.0", "a b c"] {
            let tree = Tree::new(&[("proc/loadavg", text)]);
            assert!(tree.sample(&mut Load::new(tree.root()), at(0)).is_err(), "{text:?}");
        }
    }
}
