//! Pure functions from the API's types to text: no clock, no terminal, no
//! network. Every function cleans the server's text before it sets it.

pub mod access;
pub mod agents;
pub mod check;
pub mod doctor;
pub mod explain;
pub mod incidents;
pub mod nothing;
pub mod query;
pub mod rules;
pub mod series;
pub mod snoozes;
pub mod status;

mod table;
#[cfg(test)]
pub(crate) mod testkit;

use crate::look::Look;
use crate::text::{clean, clean_lines, wrap};
use signalbox_proto::api::{Done, LedgerLine, NotifyTest};

/// What an act changed.
pub fn done(done: &Done) -> String {
    format!("{}\n", clean(&done.done))
}

/// What a channel's server said.
pub fn notify_test(look: &Look, test: &NotifyTest) -> String {
    use crate::look::Shown;
    let (shown, word) = if test.accepted { (Shown::Green, "accepted") } else { (Shown::Red, "refused") };
    let mark = look.paint(shown, &format!("{} {word}", shown.symbol()));
    let mut out = format!("{mark} by channel {} after {} ms\n", clean(&test.channel), test.took_ms);
    for line in clean_lines(&test.answer) {
        push_wrapped(&mut out, look, 2, "", &line);
    }
    out
}

/// One name a line.
pub fn channels(channels: &[String]) -> String {
    if channels.is_empty() {
        return "no channel is configured: nobody is told\n".to_owned();
    }
    channels.iter().map(|channel| format!("{}\n", clean(channel))).collect()
}

/// `indent` spaces, `label`, and the cleaned `text` wrapped to hang under its own start.
fn push_wrapped(out: &mut String, look: &Look, indent: usize, label: &str, text: &str) {
    let hang = indent + crate::text::columns(label);
    for (i, line) in wrap(text, look.room(hang)).iter().enumerate() {
        if i == 0 {
            out.push_str(&format!("{:indent$}{label}{line}\n", ""));
        } else {
            out.push_str(&format!("{:hang$}{line}\n", ""));
        }
    }
}

/// A line above a block.
fn heading(look: &Look, text: &str) -> String {
    format!("{}\n", look.strong(text))
}

fn push_ledger(out: &mut String, look: &Look, ledger: &[LedgerLine]) {
    for line in ledger {
        let channel = if line.channel.is_empty() { String::new() } else { format!(" → {}", clean(&line.channel)) };
        let outcome = format!("{:?}", line.outcome).to_lowercase();
        let label = format!("{}  {:<10}  ", crate::when::rfc3339_ms(line.at), outcome);
        let text = format!("{}{channel}: {}", clean(&line.transition), clean(&line.reason));
        push_wrapped(out, look, 2, &label, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::testkit::look;
    use super::*;

    #[test]
    fn a_test_message_shows_the_servers_answer_without_its_controls() {
        let test = NotifyTest {
            channel: "mail".to_owned(),
            accepted: false,
            answer: "550 no such user\u{7}\r\nbye\u{1b}[2J".to_owned(),
            took_ms: 12,
        };
        let text = notify_test(&look(80), &test);
        assert_eq!(text, "● refused by channel mail after 12 ms\n  550 no such user\\u{7}\n  bye\\u{1b}[2J\n");
    }

    #[test]
    fn no_channel_is_said() {
        assert_eq!(channels(&[]), "no channel is configured: nobody is told\n");
        assert_eq!(channels(&["a\nb".to_owned()]), "a\\nb\n");
    }
}
