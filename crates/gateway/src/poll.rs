//! The epoll that a gateway's descriptors are watched by, and the tokens that tell them apart.
//!
//! A gateway has an epoll of its own, or the one of its owner ([`Poller::within`]): then a packet of
//! the outside costs one wait of the owner, not two. A token has, from its highest bit on: a one, by
//! which an owner knows its gateways' tokens from its own; a kind (3 bits); the gateway's place with
//! its owner (16); a generation (20); an index (24). A report that was already taken from the kernel
//! when its descriptor was closed names an old generation, and is ignored by whoever owns the index.

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
    const GENERATION_BITS: u32 = 20;
    const INDEX_BITS: u32 = 24;
    const GENERATION: u32 = (1 << Self::GENERATION_BITS) - 1;
    const PLACE_AT: u32 = Self::GENERATION_BITS + Self::INDEX_BITS;
    const KIND_AT: u32 = Self::PLACE_AT + 16;
    const MARK: u64 = 1 << 63;

    /// Indices are below this.
    pub(crate) const PLACES: usize = 1 << Self::INDEX_BITS;

    #[must_use]
    pub const fn new(kind: Kind, generation: u32, index: u32) -> Self {
        Self { kind, generation: generation & Self::GENERATION, index }
    }

    /// Whether a slot of this (unmasked) generation is meant.
    #[must_use]
    pub const fn is_of(&self, generation: u32) -> bool {
        self.generation == generation & Self::GENERATION
    }

    fn pack(self, place: u16) -> u64 {
        debug_assert!((self.index as usize) < Self::PLACES, "flows are fewer than that");
        Self::MARK
            | u64::from(self.kind as u8) << Self::KIND_AT
            | u64::from(place) << Self::PLACE_AT
            | u64::from(self.generation & Self::GENERATION) << Self::INDEX_BITS
            | u64::from(self.index) & ((1 << Self::INDEX_BITS) - 1)
    }

    fn unpack(raw: u64) -> Option<Self> {
        if raw & Self::MARK == 0 {
            return None;
        }
        let number = (raw >> Self::KIND_AT & 7) as u8;
        let kind = *Kind::ALL.iter().find(|known| **known as u8 == number)?;
        Some(Self {
            kind,
            generation: (raw >> Self::INDEX_BITS) as u32 & Self::GENERATION,
            index: raw as u32 & ((1 << Self::INDEX_BITS) - 1),
        })
    }
}

/// The place of the gateway that a report of a shared epoll is for, and the name of the registration.
/// None if it is not for a gateway.
#[must_use]
pub fn addressee(event: &Event) -> Option<(u16, Token)> {
    let token = Token::unpack(event.token)?;
    Some(((event.token >> Token::PLACE_AT & 0xffff) as u16, token))
}

/// Whether a report of a shared epoll is that the host's addresses or routes have changed. An owner
/// hands these on before it takes packets: so no packet goes where it must not by what was known
/// before.
#[must_use]
pub fn is_notice(event: &Event) -> bool {
    Token::unpack(event.token).is_some_and(|token| token.kind == Kind::Route)
}

/// An epoll whose reports carry [`Token`]s.
#[derive(Debug)]
pub struct Poller {
    inner: sys::poll::Poller,
    place: u16,
    is_shared: bool,
}

impl Poller {
    /// One of its own.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM of epoll_create1(2).
    pub fn new() -> io::Result<Self> {
        Ok(Self { inner: sys::poll::Poller::new()?, place: 0, is_shared: false })
    }

    /// The owner's, whose waits find the reports and who hands them on by [`addressee`]. Tokens of
    /// the owner's own have a highest bit of zero.
    ///
    /// # Errors
    /// EMFILE.
    pub fn within(owner: &sys::poll::Poller, place: u16) -> io::Result<Self> {
        Ok(Self { inner: owner.share()?, place, is_shared: true })
    }

    /// Starts to watch a descriptor.
    ///
    /// # Errors
    /// As epoll_ctl(2): EEXIST, EPERM, ENOSPC, ENOMEM.
    pub fn add(&self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        self.inner.add(fd, token.pack(self.place), interest)
    }

    /// Starts to watch a descriptor for everything, by edges.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_edges(&self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        self.inner.add_edges(fd, token.pack(self.place))
    }

    /// Changes what is waited for.
    ///
    /// # Errors
    /// ENOENT when the descriptor is not registered.
    pub fn modify(&self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        self.inner.modify(fd, token.pack(self.place), interest)
    }

    /// Stops to watch a descriptor. Closing the last copy of it does the same.
    ///
    /// # Errors
    /// ENOENT when the descriptor is not registered.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.inner.remove(fd)
    }

    /// Takes the reports that are there, without waiting. Those of a shared one are the owner's to
    /// take.
    pub(crate) fn take(&self, events: &mut Events) -> io::Result<usize> {
        if self.is_shared {
            events.clear();
            return Ok(0);
        }
        self.inner.wait(events, Some(Duration::ZERO))
    }

    /// The registration behind a report.
    pub(crate) fn token(event: &Event) -> Option<Token> {
        Token::unpack(event.token)
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_was_packed() {
        for kind in Kind::ALL {
            for place in [0, 1, 0x8001, u16::MAX] {
                let token = Token::new(kind, 0x012a_4567, 0x00ab_cdef);
                let raw = token.pack(place);
                let event = Event {
                    token: raw,
                    readable: true,
                    writable: false,
                    urgent: false,
                    hangup: false,
                };
                let (to, back) = addressee(&event).unwrap();
                assert_eq!((to, back), (place, token));
                assert_eq!(back.generation, 0x000a_4567);
                assert!(back.is_of(0x012a_4567) && back.is_of(0x000a_4567));
                assert!(!back.is_of(0x012a_4568));
            }
        }
        assert_eq!(Token::unpack(0), None);
        assert_eq!(Token::unpack(7 << 60), None);
        assert_eq!(Token::unpack(1 << 63), None);
    }

    #[test]
    fn reports_of_a_shared_poller_come_to_its_owner_only() {
        let owner = sys::poll::Poller::new().unwrap();
        let poller = Poller::within(&owner, 3).unwrap();
        let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
        let token = Token::new(Kind::Udp, 5, 9);
        poller.add(a.as_fd(), token, Interest::READABLE).unwrap();
        io::Write::write_all(&mut &b, b"x").unwrap();
        let mut events = Events::with_capacity(4);
        assert_eq!(poller.take(&mut events).unwrap(), 0);
        assert_eq!(owner.wait(&mut events, Some(Duration::ZERO)).unwrap(), 1);
        assert_eq!(addressee(&events.get(0).unwrap()), Some((3, token)));
        drop(a);
        assert_eq!(owner.wait(&mut events, Some(Duration::ZERO)).unwrap(), 0);
    }
}
