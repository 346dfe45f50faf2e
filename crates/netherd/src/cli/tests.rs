use clap::CommandFactory;

use super::values::*;
use super::*;

fn parse(line: &str) -> Result<Command, String> {
    Cli::try_parse_from(line.split(' '))
        .map(|cli| cli.command)
        .map_err(|error| error.render().to_string())
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn run_leaves_the_flags_of_the_command_alone() {
    for line in ["netherd run --name web -- ping -c 1 x", "netherd run --name web ping -c 1 x"] {
        let Ok(Command::Run(args)) = parse(line) else { panic!("{line}") };
        assert_eq!(args.name.as_deref(), Some("web"));
        assert_eq!(args.network.net, "default");
        assert_eq!(args.command, ["ping", "-c", "1", "x"]);
        assert_eq!(args.caps, None);
    }
}

#[test]
fn exec_takes_its_guest_first() {
    let Ok(Command::Exec(args)) = parse("netherd exec web --net lab -- ip -6 addr") else {
        panic!()
    };
    assert_eq!((args.guest.as_str(), args.network.net.as_str()), ("web", "lab"));
    assert_eq!(args.command, ["ip", "-6", "addr"]);
}

#[test]
fn a_bad_mac_gets_a_sentence() {
    for (mac, expected) in [
        ("02:00:5e", "write six bytes in hexadecimal"),
        ("01:00:5e:00:00:01", "cannot be the address of one interface"),
        ("00:00:00:00:00:00", "stands for no address at all"),
    ] {
        let error = parse(&format!("netherd run --mac {mac} -- true")).unwrap_err();
        assert!(error.contains(expected), "{mac}: {error}");
    }
}

#[test]
fn numbers_and_names_get_sentences() {
    for (line, expected) in [
        ("netherd attach --pid abc", "`abc` is not a process id"),
        ("netherd attach --pid 0", "`0` is not a process id"),
        ("netherd capture --snaplen abc", "`abc` is not a number of bytes"),
        ("netherd run --name B@d", "`B@d` is not a valid guest name"),
        ("netherd attach --pid 1 --name B@d", "`B@d` is not a valid guest name"),
    ] {
        let error = parse(line).unwrap_err();
        assert!(error.contains(expected) && !error.contains("digit"), "{line}: {error}");
    }
}

#[test]
fn forwards_into_the_own_guest_do_not_name_it() {
    for good in [
        "80",
        "8080:80",
        "tcp/8080:80",
        "udp/5353:53",
        "127.0.0.1:8080:80",
        "0.0.0.0:8080:80",
        "[::1]:8080:80",
        "udp/[2001:db8::1]:53:5353",
    ] {
        assert_eq!(parse_forward(good).as_deref(), Ok(good));
    }
    for bad in [
        "",
        "0",
        "65536",
        "8080:web:80",
        "8080:",
        ":80",
        "sctp/80",
        "::1:8080:80",
        "8080:80:90:100",
    ] {
        assert!(parse_forward(bad).is_err(), "{bad}");
    }
}

#[test]
fn ports_prefixes_and_uplinks_are_checked_for_their_shape() {
    for good in ["80", "tcp/80", "udp/53", "65535"] {
        assert!(parse_host_port(good).is_ok(), "{good}");
    }
    for bad in ["", "0", "http", "tcp/", "tcp/80:81", "-1"] {
        assert!(parse_host_port(bad).is_err(), "{bad}");
    }
    for good in ["10.99.0.0/24", "fd00::/64", "10.0.0.1/32"] {
        assert!(parse_prefix(good).is_ok(), "{good}");
    }
    for bad in [
        "10.0.0.0",
        "10.0.0.0/33",
        "10.0.0.0/0",
        "10.99.0.1/20",
        "127.0.0.0/8",
        "fd00::/129",
        "x/8",
    ] {
        assert!(parse_prefix(bad).is_err(), "{bad}");
    }
    for good in ["nat", "none", "nic:eth0", "tap:t0", "macvtap:mv0", "net", "net:routed"] {
        assert!(parse_uplink(good).is_ok(), "{good}");
    }
    for bad in ["", "nic", "nic:", "nic:a/b", "net:", "bridge:br0"] {
        assert!(parse_uplink(bad).is_err(), "{bad}");
    }
}

#[test]
fn publish_is_a_family_of_commands() {
    let Ok(Command::Publish(args)) = parse("netherd publish add 8080:web:80 --net lab") else {
        panic!()
    };
    let PublishAction::Add { forward, network } = args.action else { panic!() };
    assert_eq!((forward.as_str(), network.net.as_str()), ("8080:web:80", "lab"));
    assert!(parse("netherd publish").is_err());
}

#[test]
fn attach_wants_one_namespace() {
    assert!(parse("netherd attach").is_err());
    assert!(parse("netherd attach --pid 1 --netns /proc/1/ns/net").is_err());
    let Ok(Command::Attach(args)) = parse("netherd attach --pid 7") else { panic!() };
    assert_eq!((args.pid, args.ifname.as_str()), (Some(7), "eth0"));
}

#[test]
fn permissions_are_octal_and_only_permissions() {
    assert_eq!(parse_mode("660"), Ok(0o660));
    assert_eq!(parse_mode("0600"), Ok(0o600));
    for wrong in ["", "rw", "888", "4755", "066", "000", "460"] {
        assert!(parse_mode(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn seconds_may_be_fractions_but_nothing_odd() {
    assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
    for wrong in ["-1", "nan", "inf", "soon", "1e300"] {
        assert!(parse_seconds(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn guard_is_a_family_of_commands() {
    let Ok(Command::Guard(args)) = parse("netherd guard set web arp-sender-ip audit") else {
        panic!()
    };
    let GuardAction::Set { port, check, action, network } = args.action else { panic!() };
    assert_eq!((port.as_str(), check.as_str(), action.as_str()), ("web", "arp-sender-ip", "audit"));
    assert_eq!(network.net, DEFAULT_NETWORK);
    assert!(parse("netherd guard set web 14 ignore").is_err());
    assert!(parse("netherd guard audit web maybe").is_err());
}
