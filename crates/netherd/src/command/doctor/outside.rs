//! Checks of what leads out of a network, and into it.

use std::net::IpAddr;

use super::check::{Finding, Machine, Status, finding, ok};

pub(super) const PING_RANGE: &str = "/proc/sys/net/ipv4/ping_group_range";
pub(super) const LOW_PORTS: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";

pub(super) fn all(machine: &dyn Machine) -> [Finding; 4] {
    [way_out(machine), resolvers(machine), ping(machine), ports(machine)]
}

fn way_out(machine: &dyn Machine) -> Finding {
    const CHECK: &str = "way out";
    let remedy = |families| {
        format!(
            "connect the machine ({families}); guests have a way out as soon as the machine has one, without a \
            restart"
        )
    };
    match machine.ways_out() {
        Ok([true, true]) => ok(CHECK, "IPv4 and IPv6"),
        Ok([true, false]) => {
            finding(CHECK, Status::Limited, "IPv4 only", remedy("a default route for IPv6"))
        }
        Ok([false, true]) => {
            finding(CHECK, Status::Limited, "IPv6 only", remedy("a default route for IPv4"))
        }
        Ok([false, false]) => finding(
            CHECK,
            Status::Limited,
            "none: the machine has no default route",
            remedy("a default route; guests reach each other without one"),
        ),
        Err(error) => finding(
            CHECK,
            Status::Limited,
            format!("the routes cannot be read: {error}"),
            "let netherd use rtnetlink, which some containers' seccomp profiles forbid",
        ),
    }
}

fn resolvers(machine: &dyn Machine) -> Finding {
    const CHECK: &str = "resolvers";
    let text = machine.read_all(RESOLV_CONF).unwrap_or_default();
    let named: Vec<String> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter(|rest| rest.starts_with([' ', '\t']))
        .map(|rest| rest.trim().to_owned())
        .filter(|address| address.split('%').next().is_some_and(|a| a.parse::<IpAddr>().is_ok()))
        .collect();
    if named.is_empty() {
        return finding(
            CHECK,
            Status::Limited,
            "none in /etc/resolv.conf: 127.0.0.1 is asked, as the host's own programs do",
            "set `resolvers` in the network's configuration, or repair /etc/resolv.conf",
        );
    }
    ok(CHECK, named.join(", "))
}

/// icmp(7): who may open ICMP sockets, by group.
fn ping(machine: &dyn Machine) -> Finding {
    const CHECK: &str = "ping to the outside";
    let text = machine.read(PING_RANGE).unwrap_or_default();
    let mut numbers = text.split_whitespace().map(str::parse::<u32>);
    let range = match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) => first..=last,
        _ => {
            return finding(
                CHECK,
                Status::Limited,
                format!("{PING_RANGE} cannot be read"),
                "let netherd read /proc/sys; the gateway itself answers ping all the same",
            );
        }
    };
    if machine.groups().iter().any(|group| range.contains(group)) {
        return ok(CHECK, "allowed by ping_group_range");
    }
    finding(
        CHECK,
        Status::Limited,
        "ping_group_range leaves out your groups: guests' echo requests are refused",
        "sudo sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"",
    )
}

fn ports(machine: &dyn Machine) -> Finding {
    const CHECK: &str = "ports to publish";
    let first = machine.read(LOW_PORTS).ok().and_then(|text| text.parse::<u16>().ok());
    match first {
        _ if machine.uid() == 0 => ok(CHECK, "all, as you are root"),
        Some(0 | 1) => ok(CHECK, "all"),
        first => {
            let first = first.unwrap_or(1024);
            finding(
                CHECK,
                Status::Limited,
                format!("from {first} on"),
                "publish another port or, for ports from 80 on, run: sudo sysctl -w \
                 net.ipv4.ip_unprivileged_port_start=80",
            )
        }
    }
}
