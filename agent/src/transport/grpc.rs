//! The stream over gRPC (HTTP/2). One task per stream, on the agent's only thread.

use super::{Ended, Incoming, Link, Remote, Transport, link};
use crate::check::Instant;
use crate::config::Endpoint;
use crate::identity::{Credentials, Identity};
use crate::net::{self, Bell, CallError, Fault, Http2, Pace, Trust};
use crate::renewal::{self, RenewError, Renewal};
use crate::sampler::chain;
use crate::wire::{self, Frame, FromCollector};
use signalbox_proto::clock::Clock;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status, client};

/// The largest message a collector may send: its set is closed and small.
const RESPONSE_MAX_BYTES: usize = 64 * 1024;

/// Dials collectors: over TLS with the identity that is on disk, or a Unix socket.
pub(crate) struct GrpcTransport {
    way: Way,
    renewal: Renewal,
    /// A renewal that is on its way.
    renewing: Option<oneshot::Receiver<Result<Arc<Identity>, RenewError>>>,
    /// The identity of the last stream that was asked for.
    told: Option<String>,
}

/// What every connection needs.
#[derive(Clone)]
struct Way {
    credentials: Arc<Credentials>,
    clock: Arc<dyn Clock>,
}

impl GrpcTransport {
    /// For the agent whose data lies in `data_dir`.
    pub(crate) fn new(data_dir: &Path, clock: Arc<dyn Clock>) -> GrpcTransport {
        let way = Way { credentials: Arc::new(Credentials::of(data_dir)), clock };
        GrpcTransport { way, renewal: Renewal::default(), renewing: None, told: None }
    }

    /// Takes the end of a renewal. True when there is another identity.
    fn take_renewed(&mut self, at: Instant) -> bool {
        let Some(renewing) = &mut self.renewing else { return false };
        let ended = match renewing.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => return false,
            Err(oneshot::error::TryRecvError::Closed) => None,
            Ok(ended) => Some(ended),
        };
        self.renewing = None;
        match ended {
            Some(Ok(identity)) => {
                let until = crate::identity::certificate::utc(identity.not_after);
                tracing::info!(until, key = %identity.fingerprint, "certificate renewed");
                self.renewal.watch(&identity);
                true
            }
            failed => {
                let why = failed.and_then(Result::err).map_or("it was broken off".to_owned(), |error| chain(&error));
                let again = self.renewal.put_off(at.mono);
                if self.told.as_ref() != Some(&why) {
                    tracing::warn!(why, %again, "certificate not renewed");
                }
                self.told = Some(why);
                false
            }
        }
    }
}

impl Transport for GrpcTransport {
    fn dial(&mut self, endpoint: &Endpoint, hello: Frame) -> Link {
        let (link, remote) = link(hello);
        tokio::spawn(run(endpoint.clone(), self.way.clone(), remote));
        link
    }

    fn tend(&mut self, endpoint: &Endpoint, at: Instant) -> bool {
        if matches!(endpoint, Endpoint::Unix(_)) {
            return false;
        }
        if self.renewing.is_some() {
            return self.take_renewed(at);
        }
        if !self.renewal.is_due(at.wall, at.mono) {
            return false;
        }
        let (tell, renewing) = oneshot::channel();
        let (endpoint, Way { credentials, clock }) = (endpoint.clone(), self.way.clone());
        tokio::spawn(async move {
            // The agent may be gone; then nobody needs to know.
            let _ = tell.send(renewal::renew(&credentials, &endpoint, &clock).await);
        });
        self.renewing = Some(renewing);
        false
    }

    fn opened(&mut self) {
        if let Ok(identity) = self.way.credentials.current() {
            self.renewal.watch(&identity);
        }
    }
}

async fn run(endpoint: Endpoint, way: Way, remote: Remote) {
    let Remote { frames, incoming, bell } = remote;
    let ended = tokio::select! {
        ended = stream(&endpoint, &way, frames, &incoming, bell) => ended,
        () = incoming.closed() => return,
    };
    let ended = match ended {
        Ok(()) => Ended::Lost("the collector ended the stream".to_owned()),
        Err(error) if is_invalid(error.as_ref()) => Ended::Invalid(chain(error.as_ref())),
        Err(error) => Ended::Lost(chain(error.as_ref())),
    };
    // The agent may be gone; then nobody needs to know.
    let _ = incoming.send(Incoming::Closed(ended)).await;
}

type Failure = Box<dyn Error + Send + Sync>;

/// The connection for a stream. A certificate whose time is over is renewed first:
/// a collector takes it for nothing else.
async fn connect(endpoint: &Endpoint, way: &Way, bell: Bell) -> Result<Http2, Failure> {
    let pace = Pace::Stream(bell);
    if matches!(endpoint, Endpoint::Unix(_)) {
        return Ok(net::connect(endpoint, Trust::Roots(Vec::new()), None, &way.clock, pace).await?);
    }
    let mut identity = way.credentials.current().map_err(Fault::Identity)?;
    if identity.not_after <= way.clock.wall() {
        identity = renewal::renew(&way.credentials, endpoint, &way.clock).await?;
    }
    let trust = Trust::Roots(identity.roots.clone());
    Ok(net::connect(endpoint, trust, Some(&identity), &way.clock, pace).await?)
}

async fn stream(
    endpoint: &Endpoint,
    way: &Way,
    frames: tokio::sync::mpsc::Receiver<Frame>,
    incoming: &tokio::sync::mpsc::Sender<Incoming>,
    bell: Bell,
) -> Result<(), Failure> {
    let http2 = connect(endpoint, way, bell).await?;
    let mut grpc =
        client::Grpc::with_origin(http2.clone(), http2.origin()).max_decoding_message_size(RESPONSE_MAX_BYTES);
    let path = PathAndQuery::from_static(wire::STREAM_PATH);
    let request = Request::new(ReceiverStream::new(frames));
    let mut answers = match grpc.streaming(request, path, FrameCodec).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => {
            // It knows the key and takes it for a renewal alone: by its clock the time
            // is over, whatever ours says.
            if status.code() == Code::Unauthenticated && !matches!(endpoint, Endpoint::Unix(_)) {
                renewal::renew(&way.credentials, endpoint, &way.clock).await?;
            }
            return Err(told(&http2, status).await);
        }
    };
    incoming.send(Incoming::Opened).await?;
    loop {
        match answers.message().await {
            Ok(Some(message)) => incoming.send(Incoming::Message(message)).await?,
            Ok(None) => return Ok(()),
            Err(status) => return Err(told(&http2, status).await),
        }
    }
}

/// A status as people read it.
#[derive(Debug, Error)]
#[error("{code}: {message}")]
struct Told {
    code: Code,
    message: String,
}

/// Why a stream failed: the end of the connection says more than the status of it.
async fn told(http2: &Http2, status: Status) -> Failure {
    let strange = status.source().and_then(|source| source.downcast_ref::<CallError>()).map(ToString::to_string);
    if status.source().is_some()
        && let Some(fault) = http2.ended().await
    {
        return fault.into();
    }
    Told { code: status.code(), message: strange.unwrap_or_else(|| status.message().to_owned()) }.into()
}

fn is_invalid(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<Told>().is_some_and(|told| told.code == Code::InvalidArgument)
}

/// Sends frames as they are; reads what a collector says.
#[derive(Debug, Clone, Copy, Default)]
struct FrameCodec;

impl Codec for FrameCodec {
    type Encode = Frame;
    type Decode = FromCollector;
    type Encoder = FrameCodec;
    type Decoder = FrameCodec;

    fn encoder(&mut self) -> FrameCodec {
        FrameCodec
    }

    fn decoder(&mut self) -> FrameCodec {
        FrameCodec
    }
}

impl Encoder for FrameCodec {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(frame.len());
        frame.put(out);
        Ok(())
    }
}

impl Decoder for FrameCodec {
    type Item = FromCollector;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<FromCollector>, Status> {
        wire::decode_response(bytes).map(Some).map_err(|error| Status::internal(format!("decode response: {error}")))
    }
}

#[cfg(test)]
mod tests;
