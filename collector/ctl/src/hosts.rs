//! Logins that `signalbox login` keeps: `~/.config/signalbox/hosts.json`.
//!
//! The file holds tokens, so it is written 0600 in a folder of 0700, whole or not at
//! all, and refused when others can read it: whoever could read it may have a copy.

use serde::{Deserialize, Serialize};
use signalbox_proto::units::UnixMillis;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Bytes of the file.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// Why logins cannot be read or kept.
#[derive(Debug, Error)]
pub enum HostsError {
    /// There is no home.
    #[error("keep the login: neither XDG_CONFIG_HOME nor HOME is set")]
    Nowhere,
    /// The system refused.
    #[error("{what} {path}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others can read it.
    #[error("{path} holds tokens and others can read it (mode {mode:o}); run: chmod 600 {path}, and log in again")]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Not what this command writes.
    #[error("{path} is not understood: {source}; move it away and log in again")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// One login.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// API token.
    pub token: String,
    /// Whose it is.
    #[serde(default)]
    pub name: String,
    /// The only certificates that may vouch for the collector, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Until when the token may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<UnixMillis>,
}

/// Never the token.
impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("name", &self.name).field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// All logins of this account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hosts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default)]
    hosts: BTreeMap<String, Host>,
}

/// One collector has one key, however its address is written.
fn key(url: &str) -> String {
    url.trim().trim_end_matches('/').to_lowercase()
}

impl Hosts {
    /// Where the file is.
    pub fn path() -> Option<PathBuf> {
        let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let config = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")));
        Some(config?.join("signalbox").join("hosts.json"))
    }

    /// Reads the file; none is no login.
    ///
    /// # Errors
    /// [`HostsError`].
    pub fn read(path: Option<&Path>) -> Result<Hosts, HostsError> {
        let Some(path) = path else { return Ok(Hosts::default()) };
        let failed = |source| HostsError::System { what: "read", path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Hosts::default());
            }
            Err(error) => return Err(failed(error)),
        };
        let mode = file.metadata().map_err(failed)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(HostsError::Exposed { path: path.to_owned(), mode });
        }
        let mut text = String::new();
        file.take(FILE_MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
        serde_json::from_str(&text).map_err(|source| HostsError::Malformed { path: path.to_owned(), source })
    }

    /// Writes the file, 0600.
    ///
    /// # Errors
    /// [`HostsError`].
    pub fn write(&self, path: Option<&Path>) -> Result<(), HostsError> {
        let path = path.ok_or(HostsError::Nowhere)?;
        let failed = |source| HostsError::System { what: "write", path: path.to_owned(), source };
        let folder = path.parent().ok_or(HostsError::Nowhere)?;
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        // Beside it and then in its place: a crash leaves the old one.
        let fresh = path.with_extension("json.new");
        let write = || {
            match std::fs::remove_file(&fresh) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(serde_json::to_string_pretty(self).map_err(std::io::Error::other)?.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&fresh, path)
        };
        write().map_err(failed)
    }

    /// The login for this address.
    pub fn get(&self, url: &str) -> Option<&Host> {
        self.hosts.get(&key(url))
    }

    /// The address of the last login.
    pub fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    /// Keeps a login; it is the one that is asked from now on.
    pub fn set(&mut self, url: &str, host: Host) {
        self.hosts.insert(key(url), host);
        self.current = Some(key(url));
    }

    /// Forgets a login.
    pub fn remove(&mut self, url: &str) -> Option<Host> {
        if self.current.as_deref() == Some(key(url).as_str()) {
            self.current = None;
        }
        self.hosts.remove(&key(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_login_is_kept_for_its_owner_alone_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("signalbox").join("hosts.json");
        assert_eq!(Hosts::read(Some(&path)).unwrap(), Hosts::default());
        let mut hosts = Hosts::default();
        hosts.set("https://Far.example:8440/", Host { token: "sba1.x".to_owned(), ..Host::default() });
        hosts.write(Some(&path)).unwrap();
        hosts.write(Some(&path)).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let mut read = Hosts::read(Some(&path)).unwrap();
        assert_eq!(read, hosts);
        assert_eq!(read.current(), Some("https://far.example:8440"));
        assert!(read.remove("https://far.example:8440").is_some() && read.current().is_none());
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts.json");
        std::fs::write(&path, "{}").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = Hosts::read(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("640") && error.contains("chmod 600"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Hosts::read(Some(&path)).is_ok());
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(Hosts::read(Some(&path)), Err(HostsError::Malformed { .. })));
    }
}
