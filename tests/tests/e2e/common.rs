//! What several system tests need.

use anyhow::{Context, Result};
use e2e::client::Client;
use e2e::process::Collector;
use e2e::speaker::{Session, Speaker};
use signalbox_proto::clock::{Clock, SystemClock};
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::{Millis, UnixMillis};
use std::time::Duration;

/// Longer than anything that works takes, even on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A rule without clocks on the speakers' first series, told to channel `hook`.
pub(crate) const AT_ONCE: &str = r#"
rules:
  - id: at-once
    selector: e2e_value{i="0"}
    red: ">= 1"
    raise_for: 0s
    clear_for: 0s
    flapping: off
    owner: ops
    sop: look
"#;

/// As [`AT_ONCE`], with two seconds up and two down.
pub(crate) const AFTER_2S: &str = r#"
rules:
  - id: after-2s
    selector: e2e_value{i="0"}
    red: ">= 1"
    raise_for: 2s
    clear_for: 2s
    flapping: off
    owner: ops
    sop: look
"#;

/// Channel `hook` to this URL, told about everything.
pub(crate) fn hook(url: &str) -> String {
    format!("channels:\n  - name: hook\n    webhook: {{url: \"{url}\"}}\nroutes:\n  - channel: hook\n")
}

/// Now, on the machine's clock.
pub(crate) fn now() -> UnixMillis {
    SystemClock::start().wall()
}

/// `e2e_value{host,i}` for a speaker of this name.
pub(crate) fn series(agent: &str, n: usize) -> Result<Vec<Labels>> {
    let one = |i: usize| Labels::series("e2e_value", &[("host", agent), ("i", &i.to_string())]);
    Ok((0..n).map(one).collect::<Result<_, _>>()?)
}

/// A speaker with `n` series at this interval.
pub(crate) fn speaker(agent: &str, epoch: u64, n: usize, interval_ms: u64) -> Result<Speaker> {
    Ok(Speaker::new(AgentId::parse(agent)?, epoch, series(agent, n)?, Millis(interval_ms)))
}

/// Runs async code to its end.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// One speaker with one stream, whose event time is its own.
pub(crate) struct Line {
    pub(crate) speaker: Speaker,
    pub(crate) session: Session,
    pub(crate) at: UnixMillis,
    pub(crate) step: Millis,
    pub(crate) seq: u64,
    mono: Millis,
}

impl Line {
    /// Connects; its samples begin at `at` and are `step` apart.
    pub(crate) async fn open(endpoint: &str, mut speaker: Speaker, at: UnixMillis, step: Millis) -> Result<Line> {
        let hello = speaker.hello(now(), vec![speaker.epoch]);
        speaker.epoch = hello.epochs[0];
        let session = Session::open(endpoint, &hello).await?;
        Ok(Line::of(speaker, session, at, step))
    }

    /// Over a stream that stands.
    pub(crate) fn of(speaker: Speaker, session: Session, at: UnixMillis, step: Millis) -> Line {
        Line { speaker, session, at, step, seq: 0, mono: Millis::ZERO }
    }

    /// Sends the same values `n` times and waits until all are on disk.
    pub(crate) async fn send(&mut self, n: usize, values: &[f64]) -> Result<()> {
        for _ in 0..n {
            let batch = self.speaker.batch(self.at, self.mono, values);
            self.session.send(&batch).await?;
            self.seq = batch.seq;
            self.at = self.at + self.step;
            self.mono = self.mono + self.step;
        }
        self.session.acked_up_to(self.speaker.epoch, self.seq).await.context("wait for the acknowledgement")
    }
}

/// All stored points of one series of a speaker, in time order.
pub(crate) fn stored(
    client: &Client,
    agent: &str,
    i: usize,
    from: UnixMillis,
    to: UnixMillis,
) -> Result<Vec<(i64, f64)>> {
    let answer = client.query(&format!("e2e_value{{host=\"{agent}\",i=\"{i}\"}}"), from.0, to.0)?;
    anyhow::ensure!(answer.warnings.is_empty(), "the answer is not whole: {:?}", answer.warnings);
    let points = answer.series.into_iter().flat_map(|series| series.points);
    Ok(points.map(|(at, value)| (at, value.unwrap_or(f64::NAN))).collect())
}

/// An API token with this role, as an admin of the collector's host makes it.
pub(crate) fn api_token(collector: &Collector, role: &str) -> Result<String> {
    let wanted = serde_json::json!({ "name": format!("e2e-{role}"), "role": role, "ttl": "1h" });
    Ok(e2e::people::api_token(collector, &wanted)?.secret)
}
