//! One agent for one folder: two would mix their epochs.

use rustix::fs::{FlockOperation, flock};
use rustix::process::Pid;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the folder is not ours.
#[derive(Debug, Error)]
pub(crate) enum LockError {
    /// It cannot be made, or the lock's file cannot.
    #[error("prepare data folder {dir}; set data_dir or --data-dir to one that this user may write")]
    Folder {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another agent has it.
    #[error("data folder {dir} is in use by another agent; stop it or set another data_dir")]
    InUse {
        /// Which.
        dir: PathBuf,
    },
}

/// Holds the folder until it is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    _lock: File,
}

/// Makes the folder if it is not there, and locks it.
pub(crate) fn lock(dir: &Path) -> Result<DataDir, LockError> {
    let failed = |source| LockError::Folder { dir: dir.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    // Emptied below: never what a link leads to.
    let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = File::options();
    options.create(true).truncate(false).write(true).custom_flags(no_link);
    let file = options.open(dir.join("lock")).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // For `holder`; the lock itself does not need it.
            let told = file.set_len(0).and_then(|()| writeln!(&file, "{}", std::process::id()));
            told.map(|()| DataDir { _lock: file }).map_err(failed)
        }
        Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::InUse { dir: dir.to_owned() }),
        Err(error) => Err(failed(error.into())),
    }
}

/// The agent that has the folder, if one runs.
pub(crate) fn holder(dir: &Path) -> Option<Pid> {
    let mut file = File::open(dir.join("lock")).ok()?;
    let Err(rustix::io::Errno::WOULDBLOCK) = flock(&file, FlockOperation::NonBlockingLockShared) else { return None };
    let mut text = String::new();
    io::Read::by_ref(&mut file).take(32).read_to_string(&mut text).ok()?;
    Pid::from_raw(text.trim().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("a/b");
        let first = lock(&data).unwrap();
        assert!(matches!(lock(&data), Err(LockError::InUse { .. })));
        assert_eq!(holder(&data), Pid::from_raw(i32::try_from(std::process::id()).unwrap()));
        drop(first);
        assert_eq!(holder(&data), None);
        lock(&data).unwrap();
    }
}
