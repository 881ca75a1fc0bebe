//! Asks a file system that may hang for its space, without waiting for the answer.
//!
//! A thread per such mount asks; the sampler picks up the last answer. At most one
//! question is under way, and one that has no answer for 5 s makes the mount *hung*
//! until the answer comes. The thread of a mount that hangs for ever stays behind
//! when its mount goes, because nothing can end it; so threads are counted.

use signalbox_proto::units::Millis;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Time between two questions.
const ASK_EVERY: Millis = Millis::from_secs(10);
/// An answer that takes longer means that the mount hangs.
const HUNG_AFTER: Millis = Millis::from_secs(5);
/// Threads that may live at one time, those of hung mounts included.
const PROBES_MAX: usize = 32;
/// A probe calls one function that calls the kernel.
const STACK_BYTES: usize = 64 * 1024;

static N_PROBES: AtomicUsize = AtomicUsize::new(0);

/// Space of a file system, bytes and inodes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Space {
    /// In all.
    pub(crate) size_bytes: f64,
    /// Not used.
    pub(crate) free_bytes: f64,
    /// Not used and not kept back for root.
    pub(crate) avail_bytes: f64,
    /// Inodes in all; 0 where they are made as needed.
    pub(crate) files: f64,
    /// Inodes not used.
    pub(crate) files_free: f64,
}

/// Asks the kernel. May wait for ever on a mount that hangs.
pub(crate) fn space(path: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(path)?;
    let block = stat.f_frsize as f64;
    Ok(Space {
        size_bytes: stat.f_blocks as f64 * block,
        free_bytes: stat.f_bfree as f64 * block,
        avail_bytes: stat.f_bavail as f64 * block,
        files: stat.f_files as f64,
        files_free: stat.f_ffree as f64,
    })
}

/// What is known of a file system now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Reading {
    /// Its space.
    Space(Space),
    /// It answered with an error.
    Failed,
    /// It does not answer.
    Hung,
    /// It was asked for the first time and may yet answer.
    Waiting,
}

/// One mount that may hang.
#[derive(Debug)]
pub(crate) struct Probe {
    ask: SyncSender<()>,
    answers: Receiver<io::Result<Space>>,
    asked: Option<Millis>,
    next: Millis,
    last: Reading,
}

impl Probe {
    /// Starts the thread that calls `look` when asked; none when there are too many.
    pub(crate) fn start(look: impl FnMut() -> io::Result<Space> + Send + 'static) -> Option<Probe> {
        if N_PROBES.fetch_add(1, Ordering::Relaxed) >= PROBES_MAX {
            N_PROBES.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let (ask, questions) = sync_channel(1);
        let (answer, answers) = sync_channel(1);
        let counted = Counted;
        let run = move || {
            let _counted = counted;
            answer_all(&questions, &answer, look);
        };
        let thread = std::thread::Builder::new().name("mount-probe".to_owned()).stack_size(STACK_BYTES).spawn(run);
        thread.ok()?;
        Some(Probe { ask, answers, asked: None, next: Millis::ZERO, last: Reading::Waiting })
    }

    /// The last answer; asks anew when it is time.
    pub(crate) fn reading(&mut self, now: Millis) -> Reading {
        if let Ok(answer) = self.answers.try_recv() {
            self.last = answer.map_or(Reading::Failed, Reading::Space);
            self.asked = None;
        }
        match self.asked {
            None if now >= self.next => {
                // With no question under way there is room for one; an error means
                // that the thread is gone, and then the mount looks hung.
                let _ = self.ask.try_send(());
                self.asked = Some(now);
                self.next = now + ASK_EVERY;
            }
            Some(then) if now >= then + HUNG_AFTER => return Reading::Hung,
            _ => {}
        }
        self.last
    }
}

/// One thread, as long as it lives.
struct Counted;

impl Drop for Counted {
    fn drop(&mut self) {
        N_PROBES.fetch_sub(1, Ordering::Relaxed);
    }
}

fn answer_all(
    questions: &Receiver<()>,
    answers: &SyncSender<io::Result<Space>>,
    mut look: impl FnMut() -> io::Result<Space>,
) {
    while questions.recv().is_ok() {
        if answers.send(look()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: Space = Space { size_bytes: 8.0, free_bytes: 4.0, avail_bytes: 2.0, files: 3.0, files_free: 1.0 };

    /// A mount that answers when told to, and says when it answered.
    fn mount() -> (Probe, SyncSender<io::Result<Space>>) {
        let (let_go, gate) = sync_channel(1);
        let probe = Probe::start(move || gate.recv().unwrap_or_else(|_| Err(io::Error::other("gone"))));
        (probe.unwrap(), let_go)
    }

    /// Waits for the probe's thread, not for time: the answer is taken over a channel.
    fn answered(probe: &mut Probe) {
        let answer = probe.answers.recv().unwrap();
        probe.last = answer.map_or(Reading::Failed, Reading::Space);
        probe.asked = None;
    }

    #[test]
    fn a_mount_that_does_not_answer_hangs_after_five_seconds_and_may_come_back() {
        let (mut probe, let_go) = mount();
        assert_eq!(probe.reading(Millis(0)), Reading::Waiting);
        assert_eq!(probe.reading(Millis(4_999)), Reading::Waiting);
        assert_eq!(probe.reading(Millis(5_000)), Reading::Hung);
        assert_eq!(probe.reading(Millis(60_000)), Reading::Hung, "it is not asked twice");
        let_go.send(Ok(SPACE)).unwrap();
        answered(&mut probe);
        assert_eq!(probe.reading(Millis(61_000)), Reading::Space(SPACE));
        assert_eq!(probe.reading(Millis(66_000)), Reading::Hung, "it was asked again at once, ten seconds being over");
    }

    #[test]
    fn the_last_answer_stands_until_the_next_and_errors_are_told() {
        let (mut probe, let_go) = mount();
        probe.reading(Millis(0));
        let_go.send(Ok(SPACE)).unwrap();
        answered(&mut probe);
        assert_eq!(probe.reading(Millis(9_999)), Reading::Space(SPACE));
        assert_eq!(probe.reading(Millis(10_000)), Reading::Space(SPACE));
        let_go.send(Err(io::Error::other("stale handle"))).unwrap();
        answered(&mut probe);
        assert_eq!(probe.reading(Millis(11_000)), Reading::Failed);
    }
}
