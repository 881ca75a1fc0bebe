//! One certificate authority: a root's certificate, its key, and what it signs.
//!
//! ```text
//! root (CA, 10 years) ──▶ server certificate (serverAuth, 30 d, key in memory only)
//!                     ──▶ agent certificate  (clientAuth, 7 d, URI spiffe://INSTALLATION/agent/ID)
//!                     ──▶ next root, cross-signed while roots are rotated
//! ```
//!
//! An agent's certificate says what the collector says: nothing in a request but
//! its key comes to be in a certificate.

use super::TlsError;
use super::csr::{AgentKey, fingerprint_of};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls_pki_types::CertificateDer;
use signalbox_proto::join::Fingerprint;
use signalbox_proto::names::AgentId;
use signalbox_proto::units::{Millis, UnixMillis};
use std::path::Path;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A root made here is good for this long.
pub const ROOT_LIFE: Millis = Millis::from_mins(3650 * 24 * 60);
/// An agent's certificate is good for this long, and at most; agents renew at half of it.
pub const AGENT_LIFE: Millis = signalbox_access::limits::CERTIFICATE_LIFE;
/// The collector's own certificate is good for this long; it is made again at half of it.
pub const SERVER_LIFE: Millis = Millis::from_mins(30 * 24 * 60);
/// It may be made shorter, down to this: half of it must leave time for a second try.
pub const AGENT_LIFE_MIN: Millis = Millis::from_mins(2);
/// An agent's certificate begins this long before it is made, or a tenth of its life:
/// clocks differ.
const AGENT_BACKDATED: Millis = Millis::from_mins(5);
/// The collector's own and a root's begin earlier: an agent that was off may have a
/// clock that is hours behind, and must be able to hear so.
const BACKDATED: Millis = Millis::from_mins(24 * 60);

/// A certificate that was just made for an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate, PEM.
    pub pem: String,
    /// When it begins.
    pub not_before: UnixMillis,
    /// When it ends.
    pub not_after: UnixMillis,
}

/// A root and its key.
pub struct Root {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    pin: Fingerprint,
    not_before: UnixMillis,
    not_after: UnixMillis,
}

impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Root")
            .field("pin", &self.pin.base64())
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

pub(super) fn make_failed(what: &'static str) -> impl Fn(rcgen::Error) -> TlsError {
    move |why| TlsError::Make { what, why: why.to_string() }
}

/// Certificates count in seconds.
fn instant(at: UnixMillis) -> Result<OffsetDateTime, TlsError> {
    let made = OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1000));
    made.map_err(|why| TlsError::Make { what: "a time in a certificate", why: why.to_string() })
}

fn before(at: UnixMillis, by: Millis) -> UnixMillis {
    UnixMillis(at.0.saturating_sub(i64::try_from(by.0).unwrap_or(i64::MAX)))
}

fn after(at: UnixMillis, by: Millis) -> UnixMillis {
    UnixMillis(at.0.saturating_add(i64::try_from(by.0).unwrap_or(i64::MAX)))
}

/// 127 random bits: positive, as RFC 5280 (4.1.2.2) wants it.
fn serial() -> Result<SerialNumber, TlsError> {
    let mut bytes = super::random::<16>()?;
    bytes[0] = bytes[0] & 0x7f | 0x01;
    Ok(SerialNumber::from_slice(&bytes))
}

fn params(common_name: &str, from: UnixMillis, to: UnixMillis) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::default();
    params.not_before = instant(from)?;
    params.not_after = instant(to)?;
    params.serial_number = Some(serial()?);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

impl Root {
    /// A new root with a new key; also the key, PEM, for its file.
    pub(super) fn create(installation: &str, now: UnixMillis) -> Result<(Root, KeyPair), TlsError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(make_failed("the key of a root"))?;
        let root = Root::create_for(&key, installation, now)?;
        Ok((root, key))
    }

    /// A new root's certificate over a key that is there.
    pub(super) fn create_for(key: &KeyPair, installation: &str, now: UnixMillis) -> Result<Root, TlsError> {
        // No two roots of an installation have one name: where both are trusted, a
        // certificate must lead to the one that made it.
        let pin = fingerprint_of(&key.subject_public_key_info());
        let name = format!("Signalbox CA {installation} {}", &pin.to_string()[..8]);
        let mut params = params(&name, before(now, BACKDATED), after(now, ROOT_LIFE))?;
        // Another root may stand below this one while roots are rotated.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(key).map_err(make_failed("the certificate of a root"))?;
        let copy = KeyPair::from_pem(&key.serialize_pem()).map_err(make_failed("the key of a root"))?;
        Root::of(certificate.der().clone(), copy, Path::new("ca.pem"), now)
    }

    /// From a certificate and its key, which must belong together.
    ///
    /// # Errors
    /// [`TlsError::Unusable`] with what is wrong with the certificate.
    pub(super) fn of(
        certificate: CertificateDer<'static>,
        key: KeyPair,
        path: &Path,
        now: UnixMillis,
    ) -> Result<Root, TlsError> {
        let unusable = |why: &str| TlsError::Unusable { path: path.to_owned(), why: why.to_owned() };
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|_| unusable("it is no X.509 certificate"))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(unusable(
                "its key is not the one in the key's file: put the pair together that belongs together",
            ));
        }
        if !parsed.is_ca() {
            return Err(unusable("it is no certificate authority (basicConstraints CA:TRUE): it could sign nothing"));
        }
        if parsed.key_usage().ok().flatten().is_some_and(|usage| !usage.value.key_cert_sign()) {
            return Err(unusable("its key usage does not allow it to sign certificates (keyCertSign)"));
        }
        let validity = parsed.validity();
        let (not_before, not_after) = (seconds(validity.not_before), seconds(validity.not_after));
        if now > not_after {
            return Err(unusable("it has expired: agents trust nothing that it signs"));
        }
        let pin = fingerprint_of(parsed.public_key().raw);
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(make_failed("an issuer"))?;
        Ok(Root { certificate, issuer, pin, not_before, not_after })
    }

    /// SHA-256 of its public key, as join tokens carry it.
    pub fn pin(&self) -> Fingerprint {
        self.pin
    }

    /// From when and until when it is good.
    pub fn validity(&self) -> (UnixMillis, UnixMillis) {
        (self.not_before, self.not_after)
    }

    /// When it was made here.
    pub(super) fn made(&self) -> UnixMillis {
        after(self.not_before, BACKDATED)
    }

    /// The certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A certificate for an agent's key, for so long: URI, clientAuth.
    ///
    /// # Errors
    /// [`TlsError::Make`].
    pub fn issue_agent(
        &self,
        key: &AgentKey,
        (uri, agent): (&str, &AgentId),
        life: Millis,
        now: UnixMillis,
    ) -> Result<Issued, TlsError> {
        let failed = make_failed("the certificate of an agent");
        let from = before(now, AGENT_BACKDATED.min(Millis(life.0 / 10)));
        let to = after(now, life.min(AGENT_LIFE)).min(self.not_after);
        // A common name has 64 characters at most; the URI is what counts.
        let name: String = agent.to_string().chars().take(64).collect();
        let mut params = params(&name, from, to)?;
        params.subject_alt_names = vec![SanType::URI(uri.try_into().map_err(&failed)?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        let public = SubjectPublicKeyInfo::from_der(key.spki()).map_err(&failed)?;
        let pem = params.signed_by(&public, &self.issuer).map_err(&failed)?.pem();
        Ok(Issued {
            pem,
            not_before: UnixMillis(from.0.div_euclid(1000) * 1000),
            not_after: UnixMillis(to.0.div_euclid(1000) * 1000),
        })
    }

    /// A certificate for the collector itself, and when it ends. A name that is an
    /// address becomes one.
    pub(super) fn issue_server(
        &self,
        key: &KeyPair,
        names: &[String],
        now: UnixMillis,
    ) -> Result<(CertificateDer<'static>, UnixMillis), TlsError> {
        let failed = make_failed("the collector's own certificate");
        let to = after(now, SERVER_LIFE).min(self.not_after);
        let mut params = params("Signalbox collector", before(now, BACKDATED).max(self.not_before), to)?;
        params.subject_alt_names = CertificateParams::new(names).map_err(&failed)?.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        Ok((params.signed_by(key, &self.issuer).map_err(&failed)?.der().clone(), to))
    }

    /// The next root, signed by this one: whoever trusts this one may follow.
    pub(super) fn cross_sign(&self, next: &Root) -> Result<CertificateDer<'static>, TlsError> {
        let failed = make_failed("the cross-signed certificate of the next root");
        let (_, parsed) = X509Certificate::from_der(&next.certificate)
            .map_err(|_| TlsError::Make { what: "read the next root", why: "it is no certificate".to_owned() })?;
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default();
        let mut params = params(name, next.not_before, next.not_after.min(self.not_after))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(params.signed_by(next.issuer.key(), &self.issuer).map_err(&failed)?.der().clone())
    }
}

/// Seconds of a certificate as an instant.
pub(super) fn seconds(time: x509_parser::time::ASN1Time) -> UnixMillis {
    UnixMillis(time.timestamp().saturating_mul(1000))
}

/// Who an agent is, in the words of its certificate.
pub fn agent_uri(installation: &str, agent: &AgentId) -> String {
    format!("spiffe://{installation}/agent/{agent}")
}
