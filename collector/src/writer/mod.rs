//! The one thread that decides, commits, adopts, publishes and acknowledges.
//!
//! ```text
//! inbox ─ turn ─▶ take ─▶ engine.decide ─▶ access.decide ─▶ store.commit ─▶ adopt ─▶ publish ─▶ acknowledge
//!                 (decode, sieve)                            (fsynced)
//! ```
//!
//! What it promises: an agent is acknowledged, and a command answered, only after
//! the durable commit that holds it and its line of the audit. A turn that the store refuses for want of
//! space changes nothing: its streams are ended, so that agents send it again from
//! the marks. Any other error of a commit ends the process, because nobody can
//! know what is on the disk.
//!
//! [`Writer::step`] is one turn and reads no clock: a thread calls it in
//! production, tests call it with the memory store.

#[cfg(test)]
mod access_tests;
pub mod agents;
mod audit_bound;
mod deeds;
pub mod inbox;
pub mod intake;
mod lanes;
pub mod merge;
mod newcomer;
#[cfg(test)]
mod newcomer_tests;
mod records;
mod refusal;
pub(crate) mod restore;
pub mod retention;
mod retire;
pub mod seal;
pub mod segments;
pub mod sieve;
mod stamp;
pub mod stream;
#[cfg(test)]
mod tests;
mod thread;

pub(crate) use retire::QUIET_DEFAULT;
pub use thread::Limits;
pub(crate) use thread::run;

use crate::shared::{Problem, Shared};
use crate::store::{Commit, Family, StoreError, keys};
use agents::Agents;
use inbox::Queued;
use intake::{Intake, Taker, announce};
use retire::Retirement;
use seal::Sealer;
use sieve::Sieve;
use signalbox_access::{Access, AuditKey, Decision as AccessDecision, Fault};
use signalbox_engine::decision::{Notice, Table};
use signalbox_engine::engine::{Decision, Engine};
use signalbox_engine::event::Event;
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_tsdb::head::SealLimits;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::mpsc;

/// A board is published at most this often, unless somebody acted.
const PUBLISH_EVERY: Millis = Millis(200);
/// A board is published at least this often: ages on it grow by themselves.
const PUBLISH_AT_LEAST: Millis = Millis::from_secs(1);
/// Items for each millisecond between two boards. Building one takes about 3 us an
/// item, so this keeps it under a twentieth of the writer's time.
const ITEMS_PER_MS: u64 = 16;
/// Tables whose rows are kept as they stood, for explanations: those that
/// verdicts are made of. Ledger and rulesets are only ever added to;
/// feeds and outbox say nothing about a verdict.
pub(crate) const EXPLAINED: [Table; 5] = [Table::Meta, Table::Agents, Table::Tracks, Table::Incidents, Table::Snoozes];

/// Messages of one turn, stamped.
#[derive(Debug)]
pub struct Turn {
    /// Stamp of all its events; never before that of an earlier turn.
    pub at: UnixMillis,
    /// The collector began, or was paused.
    pub started: bool,
    /// Time passed: whatever is due now happens.
    pub tick: bool,
    /// In order of arrival.
    pub messages: Vec<Queued>,
}

/// What became of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable.
    Committed,
    /// The store had no space: nothing changed.
    Refused,
    /// It is durable, and it asked for the end.
    Stop,
}

/// Notices that the notifier does not have and must get.
#[derive(Debug)]
enum Owed {
    /// All that are pending: nobody knows what it has.
    All,
    /// Those of these keys: they found no room in the channel.
    These(BTreeSet<String>),
}

impl Owed {
    fn is_nothing(&self) -> bool {
        matches!(self, Owed::These(keys) if keys.is_empty())
    }
}

/// Owner of all state that verdicts depend on.
pub struct Writer {
    shared: Arc<Shared>,
    engine: Engine,
    access: Access,
    /// What was wrong with the end of the audit; the first turn puts it on record.
    chain_fault: Option<Fault>,
    /// When what is over was last swept away.
    swept_at: UnixMillis,
    agents: Agents,
    sieve: Sieve,
    sealer: Sealer,
    seal_limits: SealLimits,
    series_max: u32,
    notices: mpsc::Sender<Notice>,
    owed: Owed,
    turn: u64,
    /// Rules changed: stored series are told to the engine again.
    must_announce: bool,
    /// The store refused a commit and is not open again.
    is_refused: bool,
    /// The engine has not heard yet that agents could not be heard.
    must_start: bool,
    /// Agents are asked to wait, and what the engine was told of it.
    is_paused: bool,
    told_paused: bool,
    /// When opening it again was last tried.
    reopen_tried: UnixMillis,
    published_at: UnixMillis,
    /// What the size of the last board allows.
    publish_every: Millis,
    is_board_old: bool,
    /// Rows that nobody needs any more, for the next turn's commit.
    housekeeping: Commit,
    retirement: Retirement,
}

impl Writer {
    /// Reads everything back from the store.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read or a row of the engine is damaged.
    pub(crate) fn open(
        shared: Arc<Shared>,
        sealer: Sealer,
        notices: mpsc::Sender<Notice>,
        series_max: u32,
        audit_key: AuditKey,
        at: UnixMillis,
    ) -> Result<Writer, StoreError> {
        let restored = restore::tables(&shared, series_max, at)?;
        let rows = restore::engine_rows(&**shared.store())?;
        let rows = rows.into_iter().filter_map(|row| Some((row.table, row.key, row.value?)));
        let engine = Engine::restore(rows)
            .map_err(|why| StoreError::Failed { what: "restore the engine".to_owned(), why: why.to_string() })?;
        let (mut access, chain_fault) = restore::access(&**shared.store(), audit_key)?;
        access.begin(at);
        deeds::state_fault(&shared, chain_fault.as_ref());
        shared.publish_access(access.view());
        Ok(Writer {
            shared,
            engine,
            access,
            chain_fault,
            swept_at: at,
            agents: restored.agents,
            sieve: Sieve::default(),
            sealer,
            seal_limits: SealLimits::default(),
            series_max,
            notices,
            owed: Owed::All,
            turn: restored.turn,
            must_announce: false,
            is_refused: false,
            must_start: false,
            is_paused: false,
            told_paused: false,
            reopen_tried: UnixMillis::MIN,
            published_at: UnixMillis::MIN,
            publish_every: Millis::ZERO,
            is_board_old: true,
            housekeeping: Commit::default(),
            retirement: Retirement::default(),
        })
    }

    /// The last turn that is durable.
    pub fn turn(&self) -> u64 {
        self.turn
    }

    /// The store refused a commit and is not open again.
    pub fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// When time alone may change something.
    pub fn next_due(&self) -> Option<UnixMillis> {
        self.engine.next_due()
    }

    /// One turn.
    ///
    /// # Errors
    /// [`StoreError`] after which the process must end. A store without space is
    /// no error: [`Outcome::Refused`].
    pub fn step(&mut self, turn: Turn) -> Result<Outcome, StoreError> {
        if self.is_refused && !self.reopened(turn.at)? {
            return Ok(self.refuse_unseen(turn));
        }
        let at = turn.at;
        let mut intake = self.take(turn);
        let decision = self.engine.decide(&intake.events);
        let deeds = std::mem::take(&mut intake.deeds);
        let record = self.decide_deeds(&deeds, decision.answers(), at);
        let commit = self.commit_of(&mut intake, &decision, record.as_ref(), at);
        if !commit.is_empty() {
            match self.shared.store().commit(&commit) {
                Ok(()) => self.turn += 1,
                Err(StoreError::Full { .. }) => return Ok(self.refuse(intake)),
                Err(error) => return Err(error),
            }
        }
        let outcome = if intake.stop { Outcome::Stop } else { Outcome::Committed };
        let answers = decision.answers().to_vec();
        self.adopt(decision, intake, at);
        self.adopt_deeds(record, deeds, answers);
        Ok(outcome)
    }

    fn take(&mut self, turn: Turn) -> Intake {
        self.sieve.begin(self.turn + 1);
        let at = turn.at;
        let deeds = self.own_deeds(turn.tick, at);
        let mut out = Intake { commit: std::mem::take(&mut self.housekeeping), deeds, ..Intake::default() };
        let started = std::mem::take(&mut self.must_start) || turn.started;
        if started {
            self.agents.were_not_heard(at);
            out.event(at, Event::CollectorStarted);
        }
        let paused = self.is_paused;
        if std::mem::replace(&mut self.told_paused, paused) != paused || (started && paused) {
            out.event(at, Event::IngestPaused { paused });
        }
        self.retirement.tell(&self.engine, at, &mut out);
        if std::mem::take(&mut self.must_announce) {
            self.announce_stored(&mut out, at);
        }
        let (shared, engine) = (&*self.shared, &self.engine);
        let mut taker = Taker { shared, engine, agents: &mut self.agents, sieve: &mut self.sieve, at, out };
        for queued in turn.messages {
            taker.take(queued);
        }
        while let Some(sealed) = self.sealer.done() {
            sealed.into_commit(taker.agents, &mut shared.index_mut(), &mut taker.out);
        }
        if turn.tick {
            taker.let_in();
        }
        let mut out = taker.out;
        if turn.tick {
            out.event(at, Event::Tick);
        }
        out
    }

    /// Every stored series that a rule selects, to an engine that has new rules.
    fn announce_stored(&mut self, out: &mut Intake, at: UnixMillis) {
        self.sieve.reset();
        let index = self.shared.index();
        for id in index.ids() {
            let Some(agent) = index.owner(id).and_then(|no| self.agents.get(no)) else { continue };
            let agent = agent.id.clone();
            announce(id, &index, &self.engine, &mut self.sieve, |series, labels| {
                out.event(at, Event::SeriesKnown { agent: agent.clone(), series, labels });
                out.announced.push(series);
            });
        }
        for entry in self.agents.iter_mut() {
            entry.layouts.clear();
            entry.lanes.values_mut().for_each(|lane| lane.shapes.clear());
        }
    }

    /// All that the turn changes, in one commit.
    fn commit_of(
        &self,
        intake: &mut Intake,
        decision: &Decision,
        record: Option<&AccessDecision>,
        at: UnixMillis,
    ) -> Commit {
        let mut commit = std::mem::take(&mut intake.commit);
        for (&(no, epoch), seq) in &intake.marks {
            commit.put(Family::Meta, keys::mark(no, epoch), seq.to_le_bytes());
        }
        for row in decision.rows() {
            let state = keys::state(row.table, &row.key);
            match &row.value {
                Some(value) => commit.put(Family::State, state, value.clone()),
                None => commit.delete(Family::State, state),
            }
            if EXPLAINED.contains(&row.table) {
                let version = keys::version(row.value.as_deref());
                commit.put(Family::History, keys::history(row.table, &row.key, at), version);
            }
        }
        if let Some(record) = record {
            deeds::put(record, &mut commit);
        }
        if !commit.is_empty() {
            commit.put(Family::Meta, keys::TURN, (self.turn + 1).to_le_bytes());
        }
        commit
    }

    /// The turn is durable: now it is true, shown, told and acknowledged.
    fn adopt(&mut self, decision: Decision, intake: Intake, at: UnixMillis) {
        let bands = decision.bands().to_vec();
        let somebody_acted = !decision.answers().is_empty();
        let notices = decision.notices().to_vec();
        self.must_announce = intake.has_rules || decision.rules_changed();
        self.is_board_old |= !decision.is_empty() || !intake.events.is_empty();
        self.engine.adopt(decision);
        for (series, band) in bands {
            self.sieve.set_band(series, band);
        }
        for series in &intake.announced {
            self.sieve.set_band(*series, self.engine.band(*series));
        }
        self.tell(notices);
        self.publish(at, somebody_acted);
        self.release_sealed(&intake);
        self.forget_retired(&intake);
        metrics::counter!("signalbox_samples_ingested_total").increment(intake.n_samples);
        metrics::gauge!("signalbox_series_watched").set(self.sieve.n_watched() as f64);
        self.seal_due(&intake.touched, at);
        for (stream, epoch, seq) in intake.acks {
            stream.acknowledge(epoch, seq);
        }
        for (reply, marks) in intake.hellos {
            let _gone = reply.send(Ok(marks));
        }
        for reply in intake.reloads {
            let _gone = reply.send(());
        }
    }

    /// Hands notices to the notifier, each once. One that finds no room is in the
    /// outbox, and is offered again when the notifier has taken all that was in the
    /// channel; the others are its business until it answers.
    fn tell(&mut self, mut notices: Vec<Notice>) {
        if !self.owed.is_nothing() && self.notices.capacity() == self.notices.max_capacity() {
            let owed = std::mem::replace(&mut self.owed, Owed::These(BTreeSet::new()));
            let mut pending = self.engine.pending_notices();
            if let Owed::These(mut keys) = owed {
                keys.extend(notices.into_iter().map(|notice| notice.key));
                pending.retain(|notice| keys.contains(&notice.key));
            }
            notices = pending;
            self.shared.set_problem(Problem::NotifierBehind, None);
        }
        for notice in notices {
            let Err(error) = self.notices.try_send(notice) else { continue };
            if let Owed::These(keys) = &mut self.owed {
                keys.insert(error.into_inner().key);
            }
            let text = "notices are decided faster than they are sent; all of them will be";
            self.shared.set_problem(Problem::NotifierBehind, Some(text.to_owned()));
            metrics::counter!("signalbox_notices_delayed_total").increment(1);
        }
    }

    fn publish(&mut self, at: UnixMillis, somebody_acted: bool) {
        let age = at.since(self.published_at);
        let every = PUBLISH_EVERY.max(self.publish_every);
        if somebody_acted || (self.is_board_old && age >= every) || age >= PUBLISH_AT_LEAST.max(every) {
            let board = self.engine.board_with(at, &|series| self.sieve.latest(series));
            let counts = board.status.counts;
            let n_items =
                u64::from(counts.red) + u64::from(counts.amber) + u64::from(counts.green) + u64::from(counts.grey);
            self.publish_every = Millis(n_items / ITEMS_PER_MS);
            self.shared.publish(board);
            self.published_at = at;
            self.is_board_old = false;
        }
    }
}
