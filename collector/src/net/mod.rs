//! What both doors do with sockets: listen, and wait for a slow reader no longer than
//! a span. Who may come in, and how many, is each door's own business.

pub(crate) mod listen;
pub(crate) mod patient;
pub(crate) mod tally;
