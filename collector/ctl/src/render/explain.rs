//! The proof of a verdict, for reading aloud on the phone at 3 AM.

use super::query::sparkline;
use super::status::{flags, shown};
use super::{heading, push_ledger, push_wrapped};
use crate::look::Look;
use crate::text::{clean, clean_lines, columns, number};
use crate::when::{ago, dated, rfc3339, rfc3339_ms};
use signalbox_proto::api::Explanation;
use signalbox_proto::metric::Unit;
use signalbox_proto::units::UnixMillis;

/// How many of the newest samples are told one by one.
const SAMPLES_TOLD: usize = 10;

/// Columns of the sparkline over the samples.
const SPARK_COLUMNS: usize = 60;

/// What was shown, why, by which rule, from which samples, with which clocks,
/// suppressions and notices.
pub fn proof(look: &Look, explanation: &Explanation) -> String {
    // Ages count from the instant that is explained, not from now.
    let then = Look { now: explanation.at, ..*look };
    let item = &explanation.item;
    let shown = shown(item);
    let mut out = format!("{}  {}\n", look.paint(shown, &shown.mark()), look.strong(&clean(&item.id)));
    push_wrapped(
        &mut out,
        look,
        0,
        "",
        &format!("at {}  {}", rfc3339_ms(explanation.at), ago(look.now, explanation.at)),
    );
    if !item.why.is_empty() {
        push_wrapped(&mut out, look, 0, "", &clean(&item.why));
    }
    let since = format!("{} since {}", item.level, dated(then.now, item.since));
    let mut facts = vec![since];
    facts.extend(item.incident.map(|n| format!("INC-{n}")));
    facts.extend(flags(&then, item));
    push_wrapped(&mut out, look, 0, "", &facts.join(" · "));

    section(&mut out, look, "Because");
    sentences(&mut out, look, &explanation.because, "nothing was stored that says why");
    section(&mut out, look, "Rule in force");
    push_rule(&mut out, look, explanation);
    section(&mut out, look, "Samples");
    push_samples(&mut out, &then, explanation);
    section(&mut out, look, "Clocks");
    sentences(&mut out, look, &explanation.clocks, "none ran");
    section(&mut out, look, "Suppressions");
    sentences(&mut out, look, &explanation.suppressions, "none was in force");
    section(&mut out, look, "Notices");
    if explanation.ledger.is_empty() {
        out.push_str("  none was decided\n");
    }
    push_ledger(&mut out, look, &explanation.ledger);
    if !item.sop.is_empty() {
        section(&mut out, look, "What to do");
        for line in clean_lines(&item.sop) {
            push_wrapped(&mut out, look, 2, "", &line);
        }
    }
    out
}

fn section(out: &mut String, look: &Look, title: &str) {
    out.push('\n');
    out.push_str(&heading(look, title));
}

fn sentences(out: &mut String, look: &Look, sentences: &[String], none: &str) {
    if sentences.is_empty() {
        out.push_str(&format!("  {none}\n"));
    }
    for sentence in sentences {
        push_wrapped(out, look, 2, "- ", &clean(sentence));
    }
}

fn push_rule(out: &mut String, look: &Look, explanation: &Explanation) {
    let mut rows = vec![("id".to_owned(), clean(&explanation.item.rule).into_owned())];
    for (name, value) in explanation.rule.iter().filter(|(name, _)| *name != "id") {
        rows.push((clean(name).into_owned(), clean(value).into_owned()));
    }
    let by = explanation.override_by.as_deref().map_or("none".to_owned(), |by| clean(by).into_owned());
    rows.push(("override".to_owned(), by));
    if !explanation.rules_version.is_empty() {
        rows.push(("version".to_owned(), clean(&explanation.rules_version).into_owned()));
    }
    let widest = rows.iter().map(|(name, _)| columns(name)).max().unwrap_or(0);
    for (name, value) in rows {
        push_wrapped(out, look, 2, &format!("{name:<widest$}  "), &value);
    }
}

fn push_samples(out: &mut String, then: &Look, explanation: &Explanation) {
    let samples = &explanation.samples;
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        out.push_str("  none is stored\n");
        return;
    };
    let width = then.room(2).unwrap_or(SPARK_COLUMNS).min(SPARK_COLUMNS);
    let line = sparkline(samples, UnixMillis(first.0), UnixMillis(last.0), width);
    out.push_str(&format!("  {}\n", line.trim_end()));
    let unit = Unit::of(&explanation.item.metric);
    let untold = samples.len().saturating_sub(SAMPLES_TOLD);
    if untold > 0 {
        out.push_str(&format!("  … {untold} older from {} on\n", rfc3339(UnixMillis(first.0))));
    }
    for (at, value) in &samples[untold..] {
        let at = UnixMillis(*at);
        let value = value.map_or_else(|| number(None), |value| unit.show(value, |value| number(Some(value))));
        out.push_str(&format!("  {}  {value:>9}  {}\n", rfc3339_ms(at), ago(then.now, at)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{self, NOW, board, ledger, look};
    use super::*;
    use expect_test::expect;
    use signalbox_proto::api::{Item, Outcome};

    #[test]
    fn a_proof_reads_at_80_columns() {
        let mut item = board().entities[1].items[0].clone();
        item.sop = "1. look at /var/log\n2. ask\u{1b}]0;x\u{7} the owner".to_owned();
        let explanation = Explanation {
            at: testkit::ago(60),
            item,
            rules_version: "9f3c21".to_owned(),
            rule: [("id", "filesystem-full"), ("red", ">= 95"), ("raise_for", "red 30s")]
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .into(),
            override_by: Some("big disks: {instance=~\"web.*\"}".to_owned()),
            samples: (0..12).map(|i| (testkit::ago(72 - i).0, Some(90.0 + i as f64))).collect(),
            clocks: vec!["red waited from 02:10:22 to 02:10:52".to_owned()],
            suppressions: vec![],
            ledger: vec![ledger(Outcome::Sent, "to oncall, 200 OK"), ledger(Outcome::Suppressed, "snooze 3")],
            because: vec!["97.1 is at least 95, the red threshold, and it has been so for longer than 30 s".to_owned()],
        };
        expect![[r#"
            ● RED  host/web1:filesystem-full{mountpoint="/"}
            at 2026-11-23T02:13:12.000Z  1m ago
            97.1 % used, red from 95 % on
            red since 2026-11-23T02:10:52Z (2m ago) · INC-17 · snoozed

            Because
              - 97.1 is at least 95, the red threshold, and it has been so for longer than
                30 s

            Rule in force
              id         filesystem-full
              raise_for  red 30s
              red        >= 95
              override   big disks: {instance=~"web.*"}
              version    9f3c21

            Samples
              ▁▁▁▁▁▂▂▂▂▂▂▂▂▂▂▂▃▃▃▃▃▄▄▄▄▄▄▄▄▄▄▄▅▅▅▅▅▅▅▅▅▅▅▆▆▆▆▆▆▇▇▇▇▇▇▇▇▇▇█
              … 2 older from 2026-11-23T02:13:00Z on
              2026-11-23T02:13:02.000Z         92  10s ago
              2026-11-23T02:13:03.000Z         93  9s ago
              2026-11-23T02:13:04.000Z         94  8s ago
              2026-11-23T02:13:05.000Z         95  7s ago
              2026-11-23T02:13:06.000Z         96  6s ago
              2026-11-23T02:13:07.000Z         97  5s ago
              2026-11-23T02:13:08.000Z         98  4s ago
              2026-11-23T02:13:09.000Z         99  3s ago
              2026-11-23T02:13:10.000Z        100  2s ago
              2026-11-23T02:13:11.000Z        101  1s ago

            Clocks
              - red waited from 02:10:22 to 02:10:52

            Suppressions
              none was in force

            Notices
              2026-11-23T02:11:22.000Z  sent        raised → oncall: to oncall, 200 OK
              2026-11-23T02:11:22.000Z  suppressed  raised: snooze 3

            What to do
              1. look at /var/log
              2. ask\u{1b}]0;x\u{7} the owner
        "#]]
        .assert_eq(&proof(&look(80), &explanation));
    }

    #[test]
    fn a_proof_without_facts_says_so() {
        let explanation = Explanation {
            at: NOW,
            item: Item { id: "host/a:r".to_owned(), rule: "r".to_owned(), since: NOW, ..Item::default() },
            ..Explanation::default()
        };
        expect![[r#"
            ? GREY  host/a:r
            at 2026-11-23T02:14:12.000Z  0s ago
            green since 2026-11-23T02:14:12Z (0s ago) · never sampled

            Because
              nothing was stored that says why

            Rule in force
              id        r
              override  none

            Samples
              none is stored

            Clocks
              none ran

            Suppressions
              none was in force

            Notices
              none was decided
        "#]]
        .assert_eq(&proof(&look(80), &explanation));
    }
}
