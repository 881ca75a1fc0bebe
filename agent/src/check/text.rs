//! Numbers and words out of the kernel's text files, without allocation.
//!
//! Everything here is pure over `&[u8]`. The files are short lines of blanks,
//! words and decimal numbers; a field that is not what it should be gives `None`,
//! never a panic, because kernels to come may say more than those of today.

/// The lines of a text, without their line feeds.
pub(crate) fn lines(text: &[u8]) -> Lines<'_> {
    Lines(text)
}

/// See [`lines`].
pub(crate) struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = line_end(self.0);
        let line = &self.0[..end];
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        Some(line)
    }
}

/// Where the first line feed is, or the length. Eight bytes at a time: the line of
/// interrupts in `/proc/stat` has tens of kilobytes on large machines.
fn line_end(text: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, _) = text.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        // A byte of `x` is zero where the text has a line feed; the lowest bit set
        // in `found` marks the first of them (Mycroft 1987).
        let x = u64::from_le_bytes(*word) ^ (ONES * 0x0a);
        let found = x.wrapping_sub(ONES) & !x & HIGH;
        if found != 0 {
            return i * 8 + (found.trailing_zeros() / 8) as usize;
        }
    }
    let tail = words.len() * 8;
    text[tail..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| tail + at)
}

/// Walks over the blank-separated fields of one line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Stands before the first field.
    pub(crate) fn new(line: &'a [u8]) -> Fields<'a> {
        Fields(line)
    }

    /// The next field.
    pub(crate) fn word(&mut self) -> Option<&'a [u8]> {
        let start = self.0.iter().position(|byte| !is_blank(*byte))?;
        let rest = &self.0[start..];
        let end = rest.iter().position(|byte| is_blank(*byte)).unwrap_or(rest.len());
        self.0 = &rest[end..];
        Some(&rest[..end])
    }

    /// The next field, if it is a whole number. A field that is none is passed over.
    pub(crate) fn number(&mut self) -> Option<u64> {
        number(self.word()?)
    }

    /// The next field, if it is a whole number, maybe with a sign.
    pub(crate) fn signed(&mut self) -> Option<f64> {
        let word = self.word()?;
        match word.strip_prefix(b"-") {
            Some(digits) => number(digits).map(|n| -(n as f64)),
            None => number(word).map(|n| n as f64),
        }
    }

    /// Passes over `n` fields.
    pub(crate) fn skip(&mut self, n: usize) -> Option<()> {
        for _ in 0..n {
            self.word()?;
        }
        Some(())
    }
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// A whole decimal number that fits in 64 bits.
pub(crate) fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    let mut n = 0u64;
    for byte in word {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        n = n.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(n)
}

/// A hexadecimal number, with or without `0x`.
pub(crate) fn hex(word: &[u8]) -> Option<u64> {
    let digits = word.strip_prefix(b"0x").unwrap_or(word);
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits.iter().try_fold(0u64, |n, byte| Some(n << 4 | u64::from((*byte as char).to_digit(16)?)))
}

/// `12` or `0.52`: the nearest double, as if written so in a program.
pub(crate) fn decimal(word: &[u8]) -> Option<f64> {
    let Some(dot) = word.iter().position(|byte| *byte == b'.') else {
        return number(word).map(|n| n as f64);
    };
    let (whole, digits) = (number(&word[..dot])?, &word[dot + 1..]);
    let fraction = number(digits)?;
    // Both operands are exact below 2^53, so the one division rounds once.
    let scale = 10u64.checked_pow(u32::try_from(digits.len()).ok()?)?;
    Some(whole.checked_mul(scale)?.checked_add(fraction)? as f64 / scale as f64)
}

/// Without blanks and line feeds at both ends.
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

/// Four decimals: enough for a share, and few digits pack well.
pub(crate) fn round4(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_line_feeds_and_at_the_end() {
        let all = |text: &'static str| lines(text.as_bytes()).map(|l| l.to_vec()).collect::<Vec<_>>();
        assert_eq!(all(""), Vec::<Vec<u8>>::new());
        assert_eq!(all("a\n"), [b"a"]);
        assert_eq!(all("a\n\nbc"), [b"a".to_vec(), b"".to_vec(), b"bc".to_vec()]);
    }

    #[test]
    fn a_line_of_any_length_ends_where_it_ends() {
        for length in 0..40 {
            let text = [vec![b'x'; length], b"\nrest\n".to_vec()].concat();
            assert_eq!(lines(&text).next().map(<[u8]>::len), Some(length));
            assert_eq!(line_end(&vec![b'x'; length]), length);
        }
        // Bytes next to the line feed's code and with the high bit set do not fool the search.
        assert_eq!(line_end(b"\x0b\x09\x8a\xff\x00\x0b\x0b\x0b\x0b\n"), 9);
    }

    #[test]
    fn fields_are_separated_by_any_blanks() {
        let mut fields = Fields::new(b"  eth0:\t 12 -1 x 18446744073709551615 18446744073709551616");
        assert_eq!(fields.word(), Some(&b"eth0:"[..]));
        assert_eq!(fields.number(), Some(12));
        assert_eq!(fields.signed(), Some(-1.0));
        assert_eq!(fields.number(), None, "x is no number");
        assert_eq!(fields.number(), Some(u64::MAX));
        assert_eq!(fields.number(), None, "one more than fits");
        assert_eq!(fields.word(), None);
    }

    #[test]
    fn decimals_are_the_nearest_double() {
        for text in ["0.52", "12", "0.00", "128.07", "1234.5"] {
            assert_eq!(decimal(text.as_bytes()), text.parse().ok(), "{text}");
        }
        for text in ["", ".", "1.", ".5", "a", "1.x", "-1.5"] {
            assert_eq!(decimal(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn hexadecimal_numbers_come_with_and_without_prefix() {
        assert_eq!(hex(b"0x1003"), Some(0x1003));
        assert_eq!(hex(b"0000189b"), Some(0x189b));
        assert_eq!(hex(b""), None);
        assert_eq!(hex(b"xyz"), None);
    }
}
