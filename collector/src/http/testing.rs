//! A board made by hand and a router over it.

use crate::http::{App, Limits, Peer, Settings, router};
use crate::notify::Notifiers;
use crate::tls::Tls;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response};
use signalbox_access::Role;
use signalbox_engine::board::Board;
use signalbox_proto::api::{
    Agent, Counts, Entity, Incident, IncidentState, Item, LedgerLine, Outcome, Pending, Snooze, Status, TimelineEntry,
};
use signalbox_proto::clock::ManualClock;
use signalbox_proto::names::AgentId;
use signalbox_proto::status::{AgentState, Freshness, Layer, Level};
use signalbox_proto::units::UnixMillis;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use tower::ServiceExt;

pub(crate) use crate::http::testing_handle::{Record, handle};

/// The instant of all tests: 2026-11-23 02:20:03 UTC.
pub(crate) const NOW: UnixMillis = UnixMillis(1_795_400_403_000);

fn ago(secs: i64) -> UnixMillis {
    NOW.shifted(-1000 * secs)
}

fn item(entity: &str, rule: &str, level: Level, freshness: Freshness) -> Item {
    Item {
        id: format!("{entity}:{rule}{{mountpoint=\"/\"}}"),
        entity: entity.to_owned(),
        rule: rule.to_owned(),
        metric: "node_filesystem_avail_bytes".to_owned(),
        labels: BTreeMap::from([("mountpoint".to_owned(), "/".to_owned())]),
        level,
        freshness,
        value: Some(97.0),
        value_at: ago(1),
        since: ago(720),
        why: format!("97 against {rule}"),
        layer: Layer::Machine,
        owner: "unix".to_owned(),
        sop: "https://wiki.example.com/sop/disk".to_owned(),
        ..Item::default()
    }
}

fn entity(id: &str, level: Level, grey: bool, items: Vec<Item>) -> Entity {
    Entity {
        id: id.to_owned(),
        kind: id.split('/').next().unwrap().to_owned(),
        layer: Layer::Machine,
        owner: "unix".to_owned(),
        system: "payments".to_owned(),
        level,
        grey,
        since: ago(720),
        why: format!("{id} has its reason"),
        items,
        ..Entity::default()
    }
}

/// web1 red (and rolled up into payments), web2 grey over amber, db1 green.
pub(crate) fn board() -> Board {
    let mut red = item("host/web1", "filesystem-full", Level::Red, Freshness::Fresh);
    red.incident = Some(17);
    red.labels.insert("evil".to_owned(), "<script>alert(1)</script>".to_owned());
    let mut pending = item("host/web1", "load-high", Level::Green, Freshness::Late);
    pending.pending = Some(Pending { target: Level::Amber, since: ago(5), due: Some(NOW.shifted(25_000)) });
    let grey = item("host/web2", "filesystem-full", Level::Amber, Freshness::Stale);
    let green = item("host/db1", "filesystem-full", Level::Green, Freshness::Fresh);
    let mut web1 = entity("host/web1", Level::Red, false, vec![red, pending]);
    web1.parents = vec!["application/payments".to_owned()];
    let mut payments = entity("application/payments", Level::Red, false, Vec::new());
    (payments.layer, payments.owner) = (Layer::Application, "pay".to_owned());
    let mut db1 = entity("host/db1", Level::Green, false, vec![green]);
    db1.owner = "dba".to_owned();
    let entities = vec![payments, web1, entity("host/web2", Level::Amber, true, vec![grey]), db1];
    let counts = Counts { red: 1, amber: 0, green: 2, grey: 1, amber_hidden: 0, snoozed: 0 };
    let status =
        Status { at: NOW, version: "0.1.0".to_owned(), level: Level::Red, counts, entities, ..Status::default() };
    Board {
        status,
        agents: vec![agent("web1", AgentState::Up), agent("web2", AgentState::Down)],
        incidents: incidents(),
        snoozes: snoozes(),
    }
}

fn agent(id: &str, state: AgentState) -> Agent {
    Agent {
        id: AgentId::parse(id).unwrap(),
        state,
        since: ago(3600),
        last_heard: ago(2),
        version: "0.1.0".to_owned(),
        boot_id: "b".to_owned(),
        labels: BTreeMap::new(),
        clock_offset_ms: 0,
        n_backlog: 0,
        n_dropped: 3,
        checks: Vec::new(),
        failing_checks: BTreeMap::new(),
        incident: None,
    }
}

fn incidents() -> Vec<Incident> {
    let open = Incident {
        number: 17,
        id: "INC-17".to_owned(),
        level: Level::Red,
        worst: Level::Red,
        title: "/ on web1 is 97 % full <b>now</b>".to_owned(),
        rule: "filesystem-full".to_owned(),
        entity: "host/web1".to_owned(),
        item: "host/web1:filesystem-full{mountpoint=\"/\"}".to_owned(),
        owner: "unix".to_owned(),
        sop: "javascript:alert(1)".to_owned(),
        first_symptom: ago(750),
        detected: ago(720),
        timeline: vec![TimelineEntry {
            at: ago(720),
            kind: "raised".to_owned(),
            author: "signalbox".to_owned(),
            text: "red".to_owned(),
        }],
        ledger: vec![LedgerLine {
            id: 1,
            at: ago(720),
            incident: 17,
            item: "host/web1".to_owned(),
            transition: "raised".to_owned(),
            outcome: Outcome::Sent,
            channel: "hook".to_owned(),
            key: "k".to_owned(),
            reason: "202 Accepted".to_owned(),
        }],
        ..Incident::default()
    };
    let closed = Incident { number: 16, id: "INC-16".to_owned(), state: IncidentState::Closed, ..Incident::default() };
    vec![open, closed]
}

fn snoozes() -> Vec<Snooze> {
    let one = |id: u64, until: UnixMillis| Snooze {
        id,
        scope: "host/web2".to_owned(),
        only: Vec::new(),
        author: "ada".to_owned(),
        reason: "move".to_owned(),
        from: ago(7200),
        until,
        ended: None,
    };
    vec![one(2, NOW.shifted(60_000)), one(1, ago(60))]
}

/// How the door of the tests is set up: plain, account `ada` is an operator.
pub(crate) fn settings() -> Settings {
    static TLS: LazyLock<Arc<Tls>> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        let tls = crate::tls::Settings { names: vec!["box.example.org".to_owned()], ..Default::default() };
        Arc::new(Tls::open(folder.path().join("ca"), &tls, Arc::new(ManualClock::at(NOW))).unwrap())
    });
    Settings {
        limits: Limits::default(),
        names: Vec::new(),
        external_url: "http://127.0.0.1:8420".to_owned(),
        agents_address: "https://box.example.org:8441".to_owned(),
        local_operators: BTreeMap::from([
            ("eve".to_owned(), Role::Viewer),
            ("ada".to_owned(), Role::Operator),
            ("cyd".to_owned(), Role::ChangeManager),
        ]),
        own_uid: 999,
        data_dir: "/".into(),
        tls: Arc::clone(&TLS),
        http_tls: false,
        clock: Arc::new(ManualClock::at(NOW)),
    }
}

/// A door over [`board`], without channels, with tables of its own.
pub(crate) fn door() -> App {
    recorded().0
}

/// The same, and what it writes into the audit.
pub(crate) fn recorded() -> (App, Record) {
    let record = Record::default();
    let (deliveries, _) = tokio::sync::mpsc::channel(16);
    let notifiers = Notifiers::new("http://127.0.0.1:8420", Arc::new(ManualClock::at(NOW)), deliveries);
    (App::new(handle(board(), Arc::clone(&record)), Arc::new(notifiers), settings()), record)
}

/// Root on this host.
pub(crate) fn root() -> Peer {
    Peer::Local { uid: 0, user: "root".to_owned() }
}

/// Somebody over TCP.
pub(crate) fn far(is_tls: bool) -> Peer {
    Peer::Tcp { ip: "192.0.2.7".parse().unwrap(), is_tls }
}

/// Asks `app` as `peer` and gives the answer with its body.
pub(crate) async fn ask_as(app: &App, peer: Peer, mut request: Request<Body>) -> (Response<()>, String) {
    request.extensions_mut().insert(peer);
    let response = router(app.clone()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 16 * 1024 * 1024).await.unwrap();
    (Response::from_parts(parts, ()), String::from_utf8(bytes.to_vec()).unwrap())
}

/// Asks a door of its own as root.
pub(crate) async fn ask(request: Request<Body>) -> (Response<()>, String) {
    ask_as(&door(), root(), request).await
}

/// `GET path` from this host.
pub(crate) async fn get(path: &str) -> (u16, String) {
    let (response, body) = ask(Request::get(path).header("host", "localhost").body(Body::empty()).unwrap()).await;
    (response.status().as_u16(), body)
}

/// A JSON request.
pub(crate) fn json(method: &str, path: &str, body: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("host", "localhost");
    request.header("content-type", "application/json").body(Body::from(body.to_owned())).unwrap()
}

/// A request with a JSON body from this host.
pub(crate) async fn send(method: &str, path: &str, body: &str) -> (u16, String) {
    let (response, body) = ask(json(method, path, body)).await;
    (response.status().as_u16(), body)
}
