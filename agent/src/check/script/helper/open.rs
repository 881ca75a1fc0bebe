//! Opens an executable that only trusted users can have written or put in its place.
//!
//! The path is walked one name at a time by descriptors, symbolic links included, so
//! that what was checked is what is opened:
//!
//! ```text
//! folder, link, file    belongs to root or to an owner that root's file lists
//! folder, file          cannot be written by its group or by others
//! file                  is a regular file, executable, without set-uid or set-gid bit
//! ```

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, open, openat, readlinkat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use signalbox_proto::text::hex;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use thiserror::Error;

/// Symbolic links on one path, as in the kernel.
const LINKS_MAX: usize = 40;

/// Stands for every user that a user namespace does not know, as with PrivateUsers=yes.
const ANYBODY: u32 = 65_534;

/// Why an executable is not trusted.
#[derive(Debug, Error)]
pub(super) enum OpenError {
    /// Something on the way cannot be opened.
    #[error("open {path}: {source}")]
    Open {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something on the way belongs to somebody else.
    #[error("{path} belongs to user {uid}; it must belong to root, or list that user in owners of a file of root's")]
    Owner {
        /// What.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// Something on the way belongs to somebody, and there is no telling to whom.
    #[error(
        "{path} belongs to user {ANYBODY}, which may be any; to trust owners besides root, set PrivateUsers=no in a drop-in of the agent's unit"
    )]
    Anybody {
        /// What.
        path: PathBuf,
    },
    /// Something on the way can be written by others.
    #[error("{path} can be written by its group or by others (mode {mode:04o}); run chmod go-w {path}")]
    Writable {
        /// What.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It would run with other rights than ours.
    #[error("{path} is set-uid or set-gid (mode {mode:04o}); scripts gain no rights: give user instead")]
    SetId {
        /// What.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no program.
    #[error("{path} is no executable file")]
    NoProgram {
        /// What.
        path: PathBuf,
    },
    /// The links do not end.
    #[error("{path} has more than {LINKS_MAX} symbolic links")]
    Links {
        /// Which path.
        path: PathBuf,
    },
}

/// Whom to believe.
pub(super) struct Trust<'a> {
    /// User ids besides root.
    pub(super) owners: &'a [u32],
    /// Where paths begin.
    pub(super) root: &'a Path,
}

impl Trust<'_> {
    /// Opens the file at `path`, which is absolute.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(super) fn open(&self, path: &Path) -> Result<File, OpenError> {
        let mut rest: VecDeque<OsString> = names(path);
        let (mut folder, mut shown) = (self.top()?, PathBuf::from("/"));
        let mut n_links = 0;
        while let Some(name) = rest.pop_front() {
            let at = if name == ".." { shown.parent().unwrap_or(&shown).to_owned() } else { shown.join(&name) };
            let failed = |errno: Errno| OpenError::Open { path: at.clone(), source: errno.into() };
            let here = openat(&folder, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
                .map_err(failed)?;
            let stat = fstat(&here).map_err(failed)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => {
                    self.check_owner(&at, &stat)?;
                    n_links += 1;
                    if n_links > LINKS_MAX {
                        return Err(OpenError::Links { path: path.to_owned() });
                    }
                    let target = readlinkat(&here, c"", Vec::new()).map_err(failed)?;
                    let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                    if target.is_absolute() {
                        (folder, shown) = (self.top()?, PathBuf::from("/"));
                    }
                    let mut names = names(&target);
                    names.append(&mut rest);
                    rest = names;
                }
                FileType::Directory => {
                    self.check(&at, &stat)?;
                    (folder, shown) = (here, at);
                }
                FileType::RegularFile if rest.is_empty() => return self.program(&folder, &name, at, &stat),
                _ => return Err(OpenError::NoProgram { path: at }),
            }
        }
        Err(OpenError::NoProgram { path: path.to_owned() })
    }

    fn top(&self) -> Result<OwnedFd, OpenError> {
        let failed = |errno: Errno| OpenError::Open { path: self.root.to_owned(), source: errno.into() };
        let top = open(self.root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
        self.check(Path::new("/"), &fstat(&top).map_err(failed)?)?;
        Ok(top)
    }

    /// The file itself, opened for reading: its bytes are hashed, and the interpreter
    /// of a script reads them through this very descriptor.
    fn program(&self, folder: &OwnedFd, name: &OsString, at: PathBuf, seen: &Stat) -> Result<File, OpenError> {
        let failed = |errno: Errno| OpenError::Open { path: at.clone(), source: errno.into() };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(folder.as_fd(), name, flags, Mode::empty()).map_err(failed)?;
        let stat = fstat(&file).map_err(failed)?;
        // Replaced since it was looked at: by somebody trusted, so try again later.
        if (stat.st_dev, stat.st_ino) != (seen.st_dev, seen.st_ino) {
            return Err(failed(Errno::AGAIN));
        }
        self.check(&at, &stat)?;
        let mode = stat.st_mode & 0o7777;
        if mode & 0o6000 != 0 {
            return Err(OpenError::SetId { path: at, mode });
        }
        if mode & 0o111 == 0 {
            return Err(OpenError::NoProgram { path: at });
        }
        Ok(File::from(file))
    }

    fn check(&self, path: &Path, stat: &Stat) -> Result<(), OpenError> {
        self.check_owner(path, stat)?;
        let mode = stat.st_mode & 0o7777;
        if mode & 0o022 != 0 {
            return Err(OpenError::Writable { path: path.to_owned(), mode });
        }
        Ok(())
    }

    fn check_owner(&self, path: &Path, stat: &Stat) -> Result<(), OpenError> {
        let uid = stat.st_uid;
        if uid == ANYBODY {
            return Err(OpenError::Anybody { path: path.to_owned() });
        }
        if uid != 0 && !self.owners.contains(&uid) {
            return Err(OpenError::Owner { path: path.to_owned(), uid });
        }
        Ok(())
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

/// Compares the file's bytes with what the configuration pinned.
///
/// # Errors
/// The file cannot be read, or has other bytes.
pub(super) fn check_digest(file: &File, expected: &[u8]) -> io::Result<()> {
    let mut file = file.try_clone()?;
    let mut hasher = Sha256::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            n => hasher.update(&chunk[..n]),
        }
    }
    // Both descriptors share a position, and an interpreter reads from it.
    file.rewind()?;
    let found = hasher.finalize();
    if found[..] == *expected {
        return Ok(());
    }
    let found = hex(&found);
    Err(io::Error::other(format!("its sha256 is {found}, which is not the one in the configuration")))
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
