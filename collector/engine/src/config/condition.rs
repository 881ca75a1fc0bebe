//! `> 0.85`, `<= 3`, `10:20`, `@10:20`, `~:5`, `5`: text to sets of numbers.
//!
//! Ranges are those of the Nagios plugin guidelines: `start:end` holds what lies
//! *outside* the closed range, `@` turns it inside out, `~` is minus infinity,
//! an empty end is plus infinity, a number alone is the end of a range from 0.

use crate::rule::Condition;
use thiserror::Error;

/// Why a condition was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum ConditionError {
    #[error("{0:?} is not understood")]
    Unknown(String),
    #[error("{0:?} holds a number that is not finite")]
    NotFinite(String),
    #[error("{0:?} begins after its end")]
    Reversed(String),
    #[error("{0:?} holds no number at all")]
    Nothing(String),
    #[error("{0:?} holds every number")]
    Everything(String),
}

impl ConditionError {
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            ConditionError::Unknown(_) => {
                "write \"> 0.85\" (or >= < <=) or a range as Nagios does: \"10:20\", \"@10:20\""
            }
            ConditionError::NotFinite(_) => "write a plain decimal number",
            ConditionError::Reversed(_) => "write the smaller number first",
            ConditionError::Nothing(_) => "remove it, or write `never`",
            ConditionError::Everything(_) => "give the range an end",
        }
    }
}

/// A set of numbers by its bound.
type Build = fn(f64) -> Condition;

/// Longer operators first: `>=` begins with `>`.
const COMPARISONS: [(&str, Build); 4] =
    [(">=", Condition::AtLeast), ("<=", Condition::AtMost), (">", Condition::Above), ("<", Condition::Below)];

/// Parses a condition.
pub(super) fn parse(text: &str) -> Result<Condition, ConditionError> {
    let trimmed = text.trim();
    for (operator, build) in COMPARISONS {
        if let Some(rest) = trimmed.strip_prefix(operator) {
            return number(rest, text).map(build);
        }
    }
    range(trimmed, text)
}

fn range(trimmed: &str, text: &str) -> Result<Condition, ConditionError> {
    let (inside, bounds) = match trimmed.strip_prefix('@') {
        Some(bounds) => (true, bounds),
        None => (false, trimmed),
    };
    let (start, end) = bounds.split_once(':').unwrap_or(("0", bounds));
    let low = match start.trim() {
        "~" => None,
        "" => Some(0.0),
        start => Some(number(start, text)?),
    };
    let high = match end.trim() {
        "" if bounds.contains(':') => None,
        end => Some(number(end, text)?),
    };
    match (low, high, inside) {
        (Some(low), Some(high), _) if low > high => Err(ConditionError::Reversed(text.to_owned())),
        (Some(low), Some(high), true) => Ok(Condition::Inside(low, high)),
        (Some(low), Some(high), false) => Ok(Condition::Outside(low, high)),
        (Some(low), None, true) => Ok(Condition::AtLeast(low)),
        (Some(low), None, false) => Ok(Condition::Below(low)),
        (None, Some(high), true) => Ok(Condition::AtMost(high)),
        (None, Some(high), false) => Ok(Condition::Above(high)),
        (None, None, true) => Err(ConditionError::Everything(text.to_owned())),
        (None, None, false) => Err(ConditionError::Nothing(text.to_owned())),
    }
}

fn number(part: &str, text: &str) -> Result<f64, ConditionError> {
    let value: f64 = part.trim().parse().map_err(|_| ConditionError::Unknown(text.to_owned()))?;
    if value.is_finite() { Ok(value) } else { Err(ConditionError::NotFinite(text.to_owned())) }
}

/// All numbers that are not in the set.
pub(super) fn complement(condition: Condition) -> Condition {
    match condition {
        Condition::Above(x) => Condition::AtMost(x),
        Condition::AtLeast(x) => Condition::Below(x),
        Condition::Below(x) => Condition::AtLeast(x),
        Condition::AtMost(x) => Condition::Above(x),
        Condition::Outside(low, high) => Condition::Inside(low, high),
        Condition::Inside(low, high) => Condition::Outside(low, high),
    }
}

/// True when every number of `inner` is in `outer`.
pub(super) fn is_subset(inner: Condition, outer: Condition) -> bool {
    parts(inner).into_iter().flatten().all(|part| parts(outer).into_iter().flatten().any(|whole| part.lies_in(whole)))
}

/// True when no number is in both.
pub(super) fn is_disjoint(a: Condition, b: Condition) -> bool {
    is_subset(a, complement(b))
}

/// One interval: its bounds and whether they belong to it.
#[derive(Clone, Copy)]
struct Interval {
    low: f64,
    low_in: bool,
    high: f64,
    high_in: bool,
}

impl Interval {
    fn lies_in(self, whole: Interval) -> bool {
        let low = self.low > whole.low || (self.low == whole.low && (whole.low_in || !self.low_in));
        let high = self.high < whole.high || (self.high == whole.high && (whole.high_in || !self.high_in));
        low && high
    }
}

fn parts(condition: Condition) -> [Option<Interval>; 2] {
    let all = (f64::NEG_INFINITY, f64::INFINITY);
    let up = |low, low_in| Interval { low, low_in, high: all.1, high_in: true };
    let down = |high, high_in| Interval { low: all.0, low_in: true, high, high_in };
    match condition {
        Condition::Above(x) => [Some(up(x, false)), None],
        Condition::AtLeast(x) => [Some(up(x, true)), None],
        Condition::Below(x) => [Some(down(x, false)), None],
        Condition::AtMost(x) => [Some(down(x, true)), None],
        Condition::Outside(low, high) => [Some(down(low, false)), Some(up(high, false))],
        Condition::Inside(low, high) => [Some(Interval { low, low_in: true, high, high_in: true }), None],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn comparisons_and_nagios_ranges_parse() {
        for (text, expected) in [
            ("> 0.85", Condition::Above(0.85)),
            (">=3", Condition::AtLeast(3.0)),
            (" < -1 ", Condition::Below(-1.0)),
            ("<= 2e3", Condition::AtMost(2000.0)),
            ("10:20", Condition::Outside(10.0, 20.0)),
            ("@10:20", Condition::Inside(10.0, 20.0)),
            ("~:5", Condition::Above(5.0)),
            ("@~:5", Condition::AtMost(5.0)),
            ("10:", Condition::Below(10.0)),
            ("@10:", Condition::AtLeast(10.0)),
            (":7", Condition::Outside(0.0, 7.0)),
            ("5", Condition::Outside(0.0, 5.0)),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        let error = |text| parse(text).unwrap_err();
        assert!(matches!(error(""), ConditionError::Unknown(_)));
        assert!(matches!(error("> 85%"), ConditionError::Unknown(_)));
        assert!(matches!(error("@"), ConditionError::Unknown(_)));
        assert!(matches!(error("> inf"), ConditionError::NotFinite(_)));
        assert!(matches!(error("> NaN"), ConditionError::NotFinite(_)));
        assert!(matches!(error("20:10"), ConditionError::Reversed(_)));
        assert!(matches!(error("~:"), ConditionError::Nothing(_)));
        assert!(matches!(error("@~:"), ConditionError::Everything(_)));
    }

    fn any_condition() -> impl Strategy<Value = Condition> {
        let small = || (-4i32..=4).prop_map(f64::from);
        prop_oneof![
            small().prop_map(Condition::Above),
            small().prop_map(Condition::AtLeast),
            small().prop_map(Condition::Below),
            small().prop_map(Condition::AtMost),
            (small(), small()).prop_map(|(a, b)| Condition::Outside(a.min(b), a.max(b))),
            (small(), small()).prop_map(|(a, b)| Condition::Inside(a.min(b), a.max(b))),
        ]
    }

    proptest! {
        #[test]
        fn sets_agree_with_their_members(a in any_condition(), b in any_condition()) {
            let grid = || (-24..=24).map(|n| f64::from(n) / 4.0);
            prop_assert_eq!(is_subset(a, b), grid().all(|v| !a.holds(v) || b.holds(v)));
            prop_assert_eq!(is_disjoint(a, b), grid().all(|v| !(a.holds(v) && b.holds(v))));
            prop_assert!(grid().all(|v| a.holds(v) != complement(a).holds(v)));
        }
    }
}
