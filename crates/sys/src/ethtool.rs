//! Features of network interfaces (`SIOCETHTOOL`, linux/ethtool.h).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Bytes of one name in a string set (`ETH_GSTRING_LEN`).
const STRING: usize = 32;
/// More than any kernel has; the bound of what is read.
const FEATURES_MAX: usize = 256;
/// The string set of feature names (`ETH_SS_FEATURES`).
const FEATURE_NAMES: u32 = 4;

const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_SFEATURES: u32 = 0x3b;
const ETHTOOL_GFEATURES: u32 = 0x3a;

/// A socket to ask the interfaces of one network namespace through.
#[derive(Debug)]
pub struct Ethtool {
    socket: OwnedFd,
    names: Vec<String>,
}

impl Ethtool {
    /// Opens in the namespace of the calling thread and learns the kernel's names of features from
    /// `interface`; they are the same for all interfaces.
    pub fn open(interface: &str) -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::DGRAM,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )?;
        let mut this = Self { socket, names: Vec::new() };

        // struct ethtool_sset_info: cmd, reserved, sset_mask (u64), then one u32 for each set.
        let mut info = [ETHTOOL_GSSET_INFO, 0, 1 << FEATURE_NAMES, 0, 0];
        if cfg!(target_endian = "big") {
            info.swap(2, 3);
        }
        this.request(interface, &mut info)?;
        let count = usize::try_from(info[4]).unwrap_or(0).min(FEATURES_MAX);

        // struct ethtool_gstrings: cmd, string_set, len, then the strings.
        let mut strings = vec![0_u32; 3 + count * STRING / 4];
        strings[0] = ETHTOOL_GSTRINGS;
        strings[1] = FEATURE_NAMES;
        strings[2] = u32::try_from(count).unwrap_or(0);
        this.request(interface, &mut strings)?;
        let bytes: Vec<u8> = strings[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
        this.names = bytes
            .chunks_exact(STRING)
            .map(|name| {
                let end = name.iter().position(|b| *b == 0).unwrap_or(STRING);
                String::from_utf8_lossy(&name[..end]).into_owned()
            })
            .collect();
        Ok(this)
    }

    /// Switches off every feature whose name `unwanted` picks; answers how many are on afterwards all
    /// the same, because the device has them fixed.
    pub fn disable(&self, interface: &str, unwanted: impl Fn(&str) -> bool) -> io::Result<usize> {
        let blocks = self.names.len().div_ceil(32);
        // struct ethtool_sfeatures: cmd, size, then (valid, requested) for each 32 features.
        let mut set = vec![0_u32; 2 + 2 * blocks];
        set[0] = ETHTOOL_SFEATURES;
        set[1] = u32::try_from(blocks).unwrap_or(0);
        for number in self.picked(&unwanted) {
            set[2 + 2 * (number / 32)] |= 1 << (number % 32);
        }
        self.request(interface, &mut set)?;
        Ok(self.active(interface)?.into_iter().filter(|name| unwanted(name)).count())
    }

    /// The names of the features that are on.
    pub fn active(&self, interface: &str) -> io::Result<Vec<&str>> {
        let blocks = self.names.len().div_ceil(32);
        // struct ethtool_gfeatures: cmd, size, then (available, requested, active, never_changed).
        let mut get = vec![0_u32; 2 + 4 * blocks];
        get[0] = ETHTOOL_GFEATURES;
        get[1] = u32::try_from(blocks).unwrap_or(0);
        self.request(interface, &mut get)?;
        let on = |number: usize| get[2 + 4 * (number / 32) + 2] & (1 << (number % 32)) != 0;
        Ok((0..self.names.len()).filter(|n| on(*n)).map(|n| self.names[n].as_str()).collect())
    }

    fn picked(&self, unwanted: impl Fn(&str) -> bool) -> impl Iterator<Item = usize> {
        let picked: Vec<_> = (0..self.names.len())
            .filter(|n| !self.names[*n].is_empty() && unwanted(&self.names[*n]))
            .collect();
        picked.into_iter()
    }

    fn request(&self, interface: &str, data: &mut [u32]) -> io::Result<()> {
        if !crate::netlink::valid_interface_name(interface) {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        // SAFETY: an all-zero ifreq is a valid one: an empty name and a null pointer.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        request.ifr_ifru.ifru_data = data.as_mut_ptr().cast();
        // SAFETY: the kernel reads and writes `data` as the structure its first word names; each
        // caller sized it for the count that structure carries, which bounds what is written.
        let result =
            unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// Whether a vnet header cannot describe what this feature lets through: tunnel, SCTP, IPsec and
/// list segmentation, and VLAN tags outside of the frame (linux/virtio_net.h knows TCP and UDP
/// segmentation of plain frames only).
#[must_use]
pub fn beyond_vnet_header(feature: &str) -> bool {
    const NAMES: [&str; 16] = [
        "tx-fcoe-segmentation",
        "tx-gre-segmentation",
        "tx-gre-csum-segmentation",
        "tx-ipxip4-segmentation",
        "tx-ipxip6-segmentation",
        "tx-udp_tnl-segmentation",
        "tx-udp_tnl-csum-segmentation",
        "tx-gso-partial",
        "tx-tunnel-remcsum-segmentation",
        "tx-sctp-segmentation",
        "tx-esp-segmentation",
        "tx-gso-list",
        "tx-checksum-sctp",
        "tx-vlan-hw-insert",
        "tx-vlan-stag-hw-insert",
        "rx-gro-list",
    ];
    NAMES.contains(&feature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_features_with_the_names_we_know() {
        let ethtool = Ethtool::open("lo").expect("asking needs no privilege");
        for name in ["tx-udp_tnl-segmentation", "tx-sctp-segmentation", "tx-vlan-hw-insert"] {
            assert!(ethtool.names.iter().any(|n| n == name), "{name}");
            assert!(beyond_vnet_header(name));
        }
        assert!(!ethtool.active("lo").unwrap().is_empty());
        for name in ["tx-tcp-segmentation", "tx-udp-segmentation", "tx-checksum-ip-generic"] {
            assert!(!beyond_vnet_header(name));
        }
    }

    #[test]
    fn an_unknown_interface_is_enodev() {
        let error = Ethtool::open("no-such-link").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }
}
