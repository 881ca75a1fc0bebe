//! The client against a real server: promises that an operator at 3 AM relies on.

#![allow(clippy::unwrap_used, reason = "what a test needs and does not get fails it")]

mod support;

use signalbox_ctl::client::{ANSWER_LIMIT, Client, ClientError};
use signalbox_ctl::exit::Failure;
use signalbox_ctl::routes::{IncidentVerb, StatusFilter};
use signalbox_ctl::target::Target;
use signalbox_proto::api::{Act, IncidentAct, NewSnooze, RulesToCheck};
use signalbox_proto::status::Layer;
use signalbox_proto::units::{Millis, UnixMillis};
use std::io::{Read, Write};
use support::{Twin, nobody, say};

const PATIENCE: Millis = Millis::from_secs(30);

fn client(address: &str) -> Client {
    Client::new(address, PATIENCE).unwrap()
}

/// Accepts one connection, reads the request's head, writes `answer`, hangs up
/// if `hang_up`, else keeps the line open and silent.
fn raw_server(answer: &'static [u8], hang_up: bool) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1024];
        assert!(stream.read(&mut head).unwrap() > 0);
        stream.write_all(answer).unwrap();
        if !hang_up {
            // Until the client has had enough.
            while stream.read(&mut head).is_ok_and(|n| n > 0) {}
        }
    });
    address
}

#[tokio::test]
async fn nobody_listening_is_unreachable_and_says_why() {
    let error = client(&nobody()).agents().await.unwrap_err();
    assert!(error.is_unreachable(), "{error:?}");
    let mut causes = Vec::new();
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    assert!(causes.join(": ").contains("Connection refused"), "{causes:?}");
}

#[tokio::test]
async fn a_collector_that_never_answers_is_given_up() {
    let client = Client::new(&raw_server(b"", false), Millis(100)).unwrap();
    assert!(client.agents().await.unwrap_err().is_unreachable());
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_taken_for_an_answer() {
    let address = raw_server(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[]", true);
    assert!(client(&address).agents().await.unwrap_err().is_unreachable());
}

#[tokio::test]
async fn a_refusal_carries_status_error_and_remedy() {
    let twin = Twin::saying(404, r#"{"error":"no item \u001b[2Jload","remedy":"one of:\nhost/a:load\nhost/b:load"}"#);
    let error = client(&twin.url()).explain("load", None).await.unwrap_err();
    let ClientError::Refused { status, error, remedy } = error else { panic!("{error:?}") };
    assert_eq!((status, error.as_str()), (404, "no item \\u{1b}[2Jload"));
    assert_eq!(remedy, "one of:\nhost/a:load\nhost/b:load");
}

#[tokio::test]
async fn a_server_error_without_a_body_of_ours_is_quoted() {
    let twin = Twin::saying(500, "thread panicked");
    let error = client(&twin.url()).agents().await.unwrap_err();
    assert_eq!(error.to_string(), "collector answered 500 Internal Server Error and said: thread panicked");
    let twin = Twin::saying(503, "");
    let error = client(&twin.url()).agents().await.unwrap_err();
    assert_eq!(error.to_string(), "collector answered 503 Service Unavailable without a word");
}

#[tokio::test]
async fn garbage_is_refused() {
    for body in ["<html>hello</html>", "", "[] []", r#"{"at": "noon"}"#, "[{\"id\": \"../..\"}]"] {
        let twin = Twin::saying(200, body);
        let error = client(&twin.url()).agents().await.unwrap_err();
        assert!(matches!(error, ClientError::Garbage { .. }), "{body}: {error:?}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_whole() {
    let twin = Twin::start(|_, _| {
        // Endless: only a client that stops reading comes back from this.
        let chunks = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 20]));
        say(200, axum::body::Body::from_stream(chunks))
    });
    let error = client(&twin.url()).agents().await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!("answer of /api/signalbox/v1/agents is over the limit of {ANSWER_LIMIT}; ask for less")
    );
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Twin::saying(200, "[]");
    let url = elsewhere.url();
    let twin = Twin::start(move |_, _| {
        let mut response = say(302, "");
        response.headers_mut().insert("location", url.parse().unwrap());
        response
    });
    assert!(matches!(client(&twin.url()).agents().await, Err(ClientError::Refused { status: 302, .. })));
    assert_eq!(elsewhere.asked(), []);
}

#[tokio::test]
async fn every_read_asks_its_route() {
    let twin = Twin::saying(500, "");
    let client = client(&twin.url());
    let filter = StatusFilter {
        layer: Some(Layer::Machine),
        owner: Some("a&b".to_owned()),
        system: None,
        entity: Some("host/web 1".to_owned()),
    };
    // What comes back does not matter here.
    let _ = client.status(&filter).await;
    let _ = client.agents().await;
    let _ = client.incidents("open", 50).await;
    let _ = client.incident(17).await;
    let _ = client.snoozes(true).await;
    let _ = client.query("up{a=\"b\"}", UnixMillis(1), UnixMillis(2), Some(3)).await;
    let _ = client.explain("host/a:r{m=\"/\"}", Some(UnixMillis(4))).await;
    let _ = client.channels().await;
    let targets: Vec<_> = twin.asked().iter().map(|asked| format!("{} {}", asked.method, asked.target)).collect();
    assert_eq!(
        targets,
        [
            "GET /api/signalbox/v1/status?layer=machine&owner=a%26b&entity=host%2Fweb+1",
            "GET /api/signalbox/v1/agents",
            "GET /api/signalbox/v1/incidents?state=open&limit=50",
            "GET /api/signalbox/v1/incidents/17",
            "GET /api/signalbox/v1/snoozes?all=true",
            "GET /api/signalbox/v1/query?selector=up%7Ba%3D%22b%22%7D&from=1&to=2&limit_points=3",
            "GET /api/signalbox/v1/explain?item=host%2Fa%3Ar%7Bm%3D%22%2F%22%7D&at=4",
            "GET /api/signalbox/v1/notify/channels",
        ]
    );
}

#[tokio::test]
async fn a_socket_is_asked_like_an_address_and_its_name_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("operator.sock");
    let gone =
        Client::of(&Target::Socket { path: path.clone(), token: None }, PATIENCE).unwrap().agents().await.unwrap_err();
    assert!(gone.is_unreachable() && gone.to_string().contains(&format!("unix:{}", path.display())), "{gone}");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1024];
        let n = stream.read(&mut head).unwrap();
        let head = String::from_utf8_lossy(&head[..n]).to_lowercase();
        assert!(head.starts_with("get /api/signalbox/v1/agents ") && head.contains("host: localhost\r\n"), "{head}");
        assert!(!head.contains("authorization"), "{head}");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]").unwrap();
    });
    assert!(
        Client::of(&Target::Socket { path, token: None }, PATIENCE).unwrap().agents().await.unwrap().value.is_empty()
    );
}

#[tokio::test]
async fn a_token_goes_with_every_request() {
    let twin = Twin::saying(200, "[]");
    let target = Target::Url { url: twin.url(), token: Some("sba1.x".to_owned()), ca: None };
    Client::of(&target, PATIENCE).unwrap().agents().await.unwrap();
    assert_eq!(twin.asked()[0].authorization, "Bearer sba1.x");
    client(&twin.url()).agents().await.unwrap();
    assert_eq!(twin.asked()[1].authorization, "");
}

#[tokio::test]
async fn every_act_sends_its_body() {
    let twin = Twin::saying(500, "");
    let client = client(&twin.url());
    let act = Act { reason: "gone".to_owned() };
    let words = IncidentAct { text: "hm".to_owned(), ..IncidentAct::default() };
    let snooze = NewSnooze { scope: "host/a".to_owned(), span: "2h".to_owned(), reason: "disk".to_owned() };
    let _ = client.retire("web1", &act).await;
    let _ = client.act(17, IncidentVerb::Note, &words).await;
    let _ = client.snooze(&snooze).await;
    let _ = client.end_snooze(3, &act).await;
    let _ = client.check_rules(&RulesToCheck::default()).await;
    let _ = client.test_channel("on call").await;
    let asked: Vec<_> = twin.asked().iter().map(|a| format!("{} {} {}", a.method, a.target, a.body)).collect();
    assert_eq!(
        asked,
        [
            r#"POST /api/signalbox/v1/agents/web1/retire {"reason":"gone"}"#,
            r#"POST /api/signalbox/v1/incidents/17/note {"text":"hm","assignee":"","label":null}"#,
            r#"POST /api/signalbox/v1/snoozes {"scope":"host/a","for":"2h","reason":"disk"}"#,
            r#"DELETE /api/signalbox/v1/snoozes/3 {"reason":"gone"}"#,
            r#"POST /api/signalbox/v1/rules/check {"files":{}}"#,
            "POST /api/signalbox/v1/notify/test/on%20call ",
        ]
    );
}

/// The remedy that a failed call is told with.
async fn remedy(client: &Client) -> String {
    let error = client.agents().await.unwrap_err();
    assert!(error.is_unreachable(), "{error:?}");
    Failure::from(error).lines().concat()
}

#[tokio::test]
async fn the_wrong_scheme_is_named_with_the_right_one() {
    // What a port that speaks TLS says to plain text: an alert.
    let tls = raw_server(b"\x15\x03\x03\x00\x02\x02\x0a", true);
    let said = remedy(&client(&tls)).await;
    assert!(said.contains("write https:// in place of http://"), "{said}");
    let plain = raw_server(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", true);
    let said = remedy(&client(&plain.replace("http://", "https://"))).await;
    assert!(said.contains("nothing speaks TLS at this port"), "{said}");
    // As a port that wants HTTP/2 ends the handshake: alert 120.
    let agents = raw_server(b"\x15\x03\x03\x00\x02\x02\x78", true);
    let said = remedy(&client(&agents.replace("http://", "https://"))).await;
    assert!(said.contains("this is a port for agents"), "{said}");
}

#[tokio::test]
async fn a_token_that_was_given_is_shown_on_the_socket_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("operator.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let n = stream.read(&mut head).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]").unwrap();
        String::from_utf8_lossy(&head[..n]).to_lowercase()
    });
    let target = Target::Socket { path, token: Some("sba1.mine".to_owned()) };
    Client::of(&target, PATIENCE).unwrap().agents().await.unwrap();
    assert!(server.join().unwrap().contains("authorization: bearer sba1.mine"));
}
