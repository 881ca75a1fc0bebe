//! TLS 1.3 as the agent speaks it, and whom it believes.
//!
//! At a join nothing is known but the pin: SHA-256 of the CA's public key. The
//! collector presents its CA behind its certificate, and that CA becomes the root
//! when its key has the pin. Afterwards the roots of the identity count. Names and
//! times are checked in both cases. Sessions are never resumed, so that a renewed
//! certificate is shown and a revoked one is looked at each time.

use super::fault::Fault;
use crate::identity::Identity;
use crate::identity::certificate::Facts;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use signalbox_proto::clock::Clock;
use signalbox_proto::join::Fingerprint;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// HTTP/2 by ALPN.
pub(crate) const H2: &[u8] = b"h2";
/// Certificates of a presented chain that are looked at.
const CHAIN_MAX: usize = 8;

/// Whom to believe.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// Whoever the presented CA with this key has certified.
    Pin(Fingerprint),
    /// Whoever the identity's roots have certified.
    Roots(Vec<CertificateDer<'static>>),
    /// Anybody. Only `ping` does, on a host without an identity, and tells nothing.
    Anybody,
}

/// What the other side presented.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The CA's key that was asked for, if one was.
    pub(super) pin: Option<Fingerprint>,
    /// Its certificate first.
    chain: Mutex<Vec<Facts>>,
}

impl Seen {
    /// The chain, empty before one was presented.
    pub(crate) fn chain(&self) -> Vec<Facts> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A configuration for one connection, and where it will note what was presented.
///
/// # Errors
/// [`Fault::Own`] when the identity cannot be used.
pub(crate) fn client(
    trust: Trust,
    identity: Option<&Identity>,
    clock: &Arc<dyn Clock>,
) -> Result<(Arc<ClientConfig>, Arc<Seen>), Fault> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let pin = if let Trust::Pin(pin) = &trust { Some(*pin) } else { None };
    let seen = Arc::new(Seen { pin, chain: Mutex::default() });
    let verifier = Arc::new(Verifier { trust, provider: provider.clone(), seen: seen.clone() });
    let builder = ClientConfig::builder_with_details(provider, Arc::new(ClockTime(clock.clone())))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(Fault::Own)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            builder.with_client_auth_cert(identity.chain.clone(), identity.key.clone_key()).map_err(Fault::Own)?
        }
    };
    config.alpn_protocols = vec![H2.to_vec()];
    config.resumption = Resumption::disabled();
    Ok((Arc::new(config), seen))
}

/// The agent's clock, for the times in certificates.
struct ClockTime(Arc<dyn Clock>);

impl fmt::Debug for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockTime")
    }
}

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        u64::try_from(self.0.wall().0).ok().map(|ms| UnixTime::since_unix_epoch(Duration::from_millis(ms)))
    }
}

/// Decides whether a collector is who it should be, and notes what it presented.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
    seen: Arc<Seen>,
}

impl Verifier {
    fn roots(&self, presented: &[CertificateDer<'_>]) -> Result<Option<RootCertStore>, Error> {
        let mut store = RootCertStore::empty();
        match &self.trust {
            Trust::Anybody => return Ok(None),
            Trust::Roots(roots) => {
                store.add_parsable_certificates(roots.iter().cloned());
            }
            Trust::Pin(pin) => {
                let pinned = |der: &&CertificateDer<'_>| Facts::read(der).is_ok_and(|facts| facts.fingerprint == *pin);
                let Some(root) = presented.iter().find(pinned) else {
                    return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
                };
                store.add(root.clone().into_owned())?;
            }
        }
        Ok(Some(store))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let presented = std::iter::once(end_entity).chain(intermediates).take(CHAIN_MAX);
        let facts = presented.filter_map(|der| Facts::read(der).ok()).collect();
        *self.seen.chain.lock().unwrap_or_else(PoisonError::into_inner) = facts;
        let Some(roots) = self.roots(intermediates.get(..CHAIN_MAX).unwrap_or(intermediates))? else {
            return Ok(ServerCertVerified::assertion());
        };
        let unusable = |error| Error::General(format!("use the roots: {error}"));
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(unusable)?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
