//! A line of samples as SVG coordinates: a picture without a script.

/// Width of the drawing, in its own units.
pub(crate) const WIDTH: f64 = 300.0;
/// Height of the drawing.
pub(crate) const HEIGHT: f64 = 40.0;

/// `x,y x,y …` for each unbroken run of numbers; time runs right, values up. A gap
/// (null) breaks the line: absence is not drawn as data.
pub(crate) fn lines(samples: &[(i64, Option<f64>)]) -> Vec<String> {
    let known = || samples.iter().filter_map(|(at, value)| Some((*at, (*value)?)));
    let (Some(first), Some(last)) = (known().map(|(at, _)| at).min(), known().map(|(at, _)| at).max()) else {
        return Vec::new();
    };
    let low = known().map(|(_, value)| value).fold(f64::INFINITY, f64::min);
    let high = known().map(|(_, value)| value).fold(f64::NEG_INFINITY, f64::max);
    #[allow(clippy::cast_precision_loss, reason = "a drawing of 300 units")]
    let x = |at: i64| WIDTH * at.saturating_sub(first) as f64 / (last.saturating_sub(first)).max(1) as f64;
    // A flat line lies in the middle; halves keep the span of two large values finite.
    let span = high / 2.0 - low / 2.0;
    let y = |value: f64| if span > 0.0 { HEIGHT * (1.0 - (value / 2.0 - low / 2.0) / span) } else { HEIGHT / 2.0 };
    let point = |(at, value): &(i64, Option<f64>)| value.map(|value| format!("{:.1},{:.1}", x(*at), y(value)));
    let runs = samples.split(|(_, value)| value.is_none()).filter(|run| !run.is_empty());
    runs.map(|run| run.iter().filter_map(point).collect::<Vec<_>>().join(" ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_rise_and_gaps_break_the_line() {
        let samples = [(0, Some(0.0)), (10, Some(1.0)), (20, None), (30, Some(0.5))];
        assert_eq!(lines(&samples), ["0.0,40.0 100.0,0.0", "300.0,20.0"]);
    }

    #[test]
    fn a_flat_line_an_empty_one_and_extremes_stay_finite() {
        assert_eq!(lines(&[(5, Some(3.0)), (6, Some(3.0))]), ["0.0,20.0 300.0,20.0"]);
        assert!(lines(&[(5, None)]).is_empty());
        let extremes = lines(&[(i64::MIN, Some(f64::MIN)), (i64::MAX, Some(f64::MAX))]);
        assert!(!extremes[0].contains("NaN") && !extremes[0].contains("inf"), "{extremes:?}");
    }
}
