//! The tree of an expression to a tree of tests.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use super::offsets::{Offsets, ethertype, masked};
use super::syntax::{Direction, Node, Primitive, Proto, Qualifiers, Span, Value};
use super::{Error, Options, relation};
use crate::instruction::*;

/// Most primitives and comparisons of an expression.
const TERMS_MAX: usize = 1024;

/// What is asked of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tests {
    Always(bool),
    Test(Test),
    Not(Box<Tests>),
    And(Box<Tests>, Box<Tests>),
    Or(Box<Tests>, Box<Tests>),
}

/// One question: what is loaded, and what it is compared with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Test {
    /// Leaves the value in the accumulator; never jumps.
    pub(super) load: Vec<Instruction>,
    /// One of `JEQ`, `JGT`, `JGE`, `JSET`, with `K` or `X`.
    pub(super) jump: u16,
    pub(super) k: u32,
}

impl Tests {
    pub(super) fn negated(self) -> Self {
        match self {
            Self::Not(inner) => *inner,
            Self::Always(answer) => Self::Always(!answer),
            other => Self::Not(Box::new(other)),
        }
    }
}

pub(super) fn and(first: Tests, second: Tests) -> Tests {
    match (first, second) {
        (Tests::Always(true), other) | (other, Tests::Always(true)) => other,
        (Tests::Always(false), _) => Tests::Always(false),
        (first, second) => Tests::And(Box::new(first), Box::new(second)),
    }
}

pub(super) fn or(first: Tests, second: Tests) -> Tests {
    match (first, second) {
        (Tests::Always(false), other) | (other, Tests::Always(false)) => other,
        (Tests::Always(true), _) => Tests::Always(true),
        (first, second) => Tests::Or(Box::new(first), Box::new(second)),
    }
}

pub(super) fn test(load: Vec<Instruction>, jump: u16, k: u32) -> Tests {
    Tests::Test(Test { load, jump: jump | K, k })
}

pub(super) fn byte(at: u32) -> Vec<Instruction> {
    vec![Instruction::new(LD | B | ABS, at)]
}

pub(super) fn half(at: u32) -> Vec<Instruction> {
    vec![Instruction::new(LD | H | ABS, at)]
}

pub(super) fn word(at: u32) -> Vec<Instruction> {
    vec![Instruction::new(LD | W | ABS, at)]
}

pub(super) fn generate(tree: &Node, options: &Options) -> Result<Tests, Error> {
    Generator { offsets: Offsets::default(), options: *options, terms: 0 }.node(tree)
}

pub(super) struct Generator {
    pub(super) offsets: Offsets,
    options: Options,
    terms: usize,
}

/// What is between source and destination of an expression that names neither.
fn directed(
    direction: Option<Direction>,
    source: impl FnOnce() -> Tests,
    destination: impl FnOnce() -> Tests,
) -> Tests {
    match direction {
        Some(Direction::Source) => source(),
        Some(Direction::Destination) => destination(),
        Some(Direction::Both) => and(source(), destination()),
        None | Some(Direction::Either) => or(source(), destination()),
    }
}

impl Generator {
    fn node(&mut self, node: &Node) -> Result<Tests, Error> {
        // Chains lean to the left and may be long: down their spine without recursion.
        let mut spine = Vec::new();
        let mut bottom = node;
        while let Node::And(left, _) | Node::Or(left, _) = bottom {
            spine.push(bottom);
            bottom = left;
        }
        let mut tests = self.leaf(bottom)?;
        for junction in spine.into_iter().rev() {
            tests = match junction {
                // Not the folding ones: what is behind a constant must make sense too.
                Node::And(_, right) => and(tests, self.node(right)?),
                Node::Or(_, right) => or(tests, self.node(right)?),
                _ => tests,
            };
        }
        Ok(tests)
    }

    fn leaf(&mut self, node: &Node) -> Result<Tests, Error> {
        match node {
            Node::Not(inner) => Ok(self.node(inner)?.negated()),
            Node::And(..) | Node::Or(..) => self.node(node),
            Node::Relation(relation) => {
                self.count(&relation.at)?;
                relation::generate(self, relation)
            }
            Node::Primitive(primitive, at) => {
                self.count(at)?;
                self.primitive(primitive, at)
            }
        }
    }

    fn count(&mut self, at: &Span) -> Result<(), Error> {
        self.terms += 1;
        if self.terms > TERMS_MAX {
            let why = format!("an expression has at most {TERMS_MAX} primitives");
            return Err(Error::new(at.clone(), why));
        }
        Ok(())
    }

    fn primitive(&mut self, primitive: &Primitive, at: &Span) -> Result<Tests, Error> {
        let length = || vec![Instruction::new(LD | W | LEN, 0)];
        match primitive {
            Primitive::Identifier(qualifiers, value) => self.identifier(*qualifiers, *value, at),
            Primitive::Proto(proto) => self.protocol(*proto, at),
            Primitive::Less(bytes) => Ok(test(length(), JGT, *bytes).negated()),
            Primitive::Greater(bytes) => Ok(test(length(), JGE, *bytes)),
            Primitive::Vlan(id) => self.offsets.vlan(*id, at),
            Primitive::Mpls(label) => self.offsets.mpls(*label, at),
            Primitive::PppoeDiscovery => self.offsets.carries(ethertype::PPPOE_DISCOVERY, at),
            Primitive::PppoeSession(session) => self.offsets.pppoe(*session, at),
            Primitive::Llc(control) => self.offsets.llc(*control, at),
            Primitive::Isis(types) => self.isis(types, at),
            Primitive::Broadcast(proto) => self.broadcast(*proto, at),
            Primitive::Multicast(proto) => self.multicast(*proto, at),
        }
    }

    // --- protocols ---

    /// A protocol by its word.
    pub(super) fn protocol(&self, proto: Proto, at: &Span) -> Result<Tests, Error> {
        let carries = |number| self.offsets.carries(number, at);
        let in_ip = |number| self.in_ip(number, at);
        let in_ip6 = |number| self.in_ip6(number, at);
        let in_both = |number| Ok(or(self.in_ip(number, at)?, self.in_ip6(number, at)?));
        match proto {
            Proto::Ether => Err(Error::new(
                at.clone(),
                "every frame is an Ethernet frame; \"ether\" goes before host, proto, broadcast or multicast",
            )),
            Proto::Ip => carries(ethertype::IP),
            Proto::Ip6 => carries(ethertype::IP6),
            Proto::Arp => carries(ethertype::ARP),
            Proto::Rarp => carries(ethertype::RARP),
            Proto::Atalk => carries(ethertype::ATALK),
            Proto::Aarp => carries(ethertype::AARP),
            Proto::Decnet => carries(ethertype::DECNET),
            Proto::Lat => carries(0x6004),
            Proto::Sca => carries(0x6007),
            Proto::Moprc => carries(0x6002),
            Proto::Mopdl => carries(0x6001),
            Proto::Ipx => carries(ethertype::SAP_IPX),
            Proto::Netbeui => carries(ethertype::SAP_NETBEUI),
            Proto::Stp => carries(ethertype::SAP_STP),
            Proto::Iso => carries(ethertype::SAP_ISO),
            Proto::Clnp => self.in_iso(0x81, at),
            Proto::Esis => self.in_iso(0x82, at),
            Proto::Isis => self.in_iso(0x83, at),
            Proto::Icmp => in_ip(1),
            Proto::Igmp => in_ip(2),
            Proto::Igrp => in_ip(9),
            Proto::Vrrp | Proto::Carp => in_ip(112),
            Proto::Icmp6 => in_ip6(58),
            Proto::Tcp => in_both(6),
            Proto::Udp => in_both(17),
            Proto::Esp => in_both(50),
            Proto::Ah => in_both(51),
            Proto::Pim => in_both(103),
            Proto::Sctp => in_both(132),
        }
    }

    fn in_ip(&self, number: u32, at: &Span) -> Result<Tests, Error> {
        let is_ip = self.offsets.carries(ethertype::IP, at)?;
        Ok(and(is_ip, test(byte(self.offsets.network() + 9), JEQ, number)))
    }

    /// The next header of IPv6, or that of a fragment header behind it.
    fn in_ip6(&self, number: u32, at: &Span) -> Result<Tests, Error> {
        let is_ip6 = self.offsets.carries(ethertype::IP6, at)?;
        let next = |value| test(byte(self.offsets.network() + 6), JEQ, value);
        let in_fragment = and(next(44), test(byte(self.offsets.network() + 40), JEQ, number));
        Ok(and(is_ip6, or(next(number), in_fragment)))
    }

    fn in_iso(&self, number: u32, at: &Span) -> Result<Tests, Error> {
        let is_iso = self.offsets.carries(ethertype::SAP_ISO, at)?;
        Ok(and(is_iso, test(byte(self.offsets.osi()), JEQ, number)))
    }

    fn isis(&self, types: &[u32], at: &Span) -> Result<Tests, Error> {
        let is = |number: &u32| test(byte(self.offsets.osi() + 4), JEQ, *number);
        let one_of = types.iter().map(is).reduce(or).unwrap_or(Tests::Always(false));
        Ok(and(self.in_iso(0x83, at)?, one_of))
    }

    /// `proto NUMBER` behind its qualifier.
    fn numbered(&self, number: u32, proto: Option<Proto>, at: &Span) -> Result<Tests, Error> {
        match proto {
            None => Ok(or(self.in_ip(number, at)?, self.in_ip6(number, at)?)),
            Some(Proto::Ether) => self.offsets.carries(number, at),
            Some(Proto::Ip) => self.in_ip(number, at),
            Some(Proto::Ip6) => self.in_ip6(number, at),
            Some(Proto::Iso) => self.in_iso(number, at),
            Some(Proto::Isis) => self.isis(&[number], at),
            Some(_) => Err(Error::new(
                at.clone(),
                "\"proto\" goes after ether, ip, ip6, iso or isis, or stands alone",
            )),
        }
    }

    // --- addresses ---

    fn multicast(&self, proto: Option<Proto>, at: &Span) -> Result<Tests, Error> {
        let network = self.offsets.network();
        match proto {
            None | Some(Proto::Ether) => {
                self.ethernet_only(at)?;
                Ok(test(byte(self.offsets.header()), JSET, 1))
            }
            Some(Proto::Ip) => Ok(and(
                self.offsets.carries(ethertype::IP, at)?,
                test(byte(network + 16), JGE, 224),
            )),
            Some(Proto::Ip6) => Ok(and(
                self.offsets.carries(ethertype::IP6, at)?,
                test(byte(network + 24), JEQ, 255),
            )),
            Some(_) => Err(Error::new(
                at.clone(),
                "\"multicast\" goes after ether, ip or ip6, or stands alone",
            )),
        }
    }

    fn broadcast(&self, proto: Option<Proto>, at: &Span) -> Result<Tests, Error> {
        match proto {
            None | Some(Proto::Ether) => self.mac([0xff; 6], Some(Direction::Destination), at),
            Some(Proto::Ip) => {
                let Some(mask) = self.options.netmask else {
                    let why = "\"ip broadcast\" depends on the network's mask, which is not known \
                               here; write dst host and the address";
                    return Err(Error::new(at.clone(), why));
                };
                let host = |value| {
                    let load = word(self.offsets.network() + 16);
                    if mask == 0 { test(load, JEQ, value) } else { masked(load, !mask, value) }
                };
                let is_ip = self.offsets.carries(ethertype::IP, at)?;
                Ok(and(is_ip, or(host(0), host(!mask))))
            }
            Some(_) => {
                Err(Error::new(at.clone(), "\"broadcast\" goes after ether or ip, or stands alone"))
            }
        }
    }

    fn ethernet_only(&self, at: &Span) -> Result<(), Error> {
        if self.offsets.is_ethernet() {
            return Ok(());
        }
        let why = "after pppoes there is no Ethernet header: write this before it";
        Err(Error::new(at.clone(), why))
    }

    fn mac(&self, mac: [u8; 6], direction: Option<Direction>, at: &Span) -> Result<Tests, Error> {
        self.ethernet_only(at)?;
        let [a, b, c, d, e, f] = mac;
        let (high, low) = (u32::from(u16::from_be_bytes([a, b])), u32::from_be_bytes([c, d, e, f]));
        let equal = |offset| {
            let offset = self.offsets.header() + offset;
            and(test(word(offset + 2), JEQ, low), test(half(offset), JEQ, high))
        };
        Ok(directed(direction, || equal(6), || equal(0)))
    }

    fn identifier(&self, qualifiers: Qualifiers, value: Value, at: &Span) -> Result<Tests, Error> {
        match value {
            Value::Protocol(_) | Value::EtherProtocol(_) if qualifiers.direction.is_some() => {
                let why = "a protocol has no source and no destination: leave out the direction";
                Err(Error::new(at.clone(), why))
            }
            Value::Protocol(number) => self.numbered(number, qualifiers.proto, at),
            Value::EtherProtocol(proto) => self.protocol(proto, at),
            Value::Ports(from, to) => self.ports(from.into(), to.into(), qualifiers, at),
            Value::V4 { address, mask } => self.v4(address.into(), mask.into(), qualifiers, at),
            Value::V6 { address, length } => self.v6(address, length, qualifiers, at),
            Value::Decnet(address) => self.decnet(address, qualifiers.direction, at),
            Value::Mac(mac) if qualifiers.proto == Some(Proto::Ether) => {
                self.mac(mac, qualifiers.direction, at)
            }
            Value::Mac(_) => {
                let why = "a MAC address goes after ether host, ether src or ether dst";
                Err(Error::new(at.clone(), why))
            }
        }
    }

    fn v4(
        &self,
        address: u32,
        mask: u32,
        qualifiers: Qualifiers,
        at: &Span,
    ) -> Result<Tests, Error> {
        let compared = |at: u32| match mask {
            u32::MAX => test(word(at), JEQ, address),
            _ => masked(word(at), mask, address & mask),
        };
        let network = self.offsets.network();
        let of = |carries: u32, source: u32, destination: u32| {
            Ok(and(
                self.offsets.carries(carries, at)?,
                directed(
                    qualifiers.direction,
                    || compared(network + source),
                    || compared(network + destination),
                ),
            ))
        };
        let ip = || of(ethertype::IP, 12, 16);
        match qualifiers.proto {
            Some(Proto::Ip) => ip(),
            Some(Proto::Arp) => of(ethertype::ARP, 14, 24),
            Some(Proto::Rarp) => of(ethertype::RARP, 14, 24),
            None if self.offsets.has_labels() => ip(),
            None => Ok(or(or(ip()?, of(ethertype::ARP, 14, 24)?), of(ethertype::RARP, 14, 24)?)),
            Some(_) => Err(Error::new(
                at.clone(),
                "an IPv4 address goes after ip, arp or rarp, or stands without a protocol; other conditions are \
                 joined with \"and\"",
            )),
        }
    }

    fn v6(
        &self,
        address: Ipv6Addr,
        length: u8,
        qualifiers: Qualifiers,
        at: &Span,
    ) -> Result<Tests, Error> {
        if !matches!(qualifiers.proto, None | Some(Proto::Ip6)) {
            let why = "an IPv6 address goes after ip6, or stands without a protocol";
            return Err(Error::new(at.clone(), why));
        }
        let address = u128::from(address);
        let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        let words = |value: u128| {
            let bytes = value.to_be_bytes();
            let (words, _) = bytes.as_chunks::<4>();
            [0, 1, 2, 3].map(|n: usize| words.get(n).map_or(0, |word| u32::from_be_bytes(*word)))
        };
        let (values, masks) = (words(address), words(mask));
        let network = self.offsets.network();
        let compared = |offset: u32| {
            let mut tests = Tests::Always(true);
            for (place, (value, mask)) in (0u32..).zip(values.into_iter().zip(masks)) {
                let load = word(network + offset + 4 * place);
                tests = match mask {
                    0 => tests,
                    u32::MAX => and(tests, test(load, JEQ, value)),
                    _ => and(tests, masked(load, mask, value)),
                };
            }
            tests
        };
        let is_ip6 = self.offsets.carries(ethertype::IP6, at)?;
        Ok(and(is_ip6, directed(qualifiers.direction, || compared(8), || compared(24))))
    }

    /// An address in the routing header of DECnet (Phase IV, section 9), which is a short or a long
    /// one, and may have one byte of padding before it. Its lower byte comes first.
    fn decnet(
        &self,
        address: u16,
        direction: Option<Direction>,
        at: &Span,
    ) -> Result<Tests, Error> {
        const SHORT: u32 = 2;
        const LONG: u32 = 6;
        let is_decnet = self.offsets.carries(ethertype::DECNET, at)?;
        // Behind the length.
        let header = self.offsets.network() + 2;
        let address = address.swap_bytes().into();
        let within = |format: u32, place: u32| {
            let at = |place| test(half(header + place), JEQ, address);
            let bare = and(masked(byte(header), 7, format), at(place));
            let padded = and(masked(half(header), 0xff07, 0x8100 | format), at(place + 1));
            or(bare, padded)
        };
        let source = || or(within(SHORT, 3), within(LONG, 15));
        let destination = || or(within(SHORT, 1), within(LONG, 7));
        Ok(and(is_decnet, directed(direction, source, destination)))
    }

    // --- ports ---

    fn ports(&self, from: u32, to: u32, qualifiers: Qualifiers, at: &Span) -> Result<Tests, Error> {
        let protocols: &[u32] = match qualifiers.proto {
            None => &[132, 6, 17],
            Some(Proto::Tcp) => &[6],
            Some(Proto::Udp) => &[17],
            Some(Proto::Sctp) => &[132],
            Some(_) => {
                let why = "a port goes after tcp, udp or sctp, or stands without a protocol";
                return Err(Error::new(at.clone(), why));
            }
        };
        let network = self.offsets.network();
        let one_of = |at: u32| {
            let is = |number: &u32| test(byte(at), JEQ, *number);
            protocols.iter().map(is).reduce(or).unwrap_or(Tests::Always(false))
        };
        let within = |load: Vec<Instruction>| {
            if from == to {
                test(load, JEQ, from)
            } else {
                and(test(load.clone(), JGE, from), test(load, JGT, to).negated())
            }
        };
        // Behind the fixed header of IPv6, whatever extension headers there are.
        let in_ip6 = |port: u32| within(half(network + 40 + port));
        let in_ip = |port: u32| {
            let mut load = vec![Instruction::new(LDX | B | MSH, network)];
            load.push(Instruction::new(LD | H | IND, network + port));
            within(load)
        };
        let six = and(
            self.offsets.carries(ethertype::IP6, at)?,
            and(one_of(network + 6), directed(qualifiers.direction, || in_ip6(0), || in_ip6(2))),
        );
        let four = and(
            self.offsets.carries(ethertype::IP, at)?,
            and(
                and(one_of(network + 9), self.first_fragment()),
                directed(qualifiers.direction, || in_ip(0), || in_ip(2)),
            ),
        );
        Ok(or(six, four))
    }

    /// An IPv4 packet that is whole or the first fragment, so that its ports are in it.
    pub(super) fn first_fragment(&self) -> Tests {
        test(half(self.offsets.network() + 6), JSET, 0x1fff).negated()
    }
}
