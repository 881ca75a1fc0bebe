//! Routes: who is told about what; of channels only the names are read here.

use super::fields::Fields;
use super::node::{Located, Node};
use super::report::{Report, suggest};
use super::scalar::{self, BAD_LEVELS, LAYERS};
use crate::rule::Route;
use signalbox_proto::status::Level;

/// Names of channels; their bodies are the notifier's to read.
pub(super) fn read_channels(nodes: &[Node], report: &mut Report) -> Vec<Located<String>> {
    let mut channels: Vec<Located<String>> = Vec::new();
    for node in nodes {
        let Some(mut fields) = Fields::of(node, "a channel", report) else { continue };
        let name = fields.require("name", "name: ops-mail", report);
        let name = name.and_then(|node| scalar::located(node, "name", report));
        fields.ignore_rest();
        let Some(name) = name else { continue };
        if let Some(twin) = channels.iter().find(|other| other.value == name.value) {
            let message = format!("channel `{}` is already defined at {}", name.value, report.place(twin.at));
            report.error(name.at, message, "give one of them another name");
            continue;
        }
        channels.push(name);
    }
    channels
}

/// Reads all routes, in order.
pub(super) fn read_all(nodes: &[Node], channels: &[Located<String>], report: &mut Report) -> Vec<Located<Route>> {
    nodes.iter().filter_map(|node| read(node, channels, report)).collect()
}

fn read(node: &Node, channels: &[Located<String>], report: &mut Report) -> Option<Located<Route>> {
    let mut fields = Fields::of(node, "a route", report)?;
    let channel = fields.require("channel", "channel: ops-mail", report);
    let channel = channel.and_then(|node| scalar::located(node, "channel", report));
    let owners = fields.take("owners").map(|node| scalar::texts(node, "owners", report)).unwrap_or_default();
    let layers = fields.take("layers").map(|node| scalar::list(node, "layers", report)).unwrap_or_default();
    let layers = layers.into_iter().filter_map(|node| scalar::word(node, "layers", LAYERS, report));
    let layers = layers.map(|layer| layer.value).collect();
    let from = fields.take("from").and_then(|node| scalar::word(node, "from", BAD_LEVELS, report));
    fields.finish(report);
    let channel = channel?;
    if !channels.iter().any(|known| known.value == channel.value) {
        let remedy = suggest(&channel.value, channels.iter().map(|known| known.value.as_str()));
        report.error(channel.at, format!("there is no channel `{}`", channel.value), remedy);
    }
    let route = Route {
        channel: channel.value,
        owners: owners.into_iter().map(|owner| owner.value).collect(),
        layers,
        from: from.map_or(Level::Amber, |from| from.value),
    };
    Some(Located { value: route, at: channel.at })
}
