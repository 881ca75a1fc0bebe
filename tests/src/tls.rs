//! Channels to a collector, and identities good and bad.
//!
//! [`join`] gets an identity as an agent does; [`Forge`] makes certificates that a
//! collector must refuse. The server is always checked against the collector's own
//! CA: what is tested is what the collector does.

use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, CertifiedIssuer, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use signalbox_proto::clock::{Clock, SystemClock};
use signalbox_proto::join::JoinToken;
use signalbox_proto::wire::v1;
use signalbox_proto::wire::v1::enrol_service_client::EnrolServiceClient;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// A certificate chain and its key, PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Own certificate first.
    pub chain: String,
    /// PKCS #8.
    pub key: String,
}

/// A channel over a Unix socket.
///
/// # Errors
/// No connection.
pub async fn unix(path: &Path) -> Result<Channel> {
    let path = path.to_owned();
    let connect = service_fn(move |_: Uri| {
        let path = path.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
    });
    Ok(Endpoint::from_static("http://agent.sock").connect_with_connector(connect).await?)
}

/// What a caller says in the handshake.
///
/// # Errors
/// PEM that is none, or a key that is not the certificate's.
pub fn client_config(ca_pem: &str, identity: Option<&Identity>) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(root.context("a root of the collector")?)?;
    }
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { chain, key }) => {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// A TLS stream to a loopback port.
///
/// # Errors
/// No connection, or no handshake.
pub async fn stream(port: u16, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    tcp.set_nodelay(true)?;
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST)), tcp)
        .await
}

/// A channel over TLS to a loopback port. In TLS 1.3 a client certificate that is
/// refused shows at the first call, not here.
///
/// # Errors
/// No connection, or no handshake.
pub async fn channel(port: u16, ca_pem: &str, identity: Option<&Identity>) -> Result<Channel> {
    let config = client_config(ca_pem, identity)?;
    let connect = service_fn(move |_: Uri| {
        let config = config.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(stream(port, config).await?)) }
    });
    Ok(Endpoint::from_static("http://collector").connect_with_connector(connect).await?)
}

/// A key of an agent and its request, DER.
///
/// # Errors
/// When the library cannot make one.
pub fn request(name: &str) -> Result<(KeyPair, Vec<u8>)> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let params = CertificateParams::new(vec![name.to_owned()])?;
    let csr = params.serialize_request(&key)?.der().to_vec();
    Ok((key, csr))
}

/// Becomes an agent of the collector behind `channel`.
///
/// # Errors
/// The collector's refusal, as it came.
pub async fn join(channel: Channel, token: &str, agent: &str, wall_ms: i64) -> Result<Identity, tonic::Status> {
    let invalid = |error: anyhow::Error| tonic::Status::internal(format!("{error:#}"));
    let token = JoinToken::parse(token).map_err(|error| invalid(error.into()))?;
    let (key, csr_der) = request(agent).map_err(invalid)?;
    let applicant = v1::Applicant {
        agent_id: agent.to_owned(),
        csr_der,
        boot_id: "e2e".to_owned(),
        version: "0".to_owned(),
        labels: Vec::new(),
        wall_ms,
    };
    let request = v1::JoinRequest {
        token_id: token.id().to_owned(),
        secret: token.secret().to_vec(),
        applicant: Some(applicant),
    };
    let answer = EnrolServiceClient::new(channel).join(request).await?.into_inner();
    let identity = answer.identity.ok_or_else(|| tonic::Status::internal("an answer without an identity"))?;
    Ok(Identity { chain: identity.certificate_pem, key: key.serialize_pem() })
}

/// Takes a new key and certificate for the identity of `channel`.
///
/// # Errors
/// The collector's refusal.
pub async fn renew(channel: Channel) -> Result<Identity> {
    let (key, csr_der) = request("renewed")?;
    let answer = EnrolServiceClient::new(channel).renew(v1::RenewRequest { csr_der }).await?;
    let identity = answer.into_inner().identity.context("an answer without an identity")?;
    Ok(Identity { chain: identity.certificate_pem, key: key.serialize_pem() })
}

/// Makes identities that no collector gave.
pub struct Forge {
    /// The URI that a real agent's certificate would carry.
    pub uri: String,
}

impl Forge {
    /// What a certificate of an agent looks like, made of `days` before and after now.
    ///
    /// # Errors
    /// When the library cannot make one.
    pub fn params(&self, not_before_days: i64, not_after_days: i64) -> Result<CertificateParams> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.subject_alt_names = vec![rcgen::SanType::URI(self.uri.as_str().try_into()?)];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        let now = time::OffsetDateTime::from_unix_timestamp(SystemClock::start().wall().0 / 1000)?;
        params.not_before = now + time::Duration::days(not_before_days);
        params.not_after = now + time::Duration::days(not_after_days);
        Ok(params)
    }

    /// Signed by itself.
    ///
    /// # Errors
    /// As [`Forge::params`].
    pub fn self_signed(&self) -> Result<Identity> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = self.params(-1, 6)?.self_signed(&key)?;
        Ok(Identity { chain: certificate.pem(), key: key.serialize_pem() })
    }

    /// Signed by `issuer`.
    ///
    /// # Errors
    /// As [`Forge::params`].
    pub fn signed(&self, params: &CertificateParams, issuer: &rcgen::Issuer<'_, KeyPair>) -> Result<Identity> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.clone().signed_by(&key, issuer)?;
        Ok(Identity { chain: certificate.pem(), key: key.serialize_pem() })
    }

    /// Another authority, with the name that the collector's has.
    ///
    /// # Errors
    /// As [`Forge::params`].
    pub fn other_ca(&self, name: DistinguishedName) -> Result<CertifiedIssuer<'static, KeyPair>> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = name;
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Ok(CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)?)
    }
}
