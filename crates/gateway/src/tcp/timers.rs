//! What a connection does when its time has come: sends again, probes, asks for signs of life, gives
//! up.

use std::time::Duration;

use engine::Instant;
use wire::tcp::flag;

use super::flow::{Env, Flow, KEEP_ALIVE_IDLE, Over, State, Wait};
use crate::Reason;
use crate::backend::Stream;

/// How often a SYN is sent at most: 63 s in all.
const SYN_TRIES: u8 = 6;

/// Times without any sign of the guest after which it is given up, a quarter of an hour.
const SILENCE_MAX: u8 = 15;

/// Once asked for, signs of life are asked for as often as that.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(75);
const KEEP_ALIVE_TRIES: u8 = 9;

/// Between looks whether the outside has acknowledged the guest's end, at most.
const DRAIN_LAST: Duration = Duration::from_secs(1);

impl<S: Stream> Flow<S> {
    /// The earliest moment at which [`Flow::timeout`] has something to do.
    pub(super) fn deadline(&self) -> Instant {
        [self.timer.map(|(_, at)| at), self.drain_at, self.ends_at]
            .into_iter()
            .flatten()
            .fold(self.keep_alive_at, Instant::min)
    }

    /// Does what is due.
    pub(super) fn timeout(&mut self, env: &mut Env<'_, '_>) -> Result<(), Over> {
        let now = env.now;
        if self.ends_at.is_some_and(|at| at <= now) {
            if self.state != State::Orphan {
                return Err(Over::Closed);
            }
            env.ctx.counters.count(Reason::TcpLeftBehind);
            return Err(Over::Abort);
        }
        if self.drain_at.is_some_and(|at| at <= now) {
            self.look_drained(now);
        }
        if let Some((wait, at)) = self.timer
            && at <= now
        {
            self.waited(env, wait)?;
        }
        if self.keep_alive_at <= now {
            return self.ask_for_life(env);
        }
        Ok(())
    }

    /// Nothing was heard of the guest for long.
    fn ask_for_life(&mut self, env: &mut Env<'_, '_>) -> Result<(), Over> {
        // The socket decides how long connecting takes, and where an acknowledgement or a window is
        // waited for, that decides.
        if self.state != State::Open || self.timer.is_some() {
            self.keep_alive_at = env.now + KEEP_ALIVE_IDLE;
            return Ok(());
        }
        if self.asked >= KEEP_ALIVE_TRIES {
            return Err(self.give_up(env));
        }
        self.asked += 1;
        self.keep_alive_at = env.now + KEEP_ALIVE_INTERVAL;
        self.control(env, self.una - 1, flag::ACK);
        Ok(())
    }

    fn waited(&mut self, env: &mut Env<'_, '_>, wait: Wait) -> Result<(), Over> {
        if self.silence >= SILENCE_MAX || (wait == Wait::Syn && self.backoff + 1 >= SYN_TRIES) {
            return Err(self.give_up(env));
        }
        match wait {
            Wait::Syn => {
                self.backoff += 1;
                self.send_syn(env);
            }
            Wait::Retransmit => {
                self.silence += 1;
                env.ctx.counters.count(Reason::TcpTimeouts);
                self.time_out();
                self.timer = Some((wait, env.now + self.trip.timeout(self.backoff)));
            }
            Wait::TailProbe => {
                self.probe_tail = true;
                self.timer = Some((Wait::Retransmit, env.now + self.trip.timeout(self.backoff)));
            }
            Wait::Reorder => {
                self.repair_reordered();
                self.timer = Some((Wait::Retransmit, env.now + self.trip.timeout(self.backoff)));
            }
            Wait::Persist => {
                // Nothing is read while the window is closed, so that an error is not met by reading.
                if self.has_failed() {
                    env.ctx.counters.count(Reason::TcpReset);
                    self.send_reset(env);
                    return Err(Over::Abort);
                }
                self.silence += 1;
                self.backoff = self.backoff.saturating_add(1);
                // A number that was acknowledged before makes the guest repeat its window.
                self.control(env, self.una - 1, flag::ACK);
                self.timer = Some((wait, env.now + self.trip.timeout(self.backoff)));
            }
        }
        Ok(())
    }

    /// Whether the guest takes nothing now.
    pub(super) fn is_shut(&self) -> bool {
        self.state == State::Open && self.snd_wnd == 0
    }

    /// Whether the outside has reset the connection.
    pub(super) fn has_failed(&mut self) -> bool {
        self.stream.as_mut().is_some_and(|stream| stream.failure().is_some())
    }

    fn give_up(&mut self, env: &mut Env<'_, '_>) -> Over {
        env.ctx.counters.count(Reason::TcpUnanswered);
        if self.state != State::SynSent {
            self.send_reset(env);
        }
        Over::Abort
    }

    /// The outside may have everything that the guest sent: it has just said something.
    pub(super) fn notice_drained(&mut self) {
        if self.ended_out
            && !self.drained
            && self.stream.as_ref().is_none_or(Stream::is_acknowledged)
        {
            self.drained = true;
            self.ack_due = true;
            self.drain_at = None;
        }
    }

    /// Looks whether the outside has everything that the guest sent, and when to look again.
    pub(super) fn look_drained(&mut self, now: Instant) {
        if !self.ended_out || self.drained {
            self.drain_at = None;
            return;
        }
        self.notice_drained();
        if !self.drained {
            self.drain_at = Some(now + self.drain_wait);
            self.drain_wait = (self.drain_wait * 2).min(DRAIN_LAST);
        }
    }
}
