//! An accepted connection: its bytes, its place, and what ends it.
//!
//! It ends by an error of reading or writing, which HTTP/2 above passes on, when
//! there was no call in time, when it must make room, when it is too old, and when
//! the other end takes nothing for too long.

use super::limits::Limits;
use super::peer::Peer;
use super::places::{Member, Stranger};
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
use tonic::transport::server::Connected;

/// A connection that is too old is closed this long after its streams were told to
/// end.
const AGE_GRACE: Duration = Duration::from_secs(30);

/// The bytes.
pub(super) enum Transport {
    Tls(Box<TlsStream<TcpStream>>),
    Local(UnixStream),
}

/// The place.
pub(super) enum Place {
    Stranger(Stranger),
    Member { _place: Member },
    Local { _place: OwnedSemaphorePermit },
}

/// A connection for HTTP/2.
pub struct Connection {
    transport: Transport,
    place: Place,
    peer: Peer,
    first_call: Option<Pin<Box<Sleep>>>,
    /// First: its streams are told to end. Then: it is closed.
    age: Pin<Box<Sleep>>,
    slow_reader: Duration,
    /// Stands while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
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
            transport,
            place,
            peer,
            first_call: Some(Box::pin(tokio::time::sleep(limits.first_call))),
            age: Box::pin(tokio::time::sleep(age)),
            slow_reader: limits.slow_reader,
            waiting: None,
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

    /// Lets `done` through, or breaks off when it has been pending for too long.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.waiting = None;
            return done;
        }
        let patience = self.slow_reader;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        if waiting.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        metrics::counter!("signalbox_streams_slow_total").increment(1);
        Poll::Ready(Err(ended("the agent takes nothing")))
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
        match &mut self.transport {
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Local(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let done = match &mut self.transport {
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Local(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        self.bounded(cx, done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = match &mut self.transport {
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Local(stream) => Pin::new(stream).poll_flush(cx),
        };
        self.bounded(cx, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = match &mut self.transport {
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Local(stream) => Pin::new(stream).poll_shutdown(cx),
        };
        self.bounded(cx, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = match &mut self.transport {
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Transport::Local(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        self.bounded(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Tls(stream) => stream.is_write_vectored(),
            Transport::Local(stream) => stream.is_write_vectored(),
        }
    }
}
