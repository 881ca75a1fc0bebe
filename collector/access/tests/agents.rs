//! Agents get an identity, keep it, lose it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use signalbox_access::event::{ApprovalRequest, Enrolment, NewJoinToken};
use signalbox_access::limits::{
    AGENTS_MAX, CERTIFICATE_LIFE, CIDRS_MAX, CSR_MAX_BYTES, JOIN_TOKEN_LIFE_MAX, JOIN_TOKEN_USES_MAX, JOIN_TOKENS_MAX,
    KEYS_PER_AGENT_MAX, PENDING_LIFE, PENDING_MAX, PENDING_PER_ADDRESS_MAX, RENEW_AFTER_END,
};
use signalbox_access::rows::{KeyState, PendingState};
use signalbox_access::{AccessAct, Granted, Refused, Role};
use signalbox_proto::join::Refusal;
use signalbox_proto::units::Millis;
use support::*;

#[test]
fn a_token_lets_one_agent_in_and_no_second_one() {
    let mut world = World::new();
    world.join_token(|new| new.labels = labels(&[("site", "lab")])).unwrap();
    let answer = world.enrol(|enrolment| enrolment.labels = labels(&[("site", "lab")])).unwrap();
    assert_eq!(answer, Granted::Identity { agent: agent("web1"), labels: labels(&[("site", "lab")]) });
    let bound = world.view().agent_of_key(&key("web1")).unwrap();
    assert_eq!((bound.agent, bound.state, bound.used), (agent("web1"), KeyState::Active, false));
    let again = world.enrol(|enrolment| (enrolment.agent, enrolment.key) = (agent("web2"), key("web2")));
    assert_eq!(refusal(again), Refusal::TokenUsed);
    assert_eq!(world.view().agent_of_key(&key("web2")), None);
}

#[test]
fn an_agent_whose_answer_was_lost_joins_again_with_the_same_key_until_it_uses_it() {
    let mut world = World::new();
    world.join_token(|_| ()).unwrap();
    world.enrol(|_| ()).unwrap();
    world.pass(Millis(1_000));
    assert!(is_identity(&world.enrol(|_| ())), "the token has no use left, and needs none");
    let bound = world.view().agent_of_key(&key("web1")).unwrap();
    assert_eq!(bound.not_after, world.at + CERTIFICATE_LIFE);
    assert_eq!(world.view().identities().len(), 1);
    let other = world.enrol(|enrolment| enrolment.key = key("other"));
    assert_eq!(refusal(other), Refusal::TokenUsed);
    let guess = world.enrol(|enrolment| enrolment.secret = secret("guess"));
    assert_eq!(refusal(guess), Refusal::NotAccepted);
    world.by(&nobody(), AccessAct::KeyUsed { key: key("web1") }).unwrap();
    assert_eq!(refusal(world.enrol(|_| ())), Refusal::TokenUsed);
}

#[test]
fn whoever_does_not_know_the_secret_learns_nothing_about_a_token() {
    let mut world = World::new();
    world.join_token(|new| new.uses = 2).unwrap();
    let wrong = world.enrol(|enrolment| enrolment.secret = secret("guess"));
    let unknown = world.enrol(|enrolment| enrolment.token = "t9".to_owned());
    assert_eq!((refusal(wrong), refusal(unknown)), (Refusal::NotAccepted, Refusal::NotAccepted));
    world.admin(AccessAct::RevokeJoinToken { id: "t1".to_owned() }).unwrap();
    let wrong = world.enrol(|enrolment| enrolment.secret = secret("guess"));
    assert_eq!(refusal(wrong), Refusal::NotAccepted, "not that it is revoked");
    assert_eq!(refusal(world.enrol(|_| ())), Refusal::TokenRevoked);
}

#[test]
fn a_token_ends_to_the_millisecond() {
    let mut world = World::new();
    world.join_token(|_| ()).unwrap();
    world.pass(Millis(HOUR.0 - 1));
    assert!(is_identity(&world.enrol(|_| ())));
    let mut world = World::new();
    world.join_token(|_| ()).unwrap();
    world.pass(HOUR);
    assert_eq!(refusal(world.enrol(|_| ())), Refusal::TokenExpired);
}

#[test]
fn a_token_holds_for_its_networks_only() {
    let cases = [
        (Some("192.0.2.255"), true),
        (Some("192.0.3.0"), false),
        (Some("::ffff:192.0.2.7"), true),
        (Some("2001:db8::1"), true),
        (Some("2001:db9::1"), false),
        (None, false),
    ];
    for (remote, is_in) in cases {
        let mut world = World::new();
        let cidrs = ["192.0.2.0/24", "2001:db8::/32"].map(|cidr| cidr.parse().unwrap());
        world.join_token(|new| new.cidrs = cidrs.into()).unwrap();
        let answer = world.enrol(|enrolment| enrolment.remote = remote.map(|remote| remote.parse().unwrap()));
        if is_in {
            assert!(is_identity(&answer), "{remote:?}");
        } else {
            assert_eq!(refusal(answer), Refusal::AddressNotAllowed, "{remote:?}");
        }
    }
}

#[test]
fn an_agent_declares_allowed_labels_only_with_their_values() {
    for (pairs, is_in) in [
        (&[][..], true),
        (&[("site", "lab")][..], true),
        (&[("site", "prod")][..], false),
        (&[("site", "lab"), ("owner", "me")][..], false),
    ] {
        let mut world = World::new();
        world.join_token(|new| new.labels = labels(&[("site", "lab"), ("rack", "1")])).unwrap();
        let answer = world.enrol(|enrolment| enrolment.labels = labels(pairs));
        if is_in {
            assert!(is_identity(&answer), "{pairs:?}");
        } else {
            assert_eq!(refusal(answer), Refusal::LabelsNotAllowed, "{pairs:?}");
        }
    }
}

#[test]
fn a_name_that_is_taken_stays_taken_unless_an_admin_names_it() {
    let mut world = World::new();
    world.join_token(|new| new.uses = 5).unwrap();
    world.enrol(|_| ()).unwrap();
    let clone = world.enrol(|enrolment| enrolment.key = key("clone"));
    assert_eq!(refusal(clone), Refusal::NameTaken);
    let same_key = world.enrol(|enrolment| enrolment.agent = agent("web2"));
    assert_eq!(refusal(same_key), Refusal::KeyTaken);
    let named = |new: &mut signalbox_access::event::NewJoinToken| {
        (new.id, new.secret, new.agent) = ("t2".to_owned(), secret("t2"), Some(agent("web1")));
    };
    world.join_token(named).unwrap();
    let with_t2 = |enrolment: &mut signalbox_access::event::Enrolment| {
        (enrolment.token, enrolment.secret) = ("t2".to_owned(), secret("t2"));
        enrolment.key = key("anew");
    };
    let other = world.enrol(|enrolment| {
        with_t2(enrolment);
        enrolment.agent = agent("web7");
    });
    assert_eq!(refusal(other), Refusal::NameNotAllowed);
    assert!(is_identity(&world.enrol(with_t2)));
    assert_eq!(world.view().agent_of_key(&key("web1")).unwrap().state, KeyState::Replaced);
    assert_eq!(world.view().agent_of_key(&key("anew")).unwrap().state, KeyState::Active);
}

#[test]
fn a_token_is_checked_when_it_is_made() {
    let mut world = World::new();
    type Fault = (&'static str, fn(&mut signalbox_access::event::NewJoinToken));
    let faults: [Fault; 7] = [
        ("id", |new| new.id = "T1".to_owned()),
        ("no id", |new| new.id = String::new()),
        ("life", |new| new.life = Millis(JOIN_TOKEN_LIFE_MAX.0 + 1)),
        ("no life", |new| new.life = Millis::ZERO),
        ("uses", |new| new.uses = JOIN_TOKEN_USES_MAX + 1),
        ("no uses", |new| new.uses = 0),
        ("networks", |new| new.cidrs = vec!["10.0.0.0/8".parse().unwrap(); CIDRS_MAX + 1]),
    ];
    for (what, fault) in faults {
        assert!(matches!(world.join_token(fault), Err(Refused::Invalid(_))), "{what}");
    }
    let limit = |new: &mut signalbox_access::event::NewJoinToken| {
        (new.life, new.uses) = (JOIN_TOKEN_LIFE_MAX, JOIN_TOKEN_USES_MAX);
        new.cidrs = vec!["10.0.0.0/8".parse().unwrap(); CIDRS_MAX];
    };
    world.join_token(limit).unwrap();
    assert!(matches!(world.join_token(|_| ()), Err(Refused::Conflict(_))), "the id is there");
}

#[test]
fn join_tokens_have_a_limit_and_those_that_are_over_make_room() {
    let mut world = World::new();
    let make = |world: &mut World, n: usize| {
        world.join_token(|new| (new.id, new.secret) = (format!("t{n}"), secret(&n.to_string())))
    };
    for n in 0..JOIN_TOKENS_MAX {
        make(&mut world, n).unwrap();
    }
    let Err(Refused::Limit(why)) = make(&mut world, JOIN_TOKENS_MAX) else { panic!("one over") };
    assert!(why.contains("1000 join tokens"), "{why}");
    world.pass(HOUR);
    make(&mut world, JOIN_TOKENS_MAX).unwrap();
    assert_eq!(world.view().join_tokens().len(), 1);
}

#[test]
fn the_old_key_counts_until_the_new_one_is_used() {
    let mut world = World::new();
    world.join_token(|_| ()).unwrap();
    world.enrol(|_| ()).unwrap();
    assert!(is_identity(&world.renew("web1", "web1", "k2")));
    let state = |world: &World, name: &str| world.view().agent_of_key(&key(name)).map(|bound| bound.state);
    assert_eq!(state(&world, "web1"), Some(KeyState::Active), "the answer may be lost on its way");
    assert!(is_identity(&world.renew("web1", "web1", "k3")), "so it asks again");
    world.by(&nobody(), AccessAct::KeyUsed { key: key("k3") }).unwrap();
    for old in ["web1", "k2"] {
        assert_eq!(state(&world, old), Some(KeyState::Replaced));
        assert_eq!(refusal(world.renew("web1", old, "k4")), Refusal::KeyUnknown);
    }
    let n_lines = world.lines.len();
    assert_eq!(world.by(&nobody(), AccessAct::KeyUsed { key: key("k3") }), Ok(Granted::Nothing));
    assert_eq!(world.lines.len(), n_lines, "only the first use is on record");
}

#[test]
fn a_known_key_is_renewed_for_ninety_days_after_its_end() {
    for (extra, is_in) in [(0, true), (1, false)] {
        let mut world = World::new();
        world.join_token(|_| ()).unwrap();
        world.enrol(|_| ()).unwrap();
        world.pass(Millis(CERTIFICATE_LIFE.0 + RENEW_AFTER_END.0 - 1 + extra));
        let answer = world.renew("web1", "web1", "k2");
        if is_in {
            assert!(is_identity(&answer));
        } else {
            assert_eq!(refusal(answer), Refusal::ExpiredTooLong);
        }
    }
}

#[test]
fn nobody_renews_what_is_not_theirs() {
    let mut world = World::new();
    world.join_token(|new| new.uses = 2).unwrap();
    world.enrol(|_| ()).unwrap();
    world.enrol(|enrolment| (enrolment.agent, enrolment.key) = (agent("web2"), key("web2"))).unwrap();
    assert_eq!(refusal(world.renew("web2", "web1", "k")), Refusal::KeyUnknown, "another's key");
    assert_eq!(refusal(world.renew("web1", "nothing", "k")), Refusal::KeyUnknown);
    assert_eq!(refusal(world.renew("web1", "web1", "web2")), Refusal::KeyTaken);
}

#[test]
fn an_agent_has_a_bounded_number_of_keys() {
    let mut world = World::new();
    world.join_token(|_| ()).unwrap();
    world.enrol(|_| ()).unwrap();
    for n in 0..10 {
        world.renew("web1", if n == 0 { "web1" } else { "k" }, &format!("k{n}")).ok();
        let bound = world.view().identities().len();
        assert!(bound <= KEYS_PER_AGENT_MAX, "{bound}");
    }
    let mut last = "web1".to_owned();
    for n in 0..10 {
        let new = format!("n{n}");
        if is_identity(&world.renew("web1", &last, &new)) {
            last = new;
        }
    }
    assert_eq!(world.view().identities().len(), KEYS_PER_AGENT_MAX);
    assert_eq!(world.view().agent_of_key(&key(&last)).unwrap().state, KeyState::Active);
}

#[test]
fn a_revoked_agent_is_out_with_all_its_keys_and_its_name_is_not_free() {
    let mut world = World::new();
    world.join_token(|new| new.uses = 3).unwrap();
    world.enrol(|_| ()).unwrap();
    world.renew("web1", "web1", "k2").unwrap();
    world.admin(AccessAct::RevokeAgent { agent: agent("web1"), reason: "stolen".to_owned() }).unwrap();
    for name in ["web1", "k2"] {
        assert_eq!(world.view().agent_of_key(&key(name)).unwrap().state, KeyState::Revoked);
        assert_eq!(refusal(world.renew("web1", name, "k3")), Refusal::KeyRevoked);
    }
    let again = world.enrol(|enrolment| enrolment.key = key("anew"));
    assert_eq!(refusal(again), Refusal::NameTaken);
    world.admin(AccessAct::ForgetAgent { agent: agent("web1") }).unwrap();
    assert_eq!(world.view().agent_of_key(&key("web1")), None);
    assert!(is_identity(&world.enrol(|enrolment| enrolment.key = key("anew"))));
    let in_force = world.admin(AccessAct::ForgetAgent { agent: agent("web1") });
    assert!(matches!(in_force, Err(Refused::Conflict(_))));
}

#[test]
fn an_admin_lets_a_waiting_agent_in_and_the_certificate_is_fetched() {
    let mut world = World::new();
    assert_eq!(world.request("web1", "192.0.2.5"), Ok(Granted::Waiting { expires: START + PENDING_LIFE }));
    let n_lines = world.lines.len();
    assert_eq!(world.request("web1", "192.0.2.5"), Ok(Granted::Nothing), "the same request");
    assert_eq!(world.lines.len(), n_lines);
    let not_after = world.at + CERTIFICATE_LIFE;
    let issue = AccessAct::Issue { key: key("web1"), not_after };
    assert_eq!(refusal(world.by(&nobody(), issue.clone())), Refusal::NotAccepted, "nobody said yes");
    world.admin(AccessAct::Approve { key: key("web1"), labels: None }).unwrap();
    let request = world.view().pending_request(&key("web1"), world.at).unwrap();
    assert_eq!((request.state, request.csr_der), (PendingState::Approved, vec![1, 2, 3]));
    world.pass(HOUR);
    assert!(is_identity(&world.by(&nobody(), issue)));
    let bound = world.view().agent_of_key(&key("web1")).unwrap();
    assert_eq!((bound.not_after, bound.labels), (not_after, labels(&[("site", "lab")])));
    assert!(world.view().pending(world.at)[0].approved, "it has not come with it yet");
    world.by(&nobody(), AccessAct::KeyUsed { key: key("web1") }).unwrap();
    assert_eq!(world.view().pending(world.at), [], "it is in");
    world.admin(AccessAct::Sweep).unwrap();
    assert_eq!(world.view().pending(world.at), []);
}

#[test]
fn a_rejected_agent_stays_out_and_a_forgotten_one_asks_again() {
    let mut world = World::new();
    world.request("web1", "192.0.2.5").unwrap();
    world.admin(AccessAct::Reject { key: key("web1") }).unwrap();
    let again = world.admin(AccessAct::Approve { key: key("web1"), labels: None });
    assert!(matches!(again, Err(Refused::Conflict(_))));
    assert_eq!(world.request("web1", "192.0.2.5"), Ok(Granted::Nothing), "it does not wait anew");
    assert_eq!(world.view().pending(world.at), []);
    world.pass(PENDING_LIFE);
    assert!(world.view().pending_request(&key("web1"), world.at).is_none());
    assert!(matches!(world.request("web1", "192.0.2.5"), Ok(Granted::Waiting { .. })));
}

#[test]
fn waiting_agents_have_a_limit_for_each_address_and_for_all() {
    let mut world = World::new();
    for n in 0..PENDING_PER_ADDRESS_MAX {
        world.request(&format!("a{n}"), "192.0.2.5").unwrap();
    }
    assert_eq!(refusal(world.request("one-over", "192.0.2.5")), Refusal::TooMany);
    for n in 0..PENDING_MAX - PENDING_PER_ADDRESS_MAX {
        world.request(&format!("b{n}"), &format!("10.0.{}.{}", n / 40 / 256, n / 40 % 256)).unwrap();
    }
    assert_eq!(world.view().pending(world.at).len(), PENDING_MAX);
    assert_eq!(refusal(world.request("one-over", "192.0.2.99")), Refusal::TooMany);
    world.pass(PENDING_LIFE);
    assert!(matches!(world.request("one-over", "192.0.2.5"), Ok(Granted::Waiting { .. })));
}

#[test]
fn a_certificate_request_has_a_limit() {
    let mut world = World::new();
    for (n_bytes, is_in) in [(CSR_MAX_BYTES, true), (CSR_MAX_BYTES + 1, false)] {
        let request = ApprovalRequest {
            agent: agent("web1"),
            key: key("web1"),
            csr_der: vec![0; n_bytes],
            labels: labels(&[]),
            remote: None,
        };
        assert_eq!(world.by(&nobody(), AccessAct::RequestApproval(request)).is_ok(), is_in);
        world = World::new();
    }
}

#[test]
fn agents_with_an_identity_have_a_limit() {
    let mut world = World::new();
    let mut n = 0;
    for token in 0..AGENTS_MAX.div_ceil(JOIN_TOKEN_USES_MAX as usize) + 1 {
        let id = format!("t{token}");
        world
            .join_token(|new| (new.id, new.secret, new.uses) = (id.clone(), secret(&id), JOIN_TOKEN_USES_MAX))
            .unwrap();
        let not_after = world.at + CERTIFICATE_LIFE;
        let mut events = Vec::new();
        while n < AGENTS_MAX && events.len() < JOIN_TOKEN_USES_MAX as usize {
            let enrolment = signalbox_access::event::Enrolment {
                is_local: false,
                token: id.clone(),
                secret: secret(&id),
                agent: agent(&format!("a{n}")),
                key: key(&n.to_string()),
                labels: labels(&[]),
                remote: None,
                not_after,
            };
            let act = AccessAct::Enrol(enrolment);
            events.push(signalbox_access::AccessEvent { at: world.at, caller: nobody(), act });
            n += 1;
        }
        assert!(world.turn(&events).iter().all(is_identity));
    }
    let over = world.enrol(|enrolment| (enrolment.token, enrolment.secret) = ("t2".to_owned(), secret("t2")));
    assert_eq!(refusal(over), Refusal::TooMany);
}

#[test]
fn a_certificate_cannot_live_longer_than_a_certificate_lives() {
    let mut world = World::new();
    world.join_token(|_| ()).unwrap();
    let at = world.at;
    let long = world.enrol(|enrolment| enrolment.not_after = at + CERTIFICATE_LIFE + Millis(1));
    assert!(matches!(long, Err(Refused::Invalid(_))));
    let over = world.enrol(|enrolment| enrolment.not_after = at);
    assert!(matches!(over, Err(Refused::Invalid(_))));
    assert!(is_identity(&world.enrol(|_| ())), "no use was counted");
}

#[test]
fn only_who_manages_agents_lets_them_in_or_out() {
    let mut world = World::new();
    world.user("ada", Role::ChangeManager);
    let ada = world.login("ada", "s1");
    world.request("web1", "192.0.2.5").unwrap();
    let acts = [
        AccessAct::CreateJoinToken(new_join_token()),
        AccessAct::RevokeJoinToken { id: "t1".to_owned() },
        AccessAct::Approve { key: key("web1"), labels: None },
        AccessAct::Reject { key: key("web1") },
        AccessAct::RevokeAgent { agent: agent("web1"), reason: String::new() },
        AccessAct::ForgetAgent { agent: agent("web1") },
    ];
    for act in acts {
        for caller in [&ada, &nobody()] {
            let before = world.disk.len();
            assert!(matches!(world.by(caller, act.clone()), Err(Refused::Denied(_))), "{act:?}");
            assert_eq!(world.disk.len(), before);
            assert!(world.last().result.starts_with("denied: permission manage_agents"), "{:?}", world.last());
        }
    }
    assert!(world.view().identities().is_empty());
}

#[test]
fn an_ipv6_network_waits_as_one_address_and_rejected_agents_make_room() {
    let mut world = World::new();
    for n in 0..PENDING_PER_ADDRESS_MAX {
        world.request(&format!("a{n}"), &format!("2001:db8::{n:x}")).unwrap();
    }
    assert_eq!(refusal(world.request("one-over", "2001:db8::ffff")), Refusal::TooMany);
    world.admin(AccessAct::Reject { key: key("a0") }).unwrap();
    assert!(matches!(world.request("instead", "2001:db8::ffff"), Ok(Granted::Waiting { .. })));
    let mut world = World::new();
    for n in 0..PENDING_MAX {
        world.request(&format!("b{n}"), &format!("10.0.{}.{}", n / 256, n % 256)).unwrap();
    }
    assert_eq!(refusal(world.request("one-over", "192.0.2.5")), Refusal::TooMany);
    world.admin(AccessAct::Reject { key: key("b7") }).unwrap();
    assert!(matches!(world.request("instead", "192.0.2.5"), Ok(Granted::Waiting { .. })));
}

#[test]
fn who_approves_sees_which_labels_a_waiting_agent_asks_for() {
    let mut world = World::new();
    world.request("web1", "192.0.2.5").unwrap();
    let waiting = world.view().pending(world.at);
    assert_eq!(waiting[0].labels, [("site".to_owned(), "lab".to_owned())].into());
}

#[test]
fn a_name_that_streams_without_a_key_is_taken_over_only_by_a_token_that_names_it() {
    let mut world = World::new();
    world.join_token(|_| ()).unwrap();
    let error = world.enrol(|enrolment| enrolment.is_local = true).unwrap_err();
    assert!(matches!(error, Refused::Join { refusal: Refusal::NameTaken, .. }), "{error:?}");
    assert!(!world.view().is_enrolled(&agent("web1")));
    let named = |new: &mut NewJoinToken| {
        (new.id, new.secret, new.agent) = ("t2".to_owned(), secret("t2"), Some(agent("web1")));
    };
    world.join_token(named).unwrap();
    let by_name = |enrolment: &mut Enrolment| {
        (enrolment.token, enrolment.secret, enrolment.is_local) = ("t2".to_owned(), secret("t2"), true);
    };
    world.enrol(by_name).unwrap();
    assert!(world.view().is_enrolled(&agent("web1")));
}
