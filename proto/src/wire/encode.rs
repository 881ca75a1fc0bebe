//! Domain to wire. Cannot fail: the domain is already checked.

use super::v1;
use crate::names::Labels;
use crate::samples::{
    AgentEvent, AgentEventKind, Batch, CheckInfo, CheckResult, CheckState, Hello, SeriesEntry, ShapeEntry,
};
use crate::units::Millis;

impl From<&Hello> for v1::Hello {
    fn from(hello: &Hello) -> Self {
        v1::Hello {
            agent_id: hello.agent.as_str().to_owned(),
            boot_id: hello.boot_id.clone(),
            version: hello.version.clone(),
            labels: labels(&hello.labels),
            capabilities: hello.capabilities.clone(),
            epochs: hello.epochs.clone(),
            wall_ms: hello.wall.0,
            checks: hello.checks.iter().map(check).collect(),
        }
    }
}

impl From<&Batch> for v1::Batch {
    fn from(batch: &Batch) -> Self {
        v1::Batch {
            epoch: batch.epoch,
            seq: batch.seq,
            wall_ms: batch.wall.0,
            mono_ms: batch.mono.0,
            key: batch.key,
            series: batch.series.iter().map(series).collect(),
            shapes: batch.shapes.iter().map(shape).collect(),
            columns: batch.columns.clone(),
            results: batch.results.iter().map(result).collect(),
            events: batch.events.iter().map(event).collect(),
        }
    }
}

fn check(check: &CheckInfo) -> v1::CheckInfo {
    v1::CheckInfo { name: check.name.clone(), interval_ms: interval_ms(check.interval) }
}

fn series(entry: &SeriesEntry) -> v1::SeriesEntry {
    v1::SeriesEntry { r#ref: entry.series_ref, labels: labels(&entry.labels) }
}

fn shape(entry: &ShapeEntry) -> v1::ShapeEntry {
    v1::ShapeEntry {
        shape: entry.shape,
        check: entry.check.clone(),
        interval_ms: interval_ms(entry.interval),
        refs: entry.refs.clone(),
    }
}

fn result(result: &CheckResult) -> v1::CheckResult {
    let state = match result.state {
        CheckState::Green => v1::CheckState::Green,
        CheckState::Amber => v1::CheckState::Amber,
        CheckState::Red => v1::CheckState::Red,
        CheckState::Unknown => v1::CheckState::Unknown,
    };
    v1::CheckResult {
        check: result.check.clone(),
        time_ms: result.time.0,
        state: state.into(),
        evidence: result.evidence.clone(),
        labels: labels(&result.labels),
    }
}

fn event(event: &AgentEvent) -> v1::AgentEvent {
    use v1::agent_event::Event;
    let kind = match &event.kind {
        AgentEventKind::Started { version } => Event::Started(v1::Started { version: version.clone() }),
        AgentEventKind::ConfigReloaded { error } => {
            let text = error.clone().unwrap_or_default();
            Event::ConfigReloaded(v1::ConfigReloaded { ok: error.is_none(), error: text })
        }
        AgentEventKind::SamplesDropped { n_samples, from, to, reason } => Event::SamplesDropped(v1::SamplesDropped {
            n_samples: *n_samples,
            from_ms: from.0,
            to_ms: to.0,
            reason: reason.clone(),
        }),
        AgentEventKind::Gap { from, to, reason } => {
            Event::Gap(v1::Gap { from_ms: from.0, to_ms: to.0, reason: reason.clone() })
        }
        AgentEventKind::ClockStepped { step_ms } => Event::ClockStepped(v1::ClockStepped { step_ms: *step_ms }),
        AgentEventKind::CheckFailed { check, error } => {
            Event::CheckFailed(v1::CheckFailed { check: check.clone(), error: error.clone() })
        }
    };
    v1::AgentEvent { time_ms: event.time.0, event: Some(kind) }
}

fn labels(labels: &Labels) -> Vec<v1::Label> {
    labels.iter().map(|(name, value)| v1::Label { name: name.to_owned(), value: value.to_owned() }).collect()
}

fn interval_ms(interval: Millis) -> u32 {
    u32::try_from(interval.0).unwrap_or(u32::MAX)
}
