//! The configuration file, from its text to plans that are valid as a whole.
//!
//! # Theory of operation
//!
//! * [`mod@file`] is the shape of the TOML text: every key, and nothing else. An unknown key is refused, never
//!   ignored.
//! * [`check`] turns it into a [`Checked`]: names, addresses and numbers make sense, each network and port has
//!   its engine plan, and nothing contradicts anything. There is no other way to make a [`Checked`], so the daemon
//!   never sees a half-valid configuration.
//! * [`excerpt`] says where: file, line, column, the line itself and a caret.
//!
//! What needs the system (does the directory exist, is the group known) is checked when it is applied; a failure
//! there also leaves everything as it was.
//!
//! `docs/configuration.md` documents each key, and a test reads its example.

pub mod check;
mod claims;
pub mod excerpt;
pub mod file;
pub mod filter;
pub mod forward;
pub mod guard;
pub mod outside;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::{NetworkPlan, PortSpec};
use ipnet::Ipv4Net;

use crate::log::Level;
use crate::names::Name;
use crate::node::NodeKind;
use crate::wording;

pub use excerpt::ConfigError;
pub use file::Peers;
pub use forward::Forward;
pub use outside::{Outside, Services, Uplink};

/// How long a network that `run` started stays without guests.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest configuration text, in bytes.
pub const TEXT_MAX: usize = 1 << 20;
/// Most networks of one daemon.
pub const NETWORKS_MAX: usize = 64;
/// Most declared ports of one network.
pub const PORTS_MAX: usize = 256;

/// A configuration that makes sense. Made by [`parse`] and [`Checked::of_one`] only.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    level: Level,
    networks: Vec<Network>,
}

impl Checked {
    /// Least important lines that are logged.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// The networks, in the order of their names; at least one.
    #[must_use]
    pub fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// One network with this uplink and all other defaults: what serves when there is no configuration.
    #[must_use]
    pub fn of_one(name: Name, uplink: Uplink) -> Self {
        let network = Network { outside: Outside::by(uplink), ..Network::with_defaults(name) };
        Self { level: Level::Info, networks: vec![network] }
    }

    /// Only the network `name`, when it is configured.
    #[must_use]
    pub fn only(mut self, name: &Name) -> Option<Self> {
        self.networks.retain(|network| network.name == *name);
        (!self.networks.is_empty()).then_some(self)
    }

    /// The one network with what the command line asks for in place of what the file says; `None` when there
    /// are several networks.
    #[must_use]
    pub fn overridden(mut self, by: &Overrides) -> Option<Self> {
        let [network] = self.networks.as_mut_slice() else {
            return (*by == Overrides::default()).then_some(self);
        };
        network.dir = by.dir.clone().or(network.dir.take());
        network.group = by.group.clone().or(network.group.take());
        network.mode = by.mode.or(network.mode);
        network.idle = by.idle.or(network.idle);
        Some(self)
    }
}

/// What the command line says about the one network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    pub dir: Option<PathBuf>,
    pub group: Option<String>,
    pub mode: Option<u32>,
    pub idle: Option<Duration>,
}

/// One network.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    pub name: Name,
    /// Where it is published; the default place without it.
    pub dir: Option<PathBuf>,
    /// Group of the directory and its nodes.
    pub group: Option<String>,
    /// Mode of the nodes.
    pub mode: Option<u32>,
    /// Without guests for so long, the network ends; `None` stays.
    pub idle: Option<Duration>,
    pub subnet: Option<Ipv4Net>,
    /// A /64.
    pub prefix: Option<Ipv6Addr>,
    pub nodes: Vec<NodeKind>,
    /// Ports that one user may hold through nodes.
    pub ports_per_user: usize,
    /// Guests and other connections to `api` that one user may hold.
    pub clients_per_user: usize,
    /// Who may use `api`, of those who can open it.
    pub peers: Peers,
    /// MTU, mode, and bounds of the engine.
    pub plan: NetworkPlan,
    /// What a port of an anonymous client is like.
    pub anonymous: PortSpec,
    /// What a guest's port is like, but for its MAC address.
    pub guest: PortSpec,
    /// Uplink, services, forwards and routes.
    pub outside: Outside,
    pub ports: Vec<Port>,
}

/// A declared port.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    pub name: Name,
    pub owner: Option<String>,
    pub group: Option<String>,
    pub mode: Option<u32>,
    pub nodes: Vec<NodeKind>,
    /// Connections at a time.
    pub connections: usize,
    /// Addresses that are the port's, beside or instead of those of the plan.
    pub ipv4: Vec<Ipv4Addr>,
    pub ipv6: Vec<Ipv6Addr>,
    pub raw_offload: bool,
    pub spec: PortSpec,
}

impl Port {
    /// Its addresses by configuration.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let v4 = self.ipv4.iter().copied().map(IpAddr::V4);
        v4.chain(self.ipv6.iter().copied().map(IpAddr::V6))
    }
}

/// Reads a configuration. `path` is only for messages.
///
/// # Errors
/// Where and why it makes no sense.
pub fn parse(text: &str, path: &Path) -> Result<Checked, ConfigError> {
    if text.len() > TEXT_MAX {
        let why = format!("it has {} bytes; a configuration has at most {TEXT_MAX}", text.len());
        return Err(ConfigError::whole(path, why));
    }
    let file: file::File = toml::from_str(text).map_err(|error| {
        let why = wording::of_toml(text, error.message(), error.span());
        ConfigError::at(path, text, error.span(), &why)
    })?;
    check::check(file).map_err(|fault| ConfigError::at(path, text, fault.span, &fault.why))
}

/// Reads a configuration file.
///
/// # Errors
/// As [`parse`], or that the file cannot be read.
pub fn read(path: &Path) -> Result<Checked, ConfigError> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let unreadable = |error: std::io::Error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::InvalidData => {
                return ConfigError::whole(path, "it is not UTF-8 text; save it as such");
            }
            std::io::ErrorKind::NotFound => "name a file that exists",
            std::io::ErrorKind::IsADirectory => "name a file",
            _ => "name a file that you may read",
        };
        ConfigError::whole(path, format!("it cannot be read: {error}; {remedy}"))
    };
    // Whoever reads it moves frames and hears signals, and waits for nobody: a FIFO would have it wait for a writer.
    let mut options = std::fs::File::options();
    let file = options.read(true).custom_flags(sys::mount::NO_WAIT).open(path);
    let file = file.map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(ConfigError::whole(path, "it is not a regular file; name one that is"));
    }
    let mut text = String::new();
    let bound = u64::try_from(TEXT_MAX).unwrap_or(u64::MAX) + 1;
    file.take(bound).read_to_string(&mut text).map_err(unreadable)?;
    parse(&text, path)
}

/// For fuzzing: any text is a configuration or an error with a place.
pub fn fuzz_config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse(text, Path::new("fuzz.toml")) {
        Ok(checked) => assert!(!checked.networks().is_empty()),
        Err(error) => assert!(error.to_string().starts_with("fuzz.toml")),
    }
}
