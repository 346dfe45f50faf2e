//! Any segments of guests, at any time, and anything that the host may do.
//!
//! The bytes are read as a list of actions on a few connections of two guests. Payload in either
//! direction is made of its own sequence number, so that every byte that arrives anywhere can be
//! judged; what a connection acknowledges it must have, and whatever is held or counted has its
//! bound.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use engine::Instant;
use wire::Offload;
use wire::build::Tcp;
use wire::tcp::flag;

use super::rig::{Rig, Seen, segment};
use super::streams::{FakeStream, Peer, edge};
use crate::GuestKey;
use crate::backend::StreamError;
use crate::tcp::{IcmpError, Incoming, TcpLimits};

const LIMITS: TcpLimits = TcpLimits {
    flows: 5,
    flows_per_guest: 4,
    opening_per_guest: 3,
    arriving_per_guest: 2,
    held: 16,
};

/// The ends of the connections.
const ENDS: [(u32, &str, &str); 4] = [
    (1, "10.0.0.5:1000", "192.0.2.1:80"),
    (1, "[fd00::5]:1000", "[2001:db8::1]:80"),
    (2, "10.0.0.6:1000", "192.0.2.1:80"),
    (2, "10.0.0.6:1001", "192.0.2.1:80"),
];

/// What is known of a connection from the segments that were seen.
#[derive(Default)]
struct Side {
    /// The number behind the last byte that came from us, and what we acknowledged last.
    next: u32,
    acknowledged: u32,
    /// Where our numbers began.
    initial: Option<u32>,
    /// Where the guest's numbers began, as its last SYN said.
    guest_initial: u32,
}

struct Played {
    peer: Rc<RefCell<Peer>>,
    /// The guest's first number; `None` where the connection came from outside.
    initial: Option<u32>,
    sent: u32,
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }
}

fn guest_byte(sequence: u32) -> u8 {
    (sequence.wrapping_mul(2_654_435_761) >> 24) as u8
}

fn host_byte(place: u32) -> u8 {
    (place.wrapping_mul(0x85eb_ca6b) >> 23) as u8
}

/// Runs one list of actions.
///
/// # Panics
/// When something does not hold.
pub fn fuzz(data: &[u8]) {
    let mut world = World {
        rig: Rig::new(LIMITS, Instant::EPOCH + Duration::from_secs(1000)),
        sides: Default::default(),
        played: Vec::new(),
    };
    let mut input = Input(data);
    for _ in 0..400 {
        if input.0.is_empty() {
            break;
        }
        world.act(&mut input);
        world.check();
    }
    for guest in [1, 2] {
        world.rig.with(|table, now, ctx| table.guest_gone(now, ctx, GuestKey(guest)));
    }
    // What came from outside may have no guest yet; it ends by itself.
    world.rig.pass(Duration::from_secs(3600));
    world.see();
    world.check();
    let unowned = world.rig.table.flows(world.rig.now).count();
    assert_eq!(unowned, 0, "every connection ends");
    world.rig.assert_empty();
    assert!(world.played.iter().all(|played| played.peer.borrow().closed));
}

struct World {
    rig: Rig,
    sides: [Side; 4],
    played: Vec<Played>,
}

impl World {
    fn act(&mut self, input: &mut Input<'_>) {
        let code = input.byte();
        let which = usize::from(code >> 6);
        match code & 0x1f {
            0..=13 => self.send(which, input),
            14 => {
                self.rig.pass(Duration::from_millis(u64::from(input.word())));
            }
            15 => self.rig.pass(Duration::from_secs(u64::from(input.byte()))),
            16 | 17 => self.connect(input),
            18..=20 => {
                let len = u32::from(input.word());
                self.play(input, |peer, sent| {
                    if !peer.has_ended && peer.sent.len() < 1 << 20 {
                        peer.sent.extend((*sent..*sent + len).map(host_byte));
                        *sent += len;
                    }
                    edge(true, false, false)
                });
            }
            21 => self.play(input, |peer, _| {
                peer.has_ended = true;
                edge(true, false, true)
            }),
            22 => self.play(input, |peer, _| {
                peer.error = Some(StreamError::Reset);
                edge(true, true, true)
            }),
            23 => {
                let room = usize::from(input.word());
                self.play(input, |peer, _| {
                    peer.room = room;
                    edge(false, room > 0, false)
                });
            }
            24 => {
                let room = usize::from(input.word());
                self.rig.room.0.set(if room & 1 == 1 { usize::MAX } else { room });
            }
            25 => {
                let (key, guest, remote) = ENDS[which];
                let front = [input.byte(), input.byte(), 0, 0, 0, 0, input.byte(), input.byte()];
                let error = IcmpError::read(guest.starts_with('['), front, 1500);
                let sequence = self.sides[which].next.wrapping_sub(u32::from(input.byte()));
                let ends = (guest.parse().unwrap(), remote.parse().unwrap());
                let sender = GuestKey(key);
                self.rig.with(|table, _, ctx| table.icmp_error(ctx, sender, ends, sequence, error));
            }
            26 => {
                let guest = GuestKey(ENDS[which].0);
                self.rig.with(|table, now, ctx| table.guest_gone(now, ctx, guest));
            }
            27 => self.accept(which, input.byte()),
            28 => {
                let withholds = input.byte() & 1 == 1;
                self.play(input, |peer, _| {
                    peer.acknowledges = !withholds;
                    edge(false, false, false)
                });
            }
            29 => {
                let errors = [StreamError::NoDescriptors, StreamError::HostUnreachable];
                let error = errors[usize::from(input.byte() & 1)];
                self.rig.table.backend_mut().refusals.push_back(error);
            }
            30 => {
                // A frame of nothing but the input.
                let len = input.0.len().min(200);
                let (bytes, rest) = input.0.split_at(len);
                self.rig.receive(GuestKey(1), bytes, Offload::NONE);
                input.0 = rest;
            }
            _ => self.rig.turn(),
        }
        if code & 0x20 == 0 {
            self.rig.turn();
        }
        self.see();
        while let Some(unreachable) = self.rig.table.poll_unreachable() {
            self.rig.pool.release(unreachable.quote);
        }
    }

    /// A segment near what the connection expects.
    fn send(&mut self, which: usize, input: &mut Input<'_>) {
        let (guest, from, to) = ENDS[which];
        let flags = input.byte();
        let near = i32::from(input.word().cast_signed()).cast_unsigned();
        let near = if input.byte() & 1 == 1 { near } else { 0 };
        let side = &mut self.sides[which];
        let sequence = side.acknowledged.wrapping_add(near);
        let ack_near = i32::from(input.byte().cast_signed()).cast_unsigned();
        let acknowledgement = side.next.wrapping_add(ack_near.wrapping_mul(97));
        let len = u32::from(input.word() % 3000);
        let is_syn = flags & (flag::SYN | flag::ACK | flag::RST) == flag::SYN;
        let options_len = usize::from(input.byte() & 0x0f) / 4 * 4;
        let mut options = [0; 40];
        let mut used = options_len;
        if input.byte() & 1 == 1 {
            options[..4].copy_from_slice(&[1, 1, 4, 2]);
            used = used.max(4);
        } else {
            for byte in &mut options[..options_len] {
                *byte = input.byte();
            }
        }
        let header = Tcp {
            sequence,
            acknowledgement,
            flags,
            window: input.word(),
            urgent: 3,
            options: &options[..used],
            ..Tcp::default()
        };
        // A SYN comes before the first byte.
        let first = sequence.wrapping_add(u32::from(flags & flag::SYN != 0));
        let payload: Vec<u8> = (0..len).map(|i| guest_byte(first.wrapping_add(i))).collect();
        let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
        let bytes = segment(from, to, &header, &payload);
        if is_syn || flags & (flag::SYN | flag::RST) == flag::SYN {
            side.guest_initial = sequence;
        }
        let before = self.rig.table.backend().peers.len();
        self.rig.receive(GuestKey(guest), &bytes, Offload::NONE);
        if self.rig.table.backend().peers.len() > before {
            let peer = self.rig.peer();
            self.played.push(Played { peer, initial: Some(sequence), sent: 0 });
            self.sides[which].initial = None;
        }
    }

    fn connect(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        let outcomes = [
            Ok(()),
            Ok(()),
            Err(StreamError::Refused),
            Err(StreamError::TimedOut),
            Err(StreamError::HostUnreachable),
        ];
        let outcome = outcomes[usize::from(choice >> 4) % outcomes.len()];
        let pending: Vec<_> = self
            .played
            .iter()
            .filter(|played| played.peer.borrow().outcome.is_none())
            .map(|played| Rc::clone(&played.peer))
            .collect();
        if let Some(peer) = pending.get(usize::from(choice & 0x0f) % pending.len().max(1)) {
            self.rig.connect(peer, outcome);
        }
    }

    fn accept(&mut self, which: usize, choice: u8) {
        let (guest, end, client) = ENDS[which];
        let stream = FakeStream::connected();
        self.played.push(Played { peer: Rc::clone(&stream.0), initial: None, sent: 0 });
        let incoming = Incoming {
            stream,
            client: client.parse().unwrap(),
            stand_in: choice & 1 == 1,
            guest: end.parse().unwrap(),
            owner: (choice & 2 == 2).then_some(GuestKey(guest)),
        };
        self.sides[which].initial = None;
        self.rig.with(|table, now, ctx| table.accepted(now, ctx, incoming));
    }

    /// The host's side of a connection does something.
    fn play(
        &mut self,
        input: &mut Input<'_>,
        call: impl FnOnce(&mut Peer, &mut u32) -> crate::poll::Event,
    ) {
        let choice = usize::from(input.byte());
        let count = self.played.len();
        let Some(played) = self.played.get_mut(choice % count.max(1)) else { return };
        let is_connected = matches!(played.peer.borrow().outcome, Some(Ok(())));
        if is_connected {
            let event = call(&mut played.peer.borrow_mut(), &mut played.sent);
            let peer = Rc::clone(&played.peer);
            self.rig.report(&peer, &event);
        }
    }

    /// Looks at what came out.
    fn see(&mut self) {
        while let Some(seen) = self.rig.take() {
            let which = ENDS.iter().position(|(_, guest, remote)| {
                seen.guest == guest.parse().unwrap() && seen.remote == remote.parse().unwrap()
            });
            if let Some(which) = which {
                self.see_of(which, &seen);
            }
        }
    }

    fn see_of(&mut self, which: usize, seen: &Seen) {
        let side = &mut self.sides[which];
        if seen.flags & flag::SYN != 0 {
            side.initial = Some(seen.sequence);
            side.next = seen.sequence.wrapping_add(1);
        } else if let Some(initial) = side.initial
            && !seen.payload.is_empty()
        {
            let place = seen.sequence.wrapping_sub(initial).wrapping_sub(1);
            for (i, byte) in (place..).zip(&seen.payload) {
                assert_eq!(*byte, host_byte(i), "a byte of the host, at {i}");
            }
        }
        if seen.flags & flag::RST == 0 {
            let fin = u32::from(seen.flags & flag::FIN != 0);
            let end = seen.sequence.wrapping_add(seen.payload.len() as u32 + fin);
            if end.wrapping_sub(side.next) < 1 << 31 {
                side.next = end;
            }
            if seen.flags & flag::ACK != 0 {
                side.acknowledged = seen.acknowledgement;
            }
        }
    }

    fn check(&self) {
        let table = &self.rig.table;
        assert!(table.len() <= LIMITS.flows);
        // Beyond the bound only what is next in order and waits for the turn.
        assert!(table.held() <= LIMITS.held + LIMITS.flows * 400, "{}", table.held());
        for played in &self.played {
            let peer = played.peer.borrow();
            if let Some(initial) = played.initial {
                for (i, byte) in (initial.wrapping_add(1)..).zip(&peer.got) {
                    assert_eq!(*byte, guest_byte(i), "a byte of the guest, at {i}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Randomness as it comes; the replay of the corpus does the rest.
    #[test]
    fn nothing_breaks() {
        let mut random = testkit::Random::new(20);
        for _ in 0..3000 {
            let mut data = vec![0; random.below(700)];
            random.fill(&mut data);
            fuzz(&data);
        }
    }
}
