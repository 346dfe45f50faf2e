//! Long tables in pages: flows, leases, routes, neighbours and bindings.
//!
//! # Theory of operation
//!
//! Frames wait while a report is made, and there may be ten thousand flows. So every answer has at most
//! [`PAGE_MAX`] rows, and what it costs to find them is a walk over the table without a row made for those that are left
//! out. A page begins behind the place where the one before ended: rows are ordered by a number that stays theirs, so
//! that none is shown twice and none that stays is left out, whatever comes and goes in between.

use std::collections::BinaryHeap;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use engine::bindings::{Address, Lifetime};
use engine::router::{NeighbourState, RouteSource, Via};
use engine::{Instant, PortId};
use gateway::{FlowReport, FlowState, GuestKey, Protocol};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use siphasher::sip::SipHasher13;

use crate::api::message::{Code, Failure, PAGE_MAX, Page};
use crate::daemon::Daemon;
use crate::daemon::served::Served;
use crate::report::{self, Paged};
use crate::worker::Worker;

/// Rows of a page when nothing is said.
const PAGE: usize = 256;

/// A number that stays a row's as long as it is there: a hash of what makes it that row. That two rows have the same is
/// as good as impossible, and would hide one of them at the end of a page.
pub(in crate::daemon) fn number(row: impl Hash) -> u64 {
    let mut hasher = SipHasher13::new();
    row.hash(&mut hasher);
    // JSON has no larger whole numbers that every reader takes.
    hasher.finish() >> 11
}

/// The rows of one page out of `all`, each with its number.
pub(in crate::daemon) fn page<T>(
    page: &Page,
    all: impl Iterator<Item = (u64, T)>,
) -> (Vec<T>, Option<u64>, usize) {
    struct Row<T>(u64, T);
    impl<T> PartialEq for Row<T> {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }
    impl<T> Eq for Row<T> {}
    impl<T> PartialOrd for Row<T> {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    impl<T> Ord for Row<T> {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            self.0.cmp(&other.0)
        }
    }
    let limit = page.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let after = page.after;
    // The smallest numbers behind `after`, and one more to know whether there are more. The largest is on top.
    let mut heap = BinaryHeap::with_capacity(limit + 2);
    let mut total = 0;
    for (number, row) in all {
        total += 1;
        if after.is_some_and(|after| number <= after) {
            continue;
        }
        if heap.len() <= limit || heap.peek().is_some_and(|Row(largest, _)| number < *largest) {
            heap.push(Row(number, row));
            if heap.len() > limit + 1 {
                heap.pop();
            }
        }
    }
    let mut rows = heap.into_sorted_vec();
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().map(|Row(number, _)| *number).filter(|_| more);
    (rows.into_iter().map(|Row(_, row)| row).collect(), next, total)
}

fn seconds(from: Instant, to: Instant) -> f64 {
    to.saturating_since(from).as_secs_f64()
}

impl Served {
    fn port_name(&self, worker: &Worker, port: PortId) -> String {
        worker.port_about(self.id, port).map_or_else(|| "closed".to_owned(), |it| it.name.clone())
    }

    fn guest_name(&self, worker: &Worker, key: GuestKey) -> Option<String> {
        let (net, port) = worker.guest_of(key)?;
        Some(worker.port_about(net, port)?.name.clone())
    }

    fn wanted_port(&self, worker: &Worker, asked: &Page) -> Result<Option<PortId>, Failure> {
        self.port_of(worker, asked.port.as_deref(), None)
    }

    /// The call `flows`.
    pub(in crate::daemon) fn flows(
        &self,
        worker: &Worker,
        asked: &Page,
    ) -> Result<report::Flows, Failure> {
        let wanted = self.wanted_port(worker, asked)?;
        let wanted = wanted.map(|port| worker.guest_key(self.id, port));
        let Some(gateway) = worker.gateway(self.id) else { return Ok(Paged::default()) };
        let flows = gateway
            .flows(worker.now())
            .filter(|flow| wanted.is_none() || flow.guest == wanted)
            .map(|flow| {
                let id = number((flow.protocol, flow.guest_end, flow.remote, flow.inbound));
                (id, flow)
            });
        let (rows, next, total) = page(asked, flows);
        let rows = rows.into_iter().map(|flow| self.flow(worker, &flow)).collect();
        Ok(Paged { rows, next, total })
    }

    fn flow(&self, worker: &Worker, flow: &FlowReport) -> report::Flow {
        let protocol = match (flow.protocol, flow.remote.is_ipv6()) {
            (Protocol::Echo, false) => "icmp",
            (Protocol::Echo, true) => "icmpv6",
            (protocol, _) => protocol.name(),
        };
        let end = |end: SocketAddr| match flow.protocol {
            Protocol::Echo => end.ip().to_string(),
            _ => end.to_string(),
        };
        let state = match flow.state {
            FlowState::Opening => "opening",
            FlowState::Open => "open",
            FlowState::Closing => "closing",
        };
        report::Flow {
            protocol: protocol.to_owned(),
            port: flow.guest.and_then(|it| self.guest_name(worker, it)).unwrap_or_default(),
            guest: end(flow.guest_end),
            outside: end(flow.remote),
            host: flow.host.map(|host| host.to_string()),
            direction: if flow.inbound { "in" } else { "out" }.to_owned(),
            state: state.to_owned(),
            idle: flow.idle.as_secs_f64(),
            bytes_out: flow.bytes_out,
            bytes_in: flow.bytes_in,
        }
    }

    /// The call `leases`.
    pub(in crate::daemon) fn leases(
        &self,
        worker: &Worker,
        asked: &Page,
    ) -> Result<report::Leases, Failure> {
        let wanted = self.wanted_port(worker, asked)?;
        let wanted = wanted.map(|port| worker.guest_key(self.id, port));
        let Some(gateway) = worker.gateway(self.id) else { return Ok(Paged::default()) };
        let leases = gateway
            .leases(worker.now())
            .filter(|lease| wanted.is_none() || lease.guest == wanted)
            .map(|lease| (number(lease.address), lease));
        let (rows, next, total) = page(asked, leases);
        let planned = |address: IpAddr| {
            let mut guests = self.plan.guests();
            guests.find(|(_, it)| IpAddr::V4(it.ipv4) == address).map(|(name, _)| name)
        };
        let rows = rows
            .into_iter()
            .map(|lease| report::Lease {
                address: lease.address.to_string(),
                mac: lease.mac.to_string(),
                port: lease.guest.and_then(|it| self.guest_name(worker, it)),
                reserved: planned(lease.address).map(|name| name.as_str().to_owned()),
                hostname: lease.host_name,
                left: lease.remaining.as_secs_f64(),
            })
            .collect();
        Ok(Paged { rows, next, total })
    }

    /// The call `bindings`.
    pub(in crate::daemon) fn bindings(
        &self,
        worker: &Worker,
        asked: &Page,
    ) -> Result<report::Bindings, Failure> {
        let wanted = self.wanted_port(worker, asked)?;
        let now = worker.now();
        let bindings = worker
            .engine(self.id)
            .bindings()
            .filter(|it| wanted.is_none() || it.port == wanted)
            .map(|it| (number((it.address, it.vlan)), it));
        let (rows, next, total) = page(asked, bindings);
        let rows = rows
            .into_iter()
            .map(|it| report::Binding {
                kind: match it.address {
                    Address::Mac(_) => "mac",
                    Address::Ip(IpAddr::V4(_)) => "ipv4",
                    Address::Ip(IpAddr::V6(_)) => "ipv6",
                    Address::Prefix(_) => "prefix",
                }
                .to_owned(),
                address: it.address.to_string(),
                port: it.port.map(|port| self.port_name(worker, port)),
                vlan: it.vlan,
                source: it.source.name().to_owned(),
                left: match it.lifetime {
                    Lifetime::Until(at) => Some(seconds(now, at)),
                    Lifetime::Forever => None,
                },
            })
            .collect();
        Ok(Paged { rows, next, total })
    }

    /// The call `published`.
    pub(in crate::daemon) fn publishes(&self, worker: &Worker) -> report::Publishes {
        let open: Vec<gateway::PublishedRange> =
            worker.gateway(self.id).map(|it| it.published().collect()).unwrap_or_default();
        let rows: Vec<report::Publish> = self
            .forwards
            .iter()
            .map(|forward| {
                let open = open.iter().find(|it| it.id == forward.id);
                report::Publish {
                    forward: forward.forward.to_string(),
                    listens: open
                        .map(|it| it.listening.iter().map(ToString::to_string).collect())
                        .unwrap_or_default(),
                    source: forward.by.name().to_owned(),
                    present: open.is_some_and(|it| it.reachable),
                }
            })
            .collect();
        let total = rows.len();
        Paged { rows, next: None, total }
    }
}

/// The source of a route that nobody made: a network's own way out.
const UPLINK: &str = "uplink";

impl Daemon {
    /// The call `routes`: those of all networks, because they are joined by one router.
    ///
    /// # Errors
    /// For one port: a route is no port's.
    pub(in crate::daemon) fn routes(
        &self,
        worker: &Worker,
        asked: &Page,
    ) -> Result<report::Routes, Failure> {
        if asked.port.is_some() {
            let message = "Routes belong to all networks of the hypervisor, not to a port: leave out the port.";
            return Err(Failure::new(Code::BadArgument, message));
        }
        let table = worker.router().routes().map(|route| {
            let source = match route.source {
                RouteSource::Connected => "connected",
                RouteSource::Static => "static",
            };
            (route.prefix, route.via, source)
        });
        let rows = table
            .chain(self.ways_out(worker))
            .map(|(to, via, source)| (number((to, via)), (to, via, source)));
        let (rows, next, total) = page(asked, rows);
        let name = |via: Via| {
            let network = self.network(worker.network_of(via.interface()?)?)?;
            Some(network.config.name.as_str().to_owned())
        };
        let rows = rows
            .into_iter()
            .map(|(to, via, source)| {
                let network = name(via);
                let net = network.as_deref().unwrap_or("?");
                report::Route {
                    to: to.to_string(),
                    via: match via {
                        Via::Interface(_) => format!("network {net}"),
                        Via::NextHop { addr, .. } => format!("{addr} in network {net}"),
                        Via::Gateway(_) if source == UPLINK => {
                            format!("gateway of network {net}, for what comes from there")
                        }
                        Via::Gateway(_) => format!("gateway of network {net}"),
                        Via::Unreachable => "unreachable".to_owned(),
                        Via::Prohibit => "prohibited".to_owned(),
                    },
                    network,
                    source: source.to_owned(),
                }
            })
            .collect();
        Ok(Paged { rows, next, total })
    }

    /// Where the router sends what it has no route for: out by the network that it comes from.
    fn ways_out(&self, worker: &Worker) -> Vec<(IpNet, Via, &'static str)> {
        let all = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
        let routed = |to: &IpNet| worker.router().routes().any(|route| route.prefix == *to);
        let all: Vec<IpNet> = all.into_iter().filter(|to| !routed(to)).collect();
        let mut ways = Vec::new();
        for network in &self.networks {
            let Some(iface) = worker.interface(network.id) else { continue };
            let Some(spec) = worker.router().interface(iface).filter(|spec| spec.outside) else {
                continue;
            };
            let speaks = |to: &&IpNet| match to {
                IpNet::V4(_) => !spec.v4.is_empty(),
                IpNet::V6(_) => !spec.v6.is_empty(),
            };
            ways.extend(all.iter().filter(speaks).map(|to| (*to, Via::Gateway(iface), UPLINK)));
        }
        ways
    }
}

impl Served {
    /// The call `neighbours`.
    pub(in crate::daemon) fn neighbours(
        &self,
        worker: &Worker,
        asked: &Page,
    ) -> Result<report::Neighbours, Failure> {
        let wanted = self.wanted_port(worker, asked)?;
        let Some(iface) = worker.interface(self.id) else { return Ok(Paged::default()) };
        let of_port =
            |index: Option<u16>| index.and_then(|index| worker.engine(self.id).port_at(index));
        let neighbours = worker
            .router()
            .neighbours()
            .filter(|it| it.iface == iface)
            .filter(|it| wanted.is_none() || of_port(it.port) == wanted)
            .map(|it| (number(it.addr), it));
        let (rows, next, total) = page(asked, neighbours);
        let rows = rows
            .into_iter()
            .map(|it| report::Neighbour {
                address: it.addr.to_string(),
                mac: it.mac.map(|mac| mac.to_string()),
                port: of_port(it.port).map(|port| self.port_name(worker, port)),
                state: match it.state {
                    NeighbourState::Bound => "bound",
                    NeighbourState::Unknown => "unknown",
                    NeighbourState::Incomplete => "incomplete",
                    NeighbourState::Reachable => "reachable",
                    NeighbourState::Stale => "stale",
                    NeighbourState::Delay => "delay",
                    NeighbourState::Probe => "probe",
                    NeighbourState::Failed => "failed",
                }
                .to_owned(),
                waiting: it.waiting,
            })
            .collect();
        Ok(Paged { rows, next, total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ask(after: Option<u64>, limit: usize) -> Page {
        Page { after, limit: Some(limit), port: None }
    }

    proptest! {
        /// Page after page, with rows that come and go in between: what stays is shown once, in order.
        #[test]
        fn what_stays_is_shown_once(
            rows in proptest::collection::btree_set(0..500_u64, 0..80),
            gone in proptest::collection::btree_set(0..500_u64, 0..40),
            limit in 1..20_usize,
        ) {
            let mut seen = Vec::new();
            let mut after = None;
            let mut rest = rows.clone();
            loop {
                let (shown, next, total) = page(&ask(after, limit), rest.iter().rev().map(|it| (*it, *it)));
                prop_assert_eq!(total, rest.len());
                prop_assert!(shown.len() <= limit);
                seen.extend(shown);
                let Some(next) = next else { break };
                prop_assert!(after.is_none_or(|after| next > after));
                after = Some(next);
                rest = rest.difference(&gone).copied().collect();
            }
            prop_assert!(seen.is_sorted());
            for row in rows.difference(&gone) {
                prop_assert_eq!(seen.iter().filter(|it| *it == row).count(), 1);
            }
        }
    }

    #[test]
    fn a_page_has_a_bound_whatever_is_asked_for() {
        let rows = || (0..5000_u64).map(|it| (it, ()));
        assert_eq!(page(&ask(None, usize::MAX), rows()).0.len(), PAGE_MAX);
        assert_eq!(page(&ask(None, 0), rows()).0.len(), 1);
        assert_eq!(page(&Page::default(), rows()).0.len(), PAGE);
        assert_eq!(page(&ask(Some(4999), 10), rows()).1, None);
    }
}
