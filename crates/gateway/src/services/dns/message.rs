//! Questions and the answers made here (RFC 1035, 4; EDNS is RFC 6891).
//!
//! Of a question only what is needed is read: the header, the one question, and the OPT record.
//! Answers of resolvers are passed on without being taken apart; see [`super::response`].

use std::net::{Ipv4Addr, Ipv6Addr};

use super::name::Name;

/// Bytes of the header of a message.
pub(crate) const HEADER_LEN: usize = 12;

/// Bytes that anybody takes in a datagram (RFC 1035, 4.2.1).
pub(crate) const PLAIN_ANSWER_MAX: usize = 512;

/// Bits of the second word.
pub(crate) mod flag {
    /// An answer.
    pub(crate) const RESPONSE: u16 = 0x8000;
    pub(crate) const OPCODE: u16 = 0x7800;
    pub(crate) const AUTHORITATIVE: u16 = 0x0400;
    pub(crate) const TRUNCATED: u16 = 0x0200;
    pub(crate) const RECURSION_DESIRED: u16 = 0x0100;
    pub(crate) const RECURSION_AVAILABLE: u16 = 0x0080;
    pub(crate) const AUTHENTIC: u16 = 0x0020;
    pub(crate) const CHECKING_DISABLED: u16 = 0x0010;
    pub(crate) const RCODE: u16 = 0x000f;
}

/// Types of records, and of questions.
pub(crate) mod kind {
    pub(crate) const A: u16 = 1;
    pub(crate) const NS: u16 = 2;
    pub(crate) const SOA: u16 = 6;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const OPT: u16 = 41;
    pub(crate) const DS: u16 = 43;
    pub(crate) const DNSKEY: u16 = 48;
    pub(crate) const TKEY: u16 = 249;
    pub(crate) const TSIG: u16 = 250;
    pub(crate) const IXFR: u16 = 251;
    pub(crate) const AXFR: u16 = 252;
    pub(crate) const MAILB: u16 = 253;
    pub(crate) const MAILA: u16 = 254;
    pub(crate) const ANY: u16 = 255;
}

/// The class of everything we know.
pub(crate) const CLASS_IN: u16 = 1;

/// What became of a question. Above 15 only with EDNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Rcode {
    NoError = 0,
    FormErr = 1,
    ServFail = 2,
    NxDomain = 3,
    NotImp = 4,
    Refused = 5,
    BadVers = 16,
}

/// What a question says about EDNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edns {
    /// Bytes that the asker takes in a datagram.
    pub(crate) size: u16,
    pub(crate) version: u8,
    /// The asker wants the records of DNSSEC.
    pub(crate) dnssec: bool,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) id: u16,
    pub(crate) flags: u16,
    pub(crate) name: Name,
    /// The name in the letters of the asker, who may compare them.
    pub(crate) spelling: Vec<u8>,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    pub(crate) edns: Option<Edns>,
}

/// Why a message is no question that can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoQuery {
    /// There is nothing to answer to.
    Runt,
    /// An answer, which must not be answered.
    Response,
    /// To be answered with this code.
    Wrong(Rcode),
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.first_chunk().copied().map(u16::from_be_bytes)
}

/// The second word, if there is a whole header.
pub(crate) fn flags(message: &[u8]) -> Option<u16> {
    message.first_chunk::<HEADER_LEN>()?;
    word(message, 2)
}

/// Counts of the four sections.
pub(crate) fn counts(message: &[u8]) -> Option<[u16; 4]> {
    message.first_chunk::<HEADER_LEN>()?;
    Some([word(message, 4)?, word(message, 6)?, word(message, 8)?, word(message, 10)?])
}

/// Where the name that begins at `at` ends, without following its pointer.
pub(crate) fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    let start = at;
    loop {
        let len = usize::from(*message.get(at)?);
        match len {
            0 => return Some(at + 1),
            1..=63 => at += 1 + len,
            0xc0..=0xff => return message.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
        if at - start > 255 {
            return None;
        }
    }
}

/// One record, without what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordAt {
    /// Where its type is.
    pub(crate) at: usize,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    /// Where the next record begins.
    pub(crate) end: usize,
    /// Its owner is the root.
    pub(crate) of_root: bool,
}

/// Reads the record at `at`.
pub(crate) fn record(message: &[u8], at: usize) -> Option<RecordAt> {
    let name_end = skip_name(message, at)?;
    let ttl = message.get(name_end + 4..name_end + 8)?.first_chunk().copied()?;
    let len = usize::from(word(message, name_end + 8)?);
    let end = name_end + 10 + len;
    message.get(name_end + 10..end)?;
    Some(RecordAt {
        at: name_end,
        kind: word(message, name_end)?,
        class: word(message, name_end + 2)?,
        ttl: u32::from_be_bytes(ttl),
        end,
        of_root: message.get(at) == Some(&0),
    })
}

impl Query {
    /// Reads a question.
    pub(crate) fn parse(message: &[u8]) -> Result<Self, NoQuery> {
        let flags = flags(message).ok_or(NoQuery::Runt)?;
        let wrong = NoQuery::Wrong;
        if flags & flag::RESPONSE != 0 {
            return Err(NoQuery::Response);
        }
        if flags & flag::OPCODE != 0 {
            return Err(wrong(Rcode::NotImp));
        }
        let form = wrong(Rcode::FormErr);
        let [questions, answers, authorities, more] = counts(message).ok_or(form)?;
        if questions != 1 || answers != 0 {
            return Err(form);
        }
        let (name, len) = message.get(HEADER_LEN..).and_then(Name::parse).ok_or(form)?;
        let behind = HEADER_LEN + len;
        let kind = word(message, behind).ok_or(form)?;
        let class = word(message, behind + 2).ok_or(form)?;
        let spelling = message.get(HEADER_LEN..behind).unwrap_or_default().to_vec();
        let mut query = Self {
            id: word(message, 0).ok_or(form)?,
            flags,
            name,
            spelling,
            kind,
            class,
            edns: None,
        };
        // An IXFR has a SOA record here; everything else should have nothing.
        let mut at = behind + 4;
        for index in 0..u32::from(authorities) + u32::from(more) {
            let record = record(message, at).ok_or(form)?;
            at = record.end;
            if record.kind != kind::OPT || index < u32::from(authorities) {
                continue;
            }
            if query.edns.is_some() || !record.of_root {
                return Err(form);
            }
            let [_, version, high, _] = record.ttl.to_be_bytes();
            query.edns = Some(Edns { size: record.class, version, dnssec: high & 0x80 != 0 });
        }
        Ok(query)
    }

    /// Bytes that the asker takes in a datagram.
    pub(crate) fn answer_max(&self) -> usize {
        self.edns.map_or(PLAIN_ANSWER_MAX, |edns| usize::from(edns.size).max(PLAIN_ANSWER_MAX))
    }

    /// The same question for a resolver: nothing else that the asker sent is passed on, since
    /// options of EDNS are between neighbours (RFC 6891, 6.1.1). Its identifier is zero.
    pub(crate) fn for_resolver(&self, size: u16) -> Vec<u8> {
        let passed = flag::RECURSION_DESIRED | flag::AUTHENTIC | flag::CHECKING_DISABLED;
        let mut message = Vec::with_capacity(HEADER_LEN + self.spelling.len() + 4 + 11);
        header(&mut message, 0, self.flags & passed, [1, 0, 0, u16::from(self.edns.is_some())]);
        self.question(&mut message);
        if let Some(edns) = self.edns {
            opt(&mut message, size, 0, edns.dnssec);
        }
        message
    }

    fn question(&self, message: &mut Vec<u8>) {
        message.extend_from_slice(&self.spelling);
        message.extend_from_slice(&self.kind.to_be_bytes());
        message.extend_from_slice(&self.class.to_be_bytes());
    }

    /// An answer made here. The owner of each of `answers` is the name that was asked for.
    pub(crate) fn answer(
        &self,
        rcode: Rcode,
        authoritative: bool,
        answers: &[Record],
        authority: Option<&(Name, Record)>,
    ) -> Vec<u8> {
        let mut flags = flag::RESPONSE
            | flag::RECURSION_AVAILABLE
            | self.flags & (flag::RECURSION_DESIRED | flag::CHECKING_DISABLED)
            | rcode as u16 & flag::RCODE;
        if authoritative {
            flags |= flag::AUTHORITATIVE;
        }
        let mut message = Vec::with_capacity(128);
        // A handful of records.
        let count = u16::try_from(answers.len()).unwrap_or(u16::MAX);
        let counts = [1, count, u16::from(authority.is_some()), u16::from(self.edns.is_some())];
        header(&mut message, self.id, flags, counts);
        self.question(&mut message);
        for record in answers {
            // The name of the question, by a pointer (RFC 1035, 4.1.4).
            record.write(&mut message, &[0xc0, HEADER_LEN as u8]);
        }
        if let Some((owner, record)) = authority {
            record.write(&mut message, owner.wire());
        }
        if let Some(edns) = self.edns {
            opt(&mut message, OWN_SIZE, (rcode as u16 >> 4) as u8, edns.dnssec);
        }
        message
    }

    /// What is left of an answer that is too long for a datagram: the question, and the hint to
    /// ask by TCP.
    pub(crate) fn truncated(&self, flags: u16) -> Vec<u8> {
        let mut message = Vec::with_capacity(128);
        let counts = [1, 0, 0, u16::from(self.edns.is_some())];
        header(&mut message, self.id, flags | flag::TRUNCATED, counts);
        self.question(&mut message);
        if let Some(edns) = self.edns {
            opt(&mut message, OWN_SIZE, 0, edns.dnssec);
        }
        message
    }
}

/// What we take in a datagram ourselves; what fits every path without fragments.
pub(crate) const OWN_SIZE: u16 = 1232;

/// The answer to what could not be read: a header.
pub(crate) fn bare(message: &[u8], rcode: Rcode) -> Vec<u8> {
    let kept = flags(message).unwrap_or(0) & (flag::OPCODE | flag::RECURSION_DESIRED);
    let mut answer = Vec::with_capacity(HEADER_LEN);
    let flags = kept | flag::RESPONSE | flag::RECURSION_AVAILABLE | rcode as u16 & flag::RCODE;
    header(&mut answer, word(message, 0).unwrap_or(0), flags, [0; 4]);
    answer
}

fn header(message: &mut Vec<u8>, id: u16, flags: u16, counts: [u16; 4]) {
    for word in [id, flags].into_iter().chain(counts) {
        message.extend_from_slice(&word.to_be_bytes());
    }
}

fn opt(message: &mut Vec<u8>, size: u16, rcode_high: u8, dnssec: bool) {
    message.push(0);
    message.extend_from_slice(&kind::OPT.to_be_bytes());
    message.extend_from_slice(&size.to_be_bytes());
    message.extend_from_slice(&[rcode_high, 0, if dnssec { 0x80 } else { 0 }, 0, 0, 0]);
}

/// A record of ours, without its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Seconds that it may be kept.
    pub(crate) ttl: u32,
    pub(crate) data: Data,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Ptr(Name),
    Ns(Name),
    /// Of a zone that changes whenever it likes and has no secondary servers.
    Soa {
        server: Name,
        mailbox: Name,
        serial: u32,
        /// Seconds that the absence of a name may be kept (RFC 2308, 5).
        negative_ttl: u32,
    },
}

impl Data {
    pub(crate) fn kind(&self) -> u16 {
        match self {
            Self::A(_) => kind::A,
            Self::Aaaa(_) => kind::AAAA,
            Self::Ptr(_) => kind::PTR,
            Self::Ns(_) => kind::NS,
            Self::Soa { .. } => kind::SOA,
        }
    }
}

impl Record {
    fn write(&self, message: &mut Vec<u8>, owner: &[u8]) {
        self.write_as(message, owner, CLASS_IN);
    }

    /// Writes it as one of this class.
    pub(crate) fn write_as(&self, message: &mut Vec<u8>, owner: &[u8], class: u16) {
        let mut data = Vec::with_capacity(64);
        match &self.data {
            Data::A(address) => data.extend_from_slice(&address.octets()),
            Data::Aaaa(address) => data.extend_from_slice(&address.octets()),
            Data::Ptr(name) | Data::Ns(name) => data.extend_from_slice(name.wire()),
            Data::Soa { server, mailbox, serial, negative_ttl } => {
                data.extend_from_slice(server.wire());
                data.extend_from_slice(mailbox.wire());
                // Serial, refresh, retry, expire, minimum.
                for number in [*serial, 3600, 600, 86_400, *negative_ttl] {
                    data.extend_from_slice(&number.to_be_bytes());
                }
            }
        }
        message.extend_from_slice(owner);
        message.extend_from_slice(&self.data.kind().to_be_bytes());
        message.extend_from_slice(&class.to_be_bytes());
        message.extend_from_slice(&self.ttl.to_be_bytes());
        // Two names and five numbers at most.
        message.extend_from_slice(&(data.len() as u16).to_be_bytes());
        message.extend_from_slice(&data);
    }
}
