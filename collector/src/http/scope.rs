//! What of the board somebody may see and act on.
//!
//! Everything on the board becomes an [`Object`] with labels; [`authorize`] says
//! whether it lies in somebody's scope. What does not, does not exist for them: it is
//! left out of lists, and answered as unknown where it is named.
//!
//! Labels of an object: `entity`, `kind`, `layer`, `owner`, `system`, and `host` (the
//! same as `agent`) where one is known; items have `rule` and the labels of their
//! series, series what the board knows of their host, agents their own labels.

use crate::http::error::Failure;
use crate::series::Sees;
use signalbox_access::{Caller, Object, Permission, Scope, authorize};
use signalbox_engine::board::Board;
use signalbox_proto::api::{Agent, Counts, Entity, Incident, Item, Snooze, Status};
use signalbox_proto::names::{Labels, METRIC_NAME};
use signalbox_proto::selector::Selector;
use signalbox_proto::status::Level;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One look of somebody at one board.
pub(crate) struct Sight<'a> {
    caller: &'a Caller,
    board: &'a Board,
}

impl<'a> Sight<'a> {
    pub(crate) fn new(caller: &'a Caller, board: &'a Board) -> Sight<'a> {
        Sight { caller, board }
    }

    /// True when nothing is hidden from them.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.caller.principal.scope, Scope::All)
    }

    /// Their scope, in words.
    pub(crate) fn scope(&self) -> &Scope {
        &self.caller.principal.scope
    }

    fn may(&self, permission: Permission, object: &Object) -> bool {
        authorize(&self.caller.principal, permission, Some(object)).is_ok()
    }

    fn sees_entity(&self, permission: Permission, entity: &Entity) -> bool {
        self.may(permission, &of_entity(entity))
    }

    /// An item is in sight with its entity, or by its own labels.
    pub(crate) fn sees_item(&self, permission: Permission, item: &Item) -> bool {
        let entity = self.board.entity(&item.entity);
        entity.is_some_and(|entity| self.sees_entity(permission, entity))
            || self.may(permission, &of_item(item, entity))
    }

    /// An incident is in sight with its entity, or by its own labels.
    pub(crate) fn sees_incident(&self, permission: Permission, incident: &Incident) -> bool {
        let entity = self.board.entity(&incident.entity);
        entity.is_some_and(|entity| self.sees_entity(permission, entity))
            || self.may(permission, &of_incident(incident, entity))
    }

    /// An agent is in sight with its host, or by its own labels.
    pub(crate) fn sees_agent(&self, permission: Permission, agent: &Agent) -> bool {
        self.may(permission, &self.of_agent(agent))
    }

    /// A series is in sight by its labels and what the board knows of its host.
    pub(crate) fn sees_series(&self, permission: Permission, labels: &BTreeMap<String, String>) -> bool {
        let host = labels.get("host").map_or("", String::as_str);
        // What the configuration says of the host wins over what the series says of itself.
        self.may(permission, &Object::new(labels.clone().into_iter().chain(self.of_host(host))))
    }

    /// A snooze is in sight when all that it covers is; one by selector, which may
    /// cover anything, only for those who see all, and for whoever made it.
    pub(crate) fn sees_snooze(&self, permission: Permission, snooze: &Snooze) -> bool {
        self.is_whole() || self.covers(permission, &snooze.scope) || snooze.author == self.caller.principal.name
    }

    /// True when everything under this item or entity is in reach.
    pub(crate) fn covers(&self, permission: Permission, scope: &str) -> bool {
        if let Some(item) = self.board.item(scope) {
            return self.sees_item(permission, item);
        }
        if self.board.entity(scope).is_none() {
            return false;
        }
        let below = self.board.subtree(scope);
        let mut entities = self.board.status.entities.iter().filter(|entity| below.contains(&entity.id));
        entities.all(|entity| self.sees_entity(permission, entity))
    }

    /// Items in sight whose series a selector matches.
    pub(crate) fn items_of(&self, permission: Permission, selector: &Selector) -> Vec<&'a Item> {
        let labels = |item: &Item| {
            let metric = (METRIC_NAME.to_owned(), item.metric.clone());
            Labels::new(item.labels.clone().into_iter().chain([metric])).ok()
        };
        let items = self.board.status.entities.iter().flat_map(|entity| &entity.items);
        let matched = items.filter(|item| labels(item).is_some_and(|labels| selector.matches(&labels)));
        matched.filter(|item| self.sees_item(permission, item)).collect()
    }

    /// The status without what is out of sight.
    pub(crate) fn status(&self, status: Status) -> Status {
        if self.is_whole() {
            return status;
        }
        let trimmed = status.entities.into_iter().filter_map(|entity| self.entity(entity));
        let entities: Vec<Entity> = trimmed.collect();
        let mut counts = Counts::default();
        entities.iter().flat_map(|entity| &entity.items).for_each(|item| count(&mut counts, item));
        let known = entities.iter().filter(|entity| !entity.grey);
        let level = known.map(|entity| entity.level).max().unwrap_or(Level::Green);
        // The collector's problems name agents that may be out of sight.
        let problems = if status.problems.is_empty() {
            Vec::new()
        } else {
            vec!["the collector has problems of its own: ask whoever looks after it".to_owned()]
        };
        Status { entities, counts, level, problems, scope: self.scope().selectors(), ..status }
    }

    /// An entity with the items in sight; none when neither it nor any of them is.
    fn entity(&self, mut entity: Entity) -> Option<Entity> {
        let seen =
            |id: &String| self.board.entity(id).is_some_and(|entity| self.sees_entity(Permission::ReadStatus, entity));
        entity.parents.retain(seen);
        if self.sees_entity(Permission::ReadStatus, &entity) {
            return Some(entity);
        }
        entity.items.retain(|item| self.sees_item(Permission::ReadStatus, item));
        let worst = entity.items.iter().max_by_key(|item| (!item.freshness.is_grey(), item.level))?;
        // Its own verdict may come from what is out of sight.
        (entity.level, entity.grey) = (worst.level, entity.items.iter().all(|item| item.freshness.is_grey()));
        (entity.why, entity.since) = (worst.why.clone(), worst.since);
        entity.counts = Counts::default();
        for item in &entity.items {
            count(&mut entity.counts, item);
        }
        Some(entity)
    }

    /// Agents in sight.
    pub(crate) fn agents(&self) -> Vec<Agent> {
        let agents = self.board.agents.iter();
        agents.filter(|agent| self.sees_agent(Permission::ReadStatus, agent)).cloned().collect()
    }

    /// The one item of this id, or whose id alone holds this text, among those in
    /// sight; the candidates where there are several.
    pub(crate) fn find_item(&self, permission: Permission, text: &str) -> Result<&'a Item, Failure> {
        let absent = || Failure::absent(format!("there is no item {text:?}"), "signalbox status --all lists them");
        if let Some(item) = self.board.item(text) {
            return if self.sees_item(permission, item) { Ok(item) } else { Err(absent()) };
        }
        let items = self.board.status.entities.iter().flat_map(|entity| &entity.items);
        let found: Vec<&Item> = items
            .filter(|item| !text.is_empty() && item.id.contains(text) && self.sees_item(permission, item))
            .take(CANDIDATES_MAX + 1)
            .collect();
        match found[..] {
            [] => Err(absent()),
            [item] => Ok(item),
            _ => {
                let ids: Vec<&str> = found.iter().take(CANDIDATES_MAX).map(|item| item.id.as_str()).collect();
                let error = format!("several items match {text:?}: {}", ids.join(", "));
                Err(Failure::absent(error, "give more of its id"))
            }
        }
    }

    fn of_agent(&self, agent: &Agent) -> Object {
        let id = agent.id.as_str();
        Object::new(agent.labels.clone().into_iter().chain(self.of_host(id)).chain(host(id)))
    }

    /// What the board knows of a host.
    fn of_host(&self, id: &str) -> BTreeMap<String, String> {
        let entity = self.board.entity(&format!("host/{id}"));
        entity.map(labels_of).unwrap_or_default()
    }
}

/// Which series somebody may see, for whoever looks at many of them.
pub(crate) fn series_in_sight(caller: Caller, board: Arc<Board>, permission: Permission) -> Sees {
    if Sight::new(&caller, &board).is_whole() {
        return None;
    }
    Some(Arc::new(move |labels: &Labels| {
        let labels = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Sight::new(&caller, &board).sees_series(permission, &labels)
    }))
}

/// Items that are named when several match.
const CANDIDATES_MAX: usize = 10;

fn host(id: &str) -> [(String, String); 2] {
    ["host", "agent"].map(|name| (name.to_owned(), id.to_owned()))
}

/// `web1` of `host/web1` and of `process/web1/nginx`.
fn host_in(entity: &str) -> Option<&str> {
    let mut parts = entity.split('/');
    let kind = parts.next()?;
    matches!(kind, "host" | "process").then(|| parts.next())?
}

fn labels_of(entity: &Entity) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("entity".to_owned(), entity.id.clone()),
        ("kind".to_owned(), entity.kind.clone()),
        ("layer".to_owned(), entity.layer.word().to_owned()),
        ("owner".to_owned(), entity.owner.clone()),
        ("system".to_owned(), entity.system.clone()),
    ]);
    labels.extend(host_in(&entity.id).into_iter().flat_map(host));
    labels
}

fn of_entity(entity: &Entity) -> Object {
    Object::new(labels_of(entity))
}

fn of_item(item: &Item, entity: Option<&Entity>) -> Object {
    let mut labels = item.labels.clone();
    if let Some(of) = item.labels.get("host") {
        labels.extend(host(of));
    }
    labels.extend(entity.map(labels_of).unwrap_or_default());
    labels.extend([
        ("entity".to_owned(), item.entity.clone()),
        ("rule".to_owned(), item.rule.clone()),
        ("layer".to_owned(), item.layer.word().to_owned()),
        ("owner".to_owned(), item.owner.clone()),
    ]);
    Object::new(labels)
}

fn of_incident(incident: &Incident, entity: Option<&Entity>) -> Object {
    let mut labels = entity.map(labels_of).unwrap_or_default();
    labels.extend(host_in(&incident.entity).into_iter().flat_map(host));
    labels.extend([
        ("entity".to_owned(), incident.entity.clone()),
        ("rule".to_owned(), incident.rule.clone()),
        ("layer".to_owned(), incident.layer.word().to_owned()),
        ("owner".to_owned(), incident.owner.clone()),
    ]);
    Object::new(labels)
}

/// As the board counts them.
fn count(counts: &mut Counts, item: &Item) {
    let n = match item.level {
        _ if item.freshness.is_grey() => &mut counts.grey,
        Level::Red => &mut counts.red,
        Level::Amber => &mut counts.amber,
        Level::Green => &mut counts.green,
    };
    *n += 1;
    counts.amber_hidden += u32::from(item.amber_hidden);
    counts.snoozed += u32::from(!item.snoozes.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::board;
    use signalbox_access::{Principal, Role};
    use signalbox_proto::status::AgentState;

    fn caller(role: Role, scope: &[&str]) -> Caller {
        let scope: Vec<String> = scope.iter().map(|text| (*text).to_owned()).collect();
        let principal = Principal { scope: Scope::parse(&scope).unwrap(), ..Principal::local("ada", role) };
        Caller::new(principal, "unix:uid=1000")
    }

    fn seen(scope: &[&str]) -> Vec<String> {
        let (caller, board) = (caller(Role::Viewer, scope), board());
        let status = Sight::new(&caller, &board).status(board.status.clone());
        let items = status.entities.iter().flat_map(|entity| entity.items.iter().map(|item| item.id.clone()));
        status.entities.iter().map(|entity| entity.id.clone()).chain(items).collect()
    }

    #[test]
    fn a_scope_shows_its_entities_and_nothing_else() {
        assert_eq!(seen(&[]).len(), 8);
        assert_eq!(seen(&["{owner=\"dba\"}"]), ["host/db1", "host/db1:filesystem-full{mountpoint=\"/\"}"]);
        assert_eq!(seen(&["{owner=\"nobody\"}"]), [""; 0]);
        assert_eq!(seen(&["{host=\"web2\"}", "{owner=\"pay\"}"])[..2], ["application/payments", "host/web2"]);
        let one = seen(&["{rule=\"load-high\"}"]);
        assert_eq!(one, ["host/web1", "host/web1:load-high{mountpoint=\"/\"}"]);
    }

    #[test]
    fn an_entity_of_which_only_a_part_is_in_sight_shows_that_parts_verdict() {
        let (caller, board) = (caller(Role::Viewer, &["{rule=\"load-high\"}"]), board());
        let status =
            Sight::new(&caller, &board).status(Status { problems: vec!["agent x".to_owned()], ..board.status.clone() });
        assert_eq!((status.entities[0].level, status.level), (Level::Green, Level::Green));
        assert!(status.entities[0].parents.is_empty() && status.entities[0].why.contains("load-high"));
        assert!(!status.problems.concat().contains("agent x") && !status.problems.is_empty());
        assert_eq!(status.scope, ["{rule=\"load-high\"}"], "who sees a part is told so");
    }

    #[test]
    fn incidents_agents_series_and_snoozes_follow_the_same_scope() {
        let board = board();
        let (dba, web1) = (caller(Role::Admin, &["{owner=\"dba\"}"]), caller(Role::Admin, &["{host=\"web1\"}"]));
        let incident = &board.incidents[0];
        assert!(Sight::new(&web1, &board).sees_incident(Permission::ActIncidents, incident));
        assert!(!Sight::new(&dba, &board).sees_incident(Permission::ReadIncidents, incident));
        let agents = |caller| Sight::new(caller, &board).agents().iter().map(|a| a.id.to_string()).collect::<Vec<_>>();
        assert_eq!((agents(&web1), agents(&dba)), (vec!["web1".to_owned()], vec![]));
        assert!(board.agents.iter().any(|agent| agent.state == AgentState::Up));
        let series =
            |host: &str| BTreeMap::from([("host".to_owned(), host.to_owned()), ("owner".to_owned(), "dba".to_owned())]);
        assert!(Sight::new(&dba, &board).sees_series(Permission::ReadHistory, &series("db1")));
        assert!(!Sight::new(&dba, &board).sees_series(Permission::ReadHistory, &series("web1")), "a label is no proof");
        let covers = |caller, scope| Sight::new(caller, &board).covers(Permission::Snooze, scope);
        assert!(covers(&web1, "host/web1") && !covers(&dba, "host/web1"));
        assert!(!covers(&web1, "application/payments"), "what is below belongs to others, too");
        assert!(!covers(&web1, "{host=\"web1\"}"), "a selector may mean anything");
    }

    #[test]
    fn what_is_out_of_sight_is_answered_as_what_does_not_exist() {
        let (caller, board) = (caller(Role::Viewer, &["{owner=\"dba\"}"]), board());
        let sight = Sight::new(&caller, &board);
        let ask = |id: &str| sight.find_item(Permission::ReadHistory, id).map(|item| item.id.clone());
        assert!(ask("host/db1").is_ok());
        let words = |id: &str| ask(id).unwrap_err().error.replace(id, "ID");
        assert_eq!(
            words("host/web1:load-high{mountpoint=\"/\"}").len(),
            words("host/web1:load-hxgh{mountpoint=\"/\"}").len()
        );
        assert_eq!(ask("filesystem-full").unwrap(), "host/db1:filesystem-full{mountpoint=\"/\"}");
    }
}
