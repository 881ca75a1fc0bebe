//! Which segments become one.

use super::Head;

/// Segments of one level that become one of the next.
pub const FAN_IN: usize = 8;
/// Series of a merged segment at most: bounds the commit that writes it. Ten million
/// series a day leave about eighty such segments.
pub const MERGED_MAX: u64 = 131_072;

/// The segments to merge next, oldest first, and the level of what comes of them.
/// Only neighbours are merged, so that ranges of time stay narrow.
pub fn due(heads: &[Head]) -> Option<(Vec<Head>, u8)> {
    let mut heads = heads.to_vec();
    heads.sort_by_key(|head| (head.level, head.segment));
    let mut of_level: Vec<Head> = Vec::new();
    for head in heads {
        if of_level.first().is_some_and(|first| first.level != head.level) {
            of_level.clear();
        }
        of_level.push(head);
        let n_series: u64 = of_level.iter().map(|head| head.n_series).sum();
        if n_series > MERGED_MAX {
            // What would be too much together is large enough by itself.
            of_level = vec![head];
        }
        if of_level.len() == FAN_IN {
            let level = head.level.checked_add(1)?;
            return Some((of_level, level));
        }
    }
    None
}
