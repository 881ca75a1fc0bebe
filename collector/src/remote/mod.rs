//! Samples that others send: Prometheus's remote write, version 1.0, received.
//!
//! ```text
//! body -> snappy -> [`wire`] (borrowed fields) -> [`pack`] (refs, shapes, columns) -> writer's inbox
//!                                                   └ [`dictionary`]: raw labels to refs
//! ```
//!
//! A *source* is an owner of lanes as an agent is, and enters by the same stream of
//! turns: its samples meet the same journal, chunks, rules and queries. What it sends
//! keeps its labels as they are. A request is answered after the commit that holds its
//! samples. A source that says nothing for [`link::SILENCE`] counts as an agent that is
//! gone, and the board shows it.
//!
//! Promises: what can never be taken is refused for good (4xx) and the rest of its
//! request is kept; whatever may pass later is told so (429, 503). Nothing is allocated
//! for a sample whose series is known.

mod dictionary;
mod link;
mod pack;
#[cfg(test)]
mod tests;

mod wire;

use crate::shared::Shared;
use crate::telemetry;
use crate::writer::inbox::Inbox;
use bytes::Bytes;
use link::Link;
use signalbox_proto::names::AgentId;
use signalbox_proto::units::Millis;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;
use tokio::sync::Semaphore;

pub(crate) use pack::Refused;

/// Bytes of one request as it comes.
pub(crate) const BODY_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of one request unpacked: vmagent sends up to 8 MiB, Prometheus about 1 MiB.
const UNPACKED_MAX_BYTES: usize = 32 * 1024 * 1024;
/// Requests that are unpacked at the same time; more wait.
const REQUESTS_MAX: usize = 8;
/// Sources of one collector.
const SOURCES_MAX: usize = 1000;
/// Smaller requests are packed where they are: a change of threads costs more.
const INLINE_MAX_BYTES: usize = 256 * 1024;
/// Time between two samples of a series where the source does not say: Prometheus's default.
pub(crate) const INTERVAL: Millis = Millis::from_mins(1);

/// What was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Samples that are durable.
    pub(crate) n_samples: u64,
    /// What was not, and never will be.
    pub(crate) refused: Refused,
}

/// Why nothing was taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum WriteError {
    /// No snappy block, or one over the limit.
    #[error("{0}")]
    Packed(String),
    /// Unpacked, it is no `WriteRequest`.
    #[error("the request is malformed: {0}")]
    Malformed(#[from] wire::Malformed),
    /// The name belongs to somebody else, or there are too many sources.
    #[error("{0}")]
    Source(String),
    /// Over the limit of [`UNPACKED_MAX_BYTES`].
    #[error("the request holds {0} bytes unpacked, over the limit of {UNPACKED_MAX_BYTES}")]
    TooLarge(usize),
    /// The disk is low or full.
    #[error("the collector has no space: it takes nothing for now")]
    NoSpace,
    /// The collector is busy or stopping, or the turn was refused.
    #[error("{0}")]
    Later(String),
}

/// All sources.
pub(crate) struct Remote {
    shared: Arc<Shared>,
    inbox: Inbox,
    requests: Semaphore,
    sources: Mutex<HashMap<AgentId, Arc<tokio::sync::Mutex<Option<Link>>>>>,
}

impl Remote {
    pub(crate) fn new(shared: Arc<Shared>, inbox: Inbox) -> Remote {
        Remote { shared, inbox, requests: Semaphore::new(REQUESTS_MAX), sources: Mutex::default() }
    }

    /// Takes a request; returns after the commit that holds its samples.
    ///
    /// # Errors
    /// [`WriteError`].
    pub(crate) async fn write(
        self: &Arc<Remote>,
        source: AgentId,
        interval: Millis,
        body: Bytes,
    ) -> Result<Written, WriteError> {
        if self.shared.is_throttled() {
            return Err(WriteError::NoSpace);
        }
        // A sender that goes away must not leave half of its request behind.
        let remote = Arc::clone(self);
        let task = tokio::spawn(async move { remote.take(source, interval, body).await });
        task.await.map_err(|error| WriteError::Later(format!("the request broke off: {error}")))?
    }

    async fn take(&self, source: AgentId, interval: Millis, body: Bytes) -> Result<Written, WriteError> {
        let _place = self.requests.acquire().await.map_err(|_| stopping())?;
        let n_bytes = snap::raw::decompress_len(&body).map_err(unpack)?;
        if n_bytes > UNPACKED_MAX_BYTES {
            return Err(WriteError::TooLarge(n_bytes));
        }
        let mut link = self.source(&source)?.lock_owned().await;
        let now = self.shared.now();
        if let Some(old) = link.take_if(|link| link.is_over() || link.packer.is_over(interval, now)) {
            old.end(&self.inbox).await?;
        }
        if link.is_none() {
            *link = Some(Link::open(&self.shared, &self.inbox, source, interval).await?);
        }
        let pack = move || {
            let unpacked = snap::raw::Decoder::new().decompress_vec(&body).map_err(unpack)?;
            let packer = link.as_mut().map(|link| &mut link.packer);
            let packed = packer.ok_or_else(stopping)?.pack(&unpacked, now)?;
            Ok::<_, WriteError>((link, packed))
        };
        let packed = if n_bytes <= INLINE_MAX_BYTES {
            pack()
        } else {
            tokio::task::spawn_blocking(pack).await.map_err(|error| WriteError::Later(error.to_string()))?
        };
        let (mut link, packed) = packed?;
        let standing = link.as_mut().ok_or_else(stopping)?;
        let sent = standing.send(&self.inbox, &self.shared, packed.batches).await?;
        // The source's next request is packed while this one is made durable.
        drop(link);
        sent.durable().await?;
        Ok(Written { n_samples: packed.n_samples, refused: packed.refused })
    }

    fn source(&self, id: &AgentId) -> Result<Arc<tokio::sync::Mutex<Option<Link>>>, WriteError> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sources.get(id) {
            return Ok(Arc::clone(known));
        }
        if id.as_str() == telemetry::AGENT || self.shared.access().is_enrolled(id) {
            return Err(WriteError::Source(format!("{id} is the name of an agent; name the source: ?source=NAME")));
        }
        if sources.len() >= SOURCES_MAX {
            return Err(WriteError::Source(format!("{SOURCES_MAX} sources write already, {id} is one too many")));
        }
        Ok(Arc::clone(sources.entry(id.clone()).or_default()))
    }
}

fn stopping() -> WriteError {
    WriteError::Later("the collector is stopping".to_owned())
}

fn unpack(error: snap::Error) -> WriteError {
    WriteError::Packed(format!("the body is no snappy block: {error}"))
}
