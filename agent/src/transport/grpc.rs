//! The stream over gRPC (HTTP/2). One task per stream, on the agent's only thread.

use super::{Ended, Incoming, Link, Remote, Transport, link};
use crate::config::Endpoint;
use crate::sampler::chain;
use crate::wire::{self, Frame, FromCollector};
use signalbox_proto::units::Millis;
use std::error::Error;
use thiserror::Error;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status, client};

/// A connection that does not stand by then is given up.
const CONNECT_TIMEOUT: Millis = Millis(5000);
/// Time between two HTTP/2 pings, and the longest wait for an answer.
const KEEPALIVE: Millis = Millis(10_000);
/// The largest message a collector may send: its set is closed and small.
const RESPONSE_MAX_BYTES: usize = 64 * 1024;

/// Dials collectors over TCP.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct GrpcTransport;

impl Transport for GrpcTransport {
    fn dial(&mut self, endpoint: &Endpoint, hello: Frame) -> Link {
        let (link, remote) = link(hello);
        tokio::spawn(run(endpoint.to_string(), remote));
        link
    }
}

async fn run(endpoint: String, remote: Remote) {
    let Remote { frames, incoming } = remote;
    let ended = tokio::select! {
        ended = stream(&endpoint, frames, &incoming) => ended,
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

type Fault = Box<dyn Error + Send + Sync>;

async fn stream(
    endpoint: &str,
    frames: tokio::sync::mpsc::Receiver<Frame>,
    incoming: &tokio::sync::mpsc::Sender<Incoming>,
) -> Result<(), Fault> {
    let channel = tonic::transport::Endpoint::from_shared(endpoint.to_owned())?
        .connect_timeout(CONNECT_TIMEOUT.std())
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE.std())
        .keep_alive_timeout(KEEPALIVE.std())
        .keep_alive_while_idle(true)
        .connect()
        .await?;
    let mut grpc = client::Grpc::new(channel).max_decoding_message_size(RESPONSE_MAX_BYTES);
    grpc.ready().await?;
    let path = PathAndQuery::from_static(wire::STREAM_PATH);
    let request = Request::new(ReceiverStream::new(frames));
    let mut answers = grpc.streaming(request, path, FrameCodec).await.map_err(told)?.into_inner();
    incoming.send(Incoming::Opened).await?;
    while let Some(message) = answers.message().await.map_err(told)? {
        incoming.send(Incoming::Message(message)).await?;
    }
    Ok(())
}

/// A status as people read it.
#[derive(Debug, Error)]
#[error("{code}: {message}")]
struct Told {
    code: Code,
    message: String,
}

fn told(status: Status) -> Fault {
    Told { code: status.code(), message: status.message().to_owned() }.into()
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
mod tests {
    use super::*;

    #[test]
    fn only_a_malformed_message_is_told_apart() {
        assert!(is_invalid(told(Status::invalid_argument("error is too long")).as_ref()));
        assert!(!is_invalid(told(Status::failed_precondition("a batch is missing")).as_ref()));
        assert_eq!(told(Status::aborted("x")).to_string(), format!("{}: x", Code::Aborted));
    }
}
