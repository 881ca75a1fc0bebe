//! The whole agent with a manual clock against a collector in memory.

use super::*;
use crate::check::{Check, CheckError, Layout};
use crate::config::{LogFormat, LogLevel, Machine};
use crate::spool::Limits;
use crate::transport::memory::MemoryTransport;
use crate::transport::{Ended, Incoming, Remote};
use crate::wire::FromCollector;
use crate::wire::testing::{FromAgent, read};
use signalbox_proto::clock::ManualClock;
use signalbox_proto::columns::Decoder;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::samples::Batch;
use signalbox_proto::units::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

const START: UnixMillis = UnixMillis(1_700_000_000_000);

/// Counts its looks: 1, 2, 3 … so that a lost or doubled sample shows.
struct Counting {
    layout: Layout,
    n_looks: f64,
}

impl Check for Counting {
    fn name(&self) -> &str {
        "counting"
    }
    fn sample(&mut self, _: Instant, values: &mut Vec<f64>) -> Result<(), CheckError> {
        self.n_looks += 1.0;
        values.clear();
        values.extend([self.n_looks, 7.0]);
        Ok(())
    }
    fn layout(&self) -> &Layout {
        &self.layout
    }
}

fn slots() -> Vec<Slot> {
    let series = ["looks_total", "constant"].map(|name| Labels::series(name, &[]).unwrap()).to_vec();
    let check = Counting { layout: Layout { generation: 1, series }, n_looks: 0.0 };
    vec![Slot::new(Box::new(check), Millis(1000))]
}

fn config(dir: &Path) -> Config {
    Config {
        agent_id: AgentId::parse("web1").unwrap(),
        collector: Endpoint::parse("https://127.0.0.1:8441").unwrap(),
        labels: Labels::default(),
        data_dir: dir.to_owned(),
        spool: Limits { max_size: Bytes::from_mib(64), max_age: Millis(86_400_000) },
        machine: Machine {
            interval: Millis(1000),
            disable: BTreeSet::new(),
            intervals: BTreeMap::new(),
            network_ignore: Vec::new(),
        },
        scripts: Vec::new(),
        processes: Vec::new(),
        backfill_samples_per_second: 100,
        log_level: LogLevel::Info,
        log_format: LogFormat::Text,
    }
}

/// One epoch as the decoder of one stream sees it.
#[derive(Default)]
struct Reading {
    decoder: Decoder,
    series: HashMap<u32, String>,
    shapes: HashMap<u32, Vec<u32>>,
    last_seq: Option<u64>,
}

/// A collector that keeps what it is told and refuses what it could not understand.
#[derive(Default)]
struct Collector {
    up: bool,
    remote: Option<Remote>,
    reading: BTreeMap<u64, Reading>,
    /// (epoch, seq) -> looks in it.
    stored: BTreeMap<(u64, u64), Vec<u64>>,
    arrived: Vec<(u64, u64)>,
    events: Vec<AgentEventKind>,
    hellos: Vec<Hello>,
    n_heartbeats: u64,
    /// The greatest epoch that it was told of.
    live_epoch: u64,
    /// When what it judged as live was sampled.
    judged_as_live: Vec<UnixMillis>,
    /// Calls this batch malformed.
    poison: Option<(u64, u64)>,
    /// Calls each Hello malformed.
    refuses_hello: bool,
    /// Answers Hello, and ends the stream at the first batch.
    takes_nothing: bool,
    n_dialled: u64,
}

impl Collector {
    fn refuse(&mut self) {
        let remote = self.remote.take().unwrap();
        remote.incoming.try_send(Incoming::Closed(Ended::Invalid("error is too long".to_owned()))).unwrap();
    }

    fn mark(&self, epoch: u64) -> u64 {
        self.stored.range((epoch, 0)..=(epoch, u64::MAX)).next_back().map_or(0, |(id, _)| id.1)
    }

    fn say(&self, message: FromCollector) {
        let remote = self.remote.as_ref().unwrap();
        remote.incoming.try_send(Incoming::Message(message)).unwrap();
    }

    fn serve(&mut self, transport: &MemoryTransport) {
        for (_, remote) in transport.dialled.borrow_mut().drain(..) {
            if self.up {
                self.n_dialled += 1;
                remote.incoming.try_send(Incoming::Opened).unwrap();
                self.reading.clear();
                self.remote = Some(remote);
            }
        }
        while let Some(frame) = self.remote.as_mut().and_then(|remote| remote.frames.try_recv().ok()) {
            match read(&frame) {
                FromAgent::Hello(_) if self.refuses_hello => self.refuse(),
                FromAgent::Hello(hello) => {
                    self.live_epoch = hello.epochs.iter().copied().fold(self.live_epoch, u64::max);
                    for &epoch in &hello.epochs {
                        self.say(FromCollector::Ack { epoch, seq: self.mark(epoch) });
                    }
                    self.hellos.push(hello);
                }
                FromAgent::Batch(_) if self.takes_nothing => {
                    let why = "ResourceExhausted: over 256 epochs of one agent are open".to_owned();
                    let remote = self.remote.take().unwrap();
                    remote.incoming.try_send(Incoming::Closed(Ended::Lost(why))).unwrap();
                }
                FromAgent::Batch(batch) if self.poison == Some((batch.epoch, batch.seq)) => self.refuse(),
                FromAgent::Batch(batch) => self.take(&batch),
                FromAgent::Heartbeat => self.n_heartbeats += 1,
                FromAgent::Goodbye => self.remote = None,
            }
        }
    }

    fn take(&mut self, batch: &Batch) {
        let reading = self.reading.entry(batch.epoch).or_default();
        if batch.key {
            reading.series.clear();
            reading.shapes.clear();
        } else {
            assert_eq!(reading.last_seq, Some(batch.seq - 1), "a difference needs the batch before it");
        }
        reading.last_seq = Some(batch.seq);
        for entry in &batch.series {
            assert_eq!(entry.labels.get("host"), Some("web1"));
            reading.series.insert(entry.series_ref, entry.labels.metric().unwrap().to_owned());
        }
        reading.shapes.extend(batch.shapes.iter().map(|shape| (shape.shape, shape.refs.clone())));
        let Reading { decoder, series, shapes, .. } = reading;
        let mut looks = Vec::new();
        let shape = |shape| shapes.get(&shape).map(Vec::as_slice);
        decoder
            .decode(batch.wall, batch.key, &batch.columns, shape, |tick, values| {
                let looks_ref = tick.refs.iter().find(|&r| series[r] == "looks_total").unwrap();
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                looks.push(values.get(*looks_ref) as u64);
            })
            .unwrap();
        self.live_epoch = self.live_epoch.max(batch.epoch);
        if batch.epoch == self.live_epoch {
            self.judged_as_live.push(batch.wall);
        }
        self.arrived.push((batch.epoch, batch.seq));
        if batch.seq > self.mark(batch.epoch) {
            self.stored.insert((batch.epoch, batch.seq), looks);
            self.events.extend(batch.events.iter().map(|event| event.kind.clone()));
        }
        self.say(FromCollector::Ack { epoch: batch.epoch, seq: self.mark(batch.epoch) });
    }

    /// All looks that are stored, each as often as it is.
    fn looks(&self) -> Vec<u64> {
        let mut looks: Vec<u64> = self.stored.values().flatten().copied().collect();
        looks.sort_unstable();
        looks
    }
}

struct World {
    clock: Arc<ManualClock>,
    agent: Agent<MemoryTransport>,
    transport: MemoryTransport,
    collector: Collector,
    dir: tempfile::TempDir,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(START));
    let transport = MemoryTransport::default();
    let agent = agent(dir.path(), &clock, &transport);
    let collector = Collector { up: true, ..Collector::default() };
    World { clock, agent, transport, collector, dir }
}

fn agent(dir: &Path, clock: &Arc<ManualClock>, transport: &MemoryTransport) -> Agent<MemoryTransport> {
    let config = config(dir);
    let spool = Spool::open(dir, config.spool, clock.wall()).unwrap();
    let parts = Parts { slots: slots(), counters: Arc::default() };
    Agent::new(config, parts, spool, transport.clone(), clock.clone())
}

impl World {
    /// Lets both sides act until neither has anything to do at this instant.
    fn settle(&mut self) {
        for _ in 0..20 {
            self.agent.advance();
            self.collector.serve(&self.transport);
        }
    }

    fn run(&mut self, secs: u64) {
        let until = self.clock.mono() + Millis::from_secs(secs);
        loop {
            self.settle();
            let now = self.clock.mono();
            if now >= until {
                return;
            }
            let next = self.agent.next_deadline().max(now + Millis(1)).min(until);
            self.clock.advance(Millis(next.0 - now.0));
        }
    }

    fn cut_off(&mut self) {
        self.collector.up = false;
        self.collector.remote = None;
    }

    fn n_looks(&self) -> u64 {
        u64::try_from(self.collector.looks().len()).unwrap()
    }

    /// Everything that was sampled is stored once, in any epoch.
    fn stored_exactly_once(&self, at_least: u64) {
        let looks = self.collector.looks();
        assert!(self.n_looks() >= at_least, "{} of {at_least}", looks.len());
        assert_eq!(looks, (1..=self.n_looks()).collect::<Vec<_>>());
    }
}

#[test]
fn samples_stream_once_a_second_in_one_batch() {
    let mut world = world();
    world.run(30);
    world.stored_exactly_once(30);
    assert!(world.collector.n_heartbeats >= 2);
    assert!(matches!(world.collector.events[0], AgentEventKind::Started { .. }));
    assert_eq!(world.agent.spool.n_backlog(), 0);
    assert_eq!(world.agent.spool.counters().n_syncs, 0, "what is acknowledged at once is never synced");
}

#[test]
fn an_acknowledgement_that_is_read_with_the_next_look_spares_the_sync() {
    let mut world = world();
    world.settle();
    for _ in 0..30 {
        let now = world.clock.mono();
        world.clock.advance(Millis(world.agent.next_deadline().0 - now.0));
        world.agent.advance();
        world.collector.serve(&world.transport);
    }
    assert!(world.n_looks() >= 25);
    assert_eq!(world.agent.spool.counters().n_syncs, 0);
}

#[test]
fn what_the_collector_says_may_wait_when_a_deadline_is_near_and_nothing_else_depends_on_it() {
    let mut world = world();
    let may_wait = |world: &World, ms: u64| {
        let now = world.clock.mono();
        world.agent.may_wait(now + Millis(ms), now)
    };
    world.agent.advance();
    assert!(!may_wait(&world, 1000), "there is no stream yet");
    world.settle();
    assert!(may_wait(&world, 1000));
    assert!(!may_wait(&world, 1001), "it would be late");
    world.cut_off();
    world.settle();
    assert!(!may_wait(&world, 1000), "the next stream is awaited");
}

#[test]
fn with_a_renewed_identity_the_stream_is_opened_anew_and_nothing_is_lost() {
    let mut world = world();
    world.run(10);
    let live = world.collector.live_epoch;
    world.transport.renewed.set(true);
    world.run(10);
    assert_eq!(world.collector.hellos.len(), 2);
    world.stored_exactly_once(20);
    assert_eq!(world.collector.live_epoch, live, "what is live stays live");
    assert_eq!(world.agent.spool.n_backlog(), 0);
    // One that comes while there is no stream is for the next one.
    world.cut_off();
    world.run(5);
    world.transport.renewed.set(true);
    world.run(5);
    world.collector.up = true;
    world.run(30);
    world.stored_exactly_once(55);
}

#[test]
fn after_an_outage_live_goes_first_and_the_backlog_follows_in_order() {
    let mut world = world();
    world.run(10);
    world.cut_off();
    world.run(300);
    let before = world.collector.arrived.len();
    world.collector.up = true;
    while world.collector.remote.is_none() {
        world.run(1);
    }
    world.run(1);
    let old_epoch = world.collector.arrived[0].0;
    let back: Vec<(u64, u64)> = world.collector.arrived[before..].to_vec();
    let new_epoch = back.iter().map(|id| id.0).max().unwrap();
    assert!(new_epoch > old_epoch, "a new epoch begins for live data");
    assert!(back.iter().filter(|id| id.0 == new_epoch).count() >= 1, "live data does not wait for the backlog");
    assert!(world.agent.spool.n_backlog() > 100, "the backlog comes at a bounded rate");
    world.run(30);
    let old: Vec<u64> =
        world.collector.arrived[before..].iter().filter(|id| id.0 == old_epoch).map(|id| id.1).collect();
    assert!(old.windows(2).all(|pair| pair[1] == pair[0] + 1), "in order");
    assert_eq!(world.agent.spool.n_backlog(), 0);
    world.stored_exactly_once(340);
}

#[test]
fn what_an_outage_left_is_never_judged_as_live() {
    for outage_secs in 300..308 {
        let mut world = world();
        world.run(10);
        world.cut_off();
        world.run(outage_secs);
        let before = world.collector.judged_as_live.len();
        world.collector.up = true;
        let up = world.clock.wall();
        world.run(60);
        let oldest = *world.collector.judged_as_live[before..].iter().min().unwrap();
        assert!(up.since(oldest) <= BACKLOG_MIN, "a batch {} old was judged as live", up.since(oldest));
        world.stored_exactly_once(outage_secs + 60);
    }
}

#[test]
fn a_stream_that_ends_during_a_throttle_leaves_no_deadline_behind() {
    let mut world = world();
    world.run(5);
    world.collector.say(FromCollector::Throttle { pause: Millis(10_000), reason: "slow disk".to_owned() });
    world.settle();
    world.cut_off();
    world.settle();
    world.clock.advance(Millis(11_000));
    world.settle();
    assert!(world.agent.next_deadline() > world.clock.mono(), "the agent would be busy");
}

/// The samples that the collector was told are lost because it refused them.
fn n_refused(world: &World) -> u64 {
    let refused = world.collector.events.iter().filter_map(|event| match event {
        AgentEventKind::SamplesDropped { n_samples, reason, .. } if reason == "refused" => Some(*n_samples),
        _ => None,
    });
    refused.sum()
}

#[test]
fn a_live_batch_that_is_refused_each_time_does_not_hold_back_what_follows() {
    let mut world = world();
    world.run(10);
    let epoch = world.collector.arrived[0].0;
    world.collector.poison = Some((epoch, 15));
    world.run(120);
    assert_eq!(world.agent.spool.n_backlog(), 0);
    let looks = world.collector.looks();
    let n_lost = looks.last().unwrap() - world.n_looks();
    assert!((1..60).contains(&n_lost), "{n_lost}");
    assert_eq!(n_refused(&world), 2 * n_lost, "each loss is told");
    assert!(world.n_looks() > 100);
}

#[test]
fn a_backlog_batch_that_is_refused_each_time_costs_its_segment_only() {
    let mut world = world();
    world.run(10);
    let epoch = world.collector.arrived[0].0;
    world.cut_off();
    world.run(900);
    world.collector.poison = Some((epoch, 20));
    world.collector.up = true;
    world.run(240);
    assert_eq!(world.agent.spool.n_backlog(), 0);
    let looks = world.collector.looks();
    let n_lost = looks.last().unwrap() - world.n_looks();
    assert!((500..600).contains(&n_lost), "{n_lost}");
    assert_eq!(n_refused(&world), 2 * n_lost);
    assert!(looks.contains(&19) && looks.contains(&700), "the segment after it arrives");
}

#[test]
fn a_refused_hello_costs_no_batch() {
    let mut world = world();
    world.run(10);
    world.cut_off();
    world.run(20);
    world.collector.up = true;
    world.collector.refuses_hello = true;
    world.run(120);
    world.collector.refuses_hello = false;
    world.run(60);
    world.stored_exactly_once(200);
    assert_eq!(n_refused(&world), 0);
}

/// Lines of the log while `act` runs.
fn logged(act: impl FnOnce()) -> Vec<String> {
    #[derive(Clone, Default)]
    struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, act);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_refusal_that_repeats_is_told_once_and_tried_less_and_less_often() {
    let mut world = world();
    world.run(10);
    world.collector.takes_nothing = true;
    world.collector.n_dialled = 0;
    let lines = logged(|| world.run(600));
    let told = lines.iter().filter(|line| line.contains("over 256 epochs")).count();
    assert_eq!(told, 1, "{lines:?}");
    assert!(
        !lines.iter().any(|line| line.contains("connected to the collector") && line.contains("INFO")),
        "{lines:?}"
    );
    // Waits are drawn from 0 to 10 s: 120 of them in 600 s, give or take.
    assert!(world.collector.n_dialled < 200, "{} attempts in 600 s", world.collector.n_dialled);
    world.collector.takes_nothing = false;
    let lines = logged(|| world.run(60));
    assert_eq!(lines.iter().filter(|line| line.contains("takes batches again")).count(), 1, "{lines:?}");
    world.stored_exactly_once(600);
}

#[test]
fn a_short_outage_goes_on_in_the_same_epoch() {
    let mut world = world();
    world.run(10);
    world.cut_off();
    world.run(2);
    world.collector.up = true;
    world.run(20);
    world.stored_exactly_once(30);
    let epochs: BTreeSet<u64> = world.collector.arrived.iter().map(|id| id.0).collect();
    assert_eq!(epochs.len(), 1);
}

#[test]
fn a_collector_that_lost_its_tail_is_filled_again() {
    let mut world = world();
    world.run(60);
    world.cut_off();
    let lost: Vec<(u64, u64)> = world.collector.stored.keys().rev().take(40).copied().collect();
    for id in lost {
        world.collector.stored.remove(&id);
    }
    world.run(1);
    world.collector.up = true;
    world.run(60);
    world.stored_exactly_once(120);
}

#[test]
fn an_agent_that_starts_again_sends_what_the_one_before_left() {
    let mut world = world();
    world.collector.up = false;
    world.run(30);
    world.agent = agent(world.dir.path(), &world.clock, &world.transport);
    world.collector.up = true;
    world.run(30);
    let epochs: BTreeSet<u64> = world.collector.arrived.iter().map(|id| id.0).collect();
    assert_eq!(epochs.len(), 2);
    assert!(world.n_looks() >= 60);
    assert_eq!(world.agent.spool.n_backlog(), 0);
}

#[test]
fn a_clock_step_is_told_and_begins_an_epoch() {
    for step_ms in [3_600_000, -7_200_000] {
        let mut world = world();
        world.run(10);
        world.clock.step_wall(step_ms);
        world.run(10);
        world.stored_exactly_once(19);
        let told = AgentEventKind::ClockStepped { step_ms };
        assert!(world.collector.events.contains(&told), "{:?}", world.collector.events);
        let epochs: BTreeSet<u64> = world.collector.arrived.iter().map(|id| id.0).collect();
        assert_eq!(epochs.len(), 2);
    }
}

#[test]
fn a_pause_of_the_agent_is_told_as_a_gap() {
    let mut world = world();
    world.run(10);
    world.clock.advance(Millis(60_000));
    world.run(5);
    let gap = world.collector.events.iter().find_map(|event| match event {
        AgentEventKind::Gap { from, to, .. } => Some(to.since(*from)),
        _ => None,
    });
    assert!(gap.is_some_and(|gap| gap >= Millis(59_000)));
}

#[test]
fn a_throttle_is_obeyed_and_nothing_is_lost() {
    let mut world = world();
    world.run(5);
    world.collector.say(FromCollector::Throttle { pause: Millis(10_000), reason: "slow disk".to_owned() });
    world.settle();
    let before = world.collector.arrived.len();
    world.run(9);
    assert_eq!(world.collector.arrived.len(), before);
    world.run(5);
    world.stored_exactly_once(18);
}

#[test]
fn go_elsewhere_is_followed_but_never_into_plain_text() {
    let mut world = world();
    world.run(5);
    let go = |text: &str| FromCollector::GoElsewhere { endpoints: vec![text.to_owned()], reason: String::new() };
    world.collector.say(go("http://10.0.0.1:8441"));
    world.agent.advance();
    assert!(world.agent.link.is_some());
    world.collector.say(go("https://10.0.0.2:9999"));
    world.agent.advance();
    assert!(world.agent.link.is_none());
    world.collector.up = false;
    let until = world.clock.mono() + Millis(1100);
    while world.clock.mono() < until {
        world.clock.advance(Millis(100));
        world.agent.advance();
    }
    assert_eq!(world.transport.dialled.borrow()[0].0, "https://10.0.0.2:9999");
}

#[test]
fn a_reload_goes_on_in_the_same_epoch_with_the_new_checks() {
    let mut world = world();
    world.run(5);
    let mut new = world.agent.config.clone();
    new.labels = Labels::new([("region".to_owned(), "eu".to_owned())]).unwrap();
    world.agent.reload(new, slots());
    world.run(5);
    assert_eq!(world.collector.hellos.last().unwrap().labels.get("region"), Some("eu"));
    assert!(world.collector.events.contains(&AgentEventKind::ConfigReloaded { error: None }));
    world.agent.reload_refused("line 3: no");
    world.run(2);
    let refused = AgentEventKind::ConfigReloaded { error: Some("line 3: no".to_owned()) };
    assert!(world.collector.events.contains(&refused));
    let epochs: BTreeSet<u64> = world.collector.arrived.iter().map(|id| id.0).collect();
    assert_eq!(epochs.len(), 1);
}

#[test]
fn a_stop_looks_once_more_and_says_goodbye() {
    let mut world = world();
    world.run(5);
    let before = world.n_looks();
    world.agent.look_last();
    world.collector.serve(&world.transport);
    world.agent.drain();
    assert!(world.agent.is_drained());
    assert_eq!(world.n_looks(), before + 1);
    world.agent.goodbye();
    world.collector.serve(&world.transport);
    assert!(world.collector.remote.is_none());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

    /// Cuts, losses of the collector's tail and waits in any order: every look is
    /// stored exactly once in the end.
    #[test]
    fn any_run_of_outages_loses_and_doubles_nothing(steps in proptest::collection::vec((0u8..3, 1u64..30), 1..12)) {
        let mut world = world();
        for (what, secs) in steps {
            match what {
                0 => world.cut_off(),
                1 => world.collector.up = true,
                _ => {
                    world.cut_off();
                    let newest = world.collector.stored.keys().next_back().map(|id| id.0);
                    let lost: Vec<_> = world.collector.stored.keys().rev().filter(|id| Some(id.0) == newest).take(5).copied().collect();
                    for id in lost { world.collector.stored.remove(&id); }
                }
            }
            world.run(secs);
        }
        world.collector.up = true;
        world.run(60);
        world.stored_exactly_once(60);
        proptest::prop_assert_eq!(world.agent.spool.n_backlog(), 0);
    }
}
