//! A small collector that answers what it is told to, and remembers what it
//! was asked.

#![allow(dead_code, reason = "each test binary uses its part")]

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// What the server was asked: method, path with query, body, who says to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) body: String,
    pub(crate) authorization: String,
}

/// A server on a thread of its own; it ends with the process.
pub(crate) struct Twin {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Twin {
    /// Answers by `answer(method, path)`.
    pub(crate) fn start(answer: impl Fn(&str, &str) -> Response + Clone + Send + Sync + 'static) -> Twin {
        Twin::start_by(move |method, uri| answer(method, uri.path()))
    }

    /// Answers by `answer(path and query)`.
    pub(crate) fn start_by_target(answer: impl Fn(&str) -> Response + Clone + Send + Sync + 'static) -> Twin {
        Twin::start_by(move |_, uri| answer(&uri.to_string()))
    }

    fn start_by(answer: impl Fn(&str, &Uri) -> Response + Clone + Send + Sync + 'static) -> Twin {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let kept = asked.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let handler = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
                    let asked = Asked {
                        method: method.to_string(),
                        target: uri.to_string(),
                        body: String::from_utf8(body.to_vec()).unwrap(),
                        authorization: headers
                            .get("authorization")
                            .map_or(String::new(), |value| value.to_str().unwrap().to_owned()),
                    };
                    kept.lock().unwrap().push(asked);
                    let response = answer(method.as_str(), &uri);
                    async move { response }
                };
                let router = Router::new().fallback(routing::any(handler));
                axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), router).await.unwrap();
            });
        });
        Twin { address, asked }
    }

    /// Always the same answer.
    pub(crate) fn saying(status: u16, body: &'static str) -> Twin {
        Twin::start(move |_, _| say(status, body))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

pub(crate) fn say(status: u16, body: impl Into<Body>) -> Response {
    (StatusCode::from_u16(status).unwrap(), body.into()).into_response()
}

/// An address at which nobody listens.
pub(crate) fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
