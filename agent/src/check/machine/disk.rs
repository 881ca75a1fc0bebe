//! Block devices: `/proc/diskstats`, and how busy each is.
//!
//! Loop, RAM and compressed-RAM devices and partitions are left out, as in
//! node_exporter. The busy share is the part of the time since the sample before in
//! which at least one request was under way; it appears with the second sample.

use crate::check::columns::{Adder, Columns, Fingerprint};
use crate::check::file::{KeptFile, attribute};
use crate::check::roster::{DEVICES_MAX, Entry, LEFT_OUT, Roster};
use crate::check::text::{Fields, lines, round4};
use crate::check::{Check, CheckError, Instant, Layout};
use signalbox_proto::units::Millis;
use std::path::{Path, PathBuf};

/// Fields of a line after the device's name, with what one unit of them is worth.
/// Kernels before 4.18 have the first 11, before 5.5 the first 15.
const FIELDS: [(&str, Unit); 17] = [
    ("node_disk_reads_completed_total", Unit::One),
    ("node_disk_reads_merged_total", Unit::One),
    ("node_disk_read_bytes_total", Unit::Sector),
    ("node_disk_read_time_seconds_total", Unit::Milli),
    ("node_disk_writes_completed_total", Unit::One),
    ("node_disk_writes_merged_total", Unit::One),
    ("node_disk_written_bytes_total", Unit::Sector),
    ("node_disk_write_time_seconds_total", Unit::Milli),
    ("node_disk_io_now", Unit::One),
    ("node_disk_io_time_seconds_total", Unit::Milli),
    ("node_disk_io_time_weighted_seconds_total", Unit::Milli),
    ("node_disk_discards_completed_total", Unit::One),
    ("node_disk_discards_merged_total", Unit::One),
    ("node_disk_discarded_sectors_total", Unit::One),
    ("node_disk_discard_time_seconds_total", Unit::Milli),
    ("node_disk_flush_requests_total", Unit::One),
    ("node_disk_flush_requests_time_seconds_total", Unit::Milli),
];
/// Fields that every kernel since 2.6 tells of a whole disk.
const FIELDS_MIN: usize = 11;
/// Milliseconds in which the device had work.
const IO_TIME: usize = 9;

#[derive(Clone, Copy)]
enum Unit {
    One,
    /// Always 512 bytes here, whatever the device's own sectors are.
    Sector,
    Milli,
}

impl Unit {
    fn of(self, n: u64) -> f64 {
        match self {
            Unit::One => n as f64,
            Unit::Sector => n as f64 * 512.0,
            Unit::Milli => n as f64 / 1000.0,
        }
    }
}

/// Watches block devices.
pub(crate) struct Disk {
    root: PathBuf,
    file: KeptFile,
    disks: Roster<Memory>,
    columns: Columns,
}

#[derive(Debug)]
struct Memory {
    number: (u64, u64),
    n_fields: usize,
    before: Option<(Millis, u64)>,
    busy: Option<f64>,
}

impl Disk {
    /// `root` is `/`, or a tree like it.
    pub(crate) fn new(root: &Path) -> Disk {
        Disk {
            root: root.to_owned(),
            file: KeptFile::new(root.join("proc/diskstats")),
            disks: Roster::new(),
            columns: Columns::default(),
        }
    }
}

impl Check for Disk {
    fn name(&self) -> &str {
        "disk"
    }

    fn sample(&mut self, at: Instant, values: &mut Vec<f64>) -> Result<(), CheckError> {
        values.clear();
        let disks = &mut self.disks;
        disks.begin();
        let mut print = Fingerprint::new();
        let mut n_left_out = 0u64;
        self.file.read(|text| {
            for (n, line) in lines(text).filter_map(Line::parse).enumerate() {
                if n >= DEVICES_MAX {
                    n_left_out += 1;
                    continue;
                }
                let memory =
                    disks.meet(line.name, || Memory { number: line.number, n_fields: 0, before: None, busy: None });
                memory.note(&line, at.mono);
                values.extend(FIELDS[..line.n_fields].iter().zip(line.fields).map(|((_, unit), n)| unit.of(n)));
                values.push(1.0);
                values.extend(memory.busy);
                print.text(line.name);
                print.number((line.n_fields as u64) << 1 | u64::from(memory.busy.is_some()));
            }
        })?;
        self.disks.end();
        let (root, disks) = (&self.root, &self.disks);
        print.number(u64::from(n_left_out > 0));
        values.extend((n_left_out > 0).then_some(n_left_out as f64));
        self.columns.keep(print, |add| {
            disks.iter().for_each(|disk| add_disk(add, root, disk));
            if n_left_out > 0 {
                add.add(LEFT_OUT, &[("check", "disk")]);
            }
        });
        self.columns.finish("/proc/diskstats", values)
    }

    fn layout(&self) -> &Layout {
        self.columns.layout()
    }
}

impl Memory {
    fn note(&mut self, line: &Line<'_>, now: Millis) {
        let io_time_ms = line.fields[IO_TIME];
        if let Some((then, before_ms)) = self.before
            && now > then
        {
            // A counter that fell (a device that was replaced) gives 0 once.
            let passed_ms = now.0 - then.0;
            let share = io_time_ms.saturating_sub(before_ms) as f64 / passed_ms as f64;
            self.busy = Some(round4(share.min(1.0)));
        }
        if self.before.is_none_or(|(then, _)| now > then) {
            self.before = Some((now, io_time_ms));
        }
        self.number = line.number;
        self.n_fields = line.n_fields;
    }
}

struct Line<'a> {
    name: &'a [u8],
    number: (u64, u64),
    fields: [u64; FIELDS.len()],
    n_fields: usize,
}

impl Line<'_> {
    fn parse(line: &[u8]) -> Option<Line<'_>> {
        let mut words = Fields::new(line);
        let number = (words.number()?, words.number()?);
        let name = words.word()?;
        if is_left_out(name) {
            return None;
        }
        let mut fields = [0; FIELDS.len()];
        let mut n_fields = 0;
        for field in &mut fields {
            let Some(n) = words.number() else { break };
            *field = n;
            n_fields += 1;
        }
        (n_fields >= FIELDS_MIN).then_some(Line { name, number, fields, n_fields })
    }
}

/// node_exporter's `^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$`.
fn is_left_out(name: &[u8]) -> bool {
    let stem = name.trim_suffix_digits();
    if stem.len() == name.len() {
        return false;
    }
    match stem {
        b"ram" | b"zram" | b"loop" | b"fd" => true,
        [b'h' | b's' | b'v', b'd', letter] | [b'x', b'v', b'd', letter] => letter.is_ascii_lowercase(),
        _ => is_nvme_partition(stem),
    }
}

/// `nvme\d+n\d+p`.
fn is_nvme_partition(stem: &[u8]) -> bool {
    let namespace = stem.strip_prefix(b"nvme").and_then(|rest| rest.strip_suffix(b"p"));
    namespace.is_some_and(|rest| {
        let controller = rest.trim_suffix_digits();
        let digits = controller.strip_suffix(b"n");
        controller.len() < rest.len()
            && digits.is_some_and(|digits| !digits.is_empty() && digits.trim_suffix_digits().is_empty())
    })
}

trait TrimDigits {
    /// Without the digits at the end.
    fn trim_suffix_digits(&self) -> &Self;
}

impl TrimDigits for [u8] {
    fn trim_suffix_digits(&self) -> &[u8] {
        let end = self.iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |at| at + 1);
        &self[..end]
    }
}

fn add_disk(add: &mut Adder<'_>, root: &Path, disk: &Entry<Memory>) {
    let (device, memory) = (disk.label(), &disk.memory);
    FIELDS[..memory.n_fields].iter().for_each(|(name, _)| add.add(name, &[("device", &device)]));
    let (major, minor) = memory.number;
    let udev = std::fs::read_to_string(root.join(format!("run/udev/data/b{major}:{minor}"))).unwrap_or_default();
    let property = |key: &str| {
        let found = udev.lines().find_map(|line| line.strip_prefix("E:")?.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_default().to_owned()
    };
    // The kernel writes `!` for `/` in the names of folders.
    let folder = root.join("sys/block").join(device.replace('/', "!")).join("device");
    let model = attribute(&folder.join("model")).unwrap_or_else(|| property("ID_MODEL"));
    add.add(
        "node_disk_info",
        &[
            ("device", &device),
            ("major", &major.to_string()),
            ("minor", &minor.to_string()),
            ("model", &model),
            ("path", &property("ID_PATH")),
            ("revision", &property("ID_REVISION")),
            ("serial", &property("ID_SERIAL_SHORT")),
            ("wwn", &property("ID_WWN")),
        ],
    );
    if memory.busy.is_some() {
        add.add("signalbox_disk_busy_ratio", &[("device", &device)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Tree, at};

    const VDA: &str =
        " 254       0 vda 14586 6388 3980242 15966 6982 24630 4084624 13557 2 8956 31884 5716 38 764280 1648 443 712";

    #[test]
    fn a_present_kernel_tells_seventeen_fields() {
        let loops = "   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
        let tree = Tree::new(&[("proc/diskstats", &format!("{loops}{VDA}\n"))]);
        let series = tree.sample(&mut Disk::new(tree.root()), at(0)).unwrap();
        assert_eq!(series.len(), 18, "{series:?}");
        assert_eq!(series[r#"node_disk_read_bytes_total{device="vda"}"#], 3_980_242.0 * 512.0);
        assert_eq!(series[r#"node_disk_io_time_seconds_total{device="vda"}"#], 8.956);
        assert_eq!(series[r#"node_disk_io_now{device="vda"}"#], 2.0);
        assert_eq!(series[r#"node_disk_flush_requests_time_seconds_total{device="vda"}"#], 0.712);
        assert_eq!(series[r#"node_disk_info{device="vda",major="254",minor="0"}"#], 1.0);
    }

    #[test]
    fn old_kernels_tell_eleven_fields_and_new_ones_more_than_we_know() {
        let tree = Tree::new(&[(
            "proc/diskstats",
            "8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n8 1 sda1 1 2 3 4\n8 2 sdq 1 2 3 4\n259 0 nvme0n1 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19\n",
        )]);
        let series = tree.sample(&mut Disk::new(tree.root()), at(0)).unwrap();
        assert_eq!(series.keys().filter(|key| key.contains(r#""sda""#)).count(), 12);
        assert_eq!(series.keys().filter(|key| key.contains(r#""nvme0n1""#)).count(), 18);
        assert_eq!(series.len(), 30, "partitions and short lines are left out");
    }

    #[test]
    fn busy_is_the_share_of_the_time_between_two_samples() {
        let tree = Tree::new(&[("proc/diskstats", VDA)]);
        let mut disk = Disk::new(tree.root());
        tree.sample(&mut disk, at(5000)).unwrap();
        tree.write("proc/diskstats", &VDA.replace(" 8956 ", " 9456 "));
        let busy = r#"signalbox_disk_busy_ratio{device="vda"}"#;
        assert_eq!(tree.sample(&mut disk, at(7000)).unwrap()[busy], 0.25);
        assert_eq!(tree.sample(&mut disk, at(7000)).unwrap()[busy], 0.25, "no time has passed");
        tree.write("proc/diskstats", &VDA.replace(" 8956 ", " 99456 "));
        assert_eq!(tree.sample(&mut disk, at(8000)).unwrap()[busy], 1.0, "never more than all of the time");
    }

    #[test]
    fn a_disk_that_comes_gets_its_series_and_the_others_keep_their_memory() {
        let tree = Tree::new(&[("proc/diskstats", VDA)]);
        let mut disk = Disk::new(tree.root());
        tree.sample(&mut disk, at(0)).unwrap();
        tree.sample(&mut disk, at(1000)).unwrap();
        tree.write("proc/diskstats", &format!("{}\n{VDA}\n", VDA.replace("vda", "sdb")));
        let series = tree.sample(&mut disk, at(2000)).unwrap();
        assert!(series.contains_key(r#"signalbox_disk_busy_ratio{device="vda"}"#));
        assert!(!series.contains_key(r#"signalbox_disk_busy_ratio{device="sdb"}"#));
    }

    #[test]
    fn the_model_is_read_from_sysfs_and_the_rest_from_udev() {
        let tree = Tree::new(&[
            ("proc/diskstats", "8 0 sda 1 2 3 4 5 6 7 8 9 10 11"),
            ("sys/block/sda/device/model", "Virtual disk    \n"),
            ("run/udev/data/b8:0", "S:disk/by-id/x\nE:ID_MODEL=other\nE:ID_SERIAL_SHORT=S1\nE:ID_WWN=0x5\n"),
        ]);
        let series = tree.sample(&mut Disk::new(tree.root()), at(0)).unwrap();
        let info = r#"node_disk_info{device="sda",major="8",minor="0",model="Virtual disk",serial="S1",wwn="0x5"}"#;
        assert!(series.contains_key(info), "{series:?}");
    }

    #[test]
    fn the_limit_holds_and_tells_how_many_are_left_out() {
        let disks = |n: usize| (0..n).map(|i| format!("8 0 dm-{i} 1 2 3 4 5 6 7 8 9 10 11\n")).collect::<String>();
        let tree = Tree::new(&[("proc/diskstats", &disks(DEVICES_MAX))]);
        let mut disk = Disk::new(tree.root());
        let left_out = r#"signalbox_check_left_out{check="disk"}"#;
        assert_eq!(tree.sample(&mut disk, at(0)).unwrap().get(left_out), None);
        tree.write("proc/diskstats", &disks(DEVICES_MAX + 2));
        let series = tree.sample(&mut disk, at(1)).unwrap();
        assert_eq!(series.get(left_out), Some(&2.0));
        assert!(!series.keys().any(|key| key.contains(&format!("dm-{DEVICES_MAX}"))));
    }

    #[test]
    fn the_same_devices_are_left_out_as_in_node_exporter() {
        for name in ["ram0", "zram0", "loop12", "fd0", "sda1", "hdb2", "vda15", "xvda1", "nvme0n1p1", "nvme10n2p12"] {
            assert!(is_left_out(name.as_bytes()), "{name}");
        }
        for name in [
            "sda",
            "vda",
            "xvda",
            "nvme0n1",
            "dm-0",
            "md127",
            "sr0",
            "mmcblk0",
            "mmcblk0p1",
            "ram",
            "sdaa1",
            "nvmen1p1",
        ] {
            assert!(!is_left_out(name.as_bytes()), "{name}");
        }
    }
}
