//! One connection: the user's frames to the device, the device's to the user.
//!
//! See the crate's theory of operation. What is held here between two calls: one message of the
//! user's that the device did not take whole, one batch of the device's that the user did not take
//! whole, and a few answers. While the first is there the user is not read, while the second is
//! there the device is not.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use sys::mmsg::{self, ReceiveRing};
use sys::poll::{Events, Interest, Poller};
use sys::{errno, packet};
use wire::{MacAddr, Offload, VNET_HDR_LEN, vnet};

use crate::device::Port;
use crate::ledger::{Line, Question};
use crate::list::Allowance;
use crate::policy;
use crate::protocol::{
    self, ALONE, ClaimRefusal, HEADER_LEN, MESSAGE_MAX, RECORD_LEN, RECORDS_MAX, Records, ToHelper,
};
use crate::rate::Bucket;
use crate::reason::{Counters, Reason};

/// Bytes of the vnet header on a packet socket.
const VNET: usize = packet::VNET_HDR_LEN as usize;

/// Bytes of a slot of the device's batch.
const SLOT: usize = 17 * 4096;

/// Messages of the user, and batches of the device, that one turn moves.
const TURN: usize = 16;

/// Answers that wait for the user to read; with more he is not served further.
const ANSWERS_MAX: usize = 64;

/// Claims and releases a second: each costs the kernel a new filter.
const CHANGES_PER_SECOND: u64 = 200;

const USER: u64 = 1;
const DEVICE: u64 = 2;
const BROKER: u64 = 3;

/// Why a relay ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The hypervisor closed its end.
    Closed,
    /// The hypervisor broke the protocol: a sentence.
    Broken(String),
    /// The broker is gone.
    NoBroker,
    /// The system failed: its words.
    Failed(String),
}

/// A message of the user of which frames wait for the device.
#[derive(Debug, Default)]
struct Outbound {
    bytes: Vec<u8>,
    /// Headers and places of the frames that passed.
    frames: Vec<([u8; VNET], std::ops::Range<usize>)>,
    /// The first that is not out.
    next: usize,
}

/// Frames of the device that wait for the user.
#[derive(Debug, Default)]
struct Inbound {
    /// A message under construction; empty, or with at least one frame.
    message: Vec<u8>,
    records: u16,
    /// What is left of the batch in the ring.
    next: usize,
    count: usize,
    /// The last batch had large frames.
    large: bool,
}

/// See the module.
pub struct Relay {
    user: OwnedFd,
    port: Port,
    line: Line,
    allowance: Allowance,
    macs: Vec<MacAddr>,
    counters: Counters,
    frames_rate: Option<Bucket>,
    bytes_rate: Option<Bucket>,
    groups_rate: Bucket,
    changes_rate: Bucket,
    ring: ReceiveRing,
    outbound: Outbound,
    inbound: Inbound,
    answers: VecDeque<Vec<u8>>,
    poller: Poller,
    user_interest: Interest,
    device_interest: Interest,
    user_blocked: bool,
    device_blocked: bool,
    /// The user's rate is used up until then.
    throttled: Option<u64>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay")
            .field("port", &self.port)
            .field("macs", &self.macs)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl Relay {
    /// # Errors
    /// When the kernel gives no epoll descriptor.
    pub fn new(
        user: OwnedFd,
        port: Port,
        line: Line,
        allowance: Allowance,
        now: u64,
    ) -> io::Result<Relay> {
        let poller = Poller::new()?;
        poller.add(user.as_fd(), USER, Interest::READABLE)?;
        poller.add(port.socket(), DEVICE, Interest::READABLE)?;
        poller.add(line.as_fd(), BROKER, Interest::NONE)?;
        Ok(Relay {
            frames_rate: allowance.frames_per_second.map(|rate| Bucket::new(rate, now)),
            bytes_rate: allowance.bytes_per_second.map(|rate| Bucket::new(rate, now)),
            groups_rate: Bucket::new(allowance.groups_per_second, now),
            changes_rate: Bucket::new(CHANGES_PER_SECOND, now),
            user,
            port,
            line,
            allowance,
            macs: Vec::new(),
            counters: Counters::default(),
            ring: ReceiveRing::new(SLOT),
            outbound: Outbound::default(),
            inbound: Inbound::default(),
            answers: VecDeque::new(),
            poller,
            user_interest: Interest::READABLE,
            device_interest: Interest::READABLE,
            user_blocked: false,
            device_blocked: false,
            throttled: None,
        })
    }

    /// Says the first word.
    ///
    /// # Errors
    /// When the hypervisor is gone.
    pub fn welcome(&self, welcome: &[u8]) -> io::Result<()> {
        sys::unix::send_vectored(self.user.as_fd(), &[IoSlice::new(welcome)]).map(|_| ())
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Serves until something ends.
    pub fn run(&mut self) -> End {
        let mut events = Events::with_capacity(4);
        loop {
            let now = sys::clock::monotonic_nanos();
            let deadline = [self.throttled, self.port.deadline()].into_iter().flatten().min();
            let timeout = deadline.map(|at| Duration::from_nanos(at.saturating_sub(now)));
            if let Err(e) = self.poller.wait(&mut events, timeout) {
                return End::Failed(e.to_string());
            }
            if let Err(end) = self.turn(&events, sys::clock::monotonic_nanos()) {
                return end;
            }
        }
    }

    /// Serves what is ready.
    fn turn(&mut self, events: &Events, now: u64) -> Result<(), End> {
        for event in events.iter() {
            match event.token {
                USER => {
                    self.user_blocked &= !event.writable;
                    // Without interest in reading, a hang-up would be told for ever.
                    if event.hangup && !self.user_interest.readable {
                        return Err(End::Closed);
                    }
                }
                DEVICE => {
                    self.device_blocked &= !event.writable;
                    if event.hangup {
                        self.device_error(now)?;
                    }
                }
                _ => return Err(End::NoBroker),
            }
        }
        if self.port.deadline().is_some_and(|at| at <= now) && self.port.look(now, &self.macs) {
            self.counters.count(Reason::DeviceBack);
            self.answer(protocol::carrier(true))?;
        }
        if self.throttled.is_some_and(|until| until <= now) {
            self.throttled = None;
        }
        self.send_answers()?;
        for _ in 0..TURN {
            let moved = self.device_to_user(now)? | self.user_to_device(now)?;
            if !moved {
                break;
            }
        }
        self.watch()
    }

    /// Watches for what can be served.
    fn watch(&mut self) -> Result<(), End> {
        let failed = |e: io::Error| End::Failed(e.to_string());
        let waiting = self.outbound.next < self.outbound.frames.len();
        let user = Interest {
            readable: !waiting && self.throttled.is_none() && self.answers.len() < ANSWERS_MAX / 2,
            writable: self.user_blocked,
        };
        if user != self.user_interest {
            self.poller.modify(self.user.as_fd(), USER, user).map_err(failed)?;
            self.user_interest = user;
        }
        let device = Interest { readable: !self.user_blocked, writable: self.device_blocked };
        if device != self.device_interest {
            self.poller.modify(self.port.socket(), DEVICE, device).map_err(failed)?;
            self.device_interest = device;
        }
        Ok(())
    }

    // --- the device ---

    fn device_error(&mut self, now: u64) -> Result<(), End> {
        match sys::unix::take_error(self.port.socket()) {
            Ok(Some(e)) => self.device_failed(&e, now),
            _ => Ok(()),
        }
    }

    /// ENETDOWN is told once when the device is, or goes, down or away.
    fn device_failed(&mut self, e: &io::Error, now: u64) -> Result<(), End> {
        if errno::is_down(e) || errno::is_device_gone(e) {
            if self.port.lost(now) {
                self.counters.count(Reason::DeviceLost);
                self.answer(protocol::carrier(false))?;
            }
        } else {
            self.counters.count(Reason::InUnreadable);
        }
        Ok(())
    }

    /// Whether something was moved.
    fn device_to_user(&mut self, now: u64) -> Result<bool, End> {
        if self.user_blocked || !self.flush()? {
            return Ok(false);
        }
        if self.inbound.next == self.inbound.count && !self.receive_batch(now)? {
            return Ok(false);
        }
        while self.inbound.next < self.inbound.count {
            let i = self.inbound.next;
            if !self.pass_on(i, now)? {
                return Ok(true);
            }
            self.inbound.next = i + 1;
        }
        self.flush()?;
        Ok(true)
    }

    fn receive_batch(&mut self, now: u64) -> Result<bool, End> {
        // A large frame fills the cache by itself; small ones share the cost of the call.
        let most = if self.inbound.large { 1 } else { mmsg::BATCH };
        self.inbound.next = 0;
        self.inbound.count = 0;
        match self.ring.receive_packets(self.port.socket(), most, VNET) {
            Ok(count) => {
                self.inbound.count = count;
                self.inbound.large = false;
                Ok(true)
            }
            Err(e) if errno::is_transient(&e) => {
                self.inbound.large = false;
                Ok(false)
            }
            Err(e) => {
                self.device_failed(&e, now)?;
                Ok(false)
            }
        }
    }

    /// Frame `i` of the batch, into the message or out; whether it is dealt with.
    fn pass_on(&mut self, i: usize, now: u64) -> Result<bool, End> {
        // The frame is consumed by looking at it, so room is made before.
        let len = self.ring.packet_len(i);
        let large = len > ALONE;
        let fits = !large
            && usize::from(self.inbound.records) < RECORDS_MAX
            && self.inbound.message.len() + RECORD_LEN + len <= MESSAGE_MAX;
        if !fits && !self.flush()? {
            return Ok(false);
        }
        let Some(taken) = self.ring.take_packet(i) else { return Ok(true) };
        if taken.body.len() > protocol::FRAME_MAX {
            self.counters.count(Reason::InOversize);
            return Ok(true);
        }
        let Ok(offload) = vnet::decode(&taken.head) else {
            self.counters.count(Reason::InUnreadable);
            return Ok(true);
        };
        let macs = &self.macs;
        let judged = policy::incoming(offload, taken.tagged, taken.body, self.port.mtu(), |mac| {
            macs.contains(&mac)
        });
        let incoming = match judged {
            Ok(incoming) => incoming,
            Err(reason) => {
                self.counters.count(reason);
                if reason == Reason::InBadOffload {
                    self.port.refresh_mtu(now);
                }
                return Ok(true);
            }
        };
        if incoming.group && !self.groups_rate.try_one(now) {
            self.counters.count(Reason::InGroupRate);
            return Ok(true);
        }
        let head = record(&incoming.offload, taken.body);
        self.inbound.large |= large;
        if large {
            // From where it lies.
            let header = protocol::frames_header(1);
            let pieces = [IoSlice::new(&header), IoSlice::new(&head), IoSlice::new(taken.body)];
            match sys::unix::send_vectored(self.user.as_fd(), &pieces) {
                Ok(_) => {
                    self.counters.count(Reason::Delivered);
                    return Ok(true);
                }
                Err(e) if errno::is_transient(&e) => self.user_blocked = true,
                Err(e) => return Err(ended(&e)),
            }
        }
        append(&mut self.inbound, &head, taken.body);
        Ok(true)
    }

    /// Sends the message under construction. Whether there is room for another.
    fn flush(&mut self) -> Result<bool, End> {
        let Inbound { message, records, .. } = &mut self.inbound;
        if *records == 0 {
            return Ok(true);
        }
        if self.user_blocked || !self.answers.is_empty() {
            return Ok(false);
        }
        message[..HEADER_LEN].copy_from_slice(&protocol::frames_header(*records));
        match sys::unix::send_vectored(self.user.as_fd(), &[IoSlice::new(message)]) {
            Ok(_) => {
                self.counters.add(Reason::Delivered, (*records).into());
                message.clear();
                *records = 0;
                Ok(true)
            }
            Err(e) if errno::is_transient(&e) => {
                self.user_blocked = true;
                Ok(false)
            }
            Err(e) => Err(ended(&e)),
        }
    }

    // --- the user ---

    /// Whether something was moved.
    fn user_to_device(&mut self, now: u64) -> Result<bool, End> {
        if !self.send_outbound(now)? || self.throttled.is_some() {
            return Ok(false);
        }
        if self.answers.len() >= ANSWERS_MAX / 2 {
            return Ok(false);
        }
        self.outbound.bytes.resize(MESSAGE_MAX, 0);
        let (len, truncated) =
            match sys::unix::receive_message(self.user.as_fd(), &mut self.outbound.bytes) {
                Ok((0, _)) => return Err(End::Closed),
                Ok(received) => received,
                Err(e) if errno::is_transient(&e) => return Ok(false),
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
        self.send_outbound(now)?;
        Ok(true)
    }

    fn message(&mut self, message: &[u8], now: u64) -> Result<(), End> {
        match ToHelper::decode(message) {
            Ok(ToHelper::Frames(records)) => {
                self.judge(message, records, now);
                Ok(())
            }
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
            Err(e) => Err(End::Broken(format!("it sent what is no message: {e}"))),
        }
    }

    /// Sorts out the frames of a message that may go.
    fn judge(&mut self, message: &[u8], records: Records<'_>, now: u64) {
        self.outbound.frames.clear();
        self.outbound.next = 0;
        let start = message.as_ptr().addr();
        for record in records {
            let macs = &self.macs;
            let judged = policy::outgoing(record.header, record.frame, self.port.mtu(), |mac| {
                macs.contains(&mac)
            });
            match judged {
                Ok(outgoing) => {
                    self.charge(now, outgoing.frames, outgoing.bytes);
                    let mut header = [0; VNET];
                    let head = &record.frame[..record.frame.len().min(wire::HEADER_MAX)];
                    vnet::encode(&outgoing.offload, head, &mut header);
                    let at = record.frame.as_ptr().addr() - start;
                    self.outbound.frames.push((header, at..at + record.frame.len()));
                }
                Err(reason) => {
                    // Refusing costs us as much as sending.
                    self.charge(now, 1, record.frame.len() as u64);
                    self.counters.count(reason);
                    if matches!(reason, Reason::Oversize | Reason::BadOffload) {
                        self.port.refresh_mtu(now);
                    }
                }
            }
        }
    }

    /// Hands the device what waits for it; whether nothing is left.
    fn send_outbound(&mut self, now: u64) -> Result<bool, End> {
        while self.outbound.next < self.outbound.frames.len() {
            if self.device_blocked {
                return Ok(false);
            }
            let Outbound { bytes, frames, next } = &self.outbound;
            let datagrams = frames[*next..]
                .iter()
                .map(|(header, range)| [&header[..], &bytes[range.clone()], &[][..]]);
            match mmsg::send(self.port.socket(), None, datagrams) {
                Ok(count) => {
                    self.outbound.next += count;
                    self.counters.add(Reason::Sent, count as u64);
                }
                Err(e) if errno::is_transient(&e) => self.device_blocked = true,
                Err(e) => {
                    self.outbound.next += 1;
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
                }
            }
        }
        Ok(true)
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

    // --- addresses ---

    fn claim(&mut self, mac: MacAddr, now: u64) -> Result<Result<(), ClaimRefusal>, End> {
        if self.macs.contains(&mac) {
            return Ok(Ok(()));
        }
        if !mac.is_unicast() || mac == self.port.mac() {
            return Ok(Err(ClaimRefusal::NotAnAddress));
        }
        if !self.allowance.macs.iter().any(|range| range.contains(mac)) {
            return Ok(Err(ClaimRefusal::NotAllowed));
        }
        if self.macs.len() >= usize::from(self.allowance.max_macs) {
            return Ok(Err(ClaimRefusal::TooMany));
        }
        if !self.changes_rate.try_one(now) {
            return Ok(Err(ClaimRefusal::TooFast));
        }
        if !self.line.ask(&Question::Claim(mac)).map_err(|_| End::NoBroker)? {
            return Ok(Err(ClaimRefusal::Taken));
        }
        self.macs.push(mac);
        if self.port.add(mac, &self.macs).is_err() {
            // The device has no room for the address.
            self.macs.pop();
            self.line.ask(&Question::Release(mac)).map_err(|_| End::NoBroker)?;
            return Ok(Err(ClaimRefusal::TooMany));
        }
        Ok(Ok(()))
    }

    fn release(&mut self, mac: MacAddr, now: u64) -> Result<(), End> {
        let Some(i) = self.macs.iter().position(|it| *it == mac) else { return Ok(()) };
        // A release is never refused, but it is paid for by the next claim.
        self.changes_rate.take(now, 1);
        self.macs.swap_remove(i);
        self.port.remove(mac, &self.macs);
        self.line.ask(&Question::Release(mac)).map_err(|_| End::NoBroker).map(|_| ())
    }

    // --- answers ---

    fn answer(&mut self, message: Vec<u8>) -> Result<(), End> {
        if self.answers.len() >= ANSWERS_MAX {
            return Err(End::Broken("it asks and does not read the answers".into()));
        }
        self.answers.push_back(message);
        self.send_answers()
    }

    fn send_answers(&mut self) -> Result<(), End> {
        while !self.user_blocked
            && let Some(answer) = self.answers.front()
        {
            match sys::unix::send_vectored(self.user.as_fd(), &[IoSlice::new(answer)]) {
                Ok(_) => {
                    self.answers.pop_front();
                }
                Err(e) if errno::is_transient(&e) => self.user_blocked = true,
                Err(e) => return Err(ended(&e)),
            }
        }
        Ok(())
    }
}

fn record(offload: &Offload, frame: &[u8]) -> [u8; RECORD_LEN] {
    let mut header = [0; VNET_HDR_LEN];
    vnet::encode(offload, &frame[..frame.len().min(wire::HEADER_MAX)], &mut header);
    // A frame is at most FRAME_MAX.
    protocol::record_header(frame.len() as u32, header)
}

fn append(inbound: &mut Inbound, head: &[u8], frame: &[u8]) {
    if inbound.records == 0 {
        inbound.message.clear();
        inbound.message.extend_from_slice(&[0; HEADER_LEN]);
    }
    inbound.message.extend_from_slice(head);
    inbound.message.extend_from_slice(frame);
    inbound.records += 1;
}

fn ended(e: &io::Error) -> End {
    match e.kind() {
        io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::NotConnected
        | io::ErrorKind::UnexpectedEof => End::Closed,
        _ => End::Failed(e.to_string()),
    }
}
