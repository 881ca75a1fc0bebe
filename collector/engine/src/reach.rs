//! What a scope meets now, and what was most likely meant where it meets nothing.
//! Such a scope is taken all the same: what it names may come later.

use crate::snoozes::is_selector;
use crate::state::Known;
use crate::words;
use crate::work::Work;
use signalbox_proto::near::nearest;
use signalbox_proto::selector::Selector;
use signalbox_proto::status::AgentState;
use std::collections::BTreeSet;

/// Most ids that a misspelt scope is compared with: bounds the time of one turn.
const CANDIDATES_MAX: usize = 10_000;

impl Work<'_> {
    /// Words for an answer where a scope meets nothing; empty where it meets something.
    pub(crate) fn unmet(&self, scope: &str) -> String {
        let entities = self.entity_ids();
        let selector = is_selector(scope).then(|| Selector::parse(scope).ok()).flatten();
        let by_selector = |known: &Known| selector.as_ref().is_some_and(|selector| selector.matches(&known.labels));
        if entities.contains(scope) || self.known().any(|known| by_selector(known) || self.is_item(scope, known)) {
            return String::new();
        }
        let near = self.near(scope, &entities);
        let remedy =
            near.map_or_else(|| "signalbox status --all shows the ids".to_owned(), |id| format!("did you mean {id}?"));
        format!("; it matches nothing now: {remedy}")
    }

    fn known(&self) -> impl Iterator<Item = &Known> {
        self.series.keys().into_iter().filter_map(|id| self.series.get(&id))
    }

    fn is_item(&self, scope: &str, known: &Known) -> bool {
        let entity = words::entity_of(&known.agent, &known.labels);
        scope.starts_with(entity.as_str()) && self.items(&entity, known).any(|item| item == scope)
    }

    fn items<'k>(&'k self, entity: &'k str, known: &'k Known) -> impl Iterator<Item = String> + 'k {
        known.uses.iter().map(move |used| words::item_id(entity, self.rules.rule(used), &known.labels))
    }

    /// Entities of the rules, hosts, and processes that are watched.
    fn entity_ids(&self) -> BTreeSet<String> {
        let mut ids: BTreeSet<String> = self.rules.set.entities.iter().map(|def| def.id.clone()).collect();
        let agents = self.agents.keys().into_iter();
        let live = agents.filter(|id| self.agents.get(id).is_some_and(|agent| agent.state != AgentState::Retired));
        ids.extend(live.map(|id| format!("host/{id}")));
        ids.extend(self.known().map(|known| words::entity_of(&known.agent, &known.labels)));
        ids
    }

    /// The id that was most likely meant.
    fn near(&self, scope: &str, entities: &BTreeSet<String>) -> Option<String> {
        let (entity, item) = scope.split_once(':').unwrap_or((scope, ""));
        let by_name = entities.iter().find(|id| id.rsplit('/').next() == Some(entity));
        let candidates = entities.iter().take(CANDIDATES_MAX).map(String::as_str);
        let near = entities.get(entity).or(by_name).map(String::as_str).or_else(|| nearest(entity, candidates))?;
        if item.is_empty() {
            return Some(near.to_owned());
        }
        let of_entity = self.known().filter(|known| words::entity_of(&known.agent, &known.labels) == near);
        let items: Vec<String> =
            of_entity.take(CANDIDATES_MAX).flat_map(|known| self.items(near, known).collect::<Vec<_>>()).collect();
        let meant = format!("{near}:{item}");
        let begun = items.iter().find(|id| id.starts_with(&meant)).map(String::as_str);
        Some(begun.or_else(|| nearest(&meant, items.iter().map(String::as_str))).unwrap_or(near).to_owned())
    }
}
