//! What is accepted, and how a refusal reads.

use super::*;
use crate::identity::Folder;
use crate::identity::testing::Authority;
use std::fs;
use std::path::Path;

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn load_text(text: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "agent.yaml", text);
    let folder = format!("{}/", dir.path().display());
    load(Some(&path), &Overrides::default()).map_err(|error| crate::sampler::chain(&error).replace(&folder, ""))
}

#[test]
fn an_empty_file_is_a_whole_configuration() {
    for text in ["", "# only a remark\n", "---\n"] {
        let config = load_text(text).unwrap();
        assert_eq!(config.collector.to_string(), format!("unix:{DEFAULT_COLLECTOR}"));
        assert_eq!(config.machine.interval, Millis(1000));
        assert_eq!(config.spool, DEFAULT_SPOOL);
        assert_eq!(config.machine.network_ignore, DevicePattern::defaults());
    }
}

#[test]
fn every_key_is_read() {
    let config = load_text(
        "agent_id: web-1\ncollector: https://[::1]:9000\nlabels: {region: eu, system: pay}\ninterval: 2s\n\
         data_dir: /tmp/x\nspool: {max_size: 64MiB, max_age: 6h}\n\
         checks:\n  machine:\n    interval: 5s\n    disable: [netstat]\n    intervals: {cpu: 500ms}\n    network_ignore: ['tap*', eth9]\n\
         processes:\n  - {name: db, match: {unit: postgresql.service}}\n  - {name: web, match: {name: nginx}, interval: 10s}\n\
         backfill_samples_per_second: 5000\nlog: {level: debug, format: json}\n",
    )
    .unwrap();
    assert_eq!(config.agent_id.as_str(), "web-1");
    assert_eq!(config.collector.to_string(), "https://[::1]:9000");
    assert_eq!(config.labels.get("system"), Some("pay"));
    assert_eq!(config.spool, Limits { max_size: Bytes::from_mib(64), max_age: Millis(6 * 3_600_000) });
    assert_eq!(config.machine.interval, Millis(5000));
    assert_eq!(config.machine.intervals["cpu"], Millis(500));
    let ignored = ["tap*", "eth9"].map(|text| DevicePattern::parse(text).unwrap());
    assert_eq!(config.machine.network_ignore, ignored);
    assert_eq!(config.processes[0].interval, Millis(2000));
    assert_eq!(config.processes[1].by, ProcessMatch::Name("nginx".to_owned()));
    assert_eq!((config.backfill_samples_per_second, config.log_format), (5000, LogFormat::Json));
}

/// The refusal of `text` names each of `parts`.
fn refuses(text: &str, parts: &[&str]) {
    let error = load_text(text).unwrap_err();
    for part in parts {
        assert!(error.contains(part), "{part:?} is missing in:\n{error}");
    }
}

#[test]
fn a_refusal_names_file_line_column_and_remedy() {
    refuses("interval: 1s\nintervall: 2s\n", &["agent.yaml:2:1:", "intervall", "did you mean `interval`?"]);
    refuses("spool: {colour: 1}\n", &["agent.yaml:1:9:", "known here: max_size, max_age"]);
    refuses("log: {level: inof}\n", &["agent.yaml:1:14:", "`inof`", "did you mean `info`?"]);
    refuses("processes:\n  - {match: {name: x}}\n", &["agent.yaml:2:6:", "add `name:`"]);
    refuses("interval: 30\n", &["agent.yaml:1:11:", "has no unit; write for example 30s"]);
    refuses("spool:\n  max_size: 1MiB\n", &["agent.yaml:2:13:", "must be at least 4MiB"]);
    refuses("interval: 1ms\n", &["agent.yaml:1:11:", "interval 1ms must be 100ms to 1d"]);
    refuses("agent_id: web 1\n", &["agent.yaml:1:11:", "must be 1 to 128 of"]);
    refuses("checks:\n  machine:\n    network_ignore: ['*x']\n", &["agent.yaml:3:22:", "write for example veth*"]);
    refuses("a: [\n", &["agent.yaml:"]);
    refuses("processes:\n  - {name: a, match: {pattern: '('}}\n", &["agent.yaml:2:5:", "no regular expression"]);
    refuses("processes:\n  - {name: a, match: {}}\n", &["agent.yaml:2:5:", "exactly one of"]);
    refuses(
        "processes:\n  - {name: a, match: {name: x}}\n  - {name: a, match: {unit: y}}\n",
        &["agent.yaml:3:5:", "given twice"],
    );
}

#[test]
fn a_collector_in_plain_text_is_refused_once_with_file_line_and_remedy() {
    refuses(
        "collector: http://10.0.0.1:8441\n",
        &["agent.yaml:1:12:", "signalbox-agent join", "unix:DATA_DIR/agent.sock"],
    );
    let error = load_text("interval: 2s\ncollector: http://127.0.0.1:8441\n").unwrap_err();
    assert!(error.starts_with("agent.yaml:2:12:"), "{error}");
    assert_eq!(error.matches("plain text").count(), 1, "{error}");
}

#[test]
fn the_identity_names_the_agent_unless_the_file_does() {
    let dir = tempfile::tempdir().unwrap();
    let now = signalbox_proto::units::UnixMillis(1_764_000_000_000);
    let folder = Folder::of(dir.path());
    let key = folder.next_key().unwrap();
    let ca = Authority::new("ca", now);
    folder.install(&key, &ca.agent(&key, "joined", now, now + Millis(1000)), &ca.pem()).unwrap();
    let text = format!("data_dir: {}\n", dir.path().display());
    let with = |more: &str| load_text(&format!("{text}{more}"));
    assert_eq!(with("collector: https://c\n").unwrap().agent_id.as_str(), "joined");
    assert_ne!(with("").unwrap().agent_id.as_str(), "joined", "a Unix socket needs no identity");
    assert_eq!(with("collector: https://c\nagent_id: joined\n").unwrap().agent_id.as_str(), "joined");
    let error = with("collector: https://c\nagent_id: other\n").unwrap_err();
    assert!(error.contains("agent_id is other in agent.yaml") && error.contains("write agent_id: joined"), "{error}");
}

#[test]
fn a_refusal_is_told_once_with_its_line() {
    assert_eq!(
        load_text("# remark\nintervall: 2s\n").unwrap_err(),
        "agent.yaml:2:1: there is no key `intervall` here\n2 | intervall: 2s\n  | ^\n  = did you mean `interval`?"
    );
    assert_eq!(
        load_text("interval: 1ms\n").unwrap_err(),
        "agent.yaml:1:11: interval 1ms must be 100ms to 1d\n1 | interval: 1ms\n  |           ^"
    );
    let labels = load_text("labels: {the-region: eu}\n").unwrap_err();
    assert_eq!(labels.matches("must match").count(), 1, "{labels}");
}

#[test]
fn conf_d_appends_lists_and_refuses_a_setting_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let main = write(dir.path(), "agent.yaml", "processes:\n  - {name: a, match: {name: x}}\n");
    write(dir.path(), "conf.d/10.yaml", "interval: 5s\nlabels: {region: eu}\n");
    write(dir.path(), "conf.d/20.yaml", "processes:\n  - {name: b, match: {name: y}}\nlabels: {system: pay}\n");
    write(dir.path(), "conf.d/ignored.txt", "nonsense: [");
    let config = load(Some(&main), &Overrides::default()).unwrap();
    assert_eq!(config.processes.len(), 2);
    assert_eq!((config.machine.interval, config.labels.len()), (Millis(5000), 2));
    write(dir.path(), "conf.d/30.yaml", "interval: 6s\n");
    let error = load(Some(&main), &Overrides::default()).unwrap_err().to_string();
    assert!(error.starts_with("interval is set in ") && error.contains("10.yaml") && error.contains("30.yaml"));
}

#[test]
fn the_command_line_overrules_the_files_and_a_named_file_must_exist() {
    let dir = tempfile::tempdir().unwrap();
    let main = write(dir.path(), "agent.yaml", "agent_id: from-file\n");
    let overrides = Overrides { agent_id: Some(AgentId::parse("from-flag").unwrap()), ..Overrides::default() };
    assert_eq!(load(Some(&main), &overrides).unwrap().agent_id.as_str(), "from-flag");
    let missing = load(Some(&dir.path().join("none.yaml")), &overrides).unwrap_err();
    assert!(missing.to_string().starts_with("read configuration "));
}

#[test]
fn an_id_that_would_mislead_is_refused_and_the_hosts_name_is_taken_in_lower_case() {
    for id in ["..", ".", ".web1", "web1."] {
        refuses(&format!("agent_id: \"{id}\"\n"), &["agent.yaml:1:11:", "neither begin nor end with a dot"]);
    }
    refuses("agent_id: collector\n", &["the collector's own", "choose another"]);
    assert_eq!(load::default_id("WEB1.Example.org").unwrap().as_str(), "web1.example.org");
    assert!(load::default_id("collector").is_err());
}
