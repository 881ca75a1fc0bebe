//! Instants, spans and sizes, each a type of its own.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, Sub};

/// An instant: milliseconds since 1970-01-01T00:00:00Z, may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

/// A span of time in milliseconds, never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

/// A size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl UnixMillis {
    /// The earliest instant.
    pub const MIN: UnixMillis = UnixMillis(i64::MIN);
    /// The latest instant.
    pub const MAX: UnixMillis = UnixMillis(i64::MAX);

    /// `self - earlier`, zero when `earlier` lies in the future.
    pub fn since(self, earlier: UnixMillis) -> Millis {
        Millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Moved by a signed number of milliseconds, saturating.
    pub fn shifted(self, by_ms: i64) -> UnixMillis {
        UnixMillis(self.0.saturating_add(by_ms))
    }
}

impl Millis {
    /// No time at all.
    pub const ZERO: Millis = Millis(0);

    /// Whole seconds.
    pub const fn from_secs(secs: u64) -> Millis {
        Millis(secs.saturating_mul(1000))
    }

    /// Whole minutes.
    pub const fn from_mins(mins: u64) -> Millis {
        Millis(mins.saturating_mul(60_000))
    }

    /// `n` times as long, saturating.
    pub const fn times(self, n: u64) -> Millis {
        Millis(self.0.saturating_mul(n))
    }

    /// For timers of the standard library and tokio.
    pub const fn std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

impl Bytes {
    /// Binary megabytes.
    pub const fn from_mib(mib: u64) -> Bytes {
        Bytes(mib.saturating_mul(1024 * 1024))
    }
}

impl Add<Millis> for UnixMillis {
    type Output = UnixMillis;
    fn add(self, span: Millis) -> UnixMillis {
        self.shifted(i64::try_from(span.0).unwrap_or(i64::MAX))
    }
}

impl Sub<Millis> for UnixMillis {
    type Output = UnixMillis;
    fn sub(self, span: Millis) -> UnixMillis {
        self.shifted(-i64::try_from(span.0).unwrap_or(i64::MAX))
    }
}

impl Add for Millis {
    type Output = Millis;
    fn add(self, other: Millis) -> Millis {
        Millis(self.0.saturating_add(other.0))
    }
}

/// As people write it: `1h30m`, `45s`, `250ms`, `0s`.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            if rest >= ms {
                write!(f, "{}{unit}", rest / ms)?;
                rest %= ms;
            }
        }
        Ok(())
    }
}

/// As people write it: `512MiB`, `1536B`: the largest unit that divides.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, size) in [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= size && self.0.is_multiple_of(size) {
                return write!(f, "{}{unit}", self.0 / size);
            }
        }
        write!(f, "{}B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_write_them() {
        assert_eq!(Millis(0).to_string(), "0s");
        assert_eq!(Millis(5_400_000).to_string(), "1h30m");
        assert_eq!(Millis(1_250).to_string(), "1s250ms");
        assert_eq!(Bytes(1536).to_string(), "1536B");
        assert_eq!(Bytes::from_mib(512).to_string(), "512MiB");
    }

    #[test]
    fn instants_saturate_at_both_ends() {
        assert_eq!(UnixMillis::MAX + Millis(1), UnixMillis::MAX);
        assert_eq!(UnixMillis::MIN - Millis(1), UnixMillis::MIN);
        assert_eq!(UnixMillis(5).since(UnixMillis(9)), Millis::ZERO);
    }
}
