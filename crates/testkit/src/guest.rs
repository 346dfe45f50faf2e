//! A whole TCP/IP stack (smoltcp) that sits behind an engine port.

use std::net::IpAddr;

use engine::Instant;
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::{icmp, tcp};
use smoltcp::wire::{
    EthernetAddress, HardwareAddress, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpCidr,
};
use wire::MacAddr;

use crate::wires::Wires;

/// The prefix lengths of all guests' networks.
const PREFIX_V4: u8 = 20;
const PREFIX_V6: u8 = 64;

/// A stack with one interface.
pub struct Guest {
    wires: Wires,
    interface: Interface,
    sockets: SocketSet<'static>,
    ping: SocketHandle,
    /// The identifier of its echo requests. Each guest has another, because smoltcp hands a request
    /// to a socket that is bound to its identifier instead of answering it.
    identifier: u16,
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guest")
            .field("mac", &self.interface.hardware_addr())
            .field("waiting", &(self.wires.rx.len(), self.wires.tx.len()))
            .finish_non_exhaustive()
    }
}

impl Guest {
    /// A stack with this address on Ethernet and these on IP (/20 and /64).
    ///
    /// # Panics
    ///
    /// If the Ethernet address is a group address.
    #[must_use]
    pub fn new(mac: MacAddr, addresses: &[IpAddr], mtu: usize, seed: u64) -> Self {
        let mut wires = Wires::ethernet(mtu);
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac.0)));
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut wires, smoltcp::time::Instant::ZERO);
        interface.update_ip_addrs(|list| {
            for &address in addresses {
                let prefix = if address.is_ipv4() { PREFIX_V4 } else { PREFIX_V6 };
                list.push(IpCidr::new(address.into(), prefix)).expect("room for an address");
            }
        });
        let buffer =
            || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 8], vec![0; 2048]);
        let mut socket = icmp::Socket::new(buffer(), buffer());
        let identifier = u16::from_be_bytes([mac.0[4], mac.0[5]]);
        socket.bind(icmp::Endpoint::Ident(identifier)).expect("a fresh socket");
        let mut sockets = SocketSet::new(Vec::new());
        let ping = sockets.add(socket);
        Self { wires, interface, sockets, ping, identifier }
    }

    /// Gives the stack a default route, of the gateway's version.
    ///
    /// # Panics
    ///
    /// If it has one already and there is no room for another.
    pub fn default_route(&mut self, gateway: IpAddr) {
        let routes = self.interface.routes_mut();
        match gateway {
            IpAddr::V4(ip) => routes.add_default_ipv4_route(ip).expect("room for a route"),
            IpAddr::V6(ip) => routes.add_default_ipv6_route(ip).expect("room for a route"),
        };
    }

    /// Lets the stack work: it takes what it was given and says what it has to say. True if a
    /// socket may have changed.
    pub fn poll(&mut self, now: Instant) -> bool {
        let result = self.interface.poll(time(now), &mut self.wires, &mut self.sockets);
        result == PollResult::SocketStateChanged
    }

    /// When the stack wants to be polled again, if it is not given anything.
    pub fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(time(now), &self.sockets)?;
        Some(Instant::from_nanos(u64::try_from(at.total_micros()).unwrap_or(0) * 1000))
    }

    /// A frame from the network.
    pub fn give(&mut self, frame: Vec<u8>) {
        self.wires.rx.push_back(frame);
    }

    /// The next frame for the network.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        self.wires.tx.pop_front()
    }

    /// Sends an echo request.
    ///
    /// # Panics
    ///
    /// If the socket's buffer is full.
    pub fn ping(&mut self, to: IpAddr, sequence: u16, data: &[u8]) {
        let (ident, seq_no) = (self.identifier, sequence);
        let ignored = ChecksumCapabilities::ignored();
        let socket = self.sockets.get_mut::<icmp::Socket<'_>>(self.ping);
        match to {
            IpAddr::V4(_) => {
                let repr = Icmpv4Repr::EchoRequest { ident, seq_no, data };
                let bytes = socket.send(repr.buffer_len(), to.into()).expect("room to send");
                repr.emit(&mut Icmpv4Packet::new_unchecked(bytes), &ignored);
            }
            IpAddr::V6(address) => {
                let repr = Icmpv6Repr::EchoRequest { ident, seq_no, data };
                let bytes = socket.send(repr.buffer_len(), to.into()).expect("room to send");
                let mut packet = Icmpv6Packet::new_unchecked(bytes);
                repr.emit(&address, &address, &mut packet, &ignored);
            }
        }
    }

    /// The next echo reply: who sent it, and its sequence number.
    pub fn pong(&mut self) -> Option<(IpAddr, u16)> {
        let socket = self.sockets.get_mut::<icmp::Socket<'_>>(self.ping);
        let (bytes, from) = socket.recv().ok()?;
        // Type, code, checksum, identifier, sequence: the same in both versions.
        let sequence = bytes.get(6..8)?;
        Some((from.into(), u16::from_be_bytes([sequence[0], sequence[1]])))
    }

    /// A TCP socket that listens.
    ///
    /// # Panics
    ///
    /// If the port is zero.
    pub fn listen(&mut self, port: u16) -> SocketHandle {
        let mut socket = tcp_socket();
        socket.listen(port).expect("a port to listen on");
        self.sockets.add(socket)
    }

    /// A TCP socket that connects.
    ///
    /// # Panics
    ///
    /// If there is no address to connect from.
    pub fn connect(&mut self, to: IpAddr, port: u16, from_port: u16) -> SocketHandle {
        let handle = self.sockets.add(tcp_socket());
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
        socket.connect(self.interface.context(), (to, port), from_port).expect("a connection");
        handle
    }

    /// The TCP socket behind a handle.
    pub fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }
}

fn tcp_socket() -> tcp::Socket<'static> {
    let buffer = || tcp::SocketBuffer::new(vec![0; 16 << 10]);
    tcp::Socket::new(buffer(), buffer())
}

fn time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_nanos() / 1000).unwrap_or(i64::MAX))
}
