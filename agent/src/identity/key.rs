//! A key of the agent's own, and the request to certify it.

use super::certificate::fingerprint;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use signalbox_proto::join::Fingerprint;
use std::fmt;
use zeroize::Zeroizing;

/// A P-256 key that has no certificate yet. It is never printed.
pub(crate) struct NextKey {
    pair: KeyPair,
}

impl NextKey {
    /// Makes one.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(crate) fn generate() -> Result<NextKey, rcgen::Error> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(|pair| NextKey { pair })
    }

    /// Reads what [`NextKey::pem`] gave.
    ///
    /// # Errors
    /// When it is no such key.
    pub(crate) fn from_pem(pem: &str) -> Result<NextKey, rcgen::Error> {
        KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256).map(|pair| NextKey { pair })
    }

    /// PKCS #8, PEM.
    pub(crate) fn pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.pair.serialize_pem())
    }

    /// The request to certify it, PKCS #10, DER. It holds no names: who the agent is,
    /// the collector says.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub(crate) fn request(&self) -> Result<Vec<u8>, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serialize_request(&self.pair).map(|request| request.der().to_vec())
    }

    /// SHA-256 of its SubjectPublicKeyInfo.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.pair.subject_public_key_info())
    }

    /// For a test's CA.
    #[cfg(test)]
    pub(crate) fn public(&self) -> &KeyPair {
        &self.pair
    }
}

impl fmt::Debug for NextKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NextKey({})", self.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::{FromDer as _, X509CertificationRequest};

    #[test]
    fn a_key_reads_as_it_was_written_and_is_not_shown() {
        let key = NextKey::generate().unwrap();
        let again = NextKey::from_pem(&key.pem()).unwrap();
        assert_eq!(again.fingerprint(), key.fingerprint());
        assert_ne!(NextKey::generate().unwrap().fingerprint(), key.fingerprint());
        assert_eq!(format!("{key:?}"), format!("NextKey({})", key.fingerprint()));
        assert!(NextKey::from_pem("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").is_err());
    }

    #[test]
    fn a_request_holds_the_key_and_no_name() {
        let key = NextKey::generate().unwrap();
        let der = key.request().unwrap();
        assert!(der.len() <= signalbox_proto::join::CSR_MAX_BYTES);
        let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
        let info = &request.certification_request_info;
        assert_eq!(fingerprint(info.subject_pki.raw), key.fingerprint());
        assert_eq!(info.subject.iter().count(), 0);
    }
}
