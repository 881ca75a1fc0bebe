//! Every bound of a query: its default, its unit, and what is refused over it.

use signalbox_proto::units::{Bytes, Millis};

/// Samples that one query may read and make, counted once each.
pub const SAMPLES_MAX: u64 = 50_000_000;
/// Steps of one range query, as Prometheus's API has it: a week at a minute, a year at an hour.
pub const STEPS_MAX: usize = 11_000;
/// Steps of one subquery: a day at a second with room; each is evaluated for every series.
pub const SUBQUERY_STEPS_MAX: usize = 200_000;
/// What one query may hold at a time, estimated.
pub const MEMORY_MAX: Bytes = Bytes::from_mib(512);
/// Bytes of the text of a query.
pub const TEXT_MAX_BYTES: usize = 64 * 1024;
/// Tokens of the text of a query: bounds the work of its checks, which is quadratic in the worst case.
pub const TOKENS_MAX: usize = 8192;
/// Parentheses, signs and operators inside one another: bounds the stack. A level costs well under 4 KiB.
pub const DEPTH_MAX: usize = 128;
/// Longest range, offset or step in a query: 1000 years of 365 days, which no arithmetic here overflows.
pub const SPAN_MAX: Millis = Millis::from_secs(1000 * 365 * 86_400);
/// Latest instant and earliest, milliseconds from 1970: about 30,000 years. Sums with spans stay far from overflow.
pub const TIME_MAX_MS: i64 = 1_000_000_000_000_000;
/// Regular expressions in one query; each is bounded in size on its own.
pub const PATTERNS_MAX: usize = 64;
/// Compiled size of a regular expression of `label_replace`, bytes.
pub const REPLACE_PATTERN_MAX_BYTES: usize = 1024 * 1024;
/// Annotations of one kind that are kept; the rest is counted.
pub const ANNOTATIONS_MAX: usize = 20;
/// How far back an instant selector looks for a sample.
pub const LOOKBACK: Millis = Millis::from_mins(5);
/// Step of a subquery that gives none.
pub const SUBQUERY_STEP: Millis = Millis::from_mins(1);

/// What a query may do. [`Options::default`] has this module's constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How far back an instant selector looks for a sample.
    pub lookback: Millis,
    /// Step of a subquery that gives none.
    pub subquery_step: Millis,
    /// Whether what Prometheus calls experimental may be used.
    pub experimental: bool,
    /// Samples that one query may read and make.
    pub samples_max: u64,
    /// Steps of one range query.
    pub steps_max: usize,
    /// What one query may hold at a time, estimated.
    pub memory_max: Bytes,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            lookback: LOOKBACK,
            subquery_step: SUBQUERY_STEP,
            experimental: false,
            samples_max: SAMPLES_MAX,
            steps_max: STEPS_MAX,
            memory_max: MEMORY_MAX,
        }
    }
}
