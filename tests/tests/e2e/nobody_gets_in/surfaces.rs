//! Every route, with a request that would do harm if it were let through, and one that
//! does none, whose exact status for who may is known.

use anyhow::{Context, Result, bail};
use e2e::people::api_token;
use e2e::process::Collector;
use signalbox_collector::http::{Access, Kind, Route};
use signalbox_proto::api::NewJoinToken;

/// A request's path and JSON body.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) path: String,
    pub(super) body: String,
}

/// What a route asks of its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    Identity,
    Permission(String),
}

/// One route.
pub(super) struct Surface {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) kind: Kind,
    pub(super) needs: Needs,
    pub(super) is_for_object: bool,
    /// A form of a page: it needs a proof of origin that no caller of the matrix gives.
    pub(super) is_form: bool,
    pub(super) harmful: Probe,
    pub(super) harmless: Probe,
    /// The status of `harmless` for who may.
    pub(super) allowed: u16,
}

/// What there is to be harmed.
pub(super) struct Scene {
    api_token: String,
    join_token: String,
    incident: u64,
    item: String,
}

impl Scene {
    /// Sets it.
    pub(super) fn set(collector: &Collector) -> Result<Scene> {
        let admin = collector.client();
        let wanted = serde_json::json!({ "name": "t-victim", "role": "viewer", "ttl": "1h" });
        let join =
            NewJoinToken { ttl: "1h".to_owned(), uses: 1, labels: Default::default(), cidrs: Vec::new(), agent: None };
        admin.post("/users", &serde_json::json!({ "name": "victim", "role": "viewer" }))?;
        let snooze = serde_json::json!({ "scope": "host/web1", "for": "2h", "reason": "work" });
        admin.post("/snoozes", &snooze)?;
        let incident = admin.incidents()?.first().context("an incident")?.number;
        let item = admin.item("web1")?.context("an item")?.id;
        let api_token = api_token(collector, &wanted)?.id;
        Ok(Scene { api_token, join_token: collector.join_token(&join)?.id, incident, item })
    }
}

/// Makes the surface of a route; fails for a route that nobody thought about.
pub(super) fn surface(route: &Route, scene: &Scene) -> Result<Surface> {
    let path = route.path.strip_prefix("/api/signalbox/v1");
    let is_api = path.is_some();
    let key = format!("{} {}", route.method, path.unwrap_or(&route.path));
    let (harmful, harmless, allowed) = match route.path.starts_with("/api/v1/") {
        true => prometheus(&key)?,
        false if is_api => api(&key, scene)?,
        false => beside(&key, scene)?,
    };
    let probe = |(path, body): (String, &str)| Probe {
        path: if is_api { format!("/api/signalbox/v1{path}") } else { path },
        body: body.to_owned(),
    };
    let word = route.access.to_string();
    let needs = match route.access {
        Access::Open => Needs::Nothing,
        Access::Identity => Needs::Identity,
        Access::Needs(_) | Access::NeedsFor(_) => Needs::Permission(word),
    };
    Ok(Surface {
        method: route.method.to_string(),
        path: route.path.clone(),
        kind: route.kind,
        needs,
        is_for_object: matches!(route.access, Access::NeedsFor(_)),
        is_form: route.kind == Kind::Page && route.method == "POST",
        harmful: probe(harmful),
        harmless: probe(harmless),
        allowed,
    })
}

type Probes<'a> = ((String, &'a str), (String, &'a str), u16);

/// Harmful, harmless, and what the harmless is answered.
fn api(key: &str, scene: &Scene) -> Result<Probes<'static>> {
    let Scene { incident, item, .. } = scene;
    let same = |path: String, status: u16| ((path.clone(), ""), (path, ""), status);
    let read = |path: &str, status: u16| same(path.to_owned(), status);
    let act = |harmful: String, harmless: &str, body: &'static str, status: u16| {
        ((harmful, body), (harmless.to_owned(), body), status)
    };
    Ok(match key {
        "GET /status"
        | "GET /agents"
        | "GET /incidents"
        | "GET /snoozes"
        | "GET /notify/channels"
        | "GET /doctor"
        | "GET /join-tokens"
        | "GET /agents/pending"
        | "GET /agents/keys"
        | "GET /ca"
        | "GET /users"
        | "GET /tokens"
        | "GET /audit"
        | "GET /audit/verify"
        | "GET /whoami"
        | "GET /openapi.json" => read(key.trim_start_matches("GET "), 200),
        "GET /incidents/{n}" => same(format!("/incidents/{incident}"), 200),
        "GET /query" => read("/query?selector=e2e_value", 200),
        "GET /explain" => same(format!("/explain?item={}", e2e::client::percent(item)), 200),
        "POST /rules/check" => act("/rules/check".to_owned(), "/rules/check", r#"{"files":{"a.yaml":""}}"#, 200),
        "POST /agents/{id}/retire" => {
            act("/agents/web1/retire".to_owned(), "/agents/none/retire", r#"{"reason":"r"}"#, 404)
        }
        "POST /incidents/{n}/ack" => act(format!("/incidents/{incident}/ack"), "/incidents/999/ack", "{}", 404),
        "POST /incidents/{n}/assign" => {
            act(format!("/incidents/{incident}/assign"), "/incidents/999/assign", r#"{"assignee":"m"}"#, 404)
        }
        "POST /incidents/{n}/note" => {
            act(format!("/incidents/{incident}/note"), "/incidents/999/note", r#"{"text":"m"}"#, 404)
        }
        "POST /incidents/{n}/close" => {
            act(format!("/incidents/{incident}/close"), "/incidents/999/close", r#"{"text":"m","label":"false"}"#, 404)
        }
        "POST /snoozes" => {
            let body = r#"{"scope":"host/web1","for":"1h","reason":"r"}"#;
            (
                ("/snoozes".to_owned(), body),
                ("/snoozes".to_owned(), r#"{"scope":"host/web1","for":"1","reason":"r"}"#),
                400,
            )
        }
        "DELETE /snoozes/{id}" => act("/snoozes/1".to_owned(), "/snoozes/999", r#"{"reason":"r"}"#, 404),
        "POST /reload" => act("/reload".to_owned(), "/reload", "{}", 200),
        "POST /notify/test/{channel}" => act("/notify/test/hook".to_owned(), "/notify/test/none", "{}", 404),
        _ => return letting_in(key, scene),
    })
}

/// As [`api`], for what lets people and agents in.
fn letting_in(key: &str, scene: &Scene) -> Result<Probes<'static>> {
    let Scene { api_token, join_token, .. } = scene;
    let act = |harmful: String, harmless: &str, body: &'static str, status: u16| {
        ((harmful, body), (harmless.to_owned(), body), status)
    };
    let key64 = "0".repeat(64);
    Ok(match key {
        "POST /join-tokens" => (("/join-tokens".to_owned(), "{}"), ("/join-tokens".to_owned(), r#"{"ttl":"1"}"#), 400),
        "DELETE /join-tokens/{id}" => {
            ((format!("/join-tokens/{join_token}"), ""), ("/join-tokens/none".to_owned(), ""), 404)
        }
        "POST /agents/pending/{fingerprint}/approve" => {
            let path = format!("/agents/pending/{key64}/approve");
            ((path.clone(), "{}"), (path, "{}"), 404)
        }
        "POST /agents/pending/{fingerprint}/reject" => {
            let path = format!("/agents/pending/{key64}/reject");
            ((path.clone(), "{}"), (path, "{}"), 404)
        }
        "POST /agents/{id}/revoke" => act("/agents/web1/revoke".to_owned(), "/agents/none/revoke", "{}", 404),
        "POST /ca/rotate" => act("/ca/rotate".to_owned(), "/ca/rotate", r#"{"no":1}"#, 400),
        "POST /ca/drop" => act("/ca/drop".to_owned(), "/ca/drop", r#"{"no":1}"#, 400),
        "POST /login" => {
            act("/login".to_owned(), "/login", r#"{"name":"victim","password":"not this one at all"}"#, 401)
        }
        "POST /logout" => act("/logout".to_owned(), "/logout", r#"{"no":1}"#, 400),
        "POST /password" => act("/password".to_owned(), "/password", r#"{"no":1}"#, 400),
        "POST /users" => {
            let body = r#"{"name":"mallory","role":"admin"}"#;
            (("/users".to_owned(), body), ("/users".to_owned(), r#"{"name":"victim","role":"viewer"}"#), 409)
        }
        "POST /users/{name}/disable" => act("/users/victim/disable".to_owned(), "/users/none/disable", "{}", 404),
        "POST /users/{name}/enable" => act("/users/victim/enable".to_owned(), "/users/none/enable", "{}", 404),
        "POST /users/{name}/role" => {
            act("/users/victim/role".to_owned(), "/users/none/role", r#"{"role":"admin"}"#, 404)
        }
        "POST /users/{name}/password" => act(
            "/users/victim/password".to_owned(),
            "/users/none/password",
            r#"{"new":"seven lanterns under the quiet bridge"}"#,
            404,
        ),
        "POST /users/{name}/login-link" => {
            act("/users/victim/login-link".to_owned(), "/users/none/login-link", "{}", 404)
        }
        "POST /tokens" => {
            let body = r#"{"name":"mallory","role":"admin"}"#;
            (("/tokens".to_owned(), body), ("/tokens".to_owned(), r#"{"name":"x"}"#), 400)
        }
        "DELETE /tokens/{id}" => ((format!("/tokens/{api_token}"), ""), ("/tokens/none".to_owned(), ""), 404),
        other => bail!("the route {other} is new: say here what a stranger must not do with it"),
    })
}

fn beside(key: &str, scene: &Scene) -> Result<Probes<'static>> {
    let same = |path: String, status: u16| ((path.clone(), ""), (path, ""), status);
    Ok(match key {
        "GET /" | "GET /login" | "GET /style.css" | "GET /-/healthy" | "GET /-/ready" | "GET /metrics"
        | "GET /password" => same(key.trim_start_matches("GET ").to_owned(), 200),
        "GET /incidents/{n}" => same(format!("/incidents/{}", scene.incident), 200),
        "GET /items" => same(format!("/items?id={}", e2e::client::percent(&scene.item)), 200),
        // Forms: refused without a proof of origin; with one they are tested by the login.
        "POST /login" | "POST /password" | "POST /logout" => same(key.trim_start_matches("POST ").to_owned(), 403),
        other => bail!("the route {other} is new: say here what a stranger must not do with it"),
    })
}

/// As [`api`], for the API after Prometheus: all of it reads, but for one.
fn prometheus(key: &str) -> Result<Probes<'static>> {
    let read = |path: &str, status: u16| ((path.to_owned(), ""), (path.to_owned(), ""), status);
    let range = "/api/v1/query_range?query=1&start=0&end=60&step=60";
    Ok(match key {
        "GET /api/v1/label/{name}/values" => read("/api/v1/label/host/values", 200),
        "GET /api/v1/query" | "POST /api/v1/query" => read("/api/v1/query?query=e2e_value", 200),
        "GET /api/v1/query_range" | "POST /api/v1/query_range" => read(range, 200),
        "GET /api/v1/query_exemplars" | "POST /api/v1/query_exemplars" => read("/api/v1/query_exemplars?query=up", 200),
        "GET /api/v1/format_query" | "POST /api/v1/format_query" => read("/api/v1/format_query?query=up", 200),
        "GET /api/v1/series" | "POST /api/v1/series" => read("/api/v1/series?match[]=e2e_value", 200),
        // Not in the form of remote write.
        "POST /api/v1/write" => read("/api/v1/write", 415),
        "POST /api/v1/labels" => read("/api/v1/labels", 200),
        get if get.starts_with("GET ") => read(get.trim_start_matches("GET "), 200),
        other => bail!("the route {other} is new: say here what a stranger must not do with it"),
    })
}
