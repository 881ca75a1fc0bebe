//! Bodies of channels, wherever `channels:` stands among the configuration files:
//! how somebody is told.
//!
//! The engine reads rules, entities, routes and the channels' names from the same
//! files and refuses keys that nobody knows; here everything but `channels` is let
//! pass. A raw struct mirrors the file, [`Channel`] is what the program trusts.
//! Findings carry line and column but never a snippet: a line near a channel may
//! hold what somebody took for a good place for a password.

use crate::notify::secret::{Secret, SecretError};
use lettre::message::Mailbox;
use reqwest::Url;
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use signalbox_proto::api::Finding;
use signalbox_proto::text::parse_span;
use signalbox_proto::units::Millis;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// Channels of one collector.
pub(crate) const CHANNELS_MAX: usize = 64;
/// Recipients of one e-mail channel.
const RECIPIENTS_MAX: usize = 50;
/// Bytes of a channel's name.
const NAME_MAX_BYTES: usize = 64;
/// One attempt, when the channel says nothing.
const TIMEOUT_DEFAULT: Millis = Millis::from_secs(10);
/// A longer attempt would hold its lane for longer than anybody should wait for a page.
const TIMEOUT_MAX: Millis = Millis::from_secs(60);
/// A shorter one would fail on any real network.
const TIMEOUT_MIN: Millis = Millis(100);

/// One way to tell somebody.
#[derive(Debug, Clone)]
pub struct Channel {
    /// Unique; `A-Z a-z 0-9 . _ -`.
    pub(crate) name: String,
    /// How.
    pub(crate) kind: ChannelKind,
}

/// The two ways that exist.
#[derive(Debug, Clone)]
pub(crate) enum ChannelKind {
    /// POST of Alertmanager's JSON.
    Webhook(WebhookChannel),
    /// Mail over SMTP.
    Email(EmailChannel),
}

/// A checked webhook.
#[derive(Debug, Clone)]
pub(crate) struct WebhookChannel {
    /// http or https; never shown whole, for its path may be a secret.
    pub(crate) url: Url,
    /// Key of the signature.
    pub(crate) secret: Option<Secret>,
    /// One attempt, connection included.
    pub(crate) timeout: Millis,
}

/// A checked e-mail channel.
#[derive(Debug, Clone)]
pub(crate) struct EmailChannel {
    /// Host name or address.
    pub(crate) server: String,
    /// Port.
    pub(crate) port: u16,
    /// Sender.
    pub(crate) from: Mailbox,
    /// Recipients, at least one.
    pub(crate) to: Vec<Mailbox>,
    /// Name said in EHLO; none: the host's own.
    pub(crate) hello: Option<String>,
    /// User name and password.
    pub(crate) login: Option<(Secret, Secret)>,
    /// Encrypted before anything else is said. False only towards loopback.
    pub(crate) starttls: bool,
    /// One attempt, connection included.
    pub(crate) timeout: Millis,
}

#[derive(Deserialize)]
struct RawFile {
    #[serde(default)]
    channels: Vec<Spanned<RawChannel>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChannel {
    name: Spanned<String>,
    webhook: Option<RawWebhook>,
    email: Option<RawEmail>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWebhook {
    url: Spanned<String>,
    secret: Option<Spanned<String>>,
    timeout: Option<Spanned<String>>,
    #[serde(default)]
    allow_plain_http: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEmail {
    server: Spanned<String>,
    port: Option<u16>,
    from: Spanned<String>,
    to: Vec<Spanned<String>>,
    hello: Option<Spanned<String>>,
    username: Option<Spanned<String>>,
    password: Option<Spanned<String>>,
    #[serde(default)]
    starttls: StartTls,
    timeout: Option<Spanned<String>>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
enum StartTls {
    #[default]
    Required,
    Never,
}

/// Reads the channels out of all files and the secrets that they point at.
///
/// # Errors
/// Everything that is wrong with them, not just the first.
pub fn parse(files: &BTreeMap<String, String>) -> Result<Vec<Channel>, Vec<Finding>> {
    let (mut channels, mut findings) = (Vec::new(), Vec::new());
    // Most files hold rules only; what is wrong with those is the engine's to say.
    for (file, text) in files.iter().filter(|(_, text)| text.contains("channels")) {
        let mut reader = Reader { file, findings: Vec::new() };
        match serde_saphyr::from_str::<Option<RawFile>>(text) {
            Ok(raw) => reader.file(raw, &mut channels),
            Err(error) => reader.findings.push(refusal(file, &error)),
        }
        findings.append(&mut reader.findings);
    }
    if findings.is_empty() { Ok(channels) } else { Err(findings) }
}

fn refusal(file: &str, error: &serde_saphyr::Error) -> Finding {
    let (line, column) = error.location().map_or((0, 0), position);
    Finding {
        error: true,
        file: file.to_owned(),
        line,
        column,
        message: error.without_snippet().to_string(),
        remedy: "compare with docs/howto-notify.md".to_owned(),
    }
}

fn position(at: Location) -> (usize, usize) {
    let whole = |n: u64| usize::try_from(n).unwrap_or(0);
    (whole(at.line()), whole(at.column()))
}

/// Collects findings while raw channels become trusted ones.
struct Reader<'a> {
    file: &'a str,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn refuse(&mut self, at: Location, message: String, remedy: &str) {
        let (line, column) = position(at);
        let (file, remedy) = (self.file.to_owned(), remedy.to_owned());
        self.findings.push(Finding { error: true, file, line, column, message, remedy });
    }

    fn file(&mut self, raw: Option<RawFile>, channels: &mut Vec<Channel>) {
        for raw in raw.map(|raw| raw.channels).unwrap_or_default() {
            let at = raw.value.name.referenced;
            if channels.len() == CHANNELS_MAX {
                self.refuse(at, format!("there are more than {CHANNELS_MAX} channels"), "remove some");
                return;
            }
            let Some(channel) = self.channel(raw) else { continue };
            if channels.iter().any(|other| other.name == channel.name) {
                self.refuse(at, format!("channel {} is named twice", channel.name), "give each a name of its own");
                continue;
            }
            channels.push(channel);
        }
    }

    fn channel(&mut self, raw: Spanned<RawChannel>) -> Option<Channel> {
        let RawChannel { name, webhook, email } = raw.value;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.value.is_empty() || name.value.len() > NAME_MAX_BYTES || !name.value.chars().all(allowed) {
            let message = format!("channel name {:?} must be 1 to {NAME_MAX_BYTES} of A-Z a-z 0-9 . _ -", name.value);
            self.refuse(name.referenced, message, "name it for example ops-mail");
            return None;
        }
        let kind = match (webhook, email) {
            (Some(webhook), None) => ChannelKind::Webhook(self.webhook(webhook)?),
            (None, Some(email)) => ChannelKind::Email(self.email(email, raw.referenced)?),
            _ => {
                let message = format!("channel {} must be exactly one of webhook and email", name.value);
                self.refuse(raw.referenced, message, "give it one body; make two channels to use both");
                return None;
            }
        };
        Some(Channel { name: name.value, kind })
    }

    fn webhook(&mut self, raw: RawWebhook) -> Option<WebhookChannel> {
        let secret = raw.secret.map(|reference| self.secret(&reference));
        let timeout = self.timeout(raw.timeout);
        let url = self.url(&raw.url, raw.allow_plain_http);
        let secret = match secret {
            None => None,
            Some(read) => Some(read?),
        };
        Some(WebhookChannel { url: url?, secret, timeout: timeout? })
    }

    /// A URL, or a reference to one: those of chat services are secrets.
    fn url(&mut self, raw: &Spanned<String>, allow_plain_http: bool) -> Option<Url> {
        let at = raw.referenced;
        let by_reference = raw.value.starts_with("file:") || raw.value.starts_with("env:");
        let text = if by_reference { self.secret(raw)?.reveal().to_owned() } else { raw.value.clone() };
        let Ok(url) = Url::parse(&text) else {
            self.refuse(
                at,
                "url is not understood".to_owned(),
                "write https://host/path, or file:/path of a file with it",
            );
            return None;
        };
        let Some(host) = url.host_str() else {
            self.refuse(at, "url names no host".to_owned(), "write https://host/path");
            return None;
        };
        if !url.username().is_empty() || url.password().is_some() {
            let remedy = "take them out; sign with secret: file:/path instead";
            self.refuse(at, "url holds a user name or password".to_owned(), remedy);
            return None;
        }
        if host_address(host).is_some_and(is_link_local) {
            self.refuse(at, "url points at a link-local address".to_owned(), "name the receiver's own address");
            return None;
        }
        match url.scheme() {
            "https" => {}
            "http" if allow_plain_http || is_loopback_host(host) => {}
            "http" => {
                let message = format!("plain http to {host}: anybody on the way can read and change what is told");
                self.refuse(at, message, "use https, or say allow_plain_http: true");
                return None;
            }
            other => {
                self.refuse(at, format!("url scheme {other} is not http or https"), "write https://host/path");
                return None;
            }
        }
        Some(url)
    }

    fn email(&mut self, raw: RawEmail, at: Location) -> Option<EmailChannel> {
        let server = raw.server.value;
        let starttls = raw.starttls == StartTls::Required;
        let mut whole = true;
        if server.is_empty() || !server.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':')) {
            self.refuse(raw.server.referenced, format!("server {server:?} is no host name"), "write mail.example.com");
            whole = false;
        }
        if !starttls && !is_loopback_host(&server) {
            let message = format!("starttls: never towards {server}: mail would cross the network in the clear");
            self.refuse(raw.server.referenced, message, "use starttls: required, or a relay on this host");
            whole = false;
        }
        if raw.to.is_empty() || raw.to.len() > RECIPIENTS_MAX {
            let message = format!("{} recipients; there must be 1 to {RECIPIENTS_MAX}", raw.to.len());
            self.refuse(at, message, "list them under to:, or use a mailing list");
            whole = false;
        }
        if let Some(hello) = &raw.hello
            && (hello.value.is_empty()
                || !hello.value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')))
        {
            let message = format!("hello {:?} is no host name", hello.value);
            self.refuse(hello.referenced, message, "write this host's name, host.example.com");
            whole = false;
        }
        let from = self.mailbox(&raw.from);
        let to: Vec<Option<Mailbox>> = raw.to.iter().map(|one| self.mailbox(one)).collect();
        let timeout = self.timeout(raw.timeout);
        let login = self.login(raw.username, raw.password, starttls)?;
        let port = raw.port.unwrap_or(if starttls { 587 } else { 25 });
        let to: Option<Vec<Mailbox>> = to.into_iter().collect();
        let hello = raw.hello.map(|hello| hello.value);
        let channel = EmailChannel { server, port, from: from?, to: to?, hello, login, starttls, timeout: timeout? };
        whole.then_some(channel)
    }

    /// Outer none: refused. Inner none: no login wanted.
    #[allow(clippy::option_option, reason = "refused and absent are two answers")]
    fn login(
        &mut self,
        username: Option<Spanned<String>>,
        password: Option<Spanned<String>>,
        starttls: bool,
    ) -> Option<Option<(Secret, Secret)>> {
        let (username, password) = match (username, password) {
            (None, None) => return Some(None),
            (Some(username), Some(password)) => (username, password),
            (Some(one), None) | (None, Some(one)) => {
                self.refuse(one.referenced, "username and password go together".to_owned(), "give both or neither");
                return None;
            }
        };
        if !starttls {
            let message = "a login with starttls: never would send the password in the clear".to_owned();
            self.refuse(username.referenced, message, "use starttls: required, or no login");
            return None;
        }
        let (username, password) = (self.secret(&username), self.secret(&password));
        Some(Some((username?, password?)))
    }

    fn secret(&mut self, reference: &Spanned<String>) -> Option<Secret> {
        match Secret::read(&reference.value) {
            Ok(secret) => Some(secret),
            Err(error) => {
                let remedy = SecretError::remedy(&error);
                self.refuse(reference.referenced, error.to_string(), remedy);
                None
            }
        }
    }

    fn mailbox(&mut self, raw: &Spanned<String>) -> Option<Mailbox> {
        match raw.value.parse() {
            Ok(mailbox) => Some(mailbox),
            Err(error) => {
                let message = format!("address {:?}: {error}", raw.value);
                self.refuse(raw.referenced, message, "write ops@example.com or Operations <ops@example.com>");
                None
            }
        }
    }

    fn timeout(&mut self, raw: Option<Spanned<String>>) -> Option<Millis> {
        let Some(raw) = raw else { return Some(TIMEOUT_DEFAULT) };
        match parse_span(&raw.value) {
            Ok(span) if (TIMEOUT_MIN..=TIMEOUT_MAX).contains(&span) => Some(span),
            Ok(span) => {
                let message = format!("timeout {span} is not between {TIMEOUT_MIN} and {TIMEOUT_MAX}");
                self.refuse(raw.referenced, message, "write for example 10s");
                None
            }
            Err(error) => {
                self.refuse(raw.referenced, format!("timeout: {error}"), "write for example 10s");
                None
            }
        }
    }
}

fn host_address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// True for `localhost` and loopback addresses.
fn is_loopback_host(host: &str) -> bool {
    host == "localhost" || host_address(host).is_some_and(|address| address.is_loopback())
}

/// True for addresses that only mean something on one wire, cloud metadata
/// services among them: nobody to be told lives there.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or_else(|| is_v6_link_local(v6), |v4| v4.is_link_local()),
    }
}

fn is_v6_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests;
