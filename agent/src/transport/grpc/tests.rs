//! The stream against a collector on loopback: who it is let in as, and how a
//! certificate changes under it.

use super::*;
use crate::identity::testing::Authority;
use crate::net::testing::{DAY, FakeCollector, NOW};
use signalbox_proto::clock::ManualClock;
use signalbox_proto::join::Fingerprint;
use signalbox_proto::join::Refusal;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::samples::Hello;
use signalbox_proto::units::{Millis, UnixMillis};

#[test]
fn only_a_malformed_message_is_told_apart() {
    let told = |code| -> Failure { Told { code, message: "x".to_owned() }.into() };
    assert!(is_invalid(told(Code::InvalidArgument).as_ref()));
    assert!(!is_invalid(told(Code::FailedPrecondition).as_ref()));
    assert_eq!(told(Code::Aborted).to_string(), format!("{}: x", Code::Aborted));
}

fn hello() -> Frame {
    Frame::hello(&Hello {
        agent: AgentId::parse("web-1").unwrap(),
        boot_id: String::new(),
        version: String::new(),
        labels: Labels::default(),
        capabilities: Vec::new(),
        epochs: vec![7],
        wall: NOW,
        checks: Vec::new(),
    })
}

/// A joined agent: its transport, and the key that it joined with.
struct Joined {
    dir: tempfile::TempDir,
    collector: FakeCollector,
    endpoint: Endpoint,
    transport: GrpcTransport,
    key: Fingerprint,
}

async fn joined() -> Joined {
    let collector = FakeCollector::new();
    let dir = tempfile::tempdir().unwrap();
    let transport = GrpcTransport::new(dir.path(), collector.clock.clone());
    let folder = transport.way.credentials.folder().clone();
    let key = folder.next_key().unwrap();
    folder.install(&key, &collector.ca.agent(&key, "web-1", NOW, NOW + DAY.times(7)), &collector.ca.pem()).unwrap();
    let endpoint = Endpoint::parse(&format!("https://{}", collector.listen().await)).unwrap();
    Joined { dir, collector, endpoint, transport, key: key.fingerprint() }
}

impl Joined {
    fn at(&self) -> Instant {
        Instant { wall: self.collector.clock.wall(), mono: self.collector.clock.mono() }
    }

    /// Opens a stream; the first word of the collector, or why there is none.
    async fn dial(&mut self) -> Result<Link, String> {
        let mut link = self.transport.dial(&self.endpoint, hello());
        match link.incoming.recv().await.unwrap() {
            Incoming::Opened => self.transport.opened(),
            Incoming::Closed(Ended::Lost(why) | Ended::Invalid(why)) => return Err(why),
            Incoming::Message(message) => panic!("{message:?}"),
        }
        match link.incoming.recv().await.unwrap() {
            Incoming::Message(FromCollector::Ack { epoch: 7, seq: 0 }) => Ok(link),
            Incoming::Closed(Ended::Lost(why) | Ended::Invalid(why)) => Err(why),
            other => panic!("{other:?}"),
        }
    }

    /// Tends until the renewal that is on its way has ended. True when it succeeded.
    async fn renewed(&mut self) -> bool {
        assert!(!self.transport.tend(&self.endpoint.clone(), self.at()), "it has only begun");
        assert!(self.transport.renewing.is_some(), "a renewal is due");
        while self.transport.renewing.is_some() {
            tokio::task::yield_now().await;
            if self.transport.tend(&self.endpoint.clone(), self.at()) {
                return true;
            }
        }
        false
    }
}

#[tokio::test]
async fn the_stream_is_opened_with_the_agents_key() {
    let mut world = joined().await;
    let _link = world.dial().await.unwrap();
    assert_eq!(world.collector.state().streams, [(Some(world.key), "web-1".to_owned())]);
    assert!(!world.transport.tend(&world.endpoint.clone(), world.at()));
    assert!(world.transport.renewing.is_none(), "nothing is due on the first day");
}

#[tokio::test]
async fn an_agent_that_has_not_joined_says_so_and_takes_an_identity_up_as_it_comes() {
    let mut world = joined().await;
    let identity = world.dir.path().join("identity");
    let away = world.dir.path().join("away");
    std::fs::rename(&identity, &away).unwrap();
    let why = world.dial().await.unwrap_err();
    assert!(why.contains("no identity in") && why.contains("signalbox-agent join"), "{why}");
    assert!(world.collector.state().streams.is_empty());
    std::fs::rename(&away, &identity).unwrap();
    world.dial().await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_renewed_with_a_new_key_and_the_next_stream_shows_it() {
    let mut world = joined().await;
    let _link = world.dial().await.unwrap();
    world.collector.clock.advance(DAY.times(5));
    assert!(world.renewed().await);
    let (old, new) = world.collector.state().renewals[0];
    assert_eq!(old, world.key);
    assert_ne!(new, old);
    let _link = world.dial().await.unwrap();
    assert_eq!(world.collector.state().streams.iter().map(|(key, _)| key.unwrap()).collect::<Vec<_>>(), [old, new]);
    assert!(!world.transport.tend(&world.endpoint.clone(), world.at()));
    assert!(world.transport.renewing.is_none(), "the new one is young");
}

#[tokio::test]
async fn a_renewal_that_fails_keeps_the_old_certificate_and_asks_again_with_the_same_key() {
    let mut world = joined().await;
    let _link = world.dial().await.unwrap();
    world.collector.clock.advance(DAY.times(5));
    world.collector.state().refuses = Some(Refusal::TooMany);
    assert!(!world.renewed().await);
    let waiting = world.transport.way.credentials.folder().next_key().unwrap().fingerprint();
    let at = world.at();
    assert!(!world.transport.tend(&world.endpoint.clone(), at) && world.transport.renewing.is_none(), "not at once");
    let _link = world.dial().await.unwrap();
    world.collector.state().refuses = None;
    world.collector.clock.advance(Millis::from_mins(1));
    assert!(world.renewed().await);
    assert_eq!(world.collector.state().renewals, [(world.key, waiting)]);
}

#[tokio::test]
async fn a_certificate_that_is_over_is_renewed_before_the_stream() {
    let mut world = joined().await;
    // The agent slept; the collector takes a known key that is over for enrolment.
    let late = Arc::new(ManualClock::at(NOW + DAY.times(20)));
    world.transport.way.clock = late;
    world.collector.clock.advance(DAY.times(6));
    world.dial().await.unwrap();
    let state = world.collector.state();
    assert_eq!(state.renewals.len(), 1);
    assert_eq!(state.streams.last().unwrap().0, Some(state.renewals[0].1));
}

#[tokio::test]
async fn a_certificate_that_is_over_by_the_collectors_clock_is_renewed_though_ours_is_behind() {
    let mut world = joined().await;
    world.collector.state().over = Some(world.key);
    let why = world.dial().await.unwrap_err();
    assert!(why.contains("only its renewal"), "{why}");
    let renewed = world.collector.state().renewals.clone();
    assert!(matches!(renewed[..], [(old, _)] if old == world.key), "{renewed:?}");
    world.dial().await.unwrap();
    assert_eq!(world.collector.state().streams.last().unwrap().0, Some(renewed[0].1));
}

#[tokio::test]
async fn both_roots_are_trusted_during_a_rotation_of_the_ca() {
    let mut world = joined().await;
    let next = Authority::new("signalbox 2", NOW);
    let tls = world.collector.tls(&next, &["127.0.0.1"]);
    let old = std::mem::replace(
        &mut world.endpoint,
        Endpoint::parse(&format!("https://{}", world.collector.listen_with(tls).await)).unwrap(),
    );
    let why = world.dial().await.unwrap_err();
    assert!(why.contains("not from this installation"), "{why}");
    let new = std::mem::replace(&mut world.endpoint, old);
    world.dial().await.unwrap();
    world.collector.state().more_roots = next.pem();
    world.collector.clock.advance(DAY.times(5));
    assert!(world.renewed().await);
    world.dial().await.unwrap();
    world.endpoint = new;
    world.dial().await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_the_collector_does_not_take_is_named_with_the_remedy() {
    let mut world = joined().await;
    let folder = world.transport.way.credentials.folder().clone();
    let foreign = Authority::new("elsewhere", NOW);
    let key = folder.next_key().unwrap();
    let certificate = foreign.agent(&key, "web-1", NOW, NOW + DAY.times(7));
    folder.install(&key, &certificate, &world.collector.ca.pem()).unwrap();
    let why = world.dial().await.unwrap_err();
    assert!(why.contains("refused this agent's certificate (UnknownCA)") && why.contains("--replace"), "{why}");
    // The collector's clock says that it is over.
    let key = folder.next_key().unwrap();
    let over = UnixMillis(NOW.0 - 1000);
    let certificate = world.collector.ca.agent(&key, "web-1", UnixMillis(0), over);
    folder.install(&key, &certificate, &world.collector.ca.pem()).unwrap();
    world.transport.way.clock = Arc::new(ManualClock::at(UnixMillis(over.0 - 1000)));
    let why = world.dial().await.unwrap_err();
    assert!(why.contains("CertificateExpired"), "{why}");
}

#[tokio::test]
async fn a_unix_socket_needs_no_identity() {
    let mut world = joined().await;
    std::fs::remove_dir_all(world.dir.path().join("identity")).unwrap();
    let path = world.dir.path().join("agent.sock");
    world.collector.listen_unix(&path);
    world.endpoint = Endpoint::Unix(path);
    let link = world.dial().await.unwrap();
    assert_eq!(world.collector.state().streams, [(None, "web-1".to_owned())]);
    world.collector.clock.advance(DAY.times(100));
    assert!(!world.transport.tend(&world.endpoint.clone(), world.at()));
    assert!(world.transport.renewing.is_none());
    drop(link);
}

#[tokio::test]
async fn a_renewal_for_another_agent_is_not_taken() {
    let mut world = joined().await;
    let folder = world.transport.way.credentials.folder().clone();
    let key = folder.next_key().unwrap();
    let certificate = world.collector.ca.agent(&key, "web-2", NOW, NOW + DAY.times(7));
    folder.install(&key, &certificate, &world.collector.ca.pem()).unwrap();
    world.dial().await.unwrap();
    world.collector.clock.advance(DAY.times(5));
    assert!(!world.renewed().await, "the answer names web-1");
    assert_eq!(world.transport.way.credentials.current().unwrap().agent.as_str(), "web-2");
    assert!(world.transport.told.as_ref().unwrap().contains("renewed web-1 in place of this agent"));
}
