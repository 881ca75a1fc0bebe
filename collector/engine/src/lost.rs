//! Incidents about agents: lost, lost together, wrong clock.

use crate::incidents::{MACHINE, Opening, may_reopen};
use crate::state::{Agent, Subject};
use crate::words::clock_time;
use crate::work::Work;
use signalbox_proto::names::AgentId;
use signalbox_proto::status::{AgentState, Layer, Level};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeSet;

/// Agents lost within this long of each other may have one cause.
const TOGETHER: Millis = Millis::from_secs(30);
/// And only if they are more than one in this many.
const MASS_LOSS_ONE_IN: usize = 5;
/// A clock that is off by more makes event time hard to believe.
const SKEW_MAX_MS: u64 = 30_000;

impl Work<'_> {
    /// An agent is not up by verdict: one incident, its own or that of many.
    pub(crate) fn agent_lost(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get(id).cloned() else { return };
        if self.join_mass_loss(id, &agent) {
            return;
        }
        let opening = self.agent_opening(id, &agent);
        let number = self.open_or_reopen(agent.incident, opening);
        if let Some(agent) = self.agents.get_mut(id) {
            agent.incident = Some(number);
        }
    }

    pub(crate) fn open_or_reopen(&mut self, latest: Option<u64>, opening: Opening) -> u64 {
        let latest = latest.and_then(|number| self.incidents.get(&number));
        match latest {
            Some(incident) if incident.is_open() => incident.view.number,
            Some(incident) if may_reopen(incident, opening.at) => {
                let number = incident.view.number;
                self.reopen(number, opening);
                number
            }
            _ => self.open(opening, "raised"),
        }
    }

    fn agent_opening(&self, id: &AgentId, agent: &Agent) -> Opening {
        let (title, why) = match agent.state {
            AgentState::NeverSeen => {
                (format!("agent {id} was never heard of"), "named in the configuration, never heard of".to_owned())
            }
            AgentState::Unreachable => (
                format!("agent {id} is unreachable"),
                format!(
                    "no word since {} though its stream stood: host or network is gone",
                    clock_time(agent.lost_since)
                ),
            ),
            _ => (
                format!("agent {id} is down"),
                format!("its stream ended at {} and it did not come back", clock_time(agent.lost_since)),
            ),
        };
        let place = crate::entities::host_place(&self.rules, Some(agent), id);
        Opening {
            subject: Subject::Agent(id.clone()),
            rule: "agent".to_owned(),
            entity: place.entity,
            item: String::new(),
            layer: place.layer,
            owner: place.owner,
            sop: "log in to the host; see whether it runs, then whether the agent's service does".to_owned(),
            title,
            why,
            value: None,
            labels: agent.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            level: Level::Red,
            was: Level::Green,
            first_symptom: agent.lost_since,
            at: self.now,
        }
    }

    /// The agent speaks again.
    pub(crate) fn agent_returned(&mut self, id: &AgentId, incident: Option<u64>) {
        self.agent_left(id);
        let Some(number) = incident else { return };
        let Some(incident) = self.incidents.get(&number) else { return };
        // A mass loss ends only with its last member.
        if incident.is_open() && incident.subject == Subject::Agent(id.clone()) {
            if let Some(incident) = self.incidents.get_mut(&number) {
                incident.why = format!("agent {id} is up again");
            }
            self.restore(number, self.now);
        }
    }

    /// The agent does not belong to those lost together any more.
    pub(crate) fn agent_left(&mut self, id: &AgentId) {
        let Some(number) = self.meta.mass_loss else { return };
        let now = self.now;
        let Some(incident) = self.incidents.get(&number) else { return };
        if !incident.members.contains(id) {
            return;
        }
        let Some(incident) = self.incidents.get_mut(&number) else { return };
        incident.members.remove(id);
        let left = incident.members.len();
        if left > 0 {
            incident.why = format!("{left} agents are still lost");
            self.write_line(number, now, "level", MACHINE, &format!("{id} is back or retired, {left} are still lost"));
            return;
        }
        incident.why = "all of them are back or retired".to_owned();
        self.meta.mass_loss = None;
        if self.incidents.get(&number).is_some_and(crate::state::Incident::is_open) {
            self.restore(number, now);
        }
    }

    /// Many agents lost within a short while are one incident.
    fn join_mass_loss(&mut self, id: &AgentId, agent: &Agent) -> bool {
        let open = self.meta.mass_loss.filter(|n| self.incidents.get(n).is_some_and(crate::state::Incident::is_open));
        if let Some(number) = open {
            let began = self.incidents.get(&number).map_or(UnixMillis::MIN, |incident| incident.view.first_symptom);
            let ended = self.incidents.get(&number).map_or(UnixMillis::MIN, |incident| incident.view.detected);
            if agent.lost_since >= began && agent.lost_since <= ended + TOGETHER {
                self.add_member(number, id);
                return true;
            }
        }
        let together = self.lost_together(agent);
        let n_known = self.agents.keys().iter().filter(|id| self.counts(id)).count();
        if together.len() < self.rules.set.agents.mass_loss_agents.max(1)
            || together.len() * MASS_LOSS_ONE_IN <= n_known
        {
            return false;
        }
        self.open_mass_loss(together);
        true
    }

    fn counts(&self, id: &AgentId) -> bool {
        let state = self.agents.get(id).map(|agent| agent.state);
        state.is_some_and(|state| !matches!(state, AgentState::Retired | AgentState::NeverSeen))
    }

    /// Agents whose loss began within half a minute of this one's.
    fn lost_together(&self, one: &Agent) -> BTreeSet<AgentId> {
        let is_near = |agent: &Agent| {
            let apart = Millis(agent.lost_since.0.abs_diff(one.lost_since.0));
            let lost = matches!(agent.state, AgentState::Missing | AgentState::Down | AgentState::Unreachable);
            lost && apart <= TOGETHER
        };
        self.agents.keys().into_iter().filter(|id| self.agents.get(id).is_some_and(is_near)).collect()
    }

    fn open_mass_loss(&mut self, together: BTreeSet<AgentId>) {
        let first = together.iter().filter_map(|id| self.agents.get(id)).map(|agent| agent.lost_since).min();
        let first_symptom = first.unwrap_or(self.now);
        let n = together.len();
        let opening = Opening {
            subject: Subject::MassLoss,
            rule: "agents-lost".to_owned(),
            entity: "collector".to_owned(),
            item: String::new(),
            layer: Layer::Machine,
            owner: String::new(),
            sop: "look at what the lost agents share: network, power, the collector itself".to_owned(),
            title: format!("lost contact with {n} agents"),
            why: format!("{n} agents fell silent within {TOGETHER}, the first at {}", clock_time(first_symptom)),
            value: Some(n as f64),
            labels: Vec::new(),
            level: Level::Red,
            was: Level::Green,
            first_symptom,
            at: self.now,
        };
        let number = self.open(opening, "raised");
        self.meta.mass_loss = Some(number);
        for id in together {
            let own = self.agents.get(&id).and_then(|agent| agent.incident);
            if let Some(own) = own {
                self.close_by_itself(own, &format!("part of INC-{number}: lost together with others"));
            }
            // Those still missing may come back before their verdict: they join only then.
            if self.agents.get(&id).is_some_and(Agent::is_lost) {
                self.add_member(number, &id);
            }
        }
    }

    fn add_member(&mut self, number: u64, id: &AgentId) {
        let now = self.now;
        let Some(incident) = self.incidents.get_mut(&number) else { return };
        incident.members.insert(id.clone());
        let n = incident.members.len();
        incident.view.title = format!("lost contact with {n} agents");
        incident.value = Some(n as f64);
        self.write_line(number, now, "level", MACHINE, &format!("{id} is lost"));
        if let Some(agent) = self.agents.get_mut(id) {
            agent.incident = Some(number);
        }
    }

    /// A clock that is far off is amber: event time is hard to believe.
    pub(crate) fn judge_clock(&mut self, id: &AgentId, offset_ms: i64) {
        let Some(agent) = self.agents.get(id) else { return };
        let latest = agent.skew;
        let open = latest.filter(|number| self.incidents.get(number).is_some_and(crate::state::Incident::is_open));
        let skewed = offset_ms.unsigned_abs() > SKEW_MAX_MS;
        match (open, skewed) {
            (Some(number), false) => {
                if let Some(incident) = self.incidents.get_mut(&number) {
                    incident.why = "its clock agrees with the collector's again".to_owned();
                }
                self.restore(number, self.now);
            }
            (None, true) => {
                let opening = self.clock_opening(id, offset_ms);
                let number = self.open_or_reopen(latest, opening);
                if let Some(agent) = self.agents.get_mut(id) {
                    agent.skew = Some(number);
                }
            }
            _ => {}
        }
    }

    fn clock_opening(&self, id: &AgentId, offset_ms: i64) -> Opening {
        let place = crate::entities::host_place(&self.rules, self.agents.get(id), id);
        let (off, side) = (Millis(offset_ms.unsigned_abs()), if offset_ms > 0 { "behind" } else { "ahead of" });
        Opening {
            subject: Subject::Clock(id.clone()),
            rule: "clock-skew".to_owned(),
            entity: place.entity,
            item: String::new(),
            layer: place.layer,
            owner: place.owner,
            sop: "check time synchronisation on the host: chronyc tracking, timedatectl".to_owned(),
            title: format!("the clock of {id} is {off} {side} the collector's"),
            why: format!("its clock is {off} {side} the collector's, more than {}", Millis(SKEW_MAX_MS)),
            value: Some(offset_ms as f64),
            labels: Vec::new(),
            level: Level::Amber,
            was: Level::Green,
            first_symptom: self.now,
            at: self.now,
        }
    }
}
