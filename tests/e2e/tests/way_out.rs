//! What the outside and a guest see of each other through the user-mode gateway, when all is well and when not.
#![forbid(unsafe_code)]

use e2e::outside::{FAR, HOST, NAME, NET, inside, stays};
use e2e::{Lab, Outside, Person, User, need, until};
use serde_json::Value;

/// Says who connects, and answers.
fn says_who(lab: &Lab) -> String {
    program(lab, "says_who.py", include_str!("programs/says_who.py"))
}

/// Connects, and says how that ended.
fn knock(lab: &Lab) -> String {
    program(lab, "knock.py", include_str!("programs/knock.py"))
}

fn program(lab: &Lab, name: &str, text: &str) -> String {
    let path = lab.root().join(name);
    std::fs::write(&path, text).expect("the lab is ours");
    format!("{}", path.display())
}

fn needs(programs: &[&str]) -> Result<(), String> {
    e2e::skip::namespaces()?;
    programs.iter().try_for_each(|program| e2e::skip::program(program).map(drop))
}

fn counters(person: &Person<'_>) -> Value {
    person.show(NET).0["outside"]["counters"].clone()
}

fn counter(person: &Person<'_>, name: &str) -> u64 {
    counters(person)[name].as_u64().unwrap_or(0)
}

/// What a service counted.
fn service(person: &Person<'_>, name: &str) -> u64 {
    person.show(NET).0["outside"]["service_counters"][name].as_u64().unwrap_or(0)
}

/// What a command in the far namespace says.
fn far(outside: &Outside, program: &str, arguments: &[&str]) -> String {
    let output = outside.far.command(program).args(arguments).output().expect("it starts");
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn names_of_inside_and_outside_are_found() {
    need!(needs(&["dig", "getent"]));
    let mut outside = need!(Outside::new());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    need!(outside.names());
    let _daemon = outside.network(&person, "");
    let _guest = stays(&outside, &person, "web");
    let web = person.port(NET, "web");
    let said = |script: &str| inside(&person, "web", script);
    for (question, answer) in [
        (NAME, FAR[0]),
        (&format!("{NAME} AAAA"), FAR[1]),
        (&format!("+tcp {NAME}"), FAR[0]),
        ("web.n.internal", &web.ipv4()),
        ("web.n.internal AAAA", &web.ipv6()),
        ("web", &web.ipv4()),
        (&format!("-x {}", web.ipv4()), "web.n.internal."),
        (&format!("-x {}", web.ipv6()), "web.n.internal."),
    ] {
        let answered = said(&format!("dig +short +timeout=5 +tries=1 {question}"));
        assert_eq!(answered, format!("{answer}\n"), "{question}");
    }
    let both = said(&format!("getent ahosts {NAME}"));
    assert!(FAR.iter().all(|address| both.contains(address)), "{both}");
    assert!(said("getent ahosts web").contains(&web.ipv4()));
    // By either server of resolv.conf, and whole although no datagram takes it.
    for family in ["-4", "-6"] {
        let long = said(&format!("dig {family} +timeout=5 +short long.example.net TXT"));
        assert_eq!(
            long.matches("0123456789012345678901234567890123456789").count(),
            60,
            "{family}: {long}"
        );
    }
    for (question, status) in [
        ("none.example.net", "NXDOMAIN"),
        ("nobody", "NXDOMAIN"),
        ("nobody.n.internal", "NXDOMAIN"),
        ("web.n.internal TXT", "NOERROR"),
        (&format!("{NAME} ANY"), "REFUSED"),
    ] {
        let answered = said(&format!("dig +timeout=5 +tries=1 {question}"));
        assert!(answered.contains(&format!("status: {status}")), "{question}: {answered}");
    }
}

/// The guest is told soon, and names are found again once the resolver is back.
#[test]
fn a_resolver_that_is_down_is_an_answer() {
    need!(needs(&["dig", "python3"]));
    let mut outside = need!(Outside::new());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    need!(outside.names());
    let _daemon = outside.network(&person, "");
    let _guest = stays(&outside, &person, "web");
    let ask = || inside(&person, "web", &format!("dig +timeout=15 +tries=1 {NAME}"));
    let time = |said: &str| -> u64 {
        let words = said.split_whitespace().skip_while(|word| *word != "time:");
        words.skip(1).find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("{said}"))
    };
    assert!(ask().contains(FAR[0]));
    // Nobody listens: the host is told so at once.
    outside.stop_last();
    let said = ask();
    assert!(said.contains("status: SERVFAIL") && time(&said) < 3000, "{said}");
    assert_eq!(service(&person, "dns-failed"), 1);
    assert!(service(&person, "dns-resolver-refused") > 0);
    // Somebody listens, and keeps silent.
    let silent = format!(
        "import socket, time\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('{}', 53))\ntime.sleep(600)",
        FAR[0]
    );
    outside.start("python3", &["-c", &silent]);
    outside.listens(53);
    let said = ask();
    assert!(said.contains("status: SERVFAIL") && time(&said) < 9000, "{said}");
    assert_eq!(service(&person, "dns-failed"), 2);
    outside.stop_last();
    need!(outside.names());
    let said = ask();
    assert!(said.contains("status: NOERROR") && said.contains(FAR[0]), "{said}");
    assert_eq!((service(&person, "dns-failed"), service(&person, "dns-answered")), (2, 2));
}

#[test]
fn ping_reaches_outside_or_says_why_not() {
    need!(needs(&["ping"]));
    let outside = need!(Outside::new());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = outside.network(&person, "");
    let _guest = stays(&outside, &person, "web");
    for address in FAR {
        let said = inside(&person, "web", &format!("ping -c 3 -i 0.2 -W 5 {address}"));
        assert!(said.contains("3 received") && !said.contains("DUP"), "{said}");
        // Larger than a packet of this link: in fragments, both ways.
        let said = inside(&person, "web", &format!("ping -c 1 -s 5000 -W 5 {address}"));
        assert!(said.contains("1 received"), "{said}");
        // All at once.
        let said = inside(&person, "web", &format!("ping -c 3 -l 3 -W 5 {address}"));
        assert!(said.contains("3 received") && !said.contains("DUP"), "{said}");
    }
    assert_eq!(
        (counter(&person, "echo-out"), counter(&person, "echo-in")),
        (14, 14),
        "{:#}",
        counters(&person)
    );
    let said = person.netherd(["show", "flows", "--json", "--net", NET]).run().ok();
    let flows: Vec<Value> = serde_json::from_str(&said).expect("--json prints JSON");
    for (address, protocol) in FAR.iter().zip(["icmp", "icmpv6"]) {
        let flow = flows.iter().find(|row| row["protocol"] == protocol);
        let flow = flow.unwrap_or_else(|| panic!("no flow of {protocol}: {flows:?}"));
        assert_eq!(
            [&flow["port"], &flow["direction"], &flow["state"]],
            ["web", "out", "open"],
            "{flow:#}"
        );
        assert!(flow["outside"].as_str().is_some_and(|it| it.contains(address)), "{flow:#}");
        assert!(flow["bytes_out"].as_u64() > Some(0) && flow["bytes_in"] == flow["bytes_out"]);
    }
    // Room for a bridged network inside changes nothing for the guest itself.
    for address in FAR {
        let script = format!("ping -c 1 -W 5 {address}");
        let said = outside.guest(&person, "yard", &["--macs", "1"], &script).run().ok();
        assert!(said.contains("1 received"), "{said}");
    }
    // The first router on the way is the gateway.
    let gateways = person.show(NET).0["gateway_ipv4"].as_str().map(str::to_owned);
    let gateway4 = gateways.expect("the report has it");
    let said = inside(&person, "web", &format!("ping -c 1 -t 1 -W 5 {}", FAR[0]));
    assert!(
        said.contains(&format!("From {gateway4}")) && said.contains("Time to live exceeded"),
        "{said}"
    );
    let said = inside(&person, "web", &format!("ping -c 1 -t 1 -W 5 {}", FAR[1]));
    assert!(said.contains("::1 icmp_seq=1 Time exceeded"), "{said}");
    // Nobody is there: the host says so, with its own address.
    let said = inside(&person, "web", "ping -c 1 -W 10 203.0.113.99");
    assert!(
        said.contains(&format!("From {} icmp_seq=1 Destination Host Unreachable", HOST[0])),
        "{said}"
    );
    let said = inside(&person, "web", "ping -c 1 -W 10 2001:db8:113::99");
    assert!(
        said.contains(&format!("From {} icmp_seq=1 Destination unreachable", HOST[1])),
        "{said}"
    );

    outside.who_may_ping("1 0");
    let refused = counter(&person, "echo-refused");
    let said = inside(&person, "web", &format!("ping -c 1 -W 5 {}", FAR[0]));
    assert!(said.contains(&format!("From {gateway4} icmp_seq=1 Packet filtered")), "{said}");
    let said = inside(&person, "web", &format!("ping -c 1 -W 5 {}", FAR[1]));
    assert!(said.contains("Administratively prohibited"), "{said}");
    assert_eq!(counter(&person, "echo-refused"), refused + 2);
    let why = person.show_until(NET, "why ping is refused", |report| {
        report.0["outside"]["ping_refused"].as_str().map(str::to_owned)
    });
    assert!(why.contains("ping_group_range"), "{why}");
    let said = person.netherd(["show", "--net", NET]).run().ok();
    let line = said.lines().find(|line| line.trim_start().starts_with("ping "));
    assert!(line.is_some_and(|it| it.contains("does not reach outside: ")), "{said}");
    let said = person.netherd(["doctor"]).netns(&outside.host).run().stdout;
    let (_, after) = said.split_once("ping to the outside").unwrap_or_else(|| panic!("{said}"));
    assert!(after.contains("leaves out your groups") && after.contains("sysctl -w"), "{said}");
    // The gateway's own address always answers.
    let said = inside(&person, "web", &format!("ping -c 1 -W 5 {gateway4}"));
    assert!(said.contains("1 received"), "{said}");
    outside.who_may_ping("0 2147483647");
    let said = inside(&person, "web", &format!("ping -c 1 -W 5 {}", FAR[0]));
    assert!(said.contains("1 received"), "{said}");
}

/// Whatever the host calls its own, now or later, is out of reach but for what is allowed.
#[test]
fn the_host_itself_is_out_of_reach() {
    need!(needs(&["python3", "ping"]));
    let outside = need!(Outside::new());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let who = says_who(&lab);
    let service =
        |port: &str| person.job("python3").args([&who, "tcp", port]).netns(&outside.host).spawn();
    let (mut allowed, mut other) = (service("8401"), service("8402"));
    allowed.says("ready");
    other.says("ready");
    let _daemon = outside.network(&person, "allow_host = [8401]");
    let _guest = stays(&outside, &person, "web");
    let program = knock(&lab);
    let knock = |address: &str, port: u16| {
        inside(&person, "web", &format!("python3 {program} tcp {address} {port}"))
    };
    // What the kernel makes of "administratively prohibited" (RFC 1122, 3.2.2.1; RFC 4443, 3.1).
    let denied = |address: &str| {
        if address.contains(':') { "prohibited\n" } else { "unreachable\n" }
    };
    for family in ["4", "6"] {
        let host = inside(
            &person,
            "web",
            &format!("getent ahostsv{family} host.internal | cut -d ' ' -f 1 | head -n 1"),
        );
        assert_eq!(
            knock(host.trim(), 8401),
            format!("you are {}\n", if family == "4" { "127.0.0.1" } else { "::1" })
        );
        assert_eq!(knock(host.trim(), 8402), denied(&host));
    }
    let refused = counter(&person, "host-refused");
    for address in [HOST[0], HOST[1], "203.0.113.255"] {
        assert_eq!(knock(address, 8402), denied(address), "{address}");
    }
    assert!(counter(&person, "host-refused") >= refused + 3, "{:#}", counters(&person));
    // An address that it gets now is as much its own.
    outside.host.ip(&["address", "add", "198.51.100.9/32", "dev", "lo"]);
    outside.host.ip(&["address", "add", "2001:db8:51::9/128", "dev", "lo"]);
    for address in ["198.51.100.9", "2001:db8:51::9"] {
        assert_eq!(knock(address, 8402), denied(address), "{address}");
        let said = inside(&person, "web", &format!("ping -c 1 -W 5 {address}"));
        assert!(said.contains("0 received") && said.contains("+1 errors"), "{said}");
    }
    assert!(!other.stdout().contains("from"), "{}", other.stdout());
}

#[test]
fn published_ports_show_who_asks() {
    need!(needs(&["python3"]));
    let outside = need!(Outside::new());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let publish = "publish = [\"0.0.0.0:8081:web:80\", \"[::]:8081:web:80\", \"udp/0.0.0.0:5353:web:53\", \
         \"udp/[::]:5353:web:53\", \"8082:web:81\", \"0.0.0.0:8083:absent:80\"]";
    let _daemon = outside.network(&person, publish);
    let (who, knock) = (says_who(&lab), knock(&lab));
    let script = format!("python3 {who} udp 53 & exec python3 {who} tcp 80");
    let job = outside.guest(&person, "web", &[], &script);
    let web = person.guest(NET, "web", job);
    until("both servers", || (web.stdout().matches("ready").count() == 2).then_some(()));
    let gateway = person.show(NET).0["gateway_ipv4"].as_str().map(str::to_owned).expect("one");

    for (host, client) in HOST.into_iter().zip(FAR) {
        for (protocol, port) in [("tcp", "8081"), ("udp", "5353")] {
            let said = far(&outside, "python3", &[&knock, protocol, host, port]);
            assert_eq!(said, format!("you are {client}\n"), "{protocol} {host}");
        }
    }
    // Another address of the host on the same link: who asks there is answered from there.
    for (other, bits, client) in [("203.0.113.9", "24", FAR[0]), ("2001:db8:113::9", "64", FAR[1])]
    {
        let other_net = format!("{other}/{bits}");
        outside.host.ip(&["address", "add", &other_net, "dev", "up0", "nodad"]);
        let said = far(&outside, "python3", &[&knock, "udp", other, "5353"]);
        assert_eq!(said, format!("you are {client}\n"), "{other}");
    }
    // Loopback is nobody's address in the guest.
    let from_host = |protocol: &str, address: &str, port: &str| {
        let job = person.job("python3").args([&knock, protocol, address, port]);
        job.netns(&outside.host).run().ok()
    };
    assert_eq!(from_host("tcp", "127.0.0.1", "8081"), format!("you are {gateway}\n"));
    assert_eq!(from_host("udp", "127.0.0.1", "5353"), format!("you are {gateway}\n"));
    assert!(from_host("tcp", "::1", "8081").ends_with("::1\n"));
    // Bound to loopback, and nobody listens in the guest: connected, then reset. From outside: nobody.
    assert_eq!(from_host("tcp", "127.0.0.1", "8082"), "reset\n");
    assert_eq!(far(&outside, "python3", &[&knock, "tcp", HOST[0], "8082"]), "refused\n");
    assert_eq!(counter(&person, "tcp-guest-refused"), 1, "{:#}", counters(&person));
    assert_eq!(far(&outside, "python3", &[&knock, "tcp", HOST[0], "8083"]), "reset\n");
    assert!(counter(&person, "published-unknown") > 0, "{:#}", counters(&person));

    for (forward, why) in [("8081:web:80", "8081"), ("0.0.0.0:80:web:80", "80")] {
        let said = person
            .netherd(["publish", "add", forward, "--net", NET])
            .netns(&outside.host)
            .run()
            .refused();
        assert!(said.contains(why) && said.lines().count() <= 3, "{forward}: {said}");
    }
}

/// The path is narrower than the guest's link: the guest is told, and transfers go on.
#[test]
fn a_narrow_path_is_told_to_guests() {
    need!(needs(&["ping", "curl", "openssl"]));
    let mut outside = need!(Outside::new());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let web = need!(outside.web(&lab));
    std::fs::write(web.join("page"), vec![b'x'; 1 << 20]).expect("the lab is ours");
    let _daemon = outside.network(&person, "");
    let _guest = stays(&outside, &person, "web");
    outside.host.ip(&["link", "set", "up0", "mtu", "1300"]);
    outside.far.ip(&["link", "set", "down0", "mtu", "1300"]);
    let said = inside(&person, "web", &format!("ping -M do -c 1 -s 1400 -W 5 {}", FAR[0]));
    assert!(said.contains("mtu = 1300") || said.contains("mtu=1300"), "{said}");
    let said = inside(&person, "web", &format!("ping -M do -c 1 -s 1400 -W 5 {}", FAR[1]));
    assert!(said.contains("mtu = 1300") || said.contains("mtu=1300"), "{said}");
    // Who lets packets be cut gets through.
    let said = inside(&person, "web", &format!("ping -M dont -c 1 -s 1400 -W 5 {}", FAR[0]));
    assert!(said.contains("1 received"), "{said}");
    for url in ["http://203.0.113.1/page", "http://[2001:db8:113::1]/page"] {
        let said = inside(&person, "web", &format!("curl -sSf {url} | wc -c"));
        assert_eq!(said, "1048576\n", "{url}");
    }
    assert_eq!(counter(&person, "too-big"), 2, "{:#}", counters(&person));
}

/// Routers outside say that there is no way for a connection, and the guest hears it from them.
#[test]
fn routers_that_refuse_connections_are_named() {
    need!(needs(&["python3", "curl", "nginx"]));
    let mut outside = need!(Outside::new());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let web = need!(outside.web(&lab));
    std::fs::write(web.join("page"), b"here\n").expect("the lab is ours");
    let _daemon = outside.network(&person, "");
    let _guest = stays(&outside, &person, "web");
    let program = program(&lab, "who_refuses.py", include_str!("programs/who_refuses.py"));
    for line in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        let line = format!("echo 1 > /proc/sys/net/{line}");
        assert!(outside.far.command("sh").args(["-c", &line]).status().expect("sh runs").success());
    }
    // Behind the router: no network, no host, and one that is forbidden.
    for [kind, v4, v6] in [
        ["unreachable", "198.51.100.0/26", "2001:db8:1::/48"],
        ["prohibit", "198.51.100.64/26", "2001:db8:2::/48"],
    ] {
        outside.far.ip(&["route", "add", kind, v4]);
        outside.far.ip(&["-6", "route", "add", kind, v6]);
    }
    let ask = |address: &str| inside(&person, "web", &format!("python3 {program} {address} 80"));
    for (address, said) in [
        ("198.51.100.9", "EHOSTUNREACH 203.0.113.1 3 1\n"),
        ("198.51.100.99", "EHOSTUNREACH 203.0.113.1 3 13\n"),
        ("198.51.100.200", "ENETUNREACH 203.0.113.1 3 0\n"),
        ("2001:db8:1::9", "ENETUNREACH 2001:db8:113::1 1 0\n"),
        ("2001:db8:2::9", "EACCES 2001:db8:113::1 1 1\n"),
        ("2001:db8:3::9", "ENETUNREACH 2001:db8:113::1 1 0\n"),
    ] {
        assert_eq!(ask(address), said, "{address}");
    }
    assert_eq!(counter(&person, "tcp-unreachable"), 6, "{:#}", counters(&person));
    for address in ["203.0.113.1", "2001:db8:113::1"] {
        assert_eq!(ask(address), "connected\n");
    }
}

/// The host's interface goes and comes: no way out meanwhile, said at once, and a way out afterwards.
#[test]
fn the_way_out_comes_back_with_the_hosts() {
    need!(needs(&["python3", "ping"]));
    let outside = need!(Outside::new());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = outside.network(&person, "");
    let _guest = stays(&outside, &person, "web");
    let knock = knock(&lab);
    let ping = |address: &str| inside(&person, "web", &format!("ping -c 1 -W 5 {address}"));
    let ways = |wanted: bool| {
        person.show_until(NET, "the ways out", |report| {
            let outside = &report.0["outside"];
            (outside["ipv4"] == wanted && outside["ipv6"] == wanted).then_some(())
        });
    };
    for _ in 0..2 {
        for address in FAR {
            let said = ping(address);
            assert!(said.contains("1 received"), "{said}");
        }
        let lost = counter(&person, "no-route");
        outside.disconnect();
        ways(false);
        for address in FAR {
            let said = ping(address);
            assert!(said.to_lowercase().contains("unreachable"), "{said}");
        }
        assert!(counter(&person, "no-route") > lost, "{:#}", counters(&person));
        let said = inside(&person, "web", &format!("python3 {knock} tcp {} 80", FAR[0]));
        assert!(["unreachable\n", "refused\n"].contains(&said.as_str()), "{said}");
        outside.connect();
        outside.far.ip(&["link", "set", "down0", "up"]);
        ways(true);
        // IPv6 comes back to guests by advertisement.
        until("the guest's route", || {
            inside(&person, "web", &format!("ip route get {}", FAR[1]))
                .contains("via")
                .then_some(())
        });
    }
}

/// A way out so slow that the socket's buffer is full: what does not fit is dropped and counted, nobody else notices,
/// and the next datagram passes once there is room.
#[test]
fn a_full_socket_buffer_is_a_full_link() {
    need!(needs(&["python3", "ping", "tc"]));
    let mut outside = need!(Outside::new());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let (who, knock) = (says_who(&lab), knock(&lab));
    outside.start("python3", &[&who, "udp", "5300"]);
    outside.listens(5300);
    let _daemon = outside.network(&person, "");
    let _guests = ["web", "other"].map(|name| stays(&outside, &person, name));
    let gateways = person.show(NET).0["gateway_ipv4"].as_str().map(str::to_owned);
    let gateway = gateways.expect("the report has it");
    let qdisc = |words: &str| {
        let line = format!("tc qdisc {words}");
        outside.host.command("sh").args(["-c", &line]).output().expect("sh runs")
    };
    for (number, (address, own)) in FAR.into_iter().zip(HOST).enumerate() {
        let ask = || inside(&person, "web", &format!("python3 {knock} udp {address} 5300"));
        assert_eq!(ask(), format!("you are {own}\n"));
        let slow = qdisc("add dev up0 root tbf rate 64kbit burst 3000 limit 100000000");
        if !slow.status.success() {
            e2e::skip!("this kernel has no tbf: {}", String::from_utf8_lossy(&slow.stderr));
        }
        let flood = format!(
            "import socket\ns = socket.socket(socket.{}, socket.SOCK_DGRAM)\ns.connect((\"{address}\", 5300))\n\
             for i in range(3000):\n  try: s.send(bytes(1400))\n  except OSError: pass",
            ["AF_INET", "AF_INET6"][number]
        );
        let before = counter(&person, "send-full");
        assert_eq!(inside(&person, "web", &format!("python3 -c '{flood}'")), "");
        let full = counter(&person, "send-full") - before;
        assert!(full > 0, "{:#}", counters(&person));
        let said = inside(&person, "other", &format!("ping -c 1 -W 5 {gateway}"));
        assert!(said.contains("1 received"), "{said}");
        assert!(qdisc("delete dev up0 root").status.success());
        let answer = until("room in the socket", || {
            let said = ask();
            said.starts_with("you are").then_some(said)
        });
        assert_eq!(answer, format!("you are {own}\n"));
    }
    for reason in ["send-failed", "socket-failed", "guest-limit", "evicted", "malformed"] {
        assert_eq!(counter(&person, reason), 0, "{reason}: {:#}", counters(&person));
    }
}

/// Few descriptors: flows beyond them are refused and counted, those that are there go on, and it ends with the need.
#[test]
fn running_out_of_descriptors_is_survived() {
    need!(needs(&["python3", "prlimit", "curl"]));
    let mut outside = need!(Outside::new());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let web = need!(outside.web(&lab));
    std::fs::write(web.join("page"), "a page\n").expect("the lab is ours");
    let limited =
        person.job("prlimit").args(["--nofile=96:96", e2e::outside::path(e2e::binary::netherd())]);
    let _daemon = outside.network_by(&person, "", limited);
    let _guest = stays(&outside, &person, "web");
    let many = "import socket\nopen=[]\nfor i in range(64):\n  s=socket.socket(); s.settimeout(0.2)\n  \
         try: s.connect((\"203.0.113.1\",80)); open.append(s)\n  except OSError: pass\nprint(len(open))";
    let said = inside(&person, "web", &format!("python3 -c '{many}'"));
    let held: usize = said.trim().parse().unwrap_or_else(|_| panic!("{said}"));
    assert!((1..64).contains(&held), "{said}");
    let refused = ["out-of-descriptors", "guest-limit", "flow-limit"];
    let refused: u64 = refused.iter().map(|reason| counter(&person, reason)).sum();
    assert!(refused > 0, "{:#}", counters(&person));
    // The connections have ended with their program.
    let page = until("a page", || {
        let said = inside(&person, "web", "curl -sf --max-time 5 http://203.0.113.1/page");
        (said == "a page\n").then_some(said)
    });
    assert_eq!(page, "a page\n");
}
