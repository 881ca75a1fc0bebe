//! One identity, two machines: the newcomer is refused, and people hear of it once.
//!
//! ```text
//! refused for 30 s ──▶ [incident open] ──10 min without another──▶ [restored]
//! ```
//!
//! A cloned virtual machine does this by accident, a stolen key on purpose; either
//! way a host is not watched, or somebody pretends to be one.

use crate::due::DueKey;
use crate::incidents::{MACHINE, Opening};
use crate::state::{Incident, Subject};
use crate::work::Work;
use signalbox_proto::names::AgentId;
use signalbox_proto::status::Level;
use signalbox_proto::units::{Millis, UnixMillis};

/// Silence of the other machine until the incident counts as over: longer than the
/// longest pause between two attempts of an agent that is refused.
const QUIET_FOR: Millis = Millis::from_mins(10);
/// Refusals for no longer than this are a host that was reset: its dead connection is
/// found out within 20 s. The one place that decides when refusals are worth telling.
const RESET_WITHIN: Millis = Millis::from_secs(30);
/// An agent's row is kept at most this often for refusals.
const ROW_EVERY: Millis = Millis::from_mins(1);

impl Work<'_> {
    /// Another machine used the agent's identity while the agent streamed.
    pub(crate) fn stream_refused(&mut self, id: &AgentId, why: &str) {
        let now = self.now;
        let Some(agent) = self.agents.get(id) else { return };
        let (latest, noted) = (agent.twice, agent.twice_at);
        let is_open = latest.is_some_and(|number| self.incidents.get(&number).is_some_and(Incident::is_open));
        if is_open && now.since(noted) < ROW_EVERY {
            return;
        }
        // A host that was reset comes back before its old connection is known to be dead.
        let begins = noted.0 == 0 || now.since(noted) >= QUIET_FOR;
        if !is_open && (begins || now.since(noted) < RESET_WITHIN) {
            // Whoever tries again every few seconds costs no row each time.
            if begins && let Some(agent) = self.agents.get_mut(id) {
                agent.twice_at = now;
            }
            return;
        }
        let number = if is_open { latest } else { Some(self.open_or_reopen(latest, self.twice_opening(id, why))) };
        if let Some(agent) = self.agents.get_mut(id) {
            (agent.twice, agent.twice_at) = (number, now);
        }
        self.arm_identity(id);
    }

    /// Sets the deadline after which nobody else uses the identity any more.
    pub(crate) fn arm_identity(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get(id) else { return };
        let is_open = |number: &u64| self.incidents.get(number).is_some_and(Incident::is_open);
        let due = agent.twice.filter(is_open).map(|_| self.quiet_from(agent.twice_at));
        self.due.set(DueKey::Identity(id.clone()), due);
    }

    /// The other machine may have been silent for long enough.
    pub(crate) fn identity_due(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get(id) else { return };
        let (number, last) = (agent.twice, agent.twice_at);
        if self.now < self.quiet_from(last) {
            return self.arm_identity(id);
        }
        self.due.set(DueKey::Identity(id.clone()), None);
        if let Some(number) = number.filter(|number| self.incidents.get(number).is_some_and(Incident::is_open)) {
            if let Some(incident) = self.incidents.get_mut(&number) {
                incident.why = format!("no other machine has used its identity for {QUIET_FOR}");
            }
            self.restore(number, self.now);
        }
    }

    /// Nobody is heard while the collector does not listen.
    fn quiet_from(&self, last: UnixMillis) -> UnixMillis {
        (last + ROW_EVERY).max(self.meta.started_at) + QUIET_FOR
    }

    fn twice_opening(&self, id: &AgentId, why: &str) -> Opening {
        let place = crate::entities::host_place(&self.rules, self.agents.get(id), id);
        let now: UnixMillis = self.now;
        Opening {
            subject: Subject::Identity(id.clone()),
            rule: "identity-twice".to_owned(),
            entity: place.entity,
            item: String::new(),
            layer: place.layer,
            owner: place.owner,
            sop: format!(
                "find the second machine that runs as {id} (a clone?), give it an identity of its own; \
                 if there is none that you know of, revoke the key: signalbox agents revoke {id}"
            ),
            title: format!("two machines use the identity of {id}"),
            why: format!("{why} ({MACHINE} keeps the first one)"),
            value: None,
            labels: Vec::new(),
            level: Level::Red,
            was: Level::Green,
            first_symptom: now,
            at: now,
        }
    }
}
