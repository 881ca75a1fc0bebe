//! The writer, turn by turn, over the memory store.

mod retire;
mod tiers;

use super::inbox::{Message, Queued};
use super::seal::Sealer;
use super::stream::{Fault, Pending, StreamOut};
use super::*;
use crate::query::{QueryLimits, Reader};
use crate::reading::Asked;
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::telemetry::Telemetry;
use proptest::prelude::*;
use signalbox_access::{Caller, Principal, Role};
use signalbox_engine::board::Board;
use signalbox_engine::event::Act;
use signalbox_proto::clock::ManualClock;
use signalbox_proto::columns::Encoder;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::samples::{Batch, CheckInfo, Hello, SeriesEntry, ShapeEntry};
use signalbox_proto::selector::Selector;
use signalbox_proto::status::Level;
use signalbox_tsdb::Point;
use signalbox_tsdb::keys::AgentNo;
use std::collections::{BTreeMap, VecDeque};
use tokio::sync::oneshot;

const START: UnixMillis = UnixMillis(1_700_000_000_000);
const RULES: &str = r#"
rules:
  - id: busy
    selector: load
    red: "> 10"
    amber: "> 5"
    raise_for: {amber: 2s, red: 1s}
    clear_for: 2s
    owner: ops
    sop: look
    summary: busy
"#;

pub(super) struct Rig {
    clock: Arc<ManualClock>,
    store: Arc<MemoryStore>,
    pub(super) shared: Arc<Shared>,
    writer: Writer,
    _notices: mpsc::Receiver<Notice>,
    pub(super) at: UnixMillis,
}

impl Rig {
    pub(super) fn new() -> Rig {
        let mut rig = Rig::over(Arc::default(), START);
        rig.put_rules(RULES);
        rig
    }

    fn over(store: Arc<MemoryStore>, at: UnixMillis) -> Rig {
        Rig::with_room(store, at, 64)
    }

    /// A rig whose notifier has room for so many notices.
    fn with_room(store: Arc<MemoryStore>, at: UnixMillis, n_notices: usize) -> Rig {
        let clock = Arc::new(ManualClock::at(at));
        let own = Arc::clone(&clock);
        let shared = Arc::new(Shared::new(own, Arc::clone(&store) as Arc<dyn Store>, Telemetry::default()));
        let (sender, notices) = mpsc::channel(n_notices);
        let sealer = Sealer::Inline(VecDeque::new());
        let key = AuditKey::new([7; 32]);
        let writer = Writer::open(Arc::clone(&shared), sealer, sender, 1000, key, at).unwrap();
        Rig { clock, store, shared, writer, _notices: notices, at }
    }

    fn put_rules(&mut self, text: &str) {
        let files = BTreeMap::from([("rules.yaml".to_owned(), text.to_owned())]);
        let (rules, findings) = signalbox_engine::config::parse(&files);
        let rules = Arc::new(rules.unwrap_or_else(|| panic!("{findings:?}")));
        let (reply, _) = oneshot::channel();
        self.turn_of(vec![Message::Rules { rules, files: Arc::new(files), reply }], true);
        self.turn(Vec::new());
    }

    pub(super) fn turn(&mut self, messages: Vec<Message>) -> Outcome {
        self.turn_of(messages, false)
    }

    pub(super) fn turn_of(&mut self, messages: Vec<Message>, started: bool) -> Outcome {
        let messages = messages.into_iter().map(Queued::bare).collect();
        self.writer.step(Turn { at: self.at, started, tick: true, messages }).unwrap()
    }

    pub(super) fn pass(&mut self, ms: i64) {
        self.at = self.at.shifted(ms);
        self.clock.advance(Millis(ms.unsigned_abs()));
    }

    pub(super) fn board(&self) -> Board {
        self.writer.engine.board(self.at)
    }

    fn level(&self) -> Option<Level> {
        let board = self.board();
        let mut items = board.status.entities.iter().flat_map(|entity| &entity.items);
        items.find(|item| item.rule == "busy").map(|item| item.level)
    }

    fn points(&self, selector: &str) -> Vec<Vec<Point>> {
        let (ids, _) = self.shared.index().select(&Selector::parse(selector).unwrap(), 100);
        let (limits, waiting) = (QueryLimits::default(), Asked::default());
        let reader = Reader { shared: &self.shared, deadline: Millis(u64::MAX), limits, waiting: &waiting };
        let agents: Vec<_> = self.shared.catalogue().numbers.values().copied().collect();
        let mut all = Vec::new();
        for agent in agents {
            all.extend(reader.points(agent, &ids, UnixMillis(0), UnixMillis(i64::MAX - 1), &mut 0).unwrap());
        }
        all.retain(|points| !points.is_empty());
        all
    }
}

pub(super) struct TestAgent {
    id: AgentId,
    pub(super) boot_id: String,
    pub(super) address: Option<std::net::IpAddr>,
    epoch: u64,
    seq: u64,
    encoder: Encoder,
    pub(super) stream: Arc<StreamOut>,
}

impl TestAgent {
    pub(super) fn new(name: &str) -> TestAgent {
        let id = AgentId::parse(name).unwrap();
        let stream = Arc::new(StreamOut::new(id.clone(), None));
        TestAgent {
            id,
            boot_id: "boot".to_owned(),
            address: None,
            epoch: 1,
            seq: 0,
            encoder: Encoder::default(),
            stream,
        }
    }

    pub(super) fn hello(&mut self, at: UnixMillis) -> (Message, oneshot::Receiver<Result<inbox::Marks, String>>) {
        self.stream = Arc::new(StreamOut::new(self.id.clone(), self.address));
        let (reply, marks) = oneshot::channel();
        let hello = Hello {
            agent: self.id.clone(),
            boot_id: self.boot_id.clone(),
            version: "1".to_owned(),
            labels: Labels::default(),
            capabilities: Vec::new(),
            epochs: vec![self.epoch],
            wall: at,
            checks: vec![CheckInfo { name: "cpu".to_owned(), interval: Millis(1000) }],
        };
        (Message::Connected { hello, stream: Arc::clone(&self.stream), reply }, marks)
    }

    /// The next batch: one tick a value, a second apart, the last one at `at`.
    fn batch(&mut self, at: UnixMillis, loads: &[f64]) -> Batch {
        self.seq += 1;
        let key = self.seq % 10 == 1;
        let labels = |name| Labels::series(name, &[]).unwrap();
        let entry = |series_ref, name| SeriesEntry { series_ref, labels: labels(name) };
        let shape = ShapeEntry { shape: 0, check: "cpu".into(), interval: Millis(1000), refs: vec![0, 1] };
        self.encoder.begin(at, key);
        for (n, load) in loads.iter().enumerate() {
            let back = 1000 * i64::try_from(loads.len() - 1 - n).unwrap();
            self.encoder.tick(0, at.shifted(-back), &[0, 1], &[*load, 7.0]);
        }
        Batch {
            epoch: self.epoch,
            seq: self.seq,
            wall: at,
            mono: Millis(0),
            key,
            series: if key { vec![entry(0, "load"), entry(1, "other")] } else { Vec::new() },
            shapes: if key { vec![shape] } else { Vec::new() },
            columns: self.encoder.payload().to_vec().into(),
            results: Vec::new(),
            events: Vec::new(),
        }
    }

    pub(super) fn message(&mut self, at: UnixMillis, loads: &[f64]) -> Message {
        let batch = self.batch(at, loads);
        Message::Batch { stream: Arc::clone(&self.stream), batch }
    }

    fn acks(&self) -> Vec<(u64, u64)> {
        self.stream.take().acks.into_iter().collect()
    }
}

/// A rig with one connected agent.
pub(super) fn connected() -> (Rig, TestAgent) {
    let (mut rig, mut agent) = (Rig::new(), TestAgent::new("web1"));
    let (hello, mut marks) = agent.hello(rig.at);
    rig.turn(vec![hello]);
    assert_eq!(marks.try_recv().unwrap(), Ok(vec![(1, 0)]));
    (rig, agent)
}

#[test]
fn a_batch_is_acknowledged_after_the_commit_that_holds_it() {
    let (mut rig, mut agent) = connected();
    let before = rig.store.n_commits();
    let message = agent.message(rig.at, &[1.0]);
    assert_eq!(agent.acks(), []);
    rig.turn(vec![message]);
    assert_eq!(rig.store.n_commits(), before + 1, "samples, mark and engine rows are one commit");
    assert_eq!(agent.acks(), [(1, 1)]);
    let marked = rig.store.get(Family::Meta, &keys::mark(AgentNo(0), 1)).unwrap();
    assert_eq!(marked, Some(1u64.to_le_bytes().to_vec()));
}

#[test]
fn many_batches_of_a_turn_are_one_commit() {
    let (mut rig, mut agent) = connected();
    let before = rig.store.n_commits();
    let messages = (0..5).map(|n| agent.message(rig.at.shifted(n * 1000), &[1.0])).collect();
    rig.turn(messages);
    assert_eq!((rig.store.n_commits(), agent.acks()), (before + 1, vec![(1, 5)]));
}

#[test]
fn a_quiet_tick_costs_no_commit() {
    let (mut rig, _agent) = connected();
    rig.turn(Vec::new());
    let before = rig.store.n_commits();
    rig.pass(50);
    rig.turn(Vec::new());
    assert_eq!(rig.store.n_commits(), before);
}

#[test]
fn a_batch_that_comes_twice_is_stored_once_and_acknowledged_again() {
    let (mut rig, mut agent) = connected();
    let batch = agent.batch(rig.at, &[1.0, 2.0]);
    let message = |stream: &Arc<StreamOut>| Message::Batch { stream: Arc::clone(stream), batch: batch.clone() };
    rig.turn(vec![message(&agent.stream)]);
    assert_eq!(agent.acks(), [(1, 1)]);
    rig.turn(vec![message(&agent.stream), message(&agent.stream)]);
    assert_eq!(agent.acks(), [(1, 1)]);
    assert_eq!(rig.points("load")[0].len(), 2);
}

#[test]
fn a_hole_in_the_sequence_ends_the_stream_and_nothing_else() {
    let (mut rig, mut agent) = connected();
    let first = agent.message(rig.at, &[1.0]);
    let _lost = agent.message(rig.at, &[2.0]);
    let third = agent.message(rig.at, &[3.0]);
    rig.turn(vec![first, third]);
    let Pending { acks, fault, .. } = agent.stream.take();
    assert_eq!(acks, BTreeMap::from([(1, 1)]));
    let Some(Fault::Gap(why)) = fault else { panic!("{fault:?}") };
    assert!(why.contains("append batch 3 after batch 1"), "{why}");
    let (hello, mut marks) = agent.hello(rig.at);
    rig.turn(vec![hello]);
    assert_eq!(marks.try_recv().unwrap(), Ok(vec![(1, 1)]), "resume after what is durable");
}

#[test]
fn garbage_ends_its_stream_with_the_reason() {
    let (mut rig, mut agent) = connected();
    let mut batch = agent.batch(rig.at, &[1.0]);
    batch.columns = vec![9, 9, 9].into();
    rig.turn(vec![Message::Batch { stream: Arc::clone(&agent.stream), batch }]);
    assert!(matches!(agent.stream.take().fault, Some(Fault::Invalid(why)) if why.contains("shape 9")));
    assert_eq!(rig.points("load"), Vec::<Vec<Point>>::new());
}

#[test]
fn another_machine_with_the_same_id_is_refused_and_the_same_one_takes_over() {
    let (mut rig, mut agent) = connected();
    let mut clone = TestAgent::new("web1");
    clone.boot_id = "other".to_owned();
    let (hello, mut marks) = clone.hello(rig.at);
    rig.turn(vec![hello]);
    assert!(marks.try_recv().unwrap().unwrap_err().contains("in use by another machine"));
    assert_eq!(rig.shared.problems().len(), 1);
    let twice = |rig: &Rig| rig.board().incidents.iter().filter(|one| one.rule == "identity-twice").count();
    assert_eq!(twice(&rig), 0, "it may be the same machine, after a reset");
    let store = Arc::clone(&rig.store);
    let n_commits = store.n_commits();
    let (hello, _refused) = clone.hello(rig.at);
    rig.turn(vec![hello]);
    assert_eq!(store.n_commits(), n_commits, "one that tries again is not written down each time");
    rig.pass(61_000);
    let (hello, _refused) = clone.hello(rig.at);
    rig.turn(vec![hello]);
    assert_eq!(twice(&rig), 1);
    let old = Arc::clone(&agent.stream);
    let (hello, mut marks) = agent.hello(rig.at);
    rig.turn(vec![hello]);
    assert!(marks.try_recv().unwrap().is_ok());
    assert_eq!(old.take().fault, Some(Fault::Replaced));
}

#[test]
fn samples_are_judged_and_an_incident_is_raised() {
    let (mut rig, mut agent) = connected();
    for load in [1.0, 20.0, 20.0, 20.0] {
        rig.pass(1000);
        let message = agent.message(rig.at, &[load]);
        rig.turn(vec![message]);
    }
    assert_eq!(rig.level(), Some(Level::Red));
    assert_eq!(rig.board().incidents.len(), 1);
}

#[test]
fn a_refused_turn_changes_nothing_and_its_batch_is_taken_again() {
    let (mut rig, mut agent) = connected();
    let first = agent.message(rig.at, &[1.0]);
    rig.turn(vec![first]);
    let board = rig.board();
    let batch = agent.batch(rig.at, &[99.0]);
    let (reply, mut answer) = oneshot::channel();
    let act = Act::Snooze { scope: "host/web1".into(), only: Vec::new(), span: Millis(1000), reason: "r".into() };
    let command = Message::Command { caller: Caller::new(Principal::local("a", Role::Operator), "test"), act, reply };
    rig.store.set_full(true);
    let message = Message::Batch { stream: Arc::clone(&agent.stream), batch: batch.clone() };
    assert_eq!(rig.turn(vec![message, command]), Outcome::Refused);
    assert_eq!(agent.stream.take().acks, BTreeMap::from([(1, 1)]), "the ack of the first one only");
    assert!(answer.try_recv().is_err(), "the reply was dropped: nothing was done");
    assert_eq!(rig.board(), board);
    assert!(rig.shared.is_throttled());
    assert_eq!(rig.turn(Vec::new()), Outcome::Refused, "still full");

    rig.store.set_full(false);
    rig.pass(1000);
    let (hello, mut marks) = agent.hello(rig.at);
    assert_eq!(rig.turn(vec![hello]), Outcome::Committed);
    assert_eq!(marks.try_recv().unwrap(), Ok(vec![(1, 1)]));
    assert!(!rig.shared.is_throttled() && rig.shared.problems().is_empty());
    rig.turn(vec![Message::Batch { stream: Arc::clone(&agent.stream), batch }]);
    assert_eq!(agent.acks(), [(1, 2)]);
    let values: Vec<_> = rig.points("load")[0].iter().map(|point| point.value).collect();
    assert_eq!(values, [99.0], "both lie at the same instant, the later batch wins");
}

#[test]
fn restart_is_a_read() {
    let (mut rig, mut agent) = connected();
    for n in 0..25 {
        rig.pass(1000);
        let load = if n > 10 { 20.0 } else { 1.0 };
        let message = agent.message(rig.at, &[load]);
        rig.turn(vec![message]);
    }
    let mut again = Rig::over(Arc::new(rig.store.copy()), rig.at);
    again.put_rules(RULES);
    assert_eq!(again.points("{__name__=~\"load|other\"}"), rig.points("{__name__=~\"load|other\"}"));
    assert_eq!(again.level(), Some(Level::Red));
    assert_eq!(again.board().incidents, rig.board().incidents);
    let (hello, mut marks) = agent.hello(again.at);
    again.turn(vec![hello]);
    assert_eq!(marks.try_recv().unwrap(), Ok(vec![(1, 25)]));
    let message = agent.message(again.at.shifted(1000), &[2.0]);
    again.turn(vec![message]);
    assert_eq!(agent.acks(), [(1, 26)], "a delta batch goes on where the lane was");
    assert_eq!(again.points("load")[0].len(), 26);
}

#[test]
fn sealed_and_open_samples_are_each_found_once_before_and_after_a_restart() {
    let (mut rig, mut agent) = connected();
    rig.writer.seal_limits.n_ticks = 10;
    let mut wanted = Vec::new();
    for n in 0..57 {
        rig.pass(1000);
        wanted.push(f64::from(n % 3));
        let message = agent.message(rig.at, &[f64::from(n % 3)]);
        rig.turn(vec![message]);
        let values: Vec<_> = rig.points("load")[0].iter().map(|point| point.value).collect();
        assert_eq!(values, wanted);
    }
    assert!(rig.store.stats().n_rows[Family::Chunks as usize] >= 4);
    assert!(rig.store.stats().n_rows[Family::Journal as usize] < 25, "records of sealed chunks are gone");
    let again = Rig::over(Arc::new(rig.store.copy()), rig.at);
    assert_eq!(again.points("load"), rig.points("load"));
}

#[test]
fn series_carry_the_agents_name_whatever_it_says() {
    let (mut rig, mut agent) = connected();
    let mut batch = agent.batch(rig.at, &[1.0]);
    batch.series[0].labels = Labels::series("load", &[("host", "somebody-else")]).unwrap();
    rig.turn(vec![Message::Batch { stream: Arc::clone(&agent.stream), batch }]);
    let index = rig.shared.index();
    let (ids, _) = index.select(&Selector::parse("load").unwrap(), 9);
    assert_eq!(index.label(ids[0], "host"), Some("web1"));
}

#[test]
fn over_the_series_limit_known_series_go_on() {
    let mut rig = Rig::over(Arc::default(), START);
    *rig.shared.index_mut() = signalbox_tsdb::index::SeriesIndex::new(1);
    let mut agent = TestAgent::new("web1");
    let (hello, _marks) = agent.hello(rig.at);
    let batch = agent.message(rig.at, &[1.0]);
    rig.turn(vec![hello, batch]);
    assert_eq!(agent.acks(), [(1, 1)]);
    assert_eq!((rig.points("load").len(), rig.points("other").len()), (1, 0));
    assert!(rig.shared.problems()[0].contains("new series are refused"));
}

#[test]
fn a_lost_tail_is_told() {
    let rig = Rig::new();
    crate::run::note_lost_tail(&rig.shared, 7, 7);
    assert!(rig.shared.problems().is_empty());
    crate::run::note_lost_tail(&rig.shared, 9, 7);
    assert!(rig.shared.problems()[0].contains("lost at least its last 2 turns"), "{:?}", rig.shared.problems());
}

/// Levels of items; number, worst level and first symptom of incidents.
type Verdicts = (Vec<(String, Level)>, Vec<(u64, Level, UnixMillis)>);

/// What verdicts come to, without values that a sieve leaves out on purpose.
fn verdicts(rig: &Rig) -> Verdicts {
    let board = rig.board();
    let items = board.status.entities.iter().flat_map(|entity| &entity.items);
    let levels = items.map(|item| (item.id.clone(), item.level)).collect();
    (levels, board.incidents.iter().map(|one| (one.number, one.worst, one.first_symptom)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_sieve_changes_no_verdict_and_neither_does_the_cut_into_turns(
        batches in prop::collection::vec(prop::collection::vec(prop::sample::select(vec![1.0, 4.9, 5.1, 9.0, 10.5, 30.0, f64::NAN]), 1..4), 1..40),
        cuts in prop::collection::vec(1..4usize, 40),
    ) {
        let run = |lets_all_pass: bool, cuts: &[usize]| {
            let (mut rig, mut agent) = connected();
            rig.writer.sieve.lets_all_pass = lets_all_pass;
            let mut at = rig.at;
            let messages: Vec<_> = batches
                .iter()
                .map(|loads| {
                    at = at.shifted(1000 * i64::try_from(loads.len()).unwrap());
                    agent.message(at, loads)
                })
                .collect();
            // One stamp for all: what differs is only the cut.
            rig.at = at;
            let mut messages = messages.into_iter();
            for &cut in cuts {
                rig.turn(messages.by_ref().take(cut).collect());
            }
            rig.turn(messages.collect());
            verdicts(&rig)
        };
        let judged_one_by_one = run(true, &[1; 40]);
        prop_assert_eq!(&run(false, &[1; 40]), &judged_one_by_one);
        prop_assert_eq!(&run(false, &cuts), &judged_one_by_one);
        prop_assert_eq!(&run(false, &[]), &judged_one_by_one);
    }
}

/// The lane of an agent's first epoch, forgotten after so many batches; and the agent
/// as it streams now.
fn forgotten_lane(n_batches: usize) -> (Rig, TestAgent, TestAgent, Vec<Batch>) {
    let (mut rig, mut old) = connected();
    let mut sent = Vec::new();
    for _ in 0..n_batches {
        rig.pass(1000);
        let batch = old.batch(rig.at, &[3.0]);
        sent.push(batch.clone());
        rig.turn(vec![Message::Batch { stream: Arc::clone(&old.stream), batch }]);
    }
    let mut live = TestAgent { epoch: 2, ..TestAgent::new("web1") };
    let (hello, _marks) = live.hello(rig.at);
    rig.turn(vec![hello]);
    for _ in 0..3 {
        rig.pass(200_000);
        let message = live.message(rig.at, &[4.0]);
        rig.turn(vec![message]);
        rig.writer.tidy(rig.at);
        rig.turn(Vec::new());
    }
    let entry = rig.writer.agents.find(&live.id).unwrap();
    assert!(!entry.lanes.contains_key(&1), "the old lane was forgotten");
    (rig, old, live, sent)
}

#[test]
fn a_backlog_goes_on_after_its_lane_was_forgotten() {
    let (mut rig, mut old, live, mut sent) = forgotten_lane(5);
    assert_eq!(rig.writer.agents.find(&live.id).unwrap().marks.get(&1), Some(&5));

    // The agent sends again from the key batch, then what is new.
    sent.push(old.batch(sent[4].wall.shifted(1000), &[5.0]));
    let again = |batch: &Batch| Message::Batch { stream: Arc::clone(&live.stream), batch: batch.clone() };
    rig.turn(sent.iter().map(again).collect());
    assert!(!live.stream.is_ended(), "a delta has its lane again");
    assert_eq!(rig.writer.agents.find(&live.id).unwrap().marks.get(&1), Some(&6));
    let values: Vec<_> = rig.points("load")[0].iter().map(|point| point.value).collect();
    assert_eq!(values, [3.0, 3.0, 3.0, 3.0, 3.0, 5.0, 4.0, 4.0, 4.0], "each once");
}

#[test]
fn agents_that_a_full_store_could_not_hear_are_not_lost() {
    let (mut rig, mut agent) = connected();
    let message = agent.message(rig.at, &[1.0]);
    rig.turn(vec![message]);
    rig.store.set_full(true);
    let message = agent.message(rig.at, &[2.0]);
    assert_eq!(rig.turn(vec![message]), Outcome::Refused);
    for _ in 0..10 {
        rig.pass(30_000);
        let _refused = rig.turn(Vec::new());
    }
    rig.store.set_full(false);
    rig.pass(2000);
    assert_eq!(rig.turn(Vec::new()), Outcome::Committed);
    assert_eq!(rig.board().incidents, [], "five minutes of deafness are nobody's incident");
}

#[test]
fn a_duplicate_whose_lane_is_whole_changes_nothing() {
    let (mut rig, mut agent) = connected();
    let mut sent = Vec::new();
    for _ in 0..15 {
        rig.pass(1000);
        let batch = agent.batch(rig.at, &[3.0]);
        sent.push(batch.clone());
        rig.turn(vec![Message::Batch { stream: Arc::clone(&agent.stream), batch }]);
    }
    // Also after a restart, which reads the lanes back.
    let mut again = Rig::over(Arc::new(rig.store.copy()), rig.at);
    again.put_rules(RULES);
    let (hello, _marks) = agent.hello(again.at);
    again.turn(vec![hello]);
    let rows = || again.store.stats().n_rows;
    let before = (rows(), again.store.n_commits());
    let from_key =
        sent[10..].iter().map(|batch| Message::Batch { stream: Arc::clone(&agent.stream), batch: batch.clone() });
    let messages = from_key.collect();
    let (store, events) = (Arc::clone(&again.store), again.board());
    again.turn(messages);
    assert_eq!((store.stats().n_rows, store.n_commits()), before, "nothing is written for what is stored");
    assert_eq!(again.board(), events);
    assert_eq!(agent.acks(), [(1, 15)], "told that it is stored");
}

#[test]
fn a_forgotten_lane_is_built_again_from_any_key_batch() {
    let (mut rig, mut old, live, mut sent) = forgotten_lane(15);
    let again = |batch: &Batch| Message::Batch { stream: Arc::clone(&live.stream), batch: batch.clone() };
    // The agent's segment begins with batch 11; the collector has up to 15.
    sent.push(old.batch(sent[14].wall.shifted(1000), &[5.0]));
    rig.turn(sent[10..].iter().map(again).collect());
    assert!(!live.stream.is_ended());
    rig.turn(vec![again(&sent[15])]);
    assert_eq!(rig.writer.agents.find(&live.id).unwrap().marks.get(&1), Some(&16));
    let values: Vec<_> = rig.points("load")[0].iter().map(|point| point.value).collect();
    assert_eq!(values, [[3.0; 15].as_slice(), &[5.0, 4.0, 4.0, 4.0]].concat(), "each once");
}

#[test]
fn the_death_of_the_sealing_thread_ends_the_writer() {
    let (clock, store) = (Arc::new(ManualClock::at(START)), Arc::new(MemoryStore::default()));
    let shared = Arc::new(Shared::new(clock, store, Telemetry::default()));
    let folder = tempfile::tempdir().unwrap();
    let (tail, _) = crate::store::tail::TailRecord::open(folder.path()).unwrap();
    let (inbox, outbox) = inbox::inbox(1 << 20);
    let (sender, _notices) = mpsc::channel(1);
    let key = AuditKey::new([7; 32]);
    let writer = Writer::open(Arc::clone(&shared), Sealer::dead(), sender, 1000, key, START).unwrap();
    let bytes = signalbox_proto::units::Bytes;
    let limits = Limits {
        gather: Millis(1),
        gather_bytes: bytes(1),
        data_dir: folder.path().to_owned(),
        min_free: Some(bytes(0)),
    };
    // Whoever does not notice ends well.
    inbox.try_give(Message::Stop).unwrap();
    let error = run(writer, &outbox, &shared, tail, &limits).unwrap_err();
    assert!(error.to_string().contains("seal chunks"), "{error}");
}

#[test]
fn notices_that_found_no_room_are_offered_once_and_those_that_did_are_not_again() {
    let mut rig = Rig::with_room(Arc::default(), START, 2);
    let hook = "channels:\n  - name: hook\n    webhook: {url: \"http://127.0.0.1:9/\"}\nroutes:\n  - channel: hook\n";
    rig.put_rules(&format!("{RULES}{hook}"));
    let mut agents: Vec<_> = ["web1", "web2", "web3"].map(TestAgent::new).into();
    let hellos = agents.iter_mut().map(|agent| agent.hello(START).0).collect();
    rig.turn(hellos);
    for load in [1.0, 20.0, 20.0, 20.0] {
        rig.pass(1000);
        let at = rig.at;
        rig.turn(agents.iter_mut().map(|agent| agent.message(at, &[load])).collect());
    }
    assert_eq!(rig.board().incidents.len(), 3);
    let mut told = Vec::new();
    for _ in 0..5 {
        // The notifier takes one; it answers none so far.
        told.extend(rig._notices.try_recv().ok().map(|notice| notice.key));
        rig.turn(Vec::new());
    }
    let n_told = told.len();
    told.sort();
    told.dedup();
    assert_eq!((n_told, told.len()), (3, 3), "each once: {told:?}");
    assert!(rig.shared.problems().is_empty());
}

/// A red item of an agent that was retired afterwards; gives the instant of the red.
fn red_then_retired() -> (Rig, UnixMillis) {
    let (mut rig, mut agent) = connected();
    for load in [1.0, 20.0, 20.0, 20.0] {
        rig.pass(1000);
        let message = agent.message(rig.at, &[load]);
        rig.turn(vec![message]);
    }
    let red_at = rig.at;
    for _ in 0..4 {
        rig.pass(1000);
        let message = agent.message(rig.at, &[1.0]);
        rig.turn(vec![message]);
    }
    rig.turn(vec![Message::Disconnected { stream: Arc::clone(&agent.stream), goodbye: Some("bye".to_owned()) }]);
    rig.pass(1000);
    let act = Act::RetireAgent { agent: agent.id, reason: String::new() };
    let caller = Caller::new(Principal::local("op", Role::Operator), "test");
    rig.turn(vec![Message::Command { caller, act, reply: oneshot::channel().0 }]);
    (rig, red_at)
}

#[test]
fn an_item_that_the_board_shows_no_more_is_explained_as_it_stood() {
    let (rig, red_at) = red_then_retired();
    assert_eq!(rig.level(), None, "its agent is retired");
    let then = crate::explain::prove(&rig.shared, "host/web1:busy", Some(red_at)).unwrap();
    assert_eq!((then.item.level, then.item.value, then.item.incident), (Level::Red, Some(20.0), Some(1)));
    assert!(then.ledger.iter().any(|line| line.transition == "raised"), "{:?}", then.ledger);
    let before = crate::explain::prove(&rig.shared, "host/web1:busy", Some(red_at.shifted(-3000))).unwrap();
    assert_eq!((before.item.level, before.item.incident, before.ledger.len()), (Level::Green, None, 0));
}

#[test]
fn proofs_of_the_future_and_of_unknown_items_are_refused() {
    let (rig, red_at) = red_then_retired();
    let prove = |item: &str, at| crate::explain::prove(&rig.shared, item, Some(at)).unwrap_err();
    assert_eq!(prove("host/web1:busy", rig.at.shifted(1)), crate::handle::HandleError::Future);
    for unknown in ["host/web2:busy", "host/web1:idle", "host/web1:busy{a=\"b\"}", "busy", ""] {
        let error = prove(unknown, red_at);
        assert!(matches!(error, crate::handle::HandleError::NotFound(_)), "{unknown}: {error}");
    }
    let error = prove("host/web1:busy", START.shifted(-1));
    assert!(error.to_string().contains("nothing is kept of that instant"), "{error}");
}

#[test]
fn incidents_that_were_over_long_ago_go_with_their_ledger_and_open_ones_stay() {
    let (rig, red_at) = red_then_retired();
    let rows = |rig: &Rig| restore::engine_rows(&*rig.store).unwrap();
    let n_rows = |rig: &Rig, table| rows(rig).iter().filter(|row| row.table == table).count();
    assert!(n_rows(&rig, Table::Incidents) == 1 && n_rows(&rig, Table::Ledger) > 0);
    let sweep = |rig: &Rig, now: UnixMillis| {
        let mut commit = Commit::default();
        records::find(&*rig.store, now, now - Millis::from_mins(60)).unwrap().into_commit(&mut commit);
        rig.store.commit(&commit).unwrap();
    };
    let year = red_at + records::INCIDENTS_AGE;
    sweep(&rig, year);
    assert_eq!(n_rows(&rig, Table::Incidents), 1, "not older than that yet");
    assert_eq!(n_rows(&rig, Table::Rulesets), 1, "the rules in force stay, however old");
    sweep(&rig, year + Millis::from_secs(10));
    assert_eq!((n_rows(&rig, Table::Incidents), n_rows(&rig, Table::Ledger)), (0, 0));
    let (mut open, mut agent) = connected();
    for load in [20.0, 20.0, 20.0] {
        open.pass(1000);
        let message = agent.message(open.at, &[load]);
        open.turn(vec![message]);
    }
    sweep(&open, open.at + records::INCIDENTS_AGE + records::INCIDENTS_AGE);
    assert_eq!(n_rows(&open, Table::Incidents), 1, "it is red still");
}

#[test]
fn the_board_shows_values_that_move_within_a_quiet_band() {
    let (mut rig, mut agent) = connected();
    for load in [1.0, 2.0, 3.0] {
        rig.pass(1000);
        let message = agent.message(rig.at, &[load]);
        rig.turn(vec![message]);
    }
    let board = rig.shared.board();
    let item = board.item("host/web1:busy").unwrap();
    assert_eq!((item.value, item.why.as_str()), (Some(3.0), "3; amber is > 5, red is > 10"));
}
