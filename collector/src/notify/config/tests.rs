//! What `notify.yaml` may say and what it is refused for.

use super::*;

fn parse(file: &str, text: &str) -> Result<Vec<Channel>, Vec<Finding>> {
    super::parse(&BTreeMap::from([(file.to_owned(), text.to_owned())]))
}

#[test]
fn channels_may_stand_in_any_file_and_are_one_set() {
    let hook = |name: &str| format!("channels:\n  - name: {name}\n    webhook: {{url: \"https://x.example\"}}\n");
    let files = |second: &str| {
        BTreeMap::from([
            ("a.yaml".to_owned(), format!("rules: []\n{}", hook("a"))),
            ("b.yaml".to_owned(), second.to_owned()),
            ("c.yaml".to_owned(), "# nothing about channels: here\n".to_owned()),
        ])
    };
    assert_eq!(super::parse(&files(&hook("b"))).unwrap().len(), 2);
    let findings = super::parse(&files(&hook("a"))).unwrap_err();
    assert_eq!((findings[0].file.as_str(), findings[0].line), ("b.yaml", 2));
}

fn refusals(text: &str) -> Vec<String> {
    let findings = parse("notify.yaml", text).map(|_| ()).unwrap_err();
    findings.iter().map(|f| format!("{}:{}:{}: {} | {}", f.file, f.line, f.column, f.message, f.remedy)).collect()
}

fn check_refused(text: &str, wanted: &str) {
    let refusals = refusals(text);
    assert!(refusals.iter().any(|line| line.contains(wanted)), "wanted {wanted:?} in {refusals:#?}");
}

#[test]
fn both_kinds_are_read_beside_the_routes_of_the_engine() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, "k").unwrap();
    let text = format!(
        "routes:\n  - channel: hook\n    from: red\nchannels:\n  - name: hook\n    webhook:\n      url: https://chat.example.com/x\n      secret: file:{}\n      timeout: 5s\n  - name: ops-mail\n    email:\n      server: localhost\n      port: 2525\n      from: Signalbox <signalbox@example.com>\n      to: [ops@example.com, dba@example.com]\n      hello: collector.example.com\n      starttls: never\n",
        key.display()
    );
    let channels = parse("notify.yaml", &text).unwrap();
    assert_eq!(channels.len(), 2);
    let ChannelKind::Webhook(hook) = &channels[0].kind else { panic!("a webhook") };
    assert_eq!(hook.timeout, Millis::from_secs(5));
    assert_eq!(hook.secret.as_ref().unwrap().reveal(), "k");
    let ChannelKind::Email(mail) = &channels[1].kind else { panic!("a mail channel") };
    assert_eq!((mail.port, mail.to.len(), mail.starttls), (2525, 2, false));
    assert_eq!(mail.timeout, TIMEOUT_DEFAULT);
}

#[test]
fn an_empty_file_has_no_channels() {
    assert!(parse("notify.yaml", "\n").unwrap().is_empty());
    assert!(parse("notify.yaml", "routes: []\n").unwrap().is_empty());
}

#[test]
fn a_literal_secret_is_refused_with_a_hint_and_never_repeated() {
    let text = "channels:\n  - name: hook\n    webhook:\n      url: https://x.example\n      secret: hunter2\n";
    let refusals = refusals(text);
    assert_eq!(refusals.len(), 1);
    assert!(refusals[0].starts_with("notify.yaml:5:15: a secret is written out | put the secret in a file"));
    assert!(!refusals[0].contains("hunter2"));
}

#[test]
fn no_finding_shows_a_neighbouring_line() {
    let text = "channels:\n  - name: hook\n    webhook:\n      secret: hunter2\n      ulr: https://x.example\n";
    let refusals = refusals(text);
    assert!(refusals[0].contains("ulr"), "{refusals:?}");
    assert!(!refusals[0].contains("hunter2"), "{refusals:?}");
}

#[test]
fn plain_http_needs_loopback_or_a_word() {
    let hook = |url: &str, more: &str| format!("channels:\n  - name: h\n    webhook:\n      url: {url}\n{more}");
    for good in ["http://127.0.0.1:9/x", "http://localhost/x", "\"http://[::1]:9/\"", "https://far.example/x"] {
        assert!(parse("notify.yaml", &hook(good, "")).is_ok(), "{good}");
    }
    check_refused(&hook("http://far.example/x", ""), "plain http to far.example");
    assert!(parse("notify.yaml", &hook("http://far.example/x", "      allow_plain_http: true\n")).is_ok());
}

#[test]
fn urls_that_nobody_should_post_to_are_refused() {
    let hook = |url: &str| format!("channels:\n  - name: h\n    webhook:\n      url: {url}\n");
    check_refused(&hook("https://user:pw@far.example/"), "user name or password");
    check_refused(&hook("https://169.254.169.254/latest"), "link-local");
    check_refused(&hook("\"https://[fe80::1]/\""), "link-local");
    check_refused(&hook("\"https://[::ffff:169.254.169.254]/\""), "link-local");
    check_refused(&hook("ftp://far.example/"), "scheme ftp");
    check_refused(&hook("nonsense"), "not understood");
}

#[test]
fn mail_in_the_clear_stays_on_this_host() {
    let mail = |lines: &str| {
        format!("channels:\n  - name: m\n    email:\n      from: a@b.example\n      to: [c@d.example]\n{lines}")
    };
    check_refused(&mail("      server: mail.example\n      starttls: never\n"), "in the clear");
    check_refused(
        &mail("      server: localhost\n      starttls: never\n      username: env:PATH\n      password: env:PATH\n"),
        "password in the clear",
    );
    check_refused(&mail("      server: mail.example\n      username: env:PATH\n"), "go together");
    check_refused(
        &mail("      server: mail.example\n      username: env:PATH\n      password: hunter2\n"),
        "written out",
    );
    assert!(parse("notify.yaml", &mail("      server: mail.example\n")).is_ok());
}

#[test]
fn line_breaks_cannot_enter_smtp_by_configuration() {
    let text = "channels:\n  - name: m\n    email:\n      server: localhost\n      starttls: never\n      from: a@b.example\n      to: [\"c@d.example\\r\\nRCPT TO:<x@y>\"]\n      hello: \"h\\r\\nMAIL\"\n";
    check_refused(text, "address");
    check_refused(text, "hello");
}

#[test]
fn channels_are_counted_named_once_and_have_one_body() {
    let hook = |name: &str| format!("  - name: {name}\n    webhook: {{url: \"https://x.example\"}}\n");
    let many = |n: usize| format!("channels:\n{}", (0..n).map(|i| hook(&format!("h{i}"))).collect::<String>());
    assert_eq!(parse("notify.yaml", &many(CHANNELS_MAX)).unwrap().len(), CHANNELS_MAX);
    check_refused(&many(CHANNELS_MAX + 1), "more than 64 channels");
    check_refused(&format!("channels:\n{}{}", hook("a"), hook("a")), "named twice");
    check_refused("channels:\n  - name: a\n", "exactly one of webhook and email");
    check_refused(&format!("channels:\n{}", hook("\"a b\"")), "must be 1 to 64");
}

#[test]
fn timeouts_hold_at_their_limits() {
    let hook = |span: &str| {
        parse(
            "notify.yaml",
            &format!("channels:\n  - name: h\n    webhook: {{url: \"https://x.example\", timeout: {span}}}\n"),
        )
    };
    assert!(hook("100ms").is_ok() && hook("60s").is_ok());
    assert!(hook("99ms").is_err() && hook("61s").is_err() && hook("10").is_err());
}
