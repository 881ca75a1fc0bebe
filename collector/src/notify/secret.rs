//! Secrets by reference: `file:/path` or `env:NAME`, never a literal.
//!
//! A [`Secret`] has no `Debug`, `Display` or `Serialize`, so that it cannot reach a
//! log, an error or an answer by accident. It is read when the configuration is
//! read: a reload takes up a changed one.

use std::fmt;
use thiserror::Error;

/// Bytes of a secret; a file of more is not a secret but a mistake.
const SECRET_MAX_BYTES: u64 = 4096;

/// Why a reference gave no secret. Never holds the secret or a would-be one.
#[derive(Debug, Error)]
pub(crate) enum SecretError {
    /// The text is no reference; it may be the secret itself, so it is not shown.
    #[error("a secret is written out")]
    Literal,
    /// The file cannot be read.
    #[error("read secret file {path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too large to be a secret.
    #[error("secret file {0} is over the limit of {SECRET_MAX_BYTES} bytes")]
    TooLarge(String),
    /// The variable is not set, or is not UTF-8.
    #[error("environment variable {0} is not set")]
    Variable(String),
    /// Nothing is in it.
    #[error("the secret at {0} is empty")]
    Empty(String),
}

impl SecretError {
    /// How to mend it.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            SecretError::Literal => {
                "put the secret in a file that only the collector can read and write file:/path, or write env:NAME"
            }
            SecretError::File { .. } => "the collector's user must be able to read it",
            SecretError::TooLarge(_) => "name a file that holds the secret and nothing else",
            SecretError::Variable(_) => "set it in the collector's environment, or use file:/path",
            SecretError::Empty(_) => "write the secret into it",
        }
    }
}

/// Something that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// Reads what `reference` points at; the last line feed does not belong to it.
    ///
    /// # Errors
    /// [`SecretError`].
    pub(crate) fn read(reference: &str) -> Result<Secret, SecretError> {
        let text = if let Some(path) = reference.strip_prefix("file:") {
            read_file(path)?
        } else if let Some(name) = reference.strip_prefix("env:") {
            std::env::var(name).map_err(|_| SecretError::Variable(name.to_owned()))?
        } else {
            return Err(SecretError::Literal);
        };
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err(SecretError::Empty(reference.to_owned()));
        }
        Ok(Secret(text.to_owned()))
    }

    /// The secret itself, for the one call that needs it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn read_file(path: &str) -> Result<String, SecretError> {
    let failed = |source| SecretError::File { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > SECRET_MAX_BYTES {
        return Err(SecretError::TooLarge(path.to_owned()));
    }
    std::fs::read_to_string(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_its_text_without_the_last_line_feed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hmac");
        std::fs::write(&path, "s3cret\n").unwrap();
        let secret = Secret::read(&format!("file:{}", path.display())).unwrap();
        assert_eq!(secret.reveal(), "s3cret");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn a_literal_is_refused_and_never_repeated() {
        let error = Secret::read("hunter2").unwrap_err();
        assert!(matches!(error, SecretError::Literal));
        assert!(!error.to_string().contains("hunter2"));
        assert!(error.remedy().contains("file:/path"));
    }

    #[test]
    fn what_is_not_there_or_empty_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty");
        std::fs::write(&empty, "\n").unwrap();
        assert!(matches!(Secret::read(&format!("file:{}", empty.display())), Err(SecretError::Empty(_))));
        assert!(matches!(Secret::read("file:/nonexistent/secret"), Err(SecretError::File { .. })));
        assert!(matches!(Secret::read("env:SIGNALBOX_NO_SUCH_VARIABLE"), Err(SecretError::Variable(_))));
        let large = dir.path().join("large");
        std::fs::write(&large, "x".repeat(4097)).unwrap();
        assert!(matches!(Secret::read(&format!("file:{}", large.display())), Err(SecretError::TooLarge(_))));
    }
}
