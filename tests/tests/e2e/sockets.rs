//! The sockets of one host: the kernel says who calls, and only those who are listed
//! get in. Needs root, to call as others.

use crate::common::{block_on, now, speaker};
use anyhow::{Context, Result, ensure};
use e2e::client::Client;
use e2e::process::Collector;
use e2e::speaker::Session;
use e2e::tls;
use rustix::process::Uid;
use rustix::thread::set_thread_uid;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// In `/etc/passwd` of every Linux, as `nobody`.
const NOBODY: u32 = 65_534;
/// Of no account.
const OTHER: u32 = 4_711;

/// Does something as another user: in a thread of its own, whose calls alone the
/// kernel then takes for that user's.
fn as_user<T: Send + 'static>(uid: u32, act: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let thread = std::thread::spawn(move || {
        set_thread_uid(Uid::from_raw(uid)).context("become another user")?;
        act()
    });
    thread.join().map_err(|_| anyhow::anyhow!("the thread of user {uid} panicked"))?
}

/// A collector whose folders everybody may enter: what keeps others out are the sockets.
fn open_collector(folder: &Path, config: &str) -> Result<Collector> {
    let collector = Collector::start_with(folder, &[], config)?;
    for path in [folder.to_owned(), folder.join("data")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(collector)
}

fn ask(client: &Client, method: &str, path: &str, body: &str) -> Result<u16> {
    let headers: &[&str] = if body.is_empty() { &[] } else { &["content-type: application/json"] };
    Ok(client.send(method, &format!("/api/signalbox/v1{path}"), headers, body)?.status)
}

/// True when a stream over the agents' socket is taken.
fn streams(folder: &Path, agent: &str) -> Result<()> {
    let (socket, hello) = (folder.join("data/agent.sock"), speaker(agent, 1, 1, 1000)?.hello(now(), vec![1]));
    block_on(async {
        let mut session = Session::over(tls::unix(&socket).await?, &hello).await?;
        session.acked().await.map(|_| ())
    })
}

#[test]
fn only_root_the_collectors_own_user_and_those_who_are_listed_get_in() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root may call as another user");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let collector = open_collector(folder.path(), "")?;
    let client = collector.client();
    ensure!(ask(&client, "GET", "/users", "")? == 200, "root is an admin");
    for uid in [NOBODY, OTHER] {
        let (client, path) = (client.clone(), folder.path().to_owned());
        let refused =
            as_user(uid, move || Ok((ask(&client, "GET", "/status", "").is_err(), streams(&path, "x").is_err())))?;
        ensure!(refused == (true, true), "user {uid} gets through a socket: {refused:?}");
    }
    drop(collector);
    let listed = tempfile::tempdir()?;
    let config = format!("local_operators: {{nobody: viewer}}\nlocal_agents: {{uids: [{NOBODY}]}}");
    let collector = open_collector(listed.path(), &config)?;
    let new_user = r#"{"name":"mallory","role":"admin"}"#;
    for (uid, read, write) in [(NOBODY, 200, 403), (OTHER, 401, 401)] {
        let client = collector.client();
        let got =
            as_user(uid, move || Ok((ask(&client, "GET", "/status", "")?, ask(&client, "POST", "/users", new_user)?)))?;
        ensure!(got == (read, write), "user {uid}: {got:?}");
        let path = listed.path().to_owned();
        let streamed = as_user(uid, move || Ok(streams(&path, "web1").map_err(|error| format!("{error:#}"))))?;
        ensure!(streamed.is_ok() == (uid == NOBODY), "user {uid}: {streamed:?}");
    }
    let users: serde_json::Value = collector.client().get("/users")?;
    ensure!(!users.to_string().contains("mallory"), "{users}");
    Ok(())
}
