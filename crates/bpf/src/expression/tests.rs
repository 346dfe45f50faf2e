use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::instruction::listing;

mod errors;
mod words;

fn listed(expression: &str) -> String {
    let program = compile(expression, &Options::default())
        .unwrap_or_else(|e| panic!("{e}\n{}", e.excerpt(expression)));
    let mut text = String::new();
    listing(program.instructions(), &mut text).unwrap();
    text
}

#[test]
fn a_port_is_compiled_as_tightly_as_by_hand() {
    assert_eq!(
        listed("tcp dst port 80"),
        "(000) ldh      [12]\n\
         (001) jeq      #0x86dd          jt 2\tjf 6\n\
         (002) ldb      [20]\n\
         (003) jeq      #0x6             jt 4\tjf 15\n\
         (004) ldh      [56]\n\
         (005) jeq      #0x50            jt 14\tjf 15\n\
         (006) jeq      #0x800           jt 7\tjf 15\n\
         (007) ldb      [23]\n\
         (008) jeq      #0x6             jt 9\tjf 15\n\
         (009) ldh      [20]\n\
         (010) jset     #0x1fff          jt 15\tjf 11\n\
         (011) ldxb     4*([14]&0xf)\n\
         (012) ldh      [x + 16]\n\
         (013) jeq      #0x50            jt 14\tjf 15\n\
         (014) ret      #262144\n\
         (015) ret      #0\n"
    );
}

#[test]
fn nothing_and_the_obvious() {
    assert_eq!(listed(""), "(000) ret      #262144\n");
    assert_eq!(listed("1 = 1"), "(000) ret      #262144\n");
    assert_eq!(listed("not 1 < 2"), "(000) ret      #0\n");
    assert_eq!(listed("tcp or not tcp or 2 > 1"), "(000) ret      #262144\n");
    // Known on the way.
    assert_eq!(listed("ip and arp and udp"), listed("ip and arp"));
    assert_eq!(listed("ip and not ip6 and not arp"), listed("ip"));
    assert_eq!(listed("ip or ip or (ip)"), listed("ip"));
}

#[test]
fn the_same_said_differently() {
    for (one, other) in [
        ("host 192.0.2.1", "ip host 192.0.2.1 or arp host 192.0.2.1 or rarp host 192.0.2.1"),
        ("192.0.2.1", "host 192.0.2.1"),
        ("net 10", "net 10.0.0.0/8"),
        ("net 10.1", "net 10.1.0.0 mask 255.255.0.0"),
        ("src or dst port 53", "port 53"),
        ("port domain", "port 53"),
        ("portrange 20-21", "portrange 21-20"),
        ("tcp port 80 or 443", "tcp port 80 or tcp port 443"),
        ("port (80 or 443)", "port 80 or port 443"),
        ("host (192.0.2.1 or not 192.0.2.2)", "host 192.0.2.1 or not host 192.0.2.2"),
        ("src 192.0.2.1 and not 192.0.2.2", "src 192.0.2.1 and not src 192.0.2.2"),
        ("ip proto \\tcp", "ip proto 6"),
        ("ether proto \\arp", "arp"),
        ("ether proto 0x800", "ip"),
        ("tcp && !udp || icmp", "(tcp and not udp) or icmp"),
        ("ether host 2:0:5e:0:53:1", "ether host 0200.5e00.5301"),
        ("ether host 02-00-5e-00-53-01", "ether host 02005e005301"),
        ("tcp[tcpflags] & (tcp-syn | tcp-fin) != 0", "tcp[13] & 3 != 0"),
        ("icmp[icmptype] = icmp-echo", "icmp[0] = 8"),
        ("len <= 100", "less 100"),
        ("1 + 2 * 3 = ip[0]", "7 = ip[0]"),
        ("broadcast", "ether dst ff:ff:ff:ff:ff:ff"),
        ("(ip[0] & 0xf) != 5", "ip[0] & 15 != 5"),
        ("((tcp))", "tcp"),
        ("((1 + 2) = ip[0])", "3 = ip[0]"),
        ("link[0] = 0x10", "ether[020 - 020] = 020"),
        ("ppp[1] = slip[2]", "ether[1] = ether[2]"),
        ("vlan (5)", "vlan 5"),
        ("mpls ((5))", "mpls 5"),
        ("pppoes (5)", "pppoes 5"),
        ("port (80 or (81 or not 82))", "port 80 or (port 81 or not port 82)"),
        ("net 10.1.0.0 mask 255.255", "net 10.1"),
        ("portrange http", "port 80"),
        ("iso proto \\clnp", "clnp"),
        ("iso proto \\esis", "es-is"),
        ("iso proto 0x83", "isis"),
        ("lsp", "isis proto 18 or isis proto 20"),
        ("ether proto \\loopback", "ether proto 0x9000"),
        ("ip proto \\ipip", "ip proto 94"),
        ("icmp6[icmp6type] = icmp6-destinationunreach", "icmp6[0] = 1"),
    ] {
        // Not word for word: compare what they say where it may differ.
        let (one, other) = (compile(one, &Options::default()), compile(other, &Options::default()));
        let (one, other) = (one.unwrap(), other.unwrap());
        if one.instructions().last() == other.instructions().last()
            && one.instructions().len() == other.instructions().len()
        {
            assert_eq!(one.instructions(), other.instructions());
        } else {
            panic!("{one:?}\n{other:?}");
        }
    }
}

#[test]
fn size_and_depth_are_bounded() {
    let deep = format!("{}tcp{}", "(".repeat(65), ")".repeat(65));
    let why = |expression: &str| compile(expression, &Options::default()).unwrap_err().to_string();
    assert!(why(&deep).contains("nested deeper"));
    let deep = format!("{}tcp", "not ".repeat(65));
    assert!(why(&deep).contains("nested deeper"));
    let deep = format!("port {}80{}", "(".repeat(65), ")".repeat(65));
    assert!(why(&deep).contains("nested deeper"));
    let long = format!("tcp{}", " or tcp".repeat(1024));
    assert!(why(&long).contains("at most 1024 primitives"));
    assert!(compile(&" ".repeat(EXPRESSION_MAX + 1), &Options::default()).is_err());
    // Jumps of more than 255 instructions.
    let wide: Vec<String> = (0..300).map(|n| format!("ether[{n}:2] = {}", n + 1)).collect();
    let program = compile(&wide.join(" and "), &Options::default()).unwrap();
    assert!(program.instructions().iter().any(|i| i.code == crate::instruction::JMP));
    let mut frame: Vec<u8> = alloc::vec![0; 400];
    assert!(!program.accepts(&frame[..]));
    let or = compile(&wide.join(" or "), &Options::default()).unwrap();
    assert!(!or.accepts(&frame[..]));
    frame[300] = 44;
    frame[299] = 1;
    assert!(or.accepts(&frame[..]), "ether[299:2] is 300");
}

#[test]
fn the_mask_of_the_network_is_used_if_it_is_known() {
    let options = Options { netmask: Some(0xffff_ff00), snaplen: 96 };
    let program = compile("ip broadcast", &options).unwrap();
    let mut frame = [0u8; 34];
    frame[12] = 8;
    for (last, wanted) in [(0, 96), (255, 96), (7, 0)] {
        frame[33] = last;
        assert_eq!(program.run(&frame[..]), wanted, "{last}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    #[test]
    fn any_text_is_a_program_or_an_error_with_a_place(
        words in proptest::collection::vec(prop::sample::select(&[
            "tcp", "udp", "ip", "ip6", "arp", "and", "or", "not", "(", ")", "[", "]", ":", "host",
            "net", "port", "src", "dst", "10.0.0.1", "80", "2001:db8::/32", "vlan", "mpls",
            "pppoes", "ether", "=", "!=", "<", "&", "+", "/", "len", "0x10", "proto", "\\udp",
            "less", "portrange", "1-2", "broadcast", "-", "02:00:5e:00:53:01", "llc", "icmp6",
            "rnr", "ui", "l1", "snp", "iso", "isis", "decnet", "1.2", "1.300", "mask", ":2",
        ][..]), 0..16),
        frame in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let text = words.join(" ");
        match compile(&text, &Options::default()) {
            Ok(program) => { let _ = program.run(&frame[..]); }
            Err(error) => prop_assert!(error.place().end <= text.len(), "{error}"),
        }
    }

    #[test]
    fn any_bytes_as_text(text in ".{0,60}") {
        if let Err(error) = compile(&text, &Options::default()) {
            let _ = error.excerpt(&text);
        }
    }
}
