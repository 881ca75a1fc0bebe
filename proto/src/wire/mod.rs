//! The wire: generated messages, and their conversion to and from the domain.
//!
//! Generated types stop here and in the two service modules (the agent's
//! transport, the collector's ingest). [`decode`] checks everything that an agent
//! can say against [`crate::limits`]; nothing behind it needs to check again.

pub mod decode;
pub mod encode;

/// Generated from `signalbox/v1/*.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("signalbox.v1");
}

/// Size of a batch as a protobuf message, bytes.
pub fn batch_bytes(batch: &crate::samples::Batch) -> usize {
    prost::Message::encoded_len(&v1::Batch::from(batch))
}
