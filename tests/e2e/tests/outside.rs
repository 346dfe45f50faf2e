//! Guests by name, the ways out and in, and networks inside guests.
#![forbid(unsafe_code)]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use e2e::{Lab, Person, Running, Tun, User, need};

const NET: &str = "default";
/// A page of its own, by IPv4 and IPv6.
const SERVER: [&str; 8] =
    ["python3", "-m", "http.server", "--bind", "::", "--directory", "site", "8000"];
const CURL: &str = "curl --silent --show-error --max-time 20 --retry 9 --retry-all-errors";

fn needs() -> Result<(), String> {
    e2e::skip::namespaces()?;
    for program in ["python3", "curl", "ping", "getent", "dig"] {
        e2e::skip::program(program)?;
    }
    Ok(())
}

/// A web server in a guest, with a page that says `word`.
fn server(person: &Person<'_>, name: &str, word: &str, options: &[&str]) -> Running {
    let site = person.home().join("site");
    std::fs::create_dir_all(&site).expect("the lab is ours");
    std::fs::write(site.join("index.html"), format!("{word}\n")).expect("the lab is ours");
    let command = person.netherd(["run", "--name", name]).args(options).arg("--").args(SERVER);
    person.guest(NET, name, command)
}

fn in_guest(person: &Person<'_>, options: &[&str], script: &str) -> String {
    let run = person.netherd(["run"]).args(options).args(["--", "sh", "-c", script]);
    run.limit(Duration::from_secs(90)).run().ok()
}

#[test]
fn guests_reach_each_other_by_name() {
    need!(needs());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _web = server(&person, "web", "hello", &[]);
    for options in
        [&["--name", "c"][..], &["--name", "c", "--root"], &["--name", "c", "--caps", "none"]]
    {
        let said = in_guest(
            &person,
            options,
            &format!(
                "set -e
                 getent ahostsv4 web | awk 'NR == 1 {{ print $1 }}'
                 getent ahostsv6 web.default.internal | awk 'NR == 1 {{ print $1 }}'
                 ping -c 1 -W 5 web > /dev/null
                 {CURL} http://web:8000/ http://web.default.internal:8000/"
            ),
        );
        let web = person.port(NET, "web");
        let expected = format!("{}\n{}\nhello\nhello\n", web.ipv4(), web.ipv6());
        assert_eq!(said, expected, "{options:?}");
    }
    // Nobody is asked for what is no guest's, and the answer comes at once.
    let said = in_guest(&person, &[], "getent hosts nobody || echo no such guest");
    assert_eq!(said, "no such guest\n");
}

#[test]
fn a_published_port_leads_into_the_guest_while_it_lives() {
    need!(needs());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let web = server(&person, "web", "from web", &["--publish", "18411:8000"]);
    let fetch = |url: &str| {
        person.job("sh").args(["-c", &format!("{CURL} {url}")]).limit(Duration::from_secs(60)).run()
    };
    for url in ["http://127.0.0.1:18411/", "http://[::1]:18411/"] {
        assert_eq!(fetch(url).ok(), "from web\n", "{url}");
    }
    // The same port once more is a clear error.
    let taken = person.netherd(["run", "--publish", "18411:80", "--", "true"]).run();
    assert_eq!(taken.status.code(), Some(125), "{}", taken.account());
    assert!(taken.stderr.contains("18411"), "{}", taken.account());

    let added = person.netherd(["publish", "add", "18412:web:8000"]).run().ok();
    assert_eq!(added, "18412:web:8000\n");
    assert_eq!(fetch("http://127.0.0.1:18412/").ok(), "from web\n");
    let listed = person.netherd(["publish", "ls"]).run().ok();
    for forward in ["18411:web:8000", "18412:web:8000"] {
        assert!(listed.contains(forward), "{listed}");
    }
    let _ = person.netherd(["publish", "remove", "18412:web:8000"]).run().ok();
    let gone = person.netherd(["publish", "remove", "18412:web:8000"]).run();
    assert_eq!(gone.status.code(), Some(1), "{}", gone.account());
    drop(web);
}

#[test]
fn the_host_is_reached_where_it_is_allowed_and_nowhere_else() {
    need!(needs());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let site = person.home().join("site");
    std::fs::create_dir_all(&site).expect("the lab is ours");
    std::fs::write(site.join("index.html"), "the host\n").expect("the lab is ours");
    let _host = person
        .job("python3")
        .args(["-m", "http.server", "--bind", "127.0.0.1", "--directory", "site", "18413"])
        .spawn();
    let url = "http://host.internal:18413/";
    let allowed = in_guest(&person, &["--allow-host", "18413"], &format!("{CURL} {url}"));
    assert_eq!(allowed, "the host\n");
    let refused =
        in_guest(&person, &[], &format!("curl --silent --max-time 10 {url} || echo refused"));
    assert_eq!(refused, "refused\n");
}

#[test]
fn a_network_without_a_way_out_has_none() {
    need!(needs());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    // The network's router says so at once; of IPv6 it tells guests no way at all.
    let script =
        "ping -c 1 -W 9 192.0.2.1; ip -6 route show default; ping -c 1 -W 9 2001:db8::1 2>&1; true";
    let said = in_guest(&person, &["--net", "alone", "--uplink", "none"], script);
    assert!(said.contains("Destination Net Unreachable"), "{said}");
    assert!(said.ends_with("ping: connect: Network is unreachable\n"), "{said}");
    // Nor does a question lead out, whatever the host's resolvers would say.
    let dig = "dig +time=3 +tries=1 www.example.com; dig +tcp +time=3 +tries=1 www.example.com";
    let said = in_guest(&person, &["--net", "alone", "--uplink", "none"], dig);
    assert_eq!(said.matches("status: REFUSED").count(), 2, "{said}");
    // The wrong word says which are right.
    let wrong = person.netherd(["run", "--uplink", "wifi", "--", "true"]).run();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(wrong.stderr.contains("net:bridged"), "{}", wrong.stderr);
}

/// A guest of a guest of a guest: by translation at each level, with nothing to be set up.
#[test]
fn inner_guests_reach_outer_ones_at_three_levels() {
    need!(needs());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _web = server(&person, "outer", "from the outermost", &[]);
    let netherd = e2e::binary::netherd().display();
    let look = "ip -4 -brief address show eth0 | awk '{ print $3 }'
                sed -n 's/^search //p' /etc/resolv.conf";
    let third = format!("{look}; {CURL} http://outer:8000/ http://outer.default.internal:8000/");
    let second = format!("{look}; {netherd} run --name third -- sh -c '{}'", quoted(&third));
    let first = format!("{look}; {netherd} run --name second -- sh -c '{}'", quoted(&second));
    let said = in_guest(&person, &["--name", "first"], &first);
    let lines: Vec<&str> = said.lines().collect();
    let [net1, search1, net2, search2, net3, search3, page1, page2] = lines[..] else {
        panic!("{said}")
    };
    assert_eq!([page1, page2], ["from the outermost"; 2], "{said}");
    assert_eq!(search1, "default.internal");
    assert_eq!(search2, "default-2.internal default.internal");
    assert_eq!(search3, "default-3.internal default-2.internal default.internal");
    // Three networks of one name, and no address in common.
    let subnet = |net: &str| {
        let (address, _) = net.split_once('/').expect("a prefix");
        let address: std::net::Ipv4Addr = address.parse().expect("an address");
        address.to_bits() >> 12
    };
    let [a, b, c] = [net1, net2, net3].map(subnet);
    assert!(a != b && b != c && a != c, "{said}");
}

/// For use between single quotes, once more.
fn quoted(script: &str) -> String {
    script.replace('\'', r"'\''")
}

#[test]
fn what_an_inner_network_may_not_do_is_said_with_the_option() {
    need!(needs());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let netherd = e2e::binary::netherd().display();
    for (uplink, option) in [("net:bridged", "--macs"), ("net:routed", "--route")] {
        let inner = format!("{netherd} run --net in --uplink {uplink} -- true 2>&1; echo $?");
        let said = in_guest(&person, &[], &inner);
        assert!(said.contains(option) && said.ends_with("125\n"), "{uplink}: {said}");
    }
    let outside =
        person.netherd(["run", "--net", "x", "--uplink", "net:bridged", "--", "true"]).run();
    assert!(outside.stderr.contains("in no guest of `netherd run`"), "{}", outside.account());
}

/// What a guest writes into this file of the person's home, once it is whole.
fn file(person: &Person<'_>, name: &str) -> String {
    let path = person.home().join(name);
    e2e::until_for(Duration::from_secs(60), &format!("the file {name}"), || {
        std::fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'))
    })
}

/// The script with which `udhcpc` configures the interface.
const LEASE: &str = include_str!("programs/lease.sh");

#[test]
fn a_bridged_inner_guest_is_a_station_of_the_outer_network() {
    need!(needs());
    need!(e2e::skip::program("busybox"));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _web = server(&person, "outer", "from outside", &[]);
    let script = person.home().join("lease.sh");
    std::fs::write(&script, LEASE).expect("the lab is ours");
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("the lab is ours");
    let netherd = e2e::binary::netherd().display();
    let stall = format!(
        "./lease.sh eth0 > lease.log 2>&1
         {CURL} http://outer:8000/ 'http://[{}]:8000/' > both && mv both reached
         ip -4 -brief address show eth0 | awk '{{ sub(\"/.*\", \"\", $3); print $3 }}' > stall4
         until ip -6 -brief address show eth0 scope global | grep -q /; do sleep 0.05; done
         ip -6 -brief address show eth0 scope global | awk '{{ sub(\"/.*\", \"\", $3); print $3 }}' > stall6
         exec {}",
        person.port(NET, "outer").ipv6(),
        SERVER.join(" ")
    );
    let yard = format!(
        "exec {netherd} run --net yard --uplink net:bridged --name stall -- sh -c '{}'",
        quoted(&stall)
    );
    let yard = person.netherd(["run", "--name", "yard", "--macs", "1", "--", "sh", "-c", &yard]);
    let yard = person.guest(NET, "yard", yard);
    assert_eq!(file(&person, "reached"), "from outside\nfrom outside\n");
    let (stall4, stall6) = (file(&person, "stall4"), file(&person, "stall6"));
    let (stall4, stall6) = (stall4.trim(), stall6.trim());
    // Its addresses are the outer network's, and bound to the port that it is behind.
    let bound = person.netherd(["show", "bindings", "yard"]).run().ok();
    for (address, source) in [(stall4, "lease"), (stall6, "first-use")] {
        let of_it = |line: &&str| line.contains(address) && line.contains(source);
        assert!(bound.lines().any(|line| of_it(&line)), "{address} {source}:\n{bound}");
    }
    let fetch = format!("{CURL} http://{stall4}:8000/ 'http://[{stall6}]:8000/'");
    assert_eq!(in_guest(&person, &[], &fetch), "from outside\nfrom outside\n");
    // One was allowed, so a second inner guest is not heard.
    let second = format!(
        "{netherd} run --net yard --name second -- busybox udhcpc -i eth0 -n -q -t 2 -T 1 -s /bin/true 2>&1"
    );
    let refused = person.netherd(["exec", "yard", "--", "sh", "-c", &second]).run();
    assert_ne!(refused.status.code(), Some(0), "{}", refused.account());
    // Which is said by the inner `run`, and counted outside.
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("run --macs 2"), "{said}");
    assert!(person.port(NET, "yard").dropped("mac-limit") > 0);
    drop(yard);
}

#[test]
fn a_routed_inner_network_is_reached_from_outside() {
    need!(routed(Tun::Open));
}

#[test]
fn a_routed_inner_network_needs_no_tap() {
    need!(routed(Tun::Closed));
}

fn routed(tun: Tun) -> Result<(), String> {
    needs()?;
    tun.possible()?;
    let lab = Lab::new();
    let person = lab.person(User::first()?);
    let _web = server(&person, "outer", "from outside", &[]);
    let netherd = e2e::binary::netherd().display();
    // Where it lives, and that it reaches outside, it tells by files, which it has in common with us.
    let tip = format!(
        "ip -4 -brief address show eth0 | awk '{{ sub(\"/.*\", \"\", $3); print $3 }}' > tip4
         ip -6 -brief address show eth0 | awk '{{ sub(\"/.*\", \"\", $3); print $3 }}' > tip6
         {CURL} http://outer:8000/ > reached
         exec {}",
        SERVER.join(" ")
    );
    let hub = format!(
        "exec {netherd} run --net spoke --uplink net:routed --name tip -- sh -c '{}'",
        quoted(&tip)
    );
    let options =
        ["run", "--name", "hub", "--route", "10.99.0.0/20", "--route", "fd00:99::/64", "--"];
    let hub = person.netherd(options).args(["sh", "-c", &hub]).tun(tun);
    let _hub = person.guest(NET, "hub", hub);
    assert_eq!(file(&person, "reached"), "from outside\n");
    let (tip4, tip6) = (file(&person, "tip4"), file(&person, "tip6"));
    assert!(tip4.starts_with("10.99."), "{tip4}");
    assert!(tip6.starts_with("fd00:99:"), "{tip6}");
    // Nobody else can have the addresses of the guest's end, so they are not asked for before they are used.
    let hub_says =
        |script: &str| person.netherd(["exec", "hub", "--", "sh", "-c", script]).run().ok();
    assert_eq!(hub_says("cat /proc/sys/net/ipv6/conf/inner0/accept_dad"), "0\n");
    let bound = person.netherd(["show", "bindings", "hub"]).run().ok();
    assert!(bound.contains("10.99.0.0/20") && bound.contains("fd00:99::/64"), "{bound}");
    let said = in_guest(
        &person,
        &[],
        &format!("{CURL} http://{}:8000/ 'http://[{}]:8000/'", tip4.trim(), tip6.trim()),
    );
    assert_eq!(said, "from outside\nfrom outside\n");
    Ok(())
}
