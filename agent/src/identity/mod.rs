//! Who this agent is: a key that never leaves the host, the certificate that the
//! collector gave for it, and the roots by which the agent knows its collector.
//!
//! ```text
//! DATA_DIR/identity/   0700
//!   agent.key          0600  PKCS #8, PEM: P-256, made here
//!   agent.crt          0600  the certificate and what lies between it and the root
//!   ca.pem             0600  roots to trust: one, or two in a rotation
//!   agent.key.next     0600  a key that was asked a certificate for
//!   agent.crt.next     0600  its certificate, while the pair is put in place
//! ```
//!
//! Key and certificate change together however the change is cut short: the new pair
//! is complete on disk before the first rename, and [`folder::Folder::load`] finishes
//! what was begun. A key is kept before anybody is asked to certify it, so that an
//! answer that was lost can be asked for again.

pub(crate) mod certificate;
pub(crate) mod credentials;
pub(crate) mod folder;
pub(crate) mod key;

pub(crate) use credentials::Credentials;
pub(crate) use folder::{Folder, Identity, IdentityError};

#[cfg(test)]
pub(crate) mod testing;
