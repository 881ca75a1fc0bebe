//! What queries cost apart from reading: a store that hands over prepared columns
//! at once, an hour of 1,000 hosts at 15 s, 16 series each. Times are of the CPU, so
//! that other programs do not count; the query of nobody is the share of the store, which
//! looks at every label set.
//!
//! `cargo run --release -p signalbox-promql --example query_cost`

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example that measures")]

use signalbox_promql::memory::matches;
use signalbox_promql::{Budget, Column, Error, Labels, Options, Query, Select, Selected, Wanted};
use signalbox_proto::units::{Millis, UnixMillis};
use std::hint::black_box;
use std::time::Duration;

const HOSTS: usize = 1000;
const CORES: usize = 2;
const MODES: [&str; 8] = ["user", "system", "idle", "iowait", "irq", "softirq", "steal", "nice"];
const INTERVAL_MS: i64 = 15_000;
const SAMPLES: i64 = 240;
const START: i64 = 1_767_225_600_000;
const RUNS: usize = 11;

struct Host {
    times: Vec<i64>,
    series: Vec<(Labels, Vec<f64>)>,
}

struct Fleet(Vec<Host>);

impl Fleet {
    fn new() -> Fleet {
        let host = |h: usize| {
            // Hosts sample at their own phase, and every host's series together.
            let times = (0..SAMPLES).map(|n| START + n * INTERVAL_MS + (h as i64 * 7919) % INTERVAL_MS).collect();
            let mut series = Vec::new();
            for (c, mode) in (0..CORES).flat_map(|core| MODES.map(|mode| (core, mode))) {
                let (host, core) = (format!("host-{h:04}"), c.to_string());
                let pairs = [
                    ("__name__", "node_cpu_seconds_total"),
                    ("cpu", core.as_str()),
                    ("host", host.as_str()),
                    ("job", "node"),
                    ("mode", mode),
                ];
                let speed = ((h * 31 + series.len() * 17) % 100) as f64 / 100.0;
                let jitter = |n: i64| ((n * 7 + h as i64) % 13) as f64 / 100.0;
                let values = (0..SAMPLES).map(|n| 1e5 + n as f64 * 15.0 * speed + jitter(n) * speed).collect();
                series.push((Labels::new(pairs), values));
            }
            Host { times, series }
        };
        Fleet((0..HOSTS).map(host).collect())
    }
}

impl Select for Fleet {
    fn select(
        &self,
        wanted: &Wanted<'_>,
        _: &Budget<'_>,
        take: &mut dyn FnMut(Column<'_>) -> Result<(), Error>,
    ) -> Result<Selected, Error> {
        for host in &self.0 {
            let from = host.times.partition_point(|time| *time <= wanted.after.0);
            let to = host.times.partition_point(|time| *time <= wanted.until.0);
            for (labels, values) in &host.series {
                if from < to && matches(wanted.matchers, labels) {
                    take(Column { labels, times: &host.times[from..to], values: &values[from..to] })?;
                }
            }
        }
        Ok(Selected::default())
    }
}

/// What this process has computed so far.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Runs a query and gives each run's time.
fn measure(fleet: &Fleet, text: &str, step: Millis) -> (Vec<Duration>, u64) {
    let options = Options::default();
    let query = Query::parse(text, &options).unwrap();
    let end = UnixMillis(START + SAMPLES * INTERVAL_MS);
    let mut times = Vec::new();
    let mut n_samples = 0;
    for _ in 0..RUNS {
        let budget = Budget::new(&options, &|| None);
        let start = cpu_time();
        let answer = if step == Millis::ZERO {
            query.instant(end, fleet, &budget)
        } else {
            query.range(UnixMillis(START + INTERVAL_MS), end, step, fleet, &budget)
        };
        times.push(cpu_time() - start);
        black_box(answer.unwrap());
        n_samples = budget.n_samples();
    }
    times.sort();
    (times, n_samples)
}

fn main() {
    let fleet = Fleet::new();
    let queries = [
        ("node_cpu_seconds_total{host=\"nobody\"}", 15_000),
        ("sum by (mode) (rate(node_cpu_seconds_total[5m]))", 15_000),
        ("sum by (mode) (rate(node_cpu_seconds_total[5m]))", 60_000),
        ("sum by (mode) (node_cpu_seconds_total)", 15_000),
        ("avg by (host) (node_cpu_seconds_total{host=~\"host-00.*\"})", 15_000),
        ("max by (host) (avg_over_time(node_cpu_seconds_total{mode=\"user\"}[1h]))", 15_000),
        (
            "rate(node_cpu_seconds_total{mode=\"user\"}[5m]) / ignoring(mode) rate(node_cpu_seconds_total{mode=\"system\"}[5m])",
            60_000,
        ),
        ("topk(10, node_cpu_seconds_total{cpu=\"0\",mode=\"user\"})", 0),
        ("quantile by (mode) (0.9, rate(node_cpu_seconds_total[5m]))", 60_000),
        ("node_cpu_seconds_total{host=\"host-0001\",cpu=\"0\",mode=\"user\"}", 1_000),
    ];
    println!("{:>9} {:>9} {:>9}  query", "min ms", "median", "samples");
    for (text, step_ms) in queries {
        let (times, n_samples) = measure(&fleet, text, Millis(step_ms));
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        println!("{:>9.2} {:>9.2} {n_samples:>9}  {text} step {}", ms(times[0]), ms(times[RUNS / 2]), Millis(step_ms));
    }
}
