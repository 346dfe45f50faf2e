//! Counters as OpenMetrics text (OpenMetrics 1.0), for Prometheus and its like.
//!
//! Made from the same reports as `show`, so the two never disagree. One family per counter of a port; drops are one
//! family with the reason as a label.

use std::collections::BTreeMap;
use std::fmt::Write;

use engine::PortCounters;

use crate::report::{Network, Outside, Port};

/// Media type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A number of a network or port, with its name and what it says.
type Gauge<T, N> = (&'static str, &'static str, fn(&T) -> N);

/// A family of samples under construction.
struct Family<'a> {
    out: &'a mut String,
    name: String,
    suffix: &'static str,
}

impl<'a> Family<'a> {
    fn counter(out: &'a mut String, name: &str, help: &str) -> Self {
        Self::new(out, name, "counter", "_total", help)
    }

    fn gauge(out: &'a mut String, name: &str, help: &str) -> Self {
        Self::new(out, name, "gauge", "", help)
    }

    fn new(out: &'a mut String, name: &str, kind: &str, suffix: &'static str, help: &str) -> Self {
        let name = format!("netherd_{name}");
        // Writing to a String cannot fail.
        let _ok = writeln!(out, "# TYPE {name} {kind}");
        let _ok = writeln!(out, "# HELP {name} {}", escape(help));
        Self { out, name, suffix }
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
        let _ok =
            writeln!(self.out, "{}{}{{{}}} {value}", self.name, self.suffix, labels.join(","));
    }
}

/// Backslash, quote and newline are escaped in label values and help texts.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The text for all networks of a daemon.
#[must_use]
pub fn text(networks: &[Network]) -> String {
    let mut out = String::new();
    let mut info = Family::new(&mut out, "build", "info", "_info", "The running program.");
    info.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    let per_network: [Gauge<Network, f64>; 4] = [
        ("network_uptime_seconds", "Seconds since the network was opened.", |it| it.uptime),
        ("network_ports", "Open ports.", |it| it.ports.len() as f64),
        ("network_macs", "Entries of the MAC table.", |it| it.macs.len() as f64),
        ("network_planned_guests", "Guests that have addresses in the plan.", |it| {
            it.planned.len() as f64
        }),
    ];
    for (name, help, value) in per_network {
        let mut family = Family::gauge(&mut out, name, help);
        for network in networks {
            family.sample(&[("network", &network.network)], value(network));
        }
    }
    let mut lost =
        Family::counter(&mut out, "capture_drops", "Frames that captures could not keep up with.");
    for network in networks {
        lost.sample(&[("network", &network.network)], network.capture_drops);
    }
    outside(&mut out, networks);
    ports(&mut out, networks);
    out.push_str("# EOF\n");
    out
}

/// Counters of one network's way out.
type Counters = fn(&Outside) -> &BTreeMap<String, u64>;

/// Gateways, their services, and the router.
fn outside(out: &mut String, networks: &[Network]) {
    let all: Vec<(&str, &Outside)> = networks
        .iter()
        .filter_map(|network| Some((network.network.as_str(), network.outside.as_ref()?)))
        .collect();
    let mut flows = Family::gauge(out, "gateway_flows", "Connections that the gateway carries.");
    for (network, outside) in &all {
        for (protocol, count) in
            [("tcp", outside.tcp), ("udp", outside.udp), ("echo", outside.echo)]
        {
            flows.sample(&[("network", network), ("protocol", protocol)], count);
        }
    }
    let mut ways =
        Family::gauge(out, "gateway_outside", "Whether the host has a default route, 1 or 0.");
    for (network, outside) in &all {
        for (family, has) in [("ipv4", outside.ipv4), ("ipv6", outside.ipv6)] {
            ways.sample(&[("network", network), ("family", family)], u8::from(has));
        }
    }
    let families: [(&str, &str, &str, Counters); 3] = [
        ("gateway", "reason", "What happened to packets at the gateway.", |it| &it.counters),
        ("service", "reason", "What happened to messages to the network's services.", |it| {
            &it.service_counters
        }),
        ("router", "counter", "What the router counted on the network.", |it| &it.router),
    ];
    for (name, label, help, counters) in families {
        let mut family = Family::counter(out, name, help);
        for (network, outside) in &all {
            for (counter, count) in counters(outside) {
                family.sample(&[("network", network), (label, counter)], count);
            }
        }
    }
}

fn ports(out: &mut String, networks: &[Network]) {
    let all: Vec<(&str, &Port)> = networks
        .iter()
        .flat_map(|network| network.ports.iter().map(|port| (network.network.as_str(), port)))
        .collect();
    let per_port: [Gauge<Port, usize>; 2] = [
        ("port_queue_bytes", "Bytes that wait for the port.", |it| it.queue_bytes),
        ("port_queue_frames", "Frames that wait for the port.", |it| it.queue_frames),
    ];
    for (name, help, value) in per_port {
        let mut family = Family::gauge(out, name, help);
        for (network, port) in &all {
            family.sample(&port_labels(network, port), value(port));
        }
    }
    for (name, help) in PortCounters::DESCRIPTIONS {
        let mut family = Family::counter(out, &format!("port_{name}"), help);
        for (network, port) in &all {
            let value = port.counters.get(*name).copied().unwrap_or(0);
            family.sample(&port_labels(network, port), value);
        }
    }
    let mut drops = Family::counter(out, "port_drops", "Frames dropped, by reason.");
    for (network, port) in &all {
        for (reason, value) in &port.drops {
            let mut labels = port_labels(network, port).to_vec();
            labels.push(("reason", reason));
            drops.sample(&labels, value);
        }
    }
    let mut kernel = Family::counter(
        out,
        "port_link_drops",
        "Frames that the kernel dropped before netherd could read them.",
    );
    for (network, port) in &all {
        if let Some(value) = port.link_drops {
            kernel.sample(&port_labels(network, port), value);
        }
    }
}

fn port_labels<'a>(network: &'a str, port: &'a Port) -> [(&'a str, &'a str); 3] {
    [("network", network), ("port", &port.name), ("link", &port.link)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_openmetrics() {
        let mut port = Port { name: "web".to_owned(), link: "tap".to_owned(), ..Port::default() };
        port.counters.insert("rx_frames".to_owned(), 12);
        port.drops.insert("mac-bound".to_owned(), 3);
        port.link_drops = Some(1);
        let odd = Port { name: "a\"b\\c\nd".to_owned(), ..Port::default() };
        let network = Network {
            network: "default".to_owned(),
            ports: vec![port, odd],
            uptime: 1.5,
            outside: Some(Outside {
                ipv4: true,
                tcp: 3,
                counters: [("udp-out".to_owned(), 7)].into(),
                service_counters: [("dns-answered".to_owned(), 8)].into(),
                router: [("forwarded".to_owned(), 9)].into(),
                ..Outside::default()
            }),
            ..Network::default()
        };
        let text = text(&[network]);
        for line in [
            "# TYPE netherd_port_rx_frames counter",
            "netherd_port_rx_frames_total{network=\"default\",port=\"web\",link=\"tap\"} 12",
            "netherd_port_drops_total{network=\"default\",port=\"web\",link=\"tap\",reason=\"mac-bound\"} 3",
            "netherd_port_link_drops_total{network=\"default\",port=\"web\",link=\"tap\"} 1",
            "netherd_gateway_flows{network=\"default\",protocol=\"tcp\"} 3",
            "netherd_gateway_outside{network=\"default\",family=\"ipv4\"} 1",
            "netherd_gateway_outside{network=\"default\",family=\"ipv6\"} 0",
            "netherd_gateway_total{network=\"default\",reason=\"udp-out\"} 7",
            "netherd_service_total{network=\"default\",reason=\"dns-answered\"} 8",
            "netherd_router_total{network=\"default\",counter=\"forwarded\"} 9",
            "netherd_network_ports{network=\"default\"} 2",
            "netherd_network_uptime_seconds{network=\"default\"} 1.5",
            "netherd_port_tx_bytes_total{network=\"default\",port=\"a\\\"b\\\\c\\nd\",link=\"\"} 0",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        // Every family is announced once, before its samples, and every line is a comment or a sample.
        let mut announced = std::collections::BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let name = rest.split(' ').next().unwrap_or_default().to_owned();
                assert!(announced.insert(name.clone()), "{name} is announced twice");
            } else if !line.starts_with('#') {
                let name = line.split('{').next().unwrap_or_default();
                let family = name.trim_end_matches("_total").trim_end_matches("_info");
                assert!(announced.contains(family), "{line} has no family");
            }
        }
    }
}
