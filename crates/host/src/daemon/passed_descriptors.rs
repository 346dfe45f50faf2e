//! The descriptors that a `link` brings: looked at before anything else is done with them.

use std::os::fd::{AsFd, OwnedFd};

use crate::api::message::{Code, Failure, LinkArgs, LinkMechanism};
use crate::closer;

/// Those of a link and of its guest's namespaces, if that is what they are. A client's file or socket of another kind
/// could make whoever asks it anything, or closes it, wait: nothing else is asked, and the [`closer`] closes it.
pub(super) fn check(args: &LinkArgs, fds: Vec<OwnedFd>, uid: u32) -> Result<Vec<OwnedFd>, Failure> {
    let mut names = args.namespaces.iter();
    let wrong = fds.iter().enumerate().find_map(|(position, fd)| {
        let fd = fd.as_fd();
        let (is_right, what, expected) = match (position, args.link) {
            (0, LinkMechanism::Tap) => {
                (sys::tap::is_tun(fd), "its link", "opened from /dev/net/tun")
            }
            (0, LinkMechanism::Packet) => {
                (sys::packet::is_packet(fd), "its link", "a packet socket")
            }
            _ => {
                let name = names.next().map_or("more", String::as_str);
                if name == "init" {
                    (sys::process::is_pidfd(fd), name, "of a process")
                } else {
                    (sys::ns::is_namespace(fd), name, "a namespace")
                }
            }
        };
        match is_right {
            Ok(true) => None,
            Ok(false) => Some(format!("The descriptor for {what} was not {expected}.")),
            Err(error) => Some(format!("The descriptor for {what} cannot be looked at: {error}.")),
        }
    });
    let Some(message) = wrong else { return Ok(fds) };
    closer::close(uid, fds);
    Err(Failure::new(Code::BadArgument, message))
}
