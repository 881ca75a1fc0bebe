//! What a person does with a store while no collector runs on it: look, check, back
//! up, restore.
//!
//! ```text
//! stats    spans and files        rows, bytes, bytes a sample, by tier and agent
//! verify   every row              what is damaged, where, and what to do about it
//! backup   checkpoint + keys      a folder that is a data directory
//! restore  that folder            into an empty data directory, verified first
//! ```

pub mod backup;
pub mod stats;
pub mod verify;

use crate::store::Family;
use crate::store::rocks::RocksStore;
use crate::store::{Store, StoreError, each_of, keys};
use signalbox_proto::units::Bytes;
use signalbox_tsdb::keys::AgentNo;
use std::collections::BTreeMap;
use std::path::Path;

/// Memory for reading a store once, from end to end.
const MEMORY: Bytes = Bytes::from_mib(64);

/// Opens a store that is there, and changes nothing in it.
///
/// # Errors
/// [`StoreError`].
pub fn open(data_dir: &Path) -> Result<RocksStore, StoreError> {
    if !data_dir.join("store").is_dir() {
        let why = "there is no folder named store in it".to_owned();
        return Err(StoreError::Failed { what: format!("open the store in {}", data_dir.display()), why });
    }
    RocksStore::open_read_only(data_dir, MEMORY)
}

/// Names of agents, as far as their rows can be read.
fn agents(store: &dyn Store) -> Result<BTreeMap<AgentNo, String>, StoreError> {
    let mut agents = BTreeMap::new();
    each_of(store, Family::Meta, keys::AGENTS, |key, row| {
        if let (Some(no), Ok(name)) = (keys::parse_agent(key), ciborium::from_reader::<String, _>(row)) {
            agents.insert(no, name);
        }
        Ok::<(), StoreError>(())
    })?;
    Ok(agents)
}
