//! What every part of the gateway is handed when it is called, and the packet it is called with.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use engine::{Frame, Pool};
use wire::Parsed;

use crate::counters::GatewayCounters;
use crate::guests::Guests;
use crate::path_mtus::PathMtus;
use crate::plan::GatewayPlan;
use crate::poll::Poller;

/// How much the guest behind an address can be sent.
///
/// The worker answers from the guest's egress queue. The gateway asks before it reads from a host
/// socket, so that data waits in the kernel and not in a queue that drops.
pub trait Room {
    /// Bytes of frames that the queue towards `destination` still takes, without those that its
    /// owner was not handed yet.
    fn room(&self, destination: IpAddr) -> usize;
}

/// Room without end: for tests, and for what must be sent whatever the queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unbounded;

impl Room for Unbounded {
    fn room(&self, _: IpAddr) -> usize {
        usize::MAX
    }
}

/// What was sent to each guest and is not in its queue yet, where [`Room`] would count it: frames
/// leave together, when the call is over.
#[derive(Debug, Default)]
pub struct Spent(Vec<(IpAddr, usize)>);

impl Spent {
    /// The frames have left.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn on(&self, guest: IpAddr) -> usize {
        self.0.iter().find(|(known, _)| *known == guest).map_or(0, |(_, bytes)| *bytes)
    }

    fn add(&mut self, guest: IpAddr, bytes: usize) {
        match self.0.iter_mut().find(|(known, _)| *known == guest) {
            Some((_, spent)) => *spent += bytes,
            None => self.0.push((guest, bytes)),
        }
    }
}

/// The surroundings of one call into a part of the gateway.
pub struct Ctx<'a> {
    /// The worker's buffers.
    pub pool: &'a mut Pool,
    /// Frames towards guests; see [`crate::Gateway::poll_frame`].
    pub out: &'a mut VecDeque<Frame>,
    /// Credit of the guests' queues.
    pub room: &'a dyn Room,
    /// What of it is taken already.
    pub spent: &'a mut Spent,
    /// Where every packet ends.
    pub counters: &'a mut GatewayCounters,
    /// What each guest has and may have.
    pub guests: &'a mut Guests,
    /// The gateway's own epoll.
    pub poller: &'a Poller,
    /// What the gateway is to do.
    pub plan: &'a GatewayPlan,
    /// Bytes of an IP packet that the network carries.
    pub mtu: usize,
    /// Ways to guests that carry less.
    pub(crate) paths: &'a PathMtus,
    /// The last identification of an IP packet.
    pub(crate) id: &'a mut u16,
}

impl Ctx<'_> {
    /// Bytes of frames that may be sent to a guest now.
    #[inline]
    pub fn room_for(&self, guest: IpAddr) -> usize {
        self.room.room(guest).saturating_sub(self.spent.on(guest))
    }

    /// Bytes of an IP packet that the way to a guest carries.
    #[inline]
    pub(crate) fn mtu_to(&self, guest: IpAddr) -> usize {
        self.paths.of(guest, self.mtu)
    }

    /// So many bytes of frames are on their way to a guest.
    #[inline]
    pub fn spend(&mut self, guest: IpAddr, bytes: usize) {
        self.spent.add(guest, bytes);
    }

    /// An identification for an IP packet (RFC 791, 3.1; RFC 6864).
    #[inline]
    pub fn next_id(&mut self) -> u16 {
        *self.id = self.id.wrapping_add(1);
        *self.id
    }
}

impl std::fmt::Debug for Ctx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ctx")
            .field("out", &self.out.len())
            .field("mtu", &self.mtu)
            .finish_non_exhaustive()
    }
}

/// One packet of a guest, parsed and judged: it is not a fragment, its headers are in the first
/// bytes, its lengths agree with the frame, and its ends are known.
#[derive(Debug)]
pub struct Packet<'a> {
    /// The frame; its bytes are `ctx.pool.pieces(frame)`, its checksum may be partial.
    pub frame: &'a Frame,
    /// Its headers. Offsets count from the Ethernet header.
    pub parsed: &'a Parsed,
    /// The guest's end: source address and port (or echo identifier).
    pub guest: SocketAddr,
    /// The other end as the guest names it: destination address and port.
    pub remote: SocketAddr,
    /// Where the host's socket connects: `remote`, except that `host.internal` is the loopback
    /// address here.
    pub host: SocketAddr,
    /// Bytes of the transport's payload.
    pub payload_len: usize,
}
