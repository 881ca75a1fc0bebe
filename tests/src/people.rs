//! Operators as they log in: by a link, then by the cookie that it gave.

use crate::client::{Client, Reply, percent};
use crate::process::Collector;
use anyhow::{Context, Result, ensure};
use signalbox_proto::api::Made;

/// A password that is long enough and in no list.
pub const PASSWORD: &str = "seven lanterns under the quiet bridge";

/// Sends a form of the collector's own page.
///
/// # Errors
/// No answer.
pub fn form(client: &Client, path: &str, origin: &str, fields: &[(&str, &str)]) -> Result<Reply> {
    let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", percent(value))).collect();
    let origin = format!("origin: {origin}");
    let headers = ["content-type: application/x-www-form-urlencoded", origin.as_str(), "sec-fetch-site: same-origin"];
    client.send("POST", path, &headers, pairs.join("&"))
}

/// Follows a login link (`http://HOST:PORT/login?code=…`), once.
///
/// # Errors
/// No answer, or a link that is none.
pub fn follow(client: &Client, link: &str) -> Result<Reply> {
    let (origin, code) = link.split_once("/login?code=").with_context(|| format!("{link:?} is no login link"))?;
    form(client, "/login", origin, &[("code", code)])
}

/// The cookie that an answer sets, as a request header.
pub fn cookie(reply: &Reply) -> Option<String> {
    let value = reply.header("set-cookie")?.split(';').next()?;
    Some(format!("cookie: {value}"))
}

/// A new user who logs in by a link and sets [`PASSWORD`]: the header of their session.
///
/// # Errors
/// The collector refuses one of the steps.
pub fn session(collector: &Collector, name: &str, role: &str) -> Result<String> {
    let (admin, stranger) = (collector.client(), collector.stranger());
    let made = admin.post("/users", &serde_json::json!({ "name": name, "role": role }))?;
    ensure!(made.status == 200, "make user {name}: {} {}", made.status, made.body);
    let link = admin.post(&format!("/users/{name}/login-link"), &serde_json::json!({}))?;
    ensure!(link.status == 200, "make a login link: {} {}", link.status, link.body);
    let link = serde_json::from_str::<Made>(&link.body)?.secret;
    let entered = follow(&stranger, &link)?;
    let cookie = cookie(&entered).with_context(|| format!("a session: {} {}", entered.status, entered.body))?;
    let origin = format!("http://127.0.0.1:{}", collector.http);
    let fields = [("new", PASSWORD), ("again", PASSWORD)];
    let set = form(&stranger.with(&cookie), "/password", &origin, &fields)?;
    ensure!(set.status == 303, "set a password: {} {}", set.status, set.body);
    Ok(self::cookie(&set).unwrap_or(cookie))
}

/// An API token, as an admin of the collector's host makes it.
///
/// # Errors
/// The collector does not make it.
pub fn api_token(collector: &Collector, wanted: &serde_json::Value) -> Result<Made> {
    let reply = collector.client().post("/tokens", wanted)?;
    ensure!(reply.status == 200, "make an API token: {} {}", reply.status, reply.body);
    serde_json::from_str(&reply.body).context("an API token")
}
