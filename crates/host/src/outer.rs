//! The network that this process's own network namespace is a guest of, if it is one.
//!
//! # Theory of operation
//!
//! A guest of `netherd run` has somebody to ask about the network around it: its init listens at an abstract
//! socket of the guest's network namespace ([`SOCKET`]). Such a name is known in that namespace and in no
//! other, whatever is mounted where, so who can ask is exactly who is in the guest and not in a guest of it.
//! Init answers the guest's own user only.
//!
//! A hypervisor that is started in a guest asks once, and learns
//!
//! * what is reached around it ([`Outer::occupied`]), not only by its own guest, but by all networks around:
//!   behind a default route, a guest cannot see what it must not take;
//! * the domains that are taken ([`Outer::domains`]);
//! * what the guest may do in the network around it: use more MAC addresses, or have prefixes routed to it.
//!
//! For a bridged or routed uplink it asks again, and gets a descriptor: of a packet socket on the guest's
//! `eth0`, or of a tap (where there is none, a packet socket on a veth pair) whose other end is an interface in
//! the guest's namespace, with the kernel's routing between it and `eth0`. Both belong to the guest's namespace, and whoever has them can do no more than the
//! guest may.
//!
//! One question and one answer, a JSON object in a line each, make a connection.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The abstract name, without its leading zero byte.
pub const SOCKET: &[u8] = b"netherd/outer";
/// Most prefixes that one network tells the next of; with more, the rest is found out by the routes.
pub const OCCUPIED_MAX: usize = 256;
/// Most domains of networks around: as many as there can be levels of user namespaces.
pub const DOMAINS_MAX: usize = 32;
/// Longest line, in bytes.
pub const LINE_MAX: usize = 32 * 1024;
/// Init has nothing else to do.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Question {
    /// Answers [`Outer`].
    Who,
    /// Answers [`Socket`], the packet socket with it.
    Bridge,
    /// Answers [`Routed`], the link with it. The kernel has these addresses on the other end.
    Route { ipv4: Option<(Ipv4Addr, u8)>, ipv6: Option<(Ipv6Addr, u8)>, mtu: u16 },
}

/// The guest that we are in, and what is around it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outer {
    pub network: String,
    pub guest: String,
    /// Domains of the networks around, the nearest first.
    #[serde(default)]
    pub domains: Vec<String>,
    /// Prefixes that the networks around have or reach.
    #[serde(default)]
    pub occupied: Vec<IpNet>,
    /// MAC addresses that may be used on `eth0` beside its own.
    #[serde(default)]
    pub macs: u16,
    /// Prefixes that are routed to the guest.
    #[serde(default)]
    pub routes: Vec<IpNet>,
    /// Largest payload of an Ethernet frame on `eth0`, in bytes.
    #[serde(default)]
    pub mtu: u16,
}

/// Answer to [`Question::Bridge`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// As [`crate::api::message::LinkArgs`] has them.
    pub offloads: Vec<String>,
}

/// Answer to [`Question::Route`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routed {
    /// The name of the interface in the guest.
    pub interface: String,
    /// Whether the descriptor is the tap of that interface; else it is a packet socket on the other end of
    /// its veth pair.
    pub tap: bool,
    pub vnet_hdr_len: u8,
    pub offloads: Vec<String>,
}

/// One line of an answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer<T> {
    Ok(T),
    /// A sentence.
    Refused(String),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum OuterError {
    /// Nobody listens.
    #[error(
        "this hypervisor is in no guest of `netherd run`, so there is no network around its own; use the \
         uplink \"nat\""
    )]
    NotAGuest,
    /// Init's sentence.
    #[error("{0}")]
    Refused(String),
    #[error("the guest's init does not answer: {0}; start the guest again")]
    Io(#[from] io::Error),
}

fn address() -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(SOCKET)
}

/// Who we are the guest of; `None` outside of guests.
#[must_use]
pub fn around() -> Option<Outer> {
    ask(&Question::Who).ok().map(|(outer, _)| outer)
}

/// Asks, and waits for the answer for two seconds at most.
///
/// # Errors
/// [`OuterError`].
pub fn ask<T: DeserializeOwned>(question: &Question) -> Result<(T, Vec<OwnedFd>), OuterError> {
    let stream = UnixStream::connect_addr(&address()?).map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => OuterError::NotAGuest,
        _ => OuterError::Io(error),
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write_line(&stream, question)?;
    let (answer, fds) = read_line(&stream)?;
    match answer {
        Answer::Ok(answer) => Ok((answer, fds)),
        Answer::Refused(sentence) => Err(OuterError::Refused(sentence)),
    }
}

fn write_line<T: Serialize>(mut stream: &UnixStream, value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn read_line<T: DeserializeOwned>(stream: &UnixStream) -> io::Result<(T, Vec<OwnedFd>)> {
    let mut line = Vec::new();
    let mut fds = Vec::new();
    let mut buffer = [0; 4096];
    while line.last() != Some(&b'\n') {
        let got = sys::unix::receive_with_fds(stream.as_fd(), &mut buffer, 1)?;
        if got.len == 0 || line.len() + got.len > LINE_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.extend_from_slice(&buffer[..got.len]);
        fds.extend(got.fds);
    }
    Ok((serde_json::from_slice(&line)?, fds))
}

/// Listens in the calling thread's network namespace: the guest's part.
///
/// # Errors
/// `AddrInUse` where somebody does already.
pub fn listen() -> io::Result<UnixListener> {
    let listener = UnixListener::bind_addr(&address()?)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A question that somebody in the guest has asked.
#[derive(Debug)]
pub struct Asked {
    stream: UnixStream,
    pub question: Question,
}

impl Asked {
    /// Reads the question from a connection that was accepted.
    ///
    /// # Errors
    /// No question came in time, or none that is one.
    pub fn read(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let (question, _) = read_line(&stream)?;
        Ok(Self { stream, question })
    }

    /// Answers, with a descriptor if there is one.
    ///
    /// # Errors
    /// Who asked has gone.
    pub fn answer<T: Serialize>(&self, answer: T, fd: Option<OwnedFd>) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Answer::Ok(answer))?;
        line.push(b'\n');
        let Some(fd) = fd else { return (&self.stream).write_all(&line) };
        // Short: it goes at once.
        sys::unix::send_with_fds(self.stream.as_fd(), &line, &[fd.as_fd()]).map(drop)
    }

    /// Answers with the sentence why not.
    ///
    /// # Errors
    /// Who asked has gone.
    pub fn refuse(&self, sentence: &str) -> io::Result<()> {
        write_line(&self.stream, &Answer::<()>::Refused(sentence.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(question: &Question, answer: impl FnOnce(Asked)) -> (UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        write_line(&ours, question).unwrap();
        let asked = Asked::read(theirs.try_clone().unwrap()).unwrap();
        assert_eq!(asked.question, *question);
        answer(asked);
        (ours, theirs)
    }

    #[test]
    fn who_is_around_survives_the_line() {
        let outer = Outer {
            network: "default".to_owned(),
            guest: "sh".to_owned(),
            domains: vec!["default.internal".to_owned()],
            occupied: vec!["10.1.0.0/20".parse().unwrap(), "fd00::/64".parse().unwrap()],
            macs: 4,
            routes: vec!["10.99.0.0/20".parse().unwrap()],
            mtu: 1500,
        };
        let told = outer.clone();
        let (ours, _theirs) = exchange(&Question::Who, |asked| asked.answer(told, None).unwrap());
        let (answer, fds) = read_line::<Answer<Outer>>(&ours).unwrap();
        assert!(fds.is_empty());
        let Answer::Ok(answer) = answer else { panic!("{answer:?}") };
        assert_eq!(answer, outer);
    }

    #[test]
    fn a_descriptor_comes_along_and_a_refusal_is_a_sentence() {
        let (read, _write) = sys::process::pipe().unwrap();
        let socket = Socket { offloads: vec!["csum".to_owned()] };
        let told = socket.clone();
        let (ours, _theirs) =
            exchange(&Question::Bridge, |asked| asked.answer(told, Some(read)).unwrap());
        let (answer, fds) = read_line::<Answer<Socket>>(&ours).unwrap();
        let Answer::Ok(answer) = answer else { panic!("{answer:?}") };
        assert_eq!((answer, fds.len()), (socket, 1));

        let question = Question::Route { ipv4: None, ipv6: None, mtu: 1500 };
        let (ours, _theirs) = exchange(&question, |asked| asked.refuse("no, because").unwrap());
        let (answer, _) = read_line::<Answer<Routed>>(&ours).unwrap();
        let Answer::Refused(sentence) = answer else { panic!("{answer:?}") };
        assert_eq!(sentence, "no, because");
    }

    #[test]
    fn a_line_without_end_ends_the_connection() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || {
            let mut theirs = &theirs;
            let _ = theirs.write_all(&vec![b'x'; LINE_MAX + 1]);
        });
        assert!(Asked::read(ours).is_err());
        writer.join().unwrap();
    }
}
