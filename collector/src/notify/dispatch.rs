//! Lanes: who tries which notice, and how many at a time.
//!
//! Each channel has [`LANES`] lanes, tasks that try one notice after the other; an
//! incident always takes the same lane. So at most [`LANES`] attempts of a channel
//! are under way at once, the order within an incident holds, and no channel can
//! use up what another needs. A queue that is full answers at once with a failed
//! attempt: the engine offers the notice again.

use crate::notify::config::{self, Channel, ChannelKind};
use crate::notify::email::Email;
use crate::notify::webhook::Webhook;
use crate::notify::{Notifier, one_line};
use metrics::{counter, gauge, histogram};
use signalbox_engine::decision::Notice;
use signalbox_engine::event::DeliveryOutcome;
use signalbox_proto::api::{Finding, NotifyTest};
use signalbox_proto::clock::Clock;
use signalbox_proto::status::{Layer, Level};
use signalbox_proto::units::UnixMillis;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::mpsc;

/// Attempts of one channel under way at the same time.
pub const LANES: usize = 8;
/// Notices that wait in one lane. The outbox on disk holds the rest.
pub const LANE_QUEUE_MAX: usize = 32;

/// What came of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Idempotency key of the notice.
    pub key: String,
    /// What came of it.
    pub outcome: DeliveryOutcome,
}

/// All channels in force.
pub struct Notifiers {
    external_url: String,
    clock: Arc<dyn Clock>,
    deliveries: mpsc::Sender<Delivery>,
    channels: RwLock<BTreeMap<String, Lanes>>,
}

/// One channel: its notifier and the queues in front of it.
struct Lanes {
    notifier: Arc<dyn Notifier>,
    queues: Vec<mpsc::Sender<Notice>>,
}

impl Notifiers {
    /// No channels so far. `external_url`: where people find this collector
    /// (`http://127.0.0.1:8420`); reports go to `deliveries`.
    pub fn new(external_url: &str, clock: Arc<dyn Clock>, deliveries: mpsc::Sender<Delivery>) -> Notifiers {
        let external_url = external_url.trim_end_matches('/').to_owned();
        Notifiers { external_url, clock, deliveries, channels: RwLock::default() }
    }

    /// The channels of these configuration files are in force from here on. What
    /// waits in lanes of the old ones is still tried. Must be called in a runtime.
    ///
    /// # Errors
    /// What is wrong with the files; the old channels then stay in force.
    pub fn configure(&self, files: &BTreeMap<String, String>) -> Result<(), Vec<Finding>> {
        self.put_in_force(self.prepare(files)?);
        Ok(())
    }

    /// The channels of these files, ready to be put in force. Changes nothing.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub(crate) fn prepare(&self, files: &BTreeMap<String, String>) -> Result<Prepared, Vec<Finding>> {
        prepare(files, &self.external_url)
    }

    /// These channels are in force from here on. Must be called in a runtime.
    pub(crate) fn put_in_force(&self, prepared: Prepared) {
        let mut channels = BTreeMap::new();
        for (name, notifier) in prepared {
            let lanes = self.open(&name, notifier);
            channels.insert(name, lanes);
        }
        // A guard poisoned by a panic elsewhere still guards whole channels: they are swapped in one step.
        *self.channels.write().unwrap_or_else(PoisonError::into_inner) = channels;
    }

    /// Names of the channels in force, sorted.
    pub fn names(&self) -> Vec<String> {
        self.channels.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Takes notices until nobody can send any more.
    pub async fn run(&self, mut notices: mpsc::Receiver<Notice>) {
        while let Some(notice) = notices.recv().await {
            if let Err(delivery) = self.offer(notice)
                && self.deliveries.send(*delivery).await.is_err()
            {
                return;
            }
        }
    }

    /// Puts a notice into its lane, or says at once why it cannot be tried.
    fn offer(&self, notice: Notice) -> Result<(), Box<Delivery>> {
        let channels = self.channels.read().unwrap_or_else(PoisonError::into_inner);
        let failed =
            |key: String, error: String| Err(Box::new(Delivery { key, outcome: DeliveryOutcome::Failed { error } }));
        let Some(lanes) = channels.get(&notice.channel) else {
            // Not refused: the channel may come back with the next reload.
            return failed(notice.key, format!("there is no channel {}", notice.channel));
        };
        let n_lanes = u64::try_from(lanes.queues.len()).expect("a handful of lanes");
        let lane = usize::try_from(notice.incident_number % n_lanes).expect("smaller than the number of lanes");
        match lanes.queues[lane].try_send(notice) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(notice) | mpsc::error::TrySendError::Closed(notice)) => {
                counter!("signalbox_notify_queue_full_total", "channel" => notice.channel.clone()).increment(1);
                failed(notice.key, format!("{LANE_QUEUE_MAX} notices wait for channel {} already", notice.channel))
            }
        }
    }

    fn open(&self, channel: &str, notifier: Arc<dyn Notifier>) -> Lanes {
        let open_lane = |_| {
            let (queue, notices) = mpsc::channel(LANE_QUEUE_MAX);
            let lane = Lane {
                channel: channel.to_owned(),
                notifier: Arc::clone(&notifier),
                clock: Arc::clone(&self.clock),
                deliveries: self.deliveries.clone(),
            };
            tokio::spawn(lane.run(notices));
            queue
        };
        let queues = (0..LANES).map(open_lane).collect();
        Lanes { notifier, queues }
    }

    /// Sends a marked message by the same renderer, connection and signature as any
    /// other, and says what the server said. None: there is no such channel.
    pub async fn test(&self, channel: &str) -> Option<NotifyTest> {
        let notifier = {
            let channels = self.channels.read().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&channels.get(channel)?.notifier)
        };
        let began = self.clock.mono();
        let outcome = notifier.notify(&test_notice(channel, self.clock.wall())).await;
        let took_ms = self.clock.mono().0.saturating_sub(began.0);
        let (accepted, answer) = match outcome {
            DeliveryOutcome::Accepted { answer } => (true, answer),
            DeliveryOutcome::Failed { error } | DeliveryOutcome::Refused { error } => (false, error),
        };
        Some(NotifyTest { channel: channel.to_owned(), accepted, answer, took_ms })
    }
}

/// Checks the channels of these files whole, secrets and TLS included, without
/// putting them in force.
///
/// # Errors
/// What is wrong with them.
pub fn check(files: &BTreeMap<String, String>) -> Result<(), Vec<Finding>> {
    prepare(files, "http://localhost").map(|_| ())
}

/// Channels by name, checked.
pub(crate) type Prepared = Vec<(String, Arc<dyn Notifier>)>;

fn prepare(files: &BTreeMap<String, String>, external_url: &str) -> Result<Prepared, Vec<Finding>> {
    let channels = config::parse(files)?;
    let refused = |name: &str, error: &dyn std::error::Error| {
        let message = one_line(&format!("channel {name}: {error}"), 500);
        let remedy = "install the package ca-certificates, or use a receiver on this host".to_owned();
        vec![Finding { error: true, file: String::new(), line: 0, column: 0, message, remedy }]
    };
    let mut prepared: Prepared = Vec::with_capacity(channels.len());
    for Channel { name, kind } in channels {
        let notifier: Arc<dyn Notifier> = match kind {
            ChannelKind::Webhook(webhook) => {
                Arc::new(Webhook::new(&name, webhook, external_url).map_err(|error| refused(&name, &error))?)
            }
            ChannelKind::Email(email) => {
                Arc::new(Email::new(email, external_url).map_err(|error| refused(&name, &error))?)
            }
        };
        prepared.push((name, notifier));
    }
    Ok(prepared)
}

/// One lane of a channel.
struct Lane {
    channel: String,
    notifier: Arc<dyn Notifier>,
    clock: Arc<dyn Clock>,
    deliveries: mpsc::Sender<Delivery>,
}

impl Lane {
    async fn run(self, mut notices: mpsc::Receiver<Notice>) {
        let under_way = gauge!("signalbox_notify_attempts_under_way", "channel" => self.channel.clone());
        while let Some(notice) = notices.recv().await {
            let began = self.clock.mono();
            under_way.increment(1.0);
            let outcome = self.notifier.notify(&notice).await;
            under_way.decrement(1.0);
            let took_ms = self.clock.mono().0.saturating_sub(began.0);
            self.count(&notice, &outcome, took_ms);
            if self.deliveries.send(Delivery { key: notice.key, outcome }).await.is_err() {
                return;
            }
        }
    }

    fn count(&self, notice: &Notice, outcome: &DeliveryOutcome, took_ms: u64) {
        let word = match outcome {
            DeliveryOutcome::Accepted { .. } => "accepted",
            DeliveryOutcome::Failed { .. } => "failed",
            DeliveryOutcome::Refused { .. } => "refused",
        };
        let (channel, incident) = (self.channel.as_str(), notice.incident.as_str());
        counter!("signalbox_notify_attempts_total", "channel" => channel.to_owned(), "outcome" => word).increment(1);
        // Attempts are limited to minutes: the conversion is exact.
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52 ms")]
        histogram!("signalbox_notify_attempt_seconds", "channel" => channel.to_owned()).record(took_ms as f64 / 1000.0);
        match outcome {
            DeliveryOutcome::Accepted { answer } => {
                tracing::info!(channel, incident, transition = notice.transition, took_ms, answer, "notice accepted");
            }
            DeliveryOutcome::Failed { error } => {
                tracing::warn!(
                    channel,
                    incident,
                    transition = notice.transition,
                    took_ms,
                    error,
                    "notice not delivered"
                );
            }
            DeliveryOutcome::Refused { error } => {
                tracing::error!(channel, incident, transition = notice.transition, took_ms, error, "notice refused");
            }
        }
    }
}

/// Marked so that nobody gets up for it.
fn test_notice(channel: &str, now: UnixMillis) -> Notice {
    Notice {
        key: format!("test-{channel}-{}", now.0),
        channel: channel.to_owned(),
        transition: "test".to_owned(),
        attempt: 1,
        at: now,
        incident: "TEST".to_owned(),
        incident_number: 0,
        level: Level::Amber,
        was: Level::Green,
        title: format!("[TEST] message to channel {channel}"),
        why: "somebody asked for a test; nothing is wrong".to_owned(),
        rule: "signalbox-test".to_owned(),
        entity: "collector".to_owned(),
        item: String::new(),
        layer: Layer::Machine,
        owner: String::new(),
        sop: "nothing to do".to_owned(),
        value: None,
        labels: Vec::new(),
        first_symptom: now,
        detected: now,
        restored: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::testing::notice;
    use async_trait::async_trait;
    use signalbox_proto::clock::ManualClock;
    use std::sync::Mutex;
    use tokio::sync::Semaphore;

    /// Writes down what it is told and answers when it is let.
    struct Told {
        keys: Mutex<Vec<String>>,
        let_go: Semaphore,
    }

    impl Told {
        fn new(permits: usize) -> Arc<Told> {
            Arc::new(Told { keys: Mutex::default(), let_go: Semaphore::new(permits) })
        }
    }

    #[async_trait]
    impl Notifier for Told {
        async fn notify(&self, notice: &Notice) -> DeliveryOutcome {
            self.keys.lock().unwrap().push(notice.key.clone());
            self.let_go.acquire().await.unwrap().forget();
            DeliveryOutcome::Accepted { answer: "ok".to_owned() }
        }
    }

    fn notifiers(channels: &[(&str, Arc<Told>)]) -> (Notifiers, mpsc::Receiver<Delivery>) {
        let (deliveries, reports) = mpsc::channel(1024);
        let notifiers = Notifiers::new("http://x/", Arc::new(ManualClock::default()), deliveries);
        for (name, told) in channels {
            let told: Arc<Told> = Arc::clone(told);
            let lanes = notifiers.open(name, told);
            notifiers.channels.write().unwrap().insert((*name).to_owned(), lanes);
        }
        (notifiers, reports)
    }

    fn numbered(channel: &str, incident: u64, key: &str) -> Notice {
        Notice { channel: channel.to_owned(), incident_number: incident, key: key.to_owned(), ..notice() }
    }

    #[tokio::test]
    async fn a_slow_channel_delays_no_other_and_every_notice_is_reported_once() {
        let (slow, quick) = (Told::new(0), Told::new(1000));
        let (notifiers, mut reports) = notifiers(&[("slow", Arc::clone(&slow)), ("quick", quick)]);
        for incident in 0..20 {
            notifiers.offer(numbered("slow", incident, &format!("s{incident}"))).unwrap();
            notifiers.offer(numbered("quick", incident, &format!("q{incident}"))).unwrap();
        }
        let mut keys = Vec::new();
        for _ in 0..20 {
            keys.push(reports.recv().await.unwrap().key);
        }
        assert!(keys.iter().all(|key| key.starts_with('q')), "{keys:?}");
        assert_eq!(slow.keys.lock().unwrap().len(), LANES, "no more attempts under way than lanes");
        slow.let_go.add_permits(1000);
        let mut late = Vec::new();
        for _ in 0..20 {
            late.push(reports.recv().await.unwrap().key);
        }
        late.sort();
        late.dedup();
        assert_eq!(late.len(), 20);
    }

    #[tokio::test]
    async fn notices_of_one_incident_keep_their_order() {
        let told = Told::new(1000);
        let (notifiers, mut reports) = notifiers(&[("hook", Arc::clone(&told))]);
        for step in 0..10 {
            notifiers.offer(numbered("hook", 17, &format!("k{step}"))).unwrap();
        }
        for _ in 0..10 {
            reports.recv().await.unwrap();
        }
        let keys = told.keys.lock().unwrap().clone();
        assert_eq!(keys, (0..10).map(|step| format!("k{step}")).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_full_queue_and_a_missing_channel_are_failed_attempts() {
        let (notifiers, _reports) = notifiers(&[("hook", Told::new(0))]);
        let fits = LANE_QUEUE_MAX;
        for n in 0..fits {
            notifiers.offer(numbered("hook", 17, &format!("k{n}"))).unwrap();
        }
        let over = notifiers.offer(numbered("hook", 17, "over")).unwrap_err();
        assert_eq!(over.key, "over");
        assert!(matches!(over.outcome, DeliveryOutcome::Failed { error } if error.contains("32 notices wait")));
        let gone = notifiers.offer(numbered("gone", 17, "gone")).unwrap_err();
        assert!(matches!(gone.outcome, DeliveryOutcome::Failed { error } if error == "there is no channel gone"));
    }

    #[tokio::test]
    async fn a_test_takes_the_same_path_and_is_marked() {
        let told = Told::new(1);
        let (notifiers, _reports) = notifiers(&[("hook", Arc::clone(&told))]);
        let answer = notifiers.test("hook").await.unwrap();
        assert!(answer.accepted);
        assert_eq!(answer.answer, "ok");
        assert!(notifiers.test("nobody").await.is_none());
        assert!(test_notice("hook", UnixMillis(0)).title.starts_with("[TEST]"));
    }

    #[tokio::test]
    async fn broken_channels_leave_the_old_ones_in_force() {
        let (notifiers, _reports) = notifiers(&[("hook", Told::new(0))]);
        let files = |text: &str| BTreeMap::from([("notify.yaml".to_owned(), text.to_owned())]);
        assert!(notifiers.configure(&files("channels:\n  - name: x\n")).is_err());
        assert_eq!(notifiers.names(), ["hook"]);
        notifiers
            .configure(&files("channels:\n  - name: local\n    webhook: {url: \"http://127.0.0.1:9/\"}\n"))
            .unwrap();
        assert_eq!(notifiers.names(), ["local"]);
    }
}
