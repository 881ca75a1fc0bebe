//! Scenario scripts: plain text with a virtual clock, in `tests/scenarios/*.txt`
//! at the root of the repository. `tests/scenarios/README.md` explains the words.
//!
//! Every script runs in four ways, and means the same in each: event by event with
//! a tick at every deadline; all events between two expectations as one turn; only
//! the samples that left their quiet bands; and with the engine restored from its
//! rows at every expectation.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod script;
mod world;

use script::run;
use std::path::{Path, PathBuf};
use world::Way;

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("read {}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "txt"));
    paths.sort();
    paths
}

fn run_all(way: Way) {
    let paths = scripts();
    assert!(paths.len() >= 20, "only {} scenarios were found", paths.len());
    let only = std::env::var("SCENARIO").unwrap_or_default();
    let mut failures = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.contains(&only) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        if let Err(error) = run(&text, way) {
            failures.push(format!("{name}:{error}"));
        }
    }
    assert!(failures.is_empty(), "{way:?}: {} scenarios fail\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn scenarios_hold_event_by_event() {
    run_all(Way::Single);
}

#[test]
fn scenarios_hold_in_large_turns() {
    run_all(Way::Batched);
}

#[test]
fn scenarios_hold_when_quiet_samples_are_left_out() {
    run_all(Way::Banded);
}

#[test]
fn scenarios_hold_when_the_engine_is_restored_at_every_step() {
    run_all(Way::Restored);
}
