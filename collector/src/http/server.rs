//! Connections: accepted by ourselves, counted, each with a deadline.
//!
//! A peer that says nothing is let go after [`HEADER_TIMEOUT`]; one connection over
//! [`CONNECTIONS_MAX`] waits in the backlog of the kernel, not in our memory; a
//! full table of file descriptors pauses accepting and never ends it.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics::{counter, gauge};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Connections that stand at the same time.
pub const CONNECTIONS_MAX: usize = 256;
/// From a connection's first moment, or its last answer, to a whole request head.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request's head.
pub const HEADER_MAX_BYTES: usize = 16 * 1024;
/// Lines of a request's head.
const HEADERS_MAX: usize = 64;
/// Bytes of a connection's buffer: the least that hyper takes holds a head as large as is allowed.
const BUFFER_MAX_BYTES: usize = 64 * 1024;
/// How long requests under way may take to end when the collector stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept (no descriptors left): long enough for one to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no listener.
#[derive(Debug, Error)]
pub enum BindError {
    /// Other machines could reach it, and nobody could tell who asks.
    #[error(
        "listen for HTTP on {0}: until operators have identities, HTTP listens on loopback only; use 127.0.0.1:{port} or [::1]:{port}, and a tunnel from afar",
        port = .0.port()
    )]
    NotLoopback(SocketAddr),
    /// The system refused.
    #[error("listen for HTTP on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Listens on a loopback address.
///
/// # Errors
/// [`BindError`].
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    if !address.ip().is_loopback() {
        return Err(BindError::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|source| BindError::Listen { address, source })
}

/// Serves until `stop` is ready, then lets requests under way end.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (stopping, stopped) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, slot)) => {
                tokio::spawn(connection(stream, slot, router.clone(), stopped.clone()));
            }
            Err(error) => {
                counter!("signalbox_http_accept_failed_total").increment(1);
                tracing::warn!(%error, "accept of an HTTP connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // Dropping the last sender or sending tells every connection; what still runs holds a slot.
    let _ = stopping.send(());
    let all = u32::try_from(CONNECTIONS_MAX).expect("a few hundred");
    if tokio::time::timeout(DRAIN_TIMEOUT, slots.acquire_many(all)).await.is_err() {
        tracing::warn!("HTTP requests were still under way at the end");
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Result<(TcpStream, OwnedSemaphorePermit), std::io::Error> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // An answer in two writes must not wait for the peer's delayed acknowledgement.
    stream.set_nodelay(true)?;
    Ok((stream, slot))
}

async fn connection(stream: TcpStream, slot: OwnedSemaphorePermit, router: Router, mut stopped: watch::Receiver<()>) {
    let standing = gauge!("signalbox_http_connections");
    standing.increment(1.0);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_header_size(HEADER_MAX_BYTES)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        _ = stopped.changed() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "HTTP connection broke off");
    }
    standing.decrement(1.0);
    drop(slot);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_loopback_is_listened_on_and_the_refusal_says_why() {
        for address in ["0.0.0.0:8420", "[::]:8420", "192.0.2.1:8420"] {
            let error = bind(address.parse().unwrap()).await.unwrap_err().to_string();
            assert!(error.contains("until operators have identities, HTTP listens on loopback only"), "{error}");
            assert!(error.contains("127.0.0.1:8420"), "{error}");
        }
    }
}
