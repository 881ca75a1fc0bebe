//! A handle over a board made by hand, and a writer that answers like the engine and
//! decides about identities as the real one does.

use crate::handle::Handle;
use crate::http::testing::NOW;
use crate::shared::Shared;
use crate::store::memory::MemoryStore;
use crate::telemetry::Telemetry;
use crate::writer::inbox::{Message, inbox};
use signalbox_access::access::Access;
use signalbox_access::rows::Table;
use signalbox_access::{AccessAct, AccessEvent, Answer as AccessAnswer, AuditKey, AuditLine, Caller};
use signalbox_engine::board::Board;
use signalbox_engine::decision::{Answer, CommandError};
use signalbox_engine::event::Act;
use signalbox_proto::api::Done;
use signalbox_proto::clock::ManualClock;
use signalbox_proto::names::Labels;
use signalbox_tsdb::keys::AgentNo;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// Lines of the audit as they are written.
pub(crate) type Record = Arc<Mutex<Vec<AuditLine>>>;

/// Shows `board`; acknowledges INC-17 and knows nothing else.
pub(crate) fn handle(board: Board, record: Record) -> Handle {
    let shared = Shared::new(Arc::new(ManualClock::at(NOW)), Arc::new(MemoryStore::default()), Telemetry::default());
    shared.publish(board);
    for host in ["web1", "db1"] {
        let labels = Labels::series("node_load1", &[("host", host)]).unwrap();
        shared.index_mut().get_or_insert(AgentNo(0), &labels, NOW).unwrap();
    }
    shared.set_ready(true);
    let shared = Arc::new(shared);
    let (inbox, outbox) = inbox(1 << 20);
    let published = Arc::clone(&shared);
    // Ends when the last handle is dropped.
    std::thread::spawn(move || {
        let rows: Vec<(Table, Vec<u8>, Vec<u8>)> = Vec::new();
        let (mut access, _) = Access::restore(rows, None, AuditKey::new([7; 32])).unwrap();
        while let Ok(queued) = outbox.next(Duration::from_secs(60)) {
            match queued.map(|queued| queued.message) {
                Some(Message::Command { caller, act, reply }) => {
                    // A test that gave up does not wait for its answer.
                    let _ = reply.send(Ok(answer(&caller, &act)));
                }
                Some(Message::Access { caller, act, reply }) => {
                    let answer = decide(&mut access, caller, act, &record);
                    published.publish_access(access.view());
                    if let Some(reply) = reply {
                        let _ = reply.send(Ok(answer));
                    }
                }
                _ => {}
            }
        }
    });
    Handle::new(shared, inbox, mpsc::channel(1).0)
}

fn decide(access: &mut Access, caller: Caller, act: AccessAct, record: &Record) -> AccessAnswer {
    let decision = access.decide(&[AccessEvent { at: NOW, caller, act }]);
    let answer = decision.answers()[0].clone();
    record.lock().unwrap().extend(decision.lines().iter().cloned());
    access.adopt(decision);
    answer
}

fn answer(caller: &Caller, act: &Act) -> Answer {
    match act {
        Act::Acknowledge { incident: 17, .. } => {
            Ok(Done { done: format!("acknowledged by {}", caller.principal.name), id: None })
        }
        _ => Err(CommandError::NotFound("incident".to_owned())),
    }
}
