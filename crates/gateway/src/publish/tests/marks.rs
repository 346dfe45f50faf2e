//! What an answer takes along to the outside, and what becomes of it on a path that is too narrow.

use super::*;
use crate::backend::datagram::Marks;

/// A client that was heard, its socket, and the guest's end.
fn heard(lab: &mut Lab, family: Family, client: SocketAddr) -> SocketAddr {
    lab.host().arrive(socket(family), client, b"question", None);
    lab.host_side();
    lab.moved(&[(Reason::PublishedIn, 1)]);
    lab.one().ends().0
}

#[test]
fn an_answer_keeps_ttl_class_and_whether_it_may_be_cut() {
    for family in BOTH {
        let (mut lab, _) = lab();
        let client = family.outside(4444);
        heard(&mut lab, family, client);
        let mut expected = Vec::new();
        for (ttl, class, dont_fragment) in
            [(64, 0, true), (64, 0, true), (9, 0x2b, true), (2, 1, family.v6)]
        {
            let shape = Shape { ttl, class, dont_fragment, segment: None };
            lab.udp_as(GUEST, family.guest(80), client, b"answer", shape);
            // Routers do not cut packets of IPv6.
            let fragment = !dont_fragment && !family.v6;
            expected.push(Some(Marks { ttl: ttl - 1, class, fragment }));
        }
        lab.flush();
        lab.moved(&[(Reason::PublishedOut, 4)]);
        let sent: Vec<_> = lab.host().sent.drain(..).map(|sent| sent.marks).collect();
        assert_eq!(sent, expected);
        // This is a hop as any other.
        let shape = Shape { ttl: 1, ..Shape::default() };
        lab.udp_as(GUEST, family.guest(80), client, b"answer", shape);
        lab.moved(&[(Reason::TtlExpired, 1)]);
        let got = lab.one();
        got.check();
        assert_eq!(got.icmp(), if family.v6 { (3, 0) } else { (11, 0) });
        assert_eq!(got.quoted().ends(), (family.guest(80), client));
        // Who appears as the gateway is where the packet ends.
        let seen = heard(&mut lab, family, family.loopback(4445));
        lab.udp_as(GUEST, family.guest(80), seen, b"answer", shape);
        lab.moved(&[(Reason::PublishedOut, 1)]);
        assert_eq!(lab.host().sent.pop().unwrap().marks.unwrap().ttl, 1);
        lab.idle();
    }
}

#[test]
fn an_answer_that_is_too_long_for_the_path_is_told() {
    for family in BOTH {
        let (mut lab, _) = lab();
        let (web, client) = (family.guest(80), family.outside(4444));
        heard(&mut lab, family, client);
        // As the kernel tells it: of IPv4 without the port.
        let port = if family.v6 { client.port() } else { 0 };
        let error = SocketError {
            origin: Origin::Local,
            errno: 90,
            info: 1400,
            offender: None,
            destination: Some(SocketAddr::new(client.ip(), port)),
            local: None,
            len: 0,
        };
        lab.host().fail_send.push_back(90);
        lab.host().fail(socket(family), error, b"");
        lab.udp(web, client, &[0; 1450]);
        lab.moved(&[(Reason::TooBig, 1), (Reason::IcmpErrorIn, 1)]);
        let got = lab.one();
        got.check();
        assert_eq!(got.icmp(), if family.v6 { (2, 0) } else { (3, 4) });
        let l4 = usize::from(got.parsed.l4.unwrap().offset);
        assert_eq!(got.bytes[l4 + 6..l4 + 8], 1400_u16.to_be_bytes());
        assert_eq!(got.quoted().ends(), (web, client));
        lab.idle();
    }
}

#[test]
fn an_old_error_does_not_cost_the_next_answer() {
    for family in BOTH {
        let (mut lab, _) = lab();
        let (web, client) = (family.guest(80), family.outside(4444));
        heard(&mut lab, family, client);
        lab.host().fail_send.push_back(111);
        lab.host().fail(socket(family), refused(family, client), b"earlier");
        lab.udp(web, client, b"answer");
        lab.moved(&[(Reason::PublishedOut, 1), (Reason::IcmpErrorIn, 1)]);
        assert_eq!(lab.host().sent.pop().unwrap().bytes, b"answer");
        assert_eq!(lab.one().quoted().payload(), b"earlier");
        // Without a way, the guest is told so; with what the host has no room for, nothing.
        for (errno, reason, told) in [
            (101, Reason::NoRoute, true),
            (1, Reason::SendFailed, true),
            (105, Reason::SendFull, false),
        ] {
            lab.host().fail_send.push_back(errno);
            lab.udp(web, client, b"answer");
            lab.moved(&[(reason, 1)]);
            assert_eq!(lab.got().len(), usize::from(told), "{errno}");
        }
        lab.idle();
    }
}
