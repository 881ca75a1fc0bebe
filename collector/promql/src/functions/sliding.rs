//! Folds over sliding windows in linear time, for anything that can be joined:
//! no sample is taken out again, so nothing cancels.
//!
//! ```text
//!      lo        mid              hi
//!  ....[ suffixes ][ running fold ]....      result = suffix[lo] + running
//! ```
//!
//! When `lo` passes `mid`, the suffixes of the current window are computed anew:
//! each sample is touched twice in all.

use crate::functions::window::Frames;

/// Calls `put` with the fold of each window, or none when it is empty.
pub(crate) fn fold<T: Copy>(
    frames: &Frames,
    values: &[f64],
    lift: impl Fn(f64) -> T,
    join: impl Fn(T, T) -> T,
    mut put: impl FnMut(usize, Option<T>),
) {
    let mut suffixes: Vec<T> = Vec::new();
    let (mut base, mut mid, mut end) = (0, 0, 0);
    let mut running: Option<T> = None;
    for (step, (lo, hi)) in frames.all().enumerate() {
        if lo >= hi {
            put(step, None);
            continue;
        }
        if lo >= mid {
            suffixes.clear();
            let mut fold: Option<T> = None;
            for value in values[lo..hi].iter().rev() {
                let one = lift(*value);
                let whole = fold.map_or(one, |after| join(one, after));
                suffixes.push(whole);
                fold = Some(whole);
            }
            (base, mid, end, running) = (lo, hi, hi, None);
        }
        for value in &values[end.min(hi)..hi] {
            let one = lift(*value);
            running = Some(running.map_or(one, |before| join(before, one)));
        }
        end = end.max(hi);
        // Suffixes were pushed from the window's end: that of `lo` lies at mid - 1 - lo.
        let suffix = suffixes[suffixes.len() - 1 - (lo - base)];
        put(step, Some(running.map_or(suffix, |after| join(suffix, after))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::Grid;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sliding_folds_are_the_folds_of_each_window(
            gaps in prop::collection::vec(1i64..30, 0..60),
            range in 1i64..100,
            step in 1i64..60,
            start in 0i64..200,
        ) {
            let times: Vec<i64> = gaps.iter().scan(0, |time, gap| { *time += gap; Some(*time) }).collect();
            let values: Vec<f64> = times.iter().map(|time| ((time * 7919) % 101) as f64).collect();
            let ends = Grid { start, step, n: 20 };
            let mut frames = Frames::new(ends, range);
            frames.set(&times);
            let mut seen = Vec::new();
            fold(&frames, &values, |value| (value, value), |a, b| (a.0 + b.0, a.1.max(b.1)), |_, fold| seen.push(fold));
            for (step, fold) in seen.into_iter().enumerate() {
                let end = ends.at(step);
                let inside = || times.iter().zip(&values).filter(|(t, _)| **t > end - range && **t <= end).map(|(_, v)| *v);
                let expected = inside().fold(None, |fold: Option<(f64, f64)>, value| {
                    Some(fold.map_or((value, value), |(sum, max)| (sum + value, max.max(value))))
                });
                prop_assert_eq!(fold, expected);
            }
        }
    }
}
