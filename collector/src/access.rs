//! Identities and rights outside the writer: the key of the audit, and reading the
//! audit back.
//!
//! Everything that decides is in [`signalbox_access`]; everything that changes goes
//! through the writer.

use crate::handle::HandleError;
use crate::shared::Shared;
use crate::store::{Family, Store, StoreError, keys};
use signalbox_access::access::{BASE_KEY, HEAD_KEY};
use signalbox_access::audit::{Base, Verifier};
use signalbox_access::rows::Table;
use signalbox_access::{AuditKey, AuditLine, Fault, FaultKind, Head};
use signalbox_proto::api::{AuditEntry, AuditVerdict};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use thiserror::Error;

/// Lines of the audit in one answer.
pub const AUDIT_PAGE_MAX: usize = 1_000;
/// The file beside the store that holds the key of the audit's head.
const KEY_FILE: &str = "audit.key";
const KEY_BYTES: usize = 32;

/// Why there is no key for the audit.
#[derive(Debug, Error)]
pub enum AuditKeyError {
    /// The file system refused.
    #[error("{what} {path}: {why}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: String,
        /// What the system said.
        why: std::io::Error,
    },
    /// Not a key.
    #[error(
        "audit key {path} has not {KEY_BYTES} bytes; put the right one back, or move it away: then a new one is \
             made and the audit says so"
    )]
    Length {
        /// Which file.
        path: String,
    },
    /// Others can read it.
    #[error("audit key {path} can be read by others; run: chmod 600 {path}")]
    Open {
        /// Which file.
        path: String,
    },
}

/// Reads the key of the audit's head, or makes it, readable by nobody else.
///
/// # Errors
/// [`AuditKeyError`].
pub fn audit_key(data_dir: &Path) -> Result<AuditKey, AuditKeyError> {
    let path = data_dir.join(KEY_FILE);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(why) if why.kind() == ErrorKind::NotFound => return make_key(data_dir),
        Err(why) => return Err(failed("open audit key", &path)(why)),
    };
    let mode = file.metadata().map_err(failed("look at audit key", &path))?.mode();
    if mode & 0o077 != 0 {
        return Err(AuditKeyError::Open { path: path.display().to_string() });
    }
    let mut bytes = Vec::with_capacity(KEY_BYTES + 1);
    let limit = KEY_BYTES as u64 + 1;
    Read::by_ref(&mut file).take(limit).read_to_end(&mut bytes).map_err(failed("read audit key", &path))?;
    let bytes: [u8; KEY_BYTES] =
        bytes.try_into().map_err(|_| AuditKeyError::Length { path: path.display().to_string() })?;
    Ok(AuditKey::new(bytes))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> AuditKeyError {
    let path = path.display().to_string();
    move |why| AuditKeyError::Io { what, path, why }
}

fn make_key(data_dir: &Path) -> Result<AuditKey, AuditKeyError> {
    let path = data_dir.join(KEY_FILE);
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(|why| failed("make audit key", &path)(std::io::Error::other(why)))?;
    crate::whole_file::write(&path, &bytes, 0o600).map_err(failed("write audit key", &path))?;
    Ok(AuditKey::new(bytes))
}

/// Runs a read of the store on a blocking thread, at most as many as queries may.
async fn read<T: Send + 'static>(
    shared: Arc<Shared>,
    work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, HandleError> {
    let slot = Arc::clone(shared.queries()).try_acquire_owned().map_err(|_| HandleError::Busy)?;
    let done = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        work(&shared)
    });
    let done = done.await.map_err(|why| HandleError::Store(why.to_string()))?;
    done.map_err(|why| HandleError::Store(why.to_string()))
}

/// See [`crate::handle::Handle::audit`].
pub(crate) async fn audit(shared: Arc<Shared>, from: u64, n_max: usize) -> Result<Vec<AuditEntry>, HandleError> {
    let n_max = n_max.min(AUDIT_PAGE_MAX);
    read(shared, move |shared| {
        let mut lines = Vec::new();
        let mut visit = |key: &[u8], row: &[u8]| {
            if lines.len() == n_max {
                return ControlFlow::Break(());
            }
            // A row that cannot be read is shown as what it is, in its place.
            lines.push(AuditLine::decode(row).unwrap_or_else(|| unreadable(key)).entry());
            ControlFlow::Continue(())
        };
        shared.store().scan(Family::Audit, &keys::audit(from), &[], &mut visit)?;
        Ok(lines)
    })
    .await
}

fn unreadable(key: &[u8]) -> AuditLine {
    let no = keys::parse_audit(key).unwrap_or_default();
    let result = "this line cannot be read: it is not what was written".to_owned();
    AuditLine { no, result, ..AuditLine::default() }
}

/// See [`crate::handle::Handle::verify_audit`].
pub(crate) async fn verify_audit(shared: Arc<Shared>) -> Result<AuditVerdict, HandleError> {
    read(shared, |shared| {
        let (verifier, fault) = verify(&**shared.store(), shared.access().audit_key())?;
        Ok(AuditVerdict {
            whole: fault.is_none(),
            first: verifier.last() - verifier.n_lines() + 1,
            n_lines: verifier.n_lines(),
            head: verifier.hash().to_string(),
            fault: fault.map_or_else(String::new, |fault| fault.to_string()),
        })
    })
    .await
}

/// Checks every line up to the head, and that there is none after it. Lines that are
/// written meanwhile move the head; the check follows it.
/// What was found right, and the first fault.
pub(crate) fn verify(store: &dyn Store, key: &AuditKey) -> Result<(Verifier, Option<Fault>), StoreError> {
    loop {
        let base = base(store)?;
        let outcome = match Verifier::after(base.as_ref(), key) {
            Ok(verifier) => verify_after(store, verifier, key)?,
            Err(fault) => (Verifier::default(), Some(fault)),
        };
        // The oldest lines may have gone meanwhile: then what was read is no proof.
        if self::base(store)? == base {
            return Ok(outcome);
        }
    }
}

fn verify_after(
    store: &dyn Store,
    mut verifier: Verifier,
    key: &AuditKey,
) -> Result<(Verifier, Option<Fault>), StoreError> {
    loop {
        let head = head(store)?;
        let end = head.map_or(0, |head| head.no);
        if let Err(fault) = feed(store, &mut verifier, end)? {
            return Ok((verifier, Some(fault)));
        }
        let beyond = store.last(Family::Audit, &keys::audit(end.saturating_add(1)), &[])?;
        match beyond {
            // The writer moved on since the head was read.
            Some(_) if self::head(store)? != head => {}
            Some(_) => return Ok((verifier, Some(Fault { no: end + 1, kind: FaultKind::Head }))),
            None => {
                let fault = verifier.finish(head.as_ref(), key).err();
                return Ok((verifier, fault));
            }
        }
    }
}

fn head(store: &dyn Store) -> Result<Option<Head>, StoreError> {
    let row_key = keys::access(Table::Head, HEAD_KEY);
    let Some(row) = store.get(Family::Access, &row_key)? else { return Ok(None) };
    // What does not decode was not sealed by anybody.
    Ok(Some(Head::decode(&row).unwrap_or_default()))
}

/// Where the record begins; none: with line 1.
pub(crate) fn base(store: &dyn Store) -> Result<Option<Base>, StoreError> {
    let Some(row) = store.get(Family::Access, &keys::access(Table::Head, BASE_KEY))? else { return Ok(None) };
    // What does not decode was not sealed by anybody.
    Ok(Some(Base::decode(&row).unwrap_or_default()))
}

/// Shows the verifier the lines that it has not seen, up to number `end`.
pub(crate) fn feed(store: &dyn Store, verifier: &mut Verifier, end: u64) -> Result<Result<(), Fault>, StoreError> {
    let mut outcome = Ok(());
    // From the very first key: a row before the first line does not belong there.
    let from = match verifier.n_lines() {
        0 => Vec::new(),
        _ => keys::audit(verifier.last() + 1),
    };
    let mut visit = |key: &[u8], row: &[u8]| {
        let no = keys::parse_audit(key).unwrap_or_default();
        outcome = verifier.line(no, AuditLine::decode(row).as_ref());
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    store.scan(Family::Audit, &from, &keys::audit(end.saturating_add(1)), &mut visit)?;
    Ok(outcome)
}

#[cfg(test)]
mod tests;
