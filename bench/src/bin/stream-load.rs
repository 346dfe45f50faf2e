//! Load generator and counter for `stream` nodes: two local clients that batch.
//!
//! One client connects to each of two nodes (which may be the same). The second introduces itself
//! with one frame to all; then the first sends frames to it, many records in one write, and the
//! second counts what arrives. Prints one JSON object.
//!
//! ```text
//! stream-load DIR/stream [--to OTHER/stream] --frame 64 --seconds 5 [--batch 64]
//! ```
#![forbid(unsafe_code)]

use std::io::{ErrorKind, Read, Write};
use std::net::Ipv6Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wire::MacAddr;
use wire::build::{Builder, Ipv6};

/// Bytes of the big-endian length before each frame.
const PREFIX_LEN: usize = 4;

/// The shortest frame that the network carries for any client: a UDP datagram of IPv6 without
/// payload.
const FRAME_MIN: usize = 14 + 40 + 8;

/// The longest that an ordinary network carries, for the buffers here: a jumbo frame.
const FRAME_MAX: usize = 65_549;

const SENDER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const RECEIVER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];

/// All stations (RFC 2464, 7; RFC 4291, 2.7.1).
const ALL: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// After the sender's end, how long nothing may arrive before counting ends.
const SILENCE: Duration = Duration::from_millis(200);

struct Options {
    from: PathBuf,
    to: PathBuf,
    size: usize,
    seconds: f64,
    batch: usize,
}

struct Count {
    frames: u64,
    bytes: u64,
    first: Instant,
    last: Instant,
}

fn main() -> ExitCode {
    let result = options(std::env::args().skip(1)).and_then(|options| run(&options));
    match result {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("stream-load: {why}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options =
        Options { from: PathBuf::new(), to: PathBuf::new(), size: 64, seconds: 5.0, batch: 64 };
    while let Some(name) = arguments.next() {
        if !name.starts_with("--") {
            options.from = name.into();
            continue;
        }
        let value = arguments.next().ok_or(format!("{name} needs a value"))?;
        let bad = |_| format!("{name} {value}: not a number");
        match name.as_str() {
            "--to" => options.to = value.into(),
            "--frame" => options.size = value.parse().map_err(bad)?,
            "--batch" => options.batch = value.parse().map_err(bad)?,
            "--seconds" => {
                options.seconds = value.parse().map_err(|_| format!("{value}: not a number"))?;
            }
            _ => {
                return Err(format!(
                    "{name} is unknown; use NODE [--to NODE] --frame BYTES --seconds S \
                     [--batch FRAMES]"
                ));
            }
        }
    }
    if options.from.as_os_str().is_empty() {
        return Err("name a stream node: its path, as the first argument".into());
    }
    if options.to.as_os_str().is_empty() {
        options.to.clone_from(&options.from);
    }
    if !(FRAME_MIN..=FRAME_MAX).contains(&options.size) || options.batch == 0 {
        return Err(format!("--frame must be {FRAME_MIN} to {FRAME_MAX} and --batch at least 1"));
    }
    if !(0.0..=3600.0).contains(&options.seconds) {
        return Err("--seconds must be 0 to 3600".into());
    }
    Ok(options)
}

fn run(options: &Options) -> Result<String, String> {
    let mut sender = connect(&options.from)?;
    let mut receiver = connect(&options.to)?;
    receiver
        .write_all(&record(frame(RECEIVER, ALL, FRAME_MIN)?))
        .map_err(|e| format!("{}: {e}", options.to.display()))?;
    wait_for_broadcast(&mut sender)?;

    let done = Arc::new(AtomicBool::new(false));
    let counter = {
        let done = Arc::clone(&done);
        std::thread::spawn(move || count(receiver, &done))
    };
    // What floods back to the sender (nothing should) must not fill its socket.
    let burst = record(frame(SENDER, RECEIVER, options.size)?).repeat(options.batch);
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(options.seconds);
    let mut sent = 0_u64;
    while Instant::now() < end {
        sender.write_all(&burst).map_err(|e| format!("sending failed: {e}"))?;
        sent += options.batch as u64;
    }
    let sending = start.elapsed();
    done.store(true, Ordering::Relaxed);
    let count = counter.join().map_err(|_| "the counting thread failed".to_owned())??;
    let seconds = count.last.saturating_duration_since(count.first).as_secs_f64();
    let rate = |n: f64| if seconds > 0.0 { n / seconds } else { 0.0 };
    // Precise enough for a rate: 2^53 frames are years.
    let (frames, bytes) = (count.frames as f64, count.bytes as f64);
    Ok(format!(
        "{{\"frame\":{},\"batch\":{},\"sent_frames\":{},\"sending_seconds\":{:.3},\
         \"frames\":{},\"seconds\":{:.3},\"frames_per_second\":{:.0},\
         \"bits_per_second\":{:.0}}}",
        options.size,
        options.batch,
        sent,
        sending.as_secs_f64(),
        count.frames,
        seconds,
        rate(frames),
        rate(bytes * 8.0),
    ))
}

fn connect(path: &std::path::Path) -> Result<UnixStream, String> {
    let fd: OwnedFd = sys::unix::connect_path(path, sys::unix::SocketKind::Stream)
        .map_err(|e| format!("{} cannot be opened: {e}; is the network up?", path.display()))?;
    Ok(fd.into())
}

/// A datagram between the link-local addresses that follow from the Ethernet addresses: a client of
/// a node has these without being given any.
fn frame(from: [u8; 6], to: [u8; 6], len: usize) -> Result<Vec<u8>, String> {
    let station = |mac| Ipv6Addr::from(MacAddr(mac).eui64_link_local());
    let destination = if to == ALL { ALL_NODES } else { station(to) };
    let mut frame = vec![0; len];
    Builder::new(&mut frame)
        .ethernet(MacAddr(to), MacAddr(from))
        .ipv6(&Ipv6 { source: station(from), destination, ..Ipv6::default() })
        .udp(4000, 4000)
        .payload(&vec![0x5a; len.saturating_sub(FRAME_MIN)])
        .finish()
        .map_err(|_| format!("a frame of {len} bytes holds no datagram"))?;
    Ok(frame)
}

fn record(frame: Vec<u8>) -> Vec<u8> {
    let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    [len.to_be_bytes().to_vec(), frame].concat()
}

/// The receiver's broadcast has passed: the network knows where it is.
fn wait_for_broadcast(sender: &mut UnixStream) -> Result<(), String> {
    let failed = |e: std::io::Error| {
        format!("the network did not carry the receiver's first frame within 5 s: {e}")
    };
    sender.set_read_timeout(Some(Duration::from_secs(5))).map_err(failed)?;
    let mut buffer = [0; PREFIX_LEN + FRAME_MIN];
    sender.read_exact(&mut buffer).map_err(failed)
}

/// Counts records until the sender is done and nothing has come for a while.
fn count(mut receiver: UnixStream, done: &AtomicBool) -> Result<Count, String> {
    let now = Instant::now();
    let mut count = Count { frames: 0, bytes: 0, first: now, last: now };
    let mut buffer = vec![0; 256 * 1024];
    // Bytes of the next record's prefix or body that lie before the buffer's start.
    let mut kept = 0;
    receiver.set_read_timeout(Some(SILENCE)).map_err(|e| e.to_string())?;
    loop {
        match receiver.read(&mut buffer[kept..]) {
            Ok(0) => return Err("the network closed the receiver's port".into()),
            Ok(n) => {
                if count.frames == 0 && kept == 0 {
                    count.first = Instant::now();
                }
                let filled = kept + n;
                let used = walk(&buffer[..filled], &mut count);
                buffer.copy_within(used..filled, 0);
                kept = filled - used;
                count.last = Instant::now();
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if done.load(Ordering::Relaxed) {
                    return Ok(count);
                }
            }
            Err(e) => return Err(format!("receiving failed: {e}")),
        }
    }
}

/// Counts the whole records at the front; returns how many bytes they are.
fn walk(bytes: &[u8], count: &mut Count) -> usize {
    let mut used = 0;
    while let Some(prefix) = bytes[used..].first_chunk::<PREFIX_LEN>() {
        let len = u32::from_be_bytes(*prefix) as usize;
        if bytes.len() - used - PREFIX_LEN < len {
            break;
        }
        used += PREFIX_LEN + len;
        count.frames += 1;
        count.bytes += len as u64;
    }
    used
}
