extern crate std;

use super::*;
use crate::build::{self, Builder};
use crate::ipv6::extension;
use crate::{MacAddr, Tag};
use std::vec::Vec;

const MTU: usize = 1500;

struct Case {
    bytes: Vec<u8>,
    checksum: PartialChecksum,
}

fn case(payload: usize, make: impl FnOnce(Builder<'_>) -> Builder<'_>) -> Case {
    let mut buffer = std::vec![0; 70_000];
    let payload = std::vec![0x5a; payload];
    let frame = Builder::new(&mut buffer).ethernet(MacAddr([2; 6]), MacAddr([6; 6]));
    let (len, checksum) = make(frame).payload(&payload).finish_partial().unwrap();
    buffer.truncate(len);
    Case { bytes: buffer, checksum }
}

fn tcp4(payload: usize) -> Case {
    case(payload, |b| b.ipv4(&build::Ipv4::default()).tcp(&build::Tcp::default()))
}

fn tcp6(payload: usize) -> Case {
    case(payload, |b| b.ipv6(&build::Ipv6::default()).tcp(&build::Tcp::default()))
}

fn udp4(payload: usize) -> Case {
    case(payload, |b| b.ipv4(&build::Ipv4::default()).udp(1, 2))
}

fn udp6(payload: usize) -> Case {
    case(payload, |b| b.ipv6(&build::Ipv6::default()).udp(1, 2))
}

impl Case {
    fn gso(&self, kind: GsoKind, size: u16) -> Offload {
        let gso = Some(Gso { kind, size, ecn: false });
        Offload { checksum: Some(self.checksum), gso }
    }

    fn check(&self, offload: &Offload) -> Result<(), OffloadError> {
        check(offload, &self.bytes, self.bytes.len(), MTU)
    }

    fn partial(&self, start: u16, offset: u16) -> Result<(), OffloadError> {
        self.check(&Offload { checksum: Some(PartialChecksum { start, offset }), gso: None })
    }
}

#[test]
fn what_real_stacks_send_passes() {
    for (case, kind) in [
        (tcp4(60_000), GsoKind::Tcp4),
        (tcp6(60_000), GsoKind::Tcp6),
        (udp4(60_000), GsoKind::Udp),
        (udp6(60_000), GsoKind::Udp),
    ] {
        // The sizes of Ethernet, of a 576-byte path, and the smallest that is exact for UDP.
        for size in [1440, 536, 472] {
            assert_eq!(case.check(&case.gso(kind, size)), Ok(()), "{kind:?} {size}");
        }
        assert_eq!(case.check(&Offload { checksum: Some(case.checksum), gso: None }), Ok(()));
        assert_eq!(case.check(&Offload::NONE), Ok(()));
    }
    // The least a Linux peer can bring us to: 48 bytes with timestamps.
    let case = tcp4(65_000);
    assert_eq!(case.check(&case.gso(GsoKind::Tcp4, 36)), Ok(()));
}

#[test]
fn plain_frames_pass_unread() {
    assert_eq!(check(&Offload::NONE, &[], 0, 0), Ok(()));
}

#[test]
fn the_checksum_is_the_transport_headers() {
    let tcp = tcp4(100);
    assert_eq!(tcp.partial(34, 16), Ok(()));
    for (start, offset) in [(34, 15), (34, 17), (33, 16), (35, 16), (14, 10), (0, 0), (34, 6)] {
        let refused = Err(OffloadError::ChecksumPosition);
        assert_eq!(tcp.partial(start, offset), refused, "{start} {offset}");
    }
    assert_eq!(tcp.partial(34, u16::MAX), Err(OffloadError::ChecksumPosition));
    assert_eq!(tcp.partial(u16::MAX, u16::MAX), Err(OffloadError::InnerChecksum));
    assert_eq!(tcp.partial(54, 16), Err(OffloadError::InnerChecksum));
    let udp = udp6(100);
    assert_eq!(udp.partial(54, 6), Ok(()));
    assert_eq!(udp.partial(54, 16), Err(OffloadError::ChecksumPosition));
    let ping = case(8, |b| b.ipv6(&build::Ipv6::default()).icmpv6(128, 0));
    assert_eq!(ping.partial(54, 2), Ok(()));
    let vxlan = udp4(100);
    assert_eq!(vxlan.partial(42 + 8 + 14 + 20, 16), Err(OffloadError::InnerChecksum));
}

#[test]
fn no_transport_header() {
    let offload = Offload { checksum: Some(PartialChecksum { start: 34, offset: 16 }), gso: None };
    let bytes = tcp4(100).bytes;
    for len in 0..54 {
        assert_eq!(check(&offload, &bytes[..len], len, MTU), Err(OffloadError::NoTransport));
    }
    let arp = [&[0xff; 12][..], &[8, 6], &[0; 28]].concat();
    assert_eq!(check(&offload, &arp, arp.len(), MTU), Err(OffloadError::NoTransport));
}

#[test]
fn fragments() {
    let first = build::Ipv4 { fragment: 0x2000, ..Default::default() };
    let later = build::Ipv4 { fragment: 0x0010, ..Default::default() };
    for ip in [first, later] {
        let case = case(100, |b| b.ipv4(&ip).udp(1, 2));
        assert_eq!(case.partial(34, 6), Err(OffloadError::Fragment));
        assert_eq!(case.check(&case.gso(GsoKind::Udp, 50)), Err(OffloadError::Fragment));
    }
    let atomic = case(100, |b| {
        b.ipv6(&build::Ipv6::default()).extension(extension::FRAGMENT, &[0; 7]).udp(1, 2)
    });
    assert_eq!(atomic.partial(62, 6), Ok(()));
    assert_eq!(atomic.check(&atomic.gso(GsoKind::Udp, 50)), Err(OffloadError::Fragment));
}

#[test]
fn the_kind_is_the_headers() {
    let kinds = [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp];
    for (case, right) in [
        (tcp4(2000), GsoKind::Tcp4),
        (tcp6(2000), GsoKind::Tcp6),
        (udp4(2000), GsoKind::Udp),
        (udp6(2000), GsoKind::Udp),
    ] {
        for kind in kinds {
            let expected = if kind == right { Ok(()) } else { Err(OffloadError::GsoKind) };
            assert_eq!(case.check(&case.gso(kind, 1000)), expected);
        }
        let without = Offload { checksum: None, ..case.gso(right, 1000) };
        assert_eq!(case.check(&without), Err(OffloadError::GsoWithoutChecksum));
    }
    let ping = case(2000, |b| b.ipv6(&build::Ipv6::default()).icmpv6(128, 0));
    assert_eq!(ping.check(&ping.gso(GsoKind::Udp, 1000)), Err(OffloadError::GsoKind));
}

#[test]
fn ecn_belongs_to_tcp() {
    let ecn = |mut offload: Offload| {
        offload.gso.as_mut().unwrap().ecn = true;
        offload
    };
    let tcp = tcp4(2000);
    assert_eq!(tcp.check(&ecn(tcp.gso(GsoKind::Tcp4, 1000))), Ok(()));
    let udp = udp4(2000);
    let refused = Err(OffloadError::EcnWithoutTcp);
    assert_eq!(udp.check(&ecn(udp.gso(GsoKind::Udp, 1000))), refused);
}

#[test]
fn segments_are_bounded_in_size_and_number() {
    let tcp = tcp4(65_000);
    for size in 0..TCP_SIZE_MIN {
        let offload = tcp.gso(GsoKind::Tcp4, size);
        assert_eq!(tcp.check(&offload), Err(OffloadError::SegmentTooSmall));
    }
    assert_eq!(tcp.check(&tcp.gso(GsoKind::Tcp4, 31)), Err(OffloadError::TooManySegments));
    assert_eq!(tcp.check(&tcp.gso(GsoKind::Tcp4, 32)), Ok(()));
    assert_eq!(tcp.check(&tcp.gso(GsoKind::Tcp4, 1460)), Ok(()));
    assert_eq!(tcp.check(&tcp.gso(GsoKind::Tcp4, 1461)), Err(OffloadError::SegmentTooLarge));
    let udp = udp6(128);
    assert_eq!(udp.check(&udp.gso(GsoKind::Udp, 0)), Err(OffloadError::SegmentTooSmall));
    assert_eq!(udp.check(&udp.gso(GsoKind::Udp, 1)), Ok(()));
    let udp = udp6(129);
    assert_eq!(udp.check(&udp.gso(GsoKind::Udp, 1)), Err(OffloadError::TooManySegments));
    // One segment is a frame that need not be cut, but its size is no excuse.
    let small = tcp4(100);
    assert_eq!(small.check(&small.gso(GsoKind::Tcp4, 1460)), Ok(()));
    let refused = Err(OffloadError::SegmentTooLarge);
    assert_eq!(small.check(&small.gso(GsoKind::Tcp4, u16::MAX)), refused);
}

#[test]
fn lengths_are_the_frames() {
    let case = udp4(2000);
    let offload = case.gso(GsoKind::Udp, 1000);
    let len = case.bytes.len();
    for frame_len in [len - 1, len + 1, 42, 41, 0] {
        let refused = Err(OffloadError::Length);
        assert_eq!(check(&offload, &case.bytes, frame_len, MTU), refused, "{frame_len}");
    }
    let mut wrong = udp4(2000);
    wrong.bytes[39] ^= 1;
    assert_eq!(wrong.check(&offload), Err(OffloadError::Length));
    let empty = tcp6(0);
    assert_eq!(empty.check(&empty.gso(GsoKind::Tcp6, 1000)), Err(OffloadError::Length));
}

#[test]
fn headers_leave_room_for_a_tag() {
    // 54 bytes of Ethernet and IPv6, 24 of TCP, and an extension header of 168 or 176 between.
    let build = |len: u8| {
        case(2000, move |b| {
            let padding = std::vec![0; usize::from(len) * 8 + 6];
            b.ipv6(&build::Ipv6::default())
                .extension(extension::DESTINATION, &[&[len][..], &padding].concat())
                .tcp(&build::Tcp { options: &[1; 4], ..Default::default() })
        })
    };
    let fits = build(20);
    assert_eq!(parse(&fits.bytes).unwrap().headers_len(), Some(246));
    assert_eq!(fits.check(&fits.gso(GsoKind::Tcp6, 500)), Ok(()));
    let long = build(21);
    assert_eq!(parse(&long.bytes).unwrap().headers_len(), Some(254));
    let refused = Err(OffloadError::HeadersTooLong);
    assert_eq!(long.check(&long.gso(GsoKind::Tcp6, 500)), refused);
    let checksum = Offload { checksum: Some(long.checksum), gso: None };
    assert_eq!(long.check(&checksum), refused);
}

#[test]
fn needs_and_takes() {
    let case = tcp4(2000);
    let mut offload = case.gso(GsoKind::Tcp4, 1000);
    assert_eq!(offload.needs(), OffloadSet::CSUM | OffloadSet::TSO4);
    offload.gso.as_mut().unwrap().ecn = true;
    assert_eq!(offload.needs(), OffloadSet::CSUM | OffloadSet::TSO4 | OffloadSet::TSO_ECN);
    assert!(!(OffloadSet::CSUM | OffloadSet::TSO4).takes(&offload));
    assert!(OffloadSet::all().takes(&offload));
    assert!(OffloadSet::empty().takes(&Offload::NONE));
    assert!(!OffloadSet::empty().takes(&Offload { gso: None, ..offload }));
    let udp = case.gso(GsoKind::Udp, 1000);
    assert!(!(OffloadSet::CSUM | OffloadSet::USO4).takes(&udp));
}

#[test]
fn names_round_trip() {
    let names: Vec<_> = OffloadSet::all().names().collect();
    assert_eq!(names, ["csum", "tso4", "tso6", "tso-ecn", "uso4", "uso6"]);
    let set = names
        .iter()
        .fold(OffloadSet::empty(), |set, name| set | OffloadSet::from_short_name(name).unwrap());
    assert_eq!(set, OffloadSet::all());
    assert_eq!(OffloadSet::from_short_name("ufo"), None);
}

#[test]
fn the_longest_frame_on_the_wire() {
    let case = tcp4(3000);
    let len = case.bytes.len();
    let longest = |offload: &Offload| max_wire_len(offload, &case.bytes, len);
    assert_eq!(longest(&Offload::NONE), len);
    assert_eq!(longest(&Offload { checksum: Some(case.checksum), gso: None }), len);
    assert_eq!(longest(&case.gso(GsoKind::Tcp4, 1000)), 1054);
    assert_eq!(longest(&case.gso(GsoKind::Tcp4, 5000)), len);
}

#[test]
fn tags_move_the_checksum() {
    let offload = Offload { checksum: Some(PartialChecksum { start: 34, offset: 16 }), gso: None };
    let pushed = offload.with_tag_pushed();
    assert_eq!(pushed.checksum, Some(PartialChecksum { start: 38, offset: 16 }));
    assert_eq!(pushed.with_tag_popped(), offload);
    assert_eq!(Offload::NONE.with_tag_pushed(), Offload::NONE);
    let tagged = case(10, |b| b.tag(Tag::new(3)).ipv4(&build::Ipv4::default()).udp(1, 2));
    assert_eq!(tagged.partial(38, 6), Ok(()));
}
