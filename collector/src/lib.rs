//! The collector: ingests, stores, judges, shows and tells.
//!
//! - [`config`]: one YAML file; [`main`](../signalbox_collector/index.html) reads it.
//! - [`ingest`]: connections and streams of agents, wire to domain.
//! - [`writer`]: the one thread that decides, commits and adopts.
//! - [`store`]: the seam to the disk; the only place that names RocksDB.
//! - [`handle`]: what listeners and notifiers may ask of the running collector.
//! - [`query`], [`explain`]: reading history, off the writer's thread.
//! - [`telemetry`]: the collector's own numbers.

