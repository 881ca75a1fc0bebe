//! A collector without doors and without a clock: whoever drives it hands in turns
//! and says what time it is. For measurements that play days in minutes, over the
//! same writer, store and queries that a collector runs.

use crate::query::{QueryError, QueryLimits, Reader, answer};
use crate::reading::Asked;
use crate::shared::Shared;
use crate::store::{Store, StoreError};
use crate::telemetry::Telemetry;
use crate::writer::inbox::{Message, Outbox, Queued, inbox};
use crate::writer::seal::Sealer;
use crate::writer::{Turn, Writer, segments};
use signalbox_access::AuditKey;
use signalbox_proto::api::QueryAnswer;
use signalbox_proto::clock::ManualClock;
use signalbox_proto::selector::Selector;
use signalbox_proto::units::{Bytes, Millis, UnixMillis};
use signalbox_tsdb::index::SERIES_DEFAULT_MAX;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Batches that may wait, bytes; a driver hands them in itself.
const INBOX_BYTES: usize = 64 * 1024 * 1024;

/// See the module's documentation.
pub struct Rig {
    shared: Arc<Shared>,
    writer: Writer,
    sealed: Outbox,
    notices: mpsc::Receiver<signalbox_engine::decision::Notice>,
    at: UnixMillis,
}

/// What of the series is in memory, and what was retired.
#[derive(Debug, Clone, Copy)]
pub struct SeriesFacts {
    /// Series in memory.
    pub n_live: usize,
    /// What they take there, estimated.
    pub index: Bytes,
    /// Open chunks, estimated.
    pub lanes: Bytes,
    /// Series on disk.
    pub n_retired: u64,
    /// Segments of them.
    pub n_segments: usize,
}

impl Rig {
    /// Reads everything back from the store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(store: Arc<dyn Store>, at: UnixMillis) -> Result<Rig, StoreError> {
        let shared = Arc::new(Shared::new(Arc::new(ManualClock::at(at)), store, Telemetry::default()));
        let (inbox, sealed) = inbox(INBOX_BYTES);
        let sealer = Sealer::start(inbox)
            .map_err(|why| StoreError::Failed { what: "start the sealing thread".to_owned(), why: why.to_string() })?;
        let (sender, notices) = mpsc::channel(1);
        let writer = Writer::open(Arc::clone(&shared), sealer, sender, SERIES_DEFAULT_MAX, AuditKey::new([0; 32]), at)?;
        Ok(Rig { shared, writer, sealed, notices, at })
    }

    /// One turn at `at`, with whatever was sealed since, and then the writer's
    /// housekeeping.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn turn(&mut self, at: UnixMillis, messages: Vec<Message>) -> Result<(), StoreError> {
        self.at = at;
        while self.notices.try_recv().is_ok() {}
        let mut messages: Vec<Queued> = messages.into_iter().map(Queued::bare).collect();
        messages.extend(std::iter::from_fn(|| self.sealed.try_next()));
        self.writer.step(Turn { at, started: false, tick: true, messages })?;
        self.writer.tidy(at);
        Ok(())
    }

    /// Merges and deletes segments of retired series, all that is due.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_segments(&mut self, age: Millis) -> Result<(), StoreError> {
        let mut erasable = segments::gone(&**self.shared.store())?;
        while let Some(change) = segments::plan(&self.shared, self.at - age, &mut erasable)? {
            self.turn(self.at, vec![Message::Segments(change)])?;
        }
        Ok(())
    }

    /// Series over a closed range.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn query(&self, selector: &Selector, from: UnixMillis, to: UnixMillis) -> Result<QueryAnswer, QueryError> {
        let deadline = Millis(u64::MAX);
        answer(
            &Reader { shared: &self.shared, deadline, limits: QueryLimits::default(), waiting: &Asked::default() },
            selector,
            from,
            to,
        )
    }

    /// Where the series are.
    pub fn series(&self) -> SeriesFacts {
        let index = self.shared.index();
        let catalogue = self.shared.catalogue();
        let lanes = catalogue.lanes.values().flat_map(|lanes| lanes.values()).map(|cell| {
            let state = cell.read();
            state.lane.memory().0 + state.sealing.as_ref().map_or(0, |part| part.memory().0)
        });
        SeriesFacts {
            n_live: index.len(),
            index: index.memory(),
            lanes: Bytes(lanes.sum()),
            n_retired: index.segments().iter().map(|head| head.n_series).sum(),
            n_segments: index.segments().len(),
        }
    }
}
