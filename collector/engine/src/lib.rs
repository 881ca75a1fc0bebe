//! Every decision of Signalbox, and nothing else.
//!
//! No clock, no async, no I/O, no randomness, no logging: events go in, decisions
//! come out. [`Engine::decide`] leaves the engine as it was and gives a
//! [`Decision`]: rows to keep, ledger lines, notices to send, answers to commands.
//! The writer makes it durable and only then calls [`Engine::adopt`]. So live
//! evaluation, restart, replay and "what if" are one function.
//!
//! Two laws hold, and property tests keep them: any cut of an event list into
//! turns gives the same result; deciding twice without adopting gives equal
//! decisions.

mod agents;
pub mod board;
mod commands;
pub mod config;
pub mod decision;
mod due;
pub mod engine;
mod entities;
pub mod event;
pub mod explain;
mod feeds;
mod identity;
mod incidents;
mod items;
mod judge;
mod limits;
mod lost;
mod notices;
mod overlay;
mod reach;
mod reload;
mod results;
mod rollup;
mod rows;
pub mod rule;
mod rules;
mod snoozes;
mod sop;
mod state;
pub mod track;
mod watermarks;
mod words;
mod work;

pub use board::{Board, Filter};
pub use engine::{Decision, Engine};
pub use explain::{Facts, Located, explain};
pub use rows::{RestoreError, incident_over, ledger_of, ruleset_since};
