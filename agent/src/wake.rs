//! Watched things that tell at once when they change, as a process does through its
//! pidfd. A descriptor that is ready wakes the agent; the check that owns it looks.

use crate::sampler::Sampler;
use std::future::{pending, poll_fn};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::task::Poll;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Descriptors that are watched at most; the others are seen at their next look.
const WAKES_MAX: usize = 256;

/// Looks out of turn between two looks in turn; then wakes rest, so that a descriptor
/// that stays ready cannot keep the agent busy.
const WOKEN_MAX: u32 = 32;

#[derive(Debug)]
struct Wake {
    slot: usize,
    /// The check's own descriptor, to see whether it is still the same.
    own: RawFd,
    /// A duplicate: it stays valid however long the check keeps its own.
    fd: AsyncFd<OwnedFd>,
}

/// Registers a descriptor with the runtime.
#[allow(deprecated, reason = "deprecated for types whose descriptor may change; an OwnedFd's cannot")]
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

/// The descriptors of all checks.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    wakes: Vec<Wake>,
    n_woken: u32,
}

impl Wakes {
    /// Brings the set up to date with what the checks have now.
    pub(crate) fn register(&mut self, sampler: &Sampler) {
        if self.n_woken >= WOKEN_MAX {
            self.wakes.clear();
            return;
        }
        let mut current: Vec<(usize, BorrowedFd<'_>)> = Vec::new();
        let mut fds = Vec::new();
        for (slot, own) in sampler.slots.iter().enumerate() {
            own.check.wake_fds(&mut fds);
            current.extend(fds.drain(..).map(|fd| (slot, fd)));
        }
        current.truncate(WAKES_MAX);
        let same = self.wakes.iter().map(|wake| (wake.slot, wake.own));
        if same.eq(current.iter().map(|(slot, fd)| (*slot, fd.as_raw_fd()))) {
            return;
        }
        self.wakes.clear();
        for (slot, fd) in current {
            let own = fd.as_raw_fd();
            let duplicate = fd.try_clone_to_owned();
            match duplicate.and_then(watch) {
                Ok(fd) => self.wakes.push(Wake { slot, own, fd }),
                Err(error) => tracing::warn!(%error, "watch of a descriptor failed; its check looks on time only"),
            }
        }
    }

    /// A look in turn came: wakes may happen again.
    pub(crate) fn rested(&mut self) {
        self.n_woken = 0;
    }

    /// Waits until descriptors are ready, and gives their checks' indexes. A
    /// descriptor that was ready is forgotten until it is registered anew.
    pub(crate) async fn ready(&mut self) -> Vec<usize> {
        if self.wakes.is_empty() {
            return pending().await;
        }
        let Wakes { wakes, n_woken } = self;
        poll_fn(|context| {
            let mut slots = Vec::new();
            wakes.retain(|wake| {
                let ready = wake.fd.poll_read_ready(context).is_ready();
                if ready && !slots.contains(&wake.slot) {
                    slots.push(wake.slot);
                }
                !ready
            });
            if slots.is_empty() {
                return Poll::Pending;
            }
            *n_woken += 1;
            Poll::Ready(slots)
        })
        .await
    }
}
