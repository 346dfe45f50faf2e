//! A bad wire: it loses frames, takes its time and has a rate, the same in both directions.
//!
//! Between two taps, or between a tap and the `stream` node of a hypervisor, as its client. Frames
//! that find the queue full are lost too. Losses are independent of each other and follow from
//! `--seed`.
//!
//! ```text
//! lossy-link tap PID-A PID-B --loss 0.01 --rate-mbit 200 --delay-us 2000
//! lossy-link stream PATH --loss 0.01 --rate-mbit 200 --delay-us 2000
//! ```
//!
//! The taps must leave nothing undone (no segmentation, no partial checksums): `ethtool -K` says
//! so. `tap` must be started as root, since it enters two network namespaces; with `stream` the tap
//! `eth0` is the one of this process's own.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read, write};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The vnet header that a tap has before each frame; here always zero.
const VNET: usize = 12;
/// Bytes of the big-endian length before each frame of a stream.
const PREFIX: usize = 4;
const FRAME_MAX: usize = 65_549;

#[derive(Parser)]
#[command(about = "Forwards frames between two links and loses some")]
struct Arguments {
    #[command(subcommand)]
    links: Links,
    #[command(flatten)]
    wire: Wire,
}

#[derive(Subcommand)]
enum Links {
    /// Between a new tap `eth0` in the network namespace of each process.
    Tap { a: u32, b: u32 },
    /// Between the tap `eth0` of this network namespace and a `stream` node.
    Stream { node: PathBuf },
}

#[derive(Args, Clone, Copy)]
struct Wire {
    /// The part of the frames that is lost, from 0 to 1.
    #[arg(long, global = true, default_value_t = 0.01)]
    loss: f64,
    /// Bits per second in each direction, in millions.
    #[arg(long, global = true, default_value_t = 200)]
    rate_mbit: u64,
    /// From one end to the other.
    #[arg(long, global = true, default_value_t = 2_000)]
    delay_us: u64,
    /// A frame that would wait longer for its turn than this is lost.
    #[arg(long, global = true, default_value_t = 20_000)]
    queue_us: u64,
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
}

/// One end of the wire; both directions at once, from two threads.
enum End {
    Tap(OwnedFd),
    Stream(UnixStream),
}

impl End {
    fn another(&self) -> io::Result<End> {
        Ok(match self {
            End::Tap(fd) => End::Tap(fd.try_clone()?),
            End::Stream(stream) => End::Stream(stream.try_clone()?),
        })
    }

    /// The next frame, appended to nothing.
    fn take(&mut self) -> io::Result<Vec<u8>> {
        match self {
            End::Tap(fd) => {
                let mut buffer = vec![0; VNET + FRAME_MAX];
                loop {
                    match read(&*fd, &mut buffer[..]) {
                        Ok(length) if length >= VNET => {
                            return Ok(buffer[VNET..length].to_vec());
                        }
                        Ok(_) => {}
                        Err(Errno::AGAIN) => {
                            poll(&mut [PollFd::new(&*fd, PollFlags::IN)], None)?;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            End::Stream(stream) => {
                let mut prefix = [0; PREFIX];
                stream.read_exact(&mut prefix)?;
                let length = u32::from_be_bytes(prefix) as usize;
                if length > FRAME_MAX {
                    return Err(io::Error::other(format!("a frame of {length} bytes")));
                }
                let mut frame = vec![0; length];
                stream.read_exact(&mut frame)?;
                Ok(frame)
            }
        }
    }

    fn give(&mut self, frame: &[u8]) -> io::Result<()> {
        match self {
            End::Tap(fd) => {
                let mut buffer = vec![0; VNET];
                buffer.extend_from_slice(frame);
                match write(&*fd, &buffer) {
                    // Full or down: lost, as on any wire.
                    Ok(_) | Err(Errno::AGAIN | Errno::IO | Errno::NOBUFS) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
            End::Stream(stream) => {
                let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
                let mut record = length.to_be_bytes().to_vec();
                record.extend_from_slice(frame);
                stream.write_all(&record)
            }
        }
    }
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let tap = || Ok(End::Tap(sys::tap::open("eth0")?.fd));
    let (a, b) = match arguments.links {
        Links::Tap { a, b } => (within(a, tap)?, within(b, tap)?),
        Links::Stream { node } => (tap()?, End::Stream(UnixStream::connect(node)?)),
    };
    let wire = arguments.wire;
    println!("forwarding");
    for (number, from, to) in [(1, a.another()?, b.another()?), (2, b.another()?, a.another()?)] {
        let (sender, receiver) = channel();
        let seed = wire.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number);
        thread::spawn(move || ended("reading", &enter(wire, seed, from, &sender)));
        thread::spawn(move || ended("writing", &leave(to, &receiver)));
    }
    loop {
        thread::park();
    }
}

/// With one direction the wire is gone.
fn ended(what: &str, result: &io::Result<()>) {
    eprintln!("lossy-link: {what} ended: {result:?}");
    std::process::exit(1);
}

/// Runs `open` in the network namespace of process `pid`. This thread stays there.
fn within(pid: u32, open: impl FnOnce() -> io::Result<End>) -> io::Result<End> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    open()
}

/// Frames go onto the wire; each leaves it at a moment that is known then.
fn enter(wire: Wire, seed: u64, mut from: End, to: &Sender<(Instant, Vec<u8>)>) -> io::Result<()> {
    let lost = (wire.loss.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
    let delay = Duration::from_micros(wire.delay_us);
    let patience = Duration::from_micros(wire.queue_us);
    let mut state = seed;
    let mut free_at = Instant::now();
    loop {
        let frame = from.take()?;
        let now = Instant::now();
        free_at = free_at.max(now);
        if random(&mut state) < lost || free_at - now > patience {
            continue;
        }
        let nanos = frame.len() as u64 * 8 * 1_000 / wire.rate_mbit.max(1);
        free_at += Duration::from_nanos(nanos);
        if to.send((free_at + delay, frame)).is_err() {
            return Ok(());
        }
    }
}

fn leave(mut to: End, from: &Receiver<(Instant, Vec<u8>)>) -> io::Result<()> {
    while let Ok((due, frame)) = from.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        to.give(&frame)?;
    }
    Ok(())
}

/// splitmix64, by Steele, Lea and Flood ("Fast splittable pseudorandom number generators", 2014).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
