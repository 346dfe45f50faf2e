//! What there is to know of a network device, asked through a socket that its asker has already
//! (netdevice(7)): no netlink socket has to be made, so a filter of system calls can be narrow.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::netlink::INTERFACE_NAME_MAX;

/// A device as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number; another one after it was deleted and made again.
    pub index: u32,
    /// Bytes of the longest packet behind the Ethernet header.
    pub mtu: u32,
    /// Its own address.
    pub mac: [u8; 6],
    /// Administratively up, and with a carrier (`IFF_UP`, `IFF_RUNNING`).
    pub up: bool,
    pub running: bool,
}

/// Whether the kernel would take this as the name of a device (`dev_valid_name`,
/// net/core/dev.c).
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= INTERFACE_NAME_MAX
        && name != "."
        && name != ".."
        && !name.bytes().any(|byte| byte == b'/' || byte == b':' || byte == 0)
        && !name.bytes().any(|byte| byte.is_ascii_whitespace())
        && name.is_ascii()
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    if !is_name(name) {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    // SAFETY: an all-zero ifreq is valid: an empty name and a union of plain data.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    Ok(request)
}

fn ask(fd: BorrowedFd<'_>, call: libc::c_ulong, name: &str) -> io::Result<libc::ifreq> {
    let mut request = request(name)?;
    // SAFETY: the SIOCGIF* requests used here read the name and write the union of an ifreq, which
    // `request` is.
    let r = unsafe { libc::ioctl(fd.as_raw_fd(), call as libc::Ioctl, &raw mut request) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(request) }
}

/// The index of the device called `name`, in the network namespace of `socket` (any socket).
///
/// # Errors
/// ENODEV when there is none.
pub fn index(socket: BorrowedFd<'_>, name: &str) -> io::Result<u32> {
    let answer = ask(socket, libc::SIOCGIFINDEX, name)?;
    // SAFETY: SIOCGIFINDEX has filled ifru_ifindex.
    let index = unsafe { answer.ifr_ifru.ifru_ifindex };
    u32::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))
}

/// The index of the device called `name`, for who has no socket to ask through.
///
/// # Errors
/// ENODEV when there is none.
pub fn number(name: &str) -> io::Result<u32> {
    let (family, kind) = (rustix::net::AddressFamily::UNIX, rustix::net::SocketType::DGRAM);
    let flags = rustix::net::SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    index(std::os::fd::AsFd::as_fd(&socket), name)
}

/// The device called `name`.
///
/// # Errors
/// ENODEV when there is none; [`io::ErrorKind::InvalidInput`] when it is no Ethernet device.
pub fn describe(socket: BorrowedFd<'_>, name: &str) -> io::Result<Device> {
    let index = index(socket, name)?;
    let answer = ask(socket, libc::SIOCGIFMTU, name)?;
    // SAFETY: SIOCGIFMTU has filled ifru_mtu.
    let mtu = u32::try_from(unsafe { answer.ifr_ifru.ifru_mtu }).unwrap_or(0);
    let answer = ask(socket, libc::SIOCGIFFLAGS, name)?;
    // SAFETY: SIOCGIFFLAGS has filled ifru_flags.
    let flags = libc::c_int::from(unsafe { answer.ifr_ifru.ifru_flags });
    let answer = ask(socket, libc::SIOCGIFHWADDR, name)?;
    // SAFETY: SIOCGIFHWADDR has filled ifru_hwaddr.
    let address = unsafe { answer.ifr_ifru.ifru_hwaddr };
    if address.sa_family != libc::ARPHRD_ETHER {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name} does not carry Ethernet frames"),
        ));
    }
    let mut mac = [0; 6];
    for (to, from) in mac.iter_mut().zip(address.sa_data) {
        [*to] = from.to_ne_bytes();
    }
    let has = |flag| flags & flag != 0;
    Ok(Device { index, mtu, mac, up: has(libc::IFF_UP), running: has(libc::IFF_RUNNING) })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_loopback_device_is_there_and_carries_no_ethernet_of_others() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        assert_eq!(index(socket.as_fd(), "lo").expect("always there"), 1);
        let refused = describe(socket.as_fd(), "lo").expect_err("ARPHRD_LOOPBACK");
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        let missing = index(socket.as_fd(), "netherd-none").expect_err("no such device");
        assert_eq!(missing.raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn names() {
        for good in ["eth0", "enp0s31f6", "br-0123456789ab"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "a:1", "sixteen-letters-", "ü", "a\0"] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
