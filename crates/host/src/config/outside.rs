//! The way out of a network, as the configuration says it: uplink, services, forwards and routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use gateway::HostPort;
use ipnet::{IpNet, Ipv6Net};
use toml::Spanned;

use super::check::{Fault, fault};
use super::file;
use super::forward::Forward;
use crate::address::GATEWAY;

/// Longest name of a network device, in bytes (IFNAMSIZ in linux/if.h, less the zero).
const DEVICE_NAME_MAX: usize = 15;
/// Most forwards of one network's configuration.
pub const PUBLISH_MAX: usize = 256;
/// Most ports of the host in one network's `allow_host`.
pub const ALLOW_HOST_MAX: usize = 256;
/// Most static routes of one network's configuration.
pub const ROUTES_MAX: usize = 4096;
/// Most resolvers that are asked.
pub const RESOLVERS_MAX: usize = 8;
/// Port of DNS (RFC 1035 section 4.2).
pub const DNS: u16 = 53;

/// What no router forwards to, a block and its length: "this network", loopback, link-local, multicast and reserved
/// addresses (RFC 6890), and IPv4 addresses in the clothes of IPv6 (RFC 4291 section 2.5.5.2).
const NEVER_ROUTED: [(IpAddr, u8); 8] = [
    (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8),
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 3),
    (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 127),
    (IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0)), 96),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
    (IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8),
];

/// What is behind a network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Uplink {
    /// The user-mode gateway: connections of guests become the host's own.
    #[default]
    Nat,
    /// Nothing: the network ends here.
    None,
    /// A network device, through the privileged helper.
    Nic(String),
    /// A tap that an administrator made.
    Tap(String),
    /// A macvtap that an administrator made.
    Macvtap(String),
    /// The network that this hypervisor is a guest of.
    Net(Parent),
}

/// How a network uses the one around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parent {
    /// Inner connections become those of the outer port.
    #[default]
    Nat,
    /// Inner guests have addresses of the outer network.
    Bridged,
    /// The inner subnet is routed to the outer port.
    Routed,
}

impl Uplink {
    /// Whether the user-mode gateway carries what leaves the network.
    #[must_use]
    pub fn is_nat(&self) -> bool {
        matches!(self, Self::Nat | Self::Net(Parent::Nat))
    }

    /// Whether the addresses of the segment are the network's own to plan, or those of a segment that others
    /// administer.
    #[must_use]
    pub fn plans_addresses(&self) -> bool {
        matches!(self, Self::Nat | Self::None | Self::Net(Parent::Nat | Parent::Routed))
    }
}

impl std::fmt::Display for Uplink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nat => f.write_str("nat"),
            Self::None => f.write_str("none"),
            Self::Nic(device) => write!(f, "nic:{device}"),
            Self::Tap(device) => write!(f, "tap:{device}"),
            Self::Macvtap(device) => write!(f, "macvtap:{device}"),
            Self::Net(Parent::Nat) => f.write_str("net:nat"),
            Self::Net(Parent::Bridged) => f.write_str("net:bridged"),
            Self::Net(Parent::Routed) => f.write_str("net:routed"),
        }
    }
}

impl std::str::FromStr for Uplink {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, device) = match text.split_once(':') {
            Some((kind, device)) => (kind, Some(device)),
            None => (text, None),
        };
        match (kind, device) {
            ("nat", None) => Ok(Self::Nat),
            ("none", None) => Ok(Self::None),
            ("net", None | Some("nat")) => Ok(Self::Net(Parent::Nat)),
            ("net", Some("bridged")) => Ok(Self::Net(Parent::Bridged)),
            ("net", Some("routed")) => Ok(Self::Net(Parent::Routed)),
            ("nic" | "tap" | "macvtap", Some(device)) => {
                // What the kernel refuses in a name (dev_valid_name), it refuses for us as well.
                let good = (1..=DEVICE_NAME_MAX).contains(&device.len())
                    && !matches!(device, "." | "..")
                    && !device.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
                if !good {
                    return Err(format!("{device:?} is not the name of a network device"));
                }
                let device = device.to_owned();
                Ok(match kind {
                    "nic" => Self::Nic(device),
                    "tap" => Self::Tap(device),
                    _ => Self::Macvtap(device),
                })
            }
            ("nic" | "tap" | "macvtap", None) => {
                Err(format!("\"{kind}\" needs a device: write \"{kind}:eth0\""))
            }
            _ => Err(format!(
                "{text:?} is not an uplink: write \"nat\", \"none\", \"nic:DEVICE\", \"tap:DEVICE\", \
                 \"macvtap:DEVICE\", \"net\", \"net:bridged\" or \"net:routed\""
            )),
        }
    }
}

/// Which services the network has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Services {
    /// DHCPv4 (RFC 2131).
    pub dhcp: bool,
    /// IPv6 router advertisement (RFC 4861 section 6).
    pub advertise: bool,
    /// Stateless DHCPv6 (RFC 8415).
    pub dhcpv6: bool,
    /// Names: the zone of the network, and forwarding.
    pub dns: bool,
}

impl Services {
    /// All of them.
    pub const ALL: Self = Self { dhcp: true, advertise: true, dhcpv6: true, dns: true };
    /// None of them.
    pub const NONE: Self = Self { dhcp: false, advertise: false, dhcpv6: false, dns: false };
}

/// A static route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    pub to: IpNet,
    pub via: Via,
}

/// Where a static route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// A station of this network.
    Station(IpAddr),
    /// Nowhere, and the sender is told that there is no way.
    Unreachable,
    /// Nowhere, and the sender is told that it may not.
    Prohibit,
}

/// The way out of one network.
#[derive(Debug, Clone, PartialEq)]
pub struct Outside {
    pub uplink: Uplink,
    /// Whether guests have their addresses from the network's plan; else from the segment outside.
    pub guests_planned: bool,
    /// Addresses of the router on a network whose addresses others administer; empty there means that the network
    /// has no router of ours. Elsewhere they follow from the plan.
    pub gateway: Vec<IpNet>,
    pub services: Services,
    /// Resolvers to ask instead of the host's.
    pub resolvers: Vec<SocketAddr>,
    pub publish: Vec<Forward>,
    pub allow_host: Vec<HostPort>,
    pub routes: Vec<Route>,
    /// Whether other networks of this hypervisor are reached from here, and this one from them.
    pub routed: bool,
}

impl Default for Outside {
    fn default() -> Self {
        Self {
            uplink: Uplink::default(),
            guests_planned: true,
            gateway: Vec::new(),
            services: Services::ALL,
            resolvers: Vec::new(),
            publish: Vec::new(),
            allow_host: Vec::new(),
            routes: Vec::new(),
            routed: true,
        }
    }
}

impl Outside {
    /// What a network with this uplink has where nothing else is said.
    #[must_use]
    pub fn by(uplink: Uplink) -> Self {
        let services = if uplink.plans_addresses() { Services::ALL } else { Services::NONE };
        let guests_planned = uplink.plans_addresses();
        Self { uplink, guests_planned, services, ..Self::default() }
    }

    /// Whether the network has a router of ours.
    #[must_use]
    pub fn has_router(&self) -> bool {
        self.uplink.plans_addresses() || !self.gateway.is_empty()
    }
}

pub(super) fn check(file: &file::Network) -> Result<Outside, Fault> {
    let mut outside = Outside::default();
    if let Some(text) = &file.uplink {
        outside.uplink = text.get_ref().parse().map_err(|why: String| fault(text, why))?;
    }
    outside.guests_planned = check_addresses(file, &outside.uplink)?;
    if let Some(addresses) = &file.gateway {
        if outside.uplink.plans_addresses() {
            let why = format!(
                "the gateway of a network with uplink \"{}\" has the first addresses of its subnet and prefix; \
                 choose those",
                outside.uplink
            );
            return Err(fault(addresses, why));
        }
        for text in addresses.get_ref().as_slice() {
            outside.gateway.push(check_gateway(addresses, text)?);
        }
    }
    // On somebody else's segment, services are his.
    let own = outside.uplink.plans_addresses();
    let all = if own { Services::ALL } else { Services::NONE };
    let service = |key: Option<&Spanned<bool>>, default: bool, name: &str| match key {
        Some(on) if *on.get_ref() && !own => {
            let why = format!(
                "{name} is for networks whose addresses netherd plans, and the segment of uplink \"{}\" belongs to \
                somebody else",
                outside.uplink
            );
            Err(fault(on, why))
        }
        Some(on) => Ok(*on.get_ref()),
        None => Ok(default),
    };
    let services = Services {
        dhcp: service(file.dhcp.as_ref(), all.dhcp, "the DHCP server")?,
        advertise: service(file.advertise.as_ref(), all.advertise, "router advertisement")?,
        dhcpv6: service(file.dhcpv6.as_ref(), all.dhcpv6, "the DHCPv6 server")?,
        dns: service(file.dns.as_ref(), all.dns, "the name server")?,
    };
    outside.services = services;
    outside.resolvers = check_resolvers(file.resolvers.as_deref().unwrap_or_default())?;
    outside.publish = check_publish(file.publish.as_ref(), &outside)?;
    outside.allow_host = check_allow_host(file.allow_host.as_ref(), &outside)?;
    outside.routes = check_routes(file.route.as_ref())?;
    outside.routed = file.routed.unwrap_or(true);
    Ok(outside)
}

/// Where guests have their addresses from.
fn check_addresses(file: &file::Network, uplink: &Uplink) -> Result<bool, Fault> {
    let Some(addresses) = &file.addresses else { return Ok(uplink.plans_addresses()) };
    match (addresses.get_ref(), uplink.plans_addresses()) {
        (file::Addresses::Plan, false) if file.subnet.is_none() => Err(fault(
            addresses,
            format!(
                "on the segment of uplink \"{uplink}\" addresses can be planned only in a part of it that belongs \
                to the network: set `subnet`"
            ),
        )),
        (file::Addresses::Outside, true) => Err(fault(
            addresses,
            format!("with uplink \"{uplink}\" nobody outside gives addresses to guests"),
        )),
        (addresses, _) => Ok(*addresses == file::Addresses::Plan),
    }
}

fn check_gateway<T>(at: &Spanned<T>, text: &str) -> Result<IpNet, Fault> {
    let bad = |why: &str| fault(at, format!("{text:?} {why}"));
    let net: IpNet = text
        .parse()
        .map_err(|_| bad("is not an address with its prefix length, such as \"192.0.2.1/24\""))?;
    let station = is_station(net.addr()) && net.addr() != net.network();
    if !station || (net.addr().is_ipv4() && net.addr() == net.broadcast()) {
        return Err(bad("is not an address that a station can have"));
    }
    Ok(net)
}

fn is_station(address: IpAddr) -> bool {
    !address.is_multicast()
        && !address.is_unspecified()
        && !address.is_loopback()
        && !matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.octets()[0] >= 240)
}

/// Reads a prefix that shall be behind a guest.
///
/// # Errors
/// The end of a sentence that begins with the text.
pub fn parse_behind(text: &str) -> Result<IpNet, String> {
    const EXAMPLE: &str = "write one such as 10.99.0.0/20 or fd00:99::/64";
    let net: IpNet = text.parse().map_err(|_| format!("is not a prefix: {EXAMPLE}"))?;
    let near = match net.network() {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    if net.prefix_len() == 0 {
        return Err(format!("covers all addresses, which cannot be behind a guest: {EXAMPLE}"));
    }
    if net.trunc() != net {
        return Err(format!(
            "is not a prefix that can be behind a guest: did you mean {}?",
            net.trunc()
        ));
    }
    if near || !is_station(net.network()) {
        return Err(format!("has no addresses that stations behind a guest can have: {EXAMPLE}"));
    }
    Ok(net)
}

/// What is said of addresses in the file, held against the network's own, as far as these are said there as well.
pub(super) fn check_own(file: &file::Network, network: &super::Network) -> Result<(), Fault> {
    let mut own: Vec<(IpAddr, IpNet)> =
        network.outside.gateway.iter().map(|net| (net.addr(), net.trunc())).collect();
    if network.outside.uplink.plans_addresses() {
        if let Some(subnet) = network.subnet {
            let gateway = Ipv4Addr::from_bits(subnet.network().to_bits() + GATEWAY);
            own.push((gateway.into(), subnet.into()));
        }
        if let Some((prefix, net)) =
            network.prefix.and_then(|prefix| Some((prefix, Ipv6Net::new(prefix, 64).ok()?)))
        {
            let gateway = Ipv6Addr::from_bits(prefix.to_bits() | u128::from(GATEWAY));
            own.push((gateway.into(), net.into()));
        }
    }
    let is_own = |address: IpAddr| own.iter().any(|(gateway, _)| *gateway == address);
    let resolvers = file.resolvers.as_deref().unwrap_or_default();
    for (text, resolver) in resolvers.iter().zip(&network.outside.resolvers) {
        if is_own(resolver.ip()) {
            let why = format!(
                "{} is the network's own name server, which asks the resolvers: name another",
                resolver.ip()
            );
            return Err(fault(text, why));
        }
    }
    let said = file.route.as_ref().map(|routes| routes.get_ref().as_slice()).unwrap_or_default();
    for (said, route) in said.iter().zip(&network.outside.routes) {
        let Via::Station(station) = route.via else { continue };
        if is_own(station) {
            let why = format!(
                "{station} is the network's own router: give another station, behind which {} is",
                route.to
            );
            return Err(fault(&said.via, why));
        }
        let same = |net: &&(IpAddr, IpNet)| net.1.addr().is_ipv4() == station.is_ipv4();
        let mut nets = own.iter().filter(same).peekable();
        if nets.peek().is_some() && !nets.any(|(_, net)| net.contains(&station)) {
            let why = format!("{station} is in no subnet of the network's router");
            return Err(fault(&said.via, why));
        }
    }
    Ok(())
}

fn check_resolvers(texts: &[Spanned<String>]) -> Result<Vec<SocketAddr>, Fault> {
    let mut resolvers = Vec::new();
    for text in texts {
        let plain = text.get_ref().parse::<IpAddr>().map(|address| SocketAddr::new(address, DNS));
        let resolver = plain.or_else(|_| text.get_ref().parse::<SocketAddr>()).map_err(|_| {
            let why = format!(
                "{:?} is not a resolver: give an address, such as \"192.0.2.53\" or \"[2001:db8::53]:5353\"",
                text.get_ref()
            );
            fault(text, why)
        })?;
        let address = resolver.ip();
        if resolver.port() == 0 || address.is_unspecified() || address.is_multicast() {
            return Err(fault(text, format!("{resolver} is not the address of a resolver")));
        }
        if let SocketAddr::V6(v6) = resolver
            && v6.ip().is_unicast_link_local()
            && v6.scope_id() == 0
        {
            let why = format!(
                "{address} exists on every link: add the number of its interface, \"[{address}%2]:53\""
            );
            return Err(fault(text, why));
        }
        if resolvers.len() == RESOLVERS_MAX {
            return Err(fault(
                text,
                format!("at most {RESOLVERS_MAX} resolvers can be configured"),
            ));
        }
        resolvers.push(resolver);
    }
    Ok(resolvers)
}

fn check_publish(
    texts: Option<&Spanned<Vec<Spanned<String>>>>,
    outside: &Outside,
) -> Result<Vec<Forward>, Fault> {
    let Some(texts) = texts else { return Ok(Vec::new()) };
    if !texts.get_ref().is_empty() && !outside.uplink.is_nat() {
        return Err(fault(texts, gateway_needed("ports are published", outside)));
    }
    if texts.get_ref().len() > PUBLISH_MAX {
        return Err(fault(texts, format!("a network publishes at most {PUBLISH_MAX} ports")));
    }
    let mut forwards: Vec<Forward> = Vec::new();
    for text in texts.get_ref() {
        let forward = Forward::parse(text.get_ref(), None)
            .map_err(|why| fault(text, format!("{:?} is not a forward: {why}", text.get_ref())))?;
        if let Some(other) = forwards.iter().find(|other| other.collides(&forward)) {
            let why = format!("{forward} and {other} want the same port of the host");
            return Err(fault(text, why));
        }
        forwards.push(forward);
    }
    Ok(forwards)
}

fn check_allow_host(
    ports: Option<&Spanned<Vec<Spanned<file::PortText>>>>,
    outside: &Outside,
) -> Result<Vec<HostPort>, Fault> {
    let Some(ports) = ports else { return Ok(Vec::new()) };
    if !ports.get_ref().is_empty() && !outside.uplink.is_nat() {
        return Err(fault(ports, gateway_needed("the host is reached", outside)));
    }
    if ports.get_ref().len() > ALLOW_HOST_MAX {
        return Err(fault(
            ports,
            format!("at most {ALLOW_HOST_MAX} ports of the host can be allowed"),
        ));
    }
    let mut allowed = Vec::new();
    for port in ports.get_ref() {
        let text = match port.get_ref() {
            file::PortText::Number(number) => number.to_string(),
            file::PortText::Text(text) => text.clone(),
        };
        let port: HostPort =
            text.parse().map_err(|why: gateway::HostPortError| fault(port, why.to_string()))?;
        if !allowed.contains(&port) {
            allowed.push(port);
        }
    }
    Ok(allowed)
}

fn gateway_needed(what: &str, outside: &Outside) -> String {
    let uplink = &outside.uplink;
    format!(
        "{what} through the user-mode gateway, and the uplink is \"{uplink}\": leave this out, or set `uplink` to \
         \"nat\""
    )
}

fn check_routes(routes: Option<&Spanned<Vec<file::Route>>>) -> Result<Vec<Route>, Fault> {
    let Some(routes) = routes else { return Ok(Vec::new()) };
    if routes.get_ref().len() > ROUTES_MAX {
        return Err(fault(routes, format!("a network has at most {ROUTES_MAX} static routes")));
    }
    let mut checked: Vec<Route> = Vec::new();
    for route in routes.get_ref() {
        let to: IpNet = route.to.get_ref().parse().map_err(|_| {
            let why = format!("{:?} is not a prefix, such as \"10.9.0.0/16\"", route.to.get_ref());
            fault(&route.to, why)
        })?;
        if to.trunc() != to {
            let why = format!("{to} has bits set in its host part; {} is the prefix", to.trunc());
            return Err(fault(&route.to, why));
        }
        if NEVER_ROUTED
            .iter()
            .any(|(block, len)| IpNet::new(*block, *len).is_ok_and(|block| block.contains(&to)))
        {
            return Err(fault(&route.to, format!("{to} has no addresses that are routed")));
        }
        if checked.iter().any(|other| other.to == to) {
            return Err(fault(&route.to, format!("there is a route to {to} already")));
        }
        let via = match route.via.get_ref().as_str() {
            "unreachable" => Via::Unreachable,
            "prohibit" => Via::Prohibit,
            text => Via::Station(text.parse::<IpAddr>().ok().filter(|it| is_station(*it)).ok_or_else(
                || {
                    let why = format!(
                        "{text:?} is not a station of the network: give its address, \"unreachable\" or \"prohibit\""
                    );
                    fault(&route.via, why)
                },
            )?),
        };
        if let Via::Station(station) = via
            && station.is_ipv4() != to.addr().is_ipv4()
        {
            let why = format!(
                "{to} cannot be reached through {station}, which is of the other address family"
            );
            return Err(fault(&route.via, why));
        }
        checked.push(Route { to, via });
    }
    Ok(checked)
}
