//! Every kind of caller, and what it may do by the documentation (docs/reference-api.md),
//! written down here a second time on purpose.

use super::Expected;
use super::surfaces::{Needs, Probe, Surface};
use anyhow::Result;
use e2e::client::Client;
use e2e::people::{api_token, session};
use e2e::process::Collector;
use signalbox_collector::http::Kind;
use std::time::Duration;

/// Somebody.
pub(super) struct Caller {
    /// For messages.
    pub(super) name: String,
    client: Client,
    is: Is,
}

/// What the collector must take somebody for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    /// Nobody at all.
    Nobody,
    /// Stopped before anybody looks who it is.
    Foreign,
    /// Somebody with these permissions.
    Known(&'static [&'static str]),
    /// As [`Is::Known`], for objects that do not exist here.
    Scoped(&'static [&'static str]),
}

const VIEWER: &[&str] = &["read_status", "read_history", "read_incidents", "read_metrics", "own_session"];
const OPERATOR: &[&str] = &[
    "read_status",
    "read_history",
    "read_incidents",
    "read_metrics",
    "own_session",
    "act_incidents",
    "snooze",
    "retire_agents",
    "check_rules",
    "test_channels",
];
const CHANGE_MANAGER: &[&str] = &[
    "read_status",
    "read_history",
    "read_incidents",
    "read_metrics",
    "own_session",
    "act_incidents",
    "snooze",
    "retire_agents",
    "check_rules",
    "test_channels",
    "reload_config",
];
const ADMIN: &[&str] = &[
    "read_status",
    "read_history",
    "read_incidents",
    "read_metrics",
    "own_session",
    "act_incidents",
    "snooze",
    "retire_agents",
    "check_rules",
    "test_channels",
    "reload_config",
    "write_samples",
    "manage_agents",
    "manage_users",
    "read_audit",
];
/// What a scoped caller may use without naming an object.
const FILTERED: &[&str] =
    &["read_status", "read_history", "read_incidents", "read_metrics", "check_rules", "own_session"];

fn token_of(role: &str) -> Is {
    // As the role, less what is for people; the lists are short enough to be written out.
    Is::Known(match role {
        "viewer" => &VIEWER[..4],
        "operator" => &[
            "read_status",
            "read_history",
            "read_incidents",
            "read_metrics",
            "act_incidents",
            "snooze",
            "retire_agents",
            "check_rules",
            "test_channels",
        ],
        "change_manager" => &[
            "read_status",
            "read_history",
            "read_incidents",
            "read_metrics",
            "act_incidents",
            "snooze",
            "retire_agents",
            "check_rules",
            "test_channels",
            "reload_config",
        ],
        _ => &[
            "read_status",
            "read_history",
            "read_incidents",
            "read_metrics",
            "act_incidents",
            "snooze",
            "retire_agents",
            "check_rules",
            "test_channels",
            "reload_config",
            "write_samples",
            "manage_agents",
            "read_audit",
        ],
    })
}

/// All of them.
pub(super) fn callers(collector: &Collector) -> Result<Vec<Caller>> {
    let (admin, tcp) = (collector.client(), collector.stranger());
    let caller = |name: &str, client: Client, is: Is| Caller { name: name.to_owned(), client, is };
    let mut all = vec![
        caller("nobody", tcp.clone(), Is::Nobody),
        caller("a garbage token", tcp.clone().with_token("sba1.AAAA"), Is::Nobody),
        caller("basic authentication", tcp.clone().with("authorization: Basic YWRtaW46YWRtaW4="), Is::Nobody),
        caller("a garbage cookie", tcp.clone().with("cookie: signalbox_session=AAAA"), Is::Nobody),
        caller("root of this host", admin.clone(), Is::Known(ADMIN)),
        caller("root with a garbage token", admin.clone().with_token("sba1.AAAA"), Is::Nobody),
        caller("a foreign host name", admin.clone().with("host: evil.example"), Is::Foreign),
    ];
    for role in ["viewer", "operator", "change_manager", "admin"] {
        let made =
            api_token(collector, &serde_json::json!({ "name": format!("t-{role}"), "role": role, "ttl": "1h" }))?;
        all.push(caller(&format!("a token of a {role}"), tcp.clone().with_token(&made.secret), token_of(role)));
        let own = session(collector, &format!("s-{role}"), role)?;
        let may = match role {
            "viewer" => VIEWER,
            "operator" => OPERATOR,
            "change_manager" => CHANGE_MANAGER,
            _ => ADMIN,
        };
        all.push(caller(&format!("a session of a {role}"), tcp.clone().with(&own), Is::Known(may)));
        if role == "admin" {
            let cross = tcp.clone().with(&own).with("origin: https://evil.example").with("sec-fetch-site: cross-site");
            all.push(caller("another site with an admin's cookie", cross, Is::Foreign));
        }
    }
    let metrics = serde_json::json!({ "name": "t-metrics", "permissions": ["read_metrics"], "ttl": "1h" });
    let made = api_token(collector, &metrics)?;
    all.push(caller("a token for metrics", tcp.clone().with_token(&made.secret), Is::Known(&["read_metrics"])));
    let writer = serde_json::json!({ "name": "t-writer", "permissions": ["write_samples"], "ttl": "1h" });
    let made = api_token(collector, &writer)?;
    all.push(caller("a token for samples", tcp.clone().with_token(&made.secret), Is::Known(&["write_samples"])));
    let scoped =
        serde_json::json!({ "name": "t-scoped", "role": "operator", "scope": ["{host=\"elsewhere\"}"], "ttl": "1h" });
    let made = api_token(collector, &scoped)?;
    let may = match token_of("operator") {
        Is::Known(may) => may,
        _ => &[],
    };
    all.push(caller("an operator's token for other hosts", tcp.clone().with_token(&made.secret), Is::Scoped(may)));
    all.extend(ended(collector, &tcp)?);
    Ok(all)
}

/// Those who were somebody once.
fn ended(collector: &Collector, tcp: &Client) -> Result<Vec<Caller>> {
    let admin = collector.client();
    let nobody = |name: &str, client: Client| Caller { name: name.to_owned(), client, is: Is::Nobody };
    let wanted = |name: &str, ttl: &str| serde_json::json!({ "name": name, "role": "admin", "ttl": ttl });
    let revoked = api_token(collector, &wanted("t-revoked", "1h"))?;
    admin.send("DELETE", &format!("/api/signalbox/v1/tokens/{}", revoked.id), &[], "")?;
    let expired = api_token(collector, &wanted("t-expired", "1s"))?;
    let disabled = session(collector, "s-disabled", "admin")?;
    admin.post("/users/s-disabled/disable", &serde_json::json!({}))?;
    let left = session(collector, "s-left", "admin")?;
    let headers = ["content-type: application/json", "sec-fetch-site: same-origin"];
    tcp.clone().with(&left).send("POST", "/api/signalbox/v1/logout", &headers, "{}")?;
    std::thread::sleep(Duration::from_millis(1500));
    Ok(vec![
        nobody("a revoked token", tcp.clone().with_token(&revoked.secret)),
        nobody("an expired token", tcp.clone().with_token(&expired.secret)),
        nobody("a session of a disabled user", tcp.clone().with(&disabled)),
        nobody("a session that was left", tcp.clone().with(&left)),
    ])
}

impl Caller {
    /// Asks, and gives the status.
    pub(super) fn ask(&self, method: &str, probe: &Probe) -> Result<u16> {
        let mut headers = Vec::new();
        if !probe.body.is_empty() {
            headers.push("content-type: application/json");
        }
        // As a page of ours asks: what a cookie changes must say from where it comes.
        if probe.path.starts_with("/api/") && self.is != Is::Foreign {
            headers.push("sec-fetch-site: same-origin");
        }
        Ok(self.client.send(method, &probe.path, &headers, &probe.body)?.status)
    }

    /// What this caller must be answered.
    pub(super) fn expects(&self, surface: &Surface) -> Expected {
        if self.is == Is::Foreign {
            return Expected::Refused(403);
        }
        // A form that does not prove that it is ours is refused before all else.
        if surface.is_form {
            return Expected::Refused(403);
        }
        let needed = match &surface.needs {
            Needs::Nothing => return Expected::Allowed(surface.allowed),
            Needs::Identity => None,
            Needs::Permission(word) => Some(word.as_str()),
        };
        let (may, is_scoped) = match self.is {
            Is::Nobody if surface.kind == Kind::Page => return Expected::Denied(303),
            Is::Nobody | Is::Foreign => return Expected::Denied(401),
            Is::Known(may) => (may, false),
            Is::Scoped(may) => (may, true),
        };
        match needed {
            None => Expected::Allowed(surface.allowed),
            Some(word) if !may.contains(&word) => Expected::Denied(403),
            // The object is not there for them; nor is the right for all objects.
            Some(_) if is_scoped && surface.is_for_object => Expected::Refused(404),
            Some(word) if is_scoped && !FILTERED.contains(&word) => Expected::Denied(403),
            Some(_) => Expected::Allowed(surface.allowed),
        }
    }
}
