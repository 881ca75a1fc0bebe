//! Which client certificates pass a handshake of the agents' door.
//!
//! ```text
//! no certificate ─────────────────────────────────▶ passes: may enrol, nothing else
//! chain to a trusted root, now, for clientAuth ──▶ key active ──▶ passes as its agent
//!    └ only its time is over ──▶ key active, at most 90 d ago ──▶ passes: may renew, nothing else
//! anything else ──▶ the handshake ends with an alert that says what is wrong
//! ```
//!
//! The names in a certificate decide nothing: its key does, in the table of active
//! keys, which is asked again at every call and while a stream lives. There is no
//! revocation list; a key that is not active is refused.

use super::Tls;
use super::ca::{agent_uri, seconds};
use super::csr::fingerprint_of;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use signalbox_proto::join::Fingerprint;
use signalbox_proto::names::AgentId;
use signalbox_proto::units::{Millis, UnixMillis};
use std::cell::Cell;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A known key may renew its certificate this long after that has ended.
pub const RENEW_AFTER_END: Millis = signalbox_access::limits::RENEW_AFTER_END;
/// Certificates that may follow an agent's own: a root that was sent along, and one
/// between.
const FOLLOWING_MAX: usize = 2;
/// A client's certificate is at most this long, DER bytes; ours have about 500.
const CERTIFICATE_MAX_BYTES: usize = 8 * 1024;

tokio::task_local! {
    /// The key of a good chain in the handshake of this task.
    static NOTED: Cell<Option<Fingerprint>>;
}

/// Runs a handshake; besides its outcome gives the key that was shown with a good
/// chain, also when it was refused: the audit names whose it was.
pub async fn noting<T>(handshake: impl Future<Output = T>) -> (T, Option<Fingerprint>) {
    let noted = async {
        let outcome = handshake.await;
        (outcome, NOTED.with(Cell::get))
    };
    NOTED.scope(Cell::new(None), noted).await
}

/// What the table of keys says about one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It proves this agent.
    Active(AgentId),
    /// It did, until the agent was revoked or took a newer key.
    Over,
    /// Nobody has it.
    Unknown,
}

/// The table of keys: that of the writer, and one for tests.
pub trait KeyTable: std::fmt::Debug + Send + Sync {
    /// What is known of a key now.
    fn standing(&self, key: Fingerprint) -> Standing;
}

/// What a client certificate says that matters, once it was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Its key.
    pub key: Fingerprint,
    /// When its time is over.
    pub not_after: UnixMillis,
}

impl Shown {
    /// Reads a certificate; none when it is none.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Shown> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let key = fingerprint_of(parsed.public_key().raw);
        Some(Shown { key, not_after: seconds(parsed.validity().not_after) })
    }

    /// True when its time is over.
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        now > self.not_after
    }
}

/// Roots, and what verifies chains to them.
type Against = (Vec<CertificateDer<'static>>, Arc<dyn ClientCertVerifier>);

/// Verifies client certificates against the roots of the moment.
#[derive(Debug)]
pub struct Verifier {
    tls: Arc<Tls>,
    keys: Arc<dyn KeyTable>,
    provider: Arc<CryptoProvider>,
    /// The roots that it was built from, and what verifies chains to them.
    inner: RwLock<Option<Against>>,
}

impl Verifier {
    /// Over the roots of `tls` and a table of keys.
    pub fn new(tls: Arc<Tls>, keys: Arc<dyn KeyTable>) -> Verifier {
        Verifier { tls, keys, provider: Arc::new(aws_lc_rs::default_provider()), inner: RwLock::default() }
    }

    fn inner(&self) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let roots = self.tls.authority().roots();
        let held = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, inner)) = held.as_ref().filter(|(known, _)| *known == roots) {
            return Ok(Arc::clone(inner));
        }
        drop(held);
        let fresh = against(roots.clone(), &self.provider)?;
        *self.inner.write().unwrap_or_else(PoisonError::into_inner) = Some((roots, Arc::clone(&fresh)));
        Ok(fresh)
    }

    /// The chain is good, but perhaps for its time.
    fn chain(&self, own: &CertificateDer<'_>, following: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let inner = self.inner()?;
        let expired = match inner.verify_client_cert(own, following, now) {
            Ok(_) => return Ok(()),
            Err(error) if is_expired(&error) => error,
            Err(error) => return Err(error),
        };
        // Good until it ended, and not so long ago that nobody should have the key.
        let end = Shown::of(own).ok_or(CertificateError::BadEncoding)?.not_after.0.div_euclid(1000);
        let end = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(end).unwrap_or(0)));
        let ago = now.as_secs().saturating_sub(end.as_secs());
        if end > now || ago > RENEW_AFTER_END.0 / 1000 {
            return Err(expired);
        }
        inner.verify_client_cert(own, following, end).map(drop)
    }
}

fn is_expired(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }))
}

/// What verifies chains to these roots.
fn against(
    roots: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots);
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
    let built = builder.clear_root_hint_subjects().build();
    built.map_err(|error| Error::General(format!("no client can be verified: {error}")))
}

/// True when a certificate's one URI is this.
fn is_named(certificate: &CertificateDer<'_>, uri: &str) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return false };
    matches!(names.value.general_names[..], [GeneralName::URI(name)] if name == uri)
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // An agent has one certificate: there is nothing to choose by a hint.
        &[]
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        following: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if following.len() > FOLLOWING_MAX || own.len() > CERTIFICATE_MAX_BYTES {
            return Err(CertificateError::UnknownIssuer.into());
        }
        self.chain(own, following, now)?;
        let shown = Shown::of(own).ok_or(CertificateError::BadEncoding)?;
        // Outside of a task nobody asks for it.
        let _unasked = NOTED.try_with(|noted| noted.set(Some(shown.key)));
        match self.keys.standing(shown.key) {
            Standing::Active(agent) if is_named(own, &agent_uri(self.tls.authority().installation(), &agent)) => {
                Ok(ClientCertVerified::assertion())
            }
            // A certificate of another installation or for another agent.
            Standing::Active(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
            Standing::Over => Err(CertificateError::Revoked.into()),
            Standing::Unknown => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
