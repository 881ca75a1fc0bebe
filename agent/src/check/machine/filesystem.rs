//! File systems: size, free space, inodes.
//!
//! Local file systems answer from memory and are asked at every sample. Those that
//! another machine or process answers for (NFS, FUSE, …) are asked every 10 s by a
//! thread of their own ([`super::probe`]): a mount that hangs gives
//! `signalbox_filesystem_hung` 1 and loses its other series, and nothing else waits.
//!
//! The list of mounts is read again when the kernel says that it changed. It is that
//! of process 1 where it may be read: the agent's own may be narrowed and made
//! read-only by the sandbox that it runs in. Read-only mounts have no used shares:
//! nothing can fill them.

use super::mounts::{self, Mount};
use super::probe::{Probe, Reading, Space, space};
use crate::check::columns::{Adder, Columns, Fingerprint};
use crate::check::file::KeptFile;
use crate::check::roster::LEFT_OUT;
use crate::check::text::round4;
use crate::check::{Check, CheckError, Instant, Layout};
use signalbox_proto::units::Millis;
use std::path::{Path, PathBuf};

/// The list is read this often even when the kernel does not say that it changed.
const MOUNTS_EVERY: Millis = Millis::from_secs(60);

/// Watches file systems.
pub(crate) struct Filesystem {
    root: PathBuf,
    lists: [KeptFile; 2],
    read_at: Option<Millis>,
    mounted: Vec<Mounted>,
    n_left_out: usize,
    generation: u64,
    columns: Columns,
}

struct Mounted {
    mount: Mount,
    path: PathBuf,
    /// Only for one that may hang; none when there are too many of them.
    probe: Option<Probe>,
    /// Which of [`NAMES`] the last sample told, by bit.
    shown: u32,
}

const HUNG: &str = "signalbox_filesystem_hung";
/// Series of one file system.
const NAMES: [&str; 10] = [
    HUNG,
    "node_filesystem_device_error",
    "node_filesystem_readonly",
    "node_filesystem_size_bytes",
    "node_filesystem_free_bytes",
    "node_filesystem_avail_bytes",
    "node_filesystem_files",
    "node_filesystem_files_free",
    "signalbox_filesystem_used_ratio",
    "signalbox_filesystem_inodes_used_ratio",
];

impl Filesystem {
    /// `root` is `/`, or a tree like it.
    pub(crate) fn new(root: &Path) -> Filesystem {
        let list = |path: &str| KeptFile::with_long_records(root.join(path));
        Filesystem {
            root: root.to_owned(),
            lists: [list("proc/1/mounts"), list("proc/self/mounts")],
            read_at: None,
            mounted: Vec::new(),
            n_left_out: 0,
            generation: 0,
            columns: Columns::default(),
        }
    }

    fn update_mounts(&mut self, now: Millis) -> Result<(), CheckError> {
        let due = self.read_at.is_none_or(|then| now >= then + MOUNTS_EVERY);
        // No short cut: every list that is open must be asked, or it keeps its signal.
        let signals = self.lists.each_ref().map(KeptFile::is_signalled);
        if !due && signals == [false; 2] {
            return Ok(());
        }
        let [of_init, own] = &mut self.lists;
        let (mounts, n_left_out) = match of_init.read_if_there(now, mounts::parse)? {
            Some(mounts) => mounts,
            None => own.read(mounts::parse)?,
        };
        self.read_at = Some(now);
        self.n_left_out = n_left_out;
        if !mounts.iter().eq(self.mounted.iter().map(|mounted| &mounted.mount)) {
            self.remount(mounts);
        }
        Ok(())
    }

    fn remount(&mut self, mounts: Vec<Mount>) {
        let mut before = std::mem::take(&mut self.mounted);
        self.generation += 1;
        self.mounted = mounts
            .into_iter()
            .map(|mount| {
                if let Some(at) = before.iter().position(|mounted| mounted.mount == mount) {
                    return before.swap_remove(at);
                }
                let path = self.root.join(mount.path.strip_prefix("/").unwrap_or(&mount.path));
                let asked = path.clone();
                let probe = if mount.may_hang { Probe::start(move || space(&asked)) } else { None };
                Mounted { mount, path, probe, shown: 0 }
            })
            .collect();
    }
}

impl Check for Filesystem {
    fn name(&self) -> &str {
        "filesystem"
    }

    fn sample(&mut self, at: Instant, values: &mut Vec<f64>) -> Result<(), CheckError> {
        values.clear();
        self.update_mounts(at.mono)?;
        let mut print = Fingerprint::new();
        print.number(self.generation);
        for mounted in &mut self.mounted {
            let reading = mounted.reading(at.mono);
            let row = row(&mounted.mount, reading);
            mounted.shown = (0..).zip(&row).fold(0, |bits, (i, value)| bits | u32::from(value.is_some()) << i);
            print.number(u64::from(mounted.shown));
            values.extend(row.iter().flatten());
        }
        let some_left_out = self.n_left_out > 0;
        print.number(u64::from(some_left_out));
        values.extend(some_left_out.then_some(self.n_left_out as f64));
        let mounted = &self.mounted;
        self.columns.keep(print, |add| {
            mounted.iter().for_each(|mounted| mounted.lay_out(add));
            if some_left_out {
                add.add(LEFT_OUT, &[("check", "filesystem")]);
            }
        });
        self.columns.finish("/proc/mounts", values)
    }

    fn layout(&self) -> &Layout {
        self.columns.layout()
    }
}

impl Mounted {
    fn reading(&mut self, now: Millis) -> Reading {
        match &mut self.probe {
            Some(probe) => probe.reading(now),
            None if self.mount.may_hang => Reading::Failed,
            None => space(&self.path).map_or(Reading::Failed, Reading::Space),
        }
    }

    fn lay_out(&self, add: &mut Adder<'_>) {
        let mount = &self.mount;
        let all = [("device", &*mount.device), ("mountpoint", &*mount.mountpoint), ("fstype", &*mount.fstype)];
        for (_, name) in NAMES.iter().enumerate().filter(|(i, _)| self.shown >> i & 1 == 1) {
            add.add(name, if *name == HUNG { &all[1..2] } else { &all[..] });
        }
    }
}

/// Values in the order of [`NAMES`].
fn row(mount: &Mount, reading: Reading) -> [Option<f64>; NAMES.len()] {
    let hung = |hung: f64| Some(hung).filter(|_| mount.may_hang);
    let nothing = [None; NAMES.len()];
    match reading {
        Reading::Waiting => row_of(hung(0.0), None, nothing),
        Reading::Hung => row_of(hung(1.0), Some(1.0), nothing),
        Reading::Failed => row_of(hung(0.0), Some(1.0), nothing),
        Reading::Space(space) => row_of(hung(0.0), Some(0.0), full_row(mount, &space)),
    }
}

fn row_of(hung: Option<f64>, error: Option<f64>, mut row: [Option<f64>; NAMES.len()]) -> [Option<f64>; NAMES.len()] {
    (row[0], row[1]) = (hung, error);
    row
}

fn full_row(mount: &Mount, space: &Space) -> [Option<f64>; NAMES.len()] {
    let used = space.size_bytes - space.free_bytes;
    // As df: what root keeps back counts neither as used nor as free.
    let used_ratio = share(used, used + space.avail_bytes);
    let inodes_ratio = share(space.files - space.files_free, space.files);
    [
        None,
        None,
        Some(f64::from(u8::from(mount.readonly))),
        Some(space.size_bytes),
        Some(space.free_bytes),
        Some(space.avail_bytes),
        Some(space.files),
        Some(space.files_free),
        used_ratio.filter(|_| !mount.readonly),
        inodes_ratio.filter(|_| !mount.readonly),
    ]
}

/// None of nothing.
fn share(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| round4((part / whole).clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Tree, at};

    fn mount(options: &str) -> Mount {
        mounts::parse(format!("/dev/a /m ext4 {options} 0 0").as_bytes()).0.remove(0)
    }

    const SPACE: Space =
        Space { size_bytes: 1000.0, free_bytes: 400.0, avail_bytes: 200.0, files: 10.0, files_free: 4.0 };

    #[test]
    fn used_is_told_as_df_does() {
        let row = row(&mount("rw"), Reading::Space(SPACE));
        assert_eq!(row[8], Some(0.75), "600 used, 200 to be had");
        assert_eq!(row[9], Some(0.6));
        assert_eq!(row[0], None, "a local file system is not said to hang");
    }

    #[test]
    fn read_only_and_empty_file_systems_have_no_shares() {
        let readonly = row(&mount("ro"), Reading::Space(SPACE));
        assert_eq!((readonly[2], readonly[8], readonly[9]), (Some(1.0), None, None));
        let nothing = Space { size_bytes: 0.0, free_bytes: 0.0, avail_bytes: 0.0, files: 0.0, files_free: 0.0 };
        let empty = row(&mount("rw"), Reading::Space(nothing));
        assert_eq!((empty[3], empty[8], empty[9]), (Some(0.0), None, None));
    }

    #[test]
    fn one_that_hangs_says_so_and_nothing_else() {
        let remote = mounts::parse(b"srv:/x /n nfs4 rw 0 0").0.remove(0);
        let told = |reading| row(&remote, reading).iter().filter(|value| value.is_some()).count();
        assert_eq!(row(&remote, Reading::Hung)[..2], [Some(1.0), Some(1.0)]);
        assert_eq!(told(Reading::Hung), 2);
        assert_eq!(row(&remote, Reading::Waiting)[..2], [Some(0.0), None]);
        assert_eq!(row(&remote, Reading::Failed)[..2], [Some(0.0), Some(1.0)]);
        assert_eq!(told(Reading::Space(SPACE)), 10);
    }

    #[test]
    fn mounts_come_and_go() {
        let tree = Tree::new(&[("proc/self/mounts", "/dev/vda / ext4 rw 0 0\n/dev/vdb /gone xfs rw 0 0\n")]);
        let mut filesystem = Filesystem::new(tree.root());
        let series = tree.sample(&mut filesystem, at(0)).unwrap();
        let root = r#"{device="/dev/vda",fstype="ext4",mountpoint="/"}"#;
        assert_eq!(series[&format!("node_filesystem_device_error{root}")], 0.0);
        assert!(series[&format!("node_filesystem_size_bytes{root}")] > 0.0);
        assert_eq!(series[r#"node_filesystem_device_error{device="/dev/vdb",fstype="xfs",mountpoint="/gone"}"#], 1.0);
        tree.write("proc/self/mounts", "/dev/vda / ext4 ro 0 0\n");
        let series = tree.sample(&mut filesystem, at(60_000)).unwrap();
        assert_eq!(series[&format!("node_filesystem_readonly{root}")], 1.0);
        assert!(!series.keys().any(|key| key.contains("/gone")));
    }

    #[test]
    fn the_list_of_process_1_is_preferred() {
        let tree = Tree::new(&[
            ("proc/1/mounts", "/dev/vda / ext4 rw 0 0\n"),
            ("proc/self/mounts", "/dev/vda / ext4 ro 0 0\n"),
        ]);
        let series = tree.sample(&mut Filesystem::new(tree.root()), at(0)).unwrap();
        assert_eq!(series[r#"node_filesystem_readonly{device="/dev/vda",fstype="ext4",mountpoint="/"}"#], 0.0);
    }
}
