//! The questions that dashboards ask, put to every server in the same words.

use super::http::{Answer, Api};
use super::server::Server;
use crate::cost::Usage;
use crate::data::Dataset;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use signalbox_proto::clock::SystemClock;
use std::time::Duration;

/// Answers that are not counted.
const WARM_UP: usize = 10;
/// Answers that are counted, if time allows.
const RUNS: usize = 1000;
/// And at least.
const RUNS_MIN: usize = 20;
/// One question is asked for so long.
const ASK_MAX: Duration = Duration::from_secs(5);

/// One question.
pub(crate) struct Question {
    pub(crate) name: &'static str,
    /// What the project promises, in words.
    pub(crate) goal: &'static str,
    target: String,
}

/// What asking it again and again showed.
pub(crate) struct Timing {
    /// From the request to the last byte of the answer, sorted, milliseconds.
    sorted_ms: Vec<f64>,
    /// Of the server, for one answer, milliseconds.
    pub(crate) cpu_ms: f64,
    /// Series in the answer, and values of all of them.
    pub(crate) n_series: usize,
    pub(crate) n_values: usize,
}

impl Timing {
    /// The least time within which this share of the answers came.
    pub(crate) fn within(&self, share: f64) -> f64 {
        let n = self.sorted_ms.len();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let rank = ((n as f64 * share).ceil() as usize).clamp(1, n);
        self.sorted_ms[rank - 1]
    }
}

/// All of them, over the whole time of a data set.
pub(crate) fn all(data: &Dataset) -> Vec<Question> {
    let (end, secs) = (data.end().0 / 1000, data.secs());
    let start = end - i64::try_from(secs).unwrap_or(0);
    let one = format!("{{host=\"{}\"}}", Dataset::host(12));
    let memory = format!("node_memory_MemAvailable_bytes{one}");
    let modes = "sum by (mode) (rate(node_cpu_seconds_total[5m]))";
    // Past the cache of VictoriaMetrics; the others take no notice.
    let no_cache = || ("nocache", "1".to_owned());
    let now = |name, goal, query: String| {
        let parameters = [("query", query), ("time", end.to_string()), no_cache()];
        Question { name, goal, target: Api::target("/api/v1/query", &parameters) }
    };
    let range = |name, goal, query: &str, step: u32| {
        let times = [("start", start), ("end", end)].map(|(key, s)| (key, s.to_string()));
        let [start, end] = times;
        let parameters = [("query", query.to_owned()), start, end, ("step", step.to_string()), no_cache()];
        Question { name, goal, target: Api::target("/api/v1/query_range", &parameters) }
    };
    let values = |name, goal, label: &str| {
        let parameters = [("start", start.to_string()), ("end", end.to_string())];
        Question { name, goal, target: Api::target(&format!("/api/v1/label/{label}/values"), &parameters) }
    };
    let single = "CPU: the better peer; p99: 0.1 ms more";
    vec![
        now("latest value, one series", single, format!("node_load1{one}")),
        range("range at 15 s, one series", single, &memory, 15),
        range("range at 1 s, one series", single, &memory, 1),
        range("avg by host, 100 hosts", "0.5 x VictoriaMetrics", "avg by (host) (node_load1{host=~\"h00..\"})", 15),
        range("sum by mode of rate, all hosts", "0.33 x VictoriaMetrics", modes, 15),
        range("sum by mode of rate at 60 s", "0.33 x VictoriaMetrics", modes, 60),
        now("average over time, one series", single, format!("avg_over_time({memory}[{secs}s])")),
        now("latest value, all hosts", "", "node_load1".to_owned()),
        now("topk of all hosts", "", "topk(10, node_load1)".to_owned()),
        values("values of label host", "1 x Prometheus", "host"),
        values("values of label __name__", "1 x Prometheus", "__name__"),
    ]
}

/// Asks one question on one connection.
pub(crate) fn ask(server: &Server, question: &Question) -> Result<Timing> {
    let mut api = server.api()?;
    let clock = SystemClock::start();
    let mut answered = || -> Result<(Answer, Duration)> {
        let asked = clock.elapsed();
        let answer = api.send("GET", &question.target)?;
        let text = || String::from_utf8_lossy(&answer.body).chars().take(300).collect::<String>();
        ensure!(answer.status == 200, "{}: {} {}", question.name, answer.status, text());
        Ok((answer, clock.elapsed() - asked))
    };
    let mut last = answered()?.0;
    for _ in 1..WARM_UP {
        last = answered()?.0;
    }
    let (before, began) = (server.usage()?, clock.elapsed());
    let mut sorted_ms = Vec::with_capacity(RUNS);
    while sorted_ms.len() < RUNS && (sorted_ms.len() < RUNS_MIN || clock.elapsed() - began < ASK_MAX) {
        sorted_ms.push(answered()?.1.as_secs_f64() * 1000.0);
    }
    let Usage { cpu_s, .. } = server.usage()?;
    #[allow(clippy::cast_precision_loss)]
    let cpu_ms = (cpu_s - before.cpu_s) * 1000.0 / sorted_ms.len() as f64;
    sorted_ms.sort_by(f64::total_cmp);
    let (n_series, n_values) = size(&last).with_context(|| question.name)?;
    Ok(Timing { sorted_ms, cpu_ms, n_series, n_values })
}

/// Series and values of an answer: servers that say the same say as much.
fn size(answer: &Answer) -> Result<(usize, usize)> {
    let answer: Value = serde_json::from_slice(&answer.body).context("an answer in JSON")?;
    if let Some(names) = answer["data"].as_array() {
        return Ok((0, names.len()));
    }
    let series = answer["data"]["result"].as_array().context("a result")?;
    let values = |one: &Value| one["values"].as_array().map_or(1, Vec::len);
    Ok((series.len(), series.iter().map(values).sum()))
}
