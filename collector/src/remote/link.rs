//! A source's standing in the writer: a stream as an agent has one, kept up while the
//! source writes.
//!
//! The writer ends the stream when it refuses a turn; whoever waits is told to come
//! back, and the next request opens another link, with a dictionary and epochs of its own.

use super::pack::{CHECK, Packer, SHARDS_MAX};
use super::{WriteError, stopping};
use crate::shared::Shared;
use crate::writer::inbox::{Inbox, Message};
use crate::writer::stream::{Fault, Pending, StreamOut};
use signalbox_proto::limits::HEARTBEAT_MS;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::samples::{Batch, CheckInfo, Hello};
use signalbox_proto::units::Millis;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{oneshot, watch};

/// A source that writes nothing for this long, or for three of its intervals, is gone:
/// twice Prometheus's default interval, so that one lost scrape is no outage.
pub(super) const SILENCE: Millis = Millis::from_mins(2);
/// Heartbeats are said in the source's name while it writes.
const HEARTBEAT: Millis = Millis(HEARTBEAT_MS);
/// Stands for the boot of a machine, which a source has not.
const BOOT_ID: &str = "remote-write";

/// What the writer has said so far.
#[derive(Debug, Default)]
struct Said {
    /// Highest durable sequence by epoch.
    acks: HashMap<u64, u64>,
    fault: Option<Fault>,
}

/// A source that stands.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) packer: Packer,
    stream: Arc<StreamOut>,
    said: watch::Receiver<Said>,
    /// When it wrote last, monotonic milliseconds.
    written: Arc<AtomicU64>,
}

/// Batches on their way to the disk.
pub(super) struct Sent {
    said: watch::Receiver<Said>,
    /// (epoch, sequence) of the last of each shard.
    last: Vec<(u64, u64)>,
}

impl Link {
    /// Introduces a source to the writer.
    ///
    /// # Errors
    /// [`WriteError::Source`] when an agent of this name streams, [`WriteError::Later`].
    pub(super) async fn open(
        shared: &Arc<Shared>,
        inbox: &Inbox,
        id: AgentId,
        interval: Millis,
    ) -> Result<Link, WriteError> {
        let now = shared.now();
        // Shards count from here: no two links of a source share an epoch.
        let base = u64::try_from(now.0).unwrap_or(0).saturating_mul(u64::from(SHARDS_MAX));
        let stream = Arc::new(StreamOut::remote(id.clone()));
        let hello = Hello {
            agent: id,
            boot_id: BOOT_ID.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            labels: Labels::new([("kind".to_owned(), "remote".to_owned())]).unwrap_or_default(),
            capabilities: Vec::new(),
            epochs: vec![base],
            wall: now,
            checks: vec![CheckInfo { name: CHECK.to_owned(), interval }],
        };
        let (reply, greeted) = oneshot::channel();
        let connected = Message::Connected { hello, stream: Arc::clone(&stream), reply };
        inbox.send(connected).await.map_err(|_| stopping())?;
        let greeted = greeted.await.map_err(|_| WriteError::NoSpace)?;
        greeted.map_err(WriteError::Source)?;
        let (say, said) = watch::channel(Said::default());
        let written = Arc::new(AtomicU64::new(shared.clock().mono().0));
        let silence = SILENCE.max(interval.times(3));
        let attended = Attended { stream: Arc::clone(&stream), written: Arc::clone(&written), silence };
        tokio::spawn(attended.run(Arc::clone(shared), inbox.clone(), say));
        let seeds = [crate::tls::random::<8>(), crate::tls::random::<8>()];
        let [Ok(first), Ok(second)] = seeds.map(|seed| seed.map(u64::from_le_bytes)) else {
            return Err(WriteError::Later("the system gives no random numbers".to_owned()));
        };
        Ok(Link { packer: Packer::new(base, interval, [first, second], now), stream, said, written })
    }

    /// True once nothing more of it is taken.
    pub(super) fn is_over(&self) -> bool {
        self.stream.is_ended() || self.said.has_changed().is_err()
    }

    /// Says goodbye, for another link to take its place. What is under way is still
    /// acknowledged to whoever waits for it.
    ///
    /// # Errors
    /// [`WriteError::Later`]: the writer is gone.
    pub(super) async fn end(self, inbox: &Inbox) -> Result<(), WriteError> {
        let goodbye = Some("the source's link is renewed".to_owned());
        inbox.send(Message::Disconnected { stream: self.stream, goodbye }).await.map_err(|_| stopping())
    }

    /// Hands batches to the writer, in order.
    ///
    /// # Errors
    /// [`WriteError::Later`]: the link is over.
    pub(super) async fn send(
        &mut self,
        inbox: &Inbox,
        shared: &Shared,
        batches: Vec<Batch>,
    ) -> Result<Sent, WriteError> {
        self.written.store(shared.clock().mono().0, Ordering::Relaxed);
        let mut last: Vec<(u64, u64)> = Vec::with_capacity(batches.len());
        for batch in batches {
            let (epoch, seq) = (batch.epoch, batch.seq);
            match last.last_mut() {
                Some((known, last)) if *known == epoch => *last = seq,
                _ => last.push((epoch, seq)),
            }
            let stream = Arc::clone(&self.stream);
            inbox.send(Message::Batch { stream, batch }).await.map_err(|_| stopping())?;
        }
        Ok(Sent { said: self.said.clone(), last })
    }
}

impl Sent {
    /// Waits until all of it is durable.
    ///
    /// # Errors
    /// [`WriteError::Later`]: it is not, or not all of it; it can be sent again.
    pub(super) async fn durable(mut self) -> Result<(), WriteError> {
        let is_in = |said: &Said| self.last.iter().all(|(epoch, seq)| said.acks.get(epoch) >= Some(seq));
        let said = self.said.wait_for(|said| said.fault.is_some() || is_in(said)).await;
        let said = said.map_err(|_| stopping())?;
        match &said.fault {
            Some(fault) if !is_in(&said) => Err(WriteError::Later(words(fault))),
            _ => Ok(()),
        }
    }
}

fn words(fault: &Fault) -> String {
    let why = match fault {
        Fault::Invalid(why) | Fault::Gap(why) | Fault::Refused(why) | Fault::Limit(why) => why,
        Fault::Replaced => "another stream took its place",
    };
    format!("the collector did not take the request, send it again: {why}")
}

/// A stream, and when its source wrote last.
struct Attended {
    stream: Arc<StreamOut>,
    written: Arc<AtomicU64>,
    silence: Millis,
}

impl Attended {
    /// Passes on what the writer says and keeps the stream alive, until the writer ends
    /// it or the source is silent.
    async fn run(self, shared: Arc<Shared>, inbox: Inbox, say: watch::Sender<Said>) {
        let mut heartbeat = tokio::time::interval(HEARTBEAT.std());
        loop {
            tokio::select! {
                Pending { acks, fault, .. } = self.stream.told() => {
                    say.send_modify(|said| {
                        said.acks.extend(acks);
                        said.fault = said.fault.take().or(fault);
                    });
                    if say.borrow().fault.is_some() {
                        break;
                    }
                }
                _ = heartbeat.tick() => {
                    let silent = shared.clock().mono().0.saturating_sub(self.written.load(Ordering::Relaxed));
                    if silent >= self.silence.0 {
                        break;
                    }
                    let beat = Message::Heartbeat { stream: Arc::clone(&self.stream), wall: shared.now(), n_backlog: 0 };
                    if inbox.send(beat).await.is_err() {
                        return;
                    }
                }
            }
        }
        if inbox.send(Message::Disconnected { stream: self.stream, goodbye: None }).await.is_err() {
            tracing::debug!("a source ended after the writer");
        }
    }
}
