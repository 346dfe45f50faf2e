use std::net::{IpAddr, SocketAddr};

use sys::inet::errqueue::{Origin, SocketError};

use crate::backend::datagram::Marks;
use crate::harness::{BOTH, Family, GUEST, Lab, Shape, plan};
use crate::report::FlowState;
use crate::{GuestKey, Limits, Protocol, Reason};

mod echo;
mod errors;
mod host;
mod ports;
mod refusals;
mod room;

#[test]
fn a_question_and_its_answer() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let (guest, remote) = (family.guest(4000), family.outside(9999));
        lab.udp(guest, remote, b"question");
        lab.moved(&[(Reason::UdpOut, 1)]);
        let sent = lab.host().sent.remove(0);
        assert_eq!((sent.to, &sent.bytes[..], sent.segment), (remote, &b"question"[..], None));
        assert_eq!(sent.marks, Some(Marks { ttl: 63, class: 0, fragment: false }));

        let report = lab.gateway.flows(lab.now).next().unwrap();
        assert_eq!((report.guest_end, report.remote), (guest, remote));
        assert_eq!((report.protocol, report.state), (Protocol::Udp, FlowState::Opening));

        lab.host().arrive(0, remote, b"answer", None);
        lab.host_side();
        lab.moved(&[(Reason::UdpIn, 1)]);
        let got = lab.one();
        got.check();
        assert_eq!((got.ends(), got.payload()), ((remote, guest), &b"answer"[..]));
        let report = lab.gateway.flows(lab.now).next().unwrap();
        assert_eq!((report.bytes_out, report.bytes_in, report.state), (8, 6, FlowState::Open));
        lab.idle();
    }
}

#[test]
fn one_end_of_a_guest_is_one_socket_whatever_the_destination() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        lab.udp(family.guest(4000), family.outside(1), b"a");
        lab.udp(family.guest(4000), family.router_end(2), b"b");
        lab.udp(family.guest(4001), family.outside(1), b"c");
        let sockets: Vec<u32> = lab.host().sent.iter().map(|sent| sent.socket).collect();
        assert_eq!(sockets, [0, 0, 1]);
        // Whoever knows the mapping reaches the guest.
        lab.host().arrive(0, family.router_end(77), b"hello", None);
        lab.host_side();
        assert_eq!(lab.one().ends(), (family.router_end(77), family.guest(4000)));
        lab.moved(&[(Reason::UdpOut, 3), (Reason::UdpIn, 1)]);
    }
}

impl Family {
    fn router_end(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.router(), port)
    }

    /// The value of its IP version.
    fn of<T>(self, [v4, v6]: [T; 2]) -> T {
        if self.v6 { v6 } else { v4 }
    }

    /// What the error queue has of an ICMP message, by version, that `offender` sent about a packet to `destination`.
    fn error(
        self,
        [v4, v6]: [(u8, u8); 2],
        errno: i32,
        offender: IpAddr,
        destination: SocketAddr,
    ) -> SocketError {
        let origin = self.of([
            Origin::Icmp { kind: v4.0, code: v4.1 },
            Origin::Icmpv6 { kind: v6.0, code: v6.1 },
        ]);
        let (offender, destination) = (Some(offender), Some(destination));
        SocketError { origin, errno, info: 0, offender, destination, local: None, len: 0 }
    }
}

/// ICMP type and code by version: the hop limit is used up; nobody listens; the administrator forbids it; there is no
/// way.
const EXCEEDED: [(u8, u8); 2] = [(11, 0), (3, 0)];
const NO_PORT: [(u8, u8); 2] = [(3, 3), (1, 4)];
const PROHIBITED: [(u8, u8); 2] = [(3, 13), (1, 1)];
const NO_WAY: [(u8, u8); 2] = [(3, 0), (1, 0)];
const TOO_BIG: [(u8, u8); 2] = [(3, 4), (2, 0)];

#[test]
fn a_batch_of_equal_datagrams_is_a_train() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let (guest, remote) = (family.guest(4000), family.outside(9999));
        for len in [100, 100, 100, 30, 50, 60] {
            lab.udp_as(GUEST, guest, remote, &vec![1; len], Shape::default());
        }
        assert!(lab.host().sent.is_empty(), "they wait for the end of the batch");
        lab.flush();
        lab.moved(&[(Reason::UdpOut, 6)]);
        let sent: Vec<_> =
            lab.host().sent.drain(..).map(|sent| (sent.bytes.len(), sent.segment)).collect();
        assert_eq!(sent, [(330, Some(100)), (50, None), (60, None)]);
        lab.idle();
    }
}

#[test]
fn a_large_frame_stays_whole_or_goes_singly() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let (guest, remote) = (family.guest(4000), family.outside(9999));
        let shape = Shape { segment: Some(1000), ..Shape::default() };
        lab.udp_as(GUEST, guest, remote, &[5; 4500], shape);
        lab.flush();
        lab.moved(&[(Reason::UdpOut, 1)]);
        let sent = lab.host().sent.pop().unwrap();
        assert_eq!((sent.bytes.len(), sent.segment), (4500, Some(1000)));
        // A device that cannot: EIO.
        lab.host().fail_send.push_back(5);
        lab.udp_as(GUEST, guest, remote, &[5; 4500], shape);
        lab.flush();
        lab.moved(&[(Reason::UdpOut, 5)]);
        let sent: Vec<usize> = lab.host().sent.drain(..).map(|sent| sent.bytes.len()).collect();
        assert_eq!(sent, [1000, 1000, 1000, 1000, 500]);
        lab.idle();
    }
}

#[test]
fn trains_and_long_datagrams_towards_the_guest() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let (guest, remote) = (family.guest(4000), family.outside(9999));
        lab.udp(guest, remote, b"x");
        let bytes: Vec<u8> = (0..3000_u32).map(|i| i.to_le_bytes()[0]).collect();
        lab.host().arrive(0, remote, &bytes, Some(1200));
        lab.host_side();
        let got = lab.one();
        got.check();
        assert_eq!(got.offload.gso.unwrap().size, 1200);
        assert_eq!(got.payload(), bytes);
        // Longer than the network's MTU of 1500: in fragments that the guest puts together.
        lab.host().arrive(0, remote, &bytes, None);
        lab.host_side();
        let got = lab.got();
        assert_eq!(got.len(), 3);
        let mut whole = Vec::new();
        for piece in &got {
            let at = 14 + family.header_len() + if family.v6 { 8 } else { 0 };
            assert!(piece.parsed.fragment().is_part());
            assert!(piece.bytes.len() <= 1514);
            whole.extend_from_slice(&piece.bytes[at..piece.parsed.claimed_len().unwrap()]);
        }
        assert_eq!(&whole[8..], bytes);
        let sum = crate::packet::pseudo(remote.ip(), guest.ip(), 17, whole.len());
        assert_eq!(wire::checksum::add(sum, wire::checksum::sum(&whole)), 0xffff);
        // A train of segments that the network does not carry.
        lab.host().arrive(0, remote, &[7; 4000], Some(2000));
        lab.host_side();
        assert_eq!(lab.got().len(), 4, "two datagrams of two fragments");
        lab.moved(&[(Reason::UdpOut, 1), (Reason::UdpIn, 3)]);
        lab.idle();
    }
}

#[test]
fn marks_pass_from_the_packet_to_the_socket() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let shape = Shape { ttl: 2, class: 0xb9, dont_fragment: false, segment: None };
        lab.udp_as(GUEST, family.guest(1), family.outside(33434), b"trace", shape);
        lab.flush();
        let marks = lab.host().sent.pop().unwrap().marks;
        // Routers never cut a packet of IPv6.
        let fragment = family.of([true, false]);
        assert_eq!(marks, Some(Marks { ttl: 1, class: 0xb9, fragment }));
        // Router and gateway are one hop. A packet that may not travel beyond it is not sent.
        lab.moved(&[(Reason::UdpOut, 1)]);
        for ttl in [1, 0] {
            let shape = Shape { ttl, ..shape };
            lab.udp_as(GUEST, family.guest(1), family.outside(33434), b"trace", shape);
            lab.flush();
            lab.moved(&[(Reason::TtlExpired, 1)]);
            assert_eq!(lab.one().icmp(), family.of(EXCEEDED));
        }
    }
}

/// Who sends from port 0 expects no answer, and is heard.
#[test]
fn a_datagram_without_a_source_port_goes_out() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        lab.udp(family.guest(0), family.outside(9), b"x");
        lab.moved(&[(Reason::UdpOut, 1)]);
        assert_eq!(lab.host().sent.pop().unwrap().to, family.outside(9));
        lab.idle();
    }
}

#[test]
fn mappings_end_when_they_are_idle() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        lab.udp(family.guest(1), family.outside(53), b"dns");
        lab.udp(family.guest(2), family.outside(9), b"one way");
        lab.udp(family.guest(3), family.outside(9), b"both ways");
        lab.host().arrive(2, family.outside(9), b"answer", None);
        lab.host_side();
        lab.got();
        lab.moved(&[(Reason::UdpOut, 3), (Reason::UdpIn, 1)]);
        let ends = |lab: &Lab| {
            let mut ends: Vec<u16> =
                lab.gateway.flows(lab.now).map(|flow| flow.guest_end.port()).collect();
            ends.sort_unstable();
            ends
        };
        lab.pass(29);
        assert_eq!(ends(&lab), [1, 2, 3]);
        lab.pass(3);
        assert_eq!(ends(&lab), [2, 3]);
        lab.pass(87);
        assert_eq!(ends(&lab), [2, 3]);
        lab.pass(3);
        assert_eq!(ends(&lab), [3]);
        // What comes in keeps it open, too.
        lab.host().arrive(2, family.outside(9), b"more", None);
        lab.host_side();
        lab.got();
        lab.pass(179);
        assert_eq!(ends(&lab), [3]);
        lab.pass(3);
        assert!(ends(&lab).is_empty());
        lab.moved(&[(Reason::Expired, 3), (Reason::UdpIn, 1)]);
        assert_eq!(lab.gateway.next_deadline(), None);
        lab.idle();
    }
}

#[test]
fn a_guest_that_opens_too_many_loses_its_own_oldest() {
    for family in BOTH {
        let mut plan = plan();
        plan.limits = Limits { flows: 5, flows_per_guest: 3, ..Limits::default() };
        let mut lab = Lab::new(plan);
        let (a, b) = (GuestKey(1), GuestKey(2));
        let mut other = family.guest(1);
        other.set_ip(family.host_internal(0).ip());
        lab.udp_as(b, other, family.outside(9), b"b", Shape::default());
        for port in 1..=100 {
            lab.udp_as(a, family.guest(port), family.outside(9), b"a", Shape::default());
        }
        lab.flush();
        lab.moved(&[(Reason::UdpOut, 101), (Reason::Evicted, 97)]);
        let mut flows: Vec<_> = lab
            .gateway
            .flows(lab.now)
            .map(|flow| (flow.guest.unwrap(), flow.guest_end.port()))
            .collect();
        flows.sort_unstable();
        assert_eq!(flows, [(a, 98), (a, 99), (a, 100), (b, 1)]);
        // When all together have too many, who has most pays.
        for port in 1..=3 {
            other.set_port(port);
            lab.udp_as(b, other, family.outside(9), b"b", Shape::default());
        }
        lab.flush();
        lab.moved(&[(Reason::UdpOut, 3), (Reason::Evicted, 1)]);
        assert_eq!(lab.gateway.status().flows, [0, 5, 0]);
        lab.gateway.guest_gone(lab.now, &mut lab.pool, &crate::Unbounded, b);
        assert_eq!(lab.gateway.status().flows, [0, 2, 0]);
        lab.idle();
    }
}

#[test]
fn without_descriptors_a_guest_gives_one_of_its_own() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        lab.host().fail_open.push_back(24);
        lab.udp(family.guest(1), family.outside(9), b"x");
        lab.moved(&[(Reason::OutOfDescriptors, 1)]);
        assert!(lab.gateway.status().out_of_descriptors);
        lab.udp(family.guest(1), family.outside(9), b"x");
        lab.host().fail_open.push_back(24);
        lab.udp(family.guest(2), family.outside(9), b"x");
        lab.moved(&[(Reason::UdpOut, 2), (Reason::Evicted, 1)]);
        assert_eq!(lab.gateway.status().flows, [0, 1, 0]);
        lab.idle();
    }
}

#[test]
fn an_end_that_passes_to_another_guest_gets_another_socket() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        lab.udp_as(GuestKey(1), family.guest(1), family.outside(9), b"x", Shape::default());
        lab.udp_as(GuestKey(2), family.guest(1), family.outside(9), b"x", Shape::default());
        lab.flush();
        // The first one was still waiting to be sent by a socket that ended.
        lab.moved(&[(Reason::UdpOut, 1), (Reason::SendFailed, 1)]);
        assert_eq!(lab.host().sent.pop().unwrap().socket, 1);
        lab.idle();
    }
}
