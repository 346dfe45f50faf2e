//! The socket of the control interface: clients connect to it, unless it pauses.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use engine::Instant;
use sys::Cred;
use sys::poll::Interest;

use super::BACKLOG;
use crate::worker::{Token, Worker};

/// So long connections wait when there are no descriptors for them.
const PAUSE: Duration = Duration::from_millis(100);

/// `api` of one network.
#[derive(Debug)]
pub(in crate::daemon) struct ApiSocket {
    fd: OwnedFd,
    token: Token,
    /// There were no descriptors left for connections; they wait in the socket's queue until then.
    paused: Option<Instant>,
}

impl ApiSocket {
    /// Watches a socket, on which nobody listens yet.
    ///
    /// # Errors
    /// Of the poller.
    pub(super) fn new(worker: &mut Worker, fd: OwnedFd) -> std::io::Result<Self> {
        let token = worker.register(fd.as_fd(), Interest::READABLE)?;
        Ok(Self { fd, token, paused: None })
    }

    /// Lets clients connect.
    ///
    /// # Errors
    /// listen(2)
    pub(super) fn listen(&self) -> std::io::Result<()> {
        sys::unix::listen(self.fd.as_fd(), BACKLOG)
    }

    /// Nobody watches it any more.
    pub(super) fn deregister(&self, worker: &mut Worker) {
        let _gone = worker.deregister(self.token, self.fd.as_fd());
    }

    /// Whether the worker means this socket.
    pub(in crate::daemon) fn is(&self, token: Token) -> bool {
        self.token == token
    }

    /// A client that wants to connect, and who it is.
    ///
    /// # Errors
    /// accept(2)
    pub(in crate::daemon) fn accept(&self) -> std::io::Result<(OwnedFd, Cred)> {
        sys::unix::accept(self.fd.as_fd())
    }

    /// Without descriptors a connection cannot even be refused: it stays in the queue, and the poller would report it
    /// for ever.
    pub(in crate::daemon) fn pause(&mut self, worker: &mut Worker) {
        if worker.reregister(self.token, self.fd.as_fd(), Interest::NONE).is_ok() {
            self.paused = Some(worker.now() + PAUSE);
        }
    }

    /// Accepts again if a pause is over.
    pub(in crate::daemon) fn resume(&mut self, worker: &mut Worker) {
        let now = worker.now();
        if self.paused.is_some_and(|until| until <= now) {
            let watched = worker.reregister(self.token, self.fd.as_fd(), Interest::READABLE);
            self.paused = watched.is_err().then(|| now + PAUSE);
        }
    }

    /// When [`ApiSocket::resume`] has something to do.
    pub(in crate::daemon) fn paused_until(&self) -> Option<Instant> {
        self.paused
    }
}
