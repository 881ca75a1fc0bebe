//! The tables of identities and rights, and the audit that every change of them
//! leaves: decide, then adopt.
//!
//! ```text
//! events ──▶ decide ──▶ Decision { rows, lines, answers } ──▶ commit ──▶ adopt ──▶ view
//!            (pure: the tables are still unchanged)           (fsynced)
//! ```
//!
//! `decide` works on a copy that shares every row it does not touch. The copy is what
//! `adopt` takes over, and its changed rows are what is kept, so that memory and disk
//! cannot disagree.

use crate::answer::{Answer, Granted, Refused};
use crate::audit::{AuditKey, AuditLine, Chain, Fault, Head, Words};
use crate::denials::Denials;
use crate::event::{AccessAct, AccessEvent};
use crate::limits::CLOCK_BACK_MAX;
use crate::permission::Permission;
use crate::principal::{Denied, Principal, PrincipalKind, authorize};
use crate::rows::{self, RestoreError, Row, Table};
use crate::tables::Tables;
use crate::view::AccessView;
use signalbox_proto::units::UnixMillis;

/// A key of [`Table::Head`]: where the chain ends.
pub const HEAD_KEY: &[u8] = b"head";
/// The other: where the chain begins, once lines went.
pub const BASE_KEY: &[u8] = b"base";

/// Everything that decides.
#[derive(Debug, Clone)]
pub struct Access {
    pub(crate) tables: Tables,
    chain: Chain,
    denials: Denials,
    /// The newest instant that was seen. What ends by itself is judged by it, so that a
    /// clock which is set back makes nothing live longer.
    newest: UnixMillis,
}

/// What a list of events comes to. Nothing of it is true before it is adopted.
#[derive(Debug, Clone)]
pub struct Decision {
    after: Access,
    rows: Vec<Row>,
    lines: Vec<AuditLine>,
    answers: Vec<Answer>,
}

impl Decision {
    /// Rows to keep, in the order of tables and keys.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Lines to add to the audit.
    pub fn lines(&self) -> &[AuditLine] {
        &self.lines
    }

    /// One answer for each event, in order.
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// True when nothing is to be kept.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.lines.is_empty()
    }
}

/// One event's work on the copied tables.
pub(crate) struct Work<'a> {
    pub(crate) tables: &'a mut Tables,
    pub(crate) event: &'a AccessEvent,
    /// When, never before anything that was decided earlier.
    pub(crate) at: UnixMillis,
    /// For the audit: how it was.
    pub(crate) before: String,
    /// For the audit: how it is now.
    pub(crate) after: String,
}

impl Access {
    /// Tables and chain as rows and the last line of a previous life say; and what is
    /// wrong with the chain's end, which belongs on record.
    ///
    /// # Errors
    /// [`RestoreError`]: a row that this version did not write.
    pub fn restore<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        rows: impl IntoIterator<Item = (Table, K, V)>,
        last: Option<&AuditLine>,
        key: AuditKey,
    ) -> Result<(Access, Option<Fault>), RestoreError> {
        let mut tables = Tables::default();
        let mut head = None;
        for (table, row_key, value) in rows {
            let (row_key, value) = (row_key.as_ref(), value.as_ref());
            if table == Table::Head && row_key == BASE_KEY {
                // Who checks the chain reads it; what comes next hangs on the end alone.
                continue;
            }
            if table == Table::Head {
                head = Some(rows::decode::<Head>(table, row_key, value)?);
            } else {
                tables.restore(table, row_key, value)?;
            }
        }
        let (chain, fault) = Chain::resume(head, last, key);
        // Whoever is logged in is written down each minute, every act has its line.
        let newest = tables.newest_use().max(last.map_or(UnixMillis::MIN, |line| line.at));
        Ok((Access { tables, chain, denials: Denials::default(), newest }, fault))
    }

    /// A life begins at `now`. A clock that is further back than [`CLOCK_BACK_MAX`] was
    /// wrong before and is right now: what was begun in that future is over.
    pub fn begin(&mut self, now: UnixMillis) {
        if self.newest.since(now) > CLOCK_BACK_MAX {
            self.newest = now;
        }
    }

    /// What these events come to. Changes nothing; the same events give the same
    /// decision.
    pub fn decide(&self, events: &[AccessEvent]) -> Decision {
        let mut after = self.clone();
        let (mut lines, mut answers) = (Vec::new(), Vec::with_capacity(events.len()));
        for event in events {
            answers.push(after.apply(event, &mut lines));
        }
        let mut rows = after.tables.drain();
        if !lines.is_empty() {
            let value = Some(rows::encode(&after.chain.head));
            rows.insert(0, Row { table: Table::Head, key: HEAD_KEY.to_vec(), value });
        }
        Decision { after, rows, lines, answers }
    }

    /// The decision is durable: now it is true.
    pub fn adopt(&mut self, decision: Decision) {
        *self = decision.after;
    }

    /// A picture for readers.
    pub fn view(&self) -> AccessView {
        let key = self.chain.key().clone();
        AccessView { tables: self.tables.clone(), head: self.chain.head, key, newest: self.newest }
    }

    fn apply(&mut self, event: &AccessEvent, lines: &mut Vec<AuditLine>) -> Answer {
        self.newest = self.newest.max(event.at);
        let (before, after) = (String::new(), String::new());
        let mut work = Work { tables: &mut self.tables, event, at: self.newest, before, after };
        let answer = work.act();
        let (before, after) = (work.before, work.after);
        let act = event.act.word().to_owned();
        let words = match (&event.act, &answer) {
            (AccessAct::Sweep, _) => return self.sweep_up(event, lines),
            (AccessAct::TouchSession { .. }, _) => return answer,
            (AccessAct::Denied(denial), _) => {
                if !self.denials.admit(&event.caller.from, event.at) {
                    self.chain.suppressed += 1;
                    return answer;
                }
                let result = format!("denied: {}", denial.why);
                Words { act, object: denial.object.clone(), result, ..Words::default() }
            }
            (AccessAct::Record(record), _) => Words {
                act,
                object: record.object.clone(),
                before: record.before.clone(),
                after: record.after.clone(),
                result: record.result.clone(),
            },
            // Nothing changed and nobody was refused.
            (_, Ok(Granted::Nothing)) => return answer,
            (_, Ok(_)) => Words { act, object: event.act.object(), before, after, result: "done".to_owned() },
            (_, Err(refused)) => {
                let is_denial = is_cheap(&event.act) || matches!(refused, Refused::Denied(_));
                if is_denial && !self.denials.admit(&event.caller.from, event.at) {
                    self.chain.suppressed += 1;
                    return answer;
                }
                let word = if matches!(refused, Refused::Denied(_)) { "denied" } else { "refused" };
                let result = format!("{word}: {refused}");
                Words { act, object: event.act.object(), result, ..Words::default() }
            }
        };
        lines.push(self.chain.write(event, &words));
        answer
    }

    /// Denials that were left out are told at the latest when the next sweep comes.
    fn sweep_up(&mut self, event: &AccessEvent, lines: &mut Vec<AuditLine>) -> Answer {
        if self.chain.suppressed > 0 {
            let result = "denials were left out of the record at its limit".to_owned();
            let words = Words { act: "leave denials out".to_owned(), result, ..Words::default() };
            lines.push(self.chain.write(event, &words));
        }
        Ok(Granted::Nothing)
    }
}

/// True for what anybody on the network, or with any account, can try: its refusals are limited as
/// denials are.
fn is_cheap(act: &AccessAct) -> bool {
    matches!(
        act,
        AccessAct::Enrol(_)
            | AccessAct::RequestApproval(_)
            | AccessAct::Issue { .. }
            | AccessAct::Renew { .. }
            | AccessAct::KeyUsed { .. }
            | AccessAct::UseLoginLink { .. }
            | AccessAct::Login { .. }
            | AccessAct::LoginToken(_)
            | AccessAct::EndSession { .. }
            | AccessAct::SetPassword { .. }
    )
}

impl Work<'_> {
    /// A request may have begun before its user was disabled or given another role:
    /// what counts is the user as of now.
    fn check_current(&self, principal: &Principal) -> Result<(), Refused> {
        if principal.kind != PrincipalKind::User || !self.event.act.is_by_right() {
            return Ok(());
        }
        if self.tables.is_current_user(principal) {
            return Ok(());
        }
        Err(Refused::Denied(Denied::Permission(Permission::OwnSession)))
    }

    fn act(&mut self) -> Answer {
        let event = self.event;
        self.check_current(&event.caller.principal)?;
        if let Some((permission, object)) = event.act.needs() {
            authorize(&event.caller.principal, permission, object.as_ref())?;
        }
        match &event.act {
            AccessAct::CreateJoinToken(new) => self.create_join_token(new),
            AccessAct::RevokeJoinToken { id } => self.revoke_join_token(id),
            AccessAct::Enrol(enrolment) => self.enrol(enrolment),
            AccessAct::RequestApproval(request) => self.request_approval(request),
            AccessAct::Approve { key, labels } => self.approve(key, labels.as_ref()),
            AccessAct::Reject { key } => self.reject(key),
            AccessAct::Issue { key, not_after } => self.issue(key, *not_after),
            AccessAct::Renew { agent, old, new, not_after } => self.renew(agent, old, new, *not_after),
            AccessAct::KeyUsed { key } => self.key_used(key),
            AccessAct::RevokeAgent { agent, reason } => self.revoke_agent(agent, reason),
            AccessAct::ForgetAgent { agent } => self.forget_agent(agent),
            AccessAct::CreateUser { name, role, scope } => self.create_user(name, *role, scope),
            AccessAct::SetRole { user, role, scope } => self.set_role(user, *role, scope.as_ref()),
            AccessAct::DisableUser { user } => self.disable_user(user),
            AccessAct::EnableUser { user } => self.enable_user(user),
            AccessAct::SetPassword { user, hash, verified } => self.set_password(user, hash, verified.as_ref()),
            AccessAct::CreateLoginLink { secret, user } => self.create_login_link(*secret, user),
            AccessAct::FirstLink { secret } => self.first_link(*secret),
            AccessAct::UseLoginLink { secret, session } => self.use_login_link(secret, *session),
            AccessAct::Login { user, verified, session } => self.login(user, verified, *session),
            AccessAct::LoginToken(new) => self.login_token(new),
            AccessAct::EndSession { session } => self.end_session(session),
            AccessAct::EndSessions { user } => self.end_sessions(user),
            AccessAct::TouchSession { session } => self.touch_session(session),
            AccessAct::CreateApiToken(new) => self.create_api_token(new),
            AccessAct::RevokeApiToken { id } => self.revoke_api_token(id),
            AccessAct::Denied(_) | AccessAct::Record(_) => Ok(Granted::Done(String::new())),
            AccessAct::Sweep => self.sweep(),
        }
    }
}
