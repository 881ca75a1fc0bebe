//! Wire to domain: every count, length and name is checked here, once.

use super::v1;
use crate::limits::{
    CHECKS_PER_AGENT_MAX, EPOCHS_PER_HELLO_MAX, EVENTS_PER_BATCH_MAX, EVIDENCE_MAX_BYTES, LABEL_VALUE_MAX_BYTES,
    REFS_PER_EPOCH_MAX, RESULTS_PER_BATCH_MAX, SHAPES_PER_EPOCH_MAX,
};
use crate::names::{AgentId, Labels, NameError};
use crate::samples::{
    AgentEvent, AgentEventKind, Batch, CheckInfo, CheckResult, CheckState, Hello, SeriesEntry, ShapeEntry,
};
use crate::units::{Millis, UnixMillis};
use thiserror::Error;

/// Why a message was refused. The sender's fault, always.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// A name or label set is malformed.
    #[error("{what}: {why}")]
    Name {
        /// Where in the message.
        what: String,
        /// What is wrong.
        why: NameError,
    },
    /// More items than allowed.
    #[error("{n} {what} in one message are over the limit of {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many came.
        n: usize,
        /// How many may come.
        limit: usize,
    },
    /// A text is too long.
    #[error("{what} of {len} bytes is over the limit of {limit}")]
    TooLong {
        /// Which text.
        what: &'static str,
        /// Its length, bytes.
        len: usize,
        /// Its bound, bytes.
        limit: usize,
    },
    /// A number is outside its range.
    #[error("{what} is {value}, must be {range}")]
    OutOfRange {
        /// Which number.
        what: &'static str,
        /// What came.
        value: u64,
        /// What may come.
        range: String,
    },
    /// A part that must be there is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
}

impl TryFrom<v1::Hello> for Hello {
    type Error = WireError;
    fn try_from(hello: v1::Hello) -> Result<Hello, WireError> {
        let agent = AgentId::parse(&hello.agent_id).map_err(|why| WireError::Name { what: "hello".to_owned(), why })?;
        at_most("epochs", hello.epochs.len(), EPOCHS_PER_HELLO_MAX)?;
        at_most("checks", hello.checks.len(), CHECKS_PER_AGENT_MAX)?;
        at_most("capabilities", hello.capabilities.len(), 64)?;
        Ok(Hello {
            agent,
            boot_id: short("boot id", hello.boot_id)?,
            version: short("version", hello.version)?,
            labels: labels("hello", hello.labels)?,
            capabilities: hello
                .capabilities
                .into_iter()
                .map(|text| short("capability", text))
                .collect::<Result<_, _>>()?,
            epochs: hello.epochs,
            wall: UnixMillis(hello.wall_ms),
            checks: hello.checks.into_iter().map(check).collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<v1::Batch> for Batch {
    type Error = WireError;
    fn try_from(batch: v1::Batch) -> Result<Batch, WireError> {
        if batch.seq == 0 {
            return Err(WireError::OutOfRange { what: "batch seq", value: 0, range: "1 or more".to_owned() });
        }
        at_most("series", batch.series.len(), REFS_PER_EPOCH_MAX)?;
        at_most("shapes", batch.shapes.len(), SHAPES_PER_EPOCH_MAX)?;
        at_most("check results", batch.results.len(), RESULTS_PER_BATCH_MAX)?;
        at_most("events", batch.events.len(), EVENTS_PER_BATCH_MAX)?;
        Ok(Batch {
            epoch: batch.epoch,
            seq: batch.seq,
            wall: UnixMillis(batch.wall_ms),
            mono: Millis(batch.mono_ms),
            key: batch.key,
            series: batch.series.into_iter().map(series).collect::<Result<_, _>>()?,
            shapes: batch.shapes.into_iter().map(shape).collect::<Result<_, _>>()?,
            columns: batch.columns,
            results: batch.results.into_iter().map(result).collect::<Result<_, _>>()?,
            events: batch.events.into_iter().map(event).collect::<Result<_, _>>()?,
        })
    }
}

fn check(check: v1::CheckInfo) -> Result<CheckInfo, WireError> {
    Ok(CheckInfo { name: short("check name", check.name)?, interval: interval(check.interval_ms)? })
}

fn series(entry: v1::SeriesEntry) -> Result<SeriesEntry, WireError> {
    in_range("series ref", entry.r#ref, REFS_PER_EPOCH_MAX)?;
    let labels = labels("series", entry.labels)?;
    if labels.metric().is_none() {
        return Err(WireError::Missing("label __name__ of a series"));
    }
    Ok(SeriesEntry { series_ref: entry.r#ref, labels })
}

fn shape(entry: v1::ShapeEntry) -> Result<ShapeEntry, WireError> {
    in_range("shape", entry.shape, SHAPES_PER_EPOCH_MAX)?;
    at_most("refs of a shape", entry.refs.len(), crate::limits::SERIES_PER_AGENT_MAX)?;
    for &series_ref in &entry.refs {
        in_range("series ref", series_ref, REFS_PER_EPOCH_MAX)?;
    }
    Ok(ShapeEntry {
        shape: entry.shape,
        check: short("check name", entry.check)?,
        interval: interval(entry.interval_ms)?,
        refs: entry.refs,
    })
}

fn result(result: v1::CheckResult) -> Result<CheckResult, WireError> {
    if result.evidence.len() > EVIDENCE_MAX_BYTES {
        return Err(WireError::TooLong { what: "evidence", len: result.evidence.len(), limit: EVIDENCE_MAX_BYTES });
    }
    let state = match result.state() {
        v1::CheckState::Green => CheckState::Green,
        v1::CheckState::Amber => CheckState::Amber,
        v1::CheckState::Red => CheckState::Red,
        // A state that this version does not know is never green.
        v1::CheckState::Unknown | v1::CheckState::Unspecified => CheckState::Unknown,
    };
    Ok(CheckResult {
        check: short("check name", result.check)?,
        time: UnixMillis(result.time_ms),
        state,
        evidence: result.evidence,
        labels: labels("check result", result.labels)?,
    })
}

fn event(event: v1::AgentEvent) -> Result<AgentEvent, WireError> {
    use v1::agent_event::Event;
    let kind = match event.event.ok_or(WireError::Missing("kind of an agent event"))? {
        Event::Started(started) => AgentEventKind::Started { version: short("version", started.version)? },
        Event::ConfigReloaded(reload) => {
            AgentEventKind::ConfigReloaded { error: (!reload.ok).then_some(long("error", reload.error)?) }
        }
        Event::SamplesDropped(dropped) => AgentEventKind::SamplesDropped {
            n_samples: dropped.n_samples,
            from: UnixMillis(dropped.from_ms),
            to: UnixMillis(dropped.to_ms),
            reason: short("reason", dropped.reason)?,
        },
        Event::Gap(gap) => AgentEventKind::Gap {
            from: UnixMillis(gap.from_ms),
            to: UnixMillis(gap.to_ms),
            reason: short("reason", gap.reason)?,
        },
        Event::ClockStepped(step) => AgentEventKind::ClockStepped { step_ms: step.step_ms },
        Event::CheckFailed(failed) => AgentEventKind::CheckFailed {
            check: short("check name", failed.check)?,
            error: long("error", failed.error)?,
        },
    };
    Ok(AgentEvent { time: UnixMillis(event.time_ms), kind })
}

fn labels(what: &str, pairs: Vec<v1::Label>) -> Result<Labels, WireError> {
    let pairs = pairs.into_iter().map(|label| (label.name, label.value));
    Labels::new(pairs).map_err(|why| WireError::Name { what: what.to_owned(), why })
}

fn interval(ms: u32) -> Result<Millis, WireError> {
    let day_ms = 86_400_000;
    if ms == 0 || ms > day_ms {
        return Err(WireError::OutOfRange { what: "interval", value: ms.into(), range: format!("1 to {day_ms} ms") });
    }
    Ok(Millis(ms.into()))
}

fn short(what: &'static str, text: String) -> Result<String, WireError> {
    bounded(what, text, LABEL_VALUE_MAX_BYTES)
}

fn long(what: &'static str, text: String) -> Result<String, WireError> {
    bounded(what, text, EVIDENCE_MAX_BYTES)
}

fn bounded(what: &'static str, text: String, limit: usize) -> Result<String, WireError> {
    if text.len() > limit { Err(WireError::TooLong { what, len: text.len(), limit }) } else { Ok(text) }
}

fn at_most(what: &'static str, n: usize, limit: usize) -> Result<(), WireError> {
    if n > limit { Err(WireError::TooMany { what, n, limit }) } else { Ok(()) }
}

fn in_range(what: &'static str, value: u32, limit: usize) -> Result<(), WireError> {
    if value as usize >= limit {
        let range = format!("under {limit}");
        return Err(WireError::OutOfRange { what, value: value.into(), range });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn batch() -> Batch {
        let labels = Labels::series("up", &[("host", "a")]).unwrap();
        let event = |kind| AgentEvent { time: UnixMillis(5), kind };
        Batch {
            epoch: 3,
            seq: 9,
            wall: UnixMillis(1_000),
            mono: Millis(10),
            key: true,
            series: vec![SeriesEntry { series_ref: 0, labels: labels.clone() }],
            shapes: vec![ShapeEntry { shape: 0, check: "up".into(), interval: Millis(1000), refs: vec![0] }],
            columns: Bytes::from_static(&[0, 0, 1, 2]),
            results: vec![CheckResult {
                check: "smoke".into(),
                time: UnixMillis(4),
                state: CheckState::Red,
                evidence: "connection refused".into(),
                labels,
            }],
            events: vec![
                event(AgentEventKind::Started { version: "1".into() }),
                event(AgentEventKind::ConfigReloaded { error: None }),
                event(AgentEventKind::ConfigReloaded { error: Some("line 3".into()) }),
                event(AgentEventKind::ClockStepped { step_ms: -7 }),
                event(AgentEventKind::Gap { from: UnixMillis(1), to: UnixMillis(2), reason: "paused".into() }),
                event(AgentEventKind::CheckFailed { check: "c".into(), error: "e".into() }),
                event(AgentEventKind::SamplesDropped {
                    n_samples: 4,
                    from: UnixMillis(1),
                    to: UnixMillis(2),
                    reason: "spool_full".into(),
                }),
            ],
        }
    }

    #[test]
    fn a_batch_survives_the_wire() {
        let wire = v1::Batch::from(&batch());
        assert_eq!(Batch::try_from(wire), Ok(batch()));
    }

    #[test]
    fn limits_are_named() {
        let refused = |change: &dyn Fn(&mut v1::Batch)| {
            let mut wire = v1::Batch::from(&batch());
            change(&mut wire);
            Batch::try_from(wire).unwrap_err().to_string()
        };
        assert_eq!(refused(&|b| b.seq = 0), "batch seq is 0, must be 1 or more");
        let long = "x".repeat(EVIDENCE_MAX_BYTES + 1);
        assert_eq!(
            refused(&|b| b.results[0].evidence = long.clone()),
            "evidence of 4097 bytes is over the limit of 4096"
        );
        assert_eq!(refused(&|b| b.series[0].labels.clear()), "label __name__ of a series is missing");
        assert_eq!(refused(&|b| b.shapes[0].interval_ms = 0), "interval is 0, must be 1 to 86400000 ms");
        assert!(refused(&|b| b.series[0].r#ref = u32::MAX).starts_with("series ref is 4294967295"));
    }

    #[test]
    fn an_unknown_check_state_is_never_green() {
        let mut wire = v1::Batch::from(&batch());
        wire.results[0].state = 77;
        assert_eq!(Batch::try_from(wire).unwrap().results[0].state, CheckState::Unknown);
    }
}
