//! What the writer remembers of each agent: its stream, marks and lanes.

use super::newcomer::{Newcomer, Standing};
use super::sieve::ShapeWatch;
use super::stream::StreamOut;
use crate::shared::LaneCell;
use signalbox_engine::event::SeriesId;
use signalbox_proto::names::AgentId;
use signalbox_proto::units::UnixMillis;
use signalbox_tsdb::keys::AgentNo;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Agents that one store takes.
pub(crate) const AGENTS_MAX: usize = 100_000;
/// Epochs of one agent that are open at a time: one is live, the others drain. An
/// agent that crashes every second opens 120 before the first is forgotten.
pub(crate) const LANES_PER_AGENT_MAX: usize = 256;
/// Of a source that writes from afar: all shards of one link, and those before it that
/// are not forgotten yet.
pub(crate) const LANES_PER_SOURCE_MAX: usize = 4096;
/// Marks that are kept for one agent; the oldest go first.
pub(crate) const MARKS_PER_AGENT_MAX: usize = signalbox_proto::limits::EPOCHS_PER_HELLO_MAX;

/// One epoch of an agent.
#[derive(Debug)]
pub(crate) struct LaneEntry {
    /// Shared with readers.
    pub(crate) cell: Arc<LaneCell>,
    /// By shape: what rules watch of it, check by check; none until its first tick.
    pub(crate) shapes: Vec<Option<Box<[ShapeWatch]>>>,
    /// When its last batch came.
    pub(crate) last_received: UnixMillis,
}

/// One agent.
#[derive(Debug)]
pub(crate) struct AgentEntry {
    /// Who.
    pub(crate) id: AgentId,
    /// Its number in the store.
    pub(crate) no: AgentNo,
    /// The stream that stands.
    pub(crate) standing: Option<Standing>,
    /// Who waits for its place.
    pub(crate) newcomer: Option<Newcomer>,
    /// When somebody last took or was refused the place of a stream that stood.
    pub(crate) contested: UnixMillis,
    /// Highest durable sequence by epoch.
    pub(crate) marks: BTreeMap<u64, u64>,
    /// Open lanes by epoch.
    pub(crate) lanes: BTreeMap<u64, LaneEntry>,
    /// The greatest epoch that its stream named: only this one is live; of a source that
    /// writes from afar, whose shards are epochs, all from this one on.
    pub(crate) live_epoch: u64,
    /// Its stream, or the last one since the start, is that of such a source.
    pub(crate) is_remote: bool,
    /// Watched series of each check, as last told to the engine.
    pub(crate) layouts: HashMap<Arc<str>, Arc<[SeriesId]>>,
}

impl AgentEntry {
    fn new(id: AgentId, no: AgentNo) -> AgentEntry {
        AgentEntry {
            id,
            no,
            standing: None,
            newcomer: None,
            contested: UnixMillis::MIN,
            marks: BTreeMap::new(),
            lanes: BTreeMap::new(),
            live_epoch: 0,
            is_remote: false,
            layouts: HashMap::new(),
        }
    }

    /// True when samples of this epoch are judged as what is true now.
    pub(crate) fn is_live(&self, epoch: u64) -> bool {
        epoch == self.live_epoch || (self.is_remote && epoch > self.live_epoch)
    }

    /// True when this is the stream that stands.
    pub(crate) fn is_current(&self, stream: &Arc<StreamOut>) -> bool {
        self.standing.as_ref().is_some_and(|own| own.is(stream))
    }

    /// Only this epoch is judged from here on. Its shapes are learnt anew, since the
    /// engine is told of layouts by the live epoch alone.
    pub(crate) fn go_live(&mut self, epoch: u64) {
        if self.live_epoch != epoch {
            self.live_epoch = epoch;
            if let Some(lane) = self.lanes.get_mut(&epoch) {
                lane.shapes.clear();
            }
        }
    }
}

/// All agents, by number and by id.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    entries: Vec<AgentEntry>,
    numbers: HashMap<AgentId, AgentNo>,
}

impl Agents {
    /// The entry of a known agent.
    pub(crate) fn find(&mut self, id: &AgentId) -> Option<&mut AgentEntry> {
        let no = self.numbers.get(id)?;
        self.entries.get_mut(no.0 as usize)
    }

    /// The entry of this number.
    pub(crate) fn get(&self, no: AgentNo) -> Option<&AgentEntry> {
        self.entries.get(no.0 as usize)
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self, no: AgentNo) -> Option<&mut AgentEntry> {
        self.entries.get_mut(no.0 as usize)
    }

    /// Adds an agent under the next number; none when there are too many.
    pub(crate) fn add(&mut self, id: AgentId) -> Option<&mut AgentEntry> {
        if self.entries.len() >= AGENTS_MAX {
            return None;
        }
        let no = AgentNo(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        self.numbers.insert(id.clone(), no);
        self.entries.push(AgentEntry::new(id, no));
        self.entries.last_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &AgentEntry> {
        self.entries.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut AgentEntry> {
        self.entries.iter_mut()
    }

    /// Nobody was listened to until `at`: nobody's silence before counts.
    pub(crate) fn were_not_heard(&mut self, at: UnixMillis) {
        for standing in self.entries.iter_mut().filter_map(|entry| entry.standing.as_mut()) {
            standing.spoke = at;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}
