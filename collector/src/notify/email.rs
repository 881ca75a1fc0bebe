//! E-mail: one short plain-text message a notice, threaded by incident.
//!
//! `Message-ID` comes from the notice's key, so that a copy sent again is known as
//! one; `References` and `In-Reply-To` name the incident, so that mail programs
//! show its messages together. Text from outside is cut to one line before it gets
//! near a header. When the server's last word is missing nobody knows whether it
//! has the mail: that counts as failed, and the next attempt has the same identity.

use crate::notify::config::EmailChannel;
use crate::notify::webhook::incident_url;
use crate::notify::when::utc_seconds;
use crate::notify::{Notifier, one_line};
use async_trait::async_trait;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{Error as SmtpError, response::Response};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor, address::Envelope};
use sha2::{Digest, Sha256};
use signalbox_engine::decision::Notice;
use signalbox_engine::event::DeliveryOutcome;
use signalbox_proto::text::hex;
use signalbox_proto::units::{Millis, UnixMillis};
use std::fmt::Write;
use std::time::{Duration, SystemTime};
use thiserror::Error;

/// Characters of a subject; longer ones are cut by many screens anyway.
const SUBJECT_MAX_CHARS: usize = 150;
/// Characters of one line of the body.
const LINE_MAX_CHARS: usize = 200;
/// Characters of a body: what a pager or a watch still shows.
const BODY_MAX_CHARS: usize = 999;
/// Characters of a server's answer that are told on.
const ANSWER_MAX_CHARS: usize = 200;

/// Why a mail could not be made or a mailer prepared.
#[derive(Debug, Error)]
pub(crate) enum EmailError {
    /// TLS could not be set up.
    #[error("prepare TLS for {server}: {source}")]
    Tls {
        /// Towards whom.
        server: String,
        /// Why.
        source: SmtpError,
    },
    /// The message lacks what a mail must have.
    #[error("write the mail: {0}")]
    Message(#[from] lettre::error::Error),
}

/// Sends through one server.
pub(crate) struct Email {
    channel: EmailChannel,
    external_url: String,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl Email {
    /// `external_url`: where people find this collector, without a slash at the end.
    ///
    /// # Errors
    /// [`EmailError::Tls`].
    pub(crate) fn new(channel: EmailChannel, external_url: &str) -> Result<Email, EmailError> {
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&channel.server)
            .port(channel.port)
            .timeout(Some(channel.timeout.std()))
            .tls(tls(&channel)?);
        if let Some(hello) = &channel.hello {
            builder = builder.hello_name(ClientId::Domain(hello.clone()));
        }
        if let Some((username, password)) = &channel.login {
            builder = builder.credentials(Credentials::new(username.reveal().to_owned(), password.reveal().to_owned()));
        }
        Ok(Email { external_url: external_url.to_owned(), transport: builder.build(), channel })
    }

    /// The whole list at once; where the server refuses that for good, each by
    /// itself: one address that does not exist must not silence the others.
    async fn send(&self, message: &Message) -> DeliveryOutcome {
        let formatted = message.formatted();
        let whole = self.transport.send_raw(message.envelope(), &formatted).await;
        let refused = matches!(&whole, Err(error) if error.is_permanent() && !may_be_mended(error));
        if !refused || message.envelope().to().len() == 1 {
            return judge(whole);
        }
        let (mut accepted, mut errors, mut retry) = (Vec::new(), Vec::new(), false);
        for address in message.envelope().to() {
            let sent = match Envelope::new(message.envelope().from().cloned(), vec![address.clone()]) {
                Ok(envelope) => judge(self.transport.send_raw(&envelope, &formatted).await),
                Err(error) => DeliveryOutcome::Refused { error: error.to_string() },
            };
            match sent {
                DeliveryOutcome::Accepted { answer } => accepted.push(answer),
                DeliveryOutcome::Failed { error } => {
                    retry = true;
                    errors.push(format!("{address}: {error}"));
                }
                DeliveryOutcome::Refused { error } => errors.push(format!("{address}: {error}")),
            }
        }
        summed_up(&accepted, &errors, retry)
    }
}

/// What a mail sent address by address came to: told if anybody was. An address
/// refused for the moment is then not tried again, since a second attempt would be a
/// second mail to those who have it.
fn summed_up(accepted: &[String], errors: &[String], retry: bool) -> DeliveryOutcome {
    let errors = one_line(&errors.join("; "), ANSWER_MAX_CHARS);
    match accepted.first() {
        Some(answer) => DeliveryOutcome::Accepted {
            answer: format!("{answer} ({} of the addresses; not {errors})", accepted.len()),
        },
        None if retry => DeliveryOutcome::Failed { error: errors },
        None => DeliveryOutcome::Refused { error: errors },
    }
}

#[async_trait]
impl Notifier for Email {
    async fn notify(&self, notice: &Notice) -> DeliveryOutcome {
        let message = match render(&self.channel, notice, &self.external_url) {
            Ok(message) => message,
            Err(error) => return DeliveryOutcome::Refused { error: error.to_string() },
        };
        // lettre's limit is for each command; together they may take a few.
        let limit: Millis = self.channel.timeout.times(3);
        match tokio::time::timeout(limit.std(), self.send(&message)).await {
            Ok(outcome) => outcome,
            Err(_) => DeliveryOutcome::Failed { error: format!("no word from {} within {limit}", self.channel.server) },
        }
    }
}

fn tls(channel: &EmailChannel) -> Result<Tls, EmailError> {
    if !channel.starttls {
        return Ok(Tls::None);
    }
    let failed = |source| EmailError::Tls { server: channel.server.clone(), source };
    Ok(Tls::Required(TlsParameters::new(channel.server.clone()).map_err(failed)?))
}

fn judge(sent: Result<Response, SmtpError>) -> DeliveryOutcome {
    match sent {
        Ok(response) => {
            let words: Vec<&str> = response.message().collect();
            let answer = one_line(&format!("{} {}", response.code(), words.join(" ")), ANSWER_MAX_CHARS);
            DeliveryOutcome::Accepted { answer }
        }
        Err(error) => {
            let text = one_line(&error.to_string(), ANSWER_MAX_CHARS);
            if error.is_permanent() && !may_be_mended(&error) {
                DeliveryOutcome::Refused { error: text }
            } else {
                DeliveryOutcome::Failed { error: text }
            }
        }
    }
}

/// Refusals of the login (RFC 4954), of the connection and of the lack of TLS: the
/// mail is not at fault, and somebody may mend the cause while it waits.
fn may_be_mended(error: &SmtpError) -> bool {
    const ABOUT_US: [&str; 7] = ["421", "454", "521", "530", "534", "535", "538"];
    error.status().is_some_and(|code| ABOUT_US.contains(&code.to_string().as_str()))
}

/// The message: pure, the same for every attempt of a notice.
///
/// # Errors
/// [`EmailError::Message`].
pub(crate) fn render(channel: &EmailChannel, notice: &Notice, external_url: &str) -> Result<Message, EmailError> {
    let domain = channel.from.email.domain();
    let thread = thread_id(notice, domain);
    let envelope_to: Vec<Address> = channel.to.iter().map(|to| to.email.clone()).collect();
    let envelope = Envelope::new(Some(channel.from.email.clone()), envelope_to)?;
    let mut builder = Message::builder().envelope(envelope).from(channel.from.clone());
    for to in &channel.to {
        builder = builder.to(Mailbox::clone(to));
    }
    let message = builder
        .date(system_time(notice.at))
        .subject(subject(notice))
        .message_id(Some(message_id(&notice.key, domain)))
        .in_reply_to(thread.clone())
        .references(thread)
        .raw_header(plain_header("Auto-Submitted", "auto-generated"))
        .header(MIME_VERSION_1_0)
        .header(ContentType::TEXT_PLAIN)
        .body(body(notice, external_url))?;
    Ok(message)
}

fn plain_header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

fn message_id(key: &str, domain: &str) -> String {
    format!("<{}.signalbox@{domain}>", hex(&Sha256::digest(key)[..16]))
}

/// The same for all notices of one incident; the instant tells apart incidents of
/// the same number from another life of the store.
fn thread_id(notice: &Notice, domain: &str) -> String {
    let UnixMillis(detected) = notice.detected;
    format!("<inc-{}-{detected}.signalbox@{domain}>", notice.incident_number)
}

fn system_time(at: UnixMillis) -> SystemTime {
    // A date before 1970 or after 9999 is no mail's.
    let ms = u64::try_from(at.0).unwrap_or(0).min(253_402_300_799_000);
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}

/// `[RED] INC-17 title`, `[GREEN] INC-17 restored: title`, `[CLOSED] INC-17 title`,
/// `[TEST] title`.
fn subject(notice: &Notice) -> String {
    let tag = notice.level.word().to_uppercase();
    let title = one_line(&notice.title, SUBJECT_MAX_CHARS);
    let subject = match notice.transition.as_str() {
        "test" => title,
        "closed" => format!("[CLOSED] {} {title}", notice.incident),
        "raised" => format!("[{tag}] {} {title}", notice.incident),
        transition => format!("[{tag}] {} {transition}: {title}", notice.incident),
    };
    one_line(&subject, SUBJECT_MAX_CHARS)
}

fn body(notice: &Notice, external_url: &str) -> String {
    let mut body = String::new();
    let mut line = |name: &str, text: &str| {
        if !text.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(body, "{name}{}", one_line(text, LINE_MAX_CHARS));
        }
    };
    line("", &notice.title);
    line("", &notice.why);
    if notice.transition == "closed" {
        line("", &format!("closed while {}, not restored", notice.was));
    } else {
        line("", &format!("{} (was {}), {}", notice.level, notice.was, notice.transition));
    }
    line("\nTo do:    ", &notice.sop);
    line("Owner:    ", &notice.owner);
    line("Item:     ", if notice.item.is_empty() { &notice.entity } else { &notice.item });
    line("Since:    ", &utc_seconds(notice.first_symptom));
    if let Some(restored) = notice.restored {
        line("Restored: ", &utc_seconds(restored));
    }
    line("Incident: ", &incident_url(external_url, notice));
    if let Some((cut, _)) = body.char_indices().nth(BODY_MAX_CHARS) {
        body.truncate(cut);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::testing::{hostile, notice};
    use expect_test::expect;

    fn channel() -> EmailChannel {
        EmailChannel {
            server: "localhost".to_owned(),
            port: 25,
            from: "Signalbox <signalbox@example.com>".parse().unwrap(),
            to: vec!["ops@example.com".parse().unwrap(), "Üwe <dba@example.com>".parse().unwrap()],
            hello: None,
            login: None,
            starttls: false,
            timeout: Millis::from_secs(1),
        }
    }

    fn mail(notice: &Notice) -> String {
        let message = render(&channel(), notice, "http://127.0.0.1:8420").unwrap();
        String::from_utf8(message.formatted()).unwrap().replace("\r\n", "\n")
    }

    #[test]
    fn a_raised_incident_reads_well() {
        expect![[r#"
            From: Signalbox <signalbox@example.com>
            To: ops@example.com, =?utf-8?b?w5x3ZQ==?= <dba@example.com>
            Date: Mon, 23 Nov 2026 02:20:03 +0000
            Subject: [RED] INC-17 / on web1 is 97 % full
            Message-ID: <838a8dc68c070bbfaae982ff63150fbd.signalbox@example.com>
            In-Reply-To: <inc-17-1795400403000.signalbox@example.com>
            References: <inc-17-1795400403000.signalbox@example.com>
            Auto-Submitted: auto-generated
            MIME-Version: 1.0
            Content-Type: text/plain; charset=utf-8
            Content-Transfer-Encoding: 7bit

            / on web1 is 97 % full
            97 >= 95 for 30s
            red (was green), raised

            To do:    https://wiki.example.com/sop/disk
            Owner:    unix
            Item:     host/web1:filesystem-full{mountpoint="/"}
            Since:    2026-11-23 02:19:33 UTC
            Incident: http://127.0.0.1:8420/incidents/17
        "#]]
        .assert_eq(&mail(&notice()));
    }

    #[test]
    fn a_restored_incident_says_so_in_the_same_thread() {
        let mut restored = notice();
        restored.key = "17-restored-hook-1".to_owned();
        restored.transition = "restored".to_owned();
        (restored.level, restored.was) = (signalbox_proto::status::Level::Green, restored.level);
        restored.restored = Some(UnixMillis(1_795_400_603_000));
        let (first, second) = (mail(&notice()), mail(&restored));
        let header =
            |mail: &str, name: &str| mail.lines().find(|line| line.starts_with(name)).map(ToOwned::to_owned).unwrap();
        assert_eq!(header(&second, "Subject"), "Subject: [GREEN] INC-17 restored: / on web1 is 97 % full");
        assert_eq!(header(&first, "References"), header(&second, "References"));
        assert_ne!(header(&first, "Message-ID"), header(&second, "Message-ID"));
    }

    #[test]
    fn a_closed_incident_is_neither_alarm_nor_restored() {
        let mut closed = notice();
        (closed.transition, closed.was, closed.why) =
            ("closed".to_owned(), closed.level, "closed: rule removed".to_owned());
        assert_eq!(subject(&closed), "[CLOSED] INC-17 / on web1 is 97 % full");
        let body = body(&closed, "http://x");
        assert!(body.contains("\nclosed: rule removed\nclosed while red, not restored\n"), "{body}");
    }

    #[test]
    fn hostile_text_makes_no_header_and_no_second_mail() {
        let mail = mail(&hostile());
        let (headers, _) = mail.split_once("\n\n").unwrap();
        let names: Vec<&str> = headers
            .lines()
            .filter(|line| !line.starts_with([' ', '\t']))
            .map(|line| line.split_once(':').unwrap().0)
            .collect();
        expect!["From To Date Subject Message-ID In-Reply-To References Auto-Submitted MIME-Version Content-Type Content-Transfer-Encoding"].assert_eq(&names.join(" "));
        assert!(!mail.contains("\n.\n"));
        assert!(!mail.contains('\0'));
    }

    #[test]
    fn bodies_stay_under_a_thousand_characters() {
        let mut long = hostile();
        (long.title, long.why, long.item, long.owner) =
            ("t".repeat(900), "w".repeat(900), "i".repeat(900), "o".repeat(900));
        assert!(body(&long, "http://x").chars().count() < 1000);
        assert!(subject(&long).chars().count() <= SUBJECT_MAX_CHARS);
    }

    #[test]
    fn the_same_notice_gives_the_same_bytes() {
        assert_eq!(mail(&notice()), mail(&notice()));
    }

    #[test]
    fn a_mail_that_reached_anybody_counts_as_told() {
        let refused = ["b@x: 550 no such user".to_owned()];
        assert!(matches!(summed_up(&["250 ok".to_owned()], &refused, false), DeliveryOutcome::Accepted { .. }));
        assert!(matches!(summed_up(&[], &refused, false), DeliveryOutcome::Refused { .. }));
        assert!(matches!(summed_up(&[], &refused, true), DeliveryOutcome::Failed { .. }));
    }
}
