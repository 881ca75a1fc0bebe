//! The only place that waits: for the next due time, the connection, a watched
//! thing that changed, or a signal. Everything else is [`Agent::advance`].

use crate::agent::Agent;
use crate::alarm::Alarm;
use crate::checks;
use crate::config::{self, Config, Overrides};
use crate::log::LogHandle;
use crate::sampler::chain;
use crate::supervisor::Supervisor;
use crate::transport::{Ended, Incoming, Link, Transport};
use crate::wake::Wakes;
use signalbox_proto::units::Millis;
use std::future::pending;
use std::io;
use std::path::PathBuf;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A stop is over by then, drained or not: what is left stays in the spool.
const DRAIN_MAX: Millis = Millis(3000);
/// How often a draining agent looks whether the last batch is acknowledged.
const DRAIN_STEP: Millis = Millis(20);

/// Where the configuration came from, to read it again.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) file: Option<PathBuf>,
    pub(crate) overrides: Overrides,
}

/// What the wait ended with.
enum Woken {
    Due,
    Connection(Incoming),
    Room,
    Watched(Vec<usize>),
    Reload,
    Stop,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When signal handlers or the timer cannot be had from the kernel.
pub(crate) async fn run<T: Transport>(agent: &mut Agent<T>, source: &Source, log: &LogHandle) -> io::Result<()> {
    let mut signals = Signals {
        hangup: signal(SignalKind::hangup())?,
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
    let mut alarm = Alarm::new()?;
    let mut wakes = Wakes::default();
    let supervisor = Supervisor::ready();
    loop {
        hear(agent.link.as_ref()).await;
        agent.advance();
        wakes.register(&agent.sampler);
        let (at, now) = (agent.next_deadline(), agent.clock.mono());
        let blocked = agent.is_blocked();
        if let Some(link) = &agent.link {
            link.bell.set_patient(agent.may_wait(at, now));
        }
        let woken = tokio::select! {
            rung = alarm.ring(at, now) => rung.map(|()| Woken::Due)?,
            woken = link_event(agent.link.as_mut(), blocked) => woken,
            slots = wakes.ready() => Woken::Watched(slots),
            _ = signals.hangup.recv() => Woken::Reload,
            _ = signals.terminate.recv() => Woken::Stop,
            _ = signals.interrupt.recv() => Woken::Stop,
        };
        match woken {
            Woken::Due => {
                wakes.rested();
                supervisor.alive();
            }
            Woken::Room => {}
            Woken::Connection(incoming) => agent.incoming(incoming),
            Woken::Watched(slots) => agent.wake(&slots),
            Woken::Reload => reload(agent, source, log),
            Woken::Stop => break,
        }
    }
    supervisor.stopping();
    stop(agent).await;
    Ok(())
}

async fn link_event(link: Option<&mut Link>, blocked: bool) -> Woken {
    let Some(Link { outgoing, incoming, .. }) = link else { return pending().await };
    let closed = || Woken::Connection(Incoming::Closed(Ended::Lost("connection task ended".to_owned())));
    tokio::select! {
        told = incoming.recv() => told.map_or_else(closed, Woken::Connection),
        // A closed queue is told through `incoming`.
        Ok(_) = outgoing.reserve(), if blocked => Woken::Room,
    }
}

/// What the collector has said is known before the agent acts: nothing that is
/// acknowledged is synced, or sent anew.
async fn hear(link: Option<&Link>) {
    if link.is_some_and(|link| link.bell.ring_if_patient()) {
        // The connection and the stream on it run until they have no more to read.
        tokio::task::yield_now().await;
    }
}

fn reload<T: Transport>(agent: &mut Agent<T>, source: &Source, log: &LogHandle) {
    match prepare(agent, source) {
        Ok((config, slots)) => {
            log.set_level(config.log_level);
            agent.reload(config, slots);
            tracing::info!("configuration reloaded");
        }
        Err(error) => {
            tracing::error!(error, "configuration refused; the old one stays in force");
            agent.reload_refused(&error);
        }
    }
}

fn prepare<T: Transport>(agent: &Agent<T>, source: &Source) -> Result<(Config, Vec<crate::sampler::Slot>), String> {
    let config = config::load(source.file.as_deref(), &source.overrides).map_err(|error| chain(&error))?;
    if let Some(key) = agent.config.needs_restart(&config) {
        return Err(format!("{key} cannot change while the agent runs; restart it"));
    }
    let slots = checks::build(&config, &agent.counters).map_err(|error| chain(&error))?;
    Ok((config, slots))
}

/// Looks a last time, sends what the collector takes, says goodbye.
async fn stop<T: Transport>(agent: &mut Agent<T>) {
    if let Some(link) = &agent.link {
        link.bell.set_patient(false);
    }
    agent.look_last();
    let until = agent.clock.mono() + DRAIN_MAX;
    while agent.clock.mono() < until && !agent.is_drained() {
        tokio::time::sleep(DRAIN_STEP.std()).await;
        agent.drain();
    }
    agent.goodbye();
    if let Some(link) = agent.link.as_mut() {
        // The connection has taken the goodbye when all room is back.
        let room = link.outgoing.reserve_many(link.outgoing.max_capacity());
        let _ = tokio::time::timeout(DRAIN_STEP.times(10).std(), room).await;
        tokio::time::sleep(DRAIN_STEP.std()).await;
    }
    agent.spool.close();
}
