//! Nobody comes in who should not, and bad input says what, where and how to mend it.

use crate::common::{AT_ONCE, api_token};
use anyhow::{Result, ensure};
use e2e::process::{Collector, binary, free_port};
use std::process::{Command, Output};

#[test]
fn a_browser_with_a_foreign_host_or_origin_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(folder.path(), &[("rules.yaml", AT_ONCE)])?;
    let client = collector.stranger().with_token(&api_token(&collector, "viewer")?);
    let own = format!("Host: localhost:{}", collector.http);
    for (headers, status) in [
        (vec![own.as_str()], 200),
        (vec!["Host: evil.example"], 403),
        (vec!["Origin: http://evil.example"], 403),
        (vec!["Origin: null"], 403),
        (vec!["Sec-Fetch-Site: cross-site"], 403),
    ] {
        let got = client.send("GET", "/api/signalbox/v1/status", &headers, "")?;
        ensure!(got.status == status, "{headers:?}: {} {}", got.status, got.body);
    }
    let page = client.send("GET", "/", &[], "")?;
    ensure!(page.status == 200 && !page.body.contains("<script"), "a page without JavaScript");
    for path in ["/api/v1/nowhere", "/api/v2/status", "/nowhere"] {
        ensure!(client.send("GET", path, &[], "")?.status == 404, "{path}");
    }
    Ok(())
}

#[test]
fn bad_bodies_are_refused_and_change_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(folder.path(), &[("rules.yaml", AT_ONCE)])?;
    let client = collector.client();
    let json = "content-type: application/json";
    let base = "/api/signalbox/v1";
    for (method, path, headers, body, status) in [
        ("POST", "/snoozes", vec![json], "{", 400),
        ("POST", "/snoozes", vec![json], r#"{"scope":"host/a","for":"2h","reason":"r","more":1}"#, 400),
        ("POST", "/snoozes", vec![json], r#"{"scope":"host/a","for":"2","reason":"r"}"#, 400),
        ("POST", "/snoozes", vec![], r#"{"scope":"host/a","for":"2h","reason":"r"}"#, 415),
        ("POST", "/incidents/99/ack", vec![json], "{}", 404),
        ("POST", "/incidents/x/ack", vec![json], "{}", 400),
        ("GET", "/query?selector=up%7B", vec![], "", 400),
        ("GET", "/status?nonsense=1", vec![], "", 400),
    ] {
        let got = client.send(method, &format!("{base}{path}"), &headers, body)?;
        ensure!(got.status == status, "{method} {path} {body}: {} {}", got.status, got.body);
        let error: serde_json::Value = serde_json::from_str(&got.body)?;
        ensure!(error["error"].as_str().is_some_and(|text| !text.is_empty()), "{}", got.body);
    }
    let snoozes: Vec<signalbox_proto::api::Snooze> = client.get("/snoozes")?;
    ensure!(snoozes.is_empty(), "nothing was made");
    let big = format!("{{\"files\":{{\"a.yaml\":\"{}\"}}}}", "x".repeat(2 * 1024 * 1024));
    let got = client.send("POST", &format!("{base}/rules/check"), &[json], &big);
    ensure!(got.map_or(true, |reply| reply.status == 413), "a body over the limit is refused");
    ensure!(client.is_ready(), "and the collector lives");
    Ok(())
}

fn run(program: (&str, &str, &str), arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let Output { status, stdout, stderr } =
        Command::new(binary(program.0, program.1, program.2)?).args(arguments).output()?;
    Ok((status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))))
}

const COLLECTOR: (&str, &str, &str) = ("COLLECTOR_BIN", "release", "signalbox-collector");
const AGENT: (&str, &str, &str) = ("AGENT_BIN", "agent", "signalbox-agent");

#[test]
fn bad_configuration_says_what_where_and_how_to_mend_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("c.yaml");
    let path = file.display().to_string();
    for (program, text, words) in [
        (COLLECTOR, "data_dri: /tmp\n", ["data_dri", "data_dir"]),
        (AGENT, "interval: 5\n", ["unit", "c.yaml"]),
        (AGENT, "colector: x\n", ["colector", "collector"]),
        (AGENT, "collector: http://192.0.2.1:8441\n", ["plain text", "join"]),
    ] {
        std::fs::write(&file, text)?;
        let (code, said) = run(program, &["check-config", &path])?;
        ensure!(code == Some(78), "{text:?}: exit {code:?}, {said}");
        for word in words {
            ensure!(said.contains(word), "{text:?}: expected {word:?} in {said}");
        }
    }
    let (code, _) = run(COLLECTOR, &["--no-such-flag"])?;
    ensure!(code == Some(64), "a usage error exits 64, not {code:?}");
    Ok(())
}

#[test]
fn f16_a_second_collector_on_the_same_data_refuses() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut collector = Collector::start(folder.path(), &[])?;
    let config = folder.path().join("collector.yaml").display().to_string();
    let other = || -> Result<String> { Ok(format!("127.0.0.1:{}", free_port()?)) };
    let (code, said) = run(COLLECTOR, &["run", "--config", &config, "--http", &other()?, "--grpc", &other()?])?;
    ensure!(code == Some(1) && said.contains("data"), "exit {code:?}: {said}");
    ensure!(collector.process.is_running(), "the first goes on");
    Ok(())
}

#[test]
fn f47_a_broken_reload_keeps_the_old_rules() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(folder.path(), &[("rules.yaml", AT_ONCE)])?;
    let rules = folder.path().join("rules/rules.yaml");
    std::fs::write(&rules, "rules:\n  - id: broken\n    redd: '> 1'\n")?;
    let empty = serde_json::json!({});
    let got = collector.client().post("/reload", &empty)?;
    ensure!(got.status == 422 || got.status == 400, "{} {}", got.status, got.body);
    ensure!(got.body.contains("redd"), "the fault is named: {}", got.body);
    std::fs::write(&rules, AT_ONCE)?;
    let got = collector.client().post("/reload", &empty)?;
    ensure!(got.status == 200, "{} {}", got.status, got.body);
    Ok(())
}
