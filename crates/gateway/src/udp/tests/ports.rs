//! The host's ports are not for guests alone.

use crate::harness::{BOTH, Family, Lab, Shape, plan};
use crate::{GuestKey, Reason};

const A: GuestKey = GuestKey(1);
const B: GuestKey = GuestKey(2);
const C: GuestKey = GuestKey(3);

/// EADDRINUSE.
const NO_PORT_LEFT: i32 = 98;

/// A gateway whose guests may have so many ports of each IP version, and one of them half as many.
fn lab(ports: usize) -> Lab {
    let mut plan = plan();
    plan.limits.ports = ports;
    Lab::new(plan)
}

/// A guest sends from an end of its own.
fn asks(lab: &mut Lab, family: Family, guest: GuestKey, number: u16) {
    let from = family.guest(1000 * u16::try_from(guest.0).unwrap() + number);
    lab.udp_as(guest, from, family.outside(9), b"x", Shape::default());
    lab.flush();
}

/// The last digits of the ends that have a flow of UDP.
fn ends(lab: &Lab, family: Family, guest: GuestKey) -> Vec<u16> {
    let its = lab.gateway.flows(lab.now).filter(|flow| flow.guest == Some(guest));
    let its = its.filter(|flow| flow.protocol == crate::Protocol::Udp);
    let its = its.filter(|flow| flow.guest_end.is_ipv6() == family.v6);
    let mut ends: Vec<u16> = its.map(|flow| flow.guest_end.port() % 1000).collect();
    ends.sort_unstable();
    ends
}

#[test]
fn a_guest_has_half_of_its_networks_and_loses_its_own_oldest() {
    for family in BOTH {
        let other = Family { v6: !family.v6 };
        let mut lab = lab(6);
        asks(&mut lab, family, B, 1);
        lab.echo(family.guest(0).ip(), family.outside(0).ip(), 1, b"ping");
        (1..=10).for_each(|number| asks(&mut lab, family, A, number));
        lab.moved(&[(Reason::UdpOut, 11), (Reason::EchoOut, 1), (Reason::Evicted, 7)]);
        assert_eq!((ends(&lab, family, A), ends(&lab, family, B)), (vec![8, 9, 10], vec![1]));
        // Those of the other version are others, and echo has none.
        (1..=3).for_each(|number| asks(&mut lab, other, A, number));
        lab.moved(&[(Reason::UdpOut, 3)]);
        assert_eq!(lab.gateway.status().flows, [0, 7, 1]);
        // Age counts, and not when it was opened.
        lab.pass(2);
        asks(&mut lab, family, A, 8);
        asks(&mut lab, family, A, 11);
        lab.moved(&[(Reason::UdpOut, 2), (Reason::Evicted, 1)]);
        assert_eq!(ends(&lab, family, A), [8, 10, 11]);
        lab.gateway.guest_gone(lab.now, &mut lab.pool, &crate::Unbounded, A);
        assert_eq!(lab.gateway.status().flows, [0, 1, 1]);
        lab.idle();
    }
}

#[test]
fn whoever_has_most_gives_one_to_a_guest_that_has_fewer() {
    for family in BOTH {
        let mut lab = lab(6);
        for number in 1..=3 {
            asks(&mut lab, family, A, number);
            asks(&mut lab, family, B, number);
        }
        lab.moved(&[(Reason::UdpOut, 6)]);
        let counts = |lab: &Lab| [A, B, C].map(|guest| ends(lab, family, guest).len());
        asks(&mut lab, family, C, 1);
        asks(&mut lab, family, C, 2);
        lab.moved(&[(Reason::UdpOut, 2), (Reason::Evicted, 2)]);
        assert_eq!(counts(&lab), [2, 2, 2]);
        // Nobody has more now.
        asks(&mut lab, family, C, 3);
        lab.moved(&[(Reason::UdpOut, 1), (Reason::Evicted, 1)]);
        assert_eq!((counts(&lab), ends(&lab, family, C)), ([2, 2, 2], vec![2, 3]));
        lab.idle();
    }
}

/// Other programs may have taken them.
#[test]
fn where_the_host_has_none_left_somebody_gives_one() {
    for family in BOTH {
        let mut lab = lab(100);
        lab.host().fail_open.push_back(NO_PORT_LEFT);
        asks(&mut lab, family, A, 1);
        lab.moved(&[(Reason::OutOfPorts, 1)]);
        assert!(!lab.gateway.status().out_of_descriptors);
        assert_eq!(lab.gateway.status().flows, [0; 3]);
        (1..=3).for_each(|number| asks(&mut lab, family, A, number));
        asks(&mut lab, family, B, 1);
        lab.moved(&[(Reason::UdpOut, 4)]);
        for (guest, number, left) in
            [(B, 2, [vec![2, 3], vec![1, 2]]), (B, 3, [vec![2, 3], vec![2, 3]])]
        {
            lab.host().fail_open.push_back(NO_PORT_LEFT);
            asks(&mut lab, family, guest, number);
            lab.moved(&[(Reason::UdpOut, 1), (Reason::Evicted, 1)]);
            assert_eq!([ends(&lab, family, A), ends(&lab, family, B)], left);
        }
        // Ports of the other version are of no use.
        let other = Family { v6: !family.v6 };
        lab.host().fail_open.push_back(NO_PORT_LEFT);
        asks(&mut lab, other, B, 1);
        lab.moved(&[(Reason::OutOfPorts, 1)]);
        assert_eq!(lab.gateway.status().flows, [0, 4, 0]);
        // One that was given is not always enough.
        lab.host().fail_open.extend([NO_PORT_LEFT, NO_PORT_LEFT]);
        asks(&mut lab, family, B, 4);
        lab.moved(&[(Reason::OutOfPorts, 1), (Reason::Evicted, 1)]);
        lab.idle();
    }
}

/// What was sent just before, in the same batch, leaves, and its flow is not the oldest any more.
#[test]
fn a_port_that_was_used_just_now_is_not_the_one_that_is_given() {
    for family in BOTH {
        let mut lab = lab(6);
        (1..=3).for_each(|number| asks(&mut lab, family, A, number));
        lab.pass(2);
        for number in [1, 4] {
            let from = family.guest(1000 + number);
            lab.udp_as(A, from, family.outside(9), b"x", Shape::default());
        }
        lab.flush();
        lab.moved(&[(Reason::UdpOut, 5), (Reason::Evicted, 1)]);
        assert_eq!(ends(&lab, family, A), [1, 3, 4]);
        // Where there is only one, it has sent what it had to.
        let mut lab = self::lab(1);
        for number in 1..=2 {
            let from = family.guest(1000 + number);
            lab.udp_as(A, from, family.outside(9), b"x", Shape::default());
        }
        lab.flush();
        lab.moved(&[(Reason::UdpOut, 2), (Reason::Evicted, 1)]);
        assert_eq!(ends(&lab, family, A), [2]);
        lab.idle();
    }
}
