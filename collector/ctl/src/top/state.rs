//! What the live board shows and does, without a terminal: keys and answers
//! go in, wishes come out.
//!
//! ```text
//!             /            enter
//!   filter <------> board <------> proof (of the item under the cursor)
//!             enter, esc     esc, q
//! ```

use crate::look::{Look, Shown};
use crate::render::status::{flags, overall, shown};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use signalbox_proto::api::Status;
use signalbox_proto::status::Freshness;
use signalbox_proto::units::UnixMillis;

/// Longest filter, characters.
const FILTER_LIMIT_CHARS: usize = 200;

/// One line of the board.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// Item id, or entity id where an entity is bad without items of its own.
    pub(crate) id: String,
    /// True if `id` is an item's.
    pub(crate) is_item: bool,
    pub(crate) shown: Shown,
    pub(crate) since: UnixMillis,
    pub(crate) incident: Option<u64>,
    pub(crate) owner: String,
    pub(crate) why: String,
    pub(crate) flags: Vec<String>,
}

/// What the keys do now.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Mode {
    /// Move over rows.
    #[default]
    Board,
    /// Type a filter; what was in force before comes back on escape.
    Filter {
        /// Until now.
        before: String,
    },
    /// Read a proof.
    Proof {
        /// Lines, clean.
        lines: Vec<String>,
        /// First line on screen.
        first: usize,
    },
}

/// What the loop shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    /// End.
    Quit,
    /// Ask for the proof of an item.
    Explain(String),
    /// Acknowledge an incident.
    Acknowledge(u64),
}

/// Everything on the screen.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// The last board that came.
    pub(crate) status: Option<Status>,
    /// Why the last attempt gave none.
    pub(crate) trouble: Option<String>,
    /// Answer to the last act.
    pub(crate) message: String,
    pub(crate) filter: String,
    pub(crate) mode: Mode,
    /// Index into [`State::rows`].
    pub(crate) cursor: usize,
    rows: Vec<Row>,
    visible: Vec<usize>,
}

impl State {
    /// Rows that pass the filter, worst first.
    pub(crate) fn rows(&self) -> impl ExactSizeIterator<Item = &Row> {
        self.visible.iter().map(|i| &self.rows[*i])
    }

    /// The row under the cursor.
    pub(crate) fn selected(&self) -> Option<&Row> {
        self.visible.get(self.cursor).map(|i| &self.rows[*i])
    }

    /// Worst level of the board; none before the first answer.
    pub(crate) fn overall(&self) -> Option<Shown> {
        self.status.as_ref().map(overall)
    }

    /// A new board; the cursor stays with its item.
    pub(crate) fn arrived(&mut self, status: Status, look: &Look) {
        self.trouble = None;
        let kept = self.selected().map(|row| row.id.clone());
        self.rows = rows(&status, look);
        self.status = Some(status);
        self.sift(kept);
    }

    /// No new board: the old one stays, and the trouble is shown over it.
    pub(crate) fn failed(&mut self, why: String) {
        self.trouble = Some(why);
    }

    /// A proof is there to read.
    pub(crate) fn explained(&mut self, lines: Vec<String>) {
        self.message.clear();
        self.mode = Mode::Proof { lines, first: 0 };
    }

    /// A key was pressed; `page` is how many lines the list shows.
    pub(crate) fn key(&mut self, key: KeyEvent, page: usize) -> Option<Wish> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return matches!(key.code, KeyCode::Char('c' | 'd')).then_some(Wish::Quit);
        }
        match &self.mode {
            Mode::Board => self.board_key(key.code, page),
            Mode::Filter { .. } => {
                self.filter_key(key.code);
                None
            }
            Mode::Proof { .. } => {
                self.proof_key(key.code, page);
                None
            }
        }
    }

    fn board_key(&mut self, code: KeyCode, page: usize) -> Option<Wish> {
        let last = self.visible.len().saturating_sub(1);
        if let Some(cursor) = moved(self.cursor, last, code, page) {
            self.cursor = cursor;
            return None;
        }
        match code {
            KeyCode::Char('q') => return Some(Wish::Quit),
            KeyCode::Char('/') => self.mode = Mode::Filter { before: self.filter.clone() },
            KeyCode::Esc => self.set_filter(String::new()),
            KeyCode::Enter => return self.explain(),
            KeyCode::Char('a') => return self.acknowledge(),
            _ => {}
        }
        None
    }

    fn explain(&mut self) -> Option<Wish> {
        let row = self.selected()?;
        if row.is_item {
            let id = row.id.clone();
            self.message = "explaining …".to_owned();
            return Some(Wish::Explain(id));
        }
        self.message = "this entity has no item of its own to explain".to_owned();
        None
    }

    fn acknowledge(&mut self) -> Option<Wish> {
        let incident = self.selected()?.incident;
        self.message = match incident {
            Some(n) => format!("acknowledging INC-{n} …"),
            None => "no incident is open here".to_owned(),
        };
        incident.map(Wish::Acknowledge)
    }

    fn filter_key(&mut self, code: KeyCode) {
        let mut filter = self.filter.clone();
        match code {
            KeyCode::Enter => {
                self.mode = Mode::Board;
                return;
            }
            KeyCode::Esc => {
                if let Mode::Filter { before } = std::mem::take(&mut self.mode) {
                    filter = before;
                }
            }
            KeyCode::Backspace => {
                filter.pop();
            }
            KeyCode::Char(c) if filter.chars().count() < FILTER_LIMIT_CHARS => filter.push(c),
            _ => {}
        }
        self.set_filter(filter);
    }

    fn proof_key(&mut self, code: KeyCode, page: usize) {
        let Mode::Proof { lines, first } = &mut self.mode else { return };
        if matches!(code, KeyCode::Char('q') | KeyCode::Esc | KeyCode::Enter) {
            self.mode = Mode::Board;
        } else if let Some(moved) = moved(*first, lines.len().saturating_sub(page), code, page) {
            *first = moved;
        }
    }

    fn set_filter(&mut self, filter: String) {
        let kept = self.selected().map(|row| row.id.clone());
        self.filter = filter;
        self.sift(kept);
    }

    /// Sets what is visible; the cursor goes to `kept`, or stays within bounds.
    fn sift(&mut self, kept: Option<String>) {
        let wanted = self.filter.to_lowercase();
        self.visible = (0..self.rows.len()).filter(|i| passes(&self.rows[*i], &wanted)).collect();
        let found = kept.and_then(|id| self.visible.iter().position(|i| self.rows[*i].id == id));
        self.cursor = found.unwrap_or(self.cursor).min(self.visible.len().saturating_sub(1));
    }
}

/// Where a moving key leads within `0..=last`; none for other keys.
fn moved(from: usize, last: usize, code: KeyCode, page: usize) -> Option<usize> {
    let to = match code {
        KeyCode::Up | KeyCode::Char('k') => from.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => from + 1,
        KeyCode::PageUp => from.saturating_sub(page),
        KeyCode::PageDown | KeyCode::Char(' ') => from + page,
        KeyCode::Home | KeyCode::Char('g') => 0,
        KeyCode::End | KeyCode::Char('G') => last,
        _ => return None,
    };
    Some(to.min(last))
}

fn passes(row: &Row, wanted: &str) -> bool {
    let has = |text: &str| text.to_lowercase().contains(wanted);
    wanted.is_empty() || has(&row.id) || has(&row.owner) || has(&row.why) || has(row.shown.word())
}

fn rows(status: &Status, look: &Look) -> Vec<Row> {
    let mut rows = Vec::new();
    for entity in &status.entities {
        let own = Shown::of(entity.level, entity.grey);
        if entity.items.is_empty() && own != Shown::Green {
            rows.push(Row {
                id: entity.id.clone(),
                is_item: false,
                shown: own,
                since: entity.since,
                incident: None,
                owner: entity.owner.clone(),
                why: entity.why.clone(),
                flags: Vec::new(),
            });
        }
        let items = entity.items.iter().filter(|item| item.freshness != Freshness::Gone);
        rows.extend(items.map(|item| Row {
            id: item.id.clone(),
            is_item: true,
            shown: shown(item),
            since: item.since,
            incident: item.incident,
            owner: item.owner.clone(),
            why: item.why.clone(),
            flags: flags(look, item),
        }));
    }
    // Stable: within one level the collector's order holds.
    rows.sort_by_key(|row| std::cmp::Reverse(row.shown));
    rows
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::render::testkit::{board, look};

    pub(crate) fn press(state: &mut State, codes: &[KeyCode]) -> Option<Wish> {
        let mut wish = None;
        for code in codes {
            wish = state.key(KeyEvent::new(*code, KeyModifiers::NONE), 10);
        }
        wish
    }

    pub(crate) fn type_in(state: &mut State, text: &str) {
        for c in text.chars() {
            press(state, &[KeyCode::Char(c)]);
        }
    }

    pub(crate) fn filled() -> State {
        let mut state = State::default();
        state.arrived(board(), &look(80));
        state
    }

    fn ids(state: &State) -> Vec<&str> {
        state.rows().map(|row| row.id.as_str()).collect()
    }

    #[test]
    fn rows_come_worst_first() {
        let state = filled();
        let shown: Vec<_> = state.rows().map(|row| row.shown).collect();
        assert!(shown.is_sorted_by(|a, b| a >= b), "{shown:?}");
        assert_eq!(ids(&state)[0], "application/payments");
    }

    #[test]
    fn the_cursor_stays_with_its_item_over_refreshes() {
        let mut state = filled();
        press(&mut state, &[KeyCode::Char('j')]);
        let before = state.selected().unwrap().id.clone();
        let mut other = board();
        other.entities.remove(0);
        state.arrived(other, &look(80));
        assert_eq!(state.selected().unwrap().id, before);
        state.arrived(Status::default(), &look(80));
        assert_eq!(state.selected(), None);
        assert_eq!(press(&mut state, &[KeyCode::Down, KeyCode::Enter, KeyCode::Char('a')]), None);
    }

    #[test]
    fn enter_explains_items_and_says_so_for_others() {
        let mut state = filled();
        assert_eq!(press(&mut state, &[KeyCode::Enter]), None);
        assert!(state.message.contains("no item of its own"));
        let wish = press(&mut state, &[KeyCode::Down, KeyCode::Enter]);
        assert_eq!(wish, Some(Wish::Explain("host/web1:filesystem-full{mountpoint=\"/\"}".to_owned())));
    }

    #[test]
    fn a_acknowledges_only_where_an_incident_is_open() {
        let mut state = filled();
        assert_eq!(press(&mut state, &[KeyCode::Char('a')]), None);
        assert_eq!(state.message, "no incident is open here");
        assert_eq!(press(&mut state, &[KeyCode::Char('j'), KeyCode::Char('a')]), Some(Wish::Acknowledge(17)));
    }

    #[test]
    fn a_filter_sifts_while_typed_and_escape_takes_it_back() {
        let mut state = filled();
        let all = state.rows().len();
        press(&mut state, &[KeyCode::Char('/')]);
        type_in(&mut state, "WEB2q");
        assert_eq!(state.rows().len(), 0);
        press(&mut state, &[KeyCode::Backspace]);
        assert_eq!(ids(&state), ["host/web2:load-high"]);
        press(&mut state, &[KeyCode::Esc]);
        assert_eq!((state.rows().len(), &state.mode), (all, &Mode::Board));
        press(&mut state, &[KeyCode::Char('/')]);
        type_in(&mut state, "grey");
        press(&mut state, &[KeyCode::Enter]);
        assert_eq!(ids(&state), ["host/db1:load-high"]);
        press(&mut state, &[KeyCode::Esc]);
        assert_eq!(state.rows().len(), all);
    }

    #[test]
    fn moving_stops_at_both_ends() {
        let mut state = filled();
        let last = state.rows().len() - 1;
        press(&mut state, &[KeyCode::PageDown, KeyCode::Down]);
        assert_eq!(state.cursor, last);
        press(&mut state, &[KeyCode::PageUp, KeyCode::Char('k')]);
        assert_eq!(state.cursor, 0);
        press(&mut state, &[KeyCode::Char('G')]);
        assert_eq!(state.cursor, last);
    }

    #[test]
    fn a_proof_scrolls_and_closes() {
        let mut state = filled();
        state.explained((0..25).map(|i| i.to_string()).collect());
        press(&mut state, &[KeyCode::Char('G')]);
        assert!(matches!(state.mode, Mode::Proof { first: 15, .. }));
        assert_eq!(press(&mut state, &[KeyCode::Char('q')]), None);
        assert_eq!(state.mode, Mode::Board);
        assert_eq!(press(&mut state, &[KeyCode::Char('q')]), Some(Wish::Quit));
    }

    #[test]
    fn control_c_quits_in_every_mode() {
        let mut state = filled();
        press(&mut state, &[KeyCode::Char('/')]);
        assert_eq!(state.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL), 10), Some(Wish::Quit));
    }

    #[test]
    fn trouble_keeps_the_last_board() {
        let mut state = filled();
        state.failed("not reachable".to_owned());
        assert!(state.rows().len() > 0 && state.trouble.is_some());
        state.arrived(board(), &look(80));
        assert_eq!(state.trouble, None);
    }
}
