//! What is sent next. Pure but for reading the spool: instants come as arguments.
//!
//! ```text
//! live lane     the newest epoch, as it is pushed           always first
//! backlog lane  older epochs, oldest first, in order        what the budget allows
//! ```
//!
//! After Hello the collector says for each epoch where to resume; an epoch that was
//! listed there is silent until then. A resumed epoch starts at the key batch of its
//! segment; the collector drops what it has. When nothing is outstanding the next
//! batch is made a key batch instead, and nothing is sent twice.

use crate::spool::{Cursor, Record, Spool};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};

/// How long the backlog lane rests when its budget is spent.
const BUDGET_REST: Millis = Millis(50);
/// The longest pause that a collector may ask for at once.
const THROTTLE_MAX: Millis = Millis(60_000);

/// Samples that the backlog lane may send: a token bucket of one second.
#[derive(Debug)]
struct Budget {
    samples_per_second: u64,
    tokens: i64,
    filled: Millis,
}

impl Budget {
    fn allows(&mut self, now: Millis) -> bool {
        let rate = i64::try_from(self.samples_per_second).unwrap_or(i64::MAX);
        let elapsed = i64::try_from(now.0.saturating_sub(self.filled.0)).unwrap_or(i64::MAX);
        let earned = rate.saturating_mul(elapsed) / 1000;
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(rate);
            self.filled = now;
        }
        self.tokens > 0
    }

    fn spend(&mut self, n_samples: u32) {
        self.tokens -= i64::from(n_samples.max(1));
    }
}

/// The lanes of one stream.
#[derive(Debug)]
struct Stream {
    /// Epochs listed in Hello that the collector did not answer yet.
    awaited: BTreeSet<u64>,
    live: Option<Cursor>,
    backlog: BTreeMap<u64, Cursor>,
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Sender {
    live_epoch: u64,
    budget: Budget,
    throttled_until: Option<Millis>,
    stream: Option<Stream>,
    n_throttled: u64,
}

impl Sender {
    /// Not connected yet.
    pub(crate) fn new(live_epoch: u64, backfill_samples_per_second: u64) -> Sender {
        let budget = Budget { samples_per_second: backfill_samples_per_second, tokens: 0, filled: Millis::ZERO };
        Sender { live_epoch, budget, throttled_until: None, stream: None, n_throttled: 0 }
    }

    /// Another bound for the backlog lane.
    pub(crate) fn set_backfill(&mut self, samples_per_second: u64) {
        self.budget.samples_per_second = samples_per_second;
    }

    /// A stream was opened with a Hello that listed `epochs`.
    pub(crate) fn opened(&mut self, epochs: &BTreeSet<u64>) {
        let live = (!epochs.contains(&self.live_epoch)).then(|| Cursor::at(self.live_epoch, 1));
        self.stream = Some(Stream { awaited: epochs.clone(), live, backlog: BTreeMap::new() });
    }

    /// The stream ended.
    pub(crate) fn closed(&mut self) {
        self.stream = None;
    }

    /// True while a stream is open.
    pub(crate) fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// A new epoch is live; what is unsent of the one before joins the backlog.
    pub(crate) fn begin_epoch(&mut self, epoch: u64) {
        self.live_epoch = epoch;
        if let Some(stream) = &mut self.stream
            && let Some(before) = stream.live.replace(Cursor::at(epoch, 1))
        {
            stream.backlog.insert(before.epoch, before);
        }
    }

    /// The collector has `epoch` durably up to `seq`; the first time on a stream,
    /// the epoch resumes there.
    pub(crate) fn acknowledged(&mut self, epoch: u64, seq: u64, spool: &mut Spool) {
        let resume = self.stream.as_mut().is_some_and(|stream| stream.awaited.remove(&epoch));
        spool.acknowledge(epoch, seq, resume);
        let Some(stream) = self.stream.as_mut().filter(|_| resume) else { return };
        let last = spool.last_seq(epoch).unwrap_or(0);
        let outstanding = last > seq;
        if epoch == self.live_epoch {
            if outstanding {
                stream.live = Some(spool.cursor_after(epoch, seq));
            } else {
                // A new decoder has nothing to which a difference could be added.
                spool.force_key();
                stream.live = Some(Cursor::at(epoch, last + 1));
            }
        } else if outstanding {
            stream.backlog.insert(epoch, spool.cursor_after(epoch, seq));
        }
    }

    /// The collector asked for a pause: no batch goes, heartbeats still do.
    pub(crate) fn throttled(&mut self, pause: Millis, now: Millis) {
        self.n_throttled += 1;
        self.throttled_until = Some(now + pause.min(THROTTLE_MAX));
    }

    /// The batch to send now, if any: live first.
    pub(crate) fn next(&mut self, spool: &mut Spool, now: Millis, wall: UnixMillis) -> Option<Record> {
        if self.throttled_until.is_some_and(|until| now < until) {
            return None;
        }
        self.throttled_until = None;
        let stream = self.stream.as_mut()?;
        if let Some(live) = &mut stream.live
            && spool.has_next(live)
            && let Some(record) = spool.next(live, wall)
        {
            return Some(record);
        }
        while let Some(mut oldest) = stream.backlog.first_entry() {
            if !self.budget.allows(now) {
                return None;
            }
            if let Some(record) = spool.next(oldest.get_mut(), wall) {
                self.budget.spend(record.n_samples);
                return Some(record);
            }
            oldest.remove();
        }
        None
    }

    /// When [`Sender::next`] may give something although nothing new is pushed.
    pub(crate) fn wake_at(&self, now: Millis) -> Option<Millis> {
        if let Some(until) = self.throttled_until {
            return Some(until);
        }
        let waiting = self.stream.as_ref().is_some_and(|stream| !stream.backlog.is_empty());
        waiting.then(|| now + BUDGET_REST)
    }

    /// Times that a collector asked for a pause.
    pub(crate) fn n_throttled(&self) -> u64 {
        self.n_throttled
    }
}
