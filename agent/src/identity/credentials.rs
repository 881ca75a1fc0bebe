//! The identity that is in use: read when it is first needed, and again when the
//! files have changed, by a join or by a renewal.

use super::folder::{Folder, Identity, IdentityError, Stamp};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Shared by all that dial.
#[derive(Debug)]
pub(crate) struct Credentials {
    folder: Folder,
    read: Mutex<Option<(Stamp, Arc<Identity>)>>,
}

impl Credentials {
    /// Of the agent whose data lies in `data_dir`.
    pub(crate) fn of(data_dir: &Path) -> Credentials {
        Credentials { folder: Folder::of(data_dir), read: Mutex::new(None) }
    }

    /// Where they lie.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The identity as it is on disk now; the files are read when they have changed.
    ///
    /// # Errors
    /// [`IdentityError`], with the remedy.
    pub(crate) fn current(&self) -> Result<Arc<Identity>, IdentityError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(now), Some((then, identity))) = (self.folder.stamp(), &*read)
            && now == *then
        {
            return Ok(identity.clone());
        }
        let identity = Arc::new(self.folder.load()?);
        *read = self.folder.stamp().map(|stamp| (stamp, identity.clone()));
        Ok(identity)
    }
}
