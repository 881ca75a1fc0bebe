//! Good files and faulty ones.

use super::*;

fn parse(text: &str) -> Result<Config, String> {
    let parsed = Config::parse(Path::new("/etc/signalbox/collector.yaml"), text, &Overrides::default());
    parsed.map_err(|error| error.to_string())
}

#[test]
fn an_empty_file_is_a_good_one() {
    let config = parse("").unwrap();
    assert_eq!(config.doors.listen_grpc, "127.0.0.1:8441".parse().unwrap());
    assert_eq!(config.external_url, "http://127.0.0.1:8440");
    assert_eq!(config.retention.raw.age.to_string(), "30d");
}

#[test]
fn each_tier_has_its_age_and_its_size() {
    let keep = |age: &str, max_bytes| (age.to_owned(), max_bytes);
    let check = |text: &str, expected: [(String, Option<Bytes>); 3]| {
        let Retention { raw, minutes, hours } = parse(text).unwrap().retention;
        assert_eq!([raw, minutes, hours].map(|tier| (tier.age.to_string(), tier.max_bytes)), expected);
    };
    check("", [keep("30d", None), keep("400d", None), keep("1825d", None)]);
    let text = "retention: {raw: 2d, minutes: 60d, minutes_max_bytes: 1GiB, hours: 90d}";
    check(text, [keep("2d", None), keep("60d", Some(Bytes::from_mib(1024))), keep("90d", None)]);
}

#[test]
fn paths_count_from_the_file_and_values_carry_units() {
    let config =
        parse("data_dir: data\nrules_dir: /r\nretention: {raw: 7d, max_bytes: 10GiB}\nmemory: 64MiB\n").unwrap();
    assert_eq!(config.data_dir, Path::new("/etc/signalbox/data"));
    assert_eq!(config.rules_dir.as_deref(), Some(Path::new("/r")));
    assert_eq!((config.retention.raw.age.to_string(), config.memory), ("7d".to_owned(), Bytes::from_mib(64)));
}

#[test]
fn faults_name_file_place_and_remedy() {
    let refused = |text: &str| parse(text).unwrap_err();
    let unknown = refused("listen_htp: 127.0.0.1:1\n");
    assert!(unknown.contains("collector.yaml") && unknown.contains("listen_htp"), "{unknown}");
    assert!(refused("listen_grpc: here").contains("write for example 127.0.0.1:8441"));
    assert!(refused("memory: 64").contains("has no unit"));
    assert!(refused("memory: 1MiB").contains("16MiB"));
    assert!(refused("log: {level: inof}").contains("log.level") && parse("log: {level: \"a=debug,info\"}").is_ok());
    assert!(refused("log: {level: a=loud}").contains("log.level"));
    assert!(refused("retention: {audit_lines: 999}").contains("not between 1000"));
    assert_eq!(parse("retention: {audit_lines: 1000}").unwrap().audit_lines, 1000);
    assert!(refused("tls: {agent_certificate: 119s}").contains("not between 2m"));
    assert!(refused("tls: {agent_certificate: 8d}").contains("not between 2m"));
    assert_eq!(parse("tls: {agent_certificate: 2m}").unwrap().doors.tls.agent_life, Millis::from_mins(2));
    assert!(refused("retention: {raw: 1s}").contains("not between 1h"));
    assert!(refused("retention: {minutes: 4d}").contains("that hours are made of"));
    assert!(refused("retention: {hours_max_bytes: 1MiB}").contains("16MiB"));
}

#[test]
fn a_missing_folder_of_rules_is_named_with_the_remedy() {
    let findings = crate::reload::check(&parse("rules_dir: /no-such-folder").unwrap()).unwrap_err();
    let said = format!("{}{}", findings[0].place(), findings[0].message);
    assert!(
        said.starts_with("read rules_dir /no-such-folder: ") && findings[0].remedy.contains("make the folder"),
        "{said}"
    );
}

#[test]
fn any_address_may_be_listened_on_and_a_far_one_has_tls() {
    let near = parse("").unwrap().doors;
    assert!(!near.http_tls && near.tls.names.contains(&"127.0.0.1".to_owned()));
    assert_eq!(near.agents_address(), "https://127.0.0.1:8441");
    assert_eq!(near.agent_socket, Path::new("/var/lib/signalbox/collector/agent.sock"));
    assert_eq!(near.operator_socket, Path::new("/var/lib/signalbox/collector/operator.sock"));
    let far =
        parse("listen_http: 0.0.0.0:8440\nlisten_grpc: '[::]:8441'\ntls: {names: [signalbox.example.com]}\n").unwrap();
    assert!(far.doors.http_tls);
    assert_eq!(far.external_url, "https://signalbox.example.com:8440");
    assert_eq!(far.doors.agents_address(), "https://signalbox.example.com:8441");
    assert!(far.doors.tls.names.contains(&"signalbox.example.com".to_owned()));
    assert!(parse("tls: {http: true}").unwrap().doors.http_tls);
    assert!(parse("tls: {cert: a, key: b}").unwrap().doors.http_tls);
}

#[test]
fn what_would_open_a_door_too_wide_or_half_is_refused() {
    let refused = |text: &str| parse(text).unwrap_err();
    let open = refused("listen_http: 0.0.0.0:8440\ntls: {http: false}\n");
    assert!(open.contains("tls.http") && open.contains("in the open") && open.contains("127.0.0.1:8440"), "{open}");
    assert!(refused("tls: {cert: a}").contains("tls.key: it is missing: tls.cert is given"));
    assert!(refused("tls: {ca_key: a}").contains("tls.ca_cert: it is missing"));
    assert!(refused("tls: {cert: a, key: b, http: false}").contains("leave one out"));
    assert!(refused("tls: {names: ['a b']}").contains("no host name"));
    assert!(refused("local_operators: {ada: root}").contains("viewer, operator"));
    let long = "x".repeat(108);
    assert!(refused(&format!("agent_socket: /{long}")).contains("over 107"));
    assert!(parse(&format!("agent_socket: /{}", &long[2..])).is_ok());
    let uids: Vec<String> = (0..65).map(|uid| uid.to_string()).collect();
    assert!(parse(&format!("local_agents: {{uids: [{}]}}", uids[1..].join(","))).is_ok());
    assert!(refused(&format!("local_agents: {{uids: [{}]}}", uids.join(","))).contains("over the limit of 64"));
}

#[test]
fn every_bound_of_a_door_can_be_set_within_its_own() {
    let agents = "limits: {agents: {connections: 1, connections_per_agent: 6, strangers: 2, strangers_per_address: 3, handshake: 1s, \
                  first_call: 2s, message: 1MiB, headers: 4KiB, streams: 4, connection_age: 1m, slow_reader: 3s, \
                  enrolments_per_minute: 5, hellos_per_minute: 6}}";
    let set = parse(agents).unwrap().doors.agents;
    assert_eq!((set.connections, set.strangers, set.strangers_per_address, set.streams), (1, 2, 3, 4));
    assert_eq!((set.connections_per_agent, set.hellos_per_minute), (6, 6));
    assert_eq!((set.message_bytes, set.header_bytes, set.enrolments_per_minute), (1 << 20, 4096, 5));
    assert_eq!([set.handshake, set.first_call, set.slow_reader, set.age].map(|span| span.as_secs()), [1, 2, 3, 60]);
    let operators = "limits: {operators: {connections: 1, connections_per_address: 2, requests: 3, login_failures: 4, \
                     handshake: 1s, head: 2s, body: 64KiB, request: 3s, slow_reader: 4s, connection_age: 1m, \
                     login_window: 5m}}";
    let set = parse(operators).unwrap().doors.operators;
    assert_eq!((set.connections, set.connections_per_address, set.requests, set.login_failures), (1, 2, 3, 4));
    assert_eq!((set.body_bytes, set.login_window), (65_536, Millis::from_mins(5)));
    assert_eq!([set.handshake, set.head, set.request, set.write, set.age].map(|span| span.as_secs()), [1, 2, 3, 4, 60]);
    let refused = |text: &str| parse(text).unwrap_err();
    assert!(refused("limits: {agents: {connections: 0}}").contains("limits.agents.connections: 0 is not between 1"));
    assert!(refused("limits: {agents: {message: 5MiB}}").contains("not between 1KiB and 4MiB"));
    assert!(refused("limits: {agents: {handshake: 10ms}}").contains("limits.agents.handshake"));
    assert!(refused("limits: {operators: {body: 1KiB}}").contains("limits.operators.body"));
}
