//! The audit chain: one line for every act, each covering the one before by hash.
//!
//! ```text
//! line 1 ── hash ──▶ line 2 ── hash ──▶ … ── hash ──▶ line n ── number, hash, MAC ──▶ head
//! ```
//!
//! A record that is over its bound loses its oldest lines. Then a [`Base`], sealed as
//! the head is, names the last line that went: what is left is checked from there on.
//!
//! The head is kept apart from the lines and sealed with a key that is not in the
//! store, so that a shorter chain, or one that was made anew, is found as well.
//! What is found: a line whose bits changed, a line that is not there, lines in
//! another order, an end that was cut off, a head that was not sealed here.

use crate::event::AccessEvent;
use crate::limits::AUDIT_FIELD_MAX_CHARS;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use signalbox_proto::api::AuditEntry;
use signalbox_proto::text::{hex, is_hostile};
use signalbox_proto::units::UnixMillis;
use std::fmt;
use thiserror::Error;

/// Says what the hash is for, and which fields it covers.
const LINE_DOMAIN: &[u8] = b"signalbox audit line 1";
/// Says what the MAC is for.
const HEAD_DOMAIN: &[u8] = b"signalbox audit head 1";
/// Says that it is for the other end: neither seal can stand for the other.
const BASE_DOMAIN: &[u8] = b"signalbox audit base 1";

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hash32(pub [u8; 32]);

impl fmt::Display for Hash32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Hash32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The key that seals the head: 32 random bytes, kept in a file beside the store.
#[derive(Clone, Default)]
pub struct AuditKey([u8; 32]);

impl AuditKey {
    /// A key that the shell made or read.
    pub fn new(bytes: [u8; 32]) -> AuditKey {
        AuditKey(bytes)
    }

    fn mac(&self, domain: &[u8], no: u64, hash: &Hash32) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.chain_update(domain).chain_update(no.to_be_bytes()).chain_update(hash.0)
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditKey(..)")
    }
}

/// One line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// From 1, without gaps.
    pub no: u64,
    /// When, the collector's clock.
    pub at: UnixMillis,
    /// Who; control characters in this and all that follows are escaped.
    pub who: String,
    /// With which role; empty when none is known.
    pub role: String,
    /// From where.
    pub from: String,
    /// What was done or tried.
    pub act: String,
    /// On what.
    pub object: String,
    /// How it was before.
    pub before: String,
    /// How it was after.
    pub after: String,
    /// What came of it.
    pub result: String,
    /// Denials since the line before that were left out at a limit.
    pub suppressed: u64,
    /// Hash of the line before; zeros in line 1.
    pub prev: Hash32,
    /// Hash of this line, [`AuditLine::digest`].
    pub hash: Hash32,
}

impl AuditLine {
    /// SHA-256 over every field but `hash`: numbers as 8 bytes, big endian, texts
    /// behind their length in bytes.
    pub fn digest(&self) -> Hash32 {
        let mut sha = Sha256::new();
        sha.update(LINE_DOMAIN);
        sha.update(self.no.to_be_bytes());
        sha.update(self.at.0.to_be_bytes());
        let texts =
            [&self.who, &self.role, &self.from, &self.act, &self.object, &self.before, &self.after, &self.result];
        for text in texts {
            sha.update((text.len() as u64).to_be_bytes());
            sha.update(text.as_bytes());
        }
        sha.update(self.suppressed.to_be_bytes());
        sha.update(self.prev.0);
        Hash32(sha.finalize().into())
    }

    /// As the API shows it.
    pub fn entry(&self) -> AuditEntry {
        let left_out = match self.suppressed {
            0 => String::new(),
            n => format!(" ({n} denials before this one were left out at the limit)"),
        };
        AuditEntry {
            no: self.no,
            at: self.at,
            who: self.who.clone(),
            role: self.role.clone(),
            from: self.from.clone(),
            act: self.act.clone(),
            object: self.object.clone(),
            before: self.before.clone(),
            after: self.after.clone(),
            result: format!("{}{left_out}", self.result),
            prev: self.prev.to_string(),
            hash: self.hash.to_string(),
        }
    }

    /// CBOR, as it is kept.
    pub fn encode(&self) -> Vec<u8> {
        crate::rows::encode(self)
    }

    /// Reads a row; none when it is not, byte for byte, what a line is written as.
    /// (A field that is added one day is left out of rows while it has its default.)
    pub fn decode(row: &[u8]) -> Option<AuditLine> {
        let line: AuditLine = ciborium::from_reader(row).ok()?;
        (line.encode() == row).then_some(line)
    }
}

/// Where the chain ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of the last line; 0 before the first.
    pub no: u64,
    /// Its hash.
    pub hash: Hash32,
    /// Seal over both.
    pub mac: Hash32,
}

impl Head {
    /// Reads the row of the head; none when it is none.
    pub fn decode(row: &[u8]) -> Option<Head> {
        ciborium::from_reader(row).ok()
    }

    /// The end of a chain, sealed.
    pub fn seal(no: u64, hash: Hash32, key: &AuditKey) -> Head {
        let mac = Hash32(key.mac(HEAD_DOMAIN, no, &hash).finalize().into_bytes().into());
        Head { no, hash, mac }
    }

    /// True when this key sealed it. Compared in constant time.
    pub fn is_sealed_by(&self, key: &AuditKey) -> bool {
        key.mac(HEAD_DOMAIN, self.no, &self.hash).verify_slice(&self.mac.0).is_ok()
    }
}

/// Where the chain begins: the last line that went for want of room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Its number; 0 when none went.
    pub no: u64,
    /// Its hash, which the first line that is left carries as `prev`.
    pub hash: Hash32,
    /// Seal over both.
    pub mac: Hash32,
}

impl Base {
    /// Reads the row of the base; none when it is none.
    pub fn decode(row: &[u8]) -> Option<Base> {
        ciborium::from_reader(row).ok()
    }

    /// CBOR, as it is kept.
    pub fn encode(&self) -> Vec<u8> {
        crate::rows::encode(self)
    }

    /// The beginning of a chain, sealed.
    pub fn seal(no: u64, hash: Hash32, key: &AuditKey) -> Base {
        let mac = Hash32(key.mac(BASE_DOMAIN, no, &hash).finalize().into_bytes().into());
        Base { no, hash, mac }
    }

    /// True when this key sealed it. Compared in constant time.
    pub fn is_sealed_by(&self, key: &AuditKey) -> bool {
        key.mac(BASE_DOMAIN, self.no, &self.hash).verify_slice(&self.mac.0).is_ok()
    }
}

/// What is wrong with a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("line {no} {kind}")]
pub struct Fault {
    /// The first line that cannot be trusted.
    pub no: u64,
    /// How it shows.
    pub kind: FaultKind,
}

/// How a fault shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The line is not what was written.
    Flipped,
    /// The line is not there, and later ones are.
    Missing,
    /// Another line stands in its place.
    Reordered,
    /// The chain ends before its head.
    Truncated,
    /// The head is missing, was not sealed by this installation, or is older than the chain.
    Head,
    /// The base was not sealed by this installation.
    Base,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FaultKind::Flipped => "is not what was written",
            FaultKind::Missing => "is missing",
            FaultKind::Reordered => "stands in another place than it was written to",
            FaultKind::Truncated => "and what follows it were cut off",
            FaultKind::Head => "cannot be checked: the head of the record is missing, foreign or older than the record",
            FaultKind::Base => "cannot be checked: the base of the record is foreign",
        })
    }
}

/// Checks a chain line by line, in the order of their keys.
#[derive(Debug, Clone, Default)]
pub struct Verifier {
    base: u64,
    no: u64,
    hash: Hash32,
}

impl Verifier {
    /// Checks what follows a base; none: a chain from its first line on.
    ///
    /// # Errors
    /// A base that this key did not seal.
    pub fn after(base: Option<&Base>, key: &AuditKey) -> Result<Verifier, Fault> {
        match base {
            None => Ok(Verifier::default()),
            Some(base) if base.is_sealed_by(key) => Ok(Verifier { base: base.no, no: base.no, hash: base.hash }),
            Some(base) => Err(Fault { no: base.no, kind: FaultKind::Base }),
        }
    }

    /// Lines that were found right.
    pub fn n_lines(&self) -> u64 {
        self.no - self.base
    }

    /// Number of the last of them, or of the line before the first.
    pub fn last(&self) -> u64 {
        self.no
    }

    /// Hash of the last of them.
    pub fn hash(&self) -> Hash32 {
        self.hash
    }

    /// The next row: the number in its key, and its line if it decodes.
    ///
    /// # Errors
    /// The first fault; nothing after it can be trusted.
    pub fn line(&mut self, key: u64, line: Option<&AuditLine>) -> Result<(), Fault> {
        let no = self.no + 1;
        let fault = |kind| Err(Fault { no, kind });
        if key != no {
            return fault(if key > no { FaultKind::Missing } else { FaultKind::Reordered });
        }
        let Some(line) = line else { return fault(FaultKind::Flipped) };
        if line.digest() != line.hash {
            return fault(FaultKind::Flipped);
        }
        if line.no != no {
            return fault(FaultKind::Reordered);
        }
        if line.prev != self.hash {
            return fault(FaultKind::Flipped);
        }
        (self.no, self.hash) = (no, line.hash);
        Ok(())
    }

    /// The chain ended: is that where its head says?
    ///
    /// # Errors
    /// A cut, a chain that was made anew, or a head that cannot be trusted.
    pub fn finish(&self, head: Option<&Head>, key: &AuditKey) -> Result<u64, Fault> {
        let fault = |no, kind| Err(Fault { no, kind });
        let Some(head) = head else {
            // An installation that never wrote a line has no head either.
            return if self.no == 0 { Ok(0) } else { fault(self.no, FaultKind::Head) };
        };
        if !head.is_sealed_by(key) {
            return fault(head.no, FaultKind::Head);
        }
        match head.no {
            no if no > self.no => fault(self.no + 1, FaultKind::Truncated),
            no if no < self.no => fault(no + 1, FaultKind::Head),
            no if head.hash != self.hash => fault(no, FaultKind::Flipped),
            no => Ok(no),
        }
    }
}

/// Checks a whole chain whose keys are its lines' places, from 1. The number of its
/// lines, or the first fault.
///
/// # Errors
/// The first fault.
pub fn verify<'a>(
    lines: impl IntoIterator<Item = (u64, Option<&'a AuditLine>)>,
    head: Option<&Head>,
    key: &AuditKey,
) -> Result<u64, Fault> {
    let mut verifier = Verifier::default();
    for (no, line) in lines {
        verifier.line(no, line)?;
    }
    verifier.finish(head, key)
}

/// What a line says besides who and when.
#[derive(Debug, Clone, Default)]
pub(crate) struct Words {
    pub(crate) act: String,
    pub(crate) object: String,
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) result: String,
}

/// The chain's end as lines are added.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    pub(crate) head: Head,
    /// Denials that were left out since the last line.
    pub(crate) suppressed: u64,
    key: AuditKey,
}

impl Chain {
    /// Goes on where a kept chain ends, and says what is wrong with that end. A line
    /// that is there is never written over, whatever the head says.
    pub(crate) fn resume(head: Option<Head>, last: Option<&AuditLine>, key: AuditKey) -> (Chain, Option<Fault>) {
        let (kept, last_no) = (head.unwrap_or_default(), last.map_or(0, |line| line.no));
        let is_foreign = match head {
            Some(head) => !head.is_sealed_by(&key),
            None => last.is_some(),
        };
        let kind = if is_foreign || last_no > kept.no {
            Some(FaultKind::Head)
        } else if last_no < kept.no {
            Some(FaultKind::Truncated)
        } else {
            last.filter(|line| line.hash != kept.hash).map(|_| FaultKind::Flipped)
        };
        let end = match last {
            Some(line) if line.no > kept.no => Head::seal(line.no, line.hash, &key),
            _ => kept,
        };
        let fault = kind.map(|kind| Fault { no: last_no.min(kept.no) + u64::from(last_no != kept.no), kind });
        (Chain { head: end, suppressed: 0, key }, fault)
    }

    pub(crate) fn key(&self) -> &AuditKey {
        &self.key
    }

    /// Adds a line; every text in it is escaped and cut.
    pub(crate) fn write(&mut self, event: &AccessEvent, words: &Words) -> AuditLine {
        let principal = &event.caller.principal;
        let mut line = AuditLine {
            no: self.head.no + 1,
            at: event.at,
            who: clean(&principal.name),
            role: clean(principal.role_word()),
            from: clean(&event.caller.from),
            act: clean(&words.act),
            object: clean(&words.object),
            before: clean(&words.before),
            after: clean(&words.after),
            result: clean(&words.result),
            suppressed: std::mem::take(&mut self.suppressed),
            prev: self.head.hash,
            hash: Hash32::default(),
        };
        line.hash = line.digest();
        self.head = Head::seal(line.no, line.hash, &self.key);
        line
    }
}

/// Text that cannot fool a terminal, a log or a reader: control characters, line
/// breaks and characters that reorder or hide text are escaped; what is longer than
/// the limit is cut and marked.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (n, c) in text.chars().enumerate() {
        if n == AUDIT_FIELD_MAX_CHARS {
            out.push('…');
            break;
        }
        if is_hostile(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}
