//! The agent listens: what its connection tells, and what follows from it.

use super::{Agent, Connection};
use crate::check::Instant;
use crate::config::Endpoint;
use crate::transport::{Ended, Incoming, Transport};
use crate::wire::FromCollector;
use signalbox_proto::limits::HEARTBEAT_MS;
use signalbox_proto::units::Millis;
use std::sync::atomic::Ordering::Relaxed;
use tokio::sync::mpsc::error::TryRecvError;

impl<T: Transport> Agent<T> {
    /// Takes all that the connection told.
    pub(super) fn receive(&mut self, at: Instant) {
        while let Some(link) = &mut self.link {
            match link.incoming.try_recv() {
                Ok(incoming) => self.told(incoming, at),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.told(Incoming::Closed(Ended::Lost("connection task ended".to_owned())), at);
                }
            }
        }
    }

    /// One word of the connection, for the shell that waited for it.
    pub(crate) fn incoming(&mut self, incoming: Incoming) {
        let at = self.now();
        self.told(incoming, at);
    }

    fn told(&mut self, incoming: Incoming, at: Instant) {
        match incoming {
            Incoming::Opened => self.opened(at),
            Incoming::Closed(ended) => {
                let why = match ended {
                    Ended::Lost(why) => why,
                    Ended::Invalid(why) => {
                        self.refused(at);
                        why
                    }
                };
                if why != self.last_refusal {
                    tracing::warn!(why, "not connected to the collector; batches are kept");
                }
                self.last_refusal = why;
                self.hang_up(at.mono);
            }
            Incoming::Message(message) => self.said(message, at),
        }
    }

    /// The collector will not take something that was sent. After some tries the agent
    /// gives it up, so that one batch does not hold back all that follow.
    fn refused(&mut self, at: Instant) {
        let Some((epoch, seq)) = self.sender.refused(&self.spool) else { return };
        self.spool.refuse(epoch, seq);
        self.begin_epoch(at);
    }

    fn opened(&mut self, at: Instant) {
        let Connection::Dialling { listed } = std::mem::replace(&mut self.connection, Connection::Open) else { return };
        self.heard = false;
        self.transport.opened();
        // A stream that opens may still be refused, each time anew: said once.
        if self.last_refusal.is_empty() {
            tracing::info!(n_backlog = self.spool.n_backlog(), "connected to the collector");
        }
        if self.announced.is_some() || self.is_behind(at) {
            self.begin_epoch(at);
        }
        self.sender.opened(&listed);
        self.heartbeat_due = at.mono + Millis(HEARTBEAT_MS);
    }

    /// The collector takes batches: whatever it refused before is over.
    fn is_taken(&mut self) {
        self.backoff.reset();
        if !self.last_refusal.is_empty() {
            self.last_refusal.clear();
            tracing::info!(n_backlog = self.spool.n_backlog(), "connected to the collector, it takes batches again");
        }
    }

    fn said(&mut self, message: FromCollector, at: Instant) {
        match message {
            FromCollector::Ack { epoch, seq } => {
                self.counters.acks_total.fetch_add(1, Relaxed);
                if self.sender.acknowledged(epoch, seq, &mut self.spool) {
                    self.is_taken();
                }
            }
            FromCollector::Throttle { pause, reason } => {
                tracing::warn!(pause_ms = pause.0, reason, "collector asked for a pause");
                self.sender.throttled(pause, at.mono);
            }
            FromCollector::GoElsewhere { endpoints, reason } => {
                let Some(endpoint) = endpoints.iter().find_map(|text| Endpoint::parse(text).ok()) else {
                    tracing::warn!(?endpoints, reason, "collector sent the agent elsewhere; none of it is an address");
                    return;
                };
                tracing::info!(%endpoint, reason, "collector sent the agent elsewhere");
                self.elsewhere = Some(endpoint);
                self.hang_up(at.mono);
            }
            FromCollector::Other => {}
        }
    }
}
