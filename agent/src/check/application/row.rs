//! `/proc/PID/stat`, parsed.

use crate::check::text::{Fields, number, trim};

/// Ticks of the kernel's interface a second (`USER_HZ`).
pub(crate) const TICKS_PER_SEC: f64 = 100.0;
/// The kernel's limit for user programs, less the zero at the end.
pub(crate) const COMM_MAX_BYTES: usize = 15;

/// One process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    /// The command's name, cut at 15 bytes by the kernel.
    pub(crate) comm: &'a [u8],
    /// Neither a zombie nor being taken away.
    pub(crate) is_alive: bool,
    /// User and system time, ticks.
    pub(crate) cpu_ticks: u64,
    /// Threads.
    pub(crate) n_threads: u64,
    /// Ticks after boot at which it started: with the pid, its identity.
    pub(crate) start_ticks: u64,
    /// Pages in memory.
    pub(crate) resident_pages: u64,
}

impl Row<'_> {
    /// `1234 (name) S 1 …`. A name may hold blanks and brackets of its own, so it
    /// ends at the last bracket.
    pub(crate) fn parse(text: &[u8]) -> Option<Row<'_>> {
        let open = text.iter().position(|byte| *byte == b'(')?;
        let close = text.iter().rposition(|byte| *byte == b')')?;
        let comm = text.get(open + 1..close)?;
        number(trim(&text[..open]))?;
        let mut fields = Fields::new(trim(&text[close + 1..]));
        let state = fields.word()?;
        fields.skip(10)?;
        let cpu_ticks = fields.number()?.saturating_add(fields.number()?);
        fields.skip(4)?;
        let n_threads = fields.number()?;
        fields.skip(1)?;
        let start_ticks = fields.number()?;
        fields.skip(1)?;
        let resident_pages = fields.number()?;
        let is_alive = !matches!(state, b"Z" | b"X" | b"x");
        Some(Row { comm, is_alive, cpu_ticks, n_threads, start_ticks, resident_pages })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_blanks_and_brackets() {
        let text = b"16241 (a) R (b) S 1 16187 15132 0 -1 4194304 97 0 0 0 30 12 0 0 20 0 7 0 125140 3133440 360 18446744073709551615 93968744169472\n";
        let row = Row::parse(text).unwrap();
        assert_eq!(row.comm, b"a) R (b");
        assert_eq!((row.cpu_ticks, row.n_threads, row.start_ticks, row.resident_pages), (42, 7, 125_140, 360));
        assert!(row.is_alive);
    }

    #[test]
    fn zombies_are_not_alive() {
        let text = |state: &str| format!("1 (x) {state} 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0");
        for (state, is_alive) in [("S", true), ("D", true), ("T", true), ("I", true), ("Z", false), ("X", false)] {
            assert_eq!(Row::parse(text(state).as_bytes()).map(|row| row.is_alive), Some(is_alive), "{state}");
        }
    }

    #[test]
    fn a_text_cut_short_is_none() {
        for text in ["", "1 (x", "1 (x) S 1 1", "x (y) S", ") 1 ("] {
            assert_eq!(Row::parse(text.as_bytes()), None, "{text}");
        }
    }
}
