//! Echo.

use std::net::SocketAddr;

use super::{EXCEEDED, PROHIBITED};
use crate::Reason;
use crate::harness::{BOTH, Lab, plan};

#[test]
fn echo_and_its_answer() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let (guest, remote) = (family.guest(0).ip(), family.outside(0).ip());
        lab.echo(guest, remote, 0x1234, b"ping");
        lab.moved(&[(Reason::EchoOut, 1)]);
        let mut message = lab.host().sent.pop().unwrap().bytes;
        assert_eq!((message[4..6].to_vec(), &message[8..]), (vec![0x12, 0x34], &b"ping"[..]));
        // The kernel has its own identifier.
        message[0] = family.of([0, 129]);
        message[4..6].copy_from_slice(&[0xab, 0xcd]);
        lab.host().arrive(0, SocketAddr::new(remote, 0), &message, None);
        lab.host_side();
        lab.moved(&[(Reason::EchoIn, 1)]);
        let got = lab.one();
        got.check();
        assert_eq!((got.ips(), got.icmp().0), ((remote, guest), message[0]));
        let l4 = usize::from(got.parsed.l4.unwrap().offset);
        assert_eq!(got.bytes[l4 + 4..l4 + 8], [0x12, 0x34, 0, 1]);
        lab.idle();
    }
}

/// The kernel does not cut ICMP messages, as it does UDP.
#[test]
fn requests_of_one_batch_stay_messages_of_their_own() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let (guest, remote) = (family.guest(0).ip(), family.outside(0).ip());
        for text in [b"one", b"two", b"six"] {
            lab.echo_in_batch(guest, remote, 0x1234, text);
        }
        assert!(lab.host().sent.is_empty(), "they wait for the end of the batch");
        lab.flush();
        lab.moved(&[(Reason::EchoOut, 3)]);
        let sent: Vec<_> = lab.host().sent.drain(..).collect();
        let texts: Vec<_> = sent.iter().map(|sent| (&sent.bytes[8..], sent.segment)).collect();
        assert_eq!(texts, [(&b"one"[..], None), (b"two", None), (b"six", None)]);
        assert!(sent.iter().all(|sent| sent.socket == 0 && sent.to.ip() == remote));
        // One that fails costs the others nothing.
        lab.host().fail_send.extend([0, 22]);
        for text in [b"one", b"two", b"six"] {
            lab.echo_in_batch(guest, remote, 0x1234, text);
        }
        lab.flush();
        lab.moved(&[(Reason::EchoOut, 2), (Reason::SendFailed, 1)]);
        let texts: Vec<_> = lab.host().sent.drain(..).map(|s| s.bytes[8..].to_vec()).collect();
        assert_eq!(texts, [b"one", b"six"]);
        lab.idle();
    }
}

/// RFC 5508, REQ-2.
#[test]
fn a_mapping_ends_when_nothing_was_asked_and_answered_for_a_minute() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let (guest, remote) = (family.guest(0).ip(), family.outside(0).ip());
        lab.echo(guest, remote, 1, b"ping");
        lab.pass(59);
        assert_eq!(lab.gateway.status().flows, [0, 0, 1]);
        lab.pass(3);
        assert_eq!(lab.gateway.status().flows, [0, 0, 0]);
        lab.moved(&[(Reason::EchoOut, 1), (Reason::Expired, 1)]);
        // An answer keeps it as well, as long.
        lab.echo(guest, remote, 1, b"ping");
        let mut message = lab.host().sent.pop().unwrap().bytes;
        message[0] = family.of([0, 129]);
        lab.pass(50);
        lab.host().arrive(1, SocketAddr::new(remote, 0), &message, None);
        lab.host_side();
        assert_eq!(lab.got().len(), 1);
        lab.pass(59);
        assert_eq!(lab.gateway.status().flows, [0, 0, 1]);
        lab.pass(3);
        assert_eq!((lab.gateway.status().flows, lab.gateway.next_deadline()), ([0; 3], None));
        lab.moved(&[(Reason::EchoOut, 1), (Reason::EchoIn, 1), (Reason::Expired, 1)]);
        lab.idle();
    }
}

#[test]
fn traceroute_with_echo() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let (guest, remote) = (family.guest(0).ip(), family.outside(0).ip());
        lab.echo(guest, remote, 0x1234, b"ping");
        let mut message = lab.host().sent.pop().unwrap().bytes;
        message[4..6].copy_from_slice(&[0xab, 0xcd]);
        let error = family.error(EXCEEDED, 113, family.router(), SocketAddr::new(remote, 0));
        lab.host().fail(0, error, &message);
        lab.host_side();
        lab.moved(&[(Reason::EchoOut, 1), (Reason::IcmpErrorIn, 1)]);
        let got = lab.one();
        got.check();
        assert_eq!(got.ips(), (family.router(), guest));
        let quoted = got.quoted();
        quoted.check();
        assert_eq!(quoted.ips(), (guest, remote));
        let l4 = usize::from(quoted.parsed.l4.unwrap().offset);
        assert_eq!(quoted.bytes[l4 + 4..], [&[0x12, 0x34, 0, 1][..], b"ping"].concat());
    }
}

#[test]
fn where_echo_is_refused_the_guest_and_the_status_say_so() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        lab.host().fail_open.push_back(13);
        lab.echo(family.guest(0).ip(), family.outside(0).ip(), 1, b"ping");
        lab.moved(&[(Reason::EchoRefused, 1)]);
        assert_eq!(lab.one().icmp(), family.of(PROHIBITED));
        let status = lab.gateway.status();
        let (said, other) = if family.v6 {
            (status.echo_v6, status.echo_v4)
        } else {
            (status.echo_v4, status.echo_v6)
        };
        assert!(said.unwrap().contains("ping_group_range"));
        assert_eq!(other, None);
        // The gateway itself always answers.
        lab.echo(family.guest(0).ip(), family.gateway(0).ip(), 1, b"ping");
        lab.echo(family.guest(0).ip(), family.host_internal(0).ip(), 1, b"ping");
        lab.moved(&[(Reason::EchoAnswered, 2)]);
        for got in lab.got() {
            got.check();
            assert_eq!(got.icmp().0, family.of([0, 129]));
        }
        lab.idle();
    }
}
