//! PromQL over columns: parse and check a query, then evaluate it at an instant
//! or at the steps of a range.
//!
//! ```text
//! text -- Query::parse --> plan (typed tree) -- instant | range --> Answer{value, warnings, infos}
//!                                                     |
//!                                        Select: columns of samples, one series at a time
//! ```
//!
//! - [`query`]: the way in. [`seam`]: what the evaluator asks of a store. [`memory`] is a store for tests.
//! - [`budget`], [`limits`]: what a query may use; how it is ended early.
//! - [`labels`], [`value`], [`annotations`], [`error`]: the words of questions and answers.
//!
//! Pure: no I/O, no clock, no async; it knows neither RocksDB nor HTTP. Semantics
//! are those of Prometheus 3 (ranges open on the left) for everything but native
//! histograms; `docs/reference-promql.md` lists what differs.

pub mod annotations;
pub mod budget;
pub mod error;
mod eval;
mod functions;
mod grid;
pub mod labels;
pub mod limits;
pub mod memory;
mod plan;
pub mod query;
pub mod seam;
pub mod value;

pub use budget::{Budget, Stop};
pub use error::Error;
pub use labels::Labels;
pub use limits::Options;
pub use query::Query;
pub use seam::{Column, Select, Selected, Wanted};
pub use value::{Answer, Value};
