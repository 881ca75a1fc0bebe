//! What readers see: an immutable picture of the tables as they were committed.

use crate::audit::{AuditKey, Head};
use crate::event::{Grant, PasswordHash};
use crate::limits::{SESSION_IDLE, SESSION_LIFE, TOUCH_EVERY};
use crate::permission::PermissionSet;
use crate::principal::{Principal, PrincipalKind};
use crate::rows::{ApiTokenRow, KeyState, PendingRow, PendingState, SessionRow, UserRow};
use crate::secret::{KeyFingerprint, SecretHash};
use crate::tables::Tables;
use signalbox_proto::api::{AgentIdentity, ApiToken, JoinToken, PendingAgent, Role, User};
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::UnixMillis;
use std::collections::BTreeMap;

/// The tables as they were committed, for readers.
#[derive(Debug, Clone, Default)]
pub struct AccessView {
    pub(crate) tables: Tables,
    pub(crate) head: Head,
    pub(crate) key: AuditKey,
    pub(crate) newest: UnixMillis,
}

/// Whose a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentKey {
    /// Whose.
    pub agent: AgentId,
    /// Labels that the agent may declare.
    pub labels: Labels,
    /// Only an active key proves anything.
    pub state: KeyState,
    /// End of its certificate.
    pub not_after: UnixMillis,
    /// False until it was used once: say so with `KeyUsed`.
    pub used: bool,
}

/// A request for approval, for the shell that answers the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingRequest {
    /// What it wants to be called.
    pub agent: AgentId,
    /// Where it stands.
    pub state: PendingState,
    /// Its certificate request, DER.
    pub csr_der: Vec<u8>,
    /// It is forgotten then.
    pub expires: UnixMillis,
}

/// What a login is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The password's hash; none when none was set.
    pub password: Option<PasswordHash>,
    /// May not log in, whatever the password.
    pub disabled: bool,
}

/// A session that stands, and whether it is time to write its use down.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Who.
    pub principal: Principal,
    /// True: say so with `TouchSession`.
    pub must_touch: bool,
    /// True: the user has no password yet and must set one.
    pub must_set_password: bool,
}

pub(crate) fn session_end(session: &SessionRow) -> UnixMillis {
    (session.used + SESSION_IDLE).min(session.begun + SESSION_LIFE)
}

impl AccessView {
    /// Who has this session; none when it is unknown or over, or the user is disabled.
    pub fn session(&self, session: &SecretHash, now: UnixMillis) -> Option<Standing> {
        let (row, now) = (self.tables.sessions.get(session)?, self.newest.max(now));
        // One from the future was begun by a clock that was wrong.
        if now >= session_end(row) || now < row.begun {
            return None;
        }
        let user = self.tables.users.get(&row.user).filter(|user| !user.disabled)?;
        let principal = Principal { session: Some(*session), ..principal_of_user(&row.user, user) };
        let must_touch = now.since(row.used) >= TOUCH_EVERY;
        Some(Standing { principal, must_touch, must_set_password: user.password.is_none() })
    }

    /// Who has this session, as [`AccessView::session`].
    pub fn principal_of_session(&self, session: &SecretHash, now: UnixMillis) -> Option<Principal> {
        self.session(session, now).map(|standing| standing.principal)
    }

    /// Who has this API token; none when it is unknown, revoked or over, or its user
    /// is disabled.
    pub fn principal_of_token(&self, token: &SecretHash, now: UnixMillis) -> Option<Principal> {
        let (row, now) = (self.tables.api_tokens.get(token)?, self.newest.max(now));
        if row.revoked || now >= row.expires || now < row.created {
            return None;
        }
        match &row.user {
            Some(name) => {
                let user = self.tables.users.get(name).filter(|user| !user.disabled)?;
                Some(principal_of_user(name, user))
            }
            None => Some(principal_of_service(row)),
        }
    }

    /// Whose key this is; none when it was never bound.
    pub fn agent_of_key(&self, key: &KeyFingerprint) -> Option<AgentKey> {
        let row = self.tables.keys.get(key)?;
        let agent = self.tables.agents.get(&row.agent)?;
        let state = if agent.revoked.is_some() { KeyState::Revoked } else { row.state };
        let labels = agent.labels.clone();
        Some(AgentKey { agent: row.agent.clone(), labels, state, not_after: row.not_after, used: row.used })
    }

    /// Whether somebody who was let in a while ago may go on: a request may wait while
    /// its user is disabled, its session ended or its token revoked.
    pub fn is_current(&self, principal: &Principal, now: UnixMillis) -> bool {
        match principal.kind {
            PrincipalKind::User => {
                let stands = |session: &SecretHash| self.session(session, now).is_some();
                self.tables.is_current_user(principal) && principal.session.as_ref().is_none_or(stands)
            }
            PrincipalKind::ApiToken => {
                let now = self.newest.max(now);
                let is_good = |row: &ApiTokenRow| row.user.is_none() && !row.revoked && now < row.expires;
                let mut tokens = self.tables.api_tokens.iter().map(|(_, row)| row);
                tokens.any(|row| is_good(row) && principal_of_service(row) == *principal)
            }
            // The kernel, or the collector itself, says who they are.
            PrincipalKind::Local | PrincipalKind::System => true,
            PrincipalKind::Agent | PrincipalKind::Nobody => false,
        }
    }

    /// True when this id belongs to a key: nobody may use it over the Unix socket. An
    /// id that was revoked may go back to the agent of the collector's own host.
    pub fn is_enrolled(&self, agent: &AgentId) -> bool {
        self.tables.agents.get(agent).is_some_and(|row| row.revoked.is_none())
    }

    /// A request for approval by its key, also one that was approved or rejected.
    pub fn pending_request(&self, key: &KeyFingerprint, now: UnixMillis) -> Option<PendingRequest> {
        let row = self.tables.pending.get(key).filter(|row| now < row.expires)?;
        let (agent, csr_der) = (row.agent.clone(), row.csr_der.clone());
        Some(PendingRequest { agent, state: row.state, csr_der, expires: row.expires })
    }

    /// The public name of an API token that counts or did once.
    pub fn token_id(&self, token: &SecretHash) -> Option<String> {
        self.tables.api_tokens.get(token).map(|row| row.id.clone())
    }

    /// What a login of this user is checked against; none when there is no such user.
    pub fn credential(&self, user: &str) -> Option<Credential> {
        let row = self.tables.users.get(&user.to_owned())?;
        Some(Credential { password: row.password.clone(), disabled: row.disabled })
    }

    /// True when an admin can log in by password: the first start is over.
    pub fn has_admin(&self) -> bool {
        let is_one = |user: &UserRow| user.role == Role::Admin && !user.disabled && user.password.is_some();
        self.tables.users.iter().any(|(_, user)| is_one(user))
    }

    /// Where the audit ends.
    pub fn audit_head(&self) -> &Head {
        &self.head
    }

    /// What the audit's head is sealed with.
    pub fn audit_key(&self) -> &AuditKey {
        &self.key
    }

    /// All users, by name.
    pub fn users(&self, now: UnixMillis) -> Vec<User> {
        let now = self.newest.max(now);
        let mut n_sessions: BTreeMap<&str, u32> = BTreeMap::new();
        for (_, session) in self.tables.sessions.iter().filter(|(_, session)| now < session_end(session)) {
            *n_sessions.entry(&session.user).or_default() += 1;
        }
        let view = |(name, user): (&String, &UserRow)| User {
            name: name.clone(),
            role: user.role,
            scope: user.scope.selectors(),
            disabled: user.disabled,
            has_password: user.password.is_some(),
            created: user.created,
            created_by: user.created_by.clone(),
            n_sessions: n_sessions.get(name.as_str()).copied().unwrap_or(0),
        };
        self.tables.users.iter().map(view).collect()
    }

    /// All API tokens, the newest first.
    pub fn api_tokens(&self) -> Vec<ApiToken> {
        let view = |(_, token): (&SecretHash, &ApiTokenRow)| ApiToken {
            id: token.id.clone(),
            name: token.name.clone(),
            user: token.user.clone(),
            role: match token.grant {
                Some(Grant::Role(role)) => Some(role),
                _ => None,
            },
            permissions: match token.grant {
                Some(Grant::Permissions(set)) => set.iter().map(|permission| permission.word().to_owned()).collect(),
                _ => Vec::new(),
            },
            scope: token.scope.selectors(),
            created: token.created,
            created_by: token.created_by.clone(),
            expires: token.expires,
            revoked: token.revoked,
        };
        let mut tokens: Vec<ApiToken> = self.tables.api_tokens.iter().map(view).collect();
        tokens.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
        tokens
    }

    /// All join tokens, the newest first.
    pub fn join_tokens(&self) -> Vec<JoinToken> {
        let mut tokens: Vec<JoinToken> = Vec::with_capacity(self.tables.join_tokens.len());
        for (id, token) in self.tables.join_tokens.iter() {
            tokens.push(JoinToken {
                id: id.clone(),
                created: token.created,
                created_by: token.created_by.clone(),
                expires: token.expires,
                uses_left: token.uses_left,
                labels: map_of(&token.labels),
                cidrs: token.cidrs.iter().map(ToString::to_string).collect(),
                agent: token.agent.as_ref().map(ToString::to_string),
                revoked: token.revoked,
            });
        }
        tokens.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
        tokens
    }

    /// Agents that wait for approval, and approved ones that did not come back yet,
    /// the oldest first.
    pub fn pending(&self, now: UnixMillis) -> Vec<PendingAgent> {
        let is_unused =
            |key| self.tables.keys.get(key).is_some_and(|bound| bound.state == KeyState::Active && !bound.used);
        let waits = |key, row: &PendingRow| match row.state {
            PendingState::Waiting => true,
            PendingState::Approved => is_unused(key),
            PendingState::Rejected => false,
        };
        let rows = self.tables.pending.iter().filter(|(key, row)| now < row.expires && waits(*key, row));
        let mut pending: Vec<PendingAgent> = rows
            .map(|(key, row)| PendingAgent {
                fingerprint: key.to_string(),
                agent: row.agent.to_string(),
                from: row.remote.map_or_else(String::new, |remote| remote.to_string()),
                labels: map_of(&row.labels),
                asked: row.asked,
                expires: row.expires,
                approved: row.state == PendingState::Approved,
            })
            .collect();
        pending.sort_by(|a, b| (a.asked, &a.fingerprint).cmp(&(b.asked, &b.fingerprint)));
        pending
    }

    /// Every key that is remembered, by agent, the newest of each first.
    pub fn identities(&self) -> Vec<AgentIdentity> {
        let mut identities = Vec::with_capacity(self.tables.keys.len());
        for (key, row) in self.tables.keys.iter() {
            let Some(agent) = self.tables.agents.get(&row.agent) else { continue };
            let state = if agent.revoked.is_some() { KeyState::Revoked } else { row.state };
            identities.push(AgentIdentity {
                agent: row.agent.to_string(),
                fingerprint: key.to_string(),
                not_after: row.not_after,
                labels: map_of(&agent.labels),
                state: state.word().to_owned(),
                joined: agent.joined,
            });
        }
        identities
            .sort_by(|a, b| (&a.agent, b.not_after, &a.fingerprint).cmp(&(&b.agent, a.not_after, &b.fingerprint)));
        identities
    }
}

fn map_of(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn principal_of_user(name: &str, user: &UserRow) -> Principal {
    Principal {
        name: name.to_owned(),
        kind: PrincipalKind::User,
        role: Some(user.role),
        permissions: PermissionSet::of_role(user.role),
        scope: user.scope.clone(),
        session: None,
    }
}

fn principal_of_service(token: &ApiTokenRow) -> Principal {
    let (role, permissions) = match token.grant {
        Some(Grant::Role(role)) => (Some(role), permissions_of_token(PermissionSet::of_role(role))),
        Some(Grant::Permissions(set)) => (None, permissions_of_token(set)),
        None => (None, PermissionSet::NONE),
    };
    Principal {
        name: format!("token:{}", token.name),
        kind: PrincipalKind::ApiToken,
        role,
        permissions,
        scope: token.scope.clone(),
        session: None,
    }
}

fn permissions_of_token(set: PermissionSet) -> PermissionSet {
    set.filter(|permission| !permission.is_for_people())
}
