//! Sockets towards resolvers: one for each that was asked, and a connection where the answer is too long.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;

use sys::inet::Carries;
use sys::poll::{Interest, Poller};

use super::super::response::{self, Checked};
use super::super::token::Token;
use crate::services::{Outbox, ServiceReason};

/// Datagrams that are read of one socket at most before others have their turn.
const READS_MAX: usize = 8;

#[derive(Debug)]
pub(super) enum Carrier {
    Udp(UdpSocket),
    Tcp(Box<Tcp>),
    /// It has failed, or has said what it had to.
    Over,
}

#[derive(Debug)]
pub(super) struct Tcp {
    stream: TcpStream,
    /// The question with its length, and how much of it is written.
    out: Vec<u8>,
    written: usize,
    /// The answer with its length, as far as it is here.
    arrived: Vec<u8>,
}

/// What one socket had to tell.
pub(super) enum Heard {
    Nothing,
    Answer(Checked, Vec<u8>),
    /// The resolver cannot be reached, or does not keep to the protocol.
    Failure,
}

/// It is not the resolver's fault: this process has no descriptor, or this host no port left. For TCP
/// connect(2) has another word for that, which otherwise means that there is no address to send from; but this
/// resolver has just been asked by UDP.
pub(super) fn is_our_own(error: &io::Error, by_tcp: bool) -> bool {
    sys::errno::is_out_of_descriptors(error)
        || sys::errno::is_out_of_ports(error)
        || (by_tcp && error.kind() == ErrorKind::AddrNotAvailable)
}

pub(super) fn hear_datagrams(
    socket: &UdpSocket,
    buffer: &mut [u8],
    id: u16,
    asked: &[u8],
    out: &mut Outbox,
) -> Heard {
    for _ in 0..READS_MAX {
        match socket.recv(buffer) {
            Ok(len) => {
                let message = buffer.get(..len).unwrap_or_default();
                match response::check(message, id, asked) {
                    Some(checked) => return Heard::Answer(checked, message.to_vec()),
                    None => out.count(ServiceReason::DnsForged),
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // An ICMP error: nobody listens there, or there is no way.
            Err(_) => {
                out.count(ServiceReason::DnsResolverRefused);
                return Heard::Failure;
            }
        }
    }
    Heard::Nothing
}

pub(super) fn open_udp(
    poller: &Poller,
    token: Token,
    resolver: SocketAddr,
    message: &[u8],
) -> io::Result<Carrier> {
    let socket = UdpSocket::from(sys::inet::datagram(Carries::Udp, resolver.is_ipv6())?);
    // Connecting takes a random port, as binding to port 0 does.
    socket.connect(resolver)?;
    poller.add(socket.as_fd(), token.pack(), Interest::READABLE)?;
    socket.send(message)?;
    Ok(Carrier::Udp(socket))
}

impl Tcp {
    pub(super) fn open(
        poller: &Poller,
        token: Token,
        resolver: SocketAddr,
        message: &[u8],
    ) -> io::Result<Carrier> {
        let stream = TcpStream::from(sys::tcp::connect(&resolver)?);
        poller.add(stream.as_fd(), token.pack(), Interest::WRITABLE)?;
        let len = u16::try_from(message.len()).unwrap_or(u16::MAX);
        let out = [len.to_be_bytes().as_slice(), message].concat();
        Ok(Carrier::Tcp(Box::new(Self { stream, out, written: 0, arrived: Vec::new() })))
    }

    /// Writes and reads what can be; gives the answer when it is complete.
    pub(super) fn advance(&mut self, poller: &Poller, token: Token) -> io::Result<Option<Vec<u8>>> {
        let transient = |error: &io::Error| {
            matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
        };
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(len) => self.written += len,
                Err(error) if transient(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
            if self.written >= self.out.len() {
                poller.modify(self.stream.as_fd(), token.pack(), Interest::READABLE)?;
            }
        }
        let mut piece = [0; 4096];
        for _ in 0..READS_MAX {
            if let Some(message) = framed(&self.arrived) {
                return Ok(Some(message.to_vec()));
            }
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => self.arrived.extend_from_slice(piece.get(..len).unwrap_or_default()),
                Err(error) if transient(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(framed(&self.arrived).map(<[u8]>::to_vec))
    }
}

/// The first message behind its length (RFC 1035, 4.2.2), if all of it is there.
pub(crate) fn framed(bytes: &[u8]) -> Option<&[u8]> {
    let len = bytes.first_chunk().copied().map(u16::from_be_bytes)?;
    bytes.get(2..2 + usize::from(len))
}
