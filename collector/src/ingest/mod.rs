//! Where agents arrive: connections that we accept ourselves, one stream each.
//!
//! ```text
//! accept (caps, TLS, who is it) ─▶ tonic (HTTP/2, limits) ─▶ session (wire to domain) ─▶ writer's inbox
//!                                        │                     ◀── acknowledgements ──┘
//!                                        └▶ enrol (identities) ─▶ writer: committed, on record, answered
//! ```
//!
//! Nothing that an agent sends ends more than its own stream: garbage, an oversized
//! message, a contradiction in its dictionary get a gRPC status that names the
//! fault. A full inbox makes the session stop reading, which the agent feels as
//! back-pressure; its spool holds what waits. Who an agent is, its connection says
//! and no message: [`peer::Peer`] is asked at each call and while a stream lives.

pub mod accept;
pub mod connection;
mod enrol;
mod limits;
pub mod peer;
mod places;
pub mod session;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use limits::Limits;

use crate::handle::Handle;
use crate::shared::Shared;
use crate::tls::Tls;
use crate::writer::inbox::Inbox;
use connection::Connection;
use enrol::Enrol;
use peer::{NotAllowed, Peer, Who};
use session::Session;
use signalbox_access::limits::AGENTS_MAX;
use signalbox_access::rate::{Buckets, Crowd, Rate};
use signalbox_proto::clock::Clock;
use signalbox_proto::units::Millis;
use signalbox_proto::wire::v1::enrol_service_server::EnrolServiceServer;
use signalbox_proto::wire::v1::ingest_service_server::{IngestService, IngestServiceServer};
use signalbox_proto::wire::v1::{StreamRequest, StreamResponse};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// HTTP/2 pings find peers that are gone without a word.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Streams that a peer may reset before they are accepted.
const PENDING_RESETS_MAX: usize = 20;
/// Streams that a peer may make us reset by its errors.
const ERROR_RESETS_MAX: usize = 128;
/// What a peer may send ahead of our reading, bytes, a stream and a connection.
const WINDOW_BYTES: u32 = 1024 * 1024;
/// Answers that wait for a slow reader.
const ANSWERS_MAX: usize = 16;
/// One message of enrolment, bytes: the padding of a ping is the largest.
const ENROL_MAX_BYTES: usize = 128 * 1024;

/// The gRPC service.
#[derive(Clone)]
pub struct Ingest {
    shared: Arc<Shared>,
    handle: Handle,
    inbox: Inbox,
    limits: Limits,
    /// Hellos of each agent.
    hellos: Arc<Mutex<Buckets>>,
    stopping: watch::Receiver<bool>,
}

/// Who calls. Every connection of ours says so; an account that may not use the
/// socket gets no further.
fn peer_of<T>(request: &Request<T>) -> Result<Peer, Status> {
    let peer = request.extensions().get::<Peer>().cloned();
    let peer = peer.ok_or_else(|| Status::internal("the connection does not say whose it is"))?;
    peer.has_called();
    if let Who::Account { uid } = peer.who {
        let status = enrol::not_allowed(&NotAllowed::Account(uid));
        count(&status);
        return Err(status);
    }
    Ok(peer)
}

/// Counts what is refused.
fn count(status: &Status) {
    metrics::counter!("signalbox_calls_refused_total", "code" => format!("{:?}", status.code())).increment(1);
}

#[tonic::async_trait]
impl IngestService for Ingest {
    type StreamStream = ReceiverStream<Result<StreamResponse, Status>>;

    async fn stream(&self, request: Request<Streaming<StreamRequest>>) -> Result<Response<Self::StreamStream>, Status> {
        let peer = peer_of(&request)?;
        let (answers, stream) = mpsc::channel(ANSWERS_MAX);
        let session = Session {
            shared: Arc::clone(&self.shared),
            handle: self.handle.clone(),
            inbox: self.inbox.clone(),
            limits: self.limits,
            hellos: Arc::clone(&self.hellos),
            peer,
            answers,
        };
        // Without an identity no message is read at all.
        session.admit_caller()?;
        tokio::spawn(session.run(request.into_inner(), self.stopping.clone()));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// What the services stand on.
pub(crate) struct Ground {
    pub(crate) shared: Arc<Shared>,
    pub(crate) handle: Handle,
    pub(crate) inbox: Inbox,
    pub(crate) tls: Arc<Tls>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
}

/// Serves agents on connections from [`accept::run`] until `stopping` turns true.
///
/// # Errors
/// What tonic says when it cannot serve at all.
pub(crate) async fn serve(
    ground: Ground,
    connections: mpsc::Receiver<Connection>,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    use tokio_stream::StreamExt;
    let Ground { shared, handle, inbox, tls, clock, limits } = ground;
    let enrol = Enrol::new(handle.clone(), tls, clock, limits.enrolments_per_minute);
    let rate = Rate::new(limits.hellos_per_minute, Millis::from_mins(1));
    let hellos = Arc::new(Mutex::new(Buckets::new(rate, AGENTS_MAX, Crowd::Shares)));
    let ingest = Ingest { shared, handle, inbox, limits, hellos, stopping: stopping.clone() };
    let ingest = IngestServiceServer::new(ingest).max_decoding_message_size(limits.message_bytes);
    let enrol = EnrolServiceServer::new(enrol).max_decoding_message_size(ENROL_MAX_BYTES);
    let stopped = async move {
        // An error means that nobody is left who could say stop: the same.
        let _gone = stopping.wait_for(|stop| *stop).await;
    };
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(limits.streams)
        .concurrency_limit_per_connection(limits.streams as usize)
        .http2_max_header_list_size(limits.header_bytes)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .http2_max_local_error_reset_streams(Some(ERROR_RESETS_MAX))
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .add_service(ingest)
        .add_service(enrol)
        .serve_with_incoming_shutdown(ReceiverStream::new(connections).map(Ok::<_, std::io::Error>), stopped)
        .await
}
