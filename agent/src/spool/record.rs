//! The spool's record: one batch, framed so that damage is told from a cut.
//!
//! ```text
//! record  := header payload
//! header  := kind u8         1 delta batch, 2 key batch
//!            len u32         bytes of the payload
//!            seq u64         of the batch
//!            wall_ms i64     of the batch
//!            n_samples u32   in the batch
//!            payload_crc u32 CRC-32C
//!            header_crc u32  CRC-32C of the 29 bytes before it
//! payload := the batch as it goes over the wire (protobuf)
//! ```
//!
//! All numbers are little endian. The header has a checksum of its own, so that a
//! flipped bit in `len` reads as damage and not as a record cut short.

use bytes::Bytes;
use signalbox_proto::limits::MESSAGE_MAX_BYTES;
use signalbox_proto::units::UnixMillis;

/// Bytes of a record before its payload.
pub(crate) const HEADER_BYTES: usize = 33;
const KIND_DELTA: u8 = 1;
const KIND_KEY: u8 = 2;

/// One batch as it is kept and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// True when nothing before it is needed to read it.
    pub(crate) key: bool,
    /// 1, 2, 3 … within the epoch.
    pub(crate) seq: u64,
    /// Wall clock of the batch.
    pub(crate) wall: UnixMillis,
    /// Samples in the batch.
    pub(crate) n_samples: u32,
    /// Encoded `signalbox.v1.Batch`.
    pub(crate) payload: Bytes,
}

/// What a record's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) key: bool,
    pub(crate) seq: u64,
    pub(crate) wall: UnixMillis,
    pub(crate) n_samples: u32,
    pub(crate) payload_len: usize,
    payload_crc: u32,
}

/// Appends the record to `out`.
pub(crate) fn encode(record: &Record, out: &mut Vec<u8>) {
    let start = out.len();
    let payload_len = u32::try_from(record.payload.len()).expect("a batch is under the message limit of 4 MiB");
    out.push(if record.key { KIND_KEY } else { KIND_DELTA });
    out.extend_from_slice(&payload_len.to_le_bytes());
    out.extend_from_slice(&record.seq.to_le_bytes());
    out.extend_from_slice(&record.wall.0.to_le_bytes());
    out.extend_from_slice(&record.n_samples.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&record.payload).to_le_bytes());
    let header_crc = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&header_crc.to_le_bytes());
    out.extend_from_slice(&record.payload);
}

/// Reads a header; `None` when it is damaged.
pub(crate) fn decode_header(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
    if crc32c::crc32c(&bytes[..29]) != u32_at(bytes, 29) {
        return None;
    }
    let key = match bytes[0] {
        KIND_DELTA => false,
        KIND_KEY => true,
        _ => return None,
    };
    let payload_len = u32_at(bytes, 1) as usize;
    (payload_len <= MESSAGE_MAX_BYTES).then_some(Header {
        key,
        seq: u64_at(bytes, 5),
        wall: UnixMillis(u64_at(bytes, 13).cast_signed()),
        n_samples: u32_at(bytes, 21),
        payload_len,
        payload_crc: u32_at(bytes, 25),
    })
}

impl Header {
    /// The record, if `payload` is what was written.
    pub(crate) fn record(self, payload: Bytes) -> Option<Record> {
        let whole = payload.len() == self.payload_len && crc32c::crc32c(&payload) == self.payload_crc;
        let Header { key, seq, wall, n_samples, .. } = self;
        whole.then_some(Record { key, seq, wall, n_samples, payload })
    }
}

/// The little-endian number at `at`, which the caller knows to lie inside.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

/// The little-endian number at `at`, which the caller knows to lie inside.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(record: &Record) -> Vec<u8> {
        let mut out = Vec::new();
        encode(record, &mut out);
        out
    }

    fn decoded(bytes: &[u8]) -> Option<Record> {
        let header = decode_header(bytes.get(..HEADER_BYTES)?.try_into().ok()?)?;
        header.record(Bytes::copy_from_slice(&bytes[HEADER_BYTES..]))
    }

    proptest! {
        #[test]
        fn a_record_comes_back(key: bool, seq: u64, wall: i64, n_samples: u32, payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let record = Record { key, seq, wall: UnixMillis(wall), n_samples, payload: payload.into() };
            prop_assert_eq!(decoded(&encoded(&record)), Some(record));
        }

        #[test]
        fn any_flipped_bit_is_seen(payload in proptest::collection::vec(any::<u8>(), 0..60), at: prop::sample::Index, bit in 0u8..8) {
            let record = Record { key: true, seq: 7, wall: UnixMillis(9), n_samples: 3, payload: payload.into() };
            let mut bytes = encoded(&record);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(decoded(&bytes), None);
        }
    }
}
