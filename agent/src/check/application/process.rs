//! Process watch: are the instances that somebody named up, and what do they use.
//!
//! ```text
//! every sample       one read of each watched process (its stat file is kept open,
//!                    which also tells it from a later process with the same pid)
//! every 5 s, or      look through all processes for instances; one look serves all
//! after a death      watches
//! a death            its pidfd becomes readable (`Check::wake_fds`): the sample taken
//!                    then tells it at once, and each sample of the minute that
//!                    follows looks for the one that replaces it
//! ```
//!
//! Zombies are not up. `signalbox_process_up` is always there; with no instance the
//! others are not, but for the count of restarts.

use super::find::Pattern;
use super::row::{Row, TICKS_PER_SEC};
use super::table::Id;
pub use super::table::ProcessTable;
use crate::check::columns::{Columns, Fingerprint};
use crate::check::file::KeptFile;
use crate::check::text::{Fields, decimal, round4};
use crate::check::{Check, CheckError, Instant, Layout};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use signalbox_proto::units::Millis;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Time between two looks through all processes, if nothing else is said.
pub const SCAN_EVERY: Millis = Millis::from_secs(5);
/// How long after a death every sample looks for a replacement.
const SEARCH_FOR: Millis = Millis::from_secs(60);
/// Least time between two looks. Where the watched come and go many times a second
/// (a shell of builds), each death would else be followed by a look through all.
const SCAN_SPAN_MIN: Millis = Millis(500);
/// Instances of one watch whose death wakes the agent; polls must do for the others.
const WAKES_MAX: usize = 32;
/// Instances read by one watch; of more only the number is told.
const INSTANCES_MAX: usize = 256;
/// A share of processor time over less than this is mostly rounding: the kernel
/// counts in ticks of 10 ms, and a sample after a death may come at any moment.
const RATIO_SPAN_MIN: Millis = Millis(500);

/// What to watch.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// The label `watch`, unique within the agent.
    pub name: String,
    /// Which processes.
    pub pattern: Pattern,
    /// Time between two looks through all processes.
    pub scan_every: Millis,
}

/// Watches the processes of one spec.
pub struct ProcessWatch {
    check: String,
    spec: ProcessSpec,
    root: PathBuf,
    table: Arc<ProcessTable>,
    uptime: KeptFile,
    instances: Vec<Instance>,
    n_unread: usize,
    scanned: Option<Millis>,
    died: Option<Millis>,
    n_missing: u64,
    n_restarts: u64,
    cpu: Cpu,
    page_bytes: f64,
    columns: Columns,
}

/// One process of a watch.
struct Instance {
    id: Id,
    stat: KeptFile,
    fds: PathBuf,
    pidfd: Option<OwnedFd>,
    last: Option<Seen>,
}

/// What one reading of a process told.
#[derive(Clone, Copy)]
struct Seen {
    cpu_ticks: u64,
    n_threads: u64,
    resident_pages: u64,
}

/// Processor time of all instances that ever were.
#[derive(Default)]
struct Cpu {
    /// Never falls, as instances come and go.
    total_ticks: u64,
    /// Used since the watch began.
    since_ticks: u64,
    base: Option<(Millis, u64)>,
    ratio: Option<f64>,
}

const NAMES: [&str; 8] = [
    "signalbox_process_up",
    "signalbox_process_restarts_total",
    "signalbox_process_cpu_seconds_total",
    "signalbox_process_resident_bytes",
    "signalbox_process_threads",
    "signalbox_process_age_seconds",
    "signalbox_process_open_fds",
    "signalbox_process_cpu_ratio",
];

/// The watches of one host, which share their looks through all processes.
pub fn process_checks(root: &Path, specs: Vec<ProcessSpec>) -> Vec<Box<dyn Check>> {
    let table = Arc::new(ProcessTable::new(root));
    let watch = |spec| Box::new(ProcessWatch::with_table(root, spec, Arc::clone(&table))) as Box<dyn Check>;
    specs.into_iter().map(watch).collect()
}

impl ProcessWatch {
    /// A watch of this host that shares nothing with others.
    pub fn new(spec: ProcessSpec) -> ProcessWatch {
        let root = Path::new("/");
        ProcessWatch::with_table(root, spec, Arc::new(ProcessTable::new(root)))
    }

    /// A watch that looks into `table`, which is of the same `root`.
    pub fn with_table(root: &Path, spec: ProcessSpec, table: Arc<ProcessTable>) -> ProcessWatch {
        ProcessWatch {
            check: format!("process:{}", spec.name),
            spec,
            root: root.to_owned(),
            table,
            uptime: KeptFile::new(root.join("proc/uptime")),
            instances: Vec::new(),
            n_unread: 0,
            scanned: None,
            died: None,
            n_missing: 0,
            n_restarts: 0,
            cpu: Cpu::default(),
            page_bytes: rustix::param::page_size() as f64,
            columns: Columns::default(),
        }
    }

    /// Reads all instances and drops those that ended.
    fn read_instances(&mut self, now: Millis) {
        let before = self.instances.len();
        let cpu = &mut self.cpu;
        self.instances.retain_mut(|instance| instance.read(cpu, Found::Before));
        self.note_deaths(before - self.instances.len(), now);
    }

    fn note_deaths(&mut self, n: usize, now: Millis) {
        if n > 0 {
            self.died = Some(now);
            self.n_missing = (self.n_missing + n as u64).min(INSTANCES_MAX as u64);
        }
    }

    fn look_for_instances(&mut self, now: Millis) -> Result<(), CheckError> {
        let searching = self.n_missing > 0 && self.died.is_some_and(|then| now < then + SEARCH_FOR);
        let due = self.scanned.is_none_or(|then| now >= then + self.spec.scan_every);
        let too_soon = self.scanned.is_some_and(|then| now < then + SCAN_SPAN_MIN);
        if too_soon || (!searching && !due) {
            return Ok(());
        }
        let age_max = if searching { Millis::ZERO } else { self.spec.scan_every };
        let not_before = Millis(now.0.saturating_sub(age_max.0).max(self.scanned.map_or(0, |then| then.0 + 1)));
        let (mut found, taken) = self.spec.pattern.find(&self.root, &self.table, now, not_before.min(now))?;
        // One that was believed stays so: a clock that is set moves all beginnings.
        found.retain(|id| self.is_known(*id) || !self.spec.pattern.is_stranger(&self.root, *id));
        let first_look = self.scanned.replace(taken).is_none();
        // One that no longer matches has become another program: it counts as ended.
        let before = self.instances.len();
        self.instances.retain(|instance| found.binary_search(&instance.id).is_ok());
        self.note_deaths(before - self.instances.len(), now);
        self.add_instances(&found, first_look);
        self.n_unread = found.len().saturating_sub(INSTANCES_MAX);
        Ok(())
    }

    fn is_known(&self, id: Id) -> bool {
        self.instances.iter().any(|instance| instance.id == id)
    }

    fn add_instances(&mut self, found: &[Id], first_look: bool) {
        let how = if first_look { Found::AtFirst } else { Found::Since };
        for id in found.iter().take(INSTANCES_MAX) {
            if self.is_known(*id) {
                continue;
            }
            let wakes = self.root == Path::new("/") && self.instances.len() < WAKES_MAX;
            let mut instance = Instance::new(*id, &self.table.folder(id.pid), wakes);
            if instance.read(&mut self.cpu, how) {
                self.instances.push(instance);
                if self.n_missing > 0 {
                    self.n_missing -= 1;
                    self.n_restarts += 1;
                }
            }
        }
    }

    /// Age of the youngest instance, seconds.
    fn age_secs(&mut self) -> Result<Option<f64>, CheckError> {
        let Some(youngest) = self.instances.iter().map(|instance| instance.id.start_ticks).max() else {
            return Ok(None);
        };
        let uptime = self.uptime.read(|text| Fields::new(text).word().and_then(decimal))?;
        let Some(uptime) = uptime else { return Err(self.uptime.malformed("expected seconds since boot")) };
        let age = uptime - youngest as f64 / TICKS_PER_SEC;
        Ok(Some((age.max(0.0) * 100.0).round() / 100.0))
    }

    /// Values in the order of [`NAMES`].
    fn row(&mut self) -> Result<[Option<f64>; NAMES.len()], CheckError> {
        let age = self.age_secs()?;
        let any = !self.instances.is_empty();
        let sum = |of: fn(&Seen) -> u64| {
            let seen = self.instances.iter().filter_map(|instance| instance.last.as_ref());
            any.then(|| seen.map(of).sum::<u64>() as f64)
        };
        let fds: Option<u64> = self.instances.iter().map(|instance| n_open_fds(&instance.fds)).sum();
        Ok([
            Some((self.instances.len() + self.n_unread) as f64),
            Some(self.n_restarts as f64),
            any.then_some(self.cpu.total_ticks as f64 / TICKS_PER_SEC),
            sum(|seen| seen.resident_pages).map(|pages| pages * self.page_bytes),
            sum(|seen| seen.n_threads),
            age,
            fds.filter(|_| any).map(|n| n as f64),
            self.cpu.ratio.filter(|_| any),
        ])
    }
}

impl Check for ProcessWatch {
    fn name(&self) -> &str {
        &self.check
    }

    fn sample(&mut self, at: Instant, values: &mut Vec<f64>) -> Result<(), CheckError> {
        values.clear();
        self.read_instances(at.mono);
        self.look_for_instances(at.mono)?;
        self.cpu.update_ratio(at.mono);
        let row = self.row()?;
        values.extend(row.iter().flatten());
        let mut print = Fingerprint::new();
        row.iter().for_each(|value| print.number(u64::from(value.is_some())));
        let watch = [("watch", self.spec.name.as_str())];
        self.columns.keep(print, |add| {
            let shown = NAMES.iter().zip(&row).filter(|(_, value)| value.is_some());
            shown.for_each(|(name, _)| add.add(name, &watch));
        });
        self.columns.finish("/proc", values)
    }

    fn layout(&self) -> &Layout {
        self.columns.layout()
    }

    fn wake_fds<'a>(&'a self, out: &mut Vec<BorrowedFd<'a>>) {
        out.extend(self.instances.iter().filter_map(|instance| instance.pidfd.as_ref()).map(AsFd::as_fd));
    }
}

/// When an instance became known, which says what its processor time counts for.
#[derive(Clone, Copy)]
enum Found {
    /// At the first look: it may be old, so its time so far is no use of now.
    AtFirst,
    /// At a later look: it began since, and all of its time is use of now.
    Since,
    /// At a sample before.
    Before,
}

impl Instance {
    fn new(id: Id, folder: &Path, wakes: bool) -> Instance {
        // Opened before the first reading, which checks that it is still the process
        // that was found. Old kernels (before 5.3) have none: then polls must do.
        let pid = i32::try_from(id.pid).ok().and_then(Pid::from_raw).filter(|_| wakes);
        let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Instance { id, stat: KeptFile::new(folder.join("stat")), fds: folder.join("fd"), pidfd, last: None }
    }

    /// False when the process ended or is another.
    fn read(&mut self, cpu: &mut Cpu, found: Found) -> bool {
        let start_ticks = self.id.start_ticks;
        let seen = self.stat.read(|text| {
            let row = Row::parse(text).filter(|row| row.is_alive && row.start_ticks == start_ticks)?;
            Some(Seen { cpu_ticks: row.cpu_ticks, n_threads: row.n_threads, resident_pages: row.resident_pages })
        });
        // The file of a process that ended cannot be read.
        let Ok(Some(seen)) = seen else { return false };
        let used = seen.cpu_ticks.saturating_sub(self.last.map_or(0, |last| last.cpu_ticks));
        cpu.total_ticks += used;
        if !matches!(found, Found::AtFirst) {
            cpu.since_ticks += used;
        }
        self.last = Some(seen);
        true
    }
}

impl Cpu {
    fn update_ratio(&mut self, now: Millis) {
        match self.base {
            None => self.base = Some((now, self.since_ticks)),
            Some((then, ticks)) if now >= then + RATIO_SPAN_MIN => {
                let secs = (now.0 - then.0) as f64 / 1000.0;
                self.ratio = Some(round4((self.since_ticks - ticks) as f64 / TICKS_PER_SEC / secs));
                self.base = Some((now, self.since_ticks));
            }
            Some(_) => {}
        }
    }
}

/// Open descriptors; none when we may not look. Linux 6.2 and later tell the number
/// as the folder's size, others have it counted.
fn n_open_fds(folder: &Path) -> Option<u64> {
    let metadata = std::fs::metadata(folder).ok()?;
    if metadata.len() > 0 {
        return Some(metadata.len());
    }
    Some(std::fs::read_dir(folder).ok()?.count() as u64)
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
