//! Expressions of pcap-filter(7), made up at random.

use testkit::Random;

fn pick<'a>(random: &mut Random, from: &[&'a str]) -> &'a str {
    from[random.below(from.len())]
}

pub(crate) fn expression(random: &mut Random) -> String {
    let mut text = String::new();
    // What moves the offsets of the rest stands in front, as people write it, or anywhere.
    if random.one_in(5) {
        text.push_str(pick(random, &["vlan and ", "vlan 5 and ", "vlan 7 or "]));
        if random.one_in(4) {
            text.push_str("vlan and ");
        }
    } else if random.one_in(16) {
        text.push_str(pick(random, &["mpls and ", "mpls 5 and ", "mpls and mpls and "]));
        return text + &behind_labels(random);
    } else if random.one_in(16) {
        text.push_str(pick(random, &["pppoes and ", "pppoes 3 and "]));
        return text + &behind_pppoe(random);
    }
    text + &terms(random, 3)
}

fn terms(random: &mut Random, deep: usize) -> String {
    let mut text = term(random, deep);
    for _ in 0..random.below(3) {
        text.push_str(pick(random, &[" and ", " or ", " && ", " || ", " and not "]));
        text.push_str(&term(random, deep));
    }
    text
}

fn term(random: &mut Random, deep: usize) -> String {
    if deep > 0 && random.one_in(6) {
        return format!("({})", terms(random, deep - 1));
    }
    if random.one_in(8) {
        return format!("not {}", term(random, deep.saturating_sub(1)));
    }
    primitive(random)
}

fn behind_labels(random: &mut Random) -> String {
    pick(
        random,
        &[
            "ip",
            "ip6",
            "tcp",
            "udp port 53",
            "host 192.0.2.1",
            "ip6 host 2001:db8::1",
            "net 10",
            "icmp",
            "ip[8] > 5",
            "not ip",
            "ip or ip6",
        ],
    )
    .into()
}

fn behind_pppoe(random: &mut Random) -> String {
    pick(
        random,
        &[
            "ip",
            "ip6",
            "tcp",
            "udp port 53",
            "host 192.0.2.1",
            "src 192.0.2.1",
            "net 10",
            "icmp",
            "ip[8] > 5",
            "not ip",
            "ip or ip6",
            "port 80",
        ],
    )
    .into()
}

fn primitive(random: &mut Random) -> String {
    match random.below(13) {
        0 | 1 => pick(
            random,
            &[
                "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "igrp",
                "pim", "vrrp", "carp", "ah", "esp", "atalk", "aarp", "decnet", "lat", "sca",
                "moprc", "mopdl", "ipx", "netbeui", "stp", "iso", "clnp", "esis", "isis", "llc",
                "pppoed", "mpls", "vlan", "vlan 5",
            ],
        )
        .into(),
        2 => pick(
            random,
            &[
                "broadcast",
                "multicast",
                "ether broadcast",
                "ether multicast",
                "ip multicast",
                "ip6 multicast",
                "ip broadcast",
            ],
        )
        .into(),
        3 => {
            let word = pick(random, &["less", "greater"]);
            format!("{word} {}", 40 + random.below(60))
        }
        4 | 5 => {
            let protocol = pick(random, &["", "", "ip ", "arp ", "rarp "]);
            let direction = direction(random);
            match random.below(3) {
                0 => {
                    let net = pick(
                        random,
                        &[
                            "10",
                            "10.1",
                            "192.0.2",
                            "10.0.0.0/8",
                            "192.0.2.0/25",
                            "192.0.2.0 mask 255.255.255.0",
                            "0.0.0.0/0",
                            "192.0.2.1/32",
                        ],
                    );
                    format!("{protocol}{direction}net {net}")
                }
                _ => {
                    let host = address(random);
                    format!("{protocol}{direction}host {host}")
                }
            }
        }
        6 => {
            let direction = direction(random);
            let six = pick(random, &["", "ip6 "]);
            let what = pick(
                random,
                &[
                    "host 2001:db8::1",
                    "host fe80::2",
                    "net 2001:db8::/32",
                    "net 2001:db8::/35",
                    "net fe80::/10",
                ],
            );
            format!("{six}{direction}{what}")
        }
        7 | 8 => {
            let protocol = pick(random, &["", "tcp ", "udp ", "sctp "]);
            let direction = direction(random);
            let ports = pick(
                random,
                &[
                    "port 80",
                    "port 53",
                    "port domain",
                    "portrange 50-90",
                    "portrange 80-53",
                    "port (53 or 80)",
                    "port 80 or 53",
                ],
            );
            format!("{protocol}{direction}{ports}")
        }
        9 => {
            let mac = pick(random, &["02:00:5e:00:53:01", "2:0:5e:0:53:2", "ff:ff:ff:ff:ff:ff"]);
            let what = pick(random, &["host", "src", "dst", "src host", "src or dst"]);
            format!("ether {what} {mac}")
        }
        10 => {
            let head = pick(random, &["ip proto", "ip6 proto", "proto"]);
            let number = pick(random, &["6", "17", "\\tcp", "\\udp", "1", "58", "50", "44", "132"]);
            format!("{head} {number}")
        }
        11 if random.one_in(3) => {
            let number =
                pick(random, &["0x800", "\\arp", "\\ip6", "0x8100", "5", "0xfe", "0x42", "2048"]);
            format!("ether proto {number}")
        }
        _ => relation(random),
    }
}

fn direction(random: &mut Random) -> &'static str {
    pick(random, &["", "", "src ", "dst ", "src or dst ", "src and dst "])
}

fn address(random: &mut Random) -> &'static str {
    pick(random, &["192.0.2.1", "192.0.2.2", "10.1.2.3", "10.0.0.1", "224.0.0.1"])
}

fn relation(random: &mut Random) -> String {
    let relop = pick(random, &["=", "!=", ">", "<", ">=", "<=", "=="]);
    let left = number(random, 2);
    let right = if random.one_in(4) {
        number(random, 1)
    } else {
        let limit = if random.one_in(2) { 8 } else { 70_000 };
        random.below(limit).to_string()
    };
    format!("{left} {relop} {right}")
}

fn number(random: &mut Random, deep: usize) -> String {
    if deep > 0 && random.one_in(3) {
        let how = pick(random, &["+", "-", "*", "&", "|", "/", "<<", ">>", "%", "^"]);
        let left = number(random, deep - 1);
        let right = match how {
            "<<" | ">>" => random.below(8).to_string(),
            "/" | "%" => (1 + random.below(8)).to_string(),
            _ if random.one_in(2) => random.below(300).to_string(),
            // Of the right operand tcpdump forgets which protocol its bytes belong to.
            _ => pick(random, &["len", "ether[1:2]", "ether[20]", "(len + ether[3])"]).into(),
        };
        return format!("({left} {how} {right})");
    }
    match random.below(8) {
        0 => "len".into(),
        1 => random.below(300).to_string(),
        2 => pick(
            random,
            &["tcp[tcpflags]", "icmp[icmptype]", "icmp6[icmp6type]", "tcp[13] & tcp-syn", "(-1)"],
        )
        .into(),
        3 => {
            let protocol = pick(random, &["ether", "ip", "tcp"]);
            format!("{protocol}[({} & 7)]", number(random, deep.saturating_sub(1)))
        }
        _ => {
            let protocol =
                pick(random, &["ether", "ip", "ip6", "arp", "tcp", "udp", "icmp", "icmp6"]);
            let size = pick(random, &["", ":1", ":2", ":4"]);
            format!("{protocol}[{}{size}]", random.below(20))
        }
    }
}
