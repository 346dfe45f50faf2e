//! The link to a network device behind the helper `netherd-nic`.
//!
//! # Theory of operation
//!
//! Frames go in messages of one or many records ([`::nic::protocol`]), which are read into the scratch
//! space and copied out. The bytes of a large frame are in a slot of the memory that is shared with the
//! helper ([`::nic::slots`]). They are copied from there, so nobody can change them when the engine looks;
//! but of TCP to be segmented only the headers are looked at, so only they are copied at once, and the
//! rest when somebody asks for it ([`super::borrowed`]).
//!
//! Large frames that are sent stay in the pool, where the helper can read them, and are this link's until
//! the helper gives their slot back, which is looked at whenever something is sent or received. Where it cannot read
//! the pool they are copied into the slot. When all slots are taken, the helper has enough to do for a while, and
//! the link waits.
//!
//! The helper lets only those addresses send and receive that were *claimed*. This link claims the
//! source address of a frame in front of the first frame that has it, so that guests may come and go
//! without anybody's telling; [`Link::address`] claims and releases beforehand, for guests that only
//! listen. When the user's allowance is used up, what was claimed for a guest of the network stays, and
//! of the others the one that was silent for longest is released, if it was for [`SILENT`]: a client
//! that sends from many addresses makes nobody deaf who has one. An address that has no place, or that
//! the helper refused, is asked for again now and then, at once when it was only asked for too soon;
//! its frames are given up here (`link-refused`) and the log says why.
//!
//! If the helper ends, the link ends; whoever owns the network opens another one.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use ::nic::protocol::{
    self, ALONE, ClaimRefusal, FRAME_MAX, FromHelper, HEADER_LEN, Lent, MESSAGE_MAX, PLACE_LEN,
    Place, RECORD_LEN, RECORDS_MAX, Records, Welcome,
};
use ::nic::reason::Reason;
use ::nic::slots::{SLOTS, Slots, Way};
use engine::{BATCH, Frame, Pool, TxBatch};
use sys::errno;
use wire::{MacAddr, VNET_HDR_LEN, vnet};

use super::borrowed::{Lender, take_from_slots};
use super::tap::encode_header;
use super::{CloseReason, Intake, Link, LinkState, Progress, Sent, copy_frame, release_front};
use crate::log;

/// Bytes one visit reads at most, as for taps.
const VISIT_BYTES: usize = 512 * 1024;

/// Messages one visit reads at most.
const VISIT_MESSAGES: usize = 64;

/// Frames of a refused address that are given up before it is asked for again.
const ASK_AGAIN: u32 = 1024;

/// Nanoseconds until one that was asked for too soon is asked for again.
const TOO_SOON: u64 = 100_000_000;

/// Nanoseconds for which an address has to be silent before another one may have its place.
const SILENT: u64 = 60_000_000_000;

/// Addresses that are remembered as refused.
const REFUSED_MAX: usize = 64;

/// First and longest pause before a helper with full slots is tried again: it sends a slot's worth
/// in about 10 us, unless the user's rate or the device holds it back.
const RETRY_FIRST: Duration = Duration::from_micros(100);
const RETRY_LAST: Duration = Duration::from_millis(5);

/// Large frames that one message tells of: half of the slots, so that the helper empties one half while we fill the
/// other. A message and the wake-up that comes of it cost as much as copying a third of a frame.
const LARGE_BATCH: usize = SLOTS as usize / 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Claimed, granted or not answered yet. Frames may follow the claim at once.
    Ours,
    /// Refused; frames given up since then.
    Refused(u32),
    /// Asked for too soon after others; not again before this time.
    Later(u64),
}

#[derive(Clone, Copy, Debug)]
struct Claim {
    state: State,
    /// When a frame was last sent from it, in nanoseconds ([`sys::clock`]).
    used: u64,
    /// It was announced: a guest of the network has it, who may only listen.
    announced: bool,
    /// Why it was refused the last time.
    why: Option<ClaimRefusal>,
}

/// What is to be done with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    Send,
    /// Only after its address has been claimed.
    Claim(MacAddr),
    GiveUp,
}

#[derive(Debug)]
pub(crate) struct NicLink {
    fd: OwnedFd,
    max_macs: usize,
    claims: HashMap<MacAddr, Claim>,
    /// The last source address that was allowed to send.
    last: Option<MacAddr>,
    /// The time of [`Claim::used`], read once a batch.
    clock: u64,
    memory: Rc<Lender>,
    /// Whether the helper reads the memory of the pool.
    lends: bool,
    /// Frames that it was told of there, by the slot that it gives back when it needs them no more.
    lent: [Option<Frame>; SLOTS as usize],
    lent_count: usize,
    /// How long to wait for a free slot the next time.
    pause: Duration,
    /// Frames that were read and did not fit the batch: a message of their own.
    rest: Vec<u8>,
    kernel_drops: u64,
}

impl NicLink {
    /// `lends`: the helper reads the memory of the pool.
    pub(crate) fn new(
        fd: OwnedFd,
        slots: Slots,
        welcome: &Welcome,
        lends: bool,
    ) -> io::Result<NicLink> {
        sys::unix::set_nonblocking(fd.as_fd(), true)?;
        sys::unix::force_buffers(fd.as_fd(), 4 << 20)?;
        Ok(NicLink {
            fd,
            max_macs: usize::from(welcome.max_macs).max(1),
            claims: HashMap::new(),
            last: None,
            clock: 0,
            memory: Rc::new(Lender::new(slots)),
            lends,
            lent: Default::default(),
            lent_count: 0,
            pause: RETRY_FIRST,
            rest: Vec::new(),
            kernel_drops: 0,
        })
    }

    // --- receiving ---

    /// One message. `None`: there is none.
    fn receive_one(&mut self, intake: &mut Intake<'_>) -> Result<Option<usize>, CloseReason> {
        let room = &mut intake.scratch.bytes[..MESSAGE_MAX];
        match sys::unix::receive_message(self.fd.as_fd(), room) {
            Ok((0, _)) => Err(CloseReason::PeerClosed),
            Ok((_, true)) => {
                Err(CloseReason::Protocol("the helper sent a message that is too long".into()))
            }
            Ok((len, false)) => self.message_in_scratch(intake, len).map(Some),
            Err(e) if errno::is_transient(&e) => Ok(None),
            Err(e) => Err(CloseReason::of(&e)),
        }
    }

    /// Returns how many bytes of frames came.
    fn message_in_scratch(
        &mut self,
        intake: &mut Intake<'_>,
        len: usize,
    ) -> Result<usize, CloseReason> {
        let Intake { pool, batch, scratch, lost, .. } = intake;
        match FromHelper::decode(&scratch.bytes[..len]) {
            Ok(FromHelper::Frames(mut records)) => {
                take(pool, batch, lost, &mut records);
                if !records.is_empty() {
                    records.write_message(&mut self.rest);
                }
            }
            Ok(FromHelper::Places(mut places)) => {
                let bytes = take_from_slots(pool, batch, lost, &mut places, &self.memory);
                if !places.is_empty() {
                    places.write_message(&mut self.rest);
                }
                return Ok(bytes);
            }
            Ok(FromHelper::Claimed(mac, answer)) => self.answered(mac, answer),
            Ok(FromHelper::Carrier(up)) => log::info(if up {
                "The network device of an uplink is there and up again."
            } else {
                "The network device of an uplink is down or gone; the helper waits for it."
            }),
            Ok(FromHelper::Counters(numbers)) => {
                self.kernel_drops = numbers.get(Reason::InKernelDrops as usize);
            }
            Ok(FromHelper::Refused(sentence)) => {
                return Err(CloseReason::Protocol(sentence.to_owned()));
            }
            Ok(FromHelper::Welcome(_) | FromHelper::Lend) => {}
            Err(e) => return Err(CloseReason::Protocol(format!("the helper is not ours: {e}"))),
        }
        Ok(len)
    }

    /// What did not fit the last batch.
    fn receive_rest(&mut self, intake: &mut Intake<'_>) {
        let rest = std::mem::take(&mut self.rest);
        let Intake { pool, batch, lost, .. } = intake;
        match FromHelper::decode(&rest) {
            Ok(FromHelper::Frames(mut records)) => {
                take(pool, batch, lost, &mut records);
                if !records.is_empty() {
                    records.write_message(&mut self.rest);
                }
            }
            Ok(FromHelper::Places(mut places)) => {
                take_from_slots(pool, batch, lost, &mut places, &self.memory);
                if !places.is_empty() {
                    places.write_message(&mut self.rest);
                }
            }
            _ => {}
        }
        if self.rest.is_empty() {
            // The storage is kept for the next time.
            self.rest = rest;
            self.rest.clear();
        }
    }

    fn answered(&mut self, mac: MacAddr, answer: Result<(), ClaimRefusal>) {
        let Err(why) = answer else { return };
        if self.last == Some(mac) {
            self.last = None;
        }
        if let Some(claim) = self.claims.get_mut(&mac) {
            if why == ClaimRefusal::TooFast {
                claim.state = State::Later(sys::clock::monotonic_nanos() + TOO_SOON);
                return;
            }
            claim.state = State::Refused(0);
            claim.why = Some(why);
            log::guest(&format!(
                "The address {mac} of a guest cannot be used outside: it {}.",
                why.sentence()
            ));
        }
    }

    // --- sending ---

    fn admission(&mut self, frame: &Frame, front: &[u8], rest: &[u8]) -> Admission {
        if frame.len() > FRAME_MAX {
            return Admission::GiveUp;
        }
        let mut bytes = front.iter().chain(rest).skip(6);
        let mac = MacAddr(std::array::from_fn(|_| bytes.next().copied().unwrap_or(0)));
        if self.last == Some(mac) {
            return Admission::Send;
        }
        match self.claims.get_mut(&mac) {
            None => Admission::Claim(mac),
            Some(claim) => match &mut claim.state {
                State::Ours => {
                    claim.used = self.clock;
                    self.last = Some(mac);
                    Admission::Send
                }
                State::Refused(given_up) if *given_up >= ASK_AGAIN => Admission::Claim(mac),
                State::Later(until) if *until <= self.clock => Admission::Claim(mac),
                State::Later(_) => Admission::GiveUp,
                State::Refused(given_up) => {
                    *given_up += 1;
                    Admission::GiveUp
                }
            },
        }
    }

    /// The last address sends now.
    fn touch_last(&mut self) {
        if let Some(claim) = self.last.and_then(|mac| self.claims.get_mut(&mac)) {
            claim.used = self.clock;
        }
    }

    /// Sends the claim, if there is room for it or room can be made. An announced address may have the place of any that
    /// is not.
    fn claim(&mut self, mac: MacAddr, announced: bool) -> io::Result<()> {
        let announced = announced || self.claims.get(&mac).is_some_and(|claim| claim.announced);
        let ours = |claim: &Claim| claim.state == State::Ours;
        let mut state = State::Ours;
        if self.claims.values().filter(|claim| ours(claim)).count() >= self.max_macs {
            let others = self.claims.iter().filter(|(_, claim)| ours(claim) && !claim.announced);
            let oldest = others.min_by_key(|(_, claim)| claim.used);
            let oldest = oldest
                .filter(|(_, claim)| announced || self.clock.saturating_sub(claim.used) >= SILENT);
            match oldest.map(|(mac, _)| *mac) {
                Some(oldest) => self.release(oldest)?,
                None => state = State::Refused(0),
            }
        }
        if state == State::Ours {
            self.say(&protocol::claim(mac))?;
        } else if !self.claims.contains_key(&mac) {
            log::guest(&format!(
                "The address {mac} of a guest cannot be used outside: {} others are in use, which is what the list of \
                 netherd-nic allows (max_macs).",
                self.max_macs
            ));
        }
        if self.claims.len() >= self.max_macs + REFUSED_MAX {
            self.claims.retain(|_, claim| claim.state == State::Ours || claim.announced);
        }
        let why = (state != State::Ours).then_some(ClaimRefusal::TooMany);
        self.claims.insert(mac, Claim { state, used: self.clock, announced, why });
        Ok(())
    }

    fn release(&mut self, mac: MacAddr) -> io::Result<()> {
        self.say(&protocol::release(mac))?;
        self.claims.remove(&mac);
        if self.last == Some(mac) {
            self.last = None;
        }
        Ok(())
    }

    fn say(&self, message: &[u8]) -> io::Result<()> {
        sys::unix::send_vectored(self.fd.as_fd(), &[IoSlice::new(message)]).map(|_| ())
    }

    /// Sends small frames from the front of the batch, as many as go in one message. Returns how many
    /// frames went.
    fn send_small(&mut self, pool: &Pool, batch: &TxBatch) -> io::Result<usize> {
        // Once a message: what is sent from one address is not looked up by the frame.
        self.touch_last();
        let mut heads = [[0; RECORD_LEN]; BATCH];
        let mut count = 0;
        let mut bytes = HEADER_LEN;
        for frame in batch {
            let [front, rest] = pool.pieces(frame);
            bytes += RECORD_LEN + frame.len();
            if frame.len() > ALONE || bytes > MESSAGE_MAX || count == RECORDS_MAX {
                break;
            }
            if count > 0 && self.admission(frame, front, rest) != Admission::Send {
                break;
            }
            let mut header = [0; VNET_HDR_LEN];
            encode_header(frame, front, rest, &mut header);
            // At most FRAME_MAX.
            heads[count] = protocol::record_header(frame.len() as u32, header);
            count += 1;
        }
        let header = protocol::frames_header(count as u16);
        let mut pieces = [IoSlice::new(&[]); 1 + 3 * BATCH];
        pieces[0] = IoSlice::new(&header);
        let mut used = 1;
        for (head, frame) in heads[..count].iter().zip(batch) {
            let [front, rest] = pool.pieces(frame);
            for piece in [&head[..], front, rest] {
                if !piece.is_empty() {
                    pieces[used] = IoSlice::new(piece);
                    used += 1;
                }
            }
        }
        sys::unix::send_vectored(self.fd.as_fd(), &pieces[..used]).map(|_| count)
    }

    /// Gives large frames from the front of the batch to the helper, and tells of them in one message: those that lie in
    /// memory that it can read stay there, others are copied into slots. Returns how many went, which is none when no
    /// slot is free.
    fn send_large(&mut self, pool: &mut Pool, batch: &mut TxBatch) -> io::Result<usize> {
        self.touch_last();
        let mut message = [0; HEADER_LEN + LARGE_BATCH * PLACE_LEN];
        let mut taken = [(0, false); LARGE_BATCH];
        let mut count = 0;
        for frame in batch.iter().take(LARGE_BATCH) {
            let [front, rest] = pool.pieces(frame);
            if frame.len() <= ALONE
                || (count > 0 && self.admission(frame, front, rest) != Admission::Send)
            {
                break;
            }
            let Some(slot) = self.memory.slots.take(Way::Out) else { break };
            let lent = if self.lends { lent_at(pool, frame) } else { None };
            let slots = &self.memory.slots;
            let written = match lent {
                Some(Lent { front: 0, .. }) => true,
                Some(_) => slots.write(Way::Out, slot, 0, front),
                None => {
                    slots.write(Way::Out, slot, 0, front)
                        && slots.write(Way::Out, slot, front.len(), rest)
                }
            };
            debug_assert!(written, "the frame is at most FRAME_MAX long");
            let mut header = [0; VNET_HDR_LEN];
            encode_header(frame, front, rest, &mut header);
            let at = HEADER_LEN + count * PLACE_LEN;
            let place = Place { slot, len: frame.len(), header, lent };
            message[at..at + PLACE_LEN].copy_from_slice(&place.encode());
            taken[count] = (slot, lent.is_some());
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        message[..HEADER_LEN].copy_from_slice(&protocol::places_header(count as u16));
        if let Err(e) = self.say(&message[..HEADER_LEN + count * PLACE_LEN]) {
            for (slot, _) in &taken[..count] {
                self.memory.slots.give_back(Way::Out, *slot);
            }
            return Err(e);
        }
        for (frame, (slot, lent)) in batch.drain(..count).zip(taken) {
            // One of the slot's that was given back since they were looked at last.
            self.end_lent(pool, slot);
            if lent {
                self.lent[usize::from(slot)] = Some(frame);
                self.lent_count += 1;
            } else {
                pool.release(frame);
            }
        }
        Ok(count)
    }

    fn end_lent(&mut self, pool: &mut Pool, slot: u16) {
        if let Some(frame) = self.lent.get_mut(usize::from(slot)).and_then(Option::take) {
            self.lent_count -= 1;
            pool.release(frame);
        }
    }

    /// Releases what the helper needs no more.
    fn take_back(&mut self, pool: &mut Pool) {
        for slot in 0..SLOTS {
            if self.lent_count == 0 {
                break;
            }
            if self.lent[usize::from(slot)].is_some() && self.memory.slots.is_free(Way::Out, slot) {
                self.end_lent(pool, slot);
            }
        }
    }
}

/// Where a frame lies in the memory that the helper can read, if it does.
fn lent_at(pool: &Pool, frame: &Frame) -> Option<Lent> {
    let at = pool.lent_at(frame)?;
    let [front, rest] = pool.pieces(frame);
    let front = if rest.is_empty() { 0 } else { front.len() };
    (front <= ALONE).then_some(Lent { front, at })
}

/// Copies frames into the batch until it is full.
fn take(
    pool: &mut Pool,
    batch: &mut engine::RxBatch,
    lost: &mut super::Lost,
    records: &mut Records<'_>,
) {
    while !batch.is_full() {
        let Some(record) = records.next() else { break };
        match vnet::decode(record.header) {
            Ok(offload) => copy_frame(pool, batch, lost, record.frame, offload),
            Err(_) => lost.bad_framing += 1,
        }
    }
}

impl Link for NicLink {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn receive(&mut self, intake: &mut Intake<'_>) -> Result<Progress, CloseReason> {
        if !self.rest.is_empty() {
            self.receive_rest(intake);
        }
        self.take_back(intake.pool);
        let mut bytes = 0;
        for _ in 0..VISIT_MESSAGES.min(intake.limit) {
            if bytes >= VISIT_BYTES || intake.batch.is_full() || !self.rest.is_empty() {
                break;
            }
            match self.receive_one(intake)? {
                Some(len) => bytes += len,
                None => break,
            }
        }
        Ok(if self.rest.is_empty() { Progress::Done } else { Progress::More })
    }

    fn transmit(&mut self, pool: &mut Pool, batch: &mut TxBatch) -> Sent {
        let mut refused = 0;
        self.clock = sys::clock::monotonic_nanos();
        self.take_back(pool);
        while let Some(first) = batch.first() {
            let [front, rest] = pool.pieces(first);
            let result = match self.admission(first, front, rest) {
                Admission::GiveUp => {
                    refused += 1;
                    Ok(1)
                }
                Admission::Claim(mac) => self.claim(mac, false).map(|()| 0),
                Admission::Send => {
                    if first.len() <= ALONE {
                        self.send_small(pool, batch)
                    } else {
                        let sent = self.send_large(pool, batch);
                        if matches!(sent, Ok(0)) {
                            let pause = self.pause;
                            self.pause = (pause * 2).min(RETRY_LAST);
                            return Sent { state: Ok(LinkState::RetryAfter(pause)), refused };
                        }
                        self.pause = RETRY_FIRST;
                        // They are out of the batch already.
                        sent.map(|_| 0)
                    }
                }
            };
            match result {
                Ok(count) => release_front(pool, batch, count),
                Err(e) if errno::is_transient(&e) => {
                    return Sent { state: Ok(LinkState::Blocked), refused };
                }
                Err(e) if errno::is_no_memory(&e) || errno::is_too_long(&e) => {
                    release_front(pool, batch, 1);
                    refused += 1;
                }
                Err(e) => return Sent { state: Err(CloseReason::of(&e)), refused },
            }
        }
        Sent { state: Ok(LinkState::Free), refused }
    }

    fn address(&mut self, mac: MacAddr, present: bool) {
        // What cannot be said now is said with the first frame, or when room is needed.
        self.clock = sys::clock::monotonic_nanos();
        let _later = match (present, self.claims.get_mut(&mac)) {
            (true, Some(claim)) if claim.state == State::Ours => {
                claim.announced = true;
                Ok(())
            }
            (true, _) => self.claim(mac, true),
            (false, Some(_)) => self.release(mac),
            (false, None) => Ok(()),
        };
    }

    fn lent(&mut self) -> Vec<Frame> {
        self.lent_count = 0;
        self.lent.iter_mut().filter_map(Option::take).collect()
    }

    fn refusals(&self) -> Vec<(MacAddr, &'static str)> {
        let announced = self.claims.iter().filter(|(_, claim)| claim.announced);
        let refused = announced.filter(|(_, claim)| matches!(claim.state, State::Refused(_)));
        refused.filter_map(|(mac, claim)| Some((*mac, claim.why?.sentence()))).collect()
    }

    fn kernel_drops(&mut self) -> Option<u64> {
        // The answer comes with the frames; this is the one before.
        let _full = self.say(&protocol::ask_counters());
        Some(self.kernel_drops)
    }
}

#[cfg(test)]
mod tests;
