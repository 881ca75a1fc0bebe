//! Queries from a seed: every selector, modifier, operator, aggregation and function
//! that Prometheus 2.42 knows, nested in one another.
//!
//! What the documented differences forbid is never asked (see `docs/reference-promql.md`):
//!
//! - evaluation times are 0 or 7 s after tens of seconds, ranges of subqueries 3 s after
//!   them, all steps and offsets tens or halves: no step lies on a window's left edge;
//! - `rate` and `increase` see counters whose gaps are far from zero, and resets without gaps;
//! - `topk` and `bottomk` see no ties; `stddev` and `stdvar` see numbers that their squares do not drown;
//! - means are of numbers of one sign, what a zero divides has none;
//! - operands of `atan2` have no name; `@` stands in no window whose function has an
//!   argument that changes, and in no `timestamp`.

use super::calls;
use super::expr::{Expr, Kind, Part, Precision};
use super::samples;
use e2e::random::Random;

/// A metric of the samples.
#[derive(Debug, Clone)]
pub(crate) struct Metric {
    pub(crate) name: String,
    pub(crate) labels: &'static [&'static str],
    pub(crate) precision: Precision,
    /// Fit for `rate` and `increase`.
    pub(crate) counter: bool,
}

/// Makes queries.
pub(crate) struct Corpus {
    pub(crate) random: Random,
    metrics: Vec<Metric>,
}

const SYNTHETIC: [(&str, &[&str], bool); 9] = [
    ("walk", &["host", "zone"], false),
    ("patchy", &["host", "zone"], false),
    ("flat", &["host", "mode"], false),
    ("build_info", &["host", "version"], false),
    ("ctr_total", &["host", "mode"], true),
    ("gap_total", &["host", "zone"], true),
    ("lat_bucket", &["host", "le"], true),
    ("lat_count", &["host"], true),
    ("lat_sum", &["host"], true),
];

/// Half of all selectors are of these; the rest of the recorded ones.
const RECORDED_SHARE: u64 = 6;

pub(crate) fn part(what: impl Into<Part>) -> Part {
    what.into()
}

/// `(expr + 0)`: no name, and no zero with a sign, which sums keep in 2.42.
pub(crate) fn unsigned_zero(expr: Expr) -> Expr {
    Expr::new(expr.kind, expr.precision, [part("("), part(expr), part(" + 0)")])
}

impl Corpus {
    /// `recorded`: names of recorded metrics.
    pub(crate) fn new(seed: u64, recorded: impl IntoIterator<Item = String>) -> Corpus {
        let known = SYNTHETIC.iter().map(|(name, labels, counter)| Metric {
            name: (*name).to_owned(),
            labels,
            precision: Precision::Dyadic,
            counter: *counter,
        });
        let recorded = recorded.into_iter().map(|name| Metric {
            counter: name.ends_with("_total"),
            name,
            labels: &["device", "mode", "cpu"],
            precision: Precision::Same,
        });
        Corpus { random: samples::random(seed, 1), metrics: known.chain(recorded).collect() }
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.random.below(from.len() as u64) as usize]
    }

    /// True once in `n` times.
    pub(crate) fn once_in(&mut self, n: u64) -> bool {
        self.random.below(n) == 0
    }

    /// Any query.
    pub(crate) fn query(&mut self, depth: usize) -> Expr {
        match self.random.below(12) {
            0 => self.scalar(depth),
            _ => self.vector(depth),
        }
    }

    /// An instant vector.
    pub(crate) fn vector(&mut self, depth: usize) -> Expr {
        if depth == 0 {
            return self.selector();
        }
        let depth = depth - 1;
        match self.random.below(20) {
            0 => self.selector(),
            1..7 => calls::over_range(self, depth),
            7..10 => calls::of_vector(self, depth),
            10..14 => self.aggregation(depth),
            14..18 => self.binary(depth),
            18 => self.set(depth),
            _ => self.chain(),
        }
    }

    /// A vector whose values have the same bits on both sides.
    pub(crate) fn exact(&mut self, depth: usize, at_least: Precision) -> Expr {
        for _ in 0..6 {
            let vector = self.vector(depth);
            if vector.precision >= at_least {
                return vector;
            }
        }
        let metric = self.metric_where(|metric| metric.precision >= at_least);
        self.selector_of(&metric, true)
    }

    fn metric_where(&mut self, fits: impl Fn(&Metric) -> bool) -> Metric {
        let of_samples = SYNTHETIC.len();
        let recorded = self.once_in(RECORDED_SHARE);
        let fitting: Vec<usize> =
            (0..self.metrics.len()).filter(|at| fits(&self.metrics[*at]) && (*at >= of_samples) == recorded).collect();
        let at = if fitting.is_empty() { 0 } else { self.pick(&fitting) };
        self.metrics[at].clone()
    }

    pub(crate) fn selector(&mut self) -> Expr {
        let metric = self.metric_where(|_| true);
        self.selector_of(&metric, true)
    }

    /// A selector of a metric that always counts up.
    pub(crate) fn counter(&mut self, shifts: bool) -> Expr {
        let metric = self.metric_where(|metric| metric.counter);
        self.selector_of(&metric, shifts)
    }

    /// A selector of a metric that is above zero.
    pub(crate) fn positive(&mut self) -> Expr {
        let metric = self.metric_where(|metric| metric.name != "patchy");
        self.selector_of(&metric, true)
    }

    pub(crate) fn walk(&mut self) -> Expr {
        let metric = self.metrics[0].clone();
        self.selector_of(&metric, true)
    }

    /// `name{matchers}`, without where it looks.
    fn matched(&mut self, metric: &Metric) -> String {
        let hosts =
            ["host=\"h1\"", "host=~\"h[0-2]\"", "host!=\"h3\"", "host!~\"h1|h4\"", "host=~\".+\"", "host=\"none\""];
        let others =
            ["zone=\"east\"", "zone=\"\"", "zone!=\"\"", "mode!~\"u.*\"", "mode=~\"idle|user\"", "le!=\"+Inf\""];
        let mut matchers = Vec::new();
        if self.once_in(4) && metric.labels.contains(&"host") {
            matchers.push(self.pick(&hosts));
        }
        if self.once_in(8) {
            matchers.push(self.pick(&others));
        }
        let matchers = matchers.join(",");
        match self.random.below(12) {
            0 => format!("{{__name__=\"{}\",{matchers}}}", metric.name),
            _ if matchers.is_empty() => metric.name.clone(),
            _ => format!("{}{{{matchers}}}", metric.name),
        }
    }

    fn selector_of(&mut self, metric: &Metric, shifts: bool) -> Expr {
        let matched = self.matched(metric);
        let shift = if shifts { self.shift() } else { self.offset() };
        Expr::new(Kind::Vector, metric.precision, [part(matched), part(shift)])
    }

    fn offset(&mut self) -> String {
        match self.random.below(10) {
            0 => format!(" offset {}", self.pick(&["10s", "1m", "2m30s", "-30s", "300s"])),
            _ => String::new(),
        }
    }

    /// ` offset …`, ` @ …`, both in either order, mostly nothing.
    pub(crate) fn shift(&mut self) -> String {
        let offset = self.offset();
        if !self.once_in(12) {
            return offset;
        }
        let at = self.pick(&[" @ 1700005807", " @ 1700006210.000", " @ start()", " @ end()", " @ 1700000000"]);
        if self.once_in(2) { format!("{at}{offset}") } else { format!("{offset}{at}") }
    }

    pub(crate) fn scalar(&mut self, depth: usize) -> Expr {
        let constant = |text: &str| Expr::new(Kind::Scalar, Precision::Dyadic, [part(text)]);
        if depth == 0 || self.once_in(3) {
            let text = self.pick(&["0", "1", "2", "0.5", "-3", "1e3", "0x1F", "Inf", "-Inf", "NaN", "time()", "7.25"]);
            return constant(text);
        }
        let depth = depth - 1;
        match self.random.below(6) {
            0 => Expr::new(Kind::Scalar, Precision::Same, [part("pi()")]),
            1 => {
                let inner = self.scalar(depth);
                Expr::new(Kind::Scalar, inner.precision, [part("-("), part(inner), part(")")])
            }
            2 => {
                let (left, right) = (self.scalar(depth), self.scalar(depth));
                self.joined(left, right, " bool")
            }
            _ => {
                let inner = if self.once_in(2) { self.vector(depth) } else { self.one_series() };
                Expr::new(Kind::Scalar, inner.precision, [part("scalar("), part(inner), part(")")])
            }
        }
    }

    fn one_series(&mut self) -> Expr {
        let text = self.pick(&["walk{host=\"h1\"}", "sum(flat)", "max(walk)", "vector(4)", "patchy{host=\"h3\"}"]);
        Expr::new(Kind::Vector, Precision::Dyadic, [part(text)])
    }

    /// The operator that may stand between operands of this precision, and that of its result.
    fn operator(&mut self, of: Precision) -> (&'static str, Precision) {
        if of == Precision::Rounded {
            // A difference of nearly the same, a comparison: the last bits would decide.
            return (self.pick(&["*", "/"]), Precision::Rounded);
        }
        match self.random.below(16) {
            0..3 => ("+", of),
            3..6 => ("-", of),
            6..8 => ("*", Precision::Same),
            8..10 => ("/", Precision::Same),
            10 => ("%", Precision::Same),
            11 => ("^", Precision::Rounded),
            12 => ("atan2", Precision::Rounded),
            _ => (self.pick(&["==", "!=", "<", ">", "<=", ">="]), of),
        }
    }

    /// `(left OP modifiers right)`; comparisons with `bool` where `bool` says so.
    fn joined(&mut self, left: Expr, right: Expr, bool: &str) -> Expr {
        self.joined_on(left, right, bool, "")
    }

    fn joined_on(&mut self, left: Expr, right: Expr, bool: &str, matching: &str) -> Expr {
        let (operator, precision) = self.operator(left.precision.min(right.precision));
        let compares = operator.starts_with(['=', '!', '<', '>']);
        let bool = if compares { bool } else { "" };
        let kind = if left.kind == Kind::Scalar && right.kind == Kind::Scalar { Kind::Scalar } else { Kind::Vector };
        let (left, right) = match operator {
            "/" => (left, unsigned_zero(right)),
            "^" | "atan2" => (unsigned_zero(left), unsigned_zero(right)),
            _ => (left, right),
        };
        let between = format!(" {operator}{bool}{matching} ");
        Expr::new(kind, precision, [part("("), part(left), part(between), part(right), part(")")])
    }

    fn binary(&mut self, depth: usize) -> Expr {
        let bool = if self.once_in(3) { " bool" } else { "" };
        match self.random.below(8) {
            0 | 1 => {
                let (vector, scalar) = (self.vector(depth), self.scalar(depth));
                let (left, right) = if self.once_in(2) { (vector, scalar) } else { (scalar, vector) };
                self.joined(left, right, bool)
            }
            2 => {
                let metric = self.metric_where(|_| true);
                let (left, right) = (self.selector_of(&metric, true), self.selector_of(&metric, true));
                self.joined(left, right, bool)
            }
            3..6 => self.many_to_one(depth, bool),
            _ => {
                let (left, right) = (self.vector(depth), self.vector(depth));
                let matching = self.matching();
                self.joined_on(left, right, bool, &matching)
            }
        }
    }

    /// One side has one series for each host.
    fn many_to_one(&mut self, depth: usize, bool: &str) -> Expr {
        let many = self.vector(depth);
        let one = match self.random.below(3) {
            0 => Expr::new(Kind::Vector, Precision::Dyadic, [part("build_info")]),
            1 => Expr::new(Kind::Vector, Precision::Dyadic, [part("walk")]),
            _ => {
                let inner = self.exact(depth.min(1), Precision::Same);
                Expr::new(Kind::Vector, inner.precision, [part("max by (host) ("), part(inner), part(")")])
            }
        };
        let include = self.pick(&["", " ()", " (version)", " (zone)", " (version, zone)"]);
        match self.random.below(4) {
            0 => self.joined_on(one, many, bool, &format!(" on (host) group_right{include}")),
            1 => self.joined_on(many, one, bool, &format!(" ignoring (mode, le, version, zone) group_left{include}")),
            _ => self.joined_on(many, one, bool, &format!(" on (host) group_left{include}")),
        }
    }

    fn matching(&mut self) -> String {
        let labels =
            self.pick(&["", "host", "host, mode", "host, zone", "zone", "le", "mode, le, version", "__name__"]);
        let card = self.pick(&["", "", "", " group_left", " group_right", " group_left (zone)", " group_right (mode)"]);
        match self.random.below(3) {
            0 => String::new(),
            1 => format!(" on ({labels}){card}"),
            _ => format!(" ignoring ({labels}){card}"),
        }
    }

    fn set(&mut self, depth: usize) -> Expr {
        let (left, right) = (self.vector(depth), self.vector(depth));
        let labels = self.pick(&["", "host", "host, zone", "mode", "le"]);
        let matching = match self.random.below(4) {
            0 => format!(" on ({labels})"),
            1 => format!(" ignoring ({labels})"),
            _ => String::new(),
        };
        let between = format!(" {}{matching} ", self.pick(&["and", "or", "unless"]));
        let precision = left.precision.min(right.precision);
        Expr::new(Kind::Vector, precision, [part("("), part(left), part(between), part(right), part(")")])
    }

    /// Operators without parentheses: what binds stronger, and from which side.
    fn chain(&mut self) -> Expr {
        let mut text = self.pick(&["-walk", "walk", "+flat", "-2"]).to_owned();
        let n = 2 + self.random.below(4);
        let powers = self.once_in(3);
        let operators: &[&str] =
            if powers { &["^", "*", "/", "^"] } else { &["+", "-", "*", "/", "%", "> bool", "== bool"] };
        for _ in 0..n {
            let operator = self.pick(operators);
            let operand = self.pick(&["2", "-1", "0.5", "3", "time()", "-pi()"]);
            text.push_str(&format!(" {operator} {operand}"));
        }
        let precision = if powers { Precision::Rounded } else { Precision::Same };
        let kind = if text.starts_with("-2") { Kind::Scalar } else { Kind::Vector };
        let chain = Expr::new(kind, precision, [part(text)]);
        match kind {
            Kind::Scalar => Expr::new(Kind::Vector, precision, [part("vector("), part(chain), part(")")]),
            _ => chain,
        }
    }

    fn aggregation(&mut self, depth: usize) -> Expr {
        let grouping = self.grouping();
        let (function, parameter, inner, precision) = match self.random.below(14) {
            0..3 => {
                let inner = self.vector(depth);
                let precision =
                    if inner.precision == Precision::Dyadic { Precision::Dyadic } else { Precision::Rounded };
                ("sum", None, inner, precision)
            }
            3 => {
                let inner = self.vector(depth);
                let positive = Expr::new(Kind::Vector, inner.precision, [part("abs("), part(inner), part(")")]);
                ("avg", None, positive, Precision::Rounded)
            }
            4..6 => {
                let inner = self.vector(depth);
                let precision = inner.precision;
                (self.pick(&["min", "max"]), None, inner, precision)
            }
            6 => ("count", None, self.vector(depth), Precision::Dyadic),
            7 => ("group", None, self.vector(depth), Precision::Dyadic),
            8 => {
                let inner = self.exact(depth, Precision::Same);
                let finite = [part("(("), part(inner), part(" > -1e5) < 1e5)")];
                let inner = Expr::new(Kind::Vector, Precision::Same, finite);
                (self.pick(&["stddev", "stdvar"]), None, inner, Precision::Rounded)
            }
            9 => {
                let parameter = self.quantile();
                ("quantile", Some(parameter), self.vector(depth), Precision::Rounded)
            }
            10 => {
                let inner = unsigned_zero(self.exact(depth, Precision::Same));
                (
                    "count_values",
                    Some(self.pick(&["\"value\"", "\"host\"", "\"le\""]).to_owned()),
                    inner,
                    Precision::Dyadic,
                )
            }
            _ => {
                let k = self.pick(&["0", "1", "2", "3.7", "100", "-1", "scalar(max(flat))"]);
                let inner = calls::distinct(self);
                (self.pick(&["topk", "bottomk"]), Some(k.to_owned()), inner, Precision::Dyadic)
            }
        };
        let parameter = parameter.map_or_else(String::new, |parameter| format!("{parameter}, "));
        let parts = if self.once_in(2) {
            [part(format!("{function}{grouping} ({parameter}")), part(inner), part(")")]
        } else {
            [part(format!("{function} ({parameter}")), part(inner), part(format!("){grouping}"))]
        };
        Expr::new(Kind::Vector, precision, parts)
    }

    /// A parameter of `quantile` and its kin.
    pub(crate) fn quantile(&mut self) -> String {
        self.pick(&["0", "0.25", "0.5", "0.9", "1", "-0.5", "1.5", "NaN", "scalar(max(walk)) / 100"]).to_owned()
    }

    fn grouping(&mut self) -> String {
        let labels = self.pick(&["", "host", "host, zone", "mode", "le", "zone", "host, le", "version, nothing"]);
        match self.random.below(5) {
            0 | 1 => String::new(),
            2 | 3 => format!(" by ({labels})"),
            _ => format!(" without ({labels})"),
        }
    }
}
