//! The extension headers of an IPv6 packet, one by one (RFC 8200, 4).
//!
//! [`wire::parse()`] has walked the chain before, and knows its bounds and its end. Here is what the
//! guard asks of the headers themselves.

use wire::ipv6::{EXTENSIONS_MAX, extension};

/// What the guard wants to know of a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    /// There is a routing header, of whatever kind.
    pub(super) routing: bool,
    /// There is a router alert among the hop-by-hop options.
    pub(super) router_alert: bool,
    /// There is an option that is neither padding nor, among those for every hop, a router alert nor,
    /// among those for the destination, the limit of a tunnel.
    pub(super) odd_option: bool,
    /// The hop-by-hop header is not the first, or a fragment header is not the only one.
    pub(super) misplaced: bool,
    pub(super) fragment: Option<Fragment>,
}

/// What a fragment header says (RFC 8200, 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fragment {
    pub(super) id: u32,
    /// Where in the datagram the fragment begins, in bytes.
    pub(super) offset: u32,
    /// Others follow.
    pub(super) more: bool,
    /// Where in the packet's payload the fragment begins: behind this header.
    pub(super) start: u32,
}

/// Options (RFC 8200, 4.2; RFC 2711; RFC 2473, 5.1).
mod option {
    /// How many more tunnels the packet may enter. Linux says so in every packet of a tunnel.
    pub(super) const TUNNEL_LIMIT: u8 = 4;
    pub(super) const PAD_1: u8 = 0;
    pub(super) const PAD_N: u8 = 1;
    pub(super) const ROUTER_ALERT: u8 = 5;
}

/// Walks the chain: `first` is the fixed header's next header, `bytes` what follows it. Ends where
/// [`wire::parse()`] did, and wherever the bytes do.
pub(super) fn walk(first: u8, bytes: &[u8]) -> Extensions {
    let mut found = Extensions::default();
    let (mut kind, mut rest) = (first, bytes);
    for nth in 0..EXTENSIONS_MAX {
        let Some(head) = rest.first_chunk::<8>() else { return found };
        let len = match kind {
            extension::HOP_BY_HOP
            | extension::DESTINATION
            | extension::ROUTING
            | extension::MOBILITY
            | extension::HIP
            | extension::SHIM6 => (usize::from(head[1]) + 1) * 8,
            extension::AUTHENTICATION => (usize::from(head[1]) + 2) * 4,
            extension::FRAGMENT => 8,
            _ => return found,
        };
        let Some((header, after)) = rest.split_at_checked(len) else { return found };
        match kind {
            extension::HOP_BY_HOP => {
                found.misplaced |= nth > 0;
                look_at_options(&mut found, kind, header.get(2..).unwrap_or_default());
            }
            extension::DESTINATION => {
                look_at_options(&mut found, kind, header.get(2..).unwrap_or_default());
            }
            extension::ROUTING => found.routing = true,
            extension::FRAGMENT => {
                let [_, _, hi, lo, a, b, c, d] = *head;
                let word = u16::from_be_bytes([hi, lo]);
                found.misplaced |= found.fragment.is_some();
                let id = u32::from_be_bytes([a, b, c, d]);
                let start = u32::try_from(bytes.len() - after.len()).unwrap_or(u32::MAX);
                let (offset, more) = (u32::from(word & 0xfff8), word & 1 == 1);
                found.fragment = Some(Fragment { id, offset, more, start });
                if word & 0xfff8 != 0 {
                    return found;
                }
            }
            _ => {}
        }
        kind = head[0];
        rest = after;
    }
    found
}

fn look_at_options(found: &mut Extensions, header: u8, options: &[u8]) {
    let every_hop = header == extension::HOP_BY_HOP;
    let mut rest = options;
    while let Some((&kind, after)) = rest.split_first() {
        rest = match (kind, after) {
            (option::PAD_1, _) => after,
            (_, [len, body @ ..]) => {
                let Some(after) = body.get(usize::from(*len)..) else {
                    found.odd_option = true;
                    return;
                };
                match kind {
                    option::PAD_N => {}
                    option::ROUTER_ALERT if *len == 2 && every_hop => found.router_alert = true,
                    option::TUNNEL_LIMIT if *len == 1 && !every_hop => {}
                    _ => found.odd_option = true,
                }
                after
            }
            _ => {
                found.odd_option = true;
                return;
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains() {
        assert_eq!(walk(6, &[0; 40]), Extensions::default());
        // Hop-by-hop with a router alert, then a fragment header, then UDP.
        let bytes =
            [44, 0, 5, 2, 0, 0, 1, 0, 17, 0, 0x05, 0xa9, 0, 0, 0, 7, 9, 9, 9, 9, 9, 9, 9, 9];
        let found = walk(extension::HOP_BY_HOP, &bytes);
        assert!(found.router_alert && !found.odd_option && !found.misplaced && !found.routing);
        let fragment = Fragment { id: 7, offset: 0x05a8, more: true, start: 16 };
        assert_eq!(found.fragment, Some(fragment));
        // A jumbogram's option; a hop-by-hop header in second place; a routing header.
        let bytes = [0, 0, 0xc2, 4, 0, 1, 0, 0, 43, 0, 1, 4, 0, 0, 0, 0, 6, 0, 0, 1, 0, 0, 0, 0];
        let found = walk(extension::HOP_BY_HOP, &bytes);
        assert!(found.odd_option && found.misplaced && found.routing && !found.router_alert);
        // A router alert has no meaning for the destination, nor a tunnel's limit for a hop.
        let limit = [17, 0, 4, 1, 4, 1, 1, 0];
        assert_eq!(walk(extension::DESTINATION, &limit), Extensions::default());
        assert!(walk(extension::HOP_BY_HOP, &limit).odd_option);
        let alert = walk(extension::DESTINATION, &[58, 0, 5, 2, 0, 0, 1, 0]);
        assert!(alert.odd_option && !alert.router_alert);
        // An option that leaves its header.
        assert!(walk(extension::DESTINATION, &[6, 0, 1, 9, 0, 0, 0, 0]).odd_option);
        for len in 0..bytes.len() {
            walk(extension::HOP_BY_HOP, &bytes[..len]);
        }
    }
}
