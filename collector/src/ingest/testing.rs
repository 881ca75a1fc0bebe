//! A collector's agents' door over loopback, with the real writer behind it.

use super::connection::{Connection, Place, Transport};
use super::peer::{Peer, Who};
use super::{Ground, Limits, accept};
use crate::handle::Handle;
use crate::shared::Shared;
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::store::tail::TailRecord;
use crate::telemetry::Telemetry;
use crate::tls::testing::{NOW, request};
use crate::tls::{Settings, Tls};
use crate::writer::inbox::{Inbox, inbox};
use crate::writer::seal::Sealer;
use crate::writer::{self, Writer};
use rcgen::KeyPair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use signalbox_access::event::NewJoinToken;
use signalbox_access::{AccessAct, AuditKey, Caller, Granted, SecretHash};
use signalbox_proto::clock::{Clock, ManualClock};
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::{Bytes, Millis};
use signalbox_proto::wire::v1::enrol_service_client::EnrolServiceClient;
use signalbox_proto::wire::v1::ingest_service_client::IngestServiceClient;
use signalbox_proto::wire::v1::{self, StreamRequest, StreamResponse, stream_request};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Status, Streaming};

/// The secret of every token that a test makes.
pub(super) const SECRET: [u8; 32] = [9; 32];

pub(super) struct Rig {
    pub(super) clock: Arc<ManualClock>,
    pub(super) shared: Arc<Shared>,
    pub(super) handle: Handle,
    pub(super) tls: Arc<Tls>,
    pub(super) address: SocketAddr,
    pub(super) socket: PathBuf,
    inbox: Inbox,
    stop: watch::Sender<bool>,
    _folder: TempDir,
}

impl Rig {
    pub(super) fn new() -> Rig {
        Rig::with(Limits::default())
    }

    pub(super) fn with(limits: Limits) -> Rig {
        crate::tls::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(NOW));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let shared = Arc::new(Shared::new(clock.clone(), store, Telemetry::default()));
        let (inbox, outbox) = inbox(1 << 24);
        let key = AuditKey::new([7; 32]);
        let sealer = Sealer::Inline(VecDeque::new());
        let writer = Writer::open(Arc::clone(&shared), sealer, mpsc::channel(64).0, 1000, key, NOW).unwrap();
        let (tail, _) = TailRecord::open(folder.path()).unwrap();
        let bounds = writer::Limits {
            gather: Millis(0),
            gather_bytes: Bytes::from_mib(1),
            data_dir: folder.path().to_owned(),
            min_free: Some(Bytes(0)),
        };
        let published = Arc::clone(&shared);
        std::thread::spawn(move || writer::run(writer, &outbox, &published, tail, &bounds));
        let handle = Handle::new(Arc::clone(&shared), inbox.clone(), mpsc::channel(1).0);
        let settings = Settings { names: vec!["localhost".to_owned()], ..Settings::default() };
        let tls = Arc::new(Tls::open(folder.path().join("ca"), &settings, clock.clone()).unwrap());
        let tcp = accept::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = tcp.local_addr().unwrap();
        let socket = folder.path().join("agent.sock");
        let local = Some(accept::listen_local(&socket, false).unwrap());
        let doors = accept::Doors { tcp, local, local_agents: Vec::new(), tls: Arc::clone(&tls), limits };
        let (stop, stopping) = watch::channel(false);
        let connections = accept::run(doors, handle.clone(), stopping.clone());
        let ground = Ground {
            shared: Arc::clone(&shared),
            handle: handle.clone(),
            inbox: inbox.clone(),
            tls: Arc::clone(&tls),
            clock: clock.clone(),
            limits,
        };
        tokio::spawn(super::serve(ground, connections, stopping));
        Rig { clock, shared, handle, tls, address, socket, inbox, stop, _folder: folder }
    }

    pub(super) async fn act(&self, act: AccessAct) -> Granted {
        self.handle.access(Caller::system(), act).await.unwrap().unwrap()
    }

    /// A token of this id for so many agents with these labels.
    pub(super) async fn token(&self, id: &str, uses: u32, labels: &[(&str, &str)]) {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.act(AccessAct::CreateJoinToken(NewJoinToken {
            id: id.to_owned(),
            secret: SecretHash::of(&SECRET),
            life: Millis::from_mins(60),
            uses,
            labels: Labels::new(labels).unwrap(),
            cidrs: Vec::new(),
            agent: None,
        }))
        .await;
    }

    /// TLS to the door, with this identity or none.
    pub(super) async fn dial(
        &self,
        identity: Option<&TestIdentity>,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let connector = TlsConnector::from(client_config(&self.tls, identity));
        connector.connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    /// A connection that stands, or why it does not.
    pub(super) async fn channel(&self, identity: Option<&TestIdentity>) -> Result<Channel, tonic::transport::Error> {
        let config = client_config(&self.tls, identity);
        let address = self.address;
        let connect = move |_: Uri| {
            let connector = TlsConnector::from(Arc::clone(&config));
            async move {
                let stream = TcpStream::connect(address).await?;
                let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await?;
                Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
            }
        };
        Endpoint::from_static("http://localhost").connect_with_connector(tower::service_fn(connect)).await
    }

    /// Over the Unix socket.
    pub(super) async fn local(&self) -> Channel {
        let path = self.socket.clone();
        let connect = move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
        };
        Endpoint::from_static("http://localhost").connect_with_connector(tower::service_fn(connect)).await.unwrap()
    }

    /// Over a Unix socket whose other end is known as `who`.
    pub(super) async fn known_as(&self, who: Who, limits: Limits) -> Channel {
        let (near, far) = UnixStream::pair().unwrap();
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let peer = Peer::new(who, None);
        let connection = Connection::new(Transport::Right(near), Place::Local { _place: place }, peer, &limits);
        let (connections, receiver) = mpsc::channel(1);
        connections.send(connection).await.unwrap();
        let ground = Ground {
            shared: Arc::clone(&self.shared),
            handle: self.handle.clone(),
            inbox: self.inbox.clone(),
            tls: Arc::clone(&self.tls),
            clock: self.clock.clone(),
            limits,
        };
        let served = super::serve(ground, receiver, self.stop.subscribe());
        tokio::spawn(async move {
            // Without a sender the server would end.
            let _open = connections;
            served.await
        });
        let mut far = Some(far);
        let connect = move |_: Uri| {
            let far = far.take().ok_or_else(|| std::io::Error::other("there is one"));
            async move { far.map(hyper_util::rt::TokioIo::new) }
        };
        Endpoint::from_static("http://localhost").connect_with_connector(tower::service_fn(connect)).await.unwrap()
    }

    /// A connection for enrolment.
    pub(super) async fn enrol(&self, identity: Option<&TestIdentity>) -> EnrolServiceClient<Channel> {
        EnrolServiceClient::new(self.channel(identity).await.unwrap())
    }

    /// An agent that joined with a token of its own.
    pub(super) async fn joined(&self, id: &str) -> TestIdentity {
        let token: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
        self.token(&token, 1, &[]).await;
        let key = new_key();
        let answer = self.enrol(None).await.join(self.join(&token, id, &key, &[])).await.unwrap().into_inner();
        TestIdentity::new(key, &answer.identity.unwrap())
    }

    pub(super) fn join(&self, token: &str, id: &str, key: &KeyPair, labels: &[(&str, &str)]) -> v1::JoinRequest {
        let applicant = Some(self.applicant(id, key, labels));
        v1::JoinRequest { token_id: token.to_owned(), secret: SECRET.to_vec(), applicant }
    }

    pub(super) fn applicant(&self, id: &str, key: &KeyPair, labels: &[(&str, &str)]) -> v1::Applicant {
        v1::Applicant {
            agent_id: id.to_owned(),
            csr_der: request(key),
            boot_id: "boot".to_owned(),
            version: "1".to_owned(),
            labels: wire(labels),
            wall_ms: self.clock.wall().0,
        }
    }

    /// Lines of the audit: act, object, result.
    pub(super) async fn audit(&self) -> Vec<String> {
        // Denials are told without waiting: what is asked for now stands behind them.
        self.handle.access(Caller::system(), AccessAct::Sweep).await.unwrap().unwrap();
        let lines = self.handle.audit(0, 1000).await.unwrap();
        lines
            .into_iter()
            .map(|line| format!("{} | {} | {} | {}", line.who, line.act, line.object, line.result))
            .collect()
    }
}

fn wire(labels: &[(&str, &str)]) -> Vec<v1::Label> {
    labels.iter().map(|(name, value)| v1::Label { name: (*name).to_owned(), value: (*value).to_owned() }).collect()
}

pub(super) fn new_key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

/// An agent's key and what the collector gave for it.
pub(super) struct TestIdentity {
    pub(super) key: KeyPair,
    pub(super) certificate: CertificateDer<'static>,
}

impl TestIdentity {
    pub(super) fn new(key: KeyPair, identity: &v1::Identity) -> TestIdentity {
        let certificate = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap();
        TestIdentity { key, certificate }
    }
}

fn client_config(tls: &Tls, identity: Option<&TestIdentity>) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(tls.authority().roots());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_details(provider, Arc::new(tls.clock()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(TestIdentity { key, certificate }) => {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            builder.with_client_auth_cert(vec![certificate.clone()], key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// A stream of an agent, from its side.
pub(super) struct Speaker {
    pub(super) say: mpsc::Sender<StreamRequest>,
    pub(super) hear: Streaming<StreamResponse>,
}

impl Speaker {
    /// Says Hello as `id` from a boot. The collector's first word is awaited.
    pub(super) async fn open(
        channel: Channel,
        id: &str,
        boot: &str,
        labels: &[(&str, &str)],
    ) -> Result<Speaker, Status> {
        let (say, said) = mpsc::channel(16);
        let hello = v1::Hello {
            agent_id: id.to_owned(),
            boot_id: boot.to_owned(),
            version: "1".to_owned(),
            labels: wire(labels),
            epochs: vec![1],
            ..v1::Hello::default()
        };
        say.send(StreamRequest { message: Some(stream_request::Message::Hello(hello)) }).await.unwrap();
        let mut client = IngestServiceClient::new(channel).max_encoding_message_size(64 << 20);
        let hear = client.stream(ReceiverStream::new(said)).await?.into_inner();
        let mut speaker = Speaker { say, hear };
        // One mark for the epoch that Hello names.
        speaker.hear.message().await?;
        Ok(speaker)
    }

    /// Waits for the end.
    pub(super) async fn end(mut self) -> Status {
        loop {
            match self.hear.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok("closed"),
                Err(status) => return status,
            }
        }
    }
}

pub(super) fn agent(id: &str) -> AgentId {
    AgentId::parse(id).unwrap()
}
