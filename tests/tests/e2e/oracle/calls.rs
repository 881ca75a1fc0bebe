//! Calls of functions, for the corpus.

use super::corpus::{Corpus, part, unsigned_zero};
use super::expr::{Expr, Kind, Precision};

/// Ranges of selectors, whole seconds.
const RANGES: [&str; 7] = ["20s", "47s", "1m", "90s", "2m", "5m", "7m"];
/// Ranges of subqueries: 3 s after tens of seconds.
const SUBQUERY_RANGES: [&str; 4] = ["33s", "63s", "2m3s", "303s"];
const SUBQUERY_STEPS: [&str; 5] = ["10s", "20s", "30s", "1m", ""];

/// Exact from exact, in any order of summation.
const SUMS: [&str; 1] = ["sum_over_time"];
/// Exact from exact.
const PICKS: [&str; 4] = ["min_over_time", "max_over_time", "last_over_time", "idelta"];
/// Whole numbers whatever the samples are.
const COUNTS: [&str; 3] = ["count_over_time", "present_over_time", "absent_over_time"];
/// Whole numbers that the last bit of a sample decides.
const EDGES: [&str; 2] = ["changes", "resets"];
const ROUNDED: [&str; 5] = ["stddev_over_time", "stdvar_over_time", "irate", "delta", "deriv"];

/// A range vector. `fixed`: it may carry `@`.
fn range(corpus: &mut Corpus, depth: usize, fixed: bool, at_least: Precision) -> Expr {
    let subquery = depth > 0 && corpus.once_in(3);
    if !subquery {
        let selector = corpus.exact(0, at_least);
        return windowed(corpus, selector, fixed);
    }
    let inner = corpus.exact(depth - 1, at_least);
    subqueried(corpus, inner, fixed)
}

/// `selector[range] shift`: the shift of the selector stands behind the range.
fn windowed(corpus: &mut Corpus, selector: Expr, fixed: bool) -> Expr {
    let range = corpus.pick(&RANGES);
    let precision = selector.precision;
    let text = selector.to_string();
    let end = text.find(" offset").unwrap_or(text.len()).min(text.find(" @").unwrap_or(text.len()));
    let (bare, shift) = text.split_at(end);
    let shift = if fixed || !shift.contains('@') { shift } else { "" };
    let bare = Expr::new(Kind::Vector, precision, [part(bare)]);
    Expr::new(Kind::Range, precision, [part(bare), part(format!("[{range}]{shift}"))])
}

fn subqueried(corpus: &mut Corpus, inner: Expr, fixed: bool) -> Expr {
    let (range, step) = (corpus.pick(&SUBQUERY_RANGES), corpus.pick(&SUBQUERY_STEPS));
    let shift = if fixed { corpus.shift() } else { String::new() };
    let precision = inner.precision;
    Expr::new(Kind::Range, precision, [part("("), part(inner), part(format!(")[{range}:{step}]{shift}"))])
}

/// Windows of a counter, of its samples or of steps.
fn counter_range(corpus: &mut Corpus, depth: usize) -> Expr {
    if depth > 0 && corpus.once_in(4) {
        let counter = corpus.counter(false);
        let metric = counter.to_string();
        if !metric.contains("gap_total") {
            return subqueried(corpus, counter, true);
        }
    }
    let counter = corpus.counter(true);
    windowed(corpus, counter, true)
}

/// A function of windows.
pub(super) fn over_range(corpus: &mut Corpus, depth: usize) -> Expr {
    let call = |name: &str, range: Expr, precision| {
        Expr::new(Kind::Vector, precision, [part(format!("{name}(")), part(range), part(")")])
    };
    match corpus.random.below(19) {
        0..2 => {
            let range = range(corpus, depth, true, Precision::Rounded);
            let exact = range.precision == Precision::Dyadic;
            let precision = if exact { Precision::Dyadic } else { Precision::Rounded };
            call(corpus.pick(&SUMS), range, precision)
        }
        2..5 => {
            let name = corpus.pick(&PICKS);
            let at_least = if name == "idelta" { Precision::Same } else { Precision::Rounded };
            let range = range(corpus, depth, true, at_least);
            let precision = range.precision;
            call(name, range, precision)
        }
        5 => call(corpus.pick(&COUNTS), range(corpus, depth, true, Precision::Rounded), Precision::Dyadic),
        6 => call(corpus.pick(&EDGES), range(corpus, depth, true, Precision::Same), Precision::Dyadic),
        7 => {
            let positive = corpus.positive();
            let range =
                if corpus.once_in(3) { subqueried(corpus, positive, true) } else { windowed(corpus, positive, true) };
            call("avg_over_time", range, Precision::Rounded)
        }
        8..11 => call(corpus.pick(&ROUNDED), range(corpus, depth, true, Precision::Same), Precision::Rounded),
        11..16 => call(corpus.pick(&["rate", "increase"]), counter_range(corpus, depth), Precision::Rounded),
        16 => {
            let quantile = corpus.quantile();
            let range = range(corpus, depth, !quantile.contains('('), Precision::Rounded);
            let parts = [part(format!("quantile_over_time({quantile}, ")), part(range), part(")")];
            Expr::new(Kind::Vector, Precision::Rounded, parts)
        }
        17 => {
            let (range, ahead) = (range(corpus, depth, false, Precision::Same), corpus.scalar(depth.min(1)));
            let parts = [part("predict_linear("), part(range), part(", "), part(ahead), part(")")];
            Expr::new(Kind::Vector, Precision::Rounded, parts)
        }
        _ => {
            let range = range(corpus, depth, true, Precision::Same);
            let factors = corpus.pick(&["0.5, 0.5", "0.1, 0.9", "0.9, 0.01", "1, 0.5", "0.3, 0"]);
            let parts = [part("double_exponential_smoothing("), part(range), part(format!(", {factors})"))];
            Expr::new(Kind::Vector, Precision::Rounded, parts)
        }
    }
}

/// Values that the last bit of an argument may turn over.
const STEPPED: [&str; 4] = ["ceil", "floor", "sgn", "round"];
const ROUNDED_OF_EXACT: [&str; 19] = [
    "exp", "ln", "log2", "log10", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh",
    "acosh", "atanh", "deg", "rad",
];
const CALENDAR: [&str; 8] =
    ["year", "month", "day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute"];

fn unary(name: &str, inner: Expr, precision: Precision) -> Expr {
    Expr::new(Kind::Vector, precision, [part(format!("{name}(")), part(inner), part(")")])
}

/// A function of an instant vector.
pub(super) fn of_vector(corpus: &mut Corpus, depth: usize) -> Expr {
    match corpus.random.below(14) {
        0 => {
            let (name, inner) = (corpus.pick(&STEPPED), corpus.exact(depth, Precision::Same));
            let precision = inner.precision;
            unary(name, inner, precision)
        }
        1 | 2 => unary(corpus.pick(&ROUNDED_OF_EXACT), corpus.exact(depth, Precision::Same), Precision::Rounded),
        3 => {
            // NaN has no date.
            let name = corpus.pick(&CALENDAR);
            if corpus.once_in(3) {
                return Expr::new(Kind::Vector, Precision::Dyadic, [part(format!("{name}()"))]);
            }
            let inner = corpus.exact(depth, Precision::Same);
            let dated = [part("((("), part(inner), part(" > -1e6) < 1e6) * 86399)")];
            unary(name, Expr::new(Kind::Vector, Precision::Same, dated), Precision::Dyadic)
        }
        4 => bounded(corpus, depth),
        5 => {
            let (inner, to) =
                (corpus.exact(depth, Precision::Same), corpus.pick(&["5", "0.25", "10", "-2", "0", "0.1"]));
            Expr::new(Kind::Vector, Precision::Same, [part("round("), part(inner), part(format!(", {to})"))])
        }
        6 => {
            let name = corpus.pick(&["sort", "sort_desc", "abs", "-"]);
            let inner = corpus.vector(depth);
            let precision = inner.precision;
            unary(name, inner, precision)
        }
        7 => {
            let inner = corpus.vector(depth);
            let fixed = inner.to_string().contains('@');
            unary("timestamp", if fixed { unsigned_zero(inner) } else { inner }, Precision::Same)
        }
        8 => unary("absent", corpus.vector(depth), Precision::Dyadic),
        9 => {
            let scalar = corpus.scalar(depth);
            let precision = scalar.precision;
            unary("vector", scalar, precision)
        }
        10 | 11 => relabelled(corpus, depth),
        _ => histogram(corpus),
    }
}

fn bounded(corpus: &mut Corpus, depth: usize) -> Expr {
    let inner = corpus.vector(depth);
    let (low, high) = (corpus.scalar(depth.min(1)), corpus.scalar(depth.min(1)));
    let precision = inner.precision.min(low.precision).min(high.precision);
    match corpus.random.below(3) {
        0 => {
            let parts = [part("clamp("), part(inner), part(", "), part(low), part(", "), part(high), part(")")];
            // Bounds that cross by their last bit would leave nothing.
            let exact = if precision == Precision::Rounded {
                "clamp_max("
            } else {
                return Expr::new(Kind::Vector, precision, parts);
            };
            let [_, inner, comma, low, ..] = parts;
            Expr::new(Kind::Vector, precision, [part(exact), inner, comma, low, part(")")])
        }
        1 => Expr::new(Kind::Vector, precision, [part("clamp_min("), part(inner), part(", "), part(low), part(")")]),
        _ => Expr::new(Kind::Vector, precision, [part("clamp_max("), part(inner), part(", "), part(high), part(")")]),
    }
}

fn relabelled(corpus: &mut Corpus, depth: usize) -> Expr {
    let inner = corpus.vector(depth);
    let precision = inner.precision;
    let rest = corpus.pick(&[
        r#"label_replace(, "copy", "$1-x", "host", "(.*)")"#,
        r#"label_replace(, "copy", "${1}_$2", "host", "(h)(.)")"#,
        r#"label_replace(, "host", "all", "host", ".*")"#,
        r#"label_replace(, "host", "", "mode", "idle")"#,
        r#"label_replace(, "zone", "$name", "zone", "(?P<name>ea).*")"#,
        r#"label_replace(, "__name__", "renamed", "", "")"#,
        r#"label_replace(, "zone", "none", "zone", "")"#,
        r#"label_replace(, "copy", "x", "host", "1")"#,
        r#"label_join(, "copy", "-", "host", "mode", "nothing", "zone")"#,
        r#"label_join(, "host", "", "zone", "host")"#,
        r#"label_join(, "__name__", ":", "__name__", "host")"#,
        r#"label_join(, "zone", "/")"#,
    ]);
    let (name, arguments) = rest.split_once('(').unwrap_or((rest, ""));
    Expr::new(Kind::Vector, precision, [part(format!("{name}(")), part(inner), part(arguments)])
}

fn histogram(corpus: &mut Corpus) -> Expr {
    let quantile = corpus.quantile();
    let inner = corpus.pick(&[
        "lat_bucket",
        "sum by (le) (lat_bucket)",
        "sum by (le, host) (lat_bucket) * 2",
        "rate(lat_bucket[5m])",
        "increase(lat_bucket[2m] offset 1m)",
        "lat_bucket{le!=\"+Inf\"}",
        "lat_bucket - on (host) group_left lat_count",
        "sum_over_time(lat_bucket[1m])",
        "label_replace(lat_bucket, \"le\", \"x\", \"le\", \"1\")",
        "walk",
    ]);
    let inner = Expr::new(Kind::Vector, Precision::Same, [part(inner)]);
    let parts = [part(format!("histogram_quantile({quantile}, ")), part(inner), part(")")];
    Expr::new(Kind::Vector, Precision::Rounded, parts)
}

/// A vector without ties.
pub(super) fn distinct(corpus: &mut Corpus) -> Expr {
    let walk = corpus.walk();
    match corpus.random.below(4) {
        0 => {
            let range = windowed(corpus, walk, true);
            unary(corpus.pick(&["max_over_time", "min_over_time", "last_over_time"]), range, Precision::Dyadic)
        }
        1 => Expr::new(Kind::Vector, Precision::Dyadic, [part("("), part(walk), part(" * -2)")]),
        _ => walk,
    }
}
