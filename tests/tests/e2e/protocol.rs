//! F25, F26, F28, F29: whatever comes in on the agents' port, nothing dies, nothing
//! is stored twice, and the sender hears what was wrong.

use crate::common::{AT_ONCE, Line, PATIENCE, block_on, now, speaker, stored};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use e2e::process::{Collector, wait_for};
use e2e::speaker::Session;
use signalbox_proto::samples::Batch;
use signalbox_proto::units::Millis;
use signalbox_proto::wire::v1;
use signalbox_proto::wire::v1::stream_request::Message as Said;
use std::io::{Read, Write};
use std::net::TcpStream;

const STEP: Millis = Millis(100);

#[test]
fn f25_batches_that_come_twice_are_stored_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(folder.path(), &[("rules.yaml", AT_ONCE)])?;
    block_on(async {
        let (mut speaker, start) = (speaker("twice", 1, 3, STEP.0)?, now());
        let batches: Vec<Batch> =
            (0..40).map(|i| speaker.batch(start + STEP.times(i), STEP.times(i), &[0.0, 1.0, 2.5])).collect();
        for _ in 0..3 {
            let mut session = Session::open(&collector.endpoint(), &speaker.hello(now(), vec![1])).await?;
            for batch in &batches {
                session.send(batch).await?;
            }
            session.acked_up_to(1, 40).await?;
        }
        let points = stored(&collector.client(), "twice", 2, start, start + STEP.times(100))?;
        ensure!(points.len() == 40, "{} points, not 40", points.len());
        Ok(())
    })
}

/// Opens a stream, says these batches, and gives what the collector ended it with.
async fn refused(collector: &Collector, batches: Vec<v1::Batch>) -> Result<String> {
    let speaker = speaker("bad", 1, 1, STEP.0)?;
    let mut session = Session::open(&collector.endpoint(), &speaker.hello(now(), vec![1])).await?;
    for batch in batches {
        if session.say(Said::Batch(batch)).await.is_err() {
            break;
        }
    }
    let error = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Err(error) = session.acked().await {
                return format!("{error:#}");
            }
        }
    });
    error.await.context("the collector did not end the stream")
}

fn key_batch() -> Result<v1::Batch> {
    Ok(v1::Batch::from(&speaker("bad", 1, 1, STEP.0)?.batch(now(), Millis::ZERO, &[1.0])))
}

#[test]
fn f28_malformed_batches_are_refused_with_the_reason_and_nothing_dies() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut collector = Collector::start(folder.path(), &[])?;
    block_on(async {
        let with = |change: &dyn Fn(&mut v1::Batch)| -> Result<Vec<v1::Batch>> {
            let mut batch = key_batch()?;
            change(&mut batch);
            Ok(vec![batch])
        };
        for (batches, reason) in [
            (with(&|batch| batch.seq = 0)?, "batch seq is 0"),
            (with(&|batch| batch.columns = Bytes::from_static(&[9, 9, 9]))?, "shape 9"),
            (with(&|batch| batch.series[0].labels.clear())?, "__name__"),
            (with(&|batch| batch.series.clear())?, "ref"),
            (with(&|batch| batch.shapes[0].interval_ms = 0)?, "interval is 0"),
            (
                with(&|batch| {
                    batch.seq = 7;
                    batch.key = false;
                })?,
                "7",
            ),
            (with(&|batch| batch.series[0].labels[0].value = "x".repeat(2000))?, "limit of 1024"),
        ] {
            let said = refused(&collector, batches).await?;
            ensure!(said.contains(reason), "expected {reason:?} in {said:?}");
        }
        Ok(())
    })?;
    ensure!(collector.process.is_running(), "the collector lives");
    ensure!(collector.client().is_ready(), "and answers");
    Ok(())
}

#[test]
fn f29_garbage_and_oversize_end_their_own_connection_only() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut collector = Collector::start(folder.path(), &[])?;
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x01\x01"]
    {
        let mut stream = TcpStream::connect(("127.0.0.1", collector.grpc))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let _ = stream.write_all(garbage);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    block_on(async {
        let mut batch = key_batch()?;
        batch.columns = Bytes::from(vec![0; 5 * 1024 * 1024]);
        let said = refused(&collector, vec![batch]).await?;
        ensure!(said.contains("4194304") || said.to_lowercase().contains("large"), "the limit is named: {said}");
        let mut line = Line::open(&collector.endpoint(), speaker("good", 1, 1, STEP.0)?, now(), STEP).await?;
        line.send(3, &[1.0]).await
    })?;
    ensure!(collector.process.is_running(), "the collector lives");
    Ok(())
}

#[test]
fn f26_samples_from_the_far_future_are_refused_and_counted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(folder.path(), &[])?;
    block_on(async {
        let day = Millis::from_mins(24 * 60);
        let (start, mut ahead) = (now(), speaker("ahead", 1, 1, STEP.0)?);
        let mut session = Session::open(&collector.endpoint(), &ahead.hello(now(), vec![1])).await?;
        session.send(&ahead.batch(start, Millis::ZERO, &[1.0])).await?;
        session.send(&ahead.batch(start + day, STEP, &[2.0])).await?;
        session.send(&ahead.batch(start + STEP, STEP.times(2), &[3.0])).await?;
        session.acked_up_to(1, 3).await?;
        let points = stored(&collector.client(), "ahead", 0, start, start + day.times(2))?;
        ensure!(points.iter().map(|(_, value)| *value).collect::<Vec<_>>() == [1.0, 3.0], "{points:?}");
        let metrics = collector.client().send("GET", "/metrics", &[], "")?.body;
        let counted = metrics
            .lines()
            .any(|line| line.starts_with("signalbox_samples_outside_total") && line.trim_end().ends_with(" 1"));
        ensure!(counted, "one rejected sample is counted in /metrics:\n{metrics}");
        Ok(())
    })
}

#[test]
fn f25_a_cloned_identity_is_refused_and_the_first_goes_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start(folder.path(), &[])?;
    block_on(async {
        let mut first = Line::open(&collector.endpoint(), speaker("clone", 1, 1, STEP.0)?, now(), STEP).await?;
        first.send(2, &[1.0]).await?;
        let other = speaker("clone", 2, 1, STEP.0)?;
        let mut hello = other.hello(now(), vec![2]);
        hello.boot_id = "another machine".to_owned();
        let refusal = match Session::open(&collector.endpoint(), &hello).await {
            Ok(mut session) => session.acked_up_to(2, 1).await.err(),
            Err(error) => Some(error),
        };
        let said = format!("{:#}", refusal.context("the newcomer is refused")?);
        ensure!(said.contains("clone"), "the refusal names the agent: {said}");
        first.send(2, &[1.0]).await
    })
}

#[test]
fn f40_a_clock_that_jumps_makes_nothing_red_and_loses_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let rules = crate::common::AFTER_2S;
    let collector = Collector::start(folder.path(), &[("rules.yaml", rules)])?;
    block_on(async {
        let start = now();
        let mut line = Line::open(&collector.endpoint(), speaker("jump", 1, 1, STEP.0)?, start, STEP).await?;
        line.send(5, &[1.0]).await?;
        // Back by five minutes: the agent says so and begins a new epoch.
        let step_ms = -300_000;
        let (mut back, at) = (speaker("jump", 2, 1, STEP.0)?, line.at.shifted(step_ms));
        let mut batch = back.batch(at, STEP.times(6), &[1.0]);
        batch.events.push(signalbox_proto::samples::AgentEvent {
            time: at,
            kind: signalbox_proto::samples::AgentEventKind::ClockStepped { step_ms },
        });
        line.session.send(&batch).await?;
        line.session.send(&back.batch(at + STEP, STEP.times(7), &[0.0])).await?;
        line.session.acked_up_to(2, 2).await?;
        ensure!(
            collector.client().incidents()?.iter().all(|incident| incident.rule != "after-2s"),
            "nothing turned red"
        );
        let points = stored(&collector.client(), "jump", 0, at, start + STEP.times(100))?;
        ensure!(points.len() == 7, "{} points, not 7", points.len());
        Ok(())
    })
}

#[test]
fn an_agent_that_is_gone_is_one_incident_and_its_items_are_grey() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let rules = format!("{AT_ONCE}agents:\n  down_after: 2s\n  start_grace: 1s\n");
    let collector = Collector::start(folder.path(), &[("rules.yaml", &rules)])?;
    block_on(async {
        let mut line = Line::open(&collector.endpoint(), speaker("gone", 1, 1, STEP.0)?, now(), STEP).await?;
        line.send(3, &[0.0]).await?;
        drop(line);
        Ok(())
    })?;
    let client = collector.client();
    let incident = wait_for("the agent's incident", PATIENCE, || Ok(client.incidents()?.into_iter().next()))?;
    ensure!(incident.entity == "host/gone" && incident.item.is_empty(), "{incident:?}");
    let item = client.item("gone")?.context("the item is still shown")?;
    ensure!(item.freshness.is_grey(), "grey over the last level: {item:?}");
    ensure!(client.status()?.counts.green == 0, "silence is never green");
    ensure!(client.incidents()?.len() == 1, "one incident, not one for each item");
    Ok(())
}

#[test]
fn f23_a_storm_of_reconnects_holds_no_honest_agent_up() -> Result<()> {
    const STORM: usize = 50;
    const SERVED_MAX: Millis = Millis::from_secs(2);
    let folder = tempfile::tempdir()?;
    // Each of the storm comes far more often than an agent may without this.
    let often = "limits: {agents: {hellos_per_minute: 100000}}";
    let collector = Collector::start_with(folder.path(), &[("rules.yaml", AT_ONCE)], often)?;
    let endpoint = collector.endpoint();
    block_on(async {
        let mut storm = tokio::task::JoinSet::new();
        for who in 0..STORM {
            let endpoint = endpoint.clone();
            // Each comes, says a little, and is gone, again and again.
            storm.spawn(async move {
                for epoch in 1.. {
                    let speaker = speaker(&format!("storm-{who}"), epoch, 5, STEP.0)?;
                    let mut line = Line::open(&endpoint, speaker, now(), STEP).await?;
                    line.send(1, &[0.0; 5]).await?;
                }
                anyhow::Ok(())
            });
        }
        for round in 1..=5 {
            let began = now();
            let mut honest = Line::open(&endpoint, speaker("honest", round, 1, STEP.0)?, began, STEP).await?;
            honest.send(3, &[0.0]).await?;
            let took = now().since(began);
            ensure!(took < SERVED_MAX, "round {round}: served after {took}");
            tokio::time::sleep(STEP.times(5).std()).await;
        }
        if let Some(ended) = storm.try_join_next() {
            ended.context("a task of the storm panicked")?.context("the storm is served too")?;
        }
        storm.shutdown().await;
        Ok(())
    })?;
    ensure!(collector.client().status().is_ok(), "the board is served");
    Ok(())
}
