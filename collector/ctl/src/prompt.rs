//! Names and secrets, asked of a person or read from standard input: never taken
//! from the command line, where every process on the host could read them.

use crate::exit::Failure;
use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, read};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use std::io::{BufRead, IsTerminal, Read, Write};

/// Bytes of a line that is read.
const LINE_MAX_BYTES: u64 = 4096;

/// One line of standard input, without its end; for scripts.
pub(crate) fn line_of_stdin(what: &str) -> Result<String, Failure> {
    let mut line = String::new();
    std::io::stdin().lock().take(LINE_MAX_BYTES).read_line(&mut line)?;
    let line = line.trim_end_matches(['\r', '\n']).to_owned();
    if line.is_empty() { Err(Failure::Usage(format!("no {what} came on standard input"))) } else { Ok(line) }
}

/// Asks for something that may be seen.
pub(crate) fn ask(what: &str) -> Result<String, Failure> {
    needs_terminal(what)?;
    eprint!("{what}: ");
    std::io::stderr().flush()?;
    line_of_stdin(what)
}

/// Asks for something that may not be seen.
pub(crate) fn ask_secret(what: &str) -> Result<String, Failure> {
    needs_terminal(what)?;
    eprint!("{what}: ");
    std::io::stderr().flush()?;
    let typed = {
        let _raw = Raw::begin()?;
        typed(read)
    };
    eprintln!();
    typed
}

/// A new password, asked twice.
pub(crate) fn ask_new_password(user: &str) -> Result<String, Failure> {
    let first = ask_secret(&format!("new password of {user}"))?;
    if ask_secret("the same again")? == first {
        Ok(first)
    } else {
        Err(Failure::Usage("the two passwords differ; nothing was changed".to_owned()))
    }
}

fn needs_terminal(what: &str) -> Result<(), Failure> {
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        return Ok(());
    }
    Err(Failure::Usage(format!("cannot ask for the {what} without a terminal; give it on standard input (see --help)")))
}

/// Keys until Enter; Ctrl-C and Ctrl-D leave.
fn typed(mut next: impl FnMut() -> std::io::Result<Event>) -> Result<String, Failure> {
    let mut text = String::new();
    loop {
        let Event::Key(key) = next()? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        match key.code {
            KeyCode::Enter => return Ok(text),
            KeyCode::Backspace => {
                text.pop();
            }
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Err(Failure::Usage("left without a password; nothing was changed".to_owned()));
            }
            KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => text.clear(),
            KeyCode::Char(c) if (text.len() as u64) < LINE_MAX_BYTES => text.push(c),
            _ => {}
        }
    }
}

/// The terminal while it shows nothing of what is typed.
struct Raw;

impl Raw {
    fn begin() -> Result<Raw, Failure> {
        enable_raw_mode()?;
        Ok(Raw)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal is gone if this fails: nothing is left to restore.
        let _ = disable_raw_mode();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossterm::event::KeyEvent;

    fn keys(text: &str) -> Result<String, Failure> {
        let mut events = text.chars().map(|c| {
            let code = match c {
                '\n' => KeyCode::Enter,
                '\u{8}' => KeyCode::Backspace,
                '\u{3}' => return Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)),
                c => KeyCode::Char(c),
            };
            Event::Key(KeyEvent::new(code, KeyModifiers::NONE))
        });
        typed(|| events.next().ok_or_else(|| std::io::Error::other("no more keys")))
    }

    #[test]
    fn what_is_typed_is_read_to_the_end_of_the_line() {
        assert_eq!(keys("pä ss\u{8}\u{8}ß\nmore").unwrap(), "pä ß");
        assert!(keys("half\u{3}").unwrap_err().to_string().contains("nothing was changed"));
        assert!(keys("half").is_err());
    }
}
