//! The last steps of a packet: its neighbour, waiting for it, and out.

use wire::MacAddr;
use wire::ethernet::HEADER_LEN as ETHERNET;
use wire::icmp_error::IcmpError;

use super::counters::RouterReason;
use super::decide::Decision;
use super::interface::Way;
use super::neighbour::{Asker, Key, Left};
use super::spec::InterfaceId;
use super::waiting::{List, SURE};
use super::{Arrival, NeighbourState, OUTPUT_MAX, Output, Router, rewrite};
use crate::frame::Frame;
use crate::keyed_slab::Number;
use crate::pool::Pool;
use crate::time::Instant;

const UNREACHABLE: Decision =
    Decision::Refuse(RouterReason::NeighbourUnreachable, IcmpError::AddressUnreachable);

impl Router {
    /// Sends a packet to its neighbour, or has it wait until that is known.
    #[inline]
    pub(super) fn deliver(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        arrival: Arrival,
        frame: Frame,
        way: Way,
    ) {
        let key = (way.egress, way.next);
        if let Some(mac) = self.neighbours.use_recent(&key, now) {
            return self.emit(pool, arrival, frame, way.egress, mac);
        }
        let Some(number) = self.neighbours.look_up(&key) else {
            return self.resolve(now, pool, arrival, frame, key);
        };
        match self.neighbours.use_at(number, &key, now) {
            Some(mac) => self.emit(pool, arrival, frame, way.egress, mac),
            None => self.wait(now, pool, arrival, frame, number),
        }
    }

    /// A packet for a neighbour that is not in the table.
    #[cold]
    pub(super) fn resolve(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        arrival: Arrival,
        frame: Frame,
        key: Key,
    ) {
        match self.neighbours.make_room() {
            Ok(None) => {}
            Ok(Some(idle)) => self.forget(pool, &idle),
            Err(()) => {
                let decision = Decision::Drop(RouterReason::NeighboursFull);
                return self.act(now, pool, arrival, frame, decision);
            }
        }
        let limit = self.limits.resolving_per_port;
        let interface = self.interfaces.get_mut(arrival.iface);
        if interface.is_some_and(|its| its.account(arrival.port).resolving >= limit) {
            let decision = Decision::Drop(RouterReason::ResolvingLimit);
            return self.act(now, pool, arrival, frame, decision);
        }
        let number = self.neighbours.add(key, now, None);
        self.wait(now, pool, arrival, frame, number);
    }

    /// Has a packet wait for a neighbour, which is asked for if it is not yet.
    #[cold]
    pub(super) fn wait(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        arrival: Arrival,
        frame: Frame,
        number: Number,
    ) {
        let Some(((egress, addr), entry)) = self.neighbours.table.at_mut(number) else {
            return pool.release(frame);
        };
        if entry.state == NeighbourState::Failed {
            return self.act(now, pool, arrival, frame, UNREACHABLE);
        }
        let full = entry.waiting.len() >= usize::from(self.limits.waiting_per_neighbour.max(1));
        // The oldest makes place for the newest (RFC 4861, 7.2.2).
        if full && let Some((whose, old)) = self.waiting.pop(&mut entry.waiting) {
            self.uncount_waiting(whose);
            self.drop(whose, RouterReason::WaitingFull);
            pool.release(old);
        }
        let Some((_, entry)) = self.neighbours.table.at_mut(number) else {
            return pool.release(frame);
        };
        let unknown = entry.state == NeighbourState::Unknown;
        if unknown {
            entry.asked_by = Some((arrival.iface, arrival.port));
        }
        let most = self.limits.waiting_per_port;
        let interface = self.interfaces.get_mut(arrival.iface);
        let its = interface.map_or(most, |its| its.account(arrival.port).waiting);
        let pushed = if its < most {
            self.waiting.push(&mut entry.waiting, arrival, frame, its < SURE)
        } else {
            Err(frame)
        };
        if let Some(interface) = self.interfaces.get_mut(arrival.iface) {
            interface.counters.waited += u64::from(pushed.is_ok());
            let account = interface.account(arrival.port);
            account.waiting += u16::from(pushed.is_ok());
            account.resolving += u16::from(unknown);
        }
        if let Err(frame) = pushed {
            self.drop(arrival, RouterReason::WaitingFull);
            pool.release(frame);
        }
        if unknown {
            self.neighbours.ask(number, now);
            self.solicit(now, pool, egress, addr, None);
        }
    }

    fn pop_waiting(&mut self, list: &mut List) -> Option<(Arrival, Frame)> {
        let (arrival, frame) = self.waiting.pop(list)?;
        self.uncount_waiting(arrival);
        Some((arrival, frame))
    }

    fn uncount_waiting(&mut self, arrival: Arrival) {
        if let Some(interface) = self.interfaces.get_mut(arrival.iface) {
            let account = interface.account(arrival.port);
            account.waiting = account.waiting.saturating_sub(1);
        }
    }

    /// Sends what waits for a neighbour that is known now.
    pub(super) fn flush(&mut self, pool: &mut Pool, number: Number) {
        let Some(((egress, _), entry)) = self.neighbours.table.at_mut(number) else { return };
        let mut list = core::mem::take(&mut entry.waiting);
        let asked_by = entry.asked_by.take();
        let mac = entry.mac;
        self.settle_account(asked_by);
        while let Some((arrival, frame)) = self.pop_waiting(&mut list) {
            match mac {
                Some(mac) => self.emit(pool, arrival, frame, egress, mac),
                None => pool.release(frame),
            }
        }
    }

    /// Tells those whose packets wait for a neighbour that it does not answer. Who asked has it on
    /// its account until the neighbour is forgotten.
    pub(super) fn give_up(&mut self, now: Instant, pool: &mut Pool, number: Number) {
        let Some((_, entry)) = self.neighbours.table.at_mut(number) else { return };
        let mut list = core::mem::take(&mut entry.waiting);
        while let Some((arrival, frame)) = self.pop_waiting(&mut list) {
            self.act(now, pool, arrival, frame, UNREACHABLE);
        }
    }

    /// Removes a neighbour, and what waits for it.
    pub(super) fn forget(&mut self, pool: &mut Pool, key: &Key) {
        let left = self.neighbours.remove(key);
        self.settle(pool, left);
    }

    /// Ends what a forgotten neighbour leaves behind.
    pub(super) fn settle(&mut self, pool: &mut Pool, left: Option<Left>) {
        let Some(Left { waiting: mut list, asked_by }) = left else { return };
        self.settle_account(asked_by);
        while let Some((arrival, frame)) = self.pop_waiting(&mut list) {
            self.drop(arrival, RouterReason::NeighbourUnreachable);
            pool.release(frame);
        }
    }

    pub(super) fn settle_account(&mut self, asked_by: Option<Asker>) {
        if let Some((iface, port)) = asked_by
            && let Some(interface) = self.interfaces.get_mut(iface)
        {
            let account = interface.account(port);
            account.resolving = account.resolving.saturating_sub(1);
        }
    }

    /// Puts a packet out on a network, to this Ethernet address.
    #[inline]
    pub(super) fn emit(
        &mut self,
        pool: &mut Pool,
        arrival: Arrival,
        mut frame: Frame,
        egress: u16,
        to: MacAddr,
    ) {
        let Some(out) = self.interfaces.at(egress) else {
            self.drop(arrival, RouterReason::InterfaceGone);
            return pool.release(frame);
        };
        let (iface, from, mtu) = (out.id, out.spec.mac, usize::from(out.spec.mtu));
        let reason = if self.output.len() >= OUTPUT_MAX {
            Err(RouterReason::OutputFull)
        } else {
            rewrite::rewrite(pool, &mut frame, to, from, !arrival.from_gateway)
        };
        if let Err(reason) = reason {
            self.drop(arrival, reason);
            return pool.release(frame);
        }
        if frame.offload().gso.is_none() && frame.len() > mtu + ETHERNET {
            return self.emit_fragments(pool, arrival, frame, mtu, iface);
        }
        if let Some(interface) = self.interfaces.get_mut(arrival.iface) {
            interface.counters.forwarded += 1;
            interface.counters.forwarded_bytes += frame.len() as u64;
        }
        self.output.push_back(Output::Transmit { iface, frame });
    }

    #[cold]
    pub(super) fn emit_fragments(
        &mut self,
        pool: &mut Pool,
        arrival: Arrival,
        frame: Frame,
        mtu: usize,
        iface: InterfaceId,
    ) {
        let done = rewrite::fragment(pool, frame, mtu, iface, &mut self.output);
        let Some(interface) = self.interfaces.get_mut(arrival.iface) else { return };
        match done {
            Ok((count, bytes)) => {
                interface.counters.forwarded += 1;
                interface.counters.forwarded_bytes += bytes;
                interface.counters.fragmented += 1;
                interface.counters.fragments_sent += count;
            }
            Err(reason) => interface.drop(reason),
        }
    }
}
