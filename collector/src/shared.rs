//! What the writer publishes and readers take: the board, the series, open lanes.
//!
//! The writer is the only one that changes anything here. Each lock is held for a
//! pointer or a memory copy, never for I/O or decoding.

use crate::store::Store;
use crate::telemetry::Telemetry;
use signalbox_access::AccessView;
use signalbox_engine::board::Board;
use signalbox_proto::clock::Clock;
use signalbox_proto::names::AgentId;
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_tsdb::head::Lane;
use signalbox_tsdb::index::SeriesIndex;
use signalbox_tsdb::keys::AgentNo;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::Semaphore;

/// An open lane: the chunk that grows, and the one that is being sealed.
#[derive(Debug)]
pub(crate) struct LaneCell {
    state: RwLock<LaneState>,
}

/// What a [`LaneCell`] guards.
#[derive(Debug)]
pub(crate) struct LaneState {
    /// Grows with each batch.
    pub(crate) lane: Lane,
    /// Taken out of `lane`, not committed as a chunk yet.
    pub(crate) sealing: Option<Arc<Lane>>,
}

impl LaneCell {
    pub(crate) fn new(lane: Lane) -> LaneCell {
        LaneCell { state: RwLock::new(LaneState { lane, sealing: None }) }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, LaneState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, LaneState> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the samples of an agent are found.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    /// Agents by id.
    pub(crate) numbers: HashMap<AgentId, AgentNo>,
    /// Open lanes of each agent, by epoch.
    pub(crate) lanes: HashMap<AgentNo, BTreeMap<u64, Arc<LaneCell>>>,
}

/// A problem that is stated each time it happens is shown for this long.
const PASSING: Millis = Millis::from_mins(10);

/// Problems of the collector itself, one at most of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Problem {
    /// A tail of the store was lost.
    LostTail,
    /// Free space is under the floor.
    DiskLow,
    /// The store refused a commit.
    StoreFull,
    /// Notices wait for the notifier.
    NotifierBehind,
    /// Two machines use one agent id.
    IdentityTwice,
    /// New series are refused.
    SeriesLimit,
    /// A configuration was refused and the old one is in force.
    Reload,
    /// The store has not taken the first rules.
    NoRules,
    /// Rows that cannot be read.
    Damage,
    /// The audit does not end as it was left.
    Audit,
    /// A certificate ends soon, or was not made again.
    Certificate,
}

/// Shared by the writer, listeners and readers.
pub(crate) struct Shared {
    clock: Arc<dyn Clock>,
    store: Arc<dyn Store>,
    board: RwLock<Arc<Board>>,
    access: RwLock<Arc<AccessView>>,
    index: RwLock<SeriesIndex>,
    catalogue: RwLock<Catalogue>,
    files: RwLock<Arc<BTreeMap<String, String>>>,
    /// Text, and when it was last stated, monotonic.
    problems: Mutex<BTreeMap<Problem, (String, Millis)>>,
    next_segment: AtomicU64,
    is_ready: AtomicBool,
    is_throttled: AtomicBool,
    telemetry: Telemetry,
    queries: Arc<Semaphore>,
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(clock: Arc<dyn Clock>, store: Arc<dyn Store>, telemetry: Telemetry) -> Shared {
        let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
        Shared {
            clock,
            store,
            board: RwLock::default(),
            access: RwLock::default(),
            index: RwLock::default(),
            catalogue: RwLock::default(),
            files: RwLock::default(),
            problems: Mutex::default(),
            next_segment: AtomicU64::new(1),
            is_ready: AtomicBool::new(false),
            is_throttled: AtomicBool::new(false),
            telemetry,
            queries: Arc::new(Semaphore::new(2 * n_cores)),
        }
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn now(&self) -> UnixMillis {
        self.clock.wall()
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(crate) fn board(&self) -> Arc<Board> {
        read(&self.board).clone()
    }

    pub(crate) fn publish(&self, board: Board) {
        let board = Arc::new(board);
        // The old board is dropped after the lock is let go.
        let _old = std::mem::replace(&mut *write(&self.board), board);
    }

    /// Identities and rights as they were committed.
    pub(crate) fn access(&self) -> Arc<AccessView> {
        read(&self.access).clone()
    }

    pub(crate) fn publish_access(&self, access: AccessView) {
        let access = Arc::new(access);
        let _old = std::mem::replace(&mut *write(&self.access), access);
    }

    pub(crate) fn index(&self) -> RwLockReadGuard<'_, SeriesIndex> {
        read(&self.index)
    }

    pub(crate) fn index_mut(&self) -> RwLockWriteGuard<'_, SeriesIndex> {
        write(&self.index)
    }

    pub(crate) fn catalogue(&self) -> RwLockReadGuard<'_, Catalogue> {
        read(&self.catalogue)
    }

    pub(crate) fn catalogue_mut(&self) -> RwLockWriteGuard<'_, Catalogue> {
        write(&self.catalogue)
    }

    pub(crate) fn files(&self) -> Arc<BTreeMap<String, String>> {
        read(&self.files).clone()
    }

    pub(crate) fn set_files(&self, files: Arc<BTreeMap<String, String>>) {
        *write(&self.files) = files;
    }

    /// States a problem, or that it is over.
    pub(crate) fn set_problem(&self, problem: Problem, text: Option<String>) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        match text {
            Some(text) => {
                if problems.get(&problem).is_none_or(|(known, _)| *known != text) {
                    tracing::warn!(problem = text, "the collector has a problem");
                }
                problems.insert(problem, (text, self.clock.mono()));
            }
            None => {
                if let Some((text, _)) = problems.remove(&problem) {
                    tracing::info!(problem = text, "a problem of the collector is over");
                }
            }
        }
    }

    pub(crate) fn problems(&self) -> Vec<String> {
        let now = self.clock.mono();
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        let passes = |problem: &Problem| matches!(problem, Problem::IdentityTwice | Problem::SeriesLimit);
        problems.retain(|problem, (_, stated)| !passes(problem) || now.0.saturating_sub(stated.0) < PASSING.0);
        problems.values().map(|(text, _)| text.clone()).collect()
    }

    /// A number that no segment of retired series has.
    pub(crate) fn next_segment(&self) -> u64 {
        self.next_segment.fetch_add(1, Ordering::AcqRel)
    }

    /// Segments up to this one were made.
    pub(crate) fn note_segment(&self, segment: u64) {
        self.next_segment.fetch_max(segment.saturating_add(1), Ordering::AcqRel);
    }

    pub(crate) fn set_ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Ordering::Release);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
    }

    /// True while agents must wait because the disk is low or full.
    pub(crate) fn is_throttled(&self) -> bool {
        self.is_throttled.load(Ordering::Acquire)
    }

    pub(crate) fn set_throttled(&self, is_throttled: bool) {
        self.is_throttled.store(is_throttled, Ordering::Release);
    }

    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    pub(crate) fn queries(&self) -> &Arc<Semaphore> {
        &self.queries
    }
}
