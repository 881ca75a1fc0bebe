//! What happened to the agent and was not told yet.

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
    /// Notes an event.
    pub(crate) fn add(&mut self, time: UnixMillis, kind: AgentEventKind) {
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

#[cfg(test)]
mod tests {
    use super::*;

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
