//! Rules, entities and routes come into force; deadlines come back after a restart.

use crate::decision::Table;
use crate::due::DueKey;
use crate::rows::{self, RulesetRow};
use crate::rule::Ruleset;
use crate::rules::Rules;
use crate::track::stale_at;
use crate::work::Work;
use signalbox_proto::units::UnixMillis;
use std::sync::Arc;

impl Work<'_> {
    /// These rules are in force from here on. State is kept by rule id.
    pub(crate) fn take_rules(&mut self, set: &Arc<Ruleset>) {
        self.rules = Arc::new(Rules::new(Arc::clone(set)));
        self.rules_changed = true;
        // At start the rules come after the start itself.
        self.meta.grace_until = self.meta.started_at + set.agents.start_grace;
        if self.meta.rules_version != set.version {
            self.meta.rules_version.clone_from(&set.version);
            let row = RulesetRow { at: self.now, source: set.source.clone() };
            self.add_row(Table::Rulesets, set.version.as_bytes().to_vec(), rows::encode(&row));
        }
        for key in self.tracks.keys() {
            if !self.rules.has(&key.rule) {
                self.track_removed(&key, "rule removed");
            }
        }
        for series in self.series.keys() {
            let Some(mut known) = self.series.get(&series).cloned() else { continue };
            known.uses = self.rules.uses(&known.labels);
            self.match_series(series, known);
        }
        self.expect_agents();
    }

    /// Deadlines are not kept: they follow from the rows. Feeds look early. Agents'
    /// clocks must not run before anybody could listen: the collector's start, the
    /// rules or the agent's first word set them.
    pub(crate) fn arm_restored(&mut self) {
        for key in self.feeds.keys() {
            let Some(feed) = self.feeds.get(&key) else { continue };
            if feed.last > UnixMillis::MIN {
                let offset_ms = self.agents.get(&key.agent).map_or(0, |agent| agent.offset_ms);
                let due = stale_at(feed.interval, feed.last).shifted(offset_ms);
                if let Some(feed) = self.feeds.get_mut(&key) {
                    feed.armed = Some(due);
                }
                self.due.set(DueKey::Feed(key), Some(due));
            }
        }
        for id in self.agents.keys() {
            self.arm_identity(&id);
        }
        for id in self.snoozes.keys() {
            self.now = UnixMillis::MIN;
            self.wake_snooze(id);
        }
        for key in self.outbox.keys() {
            let retry_at = self.outbox.get(&key).and_then(|pending| pending.retry_at);
            self.due.set(DueKey::Notice(key), retry_at);
        }
    }
}
