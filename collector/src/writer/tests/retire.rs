//! Series that come and go: memory holds those that live, queries find them all.

use super::super::segments;
use super::*;
use crate::query::answer;
use crate::reading::Asked;
use signalbox_tsdb::segment::{FAN_IN, key};

/// The agent declares two series of this round, and no others, and samples them once.
pub(super) fn round(agent: &mut TestAgent, at: UnixMillis, n: u32) -> Message {
    agent.seq += 1;
    let refs = vec![2 * n, 2 * n + 1];
    let labels = |place: u32| Labels::series("c", &[("container", &format!("{n}-{place}"))]).unwrap();
    agent.encoder.begin(at, true);
    agent.encoder.tick(n, at, &refs, &[f64::from(n), 7.0]);
    let batch = Batch {
        epoch: agent.epoch,
        seq: agent.seq,
        wall: at,
        mono: Millis(0),
        key: true,
        series: (0..2).map(|p| SeriesEntry { series_ref: refs[p as usize], labels: labels(p) }).collect(),
        shapes: vec![ShapeEntry { shape: n, check: "cpu".into(), interval: Millis(1000), refs }],
        columns: agent.encoder.payload().to_vec().into(),
        results: Vec::new(),
        events: Vec::new(),
    };
    Message::Batch { stream: Arc::clone(&agent.stream), batch }
}

/// Labels and points of all that a selector means, ever.
pub(super) fn found(rig: &Rig, selector: &str) -> Vec<(String, Vec<i64>)> {
    found_in(rig, selector, UnixMillis(0), UnixMillis(i64::MAX - 1))
}

fn found_in(rig: &Rig, selector: &str, from: UnixMillis, to: UnixMillis) -> Vec<(String, Vec<i64>)> {
    let reader = Reader {
        shared: &rig.shared,
        deadline: Millis(u64::MAX),
        limits: QueryLimits::default(),
        waiting: &Asked::default(),
    };
    let answer = answer(&reader, &Selector::parse(selector).unwrap(), from, to).unwrap();
    let name = |labels: &BTreeMap<String, String>| labels.get("container").unwrap_or(&labels["__name__"]).clone();
    let times = |points: &[(i64, Option<f64>)]| points.iter().map(|(time, _)| *time).collect();
    answer.series.iter().map(|series| (name(&series.labels), times(&series.points))).collect()
}

/// Time passes, and everything that is due happens.
pub(super) fn rest(rig: &mut Rig, minutes: i64) {
    for _ in 0..minutes {
        rig.pass(60_000);
        rig.writer.tidy(rig.at);
        rig.turn(Vec::new());
    }
}

/// A rig whose series are quiet after half an hour.
pub(super) fn short_lived() -> (Rig, TestAgent) {
    let (mut rig, agent) = connected();
    rig.writer.set_quiet_after(Millis::from_mins(30));
    (rig, agent)
}

#[test]
fn whoever_is_silent_leaves_memory_and_is_found_on_disk() {
    let (mut rig, mut agent) = short_lived();
    let mut wanted = Vec::new();
    for n in 0..30 {
        let message = round(&mut agent, rig.at, n);
        rig.turn(vec![message]);
        wanted.extend((0..2).map(|place| (format!("{n}-{place}"), vec![rig.at.0])));
        rest(&mut rig, 20);
        assert!(rig.shared.index().len() <= 8, "round {n}: {} series in memory", rig.shared.index().len());
    }
    wanted.sort();
    assert_eq!(found(&rig, "c"), wanted);
    assert_eq!(found(&rig, "c{container=~\"1.-0\"}").len(), 10);
    assert_eq!(found_in(&rig, "c", START, START.shifted(60_000)).len(), 2, "only what was sampled then");
    assert_eq!(rig.shared.index().n_of(AgentNo(0)), rig.shared.index().len());
    let again = Rig::over(Arc::new(rig.store.copy()), rig.at);
    assert_eq!(found(&again, "c"), wanted);
    assert_eq!(again.shared.index().len(), rig.shared.index().len(), "a start reads those that live");
}

#[test]
fn a_crash_between_any_two_commits_loses_and_doubles_nothing() {
    let (mut rig, mut agent) = short_lived();
    let mut wanted = Vec::new();
    let check = |rig: &Rig, wanted: &[(String, Vec<i64>)]| {
        let again = Rig::over(Arc::new(rig.store.copy()), rig.at);
        let mut wanted = wanted.to_vec();
        wanted.sort();
        assert_eq!(found(&again, "c"), wanted);
        let mut n_rows = rig.store.stats().n_rows[Family::Series as usize];
        segments_rows(rig, key::SERIES, &mut n_rows);
        assert_eq!(n_rows as usize, wanted.len(), "one row a series, here or there");
    };
    let mut n_commits = 0;
    for n in 0..(2 * u32::try_from(FAN_IN).unwrap() + 4) {
        let message = round(&mut agent, rig.at, n);
        rig.turn(vec![message]);
        wanted.extend((0..2).map(|place| (format!("{n}-{place}"), vec![rig.at.0])));
        for _ in 0..20 {
            rest(&mut rig, 1);
            let change = segments::plan(&rig.shared, UnixMillis::MIN, &mut Vec::new()).unwrap();
            rig.turn(change.into_iter().map(Message::Segments).collect());
            if rig.store.n_commits() > n_commits {
                n_commits = rig.store.n_commits();
                check(&rig, &wanted);
            }
        }
    }
    assert!(rig.shared.index().segments().iter().any(|head| head.level > 0), "some were merged");
    let mut erasable = segments::gone(&*rig.store).unwrap();
    assert!(erasable.len() >= FAN_IN);
    let change = segments::plan(&rig.shared, UnixMillis::MIN, &mut erasable).unwrap().unwrap();
    rig.turn(vec![Message::Segments(change)]);
    check(&rig, &wanted);
    assert!(segments::gone(&*rig.store).unwrap().is_empty());
}

fn segments_rows(rig: &Rig, prefix: &[u8], n: &mut u64) {
    crate::store::each_of(&*rig.store, Family::Postings, prefix, |_, _| {
        *n += 1;
        Ok::<(), StoreError>(())
    })
    .unwrap();
}

#[test]
fn segments_go_when_their_samples_are_gone() {
    let (mut rig, mut agent) = short_lived();
    for n in 0..3 {
        let message = round(&mut agent, rig.at, n);
        rig.turn(vec![message]);
        rest(&mut rig, 40);
    }
    let n_live = rig.shared.index().len();
    assert!(n_live > 0 && !rig.shared.index().segments().is_empty());
    assert_eq!(segments::plan(&rig.shared, rig.at, &mut Vec::new()).unwrap(), None, "what lies there has a name");
    super::tiers::sweep(&mut rig, [Millis(0); 3]);
    while let Some(change) = segments::plan(&rig.shared, rig.at, &mut Vec::new()).unwrap() {
        rig.turn(vec![Message::Segments(change)]);
    }
    assert!(rig.shared.index().segments().is_empty());
    assert_eq!(rig.store.stats().n_rows[Family::Postings as usize], 0);
    assert_eq!((found(&rig, "c"), rig.shared.index().len()), (Vec::new(), n_live), "who lives stays");
}

#[test]
fn whoever_speaks_again_is_one_series() {
    let (mut rig, mut agent) = short_lived();
    let first = rig.at;
    let message = round(&mut agent, rig.at, 0);
    rig.turn(vec![message]);
    rest(&mut rig, 20);
    let message = round(&mut agent, rig.at, 1);
    rig.turn(vec![message]);
    rest(&mut rig, 60);
    assert_eq!(rig.shared.index().select(&Selector::parse("c{container=\"0-0\"}").unwrap(), 9).1, 0);
    let message = round(&mut agent, rig.at, 0);
    rig.turn(vec![message]);
    assert_eq!(found(&rig, "c{container=\"0-0\"}"), [("0-0".to_owned(), vec![first.0, rig.at.0])]);
    assert!(agent.stream.take().fault.is_none(), "its old ref is free again");
    let again = Rig::over(Arc::new(rig.store.copy()), rig.at);
    assert_eq!(found(&again, "c"), found(&rig, "c"));
}

#[test]
fn what_a_rule_shows_stays_until_its_agent_gives_it_up() {
    let (mut rig, mut agent) = short_lived();
    let message = agent.message(rig.at, &[1.0]);
    rig.turn(vec![message]);
    rig.turn(vec![Message::Disconnected { stream: Arc::clone(&agent.stream), goodbye: None }]);
    rest(&mut rig, 120);
    assert!(rig.writer.agents.iter().all(|entry| entry.lanes.is_empty()), "a lane of an agent that is away goes");
    let names =
        |rig: &Rig| rig.shared.index().label_values("__name__").map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&rig), ["load"], "what no rule selects leaves memory");
    assert!(rig.level().is_some(), "its item is on the board");
    assert_eq!(found(&rig, "other").len(), 1);
    let (hello, mut marks) = agent.hello(rig.at);
    rig.turn(vec![hello]);
    assert_eq!(marks.try_recv().unwrap(), Ok(vec![(1, 1)]), "its marks stay");
    // Another layout of the check: by the agent's word the selected series is gone.
    let message = round(&mut agent, rig.at, 3);
    rig.turn(vec![message]);
    rest(&mut rig, 60);
    assert_eq!(rig.level(), None);
    assert!(!names(&rig).contains(&"load".to_owned()), "{:?}", names(&rig));
    assert!(rig.writer.engine.lets_go(signalbox_engine::event::SeriesId(0)));
    assert!(!rig.writer.engine.knows(signalbox_engine::event::SeriesId(0)), "nothing of it is kept in memory");
    assert_eq!(found(&rig, "load").len(), 1);
}

#[test]
fn a_turn_that_is_refused_retires_nobody() {
    let (mut rig, mut agent) = connected();
    for n in 0..3 {
        let message = round(&mut agent, rig.at, n);
        rig.turn(vec![message]);
        rest(&mut rig, 20);
    }
    let before = found(&rig, "c");
    rig.writer.set_quiet_after(Millis::from_mins(30));
    rig.pass(60_000);
    rig.writer.tidy(rig.at);
    rig.store.set_full(true);
    rig.turn(Vec::new());
    rig.store.set_full(false);
    rig.pass(2000);
    rig.turn(Vec::new());
    assert_eq!((found(&rig, "c"), rig.shared.index().segments().len()), (before.clone(), 0));
    rest(&mut rig, 60);
    assert_eq!(found(&rig, "c"), before);
    assert!(!rig.shared.index().segments().is_empty(), "once there is space they leave");
}
