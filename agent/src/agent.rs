//! The agent: observe, batch, keep, send. It acts and never waits.
//!
//! ```text
//!   Schedule -> Sampler -> Batcher -> Spool -> Sender -> Link ==> collector
//!                                       <------ Ack -------- Link <==
//! ```
//!
//! [`Agent::advance`] does all that is due now and returns; [`crate::run`] is the
//! only place that waits. So tests drive the whole agent with a manual clock and the
//! memory transport. An epoch (see `proto`) begins with the process, when the wall
//! clock steps, and when a stream opens while older batches still wait: then fresh
//! batches go first and the older ones follow at a bounded rate.

mod listen;

use crate::backoff::Backoff;
use crate::batch::Batcher;
use crate::check::Instant;
use crate::check::own::OwnCounters;
use crate::config::{Config, Endpoint};
use crate::events::Events;
use crate::sampler::{Sampler, Slot};
use crate::schedule::Schedule;
use crate::sender::Sender;
use crate::spool::loss::Reason;
use crate::spool::{Record, Spool};
use crate::transport::{Link, Transport};
use crate::wire::{self, Frame};
use signalbox_proto::clock::Clock;
use signalbox_proto::limits::{HEARTBEAT_MS, MESSAGE_MAX_BYTES};
use signalbox_proto::samples::{AgentEventKind, Hello};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::sync::mpsc::error::TrySendError;

/// The wall clock stepped when it moved so much against the monotonic one between
/// two looks.
const CLOCK_STEP_MIN_MS: i64 = 2000;
/// A live epoch with a backlog older than this when a stream opens becomes backlog,
/// and the agent turns to a new one.
const BACKLOG_MIN: Millis = Millis(5000);
/// Backlog epochs over which no more are begun: a collector that opens streams and
/// refuses what comes on them would else be the cause of one at each attempt, until
/// Hello names more than it may.
const BACKLOG_EPOCHS_MAX: usize = 32;
/// A heartbeat may go so much early, so that it shares the wake-up of a look.
const HEARTBEAT_SLACK: Millis = Millis(1000);
/// What the collector says may lie unread so long, if a deadline is no further: then
/// one wake-up serves both. As long as the spool may wait for an acknowledgement
/// before it syncs.
const PATIENCE: Millis = Millis(1000);
/// Room that a batch leaves in a message for its head.
const HEAD_MAX_BYTES: usize = 64;
/// Frames sent before the agent looks up again.
const FRAMES_PER_ADVANCE_MAX: usize = 64;

/// Where the agent stands with its collector.
#[derive(Debug)]
enum Connection {
    /// Until the next attempt.
    Waiting { until: Millis },
    /// Hello is on its way; it listed these epochs.
    Dialling { listed: BTreeSet<u64> },
    /// The collector took the stream.
    Open,
}

/// See the module's page.
pub(crate) struct Agent<T> {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counters: Arc<OwnCounters>,
    pub(crate) config: Config,
    pub(crate) sampler: Sampler,
    pub(crate) spool: Spool,
    pub(crate) link: Option<Link>,
    transport: T,
    schedule: Schedule,
    batcher: Batcher,
    sender: Sender,
    events: Events,
    backoff: Backoff,
    connection: Connection,
    /// Told by the collector; overrules the configuration until the next reload.
    elsewhere: Option<Endpoint>,
    /// An epoch that a Hello named before it began: it is the next one.
    announced: Option<u64>,
    heartbeat_due: Millis,
    /// Wall minus monotonic clock at the last look.
    offset_ms: Option<i64>,
    last_look: Option<UnixMillis>,
    last_refusal: String,
    /// The collector has spoken on this stream.
    heard: bool,
    due: Vec<usize>,
    /// The queue to the connection was full.
    blocked: bool,
}

/// What a configuration is made into.
pub(crate) struct Parts {
    pub(crate) slots: Vec<Slot>,
    /// Told by the check that watches the agent itself.
    pub(crate) counters: Arc<OwnCounters>,
}

impl<T: Transport> Agent<T> {
    /// Begins a new epoch. The first look and the first dial are due at once.
    pub(crate) fn new(config: Config, parts: Parts, spool: Spool, transport: T, clock: Arc<dyn Clock>) -> Agent<T> {
        let Parts { slots, counters } = parts;
        let now = clock.mono();
        let wall = clock.wall();
        let epoch = spool.next_epoch(wall);
        let mut events = Events::default();
        events.add(wall, AgentEventKind::Started { version: env!("CARGO_PKG_VERSION").to_owned() });
        tracing::info!(agent = %config.agent_id, collector = %config.collector, epoch, "agent started");
        let seed = epoch ^ u64::from(crc32c::crc32c(config.agent_id.as_str().as_bytes())) << 32;
        Agent {
            schedule: Schedule::new(&config.agent_id, slots.iter().map(|slot| slot.interval), now),
            batcher: Batcher::new(config.agent_id.clone(), epoch),
            sender: Sender::new(epoch, config.backfill_samples_per_second),
            sampler: Sampler::new(slots),
            backoff: Backoff::seeded(seed),
            connection: Connection::Waiting { until: now },
            clock,
            counters,
            config,
            spool,
            transport,
            events,
            link: None,
            elsewhere: None,
            announced: None,
            heartbeat_due: now,
            offset_ms: None,
            last_look: None,
            last_refusal: String::new(),
            heard: false,
            due: Vec::new(),
            blocked: false,
        }
    }

    fn now(&self) -> Instant {
        Instant { wall: self.clock.wall(), mono: self.clock.mono() }
    }

    /// Does everything that is due.
    pub(crate) fn advance(&mut self) {
        let at = self.now();
        self.receive(at);
        self.spool.sync_if_due(at.mono);
        self.look_if_due(at);
        self.tend(at);
        self.dial_if_due(at);
        self.send(at);
    }

    /// When [`Agent::advance`] must be called next, on the monotonic clock.
    pub(crate) fn next_deadline(&self) -> Millis {
        let now = self.clock.mono();
        let heartbeat = matches!(self.connection, Connection::Open).then_some(self.heartbeat_due);
        let dial = match self.connection {
            Connection::Waiting { until } => Some(until),
            Connection::Dialling { .. } | Connection::Open => None,
        };
        let budget = if self.blocked { None } else { self.sender.wake_at(now) };
        let dues = [self.schedule.next(), self.spool.sync_due(), heartbeat, dial, budget];
        dues.into_iter().flatten().min().unwrap_or(now + Millis(HEARTBEAT_MS))
    }

    /// True when nothing that the collector may say matters before the deadline `at`:
    /// it is near, the collector has said where each epoch resumes, and no frame waits
    /// for room.
    pub(crate) fn may_wait(&self, at: Millis, now: Millis) -> bool {
        self.sender.is_answered() && !self.blocked && at <= now + PATIENCE
    }

    /// True when frames wait for room in the queue to the connection.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    fn look_if_due(&mut self, at: Instant) {
        let offset_ms = at.wall.0 - i64::try_from(at.mono.0).unwrap_or(i64::MAX);
        let step_ms = self.offset_ms.replace(offset_ms).map_or(0, |before| offset_ms - before);
        if step_ms.abs() > CLOCK_STEP_MIN_MS {
            tracing::warn!(step_ms, "wall clock stepped");
            self.events.add(at.wall, AgentEventKind::ClockStepped { step_ms });
            self.begin_epoch(at);
            self.schedule.realign(at);
        }
        let mut due = std::mem::take(&mut self.due);
        due.clear();
        let paused = self.schedule.take_due(at, &mut due);
        if !due.is_empty() {
            if let Some(from) = self.last_look.filter(|_| paused && step_ms.abs() <= CLOCK_STEP_MIN_MS) {
                self.events.add(at.wall, AgentEventKind::Gap { from, to: at.wall, reason: "paused".to_owned() });
            }
            self.last_look = Some(at.wall);
            self.cut(&due, at);
        }
        self.due = due;
    }

    /// A watched thing changed: its check looks now, out of turn.
    pub(crate) fn wake(&mut self, slots: &[usize]) {
        let at = self.now();
        self.cut(slots, at);
        self.send(at);
    }

    /// Samples the checks at the given indexes into one batch and keeps it.
    fn cut(&mut self, slots: &[usize], at: Instant) {
        if self.batcher.wants_epoch() {
            self.begin_epoch(at);
        }
        let epoch = self.batcher.epoch();
        let key = self.spool.wants_key(epoch, at.mono);
        self.batcher.begin(at.wall, at.mono, key);
        self.count();
        self.sampler.sample(slots, at, &mut self.batcher, &mut self.events);
        for loss in self.spool.losses().take() {
            self.events.add(at.wall, loss);
        }
        if self.batcher.is_empty() && self.events.is_empty() {
            return;
        }
        let cut = self.batcher.finish(self.events.take());
        let payload = wire::encode_batch(&cut.batch);
        if payload.len() + HEAD_MAX_BYTES > MESSAGE_MAX_BYTES {
            let n_bytes = payload.len();
            tracing::error!(n_bytes, limit_bytes = MESSAGE_MAX_BYTES, "batch is too large for a message");
            self.spool.losses().add(Reason::TooLarge, cut.n_samples.into(), at.wall, at.wall);
            self.spool.force_key();
            return;
        }
        self.counters.samples_total.fetch_add(cut.n_samples.into(), Relaxed);
        self.counters.batches_total.fetch_add(1, Relaxed);
        let record = Record { key, seq: cut.batch.seq, wall: at.wall, n_samples: cut.n_samples, payload };
        self.spool.push(epoch, record, at.mono);
    }

    /// Brings the counters up to date that the parts keep for themselves.
    fn count(&mut self) {
        let counters = &self.counters;
        counters.dropped_samples_total.store(self.spool.losses().n_samples_total(), Relaxed);
        counters.spool_bytes.store(self.spool.bytes().0, Relaxed);
        counters.backlog_batches.store(self.spool.n_backlog(), Relaxed);
        counters.check_errors_total.store(self.sampler.n_errors(), Relaxed);
        counters.check_overruns_total.store(self.schedule.n_missed(), Relaxed);
    }

    fn begin_epoch(&mut self, at: Instant) {
        let epoch = self.announced.take().unwrap_or_else(|| self.epoch_after(at));
        self.batcher.begin_epoch(epoch);
        self.sender.begin_epoch(epoch);
    }

    fn epoch_after(&self, at: Instant) -> u64 {
        self.spool.next_epoch(at.wall).max(self.batcher.epoch() + 1)
    }

    /// True when the live epoch waits for so long that live data needs another one.
    fn is_behind(&self, at: Instant) -> bool {
        let oldest = self.spool.oldest_unacked(self.batcher.epoch());
        oldest.is_some_and(|oldest| at.wall.since(oldest) > BACKLOG_MIN)
            && self.spool.epochs().len() < BACKLOG_EPOCHS_MAX
    }

    fn dial_if_due(&mut self, at: Instant) {
        if !matches!(self.connection, Connection::Waiting { until } if until <= at.mono) {
            return;
        }
        if self.announced.is_none() && self.is_behind(at) {
            self.announced = Some(self.epoch_after(at));
        }
        // The collector takes the greatest for the live one: it must not judge a
        // backlog as live because it has not heard of what comes after.
        let mut listed = self.spool.epochs();
        listed.insert(self.announced.unwrap_or(self.batcher.epoch()));
        let hello = Hello {
            agent: self.config.agent_id.clone(),
            boot_id: crate::sys::boot_id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            labels: self.config.labels.clone(),
            capabilities: Vec::new(),
            epochs: listed.iter().copied().collect(),
            wall: at.wall,
            checks: self.sampler.infos(),
        };
        let endpoint = self.elsewhere.as_ref().unwrap_or(&self.config.collector);
        self.link = Some(self.transport.dial(endpoint, Frame::hello(&hello)));
        self.connection = Connection::Dialling { listed };
    }

    /// Keeps the identity good. With another one the stream is opened anew: what the
    /// collector has not acknowledged is sent again there.
    fn tend(&mut self, at: Instant) {
        let endpoint = self.elsewhere.as_ref().unwrap_or(&self.config.collector);
        if self.transport.tend(endpoint, at) && matches!(self.connection, Connection::Open) {
            self.dial_anew(at);
        }
    }

    fn dial_anew(&mut self, at: Instant) {
        self.hang_up(at.mono);
        self.connection = Connection::Waiting { until: at.mono };
    }

    /// Ends the stream, if there is one, and dials again after a while.
    fn hang_up(&mut self, now: Millis) {
        self.link = None;
        self.blocked = false;
        self.sender.closed();
        self.counters.reconnects_total.fetch_add(1, Relaxed);
        self.connection = Connection::Waiting { until: now + self.backoff.next() };
    }

    /// Moves frames to the connection as long as it takes them.
    fn send(&mut self, at: Instant) {
        self.blocked = false;
        if !matches!(self.connection, Connection::Open) {
            return;
        }
        for _ in 0..FRAMES_PER_ADVANCE_MAX {
            let Some(link) = &self.link else { return };
            let permit = match link.outgoing.try_reserve() {
                Ok(permit) => permit,
                Err(TrySendError::Full(())) => {
                    self.blocked = true;
                    return;
                }
                // The connection says why through `incoming`.
                Err(TrySendError::Closed(())) => return,
            };
            if self.heartbeat_due <= at.mono + HEARTBEAT_SLACK {
                self.heartbeat_due = at.mono + Millis(HEARTBEAT_MS);
                permit.send(Frame::heartbeat(at.wall, at.mono, self.spool.n_backlog()));
            } else if let Some(record) = self.sender.next(&mut self.spool, at.mono, at.wall) {
                permit.send(Frame::batch(record.payload));
            } else {
                return;
            }
        }
        // Others get their turn; the shell comes back when the queue has room.
        self.blocked = true;
    }

    /// Puts another configuration in force, with its checks. The agent's identity
    /// and folder are the same.
    pub(crate) fn reload(&mut self, config: Config, slots: Vec<Slot>) {
        let at = self.now();
        self.schedule.replace(slots.iter().map(|slot| slot.interval), at.mono);
        let names: BTreeSet<String> = slots.iter().map(|slot| slot.check.name().to_owned()).collect();
        self.batcher.forget_layouts(|check| names.contains(check));
        self.sampler.replace(slots);
        self.spool.set_limits(config.spool);
        self.sender.set_backfill(config.backfill_samples_per_second);
        self.elsewhere = None;
        self.config = config;
        self.events.add(at.wall, AgentEventKind::ConfigReloaded { error: None });
        // Hello names labels and checks: a new one tells what is retired.
        self.dial_anew(at);
    }

    /// The new configuration was refused; the old one stays in force.
    pub(crate) fn reload_refused(&mut self, error: &str) {
        let at = self.now();
        self.events.add(at.wall, AgentEventKind::ConfigReloaded { error: Some(error.to_owned()) });
    }

    /// A last look at everything: the agent is going to stop.
    pub(crate) fn look_last(&mut self) {
        tracing::info!(
            spool = ?self.spool.counters(),
            n_dropped_events = self.events.n_dropped(),
            n_throttled = self.sender.n_throttled(),
            "agent stops"
        );
        let at = self.now();
        let all: Vec<usize> = (0..self.sampler.slots.len()).collect();
        self.cut(&all, at);
        self.send(at);
    }

    /// What a stopping agent still does: it looks no more.
    pub(crate) fn drain(&mut self) {
        let at = self.now();
        self.receive(at);
        self.send(at);
    }

    /// True when the stream is open and the live epoch is acknowledged to its end.
    pub(crate) fn is_drained(&self) -> bool {
        let epoch = self.batcher.epoch();
        !self.sender.is_open() || self.spool.last_seq(epoch).is_none_or(|last| self.spool.acked(epoch) >= last)
    }

    /// The frame that says that the stop is planned.
    pub(crate) fn goodbye(&mut self) {
        if let Some(link) = &self.link
            && link.outgoing.try_send(Frame::goodbye("stopped")).is_err()
        {
            tracing::debug!("no room for the goodbye");
        }
    }
}

#[cfg(test)]
mod tests;
