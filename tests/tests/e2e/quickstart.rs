//! H1: from the built programs to a board of this very host with the five machine
//! subjects in levels, within ten seconds of the agent's start.

use anyhow::{Context, Result, ensure};
use e2e::client::Client;
use e2e::people::{cookie, follow};
use e2e::process::free_port;
use signalbox_proto::status::Freshness;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn quickstart(arguments: &[&str]) -> Result<(bool, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("tests/ has a parent")?;
    let out = Command::new("bash").arg("deploy/quickstart.sh").args(arguments).current_dir(root).output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    Ok((out.status.success(), said))
}

/// Follows the link that was printed; gives the status of the page behind it.
fn log_in(stranger: &Client, said: &str) -> Result<u16> {
    let link = said.split_whitespace().find(|word| word.contains("/login?code=")).context("a login link is printed")?;
    let entered = follow(stranger, link)?;
    let Some(cookie) = cookie(&entered) else { return Ok(entered.status) };
    Ok(stranger.clone().with(&cookie).send("GET", "/password", &[], "")?.status)
}

#[test]
fn detach_ends_with_a_board_of_this_host_and_stop_ends_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data").display().to_string();
    let (http, grpc) = (free_port()?.to_string(), free_port()?.to_string());
    let (ok, said) = quickstart(&["--detach", "--data", &data, "--http", &http, "--grpc", &grpc])?;
    let socket = Path::new(&data).join("collector/operator.sock");
    let board = Client::unix(&socket).status();
    let stranger = Client::tcp(http.parse()?);
    let (read, page) = (stranger.send("GET", "/api/signalbox/v1/status", &[], ""), log_in(&stranger, &said));
    let again = log_in(&stranger, &said);
    let (stopped, end) = quickstart(&["--stop", "--data", &data])?;
    ensure!(ok, "{said}");
    ensure!(!said.contains('\u{1b}'), "escape codes in a pipe: {said:?}");
    let kept = |name: &str| std::fs::read_to_string(folder.path().join("data").join(name));
    let config = kept("collector.yaml")?;
    for line in [format!("listen_http: 127.0.0.1:{http}\n"), format!("listen_grpc: 127.0.0.1:{grpc}\n")] {
        ensure!(config.contains(&line), "{line:?} is not in {config}");
    }
    ensure!(kept("agent.yaml")?.contains(&format!("collector: unix:{data}/collector/agent.sock\n")));
    let items: Vec<_> = board?.entities.into_iter().flat_map(|entity| entity.items).collect();
    for subject in ["cpu", "memory", "filesystem", "swap", "network"] {
        let fresh = items.iter().any(|item| item.metric.contains(subject) && item.freshness == Freshness::Fresh);
        ensure!(fresh, "no fresh item about {subject} on the board: {said}");
    }
    ensure!(read?.status == 401, "a stranger reads nothing");
    ensure!(page? == 200, "the printed link lets its holder in: {said}");
    ensure!(again? != 200, "and nobody after them");
    let mode = std::fs::metadata(&data)?.permissions().mode() & 0o777;
    ensure!(mode == 0o700, "its folder is closed to others, not {mode:o}");
    ensure!(stopped && end.contains("collector stopped"), "{end}");
    ensure!(stranger.send("GET", "/-/healthy", &[], "").is_err(), "nothing answers any more");
    Ok(())
}
