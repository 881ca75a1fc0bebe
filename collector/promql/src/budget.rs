//! What a running query has used and when it must end.

use crate::error::Error;
use crate::limits::Options;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a query is to end early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Its time is over.
    Timeout,
    /// Nobody waits for it.
    Canceled,
}

/// The allowance of one query. It has no clock: the caller's closure looks at
/// the deadline and at the client, and is asked at least once per series.
pub struct Budget<'a> {
    stop: &'a (dyn Fn() -> Option<Stop> + Sync),
    samples_max: u64,
    memory_max_bytes: u64,
    n_samples: AtomicU64,
    memory_bytes: AtomicU64,
    memory_peak_bytes: AtomicU64,
}

impl<'a> Budget<'a> {
    /// A fresh allowance; `stop` says when to end early.
    pub fn new(options: &Options, stop: &'a (dyn Fn() -> Option<Stop> + Sync)) -> Budget<'a> {
        Budget {
            stop,
            samples_max: options.samples_max,
            memory_max_bytes: options.memory_max.0,
            n_samples: AtomicU64::new(0),
            memory_bytes: AtomicU64::new(0),
            memory_peak_bytes: AtomicU64::new(0),
        }
    }

    /// Asks whether to go on. Cheap enough for once per series or chunk.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Canceled`].
    pub fn check(&self) -> Result<(), Error> {
        match (self.stop)() {
            None => Ok(()),
            Some(Stop::Timeout) => Err(Error::Timeout),
            Some(Stop::Canceled) => Err(Error::Canceled),
        }
    }

    /// Counts samples that were read or made. The evaluator counts what it is
    /// handed; a store need not.
    ///
    /// # Errors
    /// [`Error::Execution`] over the limit.
    pub fn count_samples(&self, n: usize) -> Result<(), Error> {
        let before = self.n_samples.fetch_add(n as u64, Ordering::Relaxed);
        if before.saturating_add(n as u64) > self.samples_max {
            return Err(Error::Execution(format!(
                "query processing would load too many samples into memory in expression evaluation: \
                 over the limit of {}; select fewer series or a shorter time",
                self.samples_max
            )));
        }
        Ok(())
    }

    /// Takes memory.
    ///
    /// # Errors
    /// [`Error::Execution`] over the limit.
    pub fn take(&self, bytes: usize) -> Result<(), Error> {
        let now = self.memory_bytes.fetch_add(bytes as u64, Ordering::Relaxed).saturating_add(bytes as u64);
        self.memory_peak_bytes.fetch_max(now, Ordering::Relaxed);
        if now > self.memory_max_bytes {
            return Err(Error::Execution(format!(
                "query would hold more than its limit of {} of memory; select fewer series or fewer steps",
                signalbox_proto::units::Bytes(self.memory_max_bytes)
            )));
        }
        Ok(())
    }

    /// Gives memory back.
    pub fn give_back(&self, bytes: usize) {
        self.memory_bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// Samples counted so far.
    pub fn n_samples(&self) -> u64 {
        self.n_samples.load(Ordering::Relaxed)
    }

    /// The most memory that was held, estimated.
    pub fn memory_peak_bytes(&self) -> u64 {
        self.memory_peak_bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalbox_proto::units::Bytes;

    #[test]
    fn limits_hold_at_the_limit_and_break_one_over() {
        let options = Options { samples_max: 10, memory_max: Bytes(100), ..Options::default() };
        let budget = Budget::new(&options, &|| None);
        assert_eq!(budget.count_samples(10), Ok(()));
        assert_eq!(budget.count_samples(1).unwrap_err().class(), "execution");
        assert_eq!(budget.take(100), Ok(()));
        assert!(budget.take(1).unwrap_err().to_string().contains("100B"));
        budget.give_back(101);
        assert_eq!(budget.take(100), Ok(()));
        assert_eq!(budget.memory_peak_bytes(), 101);
    }

    #[test]
    fn a_stop_says_which() {
        let options = Options::default();
        assert_eq!(Budget::new(&options, &|| Some(Stop::Timeout)).check(), Err(Error::Timeout));
        assert_eq!(Budget::new(&options, &|| Some(Stop::Canceled)).check(), Err(Error::Canceled));
    }
}
