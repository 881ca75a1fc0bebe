//! System tests with real processes, and what they need: processes that can be
//! killed at any instant, an agent of our own that knows what it was promised
//! ([`speaker`]), certificates good and bad ([`tls`]), sinks that log every notice ([`sink`]), a client of the API.
//!
//! Everything listens on free loopback ports and lives in a temporary folder;
//! dropping a [`process::Process`] kills it.

pub mod client;
pub mod people;
pub mod process;
pub mod random;
pub mod sink;
pub mod speaker;
pub mod tls;
