//! Handlers of `/api/signalbox/v1`, by what they touch.
//!
//! - [`board`]: present state, from the board.
//! - [`history`]: series and proofs, from the store.
//! - [`acts`]: what operators do, through the writer.
//! - [`config`]: rules and channels.

pub(crate) mod acts;
pub(crate) mod board;
pub(crate) mod config;
pub(crate) mod history;
