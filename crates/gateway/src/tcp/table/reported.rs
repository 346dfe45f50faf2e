//! What the host and the network say about a connection: streams that are ready or failed, and ICMP errors.

use std::net::SocketAddr;

use engine::Instant;

use super::super::emit;
use super::super::flow::{Env, Flow, Over, State};
use super::super::interface::{IcmpError, Unreachable};
use super::super::key::Key;
use super::super::seq::Seq;
use super::{Table, flow_mut};
use crate::backend::datagram::SocketError;
use crate::backend::{Connecting, Stream, StreamBackend, StreamError};
use crate::ctx::Ctx;
use crate::poll::{Event, Token};
use crate::{GuestKey, Reason, icmp};

/// Refusals that wait for [`Table::poll_unreachable`].
const UNREACHABLE_MAX: usize = 64;

impl<B: StreamBackend> Table<B> {
    /// Takes a report of the poller with a token of [`Kind::Tcp`](crate::poll::Kind::Tcp).
    pub fn host_ready(&mut self, now: Instant, ctx: &mut Ctx<'_>, token: Token, event: &Event) {
        let Some(slot) = self.slots.get_mut(token.index as usize) else { return };
        let (true, Some(flow)) = (token.is_of(slot.generation), &mut slot.flow) else { return };
        if flow.state == State::Connecting {
            if !event.writable && !event.hangup {
                return;
            }
            let Some(stream) = &mut flow.stream else { return };
            match stream.connecting() {
                Connecting::Pending => return,
                Connecting::Connected => {}
                Connecting::Failed { error, report } => {
                    let Some(mut flow) = self.take(ctx, token.index) else { return };
                    self.tell_failed(now, ctx, &mut flow, error, report);
                    return;
                }
            }
            flow.state = State::SynReceived;
            flow.send_syn(&mut Env { now, ctx });
            self.rewheel(token.index);
            return;
        }
        flow.readable |= event.readable || event.hangup;
        // A short read is not the last one where there may be a mark in between, or an end behind.
        flow.careful |= event.urgent || event.hangup;
        if event.writable || event.hangup {
            flow.full = false;
        }
        flow.notice_drained();
        // Where nothing is read, an error is not met by reading.
        if event.hangup && (flow.fin_at.is_some() || flow.is_shut()) && flow.has_failed() {
            ctx.counters.count(Reason::TcpReset);
            flow.send_reset(&mut Env { now, ctx });
            self.remove(ctx, token.index, Over::Abort);
            return;
        }
        self.enqueue(token.index);
    }

    /// The guest is told that there is no connection, in the way that a network would: by the ICMP
    /// message of whoever said so, where there is one.
    pub(super) fn tell_failed(
        &mut self,
        now: Instant,
        ctx: &mut Ctx<'_>,
        flow: &mut Flow<B::Stream>,
        error: StreamError,
        report: Option<SocketError>,
    ) {
        let report = report.filter(|report| icmp::passes(report, flow.key.is_v6()));
        match error {
            _ if report.is_some() => self.tell_unreachable(ctx, flow, error, report),
            StreamError::Refused | StreamError::Reset => {
                ctx.counters.count(Reason::TcpRefused);
                flow.send_reset(&mut Env { now, ctx });
            }
            // A guest whose SYN is not answered sends it again, and gives up in its own time.
            StreamError::TimedOut => ctx.counters.count(Reason::TcpUnanswered),
            StreamError::NoDescriptors => ctx.counters.count(Reason::OutOfDescriptors),
            StreamError::NoMemory => ctx.counters.count(Reason::SocketFailed),
            StreamError::HostUnreachable
            | StreamError::NetUnreachable
            | StreamError::Prohibited => self.tell_unreachable(ctx, flow, error, None),
        }
    }

    fn tell_unreachable(
        &mut self,
        ctx: &mut Ctx<'_>,
        flow: &Flow<B::Stream>,
        error: StreamError,
        report: Option<SocketError>,
    ) {
        ctx.counters.count(Reason::TcpUnreachable);
        if let Some(guest) = flow.owner
            && self.unreachable.len() < UNREACHABLE_MAX
            && let Some(quote) = emit::quote(ctx, &flow.key, flow.irs)
        {
            let ends = (flow.key.guest().ip(), flow.key.remote().ip());
            self.unreachable.push_back(Unreachable { guest, quote, ends, error, report });
        }
    }

    /// Takes an ICMP error that came from `sender`, a guest or a router behind its port, about a
    /// segment that we sent: from `remote` to `guest`, with this sequence number. What does not fit
    /// the connection is ignored (RFC 5927), and so is what another guest says about it.
    pub fn icmp_error(
        &mut self,
        ctx: &mut Ctx<'_>,
        sender: GuestKey,
        (guest, remote): (SocketAddr, SocketAddr),
        sequence: u32,
        error: IcmpError,
    ) -> Reason {
        let about = Reason::IcmpAboutTcp;
        let Some(&index) = self.index.get(&Key::new(guest, remote)) else { return about };
        let Some(flow) = flow_mut(&mut self.slots, index) else { return about };
        if flow.owner.is_some_and(|owner| owner != sender) {
            return Reason::TcpOtherGuest;
        }
        let sequence = Seq(sequence);
        if !(flow.una.upto(sequence) && sequence.before(flow.max)) {
            return about;
        }
        match error {
            IcmpError::TooBig { mtu } => {
                flow.shrink(u32::from(emit::mss_for(&flow.key, mtu)));
                self.enqueue(index);
            }
            IcmpError::Refused if flow.state == State::SynSent => {
                ctx.counters.count(Reason::TcpGuestRefused);
                self.remove(ctx, index, Over::Abort);
            }
            // An open connection outlives it (RFC 9293, 3.9.2.2).
            IcmpError::Refused | IcmpError::Passing => {}
        }
        about
    }

    /// The next connection that could not be made in a way that deserves an ICMP error.
    pub fn poll_unreachable(&mut self) -> Option<Unreachable> {
        self.unreachable.pop_front()
    }
}
