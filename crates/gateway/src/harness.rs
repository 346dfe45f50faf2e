//! A gateway without a host, and guests that speak to it in packets: for the tests of its parts.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use engine::{Instant, Pool, PoolLimits};
use wire::build::{Builder, Ipv4, Ipv6};
use wire::parse::{L3, Parsed, Transport};
use wire::{Gso, GsoKind, MacAddr, Offload, PartialChecksum, checksum};

use crate::backend::fake::{FakeBackend, FakeDatagrams};
use crate::ctx::{Room, Unbounded};
use crate::poll::Event;
use crate::{Gateway, GatewayEvent, GatewayPlan, GuestKey, Reason};

pub(crate) const GUEST: GuestKey = GuestKey(7);

/// What differs between the twins of a test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    pub(crate) v6: bool,
}

pub(crate) const BOTH: [Family; 2] = [Family { v6: false }, Family { v6: true }];

impl Family {
    pub(crate) fn pick(self, v4: &str, v6: &str, port: u16) -> SocketAddr {
        let ip: IpAddr = if self.v6 { v6.parse().unwrap() } else { v4.parse().unwrap() };
        SocketAddr::new(ip, port)
    }

    pub(crate) fn guest(self, port: u16) -> SocketAddr {
        self.pick("10.9.0.5", "fd00:9::5", port)
    }

    pub(crate) fn gateway(self, port: u16) -> SocketAddr {
        self.pick("10.9.0.1", "fd00:9::1", port)
    }

    pub(crate) fn host_internal(self, port: u16) -> SocketAddr {
        self.pick("10.9.0.2", "fd00:9::2", port)
    }

    pub(crate) fn loopback(self, port: u16) -> SocketAddr {
        self.pick("127.0.0.1", "::1", port)
    }

    pub(crate) fn outside(self, port: u16) -> SocketAddr {
        self.pick("198.51.100.9", "2001:db8::9", port)
    }

    pub(crate) fn router(self) -> IpAddr {
        self.pick("203.0.113.1", "2001:db8:f::1", 0).ip()
    }

    pub(crate) fn header_len(self) -> usize {
        if self.v6 { 40 } else { 20 }
    }
}

/// A plan of both families, with only the services that are named.
pub(crate) fn plan() -> GatewayPlan {
    let mut plan = GatewayPlan::new(
        "lab",
        MacAddr([2, 0, 0, 0, 0, 1]),
        Some("10.9.0.0/24".parse().unwrap()),
        Some("fd00:9::/64".parse().unwrap()),
    );
    plan.dhcp = false;
    plan.advertise = false;
    plan.dhcpv6 = false;
    plan.dns = false;
    plan
}

pub(crate) struct Lab {
    pub(crate) gateway: Gateway<FakeBackend>,
    pub(crate) pool: Pool,
    pub(crate) now: Instant,
    pub(crate) room: Box<dyn Room>,
    seen: Vec<(Reason, u64)>,
}

/// A packet that a guest got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) bytes: Vec<u8>,
    pub(crate) offload: Offload,
    pub(crate) parsed: Parsed,
}

impl Got {
    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[self.parsed.headers_len().unwrap()..self.parsed.claimed_len().unwrap()]
    }

    pub(crate) fn ips(&self) -> (IpAddr, IpAddr) {
        match self.parsed.l3.unwrap() {
            L3::Ipv4(ip) => (ip.source.into(), ip.destination.into()),
            L3::Ipv6(ip) => (ip.source.into(), ip.destination.into()),
            L3::Arp(_) => panic!("ARP"),
        }
    }

    /// Source and destination of a UDP datagram.
    pub(crate) fn ends(&self) -> (SocketAddr, SocketAddr) {
        let (from, to) = self.ips();
        match self.parsed.l4.unwrap().transport {
            Transport::Udp { source, destination, .. }
            | Transport::Tcp { source, destination, .. } => {
                (SocketAddr::new(from, source), SocketAddr::new(to, destination))
            }
            other => panic!("{other:?}"),
        }
    }

    /// Type and code of an ICMP message.
    pub(crate) fn icmp(&self) -> (u8, u8) {
        match self.parsed.l4.unwrap().transport {
            Transport::Icmpv4 { kind, code } | Transport::Icmpv6 { kind, code } => (kind, code),
            other => panic!("{other:?}"),
        }
    }

    /// The packet that an ICMP error quotes.
    pub(crate) fn quoted(&self) -> Got {
        let l4 = usize::from(self.parsed.l4.unwrap().offset);
        let mut bytes = vec![0; 14];
        bytes[12..14].copy_from_slice(&self.bytes[12..14]);
        bytes.extend_from_slice(&self.bytes[l4 + 8..]);
        let parsed = wire::parse(&bytes).unwrap();
        Got { bytes, offload: Offload::NONE, parsed }
    }

    /// All checksums are right, or partial in the right way.
    #[track_caller]
    pub(crate) fn check(&self) {
        assert_eq!(self.parsed.malformed, None);
        if let Some(L3::Ipv4(_)) = self.parsed.l3 {
            assert!(wire::ipv4::Header::new(&self.bytes[14..]).unwrap().checksum_is_good());
        }
        assert_eq!(self.parsed.claimed_len(), Some(self.bytes.len()));
        wire::offload::check(&self.offload, &self.bytes, self.bytes.len(), 1500).unwrap();
        let l4 = usize::from(self.parsed.l4.unwrap().offset);
        let len = self.bytes.len() - l4;
        let (from, to) = self.ips();
        let protocol = self.parsed.l4.unwrap().protocol;
        let pseudo = if protocol == 1 { 0 } else { crate::packet::pseudo(from, to, protocol, len) };
        if let Some(partial) = self.offload.checksum {
            let at = partial.field();
            assert_eq!(self.bytes[at..at + 2], pseudo.to_be_bytes());
        } else {
            assert_eq!(checksum::add(pseudo, checksum::sum(&self.bytes[l4..])), 0xffff);
        }
    }
}

/// How a guest's packet differs from an ordinary one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) ttl: u8,
    pub(crate) class: u8,
    pub(crate) dont_fragment: bool,
    /// Large frame of segments of this size.
    pub(crate) segment: Option<u16>,
}

impl Default for Shape {
    fn default() -> Self {
        Self { ttl: 64, class: 0, dont_fragment: true, segment: None }
    }
}

pub(crate) fn ip<'a>(
    frame: Builder<'a>,
    from: SocketAddr,
    to: SocketAddr,
    shape: Shape,
) -> Builder<'a> {
    match (from.ip(), to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => frame.ipv4(&Ipv4 {
            source,
            destination,
            ttl: shape.ttl,
            traffic_class: shape.class,
            fragment: if shape.dont_fragment { 0x4000 } else { 0 },
            ..Ipv4::default()
        }),
        (IpAddr::V6(source), IpAddr::V6(destination)) => frame.ipv6(&Ipv6 {
            source,
            destination,
            hop_limit: shape.ttl,
            traffic_class: shape.class,
            ..Ipv6::default()
        }),
        _ => panic!("two families"),
    }
}

/// Gives this thread a network namespace of its own, with a loopback device, whose kernel gives out so many
/// ports.
///
/// # Errors
/// A reason for [`testkit::skip!`].
pub(crate) fn few_ports(count: u16) -> Result<(), String> {
    use sys::netlink::{LinkChange, Netlink};
    if let Err(e) = sys::ns::unshare(sys::ns::Namespaces::NETWORK) {
        return Err(format!("few ports need a network namespace ({e}); run as root"));
    }
    let mut netlink = Netlink::open().unwrap();
    let index = netlink.link("lo").unwrap().index;
    netlink.change_link(index, &LinkChange { up: Some(true), ..Default::default() }).unwrap();
    let range = format!("20000 {}", 19_999 + count);
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", range).unwrap();
    Ok(())
}

impl Lab {
    pub(crate) fn new(plan: GatewayPlan) -> Self {
        let backend = FakeBackend::with_default();
        let gateway = Gateway::with_backend(plan, [9; 16], backend).unwrap();
        let pool = Pool::new(PoolLimits { small: 4096, large: 256, headers: 64 });
        let now = Instant::EPOCH + Duration::from_secs(1000);
        let mut lab = Self { gateway, pool, now, room: Box::new(Unbounded), seen: Vec::new() };
        lab.gateway.handle_timeout(lab.now, &mut lab.pool, &Unbounded);
        let event = lab.gateway.poll_event();
        assert_eq!(event, Some(GatewayEvent::OutsideChanged { v4: true, v6: true }));
        lab
    }

    pub(crate) fn host(&mut self) -> &mut FakeDatagrams {
        &mut self.gateway.host.backend
    }

    /// A guest sends a frame as it is.
    pub(crate) fn frame(&mut self, guest: GuestKey, bytes: &[u8], offload: Offload) {
        let frame = self.pool.copy_in(bytes, offload).unwrap();
        self.gateway.receive(self.now, &mut self.pool, &*self.room, guest, frame);
    }

    pub(crate) fn flush(&mut self) {
        self.gateway.flush(self.now, &mut self.pool, &*self.room);
    }

    pub(crate) fn udp_frame(
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
        shape: Shape,
    ) -> (Vec<u8>, Offload) {
        let mut bytes = vec![0; 66_000];
        let frame = Builder::new(&mut bytes).ethernet(MacAddr::ZERO, MacAddr([2, 0, 0, 0, 0, 9]));
        let frame = ip(frame, from, to, shape).udp(from.port(), to.port()).payload(payload);
        let len = frame.finish().unwrap();
        bytes.truncate(len);
        let mut offload = Offload::NONE;
        if let Some(size) = shape.segment {
            let start = u16::try_from(len - payload.len() - 8).unwrap();
            offload.checksum = Some(PartialChecksum { start, offset: 6 });
            offload.gso = Some(Gso { kind: GsoKind::Udp, size, ecn: false });
        }
        (bytes, offload)
    }

    /// A guest sends datagrams, in one batch.
    pub(crate) fn udp(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        self.udp_as(GUEST, from, to, payload, Shape::default());
        self.flush();
    }

    pub(crate) fn udp_as(
        &mut self,
        guest: GuestKey,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
        shape: Shape,
    ) {
        let (bytes, offload) = Self::udp_frame(from, to, payload, shape);
        self.frame(guest, &bytes, offload);
    }

    /// A guest asks for an echo.
    pub(crate) fn echo(&mut self, from: IpAddr, to: IpAddr, id: u16, text: &[u8]) {
        self.echo_in_batch(from, to, id, text);
        self.flush();
    }

    /// As [`Self::echo`], and more may follow in its batch.
    pub(crate) fn echo_in_batch(&mut self, from: IpAddr, to: IpAddr, id: u16, text: &[u8]) {
        let mut bytes = vec![0; 2000];
        let frame = Builder::new(&mut bytes).ethernet(MacAddr::ZERO, MacAddr([2, 0, 0, 0, 0, 9]));
        let frame = ip(frame, SocketAddr::new(from, 0), SocketAddr::new(to, 0), Shape::default());
        let [a, b] = id.to_be_bytes();
        let frame = if from.is_ipv6() {
            frame.icmpv6(128, 0).payload(&[a, b, 0, 1])
        } else {
            frame.icmpv4(8, 0, [a, b, 0, 1])
        };
        let len = frame.payload(text).finish().unwrap();
        self.frame(GUEST, &bytes[..len], Offload::NONE);
    }

    /// A router behind a guest says of a packet that the way carries only so much.
    pub(crate) fn too_long(&mut self, guest: GuestKey, family: Family, about: &Got, mtu: u16) {
        let mut bytes = vec![0; 1000];
        let frame = Builder::new(&mut bytes).ethernet(MacAddr::ZERO, MacAddr([2, 0, 0, 0, 0, 9]));
        let frame = ip(frame, family.guest(0), family.outside(0), Shape::default());
        let [high, low] = mtu.to_be_bytes();
        let frame = if family.v6 {
            frame.icmpv6(2, 0).payload(&[0, 0, high, low])
        } else {
            frame.icmpv4(3, 4, [0, 0, high, low])
        };
        let quoted = about.bytes.iter().skip(14).take(500).copied().collect::<Vec<_>>();
        let len = frame.payload(&quoted).finish().unwrap();
        self.frame(guest, &bytes[..len], Offload::NONE);
        self.flush();
    }

    /// Hands every report of the fake host in, once.
    pub(crate) fn host_side(&mut self) {
        for (token, readable, hangup) in self.host().ready() {
            let event = Event { token: 0, readable, writable: false, hangup, urgent: false };
            self.gateway.host_ready(self.now, &mut self.pool, &*self.room, token, &event);
        }
        self.gateway.turn(self.now, &mut self.pool, &*self.room);
    }

    /// What the guests got since the last question.
    pub(crate) fn got(&mut self) -> Vec<Got> {
        let mut all = Vec::new();
        while let Some(frame) = self.gateway.poll_frame() {
            let bytes = self.pool.pieces(&frame).concat();
            let parsed = wire::parse(&bytes).unwrap();
            all.push(Got { bytes, offload: frame.offload(), parsed });
            self.pool.release(frame);
        }
        all
    }

    pub(crate) fn one(&mut self) -> Got {
        let mut all = self.got();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// The counters that moved since the last question, and by how much.
    #[track_caller]
    pub(crate) fn moved(&mut self, expected: &[(Reason, u64)]) {
        let now: Vec<_> = self.gateway.counters().iter().collect();
        let mut moved: Vec<(Reason, u64)> = now
            .iter()
            .map(|(reason, count)| {
                let before = self.seen.iter().find(|(seen, _)| seen == reason);
                (*reason, count - before.map_or(0, |(_, count)| *count))
            })
            .filter(|(_, count)| *count > 0)
            .collect();
        self.seen = now;
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        moved.sort_unstable();
        assert_eq!(moved, expected);
    }

    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.gateway.handle_timeout(self.now, &mut self.pool, &*self.room);
    }

    /// No buffer is held by anybody.
    #[track_caller]
    pub(crate) fn idle(&mut self) {
        assert!(self.got().is_empty());
        let usage = self.pool.usage();
        assert_eq!((usage.small.used, usage.large.used, usage.headers.used), (0, 0, 0));
    }
}
