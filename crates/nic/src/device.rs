//! The packet socket and the device it is bound to, which may go and come back.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sys::packet::{self, Membership};
use sys::{device, packet_filter};
use wire::{MacAddr, OffloadSet};

/// Bytes of the socket's buffer each way: some milliseconds of a fast device.
const BUFFER: usize = 4 << 20;

/// How often a device that is down or gone is looked for, in nanoseconds.
const LOOK_AGAIN: u64 = 500_000_000;

/// Least time between two looks at the MTU, in nanoseconds.
const MTU_AGE: u64 = 1_000_000_000;

/// What a packet socket takes and gives: the kernel completes and cuts in software what the device
/// cannot.
pub(crate) const OFFLOADS: OffloadSet = OffloadSet::all();

/// One device through one packet socket.
#[derive(Debug)]
pub(crate) struct Port {
    socket: OwnedFd,
    name: String,
    index: u32,
    mtu: usize,
    mac: MacAddr,
    up: bool,
    look_at: Option<u64>,
    mtu_seen: u64,
    /// The kernel's filter has never shown anything but frames to groups and to the user's addresses.
    exact: bool,
}

impl Port {
    /// Opens the socket and binds it; needs CAP_NET_RAW, and CAP_NET_ADMIN for its buffers. Nothing
    /// later needs either.
    ///
    /// # Errors
    /// ENODEV when there is no such device; EPERM.
    pub(crate) fn open(name: &str, now: u64) -> io::Result<Port> {
        let socket = packet::open_unbound(BUFFER)?;
        let exact = packet_filter::attach(socket.as_fd(), &[])?;
        let about = device::describe(socket.as_fd(), name)?;
        let mut port = Port {
            socket,
            name: name.to_owned(),
            index: 0,
            mtu: 0,
            mac: MacAddr(about.mac),
            up: false,
            look_at: None,
            mtu_seen: now,
            exact,
        };
        port.bind(about, &[])?;
        Ok(port)
    }

    fn bind(&mut self, about: device::Device, macs: &[MacAddr]) -> io::Result<()> {
        packet::bind(self.socket.as_fd(), about.index)?;
        self.index = about.index;
        self.mac = MacAddr(about.mac);
        self.mtu = usize::try_from(about.mtu).unwrap_or(usize::MAX).min(65_535);
        self.up = about.up;
        packet::join(self.socket.as_fd(), self.index, Membership::AllGroups)?;
        for mac in macs {
            packet::join(self.socket.as_fd(), self.index, Membership::Address(mac.0))?;
        }
        Ok(())
    }

    #[must_use]
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    #[must_use]
    pub(crate) fn mtu(&self) -> usize {
        self.mtu
    }

    /// The device's own address.
    #[must_use]
    pub(crate) fn mac(&self) -> MacAddr {
        self.mac
    }

    /// Asks the device and the kernel for frames to one more address; `macs` are all of them.
    ///
    /// # Errors
    /// When the device is there and refuses.
    pub(crate) fn add(&mut self, mac: MacAddr, macs: &[MacAddr]) -> io::Result<()> {
        self.filter(macs)?;
        match packet::join(self.socket.as_fd(), self.index, Membership::Address(mac.0)) {
            // It is asked again when the device is back.
            Err(e) if !self.up || e.raw_os_error() == Some(sys::errno::ENODEV) => Ok(()),
            other => {
                // The filter knows the address already.
                self.exact &= other.is_ok();
                other
            }
        }
    }

    /// No more frames to this address; `macs` are those that are left.
    pub(crate) fn remove(&mut self, mac: MacAddr, macs: &[MacAddr]) {
        // A device that is gone has forgotten the address; and each frame is judged again.
        let _gone = packet::leave(self.socket.as_fd(), self.index, Membership::Address(mac.0));
        let _kept = self.filter(macs);
    }

    fn filter(&mut self, macs: &[MacAddr]) -> io::Result<()> {
        let addresses: Vec<[u8; 6]> = macs.iter().map(|mac| mac.0).collect();
        let exact = packet_filter::attach(self.socket.as_fd(), &addresses);
        // What it once let pass too much may wait in the socket for long.
        self.exact &= matches!(exact, Ok(true));
        exact.map(|_| ())
    }

    /// Whether what is received now is for a group or for one of the user's addresses, by the
    /// kernel's own filter.
    #[must_use]
    pub(crate) fn shows_only_ours(&self) -> bool {
        self.exact
    }

    /// The socket told that its device is down or gone. Whether that is news.
    pub(crate) fn lost(&mut self, now: u64) -> bool {
        self.look_at.get_or_insert(now);
        std::mem::replace(&mut self.up, false)
    }

    /// When [`Port::look`] is to be called.
    #[must_use]
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.look_at
    }

    /// Looks for the device; whether it is back. One of the same name that was made anew is taken.
    pub(crate) fn look(&mut self, now: u64, macs: &[MacAddr]) -> bool {
        if self.look_at.is_none_or(|at| at > now) {
            return false;
        }
        self.look_at = Some(now.saturating_add(LOOK_AGAIN));
        let Ok(about) = device::describe(self.socket.as_fd(), &self.name) else { return false };
        let found = if about.index == self.index {
            self.up = about.up;
            about.up
        } else {
            self.bind(about, macs).is_ok() && about.up
        };
        if found {
            self.up = true;
            self.look_at = None;
        }
        found
    }

    /// Reads the MTU again, if that was not done a moment ago: it may have been changed.
    pub(crate) fn refresh_mtu(&mut self, now: u64) {
        if now.saturating_sub(self.mtu_seen) < MTU_AGE {
            return;
        }
        self.mtu_seen = now;
        if let Ok(about) = device::describe(self.socket.as_fd(), &self.name)
            && about.index == self.index
        {
            self.mtu = usize::try_from(about.mtu).unwrap_or(usize::MAX).min(65_535);
        }
    }
}
