//! What a querier says (checks 45 and 50; RFC 3376, 4.1; RFC 3810, 5.1).

use core::net::{Ipv4Addr, Ipv6Addr};

use wire::build::{self, Builder};
use wire::ipv4::protocol;
use wire::{MacAddr, checksum, igmp, mld, ndp};

use crate::guard::Answer;
use crate::guard::groups::Version;
use crate::guard::ipv4::group_mac;

/// The groups of a query's Ethernet frame and packet: all stations.
pub(super) const ALL_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
pub(super) const ALL_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The query of a version, from a router's address if there is one.
pub(crate) fn query(version: Version, router: Option<MacAddr>) -> Answer {
    let mac = router.unwrap_or(QUERIER);
    match version {
        Version::V4 => query_v4(mac),
        Version::V6 => query_v6(mac),
    }
}

/// The querier's address where the network has no router: locally administered, and no guest's.
pub(crate) const QUERIER: MacAddr = MacAddr([0x02, 0x6e, 0x64, 0x71, 0x00, 0x01]);

fn query_v4(mac: MacAddr) -> Answer {
    let all = ALL_V4;
    // A querier without an address that takes no part in elections (RFC 4541, 2.1.1).
    let header = build::Ipv4 {
        source: Ipv4Addr::UNSPECIFIED,
        destination: all,
        ttl: 1,
        traffic_class: 0xc0,
        options: &[148, 4, 0, 0],
        ..build::Ipv4::default()
    };
    // Ten seconds to answer; robustness two, 125 seconds to the next.
    let mut body = [igmp::kind::QUERY, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0];
    let [hi, lo] = (!checksum::sum(&body)).to_be_bytes();
    (body[2], body[3]) = (hi, lo);
    made(|builder| {
        builder.ethernet(group_mac(all), mac).ipv4(&header).protocol(protocol::IGMP).payload(&body)
    })
}

fn query_v6(mac: MacAddr) -> Answer {
    let all = ALL_V6;
    let header = build::Ipv6 {
        source: Ipv6Addr::from(mac.eui64_link_local()),
        destination: all,
        hop_limit: 1,
        ..build::Ipv6::default()
    };
    let mut body = [0; 24];
    (body[0], body[1]) = (0x27, 0x10);
    (body[20], body[21]) = (2, 125);
    made(|builder| {
        builder
            .ethernet(ndp::multicast_mac(all), mac)
            .ipv6(&header)
            .extension(wire::ipv6::extension::HOP_BY_HOP, &[0, 5, 2, 0, 0, 1, 0])
            .icmpv6(mld::kind::QUERY, 0)
            .payload(&body)
    })
}

/// Bytes of the shortest queries that write long times as a mantissa and an exponent.
pub(super) const IGMP_V3_LEN: usize = 12;
pub(super) const MLD_V2_LEN: usize = 28;

/// The time to answer in tenths of a second (RFC 3376, 4.1.1).
pub(super) fn long_v4(code: u8) -> u32 {
    if code < 0x80 {
        return code.into();
    }
    u32::from(code & 0xf | 0x10) << (u32::from(code >> 4 & 7) + 3)
}

/// The same in thousandths (RFC 3810, 5.1.3).
pub(super) fn long_v6(code: u16) -> u64 {
    if code < 0x8000 {
        return code.into();
    }
    u64::from(code & 0xfff | 0x1000) << (u64::from(code >> 12 & 7) + 3)
}

fn made(build: impl FnOnce(Builder<'_>) -> Builder<'_>) -> Answer {
    let mut bytes = [0; super::ANSWER_MAX];
    let len = build(Builder::new(&mut bytes)).finish().unwrap_or(0);
    let mut answer = Answer::from(bytes);
    answer.truncate(len.max(60));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_times_are_read() {
        assert_eq!([0x7f, 0x80, 0xff].map(long_v4), [127, 128, 31_744]);
        assert_eq!([0x7fff, 0x8000, 0xffff].map(long_v6), [32_767, 32_768, 8_387_584]);
    }

    #[test]
    fn queries_are_sound() {
        let [v4, v6] = [Version::V4, Version::V6].map(|version| query(version, None));
        let parsed = wire::parse(&v4).unwrap();
        assert!(parsed.malformed.is_none() && parsed.dst == group_mac(Ipv4Addr::new(224, 0, 0, 1)));
        let message = igmp::Message::new(&v4[38..50]).unwrap();
        assert!(message.checksum_is_good() && message.kind() == igmp::kind::QUERY);
        let parsed = wire::parse(&v6).unwrap();
        assert!(parsed.malformed.is_none());
        let kind = parsed.l4.map(|l4| l4.transport);
        assert_eq!(kind, Some(wire::Transport::Icmpv6 { kind: 130, code: 0 }));
    }
}
