//! A live oracle: the same samples into a Prometheus 2.42 and into our evaluator, the
//! same queries to both, the same answers.
//!
//! ```text
//! samples (seed) --remote write--> prometheus --HTTP--+
//!       \--------- Memory -------> signalbox-promql --+--> outcome: equal within 1e-9, or cut down and printed
//! corpus (seed) --- queries ------> both             /
//! ```
//!
//! `SIGNALBOX_SEED` and `SIGNALBOX_ROUNDS` (thousands of queries) widen it. Nothing is
//! excused: what the documented differences forbid is not asked ([`corpus`]), and each of
//! them has a witness here.

mod calls;
mod corpus;
mod expr;
mod outcome;
mod peer;
mod samples;
mod words;

use anyhow::{Result, ensure};
use corpus::Corpus;
use expr::{Expr, Kind};
use outcome::Outcome;
use peer::{Peer, When};
use signalbox_promql::memory::Memory;
use signalbox_promql::{Answer, Budget, Error, Options, Query};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};

/// Queries in one round.
const ROUND: usize = 1000;
/// Calls and operators inside one another.
const DEPTH: usize = 4;
/// Differences that are cut down and printed.
const SHOWN: usize = 25;

fn variable(name: &str, default: u64) -> Result<u64> {
    Ok(std::env::var(name).map_or(Ok(default), |text| text.parse())?)
}

/// Both evaluators over the same samples.
struct Pair {
    peer: Peer,
    memory: Memory,
    recorded: BTreeSet<String>,
    _folder: tempfile::TempDir,
}

impl Pair {
    /// None, said aloud, when there is no Prometheus.
    fn start(seed: u64) -> Result<Option<Pair>> {
        let Some(program) = peer::program() else {
            println!("SKIPPED: no Prometheus to compare with: SIGNALBOX_TEST_PROMETHEUS names no folder that holds it");
            return Ok(None);
        };
        let folder = tempfile::tempdir()?;
        let recorded = samples::recorded()?;
        let names = recorded.iter().filter_map(|one| one.labels.metric().map(str::to_owned)).collect();
        let series = [samples::synthetic(seed), samples::edges(), recorded].concat();
        let peer = Peer::start(&program, folder.path(), &series)?;
        Ok(Some(Pair { peer, memory: samples::memory(&series), recorded: names, _folder: folder }))
    }

    fn ours(&self, query: &str, when: When) -> Result<Answer, Error> {
        let options = Options { experimental: true, ..Options::default() };
        let query = Query::parse(query, &options)?;
        let budget = Budget::new(&options, &|| None);
        let time = |seconds: i64| UnixMillis(seconds * 1000);
        match when {
            When::Instant { at } => query.instant(time(at), &self.memory, &budget),
            When::Range { start, end, step } => {
                query.range(time(start), time(end), Millis::from_secs(step as u64), &self.memory, &budget)
            }
        }
    }

    /// What both say, and where they differ.
    fn compare(&self, query: &str, when: When) -> Result<(Outcome, Outcome, Option<String>)> {
        let ours = Outcome::ours(self.ours(query, when));
        let theirs = self.peer.ask(&query.replace("double_exponential_smoothing", "holt_winters"), when)?;
        let ordered = query.starts_with("sort") && matches!(when, When::Instant { .. });
        let difference = ours.difference(&theirs, ordered);
        Ok((ours, theirs, difference))
    }

    /// A failing query, cut down, with both answers.
    fn report(&self, expr: &Expr, when: When) -> Result<String> {
        let instant = matches!(when, When::Instant { .. });
        let smallest = expr.smallest(&mut |inner| {
            let fits = instant || inner.kind != Kind::Range;
            fits && self.compare(&inner.to_string(), when).is_ok_and(|(_, _, difference)| difference.is_some())
        });
        let query = smallest.unwrap_or(expr).to_string();
        let (ours, theirs, difference) = self.compare(&query, when)?;
        let difference = difference.unwrap_or_default();
        Ok(format!("{query}\n  {when:?}: {difference}\n  ours:   {ours}\n  theirs: {theirs}\n  within: {expr}"))
    }
}

/// Instants and ranges, 0 or 7 s after tens of seconds, from within the samples to beyond their end.
fn when(corpus: &mut Corpus) -> When {
    let at = samples::START + 3000 + 10 * corpus.random.below(90) as i64 + corpus.pick(&[0, 7]);
    if corpus.once_in(2) {
        return When::Instant { at };
    }
    let step = corpus.pick(&[5, 10, 15, 30, 60, 120]);
    let n_steps = corpus.random.below(10) as i64;
    When::Range { start: at - n_steps * step, end: at + corpus.pick(&[0, 0, 4]), step }
}

#[test]
fn oracle_queries_are_answered_as_prometheus_answers_them() -> Result<()> {
    let (seed, rounds) = (variable("SIGNALBOX_SEED", 1)?, variable("SIGNALBOX_ROUNDS", 3)?);
    let Some(pair) = Pair::start(seed)? else { return Ok(()) };
    let mut corpus = Corpus::new(seed, pair.recorded.iter().cloned());
    let (mut n_refused, mut n_failed, mut failures) = (0, 0, BTreeMap::new());
    let mut telling = Vec::new();
    let n_queries = rounds as usize * ROUND;
    for n in 0..n_queries {
        let (expr, when) = (corpus.query(1 + n % DEPTH), when(&mut corpus));
        let (ours, _, difference) = pair.compare(&expr.to_string(), when)?;
        if ours.is_telling() {
            telling.push(expr.to_string());
        }
        n_refused += usize::from(matches!(ours, Outcome::Refused { .. }));
        if difference.is_some() {
            n_failed += 1;
            if failures.len() < SHOWN {
                let report = pair.report(&expr, when)?;
                failures.insert(report.lines().next().unwrap_or_default().to_owned(), report);
            }
        }
    }
    let n_telling = telling.len();
    println!("seed {seed}: {n_queries} queries, {n_telling} with series, {n_refused} refused, {n_failed} differ");
    for report in failures.values() {
        println!("\n{report}");
    }
    ensure!(n_failed == 0, "{n_failed} of {n_queries} queries differ");
    ensure!(n_telling * 2 > n_queries, "only {n_telling} of {n_queries} queries gave series");
    let unused = words::unused(&telling);
    ensure!(unused.is_empty(), "no query with an answer has {unused:?}");
    Ok(())
}

/// Faults of a text that are none here: since Prometheus 3 durations are numbers, numbers
/// are durations and names may be quoted; `+` before a range vector is not heeded.
const NEWER: [&str; 6] = [
    "unexpected duration",
    "in offset, expected duration",
    "missing unit character in duration",
    "unexpected string \"\\\"text\\\"\" in label matching",
    "unexpected string \"\\\"text\\\"\" in grouping opts",
    "unary expression only allowed on expressions of type scalar or instant vector, got \"range vector\"",
];

#[test]
fn oracle_refuses_what_prometheus_refuses() -> Result<()> {
    let (seed, rounds) = (variable("SIGNALBOX_SEED", 1)?, variable("SIGNALBOX_ROUNDS", 3)?);
    let Some(pair) = Pair::start(seed)? else { return Ok(()) };
    let mut corpus = Corpus::new(seed, pair.recorded.iter().cloned());
    let when = When::Instant { at: samples::EDGE };
    let (mut n_refused, mut failures) = (0, Vec::new());
    let n_queries = rounds as usize * ROUND / 2;
    for n in 0..n_queries {
        let query = corpus.query(1 + n % (DEPTH - 1)).to_string();
        let query = words::spoilt(&query, &mut corpus.random);
        let (ours, theirs, _) = pair.compare(&query, when)?;
        n_refused += usize::from(ours.is_bad_data());
        let newer = NEWER.iter().any(|why| theirs.to_string().contains(why));
        if ours.is_bad_data() != theirs.is_bad_data() && !newer {
            failures.push(format!("{query}\n  ours:   {ours}\n  theirs: {theirs}"));
        }
    }
    println!("seed {seed}: {n_queries} spoilt queries, {n_refused} refused, {} differ", failures.len());
    failures.iter().take(SHOWN).for_each(|failure| println!("\n{failure}"));
    ensure!(failures.is_empty(), "{} of {n_queries} spoilt queries differ", failures.len());
    ensure!(n_refused * 3 > n_queries, "only {n_refused} of {n_queries} were spoilt");
    Ok(())
}

/// The differences that docs/reference-promql.md lists, at [`samples::EDGE`]: what is
/// asked, our answer, that of 2.42.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    // Windows are open on the left.
    ("count_over_time(edge[1m])", "{} 6", "{} 7"),
    ("count_over_time(vector(1)[1m:10s])", "{} 6", "{} 7"),
    // Half an interval where the first sample is far from the edge, less if zero is nearer.
    ("increase(edge_total[1m])", "{} 25", "{} 28"),
    // What a vector is not a reading of has no name.
    ("edge atan2 0", "{} 1.5707963267948966", "edge 1.5707963267948966"),
    ("stddev(vector(NaN))", "{} NaN", "{} 0"),
    ("stdvar(vector(Inf))", "{} NaN", "{} 0"),
    // Compensated sums end without the sign of zero.
    ("1 / sum(vector(-0))", "{} inf", "{} -inf"),
    ("1 / avg(vector(-0))", "{} inf", "{} -inf"),
    // Both modifiers hold.
    ("timestamp(edge @ end() offset 310s) - time()", "{} -310", ""),
    // A sign that changes nothing.
    ("count_over_time(+edge[1m])", "{} 6", "bad_data"),
    // Renamed, and new since.
    ("holt_winters(edge[1m], 0.5, 0.5)", "bad_data", "{} 40"),
    ("count(limitk(1, edge))", "{} 1", "bad_data"),
    ("count(limit_ratio(1, edge))", "{} 1", "bad_data"),
    ("count(sort_by_label(edge, \"x\"))", "{} 1", "bad_data"),
    ("count(sort_by_label_desc(edge, \"x\"))", "{} 1", "bad_data"),
    ("count(info(edge))", "{} 1", "bad_data"),
    ("first_over_time(edge[1m])", "edge 35", "bad_data"),
    ("mad_over_time(edge[30s])", "{} 1", "bad_data"),
    ("ts_of_first_over_time(edge[1m]) - time()", "{} -50", "bad_data"),
    ("ts_of_last_over_time(edge[1m]) - time()", "{} 0", "bad_data"),
    ("ts_of_max_over_time(edge[1m]) - time()", "{} 0", "bad_data"),
    ("ts_of_min_over_time(edge[1m]) - time()", "{} -50", "bad_data"),
    ("count_over_time(edge[60])", "{} 6", "bad_data"),
    ("count_over_time(edge[1m] offset 10)", "{} 6", "bad_data"),
    ("5m", "{} 300", "bad_data"),
    ("{\"edge\"}", "edge 40", "bad_data"),
    ("count(edge{\"none\"=\"\"})", "{} 1", "bad_data"),
];

#[test]
fn oracle_and_prometheus_differ_as_documented() -> Result<()> {
    let Some(pair) = Pair::start(1)? else { return Ok(()) };
    let mut faults = Vec::new();
    for (query, ours, theirs) in DIFFERENCES {
        let when = When::Instant { at: samples::EDGE };
        let got = (Outcome::ours(pair.ours(query, when)).brief(), pair.peer.ask(query, when)?.brief());
        if got != ((*ours).to_owned(), (*theirs).to_owned()) {
            faults.push(format!("{query}\n  ours:   {}\n  theirs: {}", got.0, got.1));
        }
    }
    ensure!(faults.is_empty(), "\n{}", faults.join("\n"));
    // The window of `@` stays where it is.
    let when = When::Range { start: samples::EDGE, end: samples::EDGE + 10, step: 10 };
    let query = format!("predict_linear(walk[1m] @ {}, 0)", samples::EDGE);
    let (ours, theirs, difference) = pair.compare(&query, when)?;
    ensure!(difference.is_some(), "{query}: {ours} and {theirs}");
    Ok(())
}
