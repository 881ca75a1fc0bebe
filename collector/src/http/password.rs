//! Passwords: what is taken, how it is kept, how it is compared.
//!
//! Kept as Argon2id (19 MiB, two passes, PHC string with its own salt). At most
//! [`AT_A_TIME`] are computed at the same time, on blocking threads, so that a flood
//! of logins costs neither memory nor the runtime. An account that is not there costs
//! the same time as a wrong password.

use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::Semaphore;
use zxcvbn::{Score, zxcvbn};

/// Characters that a password has at least.
pub(crate) const MIN_CHARS: usize = 12;
/// Characters that a password has at most: longer ones cost time and add nothing.
pub(crate) const MAX_CHARS: usize = 128;
/// Hashes computed at the same time, 19 MiB each.
const AT_A_TIME: usize = 2;
/// Compared with when there is no account: the parameters of every other hash.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c2lnbmFsYm94LW5vYm9keQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Why a password could not be kept or compared.
#[derive(Debug, Error)]
#[error("compute a password's hash: {0}")]
pub(crate) struct HashError(String);

/// Bounded work with passwords.
#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    slots: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Passwords {
        Passwords { slots: Arc::new(Semaphore::new(AT_A_TIME)) }
    }
}

impl Passwords {
    /// The PHC string to keep.
    pub(crate) async fn hash(&self, password: String) -> Result<String, HashError> {
        self.work(move || {
            let hash = Argon2::default().hash_password(password.as_bytes());
            hash.map(|hash| hash.to_string()).map_err(|error| HashError(error.to_string()))
        })
        .await?
    }

    /// True when `password` is the one that `kept` was made of; none: there is no
    /// such account, or it has no password.
    pub(crate) async fn verify(&self, kept: Option<String>, password: String) -> Result<bool, HashError> {
        self.work(move || {
            let is_somebody = kept.is_some();
            let kept = kept.unwrap_or_else(|| NOBODY.to_owned());
            let hash = PasswordHash::new(&kept).map_err(|error| HashError(error.to_string()))?;
            let is_right = Argon2::default().verify_password(password.as_bytes(), &hash).is_ok();
            Ok(is_right && is_somebody)
        })
        .await?
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, HashError> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|error| HashError(error.to_string()))?;
        let done = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work()
        });
        done.await.map_err(|error| HashError(error.to_string()))
    }
}

/// Why a password is not taken; none: it is good enough.
pub(crate) fn weakness(password: &str, user: &str) -> Option<String> {
    let n_chars = password.chars().count();
    if !(MIN_CHARS..=MAX_CHARS).contains(&n_chars) {
        return Some(format!("a password has {MIN_CHARS} to {MAX_CHARS} characters, this one has {n_chars}"));
    }
    let entropy = zxcvbn(password, &[user, "signalbox", "collector", "monitoring"]);
    if is_word_and_date(password) {
        return Some(
            "this password is guessed too soon: a word and a year is the first thing that is tried".to_owned(),
        );
    }
    if entropy.score() >= Score::Three {
        return None;
    }
    let why = entropy.feedback().and_then(|feedback| feedback.warning()).map(|warning| warning.to_string());
    let why = why.unwrap_or_else(|| "it is made of common words or patterns".to_owned());
    Some(format!("this password is guessed too soon: {}", why.trim_end_matches('.')))
}

/// One word, a year or another number, and marks, in any order: `Summer2026!!`. Such
/// lists are short, and zxcvbn takes the marks at the end for chance.
fn is_word_and_date(password: &str) -> bool {
    let runs = |is_in: fn(char) -> bool| password.split(move |c| !is_in(c)).filter(|run| !run.is_empty());
    let mut words = runs(char::is_alphabetic);
    let (word, others) = (words.next(), words.next());
    let n_numbers = runs(|c| c.is_ascii_digit()).count();
    let is_year = |run: &str| run.len() == 4 && (run.starts_with("19") || run.starts_with("20"));
    let has_year = runs(|c| c.is_ascii_digit()).any(is_year);
    let is_word = word.is_some_and(|word| zxcvbn(word, &[]).score() < Score::Three);
    is_word && others.is_none() && n_numbers == 1 && has_year
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_common_and_patterned_passwords_are_refused_and_phrases_are_taken() {
        for weak in [
            "",
            "short-11chr",
            "passwordpassword",
            "Password123456!",
            "123456789012",
            "qwertyuiop[]",
            "aaaaaaaaaaaaaaaa",
            "signalboxsignalbox",
            "adalovelace1815",
            "Summer2026!!",
            "!!Summer2026",
            "2026-November",
            "Winter@2025!",
            "Signalbox2026",
        ] {
            assert!(weakness(weak, "adalovelace").is_some(), "{weak}");
        }
        for good in
            ["vTr8#kq9Zw2m", "correct horse battery staple", "seven grey lamps over water", "grey2026lamps!over"]
        {
            assert_eq!(weakness(good, "adalovelace"), None, "{good}");
        }
        assert!(weakness(&"x7Kq".repeat(33), "ada").unwrap().contains("132"));
    }

    #[tokio::test]
    async fn a_password_is_known_again_and_nobody_is_never_right() {
        let passwords = Passwords::default();
        let kept = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert!(passwords.verify(Some(kept.clone()), "correct horse".to_owned()).await.unwrap());
        assert!(!passwords.verify(Some(kept), "correct hors".to_owned()).await.unwrap());
        assert!(!passwords.verify(None, "correct horse".to_owned()).await.unwrap());
        assert!(PasswordHash::new(NOBODY).is_ok());
    }
}
