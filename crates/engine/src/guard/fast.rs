//! The short way: ordinary TCP and UDP frames of an address that was accepted a moment ago.
//!
//! A port remembers the last sources that went all the long way: VLAN, Ethernet address and IP
//! address together. A frame with one of these sources that is an unfragmented TCP segment or UDP
//! datagram without options or extension headers, to one station, needs nothing else looked at than
//! its fixed headers, all of which are looked at here. Whatever is not plain in every respect takes
//! the long way, which knows the reasons. So this path only ever accepts, and never more than the
//! long way would; a property test compares them.
//!
//! What is remembered is forgotten when a binding of the network changes, and after a minute, so
//! that addresses in use are seen to be in use.

use alloc::boxed::Box;
use alloc::vec;

use wire::ethernet::ethertype;

use crate::guard::special::{is_special_v4, is_special_v6};
use crate::keyed::Key;

/// Sources of a guest that are remembered.
pub(crate) const GUEST_PLACES: usize = 4;

/// Sources of an uplink or a router, behind which many stations are: as many as talk to the guests of
/// a network within a moment.
pub(crate) const OUTSIDE_PLACES: usize = 256;

const ETHERNET: usize = wire::ethernet::HEADER_LEN;

/// An IP address as two words; zero is none.
///
/// An IPv4 address is in a place that no IPv6 packet can claim as its source: not its mapped form,
/// which one could, but among the multicast addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packed(pub(crate) u64, pub(crate) u64);

/// The first word of an IPv4 address.
const V4: u64 = u64::MAX;

impl Packed {
    #[inline]
    pub(crate) fn v4(bits: u32) -> Self {
        Self(V4, u64::from(bits))
    }

    #[inline]
    pub(crate) fn v6(bytes: &[u8; 16]) -> Self {
        let bits = u128::from_be_bytes(*bytes);
        Self((bits >> 64) as u64, bits as u64)
    }

    pub(crate) fn new(address: core::net::IpAddr) -> Self {
        match address {
            core::net::IpAddr::V4(ip) => Self::v4(ip.into()),
            core::net::IpAddr::V6(ip) => Self::v6(&ip.octets()),
        }
    }

    pub(crate) fn address(self) -> core::net::IpAddr {
        if self.0 == V4 {
            #[expect(clippy::cast_possible_truncation, reason = "it came from 32 bits")]
            let bits = self.1 as u32;
            return core::net::IpAddr::V4(bits.into());
        }
        let bits = u128::from(self.0) << 64 | u128::from(self.1);
        core::net::IpAddr::V6(bits.into())
    }

    /// Whoever the frame is for may have it, whatever its packet says. No packet has it: it is an
    /// IPv4 address of more than 32 bits, and begins as IPv6 multicast.
    pub(crate) const ANYBODY: Self = Self(V4, u64::MAX);

    #[inline]
    pub(crate) fn is_v4(self) -> bool {
        self.0 == V4
    }

    #[inline]
    pub(crate) fn is_none(self) -> bool {
        self == Self(0, 0)
    }

    /// Where among this many places, a power of two. Neighbouring addresses have places of their own.
    #[inline]
    fn place(self, places: usize) -> usize {
        (self.1 ^ self.1 >> 8) as usize & places.wrapping_sub(1)
    }
}

/// The sources that were accepted last.
#[derive(Debug)]
pub(crate) struct Cache {
    entries: Box<[(Key, Packed)]>,
    /// Nothing is in it.
    empty: bool,
}

/// What no frame has.
const NOTHING: (Key, Packed) = (Key::NONE, Packed(0, 0));

impl Cache {
    /// An empty one with so many places, a power of two.
    pub(crate) fn new(places: usize) -> Self {
        Self { entries: vec![NOTHING; places].into_boxed_slice(), empty: true }
    }

    #[inline]
    pub(crate) fn holds(&self, key: Key, address: Packed) -> bool {
        let place = address.place(self.entries.len());
        self.entries.get(place).is_some_and(|entry| *entry == (key, address))
    }

    pub(crate) fn remember(&mut self, key: Key, address: Packed) {
        let place = address.place(self.entries.len());
        if let Some(entry) = self.entries.get_mut(place) {
            *entry = (key, address);
            self.empty = false;
        }
    }

    #[inline]
    pub(crate) fn forget(&mut self) {
        if !self.empty {
            self.entries.fill(NOTHING);
            self.empty = true;
        }
    }
}

/// TCP flags that a stack sends, one bit for each combination of the low six: SYN without FIN and
/// RST, RST without FIN and SYN, anything else with ACK.
pub(crate) const TCP_FLAGS: u64 = {
    use wire::tcp::flag::{ACK, FIN, RST, SYN};
    let mut set = 0;
    let mut flags: u8 = 0;
    while flags < 64 {
        let of = flags & (SYN | FIN | RST);
        let good = of == SYN || of == RST || (of == FIN || of == 0) && flags & ACK != 0;
        if good {
            set |= 1 << flags;
        }
        flags += 1;
    }
    set
};

/// Whether the frame may pass without the long way, and its destination. `sources` has the accepted
/// ones and this frame's VLAN and Ethernet address; none for a port that may use any. `broadcast` is
/// the network's own IPv4 broadcast address.
#[inline]
pub(crate) fn passes(
    sources: Option<(&Cache, Key)>,
    frame: &[u8],
    len: usize,
    to_group: bool,
    broadcast: u32,
) -> Option<Packed> {
    if to_group {
        return None;
    }
    let &[.., t0, t1] = frame.first_chunk::<ETHERNET>()?;
    match u16::from_be_bytes([t0, t1]) {
        ethertype::IPV4 => v4(sources, frame, len, broadcast),
        ethertype::IPV6 => v6(sources, frame, len),
        _ => None,
    }
}

/// Bytes before the transport header; `frame` has them and a UDP header behind them.
const BEFORE_V4: usize = ETHERNET + 20;
const BEFORE_V6: usize = ETHERNET + 40;

#[inline]
fn v4(sources: Option<(&Cache, Key)>, frame: &[u8], len: usize, broadcast: u32) -> Option<Packed> {
    // Looked at as one array, all of these have constant places and no bounds of their own.
    let head: &[u8; BEFORE_V4 + 8] = frame.first_chunk()?;
    let bytes = |at: usize| -> [u8; 4] {
        let at = ETHERNET + at;
        [head[at], head[at + 1], head[at + 2], head[at + 3]]
    };
    let total = usize::from(u16::from_be_bytes([head[ETHERNET + 2], head[ETHERNET + 3]]));
    let fragment = u16::from_be_bytes([head[ETHERNET + 6], head[ETHERNET + 7]]);
    let [ttl, protocol, ..] = bytes(8);
    // Version 4, no options; no fragment and no reserved flag; a time to live.
    if head[ETHERNET] != 0x45 || fragment & 0xbfff != 0 || ttl == 0 || ETHERNET + total > len {
        return None;
    }
    // A sum modulo 2^16 - 1 does not mind the order of the bytes, nor that they come by four.
    let word = |at: usize| u64::from(u32::from_ne_bytes(bytes(at)));
    let sum = word(0) + word(4) + word(8) + word(12) + word(16);
    if !sum.is_multiple_of(0xffff) {
        return None;
    }
    let source = u32::from_be_bytes(bytes(12));
    let destination = u32::from_be_bytes(bytes(16));
    let known = sources.is_none_or(|(cache, key)| cache.holds(key, Packed::v4(source)));
    if is_special_v4(destination) || destination == broadcast || !known {
        return None;
    }
    transport::<BEFORE_V4>(protocol, frame, total.checked_sub(20)?)
        .then_some(Packed::v4(destination))
}

#[inline]
fn v6(sources: Option<(&Cache, Key)>, frame: &[u8], len: usize) -> Option<Packed> {
    let head: &[u8; BEFORE_V6 + 8] = frame.first_chunk()?;
    let (_, ip) = head.split_first_chunk::<ETHERNET>()?;
    let ip: &[u8; 40] = ip.first_chunk()?;
    let payload = usize::from(u16::from_be_bytes([ip[4], ip[5]]));
    if ip[0] >> 4 != 6 || ip[7] == 0 || BEFORE_V6 + payload > len {
        return None;
    }
    let (_, addresses) = ip.split_at(8);
    let (source, destination) = addresses.split_first_chunk::<16>()?;
    let destination = Packed::v6(destination.first_chunk()?);
    if is_special_v6(destination) {
        return None;
    }
    if !sources.is_none_or(|(cache, key)| cache.holds(key, Packed::v6(source))) {
        return None;
    }
    transport::<BEFORE_V6>(ip[6], frame, payload).then_some(destination)
}

/// Whether there is a TCP or UDP header in full at `AT`, and not one that the guard has to look into.
/// `len` is what the packet has room for.
#[inline(always)]
fn transport<const AT: usize>(protocol: u8, frame: &[u8], len: usize) -> bool {
    use wire::ipv4::protocol::{TCP, UDP};
    let Some(body) = frame.get(AT..) else { return false };
    match protocol {
        TCP => {
            let Some(header) = body.first_chunk::<20>() else { return false };
            let header_len = usize::from(header[12] >> 4) * 4;
            header_len >= 20 && header_len <= len && TCP_FLAGS >> (header[13] & 0x3f) & 1 == 1
        }
        UDP => {
            let Some(&[s0, s1, d0, d1, l0, l1, ..]) = body.first_chunk::<8>() else { return false };
            let source = u16::from_be_bytes([s0, s1]);
            let destination = u16::from_be_bytes([d0, d1]);
            let claimed = usize::from(u16::from_be_bytes([l0, l1]));
            claimed >= 8 && claimed <= len && !is_guarded(source) && !is_guarded(destination)
        }
        _ => false,
    }
}

/// Ports of DHCP and DHCPv6, in either direction and for either version.
#[inline]
pub(crate) fn is_guarded(port: u16) -> bool {
    matches!(port, 67 | 68 | 546 | 547)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::tcp::flag::{ACK, FIN, PSH, RST, SYN, URG};

    #[test]
    fn as_many_stations_as_talk_at_a_time_have_places() {
        let key = Key::new(1, 2);
        for (places, most) in [(GUEST_PLACES, 4), (OUTSIDE_PLACES, 200)] {
            let mut cache = Cache::new(places);
            let v4 = |number: u64| Packed::v4(0x0a00_0000 | number as u32);
            let v6 = |number: u64| Packed(0x2001_0db8_0000_0000, 0x7a00 << 16 | number);
            for address in [&v4 as &dyn Fn(u64) -> Packed, &v6] {
                (0..most).for_each(|number| cache.remember(key, address(number)));
                assert!((0..most).all(|number| cache.holds(key, address(number))), "{places}");
                assert!(!cache.holds(Key::new(1, 3), address(1)));
                cache.forget();
                assert!(!(0..most).any(|number| cache.holds(key, address(number))));
            }
        }
        assert!(!Cache::new(0).holds(key, Packed::v4(1)));
    }

    #[test]
    fn flags() {
        let good = |flags: u8| TCP_FLAGS >> flags & 1 == 1;
        for flags in [SYN, SYN | ACK, ACK, PSH | ACK, FIN | ACK, RST, RST | ACK, ACK | URG] {
            assert!(good(flags), "{flags:#x}");
        }
        for flags in [0, FIN, SYN | FIN, SYN | RST, RST | FIN, FIN | PSH | URG, 0x3f, PSH] {
            assert!(!good(flags), "{flags:#x}");
        }
    }
}
