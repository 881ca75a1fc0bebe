//! Points of one series from one source, as columns; and many of them made one.
//!
//! Series of a host share their instants, so times are shared and never copied per
//! series. Each point knows when it arrived at the collector: where two sources
//! have the same instant, the one that arrived last stands, and the other is
//! counted. Sources that follow each other, as they nearly always do, are joined
//! without looking at single points.

use crate::Point;
use signalbox_proto::units::UnixMillis;
use std::sync::Arc;

/// When points reached the collector, by its clock, Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrived {
    /// All of them at once, or nothing older can come any more.
    At(i64),
    /// One instant for each point.
    Each(Arc<[i64]>),
}

impl Arrived {
    /// That of the point at `at`.
    pub fn get(&self, at: usize) -> i64 {
        match self {
            Arrived::At(instant) => *instant,
            Arrived::Each(instants) => instants[at],
        }
    }

    /// The latest; none for no points.
    pub fn newest(&self) -> Option<i64> {
        match self {
            Arrived::At(instant) => Some(*instant),
            Arrived::Each(instants) => instants.iter().copied().max(),
        }
    }

    fn is(&self, other: &Arrived) -> bool {
        match (self, other) {
            (Arrived::At(a), Arrived::At(b)) => a == b,
            (Arrived::Each(a), Arrived::Each(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// Points of one series: instants ascend and come once each.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Unix milliseconds; shared by series that were sampled together.
    pub times: Arc<[i64]>,
    /// When each arrived.
    pub arrived: Arrived,
    /// One for each instant; any bit patterns.
    pub values: Vec<f64>,
}

impl Default for Run {
    fn default() -> Run {
        Run { times: Arc::from([]), arrived: Arrived::At(i64::MIN), values: Vec::new() }
    }
}

impl Run {
    /// Of points in order of arrival and any order of time; the later of equal
    /// instants stands. Gives the number dropped, too.
    pub fn of(points: impl IntoIterator<Item = Point>, arrived: i64) -> (Run, u64) {
        let rows = points.into_iter().zip(0..).map(|(point, at)| Row {
            time: point.time.0,
            arrived,
            source: at,
            value: point.value,
        });
        from_rows(rows.collect())
    }

    /// How many points.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// True without points.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The points one by one.
    pub fn points(&self) -> impl DoubleEndedIterator<Item = Point> + ExactSizeIterator {
        self.times.iter().zip(&self.values).map(|(&time, &value)| Point { time: UnixMillis(time), value })
    }

    /// Where the instants of `[from, to)` lie.
    pub fn range(&self, from: UnixMillis, to: UnixMillis) -> std::ops::Range<usize> {
        range_of(&self.times, from, to)
    }

    /// The points at these places.
    #[must_use]
    pub fn slice(&self, range: std::ops::Range<usize>) -> Run {
        if range == (0..self.len()) {
            return self.clone();
        }
        let arrived = match &self.arrived {
            Arrived::At(instant) => Arrived::At(*instant),
            Arrived::Each(instants) => Arrived::Each(instants[range.clone()].into()),
        };
        Run { times: self.times[range.clone()].into(), arrived, values: self.values[range].to_vec() }
    }

    /// The first and the last instant; none without points.
    pub fn ends(&self) -> Option<(i64, i64)> {
        Some((*self.times.first()?, *self.times.last()?))
    }
}

/// Where the instants of `[from, to)` lie in ascending `times`.
pub fn range_of(times: &[i64], from: UnixMillis, to: UnixMillis) -> std::ops::Range<usize> {
    let begin = times.partition_point(|&time| time < from.0);
    begin..times.partition_point(|&time| time < to.0).max(begin)
}

struct Row {
    time: i64,
    arrived: i64,
    source: usize,
    value: f64,
}

/// Orders the rows; of equal instants the last arrived stands, of those that
/// arrived together the one of the later source.
fn from_rows(mut rows: Vec<Row>) -> (Run, u64) {
    let n = rows.len();
    rows.sort_by_key(|row| (row.time, row.arrived, row.source));
    let mut kept: Vec<Row> = Vec::with_capacity(n);
    for row in rows {
        match kept.last_mut() {
            Some(last) if last.time == row.time => *last = row,
            _ => kept.push(row),
        }
    }
    let times = kept.iter().map(|row| row.time).collect();
    let one = kept.first().map_or(i64::MIN, |row| row.arrived);
    let arrived = if kept.iter().all(|row| row.arrived == one) {
        Arrived::At(one)
    } else {
        Arrived::Each(kept.iter().map(|row| row.arrived).collect())
    };
    let n_replaced = (n - kept.len()) as u64;
    (Run { times, arrived, values: kept.into_iter().map(|row| row.value).collect() }, n_replaced)
}

/// Joins runs series after series. It remembers the instants that it joined last:
/// the next series of the same host has the same ones.
#[derive(Debug, Default)]
pub struct Joiner {
    from: Vec<(Arc<[i64]>, Arrived)>,
    times: Arc<[i64]>,
    arrived: Option<Arrived>,
    n_replaced: u64,
}

impl Joiner {
    /// One series' runs as one. Runs that arrived together and have the same
    /// instants: the later in the list stands.
    pub fn join(&mut self, mut runs: Vec<Run>) -> Run {
        runs.retain(|run| !run.is_empty());
        if runs.len() < 2 {
            return runs.pop().unwrap_or_default();
        }
        let mut order: Vec<usize> = (0..runs.len()).collect();
        order.sort_by_key(|&at| runs[at].ends());
        let follows =
            |pair: &[usize]| runs[pair[0]].ends().map(|ends| ends.1) < runs[pair[1]].ends().map(|ends| ends.0);
        if order.windows(2).all(follows) {
            let ordered: Vec<&Run> = order.into_iter().map(|at| &runs[at]).collect();
            self.concatenate(&ordered)
        } else {
            self.interleave(&runs)
        }
    }

    /// Points that another one of the same instant replaced, so far.
    pub fn n_replaced(&self) -> u64 {
        self.n_replaced
    }

    fn concatenate(&mut self, runs: &[&Run]) -> Run {
        let known = |(run, (times, arrived)): (&&Run, &(Arc<[i64]>, Arrived))| {
            Arc::ptr_eq(&run.times, times) && run.arrived.is(arrived)
        };
        let is_known = runs.len() == self.from.len() && runs.iter().zip(&self.from).all(known);
        if !is_known {
            self.times = runs.iter().flat_map(|run| run.times.iter().copied()).collect();
            self.arrived = None;
            self.from = runs.iter().map(|run| (Arc::clone(&run.times), run.arrived.clone())).collect();
        }
        let arrived = self.arrived.get_or_insert_with(|| join_arrived(runs)).clone();
        let mut values = Vec::with_capacity(self.times.len());
        runs.iter().for_each(|run| values.extend_from_slice(&run.values));
        Run { times: Arc::clone(&self.times), arrived, values }
    }

    fn interleave(&mut self, runs: &[Run]) -> Run {
        let rows = runs.iter().enumerate().flat_map(|(source, run)| {
            run.points().enumerate().map(move |(at, point)| Row {
                time: point.time.0,
                arrived: run.arrived.get(at),
                source,
                value: point.value,
            })
        });
        let (run, n_replaced) = from_rows(rows.collect());
        self.n_replaced += n_replaced;
        run
    }
}

fn join_arrived(runs: &[&Run]) -> Arrived {
    let first = &runs[0].arrived;
    if let Arrived::At(instant) = first
        && runs.iter().all(|run| run.arrived == *first)
    {
        return Arrived::At(*instant);
    }
    Arrived::Each(runs.iter().flat_map(|run| (0..run.len()).map(|at| run.arrived.get(at))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::bits;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn run(points: &[(i64, u64)], arrived: i64) -> Run {
        let point = |&(time, bits)| Point { time: UnixMillis(time), value: f64::from_bits(bits) };
        Run::of(points.iter().map(point), arrived).0
    }

    #[test]
    fn series_that_were_sampled_together_share_the_joined_instants() {
        let (a, b) = (run(&[(1, 1), (2, 2)], 5), run(&[(3, 3)], 9));
        let mut joiner = Joiner::default();
        let first = joiner.join(vec![b.clone(), a.clone()]);
        let second = joiner.join(vec![a.clone(), b.clone()]);
        assert!(Arc::ptr_eq(&first.times, &second.times));
        assert_eq!(&*first.times, [1, 2, 3]);
        assert_eq!(first.arrived, Arrived::Each(Arc::from([5, 5, 9])));
        assert_eq!(joiner.join(vec![a.clone()]), a);
        assert_eq!(joiner.join(Vec::new()), Run::default());
        assert_eq!(joiner.n_replaced(), 0);
    }

    #[test]
    fn a_range_is_half_open() {
        let run = run(&[(1, 1), (2, 2), (3, 3)], 5);
        let cut = run.slice(run.range(UnixMillis(2), UnixMillis(3)));
        assert_eq!(bits(&cut.points().collect::<Vec<_>>()), [(2, 2)]);
        assert!(run.range(UnixMillis(5), UnixMillis(1)).is_empty());
    }

    proptest! {
        #[test]
        fn the_last_arrived_of_each_instant_stands_in_any_order_of_sources(
            sources in proptest::collection::vec(proptest::collection::vec((0i64..30, any::<u64>()), 0..20), 0..5),
            turned in any::<bool>(),
        ) {
            let n: usize = sources.iter().map(Vec::len).sum();
            let model: BTreeMap<i64, u64> = sources.iter().flatten().copied().collect();
            let n_within: usize = sources.iter().map(|one| one.len() - one.iter().copied().collect::<BTreeMap<_, _>>().len()).sum();
            let mut runs: Vec<Run> = sources.iter().zip(0..).map(|(source, arrived)| run(source, arrived)).collect();
            if turned {
                runs.reverse();
            }
            let mut joiner = Joiner::default();
            let joined = joiner.join(runs);
            prop_assert_eq!(joiner.n_replaced() as usize, n - n_within - model.len());
            prop_assert_eq!(bits(&joined.points().collect::<Vec<_>>()), model.into_iter().collect::<Vec<_>>());
        }
    }
}
