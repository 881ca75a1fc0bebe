//! The board: entities with their items and members, worst first.
//!
//! ```text
//! ● RED    application/payments  3m · owner payments
//!          host/web1 is red
//!   ● RED    host/web1  3m · owner infra
//!     ● RED    filesystem-full{mountpoint="/"}  3m · INC-17
//!              97.1 % used, red from 95 % on
//!     ✓ 12 green items
//! ```
//!
//! An entity with several parents is told in full under the first and named
//! under the others. Whatever hangs in a loop, or deeper than [`DEPTH_LIMIT`],
//! is told at the margin: nothing bad is ever left out.

use super::table::{Column, Field, table};
use super::{heading, push_wrapped};
use crate::look::{Look, Shown};
use crate::text::{clean, columns, counted, wrap};
use crate::when::{age, dated};
use signalbox_proto::api::{Entity, Item, Status};
use signalbox_proto::status::Freshness;
use signalbox_proto::units::UnixMillis;
use std::collections::{BTreeMap, BTreeSet};

/// Deepest indent; members below it start again at the margin.
const DEPTH_LIMIT: usize = 12;

/// Columns that mark and word take before a name.
const MARK_COLUMNS: usize = 9;

/// The board as a tree of entities. Green entities and items are counted, not
/// told, unless `all`.
pub fn tree(look: &Look, status: &Status, all: bool) -> String {
    let mut out = header(look, status);
    let mut tree = Tree::of(look, status, all);
    let roots = tree.roots();
    tree.members(&mut out, &roots, 0);
    loop {
        let left = (0..status.entities.len()).find(|i| tree.told_if_left(*i));
        let Some(left) = left else { break };
        tree.entity(&mut out, left, 0);
    }
    footer(&mut out, look, status, tree.n_hidden);
    out
}

/// A board of which the filters leave nothing, and why.
pub fn empty(look: &Look, status: &Status, why: &str) -> String {
    let mut out = header(look, status);
    push_wrapped(&mut out, look, 0, "", &clean(why));
    out
}

/// One row for each item, and for each entity that is bad without items of its own.
pub fn flat(look: &Look, status: &Status, all: bool) -> String {
    let mut rows: Vec<(Shown, Vec<Field>)> = Vec::new();
    let mut n_hidden = 0;
    for entity in &status.entities {
        let own = Shown::of(entity.level, entity.grey);
        if entity.items.is_empty() && own != Shown::Green {
            rows.push((own, row(look, own, entity.since, &entity.id, None, &entity.owner, &entity.why)));
        }
        for item in entity.items.iter().filter(|item| item.freshness != Freshness::Gone) {
            let shown = shown(item);
            if all || is_worth_telling(item) {
                let why = with_flags(look, item);
                rows.push((shown, row(look, shown, item.since, &item.id, item.incident, &item.owner, &why)));
            } else {
                n_hidden += 1;
            }
        }
    }
    rows.sort_by_key(|(shown, _)| std::cmp::Reverse(*shown));
    let mut out = header(look, status);
    if !rows.is_empty() {
        use Column::{Tight, Wide};
        let titles = [Tight("LEVEL"), Tight("FOR"), Wide("ITEM"), Tight("INC"), Tight("OWNER"), Wide("WHY")];
        out.push_str(&table(look, &titles, rows.into_iter().map(|(_, row)| row).collect()));
    }
    footer(&mut out, look, status, n_hidden);
    out
}

fn row(
    look: &Look,
    shown: Shown,
    since: UnixMillis,
    id: &str,
    incident: Option<u64>,
    owner: &str,
    why: &str,
) -> Vec<Field> {
    vec![
        Field::painted(shown, shown.mark()),
        Field::plain(age(look.now, since)),
        Field::plain(clean(id)),
        Field::plain(incident.map(|n| n.to_string()).unwrap_or_default()),
        Field::plain(clean(owner)),
        Field::plain(clean(why)),
    ]
}

/// `● RED  1 red · 3 green …`, the instant, and problems of the collector itself.
fn header(look: &Look, status: &Status) -> String {
    let shown = if status.entities.is_empty() { Shown::Grey } else { overall(status) };
    let mut out = String::new();
    let mark = shown.mark();
    for (i, line) in wrap(&counts_line(status), look.room(columns(&mark) + 2)).iter().enumerate() {
        let mark = if i == 0 { look.paint(shown, &mark) } else { " ".repeat(columns(&mark)) };
        out.push_str(&format!("{mark}  {line}\n"));
    }
    out.push_str(&look.faint(&format!("{}  collector {}", dated(look.now, status.at), clean(&status.version))));
    out.push('\n');
    for problem in &status.problems {
        push_wrapped(&mut out, look, 0, "! collector: ", &clean(problem));
    }
    out.push('\n');
    out
}

/// The worst that is known, or grey when nothing is known to be bad and something is unknown.
pub(crate) fn overall(status: &Status) -> Shown {
    let some_grey = status.counts.grey > 0 || status.entities.iter().any(|entity| entity.grey);
    Shown::of(status.level, false).max(if some_grey { Shown::Grey } else { Shown::Green })
}

/// `1 red · 0 amber · 1 grey · 3 green`, and what is hidden or snoozed.
pub(crate) fn counts_line(status: &Status) -> String {
    let counts = status.counts;
    let mut line =
        format!("{} red · {} amber · {} grey · {} green", counts.red, counts.amber, counts.grey, counts.green);
    for (n, word) in [(counts.amber_hidden, "amber hidden"), (counts.snoozed, "snoozed")] {
        if n > 0 {
            line.push_str(&format!(" · {n} {word}"));
        }
    }
    line
}

fn footer(out: &mut String, look: &Look, status: &Status, n_hidden: usize) {
    if status.entities.is_empty() {
        push_wrapped(out, look, 0, "", &nothing(status));
    } else if n_hidden > 0 {
        out.push_str(&look.faint(&format!("{} not told, see --all", counted(n_hidden, "green item"))));
        out.push('\n');
    }
}

/// Why the whole board is empty.
pub(crate) fn nothing(status: &Status) -> String {
    if status.scope.is_empty() {
        return "nothing is watched so far: no agent has spoken".to_owned();
    }
    let scope = status.scope.iter().map(|selector| clean(selector)).collect::<Vec<_>>().join(" or ");
    format!(
        "nothing lies in your scope, {scope}: an admin can change it: signalbox users role NAME ROLE --scope SELECTOR"
    )
}

/// What an item shows.
pub(crate) fn shown(item: &Item) -> Shown {
    Shown::of(item.level, item.freshness.is_grey())
}

fn is_worth_telling(item: &Item) -> bool {
    shown(item) != Shown::Green || item.pending.is_some() || item.flapping || item.incident.is_some()
}

/// Words beside a level: clocks, suppressions, age of the facts.
pub(crate) fn flags(look: &Look, item: &Item) -> Vec<String> {
    let mut flags = Vec::new();
    if let Some(pending) = item.pending.filter(|pending| pending.target != item.level) {
        let verb = if pending.target > item.level { "raises" } else { "clears" };
        let due = pending.due.map_or("its clock is paused".to_owned(), |due| match due > look.now {
            true => format!("{verb} {}", age(look.now, due)),
            false => format!("{verb} now"),
        });
        flags.push(format!("{} since {}, {due}", pending.target, age(look.now, pending.since)));
    }
    match item.freshness {
        Freshness::Fresh | Freshness::Gone => {}
        Freshness::Late => flags.push("late".to_owned()),
        Freshness::Stale => flags.push(format!("stale, was {}", item.level)),
        Freshness::Unknown => flags.push("never sampled".to_owned()),
    }
    for (set, word) in
        [(item.flapping, "flapping"), (item.amber_hidden, "amber hidden"), (!item.snoozes.is_empty(), "snoozed")]
    {
        if set {
            flags.push(word.to_owned());
        }
    }
    flags
}

fn with_flags(look: &Look, item: &Item) -> String {
    let flags = flags(look, item);
    if flags.is_empty() { item.why.clone() } else { format!("{} [{}]", item.why, flags.join(", ")) }
}

/// The name of an item within its entity.
pub(crate) fn local_id(item: &Item) -> &str {
    let rest = item.id.strip_prefix(&item.entity).and_then(|rest| rest.strip_prefix(':'));
    rest.unwrap_or(&item.id)
}

struct Tree<'a> {
    look: &'a Look,
    entities: &'a [Entity],
    all: bool,
    /// Indexes of the members of each entity, worst first.
    children: BTreeMap<&'a str, Vec<usize>>,
    /// Entities that are bad, or have something bad below.
    telling: BTreeSet<usize>,
    told: BTreeSet<usize>,
    n_hidden: usize,
}

impl<'a> Tree<'a> {
    fn of(look: &'a Look, status: &'a Status, all: bool) -> Tree<'a> {
        let entities = &status.entities[..];
        let mut children: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (i, entity) in entities.iter().enumerate() {
            for parent in &entity.parents {
                children.entry(parent).or_default().push(i);
            }
        }
        for members in children.values_mut() {
            members.sort_by_key(|i| std::cmp::Reverse(entity_shown(&entities[*i])));
        }
        let telling = telling(entities, all);
        Tree { look, entities, all, children, telling, told: BTreeSet::new(), n_hidden: 0 }
    }

    /// Entities that no entity shown here has as a member.
    fn roots(&self) -> Vec<usize> {
        let known: BTreeSet<&str> = self.entities.iter().map(|entity| entity.id.as_str()).collect();
        let is_root = |entity: &Entity| !entity.parents.iter().any(|parent| known.contains(parent.as_str()));
        let mut roots: Vec<_> = (0..self.entities.len()).filter(|i| is_root(&self.entities[*i])).collect();
        roots.sort_by_key(|i| std::cmp::Reverse(entity_shown(&self.entities[*i])));
        roots
    }

    fn told_if_left(&self, i: usize) -> bool {
        self.telling.contains(&i) && !self.told.contains(&i)
    }

    fn members(&mut self, out: &mut String, members: &[usize], depth: usize) {
        let mut n_green = 0;
        for &i in members {
            if !self.telling.contains(&i) {
                n_green += 1;
                if self.told.insert(i) {
                    self.n_hidden += self.entities[i].items.len();
                }
            } else if depth < DEPTH_LIMIT {
                self.entity(out, i, depth);
            }
        }
        if n_green > 0 {
            let noun = if n_green == 1 { "green entity" } else { "green entities" };
            self.green_line(out, depth, &format!("{n_green} {noun}"));
        }
    }

    fn entity(&mut self, out: &mut String, i: usize, depth: usize) {
        let entity = &self.entities[i];
        let shown = entity_shown(entity);
        let mut facts = vec![age(self.look.now, entity.since)];
        if !self.told.insert(i) {
            facts.push("see above".to_owned());
            return self.head(out, depth, shown, &entity.id, &facts);
        }
        if entity.grey && entity.level != signalbox_proto::status::Level::Green {
            facts.push(format!("was {}", entity.level));
        }
        for (name, value) in [("owner", &entity.owner), ("system", &entity.system)] {
            if !value.is_empty() {
                facts.push(format!("{name} {}", clean(value)));
            }
        }
        self.head(out, depth, shown, &entity.id, &facts);
        if !entity.why.is_empty() && shown != Shown::Green {
            push_wrapped(out, self.look, depth * 2 + MARK_COLUMNS, "", &clean(&entity.why));
        }
        self.items(out, entity, depth + 1);
        let members = self.children.get(entity.id.as_str()).cloned().unwrap_or_default();
        self.members(out, &members, depth + 1);
    }

    fn items(&mut self, out: &mut String, entity: &Entity, depth: usize) {
        let mut items: Vec<&Item> = entity.items.iter().filter(|item| item.freshness != Freshness::Gone).collect();
        items.sort_by_key(|item| std::cmp::Reverse(shown(item)));
        let mut n_green = 0;
        for item in items {
            if !self.all && !is_worth_telling(item) {
                n_green += 1;
                continue;
            }
            let mut facts = vec![age(self.look.now, item.since)];
            facts.extend(item.incident.map(|n| format!("INC-{n}")));
            facts.extend(flags(self.look, item));
            self.head(out, depth, shown(item), local_id(item), &facts);
            push_wrapped(out, self.look, depth * 2 + MARK_COLUMNS, "", &clean(&item.why));
        }
        if n_green > 0 {
            self.n_hidden += n_green;
            self.green_line(out, depth, &counted(n_green, "green item"));
        }
    }

    fn green_line(&self, out: &mut String, depth: usize, text: &str) {
        let text = format!("{} {text}", Shown::Green.symbol());
        out.push_str(&format!("{:indent$}{}\n", "", self.look.paint(Shown::Green, &text), indent = depth * 2));
    }

    /// Mark, name and facts on one line; the facts below where they do not fit.
    fn head(&self, out: &mut String, depth: usize, shown: Shown, name: &str, facts: &[String]) {
        let indent = depth * 2;
        let mark = self.look.paint(shown, &format!("{:<MARK_COLUMNS$}", shown.mark()));
        let name = clean(name);
        let facts = facts.join(" · ");
        let wanted = indent + MARK_COLUMNS + columns(&name) + 2 + columns(&facts);
        let strong = self.look.strong(&name);
        if self.look.width.is_none_or(|width| wanted <= width) {
            out.push_str(&format!("{:indent$}{mark}{strong}  {}\n", "", self.look.faint(&facts)));
        } else {
            out.push_str(&format!("{:indent$}{mark}{strong}\n", ""));
            push_wrapped(out, self.look, indent + MARK_COLUMNS, "", &facts);
        }
    }
}

fn entity_shown(entity: &Entity) -> Shown {
    Shown::of(entity.level, entity.grey)
}

/// Bad entities and everything above them; all if all are wanted.
fn telling(entities: &[Entity], all: bool) -> BTreeSet<usize> {
    if all {
        return (0..entities.len()).collect();
    }
    let by_id: BTreeMap<&str, usize> = entities.iter().enumerate().map(|(i, entity)| (entity.id.as_str(), i)).collect();
    let is_bad = |entity: &Entity| {
        entity_shown(entity) != Shown::Green
            || entity.items.iter().any(|item| item.freshness != Freshness::Gone && is_worth_telling(item))
    };
    let mut open: Vec<usize> = (0..entities.len()).filter(|i| is_bad(&entities[*i])).collect();
    let mut telling: BTreeSet<usize> = open.iter().copied().collect();
    while let Some(i) = open.pop() {
        let parents = entities[i].parents.iter().filter_map(|parent| by_id.get(parent.as_str()));
        open.extend(parents.filter(|parent| telling.insert(**parent)));
    }
    telling
}

/// Title line for a screen that is drawn again and again.
pub fn watch_title(look: &Look, collector: &str) -> String {
    heading(look, &format!("signalbox {}  Ctrl-C ends", clean(collector)))
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{NOW, board, entity, item, look};
    use super::*;
    use expect_test::expect;
    use signalbox_proto::status::Level;

    #[test]
    fn the_tree_reads_at_80_columns() {
        expect![[r#"
            ● RED  1 red · 0 amber · 1 grey · 3 green · 2 amber hidden · 1 snoozed
            2026-11-23T02:14:10Z (2s ago)  collector 0.1.0
            ! collector: disk of the store is 91 % full

            ● RED    application/payments  3m · owner payments · system cards
                     host/web1 is red
              ● RED    host/web1  3m · owner infra
                       filesystem-full is red
                ● RED    filesystem-full{mountpoint="/"}  3m · INC-17 · snoozed
                         97.1 % used, red from 95 % on
                ✓ GREEN  load-high  3m · amber since 20s, raises in 40s
                         0.4, amber from 8 on
                ✓ 1 green item
              ? GREY   host/db1  3m · was red · owner infra
                       its agent is unreachable
                ? GREY   load-high  3m · stale, was red
                         no sample for 5 min\u{1b}[2J\u{202e}gpj.exe
            ✓ 1 green entity
            2 green items not told, see --all
        "#]]
        .assert_eq(&tree(&look(80), &board(), false));
    }

    #[test]
    fn all_shows_green_too() {
        expect![[r#"
            ● RED  1 red · 0 amber · 1 grey · 3 green · 2 amber hidden · 1 snoozed
            2026-11-23T02:14:10Z (2s ago)  collector 0.1.0
            ! collector: disk of the store is 91 % full

            ● RED    application/payments  3m · owner payments · system cards
                     host/web1 is red
              ● RED    host/web1  3m · owner infra
                       filesystem-full is red
                ● RED    filesystem-full{mountpoint="/"}  3m · INC-17 · snoozed
                         97.1 % used, red from 95 % on
                ✓ GREEN  load-high  3m · amber since 20s, raises in 40s
                         0.4, amber from 8 on
                ✓ GREEN  swap-used  3m
                         0 %, amber from 50 % on
              ? GREY   host/db1  3m · was red · owner infra
                       its agent is unreachable
                ? GREY   load-high  3m · stale, was red
                         no sample for 5 min\u{1b}[2J\u{202e}gpj.exe
            ✓ GREEN  host/web2  3m · owner infra
              ✓ GREEN  load-high  3m
                       0.1
        "#]]
        .assert_eq(&tree(&look(80), &board(), true));
    }

    #[test]
    fn flat_reads_at_80_columns() {
        expect![[r#"
            ● RED  1 red · 0 amber · 1 grey · 3 green · 2 amber hidden · 1 snoozed
            2026-11-23T02:14:10Z (2s ago)  collector 0.1.0
            ! collector: disk of the store is 91 % full

            LEVEL    FOR  ITEM                      INC  OWNER     WHY
            ● RED    3m   application/payments           payments  host/web1 is red
            ● RED    3m   host/web1:filesystem-ful  17   infra     97.1 % used, red from
                          l{mountpoint="/"}                        95 % on [snoozed]
            ? GREY   3m   host/db1:load-high             infra     no sample for 5 min\u{1
                                                                   b}[2J\u{202e}gpj.exe
                                                                   [stale, was red]
            ✓ GREEN  3m   host/web1:load-high            infra     0.4, amber from 8 on
                                                                   [amber since 20s,
                                                                   raises in 40s]
            2 green items not told, see --all
        "#]]
        .assert_eq(&flat(&look(80), &board(), false));
    }

    #[test]
    fn a_pipe_gets_one_line_for_each_item() {
        let pipe = Look { width: None, colour: false, now: NOW };
        expect![[r#"
            ● RED  1 red · 0 amber · 1 grey · 3 green · 2 amber hidden · 1 snoozed
            2026-11-23T02:14:10Z (2s ago)  collector 0.1.0
            ! collector: disk of the store is 91 % full

            LEVEL    FOR  ITEM                                       INC  OWNER     WHY
            ● RED    3m   application/payments                            payments  host/web1 is red
            ● RED    3m   host/web1:filesystem-full{mountpoint="/"}  17   infra     97.1 % used, red from 95 % on [snoozed]
            ? GREY   3m   host/db1:load-high                              infra     no sample for 5 min\u{1b}[2J\u{202e}gpj.exe [stale, was red]
            ✓ GREEN  3m   host/web1:load-high                             infra     0.4, amber from 8 on [amber since 20s, raises in 40s]
            2 green items not told, see --all
        "#]].assert_eq(&flat(&pipe, &board(), false));
    }

    #[test]
    fn an_empty_board_is_grey_and_says_why() {
        expect![[r#"
            ? GREY  0 red · 0 amber · 0 grey · 0 green
            2026-11-23T02:14:12Z (0s ago)  collector 0.1.0

            nothing is watched so far: no agent has spoken
        "#]]
        .assert_eq(&tree(&look(80), &Status { at: NOW, version: "0.1.0".to_owned(), ..Status::default() }, false));
        let scoped = Status { scope: vec!["{owner=\"dba\"}".to_owned()], ..Status::default() };
        assert!(nothing(&scoped).starts_with("nothing lies in your scope, {owner=\"dba\"}: an admin"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_or_carries_a_control() {
        for width in [40, 80, 132] {
            for text in [tree(&look(width), &board(), true), flat(&look(width), &board(), true)] {
                for line in text.lines() {
                    assert!(!line.contains(char::is_control), "{line:?}");
                    // Names are not broken: they must be copied in one piece.
                    assert!(columns(line) <= width.max(60), "{width}: {line}");
                }
            }
        }
    }

    #[test]
    fn members_in_a_loop_are_told_once() {
        let bad = |id: &str, parent: &str| entity(id, Level::Red, &[parent], vec![item(id, "r", Level::Red, "bad")]);
        let status = Status { entities: vec![bad("a/1", "a/2"), bad("a/2", "a/1")], ..board() };
        let text = tree(&look(80), &status, false);
        assert_eq!(text.matches("see above").count(), 1, "{text}");
        assert_eq!(text.matches("bad").count(), 2, "{text}");
    }

    #[test]
    fn a_chain_deeper_than_the_screen_is_told_whole() {
        let entities =
            (0..100).map(|i| entity(&format!("a/{i:03}"), Level::Red, &[&format!("a/{:03}", i - 1)], vec![])).collect();
        let text = tree(&look(80), &Status { entities, ..board() }, false);
        for i in 0..100 {
            assert!(text.contains(&format!("a/{i:03}")), "{i} is missing");
        }
    }
}
