//! Rows of buckets: written series by series, read one series at a time.

use super::Bucket;
use crate::SeriesId;
use crate::chunk::column::{self, Place, Scratch};
use crate::format::{CRC_BYTES, FormatError, Reader};
use signalbox_proto::columns::put_varint;
use signalbox_proto::units::UnixMillis;
use std::collections::HashMap;

const WHAT: &str = "roll-up row";
const KIND: u8 = b'U';
const VERSION: u8 = 1;
/// Buckets of one series in a row: bounds what a reader reserves.
const BUCKETS_MAX: usize = 1 << 16;
const FIELDS: usize = 7;
const GROUP_COLUMNS: usize = 4;

type Shared = [Vec<i64>; GROUP_COLUMNS];

fn shared(buckets: &[Bucket], step: i64) -> Shared {
    let column = |of: fn(&Bucket, i64) -> i64| buckets.iter().map(|bucket| of(bucket, step)).collect();
    [
        column(|bucket, step| bucket.start.0.div_euclid(step)),
        column(|bucket, _| bucket.first_time.0.wrapping_sub(bucket.start.0)),
        column(|bucket, _| bucket.last_time.0.wrapping_sub(bucket.first_time.0)),
        column(|bucket, _| bucket.count.cast_signed()),
    ]
}

fn fields(buckets: &[Bucket]) -> [Vec<f64>; FIELDS] {
    let column = |of: fn(&Bucket) -> f64| buckets.iter().map(of).collect();
    [
        column(|bucket| bucket.first),
        column(|bucket| bucket.last),
        column(|bucket| bucket.min),
        column(|bucket| bucket.max),
        column(|bucket| bucket.sum),
        column(|bucket| bucket.correction),
        column(|bucket| f64::from(u8::from(bucket.ended))),
    ]
}

/// A row that grows.
#[derive(Debug)]
pub struct RollupBuilder {
    step: i64,
    groups: HashMap<Shared, usize>,
    group_header: Vec<u8>,
    group_data: Vec<u8>,
    series_header: Vec<u8>,
    series_data: Vec<u8>,
    n_series: u64,
    n_buckets: u64,
    last: Option<SeriesId>,
}

impl RollupBuilder {
    /// An empty row of buckets of `step` milliseconds.
    pub fn new(step: i64) -> RollupBuilder {
        RollupBuilder {
            step: step.max(1),
            groups: HashMap::new(),
            group_header: Vec::new(),
            group_data: Vec::new(),
            series_header: Vec::new(),
            series_data: Vec::new(),
            n_series: 0,
            n_buckets: 0,
            last: None,
        }
    }

    /// Adds a series; one without buckets is left out.
    ///
    /// # Panics
    /// When ids do not ascend: a fault of the caller.
    pub fn push(&mut self, series: SeriesId, buckets: &[Bucket]) {
        if buckets.is_empty() {
            return;
        }
        assert!(self.last.is_none_or(|last| last < series), "a series is given twice or out of order");
        let group = self.group(shared(buckets, self.step));
        put_varint(&mut self.series_header, u64::from(series.0 - self.last.map_or(0, |last| last.0)));
        put_varint(&mut self.series_header, group as u64);
        let fields = fields(buckets);
        for at in 0..FIELDS {
            let is_same = |&other: &usize| {
                fields[other].iter().zip(&fields[at]).all(|(a, b): (&f64, &f64)| a.to_bits() == b.to_bits())
            };
            if let Some(other) = (0..at).find(is_same) {
                put_varint(&mut self.series_header, other as u64 + 1);
            } else {
                self.series_header.push(0);
                column::encode_values(&fields[at]).put(&mut self.series_header, &mut self.series_data);
            }
        }
        self.last = Some(series);
        self.n_series += 1;
        self.n_buckets += buckets.len() as u64;
    }

    fn group(&mut self, shared: Shared) -> usize {
        let n = self.groups.len();
        if let Some(&known) = self.groups.get(&shared) {
            return known;
        }
        put_varint(&mut self.group_header, shared[0].len() as u64);
        for numbers in &shared {
            column::encode_arrivals(numbers).put(&mut self.group_header, &mut self.group_data);
        }
        self.groups.insert(shared, n);
        n
    }

    /// Bytes that the row has so far.
    pub fn n_bytes(&self) -> usize {
        self.group_header.len() + self.group_data.len() + self.series_header.len() + self.series_data.len()
    }

    /// Series and buckets in it.
    pub fn counts(&self) -> (u64, u64) {
        (self.n_series, self.n_buckets)
    }

    /// The row.
    pub fn finish(self) -> Vec<u8> {
        let mut header = Vec::with_capacity(self.group_header.len() + self.series_header.len() + 16);
        put_varint(&mut header, self.groups.len() as u64);
        header.extend_from_slice(&self.group_header);
        put_varint(&mut header, self.n_series);
        header.extend_from_slice(&self.series_header);
        let mut row = vec![KIND, VERSION];
        put_varint(&mut row, self.step.unsigned_abs());
        let header_len = u32::try_from(header.len()).expect("a row is cut long before 4 GiB");
        row.extend_from_slice(&header_len.to_le_bytes());
        row.extend_from_slice(&header);
        let crc = crc32c::crc32c(&row);
        row.extend_from_slice(&crc.to_le_bytes());
        row.extend_from_slice(&self.group_data);
        row.extend_from_slice(&self.series_data);
        row
    }
}

#[derive(Debug)]
struct Group {
    n: usize,
    places: [Place; GROUP_COLUMNS],
    shared: Option<Shared>,
}

/// Either a column or the number of the field that it equals.
#[derive(Debug)]
enum Field {
    Own(Place),
    Same(usize),
}

#[derive(Debug)]
struct Series {
    id: SeriesId,
    group: usize,
    fields: Vec<Field>,
}

/// An opened row: checked header, columns still packed.
#[derive(Debug)]
pub struct RollupReader<'a> {
    data: &'a [u8],
    step: i64,
    groups: Vec<Group>,
    series: Vec<Series>,
    scratch: Scratch,
}

impl<'a> RollupReader<'a> {
    /// Checks and parses the header.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn open(row: &'a [u8]) -> Result<RollupReader<'a>, FormatError> {
        let (step, mut reader, data) = split(row)?;
        let mut at = 0;
        let n_groups = reader.count_left()?;
        let mut groups = Vec::with_capacity(n_groups);
        for _ in 0..n_groups {
            let n = reader.count(BUCKETS_MAX)?;
            let mut place = || Place::read(&mut reader, &mut at);
            groups.push(Group { n, places: [place()?, place()?, place()?, place()?], shared: None });
        }
        let n_series = reader.count_left()?;
        let mut series = Vec::with_capacity(n_series);
        let mut id = 0u32;
        for n in 0..n_series {
            let more = reader.u32()?;
            id = id.checked_add(more).filter(|_| n == 0 || more > 0).ok_or_else(|| reader.malformed())?;
            let group = usize::try_from(reader.varint()?).ok().filter(|&group| group < groups.len());
            let group = group.ok_or_else(|| reader.malformed())?;
            let mut fields = Vec::with_capacity(FIELDS);
            for field in 0..FIELDS {
                fields.push(match reader.count(field)? {
                    0 => Field::Own(Place::read(&mut reader, &mut at)?),
                    other => Field::Same(other - 1),
                });
            }
            series.push(Series { id: SeriesId(id), group, fields });
        }
        reader.end()?;
        if at != data.len() {
            return Err(FormatError::Truncated { what: WHAT, at: row.len() });
        }
        Ok(RollupReader { data, step, groups, series, scratch: Scratch::default() })
    }

    /// Milliseconds of a bucket.
    pub fn step(&self) -> i64 {
        self.step
    }

    /// The row's series, ascending.
    pub fn series(&self) -> impl Iterator<Item = SeriesId> {
        self.series.iter().map(|one| one.id)
    }

    /// Buckets of one series that start in `[from, to)`; none when it is not here.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn read(&mut self, series: SeriesId, from: UnixMillis, to: UnixMillis) -> Result<Vec<Bucket>, FormatError> {
        let Ok(at) = self.series.binary_search_by_key(&series, |one| one.id) else { return Ok(Vec::new()) };
        let one = &self.series[at];
        let group = &mut self.groups[one.group];
        if group.shared.is_none() {
            group.shared = Some(decode_shared(group, self.data)?);
        }
        let Some([starts, firsts, lasts, counts]) = &group.shared else { return Ok(Vec::new()) };
        let mut fields: Vec<Vec<f64>> = Vec::with_capacity(FIELDS);
        for field in &one.fields {
            fields.push(match field {
                Field::Own(place) => column::decode_values(place, self.data, group.n, 0..group.n, &mut self.scratch)?,
                Field::Same(other) => fields[*other].clone(),
            });
        }
        let bucket = |at: usize| {
            let start = UnixMillis(starts[at].wrapping_mul(self.step));
            let first_time = start.shifted(firsts[at]);
            Bucket {
                start,
                first_time,
                last_time: first_time.shifted(lasts[at]),
                count: counts[at].cast_unsigned(),
                first: fields[0][at],
                last: fields[1][at],
                min: fields[2][at],
                max: fields[3][at],
                sum: fields[4][at],
                correction: fields[5][at],
                ended: fields[6][at] != 0.0,
            }
        };
        Ok((0..group.n).map(bucket).filter(|bucket| bucket.start >= from && bucket.start < to).collect())
    }
}

fn decode_shared(group: &Group, data: &[u8]) -> Result<Shared, FormatError> {
    let column = |at: usize| column::decode_integers(&group.places[at], data, group.n);
    Ok([column(0)?, column(1)?, column(2)?, column(3)?])
}

fn split(row: &[u8]) -> Result<(i64, Reader<'_>, &[u8]), FormatError> {
    let truncated = FormatError::Truncated { what: WHAT, at: row.len() };
    let mut reader = Reader::new(WHAT, row);
    let kind = reader.byte()?;
    if kind != KIND {
        return Err(FormatError::Kind { what: WHAT, found: kind });
    }
    let version = reader.byte()?;
    if version == 0 || version > VERSION {
        return Err(FormatError::Version { what: WHAT, found: version, known: VERSION });
    }
    let step = i64::try_from(reader.varint()?).ok().filter(|&step| step > 0).ok_or_else(|| reader.malformed())?;
    let header_len = u32::from_le_bytes(reader.array()?) as usize;
    let header = reader.take(header_len)?;
    let end = row.len() - reader.left();
    let crc = u32::from_le_bytes(reader.array()?);
    let data = row.get(end + CRC_BYTES..).ok_or(truncated)?;
    if crc32c::crc32c(&row[..end]) != crc {
        return Err(FormatError::Checksum { what: WHAT });
    }
    Ok((step, Reader::new(WHAT, header), data))
}
