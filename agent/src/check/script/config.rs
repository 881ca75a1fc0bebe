//! `scripts:` of the configuration: as it is written, and what is made of it.
//!
//! A script is taken only from a file that nobody but root or the agent's own user
//! can write; further owners of executables only from one that is root's. So who can
//! write neither can add nothing that runs.

use super::spec::{Account, Limits, ScriptSpec};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use signalbox_proto::text::{parse_size, parse_span};
use signalbox_proto::units::{Bytes, Millis};
use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Scripts of one agent.
pub(crate) const SCRIPTS_MAX: usize = 64;
/// Arguments of one, the executable included.
const ARGUMENTS_MAX: usize = 64;
/// Bytes of the command and the environment of one.
const TEXT_MAX_BYTES: usize = 16 * 1024;
/// Variables of one.
const VARIABLES_MAX: usize = 32;
/// A name becomes part of a check's name and a label.
const NAME_MAX_BYTES: usize = 64;
/// Parts of the names of variables that hold secrets.
const SECRET_NAMES: [&str; 7] = ["PASS", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "AUTH", "COOKIE"];
/// Where users and their numbers are looked up.
const USERS_FILE: &str = "/etc/passwd";

/// One script, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawScript {
    name: String,
    #[serde(deserialize_with = "words")]
    command: Vec<String>,
    interval: Option<Between<1_000, 86_400_000>>,
    timeout: Option<Between<100, 300_000>>,
    user: Option<User>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    owners: Vec<User>,
    sha256: Option<Digest>,
    #[serde(default)]
    limits: RawLimits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawLimits {
    memory: Option<Memory>,
    cpu: Option<Between<1_000, 3_600_000>>,
    processes: Option<Processes>,
}

/// A list of words. One text is refused here, with the list to write: no shell would
/// take it apart.
fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    struct Words;
    impl<'de> Visitor<'de> for Words {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of words")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<String>, E> {
            let list: Vec<&str> = text.split_whitespace().collect();
            let list = list.join(", ");
            Err(E::custom(format!("command {text:?} must be a list, for no shell takes it apart; write [{list}]")))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut words = Vec::new();
            while let Some(word) = list.next_element()? {
                words.push(word);
            }
            Ok(words)
        }
    }
    from.deserialize_any(Words)
}

/// A span of at least MIN and at most MAX milliseconds.
#[derive(Debug, Clone, Copy)]
struct Between<const MIN: u64, const MAX: u64>(Millis);

#[derive(Debug, Clone, Copy)]
struct Memory(Bytes);

#[derive(Debug, Clone, Copy)]
struct Processes(u32);

#[derive(Debug, Clone, Copy)]
struct Digest([u8; 32]);

/// A user, by name or number.
#[derive(Debug, Clone, Copy)]
struct User(Account);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Between<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let span = parse_span(&String::deserialize(from)?).map_err(D::Error::custom)?;
        if !(MIN..=MAX).contains(&span.0) {
            return Err(D::Error::custom(format!("{span} must be {} to {}", Millis(MIN), Millis(MAX))));
        }
        Ok(Between(span))
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let size = parse_size(&String::deserialize(from)?).map_err(D::Error::custom)?;
        let (min, max) = (Bytes::from_mib(64), Bytes::from_mib(64 * 1024));
        if size < min || size > max {
            return Err(D::Error::custom(format!("memory {size} must be {min} to {max}")));
        }
        Ok(Memory(size))
    }
}

impl<'de> Deserialize<'de> for Processes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let n = u32::deserialize(from)?;
        if !(1..=1024).contains(&n) {
            return Err(D::Error::custom(format!("processes {n} must be 1 to 1024")));
        }
        Ok(Processes(n))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let mut digest = [0; 32];
        let whole = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !whole {
            return Err(D::Error::custom("sha256 must be 64 hexadecimal digits, as sha256sum prints them"));
        }
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(D::Error::custom)?;
            *byte = u8::from_str_radix(pair, 16).map_err(D::Error::custom)?;
        }
        Ok(Digest(digest))
    }
}

impl<'de> Deserialize<'de> for User {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u32),
            Name(String),
        }
        let written = match Written::deserialize(from)? {
            Written::Number(uid) => uid.to_string(),
            Written::Name(name) => name,
        };
        let users = std::fs::read_to_string(USERS_FILE).unwrap_or_default();
        account(&users, &written).map(User).ok_or_else(|| {
            D::Error::custom(format!("user {written:?} is not in {USERS_FILE}; name one that is, or give its number"))
        })
    }
}

/// Finds a user by name or number among the lines of a passwd file. A number that no
/// line has is its own group.
fn account(users: &str, written: &str) -> Option<Account> {
    let number: Option<u32> = written.parse().ok();
    let line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid: u32 = fields.nth(1)?.parse().ok()?;
        let gid: u32 = fields.next()?.parse().ok()?;
        (name == written || number == Some(uid)).then_some(Account { uid, gid })
    };
    users.lines().find_map(line).or(number.map(|uid| Account { uid, gid: uid }))
}

/// Who may have written a file of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Author {
    Root,
    Own,
}

/// A file that can say what runs: it and its folder belong to root or to the agent's
/// user, and nobody else may write them.
fn author(file: &Path, own_uid: u32) -> Result<Author, String> {
    let path = file.canonicalize().map_err(|error| format!("look at {}: {error}", file.display()))?;
    let mut author = Author::Root;
    for path in [Some(path.as_path()), path.parent()].into_iter().flatten() {
        let metadata = path.metadata().map_err(|error| format!("look at {}: {error}", path.display()))?;
        if metadata.mode() & 0o022 != 0 {
            let path = path.display();
            return Err(format!(
                "scripts are not taken from here, because others may write {path}; run chmod go-w {path}"
            ));
        }
        match metadata.uid() {
            0 => {}
            uid if uid == own_uid => author = Author::Own,
            uid => {
                let path = path.display();
                return Err(format!(
                    "scripts are not taken from here, because {path} belongs to user {uid}; run chown root {path}"
                ));
            }
        }
    }
    Ok(author)
}

/// Checks one script of `file`. The agent runs as `own_uid`.
///
/// # Errors
/// A sentence with the reason and the remedy.
pub(crate) fn trusted(raw: RawScript, file: &Path, own_uid: u32) -> Result<ScriptSpec, String> {
    let RawScript { name, command, interval, timeout, user, env, owners, sha256, limits } = raw;
    let said = |what: String| format!("script {name:?}: {what}");
    let author = author(file, own_uid).map_err(said)?;
    if name.is_empty() || name.len() > NAME_MAX_BYTES || name.chars().any(char::is_control) {
        return Err(said(format!("a name must have 1 to {NAME_MAX_BYTES} bytes and no control characters")));
    }
    if !owners.is_empty() && author != Author::Root {
        let path = file.display();
        return Err(said(format!("owners count only in a file of root's; run chown root {path} and its folder")));
    }
    check_command(&command).map_err(said)?;
    check_env(&env).map_err(said)?;
    let n_bytes =
        command.iter().map(String::len).sum::<usize>() + env.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
    if n_bytes > TEXT_MAX_BYTES {
        return Err(said(format!("command and env have {n_bytes} bytes, over the limit of {TEXT_MAX_BYTES}")));
    }
    let mut spec = ScriptSpec::new(&name, command);
    spec.interval = interval.map_or(spec.interval, |own| own.0);
    spec.timeout = timeout.map_or(spec.timeout.min(spec.interval), |own| own.0);
    if spec.timeout > spec.interval {
        return Err(said(format!("timeout {} is longer than the interval of {}", spec.timeout, spec.interval)));
    }
    spec.account = user.map(|user| user.0);
    if let Some(account) = spec.account
        && own_uid != 0
        && account.uid != own_uid
    {
        return Err(said(format!(
            "an agent of user {own_uid} cannot run it as user {}; leave user out, or run the agent as root with the \
             drop-in scripts-as-users.conf",
            account.uid
        )));
    }
    spec.owners = owners.into_iter().map(|user| user.0.uid).collect();
    spec.sha256 = sha256.map(|digest| digest.0);
    spec.env = env;
    spec.limits = Limits {
        memory: limits.memory.map_or(spec.limits.memory, |own| own.0),
        cpu: limits.cpu.map_or(spec.limits.cpu, |own| own.0),
        n_processes: limits.processes.map_or(spec.limits.n_processes, |own| own.0),
    };
    Ok(spec)
}

fn check_command(command: &[String]) -> Result<(), String> {
    let Some(executable) = command.first() else {
        return Err("command is empty; write for example [/usr/lib/nagios/plugins/check_load, -w, '4']".to_owned());
    };
    if !executable.starts_with('/') || executable.ends_with('/') {
        return Err(format!("{executable:?} is no absolute path of a file; no search path and no shell is used"));
    }
    if command.len() > ARGUMENTS_MAX {
        return Err(format!("{} arguments are over the limit of {ARGUMENTS_MAX}", command.len()));
    }
    match command.iter().find(|argument| argument.contains('\0')) {
        Some(argument) => Err(format!("argument {argument:?} has a zero byte")),
        None => Ok(()),
    }
}

fn check_env(env: &BTreeMap<String, String>) -> Result<(), String> {
    if env.len() > VARIABLES_MAX {
        return Err(format!("{} variables are over the limit of {VARIABLES_MAX}", env.len()));
    }
    for (name, value) in env {
        let head = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !head || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!("env {name:?} is no name of a variable"));
        }
        if value.contains('\0') {
            return Err(format!("env {name} has a zero byte"));
        }
        let upper = name.to_ascii_uppercase();
        if !super::helper::is_reference(value) && SECRET_NAMES.iter().any(|part| upper.contains(part)) {
            // The value is not repeated: it may be the secret itself.
            return Err(format!(
                "env {name} looks like a secret and is written out; put it in a file that only the agent can read \
                 and write file:/path, or write env:NAME or systemd-credential:NAME"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    const FILE_MODE: u32 = 0o644;

    /// A file of this user's in a folder of its own.
    fn file(mode: u32, folder_mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.yaml");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(folder_mode)).unwrap();
        (dir, path)
    }

    fn own_uid() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn load(text: &str) -> Result<ScriptSpec, String> {
        let (_dir, path) = file(FILE_MODE, 0o755);
        let raw: RawScript = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        trusted(raw, &path, own_uid())
    }

    #[track_caller]
    fn refuses(text: &str, part: &str) {
        let error = load(text).unwrap_err();
        assert!(error.contains(part), "{part:?} is missing in:\n{error}");
    }

    #[test]
    fn every_key_is_read_and_what_is_not_written_has_a_default() {
        let spec = load(&format!(
            "{{name: backup, command: [/usr/bin/x, '-a b'], interval: 5m, timeout: 20s, user: {}, \
             env: {{LANG: C, DB_PASSWORD: 'file:/etc/x'}}, sha256: {}, \
             limits: {{memory: 128MiB, cpu: 3s, processes: 4}}}}",
            own_uid(),
            "0f".repeat(32)
        ))
        .unwrap();
        assert_eq!(spec.command, ["/usr/bin/x", "-a b"]);
        assert_eq!((spec.interval, spec.timeout), (Millis::from_mins(5), Millis::from_secs(20)));
        assert_eq!(spec.account.unwrap().uid, own_uid());
        assert_eq!(spec.sha256, Some([15; 32]));
        assert_eq!(spec.limits, Limits { memory: Bytes::from_mib(128), cpu: Millis(3000), n_processes: 4 });
        let spec = load("{name: a, command: [/x], interval: 2s}").unwrap();
        assert_eq!((spec.timeout, spec.account, spec.sha256), (Millis(2000), None, None));
    }

    #[test]
    fn what_cannot_run_as_written_is_refused_with_the_remedy() {
        refuses("{name: a, command: []}", "command is empty");
        refuses(
            "{name: a, command: '/bin/x -w 4'}",
            "must be a list, for no shell takes it apart; write [/bin/x, -w, 4]",
        );
        refuses("{name: a, command: [check_load]}", "no absolute path");
        refuses("{name: '', command: [/x]}", "1 to 64 bytes");
        refuses("{name: a, command: [/x], interval: 5s, timeout: 6s}", "longer than the interval");
        refuses("{name: a, command: [/x], timeout: 1h}", "must be 100ms to 5m");
        refuses("{name: a, command: [/x], interval: 100ms}", "must be 1s to 1d");
        refuses("{name: a, command: [/x], user: nobody-knows-me}", "is not in /etc/passwd");
        refuses("{name: a, command: [/x], sha256: abc}", "64 hexadecimal digits");
        refuses("{name: a, command: [/x], limits: {memory: 1MiB}}", "must be 64MiB to");
        refuses("{name: a, command: [/x], limits: {processes: 0}}", "must be 1 to 1024");
        refuses("{name: a, command: [/x], shell: true}", "shell");
        refuses("{name: a, command: [/x], env: {A-B: x}}", "no name of a variable");
        refuses(&format!("{{name: a, command: [/x, {}]}}", "y".repeat(TEXT_MAX_BYTES)), "over the limit of 16384");
    }

    #[test]
    fn a_literal_secret_is_refused_with_a_hint_and_never_repeated() {
        for name in ["DB_PASSWORD", "api_token", "SSH_KEY", "HTTP_AUTH"] {
            let error = load(&format!("{{name: a, command: [/x], env: {{{name}: hunter2}}}}")).unwrap_err();
            assert!(error.contains("write file:/path") && !error.contains("hunter2"), "{error}");
        }
        assert!(load("{name: a, command: [/x], env: {API_TOKEN: 'systemd-credential:api'}}").is_ok());
    }

    #[test]
    fn scripts_are_taken_only_from_files_that_others_cannot_write() {
        let raw = || serde_saphyr::from_str::<RawScript>("{name: a, command: [/x]}").unwrap();
        for (mode, folder, good) in [
            (0o600, 0o700, true),
            (0o664, 0o700, false),
            (0o602, 0o700, false),
            (0o600, 0o775, false),
            (0o600, 0o1777, false),
        ] {
            let (_dir, path) = file(mode, folder);
            let got = trusted(raw(), &path, own_uid());
            assert_eq!(got.is_ok(), good, "{mode:o} in {folder:o}: {got:?}");
        }
        let (_dir, path) = file(0o600, 0o700);
        if own_uid() != 0 {
            assert!(trusted(raw(), &path, own_uid() + 1).unwrap_err().contains("chown root"));
        }
    }

    #[test]
    fn further_owners_count_only_in_a_file_of_roots() {
        let raw = || serde_saphyr::from_str::<RawScript>("{name: a, command: [/x], owners: [4711]}").unwrap();
        let (_dir, path) = file(0o600, 0o700);
        let got = trusted(raw(), &path, own_uid());
        if own_uid() == 0 {
            assert_eq!(got.unwrap().owners, [4711]);
        } else {
            assert!(got.unwrap_err().contains("chown root"));
        }
    }

    #[test]
    fn an_agent_that_is_not_root_runs_nothing_as_another() {
        let raw: RawScript = serde_saphyr::from_str("{name: a, command: [/x], user: 4711}").unwrap();
        let (_dir, path) = file(0o600, 0o700);
        let uid = own_uid();
        let got = trusted(raw, &path, uid);
        assert_eq!(got.is_ok(), uid == 0, "{got:?}");
    }

    #[test]
    fn users_are_found_by_name_or_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nnagios:x:33:44::/:/bin/false\nbroken\n";
        assert_eq!(account(users, "nagios"), Some(Account { uid: 33, gid: 44 }));
        assert_eq!(account(users, "33"), Some(Account { uid: 33, gid: 44 }));
        assert_eq!(account(users, "99"), Some(Account { uid: 99, gid: 99 }));
        assert_eq!(account(users, "mallory"), None);
    }
}
