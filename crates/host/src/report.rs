//! What `show`, `ls` and `--json` print: plain data, filled by the daemon.
//!
//! Counters are totals since the port (or network) was opened. Members may be added; readers ignore those that
//! they do not know.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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
    pub ipv4: String,
    /// The address that is reserved for the network's gateway.
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
    /// Frames that captures could not take.
    pub capture_drops: u64,
}

/// One port.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Port {
    pub name: String,
    /// `tap`, `packet`, `stream`, `vde`, `dgram` or `seqpacket`.
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
    /// `access 1` or `trunk native 1 allowed 2-4`.
    pub vlan: String,
    pub isolated: bool,
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
    /// None for an address that is kept for a guest that is away.
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
