//! Users, sessions, links, tokens of services and of people's tools.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use signalbox_access::event::{Grant, NewUserToken};
use signalbox_access::limits::{
    API_TOKEN_LIFE_MAX, API_TOKENS_MAX, API_TOKENS_PER_USER_MAX, LOGIN_LINK_LIFE, LOGIN_LINKS_MAX, NAME_MAX_BYTES,
    SESSION_IDLE, SESSION_LIFE, SESSIONS_PER_USER_MAX, TOUCH_EVERY, USERS_MAX,
};
use signalbox_access::{
    AccessAct, Caller, Granted, Object, Permission, PermissionSet, Principal, PrincipalKind, Refused, Role, Scope,
    authorize,
};
use signalbox_proto::units::Millis;
use support::*;

fn user_token(world: &World, id: &str) -> NewUserToken {
    assert!(world.view().credential("ada").is_some());
    NewUserToken {
        user: "ada".to_owned(),
        verified: password("ada"),
        id: id.to_owned(),
        secret: secret(id),
        purpose: "laptop".to_owned(),
        life: DAY,
    }
}

#[test]
fn the_first_start_gives_one_link_to_an_admin_who_then_sets_a_password() {
    let mut world = World::new();
    let system = Caller::system();
    assert!(!world.view().has_admin());
    world.by(&system, AccessAct::FirstLink { secret: secret("l0") }).unwrap();
    world.by(&system, AccessAct::FirstLink { secret: secret("l1") }).unwrap();
    let link = |name: &str| AccessAct::UseLoginLink { secret: secret(name), session: secret("s1") };
    assert!(matches!(world.by(&nobody(), link("l0")), Err(Refused::Login(_))), "only the newest counts");
    let Ok(Granted::Session { user, role, must_set_password, .. }) = world.by(&nobody(), link("l1")) else { panic!() };
    assert_eq!((user.as_str(), role, must_set_password), ("admin", Role::Admin, true));
    assert!(matches!(world.by(&nobody(), link("l1")), Err(Refused::Login(_))), "once");
    let standing = world.view().session(&secret("s1"), world.at).unwrap();
    assert!(standing.must_set_password);
    let admin = Caller::new(standing.principal, "192.0.2.1");
    let set = AccessAct::SetPassword { user: "admin".to_owned(), hash: password("new"), verified: None };
    world.by(&admin, set).unwrap();
    assert!(world.view().has_admin());
    let again = world.by(&system, AccessAct::FirstLink { secret: secret("l2") });
    assert!(matches!(again, Err(Refused::Conflict(_))), "the first start is over");
}

#[test]
fn nobody_but_the_collector_and_admins_makes_a_first_link() {
    let mut world = World::new();
    let first = AccessAct::FirstLink { secret: secret("l") };
    assert!(matches!(world.by(&nobody(), first.clone()), Err(Refused::Denied(_))));
    world.user("ada", Role::ChangeManager);
    let ada = world.login("ada", "s");
    assert!(matches!(world.by(&ada, first), Err(Refused::Denied(_))));
}

#[test]
fn a_link_ends_to_the_millisecond() {
    for (span, is_in) in [(Millis(LOGIN_LINK_LIFE.0 - 1), true), (LOGIN_LINK_LIFE, false)] {
        let mut world = World::new();
        world.user("ada", Role::Viewer);
        world.admin(AccessAct::CreateLoginLink { secret: secret("l"), user: "ada".to_owned() }).unwrap();
        world.pass(span);
        let answer = world.by(&nobody(), AccessAct::UseLoginLink { secret: secret("l"), session: secret("s") });
        assert_eq!(answer.is_ok(), is_in);
    }
}

#[test]
fn links_have_a_limit_and_those_that_are_over_make_room() {
    let mut world = World::new();
    world.user("ada", Role::Viewer);
    let make = |world: &mut World, n: usize| {
        world.admin(AccessAct::CreateLoginLink { secret: secret(&n.to_string()), user: "ada".to_owned() })
    };
    for n in 0..LOGIN_LINKS_MAX {
        make(&mut world, n).unwrap();
    }
    assert!(matches!(make(&mut world, LOGIN_LINKS_MAX), Err(Refused::Limit(_))));
    world.pass(LOGIN_LINK_LIFE);
    make(&mut world, LOGIN_LINKS_MAX).unwrap();
}

#[test]
fn a_session_ends_when_it_is_idle_or_old() {
    let mut world = World::new();
    world.user("ada", Role::Viewer);
    world.login("ada", "s");
    let stands = |world: &World| world.view().principal_of_session(&secret("s"), world.at).is_some();
    world.pass(Millis(SESSION_IDLE.0 - 1));
    assert!(stands(&world));
    world.pass(Millis(1));
    assert!(!stands(&world), "idle");
    let mut world = World::new();
    world.user("ada", Role::Viewer);
    world.login("ada", "s");
    let begun = world.at;
    while world.at + Millis::from_mins(29) < begun + SESSION_LIFE {
        world.pass(Millis::from_mins(29));
        assert!(stands(&world));
        world.by(&nobody(), AccessAct::TouchSession { session: secret("s") }).unwrap();
    }
    world.at = begun + SESSION_LIFE;
    assert!(!stands(&world), "12 hours, however much it is used");
}

#[test]
fn a_session_that_is_over_is_not_brought_back_by_its_use() {
    let mut world = World::new();
    world.user("ada", Role::Viewer);
    world.login("ada", "s");
    world.pass(SESSION_IDLE);
    world.by(&nobody(), AccessAct::TouchSession { session: secret("s") }).unwrap();
    assert!(world.view().principal_of_session(&secret("s"), world.at).is_none());
}

#[test]
fn use_of_a_session_is_written_down_once_a_minute_and_never_in_the_audit() {
    let mut world = World::new();
    world.user("ada", Role::Viewer);
    world.login("ada", "s");
    let (n_lines, mut n_rows) = (world.lines.len(), 0);
    for _ in 0..180 {
        world.pass(Millis::from_secs(1));
        let touch = AccessAct::TouchSession { session: secret("s") };
        let event = signalbox_access::AccessEvent { at: world.at, caller: nobody(), act: touch };
        let must_touch = world.view().session(&secret("s"), world.at).unwrap().must_touch;
        let decision = world.access.decide(std::slice::from_ref(&event));
        assert_eq!(!decision.is_empty(), must_touch);
        n_rows += decision.rows().len();
        world.turn(&[event]);
    }
    assert_eq!((n_rows, world.lines.len()), (3, n_lines));
    assert_eq!(TOUCH_EVERY, Millis::from_secs(60));
}

#[test]
fn the_oldest_session_of_a_user_goes_for_one_too_many() {
    let mut world = World::new();
    world.user("ada", Role::Viewer);
    for n in 0..=SESSIONS_PER_USER_MAX {
        world.pass(Millis(1));
        world.login("ada", &n.to_string());
    }
    let stands = |n: usize| world.view().principal_of_session(&secret(&n.to_string()), world.at).is_some();
    assert!(!stands(0));
    assert_eq!((1..=SESSIONS_PER_USER_MAX).filter(|n| stands(*n)).count(), SESSIONS_PER_USER_MAX);
}

#[test]
fn a_login_with_a_password_that_has_just_changed_is_refused() {
    let mut world = World::new();
    world.user("ada", Role::Viewer);
    let login = |verified: &str| AccessAct::Login {
        user: "ada".to_owned(),
        verified: password(verified),
        session: secret("s"),
    };
    assert!(matches!(world.by(&nobody(), login("old")), Err(Refused::Login(_))));
    world.by(&nobody(), login("ada")).unwrap();
    let unknown = AccessAct::Login { user: "bob".to_owned(), verified: password("x"), session: secret("t") };
    assert!(matches!(world.by(&nobody(), unknown), Err(Refused::Login(_))));
}

#[test]
fn a_disabled_user_is_out_at_once_and_everywhere() {
    let mut world = World::new();
    world.user("ada", Role::Operator);
    world.login("ada", "s");
    world.by(&nobody(), AccessAct::LoginToken(user_token(&world, "a7"))).unwrap();
    world.admin(AccessAct::CreateLoginLink { secret: secret("l"), user: "ada".to_owned() }).unwrap();
    world.admin(AccessAct::DisableUser { user: "ada".to_owned() }).unwrap();
    let view = world.view();
    assert!(view.principal_of_session(&secret("s"), world.at).is_none());
    assert!(view.principal_of_token(&secret("a7"), world.at).is_none());
    let link = AccessAct::UseLoginLink { secret: secret("l"), session: secret("s2") };
    assert!(matches!(world.by(&nobody(), link), Err(Refused::Login(_))));
    let login = AccessAct::Login { user: "ada".to_owned(), verified: password("ada"), session: secret("s3") };
    assert!(matches!(world.by(&nobody(), login.clone()), Err(Refused::Login(_))));
    world.admin(AccessAct::EnableUser { user: "ada".to_owned() }).unwrap();
    assert!(world.view().principal_of_token(&secret("a7"), world.at).is_none(), "what was ended stays ended");
    world.by(&nobody(), login).unwrap();
}

#[test]
fn another_role_ends_the_sessions_that_began_under_the_old_one() {
    let mut world = World::new();
    world.user("other", Role::Admin);
    world.user("ada", Role::Admin);
    world.login("ada", "s");
    world.by(&nobody(), AccessAct::LoginToken(user_token(&world, "a7"))).unwrap();
    world.admin(AccessAct::SetRole { user: "ada".to_owned(), role: Role::Viewer, scope: None }).unwrap();
    assert!(world.view().principal_of_session(&secret("s"), world.at).is_none());
    let tool = world.view().principal_of_token(&secret("a7"), world.at).unwrap();
    assert_eq!(tool.role, Some(Role::Viewer), "a tool may what its user may");
    assert_eq!((world.last().before.as_str(), world.last().after.as_str()), ("admin, scope all", "viewer, scope all"));
}

#[test]
fn ones_own_password_needs_the_old_one_and_ends_the_other_sessions() {
    let mut world = World::new();
    world.user("ada", Role::Viewer);
    let ada = world.login("ada", "s1");
    world.login("ada", "s2");
    let set = |verified| AccessAct::SetPassword { user: "ada".to_owned(), hash: password("new"), verified };
    assert!(matches!(world.by(&ada, set(None)), Err(Refused::Login(_))));
    assert!(matches!(world.by(&ada, set(Some(password("wrong")))), Err(Refused::Login(_))));
    world.by(&ada, set(Some(password("ada")))).unwrap();
    assert!(world.view().principal_of_session(&secret("s1"), world.at).is_some());
    assert!(world.view().principal_of_session(&secret("s2"), world.at).is_none());
    let other = AccessAct::SetPassword { user: "bob".to_owned(), hash: password("new"), verified: None };
    assert!(matches!(world.by(&ada, other), Err(Refused::Denied(_))));
}

#[test]
fn a_password_comes_as_a_hash_and_nothing_else() {
    let mut world = World::new();
    world.user("ada", Role::Viewer);
    for text in ["hunter2", "$argon2i$v=19$x", &format!("$argon2id${}", "x".repeat(300))] {
        let hash = signalbox_access::event::PasswordHash(text.to_owned());
        let act = AccessAct::SetPassword { user: "ada".to_owned(), hash, verified: None };
        assert!(matches!(world.admin(act), Err(Refused::Invalid(_))), "{text}");
    }
}

#[test]
fn names_of_users_are_checked_and_users_have_a_limit() {
    let mut world = World::new();
    let make = |world: &mut World, name: &str| {
        world.admin(AccessAct::CreateUser { name: name.to_owned(), role: Role::Viewer, scope: Scope::All })
    };
    for bad in ["", "a b", "a:b", "local:root", "ü", "a\n", &"x".repeat(NAME_MAX_BYTES + 1)] {
        assert!(matches!(make(&mut world, bad), Err(Refused::Invalid(_))), "{bad:?}");
    }
    make(&mut world, &"x".repeat(NAME_MAX_BYTES)).unwrap();
    assert!(matches!(make(&mut world, &"x".repeat(NAME_MAX_BYTES)), Err(Refused::Conflict(_))));
    for n in 1..USERS_MAX {
        make(&mut world, &format!("u{n}")).unwrap();
    }
    assert!(matches!(make(&mut world, "one-over"), Err(Refused::Limit(_))));
}

#[test]
fn a_token_of_a_service_may_what_it_was_given_and_never_what_is_for_people() {
    let mut world = World::new();
    world.api_token(|new| new.grant = Grant::Role(Role::Admin)).unwrap();
    let principal = world.view().principal_of_token(&secret("a1"), world.at).unwrap();
    assert_eq!((principal.name.as_str(), principal.kind), ("token:deploy", PrincipalKind::ApiToken));
    assert!(principal.permissions.contains(Permission::ManageAgents));
    assert!(!principal.permissions.contains(Permission::ManageUsers));
    let set: PermissionSet = [Permission::ManageUsers].into_iter().collect();
    let people =
        world.api_token(|new| (new.id, new.secret, new.grant) = ("a2".into(), secret("a2"), Grant::Permissions(set)));
    assert!(matches!(people, Err(Refused::Invalid(_))));
    let nothing = world.api_token(|new| new.grant = Grant::Permissions(PermissionSet::NONE));
    assert!(matches!(nothing, Err(Refused::Invalid(_))));
    let set: PermissionSet = [Permission::ReadMetrics].into_iter().collect();
    world
        .api_token(|new| (new.id, new.secret, new.grant) = ("a3".into(), secret("a3"), Grant::Permissions(set)))
        .unwrap();
    let principal = world.view().principal_of_token(&secret("a3"), world.at).unwrap();
    assert_eq!((principal.role, principal.permissions), (None, set));
}

#[test]
fn an_api_token_ends_when_its_time_is_over_or_it_is_revoked() {
    let mut world = World::new();
    let long = world.api_token(|new| new.life = Millis(API_TOKEN_LIFE_MAX.0 + 1));
    assert!(matches!(long, Err(Refused::Invalid(_))));
    world.api_token(|new| new.life = API_TOKEN_LIFE_MAX).unwrap();
    let counts = |world: &World, id: &str| world.view().principal_of_token(&secret(id), world.at).is_some();
    world.pass(Millis(API_TOKEN_LIFE_MAX.0 - 1));
    assert!(counts(&world, "a1"));
    world.pass(Millis(1));
    assert!(!counts(&world, "a1"));
    world.api_token(|new| (new.id, new.secret) = ("a2".into(), secret("a2"))).unwrap();
    world.admin(AccessAct::RevokeApiToken { id: "a2".to_owned() }).unwrap();
    assert!(!counts(&world, "a2"));
    assert!(!counts(&world, "unknown"));
}

#[test]
fn api_tokens_have_a_limit_for_all_and_for_the_tools_of_one_user() {
    let mut world = World::new();
    world.user("ada", Role::Viewer);
    let tool = |world: &mut World, n: usize| {
        let new = user_token(world, &format!("u{n}"));
        world.by(&nobody(), AccessAct::LoginToken(new))
    };
    for n in 0..API_TOKENS_PER_USER_MAX {
        tool(&mut world, n).unwrap();
    }
    assert!(matches!(tool(&mut world, API_TOKENS_PER_USER_MAX), Err(Refused::Limit(_))));
    let service = |world: &mut World, n: usize| {
        world.api_token(|new| (new.id, new.secret, new.life) = (format!("a{n}"), secret(&format!("a{n}")), HOUR))
    };
    for n in API_TOKENS_PER_USER_MAX..API_TOKENS_MAX {
        service(&mut world, n).unwrap();
    }
    assert!(matches!(service(&mut world, API_TOKENS_MAX), Err(Refused::Limit(_))));
    world.pass(HOUR);
    service(&mut world, API_TOKENS_MAX).unwrap();
}

#[test]
fn everybody_revokes_their_own_tokens_and_only_admins_those_of_others() {
    let mut world = World::new();
    world.user("ada", Role::Viewer);
    world.user("bob", Role::ChangeManager);
    world.by(&nobody(), AccessAct::LoginToken(user_token(&world, "a7"))).unwrap();
    world.api_token(|_| ()).unwrap();
    let (ada, bob) = (world.login("ada", "s1"), world.login("bob", "s2"));
    let revoke = |id: &str| AccessAct::RevokeApiToken { id: id.to_owned() };
    assert!(matches!(world.by(&bob, revoke("a7")), Err(Refused::Denied(_))));
    assert!(matches!(world.by(&ada, revoke("a1")), Err(Refused::Denied(_))));
    assert!(matches!(world.by(&ada, revoke("none")), Err(Refused::Denied(_))), "not even whether it exists");
    world.by(&ada, revoke("a7")).unwrap();
    assert!(matches!(world.admin(revoke("a7")), Err(Refused::Conflict(_))));
}

#[test]
fn only_admins_manage_users() {
    let mut world = World::new();
    world.user("ada", Role::ChangeManager);
    let ada = world.login("ada", "s1");
    let user = || "ada".to_owned();
    let acts = [
        AccessAct::CreateUser { name: "eve".to_owned(), role: Role::Admin, scope: Scope::All },
        AccessAct::SetRole { user: user(), role: Role::Admin, scope: None },
        AccessAct::DisableUser { user: user() },
        AccessAct::EnableUser { user: user() },
        AccessAct::CreateLoginLink { secret: secret("l"), user: user() },
        AccessAct::EndSessions { user: user() },
    ];
    for act in acts {
        for caller in [&ada, &nobody()] {
            let rows = world.disk.clone();
            assert!(matches!(world.by(caller, act.clone()), Err(Refused::Denied(_))), "{act:?}");
            let head = |disk: &Disk| {
                let mut disk = disk.clone();
                disk.retain(|(table, _), _| *table != signalbox_access::rows::Table::Head);
                disk
            };
            assert_eq!(head(&world.disk), head(&rows), "only the record grew");
            assert_eq!(world.last().act, act.word());
        }
    }
}

fn scoped(role: Role, selectors: &[&str]) -> Principal {
    let selectors: Vec<String> = selectors.iter().map(|text| (*text).to_owned()).collect();
    Principal { scope: Scope::parse(&selectors).unwrap(), ..Principal::local("x", role) }
}

#[test]
fn authorize_asks_for_the_permission_and_then_for_the_scope() {
    let pay = scoped(Role::Operator, &[r#"{owner="pay"}"#, r#"{host=~"db.*"}"#]);
    let object = |pairs: &[(&str, &str)]| Object::new(pairs.iter().copied());
    let may = |permission, pairs: &[(&str, &str)]| authorize(&pay, permission, Some(&object(pairs))).is_ok();
    assert!(may(Permission::ActIncidents, &[("owner", "pay"), ("host", "web1")]));
    assert!(may(Permission::ReadStatus, &[("host", "db7")]));
    assert!(!may(Permission::ActIncidents, &[("owner", "unix"), ("host", "web1")]));
    assert!(!may(Permission::ReadStatus, &[]), "an object without labels is in no scope");
    assert!(!may(Permission::ReloadConfig, &[("owner", "pay")]), "an operator may not");
    assert!(authorize(&pay, Permission::ReadStatus, None).is_ok(), "its answer is filtered");
    assert!(authorize(&pay, Permission::ActIncidents, None).is_err(), "an act names its object");
    let admin = scoped(Role::Admin, &[r#"{owner="pay"}"#]);
    for permission in
        [Permission::ManageUsers, Permission::ManageAgents, Permission::ReadAudit, Permission::ReloadConfig]
    {
        assert!(authorize(&admin, permission, None).is_err(), "{permission} is about all");
        assert!(authorize(&Principal::local("root", Role::Admin), permission, None).is_ok());
    }
}

#[test]
fn every_permission_is_denied_to_nobody_and_to_agents() {
    for permission in Permission::ALL {
        for principal in [Principal::nobody(), Principal::agent(&agent("web1"))] {
            assert!(authorize(&principal, permission, None).is_err(), "{permission}");
            assert!(authorize(&principal, permission, Some(&Object::new([("host", "web1")]))).is_err());
        }
        for role in Role::ALL {
            let may = authorize(&Principal::local("x", role), permission, None).is_ok();
            assert_eq!(may, role >= permission.least_role(), "{role} {permission}");
        }
    }
}

#[test]
fn scopes_survive_a_restart_and_a_fault_in_one_names_the_remedy() {
    let mut world = World::new();
    let scope = Scope::parse(&[r#"{owner="pay"}"#.to_owned()]).unwrap();
    world.admin(AccessAct::CreateUser { name: "ada".to_owned(), role: Role::Operator, scope }).unwrap();
    world.restart();
    assert_eq!(world.view().users(world.at)[0].scope, [r#"{owner="pay"}"#]);
    let fault = Scope::parse(&["owner=pay".to_owned()]).unwrap_err();
    assert!(fault.contains(r#"write for example {owner="payments"}"#), "{fault}");
    assert!(Scope::parse(&vec![r#"{a="b"}"#.to_owned(); 64]).is_ok());
    assert!(Scope::parse(&vec![r#"{a="b"}"#.to_owned(); 65]).is_err());
}

#[test]
fn a_new_password_ends_the_tokens_that_the_old_one_made() {
    let mut world = World::new();
    world.user("ada", Role::Viewer);
    world.by(&nobody(), AccessAct::LoginToken(user_token(&world, "t1"))).unwrap();
    assert!(world.view().principal_of_token(&secret("t1"), world.at).is_some());
    let ada = world.login("ada", "s1");
    let set = AccessAct::SetPassword { user: "ada".to_owned(), hash: password("new"), verified: Some(password("ada")) };
    world.by(&ada, set).unwrap();
    assert!(world.view().principal_of_token(&secret("t1"), world.at).is_none(), "a thief may have made it");
    assert!(world.last().after.contains("1 tokens ended"), "{}", world.last().after);
}

#[test]
fn a_login_link_stands_for_the_old_password_only_just_after_it_was_used() {
    for (span, is_in) in [(Millis(LOGIN_LINK_LIFE.0 - 1), true), (LOGIN_LINK_LIFE, false)] {
        let mut world = World::new();
        world.user("ada", Role::Viewer);
        world.admin(AccessAct::CreateLoginLink { secret: secret("l"), user: "ada".to_owned() }).unwrap();
        world.by(&nobody(), AccessAct::UseLoginLink { secret: secret("l"), session: secret("s") }).unwrap();
        let ada = Caller::new(world.view().principal_of_session(&secret("s"), world.at).unwrap(), "192.0.2.1");
        world.pass(span);
        let set = AccessAct::SetPassword { user: "ada".to_owned(), hash: password("new"), verified: None };
        assert_eq!(world.by(&ada, set).is_ok(), is_in);
    }
}

#[test]
fn a_request_that_began_before_its_user_lost_the_right_is_refused() {
    let make = || AccessAct::CreateUser { name: "mallory".to_owned(), role: Role::Admin, scope: Scope::All };
    let lost: [AccessAct; 3] = [
        AccessAct::DisableUser { user: "ada".to_owned() },
        AccessAct::SetRole { user: "ada".to_owned(), role: Role::Operator, scope: None },
        AccessAct::SetRole {
            user: "ada".to_owned(),
            role: Role::Admin,
            scope: Some(Scope::parse(&["{owner=\"dba\"}".to_owned()]).unwrap()),
        },
    ];
    for act in lost {
        let mut world = World::new();
        world.user("other", Role::Admin);
        world.user("ada", Role::Admin);
        let ada = world.login("ada", "s1");
        world.admin(act).unwrap();
        assert!(matches!(world.by(&ada, make()), Err(Refused::Denied(_))), "a body may come late");
        assert!(world.view().credential("mallory").is_none());
        assert!(world.last().result.starts_with("denied"), "{}", world.last().result);
    }
}

#[test]
fn the_last_admin_stays_one() {
    let mut world = World::new();
    world.user("ada", Role::Admin);
    let role = |role| AccessAct::SetRole { user: "ada".to_owned(), role, scope: None };
    let disable = || AccessAct::DisableUser { user: "ada".to_owned() };
    for act in [role(Role::Viewer), disable()] {
        let error = world.admin(act).unwrap_err();
        assert!(error.to_string().contains("the last admin: make another one first"), "{error}");
    }
    world.user("bob", Role::Admin);
    world.admin(disable()).unwrap();
}
