//! Offers UDP frames of one size at a constant rate, or counts those that arrive.
//!
//! The sender hands the kernel up to 32 datagrams at a time, so that it costs less than what it
//! loads, and sleeps between: on a small machine a spinning sender would take the processor from
//! the forwarder. The receiver counts until the sender's end marks, and also counts datagrams
//! that came out of order, which a switch must never cause within a flow.
//!
//! Both print one JSON object.

#![forbid(unsafe_code)]

use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bench::load::{Pace, UDP_IPV4_HEADERS};
use clap::{Parser, Subcommand};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg, sockopt};
use rustix::thread::set_current_timer_slack;

/// Datagrams in one system call.
const BATCH: usize = 32;
/// Between two bursts of a slow load.
const SHORTEST_SLEEP: Duration = Duration::from_micros(100);
/// The payload starts with the number of the datagram; this one ends the run.
const END: u64 = u64::MAX;
/// End marks are sent this often, as any of them may be lost.
const END_MARKS: u32 = 20;
/// A receiver that hears nothing for so long reports what it has.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Parser)]
#[command(about = "Offers UDP frames at a constant rate, or counts them")]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Send to this address.
    Send {
        to: SocketAddr,
        /// Bytes of a frame, from the Ethernet header on, without the check sequence.
        #[arg(long, default_value_t = 64)]
        frame: usize,
        /// Frames per second.
        #[arg(long)]
        rate: u64,
        #[arg(long)]
        seconds: f64,
    },
    /// Count what arrives at this address.
    Receive { at: SocketAddr },
}

fn main() -> io::Result<()> {
    match Arguments::parse().role {
        Role::Send { to, frame, rate, seconds } => send(to, frame, rate, seconds),
        Role::Receive { at } => receive(at),
    }
}

fn send(to: SocketAddr, frame: usize, rate: u64, seconds: f64) -> io::Result<()> {
    let length = frame.saturating_sub(UDP_IPV4_HEADERS).max(size_of::<u64>());
    let length_of_run = Duration::try_from_secs_f64(seconds).map_err(io::Error::other)?;
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect(to)?;
    set_current_timer_slack(NonZeroU64::new(1))?;
    let pace = Pace::new(rate);
    // At least so many at a time, as sleeping has its price; few, or queues would overflow by our
    // bursts.
    let burst = pace.due(SHORTEST_SLEEP).clamp(1, BATCH as u64 / 2);
    let mut payloads = vec![vec![0_u8; length]; BATCH];
    let mut sent = 0_u64;
    let start = Instant::now();
    let elapsed = loop {
        let elapsed = start.elapsed();
        if elapsed >= length_of_run {
            break elapsed;
        }
        let due = pace.due(elapsed).saturating_sub(sent);
        if due == 0 {
            sleep(pace.when(sent + burst).saturating_sub(elapsed));
            continue;
        }
        let count = usize::try_from(due).unwrap_or(BATCH).min(BATCH);
        for (number, payload) in (sent..).zip(&mut payloads[..count]) {
            payload[..8].copy_from_slice(&number.to_be_bytes());
        }
        sent += send_all(&socket, &payloads[..count])?;
    };
    for _ in 0..END_MARKS {
        sleep(Duration::from_millis(10));
        payloads[0][..8].copy_from_slice(&END.to_be_bytes());
        send_all(&socket, &payloads[..1])?;
    }
    println!(r#"{{"frames": {sent}, "seconds": {}}}"#, elapsed.as_secs_f64());
    Ok(())
}

/// Returns the number of datagrams that the kernel took. One that it refuses because a queue is
/// full is lost as on any network.
fn send_all(socket: &UdpSocket, payloads: &[Vec<u8>]) -> io::Result<u64> {
    let slices: Vec<[IoSlice<'_>; 1]> = payloads.iter().map(|p| [IoSlice::new(p)]).collect();
    let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> =
        payloads.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let mut messages: Vec<MMsgHdr<'_>> = slices
        .iter()
        .zip(&mut controls)
        .map(|(slice, control)| MMsgHdr::new(slice, control))
        .collect();
    match sendmmsg(socket, &mut messages, SendFlags::empty()) {
        Ok(taken) => Ok(taken as u64),
        Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::CONNREFUSED) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn receive(at: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind(at)?;
    // Refused without privilege above the system's limit; then the limit is what we get.
    if sockopt::set_socket_recv_buffer_size_force(&socket, 8 << 20).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, 8 << 20)?;
    }
    socket.set_read_timeout(Some(PATIENCE))?;
    let (mut frames, mut late, mut newest) = (0_u64, 0_u64, None);
    let mut payload = [0_u8; 8];
    loop {
        match socket.recv(&mut payload) {
            Ok(8..) => {}
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
        let number = u64::from_be_bytes(payload);
        if number == END {
            // One that comes before any frame was left under way by the run before.
            if frames == 0 {
                continue;
            }
            break;
        }
        frames += 1;
        if Some(number) < newest {
            late += 1;
        } else {
            newest = Some(number);
        }
    }
    println!(r#"{{"frames": {frames}, "out_of_order": {late}}}"#);
    Ok(())
}
