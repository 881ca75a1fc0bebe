//! A thousand agents that speak the real protocol, as fast as the collector
//! acknowledges.

use crate::cost::Cost;
use crate::data::{self, Recording};
use crate::report::Report;
use anyhow::{Context, Result};
use e2e::process::Collector;
use e2e::speaker::{Session, Speaker};
use e2e::tls::{self, Identity};
use signalbox_proto::api::NewJoinToken;
use signalbox_proto::clock::{Clock, SystemClock};
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::samples::Hello;
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Semaphore;

/// Agents that send at the same time; the rest wait for their turn in a tick.
const SENDING: usize = 64;
/// Series of each host that a rule watches.
const WATCHED: usize = 20;
/// As the agent does it: a key batch begins each segment of its spool.
const KEY_EVERY: u64 = 600;
/// Ticks that an agent sends before it waits for their acknowledgement.
const WINDOW: usize = 20;

struct Load {
    recording: Recording,
    way: Way,
    start: UnixMillis,
    wire_bytes: AtomicU64,
    sending: Semaphore,
}

/// How the agents come in.
pub(crate) enum Way {
    /// Over the Unix socket.
    Socket(String),
    /// Over TLS, each with an identity of its own.
    Tls { port: u16, ca: String, identities: Vec<Identity> },
}

impl Way {
    /// Has `agents` agents join, with one token.
    pub(crate) fn tls(collector: &Collector, agents: usize) -> Result<Way> {
        let uses = u32::try_from(agents)?;
        let wanted =
            NewJoinToken { ttl: "1h".to_owned(), uses, labels: BTreeMap::new(), cidrs: Vec::new(), agent: None };
        let (made, ca, port) = (collector.join_token(&wanted)?, collector.ca_pem()?, collector.grpc);
        let clock = SystemClock::start();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let identities = runtime.block_on(async {
            let mut identities = Vec::with_capacity(agents);
            for agent in 0..agents {
                let channel = tls::channel(port, &ca, None).await?;
                identities.push(tls::join(channel, &made.secret, &id(agent), clock.wall().0).await?);
            }
            anyhow::Ok(identities)
        })?;
        Ok(Way::Tls { port, ca, identities })
    }

    async fn open(&self, agent: usize, hello: &Hello) -> Result<Session> {
        match self {
            Way::Socket(endpoint) => Session::open(endpoint, hello).await,
            Way::Tls { port, ca, identities } => {
                Session::over(tls::channel(*port, ca, Some(&identities[agent])).await?, hello).await
            }
        }
    }
}

fn id(agent: usize) -> String {
    format!("bench-{agent}")
}

/// Processor time of the collector for one run of this load, seconds.
pub(crate) fn cpu_secs(agents: usize, series: usize, ticks: usize, over_tls: bool) -> Result<f64> {
    let recording = data::synthetic(series, ticks)?;
    let folder = tempfile::tempdir()?;
    let rules = rules_for(&recording.series);
    let collector = Collector::start(folder.path(), &[("bench.yaml", &rules)])?;
    let way = if over_tls { Way::tls(&collector, agents)? } else { Way::Socket(collector.endpoint()) };
    let clock = SystemClock::start();
    let start = clock.wall().shifted(-i64::try_from(ticks)? * 1000);
    let (wire_bytes, sending) = (AtomicU64::new(0), Semaphore::new(SENDING));
    let load = Arc::new(Load { recording, way, start, wire_bytes, sending });
    let (before, after, _) = drive(&load, agents, ticks, collector.process.pid(), &clock)?;
    #[allow(clippy::cast_precision_loss)]
    Ok((after.cpu_ns - before.cpu_ns) as f64 / 1e9)
}

pub(crate) fn run(agents: usize, series: usize, ticks: usize, data: Option<&Path>, report: &mut Report) -> Result<()> {
    let recording = match data {
        Some(folder) => data::recorded(folder, series, ticks)?,
        None => data::synthetic(series, ticks)?,
    };
    let folder = tempfile::tempdir()?;
    let rules = rules_for(&recording.series);
    let collector = Collector::start(folder.path(), &[("bench.yaml", &rules)])?;
    let clock = SystemClock::start();
    let span = i64::try_from(ticks)? * 1000;
    let load = Arc::new(Load {
        recording,
        way: Way::Socket(collector.endpoint()),
        start: clock.wall().shifted(-span),
        wire_bytes: AtomicU64::new(0),
        sending: Semaphore::new(SENDING),
    });
    let empty = Cost::of(collector.process.pid())?;
    let (before, after, wall_ms) = drive(&load, agents, ticks, collector.process.pid(), &clock)?;
    #[allow(clippy::cast_precision_loss)]
    {
        let samples = (agents * series * ticks) as f64;
        let cpu_s = (after.cpu_ns - before.cpu_ns) as f64 / 1e9;
        let note = format!("{agents} agents x {series} series x {ticks} ticks, {}", load.recording.source);
        report.add("ingest", samples / cpu_s, "samples/CPU s", note.clone());
        report.add("ingest, wall", samples * 1000.0 / wall_ms, "samples/s", "every batch acknowledged (synced)");
        let wire = load.wire_bytes.load(Ordering::SeqCst) as f64;
        report.add("wire", wire / samples, "B/sample", "protobuf messages, key batches and dictionaries included");
        let grown = after.rss_kib.saturating_sub(empty.rss_kib) as f64 * 1024.0;
        report.add("memory", grown / (agents * series) as f64, "B/series", "RSS over the empty collector");
        let disk = folder_bytes(&folder.path().join("data")) as f64;
        report.add("disk", disk / samples, "B/sample", "whole data folder, WAL and journal included");
    }
    Ok(())
}

/// One rule for each of twenty series of every host: a machine under real rules.
fn rules_for(series: &[Labels]) -> String {
    let mut rules = String::from("rules:\n");
    for (n, labels) in series.iter().step_by((series.len() / WATCHED).max(1)).enumerate() {
        let rule = format!(
            "  - id: watched-{n}\n    selector: {:?}\n    red: '> 1e18'\n    owner: ops\n    sop: none\n",
            labels.to_string()
        );
        rules.push_str(&rule);
    }
    rules
}

fn drive(load: &Arc<Load>, agents: usize, ticks: usize, pid: u32, clock: &SystemClock) -> Result<(Cost, Cost, f64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let before = Cost::of(pid)?;
        let began = clock.mono();
        let mut running = tokio::task::JoinSet::new();
        for agent in 0..agents {
            running.spawn(one_agent(Arc::clone(load), agent, ticks));
        }
        while let Some(ended) = running.join_next().await {
            ended.context("a sender panicked")??;
        }
        #[allow(clippy::cast_precision_loss)]
        let wall_ms = (clock.mono().0 - began.0) as f64;
        Ok((before, Cost::of(pid)?, wall_ms))
    })
}

async fn one_agent(load: Arc<Load>, agent: usize, ticks: usize) -> Result<()> {
    let id = AgentId::parse(&id(agent))?;
    let host = |labels: &Labels| labels.with(&[("host", id.as_str())]);
    let series = load.recording.series.iter().map(host).collect::<Result<Vec<_>, _>>()?;
    let mut speaker = Speaker::new(id, 1, series, Millis(1000));
    speaker.key_every = KEY_EVERY;
    let hello = speaker.hello(load.start, vec![1]);
    let mut session = load.way.open(agent, &hello).await?;
    let rows = &load.recording.ticks;
    for first in (0..ticks).step_by(WINDOW) {
        let turn = load.sending.acquire().await?;
        let last = (first + WINDOW).min(ticks);
        for tick in first..last {
            let ms = u64::try_from(tick)? * 1000;
            let values = &rows[(tick + agent * 61) % rows.len()];
            let batch = speaker.batch(load.start + Millis(ms), Millis(ms), values);
            let size = prost_size(&batch);
            load.wire_bytes.fetch_add(size, Ordering::Relaxed);
            session.send(&batch).await?;
        }
        drop(turn);
        session.acked_up_to(1, u64::try_from(last)?).await?;
    }
    Ok(())
}

fn prost_size(batch: &signalbox_proto::samples::Batch) -> u64 {
    // Five bytes of gRPC frame header come on top of the message.
    signalbox_proto::wire::batch_bytes(batch) as u64 + 5
}

fn folder_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => folder_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}
