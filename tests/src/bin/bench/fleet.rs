//! Agents that speak the real protocol, as many as wanted, in one thread.
//!
//! Each keeps what is not acknowledged, as a real one does in its spool: after the
//! collector's end it dials again, hears up to where the collector has its batches,
//! and sends the rest. So what it was promised, and what it still owes, are known.

use crate::data::Dataset;
use anyhow::{Context, Result, ensure};
use e2e::process::Collector;
use e2e::speaker::{Acked, Session, Speaker};
use e2e::tls::{self, Identity};
use signalbox_proto::api::NewJoinToken;
use signalbox_proto::clock::{Clock, SystemClock};
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::samples::{Batch, Hello};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// As the agent does it: a key batch begins each segment of its spool.
const KEY_EVERY: u64 = 600;
/// Batches of one agent under way.
const WINDOW: usize = 20;
/// The one epoch of each agent.
const EPOCH: u64 = 1;

/// How the agents come in.
pub(crate) enum Way {
    /// Over the Unix socket.
    Socket(String),
    /// Over TLS, each with an identity of its own.
    Tls { port: u16, ca: String, identities: Vec<Identity> },
}

impl Way {
    /// Has so many hosts join, with one token.
    pub(crate) fn tls(collector: &Collector, n_hosts: usize) -> Result<Way> {
        let uses = u32::try_from(n_hosts)?;
        let wanted =
            NewJoinToken { ttl: "1h".to_owned(), uses, labels: BTreeMap::new(), cidrs: Vec::new(), agent: None };
        let (made, ca, port) = (collector.join_token(&wanted)?, collector.ca_pem()?, collector.grpc);
        let clock = SystemClock::start();
        let identities = runtime()?.block_on(async {
            let mut identities = Vec::with_capacity(n_hosts);
            for host in 0..n_hosts {
                let channel = tls::channel(port, &ca, None).await?;
                identities.push(tls::join(channel, &made.secret, &Dataset::host(host), clock.wall().0).await?);
            }
            anyhow::Ok(identities)
        })?;
        Ok(Way::Tls { port, ca, identities })
    }

    async fn open(&self, host: usize, hello: &Hello) -> Result<Session> {
        match self {
            Way::Socket(endpoint) => Session::open(endpoint, hello).await,
            Way::Tls { port, ca, identities } => {
                Session::over(tls::channel(*port, ca, Some(&identities[host])).await?, hello).await
            }
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")
}

/// When a tick is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As soon as there is room.
    FlatOut,
    /// At its own time: the hosts of a fleet are spread over the second.
    Live,
    /// All hosts at the full second.
    LiveTogether,
}

/// What a fleet has said and heard.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Said {
    /// Samples that were sent at least once.
    pub(crate) n_sent: u64,
    /// Samples that were acknowledged.
    pub(crate) n_acked: u64,
    /// Bytes of all messages, each counted once.
    pub(crate) wire_bytes: u64,
}

/// All agents of a data set.
pub(crate) struct Fleet {
    data: Arc<Dataset>,
    way: Arc<Way>,
    pace: Pace,
    agents: Vec<Agent>,
}

struct Agent {
    host: usize,
    speaker: Speaker,
    next_tick: usize,
    kept: VecDeque<Batch>,
    acked: u64,
    wire_bytes: u64,
}

impl Fleet {
    /// `more` labels are laid over those of every series, beside `host`.
    pub(crate) fn new(data: Arc<Dataset>, way: Way, pace: Pace, more: &[(&str, &str)]) -> Result<Fleet> {
        let agent = |host: usize| {
            let id = AgentId::parse(&Dataset::host(host))?;
            let labels = |labels: &Labels| labels.with(&[("host", id.as_str())])?.with(more);
            let series = data.recording.series.iter().map(labels).collect::<Result<Vec<_>, _>>()?;
            let mut speaker = Speaker::new(id, EPOCH, series, data.step);
            speaker.key_every = KEY_EVERY;
            Ok(Agent { host, speaker, next_tick: 0, kept: VecDeque::new(), acked: 0, wire_bytes: 0 })
        };
        let agents = (0..data.n_hosts).map(agent).collect::<Result<Vec<_>>>()?;
        Ok(Fleet { data, way: Arc::new(way), pace, agents })
    }

    /// Sends all ticks and waits until they are acknowledged.
    ///
    /// # Errors
    /// The first that an agent met.
    pub(crate) fn run(&mut self) -> Result<()> {
        let n_ticks = self.data.n_ticks;
        self.drive(|_| n_ticks)
    }

    /// Every agent sends what it owes, and `n_more` ticks.
    ///
    /// # Errors
    /// The first that an agent met.
    pub(crate) fn go_on(&mut self, n_more: usize) -> Result<()> {
        self.drive(|agent| agent.next_tick + n_more)
    }

    fn drive(&mut self, until: impl Fn(&Agent) -> usize) -> Result<()> {
        let agents = std::mem::take(&mut self.agents);
        let (way, data, pace) = (&self.way, &self.data, self.pace);
        let (agents, faults) = runtime()?.block_on(async {
            let began = Instant::now();
            let mut running = JoinSet::new();
            for mut agent in agents {
                let (way, data, until) = (Arc::clone(way), Arc::clone(data), until(&agent));
                running.spawn(async move {
                    let ended = agent.run(&way, &data, pace, began, until).await;
                    (agent, ended)
                });
            }
            let (mut agents, mut faults) = (Vec::new(), Vec::new());
            while let Some(ended) = running.join_next().await {
                let (agent, ended) = ended.context("a sender panicked")?;
                agents.push(agent);
                faults.extend(ended.err());
            }
            anyhow::Ok((agents, faults))
        })?;
        self.agents = agents;
        faults.into_iter().next().map_or(Ok(()), Err)
    }

    /// What was said and heard so far.
    pub(crate) fn said(&self) -> Said {
        let width = self.data.recording.series.len() as u64;
        self.agents.iter().fold(Said::default(), |said, agent| Said {
            n_sent: said.n_sent + agent.next_tick as u64 * width,
            n_acked: said.n_acked + agent.acked * width,
            wire_bytes: said.wire_bytes + agent.wire_bytes,
        })
    }
}

impl Agent {
    async fn run(&mut self, way: &Way, data: &Dataset, pace: Pace, began: Instant, until: usize) -> Result<()> {
        let hello = self.speaker.hello(data.start, vec![EPOCH]);
        let mut session = way.open(self.host, &hello).await?;
        // The first thing that a collector says is what it has.
        self.heard(session.acked().await?)?;
        for batch in &self.kept {
            session.send(batch).await?;
        }
        let mut values = Vec::new();
        while self.next_tick < until {
            let offset = data.offset(self.host, self.next_tick);
            match pace {
                Pace::FlatOut => {}
                Pace::Live => sleep_until(began + offset.std()).await,
                Pace::LiveTogether => sleep_until(began + data.offset(0, self.next_tick).std()).await,
            }
            data.values(self.host, self.next_tick, &mut values);
            let batch = self.speaker.batch(data.start + offset, offset, &values);
            self.next_tick += 1;
            // Five bytes of gRPC frame header come on top of the message.
            self.wire_bytes += signalbox_proto::wire::batch_bytes(&batch) as u64 + 5;
            self.kept.push_back(batch);
            if let Some(batch) = self.kept.back() {
                session.send(batch).await?;
            }
            while self.kept.len() >= WINDOW {
                self.heard(session.acked().await?)?;
            }
        }
        while !self.kept.is_empty() {
            self.heard(session.acked().await?)?;
        }
        Ok(())
    }

    fn heard(&mut self, Acked { epoch, seq }: Acked) -> Result<()> {
        ensure!(epoch == EPOCH, "an acknowledgement of epoch {epoch}, which nobody has");
        let host = self.host;
        ensure!(seq >= self.acked, "host {host}: {} were acknowledged, the collector has {seq} of them", self.acked);
        self.acked = seq;
        self.kept.retain(|batch| batch.seq > seq);
        Ok(())
    }
}
