//! Quantiles and fractions of classic histograms: cumulative counts in buckets
//! up to `le`, the last of which is `+Inf`. Linear within a bucket; the first
//! begins at 0 unless it ends below.

/// The label of a bucket's upper bound.
pub(crate) const LE: &str = "le";
/// Relative differences up to this are noise of rounding.
const NOISE: f64 = 1e-12;

/// Which function; its numbers are arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HistogramFunction {
    /// `histogram_quantile(q, v)`
    Quantile,
    /// `histogram_fraction(lower, upper, v)`
    Fraction,
}

/// Counts of observations up to a bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bucket {
    pub le: f64,
    pub count: f64,
}

/// A bucket's bound as its label writes it.
pub(crate) fn parse_le(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// The `q`-quantile, and whether counts had to be raised to be monotonic.
/// Buckets are sorted by bound and not empty; they are merged and mended in place.
pub(crate) fn quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, bool) {
    if q.is_nan() {
        return (f64::NAN, false);
    }
    if !(0.0..=1.0).contains(&q) {
        return (if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY }, false);
    }
    if !merge(buckets) {
        return (f64::NAN, false);
    }
    let forced = make_monotonic(buckets);
    let n = buckets.len();
    let total = buckets[n - 1].count;
    if n < 2 || total == 0.0 || total.is_nan() {
        return (f64::NAN, forced);
    }
    let rank = q * total;
    let at = buckets[..n - 1].partition_point(|bucket| bucket.count < rank);
    if at == n - 1 {
        return (buckets[n - 2].le, forced);
    }
    let end = buckets[at].le;
    if at == 0 {
        let value = if end <= 0.0 { end } else { end * (rank / buckets[0].count) };
        return (value, forced);
    }
    let before = buckets[at - 1];
    let share = (rank - before.count) / (buckets[at].count - before.count);
    (before.le + (end - before.le) * share, forced)
}

/// The share of observations in `(lower, upper]`.
pub(crate) fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !merge(buckets) {
        return f64::NAN;
    }
    let total = buckets[buckets.len() - 1].count;
    if total == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets, total) - rank_of(lower, buckets, total)) / total
}

/// How many observations lie below `bound`.
fn rank_of(bound: f64, buckets: &[Bucket], total: f64) -> f64 {
    let mut start = if buckets[0].le <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    let mut rank = 0.0f64;
    for bucket in buckets {
        if start >= bound {
            return rank.min(total);
        }
        if bucket.le > bound {
            // A first bucket that ends below zero has no beginning: all of it counts.
            let inside = (bound - start) / (bucket.le - start);
            let below = if start.is_infinite() { bucket.count } else { rank + (bucket.count - rank) * inside };
            return below.min(total);
        }
        rank = bucket.count;
        start = bucket.le;
    }
    total
}

/// Adds up buckets of one bound; false when the last is not `+Inf`.
fn merge(buckets: &mut Vec<Bucket>) -> bool {
    if buckets.last().is_none_or(|last| last.le != f64::INFINITY) {
        return false;
    }
    buckets.dedup_by(|after, before| {
        let same = after.le == before.le;
        if same {
            before.count += after.count;
        }
        same
    });
    true
}

/// Raises counts that fall; true when one fell by more than noise.
fn make_monotonic(buckets: &mut [Bucket]) -> bool {
    let mut forced = false;
    let mut before = buckets[0].count;
    for bucket in &mut buckets[1..] {
        if bucket.count == before {
            continue;
        }
        if nearly(before, bucket.count) {
            bucket.count = before;
        } else if bucket.count < before {
            bucket.count = before;
            forced = true;
        } else {
            before = bucket.count;
        }
    }
    forced
}

fn nearly(a: f64, b: f64) -> bool {
    let difference = (a - b).abs();
    let size = a.abs() + b.abs();
    if a == 0.0 || b == 0.0 || size < f64::MIN_POSITIVE {
        return difference < NOISE * f64::MIN_POSITIVE;
    }
    difference / size.min(f64::MAX) < NOISE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|(le, count)| Bucket { le: *le, count: *count }).collect()
    }

    const PLAIN: [(f64, f64); 4] = [(1.0, 10.0), (2.0, 30.0), (4.0, 40.0), (f64::INFINITY, 50.0)];

    #[test]
    fn quantiles_are_linear_within_a_bucket() {
        let of = |q: f64| quantile(q, &mut buckets(&PLAIN)).0;
        assert_eq!(of(0.1), 0.5);
        assert_eq!(of(0.4), 1.5);
        assert_eq!(of(0.7), 3.0);
        assert_eq!(of(0.9), 4.0, "the last bucket has no end: its beginning");
        assert_eq!(of(-1.0), f64::NEG_INFINITY);
        assert_eq!(of(2.0), f64::INFINITY);
    }

    #[test]
    fn counts_that_fall_are_raised_and_noise_is_not_told() {
        let mut fallen = buckets(&[(1.0, 10.0), (2.0, 5.0), (f64::INFINITY, 20.0)]);
        assert_eq!(quantile(0.5, &mut fallen), (1.0, true));
        let mut noisy = buckets(&[(1.0, 10.0), (2.0, 10.0 - 1e-13), (f64::INFINITY, 20.0)]);
        assert!(!quantile(0.4, &mut noisy).1);
    }

    #[test]
    fn what_is_no_histogram_has_no_quantile() {
        assert!(quantile(0.5, &mut buckets(&[(1.0, 10.0)])).0.is_nan());
        assert!(quantile(0.5, &mut buckets(&[(f64::INFINITY, 10.0)])).0.is_nan());
        assert!(quantile(0.5, &mut buckets(&[(1.0, 0.0), (f64::INFINITY, 0.0)])).0.is_nan());
        assert!(fraction(0.0, 1.0, &mut buckets(&[(1.0, 10.0)])).is_nan());
    }

    #[test]
    fn fractions_undo_quantiles() {
        let of = |lower: f64, upper: f64| fraction(lower, upper, &mut buckets(&PLAIN));
        assert_eq!(of(f64::NEG_INFINITY, 1.5), 0.4);
        assert_eq!(of(1.0, 2.0), 0.4);
        assert_eq!(of(0.0, f64::INFINITY), 1.0);
        assert_eq!(of(2.0, 1.0), 0.0);
    }
}
