//! Trees of files that may or may not be trusted. The folder of each test is `/`.

use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

struct Tree(tempfile::TempDir);

impl Tree {
    /// `/usr/lib/check`, a good one.
    fn new() -> Tree {
        let tree = Tree(tempfile::tempdir().unwrap());
        tree.mode("", 0o755);
        fs::create_dir_all(tree.path("usr/lib")).unwrap();
        tree.mode("usr", 0o755);
        tree.mode("usr/lib", 0o755);
        tree.file("usr/lib/check", 0o755);
        tree
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn file(&self, path: &str, mode: u32) {
        fs::write(self.path(path), "#!/bin/sh\n").unwrap();
        self.mode(path, mode);
    }

    fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn open(&self, path: &str) -> Result<String, String> {
        self.open_trusting(path, &[rustix::process::geteuid().as_raw()])
    }

    fn open_trusting(&self, path: &str, owners: &[u32]) -> Result<String, String> {
        let opened = Trust { owners, root: self.0.path() }.open(Path::new(path));
        let mut text = String::new();
        opened.map_err(|error| error.to_string())?.read_to_string(&mut text).unwrap();
        Ok(text)
    }

    #[track_caller]
    fn refuses(&self, path: &str, part: &str) {
        let error = self.open(path).unwrap_err();
        assert!(error.contains(part), "{part:?} is missing in: {error}");
    }
}

#[test]
fn a_file_that_only_its_owner_can_write_is_opened() {
    let tree = Tree::new();
    assert_eq!(tree.open("/usr/lib/check").unwrap(), "#!/bin/sh\n");
    assert!(tree.open("/usr/../usr/./lib//check").is_ok());
}

#[test]
fn nothing_on_the_path_may_be_writable_by_others() {
    for (path, mode) in
        [("usr/lib/check", 0o775), ("usr/lib/check", 0o757), ("usr/lib", 0o775), ("usr", 0o1777), ("", 0o777)]
    {
        let tree = Tree::new();
        tree.mode(path, mode);
        tree.refuses("/usr/lib/check", "chmod go-w");
    }
}

#[test]
fn set_id_bits_and_files_that_are_no_programs_are_refused() {
    let tree = Tree::new();
    for mode in [0o4755, 0o2755] {
        tree.mode("usr/lib/check", mode);
        tree.refuses("/usr/lib/check", "set-uid or set-gid");
    }
    tree.mode("usr/lib/check", 0o644);
    tree.refuses("/usr/lib/check", "no executable file");
    tree.refuses("/usr/lib", "no executable file");
    tree.refuses("/", "no executable file");
    tree.refuses("/usr/lib/check/x", "no executable file");
    tree.refuses("/usr/lib/none", "open /usr/lib/none");
    rustix::fs::mknodat(rustix::fs::CWD, tree.path("usr/fifo"), FileType::Fifo, Mode::from_raw_mode(0o755), 0).unwrap();
    tree.refuses("/usr/fifo", "no executable file");
}

#[test]
fn links_are_followed_and_what_they_lead_through_is_checked_too() {
    let tree = Tree::new();
    symlink("usr/lib", tree.path("lib")).unwrap();
    symlink("/usr/lib/check", tree.path("usr/absolute")).unwrap();
    symlink("../usr/absolute", tree.path("usr/again")).unwrap();
    for path in ["/lib/check", "/usr/absolute", "/usr/again"] {
        assert!(tree.open(path).is_ok(), "{path}: {:?}", tree.open(path));
    }
    fs::create_dir(tree.path("open")).unwrap();
    symlink("../usr/lib/check", tree.path("open/link")).unwrap();
    tree.mode("open", 0o777);
    tree.refuses("/open/link", "/open can be written");
    symlink("/open/../usr/lib/check", tree.path("usr/through")).unwrap();
    tree.refuses("/usr/through", "/open can be written");
    symlink("/usr/loop", tree.path("usr/loop")).unwrap();
    tree.refuses("/usr/loop", "more than 40");
}

#[test]
fn what_belongs_to_somebody_else_is_refused() {
    let tree = Tree::new();
    let own = rustix::process::geteuid().as_raw();
    if own == 0 {
        std::os::unix::fs::chown(tree.path("usr/lib"), Some(4711), None).unwrap();
        assert!(tree.open_trusting("/usr/lib/check", &[]).unwrap_err().contains("belongs to user 4711"));
        assert!(tree.open_trusting("/usr/lib/check", &[4711]).is_ok());
    } else {
        assert!(tree.open_trusting("/usr/lib/check", &[]).unwrap_err().contains(&format!("belongs to user {own}")));
    }
}

#[test]
fn a_user_that_may_be_anybody_is_trusted_by_no_list() {
    let tree = Tree::new();
    tree.file("usr/check", 0o755);
    // Only root can give a file away.
    if std::os::unix::fs::chown(tree.path("usr/check"), Some(65_534), None).is_ok() {
        let own = rustix::process::geteuid().as_raw();
        let error = tree.open_trusting("/usr/check", &[own, 65_534]).unwrap_err();
        assert!(error.contains("PrivateUsers=no"), "{error}");
    }
}

#[test]
fn a_pin_holds_only_the_bytes_that_it_was_made_of() {
    let tree = Tree::new();
    let pin = Sha256::digest(b"#!/bin/sh\n");
    let mut file = File::open(tree.path("usr/lib/check")).unwrap();
    check_digest(&file, &pin).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "#!/bin/sh\n", "an interpreter reads it from its beginning");
    let error = check_digest(&file, &[0; 32]).unwrap_err().to_string();
    assert!(error.contains("its sha256 is") && error.contains("not the one"), "{error}");
}
