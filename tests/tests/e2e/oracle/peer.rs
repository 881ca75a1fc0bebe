//! A real Prometheus with samples that are given to it by remote write.

use super::outcome::Outcome;
use super::samples::Series;
use anyhow::{Context, Result, ensure};
use e2e::client::{Client, percent};
use e2e::process::{Process, free_port, wait_for};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a start may take on a loaded machine.
const START_MAX: Duration = Duration::from_secs(40);
/// One request covers this much time of all series: a Prometheus takes nothing that
/// is an hour older than its newest sample.
const SLICE_MS: i64 = 600_000;

/// When a query is evaluated: seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
    Instant { at: i64 },
    Range { start: i64, end: i64, step: i64 },
}

/// A Prometheus; killed when dropped.
pub(crate) struct Peer {
    process: Process,
    client: Client,
}

/// The program, if it can be had.
pub(crate) fn program() -> Option<PathBuf> {
    let folder = std::env::var_os("SIGNALBOX_TEST_PROMETHEUS")?;
    Some(Path::new(&folder).join("prometheus")).filter(|program| program.exists())
}

impl Peer {
    /// Starts one in `folder` with these samples.
    pub(crate) fn start(program: &Path, folder: &Path, series: &[Series]) -> Result<Peer> {
        fs::write(folder.join("prometheus.yml"), "")?;
        let port = free_port()?;
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}/prometheus.yml", folder.display()));
        command.arg(format!("--storage.tsdb.path={}/tsdb", folder.display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.args(["--web.enable-remote-write-receiver", "--storage.tsdb.retention.time=100y", "--log.level=warn"]);
        let process = Process::start("prometheus", &mut command, &folder.join("prometheus.log"))?;
        let peer = Peer { process, client: Client::tcp(port) };
        wait_for("prometheus to be ready", START_MAX, || Ok(peer.client.is_ready().then_some(())))
            .with_context(|| peer.process.log_tail())?;
        peer.write(series)?;
        Ok(peer)
    }

    fn write(&self, series: &[Series]) -> Result<()> {
        let times = || series.iter().flat_map(|one| one.samples.iter().map(|(time, _)| *time));
        let (mut from, end) = (times().min().context("samples")?, times().max().context("samples")?);
        while from <= end {
            let body = snap::raw::Encoder::new().compress_vec(&write_request(series, from, from + SLICE_MS))?;
            let headers = [
                "content-type: application/x-protobuf",
                "content-encoding: snappy",
                "x-prometheus-remote-write-version: 0.1.0",
            ];
            let reply = self.client.send("POST", "/api/v1/write", &headers, &body)?;
            ensure!(reply.status == 204, "remote write: {} {}", reply.status, reply.body);
            from += SLICE_MS;
        }
        Ok(())
    }

    /// What it answers.
    pub(crate) fn ask(&self, query: &str, when: When) -> Result<Outcome> {
        let query = percent(query);
        let path = match when {
            When::Instant { at } => format!("/api/v1/query?query={query}&time={at}"),
            When::Range { start, end, step } => {
                format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}")
            }
        };
        let reply = self.client.send("GET", &path, &[], "")?;
        let answer = serde_json::from_str(&reply.body).with_context(|| format!("{path}: {}", reply.body))?;
        Outcome::theirs(&answer).with_context(|| format!("{path}: {}", reply.body))
    }
}

/// `prometheus.WriteRequest` with what lies in `[from, to)`:
/// `1: TimeSeries{1: Label{1: name, 2: value}, 2: Sample{1: double, 2: varint ms}}`.
fn write_request(series: &[Series], from: i64, to: i64) -> Vec<u8> {
    let mut request = Vec::new();
    for one in series {
        let mut message = Vec::new();
        for (name, value) in one.labels.iter() {
            let mut label = Vec::new();
            put_bytes(&mut label, 1, name.as_bytes());
            put_bytes(&mut label, 2, value.as_bytes());
            put_bytes(&mut message, 1, &label);
        }
        let mut any = false;
        for (time, value) in one.samples.iter().filter(|(time, _)| (from..to).contains(time)) {
            let mut sample = vec![1 << 3 | 1];
            sample.extend_from_slice(&value.to_le_bytes());
            sample.push(2 << 3);
            put_varint(&mut sample, *time as u64);
            put_bytes(&mut message, 2, &sample);
            any = true;
        }
        if any {
            put_bytes(&mut request, 1, &message);
        }
    }
    request
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
