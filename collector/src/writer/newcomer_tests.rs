//! One identity, two streams: who keeps the place, and who hears of it.

use super::inbox::{Marks, Message};
use super::newcomer::SILENT;
use super::stream::{Fault, StreamOut};
use super::tests::{Rig, TestAgent, connected};
use signalbox_proto::units::UnixMillis;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;

type Answer = Receiver<Result<Marks, String>>;

/// Another agent with the identity and boot id of the first, at an address.
fn copy(address: [u8; 4]) -> TestAgent {
    let mut copy = TestAgent::new("web1");
    copy.address = Some(IpAddr::from(address));
    copy
}

fn says_hello(rig: &mut Rig, agent: &mut TestAgent) -> Answer {
    let (hello, answer) = agent.hello(rig.at);
    rig.turn(vec![hello]);
    answer
}

fn heartbeat(stream: &Arc<StreamOut>, wall: UnixMillis) -> Message {
    Message::Heartbeat { stream: Arc::clone(stream), wall, n_backlog: 0 }
}

fn beats(rig: &mut Rig, agent: &TestAgent) {
    let message = heartbeat(&agent.stream, rig.at);
    rig.turn(vec![message]);
}

fn n_incidents(rig: &Rig) -> usize {
    rig.board().incidents.iter().filter(|one| one.rule == "identity-twice").count()
}

fn is_refused(answer: &mut Answer) -> bool {
    matches!(answer.try_recv(), Ok(Err(why)) if why.contains("in use by another machine"))
}

#[test]
fn a_copy_with_the_same_boot_id_is_refused_once_the_first_one_speaks() {
    let (mut rig, mut first) = connected();
    let mut copy = copy([192, 0, 2, 8]);
    for n in 0..8 {
        rig.pass(2_000);
        beats(&mut rig, &first);
        rig.pass(1_000);
        let mut answer = says_hello(&mut rig, &mut copy);
        assert_eq!(answer.try_recv(), Err(TryRecvError::Empty), "it may be the first one, from another network");
        rig.pass(500);
        beats(&mut rig, &first);
        assert_eq!(answer.try_recv(), Err(TryRecvError::Empty), "that may have been under way");
        rig.pass(9_000);
        let message = first.message(rig.at, &[1.0]);
        rig.turn(vec![message]);
        assert!(is_refused(&mut answer), "{n}");
        assert_eq!(first.stream.take().fault, None, "the first one streams on");
        assert_eq!(n_incidents(&rig), usize::from(n >= 3), "once it lasts over half a minute: {n}");
    }
}

#[test]
fn two_agents_on_one_machine_end_in_one_incident_and_take_no_turns() {
    let (mut rig, mut first) = connected();
    let mut second = TestAgent::new("web1");
    assert!(says_hello(&mut rig, &mut second).try_recv().unwrap().is_ok(), "it may be the first one, back again");
    assert_eq!(first.stream.take().fault, Some(Fault::Replaced));
    for _ in 0..50 {
        rig.pass(1_000);
        let mut answer = says_hello(&mut rig, &mut first);
        rig.pass(1_000);
        beats(&mut rig, &second);
        assert!(is_refused(&mut answer));
    }
    assert_eq!((second.stream.take().fault, n_incidents(&rig)), (None, 1));
}

#[test]
fn a_host_that_comes_back_from_its_own_address_is_let_in_at_once() {
    let (mut rig, mut agent) = connected();
    for _ in 0..3 {
        rig.pass(61_000);
        beats(&mut rig, &agent);
        let old = Arc::clone(&agent.stream);
        assert!(says_hello(&mut rig, &mut agent).try_recv().unwrap().is_ok());
        assert_eq!(old.take().fault, Some(Fault::Replaced));
    }
    assert_eq!(n_incidents(&rig), 0);
}

#[test]
fn a_host_that_changed_its_network_is_let_in_when_its_old_stream_is_silent_or_ends() {
    let (mut rig, agent) = connected();
    let mut moved = copy([192, 0, 2, 8]);
    let mut answer = says_hello(&mut rig, &mut moved);
    rig.pass(i64::try_from(SILENT.0).unwrap() - 1);
    rig.turn(Vec::new());
    assert_eq!(answer.try_recv(), Err(TryRecvError::Empty));
    rig.pass(1);
    rig.turn(Vec::new());
    assert_eq!(answer.try_recv().unwrap(), Ok(vec![(1, 0)]));
    assert_eq!(agent.stream.take().fault, Some(Fault::Replaced));
    let mut again = copy([192, 0, 2, 9]);
    let mut answer = says_hello(&mut rig, &mut again);
    assert_eq!(answer.try_recv(), Err(TryRecvError::Empty));
    rig.turn(vec![Message::Disconnected { stream: Arc::clone(&moved.stream), goodbye: None }]);
    assert_eq!(answer.try_recv().unwrap(), Ok(vec![(1, 0)]), "nobody has the place any more");
    assert_eq!((rig.shared.problems(), n_incidents(&rig)), (Vec::new(), 0));
}

#[test]
fn of_those_that_wait_the_newest_stays() {
    let (mut rig, agent) = connected();
    let (mut one, mut two) = (copy([192, 0, 2, 8]), copy([192, 0, 2, 8]));
    let mut first = says_hello(&mut rig, &mut one);
    rig.pass(900);
    let mut second = says_hello(&mut rig, &mut two);
    assert!(first.try_recv().unwrap().unwrap_err().contains("a newer stream waits"));
    rig.pass(200);
    beats(&mut rig, &agent);
    assert!(is_refused(&mut second), "to knock again does not begin its time again");
}

#[test]
fn a_pause_of_the_collector_is_no_silence_of_the_first_one() {
    let (mut rig, agent) = connected();
    rig.pass(60_000);
    rig.turn_of(Vec::new(), true);
    let mut answer = says_hello(&mut rig, &mut copy([192, 0, 2, 8]));
    rig.pass(2_000);
    beats(&mut rig, &agent);
    assert!(is_refused(&mut answer));
}
