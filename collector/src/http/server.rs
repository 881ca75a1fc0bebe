//! Connections: accepted by ourselves, counted, each with deadlines.
//!
//! ```text
//! TCP  -> place (cap, cap of its address) -> TLS handshake (deadline) -> HTTP/1.1
//! Unix -> place (cap of its own)          -> uid of the peer          -> HTTP/1.1
//! ```
//!
//! A peer that says nothing is let go after [`Limits::head`], one that takes nothing
//! after [`Limits::write`]; one connection over [`Limits::connections`] waits in the
//! backlog of the kernel, not in our memory; a full table of file descriptors pauses
//! accepting and never ends it. The Unix socket has places of its own: strangers on
//! TCP cannot keep the operator on this host out.

use crate::http::limits::Limits;
use crate::http::peer::{ACCOUNTS, Peer, account};
use crate::net::listen;
use crate::net::patient::{Patient, TooSlow};
use crate::net::tally::Tally;
use crate::tls::Tls;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use metrics::{counter, gauge};
use signalbox_access::address::host_of;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// Bytes of a request's head.
pub const HEADER_MAX_BYTES: usize = 16 * 1024;
/// Lines of a request's head.
const HEADERS_MAX: usize = 64;
/// Bytes of a connection's buffer: the least that hyper takes holds a head as large as is allowed.
const BUFFER_MAX_BYTES: usize = 64 * 1024;
/// Connections that stand at the same time on the Unix socket.
const LOCAL_MAX: usize = 64;
/// Connections that the kernel holds until we take them.
const BACKLOG: i32 = 1024;
/// A reader that takes nothing of an answer.
const TOO_SLOW: TooSlow = TooSlow { counter: "signalbox_http_slow_readers_total", words: "the reader takes nothing" };
/// How long requests under way may take to end when the collector stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept (no descriptors left): long enough for one to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no listener.
#[derive(Debug, Error)]
pub enum BindError {
    /// Other machines could reach it, and passwords would cross the network in the open.
    #[error(
        "listen for HTTP on {0}: without TLS, HTTP listens on loopback only; use 127.0.0.1:{port}, or switch TLS on for HTTP",
        port = .0.port()
    )]
    NotLoopback(SocketAddr),
    /// The system refused.
    #[error("listen for HTTP on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The Unix socket could not be made.
    #[error("listen for operators on {path}: {source}")]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What operators come in by.
pub struct Doors {
    /// Over TCP.
    pub tcp: TcpListener,
    /// TLS over TCP; none: plain, on loopback. Its certificate may change at any time.
    pub tls: Option<Arc<Tls>>,
    /// Over the Unix socket.
    pub local: Option<UnixListener>,
    /// Bounds of both.
    pub limits: Limits,
}

/// Listens on an address; without TLS it must be loopback.
///
/// # Errors
/// [`BindError`].
pub fn bind(address: SocketAddr, has_tls: bool) -> Result<TcpListener, BindError> {
    if !has_tls && !address.ip().is_loopback() {
        return Err(BindError::NotLoopback(address));
    }
    listen::tcp(address, BACKLOG).map_err(|source| BindError::Listen { address, source })
}

/// Listens on a Unix socket, in the place of one that nobody serves any more. Only
/// the collector's own account and root can open it, or every account if `is_shared`:
/// who may act is judged by the peer's user id in any case.
///
/// # Errors
/// [`BindError::Socket`].
pub fn bind_local(path: &Path, is_shared: bool) -> Result<UnixListener, BindError> {
    let mode = if is_shared { 0o666 } else { 0o600 };
    listen::local(path, mode).map_err(|source| BindError::Socket { path: path.to_owned(), source })
}

/// Serves until `stop` is ready, then lets requests under way end.
pub async fn serve(doors: Doors, router: Router, stop: impl Future<Output = ()>) {
    let Doors { tcp, tls, local, limits } = doors;
    let (places, locals) = (Arc::new(Semaphore::new(limits.connections)), Arc::new(Semaphore::new(LOCAL_MAX)));
    let (stopping, stopped) = watch::channel(());
    let counts = Arc::default();
    let secure = tls.map(|tls| Secure { config: tls.http_config(), tls });
    let line = Line { router, limits, stopped };
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = accept(tcp.accept(), &places) => match accepted {
                Ok(((stream, address), slot)) => over_tcp(&line, stream, address, slot, &counts, secure.as_ref()),
                Err(error) => pause(error).await,
            },
            accepted = accept(listen::accept_local(local.as_ref()), &locals) => match accepted {
                Ok((stream, slot)) => over_socket(&line, stream, slot),
                Err(error) => pause(error).await,
            },
        }
    }
    drop((tcp, local));
    // Dropping the last sender or sending tells every connection; what still runs holds a slot.
    let _ = stopping.send(());
    let all = |slots: Arc<Semaphore>, n: usize| async move {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        let _closed = slots.acquire_many(n).await.is_err();
    };
    let drained = async { tokio::join!(all(places, limits.connections), all(locals, LOCAL_MAX)) };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::warn!("HTTP requests were still under way at the end");
    }
}

async fn accept<T>(
    accepted: impl Future<Output = io::Result<T>>,
    slots: &Arc<Semaphore>,
) -> io::Result<(T, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    Ok((accepted.await?, slot))
}

async fn pause(error: io::Error) {
    counter!("signalbox_http_accept_failed_total").increment(1);
    tracing::warn!(%error, "accept of an HTTP connection failed");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

type Counts = Mutex<Tally<IpAddr>>;

/// A connection among those of its address.
struct Place {
    counts: Arc<Counts>,
    ip: IpAddr,
}

impl Place {
    fn take(counts: &Arc<Counts>, ip: IpAddr, max: usize) -> Option<Place> {
        let ip = host_of(ip);
        let mut held = counts.lock().unwrap_or_else(PoisonError::into_inner);
        if held.of(&ip) >= max && !ip.is_loopback() {
            return None;
        }
        held.take(ip);
        drop(held);
        Some(Place { counts: Arc::clone(counts), ip })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).give_back(&self.ip);
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Line {
    router: Router,
    limits: Limits,
    stopped: watch::Receiver<()>,
}

/// TLS of the listener.
struct Secure {
    config: Arc<ServerConfig>,
    tls: Arc<Tls>,
}

fn over_tcp(
    line: &Line,
    stream: TcpStream,
    address: SocketAddr,
    slot: OwnedSemaphorePermit,
    counts: &Arc<Counts>,
    secure: Option<&Secure>,
) {
    let ip = address.ip();
    let Some(place) = Place::take(counts, ip, line.limits.connections_per_address) else {
        counter!("signalbox_http_connections_refused_total").increment(1);
        return;
    };
    // An answer in two writes must not wait for the peer's delayed acknowledgement; a socket that cannot is slower.
    let _slower = stream.set_nodelay(true);
    let line = line.clone();
    let acceptor = secure.map(|secure| {
        // Whoever asked for this address of ours must find it in the certificate.
        if let Ok(own) = stream.local_addr() {
            secure.tls.note_address(own.ip());
        }
        TlsAcceptor::from(Arc::clone(&secure.config))
    });
    tokio::spawn(async move {
        let _held = (slot, place);
        let Some(acceptor) = acceptor else {
            return line.serve(stream, Peer::Tcp { ip, is_tls: false }).await;
        };
        match tokio::time::timeout(line.limits.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => line.serve(stream, Peer::Tcp { ip, is_tls: true }).await,
            Ok(Err(error)) => handshake_failed(ip, &error.to_string()),
            Err(_) => handshake_failed(ip, "it took too long"),
        }
    });
}

fn handshake_failed(ip: IpAddr, error: &str) {
    counter!("signalbox_http_handshakes_failed_total").increment(1);
    tracing::debug!(%ip, error, "TLS handshake of an HTTP connection failed");
}

fn over_socket(line: &Line, stream: UnixStream, slot: OwnedSemaphorePermit) {
    let uid = match stream.peer_cred() {
        Ok(credentials) => credentials.uid(),
        Err(error) => {
            tracing::warn!(%error, "the kernel does not say who connected to the operators' socket");
            return;
        }
    };
    let line = line.clone();
    tokio::spawn(async move {
        let _held = slot;
        let accounts = std::fs::read_to_string(ACCOUNTS).unwrap_or_default();
        let user = account(uid, &accounts);
        line.serve(stream, Peer::Local { uid, user }).await;
    });
}

impl Line {
    async fn serve(mut self, stream: impl AsyncRead + AsyncWrite + Unpin, peer: Peer) {
        let standing = gauge!("signalbox_http_connections");
        standing.increment(1.0);
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .max_header_size(HEADER_MAX_BYTES)
            .max_headers(HEADERS_MAX)
            .max_buf_size(BUFFER_MAX_BYTES)
            .serve_connection(
                TokioIo::new(Patient::new(stream, self.limits.write, TOO_SLOW)),
                Introduced { peer, inner: TowerToHyperService::new(self.router) },
            );
        let mut served = pin!(served);
        let ended = tokio::select! {
            ended = served.as_mut() => ended,
            () = stop_or_age(&mut self.stopped, self.limits.age) => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "HTTP connection broke off");
        }
        standing.decrement(1.0);
    }
}

async fn stop_or_age(stopped: &mut watch::Receiver<()>, age: Duration) {
    tokio::select! {
        _ = stopped.changed() => {}
        () = tokio::time::sleep(age) => {}
    }
}

/// The router, told with each request who is at the other end.
struct Introduced {
    peer: Peer,
    inner: TowerToHyperService<Router>,
}

impl Service<Request<Incoming>> for Introduced {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = TowerToHyperServiceFuture<Router, Request<Incoming>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer.clone());
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn without_tls_only_loopback_is_listened_on_and_the_refusal_says_why() {
        for address in ["0.0.0.0:8420", "[::]:8420", "192.0.2.1:8420"] {
            let error = bind(address.parse().unwrap(), false).unwrap_err().to_string();
            assert!(error.contains("without TLS, HTTP listens on loopback only"), "{error}");
            assert!(error.contains("127.0.0.1:8420"), "{error}");
        }
        assert!(bind("0.0.0.0:0".parse().unwrap(), true).is_ok());
    }

    #[test]
    fn places_are_capped_by_address_and_given_back() {
        let counts = Arc::default();
        let far: IpAddr = "192.0.2.1".parse().unwrap();
        let held: Vec<_> = (0..3).map(|_| Place::take(&counts, far, 3).unwrap()).collect();
        assert!(Place::take(&counts, far, 3).is_none());
        assert!(Place::take(&counts, "192.0.2.2".parse().unwrap(), 3).is_some());
        drop(held);
        assert!(Place::take(&counts, far, 3).is_some());
        let of_net = |host: &str| format!("2001:db8::{host}").parse().unwrap();
        let held: Vec<_> = (0..3).map(|n| Place::take(&counts, of_net(&n.to_string()), 3).unwrap()).collect();
        assert!(Place::take(&counts, of_net("9"), 3).is_none(), "a host has a whole /64");
        drop(held);
        let near: IpAddr = "127.0.0.1".parse().unwrap();
        let held: Vec<_> = (0..9).map(|_| Place::take(&counts, near, 3).unwrap()).collect();
        drop(held);
        assert!(counts.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_socket_is_taken_over_from_the_dead_and_not_from_the_living() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("operator.sock");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let first = bind_local(&path, false).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(bind_local(&path, false).unwrap_err().to_string().contains("another process serves it"));
        drop(first);
        let _second = bind_local(&path, true).unwrap();
        assert_eq!(mode(&path), 0o666);
    }
}
