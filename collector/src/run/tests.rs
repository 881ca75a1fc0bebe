//! The collector put together over a memory store, and what its signals do.

use super::*;
use crate::handle::HandleError;
use crate::store::memory::MemoryStore;
use signalbox_proto::clock::ManualClock;
use std::pin::pin;

/// Real: the writer has a thread of its own. Far over what a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

async fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let look = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("waited for {what}"));
}

#[tokio::test]
async fn a_collector_without_rules_in_force_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("collector.yaml");
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    std::fs::write(
        &file,
        format!(
            "data_dir: {0}\nrules_dir: {0}/rules\nlisten_http: 127.0.0.1:0\nlisten_grpc: 127.0.0.1:0\n",
            folder.path().display()
        ),
    )
    .unwrap();
    let config = Config::read(&file, &crate::config::Overrides::default()).unwrap();
    let checked = reload::check(&config).unwrap();

    let store = Arc::new(MemoryStore::default());
    store.set_full(true);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let shared = Arc::new(Shared::new(Arc::clone(&clock), Arc::clone(&store) as Arc<dyn Store>, Telemetry::default()));
    let (inbox, outbox) = inbox(1 << 20);
    let (sender, notices) = mpsc::channel(16);
    let sealer = Sealer::start(inbox.clone()).unwrap();
    let key = signalbox_access::AuditKey::new([7; 32]);
    let writer = Writer::open(Arc::clone(&shared), sealer, sender, 1000, key, shared.now()).unwrap();
    let (tail, _) = TailRecord::open(folder.path()).unwrap();
    crate::tls::install_provider();
    let tls = Arc::new(Tls::open(folder.path().join("ca"), &config.doors.tls, Arc::clone(&clock)).unwrap());
    let parts = Parts { shared: Arc::clone(&shared), writer, outbox, inbox, notices, tail, tls, clock };
    let listeners = Listeners::open(&config.doors).unwrap();
    let sockets = Sockets::open(&config.doors).unwrap();
    let running = tokio::spawn(serve(config, checked, parts, listeners, sockets));

    wait_for("the problem", || shared.problems().iter().any(|text| text.contains("no rules are in force"))).await;
    assert!(!shared.is_ready(), "it judges nothing");
    store.set_full(false);
    wait_for("readiness", || shared.is_ready()).await;
    assert!(shared.problems().is_empty(), "{:?}", shared.problems());
    running.abort();
}

#[tokio::test]
async fn a_reload_that_waits_keeps_no_end_waiting() {
    let (clock, store) = (Arc::new(ManualClock::default()), Arc::new(MemoryStore::default()));
    let shared = Arc::new(Shared::new(clock, store, Telemetry::default()));
    let (reloads, mut requests) = mpsc::channel(1);
    let handle = Handle::new(shared, inbox(1 << 20).0, reloads);
    let (end, mut ended) = oneshot::channel();
    let mut waiting = pin!(wait(&handle, &mut ended));
    // Once polled it listens: from here on SIGHUP does not end this process.
    tokio::select! {
        biased;
        outcome = &mut waiting => panic!("{outcome:?}"),
        () = std::future::ready(()) => {}
    }
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).unwrap();
    let request = tokio::select! {
        outcome = &mut waiting => panic!("{outcome:?}"),
        request = requests.recv() => request.unwrap(),
    };
    // The reload has no answer so far; the writer ends.
    end.send(Ok(())).unwrap();
    let outcome = tokio::time::timeout(PATIENCE, waiting).await.expect("the end is noticed");
    assert_eq!(outcome, Some(Ok(())));
    drop(request);
}

#[tokio::test(start_paused = true)]
async fn a_proof_and_a_check_that_get_no_place_among_queries_say_so() {
    let (clock, store) = (Arc::new(ManualClock::default()), Arc::new(MemoryStore::default()));
    let shared = Arc::new(Shared::new(clock, store, Telemetry::default()));
    let n_places = u32::try_from(shared.queries().available_permits()).unwrap();
    let taken = shared.queries().acquire_many(n_places).await.unwrap();
    let proof = || crate::explain::run(Arc::clone(&shared), "host/web1:busy".to_owned(), None);
    let check = || crate::explain::check_rules(Arc::clone(&shared), std::collections::BTreeMap::new(), None);
    assert_eq!(proof().await.unwrap_err(), HandleError::Busy);
    assert!(check().await.findings.iter().any(|finding| finding.error), "an empty report would say that all is well");
    drop(taken);
    assert_eq!(proof().await.unwrap_err(), HandleError::TooEarly);
    assert!(check().await.findings.iter().all(|finding| !finding.error));
}
