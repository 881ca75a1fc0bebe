//! The writer's thread: all its waiting, and the only clock that it reads.

use super::inbox::{InboxError, Message, Outbox, Queued};
use super::stamp::Stamper;
use super::{Outcome, Turn, Writer};
use crate::shared::{Problem, Shared};
use crate::store::StoreError;
use crate::store::tail::TailRecord;
use signalbox_proto::units::{Bytes, Millis, UnixMillis};
use std::path::PathBuf;
use std::sync::Arc;

/// A tick at least this often.
const TICK_EVERY: Millis = Millis::from_secs(1);

/// Figures that cost a walk over all series are taken this often.
const GAUGE_EVERY: Millis = Millis::from_secs(10);

/// How the thread gathers, and when it asks agents to wait.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A turn gathers at most this long after its first message.
    pub gather: Millis,
    /// And at most this much.
    pub gather_bytes: Bytes,
    /// Where free space is looked at.
    pub data_dir: PathBuf,
    /// Below this ingest waits; none: the greater of 512 MiB and 5 %.
    pub min_free: Option<Bytes>,
}

/// Free and total space of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Space {
    free: Bytes,
    total: Bytes,
}

impl Limits {
    fn floor(&self, space: Space) -> Bytes {
        self.min_free.unwrap_or_else(|| Bytes::from_mib(512).max(Bytes(space.total.0 / 20)))
    }
}

/// Runs until it is told to stop; then everything that came before is durable.
///
/// # Errors
/// [`StoreError`] after which nobody can know what is on the disk.
pub(crate) fn run(
    mut writer: Writer,
    outbox: &Outbox,
    shared: &Arc<Shared>,
    mut tail: TailRecord,
    limits: &Limits,
) -> Result<(), StoreError> {
    let clock = shared.clock();
    let mut stamper = Stamper::new(clock.wall(), clock.mono());
    let (mut ticked_at, mut gauged_at) = (UnixMillis::MIN, UnixMillis::MIN);
    let mut started = true;
    loop {
        let now = clock.wall();
        // A store that is closed is tried again by the second; deadlines wait for it.
        let deadline = writer.next_due().filter(|_| !writer.is_refused());
        let due = deadline.map_or(TICK_EVERY, |due| due.since(now)).min(TICK_EVERY);
        let due = due.min(Millis(TICK_EVERY.0.saturating_sub(now.since(ticked_at).0)));
        // A due instant that has just passed must not make the loop spin.
        let (messages, is_closed) = gather(outbox, due.max(Millis(1)), shared, limits);
        let stamp = stamper.next(clock.wall(), clock.mono());
        let is_second = stamp.at.since(ticked_at) >= TICK_EVERY;
        let is_due = writer.next_due().is_some_and(|due| due <= stamp.at);
        let turn = Turn { at: stamp.at, started: started || stamp.was_paused, tick: is_second || is_due, messages };
        if turn.started && !started {
            tracing::warn!("the collector was paused or its clock jumped: no agent's silence counts for a while");
        }
        started = false;
        let begun = clock.mono();
        let outcome = writer.step(turn)?;
        metrics::counter!("signalbox_turns_total").increment(1);
        metrics::histogram!("signalbox_turn_seconds").record((clock.mono().0 - begun.0) as f64 / 1000.0);
        if let Err(error) = tail.note(writer.turn(), clock.mono()) {
            tracing::warn!(%error, "a lost tail could go unseen for a while");
        }
        if is_second {
            ticked_at = stamp.at;
            writer.check_sealer()?;
            writer.tidy(stamp.at);
            if stamp.at.since(gauged_at) >= GAUGE_EVERY {
                gauged_at = stamp.at;
                writer.gauge();
            }
            watch_space(&mut writer, shared, limits);
        }
        if outcome == Outcome::Stop || is_closed {
            return tail.write(writer.turn(), clock.mono());
        }
    }
}

/// Waits for the first message, then for more of them within the limits. Nothing
/// waits for company when somebody waits for an answer.
fn gather(outbox: &Outbox, due: Millis, shared: &Shared, limits: &Limits) -> (Vec<Queued>, bool) {
    let mut messages = Vec::new();
    let first = match outbox.next(due.std()) {
        Ok(Some(first)) => first,
        Ok(None) => return (messages, false),
        Err(InboxError::Full | InboxError::Closed) => return (messages, true),
    };
    let begun = shared.clock().mono();
    let mut n_bytes = first.weight as u64;
    let mut is_urgent = urgent(&first.message);
    let mut is_last = ends_turn(&first.message);
    messages.push(first);
    while n_bytes < limits.gather_bytes.0 && !is_last {
        let passed = shared.clock().mono().0.saturating_sub(begun.0);
        let left = Millis(limits.gather.0.saturating_sub(passed));
        let next =
            if is_urgent || left == Millis::ZERO { outbox.try_next() } else { outbox.next(left.std()).ok().flatten() };
        let Some(next) = next else { break };
        n_bytes += next.weight as u64;
        is_urgent |= urgent(&next.message);
        is_last = ends_turn(&next.message);
        messages.push(next);
    }
    (messages, false)
}

/// What follows new rules must meet their bands, which exist once they are adopted.
fn ends_turn(message: &Message) -> bool {
    matches!(message, Message::Rules { .. } | Message::Stop)
}

fn urgent(message: &Message) -> bool {
    matches!(
        message,
        Message::Command { .. }
            | Message::Access { reply: Some(_), .. }
            | Message::Connected { .. }
            | Message::Rules { .. }
            | Message::Stop
    )
}

fn watch_space(writer: &mut Writer, shared: &Shared, limits: &Limits) {
    let Ok(status) = rustix::fs::statvfs(&limits.data_dir) else { return };
    let space = Space {
        free: Bytes(status.f_bavail.saturating_mul(status.f_frsize)),
        total: Bytes(status.f_blocks.saturating_mul(status.f_frsize)),
    };
    metrics::gauge!("signalbox_disk_free_bytes").set(space.free.0 as f64);
    let floor = limits.floor(space);
    let is_low = space.free < floor;
    let mib = |bytes: Bytes| bytes.0 / (1024 * 1024);
    let text = is_low.then(|| {
        format!(
            "free space in {} is {} MiB, under the floor of {} MiB: ingest waits, commands and notices go on",
            limits.data_dir.display(),
            mib(space.free),
            mib(floor)
        )
    });
    if is_low {
        writer.throttle_all("free space of the collector is under its floor");
    }
    writer.pause_ingest(is_low || writer.is_refused());
    shared.set_throttled(is_low || writer.is_refused());
    shared.set_problem(Problem::DiskLow, text);
}
