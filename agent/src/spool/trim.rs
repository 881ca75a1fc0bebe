//! What may go: acknowledged segments after the replay window, and the oldest when
//! a limit is met.

use super::Spool;
use super::loss::Reason;
use super::segment::{self, Segment, SegmentId, SegmentReader};
use signalbox_proto::limits::EPOCHS_PER_HELLO_MAX;
use signalbox_proto::units::{Bytes, Millis, UnixMillis};

/// Acknowledged segments stay so long, so that a collector which lost its tail can
/// be filled again …
const REPLAY_WINDOW: Millis = Millis::from_mins(10);
/// … as far as they fit here.
const REPLAY_MAX: Bytes = Bytes::from_mib(64);
/// Share of the file system that the spool may take: one part in so many.
const FILE_SYSTEM_PART: u64 = 10;
/// Segments kept at most: no more epochs than a Hello may list, with room for the one
/// that begins, for those in memory and for the live one.
const SEGMENTS_MAX: usize = EPOCHS_PER_HELLO_MAX - 64;

impl Spool {
    /// Removes what may go. Whole segments, the oldest first; never the one being
    /// written. What goes without being acknowledged is noted as lost.
    pub(crate) fn trim(&mut self, now: UnixMillis) {
        self.trim_replayed(now);
        while let Some(segment) = self.oldest_closed().filter(|s| now.since(s.last_wall) > self.limits.max_age) {
            self.drop_segment(segment.id, Reason::SpoolAge);
        }
        let limit = self.limits.max_size.min(self.file_system_share());
        while self.bytes() > limit || self.segments.len() > SEGMENTS_MAX {
            let Some(segment) = self.oldest_closed() else { break };
            self.drop_segment(segment.id, Reason::SpoolFull);
        }
        let known = self.epochs();
        let writing = self.newest.as_ref().map(|(epoch, _)| *epoch);
        // The mark of the newest epoch stays, so that numbers never repeat.
        let newest = self.marks.newest_epoch();
        self.marks.retain(|epoch| known.contains(&epoch) || Some(epoch) == newest || Some(epoch) == writing);
        self.save_marks();
    }

    fn trim_replayed(&mut self, now: UnixMillis) {
        let done = |spool: &Spool, segment: &Segment| spool.n_unacked(segment) == 0 && !spool.is_written(segment.id);
        let acked: Vec<(SegmentId, UnixMillis, u64)> = self
            .segments
            .values()
            .filter(|segment| done(self, segment))
            .map(|segment| (segment.id, segment.last_wall, segment.bytes))
            .collect();
        let mut bytes: u64 = acked.iter().map(|(_, _, bytes)| bytes).sum();
        for (id, last_wall, size) in acked {
            if now.since(last_wall) > REPLAY_WINDOW || bytes > REPLAY_MAX.0 {
                bytes -= size;
                self.segments.remove(&id);
                self.remove_file(&segment::path_of(&self.dir, id));
            }
        }
    }

    fn is_written(&self, id: SegmentId) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.id == id)
    }

    fn oldest_closed(&self) -> Option<Segment> {
        self.segments.values().find(|segment| !self.is_written(segment.id)).cloned()
    }

    fn drop_segment(&mut self, id: SegmentId, reason: Reason) {
        let path = segment::path_of(&self.dir, id);
        let acked = self.marks.of(id.0);
        if let Some(segment) = self.segments.remove(&id)
            && segment.last_seq > acked
        {
            let mut n_samples = 0;
            let mut from = segment.last_wall;
            if let Ok(mut reader) = SegmentReader::open(&path, id) {
                while let Ok(Some(header)) = reader.skip() {
                    if header.seq > acked {
                        n_samples += u64::from(header.n_samples);
                        from = from.min(header.wall);
                    }
                }
            }
            self.losses.add(reason, n_samples, from, segment.last_wall);
            tracing::error!(n_samples, reason = ?reason, "spool dropped a segment");
        }
        self.remove_file(&path);
    }

    /// Drops the segment that holds a batch which the collector never takes, and what
    /// memory holds of it. What follows begins with a key batch.
    pub(crate) fn refuse(&mut self, epoch: u64, seq: u64) {
        tracing::error!(epoch, seq, "the collector refuses a batch each time; its segment is dropped");
        if self.newest.as_ref().is_some_and(|(own, record)| *own == epoch && record.seq >= seq) {
            self.newest = None;
        }
        if let Some(record) = self.ring.remove(epoch, seq) {
            self.losses.add(Reason::Refused, record.n_samples.into(), record.wall, record.wall);
            return;
        }
        let holds =
            self.segments.range((epoch, 0)..=(epoch, seq)).next_back().map(|(&id, segment)| (id, segment.last_seq));
        let Some((id, _)) = holds.filter(|&(_, last_seq)| last_seq >= seq) else { return };
        if self.is_written(id) {
            self.writer = None;
            self.unsynced = super::Unsynced::default();
        }
        self.drop_segment(id, Reason::Refused);
    }

    fn file_system_share(&self) -> Bytes {
        match rustix::fs::statvfs(&self.dir) {
            Ok(stat) => Bytes(stat.f_blocks.saturating_mul(stat.f_frsize) / FILE_SYSTEM_PART),
            Err(_) => self.limits.max_size,
        }
    }
}
