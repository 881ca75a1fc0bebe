//! What is allowed and still worth a look.

use super::condition;
use super::node::Located;
use super::report::{Report, suggest};
use super::template::Template;
use crate::rule::{Condition, EntityDef, Judgement, OnMissing, Route, Rule};
use signalbox_proto::selector::{Matcher, Selector, Test};
use signalbox_proto::status::{Layer, Level};
use std::collections::BTreeSet;

/// Metrics whose name ends so lie from 0 to 1.
const RATIO_SUFFIX: &str = "_ratio";

/// Templates that no rule uses.
pub(super) fn templates(templates: &[Template], report: &mut Report) {
    for template in templates.iter().filter(|template| !template.is_used()) {
        let message = format!("template `{}` is used by no rule, so its rule was not checked", template.name.value);
        report.warn(template.name.at, message, "use it or remove it");
    }
}

/// Rules that nobody owns, that say nothing to do, that cannot fire.
pub(super) fn rules(rules: &[Located<Rule>], entities: &[Located<EntityDef>], report: &mut Report) {
    let entity_owner = entities.iter().any(|entity| !entity.value.owner.is_empty());
    for Located { value: rule, at } in rules {
        let id = &rule.id;
        if rule.owner.is_empty() && !entity_owner {
            report.warn(*at, format!("rule `{id}` has no owner, nor has any entity"), "add `owner: team`");
        }
        if rule.sop.is_empty() {
            report.warn(*at, format!("rule `{id}` does not say what to do"), "add `sop:` with a link or a text");
        }
        if let Some((a, b)) = contradiction(&rule.selector) {
            let message = format!("rule `{id}` can never fire: {a} and {b} exclude each other");
            report.warn(*at, message, "remove one of the two conditions");
        }
        let judgements = || std::iter::once(&rule.base).chain(rule.overrides.iter().map(|over| &over.judgement));
        if !judgements().any(can_fire) {
            let message = format!("rule `{id}` can never fire: it has neither amber nor red");
            report.warn(*at, message, "add a threshold, or `on_missing: red` to watch for silence");
        } else if !judgements().any(can_raise) {
            let message = format!("rule `{id}` has no red and never raises an incident");
            report.warn(*at, message, "add `red`, or `incident_from: amber`");
        }
        if judgements().any(|judgement| judgement.on_missing == OnMissing::Ok) {
            let message = format!("rule `{id}` takes silence as good: `on_missing: ok`");
            report.warn(*at, message, "right for sparse event counters only; else use hold, amber or red");
        }
        if judgements().any(amber_is_hidden) {
            let message = format!("rule `{id}`: amber never shows, red has the same threshold and is raised as soon");
            report.warn(*at, message, "raise red later than amber, or remove `amber`");
        }
        ratio_bounds(rule, *at, report);
    }
}

fn can_fire(judgement: &Judgement) -> bool {
    let silence = matches!(judgement.on_missing, OnMissing::Amber | OnMissing::Red);
    judgement.amber.is_some() || judgement.red.is_some() || silence
}

fn can_raise(judgement: &Judgement) -> bool {
    let silent_red = judgement.on_missing == OnMissing::Red;
    judgement.red.is_some() || silent_red || judgement.incident_from == Level::Amber
}

fn amber_is_hidden(judgement: &Judgement) -> bool {
    let (Some(amber), Some(red)) = (judgement.amber, judgement.red) else { return false };
    condition::is_subset(amber.bad, red.bad) && judgement.raise_red <= judgement.raise_amber
}

/// Two conditions on one label of which the second refuses what the first wants.
fn contradiction(selector: &Selector) -> Option<(&Matcher, &Matcher)> {
    let matchers = selector.matchers();
    matchers.iter().find_map(|wants| {
        let Test::Is(value) = &wants.test else { return None };
        let refuses = |other: &&Matcher| other.label == wants.label && !other.test.accepts(value);
        matchers.iter().find(refuses).map(|other| (wants, other))
    })
}

/// 85 where 0.85 is meant.
fn ratio_bounds(rule: &Rule, at: super::node::At, report: &mut Report) {
    let Some(metric) = rule.selector.metric().filter(|metric| metric.ends_with(RATIO_SUFFIX)) else { return };
    let judgements = std::iter::once(&rule.base).chain(rule.overrides.iter().map(|over| &over.judgement));
    let thresholds = judgements.flat_map(|judgement| [judgement.amber, judgement.red]).flatten();
    if thresholds.into_iter().any(|threshold| condition::is_disjoint(threshold.bad, Condition::Inside(0.0, 1.0))) {
        let message = format!("rule `{}`: a threshold that {metric} never meets: it lies from 0 to 1", rule.id);
        report.warn(at, message, "write 85 % as 0.85");
    }
}

/// Routes that nothing reaches, channels without a route, no route at all.
pub(super) fn routes(
    routes: &[Located<Route>],
    channels: &[Located<String>],
    rules: &[Located<Rule>],
    entities: &[Located<EntityDef>],
    report: &mut Report,
) {
    if routes.is_empty() && !rules.is_empty() {
        report.general(false, "there are no routes: nobody is told about any incident", "add `routes:`");
    }
    let owner_of = |rule: &Located<Rule>| rule.value.owner.clone();
    let owners: BTreeSet<String> =
        rules.iter().map(owner_of).chain(entities.iter().map(|entity| entity.value.owner.clone())).collect();
    // Agents' own incidents are of the machine layer.
    let layers: Vec<Layer> = rules
        .iter()
        .map(|rule| rule.value.layer)
        .chain(entities.iter().map(|entity| entity.value.layer))
        .chain([Layer::Machine])
        .collect();
    for Located { value: route, at } in routes {
        if !route.owners.is_empty() && !route.owners.iter().any(|owner| owners.contains(owner)) {
            let wanted = route.owners.join(", ");
            let message = format!("nothing reaches this route: no rule and no entity is owned by {wanted}");
            report.warn(*at, message, suggest(&route.owners[0], owners.iter().map(String::as_str)));
        }
        if !route.layers.is_empty() && !route.layers.iter().any(|layer| layers.contains(layer)) {
            let wanted: Vec<&str> = route.layers.iter().map(|layer| layer.word()).collect();
            let message = format!("nothing reaches this route: nothing is of layer {}", wanted.join(", "));
            report.warn(*at, message, "add rules or entities of that layer, or remove the route");
        }
    }
    for channel in channels.iter().filter(|channel| !routes.iter().any(|route| route.value.channel == channel.value)) {
        report.warn(channel.at, format!("no route leads to channel `{}`", channel.value), "add a route or remove it");
    }
}
