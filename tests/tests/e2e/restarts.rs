//! F48: a restart in the middle of every state of an incident changes nothing.

use crate::common::{AFTER_2S, Line, PATIENCE, block_on, hook, now, speaker};
use anyhow::{Result, ensure};
use e2e::process::{Collector, wait_for};
use e2e::sink::Sink;
use signalbox_proto::api::{Incident, IncidentState};
use signalbox_proto::units::{Millis, UnixMillis};
use std::path::Path;

/// Ten samples a second.
const STEP: Millis = Millis(100);

struct Scene {
    collector: Collector,
    sink: Sink,
    line: Line,
}

impl Scene {
    async fn begin(folder: &Path) -> Result<Scene> {
        let sink = Sink::start()?;
        let rules = [("rules.yaml", AFTER_2S), ("notify.yaml", &hook(&sink.url()))];
        let collector = Collector::start(folder, &rules)?;
        let line = Line::open(&collector.endpoint(), speaker("f48", 1, 2, STEP.0)?, now(), STEP).await?;
        Ok(Scene { collector, sink, line })
    }

    /// `kill -9`, start, and the agent goes on in a new epoch, a step later.
    async fn kill_and_go_on(&mut self) -> Result<()> {
        self.collector.process.kill_9()?;
        self.collector.restart()?;
        let next = speaker("f48", self.line.speaker.epoch + 1, 2, STEP.0)?;
        self.line = Line::open(&self.collector.endpoint(), next, self.line.at, STEP).await?;
        Ok(())
    }

    async fn bad(&mut self, n: usize) -> Result<()> {
        self.line.send(n, &[1.0, 0.0]).await
    }

    async fn good(&mut self, n: usize) -> Result<()> {
        self.line.send(n, &[0.0, 0.0]).await
    }

    /// The only incident there is, once it stands as wanted: the board follows the
    /// acknowledgement by up to 200 ms.
    fn incident(&self, wanted: IncidentState) -> Result<Incident> {
        let client = self.collector.client();
        wait_for("the incident", PATIENCE, || {
            let mut incidents = client.incidents()?;
            ensure!(incidents.len() <= 1, "{} incidents, not one: {incidents:?}", incidents.len());
            Ok(incidents.pop().filter(|incident| incident.state == wanted))
        })
    }

    fn told(&self, n: usize) -> Result<()> {
        let told = wait_for("the notices", PATIENCE, || {
            let told = self.sink.accepted();
            Ok((told.len() >= n).then_some(told.len()))
        })?;
        ensure!(told == n, "{told} notices, not {n}");
        Ok(())
    }
}

#[test]
fn f48_pending_goes_on_from_its_start() -> Result<()> {
    let folder = tempfile::tempdir()?;
    block_on(async {
        let mut scene = Scene::begin(folder.path()).await?;
        scene.good(5).await?;
        let first_bad: UnixMillis = scene.line.at;
        scene.bad(10).await?;
        ensure!(scene.collector.client().incidents()?.is_empty(), "one second of two has passed");
        scene.kill_and_go_on().await?;
        scene.bad(11).await?;
        let incident = scene.incident(IncidentState::Detected)?;
        ensure!(incident.first_symptom == first_bad, "first symptom survived the restart");
        ensure!(
            incident.detected.since(first_bad) == Millis::from_secs(2),
            "held two seconds after the first bad sample"
        );
        scene.told(1)
    })
}

#[test]
fn f48_open_acknowledged_and_snoozed_survive() -> Result<()> {
    let folder = tempfile::tempdir()?;
    block_on(async {
        let mut scene = Scene::begin(folder.path()).await?;
        scene.bad(25).await?;
        scene.told(1)?;
        scene.kill_and_go_on().await?;
        scene.bad(5).await?;
        let incident = scene.incident(IncidentState::Detected)?;
        let client = scene.collector.client();
        let act = serde_json::json!({ "text": "mine" });
        let path = format!("/incidents/{}/ack", incident.number);
        ensure!(client.post(&path, &act)?.status == 200, "acknowledged");
        let snooze = serde_json::json!({ "scope": "host/f48", "for": "1h", "reason": "work" });
        ensure!(client.post("/snoozes", &snooze)?.status == 200, "snoozed");
        scene.kill_and_go_on().await?;
        scene.bad(5).await?;
        let incident = scene.incident(IncidentState::Acknowledged)?;
        ensure!(incident.acknowledged_by.starts_with("local:"), "by whom the kernel says: {incident:?}");
        let item = wait_for("the item", PATIENCE, || client.item("f48"))?;
        ensure!(item.snoozes.len() == 1, "the snooze is in force: {item:?}");
        scene.good(25).await?;
        scene.incident(IncidentState::Restored)?;
        scene.told(1)
    })
}

#[test]
fn f48_pending_down_goes_on_and_restores_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    block_on(async {
        let mut scene = Scene::begin(folder.path()).await?;
        scene.bad(25).await?;
        scene.good(10).await?;
        let incident = scene.incident(IncidentState::Detected)?;
        ensure!(incident.restored.is_none(), "one second of two has passed");
        scene.kill_and_go_on().await?;
        scene.good(12).await?;
        scene.incident(IncidentState::Restored)?;
        scene.told(2)?;
        scene.kill_and_go_on().await?;
        scene.good(5).await?;
        scene.told(2)
    })
}

#[test]
fn f48_a_notice_that_could_not_be_sent_is_sent_after_the_restart_with_its_key() -> Result<()> {
    let folder = tempfile::tempdir()?;
    block_on(async {
        let mut scene = Scene::begin(folder.path()).await?;
        scene.sink.answer_with(503);
        scene.bad(25).await?;
        wait_for("a refused attempt", PATIENCE, || Ok(scene.sink.deliveries().into_iter().next()))?;
        scene.kill_and_go_on().await?;
        scene.sink.answer_with(200);
        scene.told(1)?;
        let keys: std::collections::BTreeSet<String> =
            scene.sink.deliveries().into_iter().map(|delivery| delivery.key).collect();
        ensure!(keys.len() == 1 && !keys.contains(""), "one transition, one key: {keys:?}");
        Ok(())
    })
}
