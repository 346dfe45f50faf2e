//! The shape of the TOML text. `docs/configuration.md` says what each key means.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

/// A value that is one of some words. Who writes another one is told them all, whatever it is that he wrote.
macro_rules! words {
    ($name:ident: $($word:literal => $variant:ident),+) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Word;
                impl serde::de::Visitor<'_> for Word {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        choice(f, &[$($word),+])
                    }

                    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<$name, E> {
                        match word {
                            $($word => Ok($name::$variant),)+
                            _ => Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)),
                        }
                    }
                }
                from.deserialize_str(Word)
            }
        }
    };
}

/// A number, or a text that is looked at later. (What serde makes of an enum without tags points at the whole list that a
/// wrong value is in.)
macro_rules! number_or_text {
    ($name:ident: $number:ident($type:ty), $text:ident, $expecting:literal) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Visit;
                impl serde::de::Visitor<'_> for Visit {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<$name, E> {
                        <$type>::try_from(number).map($name::$number).map_err(|_| {
                            E::invalid_value(serde::de::Unexpected::Signed(number), &self)
                        })
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        Ok($name::$text(text.to_owned()))
                    }
                }
                from.deserialize_any(Visit)
            }
        }
    };
}

/// Words to choose from: `"a", "b" or "c"`.
fn choice(f: &mut std::fmt::Formatter<'_>, words: &[&str]) -> std::fmt::Result {
    for (position, word) in words.iter().enumerate() {
        let before = match position {
            0 => "",
            last if last + 1 == words.len() => " or ",
            _ => ", ",
        };
        write!(f, "{before}{word:?}")?;
    }
    Ok(())
}

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub log_level: Option<LogLevel>,
    pub network: Option<Spanned<BTreeMap<Spanned<String>, Network>>>,
}

/// `log_level`.
#[derive(Debug, Clone, Copy)]
pub enum LogLevel {
    Error,
    Warning,
    Info,
    Debug,
}

words! { LogLevel: "error" => Error, "warning" => Warning, "info" => Info, "debug" => Debug }

/// `[network.NAME]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [network.NAME]")]
pub struct Network {
    pub dir: Option<Spanned<PathBuf>>,
    pub group: Option<Spanned<Account>>,
    pub mode: Option<Spanned<String>>,
    pub nodes: Option<Vec<Spanned<Node>>>,
    pub idle_timeout: Option<Spanned<u64>>,
    pub forwarding: Option<Forwarding>,
    pub mtu: Option<Spanned<u16>>,
    pub subnet: Option<Spanned<String>>,
    pub prefix: Option<Spanned<String>>,
    pub ports: Option<Spanned<usize>>,
    pub ports_per_user: Option<Spanned<usize>>,
    pub clients_per_user: Option<Spanned<usize>>,
    pub peers: Option<Peers>,
    pub mac_total: Option<Spanned<usize>>,
    pub mac_ageing: Option<Spanned<u64>>,
    pub max_macs: Option<Spanned<u16>>,
    pub queue_frames: Option<Spanned<usize>>,
    pub queue_bytes: Option<Spanned<usize>>,
    pub uplink: Option<Spanned<String>>,
    pub addresses: Option<Spanned<Addresses>>,
    pub gateway: Option<Spanned<OneOrMore<String>>>,
    pub dhcp: Option<Spanned<bool>>,
    pub advertise: Option<Spanned<bool>>,
    pub dhcpv6: Option<Spanned<bool>>,
    pub dns: Option<Spanned<bool>>,
    pub resolvers: Option<Vec<Spanned<String>>>,
    pub publish: Option<Spanned<Vec<Spanned<String>>>>,
    pub allow_host: Option<Spanned<Vec<Spanned<PortText>>>>,
    pub route: Option<Spanned<Vec<Route>>>,
    pub routed: Option<bool>,
    pub filter: Option<Filter>,
    pub guard: Option<Spanned<Guard>>,
    pub port: Option<Spanned<BTreeMap<Spanned<String>, Port>>>,
}

/// `addresses`: where guests have theirs from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// The network's own plan.
    Plan,
    /// DHCP and router advertisements of the segment.
    Outside,
}

words! { Addresses: "plan" => Plan, "outside" => Outside }

/// `forwarding`.
#[derive(Debug, Clone, Copy)]
pub enum Forwarding {
    Switch,
    Hub,
}

words! { Forwarding: "switch" => Switch, "hub" => Hub }

/// `peers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Peers {
    /// Processes in the hypervisor's own PID namespace: no guests, no containers.
    #[default]
    OwnNamespace,
    /// Whoever can open the socket.
    Any,
}

words! { Peers: "own-namespace" => OwnNamespace, "any" => Any }

/// A user or group, by name or number; a number may be written as text as well.
#[derive(Debug)]
pub enum Account {
    Number(u32),
    Name(String),
}

number_or_text! { Account: Number(u32), Name, "a name, or a number from 0 to 4294967295" }

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// One of `nodes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    Stream,
    Ctl,
    Dgram,
    Seqpacket,
}

words! { Node: "stream" => Stream, "ctl" => Ctl, "dgram" => Dgram, "seqpacket" => Seqpacket }

/// `[network.NAME.port.NAME]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [network.NAME.port.NAME]")]
pub struct Port {
    pub mac: Option<Spanned<OneOrMore<String>>>,
    pub ipv4: Option<Spanned<OneOrMore<String>>>,
    pub ipv6: Option<Spanned<OneOrMore<String>>>,
    pub max_macs: Option<Spanned<u16>>,
    pub owner: Option<Spanned<Account>>,
    pub group: Option<Spanned<Account>>,
    pub mode: Option<Spanned<String>>,
    pub nodes: Option<Vec<Spanned<Node>>>,
    pub connections: Option<Spanned<usize>>,
    pub vlan: Option<Spanned<u16>>,
    pub trunk: Option<Spanned<Trunk>>,
    pub isolated: Option<bool>,
    pub community: Option<u16>,
    pub guard: Option<Spanned<Guard>>,
    pub raw_offload: Option<bool>,
    pub filter: Option<Filter>,
    pub queue_frames: Option<Spanned<usize>>,
    pub queue_bytes: Option<Spanned<usize>>,
}

/// `guard`: a table, or only its mode.
#[derive(Debug)]
pub struct Guard(pub GuardTable);

impl<'de> Deserialize<'de> for Guard {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> serde::de::Visitor<'de> for Visit {
            type Value = Guard;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"static\", \"learn\", \"dhcp\", \"off\", or a table")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Guard, E> {
                let mode = GuardMode::deserialize(serde::de::value::StrDeserializer::new(text))?;
                Ok(Guard(GuardTable { mode: Some(mode), ..GuardTable::default() }))
            }

            fn visit_map<M: serde::de::MapAccess<'de>>(self, map: M) -> Result<Guard, M::Error> {
                GuardTable::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                    .map(Guard)
            }
        }
        from.deserialize_any(Visit)
    }
}

/// `guard` as a table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { mode = \"learn\" }")]
pub struct GuardTable {
    pub mode: Option<GuardMode>,
    pub actions: Option<BTreeMap<Spanned<String>, Spanned<String>>>,
    pub first_come: Option<Spanned<u16>>,
    pub ethertypes: Option<Spanned<Vec<u16>>>,
    pub link_local_v4: Option<bool>,
    pub delegated_prefixes: Option<bool>,
    pub segments: Option<Spanned<u16>>,
    pub segment_min: Option<u16>,
    pub groups: Option<u16>,
    #[serde(default)]
    pub rates: Rates,
    #[serde(default)]
    pub storm: Storm,
    pub quarantine: Option<Spanned<Quarantine>>,
    pub bpdu_shutdown: Option<u32>,
    /// The rest is of networks only.
    pub snooping: Option<Spanned<bool>>,
    pub mdns: Option<Spanned<Mdns>>,
    pub only_router: Option<Spanned<bool>>,
}

/// `mode` of `guard`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardMode {
    Off,
    Learn,
    Dhcp,
    Static,
}

words! { GuardMode: "off" => Off, "learn" => Learn, "dhcp" => Dhcp, "static" => Static }

/// `mdns` of `guard`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mdns {
    Flood,
    Off,
    Proxy,
    Reflect,
}

words! { Mdns: "flood" => Flood, "off" => Off, "proxy" => Proxy, "reflect" => Reflect }

/// `rates` of `guard`.
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { arp = { per_second = 50, burst = 100 } }"
)]
pub struct Rates {
    pub arp: Option<Rate>,
    pub unknown: Option<Rate>,
    pub dhcp: Option<Rate>,
    pub nd: Option<Rate>,
    pub solicitations: Option<Rate>,
    pub duplicates: Option<Rate>,
    pub groups: Option<Rate>,
    pub errors: Option<Rate>,
}

/// One of `rates`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { per_second = 50, burst = 100 }")]
pub struct Rate {
    pub per_second: u32,
    pub burst: Option<u32>,
}

/// `storm` of `guard`.
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { broadcast = 200, bytes_per_second = \"off\" }"
)]
pub struct Storm {
    pub broadcast: Option<Limit>,
    pub multicast: Option<Limit>,
    pub unknown: Option<Limit>,
    pub bytes_per_second: Option<Limit>,
    pub shutdown: Option<u32>,
}

/// A number a second, or none at all.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "expected a number, or \"off\"")]
pub enum Limit {
    Number(u32),
    Off(Off),
}

/// The word.
#[derive(Debug, Clone, Copy)]
pub enum Off {
    Off,
}

words! { Off: "off" => Off }

/// `quarantine` of `guard`; times in seconds.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { violations = 100, within = 10, release = 300 }"
)]
pub struct Quarantine {
    pub violations: u32,
    pub within: u32,
    pub release: u32,
}

/// A value, or a list of them.
#[derive(Debug)]
pub enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<'de> Deserialize<'de> for OneOrMore<String> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> serde::de::Visitor<'de> for Visit {
            type Value = OneOrMore<String>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(OneOrMore::One(text.to_owned()))
            }

            fn visit_seq<S: serde::de::SeqAccess<'de>>(
                self,
                list: S,
            ) -> Result<Self::Value, S::Error> {
                Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(list))
                    .map(OneOrMore::More)
            }
        }
        from.deserialize_any(Visit)
    }
}

impl<T> OneOrMore<T> {
    /// All of them.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

/// A port of the host, as number or with its protocol: `80`, `"tcp/80"`.
#[derive(Debug)]
pub enum PortText {
    Number(u16),
    Text(String),
}

number_or_text! { PortText: Number(u16), Text, "a port such as 80 or \"udp/53\"" }

/// One of `route`.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { to = \"10.9.0.0/16\", via = \"10.0.0.9\" }"
)]
pub struct Route {
    pub to: Spanned<String>,
    pub via: Spanned<String>,
}

/// `filter`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { in = \"not udp\" }")]
pub struct Filter {
    pub r#in: Option<Spanned<String>>,
    pub out: Option<Spanned<String>>,
}

/// `trunk`.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { native = 1, allowed = [10, \"20-29\"] }"
)]
pub struct Trunk {
    pub native: Option<u16>,
    #[serde(default)]
    pub allowed: Vec<Vlans>,
}

/// A VLAN, or a range of them as text: `"20-29"`, or `"all"`.
#[derive(Debug)]
pub enum Vlans {
    One(u16),
    Range(String),
}

number_or_text! { Vlans: One(u16), Range, "a VLAN, a range such as \"20-29\", or \"all\"" }
