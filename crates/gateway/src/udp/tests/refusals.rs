//! What does not go out.

use super::{NO_WAY, PROHIBITED};
use crate::harness::{BOTH, GUEST, Lab, Shape, plan};
use crate::{GuestKey, Reason};

#[test]
fn the_host_is_out_of_reach_unless_allowed() {
    for family in BOTH {
        let mut plan = plan();
        plan.allow_host = vec!["udp/53".parse().unwrap()];
        let mut lab = Lab::new(plan);
        lab.host().routes.local("198.51.100.9");
        lab.host().routes.local("2001:db8::9");
        let prohibited = family.of(PROHIBITED);
        for remote in [family.outside(53), family.loopback(53), family.host_internal(54)] {
            lab.udp(family.guest(1), remote, b"x");
            lab.moved(&[(Reason::HostRefused, 1)]);
            let got = lab.got();
            assert_eq!(got.len(), 1);
            assert_eq!(got[0].icmp(), prohibited);
            assert_eq!(got[0].quoted().ends(), (family.guest(1), remote));
        }
        lab.udp(family.guest(1), family.host_internal(53), b"x");
        assert_eq!(lab.host().sent.pop().unwrap().to, family.loopback(53));
        lab.host().arrive(0, family.loopback(53), b"y", None);
        // Another program of the host finds the socket.
        lab.host().arrive(0, family.loopback(54), b"z", None);
        lab.host().arrive(0, family.outside(53), b"z", None);
        lab.host_side();
        let got = lab.one();
        assert_eq!(got.ends(), (family.host_internal(53), family.guest(1)));
        lab.moved(&[(Reason::UdpOut, 1), (Reason::UdpIn, 1), (Reason::HostRefused, 2)]);
        // Only for one guest.
        lab.gateway.allow_host(Some(GuestKey(3)), "99".parse().unwrap());
        lab.udp(family.guest(1), family.host_internal(99), b"x");
        lab.moved(&[(Reason::HostRefused, 1)]);
        lab.udp_as(GuestKey(3), family.guest(2), family.host_internal(99), b"x", Shape::default());
        lab.flush();
        lab.moved(&[(Reason::UdpOut, 1)]);
    }
}

#[test]
fn an_address_that_becomes_the_hosts_is_refused_from_then_on() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        lab.udp(family.guest(1), family.outside(9), b"x");
        lab.moved(&[(Reason::UdpOut, 1)]);
        lab.host().routes.local(&family.outside(0).ip().to_string());
        let token = crate::poll::Token::new(crate::poll::Kind::Route, 0, 0);
        let event = crate::poll::Event {
            token: 0,
            readable: true,
            writable: false,
            hangup: false,
            urgent: false,
        };
        let (now, room) = (lab.now, crate::Unbounded);
        lab.gateway.host_ready(now, &mut lab.pool, &room, token, &event);
        lab.udp(family.guest(1), family.outside(9), b"x");
        lab.moved(&[(Reason::HostRefused, 1)]);
        // A new flow does not wait for the notice to be taken.
        let mut lab = Lab::new(plan());
        lab.udp(family.guest(1), family.outside(9), b"x");
        lab.moved(&[(Reason::UdpOut, 1)]);
        lab.host().routes.local(&family.outside(0).ip().to_string());
        lab.udp(family.guest(2), family.outside(9), b"x");
        lab.moved(&[(Reason::HostRefused, 1)]);
        lab.udp(family.guest(1), family.outside(9), b"x");
        lab.moved(&[(Reason::HostRefused, 1)]);
    }
}

/// The kernel had no memory for the question, say.
#[test]
fn what_the_kernel_did_not_answer_is_refused_only_then() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        lab.host().routes.fail.push_back(105);
        lab.udp(family.guest(1), family.outside(9), b"x");
        lab.moved(&[(Reason::HostRefused, 1)]);
        assert_eq!(lab.one().icmp(), family.of(PROHIBITED));
        lab.udp(family.guest(1), family.outside(9), b"y");
        lab.moved(&[(Reason::UdpOut, 1)]);
        assert_eq!(lab.host().sent.pop().unwrap().bytes, b"y");
        lab.idle();
    }
}

#[test]
fn groups_and_strangers() {
    let mut lab = Lab::new(plan());
    for (from, to, reason) in [
        ("10.9.0.5:1", "224.0.0.251:5353", Reason::Multicast),
        ("10.9.0.5:1", "255.255.255.255:9", Reason::Multicast),
        ("10.9.0.5:1", "10.9.0.255:9", Reason::Multicast),
        ("[fd00:9::5]:1", "[ff02::fb]:5353", Reason::Multicast),
        ("0.0.0.0:1", "198.51.100.9:9", Reason::Source),
        ("127.0.0.1:1", "198.51.100.9:9", Reason::Source),
        ("[::]:1", "[2001:db8::9]:9", Reason::Source),
        ("[::1]:1", "[2001:db8::9]:9", Reason::Source),
        ("10.9.0.5:9", "198.51.100.9:0", Reason::Malformed),
    ] {
        lab.udp(from.parse().unwrap(), to.parse().unwrap(), b"x");
        lab.moved(&[(reason, 1)]);
        assert!(lab.got().is_empty(), "{from} {to}");
    }
    for (from, to, reason, icmp) in [
        ("10.9.0.5:1", "169.254.169.254:80", Reason::LinkLocal, (3, 13)),
        ("[fd00:9::5]:1", "[fe80::1]:80", Reason::LinkLocal, (1, 2)),
        ("10.9.0.5:1", "10.9.0.77:9", Reason::NoRoute, (3, 1)),
        ("[fd00:9::5]:1", "[fd00:9::77]:9", Reason::NoRoute, (1, 3)),
        ("10.9.0.5:1", "10.9.0.1:9", Reason::NoService, (3, 3)),
        ("[fd00:9::5]:1", "[fd00:9::1]:9", Reason::NoService, (1, 4)),
    ] {
        lab.udp(from.parse().unwrap(), to.parse().unwrap(), b"x");
        lab.moved(&[(reason, 1)]);
        assert_eq!(lab.one().icmp(), icmp, "{from} {to}");
    }
    assert_eq!(lab.gateway.flows(lab.now).count(), 0);
    lab.idle();
}

#[test]
fn without_nat_there_are_only_services() {
    for family in BOTH {
        let mut plan = plan();
        plan.nat = false;
        let mut lab = Lab::new(plan);
        lab.udp(family.guest(1), family.outside(9), b"x");
        lab.moved(&[(Reason::NoNat, 1)]);
        assert_eq!(lab.one().icmp(), family.of(NO_WAY));
    }
}

#[test]
fn damaged_datagrams_go_nowhere() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let (good, offload) =
            Lab::udp_frame(family.guest(1), family.outside(9), b"damage", Shape::default());
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        lab.frame(GUEST, &bad, offload);
        lab.moved(&[(Reason::Checksum, 1)]);
        // UDP's length beyond the packet.
        let mut bad = good.clone();
        bad[14 + family.header_len() + 5] += 1;
        lab.frame(GUEST, &bad, offload);
        lab.moved(&[(Reason::Checksum, 1)]);
        lab.frame(GUEST, &good[..good.len() - 1], offload);
        lab.moved(&[(Reason::Malformed, 1)]);
        // Padding behind the packet is not sent.
        let padded = [&good[..], &[0; 10]].concat();
        lab.frame(GUEST, &padded, offload);
        lab.flush();
        lab.moved(&[(Reason::UdpOut, 1)]);
        assert_eq!(lab.host().sent.pop().unwrap().bytes, b"damage");
        lab.idle();
    }
}
