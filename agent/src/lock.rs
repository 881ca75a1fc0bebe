//! One agent for one folder: two would mix their epochs.

use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
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
    let file = File::options().create(true).truncate(false).write(true).open(dir.join("lock")).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(DataDir { _lock: file }),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::InUse { dir: dir.to_owned() }),
        Err(error) => Err(failed(error.into())),
    }
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
        drop(first);
        lock(&data).unwrap();
    }
}
