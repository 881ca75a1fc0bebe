//! `signalbox-agent join`: from a token, or an admin's approval, to an agent that
//! streams.
//!
//! ```text
//! read token and configuration -> is everything here writable? -> make a key
//!   -> TLS, CA by the pin -> Join | RequestApproval, PollApproval ...
//!   -> identity on disk -> collector: in agent.yaml -> ping with the new identity
//!   -> a running agent reads both again
//! ```
//!
//! All that can fail on this host is tried before the token is shown to anybody: a
//! token for one use is not spent on a folder that cannot be written.

mod approval;
mod config_file;

use crate::config::{self, Config, DEFAULT_FILE, Endpoint, Overrides};
use crate::enrol::{Applicant, Enrol, EnrolError, Granted};
use crate::identity::certificate::{Facts, utc};
use crate::identity::key::NextKey;
use crate::identity::{Folder, Identity};
use crate::lock;
use crate::net::{self, Pace, Trust};
use crate::run::Source;
use anyhow::{Context as _, bail};
use config_file::{Plan, Settings};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use signalbox_proto::clock::Clock;
use signalbox_proto::join::{Fingerprint, JoinToken, Refusal};
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::Millis;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A token from standard input is not longer.
const TOKEN_MAX_BYTES: u64 = 1024;
/// How long the ping with the new identity may take.
const CONFIRM_WAIT: Millis = Millis(5000);

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct JoinArgs {
    /// The collector: HOST, HOST:PORT or <https://HOST:PORT>
    #[arg(value_name = "COLLECTOR", value_parser = Endpoint::parse_short)]
    collector: Endpoint,
    /// Printed by 'signalbox join-token create'; - reads it from standard input
    #[arg(value_name = "TOKEN", required_unless_present_any = ["pin", "ca"], conflicts_with_all = ["pin", "ca"])]
    token: Option<String>,
    /// Without a token: ask an admin. SHA-256 of the collector's CA key, from 'signalbox ca show'
    #[arg(long, value_name = "SHA256", value_parser = Fingerprint::parse)]
    pin: Option<Fingerprint>,
    /// In place of --pin: the CA's certificate, PEM, as 'signalbox ca show' prints it
    #[arg(long, value_name = "FILE", conflicts_with = "pin")]
    ca: Option<PathBuf>,
    /// Configuration file [default: /etc/signalbox/agent.yaml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The agent's data folder; the identity goes into DIR/identity
    #[arg(long, value_name = "DIR", alias = "data-dir")]
    state: Option<PathBuf>,
    /// Name of this agent [default: as configured, or the host's name]
    #[arg(long, value_name = "ID", value_parser = AgentId::parse_own)]
    agent_id: Option<AgentId>,
    /// Label of this host, as in region=eu; may be given more than once
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Put a new identity in the place of the one that is there
    #[arg(long)]
    replace: bool,
    /// Run the agent afterwards
    #[arg(long)]
    pub(crate) start: bool,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, for example region=eu")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The key of the first certificate of a PEM file.
fn pin_of(path: &Path) -> anyhow::Result<Fingerprint> {
    let first = CertificateDer::from_pem_file(path).context("it holds no certificate in PEM")?;
    Ok(Facts::read(&first)?.fingerprint)
}

/// How the right to join is shown.
enum Right {
    Token(JoinToken),
    Pin(Fingerprint),
}

impl Right {
    fn pin(&self) -> Fingerprint {
        match self {
            Right::Token(token) => token.pin(),
            Right::Pin(pin) => *pin,
        }
    }
}

/// A way to the collector that believes the pinned CA only.
struct Door<'a> {
    endpoint: &'a Endpoint,
    pin: Fingerprint,
    clock: &'a Arc<dyn Clock>,
}

impl Door<'_> {
    async fn open(&self) -> Result<Enrol, EnrolError> {
        let http2 = net::connect(self.endpoint, Trust::Pin(self.pin), None, self.clock, Pace::Calls).await?;
        Ok(Enrol::over(http2))
    }
}

impl JoinArgs {
    /// Where the configuration lies.
    pub(crate) fn file(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(DEFAULT_FILE))
    }

    /// For the agent that runs afterwards.
    pub(crate) fn source(&self) -> Source {
        let overrides =
            Overrides { agent_id: self.agent_id.clone(), data_dir: self.state.clone(), ..Overrides::default() };
        Source { file: self.config.clone(), overrides }
    }

    /// How the agent is started after the join. The unit reads the default file only.
    fn next(&self) -> String {
        match &self.config {
            Some(file) if file != Path::new(DEFAULT_FILE) => {
                format!("start the agent: signalbox-agent run --config {}", file.display())
            }
            _ => "start the agent: systemctl enable --now signalbox-agent, or signalbox-agent run".to_owned(),
        }
    }

    fn right(&self) -> anyhow::Result<Right> {
        if let Some(path) = &self.ca {
            return pin_of(path).with_context(|| format!("read {}", path.display())).map(Right::Pin);
        }
        let Some(text) = &self.token else {
            return Ok(Right::Pin(self.pin.context("give a token, or --pin or --ca to ask for an approval")?));
        };
        if text != "-" {
            return Ok(Right::Token(JoinToken::parse(text)?));
        }
        let mut read = String::new();
        std::io::stdin()
            .take(TOKEN_MAX_BYTES)
            .read_to_string(&mut read)
            .context("read the token from standard input")?;
        Ok(Right::Token(JoinToken::parse(&read)?))
    }

    fn overrides(&self) -> Overrides {
        let (agent_id, data_dir) = (self.agent_id.clone(), self.state.clone());
        Overrides { agent_id, data_dir, joining: true, ..Overrides::default() }
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        // Checked here, so that a bad one is refused before anything is written.
        Labels::new(self.labels.iter().cloned()).context("labels of the command line")?;
        let (collector, agent_id) = (self.collector.clone(), self.agent_id.clone());
        Ok(Settings { collector, agent_id, data_dir: self.state.clone(), labels: self.labels.clone() })
    }
}

/// Joins. What is done is said on standard output.
///
/// # Errors
/// The step that failed, with the remedy; what was there before is as it was.
pub(crate) async fn run(args: &JoinArgs, clock: &Arc<dyn Clock>) -> anyhow::Result<()> {
    if matches!(args.collector, Endpoint::Unix(_)) {
        bail!(
            "a collector behind a Unix socket needs no token: write 'collector: {}' into {} and start the agent",
            args.collector,
            args.file().display()
        );
    }
    let right = args.right()?;
    let settings = args.settings()?;
    let running = Overrides { data_dir: args.state.clone(), ..Overrides::default() };
    let before = config::load(args.config.as_deref(), &running).ok();
    let plan = Plan::make(args.file(), &settings, &args.overrides())?;
    let config = plan.config.clone();
    let folder = Folder::of(&config.data_dir);
    refuse_second(&folder, args.replace)?;
    folder.prepare()?;
    let key = folder.next_key()?;
    let applicant =
        Applicant { agent: config.agent_id.clone(), labels: config.labels.clone(), boot_id: crate::sys::boot_id() };
    let door = Door { endpoint: &args.collector, pin: right.pin(), clock };
    let granted = obtain(&right, &door, &applicant, &key, &folder).await?;
    folder.install(&key, &granted.certificate_pem, &granted.ca_pem)?;
    let identity = folder.load()?;
    let changes = plan.commit()?;
    tell_done(args, &folder, &identity, &changes);
    confirm(args, &identity, clock).await;
    wake_running(args, before.as_ref(), &config, &identity)
}

/// A line for whoever looks. Nobody may: a join does not end for that.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn refuse_second(folder: &Folder, replace: bool) -> anyhow::Result<()> {
    if replace || folder.stamp().is_none() {
        return Ok(());
    }
    let dir = folder.path().display();
    match folder.load() {
        Ok(identity) => bail!(
            "this host has an identity in {dir}: {} of installation {}, until {}; to join anew add --replace",
            identity.agent,
            identity.installation,
            utc(identity.not_after)
        ),
        Err(error) => bail!("there is an identity in {dir} that cannot be used: {error}"),
    }
}

async fn obtain(
    right: &Right,
    door: &Door<'_>,
    applicant: &Applicant,
    key: &NextKey,
    folder: &Folder,
) -> anyhow::Result<Granted> {
    let granted = match right {
        Right::Token(token) => match door.open().await {
            Ok(mut enrol) => enrol.join(token, applicant, key, door.clock.wall()).await,
            Err(error) => Err(error),
        },
        Right::Pin(_) => approval::wait(door, applicant, key).await,
    };
    if let Err(EnrolError::Refused { refusal: Refusal::KeyTaken | Refusal::KeyRevoked, .. }) = &granted {
        folder.forget_next_key()?;
    }
    granted.with_context(|| format!("join {} as {}", door.endpoint, applicant.agent))
}

fn tell_done(args: &JoinArgs, folder: &Folder, identity: &Identity, changes: &[String]) {
    say(&format!("joined      {} as {}, installation {}", args.collector, identity.agent, identity.installation));
    say(&format!("identity    {}, until {}, renewed by itself", folder.path().display(), utc(identity.not_after)));
    let file = args.file().display();
    if changes.is_empty() {
        say(&format!("config      {file}: unchanged"));
    }
    for change in changes {
        say(&format!("config      {file}: {change}"));
    }
}

/// Shows that the new identity is let in. A failure is told and nothing is undone: the
/// agent will say the same, and go on trying.
async fn confirm(args: &JoinArgs, identity: &Identity, clock: &Arc<dyn Clock>) {
    let trust = Trust::Roots(identity.roots.clone());
    let answered = async {
        let http2 = net::connect(&args.collector, trust, Some(identity), clock, Pace::Calls).await?;
        Enrol::over(http2).ping(clock.wall(), 0, CONFIRM_WAIT).await
    };
    match answered.await {
        Ok(pong) if pong.agent == identity.agent.as_str() => say("tested      the collector knows this agent"),
        Ok(_) => {
            let config = args.config.as_ref().map(|file| format!(" --config {}", file.display())).unwrap_or_default();
            say(&format!(
                "tested      the collector answers, but does not name this agent; see: signalbox-agent ping{config}"
            ));
        }
        Err(error) => say(&format!("tested      not yet: {}", crate::sampler::chain(&error))),
    }
}

fn wake_running(args: &JoinArgs, before: Option<&Config>, config: &Config, identity: &Identity) -> anyhow::Result<()> {
    if identity.agent != config.agent_id {
        bail!(
            "the collector calls this agent {}, and {} calls it {}; write 'agent_id: {}' there",
            identity.agent,
            args.file().display(),
            config.agent_id,
            identity.agent
        );
    }
    let Some(pid) = lock::holder(&config.data_dir) else {
        if !args.start {
            say(&format!("next        {}", args.next()));
        }
        return Ok(());
    };
    let same = before.is_some_and(|before| before.agent_id == config.agent_id);
    let told = same && rustix::process::kill_process(pid, rustix::process::Signal::HUP).is_ok();
    let pid = pid.as_raw_nonzero();
    if told {
        say(&format!("agent       runs (pid {pid}) and reads its configuration again"));
    } else {
        say(&format!("next        restart the agent that runs (pid {pid}): systemctl restart signalbox-agent"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
