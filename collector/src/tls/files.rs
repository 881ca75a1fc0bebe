//! Files of keys and certificates: read with care, written whole or not at all.
//!
//! A private key that others can read is refused, not mended: whoever could read
//! it may have a copy. What is written goes to a file beside the old one, is
//! synced, and takes its name in one step.

use super::TlsError;
use crate::whole_file::sync_folder;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fs::{DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use zeroize::Zeroizing;

/// A file of certificates or of a key is at most this long, bytes.
const FILE_MAX_BYTES: u64 = 256 * 1024;
/// Certificates that one file may hold.
const CERTIFICATES_MAX: usize = 8;

/// Who may read a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    /// Its owner alone.
    Owner,
    /// Its group too: what the site made for all its servers often is so.
    Group,
}

impl Readers {
    fn forbidden_mode(self) -> u32 {
        match self {
            Readers::Owner => 0o077,
            Readers::Group => 0o037,
        }
    }
}

fn failed(path: &Path, why: impl ToString) -> TlsError {
    TlsError::Read { path: path.to_owned(), why: why.to_string() }
}

/// The whole file, whose permissions are those of the file that is read, whatever
/// its name means a moment later.
fn read(path: &Path, readers: Option<Readers>) -> Result<Zeroizing<String>, TlsError> {
    let mut file = File::open(path).map_err(|why| failed(path, why))?;
    let facts = file.metadata().map_err(|why| failed(path, why))?;
    if facts.len() > FILE_MAX_BYTES {
        return Err(failed(path, format!("{} bytes are over the limit of {FILE_MAX_BYTES}", facts.len())));
    }
    if let Some(readers) = readers {
        let mode = facts.mode() & 0o777;
        if mode & readers.forbidden_mode() != 0 {
            return Err(TlsError::Exposed { path: path.to_owned(), mode });
        }
        let own = rustix::process::geteuid().as_raw();
        if facts.uid() != 0 && facts.uid() != own {
            return Err(failed(
                path,
                format!("it belongs to uid {}; run: chown {own} {}", facts.uid(), path.display()),
            ));
        }
    }
    // Room for all of it at once: a buffer that grows leaves copies of a key behind.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(FILE_MAX_BYTES).unwrap_or(0) + 1));
    Read::take(&mut file, FILE_MAX_BYTES + 1).read_to_string(&mut text).map_err(|why| failed(path, why))?;
    Ok(text)
}

/// A private key, PEM, and nobody else's business.
pub(super) fn read_key(path: &Path, readers: Readers) -> Result<Zeroizing<String>, TlsError> {
    read(path, Some(readers))
}

/// A short text.
pub(super) fn read_text(path: &Path) -> Result<String, TlsError> {
    Ok(read(path, None)?.trim().to_owned())
}

/// All certificates of a file, in order; at least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path, None)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let certificates = certificates.map_err(|why| failed(path, format!("it is no PEM: {why}")))?;
    match certificates.len() {
        0 => Err(failed(path, "it holds no certificate; it must have -----BEGIN CERTIFICATE-----")),
        n if n > CERTIFICATES_MAX => {
            Err(failed(path, format!("{n} certificates are over the limit of {CERTIFICATES_MAX}")))
        }
        _ => Ok(certificates),
    }
}

/// The folder, made 0700 if it is missing.
pub(super) fn make_folder(folder: &Path) -> Result<(), TlsError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|why| TlsError::Write { path: folder.to_owned(), why: why.to_string() })
}

/// Writes a file whole: 0600 when `is_secret`, 0644 otherwise.
pub(super) fn write(folder: &Path, name: &str, text: &str, is_secret: bool) -> Result<(), TlsError> {
    let path = folder.join(name);
    let mode = if is_secret { 0o600 } else { 0o644 };
    crate::whole_file::write(&path, text.as_bytes(), mode)
        .map_err(|why| TlsError::Write { path: path.clone(), why: why.to_string() })
}

/// Gives a file another name in the same folder, durably.
pub(super) fn rename(folder: &Path, from: &str, to: &str) -> Result<(), TlsError> {
    let renamed = std::fs::rename(folder.join(from), folder.join(to)).and_then(|()| sync_folder(folder));
    renamed.map_err(|why| TlsError::Write { path: folder.join(to), why: why.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        for (mode, owner, group) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o640, false, true),
            (0o660, false, false),
            (0o604, false, false),
        ] {
            std::fs::write(&path, "x").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_key(&path, Readers::Owner).is_ok(), owner, "{mode:o}");
            assert_eq!(read_key(&path, Readers::Group).is_ok(), group, "{mode:o}");
            std::fs::remove_file(&path).unwrap();
        }
        std::fs::write(&path, "x").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = read_key(&path, Readers::Owner).unwrap_err().to_string();
        assert!(error.contains("644") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_file_is_written_with_its_mode_over_a_leftover() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".k.new"), "half").unwrap();
        write(folder.path(), "k", "secret", true).unwrap();
        write(folder.path(), "c", "public", false).unwrap();
        let mode = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().mode() & 0o777;
        assert_eq!((mode("k"), mode("c") & 0o022), (0o600, 0));
        assert!(!folder.path().join(".k.new").exists());
        assert_eq!(*read_key(&folder.path().join("k"), Readers::Owner).unwrap(), "secret");
    }

    #[test]
    fn a_file_over_the_limit_or_without_a_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        let at_limit = usize::try_from(FILE_MAX_BYTES).unwrap();
        std::fs::write(&path, " ".repeat(at_limit)).unwrap();
        assert!(read_text(&path).is_ok());
        assert!(read_certificates(&path).unwrap_err().to_string().contains("no certificate"));
        std::fs::write(&path, " ".repeat(at_limit + 1)).unwrap();
        assert!(read_text(&path).unwrap_err().to_string().contains("over the limit"));
    }
}
