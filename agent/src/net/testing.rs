//! A collector for tests: enrolment and ingest behind TLS or a Unix socket, on
//! loopback, in this process.

use crate::identity::certificate::{Facts, fingerprint};
use crate::identity::testing::Authority;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::UnixTime;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use signalbox_proto::clock::{Clock as _, ManualClock};
use signalbox_proto::join::{Fingerprint, REFUSAL_KEY, Refusal};
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_proto::wire::v1;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_stream::{Stream, StreamExt as _};
use tonic::codegen::Service as _;
use tonic::codegen::http::Request as HttpRequest;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use v1::enrol_service_server::{EnrolService, EnrolServiceServer};
use v1::ingest_service_server::{IngestService, IngestServiceServer};

pub(crate) const NOW: UnixMillis = UnixMillis(1_764_000_000_000);
pub(crate) const DAY: Millis = Millis(86_400_000);

/// The key of a client certificate, if there is one.
#[derive(Debug, Clone, Copy)]
struct Peer(Option<Fingerprint>);

/// What a test wants and sees.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Answers of this kind to joins and renewals.
    pub(crate) refuses: Option<Refusal>,
    /// Questions about a request for approval that are answered with "wait".
    pub(crate) n_waits: u32,
    pub(crate) rejects: bool,
    /// Pings larger than this are never answered.
    pub(crate) ping_max: Option<usize>,
    /// Who asked to join: id, secret, labels.
    pub(crate) joins: Vec<(String, Vec<u8>, usize)>,
    /// Old and new key.
    pub(crate) renewals: Vec<(Fingerprint, Fingerprint)>,
    /// Who streamed: key, id.
    pub(crate) streams: Vec<(Option<Fingerprint>, String)>,
    /// By the collector's clock this key's time is over.
    pub(crate) over: Option<Fingerprint>,
    /// Sequences of batches that came.
    pub(crate) seqs: Vec<u64>,
    /// Further roots that an identity gets.
    pub(crate) more_roots: String,
    pending: Option<Vec<u8>>,
}

/// See the module's page. Serves until its runtime ends.
#[derive(Clone)]
pub(crate) struct FakeCollector {
    pub(crate) ca: Arc<Authority>,
    pub(crate) clock: Arc<ManualClock>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct Time(Arc<ManualClock>);

impl rustls::time_provider::TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let ms = u64::try_from(self.0.wall().0).unwrap();
        Some(UnixTime::since_unix_epoch(Duration::from_millis(ms)))
    }
}

impl FakeCollector {
    pub(crate) fn new() -> FakeCollector {
        let clock = Arc::new(ManualClock::at(NOW));
        FakeCollector { ca: Arc::new(Authority::new("signalbox", NOW)), clock, state: Arc::default() }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// TLS with a certificate of `ca` for these names.
    pub(crate) fn tls(&self, ca: &Authority, names: &[&str]) -> Arc<ServerConfig> {
        let (_, chain, key) = ca.server(names, UnixMillis(NOW.0 - 86_400_000), NOW + DAY.times(30));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.der()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let mut config = ServerConfig::builder_with_details(provider, Arc::new(Time(self.clock.clone())))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients.allow_unauthenticated().build().unwrap())
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }

    /// Listens with a certificate for 127.0.0.1.
    pub(crate) async fn listen(&self) -> SocketAddr {
        self.listen_with(self.tls(&self.ca, &["127.0.0.1"])).await
    }

    pub(crate) async fn listen_with(&self, tls: Arc<ServerConfig>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, this) = (TlsAcceptor::from(tls), self.clone());
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tcp.set_nodelay(true).unwrap();
                let (acceptor, this) = (acceptor.clone(), this.clone());
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let leaf = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                    let peer = leaf.map(|leaf| Facts::read(leaf).unwrap().fingerprint);
                    this.serve(tls, Peer(peer)).await;
                });
            }
        });
        address
    }

    pub(crate) fn listen_unix(&self, path: &Path) {
        let listener = UnixListener::bind(path).unwrap();
        let this = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let this = this.clone();
                tokio::spawn(async move { this.serve(stream, Peer(None)).await });
            }
        });
    }

    async fn serve(&self, io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, peer: Peer) {
        let routes =
            Routes::new(EnrolServiceServer::new(self.clone())).add_service(IngestServiceServer::new(self.clone()));
        let routes = routes.prepare();
        let service = hyper::service::service_fn(move |mut request: HttpRequest<Incoming>| {
            request.extensions_mut().insert(peer);
            routes.clone().call(request)
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        // How a test's connection ends is for its agent to tell.
        let _ = connection.serve_connection(TokioIo::new(io), service).await;
    }

    fn refusal(&self) -> Result<(), Status> {
        let Some(refusal) = self.state().refuses else { return Ok(()) };
        let mut status = Status::permission_denied("not so");
        status.metadata_mut().insert(REFUSAL_KEY, refusal.as_str().parse().unwrap());
        Err(status)
    }

    fn identity(&self, request: &[u8], id: &str) -> v1::Identity {
        let (from, to) = (self.clock.wall(), self.clock.wall() + DAY.times(7));
        v1::Identity {
            certificate_pem: self.ca.certify(request, id, from, to),
            ca_pem: self.ca.pem() + &self.state().more_roots,
            installation: self.ca.installation.clone(),
            agent_id: id.to_owned(),
            not_before_ms: from.0,
            not_after_ms: to.0,
        }
    }
}

fn key_of(request: &[u8]) -> Fingerprint {
    use x509_parser::prelude::FromDer as _;
    let (_, request) = x509_parser::prelude::X509CertificationRequest::from_der(request).unwrap();
    fingerprint(request.certification_request_info.subject_pki.raw)
}

fn peer<T>(request: &Request<T>) -> Option<Fingerprint> {
    request.extensions().get::<Peer>().unwrap().0
}

#[tonic::async_trait]
impl EnrolService for FakeCollector {
    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let v1::JoinRequest { secret, applicant, .. } = request.into_inner();
        let applicant = applicant.unwrap();
        self.state().joins.push((applicant.agent_id.clone(), secret.to_vec(), applicant.labels.len()));
        self.refusal()?;
        let identity = Some(self.identity(&applicant.csr_der, &applicant.agent_id));
        Ok(Response::new(v1::JoinResponse { identity }))
    }

    async fn request_approval(
        &self,
        request: Request<v1::RequestApprovalRequest>,
    ) -> Result<Response<v1::RequestApprovalResponse>, Status> {
        let applicant = request.into_inner().applicant.unwrap();
        self.state().pending = Some(applicant.csr_der.to_vec());
        Ok(Response::new(v1::RequestApprovalResponse {
            fingerprint: key_of(&applicant.csr_der).0.to_vec(),
            expires_ms: NOW.0,
            poll_after_ms: 1,
        }))
    }

    async fn poll_approval(
        &self,
        request: Request<v1::PollApprovalRequest>,
    ) -> Result<Response<v1::PollApprovalResponse>, Status> {
        let pending = self.state().pending.clone().unwrap();
        assert_eq!(request.into_inner().fingerprint, key_of(&pending).0.to_vec());
        let mut answer = v1::PollApprovalResponse { poll_after_ms: 1, ..Default::default() };
        let waits = self.state().n_waits;
        if waits > 0 {
            self.state().n_waits = waits - 1;
            answer.set_state(v1::ApprovalState::Waiting);
        } else if self.state().rejects {
            answer.set_state(v1::ApprovalState::Rejected);
        } else {
            answer.set_state(v1::ApprovalState::Approved);
            answer.identity = Some(self.identity(&pending, "web-1"));
        }
        Ok(Response::new(answer))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        let old = peer(&request).ok_or_else(|| Status::unauthenticated("no certificate"))?;
        self.refusal()?;
        let request = request.into_inner().csr_der;
        self.state().renewals.push((old, key_of(&request)));
        Ok(Response::new(v1::RenewResponse { identity: Some(self.identity(&request, "web-1")) }))
    }

    async fn ping(&self, request: Request<v1::PingRequest>) -> Result<Response<v1::PingResponse>, Status> {
        let known = peer(&request).is_some();
        let padding = request.into_inner().padding;
        let limit = self.state().ping_max;
        if limit.is_some_and(|limit| padding.len() > limit) {
            std::future::pending::<()>().await;
        }
        let of = |text: &str| if known { text.to_owned() } else { String::new() };
        Ok(Response::new(v1::PingResponse {
            wall_ms: self.clock.wall().0,
            agent_id: of("web-1"),
            installation: of(&self.ca.installation),
            version: of("0.1.0"),
            padding,
        }))
    }
}

#[tonic::async_trait]
impl IngestService for FakeCollector {
    type StreamStream = Pin<Box<dyn Stream<Item = Result<v1::StreamResponse, Status>> + Send>>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (peer, this) = (peer(&request), self.clone());
        if peer.is_some() && peer == self.state().over {
            return Err(Status::unauthenticated("only its renewal is served"));
        }
        let answers = request.into_inner().filter_map(move |message| {
            use v1::stream_request::Message;
            let (epoch, seq) = match message.ok()?.message? {
                Message::Hello(hello) => {
                    this.state().streams.push((peer, hello.agent_id));
                    (hello.epochs.first().copied().unwrap_or_default(), 0)
                }
                Message::Batch(batch) => {
                    this.state().seqs.push(batch.seq);
                    (batch.epoch, batch.seq)
                }
                Message::Heartbeat(_) | Message::Goodbye(_) => return None,
            };
            let ack = v1::stream_response::Message::Ack(v1::Ack { epoch, seq });
            Some(Ok(v1::StreamResponse { message: Some(ack) }))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
