//! Secrets that the door hands out: 32 random bytes, told once, kept as their hash.
//!
//! ```text
//! sba1.<43 characters>   API token
//! <43 characters>        session, login link
//! ```

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signalbox_access::SecretHash;

use crate::http::error::Failure;

/// Characters of a public id.
const ID_CHARS: usize = 8;
/// Without those that people mistake for each other.
const ID_ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// What a secret's text begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prefix {
    /// `sba1.`
    Api,
    /// Nothing.
    None,
}

impl Prefix {
    fn text(self) -> &'static str {
        match self {
            Prefix::Api => "sba1.",
            Prefix::None => "",
        }
    }
}

/// A secret that was just made.
pub(crate) struct Fresh {
    /// The bytes.
    pub(crate) bytes: [u8; 32],
    /// What is kept.
    pub(crate) hash: SecretHash,
}

impl Fresh {
    /// 32 bytes of the system's randomness.
    pub(crate) fn make() -> Result<Fresh, Failure> {
        let bytes = random()?;
        Ok(Fresh { bytes, hash: SecretHash::of(&bytes) })
    }

    /// What is told, once.
    pub(crate) fn text(&self, prefix: Prefix) -> String {
        format!("{}{}", prefix.text(), URL_SAFE_NO_PAD.encode(self.bytes))
    }
}

/// The hash of a secret as it was told; none when it cannot be one.
pub(crate) fn hash_of(prefix: Prefix, text: &str) -> Option<SecretHash> {
    let text = text.strip_prefix(prefix.text())?;
    if text.len() != 43 {
        return None;
    }
    let bytes: [u8; 32] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    Some(SecretHash::of(&bytes))
}

/// A short public name for something with a secret.
pub(crate) fn id() -> Result<String, Failure> {
    let bytes = random()?;
    Ok(bytes.iter().take(ID_CHARS).map(|byte| char::from(ID_ALPHABET[usize::from(byte % 32)])).collect())
}

fn random() -> Result<[u8; 32], Failure> {
    crate::tls::random().map_err(|error| {
        tracing::error!(%error, "the system gives no random bytes");
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), "look into the collector's log")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_again_by_its_text_and_no_other() {
        let fresh = Fresh::make().unwrap();
        let text = fresh.text(Prefix::Api);
        assert_eq!(hash_of(Prefix::Api, &text), Some(fresh.hash));
        assert_eq!(hash_of(Prefix::None, &fresh.text(Prefix::None)), Some(fresh.hash));
        assert_eq!(hash_of(Prefix::None, &text), None);
        for bad in ["", "sba1.", "sba2.x", &text[..text.len() - 1], &format!("{text}A"), &text.replace('.', "!")] {
            assert_eq!(hash_of(Prefix::Api, bad), None, "{bad}");
        }
        assert_ne!(Fresh::make().unwrap().hash, fresh.hash);
    }

    #[test]
    fn ids_are_short_and_fit_a_join_token() {
        let id = id().unwrap();
        assert!(id.len() == ID_CHARS && id.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()), "{id}");
    }
}
