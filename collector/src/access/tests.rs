//! The key of the audit on disk.

use super::*;
use std::os::unix::fs::PermissionsExt;

fn same(a: &AuditKey, b: &AuditKey) -> bool {
    Head::seal(1, signalbox_access::Hash32::default(), a).is_sealed_by(b)
}

#[test]
fn the_key_is_made_once_and_readable_by_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let first = audit_key(dir.path()).unwrap();
    assert!(same(&first, &audit_key(dir.path()).unwrap()));
    let mode = std::fs::metadata(dir.path().join(KEY_FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [KEY_FILE], "no draft is left");
    let other = tempfile::tempdir().unwrap();
    assert!(!same(&first, &audit_key(other.path()).unwrap()), "another installation, another key");
}

#[test]
fn a_key_that_others_can_read_or_that_is_none_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    audit_key(dir.path()).unwrap();
    let path = dir.path().join(KEY_FILE);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = audit_key(dir.path()).unwrap_err().to_string();
    assert_eq!(error, format!("audit key {} can be read by others; run: chmod 600 {}", path.display(), path.display()));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    for n in [0, 31, 33, 4096] {
        std::fs::write(&path, vec![7; n]).unwrap();
        let error = audit_key(dir.path()).unwrap_err().to_string();
        assert!(error.contains("has not 32 bytes; put the right one back"), "{n}: {error}");
    }
}
