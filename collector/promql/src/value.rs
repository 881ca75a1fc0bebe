//! Answers: scalars, strings, vectors, matrices.

use crate::annotations::Annotations;
use crate::labels::Labels;
use signalbox_proto::units::UnixMillis;
use std::fmt::Write as _;

/// A number at an instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// When.
    pub time: UnixMillis,
    /// What; never a stale marker.
    pub value: f64,
}

/// One element of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Whose.
    pub labels: Labels,
    /// When and what.
    pub point: Point,
}

/// One series of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Whose.
    pub labels: Labels,
    /// At least one, ascending in time.
    pub points: Vec<Point>,
}

/// What a query evaluates to.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number.
    Scalar(Point),
    /// A text.
    Text {
        /// When.
        time: UnixMillis,
        /// What.
        text: String,
    },
    /// Series with one value each: sorted by labels, or as `sort…` and `topk` order them.
    Vector(Vec<Sample>),
    /// Series with many values each, sorted by labels.
    Matrix(Vec<Series>),
}

impl Value {
    /// The `resultType` of the Prometheus HTTP API.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Scalar(_) => "scalar",
            Value::Text { .. } => "string",
            Value::Vector(_) => "vector",
            Value::Matrix(_) => "matrix",
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The result.
    pub value: Value,
    /// Warnings and infos.
    pub annotations: Annotations,
}

/// A value as Prometheus's API writes it: the shortest decimal that reads back,
/// never in exponents; `NaN`, `+Inf`, `-Inf`.
pub fn write_value(out: &mut String, value: f64) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        // Display of f64 is the shortest that reads back and has no exponent.
        let _ = write!(out, "{value}");
    }
}

/// [`write_value`] into a text of its own.
pub fn show_value(value: f64) -> String {
    let mut out = String::new();
    write_value(&mut out, value);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_in_prometheus() {
        let cases = [
            (1.0, "1"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (1e21, "1000000000000000000000"),
            (1e-7, "0.0000001"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in cases {
            assert_eq!(show_value(value), text);
        }
    }
}
