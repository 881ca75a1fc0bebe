//! Samples, layouts and silence of checks.
//!
//! A check's tick proves that all series of its layout were sampled; only values
//! that left their quiet band are listed. So the cost of a quiet tick is one
//! look-up, and a row is kept only now and then.

use crate::due::DueKey;
use crate::event::{SampledTick, SeriesId};
use crate::rules::fingerprint;
use crate::state::{Feed, FeedKey, Known, TrackKey, Tracked};
use crate::track::{Track, stale_at};
use crate::watermarks::FEED_ROW_EVERY;
use crate::work::Work;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::{Millis, UnixMillis};
use std::sync::Arc;

/// After an agent came back, its checks have this long to sample before silence counts.
pub(crate) const RETURN_GRACE: Millis = Millis::from_secs(30);
/// While an agent's own verdict is awaited, its feeds look again after this long.
const VERDICT_WAIT: Millis = Millis::from_secs(10);

impl Work<'_> {
    /// Takes the ticks of one batch.
    pub(crate) fn samples(&mut self, agent: &AgentId, live: bool, ticks: &[SampledTick]) {
        self.agent_lives(agent);
        let mut rest = ticks;
        while let Some((tick, after)) = rest.split_first() {
            let n_quiet = if live { self.quiet_ticks(agent, rest) } else { 0 };
            if n_quiet > 0 {
                rest = &rest[n_quiet..];
                continue;
            }
            let key = FeedKey { agent: agent.clone(), check: Arc::clone(&tick.check) };
            if live {
                self.live_tick(key, tick);
            } else {
                self.late_tick(&key, tick);
            }
            rest = after;
        }
    }

    /// Takes ticks that only prove that a check sampled.
    fn quiet_ticks(&mut self, id: &AgentId, ticks: &[SampledTick]) -> usize {
        let Some(agent) = self.agents.get(id) else { return 0 };
        if !agent.failing_checks.is_empty() {
            // A tick may be the first word of a check that failed.
            return 0;
        }
        let offset_ms = agent.offset_ms;
        self.feeds.take_quiet(id, ticks, offset_ms)
    }

    fn live_tick(&mut self, key: FeedKey, tick: &SampledTick) {
        if self.feeds.get(&key).is_none() {
            let interval = self.declared_interval(&key);
            self.feeds.insert(key.clone(), Feed { interval, ..Feed::default() });
        }
        let offset_ms = self.agents.get(&key.agent).map_or(0, |agent| agent.offset_ms);
        let Some(feed) = self.feeds.get_mut(&key) else { return };
        let seen = feed.last;
        if tick.time <= seen {
            return self.late_tick(&key, tick);
        }
        feed.last = tick.time;
        let interval = feed.interval;
        let stale = stale_at(interval, tick.time).shifted(offset_ms);
        let rearm = feed.armed.is_none_or(|armed| armed > stale);
        if rearm {
            feed.armed = Some(stale);
        }
        if !tick.values.is_empty() || tick.time.since(feed.saved) >= FEED_ROW_EVERY {
            feed.saved = tick.time;
            self.kept_feeds.insert(key.clone());
        }
        if rearm {
            self.due.set(DueKey::Feed(key.clone()), Some(stale));
        }
        self.check_speaks(&key);
        if seen > UnixMillis::MIN && tick.time > stale_at(interval, seen) {
            self.end_silence(&key, interval, seen, tick);
        }
        for (series, value) in &tick.values {
            self.judge(&key, *series, interval, seen, tick.time, *value);
        }
    }

    /// The first tick after a silence concerns the quiet series too: their tracks
    /// must know of the gap, in case its samples still arrive. Where in its band a
    /// value lies changes nothing, so the last judged one stands for it.
    fn end_silence(&mut self, key: &FeedKey, interval: Millis, seen: UnixMillis, tick: &SampledTick) {
        let series = self.feeds.get(key).map(|feed| Arc::clone(&feed.series)).unwrap_or_default();
        for id in series.iter().filter(|id| tick.values.iter().all(|(listed, _)| listed != *id)) {
            let tracks = self.track_keys(*id);
            let value = tracks.iter().find_map(|key| self.tracks.get(key)?.track.value());
            if let Some(value) = value {
                self.judge(key, *id, interval, seen, tick.time, value);
            }
        }
        self.kept_feeds.insert(key.clone());
    }

    /// A sample behind the live lane: only over and done episodes can come of it.
    fn late_tick(&mut self, key: &FeedKey, tick: &SampledTick) {
        let interval = self.feeds.get(key).map_or(Millis::from_secs(1), |feed| feed.interval);
        let rules = Arc::clone(&self.rules);
        for (series, value) in &tick.values {
            let Some(known) = self.series.get(series).cloned() else { continue };
            for used in known.uses.iter() {
                let key = TrackKey { series: *series, rule: Arc::clone(&used.id) };
                let Some(tracked) = self.tracks.get_mut(&key) else { continue };
                let mut out = Vec::new();
                tracked.track.backfill(rules.judgement(used), interval, tick.time, *value, &mut out);
                self.changes(&key, &known, used, out);
            }
        }
    }

    fn judge(
        &mut self,
        feed: &FeedKey,
        series: SeriesId,
        interval: Millis,
        seen: UnixMillis,
        at: UnixMillis,
        value: f64,
    ) {
        let Some(known) = self.series.get(&series).cloned() else { return };
        let rules = Arc::clone(&self.rules);
        let mut earliest: Option<UnixMillis> = None;
        for used in known.uses.iter() {
            let key = TrackKey { series, rule: Arc::clone(&used.id) };
            let Some(tracked) = self.tracks.get_mut(&key) else { continue };
            let how = rules.judgement(used);
            let mut out = Vec::new();
            tracked.gone = false;
            tracked.track.sample(how, interval, seen, at, value, &mut out);
            earliest = earliest.into_iter().chain(tracked.track.due(how, interval, at)).min();
            self.changes(&key, &known, used, out);
        }
        if let Some(due) = earliest {
            self.arm_feed(feed, due);
        }
    }

    /// Makes sure that a feed is looked at by `due`, agent's clock.
    fn arm_feed(&mut self, key: &FeedKey, due: UnixMillis) {
        let offset_ms = self.agents.get(&key.agent).map_or(0, |agent| agent.offset_ms);
        let due = due.shifted(offset_ms);
        let Some(feed) = self.feeds.get(key) else { return };
        if feed.armed.is_some_and(|armed| armed <= due) {
            return;
        }
        self.set_feed_due(key, Some(due));
    }

    fn arm_feed_now(&mut self, key: &FeedKey) {
        let now = self.now;
        let Some(feed) = self.feeds.get(key) else { return };
        if feed.last > UnixMillis::MIN && feed.armed.is_none_or(|armed| armed > now) {
            self.set_feed_due(key, Some(now));
        }
    }

    fn set_feed_due(&mut self, key: &FeedKey, due: Option<UnixMillis>) {
        if let Some(feed) = self.feeds.get_mut(key) {
            feed.armed = due;
        }
        self.due.set(DueKey::Feed(key.clone()), due);
    }

    /// A feed may have fallen silent, or a track's flapping may be over.
    pub(crate) fn feed_due(&mut self, key: &FeedKey) {
        let Some(agent) = self.agents.get(&key.agent) else { return };
        if agent.is_lost() {
            // Paused: armed again when the agent is back.
            return self.set_feed_due(key, None);
        }
        let (offset_ms, up_since) = (agent.offset_ms, agent.up_since);
        let deaf_until = self.deaf_until();
        let waits = self.misses_heartbeats(&key.agent) || self.now < deaf_until;
        if waits || self.now < up_since + RETURN_GRACE {
            let wait = (self.now + VERDICT_WAIT).max(up_since + RETURN_GRACE).max(deaf_until);
            return self.set_feed_due(key, Some(wait));
        }
        let Some(feed) = self.feeds.get(key).cloned() else { return };
        let now = self.now.shifted(offset_ms.saturating_neg());
        let mut next: Option<UnixMillis> = None;
        for series in feed.series.iter() {
            let due = self.advance(*series, &feed, now);
            next = next.into_iter().chain(due).min();
        }
        let stale = stale_at(feed.interval, feed.last);
        let next = next.into_iter().chain((stale > now).then_some(stale)).min();
        self.set_feed_due(key, next.map(|due| due.shifted(offset_ms)));
    }

    /// Lets time pass for the tracks of a series; the next deadline after `now`.
    fn advance(&mut self, series: SeriesId, feed: &Feed, now: UnixMillis) -> Option<UnixMillis> {
        let known = self.series.get(&series)?.clone();
        let rules = Arc::clone(&self.rules);
        let mut next: Option<UnixMillis> = None;
        for used in known.uses.iter() {
            let key = TrackKey { series, rule: Arc::clone(&used.id) };
            let how = rules.judgement(used);
            let Some(tracked) = self.tracks.get(&key) else { continue };
            let mut due = tracked.track.due(how, feed.interval, feed.last);
            if due.is_some_and(|due| due <= now) {
                let Some(tracked) = self.tracks.get_mut(&key) else { continue };
                let mut out = Vec::new();
                tracked.track.advance(how, feed.interval, feed.last, now, &mut out);
                due = tracked.track.due(how, feed.interval, feed.last).filter(|due| *due > now);
                self.changes(&key, &known, used, out);
            }
            next = next.into_iter().chain(due).min();
        }
        next
    }

    /// After a return, silence counts only once the checks had time to sample.
    pub(crate) fn arm_feeds_of(&mut self, agent: &AgentId) {
        let due = self.now + RETURN_GRACE;
        for key in self.feeds.of(agent) {
            self.set_feed_due(&key, Some(due));
        }
    }

    /// The series that a check samples from now on.
    pub(crate) fn check_layout(
        &mut self,
        agent: &AgentId,
        check: &Arc<str>,
        interval: Millis,
        series: &Arc<[SeriesId]>,
    ) {
        let key = FeedKey { agent: agent.clone(), check: Arc::clone(check) };
        let old = self.feeds.get(&key).cloned().unwrap_or_default();
        for id in series.iter() {
            self.feed_of.insert(*id, key.clone());
        }
        for id in old.series.iter().filter(|id| !series.contains(id)) {
            if self.feed_of.get(id) == Some(&key) {
                self.feed_of.remove(id);
                self.series_gone(*id, "its agent does not sample it any more");
            }
        }
        if old.series != *series || old.interval != interval || self.feeds.get(&key).is_none() {
            self.feeds.insert(key.clone(), Feed { interval, series: Arc::clone(series), ..old });
            self.arm_feed_now(&key);
            self.kept_feeds.insert(key);
        }
    }

    /// A series that rules in force select.
    pub(crate) fn series_known(&mut self, agent: &AgentId, series: SeriesId, labels: &Arc<Labels>) {
        let uses = self.rules.uses(labels);
        self.match_series(series, Known { agent: agent.clone(), labels: Arc::clone(labels), uses });
    }

    /// Gives a series the tracks that the rules in force ask for, and no others.
    pub(crate) fn match_series(&mut self, series: SeriesId, known: Known) {
        let rules = Arc::clone(&self.rules);
        for key in self.track_keys(series) {
            if known.uses.iter().all(|used| used.id != key.rule) {
                self.track_removed(&key, "rule removed");
            }
        }
        for used in known.uses.iter() {
            let key = TrackKey { series, rule: Arc::clone(&used.id) };
            let judgement = fingerprint(rules.judgement(used));
            match self.tracks.get(&key).map(|tracked| tracked.judgement) {
                Some(same) if same == judgement => {}
                Some(_) => {
                    if let Some(tracked) = self.tracks.get_mut(&key) {
                        tracked.judgement = judgement;
                        tracked.track.rejudge(rules.judgement(used));
                    }
                }
                None => {
                    let agent = known.agent.clone();
                    let track = Track::new();
                    self.tracks.insert(key, Tracked { agent, track, judgement, incident: None, gone: false });
                }
            }
        }
        if known.uses.is_empty() {
            self.series.remove(&series);
        } else {
            self.series.insert(series, known);
        }
        if let Some(feed) = self.feed_of.get(&series).cloned() {
            // What the rules want of its silence is found out at the next look.
            self.arm_feed_now(&feed);
        }
    }

    /// Hides the items of a series; what they showed is forgotten.
    pub(crate) fn series_gone(&mut self, series: SeriesId, why: &str) {
        for key in self.track_keys(series) {
            let Some(tracked) = self.tracks.get_mut(&key) else { continue };
            tracked.gone = true;
            tracked.track = Track::new();
            if let Some(number) = tracked.incident {
                self.close_by_itself(number, why);
            }
        }
    }

    /// Forgets a series whose items are hidden; its incidents ended when it went.
    pub(crate) fn series_forgotten(&mut self, series: SeriesId) {
        for key in self.track_keys(series) {
            self.tracks.remove(&key);
        }
        self.series.remove(&series);
        self.feed_of.remove(&series);
    }

    /// Ends a track whose rule does not judge its series any more.
    pub(crate) fn track_removed(&mut self, key: &TrackKey, why: &str) {
        let incident = self.tracks.get(key).and_then(|tracked| tracked.incident);
        if let Some(number) = incident {
            self.close_by_itself(number, why);
        }
        self.tracks.remove(key);
    }

    fn declared_interval(&self, key: &FeedKey) -> Millis {
        let checks = self.agents.get(&key.agent).map(|agent| agent.checks.as_slice()).unwrap_or_default();
        checks.iter().find(|check| *check.name == *key.check).map_or(Millis::from_secs(1), |check| check.interval)
    }
}
