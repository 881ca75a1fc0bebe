//! Secrets stay where they are: a canary in every place that holds one, every
//! answer asked for, everything logged at its finest; then nothing but the places
//! themselves knows a canary.

use crate::common::{AT_ONCE, PATIENCE, block_on, now};
use anyhow::{Context, Result, ensure};
use e2e::people::{PASSWORD, api_token, form, session};
use e2e::process::{Agent, Collector, wait_for};
use e2e::sink::Sink;
use e2e::tls;
use signalbox_collector::http::routes;
use signalbox_proto::api::NewJoinToken;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What each secret holds.
const CANARY: &str = "canary-7f3a91";

fn secret(folder: &Path, name: &str, text: &str) -> Result<String> {
    let path = folder.join(name);
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(format!("file:{}", path.display()))
}

/// Every file below `folder` that holds one of `secrets`, but for those below `but`.
fn holders(folder: &Path, secrets: &[String], but: &[PathBuf]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if but.contains(&path) || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            found.extend(holders(&path, secrets, but)?);
        } else if path.is_file() {
            let bytes = fs::read(&path)?;
            for secret in secrets {
                if bytes.windows(secret.len()).any(|window| window == secret.as_bytes()) {
                    found.push(format!("{} holds {secret}", path.display()));
                }
            }
        }
    }
    Ok(found)
}

#[test]
fn no_secret_leaves_its_place() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let secrets_in = folder.path().join("secrets");
    fs::create_dir(&secrets_in)?;
    let sink = Sink::start()?;
    let url = secret(&secrets_in, "url", &format!("{}/{CANARY}-url", sink.url()))?;
    let key = secret(&secrets_in, "key", &format!("{CANARY}-hmac"))?;
    let script = secret(&secrets_in, "script", &format!("{CANARY}-script"))?;
    let notify = format!(
        "channels:\n  - name: hook\n    webhook: {{url: \"{url}\", secret: \"{key}\"}}\nroutes:\n  - channel: hook\n"
    );
    let home = folder.path().join("collector");
    let config = "log: {level: trace}";
    let collector = Collector::start_with(&home, &[("rules.yaml", AT_ONCE), ("notify.yaml", &notify)], config)?;
    let (admin, stranger) = (collector.client(), collector.stranger());
    // What people and machines are given.
    let cookie = session(&collector, "ada", "admin")?;
    let token = api_token(&collector, &serde_json::json!({ "name": "t", "role": "admin", "ttl": "1h" }))?.secret;
    let wanted =
        NewJoinToken { ttl: "1h".to_owned(), uses: 2, labels: BTreeMap::new(), cidrs: Vec::new(), agent: None };
    let join = collector.join_token(&wanted)?.secret;
    let key_of_agent = block_on(async {
        let channel = tls::channel(collector.grpc, &collector.ca_pem()?, None).await?;
        Ok(tls::join(channel, &join, "one", now().0).await?.key)
    })?;
    let agent = script_agent(&folder.path().join("agent"), &collector, &script)?;
    wait_for("the script's word", PATIENCE, || {
        let agents: serde_json::Value = admin.get("/agents")?;
        Ok(agents.to_string().contains("script:db").then_some(()))
    })?;
    // Wrong uses, whose errors must not repeat what was said.
    form(
        &stranger,
        "/login",
        &format!("http://127.0.0.1:{}", collector.http),
        &[("name", "ada"), ("password", PASSWORD)],
    )?;
    let json = "content-type: application/json";
    for body in
        [format!("{{\"name\":\"ada\",\"password\":\"{PASSWORD}\""), format!("{{\"new\":\"{PASSWORD}\",\"x\":1}}")]
    {
        for path in ["/login", "/password", "/users/ada/password"] {
            admin.send("POST", &format!("/api/signalbox/v1{path}"), &[json], &body)?;
        }
    }
    admin.send("POST", "/api/signalbox/v1/notify/test/hook", &[json], "{}")?;
    stranger.clone().with_token(&format!("{token}x")).status().err().context("a wrong token lets in")?;
    let session_secret = cookie.split('=').nth(1).context("a cookie")?.to_owned();
    let join_secret = join.split('.').nth(2).context("a token")?.to_owned();
    let secrets =
        vec![CANARY.to_owned(), PASSWORD.to_owned(), token, session_secret, join_secret, body_of(&key_of_agent)];
    for route in routes().iter().filter(|route| route.method == "GET" && !route.path.contains('{')) {
        for client in [admin.clone(), stranger.clone().with(&cookie)] {
            let reply = client.send("GET", &route.path, &[], "")?;
            let told = secrets.iter().find(|secret| reply.body.contains(*secret) || reply.head.contains(*secret));
            ensure!(told.is_none(), "GET {} tells {told:?}", route.path);
        }
    }
    let log = fs::read_to_string(home.join("collector.log"))?;
    ensure!(log.len() > 10_000, "the log is fine: {} bytes", log.len());
    drop(agent);
    drop(collector);
    let found = holders(folder.path(), &secrets, &[secrets_in])?;
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}

/// The line of a PEM file that is like no other.
fn body_of(pem: &str) -> String {
    pem.lines().nth(1).unwrap_or_default().to_owned()
}

/// An agent with a script that tells its secret.
fn script_agent(folder: &Path, collector: &Collector, secret: &str) -> Result<Agent> {
    fs::create_dir_all(folder)?;
    let config = format!(
        "agent_id: canary\ncollector: {}\nlog: {{level: debug}}\nscripts:\n  - name: db\n    command: [/usr/bin/env]\n    \
         interval: 1s\n    env: {{DB_PASSWORD: '{secret}'}}\n  - name: fails\n    command: [/usr/bin/env, 'false']\n    interval: 1s\n    \
         env: {{DB_PASSWORD: '{secret}'}}\n",
        collector.endpoint()
    );
    let agent = Agent::start(folder, &config)?;
    Ok(agent)
}
