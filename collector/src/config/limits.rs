//! Bounds of both doors, as the file gives them.

use super::{Check, ConfigError};
use crate::{http, ingest};
use serde::Deserialize;
use signalbox_proto::limits::MESSAGE_MAX_BYTES;
use signalbox_proto::units::{Bytes, Millis};
use std::time::Duration;

/// Spans of a door are between these.
const SPAN_MIN: Millis = Millis(1000);
const SPAN_MAX: Millis = Millis::from_mins(7 * 24 * 60);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAgents {
    connections: Option<u64>,
    connections_per_agent: Option<u64>,
    strangers: Option<u64>,
    strangers_per_address: Option<u64>,
    handshake: Option<String>,
    first_call: Option<String>,
    message: Option<String>,
    headers: Option<String>,
    streams: Option<u64>,
    connection_age: Option<String>,
    slow_reader: Option<String>,
    enrolments_per_minute: Option<u64>,
    hellos_per_minute: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawOperators {
    connections: Option<u64>,
    connections_per_address: Option<u64>,
    handshake: Option<String>,
    head: Option<String>,
    body: Option<String>,
    requests: Option<u64>,
    request: Option<String>,
    connection_age: Option<String>,
    slow_reader: Option<String>,
    login_failures: Option<u64>,
    login_window: Option<String>,
}

pub(super) fn agent_limits(raw: &RawAgents, check: &Check<'_>) -> Result<ingest::Limits, ConfigError> {
    let normal = ingest::Limits::default();
    let n = |key, value, normal: usize, max| check.number(key, value, normal as u64, 1, max);
    let size = |key, text: &Option<String>, normal: u64, max| check.bytes(key, text.as_deref(), normal, 1024, max);
    let span = |key, text: &Option<String>, normal| check.seconds(key, text.as_deref(), normal);
    let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let wide = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let per_minute = |key, value, normal: u32| check.number(key, value, u64::from(normal), 1, 1_000_000);
    Ok(ingest::Limits {
        connections: wide(n("limits.agents.connections", raw.connections, normal.connections, 65_536)?),
        connections_per_agent: wide(n(
            "limits.agents.connections_per_agent",
            raw.connections_per_agent,
            normal.connections_per_agent,
            1024,
        )?),
        strangers: wide(n("limits.agents.strangers", raw.strangers, normal.strangers, 65_536)?),
        strangers_per_address: wide(n(
            "limits.agents.strangers_per_address",
            raw.strangers_per_address,
            normal.strangers_per_address,
            65_536,
        )?),
        handshake: span("limits.agents.handshake", &raw.handshake, normal.handshake)?,
        first_call: span("limits.agents.first_call", &raw.first_call, normal.first_call)?,
        message_bytes: wide(size(
            "limits.agents.message",
            &raw.message,
            normal.message_bytes as u64,
            MESSAGE_MAX_BYTES as u64,
        )?),
        header_bytes: narrow(size("limits.agents.headers", &raw.headers, u64::from(normal.header_bytes), 1024 * 1024)?),
        streams: narrow(n("limits.agents.streams", raw.streams, normal.streams as usize, 1024)?),
        age: span("limits.agents.connection_age", &raw.connection_age, normal.age)?,
        slow_reader: span("limits.agents.slow_reader", &raw.slow_reader, normal.slow_reader)?,
        enrolments_per_minute: narrow(per_minute(
            "limits.agents.enrolments_per_minute",
            raw.enrolments_per_minute,
            normal.enrolments_per_minute,
        )?),
        hellos_per_minute: narrow(per_minute(
            "limits.agents.hellos_per_minute",
            raw.hellos_per_minute,
            normal.hellos_per_minute,
        )?),
    })
}

pub(super) fn operator_limits(raw: &RawOperators, check: &Check<'_>) -> Result<http::Limits, ConfigError> {
    let normal = http::Limits::default();
    let n = |key, value, normal: usize, max| {
        let n = check.number(key, value, normal as u64, 1, max)?;
        Ok::<usize, ConfigError>(usize::try_from(n).unwrap_or(usize::MAX))
    };
    let span = |key, text: &Option<String>, normal| check.seconds(key, text.as_deref(), normal);
    let window = Duration::from_millis(normal.login_window.0);
    let window = span("limits.operators.login_window", &raw.login_window, window)?;
    let body = check.bytes(
        "limits.operators.body",
        raw.body.as_deref(),
        normal.body_bytes as u64,
        64 * 1024,
        64 * 1024 * 1024,
    )?;
    Ok(http::Limits {
        connections: n("limits.operators.connections", raw.connections, normal.connections, 65_536)?,
        connections_per_address: n(
            "limits.operators.connections_per_address",
            raw.connections_per_address,
            normal.connections_per_address,
            65_536,
        )?,
        handshake: span("limits.operators.handshake", &raw.handshake, normal.handshake)?,
        head: span("limits.operators.head", &raw.head, normal.head)?,
        body_bytes: usize::try_from(body).unwrap_or(usize::MAX),
        requests: n("limits.operators.requests", raw.requests, normal.requests, 4096)?,
        request: span("limits.operators.request", &raw.request, normal.request)?,
        write: span("limits.operators.slow_reader", &raw.slow_reader, normal.write)?,
        age: span("limits.operators.connection_age", &raw.connection_age, normal.age)?,
        login_failures: n("limits.operators.login_failures", raw.login_failures, normal.login_failures, 1000)?,
        login_window: Millis(u64::try_from(window.as_millis()).unwrap_or(u64::MAX)),
    })
}

impl Check<'_> {
    pub(super) fn number(
        &self,
        key: &'static str,
        given: Option<u64>,
        normal: u64,
        min: u64,
        max: u64,
    ) -> Result<u64, ConfigError> {
        let n = given.unwrap_or(normal);
        if (min..=max).contains(&n) {
            Ok(n)
        } else {
            Err(self.refuse(key, format!("{n} is not between {min} and {max}")))
        }
    }

    fn bytes(
        &self,
        key: &'static str,
        given: Option<&str>,
        normal: u64,
        min: u64,
        max: u64,
    ) -> Result<u64, ConfigError> {
        let Some(text) = given else { return Ok(normal) };
        let Bytes(n) = signalbox_proto::text::parse_size(text).map_err(|why| self.refuse(key, why))?;
        if (min..=max).contains(&n) {
            return Ok(n);
        }
        Err(self.refuse(key, format!("{text} is not between {} and {}", Bytes(min), Bytes(max))))
    }

    fn seconds(&self, key: &'static str, given: Option<&str>, normal: Duration) -> Result<Duration, ConfigError> {
        Ok(self.span(key, given, SPAN_MIN, SPAN_MAX)?.map_or(normal, |span| Duration::from_millis(span.0)))
    }
}
