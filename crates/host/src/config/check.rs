//! From the file's shape to plans that make sense.

mod port;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;
use std::time::Duration;

use engine::{
    GuardMode, GuardSpec, Mode, NetworkPlan, NetworkSpec, PortPlan, PortSpec, SourceMode,
};
use ipnet::{Ipv4Net, Ipv6Net};
use toml::Spanned;
use wire::MacAddr;

use super::claims::{Claims, Places};
use super::filter;
use super::guard;
use super::outside::{self, Outside};
use super::{Checked, NETWORKS_MAX, Network, PORTS_MAX, file};
use crate::address::{PREFIX_MAX, PREFIX_MIN};
use crate::directory::{Access, DirectoryError, OWNER_MODE};
use crate::log::Level;
use crate::names::{Name, NameError};
use crate::node::NodeKind;

/// What does not make sense, and where in the text.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) span: Option<Range<usize>>,
    pub(super) why: String,
}

pub(super) fn fault<T>(at: &Spanned<T>, why: impl Into<String>) -> Fault {
    Fault { span: Some(at.span()), why: why.into() }
}

/// All nodes of the network itself.
const NODES: [NodeKind; 4] =
    [NodeKind::Stream, NodeKind::Ctl, NodeKind::Dgram, NodeKind::Seqpacket];

impl Network {
    /// A network as it is when nothing is said about it.
    pub(super) fn with_defaults(name: Name) -> Self {
        // The engine's defaults are valid together; its own tests hold that.
        let spec = NetworkSpec { guard: guard::network(None), ..NetworkSpec::default() };
        let plan = NetworkPlan::validate(spec);
        let Ok(plan) = plan else { unreachable!("the engine's default network is valid") };
        Self {
            name,
            dir: None,
            group: None,
            mode: None,
            idle: None,
            subnet: None,
            prefix: None,
            nodes: NODES.to_vec(),
            ports_per_user: 256,
            clients_per_user: 512,
            peers: file::Peers::default(),
            plan,
            anonymous: PortSpec {
                source: SourceMode::default(),
                guard: GuardSpec { mode: GuardMode::Learn, ..GuardSpec::default() },
                ..PortSpec::default()
            },
            guest: PortSpec {
                source: SourceMode::Static,
                guard: GuardSpec { mode: GuardMode::Static, ..GuardSpec::default() },
                ..PortSpec::default()
            },
            outside: Outside::default(),
            ports: Vec::new(),
        }
    }
}

pub(super) fn check(file: file::File) -> Result<Checked, Fault> {
    let level = match file.log_level {
        Some(file::LogLevel::Error) => Level::Error,
        Some(file::LogLevel::Warning) => Level::Warning,
        Some(file::LogLevel::Info) | None => Level::Info,
        Some(file::LogLevel::Debug) => Level::Debug,
    };
    let Some(networks) = file.network else {
        return Err(Fault {
            span: None,
            why: "it names no network; add a table such as [network.default]".to_owned(),
        });
    };
    let whole = networks.span();
    let networks = networks.into_inner();
    if networks.is_empty() || networks.len() > NETWORKS_MAX {
        let why = format!("there are {} networks; choose 1 to {NETWORKS_MAX}", networks.len());
        return Err(Fault { span: Some(whole), why });
    }
    let mut checked = Vec::new();
    let mut dirs = BTreeSet::new();
    let mut claims = Claims::default();
    for (name, network) in networks {
        let dir = network.dir.as_ref().map(|dir| (dir.span(), dir.get_ref().clone()));
        let places = Places::of(&network);
        let network = check_network(&name, network)?;
        if let Some((span, dir)) = dir
            && !dirs.insert(dir)
        {
            let why = "another network has this directory; every network needs its own".to_owned();
            return Err(Fault { span: Some(span), why });
        }
        claims.take(&network, places)?;
        checked.push(network);
    }
    claims.check_routes()?;
    Ok(Checked { level, networks: checked })
}

/// `what` has a name: [`Name::of_network`] or [`Name::of_guest`].
fn check_name(
    text: &Spanned<String>,
    what: fn(&str) -> Result<Name, NameError>,
) -> Result<Name, Fault> {
    let name = text.get_ref();
    what(name).map_err(|why| fault(text, format!("{name:?} is not a name: {why}")))
}

fn check_network(name: &Spanned<String>, file: file::Network) -> Result<Network, Fault> {
    let mut network = Network::with_defaults(check_name(name, Name::of_network)?);
    if let Some(dir) = &file.dir {
        if !dir.get_ref().is_absolute() {
            return Err(fault(dir, "give the directory as an absolute path, beginning with /"));
        }
        network.dir = Some(dir.get_ref().clone());
    }
    network.group = check_account(file.group.as_ref(), |it| Access::named(None, Some(it), None))?;
    network.mode = file.mode.as_ref().map(check_mode).transpose()?;
    if let (Some(mode), Some(text)) = (network.mode, &file.mode)
        && mode & OWNER_MODE != OWNER_MODE
    {
        let why = format!(
            "{:?} locks you out of your own network: begin the mode with 6, such as \"0660\"",
            text.get_ref()
        );
        return Err(fault(text, why));
    }
    network.idle = match &file.idle_timeout {
        Some(seconds) => Some(check_seconds(seconds)?),
        None => None,
    };
    if let Some(nodes) = &file.nodes {
        network.nodes = check_nodes(nodes)?;
    }
    network.subnet = file.subnet.as_ref().map(check_subnet).transpose()?;
    network.prefix = file.prefix.as_ref().map(check_prefix).transpose()?;
    network.ports_per_user = limit(file.ports_per_user.as_ref(), network.ports_per_user, 65_536)?;
    network.clients_per_user =
        limit(file.clients_per_user.as_ref(), network.clients_per_user, 65_536)?;
    network.peers = file.peers.unwrap_or_default();
    network.plan = check_plan(&file, name)?;
    network.outside = outside::check(&file)?;
    outside::check_own(&file, &network)?;
    for spec in [&mut network.anonymous, &mut network.guest] {
        guard::change(&mut spec.guard, file.guard.as_ref())?;
    }
    if let Some(max_macs) = &file.max_macs {
        network.anonymous.source = SourceMode::Learn { max_macs: *max_macs.get_ref() };
    }
    let filter = filter::check(file.filter.as_ref(), network.subnet)?;
    for spec in [&mut network.anonymous, &mut network.guest] {
        set_queue(spec, file.queue_frames.as_ref(), file.queue_bytes.as_ref());
        spec.filter = filter.clone();
    }
    validate(&network.anonymous, &network, &queue_span(&file, name))?;
    let mut owners: BTreeMap<MacAddr, Name> = BTreeMap::new();
    let mut stations: BTreeMap<IpAddr, Name> = BTreeMap::new();
    let said_guard = file.guard;
    if let Some(ports) = file.port {
        if ports.get_ref().len() > PORTS_MAX {
            let why = format!("a network declares at most {PORTS_MAX} ports");
            return Err(fault(&ports, why));
        }
        for (name, file) in ports.into_inner() {
            let port = port::check(&name, &file, &network, said_guard.as_ref())?;
            for mac in &port.spec.macs {
                if let Some(owner) = owners.insert(*mac, port.name.clone()) {
                    let why = format!("{mac} is the address of port {owner} already");
                    let span = file.mac.as_ref().map(Spanned::span);
                    return Err(Fault { span, why });
                }
            }
            for address in port.addresses() {
                if let Some(owner) = stations.insert(address, port.name.clone()) {
                    let why = format!("{address} is the address of port {owner} already");
                    let said = if address.is_ipv4() { &file.ipv4 } else { &file.ipv6 };
                    return Err(Fault { span: said.as_ref().map(Spanned::span), why });
                }
            }
            network.ports.push(port);
        }
    }
    Ok(network)
}

fn check_plan(file: &file::Network, name: &Spanned<String>) -> Result<NetworkPlan, Fault> {
    let mut spec =
        NetworkSpec { guard: guard::network(file.guard.as_ref()), ..NetworkSpec::default() };
    if let Some(file::Forwarding::Hub) = file.forwarding {
        spec.mode = Mode::Hub;
    }
    let valid = |spec: &NetworkSpec, span: Range<usize>| {
        NetworkPlan::validate(spec.clone())
            .map_err(|why| Fault { span: Some(span), why: why.to_string() })
    };
    // One value is set at a time, so that a refusal points at the one it is about.
    let mut plan = valid(&spec, name.span())?;
    if let Some(mtu) = &file.mtu {
        spec.mtu = *mtu.get_ref();
        plan = valid(&spec, mtu.span())?;
    }
    if let Some(ports) = &file.ports {
        spec.ports = *ports.get_ref();
        plan = valid(&spec, ports.span())?;
    }
    if let Some(total) = &file.mac_total {
        spec.mac_total = *total.get_ref();
        plan = valid(&spec, total.span())?;
    }
    if let Some(ageing) = &file.mac_ageing {
        spec.mac_ageing = check_seconds(ageing)?;
        plan = valid(&spec, ageing.span())?;
    }
    Ok(plan)
}

fn validate(spec: &PortSpec, network: &Network, span: &Range<usize>) -> Result<(), Fault> {
    match PortPlan::validate(spec.clone(), &network.plan) {
        Ok(_) => Ok(()),
        Err(why) => Err(Fault { span: Some(span.clone()), why: why.to_string() }),
    }
}

fn queue_span(file: &file::Network, name: &Spanned<String>) -> Range<usize> {
    let said = [
        file.max_macs.as_ref().map(Spanned::span),
        file.queue_bytes.as_ref().map(Spanned::span),
        file.queue_frames.as_ref().map(Spanned::span),
    ];
    said.into_iter().flatten().next().unwrap_or(name.span())
}

fn set_queue(spec: &mut PortSpec, frames: Option<&Spanned<usize>>, bytes: Option<&Spanned<usize>>) {
    if let Some(frames) = frames {
        spec.queue_frames = *frames.get_ref();
    }
    if let Some(bytes) = bytes {
        spec.queue_bytes = *bytes.get_ref();
    }
}

/// An owner or group: one that is there, and that we may give nodes to.
fn check_account(
    account: Option<&Spanned<file::Account>>,
    look_up: impl Fn(&str) -> Result<Access, DirectoryError>,
) -> Result<Option<String>, Fault> {
    let Some(account) = account else { return Ok(None) };
    let name = account.get_ref().to_string();
    match look_up(&name) {
        Ok(_) => Ok(Some(name)),
        Err(why) => Err(fault(account, why.to_string().trim_end_matches('.'))),
    }
}

fn check_mode(text: &Spanned<String>) -> Result<u32, Fault> {
    match u32::from_str_radix(text.get_ref(), 8) {
        Ok(mode) if mode <= 0o777 && !text.get_ref().starts_with('+') => Ok(mode),
        _ => {
            let why =
                format!("{:?} is not a mode: give octal digits, such as \"0660\"", text.get_ref());
            Err(fault(text, why))
        }
    }
}

fn check_seconds(seconds: &Spanned<u64>) -> Result<Duration, Fault> {
    const YEAR: u64 = 366 * 24 * 3600;
    match *seconds.get_ref() {
        count @ 0..=YEAR => Ok(Duration::from_secs(count)),
        _ => Err(fault(seconds, "it is longer than a year; give seconds")),
    }
}

fn check_nodes(nodes: &[Spanned<file::Node>]) -> Result<Vec<NodeKind>, Fault> {
    let mut kinds = Vec::new();
    for node in nodes {
        let kind = match node.get_ref() {
            file::Node::Stream => NodeKind::Stream,
            file::Node::Ctl => NodeKind::Ctl,
            file::Node::Dgram => NodeKind::Dgram,
            file::Node::Seqpacket => NodeKind::Seqpacket,
        };
        if kinds.contains(&kind) {
            return Err(fault(node, format!("\"{kind}\" is in the list twice; name it once")));
        }
        kinds.push(kind);
    }
    Ok(kinds)
}

fn check_subnet(text: &Spanned<String>) -> Result<Ipv4Net, Fault> {
    let net: Ipv4Net = text.get_ref().parse().map_err(|_| {
        fault(text, format!("{:?} is not an IPv4 subnet, such as \"10.20.0.0/20\"", text.get_ref()))
    })?;
    if !(PREFIX_MIN..=PREFIX_MAX).contains(&net.prefix_len()) {
        let why = format!(
            "the plan of addresses needs a /{PREFIX_MIN} to /{PREFIX_MAX}, not a /{}",
            net.prefix_len()
        );
        return Err(fault(text, why));
    }
    if net.trunc() != net {
        let why = format!("{net} has bits set in its host part; {} is the subnet", net.trunc());
        return Err(fault(text, why));
    }
    let first = net.network();
    if first.is_multicast()
        || first.is_loopback()
        || first.is_link_local()
        || first.octets()[0] == 0
        || first.octets()[0] >= 240
    {
        return Err(fault(text, format!("{net} has no addresses that stations can have")));
    }
    Ok(net)
}

fn check_prefix(text: &Spanned<String>) -> Result<Ipv6Addr, Fault> {
    let bad = || {
        let example = "such as \"fd12:3456:789a:1::/64\"";
        fault(text, format!("{:?} is not an IPv6 prefix of 64 bits, {example}", text.get_ref()))
    };
    let net: Ipv6Net = text.get_ref().parse().map_err(|_| bad())?;
    let first = net.addr();
    if net.prefix_len() != 64 || net.trunc() != net {
        return Err(bad());
    }
    if first.is_multicast() || first.is_unicast_link_local() || first.to_bits() >> 64 == 0 {
        return Err(fault(text, format!("{net} has no addresses that stations can have")));
    }
    Ok(first)
}

fn limit(value: Option<&Spanned<usize>>, default: usize, most: usize) -> Result<usize, Fault> {
    match value {
        None => Ok(default),
        Some(value) if (1..=most).contains(value.get_ref()) => Ok(*value.get_ref()),
        Some(value) => Err(fault(value, format!("choose between 1 and {most}"))),
    }
}
