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

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use engine::{Pool, TxBatch};
use sys::unix::{Address, PeerPath};

use super::datagram::send_held;
use super::{CloseReason, Held, Intake, Link, LinkState, Progress, Sent};

/// First and longest pause before a full client is tried again.
const RETRY_FIRST: Duration = Duration::from_micros(100);
const RETRY_LAST: Duration = Duration::from_millis(20);

/// What the kernel charges a socket for one datagram: the block the bytes and their
/// `skb_shared_info` (320 bytes) are in, and the `sk_buff` (256 bytes).
fn charge(len: usize) -> usize {
    (len + 320).next_power_of_two() + 256
}

/// The socket of a node, and what all its clients share. The counters are only ever touched by
/// the worker that owns them.
#[derive(Debug)]
pub(crate) struct SharedSocket {
    fd: OwnedFd,
    /// Bytes the kernel lets the socket have in flight.
    send_buffer: usize,
    clients: AtomicUsize,
    /// Counts how often everything was seen read.
    drained: AtomicU64,
}

impl SharedSocket {
    pub(crate) fn for_datagrams(fd: OwnedFd) -> io::Result<SharedSocket> {
        let (send_buffer, _) = sys::unix::set_buffers(fd.as_fd(), 4 << 20, 4 << 20)?;
        let mut socket = SharedSocket::listening(fd)?;
        socket.send_buffer = send_buffer;
        Ok(socket)
    }

    /// A socket that only accepts.
    pub(crate) fn listening(fd: OwnedFd) -> io::Result<SharedSocket> {
        sys::unix::set_nonblocking(fd.as_fd(), true)?;
        Ok(SharedSocket {
            fd,
            send_buffer: 0,
            clients: AtomicUsize::new(0),
            drained: AtomicU64::new(0),
        })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What one client may have unread: half of the buffer is shared out, half is slack for what
    /// the estimate misses.
    fn window(&self) -> usize {
        let clients = self.clients.load(Ordering::Relaxed).max(1);
        (self.send_buffer / 2 / clients).max(4 * 1024)
    }
}

#[derive(Debug)]
pub(crate) struct SharedLink {
    socket: Arc<SharedSocket>,
    to: Address,
    /// Keeps `to` meaning the inode that was checked.
    _pinned: Option<PeerPath>,
    held: Held,
    /// Charged to this client since it was last known to have read everything.
    unread: usize,
    /// The value of [`SharedSocket::drained`] when `unread` was last right.
    seen_drained: u64,
    pause: Duration,
}

impl SharedLink {
    pub(crate) fn new(
        socket: Arc<SharedSocket>,
        to: Address,
        pinned: Option<PeerPath>,
    ) -> SharedLink {
        socket.clients.fetch_add(1, Ordering::Relaxed);
        let seen_drained = socket.drained.load(Ordering::Relaxed);
        SharedLink {
            socket,
            to,
            _pinned: pinned,
            held: Held::default(),
            unread: 0,
            seen_drained,
            pause: RETRY_FIRST,
        }
    }
}

impl Drop for SharedLink {
    fn drop(&mut self) {
        self.socket.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

impl SharedLink {
    /// Forgets what is known to have been read.
    fn refresh(&mut self) -> io::Result<()> {
        if sys::unix::unsent(self.socket.as_fd())? == 0 {
            self.socket.drained.fetch_add(1, Ordering::Relaxed);
        }
        let drained = self.socket.drained.load(Ordering::Relaxed);
        if drained != self.seen_drained {
            self.seen_drained = drained;
            self.unread = 0;
        }
        Ok(())
    }

    /// How many held frames fit the window.
    fn allowed(&self, window: usize) -> usize {
        let mut unread = self.unread;
        self.held
            .frames()
            .iter()
            .take_while(|frame| {
                let fits = unread < window;
                unread += charge(frame.len());
                fits
            })
            .count()
    }

    fn again_later(&mut self, refused: u64) -> Sent {
        let pause = self.pause;
        self.pause = (pause * 2).min(RETRY_LAST);
        Sent { state: LinkState::RetryAfter(pause), refused }
    }
}

impl Link for SharedLink {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn receive(&mut self, _: &mut Intake<'_>) -> Result<Progress, CloseReason> {
        Ok(Progress::Done)
    }

    fn transmit(&mut self, pool: &mut Pool, batch: &mut TxBatch) -> Result<Sent, CloseReason> {
        self.held.accept(batch);
        let window = self.socket.window();
        let mut refused = 0;
        loop {
            if self.allowed(window) < self.held.frames().len() {
                self.refresh().map_err(|e| CloseReason::of(&e))?;
            }
            let allowed = self.allowed(window);
            if allowed == 0 {
                return Ok(self.again_later(refused));
            }
            let charged: usize =
                self.held.frames().iter().take(allowed).map(|frame| charge(frame.len())).sum();
            let (sent, left) =
                send_held(self.socket.as_fd(), Some(&self.to), &mut self.held, pool, allowed)
                    .map_err(|e| gone(&e))?;
            refused += sent.refused;
            // What was not sent is charged for a moment too long, never too short.
            self.unread += charged;
            if self.held.is_empty() {
                self.pause = RETRY_FIRST;
                return Ok(Sent { state: LinkState::Free, refused });
            }
            if left < allowed {
                return Ok(self.again_later(refused));
            }
            self.pause = RETRY_FIRST;
        }
    }

    fn abandon(&mut self, pool: &mut Pool) -> u64 {
        self.held.release_all(pool)
    }
}

/// ENOENT: the name is gone with its socket. The others as for every socket.
fn gone(e: &io::Error) -> CloseReason {
    if e.kind() == io::ErrorKind::NotFound { CloseReason::PeerClosed } else { CloseReason::of(e) }
}
