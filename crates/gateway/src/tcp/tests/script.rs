//! A language for tests of the translation: what a guest sends, what the host does, what must come
//! out, and time.
//!
//! One statement a line; `#` begins a comment.
//!
//! ```text
//! < S 0 win 65535 mss 1460 ws 7 sack   a segment of the guest: flags, sequence number
//! < PA 1+100 ack 1                     with 100 bytes of payload
//! <<                                   the same, and the table gets no turn yet
//! > SA 0 ack 1                         the next segment to the guest: exactly these flags,
//! > A 1+1000 ack 101 win 512 sack 5-9  number and length, and what else is said
//! > RA * ack 1                         a number that does not matter
//! drop                                 the next segment to the guest, whatever it is, is lost
//! +100ms, +2s                          time passes
//! mtu 65520                            the network's, which is 1500 otherwise
//! gone | addresses-gone                the guest, or what it had, is nobody's any more
//! close                                there is no way out any more
//! host connects | refuses | ...        see [`Script::host`]
//! host got 100 | aborted | ...         see [`Script::host_is`]
//! icmp no-port 0, icmp 1300 1          an ICMP error, or a path's MTU, about our segment with that number
//! v6 icmp 1279 1                       a statement for this version only
//! count tcp-challenge 1                a counter, since the beginning
//! flows 1                              connections
//! ```
//!
//! Numbers count from the initial sequence number of whoever sends them, so that a script runs
//! with any of them; [`run`] runs each with numbers that wrap within it and with others, over IPv4
//! and IPv6. Payload is made of the number's own bytes, so that every byte is checked wherever it
//! shows up. A segment that nothing in the script expects fails it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use engine::Instant;
use wire::Offload;
use wire::build::Tcp;
use wire::tcp::flag;

use super::super::harness::{FakeStream, Peer, Rig, Seen, edge, segment};
use super::super::key::{Key, Secret};
use super::super::options::{List, Options};
use super::super::seq::Seq;
use crate::backend::StreamError;
use crate::tcp::{IcmpError, Incoming, TcpLimits};
use crate::{GuestKey, Reason};

const GUEST: GuestKey = GuestKey(3);
const OTHER: GuestKey = GuestKey(4);

/// Runs a script for a connection that the guest opens, in all ways.
pub(super) fn run(text: &str) {
    run_with(text, TcpLimits::default());
}

pub(super) fn run_with(text: &str, limits: TcpLimits) {
    for v6 in [false, true] {
        for (ours, theirs) in [(5000, 1_000_000), (0xffff_fff0, 0xffff_ff80), (0x7fff_fff0, 0)] {
            let mut script = Script::new(v6, Seq(ours), Seq(theirs), limits);
            for (number, line) in text.lines().enumerate() {
                script.line(number + 1, line);
            }
            script.nothing("at the end");
        }
    }
}

/// The byte at a place of a stream, counted from the initial sequence number.
fn byte(place: u32) -> u8 {
    (place.wrapping_mul(2_654_435_761) >> 24) as u8
}

fn bytes(from: u32, len: u32) -> Vec<u8> {
    (from..from.wrapping_add(len)).map(byte).collect()
}

struct Script {
    rig: Rig,
    guest: SocketAddr,
    remote: SocketAddr,
    ours: Seq,
    theirs: Seq,
    /// Bytes that the host sent.
    sent: u32,
    peer: Option<Rc<RefCell<Peer>>>,
    /// The first number was chosen, so that the clock is free.
    started: bool,
    at: String,
}

impl Script {
    fn new(v6: bool, ours: Seq, theirs: Seq, limits: TcpLimits) -> Self {
        let (guest, remote): (SocketAddr, SocketAddr) = if v6 {
            ("[fd00::5]:49152".parse().unwrap(), "[2001:db8::9]:80".parse().unwrap())
        } else {
            ("10.0.0.5:49152".parse().unwrap(), "192.0.2.9:80".parse().unwrap())
        };
        // The clock starts when the number we want is the one to be chosen.
        let key = Key::new(guest, remote);
        let zero = Secret::new(&[7; 16]).initial_sequence(&key, Instant::EPOCH);
        let micros = u64::from(ours.0.wrapping_sub(zero.0)) * 4;
        let rig = Rig::new(limits, Instant::EPOCH + Duration::from_micros(micros));
        Self {
            rig,
            guest,
            remote,
            ours,
            theirs,
            sent: 0,
            peer: None,
            started: false,
            at: String::new(),
        }
    }

    fn line(&mut self, number: usize, line: &str) {
        let line = line.split('#').next().unwrap_or_default().trim();
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((&verb, words)) = words.split_first() else { return };
        self.at = format!("line {number}: {line} ({})", self.guest);
        if self.started {
            // Timers fire at whole milliseconds.
            let nanos = self.rig.now.as_nanos().next_multiple_of(1_000_000);
            self.rig.now = Instant::from_nanos(nanos);
        }
        match verb {
            "v4" | "v6" => {
                if (verb == "v6") == self.guest.is_ipv6() {
                    self.line(number, &words.join(" "));
                }
                return;
            }
            ">" => return self.expect(words),
            "drop" => {
                assert!(self.rig.take().is_some(), "{}: nothing to drop", self.at);
                return;
            }
            "count" => {
                let reason = Reason::ALL.iter().find(|r| r.name() == words[0]);
                let reason = *reason.unwrap_or_else(|| panic!("{}: no such counter", self.at));
                assert_eq!(self.rig.count(reason).to_string(), words[1], "{}", self.at);
                return;
            }
            "mtu" => {
                self.rig.mtu = words[0].parse().unwrap();
                return;
            }
            "flows" => {
                assert_eq!(self.rig.table.len().to_string(), words[0], "{}", self.at);
                return;
            }
            "empty" => {
                self.nothing("here");
                self.rig.assert_empty();
                return;
            }
            _ => {}
        }
        if verb == "host" && self.host_is(words) {
            return;
        }
        self.nothing("before");
        self.started = true;
        match verb {
            "<" | "<<" => {
                let bytes = self.segment(words);
                self.rig.receive(GUEST, &bytes, Offload::NONE);
                if verb == "<<" {
                    return;
                }
            }
            "host" => self.host(words),
            "icmp" => {
                let error = self.icmp(words[0], words.get(2));
                let sequence = (self.ours + words[1].parse::<u32>().unwrap()).0;
                let ends = (self.guest, self.remote);
                // Whoever else says it is not heard.
                let other = self
                    .rig
                    .with(|table, _, ctx| table.icmp_error(ctx, OTHER, ends, sequence, error));
                assert_eq!(other, Reason::TcpOtherGuest);
                let own = self
                    .rig
                    .with(|table, _, ctx| table.icmp_error(ctx, GUEST, ends, sequence, error));
                assert_eq!(own, Reason::IcmpAboutTcp);
            }
            "room" => self.rig.room.0.set(words[0].parse().unwrap_or(usize::MAX)),
            "addresses-gone" => {
                let addresses = self.guest.ip().into();
                self.rig.with(|table, now, ctx| table.addresses_gone(now, ctx, addresses));
            }
            "close" => self.rig.with(|table, now, ctx| table.close(now, ctx)),
            "gone" => self.rig.with(|table, now, ctx| table.guest_gone(now, ctx, GUEST)),
            time => self.rig.pass(duration(time)),
        }
        self.rig.turn();
    }

    /// Nothing comes out that was not expected.
    fn nothing(&mut self, when: &str) {
        if let Some(seen) = self.rig.take() {
            panic!("{} ({when}): unexpected {}", self.at, self.describe(&seen));
        }
    }

    fn describe(&self, seen: &Seen) -> String {
        let letters = [
            (flag::SYN, 'S'),
            (flag::FIN, 'F'),
            (flag::RST, 'R'),
            (flag::PSH, 'P'),
            (flag::ACK, 'A'),
        ];
        let flags: String =
            letters.iter().filter(|(bit, _)| seen.flags & bit != 0).map(|(_, c)| *c).collect();
        let mut text = format!("{flags} {}", seen.sequence.wrapping_sub(self.ours.0));
        if !seen.payload.is_empty() {
            text += &format!("+{}", seen.payload.len());
        }
        if seen.flags & flag::ACK != 0 {
            text += &format!(" ack {}", seen.acknowledgement.wrapping_sub(self.theirs.0));
        }
        text += &format!(" win {}", seen.window);
        if let Some(size) = seen.gso {
            text += &format!(" gso {size}");
        }
        let options = Options::parse(&seen.options);
        if let Some(mss) = options.mss {
            text += &format!(" mss {mss}");
        }
        if let Some(scale) = options.window_scale {
            text += &format!(" ws {scale}");
        }
        if options.sack_permitted {
            text += " sackok";
        }
        for (from, to) in options.blocks() {
            let (from, to) = (from.0.wrapping_sub(self.theirs.0), to.0.wrapping_sub(self.theirs.0));
            text += &format!(" sack {from}-{to}");
        }
        text
    }

    /// The next segment says all that the words say.
    fn expect(&mut self, words: &[&str]) {
        let Some(seen) = self.rig.take() else { panic!("{}: nothing came out", self.at) };
        assert_eq!((seen.guest, seen.remote), (self.guest, self.remote), "{}", self.at);
        let place = seen.sequence.wrapping_sub(self.ours.0);
        let payload = bytes(place, seen.payload.len() as u32);
        assert!(seen.payload == payload, "{}: wrong bytes at {place}", self.at);
        let text = self.describe(&seen);
        let said: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(said[0], words[0], "{}: got {text}", self.at);
        assert!(words[1] == "*" || words[1] == said[1], "{}: got {text}", self.at);
        let mut words = words[2..].iter();
        while let Some(word) = words.next() {
            if *word == "nosack" {
                assert!(!text.contains("sack"), "{}: got {text}", self.at);
                continue;
            }
            let flat = format!(" {text} ");
            let wanted = match *word {
                "sackok" => format!(" {word} "),
                _ => format!(" {word} {} ", words.next().unwrap()),
            };
            assert!(flat.contains(&wanted), "{}: got {text}", self.at);
        }
    }

    /// A segment of the guest.
    fn segment(&self, words: &[&str]) -> Vec<u8> {
        let mut flags = 0;
        for letter in words[0].chars() {
            flags |= match letter {
                'S' => flag::SYN,
                'F' => flag::FIN,
                'R' => flag::RST,
                'P' => flag::PSH,
                'A' => flag::ACK,
                'U' => flag::URG,
                '.' => 0,
                other => panic!("{}: flag {other}", self.at),
            };
        }
        let (place, len) = match words[1].split_once('+') {
            Some((place, len)) => (number(place), len.parse().unwrap()),
            None => (number(words[1]), 0),
        };
        let (mut ack, mut window, mut urgent) = (0, 0xffff, 0);
        let (mut mss, mut scale, mut sack, mut blocks) = (None, None, false, Vec::new());
        let mut words = words[2..].iter();
        while let Some(word) = words.next() {
            let mut value = || *words.next().unwrap();
            match *word {
                "ack" => ack = number(value()),
                "win" => window = value().parse().unwrap(),
                "urg" => urgent = value().parse().unwrap(),
                "mss" => mss = Some(value().parse().unwrap()),
                "ws" => scale = Some(value().parse().unwrap()),
                "sackok" => sack = true,
                "sack" => {
                    let (from, to) = value().split_once('-').unwrap();
                    blocks.push((self.ours + number(from), self.ours + number(to)));
                }
                other => panic!("{}: {other}", self.at),
            }
        }
        let list = match mss {
            Some(mss) => List::of_syn(mss, scale, sack),
            None => List::of_blocks(&blocks),
        };
        let header = Tcp {
            sequence: (self.theirs + place).0,
            acknowledgement: if flags & flag::ACK == 0 { 0 } else { (self.ours + ack).0 },
            flags,
            window,
            urgent,
            options: list.bytes(),
            ..Tcp::default()
        };
        // A SYN comes before the first byte.
        let first = place + u32::from(flags & flag::SYN != 0);
        segment(self.guest, self.remote, &header, &bytes(first, len))
    }

    /// An ICMP error, over either version, and how long the packet was that it quotes.
    fn icmp(&self, what: &str, quoted: Option<&&str>) -> IcmpError {
        let quoted = quoted.map_or(1500, |len| len.parse().unwrap());
        let v6 = self.guest.is_ipv6();
        let (kind, code) = match (what, v6) {
            ("no-route", false) => (3, 0),
            ("no-address", false) => (3, 1),
            ("no-protocol", false) => (3, 2),
            ("no-port", false) => (3, 3),
            ("prohibited", false) => (3, 13),
            ("expired", false) => (11, 0),
            ("parameter", false) => (12, 0),
            ("quench", false) => (4, 0),
            ("no-route", true) => (1, 0),
            ("no-address", true) => (1, 3),
            ("no-port", true) => (1, 4),
            ("prohibited", true) => (1, 1),
            ("expired", true) => (3, 0),
            ("parameter", true) => (4, 0),
            (mtu, true) => {
                let [a, b, c, d] = mtu.parse::<u32>().unwrap().to_be_bytes();
                return IcmpError::read(true, [2, 0, 0, 0, a, b, c, d], quoted);
            }
            (mtu, false) => {
                let [c, d] = mtu.parse::<u16>().unwrap().to_be_bytes();
                return IcmpError::read(false, [3, 4, 0, 0, 0, 0, c, d], quoted);
            }
        };
        IcmpError::read(v6, [kind, code, 0, 0, 0, 0, 0, 0], quoted)
    }

    fn peer(&self) -> Rc<RefCell<Peer>> {
        self.peer.clone().unwrap_or_else(|| self.rig.peer())
    }

    /// Something happens on the host's side.
    fn host(&mut self, words: &[&str]) {
        if words[0] == "accepts" {
            // A client outside connected to a published port.
            let stream = FakeStream::connected();
            self.peer = Some(Rc::clone(&stream.0));
            let incoming = Incoming {
                stream,
                client: self.remote,
                stand_in: false,
                guest: self.guest,
                owner: Some(GUEST),
            };
            return self.rig.with(|table, now, ctx| table.accepted(now, ctx, incoming));
        }
        if words[0] == "fails" {
            // The next connect fails at once.
            let error = error_of(words[1]);
            self.started = false;
            return self.rig.table.backend_mut().refusals.push_back(error);
        }
        let peer = self.peer();
        let mut event = edge(false, false, false);
        match words[0] {
            "connects" => return self.rig.connect(&peer, Ok(())),
            "refuses" => return self.rig.connect(&peer, Err(StreamError::Refused)),
            "answers" => return self.rig.connect(&peer, Err(error_of(words[1]))),
            "sends" | "queues" => {
                let len: u32 = words[1].parse().unwrap();
                peer.borrow_mut().sent.extend(bytes(self.sent + 1, len));
                self.sent += len;
                if words[0] == "queues" {
                    return;
                }
                event.readable = true;
            }
            "urgent" => {
                peer.borrow_mut().urgent_at = Some(u64::from(self.sent));
                event.urgent = true;
            }
            "ends" => {
                peer.borrow_mut().has_ended = true;
                (event.readable, event.hangup) = (true, true);
            }
            "resets" => {
                peer.borrow_mut().error = Some(StreamError::Reset);
                (event.readable, event.writable, event.hangup) = (true, true, true);
            }
            "room" => {
                let mut peer = peer.borrow_mut();
                peer.room = words[1].parse().unwrap_or(usize::MAX);
                event.writable = std::mem::take(&mut peer.was_full) && peer.room > 0;
            }
            "has-no-offsets" => peer.borrow_mut().has_no_offsets = true,
            "withholds" => peer.borrow_mut().acknowledges = false,
            "acknowledges" => peer.borrow_mut().acknowledges = true,
            other => panic!("{}: {other}", self.at),
        }
        if event.readable || event.writable || event.urgent || event.hangup {
            self.rig.report(&peer, &event);
        }
    }

    /// Whether the words ask about the host's side, and then whether they are right.
    fn host_is(&self, words: &[&str]) -> bool {
        let is = |what: bool| assert!(what, "{}", self.at);
        match words[0] {
            // All that the guest sent, from its first byte on.
            "got" => {
                let peer = self.peer();
                let peer = peer.borrow();
                let len: u32 = words[1].parse().unwrap();
                assert_eq!(peer.got.len(), len as usize, "{}", self.at);
                is(peer.got == bytes(1, len));
            }
            "target" => is(self.peer().borrow().target == Some(self.remote)),
            "ended" => is(self.peer().borrow().got_end),
            "open" => is(!self.peer().borrow().got_end && !self.peer().borrow().closed),
            "aborted" => is(self.peer().borrow().aborted),
            "closed" => is(self.peer().borrow().closed && !self.peer().borrow().aborted),
            "watched" => {
                let seconds = Duration::from_secs(words[1].parse().unwrap());
                assert_eq!(self.peer().borrow().keep_alive, Some(seconds), "{}", self.at);
            }
            // The stream was asked for its room so often.
            "asked" => assert_eq!(self.peer().borrow().asked.to_string(), words[1], "{}", self.at),
            "not-watched" => assert_eq!(self.peer().borrow().keep_alive, None, "{}", self.at),
            // Bytes that lie in the stream until the guest acknowledges them.
            "holds" => {
                assert_eq!(self.peer().borrow().sent.len().to_string(), words[1], "{}", self.at);
            }
            _ => return false,
        }
        true
    }
}

fn error_of(word: &str) -> StreamError {
    match word {
        "refused" => StreamError::Refused,
        "timeout" => StreamError::TimedOut,
        "unreachable" => StreamError::HostUnreachable,
        "prohibited" => StreamError::Prohibited,
        "emfile" => StreamError::NoDescriptors,
        "enobufs" => StreamError::NoMemory,
        other => panic!("{other}"),
    }
}

/// A number that may be negative.
fn number(word: &str) -> u32 {
    word.parse::<i64>().unwrap() as u32
}

fn duration(word: &str) -> Duration {
    let word = word.strip_prefix('+').unwrap_or_else(|| panic!("what is {word}?"));
    match word.strip_suffix("ms") {
        Some(millis) => Duration::from_millis(millis.parse().unwrap()),
        None => Duration::from_secs(word.strip_suffix('s').unwrap().parse().unwrap()),
    }
}
