//! The certificate that the collector shows, and the configurations that show it.
//!
//! Its own: made at each start over a key that stays in memory, and again at half
//! of its life, after a rotation, and when a connection comes to an address that
//! it does not name. Agents may call the collector by any name: a certificate of
//! our own authority names the one that was asked for, too, because only this
//! collector has one at all. The site's: read from files, again at each reload.

use super::authority::{self, Authority};
use super::ca::{SERVER_LIFE, seconds};
use super::verifier::Verifier;
use super::{Tls, TlsClock, TlsError};
use rcgen::KeyPair;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{ServerConfig, version};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use signalbox_proto::units::UnixMillis;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Names and addresses that the collector's certificate carries.
const NAMES_MAX: usize = 64;
/// Certificates that are kept for names that agents asked for; then they are
/// forgotten and made again when asked for again.
const ASKED_MAX: usize = 64;

/// The collector's own certificate.
pub(super) struct ServerCertificate {
    key: KeyPair,
    signer: Arc<dyn SigningKey>,
    state: RwLock<State>,
    asked: Mutex<BTreeMap<String, Arc<CertifiedKey>>>,
}

struct State {
    names: BTreeSet<String>,
    current: Arc<CertifiedKey>,
    made: UnixMillis,
    not_after: UnixMillis,
}

impl std::fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerCertificate").field("names", &self.names()).finish_non_exhaustive()
    }
}

impl ServerCertificate {
    pub(super) fn make(
        authority: &Authority,
        names: &[String],
        now: UnixMillis,
    ) -> Result<ServerCertificate, TlsError> {
        let key = authority::server_key()?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signer = aws_lc_rs::sign::any_supported_type(&der)
            .map_err(|why| TlsError::Make { what: "the collector's own key", why: why.to_string() })?;
        let names = names.iter().take(NAMES_MAX).cloned().collect();
        let state = sign(authority, &key, &signer, names, now)?;
        Ok(ServerCertificate { key, signer, state: RwLock::new(state), asked: Mutex::default() })
    }

    fn read<T>(&self, take: impl FnOnce(&State) -> T) -> T {
        take(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.read(|state| state.names.iter().cloned().collect())
    }

    pub(super) fn not_after(&self) -> UnixMillis {
        self.read(|state| state.not_after)
    }

    /// Signed again by this authority.
    pub(super) fn put_in_force(&self, authority: &Authority, now: UnixMillis) -> Result<(), TlsError> {
        self.sign_with(authority, self.read(|state| state.names.clone()), now)
    }

    fn sign_with(&self, authority: &Authority, names: BTreeSet<String>, now: UnixMillis) -> Result<(), TlsError> {
        let state = sign(authority, &self.key, &self.signer, names, now)?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    /// Signed again at half of its life, or when the clock was set back before it.
    pub(super) fn look_after(&self, authority: &Authority, now: UnixMillis) -> Result<(), TlsError> {
        let age = now.0 - self.read(|state| state.made).0;
        let half = i64::try_from(SERVER_LIFE.0 / 2).unwrap_or(i64::MAX);
        if (0..half).contains(&age) { Ok(()) } else { self.put_in_force(authority, now) }
    }

    /// Names one more address.
    pub(super) fn add_name(&self, authority: &Authority, name: &str, now: UnixMillis) -> Result<(), TlsError> {
        let mut names =
            self.read(|state| if state.names.contains(name) { BTreeSet::new() } else { state.names.clone() });
        if names.is_empty() || names.len() >= NAMES_MAX {
            return Ok(());
        }
        names.insert(name.to_owned());
        self.sign_with(authority, names, now)
    }

    fn current(&self) -> Arc<CertifiedKey> {
        self.read(|state| Arc::clone(&state.current))
    }

    #[cfg(test)]
    pub(super) fn shown(&self) -> Vec<CertificateDer<'static>> {
        self.current().cert.clone()
    }

    /// One that carries this name besides.
    pub(super) fn naming(&self, authority: &Authority, name: &str, now: UnixMillis) -> Arc<CertifiedKey> {
        let names = self.read(|state| state.names.clone());
        if names.contains(name) || authority.is_external() {
            return self.current();
        }
        let asked = || self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = asked().get(name).cloned() {
            return known;
        }
        // Signed without the lock: handshakes for other names go on meanwhile.
        let names = names.into_iter().chain([name.to_owned()]).collect();
        let Ok(state) = sign(authority, &self.key, &self.signer, names, now) else { return self.current() };
        let mut asked = asked();
        if asked.len() >= ASKED_MAX {
            metrics::counter!("signalbox_tls_names_forgotten_total").increment(1);
            asked.clear();
        }
        asked.insert(name.to_owned(), Arc::clone(&state.current));
        state.current
    }
}

fn sign(
    authority: &Authority,
    key: &KeyPair,
    signer: &Arc<dyn SigningKey>,
    names: BTreeSet<String>,
    now: UnixMillis,
) -> Result<State, TlsError> {
    let listed: Vec<String> = names.iter().cloned().collect();
    let (certificate, not_after) = authority.root().issue_server(key, &listed, now)?;
    let chain = std::iter::once(certificate).chain(authority.chain().iter().cloned()).collect();
    let current = Arc::new(CertifiedKey::new(chain, Arc::clone(signer)));
    Ok(State { names, current, made: now, not_after })
}

/// The site's certificate for HTTP.
#[derive(Debug)]
pub(super) struct SiteCertificate {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

impl SiteCertificate {
    pub(super) fn read(certificate: &Path, key: &Path) -> Result<SiteCertificate, TlsError> {
        let current = RwLock::new(read_pair(certificate, key)?);
        Ok(SiteCertificate { certificate: certificate.to_owned(), key: key.to_owned(), current })
    }

    /// Read again; what was in force stays on any error.
    pub(super) fn reload(&self) -> Result<(), TlsError> {
        let fresh = read_pair(&self.certificate, &self.key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn current(&self) -> Arc<CertifiedKey> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn path(&self) -> &Path {
        &self.certificate
    }

    pub(super) fn not_after(&self) -> UnixMillis {
        let current = self.current();
        let parsed = current.end_entity_cert().ok().and_then(|own| X509Certificate::from_der(own).ok());
        parsed.map_or(UnixMillis(0), |(_, parsed)| seconds(parsed.validity().not_after))
    }

    pub(super) fn names(&self) -> Vec<String> {
        let current = self.current();
        let Ok(own) = current.end_entity_cert() else { return Vec::new() };
        let Ok((_, parsed)) = X509Certificate::from_der(own) else { return Vec::new() };
        let Ok(Some(names)) = parsed.subject_alternative_name() else { return Vec::new() };
        let name = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        };
        names.value.general_names.iter().filter_map(name).collect()
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string())).ok()
}

fn read_pair(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let (chain, read): (Vec<CertificateDer<'static>>, _) = authority::read_pair(certificate, key)?;
    let pair = CertifiedKey::from_der(chain, read, &aws_lc_rs::default_provider());
    let why = |why| format!("with {}: {why}; certificate and key must belong together", key.display());
    pair.map(Arc::new).map_err(|error| TlsError::Unusable { path: certificate.to_owned(), why: why(error) })
}

/// Chooses what is shown, at each handshake anew.
#[derive(Debug)]
pub(super) struct Resolver {
    tls: Arc<Tls>,
    is_for_agents: bool,
}

impl Resolver {
    /// Agents get a certificate of the authority that they know.
    pub(super) fn agents(tls: Arc<Tls>) -> Resolver {
        Resolver { tls, is_for_agents: true }
    }

    /// Operators get the site's, if it has one.
    pub(super) fn operators(tls: Arc<Tls>) -> Resolver {
        Resolver { tls, is_for_agents: false }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let own = &self.tls.own;
        match (&self.tls.http, hello.server_name()) {
            (Some(site), _) if !self.is_for_agents => Some(site.current()),
            (_, Some(name)) if self.is_for_agents => Some(own.naming(&self.tls.authority(), name, self.tls.now())),
            _ => Some(own.current()),
        }
    }
}

/// TLS 1.3, or 1.2; nothing is resumed and no ticket given, so that a key that is
/// revoked cannot come back by an old session.
pub(super) fn config(
    clock: TlsClock,
    verifier: Option<Arc<Verifier>>,
    resolver: Resolver,
    protocol: &[u8],
) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_details(provider, Arc::new(clock))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .expect("the provider has suites for both versions");
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![protocol.to_vec()];
    config
}
