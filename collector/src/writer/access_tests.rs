//! Acts, rights and the audit through the writer, over the memory store.

use super::inbox::{Message, Queued};
use super::seal::Sealer;
use super::*;
use crate::access::verify;
use crate::handle::HandleError;
use crate::store::memory::MemoryStore;
use crate::store::{Change, Store};
use crate::telemetry::Telemetry;
use signalbox_access::event::{Denial, Enrolment, NewJoinToken, Record};
use signalbox_access::{
    AccessAct, Answer, AuditLine, Caller, FaultKind, Granted, KeyFingerprint, PermissionSet, Principal, PrincipalKind,
    Refused, Role, Scope, SecretHash,
};
use signalbox_engine::event::Act;
use signalbox_proto::clock::ManualClock;
use signalbox_proto::names::{AgentId, Labels};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use tokio::sync::oneshot;

const START: UnixMillis = UnixMillis(1_795_400_000_000);

struct Rig {
    store: Arc<MemoryStore>,
    shared: Arc<Shared>,
    writer: Writer,
    _notices: mpsc::Receiver<Notice>,
    at: UnixMillis,
}

fn key() -> AuditKey {
    AuditKey::new([7; 32])
}

fn admin() -> Caller {
    Caller::new(Principal::local("root", Role::Admin), "unix:uid=0")
}

fn create_user(name: &str) -> AccessAct {
    AccessAct::CreateUser { name: name.to_owned(), role: Role::Viewer, scope: Scope::All }
}

impl Rig {
    fn over(store: Arc<MemoryStore>) -> Rig {
        Rig::with_key(store, key())
    }

    fn with_key(store: Arc<MemoryStore>, key: AuditKey) -> Rig {
        let clock = Arc::new(ManualClock::at(START));
        let shared = Arc::new(Shared::new(clock, Arc::clone(&store) as Arc<dyn Store>, Telemetry::default()));
        let (sender, notices) = mpsc::channel(64);
        let sealer = Sealer::Inline(VecDeque::new());
        let writer = Writer::open(Arc::clone(&shared), sealer, sender, 1000, key, START).unwrap();
        Rig { store, shared, writer, _notices: notices, at: START }
    }

    fn turn(&mut self, messages: Vec<Message>) -> Outcome {
        let messages = messages.into_iter().map(Queued::bare).collect();
        self.writer.step(Turn { at: self.at, started: false, tick: true, messages }).unwrap()
    }

    fn access(&mut self, act: AccessAct) -> Answer {
        let (message, mut answer) = message(act);
        assert_eq!(self.turn(vec![message]), Outcome::Committed);
        answer.try_recv().unwrap().unwrap()
    }

    fn lines(&self) -> Vec<AuditLine> {
        let mut lines = Vec::new();
        let mut visit = |key: &[u8], row: &[u8]| {
            let line = AuditLine::decode(row).unwrap();
            assert_eq!(keys::parse_audit(key), Some(line.no));
            lines.push(line);
            ControlFlow::Continue(())
        };
        self.store.scan(Family::Audit, &[], &[], &mut visit).unwrap();
        lines
    }

    fn fault(&self) -> Option<(u64, FaultKind)> {
        let (_, fault) = verify(&*self.store, &key()).unwrap();
        fault.map(|fault| (fault.no, fault.kind))
    }
}

fn message(act: AccessAct) -> (Message, oneshot::Receiver<Result<Answer, HandleError>>) {
    let (reply, answer) = oneshot::channel();
    (Message::Access { caller: admin(), act, reply: Some(reply) }, answer)
}

#[test]
fn commands_and_rights_of_one_turn_are_one_commit_with_their_lines_in_order() {
    let mut rig = Rig::over(Arc::default());
    rig.turn(Vec::new());
    let n_commits = rig.store.n_commits();
    let (first, mut made) = message(create_user("ada"));
    let (reply, mut snoozed) = oneshot::channel();
    let act = Act::Snooze { scope: "host/web1".into(), only: Vec::new(), span: Millis(60_000), reason: "move".into() };
    let caller = Caller::new(Principal::local("ops", Role::Operator), "unix:uid=7");
    let snooze = Message::Command { caller, act, reply };
    let (reply, mut refused) = oneshot::channel();
    let act = Act::Note { incident: 99, text: "x".into() };
    let note = Message::Command { caller: admin(), act, reply };
    let (last, mut twice) = message(create_user("ada"));
    rig.turn(vec![first, snooze, note, last]);
    assert_eq!(rig.store.n_commits(), n_commits + 1);
    assert!(matches!(made.try_recv().unwrap(), Ok(Ok(Granted::Done(_)))));
    assert!(matches!(snoozed.try_recv().unwrap(), Ok(Ok(done)) if done.id == Some(1)));
    assert!(matches!(refused.try_recv().unwrap(), Ok(Err(_))));
    assert!(matches!(twice.try_recv().unwrap(), Ok(Err(Refused::Conflict(_)))));
    let told: Vec<_> = rig.lines().into_iter().map(|line| (line.who, line.act, line.object, line.result)).collect();
    let line = |who: &str, act: &str, object: &str, result: &str| {
        (who.to_owned(), act.to_owned(), object.to_owned(), result.to_owned())
    };
    assert_eq!(
        told,
        [
            line("local:root", "create user", "user:ada", "done"),
            line(
                "local:ops",
                "snooze",
                "host/web1",
                "done: snooze 1 on host/web1 for 1m; it matches nothing now: signalbox status --all shows the ids"
            ),
            line("local:root", "note", "incident:INC-99", "refused: there is no incident INC-99"),
            line("local:root", "create user", "user:ada", "refused: there is a user ada already"),
        ]
    );
    assert_eq!(rig.fault(), None);
}

#[test]
fn other_rules_in_force_are_on_record_and_the_same_ones_are_not() {
    let mut rig = Rig::over(Arc::default());
    let mut put = |text: &str| {
        let files = std::collections::BTreeMap::from([("rules.yaml".to_owned(), text.to_owned())]);
        let rules = Arc::new(signalbox_engine::config::parse(&files).0.unwrap());
        let version = rules.version.clone();
        let (reply, _) = oneshot::channel();
        rig.turn(vec![Message::Rules { rules, files: Arc::new(files), reply }]);
        version
    };
    let (first, again, second) = (put("rules: []"), put("rules: []"), put("rules: [] # other"));
    assert_eq!(first, again);
    let told: Vec<_> = rig.lines().into_iter().map(|line| (line.who, line.act, line.before, line.after)).collect();
    let line = |before: &str, after: &str| {
        ("signalbox".to_owned(), "put rules in force".to_owned(), before.to_owned(), after.to_owned())
    };
    assert_eq!(told, [line("", &first), line(&first, &second)]);
}

#[test]
fn an_act_is_signed_by_whoever_was_let_in() {
    let mut rig = Rig::over(Arc::default());
    let (reply, _answer) = oneshot::channel();
    let act = Act::Snooze { scope: "host/web1".into(), only: Vec::new(), span: Millis(60_000), reason: "move".into() };
    rig.turn(vec![Message::Command { caller: admin(), act, reply }]);
    assert_eq!(rig.writer.engine.board(rig.at).snoozes[0].author, "local:root");
}

#[test]
fn nobody_sees_a_right_before_it_is_durable_and_a_refused_commit_changes_none() {
    let mut rig = Rig::over(Arc::default());
    rig.access(create_user("ada")).unwrap();
    rig.store.set_full(true);
    let (message, mut answer) = message(create_user("bob"));
    assert_eq!(rig.turn(vec![message]), Outcome::Refused);
    assert!(answer.try_recv().is_err(), "dropped: nothing was done");
    assert_eq!(rig.shared.access().users(rig.at).len(), 1);
    rig.store.set_full(false);
    rig.at = rig.at + Millis(5_000);
    rig.access(create_user("bob")).unwrap();
    assert_eq!(rig.shared.access().users(rig.at).len(), 2);
    assert_eq!(rig.lines().len(), 2);
    assert_eq!(rig.fault(), None);
}

#[test]
fn rights_and_the_audit_survive_a_crash_at_any_moment() {
    let mut rig = Rig::over(Arc::default());
    let secret = SecretHash::of(b"secret");
    let token = NewJoinToken {
        id: "t1".into(),
        secret,
        life: Millis(3_600_000),
        uses: 2,
        labels: Labels::default(),
        cidrs: Vec::new(),
        agent: None,
    };
    rig.access(AccessAct::CreateJoinToken(token)).unwrap();
    for n in 0..2 {
        let mut after = Rig::over(Arc::new(rig.store.copy()));
        assert_eq!(after.fault(), None);
        let fingerprint = KeyFingerprint::of_spki(&[n]);
        let enrolment = Enrolment {
            is_local: false,
            token: "t1".into(),
            secret,
            agent: AgentId::parse(&format!("web{n}")).unwrap(),
            key: fingerprint,
            labels: Labels::default(),
            remote: None,
            not_after: after.at + Millis(1_000),
        };
        assert!(matches!(after.access(AccessAct::Enrol(enrolment)), Ok(Granted::Identity { .. })));
        assert!(after.shared.access().agent_of_key(&fingerprint).is_some());
        assert_eq!(after.shared.access().join_tokens()[0].uses_left, 1 - u32::from(n));
        rig = after;
    }
    assert_eq!(rig.lines().len(), 3);
}

#[test]
fn an_idle_collector_commits_nothing_and_a_used_session_once_a_minute() {
    let mut rig = Rig::over(Arc::default());
    rig.access(create_user("ada")).unwrap();
    let link = SecretHash::of(b"link");
    rig.access(AccessAct::CreateLoginLink { secret: link, user: "ada".into() }).unwrap();
    let session = SecretHash::of(b"session");
    rig.access(AccessAct::UseLoginLink { secret: link, session }).unwrap();
    let n_commits = rig.store.n_commits();
    for _ in 0..600 {
        rig.at = rig.at + Millis(1_000);
        let touch = AccessAct::TouchSession { session };
        rig.turn(vec![Message::Access { caller: admin(), act: touch, reply: None }]);
    }
    assert_eq!(rig.store.n_commits() - n_commits, 10);
    assert!(rig.shared.access().principal_of_session(&session, rig.at).is_some());
    assert_eq!(rig.lines().len(), 3);
}

#[test]
fn what_is_over_is_swept_away_by_the_minute() {
    let mut rig = Rig::over(Arc::default());
    rig.access(create_user("ada")).unwrap();
    rig.access(AccessAct::CreateLoginLink { secret: SecretHash::of(b"l"), user: "ada".into() }).unwrap();
    let n_rows = rig.store.stats().n_rows[Family::Access as usize];
    rig.at = rig.at + signalbox_access::limits::LOGIN_LINK_LIFE;
    rig.turn(Vec::new());
    assert_eq!(rig.store.stats().n_rows[Family::Access as usize], n_rows - 1);
}

#[test]
fn a_denial_is_on_record_and_nobody_waits_for_it() {
    let mut rig = Rig::over(Arc::default());
    let denial = Denial { act: "POST".into(), object: "/users".into(), why: "a viewer may not".into() };
    let caller = Caller::new(Principal::nobody(), "192.0.2.9");
    rig.turn(vec![Message::Access { caller, act: AccessAct::Denied(denial), reply: None }]);
    let line = rig.lines().remove(0);
    assert_eq!((line.from.as_str(), line.result.as_str()), ("192.0.2.9", "denied: a viewer may not"));
}

/// Writes past the writer, as somebody at the disk would.
fn tamper(store: &MemoryStore, change: impl FnOnce(&mut Commit)) {
    let mut commit = Commit::default();
    change(&mut commit);
    store.commit(&commit).unwrap();
}

fn rig_with_lines(n: u64) -> Rig {
    let mut rig = Rig::over(Arc::default());
    for n in 0..n {
        rig.access(AccessAct::Record(Record { act: format!("act {n}"), ..Record::default() })).unwrap();
    }
    rig
}

#[test]
fn whatever_is_done_to_the_stored_audit_is_found_at_its_line() {
    const N: u64 = 12;
    let whole = rig_with_lines(N);
    let rows: Vec<Vec<u8>> = whole.lines().iter().map(AuditLine::encode).collect();
    for at in 0..N as usize {
        let no = at as u64 + 1;
        let tampered = |change: &dyn Fn(&mut Commit)| {
            let copy = whole.store.copy();
            tamper(&copy, change);
            let (_, fault) = verify(&copy, &key()).unwrap();
            fault.map(|fault| (fault.no, fault.kind))
        };
        for byte in 0..rows[at].len() {
            let mut row = rows[at].clone();
            row[byte] ^= 0x55;
            let found = tampered(&|commit| commit.put(Family::Audit, keys::audit(no), row.clone()));
            assert_eq!(found.map(|(no, _)| no), Some(no), "byte {byte} of line {no}");
        }
        let gone = tampered(&|commit| commit.delete(Family::Audit, keys::audit(no)));
        let kind = if no == N { FaultKind::Truncated } else { FaultKind::Missing };
        assert_eq!(gone, Some((no, kind)));
        let cut = tampered(&|commit| commit.delete_range(Family::Audit, keys::audit(no), keys::audit(N + 1)));
        assert_eq!(cut, Some((no, FaultKind::Truncated)));
        for other in at + 1..N as usize {
            let swapped = tampered(&|commit| {
                commit.put(Family::Audit, keys::audit(no), rows[other].clone());
                commit.put(Family::Audit, keys::audit(other as u64 + 1), rows[at].clone());
            });
            assert_eq!(swapped, Some((no, FaultKind::Reordered)));
        }
    }
    assert_eq!(whole.fault(), None);
}

#[test]
fn rows_around_the_chain_and_a_missing_head_are_found() {
    let rig = rig_with_lines(3);
    let row = rig.lines()[2].encode();
    for key_of in [0, 4, u64::MAX] {
        let copy = rig.store.copy();
        tamper(&copy, |commit| commit.put(Family::Audit, keys::audit(key_of), row.clone()));
        let (_, fault) = verify(&copy, &key()).unwrap();
        assert!(fault.is_some(), "a row at {key_of}");
    }
    let head = keys::access(signalbox_access::rows::Table::Head, signalbox_access::access::HEAD_KEY);
    for change in [Change::Delete(Family::Access, head.clone()), Change::Put(Family::Access, head, vec![1])] {
        let copy = rig.store.copy();
        tamper(&copy, |commit| match change {
            Change::Put(family, key, value) => commit.put(family, key, value),
            Change::Delete(family, key) => commit.delete(family, key),
            Change::DeleteRange(..) => {}
        });
        let (_, fault) = verify(&copy, &key()).unwrap();
        assert_eq!(fault.map(|fault| fault.kind), Some(FaultKind::Head));
    }
}

#[test]
fn an_audit_that_does_not_end_as_it_was_left_is_told_at_the_start_and_goes_on_after_its_lines() {
    let rig = rig_with_lines(3);
    let store = Arc::new(rig.store.copy());
    let mut other = Rig::with_key(Arc::clone(&store), AuditKey::new([8; 32]));
    assert!(other.shared.problems()[0].starts_with("the audit does not end as it was left"));
    other.turn(Vec::new());
    let lines = other.lines();
    assert_eq!((lines.len(), lines[3].act.as_str()), (4, "open audit"));
    assert!(lines[3].result.starts_with("fault: line 3"), "{}", lines[3].result);
    tamper(&rig.store, |commit| commit.delete(Family::Audit, keys::audit(3)));
    let mut shorter = Rig::over(Arc::new(rig.store.copy()));
    shorter.access(create_user("ada")).unwrap();
    let numbers: Vec<u64> = shorter.lines().iter().map(|line| line.no).collect();
    assert_eq!(numbers, [1, 2, 4, 5], "the gap stays to be seen");
    assert_eq!(shorter.fault(), Some((3, FaultKind::Missing)));
}

#[test]
fn data_of_an_older_version_with_its_own_audit_rows_opens() {
    let store = Arc::new(MemoryStore::default());
    tamper(&store, |commit| {
        let key = [&[keys::OLD_AUDIT], 1u64.to_be_bytes().as_slice()].concat();
        commit.put(Family::State, key, vec![1, 2, 3]);
    });
    let mut rig = Rig::over(Arc::clone(&store));
    rig.access(create_user("ada")).unwrap();
    assert_eq!(rig.lines()[0].no, 1);
    assert_eq!(rig.fault(), None);
}

#[test]
fn a_damaged_row_of_rights_stops_the_start_and_shows_no_value() {
    let mut rig = Rig::over(Arc::default());
    rig.access(create_user("ada")).unwrap();
    let place = keys::access(signalbox_access::rows::Table::Users, b"ada");
    tamper(&rig.store, |commit| commit.put(Family::Access, place, vec![0xff, 0x00]));
    let clock = Arc::new(ManualClock::at(START));
    let store = Arc::clone(&rig.store) as Arc<dyn Store>;
    let shared = Arc::new(Shared::new(clock, store, Telemetry::default()));
    let sealer = Sealer::Inline(VecDeque::new());
    let error = Writer::open(shared, sealer, mpsc::channel(1).0, 1000, key(), START).err().unwrap();
    assert!(error.to_string().contains("restore identities and rights: restore access table Users"), "{error}");
}

#[test]
fn a_command_that_waited_is_judged_by_the_rights_of_its_commit() {
    let mut rig = Rig::over(Arc::default());
    rig.access(AccessAct::CreateUser { name: "ada".to_owned(), role: Role::Operator, scope: Scope::All }).unwrap();
    let permissions = PermissionSet::of_role(Role::Operator);
    let local = Principal::local("", Role::Operator);
    let ada = Principal { name: "ada".to_owned(), kind: PrincipalKind::User, permissions, ..local };
    let snooze = |rig: &mut Rig| {
        let (reply, mut answer) = oneshot::channel();
        let act =
            Act::Snooze { scope: "host/web1".into(), span: Millis(60_000), reason: "move".into(), only: Vec::new() };
        rig.turn(vec![Message::Command { caller: Caller::new(ada.clone(), "192.0.2.9"), act, reply }]);
        answer.try_recv().unwrap()
    };
    assert!(matches!(snooze(&mut rig), Ok(Ok(_))));
    rig.access(AccessAct::DisableUser { user: "ada".to_owned() }).unwrap();
    assert!(matches!(snooze(&mut rig), Err(HandleError::NotAllowed)));
    let line = rig.lines().pop().unwrap();
    assert!(line.act == "snooze" && line.result.starts_with("denied"), "{line:?}");
    assert_eq!(rig.writer.engine.board(rig.at).snoozes.len(), 1);
}
