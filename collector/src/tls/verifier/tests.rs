//! Good and bad client certificates, in whole handshakes in memory.

use super::super::testing::{Installation, Keys, NOW, TestAgent, agent};
use super::*;
use crate::tls::csr::AgentKey;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ServerConnection, SupportedProtocolVersion, version};
use signalbox_proto::clock::Clock;
use std::sync::Arc;
use time::OffsetDateTime;

struct Rig {
    at: Installation,
    keys: Arc<Keys>,
}

/// What a client shows.
struct Shows {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Rig {
    fn new() -> Rig {
        Rig { at: Installation::new(), keys: Arc::default() }
    }

    fn enrolled(&self, id: &str) -> TestAgent {
        let made = TestAgent::of(&self.at.tls, id);
        self.keys.set(made.fingerprint(), Standing::Active(agent(id)));
        made
    }

    /// A certificate over a new key that is active for `web1`, as the maker wants it.
    fn made(&self, change: impl FnOnce(&mut CertificateParams), issuer: &Issuer<'_, KeyPair>) -> Shows {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.not_before = OffsetDateTime::from_unix_timestamp(NOW.0 / 1000 - 60).unwrap();
        params.not_after = OffsetDateTime::from_unix_timestamp(NOW.0 / 1000 + 600).unwrap();
        let uri = agent_uri(self.at.tls.authority().installation(), &agent("web1"));
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let request = super::super::testing::request(&key);
        self.keys.set(AgentKey::of_request(&request).unwrap().fingerprint(), Standing::Active(agent("web1")));
        let der = params.signed_by(&key, issuer).unwrap().der().clone();
        Shows { chain: vec![der], key: private(&key) }
    }

    /// The installation's own root, as if its key had been stolen.
    fn root(&self) -> Issuer<'static, KeyPair> {
        let folder = self.at.folder.path().join("ca");
        let key = KeyPair::from_pem(&std::fs::read_to_string(folder.join("ca.key")).unwrap()).unwrap();
        Issuer::from_ca_cert_pem(&std::fs::read_to_string(folder.join("ca.pem")).unwrap(), key).unwrap()
    }

    /// A handshake to its end: what the server says.
    fn shake(
        &self,
        shows: Option<Shows>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Option<Shown>, Error> {
        let config = self.at.tls.agents_config(self.keys.clone());
        let mut server = ServerConnection::new(config).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.at.tls.authority().roots());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let time = Arc::new(super::super::TlsClock(self.at.clock.clone()));
        let builder = ClientConfig::builder_with_details(provider, time)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match shows {
            Some(Shows { chain, key }) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
        for _ in 0..8 {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                server.process_new_packets()?;
            }
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets()?;
            }
        }
        assert!(!server.is_handshaking() && server.alpn_protocol() == Some(b"h2"));
        Ok(server.peer_certificates().and_then(|chain| Shown::of(&chain[0])))
    }

    #[track_caller]
    fn refused(&self, shows: Shows, wanted: &[CertificateError]) {
        match self.shake(Some(shows), &[&version::TLS13]) {
            Err(Error::InvalidCertificate(error)) => {
                let is_wanted =
                    wanted.iter().any(|wanted| std::mem::discriminant(wanted) == std::mem::discriminant(&error));
                assert!(is_wanted, "{error:?}");
            }
            other => panic!("not refused for its certificate: {other:?}"),
        }
    }
}

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))
}

impl From<&TestAgent> for Shows {
    fn from(made: &TestAgent) -> Shows {
        Shows { chain: vec![made.certificate.clone()], key: made.private() }
    }
}

fn expired() -> CertificateError {
    CertificateError::ExpiredContext {
        time: UnixTime::since_unix_epoch(Duration::ZERO),
        not_after: UnixTime::since_unix_epoch(Duration::ZERO),
    }
}

#[test]
fn an_agent_passes_by_its_key_in_both_versions_of_tls() {
    let rig = Rig::new();
    let web1 = rig.enrolled("web1");
    for versions in [[&version::TLS13], [&version::TLS12]] {
        let shown = rig.shake(Some((&web1).into()), &versions).unwrap().unwrap();
        assert_eq!(shown.key, web1.fingerprint());
        assert!(!shown.is_expired(rig.at.clock.wall()));
        let root = rig.at.tls.authority().root().certificate().clone();
        let with_root = Shows { chain: vec![web1.certificate.clone(), root], key: web1.private() };
        assert!(rig.shake(Some(with_root), &versions).is_ok());
    }
}

#[test]
fn nobody_needs_a_certificate_to_enrol() {
    let rig = Rig::new();
    assert_eq!(rig.shake(None, &[&version::TLS13]), Ok(None));
    assert_eq!(rig.shake(None, &[&version::TLS12]), Ok(None));
}

#[test]
fn a_key_that_is_not_active_is_refused_whatever_its_certificate() {
    let rig = Rig::new();
    let web1 = rig.enrolled("web1");
    rig.keys.set(web1.fingerprint(), Standing::Over);
    rig.refused((&web1).into(), &[CertificateError::Revoked]);
    rig.keys.set(web1.fingerprint(), Standing::Unknown);
    rig.refused((&web1).into(), &[CertificateError::ApplicationVerificationFailure]);
    // Bound to another agent than the one that the certificate names.
    rig.keys.set(web1.fingerprint(), Standing::Active(agent("web2")));
    rig.refused((&web1).into(), &[CertificateError::ApplicationVerificationFailure]);
}

#[test]
fn certificates_of_others_are_refused() {
    let rig = Rig::new();
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let foreign = Issuer::new(params.clone(), key);
    rig.refused(rig.made(|_| {}, &foreign), &[CertificateError::UnknownIssuer]);

    // Self-signed, with everything else in order.
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let own = CertificateParams::default().self_signed(&key).unwrap().der().clone();
    let spki = AgentKey::of_request(&super::super::testing::request(&key)).unwrap();
    rig.keys.set(spki.fingerprint(), Standing::Active(agent("web1")));
    rig.refused(Shows { chain: vec![own], key: private(&key) }, &[CertificateError::UnknownIssuer]);

    // Another installation, which has an agent of this name.
    let other = Installation::new();
    let web1 = TestAgent::of(&other.tls, "web1");
    rig.keys.set(web1.fingerprint(), Standing::Active(agent("web1")));
    rig.refused((&web1).into(), &[CertificateError::UnknownIssuer]);

    // A root with our root's name and another key.
    let impostor = {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Issuer::from_ca_cert_der(rig.at.tls.authority().root().certificate(), key).unwrap()
    };
    rig.refused(rig.made(|_| {}, &impostor), &[CertificateError::BadSignature, CertificateError::UnknownIssuer]);
}

#[test]
fn certificates_for_something_else_are_refused() {
    let rig = Rig::new();
    let purpose = || CertificateError::InvalidPurposeContext {
        required: rustls::ExtendedKeyPurpose::ClientAuth,
        presented: Vec::new(),
    };
    let server =
        |params: &mut CertificateParams| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    rig.refused(rig.made(server, &rig.root()), &[purpose()]);
    let is_ca = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    rig.refused(
        rig.made(is_ca, &rig.root()),
        &[CertificateError::Other(rustls::OtherError(Arc::new(std::fmt::Error)))],
    );
    // Names: none, another agent's, one too many, a host's.
    let none = |params: &mut CertificateParams| params.subject_alt_names = Vec::new();
    rig.refused(rig.made(none, &rig.root()), &[CertificateError::ApplicationVerificationFailure]);
    let other = |params: &mut CertificateParams| {
        params.subject_alt_names = vec![SanType::URI("spiffe://x/agent/web1".try_into().unwrap())];
    };
    rig.refused(rig.made(other, &rig.root()), &[CertificateError::ApplicationVerificationFailure]);
    let more = |params: &mut CertificateParams| {
        params.subject_alt_names.push(SanType::URI("spiffe://x/agent/web2".try_into().unwrap()));
    };
    rig.refused(rig.made(more, &rig.root()), &[CertificateError::ApplicationVerificationFailure]);
    let host =
        |params: &mut CertificateParams| params.subject_alt_names = vec![SanType::DnsName("web1".try_into().unwrap())];
    rig.refused(rig.made(host, &rig.root()), &[CertificateError::ApplicationVerificationFailure]);
}

#[test]
fn a_certificate_before_its_time_is_refused() {
    let rig = Rig::new();
    let early = |params: &mut CertificateParams| {
        params.not_before = OffsetDateTime::from_unix_timestamp(NOW.0 / 1000 + 2).unwrap();
    };
    let at = UnixTime::since_unix_epoch(Duration::ZERO);
    rig.refused(rig.made(early, &rig.root()), &[CertificateError::NotValidYetContext { time: at, not_before: at }]);
}

#[test]
fn an_expired_certificate_passes_for_ninety_days_if_its_key_is_active_and_is_marked() {
    let rig = Rig::new();
    let web1 = rig.enrolled("web1");
    rig.at.clock.advance(super::super::ca::AGENT_LIFE);
    assert!(!rig.shake(Some((&web1).into()), &[&version::TLS13]).unwrap().unwrap().is_expired(rig.at.clock.wall()));
    rig.at.clock.advance(Millis(1000));
    let shown = rig.shake(Some((&web1).into()), &[&version::TLS13]).unwrap().unwrap();
    assert!(shown.is_expired(rig.at.clock.wall()));
    rig.at.clock.advance(Millis(RENEW_AFTER_END.0 - 1000));
    rig.at.tls.look_after().unwrap();
    assert!(rig.shake(Some((&web1).into()), &[&version::TLS13]).is_ok());
    rig.keys.set(web1.fingerprint(), Standing::Over);
    rig.refused((&web1).into(), &[CertificateError::Revoked]);
    rig.keys.set(web1.fingerprint(), Standing::Active(agent("web1")));
    rig.at.clock.advance(Millis(1000));
    rig.refused((&web1).into(), &[expired()]);
}

#[test]
fn an_expired_certificate_of_a_foreign_root_or_purpose_gains_nothing_by_being_old() {
    let rig = Rig::new();
    let past = |params: &mut CertificateParams| {
        params.not_before = OffsetDateTime::from_unix_timestamp(NOW.0 / 1000 - 600).unwrap();
        params.not_after = OffsetDateTime::from_unix_timestamp(NOW.0 / 1000 - 60).unwrap();
    };
    assert!(rig.shake(Some(rig.made(past, &rig.root())), &[&version::TLS13]).is_ok());
    let server = |params: &mut CertificateParams| {
        past(params);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    assert!(rig.shake(Some(rig.made(server, &rig.root())), &[&version::TLS13]).is_err());
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let foreign = Issuer::new(params, KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap());
    rig.refused(rig.made(past, &foreign), &[CertificateError::UnknownIssuer]);
}

#[test]
fn a_certificate_with_any_bit_turned_is_refused() {
    let rig = Rig::new();
    let web1 = rig.enrolled("web1");
    for at in 0..web1.certificate.len() {
        let mut bytes = web1.certificate.to_vec();
        bytes[at] ^= 0x01;
        let verifier = Verifier::new(Arc::clone(&rig.at.tls), rig.keys.clone());
        let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(NOW.0 / 1000).unwrap()));
        assert!(verifier.verify_client_cert(&CertificateDer::from(bytes), &[], now).is_err(), "byte {at}");
    }
}

#[test]
fn another_agents_certificate_without_its_key_is_refused() {
    let rig = Rig::new();
    let (web1, web2) = (rig.enrolled("web1"), rig.enrolled("web2"));
    let provider = aws_lc_rs::default_provider();
    // The client is made to go on, although key and certificate do not match.
    let key = provider.key_provider.load_private_key(web2.private()).unwrap();
    let stolen = Arc::new(rustls::sign::CertifiedKey::new(vec![web1.certificate.clone()], key));
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rig.at.tls.authority().roots());
    let time = Arc::new(super::super::TlsClock(rig.at.clock.clone()));
    let config = ClientConfig::builder_with_details(Arc::new(provider), time)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(stolen)));
    let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut server = ServerConnection::new(rig.at.tls.agents_config(rig.keys.clone())).unwrap();
    let mut outcome = Ok(());
    for _ in 0..4 {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        outcome = server.process_new_packets().map(drop);
        if outcome.is_err() {
            break;
        }
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut bytes.as_slice()).unwrap();
        client.process_new_packets().unwrap();
    }
    assert!(matches!(outcome, Err(Error::InvalidCertificate(CertificateError::BadSignature))), "{outcome:?}");
}

#[test]
fn a_chain_that_is_too_long_or_a_certificate_that_is_too_large_is_refused() {
    let rig = Rig::new();
    let web1 = rig.enrolled("web1");
    let root = rig.at.tls.authority().root().certificate().clone();
    let chain = |n: usize| Shows {
        chain: std::iter::once(web1.certificate.clone()).chain(std::iter::repeat_n(root.clone(), n)).collect(),
        key: web1.private(),
    };
    assert!(rig.shake(Some(chain(FOLLOWING_MAX)), &[&version::TLS13]).is_ok());
    rig.refused(chain(FOLLOWING_MAX + 1), &[CertificateError::UnknownIssuer]);
    let large = |params: &mut CertificateParams| {
        let extension = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![0; CERTIFICATE_MAX_BYTES]);
        params.custom_extensions = vec![extension];
    };
    rig.refused(rig.made(large, &rig.root()), &[CertificateError::UnknownIssuer]);
}

#[test]
fn an_intermediate_below_our_root_makes_no_agents() {
    let rig = Rig::new();
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::NoCa;
    let below = params.signed_by(&key, &rig.root()).unwrap().der().clone();
    let mut shows = rig.made(|_| {}, &Issuer::new(params, key));
    shows.chain.push(below);
    // An agent's own certificate must not make certificates.
    assert!(rig.shake(Some(shows), &[&version::TLS13]).is_err());
}

#[test]
fn old_versions_other_protocols_and_plain_text_are_refused() {
    let rig = Rig::new();
    for bytes in
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 64], &[0x16, 3, 1, 0xff, 0xff]]
    {
        let mut server = ServerConnection::new(rig.at.tls.agents_config(rig.keys.clone())).unwrap();
        let _n = server.read_tls(&mut &bytes[..]).unwrap();
        assert!(server.process_new_packets().is_err(), "{bytes:?}");
    }
    let config = rig.at.tls.agents_config(rig.keys.clone());
    assert_eq!(config.alpn_protocols, [b"h2"]);
    assert_eq!((config.send_tls13_tickets, config.session_storage.can_cache()), (0, false));
    assert!(!config.ticketer.enabled());
}

#[test]
fn after_a_rotation_agents_of_both_roots_pass_and_the_old_root_is_dropped_in_time() {
    let rig = Rig::new();
    let old = rig.enrolled("old");
    rig.at.tls.rotate_ca().unwrap();
    let new = rig.enrolled("new");
    for agent in [&old, &new] {
        assert!(rig.shake(Some(agent.into()), &[&version::TLS13]).is_ok());
    }
    assert!(rig.at.tls.rotate_ca().unwrap_err().to_string().contains("under way"));
    rig.at.clock.advance(Millis(signalbox_access::limits::RENEW_AFTER_END.0 - 1));
    rig.at.tls.look_after().unwrap();
    // Away for three months, its certificate long over: it may still renew.
    assert!(rig.shake(Some((&old).into()), &[&version::TLS13]).is_ok());
    rig.at.clock.advance(Millis(1));
    rig.at.tls.look_after().unwrap();
    assert_eq!(rig.at.tls.authority().roots().len(), 1);
    rig.refused((&old).into(), &[CertificateError::UnknownIssuer]);
    // Expired by now, and still known.
    assert!(rig.shake(Some((&new).into()), &[&version::TLS13]).is_ok());
}
