//! What is in force, and when, while a reload is under way.

use super::*;
use crate::store::memory::MemoryStore;
use crate::telemetry::Telemetry;
use crate::writer::inbox::{Outbox, inbox};
use signalbox_proto::clock::ManualClock;
use std::time::Duration;

fn channel(name: &str) -> String {
    format!("channels:\n  - name: {name}\n    webhook: {{url: \"http://127.0.0.1:9/\"}}\n")
}

/// The rules that the writer is asked to put in force.
async fn asked(outbox: &Outbox) -> oneshot::Sender<()> {
    let look = async {
        loop {
            if let Some(Message::Rules { reply, .. }) = outbox.try_next().map(|queued| queued.message) {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), look).await.expect("the writer is asked")
}

#[tokio::test(start_paused = true)]
async fn channels_follow_the_rules_and_only_when_the_store_took_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("collector.yaml");
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    std::fs::write(&file, format!("data_dir: {0}/data\nrules_dir: {0}/rules\n", folder.path().display())).unwrap();
    std::fs::write(folder.path().join("rules/notify.yaml"), channel("new")).unwrap();
    let config = Config::read(&file, &config::Overrides::default()).unwrap();

    let (clock, store) = (Arc::new(ManualClock::default()), Arc::new(MemoryStore::default()));
    let shared = Arc::new(Shared::new(clock.clone(), store, Telemetry::default()));
    let (inbox, outbox) = inbox(1 << 20);
    let notifiers = Arc::new(Notifiers::new("http://localhost", clock, mpsc::channel(1).0));
    notifiers.configure(&BTreeMap::from([("notify.yaml".to_owned(), channel("old"))])).unwrap();
    let (requests, taken) = mpsc::channel(1);
    crate::tls::install_provider();
    let tls = Tls::open(folder.path().join("ca"), &config.doors.tls, Arc::new(ManualClock::default())).unwrap();
    let (shared_too, notifiers_too) = (Arc::clone(&shared), Arc::clone(&notifiers));
    let reloader = Reloader { config, shared: shared_too, inbox, notifiers: notifiers_too, tls: Arc::new(tls) };
    tokio::spawn(reloader.run(taken));

    let (ask, answer) = oneshot::channel();
    requests.send(ask).await.unwrap();
    let reply = asked(&outbox).await;
    assert_eq!(notifiers.names(), ["old"], "the store is asked first");
    // The store has no space: the writer drops the reply.
    drop(reply);
    assert!(answer.await.unwrap().is_err());
    assert_eq!(notifiers.names(), ["old"], "nothing is half in force");
    assert!(shared.files().is_empty());
    assert!(shared.problems()[0].contains("refused"), "{:?}", shared.problems());

    let (ask, answer) = oneshot::channel();
    requests.send(ask).await.unwrap();
    asked(&outbox).await.send(()).unwrap();
    answer.await.unwrap().unwrap();
    assert_eq!(notifiers.names(), ["new"]);
    assert!(shared.problems().is_empty());
}
