//! The tree of an expression.

use alloc::boxed::Box;
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
    /// Of the sign between them.
    pub(super) at: Span,
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
    /// `PROTO[INDEX:SIZE]`.
    Load {
        proto: Proto,
        index: Box<Arith>,
        size: u8,
        at: Span,
        index_at: Span,
    },
    Negate(Box<Arith>),
    Binary {
        how: Binary,
        left: Box<Arith>,
        right: Box<Arith>,
        at: Span,
    },
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

/// An identifier: what its qualifiers made of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// An IPv4 address or the first bytes of one; those that the mask leaves out are not compared.
    V4 {
        address: Ipv4Addr,
        mask: Ipv4Addr,
    },
    V6 {
        address: Ipv6Addr,
        length: u8,
    },
    Mac([u8; 6]),
    /// Six bits of area and ten of node.
    Decnet(u16),
    /// From the first to the second, which is not smaller.
    Ports(u16, u16),
    /// Of Ethernet, IP or OSI, as the qualifiers say.
    Protocol(u32),
    /// Of Ethernet, by a name that means more than one number.
    EtherProtocol(Proto),
}

/// What is asked of the control byte of an IEEE 802.2 header: some of its bits, and their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Control {
    pub(super) mask: u32,
    pub(super) value: u32,
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
    /// At most 12 bits.
    Vlan(Option<u32>),
    /// At most 20 bits.
    Mpls(Option<u32>),
    PppoeDiscovery,
    /// At most 16 bits.
    PppoeSession(Option<u32>),
    Llc(Option<Control>),
    /// One of these types of IS-IS packets.
    Isis(&'static [u32]),
}
