//! Rows: keys and CBOR values of everything that survives a restart.
//!
//! | table       | key                    | value                                   |
//! |-------------|------------------------|-----------------------------------------|
//! | head        | `head`                 | number, hash and MAC of the last line   |
//! | head        | `base`                 | the same of the last line that went     |
//! | users       | name                   | role, scope, password hash              |
//! | sessions    | hash of the secret     | user, begun, last used                  |
//! | api tokens  | hash of the secret     | id, grant or user, scope, end           |
//! | login links | hash of the secret     | user, end                               |
//! | join tokens | id                     | hash, end, uses left, labels, networks  |
//! | pending     | fingerprint            | agent asked for, request, approval      |
//! | agents      | agent id               | labels, keys, since when, revoked when  |
//! | keys        | fingerprint            | agent, state, end of the certificate    |
//!
//! Fields are only ever added, each with a default.

use crate::event::{Grant, PasswordHash};
use crate::principal::Scope;
use crate::secret::{KeyFingerprint, SecretHash};
use core::net::IpAddr;
use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use signalbox_proto::api::Role;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::UnixMillis;
use thiserror::Error;

/// Kinds of rows. The discriminant is part of the disk format: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Where the audit ends.
    Head = 1,
    /// Users by name.
    Users = 2,
    /// Sessions by the hash of their secret.
    Sessions = 3,
    /// API tokens by the hash of their secret.
    ApiTokens = 4,
    /// Login links by the hash of their secret.
    LoginLinks = 5,
    /// Join tokens by id.
    JoinTokens = 6,
    /// Agents that wait for approval, by fingerprint.
    Pending = 7,
    /// Agents with an identity, by id.
    Agents = 8,
    /// Agents' keys, by fingerprint.
    Keys = 9,
}

impl Table {
    /// All of them.
    pub const ALL: [Table; 9] = [
        Table::Head,
        Table::Users,
        Table::Sessions,
        Table::ApiTokens,
        Table::LoginLinks,
        Table::JoinTokens,
        Table::Pending,
        Table::Agents,
        Table::Keys,
    ];

    /// The table of a discriminant.
    pub fn parse(byte: u8) -> Option<Table> {
        Table::ALL.into_iter().find(|table| *table as u8 == byte)
    }
}

/// One row to keep; `value` none removes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which table.
    pub table: Table,
    /// Key within the table.
    pub key: Vec<u8>,
    /// CBOR.
    pub value: Option<Vec<u8>>,
}

/// Why rows of a previous life were refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// A key that this version did not write.
    #[error("restore access table {table:?}: key {key:02x?} is malformed")]
    Key {
        /// Which table.
        table: Table,
        /// The key.
        key: Vec<u8>,
    },
    /// A value that does not decode. Values hold hashes of secrets: not shown.
    #[error("restore access table {table:?}: value of key {key:02x?} does not decode")]
    Value {
        /// Which table.
        table: Table,
        /// The key.
        key: Vec<u8>,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct UserRow {
    pub(crate) role: Role,
    pub(crate) scope: Scope,
    pub(crate) password: Option<PasswordHash>,
    pub(crate) disabled: bool,
    pub(crate) created: UnixMillis,
    pub(crate) created_by: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SessionRow {
    pub(crate) user: String,
    pub(crate) begun: UnixMillis,
    pub(crate) used: UnixMillis,
    pub(crate) from: String,
    /// Begun by a login link: its user may set a password without the old one.
    pub(crate) by_link: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ApiTokenRow {
    pub(crate) id: String,
    pub(crate) name: String,
    /// What it may do; none: what its user may do.
    pub(crate) grant: Option<Grant>,
    pub(crate) user: Option<String>,
    pub(crate) scope: Scope,
    pub(crate) created: UnixMillis,
    pub(crate) created_by: String,
    pub(crate) expires: UnixMillis,
    pub(crate) revoked: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LoginLinkRow {
    pub(crate) user: String,
    pub(crate) expires: UnixMillis,
    pub(crate) created_by: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct JoinTokenRow {
    pub(crate) secret: SecretHash,
    pub(crate) created: UnixMillis,
    pub(crate) created_by: String,
    pub(crate) expires: UnixMillis,
    pub(crate) uses_left: u32,
    pub(crate) labels: Labels,
    pub(crate) cidrs: Vec<IpNet>,
    pub(crate) agent: Option<AgentId>,
    pub(crate) revoked: bool,
}

/// Where a request for approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PendingState {
    /// Nobody has said a word.
    Waiting,
    /// The key is bound; the certificate was not fetched yet.
    Approved,
    /// No.
    Rejected,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PendingRow {
    pub(crate) agent: AgentId,
    pub(crate) csr_der: Vec<u8>,
    pub(crate) labels: Labels,
    pub(crate) remote: Option<IpAddr>,
    pub(crate) asked: UnixMillis,
    pub(crate) expires: UnixMillis,
    pub(crate) state: PendingState,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct AgentRow {
    pub(crate) labels: Labels,
    /// Its keys, at most [`crate::limits::KEYS_PER_AGENT_MAX`], as they were bound.
    pub(crate) keys: Vec<KeyFingerprint>,
    pub(crate) joined: UnixMillis,
    pub(crate) joined_by: String,
    pub(crate) revoked: Option<UnixMillis>,
}

/// Whether a key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It proves its agent.
    Active,
    /// The agent uses a newer one.
    Replaced,
    /// An admin revoked the agent.
    Revoked,
}

impl KeyState {
    /// As in JSON.
    pub fn word(self) -> &'static str {
        match self {
            KeyState::Active => "active",
            KeyState::Replaced => "replaced",
            KeyState::Revoked => "revoked",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeyRow {
    pub(crate) agent: AgentId,
    pub(crate) state: KeyState,
    pub(crate) bound: UnixMillis,
    pub(crate) not_after: UnixMillis,
    /// It proved its agent at least once.
    pub(crate) used: bool,
}

/// CBOR with named fields.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("writing to memory cannot fail, and no map key here is unfit");
    bytes
}

pub(crate) fn decode<T: DeserializeOwned>(table: Table, key: &[u8], value: &[u8]) -> Result<T, RestoreError> {
    ciborium::from_reader(value).map_err(|_| RestoreError::Value { table, key: key.to_vec() })
}

/// What can be the key of a row.
pub(crate) trait RowKey: Ord + Clone {
    fn encode(&self) -> Vec<u8>;
    fn decode(bytes: &[u8]) -> Option<Self>;
}

impl RowKey for String {
    fn encode(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
    fn decode(bytes: &[u8]) -> Option<String> {
        String::from_utf8(bytes.to_vec()).ok()
    }
}

impl RowKey for AgentId {
    fn encode(&self) -> Vec<u8> {
        self.as_str().as_bytes().to_vec()
    }
    fn decode(bytes: &[u8]) -> Option<AgentId> {
        AgentId::parse(std::str::from_utf8(bytes).ok()?).ok()
    }
}

impl RowKey for SecretHash {
    fn encode(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
    fn decode(bytes: &[u8]) -> Option<SecretHash> {
        bytes.try_into().ok().map(SecretHash::from_bytes)
    }
}

impl RowKey for KeyFingerprint {
    fn encode(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
    fn decode(bytes: &[u8]) -> Option<KeyFingerprint> {
        bytes.try_into().ok().map(KeyFingerprint::from_bytes)
    }
}
