//! Requests as operators, browsers and strangers send them, against a board made
//! by hand.

use crate::http::testing::{ask, get, send};
use axum::body::Body;
use axum::http::Request;
use signalbox_proto::api::{Agent, ApiError, Done, Incident, Snooze, Status};

const API: &str = "/api/signalbox/v1";

fn read<T: serde::de::DeserializeOwned>(body: &str) -> T {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} in {body}"))
}

async fn check_refused(method: &str, path: &str, body: &str, status: u16, wanted: &str) {
    let (got, answer) = if method == "GET" { get(path).await } else { send(method, path, body).await };
    let error: ApiError = read(&answer);
    assert_eq!(got, status, "{method} {path}: {answer}");
    assert!(error.error.contains(wanted), "wanted {wanted:?} in {:?}", error.error);
    assert!(!error.remedy.is_empty(), "{answer}");
}

#[tokio::test]
async fn the_board_is_served_whole_and_in_part() {
    let whole: Status = read(&get(&format!("{API}/status")).await.1);
    assert_eq!(whole.entities.len(), 4);
    let part: Status = read(&get(&format!("{API}/status?owner=dba&layer=machine")).await.1);
    assert_eq!(part.entities.iter().map(|entity| entity.id.as_str()).collect::<Vec<_>>(), ["host/db1"]);
    let below: Status = read(&get(&format!("{API}/status?entity=application/payments")).await.1);
    assert_eq!(below.entities.len(), 2);
    let agents: Vec<Agent> = read(&get(&format!("{API}/agents")).await.1);
    assert_eq!(agents.len(), 2);
}

#[tokio::test]
async fn incidents_are_listed_short_and_shown_whole() {
    let open: Vec<Incident> = read(&get(&format!("{API}/incidents")).await.1);
    assert_eq!(open.iter().map(|incident| incident.number).collect::<Vec<_>>(), [17]);
    assert!(open[0].timeline.is_empty() && open[0].ledger.is_empty());
    let all: Vec<Incident> = read(&get(&format!("{API}/incidents?state=all&limit=1")).await.1);
    assert_eq!(all.len(), 1);
    let whole: Incident = read(&get(&format!("{API}/incidents/17")).await.1);
    assert_eq!((whole.timeline.len(), whole.ledger.len()), (1, 1));
    let live: Vec<Snooze> = read(&get(&format!("{API}/snoozes")).await.1);
    let every: Vec<Snooze> = read(&get(&format!("{API}/snoozes?all=true")).await.1);
    assert_eq!((live.len(), every.len()), (1, 2));
}

#[tokio::test]
async fn what_is_not_understood_is_named() {
    check_refused("GET", &format!("{API}/status?ownr=x"), "", 400, "ownr").await;
    check_refused("GET", &format!("{API}/status?layer=cellar"), "", 400, "cellar").await;
    check_refused("GET", &format!("{API}/agents?x=1"), "", 400, "x").await;
    check_refused("GET", &format!("{API}/incidents?state=lost"), "", 400, "lost").await;
    check_refused("GET", &format!("{API}/incidents?limit=0"), "", 400, "limit 0").await;
    check_refused("GET", &format!("{API}/incidents?limit=1001"), "", 400, "limit 1001").await;
    check_refused("GET", &format!("{API}/incidents/seventeen"), "", 400, "seventeen").await;
    check_refused("GET", &format!("{API}/incidents/99"), "", 404, "INC-99").await;
    check_refused("GET", &format!("{API}/query?selector=a%7B"), "", 400, "selector").await;
    check_refused("GET", &format!("{API}/query"), "", 400, "selector").await;
    check_refused("GET", &format!("{API}/query?selector=a&from=5&to=4"), "", 400, "lies after").await;
    check_refused("GET", &format!("{API}/query?selector=a&limit_points=11001"), "", 400, "limit_points 11001").await;
    check_refused("GET", &format!("{API}/nothing"), "", 404, "there is nothing at").await;
    check_refused("DELETE", &format!("{API}/status"), "{}", 405, "DELETE").await;
}

#[tokio::test]
async fn paths_of_other_apis_stay_free_and_say_so() {
    check_refused("GET", "/api/v1/admin/tsdb/snapshot", "", 404, "not served").await;
    check_refused("GET", "/api/v2/status", "", 404, "kept free for Alertmanager").await;
}

#[tokio::test]
async fn bodies_are_json_of_the_right_form_and_size() {
    let ack = format!("{API}/incidents/17/ack");
    check_refused("POST", &ack, "{\n  \"text\": mine\n}", 400, "line 2 column 11").await;
    check_refused("POST", &ack, "{\"extra\":1}", 400, "extra").await;
    check_refused("POST", &ack, "{\"author\":\"somebody else\"}", 400, "author").await;
    check_refused("POST", &ack, "{\"assignee\":\"b\"}", 400, "ack takes no assignee").await;
    check_refused("POST", &format!("{API}/incidents/17/note"), "{}", 400, "text is empty").await;
    check_refused("POST", &format!("{API}/incidents/17/close"), "{}", 400, "label is missing").await;
    check_refused("POST", &format!("{API}/incidents/17/assign"), "{}", 400, "assignee").await;
    check_refused("POST", &format!("{API}/incidents/17/assign"), "{\"assignee\":\"a\\nb\"}", 400, "assignee").await;
    let snooze = |span: &str| format!("{{\"scope\":\"x\",\"for\":\"{span}\",\"reason\":\"r\"}}");
    check_refused("POST", &format!("{API}/snoozes"), &snooze("2"), 400, "no unit").await;
    check_refused("POST", &format!("{API}/reload"), "{\"now\":true}", 400, "takes no body").await;
    check_refused("POST", &format!("{API}/notify/test/nobody"), "", 404, "no channel nobody").await;
    let padded = |n: usize| format!("{}{{}}", " ".repeat(n - 2));
    assert_eq!(send("POST", &ack, &padded(1024 * 1024)).await.0, 200);
    check_refused("POST", &ack, &padded(1024 * 1024 + 1), 413, "limit of 1048576 bytes").await;
}

#[tokio::test]
async fn an_act_is_answered_by_the_engine() {
    let (status, body) = send("POST", &format!("{API}/incidents/17/ack"), "{\"text\":\"mine\"}").await;
    assert_eq!(status, 200, "{body}");
    let done: Done = read(&body);
    assert_eq!(done.done, "acknowledged by local:root", "the author is who asks, whatever a body says");
    check_refused("POST", &format!("{API}/incidents/99/ack"), "{}", 404, "there is no").await;
}

#[tokio::test]
async fn changes_of_state_need_the_content_type_that_forms_cannot_send() {
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        for path in [format!("{API}/incidents/17/ack"), format!("{API}/reload")] {
            let request = Request::post(&path).header("host", "localhost").header("content-type", kind);
            let (response, body) = ask(request.body(Body::from("{}")).unwrap()).await;
            assert_eq!(response.status(), 415, "{kind} {path} {body}");
        }
    }
}

#[tokio::test]
async fn strangers_are_refused_before_any_route() {
    let foreign = Request::get(format!("{API}/status")).header("host", "evil.example").body(Body::empty()).unwrap();
    assert_eq!(ask(foreign).await.0.status(), 403);
    let origin =
        Request::post(format!("{API}/reload")).header("host", "localhost").header("origin", "http://evil.example");
    assert_eq!(ask(origin.body(Body::empty()).unwrap()).await.0.status(), 403);
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    for path in ["/", "/style.css", "/nothing", "/api/v1/x", "/-/healthy", "/api/signalbox/v1/status"] {
        let (response, _) = ask(Request::get(path).header("host", "localhost").body(Body::empty()).unwrap()).await;
        let headers = response.headers();
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
        assert!(!policy.contains("unsafe") && policy.contains("form-action 'self'; object-src 'none'"), "{policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        assert_eq!(headers["cross-origin-resource-policy"], "same-origin");
    }
}

#[tokio::test]
async fn probes_and_numbers_are_plain_text() {
    assert_eq!(get("/-/healthy").await, (200, "ok\n".to_owned()));
    assert_eq!(get("/-/ready").await, (200, "ready\n".to_owned()));
    assert_eq!(get("/metrics").await.0, 200);
}

#[tokio::test]
async fn the_page_shows_the_worst_first_with_all_that_an_operator_needs() {
    let (status, page) = get("/").await;
    assert_eq!(status, 200, "{page}");
    let position = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} is not in {page}"));
    assert!(
        position("host&#x2f;web1") < position("host&#x2f;web2")
            && position("host&#x2f;web2") < position("1 plainly green")
    );
    for text in [
        "1 ● red",
        "1 ? grey",
        "(last amber)",
        "97 against filesystem-full",
        "2026-11-23 02:08:03 UTC",
        "12m",
        "owner unix",
        "<a href=\"https:&#x2f;&#x2f;wiki.example.com&#x2f;sop&#x2f;disk\"",
        "/incidents/17",
        "amber since 5s, raises in 25s",
        "http-equiv=\"refresh\" content=\"5\"",
        "down",
        "Open incidents",
    ] {
        position(text);
    }
    assert!(!page.contains("<script"), "labels are hostile");
    assert!(page.contains("&lt;script&gt;"));
}

#[tokio::test]
async fn the_pages_filters_narrow_it_and_misspelt_ones_are_refused_as_a_page() {
    let (_, page) = get("/?owner=dba&layer=&system=").await;
    assert!(page.contains("host&#x2f;db1") && !page.contains("has its reason") && !page.contains("INC-17"), "{page}");
    let (status, page) = get("/?ownr=dba").await;
    assert_eq!(status, 400);
    assert!(page.contains("ownr") && page.contains("<html"), "{page}");
    assert_eq!(get("/?layer=cellar").await.0, 400);
}

#[tokio::test]
async fn an_incidents_page_tells_its_story_and_no_link_runs_code() {
    let (status, page) = get("/incidents/17").await;
    assert_eq!(status, 200, "{page}");
    assert!(
        page.contains("raised") && page.contains("202 Accepted") && page.contains("&lt;b&gt;now&lt;&#x2f;b&gt;"),
        "{page}"
    );
    assert!(page.contains("<dt>To do</dt><dd>javascript:alert(1)</dd>"), "what to do is told, and is no link: {page}");
    assert!(!page.contains("href=\"javascript"), "{page}");
    assert_eq!(get("/incidents/99").await.0, 404);
}

#[tokio::test]
async fn an_items_page_has_the_proof() {
    let (status, page) = get("/items?id=host%2Fweb1%3Afilesystem-full").await;
    assert_eq!(status, 404, "nothing is stored for this board: {page}");
    assert!(page.contains("<html"));
}
