//! One run of a script as the agent sees it: a helper, an order, a report.
//!
//! Nothing here waits. Runs at one time are counted by an eventfd that is a
//! semaphore: who waits for a turn polls it.

use super::order::{self, MESSAGE_MAX_BYTES, Order, Report};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Scripts that run at one time.
pub(crate) const RUNNING_MAX: u32 = 4;
/// Helpers that ended their work and were not waited for yet.
const ENDED_MAX: usize = 256;

/// Helpers that are to be waited for, so that none stays a zombie.
static ENDED: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Room for so many runs at one time.
pub(super) struct Room(Option<OwnedFd>);

/// The room of this process: configurations come and go, the limit stays.
pub(super) static ROOM: LazyLock<Arc<Room>> = LazyLock::new(|| Arc::new(Room::new(RUNNING_MAX)));

impl Room {
    /// For `n` runs; for none when the kernel gives no eventfd.
    pub(super) fn new(n: u32) -> Room {
        Room(eventfd(n, EventfdFlags::SEMAPHORE | EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).ok())
    }

    /// None while there is no room.
    pub(super) fn take(self: &Arc<Self>) -> Option<Permit> {
        rustix::io::read(self.0.as_ref()?, &mut [0; 8]).ok().map(|_| Permit(Arc::clone(self)))
    }

    /// Readable while there is room.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(AsFd::as_fd)
    }
}

/// The right to run now; given back when dropped.
pub(super) struct Permit(Arc<Room>);

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(room) = &self.0.0 {
            // The count cannot overflow: a permit is given back once.
            let _ = rustix::io::write(room, &1u64.to_ne_bytes());
        }
    }
}

/// How far a run is.
pub(super) enum Progress {
    /// Not at its end.
    Pending,
    /// At its end.
    Told(Report),
    /// The helper ended without a report.
    Broken(String),
}

/// A helper at work.
pub(super) struct Running {
    /// Taken when the run is dropped.
    child: Option<Child>,
    /// Closed: the helper ends everything.
    lifeline: Option<ChildStdin>,
    answers: ChildStdout,
    heard: Vec<u8>,
}

impl Running {
    /// Has `program` run a script. Its group is its own: a terminal's signals to the
    /// agent's group do not reach it, and the agent's end does, by the lifeline.
    pub(super) fn start(program: &Path, order: &Order) -> io::Result<Running> {
        bury();
        let mut child = Command::new(program)
            .arg("run-script")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (lifeline, answers) = pipes.ok_or_else(|| io::Error::other("the process has no pipes"))?;
        // From here on an error, too, drops what will be waited for.
        let mut run = Running { child: Some(child), lifeline: Some(lifeline), answers, heard: Vec::new() };
        fcntl_setfl(&run.answers, OFlags::NONBLOCK)?;
        if let Some(lifeline) = &mut run.lifeline {
            order::write(order, lifeline)?;
        }
        Ok(run)
    }

    /// Readable when there is something to hear.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.answers.as_fd()
    }

    /// Has the helper end everything as soon as it can.
    pub(super) fn give_up(&mut self) {
        self.lifeline = None;
    }

    /// Takes what is there to hear.
    pub(super) fn progress(&mut self) -> Progress {
        let mut chunk = [0; 4096];
        loop {
            match rustix::io::read(&self.answers, &mut chunk) {
                Ok(0) => break,
                Ok(n) => self.heard.extend_from_slice(&chunk[..n]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Progress::Pending,
                Err(error) => return Progress::Broken(error.to_string()),
            }
            if self.heard.len() > MESSAGE_MAX_BYTES + 4 {
                return Progress::Broken("it is over the limit of a message".to_owned());
            }
        }
        match order::read(&mut &self.heard[..]) {
            Ok(report) => Progress::Told(report),
            Err(_) => Progress::Broken(self.end()),
        }
    }

    /// How the helper itself ended.
    fn end(&mut self) -> String {
        let status = self.child.as_mut().and_then(|child| child.try_wait().ok()).flatten();
        status.map_or_else(
            || "the process that ran it ended".to_owned(),
            |status| format!("the process that ran it ended, {status}"),
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.lifeline = None;
        let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.len() < ENDED_MAX {
            ended.extend(self.child.take());
        }
    }
}

/// Waits, without waiting, for helpers that ended.
fn bury() {
    let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    ended.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many_and_it_comes_back() {
        let room = Arc::new(Room::new(2));
        let taken: Vec<_> = std::iter::from_fn(|| room.take()).collect();
        assert_eq!(taken.len(), 2);
        assert!(room.take().is_none());
        drop(taken);
        assert!(room.take().is_some());
    }
}
