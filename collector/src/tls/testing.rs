//! A certificate authority on a disk of its own, and keys that agents could have.

use super::csr::AgentKey;
use super::verifier::{KeyTable, Standing};
use super::{Settings, Tls};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use signalbox_proto::clock::ManualClock;
use signalbox_proto::join::Fingerprint;
use signalbox_proto::names::AgentId;
use signalbox_proto::units::UnixMillis;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// A day in 2026.
pub(crate) const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

/// An installation with its clock.
pub(crate) struct Installation {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) tls: Arc<Tls>,
    pub(crate) folder: TempDir,
}

impl Installation {
    pub(crate) fn new() -> Installation {
        Installation::with(Settings { names: vec!["localhost".to_owned()], ..Settings::default() })
    }

    pub(crate) fn with(settings: Settings) -> Installation {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(NOW));
        let tls = Tls::open(folder.path().join("ca"), &settings, clock.clone()).unwrap();
        Installation { clock, tls: Arc::new(tls), folder }
    }

    /// As after a restart.
    pub(crate) fn again(&self) -> Tls {
        Tls::open(self.folder.path().join("ca"), &Settings::default(), self.clock.clone()).unwrap()
    }
}

/// An agent's key and certificate.
pub(crate) struct TestAgent {
    pub(crate) key: KeyPair,
    pub(crate) certificate: CertificateDer<'static>,
}

impl TestAgent {
    /// Enrolled as `id`.
    pub(crate) fn of(tls: &Tls, id: &str) -> TestAgent {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let pem = tls.issue(&AgentKey::of_request(&request(&key)).unwrap(), &agent(id)).unwrap().pem;
        TestAgent { key, certificate: CertificateDer::from_pem_slice(pem.as_bytes()).unwrap() }
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        AgentKey::of_request(&request(&self.key)).unwrap().fingerprint()
    }

    pub(crate) fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }
}

pub(crate) fn agent(id: &str) -> AgentId {
    AgentId::parse(id).unwrap()
}

/// A certificate request, DER.
pub(crate) fn request(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

/// A table of keys that a test writes.
#[derive(Debug, Default)]
pub(crate) struct Keys(Mutex<HashMap<Fingerprint, Standing>>);

impl Keys {
    pub(crate) fn set(&self, key: Fingerprint, standing: Standing) {
        self.0.lock().unwrap().insert(key, standing);
    }
}

impl KeyTable for Keys {
    fn standing(&self, key: Fingerprint) -> Standing {
        self.0.lock().unwrap().get(&key).cloned().unwrap_or(Standing::Unknown)
    }
}
