//! Bounds that both sides of the wire must know. Each has a unit in its name or
//! type; what is over a bound is refused with an error that names the bound.

/// Decoded size of one gRPC message, bytes.
pub const MESSAGE_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Labels of one series, `__name__` included.
pub const LABELS_MAX: usize = 32;
/// Bytes of a label name.
pub const LABEL_NAME_MAX_BYTES: usize = 128;
/// Bytes of a label value.
pub const LABEL_VALUE_MAX_BYTES: usize = 1024;
/// Bytes of an agent id.
pub const AGENT_ID_MAX_BYTES: usize = 128;
/// Live series of one agent; more are refused and counted, known ones go on.
pub const SERIES_PER_AGENT_MAX: usize = 20_000;
/// Shapes that one epoch may declare.
pub const SHAPES_PER_EPOCH_MAX: usize = 65_536;
/// Series that one epoch may declare over its life (a dead series keeps its ref).
pub const REFS_PER_EPOCH_MAX: usize = 200_000;
/// Samples in one batch.
pub const SAMPLES_PER_BATCH_MAX: usize = 200_000;
/// Bytes of evidence in a check result.
pub const EVIDENCE_MAX_BYTES: usize = 4096;
/// Check results in one batch.
pub const RESULTS_PER_BATCH_MAX: usize = 1024;
/// Agent events in one batch.
pub const EVENTS_PER_BATCH_MAX: usize = 1024;
/// Checks that an agent may name in its Hello.
pub const CHECKS_PER_AGENT_MAX: usize = 1024;
/// Epochs that an agent may list in its Hello.
pub const EPOCHS_PER_HELLO_MAX: usize = 4096;
/// Milliseconds between heartbeats.
pub const HEARTBEAT_MS: u64 = 10_000;
/// Heartbeats missed in a row before an agent counts as lost.
pub const HEARTBEATS_MISSED_MAX: u64 = 3;
/// How far in the collector's future a sample may lie, milliseconds.
pub const FUTURE_MAX_MS: i64 = 600_000;
