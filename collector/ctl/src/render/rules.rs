//! Findings about rules, as a compiler tells them.

use crate::look::{Look, Shown};
use crate::text::{clean, clean_lines, counted};
use signalbox_proto::api::{Finding, RulesReport};

/// `file:line:column: error: message`, the remedy below, a summary at the end.
pub fn report(look: &Look, report: &RulesReport) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        push_finding(&mut out, look, finding);
    }
    let n_errors = n_errors(report);
    let n_warnings = report.findings.len() - n_errors;
    let verdict = if n_errors > 0 { look.paint(Shown::Red, "refused") } else { look.paint(Shown::Green, "good") };
    let summary = format!(
        "{verdict}: {} selecting {} now, {}, {}\n",
        counted(report.n_rules, "rule"),
        // "series" has no plural of its own.
        format_args!("{} series", report.n_selected),
        counted(n_errors, "error"),
        counted(n_warnings, "warning"),
    );
    out.push_str(&summary);
    out
}

/// How many findings refuse the files.
pub fn n_errors(report: &RulesReport) -> usize {
    report.findings.iter().filter(|finding| finding.error).count()
}

fn push_finding(out: &mut String, look: &Look, finding: &Finding) {
    if !finding.file.is_empty() {
        out.push_str(&clean(&finding.file));
        for part in [finding.line, finding.column].into_iter().take_while(|part| *part > 0) {
            out.push_str(&format!(":{part}"));
        }
        out.push_str(": ");
    }
    out.push_str(&match finding.error {
        true => look.paint(Shown::Red, "error"),
        false => look.paint(Shown::Amber, "warning"),
    });
    // A snippet's columns must stay where they are: never wrapped.
    let mut lines = clean_lines(&finding.message).into_iter();
    out.push_str(&format!(": {}\n", lines.next().unwrap_or_default()));
    for line in lines {
        out.push_str(&format!("  {line}\n"));
    }
    for line in clean_lines(&finding.remedy) {
        out.push_str(&format!("  = {line}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testkit::look;
    use super::*;
    use expect_test::expect;

    #[test]
    fn findings_read_like_a_compilers() {
        let finding = |error, line, column, message: &str, remedy: &str| Finding {
            error,
            file: if line > 0 { "rules/disk.yaml".to_owned() } else { String::new() },
            line,
            column,
            message: message.to_owned(),
            remedy: remedy.to_owned(),
        };
        let found = RulesReport {
            n_rules: 12,
            n_selected: 345,
            findings: vec![
                finding(
                    true,
                    7,
                    3,
                    "unknown key `raise_fro`\n 7 |   raise_fro: 30s\n   |   ^^^^^^^^^",
                    "write raise_for",
                ),
                finding(false, 9, 0, "rule \u{1b}[2Jx has no owner", ""),
                finding(false, 0, 0, "dependencies form a ring", "drop one"),
            ],
        };
        expect![[r#"
            rules/disk.yaml:7:3: error: unknown key `raise_fro`
               7 |   raise_fro: 30s
                 |   ^^^^^^^^^
              = write raise_for
            rules/disk.yaml:9: warning: rule \u{1b}[2Jx has no owner
            warning: dependencies form a ring
              = drop one
            refused: 12 rules selecting 345 series now, 1 error, 2 warnings
        "#]]
        .assert_eq(&report(&look(80), &found));
        assert_eq!(n_errors(&found), 1);
    }

    #[test]
    fn nothing_found_is_good() {
        let clean = RulesReport { n_rules: 1, n_selected: 0, findings: vec![] };
        assert_eq!(report(&look(80), &clean), "good: 1 rule selecting 0 series now, 0 errors, 0 warnings\n");
    }
}
