//! What is refused: the sentence, and the characters that it is about.

use super::*;

/// The text that carets point at, and the sentence.
fn refused(expression: &str) -> (String, String) {
    let error = match compile(expression, &Options::default()) {
        Ok(program) => panic!("{expression}: {program:?}"),
        Err(error) => error,
    };
    let (from, place) = (&expression[..error.place().start], &expression[error.place()]);
    let carets = " ".repeat(from.chars().count()) + &"^".repeat(place.chars().count().max(1));
    assert_eq!(error.excerpt(expression).lines().nth(1), Some(&*carets), "{expression}");
    (place.into(), error.to_string())
}

fn refuses(cases: &[(&str, &str, &str)]) {
    for (expression, place, sentence) in cases {
        let (at, why) = refused(expression);
        assert_eq!(at, *place, "{expression}: {why}");
        assert!(why.contains(sentence), "{expression}: {why}");
    }
}

#[test]
fn of_a_long_expression_what_is_around_the_place_is_shown() {
    let good = "tcp port 80 or ".repeat(60);
    for text in [
        format!("{good}udp port x5"),
        format!("udp port x5 or {good}udp"),
        format!("{good}udp port x5 or {good}udp"),
    ] {
        let Err(error) = compile(&text, &Options::default()) else { panic!("no port is x5") };
        let excerpt = error.excerpt(&text);
        let (shown, carets) = excerpt.split_once('\n').expect("two lines");
        assert!(shown.len() <= 170 && shown.contains("..."), "{shown}");
        let place = carets.find('^').expect("a caret")..carets.len();
        assert_eq!(shown.get(place), Some("x5"), "{excerpt}");
    }
}

#[test]
fn numbers_are_pointed_at() {
    refuses(&[
        ("tcp port 99999", "99999", "not a port"),
        ("port 80 or 99999", "99999", "not a port"),
        ("port (80 or (99999))", "99999", "not a port"),
        ("portrange 1-70000", "70000", "not a port"),
        ("portrange 70000-1", "70000", "not a port"),
        ("vlan 5000", "5000", "not a valid VLAN: the largest is 4095"),
        ("vlan (5000)", "5000", "4095"),
        ("vlan -1", "-", "from 0 to 4095"),
        ("vlan (tcp)", "tcp", "number of VLAN"),
        ("mpls 1048576", "1048576", "not a valid MPLS label: the largest is 1048575"),
        ("pppoes 70000", "70000", "not a valid PPPoE session: the largest is 65535"),
        ("ip proto 300", "300", "not a valid protocol number: the largest is 255"),
        ("ether proto 0x10000", "0x10000", "not a valid EtherType: the largest is 65535"),
        ("4294967296 = ip[0]", "4294967296", "32 bits"),
        ("port 08", "08", "octal"),
        ("vlan 10-20", "10-20", "one number"),
        ("80", "80", "write port 80"),
        ("(5)", "", "a comparison belongs"),
        ("less", "", "a number of bytes"),
        ("less tcp", "tcp", "a number of bytes"),
    ]);
}

#[test]
fn ports_and_protocols_are_pointed_at() {
    refuses(&[
        ("tcp dst port", "", "ends where a port belongs"),
        ("port and tcp", "and", "a port belongs"),
        ("port tcp", "tcp", "word of the language"),
        ("port 10.0.0.1", "10.0.0.1", "a port belongs"),
        ("port nosuch", "nosuch", "by name"),
        ("port 80-90", "80-90", "portrange 80-90"),
        ("port ftp-data-ssh", "ftp-data-ssh", "by name"),
        ("portrange 80-nosuch", "nosuch", "by name"),
        ("portrange nosuch", "nosuch", "by name"),
        ("portrange 80 - 90", "-", "without spaces"),
        ("portrange 80-", "-", "both ends"),
        ("portrange 80\u{2013}90", "\u{2013}", "hyphen"),
        ("portrange", "", "ends where a range of ports belongs"),
        ("arp port 80", "arp port 80", "tcp, udp or sctp"),
        ("ip proto nosuch", "nosuch", "known by name"),
        ("ip proto tcp", "tcp", "is written \\tcp"),
        ("ether proto \\tcp", "\\tcp", "known by name"),
        ("iso proto \\tcp", "\\tcp", "clnp, esis and isis"),
        ("isis proto hello", "hello", "l1, l2, iih"),
        ("isis proto l1", "l1", "where a protocol belongs"),
        ("ip proto arp", "arp", "where a protocol belongs"),
        ("ip proto and tcp", "and", "a protocol belongs"),
        ("isis proto 300", "300", "255"),
        ("proto", "", "ends where a protocol belongs"),
        ("src proto 6", "src proto 6", "no source"),
        ("src ether proto \\arp", "ether", "an address belongs"),
        ("ether src proto \\arp", "ether src proto \\arp", "no source"),
        ("arp proto 6", "arp proto 6", "ether, ip, ip6, iso or isis"),
        ("nosuch proto 6", "nosuch", "not a word of the language"),
        ("llc nosuch", "nosuch", "not a type of LLC frame"),
        ("llc ip", "ip", "not a type of LLC frame"),
        ("pppoes and llc i", "llc i", "PPP has no"),
        ("mpls and l1", "l1", "MPLS"),
    ]);
}

#[test]
fn addresses_are_pointed_at() {
    refuses(&[
        ("host www.example.org", "www.example.org", "not looked up"),
        ("net 256.1.1.1", "256", "not a byte of an IPv4 address"),
        ("host 10.0.0.300 and tcp", "300", "not a byte of an IPv4 address"),
        ("host 10.0..1", "", "is missing here"),
        ("host 10.0.0.", "", "is missing here"),
        ("net 10.0.0.0.0/8", "0", "four bytes"),
        ("host 1.2.3.4.5.6.7.8", "5.6.7.8", "four bytes"),
        ("net 10.1.2.3/8", "/8", "the network is 10.0.0.0"),
        ("net 10.0.0.0/33", "33", "at most 32"),
        ("net 10.0.0.0/", "", "length of a prefix"),
        ("net 10.0.0.0/tcp", "tcp", "length of a prefix"),
        ("net 10.0.0.0 mask", "", "a netmask"),
        ("net 10.0.0.0 mask 8", "8", "a netmask"),
        ("net 10.0.0.0 mask 255.256.0.0", "256", "not a byte of an IPv4 address"),
        ("net 10.1.0.0 mask 255.0.0.0", "mask 255.0.0.0", "the network is 10.0.0.0"),
        ("mask 255.0.0.0", "mask", "after net"),
        ("host 10.0.0.0/8", "/8", "a host has no prefix length"),
        ("host 10.0.0.0 mask 255.0.0.0", "mask", "a host has no mask"),
        ("ip6 net 2001:db8::1/32", "/32", "the network is 2001:db8::"),
        ("net 2001:db8::/129", "129", "at most 128"),
        ("net 2001:db8:: mask 255.0.0.0", "mask", "as in 2001:db8::/32"),
        ("host 2001:db8::/32", "/32", "a host has no prefix length"),
        ("host 2001:db8::12345", "12345", "not a part of an IPv6 address"),
        ("host 2001:dbg::1", "dbg", "not a part of an IPv6 address"),
        ("host 2001::db8::1", "2001::db8::1", "not an IPv6 address"),
        ("host 2001:db8:1", "2001:db8:1", "not an IPv6 address"),
        ("ether host 02:00:5e:00:53", "02:00:5e:00:53", "six bytes"),
        ("ether host 02:00:5e:00:53:", "02:00:5e:00:53:", "six bytes"),
        ("ether host 02:00:5e:00:53:0g", "0g", "not a byte of a MAC address"),
        ("ether host 02:00:5e:00:53:001", "001", "not a byte of a MAC address"),
        ("ether host 02:00:5e:00:53:01:02", "02:00:5e:00:53:01:02", "six bytes"),
        ("ip6 host fe80::1%eth0", "%", "zone"),
        ("ether host 02-00-5e-00-53", "02-00-5e-00-53", "six bytes"),
        ("ether host nosuch", "nosuch", "not a MAC address"),
        ("ether host", "", "ends where an address belongs"),
        ("ether net 02:00:5e:00:53:01", "02:00:5e:00:53:01", "not a network"),
        ("host 02:00:5e:00:53:01", "host 02:00:5e:00:53:01", "ether host"),
        ("ether host 10.0.0.1", "ether host 10.0.0.1", "after ip, arp or rarp"),
        ("tcp host 10.0.0.1", "tcp host 10.0.0.1", "after ip, arp or rarp"),
        ("ip host 2001:db8::1", "ip host 2001:db8::1", "after ip6"),
        ("host tcp", "tcp", "an address belongs"),
        ("src and tcp", "and", "an address belongs"),
        ("src and dst", "", "ends where an address belongs"),
        ("host = 5", "=", "an address belongs"),
        ("tcp:80", "tcp:80", "only used within brackets"),
        ("decnet host 64.1", "64.1", "areas go to 63"),
        ("decnet host 1.1024", "1.1024", "nodes to 1023"),
        ("decnet host 5", "5", "as in decnet host 1.2"),
        ("decnet host 1.2.3", "1.2.3", "as in decnet host 1.2"),
        ("decnet src router", "router", "as in decnet host 1.2"),
        ("decnet net 1.2", "1.2", "decnet host 1.2"),
        ("decnet host", "", "an area and a node"),
        ("mpls and decnet host 1.2", "decnet host 1.2", "MPLS"),
        ("pppoes and ether host 1:2:3:4:5:6", "ether host 1:2:3:4:5:6", "no Ethernet"),
        ("ip broadcast", "ip broadcast", "mask"),
    ]);
}

#[test]
fn calculations_are_pointed_at() {
    refuses(&[
        ("ip[-1] = 0", "-1", "-1 is before it"),
        ("tcp and ip[2 - 5:2] = 0", "2 - 5", "-3 is before it"),
        ("ip[0xffffffff] = 0", "0xffffffff", "before it"),
        ("ip[]", "]", "a number belongs"),
        ("ip[0", "", "\"]\""),
        ("ip[0:3] = 1", "3", "1, 2 or 4"),
        ("ip[0:] = 1", "]", "1, 2 or 4"),
        ("ip[0]", "", "comparison"),
        ("ip[0] and tcp", "and", "comparison"),
        ("ip[0] =", "", "a number belongs"),
        ("ip[0] = and tcp", "and", "neither a number"),
        ("ip[0] = = 5", "=", "a number belongs"),
        ("= 5", "=", "before this comparison"),
        ("len", "", "comparison"),
        ("len > nosuch", "nosuch", "neither a number"),
        ("len > tcp", "", "\"[\""),
        ("tcp[flags] = 2", "flags", "neither a number"),
        ("ip[0] / 0 = 1", "/", "divides by zero"),
        ("ip[0] << 32 = 1", "<<", "32 bits"),
        ("(1 + 2) =", "", "a number belongs"),
        ("(ip[0] & (1 + 2) = 3", "", "closing parenthesis is missing"),
        ("ah[0] = 1", "ah[0]", "by its name"),
        ("radio[0] = 1", "radio", "802.11"),
    ]);
    // More values than there is memory for.
    let nested = format!("{}len{} = 1", "len + (".repeat(17), ")".repeat(17));
    let (at, why) = refused(&nested);
    assert_eq!(at, "+");
    assert!(why.contains("kept at the same time"), "{why}");
}

#[test]
fn structure_is_pointed_at() {
    refuses(&[
        ("tcp porte 80", "porte", "\"and\", \"or\""),
        ("tcp port 80 443", "443", "\"and\", \"or\""),
        ("tcp AND udp", "AND", "write and, in lower case"),
        ("TCP", "TCP", "write tcp, in lower case"),
        ("tcp & udp", "&", "conditions are joined"),
        ("tcp = 5", "=", "a number on its left"),
        ("ether type ip", "type", "ether proto"),
        ("tcp and", "", "ends where a condition belongs"),
        ("tcp and   ", "", "ends where a condition belongs"),
        ("not", "", "ends where a condition belongs"),
        ("tcp and or udp", "or", "before this \"or\""),
        ("tcp and )", ")", "belongs here"),
        ("tcp && || udp", "||", "belongs here"),
        ("(tcp or udp", "", "closing parenthesis is missing"),
        ("(tcp or (udp)   ", "", "closing parenthesis is missing"),
        ("(tcp udp)", "udp", "\"or\" or a closing parenthesis"),
        ("port (80 81)", "81", "\"or\" or a closing parenthesis"),
        ("port (80", "", "closing parenthesis is missing"),
        ("tcp)", ")", "closes nothing"),
        ("()", ")", "nothing in these parentheses"),
        ("tcp or ( )", ")", "nothing in these parentheses"),
        ("(", "", "ends where a condition belongs"),
        ("mpls and vlan", "vlan", "before MPLS"),
        ("mpls and arp", "arp", "MPLS"),
        ("gateway foo", "gateway", "names of hosts"),
        ("ip protochain 6", "protochain", "backward"),
        ("inbound", "inbound", "direction"),
        ("ifindex 5", "ifindex", "interface"),
        ("rnr 5", "rnr", "llc rnr"),
        ("type mgt", "type", "802.11"),
        ("wlan addr1 1:2:3:4:5:6", "addr1", "802.11"),
        ("oamf4s", "oamf4s", "ATM"),
        ("ether", "ether", "every frame"),
        ("tcp $ udp", "$", "'$' has no meaning"),
        ("port 80,443", ",", "',' has no meaning"),
        ("tcp port\u{a0}80", "\u{a0}", "U+00A0"),
        ("\u{201c}tcp\u{201d}", "\u{201c}", "U+201C"),
        ("tcp port ８０", "８", "'８' (U+FF18)"),
        ("host é", "é", "no meaning"),
        ("ip proto \\ tcp", "\\", "backslash"),
    ]);
    // At the end of the last word, not of the spaces behind it.
    let error = compile("(tcp  ", &Options::default()).unwrap_err();
    assert_eq!(error.place(), 4..4);
    let error = compile("host 10.0..1", &Options::default()).unwrap_err();
    assert_eq!(error.place(), 10..10);
    for expression in ["", " ", "\t\n"] {
        assert_eq!(listed(expression), "(000) ret      #262144\n", "nothing wants everything");
    }
}
