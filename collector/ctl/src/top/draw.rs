//! The live board as lines of text; pure.
//!
//! ```text
//! ● RED  1 red · 0 amber · 1 grey · 3 green               02:14:12Z
//! ! trouble, or problems of the collector itself
//!   LEVEL    FOR     INC     ITEM                    WHY
//! > ● RED    3m      17      host/web1:filesystem…   97.1 % used …
//!   …
//! host/web1:filesystem-full{mountpoint="/"}          (the row under the cursor,
//! 97.1 % used, red from 95 % on                        id and reason wrapped)
//! owner infra
//! q quit  enter explain  a ack  / filter
//! ```

use super::state::{Mode, Row, State};
use crate::look::{Look, Shown};
use crate::render::status::counts_line;
use crate::text::{clean, clip_middle, columns, fit, wrap};
use crate::when::{age, rfc3339};

/// Lines about the row under the cursor.
const DETAIL_LINES: usize = 4;

/// Lines of trouble at most: what is longer is told by status.
const TROUBLE_LINES_MAX: usize = 2;

/// Lines that are not rows: head, trouble, titles, detail, keys.
const FRAME_LINES: usize = 4 + DETAIL_LINES;

/// Smaller than this, nothing useful fits.
const MIN_COLUMNS: usize = 30;

/// How many rows fit on a screen.
pub(crate) fn page(height: usize) -> usize {
    height.saturating_sub(FRAME_LINES).max(1)
}

/// Exactly `height` lines of exactly `look.width` columns.
pub(crate) fn screen(state: &State, look: &Look, height: usize) -> Vec<String> {
    let width = look.width.unwrap_or(80);
    if height <= FRAME_LINES || width < MIN_COLUMNS {
        let mut lines = vec![fit("terminal too small, q quits", width)];
        lines.resize(height, fit("", width));
        return lines;
    }
    let mut lines = vec![head(state, look, width)];
    lines.extend(trouble(state, look, width));
    match &state.mode {
        Mode::Proof { lines: proof, first } => {
            let body = height - 1 - lines.len();
            lines.extend(proof.iter().skip(*first).take(body).map(|line| fit(line, width)));
        }
        Mode::Board | Mode::Filter { .. } => push_board(&mut lines, state, look, width, height),
    }
    lines.resize(height - 1, fit("", width));
    lines.push(last_line(state, look, width));
    lines
}

fn head(state: &State, look: &Look, width: usize) -> String {
    let Some(status) = &state.status else { return fit("signalbox: waiting for the first answer …", width) };
    let shown = state.overall().unwrap_or(Shown::Grey);
    let mark = format!("{}  ", shown.mark());
    let counts = counts_line(status);
    let rest = width.saturating_sub(columns(&mark));
    let at = rfc3339(status.at);
    let time = at.rsplit('T').next().unwrap_or_default();
    // The counts matter more than the date, and than the time.
    let fits = |at: &&str| columns(&counts) + 2 + columns(at) <= rest;
    let text = match [at.as_str(), time].into_iter().find(fits) {
        Some(at) => format!("{}{at}", fit(&counts, rest - columns(at))),
        None => counts,
    };
    format!("{}{}", look.paint(shown, &mark), fit(&text, rest))
}

fn trouble(state: &State, look: &Look, width: usize) -> Vec<String> {
    let lines = |shown: Shown, text: &str| {
        let lines = filled(text, width, TROUBLE_LINES_MAX);
        lines.iter().map(|line| look.paint(shown, line)).collect()
    };
    if let Some(trouble) = &state.trouble {
        let old = state
            .status
            .as_ref()
            .map_or(String::new(), |status| format!(" (board is {} old)", age(look.now, status.at)));
        return lines(Shown::Red, &format!("! {}{old}", clean(trouble)));
    }
    let problems = state.status.as_ref().map_or(&[][..], |status| &status.problems);
    let more = if problems.len() > 1 { format!(" (and {} more)", problems.len() - 1) } else { String::new() };
    let text = problems.first().map_or(String::new(), |problem| format!("! collector{more}: {}", clean(problem)));
    lines(Shown::Amber, &text)
}

/// One to `limit` lines of exactly `width` columns; what does not fit is cut.
fn filled(text: &str, width: usize, limit: usize) -> Vec<String> {
    let mut lines = wrap(text, Some(width));
    if lines.len() > limit {
        let rest = lines.split_off(limit - 1).join(" ");
        lines.push(rest);
    }
    lines.iter().map(|line| fit(line, width)).collect()
}

fn push_board(lines: &mut Vec<String>, state: &State, look: &Look, width: usize, height: usize) {
    let titles = cells("  LEVEL", "FOR", "INC", "ITEM", "WHY", width);
    lines.push(look.faint(&titles));
    let page = (height - 1 - DETAIL_LINES).saturating_sub(lines.len()).max(1);
    // The cursor is kept on screen with the least movement that needs no memory.
    let first = (state.cursor + 1).saturating_sub(page);
    for (i, row) in state.rows().enumerate().skip(first).take(page) {
        lines.push(line(row, look, width, i == state.cursor));
    }
    if state.rows().len() == 0 && state.status.is_some() {
        let empty = if state.filter.is_empty() { "nothing is watched so far" } else { "nothing passes the filter" };
        lines.push(fit(&format!("  {empty}"), width));
    }
    lines.resize(height - 1 - DETAIL_LINES, fit("", width));
    lines.extend(detail(state.selected(), width));
}

fn line(row: &Row, look: &Look, width: usize, selected: bool) -> String {
    let pointer = if selected { '>' } else { ' ' };
    let mark = format!("{pointer} {}", row.shown.mark());
    let flags = if row.flags.is_empty() { String::new() } else { format!("[{}] ", row.flags.join(", ")) };
    let incident = row.incident.map(|n| n.to_string()).unwrap_or_default();
    let why = format!("{flags}{}", clean(&row.why));
    let text = cells(&mark, &age(look.now, row.since), &incident, &clean(&row.id), &why, width);
    let painted = look.paint(row.shown, &text);
    if selected { look.strong(&painted) } else { painted }
}

/// Level 9, age 7, incident 6; three fifths of the rest for the name, of which the
/// end tells as much as the beginning.
fn cells(mark: &str, age: &str, incident: &str, id: &str, why: &str, width: usize) -> String {
    let rest = width.saturating_sub(10 + 8 + 7);
    let name = rest * 3 / 5;
    let id = clip_middle(id, name.saturating_sub(1));
    let left = format!("{} {} {} ", fit(mark, 9), fit(age, 7), fit(incident, 6));
    fit(&format!("{left}{} {}", fit(&id, name.saturating_sub(1)), why), width)
}

/// What the columns had to cut of the row under the cursor.
fn detail(row: Option<&Row>, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(row) = row {
        let mut facts = row.flags.clone();
        facts.extend((!row.owner.is_empty()).then(|| format!("owner {}", clean(&row.owner))));
        lines = filled(&clean(&row.id), width, 2);
        let left = DETAIL_LINES - 1 - lines.len();
        lines.extend(filled(&clean(&row.why), width, left));
        lines.push(fit(&facts.join(" · "), width));
    }
    lines.resize(DETAIL_LINES, fit("", width));
    lines
}

fn last_line(state: &State, look: &Look, width: usize) -> String {
    if let Mode::Filter { .. } = state.mode {
        return look.strong(&fit(&format!("/{}_", clean(&state.filter)), width));
    }
    if !state.message.is_empty() {
        return look.strong(&fit(&clean(&state.message), width));
    }
    let keys = match state.mode {
        Mode::Proof { .. } => "esc back  j/k arrows scroll".to_owned(),
        _ if state.filter.is_empty() => "q quit  j/k move  space page  enter explain  a ack  / filter".to_owned(),
        _ => format!("filter: {}  (esc clears it)", clean(&state.filter)),
    };
    look.faint(&fit(&keys, width))
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::{filled, press, type_in};
    use super::*;
    use crate::render::testkit::look;
    use crossterm::event::KeyCode;
    use expect_test::expect;

    fn picture(state: &State) -> String {
        screen(state, &look(80), 24).iter().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    #[test]
    fn the_board_fits_80_by_24() {
        let mut state = filled();
        press(&mut state, &[KeyCode::Down]);
        expect![[r#"
            ● RED  1 red · 0 amber · 1 grey · 3 green · 2 amber hidden · 1 snoozed
            ! collector: disk of the store is 91 % full
              LEVEL   FOR     INC    ITEM                             WHY
              ● RED   3m             application/payments             host/web1 is red
            > ● RED   3m      17     host/web1:filesystem…tpoint="/"} [snoozed] 97.1 % used…
              ? GREY  3m             host/db1:load-high               [stale, was red] no s…
              ✓ GREEN 3m             host/web1:load-high              [amber since 20s, rai…
              ✓ GREEN 3m             host/web1:swap-used              0 %, amber from 50 % …
              ✓ GREEN 3m             host/web2:load-high              0.1










            host/web1:filesystem-full{mountpoint="/"}
            97.1 % used, red from 95 % on
            snoozed · owner infra

            q quit  j/k move  space page  enter explain  a ack  / filter
        "#]]
        .assert_eq(&picture(&state));
    }

    #[test]
    fn a_filter_is_shown_while_it_is_typed() {
        let mut state = filled();
        press(&mut state, &[KeyCode::Char('/')]);
        type_in(&mut state, "nothing like this");
        let text = picture(&state);
        assert!(text.contains("nothing passes the filter") && text.ends_with("/nothing like this_\n"), "{text}");
    }

    #[test]
    fn trouble_shows_how_old_the_board_is() {
        let mut state = filled();
        state.failed("collector at http://127.0.0.1:8440 is not reachable\u{1b}".to_owned());
        let second = picture(&state).lines().nth(1).unwrap().to_owned();
        assert_eq!(second, "! collector at http://127.0.0.1:8440 is not reachable\\u{1b} (board is 2s old)");
        state.failed(format!("one {}", "two ".repeat(60)));
        let text = picture(&state);
        assert!(text.lines().nth(2).unwrap().ends_with('…') && text.contains("LEVEL"), "{text}");
    }

    #[test]
    fn long_names_and_reasons_are_told_whole_under_the_rows() {
        let mut status = crate::render::testkit::board();
        let item = &mut status.entities[1].items[0];
        item.id = format!("host/web1:filesystem-full{{mountpoint=\"/srv/{}\"}}", "x".repeat(60));
        item.why = format!("97.1 % used {}", "and counting ".repeat(6).trim_end());
        let mut state = State::default();
        state.arrived(status, &look(80));
        press(&mut state, &[KeyCode::Down]);
        let text = picture(&state);
        for whole in [
            "xxx\"}\n97.1 % used",
            "snoozed · owner infra\n",
            "> ● RED   3m      17     host/web1:filesystem…xxxxxxxxx\"} ",
        ] {
            assert!(text.contains(whole), "{whole} is not in\n{text}");
        }
    }

    #[test]
    fn a_proof_covers_the_rows() {
        let mut state = filled();
        state.explained((0..50).map(|i| format!("line {i}")).collect());
        press(&mut state, &[KeyCode::PageDown]);
        let text = picture(&state);
        assert!(text.contains("line 10\n") && !text.contains("line 9\n") && text.contains("esc back"), "{text}");
    }

    #[test]
    fn every_screen_has_its_exact_size_and_no_control_characters() {
        for (width, height) in [(80, 24), (30, 8), (200, 60), (10, 3), (1, 1), (0, 0)] {
            for state in [State::default(), filled()] {
                let lines = screen(&state, &look(width), height);
                assert_eq!(lines.len(), height);
                for line in lines {
                    assert_eq!(columns(&line), width, "{line:?}");
                    assert!(!line.contains(char::is_control), "{line:?}");
                }
            }
        }
    }
}
