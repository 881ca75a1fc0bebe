//! The command as scripts, schedulers and people see it: exit codes, output, errors.

#![allow(clippy::unwrap_used, reason = "what a test needs and does not get fails it")]

mod support;

use clap::CommandFactory;
use std::process::{Command, Output};
use support::{Twin, nobody, say};

const HOSTILE: &str = "\u{1b}[2J\u{9b}31m\u{202e}";

fn signalbox(collector: &str, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_signalbox"))
        .args(words)
        .env("SIGNALBOX_COLLECTOR", collector)
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env_remove("SIGNALBOX_SOCKET")
        .env_remove("SIGNALBOX_TOKEN")
        .env("http_proxy", "http://127.0.0.1:1")
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A board with one item at `level`, every text hostile.
fn board(level: &str, freshness: &str) -> String {
    let (red, amber, green, grey) = match (freshness, level) {
        ("stale", _) => (0, 0, 0, 1),
        (_, "red") => (1, 0, 0, 0),
        (_, "amber") => (0, 1, 0, 0),
        _ => (0, 0, 1, 0),
    };
    let item = serde_json::json!({
        "id": format!("host/a:load{{x=\"{HOSTILE}\"}}"), "entity": "host/a", "rule": "load", "metric": "m", "labels": {},
        "level": level, "freshness": freshness, "value": 1.5, "value_at": 1, "since": 1, "why": format!("why {HOSTILE}"),
        "pending": null, "flapping": false, "amber_hidden": false, "incident": 17, "snoozes": [], "layer": "machine",
        "owner": HOSTILE, "sop": HOSTILE,
    });
    let counts = serde_json::json!(
        {"red": red, "amber": amber, "green": green, "grey": grey, "amber_hidden": 0, "snoozed": 0});
    serde_json::json!({
        "at": 1, "version": HOSTILE, "level": level, "counts": counts, "problems": [], "added_later": true,
        "entities": [{
            "id": "host/a", "kind": "host", "layer": "machine", "owner": HOSTILE, "system": HOSTILE, "parents": [],
            "level": level, "grey": freshness == "stale", "since": 1, "why": HOSTILE, "counts": counts, "items": [item],
        }],
    })
    .to_string()
}

fn board_twin(level: &'static str, freshness: &'static str) -> Twin {
    Twin::start(move |_, _| say(200, board(level, freshness)))
}

#[test]
fn check_is_a_nagios_plugin() {
    for (level, freshness, expected, word) in [
        ("green", "fresh", 0, "GREEN"),
        ("amber", "fresh", 1, "AMBER"),
        ("red", "fresh", 2, "RED"),
        ("green", "stale", 3, "GREY"),
    ] {
        let output = signalbox(&board_twin(level, freshness).url(), &["status", "--check"]);
        assert_eq!(code(&output), expected, "{level} {freshness}");
        assert!(out(&output).starts_with(&format!("SIGNALBOX {word} - ")), "{}", out(&output));
        assert_eq!(out(&output).lines().count(), 1);
    }
    for words in [&["status", "--check"][..], &["status", "--check", "--nonsense"]] {
        let output = signalbox(&nobody(), words);
        assert_eq!(code(&output), 3, "{words:?}");
        assert!(out(&output).starts_with("SIGNALBOX GREY - "), "{}", out(&output));
        assert_eq!(out(&output).lines().count(), 1);
    }
    let broken = signalbox(&Twin::saying(500, "oops").url(), &["status", "--check"]);
    assert_eq!(code(&broken), 3);
}

#[test]
fn exit_codes_are_as_documented() {
    let green = board_twin("red", "fresh");
    assert_eq!(code(&signalbox(&green.url(), &["status"])), 0, "a red board is a good answer");
    assert_eq!(code(&signalbox(&Twin::saying(404, r#"{"error":"no"}"#).url(), &["incidents", "show", "1"])), 1);
    for words in [&["status", "--nonsense"][..], &["query", "up", "--from", "1h", "--to", "2h"], &["top"], &[]] {
        assert_eq!(code(&signalbox(&green.url(), words)), 2, "{words:?}");
    }
    assert_eq!(code(&signalbox("http://192.0.2.1:8440", &["status"])), 2);
    let output = signalbox(&nobody(), &["agents"]);
    assert_eq!(code(&output), 3);
    assert!(
        err(&output).contains(" is not reachable: Connection refused (")
            && err(&output).contains("is signalbox-collector running?")
    );
}

#[test]
fn json_is_the_apis_document_also_what_this_version_does_not_know() {
    let twin = board_twin("red", "fresh");
    let output = signalbox(&twin.url(), &["status", "--output", "json"]);
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(parse(&out(&output)), parse(&board("red", "fresh")));
    assert!(out(&output).contains("added_later"));
}

#[test]
fn no_text_of_a_server_reaches_the_terminal_raw() {
    let twin = board_twin("red", "fresh");
    for words in [
        &["status"][..],
        &["status", "--all"],
        &["status", "--flat"],
        &["status", "--check"],
        &["status", "--output", "json"],
    ] {
        let output = signalbox(&twin.url(), words);
        for c in [out(&output), err(&output)].concat().chars() {
            assert!(c == '\n' || !c.is_control() && c != '\u{202e}', "{words:?}: {c:?}");
        }
    }
    let refusal = serde_json::json!({"error": HOSTILE, "remedy": HOSTILE}).to_string();
    let output = signalbox(&Twin::start(move |_, _| say(400, refusal.clone())).url(), &["agents"]);
    assert_eq!(code(&output), 1);
    assert!(!err(&output).contains(|c: char| c.is_control() && c != '\n'), "{}", err(&output));
}

#[test]
fn acts_print_what_was_done_and_name_no_author() {
    let twin = Twin::saying(200, r#"{"done":"INC-17 closed as noisy","id":null}"#);
    let close = ["incidents", "close", "INC-17", "--label", "noisy", "--reason", "clean-up"];
    let output = signalbox(&twin.url(), &close);
    assert_eq!((code(&output), out(&output).as_str()), (0, "INC-17 closed as noisy\n"));
    signalbox(&twin.url(), &["snooze", "add", "host/a", "--for", "90m", "--reason", "disk"]);
    let asked = twin.asked();
    assert_eq!(asked[0].body, r#"{"text":"clean-up","assignee":"","label":"noisy"}"#);
    assert_eq!(asked[1].body, r#"{"scope":"host/a","for":"1h30m","reason":"disk"}"#);
}

#[test]
fn errors_are_json_where_json_was_asked_for() {
    let twin = Twin::saying(404, r#"{"error":"no item","remedy":"look"}"#);
    let output = signalbox(&twin.url(), &["explain", "x", "--output", "json"]);
    assert_eq!((code(&output), err(&output).as_str()), (1, "{\"error\":\"no item\",\"exit\":1,\"remedy\":\"look\"}\n"));
    let parsed: serde_json::Value =
        serde_json::from_str(&err(&signalbox(&nobody(), &["agents", "--output", "json"]))).unwrap();
    assert!(parsed["error"].as_str().unwrap().contains("is not reachable"));
    assert!(parsed["remedy"].as_str().unwrap().contains("signalbox doctor"));
    let output = signalbox(&nobody(), &["agents", "--nonsense", "--output", "json"]);
    let parsed: serde_json::Value = serde_json::from_str(&err(&output)).unwrap();
    assert!(code(&output) == 2 && parsed["error"].as_str().unwrap().contains("--nonsense"), "{parsed}");
}

/// Runs with a home of its own, and something on standard input.
fn at_home(home: &std::path::Path, collector: Option<&str>, words: &[&str], stdin: &str) -> Output {
    use std::io::Write;
    let mut command = Command::new(env!("CARGO_BIN_EXE_signalbox"));
    command.args(words).env("XDG_CONFIG_HOME", home).env_remove("SIGNALBOX_SOCKET").env_remove("SIGNALBOX_DATA");
    command.env_remove("SIGNALBOX_TOKEN").env_remove("SIGNALBOX_COLLECTOR");
    if let Some(collector) = collector {
        command.env("SIGNALBOX_COLLECTOR", collector);
    }
    let pipe = std::process::Stdio::piped;
    let mut child = command.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

const WHO: &str =
    r#"{"name":"ada","kind":"user","role":"operator","permissions":["read_status"],"scope":[],"from":"192.0.2.7"}"#;

#[test]
fn a_login_is_kept_used_and_forgotten_and_its_secrets_are_nowhere_to_be_seen() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let twin = Twin::start(|_, path| match path {
        "/api/signalbox/v1/login" => {
            say(200, r#"{"id":"k3","secret":"sba1.canary","expires":4102444800000,"command":""}"#)
        }
        "/api/signalbox/v1/whoami" => say(200, WHO),
        "/api/signalbox/v1/logout" => say(200, r#"{"done":"logged out","id":null}"#),
        _ => say(200, "[]"),
    });
    let words = ["login", &twin.url(), "--name", "ada", "--password-stdin"];
    let output = at_home(dir.path(), None, &words, "sesame canary\n");
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).contains("as ada") && !(out(&output) + &err(&output)).contains("canary"), "{}", out(&output));
    let file = dir.path().join("signalbox/hosts.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("sesame"));
    assert_eq!(code(&at_home(dir.path(), Some(&twin.url()), &["agents"], "")), 0);
    let asked = twin.asked();
    assert!(asked[0].body.contains("sesame canary") && asked[0].authorization.is_empty());
    assert_eq!(
        (asked[1].authorization.as_str(), asked[2].authorization.as_str()),
        ("Bearer sba1.canary", "Bearer sba1.canary")
    );
    assert_eq!(code(&at_home(dir.path(), None, &["logout", &twin.url()], "")), 0);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("canary"));
    assert_eq!(code(&at_home(dir.path(), None, &["logout", &twin.url()], "")), 2, "nothing is left to forget");
}

#[test]
fn a_token_comes_by_standard_input_and_one_that_is_refused_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let twin = Twin::saying(401, r#"{"error":"nobody is logged in","remedy":"signalbox login URL"}"#);
    let output = at_home(dir.path(), None, &["login", &twin.url(), "--token-stdin"], "sba1.canary\n");
    assert_eq!(code(&output), 1);
    assert!(!err(&output).contains("canary") && !dir.path().join("signalbox/hosts.json").exists(), "{}", err(&output));
    assert_eq!(code(&at_home(dir.path(), None, &["login", &twin.url()], "")), 2, "without a terminal nobody is asked");
}

#[test]
fn a_secret_that_was_made_is_alone_on_standard_output() {
    let twin = Twin::saying(
        200,
        r#"{"id":"k3","secret":"sbj1.k3.x.y","expires":4102444800000,"command":"signalbox-agent join https://c:8441"}"#,
    );
    let output =
        signalbox(&twin.url(), &["join-token", "create", "--ttl", "2h", "--label", "site=b", "--cidr", "192.0.2.0/24"]);
    assert_eq!((code(&output), out(&output).as_str()), (0, "sbj1.k3.x.y\n"));
    assert!(err(&output).contains("\n  signalbox-agent join https://c:8441 sbj1.k3.x.y\n"), "{}", err(&output));
    let wanted = r#"{"ttl":"2h","uses":1,"labels":{"site":"b"},"cidrs":["192.0.2.0/24"],"agent":null}"#;
    assert_eq!(twin.asked()[0].body, wanted);
}

#[test]
fn a_broken_record_fails_and_the_doctor_finds_what_is_broken() {
    let twin = Twin::saying(200, r#"{"whole":false,"n_lines":3,"head":"","fault":"line 4 is missing"}"#);
    let output = signalbox(&twin.url(), &["audit", "verify"]);
    assert_eq!(code(&output), 1);
    assert!(out(&output).contains("line 4 is missing"));
    let output = signalbox(&nobody(), &["doctor"]);
    assert_eq!(code(&output), 1);
    assert!(out(&output).contains("is not reachable") && out(&output).contains("= "), "{}", out(&output));
    let findings: Vec<serde_json::Value> =
        serde_json::from_str(&out(&signalbox(&nobody(), &["doctor", "--output", "json"]))).unwrap();
    assert!(findings.iter().any(|finding| finding["state"] == "bad" && finding["remedy"] != ""), "{findings:?}");
}

#[test]
fn an_export_goes_on_to_the_last_line() {
    let line = |no: u64| {
        format!(
            r#"{{"no":{no},"at":1,"who":"a","role":"","from":"f","act":"x","object":"","before":"","after":"","result":"done","prev":"","hash":""}}"#
        )
    };
    let twin = Twin::start_by_target(move |target| {
        let from: u64 = target.split("from=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap();
        let lines: Vec<String> = (from..=(from + 999).min(1500)).map(line).collect();
        say(200, format!("[{}]", lines.join(",")))
    });
    let output = signalbox(&twin.url(), &["audit", "export"]);
    assert_eq!((code(&output), out(&output).lines().count()), (0, 1500), "{}", err(&output));
    assert!(out(&output).lines().last().unwrap().starts_with("{\"no\":1500,"));
}

#[test]
fn rules_with_errors_fail_and_warnings_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("disk.yaml");
    std::fs::write(&file, "rules: []\n").unwrap();
    let path = dir.path().to_str().unwrap();
    for (error, expected) in [(true, 1), (false, 0)] {
        let finding =
            serde_json::json!({"error": error, "file": file, "line": 1, "column": 2, "message": "m", "remedy": "r"});
        let body = serde_json::json!({"n_rules": 0, "n_selected": 0, "findings": [finding]}).to_string();
        let twin = Twin::start(move |_, _| say(200, body.clone()));
        let output = signalbox(&twin.url(), &["rules", "check", path]);
        assert_eq!(code(&output), expected);
        assert!(out(&output).starts_with(&format!("{}:1:2: ", file.display())), "{}", out(&output));
        assert!(twin.asked()[0].body.contains("rules: []"));
    }
    assert_eq!(code(&signalbox(&nobody(), &["rules", "check", "/no/such/file"])), 1);
}

#[test]
fn a_channel_that_refuses_fails() {
    for (accepted, expected) in [("true", 0), ("false", 1)] {
        let body = format!(r#"{{"channel":"mail","accepted":{accepted},"answer":"250 ok","took_ms":3}}"#);
        let twin = Twin::start(move |_, _| say(200, body.clone()));
        assert_eq!(code(&signalbox(&twin.url(), &["notify", "test", "mail"])), expected);
    }
}

#[test]
fn help_version_and_completions_need_no_collector() {
    for words in [&["--help"][..], &["version"], &["--version"], &["completions", "bash"], &["completions", "zsh"]] {
        let output = signalbox("nonsense", words);
        assert_eq!(code(&output), 0, "{words:?}");
        assert!(!out(&output).is_empty());
    }
}

#[test]
fn the_reference_page_names_every_command_and_flag() {
    let page = include_str!("../../../docs/reference-cli.md");
    let mut missing = Vec::new();
    let mut open = vec![(String::from("signalbox"), signalbox_ctl::args::Cli::command())];
    while let Some((path, command)) = open.pop() {
        if !page.contains(&path) {
            missing.push(path.clone());
        }
        for long in command.get_arguments().filter_map(|arg| arg.get_long()) {
            let flag = format!("--{long}");
            if !matches!(long, "help" | "version") && !page.contains(&flag) {
                missing.push(format!("{path} {flag}"));
            }
        }
        open.extend(command.get_subcommands().map(|sub| (format!("{path} {}", sub.get_name()), sub.clone())));
    }
    assert_eq!(missing, Vec::<String>::new());
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
}

#[test]
fn programs_get_failures_as_json_on_standard_error() {
    let refused = Twin::saying(404, r#"{"error":"no item load","remedy":"say more"}"#);
    for (collector, words, exit, error, remedy) in [
        (refused.url(), &["explain", "load"][..], 1, "no item load", "say more"),
        (nobody(), &["agents"], 3, "not reachable", "is signalbox-collector running?"),
        (nobody(), &["status", "--nonsense"], 2, "unexpected argument '--nonsense'", "--help"),
        (nobody(), &["status", "--watch=50ms"], 2, "50ms is too often", "--help"),
        (nobody(), &["rules", "check", "/no/such/file"], 1, "/no/such/file", ""),
    ] {
        let output = signalbox(&collector, &[words, &["--output", "json"]].concat());
        let said = json(&err(&output));
        assert_eq!((code(&output), said["exit"].as_i64()), (exit, Some(i64::from(exit))), "{said}");
        assert!(said["error"].as_str().unwrap().contains(error), "{said}");
        assert!(said["remedy"].as_str().unwrap().contains(remedy), "{said}");
        assert_eq!(out(&output), "", "{words:?}");
    }
}

#[test]
fn version_check_and_rules_check_speak_json_too() {
    let version = signalbox("nonsense", &["version", "--output", "json"]);
    assert_eq!(json(&out(&version))["version"], env!("CARGO_PKG_VERSION"));
    let red = signalbox(&board_twin("red", "fresh").url(), &["status", "--check", "--output", "json"]);
    let said = json(&out(&red));
    assert_eq!((code(&red), &said["level"], &said["exit"]), (2, &json("\"red\""), &json("2")));
    for words in [&["status", "--check"][..], &["status", "--check", "--nonsense"]] {
        let gone = signalbox(&nobody(), &[words, &["--output", "json"]].concat());
        assert_eq!((code(&gone), &json(&out(&gone))["level"]), (3, &json("\"grey\"")));
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.yaml"), "rules: []\n").unwrap();
    let twin = Twin::saying(200, r#"{"n_rules":0,"n_selected":0,"findings":[]}"#);
    let checked = signalbox(&twin.url(), &["rules", "check", dir.path().to_str().unwrap(), "--output", "json"]);
    assert_eq!((code(&checked), &json(&out(&checked))["findings"]), (0, &json("[]")));
}

#[test]
fn a_filter_that_leaves_nothing_says_what_is_known() {
    let twin = || {
        let n_asked = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        Twin::start(move |_, _| {
            let mut board = json(&board("red", "fresh"));
            // First the part that is asked for, then the whole.
            if n_asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
                board["entities"] = json("[]");
            }
            say(200, board.to_string())
        })
    };
    for (words, wanted) in [
        (&["status", "--entity", "host/b"][..], "nothing has entity \"host/b\"; known entities: host/a"),
        (&["status", "--layer", "business"], "nothing has layer \"business\"; known layers: machine"),
        (&["status", "--check", "--system", "x"], "SIGNALBOX GREY - nothing has system \"x\"; known systems: "),
        (&["status", "--flat", "--owner", "x"], "nothing has owner \"x\"; known owners: "),
    ] {
        let output = signalbox(&twin().url(), words);
        assert!(out(&output).contains(wanted), "{words:?}: {}", out(&output));
        assert_eq!(code(&output), if words.contains(&"--check") { 3 } else { 0 });
    }
}

#[test]
fn the_future_has_no_proof() {
    let output = signalbox(&nobody(), &["explain", "load", "--at", "2999-01-01T00:00:00Z"]);
    assert_eq!(code(&output), 2, "refused before anybody is asked");
    assert!(err(&output).contains("lies in the future"), "{}", err(&output));
}
