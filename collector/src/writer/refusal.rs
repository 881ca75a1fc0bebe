//! Turns that the store refuses: nothing changes, everybody is told, and the store
//! is opened again once there is space.

use super::intake::Intake;
use super::stream::{Fault, Throttle};
use super::{Outcome, Owed, Turn, Writer, inbox, restore};
use crate::shared::Problem;
use crate::store::StoreError;
use signalbox_proto::units::{Millis, UnixMillis};

/// How long an agent is asked to wait while the disk is low or full.
pub(super) const PAUSE: Millis = Millis::from_secs(5);
/// Between two attempts to open a store that had no space.
const REOPEN_EVERY: Millis = Millis::from_secs(1);

impl Writer {
    /// The store refused the turn. The engine has not adopted it; lanes, marks and
    /// series ran ahead and are read back.
    pub(super) fn refuse(&mut self, intake: Intake) -> Outcome {
        tracing::error!("the disk is full: a turn was refused and nothing of it kept, agents will send it again");
        metrics::counter!("signalbox_turns_refused_total").increment(1);
        self.is_refused = true;
        // Whatever the turn said is lost, and agents' words stay unheard meanwhile:
        // their silence must not count against them.
        self.must_start = true;
        self.shared.set_throttled(true);
        // Lanes ran ahead of the disk; readers see committed samples only.
        self.shared.catalogue_mut().lanes.clear();
        self.sieve.forget_latest();
        let text = "the disk is full: nothing is ingested until there is space again";
        self.shared.set_problem(Problem::StoreFull, Some(text.to_owned()));
        let fault = Fault::Refused(text.to_owned());
        for entry in self.agents.iter_mut() {
            if let Some(standing) = entry.standing.take() {
                standing.stream.end(fault.clone());
            }
        }
        // Dropped replies tell those who wait that nothing was done.
        drop(intake);
        Outcome::Refused
    }

    /// While the store is not open: agents are told to wait, others that nothing was done.
    pub(super) fn refuse_unseen(&mut self, turn: Turn) -> Outcome {
        let mut outcome = Outcome::Refused;
        for queued in turn.messages {
            match queued.message {
                inbox::Message::Batch { stream, .. } => {
                    stream.throttle(Throttle { pause: PAUSE, reason: "the disk is full".to_owned() });
                    stream.end(Fault::Refused("the disk is full".to_owned()));
                }
                inbox::Message::Stop => outcome = Outcome::Stop,
                _ => {}
            }
        }
        outcome
    }

    /// Tries to open the store again and to read back what ran ahead of it.
    pub(super) fn reopened(&mut self, at: UnixMillis) -> Result<bool, StoreError> {
        if at.since(self.reopen_tried) < REOPEN_EVERY {
            return Ok(false);
        }
        self.reopen_tried = at;
        match self.shared.store().reopen() {
            Ok(()) => {}
            Err(StoreError::Full { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        let restored = restore::tables(&self.shared, self.series_max, at)?;
        if restored.turn != self.turn {
            let why = format!("turn {} was decided last, the store holds turn {}", self.turn, restored.turn);
            return Err(StoreError::Failed { what: "open the store again".to_owned(), why });
        }
        self.agents = restored.agents;
        self.retirement.undo();
        self.is_refused = false;
        self.must_announce = true;
        // Words of notifiers may have been lost: notices without an answer are
        // offered again, under their keys.
        self.owed = Owed::All;
        self.shared.set_throttled(false);
        self.shared.set_problem(Problem::StoreFull, None);
        tracing::info!("there is space again: the store is open and ingest goes on");
        Ok(true)
    }
}
