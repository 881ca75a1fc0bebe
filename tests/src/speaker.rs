//! An agent of our own that speaks the real protocol and knows what it was
//! promised: what the collector acknowledged is an obligation, what it did not may
//! exist.

use crate::tls;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use signalbox_proto::columns::Encoder;
use signalbox_proto::limits::MESSAGE_MAX_BYTES;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::samples::{Batch, CheckInfo, Hello, SeriesEntry, ShapeEntry};
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_proto::wire::v1;
use signalbox_proto::wire::v1::ingest_service_client::IngestServiceClient;
use signalbox_proto::wire::v1::stream_request::Message as Said;
use signalbox_proto::wire::v1::stream_response::Message as Heard;
use std::path::Path;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// Name of the one check that a speaker runs.
pub const CHECK: &str = "speaker";
/// Batches from one key batch to the next, unless a speaker is told otherwise.
pub const KEY_EVERY: u64 = 50;
/// Messages that may wait for the network.
const IN_FLIGHT: usize = 64;

/// Makes batches of one epoch.
pub struct Speaker {
    /// Who it claims to be.
    pub agent: AgentId,
    /// Its epoch.
    pub epoch: u64,
    /// Batches from one key batch to the next.
    pub key_every: u64,
    series: Vec<Labels>,
    interval: Millis,
    encoder: Encoder,
    next_seq: u64,
}

impl Speaker {
    /// One check with these series, sampled at this interval.
    pub fn new(agent: AgentId, epoch: u64, series: Vec<Labels>, interval: Millis) -> Speaker {
        Speaker { agent, epoch, key_every: KEY_EVERY, series, interval, encoder: Encoder::default(), next_seq: 1 }
    }

    /// The next batch: one tick with one value a series.
    pub fn batch(&mut self, at: UnixMillis, mono: Millis, values: &[f64]) -> Batch {
        let seq = self.next_seq;
        self.next_seq += 1;
        let key = seq % self.key_every == 1;
        let refs: Vec<u32> = (0..).take(self.series.len()).collect();
        self.encoder.begin(at, key);
        self.encoder.tick(0, at, &refs, values);
        let entry = |(series_ref, labels): (u32, &Labels)| SeriesEntry { series_ref, labels: labels.clone() };
        let series = if key { (0..).zip(&self.series).map(entry).collect() } else { Vec::new() };
        let shape = ShapeEntry { shape: 0, check: CHECK.to_owned(), interval: self.interval, refs };
        Batch {
            epoch: self.epoch,
            seq,
            wall: at,
            mono,
            key,
            series,
            shapes: if key { vec![shape] } else { Vec::new() },
            columns: Bytes::copy_from_slice(self.encoder.payload()),
            results: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Its introduction, listing these epochs as kept.
    pub fn hello(&self, wall: UnixMillis, epochs: Vec<u64>) -> Hello {
        Hello {
            agent: self.agent.clone(),
            boot_id: "speaker".to_owned(),
            version: "0".to_owned(),
            labels: Labels::default(),
            capabilities: Vec::new(),
            epochs,
            wall,
            checks: vec![CheckInfo { name: CHECK.to_owned(), interval: self.interval }],
        }
    }
}

/// One stream to a collector.
pub struct Session {
    tx: mpsc::Sender<v1::StreamRequest>,
    rx: Streaming<v1::StreamResponse>,
}

/// What a collector says about one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acked {
    /// Which epoch.
    pub epoch: u64,
    /// Everything up to here is on its disk.
    pub seq: u64,
}

impl Session {
    /// Connects and introduces itself.
    ///
    /// # Errors
    /// No connection, or the collector refuses the stream.
    pub async fn open(endpoint: &str, hello: &Hello) -> Result<Session> {
        let path = endpoint.strip_prefix("unix:").context("an endpoint of this host is a Unix socket")?;
        Session::over(tls::unix(Path::new(path)).await?, hello).await
    }

    /// Introduces itself over a channel that stands.
    ///
    /// # Errors
    /// The collector refuses the stream.
    pub async fn over(channel: Channel, hello: &Hello) -> Result<Session> {
        let mut client = IngestServiceClient::new(channel).max_encoding_message_size(MESSAGE_MAX_BYTES * 4);
        let (tx, from_us) = mpsc::channel(IN_FLIGHT);
        tx.send(v1::StreamRequest { message: Some(Said::Hello(hello.into())) }).await.context("say hello")?;
        let rx = client.stream(ReceiverStream::new(from_us)).await.context("open the stream")?.into_inner();
        Ok(Session { tx, rx })
    }

    /// Sends one batch.
    ///
    /// # Errors
    /// The stream has ended.
    pub async fn send(&self, batch: &Batch) -> Result<()> {
        self.say(Said::Batch(batch.into())).await
    }

    /// Sends anything.
    ///
    /// # Errors
    /// The stream has ended.
    pub async fn say(&self, message: Said) -> Result<()> {
        self.tx.send(v1::StreamRequest { message: Some(message) }).await.context("the stream has ended")
    }

    /// A sender that can live in another task.
    pub fn sender(&self) -> mpsc::Sender<v1::StreamRequest> {
        self.tx.clone()
    }

    /// The next acknowledgement; throttling and reserved messages are skipped.
    ///
    /// # Errors
    /// The stream ended; the error holds what the collector said.
    pub async fn acked(&mut self) -> Result<Acked> {
        loop {
            let Some(message) = self.rx.message().await.context("the collector ended the stream")? else {
                bail!("the collector closed the stream")
            };
            if let Some(Heard::Ack(ack)) = message.message {
                return Ok(Acked { epoch: ack.epoch, seq: ack.seq });
            }
        }
    }

    /// Waits until `seq` of `epoch` is acknowledged.
    ///
    /// # Errors
    /// As [`Session::acked`].
    pub async fn acked_up_to(&mut self, epoch: u64, seq: u64) -> Result<()> {
        loop {
            let acked = self.acked().await?;
            if acked.epoch == epoch && acked.seq >= seq {
                return Ok(());
            }
        }
    }
}
