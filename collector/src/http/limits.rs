//! Bounds of the operators' door, each with its unit; the defaults are what ships.

use signalbox_proto::units::Millis;
use std::time::Duration;

/// What the door takes, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections that stand at the same time over TCP; more wait in the kernel's
    /// backlog (`signalbox_http_connections`).
    pub connections: usize,
    /// Connections of one address that is not loopback; more are closed at once
    /// (`signalbox_http_connections_refused_total`).
    pub connections_per_address: usize,
    /// From a connection's first moment to the end of the TLS handshake
    /// (`signalbox_http_handshakes_failed_total`).
    pub handshake: Duration,
    /// From a connection's first moment, or its last answer, to a whole request head.
    pub head: Duration,
    /// Bytes of a request's body (413).
    pub body_bytes: usize,
    /// Requests under way at the same time (503).
    pub requests: usize,
    /// From a request's head to its answer (504).
    pub request: Duration,
    /// A reader that takes nothing for this long is let go
    /// (`signalbox_http_slow_readers_total`).
    pub write: Duration,
    /// Age at which a connection is closed after the request under way.
    pub age: Duration,
    /// Logins that may fail for one account from one address within
    /// [`Limits::login_window`] (429, `signalbox_http_logins_throttled_total`).
    pub login_failures: usize,
    /// See [`Limits::login_failures`].
    pub login_window: Millis,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 256,
            connections_per_address: 64,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(30),
            body_bytes: 1024 * 1024,
            requests: 64,
            request: Duration::from_secs(30),
            write: Duration::from_secs(30),
            age: Duration::from_secs(3600),
            login_failures: 5,
            login_window: Millis::from_mins(15),
        }
    }
}
