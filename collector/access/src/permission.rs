//! Permissions, and which role has which: a closed set.

use serde::{Deserialize, Serialize};
use signalbox_proto::api::Role;
use std::fmt;
use std::str::FromStr;

/// What can be allowed. Every route and every act names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Board, agents, rules in force.
    ReadStatus,
    /// Stored samples and explanations.
    ReadHistory,
    /// Incidents, snoozes, ledger.
    ReadIncidents,
    /// The collector's own figures.
    ReadMetrics,
    /// Acknowledge, assign, note, close.
    ActIncidents,
    /// Snooze and end a snooze.
    Snooze,
    /// Say that a host was taken away.
    RetireAgents,
    /// Try rule files against the series that exist.
    CheckRules,
    /// Send a marked message through a channel.
    TestChannels,
    /// Read the configuration files again.
    ReloadConfig,
    /// Write samples of others: Prometheus's remote write.
    WriteSamples,
    /// Join tokens, approval, revocation, the CA.
    ManageAgents,
    /// Users, their roles and sessions, API tokens.
    ManageUsers,
    /// Read and verify the audit.
    ReadAudit,
    /// One's own session, password and tokens.
    OwnSession,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Permission; 15] = [
        Permission::ReadStatus,
        Permission::ReadHistory,
        Permission::ReadIncidents,
        Permission::ReadMetrics,
        Permission::ActIncidents,
        Permission::Snooze,
        Permission::RetireAgents,
        Permission::CheckRules,
        Permission::TestChannels,
        Permission::ReloadConfig,
        Permission::WriteSamples,
        Permission::ManageAgents,
        Permission::ManageUsers,
        Permission::ReadAudit,
        Permission::OwnSession,
    ];

    /// As in rows, JSON and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Permission::ReadStatus => "read_status",
            Permission::ReadHistory => "read_history",
            Permission::ReadIncidents => "read_incidents",
            Permission::ReadMetrics => "read_metrics",
            Permission::ActIncidents => "act_incidents",
            Permission::Snooze => "snooze",
            Permission::RetireAgents => "retire_agents",
            Permission::CheckRules => "check_rules",
            Permission::TestChannels => "test_channels",
            Permission::ReloadConfig => "reload_config",
            Permission::WriteSamples => "write_samples",
            Permission::ManageAgents => "manage_agents",
            Permission::ManageUsers => "manage_users",
            Permission::ReadAudit => "read_audit",
            Permission::OwnSession => "own_session",
        }
    }

    /// The least role that has it.
    pub fn least_role(self) -> Role {
        match self {
            Permission::ReadStatus
            | Permission::ReadHistory
            | Permission::ReadIncidents
            | Permission::ReadMetrics
            | Permission::OwnSession => Role::Viewer,
            Permission::ActIncidents
            | Permission::Snooze
            | Permission::RetireAgents
            | Permission::CheckRules
            | Permission::TestChannels => Role::Operator,
            Permission::ReloadConfig => Role::ChangeManager,
            Permission::WriteSamples | Permission::ManageAgents | Permission::ManageUsers | Permission::ReadAudit => {
                Role::Admin
            }
        }
    }

    /// True when a scoped principal may use it without naming an object: what it
    /// reads is then filtered object by object, or is nobody's in particular.
    pub fn is_filtered(self) -> bool {
        matches!(
            self,
            Permission::ReadStatus
                | Permission::ReadHistory
                | Permission::ReadIncidents
                | Permission::ReadMetrics
                | Permission::CheckRules
                | Permission::OwnSession
        )
    }

    /// True when no API token may have it: a stolen token must not make itself a user.
    pub fn is_for_people(self) -> bool {
        matches!(self, Permission::ManageUsers | Permission::OwnSession)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Permission {
    type Err = String;

    fn from_str(text: &str) -> Result<Permission, String> {
        let found = Permission::ALL.into_iter().find(|permission| permission.word() == text);
        found.ok_or_else(|| {
            let all = Permission::ALL.map(Permission::word).join(", ");
            format!("there is no permission {text:?}; there are {all}")
        })
    }
}

/// A set of permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Permission>", into = "Vec<Permission>")]
pub struct PermissionSet(u32);

impl PermissionSet {
    /// None at all.
    pub const NONE: PermissionSet = PermissionSet(0);

    /// What a role may do.
    pub fn of_role(role: Role) -> PermissionSet {
        Permission::ALL.into_iter().filter(|permission| permission.least_role() <= role).collect()
    }

    /// True when it holds this one.
    pub fn contains(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u32) != 0
    }

    /// Those that `keep` says yes to.
    #[must_use]
    pub fn filter(self, keep: impl Fn(Permission) -> bool) -> PermissionSet {
        self.iter().filter(|permission| keep(*permission)).collect()
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |permission| self.contains(*permission))
    }

    /// True when there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> PermissionSet {
        PermissionSet(permissions.into_iter().fold(0, |set, permission| set | 1 << permission as u32))
    }
}

impl From<Vec<Permission>> for PermissionSet {
    fn from(permissions: Vec<Permission>) -> PermissionSet {
        permissions.into_iter().collect()
    }
}

impl From<PermissionSet> for Vec<Permission> {
    fn from(set: PermissionSet) -> Vec<Permission> {
        set.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_role_may_all_that_a_lower_one_may() {
        for pair in Role::ALL.windows(2) {
            let (low, high) = (PermissionSet::of_role(pair[0]), PermissionSet::of_role(pair[1]));
            assert!(low.iter().all(|permission| high.contains(permission)), "{pair:?}");
            assert!(high.iter().count() > low.iter().count(), "{pair:?}");
        }
        assert_eq!(PermissionSet::of_role(Role::Admin).iter().count(), Permission::ALL.len());
    }

    #[test]
    fn words_come_back_and_each_is_its_own() {
        for permission in Permission::ALL {
            assert_eq!(permission.word().parse(), Ok(permission));
            let set: PermissionSet = [permission].into_iter().collect();
            assert_eq!(set.iter().collect::<Vec<_>>(), [permission]);
        }
        assert!("root".parse::<Permission>().unwrap_err().contains("there are read_status, "));
    }

    #[test]
    fn a_viewer_changes_nothing() {
        let viewer = PermissionSet::of_role(Role::Viewer);
        for permission in [Permission::ActIncidents, Permission::Snooze, Permission::ManageUsers, Permission::ReadAudit]
        {
            assert!(!viewer.contains(permission));
        }
    }
}
