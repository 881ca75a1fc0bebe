//! Who is at the other end of a connection, as the listener knows it: nothing that
//! is said inside of it can change that.

use crate::tls::verifier::Shown;
use signalbox_access::address::host_name;
use signalbox_access::rows::KeyState;
use signalbox_access::view::AccessView;
use signalbox_access::{Caller, Principal};
use signalbox_proto::join::Refusal;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::UnixMillis;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The collector itself is an agent of this name: nobody else is.
pub(crate) const OWN_AGENT: &str = crate::telemetry::AGENT;

/// By what the other end is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// By the key of a certificate that was verified.
    Key(Shown),
    /// By its account on this host.
    Local {
        /// User id of the process that connected.
        uid: u32,
    },
    /// By its account on this host, which may do nothing here.
    Account {
        /// User id of the process that connected.
        uid: u32,
    },
    /// Not at all: TLS without a certificate.
    Nobody,
}

/// Why somebody may not do what they are about to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAllowed {
    /// There is no identity: join first.
    NoIdentity,
    /// The account may not use the socket.
    Account(u32),
    /// The certificate's time is over: renew first.
    Expired,
    /// The key was revoked or replaced.
    Revoked,
    /// This agent id belongs to a key, and the caller has none.
    Enrolled(AgentId),
    /// The caller is another agent.
    NotYou {
        /// Who is claimed.
        claimed: AgentId,
        /// Who it is.
        is: AgentId,
    },
    /// The id is the collector's own.
    Reserved,
    /// A label that this agent may not declare.
    Label(String),
}

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAllowed::NoIdentity => {
                f.write_str("an agent must have an identity: run signalbox-agent join with a token of this collector")
            }
            NotAllowed::Account(uid) => {
                write!(f, "user id {uid} may not use this socket: add it to local_agents.uids in collector.yaml")
            }
            NotAllowed::Expired => f.write_str("the certificate has expired: only its renewal is served"),
            NotAllowed::Revoked => f.write_str("the agent's key does not count any more: it must join again"),
            NotAllowed::Enrolled(agent) => {
                write!(f, "agent {agent} has an identity of its own: nobody is {agent} without its key")
            }
            NotAllowed::NotYou { claimed, is } => {
                write!(f, "this certificate is that of agent {is}, which cannot speak for {claimed}")
            }
            NotAllowed::Reserved => write!(f, "the id {OWN_AGENT:?} is the collector's own: give the agent another"),
            NotAllowed::Label(label) => {
                write!(f, "label {label} is not one that this agent may declare: make its token with --labels")
            }
        }
    }
}

impl NotAllowed {
    /// The word for the agent, where there is one.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            NotAllowed::Revoked => Some(Refusal::KeyRevoked),
            _ => None,
        }
    }
}

/// The other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// By what it is known.
    pub who: Who,
    /// Its address; none on the Unix socket.
    pub ip: Option<IpAddr>,
    called: Arc<AtomicBool>,
    aged: Arc<AtomicBool>,
}

impl Peer {
    pub(crate) fn new(who: Who, ip: Option<IpAddr>) -> Peer {
        Peer { who, ip: ip.map(|ip| ip.to_canonical()), called: Arc::default(), aged: Arc::default() }
    }

    /// The connection made a call: its deadline is met.
    pub fn has_called(&self) {
        self.called.store(true, Ordering::Release);
    }

    pub(super) fn is_silent(&self) -> bool {
        !self.called.load(Ordering::Acquire)
    }

    /// The connection is as old as one may become: its streams end.
    pub(super) fn grow_old(&self) {
        self.aged.store(true, Ordering::Release);
    }

    pub(super) fn is_old(&self) -> bool {
        self.aged.load(Ordering::Acquire)
    }

    /// The agent of the shown key, if it counts now.
    ///
    /// # Errors
    /// [`NotAllowed::NoIdentity`] or [`NotAllowed::Revoked`].
    pub fn agent(&self, access: &AccessView) -> Result<(AgentId, Labels), NotAllowed> {
        let Who::Key(shown) = self.who else { return Err(NotAllowed::NoIdentity) };
        let known = access.agent_of_key(&shown.key.into()).filter(|known| known.state == KeyState::Active);
        known.map(|known| (known.agent, known.labels)).ok_or(NotAllowed::Revoked)
    }

    /// Whether the other end may stream as `claimed` now.
    ///
    /// # Errors
    /// Why not.
    pub fn may_stream_as(&self, claimed: &AgentId, access: &AccessView, now: UnixMillis) -> Result<(), NotAllowed> {
        if claimed.as_str() == OWN_AGENT {
            return Err(NotAllowed::Reserved);
        }
        match self.who {
            Who::Nobody => Err(NotAllowed::NoIdentity),
            Who::Account { uid } => Err(NotAllowed::Account(uid)),
            Who::Local { .. } if access.is_enrolled(claimed) => Err(NotAllowed::Enrolled(claimed.clone())),
            Who::Local { .. } => Ok(()),
            Who::Key(shown) => {
                let (is, _) = self.agent(access)?;
                if shown.is_expired(now) {
                    return Err(NotAllowed::Expired);
                }
                if is == *claimed { Ok(()) } else { Err(NotAllowed::NotYou { claimed: claimed.clone(), is }) }
            }
        }
    }

    /// Whether the other end may declare these labels of itself.
    ///
    /// # Errors
    /// The first that it may not.
    pub fn may_declare(&self, labels: &Labels, access: &AccessView) -> Result<(), NotAllowed> {
        let Who::Key(_) = self.who else { return Ok(()) };
        let (_, allowed) = self.agent(access)?;
        let stranger = labels.iter().find(|(name, value)| allowed.get(name) != Some(value));
        stranger.map_or(Ok(()), |(name, value)| Err(NotAllowed::Label(format!("{name}={value:?}"))))
    }

    /// As the audit knows it.
    pub fn caller(&self, access: &AccessView) -> Caller {
        let principal = match self.who {
            Who::Key(_) => {
                self.agent(access).map_or_else(|_| Principal::nobody(), |(agent, _)| Principal::agent(&agent))
            }
            Who::Local { .. } | Who::Account { .. } | Who::Nobody => Principal::nobody(),
        };
        Caller::new(principal, self.to_string())
    }

    /// What attempts are counted by.
    pub(super) fn rate_key(&self) -> String {
        self.ip.map_or_else(|| self.to_string(), host_name)
    }
}

/// `192.0.2.7` or `unix:uid=0`, as it stands in the audit.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.ip, self.who) {
            (Some(ip), _) => write!(f, "{ip}"),
            (None, Who::Local { uid } | Who::Account { uid }) => write!(f, "unix:uid={uid}"),
            (None, _) => f.write_str("-"),
        }
    }
}
