//! Text from a server, made safe and fitted to a terminal.
//!
//! Labels, titles and notes are written by whoever runs a process on a
//! watched host. A terminal obeys control characters and shows bidirectional
//! overrides as something that is not there; so both are spelt out before
//! anything is printed. [`clean`] is called once, where server text enters a
//! rendered line; nothing after it adds or removes escapes.

use signalbox_proto::text::is_hostile;
use std::borrow::Cow;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Narrowest text column that still reads; below it lines are cut by the terminal.
const WRAP_MIN_COLUMNS: usize = 16;

/// One line: control, invisible and reordering characters become `\n`,
/// `\u{1b}` and the like.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_hostile(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Several lines: line feeds part them, tabs become spaces, all else is as [`clean`].
pub(crate) fn clean_lines(text: &str) -> Vec<String> {
    text.trim_end().lines().map(|line| clean(&line.replace('\t', "    ")).into_owned()).collect()
}

/// A JSON document that a terminal may print: the characters that JSON allows
/// raw and [`clean`] does not become `\uXXXX`. They can stand only within
/// strings, so the document keeps its meaning; white space between tokens stays.
pub(crate) fn clean_json(body: &str) -> String {
    let mut out = String::with_capacity(body.len());
    for c in body.trim().chars() {
        if is_hostile(c) && !matches!(c, '\n' | '\r' | '\t') {
            let mut units = [0u16; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Columns that a terminal gives to the text.
pub(crate) fn columns(text: &str) -> usize {
    text.width()
}

/// At most `limit` columns; what is cut shows as `…`.
pub(crate) fn clip(text: &str, limit: usize) -> String {
    if text.width() <= limit {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > limit {
            break;
        }
        used += wide;
        out.push(c);
    }
    if limit > 0 {
        out.push('…');
    }
    out
}

/// At most `limit` columns; what is cut in the middle shows as `…`.
pub(crate) fn clip_middle(text: &str, limit: usize) -> String {
    if text.width() <= limit || limit < 3 {
        return clip(text, limit);
    }
    // Names begin with what tells them apart most: two thirds for the head.
    let head = clip(text, limit * 2 / 3);
    let room = limit.saturating_sub(head.width());
    let mut tail: Vec<char> = Vec::new();
    let mut used = 0;
    for c in text.chars().rev() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        tail.push(c);
    }
    head.chars().chain(tail.into_iter().rev()).collect()
}

/// Exactly `width` columns: clipped, or filled with spaces on the right.
pub(crate) fn fit(text: &str, width: usize) -> String {
    let mut out = clip(text, width);
    out.extend(std::iter::repeat_n(' ', width.saturating_sub(out.width())));
    out
}

/// Lines of at most `limit` columns, broken at spaces where there are any;
/// one line when there is no limit.
pub(crate) fn wrap(text: &str, limit: Option<usize>) -> Vec<String> {
    let Some(limit) = limit else { return vec![text.to_owned()] };
    let limit = limit.max(WRAP_MIN_COLUMNS);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.width() + 1 + word.width() > limit {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars() {
            if line.width() + c.width().unwrap_or(0) > limit {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    lines.push(line);
    lines
}

/// A number as people read it: up to 6 digits, SI suffix from a million on.
pub(crate) fn number(value: Option<f64>) -> String {
    let Some(value) = value.filter(|value| value.is_finite()) else { return "-".to_owned() };
    let size = value.abs();
    for (suffix, scale) in [("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6)] {
        if size >= scale {
            return format!("{}{suffix}", digits(value / scale));
        }
    }
    digits(value)
}

fn digits(value: f64) -> String {
    let size = value.abs();
    if value.fract() == 0.0 && size < 1e6 {
        return format!("{value:.0}");
    }
    if !(1e-4..1e6).contains(&size) {
        return format!("{value:.3e}");
    }
    // Six digits in all, so that 0.00123456 and 1234.56 say equally much.
    let before = if size >= 1.0 { size.log10().floor() as i32 + 1 } else { 0 };
    let after = usize::try_from((6 - before).clamp(0, 6)).unwrap_or(0);
    let text = format!("{value:.after$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// `1 rule`, `2 rules`.
pub(crate) fn counted(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_reordering_characters_are_spelt_out() {
        assert_eq!(clean("a\u{1b}[31mb\u{9b}c\n\t\u{202e}d\u{7f}"), "a\\u{1b}[31mb\\u{9b}c\\n\\t\\u{202e}d\\u{7f}");
        assert_eq!(clean("größe 温度 ✓"), "größe 温度 ✓");
    }

    #[test]
    fn json_keeps_its_meaning_and_loses_raw_controls() {
        let body = "{\"a\": \"x\u{9b}31m\u{202e}\u{e0001}\",\n \"b\": 1}\n";
        let safe = clean_json(body);
        assert_eq!(safe, "{\"a\": \"x\\u009b31m\\u202e\\udb40\\udc01\",\n \"b\": 1}");
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parse(body), parse(&safe));
    }

    #[test]
    fn clipping_and_fitting_count_columns_not_bytes() {
        assert_eq!(clip("abcdef", 4), "abc…");
        assert_eq!(clip("温度温度", 5), "温度…");
        assert_eq!(columns(&fit("温度温度", 6)), 6);
        assert_eq!(clip("abc", 0), "");
        assert_eq!(clip_middle("abcdefgh", 5), "ab…gh");
        assert_eq!(columns(&clip_middle("温度温度温度", 7)), 7);
        assert_eq!(clip_middle("abc", 3), "abc");
    }

    #[test]
    fn wrapping_breaks_at_spaces_and_inside_words_that_are_too_long() {
        assert_eq!(wrap("one two three four five", Some(16)), ["one two three", "four five"]);
        assert_eq!(wrap("x aaaaaaaaaaaaaaaaaaaaaaa", Some(16)), ["x", "aaaaaaaaaaaaaaaa", "aaaaaaa"]);
        assert_eq!(wrap("one two", None), ["one two"]);
    }

    #[test]
    fn numbers_keep_six_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.1, "0.1"),
            (97.123_456_7, "97.1235"),
            (1234.5, "1234.5"),
            (16_513_896_448.0, "16.5139G"),
            (-2_000_000.0, "-2M"),
            (0.000_01, "1.000e-5"),
            (999_999.0, "999999"),
        ] {
            assert_eq!(number(Some(value)), text);
        }
        assert_eq!(number(None), "-");
        assert_eq!(number(Some(f64::NAN)), "-");
    }
}
