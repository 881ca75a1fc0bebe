//! Files of `/proc` and `/sys` that are opened once and read again and again.
//!
//! Such a file makes its text anew when it is read from offset 0, so one `pread`
//! is all that a sample costs. One buffer per thread serves all files: what is
//! touched at every tick stays small and warm.

use crate::check::CheckError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use signalbox_proto::units::Millis;
use std::cell::RefCell;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// First size of the shared buffer; holds every file of a small machine.
const BUFFER_BYTES: usize = 16 * 1024;
/// Most that is read of one file, bytes. `/proc/stat` of 1,024 processors has about 600 KiB.
const FILE_MAX_BYTES: usize = 4 * 1024 * 1024;
/// The kernel gathers records in a buffer of a page, or of twice as much as often as one
/// record needs it, and hands the buffer out when the next record does not fit. So an
/// answer that leaves room for any record is the end, and the call that would return
/// nothing is spared. What the kernel counts has records of under half of this.
const RECORD_MAX_BYTES: usize = 512;
/// A line of the list of mounts holds paths and options.
const LONG_RECORD_MAX_BYTES: usize = 2048;
/// The least page of the machines that Linux runs on.
const PAGE_BYTES: usize = 4096;
/// How long a file that is not there is not looked for again.
const ABSENT_RETRY: Millis = Millis::from_secs(60);

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A file that is kept open.
#[derive(Debug)]
pub(crate) struct KeptFile {
    path: PathBuf,
    file: Option<File>,
    look_again: Millis,
    record_max_bytes: usize,
}

impl KeptFile {
    /// Opened at the first read.
    pub(crate) fn new(path: PathBuf) -> KeptFile {
        KeptFile { path, file: None, look_again: Millis::ZERO, record_max_bytes: RECORD_MAX_BYTES }
    }

    /// As [`KeptFile::new`], for a file with long lines.
    pub(crate) fn with_long_records(path: PathBuf) -> KeptFile {
        KeptFile { record_max_bytes: LONG_RECORD_MAX_BYTES, ..KeptFile::new(path) }
    }

    /// The error that says that this file's text is not understood.
    pub(crate) fn malformed(&self, what: &str) -> CheckError {
        CheckError::Parse { path: self.path.display().to_string(), what: what.to_owned() }
    }

    /// Hands the whole text to `parse`.
    ///
    /// # Errors
    /// [`CheckError::Read`]; the file is opened afresh at the next read then.
    pub(crate) fn read<R>(&mut self, parse: impl FnOnce(&[u8]) -> R) -> Result<R, CheckError> {
        // Taken out, not borrowed: a read inside of `parse` works too, with a buffer of its own.
        let mut buffer = BUFFER.take();
        let answer = match self.fill(&mut buffer) {
            Ok(length) => Ok(parse(&buffer[..length])),
            Err(source) => {
                self.file = None;
                Err(CheckError::Read { path: self.path.display().to_string(), source })
            }
        };
        BUFFER.set(buffer);
        answer
    }

    /// As [`KeptFile::read`]; `None` for a file that this kernel does not have or
    /// does not let us read, which is looked for again after a minute.
    ///
    /// # Errors
    /// [`CheckError::Read`] for all other failures.
    pub(crate) fn read_if_there<R>(
        &mut self,
        now: Millis,
        parse: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, CheckError> {
        if self.file.is_none() && now < self.look_again {
            return Ok(None);
        }
        match self.read(parse) {
            Ok(answer) => Ok(Some(answer)),
            Err(CheckError::Read { source, .. }) if is_absence(&source) => {
                self.look_again = now + ABSENT_RETRY;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// True when the kernel signals a change of an open file that has this (the list
    /// of mounts does); asking takes the signal back.
    pub(crate) fn is_signalled(&self) -> bool {
        let Some(file) = &self.file else { return false };
        let mut polled = [PollFd::new(file, PollFlags::PRI)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut polled, Some(&now)).is_ok_and(|n| n > 0)
    }

    fn fill(&mut self, buffer: &mut Vec<u8>) -> std::io::Result<usize> {
        if buffer.is_empty() {
            buffer.resize(BUFFER_BYTES, 0);
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open(&self.path)?),
        };
        let mut length = 0;
        loop {
            let n = match rustix::io::pread(&*file, &mut buffer[length..], length as u64) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            length += n;
            if n == 0 || (is_last(n, self.record_max_bytes) && length < buffer.len()) {
                return Ok(length);
            }
            if length == buffer.len() {
                if length >= FILE_MAX_BYTES {
                    return Err(std::io::Error::other("the file is over the limit of 4 MiB"));
                }
                buffer.resize(length * 2, 0);
            }
        }
    }
}

/// True when the kernel's buffer, whatever its size, had room for another record
/// behind these bytes.
fn is_last(n_bytes: usize, record_max_bytes: usize) -> bool {
    n_bytes + record_max_bytes <= n_bytes.next_power_of_two().max(PAGE_BYTES)
}

/// True for "there is no such thing here", as told by `/proc` and `/sys` in their ways.
fn is_absence(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, Unsupported};
    matches!(error.kind(), NotFound | PermissionDenied | Unsupported | NotADirectory)
        || Errno::from_io_error(error).is_some_and(|errno| {
            // PSI that is switched off answers EOPNOTSUPP; attributes of network
            // devices that have none answer EINVAL; those of a device that left, ENODEV.
            matches!(errno, Errno::OPNOTSUPP | Errno::INVAL | Errno::NODEV | Errno::SRCH)
        })
}

/// A small attribute file of `/sys`, trimmed; none when it cannot be read.
pub(crate) fn attribute(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// Bytes of an attribute in a [`Folder`]; the longest, an interface's alias, has 256.
const ATTRIBUTE_MAX_BYTES: usize = 512;

/// A folder of `/sys` whose attributes are read one after the other: its path is
/// walked once, and three calls are all that each of them costs.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

impl Folder {
    /// None when it is not there.
    pub(crate) fn open(path: &Path) -> Option<Folder> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).ok().map(Folder)
    }

    /// What `parse` makes of an attribute, trimmed; none when it cannot be read.
    pub(crate) fn attribute<R>(&self, name: &str, parse: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let file = rustix::fs::openat(&self.0, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut text = [0; ATTRIBUTE_MAX_BYTES];
        let length = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut text)).ok()?;
        Some(parse(text[..length].trim_ascii()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_a_folder_are_trimmed_and_absent_ones_are_none() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mtu"), " 1500\n").unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        assert_eq!(folder.attribute("mtu", <[u8]>::to_vec), Some(b"1500".to_vec()));
        assert_eq!(folder.attribute("speed", <[u8]>::to_vec), None);
        assert!(Folder::open(&dir.path().join("none")).is_none());
    }

    #[test]
    fn a_text_longer_than_the_buffer_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("long");
        let text = "0123456789abcde\n".repeat(5000);
        std::fs::write(&path, &text).unwrap();
        let mut file = KeptFile::new(path);
        for _ in 0..2 {
            assert!(file.read(|read| read == text.as_bytes()).unwrap());
        }
    }

    #[test]
    fn an_answer_with_room_behind_it_is_the_last() {
        for (n_bytes, last) in [(3000, true), (3584, true), (3585, false), (4096, false), (4200, true), (8000, false)] {
            assert_eq!(is_last(n_bytes, RECORD_MAX_BYTES), last, "{n_bytes}");
        }
        assert!(is_last(2048, LONG_RECORD_MAX_BYTES) && !is_last(2049, LONG_RECORD_MAX_BYTES));
    }

    #[test]
    fn every_read_sees_the_text_of_now() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "1").unwrap();
        let mut file = KeptFile::new(path.clone());
        assert_eq!(file.read(<[u8]>::to_vec).unwrap(), b"1");
        std::fs::write(&path, "22").unwrap();
        assert_eq!(file.read(<[u8]>::to_vec).unwrap(), b"22");
    }

    #[test]
    fn a_file_that_is_not_there_is_looked_for_again_after_a_minute() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("late");
        let mut file = KeptFile::new(path.clone());
        assert!(file.read(<[u8]>::to_vec).is_err(), "a file that must be there is an error");
        assert_eq!(file.read_if_there(Millis(5), <[u8]>::to_vec).unwrap(), None);
        std::fs::write(&path, "x").unwrap();
        assert_eq!(file.read_if_there(Millis(60_004), <[u8]>::to_vec).unwrap(), None);
        assert_eq!(file.read_if_there(Millis(60_005), <[u8]>::to_vec).unwrap(), Some(b"x".to_vec()));
    }
}
