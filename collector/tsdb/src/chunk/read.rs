//! Reading of chunks: the header is parsed once, columns when they are asked for.

use super::column::{self, Place, Scratch};
use super::{Facts, KIND, POINTS_PER_SERIES_MAX, PREFIX_BYTES, VERSION, VERSION_WITHOUT_ARRIVALS, WHAT};
use crate::SeriesId;
use crate::format::{CRC_BYTES, FormatError, Reader};
use crate::run::{Arrived, Run, range_of};
use signalbox_proto::units::UnixMillis;
use std::ops::Range;
use std::sync::Arc;

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
    /// None in rows of the first version, which do not say.
    arrived: Option<Place>,
    /// Decoded at first use, for all series that share it.
    instants: Option<(Arc<[i64]>, Arrived)>,
    /// What was last cut out of it: the next series asks for the same.
    cut: Option<(UnixMillis, UnixMillis, Cut)>,
}

/// Instants of a range.
#[derive(Debug, Clone)]
struct Cut {
    range: Range<usize>,
    times: Arc<[i64]>,
    arrived: Arrived,
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
    scratch: Scratch,
}

impl<'a> ChunkReader<'a> {
    /// Checks and parses the header.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn open(chunk: &'a [u8]) -> Result<ChunkReader<'a>, FormatError> {
        let (version, mut reader, data) = split(chunk)?;
        let min_time = reader.signed()?;
        let span = reader.varint()?;
        let max_time = min_time.checked_add_unsigned(span).ok_or_else(|| reader.malformed())?;
        let mut at = 0;
        let n_groups = reader.count_left()?;
        let mut groups = Vec::with_capacity(n_groups);
        for _ in 0..n_groups {
            let n_points = reader.count(POINTS_PER_SERIES_MAX)?;
            let place = Place::read(&mut reader, &mut at)?;
            let arrived =
                if version > VERSION_WITHOUT_ARRIVALS { Some(Place::read(&mut reader, &mut at)?) } else { None };
            groups.push(Group { n_points, place, arrived, instants: None, cut: None });
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
        let (min_time, max_time) = (UnixMillis(min_time), UnixMillis(max_time));
        Ok(ChunkReader { data, min_time, max_time, groups, series, scratch: Scratch::default() })
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

    /// True when the series has points here.
    pub fn has(&self, series: SeriesId) -> bool {
        self.series.binary_search_by_key(&series, |one| one.id).is_ok()
    }

    /// Samples of all series.
    pub fn n_samples(&self) -> u64 {
        self.series().map(|one| one.n_points as u64).sum()
    }

    /// What the header tells, and the latest arrival, which is decoded for it.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn facts(&mut self) -> Result<Facts, FormatError> {
        let mut arrived = UnixMillis::MIN;
        for at in 0..self.groups.len() {
            let newest = self.instants(at)?.1.newest();
            arrived = arrived.max(UnixMillis(newest.unwrap_or(i64::MIN)));
        }
        Ok(Facts {
            min_time: self.min_time,
            max_time: self.max_time,
            n_series: self.series.len() as u64,
            n_samples: self.n_samples(),
            arrived,
        })
    }

    /// The points of one series in `[from, to)`; none when the series is not in
    /// this chunk. Series that were sampled together share their instants.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn read(&mut self, series: SeriesId, from: UnixMillis, to: UnixMillis) -> Result<Option<Run>, FormatError> {
        let Ok(at) = self.series.binary_search_by_key(&series, |one| one.id) else { return Ok(None) };
        let group = self.series[at].group;
        let Cut { range, times, arrived } = self.cut(group, from, to)?;
        if range.is_empty() {
            return Ok(None);
        }
        let n = self.groups[group].n_points;
        let values = column::decode_values(&self.series[at].place, self.data, n, range, &mut self.scratch)?;
        Ok(Some(Run { times, arrived, values }))
    }

    fn cut(&mut self, group: usize, from: UnixMillis, to: UnixMillis) -> Result<Cut, FormatError> {
        if let Some((known_from, known_to, cut)) = &self.groups[group].cut
            && (*known_from, *known_to) == (from, to)
        {
            return Ok(cut.clone());
        }
        let (times, arrived) = self.instants(group)?;
        let range = range_of(&times, from, to);
        let cut = if range == (0..times.len()) {
            Cut { range, times, arrived }
        } else {
            let arrived = match &arrived {
                Arrived::At(instant) => Arrived::At(*instant),
                Arrived::Each(instants) => Arrived::Each(instants[range.clone()].into()),
            };
            Cut { times: times[range.clone()].into(), range, arrived }
        };
        self.groups[group].cut = Some((from, to, cut.clone()));
        Ok(cut)
    }

    fn instants(&mut self, group: usize) -> Result<(Arc<[i64]>, Arrived), FormatError> {
        let group = &mut self.groups[group];
        if let Some(known) = &group.instants {
            return Ok(known.clone());
        }
        let times: Arc<[i64]> = column::decode_times(&group.place, self.data, group.n_points)?.into();
        let arrived = match &group.arrived {
            // Samples were live then, or as good as that.
            None => Arrived::At(self.max_time.0),
            Some(place) => column::decode_arrivals(place, self.data, group.n_points)?,
        };
        Ok(group.instants.insert((times, arrived)).clone())
    }
}

/// Version, checked header and data.
fn split(chunk: &[u8]) -> Result<(u8, Reader<'_>, &[u8]), FormatError> {
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
    Ok((version, Reader::new(WHAT, header), &chunk[end + CRC_BYTES..]))
}
