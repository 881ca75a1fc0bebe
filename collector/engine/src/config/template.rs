//! Templates of rules: one form, many metrics.
//!
//! `{{name}}` of a declared parameter is replaced in every text of the template's
//! rule; summaries keep every other `{{ … }}`, because those are filled in when
//! an incident is raised.

use super::fields::Fields;
use super::node::{Located, Node, Value};
use super::report::{Report, suggest};
use super::scalar;
use std::collections::BTreeMap;

/// The default that stands for "each rule must give it".
const REQUIRED: &str = "required";
/// Keys whose braces belong to the incident's title.
const OWN_BRACES: &[&str] = &["summary"];

/// A template by its name.
pub(super) struct Template {
    pub(super) name: Located<String>,
    /// Defaults by parameter; none: each rule must give it.
    parameters: BTreeMap<String, Option<String>>,
    rule: Node,
    used: bool,
}

impl Template {
    /// True when some rule has asked for it.
    pub(super) fn is_used(&self) -> bool {
        self.used
    }
}

/// Reads all templates; names are unique.
pub(super) fn read_all(nodes: &[Node], report: &mut Report) -> Vec<Template> {
    let mut templates: Vec<Template> = Vec::new();
    for node in nodes {
        let Some(template) = read(node, report) else { continue };
        let twin = templates.iter().find(|other| other.name.value == template.name.value);
        if let Some(twin) = twin {
            let place = report.place(twin.name.at);
            let message = format!("template `{}` is already defined at {place}", template.name.value);
            report.error(template.name.at, message, "give one of them another name");
        }
        templates.push(template);
    }
    templates
}

fn read(node: &Node, report: &mut Report) -> Option<Template> {
    let mut fields = Fields::of(node, "a template", report)?;
    let name = fields.require("name", "name: ratio-high", report);
    let name = name.and_then(|node| scalar::located(node, "name", report));
    let mut parameters = BTreeMap::new();
    if let Some(node) = fields.take("parameters") {
        parameters = values(node, "`parameters`", report)
            .into_iter()
            .map(|(key, value)| (key.value, (value.value != REQUIRED).then_some(value.value)))
            .collect();
    }
    let rule = fields.require("rule", "rule: {selector: …}", report).cloned();
    fields.finish(report);
    Some(Template { name: name?, parameters, rule: rule?, used: false })
}

/// A mapping of names to single values.
fn values(node: &Node, what: &'static str, report: &mut Report) -> Vec<(Located<String>, Located<String>)> {
    let Value::Map(entries) = &node.value else {
        Fields::of(node, what, report);
        return Vec::new();
    };
    let read = |(key, value): &(Located<String>, Node), report: &mut Report| {
        scalar::located(value, &key.value, report).map(|value| (key.clone(), value))
    };
    entries.iter().filter_map(|entry| read(entry, report)).collect()
}

/// The template's rule with this rule's values; `name` is the key `use`, `with`
/// the key of the same name.
pub(super) fn expand(
    templates: &mut [Template],
    name: &Located<String>,
    with: Option<&Node>,
    report: &mut Report,
) -> Option<Node> {
    let Some(found) = templates.iter().position(|template| template.name.value == name.value) else {
        let remedy = suggest(&name.value, templates.iter().map(|template| template.name.value.as_str()));
        report.error(name.at, format!("there is no template `{}`", name.value), remedy);
        return None;
    };
    let template = &mut templates[found];
    template.used = true;
    let given = with.map(|node| values(node, "`with`", report)).unwrap_or_default();
    for (key, _) in given.iter().filter(|(key, _)| !template.parameters.contains_key(&key.value)) {
        let remedy = suggest(&key.value, template.parameters.keys().map(String::as_str));
        report.error(key.at, format!("template `{}` has no parameter `{}`", name.value, key.value), remedy);
    }
    let mut filled: BTreeMap<&str, String> = BTreeMap::new();
    let mut complete = true;
    for (parameter, default) in &template.parameters {
        let own = given.iter().find(|(key, _)| key.value == *parameter).map(|(_, value)| value.value.clone());
        if let Some(value) = own.or_else(|| default.clone()) {
            filled.insert(parameter, value);
        } else {
            complete = false;
            let message = format!("template `{}` needs the parameter `{parameter}`", name.value);
            report.error(name.at, message, format!("add `with: {{{parameter}: …}}`"));
        }
    }
    complete.then(|| substitute(&template.rule, "", &filled, report))
}

fn substitute(node: &Node, key: &str, filled: &BTreeMap<&str, String>, report: &mut Report) -> Node {
    let value = match &node.value {
        Value::Null => Value::Null,
        Value::Scalar(text) => Value::Scalar(fill(node, text, key, filled, report)),
        Value::List(items) => Value::List(items.iter().map(|item| substitute(item, key, filled, report)).collect()),
        Value::Map(entries) => {
            let entry = |(key, value): &(Located<String>, Node), report: &mut Report| {
                (key.clone(), substitute(value, &key.value, filled, report))
            };
            Value::Map(entries.iter().map(|pair| entry(pair, report)).collect())
        }
    };
    Node { value, at: node.at }
}

fn fill(node: &Node, text: &str, key: &str, filled: &BTreeMap<&str, String>, report: &mut Report) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((name, tail)) = after.split_once("}}") else {
            out.push_str("{{");
            rest = after;
            continue;
        };
        if let Some(value) = filled.get(name.trim()) {
            out.push_str(value);
        } else {
            if !OWN_BRACES.contains(&key) {
                let remedy = suggest(name.trim(), filled.keys().copied());
                report.error(node.at, format!("the template has no parameter `{}`", name.trim()), remedy);
            }
            out.push_str(&format!("{{{{{name}}}}}"));
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}
