//! Values of the wrong type: every kind of key says what it takes, in the words of its page.

use super::*;

/// Words that are the library's and Rust's, and no user's.
const FOREIGN: [&str; 14] = [
    "struct",
    "enum",
    "variant",
    "field",
    "u8",
    "u16",
    "u32",
    "u64",
    "usize",
    "invalid type",
    "sequence",
    "map",
    "boolean",
    "spanned",
];

#[track_caller]
fn in_words_of_the_page(text: &str, error: &str) {
    // What the user wrote himself is in quotes.
    let said = error.split('"').step_by(2).collect::<String>();
    let word = |word: &str| {
        let mut words = said.split(|c: char| !c.is_alphanumeric());
        if word.contains(' ') { said.contains(word) } else { words.any(|it| it == word) }
    };
    let foreign = FOREIGN.iter().find(|it| word(it));
    assert_eq!(foreign, None, "{text:?}: {error}");
}

const WHOLE_16: &str = "a whole number from 0 to 65535";
const WHOLE_32: &str = "a whole number from 0 to 4294967295";
const WHOLE: &str = "a whole number that is not negative";
const TEXT: &str = "a text in quotes";

#[test]
fn a_wrong_type_is_told_with_its_key_and_what_belongs_there() {
    let top = |text: &str| text.to_owned();
    let network = |text: &str| format!("[network.a]\n{text}");
    let port = |text: &str| format!("[network.a.port.p]\n{text}");
    let guard = |text: &str| format!("[network.a.guard]\n{text}");
    let table = |text: &str| format!("`{text}` takes a table");
    for (text, said) in [
        (
            top("log_level = 5"),
            "`log_level` takes \"error\", \"warning\", \"info\" or \"debug\", not 5".to_owned(),
        ),
        (top("log_level = \"loud\""), "\"info\" or \"debug\", not the text \"loud\"".to_owned()),
        (top("network = 5"), "`network` takes a table, not 5".to_owned()),
        (top("network = \"a\""), "`network` takes a table, not the text \"a\"".to_owned()),
        (top("[network]\na = 5"), "`a` takes a table, [network.NAME], not 5".to_owned()),
        (network("dir = 5"), format!("`dir` takes {TEXT}, not 5")),
        (network("dir = [\"/a\"]"), format!("`dir` takes {TEXT}, not a list")),
        (
            network("group = true"),
            "`group` takes a name, or a number from 0 to 4294967295, not true".to_owned(),
        ),
        (network("mode = 0o660"), format!("`mode` takes {TEXT}, not ")),
        (
            network("nodes = \"stream\""),
            "`nodes` takes a list in brackets, not the text \"stream\"".to_owned(),
        ),
        (
            network("nodes = [\"stream\", 5]"),
            "`nodes` takes \"stream\", \"ctl\", \"dgram\" or \"seqpacket\", not 5".to_owned(),
        ),
        (network("nodes = [\"tap\"]"), "or \"seqpacket\", not the text \"tap\"".to_owned()),
        (
            network("idle_timeout = \"5s\""),
            format!("`idle_timeout` takes {WHOLE}, not the text \"5s\""),
        ),
        (network("idle_timeout = -1"), format!("`idle_timeout` takes {WHOLE}, not -1")),
        (network("idle_timeout = 1.5"), format!("`idle_timeout` takes {WHOLE}, not 1.5")),
        (
            network("forwarding = true"),
            "`forwarding` takes \"switch\" or \"hub\", not true".to_owned(),
        ),
        (
            network("forwarding = { switch = 1 }"),
            "`forwarding` takes \"switch\" or \"hub\", not a table".to_owned(),
        ),
        (network("mtu = \"big\""), format!("`mtu` takes {WHOLE_16}, not the text \"big\"")),
        (network("mtu = 65536"), format!("`mtu` takes {WHOLE_16}, not 65536")),
        (network("mtu = 2026-01-01"), format!("`mtu` takes {WHOLE_16}, not a date")),
        (network("subnet = 10"), format!("`subnet` takes {TEXT}, not 10")),
        (network("prefix = {}"), format!("`prefix` takes {TEXT}, not a table")),
        (network("ports = \"all\""), format!("`ports` takes {WHOLE}, not the text \"all\"")),
        (
            network("peers = \"all\""),
            "`peers` takes \"own-namespace\" or \"any\", not the text \"all\"".to_owned(),
        ),
        (network("uplink = false"), format!("`uplink` takes {TEXT}, not false")),
        (network("addresses = 1"), "`addresses` takes \"plan\" or \"outside\", not 1".to_owned()),
        (network("gateway = 1"), "`gateway` takes a text or a list of texts, not 1".to_owned()),
        (network("dhcp = \"yes\""), "`dhcp` takes true or false, not the text \"yes\"".to_owned()),
        (network("resolvers = \"192.0.2.53\""), "`resolvers` takes a list in brackets".to_owned()),
        (network("publish = \"80:a:80\""), "`publish` takes a list in brackets".to_owned()),
        (network("publish = [80]"), format!("`publish` takes {TEXT}, not 80")),
        (network("allow_host = 80"), "`allow_host` takes a list in brackets, not 80".to_owned()),
        (
            network("allow_host = [true]"),
            "`allow_host` takes a port such as 80 or \"udp/53\", not true".to_owned(),
        ),
        (
            network("route = { to = \"::/0\", via = \"fd00::9\" }"),
            "`route` takes a list in brackets, not a table".to_owned(),
        ),
        (network("route = [5]"), "`route` takes a table such as { to = ".to_owned()),
        (network("route = [{ to = 5, via = \"fd00::9\" }]"), format!("`to` takes {TEXT}, not 5")),
        (network("route = [{ to = \"::/0\" }]"), "The key `via` is missing".to_owned()),
        (network("routed = 1"), "`routed` takes true or false, not 1".to_owned()),
        (network("filter = \"tcp\""), table("filter")),
        (network("filter = { in = 5 }"), format!("`in` takes {TEXT}, not 5")),
        (network("port = 5"), "`port` takes a table, not 5".to_owned()),
        (
            network("port = { p = 5 }"),
            "`p` takes a table, [network.NAME.port.NAME], not 5".to_owned(),
        ),
        (network("mtu = 1\nmtu = 2"), "This key appears twice".to_owned()),
        (
            network("guard = 5"),
            "`guard` takes \"static\", \"learn\", \"dhcp\", \"off\", or a table, not 5".to_owned(),
        ),
        (
            network("guard = \"on\""),
            "`guard` takes \"off\", \"learn\", \"dhcp\" or \"static\", not the text \"on\""
                .to_owned(),
        ),
        (port("mac = 5"), "`mac` takes a text or a list of texts, not 5".to_owned()),
        (port("mac = [5]"), format!("`mac` takes {TEXT}, not 5")),
        (
            port("owner = -1"),
            "`owner` takes a name, or a number from 0 to 4294967295, not -1".to_owned(),
        ),
        (port("vlan = \"10\""), format!("`vlan` takes {WHOLE_16}, not the text \"10\"")),
        (port("trunk = 5"), table("trunk")),
        (
            port("trunk = { native = \"x\" }"),
            format!("`native` takes {WHOLE_16}, not the text \"x\""),
        ),
        (port("trunk = { allowed = 10 }"), "`allowed` takes a list in brackets, not 10".to_owned()),
        (
            port("trunk = { allowed = [true] }"),
            "`allowed` takes a VLAN, a range such as \"20-29\", or \"all\", not true".to_owned(),
        ),
        (port("isolated = \"no\""), "`isolated` takes true or false".to_owned()),
        (port("community = -1"), format!("`community` takes {WHOLE_16}, not -1")),
        (port("queue_bytes = 18446744073709551616"), format!("`queue_bytes` takes {WHOLE}, not ")),
        (
            guard("mode = 1"),
            "`mode` takes \"off\", \"learn\", \"dhcp\" or \"static\", not 1".to_owned(),
        ),
        (guard("actions = \"audit\""), table("actions")),
        (guard("actions = { all = 1 }"), format!("`all` takes {TEXT}, not 1")),
        (guard("first_come = 1.0"), format!("`first_come` takes {WHOLE_16}, not 1.0")),
        (
            guard("ethertypes = [\"0x6003\"]"),
            format!("`ethertypes` takes {WHOLE_16}, not the text \"0x6003\""),
        ),
        (guard("rates = 5"), table("rates")),
        (guard("rates = { arp = 5 }"), table("arp")),
        (
            guard("rates = { arp = { per_second = \"x\" } }"),
            format!("`per_second` takes {WHOLE_32}"),
        ),
        (guard("rates = { arp = { burst = 5 } }"), "The key `per_second` is missing".to_owned()),
        (guard("storm = 5"), "`storm` takes a table such as { broadcast = 200, ".to_owned()),
        (
            guard("storm = { broadcast = \"on\" }"),
            "`broadcast` takes a number, or \"off\", not the text \"on\"".to_owned(),
        ),
        (guard("quarantine = true"), table("quarantine")),
        (guard("quarantine = { violations = 1 }"), "The key `within` is missing".to_owned()),
        (
            guard("mdns = []"),
            "`mdns` takes \"flood\", \"off\", \"proxy\" or \"reflect\", not a list".to_owned(),
        ),
        (guard("snooping = 0"), "`snooping` takes true or false, not 0".to_owned()),
    ] {
        let error = parse(&text, Path::new("n.toml")).expect_err(&text);
        let line = text.lines().count();
        let said = if said.starts_with('`') || said.starts_with("The") || said.starts_with("This") {
            format!(": {said}")
        } else {
            said
        };
        let shown = bad(&text);
        assert!(shown.contains(&said), "{text:?}: {shown:?} does not say {said:?}");
        in_words_of_the_page(&text, &shown);
        // A table that lacks a key is shown where it begins.
        let (at, _) = error.position().expect("a place");
        assert!(at == line || shown.contains("missing"), "{text:?}: {shown}");
    }
}
