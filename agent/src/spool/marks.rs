//! What the collector has acknowledged, for each epoch, kept over restarts.
//!
//! The file is a hint: the first Ack of a stream overrules it. It spares a
//! restarted agent from counting as lost what was delivered long ago.
//!
//! ```text
//! marks := line* ; line := epoch " " seq " " crc32c-hex of "epoch seq" "\n"
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// Name of the file in the spool's folder.
pub(crate) const FILE: &str = "marks";
const FILE_NEW: &str = "marks.new";

/// Highest acknowledged sequence of each epoch.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Marks {
    acked: BTreeMap<u64, u64>,
    changed: bool,
}

impl Marks {
    /// The mark of an epoch, 0 when nothing is acknowledged.
    pub(crate) fn of(&self, epoch: u64) -> u64 {
        self.acked.get(&epoch).copied().unwrap_or(0)
    }

    /// Sets a mark, lower than before or higher.
    pub(crate) fn set(&mut self, epoch: u64, seq: u64) {
        self.changed |= self.acked.insert(epoch, seq) != Some(seq);
    }

    /// Forgets the epochs that `keep` does not know.
    pub(crate) fn retain(&mut self, keep: impl Fn(u64) -> bool) {
        let before = self.acked.len();
        self.acked.retain(|&epoch, _| keep(epoch));
        self.changed |= self.acked.len() != before;
    }

    /// The newest epoch that has a mark.
    pub(crate) fn newest_epoch(&self) -> Option<u64> {
        self.acked.last_key_value().map(|(&epoch, _)| epoch)
    }

    /// Reads the file; lines that are damaged are as if they were not there.
    pub(crate) fn load(dir: &Path) -> Marks {
        let text = std::fs::read(dir.join(FILE)).unwrap_or_default();
        let lines = String::from_utf8_lossy(&text);
        Marks { acked: lines.lines().filter_map(parse_line).collect(), changed: false }
    }

    /// Writes the file if it would differ.
    pub(crate) fn save(&mut self, dir: &Path) -> io::Result<()> {
        if !self.changed {
            return Ok(());
        }
        let mut text = String::new();
        for (epoch, seq) in &self.acked {
            let crc = crc32c::crc32c(format!("{epoch} {seq}").as_bytes());
            writeln!(text, "{epoch} {seq} {crc:08x}").expect("writing to a String cannot fail");
        }
        std::fs::write(dir.join(FILE_NEW), text)?;
        std::fs::rename(dir.join(FILE_NEW), dir.join(FILE))?;
        self.changed = false;
        Ok(())
    }
}

fn parse_line(line: &str) -> Option<(u64, u64)> {
    let (pair, crc) = line.rsplit_once(' ')?;
    if u32::from_str_radix(crc, 16).ok()? != crc32c::crc32c(pair.as_bytes()) {
        return None;
    }
    let (epoch, seq) = pair.split_once(' ')?;
    Some((epoch.parse().ok()?, seq.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_back_and_a_damaged_line_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut marks = Marks::default();
        marks.set(1_700_000_000, 42);
        marks.set(1_700_000_001, 7);
        marks.save(dir.path()).unwrap();
        assert_eq!(Marks::load(dir.path()), marks);
        let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        std::fs::write(dir.path().join(FILE), text.replace(" 42 ", " 43 ")).unwrap();
        let read = Marks::load(dir.path());
        assert_eq!((read.of(1_700_000_000), read.of(1_700_000_001)), (0, 7));
    }
}
