//! Requests as clients of Prometheus send them, against a board and an index made by hand.

use crate::http::testing::{ask, ask_as, door, get, root};
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

async fn data(path: &str) -> Value {
    let (status, body) = get(path).await;
    assert_eq!(status, 200, "{path}: {body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["status"], "success");
    answer["data"].clone()
}

async fn check_refused(path: &str, status: u16, kind: &str, wanted: &str) {
    let (got, body) = get(path).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (got, &answer["status"], &answer["errorType"]),
        (status, &json!("error"), &json!(kind)),
        "{path}: {body}"
    );
    assert!(answer["error"].as_str().unwrap().contains(wanted), "{body}");
}

#[tokio::test]
async fn listings_are_answered_from_the_index() {
    assert_eq!(data("/api/v1/labels").await, json!(["__name__", "host"]));
    assert_eq!(data("/api/v1/label/host/values").await, json!(["db1", "web1"]));
    assert_eq!(data("/api/v1/label/host/values?match[]=node_load1%7Bhost=~%22w.*%22%7D").await, json!(["web1"]));
    let series = data("/api/v1/series?match[]=node_load1%7Bhost=%22db1%22%7D").await;
    assert_eq!(series, json!([{"__name__": "node_load1", "host": "db1"}]));
    assert_eq!(data("/api/v1/metadata").await["node_load1"][0]["type"], "unknown");
    assert_eq!(data("/api/v1/status/tsdb").await["headStats"]["numSeries"], 2);
    assert!(data("/api/v1/status/buildinfo").await["features"].is_null(), "Grafana would take us for Mimir");
    let cut: Value = serde_json::from_str(&get("/api/v1/label/host/values?limit=1").await.1).unwrap();
    assert_eq!((&cut["data"], cut["warnings"].as_array().unwrap().len()), (&json!(["db1"]), 1));
}

#[tokio::test]
async fn expressions_are_evaluated() {
    let two = data("/api/v1/query?query=1%2B1&time=10").await;
    assert_eq!(two, json!({"resultType": "scalar", "result": [10, "2"]}));
    assert_eq!(data("/api/v1/query?query=node_load1").await["result"], json!([]));
    let range = data("/api/v1/query_range?query=vector(7)&start=0&end=60&step=30s").await;
    assert_eq!(range["result"][0]["values"], json!([[0, "7"], [30, "7"], [60, "7"]]));
    assert_eq!(data("/api/v1/query_exemplars?query=up").await, json!([]));
    assert!(data("/api/v1/format_query?query=sum(up)by(a)").await.as_str().unwrap().contains("up"));
}

#[tokio::test]
async fn a_form_is_read_as_the_address_is() {
    let request = Request::post("/api/v1/query").header("host", "localhost");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let (response, body) = ask(request.body(Body::from("query=1%2B1&time=10")).unwrap()).await;
    assert_eq!((response.status().as_u16(), body.contains("[10,\"2\"]")), (200, true), "{body}");
}

#[tokio::test]
async fn what_is_not_understood_is_refused_in_prometheus_words() {
    check_refused("/api/v1/query", 400, "bad_data", "\"query\": it is missing").await;
    check_refused("/api/v1/query?query=sum(", 400, "bad_data", "parse error").await;
    check_refused("/api/v1/query?query=up&time=soon", 400, "bad_data", "\"time\"").await;
    check_refused("/api/v1/query_range?query=up&start=0&end=60", 400, "bad_data", "\"step\"").await;
    check_refused("/api/v1/query_range?query=up&start=0&end=60&step=0", 400, "bad_data", "step").await;
    check_refused("/api/v1/query_range?query=up&start=60&end=0&step=1", 400, "bad_data", "end").await;
    check_refused("/api/v1/query_range?query=up&start=0&end=11000&step=1", 400, "bad_data", "11000").await;
    check_refused("/api/v1/series", 400, "bad_data", "match[]").await;
    check_refused("/api/v1/labels?match[]=%7B", 400, "bad_data", "match[]").await;
    check_refused("/api/v1/rules?type=both", 400, "bad_data", "both").await;
}

async fn write(headers: &[(&str, &str)], path: &str, body: &'static [u8]) -> (u16, String) {
    let request = Request::post(path).header("host", "localhost");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let (response, body) = ask_as(&door(), root(), request.body(Body::from(body)).unwrap()).await;
    (response.status().as_u16(), body)
}

#[tokio::test]
async fn what_is_no_remote_write_is_refused_for_good() {
    let kind = ("content-type", "application/x-protobuf");
    let snappy = ("content-encoding", "snappy");
    let path = "/api/v1/write";
    for (headers, path, status, wanted) in [
        (vec![("content-type", "application/json")], path, 415, "application/json"),
        (
            vec![("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"), snappy],
            path,
            415,
            "1.0",
        ),
        (vec![kind, ("content-encoding", "gzip")], path, 415, "gzip"),
        (vec![kind, snappy], path, 400, "snappy"),
        (vec![kind, snappy], "/api/v1/write?source=a%2Fb", 400, "source"),
        (vec![kind, snappy], "/api/v1/write?interval=0", 400, "interval"),
        (vec![kind, snappy], "/api/v1/write?sauce=a", 400, "sauce"),
    ] {
        let (got, body) = write(&headers, path, b"\xff\xff\xff\xff\xff\xff").await;
        assert_eq!((got, body.contains(wanted)), (status, true), "{path} {headers:?}: {body}");
    }
}
