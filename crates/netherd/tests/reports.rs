//! What `ls` and `show` print, character for character.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use host::report::{Filter, Flow, Lease, Network, NetworkSummary, Outside, Planned, Port, Rates};
use netherd::output::style::Style;
use netherd::output::{network, tables};

fn map(entries: &[(&str, u64)]) -> BTreeMap<String, u64> {
    entries.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

/// A guest of `run`.
fn web() -> Port {
    Port {
        name: "web".to_owned(),
        link: "tap".to_owned(),
        guest: Some("run".to_owned()),
        init_pid: Some(4242),
        macs: strings(&["02:00:00:00:00:01"]),
        ipv4: strings(&["10.84.16.2/20"]),
        ipv6: strings(&["fd00::1/64", "fe80::ff:fe00:1"]),
        uid: Some(1000),
        user: Some("alice".to_owned()),
        pid: Some(4240),
        vlan: "access 1".to_owned(),
        offloads: strings(&["csum", "tso4"]),
        uptime: 75.0,
        rates: Rates { rx_frames: 12.0, rx_bits: 1_234_000.0, tx_frames: 0.0, tx_bits: 0.0 },
        queue_frames: 3,
        queue_bytes: 4096,
        counters: map(&[("drop.runt", 1), ("rx_frames", 120), ("tx_frames", 80)]),
        drops: map(&[("mac-bound", 2), ("runt", 1)]),
        ..Port::default()
    }
}

/// A client of the stream node, of a user without a name.
fn machine() -> Port {
    Port {
        name: "stream-1".to_owned(),
        link: "stream".to_owned(),
        node: Some("stream".to_owned()),
        uid: Some(4000),
        description: Some("vde_plug: user=bob PID=7".to_owned()),
        vlan: "access 1".to_owned(),
        counters: map(&[("rx_frames", 0), ("tx_frames", 7)]),
        isolated: true,
        link_drops: Some(5),
        ..Port::default()
    }
}

fn report() -> Network {
    Network {
        network: "default".to_owned(),
        directory: "/run/user/1000/netherd/default".into(),
        pid: 99,
        version: "0.1.0".to_owned(),
        mode: "switch".to_owned(),
        mtu: 1500,
        ipv4: "10.84.16.0/20".to_owned(),
        ipv6: "fd00::/64".to_owned(),
        uptime: 3_700.0,
        nodes: strings(&["stream", "ctl", "api"]),
        ports: vec![web(), machine()],
        ..Network::default()
    }
}

#[test]
fn a_network_is_a_heading_a_table_and_what_was_dropped() {
    let expected = "\
network default, switch with MTU 1500, up 1 h 1 min
  addresses  10.84.16.0/20 fd00::/64
  directory  /run/user/1000/netherd/default
  nodes      stream ctl api
  process    99 (netherd 0.1.0)

PORT      LINK    MAC                IPV4        IPV6        USER    PID  RX FRAMES  TX FRAMES      RX RATE  TX RATE  DROPPED
web       tap     02:00:00:00:00:01  10.84.16.2  fd00::1 +1  alice  4240        120         80  1.23 Mbit/s  0 bit/s        3
stream-1  stream  -                  -           -           4000      -          0          7      0 bit/s  0 bit/s        0

dropped frames, by reason
  web: mac-bound 2, runt 1
";
    assert_eq!(network::network(&report(), Style::PLAIN), expected);
}

#[test]
fn guests_that_are_away_and_missed_captures_are_told() {
    let report = Network {
        network: "lab".to_owned(),
        mode: "hub".to_owned(),
        mtu: 9000,
        stay: true,
        planned: vec![Planned {
            guest: "db".to_owned(),
            mac: "02:00:00:00:00:02".to_owned(),
            ipv4: "10.0.0.9".to_owned(),
            ipv6: "fd00::2".to_owned(),
            present: false,
        }],
        capture_drops: 4,
        ..Network::default()
    };
    let text = network::network(&report, Style::PLAIN);
    assert!(text.starts_with("network lab, hub with MTU 9000, up 0 s, stays\n"), "{text}");
    assert!(text.contains("  kept       addresses of 1 guest that is away\n"), "{text}");
    let end = "
no ports

captures missed 4 frames
";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn a_port_has_every_counter_and_the_sentence_for_every_drop() {
    let expected = "\
port web of network default
  link       tap
  offloads   csum tso4
  guest      run, init 4242
  opened by  alice (uid 1000), process 4240
  up         1 min 15 s
  MAC        02:00:00:00:00:01
  IPv4       10.84.16.2/20
  IPv6       fd00::1/64 fe80::ff:fe00:1
  VLAN       access 1
  queue      3 frames, 4.00 KiB
  RX rate    12 frames/s, 1.23 Mbit/s
  TX rate    0 frames/s, 0 bit/s

COUNTER    VALUE
rx_frames    120
tx_frames     80

DROPPED    FRAMES  WHY
mac-bound       2  The source address is bound to another port, or reserved for a guest that is away.
runt            1  The frame is shorter than an Ethernet header, or than its VLAN tag.
";
    assert_eq!(network::port(&report(), &web(), Style::PLAIN), expected);
}

#[test]
fn a_port_of_a_client_says_by_which_node_it_came() {
    let text = network::port(&report(), &machine(), Style::PLAIN);
    for line in [
        "  node       stream\n",
        "  opened by  uid 4000\n",
        "  says it is vde_plug: user=bob PID=7\n",
        "  isolated   yes\n",
        "link_drops      5\n",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    assert!(!text.contains("DROPPED"), "{text}");
}

#[test]
fn networks_are_listed_with_their_directory() {
    let networks = [NetworkSummary {
        network: "default".to_owned(),
        directory: "/run/user/1000/netherd/default".into(),
        ports: 2,
        guests: 1,
        ipv4: "10.84.16.0/20".to_owned(),
        ipv6: "fd00::/64".to_owned(),
        pid: 99,
        uptime: 5.0,
    }];
    let expected = "\
NETWORK  PORTS  GUESTS  IPV4           IPV6       PID  UP   DIRECTORY
default      2       1  10.84.16.0/20  fd00::/64   99  5 s  /run/user/1000/netherd/default
";
    assert_eq!(network::list(&networks, Style::PLAIN), expected);
    assert_eq!(network::list(&[], Style::PLAIN), "no networks are up\n");
}

#[test]
fn a_network_says_what_leads_out_and_what_does_not() {
    let outside = Outside {
        uplink: "nat".to_owned(),
        ipv4: true,
        ping_refused: Some("net.ipv4.ping_group_range leaves this user out".to_owned()),
        resolvers: strings(&["192.0.2.53"]),
        services: strings(&["dhcp", "dns"]),
        domain: "default.internal".to_owned(),
        flows: 3,
        flows_max: 16384,
        troubles: strings(&["The host's resolver does not answer."]),
        routed: true,
        router_addresses: strings(&["10.84.16.1", "fd00::1"]),
        router: map(&[
            ("answered", 3),
            ("drop.hairpin", 2),
            ("drop.no-route", 1),
            ("forwarded", 120),
            ("received", 126),
        ]),
        ..Outside::default()
    };
    let text = network::network(&Network { outside: Some(outside), ..report() }, Style::PLAIN);
    let expected = "\
  uplink     nat, IPv4, 3 of at most 16384 connections
  ping       does not reach outside: net.ipv4.ping_group_range leaves this user out
  services   dhcp dns
  names      GUEST.default.internal; others are asked of 192.0.2.53
  router     10.84.16.1 fd00::1, 120 forwarded, 0 to the gateway, 3 answered; dropped: hairpin 2, no-route 1
  trouble    The host's resolver does not answer.
";
    assert!(text.contains(expected), "{text}");
    let none = Outside { uplink: "none".to_owned(), ..Outside::default() };
    let text = network::network(&Network { outside: Some(none), ..report() }, Style::PLAIN);
    assert!(text.contains("  uplink     none\n  directory"), "{text}");
    let alone = Outside { router_addresses: strings(&["10.84.16.1"]), ..Outside::default() };
    let text = network::network(&Network { outside: Some(alone), ..report() }, Style::PLAIN);
    let expected = "  router     10.84.16.1, for this network only, 0 forwarded, 0 to the gateway, 0 answered\n";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn the_tables_fit_a_terminal() {
    let flow = |protocol: &str, guest: &str, outside: &str, direction: &str| Flow {
        protocol: protocol.to_owned(),
        port: "web".to_owned(),
        guest: guest.to_owned(),
        outside: outside.to_owned(),
        direction: direction.to_owned(),
        state: "open".to_owned(),
        idle: 61.0,
        bytes_out: 1 << 20,
        bytes_in: 1536,
        ..Flow::default()
    };
    let flows = [
        flow("tcp", "10.84.16.2:51820", "192.0.2.1:443", "out"),
        flow("udp", "[fd00::1]:53", "[2001:db8::1]:40000", "in"),
        Flow { state: "closing".to_owned(), ..flow("icmp", "10.84.16.2", "192.0.2.1", "out") },
    ];
    let expected = "\
PROTO  GUEST          OUTSIDE              STATE     IDLE       OUT        IN
tcp    web:51820  ->  192.0.2.1:443        open   1 min 1 s  1.00 MiB  1.50 KiB
udp    web:53     <-  [2001:db8::1]:40000  open   1 min 1 s  1.00 MiB  1.50 KiB
icmp   web        ->  192.0.2.1            closing 1 min 1 s  1.00 MiB  1.50 KiB
";
    let text = tables::flows(&flows, Style::PLAIN);
    let words = |text: &str| -> Vec<Vec<String>> {
        let line = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        text.lines().map(line).collect()
    };
    assert_eq!(words(&text), words(expected), "{text}");
    assert!(text.lines().all(|line| line.len() <= 100), "{text}");

    // What a client calls itself is not obeyed by the terminal.
    let lease = Lease {
        address: "10.84.24.1".to_owned(),
        mac: "02:00:00:00:00:01".to_owned(),
        hostname: Some("x\u{1b}[2J y".to_owned()),
        left: 3600.0,
        ..Lease::default()
    };
    let text = tables::leases(&[lease], Style::PLAIN);
    assert!(text.contains("x?[2J?y") && text.contains("1 h"), "{text}");
    assert_eq!(tables::routes(&[], Style::PLAIN), "no routes\n");
    assert_eq!(tables::neighbours(&[], Style::PLAIN), "no neighbours\n");
    assert_eq!(tables::bindings(&[], Style::PLAIN), "no bindings\n");
    assert_eq!(tables::forwards(&[], Style::PLAIN), "no forwards\n");
    assert_eq!(tables::filters(&[], Style::PLAIN), "no filters\n");
    let filter = Filter { r#in: None, out: Some("arp or tcp".to_owned()) };
    let port = Port { filter, drops: map(&[("filter-in", 1), ("filter-out", 7)]), ..web() };
    let expected = "\
PORT  DIRECTION  DROPPED  FILTER
web   out              7  arp or tcp
";
    let ports = [port];
    assert_eq!(tables::filters(&tables::filter_rows(&ports), Style::PLAIN), expected);
}
