//! How frames reach a collector: over gRPC, or in memory for tests.
//!
//! A [`Link`] is a pair of bounded queues. Whoever dials gets one at once and never
//! waits: a stream that opens, speaks or ends says so through `incoming`.

mod grpc;

pub(crate) use grpc::GrpcTransport;

use crate::check::Instant;
use crate::config::Endpoint;
use crate::net::Bell;
use crate::wire::{Frame, FromCollector};
use tokio::sync::mpsc;

/// Frames between the agent and the connection. Few, so that live data waits behind
/// little of the backlog.
pub(crate) const OUTGOING_FRAMES_MAX: usize = 16;
/// Messages of the collector that wait for the agent.
pub(crate) const INCOMING_MESSAGES_MAX: usize = 64;

/// What a connection tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// The collector took the stream.
    Opened,
    /// It said something.
    Message(FromCollector),
    /// The stream ended. Nothing follows.
    Closed(Ended),
}

/// Why a stream ended, as people read it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nothing is known against what was sent: it is sent again.
    Lost(String),
    /// The collector called what was sent malformed: the same bytes will not do better.
    Invalid(String),
}

/// The agent's ends of a stream. Dropping it ends the stream.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) outgoing: mpsc::Sender<Frame>,
    pub(crate) incoming: mpsc::Receiver<Incoming>,
    /// Lets the connection read; see [`crate::net::Bell`].
    pub(crate) bell: Bell,
}

/// The connection's ends of a stream.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) frames: mpsc::Receiver<Frame>,
    pub(crate) incoming: mpsc::Sender<Incoming>,
    pub(crate) bell: Bell,
}

/// Opens streams.
pub(crate) trait Transport {
    /// Begins to open a stream whose first message is `hello`. Returns at once.
    fn dial(&mut self, endpoint: &Endpoint, hello: Frame) -> Link;

    /// Does what keeps the agent's identity good, and returns at once. True when it has
    /// changed and a new stream should be opened with it.
    fn tend(&mut self, _endpoint: &Endpoint, _at: Instant) -> bool {
        false
    }

    /// The collector took the stream.
    fn opened(&mut self) {}
}

/// Both ends of a stream, with `hello` waiting to be sent.
pub(crate) fn link(hello: Frame) -> (Link, Remote) {
    let (outgoing, frames) = mpsc::channel(OUTGOING_FRAMES_MAX);
    let (incoming, told) = mpsc::channel(INCOMING_MESSAGES_MAX);
    outgoing.try_send(hello).expect("a new queue has room for one");
    let bell = Bell::default();
    (Link { outgoing, incoming: told, bell: bell.clone() }, Remote { frames, incoming, bell })
}

#[cfg(test)]
pub(crate) mod memory {
    //! A transport whose other end is held by a test.

    use super::*;
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    /// Gives each dialled stream to the test.
    #[derive(Debug, Default, Clone)]
    pub(crate) struct MemoryTransport {
        pub(crate) dialled: Rc<RefCell<Vec<(String, Remote)>>>,
        /// There is another identity.
        pub(crate) renewed: Rc<Cell<bool>>,
    }

    impl Transport for MemoryTransport {
        fn dial(&mut self, endpoint: &Endpoint, hello: Frame) -> Link {
            let (link, remote) = link(hello);
            self.dialled.borrow_mut().push((endpoint.to_string(), remote));
            link
        }

        fn tend(&mut self, _: &Endpoint, _: Instant) -> bool {
            self.renewed.take()
        }
    }
}
