//! A second stream in the name of an agent whose first one stands: the same host
//! that came back, or a copy of it.
//!
//! ```text
//!                          ┌─ another boot id ──────────────────────────────▶ refused
//! Hello ─ a stream stands ─┼─ it is silent for 12 s ────────────────────────▶ takes its place
//!                          ├─ the same address, and nobody contests it ─────▶ takes its place
//!                          └─ else held ─┬─ the first one speaks ───────────▶ refused
//!                                        └─ it ends, or is silent for 12 s ─▶ takes its place
//! ```
//!
//! A machine that was copied with its memory has the boot id of its original, and two
//! agents on one machine have its address as well. What tells a copy from a return is
//! that the original goes on speaking: a stream that lives does so every ten seconds
//! at least. Of two at one address the second takes the first one's place once; when
//! that one comes back within a minute, the place is contested.

use super::inbox::Marks;
use super::intake::Taker;
use super::stream::{Fault, StreamOut};
use crate::shared::Problem;
use signalbox_engine::event::{AgentHello, Event};
use signalbox_proto::limits::HEARTBEAT_MS;
use signalbox_proto::names::AgentId;
use signalbox_proto::samples::Hello;
use signalbox_proto::units::{Millis, UnixMillis};
use std::sync::Arc;
use tokio::sync::oneshot;

/// A stream that is silent for so long has lost its agent: a heartbeat is overdue.
pub(super) const SILENT: Millis = Millis(HEARTBEAT_MS + 2_000);
/// What is heard sooner after a Hello may have been under way before it.
const UNDER_WAY: Millis = Millis::from_secs(1);
/// So long after a place was taken or refused, nobody is let into it unseen: longer
/// than the longest pause between two attempts of an agent.
const CONTESTED: Millis = Millis::from_mins(1);

/// Whoever said Hello and has no answer yet.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub(crate) hello: Hello,
    pub(crate) stream: Arc<StreamOut>,
    pub(crate) reply: oneshot::Sender<Result<Marks, String>>,
    /// When the first of those that were held since then came.
    pub(crate) since: UnixMillis,
}

/// The stream that stands, as the writer knows it.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) stream: Arc<StreamOut>,
    /// Boot id that its Hello named.
    boot_id: String,
    /// When it was last heard.
    pub(super) spoke: UnixMillis,
}

/// What becomes of a newcomer.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Take,
    Hold,
    Refuse,
}

/// Pure. `contested` is when somebody last took or was refused the place.
fn judge(first: &Standing, contested: UnixMillis, newcomer: &Newcomer, at: UnixMillis) -> Verdict {
    if first.boot_id != newcomer.hello.boot_id {
        return Verdict::Refuse;
    }
    let is_returning = first.stream.address() == newcomer.stream.address() && at.since(contested) >= CONTESTED;
    if is_returning || at.since(first.spoke) >= SILENT { Verdict::Take } else { Verdict::Hold }
}

impl Taker<'_> {
    pub(super) fn connect(&mut self, newcomer: Newcomer) {
        let at = self.at;
        let id = newcomer.hello.agent.clone();
        if self.agents.find(&id).is_none()
            && let Err(why) = self.register(&id)
        {
            return turn_away(newcomer, why);
        }
        let entry = self.agents.find(&id).expect("registered above");
        let verdict = match &entry.standing {
            Some(first) if !first.stream.is_ended() => judge(first, entry.contested, &newcomer, at),
            _ => Verdict::Take,
        };
        match verdict {
            Verdict::Take => self.take_in(newcomer),
            Verdict::Refuse => self.refuse_newcomer(newcomer),
            Verdict::Hold => {
                metrics::counter!("signalbox_streams_held_total").increment(1);
                let before = entry.newcomer.take();
                let since = before.as_ref().map_or(newcomer.since, |before| before.since);
                entry.newcomer = Some(Newcomer { since, ..newcomer });
                if let Some(before) = before {
                    turn_away(before, format!("agent {id}: a newer stream waits in this one's place"));
                }
            }
        }
    }

    /// The agent's stream is this one from now on.
    fn take_in(&mut self, newcomer: Newcomer) {
        let at = self.at;
        let Newcomer { hello, stream, reply, .. } = newcomer;
        let Some(entry) = self.agents.find(&hello.agent) else { return };
        entry.is_remote = stream.is_remote();
        let next = Standing { stream, boot_id: hello.boot_id.clone(), spoke: at };
        if let Some(first) = entry.standing.replace(next).filter(|first| !first.stream.is_ended()) {
            entry.contested = at;
            first.stream.end(Fault::Replaced);
        }
        // Not remembered from stream to stream: a clock that was ahead once, and set
        // back, would leave all later epochs of the agent unjudged.
        entry.go_live(hello.epochs.iter().copied().max().unwrap_or(0));
        let mark = |&epoch: &u64| (epoch, entry.marks.get(&epoch).copied().unwrap_or(0));
        let marks = hello.epochs.iter().map(mark).collect();
        let Hello { agent, boot_id, version, labels, wall, checks, .. } = hello;
        self.out.event(at, Event::AgentConnected(AgentHello { agent, boot_id, version, labels, checks, wall }));
        self.out.hellos.push((reply, marks));
    }

    fn refuse_newcomer(&mut self, newcomer: Newcomer) {
        let id = newcomer.hello.agent.clone();
        let Some(entry) = self.agents.find(&id) else { return };
        entry.contested = self.at;
        let Some(first) = &entry.standing else { return };
        let why = format!(
            "agent id {id} is in use by another machine or agent: the stream from {} (boot id {:?}) lives, the one from {} \
             (boot id {:?}) is refused",
            first.stream.place(),
            first.boot_id,
            newcomer.stream.place(),
            newcomer.hello.boot_id
        );
        self.out.event(self.at, Event::StreamRefused { agent: id, why: why.clone() });
        self.shared.set_problem(Problem::IdentityTwice, Some(why.clone()));
        turn_away(newcomer, why);
    }

    /// The stream said something. True when it is the one that stands: whoever waits
    /// for its place is not the host that came back.
    pub(super) fn heard(&mut self, stream: &Arc<StreamOut>) -> bool {
        let at = self.at;
        let Some(entry) = self.agents.find(stream.agent()).filter(|entry| entry.is_current(stream)) else {
            return false;
        };
        if let Some(standing) = &mut entry.standing {
            standing.spoke = at;
        }
        if let Some(newcomer) = entry.newcomer.take_if(|newcomer| at.since(newcomer.since) >= UNDER_WAY) {
            self.refuse_newcomer(newcomer);
        }
        true
    }

    pub(super) fn disconnect(&mut self, stream: &Arc<StreamOut>, goodbye: Option<String>) {
        let at = self.at;
        let Some(entry) = self.agents.find(stream.agent()) else { return };
        if !entry.is_current(stream) {
            return;
        }
        entry.standing = None;
        let newcomer = entry.newcomer.take();
        self.out.event(at, Event::AgentDisconnected { agent: stream.agent().clone(), goodbye });
        if let Some(newcomer) = newcomer {
            self.take_in(newcomer);
        }
    }

    /// Time passed: those who wait for the place of a stream that lost its agent get it.
    pub(super) fn let_in(&mut self) {
        let at = self.at;
        let is_lost = |first: &Standing| first.stream.is_ended() || at.since(first.spoke) >= SILENT;
        let free = self.agents.iter_mut().filter(|entry| entry.standing.as_ref().is_none_or(is_lost));
        let newcomers: Vec<Newcomer> = free.filter_map(|entry| entry.newcomer.take()).collect();
        for newcomer in newcomers {
            self.take_in(newcomer);
        }
    }
}

impl Standing {
    /// True when this is its stream.
    pub(super) fn is(&self, stream: &Arc<StreamOut>) -> bool {
        Arc::ptr_eq(&self.stream, stream)
    }
}

fn turn_away(newcomer: Newcomer, why: String) {
    metrics::counter!("signalbox_streams_refused_total").increment(1);
    let agent: &AgentId = &newcomer.hello.agent;
    tracing::warn!(%agent, why, "a stream was refused");
    // Whoever asked may be gone.
    let _gone = newcomer.reply.send(Err(why));
}
