//! PromQL over columns: parse and check a query, then evaluate it at an instant
//! or at the steps of a range.
//!
//! ```text
//! text -- Query::parse --> plan (typed tree) -- instant | range --> Answer{value, warnings, infos}
//!                                                     |
//!                                        Select: columns of samples, one series at a time
//! ```
//!
//! - [`seam`]: what the evaluator asks of a store. [`memory`] is a store for tests.
//! - [`budget`], [`limits`]: what a query may use; how it is ended early.
//! - [`labels`], [`value`], [`annotations`], [`error`]: the words of questions and answers.
//!
//! Pure: no I/O, no clock, no async; it knows neither RocksDB nor HTTP. Semantics
//! are those of Prometheus 3 (ranges open on the left) for everything but native
//! histograms; `docs/reference-promql.md` lists what differs.

pub mod annotations;
pub mod budget;
pub mod error;
pub mod labels;
pub mod limits;
pub mod memory;
pub mod seam;
pub mod value;
