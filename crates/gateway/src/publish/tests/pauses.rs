//! Listeners while there is no descriptor, memory or place for a client.

use super::*;
use crate::backend::fake::FakeBackend;
use crate::poll::Event;

/// What one of the two listeners finds, each time that it is reported.
fn finds(lab: &mut Lab, slot: u32, found: &[Result<SocketAddr, i32>]) {
    lab.gateway.tcp.backend_mut().accepts.borrow_mut().extend(found);
    let generation = lab.gateway.publishing.slots[slot as usize].generation;
    let token = Token::new(Kind::PublishTcp, generation, slot);
    let event = Event { token: 0, readable: true, writable: false, hangup: false, urgent: false };
    lab.gateway.host_ready(lab.now, &mut lab.pool, &*lab.room, token, &event);
}

fn are_paused(lab: &Lab) -> Vec<bool> {
    let of = |slot: &Slot<FakeBackend>| match &slot.listener {
        Some(Listener { socket: Listening::Tcp(listener), .. }) => Some(listener.is_paused.get()),
        _ => None,
    };
    lab.gateway.publishing.slots.iter().filter_map(of).collect()
}

#[test]
fn without_descriptors_or_memory_a_listener_rests_for_a_moment() {
    // EMFILE, ENFILE, ENOMEM, ENOBUFS.
    let causes = [
        (24, Reason::OutOfDescriptors),
        (23, Reason::OutOfDescriptors),
        (12, Reason::SocketFailed),
        (105, Reason::SocketFailed),
    ];
    for (family, (errno, reason)) in BOTH.into_iter().flat_map(|it| causes.map(|cause| (it, cause)))
    {
        let mut lab = Lab::new(plan());
        lab.gateway.publish(spec(Protocol::Tcp, 5000)).unwrap();
        let slot = socket(family);
        let rests: Vec<bool> = BOTH.iter().map(|it| it.v6 == family.v6).collect();
        assert_eq!((are_paused(&lab), lab.gateway.next_deadline()), (vec![false; 2], None));
        // Its guest is not here, so that a client is counted and sent away.
        let client = family.outside(4444);
        finds(&mut lab, slot, &[Ok(client), Err(errno), Ok(client), Ok(client)]);
        lab.moved(&[(Reason::PublishedUnknown, 1), (reason, 1)]);
        assert_eq!(are_paused(&lab), rests);
        assert_eq!(lab.gateway.next_deadline(), Some(lab.now + PAUSE));
        lab.now = lab.now + PAUSE;
        lab.pass(0);
        assert_eq!((are_paused(&lab), lab.gateway.next_deadline()), (vec![false; 2], None));
        finds(&mut lab, slot, &[]);
        lab.moved(&[(Reason::PublishedUnknown, 2)]);
        lab.idle();
    }
}

#[test]
fn a_listener_rests_while_too_many_clients_wait_for_its_guest() {
    const MOST: usize = 512;
    for family in BOTH {
        let mut lab = Lab::new(plan());
        lab.gateway.publish(spec(Protocol::Tcp, 5000)).unwrap();
        lab.gateway.set_guest("web", here());
        let slot = socket(family);
        let clients: Vec<_> =
            (4000..).take(MOST + 1).map(|port| Ok(family.outside(port))).collect();
        for some in clients.chunks(ACCEPT_BATCH) {
            finds(&mut lab, slot, some);
        }
        let rests: Vec<bool> = BOTH.iter().map(|it| it.v6 == family.v6).collect();
        assert_eq!((are_paused(&lab), lab.gateway.tcp.len()), (rests, MOST));
        let many = u64::try_from(MOST).unwrap();
        lab.moved(&[
            (Reason::PublishedIn, many),
            (Reason::TcpIn, many),
            (Reason::PublishedWaiting, 1),
        ]);
        lab.now = lab.now + PAUSE;
        lab.pass(0);
        assert_eq!(are_paused(&lab), [false; 2]);
        // Where the guest is not, nobody waits for it.
        lab.gateway.guest_gone(lab.now, &mut lab.pool, &*lab.room, GUEST);
        lab.got();
        finds(&mut lab, slot, &[]);
        lab.moved(&[(Reason::PublishedUnknown, 1)]);
        assert_eq!(are_paused(&lab), [false; 2]);
    }
}

#[test]
fn a_client_that_gave_up_costs_its_listener_nothing() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        lab.gateway.publish(spec(Protocol::Tcp, 5000)).unwrap();
        // ECONNABORTED: the next one may be there.
        finds(&mut lab, socket(family), &[Err(103), Ok(family.outside(4444))]);
        lab.moved(&[(Reason::PublishedUnknown, 1)]);
        assert_eq!((are_paused(&lab), lab.gateway.next_deadline()), (vec![false; 2], None));
    }
}

#[test]
fn a_forward_that_ends_while_it_rests_is_not_missed() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let id = lab.gateway.publish(spec(Protocol::Tcp, 5000)).unwrap();
        finds(&mut lab, socket(family), &[Err(24)]);
        assert!(lab.gateway.unpublish(id));
        // Another one has its place when it would go on.
        lab.gateway.publish(spec(Protocol::Udp, 5001)).unwrap();
        lab.now = lab.now + PAUSE;
        lab.pass(0);
        assert_eq!((are_paused(&lab), lab.gateway.next_deadline()), (vec![], None));
        lab.moved(&[(Reason::OutOfDescriptors, 1)]);
    }
}
