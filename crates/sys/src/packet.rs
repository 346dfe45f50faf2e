//! Packet sockets (packet(7), include/uapi/linux/if_packet.h): the outer end of a veth pair where
//! no tap can be made.
//!
//! The socket is bound to one interface and carries each frame behind a `virtio_net_hdr`
//! (PACKET_VNET_HDR), so that checksums and segmentation stay undone between the two ends as on
//! a tap. Frames that leave through the same interface are not shown to us again
//! (PACKET_IGNORE_OUTGOING). Whoever holds the descriptor can bind it elsewhere: it never leaves
//! the process that opened it or is handed only to the hypervisor that moves its frames.

use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::unix::{header_payload, set_int_option};

/// Bytes of the vnet header on a packet socket: the legacy form without `num_buffers`.
pub const VNET_HDR_LEN: u8 = 10;

/// All protocols, in network byte order as the kernel wants it.
const ETH_P_ALL_BE: u16 = (libc::ETH_P_ALL as u16).to_be();

/// Opens a packet socket in the current network namespace that is bound to nothing yet and so
/// receives nothing: with vnet headers, without our own frames, with buffers of `buffer` bytes each
/// way (as far as net.core.*mem_max allow, or beyond with CAP_NET_ADMIN in the first user
/// namespace).
///
/// What it needs privilege for is over when it is open: [`bind`] needs none.
///
/// # Errors
/// EPERM without CAP_NET_RAW, ENOPROTOOPT for a kernel without PACKET_IGNORE_OUTGOING (before
/// 4.20).
pub fn open_unbound(buffer: usize) -> io::Result<OwnedFd> {
    // Protocol 0: nothing is queued before a bind names interface and protocol, so no frame of
    // another interface is ever seen.
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
    crate::unix::force_buffers(fd.as_fd(), buffer)?;
    set_int_option(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
    Ok(fd)
}

/// As [`open_unbound`], bound to interface `index` and promiscuous.
///
/// # Errors
/// As [`open_unbound`] and [`bind`].
pub fn open(index: u32, buffer: usize) -> io::Result<OwnedFd> {
    let fd = open_unbound(buffer)?;
    bind(fd.as_fd(), index)?;
    join(fd.as_fd(), index, Membership::Promiscuous)?;
    Ok(fd)
}

fn interface_index(index: u32) -> io::Result<libc::c_int> {
    libc::c_int::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))
}

/// Binds to interface `index`: from now on its frames, of all protocols, and of no other.
///
/// # Errors
/// ENODEV for an unknown interface, ENETDOWN when it is down (it is bound nevertheless and receives
/// when it comes up).
pub fn bind(fd: BorrowedFd<'_>, index: u32) -> io::Result<()> {
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

/// What an interface is asked to receive beside what is for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Everything.
    Promiscuous,
    /// All group addresses.
    AllGroups,
    /// This address too. A device whose filter has no room for it becomes promiscuous by itself.
    Address([u8; 6]),
}

/// PACKET_ADD_MEMBERSHIP: holds until it is left, the socket is closed or the interface is gone.
///
/// # Errors
/// ENODEV, ENOBUFS.
pub fn join(fd: BorrowedFd<'_>, index: u32, what: Membership) -> io::Result<()> {
    membership(fd, index, what, libc::PACKET_ADD_MEMBERSHIP)
}

/// PACKET_DROP_MEMBERSHIP.
///
/// # Errors
/// As setsockopt(2).
pub fn leave(fd: BorrowedFd<'_>, index: u32, what: Membership) -> io::Result<()> {
    membership(fd, index, what, libc::PACKET_DROP_MEMBERSHIP)
}

fn membership(
    fd: BorrowedFd<'_>,
    index: u32,
    what: Membership,
    option: libc::c_int,
) -> io::Result<()> {
    let mut address = [0; 8];
    let (kind, len) = match what {
        Membership::Promiscuous => (libc::PACKET_MR_PROMISC, 0),
        Membership::AllGroups => (libc::PACKET_MR_ALLMULTI, 0),
        Membership::Address(mac) => {
            address[..6].copy_from_slice(&mac);
            (libc::PACKET_MR_UNICAST, 6)
        }
    };
    let membership = libc::packet_mreq {
        mr_ifindex: interface_index(index)?,
        mr_type: kind as libc::c_ushort,
        mr_alen: len,
        mr_address: address,
    };
    // SAFETY: `membership` is readable for its size.
    let r = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            option,
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

/// Whether a descriptor is a packet socket. Never waits, whatever it is.
///
/// # Errors
/// As getsockopt(2).
pub fn is_packet(fd: BorrowedFd<'_>) -> io::Result<bool> {
    match crate::unix::int_option(fd, libc::SO_DOMAIN) {
        Ok(domain) => Ok(domain == libc::AF_PACKET),
        Err(e) if e.raw_os_error() == Some(libc::ENOTSOCK) => Ok(false),
        Err(e) => Err(e),
    }
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

/// Checks that a packet socket handed to us carries vnet headers and not our own frames, and asks
/// for the VLAN tags that the kernel takes out of the frames.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] when an option is not set.
pub fn check_options(fd: BorrowedFd<'_>) -> io::Result<()> {
    for (option, name) in [
        (libc::PACKET_VNET_HDR, "PACKET_VNET_HDR"),
        (libc::PACKET_IGNORE_OUTGOING, "PACKET_IGNORE_OUTGOING"),
    ] {
        let mut value: libc::c_int = 0;
        let mut len = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: `value` is writable for `len` bytes.
        let r = unsafe {
            libc::getsockopt(
                fd.as_raw_fd(),
                libc::SOL_PACKET,
                option,
                (&raw mut value).cast(),
                &raw mut len,
            )
        };
        if r < 0 {
            return Err(io::Error::last_os_error());
        }
        if value == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the packet socket was handed over without {name}"),
            ));
        }
    }
    set_int_option(fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)
}

/// The VLAN tag that the kernel took out of a received frame: protocol and control information,
/// in the order of the wire.
pub(crate) type TakenTag = [u8; 4];

/// Finds the tag in a message's control data.
///
/// # Safety
/// `message` must be as recvmsg(2) or recvmmsg(2) left it, its control buffer still alive.
pub(crate) unsafe fn taken_tag(message: &libc::msghdr) -> Option<TakenTag> {
    // SAFETY: by the contract the headers are the kernel's; the CMSG_* macros walk them within
    // msg_controllen, and the payload is read unaligned within its cmsg_len.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(h) = header.as_ref() {
            let payload = header_payload(h);
            if (h.cmsg_level, h.cmsg_type) == (libc::SOL_PACKET, libc::PACKET_AUXDATA)
                && payload >= size_of::<libc::tpacket_auxdata>()
            {
                let aux = libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned();
                if aux.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
                    return None;
                }
                let protocol = if aux.tp_status & libc::TP_STATUS_VLAN_TPID_VALID == 0 {
                    libc::ETH_P_8021Q as u16
                } else {
                    aux.tp_vlan_tpid
                };
                let [a, b] = protocol.to_be_bytes();
                let [c, d] = aux.tp_vlan_tci.to_be_bytes();
                return Some([a, b, c, d]);
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    None
}

/// Both addresses of an Ethernet header: the tag stands behind them.
pub(crate) const ADDRESSES_LEN: usize = 12;

/// What [`receive`] got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Where the frame is in the buffer.
    pub range: Range<usize>,
    /// A VLAN tag was put back: offsets in the vnet header are 4 bytes short.
    pub tagged: bool,
}

/// What [`receive_pieces`] got.
pub(crate) struct Taken {
    /// Bytes, of all pieces.
    pub(crate) len: usize,
    /// The VLAN tag that the kernel took out.
    pub(crate) tag: Option<TakenTag>,
    /// There was more than the pieces take, and it is lost.
    pub(crate) truncated: bool,
}

/// Receives one datagram of a packet socket without blocking.
///
/// # Safety
/// The kernel may write to every piece, in all its length, until this returns.
///
/// # Errors
/// As [`receive`].
pub(crate) unsafe fn receive_pieces(
    fd: BorrowedFd<'_>,
    pieces: &mut [libc::iovec],
) -> io::Result<Taken> {
    #[repr(C, align(8))]
    struct Control([u8; 64]);

    let mut control = Control([0; 64]);
    // SAFETY: an all-zero msghdr is valid.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = pieces.as_mut_ptr();
    message.msg_iovlen = pieces.len() as _;
    message.msg_control = (&raw mut control.0).cast();
    message.msg_controllen = control.0.len() as _;
    // SAFETY: the pieces are writable by the contract; they and the control buffer outlive the call.
    let n = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let len = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: recvmsg filled `message`; the control buffer is alive.
    let tag = unsafe { taken_tag(&message) };
    Ok(Taken { len, tag, truncated: message.msg_flags & libc::MSG_TRUNC != 0 })
}

/// Receives one frame without blocking: its vnet header apart, the frame into `buffer`.
///
/// # Errors
/// EAGAIN when there is none; ENETDOWN once after the interface went down.
pub fn receive(fd: BorrowedFd<'_>, header: &mut [u8], buffer: &mut [u8]) -> io::Result<Received> {
    const TAG_LEN: usize = 4;
    let header_len = header.len();
    let Some(room) = buffer.get_mut(TAG_LEN..) else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    let mut pieces = [
        libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: header_len },
        libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() },
    ];
    // SAFETY: both pieces are ours, writable, and outlive the call.
    let taken = unsafe { receive_pieces(fd, &mut pieces) }?;
    let len = taken.len.saturating_sub(header_len);
    match taken.tag {
        Some(tag) if len >= ADDRESSES_LEN => {
            buffer.copy_within(TAG_LEN..TAG_LEN + ADDRESSES_LEN, 0);
            buffer[ADDRESSES_LEN..ADDRESSES_LEN + TAG_LEN].copy_from_slice(&tag);
            Ok(Received { range: 0..len + TAG_LEN, tagged: true })
        }
        _ => Ok(Received { range: TAG_LEN..TAG_LEN + len, tagged: false }),
    }
}
