//! A fault of a configuration file, told once: what is wrong, the line with a mark
//! under it, and how to mend it.
//!
//! ```text
//! 2:1: there is no key `intervall` here
//! 2 | intervall: 2s
//!   | ^
//!   = did you mean `interval`?
//! ```

use serde_saphyr::{Error, UserMessageFormatter};
use signalbox_proto::near::nearest;

/// What is shown of a long line.
const SNIPPET_MAX_CHARS: usize = 120;
const SYNTAX_REMEDY: &str =
    "mend the indentation, or quote text that begins with one of > @ { [ * & ! % ` or holds \": \"";

/// The fault of `text` in words, from its line and column on.
pub(super) fn tell(text: &str, error: &Error) -> String {
    let (fault, remedy) = fault(error.without_snippet());
    let mut told = match error.location() {
        Some(at) => format!("{}:{}: {fault}{}", at.line(), at.column(), snippet(text, at.line(), at.column())),
        None => format!(" {fault}"),
    };
    if !remedy.is_empty() {
        told.push_str(&format!("\n  = {remedy}"));
    }
    told
}

fn fault(error: &Error) -> (String, String) {
    match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            (format!("there is no key `{field}` here"), suggest(field, expected))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            (format!("`{variant}` is none of the words that stand here"), suggest(variant, expected))
        }
        Error::SerdeMissingField { field, .. } => (format!("the key `{field}` is missing"), format!("add `{field}:`")),
        // Ours: it names its remedy itself.
        Error::Message { msg, .. } => (msg.clone(), String::new()),
        other => {
            let text = other.render_with_formatter(&UserMessageFormatter);
            let first = text.lines().next().unwrap_or("not understood");
            let fault = first.rsplit_once(" at line ").map_or(first, |(fault, _)| fault);
            (format!("not valid: {fault}"), SYNTAX_REMEDY.to_owned())
        }
    }
}

fn suggest(word: &str, known: &[&'static str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

fn snippet(text: &str, line: u64, column: u64) -> String {
    let index = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(shown) = text.lines().nth(index).filter(|shown| !shown.trim().is_empty()) else {
        return String::new();
    };
    let shown: String = shown.chars().take(SNIPPET_MAX_CHARS).collect();
    let under = usize::try_from(column.saturating_sub(1)).unwrap_or(usize::MAX);
    let gutter = " ".repeat(line.to_string().len());
    // Tabs stay, so that the mark stands under its column.
    let space = shown.chars().chain(std::iter::repeat(' ')).map(|c| if c == '\t' { '\t' } else { ' ' });
    let mark = if under < SNIPPET_MAX_CHARS {
        format!("\n{gutter} | {}^", space.take(under).collect::<String>())
    } else {
        String::new()
    };
    format!("\n{line} | {shown}{mark}")
}
