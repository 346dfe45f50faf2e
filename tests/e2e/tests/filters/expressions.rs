//! Expressions of pcap-filter(7), made up at random.

use testkit::Random;

fn pick<'a>(random: &mut Random, from: &[&'a str]) -> &'a str {
    from[random.below(from.len())]
}

/// Each word that says something of a frame, at least once.
const WORDS: &str = r"
    dst host 192.0.2.1; src host 192.0.2.1; host 192.0.2.1; src 192.0.2.1;
    ip host 192.0.2.1; arp host 192.0.2.1; rarp host 192.0.2.1; ip6 host 2001:db8::1;
    ether dst 02:00:5e:00:53:01; ether src 2.0.5e.0.53.1; ether host 02-00-5e-00-53-01;
    fddi host 0200.5e00.5301; tr host 02005e005301; wlan host 02:00:5e:00:53:01;
    link src or dst 02:00:5e:00:53:01; ppp src and dst 02:00:5e:00:53:01; dst net 10;
    src net 10.1; net 192.0.2; net 10.0.0.0 mask 255.0.0.0; net 10.0.0.0/8; net 2001:db8::/32;
    dst port 80; src port 80; port 80; dst portrange 50-90; src portrange 50-90; portrange 50-90;
    tcp port 80; udp port 53; sctp port 80; less 150; greater 150; ip proto 17; ip proto \udp;
    icmp; ip6 proto 6; ip6 proto \tcp; icmp6; proto 6; proto \tcp; ah; esp; pim; sctp; tcp; udp;
    igmp; igrp; vrrp; carp; ether broadcast; broadcast; ether multicast; multicast; ip multicast;
    ip6 multicast; ether proto 0x800; ether proto \aarp; ether proto \arp; ether proto \atalk;
    ether proto \decnet; ether proto \ip; ether proto \ip6; ether proto \ipx; ether proto \iso;
    ether proto \lat; ether proto \loopback; ether proto \mopdl; ether proto \moprc;
    ether proto \netbeui; ether proto \rarp; ether proto \sca; ether proto \stp; fddi proto \arp;
    ip; ip6; arp; rarp; atalk; aarp; decnet; iso; stp; ipx; netbeui; lat; moprc; mopdl; sca;
    decnet src 1.2; decnet dst 1.300; decnet host 63.1023; decnet src or dst 5.5;
    decnet src and dst 1.2; llc; llc i; llc s; llc u; llc rr; llc rnr; llc rej; llc ui; llc ua;
    llc disc; llc dm; llc sabme; llc test; llc xid; llc frmr; vlan; vlan 5; vlan and vlan 7;
    vlan and llc xid; vlan and l2; vlan and decnet src 1.2; mpls; mpls 5; mpls and mpls 5; pppoed;
    pppoes; pppoes 3; pppoes and isis; pppoes and clnp; pppoes and snp;
    pppoes and decnet host 1.2; iso proto 0x81; iso proto \clnp; iso proto \esis; iso proto \isis;
    isis proto 15; clnp; esis; es-is; isis; is-is; l1; l2; iih; lsp; snp; csnp; psnp; len > 150;
    arp[7] = 1; atalk[0] > 7; carp[0] > 7; decnet[2] = 2; ether[0] & 1 != 0; fddi[0] = 2;
    icmp[0] = 8; icmp6[0] = 128; igmp[0] > 7; igrp[0] > 7; ip[0] & 0xf != 5; ip6[6] = 17;
    lat[0] > 7; link[0] = 2; mopdl[0] > 7; moprc[0] > 7; pim[0] > 7; ppp[0] = 2; rarp[7] = 1;
    sca[0] > 7; sctp[2:2] = 80; slip[0] = 2; tcp[2:2] = 80; tr[0] = 2; udp[2:2] = 53; vrrp[0] > 7;
    wlan[0] = 2; icmp[icmptype] = icmp-unreach; icmp[icmpcode] = 0;
    icmp6[icmp6type] = icmp6-neighborsolicit; icmp6[icmp6code] = 0;
    tcp[tcpflags] & (tcp-syn|tcp-fin) != 0; not tcp; ! udp; tcp || udp; ip && not tcp
";

pub(crate) fn words() -> impl Iterator<Item = &'static str> {
    WORDS.split(';').map(str::trim)
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
            "isis",
            "clnp or esis",
            "l1",
            "not snp",
            "decnet",
            "decnet host 1.2",
        ],
    )
    .into()
}

/// Words for what stands in IEEE 802.2 frames, and for DECnet.
fn rarely_seen(random: &mut Random) -> String {
    match random.below(4) {
        0 | 1 => {
            let kind = pick(
                random,
                &[
                    "", " i", " s", " u", " rr", " rnr", " rej", " ui", " ua", " disc", " dm",
                    " sabme", " test", " xid", " frmr",
                ],
            );
            format!("llc{kind}")
        }
        2 => pick(
            random,
            &[
                "l1",
                "l2",
                "iih",
                "lsp",
                "snp",
                "csnp",
                "psnp",
                "isis proto 20",
                "iso proto 0x82",
                "iso proto \\clnp",
                "iso proto \\esis",
                "iso proto \\isis",
                "ether proto \\loopback",
                "ppp[14] = 0xfe",
                "slip[13:2] > 7",
            ],
        )
        .into(),
        _ => {
            let direction = match direction(random) {
                "" => "host ",
                direction => direction,
            };
            let address = pick(random, &["1.2", "1.300", "(1.2 or 63.1023)", "5.5"]);
            format!("decnet {direction}{address}")
        }
    }
}

fn primitive(random: &mut Random) -> String {
    match random.below(14) {
        0 | 1 => pick(
            random,
            &[
                "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "igrp",
                "pim", "vrrp", "carp", "ah", "esp", "atalk", "aarp", "decnet", "lat", "sca",
                "moprc", "mopdl", "ipx", "netbeui", "stp", "iso", "clnp", "esis", "isis", "llc",
                "pppoed", "mpls", "vlan", "vlan 5", "vlan (7)",
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
                            "10.0.0.0 mask 255.0",
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
                    "port (53 or (80 or not 443))",
                    "port (80)",
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
        11 => rarely_seen(random),
        12 if random.one_in(3) => {
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
