//! Reading the spool in order, from files, memory, or the record just pushed.

use super::segment::{self, ReadFault, SegmentId, SegmentReader};
use super::{Record, Spool};
use signalbox_proto::units::UnixMillis;

/// A place in an epoch: the next sequence to read.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) epoch: u64,
    pub(crate) next_seq: u64,
    reader: Option<SegmentReader>,
}

impl Cursor {
    /// Stands before `next_seq`.
    pub(crate) fn at(epoch: u64, next_seq: u64) -> Cursor {
        Cursor { epoch, next_seq, reader: None }
    }
}

enum Step {
    Found(Record),
    Retry,
    End,
}

impl Spool {
    /// A cursor from which everything after `acked` can be understood: it stands
    /// before the key batch of the segment that holds the next sequence.
    pub(crate) fn cursor_after(&self, epoch: u64, acked: u64) -> Cursor {
        let next_seq = acked.saturating_add(1);
        let starts_alone = self.ring.get(epoch, next_seq).is_some_and(|record| record.key);
        let before = self.segments.range((epoch, 0)..=(epoch, next_seq)).next_back();
        let start = match before {
            Some((_, segment)) if segment.last_seq >= next_seq => segment.id.1,
            // The first record that missed the disk goes on where the file ends.
            Some((_, segment)) if !starts_alone && self.ring.get(epoch, next_seq).is_some() => segment.id.1,
            _ => next_seq,
        };
        Cursor::at(epoch, start)
    }

    /// The next record, `None` when there is none yet. Records that are lost are
    /// stepped over: the one after them is a key batch.
    pub(crate) fn next(&mut self, cursor: &mut Cursor, now: UnixMillis) -> Option<Record> {
        loop {
            match self.step(cursor, now) {
                Step::Found(record) => {
                    cursor.next_seq = record.seq + 1;
                    return Some(record);
                }
                Step::Retry => {}
                Step::End => return None,
            }
        }
    }

    /// True when [`Spool::next`] would find something (or a damage).
    pub(crate) fn has_next(&self, cursor: &Cursor) -> bool {
        self.last_seq(cursor.epoch).is_some_and(|last| last >= cursor.next_seq)
    }

    fn step(&mut self, cursor: &mut Cursor, now: UnixMillis) -> Step {
        let Cursor { epoch, next_seq, .. } = *cursor;
        if let Some((own, record)) = &self.newest
            && (*own, record.seq) == (epoch, next_seq)
        {
            return Step::Found(record.clone());
        }
        if let Some(record) = self.ring.get(epoch, next_seq) {
            return Step::Found(record.clone());
        }
        let before = self.segments.range((epoch, 0)..=(epoch, next_seq)).next_back();
        if let Some((&id, segment)) = before
            && segment.last_seq >= next_seq
        {
            return self.step_in_file(cursor, id, now);
        }
        let in_files = self.segments.range((epoch, next_seq)..=(epoch, u64::MAX)).next().map(|(id, _)| id.1);
        let in_ring = self.ring.of(epoch).find(|record| record.key && record.seq > next_seq).map(|record| record.seq);
        match in_files.into_iter().chain(in_ring).min() {
            Some(seq) => {
                *cursor = Cursor::at(epoch, seq);
                Step::Retry
            }
            None => Step::End,
        }
    }

    fn step_in_file(&mut self, cursor: &mut Cursor, id: SegmentId, now: UnixMillis) -> Step {
        let mut reader = match cursor.reader.take() {
            Some(reader) if reader.id == id => reader,
            _ => match SegmentReader::open(&segment::path_of(&self.dir, id), id) {
                Ok(reader) => reader,
                Err(fault) => return self.damaged(id, cursor, &fault, now),
            },
        };
        loop {
            match reader.next() {
                Ok(Some(record)) if record.seq < cursor.next_seq => {}
                Ok(Some(record)) if record.seq == cursor.next_seq => {
                    cursor.reader = Some(reader);
                    return Step::Found(record);
                }
                Ok(_) => return self.damaged(id, cursor, &ReadFault::Corrupt, now),
                Err(fault) => return self.damaged(id, cursor, &fault, now),
            }
        }
    }

    /// Keeps what is sound of a segment, and counts the rest as lost.
    fn damaged(&mut self, id: SegmentId, cursor: &mut Cursor, fault: &ReadFault, now: UnixMillis) -> Step {
        tracing::error!(epoch = id.0, first_seq = id.1, ?fault, "read of a spool segment failed");
        cursor.reader = None;
        if self.writer.as_ref().is_some_and(|writer| writer.id == id) {
            self.seal();
        }
        let last_seq = self.segments.get(&id).map(|segment| segment.last_seq);
        let sound = segment::scan(&segment::path_of(&self.dir, id), id, true).ok().and_then(|scan| scan.segment);
        self.set_aside(id, sound, last_seq, now);
        cursor.next_seq = last_seq.map_or(cursor.next_seq, |last| last.max(cursor.next_seq) + 1);
        Step::Retry
    }
}
