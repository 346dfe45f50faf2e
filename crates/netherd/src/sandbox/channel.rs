//! What the processes of a sandbox tell each other.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A message is one datagram of at most this many bytes; an error sentence is cut to fit.
const MESSAGE_MAX: usize = 8 * 1024;
const SENTENCE_MAX: usize = 4 * 1024;
/// Descriptors with one message: the link and the guest's namespaces.
const FDS_MAX: usize = 10;

/// How CMD ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    Exited(i32),
    Killed(i32),
}

/// The link that a guest's processes have made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkMade {
    /// A tap, or else a packet socket.
    pub tap: bool,
    /// Bytes of the vnet header before each frame.
    pub vnet_hdr_len: u8,
    /// In the words of the control interface.
    pub offloads: Vec<String>,
    /// What the descriptors after the link's are, in the words of the control interface.
    pub namespaces: Vec<String>,
}

/// From inside to outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// The command cannot be started; the exit status that says so.
    Failed { sentence: String, status: u8 },
    /// The link's descriptor comes along, then those of the namespaces.
    Link(LinkMade),
    /// The same for a namespace of somebody else's, with the number that the interface has there.
    Attached { link: LinkMade, index: u32 },
    /// The pidfd of the relay in the guest comes along.
    Relay,
    /// CMD is stopped by this signal.
    Stopped { signal: i32 },
    /// CMD has ended. init stays while the guest's kernel has something to send that its processes left behind:
    /// so many bytes are not acknowledged yet.
    Ended { end: End, unsent: u64 },
}

/// From outside to inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The user namespace has its ids.
    Mapped,
    /// The hypervisor has the link: start CMD.
    Start,
    /// Pass this signal on to CMD.
    Signal { signal: i32 },
    /// Continue CMD, and give it the terminal if it had it.
    Continue,
}

/// Between init and the process that becomes CMD, before it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inner {
    /// To CMD: the ids are mapped.
    Mapped,
    /// From CMD: its namespaces come along, then the listener of [`host::outer`]; with a tap, that descriptor
    /// comes first.
    Namespaces { tap_offloads: Option<Vec<String>>, why_no_tap: String },
    /// To CMD: there is an `eth0` now.
    InterfaceMade,
    /// From CMD: the listener of its system-call filter comes along.
    Listener { steady: bool },
}

/// One end of a socket pair.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Both ends, close-on-exec.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = sys::unix::pair(sys::unix::SocketKind::Seqpacket, false)?;
        Ok((Self(a), Self(b)))
    }

    /// The same end once more.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(sys::process::duplicate(self.0.as_fd())?))
    }

    /// Sends a message with descriptors.
    pub fn send<M: Serialize>(&self, message: &M, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        sys::unix::send_with_fds(self.0.as_fd(), &bytes, fds)?;
        Ok(())
    }

    /// The next message and its descriptors; `None` when the other side is gone.
    pub fn receive<M: DeserializeOwned>(&self) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
        let mut buffer = [0; MESSAGE_MAX];
        let got = match sys::unix::receive_with_fds(self.0.as_fd(), &mut buffer, FDS_MAX) {
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        };
        if got.len == 0 {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(&buffer[..got.len])?, got.fds)))
    }

    /// Tells the outer side why the command is not started. Nobody to tell is no reason to go on.
    pub fn fail(&self, status: u8, sentence: &str) {
        let mut sentence = sentence.to_owned();
        if sentence.len() > SENTENCE_MAX {
            let cut = (0..=SENTENCE_MAX).rev().find(|at| sentence.is_char_boundary(*at));
            sentence.truncate(cut.unwrap_or(0));
        }
        let _ = self.send(&Report::Failed { sentence, status }, &[]);
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_boundaries_and_descriptors() {
        let (a, b) = Channel::pair().unwrap();
        a.send(&Report::Stopped { signal: 20 }, &[]).unwrap();
        a.send(&Report::Ended { end: End::Exited(3), unsent: 0 }, &[a.as_fd(), b.as_fd()]).unwrap();
        let (first, fds) = b.receive::<Report>().unwrap().unwrap();
        assert_eq!((first, fds.len()), (Report::Stopped { signal: 20 }, 0));
        let (second, fds) = b.receive::<Report>().unwrap().unwrap();
        assert_eq!((second, fds.len()), (Report::Ended { end: End::Exited(3), unsent: 0 }, 2));
        drop(fds);
        drop(a);
        assert!(b.receive::<Report>().unwrap().is_none());
    }

    #[test]
    fn a_long_sentence_is_cut_between_characters() {
        let (a, b) = Channel::pair().unwrap();
        a.fail(127, &"\u{e4}".repeat(5000));
        let (report, _) = b.receive::<Report>().unwrap().unwrap();
        let Report::Failed { sentence, status: 127 } = report else { panic!("{report:?}") };
        assert!(sentence.len() <= SENTENCE_MAX && sentence.chars().all(|c| c == '\u{e4}'));
    }
}
