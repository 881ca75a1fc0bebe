//! What each event does, table by table.

mod agents;
mod api_tokens;
mod join_tokens;
mod pending;
mod sessions;
mod sweep;
mod users;

use crate::access::Work;
use crate::answer::{Answer, Granted, Refused};
use crate::limits::NAME_MAX_BYTES;
use crate::permission::Permission;
use crate::principal::{PrincipalKind, authorize};
use signalbox_proto::units::{Millis, UnixMillis};
use std::fmt::Display;

impl Work<'_> {
    /// The caller's name, for `created_by`.
    fn who(&self) -> String {
        self.event.caller.principal.name.clone()
    }

    /// True when the caller is this user, and may look after what is their own.
    fn is_own(&self, user: &str) -> bool {
        let principal = &self.event.caller.principal;
        principal.kind == PrincipalKind::User
            && principal.name == user
            && authorize(principal, Permission::OwnSession, None).is_ok()
    }

    fn may_manage_users(&self) -> Result<(), Refused> {
        authorize(&self.event.caller.principal, Permission::ManageUsers, None).map_err(Refused::from)
    }
}

fn done(words: impl Into<String>) -> Answer {
    Ok(Granted::Done(words.into()))
}

fn conflict<T>(words: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Conflict(words.into()))
}

fn invalid<T>(words: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Invalid(words.into()))
}

/// A table is full: names the limit, and what makes room.
fn full<T>(n: usize, what: &str, remedy: impl Display) -> Result<T, Refused> {
    Err(Refused::Limit(format!("{n} {what} are kept and that is the limit: {remedy}")))
}

fn check_name(what: &str, name: &str) -> Result<(), Refused> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > NAME_MAX_BYTES || !name.chars().all(allowed) {
        return invalid(format!("{what} must be 1 to {NAME_MAX_BYTES} of A-Z a-z 0-9 . _ -"));
    }
    Ok(())
}

/// Names by which things are listed and revoked, made by the shell.
fn check_id(what: &str, id: &str) -> Result<(), Refused> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let max = signalbox_proto::join::TOKEN_ID_MAX_BYTES;
    if id.is_empty() || id.len() > max || !id.chars().all(allowed) {
        return invalid(format!("id of {what} must be 1 to {max} of a-z 0-9"));
    }
    Ok(())
}

fn check_life(what: &str, life: Millis, max: Millis) -> Result<(), Refused> {
    if life == Millis::ZERO || life > max {
        return invalid(format!("{what} lives from 1ms to {max}, not {life}"));
    }
    Ok(())
}

/// An end that certificates and clocks can carry.
fn check_end(at: UnixMillis, not_after: UnixMillis, max: Millis) -> Result<(), Refused> {
    if not_after <= at || not_after > at + max {
        return invalid(format!("a certificate ends within {max}"));
    }
    Ok(())
}
