//! Networks of one hypervisor, joined by its router, and stations that configure themselves.
#![forbid(unsafe_code)]

use std::time::Duration;

use e2e::{Lab, Person, Running, User, need};
use serde_json::Value;

const CONFIG: &str = "[network.one]\n[network.two]\nmtu = 9000\n[network.alone]\nrouted = false\n";

fn needs(programs: &[&str]) -> Result<(), String> {
    e2e::skip::namespaces()?;
    programs.iter().try_for_each(|program| e2e::skip::program(program).map(drop))
}

/// All networks of [`CONFIG`].
fn networks(person: &Person<'_>) -> Running {
    let file = person.home().join("netherd.toml");
    std::fs::write(&file, CONFIG).expect("the lab is ours");
    let daemon = person.serving("one", person.netherd(["up", "-c", e2e::outside::path(&file)]));
    for network in ["two", "alone"] {
        person.show_until(network, "the network", |_| Some(()));
    }
    daemon
}

fn stays(person: &Person<'_>, network: &str, name: &str) -> Running {
    let run = ["run", "--net", network, "--name", name, "--", "sleep", "600"];
    person.guest(network, name, person.netherd(run))
}

/// What a command in a guest says, however it ends.
fn inside(person: &Person<'_>, network: &str, name: &str, script: &str) -> String {
    let exec = person.netherd(["exec", name, "--net", network, "--", "sh", "-c", script]);
    let output = exec.limit(Duration::from_secs(60)).run();
    format!("{}{}", output.stdout, output.stderr)
}

#[test]
fn networks_of_one_hypervisor_are_routed_to_each_other() {
    need!(needs(&["ping", "iperf3"]));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = networks(&person);
    let _guests = [("one", "a"), ("two", "b"), ("alone", "c")].map(|(n, g)| stays(&person, n, g));
    let _server = person.netherd(["exec", "b", "--net", "two", "--", "iperf3", "-s"]).spawn();
    let (b, c) = (person.port("two", "b"), person.port("alone", "c"));
    let said = |script: &str| inside(&person, "one", "a", script);
    let gateway = person.show("one").0["gateway_ipv4"].as_str().map(str::to_owned).expect("one");
    for address in [b.ipv4(), b.ipv6()] {
        let answer = said(&format!("ping -c 2 -i 0.2 -W 5 {address}"));
        assert!(answer.contains("2 received") && answer.contains("ttl=63"), "{answer}");
        // The router is a station on the way, and says so when it is the last.
        let expired = said(&format!("ping -c 1 -t 1 -W 5 {address}"));
        let from = if address == b.ipv4() { &gateway } else { "::1" };
        assert!(expired.contains(from) && expired.to_lowercase().contains("exceeded"), "{expired}");
        for direction in ["", "-R", "-u -b 20M"] {
            let command = format!(
                "for i in 1 2 3 4 5 6 7 8 9; do iperf3 -c {address} -n 5M {direction} && exit; done"
            );
            let answer = said(&command);
            assert!(answer.contains("receiver"), "{answer}");
        }
    }
    // The wider network's packets do not fit here: its guest is told, and not the other way round.
    let a = person.port("one", "a");
    for address in [a.ipv4(), a.ipv6()] {
        let answer =
            inside(&person, "two", "b", &format!("ping -M do -c 1 -s 4000 -W 5 {address}"));
        assert!(answer.contains("mtu = 1500") || answer.contains("mtu=1500"), "{answer}");
    }
    // Who stays for himself is reached by nobody, is told so, and is announced to nobody.
    for address in [c.ipv4(), c.ipv6()] {
        let answer = said(&format!("ping -c 1 -W 5 {address}"));
        assert!(answer.contains("0 received") && answer.contains("+1 errors"), "{answer}");
    }
    let prefix = |network: &str| {
        let report = person.show(network);
        report.0["ipv6"].as_str().map(str::to_owned).expect("a network has a prefix")
    };
    e2e::until("the route to the other network", || {
        said("ip -6 route").contains(&prefix("two")).then_some(())
    });
    assert!(!said("ip -6 route").contains(&prefix("alone")));
    let routes = inside(&person, "alone", "c", "ip -6 route");
    assert!(!routes.contains(&prefix("one")) && !routes.contains(&prefix("two")), "{routes}");
    let counters = &person.show("one").0["outside"]["router"];
    assert!(counters["forwarded"].as_u64().unwrap_or(0) > 100, "{counters:#}");

    // Its routes, and whom it knows.
    let rows = |what: &str, network: &str| -> Vec<Value> {
        let said = person.netherd(["show", what, "--json", "--net", network]).run().ok();
        serde_json::from_str(&said).expect("--json prints JSON")
    };
    let routes = rows("routes", "one");
    for network in ["one", "two", "alone"] {
        let to = prefix(network);
        let route = routes.iter().find(|row| row["to"] == *to);
        let route = route.unwrap_or_else(|| panic!("no route to {to}: {routes:?}"));
        assert_eq!(
            [&route["via"], &route["network"], &route["source"]],
            [format!("network {network}").as_str(), network, "connected"]
        );
        let out =
            routes.iter().filter(|row| row["source"] == "uplink" && row["network"] == network);
        assert_eq!(out.count(), 2, "of IPv4 and IPv6: {routes:?}");
    }
    let neighbours = rows("neighbours", "two");
    for address in [b.ipv4(), b.ipv6()] {
        let known = neighbours.iter().find(|row| row["address"] == *address);
        let known = known.unwrap_or_else(|| panic!("{address}: {neighbours:?}"));
        assert_eq!([&known["port"], &known["state"]], ["b", "bound"], "{known:#}");
        assert_eq!(known["waiting"], 0);
    }
}

/// Addresses of the planned guest, and of one more station behind its port, from the server and by two clients.
#[test]
fn dhcp_clients_get_addresses_routes_and_name_servers() {
    need!(needs(&["busybox", "ip", "ping"]));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = person.up("n");
    let tell = "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\n\
         echo \"got $ip/$mask router $router dns $dns domain $domain mtu $mtu lease $lease\"\n\
         ip address add \"$ip/$mask\" dev \"$interface\"\n";
    let script = person.home().join("tell");
    std::fs::write(&script, tell).expect("the lab is ours");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("its mode");
    let run = ["run", "--net", "n", "--name", "web", "--macs", "1", "--", "sleep", "600"];
    let _guest = person.guest("n", "web", person.netherd(run));
    let planned = person.port("n", "web").ipv4();
    let gateway = person.show("n").0["gateway_ipv4"].as_str().map(str::to_owned).expect("one");
    let client = |device: &str| {
        let line = format!(
            "ip address flush dev {device} scope global && busybox udhcpc -i {device} -f -n -q -t 10 -T 1 -O mtu -s {} 2>&1",
            script.display()
        );
        inside(&person, "n", "web", &line)
    };
    let said = client("eth0");
    let rest = format!("router {gateway} dns {gateway} domain n.internal mtu 1500 lease 3600");
    assert!(said.contains(&format!("got {planned}/20 {rest}")), "{said}");
    // One more station, which no plan knows.
    let made = inside(
        &person,
        "n",
        "web",
        "ip link add link eth0 name more type macvlan && ip link set more up",
    );
    assert_eq!(made, "");
    let said = client("more");
    let leased = said.split_once("got ").and_then(|(_, rest)| rest.split('/').next());
    let leased = leased.unwrap_or_else(|| panic!("{said}")).to_owned();
    assert!(said.contains(&rest) && leased != planned, "{said}");
    let leases = person.netherd(["show", "leases", "--net", "n"]).run().ok();
    assert!(leases.contains(&leased), "{leases}");
    let bindings = person.netherd(["show", "bindings", "web", "--net", "n"]).run().ok();
    assert!(bindings.lines().any(|l| l.contains(&leased) && l.contains("lease")), "{bindings}");
    // The same again.
    assert!(client("more").contains(&format!("got {leased}/")));
    let ping = inside(&person, "n", "web", &format!("ping -I more -c 1 -W 5 {gateway}"));
    assert!(ping.contains("1 received"), "{ping}");
}
