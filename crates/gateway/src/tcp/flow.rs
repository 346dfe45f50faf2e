//! One connection: what is remembered of it, and its timers.
//!
//! Names of sequence variables are those of RFC 9293, 3.3.1, seen from the outside: `una`, `max`
//! and `snd_wnd` are about bytes towards the guest, `rcv_nxt` and `rcv_adv` about bytes from it.

use std::net::SocketAddr;
use std::time::Duration;

use engine::Instant;

use super::emit::{self, Says};
use super::inbox::Inbox;
use super::key::Key;
use super::options::{List, Options};
use super::pace::{RoundTrip, Timing, Window};
use super::scoreboard::Scoreboard;
use super::seq::Seq;
use crate::backend::Stream;
use crate::ctx::Ctx;
use crate::report::FlowState;
use crate::{GuestKey, Reason};
use wire::tcp::flag;

/// The shift of windows that we announce (RFC 7323): up to 8 MiB in steps of 128 bytes.
pub(super) const SCALE: u8 = 7;

/// The least window announced while the host's socket takes everything. It is held if the socket
/// then does not take it after all, and the attempt makes the kernel enlarge its buffer.
const WINDOW_MIN: u32 = 65_536;

/// As many segments fit into the least window, however large they are: a guest that may send less
/// than a whole one waits (RFC 1122, 4.2.3.4), and one that may send one waits for each answer.
const WINDOW_SEGMENTS: u32 = 4;

/// The largest window announced on a link without delay, and what delay is. More would only move what
/// waits from the guest's stack, which knows how much that is worth, into the host's, where several
/// connections push each other out of the processor's caches.
const WINDOW_NEAR: u32 = 256 << 10;
const DELAY: Duration = Duration::from_millis(2);

/// The smallest segments that we make, whatever the guest asks for (Linux: `TCP_MIN_SND_MSS`).
pub(super) const MSS_MIN: u32 = 48;

/// The largest segments that a guest is asked for, on a link that carries longer ones too. Linux
/// gives a connection twenty segments of its own memory for a start, each rounded up to a power of
/// two: 2.6 MiB with the longest ones, which for a few connections is more than the processor's caches
/// hold, and 0.6 MiB with these. Its frames are as long as before, two segments in one.
const MSS_TAKEN: u16 = 32_000;

/// What a guest takes that does not say (RFC 9293, 3.7.1).
const MSS_DEFAULT_V4: u16 = 536;
const MSS_DEFAULT_V6: u16 = 1220;

/// How long a connection in which our acknowledgement was the last answers late segments. A link
/// inside one machine keeps none for longer.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// How long what a guest left behind may take to be written.
pub(super) const ORPHAN_PATIENCE: Duration = Duration::from_secs(60);

/// Signs of life are asked for after this much silence (RFC 9293, 3.8.4; tcp(7)).
pub(super) const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(7200);

/// Answers to what could be forged or is outside the window, at most one in this time.
const CHALLENGE_INTERVAL: Duration = Duration::from_millis(500);

/// Before the first look whether the outside has acknowledged the guest's end.
const DRAIN_FIRST: Duration = Duration::from_millis(5);

/// How far a connection is. What RFC 9293 calls established to closed is [`State::Open`] with the
/// ends of both directions kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The guest's SYN is here; the host's socket is connecting. The guest has no answer yet.
    Connecting,
    /// SYN and acknowledgement are under way to the guest.
    SynReceived,
    /// A client outside is connected to us; our SYN is under way to the guest.
    SynSent,
    Open,
    /// Both directions have ended, and our acknowledgement was the last. There is no stream any more.
    TimeWait,
    /// The guest is gone. What it sent before its end waits for the stream.
    Orphan,
}

/// How losses are being repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovery {
    None,
    /// Later segments arrive.
    Fast,
    /// Nothing arrived for the whole time.
    Timeout,
}

/// What the one retransmission timer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// An answer to our SYN.
    Syn,
    /// An acknowledgement.
    Retransmit,
    /// An acknowledgement, for a shorter time: then the last segment is sent again (RFC 8985, 7).
    TailProbe,
    /// What seems lost, and may be out of order only (RFC 8985, 6.2).
    Reorder,
    /// A window.
    Persist,
}

/// Who wants a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opener {
    /// Its guest.
    Guest,
    /// Somebody outside, by a published port.
    Client,
}

/// How a flow leaves the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// In order; nobody is told anything.
    Closed,
    /// The stream is to be reset.
    Abort,
}

/// The surroundings of a call into a flow.
pub(super) struct Env<'e, 'c> {
    pub(super) now: Instant,
    pub(super) ctx: &'e mut Ctx<'c>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Flow<S> {
    pub(super) key: Key,
    /// Where the stream leads, for reports.
    pub(super) host: Option<SocketAddr>,
    pub(super) owner: Option<GuestKey>,
    pub(super) stream: Option<S>,
    pub(super) state: State,
    pub(super) inbound: bool,
    /// While it counts as one that is not open yet: who wants it.
    pub(super) opening: Option<Opener>,
    /// It is accounted as one that has no stream any more.
    pub(super) lingers: bool,
    /// It is in the table's list of work.
    pub(super) queued: bool,
    pub(super) ack_due: bool,
    /// Duplicate acknowledgements that a guest without SACK counts.
    pub(super) duplicates_due: u8,

    // From the outside to the guest.
    pub(super) iss: Seq,
    /// The number of the first byte in the stream.
    pub(super) head: Seq,
    pub(super) una: Seq,
    pub(super) max: Seq,
    /// The number of the outside's end, once it was read.
    pub(super) fin_at: Option<Seq>,
    pub(super) snd_wnd: u32,
    snd_wl1: Seq,
    snd_wl2: Seq,
    pub(super) max_wnd: u32,
    snd_scale: u8,
    pub(super) sack: bool,
    pub(super) mss: u32,
    /// There may be something to read.
    pub(super) readable: bool,
    /// Urgent data was seen, at which reads stop short, or the outside's end.
    pub(super) careful: bool,
    pub(super) window: Window,
    pub(super) trip: RoundTrip,
    pub(super) timing: Option<Timing>,
    pub(super) recovery: Recovery,
    pub(super) recover: Seq,
    /// Unreported bytes before this are lost; those before `resent` were sent again.
    pub(super) lost: Seq,
    pub(super) resent: Seq,
    /// `max` when the oldest byte was last sent again.
    pub(super) mark: Seq,
    pub(super) redo: bool,
    pub(super) probe_tail: bool,
    pub(super) duplicates: u32,
    pub(super) board: Scoreboard,

    // From the guest to the outside.
    pub(super) irs: Seq,
    pub(super) rcv_nxt: Seq,
    pub(super) rcv_adv: Seq,
    /// `rcv_nxt` when the stream was last asked for its room.
    asked_at: Option<Seq>,
    rcv_scale: u8,
    pub(super) guest_fin: Option<Seq>,
    /// All of the guest's data is here.
    pub(super) guest_ended: bool,
    /// The outside's end was sent with the acknowledgement of the guest's: it is the guest that lingers.
    pub(super) guest_lingers: bool,
    /// The stream's end was written.
    pub(super) ended_out: bool,
    /// The outside has acknowledged all of it.
    pub(super) drained: bool,
    /// The last write found no room; a report will tell when there is.
    pub(super) full: bool,
    pub(super) inbox: Inbox,

    // Time.
    pub(super) timer: Option<(Wait, Instant)>,
    pub(super) backoff: u8,
    /// Times that something was sent again, or the window asked for, without any sign of the guest.
    pub(super) silence: u8,
    /// Times that it was asked for a sign of life since.
    pub(super) asked: u8,
    pub(super) drain_at: Option<Instant>,
    pub(super) drain_wait: Duration,
    /// When a connection that lingers, or has no guest any more, goes.
    pub(super) ends_at: Option<Instant>,
    pub(super) last_heard: Instant,
    pub(super) keep_alive_at: Instant,
    challenge_at: Instant,
    pub(super) watches_peer: bool,
    /// What the wheel is set to.
    pub(super) wheel_at: Option<Instant>,

    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

impl<S: Stream> Flow<S> {
    /// A connection in which nothing was said yet.
    pub(super) fn new(now: Instant, key: Key, iss: Seq, state: State, mtu: usize) -> Self {
        Self {
            key,
            host: None,
            owner: None,
            stream: None,
            state,
            inbound: state == State::SynSent,
            opening: Some(if state == State::SynSent { Opener::Client } else { Opener::Guest }),
            lingers: false,
            queued: false,
            ack_due: false,
            duplicates_due: 0,
            iss,
            head: iss + 1,
            una: iss,
            max: iss,
            fin_at: None,
            snd_wnd: 0,
            snd_wl1: Seq(0),
            snd_wl2: Seq(0),
            max_wnd: 0,
            snd_scale: 0,
            sack: false,
            mss: u32::from(emit::mss_for(&key, mtu)),
            readable: false,
            careful: false,
            window: Window::new(),
            trip: RoundTrip::default(),
            timing: None,
            recovery: Recovery::None,
            recover: iss,
            lost: iss,
            resent: iss,
            mark: iss,
            redo: false,
            probe_tail: false,
            duplicates: 0,
            board: Scoreboard::default(),
            irs: Seq(0),
            rcv_nxt: Seq(0),
            rcv_adv: Seq(0),
            asked_at: None,
            rcv_scale: 0,
            guest_fin: None,
            guest_ended: false,
            guest_lingers: false,
            ended_out: false,
            drained: false,
            full: false,
            inbox: Inbox::default(),
            timer: None,
            backoff: 0,
            silence: 0,
            asked: 0,
            drain_at: None,
            drain_wait: DRAIN_FIRST,
            ends_at: None,
            last_heard: now,
            keep_alive_at: now + KEEP_ALIVE_IDLE,
            challenge_at: Instant::EPOCH,
            watches_peer: false,
            wheel_at: None,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// Takes over what the guest's SYN says.
    pub(super) fn take_syn(&mut self, sequence: Seq, window: u16, options: &Options) {
        self.irs = sequence;
        self.rcv_nxt = sequence + 1;
        self.rcv_adv = self.rcv_nxt;
        let default = if self.key.is_v6() { MSS_DEFAULT_V6 } else { MSS_DEFAULT_V4 };
        let asked = u32::from(options.mss.unwrap_or(default)).max(MSS_MIN);
        self.mss = self.mss.min(asked);
        self.sack = options.sack_permitted;
        (self.snd_scale, self.rcv_scale) = match options.window_scale {
            Some(scale) => (scale, SCALE),
            None => (0, 0),
        };
        // The window of a SYN is never scaled (RFC 7323, 2.2).
        self.set_window(sequence, self.una, u32::from(window));
    }

    /// Takes a window that the guest announced.
    pub(super) fn set_window(&mut self, sequence: Seq, acknowledgement: Seq, window: u32) {
        self.snd_wnd = window;
        self.max_wnd = self.max_wnd.max(window);
        self.snd_wl1 = sequence;
        self.snd_wl2 = acknowledgement;
    }

    /// Whether a segment is recent enough to tell the window (RFC 9293, 3.10.7.4).
    pub(super) fn tells_window(&self, sequence: Seq, acknowledgement: Seq) -> bool {
        self.snd_wl1.before(sequence)
            || (self.snd_wl1 == sequence && self.snd_wl2.upto(acknowledgement))
    }

    pub(super) fn scaled(&self, window: u16) -> u32 {
        u32::from(window) << self.snd_scale
    }

    /// Bytes under way to the guest, its end included.
    pub(super) fn flight(&self) -> u32 {
        self.max.since(self.una)
    }

    /// Whether the outside's end was sent to the guest.
    pub(super) fn fin_sent(&self) -> bool {
        self.fin_at.is_some_and(|at| at.before(self.max))
    }

    /// Whether the guest has acknowledged it.
    pub(super) fn fin_acknowledged(&self) -> bool {
        self.fin_at.is_some_and(|at| at.before(self.una))
    }

    /// Whether both directions have come to their end.
    pub(super) fn is_finished(&self) -> bool {
        self.state == State::Open && self.drained && self.fin_acknowledged()
    }

    /// What we acknowledge: everything that is here in order. The guest's end counts only when the
    /// outside has it, so that the guest's stack waits as long as it would without us.
    pub(super) fn acknowledgement(&self) -> Seq {
        if self.guest_ended && !self.drained { self.rcv_nxt - 1 } else { self.rcv_nxt }
    }

    /// The least window to announce while the stream takes everything.
    pub(super) fn window_least(&self) -> u32 {
        WINDOW_MIN.max(WINDOW_SEGMENTS * self.mss.min(MSS_TAKEN.into()))
    }

    /// The window to announce. It never takes back what was announced before (RFC 9293, 3.8.6), and
    /// grows in steps that are worth a segment (3.8.6.2.2).
    ///
    /// Nobody tells us when the stream has more room, unless a write found none. So whenever it has
    /// taken everything, the window is at least what keeps the guest sending, and its next segments
    /// bring the next look, or the write that finds no room.
    ///
    /// While the guest's end waits, there is no room for it: its stack asks again for as long as that
    /// is the answer (3.8.6.1). Nothing else of it can come, so that what was announced stays true.
    fn announce(&mut self) -> u16 {
        if self.guest_ended && !self.drained {
            return 0;
        }
        let next = self.rcv_nxt;
        let open = self.rcv_adv.since(next);
        let least = self.window_least();
        let step = (2 * self.mss).min(WINDOW_MIN / 2);
        // What came since the last look is no step, and there is enough to go on: the kernel need not be
        // asked for each of the small things that are said and answered.
        let is_known = open >= least / 2 && self.asked_at.is_some_and(|at| next.since(at) < step);
        if self.state == State::Open && !self.guest_ended && !is_known {
            let room = match &self.stream {
                Some(stream) if self.inbox.is_written() => {
                    self.asked_at = Some(next);
                    u32::try_from(stream.room()).unwrap_or(u32::MAX).max(least)
                }
                _ => 0,
            };
            let is_near = self.trip.smoothed().is_some_and(|time| time < DELAY);
            let near = if is_near { WINDOW_NEAR } else { u32::MAX };
            let most = (0xffff << self.rcv_scale).min(near);
            let edge = next + room.min(most);
            if edge.since(self.rcv_adv) >= step {
                // A multiple of the unit, so that what the guest reads is what we mean.
                let unit = 1_u32 << self.rcv_scale;
                self.rcv_adv = next + (edge.since(next) & !(unit - 1));
            }
        }
        // Rounded up, or else an edge that does not move would seem to move back.
        let window = self.rcv_adv.since(next).div_ceil(1 << self.rcv_scale).min(0xffff);
        self.rcv_adv = self.rcv_adv.max(next + (window << self.rcv_scale));
        window as u16
    }

    /// Sends a segment without payload.
    pub(super) fn control(&mut self, env: &mut Env<'_, '_>, sequence: Seq, flags: u8) {
        let window = self.announce();
        let (blocks, count) = self.inbox.blocks();
        let list = if self.sack && flags & flag::RST == 0 {
            List::of_blocks(blocks.get(..count).unwrap_or_default())
        } else {
            List::new()
        };
        let says = Says {
            sequence,
            acknowledgement: self.acknowledgement(),
            flags,
            window,
            options: list.bytes(),
        };
        emit::control(env.ctx, &self.key, &says);
        self.ack_due = false;
    }

    /// What a data segment says.
    pub(super) fn data_header(&mut self, sequence: Seq, push: bool) -> Says<'static> {
        let window = self.announce();
        if !(self.sack && self.inbox.has_gap()) {
            self.ack_due = false;
        }
        let flags = flag::ACK | if push { flag::PSH } else { 0 };
        Says { sequence, acknowledgement: self.acknowledgement(), flags, window, options: &[] }
    }

    /// Acknowledges, as often as is due.
    pub(super) fn acknowledge_due(&mut self, env: &mut Env<'_, '_>) {
        let times = if self.sack { 1 } else { self.duplicates_due.clamp(1, 3) };
        self.duplicates_due = 0;
        for _ in 0..times {
            self.control(env, self.max, flag::ACK);
        }
    }

    /// Sends our SYN, with or without an acknowledgement.
    pub(super) fn send_syn(&mut self, env: &mut Env<'_, '_>) {
        let answers = self.state == State::SynReceived;
        let (scale, sack) = if answers {
            ((self.rcv_scale > 0).then_some(SCALE), self.sack)
        } else {
            (Some(SCALE), true)
        };
        let mss = emit::mss_for(&self.key, env.ctx.mtu).min(MSS_TAKEN);
        let list = List::of_syn(mss, scale, sack);
        if answers {
            self.rcv_adv = self.rcv_nxt + 0xffff;
        }
        let says = Says {
            sequence: self.iss,
            acknowledgement: if answers { self.rcv_nxt } else { Seq(0) },
            flags: if answers { flag::SYN | flag::ACK } else { flag::SYN },
            window: 0xffff,
            options: list.bytes(),
        };
        emit::control(env.ctx, &self.key, &says);
        self.max = self.iss + 1;
        if self.timer.is_none() {
            self.timing = Some(Timing { until: self.max, since: env.now });
        } else {
            env.ctx.counters.count(Reason::TcpRetransmitted);
            self.timing = None;
        }
        self.timer = Some((Wait::Syn, env.now + self.trip.timeout(self.backoff)));
    }

    /// Tells the guest that the connection is gone. Not before it knows of it.
    pub(super) fn send_reset(&mut self, env: &mut Env<'_, '_>) {
        match self.state {
            State::Connecting => self.control(env, Seq(0), flag::RST | flag::ACK),
            State::SynSent => self.control(env, self.max, flag::RST),
            State::SynReceived | State::Open => {
                self.control(env, self.max, flag::RST | flag::ACK);
            }
            State::TimeWait | State::Orphan => {}
        }
    }

    /// An answer to what may be forged, if there was none a moment ago (RFC 5961, 7).
    pub(super) fn challenge(&mut self, env: &mut Env<'_, '_>) {
        if self.challenge_at <= env.now {
            self.challenge_at = env.now + CHALLENGE_INTERVAL;
            self.ack_due = true;
        }
    }

    /// The guest has said something.
    pub(super) fn heard(&mut self, now: Instant) {
        self.last_heard = now;
        self.is_alive(now);
    }

    /// The guest has given a sign of life.
    pub(super) fn is_alive(&mut self, now: Instant) {
        self.keep_alive_at = now + KEEP_ALIVE_IDLE;
        (self.silence, self.asked) = (0, 0);
    }

    /// What people are shown.
    pub(super) fn report_state(&self) -> FlowState {
        match self.state {
            State::Connecting | State::SynReceived | State::SynSent => FlowState::Opening,
            State::Open if self.guest_ended || self.fin_at.is_some() => FlowState::Closing,
            State::Open => FlowState::Open,
            State::TimeWait | State::Orphan => FlowState::Closing,
        }
    }
}
