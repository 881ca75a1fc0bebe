//! Nobody gets in: every route and every call that exists, asked as every kind of
//! caller that exists.
//!
//! The rows are made from the collector's own route table and from the service
//! definitions in `proto/`; a route, a call or a permission that this test holds no
//! expectation for fails it. A cell is right when the status is exactly the expected
//! one. All cells that must be refused are asked first: what the collector holds is
//! then the same as before, and each refusal is a line of the audit.

mod callers;
mod calls;
mod surfaces;

use crate::common::{AT_ONCE, Line, block_on, now, speaker};
use anyhow::{Result, ensure};
use callers::{Caller, callers};
use e2e::client::Client;
use e2e::process::Collector;
use serde_json::Value;
use signalbox_collector::http::{Kind, Route, routes};
use signalbox_proto::api::AuditEntry;
use signalbox_proto::units::Millis;
use surfaces::{Surface, surface};

/// What a cell expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// This status, and nothing happens.
    Refused(u16),
    /// This status, and a line of the audit says so.
    Denied(u16),
    /// This status: the caller may.
    Allowed(u16),
}

impl Expected {
    fn status(self) -> u16 {
        let (Expected::Refused(status) | Expected::Denied(status) | Expected::Allowed(status)) = self;
        status
    }
}

/// One question of the matrix.
struct Cell<'a> {
    caller: &'a Caller,
    surface: &'a Surface,
    expected: Expected,
}

impl Cell<'_> {
    fn ask(&self) -> Result<u16> {
        let Cell { caller, surface, expected } = self;
        let probe = if matches!(expected, Expected::Allowed(_)) { &surface.harmless } else { &surface.harmful };
        caller.ask(&surface.method, probe)
    }

    fn name(&self) -> String {
        format!("{} {} as {}", self.surface.method, self.surface.path, self.caller.name)
    }
}

/// Everything that a stranger could want to change, as an admin of the host sees it.
fn state(admin: &Client) -> Result<Vec<Value>> {
    let paths = ["/users", "/tokens", "/join-tokens", "/agents/keys", "/agents/pending", "/snoozes", "/agents", "/ca"];
    let mut all = paths.iter().map(|path| admin.get(path)).collect::<Result<Vec<Value>>>()?;
    for incident in admin.incidents()? {
        all.push(serde_json::json!([incident.number, incident.state, incident.acknowledged_by, incident.assignee]));
    }
    all.iter_mut().for_each(forget_times);
    Ok(all)
}

/// What moves by itself: how many sessions, when an agent was last heard.
fn forget_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| {
                !["n_sessions", "last_seen", "heard", "lag_ms", "backlog", "clock_skew_ms"].contains(&name.as_str())
            });
            fields.values_mut().for_each(forget_times);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_times),
        _ => {}
    }
}

/// All lines of the audit.
fn audit(admin: &Client) -> Result<Vec<AuditEntry>> {
    let mut lines: Vec<AuditEntry> = Vec::new();
    loop {
        let from = lines.last().map_or(1, |line| line.no + 1);
        let more: Vec<AuditEntry> = admin.get(&format!("/audit?from={from}&limit=1000"))?;
        if more.is_empty() {
            return Ok(lines);
        }
        lines.extend(more);
    }
}

#[test]
fn every_route_answers_every_caller_exactly_as_it_must() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // The throttle of logins has a test of its own; here it would answer for the gate.
    let limits = "limits: {operators: {login_failures: 1000}}";
    let collector = Collector::start_with(folder.path(), &[("rules.yaml", AT_ONCE)], limits)?;
    // Something to be stolen: an agent, an item, an incident.
    block_on(async {
        let mut line = Line::open(&collector.endpoint(), speaker("web1", 1, 1, 100)?, now(), Millis(100)).await?;
        line.send(3, &[1.0]).await
    })?;
    let admin = collector.client();
    let scene = surfaces::Scene::set(&collector)?;
    let (callers, table) = (callers(&collector)?, routes());
    let surfaces: Vec<Surface> = table.iter().map(|route: &Route| surface(route, &scene)).collect::<Result<_>>()?;
    ensure!(callers.len() >= 18 && surfaces.len() >= 50, "{} callers, {} routes", callers.len(), surfaces.len());
    let cells: Vec<Cell<'_>> = callers
        .iter()
        .flat_map(|caller| surfaces.iter().map(|surface| Cell { caller, surface, expected: caller.expects(surface) }))
        .collect();
    let (allowed, refused): (Vec<_>, Vec<_>) =
        cells.into_iter().partition(|cell| matches!(cell.expected, Expected::Allowed(_)));
    let (before, lines_before) = (state(&admin)?, audit(&admin)?.len());
    let mut wrong = wrong_cells(&refused)?;
    let after = state(&admin)?;
    ensure!(before == after, "refused requests changed something:\n{before:?}\n{after:?}");
    let lines = audit(&admin)?;
    let n_denied = refused.iter().filter(|cell| matches!(cell.expected, Expected::Denied(_))).count();
    let n_lines = lines.len() - lines_before;
    ensure!(n_lines >= n_denied, "{n_denied} denials, and only {n_lines} lines of the audit");
    for cell in refused.iter().filter(|cell| matches!(cell.expected, Expected::Denied(_))) {
        let path = cell.surface.harmful.path.split('?').next().unwrap_or_default();
        let on_record =
            lines[lines_before..].iter().any(|line| line.object == path && line.result.starts_with("denied"));
        ensure!(on_record, "no line about {} of {path}", cell.name());
    }
    wrong.extend(wrong_cells(&allowed)?);
    ensure!(wrong.is_empty(), "{} cells are wrong:\n{}", wrong.len(), wrong.join("\n"));
    println!(
        "{} cells: {} refused, {} allowed, 0 unexpected",
        refused.len() + allowed.len(),
        refused.len(),
        allowed.len()
    );
    ensure!(admin.get::<Value>("/audit/verify")?["whole"] == true, "the audit is whole");
    Ok(())
}

fn wrong_cells(cells: &[Cell<'_>]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for cell in cells {
        let got = cell.ask()?;
        if got != cell.expected.status() {
            wrong.push(format!("{}: {got}, not {:?}", cell.name(), cell.expected));
        }
    }
    Ok(wrong)
}

/// What is beside the table is refused too.
#[test]
fn what_is_not_in_the_table_is_refused_like_the_rest() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(folder.path(), &[])?;
    let stranger = collector.stranger();
    for path in [
        "/nowhere",
        "/api/signalbox/v1/nowhere",
        "/api/v1/query",
        "/debug/pprof",
        "/-/reload",
        "/config",
        "/.git/config",
    ] {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            let got = stranger.send(method, path, &[], "")?.status;
            ensure!(matches!(got, 401 | 405), "{method} {path}: {got}");
        }
    }
    for path in ["/-/../api/signalbox/v1/status", "//api/signalbox/v1/status", "/%2e%2e/api/signalbox/v1/status"] {
        let got = stranger.send("GET", path, &[], "")?.status;
        ensure!(got == 401, "GET {path}: {got}");
    }
    Ok(())
}

/// The time of one denial tells nothing: unknown and forbidden take as long.
#[test]
fn every_answer_to_a_stranger_is_the_same() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(folder.path(), &[])?;
    let stranger = collector.stranger();
    let answers: Vec<_> = routes()
        .iter()
        .filter(|route| route.kind == Kind::Api && route.access.to_string() != "open")
        .map(|route| stranger.send(route.method.as_str(), &route.path.replace(['{', '}'], "x"), &[], ""))
        .collect::<Result<_>>()?;
    let first = answers.first().map(|reply| reply.body.clone()).unwrap_or_default();
    ensure!(answers.iter().all(|reply| reply.status == 401 && reply.body == first), "{answers:?}");
    ensure!(stranger.send("GET", "/api/signalbox/v1/nowhere", &[], "")?.body == first, "also for what is not there");
    for reply in &answers {
        for header in ["content-security-policy", "x-content-type-options", "referrer-policy", "cache-control"] {
            ensure!(reply.header(header).is_some(), "{header} is missing: {}", reply.head);
        }
    }
    Ok(())
}
