//! All processes of the host, read at most once for all watches that ask.

use super::row::{COMM_MAX_BYTES, Row};
use crate::check::CheckError;
use crate::check::text::number;
use signalbox_proto::units::Millis;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Processes looked at; the kernel's own default limit is 32,768.
const PROCESSES_MAX: usize = 65_536;
/// `/proc/PID/stat` has some 350 bytes.
const STAT_MAX_BYTES: usize = 1024;

/// A process's identity: a pid alone is given out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
}

/// A process as the table keeps it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listed {
    pub(crate) id: Id,
    comm: [u8; COMM_MAX_BYTES],
    comm_length: u8,
}

impl Listed {
    /// True when this is the command `name`, which may be longer than the kernel keeps.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        let name = name.as_bytes();
        self.comm[..self.comm_length.into()] == name[..name.len().min(COMM_MAX_BYTES)]
    }
}

/// The processes of a host, shared by all watches.
#[derive(Debug)]
pub struct ProcessTable {
    proc: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: Option<Millis>,
    rows: Vec<Listed>,
}

impl ProcessTable {
    /// `root` is `/`, or a tree like it. Nothing is read yet.
    pub fn new(root: &Path) -> ProcessTable {
        ProcessTable { proc: root.join("proc"), state: Mutex::default() }
    }

    /// The folder of a process.
    pub(crate) fn folder(&self, pid: u32) -> PathBuf {
        self.proc.join(pid.to_string())
    }

    /// Hands the processes that live to `see`, as they were at `not_before` or later;
    /// reads them anew if the table is older. Returns when they were read.
    pub(crate) fn each(
        &self,
        now: Millis,
        not_before: Millis,
        mut see: impl FnMut(&Listed),
    ) -> Result<Millis, CheckError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = match state.taken {
            Some(taken) if taken >= not_before => taken,
            _ => {
                state.taken = None;
                self.scan(&mut state.rows)?;
                *state.taken.insert(now)
            }
        };
        state.rows.iter().for_each(&mut see);
        Ok(taken)
    }

    fn scan(&self, rows: &mut Vec<Listed>) -> Result<(), CheckError> {
        rows.clear();
        let failed = |source| CheckError::Read { path: self.proc.display().to_string(), source };
        let mut path = self.proc.clone();
        for entry in std::fs::read_dir(&self.proc).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(pid) = number(name.as_bytes()).and_then(|pid| u32::try_from(pid).ok()) else { continue };
            path.push(&name);
            path.push("stat");
            rows.extend(listed(&path, pid));
            path.pop();
            path.pop();
            if rows.len() >= PROCESSES_MAX {
                break;
            }
        }
        Ok(())
    }

    /// One process, if it lives.
    pub(crate) fn one(&self, pid: u32) -> Option<Listed> {
        listed(&self.folder(pid).join("stat"), pid)
    }
}

fn listed(path: &Path, pid: u32) -> Option<Listed> {
    let mut buffer = [0; STAT_MAX_BYTES];
    // A process that ended since the folder was listed is no error.
    let length = std::fs::File::open(path).and_then(|mut file| file.read(&mut buffer)).ok()?;
    let row = Row::parse(&buffer[..length]).filter(|row| row.is_alive)?;
    let comm_length = row.comm.len().min(COMM_MAX_BYTES);
    let mut comm = [0; COMM_MAX_BYTES];
    comm[..comm_length].copy_from_slice(&row.comm[..comm_length]);
    Some(Listed { id: Id { pid, start_ticks: row.start_ticks }, comm, comm_length: comm_length as u8 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::Tree;

    fn stat(pid: u32, comm: &str, state: &str) -> String {
        format!("{pid} ({comm}) {state} 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0\n")
    }

    #[test]
    fn names_longer_than_the_kernel_keeps_are_compared_as_it_keeps_them() {
        let tree = Tree::new(&[("proc/1/stat", &stat(1, "prometheus-node", "S"))]);
        let row = ProcessTable::new(tree.root()).one(1).unwrap();
        assert!(row.is_named("prometheus-node-exporter"));
        assert!(row.is_named("prometheus-node"));
        assert!(!row.is_named("prometheus"));
    }

    fn pids(table: &ProcessTable, now: u64, not_before: u64) -> Vec<u32> {
        let mut pids = Vec::new();
        table.each(Millis(now), Millis(not_before), |row| pids.push(row.id.pid)).unwrap();
        pids.sort_unstable();
        pids
    }

    #[test]
    fn the_living_are_listed_and_read_anew_only_when_too_old() {
        let tree = Tree::new(&[
            ("proc/1/stat", &stat(1, "init", "S")),
            ("proc/22/stat", &stat(22, "gone", "Z")),
            ("proc/meminfo", ""),
            ("proc/33/comm", "no stat"),
        ]);
        let table = ProcessTable::new(tree.root());
        assert_eq!(pids(&table, 1000, 1000), [1]);
        tree.write("proc/44/stat", &stat(44, "new", "R"));
        assert_eq!(pids(&table, 5000, 1000), [1]);
        assert_eq!(pids(&table, 5000, 1001), [1, 44]);
    }
}
