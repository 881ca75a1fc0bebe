//! A refused reload in one line, for the board.

use signalbox_proto::api::Finding;

/// Place, message and remedy of the first error, and how many more there are.
pub(super) fn first_error(findings: &[Finding]) -> String {
    let first_line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    let errors: Vec<&Finding> = findings.iter().filter(|finding| finding.error).collect();
    let Some(first) = errors.first() else { return "nobody says why".to_owned() };
    let place = match (first.file.as_str(), first.line) {
        ("", _) => String::new(),
        (file, 0) => format!("{file}: "),
        (file, line) => format!("{file}:{line}: "),
    };
    // The lines after the first show the place again, for a terminal.
    let mut text = format!("{place}{}", first_line(&first.message));
    if !first.remedy.is_empty() {
        text.push_str(&format!("; {}", first_line(&first.remedy)));
    }
    if errors.len() > 1 {
        text.push_str(&format!(" (and {} more: signalbox rules check)", errors.len() - 1));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_reload_names_the_first_place_and_counts_the_rest() {
        let finding = |error, file: &str, line| Finding {
            error,
            file: file.to_owned(),
            line,
            column: 5,
            message: "a rule has no key `raise_four`\n7 |     raise_four: 5m\n  |     ^".to_owned(),
            remedy: "did you mean `raise_for`?".to_owned(),
        };
        let one = "site.yaml:7: a rule has no key `raise_four`; did you mean `raise_for`?";
        assert_eq!(first_error(&[finding(false, "a.yaml", 1), finding(true, "site.yaml", 7)]), one);
        let many = [finding(true, "site.yaml", 7), finding(true, "b.yaml", 1), finding(true, "", 0)];
        assert_eq!(first_error(&many), format!("{one} (and 2 more: signalbox rules check)"));
        assert!(first_error(&[finding(true, "", 0)]).starts_with("a rule has no key"));
    }
}
