//! Who may do what: identities, roles, tokens, sessions, and the audit of it all.
//!
//! - [`principal`]: who asks, which objects they reach, and [`authorize`], the one
//!   function that says yes or no.
//! - [`permission`]: the closed set of permissions, and which role has which.
//! - [`event`]: what can happen: tokens, enrolment, users, sessions, denials.
//! - [`answer`]: what comes of it.
//! - [`access`]: the tables; `decide` is pure, `adopt` cannot fail.
//! - [`address`]: whose an address is.
//! - [`view`]: what readers see, as it was committed.
//! - [`audit`]: one line an act, chained by hash, and how a chain is checked.
//! - [`rate`]: how often something may happen, for every door.
//! - [`rows`]: keys and values of what is kept; [`limits`]: every bound.
//!
//! What it promises: no I/O, no clock, no randomness, no secrets. It sees hashes of
//! secrets that the shell made, and instants as they were stamped. Deciding changes
//! nothing; any cut of a list of events gives the same tables, answers and lines.

#![forbid(unsafe_code)]

pub mod access;
mod acts;
pub mod address;
pub mod answer;
pub mod audit;
mod denials;
pub mod event;
pub mod limits;
pub mod permission;
pub mod principal;
pub mod rate;
pub mod rows;
pub mod secret;
mod tables;
pub mod view;

pub use access::{Access, Decision};
pub use answer::{Answer, Granted, Refused};
pub use audit::{AuditKey, AuditLine, Fault, FaultKind, Hash32, Head};
pub use event::{AccessAct, AccessEvent};
pub use ipnet::IpNet;
pub use permission::{Permission, PermissionSet};
pub use principal::{Caller, Denied, Object, Principal, PrincipalKind, Scope, authorize};
pub use secret::{KeyFingerprint, SecretHash};
pub use signalbox_proto::api::Role;
pub use view::{AccessView, AgentKey};
