//! Who gives up a flow when there is no place for one more.

use super::*;
use crate::Limits;
use crate::backend::StreamError;

const RICH: [GuestKey; 2] = [GuestKey(1), GuestKey(2)];
const POOR: GuestKey = GuestKey(3);

/// Another end for each guest and number.
fn end(family: Family, guest: GuestKey, number: u16) -> SocketAddr {
    family.guest(1000 * u16::try_from(guest.0).unwrap() + number)
}

fn connects(lab: &mut Lab, family: Family, guest: GuestKey, number: u16) {
    syn(lab, guest, end(family, guest, number), family.outside(443));
    lab.flush();
}

fn asks(lab: &mut Lab, family: Family, guest: GuestKey, number: u16) {
    lab.udp_as(guest, end(family, guest, number), family.outside(9), b"x", Shape::default());
    lab.flush();
}

/// How many flows guests have: connections, and mappings of datagrams.
fn flows(lab: &Lab, guest: GuestKey) -> [usize; 2] {
    let of = |connections: bool| {
        lab.gateway
            .flows(lab.now)
            .filter(|flow| flow.guest == Some(guest))
            .filter(|flow| (flow.protocol == crate::Protocol::Tcp) == connections)
            .count()
    };
    [of(true), of(false)]
}

fn limited(flows: usize, flows_per_guest: usize) -> Lab {
    let mut plan = plan();
    plan.limits = Limits { flows, flows_per_guest, ..Limits::default() };
    Lab::new(plan)
}

#[test]
fn guests_with_many_connections_leave_room_for_the_datagrams_of_another() {
    for family in BOTH {
        let mut lab = limited(8, 4);
        for guest in RICH {
            (0..4).for_each(|number| connects(&mut lab, family, guest, number));
        }
        lab.moved(&[(Reason::TcpOut, 8)]);
        asks(&mut lab, family, POOR, 0);
        lab.moved(&[(Reason::UdpOut, 1), (Reason::Evicted, 1), (Reason::TcpIn, 1)]);
        // Whose connection it was is told.
        assert_eq!(segment(&lab.one()).0, flag::RST | flag::ACK);
        asks(&mut lab, family, POOR, 1);
        lab.moved(&[(Reason::UdpOut, 1), (Reason::Evicted, 1), (Reason::TcpIn, 1)]);
        lab.got();
        assert_eq!(RICH.map(|guest| flows(&lab, guest)), [[3, 0], [3, 0]]);
        // A connection is not ended to be even: now it gives one of its own.
        asks(&mut lab, family, POOR, 2);
        lab.moved(&[(Reason::UdpOut, 1), (Reason::Evicted, 1)]);
        assert_eq!(flows(&lab, POOR), [0, 2]);
        assert_eq!(RICH.map(|guest| flows(&lab, guest)), [[3, 0], [3, 0]]);
        assert!(lab.got().is_empty());
    }
}

#[test]
fn guests_with_many_mappings_leave_room_for_the_connection_of_another() {
    for family in BOTH {
        let mut lab = limited(8, 4);
        for guest in RICH {
            (0..4).for_each(|number| asks(&mut lab, family, guest, number));
        }
        connects(&mut lab, family, POOR, 0);
        lab.moved(&[(Reason::UdpOut, 8), (Reason::Evicted, 1), (Reason::TcpOut, 1)]);
        assert_eq!(flows(&lab, POOR), [1, 0]);
        // Whoever has most does not get more.
        let rich = RICH.into_iter().find(|guest| flows(&lab, *guest)[1] == 4).unwrap();
        connects(&mut lab, family, rich, 9);
        lab.moved(&[(Reason::Evicted, 1), (Reason::TcpOut, 1)]);
        assert_eq!(flows(&lab, rich), [1, 3]);
        assert_eq!(lab.gateway.status().flows, [2, 6, 0]);
    }
}

#[test]
fn all_together_never_have_more_than_there_may_be() {
    for family in BOTH {
        let mut lab = limited(6, 4);
        (0..4).for_each(|number| asks(&mut lab, family, RICH[0], number));
        (0..2).for_each(|number| connects(&mut lab, family, RICH[1], number));
        lab.moved(&[(Reason::UdpOut, 4), (Reason::TcpOut, 2)]);
        for number in 2..20 {
            connects(&mut lab, family, RICH[1], number);
        }
        // One mapping goes for a connection. Then both have the same, and there is nothing more to
        // give for who has connections only.
        assert_eq!((flows(&lab, RICH[0]), flows(&lab, RICH[1])), ([0, 3], [3, 0]));
        lab.moved(&[(Reason::Evicted, 1), (Reason::TcpOut, 1), (Reason::FlowLimit, 17)]);
    }
}

#[test]
fn without_descriptors_who_has_most_gives_one() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        (0..4).for_each(|number| connects(&mut lab, family, RICH[0], number));
        lab.moved(&[(Reason::TcpOut, 4)]);
        lab.host().fail_open.push_back(24);
        asks(&mut lab, family, POOR, 0);
        lab.moved(&[(Reason::UdpOut, 1), (Reason::Evicted, 1), (Reason::TcpIn, 1)]);
        assert_eq!((flows(&lab, RICH[0]), flows(&lab, POOR)), ([3, 0], [0, 1]));
        assert_eq!(segment(&lab.one()).0, flag::RST | flag::ACK);
        assert!(!lab.gateway.status().out_of_descriptors);

        // The other way round.
        (0..8).for_each(|number| asks(&mut lab, family, RICH[1], number));
        lab.moved(&[(Reason::UdpOut, 8)]);
        lab.gateway.tcp.backend_mut().fail_connect.push_back(StreamError::NoDescriptors);
        connects(&mut lab, family, POOR, 1);
        lab.moved(&[(Reason::Evicted, 1), (Reason::TcpOut, 1)]);
        assert_eq!((flows(&lab, RICH[1]), flows(&lab, POOR)), ([0, 7], [1, 1]));

        // It does not help: somebody else was faster.
        let failures = [StreamError::NoDescriptors; 2];
        lab.gateway.tcp.backend_mut().fail_connect.extend(failures);
        connects(&mut lab, family, POOR, 2);
        lab.moved(&[(Reason::Evicted, 1), (Reason::OutOfDescriptors, 1)]);
        assert!(lab.got().is_empty());
    }
}

/// A guest sends a byte and its end, which the outside does not take, and is gone.
fn leaves_behind(lab: &mut Lab, family: Family, guest: GuestKey, port: u16) {
    let left = lab.gateway.status().flows[0];
    lab.gateway.tcp.backend_mut().full.set(true);
    let ours = opens(lab, guest, family, port);
    let ends = [family.guest(port), family.outside(443)];
    tcp_with(lab, guest, ends, (1001, ours + 1, flag::ACK | flag::FIN), b"x");
    lab.flush();
    lab.gateway.guest_gone(lab.now, &mut lab.pool, &*lab.room, guest);
    lab.got();
    assert_eq!((lab.gateway.status().flows[0], flows(lab, guest)), (left + 1, [0, 0]));
}

#[test]
fn what_guests_have_left_behind_gives_way_first() {
    const GONE: GuestKey = GuestKey(4);
    for family in BOTH {
        let mut lab = limited(5, 3);
        let count = |lab: &Lab| {
            let of = |reason| lab.gateway.counters().get(reason);
            [of(Reason::TcpLeftBehind), of(Reason::Evicted)]
        };
        (0..2).for_each(|port| leaves_behind(&mut lab, family, GONE, 4000 + port));
        (0..3).for_each(|number| connects(&mut lab, family, RICH[0], number));
        assert_eq!(count(&lab), [0, 0]);
        // For a connection, and for datagrams.
        connects(&mut lab, family, POOR, 0);
        assert_eq!(count(&lab), [1, 0]);
        asks(&mut lab, family, POOR, 1);
        assert_eq!(count(&lab), [2, 0]);
        assert_eq!((flows(&lab, RICH[0]), flows(&lab, POOR)), ([3, 0], [1, 1]));

        // For a descriptor as well.
        let mut lab = Lab::new(plan());
        (0..2).for_each(|port| leaves_behind(&mut lab, family, GONE, 4000 + port));
        (0..3).for_each(|number| connects(&mut lab, family, RICH[0], number));
        lab.gateway.tcp.backend_mut().fail_connect.push_back(StreamError::NoDescriptors);
        connects(&mut lab, family, POOR, 0);
        assert_eq!(count(&lab), [1, 0]);
        lab.host().fail_open.push_back(24);
        asks(&mut lab, family, POOR, 1);
        assert_eq!(count(&lab), [2, 0]);
        assert_eq!((flows(&lab, RICH[0]), flows(&lab, POOR)), ([3, 0], [1, 1]));
        assert!(lab.got().is_empty());
    }
}

#[test]
fn nobody_gives_a_place_to_a_guest_that_may_have_none() {
    for family in BOTH {
        let mut lab = limited(6, 3);
        (0..3).for_each(|number| asks(&mut lab, family, RICH[0], number));
        (0..3).for_each(|number| connects(&mut lab, family, RICH[1], number));
        lab.moved(&[(Reason::UdpOut, 3), (Reason::TcpOut, 3)]);
        connects(&mut lab, family, RICH[1], 3);
        lab.moved(&[(Reason::GuestLimit, 1)]);
        asks(&mut lab, family, RICH[1], 4);
        lab.moved(&[(Reason::GuestLimit, 1)]);
        assert_eq!((flows(&lab, RICH[0]), flows(&lab, RICH[1])), ([0, 3], [3, 0]));
        lab.idle();
    }
}

#[test]
fn another_gateway_makes_the_part_of_each_smaller() {
    let mut lab = Lab::new(plan());
    let alone = lab.gateway.limits();
    // So many that each has next to nothing, whatever this process may have.
    let shared = crate::GatewayPlan { gateways: usize::MAX, ..plan() };
    lab.gateway.apply(lab.now, shared.clone()).unwrap();
    assert_eq!((lab.gateway.limits().flows, lab.gateway.limits().flows_per_guest), (1, 1));
    assert_eq!(lab.gateway.plan(), &shared, "what was asked for is kept");
    lab.gateway.apply(lab.now, plan()).unwrap();
    assert_eq!(lab.gateway.limits(), alone);
}

/// A connection that takes the place of a mapping does not take the datagrams that were sent before it.
#[test]
fn what_was_sent_before_somebody_gave_a_place_has_left() {
    for family in BOTH {
        let mut lab = limited(8, 2);
        (0..2).for_each(|number| asks(&mut lab, family, POOR, number));
        lab.pass(2);
        let from = end(family, POOR, 0);
        lab.udp_as(POOR, from, family.outside(9), b"x", Shape::default());
        syn(&mut lab, POOR, end(family, POOR, 9), family.outside(443));
        lab.flush();
        lab.moved(&[(Reason::UdpOut, 3), (Reason::TcpOut, 1), (Reason::Evicted, 1)]);
        let left: Vec<_> = lab.gateway.flows(lab.now).map(|flow| flow.guest_end).collect();
        assert_eq!((left.len(), left.contains(&from)), (2, true));
        lab.idle();
    }
}
