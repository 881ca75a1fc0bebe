//! Laws: any cut of the events gives the same result, deciding changes nothing, a new
//! life from the rows is the old one, and a refusal changes no table.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use proptest::prelude::*;
use signalbox_access::audit::verify;
use signalbox_access::event::{
    ApprovalRequest, Denial, Enrolment, Grant, NewApiToken, NewJoinToken, NewUserToken, Record,
};
use signalbox_access::limits::CERTIFICATE_LIFE;
use signalbox_access::rows::Table;
use signalbox_access::{AccessAct, AccessEvent, Caller, Permission, PermissionSet, Principal, Role, Scope};
use signalbox_proto::units::UnixMillis;
use support::*;

const NAMES: [&str; 4] = ["ada", "bob", "eve", "admin"];

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned)
}

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(str::to_owned)
}

fn role() -> impl Strategy<Value = Role> {
    prop::sample::select(Role::ALL.to_vec())
}

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![Just(Scope::All), Just(Scope::parse(&[r#"{owner="pay"}"#.to_owned()]).unwrap())]
}

fn caller() -> impl Strategy<Value = Caller> {
    prop_oneof![
        4 => Just(admin()),
        2 => Just(nobody()),
        1 => Just(Caller::system()),
        // A user who came with a session, as the shell would have found it.
        3 => (name(), role(), word()).prop_map(|(name, role, session)| {
            let principal = Principal {
                name,
                kind: signalbox_access::PrincipalKind::User,
                session: Some(secret(&session)),
                ..Principal::local("x", role)
            };
            Caller::new(principal, "192.0.2.1")
        }),
    ]
}

fn end() -> impl Strategy<Value = UnixMillis> {
    prop_oneof![Just(UnixMillis(0)), (0..20i64).prop_map(|hours| START + HOUR.times(hours.unsigned_abs()))]
}

fn agents_act() -> impl Strategy<Value = AccessAct> {
    let cidrs = prop_oneof![Just(vec![]), Just(vec!["10.0.0.0/8".parse().unwrap()])];
    let labels_of = || prop_oneof![Just(labels(&[])), Just(labels(&[("site", "lab")]))];
    let named = || prop::option::of(word().prop_map(|word| agent(&word)));
    let token =
        (word(), 1..72u64, 0..3u32, labels_of(), cidrs, named()).prop_map(|(id, hours, uses, labels, cidrs, agent)| {
            NewJoinToken { secret: secret(&id), id, life: HOUR.times(hours), uses, labels, cidrs, agent }
        });
    let remote =
        || prop::option::of(prop::sample::select(vec!["10.1.2.3", "192.0.2.5"]).prop_map(|ip| ip.parse().unwrap()));
    let enrolment = (word(), word(), word(), word(), labels_of(), remote(), end());
    let enrolment = enrolment.prop_map(|(token, proof, name, k, labels, remote, not_after)| Enrolment {
        is_local: false,
        token,
        secret: secret(&proof),
        agent: agent(&name),
        key: key(&k),
        labels,
        remote,
        not_after,
    });
    let request = (word(), word(), remote()).prop_map(|(name, k, remote)| ApprovalRequest {
        agent: agent(&name),
        key: key(&k),
        csr_der: vec![1],
        labels: labels(&[]),
        remote,
    });
    prop_oneof![
        3 => token.prop_map(AccessAct::CreateJoinToken),
        1 => word().prop_map(|id| AccessAct::RevokeJoinToken { id }),
        4 => enrolment.prop_map(AccessAct::Enrol),
        3 => request.prop_map(AccessAct::RequestApproval),
        2 => (word(), prop::option::of(labels_of())).prop_map(|(k, labels)| AccessAct::Approve { key: key(&k), labels }),
        1 => word().prop_map(|k| AccessAct::Reject { key: key(&k) }),
        2 => (word(), end()).prop_map(|(k, not_after)| AccessAct::Issue { key: key(&k), not_after }),
        4 => (word(), word(), word(), end()).prop_map(|(name, old, new, not_after)| AccessAct::Renew {
            agent: agent(&name),
            old: key(&old),
            new: key(&new),
            not_after,
        }),
        2 => word().prop_map(|k| AccessAct::KeyUsed { key: key(&k) }),
        1 => word().prop_map(|name| AccessAct::RevokeAgent { agent: agent(&name), reason: "r".into() }),
        1 => word().prop_map(|name| AccessAct::ForgetAgent { agent: agent(&name) }),
    ]
}

fn people_act() -> impl Strategy<Value = AccessAct> {
    let grant = prop_oneof![
        role().prop_map(Grant::Role),
        prop::collection::vec(prop::sample::select(Permission::ALL.to_vec()), 0..3)
            .prop_map(|set| Grant::Permissions(set.into_iter().collect::<PermissionSet>())),
    ];
    let service = (word(), grant, scope(), 1..72u64).prop_map(|(id, grant, scope, hours)| NewApiToken {
        secret: secret(&id),
        id,
        name: "deploy".into(),
        grant,
        scope,
        life: HOUR.times(hours),
    });
    let tool = (name(), name(), word()).prop_map(|(user, proof, id)| NewUserToken {
        user,
        verified: password(&proof),
        secret: secret(&id),
        id,
        purpose: "laptop".into(),
        life: HOUR,
    });
    prop_oneof![
        3 => (name(), role(), scope()).prop_map(|(name, role, scope)| AccessAct::CreateUser { name, role, scope }),
        1 => (name(), role(), prop::option::of(scope())).prop_map(|(user, role, scope)| AccessAct::SetRole { user, role, scope }),
        1 => name().prop_map(|user| AccessAct::DisableUser { user }),
        1 => name().prop_map(|user| AccessAct::EnableUser { user }),
        3 => (name(), name(), prop::option::of(name())).prop_map(|(user, hash, verified)| AccessAct::SetPassword {
            user,
            hash: password(&hash),
            verified: verified.map(|verified| password(&verified)),
        }),
        2 => (word(), name()).prop_map(|(word, user)| AccessAct::CreateLoginLink { secret: secret(&word), user }),
        1 => word().prop_map(|word| AccessAct::FirstLink { secret: secret(&word) }),
        2 => (word(), word()).prop_map(|(link, s)| AccessAct::UseLoginLink { secret: secret(&link), session: secret(&s) }),
        3 => (name(), name(), word()).prop_map(|(user, proof, s)| AccessAct::Login {
            user,
            verified: password(&proof),
            session: secret(&s),
        }),
        1 => tool.prop_map(AccessAct::LoginToken),
        1 => word().prop_map(|s| AccessAct::EndSession { session: secret(&s) }),
        1 => name().prop_map(|user| AccessAct::EndSessions { user }),
        2 => word().prop_map(|s| AccessAct::TouchSession { session: secret(&s) }),
        1 => service.prop_map(AccessAct::CreateApiToken),
        1 => word().prop_map(|id| AccessAct::RevokeApiToken { id }),
        1 => word().prop_map(|act| AccessAct::Denied(Denial { act, ..Denial::default() })),
        1 => word().prop_map(|act| AccessAct::Record(Record { act, ..Record::default() })),
        1 => Just(AccessAct::Sweep),
    ]
}

/// Events in time: steps of up to some hours, so that things end in between.
fn events() -> impl Strategy<Value = Vec<AccessEvent>> {
    let act = prop_oneof![agents_act(), people_act()];
    let step = prop_oneof![6 => 0..60_000i64, 2 => 0..7_200_000i64, 1 => 0..864_000_000i64];
    prop::collection::vec((step, caller(), act), 1..60).prop_map(|steps| {
        let mut at = START;
        let stamp = |(step, caller, act): (i64, Caller, AccessAct)| {
            at = at.shifted(step);
            // Ends that the shell would give lie in the future.
            let act = match act {
                AccessAct::Enrol(mut enrolment) if enrolment.not_after.0 > 0 => {
                    enrolment.not_after = at + CERTIFICATE_LIFE;
                    AccessAct::Enrol(enrolment)
                }
                AccessAct::Renew { agent, old, new, not_after } if not_after.0 > 0 => {
                    AccessAct::Renew { agent, old, new, not_after: at + CERTIFICATE_LIFE }
                }
                AccessAct::Issue { key, not_after } if not_after.0 > 0 => {
                    AccessAct::Issue { key, not_after: at + CERTIFICATE_LIFE }
                }
                act => act,
            };
            AccessEvent { at, caller, act }
        };
        steps.into_iter().map(stamp).collect()
    })
}

/// Tables without the end of the audit.
fn tables(disk: &Disk) -> Disk {
    let mut disk = disk.clone();
    disk.retain(|(table, _), _| *table != Table::Head);
    disk
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_cut_gives_the_same_rows_lines_and_answers(events in events(), cuts in prop::collection::vec(any::<bool>(), 60)) {
        let mut whole = World::new();
        let wanted = whole.turn(&events);
        let mut cut = World::new();
        let (mut answers, mut turn) = (Vec::new(), Vec::new());
        for (event, ends) in events.iter().zip(cuts) {
            turn.push(event.clone());
            if ends {
                answers.extend(cut.turn(&std::mem::take(&mut turn)));
            }
        }
        answers.extend(cut.turn(&turn));
        prop_assert_eq!(answers, wanted);
        prop_assert_eq!(&cut.disk, &whole.disk);
        prop_assert_eq!(&cut.lines, &whole.lines);
    }

    #[test]
    fn deciding_twice_gives_equal_decisions_and_changes_nothing(events in events()) {
        let mut world = World::new();
        let (first, second) = events.split_at(events.len() / 2);
        world.turn(first);
        let decide = || {
            let decision = world.access.decide(second);
            (decision.rows().to_vec(), decision.lines().to_vec(), decision.answers().to_vec())
        };
        prop_assert_eq!(decide(), decide());
    }

    #[test]
    fn a_new_life_from_the_rows_decides_as_the_old_one(events in events(), at in 0..60usize) {
        let (first, second) = events.split_at(at.min(events.len()));
        let mut old = World::new();
        old.turn(first);
        let mut new = World::new();
        new.turn(first);
        new.restart();
        prop_assert_eq!(new.turn(second), old.turn(second));
        prop_assert_eq!(&new.disk, &old.disk);
        prop_assert_eq!(&new.lines, &old.lines);
    }

    #[test]
    fn what_is_refused_changes_no_right(events in events()) {
        let mut world = World::new();
        for event in events {
            let before = tables(&world.disk);
            let answers = world.turn(std::slice::from_ref(&event));
            if answers[0].is_err() {
                for (place, row) in tables(&world.disk) {
                    // What was over may have been swept away to make room.
                    prop_assert_eq!(before.get(&place), Some(&row), "{:?}", event);
                }
            }
        }
    }

    #[test]
    fn the_chain_is_whole_whatever_happens(events in events()) {
        let mut world = World::new();
        world.turn(&events);
        let lines = world.lines.iter().map(|line| (line.no, Some(line)));
        let view = world.view();
        let head = (!world.lines.is_empty()).then(|| view.audit_head());
        prop_assert_eq!(verify(lines, head, &audit_key()), Ok(world.lines.len() as u64));
    }

    #[test]
    fn every_active_key_has_one_agent_that_is_not_revoked(events in events()) {
        let mut world = World::new();
        for event in &events {
            world.turn(std::slice::from_ref(event));
            let view = world.view();
            for word in ["a", "b", "c", "d"] {
                let Some(bound) = view.agent_of_key(&key(word)) else { continue };
                let identities = view.identities();
                let own: Vec<_> = identities.iter().filter(|row| row.fingerprint == key(word).to_string()).collect();
                prop_assert_eq!(own.len(), 1);
                prop_assert_eq!(&own[0].agent, bound.agent.as_str());
            }
        }
    }

    #[test]
    fn nobody_without_a_right_makes_a_user_or_a_token(events in events()) {
        let mut world = World::new();
        for event in events {
            let event = AccessEvent { caller: nobody(), ..event };
            world.turn(&[event]);
        }
        let view = world.view();
        prop_assert!(view.users(world.at).is_empty());
        prop_assert!(view.api_tokens().is_empty() && view.join_tokens().is_empty() && view.identities().is_empty());
    }
}
