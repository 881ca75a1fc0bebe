//! Streams without a network: what is heard, held, and told at the end.

use super::*;
use crate::store::memory::MemoryStore;
use crate::telemetry::Telemetry;
use crate::writer::inbox::{Outbox, inbox};
use bytes::Bytes;
use signalbox_access::AccessAct;
use signalbox_access::rate::{Crowd, Rate};
use signalbox_proto::clock::ManualClock;
use signalbox_proto::names::{AgentId, Labels};
use signalbox_proto::units::Millis;
use std::collections::VecDeque;
use std::convert::Infallible;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{DecodeBuf, Decoder};

/// Virtual: far over every deadline of a stream.
const PATIENCE: Duration = Duration::from_secs(300);
/// An uncompressed message of one byte, which the decoder throws away.
const FRAME: [u8; 6] = [0, 0, 0, 0, 1, 0];

/// Gives what was put beside the bytes.
#[derive(Clone, Default)]
struct Beside(Arc<Mutex<VecDeque<StreamRequest>>>);

impl Decoder for Beside {
    type Item = StreamRequest;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<StreamRequest>, Status> {
        bytes::Buf::advance(bytes, 1);
        Ok(self.0.lock().unwrap().pop_front())
    }
}

/// Both ends of a session that runs.
struct Rig {
    shared: Arc<Shared>,
    said: Beside,
    /// Has room for one message: it is empty once the session has read it.
    frames: mpsc::Sender<Bytes>,
    outbox: Outbox,
    answers: mpsc::Receiver<Result<StreamResponse, Status>>,
    session: JoinHandle<()>,
    _stop: watch::Sender<bool>,
}

impl Rig {
    fn start() -> Rig {
        let (clock, store) = (Arc::new(ManualClock::default()), Arc::new(MemoryStore::default()));
        let shared = Arc::new(Shared::new(clock, store, Telemetry::default()));
        let (inbox, outbox) = inbox(1 << 20);
        let (out, answers) = mpsc::channel(16);
        let (frames, body) = mpsc::channel(1);
        let (stop, stopping) = watch::channel(false);
        let said = Beside::default();
        let body = axum::body::Body::from_stream(ReceiverStream::new(body).map(Ok::<Bytes, Infallible>));
        let stream = Streaming::new_request(said.clone(), body, None, None);
        let handle = Handle::new(Arc::clone(&shared), inbox.clone(), mpsc::channel(1).0);
        let peer = Peer::new(Who::Local { uid: 0 }, None);
        let limits = Limits::default();
        let rate = Rate::new(limits.hellos_per_minute, Millis::from_mins(1));
        let hellos = Arc::new(Mutex::new(Buckets::new(rate, 1, Crowd::Shares)));
        let session = Session { shared: Arc::clone(&shared), handle, inbox, limits, hellos, peer, answers: out };
        let session = tokio::spawn(session.run(stream, stopping));
        Rig { shared, said, frames, outbox, answers, session, _stop: stop }
    }

    async fn say(&self, message: Said) {
        self.said.0.lock().unwrap().push_back(StreamRequest { message: Some(message) });
        let sent = self.frames.send(Bytes::from_static(&FRAME));
        tokio::time::timeout(PATIENCE, sent).await.expect("the session reads on").expect("the session lives");
    }

    async fn hello(&self) {
        let agent = AgentId::parse("web1").unwrap();
        let hello = Hello {
            agent,
            boot_id: "boot".to_owned(),
            version: "1".to_owned(),
            labels: Labels::default(),
            capabilities: Vec::new(),
            epochs: vec![1],
            wall: UnixMillis(0),
            checks: Vec::new(),
        };
        self.say(Said::Hello((&hello).into())).await;
    }

    async fn batch(&self, seq: u64) {
        let batch = Batch {
            epoch: 1,
            seq,
            wall: UnixMillis(0),
            mono: Millis(0),
            key: false,
            series: Vec::new(),
            shapes: Vec::new(),
            columns: Bytes::new(),
            results: Vec::new(),
            events: Vec::new(),
        };
        self.say(Said::Batch((&batch).into())).await;
    }

    /// What the writer gets next.
    async fn heard(&self) -> Message {
        let look = async {
            loop {
                if let Some(queued) = self.outbox.try_next() {
                    return queued.message;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("the writer hears something")
    }

    async fn connected(&self) -> oneshot::Sender<Result<Marks, String>> {
        match self.heard().await {
            Message::Connected { reply, .. } => reply,
            other => panic!("{other:?}"),
        }
    }

    async fn heard_seq(&self) -> u64 {
        match self.heard().await {
            Message::Batch { batch, .. } => batch.seq,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_stream_is_told_when_it_came_before_the_writer_answered() {
    for is_heard in [true, false] {
        let mut rig = Rig::start();
        rig.hello().await;
        let reply = rig.connected().await;
        // The agent goes: it says nothing more, and may not listen either.
        rig.frames = mpsc::channel(1).0;
        if !is_heard {
            rig.answers.close();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        reply.send(Ok(vec![(1, 0)])).unwrap();
        assert!(matches!(rig.heard().await, Message::Disconnected { goodbye: None, .. }));
        rig.session.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_the_writer_refuses_is_told_as_ended_too() {
    let mut rig = Rig::start();
    rig.hello().await;
    rig.connected().await.send(Err("agent id web1 is in use".to_owned())).unwrap();
    assert!(matches!(rig.heard().await, Message::Access { act: AccessAct::Denied(_), .. }), "it is on record");
    assert!(matches!(rig.heard().await, Message::Disconnected { goodbye: None, .. }));
    let status = rig.answers.recv().await.unwrap().unwrap_err();
    assert_eq!((status.code(), status.message()), (tonic::Code::AlreadyExists, "agent id web1 is in use"));
}

#[tokio::test(start_paused = true)]
async fn while_ingest_waits_two_batches_are_held_heartbeats_pass_and_no_more_is_read() {
    let rig = Rig::start();
    rig.hello().await;
    rig.connected().await.send(Ok(vec![(1, 0)])).unwrap();
    rig.shared.set_throttled(true);
    rig.batch(1).await;
    rig.say(Said::Heartbeat(v1::Heartbeat { wall_ms: 7, ..v1::Heartbeat::default() })).await;
    assert!(matches!(rig.heard().await, Message::Heartbeat { wall: UnixMillis(7), .. }), "it overtakes the batch");
    rig.batch(2).await;
    rig.batch(3).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.frames.capacity(), 0, "the third waits unread: that is the back-pressure");
    assert!(rig.outbox.try_next().is_none(), "nothing reaches the writer");
    rig.shared.set_throttled(false);
    assert_eq!([rig.heard_seq().await, rig.heard_seq().await, rig.heard_seq().await], [1, 2, 3], "in order");
}
