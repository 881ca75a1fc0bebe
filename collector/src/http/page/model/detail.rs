//! The pages behind a line of the board: one incident's story, one item's proof.

use super::{IncidentRow, ItemRow, Sop, When, link, word};
use crate::http::page::spark;
use crate::notify::when::utc_seconds;
use serde::Serialize;
use signalbox_proto::api::{Explanation, Incident, LedgerLine, Outcome, TimelineEntry};
use signalbox_proto::units::UnixMillis;

/// Samples listed under an item, newest last.
const SAMPLES_MAX: usize = 20;

/// One incident.
#[derive(Debug, Serialize)]
pub(crate) struct IncidentPage {
    title: String,
    now: String,
    row: IncidentRow,
    worst: &'static str,
    rule: String,
    item: String,
    item_href: String,
    // Not `sop`: a macro of the frame has that name, and would be what the page asks.
    to_do: Sop,
    label: String,
    label_reason: String,
    n_reopened: u32,
    late: bool,
    first_symptom: When,
    acknowledged: Option<When>,
    acknowledged_by: String,
    restored: Option<When>,
    closed: Option<When>,
    timeline: Vec<(String, TimelineEntry)>,
    ledger_rows: Vec<LedgerRow>,
}

#[derive(Debug, Serialize)]
struct LedgerRow {
    utc: String,
    outcome: String,
    was_told: bool,
    line: LedgerLine,
}

impl LedgerRow {
    fn of(line: &LedgerLine) -> LedgerRow {
        let was_told = line.outcome == Outcome::Sent;
        LedgerRow { utc: utc_seconds(line.at), outcome: word(line.outcome), was_told, line: line.clone() }
    }
}

/// An incident as a page.
pub(crate) fn incident(incident: &Incident, now: UnixMillis) -> IncidentPage {
    let when = |at: UnixMillis| When::of(at, now);
    IncidentPage {
        title: format!("{} {} - Signalbox", incident.id, incident.title),
        now: utc_seconds(now),
        row: IncidentRow::of(incident, now),
        worst: incident.worst.word(),
        rule: incident.rule.clone(),
        item: incident.item.clone(),
        item_href: link("/items", &[("id", &incident.item)]),
        to_do: Sop::of(&incident.sop),
        label: incident.label.map(word).unwrap_or_default(),
        label_reason: incident.label_reason.clone(),
        n_reopened: incident.n_reopened,
        late: incident.late,
        first_symptom: when(incident.first_symptom),
        acknowledged: incident.acknowledged.map(when),
        acknowledged_by: incident.acknowledged_by.clone(),
        restored: incident.restored.map(when),
        closed: incident.closed.map(when),
        timeline: incident.timeline.iter().map(|entry| (utc_seconds(entry.at), entry.clone())).collect(),
        ledger_rows: incident.ledger.iter().map(LedgerRow::of).collect(),
    }
}

/// One item, with the proof of its level.
#[derive(Debug, Serialize)]
pub(crate) struct ItemPage {
    title: String,
    now: String,
    at: String,
    id: String,
    row: ItemRow,
    value: String,
    value_at: When,
    because: Vec<String>,
    clocks: Vec<String>,
    suppressions: Vec<String>,
    rule: Vec<(String, String)>,
    rules_version: String,
    override_by: Option<String>,
    lines: Vec<String>,
    width: f64,
    height: f64,
    samples: Vec<(String, String)>,
    ledger_rows: Vec<LedgerRow>,
}

/// An explanation as a page.
pub(crate) fn item(proof: &Explanation, now: UnixMillis) -> ItemPage {
    let value = |value: Option<f64>| value.map_or_else(|| "no number".to_owned(), |value| value.to_string());
    let newest = &proof.samples[proof.samples.len().saturating_sub(SAMPLES_MAX)..];
    ItemPage {
        title: format!("{} - Signalbox", proof.item.id),
        now: utc_seconds(now),
        at: utc_seconds(proof.at),
        id: proof.item.id.clone(),
        row: ItemRow::of(&proof.item, proof.at),
        value: value(proof.item.value),
        value_at: When::of(proof.item.value_at, proof.at),
        because: proof.because.clone(),
        clocks: proof.clocks.clone(),
        suppressions: proof.suppressions.clone(),
        rule: proof.rule.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        rules_version: proof.rules_version.clone(),
        override_by: proof.override_by.clone(),
        lines: spark::lines(&proof.samples),
        width: spark::WIDTH,
        height: spark::HEIGHT,
        samples: newest.iter().map(|(at, number)| (utc_seconds(UnixMillis(*at)), value(*number))).collect(),
        ledger_rows: proof.ledger.iter().map(LedgerRow::of).collect(),
    }
}
