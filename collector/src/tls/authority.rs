//! The installation's certificate authority: its own, in files, or the site's.
//!
//! ```text
//! DATA/ca/  (0700)
//!   installation      id of the installation, a UUID
//!   ca.key  ca.pem    the root: key 0600, certificate
//!   ca-next.key  ca-next.pem     while roots are rotated: the root that signs now
//! ```
//!
//! A key is always written before its certificate, so that a certificate without a
//! key means a lost key and never a start that was cut short. In a rotation both
//! roots are trusted and the next one signs; its certificate, signed by the old
//! one, goes with every handshake, so that an agent that knows the old root alone
//! still follows. Agents learn the next root when they renew; the old one is dropped
//! by an operator's word, or once no agent that knows it alone could renew any more.

use super::TlsError;
use super::ca::{Issued, Root, agent_uri, make_failed};
use super::csr::AgentKey;
use super::files::{self, Readers};
use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use signalbox_proto::api::CaRoot;
use signalbox_proto::names::AgentId;
use signalbox_proto::text::hex;
use signalbox_proto::units::{Millis, UnixMillis};
use std::path::{Path, PathBuf};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The old root is trusted this long after a rotation began: as long as an agent that
/// was off, and whose certificate has ended meanwhile, may renew it.
const OLD_ROOT_KEPT: Millis = signalbox_access::limits::RENEW_AFTER_END;

/// Where the authority is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Folder of our own files.
    pub folder: PathBuf,
    /// The site's certificate (or several, its own first) and key, instead of ours.
    pub site: Option<(PathBuf, PathBuf)>,
}

/// Who signs, and who is trusted.
#[derive(Debug)]
pub struct Authority {
    installation: String,
    /// Signs.
    root: Root,
    /// Trusted besides, as agents may know nothing newer.
    old: Option<Root>,
    /// What the site trusts besides its own authority.
    besides: Vec<CertificateDer<'static>>,
    /// Goes with the collector's own certificate.
    chain: Vec<CertificateDer<'static>>,
    is_external: bool,
}

impl Authority {
    /// Reads it, or makes it when there is none yet.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn open(place: &Place, now: UnixMillis) -> Result<Authority, TlsError> {
        files::make_folder(&place.folder)?;
        let installation = installation(&place.folder)?;
        match &place.site {
            Some((certificate, key)) => Authority::of_site(installation, certificate, key, now),
            None => Authority::own(installation, &place.folder, now),
        }
    }

    fn of_site(installation: String, certificate: &Path, key: &Path, now: UnixMillis) -> Result<Authority, TlsError> {
        let mut all = files::read_certificates(certificate)?.into_iter();
        let first = all.next().expect("a file without a certificate is refused");
        let root = Root::of(first, read_key(key, Readers::Owner)?, certificate, now)?;
        let besides: Vec<_> = all.collect();
        let chain = std::iter::once(root.certificate().clone()).chain(besides.iter().cloned()).collect();
        Ok(Authority { installation, root, old: None, besides, chain, is_external: true })
    }

    fn own(installation: String, folder: &Path, now: UnixMillis) -> Result<Authority, TlsError> {
        finish_cut_short(folder)?;
        let root = match read_root(folder, "ca", now)? {
            Some(root) => root,
            None => make_root(folder, "ca", &installation, now)?,
        };
        let next = if folder.join("ca-next.pem").exists() { read_root(folder, "ca-next", now)? } else { None };
        let Some(next) = next else {
            let chain = vec![root.certificate().clone()];
            return Ok(Authority { installation, root, old: None, besides: Vec::new(), chain, is_external: false });
        };
        let chain = vec![root.cross_sign(&next)?, root.certificate().clone()];
        Ok(Authority { installation, root: next, old: Some(root), besides: Vec::new(), chain, is_external: false })
    }

    /// Begins a rotation: from the next [`Authority::open`] on a new root signs.
    ///
    /// # Errors
    /// [`TlsError::Rotation`] when the root is the site's or a rotation is under way.
    pub fn begin_rotation(&self, place: &Place, now: UnixMillis) -> Result<(), TlsError> {
        if let Some((certificate, _)) = &place.site {
            let why = format!(
                "the certificate authority is the site's: put its new certificate first in {}, and the old one after it",
                certificate.display()
            );
            return Err(TlsError::Rotation(why));
        }
        if let Some(old) = &self.old {
            let why = format!("a rotation is under way: the old root ({}) is dropped first", old.pin().base64());
            return Err(TlsError::Rotation(why));
        }
        make_root(&place.folder, "ca-next", &self.installation, now).map(drop)
    }

    /// When nobody needs the old root any more; none when there is no old one.
    pub fn rotation_end(&self) -> Option<UnixMillis> {
        self.old.as_ref().map(|_| self.root.made() + OLD_ROOT_KEPT)
    }

    /// Drops the old root: from the next [`Authority::open`] on there is one.
    ///
    /// # Errors
    /// [`TlsError::Rotation`] when there is no old one, [`TlsError::Write`].
    pub fn end_rotation(&self, place: &Place) -> Result<(), TlsError> {
        if self.old.is_none() {
            return Err(TlsError::Rotation("there is no old root to be dropped: none was rotated".to_owned()));
        }
        tracing::info!(pin = self.root.pin().base64(), "the old root is dropped");
        files::rename(&place.folder, "ca-next.key", "ca.key")?;
        files::rename(&place.folder, "ca-next.pem", "ca.pem")
    }

    /// Id of the installation.
    pub fn installation(&self) -> &str {
        &self.installation
    }

    /// The root that signs.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// True when the root is the site's own.
    pub fn is_external(&self) -> bool {
        self.is_external
    }

    /// Every certificate that is trusted, the one that signs first.
    pub fn roots(&self) -> Vec<CertificateDer<'static>> {
        let old = self.old.iter().map(|old| old.certificate().clone());
        std::iter::once(self.root.certificate().clone()).chain(old).chain(self.besides.iter().cloned()).collect()
    }

    /// What goes with the collector's own certificate in a handshake.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// [`Authority::roots`], PEM.
    pub fn bundle(&self) -> String {
        self.roots().iter().map(pem).collect()
    }

    /// For operators.
    pub fn report(&self) -> Vec<CaRoot> {
        let row = |root: &Root, issues| {
            let (not_before, not_after) = root.validity();
            let dropped = if issues { None } else { self.rotation_end() };
            CaRoot { pin: root.pin().base64(), not_before, not_after, issues, dropped }
        };
        let besides = self.besides.iter().filter_map(|certificate| {
            let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
            let pin = super::csr::fingerprint_of(parsed.public_key().raw).base64();
            let (from, to) = (parsed.validity().not_before, parsed.validity().not_after);
            let (not_before, not_after) = (super::ca::seconds(from), super::ca::seconds(to));
            Some(CaRoot { pin, not_before, not_after, issues: false, dropped: None })
        });
        std::iter::once(row(&self.root, true))
            .chain(self.old.iter().map(|old| row(old, false)))
            .chain(besides)
            .collect()
    }

    /// A certificate for an agent.
    ///
    /// # Errors
    /// [`TlsError::Make`].
    pub fn issue(&self, key: &AgentKey, agent: &AgentId, life: Millis, now: UnixMillis) -> Result<Issued, TlsError> {
        self.root.issue_agent(key, (&agent_uri(&self.installation, agent), agent), life, now)
    }
}

/// A certificate as text.
fn pem(certificate: &CertificateDer<'static>) -> String {
    let der: &[u8] = certificate;
    rcgen_pem(der)
}

/// PEM (RFC 7468): base64 in lines of 64.
fn rcgen_pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::with_capacity(text.len() + text.len() / 64 + 64);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// Whether the site's authority could be used.
pub(super) fn check_site(certificate: &Path, key: &Path, now: UnixMillis) -> Result<(), TlsError> {
    Authority::of_site(String::new(), certificate, key, now).map(drop)
}

fn read_key(path: &Path, readers: Readers) -> Result<KeyPair, TlsError> {
    let text = files::read_key(path, readers)?;
    KeyPair::from_pem(&text)
        .map_err(|why| TlsError::Read { path: path.to_owned(), why: format!("it is no private key: {why}") })
}

/// The installation's id, made once.
fn installation(folder: &Path) -> Result<String, TlsError> {
    let path = folder.join("installation");
    if path.exists() {
        let id = files::read_text(&path)?;
        let is_good = id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        let why = || "it is no UUID; restore it: certificates of agents name it".to_owned();
        return if is_good { Ok(id) } else { Err(TlsError::Read { path, why: why() }) };
    }
    let mut bytes = super::random::<16>()?;
    // Version 4, variant 1 (RFC 9562, section 5.4).
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex(&bytes);
    let id = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    files::write(folder, "installation", &format!("{id}\n"), false)?;
    Ok(id)
}

/// A root of ours; none when neither file is there.
fn read_root(folder: &Path, name: &str, now: UnixMillis) -> Result<Option<Root>, TlsError> {
    let (key_path, path) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.pem")));
    match (key_path.exists(), path.exists()) {
        (false, false) => Ok(None),
        (false, true) => {
            let why = "its key is missing: restore it from a backup, or remove the folder to begin anew; \
                       all agents must join again then";
            Err(TlsError::Read { path: key_path, why: why.to_owned() })
        }
        // The first start was cut short between the two.
        (true, false) => {
            let key = read_key(&key_path, Readers::Owner)?;
            let root = Root::create_for(&key, &installation(folder)?, now)?;
            files::write(folder, &format!("{name}.pem"), &pem(root.certificate()), false)?;
            Ok(Some(root))
        }
        (true, true) => {
            let certificate = files::read_certificates(&path)?.swap_remove(0);
            Root::of(certificate, read_key(&key_path, Readers::Owner)?, &path, now).map(Some)
        }
    }
}

fn make_root(folder: &Path, name: &str, installation: &str, now: UnixMillis) -> Result<Root, TlsError> {
    let (root, key) = Root::create(installation, now)?;
    let text = zeroize::Zeroizing::new(key.serialize_pem());
    files::write(folder, &format!("{name}.key"), &text, true)?;
    files::write(folder, &format!("{name}.pem"), &pem(root.certificate()), false)?;
    tracing::info!(pin = root.pin().base64(), "a root was made");
    Ok(root)
}

/// The end of a rotation renames two files; a crash may come between.
fn finish_cut_short(folder: &Path) -> Result<(), TlsError> {
    let (key, next) = (folder.join("ca.key"), folder.join("ca-next.pem"));
    if !next.exists() || folder.join("ca-next.key").exists() || !key.exists() {
        return Ok(());
    }
    let certificate = files::read_certificates(&next)?.swap_remove(0);
    let spki = read_key(&key, Readers::Owner)?.subject_public_key_info();
    let is_of = X509Certificate::from_der(&certificate).is_ok_and(|(_, parsed)| parsed.public_key().raw == spki);
    if is_of { files::rename(folder, "ca-next.pem", "ca.pem") } else { Ok(()) }
}

/// A pair of files for a TLS server: its certificate with what leads to the root,
/// and the key.
pub(super) fn read_pair(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, rustls_pki_types::PrivateKeyDer<'static>), TlsError> {
    let chain = files::read_certificates(certificate)?;
    let text = files::read_key(key, Readers::Group)?;
    let read = rustls_pki_types::PrivateKeyDer::from_pem_slice(text.as_bytes());
    let read =
        read.map_err(|why| TlsError::Read { path: key.to_owned(), why: format!("it is no private key: {why}") })?;
    Ok((chain, read))
}

/// A key for the collector's own certificate; it never leaves the memory.
pub(super) fn server_key() -> Result<KeyPair, TlsError> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(make_failed("the collector's own key"))
}

#[cfg(test)]
mod tests;
