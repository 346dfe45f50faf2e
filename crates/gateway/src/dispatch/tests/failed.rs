//! Connections that the outside did not give: who has said so, and in which words.

use std::net::{IpAddr, SocketAddr};

use wire::tcp::flag;

use super::{segment, syn};
use crate::Reason;
use crate::backend::datagram::{Origin, SocketError};
use crate::backend::{Connecting, StreamError};
use crate::harness::{BOTH, Family, GUEST, Got, Lab, plan};
use crate::poll::Event;

/// An ICMP message of this type and code, by version, as the error queue of a socket has it.
fn message(family: Family, [v4, v6]: [(u8, u8); 2], offender: IpAddr) -> SocketError {
    let origin = if family.v6 {
        Origin::Icmpv6 { kind: v6.0, code: v6.1 }
    } else {
        Origin::Icmp { kind: v4.0, code: v4.1 }
    };
    let offender = Some(offender);
    SocketError { origin, errno: 1, info: 0, offender, destination: None, local: None, len: 0 }
}

/// A guest's SYN, of which the kernel then says this; the ends as the guest names them.
fn fails(lab: &mut Lab, family: Family, outcomes: &[Connecting]) -> (SocketAddr, SocketAddr) {
    let ends = (family.guest(4000), family.outside(443));
    syn(lab, GUEST, ends.0, ends.1);
    lab.flush();
    lab.moved(&[(Reason::TcpOut, 1)]);
    let (_, token) = *lab.gateway.tcp.backend_mut().connects.last().unwrap();
    for outcome in outcomes {
        assert!(lab.got().is_empty());
        lab.gateway.tcp.backend_mut().connecting.borrow_mut().push_back(*outcome);
        let event = Event { token: 0, readable: true, writable: true, hangup: true, urgent: false };
        lab.gateway.host_ready(lab.now, &mut lab.pool, &*lab.room, token, &event);
        lab.flush();
    }
    ends
}

/// It has valid checksums, and quotes the guest's SYN.
#[track_caller]
fn quotes_syn(got: &Got, ends: (SocketAddr, SocketAddr)) {
    got.check();
    let quoted = got.quoted();
    quoted.check();
    assert_eq!(quoted.ends(), ends);
    let at = usize::from(quoted.parsed.l4.unwrap().offset);
    let header = wire::tcp::Header::new(&quoted.bytes[at..]).unwrap();
    assert_eq!((header.sequence(), header.flags()), (1000, flag::SYN));
}

#[test]
fn a_router_that_refuses_a_connection_is_named() {
    // No way to the network; no such host; prohibited; nobody listens, by a firewall's word; too many
    // routers on the way.
    for (codes, error) in [
        ([(3, 0), (1, 0)], StreamError::NetUnreachable),
        ([(3, 1), (1, 3)], StreamError::HostUnreachable),
        ([(3, 13), (1, 1)], StreamError::Prohibited),
        ([(3, 3), (1, 4)], StreamError::Refused),
        ([(11, 0), (3, 0)], StreamError::HostUnreachable),
    ] {
        for family in BOTH {
            let mut lab = Lab::new(plan());
            let report = Some(message(family, codes, family.router()));
            let ends = fails(&mut lab, family, &[Connecting::Failed { error, report }]);
            let got = lab.one();
            quotes_syn(&got, ends);
            assert_eq!(got.ips(), (family.router(), ends.0.ip()));
            assert_eq!(got.icmp(), codes[usize::from(family.v6)]);
            lab.moved(&[(Reason::TcpUnreachable, 1), (Reason::IcmpErrorIn, 1)]);
            assert!(lab.gateway.tcp.is_empty());
            lab.idle();
        }
    }
}

#[test]
fn a_failure_without_a_message_is_told_by_the_gateway() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let failed = Connecting::Failed { error: StreamError::HostUnreachable, report: None };
        let ends = fails(&mut lab, family, &[failed]);
        let got = lab.one();
        quotes_syn(&got, ends);
        assert_eq!(got.ips(), (family.gateway(0).ip(), ends.0.ip()));
        assert_eq!(got.icmp(), if family.v6 { (1, 3) } else { (3, 1) });
        lab.moved(&[(Reason::TcpUnreachable, 1)]);
        lab.idle();
    }
}

/// It points into a header that the guest has not sent.
#[test]
fn a_message_that_is_not_for_guests_is_told_in_another_way() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let report = Some(message(family, [(12, 0), (4, 0)], family.router()));
        let failed = Connecting::Failed { error: StreamError::Reset, report };
        fails(&mut lab, family, &[failed]);
        assert_eq!(segment(&lab.one()), (flag::RST | flag::ACK, 1001));
        lab.moved(&[(Reason::TcpRefused, 1), (Reason::TcpIn, 1)]);
        lab.idle();
    }
}

/// A message that names a guest, or this host's loopback, as its sender.
#[test]
fn nobody_outside_speaks_as_one_of_the_inside() {
    for family in BOTH {
        for offender in [family.guest(0).ip(), family.loopback(0).ip()] {
            let mut lab = Lab::new(plan());
            let report = Some(message(family, [(3, 1), (1, 3)], offender));
            let error = StreamError::HostUnreachable;
            let ends = fails(&mut lab, family, &[Connecting::Failed { error, report }]);
            let got = lab.one();
            quotes_syn(&got, ends);
            assert!(![family.guest(0).ip(), family.loopback(0).ip()].contains(&got.ips().0));
            lab.moved(&[(Reason::TcpUnreachable, 1), (Reason::IcmpErrorIn, 1)]);
        }
    }
}

/// The kernel reports a socket for an ICMP message before it has noted what the message says.
#[test]
fn a_report_before_its_time_opens_nothing() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let report = Some(message(family, [(3, 1), (1, 3)], family.router()));
        let failed = Connecting::Failed { error: StreamError::HostUnreachable, report };
        fails(&mut lab, family, &[Connecting::Pending, Connecting::Pending, failed]);
        assert_eq!(lab.one().ips().0, family.router());
        lab.moved(&[(Reason::TcpUnreachable, 1), (Reason::IcmpErrorIn, 1)]);
        lab.idle();
    }
}
