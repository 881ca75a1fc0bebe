//! What people and agents did, on record in the same commit as its effect.
//!
//! ```text
//! commands ─▶ engine.decide ─▶ answers ─┐
//!                                       ├─▶ access.decide ─▶ rows, lines of the audit, answers
//! logins, tokens, enrolment, denials ───┘
//! ```
//!
//! Lines stand in the order in which the messages came. Nobody is answered before
//! the commit that holds the line.

use super::Writer;
use crate::handle::HandleError;
use crate::shared::Problem;
use crate::store::{Commit, Family, keys};
use signalbox_access::event::{Denial, Record};
use signalbox_access::{AccessAct, AccessEvent, Caller, Decision as AccessDecision, Fault};
use signalbox_engine::decision::Answer;
use signalbox_engine::event::Act;
use signalbox_proto::units::{Millis, UnixMillis};
use tokio::sync::oneshot;

/// What is over is swept away this often.
const SWEEP_EVERY: Millis = Millis::from_mins(1);

/// Something for the record, and who waits for it.
#[derive(Debug)]
pub(crate) enum Deed {
    /// An operator's act, which the engine answers.
    Command {
        /// Who.
        caller: Caller,
        /// The record, but for what came of it.
        record: Record,
        /// Answered after the commit.
        reply: oneshot::Sender<Result<Answer, HandleError>>,
    },
    /// An act that the access tables answer.
    Access {
        /// Who.
        caller: Caller,
        /// What.
        act: AccessAct,
        /// Answered after the commit, if somebody waits.
        reply: Option<oneshot::Sender<Result<signalbox_access::Answer, HandleError>>>,
    },
}

impl Deed {
    /// An operator's act.
    pub(crate) fn command(caller: Caller, act: &Act, reply: oneshot::Sender<Result<Answer, HandleError>>) -> Deed {
        Deed::Command { caller, record: record_of(act), reply }
    }

    /// An operator's act that came when its rights had ended.
    pub(crate) fn too_late(caller: Caller, act: &Act) -> Deed {
        let Record { act, object, .. } = record_of(act);
        let why = "the user, session or token has ended or changed since the request began".to_owned();
        Deed::Access { caller, act: AccessAct::Denied(Denial { act, object, why }), reply: None }
    }

    /// Other rules come into force; none when they are those in force already.
    pub(crate) fn rules(before: &str, after: &str) -> Option<Deed> {
        let record = Record {
            act: "put rules in force".to_owned(),
            object: "rules".to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
            result: "done".to_owned(),
        };
        (before != after).then(|| Deed::own(AccessAct::Record(record)))
    }

    /// The collector's own act.
    pub(crate) fn own(act: AccessAct) -> Deed {
        Deed::Access { caller: Caller::system(), act, reply: None }
    }
}

/// What an act of the engine looks like on record.
fn record_of(act: &Act) -> Record {
    let incident = |number: &u64| format!("incident:INC-{number}");
    let (act, object, after) = match act {
        Act::Acknowledge { incident: number, text } => ("acknowledge", incident(number), text.clone()),
        Act::Assign { incident: number, assignee, text } => {
            ("assign", incident(number), format!("to {assignee}: {text}"))
        }
        Act::Note { incident: number, text } => ("note", incident(number), text.clone()),
        Act::Close { incident: number, label, text } => ("close", incident(number), format!("{label:?}: {text}")),
        Act::Snooze { scope, only, span, reason } => {
            let within = if only.is_empty() { String::new() } else { format!(", {} items of it", only.len()) };
            ("snooze", scope.clone(), format!("for {span}{within}: {reason}"))
        }
        Act::EndSnooze { id, reason } => ("end snooze", format!("snooze:{id}"), reason.clone()),
        Act::RetireAgent { agent, reason } => ("retire agent", format!("agent:{agent}"), reason.clone()),
    };
    Record { act: act.to_owned(), object, after, ..Record::default() }
}

/// The events of a turn's deeds; answers of the engine in the order of its commands.
fn events(deeds: &[Deed], answers: &[Answer], at: UnixMillis) -> Vec<AccessEvent> {
    let mut answers = answers.iter();
    let mut event = |deed: &Deed| match deed {
        Deed::Access { caller, act, .. } => AccessEvent { at, caller: caller.clone(), act: act.clone() },
        Deed::Command { caller, record, .. } => {
            let mut record = record.clone();
            record.result = match answers.next() {
                Some(Ok(done)) => format!("done: {}", done.done),
                Some(Err(why)) => {
                    // What was asked for did not come true.
                    record.after.insert_str(0, "wanted: ");
                    format!("refused: {why}")
                }
                None => "not answered".to_owned(),
            };
            AccessEvent { at, caller: caller.clone(), act: AccessAct::Record(record) }
        }
    };
    deeds.iter().map(&mut event).collect()
}

impl Writer {
    /// What the turn's deeds come to; none when there are none.
    pub(super) fn decide_deeds(&self, deeds: &[Deed], answers: &[Answer], at: UnixMillis) -> Option<AccessDecision> {
        (!deeds.is_empty()).then(|| self.access.decide(&events(deeds, answers, at)))
    }

    /// Deeds of the collector itself that this turn begins with.
    pub(super) fn own_deeds(&mut self, tick: bool, at: UnixMillis) -> Vec<Deed> {
        let mut deeds: Vec<Deed> = self.chain_fault.map(fault_deed).into_iter().collect();
        if tick && at.since(self.swept_at) >= SWEEP_EVERY {
            self.swept_at = at;
            deeds.push(Deed::own(AccessAct::Sweep));
        }
        deeds
    }

    /// The decision is durable: rights are as it says from now on, and all who wait
    /// are answered.
    pub(super) fn adopt_deeds(&mut self, decision: Option<AccessDecision>, deeds: Vec<Deed>, answers: Vec<Answer>) {
        let Some(decision) = decision else { return };
        // It was the first deed of the turn that is durable now.
        self.chain_fault = None;
        let access_answers = decision.answers().to_vec();
        metrics::counter!("signalbox_audit_lines_total").increment(decision.lines().len() as u64);
        let n_suppressed = decision.lines().iter().map(|line| line.suppressed).sum();
        metrics::counter!("signalbox_denials_suppressed_total").increment(n_suppressed);
        self.access.adopt(decision);
        // Also when no row changed: time passed, and a clock may be set back.
        self.shared.publish_access(self.access.view());
        let mut answers = answers.into_iter();
        for (deed, access_answer) in deeds.into_iter().zip(access_answers) {
            match deed {
                Deed::Command { reply, .. } => {
                    if let Some(answer) = answers.next() {
                        let _gone = reply.send(Ok(answer));
                    }
                }
                Deed::Access { reply, .. } => {
                    let _gone = reply.map(|reply| reply.send(Ok(access_answer)));
                }
            }
        }
    }
}

/// Rows and lines of a decision.
pub(super) fn put(decision: &AccessDecision, commit: &mut Commit) {
    for row in decision.rows() {
        let key = keys::access(row.table, &row.key);
        match &row.value {
            Some(value) => commit.put(Family::Access, key, value.clone()),
            None => commit.delete(Family::Access, key),
        }
    }
    for line in decision.lines() {
        commit.put(Family::Audit, keys::audit(line.no), line.encode());
    }
}

/// The end of the audit was not as it was left.
fn fault_deed(fault: Fault) -> Deed {
    Deed::own(AccessAct::Record(Record {
        act: "open audit".to_owned(),
        object: "audit".to_owned(),
        result: format!("fault: {fault}"),
        ..Record::default()
    }))
}

/// States the fault for people until the collector is started again.
pub(super) fn state_fault(shared: &crate::shared::Shared, fault: Option<&Fault>) {
    let Some(fault) = fault else { return };
    tracing::error!(%fault, "the audit does not end as it was left");
    let text = format!("the audit does not end as it was left: {fault}; signalbox audit verify tells more");
    shared.set_problem(Problem::Audit, Some(text));
}
