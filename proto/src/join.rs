//! Join tokens and fingerprints as people carry them from screen to screen.
//!
//! ```text
//! sbj1.<id>.<secret>.<pin>
//!  |    |      |       +-- SHA-256 of the CA's SubjectPublicKeyInfo: whom to trust
//!  |    |      +---------- 32 random bytes: the right to join, shown once
//!  |    +----------------- public name of the token, for lists and the audit
//!  +---------------------- kind and version
//! ```
//!
//! Secret and pin are base64url without padding (43 characters each), so that a
//! double click takes the whole token. The secret is wiped when it is dropped and
//! never printed but by [`JoinToken::reveal`].

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use thiserror::Error;
use zeroize::Zeroizing;

/// Kind and version of a join token.
pub const PREFIX: &str = "sbj1";
/// Characters of a token's public name.
pub const TOKEN_ID_MAX_BYTES: usize = 32;
/// A certificate request, DER bytes.
pub const CSR_MAX_BYTES: usize = 4096;
/// Padding of a ping, bytes.
pub const PING_PADDING_MAX_BYTES: usize = 65_536;
/// Metadata key of a refused enrolment; its value is [`Refusal::as_str`].
pub const REFUSAL_KEY: &str = "signalbox-refusal";
/// How far the clocks of agent and collector may differ at enrolment, milliseconds.
pub const CLOCK_SKEW_MAX_MS: i64 = 600_000;

/// Why a token or fingerprint was refused. Never holds any of the text: a person may
/// have pasted something else that is secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JoinError {
    /// Another kind of text.
    #[error("this is no join token; one begins with {PREFIX}. and is printed by: signalbox join-token create")]
    NotAToken,
    /// A part is missing or too much.
    #[error("join token has {0} parts and must have 4 ({PREFIX}.id.secret.pin); copy all of it")]
    Parts(usize),
    /// The public name.
    #[error("id of the join token must be 1 to {TOKEN_ID_MAX_BYTES} of a-z 0-9; copy the token again")]
    Id,
    /// The secret.
    #[error(
        "secret of the join token is not as it was printed: cut, or a character is mistyped; copy all of the token again"
    )]
    Secret,
    /// The pin.
    #[error(
        "end of the join token (its pin) is not as it was printed: cut, or a character is mistyped; copy all of the token again"
    )]
    Pin,
    /// A fingerprint.
    #[error("fingerprint must be 64 hex digits (colons allowed) or 43 characters of base64url")]
    Fingerprint,
}

/// SHA-256 of a SubjectPublicKeyInfo: names a key, of a CA (then it is a pin) or of an
/// agent. Shown as 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Reads hex digits (colons and upper case allowed) or base64url.
    ///
    /// # Errors
    /// [`JoinError::Fingerprint`].
    pub fn parse(text: &str) -> Result<Fingerprint, JoinError> {
        let text = text.trim();
        let text = text.strip_prefix("sha256:").or_else(|| text.strip_prefix("SHA256:")).unwrap_or(text);
        if let Some(bytes) = decode32(text) {
            return Ok(Fingerprint(bytes));
        }
        let mut digits = text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16));
        let mut bytes = [0; 32];
        for byte in &mut bytes {
            let (high, low) = (digits.next().flatten(), digits.next().flatten());
            let value = high.zip(low).map(|(high, low)| high << 4 | low);
            *byte = value.and_then(|value| u8::try_from(value).ok()).ok_or(JoinError::Fingerprint)?;
        }
        if digits.next().is_some() { Err(JoinError::Fingerprint) } else { Ok(Fingerprint(bytes)) }
    }

    /// From the 32 bytes of a message.
    ///
    /// # Errors
    /// [`JoinError::Fingerprint`] when there are not 32.
    pub fn of_bytes(bytes: &[u8]) -> Result<Fingerprint, JoinError> {
        bytes.try_into().map(Fingerprint).map_err(|_| JoinError::Fingerprint)
    }

    /// As in a token: 43 characters of base64url.
    pub fn base64(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The right to join once or a few times, and whom to trust while doing so.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    id: String,
    secret: Zeroizing<[u8; 32]>,
    pin: Fingerprint,
}

impl JoinToken {
    /// Puts a token together.
    ///
    /// # Errors
    /// [`JoinError::Id`] when the name is not 1 to 32 of `a-z 0-9`.
    pub fn new(id: &str, secret: [u8; 32], pin: Fingerprint) -> Result<JoinToken, JoinError> {
        let secret = Zeroizing::new(secret);
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        if id.is_empty() || id.len() > TOKEN_ID_MAX_BYTES || !id.bytes().all(allowed) {
            return Err(JoinError::Id);
        }
        Ok(JoinToken { id: id.to_owned(), secret, pin })
    }

    /// Reads `sbj1.<id>.<secret>.<pin>`. White space around it is ignored.
    ///
    /// # Errors
    /// The part that is wrong.
    pub fn parse(text: &str) -> Result<JoinToken, JoinError> {
        let text = text.trim();
        let parts: Vec<&str> = text.splitn(6, '.').collect();
        if parts.first() != Some(&PREFIX) {
            return Err(JoinError::NotAToken);
        }
        let [_, id, secret, pin] = parts[..] else { return Err(JoinError::Parts(parts.len())) };
        let secret = decode32(secret).ok_or(JoinError::Secret)?;
        let pin = decode32(pin).ok_or(JoinError::Pin)?;
        JoinToken::new(id, secret, Fingerprint(pin))
    }

    /// The public name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What proves the token.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The CA to trust.
    pub fn pin(&self) -> Fingerprint {
        self.pin
    }

    /// The whole token, secret included: for the one screen that shows it.
    pub fn reveal(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(*self.secret));
        Zeroizing::new(format!("{PREFIX}.{}.{}.{}", self.id, *secret, self.pin.base64()))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("id", &self.id).field("pin", &self.pin.base64()).finish_non_exhaustive()
    }
}

fn decode32(text: &str) -> Option<[u8; 32]> {
    // 43 characters hold 32 bytes; the engine refuses bits that are left over.
    let mut bytes = [0; 32];
    let n = if text.len() == 43 { URL_SAFE_NO_PAD.decode_slice_unchecked(text, &mut bytes).ok() } else { None };
    (n == Some(32)).then_some(bytes)
}

/// Why a collector refused an enrolment: a closed set, so that the agent can say what
/// to do. Only a caller that proved the token's secret, or holds a known key, learns
/// more than [`Refusal::NotAccepted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No such token, or another secret.
    NotAccepted,
    /// The token's time is over.
    TokenExpired,
    /// The token has no use left.
    TokenUsed,
    /// An admin has revoked the token.
    TokenRevoked,
    /// The token does not hold for the caller's address.
    AddressNotAllowed,
    /// The token does not allow these labels.
    LabelsNotAllowed,
    /// The token is for an agent of another name.
    NameNotAllowed,
    /// An agent of this name has an identity already.
    NameTaken,
    /// The key is bound to an agent already.
    KeyTaken,
    /// The key was revoked.
    KeyRevoked,
    /// No agent has this key.
    KeyUnknown,
    /// The certificate expired too long ago to be renewed.
    ExpiredTooLong,
    /// The caller's clock is too far from the collector's.
    ClockFarOff,
    /// Not a certificate request as it must be.
    BadRequest,
    /// Too many attempts from this address, or too many requests wait: try later.
    TooMany,
}

impl Refusal {
    /// Every one.
    pub const ALL: [Refusal; 15] = [
        Refusal::NotAccepted,
        Refusal::TokenExpired,
        Refusal::TokenUsed,
        Refusal::TokenRevoked,
        Refusal::AddressNotAllowed,
        Refusal::LabelsNotAllowed,
        Refusal::NameNotAllowed,
        Refusal::NameTaken,
        Refusal::KeyTaken,
        Refusal::KeyRevoked,
        Refusal::KeyUnknown,
        Refusal::ExpiredTooLong,
        Refusal::ClockFarOff,
        Refusal::BadRequest,
        Refusal::TooMany,
    ];

    /// The word that crosses the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::NotAccepted => "not_accepted",
            Refusal::TokenExpired => "token_expired",
            Refusal::TokenUsed => "token_used",
            Refusal::TokenRevoked => "token_revoked",
            Refusal::AddressNotAllowed => "address_not_allowed",
            Refusal::LabelsNotAllowed => "labels_not_allowed",
            Refusal::NameNotAllowed => "name_not_allowed",
            Refusal::NameTaken => "name_taken",
            Refusal::KeyTaken => "key_taken",
            Refusal::KeyRevoked => "key_revoked",
            Refusal::KeyUnknown => "key_unknown",
            Refusal::ExpiredTooLong => "expired_too_long",
            Refusal::ClockFarOff => "clock_far_off",
            Refusal::BadRequest => "bad_request",
            Refusal::TooMany => "too_many",
        }
    }

    /// Reads the word; none for one of a newer collector.
    pub fn parse(word: &str) -> Option<Refusal> {
        Refusal::ALL.into_iter().find(|refusal| refusal.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    fn token() -> JoinToken {
        let secret = std::array::from_fn(|i| u8::try_from(i).unwrap());
        JoinToken::new("k3f9", secret, Fingerprint([0xab; 32])).unwrap()
    }

    #[test]
    fn a_token_reads_as_it_was_printed() {
        let text = token().reveal();
        assert_eq!(*text, format!("sbj1.k3f9.{SECRET}.q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s"));
        assert_eq!(JoinToken::parse(&format!(" {}\n", *text)).unwrap(), token());
    }

    #[test]
    fn a_refusal_says_which_part_is_wrong() {
        let cases = [
            ("", JoinError::NotAToken),
            ("sba1.k3f9.x.y", JoinError::NotAToken),
            ("sbj1.k3f9", JoinError::Parts(2)),
            ("sbj1.a.b.c.d", JoinError::Parts(5)),
            ("sbj1.a.b.c.d.e.f", JoinError::Parts(6)),
            ("sbj1.k3f9.short.pin", JoinError::Secret),
        ];
        for (text, error) in cases {
            assert_eq!(JoinToken::parse(text), Err(error), "{text}");
        }
        for id in ["", "K3F9", "a-b", &"a".repeat(33)] {
            assert_eq!(JoinToken::parse(&format!("sbj1.{id}.{SECRET}.{SECRET}")), Err(JoinError::Id), "{id}");
        }
        assert_eq!(JoinToken::parse(&format!("sbj1.a.{SECRET}.{}", &SECRET[1..])), Err(JoinError::Pin));
        // The last character holds bits past the 32 bytes: another spelling of the same token.
        let loose = format!("{}9", &SECRET[..42]);
        assert_eq!(JoinToken::parse(&format!("sbj1.a.{loose}.{SECRET}")), Err(JoinError::Secret));
    }

    #[test]
    fn the_secret_is_in_no_debug_text() {
        let text = format!("{:?}", token());
        assert!(text.contains("k3f9") && !text.contains(&SECRET[..8]), "{text}");
    }

    #[test]
    fn a_fingerprint_is_read_in_every_spelling() {
        let fingerprint = Fingerprint(*token().secret());
        let hex = fingerprint.to_string();
        let colons: Vec<&str> = (0..32).map(|i| &hex[2 * i..2 * i + 2]).collect();
        let spellings =
            [hex.clone(), hex.to_uppercase(), colons.join(":"), fingerprint.base64(), format!("sha256:{hex}")];
        for text in spellings {
            assert_eq!(Fingerprint::parse(&text), Ok(fingerprint), "{text}");
        }
        for text in ["", "00", &hex[1..], &format!("{hex}0"), &format!("g{}", &hex[1..])] {
            assert_eq!(Fingerprint::parse(text), Err(JoinError::Fingerprint), "{text}");
        }
        assert_eq!(Fingerprint::of_bytes(&[0; 31]), Err(JoinError::Fingerprint));
    }

    #[test]
    fn every_refusal_reads_as_it_was_written() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::parse(refusal.as_str()), Some(refusal));
        }
        assert_eq!(Refusal::parse("something_newer"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_token_or_refused(text in ".{0,200}") {
            if let Ok(token) = JoinToken::parse(&text) {
                prop_assert_eq!(&*token.reveal(), text.trim());
            }
        }

        #[test]
        fn any_token_reads_as_printed(id in "[a-z0-9]{1,32}", secret: [u8; 32], pin: [u8; 32]) {
            let token = JoinToken::new(&id, secret, Fingerprint(pin)).unwrap();
            prop_assert_eq!(JoinToken::parse(&token.reveal()).unwrap(), token);
        }
    }
}
