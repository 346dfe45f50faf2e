//! All connections of one gateway.

use engine::{Frame, Instant};

use super::face::{IcmpError, Incoming, Kept, Segment, Target, TcpLimits, Unreachable};
use crate::GuestKey;
use crate::backend::StreamBackend;
use crate::ctx::{Ctx, Packet};
use crate::poll::{Event, Token};
use crate::report::FlowReport;

/// The connections of one gateway's guests.
#[derive(Debug)]
pub struct Table<B: StreamBackend> {
    backend: B,
    limits: TcpLimits,
}

impl<B: StreamBackend> Table<B> {
    /// An empty table. `hash_key` is secret and random.
    #[must_use]
    pub fn new(backend: B, limits: TcpLimits, _hash_key: &[u8; 16]) -> Self {
        Self { backend, limits }
    }

    /// What makes the streams.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Takes a segment of a guest, whose checksum is right or partial. Answers wait for
    /// [`Table::turn`].
    pub fn segment(
        &mut self,
        _now: Instant,
        _ctx: &mut Ctx<'_>,
        _guest: GuestKey,
        _packet: &Packet<'_>,
    ) -> Segment {
        Segment::Done
    }

    /// Takes the frame of a segment whose payload [`Table::segment`] wanted.
    pub fn keep(&mut self, _now: Instant, ctx: &mut Ctx<'_>, _kept: Kept, frame: Frame) {
        ctx.pool.release(frame);
    }

    /// Opens the connection that `packet`, for which [`Table::segment`] said
    /// [`Segment::Opening`], asks for.
    pub fn open(
        &mut self,
        _now: Instant,
        _ctx: &mut Ctx<'_>,
        _guest: GuestKey,
        _packet: &Packet<'_>,
        _target: Target<B::Stream>,
    ) {
    }

    /// Answers `packet` with a reset.
    pub fn refuse(&mut self, _ctx: &mut Ctx<'_>, _packet: &Packet<'_>) {}

    /// Opens a connection towards a guest for a client outside.
    pub fn accepted(
        &mut self,
        _now: Instant,
        _ctx: &mut Ctx<'_>,
        _incoming: Incoming<B::Stream>,
    ) {
    }

    /// Takes a report of the poller with a token of [`crate::poll::Kind::Tcp`].
    pub fn host_ready(
        &mut self,
        _now: Instant,
        _ctx: &mut Ctx<'_>,
        _token: Token,
        _event: &Event,
    ) {
    }

    /// Takes an ICMP error of a guest or a router about a segment that we sent: from `remote` to
    /// `guest`, with this sequence number.
    pub fn icmp_error(
        &mut self,
        _now: Instant,
        _ctx: &mut Ctx<'_>,
        _guest: std::net::SocketAddr,
        _remote: std::net::SocketAddr,
        _sequence: u32,
        _error: IcmpError,
    ) {
    }

    /// Does what calls since the last turn left to do: acknowledges, writes to and reads from
    /// streams, a bounded amount. To be called after a batch of segments and reports.
    pub fn turn(&mut self, _now: Instant, _ctx: &mut Ctx<'_>) {}

    /// Whether there is more for [`Table::turn`] to do now.
    #[must_use]
    pub fn wants_turn(&self) -> bool {
        false
    }

    /// Whether something waits for room in a guest's queue.
    #[must_use]
    pub fn wants_room(&self) -> bool {
        false
    }

    /// The next connection that could not be made in a way that deserves an ICMP error.
    pub fn poll_unreachable(&mut self) -> Option<Unreachable> {
        None
    }

    /// When [`Table::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Does what is due; [`Table::turn`] is to follow.
    pub fn handle_timeout(&mut self, _now: Instant, _ctx: &mut Ctx<'_>) {}

    /// A guest's port is gone: its connections are reset.
    pub fn guest_gone(&mut self, _now: Instant, _ctx: &mut Ctx<'_>, _guest: GuestKey) {}

    /// Connections now.
    #[must_use]
    pub fn len(&self) -> usize {
        0
    }

    /// Whether there is no connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Connections of one guest.
    #[must_use]
    pub fn len_of(&self, _guest: GuestKey) -> usize {
        0
    }

    /// What people are shown of the connections.
    pub fn flows(&self, _now: Instant) -> impl Iterator<Item = FlowReport> {
        std::iter::empty()
    }
}
