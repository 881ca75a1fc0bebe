//! What an agent's identity is worth over its life: renewed and rotated without a
//! sample lost, cut when it is revoked, never two at one time.

use crate::common::{Line, PATIENCE, block_on, now, speaker, stored};
use anyhow::{Context, Result, ensure};
use e2e::process::{Agent, Collector, wait_for};
use e2e::speaker::Session;
use e2e::tls::{self, Identity};
use signalbox_proto::api::{AgentIdentity, CaReport, NewJoinToken};
use signalbox_proto::clock::{Clock, SystemClock};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::transport::Channel;

const STEP: Millis = Millis(100);
/// A stream of a revoked agent lives at most this long.
const CUT_WITHIN: Millis = Millis::from_secs(10);

fn token(uses: u32) -> NewJoinToken {
    NewJoinToken { ttl: "1h".to_owned(), uses, labels: BTreeMap::new(), cidrs: Vec::new(), agent: None }
}

async fn joined(collector: &Collector, agent: &str) -> Result<Identity> {
    let made = collector.join_token(&token(1))?;
    let channel = tls::channel(collector.grpc, &collector.ca_pem()?, None).await?;
    Ok(tls::join(channel, &made.secret, agent, now().0).await?)
}

async fn channel(collector: &Collector, identity: &Identity) -> Result<Channel> {
    tls::channel(collector.grpc, &collector.ca_pem()?, Some(identity)).await
}

#[test]
fn a_revoked_agent_is_cut_within_ten_seconds_and_stays_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    block_on(async {
        let collector = Collector::start(folder.path(), &[])?;
        let (identity, other) = (joined(&collector, "revoked").await?, joined(&collector, "other").await?);
        let mut line = over(&collector, &identity, "revoked").await?;
        let mut honest = over(&collector, &other, "other").await?;
        line.send(3, &[1.0]).await?;
        let clock = SystemClock::start();
        let gone = collector.client().post("/agents/revoked/revoke", &serde_json::json!({}))?;
        ensure!(gone.status == 200, "{} {}", gone.status, gone.body);
        let revoked_at = clock.mono();
        let mut n_after = 0u32;
        let cut = loop {
            ensure!(clock.mono() < revoked_at + Millis::from_mins(1), "the stream goes on");
            match tokio::time::timeout(Duration::from_secs(5), line.send(1, &[2.0])).await {
                Ok(Err(error)) => break error,
                Ok(Ok(())) => n_after += 1,
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let took = Millis(clock.mono().0 - revoked_at.0);
        println!("cut {took} after the revocation, {n_after} batches in between");
        ensure!(took <= CUT_WITHIN, "the stream lived for {took}: {cut:#}");
        ensure!(over(&collector, &identity, "revoked").await.is_err(), "and it may not come back");
        honest.send(2, &[1.0]).await.context("others go on")
    })
}

/// A stream of agent `name` with its identity.
async fn over(collector: &Collector, identity: &Identity, name: &str) -> Result<Line> {
    let speaker = speaker(name, 1, 1, STEP.0)?;
    let hello = speaker.hello(now(), vec![1]);
    let session = Session::over(channel(collector, identity).await?, &hello).await?;
    let mut line = Line::of(speaker, session, now(), STEP);
    // The first word is where to resume: a refusal shows here.
    line.session.acked().await?;
    Ok(line)
}

#[test]
fn f25_a_copied_identity_is_refused_beside_the_first_and_told_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    block_on(async {
        let collector = Collector::start(folder.path(), &[])?;
        let identity = joined(&collector, "copied").await?;
        let mut first = over(&collector, &identity, "copied").await?;
        first.send(2, &[1.0]).await?;
        for _ in 0..3 {
            let mut hello = speaker("copied", 2, 1, STEP.0)?.hello(now(), vec![2]);
            hello.boot_id = "another machine".to_owned();
            let refusal = match Session::over(channel(&collector, &identity).await?, &hello).await {
                Ok(mut session) => session.acked().await.err(),
                Err(error) => Some(error),
            };
            let said = format!("{:#}", refusal.context("the newcomer is refused")?);
            ensure!(said.contains("copied"), "the refusal names the agent: {said}");
        }
        first.send(2, &[1.0]).await?;
        let incidents = collector.client().incidents()?;
        let is_told = incidents.iter().any(|incident| incident.rule == "identity-twice");
        ensure!(!is_told, "within 30 s it may be the same host after a reset: {incidents:?}");
        let problems = collector.client().status()?.problems;
        let own = problems.iter().filter(|problem| problem.contains("copied")).count();
        ensure!(own == 1, "the board says so once: {problems:?}");
        Ok(())
    })
}

/// `node_load1` of an agent since `from`, once a second.
fn ticks(collector: &Collector, agent: &str, from: UnixMillis) -> Result<Vec<i64>> {
    let answer = collector.client().query(&format!("node_load1{{host=\"{agent}\"}}"), from.0, now().0)?;
    let points = answer.series.into_iter().flat_map(|series| series.points);
    Ok(points.map(|(at, _)| at).collect())
}

#[test]
fn the_authority_is_rotated_under_a_real_agent_without_a_lost_sample() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut collector = Collector::start(&folder.path().join("collector"), &[])?;
    let made = collector.join_token(&token(1))?;
    let mut agent = Agent::join(&folder.path().join("agent"), "rotated", collector.grpc, &made.secret)?;
    let began = now();
    let first = wait_for("the first samples", PATIENCE, || Ok(ticks(&collector, "rotated", began)?.first().copied()))?;
    let old_root = collector.ca_pem()?;
    let turned = collector.client().post("/ca/rotate", &serde_json::json!({}))?;
    ensure!(turned.status == 200, "rotate: {} {}", turned.status, turned.body);
    let report: CaReport = collector.client().get("/ca")?;
    ensure!(report.roots.len() == 2, "two roots stand: {report:?}");
    // Both sides start again: the agent knows the old root only, the next one signs.
    agent.process.stop(PATIENCE)?;
    agent.restart()?;
    std::thread::sleep(Duration::from_secs(4));
    collector.process.kill_9()?;
    collector.restart()?;
    std::thread::sleep(Duration::from_secs(6));
    let newest = wait_for("samples over the next root", PATIENCE, || {
        let times = ticks(&collector, "rotated", began)?;
        Ok(times.last().copied().filter(|at| now().0 - at < 3_000))
    })?;
    let times = ticks(&collector, "rotated", began)?;
    ensure!(times.first() == Some(&first) && newest > first, "{times:?}");
    for pair in times.windows(2) {
        ensure!(pair[1] - pair[0] <= 2_500, "{} ms without a sample: {times:?}", pair[1] - pair[0]);
    }
    // A host that joins now is bound to the next root, by its pin.
    let token = collector.join_token(&token(1))?;
    let _late = Agent::join(&folder.path().join("late"), "late", collector.grpc, &token.secret)?;
    wait_for("the late agent", PATIENCE, || Ok(ticks(&collector, "late", began)?.first().copied()))?;
    ensure!(report.pem.contains(old_root.trim()), "the old root is still trusted");
    Ok(())
}

#[test]
fn a_real_agent_renews_at_half_of_its_certificates_life_with_a_new_key_and_loses_no_sample() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let collector = Collector::start_with(&folder.path().join("collector"), &[], "tls: {agent_certificate: 2m}")?;
    let made = collector.join_token(&token(1))?;
    let _agent = Agent::join(&folder.path().join("agent"), "renewing", collector.grpc, &made.secret)?;
    let began = now();
    let active = || -> Result<Vec<AgentIdentity>> {
        let keys: Vec<AgentIdentity> = collector.client().get("/agents/keys")?;
        Ok(keys.into_iter().filter(|key| key.agent == "renewing" && key.state == "active").collect())
    };
    let first = wait_for("the key that joined", PATIENCE, || Ok(active()?.pop()))?;
    let left = first.not_after.since(began);
    // Counted from before it was asked for.
    ensure!(left <= Millis::from_mins(2) + Millis::from_secs(10), "{left}");
    let second = wait_for("a new key, alone", Duration::from_secs(100), || {
        Ok(active()?.pop().filter(|key| key.fingerprint != first.fingerprint))
    })?;
    let at = now();
    ensure!(at < first.not_after, "in time: {at:?}, {:?}", first.not_after);
    ensure!(second.not_after.since(first.not_after) >= Millis(20_000), "{first:?} {second:?}");
    // Past the end of the first certificate: what streams now does so by the second.
    std::thread::sleep(first.not_after.since(at).std() + Duration::from_secs(5));
    let times = ticks(&collector, "renewing", began)?;
    ensure!(times.last().is_some_and(|last| now().0 - last < 4_000), "{times:?}");
    for pair in times.windows(2) {
        ensure!(pair[1] - pair[0] <= 2_500, "{} ms without a sample: {times:?}", pair[1] - pair[0]);
    }
    Ok(())
}

#[test]
fn a_key_is_renewed_on_a_standing_stream_and_every_sample_arrives_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    block_on(async {
        let collector = Collector::start(folder.path(), &[])?;
        let first = joined(&collector, "renewed").await?;
        let mut line = over(&collector, &first, "renewed").await?;
        let start = line.at;
        line.send(10, &[1.0]).await?;
        let second = tls::renew(channel(&collector, &first).await?).await?;
        // Until the new key is used the old stream may go on.
        line.send(10, &[1.0]).await?;
        let (speaker, at) = (line.speaker, line.at);
        drop(line.session);
        let hello = speaker.hello(now(), vec![1]);
        let session = Session::over(channel(&collector, &second).await?, &hello).await?;
        let mut line = Line::of(speaker, session, at, STEP);
        line.session.acked().await?;
        line.send(10, &[1.0]).await?;
        let points = stored(&collector.client(), "renewed", 0, start, start + STEP.times(100))?;
        ensure!(points.len() == 30, "{} points, not 30", points.len());
        let stale = over(&collector, &first, "renewed").await;
        ensure!(stale.is_err(), "the old key is worth nothing once the new one was used");
        Ok(())
    })
}
