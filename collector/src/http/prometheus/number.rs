//! Numbers as Prometheus prints them, appended to an answer without an allocation.

use std::fmt::Write;

/// Below this a value is written with an exponent, as JSON numbers of Go are.
const PLAIN_MIN: f64 = 1e-6;
/// From here on too.
const PLAIN_END: f64 = 1e21;
/// Whole numbers up to here are written as integers.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// A sample's value: the shortest text that reads back as the same number.
pub(crate) fn push_value(out: &mut String, value: f64) {
    let magnitude = value.abs();
    // Writing into a String cannot fail.
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if magnitude != 0.0 && !(PLAIN_MIN..PLAIN_END).contains(&magnitude) {
        push_exponent(out, value);
    } else if value.fract() == 0.0 && magnitude <= WHOLE_MAX && (value != 0.0 || value.is_sign_positive()) {
        #[allow(clippy::cast_possible_truncation, reason = "whole, and at most 2^53")]
        let whole = value as i64;
        let _ = write!(out, "{whole}");
    } else {
        let _ = write!(out, "{value}");
    }
}

/// `1e-07`: at least two digits of exponent, with its sign.
fn push_exponent(out: &mut String, value: f64) {
    let begin = out.len();
    let _ = write!(out, "{value:e}");
    let Some(at) = out[begin..].find('e').map(|at| begin + at + 1) else { return };
    let exponent = out.split_off(at);
    let digits = exponent.trim_start_matches('-');
    out.push(if exponent.starts_with('-') { '-' } else { '+' });
    if digits.len() < 2 {
        out.push('0');
    }
    out.push_str(digits);
}

/// An instant in seconds: milliseconds as three digits, or none at all.
pub(crate) fn push_time(out: &mut String, at_ms: i64) {
    let (secs, ms) = (at_ms.div_euclid(1000), at_ms.rem_euclid(1000));
    let _ = match (ms, secs) {
        (0, _) => write!(out, "{secs}"),
        (ms, 0..) => write!(out, "{secs}.{ms:03}"),
        // -1.5 s lies between -2 and -1.
        (ms, -1) => write!(out, "-0.{:03}", 1000 - ms),
        (ms, _) => write!(out, "{}.{:03}", secs + 1, 1000 - ms),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: f64, wanted: &str) {
        let mut out = String::from("x");
        push_value(&mut out, value);
        assert_eq!(out[1..], *wanted);
    }

    #[test]
    fn values_read_as_prometheus_prints_them() {
        check(0.0, "0");
        check(-0.0, "-0");
        check(1.0, "1");
        check(-3.5, "-3.5");
        check(0.1 + 0.2, "0.30000000000000004");
        check(1e-6, "0.000001");
        check(9.5e-7, "9.5e-07");
        check(-1e-7, "-1e-07");
        check(5e-324, "5e-324");
        check(1e20, "100000000000000000000");
        check(1e21, "1e+21");
        check(1.797_693_134_862_315_7e308, "1.7976931348623157e+308");
        check(9_007_199_254_740_993.0, "9007199254740992");
        check(f64::NAN, "NaN");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
    }

    #[test]
    fn instants_have_three_digits_or_none() {
        for (at_ms, wanted) in [
            (0, "0"),
            (1_435_781_451_781, "1435781451.781"),
            (1_435_781_451_000, "1435781451"),
            (5, "0.005"),
            (-5, "-0.005"),
            (-1500, "-1.500"),
            (-2000, "-2"),
        ] {
            let mut out = String::new();
            push_time(&mut out, at_ms);
            assert_eq!(out, wanted);
        }
    }
}
