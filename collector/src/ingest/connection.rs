//! An accepted connection: its bytes, its place, and what ends it.
//!
//! It ends by an error of reading or writing, which HTTP/2 above passes on, when
//! there was no call in time, when it must make room, when it is too old, and when
//! the other end takes nothing for too long.

use super::limits::Limits;
use super::peer::Peer;
use super::places::{Member, Stranger};
use crate::net::patient::{Patient, TooSlow};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tonic::transport::server::Connected;

/// A connection that is too old is closed this long after its streams were told to
/// end.
const AGE_GRACE: Duration = Duration::from_secs(30);

/// The bytes: over TLS, or over the Unix socket.
pub(super) type Transport = Either<Box<TlsStream<TcpStream>>, UnixStream>;

/// An agent that takes nothing of what it is told.
const TOO_SLOW: TooSlow = TooSlow { counter: "signalbox_streams_slow_total", words: "the agent takes nothing" };

/// The place.
pub(super) enum Place {
    Stranger(Stranger),
    Member { _place: Member },
    Local { _place: OwnedSemaphorePermit },
}

/// A connection for HTTP/2.
pub struct Connection {
    transport: Patient<Transport>,
    place: Place,
    peer: Peer,
    first_call: Option<Pin<Box<Sleep>>>,
    /// First: its streams are told to end. Then: it is closed.
    age: Pin<Box<Sleep>>,
}

fn ended(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

impl Connection {
    pub(super) fn new(transport: Transport, place: Place, peer: Peer, limits: &Limits) -> Connection {
        // Connections that were made together do not end together.
        let share = crate::tls::random::<1>().map_or(0, |[byte]| u32::from(byte));
        let age = limits.age + limits.age / 10 * share / 256;
        Connection {
            transport: Patient::new(transport, limits.slow_reader, TOO_SLOW),
            place,
            peer,
            first_call: Some(Box::pin(tokio::time::sleep(limits.first_call))),
            age: Box::pin(tokio::time::sleep(age)),
        }
    }

    /// What time and others have decided meanwhile.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Place::Stranger(stranger) = &mut self.place
            && Pin::new(&mut stranger.go).poll(cx).is_ready()
        {
            return Err(ended("it made room for another"));
        }
        if !self.peer.is_silent() {
            self.first_call = None;
        }
        if let Some(deadline) = &mut self.first_call
            && deadline.as_mut().poll(cx).is_ready()
        {
            metrics::counter!("signalbox_connections_silent_total").increment(1);
            return Err(ended("no call within the deadline"));
        }
        while self.age.as_mut().poll(cx).is_ready() {
            if self.peer.is_old() {
                return Err(ended("it is too old"));
            }
            self.peer.grow_old();
            metrics::counter!("signalbox_connections_aged_total").increment(1);
            self.age.set(tokio::time::sleep(AGE_GRACE));
        }
        Ok(())
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;
    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Err(error) = self.check(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.transport).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }
}
