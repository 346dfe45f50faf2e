//! A port on a shared datagram socket: what the clients of a `dgram` node have.
//!
//! Clients have connected to the node's one socket, so a datagram from any other socket would be
//! refused (`unix_may_send` in net/unix/af_unix.c): all are answered from it. Reading is the
//! node's business; this link only sends.
//!
//! **One full client must not stop the others.** All that was sent and not read yet is charged to
//! the one socket's send buffer, whoever does not read it. Each client therefore has a *window*, a
//! share of that buffer: what was sent to it since it was last known to have read everything. A
//! client whose window is used up is left alone, its frames wait in its own bounded queue, and a
//! timer tries again; nothing reports when there is room, because the socket as a whole is
//! writable. That everything was read is known when the socket's charge is zero, or when the
//! kernel says so of the client's own socket ([`sys::diag`]).
//!
//! Where the kernel cannot be asked (no `unix_diag`, or a client in another network namespace) a
//! client is believed to read a window's worth in the longest pause. There, and only there, a
//! client that stops reading can take more than its share of the buffer.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use engine::{Pool, TxBatch};
use sys::diag::{Diag, SocketId};
use sys::unix::{Address, PeerPath};

use super::datagram::send_batch;
use super::{CloseReason, Intake, Link, LinkState, Progress, Sent};

/// First and longest pause before a full client is tried again.
const RETRY_FIRST: Duration = Duration::from_micros(100);
const RETRY_LAST: Duration = Duration::from_millis(20);

/// What the kernel charges a socket for one datagram: the block the bytes and their
/// `skb_shared_info` (320 bytes) are in, and the `sk_buff` (256 bytes).
fn charge(len: usize) -> usize {
    (len + 320).next_power_of_two() + 256
}

/// The socket of a node, and what all its clients share.
#[derive(Debug)]
pub(crate) struct SharedSocket {
    fd: OwnedFd,
    /// Bytes the kernel lets the socket have in flight.
    send_buffer: usize,
    clients: Cell<usize>,
    /// Counts how often everything was seen read.
    drained: Cell<u64>,
    /// Asked only about clients that used up their window.
    diag: RefCell<Option<Diag>>,
}

impl SharedSocket {
    pub(crate) fn for_datagrams(fd: OwnedFd) -> io::Result<SharedSocket> {
        let (send_buffer, _) = sys::unix::set_buffers(fd.as_fd(), 4 << 20, 4 << 20)?;
        let mut socket = SharedSocket::listening(fd)?;
        socket.send_buffer = send_buffer;
        socket.diag = RefCell::new(Diag::open().ok());
        Ok(socket)
    }

    /// A socket that only accepts.
    pub(crate) fn listening(fd: OwnedFd) -> io::Result<SharedSocket> {
        sys::unix::set_nonblocking(fd.as_fd(), true)?;
        Ok(SharedSocket {
            fd,
            send_buffer: 0,
            clients: Cell::new(0),
            drained: Cell::new(0),
            diag: RefCell::new(None),
        })
    }

    /// What the kernel answers about a client's socket; `None` where it cannot be asked.
    fn ask<T>(&self, question: impl FnOnce(&mut Diag) -> io::Result<T>) -> io::Result<Option<T>> {
        self.diag.borrow_mut().as_mut().map(question).transpose()
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What one client may have unread: half of the buffer is shared out, half is slack for what
    /// the estimate misses.
    fn window(&self) -> usize {
        let clients = self.clients.get().max(1);
        (self.send_buffer / 2 / clients).max(4 * 1024)
    }
}

#[derive(Debug)]
pub(crate) struct SharedLink {
    socket: Rc<SharedSocket>,
    to: Address,
    /// Keeps `to` meaning the inode that was checked.
    pinned: Option<PeerPath>,
    /// Charged to this client since it was last known to have read everything.
    unread: usize,
    /// The value of [`SharedSocket::drained`] when `unread` was last right.
    seen_drained: u64,
    identity: Identity,
    pause: Duration,
}

/// The client's own socket. Finding it takes a list of all sockets of the namespace, so it is
/// looked for when a client first uses up its window, which most never do.
#[derive(Debug, Clone, Copy)]
enum Identity {
    NotSought,
    Known(SocketId),
    /// The kernel does not tell.
    Unknown,
}

impl SharedLink {
    pub(crate) fn new(
        socket: Rc<SharedSocket>,
        to: Address,
        pinned: Option<PeerPath>,
    ) -> SharedLink {
        socket.clients.update(|clients| clients + 1);
        SharedLink {
            seen_drained: socket.drained.get(),
            socket,
            to,
            pinned,
            unread: 0,
            identity: Identity::NotSought,
            pause: RETRY_FIRST,
        }
    }
}

impl Drop for SharedLink {
    fn drop(&mut self) {
        self.socket.clients.update(|clients| clients - 1);
    }
}

impl SharedLink {
    /// Forgets what is known to have been read.
    fn refresh(&mut self) -> io::Result<()> {
        if sys::unix::unsent(self.socket.as_fd())? == 0 {
            self.socket.drained.update(|times| times + 1);
        }
        let drained = self.socket.drained.get();
        let read = drained != self.seen_drained
            || match self.identity() {
                // An error says that the socket is gone; sending will say so as well.
                Some(id) => self.socket.ask(|diag| diag.has_read_everything(id))? == Some(true),
                None => self.pause >= RETRY_LAST,
            };
        if read {
            self.seen_drained = drained;
            self.unread = 0;
        }
        Ok(())
    }

    fn identity(&mut self) -> Option<SocketId> {
        if matches!(self.identity, Identity::NotSought) {
            let found = self.socket.ask(|diag| match &self.pinned {
                Some(path) => diag.find_pinned(path),
                None => diag.find_abstract(&self.to),
            });
            self.identity = found
                .ok()
                .flatten()
                .flatten()
                .map_or(Identity::Unknown, |found| Identity::Known(found.id));
        }
        match self.identity {
            Identity::Known(id) => Some(id),
            Identity::NotSought | Identity::Unknown => None,
        }
    }

    /// How many frames of the batch fit the window, and what they are charged.
    fn allowed(&self, batch: &TxBatch, window: usize) -> (usize, usize) {
        let mut charged = 0;
        let fits = batch.iter().take_while(|frame| {
            let fits = self.unread + charged < window;
            charged += if fits { charge(frame.len()) } else { 0 };
            fits
        });
        (fits.count(), charged)
    }

    fn again_later(&mut self) -> LinkState {
        let pause = self.pause;
        self.pause = (pause * 2).min(RETRY_LAST);
        LinkState::RetryAfter(pause)
    }

    fn send(
        &mut self,
        pool: &mut Pool,
        batch: &mut TxBatch,
        refused: &mut u64,
    ) -> io::Result<LinkState> {
        let window = self.socket.window();
        while !batch.is_empty() {
            if self.allowed(batch, window).0 < batch.len() {
                self.refresh()?;
            }
            let (allowed, charged) = self.allowed(batch, window);
            if allowed == 0 {
                return Ok(self.again_later());
            }
            let (fd, to) = (self.socket.as_fd(), Some(&self.to));
            let left = send_batch(fd, to, batch, pool, allowed, refused)?;
            // What was not sent is charged for a moment too long, never too short.
            self.unread += charged;
            if left < allowed {
                return Ok(self.again_later());
            }
            self.pause = RETRY_FIRST;
        }
        Ok(LinkState::Free)
    }
}

impl Link for SharedLink {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn receive(&mut self, _: &mut Intake<'_>) -> Result<Progress, CloseReason> {
        Ok(Progress::Done)
    }

    fn transmit(&mut self, pool: &mut Pool, batch: &mut TxBatch) -> Sent {
        let mut refused = 0;
        let state = self.send(pool, batch, &mut refused).map_err(|e| gone(&e));
        Sent { state, refused }
    }
}

/// ENOENT: the name is gone with its socket. The others as for every socket.
fn gone(e: &io::Error) -> CloseReason {
    if e.kind() == io::ErrorKind::NotFound { CloseReason::PeerClosed } else { CloseReason::of(e) }
}
