use engine::{
    Action, Check, FirstCome, GuardMode, MdnsPolicy, Mode, Rate, Rates, SourceMode, Storm, VlanMode,
};
use proptest::prelude::*;

use super::*;

mod types;

fn good(text: &str) -> Checked {
    parse(text, Path::new("n.toml")).unwrap_or_else(|error| panic!("{error}"))
}

/// The error's first line, without the excerpt.
fn bad(text: &str) -> String {
    let error = parse(text, Path::new("n.toml")).expect_err("it is wrong").to_string();
    error.lines().next().unwrap_or_default().to_owned()
}

/// Each text is refused at its place, for its reason, whether its words begin a sentence or not.
#[track_caller]
fn refused<'a>(cases: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) {
    for (text, place, why) in cases {
        let error = bad(text);
        assert!(error.starts_with(place), "{text:?}: {error:?} is not at {place}");
        let said = error.to_lowercase().contains(&why.to_lowercase());
        assert!(said, "{text:?}: {error:?} does not say {why:?}");
    }
}

#[test]
fn an_empty_table_is_a_network_with_defaults() {
    let checked = good("[network.default]\n");
    let default: Name = "default".parse().expect("a name");
    assert_eq!(checked, Checked::of_one(default.clone(), Uplink::default()));
    let network = &checked.networks()[0];
    assert_eq!(network.plan.spec().mtu, 1500);
    assert_eq!(network.nodes.len(), 4);
    assert_eq!(network.guest.source, SourceMode::Static);
    assert_eq!(checked.clone().only(&default), Some(checked.clone()));
    assert_eq!(checked.only(&"other".parse().expect("a name")), None);
}

#[test]
fn every_key_is_taken() {
    // Whoever runs this may give nodes to himself.
    let (owner, group) = (sys::user::uid().to_string(), sys::user::gid().to_string());
    let checked = good(
        &r#"
        log_level = "debug"

        [network.lab]
        dir = "/srv/lab"
        group = "GROUP"
        mode = "0660"
        nodes = ["stream", "ctl"]
        idle_timeout = 30
        forwarding = "hub"
        mtu = 9000
        subnet = "10.20.0.0/16"
        prefix = "fd12:3456:789a:1::/64"
        ports = 100
        ports_per_user = 10
        clients_per_user = 20
        mac_total = 1000
        mac_ageing = 60
        max_macs = 4
        queue_frames = 512
        queue_bytes = 1000000
        uplink = "net:nat"
        dhcp = false
        advertise = false
        dhcpv6 = false
        dns = true
        resolvers = ["192.0.2.53", "[2001:db8::53]:5353"]
        publish = ["8080:web:80", "udp/[::1]:5353:web:53"]
        allow_host = ["tcp/5432", 80, "udp/53", 80]
        route = [{ to = "10.9.0.0/16", via = "10.20.0.5" }, { to = "2001:db8::/32", via = "prohibit" }]
        routed = false

        [network.lab.port.web]
        mac = "02:00:5e:00:53:01"
        ipv4 = "10.20.0.5"
        ipv6 = ["fd12:3456:789a:1::5:1", "fd12:3456:789a:1::5:2"]
        owner = "OWNER"
        group = "GROUP"
        mode = "0600"
        nodes = ["stream", "seqpacket"]
        connections = 1
        vlan = 10
        isolated = true
        raw_offload = true
        queue_frames = 64
        queue_bytes = 500000

        [network.lab.port.trunk]
        trunk = { native = 1, allowed = [10, "20-29"] }
        max_macs = 100
        connections = 2

        [network.other]
        uplink = "nic:eth0"
        gateway = ["192.0.2.1/24", "2001:db8::1/64"]
        dhcp = false
        "#
        .replace("OWNER", &owner)
        .replace("GROUP", &group),
    );
    assert_eq!(checked.level(), Level::Debug);
    let [lab, other] = checked.networks() else { panic!("two networks") };
    assert_eq!(other.name.as_str(), "other");
    assert_eq!(other.outside.uplink, Uplink::Nic("eth0".to_owned()));
    assert_eq!(other.outside.services, Services::NONE);
    assert_eq!(other.outside.gateway.len(), 2);
    assert!(other.outside.has_router());
    assert_eq!(lab.dir.as_deref(), Some(Path::new("/srv/lab")));
    assert_eq!((lab.group.as_deref(), lab.mode), (Some(group.as_str()), Some(0o660)));
    assert_eq!(lab.nodes, [NodeKind::Stream, NodeKind::Ctl]);
    assert_eq!(lab.idle, Some(Duration::from_secs(30)));
    let spec = lab.plan.spec();
    assert_eq!((spec.mode, spec.mtu, spec.ports), (Mode::Hub, 9000, 100));
    assert_eq!((spec.mac_total, spec.mac_ageing), (1000, Duration::from_secs(60)));
    assert_eq!(lab.subnet, Some("10.20.0.0/16".parse().expect("a subnet")));
    assert_eq!(lab.prefix, Some("fd12:3456:789a:1::".parse().expect("a prefix")));
    assert_eq!((lab.ports_per_user, lab.clients_per_user), (10, 20));
    assert_eq!(lab.anonymous.source, SourceMode::Learn { max_macs: 4 });
    assert_eq!((lab.guest.queue_frames, lab.guest.queue_bytes), (512, 1_000_000));
    let out = &lab.outside;
    assert_eq!(out.uplink, Uplink::Net(outside::Parent::Nat));
    assert_eq!(out.services, Services { dns: true, ..Services::NONE });
    assert_eq!(
        out.resolvers,
        ["192.0.2.53:53".parse().expect("one"), "[2001:db8::53]:5353".parse().expect("one")]
    );
    let forwards: Vec<String> = out.publish.iter().map(ToString::to_string).collect();
    assert_eq!(forwards, ["8080:web:80", "udp/[::1]:5353:web:53"]);
    let allowed: Vec<String> = out.allow_host.iter().map(ToString::to_string).collect();
    assert_eq!(allowed, ["tcp/5432", "80", "udp/53"]);
    assert_eq!(out.routes.len(), 2);
    assert_eq!(out.routes[0].via, outside::Via::Station("10.20.0.5".parse().expect("one")));
    assert_eq!(out.routes[1].via, outside::Via::Prohibit);
    assert!(!out.routed && other.outside.routed);
    let [trunk, web] = lab.ports.as_slice() else { panic!("two ports") };
    assert_eq!(web.spec.macs.len(), 1);
    assert_eq!(web.addresses().count(), 3);
    assert_eq!(web.spec.source, SourceMode::Static);
    assert_eq!(web.spec.vlan, VlanMode::Access(10));
    assert!(web.spec.isolated && web.raw_offload);
    assert_eq!((web.spec.queue_frames, web.spec.queue_bytes), (64, 500_000));
    assert_eq!(web.nodes, [NodeKind::Stream, NodeKind::Seqpacket]);
    assert_eq!((web.owner.as_deref(), web.mode), (Some(owner.as_str()), Some(0o600)));
    assert_eq!(trunk.spec.source, SourceMode::Learn { max_macs: 100 });
    assert_eq!(trunk.connections, 2);
    let VlanMode::Trunk { native: Some(1), allowed } = &trunk.spec.vlan else { panic!("a trunk") };
    assert_eq!(allowed.iter().collect::<Vec<_>>(), [10, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29]);
}

#[test]
fn errors_say_where_and_what() {
    refused([
        ("[network.a]\nmtuu = 1", "n.toml:2:1", "There is no key `mtuu` here, only `dir`, `group`"),
        ("netwrok = 1", "n.toml:1:1", "no key `netwrok` here, only `log_level` and `network`"),
        ("[network.a]\nmtu = 67", "n.toml:2:7", "MTU"),
        ("[network.a]\nmtu = \"x\"", "n.toml:2:7", "`mtu` takes a whole number"),
        ("[network.a]\nmtu =", "n.toml:2:", ""),
        ("[network.A]", "n.toml:1:10", "not allowed"),
        ("[network.host]", "n.toml:1:10", "host.internal"),
        ("[network.a.port.localhost]", "n.toml:1:17", "means itself"),
        ("[network.a]\ndir = \"srv\"", "n.toml:2:7", "absolute"),
        ("[network.a]\nmode = \"0668\"", "n.toml:2:8", "octal"),
        ("[network.a]\nmode = \"7777\"", "n.toml:2:8", "octal"),
        ("[network.a]\nmode = \"0466\"", "n.toml:2:8", "locks you out"),
        ("[network.a]\nsubnet = \"10.0.0.0/24\"", "n.toml:2:10", "/20"),
        ("[network.a]\nsubnet = \"10.0.0.1/20\"", "n.toml:2:10", "10.0.0.0/20"),
        ("[network.a]\nsubnet = \"224.0.0.0/20\"", "n.toml:2:10", "stations"),
        ("[network.a]\nsubnet = \"169.254.0.0/20\"", "n.toml:2:10", "stations"),
        ("[network.a]\nsubnet = \"fd00::/64\"", "n.toml:2:10", "IPv4"),
        ("[network.a]\nprefix = \"fd00::/48\"", "n.toml:2:10", "64"),
        ("[network.a]\nprefix = \"ff02:1::/64\"", "n.toml:2:10", "stations"),
        ("[network.a]\nnodes = [\"stream\", \"stream\"]", "n.toml:2:20", "twice"),
        ("[network.a]\nnodes = [\"tap\"]", "n.toml:2:10", "tap"),
        ("[network.a]\nmac_total = 0", "n.toml:2:13", "between 1"),
        ("[network.a]\nmac_ageing = 0", "n.toml:2:14", "ageing"),
        ("[network.a]\nports_per_user = 0", "n.toml:2:18", "between 1"),
        ("[network.a]\nmax_macs = 0", "n.toml:2:12", "at least one"),
        ("[network.a]\nqueue_bytes = 10", "n.toml:2:15", "no frame"),
        ("[network.a.port.p]\nmac = \"02:00\"", "n.toml:2:7", "MAC address"),
        ("[network.a.port.p]\nmac = \"01:00:5e:00:00:01\"", "n.toml:2:7", "group address"),
        ("[network.a.port.p]\nmac = 7", "n.toml:2:7", "a text or a list of texts"),
        ("[network.a.port.p]\nvlan = 0", "n.toml:2:8", "not a VLAN"),
        ("[network.a.port.p]\nvlan = 1\ntrunk = {}", "n.toml:2:8", "not both"),
        ("[network.a.port.p]\ntrunk = {}", "n.toml:2:9", "no VLAN"),
        ("[network.a.port.p]\ntrunk = { allowed = [\"5-3\"] }", "n.toml:2:9", "5-3"),
        ("[network.a.port.p]\ntrunk = { allowed = [\"1-9999\"] }", "n.toml:2:9", "1-9999"),
        ("[network.a.port.p]\ntrunk = { allowed = [0] }", "n.toml:2:9", "\"0"),
        ("[network.a.port.p]\nmax_macs = 0", "n.toml:2:12", "at least one address"),
        ("[network.a.port.p]\nnmae = 1", "n.toml:2:1", "no key `nmae`"),
        (
            "[network.a.port.p]\nmac = \"02:00:5e:00:53:01\"\nconnections = 2",
            "n.toml:3:15",
            "one connection",
        ),
        ("[network.a.port.p]\nconnections = 2\nipv4 = \"10.0.0.9\"", "n.toml:3:8", "more"),
        ("[network.a.port.p]\nconnections = 2\nipv6 = \"fe80::9:9\"", "n.toml:3:8", "more"),
        (
            "[network.a.port.p]\nmac = \"02:00:5e:00:53:01\"\n[network.a.port.q]\nmac = \"02:00:5e:00:53:01\"",
            "n.toml:4:7",
            "port p",
        ),
        (
            "[network.a]\nsubnet = \"10.0.0.0/16\"\n[network.b]\nsubnet = \"10.0.16.0/20\"",
            "n.toml:4:10",
            "overlaps",
        ),
        ("[network.a]\ndir = \"/x\"\n[network.b]\ndir = \"/x\"", "n.toml:4:7", "another network"),
        ("[network.a]\nuplink = \"nta\"", "n.toml:2:10", "\"nat\", \"none\""),
        ("[network.a]\nuplink = \"nic\"", "n.toml:2:10", "nic:eth0"),
        ("[network.a]\nuplink = \"tap:a/b\"", "n.toml:2:10", "network device"),
        ("[network.a]\nuplink = \"nic:name-of-16-bytes\"", "n.toml:2:10", "network device"),
        ("[network.a]\ngateway = \"192.0.2.1/24\"", "n.toml:2:11", "first addresses"),
        (
            "[network.a]\nuplink = \"nic:x\"\ngateway = \"192.0.2.1\"",
            "n.toml:3:11",
            "prefix length",
        ),
        ("[network.a]\nuplink = \"nic:x\"\ngateway = \"192.0.2.0/24\"", "n.toml:3:11", "station"),
        ("[network.a]\nuplink = \"nic:x\"\ngateway = \"ff02::1/64\"", "n.toml:3:11", "station"),
        ("[network.a]\nuplink = \"nic:x\"\ndhcp = true", "n.toml:3:8", "somebody else"),
        ("[network.a]\ndhcp = 1", "n.toml:2:8", "`dhcp` takes true or false"),
        ("[network.a]\nresolvers = [\"dns\"]", "n.toml:2:14", "not a resolver"),
        ("[network.a]\nresolvers = [\"0.0.0.0\"]", "n.toml:2:14", "not the address"),
        ("[network.a]\nresolvers = [\"fe80::1\"]", "n.toml:2:14", "[fe80::1%2]:53"),
        ("[network.a]\npublish = [\"80:81\"]", "n.toml:2:12", "names no guest"),
        ("[network.a]\npublish = [\"80:Web:80\"]", "n.toml:2:12", "guest's name"),
        ("[network.a]\npublish = [\"80:a:1\", \"80:b:1\"]", "n.toml:2:22", "80:a:1 want the same"),
        ("[network.a]\nuplink = \"none\"\npublish = [\"80:a:1\"]", "n.toml:3:11", "gateway"),
        ("[network.a]\nallow_host = [\"sctp/1\"]", "n.toml:2:15", "tcp/PORT or udp/PORT"),
        ("[network.a]\nallow_host = [0]", "n.toml:2:15", "1 to 65535"),
        ("[network.a]\nuplink = \"none\"\nallow_host = [1]", "n.toml:3:14", "gateway"),
        (
            "[network.a]\nroute = [{ to = \"10.9.0.1/16\", via = \"10.0.0.9\" }]",
            "n.toml:2:17",
            "10.9.0.0/16",
        ),
        (
            "[network.a]\nroute = [{ to = \"10.9.0.0/16\", via = \"fd00::9\" }]",
            "n.toml:2:38",
            "other address family",
        ),
        (
            "[network.a]\nroute = [{ to = \"10.9.0.0/16\", via = \"lo\" }]",
            "n.toml:2:38",
            "not a station",
        ),
        (
            "[network.a]\nroute = [{ to = \"::/0\", via = \"fd00::9\" }, { to = \"::/0\", via = \"prohibit\" }]",
            "n.toml:2:51",
            "already",
        ),
        ("[network.a]\nroute = [{ to = \"10.9.0.0/16\" }]", "n.toml:2:10", "via"),
        (
            "[network.a]\nsubnet = \"10.0.0.0/16\"\nroute = [{ to = \"10.9.0.0/16\", via = \"10.0.0.1\" }]",
            "n.toml:3:38",
            "own router",
        ),
        (
            "[network.a]\nsubnet = \"10.0.0.0/16\"\nroute = [{ to = \"10.9.0.0/16\", via = \"10.1.0.9\" }]",
            "n.toml:3:38",
            "in no subnet",
        ),
        (
            "[network.a]\nprefix = \"fd00:1::/64\"\nroute = [{ to = \"fd09::/16\", via = \"fd00:1::1\" }]",
            "n.toml:3:36",
            "own router",
        ),
        (
            "[network.a]\nuplink = \"nic:e\"\ngateway = \"192.0.2.1/24\"\nroute = [{ to = \"10.9.0.0/16\", via = \"192.0.3.9\" }]",
            "n.toml:4:38",
            "in no subnet",
        ),
        (
            "[network.a]\nsubnet = \"10.0.0.0/16\"\nresolvers = [\"10.0.0.1\"]",
            "n.toml:3:14",
            "own name server",
        ),
        ("[network.a]\npublish = [\"255.255.255.255:80:web\"]", "n.toml:2:12", "nobody can listen"),
        ("[network.a.port.p]\nipv4 = \"10.0.0.9\"", "n.toml:2:8", "`subnet`"),
        (
            "[network.a]\nsubnet = \"10.0.0.0/16\"\n[network.a.port.p]\nipv4 = \"10.0.0.2\"",
            "n.toml:4:8",
            "10.0.0.3",
        ),
        ("[network.a.port.p]\nipv6 = \"fd00::f\"", "n.toml:2:8", "more than f"),
        ("[network.a.port.p]\nipv6 = \"fd00::ff\"", "n.toml:2:8", "follows from its name"),
        ("[network.a]\ngroup = -1", "n.toml:2:9", "a name, or a number"),
        ("[network.a.port.p]\nipv6 = [\"fe80::ff\", \"fe80::ff\"]", "n.toml:2:8", "twice"),
        (
            "[network.a.port.p]\nipv6 = \"fe80::1:1\"\n[network.a.port.q]\nipv6 = \"fe80::1:1\"",
            "n.toml:4:8",
            "port p",
        ),
        ("", "n.toml: ", "names no network"),
        ("[network]", "n.toml:1:", "1 to 64"),
    ]);
}

/// One router serves all networks: whatever leads two ways is refused, whichever is said first.
#[test]
fn a_prefix_leads_one_way() {
    let route = |to: &str, via: &str| format!("route = [{{ to = \"{to}\", via = \"{via}\" }}]");
    let ten = route("10.82.0.0/20", "10.81.0.9");
    let six = route("fd00:82::/64", "fd00:81::9");
    for (text, place, why) in [
        (
            format!("[network.a]\n{ten}\n[network.b]\nsubnet = \"10.82.0.0/20\""),
            "n.toml:2:17",
            "network b itself",
        ),
        (
            format!("[network.a]\nsubnet = \"10.82.0.0/20\"\n[network.b]\n{ten}"),
            "n.toml:4:17",
            "network a itself",
        ),
        (
            format!("[network.a]\n{six}\n[network.b]\nprefix = \"fd00:82::/64\""),
            "n.toml:2:17",
            "network b itself",
        ),
        (
            format!(
                "[network.a]\n{six}\n[network.b]\nuplink = \"tap:t\"\ngateway = \"fd00:82::1/64\""
            ),
            "n.toml:2:17",
            "network b itself",
        ),
        (format!("[network.a]\n{ten}\n[network.b]\n{ten}"), "n.toml:4:17", "network a has a route"),
        (
            "[network.a]\nprefix = \"fd00:1::/64\"\n[network.b]\nprefix = \"fd00:1::/64\""
                .to_owned(),
            "n.toml:4:10",
            "overlaps",
        ),
        (
            "[network.a]\nuplink = \"tap:t\"\ngateway = \"192.0.2.1/24\"\n\
             [network.b]\nuplink = \"tap:u\"\ngateway = \"192.0.2.9/25\""
                .to_owned(),
            "n.toml:6:11",
            "overlaps",
        ),
    ] {
        refused([(text.as_str(), place, why)]);
    }
    for never in
        ["127.0.0.0/8", "127.1.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "169.254.0.0/16", "0.0.0.0/8"]
    {
        let text = format!("[network.a]\n{}", route(never, "prohibit"));
        refused([(text.as_str(), "n.toml:2:17", "no addresses that are routed")]);
    }
    for never in ["::1/128", "fe80::/64", "ff00::/8", "ff02::/16", "::ffff:10.0.0.0/104"] {
        let text = format!("[network.a]\n{}", route(never, "prohibit"));
        refused([(text.as_str(), "n.toml:2:17", "no addresses that are routed")]);
    }
    // A longer or a shorter prefix than another is for another way, and halves of everything stand for everything.
    good(&format!("[network.a]\n{ten}\n[network.b]\nsubnet = \"10.82.0.0/16\""));
    for wide in
        ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0", "::/1", "8000::/1", "2001:db8::/32"]
    {
        good(&format!("[network.a]\n{}", route(wide, "prohibit")));
    }
    // Two networks may have parts of one segment.
    good(
        "[network.a]\nuplink = \"tap:t\"\ngateway = \"192.0.0.1/16\"\n\
         [network.b]\nuplink = \"tap:u\"\nsubnet = \"192.0.16.0/20\"\naddresses = \"plan\"",
    );
}

#[test]
fn accounts_may_be_numbers() {
    let (uid, gid) = (sys::user::uid(), sys::user::gid());
    let checked = good(&format!(
        "[network.a]\ngroup = {gid}\n[network.a.port.p]\nowner = {uid}\ngroup = {gid}\n"
    ));
    let network = &checked.networks()[0];
    assert_eq!(network.group, Some(gid.to_string()));
    assert_eq!(network.ports[0].owner, Some(uid.to_string()));
}

/// Opening a FIFO as a file waits for a writer, for ever.
#[test]
fn a_fifo_is_no_configuration_and_nobody_waits_for_it() {
    let path = std::env::temp_dir().join(format!("netherd-fifo-{}", std::process::id()));
    assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("it runs").success());
    let error = read(&path).expect_err("it has no text").to_string();
    std::fs::remove_file(&path).expect("ours");
    assert!(error.contains("not a regular file"), "{error}");
}

#[test]
fn the_command_line_overrides_the_one_network() {
    let by = Overrides { mode: Some(0o666), ..Overrides::default() };
    let one = good("[network.a]\nmode = \"0600\"").overridden(&by).expect("one network");
    assert_eq!(one.networks()[0].mode, Some(0o666));
    let two = good("[network.a]\n[network.b]");
    assert_eq!(two.clone().overridden(&by), None);
    assert_eq!(two.clone().overridden(&Overrides::default()), Some(two));
}

#[test]
fn the_documented_example_is_valid() {
    let page = include_str!("../../../../docs/configuration.md");
    let mut blocks = 0;
    for block in page.split("```toml\n").skip(1) {
        let text = block.split("```").next().unwrap_or_default();
        // Only root may give nodes to these; whoever runs this may give them to himself.
        let (owner, group) = (sys::user::uid().to_string(), sys::user::gid().to_string());
        good(
            &text
                .replace("\"root\"", &format!("\"{owner}\""))
                .replace("\"users\"", &format!("\"{group}\"")),
        );
        blocks += 1;
    }
    assert!(blocks >= 2, "the page has examples");
    // Each key that the file may have is documented. The parser itself names them.
    for table in ["", "[network.a]\n", "[network.a.port.p]\n"] {
        let error =
            parse(&format!("{table}no_such_key = 1"), Path::new("n.toml")).expect_err("unknown");
        let keys = error.why().split(", only ").nth(1).unwrap_or_default();
        let keys: Vec<&str> = keys.split('`').skip(1).step_by(2).collect();
        assert!(keys.len() >= 2, "{error}");
        for key in keys {
            assert!(page.contains(&format!("`{key}`")), "`{key}` is not documented");
        }
    }
}

#[test]
fn who_is_known_is_held_to_what_he_is_given() {
    let checked = good(
        "[network.a]
         subnet = \"10.20.0.0/20\"
         [network.a.port.plain]
         [network.a.port.said]
         vlan = 7
         ipv4 = \"10.20.0.5\"
         [network.a.port.vlan]
         vlan = 7
         [network.a.port.many]
         connections = 2
         [network.a.port.net]
         max_macs = 20
         [network.a.port.off]
         guard = \"off\"
         [network.b]
         guard = \"dhcp\"
         [network.b.port.plain]
         [network.b.port.own]
         guard = { mode = \"static\" }",
    );
    let [a, b] = checked.networks() else { panic!("two networks") };
    assert_eq!((a.guest.guard.mode, a.anonymous.guard.mode), (GuardMode::Static, GuardMode::Learn));
    let modes = |network: &Network| -> Vec<(String, GuardMode)> {
        let mode = |port: &Port| (port.name.as_str().to_owned(), port.spec.guard.mode);
        network.ports.iter().map(mode).collect()
    };
    let expected = [
        ("many", GuardMode::Learn),
        ("net", GuardMode::Learn),
        ("off", GuardMode::Off),
        ("plain", GuardMode::Static),
        ("said", GuardMode::Static),
        ("vlan", GuardMode::Learn),
    ];
    assert_eq!(modes(a), expected.map(|(name, mode)| (name.to_owned(), mode)));
    let net = a.ports.iter().find(|port| port.name.as_str() == "net").expect("declared");
    assert_eq!(net.spec.guard.first_come, FirstCome { v4: 20, v6: 160 });
    assert_eq!((b.guest.guard.mode, b.anonymous.guard.mode), (GuardMode::Dhcp, GuardMode::Dhcp));
    let expected = [("own", GuardMode::Static), ("plain", GuardMode::Dhcp)];
    assert_eq!(modes(b), expected.map(|(name, mode)| (name.to_owned(), mode)));
}

#[test]
fn a_port_changes_what_the_network_says_of_the_guard() {
    let checked = good(
        "[network.a.guard]
         actions = { all = \"audit\", arp-sender-ip = \"drop\", 29 = \"reject\" }
         ethertypes = [0x88b5]
         segment_min = 64
         rates.arp = { per_second = 50 }
         storm = { broadcast = 5, unknown = \"off\", bytes_per_second = \"off\", shutdown = 60 }
         quarantine = { violations = 100, within = 10, release = 300 }
         snooping = true
         mdns = \"off\"
         only_router = true
         [network.a.port.p]
         community = 3
         guard.actions = { 14 = \"allow\" }
         guard.first_come = 64",
    );
    let [network] = checked.networks() else { panic!("one network") };
    for guard in [&network.guest.guard, &network.anonymous.guard, &network.ports[0].spec.guard] {
        assert_eq!(guard.actions.get(Check::DhcpServer), Action::Reject);
        assert_eq!(guard.actions.get(Check::Ipv4Source), Action::Audit);
        assert_eq!(
            guard.actions.get(Check::MacTable),
            Action::Drop,
            "what holds the switch together"
        );
        assert_eq!((&*guard.ethertypes, guard.segment_min), (&[0x88b5][..], 64));
        assert_eq!(guard.rates.arp, Rate::new(50, 50));
        assert_eq!(guard.rates.nd, Rates::default().nd);
        assert_eq!(guard.storm.broadcast, Some(Rate::new(5, 5)));
        assert_eq!(guard.storm.multicast, Storm::default().multicast);
        assert_eq!((guard.storm.unknown, guard.storm.bytes_per_second), (None, None));
        assert_eq!(guard.storm.shutdown, Some(Duration::from_secs(60)));
        let quarantine = guard.quarantine.expect("configured");
        assert_eq!((quarantine.violations, quarantine.release), (100, Duration::from_secs(300)));
    }
    assert_eq!(network.guest.guard.actions.get(Check::ArpSenderIp), Action::Drop);
    assert_eq!(network.ports[0].spec.guard.actions.get(Check::ArpSenderIp), Action::Allow);
    assert_eq!(network.ports[0].spec.guard.first_come, FirstCome { v4: 64, v6: 64 });
    assert_eq!(network.ports[0].spec.community, Some(3));
    let shared = &network.plan.spec().guard;
    assert!(shared.snooping && shared.routed);
    assert_eq!(shared.mdns, MdnsPolicy::Off);
}

#[test]
fn a_guard_that_makes_no_sense_is_refused_where_it_is() {
    let of_network = |text| format!("[network.a]\n{text}");
    let cases = [
        ("guard = \"strict\"", "n.toml:2:9", "not the text \"strict\""),
        ("guard = 3", "n.toml:2:9", "or a table"),
        ("guard = { modes = 1 }", "n.toml:2:11", "no key `modes` here, only `mode`, `actions`"),
        ("guard.actions = { 61 = \"drop\" }", "n.toml:2:19", "no check 61"),
        ("guard.actions = { 10 = \"audit\" }", "n.toml:2:19", "holds the network itself"),
        ("guard.actions = { 3 = \"audit\" }", "n.toml:2:19", "no frame can fail it"),
        ("guard.actions = { 58 = \"audit\" }", "n.toml:2:19", "no frame can fail it"),
        ("guard.actions = { 0 = \"audit\" }", "n.toml:2:19", "no check 0"),
        ("guard.actions = { 60 = \"audit\" }", "n.toml:2:19", "no frame can fail it"),
        ("guard.actions = { 48 = \"reject\" }", "n.toml:2:24", "nobody can be told"),
        ("guard.actions = { 14 = \"drop\", arp-sender-ip = \"allow\" }", "n.toml:2:32", "already"),
        ("guard.first_come = 257", "n.toml:2:20", "at most 256"),
        ("guard.actions = { queue-full = \"audit\" }", "n.toml:2:19", "not a check"),
        ("guard.actions = { 14 = \"warn\" }", "n.toml:2:24", "not an action"),
        ("guard.ethertypes = [5]", "n.toml:2:20", "a length"),
        ("guard.segments = 0", "n.toml:2:18", "at least one"),
        (
            "guard.quarantine = { violations = 0, within = 1, release = 1 }",
            "n.toml:2:20",
            "at least 1",
        ),
        ("guard.storm.broadcast = \"on\"", "n.toml:2:25", "takes a number"),
        ("port.p.guard.snooping = true", "n.toml:2:25", "to the whole network"),
    ]
    .map(|(text, place, why)| (of_network(text), place, why));
    refused(cases.iter().map(|(text, place, why)| (text.as_str(), *place, *why)));
}

proptest! {
    #[test]
    fn no_text_panics(text in "(\\[network\\.[a-z]{1,3}\\]\n)?([a-z_]{1,12} = [\"\\[\\]{}0-9a-z:/.-]{0,20}\n){0,4}") {
        fuzz_config(text.as_bytes());
    }
}

#[test]
fn what_can_be_behind_a_guest() {
    for good in ["10.99.0.0/20", "192.0.2.7/32", "fd00:99::/64", "2001:db8::/32"] {
        assert_eq!(outside::parse_behind(good), Ok(good.parse().expect("a prefix")));
    }
    for (bad, why) in [
        ("10.99.0.0", "is not a prefix"),
        ("0.0.0.0/0", "covers all addresses"),
        ("::/0", "covers all addresses"),
        ("10.99.0.1/20", "did you mean 10.99.0.0/20?"),
        ("127.0.0.0/8", "has no addresses"),
        ("0.0.0.0/8", "has no addresses"),
        ("169.254.0.0/16", "has no addresses"),
        ("224.0.0.0/4", "has no addresses"),
        ("240.0.0.0/4", "has no addresses"),
        ("::1/128", "has no addresses"),
        ("fe80::/64", "has no addresses"),
        ("ff02::/16", "has no addresses"),
        ("::ffff:10.0.0.0/104", "has no addresses"),
    ] {
        let said = outside::parse_behind(bad).expect_err(bad);
        assert!(said.contains(why), "{bad}: {said}");
    }
}
