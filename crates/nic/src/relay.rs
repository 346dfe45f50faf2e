//! One connection: the user's frames to the device, the device's to the user.
//!
//! See the crate's theory of operation. What is held here between two calls: one message of the
//! user's that the device did not take whole ([`outbound`]), one batch of the device's that the user
//! did not take whole ([`inbound`]), and a few answers. While the first is there the user is not read,
//! while the second is there the device is not.
//!
//! Each side is read when the poller says so and once each time: to look again costs as much as to
//! be told again, and mostly finds nothing.

mod inbound;
mod outbound;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use sys::poll::{Events, Interest, Poller};
use sys::shared::Memory;
use sys::{errno, packet};
use wire::{HEADER_MAX, MacAddr, Offload, vnet};

use self::inbound::Inbound;
use self::outbound::Outbound;
use crate::device::Port;
use crate::ledger::{Line, Question};
use crate::list::Allowance;
use crate::protocol::{self, ClaimRefusal};
use crate::rate::Bucket;
use crate::reason::{Counters, Reason};
use crate::slots::Slots;

/// Bytes of the vnet header on a packet socket.
const VNET: usize = packet::VNET_HDR_LEN as usize;

/// Answers that wait for the user to read; with more he is not served further.
const ANSWERS_MAX: usize = 64;

/// Claims and releases a second: each costs the kernel a new filter.
const CHANGES_PER_SECOND: u64 = 200;

const USER: u64 = 1;
const DEVICE: u64 = 2;
const BROKER: u64 = 3;

/// Why a relay ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The hypervisor closed its end.
    Closed,
    /// The hypervisor broke the protocol: a sentence.
    Broken(String),
    /// The broker is gone.
    NoBroker,
    /// The system failed: its words.
    Failed(String),
}

/// See the module.
pub(crate) struct Relay {
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
    slots: Slots,
    /// What the hypervisor has lent.
    lent: Option<Memory>,
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
    pub(crate) fn new(
        user: OwnedFd,
        port: Port,
        line: Line,
        allowance: Allowance,
        (slots, lent): (Slots, Option<Memory>),
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
            slots,
            lent,
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

    /// Says the first word, with the descriptor of the memory that is shared.
    ///
    /// # Errors
    /// When the hypervisor is gone.
    pub(crate) fn welcome(&self, welcome: &[u8], memory: BorrowedFd<'_>) -> io::Result<()> {
        sys::unix::send_with_fds(self.user.as_fd(), welcome, &[memory]).map(|_| ())
    }

    /// What happened so far.
    #[must_use]
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Serves until something ends.
    pub(crate) fn run(&mut self) -> End {
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
        let (mut user_ready, mut device_ready) = (false, false);
        for event in events.iter() {
            match event.token {
                USER => {
                    user_ready |= event.readable;
                    self.user_blocked &= !event.writable;
                    // Without interest in reading, a hang-up would be told for ever.
                    if event.hangup && !self.user_interest.readable {
                        return Err(End::Closed);
                    }
                }
                DEVICE => {
                    device_ready |= event.readable;
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
        self.device_to_user(now, device_ready)?;
        self.user_to_device(now, user_ready)?;
        self.watch()
    }

    /// Watches for what can be served.
    fn watch(&mut self) -> Result<(), End> {
        let failed = |e: io::Error| End::Failed(e.to_string());
        let user = Interest {
            readable: !self.outbound.is_waiting()
                && self.throttled.is_none()
                && self.answers.len() < ANSWERS_MAX / 2,
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
            return Err(End::Broken("it sends requests but does not read the answers".into()));
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

/// The header that goes with a frame whose metadata was found to be good; that of a packet socket is
/// shorter than that of the protocol.
fn encode<const N: usize>(offload: &Offload, front: &[u8]) -> [u8; N] {
    let mut header = [0; N];
    vnet::encode(offload, &front[..front.len().min(HEADER_MAX)], &mut header);
    header
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
