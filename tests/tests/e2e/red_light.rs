//! The whole path: a watched process dies, the board turns red, an incident is
//! raised, a webhook comes; it lives again, and all of it is taken back.

use crate::common::{PATIENCE, hook};
use anyhow::{Context, Result, ensure};
use e2e::process::{Agent, Collector, wait_for};
use e2e::sink::Sink;
use signalbox_proto::api::{Explanation, IncidentState};
use signalbox_proto::status::Level;
use std::process::Command;

const RULES: &str = r#"
rules:
  - id: process-down
    selector: signalbox_process_up
    red: "< 1"
    raise_for: 0s
    clear_for: 1s
    owner: payments
    sop: start it again
    summary: "{{ labels.watch }} is down on {{ entity }}"
"#;

#[test]
fn a_killed_process_turns_red_is_told_and_recovers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sink = Sink::start()?;
    let rules = [("rules.yaml", RULES), ("notify.yaml", &hook(&sink.url()))];
    let collector = Collector::start(&folder.path().join("collector"), &rules)?;
    let seconds = format!("{}", 700_000 + std::process::id());
    let config = format!(
        "agent_id: host1\ncollector: {}\nprocesses:\n  - {{name: sleeper, match: {{pattern: 'sleep {seconds}'}}}}\n",
        collector.endpoint()
    );
    let mut sleeper = Command::new("sleep").arg(&seconds).spawn()?;
    let _agent = Agent::start(&folder.path().join("agent"), &config)?;
    let client = collector.client();
    let level = |wanted| {
        wait_for("a level", PATIENCE, || Ok(client.item("sleeper")?.filter(|i| i.level == wanted && i.value.is_some())))
    };
    level(Level::Green)?;

    sleeper.kill()?;
    sleeper.wait()?;
    let item = level(Level::Red)?;
    ensure!(item.owner == "payments" && item.sop == "start it again", "{item:?}");
    ensure!(item.entity == "process/host1/sleeper", "{item:?}");
    let number = item.incident.context("an incident is open")?;
    let incident: signalbox_proto::api::Incident = client.get(&format!("/incidents/{number}"))?;
    ensure!(incident.title.contains("sleeper is down"), "{incident:?}");
    let told = wait_for("the webhook", PATIENCE, || Ok(sink.accepted().into_iter().next()))?;
    ensure!(told.body["status"] == "firing" && !told.key.is_empty(), "{:?}", told.body);

    let id = e2e::client::percent(&item.id);
    let proof: Explanation = client.get(&format!("/explain?item={id}"))?;
    ensure!(proof.item.level == Level::Red && !proof.because.is_empty(), "{proof:?}");
    ensure!(proof.samples.last().is_some_and(|(_, value)| *value == Some(0.0)), "{:?}", proof.samples);
    ensure!(!proof.ledger.is_empty(), "the ledger says who was told");

    let mut again = Command::new("sleep").arg(&seconds).spawn()?;
    level(Level::Green)?;
    let told = wait_for("the second webhook", PATIENCE, || Ok(sink.accepted().into_iter().nth(1)))?;
    ensure!(told.body["status"] == "resolved", "{:?}", told.body);
    let incident: signalbox_proto::api::Incident = client.get(&format!("/incidents/{number}"))?;
    ensure!(incident.state == IncidentState::Restored, "{incident:?}");
    again.kill()?;
    again.wait()?;
    Ok(())
}
