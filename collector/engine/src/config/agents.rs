//! Clocks of agents.

use super::fields::Fields;
use super::node::{Node, Value};
use super::report::Report;
use super::scalar;
use crate::rule::AgentClocks;
use signalbox_proto::units::Millis;

/// Longest clock of an agent: a year.
const AGENT_CLOCK_MAX: Millis = Millis(365 * 86_400_000);
/// Shortest silence that can mean anything: agents beat every 10 s.
const UNREACHABLE_MIN: Millis = Millis::from_secs(11);

/// Reads the one section `agents`, wherever it stands.
pub(super) fn read_all(nodes: &[Node], report: &mut Report) -> AgentClocks {
    if let [first, second, ..] = nodes {
        let message = format!("`agents` is already given at {}", report.place(first.at));
        report.error(second.at, message, "keep one of them");
    }
    nodes.first().map(|node| read(node, report)).unwrap_or_default()
}

fn read(node: &Node, report: &mut Report) -> AgentClocks {
    let default = AgentClocks::default();
    let Some(mut fields) = Fields::of(node, "`agents`", report) else { return default };
    let clock = |key: &'static str, or: Millis, fields: &mut Fields, report: &mut Report| {
        let given = fields.take(key).and_then(|node| scalar::span(node, key, AGENT_CLOCK_MAX, report));
        given.map_or(or, |given| given.value)
    };
    let down_after = clock("down_after", default.down_after, &mut fields, report);
    let start_grace = clock("start_grace", default.start_grace, &mut fields, report);
    let stopped_max = clock("stopped_max", default.stopped_max, &mut fields, report);
    let unreachable = fields.take("unreachable_after");
    let unreachable_after = unreachable
        .and_then(|node| scalar::span(node, "unreachable_after", AGENT_CLOCK_MAX, report))
        .map_or(default.unreachable_after, |given| given.value);
    if let (Some(node), true) = (unreachable, unreachable_after < UNREACHABLE_MIN) {
        let message = format!("`unreachable_after: {unreachable_after}` is shorter than the agents' heartbeat of 10s");
        report.error(node.at, message, "write at least 11s; three heartbeats (30s) are a good choice");
    }
    let retire_after = match fields.take("retire_after") {
        Some(Node { value: Value::Scalar(text), .. }) if text == "never" => None,
        Some(node) => scalar::span(node, "retire_after", AGENT_CLOCK_MAX, report).map(|span| span.value),
        None => default.retire_after,
    };
    let mass = fields.take("mass_loss_agents");
    let mass = mass.and_then(|node| scalar::whole(node, "mass_loss_agents", 2, 1_000_000, report));
    let mass_loss_agents = mass.map_or(default.mass_loss_agents, |given| given.value as usize);
    fields.finish(report);
    AgentClocks { down_after, unreachable_after, start_grace, retire_after, stopped_max, mass_loss_agents }
}
