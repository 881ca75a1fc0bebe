//! Exit codes: what a script or a scheduler learns.

use crate::client::ClientError;
use crate::hosts::HostsError;
use crate::rule_files::RuleFilesError;
use crate::text::{clean_json, clean_lines};
use thiserror::Error;

/// Done.
pub const OK: u8 = 0;
/// Refused, not found, or rules with errors.
pub const FAILURE: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// The collector is not reachable.
pub const UNREACHABLE: u8 = 3;
/// What a Nagios plugin says when it cannot tell, usage errors included.
pub const PLUGIN_UNKNOWN: u8 = 3;

/// Why a command did not do what was asked.
#[derive(Debug, Error)]
pub enum Failure {
    /// The collector could not be asked, or said no.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Words that clap accepted and that still make no sense.
    #[error("{0}")]
    Usage(String),
    /// Logins could not be read or kept.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// Rule files could not be read.
    #[error("{0}")]
    RuleFiles(String),
    /// The answer is printed; it is a failure, and says so itself.
    #[error("told already")]
    Told,
    /// Standard output or the terminal failed.
    #[error("cannot write to the terminal")]
    Terminal(#[from] std::io::Error),
}

impl From<RuleFilesError> for Failure {
    fn from(error: RuleFilesError) -> Failure {
        Failure::RuleFiles(chain(&error))
    }
}

impl Failure {
    /// The code that the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Client(ClientError::Address { .. }) | Failure::Usage(_) => USAGE,
            Failure::Client(error) if error.is_unreachable() => UNREACHABLE,
            // The reader went away, as `head` does: nobody is left to tell.
            Failure::Terminal(error) if error.kind() == std::io::ErrorKind::BrokenPipe => OK,
            Failure::Client(_) | Failure::RuleFiles(_) | Failure::Hosts(_) | Failure::Told | Failure::Terminal(_) => {
                FAILURE
            }
        }
    }

    /// Lines for standard error, without terminal controls; none when the
    /// failure was told already.
    pub fn lines(&self) -> Vec<String> {
        if self.is_told() {
            return Vec::new();
        }
        let mut lines = clean_lines(&format!("signalbox: {}", chain_of(self)));
        lines.extend(clean_lines(self.remedy()).into_iter().map(|line| format!("  = {line}")));
        lines
    }

    /// The same as one JSON document, `{"error", "exit", "remedy"}`; none when the
    /// failure was told already.
    pub fn json(&self) -> Option<String> {
        (!self.is_told()).then(|| json(&chain_of(self), self.remedy(), self.exit_code()))
    }

    fn is_told(&self) -> bool {
        matches!(self, Failure::Told) || self.exit_code() == OK
    }

    /// How to mend it; empty where the failure says so itself.
    fn remedy(&self) -> &str {
        match self {
            Failure::Client(ClientError::Refused { remedy, .. }) => remedy,
            Failure::Client(error) if error.is_about_certificates() => {
                "on the collector's host: signalbox ca show > ca.pem; then here: signalbox login URL --ca ca.pem; \
                 a name that its certificate lacks goes into tls.names of its configuration"
            }
            Failure::Client(ClientError::Unreachable { url, source }) => unreachable(url, source),
            _ => "",
        }
    }
}

/// What most likely keeps a call from being answered, and what to do.
fn unreachable(url: &str, error: &reqwest::Error) -> &'static str {
    let mut kind = None;
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind).or(kind);
        cause = error.source();
    }
    hint(url, kind, &root(error).to_lowercase(), error.is_timeout())
}

fn hint(url: &str, kind: Option<std::io::ErrorKind>, said: &str, is_timeout: bool) -> &'static str {
    let has = |parts: &[&str]| parts.iter().any(|part| said.contains(part));
    if url.starts_with("unix:") && kind == Some(std::io::ErrorKind::PermissionDenied) {
        return "run this as root or as the collector's account, have an admin name yours in local_operators of \
                collector.yaml, or log in with a password: signalbox login URL";
    }
    if url.starts_with("https:") && has(&["corrupt message"]) {
        return "nothing speaks TLS at this port: write http://127.0.0.1:PORT on the collector's own host, or another \
                port; operators use listen_http of collector.yaml, 8440 by default";
    }
    if url.starts_with("https:") && has(&["noapplicationprotocol", "certificaterequired"]) {
        return "this is a port for agents: operators use listen_http of collector.yaml, 8440 by default";
    }
    if url.starts_with("http:") && has(&["invalid http", "message completed", "connection reset"]) {
        return "this port may speak TLS: write https:// in place of http://; operators use listen_http of \
                collector.yaml, 8440 by default";
    }
    if is_timeout {
        return "give it longer with --timeout 60s; signalbox doctor looks into it";
    }
    "is signalbox-collector running? signalbox doctor looks into it; --collector URL or --socket PATH name another"
}

/// A failure as a program reads it.
pub(crate) fn json(error: &str, remedy: &str, exit: u8) -> String {
    let document = serde_json::json!({ "error": error, "remedy": remedy, "exit": exit });
    clean_json(&document.to_string())
}

fn chain_of(failure: &Failure) -> String {
    match failure {
        // Between "not reachable" and the kernel's word lie three layers of HTTP that say nothing.
        Failure::Client(error) if error.is_unreachable() => format!("{error}: {}", root(error)),
        Failure::Client(error) => chain(error),
        other => chain(other),
    }
}

/// The error and each of its sources, without what a source only repeats.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn root(error: &dyn std::error::Error) -> String {
    let mut root = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    root.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_shows_its_remedy_line_by_line() {
        let refused = Failure::from(ClientError::Refused {
            status: 404,
            error: "no item load".to_owned(),
            remedy: "one of:\nhost/a:load\nhost/b:load\u{1b}[2J".to_owned(),
        });
        assert_eq!(refused.exit_code(), FAILURE);
        let lines = refused.lines();
        assert_eq!(lines, ["signalbox: no item load", "  = one of:", "  = host/a:load", "  = host/b:load\\u{1b}[2J"]);
    }

    #[test]
    fn programs_get_the_same_words_as_json() {
        let refused = ClientError::Refused { status: 404, error: "no \u{9b}".to_owned(), remedy: "look".to_owned() };
        let text = Failure::from(refused).json().unwrap();
        assert_eq!(text, r#"{"error":"no \u009b","exit":1,"remedy":"look"}"#);
        assert_eq!(Failure::Told.json(), None);
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let gone = Failure::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!(gone.exit_code(), OK);
        assert!(gone.lines().is_empty());
        assert_eq!(Failure::from(std::io::Error::other("disk full")).exit_code(), FAILURE);
    }

    #[test]
    fn what_keeps_a_call_from_being_answered_has_its_own_remedy() {
        let denied = Some(std::io::ErrorKind::PermissionDenied);
        assert!(hint("unix:/run/x.sock", denied, "permission denied", false).contains("local_operators"));
        assert!(hint("https://c:8440", None, "operation timed out", true).contains("--timeout 60s"));
        assert!(
            hint("http://127.0.0.1:1", denied, "permission denied", false).contains("is signalbox-collector running?")
        );
    }

    #[test]
    fn a_wrong_address_is_usage() {
        let address = ClientError::Address { address: "x".to_owned(), why: "is no URL".to_owned() };
        assert_eq!(Failure::from(address).exit_code(), USAGE);
    }
}
