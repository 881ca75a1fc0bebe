//! All of it put together: open, restore, listen, serve, drain.
//!
//! ```text
//! lock + store ─▶ restore, keys ─▶ writer thread ─▶ rules in force ─▶ doors ─▶ ready
//! SIGTERM: doors and streams end ─▶ the writer commits what came ─▶ exit
//! SIGHUP:  rules, entities, routes, channels and the site's certificates are read again
//! ```

use crate::config::{Config, LogFormat};
use crate::handle::Handle;
use crate::http;
use crate::ingest::Ground;
use crate::ingest::accept::ListenError;
use crate::notify::Notifiers;
use crate::notify::dispatch::Delivery;
use crate::reload::{self, Checked};
use crate::shared::{Problem, Shared};
use crate::store::rocks::RocksStore;
use crate::store::tail::TailRecord;
use crate::store::{Store, StoreError};
use crate::telemetry::{self, Telemetry};
use crate::tls::{Tls, TlsError};
use crate::writer::inbox::{Inbox, Message, inbox};
use crate::writer::retention::{self, Retention};
use crate::writer::seal::Sealer;
use crate::writer::{self, Writer, merge, segments};
use doors::{Listeners, Sockets};
use signalbox_engine::decision::Notice;
use signalbox_proto::api::Finding;
use signalbox_proto::clock::{Clock, SystemClock};
use signalbox_proto::units::{Bytes, Millis};
use signalbox_tsdb::retention::Limits;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

mod doors;
mod folder;

/// Notices that wait for the notifier, and its reports that wait for the writer.
const NOTICES_MAX: usize = 1024;
/// Reloads that wait for each other.
const RELOADS_MAX: usize = 8;
/// Between two attempts to put the first rules in force.
const RULES_RETRY: Duration = Duration::from_secs(1);
/// Everything must have ended this long after SIGTERM.
const DRAIN: Millis = Millis::from_secs(12);

/// Why the collector does not run.
#[derive(Debug, Error)]
pub enum RunError {
    /// The rules are refused.
    #[error("rules are refused: {}", summary(.0))]
    Rules(Vec<Finding>),
    /// The store does not open, or a commit's fate is unknown.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The operators' address or socket cannot be listened on.
    #[error(transparent)]
    Http(#[from] http::BindError),
    /// Keys or certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The data folder is not ours alone.
    #[error("use data folder {path}: {why}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// The system refused a thread, a signal or a socket.
    #[error("{what}: {why}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// What the system said.
        why: String,
    },
}

impl RunError {
    /// True when a person must change the configuration.
    pub fn is_config(&self) -> bool {
        let files = |error: &TlsError| {
            matches!(error, TlsError::Read { .. } | TlsError::Exposed { .. } | TlsError::Unusable { .. })
        };
        match self {
            RunError::Rules(_) | RunError::Folder { .. } | RunError::Http(http::BindError::NotLoopback(_)) => true,
            RunError::Tls(error) => files(error),
            _ => false,
        }
    }
}

fn summary(findings: &[Finding]) -> String {
    let errors = findings.iter().filter(|finding| finding.error);
    let lines = errors.map(|finding| {
        let Finding { file, line, column, message, remedy, .. } = finding;
        format!("\n{file}:{line}:{column}: {message}\n  remedy: {remedy}")
    });
    lines.collect()
}

/// Log lines go to standard error.
pub fn start_log(config: &Config) {
    use tracing_subscriber::EnvFilter;
    // Checked when the configuration was read.
    let filter = EnvFilter::new(&config.log_level);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // In one process the first log wins.
    let _second = match config.log_format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
}

/// Half of the volume that holds `dir`.
fn half_of_volume(dir: &Path) -> Bytes {
    let volume = rustix::fs::statvfs(dir);
    volume.map_or(Bytes(u64::MAX), |volume| Bytes(volume.f_blocks.saturating_mul(volume.f_frsize) / 2))
}

/// What is kept of each tier; raw samples take half of the volume unless told otherwise.
fn kept(config: &Config) -> Retention {
    let keep = config.retention;
    let raw = keep.raw.max_bytes.unwrap_or_else(|| half_of_volume(&config.data_dir));
    let limits = |tier: crate::config::Keep| Limits { age: tier.age, size: tier.max_bytes.unwrap_or(Bytes(u64::MAX)) };
    Retention { raw: Limits { age: keep.raw.age, size: raw }, minutes: limits(keep.minutes), hours: limits(keep.hours) }
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// [`RunError`].
pub async fn run(config: Config) -> Result<(), RunError> {
    crate::tls::install_provider();
    let checked = reload::check(&config).map_err(RunError::Rules)?;
    for finding in &checked.findings {
        tracing::warn!(file = finding.file, line = finding.line, "{}", finding.message);
    }
    // Listeners first: an address that is taken must not cost a restore.
    let listeners = Listeners::open(&config.doors)?;
    let parts = open(&config).await?;
    // The store's lock is held now: a socket that is there is nobody's.
    let sockets = Sockets::open(&config.doors)?;
    serve(config, checked, parts, listeners, sockets).await
}

/// What stands once the store was read.
struct Parts {
    shared: Arc<Shared>,
    writer: Writer,
    outbox: writer::inbox::Outbox,
    inbox: Inbox,
    notices: mpsc::Receiver<Notice>,
    tail: TailRecord,
    tls: Arc<Tls>,
    clock: Arc<dyn Clock>,
}

/// Opens and reads the store on a blocking thread: minutes are possible after a crash.
async fn open(config: &Config) -> Result<Parts, RunError> {
    let config = config.clone();
    let opened = tokio::task::spawn_blocking(move || open_blocking(&config)).await;
    opened.map_err(|error| RunError::System { what: "open the store", why: error.to_string() })?
}

fn open_blocking(config: &Config) -> Result<Parts, RunError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let telemetry = Telemetry::install();
    folder::prepare(&config.data_dir)?;
    let store = RocksStore::open(&config.data_dir, config.memory)?;
    let tls = Tls::open(config.data_dir.join("ca"), &config.doors.tls, Arc::clone(&clock))?;
    tls.look_after()?;
    let (mut tail, durable_turn) = TailRecord::open(&config.data_dir)?;
    let store: Arc<dyn Store> = Arc::new(store);
    let shared = Arc::new(Shared::new(Arc::clone(&clock), store, telemetry));
    let (inbox, outbox) = inbox(usize::try_from(config.inbox_max.0).unwrap_or(usize::MAX));
    let sealer = Sealer::start(inbox.clone())
        .map_err(|why| RunError::System { what: "start the sealing thread", why: why.to_string() })?;
    let (sender, notices) = mpsc::channel(NOTICES_MAX);
    let at = clock.wall();
    let audit_key = crate::access::audit_key(&config.data_dir)
        .map_err(|why| RunError::System { what: "open the audit", why: why.to_string() })?;
    let mut writer = Writer::open(Arc::clone(&shared), sealer, sender, config.series_max, audit_key, at)?;
    writer.set_quiet_after(config.series_quiet);
    metrics::gauge!("signalbox_store_memory_limit_bytes").set(config.memory.0 as f64);
    note_lost_tail(&shared, durable_turn, writer.turn());
    if durable_turn > writer.turn() {
        // Counted once; the next loss is measured from here.
        tail.write(writer.turn(), clock.mono())?;
    }
    tracing::info!(turn = writer.turn(), series = shared.index().len(), "the store was read");
    Ok(Parts { shared, writer, outbox, inbox, notices, tail, tls: Arc::new(tls), clock })
}

/// The store opened at an older turn than one that was durable.
pub(crate) fn note_lost_tail(shared: &Shared, durable_turn: u64, store_turn: u64) {
    if durable_turn <= store_turn {
        return;
    }
    let n_turns = durable_turn - store_turn;
    metrics::counter!("signalbox_turns_lost_total").increment(n_turns);
    let text = format!(
        "the store lost at least its last {n_turns} turns (it holds turn {store_turn}; turn {durable_turn} was durable, and \
         up to a second of turns after it is not counted): agents are asked again for what they keep of the last 10 minutes"
    );
    tracing::error!(store_turn, durable_turn, "the store lost a tail");
    shared.set_problem(Problem::LostTail, Some(text));
}

async fn serve(
    config: Config,
    checked: Checked,
    parts: Parts,
    listeners: Listeners,
    sockets: Sockets,
) -> Result<(), RunError> {
    let Parts { shared, writer, outbox, inbox, notices, tail, tls, clock } = parts;
    let (stop, stopping) = watch::channel(false);
    let (deliveries, reports) = mpsc::channel(NOTICES_MAX);
    let notifiers = Arc::new(Notifiers::new(&config.external_url, Arc::new(SystemClock::start()), deliveries));
    notifiers.configure(&checked.files).map_err(RunError::Rules)?;
    let (reloads, requests) = mpsc::channel(RELOADS_MAX);
    let handle = Handle::new(Arc::clone(&shared), inbox.clone(), reloads);
    let mut ended = start_writer(&config, &shared, writer, outbox, tail)?;
    let app = http::App::new(handle.clone(), Arc::clone(&notifiers), doors::settings(&config, &tls, &clock));
    let (web, agents) = doors::split(listeners, sockets, &config.doors, &tls);
    let operators = doors::operators(web, http::router(app), stopping.clone());
    let operators = put_rules_in_force(&shared, &inbox, checked, &mut ended, operators).await?;

    let channels = Arc::clone(&notifiers);
    tokio::spawn(async move { channels.run(notices).await });
    tokio::spawn(deliver(handle.clone(), reports));
    let reloader = reload::Reloader {
        config: config.clone(),
        shared: Arc::clone(&shared),
        inbox: inbox.clone(),
        notifiers,
        tls: Arc::clone(&tls),
    };
    tokio::spawn(reloader.run(requests));
    tokio::spawn(doors::look_after(Arc::clone(&tls), Arc::clone(&shared)));
    let keep = kept(&config);
    tokio::spawn(retention::run(Arc::clone(&shared), inbox.clone(), keep, config.audit_lines));
    tokio::spawn(segments::run(Arc::clone(&shared), inbox.clone(), keep.longest()));
    tokio::spawn(merge::run(Arc::clone(&shared), inbox.clone()));
    tokio::spawn(telemetry::report(Arc::clone(&shared), inbox.clone(), stopping.clone()));
    let ground = Ground {
        shared: Arc::clone(&shared),
        handle: handle.clone(),
        inbox: inbox.clone(),
        tls,
        clock,
        limits: config.doors.agents,
    };
    let agents = doors::agents(agents, ground, stopping.clone());
    shared.set_ready(true);
    doors::print_first_login(&handle, &config.external_url).await;
    tell_systemd(sd_notify::NotifyState::Ready);
    tracing::info!(http = %config.doors.listen_http, grpc = %config.doors.listen_grpc, "the collector is ready");

    let outcome = wait(&handle, &mut ended).await;
    shared.set_ready(false);
    tell_systemd(sd_notify::NotifyState::Stopping);
    let _nobody = stop.send(true);
    let ended = async {
        let (_agents, _operators) = tokio::join!(agents, operators);
        match outcome {
            Some(outcome) => outcome,
            None => {
                let _gone = inbox.send(Message::Stop).await;
                ended.await.unwrap_or(Ok(()))
            }
        }
    };
    drained(ended).await
}

/// Waits for the end of everything, but not for ever.
async fn drained(ended: impl Future<Output = Result<(), StoreError>>) -> Result<(), RunError> {
    match tokio::time::timeout(DRAIN.std(), ended).await {
        Ok(outcome) => {
            tracing::info!("the collector stops; everything acknowledged is on the disk");
            outcome.map_err(RunError::Store)
        }
        Err(_) => Err(RunError::System { what: "stop", why: format!("the writer did not end within {DRAIN}") }),
    }
}

type Ended = oneshot::Receiver<Result<(), StoreError>>;

/// What the writer ended with; its thread says nothing when it panics.
fn ended_with(outcome: Result<Result<(), StoreError>, oneshot::error::RecvError>) -> Result<(), StoreError> {
    let gone = StoreError::Failed { what: "write".to_owned(), why: "the writer's thread panicked".to_owned() };
    outcome.unwrap_or(Err(gone))
}

/// Returns once the first rules are in force: without them nothing is judged, and
/// a collector that judges nothing must not call itself ready. While the store
/// refuses them operators are served already, and see why.
async fn put_rules_in_force(
    shared: &Shared,
    inbox: &Inbox,
    checked: Checked,
    ended: &mut Ended,
    operators: impl Future<Output = ()> + Send + 'static,
) -> Result<JoinHandle<()>, RunError> {
    let mut operators = Some(operators);
    let mut serving = None;
    loop {
        let outcome = reload::put_in_force(shared, inbox, &checked).await;
        let Err(error) = outcome else { break };
        let text = format!("no rules are in force, nothing is judged: {error}");
        shared.set_problem(Problem::NoRules, Some(text));
        serving = serving.or_else(|| operators.take().map(tokio::spawn));
        tokio::select! {
            outcome = &mut *ended => {
                ended_with(outcome)?;
                return Err(RunError::System { what: "put rules in force", why: error.to_string() });
            }
            () = tokio::time::sleep(RULES_RETRY) => {}
        }
    }
    shared.set_problem(Problem::NoRules, None);
    let operators = serving.or_else(|| operators.take().map(tokio::spawn));
    Ok(operators.expect("spawned here or above"))
}

fn start_writer(
    config: &Config,
    shared: &Arc<Shared>,
    writer: Writer,
    outbox: writer::inbox::Outbox,
    tail: TailRecord,
) -> Result<Ended, RunError> {
    let limits = writer::Limits {
        gather: config.commit_interval,
        gather_bytes: Bytes::from_mib(1),
        data_dir: config.data_dir.clone(),
        min_free: config.min_free,
    };
    let (end, ended) = oneshot::channel();
    let shared = Arc::clone(shared);
    let run = move || {
        let outcome = writer::run(writer, &outbox, &shared, tail, &limits);
        let _gone = end.send(outcome);
    };
    std::thread::Builder::new()
        .name("writer".to_owned())
        .spawn(run)
        .map_err(|why| RunError::System { what: "start the writer's thread", why: why.to_string() })?;
    Ok(ended)
}

/// Notifiers' reports become events.
async fn deliver(handle: Handle, mut reports: mpsc::Receiver<Delivery>) {
    while let Some(Delivery { key, outcome }) = reports.recv().await {
        if handle.delivered(key, outcome).await.is_err() {
            return;
        }
    }
}

/// Waits for a signal to stop, or for the writer's end, which comes unasked only
/// after an error.
async fn wait(handle: &Handle, ended: &mut Ended) -> Option<Result<(), StoreError>> {
    let listen = |kind| signal(kind).ok();
    let (mut term, mut int, mut hup) =
        (listen(SignalKind::terminate()), listen(SignalKind::interrupt()), listen(SignalKind::hangup()));
    loop {
        tokio::select! {
            outcome = &mut *ended => {
                return Some(ended_with(outcome));
            }
            Some(()) = next(&mut term) => return None,
            Some(()) = next(&mut int) => return None,
            Some(()) = next(&mut hup) => {
                // On its own: a reload that waits must not keep SIGTERM waiting.
                let handle = handle.clone();
                tokio::spawn(async move {
                    if let Err(findings) = handle.reload().await {
                        tracing::error!("reload is refused, the old configuration stays: {}", summary(&findings));
                    }
                });
            }
        }
    }
}

/// The next signal of a kind; never when the system does not deliver it.
async fn next(signals: &mut Option<tokio::signal::unix::Signal>) -> Option<()> {
    match signals {
        Some(signals) => signals.recv().await,
        None => std::future::pending().await,
    }
}

fn tell_systemd(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd was not told");
    }
}

#[cfg(test)]
mod tests;
