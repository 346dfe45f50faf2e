//! Uplinks on a tap or macvtap that an administrator made for this user.
//!
//! A tap is a device of the kernel whose wire is a descriptor: what netherd writes, the kernel
//! receives on it, and forwards if it is in a bridge. A macvtap is the same on top of a real device;
//! its descriptor is a character device of its own, `/dev/tapN` with the device's index.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use sys::netlink::{Link, Netlink};
use sys::tap::{self, VNET_HDR_LEN};

use super::{Opened, UplinkError};
use crate::link::{LinkSetup, tap_offloads};

/// The device, or a sentence how to make one.
fn device(name: &str, kind: &str, make: &str) -> Result<Link, UplinkError> {
    let mut netlink = Netlink::open().map_err(|e| {
        UplinkError::passing(format!("The network devices cannot be listed ({e})."))
    })?;
    netlink.link(name).map_err(|e| {
        UplinkError::passing(if e.raw_os_error() == Some(sys::errno::ENODEV) {
            format!(
                "There is no network device {name}; have the administrator make the {kind}: {make}"
            )
        } else {
            format!("The network device {name} cannot be looked up: {e}.")
        })
    })
}

fn opened(fd: OwnedFd, offloads: tap::TapOffloads, link: &Link, macvtap: bool) -> Opened {
    let (offloads, vnet_hdr_len) = (tap_offloads(offloads), VNET_HDR_LEN);
    let setup = if macvtap {
        LinkSetup::Macvtap { fd, offloads, vnet_hdr_len }
    } else {
        LinkSetup::Tap { fd, offloads, vnet_hdr_len }
    };
    Opened { link: setup, mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX) }
}

pub(super) fn open(name: &str) -> Result<Opened, UplinkError> {
    let user = user();
    let make = format!(
        "ip tuntap add dev {name} mode tap user {user} && ip link set {name} up master BRIDGE"
    );
    // Before the device is asked for by its name: asking for one that does not exist makes it.
    let link = device(name, "tap", &make)?;
    let file = tap::open_device().map_err(|e| {
        UplinkError::passing(format!(
            "/dev/net/tun, which the uplink tap:{name} needs, cannot be opened: {e}."
        ))
    })?;
    match tap::create(file, name) {
        Ok(tap) => Ok(opened(tap.fd, tap.offloads, &link, false)),
        Err(e) => Err(attach_error(name, &user, &e)),
    }
}

fn attach_error(name: &str, user: &str, e: &io::Error) -> UplinkError {
    let device = format!("The network device {name}");
    match e.kind() {
        io::ErrorKind::PermissionDenied => UplinkError::passing(format!(
            "{device} is not a tap of {user}: have the administrator make it so, with \
             ip tuntap add dev {name} mode tap user {user} (or group GROUP)."
        )),
        io::ErrorKind::ResourceBusy => UplinkError::passing(format!(
            "{device} is in use by another program, or by another network of netherd; only one program can use a \
            tap at a time."
        )),
        io::ErrorKind::InvalidInput => UplinkError::passing(format!(
            "{device} is not a tap with one queue that can carry vnet headers; make it with ip tuntap add dev \
             {name} mode tap user {user}."
        )),
        _ => UplinkError::passing(format!("{device} cannot be opened: {e}.")),
    }
}

/// The character device of a macvtap, if there is one of this name now.
#[must_use]
pub fn macvtap_file(name: &str) -> Option<PathBuf> {
    let index = Netlink::open().and_then(|mut netlink| netlink.link(name)).ok()?.index;
    Some(PathBuf::from(format!("/dev/tap{index}")))
}

pub(super) fn open_macvtap(name: &str) -> Result<Opened, UplinkError> {
    let user = user();
    let make = format!(
        "ip link add link DEVICE name {name} type macvtap mode passthru && \
         ip link set {name} up allmulticast on"
    );
    let link = device(name, "macvtap", &make)?;
    let path = PathBuf::from(format!("/dev/tap{}", link.index));
    let file = tap::open_device_at(&path).map_err(|e| {
        let path = path.display();
        UplinkError::passing(match e.kind() {
            io::ErrorKind::NotFound => format!(
                "The network device {name} has no {path}: it is not a macvtap, or udev has not made the file yet."
            ),
            io::ErrorKind::PermissionDenied => format!(
                "{path}, the other end of the macvtap {name}, may not be opened by {user}: have the administrator \
                 give it to you, with chown {user} {path} or a udev rule."
            ),
            io::ErrorKind::ResourceBusy => format!(
                "{path}, the other end of the macvtap {name}, is in use by another program."
            ),
            _ => format!("{path}, the other end of the macvtap {name}, cannot be opened: {e}."),
        })
    })?;
    match tap::create(file, name) {
        Ok(tap) => Ok(opened(tap.fd, tap.offloads, &link, true)),
        Err(e) => Err(UplinkError::passing(format!(
            "The macvtap {name} does not accept frames with vnet headers: {e}."
        ))),
    }
}

/// Our name, for commands that are to be typed.
fn user() -> String {
    let uid = sys::unix::effective_uid();
    match sys::user::by_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_missing_is_a_sentence_that_says_how_to_make_it() {
        for (opened, word) in [
            (open("netherd-none"), "mode tap user"),
            (open_macvtap("netherd-none"), "type macvtap"),
        ] {
            let error = opened.expect_err("no such device");
            assert!(error.sentence.contains("There is no network device netherd-none"));
            assert!(error.sentence.contains(word), "{error}");
            assert!(error.passing);
        }
    }

    #[test]
    fn loopback_is_no_tap() {
        let error = open_macvtap("lo").expect_err("no character device");
        assert!(error.sentence.contains("it is not a macvtap"), "{error}");
    }
}
