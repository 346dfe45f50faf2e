//! rtnetlink: interfaces, addresses and routes of one network namespace.
//!
//! Goals: set up an interface with a handful of synchronous requests over one socket, and read
//! what a machine already uses before a subnet is chosen. Limits: no multicast subscriptions, no
//! traffic control, no concurrency; a request is answered before the next one is sent.
//!
//! A netlink socket belongs to the network namespace of the thread that opened it and keeps
//! talking to that namespace wherever the thread goes afterwards (netlink(7)).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// The longest name of an interface in bytes (`IFNAMSIZ` - 1, linux/if.h).
pub const INTERFACE_NAME_MAX: usize = 15;

/// Large enough for every datagram the kernel sends on a dump (it never exceeds 32 KiB).
const RECEIVE_BUFFER: usize = 64 * 1024;

/// A destination that this namespace knows a way to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// First address of the destination; the unspecified address with length 0 is the default.
    pub destination: IpAddr,
    /// Prefix length in bits, 0 to 32 or 128.
    pub prefix_len: u8,
    /// Next hop, when there is one.
    pub gateway: Option<IpAddr>,
    /// Index of the outgoing interface, when there is exactly one.
    pub interface: Option<u32>,
    /// Routing table number (254 = main, 255 = local).
    pub table: u32,
}

/// A route to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewRoute {
    /// First address of the destination.
    pub destination: IpAddr,
    /// Prefix length in bits; 0 is the default route.
    pub prefix_len: u8,
    /// The next hop, of the same family.
    pub gateway: IpAddr,
    /// Index of the outgoing interface.
    pub interface: u32,
    /// Of routes to one destination, that with the lowest metric is used; `None` is the kernel's default.
    pub metric: Option<u32>,
}

/// An address assigned to an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub interface: u32,
    pub address: IpAddr,
    /// Prefix length in bits.
    pub prefix_len: u8,
    /// Duplicate-address detection has not finished (RFC 4862 section 5.4), so nobody may use it.
    pub tentative: bool,
}

/// An interface of this namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// Hardware address where the interface has one of six bytes.
    pub mac: Option<[u8; 6]>,
    /// Bytes behind the Ethernet header.
    pub mtu: u32,
    /// Administratively up (`IFF_UP`).
    pub up: bool,
}

/// What to change on an interface; `None` leaves a property alone.
#[derive(Debug, Clone, Default)]
pub struct LinkChange<'a> {
    /// The number of a new interface; an existing one keeps its own.
    pub index: Option<u32>,
    /// New name, at most [`INTERFACE_NAME_MAX`] bytes; the interface must be down on old kernels.
    pub name: Option<&'a str>,
    pub mac: Option<[u8; 6]>,
    /// Bytes behind the Ethernet header.
    pub mtu: Option<u32>,
    /// `IFF_UP`.
    pub up: Option<bool>,
    /// `IFF_NOARP`: the interface neither asks nor answers neighbour questions.
    pub no_arp: bool,
    /// The IPv6 link-local address is EUI-64 of the MAC (RFC 4291 appendix A), whatever the
    /// namespace's default is.
    pub eui64: bool,
}

/// Where one end of a veth pair is put.
#[derive(Debug, Clone, Copy)]
pub enum PeerNamespace<'a> {
    /// The namespace of the socket.
    Same,
    /// The network namespace of this process, numbered as the caller's PID namespace does.
    Pid(u32),
    /// An open namespace file.
    Fd(BorrowedFd<'a>),
}

/// One rtnetlink socket.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread.
    pub fn open() -> io::Result<Self> {
        let socket = socket_with(
            rustix::net::AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None, // NETLINK_ROUTE is protocol 0
        )?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; RECEIVE_BUFFER] })
    }

    /// Unicast, blackhole and unreachable routes of both families, in every table. Routes to
    /// this machine itself, broadcasts and multicasts are left out.
    pub fn routes(&mut self) -> io::Result<Vec<Route>> {
        let answers = self.request(
            RouteNetlinkMessage::GetRoute(RouteMessage::default()),
            NLM_F_REQUEST | NLM_F_DUMP,
        )?;
        Ok(answers.iter().filter_map(route).collect())
    }

    /// Every IPv4 and IPv6 address of the namespace.
    pub fn addresses(&mut self) -> io::Result<Vec<Address>> {
        let answers = self.request(
            RouteNetlinkMessage::GetAddress(AddressMessage::default()),
            NLM_F_REQUEST | NLM_F_DUMP,
        )?;
        Ok(answers.iter().filter_map(address).collect())
    }

    /// Every interface of the namespace.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let answers = self.request(
            RouteNetlinkMessage::GetLink(LinkMessage::default()),
            NLM_F_REQUEST | NLM_F_DUMP,
        )?;
        Ok(answers.iter().filter_map(link).collect())
    }

    /// The interface of this name; `ENODEV` if there is none.
    pub fn link(&mut self, name: &str) -> io::Result<Link> {
        check_name(name)?;
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let answers = self.request(RouteNetlinkMessage::GetLink(message), NLM_F_REQUEST)?;
        answers.iter().find_map(link).ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
    }

    /// Changes an interface in one request.
    pub fn change_link(&mut self, index: u32, change: &LinkChange<'_>) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        if let Some(name) = change.name {
            check_name(name)?;
            message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        }
        describe(change, &mut message);
        self.request(RouteNetlinkMessage::SetLink(message), NLM_F_REQUEST | NLM_F_ACK)?;
        Ok(())
    }

    /// Makes a veth pair: `name` here, `peer` in `namespace` (veth(4)). Both start down.
    ///
    /// The near end should have an index that the peer does not get in its namespace: the kernel takes
    /// a device whose own and whose peer's index are equal for one without a peer, and tells its new
    /// carrier up to a second late (`linkwatch_urgent_event`, net/core/link_watch.c).
    pub fn add_veth(
        &mut self,
        name: &str,
        change: &LinkChange<'_>,
        peer: &str,
        peer_change: &LinkChange<'_>,
        namespace: PeerNamespace<'_>,
    ) -> io::Result<()> {
        check_name(name)?;
        check_name(peer)?;
        let mut far = LinkMessage::default();
        far.attributes.push(LinkAttribute::IfName(peer.to_owned()));
        describe(peer_change, &mut far);
        match namespace {
            PeerNamespace::Same => {}
            PeerNamespace::Pid(pid) => far.attributes.push(LinkAttribute::NetNsPid(pid)),
            PeerNamespace::Fd(fd) => far.attributes.push(LinkAttribute::NetNsFd(fd.as_raw_fd())),
        }
        let mut near = LinkMessage::default();
        near.header.index = change.index.unwrap_or(0);
        near.attributes.push(LinkAttribute::IfName(name.to_owned()));
        describe(change, &mut near);
        near.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]));
        self.request(
            RouteNetlinkMessage::NewLink(near),
            NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
        )?;
        Ok(())
    }

    /// Deletes an interface.
    pub fn delete_link(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.request(RouteNetlinkMessage::DelLink(message), NLM_F_REQUEST | NLM_F_ACK)?;
        Ok(())
    }

    /// Assigns an address, without duplicate-address detection: who is bound to it is decided by
    /// the network's plan, and a guest shall not wait a second for its own address.
    pub fn add_address(
        &mut self,
        interface: u32,
        address: IpAddr,
        prefix_len: u8,
    ) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.index = interface;
        message.header.prefix_len = prefix_len;
        message.header.scope = AddressScope::Universe;
        message.attributes.push(AddressAttribute::Local(address));
        message.attributes.push(AddressAttribute::Address(address));
        match address {
            IpAddr::V4(v4) => {
                message.header.family = AddressFamily::Inet;
                // /31 and /32 have no broadcast address (RFC 3021).
                if prefix_len < 31 {
                    message.attributes.push(AddressAttribute::Broadcast(broadcast(v4, prefix_len)));
                }
            }
            IpAddr::V6(_) => {
                message.header.family = AddressFamily::Inet6;
                message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            }
        }
        self.request(
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
        )?;
        Ok(())
    }

    /// Adds a route by way of `gateway`, which is a neighbour on `interface`. `EEXIST` if there is one to the
    /// same destination with the same metric.
    pub fn add_route(&mut self, route: &NewRoute) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header.destination_prefix_length = route.prefix_len;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        let address = |address: IpAddr| match address {
            IpAddr::V4(v4) => RouteAddress::Inet(v4),
            IpAddr::V6(v6) => RouteAddress::Inet6(v6),
        };
        message.header.address_family = match route.gateway {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        if route.prefix_len > 0 {
            message.attributes.push(RouteAttribute::Destination(address(route.destination)));
        }
        message.attributes.push(RouteAttribute::Gateway(address(route.gateway)));
        message.attributes.push(RouteAttribute::Oif(route.interface));
        if let Some(metric) = route.metric {
            message.attributes.push(RouteAttribute::Priority(metric));
        }
        self.request(
            RouteNetlinkMessage::NewRoute(message),
            NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
        )?;
        Ok(())
    }

    /// Sends one request and collects what the kernel answers until it is done.
    fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        send(&self.socket, &bytes, SendFlags::empty())?;

        let mut answers = Vec::new();
        loop {
            let (len, full) = rustix::io::retry_on_intr(|| {
                recv(&self.socket, &mut self.buffer[..], RecvFlags::TRUNC)
            })?;
            if full > len {
                return Err(unreadable("an rtnetlink answer is longer than its buffer"));
            }
            if self.collect(len, flags, &mut answers)? {
                return Ok(answers);
            }
        }
    }

    /// Reads one datagram of answers; true when the request is finished.
    fn collect(
        &self,
        len: usize,
        flags: u16,
        answers: &mut Vec<RouteNetlinkMessage>,
    ) -> io::Result<bool> {
        let mut rest = &self.buffer[..len];
        let mut finished = false;
        while rest.len() >= 16 {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length < 16 || length > rest.len() {
                return Err(unreadable("an rtnetlink answer has a wrong length"));
            }
            let parsed = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&rest[..length]);
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
            // A message of a kind this library does not know is none that we asked for.
            let Ok(parsed) = parsed else { continue };
            if parsed.header.sequence_number != self.sequence {
                continue;
            }
            match parsed.payload {
                NetlinkPayload::Done(_) => finished = true,
                NetlinkPayload::Error(error) => match error.code {
                    None => finished = true,
                    Some(code) => return Err(io::Error::from_raw_os_error(code.get().abs())),
                },
                NetlinkPayload::InnerMessage(inner) => {
                    answers.push(inner);
                    // Only dumps and acknowledged requests have a closing message.
                    finished |= flags & (NLM_F_DUMP | NLM_F_ACK) == 0;
                }
                _ => {}
            }
        }
        Ok(finished)
    }
}

fn unreadable(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn check_name(name: &str) -> io::Result<()> {
    if valid_interface_name(name) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "'{name}' cannot name an interface: use 1 to {INTERFACE_NAME_MAX} bytes without '/', ':' and spaces"
        ),
    ))
}

/// Whether the kernel takes this as the name of an interface with addresses (`dev_valid_name` in net/core/dev.c, and
/// `sysctl_dev_name_is_allowed` in include/linux/inetdevice.h: `all` and `default` are directories of its settings).
#[must_use]
pub fn valid_interface_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= INTERFACE_NAME_MAX
        && name != "."
        && name != ".."
        && name != "all"
        && name != "default"
        && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':' && b != b'%')
}

fn describe(change: &LinkChange<'_>, message: &mut LinkMessage) {
    if let Some(mac) = change.mac {
        message.attributes.push(LinkAttribute::Address(mac.to_vec()));
    }
    if let Some(mtu) = change.mtu {
        message.attributes.push(LinkAttribute::Mtu(mtu));
    }
    if change.eui64 {
        message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![
            AfSpecInet6::AddrGenMode(In6AddrGenMode::Eui64),
        ])]));
    }
    if let Some(up) = change.up {
        message.header.change_mask |= LinkFlags::Up;
        if up {
            message.header.flags |= LinkFlags::Up;
        }
    }
    if change.no_arp {
        message.header.change_mask |= LinkFlags::Noarp;
        message.header.flags |= LinkFlags::Noarp;
    }
}

fn broadcast(address: Ipv4Addr, prefix_len: u8) -> Ipv4Addr {
    let host = u32::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0);
    Ipv4Addr::from(u32::from(address) | host)
}

fn route(message: &RouteNetlinkMessage) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    let wanted = matches!(
        message.header.kind,
        RouteType::Unicast | RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit
    );
    let unspecified: IpAddr = match message.header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    if !wanted {
        return None;
    }
    let mut route = Route {
        destination: unspecified,
        prefix_len: message.header.destination_prefix_length,
        gateway: None,
        interface: None,
        table: u32::from(message.header.table),
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => route.destination = ip(to)?,
            RouteAttribute::Gateway(via) => route.gateway = ip(via),
            RouteAttribute::Oif(index) => route.interface = Some(*index),
            RouteAttribute::Table(table) => route.table = *table,
            _ => {}
        }
    }
    Some(route)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

fn address(message: &RouteNetlinkMessage) -> Option<Address> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let mut found = None;
    for attribute in &message.attributes {
        match attribute {
            // Local is our own address; Address is the peer's on a point-to-point interface.
            AddressAttribute::Local(local) => found = Some(*local),
            AddressAttribute::Address(address) => found = found.or(Some(*address)),
            _ => {}
        }
    }
    Some(Address {
        interface: message.header.index,
        address: found?,
        prefix_len: message.header.prefix_len,
        tentative: message.header.flags.contains(AddressHeaderFlags::Tentative),
    })
}

fn link(message: &RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            _ => {}
        }
    }
    Some(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_listed_with_its_addresses() {
        let mut netlink = Netlink::open().expect("a netlink socket needs no privilege");
        let lo = netlink.link("lo").expect("every namespace has lo");
        assert_eq!(lo.name, "lo");
        assert!(netlink.links().unwrap().contains(&lo));
        if lo.up {
            let found = netlink.addresses().unwrap();
            let expected = IpAddr::V4(Ipv4Addr::LOCALHOST);
            assert!(found.iter().any(|a| a.interface == lo.index && a.address == expected));
        }
        for route in netlink.routes().unwrap() {
            let bits = if route.destination.is_ipv4() { 32 } else { 128 };
            assert!(route.prefix_len <= bits, "{route:?}");
        }
    }

    #[test]
    fn an_unknown_interface_is_enodev() {
        let error = Netlink::open().unwrap().link("no-such-link").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn names_the_kernel_would_refuse_are_refused() {
        for bad in
            ["", ".", "..", "a/b", "a:b", "a b", "eth%d", "sixteen-bytes-xx", "all", "default"]
        {
            assert!(!valid_interface_name(bad), "{bad:?}");
        }
        for good in ["eth0", "a", "fifteen-bytes-x"] {
            assert!(valid_interface_name(good), "{good:?}");
        }
    }

    #[test]
    fn broadcast_address_is_the_last_of_the_prefix() {
        assert_eq!(broadcast(Ipv4Addr::new(10, 1, 2, 3), 20), Ipv4Addr::new(10, 1, 15, 255));
        assert_eq!(broadcast(Ipv4Addr::new(10, 1, 2, 3), 0), Ipv4Addr::BROADCAST);
        assert_eq!(broadcast(Ipv4Addr::new(10, 1, 2, 3), 32), Ipv4Addr::new(10, 1, 2, 3));
    }
}
