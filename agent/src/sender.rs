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
//!
//! A collector takes the greatest epoch that it was told of for the live one. So the
//! backlog waits until the live epoch was named: in Hello, or by a batch of its own.
//!
//! A batch that the collector calls malformed would block its epoch for ever: when
//! the same one is the oldest unanswered at several refusals in a row, it is told.

use crate::spool::{Cursor, Record, Spool};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How long the backlog lane rests when its budget is spent.
const BUDGET_REST: Millis = Millis(50);
/// The longest pause that a collector may ask for at once.
const THROTTLE_MAX: Millis = Millis(60_000);
/// Refusals of the same batch in a row after which it is given up.
const REFUSALS_MAX: u32 = 3;
/// Unanswered batches whose order is remembered.
const UNANSWERED_MAX: usize = 1024;

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
    /// The collector was told of the live epoch.
    live_is_named: bool,
    /// The collector answered Hello: that was understood.
    answered: bool,
    /// Batches in the order in which they went, oldest first: epoch and sequence.
    unanswered: VecDeque<(u64, u64)>,
}

impl Stream {
    fn sent(&mut self, epoch: u64, seq: u64, spool: &Spool) {
        if seq > spool.acked(epoch) && self.unanswered.len() < UNANSWERED_MAX {
            self.unanswered.push_back((epoch, seq));
        }
    }

    /// The batch that the collector met first of those that it does not have.
    fn oldest_unanswered(&mut self, spool: &Spool) -> Option<(u64, u64)> {
        while self.unanswered.front().is_some_and(|&(epoch, seq)| seq <= spool.acked(epoch)) {
            self.unanswered.pop_front();
        }
        self.unanswered.front().copied()
    }
}

/// A batch at which the collector refused the stream, and how often in a row.
#[derive(Debug)]
struct Refused {
    batch: (u64, u64),
    n_times: u32,
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Sender {
    live_epoch: u64,
    budget: Budget,
    throttled_until: Option<Millis>,
    stream: Option<Stream>,
    refused: Option<Refused>,
    n_throttled: u64,
}

impl Sender {
    /// Not connected yet.
    pub(crate) fn new(live_epoch: u64, backfill_samples_per_second: u64) -> Sender {
        let budget = Budget { samples_per_second: backfill_samples_per_second, tokens: 0, filled: Millis::ZERO };
        Sender { live_epoch, budget, throttled_until: None, stream: None, refused: None, n_throttled: 0 }
    }

    /// Another bound for the backlog lane.
    pub(crate) fn set_backfill(&mut self, samples_per_second: u64) {
        self.budget.samples_per_second = samples_per_second;
    }

    /// A stream was opened with a Hello that listed `epochs`.
    pub(crate) fn opened(&mut self, epochs: &BTreeSet<u64>) {
        let live_is_named = epochs.contains(&self.live_epoch);
        self.stream = Some(Stream {
            awaited: epochs.clone(),
            live: (!live_is_named).then(|| Cursor::at(self.live_epoch, 1)),
            backlog: BTreeMap::new(),
            live_is_named,
            answered: false,
            unanswered: VecDeque::new(),
        });
    }

    /// The stream ended, and with it the pause that was asked for on it.
    pub(crate) fn closed(&mut self) {
        self.stream = None;
        self.throttled_until = None;
    }

    /// The collector ended the stream because it calls something that was sent
    /// malformed. Gives the batch, when it is the same one for the last time.
    pub(crate) fn refused(&mut self, spool: &Spool) -> Option<(u64, u64)> {
        // Before the answer to Hello, Hello itself may be what was meant.
        let stream = self.stream.as_mut().filter(|stream| stream.answered)?;
        let batch = stream.oldest_unanswered(spool)?;
        let before = self.refused.take().filter(|refused| refused.batch == batch);
        let n_times = before.map_or(0, |refused| refused.n_times) + 1;
        if n_times >= REFUSALS_MAX {
            return Some(batch);
        }
        self.refused = Some(Refused { batch, n_times });
        None
    }

    /// True while a stream is open.
    pub(crate) fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// True when the collector has answered for each epoch that Hello listed.
    pub(crate) fn is_answered(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.awaited.is_empty())
    }

    /// A new epoch is live; what is unsent of the one before joins the backlog.
    pub(crate) fn begin_epoch(&mut self, epoch: u64) {
        self.live_epoch = epoch;
        if let Some(stream) = &mut self.stream {
            stream.live_is_named = false;
            if let Some(before) = stream.live.replace(Cursor::at(epoch, 1)) {
                stream.backlog.insert(before.epoch, before);
            }
        }
    }

    /// The collector has `epoch` durably up to `seq`; the first time on a stream,
    /// the epoch resumes there. True when it took something that this stream sent:
    /// the answer to Hello alone is no sign that it will.
    pub(crate) fn acknowledged(&mut self, epoch: u64, seq: u64, spool: &mut Spool) -> bool {
        let resume = self.stream.as_mut().is_some_and(|stream| stream.awaited.remove(&epoch));
        let is_progress = !resume && seq > spool.acked(epoch);
        spool.acknowledge(epoch, seq, resume);
        let Some(stream) = &mut self.stream else { return false };
        stream.answered = true;
        stream.oldest_unanswered(spool);
        if !resume {
            return is_progress;
        }
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
        false
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
            let epoch = live.epoch;
            stream.live_is_named = true;
            stream.sent(epoch, record.seq, spool);
            return Some(record);
        }
        if !stream.live_is_named {
            return None;
        }
        while let Some(mut oldest) = stream.backlog.first_entry() {
            if !self.budget.allows(now) {
                return None;
            }
            if let Some(record) = spool.next(oldest.get_mut(), wall) {
                let epoch = *oldest.key();
                self.budget.spend(record.n_samples);
                stream.sent(epoch, record.seq, spool);
                return Some(record);
            }
            oldest.remove();
        }
        None
    }

    /// When [`Sender::next`] may give something although nothing new is pushed.
    pub(crate) fn wake_at(&self, now: Millis) -> Option<Millis> {
        let stream = self.stream.as_ref()?;
        if let Some(until) = self.throttled_until {
            return Some(until);
        }
        let waiting = stream.live_is_named && !stream.backlog.is_empty();
        waiting.then(|| now + BUDGET_REST)
    }

    /// Times that a collector asked for a pause.
    pub(crate) fn n_throttled(&self) -> u64 {
        self.n_throttled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Limits;
    use signalbox_proto::units::Bytes;

    const WALL: UnixMillis = UnixMillis(1_700_000_000_000);

    fn push(spool: &mut Spool, epoch: u64, seq: u64) {
        let key = spool.wants_key(epoch, Millis(0));
        let record = Record { key, seq, wall: WALL, n_samples: 1, payload: bytes::Bytes::from_static(b"x") };
        spool.push(epoch, record, Millis(0));
    }

    fn spool(dir: &std::path::Path) -> Spool {
        let limits = Limits { max_size: Bytes::from_mib(64), max_age: Millis::from_mins(60) };
        Spool::open(dir, limits, WALL).unwrap()
    }

    #[test]
    fn the_backlog_waits_until_the_live_epoch_was_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = spool(dir.path());
        push(&mut spool, 1, 1);
        push(&mut spool, 1, 2);
        let mut sender = Sender::new(2, 1000);
        sender.opened(&BTreeSet::from([1]));
        sender.acknowledged(1, 0, &mut spool);
        let now = Millis(1000);
        assert_eq!(sender.next(&mut spool, now, WALL), None, "the collector would take epoch 1 for the live one");
        assert_eq!(sender.wake_at(now), None, "only a live batch changes that");
        push(&mut spool, 2, 1);
        let mut next = || sender.next(&mut spool, now, WALL).map(|record| record.seq);
        assert_eq!([next(), next(), next(), next()], [Some(1), Some(1), Some(2), None]);
    }

    #[test]
    fn an_epoch_that_begins_on_a_stream_is_not_named_yet() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = spool(dir.path());
        push(&mut spool, 1, 1);
        let mut sender = Sender::new(2, 1000);
        sender.opened(&BTreeSet::from([1, 2]));
        sender.acknowledged(1, 0, &mut spool);
        sender.begin_epoch(3);
        assert_eq!(sender.next(&mut spool, Millis(1000), WALL), None);
    }

    #[test]
    fn a_throttle_ends_with_its_stream() {
        let mut sender = Sender::new(1, 1000);
        sender.opened(&BTreeSet::new());
        sender.throttled(Millis(500), Millis(1000));
        assert_eq!(sender.wake_at(Millis(1000)), Some(Millis(1500)));
        sender.closed();
        assert_eq!(sender.wake_at(Millis(2000)), None);
        sender.opened(&BTreeSet::new());
        assert_eq!(sender.wake_at(Millis(2000)), None);
    }

    #[test]
    fn a_batch_is_given_up_when_it_is_refused_three_times_in_a_row() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = spool(dir.path());
        (1..=5).for_each(|seq| push(&mut spool, 1, seq));
        let mut sender = Sender::new(1, 1000);
        let mut refused_at = |mark: u64, spool: &mut Spool| {
            sender.opened(&BTreeSet::from([1]));
            sender.acknowledged(1, mark, spool);
            while sender.next(spool, Millis(1000), WALL).is_some() {}
            let given_up = sender.refused(spool);
            sender.closed();
            given_up
        };
        assert_eq!(refused_at(0, &mut spool), None);
        assert_eq!(refused_at(0, &mut spool), None);
        assert_eq!(refused_at(2, &mut spool), None, "progress begins the count again");
        assert_eq!(refused_at(2, &mut spool), None);
        assert_eq!(refused_at(2, &mut spool), Some((1, 3)));
    }
}
