//! Datagram sockets of IPv4 and IPv6: UDP (ip(7), ipv6(7), udp(7)) and ICMP echo without privilege
//! (icmp(7), `ping_group_range`).
//!
//! [`ring`] receives many datagrams a call, and [`send`] sends them; [`local`] is which of the host's
//! addresses they are sent to and leave from; [`errqueue`] reads what the network answered to what was
//! sent; [`ports`] is how many ports there are.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

pub mod errqueue;
pub mod local;
pub mod ports;
pub mod ring;
pub mod send;

/// What a datagram socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carries {
    Udp,
    /// ICMP or ICMPv6 echo: the kernel chooses the identifier, which is the socket's port, and
    /// computes the checksum.
    Echo,
}

/// Whether the kernel may cut a datagram that is longer than the path takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragmentation {
    /// IP_PMTUDISC_DONT: never refused; DF is not set.
    Allowed,
    /// IP_PMTUDISC_DO: DF is set, and what is longer than the known path MTU is refused (EMSGSIZE).
    Refused,
}

/// A new socket: it does not block, and is not kept over exec.
///
/// # Errors
/// EMFILE, ENFILE, ENOBUFS; EAFNOSUPPORT without this family; EACCES where the user's groups are
/// not in `ping_group_range`.
pub fn datagram(carries: Carries, v6: bool) -> io::Result<OwnedFd> {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    let protocol = match (carries, v6) {
        (Carries::Udp, _) => libc::IPPROTO_UDP,
        (Carries::Echo, false) => libc::IPPROTO_ICMP,
        (Carries::Echo, true) => libc::IPPROTO_ICMPV6,
    };
    let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers; the result is checked before use.
    let fd = unsafe { libc::socket(family, kind, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: socket has just returned this descriptor; nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    if v6 {
        // What is IPv6 stays IPv6: no v4-mapped addresses.
        set(as_fd(&fd), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    Ok(fd)
}

fn as_fd(fd: &OwnedFd) -> BorrowedFd<'_> {
    std::os::fd::AsFd::as_fd(fd)
}

/// Gives the socket a local address.
///
/// # Errors
/// EADDRINUSE, EADDRNOTAVAIL, EACCES (a privileged port) of bind(2).
pub fn bind(fd: BorrowedFd<'_>, address: SocketAddr) -> io::Result<()> {
    let (name, len) = Name::of(address);
    // SAFETY: `name` is readable for `len` bytes and outlives the call.
    let r = unsafe { libc::bind(fd.as_raw_fd(), name.as_ptr(), len) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A TCP socket that waits for clients at an address; it does not block.
///
/// # Errors
/// EADDRINUSE, EADDRNOTAVAIL, EACCES (a privileged port) of bind(2); EMFILE, ENFILE.
pub fn listen(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers; the result is checked before use.
    let fd = unsafe { libc::socket(family, kind, libc::IPPROTO_TCP) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: socket has just returned this descriptor; nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    if address.is_ipv6() {
        set(as_fd(&fd), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    // Connections of before that are in TIME-WAIT do not keep the port (tcp(7)).
    set(as_fd(&fd), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    bind(as_fd(&fd), address)?;
    // SAFETY: no pointers.
    let r = unsafe { libc::listen(fd.as_raw_fd(), libc::SOMAXCONN) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(fd) }
}

/// The next client of a listening socket, and its address; its socket does not block.
///
/// # Errors
/// EAGAIN when there is none; EMFILE, ENFILE; ECONNABORTED and errors of the network for a client
/// that is gone already.
pub fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
    let mut name = Name::empty();
    let mut len = Name::LEN;
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: `name` is writable for `len` bytes, and the kernel writes no more than that.
    let client = unsafe { libc::accept4(fd.as_raw_fd(), name.as_mut_ptr(), &raw mut len, flags) };
    if client < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: accept4 has just returned this descriptor; nobody else owns it.
    let client = unsafe { OwnedFd::from_raw_fd(client) };
    let address = name.address().ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))?;
    Ok((client, address))
}

/// The socket's local address.
///
/// # Errors
/// Only for what is no IP socket.
pub fn local_address(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let mut name = Name::empty();
    let mut len = Name::LEN;
    // SAFETY: `name` is writable for `len` bytes, and the kernel writes no more than that.
    let r = unsafe { libc::getsockname(fd.as_raw_fd(), name.as_mut_ptr(), &raw mut len) };
    if r < 0 {
        return Err(io::Error::last_os_error());
    }
    name.address().ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}

/// Whether errors of the network are queued for [`errqueue::receive`] (IP_RECVERR, IPV6_RECVERR). Those
/// that are queued go when it is switched off.
///
/// # Errors
/// Only for what is no IP socket.
pub fn set_error_queue(fd: BorrowedFd<'_>, v6: bool, keeps: bool) -> io::Result<()> {
    if v6 {
        set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, keeps.into())
    } else {
        set(fd, libc::IPPROTO_IP, libc::IP_RECVERR, keeps.into())
    }
}

/// Time to live, or hop limit, of what is sent.
///
/// # Errors
/// EINVAL for zero.
pub fn set_ttl(fd: BorrowedFd<'_>, v6: bool, ttl: u8) -> io::Result<()> {
    if v6 {
        set(fd, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, ttl.into())
    } else {
        set(fd, libc::IPPROTO_IP, libc::IP_TTL, ttl.into())
    }
}

/// Type of service, or traffic class, of what is sent, with the ECN bits.
///
/// # Errors
/// EPERM, for the highest precedences, from some system call filters.
pub fn set_traffic_class(fd: BorrowedFd<'_>, v6: bool, class: u8) -> io::Result<()> {
    if v6 {
        set(fd, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, class.into())
    } else {
        set(fd, libc::IPPROTO_IP, libc::IP_TOS, class.into())
    }
}

/// Whether what is sent may be cut.
///
/// # Errors
/// Only for what is no IP socket.
pub fn set_fragmentation(fd: BorrowedFd<'_>, v6: bool, may: Fragmentation) -> io::Result<()> {
    match (v6, may) {
        (true, Fragmentation::Allowed) => {
            set(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)
        }
        (true, Fragmentation::Refused) => {
            set(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO)
        }
        (false, Fragmentation::Allowed) => {
            set(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)
        }
        (false, Fragmentation::Refused) => {
            set(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)
        }
    }
}

/// The traffic class of what is received is told (IP_RECVTOS, IPV6_RECVTCLASS).
///
/// # Errors
/// Only for what is no IP socket.
pub fn set_receive_traffic_class(fd: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)
    } else {
        set(fd, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)
    }
}

/// Trains of datagrams of one sender arrive as one, with the size of each (UDP_GRO, Linux 5.0).
///
/// # Errors
/// ENOPROTOOPT on older kernels.
pub fn set_gro(fd: BorrowedFd<'_>) -> io::Result<()> {
    set(fd, libc::IPPROTO_UDP, libc::UDP_GRO, 1)
}

pub(crate) fn set(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the value is readable for its size and outlives the call.
    let r = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Room for a name of either family.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) union Name {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Name {
    pub(crate) const LEN: libc::socklen_t = size_of::<Name>() as libc::socklen_t;

    pub(crate) fn empty() -> Name {
        // SAFETY: all-zero sockaddr_in6 is valid: integers only.
        unsafe { MaybeUninit::zeroed().assume_init() }
    }

    pub(crate) fn of(address: SocketAddr) -> (Name, libc::socklen_t) {
        let mut name = Name::empty();
        match address {
            SocketAddr::V4(address) => {
                name.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                    sin_zero: [0; 8],
                };
                (name, size_of::<libc::sockaddr_in>() as libc::socklen_t)
            }
            SocketAddr::V6(address) => {
                name.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                };
                (name, size_of::<libc::sockaddr_in6>() as libc::socklen_t)
            }
        }
    }

    /// The address, if a whole one of a known family is there.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        // SAFETY: every bit pattern is valid for these integers, and both variants begin with the
        // family (sockaddr(3type)).
        let family = unsafe { self.v4.sin_family };
        match i32::from(family) {
            libc::AF_INET => {
                // SAFETY: as above; the union is as large as either.
                let v4 = unsafe { self.v4 };
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let v6 = unsafe { self.v6 };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Some(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into())
            }
            _ => None,
        }
    }

    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.address().map(|address| address.ip())
    }

    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const *self).cast()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        (&raw mut *self).cast()
    }
}

#[cfg(test)]
mod tests;
