//! A second host joins with one token and one command: two network namespaces of one
//! machine, the collector in one, the newcomer in the other, a wire between them.
//!
//! Needs root and iproute2; without them it is skipped, aloud.

use crate::common::PATIENCE;
use anyhow::{Context, Result, ensure};
use e2e::process::{Agent, Collector, wait_for};
use signalbox_proto::api::NewJoinToken;
use signalbox_proto::clock::{Clock, SystemClock};
use signalbox_proto::status::Freshness;
use signalbox_proto::units::Millis;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// From the command to the first level on the board.
const FIRST_LEVEL_WITHIN: Millis = Millis::from_secs(15);

/// Two namespaces with a wire between them; gone when dropped.
struct Wire {
    collector: String,
    agent: String,
}

fn ip(arguments: &str) -> Result<()> {
    let out = Command::new("ip").args(arguments.split(' ')).output().context("run ip")?;
    ensure!(out.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(())
}

impl Wire {
    fn new() -> Result<Wire> {
        let id = std::process::id();
        let wire = Wire { collector: format!("sbx-c{id}"), agent: format!("sbx-a{id}") };
        let Wire { collector, agent } = &wire;
        ip(&format!("netns add {collector}"))?;
        ip(&format!("netns add {agent}"))?;
        ip(&format!("link add vc{id} netns {collector} type veth peer name va{id} netns {agent}"))?;
        for (namespace, device, address) in
            [(collector, format!("vc{id}"), "10.213.0.1"), (agent, format!("va{id}"), "10.213.0.2")]
        {
            ip(&format!("-n {namespace} addr add {address}/24 dev {device}"))?;
            ip(&format!("-n {namespace} link set {device} up"))?;
            ip(&format!("-n {namespace} link set lo up"))?;
        }
        Ok(wire)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for namespace in [&self.collector, &self.agent] {
            let _ = ip(&format!("netns del {namespace}"));
        }
    }
}

#[test]
fn a_second_host_joins_with_one_token_and_one_command() -> Result<()> {
    let wire = match Wire::new() {
        Ok(wire) => wire,
        Err(error) => {
            println!("SKIPPED: no network namespaces: {error:#}");
            return Ok(());
        }
    };
    let folder = tempfile::tempdir()?;
    let (far, near, home) = (folder.path().join("far"), folder.path().join("near"), folder.path().join("collector"));
    std::fs::create_dir_all(home.join("rules"))?;
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rules/machine.yaml");
    std::fs::copy(rules, home.join("rules/machine.yaml"))?;
    let collector = Collector::start_in(Some(&wire.collector), "10.213.0.1", &home, "")?;
    let local = format!("agent_id: near\ncollector: {}\n", collector.endpoint());
    let _near = Agent::start(&near, &local)?;
    let wanted =
        NewJoinToken { ttl: "1h".to_owned(), uses: 1, labels: BTreeMap::new(), cidrs: Vec::new(), agent: None };
    let made = collector.join_token(&wanted)?;
    let clock = SystemClock::start();
    let began = clock.mono();
    let address = format!("10.213.0.1:{}", collector.grpc);
    let agent = Agent::join_in(Some(&wire.agent), &far, "far", &address, &made.secret)?;
    let client = collector.client();
    let has_level = |host: &str| -> Result<Option<()>> {
        let entities = client.status()?.entities;
        let own = entities.iter().find(|entity| entity.id == format!("host/{host}"));
        let fresh = own.is_some_and(|own| own.items.iter().any(|item| item.freshness == Freshness::Fresh));
        Ok(fresh.then_some(()))
    };
    wait_for("a level of the second host", PATIENCE, || has_level("far"))
        .with_context(|| format!("the agent said:\n{}", agent.process.log_tail()))?;
    let took = Millis(clock.mono().0 - began.0);
    println!("from the command to the first level of the second host: {took}");
    ensure!(took <= FIRST_LEVEL_WITHIN, "{took} to the first level");
    wait_for("a level of the first host", PATIENCE, || has_level("near"))?;
    // The token was for one host.
    let mut second =
        Agent::join_in(Some(&wire.agent), &folder.path().join("second"), "second", &address, &made.secret)?;
    wait_for("the end of a second join", PATIENCE, || Ok((!second.process.is_running()).then_some(())))?;
    ensure!(client.status()?.entities.iter().all(|entity| entity.id != "host/second"), "a used token lets nobody in");
    // The page is not on the wire at all.
    let probe = format!("exec 3<>/dev/tcp/10.213.0.1/{}", collector.http);
    let reached = Command::new("ip").args(["netns", "exec", &wire.agent, "bash", "-c", &probe]).output()?;
    ensure!(!reached.status.success(), "the operators' door is open to the wire");
    Ok(())
}
