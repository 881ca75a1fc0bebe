//! The list of mounts: which are told, and which might hang.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::check::text::{Fields, lines};
use signalbox_proto::limits::LABEL_VALUE_MAX_BYTES;

/// File systems told at most; hosts with more have generated ones.
pub(crate) const MOUNTS_MAX: usize = 512;

/// Types that are no storage of their own. node_exporter's default, and erofs,
/// which is an image like squashfs.
const LEFT_OUT_TYPES: [&str; 25] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "erofs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
];
/// Folders whose mounts are left out, themselves included, as in node_exporter.
const LEFT_OUT_FOLDERS: [&str; 3] = ["/dev", "/proc", "/sys"];
/// Folders whose mounts below are left out.
const LEFT_OUT_BELOW: [&str; 3] = ["/run/credentials", "/var/lib/docker", "/var/lib/containers/storage"];
/// Types that answer from memory: the kernel keeps their counts, and the way to a
/// mount point is always in its cache, so that asking cannot wait for a device.
const LOCAL_TYPES: [&str; 17] = [
    "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfsplus", "jfs", "msdos", "nilfs2", "ntfs3",
    "ramfs", "reiserfs", "tmpfs", "vfat", "xfs",
];

/// A mount that is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) device: String,
    pub(crate) mountpoint: String,
    /// The mount point's exact bytes.
    pub(crate) path: PathBuf,
    pub(crate) fstype: String,
    pub(crate) readonly: bool,
    /// Asking for its space may wait for another machine or process.
    pub(crate) may_hang: bool,
}

/// The mounts that are told, from the text of `/proc/PID/mounts`. Of several on one
/// mount point the last hides the others. Over the limit the first are told, and
/// the second of the pair is how many are not.
pub(crate) fn parse(text: &[u8]) -> (Vec<Mount>, usize) {
    let mut mounts: Vec<Mount> = Vec::new();
    let mut remote: Vec<PathBuf> = Vec::new();
    for mut mount in lines(text).filter_map(line) {
        mounts.retain(|earlier| earlier.path != mount.path);
        let local = LOCAL_TYPES.contains(&mount.fstype.as_str());
        // The way to a local one may lead through a remote one.
        mount.may_hang = !local || remote.iter().any(|above| mount.path.starts_with(above));
        if !local && !LEFT_OUT_TYPES.contains(&mount.fstype.as_str()) {
            remote.push(mount.path.clone());
        }
        if is_told(&mount) {
            mounts.push(mount);
        }
    }
    let n_left_out = mounts.len().saturating_sub(MOUNTS_MAX);
    mounts.truncate(MOUNTS_MAX);
    (mounts, n_left_out)
}

/// `/dev/vda / ext4 rw,relatime 0 0`.
fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = Fields::new(line);
    let (device, point, fstype, options) = (fields.word()?, fields.word()?, fields.word()?, fields.word()?);
    let point = unescape(point);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(Mount {
        device: text(&unescape(device)),
        mountpoint: text(&point),
        path: Path::new(OsStr::from_bytes(&point)).to_owned(),
        fstype: text(fstype),
        readonly: options.split(|byte| *byte == b',').any(|option| option == b"ro"),
        may_hang: false,
    })
}

fn is_told(mount: &Mount) -> bool {
    let within = |folder: &str| mount.path.starts_with(folder);
    let below = |folder: &str| within(folder) && mount.mountpoint != folder;
    // A label cut at its limit could be the same for two mounts.
    mount.mountpoint.len() <= LABEL_VALUE_MAX_BYTES
        && !LEFT_OUT_TYPES.contains(&mount.fstype.as_str())
        && !LEFT_OUT_FOLDERS.iter().any(|folder| within(folder))
        && !LEFT_OUT_BELOW.iter().any(|folder| below(folder))
}

/// The kernel writes blank, tab, line feed and backslash as `\040` and so on.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, after)) = rest.split_first() {
        let code = match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        plain.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(text: &str) -> Vec<String> {
        parse(text.as_bytes()).0.into_iter().map(|mount| mount.mountpoint).collect()
    }

    #[test]
    fn only_storage_is_told() {
        let text = "proc /proc proc rw 0 0\nsysfs /sys sysfs rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n\
            /dev/vda / ext4 rw,relatime,discard 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n\
            tmpfs /run tmpfs rw,nosuid 0 0\ntmpfs /run/credentials/a.service tmpfs ro 0 0\n\
            overlay /var/lib/docker/overlay2/x/merged overlay rw 0 0\n/dev/vdb /var/lib/docker ext4 rw 0 0\n\
            /dev/vdc /var/lib/docker/volumes xfs rw 0 0\n/dev/vdd /development btrfs rw 0 0\nshort line\n";
        assert_eq!(points(text), ["/", "/run", "/var/lib/docker", "/development"]);
    }

    #[test]
    fn blanks_and_other_bytes_in_names_are_restored() {
        let mount = &parse(b"//srv/My\\040Share /mnt/a\\040b\\134c\\011d cifs rw 0 0\n").0[0];
        assert_eq!((mount.device.as_str(), mount.mountpoint.as_str()), ("//srv/My Share", "/mnt/a b\\c\td"));
        assert_eq!(unescape(b"a\\04"), b"a\\04");
        assert_eq!(unescape(b"\\999"), b"\\999");
    }

    #[test]
    fn read_only_is_an_option_of_its_own() {
        let readonly = |options: &str| parse(format!("/dev/a /a ext4 {options} 0 0").as_bytes()).0[0].readonly;
        assert!(readonly("ro,relatime"));
        assert!(!readonly("rw,errors=remount-ro"));
    }

    #[test]
    fn what_may_hang_is_what_another_machine_or_process_answers() {
        let text = "/dev/a / ext4 rw 0 0\nsrv:/x /n nfs4 rw 0 0\n/dev/b /n/below ext4 rw 0 0\n/dev/c /nb xfs rw 0 0\nme /f fuse.sshfs rw 0 0\n";
        let may_hang: Vec<bool> = parse(text.as_bytes()).0.iter().map(|mount| mount.may_hang).collect();
        assert_eq!(may_hang, [false, true, true, false, true]);
    }

    #[test]
    fn the_last_mount_on_a_point_hides_the_others() {
        let (mounts, _) = parse(b"/dev/a /m ext4 rw 0 0\n/dev/b /m xfs rw 0 0\n");
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].device, "/dev/b");
    }

    #[test]
    fn the_limit_holds_at_the_limit_and_one_over() {
        let text = |n: usize| (0..n).map(|i| format!("/dev/a /m{i} ext4 rw 0 0\n")).collect::<String>();
        assert_eq!(points(&text(MOUNTS_MAX)).len(), MOUNTS_MAX);
        let (mounts, n_left_out) = parse(text(MOUNTS_MAX + 1).as_bytes());
        assert_eq!((mounts.len(), n_left_out), (MOUNTS_MAX, 1));
    }
}
