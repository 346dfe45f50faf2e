//! DHCP and DHCPv6: what clients may say, and what is learned from servers (checks 29 to 33 and 46;
//! RFC 2131, RFC 3046, RFC 8415, RFC 7513).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use ipnet::{IpNet, Ipv6Net};
use wire::dhcp4::{self, Message, message, op, option};
use wire::{L3, MacAddr, Transport, dhcp6};

use crate::bindings::Owner;
use crate::frame::Cast;
use crate::guard::Judge;
use crate::guard::egress::Reach;
use crate::guard::fast::Packed;
use crate::guard::spec::{GuardMode, Role};
use crate::mac_table::tick;
use crate::port::{Port, PortId};
use crate::reason::Reason;
use crate::time::Instant;

/// DHCP clients that one port may be, beside one for each of its own Ethernet addresses: a boot
/// loader and the system that it loads have identifiers of their own.
const CLIENTS: usize = 4;

/// After this time a client that was not seen is forgotten.
const CLIENT_TIME: Duration = Duration::from_secs(600);

impl<'a> Judge<'a> {
    /// The payload of the UDP datagram.
    fn datagram(&self) -> &'a [u8] {
        let Some(l4) = self.parsed.l4 else { return &[] };
        let Transport::Udp { len, .. } = l4.transport else { return &[] };
        let start = usize::from(l4.offset);
        let end = self.bytes.len().min(start + usize::from(len));
        self.bytes.get(start + usize::from(l4.header_len)..end).unwrap_or_default()
    }

    /// A guest's datagram from or to a port of DHCP.
    pub(super) fn dhcp4(&mut self, source: u16, destination: u16) -> Result<(), Reason> {
        if !matches!(source, 67 | 68) && !matches!(destination, 67 | 68) {
            return Ok(());
        }
        let datagram = self.datagram();
        let parsed = Message::new(datagram);
        let from_server = source == dhcp4::SERVER_PORT || destination == dhcp4::CLIENT_PORT;
        let client = source == dhcp4::CLIENT_PORT || parsed.is_ok();
        if !is_reply(datagram) && (from_server || !client) {
            // Whatever it is, it must not get there. Others can bring a guest to send it, if they
            // ask one of its services from such a port.
            return self.refuse(Reason::DhcpPort);
        }
        let rate = self.me.spec.rates.dhcp;
        if !self.me.buckets.dhcp.take(self.now, rate) {
            self.refuse(Reason::DhcpRate)?;
        }
        if is_reply(datagram) {
            return self.refuse(Reason::DhcpServer);
        }
        if self.cast == Cast::Broadcast {
            self.said.reach = Reach::Servers;
        }
        let Ok(message) = parsed else { return self.refuse(Reason::DhcpClient) };
        let mac = self.mac();
        let options = Asked::of(message);
        let identifier = options.identifier.unwrap_or_default();
        // One that says it is an Ethernet address (RFC 2132, 9.14) is the client's own.
        let names_other =
            matches!(identifier, [1, mac @ ..] if mac.len() == 6 && *mac != message.client_mac().0);
        let sound = source == dhcp4::CLIENT_PORT
            && message.op() == op::REQUEST
            && (message.hardware_type(), message.hardware_len()) == (1, 6)
            && message.client_mac() == mac
            && message.hops() == 0
            && message.relay_address().is_unspecified()
            && !options.forbidden
            && !options.repeated
            && !names_other
            && options.kind.is_some();
        let client = Client { mac, identifier: fingerprint(identifier), version: Version::V4 };
        let given_up = match options.kind {
            Some(message::RELEASE) => Some(message.client_address()),
            Some(message::DECLINE) => Some(Ipv4Addr::from(options.address.unwrap_or_default())),
            _ => None,
        };
        self.demand(sound, Reason::DhcpClient)?;
        if let Some(address) = given_up {
            let own = self.has(address.into());
            self.demand(own, Reason::DhcpRelease)?;
            if own && self.me.spec.mode == GuardMode::Dhcp {
                self.engine.unbind(address);
            }
        }
        let known = self.client(client);
        self.demand(known, Reason::DhcpStarvation)
    }

    /// Takes note of a client; false if the port is too many of them (checks 32 and 46).
    fn client(&mut self, client: Client) -> bool {
        let now = self.now;
        let stations = |port: &Port| port.spec.macs.len() + port.max_learned() as usize;
        let most = self.engine.ports.get(self.id).map_or(0, stations) + CLIENTS;
        let clients = &mut self.me.clients;
        if let Some((_, seen)) = clients.iter_mut().find(|(known, _)| *known == client) {
            *seen = now;
            return true;
        }
        let count = |clients: &[(Client, Instant)]| {
            clients.iter().filter(|(known, _)| known.version == client.version).count()
        };
        if count(clients) >= most {
            clients.retain(|(_, seen)| now.saturating_since(*seen) < CLIENT_TIME);
        }
        let room = count(clients) < most;
        if room {
            clients.push((client, now));
        }
        room
    }

    /// A datagram of a trusted server: what it gives is bound to the port of the client.
    pub(super) fn dhcp4_served(&mut self) {
        // It may go to an address that its client does not have yet.
        self.said.destination = Packed::ANYBODY;
        let Ok(message) = Message::new(self.datagram()) else { return };
        let address = message.your_address();
        if message.op() != op::REPLY
            || message.kind() != Some(message::ACK)
            || address.is_unspecified()
        {
            return;
        }
        let time = message.option(option::LEASE_TIME).and_then(|body| body.first_chunk::<4>());
        let Some(time) = time.map(|time| u32::from_be_bytes(*time)) else { return };
        let client = message.client_mac();
        if let Some(port) = self.client_port(client) {
            self.lease(port, address.into(), Duration::from_secs(time.into()));
        }
    }

    /// The guest port that a client is behind, if its leases are to be learned.
    fn client_port(&self, client: MacAddr) -> Option<PortId> {
        let index = self.engine.macs.port_of(self.vid(), client.as_u64(), tick(self.now))?;
        self.learns_leases(index)
    }

    fn learns_leases(&self, index: u16) -> Option<PortId> {
        let port = self.engine.ports.at(index)?;
        // What a server outside gave holds better than first use.
        let learns = match port.spec.guard.mode {
            GuardMode::Dhcp => true,
            GuardMode::Learn => self.me.role == Role::Uplink,
            GuardMode::Static | GuardMode::Off => false,
        };
        (port.spec.role == Role::Guest && learns).then_some(port.id)
    }

    /// A guest's datagram from or to a port of DHCPv6.
    pub(super) fn dhcpv6(&mut self, source: u16, destination: u16) -> Result<(), Reason> {
        use dhcp6::message::{ADVERTISE, RECONFIGURE, RELAY_FORWARD, RELAY_REPLY, REPLY};
        if !matches!(source, 546 | 547) && !matches!(destination, 546 | 547) {
            return Ok(());
        }
        let datagram = self.datagram();
        let parsed = dhcp6::Message::new(datagram);
        let kind = parsed.map_or(0, dhcp6::Message::kind);
        let server = is_servers(datagram);
        let from_server = source == dhcp6::SERVER_PORT
            || destination == dhcp6::CLIENT_PORT
            || matches!(kind, ADVERTISE | REPLY | RECONFIGURE | RELAY_FORWARD | RELAY_REPLY);
        if !server && (from_server || source != dhcp6::CLIENT_PORT) {
            // As above: not necessarily the guest's own wish.
            return self.refuse(Reason::Dhcpv6Port);
        }
        let rate = self.me.spec.rates.dhcp;
        if !self.me.buckets.dhcpv6.take(self.now, rate) {
            self.refuse(Reason::Dhcpv6Rate)?;
        }
        if server {
            return self.refuse(Reason::Dhcpv6Server);
        }
        let prefixes = parsed.is_ok_and(|m| m.option(dhcp6::option::IA_PD).is_some());
        // Servers differ in which of two they believe.
        let identifiers = parsed.map_or(0, |message| {
            message.options().filter(|(code, _)| *code == dhcp6::option::CLIENT_ID).count()
        });
        let Some(L3::Ipv6(ip)) = self.parsed.l3 else { return Ok(()) };
        let sound = ip.source.is_unicast_link_local()
            && kind != 0
            && identifiers <= 1
            && (!prefixes || self.me.spec.delegated_prefixes);
        self.demand(sound, Reason::Dhcpv6Client)?;
        if self.cast == Cast::Multicast {
            self.said.reach = Reach::Servers;
        }
        let Ok(message) = parsed else { return Ok(()) };
        if matches!(kind, dhcp6::message::RELEASE | dhcp6::message::DECLINE) {
            let own = given_up(message).all(|net| self.has(net.addr()));
            self.demand(own, Reason::Dhcpv6Release)?;
        }
        // Who wants no address needs no identifier, and costs a server nothing.
        if kind == dhcp6::message::INFORMATION_REQUEST {
            return Ok(());
        }
        let identifier = message.option(dhcp6::option::CLIENT_ID).unwrap_or_default();
        let client =
            Client { mac: self.mac(), identifier: fingerprint(identifier), version: Version::V6 };
        let known = self.client(client);
        self.demand(known, Reason::Dhcpv6Starvation)
    }

    /// A datagram of a trusted server: addresses and prefixes that it gives.
    pub(super) fn dhcpv6_served(&mut self) {
        use dhcp6::option::{ADDRESS, IA_NA, IA_PD, PREFIX};
        let Some(L3::Ipv6(ip)) = self.parsed.l3 else { return };
        let Ok(message) = dhcp6::Message::new(self.datagram()) else { return };
        if message.kind() != dhcp6::message::REPLY {
            return;
        }
        let Some(Owner::Port(client)) = self.engine.bindings.owner_of_ip(ip.destination.into())
        else {
            return;
        };
        let Some(port) = self.engine.ports.get(client) else { return };
        let addresses = self.learns_leases(client.index).is_some();
        let prefixes = port.spec.role == Role::Guest && port.spec.guard.delegated_prefixes;
        let mut given: [Option<(IpNet, u32)>; GIVEN_MAX] = [None; GIVEN_MAX];
        let mut places = given.iter_mut();
        for (code, body) in message.options() {
            // Both begin with an identifier and two times, twelve bytes.
            let Some(inner) = body.get(12..) else { continue };
            for (part, bytes) in dhcp6::Options::new(inner) {
                let found = match (code, part) {
                    (IA_NA, ADDRESS) if addresses => address_option(bytes),
                    (IA_PD, PREFIX) if prefixes => prefix_option(bytes),
                    _ => None,
                };
                if let (Some(found), Some(place)) = (found, places.next()) {
                    *place = Some(found);
                }
            }
        }
        for (net, seconds) in given.into_iter().flatten() {
            let time = Duration::from_secs(seconds.into());
            if net.prefix_len() == net.max_prefix_len() {
                self.lease(client, net.addr(), time);
            } else {
                self.delegate(client, net, time);
            }
        }
    }
}

/// What a client of DHCP asks for, in one pass over its options.
#[derive(Debug, Default)]
struct Asked<'a> {
    kind: Option<u8>,
    identifier: Option<&'a [u8]>,
    /// The requested address.
    address: Option<[u8; 4]>,
    /// There is a relay's option, or one that has more options elsewhere, where nobody has looked for
    /// it.
    forbidden: bool,
    /// An option that says what is asked, for whom or for which address stands there twice: servers
    /// differ in which one they believe. None of them is so long that it had to be split (RFC 3396).
    repeated: bool,
}

impl<'a> Asked<'a> {
    fn of(message: Message<'a>) -> Self {
        let mut asked = Self::default();
        let mut seen = [false; 3];
        for (code, body) in message.options() {
            let [kind, identifier, address] = &mut seen;
            let seen = match code {
                option::MESSAGE_TYPE => {
                    asked.kind = if let [kind] = *body { Some(kind) } else { None };
                    kind
                }
                option::CLIENT_ID => {
                    asked.identifier = Some(body);
                    identifier
                }
                option::REQUESTED_ADDRESS => {
                    asked.address = body.first_chunk::<4>().copied();
                    address
                }
                option::RELAY | option::OVERLOAD => {
                    asked.forbidden = true;
                    continue;
                }
                _ => continue,
            };
            asked.repeated |= core::mem::replace(seen, true);
        }
        asked
    }
}

/// Whether a datagram is what a server of DHCP or BOOTP sends, by the fields that both have.
fn is_reply(datagram: &[u8]) -> bool {
    datagram.len() >= dhcp4::HEADER_LEN - dhcp4::COOKIE.len()
        && datagram.starts_with(&[op::REPLY, 1, 6])
}

/// Whether a datagram is what a server or a relay of DHCPv6 sends: one names itself (RFC 8415, 16),
/// the other has a message inside (RFC 8415, 9).
fn is_servers(datagram: &[u8]) -> bool {
    use dhcp6::message::{ADVERTISE, RECONFIGURE, RELAY_FORWARD, RELAY_REPLY, REPLY};
    let (head, wanted) = match datagram.first() {
        Some(&(ADVERTISE | REPLY | RECONFIGURE)) => (dhcp6::HEADER_LEN, dhcp6::option::SERVER_ID),
        Some(&(RELAY_FORWARD | RELAY_REPLY)) => {
            (dhcp6::RELAY_HEADER_LEN, dhcp6::option::RELAY_MESSAGE)
        }
        _ => return false,
    };
    let mut options = dhcp6::Options::new(datagram.get(head..).unwrap_or_default());
    options.any(|(code, _)| code == wanted)
}

/// A client as servers tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    mac: MacAddr,
    /// Of the identifier that it sent.
    identifier: u64,
    version: Version,
}

/// Which DHCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V4,
    V6,
}

/// A number for an identifier (FNV-1a): a guest that makes two of its own collide has won nothing.
fn fingerprint(identifier: &[u8]) -> u64 {
    identifier.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The addresses and prefixes that a client says it does not need, or that are in use.
fn given_up(message: dhcp6::Message<'_>) -> impl Iterator<Item = IpNet> + '_ {
    use dhcp6::option::{ADDRESS, IA_NA, IA_PD, IA_TA, PREFIX};
    message.options().flat_map(|(code, body)| {
        // An identifier, and two times for what is renewed.
        let head = if code == IA_TA { 4 } else { 12 };
        let inner = dhcp6::Options::new(body.get(head..).unwrap_or_default());
        inner.filter_map(move |(part, bytes)| match (code, part) {
            (IA_NA | IA_TA, ADDRESS) => address_option(bytes).map(|(net, _)| net),
            (IA_PD, PREFIX) => prefix_option(bytes).map(|(net, _)| net),
            _ => None,
        })
    })
}

/// Addresses and prefixes of one reply that are looked at.
const GIVEN_MAX: usize = 8;

/// Address, preferred and valid lifetime (RFC 8415, 21.6).
fn address_option(bytes: &[u8]) -> Option<(IpNet, u32)> {
    let (address, rest) = bytes.split_first_chunk::<16>()?;
    let valid = rest.get(4..)?.first_chunk::<4>()?;
    Some((IpAddr::from(*address).into(), u32::from_be_bytes(*valid)))
}

/// Preferred and valid lifetime, length, prefix (RFC 8415, 21.22).
fn prefix_option(bytes: &[u8]) -> Option<(IpNet, u32)> {
    let (&[_, _, _, _, a, b, c, d, len], rest) = bytes.split_first_chunk::<9>()?;
    let prefix = Ipv6Addr::from(*rest.first_chunk::<16>()?);
    // No guest is given the Internet.
    let net = Ipv6Net::new(prefix, len).ok().filter(|net| net.prefix_len() >= 48)?;
    Some((net.trunc().into(), u32::from_be_bytes([a, b, c, d])))
}
