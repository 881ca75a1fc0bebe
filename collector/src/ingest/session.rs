//! One agent's stream: Hello first, then whatever it has to say.
//!
//! Three things run side by side: one reads messages into the writer's inbox, waiting
//! for room there; one passes acknowledgements on; one looks whether the agent still
//! counts as who it is. The first to end ends all.

use super::enrol::not_allowed;
use super::limits::Limits;
use super::peer::{NotAllowed, Peer, Who};
use crate::handle::Handle;
use crate::shared::Shared;
use crate::writer::inbox::{Inbox, Marks, Message};
use crate::writer::stream::{Fault, Pending, StreamOut, Throttle};
use signalbox_access::AccessAct;
use signalbox_access::event::Denial;
use signalbox_access::rate::Buckets;
use signalbox_proto::samples::{Batch, Hello};
use signalbox_proto::units::UnixMillis;
use signalbox_proto::wire::v1::stream_request::Message as Said;
use signalbox_proto::wire::v1::stream_response::Message as Answer;
use signalbox_proto::wire::v1::{self, StreamRequest, StreamResponse};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::{Status, Streaming};

/// Between two looks whether the agent still counts: a key that was revoked streams
/// no longer than this.
const LOOK: Duration = Duration::from_secs(2);
/// Between two looks whether ingest may go on.
const THROTTLED: Duration = Duration::from_millis(250);
/// Batches held while ingest waits, then the stream is not read. The first lets the
/// heartbeats behind it through; what comes after them may be one more.
const HELD_MAX: usize = 2;

/// One stream.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) handle: Handle,
    pub(super) inbox: Inbox,
    pub(super) limits: Limits,
    pub(super) hellos: Arc<Mutex<Buckets>>,
    pub(super) peer: Peer,
    pub(super) answers: mpsc::Sender<Result<StreamResponse, Status>>,
}

/// How the reading half ended.
enum End {
    /// The agent closed the stream, or it broke.
    Closed,
    /// It said goodbye first.
    Goodbye(String),
    /// The agent's fault, or ours: this is told.
    Fault(Status),
    /// The collector ends.
    Stopping,
}

fn stopping() -> Status {
    Status::unavailable("the collector is stopping")
}

impl Session {
    /// Whether the caller may stream at all.
    pub(super) fn admit_caller(&self) -> Result<(), Status> {
        let access = self.shared.access();
        let known = match self.peer.who {
            Who::Nobody => Err(NotAllowed::NoIdentity),
            Who::Account { uid } => Err(NotAllowed::Account(uid)),
            Who::Local { .. } => Ok(()),
            Who::Key(shown) => self
                .peer
                .agent(&access)
                .and_then(|_| if shown.is_expired(self.shared.now()) { Err(NotAllowed::Expired) } else { Ok(()) }),
        };
        known.map_err(|why| {
            let status = self.deny(String::new(), &why);
            super::count(&status);
            status
        })
    }

    /// Somebody is refused: on record, and told.
    fn deny(&self, object: String, why: &NotAllowed) -> Status {
        let denial = Denial { act: "stream".to_owned(), object, why: why.to_string() };
        self.handle.denied(self.peer.caller(&self.shared.access()), denial);
        not_allowed(why)
    }

    /// Whether the caller is who its Hello says, and may say so much of itself.
    fn admit(&self, hello: &Hello) -> Result<(), Status> {
        let access = self.shared.access();
        let allowed = self.peer.may_stream_as(&hello.agent, &access, self.shared.now());
        let allowed = allowed.and_then(|()| self.peer.may_declare(&hello.labels, &access));
        allowed.map_err(|why| self.deny(format!("agent:{}", hello.agent), &why))?;
        self.take_hello(hello)?;
        if let Who::Key(shown) = self.peer.who {
            let key = shown.key.into();
            if access.agent_of_key(&key).is_some_and(|known| !known.used) {
                self.handle.tell(self.peer.caller(&access), AccessAct::KeyUsed { key });
            }
        }
        Ok(())
    }

    /// Each Hello costs the writer a turn: an agent that dials in a circle is slowed down.
    fn take_hello(&self, hello: &Hello) -> Result<(), Status> {
        let now = self.shared.clock().mono();
        let taken = self.hellos.lock().unwrap_or_else(PoisonError::into_inner).take(hello.agent.as_str(), now);
        taken.map_err(|wait| {
            metrics::counter!("signalbox_hellos_throttled_total").increment(1);
            let (agent, most) = (&hello.agent, self.limits.hellos_per_minute);
            let why = format!(
                "agent {agent} opens over {most} streams a minute: wait {wait} (limits.agents.hellos_per_minute in \
                 collector.yaml)"
            );
            let denial = Denial { act: "stream".to_owned(), object: format!("agent:{agent}"), why: why.clone() };
            self.handle.denied(self.peer.caller(&self.shared.access()), denial);
            Status::resource_exhausted(why)
        })
    }

    /// Ends when the agent does not count any more, or its connection is too old.
    async fn watch(&self, stream: &StreamOut) -> Status {
        loop {
            // At once, too: Hello may have waited for its answer.
            if self.peer.is_old() {
                return Status::unavailable("the connection has reached its age: dial again");
            }
            let allowed = self.peer.may_stream_as(stream.agent(), &self.shared.access(), self.shared.now());
            if let Err(why) = allowed {
                metrics::counter!("signalbox_streams_cut_total").increment(1);
                tracing::info!(agent = %stream.agent(), %why, "a stream is cut");
                return self.deny(format!("agent:{}", stream.agent()), &why);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(super) async fn run(self, mut said: Streaming<StreamRequest>, mut stop: watch::Receiver<bool>) {
        let hello = tokio::select! {
            hello = hello(&mut said, self.limits.first_call) => hello,
            _ = stop.wait_for(|stop| *stop) => Err(stopping()),
        };
        let hello = match hello.and_then(|hello| self.admit(&hello).map(|()| hello)) {
            Ok(hello) => hello,
            Err(status) => return self.refuse(status).await,
        };
        let stream = Arc::new(StreamOut::new(hello.agent.clone(), self.peer.ip));
        let end = tokio::select! {
            end = self.converse(hello, &mut said, &stream) => end,
            _ = stop.wait_for(|stop| *stop) => End::Stopping,
        };
        // From here on the writer may know the stream: whatever ended it, the writer is told.
        let (goodbye, status) = match end {
            End::Closed => (None, None),
            End::Goodbye(reason) => (Some(reason), None),
            End::Fault(status) => (None, Some(status)),
            // Not the agent's doing: it is not reported as gone.
            End::Stopping => return self.refuse(stopping()).await,
        };
        if self.inbox.send(Message::Disconnected { stream, goodbye }).await.is_err() {
            tracing::debug!("a stream ended after the writer");
        }
        if let Some(status) = status {
            self.refuse(status).await;
        }
    }

    async fn refuse(&self, status: Status) {
        tracing::debug!(%status, "a stream is ended");
        super::count(&status);
        // The peer may be gone already, or take nothing.
        let _gone = tokio::time::timeout(self.limits.slow_reader, self.answers.send(Err(status))).await;
    }

    /// All that follows Hello.
    async fn converse(&self, hello: Hello, said: &mut Streaming<StreamRequest>, stream: &Arc<StreamOut>) -> End {
        if let Err(status) = self.greet(hello, stream).await {
            return End::Fault(status);
        }
        tokio::select! {
            end = self.listen(said, stream) => end,
            status = self.answer(stream) => End::Fault(status),
            status = self.watch(stream) => End::Fault(status),
        }
    }

    /// Where to resume.
    async fn greet(&self, hello: Hello, stream: &Arc<StreamOut>) -> Result<(), Status> {
        let (reply, marks) = oneshot::channel();
        let object = format!("agent:{}", hello.agent);
        let message = Message::Connected { hello, stream: Arc::clone(stream), reply };
        self.inbox.send(message).await.map_err(|_| stopping())?;
        let marks: Marks = marks
            .await
            .map_err(|_| Status::resource_exhausted("the collector's disk is full, try again later"))?
            .map_err(|why| {
                // Two machines have one identity: the one that came second is told so.
                let denial = Denial { act: "stream".to_owned(), object, why: why.clone() };
                self.handle.denied(self.peer.caller(&self.shared.access()), denial);
                Status::already_exists(why)
            })?;
        for (epoch, seq) in marks {
            self.say(Answer::Ack(v1::Ack { epoch, seq })).await?;
        }
        Ok(())
    }

    async fn say(&self, answer: Answer) -> Result<(), Status> {
        let answer = StreamResponse { message: Some(answer) };
        let sent = tokio::time::timeout(self.limits.slow_reader, self.answers.send(Ok(answer))).await;
        let sent = sent.map_err(|_| {
            metrics::counter!("signalbox_streams_slow_total").increment(1);
            Status::deadline_exceeded("the agent takes no answers")
        })?;
        sent.map_err(|_| Status::cancelled("the agent is gone"))
    }

    /// Passes on what the writer tells, until it tells the end.
    async fn answer(&self, stream: &StreamOut) -> Status {
        loop {
            let Pending { acks, throttle, fault } = stream.told().await;
            let acks = acks.into_iter().map(|(epoch, seq)| Answer::Ack(v1::Ack { epoch, seq }));
            let throttle = throttle.map(|Throttle { pause, reason }| {
                Answer::Throttle(v1::Throttle { pause_ms: u32::try_from(pause.0).unwrap_or(u32::MAX), reason })
            });
            for answer in acks.chain(throttle) {
                if let Err(status) = self.say(answer).await {
                    return status;
                }
            }
            if let Some(fault) = fault {
                return status_of(fault);
            }
        }
    }

    async fn listen(&self, said: &mut Streaming<StreamRequest>, stream: &Arc<StreamOut>) -> End {
        let mut held = std::collections::VecDeque::new();
        loop {
            let next = tokio::select! {
                next = said.message(), if held.len() < HELD_MAX => Some(next),
                () = tokio::time::sleep(THROTTLED), if !held.is_empty() => None,
            };
            let message = match next {
                None => None,
                Some(Ok(Some(message))) => Some(message),
                Some(Ok(None)) => return End::Closed,
                Some(Err(status)) if is_gone(&status) => return End::Closed,
                Some(Err(status)) => return End::Fault(status),
            };
            let message = match message.map(|message| self.understand(message, stream)).transpose() {
                Ok(Some(Heard::Goodbye(reason))) => return End::Goodbye(reason),
                Ok(Some(Heard::Message(message))) => Some(message),
                Ok(Some(Heard::Batch(message))) => {
                    held.push_back(message);
                    None
                }
                Ok(None) => None,
                Err(status) => return End::Fault(status),
            };
            if !self.shared.is_throttled() {
                while let Some(batch) = held.pop_front() {
                    if self.inbox.send(batch).await.is_err() {
                        return End::Fault(stopping());
                    }
                }
            }
            if let Some(message) = message
                && self.inbox.send(message).await.is_err()
            {
                return End::Fault(stopping());
            }
        }
    }

    fn understand(&self, request: StreamRequest, stream: &Arc<StreamOut>) -> Result<Heard, Status> {
        let stream = Arc::clone(stream);
        match request.message {
            Some(Said::Batch(batch)) => {
                let batch = Batch::try_from(batch).map_err(|error| Status::invalid_argument(error.to_string()))?;
                Ok(Heard::Batch(Message::Batch { stream, batch }))
            }
            Some(Said::Heartbeat(heartbeat)) => {
                let v1::Heartbeat { wall_ms, n_backlog, .. } = heartbeat;
                Ok(Heard::Message(Message::Heartbeat { stream, wall: UnixMillis(wall_ms), n_backlog }))
            }
            Some(Said::Goodbye(goodbye)) => Ok(Heard::Goodbye(goodbye.reason)),
            Some(Said::Hello(_)) => Err(Status::failed_precondition("Hello comes once, as the first message")),
            None => Err(Status::invalid_argument("a message of a kind that this collector does not know")),
        }
    }
}

/// The first message of a stream.
async fn hello(said: &mut Streaming<StreamRequest>, wait: Duration) -> Result<Hello, Status> {
    let first = tokio::time::timeout(wait, said.message()).await;
    let late = || Status::deadline_exceeded(format!("no Hello within {} s", wait.as_secs()));
    let first = first.map_err(|_| late())??;
    let Some(Said::Hello(hello)) = first.and_then(|first| first.message) else {
        return Err(Status::failed_precondition("the first message of a stream must be Hello"));
    };
    Hello::try_from(hello).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// A message in domain form.
enum Heard {
    Batch(Message),
    Message(Message),
    Goodbye(String),
}

/// True when there is nobody left to tell.
fn is_gone(status: &Status) -> bool {
    matches!(status.code(), tonic::Code::Cancelled | tonic::Code::Unavailable | tonic::Code::Unknown)
}

fn status_of(fault: Fault) -> Status {
    match fault {
        Fault::Invalid(why) => Status::invalid_argument(why),
        Fault::Gap(why) => Status::failed_precondition(why),
        Fault::Replaced => Status::aborted("a newer stream of this agent took this one's place"),
        Fault::Refused(why) | Fault::Limit(why) => Status::resource_exhausted(why),
    }
}

#[cfg(test)]
mod tests;
