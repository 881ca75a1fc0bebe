//! Every route that exists, in one table, with the permission that it needs.
//!
//! [`Route`] cannot be made without an [`Access`], and [`router`] registers nothing
//! but the table: a route without a permission does not compile. The table is data
//! ([`routes`]), so that a test can ask every route as everybody.

use crate::http::auth::{gate, identify};
use crate::http::error::Failure;
use crate::http::extract::BodyLimit;
use crate::http::guard::{Slots, guard};
use crate::http::{API_ROOT, App, api, login, openapi, page, probes, prometheus};
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware;
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Extension, Router};
use signalbox_access::Permission;
use std::fmt;

/// Who may ask a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Everybody who is known.
    Identity,
    /// Who has this permission, for all that the answer shows.
    Needs(Permission),
    /// Who has this permission for the object that the handler names to
    /// [`crate::http::scope`].
    NeedsFor(Permission),
}

/// `open`, `identity`, or the permission's word.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Access::Open => f.write_str("open"),
            Access::Identity => f.write_str("identity"),
            Access::Needs(permission) | Access::NeedsFor(permission) => permission.fmt(f),
        }
    }
}

/// What kind of answer a route gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// JSON; below [`API_ROOT`].
    Api,
    /// JSON as Prometheus writes it; below [`prometheus::ROOT`].
    Prometheus,
    /// HTML for a browser: who is not known is led to the login.
    Page,
    /// Text for machines.
    Plain,
}

/// One route.
pub struct Route {
    /// Method.
    pub method: Method,
    /// The whole path, with `{names}` for its variable parts.
    pub path: String,
    /// Who may ask it.
    pub access: Access,
    /// What kind of answer it gives.
    pub kind: Kind,
    handler: MethodRouter<App>,
}

impl Route {
    fn new<H, T>(kind: Kind, method: Method, path: &str, access: Access, handler: H) -> Route
    where
        H: Handler<T, App>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("a method of HTTP/1.1");
        let root = match kind {
            Kind::Api => API_ROOT,
            Kind::Prometheus => prometheus::ROOT,
            Kind::Page | Kind::Plain => "",
        };
        Route { method, path: format!("{root}{path}"), access, kind, handler: on(filter, handler) }
    }
}

fn api<H: Handler<T, App>, T: 'static>(method: Method, path: &str, access: Access, handler: H) -> Route {
    Route::new(Kind::Api, method, path, access, handler)
}

/// The whole table.
pub fn routes() -> Vec<Route> {
    let mut table = reading();
    table.extend(acting());
    table.extend(letting_agents_in());
    table.extend(letting_people_in());
    table.extend(as_prometheus());
    table.extend(beside_the_api());
    table
}

fn reading() -> Vec<Route> {
    use Access::{Identity, Needs, NeedsFor};
    use Permission::{CheckRules, ReadHistory, ReadIncidents, ReadStatus};
    vec![
        api(Method::GET, "/status", Needs(ReadStatus), api::board::status),
        api(Method::GET, "/agents", Needs(ReadStatus), api::board::agents),
        api(Method::GET, "/incidents", Needs(ReadIncidents), api::board::incidents),
        api(Method::GET, "/incidents/{n}", NeedsFor(ReadIncidents), api::board::incident),
        api(Method::GET, "/snoozes", Needs(ReadIncidents), api::board::snoozes),
        api(Method::GET, "/query", Needs(ReadHistory), api::history::query),
        api(Method::GET, "/explain", NeedsFor(ReadHistory), api::history::explain),
        api(Method::POST, "/rules/check", Needs(CheckRules), api::config::check_rules),
        api(Method::GET, "/notify/channels", Needs(ReadStatus), api::config::channels),
        api(Method::GET, "/openapi.json", Identity, openapi::document),
        api(Method::GET, "/doctor", Needs(ReadStatus), api::own::doctor),
    ]
}

fn acting() -> Vec<Route> {
    use Access::{Needs, NeedsFor};
    use Permission::{ActIncidents, ReloadConfig, RetireAgents, Snooze, TestChannels};
    vec![
        api(Method::POST, "/agents/{id}/retire", NeedsFor(RetireAgents), api::acts::retire),
        api(Method::POST, "/incidents/{n}/ack", NeedsFor(ActIncidents), api::acts::acknowledge),
        api(Method::POST, "/incidents/{n}/assign", NeedsFor(ActIncidents), api::acts::assign),
        api(Method::POST, "/incidents/{n}/note", NeedsFor(ActIncidents), api::acts::note),
        api(Method::POST, "/incidents/{n}/close", NeedsFor(ActIncidents), api::acts::close),
        api(Method::POST, "/snoozes", NeedsFor(Snooze), api::acts::snooze),
        api(Method::DELETE, "/snoozes/{id}", NeedsFor(Snooze), api::acts::end_snooze),
        api(Method::POST, "/reload", Needs(ReloadConfig), api::config::reload),
        api(Method::POST, "/notify/test/{channel}", Needs(TestChannels), api::config::test_channel),
    ]
}

fn letting_agents_in() -> Vec<Route> {
    use Access::{Needs, NeedsFor};
    use Permission::ManageAgents;
    vec![
        api(Method::GET, "/join-tokens", Needs(ManageAgents), api::joining::join_tokens),
        api(Method::POST, "/join-tokens", Needs(ManageAgents), api::joining::new_join_token),
        api(Method::DELETE, "/join-tokens/{id}", Needs(ManageAgents), api::joining::revoke_join_token),
        api(Method::GET, "/agents/pending", Needs(ManageAgents), api::joining::pending),
        api(Method::POST, "/agents/pending/{fingerprint}/approve", Needs(ManageAgents), api::joining::approve),
        api(Method::POST, "/agents/pending/{fingerprint}/reject", Needs(ManageAgents), api::joining::reject),
        api(Method::GET, "/agents/keys", Needs(ManageAgents), api::joining::keys),
        api(Method::POST, "/agents/{id}/revoke", NeedsFor(ManageAgents), api::joining::revoke),
        api(Method::GET, "/ca", Needs(ManageAgents), api::joining::ca),
        api(Method::POST, "/ca/rotate", Needs(ManageAgents), api::joining::rotate_ca),
        api(Method::POST, "/ca/drop", Needs(ManageAgents), api::joining::drop_ca),
    ]
}

fn letting_people_in() -> Vec<Route> {
    use Access::{Identity, Needs, Open};
    use Permission::{ManageUsers, OwnSession, ReadAudit};
    vec![
        api(Method::GET, "/whoami", Identity, api::own::whoami),
        api(Method::POST, "/login", Open, api::own::login),
        api(Method::POST, "/logout", Identity, api::own::logout),
        api(Method::POST, "/password", Needs(OwnSession), api::own::password),
        api(Method::GET, "/users", Needs(ManageUsers), api::users::users),
        api(Method::POST, "/users", Needs(ManageUsers), api::users::add),
        api(Method::POST, "/users/{name}/disable", Needs(ManageUsers), api::users::disable),
        api(Method::POST, "/users/{name}/enable", Needs(ManageUsers), api::users::enable),
        api(Method::POST, "/users/{name}/role", Needs(ManageUsers), api::users::role),
        api(Method::POST, "/users/{name}/password", Needs(ManageUsers), api::users::password),
        api(Method::POST, "/users/{name}/login-link", Needs(ManageUsers), api::users::login_link),
        api(Method::GET, "/tokens", Needs(ManageUsers), api::users::tokens),
        api(Method::POST, "/tokens", Needs(ManageUsers), api::users::new_token),
        api(Method::DELETE, "/tokens/{id}", Needs(ManageUsers), api::users::revoke_token),
        api(Method::GET, "/audit", Needs(ReadAudit), api::audit::lines),
        api(Method::GET, "/audit/verify", Needs(ReadAudit), api::audit::verify),
    ]
}

fn as_prometheus() -> Vec<Route> {
    use Access::Needs;
    use Permission::{ReadHistory, ReadStatus, WriteSamples};
    use prometheus::{listings, query, rules, status, write};
    let get = Method::GET;
    let table = vec![
        Route::new(Kind::Prometheus, Method::POST, "/write", Needs(WriteSamples), write::write),
        Route::new(Kind::Prometheus, get.clone(), "/label/{name}/values", Needs(ReadHistory), listings::values),
        Route::new(Kind::Prometheus, get.clone(), "/metadata", Needs(ReadHistory), listings::metadata),
        Route::new(Kind::Prometheus, get.clone(), "/rules", Needs(ReadStatus), rules::rules),
        Route::new(Kind::Prometheus, get.clone(), "/alerts", Needs(ReadStatus), rules::alerts),
        Route::new(Kind::Prometheus, get.clone(), "/status/buildinfo", Needs(ReadHistory), status::build_info),
        Route::new(Kind::Prometheus, get.clone(), "/status/tsdb", Needs(ReadHistory), status::tsdb),
    ];
    // What may be long comes as a form, too.
    let both = [get, Method::POST].into_iter().flat_map(|method| {
        let needs = Needs(ReadHistory);
        [
            Route::new(Kind::Prometheus, method.clone(), "/query", needs, query::instant),
            Route::new(Kind::Prometheus, method.clone(), "/query_range", needs, query::range),
            Route::new(Kind::Prometheus, method.clone(), "/query_exemplars", needs, query::exemplars),
            Route::new(Kind::Prometheus, method.clone(), "/format_query", needs, query::format),
            Route::new(Kind::Prometheus, method.clone(), "/labels", needs, listings::labels),
            Route::new(Kind::Prometheus, method, "/series", needs, listings::sets),
        ]
    });
    table.into_iter().chain(both).collect()
}

fn beside_the_api() -> Vec<Route> {
    use Access::{Identity, Needs, NeedsFor, Open};
    use Permission::{OwnSession, ReadHistory, ReadIncidents, ReadMetrics, ReadStatus};
    let page = Kind::Page;
    vec![
        Route::new(page, Method::GET, "/", Needs(ReadStatus), page::board),
        Route::new(page, Method::GET, "/incidents/{n}", NeedsFor(ReadIncidents), page::incident),
        Route::new(page, Method::GET, "/items", NeedsFor(ReadHistory), page::item),
        Route::new(page, Method::GET, "/login", Open, login::form),
        Route::new(page, Method::POST, "/login", Open, login::enter),
        Route::new(page, Method::GET, "/password", Needs(OwnSession), login::password_form),
        Route::new(page, Method::POST, "/password", Needs(OwnSession), login::set_password),
        Route::new(page, Method::POST, "/logout", Identity, login::leave),
        Route::new(Kind::Plain, Method::GET, "/style.css", Open, page::style),
        Route::new(Kind::Plain, Method::GET, "/-/healthy", Open, probes::healthy),
        Route::new(Kind::Plain, Method::GET, "/-/ready", Open, probes::ready),
        Route::new(Kind::Plain, Method::GET, "/metrics", Needs(ReadMetrics), probes::metrics),
    ]
}

/// All routes behind the guard, each behind its own gate.
pub fn router(app: App) -> Router {
    let slots = Slots::new(app.door.settings.limits.requests);
    let body_max = app.door.settings.limits.body_bytes;
    let gated = |router: Router<App>, route: Route| {
        let layer = middleware::from_fn_with_state((app.clone(), route.access, route.kind), gate);
        router.route(&route.path, route.handler.route_layer(layer))
    };
    routes()
        .into_iter()
        .fold(Router::new(), gated)
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(body_max))
        .layer(Extension(BodyLimit(body_max)))
        .layer(middleware::from_fn_with_state(app.clone(), identify))
        .layer(middleware::from_fn_with_state((app.clone(), slots), guard))
        .with_state(app)
}

/// True for what may be asked without being known. Open paths have no variable parts.
pub(crate) fn is_open(method: &Method, path: &str) -> bool {
    let asked = if method == Method::HEAD { &Method::GET } else { method };
    OPEN.iter().any(|(open, known)| open == asked && known == path)
}

/// True for a path that leads to a page.
pub(crate) fn is_page(path: &str) -> bool {
    matches!(path, "/" | "/items" | "/login" | "/password") || path.starts_with("/incidents/")
}

static OPEN: std::sync::LazyLock<Vec<(Method, String)>> = std::sync::LazyLock::new(|| {
    let open = routes().into_iter().filter(|route| route.access == Access::Open);
    open.map(|route| (route.method, route.path)).collect()
});

async fn no_route(uri: Uri) -> Failure {
    let path = uri.path();
    let under = |root: &str| path == root || path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
    let ours = format!("this collector's API is {API_ROOT}");
    if under("/api/v1") {
        Failure::absent(format!("{path}: this part of Prometheus's API is not served"), ours)
    } else if under("/api/v2") {
        Failure::absent(format!("{path}: /api/v2 is kept free for Alertmanager's API, which is not served yet"), ours)
    } else {
        Failure::absent(format!("there is nothing at {path}"), format!("{ours}; {API_ROOT}/openapi.json lists it"))
    }
}

async fn no_method(method: Method, uri: Uri) -> Failure {
    let error = format!("{} cannot be asked with {method}", uri.path());
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, error, format!("{API_ROOT}/openapi.json lists the methods"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn only_what_must_be_is_open() {
        let open: Vec<String> = OPEN.iter().map(|(method, path)| format!("{method} {path}")).collect();
        let wanted = [
            "POST /api/signalbox/v1/login",
            "GET /login",
            "POST /login",
            "GET /style.css",
            "GET /-/healthy",
            "GET /-/ready",
        ];
        assert_eq!(open, wanted);
        assert!(OPEN.iter().all(|(_, path)| !path.contains('{')), "an open path is compared whole");
        assert!(is_open(&Method::HEAD, "/-/healthy") && !is_open(&Method::GET, "/metrics"));
    }

    #[test]
    fn each_route_is_in_the_table_once() {
        let table = routes();
        let all: BTreeSet<String> = table.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        assert_eq!(all.len(), table.len());
    }

    #[test]
    fn every_act_needs_more_than_being_known() {
        // Log out is everybody's own business, as is logging in.
        let own = ["/api/signalbox/v1/login", "/api/signalbox/v1/logout", "/login", "/logout"];
        for route in routes().iter().filter(|route| route.method != Method::GET) {
            let is_own = own.contains(&route.path.as_str());
            assert_eq!(matches!(route.access, Access::Open | Access::Identity), is_own, "{}", route.path);
        }
    }

    #[test]
    fn pages_are_known_by_their_paths() {
        for route in routes().iter().filter(|route| route.method == Method::GET) {
            assert_eq!(is_page(&route.path), route.kind == Kind::Page, "{}", route.path);
        }
    }
}
