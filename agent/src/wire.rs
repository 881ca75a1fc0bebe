//! Where domain words become bytes of `signalbox.v1` and back. Generated types do
//! not leave this module.

use bytes::{BufMut, Bytes};
use prost::Message;
use signalbox_proto::samples::{Batch, Hello};
use signalbox_proto::units::{Millis, UnixMillis};
use signalbox_proto::wire::v1;
use v1::stream_request::Message as Request;

/// Path of the one RPC.
pub(crate) const STREAM_PATH: &str = "/signalbox.v1.IngestService/Stream";
/// `StreamRequest.batch`: field 2, length-delimited.
const BATCH_KEY: u8 = 2 << 3 | 2;

/// A `StreamRequest` ready to go. A batch is not copied: the bytes that lie in the
/// spool are the bytes that are sent, behind a head of a few bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    head: Bytes,
    body: Bytes,
}

impl Frame {
    /// Who is calling.
    pub(crate) fn hello(hello: &Hello) -> Frame {
        Frame::of(Request::Hello(hello.into()))
    }

    /// A batch as [`encode_batch`] gave it.
    pub(crate) fn batch(encoded: Bytes) -> Frame {
        let mut head = Vec::with_capacity(6);
        head.push(BATCH_KEY);
        signalbox_proto::columns::put_varint(&mut head, encoded.len() as u64);
        Frame { head: head.into(), body: encoded }
    }

    /// "I am alive".
    pub(crate) fn heartbeat(wall: UnixMillis, mono: Millis, n_backlog: u64) -> Frame {
        Frame::of(Request::Heartbeat(v1::Heartbeat { wall_ms: wall.0, mono_ms: mono.0, n_backlog }))
    }

    /// A planned stop.
    pub(crate) fn goodbye(reason: &str) -> Frame {
        Frame::of(Request::Goodbye(v1::Goodbye { reason: reason.to_owned() }))
    }

    fn of(message: Request) -> Frame {
        let request = v1::StreamRequest { message: Some(message) };
        Frame { head: Bytes::new(), body: request.encode_to_vec().into() }
    }

    /// Writes the message.
    pub(crate) fn put(&self, out: &mut impl BufMut) {
        out.put_slice(&self.head);
        out.put_slice(&self.body);
    }

    /// Size of the message.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// A batch as it is kept and sent.
pub(crate) fn encode_batch(batch: &Batch) -> Bytes {
    v1::Batch::from(batch).encode_to_vec().into()
}

/// Everything a collector can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FromCollector {
    /// Everything up to `seq` of `epoch` is durable there.
    Ack {
        /// Which epoch.
        epoch: u64,
        /// The highest durable sequence.
        seq: u64,
    },
    /// Send nothing for this long.
    Throttle {
        /// How long.
        pause: Millis,
        /// Why.
        reason: String,
    },
    /// Another collector owns this agent.
    GoElsewhere {
        /// Where.
        endpoints: Vec<String>,
        /// Why.
        reason: String,
    },
    /// Reserved, or of a newer protocol: nothing to do.
    Other,
}

/// Reads a `StreamResponse`.
///
/// # Errors
/// When the bytes are not one.
pub(crate) fn decode_response(bytes: impl bytes::Buf) -> Result<FromCollector, prost::DecodeError> {
    use v1::stream_response::Message as Response;
    Ok(match v1::StreamResponse::decode(bytes)?.message {
        Some(Response::Ack(ack)) => FromCollector::Ack { epoch: ack.epoch, seq: ack.seq },
        Some(Response::Throttle(throttle)) => {
            FromCollector::Throttle { pause: Millis(throttle.pause_ms.into()), reason: throttle.reason }
        }
        Some(Response::GoElsewhere(go)) => FromCollector::GoElsewhere { endpoints: go.endpoints, reason: go.reason },
        Some(Response::Drill(_)) | None => FromCollector::Other,
    })
}

#[cfg(test)]
pub(crate) mod testing {
    //! The collector's side of the wire, for tests.

    use super::*;

    /// What an agent said.
    #[derive(Debug)]
    pub(crate) enum FromAgent {
        Hello(Hello),
        Batch(Batch),
        Heartbeat,
        Goodbye,
    }

    /// Reads a frame as a collector would.
    pub(crate) fn read(frame: &Frame) -> FromAgent {
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        match v1::StreamRequest::decode(&bytes[..]).unwrap().message.unwrap() {
            Request::Hello(hello) => FromAgent::Hello(hello.try_into().unwrap()),
            Request::Batch(batch) => FromAgent::Batch(batch.try_into().unwrap()),
            Request::Heartbeat(_) => FromAgent::Heartbeat,
            Request::Goodbye(_) => FromAgent::Goodbye,
        }
    }
}
