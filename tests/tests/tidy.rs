//! The house rules that a compiler does not keep: size of files and functions,
//! module docs, who may depend on whom, what the product must not name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a source file without its tests.
const FILE_MAX_LINES: usize = 500;
/// Lines of a function, from `fn` to its closing brace.
const FUNCTION_MAX_LINES: usize = 70;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_owned()
}

/// Every Rust file of the project with its text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for top in ["proto", "agent", "collector", "tests"] {
        collect(&root().join(top), &mut found);
    }
    assert!(found.len() > 20, "the walk found only {} files", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("folder of the project").flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("node_modules") && !path.ends_with("target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).expect("under the root").display().to_string();
            found.push((name, fs::read_to_string(&path).expect("source is UTF-8")));
        }
    }
}

/// The file up to its unit tests.
fn without_tests(text: &str) -> &str {
    let end = text.find("\n#[cfg(test)]\nmod ").or_else(|| text.find("\n#[cfg(test)]\npub(crate) mod "));
    end.map_or(text, |end| &text[..end])
}

fn is_test_file(name: &str) -> bool {
    name.contains("/tests/") || ["/tests.rs", "_tests.rs", "/testing.rs"].iter().any(|end| name.ends_with(end))
}

fn fail_on(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn files_are_short() {
    let long = |(name, text): &(String, String)| {
        let n = without_tests(text).lines().count();
        (!is_test_file(name) && n > FILE_MAX_LINES).then(|| format!("{name}: {n} lines, at most {FILE_MAX_LINES}"))
    };
    fail_on(&sources().iter().filter_map(long).collect::<Vec<_>>());
}

#[test]
fn functions_fit_a_screen() {
    let mut faults = Vec::new();
    for (name, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let indent = line.len() - code.len();
            let words: Vec<&str> = code.split_whitespace().take_while(|word| !word.contains('(')).collect();
            let declares = code.starts_with("fn ") || (code.contains(" fn ") && words.contains(&"fn"));
            if code.starts_with("//") || !declares || code.ends_with(';') {
                continue;
            }
            let closing = format!("{}}}", " ".repeat(indent));
            let length = lines[start..].iter().position(|line| *line == closing).map_or(1, |end| end + 1);
            if length > FUNCTION_MAX_LINES {
                faults.push(format!("{name}:{}: {length} lines, at most {FUNCTION_MAX_LINES}", start + 1));
            }
        }
    }
    fail_on(&faults);
}

#[test]
fn every_file_says_what_it_is() {
    let silent = |(name, text): &(String, String)| (!text.starts_with("//!")).then(|| format!("{name}: no module doc"));
    fail_on(&sources().iter().filter_map(silent).collect::<Vec<_>>());
}

#[test]
fn dependencies_point_one_way() {
    let allowed = BTreeMap::from([
        ("proto", vec![]),
        ("agent", vec!["signalbox-proto"]),
        ("collector/access", vec!["signalbox-proto"]),
        ("collector/engine", vec!["signalbox-proto"]),
        ("collector/tsdb", vec!["signalbox-proto"]),
        ("collector/promql", vec!["signalbox-proto"]),
        ("collector/ctl", vec!["signalbox-proto"]),
        (
            "collector",
            vec!["signalbox-proto", "signalbox-access", "signalbox-engine", "signalbox-tsdb", "signalbox-promql"],
        ),
        // For its table of routes and its store: the matrix is made from the one, the other is tampered with.
        // PromQL is asked beside a Prometheus.
        ("tests", vec!["signalbox-proto", "signalbox-collector", "signalbox-promql"]),
    ]);
    let mut faults = Vec::new();
    for (member, allowed) in allowed {
        let manifest = fs::read_to_string(root().join(member).join("Cargo.toml")).expect("manifest of a member");
        for line in manifest.lines().filter(|line| line.starts_with("signalbox-")) {
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if !allowed.contains(&dependency) {
                faults.push(format!("{member} must not use {dependency}"));
            }
        }
    }
    fail_on(&faults);
}

#[test]
fn decisions_cannot_reach_a_clock_a_network_or_a_disk() {
    let mut faults = Vec::new();
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock is committed");
    for start in ["signalbox-access", "signalbox-engine", "signalbox-tsdb", "signalbox-promql"] {
        let manifest = root().join("collector").join(start.trim_start_matches("signalbox-")).join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).expect("manifest of a pure crate");
        let normal = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        for banned in ["tokio", "tonic", "rocksdb", "axum", "reqwest", "tracing", "rand"] {
            assert!(lock.contains(&format!("name = \"{banned}\"")) || banned == "rand", "{banned} left the project");
            if normal.lines().any(|line| line.split(['.', ' ', '=']).next() == Some(banned)) {
                faults.push(format!("{start} must not use {banned}"));
            }
        }
    }
    for (name, text) in sources() {
        let pure = ["access", "engine", "tsdb", "promql"]
            .iter()
            .any(|part| name.starts_with(&format!("collector/{part}/src")));
        for banned in ["std::fs", "std::net", "std::thread", "SystemTime", "std::time::Instant", "println!"] {
            if pure && without_tests(&text).contains(banned) && !is_test_file(&name) {
                faults.push(format!("{name} names {banned}"));
            }
        }
    }
    fail_on(&faults);
}

#[test]
fn only_the_store_names_rocksdb_and_only_the_edges_name_wire_types() {
    let mut faults = Vec::new();
    for (name, text) in sources() {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            if line.contains("rocksdb::") && !name.starts_with("collector/src/store/") && !name.ends_with("tidy.rs") {
                faults.push(format!("{name} names rocksdb"));
            }
            let edge = [
                "proto/src/wire",
                "collector/src/ingest",
                "agent/src/transport",
                "agent/src/wire",
                "agent/src/enrol",
                "agent/src/net/testing",
                "agent/tests",
                "tests/",
            ];
            if line.contains("wire::v1")
                && !edge.iter().any(|edge| name.starts_with(edge))
                && !name.ends_with("tidy.rs")
            {
                faults.push(format!("{name} names generated wire types"));
            }
        }
    }
    faults.dedup();
    fail_on(&faults);
}

#[test]
fn nothing_is_left_for_later() {
    let mut faults = Vec::new();
    for (name, text) in sources().iter().filter(|(name, _)| !name.ends_with("tidy.rs")) {
        for (n, line) in text.lines().enumerate() {
            for mark in ["todo!(", "unimplemented!(", "TODO", "FIXME", "#[ignore"] {
                if line.contains(mark) {
                    faults.push(format!("{name}:{}: {mark}", n + 1));
                }
            }
        }
    }
    fail_on(&faults);
}

#[test]
fn every_link_in_the_docs_leads_somewhere() {
    let mut pages = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    pages.extend(fs::read_dir(root().join("docs")).expect("docs/").flatten().map(|entry| entry.path()));
    let mut faults = Vec::new();
    for page in pages.iter().filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(page).expect("page is UTF-8");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            let folder = page.parent().expect("a page lies in a folder");
            if !path.is_empty() && !path.contains("://") && !folder.join(path).exists() {
                faults.push(format!("{}: {target} does not exist", page.display()));
            }
        }
    }
    fail_on(&faults);
}
