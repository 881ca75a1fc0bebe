//! `signalbox doctor`: looks for what is broken in an installation.
//!
//! Shape: this file gathers facts (it waits and reads files), [`judge`] makes
//! findings of them (pure). Every finding that is not good says what to do. A look
//! changes nothing, and works as far as it can whatever is broken.

pub mod judge;

use crate::args::{Cli, Output};
use crate::client::{Client, ClientError};
use crate::exit::{self, Failure};
use crate::hosts::Hosts;
use crate::look::Look;
use crate::render;
use crate::target::{Said, Target, sockets};
use judge::{Finding, State};
use signalbox_proto::clock::Clock;
use signalbox_proto::units::UnixMillis;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Files with secrets, under the collector's data directory.
const COLLECTOR_SECRETS: [&str; 4] = ["ca/ca.key", "ca/ca-next.key", "ca/server.key", "audit.key"];
/// An agent's folder of state on a host that was set up in the usual way.
const AGENT_STATE: &str = "/var/lib/signalbox/agent";
/// Files with secrets, under an agent's folder of state.
const AGENT_SECRETS: [&str; 1] = ["identity/agent.key"];

/// True when this process can connect to the socket.
pub fn can_open(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}

/// Looks, prints what was found; 1 when something is broken.
///
/// # Errors
/// [`Failure`] when nothing could be printed.
pub async fn run(cli: &Cli, said: &Said, clock: &dyn Clock) -> Result<u8, Failure> {
    let mut findings = Vec::new();
    let hosts = match Hosts::read(Hosts::path().as_deref()) {
        Ok(hosts) => hosts,
        Err(error) => {
            findings.push(Finding::bad("logins", error.to_string(), "signalbox login URL makes the file anew"));
            Hosts::default()
        }
    };
    findings.extend(sockets(said).iter().filter_map(|path| socket(path)));
    let target = Target::pick(said, &hosts, can_open);
    match Client::of(&target, cli.timeout) {
        Ok(client) => findings.extend(ask(&client, &target, clock).await),
        Err(error) => {
            findings.push(Finding::bad("collector", error.to_string(), "give --collector URL or --socket PATH"))
        }
    }
    // Also when nobody answers: that is when people look.
    let folders = sockets(said).into_iter().filter_map(|socket| socket.parent().map(Path::to_owned));
    for folder in folders {
        let known = findings.clone();
        findings.extend(files(&folder, &COLLECTOR_SECRETS).into_iter().filter(|finding| !known.contains(finding)));
    }
    findings.extend(files(Path::new(AGENT_STATE), &AGENT_SECRETS));
    show(cli, &findings, clock.wall())?;
    Ok(if findings.iter().any(|finding| finding.state == State::Bad) { exit::FAILURE } else { exit::OK })
}

fn show(cli: &Cli, findings: &[Finding], now: UnixMillis) -> Result<(), Failure> {
    let text = match cli.output {
        Output::Json => serde_json::to_string(findings).map_err(|error| Failure::Terminal(error.into()))? + "\n",
        Output::Table | Output::Csv => {
            let columns = crossterm::terminal::size().ok().map(|(columns, _)| usize::from(columns));
            let terminal = std::io::stdout().is_terminal();
            let look = Look { width: columns.filter(|n| terminal && *n > 0), colour: false, now };
            render::doctor::findings(&look, findings)
        }
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// What a socket that is there is like; none when there is no such file.
fn socket(path: &Path) -> Option<Finding> {
    if !path.exists() {
        return None;
    }
    let name = path.display().to_string();
    Some(match UnixStream::connect(path) {
        Ok(_) => Finding::good("socket", format!("{name} answers")),
        Err(error) => {
            let remedy = match error.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    "run this as root or as the collector's account, or have yourself named in local_operators"
                }
                _ => "the collector does not run: systemctl status signalbox-collector",
            };
            Finding::bad("socket", format!("{name} cannot be opened: {error}"), remedy)
        }
    })
}

/// What the collector says about itself and its agents.
async fn ask(client: &Client, target: &Target, clock: &dyn Clock) -> Vec<Finding> {
    let mut findings = Vec::new();
    match client.whoami().await {
        Ok(answer) => {
            let who = &answer.value;
            let may = who.role.map_or("permissions of its own", signalbox_proto::api::Role::word);
            findings.push(Finding::good("collector", format!("{} knows me as {} ({may})", client.address(), who.name)));
        }
        Err(error) => {
            findings.push(judge::refusal(client.address(), &error));
            return findings;
        }
    }
    let before = clock.wall();
    match client.self_report().await {
        Ok(answer) => {
            let rtt = clock.wall().since(before);
            findings.extend(judge::collector(&answer.value, clock.wall(), rtt));
            if matches!(target, Target::Socket { .. }) {
                findings.extend(files(Path::new(&answer.value.data_dir), &COLLECTOR_SECRETS));
            }
        }
        Err(error) => findings.extend(skipped("collector", &error)),
    }
    match client.agents().await {
        Ok(answer) => findings.extend(judge::agents(&answer.value)),
        Err(error) => findings.extend(skipped("agents", &error)),
    }
    match client.agent_keys().await {
        Ok(answer) => findings.extend(judge::certificates(&answer.value, clock.wall())),
        Err(error) => findings.extend(skipped("certificates", &error)),
    }
    match client.verify_audit().await {
        Ok(answer) => findings.push(judge::audit(&answer.value)),
        Err(error) => findings.extend(skipped("audit", &error)),
    }
    findings
}

/// What could not be looked at, and why.
fn skipped(check: &'static str, error: &ClientError) -> Option<Finding> {
    let remedy = "ask somebody whose role allows it, or run this as root on the collector's host";
    Some(Finding::odd(check, format!("not looked at: {error}"), remedy))
}

/// Files that nobody but their owner may read.
fn files(folder: &Path, secrets: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in secrets.iter().map(|name| folder.join(name)) {
        findings.extend(secret_file(&path));
    }
    if let Ok(facts) = std::fs::metadata(folder)
        && facts.mode() & 0o002 != 0
    {
        let found = format!("every account can write into {}", folder.display());
        findings.push(Finding::bad("files", found, format!("run: chmod o-w {}", folder.display())));
    }
    findings
}

/// None when it is not there, or this account may not see it: both are as they must be.
fn secret_file(path: &PathBuf) -> Option<Finding> {
    let facts = std::fs::symlink_metadata(path).ok()?;
    let (name, mode) = (path.display(), facts.mode() & 0o777);
    if mode & 0o077 == 0 {
        return Some(Finding::good("files", format!("{name} is its owner's alone")));
    }
    let remedy = format!("run: chmod 600 {name}; whoever could read it may have a copy, so make a new key");
    Some(Finding::bad("files", format!("{name} can be read by others (mode {mode:03o})"), remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_that_others_can_read_is_found() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("ca")).unwrap();
        let key = dir.path().join("ca/ca.key");
        std::fs::write(&key, "x").unwrap();
        let state = |mode| {
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
            files(dir.path(), &COLLECTOR_SECRETS).iter().map(|finding| finding.state).collect::<Vec<_>>()
        };
        assert_eq!(state(0o600), [State::Good]);
        assert_eq!(state(0o644), [State::Bad]);
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(state(0o600), [State::Good, State::Bad]);
    }

    #[test]
    fn a_socket_that_nobody_serves_is_found_and_none_is_no_finding() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("operator.sock");
        assert_eq!(socket(&path), None);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(socket(&path).unwrap().state, State::Good);
        drop(listener);
        let dead = socket(&path).unwrap();
        assert!(dead.state == State::Bad && dead.remedy.contains("systemctl"), "{dead:?}");
    }
}
