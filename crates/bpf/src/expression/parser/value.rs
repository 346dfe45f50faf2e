//! Identifiers: what stands behind the qualifiers, and is read as they say.

use alloc::format;
use alloc::string::String;
use core::net::{Ipv4Addr, Ipv6Addr};

use super::super::Error;
use super::super::lexer::{Sign, What};
use super::super::names;
use super::super::offsets::ethertype;
use super::super::syntax::{Kind, Proto, Qualifiers, Span, Value};
use super::Parser;

impl Parser<'_> {
    pub(super) fn value(&mut self, qualifiers: Qualifiers) -> Result<Value, Error> {
        match qualifiers.kind {
            Some(Kind::Port) => self.port(),
            Some(Kind::PortRange) => self.port_range(),
            Some(Kind::Protocol) => self.protocol(qualifiers.proto),
            _ if qualifiers.proto == Some(Proto::Decnet) => self.decnet(qualifiers.kind),
            _ => self.address(qualifiers),
        }
    }

    /// What is said of something that is none of what `noun` says.
    fn misplaced(&self, noun: &str) -> Error {
        match self.peek() {
            None => self.error(format!("the expression ends where {noun} belongs")),
            Some(What::Word(word)) if !matches!(word.as_str(), "and" | "or" | "not") => {
                self.error(format!("\"{word}\" is a word of the language where {noun} belongs"))
            }
            Some(_) => self.error(format!("{noun} belongs here")),
        }
    }

    /// A name, which is a word that has no other meaning, or has a backslash.
    fn name(&self) -> Option<String> {
        match self.peek() {
            Some(What::Escaped(name)) => Some(name.clone()),
            Some(What::Word(name)) if !names::is_reserved(name) => Some(name.clone()),
            _ => None,
        }
    }

    // --- ports and protocols ---

    fn port(&mut self) -> Result<Value, Error> {
        let at = self.place();
        let port = match (self.peek(), self.name()) {
            (Some(What::Number(number)), _) => port_number(*number, at)?,
            (_, Some(name)) => match names::port(&name) {
                Some(port) => port,
                None if is_range(&name) => {
                    return Err(self.error(format!("a range is written portrange {name}")));
                }
                None => return Err(unknown_port(&name, at)),
            },
            _ => return Err(self.misplaced("a port")),
        };
        self.next += 1;
        Ok(Value::Ports(port, port))
    }

    fn port_range(&mut self) -> Result<Value, Error> {
        let at = self.place();
        let ports = match (self.peek(), self.name()) {
            (Some(What::Number(number)), _) => {
                let port = port_number(*number, at)?;
                (port, port)
            }
            (_, Some(name)) => {
                let end = |text: &str, at: usize| {
                    let at = at..at + text.len();
                    match text.parse() {
                        Ok(number) => port_number(number, at),
                        Err(_) => names::port(text).ok_or_else(|| unknown_port(text, at)),
                    }
                };
                match (names::port(&name), name.split_once('-')) {
                    (Some(port), _) => (port, port),
                    (None, Some((from, to))) => {
                        let start = at.end - name.len();
                        (end(from, start)?, end(to, start + from.len() + 1)?)
                    }
                    (None, None) => return Err(unknown_port(&name, at)),
                }
            }
            _ => return Err(self.misplaced("a range of ports")),
        };
        self.next += 1;
        if self.peek() == Some(&What::Sign(Sign::Minus)) {
            let why = "a range of ports is written as 6000-6008, with both ends, a hyphen and \
                       without spaces";
            return Err(self.error(why));
        }
        Ok(Value::Ports(ports.0.min(ports.1), ports.0.max(ports.1)))
    }

    fn protocol(&mut self, proto: Option<Proto>) -> Result<Value, Error> {
        let value = match self.peek() {
            Some(What::Number(number)) => {
                let (most, what) = match proto {
                    Some(Proto::Ether) => (0xffff, "EtherType"),
                    _ => (0xff, "protocol number"),
                };
                if *number > most {
                    let why = format!("{number} is not a valid {what}: the largest is {most}");
                    return Err(self.error(why));
                }
                Value::Protocol(*number)
            }
            Some(What::Word(word)) if names::is_reserved(word) => {
                return Err(match protocol_named(word, proto) {
                    Some(_) => self.error(format!(
                        "\"{word}\" is a word of the language: as the name of a protocol it is \
                         written \\{word}"
                    )),
                    None => self.misplaced("a protocol"),
                });
            }
            Some(What::Word(name) | What::Escaped(name)) => match protocol_named(name, proto) {
                Some(value) => value,
                None => return Err(self.unknown_protocol(name, proto)),
            },
            _ => return Err(self.misplaced("a protocol")),
        };
        self.next += 1;
        Ok(value)
    }

    fn unknown_protocol(&self, name: &str, proto: Option<Proto>) -> Error {
        self.error(match proto {
            Some(Proto::Iso) => format!(
                "\"{name}\" is not a protocol of OSI: they are clnp, esis and isis, or numbers"
            ),
            Some(Proto::Isis) => String::from(
                "a type of IS-IS packets is given by its number, or is a word alone: l1, l2, iih, \
                 lsp, snp, csnp or psnp",
            ),
            _ => format!("\"{name}\" is not a protocol that is known by name: give its number"),
        })
    }

    // --- addresses ---

    fn address(&mut self, qualifiers: Qualifiers) -> Result<Value, Error> {
        let Qualifiers { proto, kind, .. } = qualifiers;
        let at = self.place();
        match self.peek() {
            Some(What::Number(number)) if qualifiers == Qualifiers::default() => {
                Err(self.error(format!("a number alone is not a condition: write port {number}")))
            }
            Some(What::Number(number)) => {
                let number = *number;
                self.next += 1;
                let (network, mask) = promoted(number);
                if let Some(mask) = self.mask(network.into(), kind)? {
                    return Ok(Value::V4 { address: network.into(), mask: mask.into() });
                }
                let (address, mask) =
                    if kind == Some(Kind::Net) { (network, mask) } else { (number, u32::MAX) };
                Ok(Value::V4 { address: address.into(), mask: mask.into() })
            }
            Some(What::V4(address, octets)) => {
                let (address, octets) = (*address, u32::from(*octets));
                self.next += 1;
                let mask = match self.mask(address, kind)? {
                    Some(mask) => mask,
                    None => u32::MAX.checked_shl(32 - 8 * octets).unwrap_or(u32::MAX),
                };
                Ok(Value::V4 { address, mask: mask.into() })
            }
            Some(What::V6(address)) => {
                let address = *address;
                self.next += 1;
                if self.peek() == Some(&What::Sign(Sign::Percent)) {
                    return Err(
                        self.error("a frame does not tell its zone: leave out what follows the %")
                    );
                }
                Ok(Value::V6 { address, length: self.v6_length(address, kind)? })
            }
            Some(What::Mac(_)) if kind == Some(Kind::Net) => {
                Err(self.error("a MAC address is not a network"))
            }
            Some(What::Mac(mac)) => {
                let mac = *mac;
                self.next += 1;
                Ok(Value::Mac(mac))
            }
            _ => Err(match self.name() {
                Some(name) => no_address(&name, proto, at),
                None => self.misplaced("an address"),
            }),
        }
    }

    /// `/LENGTH` or `mask MASK` behind an IPv4 address.
    fn mask(&mut self, address: Ipv4Addr, kind: Option<Kind>) -> Result<Option<u32>, Error> {
        let start = self.place().start;
        let mask = if let Some(length) = self.length("an IPv4", 32, kind)? {
            u32::MAX.checked_shl(32 - length).unwrap_or(0)
        } else if self.word_at(0) == Some("mask") {
            no_host(kind, "mask", self.place())?;
            self.next += 1;
            match self.peek() {
                Some(What::V4(mask, _)) => {
                    let mask = u32::from(*mask);
                    self.next += 1;
                    mask
                }
                Some(What::Word(name)) if dotted(name) => {
                    return Err(no_address(name, None, self.place()));
                }
                _ => return Err(self.error("a netmask such as 255.255.255.0 belongs here")),
            }
        } else {
            return Ok(None);
        };
        if u32::from(address) & !mask != 0 {
            let network = Ipv4Addr::from(u32::from(address) & mask);
            let why = format!("{address} has bits outside its netmask: the network is {network}");
            return Err(Error::new(start..self.since(0).end, why));
        }
        Ok(Some(mask))
    }

    fn v6_length(&mut self, address: Ipv6Addr, kind: Option<Kind>) -> Result<u8, Error> {
        let start = self.place().start;
        if self.word_at(0) == Some("mask") {
            let why = "an IPv6 network has a length instead of a mask, as in 2001:db8::/32";
            return Err(self.error(why));
        }
        let Some(length) = self.length("an IPv6", 128, kind)? else { return Ok(128) };
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        if u128::from(address) & !mask != 0 {
            let network = Ipv6Addr::from(u128::from(address) & mask);
            let why = format!("{address} has bits outside its prefix: the network is {network}");
            return Err(Error::new(start..self.since(0).end, why));
        }
        Ok(length as u8)
    }

    /// `/LENGTH`, which is at most `most`.
    fn length(&mut self, of: &str, most: u32, kind: Option<Kind>) -> Result<Option<u32>, Error> {
        let start = self.place().start;
        if !self.take_sign(Sign::Slash) {
            return Ok(None);
        }
        let at = self.place();
        let length = self.number(&format!("the length of a prefix, 0 to {most},"))?;
        if length > most {
            return Err(Error::new(at, format!("{of} prefix has at most {most} bits")));
        }
        // 128 bits are a host.
        if length < 128 {
            no_host(kind, "prefix length", start..at.end)?;
        }
        Ok(Some(length))
    }

    /// `AREA.NODE`, which is a token like the beginning of an IPv4 address if both are small.
    fn decnet(&mut self, kind: Option<Kind>) -> Result<Value, Error> {
        let at = self.place();
        if kind == Some(Kind::Net) {
            return Err(self.error("there is no net for DECnet: write decnet host 1.2"));
        }
        let text = match self.peek() {
            Some(What::V4(address, 2)) => {
                let [area, node, ..] = address.octets();
                self.next += 1;
                return decnet_address(area.into(), node.into(), &at);
            }
            Some(What::Word(text)) => text.split_once('.'),
            _ => None,
        };
        let Some((Ok(area), Ok(node))) = text.map(|(area, node)| (area.parse(), node.parse()))
        else {
            return Err(
                self.error("an area and a node of DECnet belong here, as in decnet host 1.2")
            );
        };
        let value = decnet_address(area, node, &at)?;
        self.next += 1;
        Ok(value)
    }
}

fn protocol_named(name: &str, proto: Option<Proto>) -> Option<Value> {
    match proto {
        Some(Proto::Ether) if name == "loopback" => Some(Value::Protocol(ethertype::LOOPBACK)),
        Some(Proto::Ether) => names::ether_protocol(name).map(Value::EtherProtocol),
        Some(Proto::Iso) => names::iso_protocol(name).map(Value::Protocol),
        Some(Proto::Isis) => None,
        _ => names::ip_protocol(name).map(Value::Protocol),
    }
}

fn port_number(number: u32, at: Span) -> Result<u16, Error> {
    u16::try_from(number)
        .map_err(|_| Error::new(at, format!("{number} is not a port: the largest is 65535")))
}

fn is_range(name: &str) -> bool {
    let number = |end: &str| end.parse::<u32>().is_ok();
    name.split_once('-').is_some_and(|(from, to)| number(from) && number(to))
}

fn unknown_port(name: &str, at: Span) -> Error {
    Error::new(at, format!("\"{name}\" is not a port that is known by name: give its number"))
}

fn no_host(kind: Option<Kind>, what: &str, at: Span) -> Result<(), Error> {
    if kind == Some(Kind::Host) {
        let why = format!("a host has no {what}: write net instead of host, or leave it out");
        return Err(Error::new(at, why));
    }
    Ok(())
}

/// Whether it was meant as an IPv4 address.
fn dotted(name: &str) -> bool {
    name.contains('.') && name.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// What is wrong with a name where an address belongs.
fn no_address(name: &str, proto: Option<Proto>, at: Span) -> Error {
    if proto == Some(Proto::Ether) {
        let why =
            format!("\"{name}\" is not a MAC address: it has six bytes, as in 02:00:5e:00:53:01");
        return Error::new(at, why);
    }
    if let Some(small) = names::in_small_letters(name) {
        return Error::new(at, format!("write {small}, in lower case"));
    }
    if !dotted(name) {
        let why = format!(
            "\"{name}\" is not a word of the language, and names of hosts are not looked up: give an address"
        );
        return Error::new(at, why);
    }
    let mut start = at.end - name.len();
    for (place, part) in name.split('.').enumerate() {
        let why = match part.parse::<u8>() {
            _ if place == 4 => String::from("an IPv4 address has four bytes: this is one too many"),
            Ok(_) => {
                start += part.len() + 1;
                continue;
            }
            Err(_) if part.is_empty() => String::from("a byte of the IPv4 address is missing here"),
            Err(_) => format!("{part} is not a byte of an IPv4 address: the largest is 255"),
        };
        let end = if place == 4 { at.end } else { start + part.len() };
        return Error::new(start.min(at.end)..end, why);
    }
    Error::new(at, format!("{name} is not an IPv4 address"))
}

fn decnet_address(area: u32, node: u32, at: &Span) -> Result<Value, Error> {
    match (u16::try_from(area), u16::try_from(node)) {
        (Ok(area @ ..64), Ok(node @ ..1024)) => Ok(Value::Decnet(area << 10 | node)),
        _ => {
            let why = format!(
                "{area}.{node} is not an address of DECnet: areas go to 63 and nodes to 1023"
            );
            Err(Error::new(at.clone(), why))
        }
    }
}

/// A number as the first octets of an IPv4 network, and the mask of what was written.
fn promoted(mut number: u32) -> (u32, u32) {
    let mut mask = u32::MAX;
    while number != 0 && number & 0xff00_0000 == 0 {
        number <<= 8;
        mask <<= 8;
    }
    (number, mask)
}
