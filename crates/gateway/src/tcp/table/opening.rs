//! Connections begin: of guests to the outside, and of clients outside to guests.

use std::net::SocketAddr;

use engine::Instant;

use super::super::flow::{Env, Flow, Opener, Over, State};
use super::super::input::Heard;
use super::super::interface::{Incoming, NoDescriptor, Target};
use super::super::key::Key;
use super::Table;
use crate::backend::{Stream, StreamBackend, StreamError};
use crate::ctx::{Ctx, Packet};
use crate::{GuestKey, Reason};

impl<B: StreamBackend> Table<B> {
    /// Opens the connection that `packet`, for which [`Table::segment`] said
    /// [`Segment::Opening`](crate::tcp::Segment::Opening), asks for. What else keeps it from being opened
    /// is counted, and told the guest.
    ///
    /// # Errors
    /// [`NoDescriptor`], which the caller counts.
    pub fn open(
        &mut self,
        now: Instant,
        ctx: &mut Ctx<'_>,
        guest: GuestKey,
        packet: &Packet<'_>,
        target: Target<B::Stream>,
    ) -> Result<(), NoDescriptor> {
        let Some(heard) = Heard::read(ctx.pool, packet) else { return Ok(()) };
        let key = Key::new(packet.guest, packet.remote);
        if self.index.contains_key(&key) || !self.admit(now, ctx, guest, Opener::Guest) {
            return Ok(());
        }
        let (index, token) = self.reserve();
        let (mut host, mut connected) = (None, true);
        let stream = match target {
            Target::Local(stream) => stream.watch(ctx.poller, token).map(|()| stream),
            Target::Outside(address) => {
                (host, connected) = (Some(address), false);
                let stream = self.backend.connect(ctx.poller, token, address);
                if matches!(stream, Err(StreamError::NoDescriptors)) {
                    self.free.push(index);
                    return Err(NoDescriptor(address));
                }
                stream
            }
        };
        let iss = self.secret.initial_sequence(&key, now);
        let mut flow = Flow::new(now, key, iss, State::Connecting, ctx.mtu);
        flow.take_syn(heard.sequence, heard.window, &heard.options);
        flow.owner = Some(guest);
        flow.host = host;
        match stream {
            Ok(stream) => {
                flow.stream = Some(stream);
                if connected {
                    flow.state = State::SynReceived;
                    flow.send_syn(&mut Env { now, ctx });
                }
                self.insert(index, flow);
                ctx.counters.count(Reason::TcpOut);
            }
            Err(error) => {
                self.free.push(index);
                self.tell_failed(now, ctx, &mut flow, error, None);
            }
        }
        Ok(())
    }

    /// Opens a connection towards a guest for a client outside. A client that cannot be given one
    /// gets a reset.
    pub fn accepted(&mut self, now: Instant, ctx: &mut Ctx<'_>, incoming: Incoming<B::Stream>) {
        let Incoming { stream, client, stand_in, guest, owner } = incoming;
        let Some(key) = self.free_key(guest, client, stand_in) else {
            ctx.counters.count(Reason::TcpInUse);
            stream.abort();
            return;
        };
        let admitted = match owner {
            Some(owner) => self.admit(now, ctx, owner, Opener::Client),
            None => {
                while self.loads.live() >= self.limits.flows && self.give_up_orphan(ctx) {}
                let fits = self.loads.live() < self.limits.flows;
                ctx.counters.add(Reason::FlowLimit, u64::from(!fits));
                fits
            }
        };
        if !admitted {
            stream.abort();
            return;
        }
        if let Some(&over) = self.index.get(&key) {
            self.remove(ctx, over, Over::Closed);
        }
        let (index, token) = self.reserve();
        if stream.watch(ctx.poller, token).is_err() {
            ctx.counters.count(Reason::SocketFailed);
            self.free.push(index);
            stream.abort();
            return;
        }
        let iss = self.secret.initial_sequence(&key, now);
        let mut flow = Flow::new(now, key, iss, State::SynSent, ctx.mtu);
        flow.owner = owner;
        flow.host = (client != key.remote()).then_some(client);
        flow.stream = Some(stream);
        flow.send_syn(&mut Env { now, ctx });
        self.insert(index, flow);
    }

    /// A name for a connection from `client`, which may get another port if it is a stand-in. One that
    /// only lingers gives way: a client that uses its port again knows that its last connection is
    /// over, and so does the guest, unless it lingers as well and takes what is newer.
    fn free_key(&self, guest: SocketAddr, client: SocketAddr, stand_in: bool) -> Option<Key> {
        /// A step that visits every port of the range, which has an even number of them.
        const STEP: u32 = 7919;
        const FIRST: u32 = 1024;
        let wanted = Key::new(guest, client);
        let is_free = |key: &Key| {
            let flow = self.index.get(key).and_then(|index| self.slots.get(*index as usize));
            flow.and_then(|slot| slot.flow.as_ref()).is_none_or(|flow| flow.lingers)
        };
        if is_free(&wanted) {
            return Some(wanted);
        }
        let tries = if stand_in { 1..64 } else { 0..0_u32 };
        tries
            .map(|i| FIRST + (u32::from(client.port()) + i * STEP) % (65_536 - FIRST))
            .map(|port| Key::new(guest, SocketAddr::new(client.ip(), port as u16)))
            .find(is_free)
    }
}
