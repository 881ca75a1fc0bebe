//! The collector's own numbers: on `/metrics`, and every 10 s as ordinary series
//! of an agent named `collector`, through the same stream of turns as any other.

use crate::shared::Shared;
use crate::writer::inbox::{Inbox, InboxError, Message};
use crate::writer::stream::StreamOut;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use signalbox_proto::columns::Encoder;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::samples::{Batch, CheckInfo, Hello, SeriesEntry, ShapeEntry};
use signalbox_proto::units::Millis;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};

/// Between two samples of the collector's own numbers, and two heartbeats.
const INTERVAL: Millis = Millis::from_secs(10);
/// Every so many batches one stands alone.
const KEY_EVERY: u64 = 60;
/// Its agent id.
pub(crate) const AGENT: &str = signalbox_proto::names::COLLECTOR_ID;
/// Its check's name.
const CHECK: &str = "collector";
/// Series of its own that it writes at most; more are on `/metrics` only.
const SERIES_MAX: usize = 512;

/// What renders the numbers; nothing when no recorder was installed.
#[derive(Debug, Clone, Default)]
pub struct Telemetry {
    handle: Option<PrometheusHandle>,
}

impl Telemetry {
    /// Installs the process's recorder. Numbers counted before are lost.
    pub fn install() -> Telemetry {
        // A second install in one process keeps the first: numbers go there.
        Telemetry { handle: PrometheusBuilder::new().install_recorder().ok() }
    }

    /// Prometheus text.
    pub fn render(&self) -> String {
        self.handle.as_ref().map(PrometheusHandle::render).unwrap_or_default()
    }

    /// Lets histograms forget what was rendered.
    pub(crate) fn upkeep(&self) {
        if let Some(handle) = &self.handle {
            handle.run_upkeep();
        }
    }
}

/// `name{a="b"} 1.5` as labels and value; none for comments and what does not parse.
fn parse_line(line: &str) -> Option<(Labels, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let (name, rest) = series.split_once('{').unwrap_or((series, ""));
    let mut pairs = Vec::new();
    for pair in rest.trim_end_matches('}').split(',').filter(|pair| !pair.is_empty()) {
        let (label, text) = pair.split_once('=')?;
        // Our own label values hold neither quotes nor commas.
        pairs.push((label, text.trim_matches('"')));
    }
    pairs.push(("host", AGENT));
    Some((Labels::series(name, &pairs).ok()?, value))
}

/// The collector as one of its own agents.
struct Reporter {
    epoch: u64,
    seq: u64,
    encoder: Encoder,
    refs: HashMap<Labels, u32>,
    entries: Vec<SeriesEntry>,
    shapes: u32,
    shape: Option<ShapeEntry>,
}

impl Reporter {
    fn new(epoch: u64) -> Reporter {
        Reporter {
            epoch,
            seq: 0,
            encoder: Encoder::default(),
            refs: HashMap::new(),
            entries: Vec::new(),
            shapes: 0,
            shape: None,
        }
    }

    fn batch(&mut self, text: &str, shared: &Shared) -> Batch {
        let wall = shared.now();
        self.seq += 1;
        let key = self.seq % KEY_EVERY == 1;
        let n_known = self.entries.len();
        let mut columns: Vec<(u32, f64)> = Vec::new();
        for (labels, value) in text.lines().filter_map(parse_line) {
            let next = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
            let series_ref = match self.refs.get(&labels) {
                Some(&known) => known,
                None if self.entries.len() >= SERIES_MAX => continue,
                None => {
                    self.entries.push(SeriesEntry { series_ref: next, labels: labels.clone() });
                    self.refs.insert(labels, next);
                    next
                }
            };
            columns.push((series_ref, value));
        }
        columns.sort_by_key(|(series_ref, _)| *series_ref);
        columns.dedup_by_key(|(series_ref, _)| *series_ref);
        let (refs, values): (Vec<u32>, Vec<f64>) = columns.into_iter().unzip();
        let shape = match self.shape.take().filter(|shape| shape.refs == refs) {
            Some(shape) => shape,
            None => {
                self.shapes += 1;
                ShapeEntry { shape: self.shapes - 1, check: CHECK.to_owned(), interval: INTERVAL, refs: refs.clone() }
            }
        };
        self.encoder.begin(wall, key);
        self.encoder.tick(shape.shape, wall, &refs, &values);
        let series = if key { self.entries.clone() } else { self.entries[n_known..].to_vec() };
        let batch = Batch {
            epoch: self.epoch,
            seq: self.seq,
            wall,
            mono: shared.clock().mono(),
            key,
            series,
            shapes: vec![shape.clone()],
            columns: self.encoder.payload().to_vec().into(),
            results: Vec::new(),
            events: Vec::new(),
        };
        self.shape = Some(shape);
        batch
    }
}

/// Reports until the writer is gone or `stopping` turns true.
pub(crate) async fn report(shared: Arc<Shared>, inbox: Inbox, mut stopping: watch::Receiver<bool>) {
    let work = async {
        loop {
            // A stream that the writer ended (a refused turn) starts over.
            if life(&shared, &inbox).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = work => {}
        _ = stopping.wait_for(|stop| *stop) => {}
    }
}

/// One stream of the reporter, until the writer ends it.
async fn life(shared: &Arc<Shared>, inbox: &Inbox) -> Result<(), InboxError> {
    let agent = AgentId::parse(AGENT).expect("a constant of allowed characters");
    let stream = Arc::new(StreamOut::new(agent.clone(), None));
    let epoch = u64::try_from(shared.now().0).unwrap_or(0);
    let hello = Hello {
        agent,
        boot_id: AGENT.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        labels: Labels::default(),
        capabilities: Vec::new(),
        epochs: vec![epoch],
        wall: shared.now(),
        checks: vec![CheckInfo { name: CHECK.to_owned(), interval: INTERVAL }],
    };
    let (reply, greeted) = oneshot::channel();
    inbox.send(Message::Connected { hello, stream: Arc::clone(&stream), reply }).await?;
    let is_taken = matches!(greeted.await, Ok(Ok(_)));
    let mut reporter = Reporter::new(epoch);
    while is_taken && !stream.is_ended() {
        shared.telemetry().upkeep();
        if !shared.is_throttled() {
            let batch = reporter.batch(&shared.telemetry().render(), shared);
            inbox.send(Message::Batch { stream: Arc::clone(&stream), batch }).await?;
        }
        let wall = shared.now();
        inbox.send(Message::Heartbeat { stream: Arc::clone(&stream), wall, n_backlog: 0 }).await?;
        tokio::time::sleep(INTERVAL.std()).await;
    }
    tokio::time::sleep(INTERVAL.std()).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_series_of_the_collector() {
        let (labels, value) = parse_line("signalbox_x_total{limit=\"agent\"} 3").unwrap();
        assert_eq!(labels.to_string(), "signalbox_x_total{host=\"collector\",limit=\"agent\"}");
        assert_eq!(value, 3.0);
        assert_eq!(parse_line("signalbox_y 1.5").unwrap().1, 1.5);
        assert!(parse_line("# TYPE signalbox_y gauge").is_none());
        assert!(parse_line("").is_none());
    }
}
