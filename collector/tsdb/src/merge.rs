//! One series' points from several chunks and lanes, in time order, each time once.
//!
//! The same instant may lie in two places: a clock that stepped back, or a lane
//! that was scanned while its chunk was just written. The source given last wins
//! (give them in the order in which they were written), and the rest is counted.

use crate::Point;

/// What a merge had to drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Merged {
    /// Points whose instant a later written one had too.
    pub n_duplicates: u64,
}

/// Merges `sources`, oldest written first, each in any time order. A stable sort
/// is linear where the sources follow each other, as they nearly always do.
pub fn merge(sources: Vec<Vec<Point>>, out: &mut Vec<Point>) -> Merged {
    let begin = out.len();
    for source in sources {
        out.extend(source);
    }
    Merged { n_duplicates: order(out, begin) }
}

/// Sorts `points[begin..]` by time and keeps the last of each instant; gives the
/// number dropped.
pub fn order(points: &mut Vec<Point>, begin: usize) -> u64 {
    let tail = &mut points[begin..];
    if tail.windows(2).all(|pair| pair[0].time < pair[1].time) {
        return 0;
    }
    tail.sort_by_key(|point| point.time);
    let mut kept = begin;
    for at in begin..points.len() {
        if at > begin && points[kept - 1].time == points[at].time {
            points[kept - 1] = points[at];
        } else {
            points[kept] = points[at];
            kept += 1;
        }
    }
    let n_duplicates = points.len() - kept;
    points.truncate(kept);
    n_duplicates as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::bits;
    use proptest::prelude::*;
    use signalbox_proto::units::UnixMillis;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn the_last_written_of_each_instant_stays(
            sources in proptest::collection::vec(proptest::collection::vec((0i64..30, any::<u64>()), 0..20), 0..5),
        ) {
            let n: usize = sources.iter().map(Vec::len).sum();
            let model: BTreeMap<i64, u64> = sources.iter().flatten().copied().collect();
            let point = |(time, bits)| Point { time: UnixMillis(time), value: f64::from_bits(bits) };
            let lists = sources.into_iter().map(|source| source.into_iter().map(point).collect()).collect();
            let mut merged = vec![point((99, 1))];
            let facts = merge(lists, &mut merged);
            prop_assert_eq!(merged.remove(0).time, UnixMillis(99), "what was there stays");
            prop_assert_eq!(facts.n_duplicates as usize, n - model.len());
            prop_assert_eq!(bits(&merged), model.into_iter().collect::<Vec<_>>());
        }
    }
}
