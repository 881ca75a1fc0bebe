//! The collector: ingests, stores, judges, shows and tells.
//!
//! - [`access`]: the key of the audit, and reading the audit back.
//! - [`config`], [`reload`]: one YAML file, and the folder of rules beside it.
//! - [`ingest`]: connections and streams of agents, wire to domain.
//! - [`writer`]: the one thread that decides, commits and adopts.
//! - [`storage`]: statistics, verification, backup and restore of a store at rest.
//! - [`store`]: the seam to the disk; the only place that names RocksDB.
//! - [`handle`]: what listeners and notifiers may ask of the running collector.
//! - `net`: what both doors do with sockets.
//! - [`query`], [`explain`](handle::Handle::explain): history, off the writer's thread.
//! - [`selection`]: which series a selector means over a range.
//! - `reading`: reads that may block, a bounded number at a time.
//! - [`query`], [`explain`](handle::Handle::explain): history, off the writer's thread; `series`: which there are.
//! - [`http`]: the operators' door; [`notify`]: the way out to people.
//! - [`telemetry`]: the collector's own numbers.
//! - [`tls`]: keys, certificates and who passes a handshake.
//! - `whole_file`: small files, written whole or not at all.
//! - [`rig`]: the same without doors and clock, for measurements.
//! - `evaluate`: queries in PromQL; `select`: the store as they read it.
//! - `remote`: samples that others send.
//! - [`run`]: all of it put together.

pub mod access;
pub mod config;
mod evaluate;
mod explain;
pub mod handle;
pub mod http;
pub mod ingest;
mod net;
pub mod notify;
pub mod query;
mod reading;
pub mod reload;
mod remote;
pub mod rig;
pub mod run;
mod select;
pub mod selection;
mod series;
mod shared;
pub mod storage;
pub mod store;
pub mod telemetry;
pub mod tls;
mod whole_file;
pub mod writer;
