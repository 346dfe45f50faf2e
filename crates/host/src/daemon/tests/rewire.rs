//! The way out changes while everything runs.

use std::net::{TcpListener, TcpStream};

use super::*;
use crate::api::message::{Page, Published};
use crate::report::{Leases, Publishes};

/// The daemon with this text as its configuration, and what writes another.
fn configured(name: &str, text: &str) -> (Daemon, impl Fn(&str) + use<>) {
    let root = Daemon::root(name);
    let config = root.join("netherd.toml");
    let arguments = format!("config={}", config.display());
    let write = move |text: &str| {
        let text = format!("{text}[network.a.port.web]\nmac = \"02:00:5e:00:53:01\"\n");
        std::fs::write(&config, text).expect("writable");
    };
    write(text);
    (Daemon::start_in(root, &arguments).ready(), write)
}

/// A network without a way out, that has these services.
fn alone(services: &str) -> String {
    let services = ["dhcp", "advertise", "dhcpv6", "dns"]
        .map(|name| format!("{name} = {}\n", services.split(' ').any(|on| on == name)))
        .concat();
    format!("[network.a]\nuplink = \"none\"\nsubnet = \"10.7.16.0/20\"\n{services}")
}

#[test]
fn a_gateway_that_a_reload_brings_has_the_leases() {
    let (mut daemon, write) = configured("brought", &alone(""));
    let mut client = daemon.client("a");
    let reload = Call::Reload { config: None };
    // Leases of a time when there was a gateway.
    let kept = daemon.root.join("state/netherd/a/leases.json");
    let lease = "{\"version\": 1, \"network\": \"a\", \"leases\": [{\"address\": \"10.7.24.1\", \"mac\": \
                 [2, 0, 0, 0, 0, 9], \"client_id\": [1, 2, 0, 0, 0, 0, 9], \"host_name\": null, \
                 \"until\": 4000000000}]}";
    std::fs::write(&kept, lease).expect("a state directory");
    let leased = |client: &mut Client| {
        let leases: Leases = client.call(&Call::Leases(Page::default()), &[]).expect("all").value;
        leases.rows.iter().map(|lease| lease.address.clone()).collect::<Vec<_>>()
    };

    write(&alone("dhcp dns"));
    let reloaded: Reloaded = client.call(&reload, &[]).expect("valid").value;
    let says = |word: &str| reloaded.changes.iter().any(|change| change.contains(word));
    assert!(says("now has a gateway"), "{reloaded:?}");
    assert_eq!(leased(&mut client), ["10.7.24.1"]);

    // Away and back again: nothing that was kept is lost.
    for services in ["", "dhcp"] {
        write(&alone(services));
        let _: Reloaded = client.call(&reload, &[]).expect("valid").value;
    }
    assert_eq!(leased(&mut client), ["10.7.24.1"]);
    let _: Nothing = client.call(&Call::Down {}, &[]).expect("an answer before the end").value;
    assert_eq!(daemon.end(), Some(0), "{}", daemon.log());
    let text = std::fs::read_to_string(&kept).expect("still there");
    assert!(text.contains("10.7.24.1"), "{text}");
}

/// A gateway goes and comes with an MTU that it can work with.
#[test]
fn a_gateway_that_a_reload_brings_back_has_guests_and_forwards() {
    let with = |mtu: u16| format!("[network.a]\nmtu = {mtu}\n");
    let (daemon, write) = configured("forwards", &with(1500));
    let mut client = daemon.client("a");
    let reload = Call::Reload { config: None };
    let _web = Stream::open(&daemon.path("a").join("ports/web/stream"));
    until(&daemon, "the port", || show(&mut client).ports.len() == 1);
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its own");
    let publish = Call::Publish { forward: format!("{}:web:80", free.port()) };
    let _: Published = client.call(&publish, &[]).expect("free").value;
    let open = |client: &mut Client| {
        let all: Publishes = client.call(&Call::Published {}, &[]).expect("all").value;
        let [only] = &all.rows[..] else { panic!("{all:?}") };
        (only.present, TcpStream::connect(free).is_ok())
    };
    assert_eq!(open(&mut client), (true, true));
    for (mtu, is_open) in [(500, false), (1500, true)] {
        write(&with(mtu));
        let _: Reloaded = client.call(&reload, &[]).expect("nobody has the MTU").value;
        assert_eq!(open(&mut client), (is_open, is_open), "{mtu}");
    }
}
