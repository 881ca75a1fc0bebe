//! When a certificate is renewed, and the renewal itself.
//!
//! At half of its life, moved by up to 10 % of the life in either direction, so that
//! agents that joined together do not come back together. The moment is a pure
//! function of the certificate, so a restart does not move it. A try that fails is
//! repeated after a minute, doubling to an hour; half a life is left for that.

use crate::config::Endpoint;
use crate::enrol::{Enrol, EnrolError};
use crate::identity::{Credentials, Identity, IdentityError};
use crate::net::{self, Fault, Pace, Trust};
use signalbox_proto::clock::Clock;
use signalbox_proto::join::{Fingerprint, Refusal};
use signalbox_proto::units::{Millis, UnixMillis};
use std::sync::Arc;
use thiserror::Error;

const RETRY_FIRST: Millis = Millis::from_mins(1);
const RETRY_MAX: Millis = Millis::from_mins(60);
/// How far from the half of the life, in thousandths of the life.
const JITTER_PER_MILLE: i64 = 100;

/// Why a certificate was not renewed.
#[derive(Debug, Error)]
pub(crate) enum RenewError {
    /// The identity cannot be read or written.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The collector was not reached.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The collector did not do it.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// It answered for another agent.
    #[error("the collector renewed {0} in place of this agent; the answer is not used")]
    OtherAgent(String),
}

/// When the certificate of a key with these times is to be renewed.
pub(crate) fn due(not_before: UnixMillis, not_after: UnixMillis, key: Fingerprint) -> UnixMillis {
    let life_ms = i64::try_from(not_after.since(not_before).0).unwrap_or(i64::MAX / 1000);
    // A fingerprint is as even as random bytes, and the same after a restart.
    let seed = i64::from(u16::from_be_bytes([key.0[0], key.0[1]]));
    let per_mille = seed % (2 * JITTER_PER_MILLE + 1) - JITTER_PER_MILLE;
    not_before.shifted(life_ms / 2 + life_ms / 1000 * per_mille)
}

/// Decides when to try. Deterministic.
#[derive(Debug, Default)]
pub(crate) struct Renewal {
    /// The key whose certificate is looked after, and when it is due.
    watched: Option<(Fingerprint, UnixMillis)>,
    not_before_mono: Millis,
    wait: Option<Millis>,
}

impl Renewal {
    /// This identity is in use now.
    pub(crate) fn watch(&mut self, identity: &Identity) {
        let due = due(identity.not_before, identity.not_after, identity.fingerprint);
        if self.watched != Some((identity.fingerprint, due)) {
            *self = Renewal { watched: Some((identity.fingerprint, due)), ..Renewal::default() };
        }
    }

    /// True when a try is due now.
    pub(crate) fn is_due(&self, wall: UnixMillis, mono: Millis) -> bool {
        self.watched.is_some_and(|(_, due)| due <= wall) && self.not_before_mono <= mono
    }

    /// A try failed, or begins and may fail: the next one is a while away. Gives how long.
    pub(crate) fn put_off(&mut self, mono: Millis) -> Millis {
        let wait = self.wait.map_or(RETRY_FIRST, |before| before.times(2).min(RETRY_MAX));
        self.wait = Some(wait);
        self.not_before_mono = mono + wait;
        wait
    }
}

/// Asks the collector for a certificate for a new key and puts both in place.
///
/// # Errors
/// [`RenewError`]; the old identity is still in place then.
pub(crate) async fn renew(
    credentials: &Credentials,
    endpoint: &Endpoint,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<Identity>, RenewError> {
    let identity = credentials.current()?;
    let trust = Trust::Roots(identity.roots.clone());
    let http2 = net::connect(endpoint, trust, Some(&identity), clock, Pace::Calls).await?;
    let folder = credentials.folder();
    let key = folder.next_key()?;
    let granted = match Enrol::over(http2).renew(&key).await {
        Ok(granted) => granted,
        Err(EnrolError::Refused { refusal: Refusal::KeyTaken, told }) => {
            folder.forget_next_key()?;
            return Err(EnrolError::Refused { refusal: Refusal::KeyTaken, told }.into());
        }
        Err(error) => return Err(error.into()),
    };
    if granted.agent != identity.agent.as_str() {
        return Err(RenewError::OtherAgent(granted.agent));
    }
    folder.install(&key, &granted.certificate_pem, &granted.ca_pem)?;
    Ok(credentials.current()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY_MS: i64 = 86_400_000;
    const START: UnixMillis = UnixMillis(1_764_000_000_000);

    fn end() -> UnixMillis {
        START.shifted(7 * DAY_MS)
    }

    #[test]
    fn agents_renew_around_half_of_the_life_and_spread() {
        let of = |first: u8, second: u8| {
            let mut key = [0; 32];
            [key[0], key[1]] = [first, second];
            due(START, end(), Fingerprint(key)).since(START).0
        };
        let hours: Vec<u64> = (0..=255).map(|seed| of(seed, seed.wrapping_mul(7)) / 3_600_000).collect();
        assert!(hours.iter().all(|hour| (67..=101).contains(hour)), "{hours:?}");
        let spread: std::collections::BTreeSet<_> = hours.iter().collect();
        assert!(spread.len() >= 30, "{}", spread.len());
        assert_eq!(of(3, 4), of(3, 4));
    }

    #[test]
    fn a_try_that_fails_is_repeated_ever_more_seldom() {
        let mut renewal = Renewal { watched: Some((Fingerprint([0; 32]), START)), ..Renewal::default() };
        assert!(!renewal.is_due(START.shifted(-1), Millis(0)));
        let mut now = Millis(0);
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert!(renewal.is_due(START, now));
            let wait = renewal.put_off(now);
            assert!(!renewal.is_due(START, now + Millis(wait.0 - 1)));
            now = now + wait;
            waits.push(wait.0 / 60_000);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(!Renewal::default().is_due(UnixMillis::MAX, Millis(u64::MAX)), "nothing is watched");
    }

    proptest! {
        #[test]
        fn the_moment_lies_within_a_tenth_of_the_half(key: [u8; 32], life_ms in 60_000_i64..400 * DAY_MS) {
            let due = due(START, START.shifted(life_ms), Fingerprint(key)).0 - START.0;
            prop_assert!(due >= life_ms * 4 / 10 && due <= life_ms * 6 / 10 + 1000, "{due} of {life_ms}");
        }
    }
}
