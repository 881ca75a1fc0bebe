//! Where agents arrive: connections that we accept ourselves, one stream each.
//!
//! ```text
//! accept (caps, deadlines) ─▶ tonic (HTTP/2, limits) ─▶ session (wire to domain) ─▶ writer's inbox
//!                                                           ◀── acknowledgements ──┘
//! ```
//!
//! Nothing that an agent sends ends more than its own stream: garbage, an oversized
//! message, a contradiction in its dictionary get a gRPC status that names the
//! fault. A full inbox makes the session stop reading, which the agent feels as
//! back-pressure; its spool holds what waits.

pub mod accept;
pub mod session;

use crate::shared::Shared;
use crate::writer::inbox::Inbox;
use accept::Accepted;
use session::Session;
use signalbox_proto::limits::MESSAGE_MAX_BYTES;
use signalbox_proto::wire::v1::ingest_service_server::{IngestService, IngestServiceServer};
use signalbox_proto::wire::v1::{StreamRequest, StreamResponse};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// HTTP/2 pings find peers that are gone without a word.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Streams of one connection: an agent needs one.
const STREAMS_MAX: u32 = 16;
/// Bytes of all headers of one request.
const HEADERS_MAX_BYTES: u32 = 16 * 1024;
/// Streams that a peer may reset before they are accepted.
const PENDING_RESETS_MAX: usize = 20;
/// What a peer may send ahead of our reading, bytes, a stream and a connection.
const WINDOW_BYTES: u32 = 1024 * 1024;
/// Answers that wait for a slow reader.
const ANSWERS_MAX: usize = 16;

/// The gRPC service.
#[derive(Clone)]
pub struct Ingest {
    shared: Arc<Shared>,
    inbox: Inbox,
    stopping: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl IngestService for Ingest {
    type StreamStream = ReceiverStream<Result<StreamResponse, Status>>;

    async fn stream(&self, request: Request<Streaming<StreamRequest>>) -> Result<Response<Self::StreamStream>, Status> {
        if let Some(peer) = request.extensions().get::<accept::Peer>() {
            peer.has_called();
        }
        let (answers, stream) = mpsc::channel(ANSWERS_MAX);
        let session = Session::new(Arc::clone(&self.shared), self.inbox.clone(), answers);
        tokio::spawn(session.run(request.into_inner(), self.stopping.clone()));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Serves agents on connections from [`accept::run`] until `stopping` turns true.
///
/// # Errors
/// What tonic says when it cannot serve at all.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    inbox: Inbox,
    connections: mpsc::Receiver<Accepted>,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    use tokio_stream::StreamExt;
    let ingest = Ingest { shared, inbox, stopping: stopping.clone() };
    let service = IngestServiceServer::new(ingest).max_decoding_message_size(MESSAGE_MAX_BYTES);
    let stopped = async move {
        // An error means that nobody is left who could say stop: the same.
        let _gone = stopping.wait_for(|stop| *stop).await;
    };
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(STREAMS_MAX)
        .concurrency_limit_per_connection(STREAMS_MAX as usize)
        .http2_max_header_list_size(HEADERS_MAX_BYTES)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .add_service(service)
        .serve_with_incoming_shutdown(ReceiverStream::new(connections).map(Ok::<_, std::io::Error>), stopped)
        .await
}
