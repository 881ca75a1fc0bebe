//! Writing of chunks, series by series: only their packed columns are held.

use super::column;
use super::{Facts, KIND, VERSION};
use crate::SeriesId;
use crate::format::put_signed;
use crate::run::{Arrived, Run};
use signalbox_proto::columns::put_varint;
use signalbox_proto::units::UnixMillis;
use std::collections::HashMap;
use std::sync::Arc;

/// A chunk that grows.
#[derive(Debug, Default)]
pub struct ChunkBuilder {
    groups: Vec<(Arc<[i64]>, Arrived)>,
    /// Groups that could be equal: without this, 20 000 shapes of one series each
    /// would all be compared with one another.
    alike: HashMap<(usize, i64, i64), Vec<usize>>,
    group_header: Vec<u8>,
    group_data: Vec<u8>,
    series_header: Vec<u8>,
    series_data: Vec<u8>,
    last: Option<SeriesId>,
    facts: Option<Facts>,
}

impl ChunkBuilder {
    /// Adds a series; one without points is left out.
    ///
    /// # Panics
    /// When ids do not ascend, or with more points than
    /// [`super::POINTS_PER_SERIES_MAX`]: a fault of the caller.
    pub fn push(&mut self, series: SeriesId, run: &Run) {
        let (Some(&first), Some(&last)) = (run.times.first(), run.times.last()) else { return };
        assert!(self.last.is_none_or(|last| last < series), "a series is given twice or out of order");
        assert!(run.len() <= super::POINTS_PER_SERIES_MAX, "a series has too many points");
        let group = self.group(run, (run.len(), first, last));
        put_varint(&mut self.series_header, u64::from(series.0 - self.last.map_or(0, |last| last.0)));
        put_varint(&mut self.series_header, group as u64);
        column::encode_values(&run.values).put(&mut self.series_header, &mut self.series_data);
        self.last = Some(series);
        let facts = self.facts.get_or_insert_default();
        facts.min_time = facts.min_time.min(UnixMillis(first));
        facts.max_time = facts.max_time.max(UnixMillis(last));
        facts.n_series += 1;
        facts.n_samples += run.len() as u64;
        facts.arrived = facts.arrived.max(UnixMillis(run.arrived.newest().unwrap_or(i64::MIN)));
    }

    /// The group of this run's instants.
    fn group(&mut self, run: &Run, ends: (usize, i64, i64)) -> usize {
        let alike = self.alike.entry(ends).or_default();
        let groups = &self.groups;
        let is_same = |&group: &usize| {
            let (times, arrived) = &groups[group];
            (Arc::ptr_eq(times, &run.times) || *times == run.times) && *arrived == run.arrived
        };
        if let Some(group) = alike.iter().copied().find(is_same) {
            return group;
        }
        let group = self.groups.len();
        alike.push(group);
        self.groups.push((Arc::clone(&run.times), run.arrived.clone()));
        put_varint(&mut self.group_header, run.len() as u64);
        column::encode_times(&run.times).put(&mut self.group_header, &mut self.group_data);
        let arrived = match &run.arrived {
            Arrived::At(instant) => column::encode_instant(*instant),
            Arrived::Each(instants) => column::encode_arrivals(instants),
        };
        arrived.put(&mut self.group_header, &mut self.group_data);
        group
    }

    /// Bytes that the chunk has so far.
    pub fn n_bytes(&self) -> usize {
        self.group_header.len() + self.group_data.len() + self.series_header.len() + self.series_data.len()
    }

    /// What is in it; none while it is empty.
    pub fn facts(&self) -> Option<Facts> {
        self.facts
    }

    /// The series added last.
    pub fn last(&self) -> Option<SeriesId> {
        self.last
    }

    /// The row.
    pub fn finish(self) -> Vec<u8> {
        let facts =
            self.facts.unwrap_or(Facts { min_time: UnixMillis(0), max_time: UnixMillis(0), ..Facts::default() });
        let mut header = Vec::with_capacity(self.group_header.len() + self.series_header.len() + 24);
        put_signed(&mut header, facts.min_time.0);
        put_varint(&mut header, facts.max_time.0.wrapping_sub(facts.min_time.0).cast_unsigned());
        put_varint(&mut header, self.groups.len() as u64);
        header.extend_from_slice(&self.group_header);
        put_varint(&mut header, facts.n_series);
        header.extend_from_slice(&self.series_header);
        assemble(&header, &[&self.group_data[..], &self.series_data].concat())
    }
}

pub(super) fn assemble(header: &[u8], data: &[u8]) -> Vec<u8> {
    let header_len = u32::try_from(header.len()).expect("a header of 200 000 series stays far under 4 GiB");
    let mut chunk = Vec::with_capacity(header.len() + data.len() + 16);
    chunk.extend_from_slice(&[KIND, VERSION]);
    chunk.extend_from_slice(&header_len.to_le_bytes());
    chunk.extend_from_slice(header);
    let crc = crc32c::crc32c(&chunk);
    chunk.extend_from_slice(&crc.to_le_bytes());
    chunk.extend_from_slice(data);
    chunk
}
