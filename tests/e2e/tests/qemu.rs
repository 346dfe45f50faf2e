//! A machine under QEMU, with Linux's own virtio-net driver, on the `stream` and the `ctl` node.
#![forbid(unsafe_code)]

use e2e::vm::{BOOT, Wishes, machine};
use e2e::{Lab, Person, User, need};

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
    let wishes = Wishes {
        ipv4: format!("{ipv4}/{length4}"),
        ipv6: format!("{ipv6}/{length6}"),
        ping_ipv4: guest.ipv4(),
        ping_ipv6: guest.ipv6(),
    };
    let mut machine = machine(person, netdev, mac, &wishes)?.spawn();
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
    let node = person.network(NET).join("stream");
    let netdev = format!("stream,id=net,server=off,addr.type=unix,addr.path={}", node.display());
    need!(boots(&person, &["-netdev".to_owned(), netdev], "06:4e:00:00:00:07", "stream"));
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
