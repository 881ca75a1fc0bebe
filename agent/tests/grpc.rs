//! The agent's binary against a small gRPC collector behind a Unix socket.
//!
//! Kept promise: what the agent samples arrives over real HTTP/2, is acknowledged,
//! and is sent again after the collector was away; SIGTERM ends in a goodbye.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a system test waits for real processes")]

use signalbox_proto::columns::Decoder;
use signalbox_proto::samples::{AgentEventKind, Batch};
use signalbox_proto::wire::v1;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};
use v1::ingest_service_server::{IngestService, IngestServiceServer};
use v1::stream_request::Message as FromAgent;
use v1::stream_response::Message as FromCollector;

/// No single wait of these tests is longer.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
struct Seen {
    batches: BTreeSet<(u64, u64)>,
    n_series: usize,
    hellos: Vec<v1::Hello>,
    n_goodbyes: usize,
    events: Vec<AgentEventKind>,
    /// Newest value of `signalbox_process_up`.
    up: Option<f64>,
    up_ref: Option<u32>,
    shapes: BTreeMap<u32, Vec<u32>>,
    decoder: Decoder,
}

impl Seen {
    fn read_up(&mut self, batch: &Batch) {
        for entry in &batch.series {
            if entry.labels.metric() == Some("signalbox_process_up") {
                self.up_ref = Some(entry.series_ref);
            }
        }
        self.shapes.extend(batch.shapes.iter().map(|shape| (shape.shape, shape.refs.clone())));
        let Seen { decoder, shapes, up_ref, up, .. } = self;
        let shape = |shape| shapes.get(&shape).map(Vec::as_slice);
        let visit = |tick: &signalbox_proto::columns::Tick<'_>, values: &signalbox_proto::columns::Values<'_>| {
            if let Some(up_ref) = up_ref.filter(|own| tick.refs.contains(own)) {
                *up = Some(values.get(up_ref));
            }
        };
        decoder.decode(batch.wall, batch.key, &batch.columns, shape, visit).unwrap();
    }
}

#[derive(Debug, Clone, Default)]
struct Collector(Arc<Mutex<Seen>>);

impl Collector {
    fn take(&self, message: FromAgent) -> Vec<FromCollector> {
        let mut seen = self.0.lock().unwrap();
        let mark = |seen: &Seen, epoch| {
            seen.batches.range((epoch, 0)..=(epoch, u64::MAX)).next_back().map_or(0, |&(_, seq)| seq)
        };
        let ack = |epoch, seq| FromCollector::Ack(v1::Ack { epoch, seq });
        match message {
            FromAgent::Hello(hello) => {
                let acks = hello.epochs.iter().map(|&epoch| ack(epoch, mark(&seen, epoch))).collect();
                seen.hellos.push(hello);
                acks
            }
            FromAgent::Batch(batch) => {
                let batch = Batch::try_from(batch).unwrap();
                seen.n_series += batch.series.len();
                seen.read_up(&batch);
                seen.events.extend(batch.events.into_iter().map(|event| event.kind));
                seen.batches.insert((batch.epoch, batch.seq));
                vec![ack(batch.epoch, batch.seq)]
            }
            FromAgent::Heartbeat(_) => Vec::new(),
            FromAgent::Goodbye(_) => {
                seen.n_goodbyes += 1;
                Vec::new()
            }
        }
    }

    /// Serves on a runtime of its own: dropping it ends all connections, as a crash does.
    fn serve(&self, socket: &Path) -> tokio::runtime::Runtime {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // A collector that died leaves its socket behind.
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let collector = self.clone();
        runtime.spawn(async move {
            let incoming = UnixListenerStream::new(tokio::net::UnixListener::from_std(listener).unwrap());
            let server = tonic::transport::Server::builder().add_service(IngestServiceServer::new(collector));
            server.serve_with_incoming(incoming).await.unwrap();
        });
        runtime
    }

    fn wait_for(&self, what: &str, reached: impl Fn(&Seen) -> bool) {
        let start = Instant::now();
        while !reached(&self.0.lock().unwrap()) {
            assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[tonic::async_trait]
impl IngestService for Collector {
    type StreamStream = ReceiverStream<Result<v1::StreamResponse, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let mut inbound = request.into_inner();
        let (answers, outbound) = mpsc::channel(64);
        let collector = self.clone();
        tokio::spawn(async move {
            while let Ok(Some(request)) = inbound.message().await {
                for message in request.message.map(|message| collector.take(message)).unwrap_or_default() {
                    if answers.send(Ok(v1::StreamResponse { message: Some(message) })).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(outbound)))
    }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("agent.sock")
}

struct Agent(Child);

impl Agent {
    fn start(dir: &Path, more: &str) -> Agent {
        let config = dir.join("agent.yaml");
        std::fs::write(&config, format!("interval: 200ms\nlabels: {{region: test}}\n{more}")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_signalbox-agent"))
            .args(["--agent-id", "web1", "--collector", &format!("unix:{}", socket(dir).display())])
            .arg("--config")
            .arg(&config)
            .arg("--data-dir")
            .arg(dir.join("data"))
            .spawn()
            .unwrap();
        Agent(child)
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_whole(seen: &Seen) -> bool {
    let epochs: BTreeSet<u64> = seen.batches.iter().map(|id| id.0).collect();
    epochs.into_iter().all(|epoch| {
        let seqs: Vec<u64> = seen.batches.range((epoch, 0)..=(epoch, u64::MAX)).map(|id| id.1).collect();
        seqs == (1..=u64::try_from(seqs.len()).unwrap()).collect::<Vec<_>>()
    })
}

#[test]
fn batches_arrive_survive_an_outage_and_end_in_a_goodbye() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::default();
    let first = collector.serve(&socket(dir.path()));
    let mut agent = Agent::start(dir.path(), "");
    collector.wait_for("ten batches", |seen| seen.batches.len() >= 10);
    {
        let seen = collector.0.lock().unwrap();
        assert!(seen.n_series > 100, "{} series", seen.n_series);
        assert_eq!(seen.hellos[0].agent_id, "web1");
        assert_eq!(seen.hellos[0].labels[0].value, "test");
        assert!(!seen.hellos[0].checks.is_empty());
    }

    first.shutdown_background();
    let n_before = collector.0.lock().unwrap().batches.len();
    std::thread::sleep(Duration::from_secs(1));
    let _second = collector.serve(&socket(dir.path()));
    collector.wait_for("a second stream", |seen| seen.hellos.len() >= 2);
    collector.wait_for("batches after the outage", |seen| seen.batches.len() >= n_before + 20);
    assert!(is_whole(&collector.0.lock().unwrap()), "no batch may be missing");

    agent.signal(rustix::process::Signal::TERM);
    collector.wait_for("the goodbye", |seen| seen.n_goodbyes == 1);
    assert!(agent.0.wait().unwrap().success());
}

#[test]
fn the_death_of_a_watched_process_arrives_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::default();
    let _serving = collector.serve(&socket(dir.path()));
    let mut victim = Command::new("sleep").arg("600").spawn().unwrap();
    let pid_file = dir.path().join("victim.pid");
    std::fs::write(&pid_file, victim.id().to_string()).unwrap();
    let watch =
        format!("processes:\n  - {{name: victim, match: {{pid_file: {}}}, interval: 1h}}\n", pid_file.display());
    let _agent = Agent::start(dir.path(), &watch);
    collector.wait_for("the watch", |seen| seen.up == Some(1.0));
    let killed = Instant::now();
    victim.kill().unwrap();
    victim.wait().unwrap();
    collector.wait_for("the death", |seen| seen.up == Some(0.0));
    let took = killed.elapsed();
    println!("the death was known after {took:?}");
    assert!(took < Duration::from_secs(1), "took {took:?}");
}

#[test]
fn what_a_killed_agent_kept_is_sent_by_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(dir.path(), "");
    std::thread::sleep(Duration::from_secs(2));
    agent.0.kill().unwrap();
    agent.0.wait().unwrap();

    let collector = Collector::default();
    let _serving = collector.serve(&socket(dir.path()));
    let _next = Agent::start(dir.path(), "");
    let epochs = |seen: &Seen| seen.batches.iter().map(|id| id.0).collect::<BTreeSet<u64>>();
    collector.wait_for("both epochs", |seen| epochs(seen).len() == 2 && seen.batches.len() >= 15);
    let seen = collector.0.lock().unwrap();
    assert!(is_whole(&seen));
    let first = *epochs(&seen).first().unwrap();
    let n_first = seen.batches.range((first, 0)..=(first, u64::MAX)).count();
    assert!(n_first >= 7, "{n_first} batches of the killed agent");
}

#[test]
fn a_second_agent_on_one_folder_is_refused_and_a_bad_reload_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::default();
    let _serving = collector.serve(&socket(dir.path()));
    let agent = Agent::start(dir.path(), "");
    collector.wait_for("a batch", |seen| !seen.batches.is_empty());
    let mut second = Agent::start(dir.path(), "");
    assert_eq!(second.0.wait().unwrap().code(), Some(1));

    std::fs::write(dir.path().join("agent.yaml"), "interval: 5\n").unwrap();
    agent.signal(rustix::process::Signal::HUP);
    collector.wait_for("the refusal", |seen| {
        seen.events.iter().any(|event| {
            matches!(event, AgentEventKind::ConfigReloaded { error: Some(error) } if error.contains("agent.yaml:1:11:"))
        })
    });
    std::fs::write(dir.path().join("agent.yaml"), "interval: 300ms\n").unwrap();
    agent.signal(rustix::process::Signal::HUP);
    collector.wait_for("the reload", |seen| seen.events.contains(&AgentEventKind::ConfigReloaded { error: None }));
    collector.wait_for("a new Hello", |seen| seen.hellos.iter().any(|hello| hello.checks[0].interval_ms == 300));
}

#[test]
fn exit_codes_tell_usage_from_configuration() {
    let run = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_signalbox-agent")).args(args).output().unwrap();
        (out.status.code().unwrap(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    assert_eq!(run(&["version"]).0, 0);
    assert_eq!(run(&["--nonsense"]).0, 64);
    assert_eq!(run(&["--collector", "http://10.0.0.1:1"]).0, 64);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.yaml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "interval: 1s\n").unwrap();
    assert_eq!(run(&["check-config", path]).0, 0);
    std::fs::write(&file, "interval: 1\n").unwrap();
    let (code, text) = run(&["check-config", path]);
    assert_eq!(code, 78);
    assert!(text.contains("agent.yaml:1:11:"), "{text}");
}
