//! What ends by itself, whatever the clock does, and what ends with its maker.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use signalbox_access::event::{Grant, NewApiToken, NewJoinToken, Record};
use signalbox_access::{AccessAct, Caller, Role, Scope};
use signalbox_proto::units::UnixMillis;
use support::*;

fn service_token(id: &str) -> NewApiToken {
    NewApiToken {
        id: id.to_owned(),
        secret: secret(id),
        name: "tool".to_owned(),
        grant: Grant::Role(Role::Viewer),
        scope: Scope::All,
        life: HOUR,
    }
}

#[test]
fn a_clock_that_is_set_back_makes_no_session_and_no_token_live_longer() {
    let mut world = World::new();
    world.user("ada", Role::Operator);
    let login = AccessAct::Login { user: "ada".to_owned(), verified: password("ada"), session: secret("s") };
    world.by(&nobody(), login).unwrap();
    world.admin(AccessAct::CreateApiToken(service_token("t"))).unwrap();
    world.pass(HOUR);
    world.by(&Caller::system(), AccessAct::Record(Record::default())).unwrap();
    let end = world.at;
    let both = |world: &World, now: UnixMillis| {
        let view = world.view();
        (view.session(&secret("s"), now).is_some(), view.principal_of_token(&secret("t"), now).is_some())
    };
    for back in [HOUR, DAY.times(6)] {
        world.at = UnixMillis(end.0 - i64::try_from(back.0).unwrap());
        assert_eq!(both(&world, world.at), (false, false), "in this life: {back}");
        world.restart();
        world.access.begin(world.at);
        assert_eq!(both(&world, world.at), (false, false), "and in the next: {back}");
    }
    // What begins now lives as long as it should, whatever the clock says.
    let login = AccessAct::Login { user: "ada".to_owned(), verified: password("ada"), session: secret("u") };
    world.by(&nobody(), login).unwrap();
    assert!(world.view().session(&secret("u"), world.at).is_some());
    assert!(world.view().session(&secret("u"), end + HOUR).is_none());
}

#[test]
fn a_clock_that_was_far_ahead_once_shuts_nobody_out_for_good() {
    let mut world = World::new();
    world.user("ada", Role::Operator);
    let login = |session| AccessAct::Login { user: "ada".to_owned(), verified: password("ada"), session };
    let right = world.at;
    world.pass(DAY.times(3650));
    world.by(&nobody(), login(secret("wrong"))).unwrap();
    world.at = right;
    world.restart();
    world.access.begin(world.at);
    assert!(world.view().session(&secret("wrong"), world.at).is_none(), "it was begun in a future that is none");
    world.by(&nobody(), login(secret("right"))).unwrap();
    assert!(world.view().session(&secret("right"), world.at).is_some());
}

#[test]
fn what_a_user_made_for_services_and_hosts_ends_when_the_user_is_disabled() {
    let mut world = World::new();
    world.user("ada", Role::Admin);
    world.user("bob", Role::Admin);
    for user in ["ada", "bob"] {
        let caller = world.login(user, user);
        world.by(&caller, AccessAct::CreateApiToken(service_token(user))).unwrap();
        let new = NewJoinToken { id: user.to_owned(), secret: secret(user), ..new_join_token() };
        world.by(&caller, AccessAct::CreateJoinToken(new)).unwrap();
    }
    world.admin(AccessAct::DisableUser { user: "ada".to_owned() }).unwrap();
    let view = world.view();
    let counts = |user| view.principal_of_token(&secret(user), world.at).is_some();
    assert_eq!((counts("ada"), counts("bob")), (false, true));
    let is_over = |id| view.join_tokens().iter().any(|token| token.id == id && token.revoked);
    assert_eq!((is_over("ada"), is_over("bob")), (true, false));
    assert!(world.last().after.contains("2 that they made for services and hosts"), "{}", world.last().after);
    world.admin(AccessAct::EnableUser { user: "ada".to_owned() }).unwrap();
    assert!(world.view().principal_of_token(&secret("ada"), world.at).is_none(), "and does not come back");
}
