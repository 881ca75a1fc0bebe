//! HTTP/2 over a connection that stands, as the service that gRPC calls go through.

use super::fault::{self, Fault};
use super::line::Bell;
use crate::config::Endpoint;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use signalbox_proto::units::Millis;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response, StatusCode, Uri, header};

/// Time between two HTTP/2 pings of a stream that stays, and the longest wait for an
/// answer.
const KEEPALIVE: Millis = Millis(10_000);
/// The end of a connection says why a call on it failed; it comes this soon after.
const END_WAIT: Millis = Millis(200);
/// Reads for the reason of a write that failed.
const LAST_READS_MAX: usize = 16;
/// Headers of an answer, bytes.
const HEADERS_MAX_BYTES: u32 = 16 * 1024;

/// How long a connection will be used.
#[derive(Debug)]
pub(crate) enum Pace {
    /// For a stream that stays: dead ways are found by pings. The bell is its owner's.
    Stream(Bell),
    /// For a call or two.
    Calls,
}

impl Pace {
    /// That of the line; one that nobody holds lets the line be attentive.
    pub(crate) fn bell(&self) -> Bell {
        match self {
            Pace::Stream(bell) => bell.clone(),
            Pace::Calls => Bell::default(),
        }
    }
}

/// Why a call was not answered.
#[derive(Debug, Error)]
pub(crate) enum CallError {
    /// The answer is HTTP, but not a collector's.
    #[error("HTTP {status}{server} in place of gRPC; a proxy between the two answers for the collector")]
    Answer {
        /// Its status.
        status: StatusCode,
        /// Who says to have sent it.
        server: String,
    },
    /// The connection ended; this is why.
    #[error(transparent)]
    Ended(Arc<Fault>),
    /// The call was broken off.
    #[error("send the call")]
    Http2(#[source] hyper::Error),
}

type End = watch::Receiver<Option<Arc<Fault>>>;

/// A connection. It ends when its last clone and the last call are gone.
#[derive(Debug, Clone)]
pub(crate) struct Http2 {
    send: SendRequest<Body>,
    end: End,
    origin: Uri,
}

impl Http2 {
    /// For the `:scheme` and `:authority` of calls.
    pub(crate) fn origin(&self) -> Uri {
        self.origin.clone()
    }

    /// Why the connection has ended, if it has or does so at once.
    pub(crate) async fn ended(&self) -> Option<Arc<Fault>> {
        ended(self.end.clone()).await
    }
}

async fn ended(mut end: End) -> Option<Arc<Fault>> {
    let told = timeout(END_WAIT.std(), end.wait_for(Option::is_some)).await;
    told.ok().and_then(Result::ok).and_then(|fault| fault.clone())
}

/// Begins HTTP/2.
///
/// # Errors
/// [`Fault::Http2`] when the preface cannot be sent.
pub(crate) async fn speak<T>(io: T, endpoint: &Endpoint, pace: &Pace) -> Result<Http2, Fault>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).max_header_list_size(HEADERS_MAX_BYTES);
    if matches!(pace, Pace::Stream(_)) {
        builder.keep_alive_interval(KEEPALIVE.std()).keep_alive_timeout(KEEPALIVE.std()).keep_alive_while_idle(true);
    }
    let alert = Arc::new(OnceLock::new());
    let noted = Noted { io, alert: alert.clone(), failed: None };
    let fault = move |error| alert.get().map_or_else(|| Fault::Http2(error), |alert| Fault::Refused(*alert));
    let (send, connection) = builder.handshake(TokioIo::new(noted)).await.map_err(&fault)?;
    let (tell, end) = watch::channel(None);
    tokio::spawn(async move {
        let ended = connection.await.err().map(|error| Arc::new(fault(error)));
        // Nobody listens any more: then nobody needs to know.
        let _ = tell.send(ended);
    });
    let origin = match endpoint {
        Endpoint::Tls { .. } => endpoint.to_string().parse().unwrap_or_else(|_| Uri::from_static("https://collector")),
        Endpoint::Unix(_) => Uri::from_static("http://localhost"),
    };
    Ok(Http2 { send, end, origin })
}

impl Service<Request<Body>> for Http2 {
    type Response = Response<Incoming>;
    type Error = CallError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, CallError>> + Send>>;

    /// Always ready: a connection that has ended answers the call with the reason.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.send.send_request(request);
        let end = self.end.clone();
        Box::pin(async move {
            match answer.await {
                Ok(response) if response.status() == StatusCode::OK => Ok(response),
                Ok(response) => Err(strange(&response)),
                Err(error) => match ended(end).await {
                    Some(fault) => Err(CallError::Ended(fault)),
                    None => Err(CallError::Http2(error)),
                },
            }
        })
    }
}

/// A connection that notes why TLS ended it: with TLS 1.3 a collector judges our
/// certificate after the handshake, and HTTP/2 keeps no more of that than a sentence.
struct Noted<T> {
    io: T,
    alert: Arc<OnceLock<rustls::AlertDescription>>,
    /// A write has failed, and the other side has not been read to its end.
    failed: Option<io::Error>,
}

impl<T: AsyncRead + Unpin> Noted<T> {
    fn note(&self, error: &io::Error) {
        if let Some(alert) = fault::refusal(error) {
            // Only the first one counts.
            let _ = self.alert.set(alert);
        }
    }

    /// A collector that has refused us and closed makes a write fail before its alert
    /// is read. The failure is told when all that it said has been read.
    fn read_reason_first<R>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        let Poll::Ready(Err(error)) = wrote else { return wrote };
        let mut scratch = [0; 512];
        for _ in 0..LAST_READS_MAX {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(Ok(())) => break,
                Poll::Ready(Err(reason)) => {
                    self.note(&reason);
                    break;
                }
                // The runtime does not know yet that the socket has closed; it wakes us then.
                Poll::Pending => {
                    self.failed = Some(error);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Err(error))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Noted<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if let Poll::Ready(Err(error)) = &read {
            self.note(error);
        }
        read
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Noted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = match self.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.io).poll_write(cx, buf),
        };
        self.read_reason_first(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = match self.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.io).poll_write_vectored(cx, bufs),
        };
        self.read_reason_first(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match self.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.io).poll_flush(cx),
        };
        self.read_reason_first(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

fn strange(response: &Response<Incoming>) -> CallError {
    let named = response.headers().get(header::SERVER).and_then(|server| server.to_str().ok());
    let shown = |name: &str| format!(" from {:?}", name.chars().take(64).collect::<String>());
    CallError::Answer { status: response.status(), server: named.map(shown).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::AlertDescription;
    use tokio::io::AsyncWriteExt as _;

    /// The other side sent some bytes, an alert, and closed.
    struct Closed {
        n_reads: usize,
    }

    impl AsyncRead for Closed {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            self.n_reads += 1;
            if self.n_reads == 1 {
                // As a runtime that has not heard of it yet.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.n_reads < 4 {
                buf.put_slice(b"settings");
                return Poll::Ready(Ok(()));
            }
            let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRevoked);
            Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, alert)))
        }
    }

    impl AsyncWrite for Closed {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_refusal_is_known_even_when_the_write_fails_first() {
        let alert = Arc::new(OnceLock::new());
        let mut noted = Noted { io: Closed { n_reads: 0 }, alert: alert.clone(), failed: None };
        let error = noted.write_all(b"preface").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "the error itself stays");
        assert_eq!(alert.get(), Some(&AlertDescription::CertificateRevoked));
    }
}
