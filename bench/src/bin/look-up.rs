//! Measures look-ups of a name over UDP (RFC 1035), or answers them.
//!
//! Every look-up is for another name, so that nothing on the way can have it already, and comes from
//! a socket of its own, as those of the C library do. The answerer says 192.0.2.1 to everything. Prints one JSON object, times in microseconds.

#![forbid(unsafe_code)]

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bench::load::Times;
use clap::{Parser, Subcommand};

/// The largest message without EDNS (RFC 1035, 2.3.4).
const MESSAGE_MAX: usize = 512;
/// Look-ups before the first that counts.
const WARM_UP: u32 = 20;
/// Standard query, recursion desired.
const QUERY: [u8; 2] = [0x01, 0x00];
/// Response, recursion desired and available, no error.
const RESPONSE: [u8; 2] = [0x81, 0x80];
/// Type A, class IN.
const A_IN: [u8; 4] = [0, 1, 0, 1];

#[derive(Parser)]
#[command(about = "Measures look-ups of a name over UDP, or answers them")]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Answer every query at this address, for ever.
    Answer { at: SocketAddr },
    /// Ask the name server at this address.
    Ask {
        to: SocketAddr,
        #[arg(long)]
        seconds: f64,
    },
}

fn main() -> io::Result<()> {
    match Arguments::parse().role {
        Role::Answer { at } => answer(at),
        Role::Ask { to, seconds } => ask(to, seconds),
    }
}

fn answer(at: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind(at)?;
    let mut message = [0; MESSAGE_MAX];
    loop {
        let (length, from) = socket.recv_from(&mut message)?;
        let Some(response) = respond(&message[..length]) else { continue };
        socket.send_to(&response, from)?;
    }
}

/// The query's header and question, and one record. Whatever else it had is left out.
fn respond(query: &[u8]) -> Option<Vec<u8>> {
    let mut end = 12;
    loop {
        match *query.get(end)? {
            0 => break,
            length => end += 1 + usize::from(length),
        }
    }
    let question = query.get(12..end + 1 + A_IN.len())?;
    let mut response = Vec::with_capacity(MESSAGE_MAX);
    response.extend_from_slice(&query[..2]);
    response.extend_from_slice(&RESPONSE);
    response.extend_from_slice(&[0, 1, 0, 1, 0, 0, 0, 0]);
    response.extend_from_slice(question);
    // The name is that of the question, at offset 12; one minute; four bytes.
    response.extend_from_slice(&[0xc0, 12]);
    response.extend_from_slice(&A_IN);
    response.extend_from_slice(&[0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    Some(response)
}

fn ask(to: SocketAddr, seconds: f64) -> io::Result<()> {
    let length_of_run = Duration::try_from_secs_f64(seconds).map_err(io::Error::other)?;
    // Names that no earlier run asked for.
    let run = std::process::id();
    for number in 0..WARM_UP {
        look_up(to, run, number)?;
    }
    let times = Times::take(length_of_run, WARM_UP, |number| look_up(to, run, number))?;
    println!("{}", times.to_json("look_ups"));
    Ok(())
}

/// The time from the socket's beginning. `None` when no answer came in time.
fn look_up(to: SocketAddr, run: u32, number: u32) -> io::Result<Option<Duration>> {
    let id = (number & 0xffff) as u16;
    let mut query = Vec::with_capacity(MESSAGE_MAX);
    query.extend_from_slice(&id.to_be_bytes());
    query.extend_from_slice(&QUERY);
    query.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    for label in [format!("n{number}"), format!("r{run}"), "example".into(), "org".into()] {
        query.push(u8::try_from(label.len()).map_err(io::Error::other)?);
        query.extend_from_slice(label.as_bytes());
    }
    query.push(0);
    query.extend_from_slice(&A_IN);
    let start = Instant::now();
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    socket.send(&query)?;
    let mut answer = [0; MESSAGE_MAX];
    loop {
        match socket.recv(&mut answer) {
            Ok(length) if length > 12 && answer[..2] == query[..2] => {
                // Code 0 and at least one record: anything else would be an answer of its own.
                if answer[3] & 0x0f != 0 || answer[6..8] == [0, 0] {
                    return Err(io::Error::other(format!("refused: {:02x?}", &answer[..12])));
                }
                return Ok(Some(start.elapsed()));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_quotes_its_question() {
        let mut query = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'x', 0];
        query.extend_from_slice(&A_IN);
        let response = respond(&query).unwrap();
        assert_eq!(response[..4], [0xab, 0xcd, 0x81, 0x80]);
        assert_eq!(response[12..19], query[12..]);
        assert_eq!(response[response.len() - 4..], [192, 0, 2, 1]);
        assert_eq!(respond(&query[..16]), None);
    }
}
