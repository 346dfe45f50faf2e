//! What a router and its interfaces are asked to be.

use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use wire::MacAddr;

/// The most interfaces of one router.
pub const INTERFACES_MAX: usize = 1024;

/// The most routes of one router.
pub const ROUTES_MAX: usize = 1 << 20;

/// The most own addresses of one interface.
pub const ADDRESSES_MAX: usize = 64;

/// Names an interface of one router. One that was removed is never named again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId {
    pub(crate) index: u16,
    pub(crate) generation: u32,
}

impl InterfaceId {
    /// The interface's place among those of its router, below [`INTERFACES_MAX`]; for tables on the
    /// side. Another interface may get it later.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.index)
    }
}

impl fmt::Display for InterfaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// An interface as it is asked for: where the router stands in one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceSpec {
    /// Its Ethernet address, which the network's engine has bound to the router's port. The
    /// link-local IPv6 address follows from it (modified EUI-64).
    pub mac: MacAddr,
    /// The longest IP packet of the network, in bytes. Below 1280, which IPv6 needs (RFC 8200,
    /// 5), the interface has no IPv6, whatever else is asked.
    pub mtu: u16,
    /// Own IPv4 addresses, each with the length of the prefix in which it stands.
    pub v4: Vec<(Ipv4Addr, u8)>,
    /// Own IPv6 addresses, each with the length of the prefix in which it stands. Empty, with no IPv6
    /// at all, only if [`Self::link_local`] is off too.
    pub v6: Vec<(Ipv6Addr, u8)>,
    /// Whether the interface has its link-local IPv6 address.
    pub link_local: bool,
    /// More own addresses inside those prefixes (`host.internal`).
    pub extra: Vec<IpAddr>,
    /// The network's gateway takes what is addressed to the interface, beside echo requests.
    pub gateway: bool,
    /// The gateway answers multicast DNS and LLMNR.
    pub discovery: bool,
    /// The gateway has a way out: it also takes what no route leads to.
    pub outside: bool,
    /// Packets are forwarded between this interface and others.
    pub routed: bool,
    /// Packets may leave by the interface that they came in by, for another guest of the network.
    /// Off, because two isolated ports, or ports of two communities, could talk that way; a network
    /// without such ports may turn it on, and must if a route through it has its next hop there.
    pub hairpin: bool,
}

impl InterfaceSpec {
    /// The same without what the MTU makes impossible.
    pub(super) fn possible(mut self) -> Self {
        if self.mtu < wire::ipv6::MTU_MIN {
            self.v6.clear();
            self.link_local = false;
            self.extra.retain(IpAddr::is_ipv4);
        }
        self
    }
}

impl Default for InterfaceSpec {
    fn default() -> Self {
        Self {
            mac: MacAddr::ZERO,
            mtu: 1500,
            v4: Vec::new(),
            v6: Vec::new(),
            link_local: true,
            extra: Vec::new(),
            gateway: false,
            discovery: false,
            outside: false,
            routed: true,
            hairpin: false,
        }
    }
}

/// Where packets for a prefix go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// The destination itself is on this interface's network.
    Interface(InterfaceId),
    /// To another router on that network.
    NextHop {
        /// The interface.
        iface: InterfaceId,
        /// The other router's address there, of the same version as the prefix.
        addr: IpAddr,
    },
    /// To the gateway of that network, as what is to go outside.
    Gateway(InterfaceId),
    /// Nowhere; the sender is told that there is no way.
    Unreachable,
    /// Nowhere; the sender is told that it may not.
    Prohibit,
}

impl Via {
    /// The interface, if there is one.
    #[must_use]
    pub fn interface(self) -> Option<InterfaceId> {
        match self {
            Self::Interface(iface) | Self::NextHop { iface, .. } | Self::Gateway(iface) => {
                Some(iface)
            }
            Self::Unreachable | Self::Prohibit => None,
        }
    }
}

/// Why a route is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteSource {
    /// An interface has an address in it.
    Connected,
    /// It was added.
    Static,
}

/// One route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destinations.
    pub prefix: IpNet,
    /// Where they are.
    pub via: Via,
    /// Why the route is there.
    pub source: RouteSource,
}

impl Route {
    /// A route to be added.
    #[must_use]
    pub fn new(prefix: IpNet, via: Via) -> Self {
        Self { prefix: prefix.trunc(), via, source: RouteSource::Static }
    }
}

/// Why an interface or a route could not be had. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouterError {
    /// See the text.
    #[error("a router cannot have more than {INTERFACES_MAX} interfaces")]
    TooManyInterfaces,
    /// See the text.
    #[error("an interface cannot have more than {ADDRESSES_MAX} addresses of its own")]
    TooManyAddresses,
    /// See the text.
    #[error("a router cannot have more than {ROUTES_MAX} routes")]
    TooManyRoutes,
    /// See the text.
    #[error("interface {0} does not exist any more")]
    NoSuchInterface(InterfaceId),
    /// See the text.
    #[error("{0} cannot be a router's address: it is zero or a group address")]
    Mac(MacAddr),
    /// See the text.
    #[error("an MTU of {0} is too small for IP: choose at least 68 bytes")]
    Mtu(u16),
    /// See the text.
    #[error("{0} cannot be a router's own address: it is not an address of a single station")]
    NotUnicast(IpAddr),
    /// See the text.
    #[error("/{1} is too long for a prefix of {0}")]
    PrefixLength(IpAddr, u8),
    /// See the text.
    #[error("{prefix} overlaps with {other}, which another interface has: choose another subnet")]
    Overlap {
        /// The prefix of the new interface.
        prefix: IpNet,
        /// What is there.
        other: IpNet,
    },
    /// See the text.
    #[error("there is a route to {0} already: remove it first")]
    RouteExists(IpNet),
    /// See the text.
    #[error("the next hop {address} of {prefix} is not in a subnet of its interface")]
    NextHopElsewhere {
        /// The route's prefix.
        prefix: IpNet,
        /// The next hop.
        address: IpAddr,
    },
}

/// Bounds of a router: what guests can make it hold, and how often it speaks because of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterLimits {
    /// Neighbours that it knows at most, beside those that bindings made known.
    pub neighbours: usize,
    /// Neighbours that packets of one port may wait for at the same time.
    pub resolving_per_port: u16,
    /// Packets that wait for one neighbour.
    pub waiting_per_neighbour: u8,
    /// Packets of one port that wait for any neighbour.
    pub waiting_per_port: u16,
    /// Packets that wait for any neighbour. Beyond that two of each port may wait, 1024 together, if they
    /// are in small buffers.
    pub waiting: usize,
    /// ICMP errors a second because of one port's packets.
    pub errors_per_port: u32,
    /// ICMP errors a second to one network.
    pub errors: u32,
    /// Echo replies a second to one port.
    pub echoes_per_port: u32,
    /// Solicitations a second that are sent to one network.
    pub solicitations: u32,
}

impl Default for RouterLimits {
    fn default() -> Self {
        Self {
            neighbours: 4096,
            resolving_per_port: 64,
            waiting_per_neighbour: 4,
            waiting_per_port: 64,
            waiting: 512,
            errors_per_port: 100,
            errors: 1000,
            echoes_per_port: 1000,
            solicitations: 1000,
        }
    }
}
