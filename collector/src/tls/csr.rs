//! A certificate request of an agent: its key is all that is taken from it.
//!
//! The request must be signed by the key that it names, which proves that the
//! caller holds it. Subject, names and extensions are not looked at: who an agent
//! is, the collector says. Only P-256 is taken, in its one usual encoding, so that
//! a key has one fingerprint.

use sha2::{Digest, Sha256};
use signalbox_proto::join::{CSR_MAX_BYTES, Fingerprint};
use thiserror::Error;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

/// `SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING }` up to the
/// point, which is uncompressed (RFC 5480, section 2).
const P256_HEAD: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
/// Bytes of a P-256 SubjectPublicKeyInfo.
const P256_BYTES: usize = 91;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CsrError {
    /// Too long.
    #[error("certificate request of {0} bytes is over the limit of {CSR_MAX_BYTES}")]
    TooLong(usize),
    /// Not a request.
    #[error("certificate request is no PKCS #10 in DER")]
    Malformed,
    /// Another kind of key.
    #[error("certificate request must hold a P-256 key")]
    Key,
    /// Whoever sent it does not hold the key.
    #[error("certificate request is not signed by the key that it holds")]
    Signature,
}

/// A public key of an agent, P-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentKey {
    spki: Vec<u8>,
}

impl AgentKey {
    /// Reads a certificate request and verifies its signature.
    ///
    /// # Errors
    /// [`CsrError`].
    pub fn of_request(der: &[u8]) -> Result<AgentKey, CsrError> {
        if der.len() > CSR_MAX_BYTES {
            return Err(CsrError::TooLong(der.len()));
        }
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| CsrError::Malformed)?;
        if !rest.is_empty() {
            return Err(CsrError::Malformed);
        }
        let key = AgentKey::of_spki(request.certification_request_info.subject_pki.raw)?;
        request.verify_signature().map_err(|_| CsrError::Signature)?;
        Ok(key)
    }

    /// From a SubjectPublicKeyInfo, DER.
    ///
    /// # Errors
    /// [`CsrError::Key`].
    pub fn of_spki(der: &[u8]) -> Result<AgentKey, CsrError> {
        let is_p256 = der.len() == P256_BYTES && der.starts_with(&P256_HEAD);
        if is_p256 { Ok(AgentKey { spki: der.to_vec() }) } else { Err(CsrError::Key) }
    }

    /// SubjectPublicKeyInfo, DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// What the key is known by.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint_of(&self.spki)
    }
}

/// SHA-256 of a SubjectPublicKeyInfo.
pub(super) fn fingerprint_of(spki: &[u8]) -> Fingerprint {
    Fingerprint(Sha256::digest(spki).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, PublicKeyData};

    fn request(algorithm: &'static rcgen::SignatureAlgorithm) -> (KeyPair, Vec<u8>) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(vec!["admin.example.com".to_owned()]).unwrap();
        let der = params.serialize_request(&key).unwrap().der().to_vec();
        (key, der)
    }

    #[test]
    fn the_key_is_taken_and_nothing_else() {
        let (key, der) = request(&rcgen::PKCS_ECDSA_P256_SHA256);
        let read = AgentKey::of_request(&der).unwrap();
        assert_eq!(read.spki(), key.subject_public_key_info());
        assert_eq!(read.fingerprint(), fingerprint_of(&key.subject_public_key_info()));
    }

    #[test]
    fn a_request_that_is_not_signed_by_its_key_is_refused() {
        let (_, mut der) = request(&rcgen::PKCS_ECDSA_P256_SHA256);
        let (other, _) = request(&rcgen::PKCS_ECDSA_P256_SHA256);
        let spki = other.subject_public_key_info();
        let at = der.windows(P256_HEAD.len()).position(|window| window == P256_HEAD).unwrap();
        der[at..at + spki.len()].copy_from_slice(&spki);
        assert_eq!(AgentKey::of_request(&der), Err(CsrError::Signature));
    }

    #[test]
    fn other_keys_garbage_and_too_much_are_refused() {
        for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            assert_eq!(AgentKey::of_request(&request(algorithm).1), Err(CsrError::Key));
        }
        let (_, mut der) = request(&rcgen::PKCS_ECDSA_P256_SHA256);
        for end in 0..der.len() {
            assert!(AgentKey::of_request(&der[..end]).is_err());
        }
        der.push(0);
        assert_eq!(AgentKey::of_request(&der), Err(CsrError::Malformed));
        assert_eq!(AgentKey::of_request(&vec![0; CSR_MAX_BYTES]), Err(CsrError::Malformed));
        assert_eq!(AgentKey::of_request(&vec![0; CSR_MAX_BYTES + 1]), Err(CsrError::TooLong(CSR_MAX_BYTES + 1)));
    }
}
