//! What a query came to, in one form for both evaluators.

use anyhow::{Context, Result, bail};
use serde_json::Value as Json;
use signalbox_promql::{Answer, Error, Labels, Value};
use std::collections::BTreeMap;
use std::fmt;

/// Answers differ by rounding at most: relative.
const TOLERANCE: f64 = 1e-9;

/// What a query came to.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// The `errorType`, and what was said.
    Refused { class: String, said: String },
    /// The `resultType` and its series; the empty label set for a scalar.
    Answered { kind: String, series: BTreeMap<String, Vec<(i64, f64)>>, order: Vec<f64> },
    /// A string.
    Text(String),
}

impl Outcome {
    /// From our evaluator.
    pub(crate) fn ours(answer: Result<Answer, Error>) -> Outcome {
        let answer = match answer {
            Ok(answer) => answer,
            Err(why) => return Outcome::Refused { class: why.class().to_owned(), said: why.to_string() },
        };
        let kind = answer.value.kind().to_owned();
        let rows: Vec<(String, Vec<(i64, f64)>)> = match answer.value {
            Value::Text { text, .. } => return Outcome::Text(text),
            Value::Scalar(point) => vec![(key(&Labels::empty()), vec![(point.time.0, point.value)])],
            Value::Vector(samples) => {
                samples.iter().map(|one| (key(&one.labels), vec![(one.point.time.0, one.point.value)])).collect()
            }
            Value::Matrix(all) => all
                .iter()
                .map(|one| (key(&one.labels), one.points.iter().map(|point| (point.time.0, point.value)).collect()))
                .collect(),
        };
        Outcome::answered(kind, rows)
    }

    /// From the JSON of Prometheus's API.
    pub(crate) fn theirs(answer: &Json) -> Result<Outcome> {
        let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
        if answer["status"] != "success" {
            return Ok(Outcome::Refused { class: text("errorType"), said: text("error") });
        }
        let (kind, result) = (answer["data"]["resultType"].as_str().context("a type")?, &answer["data"]["result"]);
        let rows = match kind {
            "string" => return Ok(Outcome::Text(result[1].as_str().context("a text")?.to_owned())),
            "scalar" => vec![(key(&Labels::empty()), vec![point(result)?])],
            "vector" | "matrix" => result.as_array().context("a list")?.iter().map(row).collect::<Result<Vec<_>>>()?,
            other => bail!("resultType {other:?}"),
        };
        Ok(Outcome::answered(kind.to_owned(), rows))
    }

    fn answered(kind: String, rows: Vec<(String, Vec<(i64, f64)>)>) -> Outcome {
        let order = rows.iter().map(|(_, points)| points[0].1).collect();
        Outcome::Answered { kind, series: rows.into_iter().collect(), order }
    }

    /// Where two differ; none if they do not. `ordered`: an instant query whose order was asked for.
    pub(crate) fn difference(&self, theirs: &Outcome, ordered: bool) -> Option<String> {
        match (self, theirs) {
            (Outcome::Refused { class, .. }, Outcome::Refused { class: other, .. }) => {
                (class != other).then(|| "refused in another class".to_owned())
            }
            (Outcome::Text(ours), Outcome::Text(theirs)) => (ours != theirs).then(|| "another text".to_owned()),
            (
                Outcome::Answered { kind, series, order },
                Outcome::Answered { kind: their_kind, series: their_series, order: their_order },
            ) => {
                if kind != their_kind {
                    return Some(format!("{kind} and {their_kind}"));
                }
                let same_order = order.iter().zip(their_order).all(|(ours, theirs)| same(*ours, *theirs));
                compare(series, their_series)
                    .or_else(|| (ordered && !same_order).then(|| format!("order {order:?} and {their_order:?}")))
            }
            _ => Some("one answers, one does not".to_owned()),
        }
    }

    /// In one line: the class of a refusal, or labels and values.
    pub(crate) fn brief(&self) -> String {
        let values = |points: &[(i64, f64)]| points.iter().map(|(_, value)| format!(" {value}")).collect::<String>();
        match self {
            Outcome::Refused { class, .. } => class.clone(),
            Outcome::Text(text) => text.clone(),
            Outcome::Answered { series, .. } => {
                let rows: Vec<String> =
                    series.iter().map(|(labels, points)| format!("{labels}{}", values(points))).collect();
                rows.join(", ")
            }
        }
    }

    /// True when the text, not the data, is refused.
    pub(crate) fn is_bad_data(&self) -> bool {
        matches!(self, Outcome::Refused { class, .. } if class == "bad_data")
    }

    /// True when there is something to compare.
    pub(crate) fn is_telling(&self) -> bool {
        matches!(self, Outcome::Answered { series, .. } if !series.is_empty())
    }
}

fn compare(ours: &BTreeMap<String, Vec<(i64, f64)>>, theirs: &BTreeMap<String, Vec<(i64, f64)>>) -> Option<String> {
    if let Some(labels) = ours.keys().find(|labels| !theirs.contains_key(*labels)) {
        return Some(format!("only we have {labels}"));
    }
    for (labels, wanted) in theirs {
        let Some(own) = ours.get(labels) else { return Some(format!("we lack {labels}")) };
        let differs = own.iter().zip(wanted).find(|(own, wanted)| own.0 != wanted.0 || !same(own.1, wanted.1));
        if let Some((own, wanted)) = differs {
            return Some(format!("{labels} at {} ms: {:?}, at {} ms: {:?}", own.0, own.1, wanted.0, wanted.1));
        }
        if own.len() != wanted.len() {
            return Some(format!("{labels}: {} and {} values", own.len(), wanted.len()));
        }
    }
    None
}

/// Equal but for rounding; NaN is NaN.
fn same(a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    a == b || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}

fn key(labels: &Labels) -> String {
    labels.to_string()
}

fn row(json: &Json) -> Result<(String, Vec<(i64, f64)>)> {
    let labels = json["metric"].as_object().context("labels")?;
    let pairs = labels.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()));
    let points = match (&json["value"], &json["values"]) {
        (Json::Null, all) => all.as_array().context("values")?.iter().map(point).collect::<Result<_>>()?,
        (one, _) => vec![point(one)?],
    };
    Ok((key(&Labels::new(pairs)), points))
}

fn point(json: &Json) -> Result<(i64, f64)> {
    let time = json[0].as_f64().context("a time")?;
    let value = json[1].as_str().context("a value")?;
    Ok(((time * 1000.0).round() as i64, value.parse().with_context(|| format!("value {value:?}"))?))
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Refused { class, said } => write!(f, "{class}: {said}"),
            Outcome::Text(text) => write!(f, "{text:?}"),
            Outcome::Answered { kind, series, .. } => {
                write!(f, "{kind} of {}", series.len())?;
                series.iter().take(3).try_for_each(|(labels, points)| {
                    let shown = &points[..points.len().min(6)];
                    write!(f, "\n      {labels} {shown:?}{}", if points.len() > 6 { " …" } else { "" })
                })
            }
        }
    }
}
