//! Packet sockets (packet(7), include/uapi/linux/if_packet.h): the outer end of a veth pair where
//! no tap can be made.
//!
//! The socket is bound to one interface and carries each frame behind a `virtio_net_hdr`
//! (PACKET_VNET_HDR), so that checksums and segmentation stay undone between the two ends as on
//! a tap. Frames that leave through the same interface are not shown to us again
//! (PACKET_IGNORE_OUTGOING). Whoever holds the descriptor can bind it elsewhere: it never leaves
//! the process that opened it or is handed only to the hypervisor that moves its frames.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::unix::set_int_option;

/// Bytes of the vnet header on a packet socket: the legacy form without `num_buffers`.
pub const VNET_HDR_LEN: u8 = 10;

/// All protocols, in network byte order as the kernel wants it.
const ETH_P_ALL_BE: u16 = (libc::ETH_P_ALL as u16).to_be();

/// Opens a packet socket in the current network namespace, bound to interface `index`, with vnet
/// headers, without our own frames, promiscuous, with buffers of `buffer` bytes each way (as far
/// as net.core.*mem_max allow, or beyond with CAP_NET_ADMIN in the first user namespace).
///
/// # Errors
/// EPERM without CAP_NET_RAW, ENODEV for an unknown interface, ENOPROTOOPT for a kernel without
/// PACKET_IGNORE_OUTGOING (before 4.20).
pub fn open(index: u32, buffer: usize) -> io::Result<OwnedFd> {
    // Protocol 0: nothing is queued before the bind below names interface and protocol, so no
    // frame of another interface is ever seen.
    // SAFETY: no pointers; the result is checked.
    let fd = unsafe {
        libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: socket(2) has just returned this descriptor.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    set_int_option(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
    set_int_option(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
    let bytes = libc::c_int::try_from(buffer).unwrap_or(libc::c_int::MAX);
    for (force, plain) in
        [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
    {
        if set_int_option(fd.as_fd(), libc::SOL_SOCKET, force, bytes).is_err() {
            set_int_option(fd.as_fd(), libc::SOL_SOCKET, plain, bytes)?;
        }
    }
    bind(fd.as_fd(), index)?;
    promiscuous(fd.as_fd(), index)?;
    Ok(fd)
}

fn interface_index(index: u32) -> io::Result<libc::c_int> {
    libc::c_int::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))
}

fn bind(fd: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    // SAFETY: an all-zero sockaddr_ll is valid plain data.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_protocol = ETH_P_ALL_BE;
    address.sll_ifindex = interface_index(index)?;
    // SAFETY: `address` is readable for its size.
    let r = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn promiscuous(fd: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    let membership = libc::packet_mreq {
        mr_ifindex: interface_index(index)?,
        mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    // SAFETY: `membership` is readable for its size.
    let r = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const membership).cast(),
            size_of::<libc::packet_mreq>() as libc::socklen_t,
        )
    };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Frames since the last call (reading resets the kernel's counters).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Frames that passed to the socket, the dropped ones included.
    pub frames: u32,
    /// Frames the kernel dropped because the receive buffer was full.
    pub drops: u32,
}

/// PACKET_STATISTICS.
///
/// # Errors
/// As getsockopt(2) for what is not a packet socket.
pub fn take_statistics(fd: BorrowedFd<'_>) -> io::Result<Statistics> {
    let mut raw = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: `raw` is writable for `len` bytes.
    let r = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut raw).cast(),
            &raw mut len,
        )
    };
    if r < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Statistics { frames: raw.tp_packets, drops: raw.tp_drops })
}

/// Checks that a descriptor handed to us is a packet socket bound to one interface, and returns
/// the interface's index in its own network namespace.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] when it is another socket or bound to no interface.
pub fn bound_interface(fd: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: an all-zero sockaddr_ll is valid plain data.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: `address` is writable for `len` bytes.
    let r = unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut address).cast(), &raw mut len) };
    if r < 0 {
        return Err(io::Error::last_os_error());
    }
    match u32::try_from(address.sll_ifindex) {
        Ok(index) if libc::c_int::from(address.sll_family) == libc::AF_PACKET && index > 0 => {
            Ok(index)
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the descriptor is not a packet socket bound to one interface",
        )),
    }
}
