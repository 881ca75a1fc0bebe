//! What can be wrong between an agent and its collector, in words that say what to
//! look at. Many of these are the marks of a device between the two.

use super::tls::Seen;
use crate::identity::IdentityError;
use crate::identity::certificate::{Facts, utc};
use rustls::{AlertDescription, CertificateError, Error as TlsError};
use signalbox_proto::join::Fingerprint;
use signalbox_proto::units::{Millis, UnixMillis};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use thiserror::Error;

/// Why a collector was not reached.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    /// DNS does not know it, or does not answer.
    #[error("find the address of {host}; check the name, and the DNS of this host")]
    Resolve {
        /// Which name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// DNS knows the name but no address.
    #[error("find the address of {host}: the name has none")]
    NoAddress {
        /// Which name.
        host: String,
    },
    /// TLS has no form for this name.
    #[error("{host:?} cannot be the name in a certificate; use the collector's host name or address")]
    BadName {
        /// Which name.
        host: String,
    },
    /// TCP was refused or found no way.
    #[error("connect to {to}; {}", connect_hint(source))]
    Connect {
        /// Which address.
        to: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Nothing answers TCP.
    #[error("connect to {to}: no answer within {after}; a firewall drops the packets, or the host is down")]
    ConnectTimeout {
        /// Which address.
        to: SocketAddr,
        /// How long it was waited.
        after: Millis,
    },
    /// The Unix socket cannot be reached.
    #[error("connect to {}; {}", path.display(), socket_hint(source))]
    Socket {
        /// Which socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// This host has not joined, or its identity is damaged.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The identity cannot be used for TLS.
    #[error("use this agent's identity for TLS; join again with --replace")]
    Own(#[source] TlsError),
    /// TCP stands, and then nothing.
    #[error(
        "{to} takes the connection but does not answer TLS within {after}; a firewall or balancer answers for a \
         collector that it cannot reach, or the collector is overloaded"
    )]
    TlsSilent {
        /// Which address.
        to: SocketAddr,
        /// How long it was waited.
        after: Millis,
    },
    /// The connection ended in the middle of the handshake.
    #[error(
        "{to} ended the connection instead of answering TLS; a firewall forbids it, or another program listens there"
    )]
    TlsClosed {
        /// Which address.
        to: SocketAddr,
        /// How.
        source: io::Error,
    },
    /// Something answers that is not TLS.
    #[error("{to} answers, but not in TLS; another program or a proxy listens there (the agents' port is 8441)")]
    NotTls {
        /// Which address.
        to: SocketAddr,
    },
    /// It is TLS of a kind that is not ours.
    #[error("{to} does not speak TLS 1.3 as a collector does; another program or a proxy listens there")]
    OtherTls {
        /// Which address.
        to: SocketAddr,
        /// How.
        source: TlsError,
    },
    /// The chain holds no CA with the pin.
    #[error(
        "{to} is not the collector of this token: its CA must have the pin {expected}, and it presents {presented}; \
         do not go on before you know why: compare with 'signalbox ca show' on the collector, \
         or make a new token if its CA has been replaced"
    )]
    WrongPin {
        /// Which address.
        to: SocketAddr,
        /// What the token says.
        expected: Fingerprint,
        /// Who answered.
        presented: String,
    },
    /// Another CA has signed it.
    #[error(
        "the certificate of {to} is not from this installation ({presented}); a device between the two opens TLS, \
         or the collector was set up anew: then join again with --replace"
    )]
    Foreign {
        /// Which address.
        to: SocketAddr,
        /// Who answered.
        presented: String,
    },
    /// It is for other names.
    #[error(
        "the certificate of {to} is not for {host}, but for {names}; use one of those, or add {host} to tls.names \
         in collector.yaml"
    )]
    Name {
        /// Which address.
        to: SocketAddr,
        /// The name that was asked for.
        host: String,
        /// The names that it has.
        names: String,
    },
    /// Its time is over.
    #[error("the certificate of {to} ended on {}, and this host's clock says {}; set the clock, or renew it there", utc(*not_after), utc(*now))]
    Expired {
        /// Which address.
        to: SocketAddr,
        /// When.
        not_after: UnixMillis,
        /// The clock of this host.
        now: UnixMillis,
    },
    /// Its time has not come.
    #[error("the certificate of {to} begins on {}, and this host's clock says {}; set the clock of this host", utc(*not_before), utc(*now))]
    NotYet {
        /// Which address.
        to: SocketAddr,
        /// When.
        not_before: UnixMillis,
        /// The clock of this host.
        now: UnixMillis,
    },
    /// Anything else about the certificate.
    #[error("check the certificate of {to}")]
    Certificate {
        /// Which address.
        to: SocketAddr,
        /// How.
        source: TlsError,
    },
    /// The collector does not take our certificate.
    #[error("the collector refused this agent's certificate ({}); {}", word(*.0), alert_hint(*.0))]
    Refused(AlertDescription),
    /// TLS stands, but without HTTP/2.
    #[error("{to} speaks TLS but not HTTP/2 (ALPN h2); a proxy between the two ends the connection there")]
    NoHttp2 {
        /// Which address.
        to: SocketAddr,
    },
    /// HTTP/2 fails.
    #[error("speak HTTP/2 with the collector")]
    Http2(#[source] hyper::Error),
}

impl Fault {
    /// Why a handshake failed.
    pub(super) fn of_handshake(to: SocketAddr, host: &str, error: io::Error, seen: &Seen) -> Fault {
        let Some(tls) = tls_error(&error) else { return Fault::TlsClosed { to, source: error } };
        match tls {
            TlsError::AlertReceived(AlertDescription::NoApplicationProtocol) | TlsError::NoApplicationProtocol => {
                Fault::NoHttp2 { to }
            }
            TlsError::AlertReceived(alert) if is_about_certificate(*alert) => Fault::Refused(*alert),
            TlsError::InvalidMessage(_) => Fault::NotTls { to },
            TlsError::InvalidCertificate(error) => of_certificate(to, host, error, seen, tls),
            other => Fault::OtherTls { to, source: other.clone() },
        }
    }
}

/// The alert by which the other side refuses our certificate, if it is one.
pub(super) fn refusal(error: &io::Error) -> Option<AlertDescription> {
    match tls_error(error) {
        Some(TlsError::AlertReceived(alert)) if is_about_certificate(*alert) => Some(*alert),
        _ => None,
    }
}

fn tls_error(error: &io::Error) -> Option<&TlsError> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>())
}

fn of_certificate(to: SocketAddr, host: &str, error: &CertificateError, seen: &Seen, tls: &TlsError) -> Fault {
    let chain = &seen.chain();
    let millis = |time: &rustls::pki_types::UnixTime| {
        UnixMillis(i64::try_from(time.as_secs()).unwrap_or(i64::MAX).saturating_mul(1000))
    };
    match error {
        CertificateError::ApplicationVerificationFailure => match seen.pin {
            Some(expected) => Fault::WrongPin { to, expected, presented: presented(chain) },
            None => Fault::Certificate { to, source: tls.clone() },
        },
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            Fault::Foreign { to, presented: presented(chain) }
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let names = chain.first().map(|leaf| leaf.names.join(", ")).filter(|names| !names.is_empty());
            Fault::Name { to, host: host.to_owned(), names: names.unwrap_or_else(|| "no name at all".to_owned()) }
        }
        CertificateError::ExpiredContext { time, not_after } => {
            Fault::Expired { to, not_after: millis(not_after), now: millis(time) }
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            Fault::NotYet { to, not_before: millis(not_before), now: millis(time) }
        }
        _ => Fault::Certificate { to, source: tls.clone() },
    }
}

/// Who answered, as people compare it.
fn presented(chain: &[Facts]) -> String {
    let Some(leaf) = chain.first() else { return "no certificate".to_owned() };
    let issuer = if leaf.issuer.is_empty() { "nobody named" } else { &leaf.issuer };
    match &chain[1..] {
        [] => format!("one issued by {issuer:?}, without its CA"),
        [.., root] => format!("one issued by {issuer:?}, CA key {}", root.fingerprint),
    }
}

fn is_about_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::CertificateRequired
            | A::UnknownCA
            | A::AccessDenied
            // Its signature is not the CA's of that name, or ours not the key's.
            | A::DecryptError
    )
}

fn word(alert: AlertDescription) -> String {
    format!("{alert:?}")
}

fn alert_hint(alert: AlertDescription) -> &'static str {
    use AlertDescription as A;
    match alert {
        A::CertificateExpired => {
            "its time is over for too long: join with --replace and a token of signalbox join-token create --agent NAME"
        }
        A::CertificateRevoked | A::AccessDenied => {
            "an admin has revoked it: join with --replace and a token of signalbox join-token create --agent NAME"
        }
        A::UnknownCA | A::BadCertificate | A::DecryptError => "it is of another installation: join with --replace",
        _ => "see 'signalbox agents' on the collector, and join again with --replace",
    }
}

fn connect_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "nothing listens there: is the collector running, and does its listen_grpc name this address?"
        }
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            "this host has no way there: see its routes"
        }
        io::ErrorKind::PermissionDenied => {
            "a local rule forbids it: see firewall, and IPAddressAllow= of the agent's unit"
        }
        _ => "see the network between the two",
    }
}

fn socket_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "is a collector running on this host, and is this its data_dir?",
        io::ErrorKind::ConnectionRefused => "it is left over from a collector that does not run",
        io::ErrorKind::PermissionDenied => {
            "this user may not: add its uid to local_agents.uids in collector.yaml, or run the agent as the collector's user"
        }
        _ => "see the collector's log",
    }
}
