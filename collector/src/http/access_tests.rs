//! Who gets in and who does not: every route as everybody, logins, sessions, tokens,
//! scopes, as browsers and tools send them.

use crate::http::routes::{Access, Kind, router, routes};
use crate::http::testing::{NOW, ask_as, door, far, json, recorded, root};
use crate::http::{App, Limits, Peer, Route};
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response, header};
use signalbox_access::{Principal, Role, authorize};
use signalbox_proto::api::{ApiError, Incident, Made, RulesReport, Status, WhoAmI};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use tower::ServiceExt;

const API: &str = "/api/signalbox/v1";
const GOOD: &str = "seven grey lamps over water";

fn read<T: serde::de::DeserializeOwned>(body: &str) -> T {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} in {body}"))
}

/// The path with something in place of its variable parts.
fn filled(route: &Route) -> String {
    let parts = route.path.split('/').map(|part| match part {
        "{n}" => "17",
        "{id}" | "{name}" | "{channel}" => "nothing",
        "{fingerprint}" => "00",
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// A request that a route understands as far as its form.
fn request_to(route: &Route) -> Request<Body> {
    let path = filled(route);
    if route.method == Method::GET {
        return Request::get(path).header("host", "localhost").body(Body::empty()).unwrap();
    }
    if route.kind == Kind::Page {
        return form(&path, "");
    }
    json(route.method.as_str(), &path, "{}")
}

fn form(path: &str, body: &str) -> Request<Body> {
    let request = Request::post(path).header("host", "localhost").header("origin", "http://localhost");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    request.body(Body::from(body.to_owned())).unwrap()
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).header("host", "localhost").body(Body::empty()).unwrap()
}

fn with(mut request: Request<Body>, name: &str, value: &str) -> Request<Body> {
    let name = header::HeaderName::try_from(name.to_owned()).unwrap();
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

fn location(response: &Response<()>) -> &str {
    response.headers().get(header::LOCATION).map_or("", |to| to.to_str().unwrap())
}

#[tokio::test]
async fn nobody_gets_in_anywhere_and_hears_the_same_everywhere() {
    let (app, record) = recorded();
    let mut bodies = BTreeSet::new();
    let mut n_denied = 0;
    for route in routes() {
        let (response, body) = ask_as(&app, far(false), request_to(&route)).await;
        let status = response.status().as_u16();
        let name = format!("{} {}", route.method, route.path);
        match (route.access, route.kind, &route.method) {
            (Access::Open, ..) => assert!(!matches!(status, 303 | 403), "{name}: {status} {body}"),
            (_, Kind::Page, &Method::GET) => {
                assert_eq!((status, location(&response).starts_with("/login")), (303, true), "{name}");
                n_denied += 1;
            }
            _ => {
                assert_eq!(status, 401, "{name}: {body}");
                bodies.insert(body);
                n_denied += 1;
            }
        }
    }
    for request in [get("/nothing"), get("/api/v1/nothing"), json("DELETE", &format!("{API}/status"), "{}")] {
        let (response, body) = ask_as(&app, far(false), request).await;
        assert_eq!(response.status(), 401);
        bodies.insert(body);
        n_denied += 1;
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    // Told, not waited for: an act that is waited for comes after them.
    assert_eq!(
        ask_as(&app, root(), json("POST", &format!("{API}/users"), "{\"name\":\"x\",\"role\":\"viewer\"}"))
            .await
            .0
            .status(),
        200
    );
    let record = record.lock().unwrap();
    let denials = record.iter().filter(|line| line.who == "-" && line.from == "192.0.2.7" && line.act != "log in");
    assert_eq!(denials.count(), n_denied, "every denial is on record");
}

#[tokio::test]
async fn each_role_gets_what_it_may_and_one_answer_for_all_else() {
    let accounts =
        [("eve", Role::Viewer), ("ada", Role::Operator), ("cyd", Role::ChangeManager), ("root", Role::Admin)];
    let mut bodies = BTreeSet::new();
    for (n, (user, role)) in (1000..).zip(accounts) {
        let (app, uid) = (door(), if user == "root" { 0 } else { n });
        let principal = Principal::local(user, role);
        for route in routes() {
            let peer = Peer::Local { uid, user: user.to_owned() };
            let (response, body) = ask_as(&app, peer, request_to(&route)).await;
            let may = match route.access {
                Access::Open | Access::Identity => true,
                Access::Needs(permission) | Access::NeedsFor(permission) => {
                    authorize(&principal, permission, None).is_ok()
                }
            };
            let status = response.status().as_u16();
            assert_eq!(status == 403, !may, "{user} {} {}: {status} {body}", route.method, route.path);
            assert!(status != 401 || route.access == Access::Open, "{user} {}: {body}", route.path);
            if status == 403 && route.kind != Kind::Page {
                bodies.insert(body);
            }
        }
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
}

#[tokio::test]
async fn an_account_without_a_role_is_nobody_and_a_bad_token_is_no_way_round() {
    let app = door();
    let whoami = || get(&format!("{API}/whoami"));
    let stranger = Peer::Local { uid: 1000, user: "mallory".to_owned() };
    assert_eq!(ask_as(&app, stranger, whoami()).await.0.status(), 401);
    let own = Peer::Local { uid: 999, user: "signalbox".to_owned() };
    let who: WhoAmI = read(&ask_as(&app, own, whoami()).await.1);
    assert_eq!(
        (who.name.as_str(), who.role, who.from.as_str()),
        ("local:signalbox", Some(Role::Admin), "unix:uid=999")
    );
    for bad in ["Bearer sba1.x", "Basic cm9vdDo=", "Bearer"] {
        let request = with(whoami(), "authorization", bad);
        let (response, body) = ask_as(&app, root(), request).await;
        assert_eq!(response.status(), 401, "{bad}");
        let error: ApiError = read(&body);
        assert!(error.error == "the token is not known" && error.remedy.contains("copy all of the token"), "{error:?}");
    }
}

/// Makes a user, follows the link, sets a password; gives the session's cookie.
async fn enter(app: &App, user: &str, role: &str, scope: &str) -> String {
    let new = format!("{{\"name\":\"{user}\",\"role\":\"{role}\",\"scope\":{scope}}}");
    let (made, body) = ask_as(app, root(), json("POST", &format!("{API}/users"), &new)).await;
    assert_eq!(made.status(), 200, "{body}");
    let link: Made = read(&ask_as(app, root(), json("POST", &format!("{API}/users/{user}/login-link"), "")).await.1);
    let code = link.secret.strip_prefix("http://127.0.0.1:8420/login?code=").unwrap().to_owned();
    for _ in 0..2 {
        let (seen, page) = ask_as(app, far(false), get(&format!("/login?code={code}"))).await;
        assert!(seen.status() == 200 && page.contains("lets you in once"), "a look does not use it");
    }
    let (entered, body) = ask_as(app, far(false), form("/login", &format!("code={code}"))).await;
    assert_eq!((entered.status().as_u16(), location(&entered)), (303, "/password"), "{body}");
    let cookie = cookie_of(&entered);
    let (again, _) = ask_as(app, far(false), form("/login", &format!("code={code}"))).await;
    assert_eq!(again.status(), 401, "a link is good once");
    let (page, _) = ask_as(app, far(false), with(get("/"), "cookie", &cookie)).await;
    assert_eq!((page.status().as_u16(), location(&page)), (303, "/password"), "first a password");
    let (early, _) = ask_as(app, far(false), with(get(&format!("{API}/status")), "cookie", &cookie)).await;
    assert_eq!(early.status(), 403, "nothing before a password is set");
    let set = |new: &str| with(form("/password", &format!("new={new}&again={new}")), "cookie", &cookie);
    let (weak, page) = ask_as(app, far(false), set("password1234")).await;
    assert!(weak.status() == 400 && page.contains("guessed too soon"), "{page}");
    let (good, page) = ask_as(app, far(false), set(&GOOD.replace(' ', "+"))).await;
    assert_eq!((good.status().as_u16(), location(&good)), (303, "/"), "{page}");
    cookie
}

fn cookie_of(response: &Response<()>) -> String {
    let line = response.headers()[header::SET_COOKIE].to_str().unwrap();
    assert!(line.contains("; HttpOnly; SameSite="), "{line}");
    line.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_person_comes_in_by_a_link_then_by_password_and_leaves() {
    let app = door();
    let cookie = enter(&app, "bob", "operator", "[]").await;
    let board = |cookie: &str| with(get("/"), "cookie", cookie);
    let (seen, page) = ask_as(&app, far(false), board(&cookie)).await;
    assert!(seen.status() == 200 && page.contains("Log out") && page.contains("bob"), "{page}");
    let login = format!("name=bob&password={}&next=%2Fincidents%2F17", GOOD.replace(' ', "+"));
    let (entered, _) = ask_as(&app, far(false), with(form("/login", &login), "cookie", &cookie)).await;
    assert_eq!((entered.status().as_u16(), location(&entered)), (303, "/incidents/17"));
    let fresh = cookie_of(&entered);
    assert_ne!(fresh, cookie);
    assert_eq!(ask_as(&app, far(false), board(&cookie)).await.0.status(), 303, "a login ends the session before it");
    assert_eq!(ask_as(&app, far(false), board(&fresh)).await.0.status(), 200);
    assert_eq!(ask_as(&app, far(true), board(&fresh)).await.0.status(), 303, "a plain cookie is none inside TLS");
    let (left, _) = ask_as(&app, far(false), with(form("/logout", ""), "cookie", &fresh)).await;
    assert_eq!((left.status().as_u16(), location(&left)), (303, "/login"));
    assert_eq!(ask_as(&app, far(false), board(&fresh)).await.0.status(), 303);
}

#[tokio::test]
async fn a_disabled_user_is_out_at_once() {
    let app = door();
    let cookie = enter(&app, "bob", "viewer", "[]").await;
    let status = || with(get(&format!("{API}/status")), "cookie", &cookie);
    assert_eq!(ask_as(&app, far(false), status()).await.0.status(), 200);
    ask_as(&app, root(), json("POST", &format!("{API}/users/bob/disable"), "")).await;
    assert_eq!(ask_as(&app, far(false), status()).await.0.status(), 401);
    let login = format!("{{\"name\":\"bob\",\"password\":\"{GOOD}\"}}");
    assert_eq!(ask_as(&app, far(false), json("POST", &format!("{API}/login"), &login)).await.0.status(), 401);
}

#[tokio::test]
async fn a_tool_logs_in_for_a_token_and_out_again() {
    let app = door();
    enter(&app, "bob", "operator", "[]").await;
    let login = format!("{{\"name\":\"bob\",\"password\":\"{GOOD}\",\"purpose\":\"laptop\"}}");
    let (response, body) = ask_as(&app, far(true), json("POST", &format!("{API}/login"), &login)).await;
    assert_eq!(response.status(), 200, "{body}");
    let made: Made = read(&body);
    assert!(made.secret.starts_with("sba1.") && made.expires > NOW);
    let bearer = format!("Bearer {}", made.secret);
    let whoami = || with(get(&format!("{API}/whoami")), "authorization", &bearer);
    let who: WhoAmI = read(&ask_as(&app, far(true), whoami()).await.1);
    assert_eq!((who.name.as_str(), who.kind.as_str(), who.from.as_str()), ("bob", "user", "192.0.2.7"));
    let logout = with(json("POST", &format!("{API}/logout"), ""), "authorization", &bearer);
    assert_eq!(ask_as(&app, far(true), logout).await.0.status(), 200);
    assert_eq!(ask_as(&app, far(true), whoami()).await.0.status(), 401);
    let (socket, _) = ask_as(&app, root(), json("POST", &format!("{API}/logout"), "")).await;
    assert_eq!(socket.status(), 409, "the kernel knows root; there is nothing to end");
}

#[tokio::test]
async fn failed_logins_say_nothing_and_then_have_to_wait() {
    let app = door();
    enter(&app, "bob", "viewer", "[]").await;
    let login = |name: &str| {
        json("POST", &format!("{API}/login"), &format!("{{\"name\":\"{name}\",\"password\":\"wrong wrong wrong\"}}"))
    };
    let mut bodies = BTreeSet::new();
    for name in ["bob", "nobody-of-this-name"] {
        for _ in 0..5 {
            let (response, body) = ask_as(&app, far(true), login(name)).await;
            assert_eq!(response.status(), 401, "{body}");
            bodies.insert(body);
        }
        let (response, body) = ask_as(&app, far(true), login(name)).await;
        assert_eq!(response.status(), 429, "{body}");
        assert_eq!(response.headers()[header::RETRY_AFTER], "180");
    }
    assert_eq!(bodies.len(), 1, "whether a user exists is not told: {bodies:?}");
    let other = Peer::Tcp { ip: "192.0.2.8".parse().unwrap(), is_tls: true };
    assert_eq!(ask_as(&app, other, login("bob")).await.0.status(), 401, "others are not held up");
}

#[tokio::test]
async fn a_service_token_does_what_it_lists_and_nothing_for_people() {
    let app = door();
    let new = "{\"name\":\"prometheus\",\"permissions\":[\"read_metrics\"],\"ttl\":\"30d\"}";
    let made: Made = read(&ask_as(&app, root(), json("POST", &format!("{API}/tokens"), new)).await.1);
    let ask = |path: &str| with(get(path), "authorization", &format!("Bearer {}", made.secret));
    assert_eq!(ask_as(&app, far(true), ask("/metrics")).await.0.status(), 200);
    for path in ["/", &format!("{API}/status"), &format!("{API}/users"), "/password"] {
        assert_eq!(ask_as(&app, far(true), ask(path)).await.0.status(), 403, "{path}");
    }
    let listed = ask_as(&app, root(), get(&format!("{API}/tokens"))).await.1;
    assert!(listed.contains("prometheus") && !listed.contains(&made.secret[5..]), "{listed}");
    ask_as(&app, root(), json("DELETE", &format!("{API}/tokens/{}", made.id), "")).await;
    assert_eq!(ask_as(&app, far(true), ask("/metrics")).await.0.status(), 401);
    for bad in [
        "{\"name\":\"x\",\"ttl\":\"1d\"}",
        "{\"name\":\"x\",\"role\":\"viewer\",\"permissions\":[\"read_metrics\"]}",
        "{\"name\":\"x\",\"permissions\":[\"everything\"]}",
        "{\"name\":\"x\",\"role\":\"viewer\",\"ttl\":\"3650d\"}",
        "{\"name\":\"x\",\"role\":\"viewer\",\"scope\":[\"{\"]}",
    ] {
        let (response, body) = ask_as(&app, root(), json("POST", &format!("{API}/tokens"), bad)).await;
        assert_eq!(response.status(), 400, "{bad}: {body}");
    }
}

#[tokio::test]
async fn what_is_out_of_scope_does_not_exist() {
    let (app, record) = recorded();
    let cookie = enter(&app, "bob", "operator", "[\"{owner=\\\"dba\\\"}\"]").await;
    let ask = |request: Request<Body>| {
        ask_as(&app, far(false), with(with(request, "cookie", &cookie), "sec-fetch-site", "same-origin"))
    };
    let status: Status = read(&ask(get(&format!("{API}/status"))).await.1);
    assert_eq!(status.entities.iter().map(|entity| entity.id.as_str()).collect::<Vec<_>>(), ["host/db1"]);
    let incidents: Vec<Incident> = read(&ask(get(&format!("{API}/incidents?state=all"))).await.1);
    assert!(incidents.is_empty());
    let words = |n: u64, body: &str| body.replace(&format!("INC-{n}"), "INC-N");
    for (method, verb) in [("GET", ""), ("POST", "/ack"), ("POST", "/close")] {
        let path = |n: u64| format!("{API}/incidents/{n}{verb}");
        let request = |n| if method == "GET" { get(&path(n)) } else { json(method, &path(n), "{}") };
        let (hidden, there) = ask(request(17)).await;
        let (absent, not_there) = ask(request(99)).await;
        assert_eq!((hidden.status().as_u16(), absent.status().as_u16()), (404, 404), "{verb}");
        assert_eq!(words(17, &there), words(99, &not_there), "{verb}");
    }
    for (method, path, body) in [
        ("POST", "/agents/web1/retire", "{}"),
        ("POST", "/snoozes", "{\"scope\":\"host/web1\",\"for\":\"1h\",\"reason\":\"r\"}"),
        ("POST", "/snoozes", "{\"scope\":\"{host=~\\\".*1\\\"}\",\"for\":\"1h\",\"reason\":\"r\"}"),
        ("DELETE", "/snoozes/2", "{}"),
    ] {
        let (response, body) = ask(json(method, &format!("{API}{path}"), body)).await;
        assert_eq!(response.status(), 404, "{path} {body}");
    }
    assert_eq!(ask(get(&format!("{API}/explain?item=host/web1"))).await.0.status(), 404);
    assert_eq!(ask(get("/incidents/17")).await.0.status(), 404);
    let page = ask(get("/")).await.1;
    assert!(page.contains("host&#x2f;db1") && !page.contains("web1") && !page.contains("INC-17"), "{page}");
    // A role with a scope does not reach what is about everything.
    let (response, body) = ask(json("POST", &format!("{API}/notify/test/mail"), "")).await;
    let error: ApiError = read(&body);
    assert_eq!(response.status(), 403);
    let why = "your role allows this, the scope of bob does not: test_channels is needed beyond {owner=\"dba\"}";
    assert!(error.error == why && error.remedy.contains("--scope"), "{error:?}");
    assert!(record.lock().unwrap().iter().any(|line| line.who == "bob" && line.object == "INC-17"));
}

#[tokio::test]
async fn inside_tls_the_cookie_and_the_headers_say_so() {
    let app = door();
    enter(&app, "bob", "viewer", "[]").await;
    let login = format!("name=bob&password={}", GOOD.replace(' ', "+"));
    let request = with(form("/login", &login), "origin", "https://localhost");
    let (entered, body) = ask_as(&app, far(true), request).await;
    assert_eq!(entered.status(), 303, "{body}");
    let line = entered.headers()[header::SET_COOKIE].to_str().unwrap();
    assert!(line.starts_with("__Host-signalbox=") && line.contains("; Secure; "), "{line}");
    assert_eq!(entered.headers()[header::STRICT_TRANSPORT_SECURITY], "max-age=31536000");
    let cookie = cookie_of(&entered);
    assert_eq!(ask_as(&app, far(true), with(get("/"), "cookie", &cookie)).await.0.status(), 200);
    let (plain, _) = ask_as(&app, far(false), get("/-/healthy")).await;
    assert!(!plain.headers().contains_key(header::STRICT_TRANSPORT_SECURITY));
}

#[tokio::test]
async fn another_sites_page_cannot_use_a_session() {
    let app = door();
    let cookie = enter(&app, "bob", "operator", "[]").await;
    let bare = || with(json("POST", &format!("{API}/incidents/17/ack"), "{}"), "cookie", &cookie);
    assert_eq!(ask_as(&app, far(false), bare()).await.0.status(), 403, "it does not say from which page");
    let ack = || with(bare(), "sec-fetch-site", "same-origin");
    assert_eq!(ask_as(&app, far(false), ack()).await.0.status(), 200);
    assert_eq!(ask_as(&app, far(false), with(ack(), "origin", "http://evil.example")).await.0.status(), 403);
    assert_eq!(ask_as(&app, far(false), with(ack(), "sec-fetch-site", "cross-site")).await.0.status(), 403);
    assert_eq!(ask_as(&app, far(false), with(ack(), "content-type", "text/plain")).await.0.status(), 415);
    let logout = with(form("/logout", ""), "origin", "http://evil.example");
    assert_eq!(ask_as(&app, far(false), with(logout, "cookie", &cookie)).await.0.status(), 403);
}

#[tokio::test]
async fn a_join_token_carries_the_pin_and_is_told_once() {
    let app = door();
    let new = "{\"ttl\":\"1h\",\"uses\":1,\"labels\":{\"site\":\"b\"},\"cidrs\":[\"192.0.2.0/24\",\"192.0.2.9\"]}";
    let (response, body) = ask_as(&app, root(), json("POST", &format!("{API}/join-tokens"), new)).await;
    assert_eq!(response.status(), 200, "{body}");
    let made: Made = read(&body);
    let token = signalbox_proto::join::JoinToken::parse(&made.secret).unwrap();
    assert_eq!(token.pin(), app.door.settings.tls.pin());
    assert_eq!(made.command, "signalbox-agent join https://box.example.org:8441");
    let listed = ask_as(&app, root(), get(&format!("{API}/join-tokens"))).await.1;
    assert!(listed.contains(&made.id) && listed.contains("192.0.2.9/32") && !listed.contains(&made.secret), "{listed}");
    let error: ApiError =
        read(&ask_as(&app, root(), json("POST", &format!("{API}/join-tokens"), "{\"cidrs\":[\"x\"]}")).await.1);
    assert!(error.error.contains("\"x\" is no network"), "{error:?}");
}

#[tokio::test]
async fn a_request_of_another_site_is_on_record_and_what_it_says_is_cut() {
    let (app, record) = recorded();
    let cross = with(json("POST", &format!("{API}/reload"), ""), "origin", "https://evil.example");
    assert_eq!(ask_as(&app, far(false), cross).await.0.status(), 403);
    let login = format!("{{\"name\":\"{}\",\"password\":\"x\"}}", "n".repeat(100_000));
    assert_eq!(ask_as(&app, far(false), json("POST", &format!("{API}/login"), &login)).await.0.status(), 401);
    // Answered after the denials before it: the inbox keeps their order.
    ask_as(&app, root(), json("POST", &format!("{API}/users"), "{\"name\":\"bob\",\"role\":\"viewer\"}")).await;
    let lines = record.lock().unwrap().clone();
    assert!(
        lines[0].act == "POST" && lines[0].object.ends_with("/reload") && lines[0].from == "192.0.2.7",
        "{lines:?}"
    );
    assert!(lines[0].result.contains("another origin"), "{lines:?}");
    assert!(
        lines[1].object.starts_with("user:nnn") && lines[1].object.chars().count() < 300,
        "{}",
        lines[1].object.len()
    );
}

#[tokio::test]
async fn strangers_who_hold_every_place_do_not_keep_this_host_out() {
    let limits = Limits { requests: 1, ..Limits::default() };
    let mut app = door();
    Arc::get_mut(&mut app.door).unwrap().settings.limits = limits;
    let router = router(app);
    let ask = |peer: Peer, body: Body| {
        let request = Request::post(format!("{API}/login")).header("host", "localhost");
        let mut request = request.header("content-type", "application/json").body(body).unwrap();
        request.extensions_mut().insert(peer);
        router.clone().oneshot(request)
    };
    // A body that never comes.
    let slow =
        tokio::spawn(ask(far(false), Body::from_stream(futures::stream::pending::<Result<Bytes, Infallible>>())));
    while ask(far(false), Body::empty()).await.unwrap().status() != 503 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(root(), Body::empty()).await.unwrap().status(), 400);
    slow.abort();
}

#[tokio::test]
async fn a_check_of_rules_tells_nothing_of_series_out_of_scope() {
    let app = door();
    let cookie = enter(&app, "bob", "operator", "[\"{owner=\\\"dba\\\"}\"]").await;
    let rule = |host: &str| {
        format!(
            "rules: [{{id: x, description: d, selector: 'node_load1{{host=\"{host}\"}}', levels: red_green, red: '> 1', \
             raise_for: 10s, summary: s, owner: ops, sop: look}}]"
        )
    };
    let mut reports = Vec::new();
    for host in ["db1", "web1", "nowhere"] {
        let body = serde_json::json!({ "files": { "rules/x.yaml": rule(host) } }).to_string();
        let request = |cookie: &str| {
            let request = with(json("POST", &format!("{API}/rules/check"), &body), "cookie", cookie);
            with(request, "sec-fetch-site", "same-origin")
        };
        let scoped: RulesReport = read(&ask_as(&app, far(false), request(&cookie)).await.1);
        let whole: RulesReport = read(&ask_as(&app, root(), request("")).await.1);
        assert_eq!(scoped.n_rules, 1, "{scoped:?}");
        reports.push((scoped.n_selected, whole.n_selected, scoped.findings.len() - whole.findings.len()));
    }
    assert_eq!(reports, [(1, 1, 0), (0, 1, 1), (0, 0, 0)]);
}

#[tokio::test]
async fn a_reload_is_on_record_before_it_is_done() {
    let (app, record) = recorded();
    // Nobody reloads in this rig: the request is refused after it began.
    ask_as(&app, root(), json("POST", &format!("{API}/reload"), "")).await;
    let lines = record.lock().unwrap().clone();
    let said: Vec<&str> = lines.iter().map(|line| line.result.split(':').next().unwrap_or_default()).collect();
    assert_eq!(said, ["begins", "refused"], "{lines:?}");
    assert!(lines.iter().all(|line| line.act == "reload" && line.who == "local:root"), "{lines:?}");
}

#[tokio::test]
async fn a_test_of_a_channel_is_on_record_with_what_came_of_it() {
    let (app, record) = recorded();
    let text = "channels: [{name: hook, webhook: {url: 'http://127.0.0.1:9/'}}]";
    let files = BTreeMap::from([("notify.yaml".to_owned(), text.to_owned())]);
    app.notifiers.put_in_force(app.notifiers.prepare(&files).unwrap());
    // Nothing listens on the discard port, or says no: either way the server did not take it.
    ask_as(&app, root(), json("POST", &format!("{API}/notify/test/hook"), "")).await;
    let lines = record.lock().unwrap().clone();
    let said: Vec<&str> = lines.iter().map(|line| line.result.split(':').next().unwrap_or_default()).collect();
    assert_eq!(said, ["begins", "not accepted"], "{lines:?}");
    assert!(lines.iter().all(|line| line.object == "channel:hook"), "{lines:?}");
}
