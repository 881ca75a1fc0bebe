//! What agent and helper say to each other, once each, over two pipes.
//!
//! ```text
//! u32 LE: length | that many bytes of protobuf     order: at most 64 KiB, the room of a
//!                                                  pipe, so that writing it never waits
//! ```
//!
//! The order names secrets and never holds one: the helper reads them.

use prost::Message;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};

/// Bytes of an order or a report.
pub(crate) const MESSAGE_MAX_BYTES: usize = 60 * 1024;
/// Bytes of a script's standard output that are kept; the rest is read and dropped.
pub(crate) const STDOUT_MAX_BYTES: usize = 16 * 1024;
/// Bytes of its standard error that are kept.
pub(crate) const STDERR_MAX_BYTES: usize = 1024;
/// Bytes of both after which a script is ended: it talks without end.
pub(crate) const OUTPUT_MAX_BYTES: u64 = 1024 * 1024;

/// What to run, and how far it may go.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Order {
    /// The executable's absolute path, and its arguments.
    #[prost(string, repeated, tag = "1")]
    pub(crate) command: Vec<String>,
    /// Until its whole process group is killed.
    #[prost(uint64, tag = "2")]
    pub(crate) timeout_ms: u64,
    /// User ids besides root that may own the executable and its folders.
    #[prost(uint32, repeated, tag = "3")]
    pub(crate) owners: Vec<u32>,
    /// What the executable's bytes must hash to; empty: anything.
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) sha256: Vec<u8>,
    /// Whom to run it as; none: as the agent.
    #[prost(message, optional, tag = "5")]
    pub(crate) account: Option<OrderAccount>,
    /// Its whole environment; values may be references to secrets.
    #[prost(btree_map = "string, string", tag = "6")]
    pub(crate) env: BTreeMap<String, String>,
    /// Address space of each of its processes.
    #[prost(uint64, tag = "7")]
    pub(crate) memory_bytes: u64,
    /// Processor time of each of its processes.
    #[prost(uint64, tag = "8")]
    pub(crate) cpu_secs: u64,
    /// Processes at one time.
    #[prost(uint32, tag = "9")]
    pub(crate) n_processes: u32,
}

/// A user of this host, by numbers.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct OrderAccount {
    #[prost(uint32, tag = "1")]
    pub(crate) uid: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) gid: u32,
}

/// How it went.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Report {
    #[prost(oneof = "Outcome", tags = "1, 2, 3, 4, 5, 6")]
    pub(crate) outcome: Option<Outcome>,
    #[prost(uint64, tag = "10")]
    pub(crate) duration_ms: u64,
    /// The first [`STDOUT_MAX_BYTES`].
    #[prost(bytes = "vec", tag = "11")]
    pub(crate) stdout: Vec<u8>,
    /// The first [`STDERR_MAX_BYTES`].
    #[prost(bytes = "vec", tag = "12")]
    pub(crate) stderr: Vec<u8>,
    /// All that it wrote.
    #[prost(uint64, tag = "13")]
    pub(crate) n_output_bytes: u64,
}

/// How a script ended.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub(crate) enum Outcome {
    /// By itself, with this code.
    #[prost(int32, tag = "1")]
    Exited(i32),
    /// By this signal.
    #[prost(int32, tag = "2")]
    Killed(i32),
    /// Its time was over.
    #[prost(bool, tag = "3")]
    TimedOut(bool),
    /// It was not started, for this reason.
    #[prost(string, tag = "4")]
    Refused(String),
    /// It had so many processes.
    #[prost(uint32, tag = "5")]
    TooManyProcesses(u32),
    /// It wrote more than [`OUTPUT_MAX_BYTES`].
    #[prost(bool, tag = "6")]
    TooMuchOutput(bool),
}

/// Writes one message.
///
/// # Errors
/// Of the pipe, or a message over [`MESSAGE_MAX_BYTES`].
pub(crate) fn write(message: &impl Message, into: &mut impl Write) -> io::Result<()> {
    let body = message.encode_to_vec();
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MESSAGE_MAX_BYTES);
    let length =
        length.ok_or_else(|| io::Error::other(format!("{} bytes are over the limit of a message", body.len())))?;
    into.write_all(&[&length.to_le_bytes()[..], &body].concat())?;
    into.flush()
}

/// Reads one message.
///
/// # Errors
/// Of the pipe, its early end, or a message that is none.
pub(crate) fn read<M: Message + Default>(from: &mut impl Read) -> io::Result<M> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MESSAGE_MAX_BYTES {
        return Err(io::Error::other(format!("{length} bytes are over the limit of a message")));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    M::decode(&body[..]).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let order = Order {
            command: vec!["/bin/x".to_owned(), "-a b".to_owned()],
            timeout_ms: 7,
            owners: vec![3],
            account: Some(OrderAccount { uid: 65_534, gid: 1 }),
            env: [("A".to_owned(), "file:/b".to_owned())].into(),
            ..Order::default()
        };
        let mut pipe = Vec::new();
        write(&order, &mut pipe).unwrap();
        assert_eq!(read::<Order>(&mut &pipe[..]).unwrap(), order);
        assert!(read::<Order>(&mut &pipe[..pipe.len() - 1]).is_err(), "an early end is no message");
    }

    #[test]
    fn a_message_at_the_limit_passes_and_one_over_it_does_not() {
        let of = |n: usize| Report { stdout: vec![7; n], ..Report::default() };
        let head = of(50_000).encoded_len() - 50_000;
        let mut pipe = Vec::new();
        write(&of(MESSAGE_MAX_BYTES - head), &mut pipe).unwrap();
        assert!(read::<Report>(&mut &pipe[..]).is_ok());
        assert!(write(&of(MESSAGE_MAX_BYTES - head + 1), &mut Vec::new()).is_err());
        let over = u32::try_from(MESSAGE_MAX_BYTES + 1).unwrap().to_le_bytes();
        assert!(read::<Report>(&mut &over[..]).is_err());
    }
}
