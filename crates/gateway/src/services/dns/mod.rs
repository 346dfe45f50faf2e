//! The DNS service: the network's own names, and the host's resolvers for all others.
//!
//! # Theory of operation
//!
//! A question comes in a datagram or on a connection ([`stream`]). What the zone knows
//! ([`super::zone`]) is answered at once. What nobody should ask a forwarder is refused: zone
//! transfers, questions for everything (RFC 8482 gives no reason to answer them), other classes.
//! All else goes to the host's resolvers ([`upstream`]), unless the network has no way out: a question is
//! a message to whoever serves the name.
//!
//! An answer is never longer than the guest says that it takes in a datagram, nor than what the
//! network carries in one packet: then it is cut to the question and says so, and the guest asks
//! again by TCP. Answers are not answered, so two servers cannot talk for ever, and a guest that
//! asks faster than [`RATE`] is not listened to.

mod fuzz;
pub(super) mod message;
mod name;
mod resolvers;
mod response;
mod stream;
mod token;
mod tops;
mod upstream;

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use engine::{Instant, Rate};
use sys::poll::{Events, Poller};

pub use fuzz::fuzz;
pub(crate) use message::{Data, Record, kind};
pub use name::Name;
pub use resolvers::of_host;

use super::chance::Chance;
use super::message::{Answer, Body, Datagram};
use super::pace::Pace;
use super::zone::{Found, Zone};
use super::{Outbox, ServiceReason};
use crate::GuestKey;
use crate::event::{GatewayEvent, Subject};
use crate::plan::GatewayPlan;
use message::{CLASS_IN, NoQuery, PLAIN_ANSWER_MAX, Query, Rcode, flag, flags};
use resolvers::Resolvers;
use stream::{State, Streams};
use token::{Source, Token};
use tops::Tops;
use upstream::{Asked, Finished, Upstream, Via, Waiter};

/// Longest answer that is sent in one datagram, whatever the guest would take.
pub const UDP_ANSWER_MAX: usize = 4096;

/// Where DNS listens.
const PORT: u16 = 53;
/// Questions of one guest in a second, and at once.
const RATE: Rate = Rate::new(2000, 1000);
/// Descriptors that are looked at in one turn.
const BATCH: usize = 64;
/// Questions that fail in a row before a person is told.
const TROUBLE_AFTER: u32 = 3;
/// Headers of a datagram.
const HEADERS_V4: usize = 28;
const HEADERS_V6: usize = 48;

/// The DNS service of one network.
#[derive(Debug)]
pub struct Dns {
    own: Vec<SocketAddr>,
    mtu: usize,
    poller: Poller,
    events: Events,
    pace: Pace,
    upstream: Upstream,
    /// Questions about other names are passed on.
    passes_on: bool,
    streams: Streams,
    tops: Tops,
    /// Questions that failed since one was answered.
    failures: u32,
}

impl Dns {
    pub(crate) fn new(plan: &GatewayPlan, hash_key: &[u8; 16]) -> std::io::Result<Self> {
        Self::with_file(plan, hash_key, PathBuf::from("/etc/resolv.conf"))
    }

    fn with_file(
        plan: &GatewayPlan,
        hash_key: &[u8; 16],
        resolv_conf: PathBuf,
    ) -> std::io::Result<Self> {
        let mut resolvers = Resolvers::new(&plan.resolvers, resolv_conf);
        resolvers.look(Instant::EPOCH);
        let mut dns = Self {
            own: Vec::new(),
            mtu: usize::from(plan.mtu),
            poller: Poller::new()?,
            events: Events::with_capacity(BATCH),
            pace: Pace::new(RATE),
            upstream: Upstream::new(resolvers, Chance::new(hash_key, b'd')),
            passes_on: plan.outside_names,
            streams: Streams::default(),
            tops: Tops::default(),
            failures: 0,
        };
        dns.listen(plan);
        Ok(dns)
    }

    pub(crate) fn apply(&mut self, plan: &GatewayPlan) {
        self.listen(plan);
        self.mtu = usize::from(plan.mtu);
        self.passes_on = plan.outside_names;
        if self.upstream.resolvers.configure(&plan.resolvers) {
            self.failures = 0;
        }
    }

    fn listen(&mut self, plan: &GatewayPlan) {
        let v6 = plan.prefix.map(|_| plan.link_local());
        let all =
            [plan.gateway4().map(Into::into), plan.gateway6().map(Into::into), v6.map(Into::into)];
        self.own = if plan.dns {
            all.into_iter().flatten().map(|ip| SocketAddr::new(ip, PORT)).collect()
        } else {
            Vec::new()
        };
    }

    pub(crate) fn listens(&self, destination: SocketAddr) -> bool {
        let asked = SocketAddr::new(destination.ip(), destination.port());
        self.own.contains(&asked)
    }

    pub(crate) fn receive(
        &mut self,
        now: Instant,
        datagram: &Datagram<'_>,
        zone: &Zone,
        out: &mut Outbox,
    ) {
        // A datagram from the port of a server may be an answer to an answer.
        if matches!(datagram.source.port(), 0 | PORT) {
            out.count(ServiceReason::DnsNotQuery);
            return;
        }
        if !self.pace.take(now, datagram.guest) {
            out.count(ServiceReason::DnsLimited);
            return;
        }
        let via = Via::Datagram { own: datagram.destination, guest: datagram.source };
        self.question(now, datagram.guest, via, datagram.payload, zone, out);
        self.deliver_finished(now, out);
    }

    pub(crate) fn stream(
        &mut self,
        now: Instant,
        guest: GuestKey,
        local: OwnedFd,
        out: &mut Outbox,
    ) {
        let reason = if self.streams.open(now, &self.poller, guest, local) {
            ServiceReason::DnsStream
        } else {
            ServiceReason::DnsStreamRefused
        };
        out.count(reason);
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }

    pub(crate) fn turn(&mut self, now: Instant, zone: &Zone, out: &mut Outbox) {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(1));
        if self.poller.wait(&mut events, Some(std::time::Duration::ZERO)).is_ok() {
            for event in events.iter() {
                let token = Token::unpack(event.token);
                match token.source {
                    Source::Resolver => {
                        self.upstream.ready(now, &self.poller, token, out);
                        self.deliver_finished(now, out);
                    }
                    Source::Guest => self.visit(now, token, zone, out),
                }
            }
        }
        self.events = events;
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        [self.upstream.next_deadline(), self.streams.next_deadline()].into_iter().flatten().min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        self.upstream.handle_timeout(now, &self.poller, out);
        self.deliver_finished(now, out);
        for _ in 0..self.streams.end_idle(now) {
            out.count(ServiceReason::DnsStreamEnded);
        }
    }

    pub(crate) fn guest_gone(&mut self, guest: GuestKey) {
        self.pace.forget(guest);
        self.upstream.guest_gone(guest);
        self.streams.guest_gone(guest);
    }

    /// Whom questions are passed on to.
    pub(crate) fn resolvers(&self) -> Vec<SocketAddr> {
        if self.passes_on { self.upstream.resolvers.list() } else { Vec::new() }
    }

    /// Reads from a connection, answers, and ends it where it has ended.
    fn visit(&mut self, now: Instant, token: Token, zone: &Zone, out: &mut Outbox) {
        let Some(guest) = self.streams.guest(token) else { return };
        let via = Via::Stream { index: token.index, generation: token.generation };
        let mut questions = Vec::new();
        let mut state = self.streams.read(now, token, &mut questions);
        // Ends: each round takes questions out of what has arrived.
        while state == State::Open {
            for message in std::mem::take(&mut questions) {
                if self.pace.take(now, guest) {
                    self.question(now, guest, via, &message, zone, out);
                } else {
                    out.count(ServiceReason::DnsLimited);
                    self.streams.answer(now, token, None);
                }
            }
            self.deliver_finished(now, out);
            state = self.streams.settle(&self.poller, token, &mut questions);
            if questions.is_empty() {
                break;
            }
        }
        self.conclude(token, state, out);
    }

    fn conclude(&mut self, token: Token, state: State, out: &mut Outbox) {
        if state == State::Broken {
            out.count(ServiceReason::DnsStreamEnded);
        }
        if state != State::Open {
            self.streams.close(token);
        }
    }

    /// Answers a question, or passes it on.
    fn question(
        &mut self,
        now: Instant,
        guest: GuestKey,
        via: Via,
        message: &[u8],
        zone: &Zone,
        out: &mut Outbox,
    ) {
        let query = match Query::parse(message) {
            Ok(query) => query,
            Err(NoQuery::Runt) => {
                out.count(ServiceReason::DnsMalformed);
                return self.reply(now, via, None, out);
            }
            Err(NoQuery::Response) => {
                out.count(ServiceReason::DnsNotQuery);
                return self.reply(now, via, None, out);
            }
            Err(NoQuery::Wrong(rcode)) => {
                let refused = rcode == Rcode::NotImp;
                out.count(if refused {
                    ServiceReason::DnsRefused
                } else {
                    ServiceReason::DnsMalformed
                });
                return self.reply(now, via, Some(message::bare(message, rcode)), out);
            }
        };
        if let Some(rcode) = refusal(&query) {
            out.count(ServiceReason::DnsRefused);
            let answer = query.answer(rcode, false, &[], None);
            return self.reply(now, via, Some(answer), out);
        }
        let found = zone.find(&query.name, query.kind).or_else(|| {
            // What is left of single labels: the delegation and keys of one.
            zone.no_single(&query.name).filter(|_| !self.tops.knows(&query.name))
        });
        if let Some(found) = found {
            out.count(ServiceReason::DnsLocal);
            let answer = match found {
                Found::Records(records) => query.answer(Rcode::NoError, true, &records, None),
                Found::NoData(soa) => query.answer(Rcode::NoError, true, &[], Some(&soa)),
                Found::NoName(soa) => query.answer(Rcode::NxDomain, true, &[], Some(&soa)),
            };
            return self.reply(now, via, Some(answer), out);
        }
        if !self.passes_on {
            out.count(ServiceReason::DnsRefused);
            let answer = query.answer(Rcode::Refused, false, &[], None);
            return self.reply(now, via, Some(answer), out);
        }
        self.tops.learn(&query.name);
        // Whoever sent a datagram asks again after a time of its own, by which there may be a place, and
        // would take a refusal for the last word. On a connection nobody asks twice.
        let busy = matches!(via, Via::Stream { .. })
            .then(|| query.answer(Rcode::Refused, false, &[], None));
        let waiter = Waiter { guest, via, query };
        match self.upstream.ask(now, &self.poller, waiter, out) {
            Asked::Sent | Asked::Failed => out.count(ServiceReason::DnsForwarded),
            Asked::Joined => out.count(ServiceReason::DnsJoined),
            Asked::Repeated => out.count(ServiceReason::DnsRepeated),
            Asked::Busy => {
                out.count(ServiceReason::DnsBusy);
                self.reply(now, via, busy, out);
            }
        }
    }

    fn deliver_finished(&mut self, now: Instant, out: &mut Outbox) {
        for Finished { waiters, message } in self.upstream.take_finished() {
            match &message {
                Some(_) => self.worked(out),
                None => self.failed(out),
            }
            for waiter in waiters {
                self.deliver(now, &waiter, message.as_deref(), out);
                if let Via::Stream { index, generation } = waiter.via {
                    // It is written when the descriptor is reported, and questions that had to
                    // wait are taken then.
                    let token = Token { source: Source::Guest, attempt: 0, generation, index };
                    self.streams.wake(&self.poller, token);
                }
            }
        }
    }

    fn deliver(&mut self, now: Instant, waiter: &Waiter, message: Option<&[u8]>, out: &mut Outbox) {
        let query = &waiter.query;
        let cut = message.and_then(flags).is_some_and(|flags| flags & flag::TRUNCATED != 0);
        let on_stream = matches!(waiter.via, Via::Stream { .. });
        // On a connection nothing is cut: that the rest could not be fetched is a failure.
        let whole = message.filter(|_| !(cut && on_stream));
        let answer = whole.and_then(|message| response::for_guest(message, query));
        let mut answer = match answer {
            Some(answer) => {
                out.count(ServiceReason::DnsAnswered);
                answer
            }
            None => {
                out.count(ServiceReason::DnsFailed);
                query.answer(Rcode::ServFail, false, &[], None)
            }
        };
        if let Via::Datagram { own, .. } = waiter.via
            && answer.len() > self.datagram_max(own, query)
        {
            out.count(ServiceReason::DnsTruncated);
            answer = query.truncated(flags(&answer).unwrap_or(0));
        }
        self.reply(now, waiter.via, Some(answer), out);
    }

    /// Bytes of an answer that the asker takes and the network carries.
    fn datagram_max(&self, own: SocketAddr, query: &Query) -> usize {
        let headers = if own.is_ipv4() { HEADERS_V4 } else { HEADERS_V6 };
        let carried = self.mtu.saturating_sub(headers).clamp(PLAIN_ANSWER_MAX, UDP_ANSWER_MAX);
        query.answer_max().min(carried)
    }

    /// Sends an answer where it belongs.
    fn reply(&mut self, now: Instant, via: Via, answer: Option<Vec<u8>>, out: &mut Outbox) {
        match via {
            Via::Datagram { own, guest } => {
                if let Some(payload) = answer {
                    let body = Body::Udp { source: own.port(), destination: guest.port(), payload };
                    let (source, destination) = (own.ip(), guest.ip());
                    out.send(Answer { link: None, source, destination, body });
                }
            }
            Via::Stream { index, generation } => {
                let token = Token { source: Source::Guest, attempt: 0, generation, index };
                self.streams.answer(now, token, answer.as_deref());
            }
        }
    }

    /// A question was answered: if a person was told otherwise, that is over.
    fn worked(&mut self, out: &mut Outbox) {
        if self.failures >= TROUBLE_AFTER {
            out.events.push_back(GatewayEvent::Well(Subject::Names));
        }
        self.failures = 0;
    }

    /// Counts a failure; a person is told when it is not the first.
    fn failed(&mut self, out: &mut Outbox) {
        self.failures = self.failures.saturating_add(1);
        if self.failures != TROUBLE_AFTER {
            return;
        }
        let list = self.upstream.resolvers.list();
        let list: Vec<String> = list.iter().map(ToString::to_string).collect();
        let sentence = format!(
            "Outside names cannot be looked up: no answer from {}. Check that the host itself can look up names, or name other `resolvers` in the configuration.",
            list.join(", ")
        );
        out.events.push_back(GatewayEvent::Trouble { about: Subject::Names, sentence });
    }
}

/// Why a question is not for a forwarder.
fn refusal(query: &Query) -> Option<Rcode> {
    if query.edns.is_some_and(|edns| edns.version != 0) {
        return Some(Rcode::BadVers);
    }
    let refused = query.class != CLASS_IN
        || matches!(
            query.kind,
            0 | kind::OPT
                | kind::TKEY
                | kind::TSIG
                | kind::IXFR
                | kind::AXFR
                | kind::MAILB
                | kind::MAILA
                | kind::ANY
        );
    refused.then_some(Rcode::Refused)
}

#[cfg(test)]
mod tests;
