//! Tap devices (Documentation/networking/tuntap.rst, include/uapi/linux/if_tun.h).
//!
//! A tap is opened in the network namespace of the calling thread and belongs to the descriptor:
//! it is not persistent, so it goes when the last descriptor is closed. Every frame is preceded
//! by a `virtio_net_hdr` of 12 bytes in native byte order, without the tun's own packet
//! information.
//!
//! Whoever holds a copy of the descriptor shares its O_NONBLOCK and can clear it at any time, so
//! each read and write asks not to wait by itself (RWF_NOWAIT; tun honours it since Linux 5.11).

use std::ffi::CStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::ReadWriteFlags;

/// Bytes of the virtio header before each frame (VIRTIO 1.x, `struct virtio_net_hdr_mrg_rxbuf`).
pub const VNET_HDR_LEN: u8 = 12;

/// The offloads a tap may carry, in the bits of TUNSETOFFLOAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct TapOffloads(u32);

impl TapOffloads {
    pub const CSUM: TapOffloads = TapOffloads(libc::TUN_F_CSUM);
    pub const TSO4: TapOffloads = TapOffloads(libc::TUN_F_TSO4);
    pub const TSO6: TapOffloads = TapOffloads(libc::TUN_F_TSO6);
    pub const TSO_ECN: TapOffloads = TapOffloads(libc::TUN_F_TSO_ECN);
    /// UDP segmentation for IPv4 and IPv6 (Linux 6.2): the kernel takes both or neither.
    pub const USO: TapOffloads = TapOffloads(libc::TUN_F_USO4 | libc::TUN_F_USO6);
    pub const NONE: TapOffloads = TapOffloads(0);
    /// Everything but USO, which kernels before 6.2 refuse.
    pub const TCP: TapOffloads =
        TapOffloads(libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN);

    #[must_use]
    pub fn contains(self, other: TapOffloads) -> bool {
        self.0 & other.0 == other.0
    }

    #[must_use]
    pub fn union(self, other: TapOffloads) -> TapOffloads {
        TapOffloads(self.0 | other.0)
    }
}

/// A tap just made.
#[derive(Debug)]
pub struct Tap {
    pub fd: OwnedFd,
    /// The name the kernel gave it.
    pub name: String,
    /// What the kernel agreed to send us; what we send it may use the same.
    pub offloads: TapOffloads,
}

/// Opens `/dev/net/tun` for [`create`]; apart, because a caller may have to open it before it
/// changes its root or after it has joined a namespace.
///
/// # Errors
/// ENOENT (no tun module), EACCES, EPERM (a device filter), ENXIO.
pub fn open_device() -> io::Result<OwnedFd> {
    open_device_at(Path::new("/dev/net/tun"))
}

/// As [`open_device`], from a given path.
///
/// # Errors
/// As [`open_device`].
pub fn open_device_at(path: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Makes a tap named `name` (at most 15 bytes; `"eth0"`, or a pattern like `"tap%d"`) in the
/// current network namespace, with a vnet header of [`VNET_HDR_LEN`] bytes and the offloads that
/// are the best this kernel takes.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN in the user namespace that owns the network namespace, EBUSY when
/// the name is taken, [`io::ErrorKind::InvalidInput`] for a name that does not fit.
pub fn create(device: OwnedFd, name: &str) -> io::Result<Tap> {
    let mut request = interface_request(name)?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    ioctl_pointer(device.as_fd(), libc::TUNSETIFF, &raw mut request)?;
    // SAFETY: the kernel keeps ifr_name NUL-terminated within its 16 bytes.
    let name = unsafe { CStr::from_ptr(request.ifr_name.as_ptr()) };
    let name = name.to_string_lossy().into_owned();
    let mut len = libc::c_int::from(VNET_HDR_LEN);
    ioctl_pointer(device.as_fd(), libc::TUNSETVNETHDRSZ, &raw mut len)?;
    let offloads = probe_offloads(device.as_fd())?;
    Ok(Tap { fd: device, name, offloads })
}

/// Opens the device and makes the tap: [`open_device`] and [`create`].
///
/// # Errors
/// As those.
pub fn open(name: &str) -> io::Result<Tap> {
    create(open_device()?, name)
}

/// Turns on the largest set of offloads this kernel takes and returns it. Harmless to repeat.
///
/// # Errors
/// As ioctl(2) when not even the empty set is taken.
pub fn probe_offloads(fd: BorrowedFd<'_>) -> io::Result<TapOffloads> {
    let sets = [TapOffloads::TCP.union(TapOffloads::USO), TapOffloads::TCP, TapOffloads::NONE];
    let mut last = io::Error::from_raw_os_error(libc::EINVAL);
    for set in sets {
        match set_offloads(fd, set) {
            Ok(()) => return Ok(set),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// TUNSETOFFLOAD: what the kernel may leave undone in frames it hands to us.
///
/// # Errors
/// EINVAL for a set the kernel does not know.
pub fn set_offloads(fd: BorrowedFd<'_>, set: TapOffloads) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    let r = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(set.0)) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What a descriptor handed to us is: the size of its vnet header, when it is a tap with
/// IFF_NO_PI and IFF_VNET_HDR. Never waits, whatever the descriptor is.
///
/// # Errors
/// EBADFD for a tun that is not attached; [`io::ErrorKind::InvalidInput`] for what is no tun, or a
/// tap with other flags.
pub fn vnet_hdr_len(fd: BorrowedFd<'_>) -> io::Result<u8> {
    // An ioctl of another driver or file system could wait for somebody, and mean anything.
    if !is_tun(fd)? {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the descriptor was not opened from /dev/net/tun",
        ));
    }
    let mut request = interface_request("")?;
    ioctl_pointer(fd, libc::TUNGETIFF, &raw mut request)?;
    // SAFETY: TUNGETIFF has filled ifru_flags.
    let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags });
    let wanted = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    if flags & wanted != wanted {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the descriptor is not a tap with IFF_NO_PI and IFF_VNET_HDR",
        ));
    }
    let mut len: libc::c_int = 0;
    ioctl_pointer(fd, libc::TUNGETVNETHDRSZ, &raw mut len)?;
    u8::try_from(len).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("a vnet header of {len} bytes"))
    })
}

/// Whether the tap's interface was deleted, so that this descriptor is attached to nothing (EBADFD of TUNGETIFF,
/// drivers/net/tun.c).
#[must_use]
pub fn is_gone(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: an all-zero ifreq is valid: an empty name and a union of plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    ioctl_pointer(fd, libc::TUNGETIFF, &raw mut request)
        .is_err_and(|error| error.raw_os_error() == Some(libc::EBADFD))
}

/// Whether this is the tun driver's character device (10:200, Documentation/admin-guide/devices.txt). Never waits,
/// whatever the descriptor is.
///
/// # Errors
/// As statx(2).
pub fn is_tun(fd: BorrowedFd<'_>) -> io::Result<bool> {
    use rustix::fs::{AtFlags, FileType, StatxFlags, statx};
    // A file system that has to ask a server for attributes (FUSE, NFS) is not asked.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = statx(fd, c"", flags, StatxFlags::TYPE)?;
    let kind = FileType::from_raw_mode(stat.stx_mode.into());
    Ok(kind == FileType::CharacterDevice && (stat.stx_rdev_major, stat.stx_rdev_minor) == (10, 200))
}

fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    if name.len() >= libc::IFNAMSIZ || name.contains('\0') {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the interface name \"{name}\" is longer than 15 bytes"),
        ));
    }
    // SAFETY: an all-zero ifreq is valid: an empty name and a union of plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    Ok(request)
}

/// An ioctl whose argument is a pointer to a `T` of ours.
fn ioctl_pointer<T>(fd: BorrowedFd<'_>, request: libc::Ioctl, argument: *mut T) -> io::Result<()> {
    // SAFETY: callers pass the address of a live local whose type is the one this request reads
    // or writes (ifreq for TUN*IFF, int for TUN*VNETHDRSZ).
    let r = unsafe { libc::ioctl(fd.as_raw_fd(), request, argument) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The offset that makes preadv2(2) a readv(2).
const NO_OFFSET: u64 = u64::MAX;

/// Reads one frame without waiting: the vnet header into `header`, the frame into `frame`. Returns
/// the bytes of the frame. A frame longer than the buffer is cut by the kernel.
///
/// # Errors
/// EAGAIN when there is none, EBADFD or EIO when the device is gone, EOPNOTSUPP before Linux 5.11.
pub fn read_frame(fd: BorrowedFd<'_>, header: &mut [u8], frame: &mut [u8]) -> io::Result<usize> {
    let header_len = header.len();
    let mut pieces = [IoSliceMut::new(header), IoSliceMut::new(frame)];
    let n = rustix::io::preadv2(fd, &mut pieces, NO_OFFSET, ReadWriteFlags::NOWAIT)?;
    Ok(n.saturating_sub(header_len))
}

/// Writes one frame without waiting: header and pieces as one packet.
///
/// # Errors
/// EIO while the interface is down, EINVAL for a header the kernel refuses, EAGAIN, EBADFD,
/// EOPNOTSUPP before Linux 5.11.
pub fn write_frame(fd: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    Ok(rustix::io::pwritev2(fd, pieces, NO_OFFSET, ReadWriteFlags::NOWAIT)?)
}
