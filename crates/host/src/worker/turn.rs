//! The turn itself: wait, visit, write.

use std::io;
use std::time::Duration;

use engine::{BATCH, Budget, Event, Instant, PortId, Reason};
use sys::poll::{Event as Ready, Interest};

use super::busy_poll::{Speaker, Wait};
use super::slots::Slot;
use super::timers::Timer;
use super::{NetworkId, Source, Worker, WorkerEvent};
use crate::link::{CloseReason, Intake, LinkState, Lost, Progress, Sent};

/// A device that went down may be going for good, which nobody reports: its link is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What the poller would have said.
const READABLE: Ready =
    Ready { token: 0, readable: true, writable: false, urgent: false, hangup: false };

impl Worker {
    /// One turn: waits until something is ready or `deadline`, and serves all of it. Returns at
    /// once when events wait. Returning says nothing about time: the caller calls again.
    ///
    /// # Errors
    /// Only when the poller itself fails.
    pub fn turn(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        if self.unsettled {
            // The owner did something that has frames as its consequence.
            self.settle(self.now());
        }
        self.wait(deadline)?;
        self.traffic = false;
        self.turn_frames = 0;
        let now = self.now();
        // What the host says of its addresses comes before what guests send there.
        if self.polled.len() > 1 {
            self.visit_all(now, gateway::poll::is_notice);
        }
        self.visit_all(now, |_| true);
        self.visit_gateways(now);
        while let Some(timer) = self.timers.due(now) {
            self.fire(now, timer);
        }
        for place in 0..self.networks.places() {
            let Some(slot) = self.networks.at(place) else { continue };
            let net = NetworkId(slot);
            self.gateway_timeout(now, net);
            let Some(network) = self.networks.get_mut(slot) else { continue };
            if network.engine.next_deadline().is_some_and(|at| at <= now) {
                network.engine.handle_timeout(now, &mut self.pool);
            }
            self.collect_engine_events(now, net);
            self.flush(now, net);
        }
        self.router_timeout(now);
        self.settle(now);
        self.refilling = self.refill(now);
        if self.turn_frames > 0 {
            self.spin.turned(self.turn_frames, self.speaker);
        }
        Ok(())
    }

    /// Visits what the poller reported, where it is wanted.
    fn visit_all(&mut self, now: Instant, wanted: impl Fn(&Ready) -> bool) {
        for i in 0..self.polled.len() {
            if let Some(event) = self.polled.get(i).filter(&wanted) {
                self.visit(now, event);
            }
        }
    }

    /// Books frames that a port has just handed to its engine, and writes when there are many.
    pub(super) fn heard(&mut self, now: Instant, net: NetworkId, port: PortId, frames: usize) {
        self.traffic = true;
        self.turn_frames += frames;
        self.speaker = Some(Speaker::new(net, port));
        let Some(network) = self.networks.get_mut(net.0) else { return };
        network.unflushed += frames;
        if network.unflushed >= BATCH {
            self.flush(now, net);
            self.flush_from(now, BATCH);
        }
    }

    /// Writes what networks have for their ports, until nothing moves any more.
    pub(super) fn settle(&mut self, now: Instant) {
        self.unsettled = false;
        self.flush_from(now, 1);
        self.collect_router_events();
    }

    /// Flushes the networks into which at least so many frames came since they were flushed last. What
    /// one flushes may go to another, by the router.
    fn flush_from(&mut self, now: Instant, least: usize) {
        loop {
            let mut moved = false;
            for place in 0..self.networks.places() {
                let Some(slot) = self.networks.at(place) else { continue };
                self.collect_engine_events(now, NetworkId(slot));
                if self.networks.get(slot).is_some_and(|it| it.unflushed >= least) {
                    moved = true;
                    self.flush(now, NetworkId(slot));
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn router_timeout(&mut self, now: Instant) {
        if self.routing.router.next_deadline().is_none_or(|at| at > now) {
            return;
        }
        self.routing.router.handle_timeout(now, &mut self.pool);
        // Nothing of this comes from a port, so it does not matter whose turn it is said to be.
        if let Some(slot) = (0..self.networks.places()).find_map(|place| self.networks.at(place)) {
            self.deliver(now, NetworkId(slot));
        }
    }

    /// Waits for something to do. After traffic it polls first, where that pays.
    fn wait(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let next = self.next_deadline(deadline);
        if !self.outbox.is_empty() || self.refilling {
            self.poller.wait(&mut self.polled, Some(Duration::ZERO))?;
            return Ok(());
        }
        let start = self.now();
        if next.is_some_and(|at| at <= start) {
            self.poller.wait(&mut self.polled, Some(Duration::ZERO))?;
            return Ok(());
        }
        let window = self.spin.window(self.traffic);
        let mut now = start;
        if window > Duration::ZERO {
            loop {
                if self.poller.wait(&mut self.polled, Some(Duration::ZERO))? > 0 {
                    self.spin.waited(self.now().saturating_since(start), Wait::Polled);
                    return Ok(());
                }
                // What we wrote last has woken its reader, perhaps on this processor: it runs now,
                // not after our window.
                std::thread::yield_now();
                let before = now;
                now = self.now();
                if now.saturating_since(start) >= window
                    || next.is_some_and(|at| at <= now)
                    || self.spin.preempted(now.saturating_since(before))
                {
                    break;
                }
            }
        }
        let timeout = next.map(|at| at.saturating_since(now));
        self.poller.wait(&mut self.polled, timeout)?;
        if self.traffic {
            let how = if window > Duration::ZERO { Wait::InVain } else { Wait::Slept };
            self.spin.waited(self.now().saturating_since(start), how);
        }
        Ok(())
    }

    /// When the worker must wake by itself.
    fn next_deadline(&mut self, deadline: Option<Instant>) -> Option<Instant> {
        let mut next = deadline;
        let mut at = |due: Option<Instant>| next = next.into_iter().chain(due).min();
        for place in 0..self.networks.places() {
            let Some(slot) = self.networks.at(place) else { continue };
            let Some(network) = self.networks.get_mut(slot) else { continue };
            at(network.engine.next_deadline());
            if let Some(gateway) = &mut network.gateway {
                gateway.due = gateway.gateway.next_deadline();
                at(gateway.due);
            }
        }
        at(self.routing.router.next_deadline());
        at(self.timers.next());
        next
    }

    fn visit(&mut self, now: Instant, event: Ready) {
        if let Some((place, token)) = gateway::poll::addressee(&event) {
            return self.report_gateway(now, place, token, &event);
        }
        let slot = Slot::from_bits(event.token);
        match self.sources.get(slot).copied() {
            None => {}
            Some(Source::Port(net, port)) => {
                if event.writable {
                    self.resume(now, net, port);
                }
                if event.readable || event.hangup {
                    self.read_port(now, net, port, event);
                }
            }
            Some(Source::PortControl(net, port)) => self.visit_control(net, port, event),
            Some(Source::Node(node)) => self.visit_node(now, node),
            Some(Source::Handshake) => self.visit_handshake(now, slot),
            Some(Source::Owner) => self.outbox.push_back(WorkerEvent::Ready {
                token: super::Token(event.token),
                readable: event.readable,
                writable: event.writable,
                hangup: event.hangup,
            }),
        }
    }

    pub(super) fn fire(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::Handshakes => self.handshakes_expire(now),
            Timer::Retry(net, port) => self.resume(now, net, port),
            Timer::Look(net, port) => {
                if let Some(entry) =
                    self.networks.get_mut(net.0).and_then(|it| it.ports.get_mut(port))
                {
                    entry.look_set = false;
                    self.read_port(now, net, port, READABLE);
                }
            }
            Timer::Accept(node) => self.resume_accepting(node),
            Timer::Clients(node) => self.look_after_clients(now, node),
            Timer::Retired => self.release_retired(now),
        }
    }

    /// One visit of a readable port: read a budget's worth, and hand it to the engine by batches.
    fn read_port(&mut self, now: Instant, net: NetworkId, port: PortId, event: Ready) {
        self.scratch.forget();
        loop {
            let Some(network) = self.networks.get_mut(net.0) else { return };
            let Some(entry) = network.ports.get_mut(port) else { return };
            let mut intake = Intake {
                pool: &mut self.pool,
                batch: &mut self.rx,
                scratch: &mut self.scratch,
                mtu: network.plan.spec().mtu,
                limit: entry.look.limit(),
                lost: Lost::default(),
            };
            let result = entry.link.receive(&mut intake);
            let lost = intake.lost;
            let frames = self.rx.len();
            entry.look.found(frames);
            lost.report(&mut network.engine, port);
            if frames > 0 {
                network.engine.ingress(now, &mut self.pool, port, &mut self.rx);
                self.heard(now, net, port, frames);
            }
            match result {
                Ok(Progress::More) => {}
                Ok(Progress::Recovered) => return self.look_again(now, net, port),
                Ok(Progress::Done) => {
                    // A descriptor that reports its end and gives nothing more would be reported
                    // for ever.
                    if event.hangup && frames == 0 && lost == Lost::default() {
                        self.close_port(net, port, CloseReason::PeerClosed);
                    }
                    return;
                }
                Err(why) => {
                    self.close_port(net, port, why);
                    return;
                }
            }
        }
    }

    fn look_again(&mut self, now: Instant, net: NetworkId, port: PortId) {
        let Some(network) = self.networks.get_mut(net.0) else { return };
        let Some(entry) = network.ports.get_mut(port) else { return };
        if !std::mem::replace(&mut entry.look_set, true) {
            self.timers.set(now + LOOK_AGAIN, Timer::Look(net, port));
        }
    }

    fn visit_control(&mut self, net: NetworkId, port: PortId, event: Ready) {
        let Some(network) = self.networks.get_mut(net.0) else { return };
        let Some(entry) = network.ports.get_mut(port) else { return };
        let Some(fd) = entry.link.control() else { return };
        // A client has nothing more to say here; what it says is thrown away, and its end counts.
        let mut heard = [0; 256];
        match sys::unix::receive(fd, &mut heard) {
            Ok(0) => self.close_port(net, port, CloseReason::PeerClosed),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && !event.hangup => {}
            Err(e) => self.close_port(net, port, CloseReason::of(&e)),
        }
    }

    /// Pulls and writes every port that has something queued and a link that takes it.
    pub(super) fn flush(&mut self, now: Instant, net: NetworkId) {
        loop {
            let Some(network) = self.networks.get_mut(net.0) else { return };
            network.unflushed = 0;
            let Some(port) = network.engine.poll_ready() else { return };
            if network.router.as_ref().is_some_and(|router| router.port == port) {
                self.route_from(now, net);
            } else {
                self.write(now, net, port, false);
            }
        }
    }

    /// A blocked link may have room again.
    fn resume(&mut self, now: Instant, net: NetworkId, port: PortId) {
        let Some(network) = self.networks.get_mut(net.0) else { return };
        let Some(entry) = network.ports.get_mut(port) else { return };
        if entry.blocked {
            entry.blocked = false;
            self.write(now, net, port, true);
        }
    }

    /// Writes a port's queue until it is empty or its link is full. `resumed`: the link may have
    /// the rest of a frame of its own, also when nothing is queued.
    fn write(&mut self, now: Instant, net: NetworkId, port: PortId, mut resumed: bool) {
        loop {
            let Some(network) = self.networks.get_mut(net.0) else { return };
            let Some(entry) = network.ports.get_mut(port) else { return };
            if entry.blocked {
                return;
            }
            let pulled =
                network.engine.poll_transmit(&mut self.pool, port, Budget::FULL, &mut self.tx);
            if pulled == 0 && !resumed {
                return;
            }
            resumed = false;
            self.traffic |= pulled > 0;
            if let (1.., Some(place)) = (pulled, &mut network.gateway) {
                place.drained = true;
            }
            let sent = entry.link.transmit(&mut self.pool, &mut self.tx);
            if !self.sent(now, net, port, sent) || pulled < BATCH {
                return;
            }
        }
    }

    /// Books what became of a batch; true when the link takes more.
    fn sent(&mut self, now: Instant, net: NetworkId, port: PortId, sent: Sent) -> bool {
        let Some(network) = self.networks.get_mut(net.0) else { return false };
        let Some(entry) = network.ports.get_mut(port) else { return false };
        if sent.refused > 0 {
            network.engine.transmit_failed(port, Reason::LinkRefused, sent.refused);
        }
        if sent.state != Ok(LinkState::Free) {
            network.engine.keep(&mut self.pool, port, &mut self.tx);
        }
        debug_assert!(self.tx.is_empty(), "a link that is free has written everything");
        let state = match sent.state {
            Ok(state) => state,
            Err(why) => {
                self.close_port(net, port, why);
                return false;
            }
        };
        entry.blocked = state != LinkState::Free;
        let watch_write = state == LinkState::Blocked;
        if watch_write != entry.watching_write
            && let (Some(fd), Some(slot)) = (entry.link.descriptor(), entry.sources[0])
        {
            let interest = if watch_write { Interest::BOTH } else { Interest::READABLE };
            match self.poller.modify(fd, slot.to_bits(), interest) {
                Ok(()) => entry.watching_write = watch_write,
                Err(e) => {
                    self.close_port(net, port, CloseReason::of(&e));
                    return false;
                }
            }
        }
        if let LinkState::RetryAfter(pause) = state {
            self.timers.set(now + pause, Timer::Retry(net, port));
        }
        state == LinkState::Free
    }

    pub(super) fn collect_engine_events(&mut self, now: Instant, net: NetworkId) {
        loop {
            let Some(network) = self.networks.get_mut(net.0) else { return };
            let Some(event) = network.engine.poll_event() else { break };
            if matches!(event, Event::BindingMade { .. } | Event::BindingEnded { .. }) {
                self.note_binding(now, net, &event);
                continue;
            }
            self.tell(WorkerEvent::Engine { net, event });
        }
        let Some(network) = self.networks.get_mut(net.0) else { return };
        if network.events_lost != network.engine.events_lost() {
            network.events_lost = network.engine.events_lost();
            self.resync_router(now, net);
        }
    }
}
