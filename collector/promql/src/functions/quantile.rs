//! Quantiles of plain values, by linear interpolation between ranks.

use std::cmp::Ordering;

/// Ascending, NaN first: where Prometheus puts it when it looks for quantiles.
pub(crate) fn nan_first(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
    }
}

/// The `q`-quantile; changes the order of `values`. NaN of nothing or for a NaN `q`, -Inf below 0, +Inf above 1.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let rank = q * (values.len() - 1) as f64;
    let weight = rank - rank.floor();
    // Only the two values around the rank need their place.
    let (_, lower, above) = values.select_nth_unstable_by(rank.floor() as usize, |a, b| nan_first(*a, *b));
    let upper = above.iter().copied().min_by(|a, b| nan_first(*a, *b)).unwrap_or(*lower);
    *lower * (1.0 - weight) + upper * weight
}

/// The text of the warning when `q` is no quantile.
pub(crate) fn refused(q: f64) -> Option<String> {
    let wrong = q.is_nan() || !(0.0..=1.0).contains(&q);
    wrong.then(|| {
        format!("PromQL warning: quantile value should be between 0 and 1, got {}", crate::value::show_value(q))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_interpolated() {
        let of = |q: f64| quantile(q, &mut [4.0, 1.0, 3.0, 2.0]);
        assert_eq!(of(0.0), 1.0);
        assert_eq!(of(1.0), 4.0);
        assert_eq!(of(0.5), 2.5);
        assert!((of(0.9) - 3.7).abs() < 1e-12);
        assert_eq!(of(-0.1), f64::NEG_INFINITY);
        assert_eq!(of(1.1), f64::INFINITY);
        assert!(of(f64::NAN).is_nan() && quantile(0.5, &mut []).is_nan());
    }
}
