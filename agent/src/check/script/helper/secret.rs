//! The script's environment, with the secrets that it names.
//!
//! ```text
//! file:/path                 the file's text without its last line feed
//! env:NAME                   a variable of the agent's environment
//! systemd-credential:NAME    a file of the folder that systemd gave the agent
//! anything else              itself
//! ```
//!
//! A [`Variable`] has no `Debug` and no `Display`, so that a secret cannot reach a
//! report by accident.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Bytes of a secret; a file of more is not a secret but a mistake.
const SECRET_MAX_BYTES: u64 = 4096;
/// Secrets shorter than this are not taken out of what a script says: they would be
/// found in any text.
const REDACT_MIN_BYTES: usize = 4;
/// Stands for a secret that a script repeated.
const REDACTED: &[u8] = b"[secret]";

/// True when a value names a secret and is not one.
pub(crate) fn is_reference(value: &str) -> bool {
    ["file:", "env:", "systemd-credential:"].iter().any(|scheme| value.starts_with(scheme))
}

/// One variable of the environment.
pub(super) struct Variable {
    /// Its name.
    pub(super) name: String,
    /// Its value.
    pub(super) value: String,
    is_secret: bool,
}

impl Variable {
    /// Takes the value out of a text, if it is secret.
    pub(super) fn redact(&self, text: &mut Vec<u8>) {
        let secret = self.value.as_bytes();
        if !self.is_secret || secret.len() < REDACT_MIN_BYTES {
            return;
        }
        let mut from = 0;
        while let Some(at) = text[from..].windows(secret.len()).position(|window| window == secret) {
            let at = from + at;
            text.splice(at..at + secret.len(), REDACTED.iter().copied());
            from = at + REDACTED.len();
        }
        // What is kept of a long text may end inside of a secret.
        let begun = (REDACT_MIN_BYTES..secret.len()).rev().find(|&n| text.ends_with(&secret[..n]));
        if let Some(n) = begun {
            text.truncate(text.len() - n);
            text.extend_from_slice(REDACTED);
        }
    }
}

/// Resolves all references.
///
/// # Errors
/// A sentence that names the variable and what it refers to, never its value.
pub(super) fn environment(env: &BTreeMap<String, String>) -> Result<Vec<Variable>, String> {
    let variable = |(name, value): (&String, &String)| {
        let value = resolve(value).map_err(|why| format!("env {name}: {why}"))?;
        Ok(Variable { name: name.clone(), value: value.0, is_secret: value.1 })
    };
    env.iter().map(variable).collect()
}

fn resolve(value: &str) -> Result<(String, bool), String> {
    let secret = if let Some(path) = value.strip_prefix("file:") {
        read(Path::new(path))?
    } else if let Some(name) = value.strip_prefix("env:") {
        std::env::var(name).map_err(|_| format!("the agent's environment has no variable {name}"))?
    } else if let Some(name) = value.strip_prefix("systemd-credential:") {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(format!("{name:?} is no name of a credential"));
        }
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY")
            .ok_or("systemd gave the agent no credentials; add LoadCredential= to its unit")?;
        read(&Path::new(&folder).join(name))?
    } else {
        return Ok((value.to_owned(), false));
    };
    let text = secret.strip_suffix('\n').unwrap_or(&secret);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(format!("{value} is empty"));
    }
    if text.contains('\0') {
        return Err(format!("{value} has a zero byte"));
    }
    Ok((text.to_owned(), true))
}

fn read(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("read {}: {error}", path.display());
    let (file, mut text) = (File::open(path).map_err(failed)?, String::new());
    // Devices have no size: what is read is bounded, not what is told.
    let n = file.take(SECRET_MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if n as u64 > SECRET_MAX_BYTES {
        return Err(format!("{} is over the limit of {SECRET_MAX_BYTES} bytes of a secret", path.display()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Vec<Variable>, String> {
        environment(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn references_are_read_and_the_rest_is_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "s3cret\r\n").unwrap();
        let file = format!("file:{}", path.display());
        let variables = of(&[("A", &file), ("B", "C.UTF-8"), ("C", "env:CARGO_PKG_NAME")]).ok().unwrap();
        let values: Vec<_> = variables.iter().map(|v| (v.value.as_str(), v.is_secret)).collect();
        assert_eq!(values, [("s3cret", true), ("C.UTF-8", false), ("signalbox-agent", true)]);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let refused = |value: &str| of(&[("DB_PASSWORD", value)]).err().unwrap();
        assert!(refused("file:/nonexistent/secret").starts_with("env DB_PASSWORD: read /nonexistent/secret"));
        assert!(refused("env:SIGNALBOX_NO_SUCH_VARIABLE").contains("no variable SIGNALBOX_NO_SUCH_VARIABLE"));
        assert!(refused("systemd-credential:../shadow").contains("no name of a credential"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "x".repeat(4097)).unwrap();
        assert!(refused(&format!("file:{}", path.display())).contains("over the limit of 4096"));
        assert!(refused("file:/dev/zero").contains("over the limit of 4096"));
        std::fs::write(&path, "\n").unwrap();
        assert!(refused(&format!("file:{}", path.display())).contains("is empty"));
    }

    #[test]
    fn a_secret_that_a_script_repeats_is_taken_out() {
        let secret = |value: &str| Variable { name: String::new(), value: value.to_owned(), is_secret: true };
        let mut text = b"login hunter2 failed: hunter2hunter2".to_vec();
        secret("hunter2").redact(&mut text);
        assert_eq!(text, b"login [secret] failed: [secret][secret]");
        let mut cut = b"login with hunter2".to_vec();
        secret("hunter2-and-more").redact(&mut cut);
        assert_eq!(cut, b"login with [secret]");
        secret("in").redact(&mut text);
        assert!(text.starts_with(b"login"), "too short to tell from any text");
        Variable { is_secret: false, ..secret("failed") }.redact(&mut text);
        assert!(text.windows(6).any(|window| window == b"failed"));
    }
}
