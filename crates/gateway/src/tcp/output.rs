//! A connection does what it can: takes what was acknowledged away from the stream, writes what the
//! guest sent, sends what the outside sent, repairs losses, acknowledges.

use wire::tcp::flag;

use super::emit;
use super::flow::{Env, Flow, LINGER, MSS_MIN, ORPHAN_PATIENCE, Over, Recovery, State, Wait};
use super::seq::Seq;
use crate::Reason;
use crate::backend::{Peek, Stream, StreamError};

/// What is left after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing, until something happens.
    Nothing,
    /// More of the same.
    More,
    /// More, when the guest's queue has room.
    Room,
}

impl<S: Stream> Flow<S> {
    /// One turn: at most one large frame goes to the guest.
    pub(super) fn serve(&mut self, env: &mut Env<'_, '_>) -> Result<Rest, Over> {
        if self.state == State::Orphan {
            return self.deliver(env).map(|()| Rest::Nothing);
        }
        if self.state != State::Open {
            if self.ack_due && matches!(self.state, State::SynReceived | State::TimeWait) {
                self.acknowledge_due(env);
            }
            return Ok(Rest::Nothing);
        }
        match self.exchange(env) {
            Ok(rest) => {
                if self.ack_due {
                    self.acknowledge_due(env);
                }
                if self.is_finished() {
                    self.finish(env)?;
                }
                self.set_timer(env);
                Ok(rest)
            }
            Err(_) => {
                env.ctx.counters.count(Reason::TcpReset);
                self.send_reset(env);
                Err(Over::Abort)
            }
        }
    }

    /// The guest is gone. A connection whose guest has ended its direction hands over what it has:
    /// `Ok` says that some of it waits for the stream, an error how the connection ends now.
    pub(super) fn bequeath(&mut self, env: &mut Env<'_, '_>) -> Result<(), Over> {
        if self.state != State::Open || !self.guest_ended {
            return Err(Over::Abort);
        }
        // A stream that is closed with something unread is reset by the kernel.
        self.take_acknowledged().map_err(|_| Over::Abort)?;
        self.deliver(env)?;
        self.state = State::Orphan;
        (self.timer, self.drain_at) = (None, None);
        self.ends_at = Some(env.now + ORPHAN_PATIENCE);
        Ok(())
    }

    /// Writes what the guest left behind. The connection ends when the stream has it.
    fn deliver(&mut self, env: &mut Env<'_, '_>) -> Result<(), Over> {
        match self.write_out(env) {
            Ok(()) if self.ended_out => Err(Over::Closed),
            Ok(()) => Ok(()),
            Err(_) => {
                env.ctx.counters.count(Reason::TcpReset);
                Err(Over::Abort)
            }
        }
    }

    fn exchange(&mut self, env: &mut Env<'_, '_>) -> Result<Rest, StreamError> {
        self.take_acknowledged()?;
        self.write_out(env)?;
        self.send(env)
    }

    /// What the guest has acknowledged is not needed any more.
    fn take_acknowledged(&mut self) -> Result<(), StreamError> {
        let done = self.fin_at.map_or(self.una, |fin| self.una.min(fin));
        let count = done.since(self.head);
        if count > 0
            && let Some(stream) = &mut self.stream
        {
            stream.discard(count as usize)?;
            self.head = done;
            // Some streams tell their end, and what is behind a mark, only when nothing is before it.
            self.readable |= self.careful && self.fin_at.is_none() && done == self.max;
        }
        Ok(())
    }

    /// Writes what is here in order, and the guest's end behind it.
    fn write_out(&mut self, env: &mut Env<'_, '_>) -> Result<(), StreamError> {
        let least = self.window_least();
        let Some(stream) = &mut self.stream else { return Ok(()) };
        if !self.full && !self.inbox.is_written() {
            if self.inbox.write(env.ctx.pool, stream)? {
                // What waited for room kept the window from moving.
                self.ack_due |= self.rcv_adv.since(self.rcv_nxt) < least / 2;
            } else {
                self.full = true;
            }
        }
        if self.guest_ended && !self.ended_out && self.inbox.is_written() {
            stream.end()?;
            self.ended_out = true;
            self.look_drained(env.now);
        }
        Ok(())
    }

    /// Sends one frame, if there is something and it may be sent.
    fn send(&mut self, env: &mut Env<'_, '_>) -> Result<Rest, StreamError> {
        let Some((from, mut len, again)) = self.next_range() else { return Ok(Rest::Nothing) };
        let (pipe, window) = (self.pipe(), self.window.size());
        if !self.probe_tail && pipe > 0 {
            if pipe >= window {
                return Ok(Rest::Nothing);
            }
            len = len.min(self.whole_segments(window - pipe));
        } else if !self.probe_tail {
            len = len.min(self.whole_segments(window));
        }
        let headers = emit::headers_len(&self.key);
        let room = env.ctx.room_for(self.key.guest().ip()).saturating_sub(headers);
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        if room < len {
            if room < self.mss.min(len) {
                return Ok(Rest::Room);
            }
            len = self.whole_segments(room).min(room);
        }
        if self.fin_at == Some(from) {
            return Ok(self.send_fin(env, from, again));
        }
        self.send_data(env, from, len, again)
    }

    /// At most `bytes`, in whole segments, but at least one.
    fn whole_segments(&self, bytes: u32) -> u32 {
        (bytes - bytes % self.mss).max(self.mss)
    }

    /// What is to be sent next: from where, how much at most, and whether it was sent before. The
    /// outside's end counts one.
    fn next_range(&self) -> Option<(Seq, u32, bool)> {
        let most = emit::payload_max(&self.key, self.mss);
        let within = |from: Seq, to: Seq| {
            // The end is a segment of its own.
            let to = match self.fin_at {
                Some(fin) if from.before(fin) => to.min(fin),
                _ => to,
            };
            (from, to.since(from).min(most))
        };
        if self.probe_tail && self.flight() > 0 {
            let start = (self.max - self.mss.min(self.flight())).max(self.una);
            let start = match self.fin_at {
                Some(fin) if self.fin_sent() => fin,
                _ => start,
            };
            let (from, len) = within(start, self.max);
            return Some((from, len, true));
        }
        let start = if self.redo { self.una } else { self.resent.max(self.una) };
        let end = if self.redo { self.resent } else { self.lost };
        if self.recovery != Recovery::None
            && let Some((from, to)) = self.board.hole(start, end)
        {
            let (from, len) = within(from, to);
            return Some((from, len, true));
        }
        if self.fin_sent() {
            return None;
        }
        let open = (self.una + self.snd_wnd).since(self.max);
        let wants = self.readable || self.fin_at == Some(self.max);
        (open > 0 && wants).then(|| (self.max, open.min(most), false))
    }

    /// Bytes that are thought to be on the way.
    fn pipe(&self) -> u32 {
        let gone =
            if self.sack { self.board.bytes() } else { self.duplicates.saturating_mul(self.mss) };
        let missing = if self.recovery == Recovery::None {
            0
        } else {
            self.board.unreported(self.resent.max(self.una), self.lost)
        };
        self.flight().saturating_sub(gone).saturating_sub(missing)
    }

    fn send_fin(&mut self, env: &mut Env<'_, '_>, from: Seq, again: bool) -> Rest {
        if !again {
            self.notice_drained();
            self.guest_lingers = self.drained;
        }
        self.control(env, from, flag::FIN | flag::ACK);
        self.sent(env, from, 1, again);
        Rest::Nothing
    }

    fn send_data(
        &mut self,
        env: &mut Env<'_, '_>,
        from: Seq,
        len: u32,
        again: bool,
    ) -> Result<Rest, StreamError> {
        let Some(stream) = &mut self.stream else { return Ok(Rest::Nothing) };
        let Ok(lease) = env.ctx.pool.lease_large() else {
            env.ctx.counters.count(Reason::PoolEmpty);
            return Ok(Rest::Room);
        };
        let start = emit::headers_len(&self.key);
        let bytes = env.ctx.pool.lease_mut(&lease);
        let buffer = bytes.get_mut(start..start + len as usize).unwrap_or_default();
        let found = stream.peek(from.since(self.head) as usize, buffer);
        let count = match found {
            Ok(Peek::Bytes(count)) => count,
            Ok(Peek::Nothing) => {
                env.ctx.pool.give_back(lease);
                self.readable = self.readable && again;
                self.probe_tail = false;
                return Ok(Rest::Nothing);
            }
            Ok(Peek::End) => {
                env.ctx.pool.give_back(lease);
                self.fin_at = Some(from);
                return Ok(self.send_fin(env, from, again));
            }
            Err(error) => {
                env.ctx.pool.give_back(lease);
                return Err(error);
            }
        };
        let is_short = (count as u32) < len;
        if is_short && !again && !self.careful {
            self.readable = false;
        }
        let says = self.data_header(from, is_short || again);
        emit::data(env.ctx, &self.key, &says, lease, count, self.mss);
        env.ctx.spend(self.key.guest().ip(), start + count);
        self.sent(env, from, count as u32, again);
        Ok(if self.readable || again { Rest::More } else { Rest::Nothing })
    }

    /// Takes note of what was sent.
    fn sent(&mut self, env: &mut Env<'_, '_>, from: Seq, len: u32, again: bool) {
        let end = from + len;
        if again {
            env.ctx.counters.count(Reason::TcpRetransmitted);
            self.timing = None;
            if self.probe_tail {
                self.probe_tail = false;
                return;
            }
            if from == self.una {
                self.mark = self.max;
            }
            self.redo = false;
            self.resent = self.resent.max(end);
            return;
        }
        self.max = end;
        if self.fin_at.is_none_or(|fin| end.upto(fin)) {
            self.bytes_in += u64::from(len);
        }
        if self.timing.is_none() && self.recovery == Recovery::None {
            self.timing = Some(super::pace::Timing { until: end, since: env.now });
        }
    }

    /// Looks for losses after the guest reported something (RFC 6675, 5; RFC 5681, 3.2).
    pub(super) fn detect_loss(&mut self) {
        if self.recovery == Recovery::Timeout {
            return;
        }
        if !self.sack {
            if self.duplicates >= 3
                && self.recovery == Recovery::None
                && self.recover.upto(self.una)
            {
                self.begin_repair();
                self.lost = self.una + self.mss.min(self.flight());
            }
            return;
        }
        if let Some(edge) = self.board.lost_before(self.mss)
            && self.una.before(edge)
        {
            if self.recovery == Recovery::None {
                self.begin_repair();
            }
            self.lost = self.lost.max(edge);
        }
        // What was sent after the oldest byte was sent again has arrived, and it has not: it was
        // lost again.
        if self.recovery == Recovery::Fast
            && self.una.before(self.resent)
            && self.board.top().is_some_and(|top| top.since(self.mark) > 2 * self.mss)
        {
            self.redo = true;
        }
    }

    /// Some segments arrived out of order, and those before them did not come in time.
    pub(super) fn repair_reordered(&mut self) {
        if let Some(edge) = self.board.top_start()
            && self.recovery == Recovery::None
        {
            self.begin_repair();
            self.lost = edge;
        }
    }

    fn begin_repair(&mut self) {
        self.window.reduce(self.flight(), self.mss);
        self.recovery = Recovery::Fast;
        self.recover = self.max;
        (self.resent, self.mark) = (self.una, self.max);
        self.redo = false;
    }

    /// Nothing was acknowledged for the whole time: everything is sent again, slowly at first
    /// (RFC 6298, 5.4 to 5.7; RFC 5681, 3.1).
    pub(super) fn time_out(&mut self) {
        self.window.collapse(self.flight(), self.mss, self.recovery == Recovery::Timeout);
        if self.backoff > 0 {
            // The guest may have thrown away what it reported (RFC 2018, 8).
            self.board.clear();
        }
        self.backoff = self.backoff.saturating_add(1);
        self.recovery = Recovery::Timeout;
        self.recover = self.max;
        (self.resent, self.lost) = (self.una, self.max);
        (self.redo, self.probe_tail, self.duplicates) = (false, false, 0);
        self.timing = None;
    }

    /// The path takes no segments larger than `mss`: what is under way is sent again in smaller ones
    /// (RFC 1191, 6.4).
    pub(super) fn shrink(&mut self, mss: u32) {
        let mss = mss.max(MSS_MIN);
        if mss < self.mss && self.state == State::Open {
            self.mss = mss;
            if self.flight() > 0 {
                self.recovery = Recovery::Timeout;
                self.recover = self.max;
                (self.resent, self.lost) = (self.una, self.max);
                self.redo = false;
                self.timing = None;
            }
        }
    }

    /// Arms the retransmission timer for what is under way now, if it is not armed.
    fn set_timer(&mut self, env: &Env<'_, '_>) {
        let wait = if self.flight() > 0 {
            if self.recovery != Recovery::None {
                Wait::Retransmit
            } else if !self.board.is_empty() {
                Wait::Reorder
            } else if self.flight() > self.mss && self.trip.smoothed().is_some() {
                Wait::TailProbe
            } else {
                Wait::Retransmit
            }
        } else if self.snd_wnd == 0 && (self.readable || self.fin_at == Some(self.max)) {
            Wait::Persist
        } else {
            self.timer = None;
            return;
        };
        match self.timer {
            // A probe or a retransmission under way keeps its time; a suspicion comes before both.
            Some((armed, _)) if armed == wait => {}
            Some((Wait::Retransmit, _)) if wait == Wait::TailProbe => {}
            _ => {
                let after = match wait {
                    Wait::Reorder => self.trip.reorder_window(),
                    Wait::TailProbe => self.trip.probe_timeout(),
                    _ => self.trip.timeout(self.backoff),
                };
                self.timer = Some((wait, env.now + after));
            }
        }
    }

    /// Both directions have ended. The side whose acknowledgement is the last one must be able to repeat
    /// it (RFC 9293, 3.6.1): the one that ended first, or both where the ends crossed.
    fn finish(&mut self, env: &mut Env<'_, '_>) -> Result<(), Over> {
        env.ctx.counters.count(Reason::TcpClosed);
        if self.guest_lingers {
            return Err(Over::Closed);
        }
        self.state = State::TimeWait;
        self.stream = None;
        self.timer = None;
        self.drain_at = None;
        self.ends_at = Some(env.now + LINGER);
        Ok(())
    }
}
