//! What can be wrong with a record or a snapshot.

use super::LANE_MAX_BYTES;
use crate::format::FormatError;
use signalbox_proto::columns::ColumnsError;
use thiserror::Error;

/// Why a record was refused, or a lane could not be restored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LaneError {
    /// A record of another epoch.
    #[error("append a record of epoch {found} to the lane of epoch {expected}")]
    Epoch {
        /// The lane's.
        expected: u64,
        /// The record's.
        found: u64,
    },
    /// Records are missing before this one, and it does not stand alone; or it was
    /// there already.
    #[error("append batch {found} after batch {last}: it must be the next one, or a later key batch")]
    Sequence {
        /// Last one taken.
        last: u64,
        /// The record's.
        found: u64,
    },
    /// The lane must be sealed first.
    #[error("append to a lane of {held} payload bytes: limit is {LANE_MAX_BYTES}")]
    Full {
        /// What it holds.
        held: usize,
    },
    /// An entry that contradicts an earlier one or breaks a limit.
    #[error("append batch {seq}: {why}")]
    Dictionary {
        /// The record's.
        seq: u64,
        /// What is wrong.
        why: String,
    },
    /// A payload that does not decode.
    #[error("append batch {seq}: {why}")]
    Columns {
        /// The record's.
        seq: u64,
        /// What is wrong.
        why: ColumnsError,
    },
    /// A snapshot's saved state does not decode.
    #[error("restore lane of epoch {epoch}: {why}")]
    Snapshot {
        /// The lane's.
        epoch: u64,
        /// What is wrong.
        why: FormatError,
    },
}
