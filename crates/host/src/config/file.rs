//! The shape of the TOML text. `docs/configuration.md` says what each key means.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub log_level: Option<LogLevel>,
    pub network: Option<Spanned<BTreeMap<Spanned<String>, Network>>>,
}

/// `log_level`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warning,
    Info,
    Debug,
}

/// `[network.NAME]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    pub dir: Option<Spanned<PathBuf>>,
    pub group: Option<Spanned<String>>,
    pub mode: Option<Spanned<String>>,
    pub nodes: Option<Vec<Spanned<Node>>>,
    pub idle_timeout: Option<Spanned<u64>>,
    pub forwarding: Option<Forwarding>,
    pub mtu: Option<Spanned<u16>>,
    pub subnet: Option<Spanned<String>>,
    pub prefix: Option<Spanned<String>>,
    pub ports: Option<Spanned<usize>>,
    pub ports_per_user: Option<Spanned<usize>>,
    pub clients_per_user: Option<Spanned<usize>>,
    pub peers: Option<Peers>,
    pub mac_total: Option<Spanned<usize>>,
    pub mac_ageing: Option<Spanned<u64>>,
    pub max_macs: Option<Spanned<u16>>,
    pub queue_frames: Option<Spanned<usize>>,
    pub queue_bytes: Option<Spanned<usize>>,
    pub uplink: Option<Spanned<String>>,
    pub addresses: Option<Spanned<Addresses>>,
    pub gateway: Option<Spanned<OneOrMore<String>>>,
    pub dhcp: Option<Spanned<bool>>,
    pub advertise: Option<Spanned<bool>>,
    pub dhcpv6: Option<Spanned<bool>>,
    pub dns: Option<Spanned<bool>>,
    pub resolvers: Option<Vec<Spanned<String>>>,
    pub publish: Option<Spanned<Vec<Spanned<String>>>>,
    pub allow_host: Option<Spanned<Vec<Spanned<PortText>>>>,
    pub route: Option<Spanned<Vec<Route>>>,
    pub routed: Option<bool>,
    pub filter: Option<Filter>,
    pub port: Option<Spanned<BTreeMap<Spanned<String>, Port>>>,
}

/// `addresses`: where guests have theirs from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Addresses {
    /// The network's own plan.
    Plan,
    /// DHCP and router advertisements of the segment.
    Outside,
}

/// `forwarding`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forwarding {
    Switch,
    Hub,
}

/// `peers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peers {
    /// Processes in the hypervisor's own PID namespace: no guests, no containers.
    #[default]
    OwnNamespace,
    /// Whoever can open the socket.
    Any,
}

/// One of `nodes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Node {
    Stream,
    Ctl,
    Dgram,
    Seqpacket,
}

/// `[network.NAME.port.NAME]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    pub mac: Option<Spanned<OneOrMore<String>>>,
    pub ipv4: Option<Spanned<OneOrMore<String>>>,
    pub ipv6: Option<Spanned<OneOrMore<String>>>,
    pub max_macs: Option<Spanned<u16>>,
    pub owner: Option<Spanned<String>>,
    pub group: Option<Spanned<String>>,
    pub mode: Option<Spanned<String>>,
    pub nodes: Option<Vec<Spanned<Node>>>,
    pub connections: Option<Spanned<usize>>,
    pub vlan: Option<Spanned<u16>>,
    pub trunk: Option<Spanned<Trunk>>,
    pub isolated: Option<bool>,
    pub raw_offload: Option<bool>,
    pub filter: Option<Filter>,
    pub queue_frames: Option<Spanned<usize>>,
    pub queue_bytes: Option<Spanned<usize>>,
}

/// A value, or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
pub enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> OneOrMore<T> {
    /// All of them.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

/// A port of the host, as number or with its protocol: `80`, `"tcp/80"`.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a port such as 80 or \"udp/53\"")]
pub enum PortText {
    Number(u16),
    Text(String),
}

/// One of `route`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    pub to: Spanned<String>,
    pub via: Spanned<String>,
}

/// `filter`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    pub r#in: Option<Spanned<String>>,
    pub out: Option<Spanned<String>>,
}

/// `trunk`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trunk {
    pub native: Option<u16>,
    #[serde(default)]
    pub allowed: Vec<Vlans>,
}

/// A VLAN, or a range of them as text: `"20-29"`, or `"all"`.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a VLAN, a range such as \"20-29\", or \"all\"")]
pub enum Vlans {
    One(u16),
    Range(String),
}
