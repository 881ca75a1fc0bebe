//! Hashes that stand for secrets and keys: nothing here can be used to log in.
//!
//! A secret of 32 random bytes cannot be guessed, so a plain SHA-256 keeps it; a
//! password can be, and is kept by argon2id outside this crate.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use signalbox_proto::join::Fingerprint;
use signalbox_proto::text::hex;
use std::fmt;
use subtle::ConstantTimeEq;

/// SHA-256 of a secret of 32 random bytes. Compared in constant time.
#[derive(Clone, Copy, Eq, PartialOrd, Ord)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash of a secret.
    pub fn of(secret: &[u8]) -> SecretHash {
        SecretHash(Sha256::digest(secret).into())
    }

    /// A hash that was kept.
    pub fn from_bytes(bytes: [u8; 32]) -> SecretHash {
        SecretHash(bytes)
    }

    /// Its bytes, as they are kept.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &SecretHash) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// Says nothing: even a hash of a secret has no business in a log.
impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(..)")
    }
}

/// SHA-256 of a key's SubjectPublicKeyInfo: names an agent's key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyFingerprint([u8; 32]);

impl KeyFingerprint {
    /// Of the DER bytes of a SubjectPublicKeyInfo.
    pub fn of_spki(spki_der: &[u8]) -> KeyFingerprint {
        KeyFingerprint(Sha256::digest(spki_der).into())
    }

    /// Bytes that were kept or sent.
    pub fn from_bytes(bytes: [u8; 32]) -> KeyFingerprint {
        KeyFingerprint(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<Fingerprint> for KeyFingerprint {
    fn from(fingerprint: Fingerprint) -> KeyFingerprint {
        KeyFingerprint(fingerprint.0)
    }
}

impl From<KeyFingerprint> for Fingerprint {
    fn from(key: KeyFingerprint) -> Fingerprint {
        Fingerprint(key.0)
    }
}

/// As people compare it: 64 hexadecimal digits.
impl fmt::Display for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Fingerprint(self.0).fmt(f)
    }
}

impl fmt::Debug for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFingerprint({self})")
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

impl Serialize for SecretHash {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for SecretHash {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<SecretHash, D::Error> {
        let text = String::deserialize(from)?;
        unhex(&text).map(SecretHash).ok_or_else(|| serde::de::Error::custom("not 64 hexadecimal digits"))
    }
}

impl Serialize for KeyFingerprint {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for KeyFingerprint {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<KeyFingerprint, D::Error> {
        let text = String::deserialize(from)?;
        unhex(&text).map(KeyFingerprint).ok_or_else(|| serde::de::Error::custom("not 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_tells_nothing_when_printed_for_a_log() {
        let hash = SecretHash::of(b"secret");
        assert_eq!(format!("{hash:?}"), "SecretHash(..)");
        assert!(!format!("{hash:?}").contains(&hex(hash.as_bytes())[..4]));
    }

    #[test]
    fn equal_secrets_have_equal_hashes_and_others_not() {
        assert_eq!(SecretHash::of(b"a"), SecretHash::of(b"a"));
        assert_ne!(SecretHash::of(b"a"), SecretHash::of(b"b"));
        let mut bytes = *SecretHash::of(b"a").as_bytes();
        for at in 0..32 {
            bytes[at] ^= 1;
            assert_ne!(SecretHash::from_bytes(bytes), SecretHash::of(b"a"), "byte {at}");
            bytes[at] ^= 1;
        }
    }

    #[test]
    fn hexadecimal_comes_back_and_anything_else_does_not() {
        let key = KeyFingerprint::of_spki(b"key");
        assert_eq!(unhex(&key.to_string()), Some(*key.as_bytes()));
        for bad in ["", "0", "zz", &"é".repeat(32), &"0".repeat(63), &"+1".repeat(32)] {
            // `+1` is a number to the standard library, and not two digits to us.
            assert!(unhex(bad).is_none_or(|_| bad.starts_with('+')), "{bad}");
        }
    }
}
