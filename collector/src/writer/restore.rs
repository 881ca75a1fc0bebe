//! What the writer knows, read back from the store: restart is a read.
//!
//! A row that cannot be what this program wrote is counted, reported and passed
//! over: a collector with a hole in a chunk is better than none. A damaged engine
//! row is different: nobody could trust a verdict made without it, so the start
//! fails and names the row.

use super::agents::{Agents, LaneEntry};
use super::intake::HOST;
use crate::shared::{Catalogue, LaneCell, Problem, Shared};
use crate::store::{Family, Store, StoreError, after_prefix, each_of, keys, spans};
use signalbox_access::{Access, AuditKey, AuditLine, Fault};
use signalbox_engine::decision::Row;
use signalbox_proto::names::AgentId;
use signalbox_proto::units::UnixMillis;
use signalbox_tsdb::dictionary;
use signalbox_tsdb::head::Lane;
use signalbox_tsdb::index::SeriesIndex;
use signalbox_tsdb::journal::Row as JournalRow;
use signalbox_tsdb::keys::{AgentNo, Journal, parse_series};
use signalbox_tsdb::segment::{self, Head};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is read back.
pub(crate) struct Restored {
    pub(crate) agents: Agents,
    /// The last turn that the store holds.
    pub(crate) turn: u64,
}

/// The row of an agent.
pub(crate) fn encode_agent(agent: &AgentId) -> Vec<u8> {
    let mut row = Vec::new();
    ciborium::into_writer(agent, &mut row).expect("a string always encodes, and memory does not fail");
    row
}

/// Counts and reports rows that were passed over.
struct Damage<'a> {
    shared: &'a Shared,
    n_rows: u64,
}

impl Damage<'_> {
    fn note(&mut self, family: Family, key: &[u8], why: impl ToString) {
        self.n_rows += 1;
        let error = StoreError::damaged(family, key, why);
        tracing::error!(%error, "a stored row was passed over");
        metrics::counter!("signalbox_rows_damaged_total", "family" => family.name()).increment(1);
        let text = format!("{} stored rows cannot be read and were passed over, the last: {error}", self.n_rows);
        self.shared.set_problem(Problem::Damage, Some(text));
    }
}

/// Reads series, agents, marks and lanes into `shared` and a new table.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub(crate) fn tables(shared: &Shared, series_max: u32, at: UnixMillis) -> Result<Restored, StoreError> {
    let store = &**shared.store();
    let mut damage = Damage { shared, n_rows: 0 };
    spans::rebuild(store, |key, why| damage.note(Family::Chunks, key, why))?;
    let mut agents = read_agents(store)?;
    let index = read_series(store, &mut agents, series_max, at, &mut damage)?;
    let lanes = read_lanes(store, &mut damage)?;
    let mut catalogue = Catalogue::default();
    for entry in agents.iter_mut() {
        catalogue.numbers.insert(entry.id.clone(), entry.no);
    }
    for ((no, epoch), lane) in lanes {
        let Some(entry) = agents.get_mut(no) else { continue };
        let cell = Arc::new(LaneCell::new(lane));
        catalogue.lanes.entry(no).or_default().insert(epoch, Arc::clone(&cell));
        entry.live_epoch = entry.live_epoch.max(epoch);
        entry.lanes.insert(epoch, LaneEntry { cell, shapes: Vec::new(), last_received: at });
    }
    *shared.index_mut() = index;
    *shared.catalogue_mut() = catalogue;
    Ok(Restored { agents, turn: last_turn(store)? })
}

/// The number of the last turn that the store holds; 0 for none.
pub(crate) fn last_turn(store: &dyn Store) -> Result<u64, StoreError> {
    let Some(row) = store.get(Family::Meta, keys::TURN)? else { return Ok(0) };
    let row = row.try_into().map_err(|_| StoreError::damaged(Family::Meta, keys::TURN, "not eight bytes"))?;
    Ok(u64::from_le_bytes(row))
}

fn read_series(
    store: &dyn Store,
    agents: &mut Agents,
    series_max: u32,
    at: UnixMillis,
    damage: &mut Damage<'_>,
) -> Result<SeriesIndex, StoreError> {
    let mut index = SeriesIndex::new(series_max);
    each_of(store, Family::Series, &[], |key, row| {
        let restored = parse_series(key).ok_or_else(|| "not a series id".to_owned()).and_then(|id| {
            let row = dictionary::decode(row).map_err(|why| why.to_string())?;
            let owner = owner_of(&row, agents).ok_or_else(|| format!("no agent has the series {}", row.labels))?;
            index.restore(id, owner, &row, at).map_err(|why| why.to_string())
        });
        restored.unwrap_or_else(|why| damage.note(Family::Series, key, why));
        Ok(())
    })?;
    read_segments(&mut index, damage)?;
    Ok(index)
}

/// Heads alone: what retired is read when somebody asks for it.
fn read_segments(index: &mut SeriesIndex, damage: &mut Damage<'_>) -> Result<(), StoreError> {
    let shared = damage.shared;
    let store = &**shared.store();
    for prefix in [segment::key::HEADS, segment::key::GONE] {
        each_of(store, Family::Postings, prefix, |key, row| {
            let number = segment::key::parse_segment(key);
            shared.note_segment(number.unwrap_or(0));
            match number.filter(|_| prefix == segment::key::HEADS).map(|number| Head::decode(number, row)) {
                Some(Ok(head)) => index.replace_segments(&[], Some(head)),
                Some(Err(why)) => damage.note(Family::Postings, key, why),
                None => {}
            }
            Ok::<(), StoreError>(())
        })?;
    }
    let end = after_prefix(segment::key::SERIES);
    let last = store.last(Family::Postings, segment::key::SERIES, &end)?;
    if let Some(id) = last.and_then(|(key, _)| segment::key::parse_series(&key)) {
        index.mark_given(id);
    }
    Ok(())
}

/// Rows of the first version do not name an owner: there the label of the host does.
fn owner_of(row: &dictionary::Row, agents: &mut Agents) -> Option<AgentNo> {
    row.owner.or_else(|| {
        let host = AgentId::parse(row.labels.get(HOST)?).ok()?;
        agents.find(&host).map(|entry| entry.no)
    })
}

fn read_agents(store: &dyn Store) -> Result<Agents, StoreError> {
    let mut agents = Agents::default();
    each_of(store, Family::Meta, keys::AGENTS, |key, row| {
        let damaged = |why: &dyn ToString| StoreError::damaged(Family::Meta, key, why.to_string());
        let no = keys::parse_agent(key).ok_or_else(|| damaged(&"not an agent's key"))?;
        let id: AgentId = ciborium::from_reader(row).map_err(|why| damaged(&why))?;
        match agents.add(id) {
            Some(entry) if entry.no == no => Ok(()),
            _ => Err(damaged(&"agents' numbers are not dense")),
        }
    })?;
    each_of(store, Family::Meta, keys::MARKS, |key, row| {
        let damaged = |why: &str| StoreError::damaged(Family::Meta, key, why);
        let (no, epoch) = keys::parse_mark(key).ok_or_else(|| damaged("not a mark's key"))?;
        let seq = row.try_into().map_err(|_| damaged("not eight bytes"))?;
        let entry = agents.get_mut(no).ok_or_else(|| damaged("no such agent"))?;
        entry.marks.insert(epoch, u64::from_le_bytes(seq));
        entry.live_epoch = entry.live_epoch.max(epoch);
        Ok(())
    })?;
    Ok(agents)
}

type Lanes = BTreeMap<(AgentNo, u64), Lane>;

fn read_lanes(store: &dyn Store, damage: &mut Damage<'_>) -> Result<Lanes, StoreError> {
    let mut lanes = Lanes::new();
    each_of(store, Family::Journal, &[], |key, row| {
        let Some(at) = Journal::decode(key) else {
            damage.note(Family::Journal, key, "not a journal key");
            return Ok(());
        };
        let lane = (at.agent, at.epoch);
        let restored = match JournalRow::decode(row) {
            Ok(JournalRow::Snapshot(snapshot)) => Lane::restore(&snapshot).map(|restored| {
                lanes.insert(lane, restored);
            }),
            // Ticks were judged before the restart; the engine's rows say how.
            Ok(JournalRow::Record(record)) => {
                lanes.entry(lane).or_insert_with(|| Lane::new(at.epoch)).append(&record, |_| ()).map(|_| ())
            }
            Err(why) => {
                damage.note(Family::Journal, key, why);
                return Ok(());
            }
        };
        restored.unwrap_or_else(|why| damage.note(Family::Journal, key, why));
        Ok(())
    })?;
    Ok(lanes)
}

/// The engine's rows as they stand.
///
/// # Errors
/// [`StoreError::Damaged`] for a key that no engine wrote.
pub(crate) fn engine_rows(store: &dyn Store) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    each_of(store, Family::State, &[], |key, value| {
        if key.first() == Some(&keys::OLD_AUDIT) {
            return Ok(());
        }
        let parsed = key.split_first().and_then(|(table, key)| Some((keys::parse_table(*table)?, key)));
        let (table, own) = parsed.ok_or_else(|| StoreError::damaged(Family::State, key, "no such table"))?;
        rows.push(Row { table, key: own.to_vec(), value: Some(value.to_vec()) });
        Ok(())
    })?;
    Ok(rows)
}

/// Identities and rights, and the end of the audit, with what is wrong with it.
///
/// # Errors
/// [`StoreError::Damaged`] for a row that cannot be read: nobody could trust rights
/// that are known in part.
pub(crate) fn access(store: &dyn Store, key: AuditKey) -> Result<(Access, Option<Fault>), StoreError> {
    let mut rows = Vec::new();
    each_of(store, Family::Access, &[], |key, value| {
        let parsed = keys::parse_access(key);
        let (table, own) = parsed.ok_or_else(|| StoreError::damaged(Family::Access, key, "no such table"))?;
        rows.push((table, own.to_vec(), value.to_vec()));
        Ok(())
    })?;
    let last = store.last(Family::Audit, &[], &[])?;
    let last = last.and_then(|(key, row)| Some((keys::parse_audit(&key)?, row)));
    // A line that does not decode still holds its number: it is never written over.
    let last = last.map(|(no, row)| {
        AuditLine::decode(&row).filter(|line| line.no == no).unwrap_or(AuditLine { no, ..AuditLine::default() })
    });
    Access::restore(rows, last.as_ref(), key)
        .map_err(|why| StoreError::Failed { what: "restore identities and rights".to_owned(), why: why.to_string() })
}
