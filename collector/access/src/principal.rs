//! Who asks, from where, for which objects; and [`authorize`], the one function
//! that says yes or no.

use crate::limits::{SCOPE_SELECTOR_MAX_BYTES, SCOPE_SELECTORS_MAX};
use crate::permission::{Permission, PermissionSet};
use crate::secret::SecretHash;
use serde::{Deserialize, Serialize};
use signalbox_proto::api::Role;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::selector::Selector;
use std::collections::BTreeMap;
use std::fmt;
use thiserror::Error;

/// What kind of somebody a [`Principal`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// A person with a session, or a tool of theirs with a token of that user.
    User,
    /// A service with a token of its own.
    ApiToken,
    /// Somebody on the collector's own host, known by the Unix socket.
    Local,
    /// An agent, known by its certificate or by the Unix socket.
    Agent,
    /// The collector itself.
    System,
    /// Nobody that is known.
    Nobody,
}

impl PrincipalKind {
    /// As in JSON.
    pub fn word(self) -> &'static str {
        match self {
            PrincipalKind::User => "user",
            PrincipalKind::ApiToken => "api_token",
            PrincipalKind::Local => "local",
            PrincipalKind::Agent => "agent",
            PrincipalKind::System => "system",
            PrincipalKind::Nobody => "nobody",
        }
    }
}

/// Somebody, and all that they may do.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    /// As it stands in the audit: `ada`, `token:deploy`, `local:root`, `agent:web1`.
    pub name: String,
    /// What kind of somebody.
    pub kind: PrincipalKind,
    /// None for a token with permissions of its own, for agents and for nobody.
    pub role: Option<Role>,
    /// What they may do.
    pub permissions: PermissionSet,
    /// To which objects.
    pub scope: Scope,
    /// The session that proves it, if one does.
    pub session: Option<SecretHash>,
}

impl Principal {
    /// Nobody that is known: may do nothing.
    pub fn nobody() -> Principal {
        Principal::bare("-", PrincipalKind::Nobody)
    }

    /// The collector itself.
    pub fn system() -> Principal {
        let permissions = Permission::ALL.into_iter().collect();
        Principal { permissions, ..Principal::bare("signalbox", PrincipalKind::System) }
    }

    /// Somebody on the collector's own host, of this role, by the name that the
    /// host's system knows.
    pub fn local(user: &str, role: Role) -> Principal {
        let permissions = PermissionSet::of_role(role);
        let name = format!("local:{user}");
        Principal { role: Some(role), permissions, ..Principal::bare(&name, PrincipalKind::Local) }
    }

    /// An agent: streams its own samples, and may do nothing else here.
    pub fn agent(id: &AgentId) -> Principal {
        Principal::bare(&format!("agent:{id}"), PrincipalKind::Agent)
    }

    fn bare(name: &str, kind: PrincipalKind) -> Principal {
        let (permissions, scope) = (PermissionSet::NONE, Scope::All);
        Principal { name: name.to_owned(), kind, role: None, permissions, scope, session: None }
    }

    /// The role's word, empty without one.
    pub fn role_word(&self) -> &'static str {
        self.role.map_or("", Role::word)
    }
}

/// Somebody who asks, and from where.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// `192.0.2.7`, `unix:uid=0`.
    pub from: String,
}

impl Caller {
    /// Somebody at an address.
    pub fn new(principal: Principal, from: impl Into<String>) -> Caller {
        Caller { principal, from: from.into() }
    }

    /// The collector itself.
    pub fn system() -> Caller {
        Caller::new(Principal::system(), "signalbox")
    }
}

/// Which objects somebody may see and act on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Option<Vec<String>>", into = "Option<Vec<String>>")]
pub enum Scope {
    /// All.
    All,
    /// Those whose labels at least one selector matches.
    Labels(Vec<Selector>),
}

impl Scope {
    /// Reads selectors such as `{owner="payments"}`; an empty list means all.
    ///
    /// # Errors
    /// What is wrong with which selector, and how to write one.
    pub fn parse(selectors: &[String]) -> Result<Scope, String> {
        if selectors.is_empty() {
            return Ok(Scope::All);
        }
        if selectors.len() > SCOPE_SELECTORS_MAX {
            return Err(format!("{} selectors are over the limit of {SCOPE_SELECTORS_MAX} a scope", selectors.len()));
        }
        let parse = |text: &String| {
            if text.len() > SCOPE_SELECTOR_MAX_BYTES {
                return Err(format!("a selector of a scope is over the limit of {SCOPE_SELECTOR_MAX_BYTES} bytes"));
            }
            Selector::parse(text).map_err(|why| format!("scope: {why}; write for example {{owner=\"payments\"}}"))
        };
        selectors.iter().map(parse).collect::<Result<_, _>>().map(Scope::Labels)
    }

    /// The selectors as text; empty for all.
    pub fn selectors(&self) -> Vec<String> {
        match self {
            Scope::All => Vec::new(),
            Scope::Labels(selectors) => selectors.iter().map(ToString::to_string).collect(),
        }
    }

    /// True when it holds this object.
    pub fn contains(&self, object: &Object) -> bool {
        match self {
            Scope::All => true,
            Scope::Labels(selectors) => selectors.iter().any(|selector| object.matches(selector)),
        }
    }
}

impl PartialEq for Scope {
    fn eq(&self, other: &Scope) -> bool {
        let is_all = |scope: &Scope| matches!(scope, Scope::All);
        is_all(self) == is_all(other) && self.selectors() == other.selectors()
    }
}

/// `all`, or the selectors.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::All => f.write_str("all"),
            Scope::Labels(_) => f.write_str(&self.selectors().join(" or ")),
        }
    }
}

impl From<Scope> for Option<Vec<String>> {
    fn from(scope: Scope) -> Option<Vec<String>> {
        match scope {
            Scope::All => None,
            Scope::Labels(_) => Some(scope.selectors()),
        }
    }
}

impl TryFrom<Option<Vec<String>>> for Scope {
    type Error = String;

    fn try_from(selectors: Option<Vec<String>>) -> Result<Scope, String> {
        match selectors {
            None => Ok(Scope::All),
            // A kept scope without selectors holds nothing: never all by accident.
            Some(selectors) if selectors.is_empty() => Ok(Scope::Labels(Vec::new())),
            Some(selectors) => Scope::parse(&selectors),
        }
    }
}

/// What somebody wants to see or act on, as scopes see it: its labels
/// (`agent`, `host`, `layer`, `owner`, `system`, those of its series).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object {
    labels: BTreeMap<String, String>,
}

impl Object {
    /// An object of these labels. An empty value means absent.
    pub fn new<K: Into<String>, V: Into<String>>(labels: impl IntoIterator<Item = (K, V)>) -> Object {
        let pairs = labels.into_iter().map(|(name, value)| (name.into(), value.into()));
        Object { labels: pairs.filter(|(_, value): &(String, String)| !value.is_empty()).collect() }
    }

    /// A series, or whatever else has checked labels.
    pub fn of_labels(labels: &Labels) -> Object {
        Object::new(labels.iter())
    }

    /// The same with one more label.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Object {
        if !value.is_empty() {
            self.labels.insert(name.to_owned(), value.to_owned());
        }
        self
    }

    fn matches(&self, selector: &Selector) -> bool {
        let value = |label: &String| self.labels.get(label).map_or("", String::as_str);
        selector.matchers().iter().all(|matcher| matcher.test.accepts(value(&matcher.label)))
    }
}

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Denied {
    /// They lack the permission.
    #[error("permission {0} is needed")]
    Permission(Permission),
    /// They have it, but not for this object.
    #[error("permission {0} does not reach this object")]
    Scope(Permission),
    /// They have it for some objects only, and this is about all.
    #[error("permission {0} is needed for every object, not only for those of a scope")]
    Unscoped(Permission),
}

/// Whether somebody may do something, to one object or in general. The only such
/// decision in the program: every handler and every act asks here.
///
/// Without an object a scoped principal may use only permissions whose answer is
/// filtered object by object ([`Permission::is_filtered`]).
///
/// # Errors
/// Why not.
pub fn authorize(principal: &Principal, permission: Permission, object: Option<&Object>) -> Result<(), Denied> {
    if !principal.permissions.contains(permission) {
        return Err(Denied::Permission(permission));
    }
    match (&principal.scope, object) {
        (Scope::All, _) => Ok(()),
        (scope, Some(object)) if scope.contains(object) => Ok(()),
        (_, Some(_)) => Err(Denied::Scope(permission)),
        (_, None) if permission.is_filtered() => Ok(()),
        (_, None) => Err(Denied::Unscoped(permission)),
    }
}
