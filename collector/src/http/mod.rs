//! The operators' door: JSON API, status page, health, metrics.
//!
//! ```text
//! connection -> server (caps, deadlines) -> guard (host, origin, limits, headers)
//!            -> routes -> api: board, history, acts   (`/api/signalbox/v1`, JSON)
//!                      -> page: board, incident, item (HTML without JavaScript)
//! ```
//!
//! Promises: present state is read from the board, never from the store; every act
//! is answered after the commit that holds it; what is not understood is refused
//! with what, where and how to mend it; nothing here waits longer than
//! [`guard::REQUEST_TIMEOUT`] or takes a body over [`extract::BODY_MAX_BYTES`].
//!
//! Until operators have identities, [`server::bind`] takes loopback addresses only.

mod api;
mod error;
mod extract;
mod filter;
mod guard;
mod openapi;
mod page;
mod probes;
mod routes;
pub mod server;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod testing_handle;
#[cfg(test)]
mod tests;

use crate::handle::Handle;
use crate::notify::Notifiers;
use std::sync::Arc;

pub use routes::router;
pub use server::{BindError, bind, serve};

/// Where this API's routes begin.
pub(crate) const API_ROOT: &str = "/api/signalbox/v1";

/// What every handler may use.
#[derive(Clone)]
pub struct App {
    pub(crate) handle: Handle,
    pub(crate) notifiers: Arc<Notifiers>,
}

impl App {
    /// Over the running collector and its channels.
    pub fn new(handle: Handle, notifiers: Arc<Notifiers>) -> App {
        App { handle, notifiers }
    }
}
