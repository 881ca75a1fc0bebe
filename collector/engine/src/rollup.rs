//! Roll-up: what an entity shows, from its items and its members.
//!
//! A host holds its processes; a configured entity holds the hosts whose labels
//! match and what it needs. `all` is worst-of (red, amber, grey, green); of a group with at least k, one lost
//! member is amber and fewer than k standing is red, so that a redundant node may
//! fall while the service stands.

use crate::rule::{EntityDef, Need};
use crate::rules::Rules;
use crate::state::Agent;
use signalbox_proto::api::Counts;
use signalbox_proto::names::AgentId;
use signalbox_proto::status::Level;
use signalbox_proto::units::UnixMillis;
use std::collections::{BTreeMap, BTreeSet};

/// What an entity shows by itself, or with its members.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Shown {
    pub(crate) level: Level,
    pub(crate) grey: bool,
    pub(crate) since: UnixMillis,
    pub(crate) why: String,
    pub(crate) counts: Counts,
}

/// The members of every entity, and what follows from them.
pub(crate) struct Tree<'a> {
    rules: &'a Rules,
    /// Entities by id with what they show by themselves; none when nothing is theirs.
    own: BTreeMap<String, Option<Shown>>,
    /// Worst-of members.
    members: BTreeMap<String, BTreeSet<String>>,
    done: BTreeMap<String, Shown>,
}

/// True when the labels of a host satisfy all conditions of an entity.
pub(crate) fn hosts_match(def: &EntityDef, agent: &Agent) -> bool {
    !def.hosts.is_empty()
        && def.hosts.iter().all(|host| host.pattern.is_match(agent.labels.get(&host.label).unwrap_or("")))
}

/// The entities that an entity is rolled up into, nearest first.
pub(crate) fn above<'s>(rules: &Rules, agent: impl Fn(&AgentId) -> Option<&'s Agent>, entity: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut next = vec![entity.to_owned()];
    while let Some(id) = next.pop() {
        for parent in parents(rules, &agent, &id) {
            if parent != entity && !found.contains(&parent) {
                found.push(parent.clone());
                next.push(parent);
            }
        }
    }
    found
}

/// The entities that an entity is a member of.
pub(crate) fn parents<'s>(rules: &Rules, agent: &impl Fn(&AgentId) -> Option<&'s Agent>, id: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Some((host, _)) = id.strip_prefix("process/").and_then(|rest| rest.split_once('/')) {
        found.push(format!("host/{host}"));
    }
    let host = id.strip_prefix("host/").and_then(|name| AgentId::parse(name).ok());
    let host = host.as_ref().and_then(agent);
    for def in &rules.set.entities {
        let needs = def.needs.iter().any(|need| members_of(need).iter().any(|member| member == id));
        if needs || host.is_some_and(|host| hosts_match(def, host)) {
            found.push(def.id.clone());
        }
    }
    found
}

fn members_of(need: &Need) -> &[String] {
    match need {
        Need::All(members) | Need::AtLeast { members, .. } => members,
    }
}

impl<'a> Tree<'a> {
    /// A tree of entities with what they show by themselves.
    pub(crate) fn new(rules: &'a Rules, own: BTreeMap<String, Option<Shown>>) -> Tree<'a> {
        Tree { rules, own, members: BTreeMap::new(), done: BTreeMap::new() }
    }

    /// Makes an entity a worst-of member of another.
    pub(crate) fn member(&mut self, parent: &str, child: &str) {
        self.members.entry(parent.to_owned()).or_default().insert(child.to_owned());
    }

    /// A host of which nothing is judged, neither its own items nor a process, says so.
    pub(crate) fn unjudged(&mut self, id: &str, since: UnixMillis) {
        let needs = self.rules.entity(id).is_some_and(|def| !def.needs.is_empty());
        let own = self.own.get_mut(id).filter(|own| own.is_none());
        if let (Some(own), false, false) = (own, needs, self.members.contains_key(id)) {
            let why = "no rule judges anything of it".to_owned();
            *own = Some(Shown { grey: true, since, why, ..Shown::default() });
        }
    }

    /// Every entity with its members taken into account.
    pub(crate) fn roll_up(mut self) -> BTreeMap<String, Shown> {
        let ids: Vec<String> = self.own.keys().cloned().collect();
        for id in &ids {
            self.shown(id);
        }
        let counts: Vec<(String, Counts)> = ids.iter().map(|id| (id.clone(), self.counts_below(id))).collect();
        for (id, counts) in counts {
            if let Some(shown) = self.done.get_mut(&id) {
                shown.counts = counts;
            }
        }
        self.done
    }

    fn shown(&mut self, id: &str) -> Shown {
        if let Some(done) = self.done.get(id) {
            return done.clone();
        }
        let own = self.own.get(id).cloned().flatten();
        // A cycle cannot come from checked configuration; if one did, it would end here.
        let begun = Shown { grey: true, why: "nothing is known about it".to_owned(), ..Shown::default() };
        self.done.insert(id.to_owned(), own.clone().unwrap_or(begun));
        let mut parts: Vec<Shown> = own.into_iter().collect();
        for member in self.members.get(id).cloned().unwrap_or_default() {
            parts.push(self.part(&member));
        }
        let needs = self.rules.entity(id).map(|def| def.needs.clone()).unwrap_or_default();
        for need in &needs {
            match need {
                Need::All(members) => {
                    for member in members {
                        let part = self.part(member);
                        parts.push(part);
                    }
                }
                Need::AtLeast { k, members } => {
                    let part = self.group(*k, members);
                    parts.push(part);
                }
            }
        }
        let shown = worst_of(parts);
        self.done.insert(id.to_owned(), shown.clone());
        shown
    }

    /// A member as its parent sees it.
    fn part(&mut self, member: &str) -> Shown {
        let shown = self.shown(member);
        Shown { why: format!("{member}: {}", shown.why), ..shown }
    }

    fn group(&mut self, k: usize, members: &[String]) -> Shown {
        let parts: Vec<Shown> = members.iter().map(|member| self.part(member)).collect();
        let n_standing = parts.iter().filter(|part| part.level < Level::Red && !part.grey).count();
        let known = parts.iter().any(|part| !part.grey || part.level == Level::Red);
        let worst = worst_of(parts);
        let n = members.len();
        if n_standing < k && known {
            let why = format!("{n_standing} of {n} stand, {k} are needed; {}", worst.why);
            return Shown { level: Level::Red, grey: false, why, ..worst };
        }
        if n_standing < n && known {
            let why = format!("{n_standing} of {n} stand, {k} are needed; {}", worst.why);
            return Shown { level: Level::Amber, grey: false, why, ..worst };
        }
        worst
    }

    /// Items of an entity and of everything below it, each once.
    fn counts_below(&self, id: &str) -> Counts {
        let mut seen = BTreeSet::new();
        let mut next = vec![id.to_owned()];
        let mut sum = Counts::default();
        while let Some(id) = next.pop() {
            if !seen.insert(id.clone()) {
                continue;
            }
            if let Some(Some(own)) = self.own.get(&id) {
                add(&mut sum, own.counts);
            }
            next.extend(self.members.get(&id).into_iter().flatten().cloned());
            let needs = self.rules.entity(&id).map(|def| def.needs.as_slice()).unwrap_or_default();
            next.extend(needs.iter().flat_map(|need| members_of(need).to_vec()));
        }
        sum
    }
}

/// How bad something looks: red, amber, grey, green. A level that is grey counts
/// nearly as much as one that is known: a lost agent is red.
pub(crate) fn severity(level: Level, grey: bool) -> (Level, bool) {
    (level, if level == Level::Green { grey } else { !grey })
}

/// The worst part. Green only when every part is known to be; of what is red or
/// amber, grey only when every part is.
fn worst_of(parts: Vec<Shown>) -> Shown {
    let green = parts.iter().all(|part| part.level == Level::Green);
    let grey = if green { parts.iter().any(|part| part.grey) } else { parts.iter().all(|part| part.grey) };
    let rank = |part: &Shown| (severity(part.level, part.grey), std::cmp::Reverse(part.since));
    let worst = parts.into_iter().max_by(|a, b| rank(a).cmp(&rank(b)));
    match worst {
        Some(worst) => Shown { grey, counts: Counts::default(), ..worst },
        None => Shown { grey: true, why: "nothing is known about it".to_owned(), ..Shown::default() },
    }
}

/// Sums counts.
pub(crate) fn add(sum: &mut Counts, more: Counts) {
    sum.red += more.red;
    sum.amber += more.amber;
    sum.green += more.green;
    sum.grey += more.grey;
    sum.amber_hidden += more.amber_hidden;
    sum.snoozed += more.snoozed;
}
