//! Route look-ups of the kernel, and notices of changes (rtnetlink(7)).
//!
//! [`Lookup`] asks what the kernel would do with a packet of this host to some destination: the
//! answer of its own tables, rules and addresses, not of a copy. [`Watch`] becomes readable when
//! an address, a route or an interface has changed, so that kept answers can be forgotten.
//!
//! The one message that is needed is built by hand: it is 36 bytes long, and is asked once per new
//! flow.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags, recv, send};

/// What the kernel does with packets to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// It sends them out.
    Unicast,
    /// They are for this host.
    Local,
    /// They are broadcast, to this host too.
    Broadcast,
    /// An anycast address of this host.
    Anycast,
    Multicast,
    /// It has no route, or one that refuses.
    Unreachable,
}

/// A socket for look-ups.
#[derive(Debug)]
pub struct Lookup {
    socket: OwnedFd,
    sequence: u32,
}

const HEADER_LEN: usize = 16;
const ROUTE_LEN: usize = 12;

impl Lookup {
    /// # Errors
    /// EMFILE, ENFILE of socket(2).
    pub fn new() -> io::Result<Lookup> {
        Ok(Lookup { socket: netlink(0)?, sequence: 0 })
    }

    /// Asks the kernel about one destination (RTM_GETROUTE). Answered at once, without waiting.
    ///
    /// # Errors
    /// Not for a destination without route, which is [`RouteKind::Unreachable`]; ENOBUFS, EPERM.
    pub fn kind(&mut self, destination: IpAddr) -> io::Result<RouteKind> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = [0; HEADER_LEN + ROUTE_LEN + 4 + 16];
        let (family, bytes): (_, &[u8]) = match &destination {
            IpAddr::V4(v4) => (libc::AF_INET, &v4.octets()),
            IpAddr::V6(v6) => (libc::AF_INET6, &v6.octets()),
        };
        let len = HEADER_LEN + ROUTE_LEN + 4 + bytes.len();
        // struct nlmsghdr
        request[..4].copy_from_slice(&(len as u32).to_ne_bytes());
        request[4..6].copy_from_slice(&libc::RTM_GETROUTE.to_ne_bytes());
        request[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
        request[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        // struct rtmsg
        request[16] = family as u8;
        request[17] = bytes.len() as u8 * 8;
        // struct rtattr
        request[28..30].copy_from_slice(&(4 + bytes.len() as u16).to_ne_bytes());
        request[30..32].copy_from_slice(&libc::RTA_DST.to_ne_bytes());
        request[32..32 + bytes.len()].copy_from_slice(bytes);
        send(&self.socket, &request[..len], SendFlags::empty())?;
        let mut answer = [0; 1024];
        loop {
            let (got, _) =
                rustix::io::retry_on_intr(|| recv(&self.socket, &mut answer, RecvFlags::DONTWAIT))?;
            if let Some(kind) = self.answer(&answer[..got])? {
                return Ok(kind);
            }
        }
    }

    /// Reads one answer; none if it is to an earlier question.
    fn answer(&self, message: &[u8]) -> io::Result<Option<RouteKind>> {
        let short = || io::Error::new(io::ErrorKind::InvalidData, "a short rtnetlink answer");
        let half = |at: usize| {
            message.get(at..).and_then(|rest| rest.first_chunk()).map(|b| u16::from_ne_bytes(*b))
        };
        let word = |at: usize| {
            message.get(at..).and_then(|rest| rest.first_chunk()).map(|b| u32::from_ne_bytes(*b))
        };
        if word(8).ok_or_else(short)? != self.sequence {
            return Ok(None);
        }
        let kind = i32::from(half(4).ok_or_else(short)?);
        if kind == libc::NLMSG_ERROR {
            let errno = word(HEADER_LEN).ok_or_else(short)?.cast_signed().wrapping_neg();
            return match errno {
                libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::EACCES
                | libc::EINVAL
                | libc::EAFNOSUPPORT
                // A kernel without IPv6, or told to do without it.
                | libc::EOPNOTSUPP
                | libc::ENETDOWN
                | libc::EADDRNOTAVAIL => Ok(Some(RouteKind::Unreachable)),
                _ => Err(io::Error::from_raw_os_error(errno)),
            };
        }
        if kind != i32::from(libc::RTM_NEWROUTE) {
            return Ok(None);
        }
        let found = *message.get(HEADER_LEN + 7).ok_or_else(short)?;
        Ok(Some(match found {
            libc::RTN_UNICAST => RouteKind::Unicast,
            libc::RTN_LOCAL => RouteKind::Local,
            libc::RTN_BROADCAST => RouteKind::Broadcast,
            libc::RTN_ANYCAST => RouteKind::Anycast,
            libc::RTN_MULTICAST => RouteKind::Multicast,
            _ => RouteKind::Unreachable,
        }))
    }
}

/// Notices of changes of addresses, routes, rules and interfaces.
#[derive(Debug)]
pub struct Watch {
    socket: OwnedFd,
}

impl Watch {
    /// # Errors
    /// EMFILE, ENFILE of socket(2).
    pub fn new() -> io::Result<Watch> {
        // The numbers of groups begin at one (linux/rtnetlink.h).
        let rules = [libc::RTNLGRP_IPV4_RULE, libc::RTNLGRP_IPV6_RULE]
            .into_iter()
            .fold(0_u32, |groups, group| groups | 1 << (group - 1));
        let groups = libc::RTMGRP_LINK
            | libc::RTMGRP_IPV4_IFADDR
            | libc::RTMGRP_IPV6_IFADDR
            | libc::RTMGRP_IPV4_ROUTE
            | libc::RTMGRP_IPV6_ROUTE;
        Ok(Watch { socket: netlink(groups.cast_unsigned() | rules)? })
    }

    /// Takes all notices that are there. True if there was one, or if some were lost.
    ///
    /// # Errors
    /// None that are known besides those of a broken socket.
    pub fn changed(&mut self) -> io::Result<bool> {
        let mut changed = false;
        let mut notice = [0; 512];
        // A host whose routes change faster than they are read here is asked again next time.
        for _ in 0..256 {
            match recv(&self.socket, &mut notice, RecvFlags::DONTWAIT) {
                Ok(_) => changed = true,
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => {}
                // Notices were lost, which is a change like any other.
                Err(rustix::io::Errno::NOBUFS) => changed = true,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(changed)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A bound rtnetlink socket that does not block.
fn netlink(groups: u32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers; the result is checked before use.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: socket has just returned this descriptor; nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all-zero sockaddr_nl is valid: integers only.
    let mut name: libc::sockaddr_nl = unsafe { MaybeUninit::zeroed().assume_init() };
    name.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    name.nl_groups = groups;
    // SAFETY: the name is readable for its size and outlives the call.
    let r = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const name).cast(),
            size_of::<libc::sockaddr_nl>() as libc::socklen_t,
        )
    };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(fd) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_knows_itself() {
        let mut lookup = Lookup::new().unwrap();
        for (address, kind) in [
            ("127.0.0.1", RouteKind::Local),
            ("127.9.9.9", RouteKind::Local),
            ("255.255.255.255", RouteKind::Broadcast),
            ("::1", RouteKind::Local),
        ] {
            assert_eq!(lookup.kind(address.parse().unwrap()).unwrap(), kind, "{address}");
        }
        for address in ["192.0.2.1", "2001:db8::1"] {
            let kind = lookup.kind(address.parse().unwrap()).unwrap();
            assert!(matches!(kind, RouteKind::Unicast | RouteKind::Unreachable), "{kind:?}");
        }
    }

    /// What the kernel answers when it finds no way, and what other errors are.
    #[test]
    fn an_answer_without_a_way() {
        let lookup = Lookup { sequence: 7, ..Lookup::new().unwrap() };
        let answer = |errno: i32, sequence: u32| {
            // struct nlmsghdr, struct nlmsgerr
            let mut message = [0; 36];
            message[..4].copy_from_slice(&36_u32.to_ne_bytes());
            message[4..6].copy_from_slice(&(libc::NLMSG_ERROR as u16).to_ne_bytes());
            message[8..12].copy_from_slice(&sequence.to_ne_bytes());
            message[16..20].copy_from_slice(&(-errno).to_ne_bytes());
            lookup.answer(&message)
        };
        for errno in [libc::ENETUNREACH, libc::EACCES, libc::EAFNOSUPPORT, libc::EOPNOTSUPP] {
            let kind = answer(errno, 7).unwrap();
            assert_eq!(kind, Some(RouteKind::Unreachable), "{errno}");
        }
        for errno in [libc::EPERM, libc::ENOBUFS] {
            assert_eq!(answer(errno, 7).unwrap_err().raw_os_error(), Some(errno));
        }
        assert_eq!(answer(libc::EOPNOTSUPP, 6).unwrap(), None, "of an earlier question");
    }

    #[test]
    fn a_quiet_host_has_no_notices() {
        let mut watch = Watch::new().unwrap();
        // Other tests may change interfaces at any time; it is enough that this does not fail.
        let _ = watch.changed().unwrap();
    }
}
