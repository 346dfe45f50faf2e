//! What a gateway is to do: validated, and nothing in it can fail later.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use wire::MacAddr;

/// A transport that has ports (or, for echo, identifiers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    Echo,
}

impl Protocol {
    /// As it is written: `tcp`, `udp`, `echo`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Echo => "echo",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A port of the host itself that guests may reach as `host.internal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// TCP or UDP; both where it is not said.
    pub protocol: Option<Protocol>,
    pub port: u16,
}

/// How large the tables may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Flows (TCP, UDP and echo) of all guests together; never more than half of the descriptors
    /// that the process may have, divided by its gateways.
    pub flows: usize,
    /// Flows of one guest; never more than half of that.
    pub flows_per_guest: usize,
    /// Flows of UDP of one IP version, of all guests together: each has a port of the host. Never more than
    /// a quarter of those that the host gives out, divided by the process's gateways. One guest has at most
    /// half of that ([`Self::ports_of_guest`]).
    pub ports: usize,
    /// DHCP leases of one guest.
    pub leases_per_guest: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { flows: 32_768, flows_per_guest: 16_384, ports: 32_768, leases_per_guest: 16 }
    }
}

impl Limits {
    /// These bounds for one of so many gateways of a process. Each flow has a descriptor, and half
    /// of those that the process may have are for others: guests, commands, the services' own
    /// questions. Each flow of UDP has a port of the host, and three quarters of those that it gives out are
    /// for other programs, among which may be other hypervisors, of whom none knows how many there are. In
    /// either every gateway has the same part, so that guests of one network do not take what those of
    /// another need.
    pub(crate) fn within(self, descriptors: usize, ports: usize, gateways: usize) -> Self {
        let part = |all: usize| all / gateways.max(1);
        let most = part(descriptors / 2);
        Self {
            flows: self.flows.min(most).max(1),
            flows_per_guest: self.flows_per_guest.min(most / 2).max(1),
            ports: self.ports.min(part(ports / 4)).max(1),
            ..self
        }
    }

    /// Flows of UDP of one IP version that one guest may have.
    pub(crate) fn ports_of_guest(&self) -> usize {
        (self.ports / 2).max(1)
    }
}

/// What a gateway is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayPlan {
    /// The network's name, a label; guests are `GUEST.NAME.internal`.
    pub name: String,
    /// The gateway's MAC address; its link-local address follows from it.
    pub mac: MacAddr,
    /// The network's IPv4 subnet: host number 1 is the gateway, 2 is `host.internal`.
    pub subnet: Option<Ipv4Net>,
    /// The network's IPv6 prefix (64 bits): `::1` is the gateway, `::2` is `host.internal`.
    pub prefix: Option<Ipv6Net>,
    /// Further prefixes that are not outside: of routed networks, and of routes to guests.
    pub inside: Vec<ipnet::IpNet>,
    /// Prefixes to which the network's router sends nothing by this gateway: clients of published ports
    /// who are there could not be answered, and appear as the gateway.
    pub unanswerable: Vec<ipnet::IpNet>,
    /// Bytes of an IP packet that the network carries.
    pub mtu: u16,
    /// Guests reach the outside through the host's sockets. False: only the services.
    pub nat: bool,
    pub dhcp: bool,
    pub advertise: bool,
    pub dhcpv6: bool,
    pub dns: bool,
    /// Multicast DNS and LLMNR of guests come here, and are answered for all.
    pub mdns: bool,
    /// Names of the outside are asked there. False: such questions are refused.
    pub outside_names: bool,
    /// Where names are asked; empty: where the host's resolv.conf says.
    pub resolvers: Vec<SocketAddr>,
    /// Ports of the host that every guest may reach.
    pub allow_host: Vec<HostPort>,
    pub limits: Limits,
    /// Gateways of this process, which share its descriptors.
    pub gateways: usize,
}

/// Why a gateway could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error(
        "the IPv4 subnet {0} has no room for a gateway, host.internal and a guest: it needs a prefix of at most 29 bits"
    )]
    SubnetTooSmall(Ipv4Net),
    #[error("the IPv6 prefix {0} does not have 64 bits, as guests need to make their addresses")]
    PrefixLength(Ipv6Net),
    #[error("an MTU of {0} is below the minimum, which is 576 for IPv4 (1280 with IPv6)")]
    Mtu(u16),
    #[error("the kernel gives the gateway no random key: {0}")]
    Random(#[source] std::io::Error),
    #[error("the gateway cannot watch descriptors: {0}")]
    Poller(#[source] std::io::Error),
}

impl GatewayPlan {
    /// A plan with everything on.
    #[must_use]
    pub fn new(name: &str, mac: MacAddr, subnet: Option<Ipv4Net>, prefix: Option<Ipv6Net>) -> Self {
        Self {
            name: name.to_owned(),
            mac,
            subnet,
            prefix,
            inside: Vec::new(),
            unanswerable: Vec::new(),
            mtu: 1500,
            nat: true,
            dhcp: true,
            advertise: true,
            dhcpv6: true,
            dns: true,
            mdns: false,
            outside_names: true,
            resolvers: Vec::new(),
            allow_host: Vec::new(),
            limits: Limits::default(),
            gateways: 1,
        }
    }

    /// Whether the plan can be carried out.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), GatewayError> {
        if let Some(subnet) = self.subnet.filter(|subnet| subnet.prefix_len() > 29) {
            return Err(GatewayError::SubnetTooSmall(subnet));
        }
        if let Some(prefix) = self.prefix.filter(|prefix| prefix.prefix_len() != 64) {
            return Err(GatewayError::PrefixLength(prefix));
        }
        let least = if self.prefix.is_some() { wire::ipv6::MTU_MIN } else { 576 };
        if self.mtu < least {
            return Err(GatewayError::Mtu(self.mtu));
        }
        Ok(())
    }

    /// The gateway's IPv4 address.
    #[must_use]
    pub fn gateway4(&self) -> Option<Ipv4Addr> {
        self.subnet.map(|subnet| host_number(subnet, 1))
    }

    /// The address of `host.internal`.
    #[must_use]
    pub fn host4(&self) -> Option<Ipv4Addr> {
        self.subnet.map(|subnet| host_number(subnet, 2))
    }

    /// The gateway's IPv6 address.
    #[must_use]
    pub fn gateway6(&self) -> Option<Ipv6Addr> {
        self.prefix.map(|prefix| Ipv6Addr::from(u128::from(prefix.network()) | 1))
    }

    /// The IPv6 address of `host.internal`.
    #[must_use]
    pub fn host6(&self) -> Option<Ipv6Addr> {
        self.prefix.map(|prefix| Ipv6Addr::from(u128::from(prefix.network()) | 2))
    }

    /// The gateway's link-local address: EUI-64 of its MAC (RFC 4291 appendix A).
    #[must_use]
    pub fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.mac.0;
        let id = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
        Ipv6Addr::from(0xfe80_u128 << 112 | u128::from(id))
    }

    /// Whether the gateway itself has this address.
    #[must_use]
    pub fn is_own(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.gateway4() == Some(address),
            IpAddr::V6(address) => self.gateway6() == Some(address) || self.link_local() == address,
        }
    }

    /// Whether an address is that of `host.internal`.
    #[must_use]
    pub fn is_host_internal(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.host4() == Some(address),
            IpAddr::V6(address) => self.host6() == Some(address),
        }
    }

    /// Where the host's sockets go for an address that a guest names: `host.internal` is loopback,
    /// everything else itself.
    #[must_use]
    pub fn as_host_sees(&self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(v4) if self.host4() == Some(v4) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(v6) if self.host6() == Some(v6) => Ipv6Addr::LOCALHOST.into(),
            other => other,
        }
    }

    /// The other way round.
    #[must_use]
    pub fn as_guest_sees(&self, address: IpAddr) -> IpAddr {
        let inside = match address {
            IpAddr::V4(v4) if v4.is_loopback() => self.host4().map(IpAddr::V4),
            IpAddr::V6(v6) if v6.is_loopback() => self.host6().map(IpAddr::V6),
            _ => None,
        };
        inside.unwrap_or(address)
    }

    /// The gateway's address that a guest hears from when it spoke to `destination`.
    #[must_use]
    pub fn speaks_as(&self, destination: IpAddr, v6: bool) -> Option<IpAddr> {
        if self.is_own(destination) && destination.is_ipv6() == v6 {
            return Some(destination);
        }
        if v6 {
            Some(self.gateway6().unwrap_or_else(|| self.link_local()).into())
        } else {
            self.gateway4().map(IpAddr::V4)
        }
    }

    /// Whether an address is one that a guest may have: inside, and neither the gateway's nor that
    /// of `host.internal`.
    #[must_use]
    pub fn is_guest(&self, address: IpAddr) -> bool {
        self.is_inside(address) && !self.is_own(address) && !self.is_host_internal(address)
    }

    /// Whether an address belongs to the network, or to one that it is routed to.
    #[must_use]
    pub fn is_inside(&self, address: IpAddr) -> bool {
        let own = match address {
            IpAddr::V4(address) => self.subnet.is_some_and(|subnet| subnet.contains(&address)),
            IpAddr::V6(address) => self.prefix.is_some_and(|prefix| prefix.contains(&address)),
        };
        own || self.inside.iter().any(|net| net.contains(&address))
    }
}

fn host_number(subnet: Ipv4Net, number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()) | number)
}

/// Why a port of the host is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a port of the host: write PORT, tcp/PORT or udp/PORT, with a port of 1 to 65535"
)]
pub struct HostPortError(String);

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (protocol, port) = match text.split_once('/') {
            Some(("tcp", port)) => (Some(Protocol::Tcp), port),
            Some(("udp", port)) => (Some(Protocol::Udp), port),
            Some(_) => return Err(HostPortError(text.to_owned())),
            None => (None, text),
        };
        match port.parse() {
            Ok(port) if port != 0 && text.is_ascii() && !text.contains('+') => {
                Ok(Self { protocol, port })
            }
            _ => Err(HostPortError(text.to_owned())),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Some(protocol) => write!(f, "{protocol}/{}", self.port),
            None => write!(f, "{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_share_the_descriptors_and_the_ports() {
        let wanted =
            Limits { flows: 30_000, flows_per_guest: 10_000, ports: 9000, leases_per_guest: 3 };
        for (descriptors, gateways, flows, of_one) in [
            (1_000_000, 1, 30_000, 10_000),
            (1_000_000, 64, 7812, 3906),
            (1024, 1, 512, 256),
            (1024, 2, 256, 128),
            (1024, 3, 170, 85),
            (64, 64, 1, 1),
            (usize::MAX, 0, 30_000, 10_000),
        ] {
            let got = wanted.within(descriptors, usize::MAX, gateways);
            let all = (got.flows, got.flows_per_guest, got.leases_per_guest);
            assert_eq!(all, (flows, of_one, 3), "{descriptors} {gateways}");
        }
        for (ports, gateways, all, of_one) in [
            (64_512, 1, 9000, 4500),
            (28_232, 1, 7058, 3529),
            (28_232, 2, 3529, 1764),
            (28_232, 64, 110, 55),
            (1000, 0, 250, 125),
            (1, 64, 1, 1),
        ] {
            let got = wanted.within(usize::MAX, ports, gateways);
            assert_eq!((got.ports, got.ports_of_guest()), (all, of_one), "{ports} {gateways}");
            assert_eq!(got.leases_per_guest, 3);
        }
    }
}
