use super::*;

fn plan() -> GatewayPlan {
    let mac = wire::MacAddr([2, 0, 0, 0, 0, 1]);
    let subnet = "10.5.16.0/20".parse().ok();
    let prefix = "fd12:3456:789a:bc::/64".parse().ok();
    GatewayPlan::new("lab", mac, subnet, prefix)
}

fn zone() -> Zone {
    let mut zone = Zone::new(&plan());
    zone.set("web", Some([10, 5, 16, 20].into()), "fd12:3456:789a:bc::20".parse().ok());
    zone.set("four", Some([10, 5, 17, 4].into()), None);
    zone
}

/// A question in a line, and what is found in a line.
fn ask(zone: &Zone, name: &str, asked: u16) -> String {
    let found = zone.find(&Name::from_text(name).unwrap(), asked);
    let say = |records: &[Record]| {
        let say = |record: &Record| match &record.data {
            Data::A(address) => address.to_string(),
            Data::Aaaa(address) => address.to_string(),
            Data::Ptr(name) | Data::Ns(name) => name.to_string(),
            Data::Soa { server, .. } => format!("SOA {server}"),
        };
        records.iter().map(say).collect::<Vec<_>>().join(" ")
    };
    let soa = |absent: &(Name, Record)| {
        assert_eq!(absent.1.ttl, NEGATIVE_TTL);
        assert!(matches!(absent.1.data, Data::Soa { negative_ttl: NEGATIVE_TTL, .. }));
        absent.0.to_string()
    };
    match found {
        None => "elsewhere".to_owned(),
        Some(Found::Records(records)) => say(&records),
        Some(Found::NoData(absent)) => format!("nodata {}", soa(&absent)),
        Some(Found::NoName(absent)) => format!("noname {}", soa(&absent)),
    }
}

#[test]
fn guests_have_two_names_v4() {
    let zone = zone();
    for name in ["web.lab.internal", "WEB.Lab.Internal", "web"] {
        assert_eq!(ask(&zone, name, kind::A), "10.5.16.20", "{name}");
    }
    assert_eq!(ask(&zone, "20.16.5.10.in-addr.arpa", kind::PTR), "web.lab.internal");
}

#[test]
fn guests_have_two_names_v6() {
    let zone = zone();
    for name in ["web.lab.internal", "WEB.Lab.Internal", "web"] {
        assert_eq!(ask(&zone, name, kind::AAAA), "fd12:3456:789a:bc::20", "{name}");
    }
    let reverse = "0.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.c.b.0.0.a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa";
    assert_eq!(ask(&zone, reverse, kind::PTR), "web.lab.internal");
}

#[test]
fn no_such_record_is_not_no_such_name() {
    let zone = zone();
    assert_eq!(ask(&zone, "four.lab.internal", kind::AAAA), "nodata lab.internal");
    assert_eq!(ask(&zone, "four", kind::AAAA), "nodata .");
    assert_eq!(ask(&zone, "web.lab.internal", 16), "nodata lab.internal");
    assert_eq!(ask(&zone, "web.lab.internal", kind::SOA), "nodata lab.internal");
    assert_eq!(ask(&zone, "gone.lab.internal", kind::A), "noname lab.internal");
    assert_eq!(ask(&zone, "www.web.lab.internal", kind::A), "noname lab.internal");
    assert_eq!(ask(&zone, "x.host.internal", kind::A), "noname host.internal");
    assert_eq!(ask(&zone, "internal", kind::A), "nodata .");
}

#[test]
fn the_top_of_the_zone_is_the_gateway() {
    let zone = zone();
    assert_eq!(ask(&zone, "lab.internal", kind::A), "10.5.16.1");
    assert_eq!(ask(&zone, "lab.internal", kind::AAAA), "fd12:3456:789a:bc::1");
    assert_eq!(ask(&zone, "lab.internal", kind::NS), "lab.internal");
    assert_eq!(ask(&zone, "lab.internal", kind::SOA), "SOA lab.internal");
    assert_eq!(ask(&zone, "1.16.5.10.in-addr.arpa", kind::PTR), "lab.internal");
}

#[test]
fn the_host_has_a_name_v4() {
    assert_eq!(ask(&zone(), "host.internal", kind::A), "10.5.16.2");
    assert_eq!(ask(&zone(), "2.16.5.10.in-addr.arpa", kind::PTR), "host.internal");
}

#[test]
fn the_host_has_a_name_v6() {
    assert_eq!(ask(&zone(), "host.internal", kind::AAAA), "fd12:3456:789a:bc::2");
    let reverse = format!("2.{}c.b.0.0.a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa", "0.".repeat(15));
    assert_eq!(ask(&zone(), &reverse, kind::PTR), "host.internal");
}

#[test]
fn single_labels_never_leave_the_network() {
    let zone = zone();
    assert_eq!(ask(&zone, "printer", kind::A), "noname .");
    assert_eq!(ask(&zone, "printer", kind::AAAA), "noname .");
    assert_eq!(ask(&zone, "printer", 15), "noname .");
    assert_eq!(ask(&zone, "com", kind::A), "noname .");
    for validation in [kind::NS, kind::SOA, kind::DS, kind::DNSKEY] {
        assert_eq!(ask(&zone, "com", validation), "elsewhere");
        assert_eq!(ask(&zone, ".", validation), "elsewhere");
        assert!(ask(&zone, "web", validation).starts_with("nodata"));
    }
}

#[test]
fn everything_else_is_elsewhere() {
    let zone = zone();
    for name in [
        "example.org",
        "web.example.org",
        "web.other.internal",
        "other.internal",
        "lab.internal.example",
        "lab.example",
        "10.in-addr.arpa",
        "5.10.in-addr.arpa",
        "1.32.5.10.in-addr.arpa",
        "1.1.168.192.in-addr.arpa",
        "in-addr.arpa",
        "ip6.arpa",
        "d.f.ip6.arpa",
        "8.b.d.0.1.0.0.2.ip6.arpa",
    ] {
        assert_eq!(ask(&zone, name, kind::A), "elsewhere", "{name}");
        assert_eq!(ask(&zone, name, kind::PTR), "elsewhere", "{name}");
    }
}

#[test]
fn names_of_addresses_v4() {
    let zone = zone();
    // A /20 is sixteen zones of three bytes.
    assert_eq!(ask(&zone, "21.16.5.10.in-addr.arpa", kind::PTR), "noname 16.5.10.in-addr.arpa");
    assert_eq!(ask(&zone, "20.16.5.10.in-addr.arpa", kind::A), "nodata 16.5.10.in-addr.arpa");
    assert_eq!(ask(&zone, "16.5.10.in-addr.arpa", kind::SOA), "SOA lab.internal");
    assert_eq!(ask(&zone, "31.5.10.in-addr.arpa", kind::PTR), "nodata 31.5.10.in-addr.arpa");
    for wrong in ["x.16.5.10", "020.16.5.10", "256.16.5.10", "9.20.16.5.10", "+5.16.5.10"] {
        let name = format!("{wrong}.in-addr.arpa");
        assert_eq!(ask(&zone, &name, kind::PTR), "noname 16.5.10.in-addr.arpa", "{name}");
    }
}

#[test]
fn names_of_addresses_v6() {
    let zone = zone();
    let top = "c.b.0.0.a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa";
    let absent = format!("noname {top}");
    assert_eq!(ask(&zone, &format!("1.2.{}{top}", "0.".repeat(14)), kind::PTR), absent);
    assert_eq!(ask(&zone, top, kind::SOA), "SOA lab.internal");
    // Halfway to an address that has a name there is nothing, but the name exists (RFC 8020).
    assert_eq!(ask(&zone, &format!("0.0.0.{top}"), kind::PTR), format!("nodata {top}"));
    assert_eq!(ask(&zone, &format!("f.0.0.{top}"), kind::PTR), absent);
    assert_eq!(ask(&zone, &format!("x.0.0.{top}"), kind::PTR), absent);
    assert_eq!(ask(&zone, &format!("0.{}{top}", "0.".repeat(16)), kind::PTR), absent);
}

#[test]
fn names_that_are_the_same_everywhere() {
    let zone = zone();
    assert_eq!(ask(&zone, "localhost", kind::A), "127.0.0.1");
    assert_eq!(ask(&zone, "db.localhost", kind::AAAA), "::1");
    assert_eq!(ask(&zone, "localhost", 15), "nodata localhost");
    assert_eq!(ask(&zone, "_dns.resolver.arpa", 64), "noname resolver.arpa");
    assert_eq!(ask(&zone, "resolver.arpa", 64), "nodata resolver.arpa");
}

#[test]
fn names_come_and_go() {
    let mut zone = zone();
    let before = zone.serial;
    zone.set("web", Some([10, 5, 16, 30].into()), None);
    assert_eq!(ask(&zone, "web", kind::A), "10.5.16.30");
    assert_eq!(ask(&zone, "web", kind::AAAA), "nodata .");
    assert_eq!(ask(&zone, "20.16.5.10.in-addr.arpa", kind::PTR), "noname 16.5.10.in-addr.arpa");
    assert_ne!(zone.serial, before);
    // Another guest takes the address over; that the first one goes then does not matter.
    zone.set("next", Some([10, 5, 16, 30].into()), None);
    zone.remove("web");
    assert_eq!(ask(&zone, "30.16.5.10.in-addr.arpa", kind::PTR), "next.lab.internal");
    assert_eq!(ask(&zone, "web.lab.internal", kind::A), "noname lab.internal");
    zone.remove("next");
    zone.remove("four");
    assert!(zone.owners.is_empty() && zone.guests.is_empty());
    zone.set("not.a.label", Some([10, 5, 16, 30].into()), None);
    zone.set("", Some([10, 5, 16, 30].into()), None);
    assert!(zone.owners.is_empty() && zone.guests.is_empty());
}

#[test]
fn another_plan_other_names() {
    let mut zone = zone();
    let mut plan = plan();
    plan.name = "host".to_owned();
    plan.subnet = "192.168.7.128/26".parse().ok();
    plan.prefix = None;
    zone.apply(&plan);
    assert_eq!(ask(&zone, "host.internal", kind::A), "192.168.7.130");
    assert_eq!(ask(&zone, "web.lab.internal", kind::A), "elsewhere");
    // Smaller than a name: each address is a zone.
    let reverse = "129.7.168.192.in-addr.arpa";
    assert_eq!(ask(&zone, reverse, kind::PTR), "host.internal");
    let absent = "131.7.168.192.in-addr.arpa";
    assert_eq!(ask(&zone, absent, kind::PTR), format!("nodata {absent}"));
    assert_eq!(ask(&zone, "1.7.168.192.in-addr.arpa", kind::PTR), "elsewhere");
    assert_eq!(ask(&zone, "7.168.192.in-addr.arpa", kind::PTR), "elsewhere");
}
