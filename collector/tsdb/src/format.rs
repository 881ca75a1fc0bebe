//! What all stored rows share: a version byte in front, a checksum behind.
//!
//! ```text
//! row := kind u8, version u8, body, crc32c u32 LE of all that is before it
//! ```
//!
//! Numbers in bodies are LEB128 (`varint`), signed ones zigzag first; texts are a
//! varint length and UTF-8. Readers refuse what they do not know and never guess.

use signalbox_proto::columns::{ColumnsError, put_varint, unzigzag, zigzag};
use signalbox_proto::names::NameError;
use thiserror::Error;

/// Bytes of the checksum at the end of a row.
pub(crate) const CRC_BYTES: usize = 4;

/// Why stored bytes were refused. Nothing of such a row is used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FormatError {
    /// The bytes end too early.
    #[error("{what}: ends early at byte {at}")]
    Truncated {
        /// Which row or part.
        what: &'static str,
        /// Offset in it.
        at: usize,
    },
    /// Something that no version of this program writes.
    #[error("{what}: malformed at byte {at}")]
    Malformed {
        /// Which row or part.
        what: &'static str,
        /// Offset in it.
        at: usize,
    },
    /// Written by a newer program.
    #[error("{what}: version {found} is not known, the newest known is {known}")]
    Version {
        /// Which row.
        what: &'static str,
        /// What it says.
        found: u8,
        /// What this program can read.
        known: u8,
    },
    /// A row of another kind lies here.
    #[error("{what}: kind {found} is not what belongs here")]
    Kind {
        /// What was looked for.
        what: &'static str,
        /// What lies here.
        found: u8,
    },
    /// Bits changed since it was written.
    #[error("{what}: checksum does not match")]
    Checksum {
        /// Which row or part.
        what: &'static str,
    },
    /// A label set that could not have been stored.
    #[error("series dictionary row: {0}")]
    Labels(#[from] NameError),
    /// Saved column state that does not decode.
    #[error("journal snapshot: {0}")]
    Columns(#[from] ColumnsError),
    /// The numeric codec refused a column.
    #[error("chunk column: {0}")]
    Codec(String),
}

/// Starts a row.
pub(crate) fn begin(kind: u8, version: u8) -> Vec<u8> {
    vec![kind, version]
}

/// Appends the checksum.
pub(crate) fn finish(mut row: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&row);
    row.extend_from_slice(&crc.to_le_bytes());
    row
}

/// Checks checksum, kind and version; gives kind and body.
pub(crate) fn open<'a>(
    what: &'static str,
    kinds: &[u8],
    known: u8,
    row: &'a [u8],
) -> Result<(u8, Reader<'a>), FormatError> {
    let Some((covered, crc)) = row.split_last_chunk::<CRC_BYTES>() else {
        return Err(FormatError::Truncated { what, at: row.len() });
    };
    if crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
        return Err(FormatError::Checksum { what });
    }
    let mut reader = Reader { what, bytes: covered, at: 0 };
    let kind = reader.byte()?;
    if !kinds.contains(&kind) {
        return Err(FormatError::Kind { what, found: kind });
    }
    let version = reader.byte()?;
    if version == 0 || version > known {
        return Err(FormatError::Version { what, found: version, known });
    }
    Ok((kind, reader))
}

/// Appends a signed number.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

/// Appends bytes with their length.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Walks over bytes and refuses to leave them.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    what: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Reader<'a> {
        Reader { what, bytes, at: 0 }
    }

    pub(crate) fn malformed(&self) -> FormatError {
        FormatError::Malformed { what: self.what, at: self.at }
    }

    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], FormatError> {
        let end = self.at.checked_add(n).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or(FormatError::Truncated { what: self.what, at: self.at })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, FormatError> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn varint(&mut self) -> Result<u64, FormatError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(self.malformed());
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed())
    }

    /// A number that fits 32 bits.
    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        u32::try_from(self.varint()?).map_err(|_| self.malformed())
    }

    pub(crate) fn signed(&mut self) -> Result<i64, FormatError> {
        Ok(unzigzag(self.varint()?))
    }

    /// A length or count: never more than `max`, so that it may be reserved.
    pub(crate) fn count(&mut self, max: usize) -> Result<usize, FormatError> {
        let n = usize::try_from(self.varint()?).map_err(|_| self.malformed())?;
        if n > max { Err(self.malformed()) } else { Ok(n) }
    }

    /// The count of things that take at least a byte each.
    pub(crate) fn count_left(&mut self) -> Result<usize, FormatError> {
        self.count(self.left())
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], FormatError> {
        let n = self.count_left()?;
        self.take(n)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, FormatError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| self.malformed())
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Nothing may be left over.
    pub(crate) fn end(&self) -> Result<(), FormatError> {
        if self.left() == 0 { Ok(()) } else { Err(self.malformed()) }
    }
}
