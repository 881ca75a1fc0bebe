//! Opening the spool: what a crash or a damaged disk left is told apart and set right.

use super::loss::{Losses, Reason};
use super::marks::Marks;
use super::record::Header;
use super::segment::{self, Scan, Segment, SegmentId, Tail};
use super::{Counters, Limits, Ring, Spool, Unsynced};
use signalbox_proto::units::UnixMillis;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Damaged segments that are set aside for people to look at; older ones are removed.
const CORRUPT_FILES_MAX: usize = 8;

/// Why the spool could not be opened.
#[derive(Debug, Error)]
pub(crate) enum OpenError {
    /// The folder could not be made or listed.
    #[error("open spool folder {dir}")]
    Folder {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Spool {
    /// Opens the folder, which is made if it is not there. Torn tails are cut off,
    /// damaged segments are set aside, and the loss is noted.
    pub(crate) fn open(dir: &Path, limits: Limits, now: UnixMillis) -> Result<Spool, OpenError> {
        let ids = list(dir).map_err(|source| OpenError::Folder { dir: dir.to_owned(), source })?;
        let mut spool = Spool {
            dir: dir.to_owned(),
            limits,
            segments: BTreeMap::new(),
            writer: None,
            marks: Marks::load(dir),
            ring: Ring::default(),
            newest: None,
            unsynced: Unsynced::default(),
            losses: Losses::default(),
            counters: Counters::default(),
            retry_at: None,
            key_wanted: false,
            scratch: Vec::new(),
            #[cfg(test)]
            disk_full: false,
        };
        // Newest first, so that a damaged segment knows where the next one begins.
        for &id in ids.iter().rev() {
            let newest_of_epoch = spool.next_of_epoch(id).is_none();
            let scan = segment::scan(&segment::path_of(dir, id), id, newest_of_epoch);
            spool.admit(id, scan, newest_of_epoch, now);
        }
        spool.trim(now);
        Ok(spool)
    }

    fn admit(&mut self, id: SegmentId, scan: io::Result<Scan>, newest_of_epoch: bool, now: UnixMillis) {
        let path = segment::path_of(&self.dir, id);
        let (found, tail) = match scan {
            Ok(Scan { segment, tail }) => (segment, tail),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "read of a spool segment failed");
                (None, Tail::Corrupt)
            }
        };
        match (tail, found) {
            (Tail::Clean, Some(segment)) => {
                self.segments.insert(id, segment);
            }
            (Tail::Clean, None) => self.remove_file(&path),
            (Tail::Torn, found) if newest_of_epoch => {
                self.counters.n_torn += 1;
                match found {
                    None => self.remove_file(&path),
                    Some(segment) => {
                        let cut = File::options().write(true).open(&path).and_then(|file| file.set_len(segment.bytes));
                        self.note(cut, &path, "cut of a torn spool segment failed");
                        self.segments.insert(id, segment);
                    }
                }
            }
            (Tail::Torn | Tail::Corrupt, found) => {
                let last = self.next_of_epoch(id).map(|next| next.id.1 - 1);
                self.set_aside(id, found, last, now);
            }
        }
    }

    /// Renames a damaged segment, keeps the part before the damage as the segment,
    /// and notes what is lost: up to `last_seq`, if it is known.
    pub(super) fn set_aside(&mut self, id: SegmentId, good: Option<Segment>, last_seq: Option<u64>, now: UnixMillis) {
        let path = segment::path_of(&self.dir, id);
        let aside = path.with_extension("corrupt");
        self.counters.n_corrupt += 1;
        tracing::error!(path = %path.display(), aside = %aside.display(), "spool segment is damaged and set aside");
        self.note(fs::rename(&path, &aside), &path, "rename of a damaged spool segment failed");
        self.prune_corrupt();

        let first_lost = good.as_ref().map_or(id.1, |segment| segment.last_seq + 1).max(self.marks.of(id.0) + 1);
        let begin = good.as_ref().map_or(segment::PREAMBLE_BYTES as u64, |segment| segment.bytes);
        let behind = segment::headers_behind(&aside, begin);
        self.note(behind.as_ref().map(drop).map_err(|error| error.kind().into()), &aside, "survey of damage failed");
        let next = self.next_of_epoch(id);
        let n_usual =
            good.as_ref().or(next).or(self.segments.values().next_back()).map_or(1, |near| near.n_samples_last);
        let n_samples = n_lost_samples(&behind.unwrap_or_default(), first_lost, last_seq, n_usual);
        let to = next.map(|segment| segment.first_wall);
        let from = good.as_ref().map(|segment| segment.last_wall).or(to).unwrap_or(now);
        self.losses.add(Reason::SpoolCorrupt, n_samples, from, to.unwrap_or(from));

        self.segments.remove(&id);
        if let Some(segment) = good {
            let salvaged = copy_start(&aside, &path, segment.bytes);
            if salvaged.is_ok() {
                self.segments.insert(id, segment);
            }
            self.note(salvaged, &path, "rescue of the sound part of a spool segment failed");
        }
    }

    /// The segment after `id` in the same epoch.
    pub(super) fn next_of_epoch(&self, (epoch, first_seq): SegmentId) -> Option<&Segment> {
        self.segments.range((epoch, first_seq.saturating_add(1))..=(epoch, u64::MAX)).next().map(|(_, s)| s)
    }

    pub(super) fn remove_file(&mut self, path: &Path) {
        let removed = fs::remove_file(path);
        self.note(removed, path, "removal of a spool segment failed");
    }

    fn note(&mut self, result: io::Result<()>, path: &Path, what: &'static str) {
        if let Err(error) = result {
            self.counters.n_failures += 1;
            tracing::error!(path = %path.display(), %error, "{what}");
        }
    }

    fn prune_corrupt(&mut self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let mut found: BTreeSet<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "corrupt"))
            .collect();
        while found.len() > CORRUPT_FILES_MAX {
            let Some(oldest) = found.pop_first() else { return };
            self.remove_file(&oldest);
        }
    }
}

/// Samples of the batches from `first` on, to `last` if it is known: what headers that
/// can still be read say, and for those in between the usual number.
fn n_lost_samples(behind: &[Header], first: u64, last: Option<u64>, n_usual: u32) -> u64 {
    let lost = behind.iter().filter(|header| header.seq >= first && last.is_none_or(|last| header.seq <= last));
    let (mut n_known, mut n_samples, mut newest) = (0, 0, first);
    for header in lost {
        (n_known, n_samples) = (n_known + 1, n_samples + u64::from(header.n_samples));
        newest = newest.max(header.seq);
    }
    // Damage is in one batch at least, whatever else is known.
    let n_batches = (last.unwrap_or(newest) + 1).saturating_sub(first);
    n_samples + n_batches.saturating_sub(n_known) * u64::from(n_usual.max(1))
}

fn list(dir: &Path) -> io::Result<BTreeSet<SegmentId>> {
    fs::create_dir_all(dir)?;
    let mut ids = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        if let Some(id) = entry?.file_name().to_str().and_then(segment::parse_file_name) {
            ids.insert(id);
        }
    }
    Ok(ids)
}

/// Copies the first `n_bytes` of a file.
fn copy_start(from: &Path, to: &Path, n_bytes: u64) -> io::Result<()> {
    let mut source = File::open(from)?.take(n_bytes);
    let mut target = File::create(to)?;
    io::copy(&mut source, &mut target)?;
    target.sync_data()
}
