//! Faults and their findings, and what a right file means.

use super::parse;
use crate::rule::{Condition, Need, OnMissing, Ruleset, Threshold};
use proptest::prelude::*;
use signalbox_proto::api::Finding;
use signalbox_proto::status::{Layer, Level};
use signalbox_proto::units::Millis;
use std::collections::BTreeMap;
use std::sync::LazyLock;

fn files(text: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("rules.yaml".to_owned(), text.to_owned())])
}

#[track_caller]
fn good(text: &str) -> Ruleset {
    let (ruleset, findings) = parse(&files(text));
    ruleset.unwrap_or_else(|| panic!("{findings:#?}"))
}

#[test]
fn a_plain_rule_gets_its_defaults() {
    let set = good("rules:\n  - id: a\n    selector: up\n    amber: \"> 1\"\n    red: '> 2'\n");
    let judgement = &set.rules[0].base;
    let at = |x| Some(Threshold { bad: Condition::Above(x), hold: Condition::Above(x) });
    assert_eq!((judgement.amber, judgement.red), (at(1.0), at(2.0)));
    assert_eq!((judgement.raise_amber, judgement.raise_red), (Millis::from_secs(60), Millis::from_secs(30)));
    assert_eq!((judgement.k_of_n, judgement.on_missing), ((1, 1), OnMissing::Hold));
    assert_eq!((set.rules[0].file.as_str(), set.rules[0].line), ("rules.yaml", 2));
    assert_eq!(set.version.len(), 24);
}

fn repository() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn yaml_files(folder: &str) -> Vec<(String, String)> {
    let folder = repository().join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("read {folder:?}: {e}"));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    paths.sort();
    let name = |path: &std::path::Path| path.file_name().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

/// As a person sees it.
fn shown(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let word = if finding.error { "error" } else { "warning" };
        let remedy = &finding.remedy;
        let place = match finding.file.as_str() {
            "" => String::new(),
            file => format!(" {file}:{}:{}", finding.line, finding.column),
        };
        text += &format!("{word}{place}: {}\n", finding.message);
        text += &format!("remedy: {remedy}\n\n");
    }
    text
}

/// `UPDATE_EXPECT=1 cargo test -p signalbox-engine` writes the files anew.
#[test]
fn every_invalid_file_is_refused_with_the_findings_that_stand_beside_it() {
    let folder = "tests/configs/invalid/rules";
    let files = yaml_files(folder);
    assert!(files.len() >= 70, "only {} files", files.len());
    for (name, text) in files {
        let (ruleset, findings) = parse(&BTreeMap::from([(name.clone(), text)]));
        assert!(ruleset.is_none(), "{name} is accepted");
        assert!(findings.iter().all(|finding| !finding.remedy.is_empty()), "{name}: {findings:#?}");
        let placed = |finding: &Finding| !finding.error || finding.line > 0;
        assert!(findings.iter().all(placed), "{name}: {findings:#?}");
        expect_test::expect_file![repository().join(folder).join(name).with_extension("expected")]
            .assert_eq(&shown(&findings));
    }
}

#[test]
fn every_valid_file_is_accepted_with_the_warnings_that_stand_beside_it() {
    let folder = "tests/configs/valid/rules";
    for (name, text) in yaml_files(folder) {
        let (ruleset, findings) = parse(&BTreeMap::from([(name.clone(), text)]));
        assert!(ruleset.is_some(), "{name}: {}", shown(&findings));
        expect_test::expect_file![repository().join(folder).join(name).with_extension("expected")]
            .assert_eq(&shown(&findings));
    }
}

#[test]
fn the_example_has_no_finding_beside_the_default_rules() {
    let mut files: BTreeMap<_, _> = yaml_files("deploy/examples/rules").into_iter().collect();
    let (ruleset, findings) = parse(&files);
    assert_eq!(shown(&findings), "");
    assert_eq!(ruleset.unwrap().rules[0].selector.to_string(), "app_queue_messages{queue=\"orders\"}");
    files.extend(yaml_files("deploy/rules").into_iter().filter(|(name, _)| name != "agent.yaml"));
    assert_eq!(shown(&parse(&files).1), "");
}

#[test]
fn the_default_rules_have_no_fault_and_one_warning() {
    let files: BTreeMap<_, _> = yaml_files("deploy/rules").into_iter().collect();
    let (ruleset, findings) = parse(&files);
    assert!(ruleset.is_some_and(|set| set.rules.len() >= 10), "{}", shown(&findings));
    let messages: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(messages, ["there are no routes: nobody is told about any incident"]);
}

#[test]
fn all_faults_of_all_files_come_at_once() {
    let (_, findings) = parse(&BTreeMap::from([
        ("a.yaml".to_owned(), "rules:\n  - id: x\n    selector: up\n    rad: 1\n".to_owned()),
        ("b.yaml".to_owned(), "rules:\n  - id: x\n    selector: 'up{'\n".to_owned()),
        ("c.yaml".to_owned(), "rules: [\n".to_owned()),
    ]));
    let errors: Vec<_> = findings.iter().filter(|f| f.error).map(|f| (f.file.as_str(), f.line, f.column)).collect();
    assert_eq!(errors, [("a.yaml", 4, 5), ("b.yaml", 2, 9), ("b.yaml", 3, 19), ("c.yaml", 1, 8)]);
}

#[test]
fn an_override_is_the_rule_with_its_keys_laid_over() {
    let set = good(
        "rules:\n  - id: a\n    selector: up\n    amber: '> 1'\n    red: '> 3'\n    raise_for: {amber: 5m, red: 1m}\n    \
         overrides:\n      - match: '{host=\"db1\"}'\n        amber: '> 2'\n        raise_for: {red: 0s}\n",
    );
    let (base, over) = (&set.rules[0].base, &set.rules[0].overrides[0].judgement);
    assert_eq!(over.amber.map(|amber| amber.bad), Some(Condition::Above(2.0)));
    assert_eq!(over.red, base.red);
    assert_eq!((over.raise_amber, over.raise_red), (Millis::from_mins(5), Millis::ZERO));
    assert_eq!(base.raise_red, Millis::from_mins(1));
}

#[test]
fn values_that_do_not_clear_hold_the_level() {
    let set = good("rules:\n  - {id: a, selector: up, amber: '> 0.85', red: '> 0.95', clear: {amber: '< 0.83'}}\n");
    let (amber, red) = (set.rules[0].base.amber.unwrap(), set.rules[0].base.red.unwrap());
    assert!(amber.hold.holds(0.83) && amber.hold.holds(0.84) && !amber.hold.holds(0.829));
    assert!(!amber.bad.holds(0.85) && amber.bad.holds(0.851));
    assert_eq!(red.hold, red.bad);
}

#[test]
fn entities_keep_what_they_need_in_order() {
    let set = good(
        "entities:\n  - id: application/a\n    owner: ops\n    hosts: {app: 'pay.*'}\n    depends_on:\n      - any_of: [host/x, host/y]\n      \
         - host/z\n      - {at_least: 2, of: [host/1, host/2, host/3]}\n  - id: host/z\n",
    );
    let own = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let at_least = |k, ids: &[&str]| Need::AtLeast { k, members: own(ids) };
    let needs = &set.entities[0].needs;
    let expected =
        [Need::All(own(&["host/z"])), at_least(1, &["host/x", "host/y"]), at_least(2, &["host/1", "host/2", "host/3"])];
    assert_eq!(needs.as_slice(), expected);
    assert!(set.entities[0].hosts[0].pattern.is_match("payments"));
    assert_eq!((set.entities[0].layer, set.entities[1].layer), (Layer::Application, Layer::Machine));
}

#[test]
fn routes_and_clocks_get_their_defaults() {
    let set = good("channels: [{name: mail, smtp: x}]\nroutes: [{channel: mail}]\nagents: {retire_after: 7d}\n");
    assert_eq!((set.routes[0].from, set.channels.as_slice()), (Level::Amber, ["mail".to_owned()].as_slice()));
    assert_eq!(set.agents.retire_after, Some(Millis(7 * 86_400_000)));
    assert_eq!(set.agents.down_after, Millis::from_secs(10));
}

#[test]
fn limits_hold_at_the_limit_and_break_one_over() {
    // Items that are no rules: the limit is the first thing that is checked.
    let refused_for_count = |n: usize| {
        let (_, findings) = parse(&files(&format!("rules:\n{}", "- x\n".repeat(n))));
        findings.iter().any(|finding| finding.message.contains("rules are over the limit of 10000"))
    };
    assert!(!refused_for_count(super::RULES_MAX));
    assert!(refused_for_count(super::RULES_MAX + 1));

    let overrides = |n: usize| {
        let over = |i| format!("      - {{match: '{{host=\"h{i}\"}}', red: '> 2'}}\n");
        format!(
            "rules:\n  - id: a\n    selector: up\n    red: '> 1'\n    overrides:\n{}",
            (0..n).map(over).collect::<String>()
        )
    };
    assert_eq!(good(&overrides(super::OVERRIDES_MAX)).rules[0].overrides.len(), super::OVERRIDES_MAX);
    let (ruleset, findings) = parse(&files(&overrides(super::OVERRIDES_MAX + 1)));
    assert!(ruleset.is_none() && findings[0].message.contains("65 overrides are over the limit of 64"));

    let text = |n: usize| format!("#{}", "x".repeat(n - 1));
    good(&text(super::FILE_MAX_BYTES));
    let (ruleset, findings) = parse(&files(&text(super::FILE_MAX_BYTES + 1)));
    assert!(ruleset.is_none() && findings[0].message.contains("1048577 bytes are over the limit of 1048576"));
}

#[test]
fn findings_are_bounded_and_the_rest_is_counted() {
    let rules: String = (0..super::FINDINGS_MAX + 5).map(|i| format!("  - {{id: R{i}}}\n")).collect();
    let (ruleset, findings) = parse(&files(&format!("rules:\n{rules}")));
    assert!(ruleset.is_none());
    assert_eq!(findings.len(), super::FINDINGS_MAX + 1);
    assert!(findings.iter().any(|finding| finding.message.contains("more findings are over the limit of 1000")));
}

#[test]
fn the_version_names_the_text_and_its_file() {
    let version =
        |name: &str, text: &str| parse(&BTreeMap::from([(name.to_owned(), text.to_owned())])).0.unwrap().version;
    assert_eq!(version("a", "# x"), version("a", "# x"));
    assert_ne!(version("a", "# x"), version("a", "# y"));
    assert_ne!(version("a", "# x"), version("b", "# x"));
    assert_ne!(version("a#", "#"), version("a", "##"));
}

/// One change that a tired hand could make, or a torn download.
#[derive(Debug, Clone)]
enum Edit {
    Byte(usize, u8),
    CutFrom(usize),
    DropLine(usize),
    TwiceLine(usize),
    SwapLines(usize, usize),
    Indent(usize, usize),
    Insert(usize, String),
}

fn edited(text: &str, edits: &[Edit]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for edit in edits {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        if bytes.is_empty() || lines.is_empty() {
            break;
        }
        let (n, len) = (lines.len(), bytes.len());
        match edit {
            Edit::Byte(at, byte) => bytes[at % len] = *byte,
            Edit::CutFrom(at) => bytes.truncate(at % len),
            Edit::DropLine(at) => drop(lines.remove(at % n)),
            Edit::TwiceLine(at) => lines.insert(at % n, lines[at % n].clone()),
            Edit::SwapLines(a, b) => lines.swap(a % n, b % n),
            Edit::Indent(at, by) => lines[at % n].insert_str(0, &" ".repeat(by % 9)),
            Edit::Insert(at, text) => lines[at % n].push_str(text),
        }
        if !matches!(edit, Edit::Byte(..) | Edit::CutFrom(_)) {
            bytes = lines.join("\n").into_bytes();
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn any_edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Edit::Byte(at, byte)),
        any::<usize>().prop_map(Edit::CutFrom),
        any::<usize>().prop_map(Edit::DropLine),
        any::<usize>().prop_map(Edit::TwiceLine),
        (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Edit::SwapLines(a, b)),
        (any::<usize>(), any::<usize>()).prop_map(|(at, by)| Edit::Indent(at, by)),
        (any::<usize>(), "[\\PC]{0,12}").prop_map(|(at, text)| Edit::Insert(at, text)),
    ]
}

/// Every file that is right, read once.
static RIGHT_FILES: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let folders = ["deploy/rules", "deploy/examples/rules", "tests/configs/valid/rules"];
    folders.into_iter().flat_map(yaml_files).collect()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_files_give_findings_and_never_a_panic(pick in any::<usize>(), edits in prop::collection::vec(any_edit(), 1..6)) {
        let (name, text) = &RIGHT_FILES[pick % RIGHT_FILES.len()];
        let damaged = BTreeMap::from([(name.clone(), edited(text, &edits))]);
        let (ruleset, findings) = parse(&damaged);
        prop_assert_eq!(ruleset.is_none(), findings.iter().any(|finding| finding.error));
        let n_lines = damaged.values().map(|text| text.lines().count()).sum::<usize>();
        prop_assert!(findings.iter().all(|finding| finding.line <= n_lines + 1));
    }
}

#[test]
fn every_whole_example_of_the_pages_is_accepted() {
    let mut n_examples = 0;
    for page in ["reference-rules.md", "howto-first-rule.md"] {
        let text = std::fs::read_to_string(repository().join("docs").join(page)).unwrap();
        let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        for block in blocks.filter(|block| !block.starts_with(' ')) {
            let (ruleset, findings) = parse(&files(block));
            assert!(ruleset.is_some(), "{page}: {}\n{block}", shown(&findings));
            n_examples += 1;
        }
    }
    assert!(n_examples >= 4, "only {n_examples} examples were found");
}
