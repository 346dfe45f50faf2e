//! The forwarder that anyone writes first: poll, read one frame, write it to the other side.
//!
//! Two modes, each with the same kind of link that netherd uses: two taps with vnet headers and
//! every offload, or two packet sockets with vnet headers on the outer ends of veth pairs. It
//! looks at nothing and may go wherever the frame goes next, so it is the yardstick of what the
//! links themselves cost.
//!
//! Must be started as root: it enters the two network namespaces that it connects.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use clap::{Parser, Subcommand};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read, write};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The vnet header and the largest frame with segmentation left undone.
const BUFFER: usize = 12 + 65_536 + 18;
/// Receive and send buffer of a packet socket, the size netherd asks for.
const SOCKET_BUFFER: usize = 4 << 20;

#[derive(Parser)]
#[command(about = "Forwards frames between two links, as simply as can be")]
struct Arguments {
    #[command(subcommand)]
    links: Links,
}

#[derive(Subcommand)]
enum Links {
    /// Between a new tap `eth0` in the network namespace of each process.
    Tap { a: u32, b: u32 },
    /// Between packet sockets on this interface in the network namespace of each process.
    Packet { a: u32, b: u32, interface: String },
}

fn main() -> io::Result<()> {
    let (a, b) = match Arguments::parse().links {
        Links::Tap { a, b } => {
            let tap = || Ok(sys::tap::open("eth0")?.fd);
            (within(a, tap)?, within(b, tap)?)
        }
        Links::Packet { a, b, interface } => {
            let packet = || {
                let any = socket_with(
                    AddressFamily::INET,
                    SocketType::DGRAM,
                    SocketFlags::CLOEXEC,
                    None,
                )?;
                sys::packet::open(name_to_index(&any, &interface)?, SOCKET_BUFFER)
            };
            (within(a, packet)?, within(b, packet)?)
        }
    };
    println!("forwarding");
    forward(&a, &b)
}

/// Runs `open` in the network namespace of process `pid`. This thread stays there.
fn within(pid: u32, open: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<OwnedFd> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    open()
}

fn forward(a: &OwnedFd, b: &OwnedFd) -> io::Result<()> {
    let mut buffer = vec![0_u8; BUFFER];
    loop {
        let mut ready = [PollFd::new(a, PollFlags::IN), PollFd::new(b, PollFlags::IN)];
        poll(&mut ready, None)?;
        let ready = ready.map(|fd| !fd.revents().is_empty());
        for (is_ready, from, to) in [(ready[0], a, b), (ready[1], b, a)] {
            if !is_ready {
                continue;
            }
            let length = match read(from, &mut buffer) {
                Ok(length) => length,
                Err(Errno::AGAIN) => continue,
                Err(error) => return Err(error.into()),
            };
            match write(to, &buffer[..length]) {
                // Full, down, or a frame that the link cannot take: lost, as on any wire.
                Ok(_)
                | Err(
                    Errno::AGAIN
                    | Errno::IO
                    | Errno::NOBUFS
                    | Errno::INVAL
                    | Errno::NETDOWN
                    | Errno::MSGSIZE,
                ) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
