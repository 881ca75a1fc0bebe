//! What a ping writes about a good way, and about each kind of bad one.

use super::*;
use crate::identity::Folder;
use crate::net::testing::{DAY, FakeCollector, NOW};
use signalbox_proto::clock::ManualClock;
use std::path::Path;

fn joined(collector: &FakeCollector, dir: &Path) {
    let folder = Folder::of(dir);
    let key = folder.next_key().unwrap();
    folder.install(&key, &collector.ca.agent(&key, "web-1", NOW, NOW + DAY.times(7)), &collector.ca.pem()).unwrap();
}

/// What a ping of this agent writes, and whether all was well.
async fn ping(endpoint: &str, dir: &Path, clock: Arc<ManualClock>, idle: Option<Millis>) -> (bool, String) {
    let file = dir.join("agent.yaml");
    std::fs::write(&file, format!("data_dir: {}\ncollector: {endpoint}\n", dir.display())).unwrap();
    let config = config::load(Some(&file), &Overrides::default()).unwrap();
    let clock: Arc<dyn Clock> = clock;
    let mut out = Vec::new();
    let good = test(&PingArgs { idle, ..PingArgs::default() }, &config, &clock, &mut out).await;
    (good, String::from_utf8(out).unwrap())
}

fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[tokio::test]
async fn a_good_way_is_shown_step_by_step() {
    let (collector, dir) = (FakeCollector::new(), tempfile::tempdir().unwrap());
    joined(&collector, dir.path());
    let endpoint = format!("https://{}", collector.listen().await);
    let (good, text) = ping(&endpoint, dir.path(), collector.clock.clone(), Some(Millis(10))).await;
    let pin = collector.ca.pin().to_string();
    let parts = [
        "identity web-1 of installation 6f96",
        "dns      127.0.0.1 is 127.0.0.1",
        "tcp      127.0.0.1:",
        "tls      TLSv1_3, TLS13_",
        "certificate for 127.0.0.1, until 2025-12-24 16:00 UTC",
        &pin,
        "call     answered as web-1",
        "clock    this host is ",
        "round    10 calls: ",
        "large    65536 bytes in both directions",
        "idle     alive after 10ms of silence",
    ];
    holds(&text, &parts);
    assert!(good, "{text}");
}

#[tokio::test]
async fn a_host_that_has_not_joined_sees_the_certificate_and_nothing_else() {
    let (collector, dir) = (FakeCollector::new(), tempfile::tempdir().unwrap());
    let endpoint = format!("https://{}", collector.listen().await);
    let (good, text) = ping(&endpoint, dir.path(), collector.clock.clone(), None).await;
    holds(&text, &["identity none", &collector.ca.pin().to_string(), "call     answered  "]);
    assert!(good && !text.contains("6f96"), "{text}");
}

#[tokio::test]
async fn a_unix_socket_is_tested_too() {
    let (collector, dir) = (FakeCollector::new(), tempfile::tempdir().unwrap());
    let path = dir.path().join("agent.sock");
    collector.listen_unix(&path);
    let (good, text) = ping(&format!("unix:{}", path.display()), dir.path(), collector.clock.clone(), None).await;
    holds(&text, &["socket   unix:", "takes the connection", "round    10 calls"]);
    assert!(good, "{text}");
}

#[tokio::test]
async fn a_clock_far_off_fails_and_one_a_little_off_is_told() {
    let (collector, dir) = (FakeCollector::new(), tempfile::tempdir().unwrap());
    joined(&collector, dir.path());
    let endpoint = format!("https://{}", collector.listen().await);
    let off = |by: Millis| Arc::new(ManualClock::at(NOW + by));
    let (good, text) = ping(&endpoint, dir.path(), off(Millis::from_secs(30)), None).await;
    holds(&text, &["this host is 30s", "ahead of the collector; set it"]);
    assert!(good, "{text}");
    let (good, text) = ping(&endpoint, dir.path(), off(Millis::from_mins(11)), None).await;
    holds(&text, &["clock    FAILED", "this host is 11m", "ahead of"]);
    assert!(!good, "{text}");
}

#[tokio::test]
async fn a_stall_of_large_packets_is_named_with_both_sizes() {
    let (collector, dir) = (FakeCollector::new(), tempfile::tempdir().unwrap());
    joined(&collector, dir.path());
    collector.state().ping_max = Some(5000);
    let endpoint = format!("https://{}", collector.listen().await);
    let (good, text) = ping(&endpoint, dir.path(), collector.clock.clone(), None).await;
    holds(&text, &["large    FAILED", "4096 bytes pass", "16384 bytes stall", "MTU"]);
    assert!(!good, "{text}");
}

#[tokio::test]
async fn a_foreign_certificate_is_shown_and_refused() {
    let (collector, dir) = (FakeCollector::new(), tempfile::tempdir().unwrap());
    joined(&collector, dir.path());
    let other = crate::identity::testing::Authority::new("Firewall Inc", NOW);
    let endpoint = format!("https://{}", collector.listen_with(collector.tls(&other, &["127.0.0.1"])).await);
    let (good, text) = ping(&endpoint, dir.path(), collector.clock.clone(), None).await;
    holds(&text, &["CA CN=Firewall Inc, key ", "tls      FAILED", "a device between the two opens TLS"]);
    assert!(!good, "{text}");
}

#[tokio::test]
async fn a_certificate_that_is_not_taken_is_told_at_the_call() {
    let (collector, dir) = (FakeCollector::new(), tempfile::tempdir().unwrap());
    let other = FakeCollector::new();
    joined(&other, dir.path());
    let folder = Folder::of(dir.path());
    let key = folder.next_key().unwrap();
    folder.install(&key, &other.ca.agent(&key, "web-1", NOW, NOW + DAY), &collector.ca.pem()).unwrap();
    let endpoint = format!("https://{}", collector.listen().await);
    let (good, text) = ping(&endpoint, dir.path(), collector.clock.clone(), None).await;
    holds(&text, &["call     FAILED", "refused this agent's certificate (", "of another installation"]);
    assert!(!good, "{text}");
}

/// TLS like a collector's, and then a proxy that answers everything itself.
#[tokio::test]
async fn a_proxys_answer_is_named_with_its_status() {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let (collector, dir) = (FakeCollector::new(), tempfile::tempdir().unwrap());
    joined(&collector, dir.path());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let acceptor = tokio_rustls::TlsAcceptor::from(collector.tls(&collector.ca, &["127.0.0.1"]));
    tokio::spawn(async move {
        let tls = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        let service = hyper::service::service_fn(|_| async {
            let answer = tonic::codegen::http::Response::builder().status(502).header("server", "squid/6.1");
            answer.body(tonic::body::Body::empty())
        });
        let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = http2.serve_connection(TokioIo::new(tls), service).await;
    });
    let (good, text) = ping(&endpoint, dir.path(), collector.clock.clone(), None).await;
    holds(&text, &["call     FAILED", "HTTP 502 Bad Gateway from \"squid/6.1\"", "proxy"]);
    assert!(!good, "{text}");
}

/// A collector behind a device that forgets the connection while it is quiet.
#[tokio::test]
async fn a_cut_after_silence_is_named() {
    let (collector, dir) = (FakeCollector::new(), tempfile::tempdir().unwrap());
    joined(&collector, dir.path());
    let behind = collector.listen().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = tokio::net::TcpStream::connect(behind).await.unwrap();
        let (mut up, mut down) = ([0; 16_384], [0; 16_384]);
        let (mut near_read, mut near_write) = near.split();
        let (mut far_read, mut far_write) = far.split();
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        loop {
            tokio::select! {
                Ok(n) = near_read.read(&mut up) => far_write.write_all(&up[..n]).await.unwrap(),
                Ok(n) = far_read.read(&mut down) => near_write.write_all(&down[..n]).await.unwrap(),
                () = tokio::time::sleep(Millis(1000).std()) => return,
            }
        }
    });
    let (good, text) = ping(&endpoint, dir.path(), collector.clock.clone(), Some(Millis(1500))).await;
    holds(&text, &["large    65536", "idle     FAILED", "cut after 1s500ms of silence"]);
    assert!(!good, "{text}");
}
