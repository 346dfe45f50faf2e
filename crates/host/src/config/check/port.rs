//! A declared port, from the file's shape to what its connections are like.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use engine::{FirstCome, GuardMode, PortSpec, SourceMode, VlanMode, VlanSet};
use toml::Spanned;
use wire::MacAddr;

use super::super::outside::{Parent, Uplink};
use super::super::{Network, Port, file, filter, guard};
use super::{
    Fault, check_account, check_mode, check_name, check_nodes, fault, limit, set_queue, validate,
};
use crate::address::{Plan, SERVICES_END, Use};
use crate::directory::Access;
use crate::names::{self, Name};
use crate::node::NodeKind;

/// Checks a port value by value: a refusal points at the first value that it is about.
pub(super) fn check(
    name: &Spanned<String>,
    file: &file::Port,
    network: &Network,
    network_guard: Option<&Spanned<file::Guard>>,
) -> Result<Port, Fault> {
    let mut spec = PortSpec {
        queue_frames: network.anonymous.queue_frames,
        queue_bytes: network.anonymous.queue_bytes,
        isolated: file.isolated.unwrap_or(false),
        filter: filter::check(file.filter.as_ref(), network.subnet)?,
        community: file.community,
        macs: check_macs(file)?,
        vlan: check_vlan(file)?,
        ..PortSpec::default()
    };
    let max_macs = file.max_macs.as_ref().map(|it| *it.get_ref());
    spec.source = source(max_macs, &spec.macs);
    set_queue(&mut spec, file.queue_frames.as_ref(), file.queue_bytes.as_ref());
    let connections = limit(file.connections.as_ref(), 1, 65_536)?;
    spec.guard.mode = guard_mode(file, network, &spec.vlan, connections);
    if let Some(max_macs) = max_macs.filter(|max_macs| *max_macs > 1) {
        spec.guard.first_come = FirstCome::for_stations(max_macs);
    }
    guard::check_port(file.guard.as_ref())?;
    guard::change(&mut spec.guard, network_guard)?;
    guard::change(&mut spec.guard, file.guard.as_ref())?;
    validate(&spec, network, &span_of_all(name, file))?;
    check_connections(file, &spec, connections)?;
    let port_name = check_name(name, Name::of_guest)?;
    // What has one client has addresses in the plan, and so a MAC address that is its own beside those it learns.
    if spec.macs.is_empty() && connections == 1 {
        spec.macs.push(names::mac(&network.name, &port_name));
    }
    Ok(Port {
        name: port_name,
        owner: check_account(file.owner.as_ref(), |it| Access::named(Some(it), None, None))?,
        group: check_account(file.group.as_ref(), |it| Access::named(None, Some(it), None))?,
        mode: file.mode.as_ref().map(check_mode).transpose()?,
        nodes: file.nodes.as_deref().map_or(Ok(vec![NodeKind::Stream]), check_nodes)?,
        connections,
        ipv4: check_ipv4(file, network)?,
        ipv6: check_ipv6(file, network)?,
        raw_offload: file.raw_offload.unwrap_or(false),
        spec,
    })
}

fn check_macs(file: &file::Port) -> Result<Vec<MacAddr>, Fault> {
    let Some(texts) = &file.mac else { return Ok(Vec::new()) };
    let parse = |text: &String| {
        text.parse::<MacAddr>().map_err(|_| {
            let why = format!("{text:?} is not a MAC address, such as \"02:00:5e:00:53:01\"");
            fault(texts, why)
        })
    };
    texts.get_ref().as_slice().iter().map(parse).collect()
}

fn check_vlan(file: &file::Port) -> Result<VlanMode, Fault> {
    match (&file.vlan, &file.trunk) {
        (Some(vlan), Some(_)) => {
            Err(fault(vlan, "a port has either vlan (access) or trunk, not both"))
        }
        (Some(vlan), None) => Ok(VlanMode::Access(*vlan.get_ref())),
        (None, Some(trunk)) => check_trunk(trunk),
        (None, None) => Ok(VlanMode::default()),
    }
}

fn check_trunk(trunk: &Spanned<file::Trunk>) -> Result<VlanMode, Fault> {
    let mut allowed = VlanSet::new();
    for vlans in &trunk.get_ref().allowed {
        let bad = |text: &str| {
            let why = format!(
                "{text:?} is neither a VLAN (1 to 4094), nor a range such as \"20-29\", nor \"all\""
            );
            fault(trunk, why)
        };
        let range = match vlans {
            file::Vlans::One(vlan) => *vlan..=*vlan,
            file::Vlans::Range(text) if text == "all" => 1..=engine::vlan::VLAN_MAX,
            file::Vlans::Range(text) => {
                let (first, last) = text.split_once('-').ok_or_else(|| bad(text))?;
                let number = |part: &str| part.trim().parse::<u16>().map_err(|_| bad(text));
                number(first)?..=number(last)?
            }
        };
        if range.is_empty() || *range.end() > engine::vlan::VLAN_MAX {
            return Err(bad(&format!("{}-{}", range.start(), range.end())));
        }
        for vlan in range {
            if !allowed.insert(vlan) {
                return Err(bad(&vlan.to_string()));
            }
        }
    }
    Ok(VlanMode::Trunk { native: trunk.get_ref().native, allowed })
}

/// With an address of its own a port uses that and no other, unless it is allowed more.
fn source(max_macs: Option<u16>, macs: &[MacAddr]) -> SourceMode {
    match max_macs {
        Some(0) => SourceMode::Static,
        Some(max_macs) => SourceMode::Learn { max_macs },
        None if macs.is_empty() => SourceMode::default(),
        None => SourceMode::Static,
    }
}

/// Where it is known which addresses its one client has, it has no others.
fn guard_mode(
    file: &file::Port,
    network: &Network,
    vlan: &VlanMode,
    connections: usize,
) -> GuardMode {
    let known = *vlan == VlanMode::default()
        && network.outside.guests_planned
        && connections == 1
        && file.max_macs.as_ref().is_none_or(|max_macs| *max_macs.get_ref() <= 1);
    if known || file.ipv4.is_some() { GuardMode::Static } else { GuardMode::Learn }
}

/// If only one thing is said about the port, a refusal of the whole points at that.
fn span_of_all(name: &Spanned<String>, file: &file::Port) -> Range<usize> {
    let said = [
        file.mac.as_ref().map(Spanned::span),
        file.max_macs.as_ref().map(Spanned::span),
        file.vlan.as_ref().map(Spanned::span),
        file.trunk.as_ref().map(Spanned::span),
        file.queue_bytes.as_ref().map(Spanned::span),
        file.queue_frames.as_ref().map(Spanned::span),
    ];
    let mut said = said.into_iter().flatten();
    match (said.next(), said.next()) {
        (Some(only), None) => only,
        _ => name.span(),
    }
}

/// What belongs to one connection cannot be said of a port that has more.
fn check_connections(file: &file::Port, spec: &PortSpec, connections: usize) -> Result<(), Fault> {
    if connections <= 1 {
        return Ok(());
    }
    if !spec.macs.is_empty() {
        let why = "a port with a MAC address of its own can have only one connection: leave out one of the two";
        return Err(Fault { span: file.connections.as_ref().map(Spanned::span), why: why.into() });
    }
    let addresses = file.ipv4.as_ref().map(Spanned::span).or(file.ipv6.as_ref().map(Spanned::span));
    let Some(span) = addresses else { return Ok(()) };
    let why = "an address belongs to one connection, but this port has more: declare a port for each, or leave \
               out `connections`";
    Err(Fault { span: Some(span), why: why.into() })
}

/// IPv4 addresses that a port has by configuration.
fn check_ipv4(file: &file::Port, network: &Network) -> Result<Vec<Ipv4Addr>, Fault> {
    let Some(texts) = &file.ipv4 else { return Ok(Vec::new()) };
    let mut addresses = Vec::new();
    for text in texts.get_ref().as_slice() {
        let address: Ipv4Addr = text.parse().map_err(|_| {
            fault(texts, format!("{text:?} is not an IPv4 address, such as \"10.20.0.5\""))
        })?;
        if network.outside.uplink.plans_addresses() {
            let Some(subnet) = network.subnet else {
                let why = format!("{address} needs a known subnet: set the network's `subnet`");
                return Err(fault(texts, why));
            };
            let plan = Plan::new(network.name.clone(), subnet, Ipv6Addr::UNSPECIFIED);
            if !matches!(plan.use_of(address), Some(Use::Fixed | Use::Guest)) {
                let (first, last) = plan.fixed_range();
                let why =
                    format!("{address} is not available to ports; choose from {first} to {last}");
                return Err(fault(texts, why));
            }
        }
        addresses.push(address);
    }
    addresses_once(texts, &addresses)?;
    Ok(addresses)
}

/// IPv6 addresses that a port has by configuration.
fn check_ipv6(file: &file::Port, network: &Network) -> Result<Vec<Ipv6Addr>, Fault> {
    let Some(texts) = &file.ipv6 else { return Ok(Vec::new()) };
    // Without the key it follows from the name, unless it is what the network around routes to us.
    let uplink = &network.outside.uplink;
    let prefix = match uplink {
        Uplink::Net(Parent::Routed) => network.prefix,
        _ => Some(network.prefix.unwrap_or_else(|| names::ipv6_prefix(&network.name))),
    };
    let prefix = prefix.filter(|_| uplink.plans_addresses());
    let mut addresses = Vec::new();
    for text in texts.get_ref().as_slice() {
        let address: Ipv6Addr = text.parse().map_err(|_| {
            fault(
                texts,
                format!("{text:?} is not an IPv6 address, such as \"fd12:3456:789a:1::5\""),
            )
        })?;
        let own_host = address.to_bits() as u64 > u64::from(SERVICES_END);
        if address.is_multicast() || address.is_loopback() || !own_host {
            let why = format!(
                "{address} is not available to ports: choose one whose last 64 bits are more than {SERVICES_END:x}"
            );
            return Err(fault(texts, why));
        }
        if !address.is_unicast_link_local()
            && let Some(prefix) = prefix
            && address.to_bits() >> 64 != prefix.to_bits() >> 64
        {
            let whose = match network.prefix {
                Some(_) => "",
                None => ", which follows from its name: choose one in that prefix, or set `prefix`",
            };
            let why = format!("{address} is not in the network's prefix {prefix}/64{whose}");
            return Err(fault(texts, why));
        }
        addresses.push(address);
    }
    addresses_once(texts, &addresses)?;
    Ok(addresses)
}

fn addresses_once<T, A: Ord + std::fmt::Display>(
    at: &Spanned<T>,
    addresses: &[A],
) -> Result<(), Fault> {
    let mut seen = BTreeSet::new();
    match addresses.iter().find(|address| !seen.insert(*address)) {
        Some(twice) => Err(fault(at, format!("{twice} is in the list twice; name it once"))),
        None => Ok(()),
    }
}
