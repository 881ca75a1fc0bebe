//! The part of the file that says how agents and operators come in: addresses,
//! sockets, certificates, local accounts and bounds.

use super::limits::{RawAgents, RawOperators, agent_limits, operator_limits};
use super::{Check, ConfigError, refusal};
use crate::http::peer::ACCOUNTS;
use crate::tls::ca::{AGENT_LIFE, AGENT_LIFE_MIN};
use crate::{http, ingest, tls};
use serde::Deserialize;
use signalbox_proto::api::{Finding, Role};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// The kernel takes no longer name of a Unix socket, bytes.
const SOCKET_PATH_MAX_BYTES: usize = 107;
/// Names that `tls.names` may hold.
const NAMES_MAX: usize = 32;
/// Accounts that may be listed, of agents and of operators.
const ACCOUNTS_MAX: usize = 64;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTls {
    ca_cert: Option<PathBuf>,
    ca_key: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    names: Vec<String>,
    agent_certificate: Option<String>,
    http: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLocalAgents {
    uids: Vec<u32>,
}

/// How agents and operators come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doors {
    /// Where operators connect.
    pub listen_http: SocketAddr,
    /// Where agents connect, always inside TLS.
    pub listen_grpc: SocketAddr,
    /// Unix socket of agents on this host.
    pub agent_socket: PathBuf,
    /// Unix socket of operators on this host.
    pub operator_socket: PathBuf,
    /// Operators connect inside TLS.
    pub http_tls: bool,
    /// Keys, certificates and names.
    pub tls: tls::Settings,
    /// What the site calls this collector, the first of `tls.names`.
    pub first_name: Option<String>,
    /// User ids whose agents may use the socket, beside root's and the collector's own.
    pub local_agents: Vec<u32>,
    /// Accounts that may use the operators' socket, beside those two, and their roles.
    pub local_operators: BTreeMap<String, Role>,
    /// Bounds of the agents' door.
    pub agents: ingest::Limits,
    /// Bounds of the operators' door.
    pub operators: http::Limits,
}

/// The raw parts, together.
pub(super) struct RawDoors {
    pub(super) listen_http: Option<String>,
    pub(super) listen_grpc: Option<String>,
    pub(super) agent_socket: Option<PathBuf>,
    pub(super) operator_socket: Option<PathBuf>,
    pub(super) tls: RawTls,
    pub(super) local_agents: RawLocalAgents,
    pub(super) local_operators: BTreeMap<String, String>,
    pub(super) agents: RawAgents,
    pub(super) operators: RawOperators,
}

impl Doors {
    pub(super) fn check(
        raw: RawDoors,
        flags: &super::Overrides,
        folder: &Path,
        data_dir: &Path,
        check: &Check<'_>,
    ) -> Result<Doors, ConfigError> {
        let listen_http = check.address("listen_http", raw.listen_http, "127.0.0.1:8440", flags.listen_http)?;
        let listen_grpc = check.address("listen_grpc", raw.listen_grpc, "127.0.0.1:8441", flags.listen_grpc)?;
        let (wants_tls, first_name) = (raw.tls.http, raw.tls.names.first().cloned());
        let mut tls = settings(raw.tls, folder, check)?;
        let http_tls = match wants_tls {
            Some(false) if !listen_http.ip().is_loopback() => {
                let why = format!(
                    "{listen_http} can be reached from other hosts, and passwords would cross the network in the open: \
                     leave tls.http out, or listen on a loopback address such as 127.0.0.1:8440"
                );
                return Err(check.refuse("tls.http", why));
            }
            Some(false) if tls.site_http.is_some() => {
                return Err(check.refuse("tls.http", "it is false, and tls.cert is for nothing else: leave one out"));
            }
            Some(wanted) => wanted,
            None => !listen_http.ip().is_loopback() || tls.site_http.is_some(),
        };
        for address in [listen_grpc, listen_http] {
            tls.names.extend(names_of(address.ip()));
        }
        tls.names.sort();
        tls.names.dedup();
        let socket = |key, path: Option<PathBuf>, name: &str| {
            check.socket(key, path.map_or_else(|| data_dir.join(name), |path| folder.join(path)))
        };
        Ok(Doors {
            listen_http,
            listen_grpc,
            agent_socket: socket("agent_socket", raw.agent_socket, "agent.sock")?,
            operator_socket: socket("operator_socket", raw.operator_socket, "operator.sock")?,
            http_tls,
            tls,
            first_name,
            local_agents: check.at_most("local_agents.uids", raw.local_agents.uids)?,
            local_operators: operators(raw.local_operators, check)?,
            agents: agent_limits(&raw.agents, check)?,
            operators: operator_limits(&raw.operators, check)?,
        })
    }

    /// A warning for each of `local_operators` that this host has no account of: nobody
    /// can come in by it.
    pub fn unknown_accounts(&self) -> Vec<Finding> {
        unknown_accounts(&self.local_operators, &std::fs::read_to_string(ACCOUNTS).unwrap_or_default())
    }

    /// `https://HOST:PORT` under which agents of other hosts reach the collector.
    pub fn agents_address(&self) -> String {
        format!("https://{}", self.host_port(self.listen_grpc))
    }

    /// The page's address, when none is given.
    pub(super) fn page(&self) -> String {
        let scheme = if self.http_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.host_port(self.listen_http))
    }

    /// An address that can be called: of one that stands for all, this host's name.
    fn host_port(&self, address: SocketAddr) -> String {
        if !address.ip().is_unspecified() {
            return address.to_string();
        }
        let host = self.first_name.clone().unwrap_or_else(host_name);
        format!("{host}:{}", address.port())
    }
}

/// The host's own name.
pub(super) fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if is_name(&name) { name } else { "localhost".to_owned() }
}

/// Names that a listener at this address surely has.
fn names_of(address: IpAddr) -> Vec<String> {
    let near = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    match address.to_canonical() {
        address if address.is_unspecified() => near.into_iter().chain([host_name()]).collect(),
        address if address.is_loopback() => near.into_iter().chain([address.to_string()]).collect(),
        address => vec![address.to_string(), host_name()],
    }
}

/// A host name as certificates hold it (RFC 1123), or an address.
fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        label.len() <= 63
            && is_edge(label.chars().next())
            && is_edge(label.chars().last())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    name.parse::<IpAddr>().is_ok() || (name.len() <= 253 && name.split('.').all(label))
}

fn settings(raw: RawTls, folder: &Path, check: &Check<'_>) -> Result<tls::Settings, ConfigError> {
    let pair = |names: [&'static str; 2], certificate: Option<PathBuf>, key: Option<PathBuf>| match (certificate, key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some((folder.join(certificate), folder.join(key)))),
        (given, _) => {
            let (has, lacks) = if given.is_some() { (names[0], names[1]) } else { (names[1], names[0]) };
            Err(check.refuse(lacks, format!("it is missing: {has} is given, and neither works without the other")))
        }
    };
    let site_ca = pair(["tls.ca_cert", "tls.ca_key"], raw.ca_cert, raw.ca_key)?;
    let site_http = pair(["tls.cert", "tls.key"], raw.cert, raw.key)?;
    if raw.names.len() > NAMES_MAX {
        return Err(check.refuse("tls.names", format!("{} names are over the limit of {NAMES_MAX}", raw.names.len())));
    }
    if let Some(name) = raw.names.iter().find(|name| !is_name(name)) {
        let why = format!("{name:?} is no host name and no address; write for example collector.example.com");
        return Err(check.refuse("tls.names", why));
    }
    let life = raw.agent_certificate.as_deref();
    let agent_life = check.span("tls.agent_certificate", life, AGENT_LIFE_MIN, AGENT_LIFE)?.unwrap_or(AGENT_LIFE);
    Ok(tls::Settings { site_ca, site_http, names: raw.names, agent_life })
}

fn unknown_accounts(operators: &BTreeMap<String, Role>, accounts: &str) -> Vec<Finding> {
    let is_there = |name: &str| accounts.lines().any(|line| line.split(':').next() == Some(name));
    let unknown = operators.keys().filter(|name| !is_there(name));
    let warning = |name: &String| Finding {
        error: false,
        remedy: "mend the name, make the account (useradd), or take the line away; accounts of a directory service do \
                 not count"
            .to_owned(),
        ..refusal(format!("local_operators: {name:?} is no account of this host ({ACCOUNTS}): nobody comes in by it"))
    };
    unknown.map(warning).collect()
}

fn operators(raw: BTreeMap<String, String>, check: &Check<'_>) -> Result<BTreeMap<String, Role>, ConfigError> {
    if raw.len() > ACCOUNTS_MAX {
        return Err(
            check.refuse("local_operators", format!("{} accounts are over the limit of {ACCOUNTS_MAX}", raw.len()))
        );
    }
    let read = |(name, role): (String, String)| {
        let role = role.parse().map_err(|why| check.refuse("local_operators", format!("{name}: {why}")))?;
        Ok((name, role))
    };
    raw.into_iter().map(read).collect()
}

impl Check<'_> {
    fn address(
        &self,
        key: &'static str,
        text: Option<String>,
        default: &str,
        flag: Option<SocketAddr>,
    ) -> Result<SocketAddr, ConfigError> {
        let text = text.as_deref().unwrap_or(default);
        let why = || format!("{text:?} is no address and port; write for example {default}");
        flag.map_or_else(|| text.parse().map_err(|_| self.refuse(key, why())), Ok)
    }

    fn socket(&self, key: &'static str, path: PathBuf) -> Result<PathBuf, ConfigError> {
        let n_bytes = path.as_os_str().len();
        if n_bytes <= SOCKET_PATH_MAX_BYTES {
            return Ok(path);
        }
        let why = format!(
            "{} has {n_bytes} bytes, and the kernel takes no name of a socket over {SOCKET_PATH_MAX_BYTES}: \
             give a shorter path, for example /run/signalbox/{}",
            path.display(),
            path.file_name().unwrap_or_default().display()
        );
        Err(self.refuse(key, why))
    }

    fn at_most<T>(&self, key: &'static str, list: Vec<T>) -> Result<Vec<T>, ConfigError> {
        let n = list.len();
        if n <= ACCOUNTS_MAX {
            Ok(list)
        } else {
            Err(self.refuse(key, format!("{n} are over the limit of {ACCOUNTS_MAX}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_without_an_account_is_warned_about_by_name() {
        let operators = BTreeMap::from([("ada".to_owned(), Role::Admin), ("bob".to_owned(), Role::Viewer)]);
        let found = unknown_accounts(&operators, "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/:\n");
        assert_eq!(found.len(), 1);
        assert!(!found[0].error && found[0].place().is_empty() && !found[0].remedy.is_empty());
        assert!(found[0].message.contains("\"bob\" is no account of this host"), "{found:?}");
    }
}
