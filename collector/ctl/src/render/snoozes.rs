//! Snoozes: what nobody is told about, by whom, why and until when.

use super::table::{Column, Field, table};
use crate::look::Look;
use crate::text::{clean, counted};
use crate::when::{age, rfc3339};
use signalbox_proto::api::Snooze;

/// One row for each, in the collector's order.
pub fn list(look: &Look, snoozes: &[Snooze]) -> String {
    if snoozes.is_empty() {
        return "no snooze\n".to_owned();
    }
    let rows = snoozes.iter().map(|snooze| row(look, snooze)).collect();
    use Column::{Number, Tight, Wide};
    table(look, &[Number("ID"), Tight("ENDS"), Tight("AUTHOR"), Wide("SCOPE"), Wide("REASON")], rows)
}

fn row(look: &Look, snooze: &Snooze) -> Vec<Field> {
    let ends = match snooze.ended {
        Some(ended) => format!("ended {} ago", age(look.now, ended)),
        None if snooze.until <= look.now => format!("over {} ago", age(look.now, snooze.until)),
        None => format!("{} {}", rfc3339(snooze.until), age(look.now, snooze.until)),
    };
    vec![
        Field::plain(snooze.id.to_string()),
        Field::plain(ends),
        Field::plain(clean(&snooze.author)),
        Field::plain(scope(snooze)),
        Field::plain(clean(&snooze.reason)),
    ]
}

fn scope(snooze: &Snooze) -> String {
    let only = match snooze.only.len() {
        0 => String::new(),
        n => format!(" ({} of it)", counted(n, "item")),
    };
    format!("{}{only}", clean(&snooze.scope))
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{NOW, ago, look};
    use super::*;
    use expect_test::expect;
    use signalbox_proto::units::Millis;

    #[test]
    fn a_list_reads_at_80_columns() {
        let snooze = Snooze {
            id: 3,
            scope: "host/web1".to_owned(),
            only: Vec::new(),
            author: "eve".to_owned(),
            reason: "disk is being\nreplaced".to_owned(),
            from: ago(60),
            until: NOW + Millis::from_mins(90),
            ended: None,
        };
        let ended = Snooze { id: 2, ended: Some(ago(30)), ..snooze.clone() };
        let over = Snooze { id: 1, until: ago(90), ..snooze.clone() };
        expect![[r#"
            ID  ENDS                           AUTHOR  SCOPE      REASON
             3  2026-11-23T03:44:12Z in 1h30m  eve     host/web1  disk is being\nreplaced
             2  ended 30s ago                  eve     host/web1  disk is being\nreplaced
             1  over 1m ago                    eve     host/web1  disk is being\nreplaced
        "#]]
        .assert_eq(&list(&look(80), &[snooze.clone(), ended, over]));
        let part = Snooze { scope: "load1".to_owned(), only: vec!["host/web1:load".to_owned()], ..snooze };
        assert_eq!(scope(&part), "load1 (1 item of it)");
    }

    #[test]
    fn no_snooze_is_said() {
        assert_eq!(list(&look(80), &[]), "no snooze\n");
    }
}
