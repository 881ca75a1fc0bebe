//! The record of who did what, over a real store: whatever is done to it behind the
//! collector's back is found.

use crate::common::{AT_ONCE, PATIENCE};
use anyhow::{Context, Result, ensure};
use e2e::process::{Collector, binary, wait_for};
use signalbox_collector::store::rocks::RocksStore;
use signalbox_collector::store::{Commit, Family, Store, keys};
use signalbox_proto::api::{AuditEntry, AuditVerdict};
use signalbox_proto::units::Bytes;
use std::process::Command;

#[test]
fn every_act_and_every_denial_is_a_line_that_survives_a_kill() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut collector = Collector::start(folder.path(), &[("rules.yaml", AT_ONCE)])?;
    let client = collector.client();
    let snooze = serde_json::json!({ "scope": "host/a\u{1b}[31m\nforged line", "for": "2h", "reason": "r\r\nX: y" });
    client.post("/snoozes", &snooze)?;
    client.post("/users", &serde_json::json!({ "name": "ada", "role": "operator" }))?;
    client.post("/users/ada/role", &serde_json::json!({ "role": "viewer" }))?;
    collector.stranger().send("GET", "/api/signalbox/v1/users", &[], "")?;
    // A denial has no effect that could wait for its line; it is written at once all the same.
    let before = wait_for("the line of the denial", PATIENCE, || {
        let lines: Vec<AuditEntry> = client.get("/audit?from=1&limit=1000")?;
        Ok(lines.iter().any(|line| line.act == "GET").then_some(lines))
    })?;
    // What was answered is on disk: nothing is flushed by a kill.
    collector.process.kill_9()?;
    collector.restart()?;
    let after: Vec<AuditEntry> = client.get("/audit?from=1&limit=1000")?;
    ensure!(after.len() >= before.len() && after[..before.len()] == before[..], "{before:?}\n{after:?}");
    for (act, object) in [("create user", "ada"), ("set role", "ada"), ("GET", "/api/signalbox/v1/users")] {
        let line = after.iter().find(|line| line.act == act && line.object.contains(object));
        let line = line.with_context(|| format!("no line about {act} {object}: {after:#?}"))?;
        ensure!(!line.who.is_empty() && !line.from.is_empty() && !line.result.is_empty(), "{line:?}");
    }
    let role = after.iter().find(|line| line.act == "set role").context("a line")?;
    ensure!(role.before.contains("operator") && role.after.contains("viewer"), "before and after: {role:?}");
    let fields = |line: &AuditEntry| format!("{}{}{}{}", line.object, line.before, line.after, line.result);
    ensure!(
        after.iter().all(|line| !fields(line).contains(|c: char| c.is_control())),
        "control characters are escaped"
    );
    let verdict: AuditVerdict = client.get("/audit/verify")?;
    ensure!(verdict.whole && verdict.n_lines >= after.len() as u64, "{verdict:?}");
    Ok(())
}

#[test]
fn an_exported_record_is_verified_by_the_command() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(folder.path(), &[])?;
    let socket = folder.path().join("data/operator.sock");
    collector.client().post("/users", &serde_json::json!({ "name": "ada", "role": "operator" }))?;
    let run = |arguments: &[&str]| -> Result<(bool, String)> {
        let out = Command::new(binary("CTL_BIN", "release", "signalbox")?)
            .arg("--socket")
            .arg(&socket)
            .args(arguments)
            .output()?;
        Ok((
            out.status.success(),
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)),
        ))
    };
    let (ok, said) = run(&["audit", "verify"])?;
    ensure!(ok, "{said}");
    let (ok, lines) = run(&["audit", "export"])?;
    ensure!(ok && lines.lines().count() >= 2, "{lines}");
    for line in lines.lines() {
        let entry: AuditEntry = serde_json::from_str(line).with_context(|| format!("a line of the export: {line}"))?;
        ensure!(entry.hash.len() == 64, "{entry:?}");
    }
    let (ok, listed) = run(&["audit", "list"])?;
    ensure!(ok && listed.contains("ada"), "{listed}");
    Ok(())
}

/// What somebody with the disk in their hands does to lines 1 to `n`.
type Tampering = fn(&mut Commit, &[Vec<u8>]);

#[test]
fn a_stored_record_that_was_tampered_with_is_found_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut collector = Collector::start(folder.path(), &[])?;
    for n in 0..8 {
        collector.client().post("/users", &serde_json::json!({ "name": format!("user{n}"), "role": "viewer" }))?;
    }
    collector.process.stop(PATIENCE)?;
    let tamperings: [(&str, Tampering); 5] = [
        ("nothing", |_, _| {}),
        ("a flipped bit", |commit, rows| {
            let mut row = rows[3].clone();
            let at = row.len() / 2;
            row[at] ^= 1;
            commit.put(Family::Audit, keys::audit(4), row);
        }),
        ("a line that is gone", |commit, _| commit.delete(Family::Audit, keys::audit(5))),
        ("two lines in each other's place", |commit, rows| {
            commit.put(Family::Audit, keys::audit(3), rows[5].clone());
            commit.put(Family::Audit, keys::audit(6), rows[2].clone());
        }),
        ("an end that was cut off", |commit, rows| {
            let n = rows.len() as u64;
            commit.delete_range(Family::Audit, keys::audit(n - 2), keys::audit(n + 1));
        }),
    ];
    let data = folder.path().join("data");
    for (what, tampering) in tamperings {
        let copy = tempfile::tempdir()?;
        let done = Command::new("cp").arg("-a").arg(&data).arg(copy.path()).status()?;
        ensure!(done.success(), "copy the data folder");
        {
            let store = RocksStore::open(&copy.path().join("data"), Bytes::from_mib(64))?;
            let mut rows = Vec::new();
            store.scan(Family::Audit, &[], &[], &mut |_, row| {
                rows.push(row.to_vec());
                std::ops::ControlFlow::Continue(())
            })?;
            ensure!(rows.len() >= 8, "{} lines", rows.len());
            let mut commit = Commit::default();
            tampering(&mut commit, &rows);
            store.commit(&commit)?;
        }
        let opened = Collector::start(copy.path(), &[])?;
        let verdict: AuditVerdict = opened.client().get("/audit/verify")?;
        ensure!(verdict.whole == (what == "nothing"), "{what}: {verdict:?}");
        println!("{what}: {}", if verdict.whole { "whole" } else { &verdict.fault });
    }
    Ok(())
}
