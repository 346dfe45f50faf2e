//! The guard: what a guest may claim to be, and what it may say about others.
//!
//! # Theory of operation
//!
//! Every frame of a guarded port is held against the checks of `docs/guard.md` before anything may
//! accept it. There are two ways. The *short* one ([`fast`]) takes the ordinary TCP or UDP frame of
//! a source that was accepted a moment ago, with a few comparisons, while the frame is classified.
//! All else takes the *long* one ([`Judge`]): parse once, then one file of checks per subject, each
//! of which knows the reasons that it may refuse for. Only the long way has side effects: it binds
//! first-come addresses, takes notes of groups and leases, answers for others.
//!
//! Who may use an address is the business of the [bindings](crate::bindings); the guard asks them,
//! and adds those of first use. What a port is depends on its [`Role`]: a *guest* may be what its
//! bindings say; an *uplink* may be anybody but a guest of the network; the *router* may be anybody.
//!
//! # Invariants
//!
//! * No frame of a guarded guest leaves by another port with a source, Ethernet or IP or inside ARP
//!   or neighbour discovery, that is not the port's; but for the forms that have none (checks 14, 22
//!   and 35).
//! * A reason is refused for only through [`Judge::refuse`], so that the action of its check
//!   decides. A reason whose action is not to drop lets the rest of the checks go on.
//! * The short way accepts nothing that the long way would refuse.
//! * Everything here is bounded: per port by its [`GuardSpec`], and per network by the constants of
//!   each file. Nothing is allocated per frame; first-come addresses and groups allocate when they
//!   are new.
//! * What was remembered about an address is forgotten when its binding ends: see
//!   [`PortGuard::renew`].
//!
//! Checks that hold the switch itself together ([`Kind::Fixed`]) are made by `classify` and `ingress`
//! for every port, and are never anything but drops.

mod advertisement;
mod arp;
mod check;
mod claims;
mod dhcp;
mod egress;
mod ethernet;
mod extension;
mod fast;
mod fragments;
mod gate;
mod groups;
mod icmp;
mod ipv4;
mod ipv6;
mod leases;
mod member;
mod memory;
mod multicast;
mod nd;
mod others;
mod outside;
mod port;
mod prefixes;
mod privacy;
mod querier;
mod reject;
mod share;
mod spec;
mod special;
mod stations;
mod violation;

use core::net::IpAddr;

use arrayvec::ArrayVec;
use wire::{MacAddr, Parsed};

use crate::engine::Engine;
use crate::frame::{Cast, Frame};
use crate::keyed::Key;
use crate::pool::Pool;
use crate::port::PortId;
use crate::reason::Reason;
use crate::role::Role;
use crate::time::Instant;

pub use check::{Check, Kind};
pub(crate) use egress::{LastDestinations, Reach, takes};
pub(crate) use fast::{Packed, passes};
pub(crate) use memory::Memory;
pub(crate) use port::PortGuard;
pub(crate) use privacy::Privacy;
pub(crate) use querier::QUERIER;
pub use spec::{
    Action, ActionError, Actions, GuardMode, GuardSpec, MdnsPolicy, NetworkGuard, Quarantine,
    Rates, Storm,
};
pub(crate) use violation::summary;
pub use violation::{Fate, Standing};

/// Bytes of the longest frame that the guard makes.
pub(crate) const ANSWER_MAX: usize = 192;

/// Audits of one frame that are counted.
const AUDITS_MAX: usize = 8;

/// Checks that one frame failed without consequence.
pub type Audits = ArrayVec<Reason, AUDITS_MAX>;

/// A frame that the network itself sends.
pub(crate) type Answer = ArrayVec<u8, ANSWER_MAX>;

/// What the long way found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The frame goes on.
    Pass,
    /// The frame ends here, and what [`Judgement::answer`] holds goes back.
    Answered,
    /// The frame ends here.
    Consumed,
}

/// What the long way says beside its outcome.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    /// A frame for the port that the judged one came from.
    pub(crate) answer: Option<Answer>,
    /// Checks that failed and whose action is not to drop.
    pub(crate) audits: Audits,
    /// To whom the frame may go, if it is flooded.
    pub(crate) reach: Reach,
    /// The packet's destination.
    pub(crate) destination: Packed,
    /// That a check failed is perhaps somebody else's fault: it does not count towards a quarantine.
    pub(crate) excused: bool,
}

/// One frame on the long way.
#[derive(Debug)]
struct Judge<'a> {
    engine: &'a mut Engine,
    me: &'a mut PortGuard,
    id: PortId,
    now: Instant,
    /// The frame's headers at least, without the outer tag.
    bytes: &'a [u8],
    /// Bytes of the whole frame.
    len: usize,
    cast: Cast,
    /// The checksum of the transport layer may not be complete.
    partial: bool,
    /// VLAN and source address.
    source: Key,
    parsed: Parsed,
    /// The source address of the packet, once it was accepted and may be remembered.
    accepted: Option<IpAddr>,
    said: Judgement,
}

impl Engine {
    /// The long way of one frame.
    #[cold]
    pub(crate) fn judge(
        &mut self,
        now: Instant,
        pool: &Pool,
        me: &mut PortGuard,
        id: PortId,
        frame: &Frame,
        source: Key,
    ) -> (Result<Outcome, Reason>, Judgement) {
        let bytes = pool.front(frame).unwrap_or_default();
        let Ok(parsed) = wire::parse(bytes) else {
            return (Err(Reason::Runt), Judgement::default());
        };
        let mut judge = Judge {
            engine: self,
            me,
            id,
            now,
            bytes,
            len: frame.len(),
            cast: frame.cast(),
            partial: frame.has_offload(),
            source,
            parsed,
            accepted: None,
            said: Judgement::default(),
        };
        judge.me.last_mac = judge.mac();
        let outcome = match judge.me.role {
            Role::Guest => judge.guest(),
            Role::Uplink => judge.uplink(),
            Role::Router => judge.router(),
        };
        if outcome.is_ok()
            && judge.said.audits.is_empty()
            && let Some(address) = judge.accepted
        {
            judge.me.cache.remember(source, Packed::new(address));
        }
        if let Err(reason) = outcome
            && judge.me.spec.actions.of(reason) == Action::Reject
        {
            judge.reject();
        }
        (outcome, judge.said)
    }
}

impl<'a> Judge<'a> {
    /// Settles a failed check by its action: an error if the frame ends here.
    fn refuse(&mut self, reason: Reason) -> Result<(), Reason> {
        match self.me.spec.actions.of(reason) {
            Action::Drop | Action::Reject => Err(reason),
            Action::Allow => Ok(()),
            Action::Audit => {
                // Those beyond the room are not counted; one frame breaks so many rules at once
                // only to find out.
                let _ = self.said.audits.try_push(reason);
                Ok(())
            }
        }
    }

    /// Refuses unless `good`.
    fn demand(&mut self, good: bool, reason: Reason) -> Result<(), Reason> {
        if good { Ok(()) } else { self.refuse(reason) }
    }

    /// The packet behind the tags.
    fn packet(&self) -> &'a [u8] {
        self.bytes.get(usize::from(self.parsed.l3_offset)..).unwrap_or_default()
    }

    /// Bytes of the frame behind the tags.
    fn packet_len(&self) -> usize {
        self.len.saturating_sub(usize::from(self.parsed.l3_offset))
    }

    fn mac(&self) -> MacAddr {
        MacAddr::from_u64(self.source.mac())
    }

    fn vid(&self) -> u16 {
        self.source.vid()
    }
}
