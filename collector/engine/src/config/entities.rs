//! Entities: what stands on what, and whose it is.

use super::ENTITIES_MAX;
use super::fields::Fields;
use super::node::{Located, Node, Value};
use super::report::{Report, suggest};
use super::scalar::{self, LAYERS};
use crate::rule::{EntityDef, LabelMatch, Need};
use signalbox_proto::selector::Pattern;
use signalbox_proto::status::Layer;
use std::collections::{BTreeMap, BTreeSet};

/// Longest id of an entity.
const ID_MAX_BYTES: usize = 192;
/// Kinds that make themselves known; everything else must be named.
const KNOWN_BY_AGENTS: [&str; 2] = ["host/", "process/"];

/// An entity with the places of its members.
struct Raw {
    def: EntityDef,
    members: Vec<Located<String>>,
}

/// Reads all entities: ids are unique, dependencies acyclic.
pub(super) fn read_all(nodes: &[Node], report: &mut Report) -> Vec<Located<EntityDef>> {
    if let Some(over) = nodes.get(ENTITIES_MAX) {
        let message = format!("{} entities are over the limit of {ENTITIES_MAX}", nodes.len());
        report.error(over.at, message, "let hosts find their entity by labels: `hosts: {app: \"payments.*\"}`");
        return Vec::new();
    }
    let entities: Vec<Located<Raw>> = nodes.iter().filter_map(|node| read(node, report)).collect();
    check_unique(&entities, report);
    check_members(&entities, report);
    check_acyclic(&entities, report);
    entities.into_iter().map(|entity| Located { value: entity.value.def, at: entity.at }).collect()
}

fn read(node: &Node, report: &mut Report) -> Option<Located<Raw>> {
    let mut fields = Fields::of(node, "an entity", report)?;
    let id = fields.require("id", "id: application/payments", report).and_then(|node| entity_id(node, report));
    let layer = fields.take("layer");
    let layer_given = layer.is_some();
    let layer = layer.and_then(|node| scalar::word(node, "layer", LAYERS, report)).map(|layer| layer.value);
    let owner = fields.take("owner").and_then(|node| scalar::located(node, "owner", report));
    let system = fields.take("system").and_then(|node| scalar::located(node, "system", report));
    let hosts = fields.take("hosts").map(|node| hosts(node, report)).unwrap_or_default();
    let mut members = Vec::new();
    let needs = fields.take("depends_on").map(|node| needs(node, &mut members, report)).unwrap_or_default();
    fields.finish(report);
    let id = id?;
    let kind = id.value.split('/').next().unwrap_or("");
    let layer = layer.or_else(|| layer_of_kind(kind));
    if layer.is_none() && !layer_given {
        let message = format!("entity `{}` has no `layer`, and its kind `{kind}` names none", id.value);
        report.error(id.at, message, "add `layer: machine`, application, business or middleware");
    }
    let text = |given: Option<Located<String>>| given.map(|given| given.value).unwrap_or_default();
    let def = EntityDef {
        id: id.value,
        layer: layer.unwrap_or_default(),
        owner: text(owner),
        system: text(system),
        hosts,
        needs,
    };
    Some(Located { value: Raw { def, members }, at: id.at })
}

fn layer_of_kind(kind: &str) -> Option<Layer> {
    match kind {
        "host" => Some(Layer::Machine),
        "process" | "service" => Some(Layer::Application),
        kind => LAYERS.iter().find(|(word, _)| *word == kind).map(|(_, layer)| *layer),
    }
}

fn entity_id(node: &Node, report: &mut Report) -> Option<Located<String>> {
    let id = scalar::located(node, "id", report)?;
    let part = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    let parts: Vec<&str> = id.value.split('/').collect();
    if parts.len() < 2 || id.value.len() > ID_MAX_BYTES || !parts.iter().all(|text| part(text)) {
        let message =
            format!("entity id `{}` must be kind/name, at most {ID_MAX_BYTES} of A-Z a-z 0-9 . _ - /", id.value);
        report.error(id.at, message, "write for example `application/payments` or `host/db1`");
        return None;
    }
    Some(id)
}

fn hosts(node: &Node, report: &mut Report) -> Vec<LabelMatch> {
    let Value::Map(entries) = &node.value else {
        Fields::of(node, "`hosts`", report);
        return Vec::new();
    };
    let mut matches = Vec::new();
    for (label, value) in entries {
        let Some(text) = scalar::located(value, &label.value, report) else { continue };
        match Pattern::new(&text.value) {
            Ok(pattern) => matches.push(LabelMatch { label: label.value.clone(), pattern }),
            Err(error) => {
                let error = error.to_string();
                let message = format!("`hosts.{}`: {}", label.value, error.trim_start_matches("selector: "));
                report.error(text.at, message, "write a regular expression for the whole value");
            }
        }
    }
    if entries.is_empty() {
        report.error(
            node.at,
            "`hosts` without a label would match no host",
            "write for example `hosts: {app: \"payments.*\"}`",
        );
    }
    matches
}

fn needs(node: &Node, members: &mut Vec<Located<String>>, report: &mut Report) -> Vec<Need> {
    let mut needs = Vec::new();
    let mut all = Vec::new();
    for item in scalar::list(node, "depends_on", report) {
        if let Value::Map(_) = item.value {
            needs.extend(group(item, members, report));
        } else if let Some(member) = scalar::located(item, "depends_on", report) {
            all.push(member.value.clone());
            members.push(member);
        }
    }
    if !all.is_empty() {
        needs.insert(0, Need::All(all));
    }
    needs
}

/// `any_of: […]`, or `at_least: k` with `of: […]`.
fn group(node: &Node, members: &mut Vec<Located<String>>, report: &mut Report) -> Option<Need> {
    let mut fields = Fields::of(node, "a dependency", report)?;
    let any_of = fields.take("any_of");
    let at_least = fields.take("at_least");
    let of = fields.take("of");
    let at = fields.at;
    fields.finish(report);
    let (k, listed) = match (any_of, at_least, of) {
        (Some(any), None, None) => (1, scalar::texts(any, "any_of", report)),
        (None, Some(k), Some(of)) => {
            let k = scalar::whole(k, "at_least", 1, u32::MAX, report)?;
            (k.value as usize, scalar::texts(of, "of", report))
        }
        _ => {
            let remedy = "write `any_of: […]`, or `at_least: 2` with `of: […]`";
            report.error(at, "a group must be either `any_of` or `at_least` with `of`", remedy);
            return None;
        }
    };
    let distinct: BTreeSet<&str> = listed.iter().map(|member| member.value.as_str()).collect();
    if distinct.len() < listed.len() {
        report.error(at, "a group names a member twice", "remove one: each member counts once");
    } else if k > listed.len() {
        let message = format!("a group of {} can never have {k} that stand", listed.len());
        report.error(at, message, "lower `at_least`, or add members");
    }
    let names = listed.iter().map(|member| member.value.clone()).collect();
    members.extend(listed);
    Some(Need::AtLeast { k, members: names })
}

fn check_unique(entities: &[Located<Raw>], report: &mut Report) {
    let mut seen = BTreeMap::new();
    for entity in entities {
        let id = entity.value.def.id.as_str();
        if let Some(first) = seen.get(id) {
            let message = format!("entity `{id}` is already defined at {}", report.place(*first));
            report.error(entity.at, message, "merge the two");
        } else {
            seen.insert(id, entity.at);
        }
    }
}

fn check_members(entities: &[Located<Raw>], report: &mut Report) {
    let ids: BTreeSet<&str> = entities.iter().map(|entity| entity.value.def.id.as_str()).collect();
    for member in entities.iter().flat_map(|entity| &entity.value.members) {
        let id = member.value.as_str();
        if !ids.contains(id) && !KNOWN_BY_AGENTS.iter().any(|kind| id.starts_with(kind)) {
            let message = format!("`{id}` is no entity of these files");
            let remedy = if report.is_full() { String::new() } else { suggest(id, ids.iter().copied()) };
            report.warn(member.at, message, remedy);
        }
    }
}

/// Depth-first, without recursion: chains may be as long as there are entities.
fn check_acyclic(entities: &[Located<Raw>], report: &mut Report) {
    let index: BTreeMap<&str, usize> =
        entities.iter().enumerate().map(|(i, entity)| (entity.value.def.id.as_str(), i)).collect();
    let next = |i: usize, n: usize| entities[i].value.members.get(n).map(|member| index.get(member.value.as_str()));
    let mut done = vec![false; entities.len()];
    for start in 0..entities.len() {
        let mut path: Vec<(usize, usize)> = if done[start] { Vec::new() } else { vec![(start, 0)] };
        let mut on_path: BTreeSet<usize> = path.iter().map(|(i, _)| *i).collect();
        while let Some((i, n)) = path.last_mut() {
            let (here, edge) = (*i, *n);
            *n += 1;
            match next(here, edge) {
                Some(Some(&to)) if on_path.contains(&to) => {
                    let from = path.iter().position(|(i, _)| *i == to).unwrap_or(0);
                    let ids = path[from..].iter().map(|(i, _)| *i).chain([to]);
                    let ids: Vec<&str> = ids.map(|i| entities[i].value.def.id.as_str()).collect();
                    let message = format!("cyclic dependency: {}", ids.join(" -> "));
                    report.error(entities[here].value.members[edge].at, message, "remove one of these dependencies");
                }
                Some(Some(&to)) if !done[to] => {
                    path.push((to, 0));
                    on_path.insert(to);
                }
                Some(_) => {}
                None => {
                    done[here] = true;
                    on_path.remove(&here);
                    path.pop();
                }
            }
        }
    }
}
