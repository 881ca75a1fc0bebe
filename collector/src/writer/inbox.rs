//! The writer's bounded inbox: the only way into it.
//!
//! Batches wait for room, by count and by bytes; that wait is what makes a stream
//! stop being read, which is the back-pressure that an agent feels. Commands,
//! heartbeats and the collector's own messages have room of their own, so that an
//! operator is heard while batches queue.

use super::stream::StreamOut;
use crate::handle::HandleError;
use crate::writer::merge::Merge;
use crate::writer::retention::Sweep;
use crate::writer::seal::Sealed;
use crate::writer::segments::SegmentChange;
use signalbox_access::{AccessAct, Caller};
use signalbox_engine::decision::Answer;
use signalbox_engine::event::{Act, DeliveryOutcome};
use signalbox_engine::rule::Ruleset;
use signalbox_proto::samples::{Batch, Hello};
use signalbox_proto::units::UnixMillis;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Batches that may wait.
pub const BATCHES_MAX: usize = 8192;
/// Other messages that may wait.
pub const OTHERS_MAX: usize = 8192;
/// What a batch weighs besides its payload: dictionary entries are domain values.
const ENTRY_WEIGHT_BYTES: usize = 256;

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InboxError {
    /// No room for this kind of message.
    #[error("the inbox is full")]
    Full,
    /// The writer is gone.
    #[error("the writer has stopped")]
    Closed,
}

/// What the writer answers to a Hello: where to resume each epoch.
pub type Marks = Vec<(u64, u64)>;

/// Everything that can be asked of the writer.
#[derive(Debug)]
pub enum Message {
    /// An agent said Hello on a stream.
    Connected {
        /// What it said.
        hello: Hello,
        /// Where to answer.
        stream: Arc<StreamOut>,
        /// Marks of the listed epochs, or why the stream is refused.
        reply: oneshot::Sender<Result<Marks, String>>,
    },
    /// A batch arrived.
    Batch {
        /// On which stream.
        stream: Arc<StreamOut>,
        /// What.
        batch: Batch,
    },
    /// A stream says that it lives.
    Heartbeat {
        /// Which.
        stream: Arc<StreamOut>,
        /// The agent's wall clock.
        wall: UnixMillis,
        /// Batches that it keeps.
        n_backlog: u64,
    },
    /// A stream ended.
    Disconnected {
        /// Which.
        stream: Arc<StreamOut>,
        /// Reason of a planned stop.
        goodbye: Option<String>,
    },
    /// An operator acts.
    Command {
        /// Who.
        caller: Caller,
        /// What.
        act: Act,
        /// Answered after the commit.
        reply: oneshot::Sender<Result<Answer, HandleError>>,
    },
    /// Somebody does something about identities or rights, or was refused.
    Access {
        /// Who.
        caller: Caller,
        /// What.
        act: AccessAct,
        /// Answered after the commit, if somebody waits.
        reply: Option<oneshot::Sender<Result<signalbox_access::Answer, HandleError>>>,
    },
    /// A notifier tried.
    Delivery {
        /// Key of the notice.
        key: String,
        /// What came of it.
        outcome: DeliveryOutcome,
    },
    /// These rules are in force from here on.
    Rules {
        /// The rules.
        rules: Arc<Ruleset>,
        /// The files that they were made from.
        files: Arc<BTreeMap<String, String>>,
        /// Answered after the commit.
        reply: oneshot::Sender<()>,
    },
    /// A chunk was encoded.
    Sealed(Sealed),
    /// Chunks were merged.
    Merged(Merge),
    /// What retention wants gone.
    Swept(Sweep),
    /// Segments of retired series to merge or to delete.
    Segments(SegmentChange),
    /// Commit what is here, then end.
    Stop,
}

impl Message {
    /// What it weighs against the inbox's bytes.
    fn weight(&self) -> usize {
        match self {
            Message::Batch { batch, .. } => {
                let n_refs: usize = batch.shapes.iter().map(|shape| shape.refs.len()).sum();
                let n_entries = batch.series.len() + batch.shapes.len() + batch.results.len() + batch.events.len();
                batch.columns.len() + n_entries * ENTRY_WEIGHT_BYTES + n_refs * 4 + ENTRY_WEIGHT_BYTES
            }
            _ => 0,
        }
    }
}

/// A message and the room that it takes until its turn ends.
#[derive(Debug)]
pub struct Queued {
    /// What.
    pub message: Message,
    /// Its weight, bytes.
    pub weight: usize,
    _room: Vec<OwnedSemaphorePermit>,
}

impl Queued {
    /// For turns that no inbox made.
    pub fn bare(message: Message) -> Queued {
        Queued { weight: message.weight(), message, _room: Vec::new() }
    }
}

/// The sending end; cheap to clone.
#[derive(Debug, Clone)]
pub struct Inbox {
    sender: SyncSender<Queued>,
    batches: Arc<Semaphore>,
    batch_bytes: Arc<Semaphore>,
    max_bytes: usize,
    others: Arc<Semaphore>,
}

/// The writer's end.
#[derive(Debug)]
pub struct Outbox {
    receiver: Receiver<Queued>,
}

/// An inbox in which batches of `max_bytes` together may wait.
pub fn inbox(max_bytes: usize) -> (Inbox, Outbox) {
    // Permits bound what is inside, so that a send never blocks.
    let (sender, receiver) = sync_channel(BATCHES_MAX + OTHERS_MAX);
    let max_bytes = max_bytes.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
    let inbox = Inbox {
        sender,
        batches: Arc::new(Semaphore::new(BATCHES_MAX)),
        batch_bytes: Arc::new(Semaphore::new(max_bytes)),
        max_bytes,
        others: Arc::new(Semaphore::new(OTHERS_MAX)),
    };
    (inbox, Outbox { receiver })
}

impl Inbox {
    /// Waits for room and puts a message in.
    ///
    /// # Errors
    /// [`InboxError::Closed`].
    pub async fn send(&self, message: Message) -> Result<(), InboxError> {
        let weight = message.weight();
        let closed = |_| InboxError::Closed;
        let room = if let Message::Batch { .. } = message {
            let n_bytes = u32::try_from(weight.min(self.max_bytes)).unwrap_or(u32::MAX);
            let bytes = Arc::clone(&self.batch_bytes).acquire_many_owned(n_bytes).await.map_err(closed)?;
            vec![bytes, Arc::clone(&self.batches).acquire_owned().await.map_err(closed)?]
        } else {
            vec![Arc::clone(&self.others).acquire_owned().await.map_err(closed)?]
        };
        self.put(Queued { message, weight, _room: room })
    }

    /// Puts a message other than a batch in if there is room now.
    ///
    /// # Errors
    /// The message back when there is no room; none when the writer is gone.
    pub fn try_give(&self, message: Message) -> Result<(), Option<Box<Message>>> {
        let Ok(permit) = Arc::clone(&self.others).try_acquire_owned() else { return Err(Some(Box::new(message))) };
        self.put(Queued { weight: message.weight(), message, _room: vec![permit] }).map_err(|_| None)
    }

    fn put(&self, queued: Queued) -> Result<(), InboxError> {
        use std::sync::mpsc::TrySendError;
        self.sender.try_send(queued).map_err(|error| match error {
            TrySendError::Full(_) => InboxError::Full,
            TrySendError::Disconnected(_) => InboxError::Closed,
        })
    }

    /// Bytes of batches that wait.
    pub fn n_bytes_waiting(&self) -> usize {
        self.max_bytes - self.batch_bytes.available_permits().min(self.max_bytes)
    }
}

impl Outbox {
    /// The next message, waiting at most `timeout`; none when nothing came.
    ///
    /// # Errors
    /// [`InboxError::Closed`] when nobody can send any more.
    pub fn next(&self, timeout: Duration) -> Result<Option<Queued>, InboxError> {
        match self.receiver.recv_timeout(timeout) {
            Ok(queued) => Ok(Some(queued)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(InboxError::Closed),
        }
    }

    /// A message that is there already.
    pub fn try_next(&self) -> Option<Queued> {
        self.receiver.try_recv().ok()
    }
}
