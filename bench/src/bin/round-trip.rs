//! Measures round trips of a small UDP datagram, or answers them.
//!
//! With a pause both sides, and what lies between, go to sleep before each datagram: that is the
//! idle round trip. Without, the next datagram leaves when the answer is there: back to back.
//! Prints one JSON object, times in microseconds.

#![forbid(unsafe_code)]

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bench::load::Times;
use clap::{Parser, Subcommand};

/// Payload bytes unless said otherwise, about those of a request of a small RPC.
const SIZE: usize = 32;
/// The most that one datagram carries here.
const SIZE_MAX: usize = 1472;
/// Round trips before the first that counts: neighbour resolution, cold caches.
const WARM_UP: u32 = 20;

#[derive(Parser)]
#[command(about = "Measures round trips of a UDP datagram, or answers them")]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Answer every datagram at this address, for ever.
    Answer { at: SocketAddr },
    /// Measure to this address.
    Ask {
        to: SocketAddr,
        /// Pause before each datagram; 0 is back to back.
        #[arg(long, default_value_t = 0)]
        pause_us: u64,
        #[arg(long)]
        seconds: f64,
        /// Payload bytes of a datagram, 4 to 1472.
        #[arg(long, default_value_t = SIZE as u16, value_parser = clap::value_parser!(u16).range(4..=SIZE_MAX as i64))]
        size: u16,
    },
}

fn main() -> io::Result<()> {
    match Arguments::parse().role {
        Role::Answer { at } => answer(at),
        Role::Ask { to, pause_us, seconds, size } => {
            ask(to, Duration::from_micros(pause_us), seconds, size.into())
        }
    }
}

fn answer(at: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind(at)?;
    let mut datagram = [0; SIZE_MAX];
    loop {
        let (length, from) = socket.recv_from(&mut datagram)?;
        socket.send_to(&datagram[..length], from)?;
    }
}

fn ask(to: SocketAddr, pause: Duration, seconds: f64, size: usize) -> io::Result<()> {
    let length_of_run = Duration::try_from_secs_f64(seconds).map_err(io::Error::other)?;
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    for number in 0..WARM_UP {
        // The first may wait for an answer to ARP; a lost one is only late.
        let _ = round_trip(&socket, number, size);
    }
    let times = Times::take(length_of_run, WARM_UP, |number| {
        if !pause.is_zero() {
            sleep(pause);
        }
        round_trip(&socket, number, size)
    })?;
    println!("{}", times.to_json("round_trips"));
    Ok(())
}

/// `None` when no answer came in time. Answers to earlier, late datagrams are skipped.
fn round_trip(socket: &UdpSocket, number: u32, size: usize) -> io::Result<Option<Duration>> {
    let mut datagram = [0; SIZE_MAX];
    datagram[..4].copy_from_slice(&number.to_be_bytes());
    let start = Instant::now();
    socket.send(&datagram[..size])?;
    let mut answer = [0; SIZE_MAX];
    loop {
        match socket.recv(&mut answer) {
            Ok(_) if answer[..4] == datagram[..4] => return Ok(Some(start.elapsed())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}
