//! Reads that may block: a bounded number at a time, on threads of their own.
//!
//! Whoever asks waits for a place at most as long as it says. A reader that went away
//! is told to its read by [`Asked::is_gone`]; what was begun still holds its place until it
//! looks.

use crate::shared::Shared;
use signalbox_proto::units::Millis;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use thiserror::Error;

/// Why nothing was read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum NotRead {
    /// No place came free.
    #[error("too many reads are under way")]
    Busy,
    /// The read panicked.
    #[error("the read broke off: {0}")]
    Broken(String),
}

/// Whether somebody still waits for what is read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked(Arc<AtomicBool>);

impl Asked {
    /// True once nobody waits any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Says so when whoever waits is dropped.
struct Waiting(Asked);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Reads on a blocking thread, once there is a place for it.
///
/// # Errors
/// [`NotRead`].
pub(crate) async fn read<T: Send + 'static>(
    shared: &Arc<Shared>,
    patience: Millis,
    what: impl FnOnce(&Shared, &Asked) -> T + Send + 'static,
) -> Result<T, NotRead> {
    let place = Arc::clone(shared.queries()).acquire_owned();
    let place = tokio::time::timeout(patience.std(), place).await;
    let place = place.map_err(|_| NotRead::Busy)?.map_err(|_| NotRead::Busy)?;
    let (shared, asked) = (Arc::clone(shared), Asked::default());
    let _waiting = Waiting(asked.clone());
    let task = tokio::task::spawn_blocking(move || {
        let _place = place;
        what(&shared, &asked)
    });
    task.await.map_err(|error| NotRead::Broken(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;
    use crate::telemetry::Telemetry;
    use signalbox_proto::clock::ManualClock;
    use signalbox_proto::units::UnixMillis;

    fn shared() -> Arc<Shared> {
        let clock = Arc::new(ManualClock::at(UnixMillis(0)));
        Arc::new(Shared::new(clock, Arc::new(MemoryStore::default()), Telemetry::default()))
    }

    #[tokio::test]
    async fn a_read_that_nobody_waits_for_hears_so() {
        let shared = shared();
        let (began, begun) = tokio::sync::oneshot::channel();
        let (end, ended) = tokio::sync::oneshot::channel();
        let reading = read(&shared, Millis(1000), move |_, asked| {
            began.send(asked.is_gone()).unwrap();
            while !asked.is_gone() {
                std::thread::yield_now();
            }
            end.send(()).unwrap();
        });
        tokio::select! {
            _ = reading => panic!("it ends only when nobody waits"),
            was_gone = begun => assert!(!was_gone.unwrap()),
        }
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn without_a_place_it_is_busy() {
        let shared = shared();
        let n = u32::try_from(shared.queries().available_permits()).unwrap();
        let all = Arc::clone(shared.queries()).acquire_many_owned(n).await.unwrap();
        assert_eq!(read(&shared, Millis(1), |_, _| ()).await, Err(NotRead::Busy));
        drop(all);
        assert_eq!(read(&shared, Millis(1000), |_, _| 7).await, Ok(7));
    }
}
