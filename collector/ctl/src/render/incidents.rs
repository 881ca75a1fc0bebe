//! Incidents: a table of many, the whole story of one.

use super::table::{Column, Field, table};
use super::{heading, push_ledger, push_wrapped};
use crate::look::{Look, Shown};
use crate::text::{clean, clean_lines, counted};
use crate::when::{age, dated, rfc3339_ms, short};
use signalbox_proto::api::{Incident, IncidentLabel, IncidentState};
use signalbox_proto::units::UnixMillis;

/// One row for each, in the collector's order.
pub fn list(look: &Look, incidents: &[Incident]) -> String {
    if incidents.is_empty() {
        return "no incident\n".to_owned();
    }
    let rows = incidents.iter().map(|incident| row(look, incident)).collect();
    use Column::{Tight, Wide};
    let titles = [
        Tight("INCIDENT"),
        Tight("LEVEL"),
        Tight("STATE"),
        Tight("AGE"),
        Tight("OWNER"),
        Tight("ASSIGNEE"),
        Wide("TITLE"),
    ];
    table(look, &titles, rows)
}

fn row(look: &Look, incident: &Incident) -> Vec<Field> {
    let shown = Shown::of(incident.level, false);
    vec![
        Field::plain(clean(&incident.id)),
        Field::painted(shown, shown.mark()),
        Field::plain(state(incident.state)),
        Field::plain(age(look.now, incident.detected)),
        Field::plain(clean(&incident.owner)),
        Field::plain(clean(&incident.assignee)),
        Field::plain(clean(&incident.title)),
    ]
}

/// The whole story.
pub fn show(look: &Look, incident: &Incident) -> String {
    let shown = Shown::of(incident.level, false);
    let mark = look.paint(shown, &shown.mark());
    let mut out = format!("{}  {mark}  {}", look.strong(&clean(&incident.id)), state(incident.state));
    if incident.worst > incident.level {
        out.push_str(&format!("  (was {})", incident.worst));
    }
    out.push('\n');
    push_wrapped(&mut out, look, 0, "", &clean(&incident.title));
    out.push('\n');
    for (label, text) in facts(look, incident) {
        if !text.is_empty() {
            push_wrapped(&mut out, look, 2, &format!("{label:<15}"), &text);
        }
    }
    for (i, line) in clean_lines(&incident.sop).iter().enumerate() {
        let label = if i == 0 { "what to do" } else { "" };
        push_wrapped(&mut out, look, 2, &format!("{label:<15}"), line);
    }
    if !incident.timeline.is_empty() {
        out.push('\n');
        out.push_str(&heading(look, "Timeline"));
        for entry in &incident.timeline {
            let label = format!("{}  {:<12}  ", rfc3339_ms(entry.at), clean(&entry.kind));
            let by = if entry.author.is_empty() { String::new() } else { format!(" ({})", clean(&entry.author)) };
            push_wrapped(&mut out, look, 2, &label, &format!("{}{by}", clean(&entry.text)));
        }
    }
    out.push('\n');
    out.push_str(&heading(look, "Notices"));
    if incident.ledger.is_empty() {
        out.push_str("  none was decided\n");
    }
    push_ledger(&mut out, look, &incident.ledger);
    out
}

fn facts(look: &Look, incident: &Incident) -> Vec<(&'static str, String)> {
    let at = |instant: Option<UnixMillis>| instant.map(|instant| dated(look.now, instant)).unwrap_or_default();
    let by = |who: &str| if who.is_empty() { String::new() } else { format!(" by {}", clean(who)) };
    let label = incident.label.map(|label| format!("{}: {}", label_word(label), clean(&incident.label_reason)));
    let mut flags = Vec::new();
    if incident.late {
        flags.push("found in back-filled data, paged nobody".to_owned());
    }
    if incident.n_reopened > 0 {
        flags.push(format!("reopened {}", counted(incident.n_reopened as usize, "time")));
    }
    let lasted = incident.restored.map(|end| short(end.since(incident.first_symptom)));
    vec![
        ("item", clean(&incident.item).into_owned()),
        ("entity", clean(&incident.entity).into_owned()),
        ("rule", clean(&incident.rule).into_owned()),
        ("layer", incident.layer.to_string()),
        ("owner", clean(&incident.owner).into_owned()),
        ("assignee", clean(&incident.assignee).into_owned()),
        ("first symptom", at(Some(incident.first_symptom))),
        ("detected", at(Some(incident.detected))),
        (
            "acknowledged",
            incident
                .acknowledged
                .map_or(String::new(), |_| format!("{}{}", at(incident.acknowledged), by(&incident.acknowledged_by))),
        ),
        ("restored", at(incident.restored)),
        ("lasted", lasted.unwrap_or_default()),
        ("closed", at(incident.closed)),
        ("label", label.unwrap_or_default()),
        ("remarks", flags.join("; ")),
    ]
}

fn state(state: IncidentState) -> &'static str {
    match state {
        IncidentState::Detected => "detected",
        IncidentState::Acknowledged => "acknowledged",
        IncidentState::Restored => "restored",
        IncidentState::Closed => "closed",
    }
}

fn label_word(label: IncidentLabel) -> &'static str {
    match label {
        IncidentLabel::Real => "real",
        IncidentLabel::False => "false",
        IncidentLabel::Noisy => "noisy",
    }
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{ago, ledger, look};
    use super::*;
    use expect_test::expect;
    use signalbox_proto::api::{Outcome, TimelineEntry};
    use signalbox_proto::status::Level;

    fn incident() -> Incident {
        let entry = |secs, kind: &str, author: &str, text: &str| TimelineEntry {
            at: ago(secs),
            kind: kind.to_owned(),
            author: author.to_owned(),
            text: text.to_owned(),
        };
        Incident {
            number: 17,
            id: "INC-17".to_owned(),
            state: IncidentState::Acknowledged,
            level: Level::Amber,
            worst: Level::Red,
            title: "file system / of web1 is 97.1 % full\u{1b}[31m and grows by a gigabyte an hour".to_owned(),
            rule: "filesystem-full".to_owned(),
            entity: "host/web1".to_owned(),
            item: "host/web1:filesystem-full{mountpoint=\"/\"}".to_owned(),
            owner: "infra".to_owned(),
            sop: "https://wiki.example/full\nThen call the owner.".to_owned(),
            first_symptom: ago(210),
            detected: ago(180),
            acknowledged: Some(ago(100)),
            acknowledged_by: "eve".to_owned(),
            assignee: "eve".to_owned(),
            n_reopened: 1,
            timeline: vec![
                entry(180, "raised", "signalbox", "red: 97.1 >= 95"),
                entry(90, "note", "eve", "deleting\nold logs"),
            ],
            ledger: vec![ledger(Outcome::Sent, "to oncall, 200 OK")],
            ..Incident::default()
        }
    }

    #[test]
    fn a_list_reads_at_80_columns() {
        let fresh = Incident { number: 18, id: "INC-18".to_owned(), detected: ago(4), ..Incident::default() };
        expect![[r#"
            INCIDENT  LEVEL    STATE         AGE  OWNER  ASSIGNEE  TITLE
            INC-17    ▲ AMBER  acknowledged  3m   infra  eve       file system / of web1
                                                                   is 97.1 %
                                                                   full\u{1b}[31m and
                                                                   grows by a gigabyte an
                                                                   hour
            INC-18    ✓ GREEN  detected      4s
        "#]]
        .assert_eq(&list(&look(80), &[incident(), fresh]));
    }

    #[test]
    fn no_incident_is_said() {
        assert_eq!(list(&look(80), &[]), "no incident\n");
    }

    #[test]
    fn the_story_reads_at_80_columns() {
        expect![[r#"
            INC-17  ▲ AMBER  acknowledged  (was red)
            file system / of web1 is 97.1 % full\u{1b}[31m and grows by a gigabyte an hour

              item           host/web1:filesystem-full{mountpoint="/"}
              entity         host/web1
              rule           filesystem-full
              layer          machine
              owner          infra
              assignee       eve
              first symptom  2026-11-23T02:10:42Z (3m ago)
              detected       2026-11-23T02:11:12Z (3m ago)
              acknowledged   2026-11-23T02:12:32Z (1m ago) by eve
              remarks        reopened 1 time
              what to do     https://wiki.example/full
                             Then call the owner.

            Timeline
              2026-11-23T02:11:12.000Z  raised        red: 97.1 >= 95 (signalbox)
              2026-11-23T02:12:42.000Z  note          deleting\nold logs (eve)

            Notices
              2026-11-23T02:11:22.000Z  sent        raised → oncall: to oncall, 200 OK
        "#]]
        .assert_eq(&show(&look(80), &incident()));
    }

    #[test]
    fn what_is_over_says_how_long_it_lasted_and_what_it_was_worth() {
        let over = Incident {
            state: IncidentState::Closed,
            restored: Some(ago(30)),
            closed: Some(ago(10)),
            label: Some(IncidentLabel::Noisy),
            label_reason: "planned clean-up".to_owned(),
            late: true,
            ..incident()
        };
        let text = show(&look(80), &over);
        assert!(text.contains("lasted         3m\n"), "{text}");
        assert!(text.contains("label          noisy: planned clean-up\n"), "{text}");
        assert!(text.contains("paged nobody; reopened 1 time"), "{text}");
    }
}
