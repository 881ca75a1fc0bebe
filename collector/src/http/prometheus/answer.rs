//! Answers of queries as JSON, written piece by piece while the client reads.
//!
//! ```text
//! {"status":"success","data":{"resultType":"matrix","result":[{"metric":{…},"values":[[secs,"v"],…]},…]},
//!  "warnings":[…],"infos":[…]}
//! ```
//!
//! The evaluator's columns are the only copy of the answer; text is made of them in
//! pieces of [`PIECE_BYTES`].

use super::number::{push_time, push_value};
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use signalbox_promql::labels::Labels;
use signalbox_promql::value::{Answer, Point, Value};
use std::convert::Infallible;

/// Text that is made at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// The longest that one point, or the end of one series and the begin of the next without labels, takes.
const SLACK_BYTES: usize = 512;

/// An answer that is being written.
#[derive(Debug)]
pub(crate) struct Written {
    answer: Answer,
    /// Why it is not whole, besides what the evaluator says.
    warnings: Vec<String>,
    at: At,
}

/// How far it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Begin,
    /// Before this point of this element.
    Element {
        element: usize,
        point: usize,
    },
    Done,
}

/// Begins to write an answer.
pub(super) fn written(answer: Answer, warnings: Vec<String>) -> Written {
    Written { answer, warnings, at: At::Begin }
}

impl Iterator for Written {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = String::with_capacity(PIECE_BYTES + SLACK_BYTES);
        while out.len() < PIECE_BYTES && self.at != At::Done {
            self.step(&mut out);
        }
        (!out.is_empty()).then(|| Bytes::from(out))
    }
}

impl Written {
    fn step(&mut self, out: &mut String) {
        self.at = match (self.at, &self.answer.value) {
            (At::Begin, value) => {
                out.push_str("{\"status\":\"success\",\"data\":{\"resultType\":\"");
                out.push_str(value.kind());
                out.push_str("\",\"result\":");
                match value {
                    Value::Scalar(point) => push_point(out, point),
                    Value::Text { time, text } => {
                        out.push('[');
                        push_time(out, time.0);
                        out.push(',');
                        push_text(out, text);
                        out.push(']');
                    }
                    Value::Vector(_) | Value::Matrix(_) => out.push('['),
                }
                At::Element { element: 0, point: 0 }
            }
            (At::Element { element, .. }, Value::Vector(samples)) if element < samples.len() => {
                push_metric(out, element, &samples[element].labels);
                out.push_str(",\"value\":");
                push_point(out, &samples[element].point);
                out.push('}');
                At::Element { element: element + 1, point: 0 }
            }
            (At::Element { element, point }, Value::Matrix(series)) if element < series.len() => {
                let one = &series[element];
                if point == 0 {
                    push_metric(out, element, &one.labels);
                    out.push_str(",\"values\":[");
                }
                let end = push_points(out, &one.points, point);
                if end < one.points.len() {
                    At::Element { element, point: end }
                } else {
                    out.push_str("]}");
                    At::Element { element: element + 1, point: 0 }
                }
            }
            (At::Element { .. }, value) => {
                if matches!(value, Value::Vector(_) | Value::Matrix(_)) {
                    out.push(']');
                }
                self.push_end(out);
                At::Done
            }
            (At::Done, _) => At::Done,
        };
    }

    fn push_end(&self, out: &mut String) {
        out.push('}');
        let mut warnings = self.answer.annotations.warnings();
        warnings.extend(self.warnings.iter().cloned());
        for (name, texts) in [("warnings", warnings), ("infos", self.answer.annotations.infos())] {
            for (n, text) in texts.iter().enumerate() {
                out.push_str(if n == 0 { ",\"" } else { "," });
                if n == 0 {
                    out.push_str(name);
                    out.push_str("\":[");
                }
                push_text(out, text);
            }
            if !texts.is_empty() {
                out.push(']');
            }
        }
        out.push('}');
    }
}

/// Points from this one on, as many as a piece holds; where it ended.
fn push_points(out: &mut String, points: &[Point], begin: usize) -> usize {
    for (at, point) in points.iter().enumerate().skip(begin) {
        if out.len() >= PIECE_BYTES {
            return at;
        }
        if at > 0 {
            out.push(',');
        }
        push_point(out, point);
    }
    points.len()
}

fn push_point(out: &mut String, point: &Point) {
    out.push('[');
    push_time(out, point.time.0);
    out.push_str(",\"");
    push_value(out, point.value);
    out.push_str("\"]");
}

fn push_metric(out: &mut String, element: usize, labels: &Labels) {
    out.push_str(if element == 0 { "{\"metric\":{" } else { ",{\"metric\":{" });
    for (n, (name, value)) in labels.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        push_text(out, name);
        out.push(':');
        push_text(out, value);
    }
    out.push('}');
}

fn push_text(out: &mut String, text: &str) {
    let is_plain = text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
    if is_plain {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}

impl IntoResponse for Written {
    fn into_response(mut self) -> Response {
        let first = self.next().unwrap_or_default();
        let body = if self.at == At::Done {
            Body::from(first)
        } else {
            let pieces = std::iter::once(first).chain(self).map(Ok::<_, Infallible>);
            Body::from_stream(futures::stream::iter(pieces))
        };
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// Data of a query, for its description.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "describes what is written by hand")]
pub(crate) struct QueryData {
    /// `matrix`, `vector`, `scalar` or `string`.
    result_type: String,
    /// Series with `metric` and `values` (`[[seconds, "value"], …]`) or `value`; a
    /// scalar or string is one such pair.
    result: Vec<serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalbox_promql::annotations::Annotations;
    use signalbox_promql::value::{Sample, Series};
    use signalbox_proto::units::UnixMillis;

    fn point(at_ms: i64, value: f64) -> Point {
        Point { time: UnixMillis(at_ms), value }
    }

    fn check(value: Value, wanted: &str) {
        let pieces = written(Answer { value, annotations: Annotations::default() }, Vec::new());
        let text: Vec<u8> = pieces.flatten().collect();
        let text = String::from_utf8(text).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
        assert_eq!(text, format!("{{\"status\":\"success\",\"data\":{wanted}}}"));
    }

    #[test]
    fn every_kind_of_value_reads_as_prometheus_writes_it() {
        let labels = || Labels::new([("__name__", "up"), ("job", "a\"b")]);
        check(Value::Scalar(point(1500, 2.0)), r#"{"resultType":"scalar","result":[1.500,"2"]}"#);
        let text = Value::Text { time: UnixMillis(1000), text: "a\n".to_owned() };
        check(text, r#"{"resultType":"string","result":[1,"a\n"]}"#);
        check(Value::Vector(Vec::new()), r#"{"resultType":"vector","result":[]}"#);
        let one = |value| Sample { labels: labels(), point: point(1000, value) };
        let metric = r#""metric":{"__name__":"up","job":"a\"b"}"#;
        check(
            Value::Vector(vec![one(1.0), one(f64::NAN)]),
            &format!(
                r#"{{"resultType":"vector","result":[{{{metric},"value":[1,"1"]}},{{{metric},"value":[1,"NaN"]}}]}}"#
            ),
        );
        let series = Series { labels: Labels::empty(), points: vec![point(0, 0.5), point(1000, 1.0)] };
        check(
            Value::Matrix(vec![series]),
            r#"{"resultType":"matrix","result":[{"metric":{},"values":[[0,"0.5"],[1,"1"]]}]}"#,
        );
    }

    #[test]
    fn a_long_answer_comes_in_pieces_and_whole() {
        let points: Vec<Point> = (0..20_000).map(|n| point(n * 1000, 0.1)).collect();
        let series = vec![Series { labels: Labels::empty(), points }; 2];
        let mut annotations = Annotations::default();
        annotations.inform("a");
        annotations.inform("b");
        let answer = Answer { value: Value::Matrix(series), annotations };
        let pieces: Vec<Bytes> = written(answer, vec!["cut".to_owned()]).collect();
        assert!(pieces.len() > 5 && pieces.iter().all(|piece| piece.len() < PIECE_BYTES + SLACK_BYTES));
        let json: serde_json::Value = serde_json::from_slice(&pieces.concat()).unwrap();
        assert_eq!(json["data"]["result"][1]["values"].as_array().unwrap().len(), 20_000);
        assert_eq!((json["warnings"][0].as_str(), json["infos"].as_array().unwrap().len()), (Some("cut"), 2));
    }
}
