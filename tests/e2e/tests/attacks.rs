//! A malicious guest, and a malicious client of a node: whatever they send, the others' traffic goes on, nothing of
//! it reaches them in a false name, and it is counted by the check that it failed.
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use e2e::client::frame::mac;
use e2e::report::mac_text;
use e2e::{Lab, Person, Report, Running, User, need, until, until_for, until_ok};
use engine::Reason;
use rustix::process::Signal;

const NET: &str = "n";

/// Every reason that the attacks are to be refused for, whoever sends them.
const REFUSED: &[Reason] = &[
    Reason::BadSource,
    Reason::ArpSenderIp,
    Reason::ArpSenderMac,
    Reason::ArpGratuitous,
    Reason::ArpReply,
    Reason::ArpFormat,
    Reason::ArpOperation,
    Reason::ArpRate,
    Reason::Ipv4Source,
    Reason::Ipv4SourceKind,
    Reason::Ipv4Checksum,
    Reason::Ipv4Header,
    Reason::Ipv4Option,
    Reason::Metadata,
    Reason::Destination,
    Reason::CastMismatch,
    Reason::TtlZero,
    Reason::FragmentTiny,
    Reason::FragmentOverlap,
    Reason::FragmentOrphan,
    Reason::FragmentGuarded,
    Reason::IcmpKind,
    Reason::TcpFlags,
    Reason::L4Header,
    Reason::DhcpServer,
    Reason::DhcpClient,
    Reason::DhcpRelease,
    Reason::DhcpStarvation,
    Reason::Ipv6Source,
    Reason::Ipv6SourceKind,
    Reason::Ipv6Routing,
    Reason::Ipv6Option,
    Reason::Ipv6Chain,
    Reason::Ipv6Hidden,
    Reason::RouterAdvertisement,
    Reason::NdFragment,
    Reason::NeighbourAdvertisement,
    Reason::NeighbourSolicitation,
    Reason::NdHopLimit,
    Reason::Icmpv6Kind,
    Reason::MldQuery,
    Reason::Dhcpv6Server,
    Reason::Dhcpv6Starvation,
    Reason::DuplicateRate,
    Reason::IgmpQuery,
    Reason::IgmpFormat,
    Reason::VlanTagged,
    Reason::VlanDouble,
    Reason::Llc,
    Reason::Encapsulation,
    Reason::Ethertype,
    Reason::Bpdu,
    Reason::ReservedGroup,
    Reason::ControlGroup,
    Reason::ControlEthertype,
    Reason::NdRate,
    Reason::StormBroadcast,
    Reason::StormUnknown,
];

fn program() -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/programs/attacks.py")
        .to_str()
        .map(|path| std::fs::read_to_string(path).expect("the program is beside this test"))
        .expect("the path is text")
}

fn needs() -> Result<(), String> {
    e2e::skip::namespaces()?;
    for program in ["python3", "ping", "ip", "iperf3"] {
        e2e::skip::program(program)?;
    }
    Ok(())
}

/// Two honest guests, one of which pings the other in both families until it is stopped.
struct Victims {
    alice: Running,
    bob: Vec<Running>,
}

/// What the attacker is told about himself and the others, as the program takes it.
struct Targets {
    victim: String,
    spare: String,
}

impl Victims {
    fn begin(person: &Person<'_>) -> (Self, Targets) {
        let alice = person.guest(
            NET,
            "alice",
            person.netherd(["run", "--net", NET, "--name", "alice", "--", "iperf3", "-s"]),
        );
        let victim = person.port(NET, "alice");
        let mut bob = Vec::new();
        for (name, address) in [("bob4", victim.ipv4()), ("bob6", victim.ipv6())] {
            let ping = ["ping", "-i", "0.05", "-W", "2", &address];
            let mut running = person.guest(
                NET,
                name,
                person.netherd(["run", "--net", NET, "--name", name, "--"]).args(ping),
            );
            running.says("icmp_seq=5");
            bob.push(running);
        }
        let report = person.show(NET);
        let gateway_mac = host::names::gateway_mac(&NET.parse().expect("a name"));
        let (gateway4, gateway6) = gateway(&report);
        let targets = Targets {
            victim: format!(
                "{} {} {} {gateway_mac} {gateway4} {gateway6}",
                mac_text(victim.mac()),
                victim.ipv4(),
                victim.ipv6(),
            ),
            spare: {
                let [a, b, c, _] = report.spare_ipv4(300).0.octets();
                format!("{a}.{b}.{c}")
            },
        };
        (Self { alice, bob }, targets)
    }

    /// The pings went on all the time, and a transfer goes through.
    fn end(self, person: &Person<'_>) {
        for bob in self.bob {
            let said = bob.stop(Signal::INT);
            let line = said.stdout.lines().find(|line| line.contains("packets transmitted"));
            let line = line.unwrap_or_else(|| panic!("no summary: {}", said.account()));
            let number = |word: &str| -> u64 {
                let before = line.split(word).next().unwrap_or_default();
                before.rsplit(' ').next().and_then(|it| it.parse().ok()).unwrap_or_default()
            };
            let (sent, received) = (number(" packets transmitted"), number(" received"));
            assert!(sent > 20 && received * 10 >= sent * 9, "{}", said.account());
            assert!(!said.stdout.contains("Redirect"), "{}", said.account());
        }
        let address = person.port(NET, "alice").ipv4();
        let transfer = ["run", "--net", NET, "--", "iperf3", "-c", &address, "-n", "5M"];
        assert!(person.netherd(transfer).run().ok().contains("receiver"));
        drop(self.alice);
    }
}

fn gateway(report: &Report) -> (Ipv4Addr, Ipv6Addr) {
    let base = |name: &str| {
        let text = report.0[name].as_str().unwrap_or_default();
        text.split('/').next().unwrap_or_default().to_owned()
    };
    let v4: Ipv4Addr = base("ipv4").parse().expect("a subnet");
    let v6: Ipv6Addr = base("ipv6").parse().expect("a prefix");
    (Ipv4Addr::from_bits(v4.to_bits() + 1), Ipv6Addr::from_bits(v6.to_bits() + 1))
}

/// No table has grown beyond what Alice, two who ping, and the attacker may have.
fn within_bounds(person: &Person<'_>) {
    let report = person.show(NET);
    assert!(report.macs() < 32, "{} MAC addresses", report.macs());
    let said = person.netherd(["show", "bindings", "--net", NET, "--json"]).run().ok();
    let rows: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let bindings = rows.as_array().map_or(usize::MAX, Vec::len);
    assert!(bindings < 64, "{bindings} bindings");
}

/// Waits until the attacks are over, and looks at the tables meanwhile; what the attacker said.
fn attacked(person: &Person<'_>, evil: &mut Running) -> String {
    let mut looks = 0;
    let said = until_for(Duration::from_secs(180), "the end of the attacks", || {
        within_bounds(person);
        looks += 1;
        let said = evil.stdout();
        assert!(evil.alive() || said.contains("done\n"), "it ended: {said}\n{}", evil.stderr());
        said.contains("done\n").then_some(said)
    });
    assert!(looks > 10, "it was over after {looks} looks");
    said
}

/// Every check that is attacked has refused something, and no table has grown beyond its bound.
fn judge(person: &Person<'_>, port: &str, more: &[Reason]) {
    // What a socket has taken the network need not have read yet.
    until_ok("every check to refuse something", || {
        let report = person.show(NET);
        let attacker = report.port(port);
        let reasons = REFUSED.iter().chain(more).map(|reason| reason.name());
        let silent: Vec<_> = reasons.filter(|name| attacker.dropped(name) == 0).collect();
        if silent.is_empty() {
            return Ok(());
        }
        Err(format!("nothing was refused for {silent:?}: {:#}", attacker.0["drops"]))
    });
    within_bounds(person);
    // The tables of those who are asked for their checks' numbers say the same.
    let said = person.netherd(["guard", "show", port, "--net", NET, "--json"]).run().ok();
    let guards: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    for reason in REFUSED {
        let checks = guards[0]["checks"].as_array().expect("checks");
        let number = reason.check().map(|check| u64::from(check.number()));
        let check = checks.iter().find(|it| it["number"].as_u64() == number);
        let reasons = check.and_then(|it| it["reasons"].as_array()).expect("a check");
        let row = reasons.iter().find(|it| it["name"] == reason.name()).expect("its reason");
        assert!(row["dropped"].as_u64().is_some_and(|dropped| dropped > 0), "{row}");
    }
}

#[test]
fn a_malicious_guest_harms_nobody() {
    need!(needs());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = person.up(NET);
    let (victims, Targets { victim, spare }) = Victims::begin(&person);
    let file = person.home().join("attacks.py");
    std::fs::write(&file, program()).expect("the lab is ours");
    let script = format!(
        "set -e
         address() {{ ip -o $1 addr show dev eth0 scope global | awk 'NR == 1 {{ print $4 }}' | cut -d/ -f1; }}
         python3 {} packet eth0 $(ip -o link show dev eth0 | grep -o 'ether [0-9a-f:]*' | cut -d' ' -f2) $(address -4) $(address -6) {victim} {spare}
         exec sleep 1000",
        file.display()
    );
    let run = person.netherd(["run", "--root", "--net", NET, "--name", "evil", "--", "sh", "-c"]);
    let mut evil = person.guest(NET, "evil", run.arg(&script));
    let said = attacked(&person, &mut evil);
    // A port that has its own address and no other: nobody floods the table.
    judge(&person, "evil", &[Reason::MacForeign]);
    // Those that the guest's kernel let through are dropped here, each. What it says of the length of the headers
    // is not believed, and harms nobody.
    let wrong = [
        "segments of 1",
        "segments of 8",
        "segments of 255",
        "TCP of IPv6",
        "UDP segments",
        "a checksum in the addresses",
        "a checksum beside its field",
    ];
    let sent = wrong.iter().filter(|name| said.contains(&format!("forged: {name}\n"))).count();
    let dropped = person.port(NET, "evil").dropped(Reason::BadOffload.name());
    assert!(dropped >= sent as u64, "{sent} forged headers, {dropped} dropped: {said}");
    victims.end(&person);
}

#[test]
fn a_malicious_client_harms_nobody() {
    need!(needs());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = person.up(NET);
    let (victims, Targets { victim, spare }) = Victims::begin(&person);
    let report = person.show(NET);
    let own =
        format!("{} {} {}", mac_text(mac(0xbad)), report.spare_ipv4(3).0, report.spare_ipv6(3).0);
    let file = person.home().join("attacks.py");
    std::fs::write(&file, program()).expect("the lab is ours");
    let node = person.node(NET, "stream");
    let script =
        format!("exec python3 {} stream {} {own} {victim} {spare}", file.display(), node.display());
    let mut evil = person.job("sh").args(["-c", &script]).spawn();
    let _ = until("the attacker's port", || person.show(NET).behind(mac(0xbad)));
    attacked(&person, &mut evil);
    let port = person.show(NET).behind(mac(0xbad)).map(|it| it.name().to_owned());
    let port = port.expect("its address is its own");
    judge(
        &person,
        &port,
        &[Reason::MacBound, Reason::MacLimit, Reason::Ipv4SourceLimit, Reason::Ipv6SourceLimit],
    );
    drop(evil);
    victims.end(&person);
}
