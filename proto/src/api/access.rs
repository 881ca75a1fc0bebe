//! Who may do what, as operators see and change it: users, tokens, sessions and
//! the agents' identities.
//!
//! A secret is in an answer once, when it is made, in a field named `secret`,
//! `token` or `url`; what lists it afterwards knows its id only.

use crate::units::UnixMillis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What somebody may do at all, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Also acknowledges, assigns, closes and snoozes.
    Operator,
    /// Also changes what is judged.
    ChangeManager,
    /// Also lets people and agents in, and reads the audit.
    Admin,
}

impl Role {
    /// Every role, in rising order.
    pub const ALL: [Role; 4] = [Role::Viewer, Role::Operator, Role::ChangeManager, Role::Admin];

    /// As in JSON and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::ChangeManager => "change_manager",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Role, String> {
        let wanted = text.replace('-', "_");
        let found = Role::ALL.into_iter().find(|role| role.word() == wanted);
        found.ok_or_else(|| format!("there is no role {text:?}; write viewer, operator, change_manager or admin"))
    }
}

/// `GET /whoami`: who asks, as the collector sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct WhoAmI {
    /// Name, as it stands in the audit: `ada`, `token:7`, `local:root`.
    pub name: String,
    /// `user`, `api_token` or `local`.
    pub kind: String,
    /// Role; none for a token with permissions of its own.
    pub role: Option<Role>,
    /// Every permission, by name, sorted.
    pub permissions: Vec<String>,
    /// Selectors of what may be seen and acted on; empty: all.
    pub scope: Vec<String>,
    /// Where the request came from.
    pub from: String,
}

/// Body of `POST /login`: a name and password for an API token of that user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// User.
    pub name: String,
    /// Password.
    pub password: String,
    /// What the token is for: the name of the host where it will lie.
    #[serde(default)]
    pub purpose: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("name", &self.name).field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

/// Body of `POST /users/{name}/password` and `POST /password`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// The password until now; needed for one's own.
    #[serde(default)]
    pub old: String,
    /// The password from now on.
    pub new: String,
}

impl fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewPassword").finish_non_exhaustive()
    }
}

/// Body of `POST /join-tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewJoinToken {
    /// How long it may be used, `1h`.
    #[serde(default = "one_hour")]
    pub ttl: String,
    /// How many agents may join with it.
    #[serde(default = "once")]
    pub uses: u32,
    /// Labels that these agents may declare beyond the usual, with their values.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Networks from which they may join, `192.0.2.0/24`; empty: any.
    #[serde(default)]
    pub cidrs: Vec<String>,
    /// The one agent id that may join with it.
    #[serde(default)]
    pub agent: Option<String>,
}

fn one_hour() -> String {
    "1h".to_owned()
}

fn once() -> u32 {
    1
}

/// A secret that was just made; it cannot be shown again.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct Made {
    /// Id, by which it is listed and revoked.
    pub id: String,
    /// The secret: a join token, an API token or the address of a login link.
    pub secret: String,
    /// Until when it may be used.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub expires: UnixMillis,
    /// The command to run with it, without the secret itself; may be empty.
    #[serde(default)]
    pub command: String,
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Made").field("id", &self.id).field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// `GET /join-tokens`: one row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct JoinToken {
    /// Id.
    pub id: String,
    /// When it was made.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub created: UnixMillis,
    /// By whom.
    pub created_by: String,
    /// Until when it may be used.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub expires: UnixMillis,
    /// How many agents may still join with it.
    pub uses_left: u32,
    /// Labels that these agents may declare.
    pub labels: BTreeMap<String, String>,
    /// Networks from which they may join; empty: any.
    pub cidrs: Vec<String>,
    /// The one agent id that may join with it.
    pub agent: Option<String>,
    /// Revoked.
    pub revoked: bool,
}

/// `GET /agents/pending`: an agent that asked to join without a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct PendingAgent {
    /// SHA-256 of its public key, hexadecimal: compare it with what the host prints.
    pub fingerprint: String,
    /// Agent id that it asks for.
    pub agent: String,
    /// Address from which it asked.
    pub from: String,
    /// Labels that it asks for, and that approval lets it declare: scopes may hang on them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When it asked.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub asked: UnixMillis,
    /// When the request is forgotten.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub expires: UnixMillis,
    /// Approved already, and it has not come with its certificate yet.
    #[serde(default)]
    pub approved: bool,
}

/// `GET /agents/keys`: an agent's identity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct AgentIdentity {
    /// Agent id.
    pub agent: String,
    /// SHA-256 of its public key, hexadecimal.
    pub fingerprint: String,
    /// When its certificate ends.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub not_after: UnixMillis,
    /// Labels that it may declare.
    pub labels: BTreeMap<String, String>,
    /// `active`, `replaced` or `revoked`.
    pub state: String,
    /// When it joined.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub joined: UnixMillis,
}

/// `GET /users`: one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct User {
    /// Name.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Selectors of what may be seen and acted on; empty: all.
    pub scope: Vec<String>,
    /// May not log in.
    pub disabled: bool,
    /// A password was set.
    pub has_password: bool,
    /// When it was made.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub created: UnixMillis,
    /// By whom.
    pub created_by: String,
    /// Sessions that stand.
    #[serde(default)]
    pub n_sessions: u32,
}

/// Body of `POST /users`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// Name: 1 to 64 of `A-Z a-z 0-9 . _ -`.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Selectors of what may be seen and acted on; empty: all.
    #[serde(default)]
    pub scope: Vec<String>,
}

/// Body of `POST /users/{name}/role`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewRole {
    /// Role from now on.
    pub role: Role,
    /// Scope from now on; not given: as it was. An empty list: all.
    #[serde(default)]
    pub scope: Option<Vec<String>>,
}

/// `GET /tokens`: one API token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct ApiToken {
    /// Id.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// User whose token it is; none for a service.
    pub user: Option<String>,
    /// Role; none where permissions are listed.
    pub role: Option<Role>,
    /// Permissions by name.
    pub permissions: Vec<String>,
    /// Selectors of what may be seen and acted on; empty: all.
    pub scope: Vec<String>,
    /// When it was made.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub created: UnixMillis,
    /// By whom.
    pub created_by: String,
    /// Until when it may be used.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub expires: UnixMillis,
    /// Revoked.
    pub revoked: bool,
}

/// Body of `POST /tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewApiToken {
    /// What it is for, 1 to 64 of `A-Z a-z 0-9 . _ -`.
    pub name: String,
    /// Role; or `permissions`, not both.
    #[serde(default)]
    pub role: Option<Role>,
    /// Permissions by name (`read_metrics`); or `role`.
    #[serde(default)]
    pub permissions: Vec<String>,
    /// Selectors of what may be seen and acted on; empty: all.
    #[serde(default)]
    pub scope: Vec<String>,
    /// How long it may be used, at most a year: `90d`.
    #[serde(default = "ninety_days")]
    pub ttl: String,
}

fn ninety_days() -> String {
    "90d".to_owned()
}

/// `GET /audit`: one line of the record. Each line's hash covers the one before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// From 1, without gaps.
    pub no: u64,
    /// When, the collector's clock.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub at: UnixMillis,
    /// Who.
    pub who: String,
    /// With which role; empty when none is known.
    pub role: String,
    /// From where.
    pub from: String,
    /// What was attempted.
    pub act: String,
    /// On what.
    pub object: String,
    /// How it was before.
    pub before: String,
    /// How it was after.
    pub after: String,
    /// What came of it.
    pub result: String,
    /// Hash of the line before, hexadecimal.
    pub prev: String,
    /// Hash of this line, hexadecimal.
    pub hash: String,
}

/// `GET /audit/verify`: whether the record is whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct AuditVerdict {
    /// True: every line is there, in order and as it was written.
    pub whole: bool,
    /// Number of the first line that is kept: older ones went when they were too many.
    #[serde(default)]
    pub first: u64,
    /// Lines that were read.
    pub n_lines: u64,
    /// Hash of the last line, hexadecimal.
    pub head: String,
    /// What is wrong, and with which line; empty when it is whole.
    pub fault: String,
}

/// `GET /ca`: the installation's certificate authority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct CaReport {
    /// Id of the installation.
    pub installation: String,
    /// True when the certificate authority is the site's own.
    pub external: bool,
    /// Its certificates, in force first.
    pub roots: Vec<CaRoot>,
    /// All of them, PEM.
    pub pem: String,
    /// When the collector's own certificate ends.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub server_not_after: UnixMillis,
    /// Names that the collector's own certificate carries.
    pub server_names: Vec<String>,
}

/// One certificate of a [`CaReport`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct CaRoot {
    /// `base64url` SHA-256 of its public key, as in join tokens.
    pub pin: String,
    /// When it begins.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub not_before: UnixMillis,
    /// When it ends.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub not_after: UnixMillis,
    /// True: it issues. False: it is still, or already, trusted.
    pub issues: bool,
    /// An old root is trusted until then, or until `ca drop`; none: as long as it is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "api", schema(value_type = Option<i64>))]
    pub dropped: Option<UnixMillis>,
}

/// `GET /doctor`: what the collector finds out about itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "api", derive(utoipa::ToSchema))]
pub struct SelfReport {
    /// Version of the collector.
    pub version: String,
    /// Its wall clock.
    #[cfg_attr(feature = "api", schema(value_type = i64))]
    pub now: UnixMillis,
    /// Store was read and the first rules are in force.
    pub ready: bool,
    /// Where everything is that must survive.
    pub data_dir: String,
    /// Free on that volume, bytes.
    pub free_bytes: u64,
    /// Size of that volume, bytes.
    pub volume_bytes: u64,
    /// When the collector's own certificate ends; none where it has none.
    #[cfg_attr(feature = "api", schema(value_type = Option<i64>))]
    pub certificate_not_after: Option<UnixMillis>,
    /// HTTP is served with TLS.
    pub http_tls: bool,
    /// Problems that it states on the board.
    pub problems: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_rise_and_read_as_they_are_written() {
        assert!(Role::Viewer < Role::Operator && Role::ChangeManager < Role::Admin);
        for role in Role::ALL {
            assert_eq!(role.word().parse(), Ok(role));
            assert_eq!(format!("{role:?}").to_lowercase(), role.word().replace('_', ""));
        }
        assert_eq!("change-manager".parse(), Ok(Role::ChangeManager));
        assert!("root".parse::<Role>().is_err());
    }

    #[test]
    fn what_is_secret_is_not_in_debug() {
        let login = Login { name: "ada".to_owned(), password: "canary".to_owned(), purpose: String::new() };
        let made = Made { id: "7".to_owned(), secret: "canary".to_owned(), ..Made::default() };
        let new = NewPassword { old: "canary".to_owned(), new: "canary".to_owned() };
        assert!(!format!("{login:?} {made:?} {new:?}").contains("canary"));
    }
}
