//! How samples reach a server: our agents' protocol, or remote write by the peers'
//! own generator. Both make the same hosts of the same recording.

use super::JOB;
use super::common::Load;
use super::server::Server;
use crate::fleet::{Fleet, Pace, Way};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Connections of the generator.
const CONNECTIONS: usize = 4;

/// What was sent and acknowledged, and by whom.
pub(crate) struct Loaded {
    pub(crate) n_sent: u64,
    pub(crate) n_acked: u64,
    pub(crate) wire_bytes: f64,
    /// Our agents, with what they still owe.
    pub(crate) fleet: Option<Fleet>,
    fault: Option<anyhow::Error>,
}

impl Loaded {
    /// Only if all of it was acknowledged.
    pub(crate) fn whole(self) -> Result<Loaded> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        ensure!(self.n_acked == self.n_sent, "{} samples were sent, {} acknowledged", self.n_sent, self.n_acked);
        Ok(self)
    }
}

/// A load that is ready to go.
pub(crate) enum Feed {
    Own(Fleet),
    RemoteWrite(Command),
}

/// The peers' generator and the recording that it reads.
pub(crate) struct Generator {
    pub(crate) program: PathBuf,
    pub(crate) recording: PathBuf,
}

/// Remote write, several hosts a request.
pub(super) fn remote_write(server: &Server, load: &Load, n_batch: usize, generator: &Generator) -> Feed {
    let data = &load.data;
    // The generator knows no tokens. What it is told as path ends up in the first
    // line of its request, which a line break makes two of.
    let path = match server.token() {
        Some(token) => format!("/api/v1/write HTTP/1.1\r\nAuthorization: Bearer {token}\r\nX-Rest:"),
        None => "/api/v1/write".to_owned(),
    };
    let options = [
        ("rec", generator.recording.display().to_string()),
        ("addr", format!("127.0.0.1:{}", server.port)),
        ("path", path),
        ("job", JOB.to_owned()),
        ("hosts", data.n_hosts.to_string()),
        ("series", data.recording.series.len().to_string()),
        ("step", (data.step.0 / 1000).to_string()),
        ("secs", data.secs().to_string()),
        ("start-ms", data.start.0.to_string()),
        ("conc", CONNECTIONS.to_string()),
        ("batch", n_batch.to_string()),
        ("rate", u8::from(load.pace != Pace::FlatOut).to_string()),
        ("pid", server.pid().to_string()),
    ];
    let mut command = Command::new(&generator.program);
    command.arg("write");
    for (name, value) in options {
        command.arg(format!("--{name}")).arg(value);
    }
    Feed::RemoteWrite(command)
}

impl Feed {
    /// Our own protocol over TLS, every host with an identity of its own.
    pub(super) fn own(server: &Server, load: &Load) -> Result<Feed> {
        let collector = server.collector().context("only the collector speaks our protocol")?;
        let way = Way::tls(collector, load.data.n_hosts)?;
        Ok(Feed::Own(Fleet::new(Arc::clone(&load.data), way, load.pace, &[("job", JOB)])?))
    }

    /// Goes.
    pub(crate) fn start(self) -> Result<Running> {
        match self {
            Feed::Own(mut fleet) => {
                let run = move || {
                    let ended = fleet.run();
                    (fleet, ended)
                };
                Ok(Running::Own(std::thread::Builder::new().name("fleet".to_owned()).spawn(run)?))
            }
            Feed::RemoteWrite(mut command) => {
                let child = command.stdout(Stdio::piped()).spawn().context("start the generator")?;
                Ok(Running::RemoteWrite(child))
            }
        }
    }
}

/// A load under way.
pub(crate) enum Running {
    Own(JoinHandle<(Fleet, Result<()>)>),
    RemoteWrite(Child),
}

impl Running {
    /// Waits for its end, which that of the server is, too.
    pub(crate) fn wait(self) -> Result<Loaded> {
        match self {
            Running::Own(thread) => {
                let (fleet, ended) = thread.join().map_err(|_| anyhow::anyhow!("the fleet panicked"))?;
                let said = fleet.said();
                #[allow(clippy::cast_precision_loss)]
                let wire_bytes = said.wire_bytes as f64;
                let (n_sent, n_acked) = (said.n_sent, said.n_acked);
                Ok(Loaded { n_sent, n_acked, wire_bytes, fleet: Some(fleet), fault: ended.err() })
            }
            Running::RemoteWrite(child) => {
                let out = child.wait_with_output().context("wait for the generator")?;
                let told: Value = serde_json::from_slice(&out.stdout).context("the generator's figures")?;
                let number = |key: &str| told[key].as_u64().with_context(|| format!("the generator's {key}"));
                let (n_sent, n_acked) = (number("sent")?, number("acked")?);
                #[allow(clippy::cast_precision_loss)]
                let wire_bytes = told["wire_bytes_per_sample"].as_f64().unwrap_or(f64::NAN) * n_acked as f64;
                let n_faults = number("errors")? + number("rejected_requests")?;
                let fault = (n_faults > 0).then(|| anyhow::anyhow!("{n_faults} requests failed: {told}"));
                Ok(Loaded { n_sent, n_acked, wire_bytes, fleet: None, fault })
            }
        }
    }
}
