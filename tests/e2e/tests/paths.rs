//! What guests learn of the path to the outside: how long it is, and how long its packets may be.
#![forbid(unsafe_code)]

use e2e::outside::{FAR, NET, inside, stays};
use e2e::{Lab, Netns, Outside, User, need};

/// Behind the far end, by a router more.
const BEYOND: [&str; 2] = ["198.51.100.2", "2001:db8:51::2"];

fn needs(programs: &[&str]) -> Result<(), String> {
    e2e::skip::namespaces()?;
    programs.iter().try_for_each(|program| e2e::skip::program(program).map(drop))
}

fn program(lab: &Lab, name: &str, text: &str) -> String {
    let path = lab.root().join(name);
    std::fs::write(&path, text).expect("the lab is ours");
    format!("{}", path.display())
}

/// A connected UDP socket of a guest learns how long its packets may be, from the host's own interface, and from what the
/// host has learned of the path.
#[test]
fn a_connected_socket_learns_the_path_mtu() {
    need!(needs(&["python3"]));
    for (more, size) in [("", "1450"), ("mtu = 65520", "5000")] {
        let mut outside = need!(Outside::new());
        let lab = Lab::new();
        let person = lab.person(need!(User::first()));
        let narrow = program(&lab, "narrow.py", include_str!("programs/narrow.py"));
        let who = program(&lab, "says_who.py", include_str!("programs/says_who.py"));
        outside.start("python3", &[&who, "udp", "5300"]);
        outside.listens(5300);
        outside.host.ip(&["link", "set", "up0", "mtu", "1400"]);
        outside.far.ip(&["link", "set", "down0", "mtu", "1400"]);
        let _daemon = outside.network(&person, more);
        let _guest = stays(&outside, &person, "web");
        for address in FAR {
            let said = inside(&person, "web", &format!("python3 {narrow} {address} 5300 {size}"));
            assert_eq!(said, "answered at 1400\n", "{address} {more}");
        }
        // A path that is narrower than the host's interface.
        for (family, address) in ["-4", "-6"].into_iter().zip(FAR) {
            let route = ["route", "add", address, "dev", "up0", "mtu", "1300"];
            outside.host.ip(&[&[family][..], &route].concat());
        }
        let _second = stays(&outside, &person, "second");
        for address in FAR {
            let asks = format!("python3 {narrow} {address} 5300 {size}");
            let said = inside(&person, "second", &asks);
            assert_eq!(said, "answered at 1300\n", "{address} {more}");
        }
    }
}

/// Router and gateway are the first hop, and each router of the outside is one more.
#[test]
fn every_router_on_the_path_is_a_hop() {
    need!(needs(&["python3", "ping"]));
    let outside = need!(Outside::new());
    let beyond = need!(Netns::new("b"));
    let pair = ["link", "add", "out0", "type", "veth", "peer", "name", "in0", "netns"];
    outside.far.ip(&[&pair[..], &[beyond.name()]].concat());
    for (netns, device, last) in [(&outside.far, "out0", "1"), (&beyond, "in0", "2")] {
        netns.ip(&["address", "add", &format!("198.51.100.{last}/24"), "dev", device]);
        netns.ip(&["address", "add", &format!("2001:db8:51::{last}/64"), "dev", device, "nodad"]);
        netns.ip(&["link", "set", device, "up"]);
    }
    beyond.ip(&["route", "add", "default", "via", "198.51.100.1"]);
    beyond.ip(&["-6", "route", "add", "default", "via", "2001:db8:51::1"]);
    let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward
                   echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
    let set = outside.far.command("sh").args(["-c", forward]).status().expect("sh runs");
    assert!(set.success());

    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = outside.network(&person, "");
    let _guest = stays(&outside, &person, "web");
    let trace = program(&lab, "trace.py", include_str!("programs/trace.py"));
    let report = person.show(NET).0;
    let gateways = report["outside"]["router_addresses"].as_array().expect("two").clone();
    for ((gateway, far), beyond) in gateways.iter().zip(FAR).zip(BEYOND) {
        let gateway = gateway.as_str().expect("an address");
        let said = inside(&person, "web", &format!("python3 {trace} {beyond} 3"));
        assert_eq!(said, format!("{gateway}\n{far}\n{beyond}\n"));
        for (hops, from) in [("1", gateway), ("2", far)] {
            let said = inside(&person, "web", &format!("ping -c 1 -W 5 -t {hops} {beyond}"));
            let told = said.lines().any(|line| line.starts_with(&format!("From {from}")));
            assert!(told && said.contains("xceeded"), "{hops}: {said}");
        }
        let said = inside(&person, "web", &format!("ping -c 1 -W 5 -t 3 {beyond}"));
        assert!(said.contains("1 received"), "{said}");
    }
}

/// An MTU with which there is no IPv6: guests start, and have IPv4.
#[test]
fn a_network_too_narrow_for_ipv6_has_none() {
    need!(needs(&["ping"]));
    for mtu in ["68", "1000", "1279", "1280"] {
        let lab = Lab::new();
        let person = lab.person(need!(User::first()));
        let file = person.home().join("n.toml");
        let text = format!("[network.{NET}]\nmtu = {mtu}\n");
        std::fs::write(&file, text).expect("the lab is ours");
        let _daemon = person.serving(NET, person.netherd(["up", "-c"]).arg(&file));
        let look = "ip -o link show dev eth0 | sed 's/.* mtu \\([0-9]*\\) .*/\\1/'
                    ip -4 -o address show dev eth0 | wc -l
                    ip -6 -o address show dev eth0 | wc -l";
        let run = person.netherd(["run", "--net", NET, "--", "sh", "-c", look]);
        let families = if mtu == "1280" { "1\n2\n" } else { "1\n0\n" };
        assert_eq!(run.run().ok(), format!("{mtu}\n{families}"));
        let report = person.show(NET).0;
        assert_eq!(report["ipv6"] == "", mtu != "1280", "{mtu}: {report:#}");
    }
}
