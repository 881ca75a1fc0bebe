//! What is said about each way in which a collector is not reached.

use super::testing::{DAY, FakeCollector, NOW};
use super::*;
use crate::identity::testing::Authority;
use signalbox_proto::clock::ManualClock;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

/// What a program that answers a connection does with it.
#[derive(Clone, Copy)]
enum Manner {
    Silent,
    HangsUp,
    SaysHttp,
}

async fn other_program(manner: Manner) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut tcp, _)) = listener.accept().await {
            match manner {
                Manner::Silent => held.push(tcp),
                Manner::HangsUp => drop(tcp),
                Manner::SaysHttp => tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap(),
            }
        }
    });
    address
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::parse(&format!("https://{address}")).unwrap()
}

async fn reach(endpoint: &Endpoint, trust: Trust, clock: Arc<ManualClock>) -> Result<Http2, String> {
    let clock: Arc<dyn Clock> = clock;
    let connected = connect(endpoint, trust, None, &clock, Pace::Calls).await;
    connected.map_err(|error| crate::sampler::chain(&error))
}

/// The refusal holds each of `parts`.
async fn refuses(address: SocketAddr, trust: Trust, clock: Arc<ManualClock>, parts: &[&str]) {
    let error = reach(&endpoint(address), trust, clock).await.unwrap_err();
    for part in parts {
        assert!(error.contains(part), "{part:?} is missing in:\n{error}");
    }
}

#[tokio::test]
async fn a_collector_is_reached_by_its_pin_and_by_its_root() {
    let collector = FakeCollector::new();
    let to = endpoint(collector.listen().await);
    reach(&to, Trust::Pin(collector.ca.pin()), collector.clock.clone()).await.unwrap();
    reach(&to, Trust::Roots(vec![collector.ca.der()]), collector.clock.clone()).await.unwrap();
    reach(&to, Trust::Anybody, collector.clock.clone()).await.unwrap();
}

#[tokio::test]
async fn another_ca_is_refused_by_pin_and_by_root() {
    let collector = FakeCollector::new();
    let foreign = Authority::new("signalbox", NOW);
    let address = collector.listen_with(collector.tls(&foreign, &["127.0.0.1"])).await;
    let clock = &collector.clock;
    let (wanted, shown) = (collector.ca.pin().to_string(), foreign.pin().to_string());
    let parts = ["is not the collector of this token", &wanted, &shown];
    refuses(address, Trust::Pin(collector.ca.pin()), clock.clone(), &parts).await;
    let parts = ["not from this installation", "CN=signalbox", &shown, "join again with --replace"];
    refuses(address, Trust::Roots(vec![collector.ca.der()]), clock.clone(), &parts).await;
}

#[tokio::test]
async fn a_pinned_ca_beside_a_foreign_certificate_is_refused() {
    // The attacker has no key of the CA, but shows its certificate.
    let collector = FakeCollector::new();
    let foreign = Authority::new("signalbox", NOW);
    let (_, mut chain, key) = foreign.server(&["127.0.0.1"], NOW, NOW + DAY);
    chain[1] = collector.ca.der();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap().with_no_client_auth();
    let mut tls = builder.with_single_cert(chain, key).unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let address = collector.listen_with(Arc::new(tls)).await;
    let parts = ["not from this installation"];
    refuses(address, Trust::Pin(collector.ca.pin()), collector.clock.clone(), &parts).await;
}

#[tokio::test]
async fn another_name_is_refused_with_the_names_that_there_are() {
    let collector = FakeCollector::new();
    let address = collector.listen_with(collector.tls(&collector.ca, &["c.example", "10.0.0.1"])).await;
    let parts = ["is not for 127.0.0.1, but for c.example, 10.0.0.1", "tls.names"];
    refuses(address, Trust::Pin(collector.ca.pin()), collector.clock.clone(), &parts).await;
}

#[tokio::test]
async fn a_clock_far_off_is_named_with_both_times() {
    let collector = FakeCollector::new();
    let address = collector.listen().await;
    let early = Arc::new(ManualClock::at(NOW - DAY.times(40)));
    let parts = ["begins on 2025-11-23 16:00 UTC", "clock says 2025-10-15 16:00 UTC", "set the clock of this host"];
    refuses(address, Trust::Pin(collector.ca.pin()), early, &parts).await;
    let late = Arc::new(ManualClock::at(NOW + DAY.times(40)));
    refuses(address, Trust::Pin(collector.ca.pin()), late, &["ended on 2025-12-24", "set the clock"]).await;
}

#[tokio::test]
async fn what_answers_but_is_no_collector_is_told_apart() {
    let collector = FakeCollector::new();
    let (clock, trust) = (&collector.clock, Trust::Pin(collector.ca.pin()));
    let address = other_program(Manner::SaysHttp).await;
    refuses(address, trust.clone(), clock.clone(), &["answers, but not in TLS"]).await;
    let address = other_program(Manner::HangsUp).await;
    refuses(address, trust.clone(), clock.clone(), &["ended the connection instead of answering TLS"]).await;
    let address = other_program(Manner::Silent).await;
    let parts = ["takes the connection but does not answer TLS within 5s", "firewall"];
    refuses(address, trust.clone(), clock.clone(), &parts).await;
    let mut tls = (*collector.tls(&collector.ca, &["127.0.0.1"])).clone();
    for protocols in [vec![], vec![b"http/1.1".to_vec()]] {
        tls.alpn_protocols = protocols;
        let address = collector.listen_with(Arc::new(tls.clone())).await;
        refuses(address, trust.clone(), clock.clone(), &["not HTTP/2", "proxy"]).await;
    }
}

#[tokio::test]
async fn what_does_not_answer_at_all_is_told_apart() {
    let collector = FakeCollector::new();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let trust = Trust::Pin(collector.ca.pin());
    refuses(closed, trust.clone(), collector.clock.clone(), &["nothing listens there", "listen_grpc"]).await;
    let nowhere = Endpoint::parse("https://nowhere.invalid").unwrap();
    let error = reach(&nowhere, trust.clone(), collector.clock.clone()).await.unwrap_err();
    assert!(error.contains("find the address of nowhere.invalid") && error.contains("DNS"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let socket = Endpoint::Unix(dir.path().join("agent.sock"));
    let error = reach(&socket, trust, collector.clock.clone()).await.unwrap_err();
    assert!(error.contains("is a collector running on this host"), "{error}");
}

#[tokio::test]
async fn a_dead_address_does_not_hide_the_next() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let alive = listener.local_addr().unwrap();
    assert_eq!(dial(&[dead, alive]).await.unwrap().1, alive);
    assert!(matches!(dial(&[alive, dead]).await, Ok((_, to)) if to == alive));
    assert!(dial(&[]).await.is_err());
}
