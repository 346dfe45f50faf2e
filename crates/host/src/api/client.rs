//! The blocking client of the control interface.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::line::LineBuffer;
use super::message::{
    ANSWER_MAX, Call, Event, FDS_MAX, Failure, LINE_MAX, Reply, ReplyError, Request,
};
use super::message::{Hello, value_as};

/// How long an answer may take. Every call is answered within one turn of the daemon; this only keeps a
/// command from waiting for a daemon that is stopped.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens there.
    #[error("No hypervisor serves {path}: start one with `netherd up` or `netherd run`.")]
    NotServed { path: PathBuf },
    /// The permissions of the directory or the socket do not allow it.
    #[error(
        "You may not open {path}: its owner and mode decide who may. Ask its owner, or use a network \
         of your own."
    )]
    NotAllowed { path: PathBuf },
    /// The daemon ended, or closed the connection.
    #[error(
        "The hypervisor at {path} closed the connection: it has ended or is restarting; try again."
    )]
    Gone { path: PathBuf },
    /// The daemon answered that it cannot.
    #[error("{0}")]
    Refused(Failure),
    /// What came is no answer.
    #[error(
        "The hypervisor at {path} gave an answer that this program does not understand: {why}."
    )]
    Protocol { path: PathBuf, why: String },
    /// Nothing came within the client's patience.
    #[error(
        "The hypervisor at {path} does not answer{holder}: it is stopped or busy. Continue it (kill -CONT), or end it \
         (kill)."
    )]
    Silent { path: PathBuf, holder: String },
    /// A system call failed.
    #[error("Talking to the hypervisor at {path} failed: {source}.")]
    Io { path: PathBuf, source: io::Error },
}

impl ClientError {
    /// The code of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<super::message::Code> {
        match self {
            Self::Refused(failure) => Some(failure.code),
            _ => None,
        }
    }
}

/// An answer with the descriptors that came with it.
#[derive(Debug)]
pub struct Answer<T> {
    pub value: T,
    pub fds: Vec<OwnedFd>,
}

/// One connection to the `api` socket of a network. A guest's session is such a connection.
#[derive(Debug)]
pub struct Client {
    stream: OwnedFd,
    path: PathBuf,
    lines: LineBuffer,
    fds: Vec<OwnedFd>,
    events: VecDeque<Event>,
    next_id: u64,
    patience: Duration,
}

impl Client {
    /// Connects to the network that is published in `dir`.
    ///
    /// # Errors
    /// [`ClientError::NotServed`] when there is no socket, or nobody listens on it.
    pub fn connect(dir: &Path) -> Result<Self, ClientError> {
        let path = dir.join("api");
        let stream = sys::unix::connect_path(&path, sys::unix::SocketKind::Stream)
            .map_err(|source| Self::connect_error(&path, source))?;
        Ok(Self::over(stream, path))
    }

    fn connect_error(path: &Path, source: io::Error) -> ClientError {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotADirectory => ClientError::NotServed { path },
            io::ErrorKind::PermissionDenied => ClientError::NotAllowed { path },
            _ => ClientError::Io { path, source },
        }
    }

    /// A client over a connected blocking stream; `path` is only for messages.
    #[must_use]
    pub fn over(stream: OwnedFd, path: PathBuf) -> Self {
        Self {
            stream,
            path,
            lines: LineBuffer::new(ANSWER_MAX),
            fds: Vec::new(),
            events: VecDeque::new(),
            next_id: 1,
            patience: ANSWER_TIMEOUT,
        }
    }

    /// The connection, to wait for: readable when an event came or the daemon is gone.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Makes a call and waits for its answer. Descriptors `fds` ride with the request.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the daemon's sentence, or why there is no answer.
    pub fn call<T: DeserializeOwned>(
        &mut self,
        call: &Call,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Answer<T>, ClientError> {
        let id = self.next_id;
        self.next_id += 1;
        let line = Request { id, call: call.clone() }.encode();
        if line.len() > LINE_MAX || fds.len() > FDS_MAX {
            return Err(self.protocol(&"the request is longer than the interface allows"));
        }
        match self.send(&line, fds) {
            // What the daemon said before it closed is there to be read: why it has no place for us.
            Ok(()) | Err(ClientError::Gone { .. }) => {}
            Err(error) => return Err(error),
        }
        self.fds.clear();
        loop {
            match self.next_reply(Some(self.patience))? {
                Some(Reply::Event(event)) => self.events.push_back(event),
                // Id 0 answers the connection, or a request whose id could not be read; there is only ours.
                Some(Reply::Answer { id: answered, result }) if answered == id || answered == 0 => {
                    let value = result.map_err(ClientError::Refused)?;
                    let value = value_as(value).map_err(|why| self.protocol(&why))?;
                    return Ok(Answer { value, fds: std::mem::take(&mut self.fds) });
                }
                Some(Reply::Answer { .. }) => {}
                None => return Err(self.silent()),
            }
        }
    }

    /// How long answers may take, where 20 seconds are too many: for who asks many daemons in turn.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Asks the daemon who it is.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn hello(&mut self) -> Result<Hello, ClientError> {
        Ok(self.call(&Call::Hello {}, &[])?.value)
    }

    /// An event that has come, without waiting.
    ///
    /// # Errors
    /// [`ClientError::Gone`] when the daemon closed the connection.
    pub fn pending_event(&mut self) -> Result<Option<Event>, ClientError> {
        self.event_within(Some(Duration::ZERO))
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// [`ClientError::Gone`] when the daemon closed the connection.
    pub fn wait_event(&mut self) -> Result<Event, ClientError> {
        loop {
            if let Some(event) = self.event_within(None)? {
                return Ok(event);
            }
        }
    }

    fn event_within(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, ClientError> {
        if let Some(event) = self.events.pop_front() {
            return Ok(Some(event));
        }
        loop {
            match self.next_reply(timeout)? {
                Some(Reply::Event(event)) => return Ok(Some(event)),
                // An answer nobody waits for any more.
                Some(Reply::Answer { .. }) => {}
                None => return Ok(None),
            }
        }
    }

    fn send(&mut self, line: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), ClientError> {
        let mut sent = 0;
        while sent < line.len() {
            let with = if sent == 0 { fds } else { &[] };
            match sys::unix::send_with_fds(self.stream.as_fd(), &line[sent..], with) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io(error)),
            }
        }
        Ok(())
    }

    /// `None` when nothing came in time.
    fn next_reply(&mut self, timeout: Option<Duration>) -> Result<Option<Reply>, ClientError> {
        loop {
            if let Some(line) = self.lines.next_line() {
                return Reply::decode(&line)
                    .map(Some)
                    .map_err(|why: ReplyError| self.protocol(&why));
            }
            match sys::wait::readable(self.stream.as_fd(), timeout) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) => return Err(self.io(error)),
            }
            let mut buffer = [0; 16 * 1024];
            let room = buffer.len().min(self.lines.room());
            let received =
                sys::unix::receive_with_fds(self.stream.as_fd(), &mut buffer[..room], FDS_MAX);
            match received {
                Ok(received) => {
                    if received.len == 0 {
                        return Err(ClientError::Gone { path: self.path.clone() });
                    }
                    self.fds.extend(received.fds);
                    let pushed = self.lines.push(&buffer[..received.len]);
                    pushed.map_err(|why| self.protocol(&why))?;
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                    ) => {}
                Err(error) => return Err(self.io(error)),
            }
        }
    }

    fn protocol(&self, why: &dyn std::fmt::Display) -> ClientError {
        ClientError::Protocol { path: self.path.clone(), why: why.to_string() }
    }

    fn silent(&self) -> ClientError {
        let holder = sys::unix::peer_cred(self.stream.as_fd())
            .map_or_else(|_| String::new(), |cred| format!(" (process {})", cred.pid));
        ClientError::Silent { path: self.path.clone(), holder }
    }

    fn io(&self, source: io::Error) -> ClientError {
        let path = self.path.clone();
        match source.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                ClientError::Gone { path }
            }
            _ => ClientError::Io { path, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn who_does_not_answer_is_named() {
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        let mut client =
            Client::over(ours.into(), "/run/net/api".into()).with_patience(Duration::ZERO);
        let error = client.hello().expect_err("nobody reads");
        let said = error.to_string();
        let holder = format!("/run/net/api does not answer (process {})", std::process::id());
        assert!(said.contains(&holder) && said.contains("kill -CONT"), "{said}");
    }
}
