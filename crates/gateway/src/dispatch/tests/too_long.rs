//! Datagrams that are longer than what the way to their guest carries.

use std::net::SocketAddr;

use wire::Offload;

use super::OTHER;
use crate::Reason;
use crate::harness::{BOTH, Family, GUEST, Got, Lab, Shape, plan};

/// Lengths of IP packets that came.
fn lengths(lab: &mut Lab) -> Vec<usize> {
    lab.got().iter().map(|got| got.bytes.len() - 14).collect()
}

/// What is said of a datagram; IPv4 cuts on the way, so that nobody has to say it.
fn heard(family: Family) -> Reason {
    if family.v6 { Reason::IcmpTooBig } else { Reason::IcmpIgnored }
}

#[test]
fn datagrams_are_cut_for_a_way_that_carries_less() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let (guest, remote) = (family.guest(4000), family.outside(9));
        let longest = vec![7; 1500 - family.header_len() - 8];
        let opens = |lab: &mut Lab| {
            lab.udp(guest, remote, b"x");
            lab.moved(&[(Reason::UdpOut, 1)]);
            lab.host().newest()
        };
        let socket = opens(&mut lab);
        lab.host().arrive(socket, remote, &longest, None);
        lab.host_side();
        let about = lab.one();
        assert_eq!(about.bytes.len(), 1514);
        lab.too_long(GUEST, family, &about, 1400);
        lab.moved(&[(Reason::UdpIn, 1), (heard(family), 1)]);

        let (pieces, train) = if family.v6 {
            (vec![1400, 156], vec![1400, 156, 148])
        } else {
            (vec![1500], vec![1628])
        };
        lab.host().arrive(socket, remote, &longest, None);
        lab.host_side();
        let got = lab.got();
        assert_eq!(got.iter().map(|got| got.bytes.len() - 14).collect::<Vec<_>>(), pieces);
        assert!(got.iter().all(|got| got.parsed.fragment().is_part() == family.v6));
        // A train whose segments do not fit, and one whose segments do.
        let two = [&longest[..], &[7; 100]].concat();
        let segment = u16::try_from(longest.len()).unwrap();
        lab.host().arrive(socket, remote, &two, Some(segment));
        lab.host_side();
        assert_eq!(lengths(&mut lab), if family.v6 { train } else { vec![28 + two.len()] });
        lab.host().arrive(socket, remote, &[7; 2600], Some(1300));
        lab.host_side();
        assert_eq!(lengths(&mut lab), [family.header_len() + 8 + 2600]);
        lab.moved(&[(Reason::UdpIn, 3)]);
        // Other ways are what they are.
        let neighbour = family.pick("10.9.0.6", "fd00:9::6", 4000);
        lab.udp_as(OTHER, neighbour, remote, b"x", Shape::default());
        lab.flush();
        let other = lab.host().newest();
        lab.host().arrive(other, remote, &longest, None);
        lab.host_side();
        assert_eq!(lengths(&mut lab), [1500]);
        lab.moved(&[(Reason::UdpOut, 1), (Reason::UdpIn, 1)]);
        // After a while the way may be another.
        lab.pass(601);
        lab.moved(&[(Reason::Expired, 2)]);
        assert_eq!(lab.gateway.next_deadline(), None);
        let socket = opens(&mut lab);
        lab.host().arrive(socket, remote, &longest, None);
        lab.host_side();
        assert_eq!(lengths(&mut lab), [1500]);
        lab.moved(&[(Reason::UdpIn, 1)]);
        lab.idle();
    }
}

#[test]
fn echo_replies_are_cut_as_well() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let (guest, remote) = (family.guest(0).ip(), family.outside(0).ip());
        lab.echo(guest, remote, 0x1234, &vec![1; 1500 - family.header_len() - 8]);
        let mut message = lab.host().sent.pop().unwrap().bytes;
        message[0] = if family.v6 { 129 } else { 0 };
        let answered = |lab: &mut Lab| {
            lab.host().arrive(0, SocketAddr::new(remote, 0), &message, None);
            lab.host_side();
        };
        answered(&mut lab);
        let about = lab.one();
        lab.too_long(GUEST, family, &about, 1280);
        lab.moved(&[(Reason::EchoOut, 1), (Reason::EchoIn, 1), (heard(family), 1)]);
        answered(&mut lab);
        assert_eq!(lengths(&mut lab), if family.v6 { vec![1280, 276] } else { vec![1500] });
        lab.moved(&[(Reason::EchoIn, 1)]);
        lab.idle();
    }
}

#[test]
fn only_whose_flow_it_is_may_say_so_and_who_has_the_address_next_is_not_told() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let (guest, remote) = (family.guest(4000), family.outside(9));
        let longest = vec![7; 1500 - family.header_len() - 8];
        lab.udp(guest, remote, b"x");
        lab.host().arrive(0, remote, &longest, None);
        lab.host_side();
        let about = lab.one();
        lab.moved(&[(Reason::UdpOut, 1), (Reason::UdpIn, 1)]);
        // Another guest; nothing that would change anything; a flow that is none.
        lab.too_long(OTHER, family, &about, 1400);
        lab.too_long(GUEST, family, &about, 1500);
        let mut none = about.bytes.clone();
        none[14 + family.header_len() + 3] ^= 1;
        let parsed = wire::parse(&none).unwrap();
        lab.too_long(GUEST, family, &Got { bytes: none, offload: Offload::NONE, parsed }, 1400);
        lab.moved(&[(Reason::IcmpIgnored, 3)]);
        let arrives = |lab: &mut Lab| {
            let socket = lab.host().newest();
            lab.host().arrive(socket, remote, &longest, None);
            lab.host_side();
            lengths(lab)
        };
        assert_eq!(arrives(&mut lab), [1500]);
        lab.too_long(GUEST, family, &about, 1400);
        assert_eq!(arrives(&mut lab).len(), if family.v6 { 2 } else { 1 });
        let (now, room) = (lab.now, crate::Unbounded);
        lab.gateway.addresses_gone(now, &mut lab.pool, &room, guest.ip().into());
        lab.udp_as(OTHER, guest, remote, b"x", Shape::default());
        lab.flush();
        assert_eq!(arrives(&mut lab), [1500]);
        // A guest that goes takes along what it said.
        lab.too_long(OTHER, family, &about, 1400);
        lab.gateway.guest_gone(now, &mut lab.pool, &room, OTHER);
        lab.udp(guest, remote, b"x");
        assert_eq!(arrives(&mut lab), [1500]);
        lab.moved(&[(Reason::UdpOut, 2), (Reason::UdpIn, 4), (heard(family), 2)]);
        lab.idle();
    }
}
