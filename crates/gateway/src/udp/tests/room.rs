use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;

use engine::Instant;

use crate::harness::{BOTH, Lab, Shape, plan};
use crate::{GuestKey, Reason, Room};

/// A queue that has no room until it is told.
#[derive(Debug)]
struct Full;

impl Room for Full {
    fn room(&self, _: IpAddr) -> usize {
        0
    }
}

#[test]
fn nothing_is_read_that_the_guest_has_no_room_for() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        lab.udp(family.guest(1), family.outside(9), b"x");
        lab.room = Box::new(Full);
        lab.host().arrive(0, family.outside(9), b"y", None);
        lab.host_side();
        assert!(lab.got().is_empty() && lab.gateway.wants_room());
        assert!(lab.host().ready().is_empty(), "the socket is not watched");
        lab.host_side();
        assert!(lab.got().is_empty() && lab.gateway.wants_room());
        lab.room = Box::new(crate::Unbounded);
        lab.host_side();
        assert_eq!(lab.one().payload(), b"y");
        assert!(!lab.gateway.wants_room());
        lab.host().arrive(0, family.outside(9), b"z", None);
        lab.host_side();
        assert_eq!(lab.one().payload(), b"z");
        lab.moved(&[(Reason::UdpOut, 1), (Reason::UdpIn, 2)]);
    }
}

/// A queue without room for one guest, that counts who asks.
#[derive(Debug)]
struct FullFor {
    guest: Option<IpAddr>,
    asked: Rc<Cell<usize>>,
}

impl Room for FullFor {
    fn room(&self, guest: IpAddr) -> usize {
        self.asked.set(self.asked.get() + 1);
        if self.guest == Some(guest) { 0 } else { usize::MAX }
    }
}

#[test]
fn a_guest_that_reads_nothing_costs_the_others_nothing() {
    const FLOWS: u16 = 1000;
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let (silent, other) = (family.guest(0).ip(), family.host_internal(0).ip());
        for port in 1..=FLOWS {
            lab.udp(family.guest(port), family.outside(9), b"x");
        }
        let mut end = family.guest(1);
        end.set_ip(other);
        lab.udp_as(GuestKey(8), end, family.outside(9), b"x", Shape::default());
        lab.flush();
        for socket in 0..=u32::from(FLOWS) {
            lab.host().arrive(socket, family.outside(9), b"y", None);
        }
        lab.room = Box::new(Full);
        lab.host_side();
        assert!(lab.got().is_empty() && lab.gateway.wants_room());

        let asked = Rc::new(Cell::new(0));
        lab.room = Box::new(FullFor { guest: Some(silent), asked: Rc::clone(&asked) });
        lab.host_side();
        let got = lab.one();
        assert_eq!(got.ips().1, other);
        assert!(asked.get() < 8, "the guest that has a thousand was asked once: {}", asked.get());
        assert!(lab.gateway.wants_room());
        // There is nothing to do until the queue drains.
        assert_ne!(lab.gateway.next_deadline(), Some(Instant::EPOCH));

        // It reads again: a bounded part in each turn, and no other sign is needed for the rest.
        lab.room = Box::new(FullFor { guest: None, asked });
        lab.host_side();
        let mut turns = 1;
        let mut delivered = lab.got().len();
        assert_eq!(delivered, 64);
        while lab.gateway.wants_room() {
            assert_eq!(lab.gateway.next_deadline(), Some(Instant::EPOCH));
            lab.pass(0);
            delivered += lab.got().len();
            turns += 1;
        }
        assert_eq!((delivered, turns), (FLOWS.into(), 16));
        assert_ne!(lab.gateway.next_deadline(), Some(Instant::EPOCH));
        let all = u64::from(FLOWS) + 1;
        lab.moved(&[(Reason::UdpOut, all), (Reason::UdpIn, all)]);
        lab.idle();
    }
}

#[test]
fn what_ends_while_it_waits_for_room_is_forgotten() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let outside = family.outside(9);
        for port in 1..=3 {
            lab.udp(family.guest(port), outside, b"x");
        }
        for socket in 0..3 {
            lab.host().arrive(socket, outside, b"y", None);
        }
        lab.room = Box::new(Full);
        lab.host_side();
        lab.pass(200);
        lab.moved(&[(Reason::UdpOut, 3), (Reason::Expired, 3)]);
        // Their places are another guest's now, which reads.
        lab.room = Box::new(crate::Unbounded);
        lab.udp_as(GuestKey(8), family.guest(4), outside, b"x", Shape::default());
        lab.flush();
        lab.host_side();
        assert!(lab.got().is_empty() && !lab.gateway.wants_room());
        // A guest that goes while its flows wait.
        lab.host().arrive(3, outside, b"y", None);
        lab.room = Box::new(Full);
        lab.host_side();
        assert!(lab.gateway.wants_room());
        lab.gateway.guest_gone(lab.now, &mut lab.pool, &Full, GuestKey(8));
        assert!(!lab.gateway.wants_room());
        lab.moved(&[(Reason::UdpOut, 1)]);
        lab.idle();
    }
}
