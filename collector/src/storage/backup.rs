//! A copy of everything that must survive, and the way back.
//!
//! A backup is a data directory: the store as a RocksDB checkpoint (hard links where
//! the file system is the same), the certificates' folder, the audit's key, the tail
//! record. It is verified where it lies before it counts; so is a restore's source.
//! Both are made under another name and renamed when they are whole.

use super::verify::{self, Report};
use crate::store::StoreError;
use crate::store::rocks::RocksStore;
use signalbox_proto::units::Bytes;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Beside the store: what a collector needs to be itself again.
const KEPT: [&str; 3] = ["ca", "audit.key", "tail"];

/// Why there is no backup, or no restored collector.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The store could not be opened, read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file could not be copied.
    #[error("{what} {path}: {why}")]
    File {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// Something is there already.
    #[error("{path} exists: {remedy}")]
    Exists {
        /// What.
        path: PathBuf,
        /// What to do.
        remedy: &'static str,
    },
    /// The copy is not sound; it lies under its temporary name.
    #[error("{path} is damaged, {n_faults} rows, the first in {family}: {why}")]
    Damaged {
        /// Where.
        path: PathBuf,
        /// How many rows.
        n_faults: u64,
        /// Where the first lies.
        family: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

fn file<T>(what: &'static str, path: &Path, outcome: io::Result<T>) -> Result<T, BackupError> {
    outcome.map_err(|why| BackupError::File { what, path: path.to_owned(), why })
}

/// Backs up the store of a collector that does not run.
///
/// # Errors
/// [`BackupError`]; then nothing lies at `to`.
pub fn backup(data_dir: &Path, memory: Bytes, to: &Path) -> Result<Report, BackupError> {
    refuse_existing(to, "name a folder that does not exist yet")?;
    let part = beside(to);
    file("remove what an earlier attempt left at", &part, remove_if_there(&part))?;
    file("make folder", &part, make_private(&part))?;
    {
        let store = RocksStore::open(data_dir, memory)?;
        store.checkpoint(&part.join("store"))?;
    }
    copy_kept(data_dir, &part)?;
    let report = verified(&part)?;
    finish(&part, to)?;
    Ok(report)
}

/// Puts a backup into a data directory that has no store.
///
/// # Errors
/// [`BackupError`]; then no store lies in `data_dir`.
pub fn restore(from: &Path, data_dir: &Path) -> Result<Report, BackupError> {
    let store = data_dir.join("store");
    refuse_existing(&store, "move the data directory's contents aside first")?;
    let report = verified(from)?;
    file("make folder", data_dir, make_private(data_dir))?;
    let part = data_dir.join("store.part");
    file("remove what an earlier attempt left at", &part, remove_if_there(&part))?;
    copy(&from.join("store"), &part)?;
    copy_kept(from, data_dir)?;
    // Last, so that an interrupted restore is no store.
    finish(&part, &store)?;
    Ok(report)
}

fn verified(dir: &Path) -> Result<Report, BackupError> {
    let store = super::open(dir)?;
    let report = verify::verify(&store, |_, _| {})?;
    match report.faults.first() {
        None => Ok(report),
        Some(fault) => Err(BackupError::Damaged {
            path: dir.to_owned(),
            n_faults: report.n_faults,
            family: fault.family,
            why: fault.why.clone(),
        }),
    }
}

fn refuse_existing(path: &Path, remedy: &'static str) -> Result<(), BackupError> {
    if path.symlink_metadata().is_ok() { Err(BackupError::Exists { path: path.to_owned(), remedy }) } else { Ok(()) }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
        _ => Ok(()),
    }
}

/// It holds keys: nobody else's business.
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn copy_kept(from: &Path, to: &Path) -> Result<(), BackupError> {
    for name in KEPT {
        let source = from.join(name);
        if source.symlink_metadata().is_ok() {
            copy(&source, &to.join(name))?;
        }
    }
    Ok(())
}

/// Files and folders with their modes, each synced.
fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    let kind = file("look at", from, from.symlink_metadata())?;
    if kind.is_dir() {
        file("make folder", to, make_private(to))?;
        for entry in file("list", from, std::fs::read_dir(from))? {
            let entry = file("list", from, entry)?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if kind.is_file() {
        file("copy to", to, std::fs::copy(from, to))?;
    }
    file("sync", to, std::fs::File::open(to).and_then(|copied| copied.sync_all()))
}

/// The copy is whole: it gets its name.
fn finish(part: &Path, to: &Path) -> Result<(), BackupError> {
    file("sync", part, std::fs::File::open(part).and_then(|folder| folder.sync_all()))?;
    file("rename to", to, std::fs::rename(part, to))?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    file("sync", parent, std::fs::File::open(parent).and_then(|folder| folder.sync_all()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Commit, Family, Store};

    #[test]
    fn what_was_backed_up_comes_back_and_nothing_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let (data, copy, again) = (dir.path().join("data"), dir.path().join("copy"), dir.path().join("again"));
        let memory = Bytes::from_mib(16);
        {
            let store = RocksStore::open(&data, memory).unwrap();
            let mut commit = Commit::default();
            commit.put(Family::Meta, b"turn".as_slice(), 7u64.to_le_bytes());
            store.commit(&commit).unwrap();
            std::fs::write(data.join("audit.key"), [7; 32]).unwrap();
        }
        let report = backup(&data, memory, &copy).unwrap();
        assert_eq!(report.rows[0], ("meta", 1));
        assert!(matches!(backup(&data, memory, &copy), Err(BackupError::Exists { .. })));
        assert!(matches!(restore(&copy, &data), Err(BackupError::Exists { .. })));
        restore(&copy, &again).unwrap();
        assert_eq!(std::fs::read(again.join("audit.key")).unwrap(), [7; 32]);
        let store = RocksStore::open(&again, memory).unwrap();
        assert_eq!(store.get(Family::Meta, b"turn").unwrap(), Some(7u64.to_le_bytes().to_vec()));
    }

    #[test]
    fn a_damaged_copy_is_no_backup() {
        let dir = tempfile::tempdir().unwrap();
        let (data, copy) = (dir.path().join("data"), dir.path().join("copy"));
        {
            let store = RocksStore::open(&data, Bytes::from_mib(16)).unwrap();
            let mut commit = Commit::default();
            commit.put(Family::Long, b"odd".as_slice(), b"row".as_slice());
            store.commit(&commit).unwrap();
        }
        assert!(matches!(backup(&data, Bytes::from_mib(16), &copy), Err(BackupError::Damaged { n_faults: 1, .. })));
        assert!(!copy.exists());
    }
}
