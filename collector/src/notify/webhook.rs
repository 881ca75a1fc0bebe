//! Webhook: Alertmanager's JSON (version 4), signed and keyed.
//!
//! The form is that of `notify/webhook` in prometheus/alertmanager, one alert a
//! message, so that whatever takes Alertmanager's webhooks takes ours. Labels that
//! identify the alert stay the same from its first notice to its last.
//!
//! - `Idempotency-Key`: the notice's key, the same on every attempt.
//! - `X-Signalbox-Signature: sha256=<hex>`: HMAC-SHA256 of the body as sent.

use crate::notify::config::{WebhookChannel, is_link_local};
use crate::notify::when::utc;
use crate::notify::{Notifier, one_line};
use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderValue;
use reqwest::{Client, StatusCode};
use serde::Serialize;
use sha2::{Digest, Sha256};
use signalbox_engine::decision::Notice;
use signalbox_engine::event::DeliveryOutcome;
use signalbox_proto::status::Level;
use signalbox_proto::text::hex;
use signalbox_proto::units::UnixMillis;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use thiserror::Error;

/// Bytes of an answer that are read; the rest is not waited for.
const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// Characters of an answer that are told on.
const ANSWER_MAX_CHARS: usize = 200;
/// Alertmanager's word for "not over yet".
const NOT_ENDED: &str = "0001-01-01T00:00:00Z";

/// A webhook could not be prepared.
#[derive(Debug, Error)]
#[error("prepare the HTTP client: {0}")]
pub(crate) struct WebhookError(#[from] reqwest::Error);

/// POSTs to one URL.
pub(crate) struct Webhook {
    channel: WebhookChannel,
    name: String,
    external_url: String,
    client: Client,
}

impl Webhook {
    /// `external_url`: where people find this collector, without a slash at the end.
    ///
    /// # Errors
    /// The system has no certificate authorities and the URL is https.
    pub(crate) fn new(name: &str, channel: WebhookChannel, external_url: &str) -> Result<Webhook, WebhookError> {
        let client = Client::builder()
            .user_agent(concat!("signalbox/", env!("CARGO_PKG_VERSION")))
            .timeout(channel.timeout.std())
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .dns_resolver(NoLinkLocal);
        // Plain http must also work where the system has no certificate authorities.
        let client = if channel.url.scheme() == "http" { client.tls_certs_only([]) } else { client };
        let client = client.build()?;
        Ok(Webhook { channel, name: name.to_owned(), external_url: external_url.to_owned(), client })
    }

    async fn post(&self, notice: &Notice) -> Result<(StatusCode, String), reqwest::Error> {
        let body = render(&self.name, notice, &self.external_url);
        let mut request = self
            .client
            .post(self.channel.url.clone())
            .header("content-type", "application/json")
            .header("idempotency-key", header_value(&notice.key));
        if let Some(secret) = &self.channel.secret {
            request = request.header("x-signalbox-signature", sign(secret.reveal().as_bytes(), body.as_bytes()));
        }
        let mut response = request.body(body).send().await?;
        let status = response.status();
        let mut answer = Vec::new();
        // What was said after the status line decides nothing: a body that breaks off is no failure.
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = ANSWER_MAX_BYTES - answer.len();
            answer.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if answer.len() == ANSWER_MAX_BYTES {
                break;
            }
        }
        Ok((status, String::from_utf8_lossy(&answer).into_owned()))
    }
}

#[async_trait]
impl Notifier for Webhook {
    async fn notify(&self, notice: &Notice) -> DeliveryOutcome {
        match self.post(notice).await {
            Ok((status, answer)) => judge(status, &answer),
            // The URL may be a secret.
            Err(error) => DeliveryOutcome::Failed { error: chain(&error.without_url()) },
        }
    }
}

/// What an answer means: 2xx accepted; 408, 429, 5xx and redirects may be better
/// later; any other 4xx stays what it is.
fn judge(status: StatusCode, answer: &str) -> DeliveryOutcome {
    let said = one_line(format!("{status}: {}", answer.trim()).trim_end_matches(": "), ANSWER_MAX_CHARS);
    match status.as_u16() {
        200..=299 => DeliveryOutcome::Accepted { answer: said },
        300..=399 => DeliveryOutcome::Failed { error: format!("{said} (redirects are not followed)") },
        408 | 429 | 500..=599 => DeliveryOutcome::Failed { error: said },
        _ => DeliveryOutcome::Refused { error: said },
    }
}

/// An error and its causes on one line: "error sending request" alone helps nobody.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    one_line(&text, ANSWER_MAX_CHARS)
}

/// A key in visible ASCII as it is; any other as its hash, which is as stable.
fn header_value(key: &str) -> HeaderValue {
    let visible = key.bytes().all(|b| b.is_ascii_graphic());
    let text = if visible { key.to_owned() } else { hex(&Sha256::digest(key)) };
    HeaderValue::from_str(&text).expect("visible ASCII is a header value")
}

/// `sha256=<hex>`: HMAC-SHA256 of `body` (RFC 2104).
fn sign(key: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(body);
    format!("sha256={}", hex(&mac.finalize().into_bytes()))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    version: &'static str,
    group_key: String,
    truncated_alerts: u32,
    status: &'static str,
    receiver: &'a str,
    group_labels: BTreeMap<&'a str, &'a str>,
    common_labels: &'a BTreeMap<&'a str, &'a str>,
    common_annotations: &'a BTreeMap<&'static str, String>,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    alerts: [Alert<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert<'a> {
    status: &'static str,
    labels: &'a BTreeMap<&'a str, &'a str>,
    annotations: &'a BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    fingerprint: String,
}

/// The body: pure, the same for every attempt of a notice.
pub(crate) fn render(receiver: &str, notice: &Notice, external_url: &str) -> String {
    let resolved = matches!(notice.transition.as_str(), "restored" | "closed");
    let status = if resolved { "resolved" } else { "firing" };
    let labels = labels(notice);
    let annotations = annotations(notice);
    let group_labels = labels.iter().filter(|(name, _)| matches!(**name, "alertname" | "entity"));
    let alert = Alert {
        status,
        labels: &labels,
        annotations: &annotations,
        starts_at: utc(notice.first_symptom),
        ends_at: if resolved { utc(notice.restored.unwrap_or(notice.at)) } else { NOT_ENDED.to_owned() },
        generator_url: incident_url(external_url, notice),
        fingerprint: fingerprint(notice),
    };
    let message = Message {
        version: "4",
        group_key: format!("{{}}:{{incident={:?}}}", notice.incident),
        truncated_alerts: 0,
        status,
        receiver,
        group_labels: group_labels.map(|(name, value)| (*name, *value)).collect(),
        common_labels: &labels,
        common_annotations: &annotations,
        external_url,
        alerts: [alert],
    };
    serde_json::to_string(&message).expect("a structure of strings and numbers is always JSON")
}

/// Where people read about the incident; the board for a test message.
pub(crate) fn incident_url(external_url: &str, notice: &Notice) -> String {
    match notice.incident_number {
        0 => format!("{external_url}/"),
        number => format!("{external_url}/incidents/{number}"),
    }
}

fn labels(notice: &Notice) -> BTreeMap<&str, &str> {
    let mut labels: BTreeMap<&str, &str> =
        notice.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let host = labels.get("host").copied().unwrap_or(notice.entity.as_str());
    labels.entry("instance").or_insert(host);
    // A restored incident keeps the labels under which it fired.
    let fired = if notice.level == Level::Green { notice.was } else { notice.level };
    labels.extend([
        ("alertname", notice.rule.as_str()),
        ("entity", notice.entity.as_str()),
        ("layer", notice.layer.word()),
        ("level", fired.word()),
        ("owner", notice.owner.as_str()),
        ("severity", severity(fired)),
    ]);
    labels.retain(|_, value| !value.is_empty());
    labels
}

/// The words of Prometheus's world.
fn severity(level: Level) -> &'static str {
    match level {
        Level::Red => "critical",
        Level::Amber => "warning",
        Level::Green => "info",
    }
}

fn annotations(notice: &Notice) -> BTreeMap<&'static str, String> {
    let mut annotations = BTreeMap::from([
        ("summary", notice.title.clone()),
        ("why", notice.why.clone()),
        ("sop", notice.sop.clone()),
        ("incident", notice.incident.clone()),
        ("transition", notice.transition.clone()),
        ("item", notice.item.clone()),
        ("value", notice.value.map(|value| value.to_string()).unwrap_or_default()),
        ("detected", utc(notice.detected)),
    ]);
    annotations.retain(|_, value| !value.is_empty());
    annotations
}

/// Sixteen hexadecimal digits, as Alertmanager's; the same over the incident's life.
fn fingerprint(notice: &Notice) -> String {
    let UnixMillis(detected) = notice.detected;
    let subject = format!("{}\0{detected}\0{}", notice.incident, notice.item);
    hex(&Sha256::digest(subject)[..8])
}

/// Resolves names and leaves link-local addresses out, whatever a name server says.
struct NoLinkLocal;

impl Resolve for NoLinkLocal {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let usable: Vec<SocketAddr> = found.into_iter().filter(|at| !is_link_local(at.ip())).collect();
            if usable.is_empty() {
                return Err("the name has no address that is not link-local".into());
            }
            Ok(Box::new(usable.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::testing::{hostile, notice};
    use expect_test::expect;

    fn pretty(notice: &Notice) -> String {
        let body: serde_json::Value = serde_json::from_str(&render("hook", notice, "http://127.0.0.1:8420")).unwrap();
        serde_json::to_string_pretty(&body).unwrap()
    }

    #[test]
    fn a_raised_incident_is_a_firing_alert() {
        expect![[r#"
            {
              "alerts": [
                {
                  "annotations": {
                    "detected": "2026-11-23T02:20:03Z",
                    "incident": "INC-17",
                    "item": "host/web1:filesystem-full{mountpoint=\"/\"}",
                    "sop": "https://wiki.example.com/sop/disk",
                    "summary": "/ on web1 is 97 % full",
                    "transition": "raised",
                    "value": "97",
                    "why": "97 >= 95 for 30s"
                  },
                  "endsAt": "0001-01-01T00:00:00Z",
                  "fingerprint": "d223a69c661562fe",
                  "generatorURL": "http://127.0.0.1:8420/incidents/17",
                  "labels": {
                    "alertname": "filesystem-full",
                    "entity": "host/web1",
                    "host": "web1",
                    "instance": "web1",
                    "layer": "machine",
                    "level": "red",
                    "mountpoint": "/",
                    "owner": "unix",
                    "severity": "critical"
                  },
                  "startsAt": "2026-11-23T02:19:33Z",
                  "status": "firing"
                }
              ],
              "commonAnnotations": {
                "detected": "2026-11-23T02:20:03Z",
                "incident": "INC-17",
                "item": "host/web1:filesystem-full{mountpoint=\"/\"}",
                "sop": "https://wiki.example.com/sop/disk",
                "summary": "/ on web1 is 97 % full",
                "transition": "raised",
                "value": "97",
                "why": "97 >= 95 for 30s"
              },
              "commonLabels": {
                "alertname": "filesystem-full",
                "entity": "host/web1",
                "host": "web1",
                "instance": "web1",
                "layer": "machine",
                "level": "red",
                "mountpoint": "/",
                "owner": "unix",
                "severity": "critical"
              },
              "externalURL": "http://127.0.0.1:8420",
              "groupKey": "{}:{incident=\"INC-17\"}",
              "groupLabels": {
                "alertname": "filesystem-full",
                "entity": "host/web1"
              },
              "receiver": "hook",
              "status": "firing",
              "truncatedAlerts": 0,
              "version": "4"
            }"#]]
        .assert_eq(&pretty(&notice()));
    }

    #[test]
    fn a_restored_incident_keeps_its_identity() {
        let raised = notice();
        let mut restored = notice();
        (restored.transition, restored.level, restored.was) = ("restored".to_owned(), Level::Green, Level::Red);
        restored.restored = Some(UnixMillis(1_795_400_603_000));
        let alert = |notice: &Notice| {
            let body: serde_json::Value = serde_json::from_str(&render("hook", notice, "http://x")).unwrap();
            body["alerts"][0].clone()
        };
        let (raised, restored) = (alert(&raised), alert(&restored));
        assert_eq!(restored["status"], "resolved");
        assert_eq!(restored["endsAt"], "2026-11-23T02:23:23Z");
        for kept in ["labels", "startsAt", "fingerprint"] {
            assert_eq!(raised[kept], restored[kept], "{kept}");
        }
    }

    #[test]
    fn a_closed_incident_is_resolved_though_it_was_never_restored() {
        let mut closed = notice();
        (closed.transition, closed.was, closed.why) =
            ("closed".to_owned(), closed.level, "closed: rule removed".to_owned());
        let body: serde_json::Value = serde_json::from_str(&render("hook", &closed, "http://x")).unwrap();
        let alert = &body["alerts"][0];
        assert_eq!((&alert["status"], &body["status"]), (&"resolved".into(), &"resolved".into()));
        assert_eq!(alert["endsAt"], utc(closed.at));
        assert_eq!(alert["labels"]["level"], "red");
        assert_eq!(alert["annotations"]["why"], "closed: rule removed");
    }

    #[test]
    fn hostile_labels_stay_text() {
        let body: serde_json::Value = serde_json::from_str(&render("hook", &hostile(), "http://x")).unwrap();
        assert_eq!(body["status"], "firing");
        assert_eq!(body["alerts"].as_array().unwrap().len(), 1);
        assert_eq!(body["alerts"][0]["labels"]["mountpoint"], "\"},{\"status\":\"resolved\"\n");
    }

    #[test]
    fn a_key_that_is_no_header_is_hashed_and_stays_stable() {
        assert_eq!(header_value("17-raised-hook-1").to_str().unwrap(), "17-raised-hook-1");
        let hostile = header_value("k\r\nX-Evil: 1");
        assert_eq!(hostile, header_value("k\r\nX-Evil: 1"));
        assert_eq!(hostile.to_str().unwrap().len(), 64);
    }

    #[test]
    fn the_signature_is_that_of_rfc_4231() {
        // Test case 2 of RFC 4231.
        let signature = sign(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(signature, "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn answers_mean_what_http_says() {
        let outcome = |status: u16| judge(StatusCode::from_u16(status).unwrap(), "ok\nthere");
        assert_eq!(outcome(202), DeliveryOutcome::Accepted { answer: "202 Accepted: ok there".to_owned() });
        for again in [301, 302, 408, 429, 500, 503, 599] {
            assert!(matches!(outcome(again), DeliveryOutcome::Failed { .. }), "{again}");
        }
        for never in [400, 401, 403, 404, 410, 413, 422] {
            assert!(matches!(outcome(never), DeliveryOutcome::Refused { .. }), "{never}");
        }
    }
}
