//! What can happen to the access tables. Time, secrets' hashes and keys enter only
//! here: the shell makes them, this crate decides.

use crate::permission::{Permission, PermissionSet};
use crate::principal::{Caller, Object, Scope};
use crate::secret::{KeyFingerprint, SecretHash};
use core::net::IpAddr;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use signalbox_proto::api::Role;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::{Millis, UnixMillis};
use std::fmt;

/// Something that somebody did or tried. Stamps of a list of events never go back.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessEvent {
    /// When, the collector's clock.
    pub at: UnixMillis,
    /// Who, and from where.
    pub caller: Caller,
    /// What.
    pub act: AccessAct,
}

/// argon2id in PHC form (`$argon2id$v=19$…`). Never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// A join token to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJoinToken {
    /// Public name: 1 to 32 of `a-z 0-9`.
    pub id: String,
    /// Of its 32 random bytes.
    pub secret: SecretHash,
    /// For how long.
    pub life: Millis,
    /// How many agents it lets in.
    pub uses: u32,
    /// Labels that these agents may declare, with their values.
    pub labels: Labels,
    /// Networks from which they may come; empty: any.
    pub cidrs: Vec<IpNet>,
    /// The one agent that it is for. Such a token also gives a new identity to an
    /// agent that has one, or whose identity was revoked.
    pub agent: Option<AgentId>,
}

/// A join token becomes an identity.
#[derive(Debug, Clone, PartialEq)]
pub struct Enrolment {
    /// Public name of the token.
    pub token: String,
    /// Of the secret that was sent.
    pub secret: SecretHash,
    /// What the agent wants to be called.
    pub agent: AgentId,
    /// Its key.
    pub key: KeyFingerprint,
    /// Labels that it will declare.
    pub labels: Labels,
    /// Where it comes from.
    pub remote: Option<IpAddr>,
    /// An agent that has no key goes by this name: that of the collector's own host.
    pub is_local: bool,
    /// End of the certificate that is issued once this is durable.
    pub not_after: UnixMillis,
}

/// An agent without a token asks for an identity.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovalRequest {
    /// What it wants to be called.
    pub agent: AgentId,
    /// Its key: what an admin compares.
    pub key: KeyFingerprint,
    /// Its certificate request, DER, checked by the shell.
    pub csr_der: Vec<u8>,
    /// Labels that it will declare.
    pub labels: Labels,
    /// Where it comes from.
    pub remote: Option<IpAddr>,
}

/// What an API token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// As a role, without what is for people only.
    Role(Role),
    /// These and nothing else.
    Permissions(PermissionSet),
}

/// An API token of a service to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewApiToken {
    /// Public name, by which it is listed and revoked.
    pub id: String,
    /// Of its secret.
    pub secret: SecretHash,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub grant: Grant,
    /// To which objects.
    pub scope: Scope,
    /// For how long.
    pub life: Millis,
}

/// An API token of a user to be made, who has just proved a password.
#[derive(Debug, Clone, PartialEq)]
pub struct NewUserToken {
    /// Whose.
    pub user: String,
    /// The hash that the password was checked against.
    pub verified: PasswordHash,
    /// Public name, by which it is listed and revoked.
    pub id: String,
    /// Of its secret.
    pub secret: SecretHash,
    /// What it is for: the host where it will lie.
    pub purpose: String,
    /// For how long.
    pub life: Millis,
}

/// Something that was refused before it came here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Denial {
    /// What was tried: `POST /api/signalbox/v1/users`, `login`, `stream`.
    pub act: String,
    /// On what; may be empty.
    pub object: String,
    /// Why not.
    pub why: String,
}

/// Something that was done elsewhere and belongs on record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// What: `reload`, `acknowledge`.
    pub act: String,
    /// On what.
    pub object: String,
    /// How it was before; may be empty.
    pub before: String,
    /// How it was after; may be empty.
    pub after: String,
    /// What came of it.
    pub result: String,
}

/// What somebody does.
#[derive(Debug, Clone, PartialEq)]
pub enum AccessAct {
    /// Make a join token.
    CreateJoinToken(NewJoinToken),
    /// Nobody joins with it any more.
    RevokeJoinToken {
        /// Which.
        id: String,
    },
    /// Join with a token.
    Enrol(Enrolment),
    /// Ask for an identity without a token.
    RequestApproval(ApprovalRequest),
    /// Let a waiting agent in.
    Approve {
        /// Which, compared by a person.
        key: KeyFingerprint,
        /// Labels that it may declare; none: those that it asked for.
        labels: Option<Labels>,
    },
    /// Do not let it in.
    Reject {
        /// Which.
        key: KeyFingerprint,
    },
    /// The certificate of an approved key is handed out once this is durable.
    Issue {
        /// Which.
        key: KeyFingerprint,
        /// Its end.
        not_after: UnixMillis,
    },
    /// An agent changes its key.
    Renew {
        /// Who, by the old key.
        agent: AgentId,
        /// The key that it proved.
        old: KeyFingerprint,
        /// The key from now on.
        new: KeyFingerprint,
        /// End of the certificate that is issued once this is durable.
        not_after: UnixMillis,
    },
    /// A key was used for the first time: the agent's older ones are over.
    KeyUsed {
        /// Which.
        key: KeyFingerprint,
    },
    /// None of an agent's keys counts any more.
    RevokeAgent {
        /// Whose.
        agent: AgentId,
        /// Why; may be empty.
        reason: String,
    },
    /// The name of a revoked agent is free again.
    ForgetAgent {
        /// Whose.
        agent: AgentId,
    },
    /// Make a user, who cannot log in until a link or a password is given.
    CreateUser {
        /// 1 to 64 of `A-Z a-z 0-9 . _ -`.
        name: String,
        /// Role.
        role: Role,
        /// To which objects.
        scope: Scope,
    },
    /// Another role or scope; ends the user's sessions.
    SetRole {
        /// Whose.
        user: String,
        /// From now on.
        role: Role,
        /// From now on; none: as it was.
        scope: Option<Scope>,
    },
    /// The user cannot get in any more; ends sessions, tokens and links.
    DisableUser {
        /// Who.
        user: String,
    },
    /// The user can get in again.
    EnableUser {
        /// Who.
        user: String,
    },
    /// A new password; ends the user's other sessions and tools' tokens. An admin may set anybody's,
    /// everybody their own.
    SetPassword {
        /// Whose.
        user: String,
        /// From now on.
        hash: PasswordHash,
        /// What the old password was checked against: needed for one's own, unless
        /// none was set or a login link was used just now.
        verified: Option<PasswordHash>,
    },
    /// A link with which a user gets in once.
    CreateLoginLink {
        /// Of its 32 random bytes.
        secret: SecretHash,
        /// Who.
        user: String,
    },
    /// The link of the first start: for the user `admin`, who is made if need be.
    /// Refused once an admin with a password is there.
    FirstLink {
        /// Of its 32 random bytes.
        secret: SecretHash,
    },
    /// A link becomes a session.
    UseLoginLink {
        /// Of what was sent.
        secret: SecretHash,
        /// Of the session to be made.
        session: SecretHash,
    },
    /// A password, checked by the shell, becomes a session.
    Login {
        /// Who.
        user: String,
        /// The hash that it was checked against.
        verified: PasswordHash,
        /// Of the session to be made.
        session: SecretHash,
    },
    /// A password, checked by the shell, becomes a token for a tool.
    LoginToken(NewUserToken),
    /// Log out.
    EndSession {
        /// Which.
        session: SecretHash,
    },
    /// End all sessions of a user.
    EndSessions {
        /// Whose.
        user: String,
    },
    /// A session is in use. Leaves no line.
    TouchSession {
        /// Which.
        session: SecretHash,
    },
    /// Make a token for a service.
    CreateApiToken(NewApiToken),
    /// A token does not count any more.
    RevokeApiToken {
        /// Which.
        id: String,
    },
    /// Somebody was refused.
    Denied(Denial),
    /// Something was done.
    Record(Record),
    /// Time passed: what is over goes. Leaves no line.
    Sweep,
}

impl AccessAct {
    /// Its word in the audit.
    pub fn word(&self) -> &str {
        match self {
            AccessAct::CreateJoinToken(_) => "create join token",
            AccessAct::RevokeJoinToken { .. } => "revoke join token",
            AccessAct::Enrol(_) => "join",
            AccessAct::RequestApproval(_) => "ask for approval",
            AccessAct::Approve { .. } => "approve agent",
            AccessAct::Reject { .. } => "reject agent",
            AccessAct::Issue { .. } => "issue certificate",
            AccessAct::Renew { .. } => "renew certificate",
            AccessAct::KeyUsed { .. } => "use new key",
            AccessAct::RevokeAgent { .. } => "revoke agent",
            AccessAct::ForgetAgent { .. } => "forget agent",
            AccessAct::CreateUser { .. } => "create user",
            AccessAct::SetRole { .. } => "set role",
            AccessAct::DisableUser { .. } => "disable user",
            AccessAct::EnableUser { .. } => "enable user",
            AccessAct::SetPassword { .. } => "set password",
            AccessAct::CreateLoginLink { .. } => "create login link",
            AccessAct::FirstLink { .. } => "create first login link",
            AccessAct::UseLoginLink { .. } => "log in by link",
            AccessAct::Login { .. } => "log in",
            AccessAct::LoginToken(_) => "log in a tool",
            AccessAct::EndSession { .. } => "log out",
            AccessAct::EndSessions { .. } => "end sessions",
            AccessAct::TouchSession { .. } => "use session",
            AccessAct::CreateApiToken(_) => "create api token",
            AccessAct::RevokeApiToken { .. } => "revoke api token",
            AccessAct::Denied(denial) => &denial.act,
            AccessAct::Record(record) => &record.act,
            AccessAct::Sweep => "sweep",
        }
    }

    /// What it is about, as the audit names it. Never a secret.
    pub fn object(&self) -> String {
        match self {
            AccessAct::CreateJoinToken(NewJoinToken { id, .. }) | AccessAct::RevokeJoinToken { id } => {
                format!("join-token:{id}")
            }
            AccessAct::Enrol(Enrolment { agent, .. })
            | AccessAct::RequestApproval(ApprovalRequest { agent, .. })
            | AccessAct::Renew { agent, .. }
            | AccessAct::RevokeAgent { agent, .. }
            | AccessAct::ForgetAgent { agent } => format!("agent:{agent}"),
            AccessAct::Approve { key, .. }
            | AccessAct::Reject { key }
            | AccessAct::Issue { key, .. }
            | AccessAct::KeyUsed { key } => format!("key:{key}"),
            AccessAct::CreateUser { name: user, .. }
            | AccessAct::SetRole { user, .. }
            | AccessAct::DisableUser { user }
            | AccessAct::EnableUser { user }
            | AccessAct::SetPassword { user, .. }
            | AccessAct::CreateLoginLink { user, .. }
            | AccessAct::Login { user, .. }
            | AccessAct::LoginToken(NewUserToken { user, .. })
            | AccessAct::EndSessions { user } => format!("user:{user}"),
            AccessAct::FirstLink { .. } => "user:admin".to_owned(),
            AccessAct::UseLoginLink { .. } => "login-link".to_owned(),
            AccessAct::EndSession { .. } | AccessAct::TouchSession { .. } => "session".to_owned(),
            AccessAct::CreateApiToken(NewApiToken { id, .. }) | AccessAct::RevokeApiToken { id } => {
                format!("api-token:{id}")
            }
            AccessAct::Denied(denial) => denial.object.clone(),
            AccessAct::Record(record) => record.object.clone(),
            AccessAct::Sweep => String::new(),
        }
    }

    /// The permission that the caller needs, for which object; none where a secret
    /// or a key proves the right, and for what the shell itself does.
    pub fn needs(&self) -> Option<(Permission, Option<Object>)> {
        match self {
            AccessAct::CreateJoinToken(_)
            | AccessAct::RevokeJoinToken { .. }
            | AccessAct::Approve { .. }
            | AccessAct::Reject { .. }
            | AccessAct::ForgetAgent { .. } => Some((Permission::ManageAgents, None)),
            AccessAct::RevokeAgent { agent, .. } => {
                let object = Object::new([("agent", agent.as_str()), ("host", agent.as_str())]);
                Some((Permission::ManageAgents, Some(object)))
            }
            AccessAct::CreateUser { .. }
            | AccessAct::SetRole { .. }
            | AccessAct::DisableUser { .. }
            | AccessAct::EnableUser { .. }
            | AccessAct::CreateLoginLink { .. }
            | AccessAct::FirstLink { .. }
            | AccessAct::EndSessions { .. }
            | AccessAct::CreateApiToken(_) => Some((Permission::ManageUsers, None)),
            // Decided with the tables: an admin's, or one's own.
            AccessAct::SetPassword { .. } | AccessAct::RevokeApiToken { .. } => None,
            AccessAct::Enrol(_)
            | AccessAct::RequestApproval(_)
            | AccessAct::Issue { .. }
            | AccessAct::Renew { .. }
            | AccessAct::KeyUsed { .. }
            | AccessAct::UseLoginLink { .. }
            | AccessAct::Login { .. }
            | AccessAct::LoginToken(_)
            | AccessAct::EndSession { .. }
            | AccessAct::TouchSession { .. }
            | AccessAct::Denied(_)
            | AccessAct::Record(_)
            | AccessAct::Sweep => None,
        }
    }

    /// True when the caller's rights are what allows it.
    pub(crate) fn is_by_right(&self) -> bool {
        self.needs().is_some() || matches!(self, AccessAct::SetPassword { .. } | AccessAct::RevokeApiToken { .. })
    }

    /// True when it leaves a line of the audit.
    pub fn is_on_record(&self) -> bool {
        !matches!(self, AccessAct::TouchSession { .. } | AccessAct::Sweep)
    }
}
