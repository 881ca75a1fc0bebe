//! A CA for tests.

use super::key::NextKey;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use signalbox_proto::join::Fingerprint;
use signalbox_proto::units::UnixMillis;
use x509_parser::prelude::ASN1Time;

const YEAR_MS: i64 = 365 * 86_400_000;

/// Signs what a test asks for.
pub(crate) struct Authority {
    pub(crate) installation: String,
    params: CertificateParams,
    key: KeyPair,
    root: Certificate,
}

impl Authority {
    pub(crate) fn new(name: &str, now: UnixMillis) -> Authority {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = between(UnixMillis(now.0 - YEAR_MS), UnixMillis(now.0 + YEAR_MS));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = params.self_signed(&key).unwrap();
        Authority { installation: "6f9619ff-8b86-4d01-b42d-00cf4fc964ff".to_owned(), params, key, root }
    }

    pub(crate) fn pem(&self) -> String {
        self.root.pem()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.root.der().clone()
    }

    pub(crate) fn pin(&self) -> Fingerprint {
        super::certificate::fingerprint(&self.key.subject_public_key_info())
    }

    pub(crate) fn agent(&self, key: &NextKey, id: &str, from: UnixMillis, to: UnixMillis) -> String {
        self.client(key.public(), id, from, to)
    }

    /// For the key of a request.
    pub(crate) fn certify(&self, request: &[u8], id: &str, from: UnixMillis, to: UnixMillis) -> String {
        use x509_parser::prelude::FromDer as _;
        let (_, request) = x509_parser::prelude::X509CertificationRequest::from_der(request).unwrap();
        let spki = request.certification_request_info.subject_pki.raw;
        self.client(&rcgen::SubjectPublicKeyInfo::from_der(spki).unwrap(), id, from, to)
    }

    fn client(&self, key: &impl rcgen::PublicKeyData, id: &str, from: UnixMillis, to: UnixMillis) -> String {
        let mut params = between(from, to);
        params.distinguished_name.push(DnType::CommonName, id);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let uri = format!("spiffe://{}/agent/{id}", self.installation);
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.signed_by(key, &self.issuer()).unwrap().pem()
    }

    /// Certificate (PEM, and DER with the CA behind it) and key of a collector.
    pub(crate) fn server(
        &self,
        names: &[&str],
        from: UnixMillis,
        to: UnixMillis,
    ) -> (String, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = between(from, to);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let name = |name: &&str| match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName((*name).try_into().unwrap()),
        };
        params.subject_alt_names = names.iter().map(name).collect();
        let certificate = params.signed_by(&key, &self.issuer()).unwrap();
        let pkcs8 = PrivatePkcs8KeyDer::from(key.serialize_der());
        (certificate.pem(), vec![certificate.der().clone(), self.der()], PrivateKeyDer::Pkcs8(pkcs8))
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

fn between(from: UnixMillis, to: UnixMillis) -> CertificateParams {
    let time = |at: UnixMillis| ASN1Time::from_timestamp(at.0 / 1000).unwrap().to_datetime();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = time(from);
    params.not_after = time(to);
    params
}
