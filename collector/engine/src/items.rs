//! All items of a board, by entity.
//!
//! There are tens of thousands of them and a board is drawn every second. So the
//! tables, which are sorted alike, are walked side by side, and what many items
//! share is looked up once: agent, feed, entity, the words of a rule.

use crate::entities::{Standing, standing};
use crate::event::SeriesId;
use crate::rollup::above;
use crate::snoozes::{Target, covers, in_force};
use crate::sop;
use crate::state::{Agent, FeedKey, Known, State, Tracked, Use};
use crate::words;
use signalbox_proto::api::{self, Item};
use signalbox_proto::metric::Unit;
use signalbox_proto::names::AgentId;
use signalbox_proto::status::{AgentState, Freshness, Level};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The latest value of a series, where it is known better than its last judged one.
pub(crate) type Latest<'l> = &'l dyn Fn(SeriesId) -> Option<f64>;

/// Items by entity, worst first.
pub(crate) fn items_by_entity(state: &State, at: UnixMillis, latest: Latest<'_>) -> BTreeMap<String, Vec<Item>> {
    let live: Vec<&api::Snooze> = state.snoozes.values().filter(|snooze| in_force(snooze, at)).collect();
    let mut gallery = Gallery::new(state, at);
    let mut tracks = state.tracks.iter().peekable();
    let mut feeds = state.feed_of.iter().peekable();
    for (series, known) in &state.series {
        while tracks.next_if(|(key, _)| key.series < *series).is_some() {}
        while feeds.next_if(|(id, _)| *id < series).is_some() {}
        let feed = feeds.peek().filter(|(id, _)| *id == series).map(|(_, key)| *key);
        let value = latest(*series);
        while let Some((key, tracked)) = tracks.next_if(|(key, _)| key.series == *series) {
            let used = known.uses.iter().find(|used| used.id == key.rule);
            let Some(used) = used.filter(|_| !tracked.gone) else { continue };
            gallery.hang(&live, known, used, tracked, (feed, value));
        }
    }
    gallery.into_items()
}

/// An entity and its items.
struct Group<'s> {
    entity: String,
    agent: Option<&'s Agent>,
    standing: Standing,
    items: Vec<Item>,
}

/// Items so far, and what the next one may share with them.
struct Gallery<'s> {
    state: &'s State,
    at: UnixMillis,
    groups: Vec<Group<'s>>,
    by_entity: BTreeMap<String, usize>,
    /// Agent, watch and group of the last item.
    latest: Option<(&'s AgentId, Option<&'s str>, usize)>,
    /// Interval and watermark of the last item's feed.
    feed: Option<(&'s FeedKey, (Millis, UnixMillis))>,
    /// The words of [`words::limits`], by rule, override, level and unit.
    limits: BTreeMap<(usize, Option<usize>, Level, Unit), String>,
}

impl<'s> Gallery<'s> {
    fn new(state: &'s State, at: UnixMillis) -> Gallery<'s> {
        let (groups, by_entity, limits) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Gallery { state, at, groups, by_entity, latest: None, feed: None, limits }
    }

    fn hang(
        &mut self,
        live: &[&api::Snooze],
        known: &'s Known,
        used: &Use,
        tracked: &Tracked,
        (feed, latest): (Option<&'s FeedKey>, Option<f64>),
    ) {
        let group = self.group(known);
        let seen = self.seen(feed);
        let mut item = self.item(&self.groups[group], known, used, tracked, seen);
        item.value = latest.filter(|value| value.is_finite()).or(item.value);
        let level = tracked.track.held();
        let how = self.state.rules.judgement(used);
        let unit = words::unit_of(&known.labels);
        let limits = self.limits.entry((used.rule, used.over, level, unit));
        let limits = limits.or_insert_with(|| words::limits(how, level, unit));
        item.why = words::why_within(limits, (item.value, unit), &tracked.track, how, item.freshness, seen.1);
        item.why.extend(closed_while_bad(self.state, tracked));
        if !live.is_empty() {
            item.snoozes = self.snoozes_on(live, &item, known);
        }
        self.groups[group].items.push(item);
    }

    /// The group of a series' entity.
    fn group(&mut self, known: &'s Known) -> usize {
        let watch = words::watch_of(&known.labels);
        if let Some((agent, latest, group)) = self.latest
            && *agent == known.agent
            && latest == watch
        {
            return group;
        }
        let entity = words::entity_of(&known.agent, &known.labels);
        // Entities have about as many items as their neighbours.
        let n_items = self.groups.last().map_or(0, |group| group.items.len());
        let group = *self.by_entity.entry(entity).or_insert_with_key(|entity| {
            let agent = self.state.agents.get(&known.agent);
            let standing = standing(&self.state.rules, agent, &known.agent, entity);
            self.groups.push(Group { entity: entity.clone(), agent, standing, items: Vec::with_capacity(n_items) });
            self.groups.len() - 1
        });
        self.latest = Some((&known.agent, watch, group));
        group
    }

    /// Interval and watermark of a feed.
    fn seen(&mut self, key: Option<&'s FeedKey>) -> (Millis, UnixMillis) {
        let never = (Millis::from_secs(1), UnixMillis::MIN);
        let Some(key) = key else { return never };
        let same = |other: &FeedKey| Arc::ptr_eq(&other.check, &key.check) && other.agent == key.agent;
        if let Some((_, seen)) = self.feed.filter(|(other, _)| same(other)) {
            return seen;
        }
        let feed = self.state.feeds.get(&key.agent).and_then(|feeds| feeds.get(&key.check));
        let seen = feed.map_or(never, |feed| (feed.interval, feed.last));
        self.feed = Some((key, seen));
        seen
    }

    /// An item; its `why` and its snoozes are told by others.
    fn item(
        &self,
        group: &Group<'_>,
        known: &Known,
        used: &Use,
        tracked: &Tracked,
        (interval, seen): (Millis, UnixMillis),
    ) -> Item {
        let (state, track) = (self.state, &tracked.track);
        let (rule, how) = (state.rules.rule(used), state.rules.judgement(used));
        let now = self.at.shifted(group.agent.map_or(0, |agent| agent.offset_ms).saturating_neg());
        let freshness = freshness(group.agent, track.freshness(interval, seen, now));
        let level = track.held();
        let is_open = |number: &u64| state.incidents.get(number).is_some_and(crate::state::Incident::is_open);
        Item {
            id: words::item_id(&group.entity, rule, &known.labels),
            entity: group.entity.clone(),
            rule: rule.id.clone(),
            metric: known.labels.metric().unwrap_or("").to_owned(),
            labels: words::plain_labels(&known.labels),
            level: words::shown(how, level),
            freshness,
            value: tracked.value(),
            value_at: seen,
            since: track.since(),
            why: String::new(),
            pending: track.pending(how, freshness.is_grey()),
            flapping: track.is_flapping(),
            amber_hidden: words::shown(how, level) != level,
            incident: tracked.incident.filter(is_open),
            snoozes: Vec::new(),
            layer: group.standing.layer.unwrap_or(rule.layer),
            owner: group.standing.owner_under(rule),
            sop: sop::of_item(rule, &group.entity, &known.labels),
        }
    }

    fn snoozes_on(&self, live: &[&api::Snooze], item: &Item, known: &Known) -> Vec<u64> {
        let above = above(&self.state.rules, |id| self.state.agents.get(id), &item.entity);
        let target = Target { item: &item.id, entity: &item.entity, above: &above, labels: Some(&known.labels) };
        live.iter().filter(|snooze| covers(snooze, &target)).map(|snooze| snooze.id).collect()
    }

    fn into_items(self) -> BTreeMap<String, Vec<Item>> {
        let sorted = |group: Group<'_>| {
            let mut items = group.items;
            items.sort_unstable_by(|a, b| rank(b).cmp(&rank(a)).then_with(|| a.id.cmp(&b.id)));
            (group.entity, items)
        };
        self.groups.into_iter().map(sorted).collect()
    }
}

/// Who took a level that is still bad off everybody's hands: no other incident comes
/// before it was green.
fn closed_while_bad(state: &State, tracked: &Tracked) -> Option<String> {
    if tracked.track.held() == Level::Green {
        return None;
    }
    let incident = state.incidents.get(&tracked.incident?)?;
    let symptom = tracked.track.first_symptom()?;
    if !crate::incidents::same_episode(incident, symptom) {
        return None;
    }
    let label = crate::commands::label_word(incident.view.label?);
    let closed = incident.view.timeline.iter().rev().find(|entry| entry.kind == "closed");
    let author = closed.map_or("somebody", |entry| entry.author.as_str());
    Some(format!(", {} was closed as {label} by {author}", incident.view.id))
}

fn rank(item: &Item) -> (bool, Level) {
    (!item.freshness.is_grey(), item.level)
}

/// The agent's verdict comes first: lost makes stale, missing waits.
fn freshness(agent: Option<&Agent>, own: Freshness) -> Freshness {
    match agent.map(|agent| agent.state) {
        _ if own == Freshness::Unknown => own,
        Some(AgentState::Missing) if own == Freshness::Stale => Freshness::Late,
        Some(AgentState::Up | AgentState::Missing) => own,
        _ => Freshness::Stale,
    }
}
