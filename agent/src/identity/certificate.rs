//! What the agent reads in a certificate: whose it is, and until when it holds.

use sha2::Digest as _;
use signalbox_proto::join::Fingerprint;
use signalbox_proto::names::AgentId;
use signalbox_proto::units::UnixMillis;
use std::net::IpAddr;
use thiserror::Error;
use x509_parser::prelude::{ASN1Time, FromDer as _, GeneralName, ParsedExtension, X509Certificate};

/// Names of a certificate that are shown to a person.
const NAMES_MAX: usize = 32;

/// The bytes are no certificate.
#[derive(Debug, Error)]
#[error("read a certificate: {0}")]
pub(crate) struct NotACertificate(String);

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub(crate) fingerprint: Fingerprint,
    /// Holds from then.
    pub(crate) not_before: UnixMillis,
    /// Holds until then.
    pub(crate) not_after: UnixMillis,
    /// As in `CN=web-1`.
    pub(crate) subject: String,
    /// Who signed it.
    pub(crate) issuer: String,
    /// Host names and addresses that it holds for.
    pub(crate) names: Vec<String>,
    /// Installation and agent of a name `spiffe://INSTALLATION/agent/ID`.
    pub(crate) agent: Option<(String, AgentId)>,
}

impl Facts {
    /// Reads DER.
    ///
    /// # Errors
    /// When it is no certificate. Signatures are not checked here.
    pub(crate) fn read(der: &[u8]) -> Result<Facts, NotACertificate> {
        let (rest, cert) = X509Certificate::from_der(der).map_err(|error| NotACertificate(error.to_string()))?;
        if !rest.is_empty() {
            return Err(NotACertificate("something follows it".to_owned()));
        }
        let mut facts = Facts {
            fingerprint: fingerprint(cert.public_key().raw),
            not_before: UnixMillis(cert.validity().not_before.timestamp().saturating_mul(1000)),
            not_after: UnixMillis(cert.validity().not_after.timestamp().saturating_mul(1000)),
            subject: cert.subject().to_string(),
            issuer: cert.issuer().to_string(),
            names: Vec::new(),
            agent: None,
        };
        for extension in cert.extensions() {
            let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else { continue };
            for name in names.general_names.iter().take(NAMES_MAX) {
                match name {
                    GeneralName::DNSName(name) => facts.names.push((*name).to_owned()),
                    GeneralName::IPAddress(bytes) => facts.names.extend(address(bytes)),
                    GeneralName::URI(uri) => facts.agent = agent(uri).or(facts.agent),
                    _ => {}
                }
            }
        }
        Ok(facts)
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    v4.or(v6).ok().map(|address| address.to_string())
}

fn agent(uri: &str) -> Option<(String, AgentId)> {
    let (installation, id) = uri.strip_prefix("spiffe://")?.split_once("/agent/")?;
    AgentId::parse(id).ok().map(|id| (installation.to_owned(), id))
}

/// SHA-256 of a SubjectPublicKeyInfo, DER.
pub(crate) fn fingerprint(spki: &[u8]) -> Fingerprint {
    Fingerprint(sha2::Sha256::digest(spki).into())
}

/// An instant as people read it: `2026-11-30 05:40 UTC`.
pub(crate) fn utc(at: UnixMillis) -> String {
    let Ok(time) = ASN1Time::from_timestamp(at.0.div_euclid(1000)) else { return format!("{} ms", at.0) };
    let time = time.to_datetime();
    let (date, hour, minute) = (time.date(), time.hour(), time.minute());
    format!("{:04}-{:02}-{:02} {hour:02}:{minute:02} UTC", date.year(), u8::from(date.month()), date.day())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::key::NextKey;
    use crate::identity::testing::Authority;

    const NOW: UnixMillis = UnixMillis(1_764_000_000_000);

    #[test]
    fn an_agents_certificate_tells_whose_it_is() {
        let ca = Authority::new("ca", NOW);
        let key = NextKey::generate().unwrap();
        let pem = ca.agent(&key, "web-1", NOW, UnixMillis(NOW.0 + 7 * 86_400_000));
        let (_, der) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let facts = Facts::read(&der.contents).unwrap();
        assert_eq!(facts.fingerprint, key.fingerprint());
        assert_eq!((facts.not_before, facts.not_after), (NOW, UnixMillis(NOW.0 + 7 * 86_400_000)));
        assert_eq!(facts.agent, Some((ca.installation.clone(), AgentId::parse("web-1").unwrap())));
        assert!(Facts::read(&der.contents[1..]).is_err());
        assert!(Facts::read(&[der.contents, vec![0]].concat()).is_err());
    }

    #[test]
    fn an_instant_reads_as_utc() {
        assert_eq!(utc(UnixMillis(1_764_000_059_999)), "2025-11-24 16:00 UTC");
        assert_eq!(utc(UnixMillis(-1)), "1969-12-31 23:59 UTC");
        assert_eq!(utc(UnixMillis::MAX), format!("{} ms", i64::MAX));
    }

    #[test]
    fn only_a_whole_spiffe_name_is_an_agents() {
        assert!(agent("spiffe://i/agent/web-1").is_some());
        for uri in ["spiffe://i/agent/", "spiffe://i/agent/a/b", "https://i/agent/a", "spiffe://i"] {
            assert_eq!(agent(uri), None, "{uri}");
        }
    }
}
