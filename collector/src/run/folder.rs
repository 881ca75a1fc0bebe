//! The data folder: made for nobody else, and refused where others rule.
//!
//! ```text
//! DATA          0700 when made here; belongs to us or root, and no other may write it
//! DATA/store    0700 always: all that agents said
//! DATA/ca       0700 always: the keys of the installation
//! ```
//!
//! Who may write the folder may put another `ca` in the place of ours: what is open
//! to others and ours is closed, what is not ours is refused with the remedy. That
//! others may look into DATA itself a site may decide, for the sockets in it.

use super::RunError;
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Folders inside which nobody else looks into.
const CLOSED: [&str; 2] = ["store", "ca"];

/// Makes the folders before anything is written to them.
///
/// # Errors
/// [`RunError::Folder`], with the remedy.
pub(super) fn prepare(data_dir: &Path) -> Result<(), RunError> {
    close(data_dir, 0o022)?;
    CLOSED.iter().try_for_each(|name| close(&data_dir.join(name), 0o077))
}

/// Makes a folder that has none of the `forbidden` permissions, or takes them away.
fn close(path: &Path, forbidden: u32) -> Result<(), RunError> {
    let failed = |why: String| RunError::Folder { path: path.to_owned(), why };
    let system = |why: io::Error| failed(why.to_string());
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(system)?;
    let facts = path.metadata().map_err(system)?;
    let (own, mode) = (rustix::process::geteuid().as_raw(), facts.mode() & 0o7777);
    if facts.uid() != own && facts.uid() != 0 {
        let uid = facts.uid();
        return Err(failed(format!("it belongs to uid {uid}, who could replace its keys; run: chown {own} it")));
    }
    if mode & forbidden == 0 {
        return Ok(());
    }
    if facts.uid() != own {
        return Err(failed(format!("others may write it (mode {mode:04o}); run: chmod go-w, or name another folder")));
    }
    tracing::warn!(path = %path.display(), "this folder was open to others (mode {mode:04o}); it is closed");
    std::fs::set_permissions(path, Permissions::from_mode(mode & !forbidden)).map_err(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn folders_are_made_for_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        prepare(&data).unwrap();
        assert_eq!([&data, &data.join("store"), &data.join("ca")].map(|path| mode(path)), [0o700; 3]);
    }

    #[test]
    fn what_was_open_to_others_is_closed_and_looking_is_left_to_the_site() {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path()).unwrap();
        for path in [dir.path().to_owned(), dir.path().join("store"), dir.path().join("ca")] {
            std::fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        }
        prepare(dir.path()).unwrap();
        assert_eq!(mode(dir.path()), 0o755);
        assert_eq!((mode(&dir.path().join("store")), mode(&dir.path().join("ca"))), (0o700, 0o700));
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        // Only root can make one.
        if std::os::unix::fs::chown(dir.path(), Some(4242), None).is_err() {
            return;
        }
        let error = prepare(dir.path()).unwrap_err();
        assert!(error.is_config() && error.to_string().contains("chown"), "{error}");
        assert!(!dir.path().join("ca").exists());
    }
}
