//! Connections, accepted with caps and deadlines.
//!
//! tonic's own loop has a backlog of 128 and keeps silent peers for ever. Here: a
//! backlog of 4096, a cap on all connections and on those of one address (loopback
//! is exempt), and a deadline until the first call. Only loopback addresses are
//! listened on: agents have no identity yet.

use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Sleep;
use tonic::transport::server::Connected;

/// Connections that the kernel holds until we take them.
const BACKLOG: i32 = 4096;
/// Connections at a time.
pub const CONNECTIONS_MAX: usize = 4096;
/// Connections of one address that is not loopback.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 64;
/// A connection must make its first call within this.
pub const FIRST_CALL: Duration = Duration::from_secs(30);
/// Accepted connections that tonic has not taken.
const WAITING_MAX: usize = 64;
/// After an error of accept (no descriptors left): wait, then go on.
const RETRY: Duration = Duration::from_millis(100);

/// Why no listener stands.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The address can be reached from other hosts.
    #[error("listen on {0}: only loopback addresses are allowed, because agents and operators have no identities yet")]
    NotLoopback(SocketAddr),
    /// The system refused.
    #[error("listen on {address}: {why}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        why: io::Error,
    },
}

/// Listens on a loopback address.
///
/// # Errors
/// [`ListenError`].
pub fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    if !address.ip().is_loopback() {
        return Err(ListenError::NotLoopback(address));
    }
    let bind = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    bind().map_err(|why| ListenError::Refused { address, why })
}

/// Connections by address.
#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One place among [`CONNECTIONS_MAX`].
#[derive(Debug)]
struct Place {
    counts: Arc<Mutex<Counts>>,
    address: IpAddr,
}

impl Place {
    fn take(counts: &Arc<Mutex<Counts>>, address: IpAddr) -> Option<Place> {
        let mut held = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let n_own = held.by_address.get(&address).copied().unwrap_or(0);
        let is_over = !address.is_loopback() && n_own >= CONNECTIONS_PER_ADDRESS_MAX;
        if held.all >= CONNECTIONS_MAX || is_over {
            return None;
        }
        held.all += 1;
        held.by_address.insert(address, n_own + 1);
        drop(held);
        Some(Place { counts: Arc::clone(counts), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        held.all -= 1;
        if let Some(n_own) = held.by_address.get_mut(&self.address) {
            *n_own -= 1;
            if *n_own == 0 {
                held.by_address.remove(&self.address);
            }
        }
    }
}

/// What a call can learn about its connection.
#[derive(Debug, Clone)]
pub struct Peer {
    called: Arc<AtomicBool>,
}

impl Peer {
    /// The connection made a call: its deadline is met.
    pub fn has_called(&self) {
        self.called.store(true, Ordering::Release);
    }
}

/// A connection with its place and its deadline.
pub struct Accepted {
    stream: TcpStream,
    _place: Place,
    called: Arc<AtomicBool>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Connected for Accepted {
    type ConnectInfo = Peer;
    fn connect_info(&self) -> Peer {
        Peer { called: Arc::clone(&self.called) }
    }
}

impl AsyncRead for Accepted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.called.load(Ordering::Acquire) {
            self.deadline = None;
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            self.deadline = None;
            if !self.called.load(Ordering::Acquire) {
                metrics::counter!("signalbox_connections_silent_total").increment(1);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no call within the deadline")));
            }
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Accepts until `stopping` turns true.
pub fn run(listener: TcpListener, mut stopping: watch::Receiver<bool>) -> mpsc::Receiver<Accepted> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let counts = Arc::new(Mutex::new(Counts::default()));
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopping.wait_for(|stop| *stop) => return,
            };
            let connection = match accepted {
                Ok((stream, address)) => admit(stream, address.ip(), &counts),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(RETRY).await;
                    None
                }
            };
            if let Some(connection) = connection
                && sender.send(connection).await.is_err()
            {
                return;
            }
        }
    });
    receiver
}

fn admit(stream: TcpStream, address: IpAddr, counts: &Arc<Mutex<Counts>>) -> Option<Accepted> {
    let Some(place) = Place::take(counts, address) else {
        metrics::counter!("signalbox_connections_refused_total").increment(1);
        return None;
    };
    // Acknowledgements are small and wanted at once; a socket that cannot do it still works.
    let _slower = stream.set_nodelay(true);
    let deadline = Some(Box::pin(tokio::time::sleep(FIRST_CALL)));
    Some(Accepted { stream, _place: place, called: Arc::new(AtomicBool::new(false)), deadline })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_listened_on_and_the_error_says_why() {
        let error = listen("0.0.0.0:0".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("0.0.0.0:0: only loopback addresses") && error.contains("no identities"), "{error}");
    }

    #[test]
    fn places_are_capped_by_address_and_given_back() {
        let counts = Arc::default();
        let far: IpAddr = "192.0.2.1".parse().unwrap();
        let mut places: Vec<_> = (0..CONNECTIONS_PER_ADDRESS_MAX).map(|_| Place::take(&counts, far).unwrap()).collect();
        assert!(Place::take(&counts, far).is_none());
        assert!(Place::take(&counts, "192.0.2.2".parse().unwrap()).is_some());
        places.pop();
        assert!(Place::take(&counts, far).is_some());
        drop(places);
        let near: IpAddr = "127.0.0.1".parse().unwrap();
        let all: Vec<_> = (0..CONNECTIONS_MAX).map(|_| Place::take(&counts, near).unwrap()).collect();
        assert!(Place::take(&counts, near).is_none());
        drop(all);
        assert_eq!(counts.lock().unwrap().all, 0);
        assert!(counts.lock().unwrap().by_address.is_empty());
    }
}
