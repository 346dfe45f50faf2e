//! Sockets without a host, for tests and fuzzing: what is sent is kept, what is received was put
//! there, and everything can be made to fail.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use sys::inet::Carries;
use sys::inet::ring::Received;
use sys::route::RouteKind;

use crate::backend::datagram::{DatagramBackend, Local, Marks, ROOM, Routes, SocketError};
use crate::backend::{Backend, Connecting, HostRoom, Peek, Stream, StreamBackend, StreamError};
use crate::poll::{Interest, Poller, Token};

/// Routes of a host that does not exist.
#[derive(Clone, Debug, Default)]
pub struct FakeRoutes {
    default: bool,
    local: HashSet<IpAddr>,
    changed: bool,
    /// The next questions fail with these error numbers; with 0, they do not.
    pub fail: VecDeque<i32>,
}

impl FakeRoutes {
    /// With default routes of both versions.
    #[must_use]
    pub fn with_default() -> Self {
        Self { default: true, ..Self::default() }
    }

    /// Gives the host an address.
    ///
    /// # Panics
    /// If it is none.
    pub fn local(&mut self, address: &str) {
        self.local.insert(address.parse().expect("an address"));
        self.changed = true;
    }
}

impl Routes for FakeRoutes {
    fn kind(&mut self, destination: IpAddr) -> io::Result<RouteKind> {
        if let Some(errno) = self.fail.pop_front().filter(|errno| *errno != 0) {
            return Err(io::Error::from_raw_os_error(errno));
        }
        Ok(if self.local.contains(&destination) {
            RouteKind::Local
        } else if self.default {
            RouteKind::Unicast
        } else {
            RouteKind::Unreachable
        })
    }

    fn changes(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

/// A datagram that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Number of the socket.
    pub socket: u32,
    /// The address of the host that it left from, where its sender named one.
    pub from: Option<Local>,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
    /// It went as a train.
    pub segment: Option<u16>,
    pub marks: Option<Marks>,
}

/// A datagram to be received.
#[derive(Clone, Debug)]
struct Arrived {
    from: SocketAddr,
    local: Option<Local>,
    bytes: Vec<u8>,
    segment: Option<u16>,
    class: u8,
}

/// One socket as its user sees it.
#[derive(Debug)]
pub struct FakeSocket {
    pub number: u32,
}

#[derive(Debug, Default)]
struct State {
    marks: Option<Marks>,
    token: Option<Token>,
    interest: Interest,
    arrived: VecDeque<Arrived>,
    errors: VecDeque<(SocketError, Vec<u8>)>,
}

/// Datagram sockets in memory.
#[derive(Debug, Default)]
pub struct FakeDatagrams {
    pub routes: FakeRoutes,
    sockets: BTreeMap<u32, State>,
    next: u32,
    /// What was sent, oldest first.
    pub sent: Vec<Sent>,
    /// The next calls to open or bind fail with these error numbers.
    pub fail_open: VecDeque<i32>,
    /// The next calls to send fail with these error numbers.
    pub fail_send: VecDeque<i32>,
    batch: Vec<Arrived>,
}

impl FakeDatagrams {
    /// With default routes of both versions.
    #[must_use]
    pub fn with_default() -> Self {
        Self { routes: FakeRoutes::with_default(), ..Self::default() }
    }

    fn state(&mut self, socket: u32) -> &mut State {
        self.sockets.entry(socket).or_default()
    }

    /// Puts a datagram where the socket will find it.
    pub fn arrive(&mut self, socket: u32, from: SocketAddr, bytes: &[u8], segment: Option<u16>) {
        let arrived = Arrived { from, local: None, bytes: bytes.to_vec(), segment, class: 0 };
        self.state(socket).arrived.push_back(arrived);
    }

    /// As [`Self::arrive`], of one datagram to this address of the host.
    pub fn arrive_at(&mut self, socket: u32, local: Local, from: SocketAddr, bytes: &[u8]) {
        let local = Some(local);
        let arrived = Arrived { from, local, bytes: bytes.to_vec(), segment: None, class: 0 };
        self.state(socket).arrived.push_back(arrived);
    }

    /// Puts an error where the socket will find it.
    pub fn fail(&mut self, socket: u32, error: SocketError, payload: &[u8]) {
        self.state(socket).errors.push_back((error, payload.to_vec()));
    }

    /// Sockets that have something, and are watched for it: token, readable, error.
    #[must_use]
    pub fn ready(&self) -> Vec<(Token, bool, bool)> {
        self.sockets
            .values()
            .filter_map(|state| {
                let readable = state.interest.readable && !state.arrived.is_empty();
                let error = !state.errors.is_empty();
                (readable || error).then_some((state.token?, readable, error))
            })
            .collect()
    }

    /// Number of the socket that was opened last.
    #[must_use]
    pub fn newest(&self) -> u32 {
        self.next.saturating_sub(1)
    }

    fn make(&mut self) -> io::Result<FakeSocket> {
        if let Some(errno) = self.fail_open.pop_front() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let number = self.next;
        self.next += 1;
        self.sockets.insert(number, State::default());
        Ok(FakeSocket { number })
    }
}

impl Routes for FakeDatagrams {
    fn kind(&mut self, destination: IpAddr) -> io::Result<RouteKind> {
        self.routes.kind(destination)
    }

    fn changes(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn changed(&mut self) -> bool {
        self.routes.changed()
    }
}

impl DatagramBackend for FakeDatagrams {
    type Socket = FakeSocket;

    fn open(&mut self, _: Carries, _: bool) -> io::Result<FakeSocket> {
        self.make()
    }

    fn bind(&mut self, _: SocketAddr) -> io::Result<FakeSocket> {
        self.make()
    }

    fn watch(&mut self, poller: &Poller, socket: &FakeSocket, token: Token) -> io::Result<()> {
        self.rewatch(poller, socket, token, Interest::READABLE)
    }

    fn rewatch(
        &mut self,
        _: &Poller,
        socket: &FakeSocket,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let state = self.state(socket.number);
        state.token = Some(token);
        state.interest = interest;
        Ok(())
    }

    fn mark(
        &mut self,
        socket: &FakeSocket,
        _: bool,
        marks: Marks,
        _: Option<Marks>,
    ) -> io::Result<()> {
        self.state(socket.number).marks = Some(marks);
        Ok(())
    }

    fn send<'a>(
        &mut self,
        socket: &FakeSocket,
        from: Option<Local>,
        to: SocketAddr,
        datagrams: impl Iterator<Item = [&'a [u8]; 2]>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for pieces in datagrams {
            if let Some(errno) = self.fail_send.pop_front().filter(|errno| *errno != 0) {
                if count > 0 {
                    self.fail_send.push_front(errno);
                    return Ok(count);
                }
                return Err(io::Error::from_raw_os_error(errno));
            }
            let marks = self.state(socket.number).marks;
            let bytes = pieces.concat();
            self.sent.push(Sent { socket: socket.number, from, to, bytes, segment: None, marks });
            count += 1;
        }
        Ok(count)
    }

    fn send_train<'a>(
        &mut self,
        socket: &FakeSocket,
        to: SocketAddr,
        pieces: impl Iterator<Item = &'a [u8]>,
        segment: u16,
    ) -> io::Result<()> {
        if let Some(errno) = self.fail_send.pop_front().filter(|errno| *errno != 0) {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let marks = self.state(socket.number).marks;
        let bytes = pieces.collect::<Vec<_>>().concat();
        let (socket, segment) = (socket.number, Some(segment));
        self.sent.push(Sent { socket, from: None, to, bytes, segment, marks });
        Ok(())
    }

    fn receive(&mut self, socket: &FakeSocket, max: usize) -> io::Result<usize> {
        self.batch.clear();
        let arrived = &mut self.sockets.entry(socket.number).or_default().arrived;
        while self.batch.len() < max {
            let Some(mut one) = arrived.pop_front() else { break };
            one.bytes = [&[0; ROOM][..], &one.bytes].concat();
            self.batch.push(one);
        }
        if self.batch.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(self.batch.len())
    }

    fn received(&mut self, i: usize) -> Option<Received<'_>> {
        let one = self.batch.get_mut(i)?;
        Some(Received {
            bytes: &mut one.bytes,
            from: one.from,
            local: one.local,
            segment: one.segment,
            traffic_class: one.class,
            truncated: false,
        })
    }

    fn error(&mut self, socket: &FakeSocket, payload: &mut [u8]) -> io::Result<SocketError> {
        let errors = &mut self.sockets.entry(socket.number).or_default().errors;
        let (mut error, bytes) = errors.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        error.len = bytes.len().min(payload.len());
        payload[..error.len].copy_from_slice(&bytes[..error.len]);
        Ok(error)
    }
}

/// A stream that takes all, unless it is full, and gives nothing.
#[derive(Debug, Default)]
pub struct FakeStream {
    ended: bool,
    connecting: Rc<RefCell<VecDeque<Connecting>>>,
    full: Rc<Cell<bool>>,
}

impl Stream for FakeStream {
    fn watch(&self, _: &Poller, _: Token) -> Result<(), StreamError> {
        Ok(())
    }

    fn connecting(&mut self) -> Connecting {
        self.connecting.borrow_mut().pop_front().unwrap_or(Connecting::Connected)
    }

    fn failure(&mut self) -> Option<StreamError> {
        None
    }

    fn peek(&mut self, _: usize, _: &mut [u8]) -> Result<Peek, StreamError> {
        Ok(if self.ended { Peek::End } else { Peek::Nothing })
    }

    fn discard(&mut self, _: usize) -> Result<(), StreamError> {
        Ok(())
    }

    fn write(&mut self, pieces: &[IoSlice<'_>]) -> Result<usize, StreamError> {
        Ok(if self.full.get() { 0 } else { pieces.iter().map(|piece| piece.len()).sum() })
    }

    fn room(&self) -> usize {
        if self.full.get() { 0 } else { 1 << 20 }
    }

    fn end(&mut self) -> Result<(), StreamError> {
        self.ended = true;
        Ok(())
    }

    fn is_acknowledged(&self) -> bool {
        true
    }

    fn keep_alive(&mut self, _: Duration) {}

    fn abort(self) {}
}

/// Connections to a host that accepts everything, when it is asked to.
#[derive(Debug, Default)]
pub struct FakeStreams {
    /// What refuses at once.
    pub refusing: HashSet<SocketAddr>,
    /// Where guests connected to, oldest first, with the token of the stream.
    pub connects: Vec<(SocketAddr, Token)>,
    /// The next calls to connect fail in these ways.
    pub fail_connect: VecDeque<StreamError>,
    /// How far those that connect have come, of the next that are asked.
    pub connecting: Rc<RefCell<VecDeque<Connecting>>>,
    /// Those that connect take nothing.
    pub full: Rc<Cell<bool>>,
    /// What the next calls to accept find: a client, or an error number.
    pub accepts: RefCell<VecDeque<Result<SocketAddr, i32>>>,
}

impl StreamBackend for FakeStreams {
    type Stream = FakeStream;

    fn connect(
        &mut self,
        _: &Poller,
        token: Token,
        target: SocketAddr,
    ) -> Result<FakeStream, StreamError> {
        if let Some(error) = self.fail_connect.pop_front() {
            return Err(error);
        }
        if self.refusing.contains(&target) {
            return Err(StreamError::Refused);
        }
        self.connects.push((target, token));
        let (connecting, full) = (Rc::clone(&self.connecting), Rc::clone(&self.full));
        Ok(FakeStream { ended: false, connecting, full })
    }
}

/// A socket that listens.
#[derive(Debug)]
pub struct FakeListener {
    pub address: SocketAddr,
    /// It is not watched.
    pub is_paused: Cell<bool>,
}

/// A host that does not exist.
#[derive(Debug, Default)]
pub struct FakeBackend {
    pub datagrams: FakeDatagrams,
}

impl FakeBackend {
    /// With default routes of both versions.
    #[must_use]
    pub fn with_default() -> Self {
        Self { datagrams: FakeDatagrams::with_default() }
    }
}

impl Backend for FakeBackend {
    type Streams = FakeStreams;
    type Datagrams = FakeDatagrams;
    type Listener = FakeListener;

    /// Always the same, however little this machine gives its user.
    fn room() -> HostRoom {
        HostRoom { descriptors: 20_000, ports: 28_232 }
    }

    fn split(self) -> (FakeStreams, FakeDatagrams) {
        (FakeStreams::default(), self.datagrams)
    }

    fn listen(_: &Poller, _: Token, address: SocketAddr) -> io::Result<FakeListener> {
        Ok(FakeListener { address, is_paused: Cell::new(false) })
    }

    fn accept(streams: &FakeStreams, _: &FakeListener) -> io::Result<(FakeStream, SocketAddr)> {
        match streams.accepts.borrow_mut().pop_front() {
            Some(Ok(client)) => Ok((FakeStream::default(), client)),
            Some(Err(errno)) => Err(io::Error::from_raw_os_error(errno)),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn pause(_: &Poller, _: Token, listener: &FakeListener) -> io::Result<()> {
        listener.is_paused.set(true);
        Ok(())
    }

    fn resume(_: &Poller, _: Token, listener: &FakeListener) -> io::Result<()> {
        listener.is_paused.set(false);
        Ok(())
    }

    fn local(_: &FakeStreams) -> io::Result<(FakeStream, OwnedFd)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        drop(theirs);
        Ok((FakeStream::default(), ours.into()))
    }
}
