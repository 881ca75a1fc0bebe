//! Keys, certificates and TLS of the collector's two doors.
//!
//! - [`authority`]: the installation's certificate authority in `DATA/ca`, or the
//!   site's; rotation with two roots. [`ca`]: one root and what it signs.
//! - [`csr`]: what is taken from an agent's certificate request: its key.
//! - [`verifier`]: which client certificates pass a handshake.
//! - [`server`]: the certificate that the collector shows, made and made again
//!   without a restart.
//!
//! [`Tls`] is all of it for the rest of the collector. It promises: a private key
//! is never in a log, an error or `Debug`; a key file that others can read is
//! refused; TLS 1.2 is the floor; nothing is resumed, so that every connection's
//! key is looked up in the table of active keys.

pub mod authority;
pub mod ca;
pub mod csr;
mod files;
mod server;
#[cfg(test)]
pub(crate) mod testing;
pub mod verifier;

use authority::{Authority, Place};
use ca::Issued;
use csr::AgentKey;
use rustls::ServerConfig;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use server::ServerCertificate;
use signalbox_proto::api::CaReport;
use signalbox_proto::clock::Clock;
use signalbox_proto::join::Fingerprint;
use signalbox_proto::names::AgentId;
use signalbox_proto::units::{Millis, UnixMillis};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use thiserror::Error;
use verifier::{KeyTable, Verifier};

/// Between two looks whether a certificate must be made again or a root dropped.
pub const LOOK: Millis = Millis::from_mins(10);

/// So long before its end a root is worth a word: agents need time to follow.
const ROOT_WARNING: Millis = Millis::from_mins(90 * 24 * 60);
/// And the site's certificate, which others renew.
const SITE_WARNING: Millis = Millis::from_mins(14 * 24 * 60);

/// What went wrong with keys and certificates.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read or is not what it must be.
    #[error("read {path}: {why}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A private key that others can read.
    #[error(
        "read {path}: others can read this private key (mode {mode:03o}); run: chmod 600 {path}, and make a new key if it may have been copied"
    )]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Permissions as they are.
        mode: u32,
    },
    /// A file cannot be written.
    #[error("write {path}: {why}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A certificate that cannot serve its purpose.
    #[error("use {path}: {why}")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// A key or certificate could not be made.
    #[error("make {what}: {why}")]
    Make {
        /// Which.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// Roots cannot be rotated now.
    #[error("rotate the root: {0}")]
    Rotation(String),
}

/// What the configuration says about keys and certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The site's authority: certificate and key.
    pub site_ca: Option<(PathBuf, PathBuf)>,
    /// The site's certificate and key for HTTP.
    pub site_http: Option<(PathBuf, PathBuf)>,
    /// Names and addresses under which agents and people reach the collector.
    pub names: Vec<String>,
    /// How long an agent's certificate is good.
    pub agent_life: Millis,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { site_ca: None, site_http: None, names: Vec::new(), agent_life: ca::AGENT_LIFE }
    }
}

impl Settings {
    /// Reads the site's files and says what is wrong with them.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn check(&self, now: UnixMillis) -> Result<(), TlsError> {
        if let Some((certificate, key)) = &self.site_ca {
            authority::check_site(certificate, key, now)?;
        }
        match &self.site_http {
            Some((certificate, key)) => server::SiteCertificate::read(certificate, key).map(drop),
            None => Ok(()),
        }
    }
}

/// `N` random bytes from the system.
///
/// # Errors
/// [`TlsError::Make`] when the system has none.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], TlsError> {
    let mut bytes = [0; N];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|why| TlsError::Make { what: "random bytes", why: why.to_string() })?;
    Ok(bytes)
}

/// Makes aws-lc-rs the one provider of cryptography in this process.
pub fn install_provider() {
    // A second install keeps the first, which is the same.
    let _second = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Keys and certificates of a running collector.
#[derive(Debug)]
pub struct Tls {
    place: Place,
    clock: TlsClock,
    authority: RwLock<Arc<Authority>>,
    /// One change of roots at a time.
    changing: Mutex<()>,
    own: Arc<ServerCertificate>,
    http: Option<Arc<server::SiteCertificate>>,
    agent_life: Millis,
}

/// The collector's clock, as certificates are judged by it.
#[derive(Clone)]
pub(crate) struct TlsClock(Arc<dyn Clock>);

impl std::fmt::Debug for TlsClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsClock")
    }
}

impl TimeProvider for TlsClock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.wall().0.div_euclid(1000)).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

impl Tls {
    /// Reads or makes the authority in `folder`, and the collector's certificate.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn open(folder: PathBuf, settings: &Settings, clock: Arc<dyn Clock>) -> Result<Tls, TlsError> {
        let clock = TlsClock(clock);
        let now = clock.0.wall();
        let place = Place { folder, site: settings.site_ca.clone() };
        let authority = Arc::new(Authority::open(&place, now)?);
        let own = Arc::new(ServerCertificate::make(&authority, &settings.names, now)?);
        let http = match &settings.site_http {
            Some((certificate, key)) => Some(Arc::new(server::SiteCertificate::read(certificate, key)?)),
            None => None,
        };
        let (authority, agent_life) = (RwLock::new(authority), settings.agent_life);
        Ok(Tls { place, clock, authority, changing: Mutex::default(), own, http, agent_life })
    }

    /// Who signs and who is trusted now.
    pub fn authority(&self) -> Arc<Authority> {
        self.authority.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a join token must carry.
    pub fn pin(&self) -> Fingerprint {
        self.authority().root().pin()
    }

    /// Id of the installation.
    pub fn installation(&self) -> String {
        self.authority().installation().to_owned()
    }

    /// A certificate for an agent.
    ///
    /// # Errors
    /// [`TlsError::Make`].
    pub fn issue(&self, key: &AgentKey, agent: &AgentId) -> Result<Issued, TlsError> {
        self.authority().issue(key, agent, self.agent_life, self.clock.0.wall())
    }

    /// Names of the certificate that operators see.
    pub fn server_names(&self) -> Vec<String> {
        self.http.as_ref().map_or_else(|| self.own.names(), |site| site.names())
    }

    /// For operators.
    pub fn report(&self) -> CaReport {
        let authority = self.authority();
        let server_not_after = self.http.as_ref().map_or_else(|| self.own.not_after(), |site| site.not_after());
        let server_names = self.server_names();
        CaReport {
            installation: authority.installation().to_owned(),
            external: authority.is_external(),
            roots: authority.report(),
            pem: authority.bundle(),
            server_not_after,
            server_names,
        }
    }

    /// A new root signs from now on; the old one is trusted for as long as an agent
    /// that was off may renew. Gives the new root's pin.
    ///
    /// # Errors
    /// [`TlsError::Rotation`] when it cannot be; then nothing has changed.
    pub fn rotate_ca(&self) -> Result<Fingerprint, TlsError> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.authority().begin_rotation(&self.place, self.clock.0.wall())?;
        self.open_again()?;
        Ok(self.pin())
    }

    /// The old root is trusted no more: whoever knows it alone must join anew. Gives
    /// the pin of the one that stays.
    ///
    /// # Errors
    /// [`TlsError::Rotation`] when there is no old one; then nothing has changed.
    pub fn drop_old_ca(&self) -> Result<Fingerprint, TlsError> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.authority().end_rotation(&self.place)?;
        self.open_again()?;
        Ok(self.pin())
    }

    /// Reads the site's files again; the old ones stay in force on any error.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn reload(&self) -> Result<(), TlsError> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(site) = &self.http {
            site.reload()?;
        }
        if self.place.site.is_some() { self.open_again() } else { Ok(()) }
    }

    /// Makes the collector's certificate again in time and ends a rotation.
    ///
    /// # Errors
    /// [`TlsError`]; what was in force still is.
    pub fn look_after(&self) -> Result<(), TlsError> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (authority, now) = (self.authority(), self.clock.0.wall());
        if authority.rotation_end().is_some_and(|end| now >= end) {
            authority.end_rotation(&self.place)?;
            return self.open_again();
        }
        self.own.look_after(&authority, now)
    }

    fn open_again(&self) -> Result<(), TlsError> {
        let now = self.clock.0.wall();
        let authority = Arc::new(Authority::open(&self.place, now)?);
        self.own.put_in_force(&authority, now)?;
        *self.authority.write().unwrap_or_else(PoisonError::into_inner) = authority;
        Ok(())
    }

    /// A connection came to this address of ours: the certificate shall name it.
    pub fn note_address(&self, address: IpAddr) {
        if let Err(error) =
            self.own.add_name(&self.authority(), &address.to_canonical().to_string(), self.clock.0.wall())
        {
            tracing::warn!(%error, "the collector's certificate was not made again");
        }
    }

    /// What ends soon and does not renew itself, for people.
    pub fn warning(&self) -> Option<String> {
        let now = self.clock.0.wall();
        let (_, root) = self.authority().root().validity();
        let soon =
            |end: UnixMillis, ahead: Millis| end.0.saturating_sub(now.0) < i64::try_from(ahead.0).unwrap_or(i64::MAX);
        if soon(root, ROOT_WARNING) {
            return Some("the root that signs agents' certificates ends within 90 days: rotate it".to_owned());
        }
        let site = self.http.as_ref().filter(|site| soon(site.not_after(), SITE_WARNING))?;
        let path = site.path().display();
        Some(format!("the certificate of HTTP, {path}, ends within 14 days: renew it, then reload"))
    }

    /// TLS of the agents' door: HTTP/2 only, a client certificate is asked for and
    /// may be missing, but one that is given must pass [`Verifier`].
    pub fn agents_config(self: &Arc<Self>, keys: Arc<dyn KeyTable>) -> Arc<ServerConfig> {
        let verifier = Arc::new(Verifier::new(Arc::clone(self), keys));
        let resolver = server::Resolver::agents(Arc::clone(self));
        Arc::new(server::config(self.clock.clone(), Some(verifier), resolver, b"h2"))
    }

    /// TLS of the operators' door: HTTP/1.1, the site's certificate or one of our
    /// own authority. Replaced certificates are taken up without a restart.
    pub fn http_config(self: &Arc<Self>) -> Arc<ServerConfig> {
        let resolver = server::Resolver::operators(Arc::clone(self));
        Arc::new(server::config(self.clock.clone(), None, resolver, b"http/1.1"))
    }

    #[cfg(test)]
    pub(crate) fn clock(&self) -> TlsClock {
        self.clock.clone()
    }

    /// The collector's wall clock.
    pub(crate) fn now(&self) -> UnixMillis {
        self.clock.0.wall()
    }
}
