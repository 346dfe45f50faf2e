use wire::MacAddr;
use wire::build::{Builder, Ipv4, Ipv6};

use super::PIECES_MAX;
use crate::harness::{BOTH, Family, GUEST, Lab, Shape, plan};
use crate::{GuestKey, Reason};

/// Frames that carry `payload` as fragments at these offsets and lengths.
fn fragment(family: Family, payload: &[u8], id: u32, offset: usize, len: usize) -> Vec<u8> {
    let more = offset + len < payload.len();
    let mut bytes = vec![0; 4000];
    let frame = Builder::new(&mut bytes).ethernet(MacAddr::ZERO, MacAddr([2, 0, 0, 0, 0, 9]));
    let at = u16::try_from(offset / 8).unwrap();
    let (from, to) = (family.guest(0).ip(), family.outside(0).ip());
    let frame = match (from, to) {
        (std::net::IpAddr::V4(source), std::net::IpAddr::V4(destination)) => frame
            .ipv4(&Ipv4 {
                source,
                destination,
                id: u16::try_from(id).unwrap(),
                fragment: at | u16::from(more) << 13,
                ..Ipv4::default()
            })
            .protocol(17),
        (std::net::IpAddr::V6(source), std::net::IpAddr::V6(destination)) => {
            let [a, b] = (at << 3 | u16::from(more)).to_be_bytes();
            let [c, d, e, f] = id.to_be_bytes();
            frame
                .ipv6(&Ipv6 { source, destination, ..Ipv6::default() })
                .extension(44, &[0, a, b, c, d, e, f])
                .protocol(17)
        }
        _ => unreachable!("one family"),
    };
    let len = frame.payload(&payload[offset..offset + len]).finish().unwrap();
    bytes.truncate(len);
    bytes
}

/// A UDP datagram of the family from its header on, with the checksum right.
fn datagram(family: Family, len: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..len).map(|i| i.to_le_bytes()[0]).collect();
    let (frame, _) = Lab::udp_frame(family.guest(1), family.outside(9), &payload, Shape::default());
    frame[14 + family.header_len()..].to_vec()
}

#[test]
fn fragments_in_any_order_are_one_datagram() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let whole = datagram(family, 3000);
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            for i in order {
                let offset = i * 1400;
                let len = 1400.min(whole.len() - offset);
                let bytes = fragment(family, &whole, 5, offset, len);
                lab.frame(GUEST, &bytes, wire::Offload::NONE);
            }
            lab.flush();
            lab.moved(&[(Reason::FragmentHeld, 2), (Reason::Reassembled, 1), (Reason::UdpOut, 1)]);
            let sent = lab.host().sent.pop().unwrap();
            assert_eq!(sent.bytes, whole[8..]);
            assert!(sent.marks.unwrap().fragment, "it may be cut again");
            lab.idle();
        }
    }
}

#[test]
fn overlaps_end_the_datagram_and_repetitions_do_not() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let whole = datagram(family, 3000);
        let hand = |lab: &mut Lab, offset, len| {
            let bytes = fragment(family, &whole, 6, offset, len);
            lab.frame(GUEST, &bytes, wire::Offload::NONE);
        };
        hand(&mut lab, 0, 1400);
        hand(&mut lab, 0, 1400);
        lab.moved(&[(Reason::FragmentHeld, 1), (Reason::Fragment, 1)]);
        hand(&mut lab, 1392, 800);
        lab.moved(&[(Reason::FragmentFull, 2)]);
        lab.idle();
        // A last one that is not behind the others.
        hand(&mut lab, 1400, 1400);
        let short = &whole[..1408];
        let bytes = fragment(family, short, 6, 0, 1408);
        assert!(!wire::parse(&bytes).unwrap().fragment().is_part());
        let bytes = fragment(family, short, 6, 800, 608);
        lab.frame(GUEST, &bytes, wire::Offload::NONE);
        lab.moved(&[(Reason::FragmentHeld, 1), (Reason::FragmentFull, 2)]);
        lab.idle();
    }
}

#[test]
fn packets_under_way_are_bounded_and_end() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let whole = datagram(family, 3000);
        for id in 0..20 {
            let bytes = fragment(family, &whole, id, 0, 1400);
            lab.frame(GUEST, &bytes, wire::Offload::NONE);
        }
        lab.moved(&[(Reason::FragmentHeld, 20), (Reason::FragmentFull, 4)]);
        // What another guest sends does not complete it.
        let bytes = fragment(family, &whole, 19, 1400, 1400);
        lab.frame(GuestKey(99), &bytes, wire::Offload::NONE);
        lab.moved(&[(Reason::Fragment, 1)]);
        lab.pass(29);
        lab.moved(&[]);
        lab.pass(1);
        lab.moved(&[(Reason::FragmentExpired, 16)]);
        assert_eq!(lab.got().len(), 16, "each is told");
        lab.idle();
        assert_eq!(lab.gateway.next_deadline(), None);
    }
}

/// Who sent a packet that did not become whole is told if it can be said which (RFC 1122, 3.3.2; RFC
/// 8200, 4.5).
#[test]
fn what_does_not_become_whole_is_told_by_its_first_fragment() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let whole = datagram(family, 3000);
        for (offset, told) in [(0, true), (1400, false)] {
            let bytes = fragment(family, &whole, 7, offset, 1400);
            lab.frame(GUEST, &bytes, wire::Offload::NONE);
            lab.pass(30);
            lab.moved(&[(Reason::FragmentHeld, 1), (Reason::FragmentExpired, 1)]);
            if told {
                let got = lab.one();
                got.check();
                assert_eq!(got.icmp(), if family.v6 { (3, 1) } else { (11, 1) });
                let guest = family.guest(0).ip();
                assert_eq!(got.ips(), (family.gateway(0).ip(), guest));
                // All of it that fits, as it came.
                let quoted = got.quoted();
                assert_eq!(quoted.ips(), (guest, family.outside(0).ip()));
                assert_eq!(quoted.bytes[14..], bytes[14..quoted.bytes.len()]);
            }
            lab.idle();
        }
    }
}

/// Fragments of eight bytes, none of which is the last.
fn crumbs(lab: &mut Lab, family: Family, guest: GuestKey, id: u32, count: usize) {
    let whole = datagram(family, 3000);
    for nth in 0..count {
        let bytes = fragment(family, &whole, id, nth * 8, 8);
        lab.frame(guest, &bytes, wire::Offload::NONE);
    }
}

#[test]
fn a_guest_that_breaks_everything_into_crumbs_leaves_room_for_others() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        // It may have sixteen packets of 128 fragments under way, and half of the room for all.
        let each = PIECES_MAX as u64;
        for id in 0..8 {
            crumbs(&mut lab, family, GUEST, id, PIECES_MAX);
        }
        lab.moved(&[(Reason::FragmentHeld, 8 * each)]);
        // The one that is too many takes its packet along.
        crumbs(&mut lab, family, GUEST, 8, 1);
        lab.moved(&[(Reason::FragmentFull, 1)]);
        let whole = datagram(family, 3000);
        for offset in [0, 1400, 2800] {
            let bytes = fragment(family, &whole, 100, offset, 1400.min(whole.len() - offset));
            lab.frame(GuestKey(99), &bytes, wire::Offload::NONE);
        }
        lab.flush();
        lab.moved(&[(Reason::FragmentHeld, 2), (Reason::Reassembled, 1), (Reason::UdpOut, 1)]);
        lab.pass(30);
        lab.moved(&[(Reason::FragmentExpired, 8 * each)]);
        assert_eq!(lab.got().len(), 8, "once for each packet");
        lab.idle();
    }
}

#[test]
fn of_too_many_packets_the_guest_with_most_loses_one() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        crumbs(&mut lab, family, GuestKey(99), 900, 1);
        for guest in 0..8 {
            for id in 0..16 {
                crumbs(&mut lab, family, GuestKey(guest), guest * 16 + id, 1);
            }
        }
        // The oldest of all is a guest's that has no other: it stays, and can be completed.
        lab.moved(&[(Reason::FragmentHeld, 129), (Reason::FragmentFull, 1)]);
        let whole = datagram(family, 3000);
        for offset in (8..whole.len()).step_by(1400) {
            let bytes = fragment(family, &whole, 900, offset, 1400.min(whole.len() - offset));
            lab.frame(GuestKey(99), &bytes, wire::Offload::NONE);
        }
        lab.flush();
        lab.moved(&[(Reason::FragmentHeld, 2), (Reason::Reassembled, 1), (Reason::UdpOut, 1)]);
    }
}

#[test]
fn what_cannot_be_a_fragment_is_none() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let whole = datagram(family, 3000);
        // Not a multiple of eight, and beyond the longest packet.
        let bytes = fragment(family, &whole, 1, 0, 1401);
        lab.frame(GUEST, &bytes, wire::Offload::NONE);
        let long = vec![0; 66_000];
        let bytes = fragment(family, &long, 1, 65_400, 400);
        lab.frame(GUEST, &bytes, wire::Offload::NONE);
        lab.moved(&[(Reason::Fragment, 2)]);
        lab.idle();
    }
}

/// The key may come again for another guest, who has nothing to do with them.
#[test]
fn fragments_of_a_guest_that_is_gone_are_given_back() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        crumbs(&mut lab, family, GUEST, 1, 2);
        crumbs(&mut lab, family, GuestKey(99), 2, 3);
        crumbs(&mut lab, family, GUEST, 3, 1);
        lab.moved(&[(Reason::FragmentHeld, 6)]);
        lab.gateway.guest_gone(lab.now, &mut lab.pool, &*lab.room, GUEST);
        lab.moved(&[(Reason::FragmentExpired, 3)]);
        let usage = lab.pool.usage();
        assert_eq!(usage.small.used + usage.large.used, 3);
        // Only who is still here is told.
        lab.pass(30);
        lab.moved(&[(Reason::FragmentExpired, 3)]);
        lab.one();
        lab.idle();
    }
}

/// Whoever has the address next may choose the same identification.
#[test]
fn fragments_end_with_the_address_that_they_are_from() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let whole = datagram(family, 3000);
        let sends = |lab: &mut Lab, guest, piece: usize| {
            let bytes =
                fragment(family, &whole, 5, piece * 1000, (whole.len() - piece * 1000).min(1000));
            lab.frame(guest, &bytes, wire::Offload::NONE);
            lab.flush();
        };
        (0..3).for_each(|piece| sends(&mut lab, GUEST, piece));
        lab.moved(&[(Reason::FragmentHeld, 3)]);
        let (now, room) = (lab.now, crate::Unbounded);
        let others = family.outside(0).ip().into();
        lab.gateway.addresses_gone(now, &mut lab.pool, &room, others);
        lab.moved(&[]);
        let its = family.guest(0).ip().into();
        lab.gateway.addresses_gone(now, &mut lab.pool, &room, its);
        lab.moved(&[(Reason::FragmentExpired, 3)]);
        (0..4).for_each(|piece| sends(&mut lab, GuestKey(8), piece));
        lab.moved(&[(Reason::FragmentHeld, 3), (Reason::Reassembled, 1), (Reason::UdpOut, 1)]);
        lab.idle();
    }
}

#[test]
fn a_gateway_that_is_taken_away_gives_fragments_back() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        crumbs(&mut lab, family, GUEST, 1, 2);
        crumbs(&mut lab, family, GuestKey(99), 2, 3);
        lab.gateway.close(lab.now, &mut lab.pool, &*lab.room);
        lab.moved(&[(Reason::FragmentHeld, 5), (Reason::FragmentExpired, 5)]);
        lab.idle();
        assert_eq!(lab.gateway.next_deadline(), None);
    }
}
