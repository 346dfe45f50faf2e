//! Multicast DNS and LLMNR, answered for all guests (RFC 6762, RFC 4795).
//!
//! # Theory of operation
//!
//! In a network with `mdns = "proxy"` guests do not hear each other's questions: the engine hands
//! them to the router alone, and the router to here. What is asked about `GUEST.local`, about
//! `GUEST` by LLMNR, or about an address of a guest, is answered from the network's own names
//! ([`super::zone`]), so that nobody can answer for another. Everything else has no answer: neither
//! services nor names that guests announce are known here.
//!
//! An answer goes to the group that was asked, or to the asker alone if that is what it wants, or if
//! it is no full responder itself (RFC 6762, 5.4 and 6.7). Records that the asker names as known are
//! left out (7.1), and what is about the asker itself: a guest that speaks multicast DNS asks whether others
//! have its name before it uses it (8.1), and would take our word for another's, and call itself otherwise.
//! What all have just heard is not said to them again: the group hears a record at most once a second
//! ([`Recent`]).

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use engine::{Instant, Rate};

use super::dns::message::{self, CLASS_IN, HEADER_LEN, flag};
use super::dns::{Data, Name, Record, kind};
use super::message::{Answer, Body, Datagram};
use super::pace::Pace;
use super::zone::{Found, Zone};
use super::{Outbox, ServiceReason};
use crate::GuestKey;
use crate::plan::GatewayPlan;

/// Where multicast DNS is spoken.
const MDNS: u16 = 5353;
const MDNS_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const MDNS_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// Where LLMNR is spoken.
const LLMNR: u16 = 5355;
const LLMNR_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 252);
const LLMNR_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 3);

/// Questions a second of one guest, and how many at once.
const RATE: Rate = Rate::new(20, 40);

/// Questions, and known answers, of one message that are looked at.
const QUESTIONS_MAX: u16 = 16;
const KNOWN_MAX: u16 = 32;

/// In a question: an answer to the asker alone will do. In a record: there are no others.
const TOP: u16 = 0x8000;

/// How long the group does not hear a record again (RFC 6762, 6), and how long where a guest is about to use
/// the name.
const SPACING: Duration = Duration::from_secs(1);
const SPACING_OF_PROBES: Duration = Duration::from_millis(250);

/// Every class.
const CLASS_ANY: u16 = 255;

/// The responder of one network.
#[derive(Debug)]
pub(crate) struct Responder {
    on: bool,
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
    pace: Pace,
    /// Who has a name, of guests that are here.
    named: HashMap<String, GuestKey>,
    recent: Recent,
}

/// What the groups of either IP version have heard within [`SPACING`]: at most all records of the zone.
#[derive(Debug, Default)]
struct Recent {
    heard: HashMap<Said, Instant>,
    /// In the order in which they were said, which may be more than once.
    order: VecDeque<(Instant, Said)>,
}

/// A record, and whether those who speak IPv6 heard it, or IPv4.
type Said = (bool, Name, u16);

impl Recent {
    fn said(v6: bool, record: &Owned) -> Said {
        (v6, record.owner.clone(), record.record.data.kind())
    }

    /// Whether the group has heard a record within this time.
    fn has(&self, now: Instant, v6: bool, record: &Owned, spacing: Duration) -> bool {
        let heard = self.heard.get(&Self::said(v6, record));
        heard.is_some_and(|heard| now.saturating_since(*heard) < spacing)
    }

    fn add(&mut self, now: Instant, v6: bool, records: &[Owned]) {
        while let Some((then, _)) = self.order.front()
            && now.saturating_since(*then) >= SPACING
            && let Some((then, said)) = self.order.pop_front()
        {
            if self.heard.get(&said) == Some(&then) {
                self.heard.remove(&said);
            }
        }
        for record in records {
            let said = Self::said(v6, record);
            self.heard.insert(said.clone(), now);
            self.order.push_back((now, said));
        }
    }
}

/// One question.
#[derive(Debug)]
struct Question {
    name: Name,
    kind: u16,
    class: u16,
}

/// A record to be sent, or one that is known, with its owner.
#[derive(Debug, PartialEq, Eq)]
struct Owned {
    owner: Name,
    record: Record,
}

impl Responder {
    pub(crate) fn new(plan: &GatewayPlan) -> Self {
        let (pace, named, recent) = (Pace::new(RATE), HashMap::new(), Recent::default());
        let mut responder = Self { on: false, v4: None, v6: None, pace, named, recent };
        responder.apply(plan);
        responder
    }

    pub(crate) fn apply(&mut self, plan: &GatewayPlan) {
        self.on = plan.mdns;
        self.v4 = plan.gateway4();
        self.v6 = plan.prefix.map(|_| plan.link_local());
    }

    /// Whose a name is; none: of a guest that is away.
    pub(crate) fn set_guest(&mut self, name: &str, key: Option<GuestKey>) {
        match key {
            Some(key) => self.named.insert(name.to_owned(), key),
            None => self.named.remove(name),
        };
    }

    pub(crate) fn guest_gone(&mut self, guest: GuestKey) {
        self.pace.forget(guest);
        self.named.retain(|_, key| *key != guest);
    }

    /// Whether a record is about the guest that asks for it.
    fn is_about(&self, guest: GuestKey, record: &Owned) -> bool {
        let name = match &record.record.data {
            Data::Ptr(name) => name,
            _ => &record.owner,
        };
        let label = name.labels().next().and_then(|label| std::str::from_utf8(label).ok());
        label.and_then(|label| self.named.get(label)) == Some(&guest)
    }

    pub(crate) fn listens(&self, destination: SocketAddr) -> bool {
        self.on
            && match (destination.ip(), destination.port()) {
                (IpAddr::V4(group), MDNS) => group == MDNS_V4,
                (IpAddr::V6(group), MDNS) => group == MDNS_V6,
                (IpAddr::V4(group), LLMNR) => group == LLMNR_V4,
                (IpAddr::V6(group), LLMNR) => group == LLMNR_V6,
                _ => false,
            }
    }

    pub(crate) fn receive(
        &mut self,
        now: Instant,
        datagram: &Datagram<'_>,
        zone: &Zone,
        out: &mut Outbox,
    ) {
        if !self.pace.take(now, datagram.guest) {
            return out.count(ServiceReason::MdnsLimited);
        }
        let Some(flags) = message::flags(datagram.payload) else {
            return out.count(ServiceReason::MdnsMalformed);
        };
        // Announcements, and answers to what others asked: nobody is told but by us.
        if flags & (flag::RESPONSE | flag::OPCODE) != 0 || datagram.source.port() == 0 {
            return out.count(ServiceReason::MdnsOther);
        }
        let Some((questions, known)) = read(datagram.payload) else {
            return out.count(ServiceReason::MdnsMalformed);
        };
        let own = match datagram.source.ip() {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        };
        let llmnr = datagram.destination.port() == LLMNR;
        // Whoever asks from another port is a simple client, which expects an answer as of DNS.
        let simple = llmnr || datagram.source.port() != MDNS;
        // A program that only asks may want to know its own guest's address.
        let only_asks = simple && !llmnr;
        let mut is_own = false;
        let mut records: Vec<Owned> = Vec::new();
        for question in &questions {
            for found in answers(zone, question, llmnr) {
                if !only_asks && self.is_about(datagram.guest, &found) {
                    is_own = true;
                    continue;
                }
                let is_known = known.iter().any(|known| {
                    (&known.owner, &known.record.data) == (&found.owner, &found.record.data)
                        && known.record.ttl >= found.record.ttl / 2
                });
                if !is_known && !records.contains(&found) {
                    records.push(found);
                }
            }
        }
        let Some(own) = own.filter(|_| !records.is_empty()) else {
            return out.count(if is_own {
                ServiceReason::MdnsOwn
            } else {
                ServiceReason::MdnsUnknown
            });
        };
        let alone = simple || questions.iter().all(|question| question.class & TOP != 0);
        if !alone {
            let v6 = own.is_ipv6();
            // It names what it is about to use (8.2), and is to hear in time that it is another's.
            let is_probe =
                message::counts(datagram.payload).is_some_and(|[.., claims, _]| claims > 0);
            let spacing = if is_probe { SPACING_OF_PROBES } else { SPACING };
            records.retain(|record| !self.recent.has(now, v6, record, spacing));
            if records.is_empty() {
                return out.count(ServiceReason::MdnsRecent);
            }
            self.recent.add(now, v6, &records);
        }
        let id = datagram.payload.first_chunk().copied().map_or(0, u16::from_be_bytes);
        let payload = if simple {
            let flags = flag::RESPONSE | if llmnr { 0 } else { flag::AUTHORITATIVE };
            write(id, flags, questions.first(), &records, CLASS_IN)
        } else {
            write(0, flag::RESPONSE | flag::AUTHORITATIVE, None, &records, CLASS_IN | TOP)
        };
        out.count(ServiceReason::MdnsAnswered);
        let (destination, port) = if alone {
            (datagram.source.ip(), datagram.source.port())
        } else {
            (datagram.destination.ip(), MDNS)
        };
        let source = datagram.destination.port();
        let body = Body::Udp { source, destination: port, payload };
        // A station that asks alone is where its question came from.
        let link = alone.then_some(datagram.mac);
        out.send(Answer { link, source: own, destination, body });
    }
}

/// What the zone has for a question.
fn answers(zone: &Zone, question: &Question, llmnr: bool) -> Vec<Owned> {
    if !matches!(question.class & !TOP, CLASS_IN | CLASS_ANY) {
        return Vec::new();
    }
    let Some(local) = Name::of(["local"]) else { return Vec::new() };
    let kinds: &[u16] = match question.kind {
        kind::ANY => &[kind::A, kind::AAAA],
        kind::A => &[kind::A],
        kind::AAAA => &[kind::AAAA],
        kind::PTR => return reverse(zone, question, llmnr).into_iter().collect(),
        _ => return Vec::new(),
    };
    let label = if llmnr {
        Some(question.name.clone()).filter(|name| name.count() == 1)
    } else {
        question.name.below(&local).and_then(|labels| match labels.as_slice() {
            [label] => Name::of([std::str::from_utf8(label).ok()?]),
            _ => None,
        })
    };
    let Some(label) = label else { return Vec::new() };
    let records = kinds.iter().filter_map(|kind| match zone.find(&label, *kind)? {
        Found::Records(records) => Some(records),
        Found::NoData(_) | Found::NoName(_) => None,
    });
    records.flatten().map(|record| Owned { owner: question.name.clone(), record }).collect()
}

/// The name of an address of a guest, as those who ask here know it.
fn reverse(zone: &Zone, question: &Question, llmnr: bool) -> Option<Owned> {
    let Found::Records(records) = zone.find(&question.name, kind::PTR)? else { return None };
    let name = records.into_iter().find_map(|record| match record.data {
        // A guest's, not the gateway's own or the host's.
        Data::Ptr(name) if name.count() == 3 => Some(name),
        _ => None,
    })?;
    let label = std::str::from_utf8(name.labels().next()?).ok()?;
    let name = if llmnr { Name::of([label]) } else { Name::of([label, "local"]) }?;
    let record = Record { ttl: super::zone::TTL, data: Data::Ptr(name) };
    Some(Owned { owner: question.name.clone(), record })
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.first_chunk().copied().map(u16::from_be_bytes)
}

/// The questions of a message, and what it says is known.
fn read(message: &[u8]) -> Option<(Vec<Question>, Vec<Owned>)> {
    let [questions, answers, ..] = message::counts(message)?;
    if questions == 0 || questions > QUESTIONS_MAX {
        return None;
    }
    let mut at = HEADER_LEN;
    let mut asked = Vec::new();
    for _ in 0..questions {
        let (name, end) = name(message, at)?;
        asked.push(Question { name, kind: word(message, end)?, class: word(message, end + 2)? });
        at = end + 4;
    }
    let mut known = Vec::new();
    for _ in 0..answers.min(KNOWN_MAX) {
        let (owner, end) = name(message, at)?;
        let ttl = u32::from_be_bytes(*message.get(end + 4..)?.first_chunk()?);
        let len = usize::from(word(message, end + 8)?);
        let start = end + 10;
        let bytes = message.get(start..start + len)?;
        let data = match word(message, end)? {
            kind::A => <[u8; 4]>::try_from(bytes).ok().map(|ip| Data::A(ip.into())),
            kind::AAAA => <[u8; 16]>::try_from(bytes).ok().map(|ip| Data::Aaaa(ip.into())),
            kind::PTR => name(message, start).map(|(name, _)| Data::Ptr(name)),
            _ => None,
        };
        if let Some(data) = data {
            known.push(Owned { owner, record: Record { ttl, data } });
        }
        at = start + len;
    }
    Some((asked, known))
}

/// The name at `at`, its pointers followed, and where it ends.
fn name(message: &[u8], at: usize) -> Option<(Name, usize)> {
    let end = message::skip_name(message, at)?;
    let mut flat = Vec::new();
    let mut at = at;
    loop {
        let len = usize::from(*message.get(at)?);
        match len {
            0 => break,
            1..=63 => {
                flat.extend_from_slice(message.get(at..=at + len)?);
                at += 1 + len;
            }
            0xc0..=0xff => {
                let to = usize::from(word(message, at)? & 0x3fff);
                // Always backwards, so that it ends.
                if to >= at {
                    return None;
                }
                at = to;
            }
            _ => return None,
        }
        if flat.len() > 255 {
            return None;
        }
    }
    flat.push(0);
    Some((Name::parse(&flat)?.0, end))
}

fn write(
    id: u16,
    flags: u16,
    question: Option<&Question>,
    records: &[Owned],
    class: u16,
) -> Vec<u8> {
    // At most two for each question.
    let count = u16::try_from(records.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(128);
    for word in [id, flags, u16::from(question.is_some()), count, 0, 0] {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    if let Some(question) = question {
        bytes.extend_from_slice(question.name.wire());
        bytes.extend_from_slice(&question.kind.to_be_bytes());
        bytes.extend_from_slice(&(question.class & !TOP).to_be_bytes());
    }
    for Owned { owner, record } in records {
        record.write_as(&mut bytes, owner.wire(), class);
    }
    bytes
}

#[cfg(test)]
mod tests;
