//! Hand-made values for the goldens.

use crate::look::Look;
use signalbox_proto::api::{Counts, Entity, Item, LedgerLine, Outcome, Status};
use signalbox_proto::status::{Freshness, Layer, Level};
use signalbox_proto::units::{Millis, UnixMillis};

/// 2026-11-23T02:14:12Z.
pub(crate) const NOW: UnixMillis = UnixMillis(1_795_400_052_000);

pub(crate) fn look(width: usize) -> Look {
    Look { width: Some(width), colour: false, now: NOW }
}

pub(crate) fn ago(secs: u64) -> UnixMillis {
    NOW - Millis::from_secs(secs)
}

pub(crate) fn item(entity: &str, local: &str, level: Level, why: &str) -> Item {
    Item {
        id: format!("{entity}:{local}"),
        entity: entity.to_owned(),
        rule: local.split('{').next().unwrap().to_owned(),
        level,
        freshness: Freshness::Fresh,
        value: Some(97.1),
        value_at: ago(1),
        since: ago(200),
        why: why.to_owned(),
        owner: "infra".to_owned(),
        ..Item::default()
    }
}

pub(crate) fn entity(id: &str, level: Level, parents: &[&str], items: Vec<Item>) -> Entity {
    Entity {
        id: id.to_owned(),
        kind: id.split('/').next().unwrap().to_owned(),
        layer: Layer::Machine,
        owner: "infra".to_owned(),
        parents: parents.iter().map(|parent| (*parent).to_owned()).collect(),
        level,
        since: ago(200),
        why: items.first().map(|item| format!("{} is {}", item.rule, item.level)).unwrap_or_default(),
        items,
        ..Entity::default()
    }
}

/// One red service over a red host, a grey host, a green one; hostile words.
pub(crate) fn board() -> Status {
    let mut full = item("host/web1", "filesystem-full{mountpoint=\"/\"}", Level::Red, "97.1 % used, red from 95 % on");
    full.incident = Some(17);
    full.snoozes = vec![3];
    let mut load = item("host/web1", "load-high", Level::Green, "0.4, amber from 8 on");
    load.pending = Some(signalbox_proto::api::Pending {
        target: Level::Amber,
        since: ago(20),
        due: Some(NOW + Millis::from_secs(40)),
    });
    let swap = item("host/web1", "swap-used", Level::Green, "0 %, amber from 50 % on");
    let mut lost = item("host/db1", "load-high", Level::Red, "no sample for 5 min\u{1b}[2J\u{202e}gpj.exe");
    lost.freshness = Freshness::Stale;
    let mut down = entity("host/db1", Level::Red, &["application/payments"], vec![lost]);
    down.grey = true;
    down.why = "its agent is unreachable".to_owned();
    let mut service = entity("application/payments", Level::Red, &[], vec![]);
    service.owner = "payments".to_owned();
    service.system = "cards".to_owned();
    service.why = "host/web1 is red".to_owned();
    Status {
        at: ago(2),
        version: "0.1.0".to_owned(),
        level: Level::Red,
        grey: false,
        counts: Counts { red: 1, amber: 0, green: 3, grey: 1, amber_hidden: 2, snoozed: 1 },
        entities: vec![
            service,
            entity("host/web1", Level::Red, &["application/payments"], vec![full, load, swap]),
            down,
            entity("host/web2", Level::Green, &[], vec![item("host/web2", "load-high", Level::Green, "0.1")]),
        ],
        problems: vec!["disk of the store is 91 % full".to_owned()],
        scope: Vec::new(),
    }
}

pub(crate) fn ledger(outcome: Outcome, reason: &str) -> LedgerLine {
    LedgerLine {
        id: 1,
        at: ago(170),
        incident: 17,
        item: "host/web1:load-high".to_owned(),
        transition: "raised".to_owned(),
        outcome,
        channel: if outcome == Outcome::Sent { "oncall".to_owned() } else { String::new() },
        key: String::new(),
        reason: reason.to_owned(),
    }
}
