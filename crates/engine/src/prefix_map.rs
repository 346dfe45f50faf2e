//! Longest-prefix match: by itself, and for the routes of the router.

pub(crate) mod trie;

use core::net::IpAddr;

use ipnet::IpNet;

use trie::Trie;

/// A map from IPv4 and IPv6 prefixes to numbers below 2^30 - 1, by which the bindings know whose a prefix is. Public
/// only so that the tests can compare it with other people's implementations, and the benchmarks measure it.
#[doc(hidden)]
#[derive(Debug)]
pub struct PrefixMap {
    v4: Trie<u32, ()>,
    v6: Trie<u128, ()>,
}

impl Default for PrefixMap {
    fn default() -> Self {
        Self { v4: Trie::new(), v6: Trie::new() }
    }
}

impl PrefixMap {
    /// Gives a prefix a value, and tells the one it had.
    pub fn insert(&mut self, prefix: IpNet, value: u32) -> Option<u32> {
        match prefix {
            IpNet::V4(net) => self.v4.insert(net.network().to_bits(), net.prefix_len(), value, ()),
            IpNet::V6(net) => self.v6.insert(net.network().to_bits(), net.prefix_len(), value, ()),
        }
    }

    /// Removes a prefix, and tells its value.
    pub fn remove(&mut self, prefix: IpNet) -> Option<u32> {
        match prefix {
            IpNet::V4(net) => self.v4.remove(net.network().to_bits(), net.prefix_len()),
            IpNet::V6(net) => self.v6.remove(net.network().to_bits(), net.prefix_len()),
        }
    }

    /// The value of the longest prefix with the address in it.
    #[inline]
    #[must_use]
    pub fn find(&self, address: IpAddr) -> Option<u32> {
        match address {
            IpAddr::V4(ip) => self.v4.find(ip.to_bits()),
            IpAddr::V6(ip) => self.v6.find(ip.to_bits()),
        }
    }

    /// Bytes that look-ups read from.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.v4.bytes() + self.v6.bytes()
    }
}
