//! What an item belongs to: entity, layer, owner, system.
//!
//! The nearest word wins: the configured entity, then its host's entity, then the
//! labels of the host, then the rule.

use crate::rule::Rule;
use crate::rules::Rules;
use crate::state::Agent;
use crate::words::entity_of;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::status::Layer;

/// Where an item or host stands.
pub(crate) struct Place {
    pub(crate) entity: String,
    pub(crate) layer: Layer,
    pub(crate) owner: String,
    pub(crate) system: String,
}

/// What configuration and host say of an entity; a rule says the rest.
pub(crate) struct Standing {
    pub(crate) layer: Option<Layer>,
    pub(crate) owner: String,
    pub(crate) system: String,
}

impl Standing {
    /// Who must act on items of this rule.
    pub(crate) fn owner_under(&self, rule: &Rule) -> String {
        if self.owner.is_empty() { rule.owner.clone() } else { self.owner.clone() }
    }
}

/// Where a series' items stand under a rule.
pub(crate) fn place(rules: &Rules, agent: Option<&Agent>, id: &AgentId, labels: &Labels, rule: &Rule) -> Place {
    let entity = entity_of(id, labels);
    let standing = standing(rules, agent, id, &entity);
    let (layer, owner) = (standing.layer.unwrap_or(rule.layer), standing.owner_under(rule));
    Place { entity, layer, owner, system: standing.system }
}

/// Where a host stands.
pub(crate) fn host_place(rules: &Rules, agent: Option<&Agent>, id: &AgentId) -> Place {
    entity_place(rules, agent, id, &format!("host/{id}"), Layer::Machine)
}

/// Where an entity of a host stands; `layer` when nothing says otherwise.
pub(crate) fn entity_place(rules: &Rules, agent: Option<&Agent>, id: &AgentId, entity: &str, layer: Layer) -> Place {
    let Standing { layer: own, owner, system } = standing(rules, agent, id, entity);
    Place { entity: entity.to_owned(), layer: own.unwrap_or(layer), owner, system }
}

/// What configuration and host say of an entity of a host.
pub(crate) fn standing(rules: &Rules, agent: Option<&Agent>, id: &AgentId, entity: &str) -> Standing {
    let own = rules.entity(entity);
    let host = rules.entity(&format!("host/{id}"));
    let label = |name: &str| agent.and_then(|agent| agent.labels.get(name)).unwrap_or("").to_owned();
    let first = |of: fn(&crate::rule::EntityDef) -> &String, name: &str| {
        let named = own.into_iter().chain(host).map(of).find(|text| !text.is_empty());
        named.cloned().unwrap_or_else(|| label(name))
    };
    Standing {
        layer: own.map(|own| own.layer).or_else(|| layer_named(&label("layer"))),
        owner: first(|def| &def.owner, "owner"),
        system: first(|def| &def.system, "system"),
    }
}

fn layer_named(word: &str) -> Option<Layer> {
    [Layer::Machine, Layer::Application, Layer::Business, Layer::Middleware]
        .into_iter()
        .find(|layer| layer.word() == word)
}
