//! Small files that are there whole, or not at all.
//!
//! What is written goes to a file beside the old one, is synced, and takes its name in
//! one step: a crash leaves the old file or the new one, never half of either.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes `path` with these permissions, durably.
///
/// # Errors
/// What the system says.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it names no file"));
    };
    let fresh = folder.join(format!(".{}.new", name.to_string_lossy()));
    // Made anew: one that a crash left may have other permissions.
    match std::fs::remove_file(&fresh) {
        Err(why) if why.kind() != ErrorKind::NotFound => return Err(why),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    sync_folder(folder)
}

/// Makes the names in a folder durable.
///
/// # Errors
/// What the system says.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
