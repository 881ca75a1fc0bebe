//! Series over a range: numbers and a sparkline each.
//!
//! ```text
//! node_load1{instance="web1"}
//!   min 0.1      avg 0.53     max 2.1      last 0.44     900 points, 1s ago
//!   ▁▁▂▃▅█▇▅▃▂▁      ▁▁▂▂▃
//! ```
//!
//! Each column of a sparkline is a slice of the range and shows the highest
//! value in it: what was bad must not be averaged away. A slice without a
//! point is blank if it is further from the point before than
//! [`GAP_INTERVALS`] usual intervals, and repeats that point otherwise, so
//! that sparse series read as steps and real gaps as gaps.

use super::push_wrapped;
use super::series::series_name;
use crate::look::Look;
use crate::text::{clean, counted, number};
use crate::when::{ago, rfc3339};
use signalbox_proto::api::{QueryAnswer, SeriesPoints};
use signalbox_proto::units::UnixMillis;

/// A silence longer than this many usual intervals is a gap.
const GAP_INTERVALS: i64 = 3;

/// Width of a sparkline where output is no terminal.
const SPARK_COLUMNS: usize = 60;

/// Widest sparkline; more columns than this are no easier to read.
const SPARK_COLUMNS_LIMIT: usize = 200;

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// All series, in the collector's order.
pub fn answer(look: &Look, answer: &QueryAnswer) -> String {
    let mut out = String::new();
    for warning in &answer.warnings {
        push_wrapped(&mut out, look, 0, "! not whole: ", &clean(warning));
    }
    let range = format!("{} to {}", rfc3339(answer.from), rfc3339(answer.to));
    if answer.series.is_empty() {
        out.push_str(&format!("no series with points from {range}\n"));
        return out;
    }
    for series in &answer.series {
        push_series(&mut out, look, answer, series);
    }
    out.push_str(&look.faint(&format!("{} series, {range}", answer.series.len())));
    out.push('\n');
    out
}

fn push_series(out: &mut String, look: &Look, answer: &QueryAnswer, series: &SeriesPoints) {
    out.push_str(&look.strong(&clean(&series_name(&series.labels))));
    out.push('\n');
    let values: Vec<f64> = series.points.iter().filter_map(|(_, value)| *value).collect();
    let last = series.points.iter().rev().find(|(_, value)| value.is_some());
    let (Some((last_at, last)), false) = (last, values.is_empty()) else {
        out.push_str(&format!("  {}, none a number\n", counted(series.points.len(), "point")));
        return;
    };
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let n_values = values.len() as f64;
    // Divided first: the sum of large values may leave the range of f64.
    let avg: f64 = values.iter().map(|value| value / n_values).sum();
    let facts = [("min", Some(min)), ("avg", Some(avg)), ("max", Some(max)), ("last", *last)];
    let numbers: Vec<_> = facts.iter().map(|(word, value)| format!("{word} {:<8}", number(*value))).collect();
    let when = ago(look.now, UnixMillis(*last_at));
    let text = format!("{} {}, {when}", numbers.join(" "), counted(series.points.len(), "point"));
    push_wrapped(out, look, 2, "", &text);
    let width = look.room(2).unwrap_or(SPARK_COLUMNS).clamp(1, SPARK_COLUMNS_LIMIT);
    let line = sparkline(&series.points, answer.from, answer.to, width);
    out.push_str(&format!("  {}\n", line.trim_end()));
}

/// `width` characters for the range, both ends inclusive; the lowest value
/// of the series is the lowest block, the highest the highest.
pub fn sparkline(points: &[(i64, Option<f64>)], from: UnixMillis, to: UnixMillis, width: usize) -> String {
    let columns = sliced(points, from.0, to.0, width);
    let known = || columns.iter().flatten().copied();
    let min = known().fold(f64::INFINITY, f64::min);
    let max = known().fold(f64::NEG_INFINITY, f64::max);
    let block = |value: f64| {
        // Halved, so that the span of extreme values stays finite.
        let span = max / 2.0 - min / 2.0;
        let share = if span > 0.0 { (value / 2.0 - min / 2.0) / span } else { 0.0 };
        let step = (share * (BLOCKS.len() - 1) as f64).round();
        BLOCKS[(step as usize).min(BLOCKS.len() - 1)]
    };
    columns.iter().map(|value| value.map_or(' ', block)).collect()
}

/// The highest value of each of `width` slices; none for a gap.
fn sliced(points: &[(i64, Option<f64>)], from: i64, to: i64, width: usize) -> Vec<Option<f64>> {
    let span = i128::from(to) - i128::from(from) + 1;
    if span <= 0 || width == 0 {
        return vec![None; width];
    }
    let mut highest: Vec<Option<f64>> = vec![None; width];
    let mut touched = vec![false; width];
    for (at, value) in points.iter().filter(|(at, _)| (from..=to).contains(at)) {
        let column = (i128::from(*at) - i128::from(from)) * width as i128 / span;
        let column = usize::try_from(column).unwrap_or(0).min(width - 1);
        touched[column] = true;
        if let Some(value) = value.filter(|value| value.is_finite()) {
            highest[column] = Some(highest[column].map_or(value, |old: f64| old.max(value)));
        }
    }
    fill_steps(&mut highest, &touched, points, from, span);
    highest
}

/// Repeats a point into the empty slices behind it, up to the next gap.
fn fill_steps(highest: &mut [Option<f64>], touched: &[bool], points: &[(i64, Option<f64>)], from: i64, span: i128) {
    let Some(interval) = usual_interval(points) else { return };
    let width = highest.len() as i128;
    let mut before = 0;
    for column in 0..highest.len() {
        // Where the slice ends, exclusive.
        let end = i128::from(from) + (column as i128 + 1) * span / width;
        while before < points.len() && i128::from(points[before].0) < end {
            before += 1;
        }
        if touched[column] || before == 0 {
            continue;
        }
        let (at, value) = points[before - 1];
        let silent_for = end - i128::from(at);
        let next_is_near = points.get(before).is_some_and(|(next, _)| next - at < GAP_INTERVALS * interval);
        if next_is_near || silent_for <= i128::from(2 * interval) && before == points.len() {
            highest[column] = value.filter(|value| value.is_finite());
        }
    }
}

/// The median distance between neighbours; none for fewer than two points.
fn usual_interval(points: &[(i64, Option<f64>)]) -> Option<i64> {
    let mut steps: Vec<i64> = points.windows(2).map(|pair| pair[1].0.saturating_sub(pair[0].0)).collect();
    if steps.is_empty() {
        return None;
    }
    let middle = steps.len() / 2;
    let (_, median, _) = steps.select_nth_unstable(middle);
    // Kept far from overflow when it is multiplied.
    Some((*median).clamp(1, i64::MAX / 16))
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{NOW, look};
    use super::*;
    use expect_test::expect;

    fn points(from: i64, step: i64, values: &[f64]) -> Vec<(i64, Option<f64>)> {
        values.iter().enumerate().map(|(i, value)| (from + i as i64 * step, Some(*value))).collect()
    }

    fn spark(points: &[(i64, Option<f64>)], to: i64, width: usize) -> String {
        sparkline(points, UnixMillis(0), UnixMillis(to), width)
    }

    #[test]
    fn a_ramp_climbs_all_blocks() {
        assert_eq!(spark(&points(0, 1, &[0., 1., 2., 3., 4., 5., 6., 7.]), 7, 8), "▁▂▃▄▅▆▇█");
    }

    #[test]
    fn a_slice_shows_its_highest_value() {
        assert_eq!(spark(&points(0, 1, &[0., 9., 0., 0.]), 3, 2), "█▁");
    }

    #[test]
    fn gaps_are_blank_and_sparse_series_are_steps() {
        let mut gap = points(0, 10, &[1., 1., 1.]);
        gap.extend(points(70, 10, &[2., 2., 2.]));
        assert_eq!(spark(&gap, 99, 10), "▁▁▁    ███");
        assert_eq!(spark(&points(0, 10, &[0., 1.]), 19, 8), "▁▁▁▁████");
    }

    #[test]
    fn a_value_that_is_no_number_is_a_gap() {
        let mut nan = points(0, 1, &[1., 2., 3.]);
        nan[1].1 = None;
        assert_eq!(spark(&nan, 2, 3), "▁ █");
    }

    #[test]
    fn odd_ranges_and_values_do_not_break_it() {
        assert_eq!(spark(&[], 10, 4), "    ");
        assert_eq!(sparkline(&points(0, 1, &[1.]), UnixMillis(5), UnixMillis(1), 3), "   ");
        assert_eq!(spark(&points(0, 1, &[f64::MIN, f64::MAX]), 1, 2), "▁█");
        let ends = [(i64::MIN, Some(1.0)), (i64::MAX, Some(2.0))];
        assert_eq!(sparkline(&ends, UnixMillis::MIN, UnixMillis::MAX, 2), "▁█");
    }

    #[test]
    fn an_answer_reads_at_80_columns() {
        let labels = [("__name__", "node_load1"), ("instance", "web\u{1b}[2J\"1")];
        let series = SeriesPoints {
            labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            points: points(NOW.0 - 4000, 1000, &[0.5, 1.0, 1.5, 16_513_896_448.0, 0.25]),
        };
        let empty = SeriesPoints { points: vec![(NOW.0, None)], ..SeriesPoints::default() };
        let whole = QueryAnswer {
            from: UnixMillis(NOW.0 - 9000),
            to: NOW,
            series: vec![series, empty],
            warnings: vec!["more than 2 series match".to_owned()],
        };
        expect![[r#"
            ! not whole: more than 2 series match
            node_load1{instance="web\u{1b}[2J\"1"}
              min 0.25     avg 3.30278G max 16.5139G last 0.25     5 points, 0s ago
                                                         ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁████████▁
            {}
              1 point, none a number
            2 series, 2026-11-23T02:14:03Z to 2026-11-23T02:14:12Z
        "#]]
        .assert_eq(&answer(&look(80), &whole));
    }

    #[test]
    fn no_series_is_said() {
        expect![[r#"
            no series with points from 1970-01-01T00:00:00Z to 2026-11-23T02:14:12Z
        "#]]
        .assert_eq(&answer(&look(80), &QueryAnswer { to: NOW, ..QueryAnswer::default() }));
    }
}
