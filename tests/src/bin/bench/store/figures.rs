//! Figures of several servers side by side, and their ratios.
//!
//! A ratio is ours over a peer's of the same round; of several rounds the table
//! shows the median and the extremes, because the machine is never the same twice.

use super::server::Kind;
use crate::report::{Report, shown};
use anyhow::Result;
use std::collections::BTreeMap;

/// What is measured, and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Figure {
    /// The load under which it was measured.
    pub(crate) load: String,
    /// What.
    pub(crate) what: String,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// What the project promises, in words; empty for what only explains.
    pub(crate) goal: &'static str,
}

/// All figures, in the order in which they were first measured.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    rows: Vec<(Figure, BTreeMap<Kind, Vec<f64>>)>,
}

/// Least, middle and greatest.
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

fn spread(mut values: Vec<f64>) -> Option<Spread> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let (min, max) = (*values.first()?, *values.last()?);
    Some(Spread { min, median: values[values.len() / 2], max })
}

impl Figures {
    /// One figure of one round; told at once.
    pub(crate) fn add(&mut self, figure: Figure, kind: Kind, value: f64, report: &Report) -> Result<()> {
        println!("    {:<18} {:<34} {:>12} {}", kind.name(), figure.what, shown(value), figure.unit);
        let what = format!("store {}: {}, {}", figure.load, figure.what, kind.name());
        report.note(&what, value, figure.unit, figure.goal)?;
        let at = self.rows.iter().position(|(known, _)| *known == figure);
        let at = at.unwrap_or_else(|| {
            self.rows.push((figure, BTreeMap::new()));
            self.rows.len() - 1
        });
        self.rows[at].1.entry(kind).or_default().push(value);
        Ok(())
    }

    /// The table: medians of each server and ratios.
    pub(crate) fn print(&self, report: &Report) -> Result<()> {
        let wide = self.rows.iter().map(|(figure, _)| figure.what.chars().count()).max().unwrap_or(0);
        let mut load = "";
        for (figure, values) in &self.rows {
            if figure.load != load {
                load = &figure.load;
                println!("\n{load}");
                println!(
                    "  {:wide$}  {:>10}  {:>10}  {:>10}  {:14}  {:>22}  {:>22}  goal",
                    "", "ours", "VictoriaM.", "Prometheus", "", "ours/VictoriaMetrics", "ours/Prometheus"
                );
            }
            let middle = |kind: Kind| {
                spread(values.get(&kind).cloned().unwrap_or_default()).map_or("-".to_owned(), |of| shown(of.median))
            };
            println!(
                "  {:wide$}  {:>10}  {:>10}  {:>10}  {:14}  {:>22}  {:>22}  {}",
                figure.what,
                middle(Kind::Signalbox),
                middle(Kind::VictoriaMetrics),
                middle(Kind::Prometheus),
                figure.unit,
                ratio(figure, values, Kind::VictoriaMetrics, report)?,
                ratio(figure, values, Kind::Prometheus, report)?,
                figure.goal,
            );
        }
        Ok(())
    }
}

/// Ours over the peer's, round by round.
fn ratio(figure: &Figure, values: &BTreeMap<Kind, Vec<f64>>, peer: Kind, report: &Report) -> Result<String> {
    let of = |kind: Kind| values.get(&kind).into_iter().flatten();
    let ratios = of(Kind::Signalbox).zip(of(peer)).map(|(ours, theirs)| ours / theirs).collect();
    let Some(Spread { min, median, max }) = spread(ratios) else { return Ok("-".to_owned()) };
    let what = format!("store {}: {}, ours over {}", figure.load, figure.what, peer.name());
    report.note(&what, median, "ratio", &format!("{min:.3} to {max:.3}; goal: {}", figure.goal))?;
    let n = values.get(&peer).map_or(0, Vec::len);
    Ok(if n > 1 { format!("{median:.3} ({min:.3}-{max:.3})") } else { format!("{median:.3}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_taken_round_by_round_and_its_median_shown() {
        let figure = Figure { load: "S1".to_owned(), what: "ingest".to_owned(), unit: "samples/CPU s", goal: "" };
        let values = BTreeMap::from([
            (Kind::Signalbox, vec![30.0, 10.0, 20.0]),
            (Kind::VictoriaMetrics, vec![10.0, 10.0, 5.0]),
            (Kind::Prometheus, vec![f64::NAN]),
        ]);
        let report = Report::new(None);
        let shown = |peer| ratio(&figure, &values, peer, &report).unwrap();
        assert_eq!(shown(Kind::VictoriaMetrics), "3.000 (1.000-4.000)");
        assert_eq!(shown(Kind::Prometheus), "-", "what was not measured has no ratio");
    }
}
