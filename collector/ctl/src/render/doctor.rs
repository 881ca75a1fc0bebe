//! What the doctor found: one line each, its remedy below.

use super::push_wrapped;
use crate::doctor::judge::{Finding, State};
use crate::look::{Look, Shown};
use crate::text::clean;

/// Findings, the worst first.
pub fn findings(look: &Look, findings: &[Finding]) -> String {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.state));
    let mut out = String::new();
    for finding in sorted {
        let shown = match finding.state {
            State::Good => Shown::Green,
            State::Odd => Shown::Amber,
            State::Bad => Shown::Red,
        };
        let label = format!("{} {:<13}", shown.symbol(), finding.check);
        push_wrapped(&mut out, look, 0, &label, &clean(&finding.found));
        if !finding.remedy.is_empty() {
            push_wrapped(&mut out, look, 15, "= ", &clean(&finding.remedy));
        }
    }
    let n = |state| findings.iter().filter(|finding| finding.state == state).count();
    out.push_str(&format!("{} broken, {} odd, {} good\n", n(State::Bad), n(State::Odd), n(State::Good)));
    out
}

#[cfg(test)]
mod tests {
    use super::super::testkit::look;
    use super::*;

    #[test]
    fn what_is_broken_comes_first_with_its_remedy() {
        let found = [
            Finding::good("clock", "fine"),
            Finding::bad("disk", "full\u{1b}[2J", "free space"),
            Finding::odd("agents", "none", "join one"),
        ];
        let text = findings(&look(80), &found);
        assert_eq!(
            text,
            "● disk         full\\u{1b}[2J\n               = free space\n▲ agents       none\n               = join one\n\
             ✓ clock        fine\n1 broken, 1 odd, 1 good\n"
        );
    }
}
