//! From a value to an instant level, and the values that would change nothing.
//!
//! The instant level has hysteresis: a level is entered when its `bad` set holds
//! the value and left only when its `hold` set does not.
//!
//! ```text
//!            red.bad                          red.bad
//!      ┌────────────────────────────┐    ┌──────────────┐
//!   [GREEN] ── amber.bad ──▶ [AMBER] ─────┘            [RED]
//!      ▲ ◀── not amber.hold ──┘  ▲ ◀── not red.hold, amber.hold ──┘ │
//!      └───────── not red.hold, not amber.hold ─────────────────────┘
//! ```

use crate::event::Band;
use crate::rule::{Condition, Judgement};
use signalbox_proto::status::Level;

/// The instant level after `value`, coming from `from`. The value is a number.
pub(crate) fn step(how: &Judgement, from: Level, value: f64) -> Level {
    let bad = |level| threshold(how, level).is_some_and(|threshold| threshold.bad.holds(value));
    let hold = |level| threshold(how, level).is_some_and(|threshold| threshold.hold.holds(value));
    if bad(Level::Red) || (from == Level::Red && hold(Level::Red)) {
        Level::Red
    } else if bad(Level::Amber) || (from > Level::Green && hold(Level::Amber)) {
        Level::Amber
    } else {
        Level::Green
    }
}

/// The widest range around `value` in which [`step`] stays at `level`.
pub(crate) fn band(how: &Judgement, level: Level, value: f64) -> Band {
    let outside = |condition: Condition| outside(condition, value);
    let parts = match level {
        Level::Green => {
            [how.amber.map(|threshold| outside(threshold.bad)), how.red.map(|threshold| outside(threshold.bad))]
        }
        Level::Amber => {
            [how.amber.map(|threshold| inside(threshold.hold, value)), how.red.map(|threshold| outside(threshold.bad))]
        }
        Level::Red => [None, how.red.map(|threshold| inside(threshold.hold, value))],
    };
    parts.into_iter().flatten().fold(Band::ALL, meet)
}

/// What both bands hold.
pub(crate) fn meet(a: Band, b: Band) -> Band {
    Band { low: a.low.max(b.low), high: a.high.min(b.high) }
}

fn threshold(how: &Judgement, level: Level) -> Option<crate::rule::Threshold> {
    match level {
        Level::Green => None,
        Level::Amber => how.amber,
        Level::Red => how.red,
    }
}

/// The part of the condition's set that is one range and holds `value`.
fn inside(condition: Condition, value: f64) -> Band {
    if !condition.holds(value) {
        return Band::NONE;
    }
    match condition {
        Condition::Above(x) => Band { low: x.next_up(), high: f64::INFINITY },
        Condition::AtLeast(x) => Band { low: x, high: f64::INFINITY },
        Condition::Below(x) => Band { low: f64::NEG_INFINITY, high: x.next_down() },
        Condition::AtMost(x) => Band { low: f64::NEG_INFINITY, high: x },
        Condition::Inside(low, high) => Band { low, high },
        Condition::Outside(low, _) if value < low => Band { low: f64::NEG_INFINITY, high: low.next_down() },
        Condition::Outside(_, high) => Band { low: high.next_up(), high: f64::INFINITY },
    }
}

/// The part of the set's complement that is one range and holds `value`.
fn outside(condition: Condition, value: f64) -> Band {
    match condition {
        Condition::Above(x) => inside(Condition::AtMost(x), value),
        Condition::AtLeast(x) => inside(Condition::Below(x), value),
        Condition::Below(x) => inside(Condition::AtLeast(x), value),
        Condition::AtMost(x) => inside(Condition::Above(x), value),
        Condition::Inside(low, high) => inside(Condition::Outside(low, high), value),
        Condition::Outside(low, high) => inside(Condition::Inside(low, high), value),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rule::{OnMissing, Threshold};
    use proptest::prelude::*;
    use signalbox_proto::units::Millis;

    /// Amber at 80 (left under 70), red at 90 (left under 85), no clocks.
    pub(crate) fn high_is_bad() -> Judgement {
        let threshold = |bad, hold| Some(Threshold { bad: Condition::AtLeast(bad), hold: Condition::AtLeast(hold) });
        Judgement {
            amber: threshold(80.0, 70.0),
            red: threshold(90.0, 85.0),
            red_green: false,
            raise_amber: Millis::ZERO,
            raise_red: Millis::ZERO,
            clear_amber: Millis::ZERO,
            clear_red: Millis::ZERO,
            k_of_n: (1, 1),
            on_missing: OnMissing::Hold,
            no_data_for: Millis::from_mins(5),
            incident_from: Level::Red,
            flap_changes: 0,
            flap_window: Millis::from_mins(30),
        }
    }

    fn check(from: Level, value: f64, expected: Level) {
        assert_eq!(step(&high_is_bad(), from, value), expected, "{from} at {value}");
    }

    #[test]
    fn every_cell_of_the_hysteresis_table() {
        use Level::{Amber, Green, Red};
        for (from, value, expected) in [
            (Green, 79.9, Green),
            (Green, 80.0, Amber),
            (Green, 90.0, Red),
            (Amber, 69.9, Green),
            (Amber, 70.0, Amber),
            (Amber, 89.9, Amber),
            (Amber, 90.0, Red),
            (Red, 85.0, Red),
            (Red, 84.9, Amber),
            (Red, 70.0, Amber),
            (Red, 69.9, Green),
        ] {
            check(from, value, expected);
        }
    }

    #[test]
    fn a_rule_without_amber_goes_straight_to_green() {
        let how = Judgement { amber: None, ..high_is_bad() };
        assert_eq!(step(&how, Level::Red, 84.0), Level::Green);
        assert_eq!(step(&how, Level::Green, 85.0), Level::Green);
    }

    pub(crate) fn conditions() -> impl Strategy<Value = Condition> {
        let x = || -5i8..5;
        prop_oneof![
            x().prop_map(|x| Condition::Above(f64::from(x))),
            x().prop_map(|x| Condition::AtLeast(f64::from(x))),
            x().prop_map(|x| Condition::Below(f64::from(x))),
            x().prop_map(|x| Condition::AtMost(f64::from(x))),
            (x(), 0i8..5).prop_map(|(x, n)| Condition::Outside(f64::from(x), f64::from(x + n))),
            (x(), 0i8..5).prop_map(|(x, n)| Condition::Inside(f64::from(x), f64::from(x + n))),
        ]
    }

    proptest! {
        #[test]
        fn inside_its_band_a_value_changes_nothing(
            amber in proptest::option::of(conditions()), red in proptest::option::of(conditions()),
            from in 0usize..3, at in -12i8..12, probe in -12i8..12)
        {
            let same = |bad| Threshold { bad, hold: bad };
            let how = Judgement { amber: amber.map(same), red: red.map(same), ..high_is_bad() };
            let (at, probe) = (f64::from(at) / 2.0, f64::from(probe) / 2.0);
            let level = step(&how, [Level::Green, Level::Amber, Level::Red][from], at);
            let band = band(&how, level, at);
            prop_assert!(band.is_quiet(at), "{at} is in {band:?}");
            if band.is_quiet(probe) {
                prop_assert_eq!(step(&how, level, probe), level);
            }
        }
    }
}
