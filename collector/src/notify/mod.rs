//! Telling people: one attempt at a time, each answered for.
//!
//! The engine decides what is to be told, to which channel and when it is tried
//! again; the outbox row commits with the transition. Here is only the attempt:
//!
//! ```text
//! writer --Notice--> Notifiers -> channel -> lane (by incident) -> Notifier::notify
//!    ^                                                                |
//!    +------------ Handle::delivered(key, outcome) <------------------+
//! ```
//!
//! Promises: every notice that comes in gives exactly one report, also when its
//! queue is full or its channel is gone; notices of one incident on one channel are
//! tried in the order in which they were decided; one slow channel delays no other;
//! key, body and Message-ID of a notice are the same on every attempt, so that a
//! receiver can drop the second copy that at-least-once may give it.
//!
//! - [`config`]: bodies of channels; `secret`: references to secrets.
//! - `webhook`, `email`: rendering (pure) and sending.
//! - [`dispatch`]: lanes, limits, reports, the test message.

pub mod config;
pub mod dispatch;
pub(crate) mod email;
pub(crate) mod secret;
pub(crate) mod webhook;
pub(crate) mod when;

use async_trait::async_trait;
use signalbox_engine::decision::Notice;
use signalbox_engine::event::DeliveryOutcome;

pub use dispatch::{Delivery, Notifiers, check};

/// Can tell somebody.
#[async_trait]
pub(crate) trait Notifier: Send + Sync {
    /// One attempt, bounded in time. Never panics on hostile text.
    async fn notify(&self, notice: &Notice) -> DeliveryOutcome;
}

/// Text from outside on one line: control characters become spaces, at most
/// `max_chars` characters, an ellipsis where it was cut.
pub(crate) fn one_line(text: &str, max_chars: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max_chars * 4));
    for (n, c) in text.chars().enumerate() {
        if n + 1 == max_chars && text.chars().nth(max_chars).is_some() {
            line.push('…');
            break;
        }
        // Line and paragraph separators and bidirectional controls can fake a second line.
        let breaks =
            c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        line.push(if breaks { ' ' } else { c });
    }
    line
}

#[cfg(test)]
pub(crate) mod testing {
    //! A notice to render and send.

    use signalbox_engine::decision::Notice;
    use signalbox_proto::status::{Layer, Level};
    use signalbox_proto::units::UnixMillis;

    /// A full root file system on web1.
    pub(crate) fn notice() -> Notice {
        Notice {
            key: "17-raised-hook-1".to_owned(),
            channel: "hook".to_owned(),
            transition: "raised".to_owned(),
            attempt: 1,
            at: UnixMillis(1_795_400_403_250),
            incident: "INC-17".to_owned(),
            incident_number: 17,
            level: Level::Red,
            was: Level::Green,
            title: "/ on web1 is 97 % full".to_owned(),
            why: "97 >= 95 for 30s".to_owned(),
            rule: "filesystem-full".to_owned(),
            entity: "host/web1".to_owned(),
            item: "host/web1:filesystem-full{mountpoint=\"/\"}".to_owned(),
            layer: Layer::Machine,
            owner: "unix".to_owned(),
            sop: "https://wiki.example.com/sop/disk".to_owned(),
            value: Some(97.0),
            labels: vec![("host".to_owned(), "web1".to_owned()), ("mountpoint".to_owned(), "/".to_owned())],
            first_symptom: UnixMillis(1_795_400_373_000),
            detected: UnixMillis(1_795_400_403_000),
            restored: None,
        }
    }

    /// The same, with text that wants to be more than text.
    pub(crate) fn hostile() -> Notice {
        let mut notice = notice();
        notice.title = "x\r\nBcc: everybody@example.com\r\n\r\n<script>alert(1)</script>".to_owned();
        notice.why = "a\u{2028}b\u{202e}c\u{0}d".to_owned();
        notice.labels = vec![("mountpoint".to_owned(), "\"},{\"status\":\"resolved\"\n".to_owned())];
        notice.sop = "é".repeat(5000);
        notice.owner = "\r\n.\r\nQUIT".to_owned();
        notice.key = "k\r\nX-Evil: 1".to_owned();
        notice
    }

    #[test]
    fn one_line_is_one_line_and_bounded() {
        use super::one_line;
        assert_eq!(one_line("a\r\nb", 10), "a  b");
        assert_eq!(one_line("abcde", 5), "abcde");
        assert_eq!(one_line("abcdef", 5), "abcd…");
        assert_eq!(one_line("", 5), "");
    }
}
