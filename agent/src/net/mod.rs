//! The way to a collector, step by step: name, TCP or Unix socket, TLS, HTTP/2.
//!
//! ```text
//! resolve -> dial -> secure -> speak        https://
//!            dial_unix      -> speak        unix:
//! ```
//!
//! Each step is a function of its own with a time limit, so that `ping` can time
//! it and everybody says the same about the same fault ([`Fault`]).

mod fault;
mod http2;
mod line;
mod tls;

pub(crate) use fault::Fault;
pub(crate) use http2::{CallError, Http2, Pace, speak};
pub(crate) use line::Bell;
use line::Line;
pub(crate) use tls::{Seen, Trust, client};

use crate::config::Endpoint;
use crate::identity::Identity;
use signalbox_proto::clock::Clock;
use signalbox_proto::units::Millis;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A step that is not done by then is given up.
pub(crate) const STEP_TIMEOUT: Millis = Millis(5000);
/// Addresses of a name that are tried, in the resolver's order.
const ADDRESSES_MAX: usize = 4;

/// The addresses of a name.
///
/// # Errors
/// [`Fault::Resolve`] or [`Fault::NoAddress`].
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Fault> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let silent = || std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer within {STEP_TIMEOUT}"));
    let found = timeout(STEP_TIMEOUT.std(), lookup_host((host, port))).await.unwrap_or_else(|_| Err(silent()));
    let found = found.map_err(|source| Fault::Resolve { host: host.to_owned(), source })?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(Fault::NoAddress { host: host.to_owned() }) } else { Ok(addresses) }
}

/// Connects to the first address that takes the connection. All together have
/// [`STEP_TIMEOUT`], each its share, so that a dead one does not hide the next.
///
/// # Errors
/// The last one's fault.
pub(crate) async fn dial(addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), Fault> {
    let share = Millis(STEP_TIMEOUT.0 / u64::try_from(addresses.len().max(1)).unwrap_or(1));
    let mut last = Fault::NoAddress { host: String::new() };
    for &to in addresses {
        match timeout(share.std(), TcpStream::connect(to)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(|source| Fault::Connect { to, source })?;
                return Ok((stream, to));
            }
            Ok(Err(source)) => last = Fault::Connect { to, source },
            Err(_) => last = Fault::ConnectTimeout { to, after: share },
        }
    }
    Err(last)
}

/// Connects to a Unix socket.
///
/// # Errors
/// [`Fault::Socket`].
pub(crate) async fn dial_unix(path: &Path) -> Result<UnixStream, Fault> {
    UnixStream::connect(path).await.map_err(|source| Fault::Socket { path: path.to_owned(), source })
}

/// A TLS session with the collector `host`.
///
/// # Errors
/// What is wrong with the other side's TLS, or that there is none.
pub(crate) async fn secure(
    tcp: TcpStream,
    to: SocketAddr,
    host: &str,
    (config, seen): (Arc<rustls::ClientConfig>, Arc<Seen>),
    bell: Bell,
) -> Result<TlsStream<Line>, Fault> {
    let name = rustls::pki_types::ServerName::try_from(host.to_owned())
        .map_err(|_| Fault::BadName { host: host.to_owned() })?;
    let line = tcp.into_std().and_then(|tcp| Line::new(tcp.into(), bell));
    let line = line.map_err(|source| Fault::Connect { to, source })?;
    let shake = TlsConnector::from(config).connect(name, line);
    match timeout(STEP_TIMEOUT.std(), shake).await {
        Err(_) => Err(Fault::TlsSilent { to, after: STEP_TIMEOUT }),
        Ok(Err(error)) => Err(Fault::of_handshake(to, host, error, &seen)),
        Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(tls::H2) => Ok(stream),
        Ok(Ok(_)) => Err(Fault::NoHttp2 { to }),
    }
}

/// All steps to a collector.
///
/// # Errors
/// The step that failed, and why.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    trust: Trust,
    identity: Option<&Identity>,
    clock: &Arc<dyn Clock>,
    pace: Pace,
) -> Result<Http2, Fault> {
    match endpoint {
        Endpoint::Unix(path) => {
            let line = dial_unix(path).await?.into_std().and_then(|unix| Line::new(unix.into(), pace.bell()));
            let line = line.map_err(|source| Fault::Socket { path: path.clone(), source })?;
            speak(line, endpoint, &pace).await
        }
        Endpoint::Tls { host, port } => {
            let config = client(trust, identity, clock)?;
            let (tcp, to) = dial(&resolve(host, *port).await?).await?;
            speak(secure(tcp, to, host, config, pace.bell()).await?, endpoint, &pace).await
        }
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
