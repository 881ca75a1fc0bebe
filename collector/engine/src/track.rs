//! One rule instance: what it shows, which clocks run, whether it flaps.
//!
//! Levels move by samples alone: a sample proves that a level stayed long enough.
//! Time without samples ([`Track::advance`]) only makes an item stale, lets
//! `on_missing` speak and ends flapping. So no cut of time into ticks can change a
//! level, and replay needs nothing but the samples.
//!
//! ```text
//!            instant c > held h                    for raise_for[target]
//!   [h] ───────────────────────────▶ [pending up] ───────────────────────▶ [h = target]
//!    ▲ ◀── c falls under the target ──────┘
//!    │           c < h                              for clear_for[h]
//!   [h] ───────────────────────────▶ [pending down] ─────────────────────▶ [h = c]
//!    ▲ ◀── c >= h again ───────────────────┘
//! ```
//!
//! Every level between h and c has its own clock. While an item is stale all
//! clocks pause; after the gap limit the clocks up are dropped, those down are
//! kept: nothing clears by silence.

use crate::event::Band;
use crate::judge;
use crate::rule::{Judgement, OnMissing};
use serde::{Deserialize, Serialize};
use signalbox_proto::api;
use signalbox_proto::status::{Freshness, Level};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::VecDeque;

mod flapping;
mod past;

use flapping::Flapping;
use past::Past;

/// An item is stale at the earliest after this long.
const STALE_MIN: Millis = Millis::from_secs(30);
/// A clock up survives a gap at least this long.
const GAP_MIN: Millis = Millis::from_mins(2);

/// What a track did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// When, event time.
    pub at: UnixMillis,
    /// What.
    pub kind: ChangeKind,
}

/// The kinds of [`Change`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// The held level moved.
    Level {
        /// From here.
        from: Level,
        /// To here.
        to: Level,
        /// First bad sample of the episode.
        first_symptom: UnixMillis,
    },
    /// Silence lasted; `on_missing` moved the held level.
    NoData {
        /// From here.
        from: Level,
        /// To here.
        to: Level,
    },
    /// Too many changes to or from green: the level is pinned at its worst.
    FlappingBegan,
    /// A whole window passed without a change.
    FlappingEnded,
    /// Back-filled data held an episode that was over before anybody could know.
    LateEpisode {
        /// First bad sample.
        first_symptom: UnixMillis,
        /// When the level would have been held.
        raised: UnixMillis,
        /// Its worst level.
        worst: Level,
    },
}

/// The state of one (rule, series).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Track {
    /// h, before flapping pins it.
    settled: Level,
    /// Since when `held()` is what it is.
    since: UnixMillis,
    /// c, after the last judged sample.
    instant: Level,
    /// The last judged sample.
    last: Option<Judged>,
    /// The first sample ever.
    begun: Option<UnixMillis>,
    /// Levels of the last samples, newest last, at most n; empty while all are green.
    window: VecDeque<Level>,
    up_amber: Option<Waiting>,
    up_red: Option<Waiting>,
    down: Option<Waiting>,
    first_symptom: Option<UnixMillis>,
    /// The series went on with not-a-number: nobody knows since then.
    unknown_since: Option<UnixMillis>,
    /// `on_missing` has spoken for this silence.
    missing_told: bool,
    /// The rule changed: the next sample must be judged.
    must_look: bool,
    flapping: Flapping,
    past: Option<Box<Past>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Judged {
    at: UnixMillis,
    value: f64,
}

/// A clock: it began, and stood still for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Waiting {
    since: UnixMillis,
    paused: Millis,
}

impl Waiting {
    fn due(self, wait: Millis) -> UnixMillis {
        self.since + wait + self.paused
    }
}

/// When an item that was last seen at `seen` becomes stale.
pub fn stale_at(interval: Millis, seen: UnixMillis) -> UnixMillis {
    seen + interval.times(3).max(STALE_MIN)
}

impl Track {
    /// Never sampled.
    pub fn new() -> Track {
        Track::default()
    }

    /// Judges a sample of the live lane. `seen` is the time of the latest tick of
    /// its check before this one: quiet samples moved it. Samples at or before the
    /// last judged one are ignored (they are behind the watermark).
    pub fn sample(
        &mut self,
        how: &Judgement,
        interval: Millis,
        seen: UnixMillis,
        at: UnixMillis,
        value: f64,
        out: &mut Vec<Change>,
    ) {
        let Some(seen) = self.seen(seen) else {
            self.begun = Some(at);
            self.since = at;
            self.judge(how, at, value, out);
            return;
        };
        let behind = at <= seen && self.last.is_some_and(|last| at <= last.at);
        let still_unknown = value.is_nan() && self.unknown_since.is_some();
        if behind || still_unknown {
            return;
        }
        self.end_silence(interval, seen, at);
        self.judge(how, at, value, out);
    }

    /// Event time moved to `now` without a sample.
    pub fn advance(
        &mut self,
        how: &Judgement,
        interval: Millis,
        seen: UnixMillis,
        now: UnixMillis,
        out: &mut Vec<Change>,
    ) {
        let Some(seen) = self.seen(seen) else { return };
        self.settle_flapping(how, now, out);
        let silent_from = self.unknown_since.unwrap_or_else(|| stale_at(interval, seen));
        if self.missing_told || now < silent_from + how.no_data_for {
            return;
        }
        let means = match how.on_missing {
            OnMissing::Hold => return,
            OnMissing::Amber => self.settled.max(Level::Amber),
            OnMissing::Red => Level::Red,
            OnMissing::Ok => Level::Green,
        };
        self.missing_told = true;
        let from = self.held();
        if means > Level::Green {
            self.first_symptom.get_or_insert(silent_from);
        }
        self.settle(how, means, now);
        // Clocks start again with the first sample after the silence.
        (self.up_amber, self.up_red, self.down) = (None, None, None);
        if self.held() != from {
            self.since = now;
            out.push(Change { at: now, kind: ChangeKind::NoData { from, to: self.held() } });
        }
        self.forget_symptom();
    }

    /// The rule was edited: clocks and held level stay, the next sample is judged
    /// from the held level under the new thresholds.
    pub fn rejudge(&mut self, how: &Judgement) {
        self.instant = self.settled;
        self.must_look = true;
        let n = how.k_of_n.1 as usize;
        self.window.drain(..self.window.len().saturating_sub(n));
    }

    /// Judges a sample of an older epoch, behind the live lane: it fills the gap
    /// before the live samples and tells episodes that were over by then.
    pub fn backfill(&mut self, how: &Judgement, interval: Millis, at: UnixMillis, value: f64, out: &mut Vec<Change>) {
        let begun = self.begun;
        let past = self.past.get_or_insert_with(|| Box::new(Past::before(begun)));
        past.sample(how, interval, at, value, out);
    }

    /// The agent's wall clock stepped: everything that still runs moves with it.
    pub fn shift(&mut self, by_ms: i64) {
        for clock in [&mut self.up_amber, &mut self.up_red, &mut self.down].into_iter().flatten() {
            clock.since = clock.since.shifted(by_ms);
        }
        for instant in [&mut self.first_symptom, &mut self.unknown_since].into_iter().flatten() {
            *instant = instant.shifted(by_ms);
        }
        if let Some(last) = &mut self.last {
            last.at = last.at.shifted(by_ms);
        }
        self.since = self.since.shifted(by_ms);
        self.flapping.shift(by_ms);
    }

    /// Values for which no level and no clock can change now. It holds while the
    /// series goes on: whoever sieves lets the first sample after a silence through.
    pub fn band(&self, how: &Judgement) -> Band {
        let clocks = self.up_amber.is_some() || self.up_red.is_some() || self.down.is_some();
        let asks = self.must_look || self.missing_told || self.unknown_since.is_some();
        match self.last {
            Some(last) if !clocks && !asks && self.window.is_empty() && self.instant == self.settled => {
                judge::band(how, self.instant, last.value)
            }
            _ => Band::NONE,
        }
    }

    /// The earliest event time at which [`Track::advance`] can change something.
    pub fn due(&self, how: &Judgement, interval: Millis, seen: UnixMillis) -> Option<UnixMillis> {
        let seen = self.seen(seen)?;
        let silent_from = self.unknown_since.unwrap_or_else(|| stale_at(interval, seen));
        let speaks = !self.missing_told && how.on_missing != OnMissing::Hold;
        let missing = speaks.then(|| silent_from + how.no_data_for);
        missing.into_iter().chain(self.flapping.ends(how.flap_window)).min()
    }

    /// How old the facts are at `now`.
    pub fn freshness(&self, interval: Millis, seen: UnixMillis, now: UnixMillis) -> Freshness {
        let Some(seen) = self.seen(seen) else { return Freshness::Unknown };
        let jitter = Millis(interval.0 / 2);
        if self.unknown_since.is_some() || now > stale_at(interval, seen) {
            Freshness::Stale
        } else if now > seen + interval.times(2) + jitter {
            Freshness::Late
        } else {
            Freshness::Fresh
        }
    }

    /// The held level: what is shown and notified.
    pub fn held(&self) -> Level {
        self.flapping.pinned().unwrap_or(self.settled).max(self.settled)
    }

    /// Since when the level is held.
    pub fn since(&self) -> UnixMillis {
        self.since
    }

    /// The last judged value. Between events the series moved inside its band.
    pub fn value(&self) -> Option<f64> {
        self.last.map(|last| last.value)
    }

    /// First bad sample of the episode, or of what may become one.
    pub fn first_symptom(&self) -> Option<UnixMillis> {
        self.first_symptom
    }

    /// True while pinned.
    pub fn is_flapping(&self) -> bool {
        self.flapping.pinned().is_some()
    }

    /// The worst clock that runs; `paused` when the item is stale.
    pub fn pending(&self, how: &Judgement, paused: bool) -> Option<api::Pending> {
        let shown = |target, clock: Waiting, wait| api::Pending {
            target,
            since: clock.since,
            due: (!paused).then(|| clock.due(wait)),
        };
        self.up_red
            .map(|clock| shown(Level::Red, clock, how.raise_red))
            .or_else(|| self.up_amber.map(|clock| shown(Level::Amber, clock, how.raise_amber)))
            .or_else(|| self.down.map(|clock| shown(self.instant, clock, clear_for(how, self.settled))))
    }

    /// The latest instant at which the series is known to have been sampled.
    fn seen(&self, seen: UnixMillis) -> Option<UnixMillis> {
        self.last.map(|last| last.at.max(seen))
    }

    /// A sample ends a silence: clocks stood still, or are dropped, and what
    /// happened in between may still arrive.
    fn end_silence(&mut self, interval: Millis, seen: UnixMillis, at: UnixMillis) {
        let silent_from = self.unknown_since.unwrap_or_else(|| stale_at(interval, seen));
        if at <= silent_from {
            return;
        }
        let gap = at.since(silent_from);
        let state = Track { past: None, ..self.clone() };
        self.past = Some(Box::new(Past::gap(state, seen, at)));
        if gap > interval.times(5).max(GAP_MIN) {
            (self.up_amber, self.up_red) = (None, None);
        }
        for clock in [&mut self.up_amber, &mut self.up_red, &mut self.down].into_iter().flatten() {
            clock.paused = clock.paused + gap;
        }
    }

    fn judge(&mut self, how: &Judgement, at: UnixMillis, value: f64, out: &mut Vec<Change>) {
        self.must_look = false;
        if value.is_nan() {
            self.last.get_or_insert(Judged { at, value });
            self.unknown_since.get_or_insert(at);
            return;
        }
        self.last = Some(Judged { at, value });
        self.unknown_since = None;
        self.missing_told = false;
        self.instant = self.instant_after(how, value);
        if self.instant > Level::Green {
            self.first_symptom.get_or_insert(at);
        }
        let before = self.held();
        self.run_clocks(at);
        self.fire(how, at);
        let first_symptom = self.first_symptom.unwrap_or(at);
        let told = self.flapping.is_told();
        if self.held() != before {
            self.since = at;
            out.push(Change { at, kind: ChangeKind::Level { from: before, to: self.held(), first_symptom } });
        }
        if self.is_flapping() && !told {
            self.flapping.tell();
            out.push(Change { at, kind: ChangeKind::FlappingBegan });
        }
        self.settle_flapping(how, at, out);
        self.forget_symptom();
    }

    /// The level met by at least k of the last n samples.
    fn instant_after(&mut self, how: &Judgement, value: f64) -> Level {
        let level = judge::step(how, self.instant, value);
        let (k, n) = (how.k_of_n.0 as usize, how.k_of_n.1 as usize);
        if n <= 1 {
            return level;
        }
        self.window.push_back(level);
        self.window.drain(..self.window.len().saturating_sub(n));
        let met = |wanted| self.window.iter().filter(|&&level| level >= wanted).count() >= k;
        let instant = [Level::Red, Level::Amber].into_iter().find(|&level| met(level)).unwrap_or(Level::Green);
        if self.window.iter().all(|&level| level == Level::Green) {
            self.window.clear();
        }
        instant
    }

    fn run_clocks(&mut self, at: UnixMillis) {
        let (settled, instant) = (self.settled, self.instant);
        // With k-of-n a dip does not restart a clock while the window remembers bad samples.
        let forgets = self.window.is_empty();
        for (level, clock) in [(Level::Amber, &mut self.up_amber), (Level::Red, &mut self.up_red)] {
            if level <= settled || (instant < level && forgets) {
                *clock = None;
            } else if instant >= level {
                clock.get_or_insert(Waiting { since: at, paused: Millis::ZERO });
            }
        }
        if instant < settled {
            self.down.get_or_insert(Waiting { since: at, paused: Millis::ZERO });
        } else {
            self.down = None;
        }
    }

    fn fire(&mut self, how: &Judgement, at: UnixMillis) {
        let ripe = |clock: Option<Waiting>, wait| clock.is_some_and(|clock| at >= clock.due(wait));
        let red = self.instant >= Level::Red && ripe(self.up_red, how.raise_red);
        let amber = self.instant >= Level::Amber && ripe(self.up_amber, how.raise_amber);
        if red || amber {
            self.settle(how, if red { Level::Red } else { Level::Amber }, at);
        } else if ripe(self.down, clear_for(how, self.settled)) {
            self.settle(how, self.instant, at);
        }
    }

    fn settle(&mut self, how: &Judgement, to: Level, at: UnixMillis) {
        let from = std::mem::replace(&mut self.settled, to);
        if from == to {
            return;
        }
        self.flapping.changed(how, from, to, at);
        self.down = None;
        if to >= Level::Amber {
            self.up_amber = None;
        }
        if to == Level::Red {
            self.up_red = None;
        }
        if self.instant < to {
            self.down = Some(Waiting { since: at, paused: Millis::ZERO });
        }
    }

    fn settle_flapping(&mut self, how: &Judgement, now: UnixMillis, out: &mut Vec<Change>) {
        let before = self.held();
        if !self.flapping.settle(how, now) {
            return;
        }
        out.push(Change { at: now, kind: ChangeKind::FlappingEnded });
        if self.held() != before {
            self.since = now;
            let first_symptom = self.first_symptom.unwrap_or(now);
            out.push(Change { at: now, kind: ChangeKind::Level { from: before, to: self.held(), first_symptom } });
        }
        self.forget_symptom();
    }

    fn forget_symptom(&mut self) {
        if self.held() == Level::Green
            && self.instant == Level::Green
            && self.up_amber.is_none()
            && self.up_red.is_none()
        {
            self.first_symptom = None;
        }
    }
}

fn clear_for(how: &Judgement, held: Level) -> Millis {
    match held {
        Level::Green => Millis::ZERO,
        Level::Amber => how.clear_amber,
        Level::Red => how.clear_red,
    }
}

#[cfg(test)]
mod tests;
