//! A checked query as a tree in which wrong types cannot be built: a scalar, an
//! instant vector, a range or a text, each from what it may be made of.
//!
//! Times that need the query's own start and end stay symbolic ([`At`]), so one
//! plan serves every instant and range.

pub(crate) mod check;
pub(crate) mod invariant;

use crate::functions::element::Element;
use crate::functions::histogram::HistogramFunction;
use crate::functions::info::InfoLabels;
use crate::functions::label::Relabel;
use crate::functions::window::WindowFunction;
use crate::labels::Labels;
use signalbox_proto::selector::Matcher;

/// What a whole query evaluates to.
#[derive(Debug)]
pub(crate) enum Plan {
    Scalar(Scalar),
    Vector(Vector),
    Range(Range),
    Text(String),
}

/// A number at each step.
#[derive(Debug)]
pub(crate) enum Scalar {
    Number(f64),
    /// `time()`: seconds since 1970.
    Time,
    /// `scalar(v)`.
    Of(Box<Vector>),
    Negated(Box<Scalar>),
    Binary {
        op: Op,
        left: Box<Scalar>,
        right: Box<Scalar>,
    },
}

/// Series with at most one value at each step.
#[derive(Debug)]
pub(crate) enum Vector {
    /// The latest sample within the look-back.
    Select(Selector),
    /// `timestamp(selector)`: when that sample was taken.
    Timestamp(Selector),
    /// `vector(s)`.
    Of(Scalar),
    /// A function of windows of samples.
    Window {
        function: WindowFunction,
        args: Vec<Scalar>,
        range: Range,
    },
    /// A function of each value alone.
    Element {
        function: Element,
        args: Vec<Scalar>,
        inner: Box<Vector>,
    },
    /// `label_replace`, `label_join`.
    Relabel {
        relabel: Relabel,
        inner: Box<Vector>,
    },
    /// `absent`: 1 under these labels where `inner` has nothing.
    Absent {
        labels: Labels,
        inner: Box<Vector>,
    },
    /// `absent_over_time`.
    AbsentOverTime {
        labels: Labels,
        range: Range,
    },
    /// Order of an instant vector; nothing else.
    Sort {
        order: Order,
        inner: Box<Vector>,
    },
    /// A function of the buckets of classic histograms.
    Histogram {
        function: HistogramFunction,
        args: Vec<Scalar>,
        inner: Box<Vector>,
    },
    /// `info(v)`: labels of information series joined to `inner`.
    Info {
        labels: InfoLabels,
        info: Selector,
        inner: Box<Vector>,
    },
    Aggregate(Box<Aggregate>),
    /// An operator between a vector and a scalar.
    WithScalar {
        op: Op,
        filter: bool,
        scalar: Scalar,
        vector: Box<Vector>,
        scalar_left: bool,
    },
    /// An operator between two vectors, value by value.
    Join(Box<Join>),
    /// `and`, `or`, `unless`.
    Set {
        op: SetOp,
        matching: Matching,
        left: Box<Vector>,
        right: Box<Vector>,
    },
    /// The same at every step: evaluated once.
    Invariant(Box<Vector>),
}

/// Which series, and where in time.
#[derive(Debug)]
pub(crate) struct Selector {
    pub matchers: Vec<Matcher>,
    pub shift: Shift,
}

/// Where a selector or subquery looks, relative to the step.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shift {
    pub offset_ms: i64,
    pub at: Option<At>,
}

/// The `@` modifier.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At {
    Start,
    End,
    Time(i64),
}

/// Windows of samples `(t - range, t]`.
#[derive(Debug)]
pub(crate) struct Range {
    pub source: RangeSource,
    pub range_ms: i64,
}

#[derive(Debug)]
pub(crate) enum RangeSource {
    Select(Selector),
    Subquery { inner: Box<Vector>, step_ms: Option<i64>, shift: Shift },
}

/// Operators that give a number for two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Eq,
    Ne,
    Gt,
    Lt,
    Ge,
    Le,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetOp {
    And,
    Or,
    Unless,
}

/// Which labels make two series a pair.
#[derive(Debug, Clone)]
pub(crate) enum Matching {
    On(Vec<String>),
    Ignoring(Vec<String>),
}

#[derive(Debug)]
pub(crate) struct Join {
    pub op: Op,
    /// A comparison without `bool`: the left value stays where it holds.
    pub filter: bool,
    pub matching: Matching,
    pub card: Card,
    pub left: Vector,
    pub right: Vector,
}

/// How many series of each side a pair may have.
#[derive(Debug)]
pub(crate) enum Card {
    OneToOne,
    /// `group_left`, with labels taken from the right.
    ManyToOne(Vec<String>),
    /// `group_right`, with labels taken from the left.
    OneToMany(Vec<String>),
}

#[derive(Debug)]
pub(crate) struct Aggregate {
    pub function: Aggregation,
    pub grouping: Grouping,
    pub inner: Vector,
}

#[derive(Debug)]
pub(crate) enum Aggregation {
    Fold(Fold),
    Quantile(Scalar),
    /// `topk` (largest) and `bottomk`.
    Ranked {
        k: Scalar,
        largest: bool,
    },
    CountValues(String),
    LimitK(Scalar),
    LimitRatio(Scalar),
}

/// Aggregations that take in one series after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fold {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
}

#[derive(Debug)]
pub(crate) enum Grouping {
    By(Vec<String>),
    Without(Vec<String>),
}

/// How an instant vector is ordered.
#[derive(Debug)]
pub(crate) enum Order {
    Value { descending: bool },
    Labels { names: Vec<String>, descending: bool },
}

impl Op {
    pub(crate) fn is_comparison(self) -> bool {
        matches!(self, Op::Eq | Op::Ne | Op::Gt | Op::Lt | Op::Ge | Op::Le)
    }
}
