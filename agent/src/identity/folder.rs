//! The identity on disk. See the module's page for the files.
//!
//! Join runs as root in a folder that the agent's user owns. What is made there is
//! made and given to that user through descriptors, so that a link which the agent's
//! user put there never leads root elsewhere.

use super::certificate::{Facts, NotACertificate};
use super::key::NextKey;
use rustix::fs::{AtFlags, Mode, OFlags, fchown, open, openat, renameat, unlinkat};
use rustix::process::{Gid, Uid};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use signalbox_proto::join::Fingerprint;
use signalbox_proto::names::AgentId;
use signalbox_proto::units::UnixMillis;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use thiserror::Error;
use zeroize::Zeroizing;

const KEY: &str = "agent.key";
const CERTIFICATE: &str = "agent.crt";
const ROOTS: &str = "ca.pem";
const NEXT_KEY: &str = "agent.key.next";
const NEXT_CERTIFICATE: &str = "agent.crt.next";
/// No file of an identity is larger.
const FILE_MAX_BYTES: u64 = 64 * 1024;
/// Certificates of a chain or a bundle of roots.
const CERTIFICATES_MAX: usize = 8;

/// Why there is no identity to use.
#[derive(Debug, Error)]
pub(crate) enum IdentityError {
    /// This host has not joined.
    #[error("no identity in {dir}; run: signalbox-agent join COLLECTOR TOKEN")]
    Missing {
        /// Where it would be.
        dir: PathBuf,
    },
    /// A file cannot be read.
    #[error("read {path}; run this as the agent's user or as root")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("write {path}; the agent's user must own its data folder")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read the key.
    #[error("others may read {path} (mode {mode:o}); chmod 600 it, and join again if somebody may have")]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file does not hold what it should.
    #[error("{path}: {what}; to get a new identity run: signalbox-agent join --replace COLLECTOR TOKEN")]
    Refused {
        /// Which.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// What the collector sent does not fit.
    #[error("the collector's answer is no identity for this agent: {0}")]
    Answer(String),
    /// No key could be made.
    #[error("make a key")]
    Key(#[from] rcgen::Error),
}

/// Who the agent is, ready for TLS.
pub(crate) struct Identity {
    /// Its id, as the collector bound it to the key.
    pub(crate) agent: AgentId,
    /// Of which installation.
    pub(crate) installation: String,
    /// Of its key.
    pub(crate) fingerprint: Fingerprint,
    /// Its certificate holds from then.
    pub(crate) not_before: UnixMillis,
    /// Its certificate holds until then.
    pub(crate) not_after: UnixMillis,
    /// Its certificate first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// Whom it trusts.
    pub(crate) roots: Vec<CertificateDer<'static>>,
    /// Its key.
    pub(crate) key: PrivateKeyDer<'static>,
}

/// Without the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} of {}, key {})", self.agent, self.installation, self.fingerprint)
    }
}

/// What tells one state of the folder from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp([(u64, i64, i64); 2]);

/// The folder `identity` of an agent's data folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// Of the agent whose data lies in `data_dir`.
    pub(crate) fn of(data_dir: &Path) -> Folder {
        Folder { dir: data_dir.join("identity") }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// Changes when the identity does; none without one.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        let of = |name| fs::metadata(self.dir.join(name)).ok().map(|m| (m.ino(), m.mtime(), m.mtime_nsec()));
        Some(Stamp([of(CERTIFICATE)?, of(ROOTS)?]))
    }

    /// The agent's id in the certificate, without looking at the key: for a first
    /// word about who this is. None without an identity.
    pub(crate) fn agent(&self) -> Option<AgentId> {
        let pem = fs::read(self.dir.join(CERTIFICATE)).ok()?;
        let leaf = CertificateDer::from_pem_slice(&pem).ok()?;
        Facts::read(&leaf).ok()?.agent.map(|(_, id)| id)
    }

    /// Reads the identity, and finishes a change that was cut short.
    ///
    /// # Errors
    /// [`IdentityError`], with the remedy.
    pub(crate) fn load(&self) -> Result<Identity, IdentityError> {
        self.settle()?;
        let Some(pem) = self.read(CERTIFICATE)? else {
            return Err(IdentityError::Missing { dir: self.dir.clone() });
        };
        let (chain, facts) = certificates(&pem).map_err(|what| self.refused(CERTIFICATE, what))?;
        let missing = |name| self.refused(name, "it is not there".to_owned());
        let key_pem = self.read(KEY)?.ok_or_else(|| missing(KEY))?;
        self.check_mode(KEY)?;
        let key = parse_key(&key_pem).map_err(|what| self.refused(KEY, what))?;
        if key.fingerprint() != facts.fingerprint {
            return Err(self.refused(KEY, "the certificate is for another key".to_owned()));
        }
        let roots_pem = self.read(ROOTS)?.ok_or_else(|| missing(ROOTS))?;
        let (roots, _) = certificates(&roots_pem).map_err(|what| self.refused(ROOTS, what))?;
        let (installation, agent) = facts.agent.ok_or_else(|| {
            self.refused(CERTIFICATE, "it names no agent (spiffe://INSTALLATION/agent/ID)".to_owned())
        })?;
        let key = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|error| self.refused(KEY, error.to_string()))?;
        let Facts { fingerprint, not_before, not_after, .. } = facts;
        Ok(Identity { agent, installation, fingerprint, not_before, not_after, chain, roots, key })
    }

    /// The key that a certificate is or will be asked for: the one that waits, or a
    /// new one, which is on disk when this returns.
    ///
    /// # Errors
    /// When it cannot be read, made or written.
    pub(crate) fn next_key(&self) -> Result<NextKey, IdentityError> {
        if let Some(pem) = self.read(NEXT_KEY)?
            && let Ok(key) = parse_key(&pem)
        {
            return Ok(key);
        }
        let key = NextKey::generate()?;
        self.write(NEXT_KEY, key.pem().as_bytes())?;
        Ok(key)
    }

    /// Forgets the key that waits: the collector will not have it.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn forget_next_key(&self) -> Result<(), IdentityError> {
        self.remove(NEXT_KEY)
    }

    /// Puts a certificate for the waiting key in place, and the roots.
    ///
    /// # Errors
    /// [`IdentityError::Answer`] when the parts do not belong together; then nothing
    /// has changed. Otherwise when a file cannot be written.
    pub(crate) fn install(&self, key: &NextKey, certificate_pem: &str, ca_pem: &str) -> Result<(), IdentityError> {
        let (_, facts) = certificates(certificate_pem.as_bytes()).map_err(IdentityError::Answer)?;
        certificates(ca_pem.as_bytes()).map_err(|what| IdentityError::Answer(format!("roots: {what}")))?;
        if facts.fingerprint != key.fingerprint() {
            return Err(IdentityError::Answer("its certificate is for another key".to_owned()));
        }
        if facts.agent.is_none() {
            return Err(IdentityError::Answer("its certificate names no agent".to_owned()));
        }
        self.write(ROOTS, ca_pem.as_bytes())?;
        self.write(NEXT_KEY, key.pem().as_bytes())?;
        self.write(NEXT_CERTIFICATE, certificate_pem.as_bytes())?;
        self.settle()
    }

    /// Makes the folder and shows that it can be written.
    ///
    /// # Errors
    /// When it cannot.
    pub(crate) fn prepare(&self) -> Result<(), IdentityError> {
        let data_dir = self.dir.parent().unwrap_or(&self.dir);
        let made = || -> io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
            match fs::DirBuilder::new().mode(0o700).create(&self.dir) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            self.give_to_owner(self.open()?)
        };
        made().map_err(|source| IdentityError::Write { path: self.dir.clone(), source })
    }

    /// The folder itself; a link in its place is an error.
    fn open(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(open(&self.dir, flags, Mode::empty())?)
    }

    /// Finishes a change that was cut short: a certificate that waits is put in place
    /// with the key that it is for.
    fn settle(&self) -> Result<(), IdentityError> {
        let Some(pem) = self.read(NEXT_CERTIFICATE)? else { return Ok(()) };
        let wanted = certificates(&pem).ok().map(|(_, facts)| facts.fingerprint);
        let holds = |name| -> Result<bool, IdentityError> {
            let pem = self.read(name)?;
            Ok(wanted.is_some() && pem.and_then(|pem| parse_key(&pem).ok()).map(|key| key.fingerprint()) == wanted)
        };
        if holds(NEXT_KEY)? {
            self.rename(NEXT_KEY, KEY)?;
        } else if !holds(KEY)? {
            return self.remove(NEXT_CERTIFICATE);
        }
        self.rename(NEXT_CERTIFICATE, CERTIFICATE)
    }

    fn refused(&self, name: &str, what: String) -> IdentityError {
        IdentityError::Refused { path: self.dir.join(name), what }
    }

    fn check_mode(&self, name: &str) -> Result<(), IdentityError> {
        let path = self.dir.join(name);
        let failed = |source| IdentityError::Read { path: path.clone(), source };
        let mode = fs::metadata(&path).map_err(failed)?.mode() & 0o777;
        if mode & 0o077 == 0 { Ok(()) } else { Err(IdentityError::Exposed { path, mode }) }
    }

    fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, IdentityError> {
        let path = self.dir.join(name);
        let size = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(IdentityError::Read { path, source }),
        };
        if size > FILE_MAX_BYTES {
            return Err(self.refused(name, format!("{size} bytes are over the limit of {FILE_MAX_BYTES}")));
        }
        fs::read(&path).map(|bytes| Some(Zeroizing::new(bytes))).map_err(|source| IdentityError::Read { path, source })
    }

    /// Writes a file that is there whole or not at all, and survives a loss of power.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), IdentityError> {
        self.prepare()?;
        let (path, partial) = (self.dir.join(name), format!("{name}.part"));
        let wrote = || -> io::Result<()> {
            let dir = self.open()?;
            let _leftover = unlinkat(&dir, partial.as_str(), AtFlags::empty());
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(openat(&dir, partial.as_str(), flags, Mode::RUSR | Mode::WUSR)?);
            file.write_all(bytes)?;
            file.sync_all()?;
            self.give_to_owner(&file)?;
            renameat(&dir, partial.as_str(), &dir, name)?;
            File::from(dir).sync_all()
        };
        wrote().map_err(|source| IdentityError::Write { path: path.clone(), source })
    }

    /// What root writes belongs to the agent's user, who owns the data folder.
    fn give_to_owner(&self, made: impl AsFd) -> io::Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let owner = fs::metadata(self.dir.parent().unwrap_or(&self.dir))?;
        Ok(fchown(made, Some(Uid::from_raw(owner.uid())), Some(Gid::from_raw(owner.gid())))?)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), IdentityError> {
        let renamed = || -> io::Result<()> {
            let dir = self.open()?;
            renameat(&dir, from, &dir, to)?;
            File::from(dir).sync_all()
        };
        renamed().map_err(|source| IdentityError::Write { path: self.dir.join(to), source })
    }

    fn remove(&self, name: &str) -> Result<(), IdentityError> {
        let removed = || -> io::Result<()> { Ok(unlinkat(self.open()?, name, AtFlags::empty())?) };
        match removed() {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(IdentityError::Write { path: self.dir.join(name), source })
            }
            _ => Ok(()),
        }
    }
}

fn parse_key(pem: &[u8]) -> Result<NextKey, String> {
    let text = std::str::from_utf8(pem).map_err(|_| "it is no PEM text".to_owned())?;
    NextKey::from_pem(text).map_err(|error| format!("it is no P-256 key in PKCS #8: {error}"))
}

/// All certificates of a PEM text, and what the first one says.
fn certificates(pem: &[u8]) -> Result<(Vec<CertificateDer<'static>>, Facts), String> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).take(CERTIFICATES_MAX + 1).collect();
    let certificates = parsed.map_err(|error| format!("it is no PEM text: {error}"))?;
    if certificates.len() > CERTIFICATES_MAX {
        return Err(format!("it holds more than {CERTIFICATES_MAX} certificates"));
    }
    let read = |der: &CertificateDer<'_>| Facts::read(der).map_err(|error: NotACertificate| error.to_string());
    let facts: Vec<Facts> = certificates.iter().map(read).collect::<Result<_, _>>()?;
    let first = facts.into_iter().next().ok_or("it holds no certificate")?;
    Ok((certificates, first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::Authority;
    use std::os::unix::fs::PermissionsExt as _;

    const NOW: UnixMillis = UnixMillis(1_764_000_000_000);
    const LATER: UnixMillis = UnixMillis(1_764_600_000_000);

    fn folder() -> (tempfile::TempDir, Folder, Authority) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::of(dir.path());
        (dir, folder, Authority::new("ca", NOW))
    }

    fn joined(folder: &Folder, ca: &Authority) -> NextKey {
        let key = folder.next_key().unwrap();
        folder.install(&key, &ca.agent(&key, "web-1", NOW, LATER), &ca.pem()).unwrap();
        key
    }

    #[test]
    fn an_identity_reads_as_it_was_installed_and_only_its_owner_may_read_it() {
        let (_dir, folder, ca) = folder();
        assert!(matches!(folder.load(), Err(IdentityError::Missing { .. })));
        let key = joined(&folder, &ca);
        let identity = folder.load().unwrap();
        assert_eq!((identity.agent.as_str(), identity.fingerprint), ("web-1", key.fingerprint()));
        assert_eq!((identity.not_before, identity.not_after), (NOW, LATER));
        assert_eq!((identity.installation, folder.agent()), (ca.installation, Some(identity.agent)));
        for name in [KEY, CERTIFICATE, ROOTS] {
            assert_eq!(fs::metadata(folder.path().join(name)).unwrap().mode() & 0o777, 0o600, "{name}");
        }
        assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing is left over");
    }

    #[test]
    fn a_link_in_the_place_of_the_folder_leads_nobody_elsewhere() {
        let (dir, folder, _) = folder();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("identity")).unwrap();
        assert!(matches!(folder.prepare(), Err(IdentityError::Write { .. })));
        assert!(matches!(folder.next_key(), Err(IdentityError::Write { .. })));
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_replaced_and_not_followed() {
        let (dir, folder, ca) = folder();
        folder.prepare().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "as it was").unwrap();
        for name in ["agent.key.next.part", "agent.crt.next.part", KEY] {
            std::os::unix::fs::symlink(&victim, folder.path().join(name)).unwrap();
        }
        joined(&folder, &ca);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "as it was");
        assert!(fs::symlink_metadata(folder.path().join(KEY)).unwrap().is_file());
    }

    #[test]
    fn a_key_waits_until_it_is_certified_or_forgotten() {
        let (_dir, folder, _) = folder();
        let first = folder.next_key().unwrap().fingerprint();
        assert_eq!(folder.next_key().unwrap().fingerprint(), first);
        folder.forget_next_key().unwrap();
        assert_ne!(folder.next_key().unwrap().fingerprint(), first);
    }

    #[test]
    fn a_change_that_is_cut_short_anywhere_leaves_a_whole_pair() {
        for steps in 0..4 {
            let (_dir, folder, ca) = folder();
            let old = joined(&folder, &ca).fingerprint();
            let key = folder.next_key().unwrap();
            let next = ca.agent(&key, "web-1", NOW, LATER);
            // What `install` does, as far as it got.
            if steps > 0 {
                folder.write(NEXT_CERTIFICATE, next.as_bytes()).unwrap();
            }
            if steps > 1 {
                folder.rename(NEXT_KEY, KEY).unwrap();
            }
            if steps > 2 {
                folder.rename(NEXT_CERTIFICATE, CERTIFICATE).unwrap();
            }
            let expected = if steps == 0 { old } else { key.fingerprint() };
            assert_eq!(folder.load().unwrap().fingerprint, expected, "after {steps} steps");
        }
    }

    #[test]
    fn an_answer_that_does_not_fit_changes_nothing() {
        let (_dir, folder, ca) = folder();
        let old = joined(&folder, &ca).fingerprint();
        let key = folder.next_key().unwrap();
        let other = NextKey::generate().unwrap();
        let good = ca.agent(&key, "web-1", NOW, LATER);
        let refused = [
            (ca.agent(&other, "web-1", NOW, LATER), ca.pem()),
            (String::new(), ca.pem()),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(), ca.pem()),
            (good.clone(), String::new()),
            (good.clone(), ca.pem().repeat(9)),
            (ca.server(&["c"], NOW, LATER).0, ca.pem()),
        ];
        for (certificate, roots) in refused {
            assert!(matches!(folder.install(&key, &certificate, &roots), Err(IdentityError::Answer(_))));
        }
        assert_eq!(folder.load().unwrap().fingerprint, old);
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_with_the_remedy() {
        let (_dir, folder, ca) = folder();
        joined(&folder, &ca);
        let path = folder.path().join(KEY);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = folder.load().err().unwrap().to_string();
        assert!(error.contains("mode 640") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn damage_is_told_by_file_and_with_the_remedy() {
        let garbage = "-----BEGIN CERTIFICATE-----\n!!\n";
        let large = " ".repeat(65_537);
        for (name, text, part) in [
            (KEY, "x", "no P-256 key"),
            (CERTIFICATE, garbage, "no PEM text"),
            (ROOTS, "", "holds no certificate"),
            (ROOTS, large.as_str(), "over the limit of 65536"),
        ] {
            let (_dir, folder, ca) = folder();
            joined(&folder, &ca);
            fs::write(folder.path().join(name), text).unwrap();
            let error = folder.load().err().unwrap().to_string();
            assert!(error.contains(name) && error.contains(part) && error.contains("join --replace"), "{error}");
        }
        let (_dir, folder, ca) = folder();
        joined(&folder, &ca);
        folder.write(KEY, NextKey::generate().unwrap().pem().as_bytes()).unwrap();
        assert!(folder.load().err().unwrap().to_string().contains("for another key"));
    }

    #[test]
    fn the_stamp_changes_with_the_identity() {
        let (_dir, folder, ca) = folder();
        assert_eq!(folder.stamp(), None);
        joined(&folder, &ca);
        let before = folder.stamp().unwrap();
        assert_eq!(folder.stamp(), Some(before));
        joined(&folder, &ca);
        assert_ne!(folder.stamp(), Some(before));
    }
}
