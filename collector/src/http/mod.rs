//! The operators' door: JSON API, status page, login, health, metrics.
//!
//! ```text
//! connection -> server (caps, deadlines, TLS, whose socket) -> guard (host, origin, limits, headers)
//!            -> identify (token, account, session) -> one gate a route (its permission)
//!            -> routes -> api: board, history, acts, agents, people (`/api/signalbox/v1`, JSON)
//!                      -> prometheus: queries and listings of series as Grafana asks for them (`/api/v1`)
//!                      -> page: board, incident, item, login (HTML without JavaScript)
//! ```
//!
//! Promises: nobody reaches anything but health, the login and its style; every
//! route names who may ask it ([`routes()`]), and one function decides; what lies
//! outside of somebody's scope does not exist for them ([`scope`]); present state is
//! read from the board, never from the store; every act is answered after the commit
//! that holds it and its line of the audit; what is not understood is refused with
//! what, where and how to mend it; nothing here waits longer, or takes more, than
//! [`Limits`] says.

#[cfg(test)]
mod access_tests;
mod api;
mod auth;
mod cookie;
pub(crate) mod door;
mod error;
mod extract;
mod filter;
mod guard;
mod limits;
mod login;
mod openapi;
mod page;
mod password;
pub(crate) mod peer;
mod probes;
mod prometheus;
mod routes;
mod scope;
mod secret;
pub mod server;
#[cfg(test)]
mod server_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod testing_handle;
#[cfg(test)]
mod tests;
mod throttle;

pub use door::{App, Settings, first_login};
pub use limits::Limits;
pub use peer::Peer;
pub use routes::{Access, Kind, Route, router, routes};
pub use server::{BindError, Doors, bind, bind_local, serve};

/// Where this API's routes begin.
pub(crate) const API_ROOT: &str = "/api/signalbox/v1";
