//! Connections, accepted with caps and deadlines, and known before they say a word.
//!
//! ```text
//! TCP  ─▶ a stranger's place ─▶ TLS handshake (deadline) ─▶ identity ─▶ a member's place ─▶ HTTP/2
//!                                                       └─▶ none: may enrol, stays a stranger
//! Unix ─▶ account of the peer ─▶ a place of its own ─▶ HTTP/2; one that may not is told so
//! ```
//!
//! tonic's own loop has a backlog of 128, shakes hands one after the other and keeps
//! silent peers for ever. Here each handshake is a task of its own: no peer waits for
//! another.

use super::connection::{Connection, Place, Transport};
use super::limits::Limits;
use super::peer::{NotAllowed, Peer, Who};
use super::places::{Places, Stranger};
use crate::handle::Handle;
use crate::net::listen;
use crate::tls::Tls;
use crate::tls::verifier::{KeyTable, Shown, Standing, noting};
use rustls::ServerConfig;
use signalbox_access::event::Denial;
use signalbox_access::rows::KeyState;
use signalbox_proto::join::Fingerprint;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;

/// Connections that the kernel holds until we take them.
const BACKLOG: i32 = 4096;
/// Connections at a time on the Unix socket.
const LOCAL_MAX: usize = 256;
/// Of accounts that may not use it, and are told so.
const UNWANTED_MAX: usize = 8;
/// Accepted connections that tonic has not taken.
const WAITING_MAX: usize = 64;
/// After an error of accept (no descriptors left): wait, then go on.
const RETRY: Duration = Duration::from_millis(100);

/// Why no listener stands.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The system refused.
    #[error("listen on {address}: {why}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        why: io::Error,
    },
    /// The Unix socket could not be made.
    #[error("listen for agents on {path}: {why}")]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
}

/// Listens on an address.
///
/// # Errors
/// [`ListenError::Refused`].
pub fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    listen::tcp(address, BACKLOG).map_err(|why| ListenError::Refused { address, why })
}

/// Listens on a Unix socket, in the place of one that nobody serves any more. Every
/// account can open it if `is_shared`: whom it serves, the peer's user id decides.
///
/// # Errors
/// [`ListenError::Socket`].
pub fn listen_local(path: &Path, is_shared: bool) -> Result<UnixListener, ListenError> {
    let mode = if is_shared { 0o666 } else { 0o660 };
    listen::local(path, mode).map_err(|why| ListenError::Socket { path: path.to_owned(), why })
}

/// The table of keys as it was committed.
struct Keys(Handle);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl KeyTable for Keys {
    fn standing(&self, key: Fingerprint) -> Standing {
        match self.0.access_view().agent_of_key(&key.into()) {
            Some(known) if known.state == KeyState::Active => Standing::Active(known.agent),
            Some(_) => Standing::Over,
            None => Standing::Unknown,
        }
    }
}

/// What agents come in by.
pub struct Doors {
    /// Over TCP, always inside TLS.
    pub tcp: TcpListener,
    /// Over the Unix socket.
    pub local: Option<UnixListener>,
    /// User ids that may, beside root and the collector's own.
    pub local_agents: Vec<u32>,
    /// Keys and certificates.
    pub tls: Arc<Tls>,
    /// Bounds.
    pub limits: Limits,
}

/// What each connection needs.
struct Line {
    tls: Arc<Tls>,
    config: Arc<ServerConfig>,
    limits: Limits,
    places: Arc<Places>,
    locals: Arc<Semaphore>,
    unwanted: Arc<Semaphore>,
    local_agents: Vec<u32>,
    handle: Handle,
    accepted: mpsc::Sender<Connection>,
}

/// Accepts until `stopping` turns true.
pub(crate) fn run(doors: Doors, handle: Handle, mut stopping: watch::Receiver<bool>) -> mpsc::Receiver<Connection> {
    let (accepted, receiver) = mpsc::channel(WAITING_MAX);
    let Doors { tcp, local, local_agents, tls, limits } = doors;
    let config = tls.agents_config(Arc::new(Keys(handle.clone())));
    let places = Places::new(&limits);
    let (locals, unwanted) = (Arc::new(Semaphore::new(LOCAL_MAX)), Arc::new(Semaphore::new(UNWANTED_MAX)));
    let line = Arc::new(Line { tls, config, limits, places, locals, unwanted, local_agents, handle, accepted });
    tokio::spawn(async move {
        loop {
            let failed = tokio::select! {
                accepted = tcp.accept() => accepted.map(|(stream, address)| line.over_tcp(stream, address)).err(),
                accepted = listen::accept_local(local.as_ref()) => accepted.map(|stream| line.over_socket(stream)).err(),
                _ = stopping.wait_for(|stop| *stop) => return,
                () = line.accepted.closed() => return,
            };
            if let Some(error) = failed {
                metrics::counter!("signalbox_accept_failed_total").increment(1);
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(RETRY).await;
            }
        }
    });
    receiver
}

fn refused() {
    metrics::counter!("signalbox_connections_refused_total").increment(1);
}

impl Line {
    fn over_tcp(self: &Arc<Self>, stream: TcpStream, address: SocketAddr) {
        let Some(place) = self.places.stranger(address.ip().to_canonical()) else { return refused() };
        let line = Arc::clone(self);
        tokio::spawn(async move { line.shake_hands(stream, address, place).await });
    }

    /// The handshake to its end, whatever end it takes.
    async fn shake_hands(&self, stream: TcpStream, address: SocketAddr, mut place: Stranger) {
        // Acknowledgements are small and wanted at once; a socket that cannot do it still works.
        let _slower = stream.set_nodelay(true);
        if let Ok(own) = stream.local_addr() {
            self.tls.note_address(own.ip());
        }
        let handshake = noting(TlsAcceptor::from(Arc::clone(&self.config)).accept(stream));
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(self.limits.handshake, handshake) => outcome,
            _ = &mut place.go => return,
        };
        let stream = match outcome {
            Ok((Ok(stream), _)) => stream,
            Ok((Err(error), key)) => return self.failed(&error, key, address),
            Err(_) => return failed_for("too slow"),
        };
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| Shown::of(chain.first()?));
        let who = shown.map_or(Who::Nobody, Who::Key);
        let place = match shown.map(|shown| self.places.member(shown.key)) {
            Some(Some(place)) => Place::Member { _place: place },
            Some(None) => return refused(),
            None => Place::Stranger(place),
        };
        let peer = Peer::new(who, Some(address.ip()));
        self.pass(Connection::new(Transport::Left(Box::new(stream)), place, peer, &self.limits)).await;
    }

    /// A handshake came to nothing: counted, and on record when somebody showed a
    /// certificate or spoke something that is no TLS.
    fn failed(&self, error: &io::Error, key: Option<Fingerprint>, address: SocketAddr) {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let why = match tls {
            Some(rustls::Error::InvalidCertificate(error)) => {
                failed_for("certificate");
                format!("client certificate: {error}")
            }
            // The other end went, or did not like our certificate.
            None | Some(rustls::Error::AlertReceived(_)) => return failed_for("closed"),
            Some(error) => {
                failed_for("protocol");
                format!("handshake: {error}")
            }
        };
        tracing::debug!(%address, why, "a handshake was refused");
        let known = key.and_then(|key| self.handle.access_view().agent_of_key(&key.into()));
        let object = match (known, key) {
            (Some(known), _) => format!("agent:{}", known.agent),
            (None, Some(key)) => format!("key:{key}"),
            (None, None) => String::new(),
        };
        self.denied(&Peer::new(Who::Nobody, Some(address.ip())), object, why);
    }

    fn over_socket(self: &Arc<Self>, stream: UnixStream) {
        let Ok(uid) = stream.peer_cred().map(|peer| peer.uid()) else { return refused() };
        let own = rustix::process::geteuid().as_raw();
        let is_allowed = uid == 0 || uid == own || self.local_agents.contains(&uid);
        let (who, places) = if is_allowed {
            (Who::Local { uid }, &self.locals)
        } else {
            // It is told why; it cannot take the place of one that may.
            (Who::Account { uid }, &self.unwanted)
        };
        let peer = Peer::new(who, None);
        if !is_allowed {
            self.denied(&peer, String::new(), NotAllowed::Account(uid).to_string());
        }
        let Ok(place) = Arc::clone(places).try_acquire_owned() else { return refused() };
        let place = Place::Local { _place: place };
        let connection = Connection::new(Transport::Right(stream), place, peer, &self.limits);
        let line = Arc::clone(self);
        tokio::spawn(async move { line.pass(connection).await });
    }

    fn denied(&self, peer: &Peer, object: String, why: String) {
        let denial = Denial { act: "connect".to_owned(), object, why };
        self.handle.denied(peer.caller(&self.handle.access_view()), denial);
    }

    async fn pass(&self, connection: Connection) {
        // Nobody takes connections any more: the collector stops.
        let _stopping = self.accepted.send(connection).await;
    }
}

fn failed_for(reason: &'static str) {
    metrics::counter!("signalbox_tls_handshakes_failed_total", "reason" => reason).increment(1);
}
