//! One segment file: a header, then records of one epoch, the first a key batch.
//!
//! ```text
//! segment := "SBXSPOOL" version u32 epoch u64 first_seq u64 created_ms i64 crc u32
//!            record*
//! name    := {epoch:016x}-{first_seq:016x}.seg
//! ```
//!
//! A reader tells three ends apart: *clean* (nothing follows), *torn* (the last
//! record was cut short, as a crash leaves it) and *corrupt* (bytes that were
//! written whole and are whole no more).

use super::record::{self, HEADER_BYTES, Header, Record};
use bytes::Bytes;
use signalbox_proto::units::UnixMillis;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes before the first record.
pub(crate) const PREAMBLE_BYTES: usize = 40;
const MAGIC: &[u8; 8] = b"SBXSPOOL";
const VERSION: u32 = 1;

/// Which segment: epoch, then the first sequence in it.
pub(crate) type SegmentId = (u64, u64);

/// What the spool remembers of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) id: SegmentId,
    pub(crate) last_seq: u64,
    pub(crate) first_wall: UnixMillis,
    pub(crate) last_wall: UnixMillis,
    pub(crate) n_records: u64,
    /// Samples in the last record: what a record behind it would hold, if it is lost.
    pub(crate) n_samples_last: u32,
    pub(crate) bytes: u64,
}

/// Why the next record could not be read.
#[derive(Debug)]
pub(crate) enum ReadFault {
    /// The file ends inside the record.
    Torn,
    /// The bytes are there and wrong.
    Corrupt,
    /// The file could not be read.
    Io(io::Error),
}

/// File name of a segment.
pub(crate) fn file_name((epoch, first_seq): SegmentId) -> String {
    format!("{epoch:016x}-{first_seq:016x}.seg")
}

/// The segment that a file name stands for.
pub(crate) fn parse_file_name(name: &str) -> Option<SegmentId> {
    let (epoch, first_seq) = name.strip_suffix(".seg")?.split_once('-')?;
    if epoch.len() != 16 || first_seq.len() != 16 {
        return None;
    }
    Some((u64::from_str_radix(epoch, 16).ok()?, u64::from_str_radix(first_seq, 16).ok()?))
}

/// The preamble of a new segment.
pub(crate) fn preamble((epoch, first_seq): SegmentId, created: UnixMillis) -> Vec<u8> {
    let mut out = Vec::with_capacity(PREAMBLE_BYTES);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&epoch.to_le_bytes());
    out.extend_from_slice(&first_seq.to_le_bytes());
    out.extend_from_slice(&created.0.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out
}

fn preamble_is_of(bytes: &[u8; PREAMBLE_BYTES], id: SegmentId) -> bool {
    bytes[..8] == *MAGIC
        && record::u32_at(bytes, 8) == VERSION
        && (record::u64_at(bytes, 12), record::u64_at(bytes, 20)) == id
        && record::u32_at(bytes, 36) == crc32c::crc32c(&bytes[..36])
}

/// Reads the records of a segment in order.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    pub(crate) id: SegmentId,
    file: File,
    /// Where the next record begins.
    pub(crate) offset: u64,
}

impl SegmentReader {
    /// Opens the segment and checks its preamble.
    pub(crate) fn open(path: &Path, id: SegmentId) -> Result<SegmentReader, ReadFault> {
        let file = File::open(path).map_err(ReadFault::Io)?;
        let mut bytes = [0; PREAMBLE_BYTES];
        let n = read_up_to(&file, &mut bytes, 0)?;
        if n < PREAMBLE_BYTES || bytes == [0; PREAMBLE_BYTES] {
            return Err(ReadFault::Torn);
        }
        if !preamble_is_of(&bytes, id) {
            return Err(ReadFault::Corrupt);
        }
        Ok(SegmentReader { id, file, offset: PREAMBLE_BYTES as u64 })
    }

    /// The next record, `None` at a clean end. After a fault the reader stays
    /// where the faulty record begins.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, ReadFault> {
        let Some(header) = self.header()? else { return Ok(None) };
        let mut payload = vec![0; header.payload_len];
        let at = self.offset + HEADER_BYTES as u64;
        if read_up_to(&self.file, &mut payload, at)? < payload.len() {
            return Err(ReadFault::Torn);
        }
        let record = header.record(Bytes::from(payload)).ok_or(ReadFault::Corrupt)?;
        self.offset = at + header.payload_len as u64;
        Ok(Some(record))
    }

    /// Steps over the next record; its payload is not looked at.
    pub(crate) fn skip(&mut self) -> Result<Option<Header>, ReadFault> {
        let Some(header) = self.header()? else { return Ok(None) };
        let end = self.offset + (HEADER_BYTES + header.payload_len) as u64;
        if end > self.file.metadata().map_err(ReadFault::Io)?.len() {
            return Err(ReadFault::Torn);
        }
        self.offset = end;
        Ok(Some(header))
    }

    /// True when nothing lies behind the record at the reader's position: a bad
    /// checksum there cannot be told from a tail that never reached the disk.
    pub(crate) fn at_last_record(&self) -> bool {
        let Ok(Some(header)) = self.header() else { return false };
        let end = self.offset + (HEADER_BYTES + header.payload_len) as u64;
        self.file.metadata().is_ok_and(|meta| end >= meta.len())
    }

    fn header(&self) -> Result<Option<Header>, ReadFault> {
        let mut bytes = [0; HEADER_BYTES];
        match read_up_to(&self.file, &mut bytes, self.offset)? {
            0 => Ok(None),
            HEADER_BYTES => match record::decode_header(&bytes) {
                Some(header) => Ok(Some(header)),
                // A file that was made longer before its bytes reached the disk ends in zeros.
                None if self.only_zeros_follow()? => Err(ReadFault::Torn),
                None => Err(ReadFault::Corrupt),
            },
            _ => Err(ReadFault::Torn),
        }
    }

    fn only_zeros_follow(&self) -> Result<bool, ReadFault> {
        let mut at = self.offset;
        let mut bytes = [0; 4096];
        loop {
            let n = read_up_to(&self.file, &mut bytes, at)?;
            if bytes[..n].iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            if n < bytes.len() {
                return Ok(true);
            }
            at += n as u64;
        }
    }
}

/// Fills `bytes` from `at`, less only when the file ends.
fn read_up_to(file: &File, bytes: &mut [u8], at: u64) -> Result<usize, ReadFault> {
    let mut n = 0;
    while n < bytes.len() {
        match file.read_at(&mut bytes[n..], at + n as u64) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ReadFault::Io(error)),
        }
    }
    Ok(n)
}

/// The end that a scan met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    Clean,
    Torn,
    Corrupt,
}

/// What a scan found: the readable records, where they end, and how.
#[derive(Debug)]
pub(crate) struct Scan {
    /// None when not even one record could be read.
    pub(crate) segment: Option<Segment>,
    pub(crate) tail: Tail,
}

/// Reads a segment's headers, and its payloads too if `check_payloads`.
pub(crate) fn scan(path: &Path, id: SegmentId, check_payloads: bool) -> io::Result<Scan> {
    let mut reader = match SegmentReader::open(path, id) {
        Ok(reader) => reader,
        Err(fault) => return Ok(Scan { segment: None, tail: tail_of(fault, false)? }),
    };
    let mut segment: Option<Segment> = None;
    loop {
        let step = if check_payloads {
            reader.next().map(|record| record.map(|r| (r.key, r.seq, r.wall, r.n_samples)))
        } else {
            reader.skip().map(|header| header.map(|h| (h.key, h.seq, h.wall, h.n_samples)))
        };
        let (key, seq, wall, n_samples) = match step {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Scan { segment, tail: Tail::Clean }),
            Err(fault) => {
                let tail = tail_of(fault, reader.at_last_record())?;
                return Ok(Scan { segment, tail });
            }
        };
        let expected = segment.as_ref().map_or(id.1, |known| known.last_seq.wrapping_add(1));
        if seq != expected || key != segment.is_none() {
            return Ok(Scan { segment, tail: Tail::Corrupt });
        }
        let known = segment.get_or_insert(Segment {
            id,
            last_seq: seq,
            first_wall: wall,
            last_wall: wall,
            n_records: 0,
            n_samples_last: 0,
            bytes: 0,
        });
        known.n_samples_last = n_samples;
        known.last_seq = seq;
        known.last_wall = wall;
        known.n_records += 1;
        known.bytes = reader.offset;
    }
}

/// Headers of records from `begin` on that can still be read, wherever they lie: each has
/// a checksum of its own. A segment is about 1 MiB, so it is read whole.
pub(crate) fn headers_behind(path: &Path, begin: u64) -> io::Result<Vec<Header>> {
    let bytes = std::fs::read(path)?;
    let mut at = usize::try_from(begin).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    while let Some(bytes) = bytes.get(at..).and_then(|rest| rest.first_chunk::<HEADER_BYTES>()) {
        match record::decode_header(bytes) {
            Some(header) => {
                at += HEADER_BYTES + header.payload_len;
                found.push(header);
            }
            None => at += 1,
        }
    }
    Ok(found)
}

fn tail_of(fault: ReadFault, at_end: bool) -> io::Result<Tail> {
    match fault {
        ReadFault::Torn => Ok(Tail::Torn),
        ReadFault::Corrupt if at_end => Ok(Tail::Torn),
        ReadFault::Corrupt => Ok(Tail::Corrupt),
        ReadFault::Io(error) => Err(error),
    }
}

/// Path of a segment in `dir`.
pub(crate) fn path_of(dir: &Path, id: SegmentId) -> PathBuf {
    dir.join(file_name(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_comes_back() {
        let id = (1_700_000_000, 601);
        assert_eq!(parse_file_name(&file_name(id)), Some(id));
        assert_eq!(parse_file_name("marks"), None);
        assert_eq!(parse_file_name("1-2.seg"), None);
    }

    #[test]
    fn the_preamble_has_its_size_and_names_its_segment() {
        let bytes: [u8; PREAMBLE_BYTES] = preamble((3, 9), UnixMillis(5)).try_into().unwrap();
        assert!(preamble_is_of(&bytes, (3, 9)));
        assert!(!preamble_is_of(&bytes, (3, 8)));
    }
}
