//! F01, F02: what was acknowledged survives `kill -9` of either side, once.
//!
//! The oracle knows every sample that was issued and which of them were
//! acknowledged. `SIGNALBOX_ROUNDS` and `SIGNALBOX_SEED` make the test longer, or
//! the same again.

use crate::common::{AT_ONCE, PATIENCE, block_on, hook, now, speaker, stored};
use anyhow::{Context, Result, ensure};
use e2e::client::Client;
use e2e::process::{Agent, Collector, wait_for};
use e2e::random::Random;
use e2e::sink::Sink;
use e2e::speaker::{KEY_EVERY, Session, Speaker};
use signalbox_proto::samples::Batch;
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SPEAKERS: usize = 8;
const SERIES: usize = 40;
/// A batch of each speaker every so often.
const PACE: Millis = Millis(10);
/// The first series is red for so many batches, then green for as many.
const RUN: u64 = 60;

/// A number from the environment, so that a run can be made longer or repeated.
fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// What the oracle keeps of one speaker.
struct Promise {
    agent: String,
    start: UnixMillis,
    n_issued: u64,
    n_acked: u64,
}

/// The value is a function of who, which and when: a wrong one shows.
fn value(who: usize, series: usize, seq: u64) -> f64 {
    match series {
        0 => f64::from(u8::from((seq / RUN) % 2 == 1)),
        _ => f64::from(u32::try_from((seq * 31 + series as u64 * 7 + who as u64) % 100_003).unwrap_or(0)) / 100.0,
    }
}

async fn speak(who: usize, endpoint: String, stop: Arc<AtomicBool>) -> Result<Promise> {
    let agent = format!("kill-{who}");
    let start = now();
    let mut speaker = speaker(&agent, 1, SERIES, PACE.0)?;
    let (mut kept, mut n_acked): (Vec<Batch>, u64) = (Vec::new(), 0);
    while !(stop.load(Ordering::SeqCst) && n_acked == kept.len() as u64) {
        let stopping = stop.load(Ordering::SeqCst);
        if let Err(error) = stream(who, &endpoint, &mut speaker, start, &mut kept, &mut n_acked, &stop).await {
            ensure!(!stopping || now().since(start) < Millis::from_mins(10), "never acknowledged: {error:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(Promise { agent, start, n_issued: kept.len() as u64, n_acked })
}

/// One stream until it breaks, or until everything is acknowledged at the end.
async fn stream(
    who: usize,
    endpoint: &str,
    speaker: &mut Speaker,
    start: UnixMillis,
    kept: &mut Vec<Batch>,
    n_acked: &mut u64,
    stop: &AtomicBool,
) -> Result<()> {
    let mut session = Session::open(endpoint, &speaker.hello(now(), vec![1])).await?;
    let resume = session.acked().await?.seq;
    ensure!(resume >= *n_acked, "the collector forgot batch {} after acknowledging {n_acked}", resume + 1);
    *n_acked = resume;
    let key = resume / KEY_EVERY * KEY_EVERY;
    for batch in &kept[usize::try_from(key)?.min(kept.len())..] {
        session.send(batch).await?;
    }
    let mut pace = tokio::time::interval(PACE.std());
    loop {
        let stopping = stop.load(Ordering::SeqCst);
        if stopping && *n_acked == kept.len() as u64 {
            return Ok(());
        }
        tokio::select! {
            acked = session.acked() => *n_acked = acked?.seq.max(*n_acked),
            _ = pace.tick(), if !stopping => {
                let seq = kept.len() as u64 + 1;
                let values: Vec<f64> = (0..SERIES).map(|series| value(who, series, seq)).collect();
                let batch = speaker.batch(start + PACE.times(seq), PACE.times(seq), &values);
                kept.push(batch.clone());
                session.send(&batch).await?;
            }
        }
    }
}

#[test]
fn f01_acknowledged_samples_survive_kill_9_of_the_collector_once() -> Result<()> {
    let (rounds, seed) = (setting("SIGNALBOX_ROUNDS", 20), setting("SIGNALBOX_SEED", 42));
    println!("rounds {rounds}, seed {seed}");
    let mut random = Random::new(seed);
    let folder = tempfile::tempdir()?;
    let sink = Sink::start()?;
    let notify = hook(&sink.url());
    let mut collector = Collector::start(folder.path(), &[("rules.yaml", AT_ONCE), ("notify.yaml", &notify)])?;
    let stop = Arc::new(AtomicBool::new(false));
    let (endpoint, stopped) = (collector.endpoint(), Arc::clone(&stop));
    let speakers = std::thread::spawn(move || {
        block_on(async {
            let mut running = tokio::task::JoinSet::new();
            for who in 0..SPEAKERS {
                running.spawn(speak(who, endpoint.clone(), Arc::clone(&stopped)));
            }
            let mut promises = Vec::new();
            while let Some(ended) = running.join_next().await {
                promises.push(ended.context("a speaker panicked")??);
            }
            Ok(promises)
        })
    });
    for _ in 0..rounds {
        std::thread::sleep(Duration::from_millis(200 + random.below(1000)));
        collector.process.kill_9()?;
        collector.restart()?;
    }
    stop.store(true, Ordering::SeqCst);
    let promises = speakers.join().map_err(|_| anyhow::anyhow!("the speakers panicked"))??;
    let client = collector.client();
    for (who, promise) in promises.iter().enumerate() {
        let who = promise.agent.trim_start_matches("kill-").parse().unwrap_or(who);
        ensure!(promise.n_issued > RUN * 2, "{} issued only {}", promise.agent, promise.n_issued);
        judge_samples(&client, who, promise)?;
    }
    judge_incidents(&client, &promises)?;
    judge_notices(&sink, &promises)
}

fn judge_samples(client: &Client, who: usize, promise: &Promise) -> Result<()> {
    let last = promise.start + PACE.times(promise.n_issued + 1);
    ensure!(promise.n_acked == promise.n_issued, "everything was acknowledged at the end");
    for series in 0..SERIES {
        let expected: Vec<(i64, f64)> =
            (1..=promise.n_issued).map(|seq| ((promise.start + PACE.times(seq)).0, value(who, series, seq))).collect();
        let got = stored(client, &promise.agent, series, promise.start, last)?;
        if got != expected {
            let (got, expected): (BTreeSet<_>, BTreeSet<_>) =
                (got.iter().map(|(at, _)| *at).collect(), expected.iter().map(|(at, _)| *at).collect());
            let lost = expected.difference(&got).count();
            let more = got.difference(&expected).count();
            anyhow::bail!("{} series {series}: {lost} lost, {more} never issued, or values differ", promise.agent);
        }
    }
    Ok(())
}

/// Red runs that were ever sent, one episode each; all within 30 minutes, so one
/// number a speaker.
fn n_episodes(promise: &Promise) -> u64 {
    (promise.n_issued / RUN).div_ceil(2)
}

fn judge_incidents(client: &Client, promises: &[Promise]) -> Result<()> {
    let incidents = client.incidents()?;
    for promise in promises {
        let own: Vec<_> = incidents
            .iter()
            .filter(|incident| incident.rule == "at-once" && incident.entity == format!("host/{}", promise.agent))
            .collect();
        ensure!(own.len() == 1, "{} has {} incidents, not one", promise.agent, own.len());
        let episodes = u64::from(own[0].n_reopened) + 1;
        ensure!(episodes == n_episodes(promise), "{}: {episodes} episodes, not {}", promise.agent, n_episodes(promise));
    }
    ensure!(incidents.iter().all(|incident| incident.rule == "at-once"), "nothing else was raised");
    Ok(())
}

/// Every transition was told at least once; each has one key, however often it was sent.
fn judge_notices(sink: &Sink, promises: &[Promise]) -> Result<()> {
    let expected: u64 = promises.iter().map(|promise| promise.n_issued.div_ceil(RUN).saturating_sub(1)).sum();
    let mut keys = BTreeSet::new();
    let told = wait_for("every notice", PATIENCE, || {
        keys = sink.accepted().into_iter().map(|delivery| delivery.key).collect();
        Ok((keys.len() as u64 >= expected).then_some(keys.len() as u64))
    });
    let told = told.with_context(|| format!("{} of {expected} transitions were told", keys.len()))?;
    ensure!(told == expected, "{told} transitions were told, {expected} happened");
    Ok(())
}

#[test]
fn f02_a_killed_agent_goes_on_and_doubles_nothing() -> Result<()> {
    let rounds = setting("SIGNALBOX_ROUNDS", 8);
    let mut random = Random::new(setting("SIGNALBOX_SEED", 42));
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(&folder.path().join("collector"), &[])?;
    let config = format!("agent_id: killed\ncollector: {}\n", collector.endpoint());
    let mut agent = Agent::start(&folder.path().join("agent"), &config)?;
    let began = now();
    for _ in 0..rounds {
        std::thread::sleep(Duration::from_millis(1500 + random.below(1500)));
        agent.process.kill_9()?;
        agent.restart()?;
    }
    std::thread::sleep(Duration::from_secs(3));
    let client = collector.client();
    let points = wait_for("samples", PATIENCE, || {
        let answer = client.query("node_load1{host=\"killed\"}", began.0, now().0)?;
        Ok(answer.series.into_iter().next().map(|series| series.points).filter(|points| points.len() > 5))
    })?;
    for pair in points.windows(2) {
        let gap = pair[1].0 - pair[0].0;
        ensure!(gap > 0, "two samples at {}", pair[0].0);
        ensure!(gap <= 3_500, "{gap} ms without a sample: more than a kill and one interval explain");
    }
    Ok(())
}

#[test]
fn f03_both_sides_killed_in_turns_lose_and_double_nothing_but_the_kills_of_the_agent() -> Result<()> {
    let rounds = setting("SIGNALBOX_ROUNDS", 4);
    let mut random = Random::new(setting("SIGNALBOX_SEED", 42));
    let folder = tempfile::tempdir()?;
    let mut collector = Collector::start(&folder.path().join("collector"), &[])?;
    let config = format!("agent_id: both\ncollector: {}\n", collector.endpoint());
    let mut agent = Agent::start(&folder.path().join("agent"), &config)?;
    let began = now();
    for _ in 0..rounds {
        std::thread::sleep(Duration::from_millis(1500 + random.below(1000)));
        collector.process.kill_9()?;
        // The agent dies while it keeps what nobody has.
        std::thread::sleep(Duration::from_millis(1500 + random.below(1000)));
        agent.process.kill_9()?;
        agent.restart()?;
        std::thread::sleep(Duration::from_millis(random.below(1000)));
        collector.restart()?;
    }
    let back = now();
    let client = collector.client();
    let points = wait_for("live samples and the backlog", PATIENCE, || {
        let answer = client.query("node_load1{host=\"both\"}", began.0 - 5_000, now().0)?;
        let points = answer.series.into_iter().next().map(|series| series.points).unwrap_or_default();
        let widest = points.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap_or(i64::MAX);
        let is_live = points.last().is_some_and(|(at, _)| *at >= back.0 + 2_000);
        // What the agent kept under a second before its kill may be lost, and the start takes one.
        Ok((is_live && widest <= 3_500).then_some(points))
    })?;
    ensure!(points.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, none twice");
    ensure!(points[0].0 <= began.0 + 3_500, "from the beginning on");
    Ok(())
}
