//! Where the headers are that the next words of an expression look at.

use alloc::format;
use alloc::vec::Vec;

use super::Error;
use super::generate::{Tests, and, byte, half, or, test, word};
use super::syntax::{Control, Span};
use crate::instruction::*;

/// EtherTypes and the numbers of IEEE 802.2 that stand for themselves below 1501.
pub(super) mod ethertype {
    pub(in super::super) const IP: u32 = 0x0800;
    pub(in super::super) const ARP: u32 = 0x0806;
    pub(in super::super) const RARP: u32 = 0x8035;
    pub(in super::super) const IP6: u32 = 0x86dd;
    pub(in super::super) const ATALK: u32 = 0x809b;
    pub(in super::super) const AARP: u32 = 0x80f3;
    pub(in super::super) const IPX: u32 = 0x8137;
    pub(in super::super) const MPLS: u32 = 0x8847;
    pub(in super::super) const LOOPBACK: u32 = 0x9000;
    pub(in super::super) const DECNET: u32 = 0x6003;
    pub(in super::super) const PPPOE_DISCOVERY: u32 = 0x8863;
    pub(in super::super) const PPPOE_SESSION: u32 = 0x8864;
    pub(in super::super) const SAP_IP: u32 = 0x06;
    pub(in super::super) const SAP_STP: u32 = 0x42;
    pub(in super::super) const SAP_IPX: u32 = 0xe0;
    pub(in super::super) const SAP_NETBEUI: u32 = 0xf0;
    pub(in super::super) const SAP_ISO: u32 = 0xfe;
}

/// Largest length of an IEEE 802.3 frame's payload; a larger number is an EtherType.
const LENGTH_MAX: u32 = 1500;
/// A bound of the offsets, so that no addition to them overflows.
const DEEPEST: u32 = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Ethernet,
    Ppp,
}

/// Offsets in bytes from the beginning of the frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offsets {
    link: Link,
    /// Of the link's header.
    header: u32,
    /// Of the field that says what the payload is.
    kind: u32,
    /// Of the payload.
    payload: u32,
    /// MPLS labels before the network header.
    labels: u32,
}

impl Default for Offsets {
    fn default() -> Self {
        Self { link: Link::Ethernet, header: 0, kind: 12, payload: 14, labels: 0 }
    }
}

impl Offsets {
    /// Of the link's header.
    pub(super) fn header(&self) -> u32 {
        self.header
    }

    /// Of the network's header.
    pub(super) fn network(&self) -> u32 {
        self.payload + 4 * self.labels
    }

    /// Of OSI's headers: on Ethernet behind that of IEEE 802.2, in PPP first.
    pub(super) fn osi(&self) -> u32 {
        match self.link {
            Link::Ethernet => self.network() + 3,
            Link::Ppp => self.network(),
        }
    }

    pub(super) fn is_ethernet(&self) -> bool {
        self.link == Link::Ethernet
    }

    pub(super) fn has_labels(&self) -> bool {
        self.labels > 0
    }

    /// Whether the frame carries this protocol.
    pub(super) fn carries(&self, protocol: u32, at: &Span) -> Result<Tests, Error> {
        if self.labels > 0 {
            return self.carries_below_labels(protocol, at);
        }
        Ok(match self.link {
            Link::Ppp => test(half(self.kind), JEQ, ppp_number(protocol)),
            Link::Ethernet => self.ethernet_carries(protocol),
        })
    }

    fn ethernet_carries(&self, protocol: u32) -> Tests {
        let is_type = |protocol| test(half(self.kind), JEQ, protocol);
        let is_length = || test(half(self.kind), JGT, LENGTH_MAX).negated();
        let both_saps = |sap: u32| test(half(self.payload), JEQ, sap << 8 | sap);
        match protocol {
            ethertype::SAP_ISO | ethertype::SAP_IP | ethertype::SAP_NETBEUI => {
                and(is_length(), both_saps(protocol))
            }
            ethertype::SAP_IPX => {
                let bare = or(
                    test(byte(self.payload), JEQ, ethertype::SAP_IPX),
                    test(half(self.payload), JEQ, 0xffff),
                );
                let framed = or(self.snap(0, ethertype::IPX), bare);
                or(is_type(ethertype::IPX), and(is_length(), framed))
            }
            ethertype::ATALK => {
                or(is_type(protocol), and(is_length(), self.snap(0x08_0007, protocol)))
            }
            ethertype::AARP => or(is_type(protocol), and(is_length(), self.snap(0, protocol))),
            sap if sap <= LENGTH_MAX => and(is_length(), test(byte(self.payload), JEQ, sap)),
            _ => is_type(protocol),
        }
    }

    /// A SNAP header: both service points 0xaa, unnumbered, an organisation and its protocol.
    fn snap(&self, organisation: u32, protocol: u32) -> Tests {
        let (high, low) = (0xaaaa_0300 | organisation >> 16, (organisation & 0xffff) << 16);
        and(test(word(self.payload + 4), JEQ, low | protocol), test(word(self.payload), JEQ, high))
    }

    /// MPLS does not say what it carries: the last label is followed by a version of IP.
    fn carries_below_labels(&self, protocol: u32, at: &Span) -> Result<Tests, Error> {
        let version = match protocol {
            ethertype::IP => 0x40,
            ethertype::IP6 => 0x60,
            _ => {
                let why = "after an MPLS label only IPv4 and IPv6 can be told apart";
                return Err(Error::new(at.clone(), why));
            }
        };
        let mut last = byte(self.network() - 2);
        last.push(Instruction::new(ALU | AND | K, 1));
        let mut first = byte(self.network());
        first.push(Instruction::new(ALU | AND | K, 0xf0));
        Ok(and(test(last, JEQ, 1), test(first, JEQ, version)))
    }

    fn room(&self, at: &Span) -> Result<(), Error> {
        if self.network() > DEEPEST {
            let why = format!("headers are not looked for beyond {DEEPEST} bytes");
            return Err(Error::new(at.clone(), why));
        }
        Ok(())
    }

    /// `vlan`: the frame has a tag here, and what follows looks behind it.
    pub(super) fn vlan(&mut self, id: Option<u32>, at: &Span) -> Result<Tests, Error> {
        self.room(at)?;
        if self.labels > 0 || self.link == Link::Ppp {
            let why = "a VLAN tag comes before MPLS labels and PPPoE, not after them";
            return Err(Error::new(at.clone(), why));
        }
        let is = |tpid| test(half(self.kind), JEQ, tpid);
        let mut tests = or(or(is(0x8100), is(0x88a8)), is(0x9100));
        if let Some(id) = id {
            tests = and(tests, masked(half(self.payload), 0xfff, id));
        }
        self.kind += 4;
        self.payload += 4;
        Ok(tests)
    }

    /// `mpls`: a label is here, and what follows looks behind it.
    pub(super) fn mpls(&mut self, label: Option<u32>, at: &Span) -> Result<Tests, Error> {
        self.room(at)?;
        let mut tests = if self.labels > 0 {
            // The one before is not the last.
            masked(byte(self.network() - 2), 1, 0)
        } else {
            self.carries(ethertype::MPLS, at)?
        };
        if let Some(label) = label {
            tests = and(tests, masked(word(self.network()), 0xffff_f000, label << 12));
        }
        self.labels += 1;
        Ok(tests)
    }

    /// `pppoes`: a PPPoE session, and what follows looks into its PPP.
    pub(super) fn pppoe(&mut self, session: Option<u32>, at: &Span) -> Result<Tests, Error> {
        self.room(at)?;
        let mut tests = self.carries(ethertype::PPPOE_SESSION, at)?;
        if let Some(session) = session {
            tests = and(tests, masked(word(self.network()), 0xffff, session));
        }
        let header = self.network() + 6;
        *self = Self { link: Link::Ppp, header, kind: header, payload: header + 2, labels: 0 };
        Ok(tests)
    }

    /// `llc`: a length instead of a type, and not Novell's bare IPX; then the control byte.
    pub(super) fn llc(&self, control: Option<Control>, at: &Span) -> Result<Tests, Error> {
        if self.link == Link::Ppp {
            return Err(Error::new(at.clone(), "PPP has no IEEE 802.2 header"));
        }
        let is_length = test(half(self.kind), JGT, LENGTH_MAX).negated();
        let is_llc = and(is_length, test(half(self.payload), JEQ, 0xffff).negated());
        Ok(match control {
            None => is_llc,
            Some(Control { mask, value }) => {
                and(is_llc, masked(byte(self.payload + 2), mask, value))
            }
        })
    }
}

/// Some bits of what is loaded.
pub(super) fn masked(mut load: Vec<Instruction>, mask: u32, value: u32) -> Tests {
    load.push(Instruction::new(ALU | AND | K, mask));
    test(load, JEQ, value)
}

/// PPP's number of a protocol (IANA, PPP DLL Protocol Numbers).
fn ppp_number(protocol: u32) -> u32 {
    match protocol {
        ethertype::IP => 0x21,
        ethertype::IP6 => 0x57,
        ethertype::DECNET => 0x27,
        ethertype::ATALK => 0x29,
        0x0600 => 0x25,
        ethertype::SAP_ISO => 0x23,
        ethertype::SAP_STP => 0x31,
        ethertype::SAP_IPX => 0x2b,
        ethertype::MPLS => 0x281,
        other => other,
    }
}
