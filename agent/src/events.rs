//! What happened to the agent and was not told yet.

use signalbox_proto::limits::{EVIDENCE_MAX_BYTES, LABEL_VALUE_MAX_BYTES};
use signalbox_proto::samples::{AgentEvent, AgentEventKind};
use signalbox_proto::units::UnixMillis;
use std::collections::VecDeque;

/// Events that wait at most; the oldest goes first. Losses of samples do not wait
/// here but in the spool, one line for each reason, so they cannot be crowded out.
const EVENTS_MAX: usize = 256;

/// A bounded queue of events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    waiting: VecDeque<AgentEvent>,
    n_dropped: u64,
}

impl Events {
    /// Notes an event. Its texts are cut to what a collector takes.
    pub(crate) fn add(&mut self, time: UnixMillis, mut kind: AgentEventKind) {
        bound(&mut kind);
        if self.waiting.len() == EVENTS_MAX {
            self.waiting.pop_front();
            self.n_dropped += 1;
        }
        self.waiting.push_back(AgentEvent { time, kind });
    }

    /// Takes all that wait.
    pub(crate) fn take(&mut self) -> Vec<AgentEvent> {
        self.waiting.drain(..).collect()
    }

    /// True when nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Events lost since the process began.
    pub(crate) fn n_dropped(&self) -> u64 {
        self.n_dropped
    }
}

/// Cuts what is over the wire's limits: a collector refuses the whole batch for it.
fn bound(kind: &mut AgentEventKind) {
    match kind {
        AgentEventKind::Started { version: text }
        | AgentEventKind::SamplesDropped { reason: text, .. }
        | AgentEventKind::Gap { reason: text, .. } => cut(text, LABEL_VALUE_MAX_BYTES),
        AgentEventKind::ConfigReloaded { error } => {
            if let Some(error) = error {
                cut(error, EVIDENCE_MAX_BYTES);
            }
        }
        AgentEventKind::CheckFailed { check, error } => {
            cut(check, LABEL_VALUE_MAX_BYTES);
            cut(error, EVIDENCE_MAX_BYTES);
        }
        AgentEventKind::ClockStepped { .. } => {}
    }
}

/// Cuts a text to at most so many bytes, between two characters.
fn cut(text: &mut String, max_bytes: usize) {
    text.truncate(text.floor_char_boundary(max_bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_over_the_limits_of_the_wire_are_cut_between_characters() {
        let mut events = Events::default();
        let kind = AgentEventKind::CheckFailed { check: "ü".repeat(600), error: format!("x{}", "ü".repeat(4000)) };
        events.add(UnixMillis(0), kind);
        events.add(UnixMillis(0), AgentEventKind::ConfigReloaded { error: Some("y".repeat(5000)) });
        let taken = events.take();
        let AgentEventKind::CheckFailed { check, error } = &taken[0].kind else { panic!("{taken:?}") };
        assert_eq!((check.len(), error.len()), (1024, 4095));
        assert_eq!(taken[1].kind, AgentEventKind::ConfigReloaded { error: Some("y".repeat(4096)) });
    }

    #[test]
    fn the_oldest_event_goes_when_the_queue_is_full() {
        let mut events = Events::default();
        for step_ms in 0..300 {
            events.add(UnixMillis(0), AgentEventKind::ClockStepped { step_ms });
        }
        assert_eq!(events.n_dropped(), 44);
        assert_eq!(events.take()[0].kind, AgentEventKind::ClockStepped { step_ms: 44 });
        assert!(events.is_empty());
    }
}
