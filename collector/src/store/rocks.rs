//! The store on disk. The only place that names RocksDB.
//!
//! Every commit is one write batch over all families, synced into the
//! write-ahead log before it returns. Recovery is point-in-time: a torn record
//! at the log's end is what was never acknowledged; a damaged one before it costs
//! a tail, which [`super::tail`] finds.
//!
//! Memory follows one setting: a quarter for write buffers, the rest for the
//! block cache, which is charged for the write buffers too.

use super::{Change, Commit, Family, KeyValue, Rows, Stats, Store, StoreError, Visit};
use rocksdb::{
    BlockBasedOptions, BoundColumnFamily, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode,
    IteratorMode, Options, ReadOptions, WriteBatch, WriteBufferManager, WriteOptions, properties,
};
use signalbox_proto::units::Bytes;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// Log files of RocksDB's own that are kept, and the size of one.
const INFO_LOGS_KEPT: usize = 3;
const INFO_LOG_BYTES: usize = 4 * 1024 * 1024;
/// Write-ahead log that may wait for flushes: bounds the time that a restart reads.
const WAL_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Write-ahead log is handed to the device in steps of this, so that a sync never finds much.
const WAL_BYTES_PER_SYNC: u64 = 1024 * 1024;
/// Flushes and compactions at a time.
const BACKGROUND_JOBS: i32 = 2;
/// Chunks are tens of kilobytes and read whole: larger blocks waste less on index entries.
const CHUNK_BLOCK_BYTES: usize = 64 * 1024;

/// Bits of a filter for each key: one look in a hundred is in vain.
const BLOOM_BITS: f64 = 10.0;
/// Name of a figure of RocksDB.
const BLOB_FILES_SIZE: &str = "rocksdb.total-blob-file-size";
/// Rows from this length on lie outside the tree.
const BLOB_MIN_BYTES: u64 = 512;
/// A file of them: small enough that retention frees space file by file.
const BLOB_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Of the oldest quarter of the files those are written anew whose rows are half gone.
const BLOB_GC_AGE: f64 = 0.25;
const BLOB_GC_GARBAGE: f64 = 0.5;

/// RocksDB in a directory.
pub struct RocksStore {
    dir: PathBuf,
    options: Settings,
    db: RwLock<Option<DB>>,
    /// Held for the life of the store, so that a second collector is told why.
    _lock: File,
}

/// What is shared by all times that the store is opened.
struct Settings {
    cache: Cache,
    buffers: WriteBufferManager,
}

impl RocksStore {
    /// Opens or makes the store under `dir`.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another collector has it, [`StoreError::Full`],
    /// else [`StoreError::Failed`].
    pub fn open(dir: &Path, memory: Bytes) -> Result<RocksStore, StoreError> {
        let (lock, options) = prepare(dir, memory, true)?;
        let db = open_db(&dir.join("store"), &options)?;
        Ok(RocksStore { dir: dir.to_owned(), options, db: RwLock::new(Some(db)), _lock: lock })
    }

    /// Opens a store to look at it: what is there is not changed, log included. Refused
    /// while a collector has it.
    ///
    /// # Errors
    /// As [`RocksStore::open`].
    pub fn open_read_only(dir: &Path, memory: Bytes) -> Result<RocksStore, StoreError> {
        let (lock, options) = prepare(dir, memory, false)?;
        let (db_options, families) = settings_of(&options);
        let db = DB::open_cf_descriptors_read_only(&db_options, dir.join("store"), families, false)
            .map_err(|why| failure("open the store to read it", &why))?;
        Ok(RocksStore { dir: dir.to_owned(), options, db: RwLock::new(Some(db)), _lock: lock })
    }

    /// Writes the store as it stands to `to`, which must not exist: hard links where
    /// the file system is the same.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn checkpoint(&self, to: &Path) -> Result<(), StoreError> {
        let db = self.db();
        let db = db.as_ref().ok_or(CLOSED)?;
        let made = rocksdb::checkpoint::Checkpoint::new(db).and_then(|checkpoint| checkpoint.create_checkpoint(to));
        made.map_err(|why| failure("write a checkpoint of the store", &why))
    }

    fn db(&self) -> RwLockReadGuard<'_, Option<DB>> {
        self.db.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lock, and what all openings share.
fn prepare(dir: &Path, memory: Bytes, makes: bool) -> Result<(File, Settings), StoreError> {
    let failed = |what: &str, why: &dyn ToString| StoreError::Failed {
        what: format!("{what} {}", dir.display()),
        why: why.to_string(),
    };
    if makes {
        std::fs::create_dir_all(dir).map_err(|why| failed("make data directory", &why))?;
    }
    let lock = File::create(dir.join("lock")).map_err(|why| failed("make lock file in", &why))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|why| match why {
        rustix::io::Errno::WOULDBLOCK => StoreError::Locked { dir: dir.display().to_string() },
        why => failed("lock data directory", &why),
    })?;
    let memory = usize::try_from(memory.0).unwrap_or(usize::MAX);
    let cache = Cache::new_lru_cache(memory);
    let buffers = WriteBufferManager::new_write_buffer_manager_with_cache(memory / 4, false, cache.clone());
    Ok((lock, Settings { cache, buffers }))
}

/// The store is closed between a refused commit and the reopening.
const CLOSED: StoreError = StoreError::Full { what: "use the store before it is open again" };

fn open_db(dir: &Path, settings: &Settings) -> Result<DB, StoreError> {
    let (options, families) = settings_of(settings);
    DB::open_cf_descriptors(&options, dir, families).map_err(|why| failure("open the store", &why))
}

fn settings_of(settings: &Settings) -> (Options, Vec<ColumnFamilyDescriptor>) {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_atomic_flush(true);
    options.set_max_background_jobs(BACKGROUND_JOBS);
    options.set_max_total_wal_size(WAL_MAX_BYTES);
    options.set_wal_bytes_per_sync(WAL_BYTES_PER_SYNC);
    options.set_bytes_per_sync(WAL_BYTES_PER_SYNC);
    options.set_keep_log_file_num(INFO_LOGS_KEPT);
    options.set_max_log_file_size(INFO_LOG_BYTES);
    options.set_write_buffer_manager(&settings.buffers);
    let default = ColumnFamilyDescriptor::new("default", Options::default());
    let families = Family::ALL
        .into_iter()
        .map(|family| ColumnFamilyDescriptor::new(family.name(), family_options(family, settings)))
        .chain([default])
        .collect();
    (options, families)
}

fn family_options(family: Family, settings: &Settings) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&settings.cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    if family == Family::Postings {
        // A value is looked for in many segments and found in few.
        table.set_bloom_filter(BLOOM_BITS, false);
    }
    let mut options = Options::default();
    match family {
        // Chunks are compressed by their own codecs already. These live for hours,
        // until they are merged.
        Family::Chunks => {
            options.set_compression_type(DBCompressionType::None);
            table.set_block_size(CHUNK_BLOCK_BYTES);
        }
        // These live for long: written once into files of their own, while the
        // tree that is compacted holds keys only. A file goes when its rows are gone.
        Family::Long | Family::Minutes | Family::Hours => {
            options.set_compression_type(DBCompressionType::None);
            options.set_enable_blob_files(true);
            options.set_min_blob_size(BLOB_MIN_BYTES);
            options.set_blob_file_size(BLOB_FILE_BYTES);
            options.set_blob_compression_type(DBCompressionType::None);
            options.set_enable_blob_gc(true);
            options.set_blob_gc_age_cutoff(BLOB_GC_AGE);
            options.set_blob_gc_force_threshold(BLOB_GC_GARBAGE);
            options.set_blob_cache(&settings.cache);
        }
        _ => options.set_compression_type(DBCompressionType::Lz4),
    }
    options.set_block_based_table_factory(&table);
    options
}

fn failure(what: &'static str, why: &rocksdb::Error) -> StoreError {
    let why = why.to_string();
    // RocksDB's sub-code for this does not cross its C interface; its text does.
    if why.contains("No space left on device") || why.contains("NoSpace") {
        StoreError::Full { what }
    } else {
        StoreError::Failed { what: what.to_owned(), why }
    }
}

fn handle(db: &DB, family: Family) -> Arc<BoundColumnFamily<'_>> {
    db.cf_handle(family.name()).expect("all families are made when the store is opened")
}

fn batch_of(db: &DB, commit: &Commit) -> WriteBatch {
    let handles = Family::ALL.map(|family| handle(db, family));
    let of = |family: Family| &handles[family as usize];
    let mut batch = WriteBatch::with_capacity_bytes(commit.n_bytes() + commit.changes().len() * 16);
    for change in commit.changes() {
        match change {
            Change::Put(family, key, value) => batch.put_cf(of(*family), key, value),
            Change::Delete(family, key) => batch.delete_cf(of(*family), key),
            Change::DeleteRange(family, from, to) => batch.delete_range_cf(of(*family), from, to),
        }
    }
    batch
}

/// Rows at one instant.
struct Snapshot<'a> {
    db: &'a DB,
    snapshot: rocksdb::Snapshot<'a>,
}

impl Rows for Snapshot<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.snapshot.get_cf(&handle(self.db, family), key).map_err(|why| failure("read a row", &why))
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        let iterator = |options| self.snapshot.raw_iterator_cf_opt(&handle(self.db, family), options);
        scan(iterator, from, to, visit)
    }
}

/// Visits the rows of `[from, to)` with an iterator of the caller's making.
fn scan<'a>(
    iterator: impl FnOnce(ReadOptions) -> rocksdb::DBRawIteratorWithThreadMode<'a, DB>,
    from: &[u8],
    to: &[u8],
    visit: Visit<'_>,
) -> Result<(), StoreError> {
    if !to.is_empty() && to <= from {
        return Ok(());
    }
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(from);
    if !to.is_empty() {
        options.set_iterate_upper_bound(to);
    }
    let mut rows = iterator(options);
    rows.seek(from);
    while let Some((key, value)) = rows.item() {
        if visit(key, value).is_break() {
            return Ok(());
        }
        rows.next();
    }
    rows.status().map_err(|why| failure("scan rows", &why))
}

impl Store for RocksStore {
    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        let db = self.db();
        let db = db.as_ref().ok_or(CLOSED)?;
        let mut options = WriteOptions::default();
        options.set_sync(true);
        db.write_opt(batch_of(db, commit), &options).map_err(|why| failure("commit a turn", &why))
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let db = self.db();
        let db = db.as_ref().ok_or(CLOSED)?;
        db.get_cf(&handle(db, family), key).map_err(|why| failure("read a row", &why))
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        let db = self.db();
        let db = db.as_ref().ok_or(CLOSED)?;
        let iterator = |options| db.raw_iterator_cf_opt(&handle(db, family), options);
        scan(iterator, from, to, visit)
    }

    fn read(&self, run: &mut dyn FnMut(&dyn Rows)) -> Result<(), StoreError> {
        let db = self.db();
        let db = db.as_ref().ok_or(CLOSED)?;
        run(&Snapshot { db, snapshot: db.snapshot() });
        Ok(())
    }

    fn last(&self, family: Family, from: &[u8], to: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        let db = self.db();
        let db = db.as_ref().ok_or(CLOSED)?;
        if !to.is_empty() && to <= from {
            return Ok(None);
        }
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(from);
        if !to.is_empty() {
            options.set_iterate_upper_bound(to);
        }
        let mut rows = db.iterator_cf_opt(&handle(db, family), options, IteratorMode::End);
        let last = rows.next().transpose().map_err(|why| failure("read the last row", &why))?;
        Ok(last.map(|(key, value)| (key.into_vec(), value.into_vec())))
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        // The old one must let go of its lock first.
        *db = None;
        *db = Some(open_db(&self.dir.join("store"), &self.options)?);
        Ok(())
    }

    fn stats(&self) -> Stats {
        let db = self.db();
        let Some(db) = db.as_ref() else { return Stats::default() };
        let figure =
            |family: Family, name| db.property_int_value_cf(&handle(db, family), name).ok().flatten().unwrap_or(0);
        let bytes = Family::ALL.map(|family| {
            figure(family, properties::TOTAL_SST_FILES_SIZE)
                + db.property_int_value_cf(&handle(db, family), BLOB_FILES_SIZE).ok().flatten().unwrap_or(0)
                + figure(family, properties::SIZE_ALL_MEM_TABLES)
        });
        Stats {
            n_bytes: bytes.iter().sum(),
            bytes,
            n_rows: Family::ALL.map(|family| figure(family, properties::ESTIMATE_NUM_KEYS)),
            memory_bytes: self.options.cache.get_usage() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_an_older_version_gets_the_families_that_it_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        {
            let mut options = Options::default();
            options.create_if_missing(true);
            options.create_missing_column_families(true);
            let old = ["meta", "series", "journal", "chunks", "state", "history", "default"];
            let db = DB::open_cf(&options, &path, old).unwrap();
            db.put_cf(&db.cf_handle("state").unwrap(), b"k", b"v").unwrap();
        }
        for life in 0..2u8 {
            let store = RocksStore::open(dir.path(), Bytes::from_mib(16)).unwrap();
            assert_eq!(store.get(Family::State, b"k").unwrap(), Some(b"v".to_vec()));
            let mut commit = Commit::default();
            commit.put(Family::Audit, [life], [life]);
            commit.put(Family::Access, [life], [life]);
            store.commit(&commit).unwrap();
            assert_eq!(store.last(Family::Audit, &[], &[]).unwrap(), Some((vec![life], vec![life])));
        }
    }

    #[test]
    fn a_second_collector_is_refused_with_a_clear_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let _first = RocksStore::open(dir.path(), Bytes::from_mib(16)).unwrap();
        let second = RocksStore::open(dir.path(), Bytes::from_mib(16)).err().unwrap();
        assert_eq!(
            second.to_string(),
            format!("data directory {} is in use by another collector", dir.path().display())
        );
    }
}
