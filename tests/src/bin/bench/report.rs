//! Figures as a table for people and as JSON lines for machines.

use anyhow::{Context, Result};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

/// Collects figures in the order in which they were measured.
pub(crate) struct Report {
    json: Option<PathBuf>,
    rows: Vec<Row>,
}

struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    note: String,
}

impl Report {
    pub(crate) fn new(json: Option<PathBuf>) -> Report {
        Report { json, rows: Vec::new() }
    }

    /// One figure; `note` says how it was got or what it is held against.
    pub(crate) fn add(&mut self, what: impl Into<String>, value: f64, unit: &'static str, note: impl Into<String>) {
        self.rows.push(Row { what: what.into(), value, unit, note: note.into() });
    }

    /// p50, p95, p99 and the maximum of spans in milliseconds.
    pub(crate) fn add_spans(&mut self, what: &str, mut spans_ms: Vec<f64>, note: &str) {
        spans_ms.sort_by(f64::total_cmp);
        let n = spans_ms.len();
        for (name, share) in [("p50", 0.50), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)] {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let rank = ((n as f64 * share).ceil() as usize).clamp(1, n.max(1)) - 1;
            if let Some(&value) = spans_ms.get(rank) {
                self.add(format!("{what} {name}"), value, "ms", format!("n = {n}; {note}"));
            }
        }
    }

    pub(crate) fn print(self) -> Result<()> {
        let wide = self.rows.iter().map(|row| row.what.chars().count()).max().unwrap_or(0);
        for row in &self.rows {
            println!("{:wide$}  {:>14}  {:<18} {}", row.what, shown(row.value), row.unit, row.note);
        }
        self.rows.iter().try_for_each(|row| self.record(row))
    }

    /// A figure for machines alone, written at once: a long run that is cut short has
    /// told what it measured.
    pub(crate) fn note(&self, what: &str, value: f64, unit: &'static str, note: &str) -> Result<()> {
        self.record(&Row { what: what.to_owned(), value, unit, note: note.to_owned() })
    }

    fn record(&self, row: &Row) -> Result<()> {
        let Some(path) = &self.json else { return Ok(()) };
        let mut file = File::options().create(true).append(true).open(path).context("open --json FILE")?;
        let line = serde_json::json!({ "what": row.what, "value": row.value, "unit": row.unit, "note": row.note });
        writeln!(file, "{line}").context("write --json FILE")
    }
}

/// Wide numbers without their fraction.
pub(crate) fn shown(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}
