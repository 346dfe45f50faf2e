//! Addresses by DHCP: real clients, what outlives the hypervisor, and who cannot use the addresses up.
#![forbid(unsafe_code)]

use std::os::unix::fs::PermissionsExt;

use e2e::{Lab, Person, Plug, User, need, until};
use rustix::process::Signal;
use serde_json::Value;

const NET: &str = "n";

/// Tells what the client got, and sets it up.
const SCRIPT: &str = "#!/bin/sh
[ \"$1\" = bound ] || exit 0
ip address replace \"$ip/$mask\" dev \"$interface\"
echo \"$ip\"
";

fn needs() -> Result<(), String> {
    ["busybox", "vde_plug2tap"].iter().try_for_each(|it| e2e::skip::program(it).map(drop))
}

/// A station of that MAC address, and the address that busybox's client got for it.
fn station(root: &Person<'_>, person: &Person<'_>, mac: &str) -> Result<(Plug, String), String> {
    let plug = Plug::new(root, &person.network(NET))?;
    plug.netns.ip(&["link", "set", "tap0", "address", mac]);
    plug.netns.ip(&["link", "set", "tap0", "up"]);
    let script = root.home().join("lease.sh");
    std::fs::write(&script, SCRIPT).expect("the lab is ours");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("the lab is ours");
    let client =
        plug.job(root, "busybox").args(["udhcpc", "-i", "tap0", "-n", "-q", "-t", "20", "-T", "1"]);
    let said = client.arg("-s").arg(script).run().ok();
    Ok((plug, said.trim().to_owned()))
}

fn leases(person: &Person<'_>) -> Vec<Value> {
    let said = person.netherd(["show", "leases", "--json", "--net", NET]).run().ok();
    serde_json::from_str(&said).expect("--json prints JSON")
}

/// The address that is leased to `mac`.
fn leased(person: &Person<'_>, mac: &str) -> Option<String> {
    let row = leases(person).into_iter().find(|row| row["mac"] == mac)?;
    row["address"].as_str().map(str::to_owned)
}

fn counted(person: &Person<'_>, name: &str) -> u64 {
    let said = person.netherd(["show", "counters", "--json", "--net", NET]).run().ok();
    let all: Value = serde_json::from_str(&said).expect("--json prints JSON");
    all["services"][name].as_u64().unwrap_or(0)
}

/// However it ended: a client that comes back has its address, and nobody else got it meanwhile.
#[test]
fn leases_survive_the_hypervisor() {
    need!(needs());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let root = lab.person(need!(User::root()));
    let mut daemon = person.up(NET);
    let (first, other) = ("06:4e:00:00:00:21", "06:4e:00:00:00:22");
    let (plug, address) = need!(station(&root, &person, first));
    assert_eq!(leased(&person, first), Some(address.clone()));
    assert_eq!((counted(&person, "dhcp-ack"), counted(&person, "dhcp-nak")), (1, 0));
    drop(plug);
    let file = person.home().join(format!("state/netherd/{NET}/leases.json"));
    until("the lease in its file", || {
        std::fs::read_to_string(&file).ok()?.contains(&address).then_some(())
    });
    for signal in [Signal::KILL, Signal::TERM] {
        let _ended = daemon.stop(signal);
        daemon = person.up(NET);
        assert_eq!(leased(&person, first), Some(address.clone()), "after {signal:?}");
        let (_other, different) = need!(station(&root, &person, other));
        assert_ne!(different, address, "after {signal:?}");
        let (_first, again) = need!(station(&root, &person, first));
        assert_eq!(again, address, "after {signal:?}");
        assert_eq!((counted(&person, "dhcp-ack"), counted(&person, "dhcp-nak")), (2, 0));
    }
}

/// A client that says it is hundreds pays itself: others get leases, and keep those that they have.
#[test]
fn one_guest_does_not_use_up_the_leases() {
    need!(needs());
    need!(e2e::skip::program("python3"));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let root = lab.person(need!(User::root()));
    let _daemon = person.up(NET);
    let (before, after) = ("06:4e:00:00:00:31", "06:4e:00:00:00:32");
    let (_before, kept) = need!(station(&root, &person, before));

    let greedy = "06:4e:00:00:00:33";
    let plug = need!(Plug::new(&root, &person.network(NET)));
    plug.netns.ip(&["link", "set", "tap0", "address", greedy]);
    plug.netns.ip(&["link", "set", "tap0", "up"]);
    let starve = || -> usize {
        let program = include_str!("programs/starve.py");
        let args = ["-c", program, "tap0", greedy, "300"];
        let said = plug.job(&root, "python3").args(args).run().ok();
        said.trim().parse().unwrap_or_else(|_| panic!("{said}"))
    };
    let of_it = || leases(&person).iter().filter(|row| row["mac"] == greedy).count();
    // The guard lets few of them pass.
    let given = starve();
    let port = person.show(NET).behind([0x06, 0x4e, 0, 0, 0, 0x33]).expect("learned");
    let dropped = port.dropped("dhcp-rate") + port.dropped("dhcp-starvation");
    assert!(dropped >= 280, "{given} of 300: {:#}", port.0["drops"]);
    assert_eq!(of_it(), given);
    // Without it the server hears the port forty times at once, and for its seventeenth lease takes one back.
    let set = ["guard", "set", port.name(), "32", "allow", "--net", NET];
    let _said = person.netherd(set).run().ok();
    let more = starve();
    assert!((17..=60).contains(&more), "{more} of 300");
    assert_eq!(of_it(), 16);
    assert!(counted(&person, "dhcp-reclaimed") as usize >= more - 16);
    assert!(counted(&person, "dhcp-limited") >= 240, "{}", counted(&person, "dhcp-limited"));
    assert_eq!(counted(&person, "dhcp-exhausted"), 0);

    let (_after, _) = need!(station(&root, &person, after));
    assert_eq!(leased(&person, before), Some(kept));
    assert!(leased(&person, after).is_some());
}

/// Debian's client with Debian's script, in a guest.
#[test]
fn dhclient_sets_up_a_guest() {
    need!(e2e::skip::namespaces());
    need!(e2e::skip::program("dhclient"));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let script = include_str!("programs/dhclient.sh");
    let run = ["run", "--net", NET, "--root", "--name", "client", "--", "sh", "-c", script];
    let mut guest = person.netherd(run).spawn();
    let said = guest.says("READY");
    let line = |word: &str| -> Vec<&str> {
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("{word} ")));
        line.unwrap_or_else(|| panic!("no {word} in {said}\n{}", guest.stderr()))
            .split_whitespace()
            .collect()
    };
    let report = person.show(NET);
    let gateway4 = report.0["gateway_ipv4"].as_str().expect("an address");
    let gateway6 = report.0["ipv6"]
        .as_str()
        .and_then(|net| net.strip_suffix("/64"))
        .map(|it| format!("{it}1"));
    let planned = report.port("client").ipv4();
    assert_eq!(line("NONE"), [""; 0]);
    assert_eq!(line("IPV4")[0].split('/').next(), Some(planned.as_str()));
    assert_eq!(line("ROUTE"), [gateway4]);
    // What the server of DHCP said, and then that of DHCPv6, which has no addresses to give.
    assert_eq!(
        line("RESOLV4").join(" "),
        format!("domain n.internal search n.internal. nameserver {gateway4}")
    );
    let resolv6 = line("RESOLV6").join(" ");
    assert!(resolv6.contains(&format!("nameserver {}", gateway6.expect("a /64"))), "{resolv6}");
    assert_eq!(line("PING"), ["1", "received"]);
    assert_eq!(counted(&person, "dhcp6-reply"), 1);
    // It gave the lease back at its end.
    assert_eq!(line("RELEASED"), [""; 0]);
    // Nobody answers that it did.
    until("the release", || (counted(&person, "dhcp-release") == 1).then_some(()));
    assert_eq!(counted(&person, "dhcp-ack"), 1);
    assert_eq!(leases(&person), [Value::Null; 0]);
}

/// The same client, with a station of which the network knows nothing beforehand.
#[test]
fn dhclient_takes_a_lease_for_a_station() {
    need!(needs());
    need!(e2e::skip::program("dhclient"));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let root = lab.person(need!(User::root()));
    let _daemon = person.up(NET);
    let mac = "06:4e:00:00:00:41";
    let plug = need!(Plug::new(&root, &person.network(NET)));
    plug.netns.ip(&["link", "set", "tap0", "address", mac]);
    plug.netns.ip(&["link", "set", "tap0", "up"]);
    // Debian's own script would write the machine's resolv.conf: a namespace of networks has the same files.
    let script = "#!/bin/sh\n[ \"$reason\" = BOUND ] || exit 0
ip address replace \"$new_ip_address/$new_subnet_mask\" dev \"$interface\"
ip route replace default via \"$new_routers\"\n";
    let [script_file, lease_file, pid_file] =
        ["script", "lease", "pid"].map(|name| root.home().join(name));
    std::fs::write(&script_file, script).expect("the lab is ours");
    std::fs::set_permissions(&script_file, PermissionsExt::from_mode(0o755)).expect("ours");
    std::fs::write(&lease_file, "").expect("the lab is ours");
    let client = |what: &str| {
        let job = plug.job(&root, "dhclient").args(["-4", what, "-lf"]).arg(&lease_file);
        let job = job.arg("-pf").arg(&pid_file).arg("-sf").arg(&script_file);
        job.arg("tap0").run().ok()
    };
    let _said = client("-1");
    let address = leased(&person, mac).expect("a lease");
    let planned = leases(&person).iter().any(|row| row["reserved"].is_string());
    assert!(!planned, "{:#?}", leases(&person));
    assert!(plug.netns.ip(&["-4", "address", "show", "dev", "tap0"]).contains(&address));
    let report = person.show(NET);
    let gateway = report.0["gateway_ipv4"].as_str().expect("an address");
    assert!(plug.netns.ip(&["route", "show", "default"]).contains(&format!("via {gateway} ")));
    assert_eq!((counted(&person, "dhcp-ack"), counted(&person, "dhcp-nak")), (1, 0));
    let _said = client("-r");
    until("the lease to be given back", || leased(&person, mac).is_none().then_some(()));
}
