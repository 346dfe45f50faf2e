//! What `show`, `ls` and `--json` print: plain data, filled by the daemon.
//!
//! Counters are totals since the port (or network) was opened. Members may be added; readers ignore those that
//! they do not know.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A part of a long table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Paged<T> {
    pub rows: Vec<T>,
    /// What to ask for to get the rows after these; none when these are the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// How many rows there are in all, about.
    pub total: usize,
}

/// Answer to `flows`.
pub type Flows = Paged<Flow>;
/// Answer to `leases`.
pub type Leases = Paged<Lease>;
/// Answer to `routes`.
pub type Routes = Paged<Route>;
/// Answer to `neighbours`.
pub type Neighbours = Paged<Neighbour>;
/// Answer to `bindings`.
pub type Bindings = Paged<Binding>;
/// Answer to `published`.
pub type Publishes = Paged<Publish>;

/// Answer to `guard`.
pub type Guards = Paged<Guard>;

/// The guard of one port.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    pub port: String,
    /// `guest` or `uplink`.
    pub role: String,
    /// `static`, `dhcp`, `learn` or `off`.
    pub mode: String,
    /// Addresses that it has because it came first.
    pub first_come: usize,
    /// Seconds for which it is still cut off, if it is.
    pub quarantined: Option<f64>,
    /// Whether `guard-audit` has made all checks count only.
    pub audits: bool,
    pub checks: Vec<Check>,
}

/// One check of a guard.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// As in docs/guard.md.
    pub number: u8,
    /// As in docs/guard.md.
    #[serde(default)]
    pub name: String,
    /// `drop`, `reject`, `audit` or `allow`.
    pub action: String,
    pub reasons: Vec<Refusals>,
}

/// Frames that failed a check, by reason.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Refusals {
    pub name: String,
    pub dropped: u64,
    /// Counted and let through.
    pub audited: u64,
}

/// One connection that the gateway carries.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// `tcp`, `udp`, `icmp` or `icmpv6`.
    pub protocol: String,
    /// The port of the guest, as `show` names it.
    pub port: String,
    /// Address and port of the guest.
    pub guest: String,
    /// Address and port that the guest talks to, as the guest sees it.
    pub outside: String,
    /// What the host talks to, where that is another address (`host.internal`).
    pub host: Option<String>,
    /// `out`, or `in` for a forward's.
    pub direction: String,
    /// `opening`, `open` or `closing`.
    pub state: String,
    /// Seconds since something passed.
    pub idle: f64,
    /// Payload bytes from the guest, and to it.
    pub bytes_out: u64,
    pub bytes_in: u64,
}

/// One lease of DHCP.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    pub address: String,
    pub mac: String,
    /// The port that asked for it, while it is there.
    pub port: Option<String>,
    /// The guest or declared port that it is reserved for.
    pub reserved: Option<String>,
    /// The host name that the client says, which is nobody's name here.
    pub hostname: Option<String>,
    /// Seconds until it ends.
    pub left: f64,
}

/// One route of the router.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Route {
    pub to: String,
    /// `network lab`, `10.1.2.3 in network lab`, `gateway of network lab`, `unreachable` or `prohibited`.
    pub via: String,
    /// The network whose interface it leaves by.
    pub network: Option<String>,
    /// `connected`, `static`, or `uplink` for the way out of a network, which has no other.
    pub source: String,
}

/// One station that the router knows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Neighbour {
    pub address: String,
    /// None while it is asked for.
    pub mac: Option<String>,
    /// The port that a binding says it is behind.
    pub port: Option<String>,
    /// `bound`, `unknown`, `incomplete`, `reachable`, `stale`, `delay`, `probe` or `failed`.
    pub state: String,
    /// Packets that wait for it.
    pub waiting: usize,
}

/// One address that belongs to a port.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Binding {
    /// `mac`, `ipv4`, `ipv6` or `prefix`.
    pub kind: String,
    pub address: String,
    /// None while the guest is away.
    pub port: Option<String>,
    /// The VLAN in which it belongs to the port, if not in every one.
    pub vlan: Option<u16>,
    /// `configuration`, `plan`, `lease` or `first-use`.
    pub source: String,
    /// Seconds until it ends, where it does.
    pub left: Option<f64>,
}

/// One forward into a guest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Publish {
    /// `8080:web:80`.
    pub forward: String,
    /// Addresses that the host listens at.
    pub listens: Vec<String>,
    /// `configuration`, `guest` or `call`.
    pub source: String,
    /// Whether the guest is in the network.
    pub present: bool,
}

/// The state of a network's way out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outside {
    /// `nat`, `none`, `nic:eth0`, ...
    pub uplink: String,
    /// Whether IPv4 and IPv6 have a way out of the host.
    pub ipv4: bool,
    pub ipv6: bool,
    /// Whether echo (ping) reaches outside; if not, why.
    pub ping: bool,
    #[serde(default)]
    pub ping_refused: Option<String>,
    /// Resolvers that names are forwarded to.
    pub resolvers: Vec<String>,
    /// Services that run: of `dhcp`, `advertise`, `dhcpv6`, `dns`.
    pub services: Vec<String>,
    /// The domain of guests' names.
    pub domain: String,
    /// Whether other networks of this hypervisor are reached.
    pub routed: bool,
    /// Addresses of the router on this network.
    pub router_addresses: Vec<String>,
    /// Connections now, and the most there may be.
    pub flows: usize,
    pub flows_max: usize,
    /// Of those: TCP, UDP (the clients of published ports as well), echo.
    pub tcp: usize,
    pub udp: usize,
    pub echo: usize,
    /// What else is wrong, a sentence each.
    #[serde(default)]
    pub troubles: Vec<String>,
    /// What became of the gateway's packets; the names are those of the documentation, and only those that
    /// occurred.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
    /// The same for messages to DHCP, DNS and router advertisement.
    #[serde(default)]
    pub service_counters: BTreeMap<String, u64>,
    /// Counters of the router on this network that are not zero.
    #[serde(default)]
    pub router: BTreeMap<String, u64>,
}

/// Answer to `networks`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Networks {
    pub networks: Vec<NetworkSummary>,
}

/// One line of `netherd ls`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkSummary {
    pub network: String,
    pub directory: PathBuf,
    pub ports: usize,
    pub guests: usize,
    /// The IPv4 subnet, as `10.1.0.0/20`.
    pub ipv4: String,
    /// The IPv6 prefix, as `fd..::/64`.
    pub ipv6: String,
    pub pid: u32,
    /// Seconds since the network was opened.
    pub uptime: f64,
}

/// Answer to `show`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Network {
    pub network: String,
    pub directory: PathBuf,
    /// Process of the daemon.
    pub pid: u32,
    /// Version of the daemon.
    pub version: String,
    /// `switch` or `hub`.
    pub mode: String,
    /// Largest payload of an Ethernet frame, in bytes.
    pub mtu: u16,
    /// Subnet and prefix: nothing where the network has none of its own.
    pub ipv4: String,
    /// The address that is reserved for the network's gateway, likewise.
    pub gateway_ipv4: String,
    pub ipv6: String,
    /// Whether the network stays when its last guest has gone.
    pub stay: bool,
    /// Seconds since the network was opened.
    pub uptime: f64,
    /// Nodes that can be opened, as paths below the directory.
    pub nodes: Vec<String>,
    pub ports: Vec<Port>,
    /// MAC addresses that the network knows; empty when only one port is shown.
    pub macs: Vec<Mac>,
    /// Named guests that have an address in the plan, present or not.
    pub planned: Vec<Planned>,
    /// Ports that the configuration declares, open or not.
    #[serde(default)]
    pub declared: Vec<Declared>,
    /// Frames that captures could not keep up with.
    pub capture_drops: u64,
    /// The way out.
    #[serde(default)]
    pub outside: Option<Outside>,
}

/// One port.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Port {
    pub name: String,
    /// `tap`, `packet`, `stream`, `vde`, `dgram`, `seqpacket` or `nic`.
    pub link: String,
    /// The node that it was opened through, as path below the directory; none for guests of `run`.
    pub node: Option<String>,
    /// `run` or `attach`, when the port is a guest's.
    pub guest: Option<String>,
    /// The guest's init, as its keeper numbers processes.
    pub init_pid: Option<i32>,
    /// Addresses that belong to the port.
    pub macs: Vec<String>,
    pub ipv4: Vec<String>,
    pub ipv6: Vec<String>,
    /// Who opened it.
    pub uid: Option<u32>,
    /// The user's name; the daemon leaves it to whoever shows the report to look it up.
    pub user: Option<String>,
    pub pid: Option<i32>,
    /// What a VDE client says about itself; nobody checks it.
    #[serde(default)]
    pub description: Option<String>,
    /// `access 1` or `trunk native 1 allowed 2-4`.
    pub vlan: String,
    pub isolated: bool,
    /// Which frames may pass.
    #[serde(default)]
    pub filter: Filter,
    /// Offloads that the link takes.
    pub offloads: Vec<String>,
    /// Seconds since it was opened.
    pub uptime: f64,
    /// Means since the last report that somebody asked for, over at least one second.
    pub rates: Rates,
    /// Frames and bytes that wait for the link.
    pub queue_frames: usize,
    pub queue_bytes: usize,
    /// All counters of the port; the names are those of the documentation.
    pub counters: BTreeMap<String, u64>,
    /// Frames dropped, by reason; only reasons that occurred.
    pub drops: BTreeMap<String, u64>,
    /// Frames that the kernel dropped before netherd saw them, where it tells.
    pub link_drops: Option<u64>,
}

/// The filters of a port, as expressions; none where all may pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// For frames that come from the guest.
    pub r#in: Option<String>,
    /// For frames that are to go to the guest.
    pub out: Option<String>,
}

/// Frames and bits per second; `rx` is what came from the guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    pub rx_frames: f64,
    pub rx_bits: f64,
    pub tx_frames: f64,
    pub tx_bits: f64,
}

/// One entry of the MAC table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Mac {
    pub mac: String,
    /// None for entries that hold in every VLAN.
    pub vlan: Option<u16>,
    /// None for an address that is reserved for a guest that is away.
    pub port: Option<String>,
    /// `static`, `learned` or `reserved`.
    pub kind: String,
    /// Seconds since it was last seen as a source, for learned entries.
    pub age: Option<f64>,
}

/// One assignment of the address plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    pub guest: String,
    pub mac: String,
    pub ipv4: String,
    pub ipv6: String,
    pub present: bool,
}

/// One port that the configuration declares.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Declared {
    pub name: String,
    /// Addresses that belong to it, whoever opens it; often one, or none.
    pub macs: Vec<String>,
    /// Its nodes, as paths below the network's directory.
    pub nodes: Vec<String>,
}
