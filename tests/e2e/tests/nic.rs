//! The real device: guests are stations of a segment that others administer.
//!
//! A veth pair is the device; its far end, in another namespace, is the wire, with a router and a DHCP server on it
//! (dnsmasq). What a hostile hypervisor may do to the helper is in `crates/nic/tests`.
#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use e2e::{Job, Lab, Netns, Person, Running, User, need, until};
use wire::MacAddr;
use wire::build::{Builder, Ipv4};

#[path = "nic/prepared.rs"]
mod prepared;

const NET: &str = "lan";

/// The addresses that the helper's list allows.
const ALLOWED: [u8; 5] = [2, 0, 0, 0x12, 0];

/// A station of the segment that is none of ours.
const STRANGER: MacAddr = MacAddr([2, 0, 0, 0x99, 0, 1]);

/// Sends Ethernet frames on `wire0`: one hexadecimal argument each.
const SENDER: &str = "import socket, sys\n\
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n\
    s.bind(('wire0', 0))\n\
    for frame in sys.argv[1:]: s.send(bytes.fromhex(frame))\n";

/// How busybox's DHCP client configures what it was given.
const CONFIGURE: &str = "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\n\
    ip address add \"$ip/$mask\" dev \"$interface\"\n\
    [ -z \"$router\" ] || ip route add default via \"$router\"\n";

/// A namespace with the device, and one with the wire.
struct Segment {
    host: Netns,
    wire: Netns,
    started: Vec<Child>,
}

impl Drop for Segment {
    fn drop(&mut self) {
        for child in &mut self.started {
            let _ended = child.kill();
            let _reaped = child.wait();
        }
    }
}

impl Segment {
    fn new(word: &str) -> Result<Self, String> {
        let host = Netns::new(&format!("{word}h"))?;
        let wire = Netns::new(&format!("{word}w"))?;
        let line = ["link", "add", "nic0", "type", "veth", "peer", "name", "wire0", "netns"];
        host.ip(&[&line[..], &[wire.name()]].concat());
        host.ip(&["link", "set", "nic0", "up"]);
        wire.ip(&["link", "set", "wire0", "up"]);
        wire.ip(&["address", "add", "192.0.2.1/24", "dev", "wire0"]);
        wire.ip(&["address", "add", "2001:db8:7::1/64", "dev", "wire0", "nodad"]);
        Ok(Self { host, wire, started: Vec::new() })
    }

    fn start(&mut self, netns_of_host: bool, program: &str, arguments: &[String]) {
        let netns = if netns_of_host { &self.host } else { &self.wire };
        let mut command = netns.command(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        self.started.push(command.spawn().unwrap_or_else(|e| panic!("{program}: {e}")));
    }

    /// A DHCP server and router on the wire; where it notes its leases.
    fn serve(&mut self, lab: &Lab) -> PathBuf {
        let leases = lab.root().join("leases");
        let line = format!(
            "--keep-in-foreground --conf-file=/dev/null --port=0 --interface=wire0 --bind-dynamic --user=root \
             --pid-file --dhcp-range=192.0.2.50,192.0.2.99,1h --enable-ra --dhcp-range=2001:db8:7::,ra-only \
             --dhcp-leasefile={}",
            leases.display()
        );
        self.start(
            false,
            "dnsmasq",
            &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
        );
        leases
    }

    /// The helper, with a list that allows `user` a few addresses.
    fn help(&mut self, lab: &Lab, user: &User) -> Result<PathBuf, String> {
        let program = e2e::binary::netherd_nic()?;
        let (list, socket) = (lab.root().join("nic.toml"), lab.root().join("nic.sock"));
        let entry = format!(
            "[[allow]]\nuser = \"{}\"\ndevice = \"nic0\"\nmacs = [\"02:00:00:12:00:00/40\"]\n",
            user.uid
        );
        fs::write(&list, entry).expect("a list");
        let arguments = ["--listen", path(&socket), "--list", path(&list)].map(str::to_owned);
        self.start(true, path(&program), &arguments);
        until("the helper's socket", || socket.exists().then_some(()));
        Ok(socket)
    }

    fn in_wire(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.wire.command(program).args(arguments).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said
    }

    fn ping(&self, addresses: &[&str]) {
        for address in addresses {
            self.in_wire("ping", &["-c", "3", "-i", "0.2", "-W", "5", address]);
        }
    }

    /// A stream of a second to the guest that listens, then one from it.
    fn stream_both_ways(&self, to: &str) {
        for reverse in [&[][..], &["-R"]] {
            until("iperf3 in the guest", || {
                let mut client = self.wire.command("iperf3");
                let output = client.args(["-c", to, "-t", "1"]).args(reverse).output().ok()?;
                output.status.success().then_some(())
            });
        }
    }

    /// Sends each of the frames `count` times, from the wire.
    fn send(&self, frames: &[&[u8]], count: usize) {
        let hex = |frame: &[u8]| frame.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let frames: Vec<String> = frames.iter().map(|frame| hex(frame)).collect();
        let words = std::iter::repeat_n(&frames, count).flatten().map(String::as_str);
        self.in_wire("python3", &["-c", SENDER].into_iter().chain(words).collect::<Vec<_>>());
    }
}

fn path(path: &std::path::Path) -> &str {
    path.to_str().expect("a path of letters")
}

/// A datagram to a guest.
fn datagram(from: (MacAddr, &str), to: (MacAddr, &str)) -> Vec<u8> {
    let ip = Ipv4 {
        source: from.1.parse().expect("an address"),
        destination: to.1.parse().expect("an address"),
        ..Ipv4::default()
    };
    let mut frame = vec![0; 200];
    let builder = Builder::new(&mut frame).ethernet(to.0, from.0);
    let len = builder.ipv4(&ip).udp(4000, 5000).payload(b"forged").finish().expect("it fits");
    frame.truncate(len);
    frame
}

/// `netherd up` of a network whose uplink is the device.
fn network(person: &Person<'_>, segment: &Segment, socket: &std::path::Path) -> Running {
    let config = person.home().join("lan.toml");
    fs::write(&config, "[network.lan]\nuplink = \"nic:nic0\"\n").expect("a configuration");
    let job = person.netherd(["up", "-c", path(&config)]);
    person.serving(NET, job.netns(&segment.host).env("NETHERD_NIC_SOCKET", socket))
}

fn guest(person: &Person<'_>, segment: &Segment, name: &str, script: &str) -> Job {
    let line = ["run", "--net", NET, "--name", name, "--", "sh", "-c", script];
    person.netherd(line).netns(&segment.host)
}

#[test]
fn guests_are_stations_of_the_segment() {
    for program in ["ip", "dnsmasq", "busybox", "ping", "iperf3", "python3"] {
        need!(e2e::skip::program(program));
    }
    need!(e2e::skip::namespaces());
    let mut segment = need!(Segment::new("seg"));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let leases = segment.serve(&lab);
    let socket = need!(segment.help(&lab, person.user()));
    let _daemon = network(&person, &segment, &socket);
    let configure = person.home().join("configure");
    fs::write(&configure, CONFIGURE).expect("a script");
    fs::set_permissions(&configure, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("its mode");

    let script = format!(
        "busybox udhcpc -i eth0 -f -n -q -t 20 -T 1 -s {0} && \
         until ip -o -6 address show dev eth0 scope global | grep -v tentative | grep -q 2001:db8:7; \
         do sleep 0.1; done; \
         ip -o address show dev eth0; for stream in 1 2 3 4; do iperf3 -s -1 >/dev/null; done; echo done; exec sleep 600",
        path(&configure)
    );
    let mut web = guest(&person, &segment, "web", &script).spawn();
    let said = web.says("2001:db8:7:");
    let address = |family: &str| {
        let mut words = said.split_whitespace().skip_while(|word| *word != family);
        let found = words.find(|word| word.contains('/')).expect("an address");
        found.split('/').next().expect("before the slash").to_owned()
    };
    let v4 = address("inet");
    assert!(v4.starts_with("192.0.2."), "{said}");

    // Known outside by an address of its own, one of those that the list allows.
    let known = fs::read_to_string(&leases).expect("dnsmasq notes its leases");
    assert!(known.contains(&v4) && known.contains("02:00:00:12:00:"), "{known}");
    assert!(person.port(NET, "web").mac().starts_with(&ALLOWED));
    let v6 = said
        .split_whitespace()
        .find(|word| word.starts_with("2001:db8:7:"))
        .and_then(|word| word.split('/').next())
        .expect("an address of the announced prefix");
    segment.ping(&[&v4, v6]);
    segment.stream_both_ways(&v4);
    segment.stream_both_ways(v6);
    web.says("done");

    // The outside is nobody inside. A frame from a guest's hardware address does not even pass the helper.
    let (mac, count) = (MacAddr(person.port(NET, "web").mac()), 5);
    let before = person.port(NET, "uplink").drops();
    let as_mac = datagram((mac, "192.0.2.1"), (mac, &v4));
    let as_ip = datagram((STRANGER, &v4), (mac, &v4));
    segment.send(&[&as_mac, &as_ip], count);
    let dropped = count as u64;
    person.show_until(NET, "the forged frames' drops", |report| {
        let uplink = report.port("uplink");
        (uplink.dropped("outside-identity") == dropped).then_some(())
    });
    assert_eq!(person.port(NET, "uplink").drops(), before + dropped);
    segment.ping(&[&v4, v6]);

    // Another guest reaches the first directly, and the wire its own way.
    let script = format!(
        "busybox udhcpc -i eth0 -f -n -q -t 20 -T 1 -s {} && ping -c 2 -W 5 {v4} && ping -c 2 -W 5 192.0.2.1",
        path(&configure)
    );
    let said = guest(&person, &segment, "other", &script).run().ok();
    assert_eq!(said.matches(" 0% packet loss").count(), 2, "{said}");
}

#[test]
fn who_is_not_in_the_list_is_told_so() {
    need!(e2e::skip::namespaces());
    let mut segment = need!(Segment::new("ref"));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let config = person.home().join("lan.toml");
    let up = |uplink: &str, socket: &str| {
        fs::write(&config, format!("[network.lan]\nuplink = \"{uplink}\"\n")).expect("a file");
        let job = person.netherd(["up", "-c", path(&config)]);
        job.netns(&segment.host).env("NETHERD_NIC_SOCKET", socket).run().refused()
    };
    let said = up("nic:nic0", "/run/netherd-none/nic.sock");
    assert!(said.contains("netherd-nic") && said.contains("is not running"), "{said}");
    let said = up("tap:tap9", "");
    assert!(said.contains("There is no network device tap9"), "{said}");
    segment.host.ip(&["tuntap", "add", "dev", "tap9", "mode", "tap", "user", "root"]);
    let said = up("tap:tap9", "");
    assert!(said.contains("is not a tap of"), "{said}");
    let said = up("macvtap:nic0", "");
    assert!(said.contains("it is not a macvtap"), "{said}");
    let socket = need!(segment.help(&lab, &User { uid: 1, ..person.user().clone() }));
    fs::write(&config, "[network.lan]\nuplink = \"nic:nic0\"\n").expect("a file");
    let job = person.netherd(["up", "-c", path(&config)]);
    let job = job.netns(&segment.host).env("NETHERD_NIC_SOCKET", &socket);
    let said = job.run().refused();
    assert!(said.contains("may not use the network device nic0"), "{said}");
}
