//! From the guest to the host's socket.

use std::net::SocketAddr;

use engine::{Frame, Instant};
use sys::errno;
use sys::inet::Carries;
use wire::icmp_error::IcmpError;

use super::{DNS, Datagrams, Host};
use crate::backend::datagram::{DatagramBackend, Marks, SEND_BATCH, TRAIN_MAX};
use crate::counters::Reason;
use crate::ctx::Ctx;
use crate::icmp;
use crate::packet::slice;

/// Payload bytes of one train at most: what an IPv4 packet can say.
const TRAIN_BYTES: usize = 65_507;

/// Times that a call is repeated because an error of an earlier datagram was in its way.
const RETRIES: usize = 4;

/// A datagram of a guest, on its way to a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing {
    /// Slot of the flow.
    pub(crate) flow: u32,
    /// As the host sees it.
    pub(crate) to: SocketAddr,
    pub(crate) marks: Marks,
    pub(crate) piece: Piece,
}

/// Where in its frame a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: usize,
    pub(crate) len: usize,
    /// It is a train of datagrams of this size.
    pub(crate) segment: Option<u16>,
}

/// What the datagrams that wait have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(super) flow: u32,
    to: SocketAddr,
    marks: Marks,
}

impl<B: DatagramBackend> Datagrams<B> {
    /// Takes a datagram. It is sent with those that follow, at [`Self::flush`] at the latest.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        ctx: &mut Ctx<'_>,
        host: &mut Host<B>,
        outgoing: &Outgoing,
        frame: Frame,
    ) {
        let batch = Batch { flow: outgoing.flow, to: outgoing.to, marks: outgoing.marks };
        if self.batch != Some(batch) || self.waiting.len() >= SEND_BATCH {
            self.flush(now, ctx, host);
            self.batch = Some(batch);
        }
        self.waiting.push((frame, outgoing.piece));
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self, now: Instant, ctx: &mut Ctx<'_>, host: &mut Host<B>) {
        let Some(batch) = self.batch.take() else { return };
        let waiting = std::mem::take(&mut self.waiting);
        self.write(now, ctx, host, &batch, &waiting);
        let mut waiting = waiting;
        for (frame, _) in waiting.drain(..) {
            ctx.pool.release(frame);
        }
        // The storage is used again.
        self.waiting = waiting;
    }

    fn write(
        &mut self,
        now: Instant,
        ctx: &mut Ctx<'_>,
        host: &mut Host<B>,
        batch: &Batch,
        waiting: &[(Frame, Piece)],
    ) {
        let v6 = batch.to.is_ipv6();
        let Some(flow) = self.flows.get_mut(batch.flow) else {
            ctx.counters.add(Reason::SendFailed, waiting.len() as u64);
            return;
        };
        if flow.marks != Some(batch.marks) {
            match host.backend.mark(&flow.socket, v6, batch.marks, flow.marks) {
                Ok(()) => flow.marks = Some(batch.marks),
                Err(_) => {
                    flow.marks = None;
                    ctx.counters.add(Reason::SendFailed, waiting.len() as u64);
                    return;
                }
            }
        }
        let mut rest = waiting;
        let mut retries = RETRIES;
        // The kernel cuts datagrams of UDP only: of echo requests it would make one long message.
        let mut trains = !self.is_echo(batch.flow);
        while let Some((frame, piece)) = rest.first() {
            let sent = match self.next_call(ctx, host, batch, rest, trains) {
                Ok(sent) => sent,
                Err(error) => {
                    // An error of an earlier datagram may stand before this one, and whatever the
                    // error is, the queue may know more about it.
                    let told = self.errors(now, ctx, host, batch.flow, Some(batch.to));
                    let too_long = errno::is_too_long(&error);
                    if !errno::is_transient(&error) && !too_long && told && retries > 0 {
                        retries -= 1;
                        continue;
                    }
                    let train = piece.segment.is_some() || (trains && run(rest) > 1);
                    if train && !errno::is_transient(&error) {
                        // As single datagrams each has its own chance, and its own error.
                        trains = false;
                        if piece.segment.is_some() {
                            self.write_singly(now, ctx, host, batch, frame, *piece);
                            rest = rest.get(1..).unwrap_or_default();
                        }
                        continue;
                    }
                    self.failed(now, ctx, batch, &error, told);
                    1
                }
            };
            let (done, left) = rest.split_at(sent.min(rest.len()));
            rest = left;
            let bytes: usize = done.iter().map(|(_, piece)| piece.len).sum();
            if let Some(flow) = self.flows.get_mut(batch.flow) {
                flow.bytes_out += bytes as u64;
            }
        }
        self.sent_to(now, batch);
    }

    /// Makes one call for the front of `rest`; tells how many of them it took.
    fn next_call(
        &mut self,
        ctx: &mut Ctx<'_>,
        host: &mut Host<B>,
        batch: &Batch,
        rest: &[(Frame, Piece)],
        trains: bool,
    ) -> std::io::Result<usize> {
        let Some((frame, piece)) = rest.first() else { return Ok(0) };
        let Some(flow) = self.flows.get(batch.flow) else { return Ok(rest.len()) };
        let reason = if self.is_echo(batch.flow) { Reason::EchoOut } else { Reason::UdpOut };
        if let Some(segment) = piece.segment {
            // A frame may have more segments than a call takes.
            let most = (usize::from(segment) * TRAIN_MAX).min(TRAIN_BYTES);
            let most = most - most % usize::from(segment.max(1));
            let mut at = 0;
            while at < piece.len {
                let len = most.max(1).min(piece.len - at);
                let pieces = slice(ctx.pool, frame, piece.offset + at, len);
                host.backend.send_train(&flow.socket, batch.to, pieces.into_iter(), segment)?;
                at += len;
            }
            ctx.counters.count(reason);
            return Ok(1);
        }
        let together = if trains { run(rest) } else { 1 };
        if together > 1
            && let Ok(size) = u16::try_from(piece.len)
        {
            let pieces = rest
                .iter()
                .take(together)
                .flat_map(|(frame, piece)| slice(ctx.pool, frame, piece.offset, piece.len));
            host.backend.send_train(&flow.socket, batch.to, pieces, size)?;
            ctx.counters.add(reason, together as u64);
            return Ok(together);
        }
        let single = rest.iter().take_while(|(_, piece)| piece.segment.is_none());
        let datagrams =
            single.map(|(frame, piece)| slice(ctx.pool, frame, piece.offset, piece.len));
        let sent = host.backend.send(&flow.socket, None, batch.to, datagrams)?;
        ctx.counters.add(reason, sent as u64);
        Ok(sent)
    }

    /// The datagrams of a large frame, one by one.
    fn write_singly(
        &mut self,
        now: Instant,
        ctx: &mut Ctx<'_>,
        host: &mut Host<B>,
        batch: &Batch,
        frame: &Frame,
        piece: Piece,
    ) {
        let size = usize::from(piece.segment.unwrap_or(u16::MAX)).max(1);
        let mut at = 0;
        while at < piece.len {
            let count = (piece.len - at).div_ceil(size).min(SEND_BATCH);
            let Some(flow) = self.flows.get(batch.flow) else { return };
            let datagrams = (0..count).map(|i| {
                let from = at + i * size;
                slice(ctx.pool, frame, piece.offset + from, size.min(piece.len - from))
            });
            match host.backend.send(&flow.socket, None, batch.to, datagrams) {
                Ok(sent) if sent > 0 => {
                    ctx.counters.add(Reason::UdpOut, sent as u64);
                    at += sent * size;
                }
                Ok(_) => return,
                Err(error) => {
                    let told = self.errors(now, ctx, host, batch.flow, Some(batch.to));
                    // One error for the frame is enough: what follows would meet the same.
                    self.failed(now, ctx, batch, &error, told);
                    return;
                }
            }
        }
    }

    /// A datagram was not sent, and the error queue had (`told`) or had not an explanation, which
    /// the guest then knows already.
    fn failed(
        &mut self,
        now: Instant,
        ctx: &mut Ctx<'_>,
        batch: &Batch,
        error: &std::io::Error,
        told: bool,
    ) {
        if let Some(refusal) = not_sent(ctx, error)
            && !told
            && let Some(about) = self.about(ctx, batch.flow, Some(batch.to))
        {
            icmp::report_refusal(ctx, now, &about, refusal);
        }
    }

    fn is_echo(&self, at: u32) -> bool {
        self.flows.key(at).is_some_and(|key| key.carries == Carries::Echo)
    }

    /// Something was sent: the mapping is young, and knows what it is used for.
    fn sent_to(&mut self, now: Instant, batch: &Batch) {
        let Some(key) = self.flows.key(batch.flow) else { return };
        let Some(flow) = self.flows.get_mut(batch.flow) else { return };
        flow.general |= batch.to.port() != DNS;
        let class = flow.class(key.carries);
        self.flows.touch(now, batch.flow, class);
    }
}

/// Counts a datagram that the host did not send, and says what its guest is told where nobody told it.
pub(crate) fn not_sent(ctx: &mut Ctx<'_>, error: &std::io::Error) -> Option<IcmpError> {
    let (reason, told) = if errno::is_transient(error) || errno::is_no_memory(error) {
        (Reason::SendFull, None)
    } else if errno::is_too_long(error) {
        (Reason::TooBig, None)
    } else if errno::is_unreachable(error) {
        (Reason::NoRoute, Some(IcmpError::NoRoute))
    } else if errno::is_forbidden(error) {
        (Reason::SendFailed, Some(IcmpError::Prohibited))
    } else {
        (Reason::SendFailed, None)
    };
    ctx.counters.count(reason);
    told
}

/// How many of the datagrams at the front can go as one train: equal in size, the last one perhaps
/// shorter.
fn run(rest: &[(Frame, Piece)]) -> usize {
    let Some((_, first)) = rest.first() else { return 0 };
    if first.len == 0 || first.segment.is_some() {
        return 1;
    }
    let mut total = 0;
    let mut count = 0;
    for (_, piece) in rest.iter().take(TRAIN_MAX / 2) {
        if piece.segment.is_some() || piece.len == 0 || piece.len > first.len {
            break;
        }
        total += piece.len;
        if total > TRAIN_BYTES {
            break;
        }
        count += 1;
        if piece.len < first.len {
            break;
        }
    }
    count.max(1)
}
