//! Check scripts through the agent's own executable: what a script may do, what ends
//! it, and that nothing of it stays behind.
//!
//! Each script lies in a folder of its own below the build's, whose whole path must
//! not be writable by others; where it is, these tests cannot run and say so.

#![allow(clippy::unwrap_used, reason = "a system test stops where something is not as it should be")]

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signalbox_agent::check::script::{Account, ScriptCheck, ScriptSpec};
use signalbox_agent::check::{Check, Instant};
use signalbox_proto::clock::{Clock, SystemClock};
use signalbox_proto::samples::{CheckResult, CheckState};
use signalbox_proto::units::{Bytes, Millis, UnixMillis};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const AGENT: &str = env!("CARGO_BIN_EXE_signalbox-agent");
/// Far more than any of these runs takes.
const PATIENCE: Millis = Millis::from_secs(60);

/// A folder of scripts.
struct Folder(tempfile::TempDir);

impl Folder {
    /// None, said aloud, where others can write something on the way to it.
    fn new() -> Option<Folder> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let open = folder.path().ancestors().find(|path| path.metadata().unwrap().permissions().mode() & 0o022 != 0);
        if let Some(open) = open {
            eprintln!("SKIPPED: others can write {}, so no script below it is trusted", open.display());
            return None;
        }
        Some(Folder(folder))
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// `/bin/sh` reads `text`.
    fn spec(&self, text: &str) -> ScriptSpec {
        spec(&self.script("check", &format!("#!/bin/sh\n{text}\n")))
    }

    /// Something to find the script's processes by.
    fn mark(&self) -> String {
        self.0.path().file_name().unwrap().to_str().unwrap().to_owned()
    }
}

fn spec(path: &Path) -> ScriptSpec {
    let mut spec = ScriptSpec::new("t", vec![path.to_str().unwrap().to_owned()]);
    spec.owners = vec![rustix::process::geteuid().as_raw()];
    spec.env = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into();
    spec
}

fn check_of(spec: ScriptSpec) -> ScriptCheck {
    ScriptCheck::new(spec, Path::new(AGENT))
}

/// What a run told.
struct Told {
    state: CheckState,
    evidence: String,
    series: BTreeMap<String, f64>,
}

fn at(clock: &SystemClock) -> Instant {
    Instant { wall: UnixMillis(0), mono: clock.mono() + Millis(1) }
}

/// Waits until the check has something to look at, as the agent does.
fn wait(check: &ScriptCheck) {
    let mut fds = Vec::new();
    check.wake_fds(&mut fds);
    let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    let patience = Timespec { tv_sec: 60, tv_nsec: 0 };
    assert!(poll(&mut fds, Some(&patience)).unwrap() > 0, "nothing was told in a minute");
}

fn finish(check: &mut ScriptCheck, clock: &SystemClock) -> Told {
    let mut values = Vec::new();
    while clock.mono() < PATIENCE {
        if let Some(CheckResult { state, evidence, .. }) = check.take_result() {
            let names = check.layout().series.iter().map(ToString::to_string);
            return Told { state, evidence, series: names.zip(values).collect() };
        }
        wait(check);
        check.sample(at(clock), &mut values).unwrap();
    }
    panic!("the script told nothing in a minute");
}

fn run(spec: ScriptSpec) -> Told {
    let (mut check, clock) = (check_of(spec), SystemClock::start());
    let mut values = vec![0.0];
    check.sample(at(&clock), &mut values).unwrap();
    assert!(values.is_empty() && check.take_result().is_none(), "a start waits for nothing");
    finish(&mut check, &clock)
}

/// Processes that have `mark` in their command line.
fn n_alive(mark: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let has = |path: PathBuf| {
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(mark)
    };
    processes.filter(|entry| has(entry.path())).count()
}

#[track_caller]
fn check_state(told: &Told, state: CheckState, part: &str) {
    assert_eq!(told.state, state, "{}", told.evidence);
    assert!(told.evidence.contains(part), "{part:?} is missing in: {}", told.evidence);
}

#[test]
fn a_script_of_root_can_become_nobody_else() {
    let Some(folder) = Folder::new() else { return };
    let told =
        run(folder.spec("read _ caps <<E\n$(grep CapPrm /proc/self/status)\nE\necho \"caps=$((0x$caps & 0xe0))\""));
    check_state(&told, CheckState::Green, "caps=0");
}

#[test]
fn exit_codes_text_and_values_are_told() {
    let Some(folder) = Folder::new() else { return };
    let states = [CheckState::Green, CheckState::Amber, CheckState::Red, CheckState::Unknown, CheckState::Unknown];
    for (code, state) in states.into_iter().enumerate() {
        let told = run(folder.spec(&format!("echo \"said $# $1|t=5ms\"; exit {code}")));
        check_state(&told, state, "said 0");
        assert_eq!(told.series[r#"signalbox_script_exit_code{script="t"}"#], code as f64);
        assert_eq!(told.series[r#"signalbox_script_value{label="t",script="t",unit="seconds"}"#], 0.005);
        assert_eq!(told.series[r#"signalbox_script_timed_out{script="t"}"#], 0.0);
    }
}

#[test]
fn arguments_reach_no_shell_and_a_binary_runs_too() {
    let Some(folder) = Folder::new() else { return };
    let mut spec = folder.spec("for a in \"$@\"; do echo \"<$a>\"; done");
    spec.command.extend(["$(id)", "; id", "a b", "-rf", "`id`"].map(str::to_owned));
    check_state(&run(spec), CheckState::Green, "<$(id)>\n<; id>\n<a b>\n<-rf>\n<`id`>");
    let mut spec = ScriptSpec::new("t", vec!["/bin/echo".to_owned(), "* | a=1".to_owned()]);
    spec.owners = Vec::new();
    check_state(&run(spec), CheckState::Green, "*");
}

#[test]
fn the_environment_is_the_list_and_secrets_do_not_come_back() {
    let Some(folder) = Folder::new() else { return };
    let secret = folder.0.path().join("secret");
    std::fs::write(&secret, "canary-71f3\n").unwrap();
    let mut spec = folder.spec("/usr/bin/env; pwd; [ \"$DB_PASSWORD\" = canary-71f3 ] && echo it is right");
    spec.env.insert("DB_PASSWORD".to_owned(), format!("file:{}", secret.display()));
    let told = run(spec);
    check_state(&told, CheckState::Green, "it is right");
    let names: Vec<_> = told.evidence.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    let known = ["DB_PASSWORD", "PATH", "PWD", "OLDPWD", "SHLVL", "_"];
    assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
    assert!(told.evidence.contains("DB_PASSWORD=[secret]") && !told.evidence.contains("canary"), "{}", told.evidence);
    let mut spec = folder.spec("echo never");
    spec.env.insert("X".to_owned(), "file:/nonexistent/x".to_owned());
    check_state(&run(spec), CheckState::Unknown, "not run: env X: read /nonexistent/x");
}

#[test]
fn a_hung_script_is_killed_at_its_time_limit_with_all_that_it_started() {
    let Some(folder) = Folder::new() else { return };
    let mark = folder.mark();
    let mut spec = folder.spec(&format!("echo begun; trap '' TERM HUP INT; sh -c 'sleep 1000 # {mark}'; sleep 1000"));
    spec.timeout = Millis(700);
    let told = run(spec);
    check_state(&told, CheckState::Unknown, "ended at its time limit of 700ms; it said: begun");
    assert_eq!(told.series[r#"signalbox_script_timed_out{script="t"}"#], 1.0);
    assert!(told.series[r#"signalbox_script_duration_seconds{script="t"}"#] < 10.0);
    assert_eq!(n_alive(&mark), 0);
}

#[test]
fn what_flees_its_group_is_killed_when_the_script_ends() {
    let Some(folder) = Folder::new() else { return };
    let mark = folder.mark();
    let sleeper = folder.script(&mark, "#!/bin/sh\nsleep 1000\n");
    let sleeper = sleeper.display();
    let text = format!(
        "setsid {sleeper} & setsid sh -c 'setsid {sleeper} & exit' & (setsid {sleeper} &) ; sleep 0.3; echo done"
    );
    let told = run(folder.spec(&text));
    check_state(&told, CheckState::Green, "done");
    assert_eq!(n_alive(&mark), 0);
}

#[test]
fn a_script_that_forks_without_end_is_ended() {
    let Some(folder) = Folder::new() else { return };
    let mark = folder.mark();
    let sleeper = folder.script(&mark, "#!/bin/sh\nsleep 1000\n");
    let mut spec = folder.spec(&format!("while :; do {} & done", sleeper.display()));
    spec.limits.n_processes = 8;
    spec.timeout = Millis::from_secs(20);
    let told = run(spec);
    assert_ne!(told.state, CheckState::Green, "{}", told.evidence);
    // An agent that is not root's has its forks refused by the kernel before that.
    let ended = told.evidence.contains("processes, over its limit") || told.evidence.contains("fork");
    assert!(ended, "{}", told.evidence);
    assert_eq!(n_alive(&mark), 0);
}

#[test]
fn a_script_that_talks_without_end_is_ended_and_a_long_text_is_cut() {
    let Some(folder) = Folder::new() else { return };
    let told = run(folder.spec("echo first; exec cat /dev/zero"));
    check_state(&told, CheckState::Unknown, "ended for output over the limit of 1048576 bytes; it said: first");
    let told = run(folder.spec("head -c 500000 /dev/zero | tr '\\0' x; head -c 500000 /dev/zero >&2; exit 2"));
    check_state(&told, CheckState::Red, "xxxx");
    assert_eq!(told.evidence.len(), 4096);
}

#[test]
fn memory_and_processor_time_are_limited() {
    let Some(folder) = Folder::new() else { return };
    let mut spec = folder.spec("head -c 400000000 /dev/zero | tail -c 399999999 >/dev/null || echo no memory; exit 2");
    spec.limits.memory = Bytes::from_mib(100);
    check_state(&run(spec), CheckState::Red, "no memory");
    let mut spec = folder.spec("while :; do :; done");
    spec.limits.cpu = Millis(1000);
    spec.timeout = Millis::from_secs(40);
    check_state(&run(spec), CheckState::Unknown, "limit of processor time");
}

#[test]
fn no_run_gains_rights() {
    let Some(folder) = Folder::new() else { return };
    check_state(&run(folder.spec("grep NoNewPrivs /proc/self/status")), CheckState::Green, "1");
    let spec = folder.spec("echo never");
    let path = PathBuf::from(&spec.command[0]);
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o4755);
    check_state(&run(spec.clone()), CheckState::Unknown, "set-uid or set-gid");
    mode(0o775);
    check_state(&run(spec.clone()), CheckState::Unknown, "run chmod go-w");
    mode(0o755);
    let mut pinned = spec.clone();
    pinned.sha256 = Some([0; 32]);
    check_state(&run(pinned), CheckState::Unknown, "not the one in the configuration");
    std::fs::set_permissions(folder.0.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    check_state(&run(spec), CheckState::Unknown, "run chmod go-w");
}

#[test]
fn a_script_runs_as_its_own_user() {
    let Some(folder) = Folder::new() else { return };
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root may become another user");
        return;
    }
    // A binary, because the folders of this build may be closed to that user.
    let mut spec = ScriptSpec::new("t", vec!["/usr/bin/id".to_owned()]);
    spec.account = Some(Account { uid: 4711, gid: 4712 });
    check_state(&run(spec), CheckState::Green, "uid=4711 gid=4712 groups=4712");
    let mut closed = folder.spec("echo never");
    closed.account = Some(Account { uid: 4711, gid: 4712 });
    std::fs::set_permissions(&closed.command[0], std::fs::Permissions::from_mode(0o700)).unwrap();
    check_state(&run(closed), CheckState::Unknown, "its user must be allowed to read and to execute it");
}

#[test]
fn what_runs_ends_with_the_agent() {
    let Some(folder) = Folder::new() else { return };
    let mark = folder.mark();
    let sleeper = folder.script(&mark, "#!/bin/sh\nsleep 1000\n");
    let mut check = check_of(folder.spec(&format!("setsid {0} & {0}", sleeper.display())));
    let clock = SystemClock::start();
    check.sample(at(&clock), &mut Vec::new()).unwrap();
    while n_alive(&mark) < 2 && clock.mono() < PATIENCE {
        std::thread::sleep(Millis(20).std());
    }
    drop(check);
    while n_alive(&mark) > 0 && clock.mono() < PATIENCE {
        std::thread::sleep(Millis(20).std());
    }
    assert_eq!(n_alive(&mark), 0);
}

#[test]
fn four_run_at_one_time_and_the_others_wait_for_their_turn() {
    let Some(folder) = Folder::new() else { return };
    let gate = folder.0.path().join("gate");
    let text = format!("while [ ! -e {} ]; do sleep 0.02; done; echo through", gate.display());
    let clock = SystemClock::start();
    let mut checks: Vec<_> = (0..7).map(|_| check_of(folder.spec(&text))).collect();
    for check in &mut checks {
        check.sample(at(&clock), &mut Vec::new()).unwrap();
    }
    // Other tests of this process may have taken some of the room.
    let here = format!("{}/check", folder.0.path().display());
    let mut most = 0;
    for _ in 0..20 {
        most = most.max(n_alive(&here));
        std::thread::sleep(Millis(10).std());
    }
    assert!(most <= 4, "{most} run at one time");
    std::fs::write(&gate, "").unwrap();
    for check in &mut checks {
        check_state(&finish(check, &clock), CheckState::Green, "through");
    }
}

#[test]
fn check_config_refuses_a_script_that_would_not_run_in_the_words_of_the_run() {
    let Some(folder) = Folder::new() else { return };
    let open = folder.script("open", "#!/bin/sh\n");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let config = folder.0.path().join("agent.yaml");
    for path in [folder.0.path().join("missing"), open] {
        let mut bare = ScriptSpec::new("t", vec![path.to_str().unwrap().to_owned()]);
        bare.interval = Millis::from_mins(1);
        let told = run(bare);
        assert_eq!(told.state, CheckState::Unknown);
        let text = format!("agent_id: a\nscripts:\n  - {{name: t, command: [{}]}}\n", path.display());
        std::fs::write(&config, text).unwrap();
        let out = std::process::Command::new(AGENT).arg("check-config").arg(&config).output().unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(78), "{said}");
        let why = told.evidence.strip_prefix("not run: ").unwrap();
        assert!(said.contains(why) && said.contains("script \"t\""), "{said}\n{why}");
    }
}
