//! The agent's timer: one timerfd.
//!
//! The runtime's own timers live in a wheel that wakes once more on the way to a
//! deadline a second off, and once more to be set. At one look a second that is half
//! of all wake-ups, and wake-ups are what an idle agent costs.

use crate::wake::watch;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use rustix::time::{timerfd_create, timerfd_settime};
use signalbox_proto::units::Millis;
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// Rings at an instant of the agent's monotonic clock.
#[derive(Debug)]
pub(crate) struct Alarm {
    fd: AsyncFd<OwnedFd>,
    armed: Option<Millis>,
}

impl Alarm {
    /// Not armed yet. Must be called inside the runtime.
    ///
    /// # Errors
    /// When the kernel gives no timer.
    pub(crate) fn new() -> io::Result<Alarm> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Alarm { fd: watch(fd)?, armed: None })
    }

    /// Waits until `at`; `now` is the clock that `at` is on. May be dropped and called
    /// again: the kernel is asked only when `at` differs. A ring that nobody waited
    /// for makes the next one come at once, so the caller looks what is due.
    ///
    /// # Errors
    /// When the timer cannot be set.
    pub(crate) async fn ring(&mut self, at: Millis, now: Millis) -> io::Result<()> {
        if at <= now {
            // Whoever is always late must let others run.
            tokio::task::yield_now().await;
            return Ok(());
        }
        if self.armed != Some(at) {
            let wait = at.0 - now.0;
            let value = Timespec {
                tv_sec: i64::try_from(wait / 1000).unwrap_or(i64::MAX),
                tv_nsec: i64::try_from(wait % 1000).unwrap_or(0) * 1_000_000,
            };
            let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
            let spec = Itimerspec { it_interval, it_value: value };
            timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::empty(), &spec)?;
            self.armed = Some(at);
        }
        // Setting it again takes the readiness away; it need not be read.
        self.fd.readable().await?.clear_ready();
        self.armed = None;
        Ok(())
    }
}
