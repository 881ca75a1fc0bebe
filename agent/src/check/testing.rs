//! For tests: a tree like `/`, and samples by the text of their series.

use super::{Check, CheckError, Instant};
use signalbox_proto::units::{Millis, UnixMillis};
use std::collections::BTreeMap;
use std::path::Path;

/// A folder with files as the kernel would show them.
pub(crate) struct Tree(tempfile::TempDir);

impl Tree {
    pub(crate) fn new(files: &[(&str, &str)]) -> Tree {
        let tree = Tree(tempfile::tempdir().unwrap());
        files.iter().for_each(|(path, text)| tree.write(path, text));
        tree
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Series by their text; fails when two series are the same.
    pub(crate) fn sample(&self, check: &mut dyn Check, at: Instant) -> Result<BTreeMap<String, f64>, CheckError> {
        sample(check, at)
    }
}

/// See [`Tree::sample`].
pub(crate) fn sample(check: &mut dyn Check, at: Instant) -> Result<BTreeMap<String, f64>, CheckError> {
    let mut values = vec![f64::NAN];
    check.sample(at, &mut values)?;
    let series = &check.layout().series;
    assert_eq!(series.len(), values.len(), "{}: one value for each series", check.name());
    let named: BTreeMap<String, f64> = series.iter().map(ToString::to_string).zip(values).collect();
    assert_eq!(named.len(), series.len(), "{}: each series once", check.name());
    Ok(named)
}

/// An instant, monotonic milliseconds after an arbitrary one.
pub(crate) fn at(mono_ms: u64) -> Instant {
    Instant { wall: UnixMillis(1_795_398_540_000 + mono_ms as i64), mono: Millis(mono_ms) }
}
