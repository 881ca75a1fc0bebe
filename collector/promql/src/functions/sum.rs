//! Sums that keep what rounding loses (Neumaier 1974, with Knuth's branch-free two-sum).

/// A running sum and what rounding has taken from it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sum {
    pub sum: f64,
    pub lost: f64,
}

/// `a + b` and its rounding error, zero when the sum is not finite.
#[inline]
pub(crate) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let virtual_b = sum - a;
    let lost = (a - (sum - virtual_b)) + (b - virtual_b);
    (sum, if sum.is_infinite() { 0.0 } else { lost })
}

impl Sum {
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        let (sum, lost) = two_sum(self.sum, value);
        self.lost = if sum.is_infinite() { 0.0 } else { self.lost + lost };
        self.sum = sum;
    }

    /// The sum of two runs.
    #[inline]
    pub(crate) fn join(self, other: Sum) -> Sum {
        let (sum, lost) = two_sum(self.sum, other.sum);
        Sum { sum, lost: if sum.is_infinite() { 0.0 } else { lost + self.lost + other.lost } }
    }

    #[inline]
    pub(crate) fn total(self) -> f64 {
        self.sum + self.lost
    }
}

/// A mean that overflows only when its values do: sums while it can, and goes on
/// with the running mean from the first sum that would be infinite.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mean {
    /// The sum, or the mean itself once `running`.
    sum: Sum,
    n: f64,
    running: bool,
}

impl Mean {
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.n += 1.0;
        if !self.running {
            let mut next = self.sum;
            next.add(value);
            if self.n == 1.0 || !next.sum.is_infinite() {
                self.sum = next;
                return;
            }
            self.running = true;
            self.sum = Sum { sum: self.sum.sum / (self.n - 1.0), lost: self.sum.lost / (self.n - 1.0) };
        }
        let share = (self.n - 1.0) / self.n;
        let mut next = Sum { sum: self.sum.sum * share, lost: self.sum.lost * share };
        next.add(value / self.n);
        self.sum = next;
    }

    pub(crate) fn has_any(self) -> bool {
        self.n > 0.0
    }

    /// NaN of nothing.
    #[inline]
    pub(crate) fn value(self) -> f64 {
        if self.running { self.sum.total() } else { self.sum.sum / self.n + self.sum.lost / self.n }
    }
}

/// Variance by Welford's updates, with compensated sums.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Variance {
    n: f64,
    mean: Sum,
    squares: Sum,
}

impl Variance {
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.n += 1.0;
        let delta = value - self.mean.total();
        self.mean.add(delta / self.n);
        self.squares.add(delta * (value - self.mean.total()));
    }

    /// Of the whole population; NaN of nothing.
    #[inline]
    pub(crate) fn value(self) -> f64 {
        self.squares.total() / self.n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(values: &[f64]) -> f64 {
        let mut sum = Sum::default();
        values.iter().for_each(|value| sum.add(*value));
        sum.total()
    }

    #[test]
    fn what_rounding_loses_comes_back() {
        assert_eq!(total(&[1.0, 1e100, 1.0, -1e100]), 2.0);
        assert_eq!(total(&[0.1; 10]), 1.0);
        assert_eq!(total(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert!(total(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
    }

    #[test]
    fn a_mean_of_huge_values_does_not_overflow() {
        let mean = |values: &[f64]| {
            let mut mean = Mean::default();
            values.iter().for_each(|value| mean.add(*value));
            mean.value()
        };
        assert!((mean(&[f64::MAX, f64::MAX, f64::MAX]) / f64::MAX - 1.0).abs() < 1e-15);
        assert_eq!(mean(&[1.0, 2.0, 6.0]), 3.0);
        assert_eq!(mean(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert!(mean(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
    }

    #[test]
    fn variance_is_of_the_population() {
        let mut variance = Variance::default();
        [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0].iter().for_each(|value| variance.add(*value));
        assert_eq!(variance.value(), 4.0);
    }
}
