//! Which collector is asked, and by which way in.
//!
//! ```text
//! --socket > --collector > SIGNALBOX_SOCKET > SIGNALBOX_COLLECTOR
//!          > a socket on this host > the last login > http://127.0.0.1:8440
//! ```
//!
//! On the collector's own host the Unix socket is the way in: the kernel says who
//! calls, no login is needed; unless SIGNALBOX_TOKEN says it, which goes there too. Everywhere else it is a URL and the token that
//! `signalbox login` has kept.

use crate::hosts::{Host, Hosts};
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a collector listens if nothing else is said.
pub const DEFAULT_COLLECTOR: &str = "http://127.0.0.1:8440";
/// Name of the operators' socket in the collector's data directory.
const SOCKET: &str = "operator.sock";
/// Where a collector's socket is on a host that was set up in the usual way.
const USUAL: [&str; 3] = ["/run/signalbox", "/var/lib/signalbox", "/var/lib/signalbox/collector"];

/// What somebody said about where to ask.
#[derive(Clone, Default)]
pub struct Said {
    /// `--socket`
    pub socket: Option<PathBuf>,
    /// `--collector`
    pub collector: Option<String>,
    /// `SIGNALBOX_SOCKET`
    pub env_socket: Option<PathBuf>,
    /// `SIGNALBOX_COLLECTOR`
    pub env_collector: Option<String>,
    /// `SIGNALBOX_DATA`
    pub env_data: Option<PathBuf>,
    /// `SIGNALBOX_TOKEN`
    pub env_token: Option<String>,
}

impl Said {
    /// Flags, and the environment of this process.
    pub fn with_environment(socket: Option<PathBuf>, collector: Option<String>) -> Said {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Said {
            socket,
            collector,
            env_socket: path("SIGNALBOX_SOCKET"),
            env_collector: text("SIGNALBOX_COLLECTOR"),
            env_data: path("SIGNALBOX_DATA"),
            env_token: text("SIGNALBOX_TOKEN"),
        }
    }
}

/// A way in.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// The Unix socket of a collector on this host.
    Socket {
        /// Where it is.
        path: PathBuf,
        /// API token; none: the kernel says who calls.
        token: Option<String>,
    },
    /// A URL.
    Url {
        /// Scheme, host and port.
        url: String,
        /// API token.
        token: Option<String>,
        /// The only certificates that may vouch for it, PEM; none: those of the system.
        ca: Option<String>,
    },
}

/// Never the token.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Socket { path, token } => write!(f, "Socket({}, token: {})", path.display(), token.is_some()),
            Target::Url { url, token, .. } => write!(f, "Url({url}, token: {})", token.is_some()),
        }
    }
}

impl Target {
    /// A URL without a login.
    pub fn url(url: &str) -> Target {
        Target::Url { url: url.to_owned(), token: None, ca: None }
    }

    /// The way in that was said or is found; `is_socket` tells whether this process
    /// can open a socket.
    pub fn pick(said: &Said, hosts: &Hosts, is_socket: impl Fn(&Path) -> bool) -> Target {
        if let Some(path) = &said.socket {
            return socket(path.clone(), said);
        }
        if let Some(url) = &said.collector {
            return known(url, said, hosts);
        }
        if let Some(path) = &said.env_socket {
            return socket(path.clone(), said);
        }
        if let Some(url) = &said.env_collector {
            return known(url, said, hosts);
        }
        if let Some(path) = sockets(said).into_iter().find(|path| is_socket(path)) {
            return socket(path, said);
        }
        known(hosts.current().unwrap_or(DEFAULT_COLLECTOR), said, hosts)
    }
}

/// Where sockets of this host are looked for.
pub(crate) fn sockets(said: &Said) -> Vec<PathBuf> {
    let data = said.env_data.iter().map(|data| data.join(SOCKET));
    data.chain(USUAL.iter().map(|dir| Path::new(dir).join(SOCKET))).collect()
}

/// A token that somebody gave says who calls, also where the kernel would know.
fn socket(path: PathBuf, said: &Said) -> Target {
    Target::Socket { path, token: said.env_token.clone() }
}

fn known(url: &str, said: &Said, hosts: &Hosts) -> Target {
    let host = hosts.get(url).cloned().unwrap_or_default();
    let Host { token, ca, .. } = host;
    let token = said.env_token.clone().or_else(|| Some(token).filter(|token| !token.is_empty()));
    Target::Url { url: url.to_owned(), token, ca }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Hosts {
        let mut hosts = Hosts::default();
        let host = Host { token: "sba1.kept".to_owned(), name: "ada".to_owned(), ..Host::default() };
        hosts.set("https://far.example:8440", host);
        hosts
    }

    fn pick(said: &Said, sockets: &[&str]) -> String {
        format!("{:?}", Target::pick(said, &hosts(), |path| sockets.iter().any(|socket| Path::new(socket) == path)))
    }

    #[test]
    fn flags_win_over_the_environment_and_both_over_what_is_found() {
        let mut said = Said::default();
        assert_eq!(pick(&said, &[]), "Url(https://far.example:8440, token: true)");
        let usual = "/run/signalbox/operator.sock";
        assert_eq!(pick(&said, &[usual]), format!("Socket({usual}, token: false)"));
        said.env_data = Some("/data".into());
        assert_eq!(pick(&said, &[usual, "/data/operator.sock"]), "Socket(/data/operator.sock, token: false)");
        said.env_collector = Some("http://127.0.0.1:1".to_owned());
        assert_eq!(pick(&said, &[usual]), "Url(http://127.0.0.1:1, token: false)");
        said.env_socket = Some("/env.sock".into());
        assert_eq!(pick(&said, &[]), "Socket(/env.sock, token: false)");
        said.collector = Some("https://far.example:8440/".to_owned());
        assert_eq!(pick(&said, &[usual]), "Url(https://far.example:8440/, token: true)");
        said.socket = Some("/flag.sock".into());
        assert_eq!(pick(&said, &[]), "Socket(/flag.sock, token: false)");
        said.env_token = Some("sba1.mine".to_owned());
        assert_eq!(pick(&said, &[]), "Socket(/flag.sock, token: true)", "a token is never ignored");
    }

    #[test]
    fn a_token_of_the_environment_wins_and_is_in_no_debug_text() {
        let said = Said { env_token: Some("sba1.canary".to_owned()), ..Said::default() };
        let target = Target::pick(&said, &hosts(), |_| false);
        assert!(matches!(&target, Target::Url { token: Some(token), .. } if token == "sba1.canary"));
        assert!(!format!("{target:?} {:?}", hosts()).contains("sba1."));
    }

    #[test]
    fn without_any_word_the_usual_address_is_asked() {
        let target = Target::pick(&Said::default(), &Hosts::default(), |_| false);
        assert_eq!(target, Target::url(DEFAULT_COLLECTOR));
    }
}
