//! Handlers of `/api/signalbox/v1`: fetch, check, answer.
//!
//! - [`board`]: present state. [`acts`]: what operators do. [`history`]: series and
//!   proofs. [`config`]: rules and channels.
//! - [`own`]: who asks, log in and out. [`users`]: people and their tokens.
//!   [`joining`]: agents' identities. [`audit`]: the record.

pub(crate) mod acts;
pub(crate) mod audit;
pub(crate) mod board;
pub(crate) mod config;
pub(crate) mod history;
pub(crate) mod joining;
pub(crate) mod own;
pub(crate) mod users;
