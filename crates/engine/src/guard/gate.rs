//! Where `ingress` meets the guard.

use alloc::boxed::Box;

use wire::{MacAddr, Offload};

use crate::classify::Work;
use crate::engine::Engine;
use crate::frame::{Cast, Frame};
use crate::guard::ethernet::is_spanning_tree;
use crate::guard::groups::Version;
use crate::guard::querier::query;
use crate::guard::violation::Fate;
use crate::guard::{Answer, Outcome, PortGuard};
use crate::origin::Origin;
use crate::pool::Pool;
use crate::port::{Port, PortId};
use crate::reason::Reason;
use crate::role::Role;
use crate::time::Instant;
use crate::vlan::VlanMode;

impl Engine {
    /// Before a batch: forgets what is stale. True if the port is cut off.
    pub(crate) fn prepare_guard(&mut self, now: Instant, port: PortId) -> bool {
        let generation = self.bindings.generation();
        if let Some(guard) = self.ports.get_mut(port).and_then(|port| port.guard.as_mut()) {
            guard.renew(now, generation);
        }
        self.is_cut_off(now, port)
    }

    /// When the network is to ask who is in which group, if it ever is.
    pub(crate) fn querier_deadline(&self) -> Option<Instant> {
        let asks = self.guarded > 0 && self.network.guard.snooping;
        asks.then(|| self.memory.groups.deadline())
    }

    /// Asks who is in which group, if it is time to.
    pub(crate) fn ask_for_groups(&mut self, now: Instant, pool: &mut Pool) {
        if self.querier_deadline().is_none_or(|at| now < at) {
            return;
        }
        let router = self
            .ports
            .iter()
            .find(|port| port.spec.role == Role::Router)
            .and_then(|port| port.spec.macs.first().copied());
        // A trunk's guest is asked in its native VLAN, if it has one, and where it is a member.
        let natives = self.ports.iter().filter(|port| is_asked(port)).filter_map(native);
        let due = self.memory.groups.due(now, natives);
        let queries = [Version::V4, Version::V6].map(|version| (version, query(version, router)));
        let mut nth = 0;
        while let Some(index) = self.ports.nth(nth) {
            nth += 1;
            for &(version, vid) in &due {
                let Some(port) = self.ports.at(index).filter(|port| is_asked(port)) else { break };
                let asked = native(port) == Some(vid)
                    || port.carries(vid, false) && self.memory.groups.is_member_in(vid, index);
                let query = queries.iter().find(|(its, _)| *its == version).filter(|_| asked);
                if let Some((_, query)) = query {
                    self.send_own(pool, index, vid, Cast::Multicast, query);
                }
            }
        }
    }

    /// The long way of a frame.
    pub(crate) fn guard(
        &mut self,
        from: &mut Origin,
        now: Instant,
        pool: &Pool,
        frame: &Frame,
        work: &mut Work,
    ) -> Result<Outcome, Reason> {
        let Some(mut me) = from.guard.take() else { return Ok(Outcome::Pass) };
        let (outcome, said) = self.judge(now, pool, &mut me, from.id, frame, work.src);
        from.reach = said.reach;
        work.destination = said.destination;
        from.answer = said.answer;
        from.excused = said.excused && outcome.is_err();
        for reason in &said.audits {
            self.audited(now, pool, &mut me, from.id, frame, *reason);
        }
        from.audits = said.audits;
        from.guard = Some(me);
        outcome
    }

    /// Counts and tells a check that failed without consequence.
    #[cold]
    fn audited(
        &mut self,
        now: Instant,
        pool: &Pool,
        me: &mut PortGuard,
        id: PortId,
        frame: &Frame,
        reason: Reason,
    ) {
        if let Some(port) = self.ports.get_mut(id) {
            port.counters.count_audit(reason);
        }
        self.violation(now, pool, me, id, frame, (reason, Fate::Passed));
    }

    /// What a frame that is to be dropped is dropped for, as far as the guard knows better.
    #[cold]
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        pool: &Pool,
        from: &mut Origin,
        frame: &Frame,
        reason: Reason,
    ) -> Reason {
        let Some(mut me) = from.guard.take() else { return reason };
        let bytes = pool.front(frame).unwrap_or_default();
        let reason = match reason {
            Reason::ReservedGroup if is_spanning_tree(group_of(bytes)) => Reason::Bpdu,
            Reason::MacBound | Reason::MacMoved | Reason::MacForeign
                if self.memory.was_flooded(now, bytes) =>
            {
                Reason::Loop
            }
            Reason::MacBound | Reason::MacMoved if me.role == Role::Uplink => {
                Reason::OutsideIdentity
            }
            other => other,
        };
        let excused = core::mem::take(&mut from.excused);
        if reason.is_violation() && !is_anothers_doing(reason, &me, from) {
            if !excused {
                self.strike(now, &mut me, from.id, reason);
            }
            self.violation(now, pool, &mut me, from.id, frame, (reason, Fate::Dropped));
        }
        from.guard = Some(me);
        reason
    }

    /// Whether the port sends too much to too many; a reason if the frame is to be dropped for it.
    #[inline]
    pub(crate) fn check_storm(
        &mut self,
        from: &mut Origin,
        now: Instant,
        pool: &Pool,
        frame: &Frame,
    ) -> Option<Reason> {
        let guard = from.guard.as_mut()?;
        match guard.storm(now, frame.cast(), frame.len())? {
            (reason, Fate::Dropped) => Some(reason),
            (reason, Fate::Passed) => {
                let mut me: Box<PortGuard> = from.guard.take()?;
                self.audited(now, pool, &mut me, from.id, frame, reason);
                from.guard = Some(me);
                let _ = from.audits.try_push(reason);
                None
            }
        }
    }

    /// Sends what the guard has to say instead of a frame, or about it.
    #[cold]
    pub(crate) fn answer(&mut self, pool: &mut Pool, from: &mut Origin, frame: &Frame) {
        let (vid, tagged) = (frame.tci & 0xfff, frame.has_inner_tag());
        pool.end(frame);
        // Behind a tag of their own the guests of another network live, who have to see to it
        // themselves.
        if let Some(answer) = from.answer.take().filter(|_| !tagged) {
            self.send_own(pool, from.id.index, vid, Cast::Unicast, &answer);
        }
    }

    pub(super) fn send_own(
        &mut self,
        pool: &mut Pool,
        to: u16,
        vid: u16,
        cast: Cast,
        bytes: &Answer,
    ) {
        let Some(to) = self.ports.at_mut(to) else { return };
        let Ok(mut frame) = pool.copy_in(bytes, Offload::NONE) else { return };
        frame.tci = vid;
        frame.set_cast(cast);
        to.counters.tx_own += 1;
        to.counters.tx_offered += 1;
        match to.queue.admit(pool, &frame) {
            Ok(()) => to.enqueue(&mut self.ready, &frame),
            Err(reason) => {
                to.counters.count_drop(reason, 1);
                pool.release(frame);
            }
        }
    }
}

/// Whether a port is one of those that are asked who is in which group.
fn is_asked(port: &Port) -> bool {
    port.guard.as_ref().is_some_and(|guard| guard.role == Role::Guest)
}

/// The VLAN of a port's frames without a tag.
fn native(port: &Port) -> Option<u16> {
    match &port.spec.vlan {
        VlanMode::Access(vid) => Some(*vid),
        VlanMode::Trunk { native, .. } => *native,
    }
}

/// Whether somebody else brought a port to use an Ethernet address that another port has: he used it
/// first, before a station behind a port with several, or before a client said anything.
fn is_anothers_doing(reason: Reason, me: &PortGuard, from: &Origin) -> bool {
    matches!(reason, Reason::MacMoved | Reason::MacBound)
        && !me.fixed_macs
        && (from.max_learned > 1 || me.last_mac == MacAddr::ZERO)
}

/// The destination of a frame as a number; zero of what is none.
fn group_of(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<6>().map_or(0, |mac| MacAddr(*mac).as_u64())
}
