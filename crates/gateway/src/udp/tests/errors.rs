//! What the network says of what was sent, as a guest hears it.

use std::net::{IpAddr, SocketAddr};

use sys::inet::errqueue::{Origin, SocketError};

use super::{EXCEEDED, NO_PORT, NO_WAY, PROHIBITED, TOO_BIG};
use crate::Reason;
use crate::harness::{BOTH, GUEST, Lab, Shape, plan};

#[test]
fn an_error_of_the_outside_keeps_its_offender_and_quotes_the_guest() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let (guest, remote) = (family.guest(4000), family.outside(33434));
        lab.udp(guest, remote, b"trace me");
        let error = family.error(EXCEEDED, 113, family.router(), remote);
        lab.host().fail(0, error, b"trace me");
        lab.host_side();
        lab.moved(&[(Reason::UdpOut, 1), (Reason::IcmpErrorIn, 1)]);
        let got = lab.one();
        got.check();
        assert_eq!(got.ips(), (family.router(), guest.ip()));
        assert_eq!(got.icmp(), family.of(EXCEEDED));
        let quoted = got.quoted();
        quoted.check();
        assert_eq!((quoted.ends(), quoted.payload()), ((guest, remote), &b"trace me"[..]));
    }
}

/// A router may speak from an address that says nothing behind another link, and somebody on the host's
/// link may have the address of a guest's neighbour.
#[test]
fn the_host_s_neighbours_are_not_the_guest_s() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let (guest, remote) = (family.guest(4000), family.outside(9));
        lab.udp(guest, remote, b"x");
        let neighbour: IpAddr = family.of(["169.254.9.9", "fe80::9"]).parse().unwrap();
        lab.host().arrive(0, SocketAddr::new(neighbour, 53), b"it is I", None);
        lab.host_side();
        lab.moved(&[(Reason::UdpOut, 1), (Reason::Source, 1)]);
        assert!(lab.got().is_empty());
        let error = family.error(EXCEEDED, 113, neighbour, remote);
        lab.host().fail(0, error, b"x");
        lab.host_side();
        lab.moved(&[(Reason::IcmpErrorIn, 1)]);
        assert_eq!(lab.one().ips(), (family.gateway(0).ip(), guest.ip()));
    }
}

#[test]
fn path_mtu_is_told() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let (guest, remote) = (family.guest(4000), family.outside(9));
        // As the kernel tells it of a socket that is not connected: of IPv4 without the port.
        let told = SocketAddr::new(remote.ip(), family.of([0, remote.port()]));
        let error = SocketError {
            origin: Origin::Local,
            errno: 90,
            info: 1400,
            offender: None,
            destination: Some(told),
            local: None,
            len: 0,
        };
        lab.udp(guest, remote, b"x");
        lab.host().sent.clear();
        lab.host().fail_send.push_back(90);
        lab.host().fail(0, error, b"");
        // The flow's last destination is another by the time that the first is sent.
        lab.udp_as(GUEST, guest, remote, &[0; 1450], Shape::default());
        lab.udp_as(GUEST, guest, family.router_end(77), b"x", Shape::default());
        lab.flush();
        lab.moved(&[(Reason::UdpOut, 2), (Reason::TooBig, 1), (Reason::IcmpErrorIn, 1)]);
        let sent: Vec<_> = lab.host().sent.drain(..).map(|sent| sent.to).collect();
        assert_eq!(sent, [family.router_end(77)]);
        let got = lab.one();
        got.check();
        assert_eq!(got.icmp(), family.of(TOO_BIG));
        assert_eq!(got.ips().0, family.gateway(0).ip(), "this host found it, and we speak for it");
        let l4 = usize::from(got.parsed.l4.unwrap().offset);
        assert_eq!(got.bytes[l4 + 6..l4 + 8], 1400_u16.to_be_bytes());
        assert_eq!(got.quoted().ends(), (guest, remote));
        lab.idle();
    }
}

#[test]
fn an_old_error_does_not_cost_the_next_datagram() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let (guest, remote) = (family.guest(4000), family.outside(9));
        lab.udp(guest, remote, b"one");
        lab.host().fail_send.push_back(111);
        let error = family.error(NO_PORT, 111, remote.ip(), remote);
        lab.host().fail(0, error, b"one");
        lab.udp(guest, remote, b"two");
        lab.moved(&[(Reason::UdpOut, 2), (Reason::IcmpErrorIn, 1)]);
        assert_eq!(lab.host().sent.pop().unwrap().bytes, b"two");
        assert_eq!(lab.one().icmp(), family.of(NO_PORT));
    }
}

#[test]
fn what_the_host_does_not_send() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let (guest, remote) = (family.guest(4000), family.outside(9));
        // EAGAIN, ENETUNREACH, EPERM, and EINVAL, which nobody can explain.
        for (errno, reason, icmp) in [
            (11, Reason::SendFull, None),
            (101, Reason::NoRoute, Some(family.of(NO_WAY))),
            (1, Reason::SendFailed, Some(family.of(PROHIBITED))),
            (22, Reason::SendFailed, None),
        ] {
            lab.host().fail_send.push_back(errno);
            lab.udp(guest, remote, b"x");
            lab.moved(&[(reason, 1)]);
            let got = lab.got();
            assert_eq!(got.first().map(crate::harness::Got::icmp), icmp, "{errno}");
        }
        // None of that ended the flow, nor stays with the next datagram.
        lab.udp(guest, remote, b"again");
        lab.moved(&[(Reason::UdpOut, 1)]);
        let sent: Vec<_> =
            lab.host().sent.drain(..).map(|sent| (sent.socket, sent.bytes)).collect();
        assert_eq!(sent, [(0, b"again".to_vec())]);
        lab.idle();
    }
}

#[test]
fn errors_to_a_guest_have_a_rate() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        for _ in 0..100 {
            lab.udp(family.guest(1), family.loopback(9), b"x");
        }
        lab.moved(&[(Reason::HostRefused, 100), (Reason::RateLimited, 36)]);
        assert_eq!(lab.got().len(), 64);
    }
}
