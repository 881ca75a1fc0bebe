//! Which processes a watch means.

use super::row::TICKS_PER_SEC;
use super::table::{Id, ProcessTable};
use crate::check::CheckError;
use crate::check::file::attribute;
use crate::check::text::{lines, number, trim};
use regex_lite::Regex;
use signalbox_proto::units::Millis;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Of a command line this much is looked at.
const COMMAND_MAX_BYTES: usize = 4096;
/// Control groups below a unit that are looked at.
const GROUPS_MAX: usize = 1024;
/// Where a host keeps its control groups: version 2, mixed, and version 1.
const HIERARCHIES: [&str; 3] = ["sys/fs/cgroup", "sys/fs/cgroup/unified", "sys/fs/cgroup/systemd"];

/// A process that began so much later than its pid file was written got the pid of
/// one that ended. Whoever writes a pid file knows the pid, so this is only room for
/// clocks that were set in between.
const PID_FILE_SLACK_SECS: f64 = 60.0;

/// How processes are found.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// By the command's name, as `ps -o comm` shows it.
    Name(String),
    /// By a regular expression that matches somewhere in the command line, whose
    /// arguments are joined by blanks.
    Command(Regex),
    /// By the pid in a file.
    PidFile(PathBuf),
    /// All in a control group: a systemd unit (`nginx.service`) or a path below the
    /// hierarchy (`system.slice/nginx.service`), groups below it included.
    Unit(String),
}

impl Pattern {
    /// A pattern of the command line.
    ///
    /// # Errors
    /// The message says what is wrong with the expression.
    pub fn command(expression: &str) -> Result<Pattern, String> {
        Regex::new(expression).map(Pattern::Command).map_err(|error| error.to_string())
    }

    /// Processes that live and match, sorted, and when they were looked at.
    pub(crate) fn find(
        &self,
        root: &Path,
        table: &ProcessTable,
        now: Millis,
        not_before: Millis,
    ) -> Result<(Vec<Id>, Millis), CheckError> {
        let mut found = Vec::new();
        let mut taken = now;
        match self {
            Pattern::Name(name) => {
                let see = |row: &super::table::Listed| found.extend(row.is_named(name).then_some(row.id));
                taken = table.each(now, not_before, see)?;
            }
            Pattern::Command(pattern) => {
                let own = std::process::id();
                taken = table.each(now, not_before, |row| {
                    let matches = row.id.pid != own && command(table, row.id.pid).is_some_and(|c| pattern.is_match(&c));
                    found.extend(matches.then_some(row.id));
                })?;
            }
            Pattern::PidFile(path) => {
                let path = root.join(path.strip_prefix("/").unwrap_or(path));
                let pid = attribute(&path).and_then(|text| pid(text.as_bytes()));
                found.extend(pid.and_then(|pid| table.one(pid)).map(|row| row.id));
            }
            Pattern::Unit(unit) => {
                let pids = pids_of_unit(root, unit);
                found.extend(pids.into_iter().filter_map(|pid| table.one(pid)).map(|row| row.id));
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok((found, taken))
    }

    /// True when a process that was found by its pid file began after the file was
    /// written: its pid was given out again. Where that cannot be read it is not said.
    pub(crate) fn is_stranger(&self, root: &Path, id: Id) -> bool {
        let Pattern::PidFile(path) = self else { return false };
        let path = root.join(path.strip_prefix("/").unwrap_or(path));
        let written = std::fs::metadata(path).and_then(|file| file.modified()).ok();
        let written = written.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let (Some(written), Some(booted_secs)) = (written, booted_secs(root)) else { return false };
        let began_secs = booted_secs + id.start_ticks as f64 / TICKS_PER_SEC;
        began_secs > written.as_secs_f64() + PID_FILE_SLACK_SECS
    }
}

/// When the kernel began, Unix seconds by the clock as it is set now.
fn booted_secs(root: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(root.join("proc/stat")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

fn pid(text: &[u8]) -> Option<u32> {
    number(trim(text)).and_then(|pid| u32::try_from(pid).ok())
}

/// Arguments joined by blanks; none for threads of the kernel, which have none.
fn command(table: &ProcessTable, pid: u32) -> Option<String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(table.folder(pid).join("cmdline")).ok()?;
    file.take(COMMAND_MAX_BYTES as u64).read_to_end(&mut bytes).ok()?;
    let arguments = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    let joined: Vec<u8> = arguments.iter().map(|byte| if *byte == 0 { b' ' } else { *byte }).collect();
    (!joined.is_empty()).then(|| String::from_utf8_lossy(&joined).into_owned())
}

fn pids_of_unit(root: &Path, unit: &str) -> Vec<u32> {
    let path = path_of_unit(unit);
    let groups = HIERARCHIES.iter().map(|hierarchy| root.join(hierarchy).join(&path));
    let Some(group) = groups.into_iter().find(|group| group.join("cgroup.procs").exists()) else {
        return Vec::new();
    };
    let mut pids = Vec::new();
    let mut pending = vec![group];
    let mut n_groups = 0;
    while let Some(group) = pending.pop() {
        n_groups += 1;
        let text = std::fs::read(group.join("cgroup.procs")).unwrap_or_default();
        pids.extend(lines(&text).filter_map(pid));
        let below = std::fs::read_dir(&group).into_iter().flatten().flatten();
        let folders = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        pending.extend(folders.take(GROUPS_MAX.saturating_sub(n_groups + pending.len())).map(|entry| entry.path()));
    }
    pids
}

/// Where systemd puts a unit, unless a path was given. Instances of a template have
/// a slice of their own, in whose name a dash of the template is escaped.
fn path_of_unit(unit: &str) -> String {
    if let Some(path) = unit.strip_prefix('/') {
        return path.to_owned();
    }
    if unit.contains('/') {
        return unit.to_owned();
    }
    match unit.split_once('@') {
        Some((template, _)) => format!("system.slice/system-{}.slice/{unit}", template.replace('-', "\\x2d")),
        None => format!("system.slice/{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::Tree;

    fn tree() -> Tree {
        let stat = |pid: u32, comm: &str| format!("{pid} ({comm}) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {pid} 0 0\n");
        Tree::new(&[
            ("proc/10/stat", &stat(10, "nginx")),
            ("proc/10/cmdline", "nginx: master process\0"),
            ("proc/11/stat", &stat(11, "java")),
            ("proc/11/cmdline", "java\0-jar\0/opt/shop/shop.jar\0"),
            ("proc/12/stat", &stat(12, "kworker/0:1")),
            ("proc/12/cmdline", ""),
            ("run/nginx.pid", "10\n"),
            ("run/stale.pid", "99\n"),
            ("sys/fs/cgroup/system.slice/shop.service/cgroup.procs", "11\n99\n"),
            ("sys/fs/cgroup/system.slice/shop.service/worker/cgroup.procs", "12\n"),
            ("sys/fs/cgroup/systemd/system.slice/system-pay\\x2das.slice/pay-as@1.service/cgroup.procs", "10\n"),
        ])
    }

    fn found(pattern: &Pattern) -> Vec<u32> {
        let tree = tree();
        let table = ProcessTable::new(tree.root());
        let (found, _) = pattern.find(tree.root(), &table, Millis(0), Millis(0)).unwrap();
        found.into_iter().map(|id| id.pid).collect()
    }

    #[test]
    fn by_name() {
        assert_eq!(found(&Pattern::Name("nginx".into())), [10]);
        assert!(found(&Pattern::Name("ngin".into())).is_empty());
    }

    #[test]
    fn by_command_line() {
        assert_eq!(found(&Pattern::command(r"-jar .*/shop\.jar$").unwrap()), [11]);
        assert_eq!(found(&Pattern::command("").unwrap()), [10, 11], "threads of the kernel have no command line");
        assert!(Pattern::command("(").is_err());
    }

    #[test]
    fn by_pid_file() {
        assert_eq!(found(&Pattern::PidFile("/run/nginx.pid".into())), [10]);
        assert!(found(&Pattern::PidFile("/run/stale.pid".into())).is_empty());
        assert!(found(&Pattern::PidFile("/run/none.pid".into())).is_empty());
    }

    #[test]
    fn by_unit_with_the_groups_below() {
        assert_eq!(found(&Pattern::Unit("shop.service".into())), [11, 12]);
        assert_eq!(found(&Pattern::Unit("system.slice/shop.service/worker".into())), [12]);
        assert_eq!(found(&Pattern::Unit("/system.slice/shop.service".into())), [11, 12]);
        assert_eq!(found(&Pattern::Unit("pay-as@1.service".into())), [10]);
        assert!(found(&Pattern::Unit("none.service".into())).is_empty());
    }
}
