//! Laws: steps are instants, nothing that is typed ends the process, limits hold.

use proptest::prelude::*;
use signalbox_promql::memory::Memory;
use signalbox_promql::seam::STALE_BITS;
use signalbox_promql::{Answer, Budget, Error, Labels, Options, Query, Stop, Value};
use signalbox_proto::units::{Bytes, Millis, UnixMillis};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

fn experimental() -> Options {
    Options { experimental: true, ..Options::default() }
}

/// Series with gaps, resets, markers and NaN.
fn stores() -> impl Strategy<Value = Memory> {
    let sample = prop_oneof![
        8 => (0..200i32).prop_map(f64::from),
        1 => Just(f64::NAN),
        1 => Just(f64::from_bits(STALE_BITS)),
        1 => Just(-1.5),
    ];
    let series = prop::collection::vec((1..40i64, sample), 0..40);
    prop::collection::vec(series, 1..7).prop_map(|all| {
        let mut memory = Memory::default();
        for (n, samples) in all.into_iter().enumerate() {
            let name = if n % 2 == 0 { "a_total" } else { "b_total" };
            let host = format!("h{}", n / 2);
            let zone = if n < 4 { "x" } else { "y" };
            let le = ["1", "2", "+Inf"][n / 2];
            let labels = Labels::new([("__name__", name), ("host", &host), ("zone", zone), ("le", le)]);
            let mut time = 0;
            for (gap, value) in samples {
                time += gap * 1000;
                memory.push(&labels, UnixMillis(time), value);
            }
        }
        memory
    })
}

const QUERIES: [&str; 58] = [
    "a_total",
    "a_total offset 7s",
    "a_total offset -7s",
    "a_total @ 100",
    "timestamp(a_total)",
    "rate(a_total[1m])",
    "increase(b_total[33s])",
    "delta(b_total[33s] offset 11s)",
    "irate(a_total[1m])",
    "idelta(a_total[1m])",
    "deriv(a_total[1m])",
    "predict_linear(a_total[1m], 60)",
    "changes(a_total[1m])",
    "resets(a_total[1m])",
    "sum_over_time(a_total[1m])",
    "avg_over_time(a_total[1m])",
    "min_over_time(a_total[1m])",
    "max_over_time(a_total[1m])",
    "count_over_time(a_total[1m])",
    "stddev_over_time(a_total[1m])",
    "quantile_over_time(0.7, a_total[1m])",
    "last_over_time(a_total[45s])",
    "first_over_time(a_total[45s])",
    "mad_over_time(a_total[45s])",
    "present_over_time(a_total[45s])",
    "ts_of_max_over_time(a_total[45s])",
    "absent_over_time(a_total[9s])",
    "double_exponential_smoothing(a_total[1m], 0.3, 0.6)",
    "max_over_time(rate(a_total[30s])[1m:10s])",
    "sum_over_time(a_total[1m:7s] offset 3s)",
    "sum_over_time(a_total[1m:7s] @ 100)",
    "sum(a_total)",
    "sum by (zone) (a_total)",
    "avg without (host, le) (b_total)",
    "min by (zone) (a_total)",
    "stdvar(a_total)",
    "count by (zone) (a_total > 50)",
    "quantile by (zone) (0.3, a_total)",
    "topk(2, a_total)",
    "bottomk by (zone) (1, a_total)",
    "count_values by (zone) (\"v\", a_total)",
    "limitk(1, a_total)",
    "limit_ratio(0.6, a_total)",
    "group(a_total)",
    "a_total + b_total",
    "a_total > ignoring(host) group_left () (b_total{host=\"h0\"} * 0)",
    "a_total / on(zone) group_left () sum by (zone) (b_total)",
    "a_total and b_total",
    "a_total or b_total",
    "a_total unless (b_total > 100)",
    "absent(a_total > 150)",
    "scalar(a_total{host=\"h0\"}) + time()",
    "histogram_quantile(0.6, a_total)",
    "histogram_fraction(0, 1.5, sum by (le) (a_total))",
    "label_replace(a_total, \"n\", \"$1\", \"host\", \"h(.)\")",
    "clamp(a_total, 10, scalar(b_total{host=\"h1\"}))",
    "hour(a_total * 1000) + minute()",
    "-a_total ^ 2 % 7",
];

/// The values of each series, at its steps.
fn by_step(answer: &Answer) -> BTreeMap<(Labels, i64), f64> {
    let mut all = BTreeMap::new();
    match &answer.value {
        Value::Matrix(series) => {
            for series in series {
                all.extend(series.points.iter().map(|point| ((series.labels.clone(), point.time.0), point.value)));
            }
        }
        Value::Vector(samples) => {
            all.extend(samples.iter().map(|s| ((s.labels.clone(), s.point.time.0), s.point.value)));
        }
        Value::Scalar(point) => {
            all.insert((Labels::empty(), point.time.0), point.value);
        }
        Value::Text { .. } => {}
    }
    all
}

fn same(a: &BTreeMap<(Labels, i64), f64>, b: &BTreeMap<(Labels, i64), f64>) -> bool {
    let close = |a: f64, b: f64| (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
    a.len() == b.len() && a.iter().zip(b).all(|((ka, va), (kb, vb))| ka == kb && close(*va, *vb))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_range_is_the_instants_at_its_steps(
        memory in stores(),
        start in 0i64..300,
        step in 1u64..90,
        n in 1i64..20,
    ) {
        let options = experimental();
        let budget = Budget::new(&options, &|| None);
        let (start, step) = (UnixMillis(start * 1000), Millis::from_secs(step));
        let end = UnixMillis(start.0 + (n - 1) * step.0 as i64);
        for text in QUERIES {
            let query = Query::parse(text, &options).unwrap();
            let ranged = query.range(start, end, step, &memory, &budget);
            let mut instants = Ok(BTreeMap::new());
            for at in 0..n {
                let at = UnixMillis(start.0 + at * step.0 as i64);
                match (query.instant(at, &memory, &budget), &mut instants) {
                    (Ok(answer), Ok(all)) => all.extend(by_step(&answer)),
                    (Err(why), Ok(_)) => instants = Err(why),
                    _ => {}
                }
            }
            match (ranged, instants) {
                (Ok(ranged), Ok(instants)) => {
                    let ranged = by_step(&ranged);
                    prop_assert!(same(&ranged, &instants), "{text}: {ranged:?} is not {instants:?}");
                }
                (Err(a), Err(b)) => prop_assert_eq!(a.class(), b.class()),
                (ranged, instants) => prop_assert!(false, "{text}: {ranged:?} but {instants:?}"),
            }
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_text_ends_the_process(text in "\\PC{0,60}", inside in "[\\\\\"'`a0xuUé{}1\\n]{0,12}") {
        let _ = Query::parse(&text, &experimental());
        for quote in ['"', '\'', '`'] {
            let _ = Query::parse(&format!("x{{a=~{quote}{inside}{quote}}}"), &experimental());
        }
    }

    #[test]
    fn no_heap_of_words_ends_the_process(words in prop::collection::vec(prop::sample::select(WORDS), 0..40)) {
        let text = words.join(" ");
        if let Ok(query) = Query::parse(&text, &experimental()) {
            let options = experimental();
            let budget = Budget::new(&options, &|| None);
            let memory = Memory::default();
            let _ = query.instant(UnixMillis(0), &memory, &budget);
            let _ = query.range(UnixMillis(0), UnixMillis(9000), Millis(1000), &memory, &budget);
        }
    }
}

const WORDS: &[&str] = &[
    "a",
    "sum",
    "by",
    "(",
    "(",
    ")",
    ")",
    "[5m]",
    "[1m:10s]",
    "[",
    "]",
    "{",
    "}",
    "=",
    "=~",
    "\"x\"",
    "'",
    "`\\d`",
    "1",
    "-1",
    "0x1F",
    "1e400",
    "5m",
    "nan",
    "inf",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "atan2",
    "==",
    "bool",
    ">",
    "and",
    "or",
    "unless",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "offset",
    "@",
    "start()",
    "end()",
    "rate",
    "topk",
    "quantile",
    "count_values",
    "label_replace",
    "histogram_quantile",
    "time()",
    "vector",
    "scalar",
    "absent",
    ",",
    "#",
    "\n",
    "é",
    "info",
    "limitk",
    "fill",
    "predict_linear",
    "sort",
    "le",
    "1y",
    "99999999999y",
];

/// A deep expression of each kind, on a stack as small as those of threads that serve.
#[test]
fn the_deepest_queries_fit_a_small_stack() {
    let deep = |open: &str, close: &str, n: usize| format!("{}vector(1){}", open.repeat(n), close.repeat(n));
    let check = move || {
        let queries = [
            deep("(", ")", 120),
            deep("-(", ")", 55),
            deep("abs(", ")", 115),
            deep("sum(", ")", 115),
            deep("sum_over_time(", "[5m:1m])", 40),
            deep("label_join(", ",\"a\",\"b\")", 60),
            vec!["vector(1)"; 110].join("+"),
            vec!["vector(1)"; 110].join(" or "),
            vec!["vector(1)"; 110].join("^"),
            vec!["1"; 120].join("^"),
        ];
        for text in queries {
            let options = experimental();
            let query = Query::parse(&text, &options).unwrap_or_else(|why| panic!("{text}: {why}"));
            let budget = Budget::new(&options, &|| None);
            let _ = query.range(UnixMillis(0), UnixMillis(1000), Millis(1000), &Memory::default(), &budget);
        }
    };
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(check).unwrap().join().unwrap();
}

fn small_store() -> Memory {
    let mut memory = Memory::default();
    for host in 0..100 {
        let labels = Labels::new([("__name__", "up"), ("host", &format!("h{host}"))]);
        (0..10).for_each(|n| memory.push(&labels, UnixMillis(n * 1000), 1.0));
    }
    memory
}

fn ask(options: &Options, stop: &(dyn Fn() -> Option<Stop> + Sync), text: &str) -> Result<Answer, Error> {
    let query = Query::parse(text, options)?;
    query.range(UnixMillis(0), UnixMillis(9000), Millis(1000), &small_store(), &Budget::new(options, stop))
}

#[test]
fn limits_end_a_query_with_their_name() {
    let error = |options: &Options, text: &str| ask(options, &|| None, text).unwrap_err();
    let samples = Options { samples_max: 999, ..Options::default() };
    assert!(error(&samples, "up").to_string().contains("too many samples"));
    assert!(ask(&Options { samples_max: 1000, ..Options::default() }, &|| None, "up").is_ok());
    let memory = Options { memory_max: Bytes(4096), ..Options::default() };
    assert!(error(&memory, "up").to_string().contains("limit of 4KiB of memory"));
    assert!(ask(&memory, &|| None, "sum(up)").is_ok(), "a sum holds no series");
    assert_eq!(error(&memory, "quantile(0.5, up)").class(), "execution");
    assert_eq!(error(&memory, "up + up").class(), "execution");
    let steps = Options { steps_max: 9, ..Options::default() };
    assert!(error(&steps, "up").to_string().contains("exceeded maximum resolution of 9 points"));
    assert!(error(&Options::default(), "limitk(1, up)").to_string().contains("experimental"));
    assert!(error(&Options::default(), "mad_over_time(up[1m])").to_string().contains("experimental"));
}

#[test]
fn a_query_ends_soon_after_it_is_told_to() {
    for (stop, class) in [(Stop::Timeout, "timeout"), (Stop::Canceled, "canceled")] {
        let n_asked = AtomicUsize::new(0);
        let tell = || (n_asked.fetch_add(1, Ordering::Relaxed) >= 10).then_some(stop);
        for text in ["sum(rate(up[5s]))", "up and up", "topk(3, up)", "max_over_time(up[5s:1s])"] {
            n_asked.store(0, Ordering::Relaxed);
            assert_eq!(ask(&Options::default(), &tell, text).unwrap_err().class(), class);
            assert!(n_asked.load(Ordering::Relaxed) < 20, "{text}");
        }
    }
}

#[test]
fn times_are_checked() {
    let options = Options::default();
    let query = Query::parse("1", &options).unwrap();
    let budget = Budget::new(&options, &|| None);
    let memory = Memory::default();
    let range = |start, end, step| query.range(UnixMillis(start), UnixMillis(end), Millis(step), &memory, &budget);
    assert_eq!(range(10, 0, 1).unwrap_err().class(), "bad_data");
    assert_eq!(range(0, 10, 0).unwrap_err().class(), "bad_data");
    assert_eq!(range(i64::MIN, i64::MAX, 1).unwrap_err().class(), "bad_data");
    assert!(range(0, 10, u64::MAX).is_ok());
    assert!(query.instant(UnixMillis(i64::MIN), &memory, &budget).is_err());
}
