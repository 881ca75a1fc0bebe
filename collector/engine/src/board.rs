//! The board: an immutable picture of all that people see.

use crate::entities::entity_place;
use crate::items::{Latest, items_by_entity};
use crate::rollup::{Shown, Tree, add, hosts_match, severity};
use crate::state::{Agent, State};
use crate::words::clock_time;
use signalbox_proto::api::{self, Counts, Item};
use signalbox_proto::names::AgentId;
use signalbox_proto::status::{AgentState, Layer, Level};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};

/// What people see at an instant; made only of committed truth.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Board {
    /// Entities and items, worst first.
    pub status: api::Status,
    /// Agents by id, retired ones left out.
    pub agents: Vec<api::Agent>,
    /// Open and recent incidents with timeline and ledger, newest first.
    pub incidents: Vec<api::Incident>,
    /// Snoozes in force, and those that ended lately, newest first.
    pub snoozes: Vec<api::Snooze>,
}

/// Which part of a board is wanted; empty means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this layer.
    pub layer: Option<Layer>,
    /// Only this owner.
    pub owner: Option<String>,
    /// Only this system.
    pub system: Option<String>,
    /// Only this entity and all that is rolled up into it.
    pub entity: Option<String>,
}

impl Board {
    /// The part of the status that a filter asks for.
    pub fn status_of(&self, filter: &Filter) -> api::Status {
        let subtree = filter.entity.as_ref().map(|root| self.subtree(root));
        let mut status = api::Status { entities: Vec::new(), ..self.status.clone() };
        let wanted = |entity: &&api::Entity| {
            filter
                .layer
                .is_none_or(|layer| entity.layer == layer || entity.items.iter().any(|item| item.layer == layer))
                && filter
                    .owner
                    .as_ref()
                    .is_none_or(|owner| entity.owner == *owner || entity.items.iter().any(|item| item.owner == *owner))
                && filter.system.as_ref().is_none_or(|system| entity.system == *system)
                && subtree.as_ref().is_none_or(|subtree| subtree.contains(&entity.id))
        };
        status.entities = self.status.entities.iter().filter(wanted).cloned().collect();
        if *filter != Filter::default() {
            status.counts = Counts::default();
            let items = status.entities.iter().flat_map(|entity| &entity.items);
            items.for_each(|item| add(&mut status.counts, count(item)));
            status.level = worst_level(&status.entities);
            status.grey = is_grey(&status);
        }
        status
    }

    /// An entity's id and those of all that is rolled up into it.
    pub fn subtree(&self, root: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::from([root.to_owned()]);
        loop {
            let below = self.status.entities.iter().filter(|entity| entity.parents.iter().any(|id| found.contains(id)));
            let new: Vec<String> = below.map(|entity| entity.id.clone()).filter(|id| !found.contains(id)).collect();
            if new.is_empty() {
                return found;
            }
            found.extend(new);
        }
    }

    /// An item by id.
    pub fn item(&self, id: &str) -> Option<&Item> {
        self.status.entities.iter().flat_map(|entity| &entity.items).find(|item| item.id == id)
    }

    /// An entity by id.
    pub fn entity(&self, id: &str) -> Option<&api::Entity> {
        self.status.entities.iter().find(|entity| entity.id == id)
    }

    /// An incident by number.
    pub fn incident(&self, number: u64) -> Option<&api::Incident> {
        self.incidents.iter().find(|incident| incident.number == number)
    }
}

/// Draws the board.
pub(crate) fn build(state: &State, at: UnixMillis, latest: Latest<'_>) -> Board {
    let mut items = items_by_entity(state, at, latest);
    let entities = entities(state, &mut items);
    let mut counts = Counts::default();
    entities.iter().flat_map(|entity| &entity.items).for_each(|item| add(&mut counts, count(item)));
    let mut status = api::Status {
        at,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        level: worst_level(&entities),
        grey: false,
        counts,
        problems: problems(state, at),
        entities,
        scope: Vec::new(),
    };
    status.grey = is_grey(&status);
    let with_ledger = |(number, incident): (&u64, &crate::state::Incident)| api::Incident {
        ledger: state.ledgers.get(number).cloned().unwrap_or_default(),
        ..incident.view.clone()
    };
    Board {
        status,
        agents: agents(state),
        incidents: state.incidents.iter().rev().map(with_ledger).collect(),
        snoozes: state.snoozes.values().rev().cloned().collect(),
    }
}

fn worst_level(entities: &[api::Entity]) -> Level {
    entities.iter().map(|entity| entity.level).max().unwrap_or_default()
}

/// Nothing is known to be bad, and something or everything is unknown.
fn is_grey(status: &api::Status) -> bool {
    let Counts { red, amber, green, .. } = status.counts;
    status.level == Level::Green && (red + amber + green == 0 || status.entities.iter().any(|entity| entity.grey))
}

fn count(item: &Item) -> Counts {
    let mut counts = Counts { snoozed: u32::from(!item.snoozes.is_empty()), ..Counts::default() };
    counts.amber_hidden = u32::from(item.amber_hidden);
    match item.level {
        _ if item.freshness.is_grey() => counts.grey = 1,
        Level::Red => counts.red = 1,
        Level::Amber => counts.amber = 1,
        Level::Green => counts.green = 1,
    }
    counts
}

/// What an entity shows by its own items.
fn own_shown(items: &[Item]) -> Option<Shown> {
    let worst = items.first()?;
    let mut counts = Counts::default();
    items.iter().for_each(|item| add(&mut counts, count(item)));
    // Known items come first. What is known to be bad counts; nothing else is green
    // while a part of it is unknown.
    let bad = worst.level > Level::Green && !worst.freshness.is_grey();
    let unknown = items.iter().find(|item| item.freshness.is_grey()).filter(|_| !bad);
    let told = unknown.unwrap_or(worst);
    let why = if bad || unknown.is_some() {
        format!("{}: {}", told.rule, told.why)
    } else {
        let waits = items.iter().find_map(|item| Some((item, item.pending.filter(|next| next.target > item.level)?)));
        let waits = waits.map(|(item, pending)| {
            format!(", but {} is {} since {}", item.rule, pending.target, clock_time(pending.since))
        });
        format!("all {} items are green{}", items.len(), waits.unwrap_or_default())
    };
    Some(Shown { level: told.level, grey: unknown.is_some(), since: told.since, why, counts })
}

/// What a host shows by itself: the agent's state lies over its items.
fn host_shown(agent: &Agent, items: &[Item]) -> Option<Shown> {
    let own = own_shown(items);
    let level = match agent.state {
        AgentState::Up | AgentState::Missing => return own,
        AgentState::Down | AgentState::Unreachable => Level::Red,
        AgentState::NeverSeen if agent.incident.is_some() => Level::Red,
        AgentState::Stopped | AgentState::NeverSeen | AgentState::Retired => Level::Amber,
    };
    let why = match agent.state {
        AgentState::Stopped => "its agent was stopped as planned".to_owned(),
        state => format!("its agent is {}", state.word().replace('_', " ")),
    };
    let counts = own.map(|own| own.counts).unwrap_or_default();
    Some(Shown { level, grey: true, since: agent.since, why, counts })
}

fn entities(state: &State, items: &mut BTreeMap<String, Vec<Item>>) -> Vec<api::Entity> {
    let live = |agent: &&Agent| agent.state != AgentState::Retired;
    let hosts: BTreeMap<String, (&AgentId, &Agent)> = state
        .agents
        .iter()
        .filter(|(_, agent)| live(agent))
        .map(|(id, agent)| (format!("host/{id}"), (id, agent)))
        .collect();
    let mut own: BTreeMap<String, Option<Shown>> = BTreeMap::new();
    own.extend(state.rules.set.entities.iter().map(|def| (def.id.clone(), None)));
    own.extend(items.iter().map(|(id, items)| (id.clone(), own_shown(items))));
    for (id, (_, agent)) in &hosts {
        own.insert(id.clone(), host_shown(agent, items.get(id).map(Vec::as_slice).unwrap_or_default()));
    }
    let ids: Vec<String> = own.keys().cloned().collect();
    let mut tree = Tree::new(&state.rules, own);
    for id in &ids {
        if let Some((host, _)) = id.strip_prefix("process/").and_then(|rest| rest.split_once('/')) {
            tree.member(&format!("host/{host}"), id);
        }
    }
    for def in &state.rules.set.entities {
        let members = hosts.iter().filter(|(_, (_, agent))| hosts_match(def, agent));
        members.for_each(|(id, _)| tree.member(&def.id, id));
    }
    for (id, (_, agent)) in &hosts {
        tree.unjudged(id, agent.since);
    }
    let mut shown = tree.roll_up();
    let named = |id: String| {
        let shown = shown.remove(&id).unwrap_or_default();
        entity(state, id, shown, items)
    };
    let mut all: Vec<api::Entity> = ids.into_iter().map(named).collect();
    all.sort_by(|a, b| severity(b.level, b.grey).cmp(&severity(a.level, a.grey)).then_with(|| a.id.cmp(&b.id)));
    all
}

fn entity(state: &State, id: String, shown: Shown, items: &mut BTreeMap<String, Vec<Item>>) -> api::Entity {
    let (kind, rest) = id.split_once('/').unwrap_or((&id, ""));
    let host = rest.split('/').next().and_then(|name| AgentId::parse(name).ok());
    let of_host = matches!(kind, "host" | "process");
    let agent = host.as_ref().filter(|_| of_host).and_then(|host| state.agents.get(host));
    let default = if kind == "process" { Layer::Application } else { Layer::Machine };
    let mut items = items.remove(&id).unwrap_or_default();
    let (layer, mut owner, system) = match (&host, state.rules.entity(&id)) {
        (Some(host), _) if of_host => {
            let place = entity_place(&state.rules, agent, host, &id, default);
            (place.layer, place.owner, place.system)
        }
        (_, Some(def)) => (def.layer, def.owner.clone(), def.system.clone()),
        _ => (default, String::new(), String::new()),
    };
    if let (true, Some(worst)) = (owner.is_empty(), items.first()) {
        owner.clone_from(&worst.owner);
    }
    if agent.is_some_and(Agent::is_lost) {
        items
            .iter_mut()
            .for_each(|item| item.pending = item.pending.map(|pending| api::Pending { due: None, ..pending }));
    }
    api::Entity {
        kind: kind.to_owned(),
        layer,
        owner,
        system,
        parents: parents_of(state, &id),
        level: shown.level,
        grey: shown.grey,
        // Nothing was ever known of it: for as long as there is somebody to know.
        since: if shown.since == UnixMillis::default() { state.meta.started_at } else { shown.since },
        why: shown.why,
        counts: shown.counts,
        items,
        id,
    }
}

fn parents_of(state: &State, id: &str) -> Vec<String> {
    crate::rollup::parents(&state.rules, &|id| state.agents.get(id), id)
}

fn agents(state: &State) -> Vec<api::Agent> {
    let row = |(id, agent): (&AgentId, &Agent)| {
        let heard = state.heard.get(id).copied().unwrap_or_default();
        api::Agent {
            id: id.clone(),
            state: agent.state,
            since: agent.since,
            last_heard: heard.last.max(agent.last_heard),
            version: agent.version.clone(),
            boot_id: agent.boot_id.clone(),
            labels: agent.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            clock_offset_ms: agent.offset_ms,
            n_backlog: heard.n_backlog,
            n_dropped: agent.n_dropped,
            checks: agent.checks.clone(),
            failing_checks: failing_checks(agent),
            incident: agent.incident.filter(|n| state.incidents.get(n).is_some_and(crate::state::Incident::is_open)),
        }
    };
    state.agents.iter().filter(|(_, agent)| agent.state != AgentState::Retired).map(row).collect()
}

/// Checks that fail, and those whose result is bad.
fn failing_checks(agent: &Agent) -> BTreeMap<String, String> {
    let mut all = agent.bad_results.clone();
    all.extend(agent.failing_checks.clone());
    all
}

/// What is wrong with the watching itself.
fn problems(state: &State, at: UnixMillis) -> Vec<String> {
    let mut found: Vec<String> = state.meta.limits.problems(at).collect();
    if state.meta.ingest_paused {
        found.push("the collector takes no samples: nobody's silence is judged".to_owned());
    }
    let failing: BTreeSet<&str> = state
        .outbox
        .values()
        .filter(|pending| pending.retry_at.is_some())
        .map(|pending| pending.notice.channel.as_str())
        .collect();
    for channel in failing {
        let n = state.outbox.values().filter(|pending| pending.notice.channel == channel).count();
        found.push(format!("channel {channel} fails: {n} notices wait"));
    }
    for (id, agent) in &state.agents {
        if !agent.config_error.is_empty() {
            found.push(format!("agent {id} refused its configuration: {}", agent.config_error));
        }
        if agent.skew.is_some_and(|n| state.incidents.get(&n).is_some_and(crate::state::Incident::is_open)) {
            found.push(format!("the clock of {id} is off by {}", Millis(agent.offset_ms.unsigned_abs())));
        }
    }
    found
}
