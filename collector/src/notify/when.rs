//! Instants and ages as people read them.

use jiff::Timestamp;
use signalbox_proto::units::{Millis, UnixMillis};

/// `2026-11-23T02:20:03.250Z`; milliseconds only where there are any.
pub(crate) fn utc(at: UnixMillis) -> String {
    Timestamp::from_millisecond(at.0).map_or_else(|_| format!("{} ms since 1970", at.0), |at| at.to_string())
}

/// `2026-11-23 02:20:03 UTC`, cut to the second: for screens.
pub(crate) fn utc_seconds(at: UnixMillis) -> String {
    let cut = UnixMillis(at.0 - at.0.rem_euclid(1000));
    utc(cut).replace('T', " ").replace('Z', " UTC")
}

/// `45s`, `12m`, `3h20m`, `5d4h`: the two largest units, nothing under a second.
pub(crate) fn age(span: Millis) -> String {
    let secs = span.0 / 1000;
    let coarse = match secs {
        0..600 => secs,
        600..86_400 => secs - secs % 60,
        _ => secs - secs % 3600,
    };
    Millis::from_secs(coarse).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_utc_and_ages_are_coarse() {
        assert_eq!(utc(UnixMillis(1_795_400_403_250)), "2026-11-23T02:20:03.25Z");
        assert_eq!(utc_seconds(UnixMillis(1_795_400_403_250)), "2026-11-23 02:20:03 UTC");
        assert_eq!(age(Millis(999)), "0s");
        assert_eq!(age(Millis::from_secs(61)), "1m1s");
        assert_eq!(age(Millis::from_secs(3_725)), "1h2m");
        assert_eq!(age(Millis::from_secs(90_061)), "1d1h");
    }

    #[test]
    fn instants_beyond_the_calendar_do_not_panic() {
        assert_eq!(utc(UnixMillis::MAX), format!("{} ms since 1970", i64::MAX));
    }
}
