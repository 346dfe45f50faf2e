//! DHCP and DHCPv6: what clients may say (checks 29 to 32 and 46; RFC 2131, RFC 3046, RFC 8415). What
//! servers give them is the business of [`leases`](super::leases).

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use ipnet::IpNet;
use wire::dhcp4::{self, Message, message, op, option};
use wire::{L3, MacAddr, Transport, dhcp6};

use crate::frame::Cast;
use crate::guard::Judge;
use crate::guard::egress::Reach;
use crate::guard::leases::{Request, address_option, association, prefix_option};
use crate::port::Port;
use crate::reason::Reason;
use crate::time::Instant;

/// DHCP clients that one port may be, beside one for each of its own Ethernet addresses: a boot
/// loader and the system that it loads have identifiers of their own.
const CLIENTS: usize = 4;

/// After this time a client that was not seen is forgotten.
const CLIENT_TIME: Duration = Duration::from_secs(600);

impl<'a> Judge<'a> {
    /// The payload of the UDP datagram.
    pub(super) fn datagram(&self) -> &'a [u8] {
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
        let client = Client { mac, identifier: self.fingerprint(identifier), version: Version::V4 };
        let given_up = match options.kind {
            Some(message::RELEASE) => Some(message.client_address()),
            Some(message::DECLINE) => Some(Ipv4Addr::from(options.address.unwrap_or_default())),
            _ => None,
        };
        self.demand(sound, Reason::DhcpClient)?;
        if let Some(address) = given_up {
            let address = IpAddr::V4(address);
            let declines = options.kind == Some(message::DECLINE);
            let gives_up = self.may_give_up(address, declines);
            self.demand(gives_up, Reason::DhcpRelease)?;
            self.give_up(address);
        }
        let known = self.client(client);
        self.demand(known, Reason::DhcpStarvation)?;
        if sound && matches!(options.kind, Some(message::DISCOVER | message::REQUEST)) {
            let (client, transaction) = (self.source, message.transaction());
            let request = Request { version: Version::V4, client, identifier: 0, transaction };
            self.me.requests.note(self.now, request);
        }
        Ok(())
    }

    /// Whether a client may give up an address: its own, and one that it was given and then told by us
    /// that somebody outside has it.
    fn may_give_up(&self, address: IpAddr, declines: bool) -> bool {
        self.has(address) || declines && self.is_in_use_outside(address)
    }

    /// Its lease ends at once: nobody can hold more of them than a server gives at a time.
    fn give_up(&mut self, address: IpAddr) {
        if self.has(address) {
            self.engine.end_lease_in(self.vid(), address);
        }
    }

    /// Takes note of the associations of a client of DHCPv6, as which a server gives it addresses, each
    /// by the identifiers of both (RFC 8415, 12): they are bounded as clients are.
    fn associations(&mut self, message: dhcp6::Message<'_>, identifier: &[u8]) -> bool {
        use dhcp6::option::{IA_NA, IA_PD, IA_TA};
        let (mac, version) = (self.mac(), Version::V6);
        let mut some = false;
        for (code, body) in message.options() {
            let (IA_NA | IA_TA | IA_PD, Some(number)) = (code, body.first_chunk::<4>()) else {
                continue;
            };
            some = true;
            // Those of another kind are others, whatever their number.
            let kind = code.to_be_bytes();
            let identifier = self.engine.memory.fingerprint(&[identifier, &kind, number]);
            if !self.client(Client { mac, identifier, version }) {
                return false;
            }
        }
        let identifier = self.fingerprint(identifier);
        some || self.client(Client { mac, identifier, version })
    }

    /// A number for an identifier.
    pub(super) fn fingerprint(&self, identifier: &[u8]) -> u64 {
        self.engine.memory.fingerprint(&[identifier])
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

    /// A guest's datagram from or to a port of DHCPv6.
    pub(super) fn dhcpv6(&mut self, source: u16, destination: u16) -> Result<(), Reason> {
        use dhcp6::message::{ADVERTISE, RECONFIGURE, RELAY_FORWARD, RELAY_REPLY, REPLY};
        use dhcp6::message::{REBIND, RENEW, REQUEST, SOLICIT};
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
            let declines = kind == dhcp6::message::DECLINE;
            let gives_up = given_up(message).all(|net| self.may_give_up(net.addr(), declines));
            self.demand(gives_up, Reason::Dhcpv6Release)?;
            for net in given_up(message).filter(|net| net.prefix_len() == net.max_prefix_len()) {
                self.give_up(net.addr());
            }
        }
        // Who wants no address needs no identifier, and costs a server nothing.
        if kind == dhcp6::message::INFORMATION_REQUEST {
            return Ok(());
        }
        let identifier = message.option(dhcp6::option::CLIENT_ID).unwrap_or_default();
        let known = self.associations(message, identifier);
        self.demand(known, Reason::Dhcpv6Starvation)?;
        let (version, identifier) = (Version::V6, self.fingerprint(identifier));
        if sound && matches!(kind, SOLICIT | REQUEST | RENEW | REBIND) {
            let (client, transaction) = (self.source, message.transaction());
            self.me.requests.note(self.now, Request { version, client, identifier, transaction });
        }
        Ok(())
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
    /// Of the identifier that it sent, and of that of one of its associations.
    identifier: u64,
    version: Version,
}

/// Which DHCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V6,
}

/// The addresses and prefixes that a client says it does not need, or that are in use.
fn given_up(message: dhcp6::Message<'_>) -> impl Iterator<Item = IpNet> + '_ {
    use dhcp6::option::{ADDRESS, IA_NA, IA_PD, IA_TA, PREFIX};
    message.options().flat_map(|(code, body)| {
        association(code, body).filter_map(move |(part, bytes)| match (code, part) {
            (IA_NA | IA_TA, ADDRESS) => address_option(bytes).map(|(net, _)| net),
            (IA_PD, PREFIX) => prefix_option(bytes).map(|(net, _)| net),
            _ => None,
        })
    })
}
