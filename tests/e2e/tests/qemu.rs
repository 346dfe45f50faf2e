//! A machine under QEMU, with Linux's own virtio-net driver, on the `stream` and the `ctl` node.
#![forbid(unsafe_code)]

use e2e::report::Port;
use e2e::vm::{BOOT, machine};
use e2e::{Lab, Outside, Person, User, need};
use serde_json::Value;

const NET: &str = "n";

/// What `netherd args qemu` says is pasted as it is; the machine pings a guest, and is pinged by another.
fn boots(person: &Person<'_>, netdev: &[String], mac: &str, link: &str) -> Result<(), String> {
    let _daemon = person.up(NET);
    let _guest = person.guest(
        NET,
        "host",
        person.netherd(["run", "--net", NET, "--name", "host", "--", "sleep", "200"]),
    );
    let guest = person.port(NET, "host");
    let report = person.show(NET);
    let (ipv4, length4) = report.spare_ipv4(7);
    let (ipv6, length6) = report.spare_ipv6(7);
    let words = format!(
        "test.ip4={ipv4}/{length4} test.ip6={ipv6}/{length6} test.ping4={} test.ping6={}",
        guest.ipv4(),
        guest.ipv6()
    );
    let mut machine = machine(person, netdev, mac, &words)?.spawn();
    let said = machine.says_within(BOOT, "VM READY");
    assert!(said.contains(&format!("VM UP {mac}")), "{said}");
    assert!(said.contains("VM PINGED-4") && said.contains("VM PINGED-6"), "{said}");

    for address in [ipv4.to_string(), ipv6.to_string()] {
        let said = person
            .netherd([
                "run", "--net", NET, "--", "ping", "-c", "3", "-i", "0.3", "-W", "10", &address,
            ])
            .limit(BOOT)
            .run()
            .ok();
        assert!(said.contains(" 3 received"), "{said}");
    }
    let report = person.show(NET);
    let port = report.ports().find(|port| port.link() == link).expect("the machine's port");
    // Three pings, asked and answered, in both directions and both families.
    assert!(port.counter("rx_unicast") >= 12 && port.counter("tx_unicast") >= 12, "{:#}", port.0);
    assert_eq!(port.drops(), 0, "{:#}", port.0);
    Ok(())
}

fn pasted(person: &Person<'_>) -> Vec<String> {
    let said = person.netherd(["args", "qemu", "--net", NET, "--name", "vm"]).run().ok();
    said.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_machine_on_the_stream_node() {
    let _ = need!(e2e::vm::folder());
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    need!(boots(&person, &stream(&person), "06:4e:00:00:00:07", "stream"));
}

fn stream(person: &Person<'_>) -> [String; 2] {
    let node = person.network(NET).join("stream");
    let netdev = format!("stream,id=net,server=off,addr.type=unix,addr.path={}", node.display());
    ["-netdev".to_owned(), netdev]
}

#[test]
fn a_machine_on_the_vde_node() {
    let _ = need!(e2e::vm::folder());
    let help = std::process::Command::new("qemu-system-x86_64").args(["-netdev", "help"]).output();
    let help = String::from_utf8_lossy(&help.expect("QEMU runs").stdout).into_owned();
    if !help.lines().any(|line| line.trim() == "vde") {
        e2e::skip!("this QEMU is built without VDE");
    }
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let netdev = format!("vde,id=net,sock={}", person.network(NET).display());
    need!(boots(&person, &["-netdev".to_owned(), netdev], "06:4e:00:00:00:08", "vde"));
}

/// A machine that knows nothing learns everything from the network: Linux's own stack takes an address from an
/// advertisement, busybox a lease, rdnssd the name server; and it gets out.
#[test]
fn a_machine_is_a_client_of_dhcp_and_of_advertisements() {
    let _ = need!(e2e::vm::folder());
    need!(e2e::skip::program("openssl"));
    need!(e2e::skip::namespaces());
    let mut outside = need!(Outside::new());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let web = need!(outside.web(&lab));
    let _daemon = outside.network(&person, "");
    let job = outside.guest(&person, "web", &[], "exec sleep 600");
    let _guest = person.guest(NET, "web", job);
    let sum = e2e::bytes::make(&web.join("file"), 12 << 20);
    let sum = sum.trim();

    let mac = "06:4e:00:00:00:09";
    let urls = ["http://203.0.113.1/file", "http://[2001:db8:113::1]/file"];
    let words = format!("test.name=web test.fetch={}", urls.join(","));
    let mut machine = need!(machine(&person, &stream(&person), mac, &words)).spawn();
    let said = machine.says_within(BOOT, "VM READY");
    let word = |word: &str| -> Vec<&str> {
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("VM {word} ")));
        line.unwrap_or_else(|| panic!("no {word} in {said}")).split_whitespace().collect()
    };

    let report = person.show(NET);
    let gateway4 = report.0["gateway_ipv4"].as_str().expect("an address");
    let network6 =
        report.0["ipv6"].as_str().and_then(|net| net.strip_suffix("::/64")).expect("a /64");
    let gateway6 = format!("{network6}::1");
    let lease = word("LEASE");
    let (ipv4, length) = lease[0].split_once('/').expect("an address with its length");
    assert!(
        report.0["ipv4"].as_str().expect("a subnet").ends_with(&format!("/{length}")),
        "{said}"
    );
    assert_eq!(
        lease[1..].join(" "),
        format!(
            "router {gateway4} dns {gateway4} domain n.internal search n.internal mtu 1500 for 3600"
        )
    );
    // RFC 4291: the universal bit of 06 turned is 04.
    let ipv6 = format!("{network6}:44e:ff:fe00:9");
    assert_eq!(word("SLAAC"), [format!("{ipv6}/64")]);
    assert!(word("ROUTER")[0].starts_with("fe80::"), "{said}");
    assert_eq!(word("RDNSS"), [gateway6]);
    assert_eq!(word("AAAA"), [report.port("web").ipv6()]);
    for pinged in ["4", "6", "NAME"] {
        assert!(said.contains(&format!("VM PINGED-{pinged}")), "{said}");
    }
    for url in urls {
        assert!(said.contains(&format!("VM FETCHED {url} {sum}")), "{url}: {said}");
    }

    let port = report.ports().find(|port| port.link() == "stream").expect("the machine's port");
    assert_eq!(port.drops(), 0, "{:#}", port.0);
    let rows = |what: &str| -> Vec<Value> {
        let said = person.netherd(["show", what, "--json", "--net", NET]).run().ok();
        serde_json::from_str(&said).expect("--json prints JSON")
    };
    let leases = rows("leases");
    let [lease] = &leases[..] else { panic!("{leases:?}") };
    assert_eq!(
        [&lease["address"], &lease["mac"], &lease["port"], &lease["hostname"]],
        [ipv4, mac, port.name(), "machine"]
    );
    for (address, source) in [(ipv4, "lease"), (&ipv6, "first-use")] {
        let bound = rows("bindings").into_iter().find(|row| row["address"] == *address);
        let bound = bound.unwrap_or_else(|| panic!("{address} is nobody's"));
        assert_eq!([&bound["port"], &bound["source"]], [port.name(), source]);
    }
}

/// What `args qemu` prints is understood by the installed QEMU, and attaches it.
#[test]
fn what_args_prints_attaches_the_installed_qemu() {
    need!(e2e::skip::program("qemu-system-x86_64"));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = person.up(NET);
    let mut machine = person
        .job("qemu-system-x86_64")
        .args(["-machine", "q35,accel=tcg", "-m", "64", "-nodefaults", "-display", "none", "-S"])
        .args(pasted(&person))
        .spawn();
    let port = person.show_until(NET, "QEMU's port", |report| {
        assert!(machine.alive(), "QEMU refused the arguments: {}", machine.stderr());
        report.ports().next()
    });
    assert_eq!(port.0["uid"], person.user().uid);
}

/// QEMU gives every machine the same address unless it is told otherwise. The first one has it then; the second gets
/// nothing through in its name, its owner is told so, and with what `args qemu` prints both get on.
#[test]
fn two_machines_with_the_same_address() {
    let _ = need!(e2e::vm::folder());
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let daemon = person.up(NET);
    let job = person.netherd(["run", "--net", NET, "--name", "host", "--", "sleep", "300"]);
    let _guest = person.guest(NET, "host", job);
    let guest = person.port(NET, "host");
    let report = person.show(NET);
    let words = |number: u32| {
        let (ipv4, length4) = report.spare_ipv4(number);
        let (ipv6, length6) = report.spare_ipv6(number);
        let [ping4, ping6] = [guest.ipv4(), guest.ipv6()];
        format!(
            "test.ip4={ipv4}/{length4} test.ip6={ipv6}/{length6} test.ping4={ping4} test.ping6={ping6}"
        )
    };
    let usual = "52:54:00:12:34:56";
    let mut first = need!(machine(&person, &stream(&person), usual, &words(7))).spawn();
    let said = first.says_within(BOOT, "VM READY");
    assert!(said.contains("VM PINGED-4") && said.contains("VM PINGED-6"), "{said}");
    let [owner] = &streams(&person)[..] else { panic!("one machine") };

    let mut second = need!(machine(&person, &stream(&person), usual, &words(8))).spawn();
    let said = second.says_within(BOOT, "VM READY");
    assert!(said.contains("VM LOST-4") && said.contains("VM LOST-6"), "{said}");
    let ports = streams(&person);
    let [its, late] = &ports[..] else { panic!("two machines") };
    assert_eq!(its.name(), owner.name());
    assert_eq!(its.drops(), 0, "{:#}", its.0);
    assert_eq!(late.counter("rx_forwarded") + late.counter("rx_flooded"), 0, "{:#}", late.0);
    assert_eq!(late.dropped("mac-moved"), late.counter("rx_frames"), "{:#}", late.0);
    let told = daemon.stderr();
    assert!(
        told.lines().any(|line| [usual, owner.name(), late.name(), "args"]
            .iter()
            .all(|word| line.contains(word))),
        "{told}"
    );

    // The first one is none the worse for it.
    let (address, _) = report.spare_ipv4(7);
    let ping = ["ping", "-c", "3", "-i", "0.3", "-W", "10", &address.to_string()];
    let job = person.netherd(["run", "--net", NET, "--"]).args(ping).limit(BOOT);
    assert!(job.run().ok().contains(" 3 received"));

    // With the address that `args` gives it, the second gets on as well.
    drop(second);
    let pasted = pasted(&person);
    let mac = pasted.iter().find_map(|word| word.split_once("mac=")).expect("an address").1;
    let mac = mac.split(',').next().unwrap_or_default();
    assert_ne!(mac, usual);
    let mut second = need!(machine(&person, &stream(&person), mac, &words(8))).spawn();
    let said = second.says_within(BOOT, "VM READY");
    assert!(said.contains("VM PINGED-4") && said.contains("VM PINGED-6"), "{said}");
}

/// The ports of machines, the oldest first.
fn streams(person: &Person<'_>) -> Vec<Port> {
    person.show(NET).ports().filter(|port| port.link() == "stream").collect()
}
