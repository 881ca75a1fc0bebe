//! Words and units that agents, collectors and operators' tools agree on.
//!
//! - [`units`]: instants, spans and sizes that cannot be mixed up.
//! - [`names`]: identities and label sets, parsed once and trusted ever after.
//! - [`selector`]: `name{label="value"}`, the way to point at series.
//! - [`text`]: durations and sizes as people write them (`30s`, `512MiB`).
//! - [`columns`]: the packed value columns that cross the wire and lie in the
//!   spool and in the journal.
//! - [`samples`]: batches, check results and agent events in domain form.
//! - [`join`]: join tokens and fingerprints as people carry them.
//! - [`metric`]: the unit that a metric's name says.
//! - [`limits`]: every bound that both sides must know.
//! - [`clock`]: the only door through which time enters.
//! - `wire` (feature `grpc`): generated messages and their conversion.
//! - [`status`]: levels, freshness, layers, states of agents.
//! - [`api`]: JSON bodies of `/api/signalbox/v1`; the feature `api` adds their
//!   OpenAPI schemas.

pub mod api;
pub mod clock;
pub mod columns;
pub mod join;
pub mod limits;
pub mod metric;
pub mod names;
pub mod near;
pub mod samples;
pub mod selector;
pub mod status;
pub mod text;
pub mod units;
#[cfg(feature = "grpc")]
pub mod wire;
