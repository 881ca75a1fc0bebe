//! What is watched: one file per thing, grouped by layer.
//!
//! A check reads and computes; it never sends, keeps or waits for a network. Its
//! series have a fixed order, the *layout*, so that a sample is a row of numbers
//! and labels are made only when the set of series changes (a disk appears, a
//! process starts).

pub mod application;
mod columns;
pub mod cost;
mod file;
#[cfg(test)]
mod live;
pub mod machine;
pub mod own;
mod roster;
pub mod script;
#[cfg(test)]
mod testing;
mod text;

pub use application::find::Pattern;
pub use application::process::{ProcessSpec, ProcessTable, ProcessWatch, process_checks};
pub use machine::{DevicePattern, machine_checks};

use signalbox_proto::names::Labels;
use signalbox_proto::samples::CheckResult;
use signalbox_proto::units::{Millis, UnixMillis};
use std::os::fd::BorrowedFd;
use thiserror::Error;

/// The series of a check in column order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// Grows with every change of `series`; 0 before the first sample.
    pub generation: u64,
    /// Labels of each column, metric name included.
    pub series: Vec<Labels>,
}

/// When a check is asked to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instant {
    /// Wall clock: the timestamp of the samples.
    pub wall: UnixMillis,
    /// Monotonic clock: for rates and ages.
    pub mono: Millis,
}

/// Why a check could not look. Told as an agent event once per change.
#[derive(Debug, Error)]
pub enum CheckError {
    /// A source could not be read.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A source has a form that is not understood.
    #[error("{path}: {what}")]
    Parse {
        /// Which file.
        path: String,
        /// What was expected and what was found.
        what: String,
    },
}

/// One thing that is watched.
pub trait Check: Send {
    /// Unique within the agent; the `check` of its shape on the wire.
    fn name(&self) -> &str;

    /// Looks once: clears `values` and fills it with one value for each series of
    /// [`Check::layout`], which it brings up to date first.
    ///
    /// # Errors
    /// [`CheckError`]; nothing is sampled then, and the series go stale.
    fn sample(&mut self, at: Instant, values: &mut Vec<f64>) -> Result<(), CheckError>;

    /// Series of the last sample.
    fn layout(&self) -> &Layout;

    /// Adds descriptors that become readable when this check has something to tell
    /// before its time, such as the death of a process. The caller polls them with
    /// its timer and, when one is readable, samples this check at once; that sample
    /// takes the cause away, so the set must be asked for again after every sample.
    fn wake_fds<'a>(&'a self, _out: &mut Vec<BorrowedFd<'a>>) {}

    /// What a check that speaks in states found at its last sample, once.
    fn take_result(&mut self) -> Option<CheckResult> {
        None
    }
}
