//! A silence that data may still fill: the track as it stood when the silence
//! began, judged on by itself with the samples that arrive late.
//!
//! Only an episode that began *and* ended inside the silence is told: one that
//! was already open goes on in the live track, one that is still open is raised by
//! it.

use super::{Change, ChangeKind, Track};
use crate::rule::Judgement;
use serde::{Deserialize, Serialize};
use signalbox_proto::status::Level;
use signalbox_proto::units::{Millis, UnixMillis};

/// The track inside the silence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Past {
    track: Track,
    /// Last tick before the silence.
    seen: UnixMillis,
    /// First live sample after it; none: everything is past.
    until: Option<UnixMillis>,
    /// The episode that began inside: first symptom, raised, worst.
    episode: Option<(UnixMillis, UnixMillis, Level)>,
}

impl Past {
    /// Nothing is known from before the first live sample.
    pub(super) fn before(begun: Option<UnixMillis>) -> Past {
        Past { track: Track::new(), seen: UnixMillis::MIN, until: begun, episode: None }
    }

    /// Between the last sample before a gap and the first after it.
    pub(super) fn gap(track: Track, seen: UnixMillis, until: UnixMillis) -> Past {
        Past { track, seen, until: Some(until), episode: None }
    }

    /// One late sample, in the order of its epoch.
    pub(super) fn sample(
        &mut self,
        how: &Judgement,
        interval: Millis,
        at: UnixMillis,
        value: f64,
        out: &mut Vec<Change>,
    ) {
        if at <= self.seen || self.until.is_some_and(|until| at >= until) {
            return;
        }
        let mut changes = Vec::new();
        self.track.sample(how, interval, self.seen, at, value, &mut changes);
        // A gap inside the gap needs no past of its own.
        self.track.past = None;
        self.seen = at;
        for change in changes {
            if let ChangeKind::Level { from, to, first_symptom } = change.kind {
                self.level(change.at, from, to, first_symptom, out);
            }
        }
    }

    fn level(&mut self, at: UnixMillis, from: Level, to: Level, first_symptom: UnixMillis, out: &mut Vec<Change>) {
        if from == Level::Green {
            self.episode = Some((first_symptom, at, to));
        } else if to == Level::Green {
            if let Some((first_symptom, raised, worst)) = self.episode.take() {
                out.push(Change { at, kind: ChangeKind::LateEpisode { first_symptom, raised, worst } });
            }
        } else if let Some((_, _, worst)) = &mut self.episode {
            *worst = (*worst).max(to);
        }
    }
}
