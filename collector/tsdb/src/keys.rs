//! Row keys: big-endian numbers, so that byte order is the order wanted.
//!
//! ```text
//! series  := series id u32
//! journal := agent no u32, epoch u64, seq u64
//! chunk   := agent no u32, max time i64, min time i64, epoch u64, last seq u64
//! part    := agent no u32, window start i64, first series id u32
//! span    := tier u8, the row's key
//! ```
//!
//! Signed instants have their sign bit flipped. Chunks of an agent lie by their
//! newest sample: what a query from `t` needs is everything at or after
//! [`Chunk::seek`]`(agent, t)`, and `min time` tells without reading the row
//! whether it starts too late. (epoch, last seq) make the key unique and the same
//! when a seal is repeated after a crash.

use crate::SeriesId;
use crate::tier::Tier;
use signalbox_proto::units::UnixMillis;

const SIGN: u64 = 1 << 63;

/// An agent's number in the store: given once, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentNo(pub u32);

/// Key of a row of the series dictionary.
pub fn series(id: SeriesId) -> [u8; 4] {
    id.0.to_be_bytes()
}

/// The id in such a key; none when these bytes are not one.
pub fn parse_series(key: &[u8]) -> Option<SeriesId> {
    Some(SeriesId(u32::from_be_bytes(key.try_into().ok()?)))
}

/// Key of a journal row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Journal {
    /// Whose.
    pub agent: AgentNo,
    /// Which lane of it.
    pub epoch: u64,
    /// Which batch.
    pub seq: u64,
}

impl Journal {
    /// Bytes of the key.
    pub const BYTES: usize = 20;

    /// The key's bytes.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut key = [0; Self::BYTES];
        key[..4].copy_from_slice(&self.agent.0.to_be_bytes());
        key[4..12].copy_from_slice(&self.epoch.to_be_bytes());
        key[12..].copy_from_slice(&self.seq.to_be_bytes());
        key
    }

    /// The key in these bytes; none when they are not one.
    pub fn decode(key: &[u8]) -> Option<Journal> {
        let key: &[u8; Self::BYTES] = key.try_into().ok()?;
        Some(Journal { agent: AgentNo(u32_at(key, 0)), epoch: u64_at(key, 4), seq: u64_at(key, 12) })
    }

    /// First possible key of a lane.
    pub fn first(agent: AgentNo, epoch: u64) -> Journal {
        Journal { agent, epoch, seq: 0 }
    }
}

/// Key of a sealed chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chunk {
    /// Whose.
    pub agent: AgentNo,
    /// Newest sample.
    pub max_time: UnixMillis,
    /// Oldest sample.
    pub min_time: UnixMillis,
    /// Which lane of the agent.
    pub epoch: u64,
    /// Last batch in it.
    pub last_seq: u64,
}

impl Chunk {
    /// Bytes of the key.
    pub const BYTES: usize = 36;

    /// The key's bytes.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut key = [0; Self::BYTES];
        key[..4].copy_from_slice(&self.agent.0.to_be_bytes());
        key[4..12].copy_from_slice(&ordered(self.max_time));
        key[12..20].copy_from_slice(&ordered(self.min_time));
        key[20..28].copy_from_slice(&self.epoch.to_be_bytes());
        key[28..].copy_from_slice(&self.last_seq.to_be_bytes());
        key
    }

    /// The key in these bytes; none when they are not one.
    pub fn decode(key: &[u8]) -> Option<Chunk> {
        let key: &[u8; Self::BYTES] = key.try_into().ok()?;
        let time_at = |at| UnixMillis((u64_at(key, at) ^ SIGN).cast_signed());
        Some(Chunk {
            agent: AgentNo(u32_at(key, 0)),
            max_time: time_at(4),
            min_time: time_at(12),
            epoch: u64_at(key, 20),
            last_seq: u64_at(key, 28),
        })
    }

    /// At or before the key of every chunk of `agent` with a sample at or after
    /// `from`, and after all others of that agent.
    pub fn seek(agent: AgentNo, from: UnixMillis) -> Chunk {
        Chunk { agent, max_time: from, min_time: UnixMillis::MIN, epoch: 0, last_seq: 0 }
    }

    /// True when the chunk may hold samples of `[from, to)`.
    pub fn overlaps(&self, from: UnixMillis, to: UnixMillis) -> bool {
        self.min_time < to && self.max_time >= from
    }
}

/// Key of a row of long chunks or of roll-ups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    /// Whose.
    pub agent: AgentNo,
    /// Start of its window.
    pub window: UnixMillis,
    /// First series of the row.
    pub first: SeriesId,
}

impl Part {
    /// Bytes of the key.
    pub const BYTES: usize = 16;

    /// The key's bytes.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut key = [0; Self::BYTES];
        key[..4].copy_from_slice(&self.agent.0.to_be_bytes());
        key[4..12].copy_from_slice(&ordered(self.window));
        key[12..].copy_from_slice(&self.first.0.to_be_bytes());
        key
    }

    /// The key in these bytes; none when they are not one.
    pub fn decode(key: &[u8]) -> Option<Part> {
        let key: &[u8; Self::BYTES] = key.try_into().ok()?;
        let window = UnixMillis((u64_at(key, 4) ^ SIGN).cast_signed());
        Some(Part { agent: AgentNo(u32_at(key, 0)), window, first: SeriesId(u32_at(key, 12)) })
    }

    /// At or before the first row of a window, after all rows of windows before it.
    pub fn seek(agent: AgentNo, window: UnixMillis) -> Part {
        Part { agent, window, first: SeriesId(0) }
    }
}

/// Key of the span of a row.
pub fn span(tier: Tier, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + key.len());
    out.push(tier as u8);
    out.extend_from_slice(key);
    out
}

/// Tier and key of the row whose span this is.
pub fn parse_span(key: &[u8]) -> Option<(Tier, &[u8])> {
    let (tier, key) = key.split_first()?;
    Some((Tier::parse(*tier)?, key))
}

fn ordered(time: UnixMillis) -> [u8; 8] {
    (time.0.cast_unsigned() ^ SIGN).to_be_bytes()
}

fn u32_at(key: &[u8], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&key[at..at + 4]);
    u32::from_be_bytes(bytes)
}

fn u64_at(key: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&key[at..at + 8]);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunk() -> impl Strategy<Value = Chunk> {
        (any::<(u32, i64, i64, u64, u64)>()).prop_map(|(agent, max, min, epoch, last_seq)| Chunk {
            agent: AgentNo(agent),
            max_time: UnixMillis(max),
            min_time: UnixMillis(min),
            epoch,
            last_seq,
        })
    }

    proptest! {
        #[test]
        fn chunk_keys_come_back_and_sort_as_their_fields(a in chunk(), b in chunk()) {
            prop_assert_eq!(Chunk::decode(&a.encode()), Some(a));
            prop_assert_eq!(a.encode().cmp(&b.encode()), a.cmp(&b));
        }

        #[test]
        fn journal_keys_come_back_and_sort_as_their_fields(a in any::<(u32, u64, u64)>(), b in any::<(u32, u64, u64)>()) {
            let key = |(agent, epoch, seq)| Journal { agent: AgentNo(agent), epoch, seq };
            prop_assert_eq!(Journal::decode(&key(a).encode()), Some(key(a)));
            prop_assert_eq!(key(a).encode().cmp(&key(b).encode()), a.cmp(&b));
            prop_assert!(Journal::first(AgentNo(a.0), a.1).encode() <= key(a).encode());
        }

        #[test]
        fn part_keys_come_back_and_sort_as_their_fields(a in any::<(u32, i64, u32)>(), b in any::<(u32, i64, u32)>()) {
            let key = |(agent, window, first)| Part { agent: AgentNo(agent), window: UnixMillis(window), first: SeriesId(first) };
            prop_assert_eq!(Part::decode(&key(a).encode()), Some(key(a)));
            prop_assert_eq!(key(a).encode().cmp(&key(b).encode()), a.cmp(&b));
            let row = key(a).encode();
            let span = span(Tier::Hours, &row);
            prop_assert_eq!(parse_span(&span), Some((Tier::Hours, &row[..])));
        }

        #[test]
        fn seeking_skips_just_the_chunks_that_end_before(a in chunk(), from in any::<i64>()) {
            let seek = Chunk::seek(a.agent, UnixMillis(from)).encode();
            prop_assert_eq!(a.encode() >= seek, a.max_time >= UnixMillis(from));
        }
    }

    #[test]
    fn keys_of_another_length_are_none() {
        assert_eq!(parse_series(&series(SeriesId(7))), Some(SeriesId(7)));
        assert_eq!(parse_series(&[0; 5]), None);
        assert_eq!(Journal::decode(&[0; 19]), None);
        assert_eq!(Chunk::decode(&[0; 37]), None);
    }
}
