//! The gateway's own epoll, and the tokens that tell its descriptors apart.
//!
//! A token is a kind (8 bits), a generation (24 bits) and an index (32 bits). A report that was
//! already taken from the kernel when its descriptor was closed names an old generation, and is
//! ignored by whoever owns the index.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

pub use sys::poll::{Event, Events, Interest};

/// Which part of the gateway a descriptor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The socket of a TCP flow.
    Tcp = 1,
    /// The socket of a UDP flow.
    Udp = 2,
    /// An ICMP socket.
    Icmp = 3,
    /// A listener of a published TCP port.
    PublishTcp = 4,
    /// The socket of a published UDP port.
    PublishUdp = 5,
    /// Changes of the host's addresses and routes.
    Route = 6,
    /// Whatever the services watch: resolvers, DNS over TCP.
    Service = 7,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Tcp,
        Self::Udp,
        Self::Icmp,
        Self::PublishTcp,
        Self::PublishUdp,
        Self::Route,
        Self::Service,
    ];
}

/// The name of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    pub kind: Kind,
    /// The low 24 bits count.
    pub generation: u32,
    pub index: u32,
}

impl Token {
    const GENERATION: u32 = 0x00ff_ffff;

    #[must_use]
    pub const fn new(kind: Kind, generation: u32, index: u32) -> Self {
        Self { kind, generation: generation & Self::GENERATION, index }
    }

    /// Whether a slot of this (unmasked) generation is meant.
    #[must_use]
    pub const fn is_of(&self, generation: u32) -> bool {
        self.generation == generation & Self::GENERATION
    }

    fn pack(self) -> u64 {
        u64::from(self.kind as u8) << 56 | u64::from(self.generation) << 32 | u64::from(self.index)
    }

    fn unpack(raw: u64) -> Option<Self> {
        let [kind, a, b, c, index @ ..] = raw.to_be_bytes();
        let kind = *Kind::ALL.iter().find(|known| **known as u8 == kind)?;
        Some(Self {
            kind,
            generation: u32::from_be_bytes([0, a, b, c]),
            index: u32::from_be_bytes(index),
        })
    }
}

/// An epoll whose reports carry [`Token`]s.
#[derive(Debug)]
pub struct Poller(sys::poll::Poller);

impl Poller {
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM of epoll_create1(2).
    pub fn new() -> io::Result<Self> {
        sys::poll::Poller::new().map(Self)
    }

    /// Starts to watch a descriptor.
    ///
    /// # Errors
    /// As epoll_ctl(2): EEXIST, EPERM, ENOSPC, ENOMEM.
    pub fn add(&self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        self.0.add(fd, token.pack(), interest)
    }

    /// Starts to watch a descriptor for everything, by edges.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_edges(&self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        self.0.add_edges(fd, token.pack())
    }

    /// Changes what is waited for.
    ///
    /// # Errors
    /// ENOENT when the descriptor is not registered.
    pub fn modify(&self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        self.0.modify(fd, token.pack(), interest)
    }

    /// Stops to watch a descriptor. Closing the last copy of it does the same.
    ///
    /// # Errors
    /// ENOENT when the descriptor is not registered.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.0.remove(fd)
    }

    /// Takes the reports that are there, without waiting.
    pub(crate) fn take(&self, events: &mut Events) -> io::Result<usize> {
        self.0.wait(events, Some(Duration::ZERO))
    }

    /// The registration behind a report.
    pub(crate) fn token(event: &Event) -> Option<Token> {
        Token::unpack(event.token)
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_was_packed() {
        for kind in Kind::ALL {
            let token = Token::new(kind, 0x0123_4567, 0x89ab_cdef);
            let back = Token::unpack(token.pack()).unwrap();
            assert_eq!(back, token);
            assert_eq!(back.generation, 0x0023_4567);
            assert!(back.is_of(0x0123_4567) && back.is_of(0x0023_4567) && !back.is_of(0x0123_4568));
        }
        assert_eq!(Token::unpack(0), None);
        assert_eq!(Token::unpack(8 << 56), None);
    }
}
