//! The ruleset in force, with what makes it quick to ask.

use crate::rule::{EntityDef, Judgement, Rule, Ruleset};
use crate::state::Use;
use sha2::{Digest, Sha256};
use signalbox_proto::names::Labels;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A ruleset and its indexes.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) set: Arc<Ruleset>,
    /// Rules that demand exactly one metric, by it.
    by_metric: BTreeMap<String, Vec<usize>>,
    /// All other rules.
    any_metric: Vec<usize>,
    ids: Vec<Arc<str>>,
    entities: BTreeMap<String, usize>,
}

impl Rules {
    /// Indexes a ruleset.
    pub(crate) fn new(set: Arc<Ruleset>) -> Rules {
        let mut rules =
            Rules { ids: set.rules.iter().map(|rule| rule.id.as_str().into()).collect(), ..Rules::default() };
        for (at, rule) in set.rules.iter().enumerate() {
            match rule.selector.metric() {
                Some(metric) => rules.by_metric.entry(metric.to_owned()).or_default().push(at),
                None => rules.any_metric.push(at),
            }
        }
        rules.entities = set.entities.iter().enumerate().map(|(at, entity)| (entity.id.clone(), at)).collect();
        rules.set = set;
        rules
    }

    /// True when some rule judges this series.
    pub(crate) fn selects(&self, labels: &Labels) -> bool {
        self.candidates(labels).any(|at| self.set.rules[at].selector.matches(labels))
    }

    /// The rules that judge this series, in file order.
    pub(crate) fn uses(&self, labels: &Labels) -> Arc<[Use]> {
        let mut found: Vec<usize> =
            self.candidates(labels).filter(|&at| self.set.rules[at].selector.matches(labels)).collect();
        found.sort_unstable();
        found.into_iter().map(|at| self.make_use(at, labels)).collect()
    }

    /// The rule of a use.
    pub(crate) fn rule(&self, used: &Use) -> &Rule {
        &self.set.rules[used.rule]
    }

    /// The judgement of a use: the override's, or the rule's.
    pub(crate) fn judgement(&self, used: &Use) -> &Judgement {
        let rule = self.rule(used);
        used.over.map_or(&rule.base, |at| &rule.overrides[at].judgement)
    }

    /// True when a rule of this id is in force.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.ids.iter().any(|known| **known == *id)
    }

    /// A configured entity.
    pub(crate) fn entity(&self, id: &str) -> Option<&EntityDef> {
        self.entities.get(id).map(|&at| &self.set.entities[at])
    }

    fn candidates<'a>(&'a self, labels: &Labels) -> impl Iterator<Item = usize> + use<'a> {
        let named = labels.metric().and_then(|metric| self.by_metric.get(metric));
        named.into_iter().flatten().chain(&self.any_metric).copied()
    }

    fn make_use(&self, at: usize, labels: &Labels) -> Use {
        let over = self.set.rules[at].overrides.iter().rposition(|over| over.selector.matches(labels));
        Use { rule: at, over, id: self.ids[at].clone() }
    }
}

/// A number that is the same for equal judgements, over restarts too.
pub(crate) fn fingerprint(judgement: &Judgement) -> u64 {
    let hash = Sha256::digest(format!("{judgement:?}").as_bytes());
    hash.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}
