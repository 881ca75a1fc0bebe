//! What systemd is told: ready, alive, stopping. Without systemd nothing happens.

use sd_notify::NotifyState;

/// The service manager, if there is one.
#[derive(Debug)]
pub(crate) struct Supervisor {
    /// It ends a service that does not say in time that it is alive.
    watches: bool,
}

impl Supervisor {
    /// Says that the agent is up.
    pub(crate) fn ready() -> Supervisor {
        tell(NotifyState::Ready);
        Supervisor { watches: sd_notify::watchdog_enabled().is_some() }
    }

    /// Says that the agent's loop turns.
    pub(crate) fn alive(&self) {
        if self.watches {
            tell(NotifyState::Watchdog);
        }
    }

    /// Says that the stop is meant.
    pub(crate) fn stopping(&self) {
        tell(NotifyState::Stopping);
    }
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "word to the service manager failed");
    }
}
