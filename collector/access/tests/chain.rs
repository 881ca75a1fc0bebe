//! The audit chain: whatever is done to it is found, at every line.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use signalbox_access::audit::{Verifier, verify};
use signalbox_access::event::{Denial, Record};
use signalbox_access::limits::{AUDIT_FIELD_MAX_CHARS, DENIAL_EVERY_PER_ADDRESS, DENIALS_BURST_PER_ADDRESS};
use signalbox_access::rows::Table;
use signalbox_access::{
    AccessAct, AccessEvent, AuditKey, AuditLine, Caller, Fault, FaultKind, Granted, Hash32, Head, Principal, Role,
    access::Access,
};
use signalbox_proto::units::{Millis, UnixMillis};
use support::*;

const N: u64 = 25;

/// A chain of [`N`] lines, each with something in every field.
fn chain() -> (Vec<(u64, AuditLine)>, Head) {
    let mut world = World::new();
    for n in 0..N {
        world.pass(Millis(1));
        let record = Record {
            act: format!("act {n}"),
            object: format!("object {n}"),
            before: format!("before {n}"),
            after: format!("after {n}"),
            result: format!("done {n}"),
        };
        world.by(&admin(), AccessAct::Record(record)).unwrap();
    }
    let lines = world.lines.iter().map(|line| (line.no, line.clone())).collect();
    (lines, *world.view().audit_head())
}

fn check(lines: &[(u64, AuditLine)], head: Option<&Head>) -> Result<u64, Fault> {
    verify(lines.iter().map(|(no, line)| (*no, Some(line))), head, &audit_key())
}

fn kind(lines: &[(u64, AuditLine)], head: &Head) -> (u64, FaultKind) {
    let fault = check(lines, Some(head)).unwrap_err();
    (fault.no, fault.kind)
}

#[test]
fn a_whole_chain_is_whole() {
    let (lines, head) = chain();
    assert_eq!(check(&lines, Some(&head)), Ok(N));
    assert_eq!(check(&[], None), Ok(0), "and so is one that never began");
}

#[test]
fn every_flipped_bit_of_every_stored_line_is_found() {
    let (lines, head) = chain();
    let mut n_undecoded = 0;
    for at in [0, 1, N as usize / 2, N as usize - 1] {
        let row = lines[at].1.encode();
        for bit in 0..row.len() * 8 {
            let mut bytes = row.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let line = AuditLine::decode(&bytes);
            n_undecoded += u32::from(line.is_none());
            assert_ne!(line.as_ref(), Some(&lines[at].1), "there is one way to write a line");
            let rows =
                lines.iter().enumerate().map(|(i, (no, kept))| (*no, if i == at { line.as_ref() } else { Some(kept) }));
            let fault = verify(rows, Some(&head), &audit_key()).unwrap_err();
            assert_eq!(fault.no, at as u64 + 1, "bit {bit} of line {at}");
        }
    }
    assert!(n_undecoded > 0, "some flips make a row that is no line");
}

#[test]
fn every_change_of_every_field_of_every_line_is_found() {
    let (lines, head) = chain();
    let changes: [fn(&mut AuditLine); 11] = [
        |line| line.at = UnixMillis(line.at.0 + 1),
        |line| line.who.push('x'),
        |line| line.role = "viewer".to_owned(),
        |line| line.from.clear(),
        |line| line.act.push(' '),
        |line| line.object = "another".to_owned(),
        |line| line.before = std::mem::take(&mut line.after),
        |line| line.result = "refused".to_owned(),
        |line| line.suppressed += 1,
        |line| line.prev.0[0] ^= 1,
        |line| line.hash.0[31] ^= 1,
    ];
    for at in 0..N as usize {
        for (n, change) in changes.iter().enumerate() {
            let mut lines = lines.clone();
            change(&mut lines[at].1);
            assert_eq!(kind(&lines, &head), (at as u64 + 1, FaultKind::Flipped), "change {n} of line {at}");
        }
    }
}

#[test]
fn a_line_that_was_changed_and_hashed_anew_is_found_by_the_next_or_by_the_head() {
    let (lines, head) = chain();
    for at in 0..N as usize {
        let mut lines = lines.clone();
        lines[at].1.result = "nothing happened".to_owned();
        lines[at].1.hash = lines[at].1.digest();
        let found = kind(&lines, &head);
        let by_next = (at as u64 + 2, FaultKind::Flipped);
        let expected = if at as u64 + 1 == N { (N, FaultKind::Flipped) } else { by_next };
        assert_eq!(found, expected, "line {at}");
    }
}

#[test]
fn a_chain_that_was_made_anew_from_some_line_on_is_found() {
    let (lines, head) = chain();
    for at in 0..N as usize {
        let mut lines = lines.clone();
        lines[at].1.result = "nothing happened".to_owned();
        let mut prev = lines[at].1.prev;
        for (_, line) in &mut lines[at..] {
            line.prev = prev;
            line.hash = line.digest();
            prev = line.hash;
        }
        assert_eq!(kind(&lines, &head), (N, FaultKind::Flipped), "line {at}");
        let forged = Head::seal(N, prev, &AuditKey::new([8; 32]));
        assert_eq!(kind(&lines, &forged), (N, FaultKind::Head), "sealed with another key");
    }
}

#[test]
fn every_deleted_line_is_found() {
    let (lines, head) = chain();
    for at in 0..N as usize {
        let mut lines = lines.clone();
        lines.remove(at);
        let kind_of = if at as u64 + 1 == N { FaultKind::Truncated } else { FaultKind::Missing };
        assert_eq!(kind(&lines, &head), (at as u64 + 1, kind_of));
        // And what follows moved up, so that no number is missing.
        for (place, (no, _)) in lines.iter_mut().enumerate() {
            *no = place as u64 + 1;
        }
        let kind_of = if at as u64 + 1 == N { FaultKind::Truncated } else { FaultKind::Reordered };
        assert_eq!(kind(&lines, &head), (at as u64 + 1, kind_of));
    }
}

#[test]
fn every_two_lines_that_change_places_are_found() {
    let (lines, head) = chain();
    for a in 0..N as usize {
        for b in a + 1..N as usize {
            let mut lines = lines.clone();
            let line = lines[a].1.clone();
            lines[a].1 = std::mem::replace(&mut lines[b].1, line);
            assert_eq!(kind(&lines, &head), (a as u64 + 1, FaultKind::Reordered), "{a} {b}");
        }
    }
}

#[test]
fn every_end_that_was_cut_off_is_found() {
    let (lines, head) = chain();
    for n in 0..N as usize {
        assert_eq!(kind(&lines[..n], &head), (n as u64 + 1, FaultKind::Truncated));
        let found = check(&lines[..n], None);
        // Without a head there is nothing to compare with: only no lines at all pass.
        assert_eq!(found.is_ok(), n == 0);
    }
}

#[test]
fn a_head_that_was_set_back_or_invented_is_found() {
    let (lines, head) = chain();
    for n in 0..N as usize {
        let hash = if n == 0 { Hash32::default() } else { lines[n - 1].1.hash };
        let older = Head::seal(n as u64, hash, &audit_key());
        assert_eq!(kind(&lines, &older), (n as u64 + 1, FaultKind::Head), "an older head of our own");
    }
    for at in 0..32 {
        let mut forged = head;
        forged.mac.0[at] ^= 1;
        assert_eq!(kind(&lines, &forged).1, FaultKind::Head);
    }
    assert_eq!(kind(&lines, &Head::default()).1, FaultKind::Head);
}

#[test]
fn the_verifier_says_how_far_it_came() {
    let (lines, _) = chain();
    let mut verifier = Verifier::default();
    for (no, line) in &lines[..10] {
        verifier.line(*no, Some(line)).unwrap();
    }
    assert!(verifier.line(11, None).is_err());
    assert_eq!((verifier.n_lines(), verifier.hash()), (10, lines[9].1.hash));
}

#[test]
fn a_new_life_goes_on_where_the_chain_ends() {
    let mut world = World::new();
    world.user("ada", Role::Viewer);
    world.restart();
    world.user("bob", Role::Viewer);
    let lines: Vec<_> = world.lines.iter().map(|line| (line.no, line.clone())).collect();
    assert_eq!(check(&lines, Some(world.view().audit_head())), Ok(4));
}

#[test]
fn a_chain_that_does_not_end_as_it_was_left_is_noticed_at_the_start_and_never_written_over() {
    let (lines, head) = chain();
    let rows = |head: Option<Head>| {
        let row = head.map(|head| {
            let mut world = World::new();
            world.user("ada", Role::Viewer);
            let (key, _) = world.disk.into_iter().find(|((table, _), _)| *table == Table::Head).unwrap();
            (Table::Head, key.1, encode(&head))
        });
        row.into_iter().collect::<Vec<_>>()
    };
    let resume = |head: Option<Head>, last: usize, key: AuditKey| {
        let last = last.checked_sub(1).map(|at| &lines[at].1);
        Access::restore(rows(head), last, key).unwrap()
    };
    let kind = |fault: Option<Fault>| fault.map(|fault| fault.kind);
    let n = N as usize;
    assert_eq!(kind(resume(Some(head), n, audit_key()).1), None);
    assert_eq!(kind(resume(Some(head), n - 1, audit_key()).1), Some(FaultKind::Truncated));
    assert_eq!(kind(resume(Some(head), 0, audit_key()).1), Some(FaultKind::Truncated));
    assert_eq!(kind(resume(Some(head), n, AuditKey::new([8; 32])).1), Some(FaultKind::Head));
    let older = Head::seal(3, lines[2].1.hash, &audit_key());
    for head in [None, Some(older)] {
        let (access, fault) = resume(head, n, audit_key());
        assert_eq!(kind(fault), Some(FaultKind::Head));
        let event = AccessEvent { at: START, caller: admin(), act: AccessAct::Record(Record::default()) };
        assert_eq!(access.decide(&[event]).lines()[0].no, N + 1);
    }
}

fn encode(head: &Head) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(head, &mut bytes).unwrap();
    assert_eq!(Head::decode(&bytes), Some(*head));
    bytes
}

#[test]
fn no_text_in_a_line_can_fool_a_terminal_or_a_reader() {
    let mut world = World::new();
    let evil = "a\r\nb\u{1b}[2Jc\u{202e}d\u{200b}e\u{0}f\u{85}g\u{e0001}\u{feff}é中";
    let caller = Caller::new(Principal { name: evil.to_owned(), ..Principal::nobody() }, evil);
    let text = || evil.to_owned();
    let record = Record { act: text(), object: text(), before: text(), after: text(), result: text() };
    world.by(&caller, AccessAct::Record(record)).unwrap();
    let line = world.last();
    let clean = r"a\u{d}\u{a}b\u{1b}[2Jc\u{202e}d\u{200b}e\u{0}f\u{85}g\u{e0001}\u{feff}é中";
    for field in [&line.who, &line.from, &line.act, &line.object, &line.before, &line.after, &line.result] {
        assert_eq!(field, clean);
    }
}

#[test]
fn a_field_has_a_limit_and_what_is_longer_is_marked() {
    for (n, is_cut) in [(AUDIT_FIELD_MAX_CHARS, false), (AUDIT_FIELD_MAX_CHARS + 1, true)] {
        let mut world = World::new();
        let record = Record { object: "x".repeat(n), ..Record::default() };
        world.by(&admin(), AccessAct::Record(record)).unwrap();
        assert_eq!(world.last().object.ends_with('…'), is_cut);
        assert_eq!(world.last().object.chars().count(), n.min(AUDIT_FIELD_MAX_CHARS) + usize::from(is_cut));
    }
}

#[test]
fn denials_beyond_the_limit_are_counted_in_the_next_line() {
    let mut world = World::new();
    let denial = || AccessAct::Denied(Denial { act: "GET".into(), object: "/users".into(), why: "no".into() });
    for _ in 0..DENIALS_BURST_PER_ADDRESS + 5 {
        world.by(&nobody(), denial()).unwrap();
    }
    assert_eq!(world.lines.len(), DENIALS_BURST_PER_ADDRESS as usize);
    assert_eq!((world.last().act.as_str(), world.last().result.as_str()), ("GET", "denied: no"));
    world.user("ada", Role::Viewer);
    let line = &world.lines[DENIALS_BURST_PER_ADDRESS as usize];
    assert_eq!((line.act.as_str(), line.suppressed), ("create user", 5));
    assert!(line.entry().result.ends_with("(5 denials before this one were left out at the limit)"));
    world.by(&nobody(), denial()).unwrap();
    world.pass(Millis(1));
    world.admin(AccessAct::Sweep).unwrap();
    assert_eq!((world.last().act.as_str(), world.last().suppressed), ("leave denials out", 1));
    let n_lines = world.lines.len();
    world.admin(AccessAct::Sweep).unwrap();
    assert_eq!(world.lines.len(), n_lines, "nothing was left out since");
    world.pass(DENIAL_EVERY_PER_ADDRESS);
    world.by(&nobody(), denial()).unwrap();
    assert_eq!(world.lines.len(), n_lines + 1, "there is room again");
}

#[test]
fn every_act_and_every_refusal_leaves_one_line_with_who_from_where_and_what_came_of_it() {
    let mut world = World::new();
    world.user("ada", Role::Viewer);
    let line = world.lines[0].clone();
    assert_eq!((line.who.as_str(), line.role.as_str(), line.from.as_str()), ("local:root", "admin", "unix:uid=0"));
    assert_eq!((line.act.as_str(), line.object.as_str()), ("create user", "user:ada"));
    assert_eq!((line.after.as_str(), line.result.as_str()), ("viewer, scope all", "done"));
    let n_lines = world.lines.len();
    let act = AccessAct::Login { user: "ada".to_owned(), verified: password("no"), session: secret("s") };
    world.by(&nobody(), act).unwrap_err();
    assert_eq!(world.lines.len(), n_lines + 1);
    let line = world.last();
    assert_eq!((line.who.as_str(), line.object.as_str()), ("-", "user:ada"));
    assert_eq!(line.result, "refused: login refused: the password of user ada has just changed");
}

#[test]
fn no_hash_of_a_secret_is_in_any_line() {
    let mut world = World::new();
    world.user("ada", Role::Admin);
    world.login("ada", "session-canary");
    world.join_token(|new| new.secret = secret("join-canary")).unwrap();
    world.enrol(|enrolment| enrolment.secret = secret("guess-canary")).unwrap_err();
    world.api_token(|new| new.secret = secret("api-canary")).unwrap();
    world.admin(AccessAct::CreateLoginLink { secret: secret("link-canary"), user: "ada".to_owned() }).unwrap();
    let shown = format!("{:?}", world.lines);
    for canary in ["session-canary", "join-canary", "guess-canary", "api-canary", "link-canary"] {
        let bytes = secret(canary);
        let hex: String = bytes.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!shown.contains(&hex) && !shown.contains(canary), "{canary}");
    }
    assert!(!shown.contains("argon2id"), "{shown}");
    let events = format!("{:?}", AccessAct::SetPassword { user: "a".into(), hash: password("canary"), verified: None });
    assert!(!events.contains("canary"), "{events}");
    assert!(matches!(
        world.by(&nobody(), AccessAct::EndSession { session: secret("session-canary") }),
        Ok(Granted::Done(_))
    ));
}
