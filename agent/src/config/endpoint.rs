//! Where a collector is: over TLS, or behind a Unix socket of this host.
//!
//! There is no plain text over TCP, on loopback neither: every program of the host
//! can reach a loopback port, and only one that proves who it is may write samples.

use std::fmt;
use std::path::PathBuf;

/// Port on which collectors listen for agents.
pub(crate) const DEFAULT_PORT: u16 = 8441;
/// A socket's path is not longer than the kernel takes (`sun_path`).
const SOCKET_PATH_MAX_BYTES: usize = 107;
const HOST_MAX_BYTES: usize = 253;
const EXAMPLE: &str =
    "write for example https://collector.example:8441, or unix:/var/lib/signalbox/collector/agent.sock";

/// A collector's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `https://HOST:PORT`: TLS, both sides with a certificate.
    Tls {
        /// A name, or an address without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// `unix:/PATH`: the kernel says who is calling.
    Unix(PathBuf),
}

impl Endpoint {
    /// Parses `https://HOST[:PORT]` or `unix:/PATH`.
    ///
    /// # Errors
    /// A sentence with the reason and the remedy.
    pub(crate) fn parse(text: &str) -> Result<Endpoint, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return socket(text, path);
        }
        if let Some(rest) = text.strip_prefix("https://") {
            return tls(text, rest);
        }
        if text.starts_with("http://") {
            return Err(format!(
                "collector {text:?} is plain text, which agents do not speak; a collector on this host has a \
                 Unix socket: unix:DATA_DIR/agent.sock of the collector; for one elsewhere run \
                 'signalbox-agent join HOST:{DEFAULT_PORT} TOKEN', which writes https://HOST:{DEFAULT_PORT}"
            ));
        }
        Err(format!("collector {text:?} must begin with https:// or unix:/; {EXAMPLE}"))
    }

    /// As [`Endpoint::parse`], and takes `HOST[:PORT]` for `https://`.
    ///
    /// # Errors
    /// A sentence with the reason and the remedy.
    pub(crate) fn parse_short(text: &str) -> Result<Endpoint, String> {
        if text.contains("://") || text.starts_with("unix:") { Endpoint::parse(text) } else { tls(text, text) }
    }
}

fn socket(text: &str, path: &str) -> Result<Endpoint, String> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with('/') || path.len() > SOCKET_PATH_MAX_BYTES || path.contains('\0') {
        return Err(format!(
            "collector {text:?}: the socket's path must begin with / and have at most {SOCKET_PATH_MAX_BYTES} bytes; {EXAMPLE}"
        ));
    }
    Ok(Endpoint::Unix(path.into()))
}

fn tls(text: &str, rest: &str) -> Result<Endpoint, String> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, port)) => (address, Some(port.strip_prefix(':').unwrap_or("?"))),
        // More than one colon and no brackets is an IPv6 address without a port.
        None if rest.matches(':').count() > 1 => (rest, None),
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| format!("collector {text:?}: port {port:?} must be 1 to 65535; {EXAMPLE}"))?,
    };
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_name = !host.is_empty() && host.len() <= HOST_MAX_BYTES && host.chars().all(named);
    if !is_address && !is_name {
        return Err(format!("collector {text:?}: {host:?} is no host name and no address; {EXAMPLE}"));
    }
    Ok(Endpoint::Tls { host: host.to_ascii_lowercase(), port })
}

/// As it is written in a configuration.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tls { host, port } if host.contains(':') => write!(f, "https://[{host}]:{port}"),
            Endpoint::Tls { host, port } => write!(f, "https://{host}:{port}"),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_reads_as_it_is_written() {
        let cases = [
            ("https://c.example:8441", "https://c.example:8441"),
            ("https://C.Example/", "https://c.example:8441"),
            ("https://10.0.0.1:9000", "https://10.0.0.1:9000"),
            ("https://[::1]:9000", "https://[::1]:9000"),
            ("https://[::1]", "https://[::1]:8441"),
            ("unix:/run/x/agent.sock", "unix:/run/x/agent.sock"),
            ("unix:///run/x.sock", "unix:/run/x.sock"),
        ];
        for (text, shown) in cases {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(Endpoint::parse(shown), Ok(endpoint));
        }
    }

    #[test]
    fn the_join_command_takes_a_bare_host() {
        for (text, shown) in [
            ("collector", "https://collector:8441"),
            ("10.0.0.1:1", "https://10.0.0.1:1"),
            ("fe80::1", "https://[fe80::1]:8441"),
            ("https://x:2", "https://x:2"),
        ] {
            assert_eq!(Endpoint::parse_short(text).unwrap().to_string(), shown);
        }
        assert!(Endpoint::parse_short("http://x:1").unwrap_err().contains("plain text"));
    }

    #[test]
    fn a_refusal_says_why_and_what_to_write() {
        let cases = [
            ("http://127.0.0.1:8441", "unix:DATA_DIR/agent.sock"),
            ("http://127.0.0.1:8441", "signalbox-agent join"),
            ("tcp://x:1", "must begin with https:// or unix:/"),
            ("https://x:0", "port \"0\" must be 1 to 65535"),
            ("https://x:y", "port \"y\""),
            ("https://[::1]9", "port \"?\""),
            ("https://", "no host name"),
            ("https://a b:1", "no host name"),
            ("https://x@127.0.0.1:80", "no host name"),
            ("https://x/path", "no host name"),
            ("unix:relative", "must begin with /"),
        ];
        for (text, part) in cases {
            let error = Endpoint::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(Endpoint::parse(&format!("unix:/{}", "a".repeat(107))).is_err());
        assert!(Endpoint::parse(&format!("https://{}", "a".repeat(254))).is_err());
    }
}
