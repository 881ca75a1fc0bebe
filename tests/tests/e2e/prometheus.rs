//! Prometheus's own programs as clients: a Prometheus that writes to the collector, and
//! whoever asks the collector as it would ask a Prometheus.

use crate::common::{Line, PATIENCE, block_on, now, speaker};
use anyhow::{Context, Result, bail, ensure};
use e2e::client::{Client, Reply, percent};
use e2e::people::api_token;
use e2e::process::{Collector, Process, free_port, wait_for};
use serde_json::Value;
use signalbox_proto::units::Millis;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Samples that both must have, so that both can be asked about the same span.
const SPAN_SECS: i64 = 20;

/// A program of Debian's package, unpacked by tests/run.sh.
fn program(name: &str) -> Result<PathBuf> {
    let folder =
        std::env::var_os("SIGNALBOX_TEST_PROMETHEUS").context("SIGNALBOX_TEST_PROMETHEUS: run tests/run.sh")?;
    Ok(Path::new(&folder).join(name))
}

/// A TCP port behind which the operators' socket is: promtool knows no token.
fn forwarded(collector: &Collector) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (port, socket) = (listener.local_addr()?.port(), collector.folder.join("data/operator.sock"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(unix) = UnixStream::connect(&socket) else { continue };
            let _ended = forward(stream, unix);
        }
    });
    Ok(port)
}

fn forward(tcp: TcpStream, unix: UnixStream) -> io::Result<()> {
    let (mut from_tcp, mut to_tcp) = (tcp.try_clone()?, tcp);
    let (mut from_unix, mut to_unix) = (unix.try_clone()?, unix);
    std::thread::spawn(move || io::copy(&mut from_tcp, &mut to_unix));
    std::thread::spawn(move || io::copy(&mut from_unix, &mut to_tcp));
    Ok(())
}

/// A Prometheus that samples itself by the second and writes to the collector.
struct Peer {
    _process: Process,
    port: u16,
}

impl Peer {
    fn start(folder: &Path, collector: &Collector) -> Result<Peer> {
        let wanted = serde_json::json!({ "name": "peer", "permissions": ["write_samples"], "ttl": "1h" });
        let token = api_token(collector, &wanted)?.secret;
        let port = free_port()?;
        let config = format!(
            "global: {{scrape_interval: 1s, external_labels: {{dc: east}}}}\n\
             scrape_configs: [{{job_name: self, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n\
             remote_write:\n  - url: 'http://127.0.0.1:{}/api/v1/write?interval=1s'\n    authorization: {{credentials: '{token}'}}\n    queue_config: {{batch_send_deadline: 1s}}\n",
            collector.http
        );
        fs::write(folder.join("prometheus.yml"), config)?;
        let mut command = Command::new(program("prometheus")?);
        command.arg(format!("--config.file={}/prometheus.yml", folder.display()));
        command.arg(format!("--storage.tsdb.path={}/tsdb", folder.display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = Process::start("prometheus", &mut command, &folder.join("prometheus.log"))?;
        Ok(Peer { _process: process, port })
    }

    fn client(&self) -> Client {
        Client::tcp(self.port)
    }
}

fn ask(client: &Client, path: &str) -> Result<Value> {
    let Reply { status, body, .. } = client.send("GET", path, &[], "")?;
    ensure!(status == 200, "{path}: {status} {body}");
    Ok(serde_json::from_str::<Value>(&body)?["data"].clone())
}

/// Values by labels, the one label aside that only leaves the house.
fn by_labels(data: &Value) -> Result<BTreeMap<String, Value>> {
    let all = data["result"].as_array().context("a list of series")?;
    let one = |series: &Value| {
        let mut labels = series["metric"].as_object().cloned().unwrap_or_default();
        labels.remove("dc");
        let value = if series["values"].is_null() { &series["value"] } else { &series["values"] };
        (Value::from(labels).to_string(), value.clone())
    };
    Ok(all.iter().map(one).collect())
}

/// Equal in what text says: instants and values.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (Value::Number(ours), Value::Number(theirs)) => ours.as_f64() == theirs.as_f64(),
        (Value::String(ours), Value::String(theirs)) => {
            let number = |text: &str| text.parse::<f64>().ok();
            match (number(ours), number(theirs)) {
                (Some(ours), Some(theirs)) => {
                    ours == theirs || (ours - theirs).abs() <= 1e-9 * ours.abs().max(theirs.abs())
                }
                _ => ours == theirs,
            }
        }
        _ => ours == theirs,
    }
}

const QUERIES: &[&str] = &[
    "up",
    "prometheus_build_info",
    "count({job=\"self\"})",
    "sum by (handler) (prometheus_http_requests_total)",
    "go_goroutines + on (instance, job) group_left prometheus_build_info * 0",
    "max_over_time(go_goroutines[7500ms])",
    "topk(3, {__name__=~\"go_memstats_.*_bytes\"})",
    "histogram_quantile(0.9, sum by (le) (prometheus_http_request_duration_seconds_bucket))",
];

#[test]
fn what_a_prometheus_writes_is_answered_as_it_answers_itself() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(&folder.path().join("collector"), &[])?;
    let peer = Peer::start(folder.path(), &collector)?;
    let (ours, theirs) = (collector.client(), peer.client());
    let n_samples = |client: &Client| -> Result<Option<i64>> {
        let path = format!("/api/v1/query?query={}", percent("count_over_time(up[5m])"));
        let Ok(data) = ask(client, &path) else { return Ok(None) };
        Ok(data["result"][0]["value"][1].as_str().and_then(|text| text.parse().ok()))
    };
    wait_for("samples of a while", PATIENCE, || Ok(n_samples(&ours)?.filter(|n| *n > SPAN_SECS + 5)))?;
    // What is older than this has been written.
    let end = now().0 / 1000 - 4;
    let start = end - SPAN_SECS / 2;
    for query in QUERIES {
        for path in [
            format!("/api/v1/query?query={}&time={end}", percent(query)),
            format!("/api/v1/query_range?query={}&start={start}&end={end}&step=3", percent(query)),
        ] {
            let (own, wanted) = (by_labels(&ask(&ours, &path)?)?, by_labels(&ask(&theirs, &path)?)?);
            ensure!(!wanted.is_empty(), "{query} means nothing");
            ensure!(own.keys().eq(wanted.keys()), "{path}: {:?} and {:?}", own.keys(), wanted.keys());
            for (labels, wanted) in &wanted {
                ensure!(same(&own[labels], wanted), "{path} {labels}: {} and {wanted}", own[labels]);
            }
        }
    }
    let agents: Vec<Value> = ours.get("/agents")?;
    let source = agents.iter().find(|agent| agent["id"] == "peer").context("the source is on the board")?;
    ensure!(source["state"] == "up" && source["labels"]["kind"] == "remote", "{source}");
    Ok(())
}

/// Runs promtool and gives what it printed.
fn promtool(words: &[&str]) -> Result<String> {
    let out = Command::new(program("promtool")?).args(words).output().context("run promtool")?;
    let (out, errors, ok) =
        (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr), out.status.success());
    if !ok {
        bail!("promtool {words:?}: {out}{errors}");
    }
    Ok(out.into_owned())
}

#[test]
fn promtool_asks_the_collector_as_it_asks_a_prometheus() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(folder.path(), &[])?;
    let begun = now().shifted(-60_000);
    block_on(async {
        let mut line = Line::open(&collector.endpoint(), speaker("web1", 1, 2, 1000)?, begun, Millis(1000)).await?;
        line.send(30, &[7.0, 0.5]).await
    })?;
    let url = format!("http://127.0.0.1:{}", forwarded(&collector)?);
    let at = (begun.0 / 1000 + 29).to_string();
    let (start, end) = (format!("--start={}", begun.0 / 1000 + 10), format!("--end={at}"));
    let instant = promtool(&["query", "instant", &format!("--time={at}"), &url, "sum(e2e_value)"])?;
    ensure!(instant.contains("{} => 7.5 @"), "{instant}");
    let range = promtool(&["query", "range", &start, &end, "--step=5s", &url, "e2e_value{i=\"0\"} * 2"])?;
    ensure!(range.matches("14 @[").count() == 4, "{range}");
    let series = promtool(&["query", "series", "--match=e2e_value", &url])?;
    ensure!(series.lines().count() == 2 && series.contains("host=\"web1\""), "{series}");
    let labels = promtool(&["query", "labels", &url, "i"])?;
    ensure!(labels.lines().eq(["0", "1"]), "{labels}");
    Ok(())
}

/// What Grafana's data source asks, in its words: health, exploring, a panel, a variable.
#[test]
fn the_calls_of_grafana_are_answered() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(folder.path(), &[])?;
    let begun = now().shifted(-60_000);
    block_on(async {
        let mut line = Line::open(&collector.endpoint(), speaker("web1", 1, 1, 1000)?, begun, Millis(1000)).await?;
        line.send(60, &[7.0]).await
    })?;
    let wanted = serde_json::json!({ "name": "grafana", "permissions": ["read_history", "read_status"], "ttl": "1h" });
    let client = collector.stranger().with_token(&api_token(&collector, &wanted)?.secret);
    let (start, end) = (begun.0 / 1000, begun.0 / 1000 + 60);
    let form = |path: &str, body: String| -> Result<Value> {
        let headers = ["content-type: application/x-www-form-urlencoded"];
        let reply = client.send("POST", path, &headers, &body)?;
        ensure!(reply.status == 200, "{path}: {} {}", reply.status, reply.body);
        Ok(serde_json::from_str::<Value>(&reply.body)?["data"].clone())
    };
    let health = form("/api/v1/query", format!("query=1%2B1&time={end}"))?;
    ensure!(health["result"][1] == "2", "{health}");
    let info = ask(&client, "/api/v1/status/buildinfo")?;
    ensure!(info["version"].is_string() && info["features"].is_null(), "{info}");
    let panel = format!("query=rate(e2e_value%5B30s%5D)&start={start}&end={end}&step=15");
    let panel = form("/api/v1/query_range", panel)?;
    ensure!(panel["resultType"] == "matrix" && !panel["result"][0]["values"].is_null(), "{panel}");
    let matching = format!("match%5B%5D=e2e_value&start={start}&end={end}");
    ensure!(form("/api/v1/series", matching.clone())?[0]["host"] == "web1", "series");
    ensure!(form("/api/v1/labels", matching.clone())?.to_string().contains("\"host\""), "labels");
    let hosts = ask(&client, &format!("/api/v1/label/host/values?{matching}"))?;
    ensure!(hosts == serde_json::json!(["web1"]), "{hosts}");
    for path in [
        "/api/v1/metadata?limit=10",
        "/api/v1/metadata?metric=e2e_value",
        "/api/v1/rules",
        "/api/v1/alerts",
        "/api/v1/status/tsdb",
        "/api/v1/query_exemplars?query=e2e_value&start=0&end=1",
        "/api/v1/format_query?query=up",
    ] {
        ask(&client, path)?;
    }
    let refused = client.send("GET", "/api/v1/query?query=sum(", &[], "")?;
    let error: Value = serde_json::from_str(&refused.body)?;
    ensure!((refused.status, &error["errorType"]) == (400, &Value::from("bad_data")), "{}", refused.body);
    Ok(())
}
