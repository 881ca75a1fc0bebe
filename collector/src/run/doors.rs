//! The two doors: what they listen on, and what stands behind them.

use super::RunError;
use crate::config::{Config, Doors};
use crate::handle::Handle;
use crate::http;
use crate::ingest::{self, Ground, accept};
use crate::shared::{Problem, Shared};
use crate::tls::{LOOK, Tls};
use signalbox_proto::api::Finding;
use signalbox_proto::clock::Clock;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Addresses that are listened on.
pub(super) struct Listeners {
    grpc: TcpListener,
    web: TcpListener,
}

impl Listeners {
    pub(super) fn open(doors: &Doors) -> Result<Listeners, RunError> {
        let grpc = accept::listen(doors.listen_grpc)?;
        Ok(Listeners { grpc, web: http::bind(doors.listen_http, doors.http_tls)? })
    }
}

/// Unix sockets that are listened on.
pub(super) struct Sockets {
    agents: UnixListener,
    operators: UnixListener,
}

impl Sockets {
    pub(super) fn open(doors: &Doors) -> Result<Sockets, RunError> {
        let agents = accept::listen_local(&doors.agent_socket, !doors.local_agents.is_empty())?;
        for Finding { message: why, remedy, .. } in doors.unknown_accounts() {
            tracing::warn!(why, remedy, "an operator of the configuration cannot come in");
        }
        let operators = http::bind_local(&doors.operator_socket, !doors.local_operators.is_empty())?;
        Ok(Sockets { agents, operators })
    }
}

/// Each door gets what it listens on.
pub(super) fn split(
    listeners: Listeners,
    sockets: Sockets,
    doors: &Doors,
    tls: &Arc<Tls>,
) -> (http::Doors, accept::Doors) {
    let inside = doors.http_tls.then(|| Arc::clone(tls));
    let operators =
        http::Doors { tcp: listeners.web, tls: inside, local: Some(sockets.operators), limits: doors.operators };
    let agents = accept::Doors {
        tcp: listeners.grpc,
        local: Some(sockets.agents),
        local_agents: doors.local_agents.clone(),
        tls: Arc::clone(tls),
        limits: doors.agents,
    };
    (operators, agents)
}

/// How the operators' door is set up.
pub(super) fn settings(config: &Config, tls: &Arc<Tls>, clock: &Arc<dyn Clock>) -> http::Settings {
    let doors = &config.doors;
    http::Settings {
        limits: doors.operators,
        names: doors.tls.names.clone(),
        external_url: config.external_url.clone(),
        agents_address: doors.agents_address(),
        local_operators: doors.local_operators.clone(),
        own_uid: rustix::process::geteuid().as_raw(),
        data_dir: config.data_dir.clone(),
        tls: Arc::clone(tls),
        http_tls: doors.http_tls,
        clock: Arc::clone(clock),
    }
}

/// Serves operators until the collector stops.
pub(super) async fn operators(doors: http::Doors, router: axum::Router, mut stopping: watch::Receiver<bool>) {
    let stopped = async move {
        let _gone = stopping.wait_for(|stop| *stop).await;
    };
    http::serve(doors, router, stopped).await;
}

/// Serves agents until the collector stops.
pub(super) fn agents(
    doors: accept::Doors,
    ground: Ground,
    stopping: watch::Receiver<bool>,
) -> JoinHandle<Result<(), tonic::transport::Error>> {
    let connections = accept::run(doors, ground.handle.clone(), stopping.clone());
    tokio::spawn(ingest::serve(ground, connections, stopping))
}

/// Makes certificates again in time, ends rotations, and says what ends soon.
pub(super) async fn look_after(tls: Arc<Tls>, shared: Arc<Shared>) {
    loop {
        let own = Arc::clone(&tls);
        let looked = tokio::task::spawn_blocking(move || (own.look_after(), own.warning())).await;
        let problem = match looked {
            Ok((Ok(()), warning)) => warning,
            Ok((Err(error), _)) => Some(error.to_string()),
            Err(error) => Some(format!("look after certificates: {error}")),
        };
        shared.set_problem(Problem::Certificate, problem);
        tokio::time::sleep(LOOK.std()).await;
    }
}

/// True when standard output is the journal, which systemd says by device and inode.
fn is_journal(stream: Option<&str>, output: impl AsFd) -> bool {
    let named = stream.and_then(|text| text.split_once(':'));
    let named = named.and_then(|(dev, ino)| Some((dev.parse::<u64>().ok()?, ino.parse::<u64>().ok()?)));
    named.is_some() && rustix::fs::fstat(output).is_ok_and(|stat| named == Some((stat.st_dev, stat.st_ino)))
}

/// As long as no admin can log in, each start prints a link with which the first one
/// gets in, once. It is a secret: standard output has it, the log does not, and
/// neither does the journal, which more people read than may be admin.
pub(super) async fn print_first_login(handle: &Handle, external_url: &str) {
    if is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref(), std::io::stdout()) {
        tracing::info!("to log in for the first time run on this host, as root: signalbox login-link admin");
        return;
    }
    match http::first_login(handle, external_url).await {
        Ok(None) => {}
        Ok(Some(link)) => {
            let text = format!("first login, once and within 15 minutes: {link}\n");
            if std::io::stdout().write_all(text.as_bytes()).is_err() {
                tracing::warn!("the link of the first login could not be printed; make one: signalbox login-link");
            } else {
                tracing::info!("the link of the first login is on standard output");
            }
        }
        Err(error) => tracing::warn!(%error, "no link for the first login; make one: signalbox login-link"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_told_from_other_outputs_by_device_and_inode() {
        let output = tempfile::tempfile().unwrap();
        let stat = rustix::fs::fstat(&output).unwrap();
        let own = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_journal(Some(&own), &output));
        let other = format!("{}:{}", stat.st_dev, stat.st_ino + 1);
        for told in [None, Some(""), Some("x:y"), Some(other.as_str())] {
            assert!(!is_journal(told, &output), "{told:?}");
        }
    }
}
