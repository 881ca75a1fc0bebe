//! Rules: raw ones laid over their template, then checked as a whole.

use super::fields::Fields;
use super::judgement::RawJudgement;
use super::node::{At, Located, Node};
use super::report::Report;
use super::scalar::{self, LAYERS};
use super::template::{self, Template};
use super::{OVERRIDES_MAX, RULES_MAX, summary};
use crate::rule::{Override, Rule};
use crate::sop;
use signalbox_proto::selector::{Selector, SelectorError};
use signalbox_proto::status::Layer;
use std::collections::BTreeMap;

/// Longest id of a rule: it is part of keys on disk and of idempotency keys.
const ID_MAX_BYTES: usize = 128;

/// Title of an incident whose rule has no summary.
const DEFAULT_SUMMARY: &str = "{{ rule }} on {{ entity }} is {{ level }} at {{ value }}";

/// What is written, by a rule or by a template's rule.
#[derive(Default)]
struct RawRule {
    selector: Option<Located<String>>,
    judgement: RawJudgement,
    overrides: Option<Vec<Node>>,
    layer: Option<Located<Layer>>,
    owner: Option<Located<String>>,
    summary: Option<Located<String>>,
    sop: Option<Located<String>>,
}

impl RawRule {
    /// Takes all keys that a template may give too.
    fn read(fields: &mut Fields, report: &mut Report) -> RawRule {
        let text = |key: &'static str, fields: &mut Fields, report: &mut Report| {
            fields.take(key).and_then(|node| scalar::located(node, key, report))
        };
        for reason in ["why", "description"] {
            // Read for its faults only: the reason lives in the files, which are kept with each ruleset.
            text(reason, fields, report);
        }
        RawRule {
            selector: text("selector", fields, report),
            judgement: RawJudgement::read(fields, report),
            overrides: fields
                .take("overrides")
                .map(|node| scalar::list(node, "overrides", report).into_iter().cloned().collect()),
            layer: fields.take("layer").and_then(|node| scalar::word(node, "layer", LAYERS, report)),
            owner: text("owner", fields, report),
            summary: text("summary", fields, report),
            sop: text("sop", fields, report),
        }
    }

    fn over(self, base: RawRule) -> RawRule {
        RawRule {
            selector: self.selector.or(base.selector),
            judgement: self.judgement.over(&base.judgement),
            overrides: self.overrides.or(base.overrides),
            layer: self.layer.or(base.layer),
            owner: self.owner.or(base.owner),
            summary: self.summary.or(base.summary),
            sop: self.sop.or(base.sop),
        }
    }
}

/// Reads all rules; ids are unique.
pub(super) fn read_all(nodes: &[Node], templates: &mut [Template], report: &mut Report) -> Vec<Located<Rule>> {
    if let Some(over) = nodes.get(RULES_MAX) {
        let message = format!("{} rules are over the limit of {RULES_MAX}", nodes.len());
        report.error(over.at, message, "use one rule with a wider selector and `overrides`");
        return Vec::new();
    }
    let mut seen: BTreeMap<String, At> = BTreeMap::new();
    let mut rules = Vec::new();
    for node in nodes {
        let rule = read(node, templates, &mut seen, report);
        report.used_by = None;
        rules.extend(rule);
    }
    rules
}

fn read(
    node: &Node,
    templates: &mut [Template],
    seen: &mut BTreeMap<String, At>,
    report: &mut Report,
) -> Option<Located<Rule>> {
    let mut fields = Fields::of(node, "a rule", report)?;
    let id = fields.require("id", "id: filesystem-full", report).and_then(|node| rule_id(node, seen, report));
    let uses = fields.take("use").and_then(|node| scalar::located(node, "use", report));
    let with = fields.take("with");
    if let (None, Some(with)) = (&uses, with) {
        report.error(with.at, "`with` in a rule without `use`", "name the template: `use: …`");
    }
    let mut raw = RawRule::read(&mut fields, report);
    let at = fields.at;
    fields.finish(report);
    if let Some(uses) = &uses {
        let id = id.as_ref().map_or("", |id| &id.value);
        let base = template::expand(templates, uses, with, report)?;
        report.used_by = Some(format!("rule `{id}` uses template `{}` at {}", uses.value, report.place(uses.at)));
        let mut fields = Fields::of(&base, "the rule of a template", report)?;
        raw = raw.over(RawRule::read(&mut fields, report));
        fields.finish(report);
    }
    let at = id.as_ref().map_or(at, |id| id.at);
    build(raw, id.map(|id| id.value), at, report)
}

fn build(raw: RawRule, id: Option<String>, at: At, report: &mut Report) -> Option<Located<Rule>> {
    let base = raw.judgement.build(at, report);
    let overrides = raw.overrides.unwrap_or_default();
    if let Some(over) = overrides.get(OVERRIDES_MAX) {
        let message = format!("{} overrides are over the limit of {OVERRIDES_MAX} a rule", overrides.len());
        report.error(over.at, message, "give hosts a label and match that");
        return None;
    }
    let overrides = overrides.iter().filter_map(|node| read_override(node, &raw.judgement, report)).collect();
    let summary = raw.summary.map_or(DEFAULT_SUMMARY.to_owned(), |text| {
        summary::check(&text, report);
        text.value
    });
    if raw.selector.is_none() {
        let example = "write for example `selector: node_load1{host=\"web1\"}`";
        report.error(at, "a rule has no `selector`", example);
    }
    let selector = raw.selector.and_then(|text| selector(&text, report));
    if let Some(text) = &raw.sop
        && let Some(name) = sop::unknown_name(&text.value)
    {
        let message = format!("sop: there is no `{name}` here");
        report.error(
            text.at,
            message,
            format!("write for example `{{{{ labels.mountpoint }}}}`; there are {}", sop::NAMES),
        );
    }
    let rule = Rule {
        id: id?,
        selector: selector?,
        base,
        overrides,
        layer: raw.layer.map_or(Layer::Machine, |layer| layer.value),
        owner: raw.owner.map(|owner| owner.value).unwrap_or_default(),
        summary,
        sop: raw.sop.map(|sop| sop.value).unwrap_or_default(),
        file: report.file_name(at.file).to_owned(),
        line: at.line,
    };
    Some(Located { value: rule, at })
}

fn read_override(node: &Node, base: &RawJudgement, report: &mut Report) -> Option<Override> {
    let mut fields = Fields::of(node, "an override", report)?;
    let found = fields.require("match", "match: '{host=\"db1\"}'", report);
    let found = found.and_then(|node| scalar::located(node, "match", report));
    let selector = found.and_then(|text| selector(&text, report));
    let raw = RawJudgement::read(&mut fields, report).over(base);
    let at = fields.at;
    fields.finish(report);
    let judgement = raw.build(at, report);
    Some(Override { selector: selector?, judgement })
}

fn rule_id(node: &Node, seen: &mut BTreeMap<String, At>, report: &mut Report) -> Option<Located<String>> {
    let id = scalar::located(node, "id", report)?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if id.value.len() > ID_MAX_BYTES || !id.value.chars().all(allowed) {
        let message = format!("rule id `{}` must be 1 to {ID_MAX_BYTES} of a-z 0-9 -", id.value);
        report.error(id.at, message, "write for example `id: filesystem-full`");
        return None;
    }
    if let Some(first) = seen.get(&id.value) {
        let message = format!("rule `{}` is already defined at {}", id.value, report.place(*first));
        report.error(id.at, message, "ids are unique over all files: state is kept by them; rename one of the two");
    } else {
        seen.insert(id.value.clone(), id.at);
    }
    Some(id)
}

fn selector(text: &Located<String>, report: &mut Report) -> Option<Selector> {
    match Selector::parse(&text.value) {
        Ok(selector) => Some(selector),
        Err(error) => {
            let offset = match &error {
                SelectorError::Syntax { at, .. } => at.saturating_sub(1),
                SelectorError::Pattern { .. } | SelectorError::Everything(_) => 0,
            };
            let remedy = "write it as in PromQL: name{label=\"value\",other=~\"re.*\"}; \
                          in YAML put single quotes around it when it begins with {";
            report.error_inside(text.at, &text.value, offset, &error.to_string(), remedy);
            None
        }
    }
}
