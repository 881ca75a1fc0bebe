//! The only door through which time enters.
//!
//! Shells (the agent's loop, the collector's writer and listeners) hold a
//! [`Clock`]; what they call takes instants as arguments. Tests hold a
//! [`ManualClock`].

use crate::units::{Millis, UnixMillis};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Tells wall and monotonic time.
pub trait Clock: Send + Sync {
    /// Wall clock, Unix milliseconds. May step in either direction.
    fn wall(&self) -> UnixMillis;
    /// Monotonic milliseconds since an arbitrary start. Never steps back.
    fn mono(&self) -> Millis;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// Monotonic time counts from here.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn start() -> SystemClock {
        SystemClock { start: std::time::Instant::now() }
    }

    /// Time since its start, as fine as the machine tells it: to measure, not to decide.
    pub fn elapsed(&self) -> std::time::Duration {
        self.start.elapsed()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn wall(&self) -> UnixMillis {
        let now = std::time::SystemTime::now();
        let ms = match now.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        };
        UnixMillis(ms)
    }

    fn mono(&self) -> Millis {
        Millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// A clock that stands still until it is told to move.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall_ms: AtomicI64,
    mono_ms: AtomicU64,
}

impl ManualClock {
    /// Stands at `wall`, monotonic time at zero.
    pub fn at(wall: UnixMillis) -> ManualClock {
        ManualClock { wall_ms: AtomicI64::new(wall.0), mono_ms: AtomicU64::new(0) }
    }

    /// Both clocks move on.
    pub fn advance(&self, by: Millis) {
        self.wall_ms.fetch_add(i64::try_from(by.0).unwrap_or(i64::MAX), Ordering::SeqCst);
        self.mono_ms.fetch_add(by.0, Ordering::SeqCst);
    }

    /// Only the wall clock jumps.
    pub fn step_wall(&self, by_ms: i64) {
        self.wall_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> UnixMillis {
        UnixMillis(self.wall_ms.load(Ordering::SeqCst))
    }
    fn mono(&self) -> Millis {
        Millis(self.mono_ms.load(Ordering::SeqCst))
    }
}
