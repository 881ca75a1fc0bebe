//! The board as a Nagios plugin tells it: one line and an exit code.

use super::status::{counts_line, local_id, overall, shown};
use crate::look::Shown;
use crate::text::clean;
use signalbox_proto::api::Status;
use signalbox_proto::status::Freshness;

/// Longest line, characters: what NRPE carries in its oldest packet.
const LINE_LIMIT_CHARS: usize = 1000;

/// One line without a line feed, and what it amounts to.
///
/// Red and amber come before grey; grey before green, because absence of facts
/// is never green; an empty board is grey; a problem of the collector itself
/// is amber at least.
pub fn line(status: &Status) -> (Shown, String) {
    if status.entities.is_empty() {
        return (Shown::Grey, "SIGNALBOX GREY - nothing is watched: no agent has spoken".to_owned());
    }
    let mut level = overall(status);
    if !status.problems.is_empty() {
        level = level.max(Shown::Amber);
    }
    let mut line = format!("SIGNALBOX {} - {}", level.word(), counts_line(status).replace(" · ", ", "));
    if let Some(problem) = status.problems.first() {
        line.push_str(&format!("; collector: {problem}"));
    }
    let items = status.entities.iter().flat_map(|entity| &entity.items);
    let bad = items.filter(|item| item.freshness != Freshness::Gone && shown(item) != Shown::Green);
    // The first of the worst: max_by_key would give the last.
    if let Some(item) = bad.min_by_key(|item| std::cmp::Reverse(shown(item))) {
        line.push_str(&format!("; worst: {} {}: {}", item.entity, local_id(item), item.why));
    }
    let counts = status.counts;
    let data = format!("red={} amber={} grey={} green={}", counts.red, counts.amber, counts.grey, counts.green);
    // A bar starts the performance data.
    let text: String = clean(&line).replace('|', "/").chars().take(LINE_LIMIT_CHARS).collect();
    (level, format!("{text} | {data}"))
}

/// The line when there is no board to judge.
pub fn unknown(why: &str) -> String {
    let text: String = clean(why).replace('|', "/").chars().take(LINE_LIMIT_CHARS).collect();
    format!("SIGNALBOX GREY - {text}")
}

/// The line as a program reads it: `{"exit", "level", "text"}`.
pub fn json(shown: Shown, line: &str) -> String {
    let level = shown.word().to_lowercase();
    serde_json::json!({ "level": level, "exit": exit_code(shown), "text": line }).to_string()
}

/// A plugin's exit code: 0, 1, 2, 3 for green, amber, red, grey.
pub fn exit_code(shown: Shown) -> u8 {
    match shown {
        Shown::Green => 0,
        Shown::Amber => 1,
        Shown::Red => 2,
        Shown::Grey => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{board, entity, item};
    use super::*;
    use expect_test::expect;
    use signalbox_proto::api::Counts;
    use signalbox_proto::status::Level;

    fn green() -> Status {
        let web2 = entity("host/web2", Level::Green, &[], vec![item("host/web2", "load", Level::Green, "0.1")]);
        Status { entities: vec![web2], counts: Counts { green: 1, ..Counts::default() }, ..Status::default() }
    }

    #[test]
    fn a_red_board_is_critical_and_names_the_worst() {
        let (shown, text) = line(&board());
        assert_eq!(exit_code(shown), 2);
        expect![[r#"SIGNALBOX RED - 1 red, 0 amber, 1 grey, 3 green, 2 amber hidden, 1 snoozed; collector: disk of the store is 91 % full; worst: host/web1 filesystem-full{mountpoint="/"}: 97.1 % used, red from 95 % on | red=1 amber=0 grey=1 green=3"#]].assert_eq(&text);
    }

    #[test]
    fn green_is_ok_only_when_everything_is_known() {
        assert_eq!(exit_code(line(&green()).0), 0);
        let mut grey = green();
        grey.counts.grey = 1;
        assert_eq!(exit_code(line(&grey).0), 3);
        assert_eq!(exit_code(line(&Status::default()).0), 3, "an empty board");
    }

    #[test]
    fn amber_comes_before_grey_and_problems_are_amber() {
        let mut status = green();
        status.problems = vec!["disk | full".to_owned()];
        let (shown, text) = line(&status);
        assert_eq!(exit_code(shown), 1);
        assert!(text.contains("collector: disk / full"), "{text}");
        status.counts.grey = 3;
        assert_eq!(exit_code(line(&status).0), 1);
    }

    #[test]
    fn programs_get_level_exit_and_line() {
        assert_eq!(json(Shown::Amber, "a \"b\""), r#"{"exit":1,"level":"amber","text":"a \"b\""}"#);
    }

    #[test]
    fn it_is_one_line_whatever_the_server_says() {
        assert_eq!(unknown("a\nb|c"), "SIGNALBOX GREY - a\\nb/c");
    }
}
