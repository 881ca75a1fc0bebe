//! Configuration of verdicts: files in, a trusted [`Ruleset`] and findings out.
//!
//! ```text
//! text --serde-saphyr--> Node (tree with places)     node
//!      --Fields--------> raw items, unknown keys     fields, scalar
//!      --templates-----> raw rules laid over         template, rules
//!      --build---------> Rule, EntityDef, Route …    judgement, condition, entities, routes
//!      --lint----------> warnings                    lint
//! ```
//!
//! Promises: [`parse`] is pure; every fault of every file is found in one run,
//! each with file, line, column, the offending line and a remedy; nothing is
//! mended silently; a ruleset comes out only when no finding is an error.
//!
//! Serde stops at the first fault and forgets where values stood, so files are
//! read into a tree that knows every place, and strict readers walk that tree:
//! a key that no reader asked for is refused, as `deny_unknown_fields` would.

mod agents;
mod condition;
mod entities;
mod fields;
mod judgement;
mod lint;
mod node;
mod report;
mod routes;
mod rules;
mod scalar;
pub mod summary;
mod template;

use crate::rule::Ruleset;
use fields::Fields;
use node::{Node, Value};
use report::Report;
use sha2::{Digest, Sha256};
use signalbox_proto::api::Finding;
use signalbox_proto::text::hex;
use std::collections::BTreeMap;

/// Most rules in all files together.
pub const RULES_MAX: usize = 10_000;
/// Most overrides of one rule.
pub const OVERRIDES_MAX: usize = 64;
/// Most bytes of one file.
pub const FILE_MAX_BYTES: usize = 1024 * 1024;
/// Most files.
pub const FILES_MAX: usize = 1024;
/// Most entities in all files together.
pub const ENTITIES_MAX: usize = 50_000;
/// Most findings of one run; what is over it is counted in a last finding.
pub const FINDINGS_MAX: usize = 1000;

/// Bytes of the hash that name a ruleset: enough that two never share a name.
const VERSION_BYTES: usize = 12;

/// Parses and checks all files together. The ruleset is there exactly when no
/// finding is an error; findings come errors first, then by file and line.
pub fn parse(files: &BTreeMap<String, String>) -> (Option<Ruleset>, Vec<Finding>) {
    let mut report = Report::new(files);
    if files.len() > FILES_MAX {
        let message = format!("{} files are over the limit of {FILES_MAX}", files.len());
        report.general(true, message, "put several rules into one file");
        return (None, report.finish());
    }
    let mut items = Items::default();
    for (index, text) in files.values().enumerate() {
        if text.len() > FILE_MAX_BYTES {
            let message = format!("{} bytes are over the limit of {FILE_MAX_BYTES} bytes a file", text.len());
            report.whole_file(index, message, "split the file");
        } else if let Some(tree) = node::read(index, text, &mut report) {
            items.take_file(&tree, &mut report);
        }
    }
    let ruleset = items.build(files, &mut report);
    let refused = report.has_errors();
    ((!refused).then_some(ruleset), report.finish())
}

/// Sections of all files, not yet understood.
#[derive(Default)]
struct Items {
    templates: Vec<Node>,
    rules: Vec<Node>,
    entities: Vec<Node>,
    routes: Vec<Node>,
    channels: Vec<Node>,
    agents: Vec<Node>,
}

impl Items {
    fn take_file(&mut self, tree: &Node, report: &mut Report) {
        if matches!(tree.value, Value::Null) {
            return;
        }
        let Some(mut fields) = Fields::of(tree, "a file of rules", report) else { return };
        for (key, into) in [
            ("templates", &mut self.templates),
            ("rules", &mut self.rules),
            ("entities", &mut self.entities),
            ("routes", &mut self.routes),
            ("channels", &mut self.channels),
        ] {
            if let Some(node) = fields.take(key) {
                into.extend(scalar::list(node, key, report).into_iter().cloned());
            }
        }
        self.agents.extend(fields.take("agents").cloned());
        fields.finish(report);
    }

    fn build(&self, files: &BTreeMap<String, String>, report: &mut Report) -> Ruleset {
        let mut templates = template::read_all(&self.templates, report);
        let rules = rules::read_all(&self.rules, &mut templates, report);
        let entities = entities::read_all(&self.entities, report);
        let channels = routes::read_channels(&self.channels, report);
        let routes = routes::read_all(&self.routes, &channels, report);
        let agents = agents::read_all(&self.agents, report);
        // A value that was refused is missing now: warnings would be about that.
        if !report.has_errors() {
            lint::templates(&templates, report);
            lint::rules(&rules, &entities, report);
            lint::routes(&routes, &channels, &rules, &entities, report);
        }
        Ruleset {
            version: version(files),
            source: files.clone(),
            rules: rules.into_iter().map(|rule| rule.value).collect(),
            entities: entities.into_iter().map(|entity| entity.value).collect(),
            routes: routes.into_iter().map(|route| route.value).collect(),
            channels: channels.into_iter().map(|channel| channel.value).collect(),
            agents,
        }
    }
}

/// Hex of the first bytes of SHA-256 over names and texts, each behind its length.
fn version(files: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    for part in files.iter().flat_map(|(name, text)| [name, text]) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex(&hash.finalize()[..VERSION_BYTES])
}

#[cfg(test)]
mod tests;
