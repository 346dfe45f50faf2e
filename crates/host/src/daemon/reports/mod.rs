//! Reports: what `show`, `ls`, captures and the log say about networks and ports.

mod status;
pub(super) mod tables;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use engine::bindings::Address;
use engine::{BindingEnd, Event, Fate, MacKind, Mode, PortId, Reason, VlanMode};

use wire::MacAddr;

use super::served::filters::filter_report;
use super::served::rates::RateMeter;
use super::served::{Served, with_length, with_length_v6};
use crate::api::message::{Code, Failure};
use crate::capture::Described;
use crate::directory::PORTS;
use crate::names::Name;
use crate::node::NodeKind;
use crate::report;
use crate::worker::{NetworkId, Worker};

impl Served {
    /// One line of `netherd ls`.
    pub(in crate::daemon) fn summary(&self, worker: &Worker) -> report::NetworkSummary {
        report::NetworkSummary {
            network: self.config.name.as_str().to_owned(),
            directory: self.published.path().to_owned(),
            ports: worker.ports(self.id).count(),
            guests: self.guests.len(),
            ipv4: self.subnet_text(),
            ipv6: self.prefix_text(),
            pid: std::process::id(),
            uptime: self.life.uptime(worker.now()).as_secs_f64(),
        }
    }

    /// The network's subnet; nothing where addresses are those of a segment that others administer.
    fn subnet_text(&self) -> String {
        if self.config.outside.guests_planned {
            self.plan.subnet().to_string()
        } else {
            String::new()
        }
    }

    /// The gateway's address, likewise.
    fn gateway_text(&self) -> String {
        if self.config.outside.guests_planned {
            self.plan.gateway().to_string()
        } else {
            String::new()
        }
    }

    /// The network's prefix, likewise, and where it has IPv6 at all.
    fn prefix_text(&self) -> String {
        if self.plans_ipv6() { with_length_v6(self.plan.prefix()) } else { String::new() }
    }

    /// The addresses of a guest to which the network gave none: those that it was seen to have, that can be reached from
    /// elsewhere first.
    fn seen_addresses(&self, worker: &Worker, id: PortId) -> [Vec<String>; 2] {
        let bound = worker.engine(self.id).bindings().filter(|it| it.port == Some(id));
        let mut all: Vec<IpAddr> = bound
            .filter_map(|it| match it.address {
                Address::Ip(address) => Some(address),
                Address::Mac(_) | Address::Prefix(_) => None,
            })
            .collect();
        let is_near = |address: &IpAddr| match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        all.sort_by_key(|address| (is_near(address), *address));
        // It may have one in several VLANs.
        all.dedup();
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = all.into_iter().partition(IpAddr::is_ipv4);
        [v4, v6].map(|some| some.iter().map(ToString::to_string).collect())
    }

    fn is_port_of(&self, worker: &Worker, id: PortId, uid: u32) -> bool {
        let peer = worker.port_about(self.id, id).and_then(|about| about.peer);
        peer.is_some_and(|peer| peer.uid == uid)
    }

    /// The port of that name; `None` for the whole network. With `only`, ports of other users are as good as none:
    /// whether they exist is not told.
    pub(in crate::daemon) fn port_of(
        &self,
        worker: &Worker,
        name: Option<&str>,
        only: Option<u32>,
    ) -> Result<Option<PortId>, Failure> {
        let Some(name) = name else { return Ok(None) };
        let port = worker.port_named(self.id, name);
        let port = port.filter(|id| only.is_none_or(|uid| self.is_port_of(worker, *id, uid)));
        port.map(Some).ok_or_else(|| {
            let message = format!(
                "There is no port {name:?} in network {}: `netherd show` lists them.",
                self.config.name
            );
            Failure::new(Code::NoSuchPort, message)
        })
    }

    /// Whether a port is declared, and nobody has it open.
    pub(in crate::daemon) fn is_absent(&self, worker: &Worker, name: &str) -> bool {
        self.is_declared(name) && worker.port_named(self.id, name).is_none()
    }

    /// The report, of one port or all; with `only`, of ports of that user and nothing about others.
    pub(in crate::daemon) fn report(
        &mut self,
        worker: &mut Worker,
        port: Option<&str>,
        only: Option<u32>,
    ) -> Result<report::Network, Failure> {
        // A declared port that nobody has open is known all the same.
        let absent = port.filter(|name| only.is_none() && self.is_absent(worker, name));
        let wanted = if absent.is_some() { None } else { self.port_of(worker, port, only)? };
        let now = worker.now();
        let mut ids: Vec<PortId> = worker
            .ports(self.id)
            .filter(|_| absent.is_none())
            .filter(|id| wanted.is_none_or(|wanted| wanted == *id))
            .filter(|id| only.is_none_or(|uid| self.is_port_of(worker, *id, uid)))
            .collect();
        ids.sort_by_key(|id| worker.port_about(self.id, *id).map(|about| about.opened));
        // One pass over the table for all ports: it may be long, and frames wait meanwhile.
        let mut used: HashMap<PortId, Vec<MacAddr>> = HashMap::new();
        for entry in worker.engine(self.id).mac_table() {
            if let Some(port) = entry.port {
                used.entry(port).or_default().push(entry.mac);
            }
        }
        let macs = |id: PortId| used.get(&id).map(Vec::as_slice).unwrap_or_default();
        let ports = ids.iter().filter_map(|id| self.port_report(worker, *id, macs(*id))).collect();
        let spec = worker.engine(self.id).network().clone();
        let mode = match spec.mode {
            Mode::Switch => "switch",
            Mode::Hub => "hub",
        };
        let whole = port.is_none() && only.is_none();
        Ok(report::Network {
            network: self.config.name.as_str().to_owned(),
            directory: self.published.path().to_owned(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mode: mode.to_owned(),
            mtu: spec.mtu,
            ipv4: self.subnet_text(),
            gateway_ipv4: self.gateway_text(),
            ipv6: self.prefix_text(),
            stay: self.life.stays(),
            uptime: self.life.uptime(now).as_secs_f64(),
            nodes: self.published.nodes().map(str::to_owned).collect(),
            ports,
            macs: if whole { mac_report(worker, self.id) } else { Vec::new() },
            planned: if whole { self.planned() } else { Vec::new() },
            declared: match absent {
                Some(name) => self.declared().into_iter().filter(|it| it.name == name).collect(),
                None if whole => self.declared(),
                None => Vec::new(),
            },
            capture_drops: self.captures.drops(),
            outside: whole.then(|| self.outside_report(worker)),
        })
    }

    fn planned(&self) -> Vec<report::Planned> {
        self.plan
            .guests()
            .filter(|(_, guest)| !guest.is_declared())
            .map(|(name, guest)| report::Planned {
                guest: name.as_str().to_owned(),
                mac: guest.mac.to_string(),
                ipv4: with_length(&self.plan, guest.ipv4),
                ipv6: with_length_v6(guest.ipv6),
                present: guest.is_present(),
            })
            .collect()
    }

    fn declared(&self) -> Vec<report::Declared> {
        let node = |port: &Name, kind: &NodeKind| format!("{PORTS}/{port}/{}", kind.file_name());
        self.config
            .ports
            .iter()
            .map(|port| report::Declared {
                name: port.name.as_str().to_owned(),
                macs: port.spec.macs.iter().map(ToString::to_string).collect(),
                nodes: port.nodes.iter().map(|kind| node(&port.name, kind)).collect(),
            })
            .collect()
    }

    fn port_report(
        &mut self,
        worker: &mut Worker,
        id: PortId,
        used: &[MacAddr],
    ) -> Option<report::Port> {
        let now = worker.now();
        let link_drops = worker.link_drops(self.id, id);
        let about = worker.port_about(self.id, id)?;
        let engine = worker.engine(self.id);
        let spec = engine.port(id)?;
        let counters = engine.port_counters(id)?;
        let meter = self.rates.entry(id).or_insert_with(|| RateMeter::new(about.opened));
        let rates = meter.read(now, counters);
        let (queue_frames, queue_bytes) = engine.queue_len(id);
        let (drops, totals): (BTreeMap<_, _>, BTreeMap<_, _>) = {
            let all = counters
                .iter()
                .filter(|(name, value)| *value > 0 || !name.starts_with("audit."))
                .map(|(name, value)| (name.to_owned(), value));
            let (drops, totals): (Vec<_>, Vec<_>) =
                all.partition(|(name, _)| name.starts_with("drop."));
            let reason =
                |(name, value): (String, u64)| (name.trim_start_matches("drop.").to_owned(), value);
            let drops = drops.into_iter().filter(|(_, value)| *value > 0).map(reason);
            (drops.collect(), totals.into_iter().collect())
        };
        let guest = self.guests.values().find(|guest| guest.port() == Some(id));
        let mut macs: Vec<String> = spec.macs.iter().map(ToString::to_string).collect();
        for mac in used.iter().map(ToString::to_string) {
            if !macs.contains(&mac) {
                macs.push(mac);
            }
        }
        let (mut ipv4, mut ipv6) = (about.ipv4.clone(), about.ipv6.clone());
        if guest.is_some() && (ipv4.is_empty() || ipv6.is_empty()) {
            let [v4, v6] = self.seen_addresses(worker, id);
            if ipv4.is_empty() {
                ipv4 = v4;
            }
            if ipv6.is_empty() {
                ipv6 = v6;
            }
        }
        Some(report::Port {
            name: about.name.clone(),
            link: about.kind.name().to_owned(),
            node: about.node.clone(),
            guest: guest.map(|guest| guest.kind.to_string()),
            init_pid: guest.and_then(|guest| guest.init_pid),
            macs,
            ipv4,
            ipv6,
            uid: about.peer.map(|peer| peer.uid),
            user: None,
            pid: about.peer.map(|peer| peer.pid),
            description: about.description.clone(),
            vlan: vlan_text(&spec.vlan),
            isolated: spec.isolated,
            filter: filter_report(&spec.filter),
            offloads: spec.offloads_to_guest.names().map(str::to_owned).collect(),
            uptime: now.saturating_since(about.opened).as_secs_f64(),
            rates,
            queue_frames,
            queue_bytes,
            counters: totals,
            drops,
            link_drops,
        })
    }
}

fn mac_report(worker: &Worker, id: NetworkId) -> Vec<report::Mac> {
    let now = worker.now();
    let name = |port: Option<PortId>| {
        port.and_then(|port| worker.port_about(id, port)).map(|about| about.name.clone())
    };
    let mut macs: Vec<report::Mac> = worker
        .engine(id)
        .mac_table()
        .map(|entry| report::Mac {
            mac: entry.mac.to_string(),
            vlan: entry.vlan,
            port: name(entry.port),
            kind: mac_kind(entry.kind).to_owned(),
            age: entry.seen.map(|seen| now.saturating_since(seen).as_secs_f64()),
        })
        .collect();
    macs.sort_by(|a, b| a.mac.cmp(&b.mac).then(a.vlan.cmp(&b.vlan)));
    macs
}

fn mac_kind(kind: MacKind) -> &'static str {
    match kind {
        MacKind::Static => "static",
        MacKind::Learned => "learned",
        MacKind::Reserved => "reserved",
    }
}

/// `access 10`, `trunk native 1 allowed 10,20-29`.
pub(in crate::daemon) fn vlan_text(vlan: &VlanMode) -> String {
    match vlan {
        VlanMode::Access(vlan) => format!("access {vlan}"),
        VlanMode::Trunk { native, allowed } => {
            let native = native.map_or_else(String::new, |vlan| format!(" native {vlan}"));
            format!("trunk{native} allowed {}", ranges(allowed.iter()))
        }
    }
}

fn ranges(numbers: impl Iterator<Item = u16>) -> String {
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    if runs.is_empty() {
        return "none".to_owned();
    }
    let text = |(first, last): &(u16, u16)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    runs.iter().map(text).collect::<Vec<_>>().join(",")
}

/// What captures are told of a port.
pub(in crate::daemon) fn describe_port(worker: &Worker, id: NetworkId, port: PortId) -> Described {
    let Some(about) = worker.port_about(id, port) else {
        return Described {
            name: "closed".to_owned(),
            about: "a port that has been closed since".to_owned(),
            mac: None,
        };
    };
    let who = about.peer.map_or_else(String::new, |it| format!(", {it}"));
    Described {
        name: about.name.clone(),
        about: format!("{}{who}", about.kind),
        mac: worker.engine(id).port(port).and_then(|spec| spec.macs.first().copied()),
    }
}

/// A port with what is needed to act on it: who is behind it.
fn described(worker: &Worker, id: NetworkId, port: PortId) -> String {
    let Described { name, about, .. } = describe_port(worker, id, port);
    format!("port {name} ({about})")
}

/// A sentence for the log; `None` for what is not worth a line.
pub(in crate::daemon) fn engine_event(
    worker: &Worker,
    id: NetworkId,
    event: &Event,
) -> Option<String> {
    let name = |port: PortId| {
        worker.port_about(id, port).map_or_else(|| "a closed port".to_owned(), |it| it.name.clone())
    };
    let check = |reason: Reason| {
        let number = reason.check();
        number.map_or_else(|| reason.to_string(), |number| format!("check {number}"))
    };
    Some(match *event {
        Event::BindingEnded { port, address, why: BindingEnd::Outside, .. } => format!(
            "port {} had the address {address} by first use, and a station outside says that it is its own; the \
             port has lost it. If the address is meant for the guest, assign it in the configuration or by the \
             DHCP server outside.",
            name(port)
        ),
        Event::BindingEnded { port, address, why: BindingEnd::Given, .. } => format!(
            "port {} had the address {address} by first use, and the address was given to another guest; the port \
            has lost it. Clients that choose their own should take one from the last quarter of the subnet.",
            name(port)
        ),
        Event::MacLearned { .. } | Event::BindingMade { .. } | Event::BindingEnded { .. } => {
            return None;
        }
        Event::MacMoveRefused { port, mac, vlan, owner, summary } => format!(
            "{} used the MAC address {mac} of port {} (VLAN {vlan}, {}); its frames are dropped. Two guests have the same \
             address, or one is forging: `netherd args` prints how a client gets one of its own. The frame: {summary}.",
            described(worker, id, port),
            name(owner),
            check(Reason::MacMoved)
        ),
        Event::MacBoundRefused { port, mac, owner, summary } => {
            let whose = owner.map_or_else(
                || "is reserved for a guest that is away".to_owned(),
                |owner| format!("belongs to port {}", name(owner)),
            );
            format!(
                "{} used the MAC address {mac}, which {whose} ({}); its frames are dropped. The frame: {summary}.",
                described(worker, id, port),
                check(Reason::MacBound)
            )
        }
        Event::MacLimit { port, mac, summary } => format!(
            "{} used the MAC address {mac} beyond those that it may have ({}); its frames are dropped. A client \
            that is the cable to a switch, or has machines behind it, needs `max_macs` of its network or of a \
            declared port. The frame: {summary}.",
            described(worker, id, port),
            check(Reason::MacLimit)
        ),
        Event::MacForeignRefused { port, mac, summary } => format!(
            "{} used the MAC address {mac}, which is not its own ({}); its frames are dropped. The frame: {summary}.",
            described(worker, id, port),
            check(Reason::MacForeign)
        ),
        Event::Violation { port, reason, fate, summary, since } => {
            let fate = match fate {
                Fate::Passed => "it passed, because the check only audits",
                Fate::Dropped => "it was dropped",
            };
            format!(
                "{} sent a frame that failed the guard ({}): {reason}: {} The frame: {summary}; {fate}. {since} \
                 violations of this port since the last line about one.",
                described(worker, id, port),
                check(reason),
                reason.describe()
            )
        }
        Event::Quarantined { port, reason, until } => format!(
            "{} is cut off for its violations, the last of which was {reason}, for {} s.",
            described(worker, id, port),
            until.saturating_since(worker.now()).as_secs()
        ),
        Event::Released { port } => format!("port {} is no longer cut off.", name(port)),
        ref other => format!("{other:?}."),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::VlanSet;

    #[test]
    fn vlans_are_shown_as_ranges() {
        assert_eq!(vlan_text(&VlanMode::Access(7)), "access 7");
        let mut allowed = VlanSet::new();
        for vlan in [1, 10, 20, 21, 22, 4094] {
            assert!(allowed.insert(vlan));
        }
        let trunk = VlanMode::Trunk { native: Some(1), allowed };
        assert_eq!(vlan_text(&trunk), "trunk native 1 allowed 1,10,20-22,4094");
        let only_native = VlanMode::Trunk { native: Some(5), allowed: VlanSet::new() };
        assert_eq!(vlan_text(&only_native), "trunk native 5 allowed none");
    }
}
