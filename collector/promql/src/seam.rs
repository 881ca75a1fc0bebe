//! The seam to the store: what the evaluator asks for, and the columns that it is handed.
//!
//! ```text
//! evaluator -- Wanted{matchers, (after, until], hints} --> Select
//!           <-- take(Column{labels, times, values}) ------  once per series, in any order
//! ```
//!
//! Columns are borrowed: a store decodes one series into a buffer that it uses
//! again for the next, and may share one slice of times among all series of a
//! host. The evaluator has finished with a column when `take` returns.

use crate::budget::Budget;
use crate::error::Error;
use crate::labels::Labels;
use signalbox_proto::selector::Matcher;
use signalbox_proto::units::{Millis, UnixMillis};

/// The value that ends a series until its next sample: a NaN of its own.
/// Never computed with; compare with [`is_stale`].
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// True for the marker that ends a series.
#[inline]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

/// True when there is such a marker. Looks at whole blocks, as vector instructions do.
pub(crate) fn any_stale(values: &[f64]) -> bool {
    const BLOCK: usize = 32;
    values.chunks(BLOCK).any(|block| block.iter().fold(false, |any, value| any | is_stale(*value)))
}

/// Where samples come from.
pub trait Select {
    /// Hands over every series that has samples in `(wanted.after, wanted.until]`
    /// and satisfies all matchers, each exactly once.
    ///
    /// An error of `take` ends the selection and is returned as it is. Loops that
    /// find nothing for long ask [`Budget::check`] themselves.
    ///
    /// # Errors
    /// What `take` and the budget return; [`Error::Internal`] when the store
    /// cannot read.
    fn select(
        &self,
        wanted: &Wanted<'_>,
        budget: &Budget<'_>,
        take: &mut dyn FnMut(Column<'_>) -> Result<(), Error>,
    ) -> Result<Selected, Error>;
}

/// What the evaluator asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Conditions on labels, all of which hold. An absent label has the value "".
    pub matchers: &'a [Matcher],
    /// Samples later than this, exclusive.
    pub after: UnixMillis,
    /// Samples up to this, inclusive.
    pub until: UnixMillis,
    /// What the samples are for: lets a store choose a roll-up. Never changes
    /// which samples are right.
    pub hints: Hints<'a>,
}

/// What samples are for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hints<'a> {
    /// Time between two evaluations; zero for an instant query.
    pub step: Millis,
    /// Width of the window of each evaluation; zero for a plain selector.
    pub range: Millis,
    /// The function that reads the window (`rate`, `avg_over_time`, …), if any.
    pub function: Option<&'a str>,
}

/// One series' samples.
#[derive(Debug, Clone, Copy)]
pub struct Column<'a> {
    /// The series, metric name included.
    pub labels: &'a Labels,
    /// Milliseconds since 1970, strictly ascending. What lies outside the
    /// wanted times is skipped, so whole chunks may be handed over.
    pub times: &'a [i64],
    /// As many as there are times; stale markers included.
    pub values: &'a [f64],
}

/// What a store says besides its samples; shown to whoever asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selected {
    /// The answer may be incomplete, and why.
    pub warnings: Vec<String>,
    /// The answer is right and something is worth knowing: a roll-up was read.
    pub infos: Vec<String>,
}
