//! The API's description, made from the handlers themselves.

use crate::http::api::{acts, audit, board, config, history, joining, own, users};
use crate::http::prometheus::{self, listings, rules, status as served};
use crate::http::routes::{Access, Kind, Route, routes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::LazyLock;
use utoipa::OpenApi;

/// Collects the handlers' descriptions.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Signalbox operators' API",
        description = "Present state, history, proofs and acts. Instants are Unix milliseconds, spans end in _ms. \
            Fields are only ever added. Every answer that is not 2xx is an ApiError. \
            Requests that change something carry content-type application/json. Every operation names the permission \
            that it needs (x-signalbox-permission): open, identity (whoever is logged in) or one of those of whoami. \
            Without a login every other route answers 401 in the same words; without the permission 403 in the same \
            words; what is out of one's scope is answered as what does not exist.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        board::status,
        board::agents,
        board::incidents,
        board::incident,
        board::snoozes,
        acts::retire,
        acts::acknowledge,
        acts::assign,
        acts::note,
        acts::close,
        acts::snooze,
        acts::end_snooze,
        history::query,
        history::explain,
        config::check_rules,
        config::reload,
        config::test_channel,
        config::channels,
        own::whoami,
        own::login,
        own::logout,
        own::password,
        own::doctor,
        users::users,
        users::add,
        users::disable,
        users::enable,
        users::role,
        users::password,
        users::login_link,
        users::tokens,
        users::new_token,
        users::revoke_token,
        joining::join_tokens,
        joining::new_join_token,
        joining::revoke_join_token,
        joining::pending,
        joining::approve,
        joining::reject,
        joining::keys,
        joining::revoke,
        joining::ca,
        joining::rotate_ca,
        joining::drop_ca,
        audit::lines,
        audit::verify,
        prometheus::query::instant,
        prometheus::query::range,
        prometheus::query::exemplars,
        prometheus::query::format,
        listings::labels,
        listings::values,
        listings::sets,
        listings::metadata,
        rules::rules,
        rules::alerts,
        prometheus::write::write,
        served::build_info,
        served::tsdb,
        document,
    )
)]
struct Document;

/// This document.
#[utoipa::path(get, path = "/api/signalbox/v1/openapi.json", responses(
    (status = 200, description = "OpenAPI 3.1", content_type = "application/json"),
))]
pub(crate) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| whole().to_string());

fn is_described(route: &Route) -> bool {
    matches!(route.kind, Kind::Api | Kind::Prometheus)
}

/// The handlers' descriptions, with what the table of routes says of each.
fn whole() -> Value {
    let mut document = serde_json::to_value(Document::openapi()).expect("a generated document is always JSON");
    document["components"]["securitySchemes"] = json!({
        "token": {
            "type": "http", "scheme": "bearer", "bearerFormat": "sba1.…",
            "description": "API token of POST /login or POST /tokens",
        },
        "session": {
            "type": "apiKey", "in": "cookie", "name": "__Host-signalbox",
            "description": "session of a browser, from /login; without TLS it is named signalbox_session",
        },
    });
    for route in routes().into_iter().filter(is_described) {
        let operation = &mut document["paths"][&route.path][route.method.as_str().to_lowercase()];
        let is_open = route.access == Access::Open;
        operation["security"] = if is_open { json!([]) } else { json!([{ "token": [] }, { "session": [] }]) };
        operation["x-signalbox-permission"] = json!(route.access.to_string());
        if is_open {
            continue;
        }
        let refusals = [("401", "nobody is logged in"), ("403", "your role does not allow this")];
        for (status, description) in refusals {
            let error = json!({ "$ref": "#/components/schemas/ApiError" });
            operation["responses"][status] =
                json!({ "description": description, "content": { "application/json": { "schema": error } } });
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_and_the_router_have_the_same_routes() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        let documented: BTreeSet<(String, String)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().unwrap().keys();
                methods.map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
            })
            .collect();
        let routed: BTreeSet<(String, String)> = routes()
            .iter()
            .filter(|route| is_described(route))
            .map(|r| (r.method.to_string(), r.path.clone()))
            .collect();
        assert_eq!(documented, routed);
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        let document = whole();
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let mut n_references = 0;
        for part in text.split("\"#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
            n_references += 1;
        }
        assert!(n_references > 20, "{n_references}");
        for name in ["Status", "Incident", "Explanation", "ApiError", "NewSnooze"] {
            assert!(schemas.contains_key(name), "{name}");
        }
    }

    #[test]
    fn every_operation_names_its_permission_and_only_the_login_is_open() {
        let document = whole();
        let mut open = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let permission = operation["x-signalbox-permission"].as_str().unwrap();
                assert!(!permission.is_empty() && operation["security"].is_array(), "{method} {path}");
                if permission == "open" {
                    open.push(path.as_str());
                }
                assert_eq!(operation["security"].as_array().unwrap().is_empty(), permission == "open", "{path}");
            }
        }
        assert_eq!(open, ["/api/signalbox/v1/login"]);
        assert_eq!(document["paths"]["/api/signalbox/v1/reload"]["post"]["x-signalbox-permission"], "reload_config");
    }
}
