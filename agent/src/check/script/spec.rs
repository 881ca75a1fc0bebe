//! A script as the program trusts it: checked, with numbers for users.

use super::order::{Order, OrderAccount};
use signalbox_proto::units::{Bytes, Millis};
use std::collections::BTreeMap;

/// How far each run may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Address space of each process.
    pub memory: Bytes,
    /// Processor time of each process, whole seconds.
    pub cpu: Millis,
    /// Processes at one time.
    pub n_processes: u32,
}

/// A user of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Group id; there are no further groups.
    pub gid: u32,
}

/// One script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptSpec {
    /// The label `script`, unique within the agent.
    pub name: String,
    /// Absolute path of the executable, and its arguments. No shell reads them.
    pub command: Vec<String>,
    /// Between two runs.
    pub interval: Millis,
    /// Until its process group is killed.
    pub timeout: Millis,
    /// Whom it runs as; none: as the agent.
    pub account: Option<Account>,
    /// Its whole environment; values may be references to secrets, never secrets.
    pub env: BTreeMap<String, String>,
    /// Users besides root that may own the executable and its folders.
    pub owners: Vec<u32>,
    /// What the executable's bytes must hash to.
    pub sha256: Option<[u8; 32]>,
    /// How far each run may go.
    pub limits: Limits,
}

impl ScriptSpec {
    /// With the defaults of the configuration file.
    pub fn new(name: &str, command: Vec<String>) -> ScriptSpec {
        ScriptSpec {
            name: name.to_owned(),
            command,
            interval: Millis::from_mins(1),
            timeout: Millis::from_secs(10),
            account: None,
            env: BTreeMap::new(),
            owners: Vec::new(),
            sha256: None,
            limits: Limits { memory: Bytes::from_mib(512), cpu: Millis::from_secs(10), n_processes: 32 },
        }
    }

    pub(super) fn order(&self) -> Order {
        Order {
            command: self.command.clone(),
            timeout_ms: self.timeout.0,
            owners: self.owners.clone(),
            sha256: self.sha256.map(Vec::from).unwrap_or_default(),
            account: self.account.map(|Account { uid, gid }| OrderAccount { uid, gid }),
            env: self.env.clone(),
            memory_bytes: self.limits.memory.0,
            cpu_secs: self.limits.cpu.0.div_ceil(1000),
            n_processes: self.limits.n_processes,
        }
    }
}
