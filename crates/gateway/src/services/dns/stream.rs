//! Connections of guests: DNS over TCP (RFC 7766).
//!
//! # Theory of operation
//!
//! The translation of TCP has the guest's end; we have the other end of a local stream. Messages
//! have their length in front. Several questions may be on their way at once, and are answered in
//! the order in which the answers are there (RFC 7766, 6.2.1.1).
//!
//! What a guest does not read does not pile up: with [`PENDING_MAX`] questions open or
//! [`OUT_MAX`] bytes unwritten, no more is read from it. A connection without an open question
//! ends after [`IDLE`]. A guest that has ended its half gets what it asked for first. There are at
//! most [`PER_GUEST`] connections of one guest, fewer when there are not so many left for others,
//! and [`STREAMS_MAX`] in all; a further one is closed at once.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use engine::Instant;
use sys::poll::{Interest, Poller};

use super::token::{Source, Token};
use super::upstream::framed;
use crate::{GuestKey, share};

/// Connections of one guest.
pub(crate) const PER_GUEST: usize = 8;
/// Connections of all guests.
pub(crate) const STREAMS_MAX: usize = 256;
/// A connection without an open question ends after this.
pub(crate) const IDLE: Duration = Duration::from_secs(15);
/// Open questions of one connection.
const PENDING_MAX: u32 = 32;
/// Bytes of answers that are not written yet.
const OUT_MAX: usize = 128 * 1024;
/// Longest question that is taken; one has a name of 255 bytes at most, and little else.
const QUESTION_MAX: usize = 4096;
/// Reads of one connection at most before others have their turn.
const READS_MAX: usize = 4;

/// One connection.
#[derive(Debug)]
struct Stream {
    guest: GuestKey,
    local: UnixStream,
    interest: Interest,
    arrived: Vec<u8>,
    out: Vec<u8>,
    pending: u32,
    /// The guest asks no more.
    ended: bool,
    /// When something last happened.
    last: Instant,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    stream: Option<Stream>,
}

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    slots: Vec<Slot>,
}

/// How a visit to a connection went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    /// It has ended in good order.
    Done,
    /// It was ended: idle, or what came is no DNS.
    Broken,
}

impl Streams {
    /// Takes a connection; false if there are too many, or it cannot be watched.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        poller: &Poller,
        guest: GuestKey,
        local: OwnedFd,
    ) -> bool {
        let local = UnixStream::from(local);
        let open = self.slots.iter().filter_map(|slot| slot.stream.as_ref());
        let own = open.clone().filter(|stream| stream.guest == guest).count();
        let fits = own < PER_GUEST && share::allows(own, open.count(), STREAMS_MAX);
        if !fits || local.set_nonblocking(true).is_err() {
            return false;
        }
        let index = self.slots.iter().position(|slot| slot.stream.is_none()).unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        let Some(slot) = self.slots.get_mut(index) else { return false };
        let token = Token {
            source: Source::Guest,
            attempt: 0,
            generation: slot.generation,
            index: index as u32,
        };
        let interest = Interest::READABLE;
        if poller.add(local.as_fd(), token.pack(), interest).is_err() {
            return false;
        }
        slot.stream = Some(Stream {
            guest,
            local,
            interest,
            arrived: Vec::new(),
            out: Vec::new(),
            pending: 0,
            ended: false,
            last: now,
        });
        true
    }

    /// Whose connection this is, if it still is one.
    pub(crate) fn guest(&mut self, token: Token) -> Option<GuestKey> {
        self.get(token).map(|stream| stream.guest)
    }

    fn get(&mut self, token: Token) -> Option<&mut Stream> {
        let slot = self.slots.get_mut(token.index as usize)?;
        if token.is_of(slot.generation) { slot.stream.as_mut() } else { None }
    }

    /// Reads what is there; complete questions go to `questions`.
    pub(crate) fn read(
        &mut self,
        now: Instant,
        token: Token,
        questions: &mut Vec<Vec<u8>>,
    ) -> State {
        let Some(stream) = self.get(token) else { return State::Open };
        let mut piece = [0; QUESTION_MAX];
        for _ in 0..READS_MAX {
            if stream.ended || !stream.may_ask() {
                break;
            }
            match stream.local.read(&mut piece) {
                Ok(0) => stream.ended = true,
                Ok(len) => {
                    stream.last = now;
                    stream.arrived.extend_from_slice(piece.get(..len).unwrap_or_default());
                    if !stream.take_questions(questions) {
                        return State::Broken;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return State::Broken,
            }
        }
        State::Open
    }

    /// An answer, which was asked for on this connection. Nothing, if the question needs none.
    pub(crate) fn answer(&mut self, now: Instant, token: Token, message: Option<&[u8]>) {
        let Some(stream) = self.get(token) else { return };
        stream.pending = stream.pending.saturating_sub(1);
        stream.last = now;
        if let Some((message, len)) =
            message.and_then(|message| Some((message, u16::try_from(message.len()).ok()?)))
        {
            stream.out.extend_from_slice(&len.to_be_bytes());
            stream.out.extend_from_slice(message);
        }
    }

    /// Writes what can be written, takes what was read before and had to wait, and ends what has
    /// ended.
    pub(crate) fn settle(
        &mut self,
        poller: &Poller,
        token: Token,
        questions: &mut Vec<Vec<u8>>,
    ) -> State {
        let Some(stream) = self.get(token) else { return State::Open };
        if !stream.write() {
            return State::Broken;
        }
        if !stream.take_questions(questions) {
            return State::Broken;
        }
        if stream.ended && stream.pending == 0 && stream.out.is_empty() {
            return State::Done;
        }
        let interest = Interest {
            readable: !stream.ended && stream.may_ask(),
            writable: !stream.out.is_empty(),
        };
        if interest != stream.interest {
            stream.interest = interest;
            if poller.modify(stream.local.as_fd(), token.pack(), interest).is_err() {
                return State::Broken;
            }
        }
        State::Open
    }

    /// Has the descriptor reported as soon as it takes something, after [`Self::answer`].
    pub(crate) fn wake(&mut self, poller: &Poller, token: Token) {
        if let Some(stream) = self.get(token)
            && !stream.interest.writable
        {
            stream.interest.writable = true;
            // If that fails, the connection ends as an idle one.
            let _ = poller.modify(stream.local.as_fd(), token.pack(), stream.interest);
        }
    }

    /// Ends a connection.
    pub(crate) fn close(&mut self, token: Token) {
        if let Some(slot) = self.slots.get_mut(token.index as usize)
            && token.is_of(slot.generation)
        {
            slot.stream = None;
            slot.generation = slot.generation.wrapping_add(1);
        }
    }

    /// Ends the connections of a guest.
    pub(crate) fn guest_gone(&mut self, guest: GuestKey) {
        for slot in &mut self.slots {
            if slot.stream.as_ref().is_some_and(|stream| stream.guest == guest) {
                slot.stream = None;
                slot.generation = slot.generation.wrapping_add(1);
            }
        }
    }

    /// When the next idle connection ends.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.slots.iter().filter_map(|slot| slot.stream.as_ref()?.ends()).min()
    }

    /// Ends idle connections, and tells how many.
    pub(crate) fn end_idle(&mut self, now: Instant) -> usize {
        let mut ended = 0;
        for slot in &mut self.slots {
            if slot.stream.as_ref().and_then(Stream::ends).is_some_and(|ends| ends <= now) {
                slot.stream = None;
                slot.generation = slot.generation.wrapping_add(1);
                ended += 1;
            }
        }
        ended
    }
}

impl Stream {
    fn may_ask(&self) -> bool {
        self.pending < PENDING_MAX && self.out.len() < OUT_MAX
    }

    /// When it ends if nothing happens. An open question ends by itself before.
    fn ends(&self) -> Option<Instant> {
        (self.pending == 0).then(|| self.last + IDLE)
    }

    /// Moves complete questions out of what has arrived; false if that can be none.
    fn take_questions(&mut self, questions: &mut Vec<Vec<u8>>) -> bool {
        let mut taken = 0;
        while self.may_ask()
            && let Some(message) = framed(self.arrived.get(taken..).unwrap_or_default())
        {
            taken += 2 + message.len();
            self.pending += 1;
            questions.push(message.to_vec());
        }
        self.arrived.drain(..taken);
        // What comes next may have to wait; it is not longer than one question.
        let len = self.arrived.first_chunk().copied().map_or(0, u16::from_be_bytes);
        usize::from(len) <= QUESTION_MAX
    }

    /// False when the guest takes no more.
    fn write(&mut self) -> bool {
        let mut written = 0;
        while let Some(rest) = self.out.get(written..).filter(|rest| !rest.is_empty()) {
            match self.local.write(rest) {
                Ok(0) => return false,
                Ok(len) => written += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        self.out.drain(..written);
        true
    }
}
