//! Static routes: what is behind their stations is theirs, while they are here and the route is.

use std::net::IpAddr;

use wire::MacAddr;
use wire::build::{Builder, Ipv4, Ipv6};
use wire::parse::L3;

use super::*;
use crate::api::message::Page;
use crate::names;
use crate::report::{Bindings, Flows};

const PORTS: &str = "[network.lab.port.router]\nmac = \"02:00:00:00:00:0a\"\nipv4 = \"10.7.16.20\"\n\
                     ipv6 = \"fd07:16::20\"\n[network.lab.port.web]\nmac = \"02:00:00:00:00:0b\"\n\
                     ipv4 = \"10.7.16.21\"\nipv6 = \"fd07:16::21\"\n";
const ROUTES: &str = "route = [{ to = \"10.9.0.0/16\", via = \"10.7.16.20\" }, \
                      { to = \"fd09::/48\", via = \"fd07:16::20\" }]\n";

/// The networks of [`ROUTES`], as a listing of bindings has them.
const BEHIND: [&str; 2] = ["10.9.0.0/16", "fd09::/48"];
/// A station in each, `web`, and the host as guests know it.
const FAR: [&str; 2] = ["10.9.0.7", "fd09::7"];
const WEB: [&str; 2] = ["10.7.16.21", "fd07:16::21"];
const HOST: [&str; 2] = ["10.7.16.2", "fd07:16::2"];

fn text(routes: &str) -> String {
    let head = "[network.lab]\nsubnet = \"10.7.16.0/20\"\nprefix = \"fd07:16::/64\"\n";
    format!("{head}allow_host = [\"udp/9\"]\n{routes}{PORTS}")
}

/// A datagram to the network's router.
fn datagram(from: [u8; 6], source: &str, destination: &str) -> Vec<u8> {
    let router = names::gateway_mac(&"lab".parse().expect("a name"));
    let mut bytes = [0; 200];
    let frame = Builder::new(&mut bytes).ethernet(router, MacAddr(from));
    let ends = [source, destination].map(|it| it.parse::<IpAddr>().expect("an address"));
    let frame = match ends {
        [IpAddr::V4(source), IpAddr::V4(destination)] => {
            frame.ipv4(&Ipv4 { source, destination, ..Ipv4::default() })
        }
        [IpAddr::V6(source), IpAddr::V6(destination)] => {
            frame.ipv6(&Ipv6 { source, destination, ..Ipv6::default() })
        }
        _ => panic!("two versions"),
    };
    let len = frame.udp(4000, 9).payload(b"routed").finish().expect("room");
    bytes[..len].to_vec()
}

impl Stream {
    pub(super) fn write(&mut self, frame: &[u8]) {
        let len = u32::try_from(frame.len()).expect("short").to_be_bytes();
        self.0.write_all(&[&len[..], frame].concat()).expect("the daemon reads");
    }

    /// Source and destination of the next datagram of these tests.
    fn hears(&mut self) -> [IpAddr; 2] {
        loop {
            let frame = self.receive_any();
            let Ok(parsed) = wire::parse(&frame) else { continue };
            match parsed.l3 {
                _ if !frame.ends_with(b"routed") => {}
                Some(L3::Ipv4(ip)) => return [ip.source.into(), ip.destination.into()],
                Some(L3::Ipv6(ip)) => return [ip.source.into(), ip.destination.into()],
                _ => {}
            }
        }
    }
}

/// The prefixes that are bound to a port.
fn prefixes(client: &mut Client, port: &str) -> Vec<String> {
    let page = Page { port: Some(port.to_owned()), ..Page::default() };
    let table: Bindings = client.call(&Call::Bindings(page), &[]).expect("a table").value;
    let prefixes = table.rows.into_iter().filter(|row| row.kind == "prefix");
    let mut prefixes: Vec<String> = prefixes.map(|row| row.address).collect();
    prefixes.sort();
    prefixes
}

fn is_open(client: &mut Client, port: &str) -> bool {
    show(client).ports.iter().any(|it| it.name == port)
}

fn flows(client: &mut Client) -> usize {
    let flows: Flows = client.call(&Call::Flows(Page::default()), &[]).expect("a table").value;
    flows.total
}

fn troubles(client: &mut Client) -> Vec<String> {
    show(client).outside.expect("a way out").troubles
}

#[test]
fn what_a_static_route_leads_to_is_bound_to_the_port_of_its_station() {
    let root = Daemon::root("behind");
    let config = root.join("lab.toml");
    let write = |routes: &str| std::fs::write(&config, text(routes)).expect("writable");
    write(ROUTES);
    let daemon = Daemon::start_in(root.clone(), &format!("config={}", config.display())).ready();
    let mut client = daemon.client("lab");
    let reload = Call::Reload { config: None };
    let open =
        |name: &str| Stream::open(&daemon.path("lab").join("ports").join(name).join("stream"));
    let (mut router, mut web) = (open("router"), open("web"));
    until(&daemon, "both ports", || ["router", "web"].iter().all(|it| is_open(&mut client, it)));
    assert_eq!(prefixes(&mut client, "router"), BEHIND);
    for (far, near) in FAR.into_iter().zip(WEB) {
        let ends = [far, near].map(|it| it.parse::<IpAddr>().expect("an address"));
        router.write(&datagram(A, far, near));
        assert_eq!(web.hears(), ends);
        web.write(&datagram(B, near, far));
        assert_eq!(router.hears(), [ends[1], ends[0]]);
    }
    // Nobody else may speak for them.
    web.write(&datagram(B, FAR[0], WEB[0]));
    until(&daemon, "a violation", || {
        let ports = show(&mut client).ports;
        ports.iter().any(|it| it.name == "web" && it.drops.contains_key("ipv4-source"))
    });
    assert_eq!(troubles(&mut client), [""; 0]);

    // With the route goes what it let in, and what was open through it.
    for (far, host) in FAR.into_iter().zip(HOST) {
        router.write(&datagram(A, far, host));
    }
    until(&daemon, "two connections to the host", || flows(&mut client) == 2);
    write("");
    let _: Reloaded = client.call(&reload, &[]).expect("valid").value;
    assert_eq!(prefixes(&mut client, "router"), [""; 0]);
    assert_eq!(flows(&mut client), 0);
    write(ROUTES);
    let _: Reloaded = client.call(&reload, &[]).expect("valid").value;
    assert_eq!(prefixes(&mut client, "router"), BEHIND, "its station was here already");

    // Another station.
    write(&ROUTES.replace("10.7.16.20", "10.7.16.21"));
    let _: Reloaded = client.call(&reload, &[]).expect("valid").value;
    assert_eq!(prefixes(&mut client, "router"), BEHIND[1..]);
    assert_eq!(prefixes(&mut client, "web"), BEHIND[..1]);

    // The station goes, and comes again.
    drop(router);
    until(&daemon, "the port's end", || !is_open(&mut client, "router"));
    let page = Page::default();
    let all: Bindings = client.call(&Call::Bindings(page), &[]).expect("a table").value;
    assert!(all.rows.iter().all(|row| row.address != BEHIND[1]), "{all:?}");
    let _router = open("router");
    until(&daemon, "the port again", || is_open(&mut client, "router"));
    assert_eq!(prefixes(&mut client, "router"), BEHIND[1..]);
}

#[test]
fn a_route_that_carries_nothing_back_is_told() {
    let root = Daemon::root("untrusted");
    let config = root.join("lab.toml");
    let route = |to: &str, via: &str| format!("{{ to = \"{to}\", via = \"{via}\" }}");
    let routes = [
        route("10.9.0.0/16", "10.7.16.20"),
        route("10.9.1.0/24", "10.7.16.21"),
        route("0.0.0.0/0", "10.7.16.20"),
        route("10.10.0.0/16", "10.7.30.5"),
    ];
    let lines = format!("route = [{}]\n", routes.join(", "));
    std::fs::write(&config, text(&lines)).expect("writable");
    let daemon = Daemon::start_in(root.clone(), &format!("config={}", config.display())).ready();
    let mut client = daemon.client("lab");
    assert_eq!(troubles(&mut client), [""; 0], "nobody is here");
    let lab = daemon.path("lab");
    let mut first = Stream::open(&lab.join("stream"));
    first.write(&datagram([2, 0, 0, 0, 0, 0xc], "10.7.30.5", WEB[0]));
    let _router = Stream::open(&lab.join("ports/router/stream"));
    until(&daemon, "the route's owner", || prefixes_of_router(&mut client));
    let _web = Stream::open(&lab.join("ports/web/stream"));
    until(&daemon, "all three troubles", || troubles(&mut client).len() == 3);
    let said = troubles(&mut client);
    for (to, why) in [
        ("10.9.1.0/24 leads through port web", "another port or guest has a part of it"),
        ("0.0.0.0/0 leads through port router", "no port can have all addresses"),
        ("10.10.0.0/16 leads through port stream-1", "10.7.30.5 only by first use"),
    ] {
        assert!(said.iter().any(|it| it.contains(to) && it.contains(why)), "{to}: {said:?}");
    }
    assert_eq!(prefixes(&mut client, "stream-1"), [""; 0]);
}

fn prefixes_of_router(client: &mut Client) -> bool {
    is_open(client, "router") && prefixes(client, "router") == BEHIND[..1]
}
