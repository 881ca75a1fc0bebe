//! The tables in memory: cheap to copy, and they know which rows changed.

use crate::principal::Principal;
use crate::rows::{
    self, AgentRow, ApiTokenRow, JoinTokenRow, KeyRow, LoginLinkRow, PendingRow, RestoreError, Row, RowKey, SessionRow,
    UserRow,
};
use crate::secret::{KeyFingerprint, SecretHash};
use serde::Serialize;
use serde::de::DeserializeOwned;
use signalbox_proto::names::AgentId;
use signalbox_proto::units::UnixMillis;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Rows of one kind. A copy shares them until one of both changes.
#[derive(Debug, Clone)]
pub(crate) struct Rows<K, V> {
    rows: Arc<BTreeMap<K, Arc<V>>>,
    dirty: BTreeSet<K>,
}

impl<K: Ord, V> Default for Rows<K, V> {
    fn default() -> Rows<K, V> {
        Rows { rows: Arc::default(), dirty: BTreeSet::new() }
    }
}

impl<K: RowKey, V: Clone + Serialize + DeserializeOwned> Rows<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key).map(|row| &**row)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        if !self.rows.contains_key(key) {
            return None;
        }
        self.dirty.insert(key.clone());
        Arc::make_mut(&mut self.rows).get_mut(key).map(Arc::make_mut)
    }

    pub(crate) fn insert(&mut self, key: K, row: V) {
        self.dirty.insert(key.clone());
        Arc::make_mut(&mut self.rows).insert(key, Arc::new(row));
    }

    pub(crate) fn remove(&mut self, key: &K) -> bool {
        let found = self.rows.contains_key(key);
        if found {
            self.dirty.insert(key.clone());
            Arc::make_mut(&mut self.rows).remove(key);
        }
        found
    }

    /// Removes every row that `goes` says yes to; how many there were.
    pub(crate) fn remove_if(&mut self, goes: impl Fn(&K, &V) -> bool) -> usize {
        let gone: Vec<K> = self.iter().filter(|(key, row)| goes(key, row)).map(|(key, _)| key.clone()).collect();
        gone.iter().for_each(|key| {
            self.remove(key);
        });
        gone.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter().map(|(key, row)| (key, &**row))
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    fn restore(&mut self, table: rows::Table, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let own = K::decode(key).ok_or_else(|| RestoreError::Key { table, key: key.to_vec() })?;
        let row = rows::decode(table, key, value)?;
        Arc::make_mut(&mut self.rows).insert(own, Arc::new(row));
        Ok(())
    }

    /// The rows that changed since this was last asked.
    fn drain(&mut self, table: rows::Table, out: &mut Vec<Row>) {
        for key in std::mem::take(&mut self.dirty) {
            let value = self.rows.get(&key).map(|row| rows::encode(&**row));
            out.push(Row { table, key: key.encode(), value });
        }
    }
}

/// All tables but the audit's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    pub(crate) users: Rows<String, UserRow>,
    pub(crate) sessions: Rows<SecretHash, SessionRow>,
    pub(crate) api_tokens: Rows<SecretHash, ApiTokenRow>,
    pub(crate) login_links: Rows<SecretHash, LoginLinkRow>,
    pub(crate) join_tokens: Rows<String, JoinTokenRow>,
    pub(crate) pending: Rows<KeyFingerprint, PendingRow>,
    pub(crate) agents: Rows<AgentId, AgentRow>,
    pub(crate) keys: Rows<KeyFingerprint, KeyRow>,
}

impl Tables {
    pub(crate) fn restore(&mut self, table: rows::Table, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        match table {
            rows::Table::Head => Ok(()),
            rows::Table::Users => self.users.restore(table, key, value),
            rows::Table::Sessions => self.sessions.restore(table, key, value),
            rows::Table::ApiTokens => self.api_tokens.restore(table, key, value),
            rows::Table::LoginLinks => self.login_links.restore(table, key, value),
            rows::Table::JoinTokens => self.join_tokens.restore(table, key, value),
            rows::Table::Pending => self.pending.restore(table, key, value),
            rows::Table::Agents => self.agents.restore(table, key, value),
            rows::Table::Keys => self.keys.restore(table, key, value),
        }
    }

    /// The user has the rights still that a request began with.
    pub(crate) fn is_current_user(&self, principal: &Principal) -> bool {
        let is_current =
            |row: &UserRow| !row.disabled && Some(row.role) == principal.role && row.scope == principal.scope;
        self.users.get(&principal.name).is_some_and(is_current)
    }

    /// When somebody was last seen, as far as rows tell.
    pub(crate) fn newest_use(&self) -> UnixMillis {
        self.sessions.iter().map(|(_, row)| row.used).max().unwrap_or(UnixMillis::MIN)
    }

    pub(crate) fn drain(&mut self) -> Vec<Row> {
        let mut out = Vec::new();
        self.users.drain(rows::Table::Users, &mut out);
        self.sessions.drain(rows::Table::Sessions, &mut out);
        self.api_tokens.drain(rows::Table::ApiTokens, &mut out);
        self.login_links.drain(rows::Table::LoginLinks, &mut out);
        self.join_tokens.drain(rows::Table::JoinTokens, &mut out);
        self.pending.drain(rows::Table::Pending, &mut out);
        self.agents.drain(rows::Table::Agents, &mut out);
        self.keys.drain(rows::Table::Keys, &mut out);
        out
    }
}
