//! A turn's messages become events for the engine and rows for the store.
//!
//! Nothing here decides about levels, and nothing is durable yet: lanes and marks
//! run ahead of the disk until the turn commits, and a turn that the store refuses
//! makes the writer read them back.

use super::agents::{AgentEntry, Agents, LANES_PER_AGENT_MAX, LANES_PER_SOURCE_MAX, LaneEntry};
use super::deeds::Deed;
use super::inbox::{Marks, Message, Queued};
use super::newcomer::Newcomer;
use super::restore;
use super::segments::SegmentChange;
use super::sieve::{ShapeWatch, Sieve};
use super::stream::{Fault, StreamOut};
use crate::handle::HandleError;
use crate::shared::{LaneCell, Problem, Shared};
use crate::store::{Commit, Family, keys};
use signalbox_engine::engine::Engine;
use signalbox_engine::event::{Command, Event, SampledTick, SeriesId, Stamped};
use signalbox_proto::limits::SERIES_PER_AGENT_MAX;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::samples::Batch;
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_tsdb::head::{Lane, LaneError, TickView};
use signalbox_tsdb::index::SeriesIndex;
use signalbox_tsdb::journal::Record;
use signalbox_tsdb::keys::{AgentNo, Journal};
use signalbox_tsdb::{SeriesId as StoredId, dictionary};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// The label that says whose a series is: always the agent's id.
pub(crate) const HOST: &str = "host";

/// Samples of a new series may be so much older than the batch that declares it. A
/// chunk with older ones yet makes its row anew.
const FIRST_MARGIN: Millis = Millis::from_mins(60);

/// What a turn makes of its messages.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    /// For the engine, in order.
    pub(crate) events: Vec<Stamped>,
    /// Rows besides the engine's.
    pub(crate) commit: Commit,
    /// Marks that move, each once.
    pub(crate) marks: BTreeMap<(AgentNo, u64), u64>,
    /// Who is told what once it is durable.
    pub(crate) acks: Vec<(Arc<StreamOut>, u64, u64)>,
    /// Answers to Hellos.
    pub(crate) hellos: Vec<(oneshot::Sender<Result<Marks, String>>, Marks)>,
    /// What goes on record, in order.
    pub(crate) deeds: Vec<Deed>,
    /// Who waits for rules to be in force, or for merged rows to be durable.
    pub(crate) reloads: Vec<oneshot::Sender<()>>,
    /// Lanes that took something.
    pub(crate) touched: Vec<(AgentNo, u64)>,
    /// Rules came into force.
    pub(crate) has_rules: bool,
    /// Series that the engine was told about.
    pub(crate) announced: Vec<SeriesId>,
    /// Chunks that this turn commits: then the lane's copy can go.
    pub(crate) sealed: Vec<(AgentNo, u64)>,
    /// Segments of retired series that this turn's commit changes.
    pub(crate) segments: Vec<SegmentChange>,
    /// Samples of kept series.
    pub(crate) n_samples: u64,
    /// Commit now, then end.
    pub(crate) stop: bool,
}

impl Intake {
    pub(crate) fn event(&mut self, at: UnixMillis, event: Event) {
        self.events.push(Stamped { at, event });
    }
}

/// The parts of the writer that messages change.
pub(crate) struct Taker<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) engine: &'a Engine,
    pub(crate) agents: &'a mut Agents,
    pub(crate) sieve: &'a mut Sieve,
    pub(crate) at: UnixMillis,
    pub(crate) out: Intake,
}

impl Taker<'_> {
    pub(crate) fn take(&mut self, queued: Queued) {
        let at = self.at;
        match queued.message {
            Message::Connected { hello, stream, reply } => self.connect(Newcomer { hello, stream, reply, since: at }),
            Message::Batch { stream, batch } => {
                if !stream.is_ended()
                    && let Err(fault) = self.batch(&stream, batch)
                {
                    metrics::counter!("signalbox_batches_refused_total").increment(1);
                    stream.end(fault);
                }
            }
            Message::Heartbeat { stream, wall, n_backlog } => {
                if self.heard(&stream) {
                    self.out.event(at, Event::AgentHeartbeat { agent: stream.agent().clone(), wall, n_backlog });
                }
            }
            Message::Disconnected { stream, goodbye } => self.disconnect(&stream, goodbye),
            Message::Command { caller, act, reply } => {
                // What counts is what they may now: the request may have waited.
                if !self.shared.access().is_current(&caller.principal, at) {
                    self.out.deeds.push(Deed::too_late(caller, &act));
                    let _gone = reply.send(Err(HandleError::NotAllowed));
                    return;
                }
                // Whoever acts is who was let in: nobody signs for another.
                let author = caller.principal.name.clone();
                self.out.deeds.push(Deed::command(caller, &act, reply));
                self.out.event(at, Event::Command(Command { author, act }));
            }
            Message::Access { caller, act, reply } => self.out.deeds.push(Deed::Access { caller, act, reply }),
            Message::Delivery { key, outcome } => self.out.event(at, Event::Delivery { key, outcome }),
            Message::Rules { rules, files, reply } => {
                self.shared.set_files(files);
                self.out.reloads.push(reply);
                // Whoever asked for it, and by which way, is on record beside this.
                self.out.deeds.extend(Deed::rules(self.engine.rules_version(), &rules.version));
                self.out.has_rules = true;
                self.out.event(at, Event::Rules(rules));
            }
            Message::Sealed(sealed) => sealed.into_commit(self.agents, &mut self.shared.index_mut(), &mut self.out),
            Message::Segments(change) => change.into_commit(&self.shared.index(), &mut self.out),
            Message::Merged(merge) => self.out.reloads.extend(merge.into_commit(&mut self.out.commit)),
            Message::Swept(sweep) => sweep.into_commit(&mut self.out.commit),
            Message::Stop => self.out.stop = true,
        }
    }

    pub(super) fn register(&mut self, agent: &AgentId) -> Result<(), String> {
        let entry = self.agents.add(agent.clone()).ok_or("the collector takes no more agents")?;
        let no = entry.no;
        self.out.commit.put(Family::Meta, keys::agent(no), restore::encode_agent(agent));
        self.shared.catalogue_mut().numbers.insert(agent.clone(), no);
        Ok(())
    }

    fn batch(&mut self, stream: &Arc<StreamOut>, batch: Batch) -> Result<(), Fault> {
        if !self.heard(stream) {
            return Err(Fault::Replaced);
        }
        let entry = self.agents.find(stream.agent()).expect("heard above");
        let (epoch, seq) = (batch.epoch, batch.seq);
        if !entry.is_live(epoch) && epoch > entry.live_epoch {
            entry.go_live(epoch);
        }
        let mark = entry.marks.get(&epoch).copied().unwrap_or(0);
        let is_known = seq <= mark;
        if is_known {
            metrics::counter!("signalbox_batches_duplicate_total").increment(1);
            if !is_needed_again(entry, epoch, seq, mark, self.at) {
                self.out.acks.push((Arc::clone(stream), epoch, mark));
                return Ok(());
            }
        }
        open_lane(entry, epoch, self.shared)?;
        let refs = map_series(entry, &batch, self.shared, self.at, &mut self.out.commit)?;
        let record = Record {
            epoch,
            seq,
            received: self.at,
            wall: batch.wall,
            key: batch.key,
            refs,
            shapes: batch.shapes,
            columns: batch.columns,
        };
        let ticks = self.append(stream.agent(), &record)?;
        let entry = self.agents.find(stream.agent()).expect("found above");
        let key = Journal { agent: entry.no, epoch, seq }.encode();
        self.out.commit.put(Family::Journal, key, record.encode());
        self.out.touched.push((entry.no, epoch));
        self.out.acks.push((Arc::clone(stream), epoch, seq.max(mark)));
        if is_known {
            // Judged when it came first; readers merge the samples that are there twice.
            return Ok(());
        }
        entry.marks.insert(epoch, seq);
        self.out.marks.insert((entry.no, epoch), seq);
        let (agent, live) = (entry.id.clone(), entry.is_live(epoch));
        for event in batch.events {
            self.out.event(self.at, Event::Agent { agent: agent.clone(), event });
        }
        if !ticks.is_empty() {
            self.out.event(self.at, Event::Samples { agent: agent.clone(), live, ticks });
        }
        for result in batch.results {
            self.out.event(self.at, Event::Result { agent: agent.clone(), result });
        }
        Ok(())
    }

    /// Decodes the batch, once, and sieves its ticks.
    fn append(&mut self, agent: &AgentId, record: &Record) -> Result<Vec<SampledTick>, Fault> {
        let entry = self.agents.find(agent).expect("the caller found it");
        let (live, is_remote) = (entry.is_live(record.epoch), entry.is_remote);
        let lane = entry.lanes.get_mut(&record.epoch).expect("the caller opened it");
        for shape in &record.shapes {
            // Said anew, so possibly changed since it was forgotten.
            if let Some(watch) = lane.shapes.get_mut(shape.shape as usize) {
                *watch = None;
            }
        }
        lane.last_received = self.at;
        let index = self.shared.index();
        let mut ticks = Vec::new();
        let mut news = News { at: self.at, agent, engine: self.engine, index: &index, out: &mut self.out };
        let (sieve, shapes, layouts) = (&mut *self.sieve, &mut lane.shapes, &mut entry.layouts);
        let visit = |tick: &TickView<'_>| {
            let at = tick.shape() as usize;
            if shapes.len() <= at {
                shapes.resize(at + 1, None);
            }
            if shapes[at].is_none() {
                let watches = news.learn(tick, sieve, is_remote);
                if live {
                    watches.iter().for_each(|watch| news.lay_out(watch, layouts));
                }
                shapes[at] = Some(watches);
            }
            let watches = shapes[at].as_mut().expect("learnt above");
            ticks.extend(watches.iter_mut().filter_map(|watch| sieve.pass(tick, watch, live)));
        };
        let appended = lane.cell.write().lane.append(record, visit).map_err(fault_of)?;
        self.out.n_samples += appended.n_samples;
        metrics::counter!("signalbox_samples_refused_total").increment(appended.n_refused);
        metrics::counter!("signalbox_samples_outside_total").increment(appended.n_outside);
        Ok(ticks)
    }
}

/// True for a batch that is stored, but whose lane was forgotten (or lost a row)
/// since: what follows it is a difference to values that nobody holds any more, so
/// the lane is built again from the key batch on.
fn is_needed_again(entry: &mut AgentEntry, epoch: u64, seq: u64, mark: u64, at: UnixMillis) -> bool {
    let held = entry.lanes.get_mut(&epoch).map_or(0, |lane| {
        lane.last_received = at;
        lane.cell.read().lane.seq()
    });
    held < mark && seq > held
}

fn fault_of(error: LaneError) -> Fault {
    match error {
        LaneError::Sequence { .. } => Fault::Gap(error.to_string()),
        LaneError::Full { .. } => Fault::Refused(error.to_string()),
        error => Fault::Invalid(error.to_string()),
    }
}

fn open_lane(entry: &mut AgentEntry, epoch: u64, shared: &Shared) -> Result<(), Fault> {
    if entry.lanes.contains_key(&epoch) {
        return Ok(());
    }
    let limit = if entry.is_remote { LANES_PER_SOURCE_MAX } else { LANES_PER_AGENT_MAX };
    if entry.lanes.len() >= limit {
        return Err(Fault::Limit(format!("over {limit} epochs of one agent are open")));
    }
    let cell = Arc::new(LaneCell::new(Lane::new(epoch)));
    shared.catalogue_mut().lanes.entry(entry.no).or_default().insert(epoch, Arc::clone(&cell));
    let lane = LaneEntry { cell, shapes: Vec::new(), last_received: UnixMillis::MIN };
    entry.lanes.insert(epoch, lane);
    Ok(())
}

/// Series of the batch in the store's ids; new ones get a dictionary row, or are
/// refused at a limit while known ones go on.
fn map_series(
    entry: &AgentEntry,
    batch: &Batch,
    shared: &Shared,
    at: UnixMillis,
    commit: &mut Commit,
) -> Result<Vec<(u32, StoredId)>, Fault> {
    if batch.series.is_empty() {
        return Ok(Vec::new());
    }
    let mut refs = Vec::with_capacity(batch.series.len());
    let mut index = shared.index_mut();
    let (owner, first) = (entry.no, batch.wall.min(at) - FIRST_MARGIN);
    for series in &batch.series {
        let owned: Labels;
        // Series of a source name their own hosts, of which the source is none.
        let labels = if entry.is_remote || series.labels.get(HOST) == Some(entry.id.as_str()) {
            &series.labels
        } else {
            owned = series.labels.with(&[(HOST, entry.id.as_str())]).map_err(|why| Fault::Invalid(why.to_string()))?;
            &owned
        };
        let id = match index.get(owner, labels) {
            Some(id) => id,
            None if !entry.is_remote && index.n_of(owner) >= SERIES_PER_AGENT_MAX => {
                refuse_series(shared, &entry.id, "agent")
            }
            None => match index.get_or_insert(owner, labels, first) {
                Ok((id, _)) => {
                    let row = dictionary::encode(owner, first, None, labels);
                    commit.put(Family::Series, signalbox_tsdb::keys::series(id), row);
                    id
                }
                Err(why) => {
                    tracing::debug!(%why, "a new series is refused");
                    refuse_series(shared, &entry.id, "collector")
                }
            },
        };
        index.heard(id, at);
        refs.push((series.series_ref, id));
    }
    Ok(refs)
}

fn refuse_series(shared: &Shared, agent: &AgentId, whose: &'static str) -> StoredId {
    metrics::counter!("signalbox_series_refused_total", "limit" => whose).increment(1);
    let text =
        format!("agent {agent}: new series are refused, the limit of the {whose} is reached; known series go on");
    shared.set_problem(Problem::SeriesLimit, Some(text));
    StoredId::REFUSED
}

/// Tells the engine about series and checks that it has not heard of.
struct News<'a> {
    at: UnixMillis,
    agent: &'a AgentId,
    engine: &'a Engine,
    index: &'a SeriesIndex,
    out: &'a mut Intake,
}

impl News<'_> {
    /// What is watched of a tick's shape. A check of an agent samples all its series or
    /// none; those of a source come and go one by one, so each is a check of its own.
    fn learn(&mut self, tick: &TickView<'_>, sieve: &mut Sieve, is_remote: bool) -> Box<[ShapeWatch]> {
        for id in tick.series().iter().filter(|id| id.is_kept()) {
            announce(*id, self.index, self.engine, sieve, |series, labels| {
                let event = Event::SeriesKnown { agent: self.agent.clone(), series, labels };
                self.out.event(self.at, event);
                self.out.announced.push(series);
            });
        }
        let watch = sieve.watch(tick);
        if is_remote { watch.one_by_one().collect() } else { Box::new([watch]) }
    }

    fn lay_out(&mut self, watch: &ShapeWatch, layouts: &mut std::collections::HashMap<Arc<str>, Arc<[SeriesId]>>) {
        let series: Arc<[SeriesId]> = watch.series().collect();
        let known = layouts.get(&watch.check);
        if known == Some(&series) || (known.is_none() && series.is_empty()) {
            return;
        }
        layouts.insert(Arc::clone(&watch.check), Arc::clone(&series));
        let (agent, check) = (self.agent.clone(), Arc::clone(&watch.check));
        self.out.event(self.at, Event::CheckLayout { agent, check, interval: watch.interval, series });
    }
}

/// Asks the engine about a series once; `tell` is called when a rule selects it.
pub(crate) fn announce(
    id: StoredId,
    index: &SeriesIndex,
    engine: &Engine,
    sieve: &mut Sieve,
    mut tell: impl FnMut(SeriesId, Arc<Labels>),
) {
    let series = SeriesId(id.0);
    if !sieve.is_new(series) {
        return;
    }
    let Some(labels) = index.labels(id) else { return };
    let is_watched = engine.selects(&labels);
    sieve.note(series, is_watched);
    if is_watched {
        tell(series, Arc::new(labels));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;
    use crate::telemetry::Telemetry;
    use signalbox_proto::clock::ManualClock;
    use signalbox_proto::samples::Hello;
    use signalbox_proto::units::Millis;

    const AT: UnixMillis = UnixMillis(1_700_000_000_000);

    fn hello(epochs: &[u64]) -> (Hello, Arc<StreamOut>) {
        let agent = AgentId::parse("web1").unwrap();
        let stream = Arc::new(StreamOut::new(agent.clone(), None));
        let (epochs, checks) = (epochs.to_vec(), Vec::new());
        let (boot_id, version, labels) = ("boot".to_owned(), "1".to_owned(), Labels::default());
        (Hello { agent, boot_id, version, labels, capabilities: Vec::new(), epochs, wall: AT, checks }, stream)
    }

    fn batch(epoch: u64) -> Batch {
        Batch {
            epoch,
            seq: 1,
            wall: AT,
            mono: Millis(0),
            key: true,
            series: Vec::new(),
            shapes: Vec::new(),
            columns: Vec::new().into(),
            results: Vec::new(),
            events: Vec::new(),
        }
    }

    #[test]
    fn the_live_epoch_is_that_of_the_stream_and_not_of_an_earlier_life() {
        let (clock, store) = (Arc::new(ManualClock::at(AT)), Arc::new(MemoryStore::default()));
        let shared = Shared::new(clock, store, Telemetry::default());
        let engine = Engine::restore([]).unwrap();
        let (mut agents, mut sieve) = (Agents::default(), Sieve::default());
        let out = Intake::default();
        let mut taker = Taker { shared: &shared, engine: &engine, agents: &mut agents, sieve: &mut sieve, at: AT, out };
        let live = |taker: &mut Taker<'_>| taker.agents.iter().next().unwrap().live_epoch;
        let connect = |taker: &mut Taker<'_>, epochs: &[u64]| {
            let (hello, stream) = hello(epochs);
            let reply = oneshot::channel().0;
            taker.connect(Newcomer { hello, stream: Arc::clone(&stream), reply, since: AT });
            stream
        };
        connect(&mut taker, &[9000]);
        assert_eq!(live(&mut taker), 9000);
        let stream = connect(&mut taker, &[]);
        let _refused_or_not = taker.batch(&stream, batch(100));
        assert_eq!(live(&mut taker), 100, "its clock was ahead in an earlier life");
        let _refused_or_not = taker.batch(&stream, batch(99));
        assert_eq!(live(&mut taker), 100, "an older epoch is backlog");
        let _refused_or_not = taker.batch(&stream, batch(101));
        assert_eq!(live(&mut taker), 101);
    }
}
