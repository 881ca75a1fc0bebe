//! The collector's HTTP API, from the calling side.
//!
//! What it promises: plain http is spoken with loopback addresses only, a token goes
//! to the collector that it is for and nowhere else, no proxy and no redirect is
//! followed, no answer may be larger than [`ANSWER_LIMIT`], and every failure says
//! what was asked of whom. An [`Answer`] keeps the body as it came, so that
//! `--output json` prints the API's own document.

use crate::target::Target;
use crate::text::clean;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Method, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use signalbox_proto::api::ApiError;
use signalbox_proto::units::{Bytes, Millis};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use thiserror::Error;

/// Path under which all routes of our own lie.
const ROOT: [&str; 3] = ["api", "signalbox", "v1"];
/// And those after Prometheus.
const PROMETHEUS_ROOT: [&str; 2] = ["api", "v1"];

/// Largest body that is read. A board of 100 000 items is about 60 MB.
pub const ANSWER_LIMIT: Bytes = Bytes::from_mib(64);

/// How long a connection may take, TLS handshake included.
const CONNECT_TIMEOUT: Millis = Millis::from_secs(10);

/// How much of a body that is no [`ApiError`] is quoted.
const QUOTE_LIMIT_CHARS: usize = 200;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The address cannot be used.
    #[error("collector {address:?} {why}; write https://HOST:8440, or http://127.0.0.1:8440 on its own host")]
    Address {
        /// As given.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// The token or the certificate that goes with the address cannot be used.
    #[error("login for {address}: {why}; log in again: signalbox login {address}")]
    Login {
        /// Which collector.
        address: String,
        /// What is wrong.
        why: String,
    },
    /// A name cannot be part of a path.
    #[error("{name:?} is no name of {what}")]
    Name {
        /// As given.
        name: String,
        /// What it should name.
        what: &'static str,
    },
    /// Nobody answers, or the answer broke off.
    #[error("collector at {url} is not reachable")]
    Unreachable {
        /// What was called.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The collector said no.
    #[error("{error}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What is wrong.
        error: String,
        /// How to mend it; may be empty.
        remedy: String,
    },
    /// The body is over the limit.
    #[error("answer of {url} is over the limit of {ANSWER_LIMIT}; ask for less")]
    TooLarge {
        /// What was called.
        url: String,
    },
    /// The body is not what this version understands.
    #[error("answer of {url} is not understood: is this a signalbox collector of the same version?")]
    Garbage {
        /// What was called.
        url: String,
        /// Why.
        source: serde_json::Error,
    },
}

impl ClientError {
    /// True when the collector could not be asked at all.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, ClientError::Unreachable { .. })
    }

    /// True when the collector's certificate is why.
    pub fn is_about_certificates(&self) -> bool {
        let mut cause: Option<&dyn std::error::Error> = Some(self);
        let mut is_so = false;
        while let Some(error) = cause {
            is_so |= error.to_string().to_lowercase().contains("peer certificate");
            cause = error.source();
        }
        is_so && self.is_unreachable()
    }
}

/// A body, parsed and as it came.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    /// What the collector sent, valid JSON.
    pub body: String,
    /// What it means.
    pub value: T,
}

/// Talks to one collector.
#[derive(Debug, Clone)]
pub struct Client {
    base: Url,
    /// Where it calls, for people.
    shown: String,
    http: reqwest::Client,
}

impl Client {
    /// Without a login. `timeout` bounds each call as a whole, from connecting to the
    /// last byte.
    ///
    /// # Errors
    /// [`ClientError::Address`] unless the address is `https://`, or `http://` and loopback.
    pub fn new(address: &str, timeout: Millis) -> Result<Client, ClientError> {
        Client::of(&Target::url(address), timeout)
    }

    /// Calls a target; `timeout` as in [`Client::new`].
    ///
    /// # Errors
    /// [`ClientError::Address`] or [`ClientError::Login`].
    pub fn of(target: &Target, timeout: Millis) -> Result<Client, ClientError> {
        let mut http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT.std())
            .timeout(timeout.std())
            .user_agent(concat!("signalbox/", env!("CARGO_PKG_VERSION")));
        let (base, shown) = match target {
            Target::Socket { path, token } => {
                http = http.unix_socket(path.as_path());
                let shown = format!("unix:{}", path.display());
                http = with_token(http, token.as_deref(), &shown)?;
                (Url::parse("http://localhost/").expect("a constant URL"), shown)
            }
            Target::Url { url, token, ca } => {
                let base = parse_address(url)?;
                let shown = base.as_str().trim_end_matches('/').to_owned();
                let login = |why: String| ClientError::Login { address: shown.clone(), why };
                if base.scheme() == "http" {
                    let port = base.port_or_known_default().unwrap_or(80);
                    // A hosts file that sends localhost elsewhere must not take the operator's acts along.
                    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
                    http = http.resolve_to_addrs("localhost", &loopback.map(|ip| SocketAddr::new(ip, port)));
                }
                http = with_token(http, token.as_deref(), &shown)?;
                if let Some(ca) = ca {
                    let certificates = Certificate::from_pem_bundle(ca.as_bytes());
                    let certificates = certificates.map_err(|error| login(format!("its certificates: {error}")))?;
                    http = http.tls_certs_only(certificates);
                }
                (base, shown)
            }
        };
        let http = http.build().map_err(|source| ClientError::Unreachable { url: shown.clone(), source })?;
        Ok(Client { base, shown, http })
    }

    /// Where it calls.
    pub fn address(&self) -> &str {
        &self.shown
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<Answer<T>, ClientError> {
        self.get_below(&ROOT, path, query).await
    }

    pub(crate) async fn get_prometheus<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<Answer<T>, ClientError> {
        self.get_below(&PROMETHEUS_ROOT, path, query).await
    }

    async fn get_below<T: DeserializeOwned>(
        &self,
        root: &[&str],
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<Answer<T>, ClientError> {
        let mut url = self.url(root, path)?;
        for (name, value) in query {
            url.query_pairs_mut().append_pair(name, value);
        }
        self.call(self.http.get(url.clone()), &url).await
    }

    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<Answer<T>, ClientError> {
        let url = self.url(&ROOT, path)?;
        let request = self.http.request(method, url.clone());
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        self.call(request, &url).await
    }

    fn url(&self, root: &[&str], path: &[&str]) -> Result<Url, ClientError> {
        let mut url = self.base.clone();
        // The parser drops dot segments without a word: the call would go to another route.
        if let Some(name) = path.iter().find(|name| matches!(**name, "" | "." | "..")) {
            return Err(ClientError::Name { name: (*name).to_owned(), what: "anything the collector knows" });
        }
        url.path_segments_mut().expect("an http URL always has a path").clear().extend(root).extend(path);
        Ok(url)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
        url: &Url,
    ) -> Result<Answer<T>, ClientError> {
        let broken = |source: reqwest::Error| ClientError::Unreachable {
            url: self.address().to_owned(),
            // The error would repeat the whole query.
            source: source.without_url(),
        };
        let mut response = request.send().await.map_err(broken)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if (body.len() + chunk.len()) as u64 > ANSWER_LIMIT.0 {
                return Err(ClientError::TooLarge { url: url.path().to_owned() });
            }
            body.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            return Err(refusal(status, &body));
        }
        let garbage = |source| ClientError::Garbage { url: url.path().to_owned(), source };
        let value = serde_json::from_slice(&body).map_err(garbage)?;
        // JSON that parses is UTF-8.
        Ok(Answer { body: String::from_utf8_lossy(&body).into_owned(), value })
    }
}

/// Shows the token, if there is one, with every call.
fn with_token(
    http: reqwest::ClientBuilder,
    token: Option<&str>,
    address: &str,
) -> Result<reqwest::ClientBuilder, ClientError> {
    let Some(token) = token else { return Ok(http) };
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| ClientError::Login { address: address.to_owned(), why: "the token is garbled".to_owned() })?;
    value.set_sensitive(true);
    Ok(http.default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)])))
}

/// What the routes after Prometheus say when they refuse.
#[derive(serde::Deserialize)]
struct PrometheusError {
    error: String,
}

fn refusal(status: StatusCode, body: &[u8]) -> ClientError {
    if let Ok(ApiError { error, remedy }) = serde_json::from_slice(body) {
        return ClientError::Refused { status: status.as_u16(), error: clean(&error).into_owned(), remedy };
    }
    if let Ok(PrometheusError { error }) = serde_json::from_slice(body) {
        return ClientError::Refused {
            status: status.as_u16(),
            error: clean(&error).into_owned(),
            remedy: String::new(),
        };
    }
    let quote: String = String::from_utf8_lossy(body).chars().take(QUOTE_LIMIT_CHARS).collect();
    let quote = quote.trim();
    let said = if quote.is_empty() { "without a word".to_owned() } else { format!("and said: {}", clean(quote)) };
    ClientError::Refused {
        status: status.as_u16(),
        error: format!("collector answered {status} {said}"),
        remedy: String::new(),
    }
}

fn parse_address(address: &str) -> Result<Url, ClientError> {
    let refuse = |why: &str| ClientError::Address { address: address.to_owned(), why: why.to_owned() };
    let url = Url::parse(address).map_err(|source| refuse(&format!("is no URL ({source})")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("does not start with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("carries a user or password, which the collector does not take"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("must end after the port"));
    }
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if url.scheme() == "http" && host != "localhost" && !ip.is_ok_and(|ip| ip.is_loopback()) {
        return Err(refuse("is not a loopback address: passwords and tokens cross a network by https only"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: &str) -> String {
        parse_address(address).unwrap_err().to_string()
    }

    #[test]
    fn https_and_loopback_addresses_are_taken() {
        for address in [
            "http://127.0.0.1:8440",
            "http://localhost:8440/",
            "http://[::1]:1",
            "http://127.9.9.9",
            "https://192.0.2.1:8440",
            "https://signalbox.example.org",
        ] {
            assert!(parse_address(address).is_ok(), "{address}");
        }
    }

    #[test]
    fn other_addresses_are_refused_with_the_reason() {
        assert_eq!(
            refused("http://10.0.0.1:8440"),
            "collector \"http://10.0.0.1:8440\" is not a loopback address: passwords and tokens cross a network by \
             https only; write https://HOST:8440, or http://127.0.0.1:8440 on its own host"
        );
        assert!(refused("http://localhost.evil.example").contains("is not a loopback address"));
        assert!(refused("https://me:pw@127.0.0.1").contains("user or password"));
        assert!(refused("http://127.0.0.1/api").contains("must end after the port"));
        assert!(refused("localhost:8440").contains("does not start with https:// or http://"));
        assert!(refused("").contains("is no URL"));
    }

    #[test]
    fn a_garbled_login_is_refused_before_anything_is_sent() {
        let target = |token: &str, ca: Option<&str>| Target::Url {
            url: "https://127.0.0.1:1".to_owned(),
            token: Some(token.to_owned()),
            ca: ca.map(str::to_owned),
        };
        let refused = |target: &Target| Client::of(target, Millis(1)).unwrap_err().to_string();
        assert!(refused(&target("a\nb", None)).contains("the token is garbled; log in again"));
        assert!(
            refused(&target("ok", Some("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----")))
                .contains("its certificates")
        );
        assert!(!format!("{:?}", Client::of(&target("canary", None), Millis(1)).unwrap()).contains("canary"));
    }

    #[test]
    fn names_are_escaped_and_dot_segments_refused() {
        let client = Client::new("http://127.0.0.1:1", Millis(1)).unwrap();
        let url = client.url(&ROOT, &["notify", "test", "on call/1?"]).unwrap();
        assert_eq!(url.as_str(), "http://127.0.0.1:1/api/signalbox/v1/notify/test/on%20call%2F1%3F");
        assert!(client.url(&ROOT, &["agents", "..", "retire"]).is_err());
    }

    #[test]
    fn a_refusal_that_is_no_api_error_is_quoted_in_part() {
        let error = refusal(StatusCode::BAD_GATEWAY, "x\u{1b}[2J".repeat(100).as_bytes()).to_string();
        assert!(error.starts_with("collector answered 502 Bad Gateway and said: x\\u{1b}[2J"), "{error}");
        assert!(error.chars().count() < 600);
    }
}
