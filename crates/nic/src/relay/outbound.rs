//! From the user to the device.
//!
//! A frame is judged in memory that only we can write: a message is one, and of a frame in a slot, or in
//! memory that the user has lent, the front is copied out first. What goes to the device is that copy,
//! and behind it the rest from where it lies, about which nothing is decided.

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;

use sys::{errno, mmsg, packet, shared};

use super::{ANSWERS_MAX, End, Relay, VNET, encode, ended};
use crate::policy::{self, Outgoing};
use crate::protocol::{self, Lent, MESSAGE_MAX, Place, Places, Records, ToHelper};
use crate::reason::Reason;
use crate::slots::{Slots, Way};

/// A message of the user of which frames wait for the device.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    bytes: Vec<u8>,
    /// The fronts of frames in slots.
    fronts: Vec<u8>,
    /// The frames that passed.
    frames: Vec<Passed>,
    /// The first that is not out.
    next: usize,
}

#[derive(Debug)]
struct Passed {
    header: [u8; VNET],
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// In the message.
    Message(Range<usize>),
    /// The front is ours, the rest is in memory to which the user can write, and needed there until the slot is given
    /// back.
    Slot { slot: u16, front: Range<usize>, rest: Range<usize>, lent: bool },
}

impl Outbound {
    pub(super) fn is_waiting(&self) -> bool {
        self.next < self.frames.len()
    }
}

impl Relay {
    /// Moves what waits, and one message when the user is `ready`.
    pub(super) fn user_to_device(&mut self, now: u64, ready: bool) -> Result<(), End> {
        if !self.send_outbound(now)? || self.throttled.is_some() || !ready {
            return Ok(());
        }
        if self.answers.len() >= ANSWERS_MAX / 2 {
            return Ok(());
        }
        self.outbound.bytes.resize(MESSAGE_MAX, 0);
        let (len, truncated) =
            match sys::unix::receive_message(self.user.as_fd(), &mut self.outbound.bytes) {
                Ok((0, _)) => return Err(End::Closed),
                Ok(received) => received,
                Err(e) if errno::is_transient(&e) => return Ok(()),
                Err(e) => return Err(ended(&e)),
            };
        if truncated {
            return Err(End::Broken("it sent a message that is too long".into()));
        }
        let bytes = std::mem::take(&mut self.outbound.bytes);
        let result = self.message(&bytes[..len], now);
        self.outbound.bytes = bytes;
        result?;
        self.throttle(now);
        self.send_outbound(now).map(|_| ())
    }

    fn message(&mut self, message: &[u8], now: u64) -> Result<(), End> {
        match ToHelper::decode(message) {
            Ok(ToHelper::Frames(records)) => {
                self.judge_frames(message, records, now);
                Ok(())
            }
            Ok(ToHelper::Places(places)) => self.judge_places(places, now),
            Ok(ToHelper::Claim(mac)) => {
                self.charge(now, 1, 0);
                let result = self.claim(mac, now)?;
                if result.is_err() {
                    self.counters.count(Reason::ClaimsRefused);
                }
                self.answer(protocol::claimed(mac, result))
            }
            Ok(ToHelper::Release(mac)) => {
                self.charge(now, 1, 0);
                self.release(mac, now)
            }
            Ok(ToHelper::Counters) => {
                self.charge(now, 1, 0);
                if let Ok(statistics) = packet::take_statistics(self.port.socket()) {
                    self.counters.add(Reason::InKernelDrops, statistics.drops.into());
                }
                self.answer(protocol::counters(self.counters.numbers()))
            }
            Ok(ToHelper::Hello(_)) => Err(End::Broken("it said hello twice".into())),
            Ok(ToHelper::Memory) => {
                Err(End::Broken("it lent memory that was not requested".into()))
            }
            Err(e) => Err(End::Broken(format!("it sent something that is not a message: {e}"))),
        }
    }

    /// Sorts out the frames of a message that may go.
    fn judge_frames(&mut self, message: &[u8], records: Records<'_>, now: u64) {
        self.begin();
        let start = message.as_ptr().addr();
        for record in records {
            let len = record.frame.len();
            if let Some(outgoing) = self.judge(record.header, record.frame, len, now) {
                let at = record.frame.as_ptr().addr() - start;
                let header = encode(&outgoing.offload, record.frame);
                self.outbound.frames.push(Passed { header, body: Body::Message(at..at + len) });
            }
        }
    }

    /// The same for frames that lie in slots.
    fn judge_places(&mut self, places: Places<'_>, now: u64) -> Result<(), End> {
        self.begin();
        let mut fronts = std::mem::take(&mut self.outbound.fronts);
        fronts.clear();
        for place in places {
            let start = fronts.len();
            let front = policy::front_len(&place.header, place.len);
            fronts.resize(start + front.max(place.lent.map_or(0, |lent| lent.front)), 0);
            let front = &mut fronts[start..];
            let Some((rest, lent)) = self.copy_front(&place, front) else {
                return Err(End::Broken("it named a frame in memory that it has not lent".into()));
            };
            let slot = place.slot;
            if let Some(outgoing) = self.judge(&place.header, front, place.len, now) {
                let header = encode(&outgoing.offload, front);
                let body = Body::Slot { slot, front: start..fronts.len(), rest, lent };
                self.outbound.frames.push(Passed { header, body });
            } else {
                self.slots.give_back(Way::Out, slot);
            }
        }
        self.outbound.fronts = fronts;
        Ok(())
    }

    /// Copies the first bytes of a frame to where only we can write. Returns where the others are, and whether that is
    /// in what was lent; `None` when the frame cannot be there.
    fn copy_front(&self, place: &Place, front: &mut [u8]) -> Option<(Range<usize>, bool)> {
        let Some(Lent { front: in_slot, at }) = place.lent else {
            let rest = Slots::place(Way::Out, place.slot, front.len()..place.len)?;
            return self.slots.read(Way::Out, place.slot, front).then_some((rest, false));
        };
        let memory = self.lent.as_ref()?;
        let (first, second) = front.split_at_mut_checked(in_slot)?;
        let rest = at + second.len()..at + (place.len - in_slot);
        let read = self.slots.read(Way::Out, place.slot, first)
            && memory.holds(&rest)
            && memory.read(at, second).is_ok();
        read.then_some((rest, true))
    }

    fn begin(&mut self) {
        self.outbound.frames.clear();
        self.outbound.next = 0;
    }

    /// Whether a frame may go; one that may not is counted.
    fn judge(&mut self, header: &[u8], front: &[u8], len: usize, now: u64) -> Option<Outgoing> {
        let macs = &self.macs;
        let judged =
            policy::outgoing(header, front, len, self.port.mtu(), |mac| macs.contains(&mac));
        match judged {
            Ok(outgoing) => {
                self.charge(now, outgoing.frames, outgoing.bytes);
                Some(outgoing)
            }
            Err(reason) => {
                // Refusing costs us as much as sending.
                self.charge(now, 1, len as u64);
                self.counters.count(reason);
                if matches!(reason, Reason::Oversize | Reason::BadOffload) {
                    self.port.refresh_mtu(now);
                }
                None
            }
        }
    }

    /// Hands the device what waits for it; whether nothing is left.
    fn send_outbound(&mut self, now: u64) -> Result<bool, End> {
        while self.outbound.is_waiting() {
            if self.device_blocked {
                return Ok(false);
            }
            let sent = match self.send_front() {
                Ok(count) => {
                    self.counters.add(Reason::Sent, count as u64);
                    count
                }
                Err(e) if errno::is_transient(&e) => {
                    self.device_blocked = true;
                    0
                }
                Err(e) => {
                    let reason = if errno::is_down(&e) || errno::is_device_gone(&e) {
                        self.device_failed(&e, now)?;
                        Reason::DeviceDown
                    } else if errno::is_no_memory(&e) {
                        Reason::DeviceBusy
                    } else {
                        self.port.refresh_mtu(now);
                        Reason::DeviceRefused
                    };
                    self.counters.count(reason);
                    1
                }
            };
            let Outbound { frames, next, .. } = &mut self.outbound;
            for passed in &frames[*next..*next + sent] {
                if let Body::Slot { slot, .. } = passed.body {
                    self.slots.give_back(Way::Out, slot);
                }
            }
            *next += sent;
        }
        Ok(true)
    }

    /// Sends the first frames that wait, as many as go in one call.
    fn send_front(&self) -> io::Result<usize> {
        let Outbound { bytes, fronts, frames, next } = &self.outbound;
        let frames = &frames[*next..];
        let device = self.port.socket();
        if let Some(Passed { header, body: Body::Slot { front, rest, lent, .. } }) = frames.first()
        {
            let memory = self.lent.as_ref().filter(|_| *lent).unwrap_or(self.slots.memory());
            let front = &fronts[front.clone()];
            return shared::send_packet(device, header, front, memory, rest.clone()).map(|()| 1);
        }
        let datagrams = frames.iter().map_while(|passed| match &passed.body {
            Body::Message(range) => Some([&passed.header[..], &bytes[range.clone()], &[][..]]),
            Body::Slot { .. } => None,
        });
        mmsg::send(device, None, datagrams)
    }

    fn charge(&mut self, now: u64, frames: u64, bytes: u64) {
        if let Some(bucket) = &mut self.frames_rate {
            bucket.take(now, frames);
        }
        if let Some(bucket) = &mut self.bytes_rate {
            bucket.take(now, bytes);
        }
    }

    fn throttle(&mut self, now: u64) {
        let buckets = [&mut self.frames_rate, &mut self.bytes_rate];
        let wait = buckets.into_iter().flatten().map(|bucket| bucket.wait(now)).max().unwrap_or(0);
        if wait > 0 {
            self.throttled = Some(now.saturating_add(wait));
            self.counters.count(Reason::Throttled);
        }
    }
}
