//! The address of this host that a datagram was sent to, or is to leave from: control messages of
//! ip(7) (IP_PKTINFO) and RFC 3542 section 6 (IPV6_PKTINFO), for sockets that are bound to all.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;

/// One address of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Local {
    pub ip: IpAddr,
    /// Number of the interface of a link-local IPv6 address, which says nothing without; zero for
    /// any other, which the host has whatever interface a datagram takes.
    pub interface: u32,
}

/// The address that a datagram was sent to is told with it.
///
/// # Errors
/// Only for what is no IP socket.
pub fn set_receive_local(fd: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        super::set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
    } else {
        super::set(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
    }
}

/// What a control message came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum With {
    Datagram,
    /// An error of the network: the datagram is the ICMP message that told it.
    Error,
}

/// Reads a control message; none if it is about something else, or what it came with was sent to no
/// address that one could answer from.
///
/// # Safety
/// `message` is a whole control message that the kernel wrote, its data included.
pub(super) unsafe fn of_control(message: *const libc::cmsghdr, with: With) -> Option<Local> {
    // SAFETY: the caller's word.
    let (kind, data) =
        unsafe { (((*message).cmsg_level, (*message).cmsg_type), libc::CMSG_DATA(message)) };
    let (ip, interface): (IpAddr, u32) = match kind {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            // SAFETY: an in_pktinfo (ip_cmsg_recv_pktinfo, net/ipv4/ip_sockglue.c), read unaligned.
            let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
            // The address to answer from, also where the datagram was sent to a group. The kernel
            // fills it in for datagrams only.
            let ip = match with {
                With::Datagram => info.ipi_spec_dst,
                With::Error => info.ipi_addr,
            };
            let ip = Ipv4Addr::from(ip.s_addr.to_ne_bytes());
            (ip.into(), 0)
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            // SAFETY: an in6_pktinfo (ip6_datagram_recv_common_ctl, net/ipv6/datagram.c), read
            // unaligned.
            let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
            let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
            (ip.into(), if ip.is_unicast_link_local() { info.ipi6_ifindex } else { 0 })
        }
        _ => return None,
    };
    (!ip.is_unspecified() && !ip.is_multicast()).then_some(Local { ip, interface })
}

/// The control message that has a datagram leave from an address, in room for either version.
#[repr(C, align(8))]
pub(super) struct Control([u8; 40]);

impl Control {
    /// The message, and how long it is with its padding.
    pub(super) fn of(local: Local) -> (Control, usize) {
        match local.ip {
            IpAddr::V4(ip) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                Control::with(libc::IPPROTO_IP, libc::IP_PKTINFO, info)
            }
            IpAddr::V6(ip) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: ip.octets() },
                    ipi6_ifindex: local.interface,
                };
                Control::with(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
            }
        }
    }

    fn with<T>(level: libc::c_int, kind: libc::c_int, data: T) -> (Control, usize) {
        let size = size_of::<T>() as u32;
        let mut control = Control([0; 40]);
        // SAFETY: pure arithmetic.
        let (space, len) = unsafe { (libc::CMSG_SPACE(size), libc::CMSG_LEN(size)) };
        assert!(space as usize <= control.0.len(), "either message fits");
        // SAFETY: all-zero msghdr is valid.
        let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        message.msg_control = (&raw mut control.0).cast();
        message.msg_controllen = space as _;
        // SAFETY: the control buffer is aligned, and has room for the header and the data, as was
        // asserted, so the first header and its data are within it.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            (*header).cmsg_len = len as _;
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(data);
        }
        (control, space as usize)
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        (&raw mut self.0).cast()
    }
}
