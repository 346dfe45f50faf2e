//! A network of guarded guests, and frames of theirs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use engine::{
    Action, Check, GuardMode, GuardSpec, NetworkGuard, NetworkSpec, PortSpec, Rate, Rates, Reason,
    Role, SourceMode, Verdict, VlanMode, VlanSet,
};
use testkit::{TestNetwork, mac};
use wire::build::{Builder, Ipv4, Ipv6, Tcp};
use wire::{MacAddr, Tag};

/// The router of the world, and a guest that only receives.
pub(crate) const ROUTER: u32 = 1;
/// The guest that frames are sent to.
pub(crate) const PEER: u32 = 9;

/// A guest, and how it sends.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) port: &'static str,
    pub(crate) number: u32,
    pub(crate) tags: Vec<Tag>,
}

/// The guest of the access port "a".
pub(crate) fn a() -> Guest {
    Guest { port: "a", number: 2, tags: Vec::new() }
}

/// The guest of the trunk port "t", which tags its frames.
pub(crate) fn t() -> Guest {
    Guest { port: "t", number: 3, tags: vec![Tag::new(1)] }
}

impl Guest {
    pub(crate) fn mac(&self) -> MacAddr {
        mac(self.number)
    }

    pub(crate) fn v4(&self) -> Ipv4Addr {
        v4(self.number)
    }

    pub(crate) fn v6(&self) -> Ipv6Addr {
        v6(self.number)
    }

    pub(crate) fn link_local(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.mac().eui64_link_local())
    }

    /// A frame that `build` completes behind Ethernet header and tags.
    pub(crate) fn frame(
        &self,
        to: MacAddr,
        build: impl FnOnce(Builder<'_>) -> Builder<'_>,
    ) -> Vec<u8> {
        self.frame_from(self.mac(), to, build)
    }

    pub(crate) fn frame_from(
        &self,
        from: MacAddr,
        to: MacAddr,
        build: impl FnOnce(Builder<'_>) -> Builder<'_>,
    ) -> Vec<u8> {
        let mut bytes = vec![0; 2000];
        let mut builder = Builder::new(&mut bytes).ethernet(to, from);
        for &tag in &self.tags {
            builder = builder.tag(tag);
        }
        let len = build(builder).finish().expect("a frame");
        bytes.truncate(len);
        bytes
    }

    pub(crate) fn ip4(&self) -> Ipv4<'static> {
        Ipv4 { source: self.v4(), destination: v4(PEER), ..Ipv4::default() }
    }

    pub(crate) fn ip6(&self) -> Ipv6 {
        Ipv6 { source: self.v6(), destination: v6(PEER), ..Ipv6::default() }
    }

    /// A UDP datagram to the peer.
    pub(crate) fn udp4(&self, header: &Ipv4<'_>, from: u16, to: u16) -> Vec<u8> {
        self.frame(mac(PEER), |b| b.ipv4(header).udp(from, to).payload(&[7; 20]))
    }

    pub(crate) fn udp6(&self, header: &Ipv6, from: u16, to: u16) -> Vec<u8> {
        self.frame(mac(PEER), |b| b.ipv6(header).udp(from, to).payload(&[7; 20]))
    }

    pub(crate) fn tcp4(&self, flags: u8) -> Vec<u8> {
        let tcp = Tcp { flags, ..Tcp::default() };
        self.frame(mac(PEER), |b| b.ipv4(&self.ip4()).tcp(&tcp))
    }

    pub(crate) fn tcp6(&self, flags: u8) -> Vec<u8> {
        let tcp = Tcp { flags, ..Tcp::default() };
        self.frame(mac(PEER), |b| b.ipv6(&self.ip6()).tcp(&tcp))
    }

    /// Where the packet begins.
    pub(crate) fn l3(&self) -> usize {
        14 + 4 * self.tags.len()
    }
}

pub(crate) fn v4(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 | number)
}

pub(crate) fn v6(number: u32) -> Ipv6Addr {
    Ipv6Addr::from(0xfd00_0000_0000_0000_0000_0000_0000_0000 | u128::from(number))
}

/// Rates that no case meets by accident.
pub(crate) fn wide() -> Rates {
    let rate = Rate::new(1_000_000, 1_000_000);
    Rates {
        arp: rate,
        unknown: rate,
        dhcp: rate,
        nd: rate,
        solicitations: rate,
        duplicates: rate,
        groups: rate,
        errors: rate,
    }
}

/// A static guest with one address of each kind.
pub(crate) fn strict(number: u32) -> PortSpec {
    PortSpec {
        macs: vec![mac(number)],
        source: SourceMode::Static,
        guard: GuardSpec {
            mode: GuardMode::Static,
            addresses: vec![IpAddr::V4(v4(number)), IpAddr::V6(v6(number))],
            rates: wide(),
            ..GuardSpec::default()
        },
        ..PortSpec::default()
    }
}

pub(crate) fn trunk(number: u32) -> PortSpec {
    let allowed: VlanSet = [1, 2].into_iter().collect();
    PortSpec { vlan: VlanMode::Trunk { native: None, allowed }, ..strict(number) }
}

/// A client of a node: one address of its choice.
pub(crate) fn learning() -> PortSpec {
    PortSpec {
        source: SourceMode::Learn { max_macs: 1 },
        guard: GuardSpec { mode: GuardMode::Learn, rates: wide(), ..GuardSpec::default() },
        ..PortSpec::default()
    }
}

pub(crate) fn router() -> PortSpec {
    let guard =
        GuardSpec { addresses: vec![v4(ROUTER).into(), v6(ROUTER).into()], ..GuardSpec::default() };
    PortSpec {
        role: Role::Router,
        macs: vec![mac(ROUTER)],
        source: SourceMode::Static,
        guard,
        ..PortSpec::default()
    }
}

pub(crate) fn uplink() -> PortSpec {
    let source = SourceMode::Learn { max_macs: 16 };
    PortSpec { role: Role::Uplink, source, ..PortSpec::default() }
}

pub(crate) fn network() -> NetworkSpec {
    NetworkSpec {
        guard: NetworkGuard {
            subnet: Some("10.0.0.0/24".parse().expect("a subnet")),
            announced: vec!["fd00::/64".parse().expect("a prefix")],
            ..NetworkGuard::default()
        },
        ..NetworkSpec::default()
    }
}

/// Guests "a" (2), "t" (3, a trunk) and "peer" (9), the router (1) and an uplink.
pub(crate) fn world() -> TestNetwork {
    world_of(network())
}

pub(crate) fn world_of(network: NetworkSpec) -> TestNetwork {
    let mut net = TestNetwork::new(network);
    net.plug("router", router());
    net.plug("a", strict(2));
    net.plug("t", trunk(3));
    net.plug("peer", strict(PEER));
    net.plug("uplink", uplink());
    // The network asks for groups at once, where it does.
    net.wait(std::time::Duration::ZERO);
    net.send("a", &a().udp4(&a().ip4(), 1, 2));
    drain(&mut net);
    net
}

/// Forgets events and whatever waits for links.
pub(crate) fn drain(net: &mut TestNetwork) {
    while net.engine.poll_event().is_some() {}
    for name in ["router", "a", "t", "peer", "uplink"] {
        net.receive(name);
    }
    settle(net);
}

/// Lets the ledger forget what moved until now.
fn settle(net: &mut TestNetwork) {
    net.forget_moved();
}

fn cast(frame: &[u8]) -> &'static str {
    match frame {
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ..] => "rx_broadcast",
        [first, ..] if first & 1 == 1 => "rx_multicast",
        _ => "rx_unicast",
    }
}

/// The frame is dropped for this reason, and nothing else moved.
#[track_caller]
pub(crate) fn refused(net: &mut TestNetwork, port: &str, frame: &[u8], reason: Reason) {
    settle(net);
    assert_eq!(net.send(port, frame), Verdict::Drop(reason), "from {port}: {frame:02x?}");
    let (len, cast) = (frame.len(), cast(frame));
    net.moved(&[&format!("{port} rx_frames rx_bytes+{len} {cast} drop.{reason}")]);
}

/// The frame is dropped for this reason on its way out.
#[track_caller]
pub(crate) fn refused_on_egress(
    net: &mut TestNetwork,
    port: &str,
    to: &str,
    frame: &[u8],
    reason: Reason,
) {
    settle(net);
    assert_eq!(net.send(port, frame), Verdict::Forward(net.id(to)));
    let (len, cast) = (frame.len(), cast(frame));
    net.moved(&[
        &format!("{port} rx_frames rx_bytes+{len} {cast} rx_forwarded"),
        &format!("{to} tx_offered drop.{reason}"),
    ]);
}

/// The frame goes on, as it is.
#[track_caller]
pub(crate) fn passed(net: &mut TestNetwork, port: &str, frame: &[u8]) {
    match net.send(port, frame) {
        Verdict::Forward(_) | Verdict::Flood { .. } => {}
        other => panic!("from {port}: {other:?}: {frame:02x?}"),
    }
    drain(net);
}

/// The frame's source is free, as far as is known: the outside is asked first, then the frame goes on.
#[track_caller]
pub(crate) fn taken(net: &mut TestNetwork, port: &str, frame: &[u8]) {
    drain(net);
    assert_eq!(net.send(port, frame), Verdict::Drop(Reason::AddressAsked), "from {port}");
    let (len, cast) = (frame.len(), cast(frame));
    net.moved(&[
        &format!("{port} rx_frames rx_bytes+{len} {cast} drop.address-asked"),
        "uplink tx_own tx_offered tx_queued",
    ]);
    net.wait(std::time::Duration::from_millis(900));
    passed(net, port, frame);
}

/// The network answers; the answer.
#[track_caller]
pub(crate) fn answered(net: &mut TestNetwork, port: &str, frame: &[u8]) -> Vec<u8> {
    drain(net);
    assert_eq!(net.send(port, frame), Verdict::Answered, "from {port}: {frame:02x?}");
    let (len, cast) = (frame.len(), cast(frame));
    net.moved(&[&format!(
        "{port} rx_frames rx_bytes+{len} {cast} rx_answered tx_own tx_offered tx_queued"
    )]);
    let mut frames = net.receive_plain(port);
    assert_eq!(frames.len(), 1);
    frames.remove(0)
}

#[track_caller]
pub(crate) fn consumed(net: &mut TestNetwork, port: &str, frame: &[u8]) {
    drain(net);
    assert_eq!(net.send(port, frame), Verdict::Consumed, "from {port}: {frame:02x?}");
    let (len, cast) = (frame.len(), cast(frame));
    net.moved(&[&format!("{port} rx_frames rx_bytes+{len} {cast} rx_consumed")]);
}

/// The frame goes to exactly these ports.
#[track_caller]
pub(crate) fn reaches(net: &mut TestNetwork, port: &str, frame: &[u8], to: &[&str]) {
    drain(net);
    match net.send(port, frame) {
        Verdict::Forward(_) | Verdict::Flood { .. } => {}
        other => panic!("from {port}: {other:?}: {frame:02x?}"),
    }
    let mut got: Vec<&str> = ["router", "a", "t", "peer", "uplink"]
        .into_iter()
        .filter(|name| !net.receive(name).is_empty())
        .collect();
    got.sort_unstable();
    let mut wanted = to.to_vec();
    wanted.sort_unstable();
    assert_eq!(got, wanted, "from {port}: {frame:02x?}");
    settle(net);
}

/// Both guests are refused, for each frame that `build` makes for them.
#[track_caller]
pub(crate) fn both_refused(reason: Reason, build: impl Fn(&Guest) -> Vec<u8>) {
    for guest in [a(), t()] {
        let mut net = world();
        refused(&mut net, guest.port, &build(&guest), reason);
        // Audited, it is counted and goes on.
        if audits(reason) {
            let mut net = world();
            let mut spec = if guest.port == "a" { strict(2) } else { trunk(3) };
            let check = reason.check().expect("a check");
            spec.guard.actions.set(check, Action::Audit).expect("settable");
            net.change(guest.port, spec);
            drain(&mut net);
            let verdict = net.send(guest.port, &build(&guest));
            let counters = net.engine.port_counters(net.id(guest.port)).expect("a port");
            assert_eq!(counters.audited(reason), 1, "{reason}, {verdict:?}");
            assert_ne!(verdict, Verdict::Drop(reason));
        }
    }
}

/// Whether the check has an action at all.
fn audits(reason: Reason) -> bool {
    reason.check().is_some_and(Check::is_settable)
}

#[track_caller]
pub(crate) fn both_passed(build: impl Fn(&Guest) -> Vec<u8>) {
    for guest in [a(), t()] {
        let mut net = world();
        passed(&mut net, guest.port, &build(&guest));
        passed(&mut net, guest.port, &build(&guest));
    }
}
