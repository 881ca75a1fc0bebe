//! `signalbox`, the operator's command, as a library that tests can reach.
//!
//! Shape: [`args`] reads the command line; [`run`] asks the collector through
//! [`client`], [`routes`] and [`prometheus`], and prints what [`render`] makes of the answer.
//! `top` is the live board. Rendering and the board's state are pure; only
//! `run` and the loop of `top` wait, read the clock or touch the terminal.
//!
//! It promises: text from a server never reaches the terminal raw ([`text`]);
//! exit codes are fixed ([`exit`]); `--output json` is the API's own document.

pub mod args;
pub mod client;
pub mod doctor;
pub mod exit;
pub mod hosts;
pub mod look;
pub mod prometheus;
pub mod render;
pub mod routes;
pub mod run;
pub mod target;
pub mod text;
pub mod when;

mod progress;
mod prompt;
mod rule_files;
mod top;
