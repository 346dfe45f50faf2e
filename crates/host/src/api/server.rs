//! The daemon's side of one connection to `api`: lines and descriptors in, answers and events out.
//!
//! # Theory of operation
//!
//! A connection never blocks the daemon. Bytes are kept until a line is whole; answers that the client does not
//! read are kept up to [`BACKLOG_MAX`] bytes, and above [`BACKLOG_BUSY`] no further request of this client is read
//! or served, so it fills only its own buffers and then waits for itself.
//!
//! Descriptors arrive with bytes, not with lines (unix(7)): those that have come belong to the next request that
//! takes descriptors, in their order. They are closed when a request that takes none leaves them over.
//!
//! Descriptors that the client sent are not closed here but by the [`closer`], and so is the connection when it is over:
//! some may still be in it.
//!
//! Who is at the other end is what the kernel says (SO_PEERCRED), at the time it connected.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sys::Cred;

use crate::closer;

use super::line::LineBuffer;
use super::message::{ANSWER_MAX, Code, Event, FDS_MAX, Failure, LINE_MAX, Reply, Request};

/// Bytes that wait for a client; one that lets more pile up is disconnected.
pub const BACKLOG_MAX: usize = 2 * ANSWER_MAX;
/// With more than this waiting, a client is served no further.
pub const BACKLOG_BUSY: usize = 64 * 1024;
/// Requests that one visit serves, so that a client that sends many does not delay frames.
pub const REQUESTS_PER_VISIT: usize = 8;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub enum Over {
    #[error("the client closed it")]
    Closed,
    #[error("{0}")]
    Line(#[from] super::line::LineTooLong),
    #[error("the client does not read its answers")]
    Backlog,
    #[error("too many descriptors came with requests of this user that are not finished")]
    Parked,
    #[error("it has asked nothing for some time, and another one needs its place")]
    Silent,
    #[error("{0}")]
    Io(#[from] io::Error),
}

struct Chunk {
    bytes: Vec<u8>,
    sent: usize,
    /// Ride with the first byte.
    fds: Vec<OwnedFd>,
}

/// One connection.
pub struct Connection {
    stream: OwnedFd,
    cred: Cred,
    lines: LineBuffer,
    fds: VecDeque<OwnedFd>,
    out: VecDeque<Chunk>,
    out_bytes: usize,
    /// The client sends no more; answers may still go out.
    finished: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("cred", &self.cred)
            .field("backlog", &self.out_bytes)
            .finish_non_exhaustive()
    }
}

/// What a line asked for.
pub type Asked = Result<Request, (u64, Failure)>;

impl Connection {
    /// A connection over a non-blocking stream.
    #[must_use]
    pub fn new(stream: OwnedFd, cred: Cred) -> Self {
        Self {
            stream,
            cred,
            lines: LineBuffer::new(LINE_MAX),
            fds: VecDeque::new(),
            out: VecDeque::new(),
            out_bytes: 0,
            finished: false,
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn cred(&self) -> Cred {
        self.cred
    }

    /// The socket.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Descriptors that came and that no request has taken yet.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.fds.len()
    }

    /// Whether bytes wait for the client.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether the client has to read before it is served further.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.out_bytes > BACKLOG_BUSY
    }

    /// Reads once what is there, if there is room for it.
    ///
    /// # Errors
    /// When the connection is over.
    pub fn read(&mut self) -> Result<(), Over> {
        let mut buffer = [0; 16 * 1024];
        let room = buffer.len().min(self.lines.room());
        if room == 0 || self.finished {
            return Ok(());
        }
        let received = match sys::unix::receive_any_fds(self.stream.as_fd(), &mut buffer[..room]) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(Over::Closed);
            }
            Err(error) => return Err(error.into()),
        };
        self.fds.extend(received.fds);
        if received.len == 0 {
            self.finished = true;
            return Err(Over::Closed);
        }
        if received.cut || self.fds.len() > FDS_MAX {
            let why = format!("more than {FDS_MAX} descriptors came with requests");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why).into());
        }
        Ok(self.lines.push(&buffer[..received.len])?)
    }

    /// The next request, unless the client has to read first.
    pub fn next_request(&mut self) -> Option<Asked> {
        if self.is_busy() {
            return None;
        }
        let line = self.lines.next_line()?;
        Some(Request::decode(&line))
    }

    /// The descriptors that came for a request that takes `count` of them.
    ///
    /// # Errors
    /// When there are others than `count`; they are closed.
    pub fn take_fds(&mut self, count: usize) -> Result<Vec<OwnedFd>, Failure> {
        let came = self.fds.len();
        if came < count {
            self.close_fds();
            let message = format!(
                "The request needs {count} descriptors, but {came} came with it: send them by SCM_RIGHTS with the \
                first byte of its line."
            );
            return Err(Failure::new(Code::BadRequest, message));
        }
        Ok(self.fds.drain(..count).collect())
    }

    /// Closes descriptors that nobody took.
    pub fn drop_fds(&mut self) {
        if self.lines.is_empty() {
            self.close_fds();
        }
    }

    fn close_fds(&mut self) {
        closer::close(self.cred.uid, self.fds.drain(..));
    }

    /// Queues an answer.
    ///
    /// # Errors
    /// When the client has let too much pile up.
    pub fn answer(
        &mut self,
        id: u64,
        result: Result<serde_json::Value, Failure>,
        fds: Vec<OwnedFd>,
    ) -> Result<(), Over> {
        let mut bytes = Reply::Answer { id, result }.encode();
        if bytes.len() > ANSWER_MAX {
            let message = "The answer is longer than the interface allows: ask for one port.";
            let result = Err(Failure::new(Code::Limit, message));
            bytes = Reply::Answer { id, result }.encode();
        }
        self.queue(bytes, fds)
    }

    /// Queues an event.
    ///
    /// # Errors
    /// As [`Connection::answer`].
    pub fn event(&mut self, event: Event) -> Result<(), Over> {
        self.queue(Reply::Event(event).encode(), Vec::new())
    }

    fn queue(&mut self, bytes: Vec<u8>, fds: Vec<OwnedFd>) -> Result<(), Over> {
        if self.out_bytes + bytes.len() > BACKLOG_MAX {
            return Err(Over::Backlog);
        }
        self.out_bytes += bytes.len();
        self.out.push_back(Chunk { bytes, sent: 0, fds });
        Ok(())
    }

    /// Writes what the socket takes.
    ///
    /// # Errors
    /// When the connection is over.
    pub fn write(&mut self) -> Result<(), Over> {
        while let Some(chunk) = self.out.front_mut() {
            let fds: Vec<BorrowedFd<'_>> = chunk.fds.iter().map(AsFd::as_fd).collect();
            match sys::unix::send_with_fds(self.stream.as_fd(), &chunk.bytes[chunk.sent..], &fds) {
                Ok(count) => {
                    chunk.fds.clear();
                    chunk.sent += count;
                    self.out_bytes -= count;
                    if chunk.sent == chunk.bytes.len() {
                        self.out.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Err(Over::Closed);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::api::message::{Call, Closed, Ending};

    fn pair() -> (Connection, UnixStream) {
        let (near, far) = UnixStream::pair().expect("a pair");
        near.set_nonblocking(true).expect("ours");
        (Connection::new(near.into(), Cred { pid: 1, uid: 2, gid: 3 }), far)
    }

    #[test]
    fn half_a_request_waits() {
        let (mut connection, mut far) = pair();
        connection.read().expect("nothing there is no error");
        far.write_all(b"{\"v\":1,\"id\":3,").expect("room");
        connection.read().expect("open");
        assert!(connection.next_request().is_none());
        far.write_all(b"\"call\":\"hello\"}\n{\"v\":1}\n").expect("room");
        connection.read().expect("open");
        let request = connection.next_request().expect("a line").expect("a request");
        assert_eq!(request, Request { id: 3, call: Call::Hello {} });
        let (id, failure) = connection.next_request().expect("a line").expect_err("no call");
        assert_eq!((id, failure.code), (0, Code::BadRequest));
        drop(far);
        assert!(matches!(connection.read(), Err(Over::Closed)));
    }

    #[test]
    fn a_line_without_end_ends_the_connection() {
        let (mut connection, mut far) = pair();
        far.set_nonblocking(true).expect("ours");
        let mut over = None;
        for _ in 0..20 {
            let _full = far.write(&[b'x'; 8192]);
            if let Err(why) = connection.read() {
                over = Some(why);
                break;
            }
        }
        assert!(matches!(over, Some(Over::Line(_))), "{over:?}");
    }

    #[test]
    fn a_client_that_does_not_read_waits_for_itself() {
        let (mut connection, mut far) = pair();
        far.write_all(b"{\"v\":1,\"id\":1,\"call\":\"hello\"}\n").expect("room");
        connection.read().expect("open");
        let long = serde_json::Value::String("x".repeat(1 << 20));
        let mut answers = 0;
        let over = loop {
            match connection.answer(1, Ok(long.clone()), Vec::new()) {
                Ok(()) => answers += 1,
                Err(over) => break over,
            }
            connection.write().expect("the socket takes what it takes");
            assert!(connection.is_busy());
            assert!(connection.next_request().is_none(), "it is not served before it reads");
        };
        assert!(matches!(over, Over::Backlog));
        assert!((15..=17).contains(&answers), "{answers} answers of a mebibyte were kept");
    }

    #[test]
    fn descriptors_come_and_go_with_their_lines() {
        let (mut connection, far) = pair();
        let file = std::fs::File::open("/dev/null").expect("there");
        let line = b"{\"v\":1,\"id\":1,\"call\":\"exec\",\"args\":{\"guest\":\"web\"}}\n";
        sys::unix::send_with_fds(far.as_fd(), line, &[file.as_fd(), file.as_fd()]).expect("room");
        connection.read().expect("open");
        assert!(connection.next_request().expect("a line").is_ok());
        assert_eq!(connection.take_fds(1).expect("two came").len(), 1);
        connection.drop_fds();
        assert_eq!(connection.take_fds(1).expect_err("closed").code, Code::BadRequest);
        connection.answer(1, Ok(serde_json::json!({})), vec![file.into()]).expect("room");
        let closed = Closed {
            guest: "web".to_owned(),
            why: "It ended.".to_owned(),
            ending: Ending::Unlinked,
        };
        connection.event(Event::Closed(closed.clone())).expect("room");
        connection.write().expect("room");
        assert!(!connection.has_backlog());
        let mut client = crate::api::client::Client::over(far.into(), "api".into());
        let event = client.wait_event().expect("it came");
        assert_eq!(event, Event::Closed(closed));
    }
}
