//! Connections, enrolment and streams over real sockets, with the real writer.

use super::testing::{Rig, SECRET, Speaker, TestIdentity, agent, new_key};
use super::*;
use crate::tls::ca::AGENT_LIFE;
use signalbox_access::AccessAct;
use signalbox_access::rows::KeyState;
use signalbox_proto::clock::Clock;
use signalbox_proto::join::{Fingerprint, REFUSAL_KEY};
use signalbox_proto::units::Millis;
use signalbox_proto::wire::v1::{self, ApprovalState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

fn word(status: &Status) -> &str {
    status.metadata().get(REFUSAL_KEY).map_or("", |word| word.to_str().unwrap())
}

#[track_caller]
fn on_record(audit: &[String], wanted: &str) {
    assert!(audit.iter().any(|line| line.contains(wanted)), "{wanted:?} is not in {audit:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_becomes_an_identity_that_streams_as_itself_and_as_nobody_else() {
    let rig = Rig::new();
    let web1 = rig.joined("web1").await;
    let stream = Speaker::open(rig.channel(Some(&web1)).await.unwrap(), "web1", "boot", &[]).await;
    assert!(stream.is_ok(), "{:?}", stream.err());
    let status = Speaker::open(rig.channel(Some(&web1)).await.unwrap(), "web2", "boot", &[]).await.err().unwrap();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("web1") && status.message().contains("web2"), "{status}");
    let audit = rig.audit().await;
    on_record(&audit, "| join | agent:web1 |");
    on_record(&audit, "agent:web1 | stream | agent:web2 |");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_in_as_many_as_it_says_and_a_wrong_secret_nobody() {
    let rig = Rig::new();
    rig.token("t", 1, &[("region", "eu")]).await;
    let mut client = rig.enrol(None).await;
    let wrong = v1::JoinRequest { secret: vec![8; 32], ..rig.join("t", "web1", &new_key(), &[]) };
    let missing = rig.join("nosuch", "web1", &new_key(), &[]);
    let (wrong, missing) = (client.join(wrong).await.unwrap_err(), client.join(missing).await.unwrap_err());
    assert_eq!((wrong.code(), word(&wrong), wrong.message()), (missing.code(), word(&missing), missing.message()));
    assert_eq!(word(&wrong), "not_accepted");
    let label = client.join(rig.join("t", "web1", &new_key(), &[("region", "us")])).await.unwrap_err();
    assert_eq!(word(&label), "labels_not_allowed");
    assert!(client.join(rig.join("t", "web1", &new_key(), &[("region", "eu")])).await.is_ok());
    let used = client.join(rig.join("t", "web2", &new_key(), &[])).await.unwrap_err();
    assert_eq!(word(&used), "token_used");
    rig.token("u", 5, &[]).await;
    let taken = client.join(rig.join("u", "web1", &new_key(), &[])).await.unwrap_err();
    assert_eq!((taken.code(), word(&taken)), (Code::AlreadyExists, "name_taken"));
    let own = client.join(rig.join("u", "collector", &new_key(), &[])).await.unwrap_err();
    assert_eq!(word(&own), "name_taken");
    let audit = rig.audit().await;
    assert!(!audit.iter().any(|line| line.contains(&format!("{SECRET:?}"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused_before_the_token_is_touched() {
    let rig = Rig::new();
    rig.token("t", 1, &[]).await;
    let mut client = rig.enrol(None).await;
    let good = rig.join("t", "web1", &new_key(), &[]);
    let change = |change: &dyn Fn(&mut v1::JoinRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let bad = [
        change(&|request| request.applicant = None),
        change(&|request| request.secret = vec![9; 31]),
        change(&|request| request.applicant.as_mut().unwrap().agent_id = "a b".to_owned()),
        change(&|request| request.applicant.as_mut().unwrap().csr_der = vec![0x30; 10]),
        change(&|request| request.applicant.as_mut().unwrap().csr_der = vec![0x30; 4097]),
    ];
    for request in bad {
        let status = client.join(request).await.unwrap_err();
        assert_eq!((status.code(), word(&status)), (Code::InvalidArgument, "bad_request"), "{status}");
    }
    let late = change(&|request| request.applicant.as_mut().unwrap().wall_ms -= 600_001);
    assert_eq!(word(&client.join(late).await.unwrap_err()), "clock_far_off");
    let just = change(&|request| request.applicant.as_mut().unwrap().wall_ms -= 600_000);
    assert!(client.join(just).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_identity_nothing_is_served_but_enrolment() {
    let rig = Rig::new();
    let channel = rig.channel(None).await.unwrap();
    let status = Speaker::open(channel.clone(), "web1", "boot", &[]).await.err().unwrap();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("signalbox-agent join"), "{status}");
    let mut client = v1::enrol_service_client::EnrolServiceClient::new(channel);
    let renew = client.renew(v1::RenewRequest::default()).await.unwrap_err();
    assert_eq!(renew.code(), Code::Unauthenticated);
    let pong = client.ping(v1::PingRequest { wall_ms: 1, padding: vec![7; 65_536] }).await.unwrap().into_inner();
    assert_eq!((pong.wall_ms, pong.padding.len()), (rig.clock.wall().0, 65_536));
    assert!(pong.installation.is_empty() && pong.version.is_empty() && pong.agent_id.is_empty());
    let over = client.ping(v1::PingRequest { wall_ms: 1, padding: vec![7; 65_537] }).await.unwrap_err();
    assert_eq!(word(&over), "bad_request");
    on_record(&rig.audit().await, "- | stream |");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unix_socket_serves_ids_that_belong_to_no_key() {
    let rig = Rig::new();
    let mut near = Speaker::open(rig.local().await, "near", "boot", &[("region", "eu")]).await.unwrap();
    let _web1 = rig.joined("web1").await;
    let status = Speaker::open(rig.local().await, "web1", "boot", &[]).await.err().unwrap();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("an identity of its own"), "{status}");
    let own = Speaker::open(rig.local().await, "collector", "boot", &[]).await.err().unwrap();
    assert_eq!(own.code(), Code::PermissionDenied);
    // Who joins under the name of a local stream ends it.
    let _near = rig.joined("near").await;
    let cut = tokio::time::timeout(Duration::from_secs(10), near.hear.message()).await.unwrap().unwrap_err();
    assert_eq!(cut.code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_agent_is_cut_off_and_does_not_come_back() {
    let rig = Rig::new();
    let web1 = rig.joined("web1").await;
    let web2 = rig.joined("web2").await;
    let channel = rig.channel(Some(&web1)).await.unwrap();
    let stream = Speaker::open(channel.clone(), "web1", "boot", &[]).await.unwrap();
    let mut other = Speaker::open(rig.channel(Some(&web2)).await.unwrap(), "web2", "boot", &[]).await.unwrap();
    rig.act(AccessAct::RevokeAgent { agent: agent("web1"), reason: String::new() }).await;
    // The connection stands; no call of it is served any more.
    let renew =
        v1::enrol_service_client::EnrolServiceClient::new(channel.clone()).renew(v1::RenewRequest::default()).await;
    assert_eq!(word(&renew.unwrap_err()), "key_revoked");
    let again = Speaker::open(channel, "web1", "boot", &[]).await.err().unwrap();
    assert_eq!((again.code(), word(&again)), (Code::PermissionDenied, "key_revoked"));
    let cut = tokio::time::timeout(Duration::from_secs(10), stream.end()).await.expect("cut within ten seconds");
    assert_eq!((cut.code(), word(&cut)), (Code::PermissionDenied, "key_revoked"));
    let fresh = match rig.channel(Some(&web1)).await {
        Err(_) => true,
        Ok(channel) => Speaker::open(channel, "web1", "boot", &[]).await.is_err(),
    };
    assert!(fresh, "a new connection must not be served");
    assert!(other.say.send(v1::StreamRequest { message: None }).await.is_ok(), "others stream on");
    assert_eq!(other.hear.message().await.unwrap_err().code(), Code::InvalidArgument);
    on_record(&rig.audit().await, "- | connect | agent:web1 |");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_key_streams_and_the_old_one_is_over_once_the_new_one_was_used() {
    let rig = Rig::new();
    let old = rig.joined("web1").await;
    let first = Speaker::open(rig.channel(Some(&old)).await.unwrap(), "web1", "boot", &[]).await.unwrap();
    let key = new_key();
    let renew = v1::RenewRequest { csr_der: crate::tls::testing::request(&key) };
    let answer = rig.enrol(Some(&old)).await.renew(renew).await.unwrap().into_inner();
    let new = TestIdentity::new(key, &answer.identity.unwrap());
    // Not used yet: the old one still counts.
    assert!(rig.channel(Some(&old)).await.is_ok());
    let _second = Speaker::open(rig.channel(Some(&new)).await.unwrap(), "web1", "boot", &[]).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), first.end()).await.unwrap();
    assert_eq!(ended.code(), Code::Aborted, "{ended}");
    let shown = crate::tls::verifier::Shown::of(&old.certificate).unwrap();
    let standing = || rig.shared.access().agent_of_key(&shown.key.into()).map(|known| known.state);
    while standing() == Some(KeyState::Active) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_good_for_its_renewal_and_nothing_else() {
    let rig = Rig::new();
    let old = rig.joined("web1").await;
    let stream = Speaker::open(rig.channel(Some(&old)).await.unwrap(), "web1", "boot", &[]).await.unwrap();
    rig.clock.advance(Millis(AGENT_LIFE.0 + 1000));
    let cut = tokio::time::timeout(Duration::from_secs(10), stream.end()).await.unwrap();
    assert_eq!(cut.code(), Code::Unauthenticated, "{cut}");
    let status = Speaker::open(rig.channel(Some(&old)).await.unwrap(), "web1", "boot", &[]).await.err().unwrap();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("expired"), "{status}");
    let ping = rig.enrol(Some(&old)).await.ping(v1::PingRequest::default()).await.unwrap_err();
    assert_eq!(ping.code(), Code::Unauthenticated);
    let key = new_key();
    let renew = v1::RenewRequest { csr_der: crate::tls::testing::request(&key) };
    let answer = rig.enrol(Some(&old)).await.renew(renew).await.unwrap().into_inner();
    let new = TestIdentity::new(key, &answer.identity.unwrap());
    assert!(Speaker::open(rig.channel(Some(&new)).await.unwrap(), "web1", "boot", &[]).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_lets_an_agent_in_by_its_fingerprint() {
    let rig = Rig::new();
    let mut client = rig.enrol(None).await;
    let keys = [new_key(), new_key()];
    let mut fingerprints = Vec::new();
    for (id, key) in ["web1", "web2"].into_iter().zip(&keys) {
        let applicant = Some(rig.applicant(id, key, &[]));
        let asked = client.request_approval(v1::RequestApprovalRequest { applicant }).await.unwrap().into_inner();
        assert!(asked.expires_ms > rig.clock.wall().0);
        fingerprints.push(Fingerprint::of_bytes(&asked.fingerprint).unwrap());
    }
    let poll = |n: usize| v1::PollApprovalRequest { fingerprint: fingerprints[n].0.to_vec() };
    let told = client.poll_approval(poll(0)).await.unwrap().into_inner();
    assert_eq!((told.state(), told.identity), (ApprovalState::Waiting, None));
    rig.act(AccessAct::Approve { key: fingerprints[0].into(), labels: None }).await;
    rig.act(AccessAct::Reject { key: fingerprints[1].into() }).await;
    let told = client.poll_approval(poll(0)).await.unwrap().into_inner();
    assert_eq!(told.state(), ApprovalState::Approved);
    let [key, _] = keys;
    let web1 = TestIdentity::new(key, &told.identity.unwrap());
    assert!(Speaker::open(rig.channel(Some(&web1)).await.unwrap(), "web1", "boot", &[]).await.is_ok());
    let told = client.poll_approval(poll(1)).await.unwrap().into_inner();
    assert_eq!((told.state(), told.identity), (ApprovalState::Rejected, None));
    let unknown = v1::PollApprovalRequest { fingerprint: vec![1; 32] };
    assert_eq!(client.poll_approval(unknown).await.unwrap().into_inner().state(), ApprovalState::Unspecified);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_fails_too_often_must_wait_and_good_joins_do_not_count() {
    let rig = Rig::with(Limits { enrolments_per_minute: 3, ..Limits::default() });
    for n in 0..6 {
        rig.joined(&format!("web{n}")).await;
    }
    let mut client = rig.enrol(None).await;
    for _ in 0..3 {
        let status = client.join(rig.join("nosuch", "x", &new_key(), &[])).await.unwrap_err();
        assert_eq!(word(&status), "not_accepted");
    }
    let status = client.join(rig.join("nosuch", "x", &new_key(), &[])).await.unwrap_err();
    assert_eq!((status.code(), word(&status)), (Code::ResourceExhausted, "too_many"));
    rig.clock.advance(Millis(20_000));
    let status = client.join(rig.join("nosuch", "x", &new_key(), &[])).await.unwrap_err();
    assert_eq!(word(&status), "not_accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_opens_as_many_streams_a_minute_as_are_allowed_and_one_over_is_told_to_wait() {
    let rig = Rig::with(Limits { hellos_per_minute: 3, ..Limits::default() });
    let (web1, web2) = (rig.joined("web1").await, rig.joined("web2").await);
    let open = async |identity, id, boot| {
        Speaker::open(rig.channel(Some(identity)).await.unwrap(), id, boot, &[]).await.err().map(|status| status.code())
    };
    let _first = Speaker::open(rig.channel(Some(&web1)).await.unwrap(), "web1", "a", &[]).await.unwrap();
    for _ in 0..2 {
        assert_eq!(open(&web1, "web1", "b").await, Some(Code::AlreadyExists), "what is refused counts too");
    }
    let status = Speaker::open(rig.channel(Some(&web1)).await.unwrap(), "web1", "b", &[]).await.err().unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("hellos_per_minute") && status.message().contains("20s"), "{status}");
    assert_eq!(open(&web2, "web2", "a").await, None, "others are not slowed down");
    rig.clock.advance(Millis(20_000));
    assert_eq!(open(&web1, "web1", "b").await, Some(Code::AlreadyExists), "one fits again");
    assert_eq!(open(&web1, "web1", "b").await, Some(Code::ResourceExhausted));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloned_identity_is_refused_and_stated_once_while_the_first_streams_on() {
    let rig = Rig::new();
    let web1 = rig.joined("web1").await;
    let mut first = Speaker::open(rig.channel(Some(&web1)).await.unwrap(), "web1", "boot-a", &[]).await.unwrap();
    for _ in 0..2 {
        let status = Speaker::open(rig.channel(Some(&web1)).await.unwrap(), "web1", "boot-b", &[]).await.err().unwrap();
        assert_eq!(status.code(), Code::AlreadyExists);
    }
    assert_eq!(rig.handle.problems().iter().filter(|problem| problem.contains("another machine")).count(), 1);
    on_record(&rig.audit().await, "agent:web1 | stream | agent:web1 |");
    first.say.send(v1::StreamRequest { message: None }).await.unwrap();
    assert_eq!(first.hear.message().await.unwrap_err().code(), Code::InvalidArgument, "it was still listened to");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_the_token_did_not_allow_is_refused() {
    let rig = Rig::new();
    rig.token("t", 1, &[("region", "eu"), ("tier", "web")]).await;
    let key = new_key();
    let answer =
        rig.enrol(None).await.join(rig.join("t", "web1", &key, &[("region", "eu")])).await.unwrap().into_inner();
    let web1 = TestIdentity::new(key, &answer.identity.unwrap());
    for (labels, is_good) in
        [(&[("region", "eu")][..], true), (&[], true), (&[("region", "us")], false), (&[("x", "y")], false)]
    {
        let stream = Speaker::open(rig.channel(Some(&web1)).await.unwrap(), "web1", "boot", labels).await;
        assert_eq!(stream.is_ok(), is_good, "{labels:?}");
        if let Err(status) = stream {
            assert_eq!(status.code(), Code::PermissionDenied);
            assert!(status.message().contains("--labels"), "{status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_at_the_limit_is_read_and_one_over_it_ends_the_stream() {
    let rig = Rig::with(Limits { message_bytes: 64 * 1024, ..Limits::default() });
    let sized = |n_bytes: usize| {
        let goodbye = v1::Goodbye { reason: "x".repeat(n_bytes) };
        let request = v1::StreamRequest { message: Some(v1::stream_request::Message::Goodbye(goodbye)) };
        (prost::Message::encoded_len(&request), request)
    };
    let around = 64 * 1024 - sized(60_000).0 + 60_000;
    for (n, wanted) in [(around, Code::Ok), (around + 1, Code::OutOfRange)] {
        let (len, request) = sized(n);
        assert_eq!(len > 64 * 1024, wanted != Code::Ok);
        let stream = Speaker::open(rig.local().await, "near", "boot", &[]).await.unwrap();
        stream.say.send(request).await.unwrap();
        assert_eq!(stream.end().await.code(), wanted);
    }
}

/// True when the other end closes within the time.
async fn is_closed(stream: &mut (impl tokio::io::AsyncRead + Unpin), wait: Duration) -> bool {
    let mut bytes = [0; 256];
    let read = async { while !matches!(stream.read(&mut bytes).await, Ok(0) | Err(_)) {} };
    tokio::time::timeout(wait, read).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_shakes_no_hands_or_makes_no_call_is_let_go() {
    let (short, long) = (Duration::from_millis(100), Duration::from_secs(3600));
    let rig = Rig::with(Limits { handshake: short, first_call: long, ..Limits::default() });
    let mut mute = TcpStream::connect(rig.address).await.unwrap();
    assert!(is_closed(&mut mute, Duration::from_secs(5)).await);
    let mut half = TcpStream::connect(rig.address).await.unwrap();
    half.write_all(&[0x16, 3, 1, 2]).await.unwrap();
    assert!(is_closed(&mut half, Duration::from_secs(5)).await);
    let rig = Rig::with(Limits { handshake: long, first_call: short, ..Limits::default() });
    let mut idle = rig.dial(None).await.unwrap();
    assert!(is_closed(&mut idle, Duration::from_secs(5)).await);
    let web1 = rig.joined("web1").await;
    let mut idle = rig.dial(Some(&web1)).await.unwrap();
    assert!(is_closed(&mut idle, Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_http_1_and_garbage_get_no_answer_that_helps() {
    let rig = Rig::new();
    for bytes in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0; 128]] {
        let mut plain = TcpStream::connect(rig.address).await.unwrap();
        plain.write_all(bytes).await.unwrap();
        assert!(is_closed(&mut plain, Duration::from_secs(5)).await);
        let mut inside = rig.dial(None).await.unwrap();
        inside.write_all(bytes).await.unwrap();
        if !bytes.starts_with(b"PRI") {
            assert!(is_closed(&mut inside, Duration::from_secs(5)).await);
        }
    }
    on_record(&rig.audit().await, "- | connect |");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_agent_comes_in_while_strangers_hold_every_place() {
    let rig = Rig::with(Limits { strangers: 8, connections: 2, ..Limits::default() });
    let web1 = rig.joined("web1").await;
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(TcpStream::connect(rig.address).await.unwrap());
    }
    let begun = rig.dial(Some(&web1)).await.unwrap();
    drop(begun);
    let channel = rig.channel(Some(&web1)).await.unwrap();
    let stream = Speaker::open(channel, "web1", "boot", &[]).await.unwrap();
    assert!(is_closed(&mut held[0], Duration::from_secs(5)).await, "the oldest made room");
    drop(stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_old_ends_its_stream_and_a_new_one_is_served() {
    let rig = Rig::with(Limits { age: Duration::from_millis(200), ..Limits::default() });
    let web1 = rig.joined("web1").await;
    let stream = Speaker::open(rig.channel(Some(&web1)).await.unwrap(), "web1", "boot", &[]).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.end()).await.unwrap();
    assert_eq!(ended.code(), Code::Unavailable);
    assert!(ended.message().contains("dial again"), "{ended}");
    assert!(Speaker::open(rig.channel(Some(&web1)).await.unwrap(), "web1", "boot", &[]).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_may_not_use_the_socket_is_told_so_and_served_nothing() {
    let rig = Rig::new();
    let channel = rig.known_as(Who::Account { uid: 4711 }, Limits::default()).await;
    let status = Speaker::open(channel.clone(), "near", "boot", &[]).await.err().unwrap();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("4711") && status.message().contains("local_agents.uids"), "{status}");
    rig.token("t", 1, &[]).await;
    let mut client = v1::enrol_service_client::EnrolServiceClient::new(channel);
    assert_eq!(client.ping(v1::PingRequest::default()).await.unwrap_err().code(), Code::PermissionDenied);
    let join = client.join(rig.join("t", "near", &new_key(), &[])).await.unwrap_err();
    assert_eq!(join.code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_up_to_the_limit_are_read_and_more_are_refused() {
    let rig = Rig::new();
    let limits = Limits { header_bytes: 4096, ..Limits::default() };
    for (n_bytes, is_good) in [(3_000, true), (4_096, false)] {
        let channel = rig.known_as(Who::Local { uid: 0 }, limits).await;
        let mut client = v1::enrol_service_client::EnrolServiceClient::new(channel);
        let mut request = Request::new(v1::PingRequest::default());
        request.metadata_mut().insert("x-much", "x".repeat(n_bytes).parse().unwrap());
        assert_eq!(client.ping(request).await.is_ok(), is_good, "{n_bytes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_so_many_streams_and_one_more_waits_for_the_end_of_another() {
    let rig = Rig::new();
    let limits = Limits { streams: 2, ..Limits::default() };
    let channel = rig.known_as(Who::Local { uid: 0 }, limits).await;
    let first = Speaker::open(channel.clone(), "a", "boot", &[]).await.unwrap();
    let _second = Speaker::open(channel.clone(), "b", "boot", &[]).await.unwrap();
    let mut third = std::pin::pin!(Speaker::open(channel, "c", "boot", &[]));
    assert!(tokio::time::timeout(Duration::from_millis(200), third.as_mut()).await.is_err());
    drop(first);
    assert!(third.await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_nothing_is_let_go() {
    use super::connection::{Place, Transport};
    let (near, _far) = tokio::net::UnixStream::pair().unwrap();
    let place = Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().unwrap();
    let limits = Limits { slow_reader: Duration::from_millis(50), ..Limits::default() };
    let peer = Peer::new(Who::Local { uid: 0 }, None);
    let mut connection = Connection::new(Transport::Right(near), Place::Local { _place: place }, peer, &limits);
    let error = connection.write_all(&vec![0; 64 << 20]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}
