//! Writing of chunks.

use super::column::{self, Encoded};
use super::{KIND, VERSION};
use crate::format::put_signed;
use crate::{Point, SeriesId, merge};
use signalbox_proto::columns::put_varint;
use std::collections::HashMap;

/// The points of one series, each instant once, ascending.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesColumn {
    series: SeriesId,
    points: Vec<Point>,
    n_duplicates: u64,
}

impl SeriesColumn {
    /// Orders the points; of equal instants the later in the list wins.
    pub fn new(series: SeriesId, mut points: Vec<Point>) -> SeriesColumn {
        let n_duplicates = merge::order(&mut points, 0);
        SeriesColumn { series, points, n_duplicates }
    }

    /// Whose.
    pub fn series(&self) -> SeriesId {
        self.series
    }

    /// The points.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Points that were replaced by a later one of the same instant.
    pub fn n_duplicates(&self) -> u64 {
        self.n_duplicates
    }
}

/// A chunk of these series; those without points are left out.
///
/// # Panics
/// When a series is given twice or with more points than
/// [`super::POINTS_PER_SERIES_MAX`]: a fault of the caller.
pub fn encode(columns: &[SeriesColumn]) -> Vec<u8> {
    let mut columns: Vec<&SeriesColumn> = columns.iter().filter(|column| !column.points.is_empty()).collect();
    columns.sort_by_key(|column| column.series);
    assert!(columns.windows(2).all(|pair| pair[0].series != pair[1].series), "a series is given twice");
    let (groups, group_of) = groups(&columns);
    let first = groups.iter().filter_map(|times| times.first()).min().copied().unwrap_or(0);
    let last = groups.iter().filter_map(|times| times.last()).max().copied().unwrap_or(0);

    let mut header = Vec::new();
    let mut data = Vec::new();
    put_signed(&mut header, first);
    put_varint(&mut header, last.wrapping_sub(first).cast_unsigned());
    put_varint(&mut header, groups.len() as u64);
    for times in &groups {
        put_varint(&mut header, times.len() as u64);
        put_column(&mut header, &mut data, &column::encode_times(times));
    }
    put_varint(&mut header, columns.len() as u64);
    let mut previous = 0;
    for (column, group) in columns.iter().zip(group_of) {
        put_varint(&mut header, u64::from(column.series.0 - previous));
        put_varint(&mut header, group as u64);
        put_column(&mut header, &mut data, &column::encode_values(&column.points));
        previous = column.series.0;
    }
    assemble(&header, &data)
}

pub(super) fn assemble(header: &[u8], data: &[u8]) -> Vec<u8> {
    let header_len = u32::try_from(header.len()).expect("a header of 200 000 series stays far under 4 GiB");
    let mut chunk = vec![KIND, VERSION];
    chunk.extend_from_slice(&header_len.to_le_bytes());
    chunk.extend_from_slice(header);
    let crc = crc32c::crc32c(&chunk);
    chunk.extend_from_slice(&crc.to_le_bytes());
    chunk.extend_from_slice(data);
    chunk
}

fn put_column(header: &mut Vec<u8>, data: &mut Vec<u8>, encoded: &Encoded) {
    header.push(encoded.codec);
    if encoded.inline {
        header.extend_from_slice(&encoded.bytes);
        return;
    }
    put_varint(header, encoded.bytes.len() as u64);
    header.extend_from_slice(&crc32c::crc32c(&encoded.bytes).to_le_bytes());
    data.extend_from_slice(&encoded.bytes);
}

/// The distinct time columns, and which one each series has.
fn groups(columns: &[&SeriesColumn]) -> (Vec<Vec<i64>>, Vec<usize>) {
    let mut groups: Vec<Vec<i64>> = Vec::new();
    // Columns that could be equal: without this, 20 000 shapes of one series each
    // would all be compared with one another.
    let mut alike: HashMap<(usize, i64, i64), Vec<usize>> = HashMap::new();
    let mut group_of = Vec::with_capacity(columns.len());
    for column in columns {
        let points = &column.points;
        assert!(points.len() <= super::POINTS_PER_SERIES_MAX, "a series has too many points");
        let times = || points.iter().map(|point| point.time.0);
        let ends = (points.len(), points[0].time.0, points[points.len() - 1].time.0);
        let alike = alike.entry(ends).or_default();
        let known = alike.iter().copied().find(|&group| groups[group].iter().copied().eq(times()));
        group_of.push(known.unwrap_or_else(|| {
            alike.push(groups.len());
            groups.push(times().collect());
            groups.len() - 1
        }));
    }
    (groups, group_of)
}
