//! From the device to the user.

use std::io::IoSlice;
use std::os::fd::AsFd;

use sys::mmsg::{self, ReceiveRing};
use sys::{errno, shared};
use wire::{HEADER_MAX, Offload, vnet};

use super::{End, Relay, VNET, encode, ended};
use crate::policy;
use crate::protocol::{
    self, ALONE, FRAME_MAX, HEADER_LEN, MESSAGE_MAX, Place, RECORD_LEN, RECORDS_MAX,
};
use crate::reason::Reason;
use crate::slots::{SLOTS, Slots, Way};

/// Bytes of a slot of the device's batch: a frame, its header, and an odd number of cache lines, so
/// that the slots do not compete for the same few.
const SLOT: usize = 1033 * 64;

/// Large frames that one turn moves: half of the slots, so that the hypervisor empties one half while we fill the other.
const LARGE_FRAMES: usize = SLOTS as usize / 2;

/// Frames of the device that wait for the user.
#[derive(Debug)]
pub(super) struct Inbound {
    /// A batch of small frames, or a large one for which there is no slot.
    ring: ReceiveRing,
    /// A message under construction; empty, or with at least one record.
    message: Vec<u8>,
    records: u16,
    /// Its records are places, not frames.
    of_places: bool,
    /// What is left of the batch in the ring.
    next: usize,
    count: usize,
    /// The last batch had large frames.
    large: bool,
}

impl Default for Inbound {
    fn default() -> Inbound {
        Inbound {
            ring: ReceiveRing::new(SLOT),
            message: Vec::new(),
            records: 0,
            of_places: false,
            next: 0,
            count: 0,
            large: false,
        }
    }
}

impl Inbound {
    fn append(&mut self, of_places: bool, head: &[u8], frame: &[u8]) {
        if self.records == 0 {
            self.of_places = of_places;
            self.message.clear();
            self.message.extend_from_slice(&[0; HEADER_LEN]);
        }
        // What is left of small frames went before: the device is not read while something waits.
        debug_assert_eq!(self.of_places, of_places, "a message has records of one kind");
        self.message.extend_from_slice(head);
        self.message.extend_from_slice(frame);
        self.records += 1;
    }
}

impl Relay {
    /// Moves what waits, and what is there when the device is `ready`.
    pub(super) fn device_to_user(&mut self, now: u64, ready: bool) -> Result<(), End> {
        if self.user_blocked || !self.flush()? || !self.pass_on_batch(now)? {
            return Ok(());
        }
        if ready && !(self.inbound.large && self.receive_large(now)?) {
            self.receive_batch(now)?;
            self.pass_on_batch(now)?;
        }
        self.flush().map(|_| ())
    }

    /// Large frames, each from the socket into a slot. False when slots cannot be used now.
    fn receive_large(&mut self, now: u64) -> Result<bool, End> {
        if !self.port.shows_only_ours() {
            return Ok(false);
        }
        for i in 0..LARGE_FRAMES {
            let Some(slot) = self.slots.take(Way::In) else { return Ok(i > 0) };
            let (mut header, mut front) = ([0; VNET], [0; HEADER_MAX]);
            let rest = Slots::place(Way::In, slot, HEADER_MAX..FRAME_MAX).unwrap_or_default();
            let (device, memory) = (self.port.socket(), self.slots.memory());
            let received = shared::receive_packet(device, &mut header, &mut front, memory, rest);
            let place = match received {
                Ok(received) => {
                    self.inbound.large = received.len > ALONE;
                    if received.truncated {
                        self.counters.count(Reason::InOversize);
                        None
                    } else {
                        let head = &mut front[..received.len.min(HEADER_MAX)];
                        let judged =
                            self.judge_incoming(&header, head, received.len, received.tagged, now);
                        judged.filter(|_| self.slots.write(Way::In, slot, 0, head)).map(|offload| {
                            let header = encode(&offload, head);
                            Place { slot, len: received.len, header, lent: None }
                        })
                    }
                }
                Err(e) => {
                    self.slots.give_back(Way::In, slot);
                    if errno::is_transient(&e) {
                        // The next may be anything.
                        self.inbound.large &= i > 0;
                    } else {
                        self.device_failed(&e, now)?;
                    }
                    break;
                }
            };
            match place {
                // Told of together with those that are there behind it: telling costs a wake-up.
                Some(place) => self.inbound.append(true, &place.encode(), &[]),
                None => self.slots.give_back(Way::In, slot),
            }
            if !self.inbound.large {
                break;
            }
        }
        Ok(true)
    }

    fn receive_batch(&mut self, now: u64) -> Result<(), End> {
        // A large frame fills the cache by itself; small ones share the cost of the call.
        let most = if self.inbound.large { 1 } else { mmsg::BATCH };
        self.inbound.next = 0;
        self.inbound.count = 0;
        self.inbound.large = false;
        match self.inbound.ring.receive_packets(self.port.socket(), most, VNET) {
            Ok(count) => self.inbound.count = count,
            Err(e) if errno::is_transient(&e) => {}
            Err(e) => self.device_failed(&e, now)?,
        }
        Ok(())
    }

    /// What is left of the batch. Whether nothing is left.
    fn pass_on_batch(&mut self, now: u64) -> Result<bool, End> {
        while self.inbound.next < self.inbound.count {
            let i = self.inbound.next;
            if !self.pass_on(i, now)? {
                return Ok(false);
            }
            self.inbound.next = i + 1;
        }
        Ok(true)
    }

    /// Frame `i` of the batch, into the message or out; whether it is dealt with.
    fn pass_on(&mut self, i: usize, now: u64) -> Result<bool, End> {
        // The frame is consumed by looking at it, so room is made before.
        let len = self.inbound.ring.packet_len(i);
        let large = len > ALONE;
        let fits = !large
            && !self.inbound.of_places
            && usize::from(self.inbound.records) < RECORDS_MAX
            && self.inbound.message.len() + RECORD_LEN + len <= MESSAGE_MAX;
        if !fits && !self.flush()? {
            return Ok(false);
        }
        // Out of the way of `self` while it judges.
        let mut ring = std::mem::replace(&mut self.inbound.ring, ReceiveRing::empty());
        let result = self.pass_on_packet(&mut ring, i, large, now);
        self.inbound.ring = ring;
        result.map(|()| true)
    }

    fn pass_on_packet(
        &mut self,
        ring: &mut ReceiveRing,
        i: usize,
        large: bool,
        now: u64,
    ) -> Result<(), End> {
        let Some(taken) = ring.take_packet(i) else { return Ok(()) };
        let len = taken.body.len();
        if len > FRAME_MAX {
            self.counters.count(Reason::InOversize);
            return Ok(());
        }
        let judged = self.judge_incoming(&taken.head, taken.body, len, taken.tagged, now);
        let Some(offload) = judged else { return Ok(()) };
        // At most FRAME_MAX.
        let head = protocol::record_header(len as u32, encode(&offload, taken.body));
        self.inbound.large |= large;
        if large {
            // From where it lies.
            let header = protocol::frames_header(1);
            let pieces = [IoSlice::new(&header), IoSlice::new(&head), IoSlice::new(taken.body)];
            match sys::unix::send_vectored(self.user.as_fd(), &pieces) {
                Ok(_) => {
                    self.counters.count(Reason::Delivered);
                    return Ok(());
                }
                Err(e) if errno::is_transient(&e) => self.user_blocked = true,
                Err(e) => return Err(ended(&e)),
            }
        }
        self.inbound.append(false, &head, taken.body);
        Ok(())
    }

    /// The metadata of a frame that the user may have; what he may not is counted.
    fn judge_incoming(
        &mut self,
        header: &[u8],
        front: &mut [u8],
        len: usize,
        tagged: bool,
        now: u64,
    ) -> Option<Offload> {
        let Ok(offload) = vnet::decode(header) else {
            self.counters.count(Reason::InUnreadable);
            return None;
        };
        let macs = &self.macs;
        let judged = policy::incoming(offload, tagged, front, len, self.port.mtu(), |mac| {
            macs.contains(&mac)
        });
        let incoming = match judged {
            Ok(incoming) => incoming,
            Err(reason) => {
                self.counters.count(reason);
                if reason == Reason::InBadOffload {
                    self.port.refresh_mtu(now);
                }
                return None;
            }
        };
        if incoming.group && !self.groups_rate.try_one(now) {
            self.counters.count(Reason::InGroupRate);
            return None;
        }
        Some(incoming.offload)
    }

    /// Sends the message under construction. Whether there is room for another.
    fn flush(&mut self) -> Result<bool, End> {
        let Inbound { message, records, of_places, .. } = &mut self.inbound;
        if *records == 0 {
            *of_places = false;
            return Ok(true);
        }
        if self.user_blocked || !self.answers.is_empty() {
            return Ok(false);
        }
        let header = if *of_places {
            protocol::places_header(*records)
        } else {
            protocol::frames_header(*records)
        };
        message[..HEADER_LEN].copy_from_slice(&header);
        match sys::unix::send_vectored(self.user.as_fd(), &[IoSlice::new(message)]) {
            Ok(_) => {
                self.counters.add(Reason::Delivered, (*records).into());
                message.clear();
                *records = 0;
                *of_places = false;
                Ok(true)
            }
            Err(e) if errno::is_transient(&e) => {
                self.user_blocked = true;
                Ok(false)
            }
            Err(e) => Err(ended(&e)),
        }
    }
}
