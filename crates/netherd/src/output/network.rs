//! Reports of networks and ports, for people to read.
//!
//! Directions are the port's: what the guest sends is received (`RX`), as in every counter.

use std::fmt::Write;

use engine::Reason;
use host::report::{Network, NetworkSummary, Outside, Port};

use super::style::{Accent, Style};
use super::table::{Align, Table};
use super::unit;

/// The table of `netherd ls`.
pub fn list(networks: &[NetworkSummary], style: Style) -> String {
    if networks.is_empty() {
        return "no networks are up\n".to_owned();
    }
    let mut table = Table::new(&[
        ("NETWORK", Align::Left),
        ("PORTS", Align::Right),
        ("GUESTS", Align::Right),
        ("IPV4", Align::Left),
        ("IPV6", Align::Left),
        ("PID", Align::Right),
        ("UP", Align::Left),
        ("DIRECTORY", Align::Left),
    ]);
    for network in networks {
        table.row([
            network.network.clone(),
            network.ports.to_string(),
            network.guests.to_string(),
            network.ipv4.clone(),
            network.ipv6.clone(),
            network.pid.to_string(),
            unit::span(network.uptime),
            network.directory.display().to_string(),
        ]);
    }
    table.render(style)
}

/// A network: what it is, its ports, and why it dropped frames.
pub fn network(report: &Network, style: Style) -> String {
    let mut text = heading(report, style);
    if report.ports.is_empty() {
        text.push_str("\nno ports\n");
    } else {
        text.push('\n');
        text.push_str(&ports(&report.ports, style));
    }

    let mut reasons = String::new();
    for port in report.ports.iter().filter(|port| !port.drops.is_empty()) {
        let list: Vec<String> =
            port.drops.iter().map(|(reason, frames)| format!("{reason} {frames}")).collect();
        let _ = writeln!(reasons, "  {}: {}", port.name, list.join(", "));
    }
    section(&mut text, "dropped frames, by reason", &reasons, style);

    if report.capture_drops > 0 {
        let _ = writeln!(text, "\ncaptures missed {} frames", report.capture_drops);
    }
    text
}

/// The lines about the network as a whole.
fn heading(report: &Network, style: Style) -> String {
    let mut text = format!(
        "network {}, {} with MTU {}, up {}{}\n",
        style.paint(Accent::Bold, &report.network),
        report.mode,
        report.mtu,
        unit::span(report.uptime),
        if report.stay { ", stays" } else { "" },
    );
    let addresses = match (report.ipv4.as_str(), report.ipv6.as_str()) {
        ("", "") => "those of the segment outside".to_owned(),
        (one, "") | ("", one) => one.to_owned(),
        (v4, v6) => format!("{v4} {v6}"),
    };
    let _ = writeln!(text, "  addresses  {addresses}");
    if let Some(outside) = &report.outside {
        text.push_str(&way_out(outside));
    }
    let _ = writeln!(text, "  directory  {}", report.directory.display());
    if !report.nodes.is_empty() {
        let _ = writeln!(text, "  nodes      {}", report.nodes.join(" "));
    }
    let _ = writeln!(text, "  process    {} (netherd {})", report.pid, report.version);
    let away = report.planned.iter().filter(|guest| !guest.present).count();
    if away > 0 {
        let guests = if away == 1 { "guest that is" } else { "guests that are" };
        let _ = writeln!(text, "  kept       addresses of {away} {guests} away");
    }
    text
}

/// What leads out of the network, and what does not.
fn way_out(outside: &Outside) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name:<9}  {value}");
        }
    };
    let has_gateway = outside.flows_max > 0;
    let is_closed = outside.uplink == "none";
    let mut uplink = outside.uplink.clone();
    if has_gateway && !is_closed {
        let families: Vec<&str> = [("IPv4", outside.ipv4), ("IPv6", outside.ipv6)]
            .into_iter()
            .filter_map(|(family, works)| works.then_some(family))
            .collect();
        uplink.push_str(", ");
        if families.is_empty() {
            uplink.push_str("but the host has no way out now");
        } else {
            uplink.push_str(&families.join(" and "));
        }
        let _ = write!(uplink, ", {} of at most {} connections", outside.flows, outside.flows_max);
    }
    line("uplink", &uplink);
    if has_gateway && !is_closed && !outside.ping {
        let why = outside.ping_refused.as_deref().unwrap_or("the host refuses ICMP sockets");
        line("ping", &format!("does not reach outside: {why}"));
    }
    line("services", &outside.services.join(" "));
    if outside.services.iter().any(|service| service == "dns") {
        let resolvers = match outside.resolvers.as_slice() {
            [] if is_closed => "nobody, because nothing leads out".to_owned(),
            [] => "nobody, because the host names no resolvers".to_owned(),
            some => some.join(" "),
        };
        line("names", &format!("GUEST.{}; others are asked of {resolvers}", outside.domain));
    }
    line("router", &router(outside));
    for trouble in &outside.troubles {
        line("trouble", trouble);
    }
    text
}

/// Where the router stands in the network, what became of the packets that came to it from here, and
/// why it dropped some.
fn router(outside: &Outside) -> String {
    if outside.router_addresses.is_empty() {
        return String::new();
    }
    let mut text = outside.router_addresses.join(" ");
    if !outside.routed {
        text.push_str(", for this network only");
    }
    for (name, what) in
        [("forwarded", "forwarded"), ("to_gateway", "to the gateway"), ("answered", "answered")]
    {
        let count = outside.router.get(name).copied().unwrap_or(0);
        let _ = write!(text, ", {count} {what}");
    }
    let reasons: Vec<String> = outside
        .router
        .iter()
        .filter_map(|(name, count)| Some(format!("{} {count}", name.strip_prefix("drop.")?)))
        .collect();
    if !reasons.is_empty() {
        let _ = write!(text, "; dropped: {}", reasons.join(", "));
    }
    text
}

fn section(text: &mut String, title: &str, lines: &str, style: Style) {
    if !lines.is_empty() {
        let _ = write!(text, "\n{}\n{lines}", style.paint(Accent::Bold, title));
    }
}

fn ports(ports: &[Port], style: Style) -> String {
    let mut table = Table::new(&[
        ("PORT", Align::Left),
        ("LINK", Align::Left),
        ("MAC", Align::Left),
        ("IPV4", Align::Left),
        ("IPV6", Align::Left),
        ("USER", Align::Left),
        ("PID", Align::Right),
        ("RX FRAMES", Align::Right),
        ("TX FRAMES", Align::Right),
        ("RX RATE", Align::Right),
        ("TX RATE", Align::Right),
        ("DROPPED", Align::Right),
    ]);
    for port in ports {
        table.row([
            port.name.clone(),
            port.link.clone(),
            first_of(&port.macs),
            without_prefix_length(&first_of(&port.ipv4)),
            without_prefix_length(&first_of(&port.ipv6)),
            user(port),
            port.pid.map(|pid| pid.to_string()).unwrap_or_default(),
            counter(port, "rx_frames"),
            counter(port, "tx_frames"),
            unit::bit_rate(port.rates.rx_bits),
            unit::bit_rate(port.rates.tx_bits),
            port.drops.values().sum::<u64>().to_string(),
        ]);
    }
    table.render(style)
}

/// The first, and how many more there are.
fn first_of(values: &[String]) -> String {
    match values {
        [] => String::new(),
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first} +{}", rest.len()),
    }
}

/// The subnet's length is in the heading already.
fn without_prefix_length(address: &str) -> String {
    match address.split_once('/') {
        Some((address, rest)) => match rest.split_once(' ') {
            Some((_, more)) => format!("{address} {more}"),
            None => address.to_owned(),
        },
        None => address.to_owned(),
    }
}

fn user(port: &Port) -> String {
    match (&port.user, port.uid) {
        (Some(user), _) => user.clone(),
        (None, Some(uid)) => uid.to_string(),
        (None, None) => String::new(),
    }
}

fn counter(port: &Port, name: &str) -> String {
    port.counters.get(name).map(u64::to_string).unwrap_or_default()
}

/// One port in full.
pub fn port(report: &Network, port: &Port, style: Style) -> String {
    let mut text =
        format!("port {} of network {}\n", style.paint(Accent::Bold, &port.name), report.network);
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name:<10} {value}");
        }
    };
    line("link", &port.link);
    line("offloads", &port.offloads.join(" "));
    line("node", port.node.as_deref().unwrap_or_default());
    if let Some(kind) = &port.guest {
        let init = port.init_pid.map(|pid| format!(", init {pid}")).unwrap_or_default();
        line("guest", &format!("{kind}{init}"));
    }
    line("opened by", &opener(port));
    line("says it is", port.description.as_deref().unwrap_or_default());
    line("up", &unit::span(port.uptime));
    line("MAC", &port.macs.join(" "));
    line("IPv4", &port.ipv4.join(" "));
    line("IPv6", &port.ipv6.join(" "));
    line("VLAN", &port.vlan);
    if port.isolated {
        line("isolated", "yes");
    }
    if let Some(filter) = &port.filter.r#in {
        line("filter in", filter);
    }
    if let Some(filter) = &port.filter.out {
        line("filter out", filter);
    }
    line(
        "queue",
        &format!("{} frames, {}", port.queue_frames, unit::bytes(port.queue_bytes as u64)),
    );
    for (name, frames, bits) in [
        ("RX rate", port.rates.rx_frames, port.rates.rx_bits),
        ("TX rate", port.rates.tx_frames, port.rates.tx_bits),
    ] {
        line(name, &format!("{}, {}", unit::frame_rate(frames), unit::bit_rate(bits)));
    }

    let mut counters = Table::new(&[("COUNTER", Align::Left), ("VALUE", Align::Right)]);
    // Drops have a table of their own, with their reasons.
    for (name, value) in port.counters.iter().filter(|(name, _)| !name.starts_with("drop.")) {
        counters.row([name.clone(), value.to_string()]);
    }
    if let Some(drops) = port.link_drops {
        counters.row(["link_drops".to_owned(), drops.to_string()]);
    }
    if !counters.is_empty() {
        text.push('\n');
        text.push_str(&counters.render(style));
    }

    let mut drops =
        Table::new(&[("DROPPED", Align::Left), ("FRAMES", Align::Right), ("WHY", Align::Left)]);
    for (reason, frames) in &port.drops {
        drops.row([reason.clone(), frames.to_string(), describe(reason).to_owned()]);
    }
    if !drops.is_empty() {
        text.push('\n');
        text.push_str(&drops.render(style));
    }
    text
}

fn opener(port: &Port) -> String {
    let who = match (&port.user, port.uid) {
        (Some(user), Some(uid)) => format!("{user} (uid {uid})"),
        (None, Some(uid)) => format!("uid {uid}"),
        (_, None) => String::new(),
    };
    match port.pid {
        Some(pid) if who.is_empty() => format!("process {pid}"),
        Some(pid) => format!("{who}, process {pid}"),
        None => who,
    }
}

/// The sentence for a reason; a newer daemon may know more of them than we do.
fn describe(name: &str) -> &'static str {
    Reason::ALL.into_iter().find(|reason| reason.name() == name).map_or("", Reason::describe)
}
