//! Reading of chunks: the header is parsed once, columns when they are asked for.

use super::column::{self, Place};
use super::{KIND, POINTS_PER_SERIES_MAX, PREFIX_BYTES, VERSION, WHAT};
use crate::format::{CRC_BYTES, FormatError, Reader};
use crate::{Point, SeriesId};
use signalbox_proto::units::UnixMillis;

/// A series of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesInfo {
    /// Which.
    pub series: SeriesId,
    /// How many points it has here.
    pub n_points: usize,
    /// Bytes of its value column, 0 for a constant.
    pub n_bytes: usize,
}

#[derive(Debug)]
struct Group {
    n_points: usize,
    place: Place,
    /// Decoded at first use, for all series that share it.
    times: Option<Vec<i64>>,
}

#[derive(Debug)]
struct Series {
    id: SeriesId,
    group: usize,
    place: Place,
}

/// An opened chunk: checked header, columns still packed.
#[derive(Debug)]
pub struct ChunkReader<'a> {
    data: &'a [u8],
    min_time: UnixMillis,
    max_time: UnixMillis,
    groups: Vec<Group>,
    series: Vec<Series>,
}

impl<'a> ChunkReader<'a> {
    /// Checks and parses the header.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn open(chunk: &'a [u8]) -> Result<ChunkReader<'a>, FormatError> {
        let (mut reader, data) = split(chunk)?;
        let min_time = reader.signed()?;
        let span = reader.varint()?;
        let max_time = min_time.checked_add_unsigned(span).ok_or_else(|| reader.malformed())?;
        let mut at = 0;
        let n_groups = reader.count_left()?;
        let mut groups = Vec::with_capacity(n_groups);
        for _ in 0..n_groups {
            let n_points = reader.count(POINTS_PER_SERIES_MAX)?;
            groups.push(Group { n_points, place: Place::read(&mut reader, &mut at)?, times: None });
        }
        let n_series = reader.count_left()?;
        let mut series: Vec<Series> = Vec::with_capacity(n_series);
        let mut id = 0u32;
        for n in 0..n_series {
            let step = reader.u32()?;
            id = id.checked_add(step).filter(|_| n == 0 || step > 0).ok_or_else(|| reader.malformed())?;
            let group = usize::try_from(reader.varint()?).ok().filter(|&group| group < groups.len());
            let group = group.ok_or_else(|| reader.malformed())?;
            series.push(Series { id: SeriesId(id), group, place: Place::read(&mut reader, &mut at)? });
        }
        reader.end()?;
        if at != data.len() {
            return Err(FormatError::Truncated { what: WHAT, at: chunk.len() });
        }
        Ok(ChunkReader { data, min_time: UnixMillis(min_time), max_time: UnixMillis(max_time), groups, series })
    }

    /// Oldest and newest sample of all series.
    pub fn time_range(&self) -> (UnixMillis, UnixMillis) {
        (self.min_time, self.max_time)
    }

    /// The chunk's series, ascending.
    pub fn series(&self) -> impl Iterator<Item = SeriesInfo> {
        self.series.iter().map(|one| SeriesInfo {
            series: one.id,
            n_points: self.groups[one.group].n_points,
            n_bytes: one.place.len(),
        })
    }

    /// Samples of all series.
    pub fn n_samples(&self) -> u64 {
        self.series().map(|one| one.n_points as u64).sum()
    }

    /// Appends the points of one series in `[from, to)`, ascending; nothing when
    /// the series is not in this chunk.
    ///
    /// # Errors
    /// [`FormatError`]; then nothing was appended.
    pub fn read(
        &mut self,
        series: SeriesId,
        from: UnixMillis,
        to: UnixMillis,
        out: &mut Vec<Point>,
    ) -> Result<(), FormatError> {
        let Ok(at) = self.series.binary_search_by_key(&series, |one| one.id) else { return Ok(()) };
        let one = &self.series[at];
        let group = &mut self.groups[one.group];
        if group.times.is_none() {
            group.times = Some(column::decode_times(&group.place, self.data, group.n_points)?);
        }
        let times = group.times.as_deref().unwrap_or(&[]);
        let range = times.partition_point(|&time| time < from.0)..times.partition_point(|&time| time < to.0);
        if range.is_empty() {
            return Ok(());
        }
        column::decode_values(&one.place, self.data, times, range, out)
    }
}

/// The checked header and the data.
fn split(chunk: &[u8]) -> Result<(Reader<'_>, &[u8]), FormatError> {
    let truncated = FormatError::Truncated { what: WHAT, at: chunk.len() };
    let mut reader = Reader::new(WHAT, chunk);
    let kind = reader.byte()?;
    if kind != KIND {
        return Err(FormatError::Kind { what: WHAT, found: kind });
    }
    let version = reader.byte()?;
    if version == 0 || version > VERSION {
        return Err(FormatError::Version { what: WHAT, found: version, known: VERSION });
    }
    let header_len = u32::from_le_bytes(reader.array()?) as usize;
    let end = PREFIX_BYTES.checked_add(header_len).ok_or(truncated)?;
    let header = reader.take(header_len)?;
    let crc = u32::from_le_bytes(reader.array()?);
    if crc32c::crc32c(&chunk[..end]) != crc {
        return Err(FormatError::Checksum { what: WHAT });
    }
    Ok((Reader::new(WHAT, header), &chunk[end + CRC_BYTES..]))
}
