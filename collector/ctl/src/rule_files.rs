//! Rule files from disk, as `rules check` sends them.

use signalbox_proto::api::RulesToCheck;
use signalbox_proto::units::Bytes;
use std::io::Read;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// All files together: what the collector takes in one request.
const RULES_LIMIT: Bytes = Bytes::from_mib(1);

/// Why files could not be sent.
#[derive(Debug, Error)]
pub(crate) enum RuleFilesError {
    /// Not there, not readable, or not UTF-8.
    #[error("cannot read {path:?}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A pipe, a device, a socket.
    #[error("{path:?} is neither a file nor a directory")]
    Kind {
        /// Which.
        path: PathBuf,
    },
    /// Nothing to check.
    #[error("no *.yaml or *.yml in {path:?}")]
    Empty {
        /// Which directory.
        path: PathBuf,
    },
    /// Over the limit.
    #[error("rule files are over the limit of {RULES_LIMIT} at {path:?}")]
    TooLarge {
        /// Where the limit was met.
        path: PathBuf,
    },
}

/// Reads files as named, and of directories every `*.yaml` and `*.yml` (not of
/// those below: the collector does not read them either).
pub(crate) fn read(paths: &[PathBuf]) -> Result<RulesToCheck, RuleFilesError> {
    let mut rules = RulesToCheck::default();
    let mut n_bytes: u64 = 0;
    for path in paths {
        for file in files_of(path)? {
            let failed = |source| RuleFilesError::Read { path: file.clone(), source };
            let mut text = String::new();
            let left = RULES_LIMIT.0 - n_bytes;
            let open = std::fs::File::open(&file).map_err(failed)?;
            n_bytes += open.take(left + 1).read_to_string(&mut text).map_err(failed)? as u64;
            if n_bytes > RULES_LIMIT.0 {
                return Err(RuleFilesError::TooLarge { path: file });
            }
            rules.files.insert(file.display().to_string(), text);
        }
    }
    Ok(rules)
}

fn files_of(path: &Path) -> Result<Vec<PathBuf>, RuleFilesError> {
    let failed = |source| RuleFilesError::Read { path: path.to_owned(), source };
    let kind = std::fs::metadata(path).map_err(failed)?;
    if kind.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    if !kind.is_dir() {
        return Err(RuleFilesError::Kind { path: path.to_owned() });
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let yaml = file.extension().is_some_and(|ext| ext == "yaml" || ext == "yml");
        if yaml && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(RuleFilesError::Empty { path: path.to_owned() });
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_give_their_yaml_and_nothing_below() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("b.yaml", "b"), ("a.yml", "a"), ("notes.txt", "x")] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        std::fs::create_dir(dir.path().join("below.yaml")).unwrap();
        let rules = read(&[dir.path().to_owned()]).unwrap();
        let texts: Vec<_> = rules.files.values().map(String::as_str).collect();
        assert_eq!(texts, ["a", "b"]);
    }

    #[test]
    fn what_cannot_be_sent_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = |path: &Path| read(&[path.to_owned()]).unwrap_err();
        assert!(matches!(error(dir.path()), RuleFilesError::Empty { .. }));
        assert!(matches!(error(&dir.path().join("none.yaml")), RuleFilesError::Read { .. }));
        assert!(matches!(error(Path::new("/dev/null")), RuleFilesError::Kind { .. }));
        let large = dir.path().join("large.yaml");
        std::fs::write(&large, vec![b'#'; RULES_LIMIT.0 as usize + 1]).unwrap();
        assert!(matches!(error(&large), RuleFilesError::TooLarge { .. }));
    }
}
