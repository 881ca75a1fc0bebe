//! Roll-ups: what a minute or an hour of one series comes to.
//!
//! A [`Bucket`] says enough to answer the usual questions as the samples would:
//! extremes, sum and count, first and last with their instants, and for counters
//! the correction that resets ask for. `increase` over buckets is
//! `last - first + corrections + (the last value before each drop between buckets)`,
//! the same sum that the samples give. Stale markers are no values: they are not
//! counted, and `ended` says that the bucket's last point was one.
//!
//! ```text
//! row     := 0x55 'U', version 1, step ms varint, header length u32 LE, header,
//!            crc32c u32 LE of all before it, data
//! header  := n groups, group*, n series, series*
//! group   := n buckets, column x 4          starts / step, first - start,
//!                                           last - first, counts
//! series  := id - previous id, group, field x 7
//! field   := 0, column                      of its own
//!          | k                              equal to field k - 1 of this series
//! ```
//!
//! Fields: first, last, min, max, sum, correction, ended (0 or 1). Columns are
//! those of [`crate::chunk`]. Sums of decimals are computed as decimals: exact, and
//! small on disk.

mod row;

pub use row::{RollupBuilder, RollupReader};

use crate::Point;
use signalbox_proto::columns::{EXPONENT_MAX, mantissa_of, value_of};
use signalbox_proto::units::UnixMillis;

/// The value that says "this series is over", as Prometheus writes it.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// True for [`STALE`], and no other not-a-number.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE.to_bits()
}

/// All samples of one series in `[start, start + step)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// A multiple of the step.
    pub start: UnixMillis,
    /// Instant of `first`; of the stale marker when there is nothing else.
    pub first_time: UnixMillis,
    /// Instant of `last`.
    pub last_time: UnixMillis,
    /// Samples; stale markers are none.
    pub count: u64,
    /// The first value; [`STALE`] when `count` is 0, as the next three.
    pub first: f64,
    /// The last value.
    pub last: f64,
    /// The least; not-a-number only where all are.
    pub min: f64,
    /// The greatest; the same.
    pub max: f64,
    /// Of all values.
    pub sum: f64,
    /// Values just before the drops inside: what a counter lost to resets.
    pub correction: f64,
    /// The last point is a stale marker.
    pub ended: bool,
}

impl Bucket {
    /// What a counter grew from the first to the last value.
    pub fn increase(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.last - self.first + self.correction }
    }

    fn of_marker(start: i64, time: i64) -> Bucket {
        Bucket {
            start: UnixMillis(start),
            first_time: UnixMillis(time),
            last_time: UnixMillis(time),
            count: 0,
            first: STALE,
            last: STALE,
            min: STALE,
            max: STALE,
            sum: 0.0,
            correction: 0.0,
            ended: true,
        }
    }

    fn absorb(&mut self, next: &Bucket) {
        self.ended = next.ended;
        if next.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = Bucket { start: self.start, ..*next };
            return;
        }
        self.correction += next.correction + if next.first < self.last { self.last } else { 0.0 };
        (self.last, self.last_time) = (next.last, next.last_time);
        self.min = lesser(self.min, next.min);
        self.max = greater(self.max, next.max);
        self.sum += next.sum;
        self.count += next.count;
    }
}

fn lesser(a: f64, b: f64) -> f64 {
    if b < a || a.is_nan() { b } else { a }
}

fn greater(a: f64, b: f64) -> f64 {
    if b > a || a.is_nan() { b } else { a }
}

/// The start of the bucket of `step` that holds `time`.
pub fn start_of(time: i64, step: i64) -> i64 {
    time.saturating_sub(time.rem_euclid(step))
}

/// What a counter grew over buckets that follow each other.
pub fn increase(buckets: &[Bucket]) -> f64 {
    let mut all = buckets.iter().filter(|bucket| bucket.count > 0);
    let Some(first) = all.next() else { return 0.0 };
    let mut sum = *first;
    all.for_each(|next| sum.absorb(next));
    sum.increase()
}

/// Buckets of ascending points.
pub fn roll(points: impl IntoIterator<Item = Point>, step: i64) -> Vec<Bucket> {
    let mut buckets = Vec::new();
    let mut values: Vec<f64> = Vec::new();
    for point in points {
        let start = start_of(point.time.0, step);
        let is_new = buckets.last().is_none_or(|last: &Bucket| last.start.0 != start);
        if is_new {
            close(buckets.last_mut(), &mut values);
            buckets.push(Bucket::of_marker(start, point.time.0));
        }
        let Some(bucket) = buckets.last_mut() else { continue };
        bucket.ended = is_stale(point.value);
        if !bucket.ended {
            add(bucket, point);
            values.push(point.value);
        }
    }
    close(buckets.last_mut(), &mut values);
    buckets
}

fn add(bucket: &mut Bucket, point: Point) {
    let Point { time, value } = point;
    if bucket.count == 0 {
        (bucket.first, bucket.first_time, bucket.min, bucket.max) = (value, time, value, value);
    } else if value < bucket.last {
        bucket.correction += bucket.last;
    }
    (bucket.last, bucket.last_time) = (value, time);
    bucket.min = lesser(bucket.min, value);
    bucket.max = greater(bucket.max, value);
    bucket.count += 1;
}

fn close(bucket: Option<&mut Bucket>, values: &mut Vec<f64>) {
    if let Some(bucket) = bucket {
        bucket.sum = sum(values);
    }
    values.clear();
}

/// Exact where all values are decimals of one exponent and the sum is, too.
fn sum(values: &[f64]) -> f64 {
    let plain = || values.iter().sum();
    let mut exponent = 0;
    for &value in values {
        let fits = (exponent..=EXPONENT_MAX).find(|&exponent| mantissa_of(value, exponent).is_some());
        let Some(fits) = fits else { return plain() };
        exponent = fits;
    }
    let total = values.iter().try_fold(0i64, |sum, &value| sum.checked_add(mantissa_of(value, exponent)?));
    total.filter(|total| total.unsigned_abs() <= 1 << 53).map_or_else(plain, |total| value_of(total, exponent))
}

/// Ascending buckets as buckets of a longer step, a multiple of theirs.
pub fn coarsen(buckets: impl IntoIterator<Item = Bucket>, step: i64) -> Vec<Bucket> {
    let mut coarse: Vec<Bucket> = Vec::new();
    for bucket in buckets {
        let start = UnixMillis(start_of(bucket.start.0, step));
        match coarse.last_mut() {
            Some(last) if last.start == start => last.absorb(&bucket),
            _ => coarse.push(Bucket { start, ..bucket }),
        }
    }
    coarse
}

/// Buckets of samples that are gone, and of others of the same series that came later:
/// where both have a bucket, it counts both.
pub fn unite(old: Vec<Bucket>, new: Vec<Bucket>) -> Vec<Bucket> {
    let mut all: Vec<Bucket> = old.into_iter().chain(new).collect();
    all.sort_by_key(|bucket| (bucket.start, bucket.first_time));
    let mut united: Vec<Bucket> = Vec::with_capacity(all.len());
    for bucket in all {
        match united.last_mut() {
            Some(last) if last.start == bucket.start => last.absorb(&bucket),
            _ => united.push(bucket),
        }
    }
    united
}

#[cfg(test)]
mod tests;
