//! Questions on their way to resolvers.
//!
//! # Theory of operation
//!
//! Each question has its own UDP socket for each resolver that was asked, connected to it, so that
//! the kernel chooses a random port, lets nothing in but that resolver's datagrams, and tells when
//! nobody is there. With the identifier, a stranger has to guess 32 bits (RFC 5452, 9.2).
//!
//! A question goes to the first resolver; after [`PATIENCE`] without an answer to the next one, or
//! to the same again where there is only one. All sockets stay open until the question ends, so an
//! answer that is late is still taken. A resolver that cannot be reached, or that says that it
//! failed or refuses, is followed by the next at once; the first such answer is kept for the case
//! that the others do no better. [`GIVE_UP`] after it came, before the usual client gives up, a
//! question ends as failed. An answer that was truncated is fetched by TCP if one of those who wait
//! can take more than it holds.
//!
//! Who asks what is being asked already joins the question that is on its way. That saves work, it
//! leaves no use in asking often to be answered by a forger once, and it ends loops: a question
//! that comes back through the resolvers waits for itself, until its time is over.
//!
//! Nothing is cached: the host's resolver does that, one system call away.
//!
//! # Limits
//!
//! [`QUESTIONS_MAX`] questions with at most [`ATTEMPTS_MAX`] sockets each; [`WAITERS_MAX`] waiting for
//! one answer, which costs bytes and no socket. Of both a guest has never more than are free for others,
//! and waits for [`WAITING_PER_GUEST`] answers at most.

mod carrier;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use engine::Instant;
use sys::poll::Poller;

use super::message::{OWN_SIZE, Query, Rcode, flag};
use super::name::Name;
use super::resolvers::Resolvers;
use super::response::{self, Checked};
use super::token::{Source, Token};
use crate::GuestKey;
use crate::services::chance::Chance;
use crate::services::{Outbox, ServiceReason};
use crate::share;

pub(crate) use carrier::framed;
use carrier::{Carrier, Heard, Tcp, hear_datagrams, is_our_own, open_udp};

/// Questions on their way at most.
pub(crate) const QUESTIONS_MAX: usize = 512;
/// Questions of one guest that are not answered yet, at most; some may be the same.
pub(crate) const WAITING_PER_GUEST: u32 = 64;
/// Who may wait for the answer to one question, at most.
pub(crate) const WAITERS_MAX: usize = 512;
/// How often one question is sent, at most.
const ATTEMPTS_MAX: usize = 6;
/// How long one resolver is waited for before the next is asked.
pub(crate) const PATIENCE: Duration = Duration::from_millis(1200);
/// How long an answer by TCP may take.
const PATIENCE_TCP: Duration = Duration::from_millis(2500);
/// When a question has failed. The C library waits 5 seconds.
pub(crate) const GIVE_UP: Duration = Duration::from_millis(4500);
/// Longest datagram of a resolver that is taken; we ask for less.
const DATAGRAM_MAX: usize = 4096;

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// From our address to the guest's.
    Datagram { own: SocketAddr, guest: SocketAddr },
    /// A connection.
    Stream { index: u32, generation: u32 },
}

/// Who waits for an answer.
#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub(crate) guest: GuestKey,
    pub(crate) via: Via,
    pub(crate) query: Query,
}

impl Waiter {
    /// Whether another is this one again: whoever heard nothing yet sends the same datagram once more, and expects
    /// one answer.
    fn is_repeated_by(&self, other: &Waiter) -> bool {
        let by_datagram = matches!(self.via, Via::Datagram { .. });
        by_datagram
            && (self.guest, self.via) == (other.guest, other.via)
            && self.query == other.query
    }
}

/// A question that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) waiters: Vec<Waiter>,
    /// The answer as it came, or nothing if none came.
    pub(crate) message: Option<Vec<u8>>,
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Sent,
    Joined,
    /// It is a question that waits already, sent once more.
    Repeated,
    /// There are too many.
    Busy,
    /// It has failed at once, and its waiters are among [`Upstream::take_finished`].
    Failed,
}

/// Questions with the same key have the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    name: Name,
    kind: u16,
    class: u16,
    flags: u16,
    /// EDNS is used; DNSSEC records are wanted.
    edns: Option<bool>,
}

#[derive(Debug)]
struct Attempt {
    resolver: SocketAddr,
    id: u16,
    carrier: Carrier,
    /// It was waited for as long as a resolver is.
    late: bool,
}

#[derive(Debug)]
struct Question {
    key: Key,
    /// As it is sent, without its identifier.
    message: Vec<u8>,
    waiters: Vec<Waiter>,
    /// Whom to ask, in this order, and how often one of them was.
    targets: Vec<SocketAddr>,
    tried: usize,
    attempts: Vec<Attempt>,
    /// An answer that says that it is none.
    poor: Option<Vec<u8>>,
    ends: Instant,
    due: Instant,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    question: Option<Question>,
}

/// All questions on their way.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) resolvers: Resolvers,
    chance: Chance,
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_key: HashMap<Key, u32>,
    waiting: HashMap<GuestKey, u32>,
    due: BTreeSet<(Instant, u32)>,
    finished: Vec<Finished>,
    buffer: Box<[u8; DATAGRAM_MAX]>,
}

/// What to do with a question after something happened to one of its sockets.
#[derive(Debug)]
enum Next {
    Wait,
    /// Ask somebody else.
    Another,
    /// Ask this one again, by TCP.
    ByTcp(SocketAddr),
    Finish(Option<Vec<u8>>),
}

fn question(slots: &mut [Slot], index: u32) -> Option<&mut Question> {
    slots.get_mut(index as usize)?.question.as_mut()
}

impl Upstream {
    pub(crate) fn new(resolvers: Resolvers, chance: Chance) -> Self {
        Self {
            resolvers,
            chance,
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            waiting: HashMap::new(),
            due: BTreeSet::new(),
            finished: Vec::new(),
            buffer: Box::new([0; DATAGRAM_MAX]),
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    pub(crate) fn take_finished(&mut self) -> Vec<Finished> {
        std::mem::take(&mut self.finished)
    }

    /// Passes a question on.
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        poller: &Poller,
        waiter: Waiter,
        out: &mut Outbox,
    ) -> Asked {
        let guest = waiter.guest;
        if self.waiting.get(&guest).is_some_and(|waiting| *waiting >= WAITING_PER_GUEST) {
            return Asked::Busy;
        }
        let key = Key::of(&waiter.query);
        if let Some(found) = self.by_key.get(&key).and_then(|at| question(&mut self.slots, *at)) {
            if found.waiters.iter().any(|known| known.is_repeated_by(&waiter)) {
                return Asked::Repeated;
            }
            let own = found.waiters.iter().filter(|known| known.guest == guest).count();
            if !share::allows(own, found.waiters.len(), WAITERS_MAX) {
                return Asked::Busy;
            }
            found.waiters.push(waiter);
            *self.waiting.entry(guest).or_insert(0) += 1;
            return Asked::Joined;
        }
        let own = self.waiting.get(&guest).map_or(0, |waiting| *waiting as usize);
        if !share::allows(own, self.by_key.len(), QUESTIONS_MAX) {
            return Asked::Busy;
        }
        let targets = self.resolvers.in_order(now);
        let index = self.begin(Question {
            key,
            message: waiter.query.for_resolver(OWN_SIZE),
            waiters: vec![waiter],
            targets,
            tried: 0,
            attempts: Vec::new(),
            poor: None,
            ends: now + GIVE_UP,
            due: now + GIVE_UP,
        });
        *self.waiting.entry(guest).or_insert(0) += 1;
        self.proceed(now, poller, index, Next::Another, out);
        if question(&mut self.slots, index).is_some() { Asked::Sent } else { Asked::Failed }
    }

    /// A socket has something to tell.
    pub(crate) fn ready(&mut self, now: Instant, poller: &Poller, token: Token, out: &mut Outbox) {
        let Some(slot) = self.slots.get_mut(token.index as usize) else { return };
        if !token.is_of(slot.generation) {
            return;
        }
        let Some(question) = &mut slot.question else { return };
        let Some(attempt) = question.attempts.get_mut(usize::from(token.attempt)) else { return };
        let heard = match &mut attempt.carrier {
            Carrier::Over => Heard::Nothing,
            Carrier::Udp(socket) => {
                let buffer = self.buffer.as_mut_slice();
                hear_datagrams(socket, buffer, attempt.id, &question.message, out)
            }
            Carrier::Tcp(tcp) => match tcp.advance(poller, token) {
                Ok(None) => Heard::Nothing,
                Ok(Some(message)) => {
                    match response::check(&message, attempt.id, &question.message) {
                        Some(checked) => Heard::Answer(checked, message),
                        None => {
                            out.count(ServiceReason::DnsForged);
                            Heard::Failure
                        }
                    }
                }
                Err(_) => {
                    out.count(ServiceReason::DnsResolverRefused);
                    Heard::Failure
                }
            },
        };
        let resolver = attempt.resolver;
        let by_tcp = matches!(attempt.carrier, Carrier::Tcp(_));
        let next = match heard {
            Heard::Nothing => Next::Wait,
            Heard::Failure => {
                attempt.carrier = Carrier::Over;
                self.resolvers.failed(now, resolver);
                Next::Another
            }
            Heard::Answer(checked, message) => {
                attempt.carrier = Carrier::Over;
                self.resolvers.works(resolver);
                if checked.truncated && !by_tcp && question.is_worth_a_connection() {
                    question.poor = Some(message);
                    Next::ByTcp(resolver)
                } else if checked.is_poor() {
                    question.poor.get_or_insert(message);
                    if question.tried < question.targets.len() {
                        Next::Another
                    } else if question.is_waiting() {
                        Next::Wait
                    } else {
                        Next::Finish(None)
                    }
                } else {
                    let others =
                        question.attempts.iter().filter(|other| other.resolver != resolver);
                    for silent in others.filter(|other| other.late && other.is_waiting()) {
                        self.resolvers.outdone(now, silent.resolver);
                    }
                    Next::Finish(Some(message))
                }
            }
        };
        self.proceed(now, poller, token.index, next, out);
    }

    /// Asks again where it is time, and ends what has waited long enough.
    pub(crate) fn handle_timeout(&mut self, now: Instant, poller: &Poller, out: &mut Outbox) {
        while let Some((due, index)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            let Some(question) = question(&mut self.slots, index) else {
                self.due.remove(&(due, index));
                continue;
            };
            for silent in question.attempts.iter_mut().filter(|attempt| attempt.is_waiting()) {
                silent.late = true;
                self.resolvers.silent(now, silent.resolver, &question.key.name);
            }
            let over = question.ends <= now;
            let next = if over { Next::Finish(None) } else { Next::Another };
            self.proceed(now, poller, index, next, out);
        }
    }

    /// Nobody waits for the answers to this guest's questions any more.
    pub(crate) fn guest_gone(&mut self, guest: GuestKey) {
        if self.waiting.remove(&guest).is_none() {
            return;
        }
        for index in 0..self.slots.len() as u32 {
            let Some(question) = question(&mut self.slots, index) else { continue };
            question.waiters.retain(|waiter| waiter.guest != guest);
            if question.waiters.is_empty() {
                self.end(index);
            }
        }
    }

    /// Does what is next, and what comes of that.
    fn proceed(
        &mut self,
        now: Instant,
        poller: &Poller,
        index: u32,
        mut next: Next,
        out: &mut Outbox,
    ) {
        // Ends: every attempt is counted, and there are ATTEMPTS_MAX.
        loop {
            next = match next {
                Next::Wait => return,
                Next::Another => self.another(now, poller, index, out),
                Next::ByTcp(resolver) => {
                    out.count(ServiceReason::DnsOverTcp);
                    self.attempt(now, poller, index, resolver, true, out)
                }
                Next::Finish(message) => {
                    self.finish(index, message);
                    return;
                }
            }
        }
    }

    fn begin(&mut self, fresh: Question) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            // At most QUESTIONS_MAX.
            self.slots.len() as u32 - 1
        });
        self.by_key.insert(fresh.key.clone(), index);
        self.due.insert((fresh.due, index));
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.question = Some(fresh);
        }
        index
    }

    /// Takes a question out; its sockets close.
    fn end(&mut self, index: u32) -> Option<Question> {
        let slot = self.slots.get_mut(index as usize)?;
        let question = slot.question.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        self.by_key.remove(&question.key);
        self.due.remove(&(question.due, index));
        Some(question)
    }

    fn finish(&mut self, index: u32, message: Option<Vec<u8>>) {
        let Some(question) = self.end(index) else { return };
        for waiter in &question.waiters {
            if let Some(waiting) = self.waiting.get_mut(&waiter.guest) {
                *waiting = waiting.saturating_sub(1);
                if *waiting == 0 {
                    self.waiting.remove(&waiter.guest);
                }
            }
        }
        let message = message.or(question.poor);
        self.finished.push(Finished { waiters: question.waiters, message });
    }

    /// Asks the next resolver, or waits for those that were asked.
    fn another(&mut self, now: Instant, poller: &Poller, index: u32, out: &mut Outbox) -> Next {
        let Some(question) = question(&mut self.slots, index) else { return Next::Wait };
        let tried = question.tried;
        let all_failed = tried >= question.targets.len() && !question.is_waiting();
        let often = tried >= ATTEMPTS_MAX.min(question.targets.len() * 3);
        if all_failed {
            return Next::Finish(None);
        }
        if often {
            let ends = question.ends;
            self.wait_until(index, ends);
            return Next::Wait;
        }
        let Some(resolver) = question.targets.get(tried % question.targets.len().max(1)).copied()
        else {
            return Next::Finish(None);
        };
        question.tried += 1;
        if tried > 0 {
            out.count(ServiceReason::DnsRetried);
        }
        self.attempt(now, poller, index, resolver, false, out)
    }

    fn wait_until(&mut self, index: u32, due: Instant) {
        let Some(question) = question(&mut self.slots, index) else { return };
        self.due.remove(&(question.due, index));
        question.due = due.min(question.ends);
        self.due.insert((question.due, index));
    }

    /// Sends the question to `resolver`.
    fn attempt(
        &mut self,
        now: Instant,
        poller: &Poller,
        index: u32,
        resolver: SocketAddr,
        by_tcp: bool,
        out: &mut Outbox,
    ) -> Next {
        let id = self.chance.next_u16();
        let Some(slot) = self.slots.get_mut(index as usize) else { return Next::Wait };
        let generation = slot.generation;
        let Some(question) = &mut slot.question else { return Next::Wait };
        // Another datagram to the same resolver goes by the socket that is there.
        let same = question.attempts.iter_mut().find(|attempt| {
            !by_tcp && attempt.resolver == resolver && matches!(attempt.carrier, Carrier::Udp(_))
        });
        let sent = if let Some(Attempt { carrier: Carrier::Udp(socket), id, .. }) = same {
            socket.send(&with_id(&question.message, *id)).map(|_| None)
        } else {
            let attempt = u8::try_from(question.attempts.len()).unwrap_or(u8::MAX);
            let token = Token { source: Source::Resolver, attempt, generation, index };
            let message = with_id(&question.message, id);
            let carrier = if by_tcp {
                Tcp::open(poller, token, resolver, &message)
            } else {
                open_udp(poller, token, resolver, &message)
            };
            carrier.map(|carrier| Some(Attempt { resolver, id, carrier, late: false }))
        };
        match sent {
            Ok(attempt) => {
                question.attempts.extend(attempt);
                let patience = if by_tcp { PATIENCE_TCP } else { PATIENCE };
                self.wait_until(index, now + patience);
                Next::Wait
            }
            Err(error) if is_our_own(&error, by_tcp) => {
                out.count(ServiceReason::OutOfDescriptors);
                Next::Finish(None)
            }
            Err(_) => {
                out.count(ServiceReason::DnsResolverRefused);
                self.resolvers.failed(now, resolver);
                Next::Another
            }
        }
    }
}

impl Key {
    fn of(query: &Query) -> Self {
        let passed = flag::RECURSION_DESIRED | flag::AUTHENTIC | flag::CHECKING_DISABLED;
        Self {
            name: query.name.clone(),
            kind: query.kind,
            class: query.class,
            flags: query.flags & passed,
            edns: query.edns.map(|edns| edns.dnssec),
        }
    }
}

impl Attempt {
    fn is_waiting(&self) -> bool {
        !matches!(self.carrier, Carrier::Over)
    }
}

impl Question {
    /// One of its sockets may still bring an answer.
    fn is_waiting(&self) -> bool {
        self.attempts.iter().any(Attempt::is_waiting)
    }

    /// Whether one of those who wait can take more than fits the datagram we ask for.
    fn is_worth_a_connection(&self) -> bool {
        self.waiters.iter().any(|waiter| match waiter.via {
            Via::Stream { .. } => true,
            Via::Datagram { .. } => waiter.query.answer_max() > usize::from(OWN_SIZE),
        })
    }
}

impl Checked {
    /// It says that the resolver is of no use for this question; another may be.
    fn is_poor(&self) -> bool {
        [Rcode::ServFail, Rcode::NotImp, Rcode::Refused].iter().any(|r| *r as u16 == self.rcode)
            || !self.complete
    }
}

fn with_id(message: &[u8], id: u16) -> Vec<u8> {
    let mut message = message.to_vec();
    if let Some(room) = message.first_chunk_mut() {
        *room = id.to_be_bytes();
    }
    message
}
