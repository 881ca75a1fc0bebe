//! `query`, `series` and `labels`, as clap reads them.

use crate::when::When;
use clap::Args;
use signalbox_proto::text::parse_span;
use signalbox_proto::units::Millis;

/// `signalbox query`.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// PromQL, or a bare selector: name{label="value",other=~"regex"}
    pub expression: String,
    /// The last SPAN, up to now; 15m for a bare selector
    #[arg(long, alias = "since", value_name = "SPAN", value_parser = parse_span, conflicts_with = "from")]
    pub last: Option<Millis>,
    /// Start, inclusive: RFC 3339, or an age like 2h
    #[arg(long, alias = "start", value_name = "T", allow_hyphen_values = true)]
    pub from: Option<When>,
    /// End, inclusive; now if not given
    #[arg(long, alias = "end", value_name = "T", requires = "from", allow_hyphen_values = true)]
    pub to: Option<When>,
    /// Evaluate every SPAN of the range; a 240th of it if not given
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub step: Option<Millis>,
    /// Evaluate at this instant: RFC 3339, or an age like 2h; now if no range is given
    #[arg(long, value_name = "T", allow_hyphen_values = true, conflicts_with_all = ["last", "from", "step"])]
    pub at: Option<When>,
    /// At most this many points a series, 1 to 11000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=11_000))]
    pub limit_points: Option<u64>,
}

/// `signalbox series …`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Selectors, any of which must match: up, {host="web1"}
    #[arg(required = true)]
    pub selectors: Vec<String>,
    /// At most this many
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub limit: u64,
}

/// `signalbox labels [NAME]`.
#[derive(Debug, Args)]
pub struct LabelsArgs {
    /// The label whose values are wanted; all names if not given
    pub name: Option<String>,
    /// Only of series that match; may be given several times
    #[arg(long = "match", value_name = "SELECTOR")]
    pub selectors: Vec<String>,
    /// At most this many
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub limit: u64,
}
