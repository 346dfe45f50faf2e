//! What passes through a network's gateway and router, and what they know, as tables.
//!
//! They are made for a terminal of 100 columns: IPv4 always fits; the longest IPv6 addresses may not.

use std::net::IpAddr;

use host::report::{Binding, Check, Flow, Guard, Lease, Neighbour, Port, Publish, Route};
use serde::Serialize;

use super::style::Style;
use super::table::{Align, Table};
use super::unit;

/// The table, or a word in its place when it has no rows.
fn render(table: &Table, none: &str, style: Style) -> String {
    if table.is_empty() { format!("{none}\n") } else { table.render(style) }
}

fn seconds(value: Option<f64>) -> String {
    value.map(unit::span).unwrap_or_default()
}

/// Connections that the gateway carries. The guest is shown by name, with its port's number. `OUT` and `IN` are as seen
/// from the network: bytes from the guest to outside, and back.
pub fn flows(flows: &[Flow], style: Style) -> String {
    let mut table = Table::new(&[
        ("PROTO", Align::Left),
        ("GUEST", Align::Left),
        ("", Align::Left),
        ("OUTSIDE", Align::Left),
        ("STATE", Align::Left),
        ("IDLE", Align::Right),
        ("OUT", Align::Right),
        ("IN", Align::Right),
    ]);
    for flow in flows {
        table.row([
            flow.protocol.clone(),
            guest(flow),
            if flow.direction == "in" { "<-" } else { "->" }.to_owned(),
            flow.outside.clone(),
            flow.state.clone(),
            unit::span(flow.idle),
            unit::bytes(flow.bytes_out),
            unit::bytes(flow.bytes_in),
        ]);
    }
    render(&table, "no connections", style)
}

fn guest(flow: &Flow) -> String {
    if flow.port.is_empty() {
        return flow.guest.clone();
    }
    // The last colon: those before it are of an IPv6 address, which is in brackets then.
    match flow.guest.rsplit_once(':') {
        Some((address, port)) if !address.contains(':') || address.ends_with(']') => {
            format!("{}:{port}", flow.port)
        }
        _ => flow.port.clone(),
    }
}

/// Ports of the host that lead into guests.
pub fn forwards(forwards: &[Publish], style: Style) -> String {
    let mut table = Table::new(&[
        ("FORWARD", Align::Left),
        ("LISTENS AT", Align::Left),
        ("GUEST", Align::Left),
        ("FROM", Align::Left),
    ]);
    for forward in forwards {
        table.row([
            forward.forward.clone(),
            forward.listens.join(" "),
            if forward.present { "present" } else { "away" }.to_owned(),
            forward.source.clone(),
        ]);
    }
    render(&table, "no forwards", style)
}

/// Addresses that DHCP gave.
pub fn leases(leases: &[Lease], style: Style) -> String {
    let mut table = Table::new(&[
        ("ADDRESS", Align::Left),
        ("MAC", Align::Left),
        ("PORT", Align::Left),
        ("RESERVED FOR", Align::Left),
        ("CALLS ITSELF", Align::Left),
        ("ENDS IN", Align::Right),
    ]);
    for lease in leases {
        table.row([
            lease.address.clone(),
            lease.mac.clone(),
            lease.port.clone().unwrap_or_default(),
            lease.reserved.clone().unwrap_or_default(),
            printable(lease.hostname.as_deref().unwrap_or_default()),
            unit::span(lease.left),
        ]);
    }
    render(&table, "no leases", style)
}

/// A client's word, without what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c.is_whitespace() { '?' } else { c }).collect()
}

/// Where the router sends what.
pub fn routes(routes: &[Route], style: Style) -> String {
    let mut table = Table::new(&[("TO", Align::Left), ("VIA", Align::Left), ("FROM", Align::Left)]);
    let mut routes: Vec<&Route> = routes.iter().collect();
    routes.sort_by_key(|route| (prefix(&route.to), &route.via));
    for route in routes {
        table.row([route.to.clone(), route.via.clone(), route.source.clone()]);
    }
    render(&table, "no routes", style)
}

/// For rows of prefixes: IPv4 first, each in order, the shorter of two that begin alike first.
fn prefix(text: &str) -> (Option<IpAddr>, Option<u8>) {
    let (address, len) = text.split_once('/').unwrap_or((text, ""));
    (address.parse().ok(), len.parse().ok())
}

/// For rows of addresses: MAC addresses first, then IPv4, then IPv6, each in order.
fn rank(address: &str) -> (Option<IpAddr>, &str) {
    (address.split('/').next().and_then(|address| address.parse().ok()), address)
}

/// Which station has which address.
pub fn neighbours(neighbours: &[Neighbour], style: Style) -> String {
    let mut table = Table::new(&[
        ("ADDRESS", Align::Left),
        ("MAC", Align::Left),
        ("PORT", Align::Left),
        ("STATE", Align::Left),
        ("WAITING", Align::Right),
    ]);
    let mut neighbours: Vec<&Neighbour> = neighbours.iter().collect();
    neighbours.sort_by_key(|neighbour| rank(&neighbour.address));
    for neighbour in neighbours {
        table.row([
            neighbour.address.clone(),
            neighbour.mac.clone().unwrap_or_default(),
            neighbour.port.clone().unwrap_or_default(),
            neighbour.state.clone(),
            neighbour.waiting.to_string(),
        ]);
    }
    render(&table, "no neighbours", style)
}

/// Which addresses belong to which port.
pub fn bindings(bindings: &[Binding], style: Style) -> String {
    let mut table = Table::new(&[
        ("ADDRESS", Align::Left),
        ("PORT", Align::Left),
        ("VLAN", Align::Right),
        ("FROM", Align::Left),
        ("ENDS IN", Align::Right),
    ]);
    let mut bindings: Vec<&Binding> = bindings.iter().collect();
    bindings.sort_by_key(|binding| (binding.port.as_deref(), rank(&binding.address)));
    for binding in bindings {
        table.row([
            binding.address.clone(),
            binding.port.clone().unwrap_or_default(),
            binding.vlan.map(|vlan| vlan.to_string()).unwrap_or_default(),
            binding.source.clone(),
            seconds(binding.left),
        ]);
    }
    render(&table, "no bindings", style)
}

/// The guards of ports: one line each, with what they met.
pub fn guards(guards: &[Guard], style: Style) -> String {
    let mut table = Table::new(&[
        ("PORT", Align::Left),
        ("MODE", Align::Left),
        ("FIRST COME", Align::Right),
        ("DROPPED", Align::Right),
        ("AUDITED", Align::Right),
        ("MOST", Align::Left),
        ("STATE", Align::Left),
    ]);
    for guard in guards {
        let reasons = || guard.checks.iter().flat_map(|check| &check.reasons);
        let most = reasons().max_by_key(|it| it.dropped + it.audited);
        let most = most.filter(|it| it.dropped + it.audited > 0);
        table.row([
            guard.port.clone(),
            if guard.role == "uplink" { "uplink".to_owned() } else { guard.mode.clone() },
            guard.first_come.to_string(),
            reasons().map(|it| it.dropped).sum::<u64>().to_string(),
            reasons().map(|it| it.audited).sum::<u64>().to_string(),
            most.map(|it| it.name.clone()).unwrap_or_default(),
            match guard.quarantined {
                Some(left) => format!("cut off for {}", unit::span(left)),
                None if guard.audits => "only audits".to_owned(),
                None => String::new(),
            },
        ]);
    }
    render(&table, "no ports", style)
}

/// Every check of one guard.
pub fn checks(guard: &Guard, style: Style) -> String {
    let mut table = Table::new(&[
        ("CHECK", Align::Right),
        ("NAME", Align::Left),
        ("ACTION", Align::Left),
        ("REASON", Align::Left),
        ("DROPPED", Align::Right),
        ("AUDITED", Align::Right),
    ]);
    for Check { number, name, action, reasons } in &guard.checks {
        for reason in reasons {
            table.row([
                number.to_string(),
                name.clone(),
                action.clone(),
                reason.name.clone(),
                reason.dropped.to_string(),
                reason.audited.to_string(),
            ]);
        }
    }
    render(&table, "no checks", style)
}

/// One direction of a port that has a filter.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct FilterRow<'a> {
    port: &'a str,
    /// The port's: `in` is what comes from the guest.
    direction: &'static str,
    filter: &'a str,
    /// Frames that it, and those before it on this port, did not want.
    dropped: u64,
}

/// The filters of ports.
pub fn filter_rows(ports: &[Port]) -> Vec<FilterRow<'_>> {
    let mut rows = Vec::new();
    for port in ports {
        let ways =
            [("in", &port.filter.r#in, "filter-in"), ("out", &port.filter.out, "filter-out")];
        for (direction, filter, reason) in ways {
            if let Some(filter) = filter {
                let dropped = port.drops.get(reason).copied().unwrap_or(0);
                rows.push(FilterRow { port: &port.name, direction, filter, dropped });
            }
        }
    }
    rows
}

/// The filters of ports, and how many frames they dropped.
pub fn filters(rows: &[FilterRow<'_>], style: Style) -> String {
    let mut table = Table::new(&[
        ("PORT", Align::Left),
        ("DIRECTION", Align::Left),
        ("DROPPED", Align::Right),
        ("FILTER", Align::Left),
    ]);
    for row in rows {
        let cells = [row.port, row.direction, &row.dropped.to_string(), row.filter];
        table.row(cells.map(str::to_owned));
    }
    render(&table, "no filters", style)
}
