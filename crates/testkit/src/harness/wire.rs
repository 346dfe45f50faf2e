//! The harnesses of `wire`: whatever the bytes, nothing panics, and what is said of them holds.

use wire::checksum::{self, add, sum, sum_pieces, update_partial};
use wire::vnet::Endian;
use wire::{
    HEADER_MAX, L3, Offload, Parsed, Segmenter, Transport, VNET_HDR_LEN, arp, ethernet, icmpv4,
    icmpv6, ipv4, ipv6, ndp, offload, tcp, udp, vnet,
};

/// A frame: every parser and view reads it, and the parsers agree with each other.
///
/// # Panics
/// When one of them is wrong.
pub fn parse(frame: &[u8]) {
    let whole = wire::parse(frame);
    let l2 = wire::parse::ethernet(frame);
    let (Ok(whole), Ok(l2)) = (whole, l2) else {
        assert_eq!(whole.err(), l2.err());
        return;
    };
    assert_eq!(l2, Parsed { l3: None, l4: None, malformed: None, ..whole });
    assert!(whole.l4.is_none() || whole.l3.is_some());
    let l3 = usize::from(whole.l3_offset);
    assert_eq!(l3, ethernet::HEADER_LEN + 4 * usize::from(whole.tags));
    if let Some(headers_len) = whole.headers_len() {
        assert!(l3 < headers_len && headers_len <= frame.len());
        // What lies behind the headers changes nothing.
        assert_eq!(wire::parse(&frame[..headers_len]), Ok(whole));
        if headers_len <= HEADER_MAX {
            assert_eq!(wire::parse(&frame[..frame.len().min(HEADER_MAX)]), Ok(whole));
        }
    }
    // The views accept what they accept, whatever the EtherType said.
    let packet = &frame[l3..];
    let _ = arp::Packet::new(packet).map(|packet| (packet.sender_mac(), packet.target_ip()));
    if let Ok(header) = ipv4::Header::new(packet) {
        assert!(header.header_len() <= packet.len().min(ipv4::HEADER_LEN_MAX));
        let _ = header.checksum_is_good();
    }
    if let Ok(header) = ipv6::Header::new(packet) {
        let chain = ipv6::walk(header.next_header(), &packet[ipv6::HEADER_LEN..]);
        assert!(chain.is_ok_and(|chain| usize::from(chain.len) <= packet.len()) || chain.is_err());
    }
    let message = &frame[whole.l4.map_or(l3, |l4| usize::from(l4.offset))..];
    let _ = (tcp::Header::new(message), udp::Header::new(message));
    let _ = (icmpv4::Header::new(message), icmpv6::Header::new(message));
    if let Ok(neighbour) = ndp::Neighbour::new(message) {
        let bytes: usize = neighbour.options().map(|option| option.body.len() + 2).sum();
        assert!(bytes <= message.len() - ndp::NEIGHBOUR_LEN);
        let _ = (neighbour.link_address(1), neighbour.options().is_sound());
    }
}

/// A vnet header and the frame behind it: what is accepted is completed and cut, and the results
/// are frames whose checksums follow from the partial one.
///
/// # Panics
/// When they do not.
pub fn segment(bytes: &[u8]) {
    let Some((header, frame)) = bytes.split_at_checked(VNET_HDR_LEN) else {
        let _ = vnet::decode(bytes);
        return;
    };
    let Ok(offload) = vnet::decode_with(header, Endian::Little) else { return };
    let mut again = [0; VNET_HDR_LEN];
    vnet::encode_with(&offload, frame, &mut again, Endian::Little);
    assert_eq!(vnet::decode_with(&again, Endian::Little), Ok(offload));

    let checked = offload::check(&offload, frame, frame.len(), 1500);
    // The pieces join at a place that the frame itself chooses, and at both ends.
    let border = usize::from(sum(frame)) % (frame.len() + 1);
    for border in [0, border, frame.len()] {
        let (a, b) = frame.split_at(border);
        complete(&offload, &[a, b], checked.is_ok());
        cut(&offload, &[a, b], checked.is_ok());
    }
}

fn complete(offload: &Offload, frame: &[&[u8]; 2], checked: bool) {
    let mut out = [0; HEADER_MAX];
    let Some(partial) = offload.checksum else {
        assert_eq!(checksum::complete(offload, frame, &mut out), Ok(0));
        return;
    };
    let Ok(front) = checksum::complete(offload, frame, &mut out) else {
        assert!(!checked);
        return;
    };
    let whole = frame.concat();
    let field = partial.field();
    assert_eq!(front, field + 2);
    assert_eq!(out[..field], whole[..field]);
    // The complete checksum and the sum that it negates are all ones together.
    let before = sum_pieces(frame, &(usize::from(partial.start)..whole.len()));
    let negated = u16::from_be_bytes([out[field], out[field + 1]]);
    assert_eq!(add(before, negated), 0xffff);
}

fn cut(offload: &Offload, frame: &[&[u8]; 2], checked: bool) {
    let Ok(mut segmenter) = Segmenter::new(offload, frame) else {
        assert!(!checked || offload.gso.is_none());
        return;
    };
    let whole = frame.concat();
    let parsed = wire::parse(&whole).expect("what is cut has headers");
    let l4 = usize::from(parsed.l4.expect("what is cut has a transport header").offset);
    let partial = offload.checksum.expect("what is cut has a partial checksum").field();
    let partial = u16::from_be_bytes([whole[partial], whole[partial + 1]]);
    let longest = offload::max_wire_len(offload, &whole, whole.len());
    let (count, bytes) = (segmenter.remaining(), segmenter.remaining_bytes());
    assert!((1..=offload::TCP_SEGMENTS_MAX).contains(&count));

    let mut position = parsed.headers_len().expect("it has a transport header");
    let (mut seen, mut sent) = (0, 0);
    let mut out = [0; HEADER_MAX];
    while let Some(segment) = segmenter.next(frame, &mut out) {
        assert_eq!(segment.payload.start, position);
        position = segment.payload.end;
        seen += 1;
        sent += segment.len();
        assert!(segment.len() <= longest);
        let small = [&out[..segment.header_len], &whole[segment.payload]].concat();
        let its = wire::parse(&small).expect("a segment has the frame's headers");
        assert_eq!((its.headers_len(), its.l3_offset), (parsed.headers_len(), parsed.l3_offset));
        assert_eq!(its.claimed_len(), Some(small.len()));
        if let Some(L3::Ipv4(_)) = its.l3 {
            let header = ipv4::Header::new(&small[usize::from(its.l3_offset)..]);
            assert!(header.is_ok_and(ipv4::Header::checksum_is_good));
        }
        if let Some(Transport::Udp { len, .. }) = its.l4.map(|l4| l4.transport) {
            assert_eq!(usize::from(len), small.len() - l4);
        }
        // Length checks keep both below 2^16.
        let pseudo = update_partial(partial, (whole.len() - l4) as u16, (small.len() - l4) as u16);
        assert_eq!(add(pseudo, sum(&small[l4..])), 0xffff);
    }
    assert_eq!((seen, sent, position), (count, bytes, whole.len()));
}
