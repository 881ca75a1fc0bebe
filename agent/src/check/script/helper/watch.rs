//! Watches a script to its end, and sees to it that nothing of it is left.
//!
//! ```text
//! running --its process ends-----------------> ended
//!    |----time over, too many processes,
//!    |    too much output, the agent is gone--> killed
//! both: SIGKILL to its process group, then to every child that is left (as subreaper
//! we inherit what fled the group), until there is none
//! ```

use super::super::order::{OUTPUT_MAX_BYTES, Order, Outcome, Report, STDERR_MAX_BYTES, STDOUT_MAX_BYTES};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group, pidfd_open, wait,
};
use signalbox_proto::clock::{Clock, SystemClock};
use signalbox_proto::units::Millis;
use std::io::{self, stdin};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;

/// Time between two counts of the script's processes.
const COUNT_EVERY: Millis = Millis(100);
/// How long is tried to kill what is left; a process that waits for a dead network
/// file system outlives this.
const KILL_FOR: Millis = Millis(2000);
/// Between two looks at what is left.
const KILL_STEP: Millis = Millis(5);
/// Processes that are counted; one more is enough to know.
const COUNT_MAX: usize = 4096;

/// One of the script's two outputs.
struct Stream {
    fd: Option<OwnedFd>,
    kept: Vec<u8>,
    keep_max: usize,
}

impl Stream {
    fn new(fd: Option<impl Into<OwnedFd>>, keep_max: usize) -> io::Result<Stream> {
        let fd: Option<OwnedFd> = fd.map(Into::into);
        if let Some(fd) = &fd {
            fcntl_setfl(fd, OFlags::NONBLOCK)?;
        }
        Ok(Stream { fd, kept: Vec::new(), keep_max })
    }

    /// Reads what is there, and gives how much that was.
    fn read(&mut self) -> u64 {
        let (mut chunk, mut n_read) = ([0; 16 * 1024], 0);
        // No more than is allowed in all: the other descriptors have their turn then.
        while let Some(fd) = self.fd.as_ref().filter(|_| n_read <= OUTPUT_MAX_BYTES) {
            match rustix::io::read(fd, &mut chunk) {
                Ok(0) => self.fd = None,
                Ok(n) => {
                    n_read += n as u64;
                    let room = self.keep_max - self.kept.len();
                    self.kept.extend_from_slice(&chunk[..n.min(room)]);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => self.fd = None,
            }
        }
        n_read
    }
}

/// Waits until the script ended or must be ended.
///
/// # Errors
/// When the kernel gives no descriptor of the process.
pub(super) fn watch(mut child: Child, order: &Order) -> io::Result<Report> {
    let clock = SystemClock::start();
    let pid =
        i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no process id"))?;
    let mut out = Stream::new(child.stdout.take(), STDOUT_MAX_BYTES)?;
    let mut err = Stream::new(child.stderr.take(), STDERR_MAX_BYTES)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let mut n_output_bytes = 0;
    let ended = loop {
        let now = clock.mono();
        if now.0 >= order.timeout_ms {
            break Some(Outcome::TimedOut(true));
        }
        let step = COUNT_EVERY.min(Millis(order.timeout_ms - now.0));
        let woken = poll_all(pidfd.as_fd(), &out, &err, step)?;
        n_output_bytes += out.read() + err.read();
        if woken.agent_gone {
            break Some(Outcome::Killed(Signal::KILL.as_raw()));
        }
        if n_output_bytes > OUTPUT_MAX_BYTES {
            break Some(Outcome::TooMuchOutput(true));
        }
        if woken.ended {
            break None;
        }
        let n = n_descendants(getpid());
        if n > order.n_processes as usize {
            break Some(Outcome::TooManyProcesses(u32::try_from(n).unwrap_or(u32::MAX)));
        }
    };
    let duration = clock.mono();
    let status = end_all(pid, &clock);
    n_output_bytes += out.read() + err.read();
    Ok(Report {
        outcome: ended.or_else(|| status.map(outcome)),
        duration_ms: duration.0,
        stdout: out.kept,
        stderr: err.kept,
        n_output_bytes,
    })
}

struct Woken {
    ended: bool,
    agent_gone: bool,
}

/// Waits for the script, its outputs or the agent, at most for `most`.
fn poll_all(pidfd: BorrowedFd<'_>, out: &Stream, err: &Stream, most: Millis) -> io::Result<Woken> {
    let stdin = stdin();
    // The agent never writes after the order: readable means closed.
    let mut fds = vec![PollFd::from_borrowed_fd(pidfd, PollFlags::IN), PollFd::new(&stdin, PollFlags::IN)];
    fds.extend([out, err].into_iter().filter_map(|stream| stream.fd.as_ref()).map(|fd| PollFd::new(fd, PollFlags::IN)));
    let most = Timespec { tv_sec: (most.0 / 1000).cast_signed(), tv_nsec: (most.0 % 1000 * 1_000_000).cast_signed() };
    match poll(&mut fds, Some(&most)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Woken { ended: !fds[0].revents().is_empty(), agent_gone: !fds[1].revents().is_empty() })
}

fn outcome(status: WaitStatus) -> Outcome {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Outcome::Exited(code),
        (None, signal) => Outcome::Killed(signal.unwrap_or_default()),
    }
}

/// Kills the script's group and whatever else is left of it. Gives how the script's
/// first process ended.
fn end_all(pid: Pid, clock: &SystemClock) -> Option<WaitStatus> {
    let until = clock.mono() + KILL_FOR;
    let mut status = None;
    // No such group: all of it ended.
    let _ = kill_process_group(pid, Signal::KILL);
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((ended, how))) if ended == pid => status = Some(how),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            // No children are left.
            Err(_) => return status,
            Ok(None) => {
                if clock.mono() >= until {
                    return status;
                }
                for child in children(getpid()) {
                    let _ = kill_process_group(child, Signal::KILL);
                    let _ = kill_process(child, Signal::KILL);
                }
                let step = Timespec { tv_sec: 0, tv_nsec: (KILL_STEP.0 * 1_000_000).cast_signed() };
                let _ = poll(&mut [], Some(&step));
            }
        }
    }
}

/// Children of a process. None where the kernel does not tell (CONFIG_PROC_CHILDREN).
fn children(of: Pid) -> Vec<Pid> {
    let n = of.as_raw_nonzero();
    let threads = std::fs::read_dir(format!("/proc/{n}/task")).into_iter().flatten().flatten();
    let told = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let pids = |text: String| -> Vec<Pid> {
        text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    };
    told.flat_map(pids).collect()
}

fn n_descendants(of: Pid) -> usize {
    let (mut known, mut next) = (children(of), 0);
    while next < known.len() && known.len() <= COUNT_MAX {
        let more = children(known[next]);
        known.extend(more);
        next += 1;
    }
    known.len()
}
