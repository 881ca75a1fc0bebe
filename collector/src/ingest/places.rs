//! Who has a place at the agents' door, and who makes room.
//!
//! ```text
//! new connection ─▶ stranger ──handshake with an identity──▶ member
//!                     └ one too many: the oldest stranger is closed
//! ```
//!
//! Strangers (in a handshake, or without an identity) can never take the place of an
//! agent, and cannot keep each other out: an honest agent needs milliseconds, so
//! what is old among strangers is not one.

use super::limits::Limits;
use crate::net::tally::Tally;
use signalbox_access::address::host_of;
use signalbox_proto::join::Fingerprint;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    members_max: usize,
    per_agent_max: usize,
    strangers_max: usize,
    per_address_max: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    n_members: usize,
    next: u64,
    /// The first is the oldest. Dropping what tells it to go tells it.
    strangers: BTreeMap<u64, oneshot::Sender<()>>,
    by_address: Tally<IpAddr>,
    by_key: Tally<Fingerprint>,
}

/// A stranger's place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Stranger {
    places: Arc<Places>,
    no: u64,
    address: IpAddr,
    /// Ready when it must make room.
    pub(super) go: oneshot::Receiver<()>,
}

/// A member's place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Member {
    places: Arc<Places>,
    key: Fingerprint,
}

impl Places {
    pub(super) fn new(limits: &Limits) -> Arc<Places> {
        Arc::new(Places {
            members_max: limits.connections,
            per_agent_max: limits.connections_per_agent,
            strangers_max: limits.strangers,
            per_address_max: limits.strangers_per_address,
            held: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new connection; none when its host has too many.
    pub(super) fn stranger(self: &Arc<Self>, address: IpAddr) -> Option<Stranger> {
        let address = host_of(address);
        let mut held = self.lock();
        if !address.is_loopback() && held.by_address.of(&address) >= self.per_address_max {
            return None;
        }
        if held.strangers.len() >= self.strangers_max && held.strangers.pop_first().is_some() {
            metrics::counter!("signalbox_strangers_closed_total").increment(1);
        }
        let no = held.next;
        held.next += 1;
        let (stay, go) = oneshot::channel();
        held.strangers.insert(no, stay);
        held.by_address.take(address);
        Some(Stranger { places: Arc::clone(self), no, address, go })
    }

    /// A place for the holder of a key; none when all are taken, or too many by it.
    pub(super) fn member(self: &Arc<Self>, key: Fingerprint) -> Option<Member> {
        let mut held = self.lock();
        if held.n_members >= self.members_max || held.by_key.of(&key) >= self.per_agent_max {
            return None;
        }
        held.n_members += 1;
        held.by_key.take(key);
        Some(Member { places: Arc::clone(self), key })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut held = self.places.lock();
        let _gone = held.strangers.remove(&self.no);
        held.by_address.give_back(&self.address);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut held = self.places.lock();
        held.n_members -= 1;
        held.by_key.give_back(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(connections: usize, strangers: usize, strangers_per_address: usize) -> Arc<Places> {
        Places::new(&Limits {
            connections,
            strangers,
            strangers_per_address,
            connections_per_agent: 2,
            ..Limits::default()
        })
    }

    fn key(n: u8) -> Fingerprint {
        Fingerprint([n; 32])
    }

    const NEAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn far(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn one_address_has_so_many_places_and_not_one_more_until_one_is_given_back() {
        let places = places(1, 100, 3);
        let mut held: Vec<Stranger> = (0..3).map(|_| places.stranger(far(1)).unwrap()).collect();
        assert!(places.stranger(far(1)).is_none());
        assert!(places.stranger(far(2)).is_some());
        held.pop();
        assert!(places.stranger(far(1)).is_some());
        let near: Vec<_> = (0..50).map(|_| places.stranger(NEAR).unwrap()).collect();
        drop((held, near));
        let held = places.lock();
        assert!(held.strangers.is_empty() && held.by_address.is_empty());
    }

    #[test]
    fn a_host_with_a_whole_network_of_addresses_is_one_host() {
        let places = places(1, 100, 3);
        let address = |net: u16, n: u16| IpAddr::from([0x2001, 0xdb8, 0, net, 0, 0, 0, n]);
        let held: Vec<Stranger> = (0..3).map(|n| places.stranger(address(1, n)).unwrap()).collect();
        assert!(places.stranger(address(1, 9)).is_none());
        assert!(places.stranger(address(2, 9)).is_some());
        let near: Vec<_> =
            (0..9).map(|_| places.stranger(IpAddr::from(std::net::Ipv6Addr::LOCALHOST)).unwrap()).collect();
        drop((held, near));
        assert!(places.lock().by_address.is_empty());
    }

    #[test]
    fn the_oldest_stranger_makes_room_and_no_other() {
        let places = places(1, 2, 64);
        let mut first = places.stranger(NEAR).unwrap();
        let mut second = places.stranger(NEAR).unwrap();
        assert!(first.go.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        let mut third = places.stranger(NEAR).unwrap();
        assert_eq!(first.go.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        for stays in [&mut second, &mut third] {
            assert_eq!(stays.go.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        }
        assert_eq!(places.lock().by_address.of(&NEAR), 3, "it counts until it is gone");
        drop(first);
        assert_eq!(places.lock().by_address.of(&NEAR), 2);
    }

    #[test]
    fn strangers_take_no_place_of_a_member() {
        let places = places(2, 2, 64);
        let _strangers: Vec<_> = (0..9).map(|_| places.stranger(NEAR).unwrap()).collect();
        let members: Vec<_> = (0..2).map(|n| places.member(key(n)).unwrap()).collect();
        assert!(places.member(key(2)).is_none());
        drop(members);
        assert!(places.member(key(2)).is_some());
    }

    #[test]
    fn one_agent_has_so_many_connections_and_not_one_more() {
        let places = places(100, 2, 64);
        let mut own: Vec<_> = (0..2).map(|_| places.member(key(1)).unwrap()).collect();
        assert!(places.member(key(1)).is_none());
        assert!(places.member(key(2)).is_some());
        own.pop();
        assert!(places.member(key(1)).is_some());
        drop(own);
        assert!(places.lock().by_key.is_empty());
    }
}
