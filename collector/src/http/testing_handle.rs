//! A handle over a board made by hand, and a writer that answers like the engine.

use crate::handle::Handle;
use crate::http::testing::NOW;
use crate::shared::Shared;
use crate::store::memory::MemoryStore;
use crate::telemetry::Telemetry;
use crate::writer::inbox::{Message, inbox};
use signalbox_engine::board::Board;
use signalbox_engine::decision::{Answer, CommandError};
use signalbox_engine::event::{Act, Command};
use signalbox_proto::api::Done;
use signalbox_proto::clock::ManualClock;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Shows `board`; acknowledges INC-17 and knows nothing else.
pub(crate) fn handle(board: Board) -> Handle {
    let shared = Shared::new(Arc::new(ManualClock::at(NOW)), Arc::new(MemoryStore::default()), Telemetry::default());
    shared.publish(board);
    shared.set_ready(true);
    let (inbox, outbox) = inbox(1 << 20);
    // Ends when the last handle is dropped.
    std::thread::spawn(move || {
        while let Ok(queued) = outbox.next(Duration::from_secs(60)) {
            if let Some(Message::Command { command, reply }) = queued.map(|queued| queued.message) {
                // A test that gave up does not wait for its answer.
                let _ = reply.send(Ok(answer(command)));
            }
        }
    });
    Handle::new(Arc::new(shared), inbox, mpsc::channel(1).0)
}

fn answer(command: Command) -> Answer {
    match command.act {
        Act::Acknowledge { incident: 17, .. } => {
            Ok(Done { done: format!("acknowledged by {}", command.author), id: None })
        }
        _ => Err(CommandError::NotFound("incident".to_owned())),
    }
}
