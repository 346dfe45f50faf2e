//! A segment of a guest arrives (RFC 9293, 3.10.7, with the precautions of RFC 5961).

use std::time::Duration;

use engine::{Frame, Pool};
use wire::tcp::flag;

use super::flow::{Env, Flow, Over, Recovery, State, Wait};
use super::inbox::FRAMES_MAX;
use super::options::Options;
use super::seq::Seq;
use crate::Reason;
use crate::backend::Stream;
use crate::ctx::Packet;

/// The peer is not asked for signs of life more often than this, however often the guest asks: what is
/// lost in a link inside one machine is lost for other reasons than outside.
const KEEP_ALIVE_LEAST: Duration = Duration::from_secs(10);

/// A guest is silent for so long before it asks for signs of life: an empty segment, or one of a byte,
/// which comes sooner if it was lost and is only sent again.
const ASKS_AFTER: Duration = Duration::from_secs(3);
const ASKS_WITH_BYTE_AFTER: Duration = Duration::from_secs(10);

/// What a segment says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) sequence: Seq,
    pub(super) acknowledgement: Seq,
    pub(super) flags: u8,
    pub(super) window: u16,
    pub(super) options: Options,
    /// Where the payload begins in the frame.
    pub(super) offset: u32,
    pub(super) len: u32,
}

impl Heard {
    /// Reads the TCP header of a packet that was parsed. `None` if it has none.
    pub(super) fn read(pool: &Pool, packet: &Packet<'_>) -> Option<Self> {
        let at = usize::from(packet.parsed.l4?.offset);
        let [first, second] = pool.pieces(packet.frame);
        let mut bytes = [0; wire::tcp::HEADER_LEN_MAX];
        let mut filled = 0;
        let parts = [first.get(at..), second.get(at.saturating_sub(first.len())..)];
        for part in parts.into_iter().flatten() {
            let count = part.len().min(bytes.len() - filled);
            if let (Some(to), Some(from)) =
                (bytes.get_mut(filled..filled + count), part.get(..count))
            {
                to.copy_from_slice(from);
            }
            filled += count;
        }
        let header = wire::tcp::Header::new(bytes.get(..filled)?).ok()?;
        Some(Self {
            sequence: Seq(header.sequence()),
            acknowledgement: Seq(header.acknowledgement()),
            flags: header.flags(),
            window: header.window(),
            options: Options::parse(header.options()),
            offset: u32::try_from(at + header.header_len()).ok()?,
            len: u32::try_from(packet.payload_len).ok()?,
        })
    }

    pub(super) fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// The number behind everything that the segment occupies.
    pub(super) fn end(&self) -> Seq {
        self.sequence + self.len + u32::from(self.has(flag::SYN)) + u32::from(self.has(flag::FIN))
    }
}

/// What a flow makes of a segment.
#[derive(Debug)]
pub(super) enum Taken {
    /// It is dealt with and counted so.
    Done(Reason),
    /// Its payload is wanted from this number on.
    Keep { sequence: Seq, offset: u32, len: u32 },
    /// It opens another connection in place of this one.
    Reopen,
}

impl<S: Stream> Flow<S> {
    /// Takes a segment. An error ends the connection.
    pub(super) fn segment(
        &mut self,
        env: &mut Env<'_, '_>,
        heard: &Heard,
    ) -> Result<Taken, (Over, Reason)> {
        match self.state {
            State::Connecting => self.while_connecting(heard),
            State::SynSent => self.while_syn_sent(env, heard),
            _ => self.while_known(env, heard),
        }
    }

    fn while_connecting(&mut self, heard: &Heard) -> Result<Taken, (Over, Reason)> {
        if heard.has(flag::RST) {
            // A guest that gives up has no number to show but that of its SYN.
            return if heard.sequence == self.rcv_nxt || heard.sequence == self.irs {
                Err((Over::Abort, Reason::TcpGuestReset))
            } else {
                Ok(Taken::Done(Reason::TcpOutOfWindow))
            };
        }
        if heard.has(flag::SYN) && heard.sequence != self.irs {
            return Ok(Taken::Reopen);
        }
        Ok(Taken::Done(if heard.has(flag::SYN) {
            Reason::TcpReopening
        } else {
            Reason::TcpOutOfWindow
        }))
    }

    fn while_syn_sent(
        &mut self,
        env: &mut Env<'_, '_>,
        heard: &Heard,
    ) -> Result<Taken, (Over, Reason)> {
        let acknowledges = heard.has(flag::ACK);
        if acknowledges && heard.acknowledgement != self.iss + 1 {
            if !heard.has(flag::RST) {
                self.control(env, heard.acknowledgement, flag::RST);
            }
            return Ok(Taken::Done(Reason::TcpChallenge));
        }
        if heard.has(flag::RST) {
            return if acknowledges {
                Err((Over::Abort, Reason::TcpGuestRefused))
            } else {
                Ok(Taken::Done(Reason::TcpOutOfWindow))
            };
        }
        if !heard.has(flag::SYN) {
            return Ok(Taken::Done(Reason::TcpOutOfWindow));
        }
        self.take_syn(heard.sequence, heard.window, &heard.options);
        // What our SYN announced.
        self.rcv_adv = self.rcv_nxt + 0xffff;
        if !acknowledges {
            // Both opened at once (RFC 9293, figure 7).
            self.state = State::SynReceived;
            self.timer = None;
            self.send_syn(env);
            return Ok(Taken::Done(Reason::TcpOut));
        }
        self.become_open(env, heard);
        self.ack_due = true;
        Ok(Taken::Done(Reason::TcpOut))
    }

    fn become_open(&mut self, env: &mut Env<'_, '_>, heard: &Heard) {
        self.state = State::Open;
        self.readable = true;
        self.una = self.iss + 1;
        (self.lost, self.resent, self.mark) = (self.una, self.una, self.una);
        self.set_window(heard.sequence, heard.acknowledgement, self.snd_wnd);
        if let Some(timing) = self.timing.take() {
            self.trip.sample(env.now.saturating_since(timing.since));
        }
        (self.timer, self.backoff) = (None, 0);
        self.heard(env.now);
        env.ctx.counters.count(if self.inbound { Reason::TcpAccepted } else { Reason::TcpOpened });
    }

    fn while_known(
        &mut self,
        env: &mut Env<'_, '_>,
        heard: &Heard,
    ) -> Result<Taken, (Over, Reason)> {
        if heard.flags & (flag::SYN | flag::RST) == flag::SYN && self.state != State::SynReceived {
            return Ok(self.syn_again(env, heard));
        }
        if self.state == State::SynReceived && heard.has(flag::SYN) && heard.sequence == self.irs {
            if !heard.has(flag::ACK) {
                // The guest has not seen our answer.
                self.send_syn(env);
                return Ok(Taken::Done(Reason::TcpReopening));
            }
            // The second half of opening at once: the SYN is known, the rest is as usual.
        } else {
            self.notice_keep_alive(env, heard);
            if !self.is_acceptable(heard) {
                return Ok(Taken::Done(self.not_acceptable(env, heard)));
            }
        }
        if heard.has(flag::RST) {
            if heard.sequence == self.rcv_nxt || heard.sequence == self.acknowledgement() {
                return Err((Over::Abort, Reason::TcpGuestReset));
            }
            self.challenge(env);
            return Ok(Taken::Done(Reason::TcpChallenge));
        }
        if heard.has(flag::SYN) && heard.sequence != self.irs {
            self.challenge(env);
            return Ok(Taken::Done(Reason::TcpChallenge));
        }
        if !heard.has(flag::ACK) {
            return Ok(Taken::Done(Reason::TcpOutOfWindow));
        }
        if self.state == State::SynReceived {
            if heard.acknowledgement != self.iss + 1 {
                self.control(env, heard.acknowledgement, flag::RST);
                return Ok(Taken::Done(Reason::TcpChallenge));
            }
            self.snd_wnd = self.window_of(heard);
            self.become_open(env, heard);
        }
        let oldest = self.una - self.max_wnd;
        if self.max.before(heard.acknowledgement) || heard.acknowledgement.before(oldest) {
            self.challenge(env);
            return Ok(Taken::Done(Reason::TcpChallenge));
        }
        self.heard(env.now);
        self.acknowledged(env, heard);
        if self.state == State::TimeWait {
            if heard.len > 0 || heard.has(flag::FIN) {
                self.ack_due = true;
                self.ends_at = Some(env.now + super::flow::LINGER);
            }
            return Ok(Taken::Done(Reason::TcpOut));
        }
        Ok(self.text(heard))
    }

    /// A SYN where there is a connection, or was: it is answered, whatever its number, and nothing else
    /// of it counts (RFC 9293, 3.10.7.4; RFC 5961, 4.2).
    fn syn_again(&mut self, env: &mut Env<'_, '_>, heard: &Heard) -> Taken {
        let answers = heard.has(flag::ACK);
        if self.state == State::TimeWait && !answers && self.rcv_nxt.before(heard.sequence) {
            return Taken::Reopen;
        }
        if answers && heard.sequence == self.irs {
            // The last step of opening was lost, and the guest, which we have for open, waits for it.
            self.ack_due = true;
            return Taken::Done(Reason::TcpDuplicate);
        }
        self.challenge(env);
        Taken::Done(Reason::TcpChallenge)
    }

    /// Whether any of the segment, or its place, is in the window. As on Linux, a segment that ends
    /// where the window begins is: its acknowledgement counts.
    fn is_acceptable(&self, heard: &Heard) -> bool {
        self.acknowledgement().upto(heard.end()) && heard.sequence.upto(self.rcv_adv)
    }

    fn not_acceptable(&mut self, env: &mut Env<'_, '_>, heard: &Heard) -> Reason {
        if heard.has(flag::RST) {
            return Reason::TcpOutOfWindow;
        }
        if heard.len > 0 || heard.has(flag::FIN) {
            // Data again: the guest missed our acknowledgement, and needs one now.
            self.ack_due = true;
        } else {
            self.challenge(env);
        }
        if heard.end().upto(self.rcv_nxt) && heard.len > 0 {
            Reason::TcpDuplicate
        } else {
            Reason::TcpOutOfWindow
        }
    }

    /// A guest that asks its peer for signs of life wants to know of the peer, not of us. The probe
    /// of a closed window looks the same, and asks for the window only; and so does a lone byte whose
    /// acknowledgement was lost. The first comes while the window is closed, and either soon.
    fn notice_keep_alive(&mut self, env: &mut Env<'_, '_>, heard: &Heard) {
        let asks = heard.sequence == self.rcv_nxt - 1 && heard.len <= 1 && self.flight() == 0;
        if asks && self.state == State::Open && !self.guest_ended {
            let silent = env.now.saturating_since(self.last_heard);
            let least = if heard.len == 0 { ASKS_AFTER } else { ASKS_WITH_BYTE_AFTER };
            // It is silent all the while that it asks.
            self.is_alive(env.now);
            if !self.watches_peer
                && silent >= least
                && self.rcv_nxt.before(self.rcv_adv)
                && let Some(stream) = &mut self.stream
            {
                self.watches_peer = true;
                stream.keep_alive(silent.max(KEEP_ALIVE_LEAST));
            }
        }
    }

    /// The window that a segment announces. That of a SYN is never scaled (RFC 7323, 2.2).
    fn window_of(&self, heard: &Heard) -> u32 {
        if heard.has(flag::SYN) { u32::from(heard.window) } else { self.scaled(heard.window) }
    }

    /// The acknowledgement and the window (RFC 9293, 3.10.7.4; RFC 5681, RFC 6582, RFC 6675).
    fn acknowledged(&mut self, env: &mut Env<'_, '_>, heard: &Heard) {
        let ack = heard.acknowledgement;
        let window = self.window_of(heard);
        let mut news = false;
        if self.sack {
            for &(from, to) in heard.options.blocks() {
                if from.before(to) && self.una.max(ack).upto(from) && to.upto(self.max) {
                    news |= self.board.add(from, to);
                }
            }
        }
        if self.una.before(ack) {
            self.advanced(env, ack);
        } else if ack == self.una
            && heard.len == 0
            && !heard.has(flag::FIN)
            && window == self.snd_wnd
            && self.flight() > 0
        {
            self.duplicates = self.duplicates.saturating_add(1);
            news = true;
        }
        if self.tells_window(heard.sequence, ack) {
            if window > self.snd_wnd && matches!(self.timer, Some((Wait::Persist, _))) {
                (self.timer, self.backoff) = (None, 0);
            }
            self.set_window(heard.sequence, ack, window);
        }
        if news {
            self.detect_loss();
        }
    }

    fn advanced(&mut self, env: &mut Env<'_, '_>, ack: Seq) {
        let (bytes, flight) = (ack.since(self.una), self.flight());
        self.una = ack;
        self.board.acknowledge(ack);
        self.duplicates = 0;
        self.backoff = 0;
        self.timer = None;
        self.redo = false;
        if let Some(timing) = self.timing.filter(|timing| timing.until.upto(ack)) {
            self.trip.sample(env.now.saturating_since(timing.since));
            self.timing = None;
        }
        match self.recovery {
            Recovery::None => self.window.acknowledged(bytes, flight, self.mss),
            Recovery::Fast if !self.sack && ack.before(self.recover) => {
                // The next segment is missing, too (RFC 6582, 3.2).
                (self.resent, self.lost) = (ack, ack + self.mss);
            }
            Recovery::Fast => {}
            Recovery::Timeout => self.window.acknowledged(bytes, u32::MAX, self.mss),
        }
        if self.recover.upto(ack) {
            self.recovery = Recovery::None;
        }
        self.resent = self.resent.max(ack);
        self.lost = self.lost.max(ack);
        if self.recovery == Recovery::None {
            (self.resent, self.lost) = (ack, ack);
        }
    }

    /// The payload and the guest's end.
    fn text(&mut self, heard: &Heard) -> Taken {
        // A SYN comes before the first byte.
        let start = heard.sequence + u32::from(heard.has(flag::SYN));
        let end = start + heard.len;
        if heard.has(flag::FIN) && self.guest_fin.is_none() && end.upto(self.rcv_adv) {
            self.guest_fin = Some(end);
        }
        if heard.len == 0 {
            if heard.has(flag::FIN) {
                self.ack_due = true;
                self.look_ended();
            }
            return Taken::Done(Reason::TcpOut);
        }
        self.ack_due = true;
        // Nothing counts behind the end, nor behind the window.
        let last = self.guest_fin.map_or(self.rcv_adv, |fin| fin.min(self.rcv_adv));
        let from = start.max(self.rcv_nxt);
        let to = end.min(last);
        if !from.before(to) || self.inbox.covers(from, to) {
            self.duplicates_due = self.duplicates_due.saturating_add(1);
            return Taken::Done(if end.upto(last) {
                Reason::TcpDuplicate
            } else {
                Reason::TcpNoRoom
            });
        }
        if self.rcv_nxt.before(from) {
            self.duplicates_due = self.duplicates_due.saturating_add(1);
        }
        // The piece that everything waits for is always taken.
        if self.inbox.len() >= FRAMES_MAX && self.rcv_nxt.before(from) {
            return Taken::Done(Reason::TcpNoRoom);
        }
        let skipped = from.since(start);
        Taken::Keep { sequence: from, offset: heard.offset + skipped, len: to.since(from) }
    }

    /// Holds the payload of a segment.
    pub(super) fn keep(&mut self, pool: &mut Pool, piece: (Seq, u32, u32), frame: Frame) {
        let next = self.inbox.insert(pool, self.rcv_nxt, piece, frame);
        self.bytes_out += u64::from(next.since(self.rcv_nxt));
        self.rcv_nxt = next;
        self.look_ended();
    }

    /// Whether the guest's end is reached.
    fn look_ended(&mut self) {
        if !self.guest_ended && self.guest_fin == Some(self.rcv_nxt) {
            self.guest_ended = true;
            self.rcv_nxt = self.rcv_nxt + 1;
            self.rcv_adv = self.rcv_adv.max(self.rcv_nxt);
        }
    }
}
