//! Plays the scripts in `tests/scripts`: samples in virtual time, queries, and what they must answer.
//!
//! ```text
//! load every 10s                     one value per interval, from time 0
//!   up{host="a"} 1x3 _ 5+2x3 stale   1 1 1, a gap, 5 7 9, a stale marker
//! clear                              forgets all samples
//! at 30s: sum(up)                    an instant query; expected samples follow, in any order
//!   {} 1                             a value is a number or an expression of PromQL without spaces
//! at 30s ordered: sort(up)           … in this order
//! over 0s..60s/10s: up               a range query; `_` where there is no value
//!   up{host="a"} 1 1 1 _ …
//! at 0s: time()                      `scalar V`, `string "…"`, `matrix` (then labels and value@time), `nothing`
//! fails at 0s: up + on(x) up         CLASS: part of the message
//! ```
//!
//! `info: …` and `warning: …` lines expect an annotation; one that nobody expects fails.

use signalbox_promql::memory::Memory;
use signalbox_promql::seam::STALE_BITS;
use signalbox_promql::value::{Sample, show_value};
use signalbox_promql::{Answer, Budget, Error, Labels, Options, Query, Value};
use signalbox_proto::text::parse_span;
use signalbox_proto::units::{Millis, UnixMillis};
use std::fs;
use std::path::Path;

#[derive(Default)]
struct Script {
    memory: Memory,
    n_evaluated: usize,
}

struct Block<'s> {
    line: usize,
    head: &'s str,
    body: Vec<&'s str>,
}

fn options() -> Options {
    Options { experimental: true, ..Options::default() }
}

fn evaluate(memory: &Memory, when: &str, query: &str) -> Result<Answer, Error> {
    let query = Query::parse(query, &options())?;
    let options = options();
    let budget = Budget::new(&options, &|| None);
    match when.split_once("..") {
        None => query.instant(time(when), memory, &budget),
        Some((start, rest)) => {
            let (end, step) = rest.split_once('/').expect("START..END/STEP");
            query.range(time(start), time(end), span(step), memory, &budget)
        }
    }
}

fn span(text: &str) -> Millis {
    parse_span(text).unwrap_or_else(|why| panic!("duration {text:?}: {why}"))
}

fn time(text: &str) -> UnixMillis {
    match text.strip_prefix('-') {
        Some(before) => UnixMillis(-(span(before).0 as i64)),
        None => UnixMillis(span(text).0 as i64),
    }
}

/// `name{a="b", c="d"}` and what follows.
fn labels(text: &str) -> (Labels, &str) {
    let end = text.find([' ', '{']).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let mut pairs = vec![("__name__".to_owned(), name.to_owned())];
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.trim_start_matches([',', ' ']).split_once("=\"").expect("label=\"value\"");
            let (value, after) = after.split_once('"').expect("closing quote");
            pairs.push((label.to_owned(), value.to_owned()));
            rest = after;
        }
        rest = &rest[1..];
    }
    (Labels::new(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))), rest.trim())
}

/// One value: a number, or an expression.
fn value(text: &str) -> f64 {
    if let Ok(value) = text.parse() {
        return value;
    }
    match evaluate(&Memory::default(), "0s", text).unwrap_or_else(|why| panic!("value {text:?}: {why}")).value {
        Value::Scalar(point) => point.value,
        other => panic!("value {text:?} is a {}", other.kind()),
    }
}

/// `1`, `1x3`, `5+2x3`, `_`, `_x3`, `stale`: none where there is no sample.
fn values(text: &str) -> Vec<Option<f64>> {
    let mut values = Vec::new();
    for word in text.split_whitespace() {
        let (what, n) = match word.rsplit_once('x') {
            Some((what, n)) if n.parse::<usize>().is_ok() => (what, n.parse().expect("just parsed")),
            _ => (word, 1),
        };
        let slope = what.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-')).map(|(at, _)| at);
        let slope = slope.filter(|at| n > 1 && what[*at..].parse::<f64>().is_ok());
        for i in 0..n {
            values.push(match (what, slope) {
                ("_", _) => None,
                ("stale", _) => Some(f64::from_bits(STALE_BITS)),
                (_, Some(at)) => Some(value(&what[..at]) + i as f64 * value(&what[at..])),
                _ => Some(value(what)),
            });
        }
    }
    values
}

fn same(a: f64, b: f64) -> bool {
    (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

impl Script {
    fn play(&mut self, block: &Block<'_>) -> Result<(), String> {
        if block.head == "clear" {
            self.memory = Memory::default();
            return Ok(());
        }
        if let Some(interval) = block.head.strip_prefix("load every ") {
            self.load(span(interval), &block.body);
            return Ok(());
        }
        self.n_evaluated += 1;
        let (when, query) = block.head.split_once(": ").ok_or("expected `WHEN: QUERY`")?;
        if let Some(when) = when.strip_prefix("fails at ").or(when.strip_prefix("fails over ")) {
            return self.expect_failure(when, query, &block.body);
        }
        let when = when.strip_prefix("at ").or(when.strip_prefix("over ")).ok_or("expected `at` or `over`")?;
        let ordered = when.ends_with(" ordered");
        let when = when.trim_end_matches(" ordered");
        let answer = evaluate(&self.memory, when, query).map_err(|why| format!("failed: {}: {why}", why.class()))?;
        let (notes, expected): (Vec<&str>, Vec<&str>) =
            block.body.iter().partition(|line| line.starts_with("info: ") || line.starts_with("warning: "));
        expect_notes(&answer, &notes)?;
        match &answer.value {
            Value::Matrix(_) if expected.first() == Some(&"matrix") => expect_raw(&answer.value, &expected[1..]),
            Value::Matrix(_) => expect_steps(&answer.value, when, &expected),
            Value::Vector(samples) => expect_samples(samples, ordered, &expected),
            Value::Scalar(point) => match expected.first().and_then(|line| line.strip_prefix("scalar ")) {
                Some(wanted) if same(value(wanted), point.value) => Ok(()),
                _ => Err(format!("got scalar {}", show_value(point.value))),
            },
            Value::Text { text, .. } if expected == [format!("string {text:?}")] => Ok(()),
            Value::Text { text, .. } => Err(format!("got string {text:?}")),
        }
    }

    fn load(&mut self, interval: Millis, body: &[&str]) {
        for line in body {
            let (labels, rest) = labels(line);
            for (n, value) in values(rest).into_iter().enumerate() {
                if let Some(value) = value {
                    self.memory.push(&labels, UnixMillis((interval.0 * n as u64) as i64), value);
                }
            }
        }
    }

    fn expect_failure(&self, when: &str, query: &str, body: &[&str]) -> Result<(), String> {
        let (class, part) = body.first().and_then(|line| line.split_once(": ")).ok_or("expected `CLASS: MESSAGE`")?;
        match evaluate(&self.memory, when, query) {
            Ok(answer) => Err(format!("did not fail: {:?}", answer.value)),
            Err(why) if why.class() == class && why.to_string().contains(part) => Ok(()),
            Err(why) => Err(format!("failed otherwise: {}: {why}", why.class())),
        }
    }
}

fn expect_notes(answer: &Answer, expected: &[&str]) -> Result<(), String> {
    let mut got: Vec<String> = answer.annotations.infos().iter().map(|text| format!("info: {text}")).collect();
    got.extend(answer.annotations.warnings().iter().map(|text| format!("warning: {text}")));
    for line in expected {
        let (kind, part) = line.split_once(": ").expect("kind: text");
        let place = got.iter().position(|text| text.starts_with(kind) && text.contains(part));
        got.remove(place.ok_or_else(|| format!("no {line:?} among {got:?}"))?);
    }
    if got.is_empty() { Ok(()) } else { Err(format!("unexpected {got:?}")) }
}

fn expect_samples(samples: &[Sample], ordered: bool, expected: &[&str]) -> Result<(), String> {
    let mut wanted: Vec<(Labels, f64)> = Vec::new();
    for line in expected.iter().filter(|line| **line != "nothing") {
        let (labels, rest) = labels(line);
        wanted.push((labels, value(rest)));
    }
    if !ordered {
        wanted.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let mut got: Vec<(Labels, f64)> = samples.iter().map(|s| (s.labels.clone(), s.point.value)).collect();
    if !ordered {
        got.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let equal = wanted.len() == got.len() && wanted.iter().zip(&got).all(|(w, g)| w.0 == g.0 && same(w.1, g.1));
    if equal { Ok(()) } else { Err(format!("got {got:?}")) }
}

fn expect_steps(value: &Value, when: &str, expected: &[&str]) -> Result<(), String> {
    let Value::Matrix(series) = value else { return Err("no matrix".into()) };
    let (start, rest) = when.split_once("..").ok_or("steps of an instant query")?;
    let (end, step) = rest.split_once('/').ok_or("no step")?;
    let (start, end, step) = (time(start).0, time(end).0, span(step).0 as i64);
    let mut wanted: Vec<(Labels, Vec<Option<f64>>)> = Vec::new();
    for line in expected.iter().filter(|line| **line != "nothing") {
        let (labels, rest) = labels(line);
        wanted.push((labels, values(rest)));
    }
    wanted.sort_by(|a, b| a.0.cmp(&b.0));
    let row = |series: &signalbox_promql::value::Series| {
        let at = |time: i64| series.points.iter().find(|p| p.time.0 == time).map(|p| p.value);
        (series.labels.clone(), (0..=(end - start) / step).map(|n| at(start + n * step)).collect::<Vec<_>>())
    };
    let got: Vec<_> = series.iter().map(row).collect();
    let equal = |a: &[Option<f64>], b: &[Option<f64>]| {
        a.len() == b.len()
            && a.iter().zip(b).all(|(a, b)| match (a, b) {
                (Some(a), Some(b)) => same(*a, *b),
                (a, b) => a.is_none() && b.is_none(),
            })
    };
    let all = wanted.len() == got.len() && wanted.iter().zip(&got).all(|(w, g)| w.0 == g.0 && equal(&w.1, &g.1));
    if all { Ok(()) } else { Err(format!("got {got:?}")) }
}

fn expect_raw(value: &Value, expected: &[&str]) -> Result<(), String> {
    let Value::Matrix(series) = value else { return Err("no matrix".into()) };
    let show = |series: &signalbox_promql::value::Series| {
        let points = series.points.iter().map(|p| format!("{}@{}ms", show_value(p.value), p.time.0));
        format!("{} {}", series.labels, points.collect::<Vec<_>>().join(" "))
    };
    let got: Vec<String> = series.iter().map(show).collect();
    if got == expected { Ok(()) } else { Err(format!("got {got:?}")) }
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let (indented, content) = (line.starts_with(' '), line.trim());
        match blocks.last_mut() {
            _ if content.is_empty() || content.starts_with('#') => {}
            Some(block) if indented => block.body.push(content),
            _ => blocks.push(Block { line: n + 1, head: content, body: Vec::new() }),
        }
    }
    blocks
}

#[test]
fn every_script_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut faults = Vec::new();
    let (mut n_scripts, mut n_evaluated) = (0, 0);
    for entry in fs::read_dir(folder).expect("scripts").flatten() {
        let text = fs::read_to_string(entry.path()).expect("UTF-8");
        let mut script = Script::default();
        for block in blocks(&text) {
            if let Err(why) = script.play(&block) {
                let name = entry.file_name();
                faults.push(format!("{}:{}: {}\n    {why}", name.display(), block.line, block.head));
            }
        }
        n_scripts += 1;
        n_evaluated += script.n_evaluated;
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(n_scripts >= 10 && n_evaluated >= 300, "only {n_evaluated} queries in {n_scripts} scripts");
}
