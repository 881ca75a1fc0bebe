//! A lost tail told apart from none: the number of a turn that was durable, kept
//! beside the store.
//!
//! RocksDB's point-in-time recovery stops at the first damaged record of its log
//! and drops what follows without a word. Beside the store lies a file of two
//! slots, written in turns and synced at most once a second, each only after the
//! commit of the turn that it names. If the store then opens at an older turn, a
//! tail was lost, and agents are asked again from the marks that remain.
//!
//! ```text
//! file := slot slot                                 512 bytes each
//! slot := "SBTAIL01" turn u64 LE crc32c u32 LE zeros
//! ```

use super::StoreError;
use signalbox_proto::units::Millis;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Syncs are at least this far apart.
const SYNC_EVERY: Millis = Millis::from_secs(1);
const SLOT_BYTES: usize = 512;
const MAGIC: &[u8; 8] = b"SBTAIL01";

/// The file beside the store.
#[derive(Debug)]
pub struct TailRecord {
    file: File,
    slot: u64,
    synced_at: Option<Millis>,
    synced_turn: u64,
}

impl TailRecord {
    /// Opens or makes the file; gives the last turn that it names, 0 when none.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when the file cannot be opened or read.
    pub fn open(dir: &Path) -> Result<(TailRecord, u64), StoreError> {
        let path = dir.join("tail");
        let failed = |why: std::io::Error| StoreError::Failed {
            what: format!("open tail record {}", path.display()),
            why: why.to_string(),
        };
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        let mut turns = [0u64; 2];
        for (slot, turn) in turns.iter_mut().enumerate() {
            let mut bytes = [0u8; SLOT_BYTES];
            // A slot that is short, torn or damaged names no turn: the other one does.
            if file.read_exact_at(&mut bytes, (slot * SLOT_BYTES) as u64).is_ok() {
                *turn = decode(&bytes).unwrap_or(0);
            }
        }
        let slot = u64::from(turns[0] > turns[1]);
        let turn = turns[0].max(turns[1]);
        Ok((TailRecord { file, slot, synced_at: None, synced_turn: turn }, turn))
    }

    /// This turn is durable. Writes at most once a second.
    ///
    /// # Errors
    /// [`StoreError::Failed`]: the guard is then weaker, nothing is lost.
    pub fn note(&mut self, turn: u64, now: Millis) -> Result<(), StoreError> {
        let is_due = self.synced_at.is_none_or(|at| now.0.saturating_sub(at.0) >= SYNC_EVERY.0);
        if is_due && turn != self.synced_turn { self.write(turn, now) } else { Ok(()) }
    }

    /// Writes at once: at a clean stop, and after a lost tail was counted.
    ///
    /// # Errors
    /// As [`TailRecord::note`].
    pub fn write(&mut self, turn: u64, now: Millis) -> Result<(), StoreError> {
        let failed =
            |why: std::io::Error| StoreError::Failed { what: "write tail record".to_owned(), why: why.to_string() };
        // A failed write waits for the next second too.
        self.synced_at = Some(now);
        self.file.write_all_at(&encode(turn), self.slot * SLOT_BYTES as u64).map_err(failed)?;
        self.file.sync_data().map_err(failed)?;
        self.slot ^= 1;
        self.synced_turn = turn;
        Ok(())
    }
}

fn encode(turn: u64) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(MAGIC);
    slot[8..16].copy_from_slice(&turn.to_le_bytes());
    let crc = crc32c::crc32c(&slot[..16]);
    slot[16..20].copy_from_slice(&crc.to_le_bytes());
    slot
}

fn decode(slot: &[u8; SLOT_BYTES]) -> Option<u64> {
    let (body, rest) = slot.split_at(16);
    let crc = u32::from_le_bytes(rest[..4].try_into().ok()?);
    let turn = u64::from_le_bytes(body[8..].try_into().ok()?);
    (body.starts_with(MAGIC) && crc == crc32c::crc32c(body)).then_some(turn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_slot_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (mut tail, turn) = TailRecord::open(dir.path()).unwrap();
        assert_eq!(turn, 0);
        for turn in 1..=3 {
            tail.write(turn, Millis(0)).unwrap();
        }
        assert_eq!(TailRecord::open(dir.path()).unwrap().1, 3);
        let path = dir.path().join("tail");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[9] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(TailRecord::open(dir.path()).unwrap().1, 2, "turn 3 lies in the slot that was damaged");
        std::fs::write(&path, b"short").unwrap();
        assert_eq!(TailRecord::open(dir.path()).unwrap().1, 0);
    }

    #[test]
    fn at_most_one_write_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let (mut tail, _) = TailRecord::open(dir.path()).unwrap();
        tail.note(1, Millis(0)).unwrap();
        tail.note(2, Millis(999)).unwrap();
        assert_eq!(TailRecord::open(dir.path()).unwrap().1, 1);
        tail.note(3, Millis(1000)).unwrap();
        assert_eq!(TailRecord::open(dir.path()).unwrap().1, 3);
    }
}
