//! Frames of every shape this crate serves, and etherparse's opinion of them.

#![allow(dead_code)] // each test file uses its part

use etherparse::checksum::Sum16BitWords;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::Ipv4Addr;
use wire::build::{Builder, Ipv4, Ipv6, Tcp};
use wire::ipv6::extension;
use wire::{GsoKind, MacAddr, PartialChecksum, Tag};

#[derive(Clone, Debug)]
pub(crate) enum Network {
    V4 { source: Ipv4Addr, destination: Ipv4Addr, id: u16, traffic_class: u8, options: Vec<u8> },
    V6 { header: Ipv6, extensions: Vec<(u8, Vec<u8>)> },
}

#[derive(Clone, Debug)]
pub(crate) enum Transport {
    Tcp { source: u16, destination: u16, sequence: u32, flags: u8, urgent: u16, options: Vec<u8> },
    Udp { source: u16, destination: u16 },
    Icmp { kind: u8, code: u8 },
}

/// A frame by its fields.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) destination: MacAddr,
    pub(crate) source: MacAddr,
    pub(crate) tags: Vec<Tag>,
    pub(crate) network: Network,
    pub(crate) transport: Transport,
    pub(crate) payload: Vec<u8>,
}

impl Spec {
    fn start<'a>(&self, out: &'a mut [u8]) -> Builder<'a> {
        let mut frame = Builder::new(out).ethernet(self.destination, self.source);
        for tag in &self.tags {
            frame = frame.tag(*tag);
        }
        let v6 = match &self.network {
            Network::V4 { source, destination, id, traffic_class, options } => {
                frame = frame.ipv4(&Ipv4 {
                    source: *source,
                    destination: *destination,
                    id: *id,
                    traffic_class: *traffic_class,
                    options,
                    ..Ipv4::default()
                });
                false
            }
            Network::V6 { header, extensions } => {
                frame = frame.ipv6(header);
                for (kind, body) in extensions {
                    frame = frame.extension(*kind, body);
                }
                true
            }
        };
        frame = match &self.transport {
            Transport::Tcp { source, destination, sequence, flags, urgent, options } => {
                frame.tcp(&Tcp {
                    source: *source,
                    destination: *destination,
                    sequence: *sequence,
                    flags: *flags,
                    urgent: *urgent,
                    options,
                    ..Tcp::default()
                })
            }
            Transport::Udp { source, destination } => frame.udp(*source, *destination),
            Transport::Icmp { kind, code } if v6 => {
                frame.icmpv6(*kind, *code).payload(&[1, 2, 3, 4])
            }
            Transport::Icmp { kind, code } => frame.icmpv4(*kind, *code, [1, 2, 3, 4]),
        };
        frame.payload(&self.payload)
    }

    /// The frame with its checksums complete.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut out = vec![0; self.payload.len() + 1024];
        let len = self.start(&mut out).finish().unwrap();
        out.truncate(len);
        out
    }

    /// The frame with a partial transport checksum.
    pub(crate) fn build_partial(&self) -> (Vec<u8>, PartialChecksum) {
        let mut out = vec![0; self.payload.len() + 1024];
        let (len, checksum) = self.start(&mut out).finish_partial().unwrap();
        out.truncate(len);
        (out, checksum)
    }

    /// How this frame may be cut, if it may.
    pub(crate) fn gso_kind(&self) -> Option<GsoKind> {
        match (&self.transport, &self.network) {
            (Transport::Tcp { .. }, Network::V4 { .. }) => Some(GsoKind::Tcp4),
            (Transport::Tcp { .. }, Network::V6 { .. }) => Some(GsoKind::Tcp6),
            (Transport::Udp { .. }, _) => Some(GsoKind::Udp),
            (Transport::Icmp { .. }, _) => None,
        }
    }
}

fn unicast() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(|mut mac| {
        mac[0] &= !1;
        MacAddr(mac)
    })
}

fn tag() -> impl Strategy<Value = Tag> {
    // 0x9100 is left out: not every reader knows it.
    (prop::sample::select(vec![0x8100, 0x88a8]), any::<u16>())
        .prop_map(|(tpid, tci)| Tag { tpid, tci })
}

fn words(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<[u8; 4]>(), 0..=max).prop_map(|words| words.concat())
}

/// No options at first octet: these end the list, so that any bytes may follow.
fn ip_options() -> impl Strategy<Value = Vec<u8>> {
    words(10).prop_map(|mut options| {
        if let Some(first) = options.first_mut() {
            *first = 0;
        }
        options
    })
}

fn extension_body(kind: u8) -> BoxedStrategy<(u8, Vec<u8>)> {
    let units = if kind == extension::AUTHENTICATION { 1..4_u8 } else { 0..3_u8 };
    units
        .prop_flat_map(move |units| {
            let len = match kind {
                extension::AUTHENTICATION => (usize::from(units) + 2) * 4 - 2,
                _ => (usize::from(units) + 1) * 8 - 2,
            };
            vec(any::<u8>(), len).prop_map(move |rest| (kind, [&[units][..], &rest].concat()))
        })
        .boxed()
}

fn extensions() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    use extension::{AUTHENTICATION, DESTINATION, HOP_BY_HOP, ROUTING};
    let later = prop::sample::select(vec![AUTHENTICATION, DESTINATION, ROUTING]);
    let later = vec(later.prop_flat_map(extension_body), 0..3);
    (prop::option::of(extension_body(HOP_BY_HOP)), later)
        .prop_map(|(first, later)| first.into_iter().chain(later).collect())
}

fn network() -> impl Strategy<Value = Network> {
    let v4 = (any::<[u8; 4]>(), any::<[u8; 4]>(), any::<u16>(), any::<u8>(), ip_options())
        .prop_map(|(source, destination, id, traffic_class, options)| Network::V4 {
            source: source.into(),
            destination: destination.into(),
            id,
            traffic_class,
            options,
        });
    let header = (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<u8>(), 0..1_u32 << 20).prop_map(
        |(source, destination, traffic_class, flow_label)| Ipv6 {
            source: source.into(),
            destination: destination.into(),
            traffic_class,
            flow_label,
            hop_limit: 64,
        },
    );
    let v6 =
        (header, extensions()).prop_map(|(header, extensions)| Network::V6 { header, extensions });
    prop_oneof![v4, v6]
}

fn transport() -> impl Strategy<Value = Transport> {
    let tcp = (any::<u16>(), any::<u16>(), any::<u32>(), any::<u8>(), any::<u16>(), words(10))
        .prop_map(|(source, destination, sequence, flags, urgent, options)| Transport::Tcp {
            source,
            destination,
            sequence,
            flags,
            urgent,
            options,
        });
    let udp = (any::<u16>(), any::<u16>())
        .prop_map(|(source, destination)| Transport::Udp { source, destination });
    // Types of either family whose messages have no length of their own.
    let icmp = (prop::sample::select(vec![0, 3, 8, 11, 128, 129]), any::<u8>())
        .prop_map(|(kind, code)| Transport::Icmp { kind, code });
    prop_oneof![3 => tcp, 2 => udp, 1 => icmp]
}

/// Frames with up to two tags, options, extension headers, and up to `payload_max` bytes of payload.
pub(crate) fn spec(payload_max: usize) -> impl Strategy<Value = Spec> {
    let payload = vec(any::<u8>(), 0..=payload_max);
    (unicast(), unicast(), vec(tag(), 0..=2), network(), transport(), payload).prop_map(
        |(destination, source, tags, network, transport, payload)| Spec {
            destination,
            source,
            tags,
            network,
            transport,
            payload,
        },
    )
}

/// Whether etherparse finds the checksums of the IPv4 header and of the transport header good.
/// Panics with etherparse's reason when it cannot read the frame.
pub(crate) fn checksums_hold(frame: &[u8]) -> bool {
    let packet = SlicedPacket::from_ethernet(frame).expect("etherparse reads the frame");
    // Zero is what a sum of 0xffff negates to; its other form is as good.
    let same = |a: u16, b: u16| a == b || (a, b) == (0xffff, 0) || (a, b) == (0, 0xffff);
    match (packet.net.unwrap(), packet.transport.unwrap()) {
        (NetSlice::Ipv4(ip), transport) => {
            let header = ip.header().to_header();
            let (source, destination) = (header.source, header.destination);
            header.header_checksum == header.calc_header_checksum()
                && match transport {
                    TransportSlice::Tcp(tcp) => {
                        same(tcp.checksum(), tcp.calc_checksum_ipv4(source, destination).unwrap())
                    }
                    TransportSlice::Udp(udp) => {
                        let whole = udp.to_header();
                        let sum = whole.calc_checksum_ipv4(&header, udp.payload()).unwrap();
                        udp.checksum() != 0 && same(udp.checksum(), sum)
                    }
                    TransportSlice::Icmpv4(icmp) => {
                        let sum = Sum16BitWords::new().add_slice(icmp.slice());
                        sum.ones_complement() == 0
                    }
                    other => panic!("{other:?}"),
                }
        }
        (NetSlice::Ipv6(ip), transport) => {
            let header = ip.header().to_header();
            let (source, destination) = (header.source, header.destination);
            match transport {
                TransportSlice::Tcp(tcp) => {
                    same(tcp.checksum(), tcp.calc_checksum_ipv6(source, destination).unwrap())
                }
                TransportSlice::Udp(udp) => {
                    let whole = udp.to_header();
                    let sum = whole.calc_checksum_ipv6(&header, udp.payload()).unwrap();
                    udp.checksum() != 0 && same(udp.checksum(), sum)
                }
                TransportSlice::Icmpv6(icmp) => icmp.is_checksum_valid(source, destination),
                other => panic!("{other:?}"),
            }
        }
        (NetSlice::Arp(arp), _) => panic!("{arp:?}"),
    }
}
