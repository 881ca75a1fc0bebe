//! The API's description, made from the handlers themselves.

use crate::http::api::{acts, board, config, history};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;

/// Collects the handlers' descriptions.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Signalbox operators' API",
        description = "Present state, history, proofs and acts. Instants are Unix milliseconds, spans end in _ms. \
            Fields are only ever added. Every answer that is not 2xx is an ApiError. \
            Requests that change something carry content-type application/json.",
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
        document,
    )
)]
struct Document;

/// This document.
#[utoipa::path(get, path = "/api/signalbox/v1/openapi.json", responses(
    (status = 200, description = "OpenAPI 3.1", content_type = "application/json"),
))]
pub(crate) async fn document() -> Response {
    let json = Document::openapi().to_json().expect("a generated document is always JSON");
    ([(header::CONTENT_TYPE, "application/json")], json).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::API_ROOT;
    use crate::http::routes::api_routes;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_and_the_router_have_the_same_routes() {
        let document: serde_json::Value = serde_json::from_str(&Document::openapi().to_json().unwrap()).unwrap();
        let documented: BTreeSet<(String, String)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().unwrap().keys();
                methods.map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
            })
            .collect();
        let routed: BTreeSet<(String, String)> =
            api_routes().iter().map(|(method, path, _)| (method.to_string(), format!("{API_ROOT}{path}"))).collect();
        assert_eq!(documented, routed);
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        let text = Document::openapi().to_json().unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
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
}
