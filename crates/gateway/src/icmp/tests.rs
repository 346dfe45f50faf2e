use wire::build::Builder;
use wire::{MacAddr, Offload};

use crate::Reason;
use crate::harness::{BOTH, GUEST, Lab, Shape, plan};

#[test]
fn an_unknown_protocol_is_unreachable() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let mut bytes = [0; 200];
        let frame = Builder::new(&mut bytes).ethernet(MacAddr::ZERO, MacAddr([2, 0, 0, 0, 0, 9]));
        let frame = crate::harness::ip(frame, family.guest(0), family.outside(0), Shape::default());
        // SCTP
        let len = frame.protocol(132).payload(&[7; 64]).finish().unwrap();
        lab.frame(GUEST, &bytes[..len], Offload::NONE);
        lab.moved(&[(Reason::Protocol, 1)]);
        let got = lab.one();
        got.check();
        assert_eq!(got.icmp(), if family.v6 { (4, 1) } else { (3, 2) });
        assert_eq!(got.ips(), (family.gateway(0).ip(), family.guest(0).ip()));
    }
}

#[test]
fn a_partial_checksum_is_complete_in_the_quotation() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let (mut bytes, _) =
            Lab::udp_frame(family.guest(1), family.loopback(9), b"partial", Shape::default());
        let start = 14 + family.header_len();
        let len = bytes.len() - start;
        let (from, to) = (family.guest(1).ip(), family.loopback(9).ip());
        let sum = crate::packet::pseudo(from, to, 17, len);
        bytes[start + 6..start + 8].copy_from_slice(&sum.to_be_bytes());
        let start = u16::try_from(start).unwrap();
        let checksum = Some(wire::PartialChecksum { start, offset: 6 });
        lab.frame(GUEST, &bytes, Offload { checksum, gso: None });
        lab.moved(&[(Reason::HostRefused, 1)]);
        let got = lab.one();
        got.check();
        got.quoted().check();
        assert_eq!(got.quoted().payload(), b"partial");
    }
}

#[test]
fn a_long_packet_is_quoted_as_far_as_a_message_may() {
    for (family, longest) in BOTH.into_iter().zip([576, 1280]) {
        let mut lab = Lab::new(plan());
        let (bytes, offload) =
            Lab::udp_frame(family.guest(1), family.loopback(9), &[1; 1400], Shape::default());
        lab.frame(GUEST, &bytes, offload);
        let got = lab.one();
        got.check();
        assert_eq!(got.bytes.len(), 14 + longest);
    }
}

#[test]
fn errors_and_answers_of_guests_are_only_counted() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        for kind in if family.v6 { [1, 129, 136] } else { [3, 0, 13] } {
            let mut bytes = [0; 200];
            let frame =
                Builder::new(&mut bytes).ethernet(MacAddr::ZERO, MacAddr([2, 0, 0, 0, 0, 9]));
            let (from, to) = (family.guest(0), family.outside(0));
            let frame = crate::harness::ip(frame, from, to, Shape::default());
            let frame = if family.v6 {
                frame.icmpv6(kind, 0).payload(&[0; 4])
            } else {
                frame.icmpv4(kind, 0, [0; 4])
            };
            let (inner, _) = Lab::udp_frame(to, from, b"x", Shape::default());
            let len = frame.payload(&inner[14..]).finish().unwrap();
            lab.frame(GUEST, &bytes[..len], Offload::NONE);
            lab.moved(&[(Reason::IcmpIgnored, 1)]);
        }
        lab.idle();
    }
}
