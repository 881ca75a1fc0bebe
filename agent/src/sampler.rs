//! Asks the checks that are due and puts what they say into the open batch.

use crate::batch::Batcher;
use crate::check::{Check, Instant};
use crate::events::Events;
use signalbox_proto::samples::{AgentEventKind, CheckInfo};
use signalbox_proto::units::Millis;
use std::error::Error;

/// A check and how often it looks.
pub(crate) struct Slot {
    pub(crate) check: Box<dyn Check>,
    pub(crate) interval: Millis,
    /// What it failed with last time; told once per change.
    failing: Option<String>,
}

impl Slot {
    /// A check that did not look yet.
    pub(crate) fn new(check: Box<dyn Check>, interval: Millis) -> Slot {
        Slot { check, interval, failing: None }
    }
}

/// All checks of the agent.
pub(crate) struct Sampler {
    pub(crate) slots: Vec<Slot>,
    values: Vec<f64>,
    n_errors: u64,
}

impl Sampler {
    /// Of these checks.
    pub(crate) fn new(slots: Vec<Slot>) -> Sampler {
        Sampler { slots, values: Vec::new(), n_errors: 0 }
    }

    /// Other checks.
    pub(crate) fn replace(&mut self, slots: Vec<Slot>) {
        self.slots = slots;
    }

    /// Looks that gave nothing since the process began.
    pub(crate) fn n_errors(&self) -> u64 {
        self.n_errors
    }

    /// Asks the checks at the given indexes. One that fails is told and left out.
    pub(crate) fn sample(&mut self, due: &[usize], at: Instant, batcher: &mut Batcher, events: &mut Events) {
        for &index in due {
            let Slot { check, interval, failing } = &mut self.slots[index];
            let asked = check.sample(at, &mut self.values).map_err(|error| chain(&error));
            let said = asked.and_then(|()| {
                batcher
                    .row(check.name(), *interval, check.layout(), at.wall, &self.values)
                    .map_err(|error| chain(&error))
            });
            check.take_result().into_iter().for_each(|result| batcher.result(result));
            let error = said.err();
            self.n_errors += u64::from(error.is_some());
            if let Some(error) = &error
                && failing.as_ref() != Some(error)
            {
                tracing::warn!(check = check.name(), error, "check failed");
                let kind = AgentEventKind::CheckFailed { check: check.name().to_owned(), error: error.clone() };
                events.add(at.wall, kind);
            }
            *failing = error;
        }
    }

    /// The checks by name and interval, for Hello.
    pub(crate) fn infos(&self) -> Vec<CheckInfo> {
        let info = |slot: &Slot| CheckInfo { name: slot.check.name().to_owned(), interval: slot.interval };
        self.slots.iter().map(info).collect()
    }
}

/// An error with its sources, `: ` between them.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
