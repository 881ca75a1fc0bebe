//! What the writer tells a stream: acknowledgements, a pause, or its end.
//!
//! The writer never waits for a slow agent: acknowledgements are cumulative, so
//! only the highest of each epoch is held until the stream's task takes it.

use signalbox_proto::names::AgentId;
use signalbox_proto::units::Millis;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How a stream ends by the writer's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The agent sent what cannot be taken.
    Invalid(String),
    /// Batches are missing before the one that came: resume from the mark.
    Gap(String),
    /// A newer stream of the same agent took its place.
    Replaced,
    /// The turn that held its batch was refused: resume from the mark.
    Refused(String),
    /// A limit was met.
    Limit(String),
}

/// A request to send nothing for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throttle {
    /// For how long.
    pub pause: Millis,
    /// Why.
    pub reason: String,
}

/// What waits to be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Highest durable sequence by epoch.
    pub acks: BTreeMap<u64, u64>,
    /// A pause.
    pub throttle: Option<Throttle>,
    /// The end.
    pub fault: Option<Fault>,
}

/// The writer's view of one stream.
#[derive(Debug)]
pub struct StreamOut {
    agent: AgentId,
    address: Option<IpAddr>,
    is_remote: bool,
    pending: Mutex<Pending>,
    is_faulty: std::sync::atomic::AtomicBool,
    notify: Notify,
}

impl StreamOut {
    /// The stream of an agent at this address; none: on this host.
    pub fn new(agent: AgentId, address: Option<IpAddr>) -> StreamOut {
        StreamOut::of(agent, address, false)
    }

    /// The stream of a source that writes from afar: its series keep their labels, and
    /// each is sampled by itself.
    pub fn remote(source: AgentId) -> StreamOut {
        StreamOut::of(source, None, true)
    }

    fn of(agent: AgentId, address: Option<IpAddr>, is_remote: bool) -> StreamOut {
        StreamOut {
            agent,
            address,
            is_remote,
            pending: Mutex::default(),
            is_faulty: std::sync::atomic::AtomicBool::new(false),
            notify: Notify::new(),
        }
    }

    /// Whose it is.
    pub fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// Where its connection comes from; none: from this host.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The same for people.
    pub fn place(&self) -> String {
        self.address.map_or_else(|| "this host".to_owned(), |address| address.to_string())
    }

    /// True for [`StreamOut::remote`].
    pub fn is_remote(&self) -> bool {
        self.is_remote
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything of `epoch` up to `seq` is durable.
    pub fn acknowledge(&self, epoch: u64, seq: u64) {
        self.lock().acks.insert(epoch, seq);
        self.notify.notify_one();
    }

    /// Send nothing for a while.
    pub fn throttle(&self, throttle: Throttle) {
        self.lock().throttle = Some(throttle);
        self.notify.notify_one();
    }

    /// Ends the stream; the first fault is the one that is told.
    pub fn end(&self, fault: Fault) {
        self.is_faulty.store(true, std::sync::atomic::Ordering::Release);
        self.lock().fault.get_or_insert(fault);
        self.notify.notify_one();
    }

    /// True once it was told to end: nothing more of it is taken.
    pub fn is_ended(&self) -> bool {
        self.is_faulty.load(std::sync::atomic::Ordering::Acquire)
    }

    /// What is to be told now, without waiting.
    pub fn take(&self) -> Pending {
        std::mem::take(&mut *self.lock())
    }

    /// Waits until there is something to tell.
    pub async fn told(&self) -> Pending {
        loop {
            let pending = self.take();
            if pending != Pending::default() {
                return pending;
            }
            self.notify.notified().await;
        }
    }
}
