//! Streams whose other side the test plays.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::backend::{Connecting, Peek, Stream, StreamBackend, StreamError};
use crate::poll::{Event, Poller, Token};

/// The other side of one stream, and what the kernel would remember of it.
#[derive(Debug, Default)]
pub struct Peer {
    pub target: Option<SocketAddr>,
    pub token: Option<Token>,
    /// How connecting went, once it has.
    pub outcome: Option<Result<(), StreamError>>,
    /// Sent by this side and not discarded by the translation.
    pub sent: VecDeque<u8>,
    /// This side has ended its direction.
    pub has_ended: bool,
    /// What ends the connection, behind the data.
    pub error: Option<StreamError>,
    /// Reads stop short here, counted from the first byte of all: an urgent mark.
    pub urgent_at: Option<u64>,
    /// Peeks begin at the oldest byte, as on a kernel without offsets.
    pub has_no_offsets: bool,
    pub discarded: u64,
    /// What the guest sent.
    pub got: Vec<u8>,
    /// Bytes that may still be written.
    pub room: usize,
    /// How often it was asked for its room.
    pub asked: u32,
    /// What a write is told when there is no room is remembered, for the report that follows.
    pub was_full: bool,
    /// The guest has ended its direction.
    pub got_end: bool,
    /// This side acknowledges what it gets.
    pub acknowledges: bool,
    pub keep_alive: Option<Duration>,
    /// The translation reset the connection.
    pub aborted: bool,
    /// The translation let go of the stream.
    pub closed: bool,
}

impl Peer {
    fn new() -> Self {
        Self { room: usize::MAX, acknowledges: true, ..Self::default() }
    }
}

/// A stream that a test has the other end of.
#[derive(Debug)]
pub struct FakeStream(pub Rc<RefCell<Peer>>);

impl FakeStream {
    /// A stream that is connected.
    #[must_use]
    pub fn connected() -> Self {
        let peer = Peer { outcome: Some(Ok(())), ..Peer::new() };
        Self(Rc::new(RefCell::new(peer)))
    }
}

/// Makes [`FakeStream`]s and remembers them.
#[derive(Debug, Default)]
pub struct FakeStreams {
    pub peers: Vec<Rc<RefCell<Peer>>>,
    /// What the next connects say at once.
    pub refusals: VecDeque<StreamError>,
}

impl StreamBackend for FakeStreams {
    type Stream = FakeStream;

    fn connect(
        &mut self,
        _: &Poller,
        token: Token,
        target: SocketAddr,
    ) -> Result<FakeStream, StreamError> {
        if let Some(error) = self.refusals.pop_front() {
            return Err(error);
        }
        let peer = Peer { target: Some(target), token: Some(token), ..Peer::new() };
        let peer = Rc::new(RefCell::new(peer));
        self.peers.push(Rc::clone(&peer));
        Ok(FakeStream(peer))
    }
}

impl Stream for FakeStream {
    fn watch(&self, _: &Poller, token: Token) -> Result<(), StreamError> {
        self.0.borrow_mut().token = Some(token);
        Ok(())
    }

    fn connecting(&mut self) -> Connecting {
        let peer = self.0.borrow();
        match (peer.outcome, peer.error) {
            (None, None) => Connecting::Pending,
            (Some(Err(error)), _) | (_, Some(error)) => Connecting::Failed { error, report: None },
            (Some(Ok(())), None) => Connecting::Connected,
        }
    }

    fn failure(&mut self) -> Option<StreamError> {
        self.0.borrow().error
    }

    fn peek(&mut self, offset: usize, room: &mut [u8]) -> Result<Peek, StreamError> {
        let peer = self.0.borrow();
        assert!(offset <= peer.sent.len(), "nobody peeks behind what is there");
        let mut count = (peer.sent.len() - offset).min(room.len());
        if let Some(mark) = peer.urgent_at {
            let position = peer.discarded + offset as u64;
            if position < mark {
                count = count.min(usize::try_from(mark - position).unwrap());
            } else if peer.has_no_offsets && peer.discarded < mark {
                return Ok(Peek::Nothing);
            }
        }
        if count == 0 && offset == peer.sent.len() {
            return match (peer.error, peer.has_ended) {
                (Some(error), _) => Err(error),
                (None, true) if peer.has_no_offsets && offset > 0 => Ok(Peek::Nothing),
                (None, true) => Ok(Peek::End),
                (None, false) => Ok(Peek::Nothing),
            };
        }
        for (to, from) in room.iter_mut().zip(peer.sent.range(offset..offset + count)) {
            *to = *from;
        }
        Ok(Peek::Bytes(count))
    }

    fn discard(&mut self, count: usize) -> Result<(), StreamError> {
        let mut peer = self.0.borrow_mut();
        assert!(count <= peer.sent.len(), "only what is there is discarded");
        peer.sent.drain(..count);
        peer.discarded += count as u64;
        Ok(())
    }

    fn write(&mut self, pieces: &[IoSlice<'_>]) -> Result<usize, StreamError> {
        let mut peer = self.0.borrow_mut();
        if let Some(error) = peer.error {
            return Err(error);
        }
        assert!(!peer.got_end, "nothing is written behind the end");
        let mut written = 0;
        for piece in pieces {
            let count = piece.len().min(peer.room);
            peer.got.extend_from_slice(&piece[..count]);
            peer.room -= if peer.room == usize::MAX { 0 } else { count };
            written += count;
        }
        peer.was_full |= written == 0;
        Ok(written)
    }

    fn room(&self) -> usize {
        let mut peer = self.0.borrow_mut();
        peer.asked += 1;
        peer.room.min(1 << 20)
    }

    fn end(&mut self) -> Result<(), StreamError> {
        let mut peer = self.0.borrow_mut();
        assert!(!peer.got_end, "there is one end");
        peer.got_end = true;
        Ok(())
    }

    fn is_acknowledged(&self) -> bool {
        self.0.borrow().acknowledges
    }

    fn keep_alive(&mut self, idle: Duration) {
        self.0.borrow_mut().keep_alive = Some(idle);
    }

    fn abort(self) {
        self.0.borrow_mut().aborted = true;
    }
}

impl Drop for FakeStream {
    fn drop(&mut self) {
        self.0.borrow_mut().closed = true;
    }
}

/// A report of the poller.
#[must_use]
pub fn edge(readable: bool, writable: bool, hangup: bool) -> Event {
    Event { token: 0, readable, writable, urgent: false, hangup }
}
