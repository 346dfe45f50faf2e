//! Makes TCP connections: one after the other with a request and its answer each, or very many
//! that stay.
//!
//! ```text
//! connect-load answer 198.51.100.2:7003
//! connect-load ask 198.51.100.2:7003 --seconds 3
//! connect-load hold 198.51.100.2:7003 --connections 10000
//! ```
//!
//! `ask` prints one JSON object, times in microseconds. `hold` prints a line when all are open and
//! holds them until its standard input ends. The answerer closes a connection as soon as it has
//! answered, so that no port of the asking side stays occupied.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bench::load::Times;
use clap::{Parser, Subcommand};
use rustix::event::epoll;
use rustix::net::{SocketFlags, accept_with};

/// Bytes of a request, and of its answer.
const SIZE: usize = 64;
/// Connections before the first that counts.
const WARM_UP: usize = 20;
/// Longer than this without an answer is a failure.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Parser)]
#[command(about = "Makes TCP connections with one request each, or many that stay")]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Answer one request on every connection to this address, for ever.
    Answer { at: SocketAddr },
    /// Connect, ask, read the answer until its end, close: again and again.
    Ask {
        to: SocketAddr,
        #[arg(long)]
        seconds: f64,
    },
    /// Open many connections and keep them.
    Hold {
        to: SocketAddr,
        #[arg(long)]
        connections: usize,
    },
}

fn main() -> io::Result<()> {
    match Arguments::parse().role {
        Role::Answer { at } => answer(at),
        Role::Ask { to, seconds } => ask(to, seconds),
        Role::Hold { to, connections } => hold(to, connections),
    }
}

/// One thread, one epoll: connections that are held cost nothing here but their descriptor.
fn answer(at: SocketAddr) -> io::Result<()> {
    const LISTENER: u64 = u64::MAX;
    let listener = TcpListener::bind(at)?;
    // The queue of the standard library holds 128: a burst of connections is no subject here.
    rustix::net::listen(&listener, 4096)?;
    listener.set_nonblocking(true)?;
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let readable = epoll::EventFlags::IN;
    epoll::add(&poller, &listener, epoll::EventData::new_u64(LISTENER), readable)?;
    let mut open: Vec<Option<TcpStream>> = Vec::new();
    let mut free = Vec::new();
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        epoll::wait(&poller, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let data = event.data.u64();
            if data == LISTENER {
                while let Ok(fd) =
                    accept_with(&listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
                {
                    let place = free.pop().unwrap_or_else(|| {
                        open.push(None);
                        open.len() - 1
                    });
                    epoll::add(&poller, &fd, epoll::EventData::new_u64(place as u64), readable)?;
                    open[place] = Some(TcpStream::from(fd));
                }
                continue;
            }
            let place = usize::try_from(data).map_err(io::Error::other)?;
            let Some(mut stream) = open.get_mut(place).and_then(Option::take) else { continue };
            let mut request = [0; SIZE];
            if matches!(stream.read(&mut request), Ok(SIZE)) {
                // Who has gone meanwhile needs no answer.
                let _gone = stream.write(&request);
            }
            free.push(place);
        }
    }
}

fn ask(to: SocketAddr, seconds: f64) -> io::Result<()> {
    let length_of_run = Duration::try_from_secs_f64(seconds).map_err(io::Error::other)?;
    for _ in 0..WARM_UP {
        exchange(to)?;
    }
    let times = Times::take(length_of_run, 0, |_| exchange(to).map(Some))?;
    println!("{}", times.to_json("connections"));
    Ok(())
}

/// One connection from its beginning to its end.
fn exchange(to: SocketAddr) -> io::Result<Duration> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[b'?'; SIZE])?;
    let mut answer = Vec::with_capacity(SIZE);
    stream.read_to_end(&mut answer)?;
    if answer.len() != SIZE {
        return Err(io::Error::other(format!("an answer of {} bytes", answer.len())));
    }
    drop(stream);
    Ok(start.elapsed())
}

fn hold(to: SocketAddr, connections: usize) -> io::Result<()> {
    let start = Instant::now();
    let held = (0..connections).map(|_| TcpStream::connect(to)).collect::<io::Result<Vec<_>>>()?;
    println!(
        r#"{{"connections": {}, "seconds": {:.4}}}"#,
        held.len(),
        start.elapsed().as_secs_f64()
    );
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
