//! What comes of an event.

use crate::principal::Denied;
use signalbox_proto::api::Role;
use signalbox_proto::join::Refusal;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::UnixMillis;
use thiserror::Error;

/// The answer to one event, in the order in which events came.
pub type Answer = Result<Granted, Refused>;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Granted {
    /// In words.
    Done(String),
    /// A secret was made that can be used until then.
    Made {
        /// In words.
        done: String,
        /// Until when.
        expires: UnixMillis,
    },
    /// A key is bound to an agent: its certificate may be issued.
    Identity {
        /// Whose key.
        agent: AgentId,
        /// Labels that it may declare.
        labels: Labels,
    },
    /// The request waits for an admin.
    Waiting {
        /// Until when.
        expires: UnixMillis,
    },
    /// Somebody is in.
    Session {
        /// Who.
        user: String,
        /// Role.
        role: Role,
        /// True when the user has no password and must set one now.
        must_set_password: bool,
        /// The latest end of it.
        expires: UnixMillis,
    },
    /// Nothing had to be done.
    Nothing,
}

/// Why it was not done. The text is for the audit and for whoever may know; those
/// who proved nothing are told less by the shell.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    /// There is no such thing.
    #[error("there is no {0}")]
    NotFound(String),
    /// Its present state does not allow this.
    #[error("{0}")]
    Conflict(String),
    /// A field is malformed.
    #[error("{0}")]
    Invalid(String),
    /// A table is full.
    #[error("{0}")]
    Limit(String),
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// An agent gets no identity.
    #[error("{why}")]
    Join {
        /// What the agent is told.
        refusal: Refusal,
        /// What the audit says.
        why: String,
    },
    /// A login failed; whoever tried learns no more than that.
    #[error("login refused: {0}")]
    Login(String),
}
