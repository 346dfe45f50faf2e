//! Why something was not published, in sentences.

use std::io;
use std::net::SocketAddr;

use crate::plan::Protocol;

/// Why something was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("{first}-{last} is not a range of ports: ports are 1 to 65535, the first one first")]
    Range { first: u16, last: u16 },
    #[error("the guest does not have {count} ports from port {to} on: ports are 1 to 65535")]
    GuestRange { to: u16, count: u16 },
    #[error("only ports of TCP and UDP can be published")]
    Protocol,
    #[error("{0} ranges are published already, which is the maximum; remove one first")]
    TooMany(usize),
    #[error("published ranges may have {0} sockets together; publish fewer ports")]
    TooManySockets(usize),
    #[error("the host has no loopback address to publish on; name an address of the host")]
    NoLoopback,
    #[error(
        "port {} of {} is in use on the host already; publish another one, or stop the program \
         that has it (`ss -lnp 'sport = :{}'` shows it)", .at.port(), .at.ip(), .at.port()
    )]
    Taken { protocol: Protocol, at: SocketAddr },
    #[error(
        "port {} of the host is privileged, and this user may not have it; publish one from {} on, or have the \
         administrator lower net.ipv4.ip_unprivileged_port_start", .at.port(), first
    )]
    Privileged { at: SocketAddr, first: u16 },
    #[error("the host has no address {}; publish on one that `ip address` shows, or on all with \
         {}", .at.ip(), if .at.is_ipv6() { "[::]" } else { "0.0.0.0" })]
    NoAddress { at: SocketAddr },
    #[error("no descriptor is left for {at}; raise the limit on open files (`ulimit -n`)")]
    Descriptors { at: SocketAddr },
    #[error("{protocol} port {at} cannot be opened on the host: {error}")]
    Other { protocol: Protocol, at: SocketAddr, error: io::Error },
}

impl PublishError {
    /// What kept a socket from being opened at an address.
    pub(super) fn socket(protocol: Protocol, at: SocketAddr, error: io::Error) -> Self {
        use sys::errno::{EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT};
        match error.raw_os_error() {
            Some(EADDRINUSE) => Self::Taken { protocol, at },
            Some(EACCES) => Self::Privileged { at, first: first_unprivileged() },
            Some(EADDRNOTAVAIL | EAFNOSUPPORT) => Self::NoAddress { at },
            _ if sys::errno::is_out_of_descriptors(&error) => Self::Descriptors { at },
            _ => Self::Other { protocol, at, error },
        }
    }

    pub(super) fn is_no_address(&self) -> bool {
        matches!(self, Self::NoAddress { .. })
    }
}

/// The first port that everybody may have (ip(7)).
fn first_unprivileged() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1024)
}
