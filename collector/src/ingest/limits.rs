//! Bounds of the agents' door, each with its unit; the defaults are what ships.

use signalbox_proto::limits::MESSAGE_MAX_BYTES;
use std::time::Duration;

/// What the door takes, and for how long. Each has a counter for what is over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections of agents with an identity at the same time; more are closed at
    /// once (`signalbox_connections_refused_total`). The Unix socket has places of
    /// its own.
    pub connections: usize,
    /// Of these by one key; more are closed at once
    /// (`signalbox_connections_refused_total`). A host that was reset has some that
    /// nobody has found dead yet.
    pub connections_per_agent: usize,
    /// Connections in a handshake, or without an identity; when one more comes, the
    /// oldest of them is closed (`signalbox_strangers_closed_total`).
    pub strangers: usize,
    /// Of these from one address that is not loopback; more are closed at once
    /// (`signalbox_connections_refused_total`).
    pub strangers_per_address: usize,
    /// From a connection's first moment to the end of the TLS handshake
    /// (`signalbox_tls_handshakes_failed_total`).
    pub handshake: Duration,
    /// From the handshake to the first call, and from there to Hello
    /// (`signalbox_connections_silent_total`).
    pub first_call: Duration,
    /// One message, decoded, bytes (`signalbox_calls_refused_total`).
    pub message_bytes: usize,
    /// All headers of a call, bytes: HTTP/2 refuses the call.
    pub header_bytes: u32,
    /// Calls of one connection at the same time: HTTP/2 refuses more.
    pub streams: u32,
    /// At this age, or a tenth more, a connection is ended and the agent dials again
    /// (`signalbox_connections_aged_total`).
    pub age: Duration,
    /// An agent that takes no answer for this long is let go
    /// (`signalbox_streams_slow_total`).
    pub slow_reader: Duration,
    /// Attempts to enrol, and pings without an identity, that one address may fail or
    /// make within a minute (`signalbox_enrolments_throttled_total`).
    pub enrolments_per_minute: u32,
    /// Streams that one agent may open within a minute, those that are refused
    /// included (`signalbox_hellos_throttled_total`). One that is refused again and
    /// again dials some twelve times.
    pub hellos_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 4096,
            connections_per_agent: 8,
            strangers: 1024,
            strangers_per_address: 64,
            handshake: Duration::from_secs(10),
            first_call: Duration::from_secs(30),
            message_bytes: MESSAGE_MAX_BYTES,
            header_bytes: 16 * 1024,
            streams: 16,
            age: Duration::from_secs(3600),
            slow_reader: Duration::from_secs(30),
            enrolments_per_minute: 10,
            hellos_per_minute: 60,
        }
    }
}
