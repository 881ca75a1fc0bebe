//! Prometheus's HTTP API, as Grafana, promtool and other clients of it call it.
//!
//! ```text
//! GET, POST form -> [`params`] (times, steps, matchers) -> a read -> [`envelope`] (status, data, warnings)
//! ```
//!
//! - [`query`]: values of expressions; `answer` writes them.
//! - [`listings`]: labels, their values, series, metadata.
//! - [`rules`]: rules and alerts, in Prometheus's shape as far as that is honest.
//! - [`status`]: what answers here, and what costs most.
//! - [`write`]: samples that others send.
//!
//! Unlike the API of our own, unknown parameters are ignored: clients send such.

mod answer;
pub(crate) mod envelope;
pub(crate) mod listings;
pub(crate) mod number;
pub(crate) mod params;
pub(crate) mod query;
pub(crate) mod rules;
pub(crate) mod status;
#[cfg(test)]
mod tests;
pub(crate) mod write;

/// Where these routes begin.
pub(crate) const ROOT: &str = "/api/v1";
