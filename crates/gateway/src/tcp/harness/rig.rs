//! A table with everything around it, and a clock that the test turns.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use engine::{Frame, Instant, Pool, PoolLimits};
use wire::build::{Builder, Ipv4, Ipv6, Tcp};
use wire::{L3, MacAddr, Offload, Transport};

use super::streams::{FakeStreams, Peer, edge};
use crate::backend::StreamBackend;
use crate::counters::GatewayCounters;
use crate::ctx::{Ctx, Packet, Room, Spent};
use crate::guests::Guests;
use crate::keyed::Keyed;
use crate::path_mtus::PathMtus;
use crate::plan::GatewayPlan;
use crate::poll::{Event, Poller};
use crate::tcp::{Segment, Table, Target, TcpLimits};
use crate::{GuestKey, Reason};

/// Credit that the test sets.
#[derive(Debug)]
pub struct SetRoom(pub Cell<usize>);

impl Room for SetRoom {
    fn room(&self, _: IpAddr) -> usize {
        self.0.get()
    }
}

/// A segment that came out, taken apart. Its checksum and lengths were right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub guest: SocketAddr,
    pub remote: SocketAddr,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: u8,
    pub window: u16,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
    /// The size of the segments that it is to be cut into.
    pub gso: Option<u16>,
}

/// The table and its surroundings.
#[derive(Debug)]
pub struct Rig<B: StreamBackend = FakeStreams> {
    pub table: Table<B>,
    pub pool: Pool,
    pub out: VecDeque<Frame>,
    pub counters: GatewayCounters,
    guests: Guests,
    paths: PathMtus,
    plan: GatewayPlan,
    id: u16,
    pub poller: Poller,
    pub room: SetRoom,
    spent: Spent,
    pub mtu: usize,
    pub now: Instant,
    /// Where connections lead instead of where they want to.
    pub redirect: Option<SocketAddr>,
}

impl Rig {
    /// An empty table with streams that the test plays.
    #[must_use]
    pub fn new(limits: TcpLimits, now: Instant) -> Self {
        Self::over(FakeStreams::default(), limits, now)
    }

    /// The other side of the stream that was made last.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn peer(&self) -> Rc<std::cell::RefCell<Peer>> {
        Rc::clone(self.table.backend().peers.last().expect("a stream was made"))
    }

    /// Reports readiness of a stream.
    pub fn report(&mut self, peer: &Rc<std::cell::RefCell<Peer>>, event: &Event) {
        let token = peer.borrow().token;
        if let Some(token) = token {
            self.with(|table, now, ctx| table.host_ready(now, ctx, token, event));
        }
    }

    /// The stream is connected, or not.
    pub fn connect(
        &mut self,
        peer: &Rc<std::cell::RefCell<Peer>>,
        outcome: Result<(), crate::backend::StreamError>,
    ) {
        peer.borrow_mut().outcome = Some(outcome);
        self.report(peer, &edge(false, true, outcome.is_err()));
    }
}

impl<B: StreamBackend> Rig<B> {
    /// An empty table.
    ///
    /// # Panics
    /// When there is no descriptor for the poller.
    #[must_use]
    pub fn over(backend: B, limits: TcpLimits, now: Instant) -> Self {
        let plan = GatewayPlan::new("net", MacAddr([2, 0, 0, 0, 0, 1]), None, None);
        let pool = PoolLimits { small: 8192, large: 256, headers: 16 };
        Self {
            table: Table::new(backend, limits, &[7; 16]),
            pool: Pool::new(pool),
            out: VecDeque::new(),
            counters: GatewayCounters::default(),
            guests: Guests::new(plan.limits, Keyed::new([7; 16])),
            paths: PathMtus::new(Keyed::new([7; 16])),
            plan,
            id: 0,
            poller: Poller::new().expect("a descriptor"),
            room: SetRoom(Cell::new(usize::MAX)),
            spent: Spent::default(),
            mtu: 1500,
            now,
            redirect: None,
        }
    }

    /// Calls into the table.
    pub fn with<R>(&mut self, call: impl FnOnce(&mut Table<B>, Instant, &mut Ctx<'_>) -> R) -> R {
        let mut ctx = Ctx {
            pool: &mut self.pool,
            out: &mut self.out,
            room: &self.room,
            spent: &mut self.spent,
            counters: &mut self.counters,
            guests: &mut self.guests,
            poller: &self.poller,
            plan: &self.plan,
            mtu: self.mtu,
            paths: &self.paths,
            id: &mut self.id,
        };
        call(&mut self.table, self.now, &mut ctx)
    }

    /// Hands over a frame of a guest, as the gateway does. Connections go where they want to.
    pub fn receive(&mut self, guest: GuestKey, bytes: &[u8], offload: Offload) {
        let Ok(parsed) = wire::parse(bytes) else { return };
        let (Some(l3), Some(l4)) = (parsed.l3, parsed.l4) else { return };
        let Transport::Tcp { source, destination, .. } = l4.transport else { return };
        let (from, to): (IpAddr, IpAddr) = match l3 {
            L3::Ipv4(ip) => (ip.source.into(), ip.destination.into()),
            L3::Ipv6(ip) => (ip.source.into(), ip.destination.into()),
            L3::Arp(_) => return,
        };
        let (Some(headers), Some(claimed)) = (parsed.headers_len(), parsed.claimed_len()) else {
            return;
        };
        if claimed > bytes.len() || headers > claimed {
            return;
        }
        let Ok(frame) = self.pool.copy_in(bytes, offload) else { return };
        let remote = SocketAddr::new(to, destination);
        let packet = Packet {
            frame: &frame,
            parsed: &parsed,
            guest: SocketAddr::new(from, source),
            remote,
            host: remote,
            payload_len: claimed - headers,
        };
        match self.with(|table, now, ctx| table.segment(now, ctx, guest, &packet)) {
            Segment::Done => self.pool.release(frame),
            Segment::Keep(kept) => self.with(|table, _, ctx| table.keep(ctx, kept, frame)),
            Segment::Opening => {
                let target = Target::Outside(self.redirect.unwrap_or(remote));
                self.with(|table, now, ctx| {
                    if table.open(now, ctx, guest, &packet, target).is_err() {
                        ctx.counters.count(Reason::OutOfDescriptors);
                    }
                });
                self.pool.release(frame);
            }
        }
    }

    /// Gives the table turns until it has nothing to do.
    ///
    /// # Panics
    /// When it always has.
    pub fn turn(&mut self) {
        for _ in 0..10_000 {
            let before: usize = self.out.iter().map(Frame::len).sum();
            self.with(|table, now, ctx| table.turn(now, ctx));
            let after: usize = self.out.iter().map(Frame::len).sum();
            // What comes out fills the guest's queue.
            self.spent.clear();
            let room = self.room.0.get();
            if room != usize::MAX {
                self.room.0.set(room.saturating_sub(after - before));
            }
            if !self.table.wants_turn() {
                return;
            }
        }
        panic!("the table never comes to rest");
    }

    /// Lets time pass, with every timer in its time.
    ///
    /// # Panics
    /// When timers are always due.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut wakes = 0;
        while let Some(next) = self.table.next_deadline().filter(|next| *next <= end) {
            assert!(next > self.now || wakes == 0, "a timer was due and nothing was done about it");
            self.now = self.now.max(next);
            self.with(|table, now, ctx| table.handle_timeout(now, ctx));
            self.turn();
            wakes += 1;
            assert!(wakes < 100_000, "timers without an end");
        }
        self.now = end;
        self.with(|table, now, ctx| table.handle_timeout(now, ctx));
        self.turn();
    }

    /// The next segment towards a guest.
    ///
    /// # Panics
    /// When it is not well formed.
    pub fn take(&mut self) -> Option<Seen> {
        let frame = self.out.pop_front()?;
        let bytes = self.pool.pieces(&frame).concat();
        let offload = frame.offload();
        self.pool.release(frame);
        Some(take_apart(&bytes, &offload, self.mtu))
    }

    /// Everything is given back when every connection is gone.
    ///
    /// # Panics
    /// When something is not.
    pub fn assert_empty(&self) {
        assert!(self.table.is_empty() && self.table.flows(self.now).next().is_none());
        assert_eq!(self.table.held(), 0);
        let usage = self.pool.usage();
        assert_eq!((usage.small.used, usage.large.used, usage.headers.used), (0, 0, 0));
    }

    /// How often something was counted.
    #[must_use]
    pub fn count(&self, reason: Reason) -> u64 {
        self.counters.get(reason)
    }
}

fn take_apart(bytes: &[u8], offload: &Offload, mtu: usize) -> Seen {
    assert_eq!(bytes[..12], [0; 12], "the router writes the Ethernet addresses");
    wire::offload::check(offload, bytes, bytes.len(), mtu).expect("right offload metadata");
    let parsed = wire::parse(bytes).expect("a frame");
    assert_eq!(parsed.malformed, None);
    assert_eq!(parsed.claimed_len(), Some(bytes.len()));
    let (l3, l4) = (parsed.l3.expect("IP"), parsed.l4.expect("TCP"));
    let at = usize::from(l4.offset);
    let segment = &bytes[at..];
    let header = wire::tcp::Header::new(segment).expect("a header");
    let (source, destination, pseudo): (IpAddr, IpAddr, u16) = match l3 {
        L3::Ipv4(ip) => {
            let view = wire::ipv4::Header::new(&bytes[14..]).expect("a header");
            assert!(view.checksum_is_good() && view.dont_fragment());
            let len = segment.len() as u16;
            let pseudo = wire::checksum::pseudo_v4(ip.source, ip.destination, 6, len);
            (ip.source.into(), ip.destination.into(), pseudo)
        }
        L3::Ipv6(ip) => {
            let len = segment.len() as u32;
            let pseudo = wire::checksum::pseudo_v6(ip.source, ip.destination, 6, len);
            (ip.source.into(), ip.destination.into(), pseudo)
        }
        L3::Arp(_) => panic!("not ARP"),
    };
    assert_eq!(header.checksum(), pseudo, "a partial checksum");
    assert!(offload.checksum.is_some());
    let payload = segment[header.header_len()..].to_vec();
    if offload.gso.is_none() {
        assert!(bytes.len() - 14 <= mtu, "it fits the link");
    }
    Seen {
        guest: SocketAddr::new(destination, header.destination()),
        remote: SocketAddr::new(source, header.source()),
        sequence: header.sequence(),
        acknowledgement: header.acknowledgement(),
        flags: header.flags(),
        window: header.window(),
        options: header.options().to_vec(),
        payload,
        gso: offload.gso.map(|gso| gso.size),
    }
}

/// A segment of a guest.
///
/// # Panics
/// When it is too long for a frame.
#[must_use]
pub fn segment(guest: SocketAddr, remote: SocketAddr, header: &Tcp<'_>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; payload.len() + 200];
    let builder = Builder::new(&mut bytes).ethernet(MacAddr([2; 6]), MacAddr([4; 6]));
    let builder = match (guest.ip(), remote.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            builder.ipv4(&Ipv4 { source, destination, ..Ipv4::default() })
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            builder.ipv6(&Ipv6 { source, destination, ..Ipv6::default() })
        }
        _ => panic!("one family"),
    };
    let header = Tcp { source: guest.port(), destination: remote.port(), ..*header };
    let len = builder.tcp(&header).payload(payload).finish().expect("it fits");
    bytes.truncate(len);
    bytes
}
