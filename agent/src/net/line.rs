//! A stream socket that can wait quietly for what it is told.
//!
//! A wake-up costs an idle agent as much as ten of its reads: caches are cold and a
//! processor has to leave its sleep. A collector acknowledges each batch some
//! milliseconds after it, and until the next look nothing depends on it. So the agent
//! rings a [`Bell`] at its next deadline, and what has come is read with the wake-up
//! that there is anyway:
//!
//! ```text
//! attentive   bytes wake, the end wakes       at first; and when its owner waits for words
//! patient     a ring wakes, the end wakes     when they may wait, and little was sent
//! ```
//!
//! The socket stands in an epoll instance of its own, which the runtime watches: so
//! events that nobody waits for stay in the kernel. Room for writing is one of them:
//! each read at the other end of a Unix socket makes some, and the runtime's own
//! sockets are woken by it.

use crate::wake::watch;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown};
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that may be sent between two rings before the line listens again: half of the
/// smallest window that HTTP/2 opens with, so that no sender waits for a window update
/// that lies unread.
const QUIET_BYTES: usize = 32 * 1024;

/// The agent's hand on a [`Line`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Bell(Arc<Mutex<Rope>>);

#[derive(Debug, Default)]
struct Rope {
    is_patient: bool,
    is_rung: bool,
    waiting: Option<Waker>,
}

impl Bell {
    fn rope(&self) -> MutexGuard<'_, Rope> {
        // What a panic may leave behind is still a waker and two flags.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a patient connection read what has come. True when there is one: it does so
    /// when the caller yields.
    pub(crate) fn ring_if_patient(&self) -> bool {
        let mut rope = self.rope();
        if rope.is_patient {
            rope.ring();
        }
        rope.is_patient
    }

    /// Whether bytes that come wait for a ring.
    pub(crate) fn set_patient(&self, is_patient: bool) {
        let mut rope = self.rope();
        if std::mem::replace(&mut rope.is_patient, is_patient) && !is_patient {
            // It must look: it does not listen yet.
            rope.ring();
        }
    }
}

impl Rope {
    fn ring(&mut self) {
        self.is_rung = true;
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }
}

/// See the module's page. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Line {
    socket: OwnedFd,
    gate: AsyncFd<OwnedFd>,
    /// What the gate lets through now.
    listens: EventFlags,
    bell: Bell,
    /// There was nothing to read after the last ring or event.
    is_empty: bool,
    /// There was no room to write.
    is_choked: bool,
    /// Bytes written since the last ring.
    n_written: usize,
}

impl Line {
    /// Over a connected socket that does not block. Must be called inside the runtime.
    ///
    /// # Errors
    /// When the kernel gives no epoll instance.
    pub(crate) fn new(socket: OwnedFd, bell: Bell) -> io::Result<Line> {
        let gate = epoll::create(CreateFlags::CLOEXEC)?;
        let listens = EventFlags::IN | EventFlags::RDHUP;
        epoll::add(&gate, &socket, EventData::new_u64(0), listens)?;
        let gate = watch(gate)?;
        Ok(Line { socket, gate, listens, bell, is_empty: false, is_choked: false, n_written: 0 })
    }

    /// Asks the kernel for the events that matter now; the end of a connection always does.
    fn listen(&mut self) -> io::Result<()> {
        let is_quiet = self.bell.rope().is_patient && self.n_written <= QUIET_BYTES;
        let mut listens = EventFlags::RDHUP;
        listens.set(EventFlags::IN, !is_quiet);
        listens.set(EventFlags::OUT, self.is_choked);
        if listens != self.listens {
            epoll::modify(self.gate.get_ref(), &self.socket, EventData::new_u64(0), listens)?;
            self.listens = listens;
        }
        Ok(())
    }

    /// Waits for an event, whichever it is.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The waker stands before the kernel is asked: no event falls between the two.
        let event = self.gate.poll_read_ready(cx).map_ok(|mut event| event.clear_ready());
        if event.is_pending() {
            self.listen()?;
        }
        ready!(event)?;
        self.is_empty = false;
        Poll::Ready(Ok(()))
    }

    fn poll_ring(&mut self, cx: &mut Context<'_>) {
        let mut rope = self.bell.rope();
        if std::mem::take(&mut rope.is_rung) {
            (self.is_empty, self.n_written) = (false, 0);
        }
        if !rope.waiting.as_ref().is_some_and(|waiting| waiting.will_wake(cx.waker())) {
            rope.waiting = Some(cx.waker().clone());
        }
    }

    fn poll_write_by(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(&OwnedFd) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match write(&self.socket) {
                Ok(n) => {
                    self.n_written = self.n_written.saturating_add(n);
                    if self.is_choked || self.n_written > QUIET_BYTES {
                        self.is_choked = false;
                        self.listen()?;
                    }
                    return Poll::Ready(Ok(n));
                }
                Err(Errno::AGAIN) => {
                    self.is_choked = true;
                    ready!(self.poll_event(cx))?;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            self.poll_ring(cx);
            if self.is_empty {
                ready!(self.poll_event(cx))?;
            }
            match rustix::net::recv(&self.socket, buf.initialize_unfilled(), RecvFlags::empty()) {
                Ok((n, _)) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::AGAIN) => self.is_empty = true,
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_by(cx, |socket| rustix::io::write(socket, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_by(cx, |socket| rustix::io::writev(socket, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing is held back here.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(rustix::net::shutdown(&self.socket, Shutdown::Write).map_err(Into::into))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// A line, its bell, and the other side.
    fn line() -> (Line, Bell, UnixStream) {
        let (own, other) = UnixStream::pair().unwrap();
        own.set_nonblocking(true).unwrap();
        let bell = Bell::default();
        (Line::new(own.into(), bell.clone()).unwrap(), bell, other)
    }

    /// What a read gives when the runtime has handled all events that there are.
    async fn read_now(line: &mut Line) -> Option<Vec<u8>> {
        let mut bytes = [0; 64];
        let mut read = std::pin::pin!(line.read(&mut bytes));
        let mut n = None;
        for _ in 0..8 {
            let polled = std::future::poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx))).await;
            if let Poll::Ready(read) = polled {
                n = Some(read.unwrap());
                break;
            }
            tokio::task::yield_now().await;
        }
        n.map(|n| bytes[..n].to_vec())
    }

    #[tokio::test]
    async fn an_attentive_line_hears_at_once() {
        let (mut line, _bell, mut other) = line();
        assert_eq!(read_now(&mut line).await, None);
        other.write_all(b"ack").unwrap();
        assert_eq!(read_now(&mut line).await, Some(b"ack".to_vec()));
        assert_eq!(read_now(&mut line).await, None);
    }

    #[tokio::test]
    async fn a_patient_line_hears_when_it_is_rung() {
        let (mut line, bell, mut other) = line();
        bell.set_patient(true);
        assert_eq!(read_now(&mut line).await, None);
        other.write_all(b"ack").unwrap();
        assert_eq!(read_now(&mut line).await, None, "bytes alone do not wake");
        assert!(bell.ring_if_patient());
        assert_eq!(read_now(&mut line).await, Some(b"ack".to_vec()));
    }

    #[tokio::test]
    async fn a_line_whose_patience_ends_hears_what_came_before() {
        let (mut line, bell, mut other) = line();
        bell.set_patient(true);
        assert_eq!(read_now(&mut line).await, None);
        other.write_all(b"1").unwrap();
        bell.set_patient(false);
        assert_eq!(read_now(&mut line).await, Some(b"1".to_vec()));
        assert_eq!(read_now(&mut line).await, None);
        other.write_all(b"2").unwrap();
        assert_eq!(read_now(&mut line).await, Some(b"2".to_vec()));
    }

    #[tokio::test]
    async fn a_patient_line_hears_the_end_at_once() {
        let (mut line, bell, mut other) = line();
        bell.set_patient(true);
        assert_eq!(read_now(&mut line).await, None);
        other.write_all(b"last").unwrap();
        drop(other);
        assert_eq!(read_now(&mut line).await, Some(b"last".to_vec()));
        assert_eq!(read_now(&mut line).await, Some(Vec::new()), "the end");
    }

    #[tokio::test]
    async fn a_patient_line_that_says_much_listens() {
        let (mut line, bell, mut other) = line();
        bell.set_patient(true);
        assert_eq!(read_now(&mut line).await, None);
        line.write_all(&[0; QUIET_BYTES]).await.unwrap();
        other.write_all(b"window").unwrap();
        assert_eq!(read_now(&mut line).await, None);
        line.write_all(&[0]).await.unwrap();
        assert_eq!(read_now(&mut line).await, Some(b"window".to_vec()));
    }

    #[tokio::test]
    async fn a_writer_without_room_waits_for_it() {
        let (mut line, _bell, mut other) = line();
        let many = vec![7; 4 << 20];
        let n_many = many.len();
        let reader = std::thread::spawn(move || {
            let mut came = vec![0; n_many];
            other.read_exact(&mut came).map(|()| came.iter().all(|byte| *byte == 7)).unwrap()
        });
        line.write_all(&many).await.unwrap();
        assert!(reader.join().unwrap());
    }
}
