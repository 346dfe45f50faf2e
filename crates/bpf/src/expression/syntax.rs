//! The tree of an expression.

use alloc::boxed::Box;
use alloc::string::String;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::ops::Range;

/// A place in the text.
pub(super) type Span = Range<usize>;

/// A whole expression, or a part of it in parentheses.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Not(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Primitive(Primitive, Span),
    Relation(Box<Relation>),
}

/// `EXPR RELOP EXPR`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Relation {
    pub(super) left: Arith,
    pub(super) relop: Relop,
    pub(super) right: Arith,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relop {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
}

/// A number that is calculated from a frame.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Arith {
    Number(u32),
    Length,
    Load { proto: Proto, index: Box<Arith>, size: u8, at: Span },
    Negate(Box<Arith>),
    Binary { how: Binary, left: Box<Arith>, right: Box<Arith>, at: Span },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    And,
    Or,
    Xor,
    Lsh,
    Rsh,
}

/// Words that name a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proto {
    Ether,
    Ip,
    Ip6,
    Arp,
    Rarp,
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmp6,
    Igmp,
    Igrp,
    Pim,
    Vrrp,
    Carp,
    Ah,
    Esp,
    Atalk,
    Aarp,
    Decnet,
    Lat,
    Sca,
    Moprc,
    Mopdl,
    Ipx,
    Netbeui,
    Stp,
    Iso,
    Clnp,
    Esis,
    Isis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Source,
    Destination,
    Either,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Host,
    Net,
    Port,
    PortRange,
    Protocol,
}

/// What stands before an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Qualifiers {
    pub(super) proto: Option<Proto>,
    pub(super) direction: Option<Direction>,
    pub(super) kind: Option<Kind>,
}

/// An identifier.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Number(u32),
    /// An IPv4 address, of which so many octets (1 to 4) were written.
    V4 {
        address: Ipv4Addr,
        octets: u8,
    },
    V4Mask {
        address: Ipv4Addr,
        mask: Ipv4Addr,
    },
    V6 {
        address: Ipv6Addr,
        length: u8,
    },
    Mac([u8; 6]),
    Name(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Primitive {
    /// Qualifiers and an identifier.
    Identifier(Qualifiers, Value),
    /// A protocol by its word.
    Proto(Proto),
    Broadcast(Option<Proto>),
    Multicast(Option<Proto>),
    /// `less N`: at most N bytes.
    Less(u32),
    /// `greater N`: at least N bytes.
    Greater(u32),
    Vlan(Option<u32>),
    Mpls(Option<u32>),
    PppoeDiscovery,
    PppoeSession(Option<u32>),
    Llc,
}
