//! Feeds, agent by agent: a batch of quiet ticks costs one look-up of its agent.
//!
//! Ticks are the bulk of all that happens, and nearly all of them are quiet: they
//! only say that a check sampled. So the feeds of one agent lie together, and one
//! copy of them takes a whole batch.

use crate::event::SampledTick;
use crate::overlay::{Changes, Overlay};
use crate::state::{Feed, FeedKey};
use crate::track::stale_at;
use signalbox_proto::names::AgentId;
use signalbox_proto::units::Millis;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A feed's row is kept at least this often, event time: its watermark after a
/// restart is at most this old.
pub(crate) const FEED_ROW_EVERY: Millis = Millis::from_mins(1);

/// The feeds of one agent, by check.
#[derive(Debug, Clone, Default)]
pub(crate) struct AgentFeeds(Vec<(Arc<str>, Feed)>);

impl AgentFeeds {
    /// The feed of a check.
    pub(crate) fn get(&self, check: &str) -> Option<&Feed> {
        let at = self.find(check).ok()?;
        Some(&self.0[at].1)
    }

    /// The feed of a check, to change it.
    pub(crate) fn get_mut(&mut self, check: &str) -> Option<&mut Feed> {
        let at = self.find(check).ok()?;
        Some(&mut self.0[at].1)
    }

    /// Adds or replaces the feed of a check.
    pub(crate) fn insert(&mut self, check: Arc<str>, feed: Feed) {
        match self.find(&check) {
            Ok(at) => self.0[at].1 = feed,
            Err(at) => self.0.insert(at, (check, feed)),
        }
    }

    /// All checks, sorted.
    pub(crate) fn checks(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().map(|(check, _)| check)
    }

    fn find(&self, check: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(check))
    }

    /// Takes a tick that moves a watermark and nothing else: all values are in their
    /// bands, no silence ends, the deadline stands and no row is due.
    fn take_quiet(&mut self, tick: &SampledTick, offset_ms: i64) -> bool {
        let Some(feed) = self.get_mut(&tick.check) else { return false };
        let stale = stale_at(feed.interval, tick.time).shifted(offset_ms);
        let is_quiet = tick.values.is_empty()
            && tick.time > feed.last
            && tick.time <= stale_at(feed.interval, feed.last)
            && tick.time.since(feed.saved) < FEED_ROW_EVERY
            && feed.armed.is_some_and(|armed| armed <= stale);
        if is_quiet {
            feed.last = tick.time;
        }
        is_quiet
    }
}

/// All feeds, with changes laid over them.
#[derive(Debug)]
pub(crate) struct FeedOverlay<'a>(Overlay<'a, AgentId, AgentFeeds>);

impl<'a> FeedOverlay<'a> {
    /// Nothing is changed yet.
    pub(crate) fn over(base: &'a BTreeMap<AgentId, AgentFeeds>) -> Self {
        FeedOverlay(Overlay::over(base))
    }

    /// The feed as it would be.
    pub(crate) fn get(&self, key: &FeedKey) -> Option<&Feed> {
        self.0.get(&key.agent)?.get(&key.check)
    }

    /// The feed to change.
    pub(crate) fn get_mut(&mut self, key: &FeedKey) -> Option<&mut Feed> {
        self.0.get_mut(&key.agent)?.get_mut(&key.check)
    }

    /// Adds or replaces a feed.
    pub(crate) fn insert(&mut self, key: FeedKey, feed: Feed) {
        if let Some(feeds) = self.0.get_mut(&key.agent) {
            return feeds.insert(key.check, feed);
        }
        let mut feeds = AgentFeeds::default();
        feeds.insert(key.check, feed);
        self.0.insert(key.agent, feeds);
    }

    /// The feeds of an agent, sorted.
    pub(crate) fn of(&self, agent: &AgentId) -> Vec<FeedKey> {
        let checks = self.0.get(agent).into_iter().flat_map(AgentFeeds::checks);
        checks.map(|check| FeedKey { agent: agent.clone(), check: Arc::clone(check) }).collect()
    }

    /// All feeds, sorted.
    pub(crate) fn keys(&self) -> Vec<FeedKey> {
        self.0.keys().iter().flat_map(|agent| self.of(agent)).collect()
    }

    /// Takes ticks from the front as long as they are quiet; how many were.
    pub(crate) fn take_quiet(&mut self, agent: &AgentId, ticks: &[SampledTick], offset_ms: i64) -> usize {
        let Some(feeds) = self.0.get_mut(agent) else { return 0 };
        ticks.iter().take_while(|tick| feeds.take_quiet(tick, offset_ms)).count()
    }

    /// What was changed.
    pub(crate) fn into_changes(self) -> Changes<AgentId, AgentFeeds> {
        self.0.into_changes()
    }
}
