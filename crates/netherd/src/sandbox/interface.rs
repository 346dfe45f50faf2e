//! A guest's interface: making it, and configuring it as the network planned.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use host::api::message::Joined;
use sys::errno::{EACCES, EAFNOSUPPORT, EEXIST, EOPNOTSUPP, EPROTONOSUPPORT};
use sys::ethtool::{Ethtool, beyond_vnet_header};
use sys::netlink::{LinkChange, Netlink, NewRoute, PeerNamespace};
use sys::tap::TapOffloads;

/// The name of a guest's interface, unless `attach` is told another.
pub const NAME: &str = "eth0";
/// The name of the outer end of a veth link, alone in its namespace.
const OUTER: &str = "outer";
/// Its number: beyond those that interfaces of a namespace get one after the other.
const OUTER_INDEX: u32 = 1 << 20;
/// How long to wait for the kernel to have an interface ready: some seconds on a
/// machine that is busy, usually under a millisecond.
const READY_TRIES: u32 = 5000;
const READY_PAUSE: Duration = Duration::from_millis(1);
/// The index of `lo` in every network namespace (`LOOPBACK_IFINDEX`, net/flow.h).
const LOOPBACK: u32 = 1;
/// Metric of the IPv6 default route that is there from the start: just after that of routes that routers
/// advertise (`IP6_RT_PRIO_USER`, net/ip6_route.h), which take over.
const ROUTE_METRIC: u32 = 1025;
/// Bytes of a packet socket's buffers, each way: a few hundred large frames.
const PACKET_BUFFER: usize = 4 << 20;

/// What the network planned for an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub name: String,
    pub mac: [u8; 6],
    /// Bytes behind the Ethernet header.
    pub mtu: u32,
    /// Address and length of its prefix; none where the network plans none.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// The network's router; none where there is none.
    pub gateway4: Option<Ipv4Addr>,
    /// The same, if IPv6 leads anywhere by it.
    pub gateway6: Option<Ipv6Addr>,
}

impl Plan {
    /// Reads what the hypervisor answered.
    ///
    /// # Errors
    /// When the answer has another form: a hypervisor of another version.
    pub fn from_joined(joined: &Joined, name: &str) -> anyhow::Result<Self> {
        let odd = |what: &str| {
            anyhow!(
                "the hypervisor planned {what}, which this program does not understand; restart the \
                 network with this version: netherd down {}",
                joined.network
            )
        };
        let mac: wire::MacAddr = joined.mac.parse().map_err(|_| odd(&joined.mac))?;
        Ok(Self {
            name: name.to_owned(),
            mac: mac.0,
            mtu: u32::from(joined.mtu),
            ipv4: planned(&joined.ipv4, 32).map_err(odd)?,
            ipv6: planned(&joined.ipv6, 128).map_err(odd)?,
            gateway4: joined.gateway4,
            gateway6: joined.gateway6.filter(|_| joined.outside6),
        })
    }

    /// What to say to the user where the network plans no addresses.
    #[must_use]
    pub fn without_addresses(&self, joined: &Joined) -> Option<String> {
        (self.ipv4.is_none() && self.ipv6.is_none()).then(|| {
            format!(
                "network {} gives guest {} no addresses; the segment outside does: IPv6 ones come by themselves, \
                 for IPv4 run a DHCP client in the guest, such as `busybox udhcpc -i {} -s SCRIPT` \
                 (docs/nesting.md has a SCRIPT)",
                joined.network, joined.guest, self.name
            )
        })
    }
}

/// A planned address; an empty text plans none.
fn planned<A: std::str::FromStr>(text: &str, bits: u8) -> Result<Option<(A, u8)>, &str> {
    if text.is_empty() {
        return Ok(None);
    }
    prefix(text, bits).map(Some).ok_or(text)
}

/// An address and the length of its prefix, as in `10.1.2.3/20`.
fn prefix<A: std::str::FromStr>(text: &str, bits: u8) -> Option<(A, u8)> {
    let (address, length) = text.split_once('/')?;
    let length = length.parse().ok().filter(|length| *length <= bits)?;
    Some((address.parse().ok()?, length))
}

/// A link whose other end is the interface.
#[derive(Debug)]
pub struct Link {
    pub fd: OwnedFd,
    pub tap: bool,
    /// Bytes of the vnet header before each frame.
    pub vnet_hdr_len: u8,
    /// In the words of the control interface.
    pub offloads: Vec<String>,
}

/// Makes a tap in the current network namespace.
///
/// # Errors
/// Those of opening `/dev/net/tun`, for which a veth pair is the remedy, and of making the tap.
pub fn make_tap(name: &str) -> io::Result<Link> {
    tap_on(sys::tap::open_device()?, name)
}

/// [`make_tap`] on a device that was opened before.
///
/// # Errors
/// Those of making the tap.
pub fn tap_on(device: OwnedFd, name: &str) -> io::Result<Link> {
    let tap = sys::tap::create(device, name)?;
    Ok(Link {
        fd: tap.fd,
        tap: true,
        vnet_hdr_len: sys::tap::VNET_HDR_LEN,
        offloads: words(tap.offloads),
    })
}

/// Makes a veth pair: the inner end, called `name`, in `namespace` with this MAC (the kernel's choice where
/// there is none) and MTU, the outer end and its packet socket in the current network namespace.
///
/// # Errors
/// A sentence that says which step failed.
pub fn make_veth(
    name: &str,
    mac: Option<[u8; 6]>,
    mtu: u32,
    namespace: PeerNamespace<'_>,
) -> anyhow::Result<Link> {
    let mut netlink = Netlink::open().context("there is no rtnetlink")?;
    let outer = LinkChange {
        index: Some(OUTER_INDEX),
        mtu: Some(mtu),
        no_arp: true,
        ..LinkChange::default()
    };
    let inner = LinkChange { mac, mtu: Some(mtu), ..LinkChange::default() };
    netlink.add_veth(OUTER, &outer, name, &inner, namespace).with_context(|| {
        format!(
            "the veth pair for {name} cannot be made; if the kernel has no veth module, have the administrator run \
            `modprobe veth` or open /dev/net/tun to you"
        )
    })?;
    // Before it is up: the hypervisor's end must not speak by itself.
    sysctl(&format!("net/ipv6/conf/{OUTER}/disable_ipv6"), "1");
    plain_features(OUTER);
    netlink
        .change_link(
            OUTER_INDEX,
            &LinkChange { up: Some(true), no_arp: true, ..LinkChange::default() },
        )
        .context("the outer end of the veth pair does not come up")?;
    let fd = sys::packet::open(OUTER_INDEX, PACKET_BUFFER)
        .context("the packet socket on the outer end of the veth pair cannot be opened")?;
    let vnet_hdr_len = sys::packet::VNET_HDR_LEN;
    Ok(Link { fd, tap: false, vnet_hdr_len, offloads: packet_offloads() })
}

/// What a packet socket carries, in the words of the control interface.
#[must_use]
pub fn packet_offloads() -> Vec<String> {
    let mut offloads = TapOffloads::TCP;
    if packet_sockets_know_uso() {
        offloads = offloads.union(TapOffloads::USO);
    }
    words(offloads)
}

/// Lets the kernel route in the current network namespace, which goes on to take router advertisements on
/// the guest's interface (`accept_ra` 2).
pub fn forward() {
    sysctl(&format!("net/ipv6/conf/{NAME}/accept_ra"), "2");
    sysctl("net/ipv4/ip_forward", "1");
    sysctl("net/ipv6/conf/all/forwarding", "1");
}

/// An interface that is not up yet shall use its IPv6 addresses at once: they belong to its port, so nobody needs
/// to be asked whether they are taken (RFC 4862 section 5.1, DupAddrDetectTransmits 0).
pub fn trust_addresses(interface: &str) {
    let ipv6 = format!("net/ipv6/conf/{interface}");
    sysctl(&format!("{ipv6}/disable_ipv6"), "0");
    sysctl(&format!("{ipv6}/accept_dad"), "0");
}

/// Configures the interface of the plan, which exists in the current network namespace. Answers its number there.
///
/// # Errors
/// A sentence that says which step failed.
pub fn configure(plan: &Plan, veth: bool) -> anyhow::Result<u32> {
    let step = |what: &str| format!("{} does not accept {what}", plan.name);
    let mut netlink = Netlink::open().context("there is no rtnetlink")?;
    let index = netlink.link(&plan.name).with_context(|| format!("{} is gone", plan.name))?.index;
    if veth {
        plain_inner_end(&plan.name);
    }
    trust_addresses(&plan.name);
    // Going down must not lose it.
    sysctl(&format!("net/ipv6/conf/{}/keep_addr_on_down", plan.name), "1");
    accept_advertisements(plan);
    let change = LinkChange {
        mac: Some(plan.mac),
        mtu: Some(plan.mtu),
        eui64: true,
        ..LinkChange::default()
    };
    match netlink.change_link(index, &change) {
        // A kernel without IPv6 has no link-local addresses to make.
        Err(error) if no_ipv6(&error) => netlink
            .change_link(index, &LinkChange { eui64: false, ..change })
            .with_context(|| step("its MAC address"))?,
        result => result.with_context(|| step("its MAC address"))?,
    }
    netlink
        .change_link(index, &LinkChange { up: Some(true), ..LinkChange::default() })
        .with_context(|| format!("{} does not come up", plan.name))?;
    if let Some((address, length)) = plan.ipv4 {
        netlink
            .add_address(index, IpAddr::V4(address), length)
            .with_context(|| step(&address.to_string()))?;
    }
    let mut has_ipv6 = true;
    if let Some((address, length)) = plan.ipv6 {
        match netlink.add_address(index, IpAddr::V6(address), length) {
            Err(error) if no_ipv6(&error) => has_ipv6 = false,
            result => {
                result.with_context(|| step(&address.to_string()))?;
                await_link_local(&mut netlink, index)?;
            }
        }
    }
    if let Some(gateway) = plan.gateway4 {
        default_route(&mut netlink, index, gateway.into(), None)
            .with_context(|| step(&format!("a route by {gateway}")))?;
    }
    if let Some(gateway) = plan.gateway6.filter(|_| has_ipv6) {
        default_route(&mut netlink, index, gateway.into(), Some(ROUTE_METRIC))
            .with_context(|| step(&format!("a route by {gateway}")))?;
    }
    Ok(index)
}

/// The default route. A namespace that has one already, as some do that `attach` finds, keeps it.
fn default_route(
    netlink: &mut Netlink,
    interface: u32,
    gateway: IpAddr,
    metric: Option<u32>,
) -> io::Result<()> {
    let destination = match gateway {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let route = NewRoute { destination, prefix_len: 0, gateway, interface, metric };
    match netlink.add_route(&route) {
        Err(error) if error.raw_os_error() == Some(EEXIST) => Ok(()),
        result => result,
    }
}

/// What is done with router advertisements. Addresses are planned, so none are made of advertised prefixes.
/// Routes are taken: a default route comes and goes with the host's own way out, and more specific ones lead to
/// other networks. They are asked for at once, and not after a random second (RFC 4861 section 6.3.7): nobody
/// else starts at this moment.
fn accept_advertisements(plan: &Plan) {
    let ipv6 = format!("net/ipv6/conf/{}", plan.name);
    let autoconf = if plan.ipv6.is_some() { "0" } else { "1" };
    for (name, value) in [
        ("accept_ra", "1"),
        ("autoconf", autoconf),
        ("use_tempaddr", "0"),
        ("accept_ra_rt_info_max_plen", "128"),
        ("router_solicitation_delay", "0"),
    ] {
        sysctl(&format!("{ipv6}/{name}"), value);
    }
}

/// The kernel tells a new interface's carrier to the protocols by a worker of its own, a moment after
/// the interface is up; only then is there a link-local address, and are frames sent at all. A guest
/// shall find that done.
///
/// # Errors
/// A sentence, when there is none in time.
pub fn await_link_local(netlink: &mut Netlink, index: u32) -> anyhow::Result<()> {
    for _ in 0..READY_TRIES {
        let found = netlink.addresses().context("the addresses cannot be read")?;
        let ready = found.iter().any(|a| {
            a.interface == index
                && !a.tentative
                && matches!(a.address, IpAddr::V6(v6) if v6.is_unicast_link_local())
        });
        if ready {
            return Ok(());
        }
        std::thread::sleep(READY_PAUSE);
    }
    bail!(
        "the kernel does not give the interface a link-local IPv6 address; see whether this machine restricts \
         IPv6 (sysctl -a | grep disable_ipv6), then try again"
    )
}

/// `lo` up, and echo requests allowed to these groups (icmp(7), ping_group_range), in the current
/// network namespace.
pub fn prepare_namespace(groups: (u32, u32)) -> anyhow::Result<()> {
    let mut netlink = Netlink::open().context("there is no rtnetlink")?;
    netlink
        .change_link(LOOPBACK, &LinkChange { up: Some(true), ..LinkChange::default() })
        .context("lo does not come up")?;
    sysctl("net/ipv4/ping_group_range", &format!("{} {}", groups.0, groups.1));
    Ok(())
}

fn no_ipv6(error: &io::Error) -> bool {
    // EACCES where it is disabled.
    const ABSENT: [i32; 4] = [EACCES, EPROTONOSUPPORT, EOPNOTSUPP, EAFNOSUPPORT];
    error.raw_os_error().is_some_and(|errno| ABSENT.contains(&errno))
}

/// Sets a kernel parameter of the current network namespace. One that is absent belongs to a protocol
/// the kernel does not have, and a read-only `/proc` belongs to a container whose defaults serve.
fn sysctl(name: &str, value: &str) {
    let _ = fs::write(format!("/proc/sys/{name}"), value);
}

/// The inner end of a veth pair makes what its packet socket can carry.
pub fn plain_inner_end(interface: &str) {
    plain_features(interface);
    if !packet_sockets_know_uso() {
        disable(interface, |feature| feature == "tx-udp-segmentation");
    }
}

fn plain_features(interface: &str) {
    disable(interface, beyond_vnet_header);
}

/// Features that stay on because a device has them fixed cost frames, which the link counts.
fn disable(interface: &str, unwanted: impl Fn(&str) -> bool) {
    if let Ok(ethtool) = Ethtool::open(interface) {
        let _ = ethtool.disable(interface, unwanted);
    }
}

/// Since Linux 6.2 vnet headers carry UDP segmentation (`VIRTIO_NET_HDR_GSO_UDP_L4`).
fn packet_sockets_know_uso() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release_at_least(&release, (6, 2))
}

fn release_at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= wanted,
        _ => false,
    }
}

fn words(offloads: TapOffloads) -> Vec<String> {
    [
        (TapOffloads::CSUM, &["csum"][..]),
        (TapOffloads::TSO4, &["tso4"]),
        (TapOffloads::TSO6, &["tso6"]),
        (TapOffloads::TSO_ECN, &["tso-ecn"]),
        (TapOffloads::USO, &["uso4", "uso6"]),
    ]
    .into_iter()
    .filter(|(bit, _)| offloads.contains(*bit))
    .flat_map(|(_, words)| words.iter().map(|word| (*word).to_owned()))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_without_planned_addresses_is_told_where_they_come_from() {
        let answer = Joined { ipv4: String::new(), ipv6: String::new(), ..joined() };
        let note = Plan::from_joined(&answer, "eth0").unwrap().without_addresses(&answer);
        assert!(note.is_some_and(|note| note.contains("udhcpc -i eth0")));
    }

    fn joined() -> Joined {
        Joined {
            network: "default".to_owned(),
            guest: "web".to_owned(),
            mac: "02:00:5e:00:53:01".to_owned(),
            ipv4: "10.1.2.3/20".to_owned(),
            ipv6: "fd00::1/64".to_owned(),
            mtu: 1500,
            ..Joined::default()
        }
    }

    #[test]
    fn the_plan_is_what_was_answered() {
        let plan = Plan::from_joined(&joined(), "eth0").unwrap();
        assert_eq!(plan.mac, [2, 0, 0x5e, 0, 0x53, 1]);
        assert_eq!(plan.ipv4, Some((Ipv4Addr::new(10, 1, 2, 3), 20)));
        assert_eq!(plan.ipv6, Some(("fd00::1".parse().unwrap(), 64)));
        assert_eq!((plan.gateway4, plan.gateway6), (None, None));
        assert_eq!(plan.without_addresses(&joined()), None);
        for bad in ["10.1.2.3", "10.1.2.3/33", "x/20"] {
            let answer = Joined { ipv4: bad.to_owned(), ..joined() };
            assert!(Plan::from_joined(&answer, "eth0").is_err(), "{bad:?}");
        }
        for bad in ["fd00::1", "fd00::1/129", "10.1.2.3/20"] {
            let answer = Joined { ipv6: bad.to_owned(), ..joined() };
            assert!(Plan::from_joined(&answer, "eth0").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_network_may_plan_no_address_and_no_way_out() {
        let answer = Joined { ipv4: String::new(), ipv6: String::new(), ..joined() };
        let plan = Plan::from_joined(&answer, "eth0").unwrap();
        assert_eq!((plan.ipv4, plan.ipv6), (None, None));
        let gateway6 = Some("fd00::1".parse().unwrap());
        let answer = Joined { gateway4: Some(Ipv4Addr::new(10, 1, 0, 1)), gateway6, ..joined() };
        let plan = Plan::from_joined(&answer, "eth0").unwrap();
        assert_eq!((plan.gateway4, plan.gateway6), (answer.gateway4, None));
        let plan = Plan::from_joined(&Joined { outside6: true, ..answer }, "eth0").unwrap();
        assert_eq!(plan.gateway6, gateway6);
    }

    #[test]
    fn kernels_are_compared_by_number() {
        assert!(release_at_least("6.18.44-fc", (6, 2)));
        assert!(release_at_least("6.2", (6, 2)));
        assert!(!release_at_least("6.1.0-13-amd64", (6, 2)));
        assert!(!release_at_least("", (6, 2)));
    }

    #[test]
    fn offloads_have_the_interface_words() {
        assert_eq!(words(TapOffloads::NONE), [""; 0]);
        assert_eq!(
            words(TapOffloads::TCP.union(TapOffloads::USO)),
            ["csum", "tso4", "tso6", "tso-ecn", "uso4", "uso6"]
        );
    }
}
