//! The collector's API after Prometheus, from the calling side: expressions, series,
//! labels, cardinality.

use crate::client::{Answer, Client, ClientError};
use serde::Deserialize;
use signalbox_proto::api::{QueryAnswer, SeriesPoints};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeMap;

/// What goes around every answer.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Envelope<T> {
    /// What was asked for.
    pub data: T,
    /// Why it is not whole.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What is worth knowing.
    #[serde(default)]
    pub infos: Vec<String>,
}

/// Seconds and a number as text.
pub type Pair = (f64, String);

/// The value of an expression.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "snake_case")]
pub enum Value {
    /// A number.
    Scalar(Pair),
    /// A text.
    String(Pair),
    /// Series with one value each.
    Vector(Vec<VectorSeries>),
    /// Series with many.
    Matrix(Vec<MatrixSeries>),
}

/// One element of a vector.
#[derive(Debug, Clone, Deserialize)]
pub struct VectorSeries {
    /// Labels.
    pub metric: BTreeMap<String, String>,
    /// When and what.
    pub value: Pair,
}

/// One series of a matrix.
#[derive(Debug, Clone, Deserialize)]
pub struct MatrixSeries {
    /// Labels.
    pub metric: BTreeMap<String, String>,
    /// When and what.
    pub values: Vec<Pair>,
}

/// Something and how many.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Counted {
    /// What.
    pub name: String,
    /// How many.
    pub value: u64,
}

/// What series cost most.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TsdbStatus {
    /// Totals.
    pub head_stats: HeadStats,
    /// Series by metric.
    pub series_count_by_metric_name: Vec<Counted>,
    /// Distinct values by label.
    pub label_value_count_by_label_name: Vec<Counted>,
    /// Series by pair.
    pub series_count_by_label_value_pair: Vec<Counted>,
}

/// Totals.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeadStats {
    /// Series that are known.
    pub num_series: u64,
    /// Distinct pairs.
    pub num_label_pairs: u64,
}

impl Value {
    /// As series over a range; a single value is a series of one point.
    pub fn into_series(self) -> Vec<SeriesPoints> {
        match self {
            Value::Scalar(pair) | Value::String(pair) => vec![points(BTreeMap::new(), &[pair])],
            Value::Vector(all) => all.into_iter().map(|one| points(one.metric, &[one.value])).collect(),
            Value::Matrix(all) => all.into_iter().map(|one| points(one.metric, &one.values)).collect(),
        }
    }
}

fn points(labels: BTreeMap<String, String>, pairs: &[Pair]) -> SeriesPoints {
    let number = |text: &str| text.parse::<f64>().ok().filter(|value| value.is_finite());
    let points = pairs.iter().map(|(secs, text)| (millis(*secs), number(text))).collect();
    SeriesPoints { labels, points }
}

/// Whole milliseconds of Unix seconds.
#[allow(clippy::cast_possible_truncation, reason = "instants of a calendar")]
pub(crate) fn millis(secs: f64) -> i64 {
    (secs * 1000.0).round() as i64
}

/// Instants and spans as the API reads them.
fn secs(ms: i64) -> String {
    format!("{}{}.{:03}", if ms < 0 { "-" } else { "" }, ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000)
}

/// The value of a range as `GET /query` of our own API has it.
pub fn as_query_answer(from: UnixMillis, to: UnixMillis, envelope: &Envelope<Value>) -> QueryAnswer {
    let series = envelope.data.clone().into_series();
    QueryAnswer { from, to, series, warnings: envelope.warnings.clone() }
}

type Result<T> = std::result::Result<Answer<Envelope<T>>, ClientError>;

/// Each asks the route of its name; errors are [`ClientError`].
#[allow(clippy::missing_errors_doc, reason = "every function fails in the ways that ClientError lists")]
impl Client {
    /// `GET /api/v1/query`.
    pub async fn instant(&self, text: &str, at: UnixMillis) -> Result<Value> {
        self.get_prometheus(&["query"], &[("query", text.to_owned()), ("time", secs(at.0))]).await
    }

    /// `GET /api/v1/query_range`.
    pub async fn range(&self, text: &str, start: UnixMillis, end: UnixMillis, step: Millis) -> Result<Value> {
        let step = secs(i64::try_from(step.0).unwrap_or(i64::MAX));
        let query = [("query", text.to_owned()), ("start", secs(start.0)), ("end", secs(end.0)), ("step", step)];
        self.get_prometheus(&["query_range"], &query).await
    }

    /// `GET /api/v1/series`.
    pub async fn series(&self, selectors: &[String], limit: u64) -> Result<Vec<BTreeMap<String, String>>> {
        self.get_prometheus(&["series"], &matching(selectors, limit)).await
    }

    /// `GET /api/v1/labels`.
    pub async fn label_names(&self, selectors: &[String], limit: u64) -> Result<Vec<String>> {
        self.get_prometheus(&["labels"], &matching(selectors, limit)).await
    }

    /// `GET /api/v1/label/{name}/values`.
    pub async fn label_values(&self, name: &str, selectors: &[String], limit: u64) -> Result<Vec<String>> {
        self.get_prometheus(&["label", name, "values"], &matching(selectors, limit)).await
    }

    /// `GET /api/v1/status/tsdb`.
    pub async fn cardinality(&self, limit: u64) -> Result<TsdbStatus> {
        self.get_prometheus(&["status", "tsdb"], &[("limit", limit.to_string())]).await
    }
}

fn matching(selectors: &[String], limit: u64) -> Vec<(&'static str, String)> {
    let given = selectors.iter().map(|text| ("match[]", text.clone()));
    given.chain([("limit", limit.to_string())]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(text: &str) -> Vec<SeriesPoints> {
        serde_json::from_str::<Envelope<Value>>(text).unwrap().data.into_series()
    }

    #[test]
    fn every_kind_of_value_becomes_series() {
        let one = series(r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"2"]}}"#);
        assert_eq!(one[0].points, [(1500, Some(2.0))]);
        let vector = series(r#"{"data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1,"NaN"]}]}}"#);
        assert_eq!((vector[0].labels["a"].as_str(), vector[0].points[0]), ("b", (1000, None)));
        let matrix = series(
            r#"{"data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"],[2,"+Inf"]]}]},"infos":["x"]}"#,
        );
        assert_eq!(matrix[0].points, [(1000, Some(1.0)), (2000, None)]);
    }

    #[test]
    fn instants_are_written_in_seconds() {
        for (ms, wanted) in [(1500, "1.500"), (-5, "-0.005"), (0, "0.000")] {
            assert_eq!(secs(ms), wanted);
        }
    }
}
