//! Instants as operators write and read them: UTC, or an age.
//!
//! Everything printed is RFC 3339 in UTC with an age beside it: people who
//! compare two terminals at night shall not have to think about zones.

use jiff::Timestamp;
use signalbox_proto::text::parse_span;
use signalbox_proto::units::{Millis, UnixMillis};
use std::str::FromStr;
use thiserror::Error;

/// An instant, or a way to find one when the command starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The moment at which the command runs.
    Now,
    /// This long before that.
    Ago(Millis),
    /// A fixed instant.
    At(UnixMillis),
}

/// Why an instant was refused.
#[derive(Debug, Error)]
#[error("{text:?} is no instant; write 2026-11-23T02:14:12Z, 15m for fifteen minutes ago, or now")]
pub struct WhenError {
    text: String,
}

impl FromStr for When {
    type Err = WhenError;

    fn from_str(text: &str) -> Result<When, WhenError> {
        let text = text.trim();
        if text == "now" {
            return Ok(When::Now);
        }
        let span = text.strip_prefix('-').unwrap_or(text);
        let span = span.strip_suffix("ago").map_or(span, str::trim_end);
        if let Ok(span) = parse_span(span) {
            return Ok(When::Ago(span));
        }
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(When::At(UnixMillis(at.as_millisecond())));
        }
        // A date and time without a zone is UTC, as everything that we print.
        let civil = text.parse::<jiff::civil::DateTime>().ok();
        let at = civil.and_then(|civil| civil.to_zoned(jiff::tz::TimeZone::UTC).ok());
        at.map(|at| When::At(UnixMillis(at.timestamp().as_millisecond())))
            .ok_or_else(|| WhenError { text: text.to_owned() })
    }
}

impl When {
    /// The instant, seen from `now`.
    pub fn seen_from(self, now: UnixMillis) -> UnixMillis {
        match self {
            When::Now => now,
            When::Ago(span) => now - span,
            When::At(at) => at,
        }
    }
}

/// `2026-11-23T02:14:12Z`, cut to the second; a bare number where the calendar ends.
pub(crate) fn rfc3339(at: UnixMillis) -> String {
    Timestamp::from_millisecond(at.0).map_or_else(|_| format!("{} ms", at.0), |at| format!("{at:.0}"))
}

/// `2026-11-23T02:14:12.345Z`, for lists in which the order of events counts.
pub(crate) fn rfc3339_ms(at: UnixMillis) -> String {
    Timestamp::from_millisecond(at.0).map_or_else(|_| format!("{} ms", at.0), |at| format!("{at:.3}"))
}

/// The two largest units that say something: `42s`, `12m`, `3h5m`, `12d4h`;
/// `in 5m` for what is still to come.
pub(crate) fn age(now: UnixMillis, then: UnixMillis) -> String {
    if then > now {
        return format!("in {}", short(then.since(now)));
    }
    short(now.since(then))
}

/// `2026-11-23T02:14:12Z (3m ago)`.
pub(crate) fn dated(now: UnixMillis, then: UnixMillis) -> String {
    format!("{} ({})", rfc3339(then), ago(now, then))
}

/// `3m ago`, `in 5m`.
pub(crate) fn ago(now: UnixMillis, then: UnixMillis) -> String {
    // A server's clock and ours are read a moment apart.
    let then = if then.since(now) < Millis::from_secs(1) { then.min(now) } else { then };
    let age = age(now, then);
    if then > now { age } else { format!("{age} ago") }
}

/// A span in at most two units.
pub(crate) fn short(span: Millis) -> String {
    let secs = span.0 / 1000;
    let (days, hours, mins) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    let pair = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big}{big_unit}"),
        small => format!("{big}{big_unit}{small}{small_unit}"),
    };
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{mins}m"),
        3600..86_400 => pair(hours, "h", mins, "m"),
        _ => pair(days, "d", hours, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_400_052_000);

    fn read(text: &str) -> UnixMillis {
        text.parse::<When>().unwrap().seen_from(NOW)
    }

    #[test]
    fn instants_are_read_absolute_and_relative() {
        assert_eq!(read("now"), NOW);
        for ago in ["15m", "-15m", "15m ago"] {
            assert_eq!(read(ago), NOW - Millis::from_mins(15));
        }
        assert_eq!(read(&rfc3339(NOW)), NOW);
        assert_eq!(read("1970-01-01T01:00:00+01:00"), UnixMillis(0));
        assert_eq!(read("1970-01-01 00:00:01"), UnixMillis(1000));
    }

    #[test]
    fn nonsense_names_the_remedy() {
        let error = "yesterday".parse::<When>().unwrap_err().to_string();
        assert_eq!(
            error,
            "\"yesterday\" is no instant; write 2026-11-23T02:14:12Z, 15m for fifteen minutes ago, or now"
        );
        assert!("15".parse::<When>().is_err(), "a bare number has no unit");
    }

    #[test]
    fn ages_say_two_units_at_most() {
        for (secs, text) in [(0, "0s"), (59, "59s"), (61, "1m"), (11_100, "3h5m"), (7200, "2h"), (1_051_200, "12d4h")] {
            assert_eq!(age(NOW, NOW - Millis::from_secs(secs)), text);
        }
        assert_eq!(age(NOW, NOW + Millis::from_mins(5)), "in 5m");
    }

    #[test]
    fn instants_past_the_calendar_are_still_printed() {
        assert_eq!(rfc3339(UnixMillis::MAX), "9223372036854775807 ms");
        assert_eq!(rfc3339(UnixMillis(1999)), "1970-01-01T00:00:01Z");
        assert_eq!(rfc3339_ms(UnixMillis(1999)), "1970-01-01T00:00:01.999Z");
    }
}
