//! Connections as honest, silent, slow and many peers make them, over real sockets.

use crate::http::server::{Doors, bind, bind_local, serve};
use crate::http::testing::{ask_as, door, json, root, settings};
use crate::http::{App, Limits, Peer, Settings};
use axum::Router;
use axum::extract::Extension;
use axum::routing::get;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;

/// Fails a test that would hang.
const PATIENCE: Duration = Duration::from_secs(20);
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

struct Rig {
    address: SocketAddr,
    socket: PathBuf,
    _folder: tempfile::TempDir,
    _stop: oneshot::Sender<()>,
}

/// Serves who asks, to whoever asks.
fn rig(limits: Limits, has_tls: bool) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("operator.sock");
    let tcp = bind("127.0.0.1:0".parse().unwrap(), has_tls).unwrap();
    let address = tcp.local_addr().unwrap();
    let router = Router::new().route("/", get(|Extension(peer): Extension<Peer>| async move { format!("{peer:?}") }));
    let tls = has_tls.then(|| settings().tls);
    let doors = Doors { tcp, tls, local: Some(bind_local(&socket, false).unwrap()), limits };
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(serve(doors, router, async move {
        let _dropped = stopped.await;
    }));
    Rig { address, socket, _folder: folder, _stop: stop }
}

/// Sends and reads to the end; empty when the peer hung up at once.
async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, words: &[u8]) -> String {
    let mut said = Vec::new();
    let work = async {
        // Hung up already: what it said, if anything, is still to be read.
        let _gone = stream.write_all(words).await;
        let _broken = stream.read_to_end(&mut said).await;
    };
    tokio::time::timeout(PATIENCE, work).await.unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

const LAST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn the_listener_says_who_is_at_the_other_end() {
    let rig = rig(Limits::default(), false);
    let over_tcp = talk(TcpStream::connect(rig.address).await.unwrap(), LAST).await;
    assert!(over_tcp.ends_with("Tcp { ip: 127.0.0.1, is_tls: false }"), "{over_tcp}");
    let local = talk(UnixStream::connect(&rig.socket).await.unwrap(), LAST).await;
    let uid = rustix::process::getuid().as_raw();
    assert!(local.contains(&format!("Local {{ uid: {uid}, user: \"")), "{local}");
}

fn connector() -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for root in settings().tls.authority().roots() {
        roots.add(root).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

#[tokio::test]
async fn inside_tls_the_certificate_names_the_collector_and_plain_words_are_not_answered() {
    // The certificates of the tests are of their own time.
    crate::tls::install_provider();
    let rig = rig(Limits::default(), true);
    let plain = talk(TcpStream::connect(rig.address).await.unwrap(), GET).await;
    assert!(!plain.contains("HTTP/1.1 200"), "{plain}");
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let shaken = connector().connect(ServerName::try_from("box.example.org").unwrap(), stream).await;
    match shaken {
        Ok(stream) => {
            let said = talk(stream, LAST).await;
            assert!(said.ends_with("Tcp { ip: 127.0.0.1, is_tls: true }"), "{said}");
        }
        // This machine's clock may stand outside of the certificate's days: it still names its issuer.
        Err(error) => {
            assert!(error.to_string().contains("not valid yet") || error.to_string().contains("expired"), "{error}")
        }
    }
}

#[tokio::test]
async fn a_peer_that_never_shakes_hands_is_let_go() {
    let rig = rig(Limits { handshake: Duration::from_millis(50), ..Limits::default() }, true);
    assert_eq!(talk(TcpStream::connect(rig.address).await.unwrap(), b"").await, "");
}

#[tokio::test]
async fn a_peer_that_sends_half_a_head_is_let_go() {
    let rig = rig(Limits { head: Duration::from_millis(50), ..Limits::default() }, false);
    let said = talk(TcpStream::connect(rig.address).await.unwrap(), b"GET / HTTP/1.1\r\nhost: lo").await;
    assert!(!said.contains("200 OK"), "{said}");
}

#[tokio::test]
async fn an_old_connection_is_closed_after_its_answer() {
    let rig = rig(Limits { age: Duration::from_millis(50), ..Limits::default() }, false);
    let said = talk(TcpStream::connect(rig.address).await.unwrap(), GET).await;
    assert!(said.contains("200 OK"), "{said}");
}

#[tokio::test]
async fn a_head_over_its_limits_is_refused_and_one_at_them_is_not() {
    let rig = rig(Limits::default(), false);
    let head = |n_lines: usize, n_bytes: usize| {
        let mut head = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n".to_owned();
        (0..n_lines).for_each(|n| head.push_str(&format!("x-{n}: y\r\n")));
        head.push_str(&format!("x-pad: {}\r\n\r\n", "z".repeat(n_bytes)));
        head.into_bytes()
    };
    for (n_lines, n_bytes, wanted) in [(61, 10, "200"), (62, 10, "431"), (0, 8_000, "200"), (0, 17_000, "431")] {
        let said = talk(TcpStream::connect(rig.address).await.unwrap(), &head(n_lines, n_bytes)).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {wanted}")), "{n_lines} {n_bytes}: {said}");
    }
}

#[tokio::test]
async fn strangers_cannot_keep_the_operator_on_this_host_out() {
    let rig = rig(Limits { connections: 1, ..Limits::default() }, false);
    let _held = TcpStream::connect(rig.address).await.unwrap();
    let waiting = talk(TcpStream::connect(rig.address).await.unwrap(), LAST);
    let mut waiting = std::pin::pin!(waiting);
    let local = talk(UnixStream::connect(&rig.socket).await.unwrap(), LAST);
    tokio::select! {
        biased;
        said = &mut waiting => panic!("a second connection was served: {said}"),
        said = local => assert!(said.contains("200 OK"), "{said}"),
    }
    drop(_held);
    assert!(waiting.await.contains("200 OK"), "its turn comes");
}

#[tokio::test]
async fn requests_over_the_limit_are_sent_away() {
    let normal = door();
    for (requests, wanted) in [(1, 200), (0, 503)] {
        let settings = Settings { limits: Limits { requests, ..Limits::default() }, ..settings() };
        let app = App::new(normal.handle.clone(), Arc::clone(&normal.notifiers), settings);
        let request = json("GET", "/api/signalbox/v1/status", "");
        let (response, body) = ask_as(&app, root(), request).await;
        assert_eq!(response.status(), wanted, "{body}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_that_was_set_is_refused_by_its_number() {
    let normal = door();
    let settings = Settings { limits: Limits { body_bytes: 1000, ..Limits::default() }, ..settings() };
    let app = App::new(normal.handle.clone(), Arc::clone(&normal.notifiers), settings);
    for (n, wanted) in [(1000, 200), (1001, 413)] {
        let body = format!("{}{{}}", " ".repeat(n - 2));
        let request = json("POST", "/api/signalbox/v1/incidents/17/ack", &body);
        let (response, body) = ask_as(&app, root(), request).await;
        assert_eq!(response.status(), wanted, "{body}");
        assert!(wanted == 200 || body.contains("limit of 1000 bytes"), "{body}");
    }
}
