//! The light agent of Signalbox: it observes a host and streams what it sees.
//!
//! ```text
//! check  what is watched: reads and computes
//! batch  rows of values become batches           schedule  when each check looks
//! spool  batches on disk until acknowledged      sampler   asks the checks
//! sender which batch goes next                   transport how it gets there
//! identity who the agent is                      net       the way to the collector
//! join   how it becomes one of an installation   ping      what is wrong with the way
//! agent  all of it, without waiting              run       the waiting
//! ```
//!
//! Sampling never waits for the network. What was sampled is on disk before it is
//! sent, and stays there until the collector has it durably; what cannot be kept is
//! counted and told. One thread, one wake-up a second and one for the
//! acknowledgement.

mod agent;
mod alarm;
mod backoff;
mod batch;
pub mod check;
mod checks;
pub mod cli;
mod config;
mod cost;
mod enrol;
mod events;
mod identity;
mod join;
mod lock;
mod log;
mod net;
mod ping;
mod renewal;
mod run;
mod sampler;
mod schedule;
mod sender;
mod spool;
mod supervisor;
mod sys;
mod transport;
mod wake;
mod wire;
