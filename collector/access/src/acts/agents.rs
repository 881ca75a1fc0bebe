//! Agents' identities: which key is whose, renewal, revocation.
//!
//! ```text
//!            bind                 renew                    key used
//!  (none) ────────▶ active key ─────────▶ old and new active ────────▶ new active, old replaced
//!                       │                        │
//!                       └──── revoke agent ──────┴──▶ all revoked ──▶ forgotten
//! ```
//!
//! The old key stays active until the new one is used: an answer that is lost on its
//! way to the agent costs nothing.

use super::join_tokens::refused;
use super::{check_end, conflict, done, invalid};
use crate::access::Work;
use crate::answer::{Answer, Granted, Refused};
use crate::limits::{AGENTS_MAX, CERTIFICATE_LIFE, KEYS_PER_AGENT_MAX, RENEW_AFTER_END};
use crate::rows::{AgentRow, KeyRow, KeyState};
use crate::secret::KeyFingerprint;
use signalbox_proto::join::Refusal;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::UnixMillis;

impl Work<'_> {
    /// Binds a key to an agent. One that has an identity, or whose identity was
    /// revoked, gets a new one only when an admin `named` it.
    pub(crate) fn bind(
        &mut self,
        agent: &AgentId,
        key: &KeyFingerprint,
        not_after: UnixMillis,
        labels: &Labels,
        by: &str,
        named: bool,
    ) -> Result<Labels, Refused> {
        if self.tables.keys.get(key).is_some() {
            return refused(Refusal::KeyTaken, "the key is bound to an agent already");
        }
        let known = self.tables.agents.get(agent);
        if known.is_some() && !named {
            return refused(Refusal::NameTaken, format!("agent {agent} has an identity already"));
        }
        if known.is_none() && self.tables.agents.len() >= AGENTS_MAX {
            let why = format!("{AGENTS_MAX} agents have an identity and that is the limit: forget revoked ones");
            return refused(Refusal::TooMany, why);
        }
        // A host that was set up anew: its former keys must not live on.
        self.end_keys(agent, None, KeyState::Replaced);
        let (joined, joined_by) = (self.at, by.to_owned());
        let keys = self.tables.agents.get(agent).map_or_else(Vec::new, |row| row.keys.clone());
        let row = AgentRow { labels: labels.clone(), keys, joined, joined_by, revoked: None };
        self.tables.agents.insert(agent.clone(), row);
        self.add_key(agent, key, not_after);
        Ok(labels.clone())
    }

    pub(crate) fn renew(
        &mut self,
        agent: &AgentId,
        old: &KeyFingerprint,
        new: &KeyFingerprint,
        not_after: UnixMillis,
    ) -> Answer {
        check_end(self.event.at, not_after, CERTIFICATE_LIFE)?;
        let Some(row) = self.tables.keys.get(old).filter(|row| row.agent == *agent) else {
            return refused(Refusal::KeyUnknown, "no agent of this name has this key");
        };
        let Some(identity) = self.tables.agents.get(agent) else {
            return refused(Refusal::KeyUnknown, "no agent of this name has an identity");
        };
        if identity.revoked.is_some() || row.state == KeyState::Revoked {
            return refused(Refusal::KeyRevoked, format!("agent {agent} is revoked"));
        }
        if row.state == KeyState::Replaced {
            return refused(Refusal::KeyUnknown, format!("agent {agent} uses a newer key"));
        }
        if self.at >= row.not_after + RENEW_AFTER_END {
            return refused(Refusal::ExpiredTooLong, format!("the certificate ended more than {RENEW_AFTER_END} ago"));
        }
        let labels = identity.labels.clone();
        let (was, end) = (row.not_after, not_after);
        if new == old {
            // The same key again: only its end moves.
            if let Some(row) = self.tables.keys.get_mut(old) {
                row.not_after = end;
            }
        } else {
            if self.tables.keys.get(new).is_some() {
                return refused(Refusal::KeyTaken, "the new key is bound already");
            }
            self.add_key(agent, new, not_after);
        }
        self.before = format!("key {old} until {}", was.0);
        self.after = format!("key {new} until {}", end.0);
        Ok(Granted::Identity { agent: agent.clone(), labels })
    }

    pub(crate) fn key_used(&mut self, key: &KeyFingerprint) -> Answer {
        let Some(row) = self.tables.keys.get(key).filter(|row| row.state == KeyState::Active) else {
            return refused(Refusal::KeyUnknown, "no agent has this key");
        };
        if row.used {
            return Ok(Granted::Nothing);
        }
        let agent = row.agent.clone();
        if let Some(row) = self.tables.keys.get_mut(key) {
            row.used = true;
        }
        let n_ended = self.end_keys(&agent, Some(key), KeyState::Replaced);
        self.after = format!("agent {agent} uses it, {n_ended} older keys are over");
        done(format!("agent {agent} uses a new key"))
    }

    pub(crate) fn revoke_agent(&mut self, agent: &AgentId, reason: &str) -> Answer {
        if reason.chars().count() > crate::limits::AUDIT_FIELD_MAX_CHARS / 2 {
            return invalid("the reason is too long");
        }
        let at = self.at;
        let Some(row) = self.tables.agents.get(agent) else {
            return Err(Refused::NotFound(format!("identity of agent {agent}")));
        };
        if row.revoked.is_some() {
            return conflict(format!("agent {agent} is revoked already"));
        }
        if let Some(row) = self.tables.agents.get_mut(agent) {
            row.revoked = Some(at);
        }
        let n_ended = self.end_keys(agent, None, KeyState::Revoked);
        self.before = format!("{n_ended} active keys");
        self.after = if reason.is_empty() { "revoked".to_owned() } else { format!("revoked: {reason}") };
        done(format!("agent {agent} revoked"))
    }

    pub(crate) fn forget_agent(&mut self, agent: &AgentId) -> Answer {
        match self.tables.agents.get(agent) {
            None => return Err(Refused::NotFound(format!("identity of agent {agent}"))),
            Some(row) if row.revoked.is_none() => {
                return conflict(format!("agent {agent} has an identity in force: revoke it first"));
            }
            Some(_) => {}
        }
        for key in self.keys_of(agent) {
            self.tables.keys.remove(&key);
        }
        self.tables.agents.remove(agent);
        (self.before, self.after) = ("revoked".to_owned(), "forgotten".to_owned());
        done(format!("agent {agent} forgotten: its name is free"))
    }

    /// Ends the active keys of an agent but one; how many there were.
    fn end_keys(&mut self, agent: &AgentId, but: Option<&KeyFingerprint>, state: KeyState) -> usize {
        let mut n_ended = 0;
        for key in self.keys_of(agent) {
            let is_active = self.tables.keys.get(&key).is_some_and(|row| row.state == KeyState::Active);
            if is_active
                && Some(&key) != but
                && let Some(row) = self.tables.keys.get_mut(&key)
            {
                row.state = state;
                n_ended += 1;
            }
        }
        n_ended
    }

    /// One more key. When they are too many, one that was replaced goes first, then
    /// the one that was bound longest ago.
    fn add_key(&mut self, agent: &AgentId, key: &KeyFingerprint, not_after: UnixMillis) {
        let mut keys = self.keys_of(agent);
        while keys.len() >= KEYS_PER_AGENT_MAX {
            let is_over =
                |key: &KeyFingerprint| self.tables.keys.get(key).is_none_or(|row| row.state != KeyState::Active);
            let gone = keys.remove(keys.iter().position(is_over).unwrap_or(0));
            self.tables.keys.remove(&gone);
        }
        keys.push(*key);
        if let Some(row) = self.tables.agents.get_mut(agent) {
            row.keys = keys;
        }
        let row = KeyRow { agent: agent.clone(), state: KeyState::Active, bound: self.at, not_after, used: false };
        self.tables.keys.insert(*key, row);
    }

    fn keys_of(&self, agent: &AgentId) -> Vec<KeyFingerprint> {
        self.tables.agents.get(agent).map_or_else(Vec::new, |row| row.keys.clone())
    }

    /// Keys that were replaced and whose certificate has ended say nothing any more.
    pub(crate) fn sweep_keys(&mut self) {
        let at = self.at;
        let is_over = |row: &KeyRow| row.state == KeyState::Replaced && at >= row.not_after;
        let over = self.tables.keys.iter().filter(|(_, row)| is_over(row));
        let over: Vec<_> = over.map(|(key, row)| (*key, row.agent.clone())).collect();
        for (key, agent) in over {
            self.tables.keys.remove(&key);
            if let Some(row) = self.tables.agents.get_mut(&agent) {
                row.keys.retain(|other| *other != key);
            }
        }
    }
}
