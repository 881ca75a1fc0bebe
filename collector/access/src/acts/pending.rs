//! The way in without a token: an agent asks, an admin compares the fingerprint and
//! says yes or no.

use super::join_tokens::refused;
use super::{check_end, conflict, done};
use crate::access::Work;
use crate::address::host_of;
use crate::answer::{Answer, Granted, Refused};
use crate::event::ApprovalRequest;
use crate::limits::{CERTIFICATE_LIFE, CSR_MAX_BYTES, PENDING_LIFE, PENDING_MAX, PENDING_PER_ADDRESS_MAX};
use crate::rows::{PendingRow, PendingState};
use crate::secret::KeyFingerprint;
use signalbox_proto::join::Refusal;
use signalbox_proto::names::Labels;

impl Work<'_> {
    /// Asking again with the same key is the same request.
    pub(crate) fn request_approval(&mut self, request: &ApprovalRequest) -> Answer {
        let at = self.at;
        if request.csr_der.len() > CSR_MAX_BYTES {
            return refused(Refusal::BadRequest, format!("a certificate request has at most {CSR_MAX_BYTES} bytes"));
        }
        if let Some(row) = self.tables.pending.get(&request.key).filter(|row| at < row.expires) {
            if row.agent != request.agent {
                return refused(Refusal::KeyTaken, format!("this key asks for agent {} already", row.agent));
            }
            return Ok(Granted::Nothing);
        }
        if self.tables.keys.get(&request.key).is_some() {
            return refused(Refusal::KeyTaken, "the key is bound to an agent already");
        }
        if self.tables.agents.get(&request.agent).is_some() {
            return refused(Refusal::NameTaken, format!("agent {} has an identity already", request.agent));
        }
        if self.tables.pending.len() >= PENDING_MAX {
            self.sweep_pending();
            // A refusal that was given may be forgotten sooner than one who waits.
            self.tables.pending.remove_if(|_, row| row.state == PendingState::Rejected);
        }
        let host = request.remote.map(host_of);
        let waiting = self.tables.pending.iter().filter(|(_, row)| row.remote.map(host_of) == host);
        let waiting = waiting.filter(|(_, row)| row.state == PendingState::Waiting && at < row.expires);
        if waiting.count() >= PENDING_PER_ADDRESS_MAX {
            return refused(Refusal::TooMany, format!("{PENDING_PER_ADDRESS_MAX} agents of this address wait already"));
        }
        if self.tables.pending.len() >= PENDING_MAX {
            return refused(Refusal::TooMany, format!("{PENDING_MAX} agents wait for approval and that is the limit"));
        }
        let row = PendingRow {
            agent: request.agent.clone(),
            csr_der: request.csr_der.clone(),
            labels: request.labels.clone(),
            remote: request.remote,
            asked: at,
            expires: at + PENDING_LIFE,
            state: PendingState::Waiting,
        };
        let expires = row.expires;
        self.tables.pending.insert(request.key, row);
        self.after = format!("waiting with key {}, labels {}", request.key, request.labels);
        Ok(Granted::Waiting { expires })
    }

    pub(crate) fn approve(&mut self, key: &KeyFingerprint, labels: Option<&Labels>) -> Answer {
        let row = self.waiting(key)?.clone();
        let labels = labels.unwrap_or(&row.labels).clone();
        let by = self.who();
        // The certificate is made when the agent comes for it, within the week.
        let not_after = row.expires + CERTIFICATE_LIFE;
        self.bind(&row.agent, key, not_after, &labels, &by, false)?;
        if let Some(row) = self.tables.pending.get_mut(key) {
            row.state = PendingState::Approved;
        }
        self.before = format!("agent {} waits", row.agent);
        self.after = format!("agent {} has it, labels {labels}", row.agent);
        done(format!("agent {} approved", row.agent))
    }

    pub(crate) fn reject(&mut self, key: &KeyFingerprint) -> Answer {
        let row = self.waiting(key)?;
        let agent = row.agent.clone();
        if let Some(row) = self.tables.pending.get_mut(key) {
            row.state = PendingState::Rejected;
        }
        self.before = format!("agent {agent} waits");
        self.after = "rejected".to_owned();
        done(format!("agent {agent} rejected"))
    }

    pub(crate) fn issue(&mut self, key: &KeyFingerprint, not_after: signalbox_proto::units::UnixMillis) -> Answer {
        check_end(self.event.at, not_after, CERTIFICATE_LIFE)?;
        let is_approved = |row: &&PendingRow| row.state == PendingState::Approved && self.at < row.expires;
        let Some(row) = self.tables.pending.get(key).filter(is_approved) else {
            return refused(Refusal::NotAccepted, "no approved request has this key");
        };
        let agent = row.agent.clone();
        let labels = match self.tables.agents.get(&agent) {
            Some(identity) if identity.revoked.is_none() => identity.labels.clone(),
            _ => return refused(Refusal::KeyRevoked, format!("agent {agent} is revoked")),
        };
        let Some(bound) = self.tables.keys.get_mut(key) else {
            return refused(Refusal::KeyUnknown, "the key is not bound any more");
        };
        bound.not_after = not_after;
        self.after = format!("agent {agent}, until {}", not_after.0);
        Ok(Granted::Identity { agent, labels })
    }

    fn waiting(&self, key: &KeyFingerprint) -> Result<&PendingRow, Refused> {
        let row = self.tables.pending.get(key).filter(|row| self.at < row.expires);
        let row = row.ok_or_else(|| Refused::NotFound(format!("request with key {key}")))?;
        match row.state {
            PendingState::Waiting => Ok(row),
            PendingState::Approved => conflict(format!("agent {} is approved already", row.agent)),
            PendingState::Rejected => conflict(format!("agent {} is rejected already", row.agent)),
        }
    }

    /// Requests whose time is over go; so do those whose agent uses its certificate.
    pub(crate) fn sweep_pending(&mut self) {
        let at = self.at;
        let keys = self.tables.keys.clone();
        let is_in = |key: &KeyFingerprint| keys.get(key).is_some_and(|row| row.used);
        self.tables.pending.remove_if(|key, row| at >= row.expires || is_in(key));
    }
}
